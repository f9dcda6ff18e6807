"""The same seed gives the same bits in another process, for each number of threads by itself."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

SCRIPT = """
import hashlib, json, sys
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn_ae import Autoencoder, DenoisingAutoencoder, VariationalAutoencoder
X = load_digits().data[:700].astype(sys.argv[1])
told = {}
for n_threads in (2, 1):
    torch.set_num_threads(n_threads)
    for estimator in (
        Autoencoder(4, hidden_layer_sizes=(256,), max_iter=4, random_state=0),
        DenoisingAutoencoder(4, noise="masking", max_iter=4, random_state=0),
        VariationalAutoencoder(4, max_iter=4, random_state=0),
    ):
        codes = estimator.fit(X).transform(X)
        drawn = estimator.sample(5, random_state=0)
        hashed = hashlib.sha256(codes.tobytes() + drawn.tobytes()).hexdigest()
        told[f"{type(estimator).__name__} {n_threads}"] = [hashed, estimator.score(X)]
    assert torch.get_num_threads() == n_threads
print(json.dumps(told))
"""


def run(dtype):
    """Fit in a fresh process: hash of codes and draws, and the score, of each estimator."""
    # Threads that wait actively take the cores from each other.
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-c", SCRIPT, dtype]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout)


def test_processes_agree_to_the_bit_for_each_number_of_threads():
    told = run("float32")
    assert told == run("float32")
    assert len(told) == 6
    for name, (_, score) in told.items():  # sums in another order, and no more
        assert told[name.replace("1", "2")][1] == pytest.approx(score, abs=0.01)


def test_the_order_of_the_samples_does_not_choose_those_held_out():
    """Held-out rows go by content: shuffled rows give the same ones, whatever their units."""
    import torch

    from sklearn_ae._estimator.fitting import split
    from sklearn_ae._training.batches import Samples

    X = load_digits().data
    order = np.random.default_rng(0).permutation(len(X))
    device = torch.device("cpu")
    kept = []
    for rows in (X, X[order], 1000 * X):
        scale = rows.std()
        held = split(Samples(rows, None, device, torch.float64), 0, 0.1)[1]
        found = held.take(slice(0, len(held))).numpy() / scale
        kept.append(found[np.lexsort(found.T)])
    np.testing.assert_allclose(kept[1], kept[0], rtol=1e-12)
    np.testing.assert_allclose(kept[2], kept[0], rtol=1e-12)
