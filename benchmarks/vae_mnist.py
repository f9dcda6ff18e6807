"""Variational autoencoder on MNIST: nats per test image under dynamic binarisation.

Two settings of the literature. The first is 784-200-200-50 with tanh units and one stochastic
layer, trained on images whose pixels are binarised at random anew in every epoch; the negative
log-likelihood of the test images, binarised once, is bounded with 5,000 importance samples. The
second is 784-400-20 on grey values for ten epochs, evaluated by minus the evidence lower bound.
Run::

    python benchmarks/vae_mnist.py [--quick] [--epochs 50] [--only vae iwae short]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _data import machine, mnist, write_json

from sklearn_ae import VariationalAutoencoder


def stochastic(
    train: np.ndarray, test: np.ndarray, n_importance_samples: int, epochs: int, draws: int
) -> dict[str, float]:
    """Train with dynamic binarisation; bound the log-likelihood of binarised test images."""
    start = time.perf_counter()
    vae = VariationalAutoencoder(
        50,
        likelihood="bernoulli",
        binarize=True,
        hidden_layer_sizes=(200, 200),
        n_importance_samples=n_importance_samples,
        alpha=0.0,
        batch_size=100,
        max_iter=epochs,
        early_stopping=False,
        random_state=0,
        verbose=1,
    ).fit(train)
    seconds = time.perf_counter() - start
    rng = np.random.default_rng(0)
    bits = (rng.random(test.shape, dtype=np.float32) < test).astype(np.float32)
    return {
        "seconds": seconds,
        "minus elbo": -vae.score_samples(bits, n_importance_samples=1).mean(),
        "nll": -vae.score_samples(bits, n_importance_samples=draws).mean(),
        "active units": vae.active_units_,
    }


def short(train: np.ndarray, test: np.ndarray, epochs: int) -> dict[str, float]:
    """Train the small network on grey values."""
    start = time.perf_counter()
    vae = VariationalAutoencoder(
        20,
        likelihood="bernoulli",
        hidden_layer_sizes=(400,),
        activation="relu",
        alpha=0.0,
        batch_size=128,
        learning_rate_init=1e-3,
        learning_rate="constant",
        kl_warm_up=0.0,
        max_iter=epochs,
        early_stopping=False,
        random_state=0,
        verbose=1,
    ).fit(train)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "minus elbo": -vae.score_samples(test).mean()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one minute: few samples and epochs")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--only", nargs="+", default=["short", "vae", "iwae"])
    arguments = parser.parse_args()
    train, test, *_, source = mnist()
    epochs, short_epochs, draws = arguments.epochs, 10, 5000
    if arguments.quick:
        train, test, epochs, short_epochs, draws = train[:10_000], test[:500], 5, 3, 500
    print(source)
    print(machine())
    report = {}
    if "short" in arguments.only:
        report["784-400-20, grey"] = short(train, test, short_epochs)
    for name, count in (("vae", 1), ("iwae", 5)):
        if name in arguments.only:
            report[f"784-200-200-50, bits, k={count}"] = stochastic(
                train, test, count, epochs, draws
            )
    for name, row in report.items():
        print(name, ", ".join(f"{key} {value:.2f}" for key, value in row.items()))
    write_json("vae_mnist", {"machine": machine(), "epochs": epochs, "results": report})


if __name__ == "__main__":
    main()
