"""
Pooling and unpooling
=====================

Max-pooling discards where in its window the maximum was. A decoder can repeat a value over the
window, learn a pattern for it by a transposed convolution, or put it back to its place by
switches, which are sharp because they are a further part of the code.
"""

# %%
# Codes of patches
# ----------------
# The same network is fitted with each kind of unpooling on patches of one photograph and
# encodes patches of another one. Its code has 16 components; switches add a column for each
# pooled value.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_ae import ConvolutionalAutoencoder

images = [image.mean(axis=2).astype(np.float32) / 255 for image in load_sample_images().images]
X_train = extract_patches_2d(images[0], (24, 24), max_patches=3000, random_state=0)
X_test = extract_patches_2d(images[1], (24, 24), max_patches=400, random_state=0)

models = {
    unpooling: ConvolutionalAutoencoder(
        16,
        channels=(8,),
        pool_size=4,
        unpooling=unpooling,
        max_iter=10,
        learning_rate_init=5e-3,
        random_state=0,
    ).fit(X_train)
    for unpooling in ("nearest", "transposed", "switches")
}
print(f"{'unpooling':12}{'columns of the code':>20}{'explained variance':>20}")
for name, model in models.items():
    print(f"{name:12}{model.transform(X_test).shape[1]:20}{model.score(X_test):20.3f}")

# %%
# Reconstructions
# ---------------
# The eight patches are those of the test patches with the largest contrast.

strongest = X_test[np.argsort(X_test.std(axis=(1, 2)))[-8:]]
rows = {"original": strongest}
rows |= {name: model.reconstruct(strongest) for name, model in models.items()}
figure, axes = plt.subplots(len(rows), 8, figsize=(7.5, 4), layout="constrained")
for line, (name, patches) in zip(axes, rows.items(), strict=True):
    for ax, patch in zip(line, patches, strict=True):
        ax.imshow(patch, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.show()
