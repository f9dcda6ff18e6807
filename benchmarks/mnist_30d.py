"""The deep autoencoder of Hinton and Salakhutdinov (2006) with 30 and with 2 components.

784-1000-500-250-30 on the 60,000 training images of MNIST in [0, 1]; the error is the squared
error summed over the 784 pixels, averaged over the 10,000 test images. PCA has 13.87, the
paper's network 3.00. Run::

    python benchmarks/mnist_30d.py [--quick] [--params '{"max_iter": 100}']
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from _data import RESULTS, machine, mnist, write_json
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from sklearn_ae import Autoencoder

LAYERS = (1000, 500, 250)


def squared_error(images: np.ndarray, restored: np.ndarray) -> float:
    """Return the squared error, summed over pixels and averaged over images."""
    return float(np.square(images - restored, dtype=np.float64).sum(axis=1).mean())


def main() -> None:
    """Print the table and draw the codes with two components."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one minute instead of ten: fewer epochs"
    )
    parser.add_argument(
        "--params", type=json.loads, default={}, help="parameters of Autoencoder, as JSON"
    )
    parser.add_argument(
        "--only-30", action="store_true", help="omit the codes with two components"
    )
    arguments = parser.parse_args()
    train, test, train_labels, test_labels, source = mnist()
    params = {
        "hidden_layer_sizes": LAYERS,
        "activation": "silu",
        "init": "random",
        "input_noise": 0.0,
        "learning_rate_init": 2e-3,
        "batch_size": 256,
        "max_iter": 12 if arguments.quick else 115,
        "early_stopping": False,
        "random_state": 0,
        "verbose": 1,
    } | arguments.params
    print(source)
    print(machine())
    print(params)

    start = time.perf_counter()
    deep = Autoencoder(30, **params).fit(train)
    seconds = time.perf_counter() - start
    pca = PCA(30).fit(train)
    result = {
        "autoencoder": squared_error(test, deep.reconstruct(test)),
        "autoencoder, training images": squared_error(train, deep.reconstruct(train)),
        "pca": squared_error(test, pca.inverse_transform(pca.transform(test))),
        "seconds": seconds,
    }
    for name, value in result.items():
        print(f"30 components, {name}: {value:.3f}", flush=True)
    if not arguments.only_30:
        result |= plane(train, test, train_labels, test_labels, params)
    write_json("mnist_30d", {"machine": machine(), "params": params, "result": result})


def plane(
    train: np.ndarray,
    test: np.ndarray,
    train_labels: np.ndarray,
    test_labels: np.ndarray,
    params: dict,
) -> dict[str, float]:
    """Compare two components: ten-nearest-neighbours accuracy, and a figure."""
    import matplotlib.pyplot as plt

    models = {
        "PCA": PCA(2).fit(train),
        "Autoencoder": Autoencoder(2, **params | {"max_iter": params["max_iter"] // 3}).fit(train),
    }
    figure, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    result = {}
    for cell, (name, model) in zip(axes, models.items(), strict=True):
        codes = model.transform(test)
        neighbours = KNeighborsClassifier(10).fit(model.transform(train), train_labels)
        accuracy = neighbours.score(codes, test_labels)
        result[f"2 components, nearest-neighbours accuracy, {name}"] = accuracy
        result[f"2 components, error, {name}"] = squared_error(
            test, model.inverse_transform(codes)
        )
        for digit in range(10):
            chosen = codes[test_labels == digit][:300]
            cell.scatter(*chosen.T, s=5, color=plt.cm.tab10(digit), label=str(digit))
        cell.set(title=f"{name}: accuracy {accuracy:.1%} (10 nearest neighbours)")
        (left, low), (right, high) = np.percentile(codes, [2, 98], axis=0)
        cell.set(xlabel="code 1", ylabel="code 2", xlim=(left, right), ylim=(low, high))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", markerscale=3)
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(Path(RESULTS) / "mnist_2d.png", dpi=120)
    for name, value in result.items():
        print(f"{name}: {value:.3f}", flush=True)
    return result


if __name__ == "__main__":
    main()
