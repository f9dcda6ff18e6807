"""Exponents of time and memory in the numbers of samples, features, components and epochs.

Each estimator is fitted with one of these numbers doubled several times and the others fixed. The
exponent is the slope of the last three points on logarithmic axes: one means linear, less than one
that fixed costs matter. Memory is the largest growth of the anonymous resident memory in a fit; no
exponent is given where it grows by less than 20 MB. Run::

    python benchmarks/scaling.py [--quick] [--only Autoencoder ...]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from _data import machine, write_json
from fit_memory import watch

import sklearn_ae as ae

EPOCHS = 8
LEAST_MEMORY = 20.0
"""Growth in MB below which memory is not that of the data or the network."""

START = {"samples": 2000, "features": 32, "components": 4, "epochs": EPOCHS}
"""Numbers that are fixed while another one is doubled."""

DOUBLED = {"samples": (4, 2000), "features": (4, 32), "components": (4, 8), "epochs": (4, 8)}
"""Number of points, and the first of them."""


def dense(kind: Any, **options: Any) -> Callable[..., Any]:
    """Return a function that makes an estimator of tables."""
    return lambda components, epochs: kind(components, max_iter=epochs, random_state=0, **options)


def supervised(kind: Any) -> Callable[..., Any]:
    """Return a function that makes a supervised stack."""
    return lambda components, epochs: kind(
        autoencoder=ae.Autoencoder(components, max_iter=epochs, random_state=0),
        max_iter=epochs,
        random_state=0,
    )


MAKERS: dict[str, Callable[..., Any]] = {
    "Autoencoder": dense(ae.Autoencoder),
    "DenoisingAutoencoder": dense(ae.DenoisingAutoencoder),
    "SparseAutoencoder": dense(ae.SparseAutoencoder),
    "ContractiveAutoencoder": dense(ae.ContractiveAutoencoder),
    "VariationalAutoencoder": dense(ae.VariationalAutoencoder),
    "SemanticHashing": dense(ae.SemanticHashing),
    "RestrictedBoltzmannMachine": dense(ae.RestrictedBoltzmannMachine),
    "StackedAutoencoder": dense(ae.StackedAutoencoder, pretraining_max_iter=2),
    "DeepBeliefNetwork": dense(ae.DeepBeliefNetwork, pretraining_max_iter=2),
    "StackedAutoencoderClassifier": supervised(ae.StackedAutoencoderClassifier),
    "StackedAutoencoderRegressor": supervised(ae.StackedAutoencoderRegressor),
    "ConvolutionalAutoencoder": dense(ae.ConvolutionalAutoencoder),
    "UNetAutoencoder": lambda components, epochs: ae.UNetAutoencoder(
        max_iter=epochs, random_state=0
    ),
    "LSTMAutoencoder": dense(ae.LSTMAutoencoder),
    "RecursiveAutoencoder": dense(ae.RecursiveAutoencoder),
    "AutoencoderOutlierDetector": lambda components, epochs: ae.AutoencoderOutlierDetector(
        random_state=0
    ),
    "AutoencoderImputer": lambda components, epochs: ae.AutoencoderImputer(random_state=0),
}
IMAGES = ("ConvolutionalAutoencoder", "UNetAutoencoder")
SEQUENCES = ("LSTMAutoencoder", "RecursiveAutoencoder")
WITHOUT = {  # numbers that a model does not have
    "UNetAutoencoder": {"components"},
    "AutoencoderOutlierDetector": {"components", "epochs"},
    "AutoencoderImputer": {"components", "epochs"},
}


def data_for(name: str, n_samples: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Return samples in [0, 1] and labels. Images have eight columns, sequences two values."""
    rng = np.random.default_rng(0)
    X = 1 / (1 + np.exp(-rng.normal(size=(n_samples, 4)) @ rng.normal(size=(4, n_features))))
    X = X.astype(np.float32)
    labels = (X[:, 0] > np.median(X[:, 0])).astype(int)
    if name in IMAGES:
        X = X.reshape(n_samples, -1, 8)
    elif name in SEQUENCES:
        X = X.reshape(n_samples, -1, 2)
    elif name == "AutoencoderImputer":
        X[rng.random(X.shape) < 0.1] = np.nan
    return X, labels


def measure(name: str, numbers: dict[str, int], repeats: int) -> tuple[float, float]:
    """Return the seconds and the megabytes of a fit."""
    X, labels = data_for(name, numbers["samples"], numbers["features"])
    seconds, memory = [], 0.0
    for _ in range(repeats):
        model = MAKERS[name](numbers["components"], numbers["epochs"])
        if hasattr(model, "early_stopping"):
            model.set_params(n_iter_no_change=10**6)
        arguments = (X, labels) if hasattr(model, "fine_tune") and "Stack" in name else (X,)
        if name == "StackedAutoencoder":
            arguments = (X,)
        start = time.perf_counter()
        memory = max(memory, watch(lambda: model.fit(*arguments)))  # noqa: B023 - called at once
        seconds.append(time.perf_counter() - start)
    return min(seconds), memory


def slope(numbers: list[int], values: list[float]) -> float:
    """Return the slope of the last three points on logarithmic axes."""
    return float(np.polyfit(np.log(numbers[-3:]), np.log(values[-3:]), 1)[0])


def main() -> None:
    """Print a table, and write it as JSON."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three points, one repetition")
    parser.add_argument("--only", nargs="+", default=list(MAKERS), choices=list(MAKERS))
    arguments = parser.parse_args()
    print(machine())
    print(f"{'exponents of time (memory)':30}" + "".join(f"{name:>18}" for name in DOUBLED))
    report: dict[str, Any] = {}
    for name in arguments.only:
        cells, report[name] = [], {}
        measure(name, START, 1)  # warm
        for number, (n_points, first) in DOUBLED.items():
            if number in WITHOUT.get(name, ()):
                cells.append("")
                continue
            values = [first * 2**power for power in range(n_points - arguments.quick)]
            found = [
                measure(name, START | {number: value}, 1 if arguments.quick else 2)
                for value in values
            ]
            seconds, memory = map(list, zip(*found, strict=True))
            time_slope = slope(values, seconds)
            cell = f"{time_slope:.2f}"
            if min(memory[-3:]) > LEAST_MEMORY:
                cell += f" ({slope(values, memory):.2f})"
            cells.append(cell)
            report[name][number] = {"values": values, "seconds": seconds, "memory": memory}
        print(f"{name:30}" + "".join(f"{cell:>18}" for cell in cells), flush=True)
    write_json("scaling", {"machine": machine(), "results": report})


if __name__ == "__main__":
    main()
