"""Synthetic tables: rows drawn from a variational autoencoder that was fitted to census records.

The model sees the training file of Adult only. As many rows are drawn as it has. Shown are

* *shapes*: one minus the largest difference of the distribution functions of a number, or half the
  summed differences of the frequencies of a category; the mean over the columns;
* *trends*: of two numbers one minus half the difference of their correlations, of other pairs one
  minus half the summed differences of the joint frequencies, with numbers in ten bins of equal
  width; the mean over all pairs;
* *two-sample*: one if gradient boosting cannot tell real rows from drawn ones, zero if it always
  can: ``1 - (2 max(AUC, 1/2) - 1)`` in three-fold cross-validation;
* *AUC*: of gradient boosting that is trained on drawn rows, on the test file;
* *distance*: the median distance of a drawn row to the closest training row, divided by that of a
  test row, among 2,000 rows each; below one if rows are copied.

The rows of "independent" are drawn from each column by itself, those of "real" are the training
file. Definitions are those of the package sdmetrics, which is not needed. Run::

    python benchmarks/synthetic_tables.py [--quick] [--seeds 1]
"""

from __future__ import annotations

import argparse
import gzip
import time
import warnings
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd
from _data import data_folder, machine, write_json
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KernelDensity, NearestNeighbors

from sklearn_ae import VariationalAutoencoder

NAMES = [
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation",
    "relationship", "race", "sex", "capital_gain", "capital_loss", "hours_per_week",
    "native_country", "income",
]  # fmt: skip
TARGET = "income"
BINS = 10
NEIGHBOURS = 2_000


def adult(part: str) -> pd.DataFrame:
    """Load a file of Adult, in which "?" is a category."""
    folder = data_folder()
    if folder is None:
        raise SystemExit("The data of Adult are needed: set SKLEARN_AE_DATA to their folder.")
    with gzip.open(folder / "adult" / f"adult.{part}.gz", "rt") as file:
        table = pd.read_csv(file, names=NAMES, header=0, skipinitialspace=True)
    table[TARGET] = table[TARGET].str.rstrip(".")
    return table


def is_number(table: pd.DataFrame, name: str) -> bool:
    """Return whether a column holds numbers."""
    return bool(pd.api.types.is_numeric_dtype(table[name]))


def shape(real: pd.Series, drawn: pd.Series) -> float:
    """Compare the distributions of a column."""
    if pd.api.types.is_numeric_dtype(real):
        grid = np.sort(np.concatenate([real, drawn]))
        below = [
            np.searchsorted(np.sort(each), grid, side="right") / len(each)
            for each in (real, drawn)
        ]
        return 1 - float(np.abs(below[0] - below[1]).max())
    return _overlap(real.astype(str), drawn.astype(str))


def _overlap(real: pd.Series, drawn: pd.Series) -> float:
    """Return one minus half the summed differences of frequencies."""
    both = [each.value_counts(normalize=True) for each in (real, drawn)]
    return 1 - 0.5 * float(both[0].sub(both[1], fill_value=0).abs().sum())


def trend(real: pd.DataFrame, drawn: pd.DataFrame, pair: tuple[str, str]) -> float:
    """Compare the dependence of two columns."""
    if all(is_number(real, name) for name in pair):
        correlations = [np.corrcoef(each[pair[0]], each[pair[1]])[0, 1] for each in (real, drawn)]
        return 1 - abs(correlations[0] - correlations[1]) / 2
    joint = []
    for table in (real, drawn):
        parts = []
        for name in pair:
            if is_number(real, name):
                edges = np.linspace(real[name].min(), real[name].max(), BINS + 1)[1:-1]
                parts.append(pd.Series(np.searchsorted(edges, table[name])).astype(str))
            else:
                parts.append(table[name].astype(str).reset_index(drop=True))
        joint.append(parts[0] + "|" + parts[1])
    return _overlap(*joint)


def codes(*tables: pd.DataFrame) -> list[np.ndarray]:
    """Return tables as arrays of numbers, categories by the same numbers in each."""
    together = pd.concat(tables, ignore_index=True)
    columns = [
        together[name] if is_number(together, name) else pd.factorize(together[name])[0]
        for name in together.columns
    ]
    array = np.column_stack(columns).astype(float)
    return np.split(array, np.cumsum([len(table) for table in tables])[:-1])


def boosting(table: pd.DataFrame) -> HistGradientBoostingClassifier:
    """Return gradient boosting for arrays made by :func:`codes`."""
    mask = [not is_number(table, name) for name in table.columns]
    return HistGradientBoostingClassifier(categorical_features=mask, random_state=0)


def two_sample(real: pd.DataFrame, drawn: pd.DataFrame) -> float:
    """Return how hard it is to tell real rows from drawn ones."""
    X = np.concatenate(codes(real, drawn))
    y = np.arange(len(X)) >= len(real)
    order = np.random.default_rng(0).permutation(len(X))
    probability = cross_val_predict(
        boosting(real), X[order], y[order], cv=3, method="predict_proba"
    )[:, 1]
    auc = roc_auc_score(y[order], probability)
    return float(1 - (2 * max(auc, 0.5) - 1))


def downstream(drawn: pd.DataFrame, test: pd.DataFrame) -> float:
    """Return the AUC on the test file of gradient boosting trained on drawn rows."""
    parts = codes(drawn.drop(columns=TARGET), test.drop(columns=TARGET))
    model = boosting(drawn.drop(columns=TARGET)).fit(parts[0], drawn[TARGET])
    positive = list(model.classes_).index(">50K")
    probability = model.predict_proba(parts[1])[:, positive]
    return float(roc_auc_score(test[TARGET] == ">50K", probability))


def distance(real: pd.DataFrame, drawn: pd.DataFrame, test: pd.DataFrame) -> float:
    """Return the median distance to the closest training row, relative to that of test rows."""
    both = pd.concat([real, drawn[:NEIGHBOURS], test[:NEIGHBOURS]], ignore_index=True)
    numbers = [name for name in both.columns if is_number(both, name)]
    scaled = (both[numbers] - real[numbers].mean()) / real[numbers].std()
    kinds = pd.get_dummies(both.drop(columns=numbers), dtype=float) / np.sqrt(2)
    X = np.concatenate([scaled, kinds], axis=1)
    closest = NearestNeighbors(n_neighbors=1).fit(X[: len(real)])
    found = closest.kneighbors(X[len(real) :])[0][:, 0]
    n_drawn = len(drawn[:NEIGHBOURS])
    return float(np.median(found[:n_drawn]) / np.median(found[n_drawn:]))


def variational(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Draw a table from a variational autoencoder and a density of its codes."""
    model = VariationalAutoencoder(
        32,
        hidden_layer_sizes=(512, 256),
        variance="per_feature",
        density=KernelDensity(bandwidth=0.1),
        max_iter=300,
        random_state=seed,
    ).fit(train)
    return model.sample(len(train), random_state=seed)


def independent(train: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Draw each column by itself."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: rng.permutation(train[name]) for name in train.columns})


METHODS: dict[str, Callable[[pd.DataFrame, int], pd.DataFrame]] = {
    "VariationalAutoencoder": variational,
    "independent": independent,
    "real": lambda train, seed: train,
}


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 rows")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    train, test = adult("data"), adult("test")
    if arguments.quick:
        train = train[:2000]
    print(machine())
    print(f"{'':24s}{'shapes':>8s}{'trends':>8s}{'2-sample':>10s}{'AUC':>8s}", end="")
    print(f"{'distance':>10s}{'seconds':>9s}", flush=True)
    figures: dict[str, list[list[float]]] = {}
    for method, draw in METHODS.items():
        rows = []
        for seed in range(arguments.seeds):
            start = time.perf_counter()
            drawn = draw(train, seed)
            seconds = time.perf_counter() - start
            pairs = list(combinations(train.columns, 2))
            rows.append(
                [
                    float(np.mean([shape(train[name], drawn[name]) for name in train.columns])),
                    float(np.mean([trend(train, drawn, pair) for pair in pairs])),
                    two_sample(train, drawn),
                    downstream(drawn, test),
                    distance(train, drawn, test),
                    seconds,
                ]
            )
        shapes, trends, telling, auc, closest, seconds = np.mean(rows, axis=0)
        print(f"{method:24s}{shapes:8.3f}{trends:8.3f}{telling:10.3f}{auc:8.3f}", end="")
        print(f"{closest:10.2f}{seconds:9.0f}", flush=True)
        figures[method] = rows
    if not arguments.quick:
        write_json("synthetic_tables", {"machine": machine(), "figures": figures})


if __name__ == "__main__":
    main()
