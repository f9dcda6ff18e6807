"""Compare the defaults of each estimator with a plain torch network, at equal epochs.

The torch network is that of the usual tutorials: one hidden layer of ReLU units (twice as wide as
that of the estimator where this is customary), Adam with a learning rate of 0.001, batches of 128,
the same code size, the same number of epochs, raw or standardised data. The estimators have
default parameters except for the code size, the number of epochs and parameters of the task
(likelihood, noise).

The images are 5,000 training images of MNIST and Fashion-MNIST, evaluated on 2,000 test
images; digits and four tables are split four to one. Each line of the table has the errors of both
(lower is better), their ratio (for nats, their difference), and the fit times of both in seconds,
averaged over seeds. Run::

    python benchmarks/defaults.py [--quick] [--seeds 3] [--only VariationalAutoencoder ...]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from _data import data_folder, fashion_mnist, machine, mnist, write_json
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

import sklearn_ae

Loss = Callable[[Tensor], Tensor]


class Task(NamedTuple):
    """Data set: samples, labels and settings."""

    name: str
    train: np.ndarray
    test: np.ndarray
    y_train: np.ndarray
    y_test: np.ndarray
    is_image: bool
    n_components: int
    epochs: int


def tasks(quick: bool, seed: int) -> Iterator[Task]:
    """Generate images, digits and tables, sampled and split by the seed."""
    rng = np.random.default_rng(seed)
    for name, load in (("MNIST", mnist), ("Fashion-MNIST", fashion_mnist)):
        train, test, y_train, y_test, _ = load()
        some, few = rng.permutation(len(train))[:5000], rng.permutation(len(test))[:2000]
        epochs = 3 if quick else 30
        yield Task(name, train[some], test[few], y_train[some], y_test[few], True, 10, epochs)
    X, y = datasets.load_digits(return_X_y=True)
    yield from split("digits", X.astype(np.float32) / 16, y, seed, True, 8, 5 if quick else 100)
    for name, (X, y) in tables().items():
        yield from split(name, X, y, seed, False, 3, 5 if quick else 100)


def split(
    name: str, X: np.ndarray, y: np.ndarray, seed: int, is_image: bool, size: int, epochs: int
) -> Iterator[Task]:
    """Hold out a fifth; standardise tables by their training samples."""
    train, test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=seed)
    if not is_image:
        scaler = StandardScaler().fit(train)
        train, test = (scaler.transform(part).astype(np.float32) for part in (train, test))
    yield Task(name, train, test, y_train, y_test, is_image, size, epochs)


def tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Load two tables of scikit-learn, and two of ADBench or else two more of scikit-learn."""
    found = {
        name: getattr(datasets, f"load_{name}")(return_X_y=True)
        for name in ("breast_cancer", "wine", "diabetes", "iris")
    }
    folder = data_folder()
    for name in ("pendigits", "satellite") if folder else ():
        data = np.load(folder / "adbench" / f"{name}.npz")
        found[name] = data["X"].astype(np.float64), data["y"].astype(int)
    return dict(list(found.items())[:2] + list(found.items())[-2:])


def minimise(loss: Loss, modules: list[nn.Module], X: Any, epochs: int) -> None:
    """Train with Adam. The last column of the samples may contain labels."""
    parameters = [p for module in modules for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    for _ in range(epochs):
        for index in torch.randperm(len(X)).split(128):
            optimizer.zero_grad()
            loss(X[index]).backward()
            optimizer.step()


def dense(n_in: int, n_hidden: int, n_out: int) -> nn.Sequential:
    """Make a network with one hidden layer."""
    return nn.Sequential(nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_out))


def squares(a: Any, b: Any) -> float:
    """Return the squared error, summed over features and averaged over samples."""
    a, b = (np.asarray(v, np.float64).reshape(len(v), -1) for v in (a, b))
    return float(np.square(a - b).sum(1).mean())


# Each function returns the errors of the estimator and of the torch network, on the same samples
# and by the same formula, and the seconds of both fits.


def reconstruction(
    task: Task,
    ours: Any,
    penalty: Callable[[Tensor, Tensor], Tensor] | None = None,
    encoder: nn.Module | None = None,
    decoder: nn.Module | None = None,
    noise: float = 0.0,
) -> tuple[float, float, float, float]:
    """Measure reconstruction errors, on corrupted test samples if `noise` is used in training."""
    X, d = torch.from_numpy(task.train), task.train.shape[1]
    encoder = encoder or dense(d, 256 if d > 100 else 64, ours.n_components)
    decoder = decoder or dense(ours.n_components, 256 if d > 100 else 64, d)

    def loss(x: Tensor) -> Tensor:
        seen = (x + noise * torch.randn_like(x)).requires_grad_(penalty is not None)
        code = encoder(seen)
        error = (decoder(code) - x).square().mean()
        return error if penalty is None else error + penalty(code, seen)

    begin = time.perf_counter()
    minimise(loss, [encoder, decoder], X, task.epochs)
    middle = time.perf_counter()
    ours.fit(task.train)
    end = time.perf_counter()
    drawn = np.random.default_rng(0).standard_normal(task.test.shape).astype(np.float32)
    seen = task.test + noise * drawn
    with torch.no_grad():
        theirs = squares(decoder(encoder(torch.from_numpy(seen))), task.test)
    return squares(ours.reconstruct(seen), task.test), theirs, end - middle, middle - begin


def likelihood(task: Task, ours: Any) -> tuple[float, float, float, float]:
    """Measure minus the evidence lower bound on test samples."""
    X, d, k = torch.from_numpy(task.train), task.train.shape[1], ours.n_components
    width = 256 if d > 100 else 64
    encoder, decoder = dense(d, width, 2 * k), dense(k, width, d)
    log_variance = nn.Linear(1, 1)
    is_bits = ours.likelihood == "bernoulli"

    def loss(x: Tensor) -> Tensor:
        mean, log_std = encoder(x).chunk(2, 1)
        o = decoder(mean + log_std.exp() * torch.randn_like(mean))
        if is_bits:
            error = functional.binary_cross_entropy_with_logits(o, x, reduction="none")
        else:
            v = log_variance.bias
            error = 0.5 * ((o - x).square() * torch.exp(-v) + v + np.log(2 * np.pi))
        kl = 0.5 * (mean.square() + (2 * log_std).exp() - 2 * log_std - 1)
        return (error.sum(1) + kl.sum(1)).mean()

    begin = time.perf_counter()
    minimise(loss, [encoder, decoder, log_variance], X, task.epochs)
    middle = time.perf_counter()
    ours.fit(task.train)
    end = time.perf_counter()
    with torch.no_grad():
        theirs = float(np.mean([float(loss(torch.from_numpy(task.test))) for _ in range(50)]))
    return -float(ours.score_samples(task.test).mean()), theirs, end - middle, middle - begin


def supervised(task: Task, ours: Any) -> tuple[float, float, float, float]:
    """Measure the error rate of a classifier, or one minus R^2 of a regressor."""
    is_classifier = isinstance(ours, sklearn_ae.StackedAutoencoderClassifier)
    y, y_test = task.y_train.astype(np.float32), task.y_test
    shift, scale = (0.0, 1.0) if is_classifier else (y.mean(), y.std())
    data = torch.from_numpy(np.column_stack([task.train, (y - shift) / scale]))
    net = dense(task.train.shape[1], 128, len(np.unique(y)) if is_classifier else 1)

    def loss(batch: Tensor) -> Tensor:
        output, target = net(batch[:, :-1]), batch[:, -1]
        if is_classifier:
            return functional.cross_entropy(output, target.long())
        return (output[:, 0] - target).square().mean()

    begin = time.perf_counter()
    minimise(loss, [net], data, task.epochs)
    middle = time.perf_counter()
    ours.fit(task.train, task.y_train)
    end = time.perf_counter()
    with torch.no_grad():
        output = net(torch.from_numpy(task.test)).numpy()
    if is_classifier:
        theirs = float((output.argmax(1) != y_test).mean())
    else:
        theirs = float(np.square(output[:, 0] * scale + shift - y_test).mean() / y_test.var())
    return 1 - ours.score(task.test, y_test), theirs, end - middle, middle - begin


class Recurrent(nn.Module):
    """LSTM encoder (last state) or decoder (code as the input of each step)."""

    def __init__(self, shape: tuple[int, int], n_components: int, decodes: bool) -> None:
        super().__init__()
        self.shape, self.decodes = shape, decodes
        self.recurrence = nn.LSTM(n_components if decodes else shape[1], 64, batch_first=True)
        self.last = nn.Linear(64, shape[1] if decodes else n_components)

    def forward(self, x: Tensor) -> Tensor:
        """Map sequences to codes, or codes to sequences."""
        if self.decodes:
            repeated = x[:, None].expand(-1, self.shape[0], -1)
            return self.last(self.recurrence(repeated)[0]).flatten(1)
        return self.last(self.recurrence(x.unflatten(1, self.shape))[0][:, -1])


def convolutions(side: int, n_components: int) -> tuple[nn.Module, nn.Module]:
    """Make strided and transposed convolutions with 16 and 32 maps and a dense code."""
    inner = -(-side // 4)
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, side, side)),
        nn.Conv2d(1, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * inner**2, n_components),
    )
    decoder = nn.Sequential(
        nn.Linear(n_components, 32 * inner**2),
        nn.Unflatten(1, (32, inner, inner)),
        nn.ConvTranspose2d(32, 16, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1),
        nn.Flatten(),
    )
    return encoder, decoder


def contests(task: Task, seed: int) -> dict[str, Callable[[], tuple[float, float, float, float]]]:
    """Map the name of each estimator to the function that measures it."""
    k, d = task.n_components, task.train.shape[1]
    side = round(d**0.5)
    common = {"max_iter": task.epochs, "random_state": seed}
    noise = 0.5 * float(task.train.std())

    def logistic(n_components: int) -> nn.Module:
        return nn.Sequential(dense(d, 256 if d > 100 else 64, n_components), nn.Sigmoid())

    variance = float(task.train.var(axis=0).mean())

    def divergence(code: Tensor, x: Tensor) -> Tensor:
        # The usual penalty with the defaults of SparseAutoencoder: target 0.05, weight 0.3.
        rho, mean = 0.05, code.mean(0).clamp(1e-6, 1 - 1e-6)
        terms = rho * torch.log(rho / mean) + (1 - rho) * torch.log((1 - rho) / (1 - mean))
        return 0.3 * variance * terms.sum()

    def jacobian(code: Tensor, x: Tensor) -> Tensor:
        # One random projection of the Jacobian: its squared norm is an unbiased estimate.
        direction = torch.randn_like(code)
        (projected,) = torch.autograd.grad(code, x, direction, create_graph=True)
        # The default weight, 0.1, in units of the data: both loss and input are scaled.
        return 0.1 * variance**2 * projected.square().sum(1).mean()

    ae = sklearn_ae
    sparse = ae.SparseAutoencoder(**common)
    contractive = ae.ContractiveAutoencoder(k, **common)
    denoising = ae.DenoisingAutoencoder(k, noise_level=noise, **common)
    found: dict[str, Any] = {
        "Autoencoder": partial(reconstruction, task, ae.Autoencoder(k, **common)),
        "SparseAutoencoder": partial(
            reconstruction, task, sparse, divergence, logistic(sparse.n_components)
        ),
        "DenoisingAutoencoder": partial(reconstruction, task, denoising, noise=noise),
        "ContractiveAutoencoder": partial(
            reconstruction, task, contractive, jacobian, logistic(k)
        ),
        "StackedAutoencoder": partial(reconstruction, task, ae.StackedAutoencoder(k, **common)),
        "DeepBeliefNetwork": partial(reconstruction, task, ae.DeepBeliefNetwork(k, **common)),
    }
    for name in ("gaussian", "bernoulli") if task.is_image else ("gaussian",):
        vae = ae.VariationalAutoencoder(k, likelihood=name, **common)
        found[f"VariationalAutoencoder, {name}"] = partial(likelihood, task, vae)
    is_regression = task.name == "diabetes"
    stack = ae.StackedAutoencoderRegressor if is_regression else ae.StackedAutoencoderClassifier
    found[stack.__name__] = partial(supervised, task, stack(**common))
    if task.is_image:
        images = ae.ConvolutionalAutoencoder(k, image_shape=(side, side), **common)
        parts = convolutions(side, k)
        found[type(images).__name__] = partial(reconstruction, task, images, None, *parts)
        lstm = ae.LSTMAutoencoder(k, n_steps=side, **common)
        ends = [Recurrent((side, side), k, decodes) for decodes in (False, True)]
        found[type(lstm).__name__] = partial(reconstruction, task, lstm, None, *ends)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few epochs, as a smoke test")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[""], help="(parts of) names of estimators")
    parser.add_argument("--tasks", nargs="+", default=[""], help="(parts of) names of data sets")
    arguments = parser.parse_args()
    print(machine())
    results: dict[str, list[tuple[float, ...]]] = {}
    for seed in range(arguments.seeds):
        torch.manual_seed(seed)
        for task in tasks(arguments.quick, seed):
            if not any(part in task.name for part in arguments.tasks):
                continue
            for name, measure in contests(task, seed).items():
                if any(part in name for part in arguments.only):
                    row = f"{name} | {task.name}"
                    results.setdefault(row, []).append(measure())
                    print(seed, row, *(f"{v:.4g}" for v in results[row][-1]), file=sys.stderr)
    print(f"{'estimator | data':50} {'ours':>9} {'torch':>9} {'ratio':>7} {'s':>6} {'s':>6}")
    for name, values in results.items():
        ours, theirs, seconds, their_seconds = np.mean(values, axis=0)
        # Nats have an arbitrary zero: print their difference.
        if name.startswith("Variational"):
            compared = f"{ours - theirs:+.2f}"
        else:
            compared = f"{ours / theirs:.3f}" if theirs else "-"
        print(
            f"{name:50} {ours:9.4g} {theirs:9.4g} {compared:>7} "
            f"{seconds:6.1f} {their_seconds:6.1f}",
            flush=True,
        )
    write_json("defaults", {"machine": machine(), "results": results})


if __name__ == "__main__":
    main()
