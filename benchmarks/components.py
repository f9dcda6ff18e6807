"""Ordered codes: one fit for all numbers of components, compared with PCA and separate fits.

``digits``: a quarter of scikit-learn's digits is the test set. Printed is the fraction of the test
variance that is not explained with ``k`` components, by PCA, by a separate ``Autoencoder(k)`` and
by one ``Autoencoder(16, ordered=True)`` whose code is truncated to ``k`` components: with default
parameters, and with weight decay, activation and widths chosen on a quarter of the training
samples.

``tables``: the same on real tables with default parameters, half as many components as features
and at most 16: for each table the errors of one ordered fit relative to PCA's, at every ``k``.

``fractions``: the number of components that ``n_components=0.9`` selects, and what they explain on
the test samples, beside ``PCA(0.9)``. Run::

    python benchmarks/components.py [digits] [tables] [fractions] [--seeds 1]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from _data import anomaly_tables, bundled_tables, machine, write_json
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklearn_ae import Autoencoder

N_COMPONENTS = 16
SHOWN = (1, 2, 4, 8, 16)
GRID = [
    {"alpha": alpha, "activation": activation, "hidden_layer_sizes": widths}
    for alpha in (0.1, 0.6)
    for activation in ("tanh", "silu")
    for widths in ((128, 128, 128), (256, 256))
]


def unexplained(model: Any, X: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the fraction of the variance left by each truncation of the code, rest zero."""
    codes = model.transform(X)
    errors = []
    for number in range(1, codes.shape[1] + 1):
        truncated = codes.copy()
        truncated[:, number:] = 0
        errors.append(np.square(X - model.inverse_transform(truncated)).sum())
    return np.array(errors) / np.square(X - mean).sum()


def chosen(train: np.ndarray, n_components: int, ordered: bool) -> tuple[dict, Autoencoder]:
    """Choose the parameters on a quarter of the samples, and fit on all of them."""
    part, validation = train_test_split(train, test_size=0.25, random_state=1)
    mean = part.mean(0)

    def fitted(X: np.ndarray, params: dict) -> Autoencoder:
        return Autoencoder(n_components, ordered=ordered, random_state=0, **params).fit(X)

    def loss(params: dict) -> float:
        errors = unexplained(fitted(part, params), validation, mean)
        if not ordered:
            return float(errors[-1])
        shown = [k - 1 for k in SHOWN if k <= n_components]
        return float(np.log(errors[shown]).mean())

    best = min(GRID, key=loss)
    return best, fitted(train, best)


def digits() -> dict:
    """Compare one ordered fit with separate fits of each size."""
    train, test = train_test_split(bundled_tables()["digits"], test_size=0.25, random_state=0)
    mean = train.mean(0)
    rows: dict[str, Any] = {"PCA": unexplained(PCA(N_COMPONENTS).fit(train), test, mean)}
    for name, params in (("default", {}), ("chosen", None)):
        separate = []
        for k in SHOWN:
            model = Autoencoder(k, random_state=0)
            model = model.fit(train) if params == {} else chosen(train, k, ordered=False)[1]
            separate.append(unexplained(model, test, mean)[-1])
        rows[f"separate fits, {name}"] = np.array(separate)
        start = time.perf_counter()
        found = params
        if params == {}:
            model = Autoencoder(N_COMPONENTS, ordered=True, random_state=0).fit(train)
        else:
            found, model = chosen(train, N_COMPONENTS, ordered=True)
        rows[f"one ordered fit, {name}"] = unexplained(model, test, mean)
        print(f"one ordered fit, {name}: {found}, {time.perf_counter() - start:.1f} s", flush=True)
    shown = [k - 1 for k in SHOWN]
    print("unexplained test variance, k = " + "  ".join(f"{k:5}" for k in SHOWN))
    for name, values in rows.items():
        values = values if len(values) == len(SHOWN) else values[shown]
        print(f"{name:29}  " + "  ".join(f"{value:5.3f}" for value in values), flush=True)
    return {name: values.tolist() for name, values in rows.items()}


def _split(X: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    train, test = train_test_split(X, test_size=0.25, random_state=seed)
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


def tables(seeds: int) -> dict:
    """Compare ordered fits with PCA at every number of components."""
    print(f"{'table':15}{'code':>5}{'largest ratio':>15}{'median':>8}{'kept':>6}{'seconds':>9}")
    rows: dict[str, Any] = {}
    for name, X in (anomaly_tables() | bundled_tables()).items():
        for seed in range(seeds):
            train, test = _split(X, seed)
            n_components = min(N_COMPONENTS, max(2, X.shape[1] // 2))
            mean = train.mean(0)
            pca = unexplained(PCA(n_components).fit(train), test, mean)
            start = time.perf_counter()
            model = Autoencoder(n_components, ordered=True, random_state=seed).fit(train)
            seconds = time.perf_counter() - start
            ratios = unexplained(model, test, mean) / pca
            rows[f"{name}, split {seed}"] = {
                "code": n_components,
                "ratios": ratios.tolist(),
                "epoch": model.best_epoch_,
                "seconds": seconds,
            }
            print(
                f"{name:15}{n_components:5}{ratios.max():15.4f}{np.median(ratios):8.3f}"
                f"{model.best_epoch_:6}{seconds:9.1f}",
                flush=True,
            )
    largest = np.array([max(row["ratios"]) for row in rows.values()])
    last = np.array([row["ratios"][-1] for row in rows.values()])
    # A fit that stays at PCA differs from it by rounding.
    above = int((largest > 1 + 1e-6).sum())
    summary = {
        "fits with an error above PCA's at some k": above,
        "largest ratio": largest.max(),
        "median ratio of the full code": np.median(last),
    }
    print(", ".join(f"{name}: {value:.4g}" for name, value in summary.items()))
    return {"summary": summary, "rows": rows}


def fractions(fraction: float = 0.9) -> dict:
    """Show how many components a fraction selects, and what they explain."""
    print(f"{'table':15}{'PCA':>5}{'explains':>10}{'ours':>6}{'explains':>10}{'held-out':>10}")
    rows: dict[str, Any] = {}
    for name, X in (anomaly_tables() | bundled_tables()).items():
        train, test = _split(X, 0)
        mean = train.mean(0)
        pca = PCA(fraction).fit(train)
        model = Autoencoder(fraction, random_state=0).fit(train)
        found = [1 - unexplained(each, test, mean)[-1] for each in (pca, model)]
        held_out = float(model.explained_variance_ratio_.sum())
        rows[name] = [pca.n_components_, found[0], model.n_components_, found[1], held_out]
        print(
            f"{name:15}{pca.n_components_:5}{found[0]:10.3f}{model.n_components_:6}"
            f"{found[1]:10.3f}{held_out:10.3f}",
            flush=True,
        )
    return rows


def main() -> None:
    """Run the parts that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["digits", "tables", "fractions"])
    parser.add_argument("--seeds", type=int, default=1, help="number of splits per table")
    arguments = parser.parse_args()
    print(machine())
    results: dict[str, Any] = {"machine": machine()}
    if "digits" in arguments.parts:
        results["digits"] = digits()
    if "tables" in arguments.parts:
        results["tables"] = tables(arguments.seeds)
    if "fractions" in arguments.parts:
        results["fractions"] = fractions()
    write_json("components", results)


if __name__ == "__main__":
    main()
