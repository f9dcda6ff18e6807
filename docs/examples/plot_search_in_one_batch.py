"""
A search in one batch
=====================

A grid search fits many small networks that differ in little: in the fold, in the learning rate,
in the noise. Within ``parallel_config(backend="sklearn_ae")`` those of equal shape are trained
together, as one batch of networks. The search itself does not change, and neither do its
scores.
"""

# %%
# Twenty-seven fits: three learning rates, three levels of noise, three folds. The score is the
# accuracy of nearest neighbours among the codes of digits.

import time

import matplotlib.pyplot as plt
import numpy as np
from joblib import parallel_config
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from sklearn_ae import Autoencoder

X, y = load_digits(return_X_y=True)
X, y = X[:600], y[:600]
autoencoder = Autoencoder(4, hidden_layer_sizes=(32,), init="random", max_iter=60, random_state=0)
pipeline = Pipeline([("codes", autoencoder), ("classifier", KNeighborsClassifier())])
grid = {
    "codes__input_noise": [0.0, 0.3, 1.0],
    "codes__learning_rate_init": [1e-3, 3e-3, 1e-2],
}

# %%
# One fit after another, and all at once:

seconds, scores = {}, {}
for backend in ("sequential", "sklearn_ae"):
    start = time.perf_counter()
    with parallel_config(backend=backend):
        search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    seconds[backend] = time.perf_counter() - start
    scores[backend] = search.cv_results_["mean_test_score"].reshape(3, 3)
    print(f"{backend:12}{seconds[backend]:5.1f} s, best accuracy {search.best_score_:.3f}")

# %%
# The scores are the same, and the search took a fraction of the time.

lowest, highest = np.min(scores["sequential"]), np.max(scores["sequential"])
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=True)
for ax, (backend, values) in zip(axes, scores.items(), strict=True):
    ax.imshow(values, cmap="YlGnBu", vmin=lowest, vmax=1.2 * highest)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            ax.text(column, row, f"{value:.3f}", ha="center", va="center")
    ax.set_xticks(range(3), grid["codes__learning_rate_init"])
    ax.set_yticks(range(3), grid["codes__input_noise"])
    ax.set(xlabel="learning_rate_init", title=f"{backend}: {seconds[backend]:.1f} s")
axes[0].set_ylabel("input_noise")
figure.suptitle("mean accuracy of three folds")
plt.show()
