"""
Image retrieval with binary codes
=================================

``SemanticHashing`` encodes every image in 64 bits, eight bytes, and finds the images with the
smallest Hamming distance. Labels are used for evaluation only. The data are scikit-learn's
handwritten digits of 8 x 8 pixels.
"""

# %%
# Binary codes
# ------------
# The last 297 images are queries, the others the database. Random hyperplanes are the classical
# method for binary codes without training.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import euclidean_distances

from sklearn_ae import SemanticHashing

output = Path("demo_output")
output.mkdir(exist_ok=True)

X, y = load_digits(return_X_y=True)
rows, queries, labels, asked = X[:1500], X[1500:], y[:1500], y[1500:]
hashing = SemanticHashing(64, max_iter=60, random_state=0, verbose=1).fit(rows)
codes, asking = hashing.transform(rows), hashing.transform(queries)
print("bits of one image:", codes[0].astype(int))
print("bytes for all images:", hashing.packed_codes_.nbytes)

planes = np.random.default_rng(0).standard_normal((64, 64))
random_codes, random_asking = ((part - rows.mean(axis=0)) @ planes > 0 for part in (rows, queries))

# %%
# Precision
# ---------
# Precision at k is the fraction of the k nearest neighbours that show the same digit.


def precision(distances):
    """Return the precision at 1, 2, ..., 100 neighbours."""
    order = np.argsort(distances, axis=1, kind="stable")[:, :100]
    same = labels[order] == asked[:, None]
    return (same.cumsum(axis=1) / np.arange(1, 101)).mean(axis=0)


def differing(first, second):
    """Return the Hamming distances of all pairs."""
    return (first[:, None] != second).sum(axis=2)


curves = {
    "64 pixels, Euclidean": precision(euclidean_distances(queries, rows)),
    "SemanticHashing, 64 bits": precision(differing(asking, codes)),
    "random hyperplanes, 64 bits": precision(differing(random_asking, random_codes)),
}
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name, curve in curves.items():
    axes.plot(np.arange(1, 101), curve, label=name)
    print(f"{name:30} precision at 10: {curve[9]:.3f}, at 100: {curve[99]:.3f}")
axes.set(xlabel="number of neighbours", ylabel="precision", ylim=(0, 1))
axes.legend()
figure.savefig(output / "retrieval.png", dpi=120)

# %%
# Neighbours
# ----------
# Each row shows a query on the left, and the eight images with the nearest codes, with their
# Hamming distances. Neighbours that show another digit are framed and crossed out. Of the first
# eighty queries every tenth is drawn.

shown = np.arange(0, 80, 10)
distances, indices = hashing.kneighbors(queries[shown], n_neighbors=8)
figure, axes = plt.subplots(len(shown), 9, figsize=(7, 7.6), layout="constrained")
for line, number, counts, places in zip(axes, shown, distances, indices, strict=True):
    for cell, image in zip(line, [queries[number], *rows[places]], strict=True):
        cell.imshow(image.reshape(8, 8), cmap="gray_r")
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set_color("silver")
    line[0].spines[:].set(color="black", linewidth=2)
    line[0].set_ylabel(asked[number], rotation=0, labelpad=10, va="center", weight="bold")
    for cell, count, label in zip(line[1:], counts, labels[places], strict=True):
        cell.set_xlabel(f"{count:.0f}", fontsize=9, labelpad=2)
        if label != asked[number]:
            cell.set_xlabel(f"{count:.0f}, a {label}", fontsize=9, labelpad=2)
            cell.spines[:].set(color="firebrick", linewidth=3)
            cell.plot([-0.5, 7.5], [-0.5, 7.5], color="firebrick", linewidth=2)
            cell.set(xlim=(-0.5, 7.5), ylim=(7.5, -0.5))
right = np.mean(labels[indices] == asked[shown][:, None])
figure.suptitle(f"Queries and images with the nearest codes: {right:.0%} correct", fontsize=11)
figure.savefig(output / "neighbors.png", dpi=120)
