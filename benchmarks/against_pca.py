"""Compare the test error of ``Autoencoder()`` with that of ``PCA`` on real tables.

A quarter of the samples of each table is the test set; features are standardised on the training
samples. Both have a quarter of the number of features as ``n_components``, and otherwise their
default parameters. Run::

    python benchmarks/against_pca.py [--seeds 1] [--params '{"max_iter": 100}']
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from _data import anomaly_tables, bundled_tables, machine, write_json
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklearn_ae import Autoencoder


def compare(X: np.ndarray, seed: int, params: dict) -> dict:
    """Fit both on three quarters of a table and evaluate both on the rest."""
    train, test = train_test_split(X, test_size=0.25, random_state=seed)
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    n_components = max(1, X.shape[1] // 4)
    pca = PCA(n_components).fit(train)
    start = time.perf_counter()
    autoencoder = Autoencoder(n_components, random_state=seed, **params).fit(train)
    seconds = time.perf_counter() - start
    errors = [
        np.square(test - reconstructed).mean()
        for reconstructed in (
            autoencoder.reconstruct(test),
            pca.inverse_transform(pca.transform(test)),
        )
    ]
    return {
        "rows": len(train),
        "features": X.shape[1],
        "code": n_components,
        "ratio": errors[0] / errors[1],
        "seconds": seconds,
        "epochs": autoencoder.n_iter_,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="number of splits per table")
    parser.add_argument(
        "--params", type=json.loads, default={}, help="parameters of Autoencoder, as JSON"
    )
    arguments = parser.parse_args()
    tables = anomaly_tables() | bundled_tables()
    if arguments.params:
        print(arguments.params)
    print(machine())
    print(
        f"{'table':15}{'rows':>6}{'features':>9}{'code':>5}{'ratio':>8}{'epochs':>7}{'seconds':>8}"
    )
    rows = {}
    for name, X in tables.items():
        for seed in range(arguments.seeds):
            row = rows[f"{name}, split {seed}"] = compare(X, seed, arguments.params)
            print(
                f"{name:15}{row['rows']:6}{row['features']:9}{row['code']:5}"
                f"{row['ratio']:8.3f}{row['epochs']:7}{row['seconds']:8.2f}",
                flush=True,
            )
    ratios = np.array([row["ratio"] for row in rows.values()])
    kept = ratios <= 1 + 1e-9  # a fit that stays at PCA differs from it by rounding
    summary = {
        "median": np.median(ratios),
        "largest": ratios.max(),
        "fraction not above PCA": kept.mean(),
        "seconds": sum(row["seconds"] for row in rows.values()),
    }
    print(", ".join(f"{name} {value:.3f}" for name, value in summary.items()))
    if anomaly_tables():
        names = list(rows)
        of_adbench = [rows[n]["ratio"] for n in names if n.split(",")[0] in anomaly_tables()]
        print(f"ADBench tables alone: median {np.median(of_adbench):.3f}")
        summary["median on ADBench"] = np.median(of_adbench)
    write_json("against_pca", {"machine": machine(), "summary": summary, "tables": rows})


if __name__ == "__main__":
    main()
