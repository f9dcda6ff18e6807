"""
A grid search
=============

Parameters of an autoencoder are searched like those of any step of a pipeline, by the accuracy
of the classifier after it. The number of principal components is searched in the same way, and
both best pipelines are compared on test samples.
"""

# %%
# The searches
# ------------
# A classifier of nearest neighbours depends on distances alone, and shows how well codes keep
# them. Fewer epochs than by default are enough to compare the candidates. The codes are to have
# at most eight components: with 16 of them PCA is as good.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from sklearn_ae import Autoencoder

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
sizes = [2, 4, 8]
grids = {
    "PCA": (PCA(), {}),
    "autoencoder": (
        Autoencoder(max_iter=60, random_state=0),
        {"reducer__input_noise": [0.1, 0.4]},
    ),
}
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for name, (reducer, grid) in grids.items():
    pipeline = Pipeline([("reducer", reducer), ("classifier", KNeighborsClassifier())])
    search = GridSearchCV(pipeline, {"reducer__n_components": sizes, **grid}, cv=3)
    search.fit(X_train, y_train)
    best = {key.removeprefix("reducer__"): value for key, value in search.best_params_.items()}
    print(f"{name:12}{search.score(X_test, y_test):.3f} on test samples with {best}")
    results = search.cv_results_
    means, errors = (
        results[f"{kind}_test_score"].reshape(-1, len(sizes)) for kind in ("mean", "std")
    )
    for noise, mean, error in zip(
        grid.get("reducer__input_noise", [None]), means, errors, strict=True
    ):
        label = name if noise is None else f"{name}, input_noise={noise}"
        ax.errorbar(sizes, mean, error, fmt="o-" if noise else "s--", capsize=3, label=label)
ax.set(xlabel="components", ylabel="accuracy, mean of three folds", xticks=sizes)
ax.legend()
plt.show()
