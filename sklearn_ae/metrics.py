"""Scorers for the parameter `scoring` of scikit-learn's searches and cross-validation.

A scorer takes ``(estimator, X, y=None)`` and returns a score; higher is better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.metrics import get_scorer
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import MetadataRequest

from sklearn_ae._compat import safe_indexing
from sklearn_ae._estimator.tables import refuse_table
from sklearn_ae._stacks.labels import check_labels, is_labelled
from sklearn_ae.base import BaseAutoencoder

__all__ = ["denoising_scorer", "elbo_scorer", "labeled_scorer", "reconstruction_scorer"]

NOISES = ("gaussian", "masking", "salt_and_pepper", "swap")


def reconstruction_scorer(estimator: Any, X: Any, y: Any = None) -> float:
    """Return the explained variance ratio of the reconstruction, in the units of `X`.

    The score is ``1 - ||X - X'||^2 / ||X - mean(X)||^2``, where ``X'`` is
    ``inverse_transform(transform(X))``. For an autoencoder it equals ``score(X)``. For a pipeline
    the error is measured in the input of the first step, so that candidates with different scalers
    can be compared. The score is defined equally for PCA and other transformers of scikit-learn,
    whose method ``score`` has other meanings.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted, with `transform` and `inverse_transform`.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Samples.
    y : array-like, default=None
        Targets of a :class:`~sklearn_ae.UNetAutoencoder`; ignored otherwise.

    Returns
    -------
    score : float
        At most 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae.metrics import reconstruction_scorer
    >>> X = load_iris().data
    >>> pca = PCA(2).fit(X)
    >>> ratio = pca.explained_variance_ratio_.sum()
    >>> bool(abs(reconstruction_scorer(pca, X) - ratio) < 1e-12)
    True
    """
    is_autoencoder = isinstance(estimator, BaseAutoencoder)
    if is_autoencoder:
        return float(estimator.score(X, y))
    reconstruction = estimator.inverse_transform(estimator.transform(X))
    return _explained_variance_ratio(X, reconstruction)


def elbo_scorer(estimator: Any, X: Any, y: Any = None) -> float:
    """Return the mean log-likelihood of the samples, or a lower bound of it, in nats.

    The score is the mean of ``score_samples(X)``: the evidence lower bound for
    :class:`~sklearn_ae.VariationalAutoencoder`, and the log-likelihood for
    :class:`~sklearn_ae.RestrictedBoltzmannMachine` and for scikit-learn's density estimators. For
    a pipeline it is the density of the input of the last step, so that candidates with different
    scalers cannot be compared.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted, with a likelihood.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Samples.
    y : None
        Ignored.

    Returns
    -------
    score : float
        Nats per sample.

    Raises
    ------
    ValueError
        If the estimator has no likelihood: its ``score_samples`` is missing, or returns a
        reconstruction error.
    """
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    own = getattr(type(last), "score_samples", None)
    if own is None or own is BaseAutoencoder.score_samples:
        raise ValueError(
            f"{type(last).__name__} has no likelihood, so elbo_scorer cannot score it; use "
            f"reconstruction_scorer, or an estimator with one such as VariationalAutoencoder."
        )
    return float(np.mean(np.asarray(estimator.score_samples(X), np.float64)))


def denoising_scorer(
    noise: str = "gaussian", noise_level: float = 0.1, random_state: Any = 0
) -> Callable[..., float]:
    """Create a scorer of the reconstruction of clean samples from corrupted ones.

    The scorer returns ``1 - ||X - r(X~)||^2 / ||X - mean(X)||^2``, where ``X~`` are the corrupted
    samples, with the same noise for every candidate, and ``r`` is
    ``inverse_transform(transform(.))``. The noise level is that of the task. It is independent of
    the candidates' own `noise_level`, which may be searched.

    Parameters
    ----------
    noise : {"gaussian", "masking", "salt_and_pepper", "swap"}, default="gaussian"
        Type of the corruption, as in :class:`~sklearn_ae.DenoisingAutoencoder`. Salt and pepper
        are the minimum and the maximum of each feature in `X`; swapped values are those of the
        same feature in random samples of `X`.
    noise_level : float, default=0.1
        Standard deviation of Gaussian noise in the units of `X`, or the fraction of values that
        other types of noise replace.
    random_state : int, RandomState instance or None, default=0
        Controls the randomness of the noise.

    Returns
    -------
    scorer : callable
        With the signature ``(estimator, X, y=None)``.

    Raises
    ------
    ValueError
        If `noise` is not one of these types, or `noise_level` is out of range.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_ae import DenoisingAutoencoder
    >>> from sklearn_ae.metrics import denoising_scorer
    >>> X = load_digits().data[:300]
    >>> search = GridSearchCV(
    ...     DenoisingAutoencoder(16, max_iter=10, random_state=0),
    ...     {"noise_level": [1e-6, 4.0]},
    ...     scoring=denoising_scorer(noise_level=4.0),
    ...     cv=2,
    ... )
    >>> search.fit(X).best_params_
    {'noise_level': 4.0}
    """
    return _DenoisingScorer(noise, noise_level, random_state)


def labeled_scorer(
    scoring: str | Callable[..., float] = "accuracy", unlabeled: Any = -1
) -> Callable[..., float]:
    """Create a scorer that uses only the labelled samples.

    It is intended for ``StackedAutoencoderClassifier(unlabeled=...)``, for
    ``StackedAutoencoderRegressor`` with ``unlabeled=np.nan``, and for the estimators of
    ``sklearn.semi_supervised``. scikit-learn's own scorers count every unlabelled sample as an
    error, or raise an error.

    Parameters
    ----------
    scoring : str or callable, default="accuracy"
        Name of a scorer of scikit-learn, or a scorer.
    unlabeled : int, float or str, default=-1
        Value in `y` that marks unlabelled samples. ``np.nan`` includes None and pandas' NA.

    Returns
    -------
    scorer : callable
        With the signature ``(estimator, X, y, **params)``. Those of `params` that have a value per
        sample, such as `sample_weight`, are restricted to the labelled samples as well. Metadata
        routing is that of `scoring`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import StratifiedKFold, cross_val_score
    >>> from sklearn_ae import StackedAutoencoderClassifier
    >>> from sklearn_ae.metrics import labeled_scorer
    >>> X, y = load_digits(return_X_y=True)
    >>> few = np.where(np.arange(len(y)) % 5 == 0, y, -1)
    >>> classifier = StackedAutoencoderClassifier(
    ...     unlabeled=-1, pretraining_max_iter=10, max_iter=20, random_state=0
    ... )
    >>> scores = cross_val_score(
    ...     classifier, X, few, scoring=labeled_scorer("f1_macro"), cv=StratifiedKFold(2)
    ... )
    >>> bool(scores.mean() > 0.8)
    True
    """
    return _LabeledScorer(get_scorer(scoring), unlabeled)


@dataclass(frozen=True)
class _DenoisingScorer:
    """Scorer of :func:`denoising_scorer`. A class, unlike a closure, can be pickled."""

    noise: str
    noise_level: float
    random_state: Any

    def __post_init__(self) -> None:
        if self.noise not in NOISES:
            raise ValueError(f"noise must be one of {', '.join(NOISES)}, got {self.noise!r}.")
        highest = np.inf if self.noise == "gaussian" else 1
        if not isinstance(self.noise_level, Real) or not 0 <= self.noise_level <= highest:
            raise ValueError(
                f"noise_level must be from 0 to {highest} for noise={self.noise!r}, got "
                f"{self.noise_level!r}."
            )

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        return _explained_variance_ratio(X, _reconstruct(estimator, self._corrupt(X)))

    def _corrupt(self, X: Any) -> Any:
        """Return corrupted samples: an array, or a dataframe if `X` is one."""
        clean = _dense(X)
        random_state = check_random_state(self.random_state)
        if self.noise == "gaussian":
            noisy = clean + self.noise_level * random_state.standard_normal(clean.shape)
        else:
            # NaN marks the end of a sequence, which corruption must not change.
            is_replaced = random_state.random_sample(clean.shape) < self.noise_level
            is_replaced &= ~np.isnan(clean)
            other = np.zeros_like(clean)
            if self.noise == "salt_and_pepper":
                salt = random_state.random_sample(clean.shape) < 0.5
                other = np.where(salt, np.nanmin(clean, axis=0), np.nanmax(clean, axis=0))
            elif self.noise == "swap":
                n_observed = np.sum(~np.isnan(clean), axis=0)
                places = (random_state.random_sample(clean.shape) * n_observed).astype(np.intp)
                other = np.take_along_axis(np.sort(clean, axis=0), places, axis=0)  # NaN is last
            noisy = np.where(is_replaced, other, clean)
        noisy = noisy.astype(clean.dtype, copy=False)
        if hasattr(X, "iloc"):  # the estimator compares the names of the columns
            return type(X)(noisy, index=X.index, columns=X.columns)
        return noisy


@dataclass(frozen=True)
class _LabeledScorer:
    """Scorer of :func:`labeled_scorer`. A class, unlike a closure, can be pickled."""

    scorer: Callable[..., float]
    unlabeled: Any

    def __call__(self, estimator: Any, X: Any, y: Any, **params: Any) -> float:
        if np.ndim(y) == 1:
            labels, labelled = check_labels(y, len(y), self.unlabeled)
        else:  # several targets per sample: a sample is labelled if all of them are
            labels = np.asarray(y)
            labelled = np.all(is_labelled(labels, self.unlabeled), axis=1)
            labels = labels[labelled]
            if labels.dtype.kind == "O":  # numbers, in an array that contained None
                labels = np.array(labels.tolist())
        if not labelled.any():
            raise ValueError(
                f"y contains no labelled sample: all values are {self.unlabeled!r}. Choose folds "
                f"that have labels, for example those of StratifiedKFold."
            )
        kept = np.flatnonzero(labelled)
        reduced = {
            name: safe_indexing(value, kept) if np.shape(value)[:1] == labelled.shape else value
            for name, value in params.items()
        }
        return self.scorer(estimator, safe_indexing(X, kept), labels, **reduced)

    def get_metadata_routing(self) -> MetadataRequest:
        """Return the metadata requests of the scorer that is restricted."""
        if hasattr(self.scorer, "get_metadata_routing"):
            return self.scorer.get_metadata_routing()
        return MetadataRequest(owner=self)


def _dense(X: Any) -> np.ndarray:
    """Return samples as a dense array of floating-point numbers."""
    refuse_table(X, "denoising_scorer")
    dense: np.ndarray = X.toarray() if sp.issparse(X) else np.asarray(X)
    return dense if dense.dtype.kind == "f" else dense.astype(np.float64)


def _reconstruct(estimator: Any, X: Any) -> Any:
    """Return reconstructions, by a method ``reconstruct`` if there is one."""
    if hasattr(estimator, "reconstruct"):
        return estimator.reconstruct(X)
    return estimator.inverse_transform(estimator.transform(X))


def _explained_variance_ratio(X: Any, reconstruction: Any) -> float:
    """Return the explained variance ratio, without NaN, which follows the end of a sequence."""
    X = _dense(X).astype(np.float64, copy=False)
    reconstruction = _dense(reconstruction).astype(np.float64, copy=False).reshape(X.shape)
    error = np.nansum(np.square(X - reconstruction))
    variation = np.nansum(np.square(X - np.nanmean(X, axis=0)))
    if variation == 0:  # all samples are equal: 1 if they are reconstructed up to rounding
        return float(error <= np.finfo(np.float32).eps * np.nansum(np.square(X)))
    return float(1 - error / variation)
