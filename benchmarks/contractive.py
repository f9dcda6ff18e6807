"""Contraction and quality of codes: plain, weight decay, denoising and contractive, on MNIST.

One layer of 1,000 logistic units, cross-entropy, as in Rifai et al. (2011). For each method: the
mean norm of the encoder's Jacobian at the test images, the explained variance ratio,
and the error of logistic regression on the codes. The strength of each method is chosen by this
error on a quarter of the training images, held out. Run::

    python benchmarks/contractive.py [--quick] [--epochs 30]
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass

import torch
from _data import machine, mnist, write_json
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from sklearn_ae import ContractiveAutoencoder


@dataclass(kw_only=True, eq=False, repr=False)
class Spoilt(ContractiveAutoencoder):
    """The same network trained as a denoising autoencoder, with comparable Jacobians."""

    gaussian: float = 0.0
    masking: float = 0.0

    def _loss(self, module, X, y=None, sample_weight=None):
        target = X if y is None else y
        spoilt = X + self.gaussian * torch.randn_like(X)
        spoilt = torch.where(torch.rand_like(X) < self.masking, 0.0, spoilt)
        return super()._loss(module, spoilt, target, sample_weight)


WAYS = {
    "plain": [{}],
    "weight decay": [{"alpha": alpha} for alpha in (0.1, 1.0)],
    "denoising, gaussian": [{"gaussian": level} for level in (0.1, 0.3, 0.5)],
    "denoising, masking": [{"masking": share} for share in (0.1, 0.25, 0.4)],
    "contractive": [{"contraction": weight} for weight in (0.001, 0.01, 0.1)],
}


def fitted(params: dict, epochs: int, X) -> Spoilt:
    """Fit one layer of logistic units."""
    defaults = {"alpha": 0.0, "contraction": 0.0}
    return Spoilt(
        1000,
        loss="binary_crossentropy",
        hidden_layer_sizes=(),
        code_activation="logistic",
        max_iter=epochs,
        early_stopping=False,
        random_state=0,
        **defaults | params,
    ).fit(X)


def error(train, train_labels, test, test_labels) -> float:
    """Return the error of logistic regression, in per cent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(max_iter=100).fit(train, train_labels)
    return 100 * (1 - model.score(test, test_labels))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one minute: fewer images and epochs")
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    train, test, train_labels, test_labels, source = mnist()
    epochs, rows = arguments.epochs, 20_000
    if arguments.quick:
        epochs, rows = 5, 3000
    train, train_labels = train[:rows], train_labels[:rows]
    aside = rows // 4
    print(f"{source}, the first {rows} training images")
    print(machine())
    print(f"{'':22}{'strength':>22}{'norm':>9}{'variance':>10}{'error %':>9}{'seconds':>9}")
    report = {}
    for name, grid in WAYS.items():
        start = time.perf_counter()
        best = grid[0]
        if len(grid) > 1:
            models = [fitted(params, epochs, train[:-aside]) for params in grid]
            errors = [
                error(
                    model.transform(train[:-aside]),
                    train_labels[:-aside],
                    model.transform(train[-aside:]),
                    train_labels[-aside:],
                )
                for model in models
            ]
            best = grid[errors.index(min(errors))]
        model = fitted(best, epochs, train)
        row = report[name] = {
            "params": best,
            "norm": float(model.jacobian_norm(test).mean()),
            "variance explained": model.score(test),
            "error": error(
                model.transform(train), train_labels, model.transform(test), test_labels
            ),
            "seconds": time.perf_counter() - start,
        }
        shown = ", ".join(f"{key} {value}" for key, value in best.items())
        print(
            f"{name:22}{shown:>22}{row['norm']:9.4f}{row['variance explained']:10.3f}"
            f"{row['error']:9.2f}{row['seconds']:9.0f}",
            flush=True,
        )
    ratio = report["plain"]["norm"] / report["contractive"]["norm"]
    print(f"norm, plain to contractive: {ratio:.1f} to 1")
    write_json("contractive", {"machine": machine(), "ratio": ratio, "results": report})


if __name__ == "__main__":
    main()
