"""Outlier detection by the protocol of ADBench, on tables of scikit-learn, and on heartbeats.

Tables of fewer than 1,000 samples are resampled to 1,000, tables of more than 10,000 are
subsampled; 70 % of the samples are for training and 30 % for the test, stratified; features are
min-max scaled by the training values. None of the methods uses labels, and all have their default
parameters (PCA with 90 % of the variance of standardised features; five nearest neighbours). The
methods are fitted one after another on the same split in the same process, so that their times are
comparable. PyOD's AutoEncoder and VAE are included if it is installed.

Resampling small tables with replacement, as ADBench does, puts copies of test samples into the
training part, which favours methods that memorise. A second table of results is of the same data
with each sample once.

Without the tables of ADBench only tables of scikit-learn are used, with one class made rare.

The heartbeats are ECG5000 as in ``ecg5000.py``; all methods are fitted on normal training beats.
Run::

    python benchmarks/outliers.py [--quick] [--seeds 3]

With ``--calibration 200`` only the calibration of the default detector is measured, on that many
simulated data sets: the fraction of new samples with a p-value up to a level, and the fraction
flagged at a contamination; and the fraction detected of samples that violate a fine relation, in
one feature of 4 or of 20::

    python benchmarks/outliers.py --calibration 200
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from _data import data_folder, machine, write_json
from ecg5000 import beats
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sklearn_ae import Autoencoder, AutoencoderOutlierDetector
from sklearn_ae._detection.error_statistics import lower_threshold

RARE = {"digits": (0, 3, 8), "wine": (0, 1, 2), "breast_cancer": (0,), "iris": (0, 1)}


class Residual:
    """Outlier score: squared reconstruction error of PCA."""

    def __init__(self, n_components: float, standardise: bool = True) -> None:
        self.pca = PCA(n_components)
        self.scaler = StandardScaler(with_mean=standardise, with_std=standardise)

    def fit(self, X: np.ndarray) -> None:
        """Fit scaler and PCA."""
        self.pca.fit(self.scaler.fit_transform(X))

    def abnormality(self, X: np.ndarray) -> np.ndarray:
        """Return the squared errors, summed over features."""
        X = self.scaler.transform(X)
        return np.square(X - self.pca.inverse_transform(self.pca.transform(X))).sum(axis=1)


class Neighbours:
    """Outlier score: distance to the fifth neighbour."""

    def fit(self, X: np.ndarray) -> None:
        """Store the training samples."""
        self.neighbours = NearestNeighbors(n_neighbors=5).fit(X)

    def abnormality(self, X: np.ndarray) -> np.ndarray:
        """Return the largest of five distances."""
        return self.neighbours.kneighbors(X)[0][:, -1]


class Normality:
    """Outlier score of a detector with scikit-learn's convention."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector

    def fit(self, X: np.ndarray) -> None:
        """Fit the detector."""
        self.detector.fit(X)

    def abnormality(self, X: np.ndarray) -> np.ndarray:
        """Return minus its score."""
        return -self.detector.score_samples(X)


class OfPyOD:
    """Outlier score of a detector with PyOD's convention."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector

    def fit(self, X: np.ndarray) -> None:
        """Fit the detector."""
        self.detector.fit(X)

    def abnormality(self, X: np.ndarray) -> np.ndarray:
        """Return its score, which is high for outliers."""
        return self.detector.decision_function(X)


def contestants(seed: int) -> dict[str, Any]:
    """Map names to unfitted methods."""
    methods = {
        "AutoencoderOutlierDetector": Normality(AutoencoderOutlierDetector(random_state=seed)),
        "IsolationForest": Normality(IsolationForest(random_state=seed)),
        "PCA, 90 %": Residual(0.9),
        "five neighbours": Neighbours(),
    }
    try:
        for file, name in (("auto_encoder", "AutoEncoder"), ("vae", "VAE")):
            rival = getattr(importlib.import_module(f"pyod.models.{file}"), name)
            methods[f"PyOD {name}"] = OfPyOD(rival(random_state=seed, verbose=0))
    except ImportError:
        pass
    return methods


def tables() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Generate the tables of ADBench: name, samples, whether each is an outlier."""
    folder = data_folder()
    for file in sorted((folder / "adbench").glob("*.npz")) if folder else []:
        data = np.load(file)
        yield file.stem, data["X"].astype(np.float64), data["y"].astype(int)


def bundled() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Generate tables of scikit-learn with one rare class, a fifteenth of the other samples."""
    for name, classes in RARE.items():
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        for rare in classes:
            others, odd = np.flatnonzero(y != rare), np.flatnonzero(y == rare)
            n_odd = max(10, len(others) // 15)
            odd = np.random.RandomState(0).choice(odd, n_odd, replace=False)
            rows = np.concatenate([others, odd])
            yield f"{name}, {rare}", X[rows], np.repeat([0, 1], [len(others), n_odd])


def split(X: np.ndarray, y: np.ndarray, seed: int, resample: bool) -> list[np.ndarray]:
    """Return training samples, test samples and their labels."""
    size = 10_000 if len(X) > 10_000 else 1_000 if resample and len(X) < 1_000 else len(X)
    if size != len(X):
        chosen = np.random.RandomState(seed).choice(len(X), size, replace=len(X) < size)
        X, y = X[chosen], y[chosen]
    train, test, label, test_label = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=seed
    )
    scaler = MinMaxScaler().fit(train)
    return [scaler.transform(train), scaler.transform(test), label, test_label]


def judge(method: Any, train: np.ndarray, test: np.ndarray, label: np.ndarray) -> list[float]:
    """Return AUROC, AUPRC and fit time in seconds."""
    start = time.perf_counter()
    method.fit(train)
    seconds = time.perf_counter() - start
    scores = method.abnormality(test)
    return [roc_auc_score(label, scores), average_precision_score(label, scores), seconds]


def compare(title: str, entries: Any, seeds: int, resample: bool) -> dict[str, Any]:
    """Print a table of results: one line per data set, then the means."""
    results: dict[str, dict[str, list[float]]] = {}
    names = list(contestants(0))
    print(f"\n{title}, AUROC, {seeds} seed(s)")
    print(f"{'':18}" + "".join(f"{name[:17]:>19}" for name in names))
    for table, X, y in entries:
        rows: dict[str, list[list[float]]] = {name: [] for name in names}
        for seed in range(1, seeds + 1):
            train, test, _, label = split(X, y, seed, resample)
            for name, method in contestants(seed).items():
                rows[name].append(judge(method, train, test, label))
        results[table] = {name: np.mean(rows[name], axis=0).tolist() for name in names}
        line = "".join(f"{results[table][name][0]:19.3f}" for name in names)
        print(f"{table:18}{line}", flush=True)
    means = {n: np.mean([r[n] for r in results.values()], axis=0).tolist() for n in names}
    for place, title in enumerate(["mean AUROC", "mean AUPRC", "seconds per fit"]):
        print(f"{title:18}" + "".join(f"{means[name][place]:19.3f}" for name in names))
    return {"means": means, "tables": results}


def heartbeats() -> dict[str, Any]:
    """Print the AUROC on ECG5000, with all methods fitted on normal beats."""
    X, is_normal, source = beats()
    train, test, normal, test_normal = train_test_split(
        X, is_normal, test_size=0.2, random_state=21
    )
    least, most = train.min(), train.max()
    train, test = (train[normal] - least) / (most - least), (test - least) / (most - least)
    clean = {"trim": 0.0, "max_samples": len(train), "random_state": 0}
    two = Autoencoder(2, max_iter=50)
    methods = contestants(0) | {
        "PCA, 2": Residual(2, standardise=False),
        "... trim=0": Normality(AutoencoderOutlierDetector(trim=0.0, random_state=0)),
        "... trim=0, Autoencoder(2)": Normality(AutoencoderOutlierDetector(two, **clean)),
        "Autoencoder(2) alone": Normality(Autoencoder(2, random_state=0)),
    }
    print(f"\n{source}: {len(train)} normal beats; AUROC, AUPRC, seconds per fit")
    results = {}
    for name, method in methods.items():
        results[name] = judge(method, train, test, ~test_normal)
        print(f"{name:30}" + "".join(f"{value:9.4f}" for value in results[name]), flush=True)
    return results


def related(rng: np.random.Generator, n_samples: int, n_features: int) -> np.ndarray:
    """Draw independent features, except for the fourth: twice the first plus noise."""
    X = rng.standard_normal((n_samples, n_features))
    X[:, 3] = 2 * X[:, 0] + 0.1 * rng.standard_normal(n_samples)
    return X


def calibration(n_sets: int) -> dict[str, Any]:
    """Print fractions of p-values and of flagged samples, divided by their nominal values."""
    levels = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
    results: dict[str, Any] = {}
    print(f"\n{n_sets} data sets, default detector: fraction of p-values up to a level / flagged")
    print("at a contamination, each divided by its nominal value, and the standard error")
    print(f"{'samples, trim':18}" + "".join(f"{level:>19}" for level in levels))
    for n_samples in (60, 300, 1000):
        attained = np.floor(levels * (n_samples + 1) + 1e-9) / (n_samples + 1)
        for trim in (0.0, 0.3):
            shares = np.array([fresh_shares(n_samples, trim, s, levels) for s in range(n_sets)])
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio = shares.mean(axis=0) / [attained, levels]
            error = shares[:, 0].std(axis=0) / np.sqrt(n_sets) / levels
            cells = zip(*ratio, error, strict=True)
            line = "".join(f"   {p:.2f} {flagged:.2f} ({e:.2f})" for p, flagged, e in cells)
            print(f"{n_samples:6}, {trim:<10}{line}", flush=True)
            results[f"{n_samples}, {trim}"] = shares.mean(axis=0).tolist()
    return results


def fresh_shares(n_samples: int, trim: float, seed: int, levels: np.ndarray) -> np.ndarray:
    """Return fractions of new samples with small p-values and flagged, one column per level."""
    rng = np.random.default_rng([seed, n_samples])
    X, fresh = related(rng, n_samples, 5), related(rng, 500, 5)
    detector = AutoencoderOutlierDetector(trim=trim, random_state=seed).fit(X)
    p, scores = detector.p_values(fresh)[:, None], detector.score_samples(fresh)[:, None]
    held_out, weight = detector.held_out_scores_, np.ones(n_samples)
    offsets = [lower_threshold(held_out, weight, level) for level in levels]
    return np.array([(p <= levels).mean(axis=0), (scores < offsets).mean(axis=0)])


def broken_relations(n_seeds: int = 10) -> dict[str, float]:
    """Print the fraction detected of samples twenty residual deviations off a relation."""
    results = {}
    for n_features in (4, 20):
        for name in ("AutoencoderOutlierDetector", "IsolationForest", "LocalOutlierFactor"):
            found = []
            for seed in range(n_seeds):
                rng = np.random.default_rng(seed)
                X, broken = related(rng, 600, n_features), related(rng, 200, n_features)
                move = rng.uniform(-1, 1, size=200) - broken[:, 0]
                broken[:, 0] += move
                broken[:, 3] += 2 * move + 2 * rng.choice([-1, 1], size=200)
                detector = {
                    "AutoencoderOutlierDetector": AutoencoderOutlierDetector(
                        contamination=0.05, random_state=seed
                    ),
                    "IsolationForest": IsolationForest(contamination=0.05, random_state=seed),
                    "LocalOutlierFactor": LocalOutlierFactor(contamination=0.05, novelty=True),
                }[name]
                found.append((detector.fit(X).predict(broken) == -1).mean())
            results[f"{n_features} features, {name}"] = float(np.mean(found))
            print(f"{n_features} features, {name}: {np.mean(found):.3f} detected", flush=True)
    return results


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, bundled tables only")
    parser.add_argument("--seeds", type=int, default=3, help="number of splits per table")
    parser.add_argument("--calibration", type=int, default=0, help="number of simulated data sets")
    arguments = parser.parse_args()
    print(machine())
    if arguments.calibration:
        relations = broken_relations()
        found = {"relations": relations, "shares": calibration(arguments.calibration)}
        write_json("outliers_calibration", {"machine": machine(), **found})
        return
    for method in contestants(0).values():
        method.fit(np.random.default_rng(0).normal(size=(100, 4)))  # imports are not timed
    seeds = 1 if arguments.quick else arguments.seeds
    results: dict[str, Any] = {"machine": machine(), "seeds": seeds}
    results["bundled"] = compare("bundled with scikit-learn", bundled(), seeds, resample=False)
    if not arguments.quick:
        if data_folder() is not None:
            results["ADBench"] = compare("ADBench", tables(), seeds, resample=True)
            results["each sample once"] = compare(
                "ADBench, each sample once", tables(), seeds, resample=False
            )
        results["ECG5000"] = heartbeats()
        write_json("outliers", results)


if __name__ == "__main__":
    main()
