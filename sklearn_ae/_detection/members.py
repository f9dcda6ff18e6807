"""Members of an ensemble of autoencoders: their errors, and how anomalous these are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from sklearn_ae._compat import safe_indexing
from sklearn_ae._detection.error_statistics import (
    FAR,
    decorrelate,
    error_covariance,
    mean_of_terms,
    normal_error,
    squared_ratio,
    weighted_median,
)
from sklearn_ae._detection.halves import FOLD_BITS, draw_some, folds, second_half
from sklearn_ae._detection.member_copies import fit_steps, last_step, prepare, seeded_copy
from sklearn_ae._estimator.inputs import has_missing
from sklearn_ae.variational import VariationalAutoencoder

CHUNK_VALUES = 2**22
"""Maximum number of values that are reconstructed at a time."""

MIN_PROBABILITY = 0.01
"""Least probability of a category: a network tells smaller ones no better apart."""

SCALE_SAMPLES = 2_000
"""Maximum number of samples from which the scales of errors are estimated."""


class Member(NamedTuple):
    """A fitted autoencoder with the statistics of its errors on held-out samples.

    Attributes
    ----------
    estimator : BaseAutoencoder or Pipeline
    joint : bool
        Whether the score is that of all decorrelated errors together, not of each error.
    split : ndarray of shape (2,), dtype int64
        Split of the samples into halves, the same for both members of a pair.
    second : bool
        Whether the member was trained on samples of the second half.
    constant : ndarray of shape (n_features,)
        Value of each feature that is constant on the held-out samples, NaN for other features.
    spread : ndarray of shape (n_features,)
        Root mean square error of each feature on training samples.
    common : ndarray of shape (rank, n_features)
        Common components of the errors, see :func:`decorrelate`.
    scale : ndarray of shape (n_folds, n_features)
        Median absolute error of each feature, or decorrelated error if `joint`. That of a fold is
        estimated from held-out samples of the other folds.
    conditional_scale : ndarray of shape (n_features,)
        Median absolute decorrelated error of each feature.
    level : ndarray of shape (n_folds,)
        Median log-likelihood of held-out samples of the other folds; zero if the autoencoder has
        no likelihood.
    fill : ndarray of shape (n_features,)
        Mean of each feature on training samples, which replaces missing values.
    widths : ndarray of shape (n_categorical,), dtype int64
        Number of indicators of each column of categories. They are the last features.
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
    fill: np.ndarray
    widths: np.ndarray

    @property
    def knows_likelihood(self) -> bool:
        """Whether the autoencoder has a likelihood, which is its score."""
        return isinstance(last_step(self.estimator), VariationalAutoencoder)

    def is_new(self, keys: np.ndarray) -> np.ndarray:
        """Return which samples belong to the half that the member was not trained on."""
        new: np.ndarray = second_half(keys, self.split) != self.second
        return new

    def explain(self, X: Any) -> np.ndarray:
        """Return the anomaly term of each column, shape (n_samples, n_columns).

        It is that of the decorrelated error and, unless `joint`, averaged with that of the
        error itself. Features related to a wrong one then count less than the wrong one;
        features that deviate from all samples count even if relations do not determine which one
        is wrong. Missing values have none.
        """
        return np.concatenate([self._feature_terms(chunk) for _, chunk in chunks(X)])

    def score(self, X: Any, keys: np.ndarray) -> np.ndarray:
        """Return the score of each sample, higher for normal ones; comparable between members.

        Parameters
        ----------
        X : ndarray, CSR matrix or DataFrame of shape (n_samples, ...)
            Missing values of arrays are NaN.
        keys : ndarray of shape (n_samples,), dtype uint64
            Hashes of the samples, which determine their folds.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        fold = folds(keys)
        if self.knows_likelihood:
            relative = log_likelihood(self.estimator, X) - self.level[fold]
            score: np.ndarray = np.maximum(relative, -FAR)  # keeps NaN, unlike `fmax`
            return score
        return np.concatenate([-self._anomaly(chunk, fold[part]) for part, chunk in chunks(X)])

    def _errors(self, X: Any) -> np.ndarray:
        found = _errors_of_chunk(self.estimator, X, self.fill)
        return _with_baseline_errors(*found, self.constant)

    def _with_categories(self, ratio: np.ndarray, X: Any, error: np.ndarray) -> np.ndarray:
        """Return squared ratios, in which columns of categories replace their indicators.

        Parameters
        ----------
        ratio : ndarray of shape (n_samples, n_features)
        X : ndarray of shape (n_samples, n_features)
        error : ndarray of shape (n_samples, n_features)
            Errors of the features.

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
            Of a category with the probability p the ratio is ``1 / p - 1``, such that its term
            ``log(1 + ratio)`` is ``-log p``.
        """
        if not len(self.widths):
            return ratio
        first = self._n_numbers(ratio)
        scale = self.estimator[0].scale_[first:]
        indicators = X[:, first:]
        # The reconstructed indicator of a category is an estimate of its probability.
        of_category = indicators * (indicators + error[:, first:] * scale)
        starts = np.cumsum([0, *self.widths[:-1]])
        probability = np.add.reduceat(of_category, starts, axis=1).clip(MIN_PROBABILITY, 1.0)
        return np.concatenate([ratio[:, :first], 1 / probability - 1], axis=1)

    def _n_numbers(self, ratio: np.ndarray) -> int:
        """Return the number of features that are not indicators of categories."""
        return int(ratio.shape[1] - self.widths.sum())

    def _feature_terms(self, X: Any) -> np.ndarray:
        """Return the anomaly terms of the columns of one chunk; see :meth:`explain`."""
        error = self._errors(X)
        decorrelated = np.abs(decorrelate(error, self.spread, self.common))
        ratio = squared_ratio(decorrelated, self.conditional_scale)
        if len(self.widths):  # of a column of categories the largest of its indicators
            starts = np.cumsum([0, *[1] * self._n_numbers(ratio), *self.widths[:-1]])
            ratio = np.fmax.reduceat(ratio, starts, axis=1)
        terms: np.ndarray = np.log1p(ratio)
        if not self.joint:
            ratio = squared_ratio(np.abs(error), self.scale.mean(axis=0))
            own = np.log1p(self._with_categories(ratio, X, error))
            terms = (terms + own) / 2
        return np.where(np.isnan(terms), 0.0, terms)

    def _anomaly(self, X: Any, fold: np.ndarray) -> np.ndarray:
        """Return the anomaly of each sample of one chunk, shape (n_samples,)."""
        error = self._errors(X)
        scaled = decorrelate(error, self.spread, self.common) if self.joint else error
        square = squared_ratio(np.abs(scaled), self.scale[fold])
        square = self._with_categories(square, X, error)
        if self.joint:  # the mean within the logarithm: one broken relation is enough
            joint: np.ndarray = np.log1p(mean_of_terms(square))
            return joint
        return mean_of_terms(np.log1p(square))


class TrainingSamples(NamedTuple):
    """Samples to train members on, all of positive weight.

    Attributes
    ----------
    X : ndarray, CSR matrix or DataFrame of shape (n_samples, ...)
        Missing values of arrays are NaN.
    weight : ndarray of shape (n_samples,)
    weighted : bool
        Whether the user passed weights.
    keys : ndarray of shape (n_samples,), dtype uint64
        Hashes of the samples.
    trim : float
        Fraction of the samples that the covariance of the errors leaves out.
    widths : ndarray
        Attribute of the members.
    fills : bool, default=True
        Whether missing values are replaced. Otherwise they are the ends of sequences, which the
        members take.
    """

    X: Any
    weight: np.ndarray
    weighted: bool
    keys: np.ndarray
    trim: float
    widths: np.ndarray
    fills: bool = True


def train_member(
    template: Any,
    training: TrainingSamples,
    inside: np.ndarray,
    seed: int,
    *,
    joint: bool = False,
    split: np.ndarray,
    second: bool,
    fitting: Callable[[Any], AbstractContextManager[Any]] = nullcontext,
) -> tuple[Member, np.ndarray]:
    """Train a member on some samples, estimate its statistics from the others and score these.

    Parameters
    ----------
    template : BaseAutoencoder or Pipeline
        A clone of it is fitted.
    training : TrainingSamples
    inside : ndarray of shape (n_samples,), dtype bool
        Which samples to train on.
    seed : int
    joint, split, second : bool, ndarray, bool
        Attributes of the member.
    fitting : callable
        Called with the autoencoder; returns the context in which it is fitted.

    Returns
    -------
    member : Member
    scores : ndarray of shape (n_outside,)
        Scores of the samples that are not trained on.
    """
    estimator = seeded_copy(template, seed)
    weight = training.weight[inside] if training.weighted else None
    X = safe_indexing(training.X, np.flatnonzero(inside))
    fill = means_of_observed(X, training.weight[inside]) if training.fills else np.zeros(0)
    with fitting(last_step(estimator)):
        fit_steps(estimator, replaced(X, fill), weight)
    random_state = np.random.RandomState(seed)
    member = _measured(estimator, training, inside, random_state, joint, split, second, fill)
    rest = np.flatnonzero(~inside)
    return member, member.score(safe_indexing(training.X, rest), training.keys[rest])


def _measured(
    estimator: Any,
    training: TrainingSamples,
    inside: np.ndarray,
    random_state: np.random.RandomState,
    joint: bool,
    split: np.ndarray,
    second: bool,
    fill: np.ndarray,
) -> Member:
    """Return the member of a fitted estimator, with the statistics of its errors."""
    own, own_weight = _subsample(training, inside, random_state)
    held_out, weight = _subsample(training, ~inside, random_state)
    X = safe_indexing(training.X, held_out)
    error, samples = _errors(estimator, X, fill)
    # A feature that is constant on the held-out samples has no usual error to compare with.
    constant = np.where((samples == samples[0]).all(axis=0), samples[0], np.nan)
    error = _with_baseline_errors(error, samples, constant)
    # The covariance is that of training samples: held-out samples that had shaped it would score
    # higher than new ones.
    own_error, _ = _errors(estimator, safe_indexing(training.X, own), fill)
    own_error = np.where(np.isnan(constant), own_error, 0.0)
    spread, common = error_covariance(own_error, own_weight, training.trim)
    decorrelated = decorrelate(error, spread, common)
    fold = folds(training.keys[held_out])
    member = Member(
        estimator=estimator,
        joint=joint,
        split=split,
        second=second,
        constant=constant,
        spread=spread,
        common=common,
        scale=_of_other_folds(normal_error, decorrelated if joint else error, weight, fold),
        conditional_scale=normal_error(decorrelated, weight),
        level=np.zeros(2**FOLD_BITS),
        fill=fill,
        widths=training.widths,
    )
    if member.knows_likelihood:
        bounds = log_likelihood(estimator, X)[:, None]
        level = _of_other_folds(weighted_median, bounds, weight, fold)[:, 0]
        member = member._replace(level=level)
    return member


def _subsample(
    training: TrainingSamples, mask: np.ndarray, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Draw distinct samples; return their indices, and the weights of all copies of each."""
    places = np.flatnonzero(mask)
    _, first, copies_of = np.unique(training.keys[places], return_index=True, return_inverse=True)
    weight = np.bincount(copies_of, training.weight[places])  # a sample and its copies together
    drawn = draw_some(training.keys[places[first]], SCALE_SAMPLES, random_state)
    return places[first[drawn]], weight[drawn]


def _of_other_folds(
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
    values: np.ndarray,
    weight: np.ndarray,
    fold: np.ndarray,
) -> np.ndarray:
    """Return a statistic of the columns for each fold, from the samples of the other folds."""
    results = []
    for number in range(2**FOLD_BITS):
        others = fold != number
        if not others.any():  # all samples are in this fold
            others = ~others
        results.append(statistic(values[others], weight[others]))
    return np.stack(results)


def log_likelihood(estimator: Any, X: Any) -> np.ndarray:
    """Return a lower bound of the log-likelihood of each sample, in float64."""
    return np.asarray(last_step(estimator).score_samples(prepare(estimator, X)), np.float64)


def means_of_observed(X: Any, weight: np.ndarray) -> np.ndarray:
    """Return the mean of each feature of an array without NaN, zero if nothing else is there.

    Of data frames and images, which have no NaN, it is empty.
    """
    if sp.issparse(X):
        of_sparse: np.ndarray = np.asarray(X.T @ weight).ravel() / weight.sum()
        return of_sparse
    if not isinstance(X, np.ndarray) or X.ndim > 2 or X.dtype.kind not in "fiub":
        return np.zeros(0)
    if not has_missing(X):  # without an array of the size of the data
        complete: np.ndarray = np.einsum("i,ij->j", weight, X) / weight.sum()
        return complete
    seen = ~np.isnan(X)
    total = np.maximum(weight @ seen, np.finfo(float).tiny)
    mean: np.ndarray = weight @ np.where(seen, X, 0.0) / total
    return mean


def replaced(X: Any, fill: np.ndarray) -> Any:
    """Return an array without NaN; see :func:`means_of_observed`."""
    if not len(fill) or not has_missing(X):
        return X
    return np.where(np.isnan(X), fill.astype(X.dtype), X)


def _errors(estimator: Any, X: Any, fill: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the reconstruction errors, and the samples as the autoencoder receives them.

    Returns
    -------
    errors : ndarray of shape (n_samples, n_features), float64
        NaN for missing values.
    samples : ndarray of shape (n_samples, n_features), float64
    """
    found = [_errors_of_chunk(estimator, chunk, fill) for _, chunk in chunks(X)]
    error, samples = map(np.concatenate, zip(*found, strict=True))
    return error, samples


def _errors_of_chunk(estimator: Any, X: Any, fill: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what :func:`_errors` returns, for samples that are reconstructed at once."""
    given, X = X, prepare(estimator, replaced(X, fill))
    reconstructed = np.asarray(last_step(estimator).reconstruct(X), np.float64)
    # DataFrames may contain objects, booleans or nullable numbers.
    X = X.toarray() if sp.issparse(X) else np.asarray(X, np.float64)
    flat = (len(reconstructed), -1)
    error = (reconstructed - X).reshape(flat)
    if len(fill) and has_missing(given):
        error = np.where(np.isnan(given), np.nan, error)
    return error, X.reshape(flat)


def _with_baseline_errors(
    error: np.ndarray, samples: np.ndarray, constant: np.ndarray
) -> np.ndarray:
    """Replace the errors of constant features by deviations from the constant, the baseline."""
    return np.where(np.isnan(constant) | np.isnan(error), error, samples - constant)


def chunks(X: Any) -> Iterator[tuple[slice, Any]]:
    """Return chunks of samples of bounded size, each with its place among the samples."""
    size = max(1, CHUNK_VALUES // int(np.prod(X.shape[1:])))
    if X.shape[0] <= size:  # without a copy
        yield slice(None), X
        return
    for start in range(0, X.shape[0], size):
        part = slice(start, start + size)
        yield part, safe_indexing(X, part)
