"""Fits that end early because they would stay at PCA: the epochs they save, and what they lose.

Samples of each table are drawn as the training set, 60, 150 and 400 of them, and a quarter of the
table, at most 3,000, as the test set; features are standardised on the training samples. One, a
quarter and half of the number of features are the number of components; other parameters are the
defaults. Each fit is made twice, without the rule that ends it early and with it. The constants of
the rule were chosen on every other table by name ("chosen on"); the other tables show what it does
("others"). Shown are the fits without the rule that stay at PCA and their epochs without and with
it, the fits that leave PCA and how many of them end early, and the geometric mean of the test
errors of all fits, relative to PCA. Run::

    python benchmarks/early_exit.py [--seeds 1] [--quick]
"""

from __future__ import annotations

import argparse
from unittest import mock

import numpy as np
from _data import anomaly_tables, bundled_tables, data_folder, machine, write_json
from joblib import Parallel, delayed, parallel_config
from sklearn.datasets import make_s_curve, make_swiss_roll
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from sklearn_ae import Autoencoder
from sklearn_ae._training.callbacks import BestWeights

SIZES = 60, 150, 400


def curved_tables() -> dict[str, np.ndarray]:
    """Draw tables whose samples lie near a curve or a surface."""
    t = np.random.default_rng(0).uniform(0, 2, 6000)
    noise = np.random.default_rng(1).normal(size=(6000, 8))
    helix = np.column_stack([np.cos(3 * t), np.sin(3 * t), t]) + 0.02 * noise[:, :3]
    circle = np.column_stack([np.cos(np.pi * t), np.sin(np.pi * t), 0.3 * noise])
    return {
        "helix": helix,
        "circle in noise": circle,
        "s curve": make_s_curve(6000, noise=0.05, random_state=0)[0],
        "swiss roll": make_swiss_roll(6000, noise=0.3, random_state=0)[0],
    }


def regression_tables() -> dict[str, np.ndarray]:
    """Load the features of eight regression tables of UCI, if available."""
    folder = data_folder()
    files = sorted((folder / "uci").glob("*.npz")) if folder is not None else []
    return {f"uci {file.stem}": np.load(file)["X"] for file in files}


def fit(X: np.ndarray, size: int, n_components: int, seed: int) -> dict:
    """Fit an autoencoder, and evaluate it and PCA on test samples."""
    order = np.random.RandomState(seed).permutation(len(X))
    n_test = min(len(X) // 4, 3000)
    test, train = X[order[:n_test]], X[order[n_test : n_test + size]]
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    model = Autoencoder(n_components, random_state=seed).fit(train)
    pca = PCA(n_components).fit(train)
    errors = [
        np.square(test - found).mean()
        for found in (model.reconstruct(test), pca.inverse_transform(pca.transform(test)))
    ]
    # The error of PCA is a rounding error if it keeps all of the variance.
    ratio = errors[0] / errors[1] if errors[1] > 1e-12 else 1.0
    return {"epochs": model.n_iter_, "kept": model.best_epoch_, "ratio": max(ratio, 1e-3)}


def compare(X: np.ndarray, size: int, seeds: range) -> list[dict]:
    """Fit without the rule and with it, for each number of components and each seed."""
    d = X.shape[1]
    numbers = sorted({1, max(1, d // 4), max(1, d // 2)})
    tasks = [(number, seed) for number in numbers for seed in seeds]

    def fits() -> list[dict]:
        with parallel_config(backend="sklearn_ae"):
            return Parallel()(delayed(fit)(X, size, *task) for task in tasks)

    with mock.patch.object(BestWeights, "_is_hopeless", return_value=False):
        without = fits()
    return [
        {"components": task[0], "seed": task[1], "without": before, "with": after}
        for task, before, after in zip(tasks, without, fits(), strict=True)
    ]


def summarize(rows: list[dict]) -> dict:
    """Return the figures of the table."""
    stays = [row for row in rows if not row["without"]["kept"]]
    leaves = [row for row in rows if row["without"]["kept"]]
    lost = [row for row in leaves if not row["with"]["kept"]]
    figures: dict = {"at PCA": len(stays)}
    for rule in ("without", "with"):
        epochs = [row[rule]["epochs"] for row in stays]
        figures |= {
            f"median, {rule}": float(np.median(epochs)),
            f"mean, {rule}": float(np.mean(epochs)),
        }
    figures |= {"leave": len(leaves), "lost": len(lost)}
    figures["ratios of the lost"] = [row["without"]["ratio"] for row in lost]
    for rule in ("without", "with"):
        ratios = [row[rule]["ratio"] for row in rows]
        figures[f"error, {rule}"] = float(np.exp(np.mean(np.log(ratios))))
    return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="60 samples, six tables")
    arguments = parser.parse_args()
    tables = anomaly_tables() | bundled_tables() | regression_tables() | curved_tables()
    names = sorted(tables)[:6] if arguments.quick else sorted(tables)
    print(machine())
    rows: dict[str, list[dict]] = {"chosen on": [], "others": []}
    for number, name in enumerate(names):
        X = tables[name]
        for size in SIZES[:1] if arguments.quick else SIZES:
            # Of a smaller table, all samples that are not for the test, once.
            available = len(X) - min(len(X) // 4, 3000)
            if size > SIZES[0] and available < 1.2 * SIZES[SIZES.index(size) - 1]:
                continue
            found = compare(X, size, range(arguments.seeds))
            described = [{"table": name, "samples": min(size, available), **row} for row in found]
            rows[list(rows)[number % 2]] += described
            print(f"{name}, {size}: {len(found)} fits", flush=True)
    summaries = {half: summarize(of_half) for half, of_half in rows.items()}
    for half, summary in summaries.items():
        print(f"{half}: {summary}")
    if not arguments.quick:
        write_json("early_exit", {"machine": machine(), "summary": summaries, "fits": rows})


if __name__ == "__main__":
    main()
