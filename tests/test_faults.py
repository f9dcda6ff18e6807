"""Faults, injected: the error names the culprit, and the estimator is as it was."""

import itertools

import numpy as np
import pytest
from faults import (
    EVERY,
    each_estimator,
    fails,
    fitted,
    named,
    outcome,
    seeded,
    table,
    targets,
)
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, name_of
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV

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


# Training that goes astray


def _goes_by_its_rate(instance):
    """Whether learning_rate_init is a parameter, and not only that of layers not fine-tuned."""
    machines = getattr(instance, "pretraining", None) == "rbm"
    return named(instance, "learning_rate_init") and not (machines and not instance.fine_tune)


@each_dtype
@pytest.mark.parametrize("instance", [*filter(_goes_by_its_rate, EVERY)], ids=name_of)
def test_divergence_is_an_error_in_any_precision(instance, dtype):
    rate, stop = named(instance, "learning_rate_init"), named(instance, "early_stopping")
    X = table(dtype=dtype)
    estimator = fitted(instance, X)
    for lost, early_stopping in itertools.product(HUGE.values(), [False, True]):
        estimator.set_params(**{rate: lost, stop: early_stopping})
        fails(estimator, ValueError, "diverged.*learning_rate_init", X)
        fails(clone(estimator), ValueError, "diverged.*learning_rate_init", X)


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
@pytest.mark.parametrize("instance", OUTLIER_DETECTORS[1:] + SUPERVISED[1:2], ids=name_of)
def test_grid_search_goes_on_after_divergence(instance):
    rate, X = named(instance, "learning_rate_init"), table()
    search = GridSearchCV(
        seeded(instance), {rate: [1e-3, 1e30]}, scoring=lambda *args: 1.0, cv=2, refit=False
    )
    with pytest.warns(FitFailedWarning, match="diverged"):
        search.fit(X, targets(instance))
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], [1.0, np.nan])
