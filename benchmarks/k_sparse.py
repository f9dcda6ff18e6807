"""Error of logistic regression on k-sparse codes, e.g. with 25 of 1,000 units active.

MNIST, one layer of 1,000 units of which the `k` largest are active, as in Makhzani and Frey
(2013): logistic regression on the codes of all 60,000 training images, error on the test
images. The encoding factor and the regularisation of the logistic
regression are chosen on 10,000 held-out training images. Run::

    python benchmarks/k_sparse.py [--quick] [--k 10 25 40 70] [--epochs 60]
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from _data import machine, mnist, write_json
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import SparseAutoencoder

FACTORS = (1.0, 2.0, 4.0)
STRENGTHS = (0.001, 0.01, 0.1)


def error(train, train_labels, test, test_labels, strength: float) -> float:
    """Return the error rate, in per cent."""
    model = make_pipeline(
        StandardScaler(with_mean=False), LogisticRegression(C=strength, max_iter=200)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train, train_labels)
    return 100 * (1 - model.score(test, test_labels))


def sparse(k: int, factor: float, epochs: int) -> SparseAutoencoder:
    """Make an autoencoder with one layer and a linear decoder."""
    return SparseAutoencoder(
        1000,
        sparsity="topk",
        n_active=k,
        encoding_factor=factor,
        hidden_layer_sizes=(),
        alpha=0.0,
        max_iter=epochs,
        early_stopping=False,
        random_state=0,
        verbose=1,
    )


def main() -> None:
    """Choose parameters on held-out images, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one minute: fewer images and epochs")
    parser.add_argument("--k", nargs="+", type=int, default=[25, 40])
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    train, test, train_labels, test_labels, source = mnist()
    epochs = arguments.epochs
    if arguments.quick:
        train, train_labels, epochs = train[:6000], train_labels[:6000], 10
    print(source)
    print(machine())
    aside = len(train) // 6
    parts = (train[:-aside], train_labels[:-aside], train[-aside:], train_labels[-aside:])
    report = {}
    for k in arguments.k:
        start = time.perf_counter()
        scores = {}
        for factor in FACTORS:
            model = sparse(k, factor, max(epochs // 4, 5)).fit(parts[0])
            codes = model.transform(parts[0]), model.transform(parts[2])
            for strength in STRENGTHS:
                scores[factor, strength] = error(codes[0], parts[1], codes[1], parts[3], strength)
        factor, strength = min(scores, key=scores.get)
        model = sparse(k, factor, epochs).fit(train)
        report[f"k={k}"] = {
            "test error": error(
                model.transform(train), train_labels, model.transform(test), test_labels, strength
            ),
            "factor": factor,
            "C": strength,
            "variance explained": model.score(test),
            "dead units": model.dead_units_,
            "seconds": time.perf_counter() - start,
        }
        print(f"k={k}", report[f"k={k}"], flush=True)
    report["pixels"] = {"test error": error(train, train_labels, test, test_labels, 0.01)}
    print("pixels", report["pixels"])
    write_json("k_sparse", {"machine": machine(), "epochs": epochs, "results": report})


if __name__ == "__main__":
    np.set_printoptions(precision=3)
    main()
