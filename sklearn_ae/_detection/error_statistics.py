"""What errors of reconstruction have in common, how large they normally are, and thresholds."""

from __future__ import annotations

import numpy as np

RIDGE = 0.01
"""What is added to the eigenvalues of the correlations of errors."""

LEAST_SCALE = 1e-3
"""Least normal error, as a share of the root mean square error."""

FAR = 1e150
"""Farther from the normal than this no row is said to be: squares and sums are still held."""


def normal_error(error: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the medians of each feature's error, or what stands for them where that is dust."""
    error = np.abs(error)
    mean_square = weight @ np.square(error) / weight.sum()
    scale = np.maximum(weighted_median(error, weight), LEAST_SCALE * np.sqrt(mean_square))
    return np.maximum(scale, LEAST_SCALE * np.sqrt(mean_square.mean()) + 1e-12)


def squared_ratio(error: np.ndarray, scale: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.square(np.minimum(error / scale, FAR))


def error_covariance(
    error: np.ndarray, weight: np.ndarray, trim: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""Learn from errors what they have in common.

    With :math:`C` the correlations (about zero) of the errors, :math:`(C + \lambda I)^{-1}` is,
    up to a factor, :math:`I - B^T B`. The share ``trim`` of the samples, those with the worst
    errors, is left out: a group of outliers would make its own direction look normal.

    Returns
    -------
    spread : ndarray of shape (n_features,)
        Root mean square errors.
    common : ndarray of shape (min(n_samples, n_features), n_features), dtype float32
        The matrix :math:`B`.
    """
    score = -np.log1p(squared_ratio(np.abs(error), normal_error(error, weight))).mean(axis=1)
    usual = score >= lower_threshold(score, weight, trim)
    error, weight = error[usual], weight[usual] / weight[usual].sum()
    spread = np.sqrt(weight @ np.square(error))
    spread = np.maximum(spread, LEAST_SCALE * np.sqrt(np.square(spread).mean()) + 1e-12)
    A = np.sqrt(weight)[:, None] * (error / spread)
    if len(A) < A.shape[1]:  # the smaller of two matrices with the same eigenvalues
        values, vectors = np.linalg.eigh(A @ A.T)
        common = (vectors / np.sqrt(np.maximum(values, 0) + RIDGE)).T @ A
    else:
        values, vectors = np.linalg.eigh(A.T @ A)
        values = np.maximum(values, 0)
        common = (vectors * np.sqrt(values / (values + RIDGE))).T
    return spread, common.astype(np.float32)


def decorrelate(error: np.ndarray, spread: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Subtract from the error of each feature what the errors of the others predict.

    The errors are multiplied by the inverse of their regularised covariance: up to a factor a
    feature, these are the residuals of the regression of each error on all others.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
    """
    with np.errstate(over="ignore"):
        error = np.clip(error / spread, -FAR, FAR)
    return error - (error @ common.T) @ common


def weighted_median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Median of each column: a sample of weight two counts as two samples."""
    order, half = np.argsort(values, axis=0), weight.sum() / 2
    lower, upper = (_at_weight(values, order, weight, half, upper=u) for u in (False, True))
    return (lower + upper) / 2


def _at_weight(
    values: np.ndarray, order: np.ndarray, weight: np.ndarray, target: float, *, upper: bool
) -> np.ndarray:
    """Return the first sorted value of each column with ``target`` weight up to it, or more."""
    total = np.cumsum(weight[order], axis=0)
    rounding = 1e-12 * total[-1]
    short = total <= target + rounding if upper else total < target - rounding
    place = np.minimum(short.sum(axis=0), len(values) - 1)
    return np.take_along_axis(values, order, axis=0)[place, np.arange(values.shape[1])]


def lower_threshold(scores: np.ndarray, weight: np.ndarray, share: float) -> float:
    """Return what a ``share`` of the scores, counted by weight, lies below, and of fresh ones.

    It is halfway between the two scores that part the training samples as asked for, so that
    rounding errors do not reach it. With k of n scores below, a fresh one is below with a
    probability of about (k + 1/2) / (n + 1). Where none is, the threshold is below the least score
    by half of the gap above that.
    """
    order = np.argsort(scores)
    total = np.cumsum(weight[order])
    place = int(np.searchsorted(total, share * total[-1] * (1 + 1e-9), side="right"))
    above = scores[order[min(place, len(order) - 1)]]
    rounding = 1e-10 * max(1.0, abs(above))
    below = scores[scores < above - rounding]
    if len(below):
        return float((below.max() + above) / 2)
    beyond = scores[scores > above + rounding]
    gap = beyond.min() - above if len(beyond) else 0.0
    return float(above - max(gap / 2, rounding))


def conformal_p_values(
    scores: np.ndarray, held_out: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """Place scores among held-out ones: 1 + the number of those no larger, over 1 + their number.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
    held_out : ndarray of shape (n_training_samples,)
        In either floating-point type; NaN for samples of weight zero.
    weight : ndarray of shape (n_training_samples,) or None
    """
    order = np.argsort(held_out)[: np.count_nonzero(~np.isnan(held_out))]
    counted = np.ones(len(order)) if weight is None else weight[order]
    below = np.concatenate([[0.0], np.cumsum(counted)])
    # A tie counts against the sample, also where rounding has hidden it.
    rounding = max(1e-9, np.finfo(held_out.dtype).eps)
    tied = scores + rounding * np.clip(np.abs(scores), 1.0, 1e300)  # -inf stays what it is
    place = np.searchsorted(held_out[order].astype(np.float64), tied, side="right")
    return (1 + below[place]) / (1 + below[-1])
