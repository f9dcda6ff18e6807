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
from torch import Tensor, nn

from sklearn_ae import ConvolutionalAutoencoder, LSTMAutoencoder, UNetAutoencoder
from sklearn_ae.base import BaseAutoencoder

BATCH, RATE, EPOCHS = 128, 1e-3, 3


def convolutional() -> nn.Module:
    """Two levels of 16 and 32 maps, and a code of 32 components."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 49, 32), nn.Linear(32, 32 * 49), nn.Unflatten(1, (32, 7, 7)),
        nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(32, 16, 3, padding=1),
        nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(16, 1, 3, padding=1),
    )  # fmt: skip


class UNet(nn.Module):
    """Three levels of 16, 32 and 64 maps, without a dense layer."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        narrow = widths[:-1]
        pairs = zip((1, *narrow), widths, strict=True)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.bottom = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        pairs = zip(narrow, widths[1:], strict=True)
        self.unpool = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
        self.up = nn.ModuleList(nn.Conv2d(2 * a, a, 3, padding=1) for a in narrow)
        self.last = nn.Conv2d(widths[0], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct images."""
        skips: list[Tensor] = []
        for layer in self.down:
            x = torch.relu(layer(nn.functional.max_pool2d(x, 2) if skips else x))
            skips.append(x)
        x = torch.relu(self.bottom(x))
        for level in (1, 0):
            x = torch.relu(self.up[level](torch.cat([self.unpool[level](x), skips[level]], 1)))
        return self.last(x)


class Recurrent(nn.Module):
    """LSTMs of 64 units, and a code of 8 components, the input of each step of the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.code = nn.LSTM(28, 64, batch_first=True), nn.Linear(64, 8)
        self.start, self.decoder = nn.Linear(8, 128), nn.LSTM(8, 64, batch_first=True)
        self.step = nn.Linear(64, 28)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct sequences."""
        code = self.code(self.encoder(x.flip(1))[0][:, -1])
        states = (
            torch.tanh(self.start(code)).view(-1, 2, 64).permute(1, 0, 2)[:, None].contiguous()
        )
        inputs = code[:, None].expand(-1, 28, -1)
        return self.step(self.decoder(inputs, (states[0], states[1]))[0])


def loop(make: Callable[[], nn.Module], last: bool, low: bool, X: np.ndarray, epochs: int) -> None:
    """Train a module; `last`: with channels last; `low`: with products in bfloat16."""
    torch.manual_seed(0)
    module, data = make(), torch.from_numpy(X)
    if make is not Recurrent:
        data = data[:, None]
    if last:
        module = module.to(memory_format=torch.channels_last)
        data = data.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(module.parameters(), lr=RATE, fused=True)
    for _ in range(epochs):
        for index in torch.randperm(len(data)).split(BATCH):
            rows = data[index]
            if last:
                rows = rows.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                output = module(rows)
            loss = nn.functional.mse_loss(output.float(), rows)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()


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
                for name, train in contestants(network).items():
                    times = []
                    for epochs in (1, 1 + EPOCHS):
                        begin = time.perf_counter()
                        train(X, epochs)
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
