"""What must be set before torch, scipy and scikit-learn are imported."""

import os
import sys

# One thread: small networks gain nothing from two, and busy machines lose a lot.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Without it scikit-learn skips its array API checks in silence.
os.environ["SCIPY_ARRAY_API"] = "1"

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "shifted"))
import functools
import random

import numpy as np
import pytest
import seed_shift
from hypothesis import settings
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, one_of_each

from sklearn_ae import RestrictedBoltzmannMachine

settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")


collect_ignore = ["shifted"]  # Debian's Python has a sitecustomize of its own


@pytest.fixture(autouse=True)
def _seed():
    """Draws without a seed, as in scikit-learn's checks, are the same in each run."""
    np.random.seed(seed_shift.shift())  # noqa: NPY002 - what `random_state=None` draws from


@pytest.fixture
def few_temperatures(monkeypatch):
    """Annealing takes a hundred times as long as everything else, and is tested elsewhere."""
    exact = RestrictedBoltzmannMachine.log_partition
    short = functools.partialmethod(exact, n_temperatures=20)
    monkeypatch.setattr(RestrictedBoltzmannMachine, "log_partition", short)


@pytest.fixture(scope="session")
def curve():
    """Rows on a noisy spiral in four dimensions: a code of one number is enough."""
    rng = np.random.default_rng(0)
    t = rng.uniform(0.5, 3, size=400)
    X = np.column_stack([t * np.cos(2 * t), t * np.sin(2 * t), t, t**2])
    return X + 0.02 * rng.standard_normal(X.shape)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their markers
def pytest_collection_modifyitems(items):
    """Mark what repeats a test with other parameters of the same class as slow.

    Reverse or shuffle the tests if SKLEARN_AE_ORDER says so: "reversed" or a seed.
    """
    instances = [*INSTANCES, *SUPERVISED, *OUTLIER_DETECTORS]
    repeated = {id(each) for each in instances} - {id(each) for each in one_of_each(instances)}
    for item in items:
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(id(value) in repeated for value in values):
            item.add_marker(pytest.mark.slow)
    order = os.environ.get("SKLEARN_AE_ORDER")
    if order == "reversed":
        items.reverse()
    elif order:
        random.Random(order).shuffle(items)
