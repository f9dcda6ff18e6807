"""Members of an ensemble of autoencoders, and what each has to say about a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae._compat import safe_indexing
from sklearn_ae._detection.error_statistics import (
    FAR,
    decorrelate,
    error_covariance,
    normal_error,
    squared_ratio,
    weighted_median,
)
from sklearn_ae._detection.member_copies import fit_steps, last_step, prepare, seeded_copy
from sklearn_ae._training.keys import draw_factor, reordered
from sklearn_ae.autoencoder import Autoencoder
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.variational import VariationalAutoencoder

CHUNK_ENTRIES = 2**22
"""Number of entries of rows that are reconstructed at a time."""

SCALE_ROWS = 2_000
"""Number of rows whose errors tell what is normal."""

FOLD_BITS = 3
"""Highest bits of a sample's key, which say in which of eight folds it is."""

NOISE_LEVELS = (1.0, 0.3, 0.1)
"""Noise that one pair of members after another learns to take away, in standard deviations."""

HIDDEN = 32
"""Width of the layers of a small network."""


class Member(NamedTuple):
    """A fitted autoencoder with what is normal for it.

    Attributes
    ----------
    estimator : BaseAutoencoder or Pipeline
    joint : bool
        Whether the score is that of all decorrelated errors together, not of each error.
    split : ndarray of shape (2,), dtype int64
        How its pair parts the samples into halves, see `second_half`.
    second : bool
        Whether it was trained on samples of the second half.
    constant : ndarray of shape (n_features,)
        Value of each feature that is the same in all those samples, NaN for the others.
    spread : ndarray of shape (n_features,)
        Root mean square error of each feature on training samples.
    common : ndarray of shape (rank, n_features)
        What errors have in common, see `decorrelate`.
    scale : ndarray of shape (n_folds, n_features)
        Median absolute error of each feature; of decorrelated errors if `joint`. For the samples
        of each fold it is that of held-out samples of the other folds.
    conditional_scale : ndarray of shape (n_features,)
        Median absolute decorrelated error of each feature.
    level : ndarray of shape (n_folds,)
        Median log-likelihood, where there is one, of held-out samples of the other folds.
    """

    estimator: Any
    joint: bool
    split: np.ndarray
    second: bool
    constant: np.ndarray
    spread: np.ndarray
    common: np.ndarray
    scale: np.ndarray
    conditional_scale: np.ndarray
    level: np.ndarray

    @property
    def knows_likelihood(self) -> bool:
        """Whether the autoencoder is a model of the density."""
        return isinstance(last_step(self.estimator), VariationalAutoencoder)

    def is_new(self, keys: np.ndarray) -> np.ndarray:
        """Whether samples are of the half that was kept from training."""
        return second_half(keys, self.split) != self.second

    def explain(self, X: Any) -> np.ndarray:
        """Anomaly of each feature, ``(n_samples, n_features)``.

        Of its decorrelated error, unless `joint` averaged with that of the error itself: related
        features then count less than the one that is wrong, and features at odds with all
        samples count where relations leave open which one is wrong.
        """
        return np.concatenate([self._feature_terms(part) for part in chunks(X)])

    def score(self, X: Any, keys: np.ndarray) -> np.ndarray:
        """How normal the samples are, ``(n_samples,)``; comparable between members."""
        fold = folds(keys)
        if self.knows_likelihood:
            return np.maximum(likelihood(self.estimator, X) - self.level[fold], -FAR)
        return np.concatenate(
            [
                -self._terms(part, known)
                for part, known in zip(chunks(X), pieces(fold, X), strict=True)
            ]
        )

    def _errors(self, X: Any) -> np.ndarray:
        return _baseline_errors(*errors(self.estimator, X), self.constant)

    def _feature_terms(self, X: Any) -> np.ndarray:
        error = self._errors(X)
        decorrelated = np.abs(decorrelate(error, self.spread, self.common))
        conditional = np.log1p(squared_ratio(decorrelated, self.conditional_scale))
        if self.joint:
            return conditional
        own = squared_ratio(np.abs(error), self.scale.mean(axis=0))
        return (conditional + np.log1p(own)) / 2

    def _terms(self, X: Any, fold: np.ndarray) -> np.ndarray:
        """Return how abnormal the samples are, ``(n_samples,)``."""
        error = self._errors(X)
        if self.joint:
            error = decorrelate(error, self.spread, self.common)
        square = squared_ratio(np.abs(error), self.scale[fold])
        if self.joint:
            return np.log1p(square.mean(axis=1))
        return np.log1p(square).mean(axis=1)


def average_over_pairs(scores: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Average the score of a sample by the one member of each pair that it is new to.

    Of an unfinished pair there may be the first member only.

    Parameters
    ----------
    scores : ndarray of shape (n_members, n_samples)
        Not used where a sample is not new.
    new : ndarray of shape (n_members, n_samples), dtype bool

    Returns
    -------
    ndarray of shape (n_samples,)
    """
    return np.where(new, scores, 0.0).sum(axis=0) / new.sum(axis=0)


def draw_split(keys: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """Draw how to part samples into halves; see `second_half`.

    Parameters
    ----------
    keys : ndarray of shape (n_distinct,), dtype uint64
        Keys of the distinct training samples.

    Returns
    -------
    ndarray of shape (2,), dtype int64
    """
    factor = draw_factor(random_state)
    return np.array([factor, np.sort(reordered(keys, factor))[(len(keys) - 1) // 2]])


def second_half(keys: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Tell from their keys which samples are of the second half.

    The hash of a sample decides, of training samples and of fresh ones alike. A fresh sample
    is therefore scored by one member of each pair, as a training sample is: the score of both
    would vary less.
    """
    factor, median = split
    return reordered(keys, factor) > median


def draw_some(keys: np.ndarray, size: int, random_state: np.random.RandomState) -> np.ndarray:
    """Return the places of some of the keys, sorted; whether one is drawn is up to itself."""
    order = np.argsort(reordered(keys, draw_factor(random_state)), kind="stable")
    return np.sort(order[:size])


def folds(keys: np.ndarray) -> np.ndarray:
    """Return the number of the fold that each sample is in.

    A training sample must not be judged by a standard that it has helped to set: it would look
    more normal than a fresh one. Each fold's standard is therefore that of the other folds.
    """
    return (keys >> np.uint64(64 - FOLD_BITS)).astype(np.int64)


class TrainingRows(NamedTuple):
    """Rows to train members on, none of weight zero.

    Attributes
    ----------
    rows : ndarray, CSR matrix or DataFrame of shape (n_samples, ...)
    weight : ndarray of shape (n_samples,)
    weighted : bool
        Whether the weights were given.
    keys : ndarray of shape (n_samples,)
        Hashes of the rows.
    trim : float
        Share of the samples that the covariance of errors leaves out.
    """

    rows: Any
    weight: np.ndarray
    weighted: bool
    keys: np.ndarray
    trim: float


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


def scores_jointly(pair: int) -> bool:
    """Whether a pair of small networks scores decorrelated errors together: all but the first."""
    return pair % len(NOISE_LEVELS) > 0


def check_template(estimator: Any) -> None:
    """Refuse what is neither an autoencoder nor a pipeline that ends in one."""
    last = last_step(estimator)
    if not isinstance(last, BaseAutoencoder):
        raise ValueError(
            f"estimator must be an autoencoder of sklearn_ae, or a Pipeline whose last step is "
            f"one, but it {'ends in' if last is not estimator else 'is'} {last!r}."
        )


def templates_of(estimator: Any, n_members: int, n_features: int) -> list[Any]:
    """Return what each member is a copy of; members come in whole pairs."""
    n_members += n_members % 2
    if estimator is None:
        return [small_autoencoder(n_features, number // 2) for number in range(n_members)]
    check_template(estimator)
    return [estimator] * n_members


def train_member(
    template: Any,
    training: TrainingRows,
    inside: np.ndarray,
    seed: int,
    *,
    joint: bool = False,
    split: np.ndarray,
    second: bool,
    fitting: Callable[[Any], AbstractContextManager] = nullcontext,
) -> tuple[Member, np.ndarray]:
    """Train on some of the samples; learn from all others what is normal, and score them.

    The autoencoder is fitted within the context that ``fitting`` returns for it.
    """
    part = safe_indexing(training.rows, np.flatnonzero(inside))
    weight = training.weight[inside] if training.weighted else None
    estimator = seeded_copy(template, seed)
    with fitting(last_step(estimator)):
        fit_steps(estimator, part, weight)
    member = _describe(estimator, joint, training, inside, np.random.RandomState(seed))
    member = member._replace(split=split, second=second)
    rest = np.flatnonzero(~inside)
    return member, member.score(safe_indexing(training.rows, rest), training.keys[rest])


def errors(estimator: Any, X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Errors of reconstruction, and the samples as the autoencoder receives them.

    Returns
    -------
    errors : ndarray of shape (n_samples, n_features)
    rows : ndarray of shape (n_samples, n_features)
    """
    X = prepare(estimator, X)
    restored = np.asarray(last_step(estimator).reconstruct(X), np.float64)
    # Frames may hold objects, booleans or nullable numbers.
    X = X.toarray() if sp.issparse(X) else np.asarray(X, np.float64)
    flat = (len(restored), -1)
    return (restored - X).reshape(flat), X.reshape(flat)


def likelihood(estimator: Any, X: Any) -> np.ndarray:
    """Bound of the log-likelihood of rows."""
    return np.asarray(last_step(estimator).score_samples(prepare(estimator, X)), np.float64)


def _describe(
    estimator: Any,
    joint: bool,
    training: TrainingRows,
    inside: np.ndarray,
    random_state: np.random.RandomState,
) -> Member:
    """Learn from samples that a fitted estimator was not trained on what is normal for it."""
    own, own_weight = _subsample(training, inside, random_state)
    some, weight = _subsample(training, ~inside, random_state)
    fold = folds(training.keys[some])
    X = safe_indexing(training.rows, some)
    error, rows = _all_errors(estimator, X)
    constant = np.where((rows == rows[0]).all(axis=0), rows[0], np.nan)
    error = _baseline_errors(error, rows, constant)
    # Held-out samples that shaped the covariance would look more normal than fresh ones.
    own_error, _ = _all_errors(estimator, safe_indexing(training.rows, own))
    own_error = np.where(np.isnan(constant), own_error, 0.0)
    spread, common = error_covariance(own_error, own_weight, training.trim)
    decorrelated = decorrelate(error, spread, common)
    member = Member(
        estimator=estimator,
        joint=joint,
        split=np.zeros(2, np.int64),
        second=False,
        constant=constant,
        spread=spread,
        common=common,
        scale=_of_other_folds(normal_error, decorrelated if joint else error, weight, fold),
        conditional_scale=normal_error(decorrelated, weight),
        level=np.zeros(2**FOLD_BITS),
    )
    if member.knows_likelihood:
        bounds = likelihood(estimator, X)[:, None]
        level = _of_other_folds(weighted_median, bounds, weight, fold)[:, 0]
        member = member._replace(level=level)
    return member


def _of_other_folds(
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
    values: np.ndarray,
    weight: np.ndarray,
    fold: np.ndarray,
) -> np.ndarray:
    """Return a statistic of the columns for each fold, of the samples that are not in it."""
    results = []
    for number in range(2**FOLD_BITS):
        others = fold != number
        if not others.any():  # there are no more than these
            others = ~others
        results.append(statistic(values[others], weight[others]))
    return np.stack(results)


def _subsample(
    training: TrainingRows, mask: np.ndarray, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Draw some of the distinct samples; return their places and the weights of all copies."""
    places = np.flatnonzero(mask)
    _, first, which = np.unique(training.keys[places], return_index=True, return_inverse=True)
    weight = np.bincount(which, training.weight[places])
    drawn = draw_some(training.keys[places[first]], SCALE_ROWS, random_state)
    return places[first[drawn]], weight[drawn]


def _all_errors(estimator: Any, X: Any) -> tuple[np.ndarray, np.ndarray]:
    found = [errors(estimator, part) for part in chunks(X)]
    error, rows = map(np.concatenate, zip(*found, strict=True))
    return error, rows


def _baseline_errors(error: np.ndarray, rows: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Replace errors of features that never change: their value is known without a network."""
    return np.where(np.isnan(constant), error, rows - constant)


def chunks(X: Any) -> Iterator[Any]:
    """Cut rows into pieces of bounded size."""
    at_once = max(1, CHUNK_ENTRIES // int(np.prod(X.shape[1:])))
    if X.shape[0] <= at_once:
        yield X
        return
    for start in range(0, X.shape[0], at_once):
        yield safe_indexing(X, slice(start, start + at_once))


def pieces(values: np.ndarray, X: Any) -> Iterator[np.ndarray]:
    """Cut what belongs to samples as `chunks` cuts the samples."""
    start = 0
    for part in chunks(X):
        yield values[start : start + part.shape[0]]
        start += part.shape[0]
