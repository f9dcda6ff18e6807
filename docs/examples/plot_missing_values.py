"""
Missing values
==============

Half of the pixels of handwritten digits are missing, at random. ``AutoencoderImputer`` learns
from these incomplete digits how pixels depend on each other, and fills the gaps with a smaller
error than nearest neighbours.
"""

# %%
# The number of neighbours of ``KNNImputer`` is the one with the smallest error of a tenth of
# the other pixels, which are hidden for this purpose. ``AutoencoderImputer`` has its default
# parameters.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.impute import KNNImputer, SimpleImputer

from sklearn_ae import AutoencoderImputer

rng = np.random.default_rng(0)
X = load_digits().data / 16
is_missing = rng.random(X.shape) < 0.5
incomplete = np.where(is_missing, np.nan, X)


def error(imputer, samples, chosen):
    """Return the root mean square error of chosen pixels."""
    return np.sqrt(np.square(imputer.fit_transform(samples) - X)[chosen].mean())


is_hidden = ~is_missing & (rng.random(X.shape) < 0.1)
fewer = np.where(is_hidden, np.nan, incomplete)
numbers = [3, 5, 10, 20, 40]
errors = [error(KNNImputer(n_neighbors=number), fewer, is_hidden) for number in numbers]
shared = {"keep_empty_features": True}
imputers = {
    "mean": SimpleImputer(**shared),
    "nearest neighbours": KNNImputer(n_neighbors=numbers[np.argmin(errors)], **shared),
    "autoencoder": AutoencoderImputer(random_state=0, **shared),
}

# %%
# The root mean square error of the missing pixels stands above each row.

rows = {"digits": X, "half of the pixels": incomplete}
for name, imputer in imputers.items():
    imputed = imputer.fit_transform(incomplete)
    rows[f"{name}: {np.sqrt(np.square(imputed - X)[is_missing].mean()):.3f}"] = imputed
figure, axes = plt.subplots(len(rows), 10, figsize=(7, 5.2), layout="constrained")
colours = plt.colormaps["gray_r"].with_extremes(bad="lightsteelblue")
for line, (title, samples) in zip(axes, rows.items(), strict=True):
    for ax, sample in zip(line, samples, strict=False):
        ax.imshow(sample.reshape(8, 8), cmap=colours, vmin=0, vmax=1)
        ax.set_axis_off()
    line[0].set_title(title, loc="left", fontsize=10)
plt.show()
