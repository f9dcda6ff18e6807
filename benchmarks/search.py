"""Compare scorers for hyperparameter searches by the test scores of the selected candidates.

Half of scikit-learn's digits are for the search, by three-fold cross-validation, the other half
for the test. *Noise*: the ``noise_level`` of a denoising autoencoder with 16 components, selected
by reconstruction, by denoising at two levels and by a classifier on the codes. *Size*: the
``n_components`` of a variational autoencoder, selected by reconstruction, by the evidence lower
bound and by a classifier on the codes. Run::

    python benchmarks/search.py [--quick] [--jobs 2]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from _data import machine, write_json
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import DenoisingAutoencoder, VariationalAutoencoder
from sklearn_ae.metrics import denoising_scorer, elbo_scorer, reconstruction_scorer

LEVELS = [1e-6, 0.5, 1.0, 2.0, 4.0, 8.0]
SIZES = [2, 4, 8, 16, 32]


class Downstream:
    """Scorer: accuracy of a linear classifier fitted on the codes of training samples."""

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X, self.y = X, y

    def __call__(self, estimator: Any, X: np.ndarray, y: np.ndarray) -> float:
        """Return the accuracy."""
        head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        return head.fit(estimator.transform(self.X), self.y).score(estimator.transform(X), y)


def compare(candidates: dict, criteria: dict, data: tuple, jobs: int) -> dict:
    """Return the candidate that each scorer selects, and all its scores on test samples."""
    X, X_test, y, y_test = data
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    means = {}
    for value, model in candidates.items():
        found = {name: [] for name in [*criteria, "classifier on the codes"]}
        fits = cross_validate(
            model, X, y, cv=folds, n_jobs=jobs, scoring=criteria, return_estimator=True,
            return_indices=True,
        )  # fmt: skip
        for name in criteria:
            found[name] = list(fits[f"test_{name}"])
        parts = zip(fits["indices"]["train"], fits["indices"]["test"], strict=True)
        found["classifier on the codes"] = [
            Downstream(X[train], y[train])(fitted, X[test], y[test])
            for fitted, (train, test) in zip(fits["estimator"], parts, strict=True)
        ]
        means[value] = {name: float(np.mean(scores)) for name, scores in found.items()}
    tests: dict = {}
    chosen = {name: max(means, key=lambda value: means[value][name]) for name in found}
    for value in set(chosen.values()):
        fitted = clone(candidates[value]).fit(X)
        tests[value] = {name: score(fitted, X_test, y_test) for name, score in criteria.items()}
        tests[value]["classifier on the codes"] = Downstream(X, y)(fitted, X_test, y_test)
    return {"validation": means, "chosen": chosen, "test": tests}


def show(title: str, result: dict) -> None:
    """Print one line per scorer."""
    names = list(result["chosen"])
    print(f"{title:28}{'chosen':>8}" + "".join(f"{name:>26}" for name in names))
    for name, value in result["chosen"].items():
        scores = result["test"][value]
        print(f"{name:28}{value:>8g}" + "".join(f"{scores[other]:26.3f}" for other in names))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    parser.add_argument(
        "--jobs", type=int, default=2, help="number of parallel fits, with one thread each"
    )
    arguments = parser.parse_args()
    X, y = load_digits(return_X_y=True)
    data = train_test_split(X, y, test_size=0.5, random_state=0, stratify=y)
    options = {"max_iter": 10 if arguments.quick else 200, "random_state": 0}
    print(machine())
    start = time.perf_counter()
    noise = compare(
        {level: DenoisingAutoencoder(16, noise_level=level, **options) for level in LEVELS},
        {
            "reconstruction": reconstruction_scorer,
            "denoising at 2": denoising_scorer(noise_level=2.0),
            "denoising at 4": denoising_scorer(noise_level=4.0),
        },
        data,
        arguments.jobs,
    )
    show("noise_level by", noise)
    size = compare(
        {size: VariationalAutoencoder(size, **options) for size in SIZES},
        {"reconstruction": reconstruction_scorer, "elbo": elbo_scorer},
        data,
        arguments.jobs,
    )
    show("n_components by", size)
    seconds = time.perf_counter() - start
    print(f"{seconds:.0f} s")
    report = {"machine": machine(), "seconds": seconds, "noise": noise, "size": size}
    write_json("search", report)


if __name__ == "__main__":
    main()
