"""
A search in one batch
=====================

A grid search fits many small networks that differ in little: in the fold, in the learning rate,
in the noise. Within ``parallel_config(backend="sklearn_ae")`` those of equal shape are trained
together, as one batch of networks. The search itself does not change, and neither do its
scores.
"""

# %%
# Forty-five fits: three learning rates, three levels of noise, five folds. The codes of the
# breast cancer data are features for a linear classifier, and the score is its accuracy.

import time

import matplotlib.pyplot as plt
from joblib import parallel_config
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import DenoisingAutoencoder

X, y = load_breast_cancer(return_X_y=True)
pipeline = Pipeline(
    [
        ("scaler", StandardScaler()),
        ("codes", DenoisingAutoencoder(3, hidden_layer_sizes=(16,), max_iter=50, random_state=0)),
        ("classifier", LogisticRegression()),
    ]
)
grid = {
    "codes__learning_rate_init": [3e-4, 1e-3, 3e-3],
    "codes__noise_level": [0.1, 0.3, 1.0],
}

# %%
# One fit after another, and all at once:

seconds, scores = {}, {}
for backend in ("sequential", "sklearn_ae"):
    start = time.perf_counter()
    with parallel_config(backend=backend):
        search = GridSearchCV(pipeline, grid, cv=5).fit(X, y)
    seconds[backend] = time.perf_counter() - start
    scores[backend] = search.cv_results_["mean_test_score"].reshape(3, 3)
    print(f"{backend}: {seconds[backend]:.1f} s, best {search.best_params_}")

# %%
# The scores are the same, and the search took a fraction of the time.

figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=True)
for ax, (backend, values) in zip(axes, scores.items(), strict=True):
    picture = ax.imshow(values, cmap="viridis", vmin=0.9, vmax=1)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            ax.text(column, row, f"{value:.3f}", ha="center", va="center", color="white")
    ax.set_xticks(range(3), grid["codes__noise_level"])
    ax.set_yticks(range(3), grid["codes__learning_rate_init"])
    ax.set(xlabel="noise_level", title=f"{backend}: {seconds[backend]:.1f} s")
axes[0].set_ylabel("learning_rate_init")
figure.colorbar(picture, ax=axes, label="accuracy")
plt.show()
