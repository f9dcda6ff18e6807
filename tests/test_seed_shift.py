"""The draws of all tests can be shifted, those in processes of their own among them."""

import os
import subprocess
import sys

import numpy as np
import pytest
import seed_shift

from sklearn_ae._training.random import Seeds, draw_seeds

SCRIPT = """
import numpy as np
from sklearn_ae._stacks import supervised as _supervised
print(*np.random.default_rng(1).integers(2**31, size=5), *_supervised.draw_seeds(1))
"""


@pytest.mark.parametrize("shift", [pytest.param(0, marks=pytest.mark.slow), 5])
def test_processes_that_a_test_starts_are_shifted_alike(shift):
    here = int(os.environ.get("SKLEARN_AE_SEED_SHIFT", 0))
    folder = os.path.dirname(seed_shift.__file__)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([folder, *sys.path]),
        "SKLEARN_AE_SEED_SHIFT": str(here + shift),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=True
    )
    drawn = np.random.default_rng(1 + shift).integers(2**31, size=len(Seeds._fields))
    assert [int(word) for word in done.stdout.split()] == [*drawn, *draw_seeds(1 + shift)]
