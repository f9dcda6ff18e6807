"""Few labels: the semi-supervised classifier beside one-liners of scikit-learn.

Test accuracy with 50 and 200 labelled training samples, drawn in proportion to the classes; all
other training samples are unlabelled. The tables are those of ``downstream.py``, scaled as there,
with MNIST and Fashion-MNIST as 2,000 training images, and tf-idf of 2,000 words for 20 Newsgroups.
All methods have default parameters, unless the line names others; "tuned" is a grid search over 5
folds of the labelled samples. Run::

    python benchmarks/few_labels.py [--quick] [--splits 5] [--tables digits wine]
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from _data import data_folder, machine, newsgroups, write_json
from downstream import split, tables
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from sklearn_ae import StackedAutoencoderClassifier
from sklearn_ae.metrics import labeled_scorer

N_LABELS = (50, 200)

DEVELOPED_ON = {"digits", "wine", "breastw", "SpamBase", "ECG5000", "MNIST"}
"""Tables on which the method and its defaults were chosen, with other splits."""


def data() -> Iterator[tuple[str, np.ndarray, np.ndarray, bool]]:
    """Name, samples, classes, and whether all features have the same unit."""
    yield from tables()
    if data_folder() is not None:
        (texts, groups), _, _ = newsgroups()
        chosen = np.random.default_rng(0).permutation(len(texts))[:3000]
        words = TfidfVectorizer(max_features=2000, stop_words="english", sublinear_tf=True)
        X = words.fit_transform([texts[i] for i in chosen]).toarray().astype(np.float32)
        yield "20 Newsgroups", X, groups[chosen], True


def tuned_spreading(n_splits: int) -> GridSearchCV:
    """Return label spreading with kernel and width chosen by cross-validation."""
    grid = [
        {"kernel": ["rbf"], "gamma": [0.01, 0.1, 1.0, 10.0]},
        {"kernel": ["knn"], "n_neighbors": [5, 10]},
    ]
    folds = StratifiedKFold(n_splits, shuffle=True, random_state=0)
    return GridSearchCV(
        LabelSpreading(max_iter=100), grid, scoring=labeled_scorer(unlabeled=-1), cv=folds
    )


def methods(seed: int) -> dict[str, tuple[Any, bool]]:
    """Name to an unfitted classifier, and whether it takes unlabelled samples."""
    ours = {"unlabeled": -1, "random_state": seed}
    return {
        "StackedAutoencoderClassifier": (StackedAutoencoderClassifier(**ours), True),
        "adversarial_weight=0": (
            StackedAutoencoderClassifier(adversarial_weight=0, **ours),
            True,
        ),
        "and pseudo_labels=False": (
            StackedAutoencoderClassifier(adversarial_weight=0, pseudo_labels=False, **ours),
            True,
        ),
        "SVC": (SVC(), False),
        "SVC, C=10": (SVC(C=10), False),
        "LabelSpreading": (LabelSpreading(), True),
        "LabelSpreading, tuned": (tuned_spreading(5), True),
        "SelfTraining of SVC, C=10": (
            SelfTrainingClassifier(SVC(C=10, probability=True, random_state=seed)),
            True,
        ),
        "LogisticRegression": (LogisticRegression(max_iter=5000), False),
        "RandomForest": (RandomForestClassifier(random_state=seed), False),
    }


def few(y: np.ndarray, n_labels: int, seed: int) -> np.ndarray:
    """Return the labels of `n_labels` samples, and -1 for the others."""
    chosen, _ = train_test_split(
        np.arange(len(y)), train_size=n_labels, stratify=y, random_state=seed
    )
    labels = np.full(len(y), -1)
    labels[chosen] = y[chosen]
    return labels


def measure(
    name: str, X: np.ndarray, y: np.ndarray, is_image: bool, n_labels: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Name of the method to its accuracy and the seconds of its fit."""
    y = np.unique(y, return_inverse=True)[1]
    train, test, y_train, y_test = split(X, y, is_image, seed)
    if n_labels > len(train) / 2:
        return {}
    labels, results = few(y_train, n_labels, seed), {}
    known = labels >= 0
    for method, (model, takes_all) in methods(seed).items():
        start = time.perf_counter()
        model.fit(*((train, labels) if takes_all else (train[known], labels[known])))
        seconds = time.perf_counter() - start
        results[method] = float(np.mean(model.predict(test) == y_test)), seconds
        print(name, n_labels, seed, method, *results[method], file=sys.stderr)
    return results


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three tables, one split")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--tables", nargs="*", help="names; default: all")
    arguments = parser.parse_args()
    # Classes with fewer labels than folds, and label spreading that has not converged.
    warnings.filterwarnings("ignore")
    print(machine())
    found: dict[int, dict[str, dict[str, list]]] = {n: {} for n in N_LABELS}
    seen = 0
    for name, X, y, is_image in data():
        if (arguments.tables and name not in arguments.tables) or (arguments.quick and seen == 3):
            continue
        seen += 1
        for n_labels in N_LABELS:
            for seed in range(1 if arguments.quick else arguments.splits):
                for method, result in measure(name, X, y, is_image, n_labels, seed).items():
                    found[n_labels].setdefault(method, {}).setdefault(name, []).append(result)
    for n_labels, of_method in found.items():
        if of_method:
            show(n_labels, of_method)
    write_json("few_labels", {"machine": machine(), "accuracy_and_seconds": found})


def show(n_labels: int, of_method: dict[str, dict[str, list]]) -> None:
    """Print a column for each method and a line for each table."""
    names = list(next(iter(of_method.values())))
    short = [method[:12] for method in of_method]
    print(f"\n{n_labels} labels     " + "".join(f"{name:>14}" for name in short))
    means = {
        method: [np.mean([accuracy for accuracy, _ in results[name]]) for name in names]
        for method, results in of_method.items()
    }
    for place, name in enumerate(names):
        mark = "*" if name in DEVELOPED_ON else " "
        print(f"{name:14}{mark}" + "".join(f"{of[place]:14.3f}" for of in means.values()))
    print(f"{'mean':15}" + "".join(f"{np.mean(of):14.3f}" for of in means.values()))
    seconds = [
        np.median([s for runs in results.values() for _, s in runs])
        for results in of_method.values()
    ]
    print(f"{'median seconds':15}" + "".join(f"{s:14.2f}" for s in seconds))


if __name__ == "__main__":
    main()
