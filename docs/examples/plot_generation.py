"""
Sampling and interpolation
==========================

Three autoencoders draw new digits, a classifier evaluates them, and pairs of digits are
interpolated. The data are scikit-learn's handwritten digits of 8 x 8 pixels.
"""

# %%
# Densities of the codes
# ----------------------
# A variational autoencoder is trained so that the distribution of the codes is close to a
# standard normal, the prior, from which it draws codes. A mixture of Gaussians fitted to the codes
# is a better approximation of their distribution. With a mixture a plain autoencoder can draw
# samples, too; a penalty on the code reduces the gaps between its codes.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import pairwise_distances
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from sklearn_ae import Autoencoder, VariationalAutoencoder
from sklearn_ae.plotting import LatentTraversalDisplay

output = Path("demo_output")
output.mkdir(exist_ok=True)

X, y = load_digits(return_X_y=True)
train, held_out, labels, _ = train_test_split(X, y, test_size=400, random_state=0, stratify=y)

mixture = GaussianMixture(20, reg_covar=1e-3)
models = {
    "VAE, prior": VariationalAutoencoder(10, max_iter=150, random_state=0),
    "VAE, mixture": VariationalAutoencoder(10, max_iter=150, density=mixture, random_state=0),
    "autoencoder, mixture": Autoencoder(
        10, code_alpha=0.01, density=mixture, init="random", max_iter=150, random_state=0
    ),
}
random = np.random.default_rng(0)
gaussian = random.multivariate_normal(train.mean(axis=0), np.cov(train.T), 1000)
drawn = {"Gaussian of the pixels": gaussian}
for name, model in models.items():
    drawn[name] = model.fit(train).sample(1000, random_state=0)

# %%
# The codes do not explain all of the variance. The likelihood of a variational autoencoder has a
# variance for the rest, and ``noise=True`` adds noise of this variance.

noisy = models["VAE, mixture"].sample(1000, random_state=0, noise=True)
drawn["VAE, mixture, noise"] = noisy

# %%
# Evaluation
# ----------
# A classifier is trained on real digits; it is sure of a digit if its probability is 80 % or
# more. The energy distance to held-out digits is small if the distribution of the draws is close
# to that of real digits.

classifier = MLPClassifier((100,), max_iter=500, random_state=0).fit(train, labels)


def energy_distance(A, B):
    """Return twice the mean distance between two samples minus the mean distances within."""
    within = [pairwise_distances(part).sum() / len(part) / (len(part) - 1) for part in (A, B)]
    return 2 * pairwise_distances(A, B).mean() - sum(within)


for name, images in {**drawn, "held-out digits": held_out}.items():
    probabilities = classifier.predict_proba(images)
    counts = np.bincount(probabilities.argmax(axis=1), minlength=10)
    told = f"sure of {(probabilities.max(axis=1) >= 0.8).mean():4.0%}, "
    told += f"each digit at least {counts.min() / len(images):3.0%}"
    if images is not held_out:
        told += f", energy distance {energy_distance(images, held_out):.3f}"
    print(f"{name:22}", told)

figure, axes = plt.subplots(6, 14, figsize=(9, 4.1), layout="constrained")
for line, (name, images) in zip(axes, {**drawn, "held out": held_out}.items(), strict=True):
    for cell, image in zip(line, images, strict=False):
        cell.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        cell.set(xticks=[], yticks=[])
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
figure.savefig(output / "generation.png", dpi=120)

# %%
# Interpolation
# -------------
# ``interpolate`` decodes codes on the line between the codes of two samples. Half-way between the
# pixels of two digits both are visible; half-way between their codes there is one digit, if any.

ends = [[np.flatnonzero(labels == digit)[0] for digit in pair] for pair in ((0, 6), (9, 3))]
first, last = np.transpose(ends)
ways = {
    "codes": models["VAE, prior"].interpolate(train[first], train[last], n_steps=9),
    "pixels": np.linspace(train[first], train[last], 9, axis=1),
}
figure, axes = plt.subplots(4, 9, figsize=(7, 3.3), layout="constrained")
for number, line in enumerate(axes):
    name = ("codes", "pixels")[number % 2]
    for cell, image in zip(line, ways[name][number // 2], strict=True):
        cell.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        cell.set(xticks=[], yticks=[])
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
figure.savefig(output / "interpolation.png", dpi=120)

# %%
# Latent space with two components
# --------------------------------
# With two components, decoded codes on a grid show the whole latent space.

plane = VariationalAutoencoder(2, max_iter=100, random_state=0).fit(train)
display = LatentTraversalDisplay.from_estimator(plane, train, image_shape=(8, 8))
display.figure_.savefig(output / "plane_of_codes.png", dpi=120)
