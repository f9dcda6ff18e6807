"""What tests that inject faults share: rows, targets, and what an estimator holds and says."""

import functools
import pickle

import numpy as np
import pytest
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, name_of
from sklearn.base import clone, is_classifier, is_regressor

EVERY = [*INSTANCES, *SUPERVISED, *OUTLIER_DETECTORS]
CLASSES = [next(e for e in EVERY if type(e) is kind) for kind in dict.fromkeys(map(type, EVERY))]

each_estimator = pytest.mark.parametrize("instance", EVERY, ids=name_of)
each_class = pytest.mark.parametrize("instance", CLASSES, ids=lambda e: type(e).__name__)


def table(n_samples=40, n_features=4, dtype=np.float64):
    """Return rows of independent Gaussian numbers."""
    return np.random.default_rng(0).normal(size=(n_samples, n_features)).astype(dtype)


def targets(estimator, n_samples=40):
    """Return targets of the kind that an estimator takes: none for most."""
    if is_classifier(estimator):
        return np.arange(n_samples) % 2
    return np.linspace(0, 1, n_samples) if is_regressor(estimator) else None


def seeded(instance, **params):
    """Return an unfitted copy with a fixed seed, and further parameters."""
    return clone(instance).set_params(random_state=0, **params)


def fitted(instance, X, **params):
    """Return a fitted copy with a fixed seed, and further parameters."""
    return seeded(instance, **params).fit(X, targets(instance, len(X)))


@functools.cache
def _pickled(place, dtype, params):
    return pickle.dumps(fitted(EVERY[place], table(dtype=dtype), **dict(params)))


def ready(instance, dtype=np.float64, **params):
    """Return a copy of an estimator that was fitted on ``table(dtype=dtype)``, once a process.

    For tests of fitted estimators: a copy takes a tenth of the time of a fit.
    """
    return pickle.loads(_pickled(EVERY.index(instance), dtype, tuple(params.items())))


def outcome(estimator, X):
    """Return what an estimator makes of rows."""
    return estimator.transform(X) if hasattr(estimator, "transform") else estimator.explain(X)


def holdings(estimator):
    """Return all that an estimator holds, to the bit."""
    return pickle.dumps(estimator)


def named(estimator, ending):
    """Return the name of the parameter, wherever it sits, that ends so; None without one."""
    names = [name for name in estimator.get_params() if name.split("__")[-1] == ending]
    return min(names, key=len, default=None)


def fails(estimator, error, message, X, y=None, **rest):
    """Check that a fit fails with this error and leaves the estimator, fitted or not."""
    before = holdings(estimator)
    with pytest.raises(error, match=message) as caught:
        estimator.fit(X, targets(estimator, len(X)) if y is None else y, **rest)
    assert holdings(estimator) == before
    return caught.value
