"""Copies of an autoencoder, or of a pipeline that ends in one, that members of ensembles are."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter


def last_step(estimator: Any) -> Any:
    """Return the autoencoder itself."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def seeded_copy(template: Any, seed: int) -> Any:
    """Return a copy, every ``random_state`` in it set from ``seed``."""
    estimator = clone(template)
    names = sorted(name for name in estimator.get_params() if name.endswith("random_state"))
    seeds = np.random.RandomState(seed).randint(2**31 - 1, size=len(names))
    return estimator.set_params(**{name: int(s) for name, s in zip(names, seeds, strict=True)})


def fit_steps(estimator: Any, X: Any, weight: np.ndarray | None) -> None:
    """Fit one step after another, with the weights where it takes them."""
    for _, step in _steps(estimator):
        weighted = weight is not None and has_fit_parameter(step, "sample_weight")
        step.fit(X, **({"sample_weight": weight} if weighted else {}))
        if step is not last_step(estimator):
            X = step.transform(X)


def prepare(estimator: Any, X: Any) -> Any:
    """Apply all steps before the autoencoder."""
    for _, step in _steps(estimator)[:-1]:
        X = step.transform(X)
    return X


def _steps(estimator: Any) -> list[tuple[str, Any]]:
    if not isinstance(estimator, Pipeline):
        return [("autoencoder", estimator)]
    return [(name, step) for name, step in estimator.steps if step not in (None, "passthrough")]
