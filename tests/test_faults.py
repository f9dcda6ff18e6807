"""Faults, injected: the error names the culprit, and the estimator is as it was."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from faults import (
    CLASSES,
    EVERY,
    each_class,
    each_estimator,
    fails,
    fitted,
    holdings,
    named,
    outcome,
    ready,
    seeded,
    table,
    targets,
)
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, name_of
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags
from skorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_ae._training.net import AutoencoderNet

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


def _not_allowed(estimator):
    """Values that samples may not have: NaN only where nothing may be missing."""
    bad = (np.inf, -np.inf, "huge")
    return bad if get_tags(estimator).input_tags.allow_nan else (np.nan, *bad)


def _each_fails(instance, message, faults):
    """Check that fits fail as they should, of an estimator without weights and of one with."""
    X, estimator = table(), ready(instance)
    before = outcome(estimator, X)
    for fault in faults:
        fails(seeded(instance), ValueError, message, **fault)
        fails(estimator, ValueError, message, **fault)
    np.testing.assert_array_equal(outcome(estimator, X), before)


# Values that cannot be


@each_dtype
@each_estimator
def test_invalid_samples_are_refused(instance, dtype):
    spoilt = _spoilt(table(dtype=dtype), _not_allowed(instance))
    _each_fails(instance, r"\bX\b", ({"X": X} for X in spoilt))


@each_estimator
def test_bad_weights_are_refused(instance):
    weights = [*_spoilt(np.ones(40)), np.full(40, 1e-200)]
    faults = ({"X": table(), "sample_weight": weight} for weight in weights)
    _each_fails(instance, r"\bsample_weight\b", faults)


@each_dtype
@pytest.mark.parametrize("instance", INSTANCES, ids=name_of)
def test_invalid_validation_samples_are_refused(instance, dtype):
    X = table(dtype=dtype)
    spoilt = _spoilt(X, _not_allowed(instance))
    _each_fails(instance, r"\bX_val\b", ({"X": X, "X_val": X_val} for X_val in spoilt))


def test_validation_samples_are_named_where_they_do_not_fit():
    X, plain = table(), seeded(INSTANCES[0])
    images = X.reshape(40, 2, 2)
    fails(plain, ValueError, "X_val .* is invalid: X has 3 features", X, X_val=X[:, :3])
    message = "X_val .* is invalid: X has samples of shape"
    fails(plain, ValueError, message, images, X_val=X[:, None])
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
    X, estimator = table(70, dtype=dtype), ready(instance, dtype)
    for lost, early_stopping in itertools.product(HUGE.values(), [False, True]):
        estimator.set_params(**{rate: lost, stop: early_stopping})
        fails(estimator, ValueError, "diverged.*learning_rate_init", X)
        fails(clone(estimator), ValueError, "diverged.*learning_rate_init", X)


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
@pytest.mark.parametrize("instance", OUTLIER_DETECTORS[1:] + SUPERVISED[1:2], ids=name_of)
def test_grid_search_goes_on_after_divergence(instance):
    rate, X = named(instance, "learning_rate_init"), table(300)
    search = GridSearchCV(
        seeded(instance), {rate: [1e-3, 1e30]}, scoring=lambda *args: 1.0, cv=2, refit=False
    )
    with pytest.warns(FitFailedWarning, match="diverged"):
        search.fit(X, targets(instance, 300))
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], [1.0, np.nan])


# Memory and interrupts


class Failing(TorchDispatchMode):
    """Count what gets memory from torch in this thread, and at one of them let a fault happen."""

    def __init__(self, fault=None, at=None):
        super().__init__()
        self.fault = fault
        self.at = at
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not func.is_view:
            self.count += 1
            if self.count == self.at:
                self.fault()
        return func(*args, **(kwargs or {}))


def _accelerator_is_full():
    raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB.")


def _main_memory_is_full():
    with torch.utils._python_dispatch._disable_current_modes():
        torch.empty(2**50, dtype=torch.uint8)


def _interrupt():
    raise KeyboardInterrupt


def _operations(function):
    with Failing() as counter:
        function()
    return counter.count


@pytest.mark.parametrize("fault", [_accelerator_is_full, _main_memory_is_full])
@each_class
def test_lack_of_memory_names_the_remedy_and_leaves_the_estimator(instance, fault):
    X = table()
    estimator = fitted(instance, X)
    n_operations = _operations(lambda: seeded(instance).fit(X, targets(instance)))
    for share in (0.1, 0.5, 0.9):
        for start in (seeded(instance), estimator):
            with Failing(fault, int(share * n_operations)):
                error = fails(start, MemoryError, "Lower batch_size", X)
            assert isinstance(error.__cause__, RuntimeError)
    before, expected = holdings(estimator), outcome(estimator, X)
    with (
        Failing(fault, _operations(lambda: outcome(estimator, X)) // 2),
        pytest.raises(MemoryError, match="fewer samples at a time"),
    ):
        outcome(estimator, X)
    assert holdings(estimator) == before
    np.testing.assert_array_equal(outcome(estimator, X), expected)


def test_other_errors_of_torch_are_what_they_are():
    def fault():
        raise RuntimeError("shapes cannot be multiplied")

    with Failing(fault, 100):
        fails(seeded(INSTANCES[0]), RuntimeError, "shapes", table())


@each_class
def test_interrupts_leave_the_estimator(instance):
    X = table()
    estimator = fitted(instance, X)
    n_operations = _operations(lambda: seeded(instance).fit(X, targets(instance)))
    for share in (0.1, 0.5, 0.9):
        for start in (seeded(instance), estimator):
            with Failing(_interrupt, int(share * n_operations)):
                fails(start, KeyboardInterrupt, None, X)


@pytest.mark.parametrize("instance", [e for e in EVERY if hasattr(e, "warm_start")], ids=name_of)
def test_nothing_is_lost_by_an_interrupted_continuation(instance):
    X, y = table(), targets(instance)
    estimator, calm = (fitted(instance, X, warm_start=True) for _ in range(2))
    n_operations = _operations(lambda: pickle.loads(holdings(estimator)).fit(X, y))
    with Failing(_interrupt, n_operations // 2):
        fails(estimator, KeyboardInterrupt, None, X)
    assert holdings(estimator.fit(X, y)) == holdings(calm.fit(X, y))


# Callbacks that fail


HOOKS = ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_grad_computed", "on_batch_end",
         "on_epoch_end", "on_train_end"]  # fmt: skip
UNFORESEEN = ArithmeticError("nobody else raises this")


class FailingCallback(Callback):
    """Raise in one of the hooks, in the second epoch if it is one of an epoch's."""

    def __init__(self, hook):
        self.hook = hook


def _failing(hook):
    def fail(self, net, **kwargs):
        if self.hook == hook and (hook.startswith("on_train") or len(net.history) > 1):
            raise UNFORESEEN

    return fail


for name in HOOKS:
    setattr(FailingCallback, name, _failing(name))


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("instance", [*CLASSES[:-1], *OUTLIER_DETECTORS[1:]], ids=name_of)
def test_errors_of_callbacks_come_through_and_leave_the_estimator(instance, hook):
    X, y, name = table(70), targets(instance, 70), named(instance, "callbacks")
    estimator = seeded(instance, **{name: [FailingCallback(hook)]})
    assert fails(estimator, ArithmeticError, None, X) is UNFORESEEN
    fresh = fitted(instance, X)
    assert holdings(estimator.set_params(**{name: None}).fit(X, y)) == holdings(fresh)
    estimator.set_params(**{name: [FailingCallback(hook)]})
    assert fails(estimator, ArithmeticError, None, X) is UNFORESEEN
    np.testing.assert_array_equal(outcome(estimator, X), outcome(fresh, X))


# Devices that are not there


@pytest.mark.parametrize("instance", [e for e in EVERY if named(e, "device")], ids=name_of)
def test_devices_that_are_not_there_are_refused_before_any_work(instance, monkeypatch):
    X, estimator, name = table(), ready(instance), named(instance, "device")
    monkeypatch.setattr(AutoencoderNet, "epochs", lambda *args: pytest.fail("it was trained"))
    absent = ["cuda:99", "xpu:7", "meta", "nonsense", "", 3, None, torch.device("meta")]
    if not torch.cuda.is_available():
        absent.append("cuda")
    if not torch.backends.mps.is_available():
        absent.append("mps")
    for device in absent:
        estimator.set_params(**{name: device})
        fails(estimator, ValueError, r"'auto' or one of \['cpu'", X)
        fails(seeded(instance, **{name: device}), ValueError, r"'auto' or one of \['cpu'", X)
