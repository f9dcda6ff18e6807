"""Milliseconds per training step of networks for images and sequences, against loops in torch.

``ConvolutionalAutoencoder``, ``UNetAutoencoder`` and ``LSTMAutoencoder``, with their default
sizes, are compared with the same layers in a loop that indexes whole tensors by a permutation and
steps with fused Adam: in float32, with images stored channels last, and with products in bfloat16.
A step is the difference between fits of several epochs and of one, because a fit also computes
statistics of the codes. The methods take turns; medians are reported. Run::

    python benchmarks/network_speed.py [--networks conv unet lstm] [--threads 1 2] [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from _data import machine, mnist, write_json
from _loops import BATCH, RATE, Recurrent, UNet, convolutional, train
from torch import nn

from sklearn_ae import ConvolutionalAutoencoder, LSTMAutoencoder, UNetAutoencoder
from sklearn_ae.base import BaseAutoencoder

EPOCHS = 3


def loop(make: Callable[[], nn.Module], last: bool, low: bool, X: np.ndarray, epochs: int) -> None:
    """Train a module; `last`: with channels last; `low`: with products in bfloat16."""
    torch.manual_seed(0)
    data = torch.from_numpy(X)
    train(make(), data if make is Recurrent else data[:, None], epochs, low, last)


def ours(estimator: BaseAutoencoder, precision: str, X: np.ndarray, epochs: int) -> None:
    """Train an estimator."""
    options = {"batch_size": BATCH, "learning_rate": "constant", "learning_rate_init": RATE}
    estimator.set_params(
        alpha=0.0, early_stopping=False, max_iter=epochs, n_iter_no_change=epochs,
        precision=precision, random_state=0, **options,
    ).fit(X)  # fmt: skip


def contestants(network: str) -> dict[str, Callable]:
    """Map names to functions of samples and the number of epochs."""
    estimator, make = {
        "conv": (ConvolutionalAutoencoder(32, activation="relu"), convolutional),
        "unet": (UNetAutoencoder(None, activation="relu"), UNet),
        "lstm": (LSTMAutoencoder(8), Recurrent),
    }[network]
    found: dict[str, Callable] = {
        "precision auto": partial(ours, estimator, "auto"),
        "precision float32": partial(ours, estimator, "float32"),
        "torch": partial(loop, make, False, False),
        "torch, bfloat16": partial(loop, make, False, True),
    }
    if network != "lstm":
        found |= {
            "torch, channels last": partial(loop, make, True, False),
            "torch, channels last, bfloat16": partial(loop, make, True, True),
        }
    return found


def main() -> None:
    """Print one table for each network and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["conv", "unet", "lstm"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    X, *_, source = mnist()
    X = X[:2560].reshape(-1, 28, 28)
    X = (X - X.mean()) / X.std()
    n_steps, report = EPOCHS * len(X) // BATCH, []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for network in arguments.networks:
            seconds: dict[str, list[float]] = {}
            for turn in range(arguments.repeats + 1):
                for name, method in contestants(network).items():
                    times = []
                    for epochs in (1, 1 + EPOCHS):
                        begin = time.perf_counter()
                        method(X, epochs)
                        times.append(time.perf_counter() - begin)
                    if turn:  # the first turn warms up
                        seconds.setdefault(name, []).append(times[1] - times[0])
            print(f"\n{network}, {source}, batches of {BATCH}, {threads} thread(s); {machine()}")
            print(f"{'':34}{'ms/step':>8}{'x ours':>8}")
            best = statistics.median(seconds["precision auto"])
            for name, times in seconds.items():
                median = statistics.median(times)
                print(f"{name:34}{median / n_steps * 1e3:8.2f}{median / best:8.2f}", flush=True)
                row = {"network": network, "threads": threads, "name": name}
                report.append(row | {"milliseconds": median / n_steps * 1e3})
    write_json("network_speed", {"machine": machine(), "rows": report})


if __name__ == "__main__":
    main()
