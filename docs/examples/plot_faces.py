"""
Faces
=====

Faces are drawn with five parameters, as a sketch would be: turn, height of the eyes, mouth,
width and light. Half-way between the principal components of two faces there are two faces on
top of each other; half-way between the codes of a convolutional autoencoder there is one.
"""

# %%
# Drawn faces
# -----------

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA

from sklearn_ae import Autoencoder
from sklearn_ae.networks import ConvolutionalNetwork

SIZE = 32
v, u = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]


def inside(distance):
    """Return one inside of a shape, where the distance is negative, and zero outside."""
    return 1 / (1 + np.exp(np.clip(distance * 30, -30, 30)))


def face(turn, eyes, mouth, width, light):
    """Draw a face; all parameters are between -1 and 1."""
    half = 0.62 + 0.12 * width
    image = inside(np.hypot(u / half, v / 0.85) - 1) * (0.75 + 0.2 * light * u)
    shift, level = 0.25 * turn, -0.2 + 0.1 * eyes
    for side in (-0.27, 0.27):
        image *= 1 - 0.8 * inside(np.hypot((u - side - shift) / 1.2, v - level) - 0.1)
    image *= 1 - 0.4 * inside(np.maximum(np.abs(u - 1.4 * shift) - 0.05, np.abs(v - 0.1) - 0.15))
    curve = 0.45 - 0.9 * mouth * (np.square(u - shift) - 0.05)
    mouth_shape = np.maximum(np.abs(v - curve) - 0.05, np.abs(u - shift) - 0.3)
    return image * (1 - 0.7 * inside(mouth_shape))


rng = np.random.default_rng(0)
X_train, X_test = (
    np.array([face(*parameters) for parameters in rng.uniform(-1, 1, size=(n, 5))])
    for n in (2000, 300)
)

# %%
# Reconstructions
# ---------------
# Both models have as many components as there are parameters.

autoencoder = Autoencoder(
    5,
    network=ConvolutionalNetwork(channels=(16, 32)),
    init="random",
    learning_rate_init=5e-3,
    max_iter=25,
    random_state=0,
).fit(X_train)
flat_train, flat_test = (X.reshape(len(X), -1) for X in (X_train, X_test))
pca = PCA(5).fit(flat_train)
linear = pca.inverse_transform(pca.transform(flat_test))
ratio = 1 - np.square(linear - flat_test).sum() / np.square(flat_test - pca.mean_).sum()
print(f"explained variance of test faces: PCA {ratio:.3f}", end=", ")
print(f"autoencoder {autoencoder.score(X_test):.3f}")

# %%
# From one face to another
# ------------------------

ends = np.array([face(-0.8, 0, -0.8, 0.5, 1), face(0.8, 0, 0.8, -0.5, -1)])
codes = pca.transform(ends.reshape(2, -1))
rows = {
    "PCA": pca.inverse_transform(np.linspace(*codes, 8)),
    "autoencoder": autoencoder.interpolate(ends[:1], ends[1:], n_steps=8)[0],
}
figure, axes = plt.subplots(2, 10, figsize=(10, 2.5), layout="constrained")
for line, (name, images) in zip(axes, rows.items(), strict=True):
    for ax, image in zip(line, (ends[0], *images, ends[1]), strict=True):
        ax.imshow(image.reshape(SIZE, SIZE), cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name)
axes[0, 0].set_title("first face", fontsize=9)
axes[0, -1].set_title("second face", fontsize=9)
plt.show()
