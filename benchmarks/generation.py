"""Quality of generated digits: a classifier's confidence, and the energy distance to test images.

Autoencoders with ten components are trained on 55,000 images of MNIST, and so is a classifier. The
table shows the fraction of draws that the classifier is sure of, with a probability of at least 80
%, the fractions of digits, and both for the real test images. The energy distance of Szekely and
Rizzo to the 10,000 test images is an unbiased estimate from 5,000 draws: of the means of p(x|z),
and of draws from it. The baselines are a Gaussian fitted to the pixels and as many training
images. The settings were chosen on the last 5,000 training images. Run::

    python benchmarks/generation.py [--quick] [--validation]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _data import machine, mnist, write_json
from sklearn.base import clone
from sklearn.metrics import pairwise_distances_chunked
from sklearn.mixture import GaussianMixture
from sklearn.neural_network import MLPClassifier

from sklearn_ae import Autoencoder, VariationalAutoencoder

N_DRAWS = 5000


def mean_distance(A: np.ndarray, B: np.ndarray) -> float:
    """Return the mean Euclidean distance between elements of A and of B."""
    return float(sum(part.sum() for part in pairwise_distances_chunked(A, B)) / len(A) / len(B))


def energy_distance(A: np.ndarray, B: np.ndarray) -> float:
    """Return an unbiased energy distance: distances of elements to themselves are left out."""
    within = [mean_distance(part, part) * len(part) / (len(part) - 1) for part in (A, B)]
    return 2 * mean_distance(A, B) - sum(within)


def recognised(classifier: MLPClassifier, images: np.ndarray) -> dict[str, float]:
    """Return the fraction of images that the classifier is sure of, and fractions of digits."""
    probabilities = classifier.predict_proba(images)
    counts = np.bincount(probabilities.argmax(1), minlength=10) / len(images)
    return {
        "recognised": float((probabilities.max(1) >= 0.8).mean()),
        "rarest digit": float(counts.min()),
        "commonest digit": float(counts.max()),
    }


def models(epochs: int) -> dict[str, Autoencoder | VariationalAutoencoder]:
    """Map names to autoencoders."""
    shared = {
        "hidden_layer_sizes": (500, 300),
        "activation": "silu",
        "max_iter": epochs,
        "learning_rate_init": 2e-3,
        "batch_size": 128,
        "early_stopping": False,
        "random_state": 0,
        "verbose": 1,
    }
    mixture = GaussianMixture(50, reg_covar=1e-3)
    vae = VariationalAutoencoder(10, alpha=0.0, **shared)
    return {
        "VAE, prior": vae,
        "VAE, mixture of its codes": clone(vae).set_params(density=mixture),
        "autoencoder, L2 on the code, mixture": Autoencoder(
            10,
            loss="binary_crossentropy",
            init="random",
            code_alpha=1e-3,
            density=mixture,
            **shared,
        ),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes: few samples and epochs")
    parser.add_argument("--validation", action="store_true", help="evaluate on validation images")
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    train, test, labels, _, source = mnist()
    if arguments.validation:
        test = train[55_000:]
    train, labels = train[:55_000], labels[:55_000]
    epochs = arguments.epochs
    if arguments.quick:
        train, labels, test, epochs = train[:10_000], labels[:10_000], test[:2000], 5
    print(source, machine(), sep="\n")
    classifier = MLPClassifier((300,), early_stopping=True, random_state=0).fit(train, labels)
    report = {"real images": recognised(classifier, test)}
    random = np.random.RandomState(0)
    mean, covariance = train.mean(0), np.cov(train.T)
    gaussian = random.multivariate_normal(mean, covariance, N_DRAWS).astype(np.float32)
    chosen = train[random.choice(len(train), N_DRAWS, replace=False)]
    report["training images"] = recognised(classifier, chosen) | {
        "energy distance": energy_distance(chosen, test)
    }
    report["Gaussian of the pixels"] = recognised(classifier, gaussian) | {
        "energy distance": energy_distance(gaussian, test)
    }
    for name, model in models(epochs).items():
        start = time.perf_counter()
        model.fit(train)
        seconds = time.perf_counter() - start
        rows = model.sample(N_DRAWS, random_state=0)
        report[name] = recognised(classifier, rows) | {
            "energy distance": energy_distance(rows, test)
        }
        if isinstance(model, VariationalAutoencoder):
            rows = model.sample(N_DRAWS, random_state=0, noise=True)
            report[name]["of noisy draws"] = energy_distance(rows, test)
        report[name]["seconds"] = seconds
        print(name, report[name])
    for name, row in report.items():
        print(f"{name:38}", ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    write_json("generation", {"machine": machine(), "epochs": epochs, "results": report})


if __name__ == "__main__":
    main()
