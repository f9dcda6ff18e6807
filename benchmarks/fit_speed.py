"""Microseconds per training step: ``Autoencoder`` compared with other implementations.

All methods train the same network (ReLU, squared error, Adam) on the same samples with the same
batch size and number of epochs: hand-tuned torch (tensors indexed by a permutation, fused Adam),
torch with a DataLoader, scikit-learn's MLPRegressor, skorch with its defaults, and JAX (a compiled
loop over the steps of an epoch, on all cores whatever it is told), PyOD and Keras if they are
installed. The methods take turns, several times; the medians are reported. The test errors show
that all reach similar solutions. Run::

    python benchmarks/fit_speed.py [--sizes small middle large] [--threads 1 2] [--repeats 5]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch
from _data import machine, mnist, write_json
from _loops import BATCH, RATE, dense
from _loops import train as train_by_hand
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sklearn_ae import Autoencoder

SIZES = {
    "small": ((64, 32, 8), 100),
    "middle": ((784, 256, 32), 4),
    "large": ((784, 1000, 500, 250, 30), 3),
}
Predictor = Callable[[np.ndarray], np.ndarray]


def sequential(sizes: tuple[int, ...]) -> nn.Sequential:
    """Make the network, with the initial weights of ``Autoencoder``: errors are comparable."""
    module = dense(sizes)
    for parameter, value in zip(module.parameters(), initial_weights(sizes), strict=True):
        parameter.data.copy_(value)
    return module


@cache  # computed in the warm-up turn, which is not timed
def initial_weights(sizes: tuple[int, ...]) -> list[torch.Tensor]:
    """Return the initial weights of ``Autoencoder``."""
    start = estimator(sizes, 1, "float32").set_params(learning_rate_init=1e-30)
    start.fit(np.random.default_rng(0).normal(size=(8, sizes[0])).astype(np.float32))
    return list(start.module_.parameters())


@torch.no_grad()
def _predict(module: nn.Module, X: np.ndarray) -> np.ndarray:
    return module(torch.from_numpy(X)).numpy()


def hand_tuned_torch(X: np.ndarray, sizes: tuple[int, ...], epochs: int) -> Predictor:
    """Train on whole tensors, with one permutation per epoch and fused Adam."""
    torch.manual_seed(0)
    module = sequential(sizes)
    train_by_hand(module, torch.from_numpy(X), epochs)
    return partial(_predict, module)


def torch_with_data_loader(X: np.ndarray, sizes: tuple[int, ...], epochs: int) -> Predictor:
    """Train with the loop of the tutorials."""
    torch.manual_seed(0)
    module = sequential(sizes)
    optimizer = torch.optim.Adam(module.parameters(), lr=RATE)
    loader = DataLoader(TensorDataset(torch.from_numpy(X)), batch_size=BATCH, shuffle=True)
    for _ in range(epochs):
        for (rows,) in loader:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(module(rows), rows)
            loss.backward()
            optimizer.step()
    return partial(_predict, module)


def mlp_regressor(X: np.ndarray, sizes: tuple[int, ...], epochs: int) -> Predictor:
    """Train scikit-learn's MLPRegressor, which has a non-linearity on the code, too."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    hidden = [*sizes[1:], *sizes[-2:0:-1]]
    model = MLPRegressor(
        hidden_layer_sizes=hidden,
        batch_size=BATCH,
        learning_rate_init=RATE,
        max_iter=epochs,
        alpha=0.0,
        n_iter_no_change=epochs,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, X)
    return model.predict


def stock_skorch(X: np.ndarray, sizes: tuple[int, ...], epochs: int) -> Predictor:
    """Train skorch's NeuralNetRegressor with its defaults."""
    from skorch import NeuralNetRegressor

    torch.manual_seed(0)
    net = NeuralNetRegressor(
        sequential(sizes), optimizer=torch.optim.Adam, lr=RATE, batch_size=BATCH,
        max_epochs=epochs, train_split=None, iterator_train__shuffle=True, verbose=0,
    )  # fmt: skip
    net.fit(X, X)
    return net.predict


def pyod_autoencoder(X: np.ndarray, sizes: tuple[int, ...], epochs: int) -> Predictor:
    """Train PyOD's AutoEncoder without batch normalisation and dropout."""
    from pyod.models.auto_encoder import AutoEncoder

    model = AutoEncoder(
        hidden_neuron_list=list(sizes[1:]), batch_size=BATCH, lr=RATE, epoch_num=epochs,
        batch_norm=False, dropout_rate=0.0, preprocessing=False, verbose=0, random_state=0,
    )  # fmt: skip
    model.fit(X)
    return partial(_predict, model.model)


def keras(X: np.ndarray, sizes: tuple[int, ...], epochs: int) -> Predictor:
    """Train with Keras on torch."""
    import keras as k

    k.utils.set_random_seed(0)
    widths = [*sizes[1:], *sizes[-2::-1]]
    linear = (len(sizes) - 2, len(widths) - 1)
    layers = [
        k.layers.Dense(width, activation=None if place in linear else "relu")
        for place, width in enumerate(widths)
    ]
    model = k.Sequential([k.Input((sizes[0],)), *layers])
    model.compile(k.optimizers.Adam(RATE), loss="mse")
    model.fit(X, X, batch_size=BATCH, epochs=epochs, verbose=0)
    return partial(model.predict, verbose=0, batch_size=1024)


def jax_epochs(X: np.ndarray, sizes: tuple[int, ...], epochs: int) -> Predictor:
    """Train with JAX, one compiled function per epoch."""
    import jax

    train_epoch, forward = compiled_jax(sizes)
    weights = [jax.numpy.asarray(value.detach().numpy()) for value in initial_weights(sizes)]
    first, second = ([jax.numpy.zeros_like(value) for value in weights] for _ in range(2))
    state = weights, first, second, jax.numpy.zeros(())
    data, random = jax.numpy.asarray(X), np.random.default_rng(0)
    for _ in range(epochs):
        state = train_epoch(state, data, random.permutation(len(X)).reshape(-1, BATCH))
    jax.block_until_ready(state)
    return lambda samples: np.asarray(forward(state[0], samples))


@cache
def compiled_jax(sizes: tuple[int, ...]) -> tuple[Callable, Callable]:
    """Return JAX functions that train an epoch and reconstruct samples."""
    import jax
    from jax import numpy as jnp

    linear = (len(sizes) - 2, 2 * len(sizes) - 3)

    def forward(weights: list, x: jax.Array) -> jax.Array:
        for layer in range(len(weights) // 2):
            x = x @ weights[2 * layer].T + weights[2 * layer + 1]
            x = x if layer in linear else jnp.maximum(x, 0)
        return x

    def loss(weights: list, x: jax.Array) -> jax.Array:
        return jnp.square(forward(weights, x) - x).mean()

    def train_epoch(state: tuple, data: jax.Array, order: jax.Array) -> tuple:
        def step(state: tuple, index: jax.Array) -> tuple:
            weights, first, second, n_steps = state
            n_steps += 1
            gradients = jax.grad(loss)(weights, data[index])
            first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
            second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
            rate = RATE / (1 - 0.9**n_steps)
            root = jnp.sqrt(1 - 0.999**n_steps)
            weights = [
                w - rate * m / (jnp.sqrt(v) / root + 1e-8)
                for w, m, v in zip(weights, first, second, strict=True)
            ]
            return (weights, first, second, n_steps), None

        return jax.lax.scan(step, state, order)[0]

    return jax.jit(train_epoch, donate_argnums=0), jax.jit(forward)


def estimator(sizes: tuple[int, ...], epochs: int, precision: str) -> Autoencoder:
    """Configure ``Autoencoder`` as the same network, without regularisation."""
    return Autoencoder(
        sizes[-1],
        hidden_layer_sizes=sizes[1:-1],
        activation="relu",
        init="random",
        input_noise=0.0,
        alpha=0.0,
        batch_size=BATCH,
        learning_rate="constant",
        learning_rate_init=RATE,
        max_iter=epochs,
        early_stopping=False,
        n_iter_no_change=epochs,
        precision=precision,
        random_state=0,
    )


def ours(precision: str, X: np.ndarray, sizes: tuple[int, ...], epochs: int) -> Predictor:
    """Train ``Autoencoder``."""
    return estimator(sizes, epochs, precision).fit(X).reconstruct


def contestants() -> dict[str, Callable]:
    """Map names to the methods that are installed."""
    found = {
        "Autoencoder, precision auto": partial(ours, "auto"),
        "Autoencoder, float32": partial(ours, "float32"),
        "hand-tuned torch": hand_tuned_torch,
        "torch with DataLoader": torch_with_data_loader,
        "MLPRegressor": mlp_regressor,
        "skorch, defaults": stock_skorch,
    }
    if importlib.util.find_spec("jax"):
        found["JAX"] = jax_epochs
    if importlib.util.find_spec("pyod"):
        found["PyOD AutoEncoder"] = pyod_autoencoder
    if importlib.util.find_spec("keras"):
        found["Keras on torch"] = keras
    return found


def product_rate(dtype: torch.dtype, seconds: float = 0.5) -> float:
    """Measure the rate of a large matrix product, in GFLOP/s."""
    size = 1024
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    left @ right
    runs, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        left @ right
        runs += 1
    return 2 * size**3 * runs / (time.perf_counter() - start) / 1e9


def rows_for(size: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Load training and test samples, float32, centred and scaled as by the estimator."""
    if size == "small":
        X = load_digits().data.astype(np.float32)
        train, test, source = X[:1536], X[1536:], "digits"
    else:
        train, test, *_, source = mnist()
        train = train[:12800]
    center, scale = train.mean(0), np.sqrt(train.var(0).mean())
    return (train - center) / scale, (test - center) / scale, source


def main() -> None:
    """Print one table for each size and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=list(contestants()), help="methods to time")
    arguments = parser.parse_args()
    report = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        rates = {dtype: product_rate(dtype) for dtype in (torch.float32, torch.bfloat16)}
        print(machine())
        print(", ".join(f"{str(d)[6:]} products {r:.0f} GFLOP/s" for d, r in rates.items()))
        for size in arguments.sizes:
            report += compare(size, threads, arguments.repeats, arguments.only, rates)
    write_json("fit_speed", {"machine": machine(), "rows": report})


def compare(
    size: str, threads: int, repeats: int, only: list[str], rates: dict[torch.dtype, float]
) -> list[dict]:
    """Time all methods in turn on one network."""
    from threadpoolctl import threadpool_limits

    layers, epochs = SIZES[size]
    train, test, source = rows_for(size)
    steps = epochs * -(-len(train) // BATCH)
    widths = [*layers, *layers[-2::-1]]
    weights = sum(a * b for a, b in pairwise(widths))
    # Two operations per weight and sample forward, four backward, minus the input's gradient.
    operations = 2 * BATCH * (3 * weights - widths[0] * widths[1])
    chosen = {name: fit for name, fit in contestants().items() if name in only}
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    errors = {}
    with threadpool_limits(threads):
        for turn in range(repeats + 1):
            for name, fit in chosen.items():
                start = time.perf_counter()
                predict = fit(train, layers, epochs)
                if turn:  # the first turn warms up
                    seconds[name].append(time.perf_counter() - start)
                errors[name] = float(np.square(predict(test) - test).mean())
    print(f"\n{'-'.join(map(str, layers))}, {source}, {threads} thread(s), {steps} steps")
    header = f"{'':30}{'us/step':>9}{'x ours':>8}{'GFLOP/s':>9}{'% peak':>7}{'test error':>12}"
    print(header)
    best = statistics.median(seconds["Autoencoder, precision auto"])
    rows = []
    for name, times in seconds.items():
        median = statistics.median(times)
        rate = operations * steps / median / 1e9
        low = name.endswith("auto") and layers[1] >= 256
        share = rate / rates[torch.bfloat16 if low else torch.float32]
        print(
            f"{name:30}{median / steps * 1e6:9.0f}{median / best:8.2f}{rate:9.0f}{share:7.0%}"
            f"{errors[name]:12.5f}",
            flush=True,
        )
        rows.append(
            {
                "size": size,
                "threads": threads,
                "name": name,
                "error": errors[name],
                "microseconds": median / steps * 1e6,
                "relative": median / best,
                "share": share,
            }
        )
    return rows


if __name__ == "__main__":
    main()
