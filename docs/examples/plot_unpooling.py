"""
Pooling and unpooling
=====================

Max-pooling discards where in its window the maximum was. A decoder can repeat a value over the
window, learn a pattern for it by a transposed convolution, or put it back to its place by
switches, which are sharp because they are a further part of the code.
"""

# %%
# Codes of digits
# ---------------
# The same network is fitted with each kind of unpooling. Its code has eight components;
# switches add a column for each pooled value.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_ae import ConvolutionalAutoencoder

X_train, X_test = train_test_split(load_digits().images / 16, random_state=0)
models = {
    unpooling: ConvolutionalAutoencoder(
        8, channels=(16,), unpooling=unpooling, max_iter=40, random_state=0
    ).fit(X_train)
    for unpooling in ("nearest", "transposed", "switches")
}
print(f"{'unpooling':12}{'columns of the code':>20}{'explained variance':>20}")
for name, model in models.items():
    print(f"{name:12}{model.transform(X_test).shape[1]:20}{model.score(X_test):20.3f}")

# %%
# Reconstructions
# ---------------
# The gain of switches is not one of compression: their columns are more than the pixels. They
# show what feature maps detect, and where.

rows = {"original": X_test[:10]}
rows |= {name: model.reconstruct(X_test[:10]) for name, model in models.items()}
figure, axes = plt.subplots(len(rows), 10, figsize=(8, 3.6), layout="constrained")
for line, (name, images) in zip(axes, rows.items(), strict=True):
    for ax, image in zip(line, images, strict=True):
        ax.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.show()
