"""Codes before a linear classifier: autoencoders beside what reduces dimensions elsewhere.

The accuracy of a logistic regression on standardised codes of 2, 8 and 16 components, on up to
twelve tables and two splits (a third for the test), everything with default parameters; tables of
more than 3,000 samples are cut. Features are standardised, those of images divided by the largest
value. Codes are fitted without labels. A table with no more features than components takes no part
in that column. UMAP takes part where it is installed. Classifiers of all features, the supervised
stack among them, stand below, and the last line says how many fits of ``Autoencoder`` stayed at
PCA. Run::

    python benchmarks/downstream.py [--quick] [--splits 2]
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from _data import data_folder, fashion_mnist, machine, mnist, write_json
from ecg5000 import beats
from sklearn import datasets
from sklearn.decomposition import PCA, KernelPCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sklearn_ae import Autoencoder, StackedAutoencoder, StackedAutoencoderClassifier

SIZES = (2, 8, 16)


def tables() -> Iterator[tuple[str, np.ndarray, np.ndarray, bool]]:
    """Name, samples, classes, and whether they are images."""
    for name in ("iris", "wine", "breast_cancer"):
        yield name, *getattr(datasets, f"load_{name}")(return_X_y=True), False
    yield "digits", *datasets.load_digits(return_X_y=True), True
    folder = data_folder()
    if folder is None:
        return
    for name in ("Ionosphere", "breastw", "fault", "SpamBase"):
        with np.load(folder / "adbench" / f"{name}.npz") as file:
            yield name, file["X"].astype(np.float64), file["y"].astype(int), False
    X, _, _ = beats()
    with np.load(folder / "ecg5000" / "ecg5000.npz") as file:
        yield "ECG5000", X, np.concatenate([file["y_train"], file["y_test"]]), False
    yield "MNIST", *mnist()[0:4:2], True
    yield "Fashion-MNIST", *fashion_mnist()[0:4:2], True
    with np.load(folder / "faces" / "orl_faces.npz") as file:
        small = file["images"][:, ::4, ::4].reshape(400, -1).astype(np.float32)
        yield "faces", small, file["subject"], True


def split(X: np.ndarray, y: np.ndarray, is_image: bool, seed: int) -> list[np.ndarray]:
    """Cut to 3,000 samples, hold a third out, and scale by the training samples."""
    chosen = np.random.default_rng(seed).permutation(len(X))[:3000]
    classes, counts = np.unique(y[chosen], return_counts=True)
    chosen = chosen[np.isin(y[chosen], classes[counts > 3])]
    train, test, y_train, y_test = train_test_split(
        X[chosen], y[chosen], test_size=1 / 3, stratify=y[chosen], random_state=seed
    )
    if is_image:
        return [train / train.max(), test / train.max(), y_train, y_test]
    scaler = StandardScaler().fit(train)
    return [scaler.transform(train), scaler.transform(test), y_train, y_test]


def reducers(size: int, seed: int) -> dict[str, Any]:
    """Name to an unfitted transformer."""
    found = {
        "PCA": PCA(size, random_state=seed),
        "Autoencoder": Autoencoder(size, random_state=seed),
        "StackedAutoencoder": StackedAutoencoder(size, random_state=seed),
        "KernelPCA, rbf": KernelPCA(size, kernel="rbf", random_state=seed),
    }
    try:
        umap = importlib.import_module("umap")
    except ImportError:
        return found
    return found | {"UMAP": umap.UMAP(n_components=size, random_state=seed, n_jobs=1)}


def classifiers(size: int, seed: int) -> dict[str, Pipeline]:
    """Name to a pipeline that classifies."""
    return {
        name: make_pipeline(reducer, StandardScaler(), LogisticRegression(max_iter=2000))
        for name, reducer in reducers(size, seed).items()
    }


def whole(seed: int) -> dict[str, Any]:
    """Name to a classifier of all features."""
    return {
        "StackedAutoencoderClassifier": StackedAutoencoderClassifier(random_state=seed),
        "logistic regression, all features": LogisticRegression(max_iter=5000),
        "SVC, all features": SVC(random_state=seed),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three tables, one split")
    parser.add_argument("--splits", type=int, default=2)
    arguments = parser.parse_args()
    print(machine())
    scores: dict[str, dict[str, list[float]]] = {}
    stayed: list[bool] = []
    names: list[str] = []
    for name, X, y, is_image in tables():
        if arguments.quick and len(names) == 3:
            break
        names.append(name)
        for seed in range(1 if arguments.quick else arguments.splits):
            train, test, y_train, y_test = split(X, y, is_image, seed)
            for size in (s for s in SIZES if s < train.shape[1]):
                for method, model in classifiers(size, seed).items():
                    start = time.perf_counter()
                    accuracy = model.fit(train, y_train).score(test, y_test)
                    seconds = time.perf_counter() - start
                    scores.setdefault(f"{method} | {size}", {}).setdefault(name, []).append(
                        accuracy
                    )
                    print(
                        name,
                        seed,
                        size,
                        method,
                        f"{accuracy:.3f} {seconds:.1f} s",
                        file=sys.stderr,
                    )
                    if method == "Autoencoder":
                        stayed.append(model[0].best_epoch_ == 0)
            for method, model in whole(seed).items():
                accuracy = model.fit(train, y_train).score(test, y_test)
                scores.setdefault(method, {}).setdefault(name, []).append(accuracy)
    show(scores, names)
    print(f"{np.mean(stayed):.0%} of {len(stayed)} fits of Autoencoder stayed at PCA")
    write_json("downstream", {"machine": machine(), "scores": scores, "stayed": stayed})


def show(scores: dict[str, dict[str, list[float]]], names: list[str]) -> None:
    """Print means over the tables, and then a line a method with a column a table."""
    print(f"\n{'mean accuracy':32}" + "".join(f"{size:>8}" for size in SIZES))
    methods = list(dict.fromkeys(key.split(" | ")[0] for key in scores))
    for method in methods:
        keys = [key for key in scores if key.split(" | ")[0] == method]
        means = [np.mean([np.mean(v) for v in scores[key].values()]) for key in keys]
        print(f"{method:32}" + "".join(f"{mean:8.3f}" for mean in means))
    print(f"\n{'':36}" + "".join(f"{name[:12]:>14}" for name in names))
    for key, found in scores.items():
        cells = (f"{np.mean(found[n]):14.3f}" if n in found else f"{'-':>14}" for n in names)
        print(f"{key:36}" + "".join(cells))


if __name__ == "__main__":
    main()
