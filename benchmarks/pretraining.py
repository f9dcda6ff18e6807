"""Effect of pre-training on MNIST: with few labels, and for three saturating layers.

There are three parts, ``--part labels``, ``greedy`` and ``kinds``; the default is all of them.
Run::

    python benchmarks/pretraining.py [--part labels] [--quick] [--jobs 2]

*labels*: 100 to 3,000 labelled training images in balanced draws, the others unlabelled. The
models are an SVM on pixels, the network with random initial weights, the same network after greedy
denoising or variational pre-training on all images, and an SVM on the variational codes; they are
compared with the published results of Kingma et al. (2014). Settings were chosen on the last
10,000 training images with separate draws.

*greedy*: three equal logistic layers on 10,000 images, basic and rotated, as in Vincent et al.
(2010): 10,000 for training, 2,000 for the choice of noise and learning rate, 50,000 for the test.
The data sets are regenerated: all 70,000 images in a fixed random order; angles are uniform.
Intervals are binomial.

*kinds*: all kinds of pre-training on the basic set, with the same number of epochs and the same
seed.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _data import machine, mnist, write_json
from joblib import Parallel, delayed
from scipy.ndimage import rotate
from sklearn.frozen import FrozenEstimator
from sklearn.svm import SVC

from sklearn_ae import (
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    VariationalAutoencoder,
)

PUBLISHED = {
    "plain network": (25.81, 11.44, 10.7, 6.04),
    "SVM": (23.44, 8.85, 7.77, 4.21),
    "contractive": (13.47, 6.3, 4.77, 3.22),
    "VAE + TSVM": (11.82, 5.72, 4.24, 3.49),
}
"""Test errors in per cent at 100, 600, 1,000 and 3,000 labels."""


def error(model, X: np.ndarray, y: np.ndarray) -> float:
    """Return the error rate, in per cent."""
    return 100 * float(np.mean(model.predict(X) != y))


def mean_and_range(values: list[float]) -> str:
    """Format mean and standard error of several draws."""
    return f"{np.mean(values):6.2f} +- {np.std(values, ddof=1) / len(values) ** 0.5:.2f}"


# Few labels


def draw(labels: np.ndarray, n_labels: int, seed: int) -> np.ndarray:
    """Choose the same number of samples of each class."""
    rng = np.random.RandomState(seed)
    per_class = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    return np.concatenate([rng.choice(rows, n_labels // 10, replace=False) for rows in per_class])


def variational(epochs: int) -> VariationalAutoencoder:
    """Return the autoencoder that is trained on all images."""
    return VariationalAutoencoder(
        50,
        likelihood="bernoulli",
        hidden_layer_sizes=(600, 600),
        activation="silu",
        batch_size=256,
        max_iter=epochs,
        early_stopping=False,
        random_state=0,
    )


def greedy_denoising(epochs: int) -> StackedAutoencoder:
    """Return a stack of layers of the same widths, trained greedily."""
    return StackedAutoencoder(
        50,
        hidden_layer_sizes=(600, 600),
        activation="silu",
        loss="binary_crossentropy",
        batch_size=256,
        pretraining_max_iter=epochs,
        fine_tune=False,
        random_state=0,
    )


EPOCHS = {100: 100, 600: 120, 1000: 100, 3000: 60}
"""Epochs by the number of labels, for about the same number of steps."""


def contestants(vae, stack, n_labels: int, seed: int) -> dict[str, object]:
    """Return the classifiers for one draw of labels."""
    training = {
        "max_iter": EPOCHS[n_labels],
        "learning_rate_init": 0.001,
        "random_state": seed,
    }

    def on(fitted, **params):
        return StackedAutoencoderClassifier(
            autoencoder=FrozenEstimator(fitted), **training | params
        )

    return {
        "SVM on pixels": SVC(C=10),
        "network, random start": StackedAutoencoderClassifier(
            hidden_layer_sizes=(600, 600, 50), activation="silu", pretraining=None, **training
        ),
        "greedy denoising start": on(stack),
        "variational start": on(vae),
        "same, reconstruction_weight": on(vae, reconstruction_weight=0.001),
        "SVM on variational codes": on(vae, head=SVC(C=10), fine_tune=False),
    }


def few_labels(quick: bool, jobs: int) -> dict:
    """Print the errors at each number of labels."""
    train, test, labels, test_labels, source = mnist()
    sizes, seeds, epochs = list(EPOCHS), range(3), (20, 15)
    if quick:
        train, labels, sizes, seeds, epochs = train[:5000], labels[:5000], [100], range(2), (5, 3)
    print(f"{source}: {len(train)} training images, {len(seeds)} draws of labels")
    start = time.perf_counter()
    # Once for all draws: pre-training uses no labels.
    models = variational(epochs[0]), greedy_denoising(epochs[1])
    fits = [delayed(model.fit)(train) for model in models]
    vae, stack = Parallel(n_jobs=jobs)(fits)
    print(f"both autoencoders: {time.perf_counter() - start:.0f} s")

    def measure(n_labels: int, seed: int, name: str) -> float:
        rows = draw(labels, n_labels, seed)
        model = contestants(vae, stack, n_labels, seed)[name]
        return error(model.fit(train[rows], labels[rows]), test, test_labels)

    names = list(contestants(vae, stack, 100, 0))
    tasks = [(n, seed, name) for n in sizes for name in names for seed in seeds]
    errors = Parallel(n_jobs=jobs)(delayed(measure)(*task) for task in tasks)
    of = {(n, name): [] for n in sizes for name in names}
    for (n, _, name), value in zip(tasks, errors, strict=True):
        of[n, name].append(value)
    print(f"{'error %, labels:':30}" + "".join(f"{n:>16}" for n in sizes))
    for name in names:
        print(f"{name:30}" + "".join(f"{mean_and_range(of[n, name]):>16}" for n in sizes))
    for name, values in PUBLISHED.items():
        shown = dict(zip(EPOCHS, values, strict=True))
        print(f"{'(' + name + ')':30}" + "".join(f"{shown[n]:8.2f}        " for n in sizes))
    print(f"{time.perf_counter() - start:.0f} s", flush=True)
    return {f"{name}, {n} labels": values for (n, name), values in of.items()}


# Three logistic layers


def ten_thousand(rotated: bool, quick: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return images and labels for training, validation and test."""
    train, test, train_labels, test_labels, _ = mnist()
    order = np.random.RandomState(0).permutation(70_000)[: 14_000 if quick else 62_000]
    X = np.concatenate([train, test])[order]
    y = np.concatenate([train_labels, test_labels])[order]
    if rotated:
        angles = np.random.RandomState(1).uniform(0, 360, len(X))
        images = X.reshape(-1, 28, 28)
        turned = [
            rotate(image, angle, reshape=False, order=1)
            for image, angle in zip(images, angles, strict=True)
        ]
        X = np.clip(turned, 0, 1).reshape(-1, 784).astype(np.float32)
    parts = {"train": slice(10_000), "valid": slice(10_000, 12_000), "test": slice(12_000, None)}
    return {name: (X[part], y[part]) for name, part in parts.items()}


def three_layers(
    sets: dict,
    pretraining: str | None,
    noise: float,
    rates: list[float],
    quick: bool,
    epochs: int = 30,
) -> list[dict[str, float]]:
    """Pre-train once, fine-tune at each rate; return errors and seconds."""
    start = time.perf_counter()
    stack = StackedAutoencoder(
        1000,
        hidden_layer_sizes=(1000, 1000),
        activation="logistic",
        code_activation="logistic",
        loss="binary_crossentropy",
        pretraining=pretraining,
        noise_level=noise,
        pretraining_max_iter=1 if quick else 15,
        fine_tune=False,
        random_state=0,
    ).fit(sets["train"][0])
    before, results = time.perf_counter() - start, []
    for rate in rates:
        start = time.perf_counter()
        model = StackedAutoencoderClassifier(
            autoencoder=FrozenEstimator(stack),
            max_iter=2 if quick else epochs,
            learning_rate_init=rate,
            random_state=0,
        ).fit(*sets["train"])
        results.append(
            {
                "pretraining": str(pretraining),
                "noise": noise,
                "rate": rate,
                "epochs": epochs,
                "valid": error(model, *sets["valid"]),
                "test": error(model, *sets["test"]),
                "seconds": before + time.perf_counter() - start,
            }
        )
    return results


RATES = [0.003, 0.01, 0.03]


def show(title: str, row: dict[str, float], n_test: int) -> None:
    """Print one line: the error with its 95 % interval, and the settings."""
    half = 1.96 * (row["test"] * (100 - row["test"]) / n_test) ** 0.5
    print(
        f"{title:28}{row['test']:7.2f} +- {half:.2f}   noise {row['noise']:.2f}, "
        f"rate {row['rate']}, validation {row['valid']:.2f}, {row['seconds']:.0f} s",
        flush=True,
    )


def greedy(quick: bool, jobs: int) -> dict:
    """Print the error with and without pre-training; validation selects noise and rate."""
    report = {}
    for name, rotated in [("basic", False), ("rotated", True)]:
        sets = ten_thousand(rotated, quick)
        # Without pre-training also with the total epochs of pre-training and fine-tuning.
        tasks = [(None, 0.0, RATES, quick), (None, 0.0, RATES, quick, 75)]
        tasks += [("denoising", noise, RATES, quick) for noise in (0.0, 0.1, 0.25, 0.4)]
        rows = Parallel(n_jobs=jobs)(delayed(three_layers)(sets, *task) for task in tasks)
        rows = [row for of_task in rows for row in of_task]
        for kind in ("None", "denoising"):
            candidates = [row for row in rows if row["pretraining"] == kind]
            best = min(candidates, key=lambda row: row["valid"])
            show(
                f"{name}, {kind if kind != 'None' else 'no pre-training'}",
                best,
                len(sets["test"][1]),
            )
            report[f"{name}, {kind}"] = {"chosen": best, "all": candidates}
    return report


def kinds(quick: bool, jobs: int) -> dict:
    """Print the error of each kind of pre-training, at the learning rate chosen by validation."""
    sets = ten_thousand(False, quick)
    names = [None, "autoencoder", "denoising", "sparse", "contractive", "rbm"]
    rows = Parallel(n_jobs=jobs)(
        delayed(three_layers)(sets, name, 0.25, [0.01], quick) for name in names
    )
    for name, (row,) in zip(names, rows, strict=True):
        show(name or "no pre-training", row, len(sets["test"][1]))
    return {str(name): row for name, (row,) in zip(names, rows, strict=True)}


PARTS = {"labels": few_labels, "greedy": greedy, "kinds": kinds}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="one minute: fewer images and epochs")
    parser.add_argument(
        "--jobs", type=int, default=2, help="number of parallel fits, with one thread each"
    )
    arguments = parser.parse_args()
    print(machine())
    for name in [arguments.part] if arguments.part else PARTS:
        start = time.perf_counter()
        result = PARTS[name](arguments.quick, arguments.jobs)
        seconds = time.perf_counter() - start
        print(f"{name}: {seconds:.0f} s")
        write_json(
            f"pretraining_{name}", {"machine": machine(), "seconds": seconds, "results": result}
        )


if __name__ == "__main__":
    main()
