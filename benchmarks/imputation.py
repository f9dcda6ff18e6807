"""Imputation of missing values: errors beside those of what others would use, and coverage.

On scikit-learn's tables and, if available, eight UCI tables (at most 2,000 samples), values are
hidden: 30 or 50 % completely at random, or not at random: 60 % of those above the median of their
feature. Shown is the root mean squared error of the hidden values in standard deviations, the mean
over the seeds. All methods have default parameters, except that extra trees are 50 in five rounds.
"EM" is a Gaussian with full covariance matrix, fitted by expectation maximisation as if one more
sample without correlations had been observed. The last column is the share of hidden values within
central 90 % intervals of 100 draws with ``sample_posterior=True``. Run::

    python benchmarks/imputation.py [--quick] [--seeds 3] [--tables iris wine]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from _data import bundled_tables, data_folder, machine, write_json
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from sklearn_ae import AutoencoderImputer

MAX_SAMPLES = 2_000
N_DRAWS = 100


class GaussianImputer:
    """The mean given the observed values, under the Gaussian of largest likelihood."""

    def fit_transform(self, X: np.ndarray) -> np.ndarray:
        """Impute the samples that the Gaussian is fitted to."""
        missing, n_samples = np.isnan(X), len(X)
        mean, covariance = np.zeros(X.shape[1]), np.eye(X.shape[1])
        for _ in range(200):
            complete, hidden = np.where(missing, 0.0, X), np.zeros_like(covariance)
            for row, gone in zip(complete, missing, strict=True):
                seen = ~gone
                gain = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[seen][:, gone])
                row[gone] = mean[gone] + (row[seen] - mean[seen]) @ gain
                rest = covariance[np.ix_(gone, gone)] - covariance[gone][:, seen] @ gain
                hidden[np.ix_(gone, gone)] += rest
            mean, last = complete.mean(axis=0), covariance
            centered = complete - mean
            fitted = (centered.T @ centered + hidden) / n_samples
            diagonal = np.diag(np.diag(fitted) + 1e-9)  # features may be constant where seen
            covariance = (n_samples * fitted + diagonal) / (n_samples + 1)
            if np.abs(covariance - last).max() < 1e-3:
                break
        return complete


def trees() -> IterativeImputer:
    """Return the imputer by extra trees."""
    forest = ExtraTreesRegressor(50, random_state=0)
    return IterativeImputer(forest, max_iter=5, random_state=0)


METHODS: dict[str, Callable[[], object]] = {
    "mean": SimpleImputer,
    "neighbours": KNNImputer,
    "ridge": lambda: IterativeImputer(random_state=0),
    "trees": trees,
    "EM": GaussianImputer,
    "ours": lambda: AutoencoderImputer(random_state=0),
}


def tables() -> dict[str, np.ndarray]:
    """Load standardised tables; features without variance are left out."""
    found = {name: X for name, X in bundled_tables().items() if len(X) >= 100}
    if (folder := data_folder()) is not None:
        for file in sorted((folder / "uci").glob("*.npz")):
            with np.load(file) as content:
                found[f"uci {file.stem}"] = content["X"]
    standardized = {}
    for name, X in found.items():
        rows = np.random.default_rng(0).permutation(len(X))[:MAX_SAMPLES]
        X = np.asarray(X, dtype=float)[rows]
        X = X[:, X.std(axis=0) > 0]
        standardized[name] = (X - X.mean(axis=0)) / X.std(axis=0)
    return standardized


def hidden(X: np.ndarray, pattern: str, seed: int) -> np.ndarray:
    """Return the mask of the values to hide; a feature keeps some values, a sample one."""
    random = np.random.default_rng(seed)
    draw = random.random(X.shape)
    mask = (
        draw < float(pattern) if pattern != "upper" else (np.median(X, axis=0) < X) & (draw < 0.6)
    )
    mask[mask.all(axis=1), 0] = False
    return mask


def error(imputed: np.ndarray, X: np.ndarray, mask: np.ndarray) -> float:
    """Return the root mean squared error of the hidden values."""
    return float(np.sqrt(np.square(imputed - X)[mask].mean()))


def coverage(X: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of hidden values within central 90 % intervals of draws."""
    imputer = AutoencoderImputer(sample_posterior=True, random_state=0)
    incomplete = np.where(mask, np.nan, X)
    imputer.fit(incomplete)
    draws = np.stack(
        [imputer.set_params(random_state=s).transform(incomplete) for s in range(N_DRAWS)]
    )
    low, high = np.quantile(draws, [0.05, 0.95], axis=0, method="weibull")
    return float(((low <= X) & (high >= X))[mask].mean())


def main() -> None:
    """Print the tables and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small tables, one seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--tables", nargs="*")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--patterns", nargs="*", default=["0.3", "0.5", "upper"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    chosen = tables()
    if arguments.quick:
        chosen, arguments.seeds = {name: chosen[name] for name in ("iris", "wine")}, 1
    if arguments.tables:
        chosen = {name: chosen[name] for name in arguments.tables}
    print(machine())
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for pattern in arguments.patterns:
        print(
            f"\n{pattern:20s}" + "".join(f"{method:>11s}" for method in arguments.methods), end=""
        )
        print("   coverage   seconds", flush=True)
        figures[pattern] = {}
        for name, X in chosen.items():
            row: dict[str, float] = {}
            masks = [hidden(X, pattern, seed) for seed in seeds]
            for method in arguments.methods:
                start = time.perf_counter()
                row[method] = float(
                    np.mean(
                        [
                            error(METHODS[method]().fit_transform(np.where(m, np.nan, X)), X, m)
                            for m in masks
                        ]
                    )
                )
                row["seconds"] = (time.perf_counter() - start) / len(masks)
            row["coverage"] = coverage(X, masks[0])
            figures[pattern][name] = row
            values = "".join(f"{row[method]:11.4f}" for method in arguments.methods)
            print(f"{name:20s}{values}{row['coverage']:11.3f}{row['seconds']:10.1f}", flush=True)
        rows = figures[pattern].values()
        if set(METHODS) <= set(arguments.methods):
            others = [
                min(row[m] for m in ("mean", "neighbours", "ridge", "trees")) for row in rows
            ]
            ours = [row["ours"] for row in rows]
            gaussian = [row["EM"] for row in rows]
            print(
                f"median ratio to the best of the four: {np.median(np.divide(ours, others)):.3f}"
            )
            print(f"largest ratio to EM: {np.max(np.divide(ours, gaussian)):.3f}")
    if not (arguments.quick or arguments.tables):
        write_json("imputation", {"machine": machine(), "figures": figures})


if __name__ == "__main__":
    main()
