"""
Text retrieval with binary codes
================================

``SemanticHashing`` encodes every text in 128 bits, sixteen bytes, and finds the texts with the
smallest Hamming distance. The texts are the docstrings of SciPy and scikit-learn.
"""

# %%
# Bags of words
# -------------
# A text is the part of a docstring before its references and examples. Its label is the
# subpackage, which is used for evaluation only. A quarter of the texts are queries and not used in
# training.

import importlib
import inspect
import re
import warnings
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.utils.discovery import all_estimators, all_functions

from sklearn_ae import SemanticHashing

output = Path("demo_output")
output.mkdir(exist_ok=True)

parts = ["fft", "integrate", "interpolate", "linalg", "ndimage", "optimize", "signal", "sparse"]
parts += ["special", "stats"]
objects = {}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for name, value in all_estimators() + all_functions():
        objects[name] = value, ".".join(value.__module__.split(".")[:2])
    for part in parts:
        module = importlib.import_module(f"scipy.{part}")
        for name in module.__all__:
            objects[name] = getattr(module, name), f"scipy.{part}"

texts = {
    name: re.split(r"\n(?:References|Examples|See Also)\n-+", inspect.getdoc(value) or "")[0]
    for name, (value, _) in objects.items()
}
names = [name for name, text in texts.items() if len(text.split()) >= 40]
sizes = Counter(objects[name][1] for name in names)
names = np.array([name for name in names if sizes[objects[name][1]] >= 15])
labels = np.array([objects[name][1] for name in names])

order = np.random.default_rng(0).permutation(len(names))
asking, known = np.split(order, [len(names) // 4])
words = TfidfVectorizer(
    max_features=2000, stop_words="english", sublinear_tf=True, token_pattern="[a-z]{3,}"
).fit([texts[name] for name in names[known]])
rows, queries = (
    words.transform([texts[name] for name in names[part]]) for part in (known, asking)
)
print(f"{len(known)} texts and {len(asking)} queries of {len(set(labels))} subpackages")

# %%
# Precision
# ---------
# Precision at k is the fraction of the k nearest neighbours from the same subpackage. The
# baselines are the bags of words and latent semantic analysis (LSA) with 128 components.

hashing = SemanticHashing(
    128, hidden_layer_sizes=(256,), code_noise=4.0, max_iter=40, random_state=0
).fit(rows)
bits = [2 * hashing.transform(part) - 1 for part in (queries, rows)]
lsa = TruncatedSVD(128, random_state=0).fit(rows)
similarities = {
    "2,000 words, cosine": cosine_similarity(queries, rows),
    "LSA, 128 components, cosine": cosine_similarity(lsa.transform(queries), lsa.transform(rows)),
    "SemanticHashing, 128 bits": bits[0] @ bits[1].T,
}
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for (name, values), style in zip(similarities.items(), ("-", "--", "-."), strict=True):
    nearest = np.argsort(-values, axis=1, kind="stable")[:, :50]
    same = labels[known][nearest] == labels[asking][:, None]
    curve = (same.cumsum(axis=1) / np.arange(1, 51)).mean(axis=0)
    axes.plot(np.arange(1, 51), curve, style, label=name)
    print(f"{name:28} precision at 5: {curve[4]:.3f}, at 50: {curve[49]:.3f}")
axes.set(xlabel="number of neighbours", ylabel="precision", ylim=(0, 1))
axes.legend(loc="lower left")
figure.savefig(output / "text_retrieval.png", dpi=120)

# %%
# Neighbours
# ----------
# Each row shows a query on the left, and the four texts with the nearest codes. Those of another
# subpackage are framed and crossed out; some of them are relevant nevertheless.

shown = asking[:12]
_, indices = hashing.kneighbors(words.transform([texts[name] for name in names[shown]]), 4)
figure, ax = plt.subplots(figsize=(11, 5.6), layout="constrained")
ax.set(xlim=(0, 5), ylim=(len(shown), -0.6))
ax.axis("off")
right = np.mean(labels[known[indices]] == labels[shown][:, None])
for column, title in ((0, "query"), (1, f"nearest codes, {right:.0%} of the same subpackage")):
    ax.text(column + 0.02, -0.3, title, weight="bold")


def shorten(name):
    """Truncate names that do not fit into a cell."""
    return name if len(name) < 25 else f"{name[:23]}..."


for line, (query, places) in enumerate(zip(shown, known[indices], strict=True)):
    for column, number in enumerate((query, *places)):
        wrong = labels[number] != labels[query]
        box = {"fc": "white", "ec": "firebrick"} if wrong else {"fc": "0.92", "ec": "none"}
        cell = plt.Rectangle((column + 0.01, line + 0.04), 0.97, 0.9, linewidth=1.8, **box)
        ax.add_patch(cell)
        style = {"weight": "bold"} if column == 0 else {}
        ax.text(column + 0.04, line + 0.3, shorten(names[number]), size=9, va="center", **style)
        mark = "\N{MULTIPLICATION SIGN} " if wrong else ""
        ax.text(column + 0.04, line + 0.7, mark + labels[number], size=8, va="center", color="0.3")
figure.savefig(output / "text_neighbors.png", dpi=120)
