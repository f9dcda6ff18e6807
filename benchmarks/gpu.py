"""Time of all estimators on a CUDA device and the CPU, and how often a fit waits for the device.

The first table has one row for each estimator: milliseconds of an epoch, seconds of ``transform``,
and host reads of an epoch. An epoch is the difference between fits of several epochs and of one,
because a fit also computes statistics of the data and of the codes. Host reads are values that the
host reads from the device, and for which it waits; on a CUDA device, the calls of the driver that
wait and the copies to the host are counted as well. They are counted by torch's profiler.

The second table compares networks with hand-tuned loops in torch on the same device: tensors that
are indexed by a permutation, fused Adam, float32. Data are resident on the device, or, if they
are not cached there, copied from the host with every batch.

Data are random numbers: the time does not depend on them. Without a CUDA device nothing is
measured, unless ``--device cpu`` asks for a trial of the benchmark itself. Run::

    python benchmarks/gpu.py [--device cuda] [--quick] [--repeats 3] [--only LSTMAutoencoder]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from _data import machine, write_json
from _loops import BATCH, RATE, Recurrent, UNet, convolutional, dense, train
from sklearn.base import BaseEstimator, clone
from torch.profiler import ProfilerActivity, profile

import sklearn_ae as ae

READS = ("aten::_local_scalar_dense", "aten::equal", "aten::nonzero")
"""Operations that read values, on any device."""

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
"""Calls of the driver that wait for the device."""

SIDE = 28
"""Height and width of images; steps and channels of sequences."""

OPTIONS = {"batch_size": BATCH, "learning_rate_init": RATE, "precision": "float32"}
SUPERVISED = (ae.StackedAutoencoderClassifier, ae.StackedAutoencoderRegressor)


class Case(NamedTuple):
    """An estimator, what its data are, and the estimator within it that has the epochs."""

    estimator: BaseEstimator
    data: str = "table"
    inner: str = ""


def cases() -> dict[str, Case]:
    """Map names to all public estimators."""
    inner = ae.Autoencoder(8, hidden_layer_sizes=(64,))
    stacked: dict[str, Any] = {"hidden_layer_sizes": (64,), "pretraining_max_iter": 1}
    images = {"data": "images"}
    found = [
        Case(ae.Autoencoder(32, hidden_layer_sizes=(256,))),
        Case(ae.SparseAutoencoder(64)),
        Case(ae.DenoisingAutoencoder(32, hidden_layer_sizes=(256,))),
        Case(ae.ContractiveAutoencoder(32, hidden_layer_sizes=(256,))),
        Case(ae.VariationalAutoencoder(32, hidden_layer_sizes=(256,))),
        Case(ae.SemanticHashing(32, hidden_layer_sizes=(256,))),
        Case(ae.RestrictedBoltzmannMachine(64)),
        Case(ae.ConvolutionalAutoencoder(32, activation="relu"), **images),
        Case(ae.UNetAutoencoder(None, activation="relu"), **images),
        Case(ae.LSTMAutoencoder(8), **images),
        Case(ae.RecursiveAutoencoder(8), **images),
        Case(ae.StackedAutoencoder(32, **stacked)),
        Case(ae.DeepBeliefNetwork(32, **stacked)),
        Case(ae.StackedAutoencoderClassifier(**stacked)),
        Case(ae.StackedAutoencoderRegressor(**stacked)),
        Case(ae.AutoencoderOutlierDetector(inner, n_estimators=2), inner="estimator__"),
        Case(ae.AutoencoderImputer(inner), "missing", inner="estimator__"),
    ]
    return {type(case.estimator).__name__: case for case in found}


def networks() -> dict[str, tuple[Callable[[], torch.nn.Module], BaseEstimator]]:
    """Map names to a network in torch, and to an estimator with the same layers."""
    plain = {"init": "random", "input_noise": 0.0, "activation": "relu"}
    return {
        "dense": (
            partial(dense, (SIDE**2, 256, 32)),
            ae.Autoencoder(32, hidden_layer_sizes=(256,), **plain),
        ),
        "convolutional": (convolutional, ae.ConvolutionalAutoencoder(32, activation="relu")),
        "unet": (UNet, ae.UNetAutoencoder(None, activation="relu")),
        "lstm": (Recurrent, ae.LSTMAutoencoder(8)),
    }


def prepared(case: Case, epochs: int, device: str) -> BaseEstimator:
    """Return a new estimator that trains all its epochs on a device."""
    names = clone(case.estimator).get_params()
    options = OPTIONS | {"max_iter": epochs, "n_iter_no_change": epochs, "device": device}
    options |= {"early_stopping": False, "learning_rate": "constant"}
    chosen = {case.inner + name: value for name, value in options.items()}
    chosen = {name: value for name, value in chosen.items() if name in names}
    return clone(case.estimator).set_params(random_state=0, **chosen)


def rows_of(data: str, n_samples: int) -> np.ndarray:
    """Draw samples of one kind."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((n_samples, 8), np.float32)
    X = 1 / (1 + np.exp(-factors @ rng.standard_normal((8, SIDE**2), np.float32)))
    if data == "missing":
        X = X[:, :64]  # statistics of more features take longer than the training
        X[rng.random(X.shape) < 0.1] = np.nan
    return X.reshape(-1, SIDE, SIDE) if data == "images" else X


def fit(case: Case, X: np.ndarray, epochs: int, device: str) -> BaseEstimator:
    """Fit an estimator, and wait for the device."""
    y = [np.arange(len(X)) % 4] if isinstance(case.estimator, SUPERVISED) else []
    fitted = prepared(case, epochs, device).fit(X, *y)
    wait(device)
    return fitted


def wait(device: str) -> None:
    """Wait until a device has computed everything."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(function: Callable[[], object]) -> float:
    """Measure the time of a call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def measure(case: Case, X: np.ndarray, epochs: int, repeats: int, device: str) -> dict[str, float]:
    """Return the medians of the seconds of an epoch and of ``transform``."""
    fitted = fit(case, X, 1, device)  # warms up
    infer = getattr(fitted, "transform", None) or fitted.score_samples
    infer(X)
    epoch, inference = [], []
    for _ in range(repeats):
        few, many = (seconds_of(partial(fit, case, X, n, device)) for n in (1, 1 + epochs))
        epoch.append((many - few) / epochs)
        inference.append(seconds_of(lambda: infer(X)))  # returns an array on the host
    return {"epoch": statistics.median(epoch), "transform": statistics.median(inference)}


def is_adam(event: Any) -> bool:
    """Whether this is within Adam, whose kernel on the CPU reads the number of steps."""
    while event is not None and not event.name.startswith("aten::_fused_adam"):
        event = event.cpu_parent
    return event is not None


def count(function: Callable[[], object], device: str) -> Counter[str]:
    """Count the events of a call for which the host waits."""
    activities = [ProfilerActivity.CPU]
    if torch.device(device).type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    read_list, lists = torch.Tensor.tolist, Counter[str]()

    def counted(tensor: torch.Tensor) -> list:
        lists["reads"] += 1  # no operation on the CPU, and a copy on other devices
        return read_list(tensor)

    with mock.patch.object(torch.Tensor, "tolist", counted), profile(activities=activities) as run:
        function()
    counts = lists
    for event in run.events():
        counts["reads"] += event.name in READS and not is_adam(event)
        counts["waits"] += event.name in WAITS
        counts["copies"] += "Memcpy DtoH" in event.name
    return counts


def per_epoch(case: Case, X: np.ndarray, device: str) -> dict[str, int]:
    """Count events of an epoch, as the difference between fits of two epochs and of one."""
    few, many = (count(partial(fit, case, X, epochs, device), device) for epochs in (1, 2))
    return {name: many[name] - few[name] for name in ("reads", "waits", "copies")}


def compare_devices(arguments: argparse.Namespace, n_samples: int, epochs: int) -> list[dict]:
    """Print and return one row for each estimator."""
    device, is_cuda = arguments.device, torch.device(arguments.device).type == "cuda"
    print(f"\n{n_samples} samples of {SIDE**2} values, batches of {BATCH}, float32")
    print(f"{'':30}{'ms/epoch':>21}{'ratio':>7}{'ms transform':>21}{'ratio':>7}{'each epoch':>27}")
    heads = [device[:9], "CPU", "", device[:9], "CPU", "", "reads", "waits", "copies"]
    widths = [12, 9, 7, 12, 9, 7, 9, 9, 9]
    print(f"{'':30}" + "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True)))
    report = []
    for name, case in cases().items():
        if arguments.only and name not in arguments.only:
            continue
        X = rows_of(case.data, n_samples)
        here = measure(case, X, epochs, arguments.repeats, device)
        cpu = measure(case, X, epochs, arguments.repeats, "cpu") if is_cuda else here
        events = per_epoch(case, X[: BATCH + 16], device)  # two batches
        line = f"{name:30}"
        for key in ("epoch", "transform"):
            ratio = cpu[key] / here[key]
            line += f"{here[key] * 1e3:12.1f}{cpu[key] * 1e3:9.1f}{ratio:7.2f}"
        line += f"{events['reads']:9d}"
        line += "".join(
            f"{events[key]:9d}" if is_cuda else f"{'-':>9}" for key in ("waits", "copies")
        )
        print(line, flush=True)
        report.append({"name": name, "device": here, "cpu": cpu} | events)
    return report


def compare_loops(arguments: argparse.Namespace, n_samples: int, epochs: int) -> list[dict]:
    """Print and return one row for each network, with resident and with streamed data."""
    device, report = arguments.device, []
    steps = epochs * -(-n_samples // BATCH)
    print(f"\n{'ms/step':30}{'ours':>9}{'loop':>9}{'ratio':>7}")
    for network, (make, estimator) in networks().items():
        X = rows_of("table" if network == "dense" else "images", n_samples)
        X = (X - X.mean()) / X.std()
        data = torch.from_numpy(X)
        data = data[:, None] if network in ("convolutional", "unet") else data
        for place in ("resident", "streamed"):
            there = data.to(device) if place == "resident" else data

            def loop(epochs: int, make: Any = make, data: torch.Tensor = there) -> None:
                torch.manual_seed(0)
                train(make().to(device), data, epochs)
                wait(device)

            def ours(epochs: int, estimator: Any = estimator, X: Any = X) -> None:
                fit(Case(estimator), X, epochs, device)

            no_cache = mock.patch("sklearn_ae._training.batches.cache_limit", return_value=-1)
            seconds: dict[str, list[float]] = {"ours": [], "loop": []}
            with no_cache if place == "streamed" else nullcontext():
                for turn in range(arguments.repeats + 1):
                    for name, method in (("ours", ours), ("loop", loop)):
                        few, many = (seconds_of(partial(method, n)) for n in (1, 1 + epochs))
                        if turn:  # the first turn warms up
                            seconds[name].append((many - few) / steps * 1e3)
            medians = {name: statistics.median(times) for name, times in seconds.items()}
            ratio = medians["loop"] / medians["ours"]
            print(
                f"{f'{network}, {place}':30}{medians['ours']:9.2f}{medians['loop']:9.2f}"
                f"{ratio:7.2f}",
                flush=True,
            )
            report.append({"network": network, "data": place} | medians)
    return report


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="cuda, cuda:1, or cpu for a trial")
    parser.add_argument("--quick", action="store_true", help="few samples and epochs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[], help="estimators of the first table")
    arguments = parser.parse_args()
    if arguments.device is None:
        if not torch.cuda.is_available():
            print("No CUDA device is present. Pass --device cpu to try the benchmark itself.")
            sys.exit(0)
        arguments.device = "cuda"
    warnings.simplefilter("ignore")  # of fits that are not complete
    if arguments.quick:
        arguments.repeats = 1
    n_samples, epochs = (BATCH + 16, 1) if arguments.quick else (20_000, 3)
    name = "CPU"
    if torch.device(arguments.device).type == "cuda":
        name = torch.cuda.get_device_name(arguments.device)
    print(f"{arguments.device}: {name}; {machine()}")
    report = {
        "machine": f"{name}; {machine()}",
        "estimators": compare_devices(arguments, n_samples, epochs),
        "loops": compare_loops(arguments, n_samples, epochs),
    }
    if name != "CPU":  # a trial is no result
        write_json("gpu", report)


if __name__ == "__main__":
    main()
