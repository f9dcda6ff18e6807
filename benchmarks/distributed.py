"""Samples per second of one fit in several processes, beside DistributedDataParallel.

The network 784-1000-500-250-30 is trained on MNIST by one process and by two, each with one
thread: by ``Autoencoder``, and by a bare loop of torch, which two processes share by
``DistributedDataParallel``. Epochs are timed by the difference of a long and a short fit.
Processes that train apart, each with its part of the batch and a model of its own, show what the
processor allows: they exchange nothing. Run::

    OMP_NUM_THREADS=1 python benchmarks/distributed.py [--processes 2] [--repeats 3]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from _data import machine, mnist, write_json
from torch import nn

SIZES = (784, 1000, 500, 250, 30)
N_SAMPLES = 8192


def ours(X: np.ndarray, batch_size: int, epochs: int) -> None:
    """Train an estimator."""
    from sklearn_ae import Autoencoder

    Autoencoder(
        SIZES[-1],
        hidden_layer_sizes=SIZES[1:-1],
        init="random",
        early_stopping=False,
        input_noise=0.0,
        precision="float32",
        batch_size=batch_size,
        max_iter=epochs,
        learning_rate="constant",
        random_state=0,
    ).fit(X)


def bare(X: np.ndarray, batch_size: int, epochs: int) -> None:
    """Train a module of torch, in several processes by DistributedDataParallel."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    widths = [*SIZES, *SIZES[-2::-1]]
    layers: list[nn.Module] = []
    for n_inputs, n_outputs in itertools.pairwise(widths):
        layers += [nn.Linear(n_inputs, n_outputs), nn.ReLU()]
    module: nn.Module = nn.Sequential(*layers[:-1])
    if size > 1:
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo")
        module = nn.parallel.DistributedDataParallel(module)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    data = torch.from_numpy(X)
    for _ in range(epochs):
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
        for batch in order.split(batch_size):
            x = data[batch[rank * len(batch) // size : (rank + 1) * len(batch) // size]]
            optimizer.zero_grad()
            nn.functional.mse_loss(module(x), x).backward()
            optimizer.step()


def measure(batch_size: int, repeats: int) -> dict[str, float]:
    """Return samples per second of both, in this process and those started with it."""
    X = mnist()[0][:N_SAMPLES]
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    for train, name in ((ours, "ours"), (bare, "bare")):
        train(X[:256], batch_size, 1)
        for _ in range(repeats):
            seconds = []
            for epochs in (1, 3):
                start = time.perf_counter()
                train(X, batch_size, epochs)
                seconds.append(time.perf_counter() - start)
            rates[name].append(2 * len(X) / (seconds[1] - seconds[0]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return {name: statistics.median(values) for name, values in rates.items()}


def measured(arguments: list[str], n_processes: int = 1) -> list[dict[str, float]]:
    """Run this script `n_processes` times at once; return what each has printed."""
    command = [sys.executable, *arguments]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(n_processes)
    ]
    found = []
    for process in running:
        lines = process.communicate()[0].splitlines()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        found.append(json.loads(next(each for each in lines if each.startswith("{"))))
    return found


def sums(found: list[dict[str, float]]) -> dict[str, float]:
    """Return the samples per second of all processes."""
    return {name: sum(each[name] for each in found) for name in found[0]}


def main() -> None:
    """Print samples per second of one process and of several, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        rates = measure(options.measure, options.repeats)
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(rates))
        return
    print(machine())
    print(f"{N_SAMPLES} samples, {'-'.join(map(str, SIZES))}, samples per second")
    print(
        f"{'batch':>6} {'':6} {'1 process':>10} {options.processes:>6} processes {'ratio':>6} "
        f"{'apart':>10} {'ratio':>6}"
    )
    results = {}
    launcher = ["-m", "torch.distributed.run", "--standalone"]
    launcher += [f"--nproc-per-node={options.processes}"]
    for batch_size in options.batch_sizes:
        own = [__file__, "--repeats", str(options.repeats), "--measure"]
        part = [*own, str(batch_size // options.processes)]
        found = {
            "one": measured([*own, str(batch_size)])[0],
            "together": measured([*launcher, *own, str(batch_size)])[0],
            "apart": sums(measured(part, options.processes)),
        }
        for name in ("ours", "bare"):
            one, together, apart = (each[name] for each in found.values())
            print(
                f"{batch_size:6} {name:6} {one:10.0f} {together:16.0f} {together / one:6.2f} "
                f"{apart:10.0f} {apart / one:6.2f}"
            )
        results[str(batch_size)] = found
    write_json("distributed", results)


if __name__ == "__main__":
    main()
