"""
Generation by densities of codes
================================

``sample`` draws codes from a density and decodes them. A mixture of Gaussians, fitted to the
codes, is a better density than the prior of a variational autoencoder, and makes draws from a
plain autoencoder possible; on images as small as these a mixture of Gaussians of the pixels is
a strong rival.
"""

# %%
# Densities
# ---------
# All models are fitted on the same 1,397 digits. The number of Gaussians of the pixels is the
# one with the highest likelihood of samples held out from these.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.metrics import pairwise_distances
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.utils import shuffle

from sklearn_ae import Autoencoder, VariationalAutoencoder

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, _ = train_test_split(X, y, test_size=400, random_state=0, stratify=y)

mixture = GaussianMixture(20, reg_covar=1e-3, random_state=0)
shared = {"max_iter": 150, "random_state": 0}
models = {
    "VAE, prior": VariationalAutoencoder(10, **shared),
    "VAE, mixture": VariationalAutoencoder(10, density=mixture, **shared),
    "autoencoder, mixture": Autoencoder(
        10, code_alpha=0.01, density=mixture, init="random", **shared
    ),
}
drawn = {name: model.fit(X_train).sample(400, random_state=0) for name, model in models.items()}
drawn["VAE, mixture, noise"] = models["VAE, mixture"].sample(400, random_state=0, noise=True)

pixels = GridSearchCV(
    GaussianMixture(reg_covar=0.3, random_state=0), {"n_components": [1, 5, 10, 20, 40]}, cv=3
).fit(X_train)
n_gaussians = pixels.best_params_["n_components"]
# Shuffled, since ``GaussianMixture`` draws from one Gaussian after another.
drawn[f"{n_gaussians} Gaussians of the pixels"] = shuffle(
    pixels.best_estimator_.sample(400)[0], random_state=0
)
drawn["real digits"] = X_test

# %%
# Evaluation
# ----------
# A classifier of real digits is sure of a draw if its probability is at least 80 %. The energy
# distance of draws from real digits that were not used for training is zero for equal
# distributions.

classifier = MLPClassifier((100,), max_iter=500, random_state=0).fit(X_train, y_train)


def energy_distance(A, B):
    """Return twice the mean distance between two samples minus the mean distances within."""
    within = [pairwise_distances(part).sum() / len(part) / (len(part) - 1) for part in (A, B)]
    return 2 * pairwise_distances(A, B).mean() - sum(within)


print(f"{'':28}{'classifier is sure':>20}{'energy distance':>17}")
for name, images in drawn.items():
    sure = (classifier.predict_proba(images).max(axis=1) >= 0.8).mean()
    distance = "" if images is X_test else f"{energy_distance(images, X_test):.2f}"
    print(f"{name:28}{sure:20.0%}{distance:>17}")

# %%
# ``noise=True`` adds the part of the variance that the codes do not explain, which makes the
# distribution closer to that of real digits. The Gaussians of the pixels have a distribution as
# close as any: where they can be fitted, with many more samples than features, they are enough.
# Single draws from a mixture of codes are more often legible.

figure, axes = plt.subplots(len(drawn), 14, figsize=(9, 4.1), layout="constrained")
for line, (name, images) in zip(axes, drawn.items(), strict=True):
    for ax, image in zip(line, images, strict=False):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.show()
