"""
t-SNE of pixels, principal components and codes
===============================================

t-SNE embeds samples in the plane so that neighbours stay neighbours. Here it embeds three
representations of handwritten digits: 64 pixels, 32 principal components, and the 32 components of
a denoising autoencoder, first of clean images, then of noisy ones. Labels are used for colours and
for evaluation only.
"""

# %%
# Representations
# ---------------
# PCA and the autoencoder are fitted on 1,000 images without noise, and encode the other 797. The
# autoencoder has its default parameters, except for the size of the code, the noise level and half
# the number of epochs.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.model_selection import LeaveOneOut, cross_val_predict, train_test_split
from sklearn.neighbors import KNeighborsClassifier

from sklearn_ae import DenoisingAutoencoder
from sklearn_ae.plotting import LatentSpaceDisplay

output = Path("demo_output")
output.mkdir(exist_ok=True)

X, y = load_digits(return_X_y=True)
X = X / 16
X_train, X_test, _, y_test = train_test_split(X, y, train_size=1000, random_state=0)
noise = 0.3 * np.random.default_rng(0).standard_normal(X_test.shape)

pca = PCA(32, random_state=0).fit(X_train)
autoencoder = DenoisingAutoencoder(32, noise_level=0.3, max_iter=100, random_state=0)
autoencoder.fit(X_train)
encoders = {
    "64 pixels": lambda samples: samples,
    "PCA, 32 components": pca.transform,
    "autoencoder, 32 components": autoencoder.transform,
}

# %%
# Nearest neighbours
# ------------------
# The titles show the leave-one-out accuracy of a classifier of the five nearest neighbours, first
# in the representation, then in the plane.


def accuracy(positions):
    """Return the leave-one-out accuracy of five nearest neighbours."""
    voters = KNeighborsClassifier(5)
    return np.mean(cross_val_predict(voters, positions, y_test, cv=LeaveOneOut()) == y_test)


figure, axes = plt.subplots(2, 3, figsize=(10, 6.6), layout="constrained")
images = {"clean": X_test, "noisy": X_test + noise}
for line, (kind, samples) in zip(axes, images.items(), strict=True):
    for ax, (name, encode) in zip(line, encoders.items(), strict=True):
        codes = encode(samples).astype(np.float32)
        plane = TSNE(2, random_state=0).fit_transform(codes)
        display = LatentSpaceDisplay.from_codes(plane, y_test, ax=ax, scatter_kwargs={"s": 9})
        before, after = accuracy(codes), accuracy(plane)
        ax.set_title(f"{name}\n5-NN: {before:.1%}, in the plane {after:.1%}", fontsize=10)
        ax.set(xlabel="", ylabel=f"{kind} images" if ax is line[0] else "", xticks=[], yticks=[])
        display.legend_.remove()
        print(f"{kind}, {name:28} 5-NN {before:.3f}, in the plane {after:.3f}")
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center", markerscale=2)
figure.savefig(output / "neighborhoods.png", dpi=120)

# %%
# Without noise the three representations are similar: the pixels of such small images are a good
# representation already, and neither PCA nor the autoencoder loses relevant information.
# Differences of a percentage point are not significant, with 797 images. With noise, PCA removes
# the part of the noise outside its 32 axes, and the autoencoder also removes a part of the rest.
