"""Members of an ensemble of autoencoders, and what each has to say about a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter

from sklearn_ae._compat import safe_indexing
from sklearn_ae.autoencoder import Autoencoder
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.variational import VariationalAutoencoder

CHUNK_ENTRIES = 2**22
"""Number of entries of rows that are reconstructed at a time."""

SCALE_ROWS = 2_000
"""Number of rows whose errors tell what is normal."""

LEAST_SCALE = 1e-3
"""Least normal error, as a share of the root mean square error."""

NOISE_LEVELS = (1.0, 0.3, 0.1)
"""Noise that one pair of members after another learns to take away, in standard deviations."""

HIDDEN = 32
"""Width of the layers of a small network."""

FAR = 1e150
"""Farther from the normal than this no row is said to be: squares and sums are still held."""


class Member(NamedTuple):
    """A fitted autoencoder with what is normal for it.

    Attributes
    ----------
    estimator : BaseAutoencoder or Pipeline
    seen : ndarray of shape (n_trained,)
        Keys of the rows that it was trained on.
    scale : ndarray of shape (n_features,)
        Median absolute error of each feature on rows that it was not trained on.
    constant : ndarray of shape (n_features,)
        Value of each feature that is the same in all those rows, NaN for the others.
    level : float
        Median log-likelihood of rows that it was not trained on, where there is one.
    """

    estimator: Any
    seen: np.ndarray
    scale: np.ndarray
    constant: np.ndarray
    level: float

    @property
    def knows_likelihood(self) -> bool:
        """Whether the autoencoder is a model of the density."""
        return isinstance(last_step(self.estimator), VariationalAutoencoder)

    def is_new(self, keys: np.ndarray) -> np.ndarray:
        """Whether rows were kept from training."""
        return ~np.isin(keys, self.seen, kind="sort")  # NumPy 2.0's table fails on large keys

    def surprise(self, X: Any) -> np.ndarray:
        """Each feature's part in how unusual the rows are, ``(n_samples, n_features)``."""
        return np.concatenate([self._surprise(part) for part in chunks(X)])

    def score(self, X: Any) -> np.ndarray:
        """How normal the rows are, ``(n_samples,)``; comparable between members."""
        if self.knows_likelihood:
            return np.maximum(likelihood(self.estimator, X) - self.level, -FAR)
        return np.concatenate([-self._surprise(part).mean(axis=1) for part in chunks(X)])

    def _surprise(self, X: Any) -> np.ndarray:
        error = _foretold(*errors(self.estimator, X), self.constant)
        with np.errstate(over="ignore"):
            return np.log1p(np.square(np.minimum(error / self.scale, FAR)))


class TrainingRows(NamedTuple):
    """Rows to train members on, none of weight zero.

    Attributes
    ----------
    rows : ndarray, CSR matrix or DataFrame of shape (n_samples, ...)
    weight : ndarray of shape (n_samples,)
    weighted : bool
        Whether the weights were given.
    keys : ndarray of shape (n_samples,)
        Fingerprints of the rows.
    """

    rows: Any
    weight: np.ndarray
    weighted: bool
    keys: np.ndarray


def last_step(estimator: Any) -> Any:
    """Return the autoencoder itself."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def small_autoencoder(n_features: int, pair: int) -> Pipeline:
    """Return what the two members of a pair are copies of, unless the user says otherwise.

    Trained to take noise away, a network moves a row to where rows are dense: the error is then
    large off the data in any direction, also along the code. Strong noise shows what is far
    from all rows, weak noise what breaks a fine relation between features.
    """
    autoencoder = Autoencoder(
        min(HIDDEN, -(-n_features // 2)),
        init="random",
        hidden_layer_sizes=(HIDDEN, HIDDEN, HIDDEN),
        input_noise=NOISE_LEVELS[pair % len(NOISE_LEVELS)],
        learning_rate_init=0.01,
        max_iter=25,
        early_stopping=False,
    )
    # The autoencoder centres by itself, and sparse rows stay sparse.
    return make_pipeline(StandardScaler(with_mean=False), autoencoder)


def check_template(estimator: Any) -> None:
    """Refuse what is neither an autoencoder nor a pipeline that ends in one."""
    last = last_step(estimator)
    if not isinstance(last, BaseAutoencoder):
        raise ValueError(
            f"estimator must be an autoencoder of sklearn_ae, or a Pipeline whose last step is "
            f"one, but it {'ends in' if last is not estimator else 'is'} {last!r}."
        )


def train_member(
    template: Any, training: TrainingRows, inside: np.ndarray, seed: int
) -> tuple[Member, np.ndarray]:
    """Train on some of the rows; learn from all others what is normal, and score them."""
    part = safe_indexing(training.rows, np.flatnonzero(inside))
    weight = training.weight[inside] if training.weighted else None
    estimator = _fit_copy(template, part, weight, seed)
    rest = safe_indexing(training.rows, np.flatnonzero(~inside))
    seen = np.unique(training.keys[inside])
    member = _describe(estimator, seen, rest, training.weight[~inside])
    return member, member.score(rest)


def _fit_copy(template: Any, X: Any, weight: np.ndarray | None, seed: int) -> Any:
    """Fit a copy, every ``random_state`` in it set from ``seed``."""
    estimator = clone(template)
    names = sorted(name for name in estimator.get_params() if name.endswith("random_state"))
    seeds = np.random.RandomState(seed).randint(2**31 - 1, size=len(names))
    estimator.set_params(**{name: int(s) for name, s in zip(names, seeds, strict=True)})
    for _, step in _steps(estimator):
        weighted = weight is not None and has_fit_parameter(step, "sample_weight")
        step.fit(X, **({"sample_weight": weight} if weighted else {}))
        if step is not last_step(estimator):
            X = step.transform(X)
    return estimator


def _steps(estimator: Any) -> list[tuple[str, Any]]:
    if not isinstance(estimator, Pipeline):
        return [("autoencoder", estimator)]
    return [(name, step) for name, step in estimator.steps if step not in (None, "passthrough")]


def prepare(estimator: Any, X: Any) -> Any:
    """Apply all steps before the autoencoder."""
    for _, step in _steps(estimator)[:-1]:
        X = step.transform(X)
    return X


def errors(estimator: Any, X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Absolute errors of reconstruction, and the rows as the autoencoder sees them.

    Returns
    -------
    errors : ndarray of shape (n_samples, n_features)
    rows : ndarray of shape (n_samples, n_features)
    """
    X = prepare(estimator, X)
    restored = np.asarray(last_step(estimator).reconstruct(X), np.float64)
    X = X.toarray() if sp.issparse(X) else np.asarray(X)
    flat = (len(restored), -1)
    return np.abs(restored - X).reshape(flat), X.reshape(flat)


def likelihood(estimator: Any, X: Any) -> np.ndarray:
    """Bound of the log-likelihood of rows."""
    return np.asarray(last_step(estimator).score_samples(prepare(estimator, X)), np.float64)


def _describe(estimator: Any, seen: np.ndarray, X: Any, weight: np.ndarray) -> Member:
    """Learn from rows that a fitted estimator was not trained on what is normal for it."""
    step = -(-X.shape[0] // SCALE_ROWS)
    some = np.arange(0, X.shape[0], step)
    X, weight = safe_indexing(X, some), weight[some]
    error, rows = map(
        np.concatenate,
        zip(*(errors(estimator, part) for part in chunks(X)), strict=True),
    )
    constant = np.where((rows == rows[0]).all(axis=0), rows[0], np.nan)
    scale = _normal_error(_foretold(error, rows, constant), weight)
    member = Member(estimator, seen, scale, constant, 0.0)
    if member.knows_likelihood:
        level = weighted_median(likelihood(estimator, X)[:, None], weight)
        member = member._replace(level=float(level[0]))
    return member


def _foretold(error: np.ndarray, rows: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Replace errors of features that never change: they need no network to be foretold."""
    return np.where(np.isnan(constant), error, np.abs(rows - constant))


def _normal_error(error: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the median error of each feature, or what stands for it where that is dust."""
    mean_square = weight @ np.square(error) / weight.sum()
    scale = np.maximum(weighted_median(error, weight), LEAST_SCALE * np.sqrt(mean_square))
    return np.maximum(scale, LEAST_SCALE * np.sqrt(mean_square.mean()) + 1e-12)


def chunks(X: Any) -> Iterator[Any]:
    """Cut rows into pieces of bounded size."""
    at_once = max(1, CHUNK_ENTRIES // int(np.prod(X.shape[1:])))
    if X.shape[0] <= at_once:
        yield X
        return
    for start in range(0, X.shape[0], at_once):
        yield safe_indexing(X, slice(start, start + at_once))


def weighted_median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Lower median of each column: a row of weight two counts as two rows."""
    order = np.argsort(values, axis=0)
    total = np.cumsum(weight[order], axis=0)
    middle = (total < total[-1] / 2 * (1 - 1e-12)).sum(axis=0)
    return np.take_along_axis(values, order, axis=0)[middle, np.arange(values.shape[1])]


def lower_threshold(scores: np.ndarray, weight: np.ndarray, share: float) -> float:
    """Return what a ``share`` of the scores, counted by weight, lies below.

    Between two scores, and so close to the upper one that rounding errors do not reach it.
    """
    order = np.argsort(scores)
    total = np.cumsum(weight[order])
    place = int(np.searchsorted(total, share * total[-1] * (1 + 1e-9), side="right"))
    above = scores[order[min(place, len(order) - 1)]]
    rounding = 1e-10 * max(1.0, abs(above))
    below = np.max(scores, where=scores < above - rounding, initial=-np.inf)
    return float(above - min((above - below) / 2, rounding))


def row_fingerprints(X: Any, seed: int) -> np.ndarray:
    """Return a number for each row by which it is known again; equal rows share it.

    Rows that are the same in float32 are the same row.

    Returns
    -------
    ndarray of shape (n_samples,), dtype uint64
    """
    factors = fingerprint_factors(X.shape[1], seed)
    keys = []
    for part in chunks(X):
        dense = part.toarray() if sp.issparse(part) else np.asarray(part)
        with np.errstate(over="ignore"):
            # Adding zero makes one of the two zeros.
            bits = (dense.astype(np.float32) + np.float32(0)).view(np.uint32)
        keys.append((bits.astype(np.uint64) * factors).sum(1, dtype=np.uint64))
    return np.concatenate(keys)


def fingerprint_factors(n_features: int, seed: int) -> np.ndarray:
    """Draw the odd number that the bits of each feature are multiplied by, as uint64."""
    draws = np.random.default_rng(seed).integers(2**64, size=n_features, dtype=np.uint64)
    return draws | np.uint64(1)
