"""Weights and errors of two predictions of missing values, from observed values that were hidden.

A missing value has two predictions: its mean given the observed values under a Gaussian
distribution, and its reconstruction by an autoencoder. The imputed value lies between them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

HIDDEN_FRACTION = 0.1
"""Fraction of the observed values that are hidden from a first fit."""

MIN_ERRORS = 200
"""Number of errors of a feature from which on the shape of their distribution is its own."""

PRIOR_ERRORS = 20
"""Weight of the common scale of the errors in that of a feature, in errors."""

PRIOR_FEATURES = 4.0
"""Weight of the common weight of the reconstruction in that of a feature, in features."""

N_QUANTILES = 201
"""Number of quantiles that describe the distribution of the errors of a feature."""


class Predictions(NamedTuple):
    """Predictions of the values of samples, each of shape (n_samples, n_features).

    Attributes
    ----------
    gaussian : ndarray
        Means given the observed values under the Gaussian distribution.
    deviation : ndarray
        Their standard deviations.
    reconstruction : ndarray
        Reconstructions by the autoencoder.
    """

    gaussian: np.ndarray
    deviation: np.ndarray
    reconstruction: np.ndarray

    def blend(self, weights: np.ndarray) -> np.ndarray:
        """Return the point between both predictions, at the fraction `weights` of the way."""
        blended: np.ndarray = self.gaussian + weights * (self.reconstruction - self.gaussian)
        return blended


class Calibration(NamedTuple):
    """Weights and errors of each feature.

    Attributes
    ----------
    weights : ndarray of shape (n_features,)
        Weight of the reconstruction in the imputed value, in [0, 1].
    quantiles : ndarray of shape (n_features, N_QUANTILES)
        Evenly spaced quantiles of the errors in units of ``Predictions.deviation``.
    """

    weights: np.ndarray
    quantiles: np.ndarray

    def errors(self, normal: np.ndarray) -> np.ndarray:
        """Map standard normal draws to errors in units of the deviation, by their ranks.

        Parameters
        ----------
        normal : ndarray of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        levels = np.linspace(0, 1, self.quantiles.shape[1])
        columns = zip(ndtr(normal).T, self.quantiles, strict=True)
        drawn: np.ndarray = np.column_stack(
            [np.interp(rank, levels, values) for rank, values in columns]
        )
        return drawn


def hide(X: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """Return the mask of observed values to hide, of shape (n_samples, n_features).

    Of each sample at least one value remains, and of each feature at least half.
    """
    observed = ~np.isnan(X)
    hidden: np.ndarray = observed & (random_state.uniform(size=X.shape) < HIDDEN_FRACTION)
    hidden[(hidden == observed).all(axis=1)] = False
    hidden[:, 2 * hidden.sum(axis=0) > observed.sum(axis=0)] = False
    return hidden


def calibrate(X: np.ndarray, hidden: np.ndarray, predictions: Predictions) -> Calibration:
    """Compare predictions with hidden values.

    The weight of a feature minimises the squared error on its own hidden values together with
    those of `PRIOR_FEATURES` average features, which stabilises it.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Standardised samples.
    hidden : ndarray of shape (n_samples, n_features), dtype bool
    predictions : Predictions
        Of samples without the hidden values.

    Returns
    -------
    Calibration
    """
    error = np.where(hidden, X - predictions.gaussian, 0.0)
    change = np.where(hidden, predictions.reconstruction - predictions.gaussian, 0.0)
    squares = np.square(change).sum(axis=0)
    # Minus a standard error of the sum over all features: only evidence moves a prediction.
    gains = error * change
    doubt = np.sqrt(np.square(gains).sum()) / X.shape[1]
    products = gains.sum(axis=0) - doubt
    total, n_features = squares.sum(), X.shape[1]
    common = float(np.clip(products.sum() / total, 0, 1)) if total > 0 else 0.0
    prior = PRIOR_FEATURES * total / n_features
    weights = np.full(n_features, common)
    if total > 0:
        weights = np.clip((products + prior * common) / (squares + prior), 0, 1)
    blended = predictions.blend(weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(hidden, (X - blended) / predictions.deviation, np.nan)
    return Calibration(weights, _quantiles(errors))


def _quantiles(errors: np.ndarray) -> np.ndarray:
    """Return evenly spaced quantiles of the errors of each feature, NaN apart.

    Those of few errors have the shape of the distribution of all errors, and a scale that lies
    between their own and the common one.
    """
    levels = np.linspace(0, 1, N_QUANTILES)
    counts = np.isfinite(errors).sum(axis=0)
    if not counts.any():
        return np.zeros((len(counts), N_QUANTILES))
    squares = np.nansum(np.square(errors), axis=0)
    common = squares.sum() / counts.sum()
    scales = np.sqrt((squares + PRIOR_ERRORS * common) / (counts + PRIOR_ERRORS))
    scaled = errors / np.where(scales > 0, scales, 1.0)
    shape = _conformal_quantiles(scaled[np.isfinite(scaled)], levels)
    rows = [
        scale * (_conformal_quantiles(column[np.isfinite(column)], levels) if own else shape)
        for scale, column, own in zip(scales, scaled.T, counts >= MIN_ERRORS, strict=True)
    ]
    return np.stack(rows)


def _conformal_quantiles(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return quantiles between which new values lie with the probability of the levels."""
    quantiles: np.ndarray = np.quantile(values, levels, method="weibull")
    return quantiles
