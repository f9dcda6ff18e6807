"""Faults, injected: the error names the culprit, and the estimator is as it was."""

import numpy as np
import pytest
from faults import (
    each_estimator,
    fails,
    fitted,
    outcome,
    seeded,
    table,
    targets,
)
from instances import INSTANCES, SUPERVISED, name_of

HUGE = {np.float32: 1e38, np.float64: 1e300}
"""Values that are held, and whose squares are not."""

each_dtype = pytest.mark.parametrize("dtype", HUGE, ids=lambda dtype: dtype.__name__)


def _spoilt(array, bad=(np.nan, np.inf, -np.inf, "huge")):
    """Give copies with one bad entry."""
    for value in bad:
        copy = np.array(array)
        entry = (3,) + (1,) * (copy.ndim - 1)
        copy[entry] = HUGE[copy.dtype.type] if value == "huge" else value
        yield copy


def _each_fails(instance, message, faults):
    """Check that fits fail as they should, of an estimator without weights and of one with."""
    X = table()
    estimator = fitted(instance, X)
    before = outcome(estimator, X)
    for fault in faults:
        fails(seeded(instance), ValueError, message, **fault)
        fails(estimator, ValueError, message, **fault)
    np.testing.assert_array_equal(outcome(estimator, X), before)


# Values that cannot be


@each_dtype
@each_estimator
def test_bad_rows_are_refused(instance, dtype):
    _each_fails(instance, r"\bX\b", ({"X": X} for X in _spoilt(table(dtype=dtype))))


@each_estimator
def test_bad_weights_are_refused(instance):
    weights = [*_spoilt(np.ones(40)), np.full(40, 1e-200)]
    faults = ({"X": table(), "sample_weight": weight} for weight in weights)
    _each_fails(instance, r"\bsample_weight\b", faults)


@each_dtype
@pytest.mark.parametrize("instance", INSTANCES, ids=name_of)
def test_bad_rows_to_validate_on_are_refused(instance, dtype):
    X = table(dtype=dtype)
    _each_fails(instance, r"\bX_val\b", ({"X": X, "X_val": X_val} for X_val in _spoilt(X)))


def test_rows_to_validate_on_are_named_where_they_do_not_fit():
    X, plain = table(), seeded(INSTANCES[0])
    images = X.reshape(40, 2, 2)
    fails(plain, ValueError, "X_val has 3 features", X, X_val=X[:, :3])
    fails(plain, ValueError, "X_val has rows of shape", images, X_val=X[:, None])
    counts = seeded(INSTANCES[0], loss="poisson")
    fails(counts, ValueError, "but X_val ranges from", np.abs(X), X_val=X)


@pytest.mark.parametrize("instance", SUPERVISED, ids=name_of)
def test_bad_targets_are_refused(instance):
    spoilt = _spoilt(targets(instance).astype(float), [np.inf, -np.inf, "huge"])
    _each_fails(instance, r"\by\b|label type", ({"X": table(), "y": y} for y in spoilt))
