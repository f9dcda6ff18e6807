"""
An autoencoder beside PCA
=========================

``Autoencoder`` starts at PCA and adds a non-linear part, so that it replaces PCA in a pipeline
without further changes. With the same number of components it explains more of the variance of
handwritten digits, and in the plane its codes separate more of them.
"""

# %%
# Pipelines
# ---------
# The pipelines differ only in their middle step. All figures are those of test samples.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from sklearn_ae import Autoencoder

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)


def fit(reducer):
    """Fit a pipeline of a scaler, a reducer and a classifier."""
    steps = [("scaler", MinMaxScaler()), ("reducer", reducer)]
    return Pipeline([*steps, ("classifier", KNeighborsClassifier())]).fit(X_train, y_train)


def explained_variance(pipeline):
    """Return the explained variance ratio of the test samples."""
    codes = pipeline[:-1].transform(X_test)
    error = np.square(X_test - pipeline[:-1].inverse_transform(codes)).sum()
    return 1 - error / np.square(X_test - X_train.mean(axis=0)).sum()


pipelines = {}
print(f"{'components':>10}  {'reducer':12}{'explained variance':>20}{'accuracy':>10}")
for n_components in (2, 4, 8, 16):
    for reducer in (PCA(n_components), Autoencoder(n_components, random_state=0)):
        name = type(reducer).__name__
        fitted = pipelines[name, n_components] = fit(reducer)
        ratio, accuracy = explained_variance(fitted), fitted.score(X_test, y_test)
        print(f"{n_components:10}  {name:12}{ratio:20.3f}{accuracy:10.3f}")

# %%
# The more components, the smaller the difference for a classifier: 16 principal components
# contain what it needs.

# %%
# Digits in the plane
# -------------------

figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
for ax, name in zip(axes, ("PCA", "Autoencoder"), strict=True):
    codes = pipelines[name, 2][:-1].transform(X_test)
    for digit in range(10):
        ax.scatter(*codes[y_test == digit].T, s=14, color=plt.cm.tab10(digit), label=str(digit))
    ratio = explained_variance(pipelines[name, 2])
    ax.set(title=f"{name}: {ratio:.0%} of the variance", xlabel="code 1", ylabel="code 2")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", title="digit")
output = Path("demo_output")
output.mkdir(exist_ok=True)
figure.savefig(output / "beside_pca.png", dpi=120)
plt.show()
