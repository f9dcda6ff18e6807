"""Time of a cross-validation with one worker and with two, for each backend of joblib.

Each case runs in a separate process, with torch's default number of threads.
The first round of ``loky`` includes the start of its workers, which import torch. A ratio above
one means that two workers took longer than one, a sign of oversubscription. Run::

    python benchmarks/parallel.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

from _data import machine, write_json

CASES = [("sequential", 1), ("threading", 2), ("multiprocessing", 2), ("loky", 2)]
SIZES = {"narrow": (1_000, 16, (32,)), "wide": (2_000, 128, (256, 256))}
"""Numbers of samples and features, and hidden layers."""
EPOCHS = 10
FOLDS = 4


def measure(backend: str, n_jobs: int, size: str) -> dict:
    """Cross-validate twice; return the seconds and the scores."""
    import numpy as np
    from joblib import parallel_config
    from sklearn.model_selection import cross_val_score

    from sklearn_ae import Autoencoder

    n_rows, n_features, layers = SIZES[size]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 4)) @ rng.normal(size=(4, n_features))
    X = np.sin(X).astype(np.float32)
    estimator = Autoencoder(4, hidden_layer_sizes=layers, max_iter=EPOCHS, random_state=0)
    seconds = []
    with parallel_config(backend=backend, n_jobs=n_jobs):
        for _ in range(2):
            start = time.perf_counter()
            scores = cross_val_score(estimator, X, cv=FOLDS)
            seconds.append(time.perf_counter() - start)
    return {"first": seconds[0], "second": seconds[1], "scores": scores.tolist()}


def in_a_process_of_its_own(backend: str, n_jobs: int, size: str) -> dict:
    """Run :func:`measure` in a new process, without environment variables for threads."""
    environment = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    command = [sys.executable, __file__, "--case", backend, str(n_jobs), size]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    case = parser.parse_args().case
    if case is not None:
        print(json.dumps(measure(case[0], int(case[1]), case[2])))
        return
    results = []
    print(machine())
    print(f"{'size':8}{'backend':17}{'jobs':>4}{'first s':>9}{'second s':>9}{'ratio':>7}  scores")
    for size in SIZES:
        alone = None
        for backend, n_jobs in CASES:
            found = in_a_process_of_its_own(backend, n_jobs, size)
            alone = alone or found
            ratio = found["second"] / alone["second"]
            equal = found["scores"] == alone["scores"]
            distance = max(
                abs(a - b) for a, b in zip(found["scores"], alone["scores"], strict=True)
            )
            print(
                f"{size:8}{backend:17}{n_jobs:4}{found['first']:9.2f}{found['second']:9.2f}"
                f"{ratio:7.2f}  {'equal' if equal else f'off by {distance:.1e}'}",
                flush=True,
            )
            results.append(
                {"size": size, "backend": backend, "n_jobs": n_jobs, "ratio": ratio, **found}
            )
    write_json("parallel", {"machine": machine(), "results": results})


if __name__ == "__main__":
    main()
