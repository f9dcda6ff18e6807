"""Draw the picture of the front page: test digits in the plane, by PCA and by an autoencoder.

The models are those of the example on the front page. The background is transparent, and the grey
of the text is readable on light and dark pages. Run::

    python docs/front_picture.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler

from sklearn_ae import Autoencoder

PICTURE = Path(__file__).parent / "images" / "digits_2d.png"
GREY = "#808890"
COLOURS = [
    *("#2f8fd8", "#f07f1e", "#2ea043", "#e0403c", "#9a6fd0"),
    *("#b5705f", "#e070c0", "#7f8790", "#b0b020", "#1fb8c8"),
]
REDUCERS = {
    "PCA": PCA(2),
    "Autoencoder": Autoencoder(2, random_state=0),
}


def explained(model: Pipeline, X: np.ndarray) -> float:
    """Return the explained variance ratio of the reconstructions of scaled samples."""
    scaled = model[0].transform(X)
    error = np.square(scaled - model[1].inverse_transform(model[1].transform(scaled))).sum()
    return float(1 - error / np.square(scaled - scaled.mean(0)).sum())


def draw(axes: plt.Axes, codes: np.ndarray, digits: np.ndarray) -> None:
    """Draw each sample as its digit."""
    for digit in range(10):
        axes.scatter(
            *codes[digits == digit].T,
            marker=f"${digit}$",
            s=34,
            linewidths=0.4,
            color=COLOURS[digit],
        )
    axes.set(xticks=[], yticks=[])
    axes.margins(0.03)
    axes.spines[:].set(color=GREY, linewidth=0.6)


def main() -> None:
    """Fit both models, draw the codes of the test samples and print the figures."""
    mpl.use("agg")
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    figure, cells = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    for cell, (name, reducer) in zip(cells, REDUCERS.items(), strict=True):
        model = make_pipeline(MinMaxScaler(), reducer, KNeighborsClassifier())
        accuracy = model.fit(X_train, y_train).score(X_test, y_test)
        ratio = explained(model, X_test)
        draw(cell, model[:-1].transform(X_test), y_test)
        cell.set_title(f"{name}(2)", color=GREY, fontsize=16, fontweight="bold")
        cell.set_xlabel(
            f"{ratio:.0%} of the variance, {accuracy:.0%} of the digits recognised",
            color=GREY,
            fontsize=13,
        )
        print(f"{name}: explained variance ratio {ratio:.3f}, accuracy {accuracy:.3f}")
    figure.savefig(PICTURE, dpi=100, transparent=True, metadata={"Software": None})
    print(f"{PICTURE.name}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
