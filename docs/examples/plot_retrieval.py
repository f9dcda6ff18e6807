"""
Retrieval by bits
=================

``SemanticHashing`` gives every image a code of 64 bits, eight bytes, and finds the images whose
codes differ in the fewest. It is told nothing of the digits that they show. The data are
scikit-learn's handwritten digits, 8 x 8 pixels each.
"""

# %%
# Codes
# -----
# The last 297 images ask, the others answer. Random hyperplanes are the classical way to get
# bits without learning.

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
# How many of the first neighbours show the same digit
# ----------------------------------------------------


def precision(distances):
    """Share of the same digit among the first 1, 2, ..., 100 neighbours."""
    order = np.argsort(distances, axis=1, kind="stable")[:, :100]
    same = labels[order] == asked[:, None]
    return (same.cumsum(axis=1) / np.arange(1, 101)).mean(axis=0)


def differing(first, second):
    """Number of bits that differ, of all pairs."""
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
axes.set(xlabel="number of neighbours", ylabel="share of the same digit", ylim=(0, 1))
axes.legend()
figure.savefig(output / "retrieval.png", dpi=120)

# %%
# Neighbours
# ----------
# A query on the left, and the eight images whose codes are nearest to its own. The number
# is that of differing bits.

distances, indices = hashing.kneighbors(queries[:6], n_neighbors=8)
figure, axes = plt.subplots(6, 9, figsize=(8, 6), layout="constrained")
for line, query, counts, places in zip(axes, queries, distances, indices, strict=False):
    for cell, image in zip(line, [query, *rows[places]], strict=True):
        cell.imshow(image.reshape(8, 8), cmap="gray_r")
        cell.set(xticks=[], yticks=[])
    for cell, count in zip(line[1:], counts, strict=True):
        cell.set_xlabel(f"{count:.0f}", fontsize=8)
axes[0, 0].set_title("query", fontsize=10)
figure.savefig(output / "neighbors.png", dpi=120)
