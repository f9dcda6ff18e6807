"""
Retrieval of texts with binary codes
====================================

``SemanticHashing`` encodes a text in 128 bits and finds the texts whose codes differ in the
fewest bits. The texts are the docstrings of SciPy and scikit-learn, and a neighbour is relevant
if it comes from the same subpackage.
"""

# %%
# Bags of words
# -------------
# A quarter of the docstrings are queries and not used in training. Labels, the subpackages, are
# used for the evaluation only.

import importlib
import inspect
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from sklearn_ae import SemanticHashing

SCIPY = "fft interpolate linalg ndimage optimize signal sparse special stats"
SKLEARN = "cluster datasets decomposition ensemble linear_model metrics preprocessing"
packages = [f"scipy.{part}" for part in SCIPY.split()]
packages += [f"sklearn.{part}" for part in SKLEARN.split()]
found = {}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # names that SciPy has deprecated
    for package in packages:
        module = importlib.import_module(package)
        for name in module.__all__:
            text = (inspect.getdoc(getattr(module, name)) or "").split("\nReferences\n")[0]
            if len(text.split()) >= 40:
                found[name] = text.split("\nExamples\n")[0], package
names = np.array(list(found))
texts, labels = (np.array(part) for part in zip(*found.values(), strict=True))
queries, stored = np.split(np.random.default_rng(0).permutation(len(names)), [len(names) // 4])
vectorizer = TfidfVectorizer(
    max_features=2000, stop_words="english", sublinear_tf=True, token_pattern="[a-z]{3,}"
).fit(texts[stored])
X, X_queries = vectorizer.transform(texts[stored]), vectorizer.transform(texts[queries])

# %%
# Precision
# ---------
# Precision at 10 is the fraction of the ten nearest texts from the same subpackage. Latent
# semantic analysis (LSA) has as many components as the codes have bits; the signs of its
# components are binary codes, too.

hashing = SemanticHashing(128, random_state=0).fit(X)
lsa = TruncatedSVD(128, random_state=0).fit(X)
linear = lsa.transform(X), lsa.transform(X_queries)
signs = [np.sign(codes - linear[0].mean(axis=0)) for codes in linear]
bits = [2 * hashing.transform(part) - 1 for part in (X, X_queries)]
similarities = {
    "2,000 words, cosine": cosine_similarity(X_queries, X),
    "LSA, 128 numbers, cosine": cosine_similarity(linear[1], linear[0]),
    "signs of LSA, 128 bits": signs[1] @ signs[0].T,
    "SemanticHashing, 128 bits": bits[1] @ bits[0].T,
}
print(f"{len(stored)} texts, {len(queries)} queries, {len(set(labels))} subpackages")
for name, values in similarities.items():
    nearest = np.argsort(-values, axis=1, kind="stable")[:, :10]
    precision = (labels[stored][nearest] == labels[queries][:, None]).mean()
    print(f"{name:26} precision at 10: {precision:.3f}")

# %%
# Codes of 16 bytes find as many relevant texts as the cosine of LSA, whose codes take 512 bytes.
# Where memory does not matter LSA is enough.
#
# Neighbours
# ----------
# ``kneighbors`` searches the texts of the fit. Each row shows a query on the left, and the
# texts with the nearest codes. Those from other subpackages are red; some of them are relevant
# nevertheless.

shown = queries[:10]
_, indices = hashing.kneighbors(X_queries[:10], n_neighbors=4)
figure, ax = plt.subplots(figsize=(10, 4.6), layout="constrained")
ax.set(xlim=(0, 5), ylim=(len(shown), 0))
ax.axis("off")
for line, (query, neighbors) in enumerate(zip(shown, stored[indices], strict=True)):
    for column, number in enumerate((query, *neighbors)):
        color = "0.9" if column == 0 else "#d5e8f7"
        color = color if labels[number] == labels[query] else "#f7d5d0"
        ax.add_patch(plt.Rectangle((column + 0.01, line + 0.05), 0.97, 0.88, color=color))
        weight = "bold" if column == 0 else "normal"
        ax.text(column + 0.04, line + 0.32, names[number][:26], size=9, va="center", weight=weight)
        ax.text(column + 0.04, line + 0.7, labels[number], size=8, va="center", color="0.35")
plt.show()
