"""Densities of codes that are chosen by name: a kernel density and a mixture of Gaussians."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_random_state
from torch import Tensor

EVALUATED = 250
"""Maximum number of codes whose left-out densities choose the bandwidth of the kernels."""

BANDWIDTHS = 0.01, 3.0
"""Smallest and largest bandwidth, as multiples of Scott's rule."""

N_GAUSSIANS = 1, 2, 3, 4, 6, 8, 12, 16, 24, 32
"""Numbers of Gaussians of a mixture, tried in this order."""

PATIENCE = 2
"""Numbers of Gaussians without a better criterion after which no more are tried."""

CODES_PER_GAUSSIAN = 5
"""Minimum number of distinct codes for each Gaussian."""

FULL_COLUMNS = 64
"""Largest number of columns with full covariance matrices; beyond, they are diagonal."""

MIN_VARIANCE = 1e-3
"""Added to the variances: a Gaussian around equal codes would have an infinite likelihood."""

ROWS_AT_ONCE = 2**21
"""Maximum number of distances between codes that are computed at once."""


class CodeKernelDensity(BaseEstimator):
    """Gaussian kernel density whose bandwidth maximises the left-out log-likelihood.

    The density of a code is estimated from all codes that differ from it: with itself, or with
    copies of it, the likelihood would be largest at a bandwidth of zero. Columns without variance
    have no part in the density, and no noise in draws.

    Attributes
    ----------
    codes_ : ndarray of shape (n_samples, n_columns)
    bandwidth_ : float
    """

    def fit(self, X: np.ndarray, y: None = None) -> Self:
        """Store the codes and choose the bandwidth."""
        self.codes_ = np.asarray(X, np.float64)
        kept = self._varying(self.codes_)
        n_columns = max(1, kept.shape[1])
        scott = len(kept) ** (-1 / (n_columns + 4))
        # Evenly spaced, since the codes may be sorted.
        places = np.linspace(0, len(kept) - 1, min(EVALUATED, len(kept))).round().astype(int)
        distances = torch.from_numpy(_squared_distances(kept[places], kept))
        others = (distances > 0).sum(1)
        distances = torch.where(distances > 0, distances, torch.inf)[others > 0]
        self.bandwidth_: float = scott
        if len(distances):
            bounds = [math.log(factor * scott) for factor in BANDWIDTHS]
            found = minimize_scalar(
                lambda log: -_mean_log_density(distances, math.exp(log), n_columns),
                bounds=bounds,
                method="bounded",
                options={"xatol": 0.01},
            )
            self.bandwidth_ = math.exp(found.x)
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """Return the log-density of codes, shape (n_samples,)."""
        X = np.asarray(X, np.float64)
        kept, codes = self._varying(X), self._varying(self.codes_)
        at_once = max(1, ROWS_AT_ONCE // len(codes))
        parts = [
            _log_densities(
                torch.from_numpy(_squared_distances(kept[start : start + at_once], codes)),
                self.bandwidth_,
                kept.shape[1],
                len(codes),
            )
            for start in range(0, len(kept), at_once)
        ]
        log_density: np.ndarray = torch.cat(parts).numpy()
        return log_density

    def score(self, X: np.ndarray, y: None = None) -> float:
        """Return the total log-density of codes, as scikit-learn's ``KernelDensity`` does."""
        return float(self.score_samples(X).sum())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw codes: one of the training codes with Gaussian noise."""
        random_state = check_random_state(random_state)
        chosen = random_state.randint(len(self.codes_), size=n_samples)
        noise = random_state.standard_normal((n_samples, self.codes_.shape[1]))
        noise[:, ~self._mask()] = 0
        drawn: np.ndarray = self.codes_[chosen] + self.bandwidth_ * noise
        return drawn

    def _mask(self) -> np.ndarray:
        """Return which columns of the codes vary."""
        mask: np.ndarray = self.codes_.min(0) < self.codes_.max(0)
        return mask

    def _varying(self, X: np.ndarray) -> np.ndarray:
        return X[:, self._mask()]


def _squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return squared distances, exactly zero between equal codes."""
    distances: np.ndarray = (
        torch.cdist(
            torch.from_numpy(np.ascontiguousarray(first)),
            torch.from_numpy(np.ascontiguousarray(second)),
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        .square()
        .numpy()
    )
    return distances


def _log_densities(
    distances: Tensor, bandwidth: float, n_columns: int, n_codes: int | Tensor
) -> Tensor:
    """Return log-densities at points, given their squared distances to the codes."""
    exponents = distances / (-2 * bandwidth**2)
    normaliser = n_columns * math.log(bandwidth * math.sqrt(2 * math.pi))
    counts = torch.as_tensor(n_codes, dtype=distances.dtype)
    return exponents.logsumexp(1) - counts.log() - normaliser


def _mean_log_density(distances: Tensor, bandwidth: float, n_columns: int) -> float:
    """Return the mean log-density of codes; distances to themselves are infinite."""
    counts = distances.isfinite().sum(1)
    return float(_log_densities(distances, bandwidth, n_columns, counts).mean())


def fit_mixture(codes: np.ndarray, seed: int) -> GaussianMixture:
    """Fit a mixture of as many Gaussians as have the lowest Bayesian information criterion.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_columns)
        Standardised codes.
    seed : int

    Returns
    -------
    GaussianMixture
    """
    most = len(np.unique(codes, axis=0)) // CODES_PER_GAUSSIAN
    covariance = "full" if codes.shape[1] <= FULL_COLUMNS else "diag"
    best, lowest, n_worse = None, math.inf, 0
    for n_components in N_GAUSSIANS:
        if best is not None and (n_components > most or n_worse == PATIENCE):
            break
        mixture = GaussianMixture(
            n_components,
            covariance_type=covariance,
            reg_covar=MIN_VARIANCE,
            max_iter=1000,
            random_state=seed,
        ).fit(codes)
        criterion = mixture.bic(codes)
        n_worse += 1
        if criterion < lowest:
            best, lowest, n_worse = mixture, criterion, 0
    assert best is not None
    return best
