"""
Missing values
==============

Half of the pixels of handwritten digits are missing, at random. The means of the features know
nothing of the other pixels; ``KNNImputer`` averages the pixels of similar digits;
``AutoencoderImputer`` learns from incomplete digits how pixels depend on each other. The root mean
square error of the hidden pixels stands above each row.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.impute import KNNImputer, SimpleImputer

from sklearn_ae import AutoencoderImputer

X = load_digits().data / 16
hidden = np.random.default_rng(0).random(X.shape) < 0.5
incomplete = np.where(hidden, np.nan, X)

imputers = {
    "mean": SimpleImputer(keep_empty_features=True),
    "nearest neighbours": KNNImputer(),
    "autoencoder": AutoencoderImputer(random_state=0),
}
rows = {"digits": X, "half of the pixels": incomplete}
for name, imputer in imputers.items():
    imputed = imputer.fit_transform(incomplete)
    error = np.sqrt(np.square(imputed - X)[hidden].mean())
    rows[f"{name}: {error:.3f}"] = imputed

# %%
# Each column is a digit.

figure, axes = plt.subplots(len(rows), 10, figsize=(7, 5.2), layout="constrained")
colours = plt.colormaps["gray_r"].with_extremes(bad="lightsteelblue")
for line, (title, samples) in zip(axes, rows.items(), strict=True):
    for ax, sample in zip(line, samples, strict=False):
        ax.imshow(sample.reshape(8, 8), cmap=colours, vmin=0, vmax=1)
        ax.set_axis_off()
    line[0].set_title(title, loc="left", fontsize=10)
plt.show()
