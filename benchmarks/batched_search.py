"""Seconds of a search on narrow networks: one fit after another, two processes, one batch.

``GridSearchCV`` with five folds and eight candidates, which differ in the learning rate, the
input noise and the number of components. *alone*: one process. *loky*: two processes of joblib;
its first search includes the start of the processes, which import torch. *batched*:
``parallel_config(backend="sklearn_ae")``. All take turns on the same folds in one run; the largest
difference of a mean score is given in standard errors over the folds. Run::

    python benchmarks/batched_search.py [--quick] [--repeats 3]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from _data import anomaly_tables, machine, write_json
from joblib import parallel_config
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_ae  # noqa: F401 - registers the backend
from sklearn_ae import Autoencoder, DenoisingAutoencoder, VariationalAutoencoder

FOLDS = 5
ADBENCH = ("Ionosphere", "cardio")
MODELS = {
    "Autoencoder": (Autoencoder, "input_noise", [0.1, 0.3]),
    "DenoisingAutoencoder": (DenoisingAutoencoder, "noise_level", [0.2, 0.5]),
    "VariationalAutoencoder": (VariationalAutoencoder, "alpha", [0.0, 1e-2]),
}


def tables() -> dict[str, np.ndarray]:
    """Return samples by the name of the table."""
    found = {"breast_cancer": load_breast_cancer().data, "digits": load_digits().data}
    return found | {name: X for name, X in anomaly_tables().items() if name in ADBENCH}


def search(kind: str, widths: tuple[int, ...], epochs: int) -> GridSearchCV:
    """Return a search over eight candidates."""
    estimator, other, values = MODELS[kind]
    model = estimator(hidden_layer_sizes=widths, max_iter=epochs, random_state=0)
    name = estimator.__name__.lower()
    grid = {
        f"{name}__n_components": [2, 4],
        f"{name}__learning_rate_init": [1e-3, 3e-3],
        f"{name}__{other}": values,
    }
    return GridSearchCV(make_pipeline(StandardScaler(), model), grid, cv=FOLDS, refit=False)


def seconds_of(fitted: GridSearchCV, X: np.ndarray) -> float:
    """Fit a search and return its time."""
    start = time.perf_counter()
    fitted.fit(X)
    return time.perf_counter() - start


def compare(X: np.ndarray, kind: str, widths: tuple[int, ...], epochs: int, repeats: int) -> dict:
    """Time the three ways."""
    times: dict[str, list[float]] = {"alone": [], "loky": [], "batched": []}
    results: dict[str, Any] = {}
    get_reusable_executor().shutdown(wait=True)  # so that the first search starts the processes
    for _ in range(repeats):
        for way, options in (("alone", {}), ("loky", {"n_jobs": 2}), ("batched", {})):
            own = search(kind, widths, epochs).set_params(**options)
            backend = {"batched": "sklearn_ae", "loky": "loky"}.get(way, "sequential")
            with parallel_config(backend=backend):
                times[way].append(seconds_of(own, X))
            results[way] = own
    alone, batched = results["alone"].cv_results_, results["batched"].cv_results_
    error = alone["std_test_score"] / (FOLDS - 1) ** 0.5
    distance = np.abs(alone["mean_test_score"] - batched["mean_test_score"])
    rounds = {way: min(values) for way, values in times.items()}
    return {
        "seconds": rounds | {"loky, first": times["loky"][0]},
        "speedup": min(rounds["alone"], rounds["loky"]) / rounds["batched"],
        "speedup_first": min(rounds["alone"], times["loky"][0]) / rounds["batched"],
        "distance": float((distance / np.maximum(error, 1e-12)).max()),
        "same_best": results["alone"].best_params_ == results["batched"].best_params_,
    }


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 epochs and one kind of model")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    epochs = 20 if arguments.quick else 50
    kinds = ["Autoencoder"] if arguments.quick else list(MODELS)
    print(machine())
    print("seconds; speed-up against the better of alone and loky, then loky with its start")
    print(f"{'table':16}{'model':24}{'widths':>16}{'type':>9}{'alone':>8}{'loky':>8}{'start':>8}"
          f"{'batched':>9}{'speed-up':>10}{'':>6}{'std. errors':>12}  same best")  # fmt: skip
    report = []
    for name, X in tables().items():
        cases = [(kind, (16,), np.float32) for kind in kinds]
        cases.append(("Autoencoder", (16,), np.float64))
        if name == "breast_cancer":
            cases.append(("Autoencoder", (128, 128, 128), np.float32))
        for kind, widths, dtype in cases:
            found = compare(X.astype(dtype), kind, widths, epochs, arguments.repeats)
            seconds = found["seconds"]
            print(
                f"{name:16}{kind:24}{widths!s:>16}{np.dtype(dtype).name:>9}{seconds['alone']:8.2f}"
                f"{seconds['loky']:8.2f}{seconds['loky, first']:8.2f}{seconds['batched']:9.2f}"
                f"{found['speedup']:10.2f}{found['speedup_first']:6.2f}{found['distance']:12.2g}"
                f"  {found['same_best']}",
                flush=True,
            )
            report.append({"table": name, "model": kind, "widths": widths, **found})
    write_json("batched_search", {"machine": machine(), "results": report})


if __name__ == "__main__":
    main()
