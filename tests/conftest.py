"""What must be set before torch, scipy and scikit-learn are imported."""

import os
import sys

# One thread: small networks gain nothing from two, and busy machines lose a lot.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Without it scikit-learn skips its array API checks in silence.
os.environ["SCIPY_ARRAY_API"] = "1"

import random

import numpy as np
import pytest
from hypothesis import settings

import sklearn_ae  # noqa: F401 - all modules, whose draws may be shifted below
from sklearn_ae._backend import random as backend_random

settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")


@pytest.fixture(scope="session")
def curve():
    """Rows on a noisy spiral in four dimensions: a code of one number is enough."""
    rng = np.random.default_rng(0)
    t = rng.uniform(0.5, 3, size=400)
    X = np.column_stack([t * np.cos(2 * t), t * np.sin(2 * t), t, t**2])
    return X + 0.02 * rng.standard_normal(X.shape)


def pytest_collection_modifyitems(items):
    """Reverse or shuffle the tests if SKLEARN_AE_ORDER says so: "reversed" or a seed."""
    order = os.environ.get("SKLEARN_AE_ORDER")
    if order == "reversed":
        items.reverse()
    elif order:
        random.Random(order).shuffle(items)


def pytest_configure(config):
    """Shift all seeds of data and of fits by SKLEARN_AE_SEED_SHIFT: other draws, same claims."""
    shift = int(os.environ.get("SKLEARN_AE_SEED_SHIFT", 0))
    if not shift:
        return
    default_rng, draw_seeds = np.random.default_rng, backend_random.draw_seeds

    def shifted_rng(seed=None):
        return default_rng(seed + shift if isinstance(seed, int) else seed)

    def shifted_seeds(random_state):
        is_seed = isinstance(random_state, int)
        return draw_seeds(random_state + shift if is_seed else random_state)

    np.random.default_rng = shifted_rng
    for module in list(sys.modules.values()):
        if getattr(module, "draw_seeds", None) is draw_seeds:
            module.draw_seeds = shifted_seeds
