"""Show what moves the result of ``Autoencoder()``: one parameter at a time is changed.

A quarter of the samples of each table is set aside and not used; of the others, a quarter is the
validation part. The figure is the fraction of the variance of the validation samples that is not
explained, in units of standardised features whatever the scaler is, averaged over splits, in per
cent. Run::

    python benchmarks/tuning.py [--splits 2] [--only learning_rate]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _data import anomaly_tables, bundled_tables, machine, write_json
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from sklearn_ae import Autoencoder

N_MEMBERS = 3
"""Number of fits whose reconstructions are averaged in the last group."""

# Parameters of Autoencoder by group and name; n_components is relative to that of other rows.
VARIANTS: dict[str, dict[str, dict]] = {
    "number of components": {"half": {"n_components": 0.5}, "double": {"n_components": 2}},
    "max_iter": {str(n): {"max_iter": n} for n in (50, 400)},
    "hidden_layer_sizes": {
        str(sizes): {"hidden_layer_sizes": sizes} for sizes in ((32,), (128,), (256, 256, 256))
    },
    "learning_rate_init": {str(rate): {"learning_rate_init": rate} for rate in (0.001, 0.01)},
    "input_noise": {str(noise): {"input_noise": noise} for noise in (0.0, 0.4)},
    "alpha": {str(alpha): {"alpha": alpha} for alpha in (0.0, 1.0)},
    "activation": {"relu": {"activation": "relu"}},
    "batch_size": {str(size): {"batch_size": size} for size in (16, 256)},
    "init": {"random": {"init": "random"}},
    "early_stopping": {"False": {"early_stopping": False}},
    "ordered": {"True": {"ordered": True}},
}


def validation_parts(X: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a training and a validation part; a quarter of the samples is in neither."""
    seen, _ = train_test_split(X, test_size=0.25, random_state=seed)
    train, valid = train_test_split(seen, test_size=0.25, random_state=seed)
    return train, valid


def unexplained(reconstructed: np.ndarray, train: np.ndarray, valid: np.ndarray) -> float:
    """Return the unexplained fraction of the variance of standardised features, in per cent."""
    scale = StandardScaler().fit(train).scale_
    error = np.square((reconstructed - valid) / scale).sum()
    total = np.square((valid - train.mean(0)) / scale).sum()
    return float(100 * error / total)


def reconstruct(
    reducers: list[BaseEstimator], scaler: BaseEstimator, train: np.ndarray, valid: np.ndarray
) -> np.ndarray:
    """Return the mean of the reconstructions of fitted pipelines."""
    pipelines = [make_pipeline(scaler, reducer).fit(train) for reducer in reducers]
    return np.mean([p.inverse_transform(p.transform(valid)) for p in pipelines], axis=0)


def candidates(n_components: int, seed: int) -> dict[str, tuple[list, BaseEstimator]]:
    """Return the reducers and the scaler of each row of the table, by name."""

    def autoencoder(n_components: int = n_components, seed: int = seed, **params) -> Autoencoder:
        return Autoencoder(n_components, random_state=seed, **params)

    rows: dict[str, tuple[list, BaseEstimator]] = {
        "PCA": ([PCA(n_components)], StandardScaler()),
        "default": ([autoencoder()], StandardScaler()),
        "scaler: none": ([autoencoder()], FunctionTransformer()),
        "scaler: MinMaxScaler": ([autoencoder()], MinMaxScaler()),
        "PCA, scaler: none": ([PCA(n_components)], FunctionTransformer()),
    }
    for group, variants in VARIANTS.items():
        for name, params in variants.items():
            factor = params.get("n_components", 1)
            others = {key: value for key, value in params.items() if key != "n_components"}
            size = max(1, round(factor * n_components))
            rows[f"{group}: {name}"] = ([autoencoder(size, **others)], StandardScaler())
            if factor != 1:
                rows[f"PCA, {group}: {name}"] = ([PCA(size)], StandardScaler())
    members = [autoencoder(seed=100 * seed + i) for i in range(N_MEMBERS)]
    rows[f"mean of {N_MEMBERS} fits"] = (members, StandardScaler())
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=2, help="number of splits per table")
    parser.add_argument("--only", default="", help="part of the names of the rows to compute")
    arguments = parser.parse_args()
    bundled, others = bundled_tables(), anomaly_tables()
    tables = {name: bundled[name] for name in ("wine", "digits")}
    tables |= {name: others[name] for name in ("vowels",) if name in others}
    print(machine())
    for name, X in tables.items():
        print(f"{name}: {len(X)} samples, {X.shape[1]} features, {X.shape[1] // 4} components")
    print(f"{'':32}" + "".join(f"{name:>14}" for name in tables) + f"{'seconds':>9}")
    results: dict[str, dict] = {}
    for row in candidates(1, 0):
        if arguments.only not in row:
            continue
        start = time.perf_counter()
        means = {}
        for name, X in tables.items():
            errors = []
            for seed in range(arguments.splits):
                train, valid = validation_parts(X, seed)
                reducers, scaler = candidates(X.shape[1] // 4, seed)[row]
                errors.append(
                    unexplained(reconstruct(reducers, scaler, train, valid), train, valid)
                )
            means[name] = float(np.mean(errors))
        seconds = time.perf_counter() - start
        results[row] = {"unexplained": means, "seconds": seconds}
        figures = "".join(f"{value:14.2f}" for value in means.values())
        print(f"{row:32}{figures}{seconds:9.1f}", flush=True)
    if not arguments.only:
        write_json("tuning", {"machine": machine(), "splits": arguments.splits, "rows": results})


if __name__ == "__main__":
    main()
