"""
Sparse features as pictures
===========================

A sparse autoencoder describes each patch of a photograph by a few of many features. The
features are edges at different places and angles, unlike principal components, which cover the
whole patch.
"""

# %%
# Patches
# -------
# Patches of 12 x 12 pixels with some contrast are whitened, so that fine edges count as much as
# large areas of one brightness. Both sets of features are learned from the same whitened
# patches.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_ae import SparseAutoencoder

SIDE = 12
images = [image.mean(axis=2) / 255 for image in load_sample_images().images]
X = np.concatenate(
    [
        extract_patches_2d(image, (SIDE, SIDE), max_patches=15_000, random_state=0)
        for image in images
    ]
).reshape(-1, SIDE**2)
X -= X.mean(axis=1, keepdims=True)
X = X[X.std(axis=1) > 0.06]
pca = PCA(40, whiten=True).fit(X)
whitened = pca.transform(X) @ pca.components_

# %%
# A dictionary
# ------------
# With ``hidden_layer_sizes=()`` the decoder is linear: a reconstruction is the sum of the
# features of the active units, here 5 of 64.

autoencoder = SparseAutoencoder(
    64,
    sparsity="topk",
    n_active=5,
    hidden_layer_sizes=(),
    learning_rate_init=0.01,
    batch_size=128,
    max_iter=60,
    random_state=0,
).fit(whitened)
units = np.eye(64)
features = autoencoder.inverse_transform(units) - autoencoder.inverse_transform(0 * units)
print(f"explained variance with 5 of 64 features: {autoencoder.score(whitened):.2f}")
print(f"explained variance with the first 5 of 40 principal components: {5 / 40:.2f}")

# %%
# Whitened patches vary equally along all principal components, hence each explains a fortieth
# of the variance. The features of the autoencoder are chosen for each patch.

figure, axes = plt.subplots(1, 2, figsize=(9, 4.7), layout="constrained")
pictures = {"principal components": pca.components_[:36], "sparse features": features[:36]}
for ax, (name, rows) in zip(axes, pictures.items(), strict=True):
    rows = rows / np.abs(rows).max(axis=1, keepdims=True)
    tiles = np.pad(
        rows.reshape(6, 6, SIDE, SIDE), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1
    )
    ax.imshow(tiles.swapaxes(1, 2).reshape(6 * (SIDE + 1), -1), cmap="gray", vmin=-1, vmax=1)
    ax.set_title(name)
    ax.set_axis_off()
plt.show()
