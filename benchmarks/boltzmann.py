"""Compare restricted Boltzmann machines with scikit-learn's: log-likelihood and fit time.

On binarised digits with 15 hidden units the likelihood is exact, by enumeration of the hidden
states. Both have the same number of hidden units, batch size, learning rate and number of epochs,
with contrastive divergence (CD) and with persistent chains (PCD); then this package's defaults are
used. On binarised MNIST with 500 hidden units the partition functions of all models are estimated
by annealed importance sampling, with the same draws. Times are minima over alternating runs.
Finally, estimates of the log-partition function are compared with the exact value. Run::

    python benchmarks/boltzmann.py [--quick] [--epochs 10]
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from _data import machine, mnist, write_json
from sklearn.datasets import load_digits
from sklearn.neural_network import BernoulliRBM

from sklearn_ae import RestrictedBoltzmannMachine
from sklearn_ae.networks._partition import annealed_log_partition, exact_log_partition


def ours(n_hidden: int, batch_size: int, rate: float, epochs: int, **rest):
    """Make an RBM of this package with plain gradient steps, as in scikit-learn."""
    return RestrictedBoltzmannMachine(
        n_hidden,
        visible="bernoulli",
        batch_size=batch_size,
        learning_rate="constant",
        learning_rate_init=rate,
        momentum=0.0,
        alpha=0.0,
        max_iter=epochs,
        **rest,
    )


def theirs(n_hidden: int, batch_size: int, rate: float, epochs: int, **rest) -> BernoulliRBM:
    """Make an RBM of scikit-learn, which uses persistent chains."""
    return BernoulliRBM(n_hidden, learning_rate=rate, batch_size=batch_size, n_iter=epochs, **rest)


def likelihood(model, test: np.ndarray, like: RestrictedBoltzmannMachine) -> float:
    """Return the mean log-likelihood in nats; scikit-learn's weights use the same formula."""
    if isinstance(model, BernoulliRBM):
        holder = copy.deepcopy(like)
        layer = holder.module_.layer
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(model.components_))
            layer.hidden_bias.copy_(torch.from_numpy(model.intercept_hidden_))
            layer.visible_bias.copy_(torch.from_numpy(model.intercept_visible_))
        model = holder
    return float(model.score_samples(test).mean())


def fastest(fits: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Return the minimum time of each fit over alternating runs, in seconds."""
    seconds = dict.fromkeys(fits, np.inf)
    for _ in range(repeats):
        for name, fit in fits.items():
            start = time.perf_counter()
            fit()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def judge(make: Callable, seeds: int, train, test, like) -> dict[str, float]:
    """Return mean and standard deviation over seeds of the held-out log-likelihood."""
    values = [likelihood(make(random_state=seed).fit(train), test, like) for seed in range(seeds)]
    return {"nats": float(np.mean(values)), "deviation": float(np.std(values))}


def digits(seeds: int, epochs: int) -> dict[str, dict[str, float]]:
    """Measure exact held-out log-likelihoods of digits, and fit times."""
    X = (load_digits().data > 7).astype(np.float64)
    train, test = X[:1400], X[1400:]
    like = ours(15, 100, 0.1, 1, random_state=0).fit(train)
    report = {}
    for batch_size, rate in ((10, 0.1), (100, 0.3)):
        budget = (15, batch_size, rate, epochs)
        models = {
            "BernoulliRBM": partial(theirs, *budget),
            "CD-1": partial(ours, *budget),
            "PCD": partial(ours, *budget, persistent=True, n_chains=batch_size),
        }
        seconds = fastest({name: partial(fit, make, train) for name, make in models.items()}, 5)
        for name, make in models.items():
            row = judge(make, seeds, train, test, like) | {"seconds": seconds[name]}
            report[f"batch {batch_size}, rate {rate:g}, {name}"] = row
    own = partial(RestrictedBoltzmannMachine, 15, visible="bernoulli", learning_rate_init=0.1)
    seconds = fastest({"own": partial(fit, own, train)}, 3)
    row = judge(own, seeds, train, test, like) | {"seconds": seconds["own"]}
    report["own schedule, momentum, 200 epochs"] = row
    return report


def fit(make: Callable, train: np.ndarray):
    """Make a model and fit it."""
    return make(random_state=0).fit(train)


def wide(epochs: int, quick: bool) -> dict[str, dict[str, float]]:
    """Estimate log-likelihoods of 500 hidden units on binarised MNIST; they are overestimates."""
    train, test, *_, source = mnist()
    if quick:
        train, test = train[:5000], test[:1000]
    train, test = ((part > 0.5).astype(np.float32) for part in (train, test))
    print(source, len(train))
    budget = (500, 100, 0.05, epochs)
    models = {
        "BernoulliRBM": theirs(*budget, random_state=0),
        "CD-1": ours(*budget, random_state=0),
        "PCD": ours(*budget, persistent=True, random_state=0),
        "PCD, own schedule, momentum": RestrictedBoltzmannMachine(
            500,
            visible="bernoulli",
            batch_size=100,
            persistent=True,
            learning_rate_init=0.01,
            max_iter=epochs,
            random_state=0,
        ),
    }
    report, like = {}, ours(500, 100, 0.05, 1, random_state=0).fit(train[:1000])
    for name, model in models.items():
        start = time.perf_counter()
        model.fit(train)
        seconds = time.perf_counter() - start
        report[name] = {"nats": likelihood(model, test, like), "seconds": seconds}
        print(name, report[name], flush=True)
    return report


def pace(repeats: int) -> dict[str, float]:
    """Time 784 to 256 units, batches of 100, 5,000 samples, two epochs."""
    train = (mnist()[0][:5000] > 0.5).astype(np.float32)
    double = train.astype(np.float64)
    budget = (256, 100, 0.05, 2)
    return fastest(
        {
            "BernoulliRBM, float32": lambda: theirs(*budget).fit(train),
            "CD-1, float32": lambda: ours(*budget).fit(train),
            "CD-1, float32 products": lambda: ours(*budget, precision="float32").fit(train),
            "BernoulliRBM, float64": lambda: theirs(*budget).fit(double),
            "CD-1, float64": lambda: ours(*budget).fit(double),
        },
        repeats,
    )


def annealing() -> dict[str, dict[str, float]]:
    """Compare estimates of log Z with the exact value, for 15 hidden units after training."""
    X = (load_digits().data > 7).astype(np.float64)
    model = RestrictedBoltzmannMachine(
        15, visible="bernoulli", learning_rate_init=0.1, random_state=0
    ).fit(X)
    layer, base = model.module_.layer, model.module_.base
    exact = exact_log_partition(layer)
    report = {}
    for n_temperatures in (100, 1000, 10_000):
        value = annealed_log_partition(layer, base, n_temperatures, 100)
        report[f"{n_temperatures} temperatures"] = {
            "exact": exact,
            "estimate": value,
            "error": value - exact,
        }
    return report


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one minute: few samples and epochs")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    quick = arguments.quick
    print(machine())
    report: dict[str, dict] = {"digits": digits(2 if quick else 5, 15 if quick else 50)}
    report["annealing"] = annealing()
    for part in report.values():
        for name, row in part.items():
            print(name, ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    report["pace"] = pace(2 if quick else 5)
    for name, value in report["pace"].items():
        print(f"{name}: {value:.3f} s")
    report["mnist"] = wide(2 if quick else arguments.epochs, quick)
    write_json("boltzmann", {"machine": machine(), "quick": quick, "results": report})


if __name__ == "__main__":
    main()
