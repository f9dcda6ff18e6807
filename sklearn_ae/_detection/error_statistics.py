"""Scales and covariance of reconstruction errors, thresholds and p-values of scores."""

from __future__ import annotations

import numpy as np

RIDGE = 0.01
"""Regularisation: added to the eigenvalues of the correlation matrix of the errors."""

MIN_SCALE = 1e-3
"""Minimum scale of an error, as a fraction of the root mean square error."""

FAR = 1e150
"""Maximum of a scaled error: its square, and sums of squares, do not overflow float64."""


def normal_error(error: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the median absolute error of each feature, shape (n_features,).

    The median has a lower bound, relative to the root mean square error of the feature and of all
    features: a median of rounding errors would make every other error an anomaly. That of a
    feature that is missing in all samples, such as a step after the end of all sequences, is the
    mean of the other medians.

    Parameters
    ----------
    error : ndarray of shape (n_samples, n_features)
        NaN where a value is missing, which is ignored.
    weight : ndarray of shape (n_samples,)
    """
    error = np.abs(error)
    mean_square = mean_of_squares(error, weight)
    of_feature = MIN_SCALE * np.sqrt(mean_square)
    of_all = MIN_SCALE * np.sqrt(mean_square.mean()) + 1e-12
    scale: np.ndarray = np.maximum(weighted_median(error, weight), np.maximum(of_feature, of_all))
    unseen = np.isnan(error).all(axis=0)
    if unseen.any() and not unseen.all():
        scale[unseen] = scale[~unseen].mean()
    return scale


def mean_of_squares(error: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the mean square of each column without NaN; zero if nothing else is there."""
    seen = ~np.isnan(error)
    total = np.maximum(weight @ seen, np.finfo(float).tiny)
    mean: np.ndarray = weight @ np.square(np.where(seen, error, 0.0)) / total
    return mean


def mean_of_terms(terms: np.ndarray) -> np.ndarray:
    """Return the mean of each row without NaN; zero if nothing else is there."""
    seen = ~np.isnan(terms)
    mean: np.ndarray = np.where(seen, terms, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    return mean


def squared_ratio(error: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return squared scaled errors, limited such that they do not overflow."""
    with np.errstate(over="ignore"):
        square: np.ndarray = np.square(np.minimum(error / scale, FAR))
    return square


def error_covariance(
    error: np.ndarray, weight: np.ndarray, trim: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""Estimate the covariance of the errors, which :func:`decorrelate` uses.

    With :math:`C` the matrix of uncentred correlations of the errors, :math:`(C + \lambda I)^{-1}`
    is, up to a factor, :math:`I - B^T B`. The fraction ``trim`` of the samples with the largest
    errors is left out, since a group of outliers would reduce the scores along its direction.

    Parameters
    ----------
    error : ndarray of shape (n_samples, n_features)
        NaN where a value is missing.
    weight : ndarray of shape (n_samples,)
    trim : float

    Returns
    -------
    spread : ndarray of shape (n_features,)
        Root mean square errors.
    common : ndarray of shape (min(n_samples, n_features), n_features), dtype float32
        The matrix :math:`B`.
    """
    ratio = squared_ratio(np.abs(error), normal_error(error, weight))
    score = -mean_of_terms(np.log1p(ratio))
    kept = score >= lower_threshold(score, weight, trim)
    error, weight = error[kept], weight[kept] / weight[kept].sum()
    spread = np.sqrt(mean_of_squares(error, weight))
    spread = np.maximum(spread, MIN_SCALE * np.sqrt(np.square(spread).mean()) + 1e-12)
    # A missing error is none: this shrinks correlations towards zero.
    A = np.sqrt(weight)[:, None] * (np.nan_to_num(error) / spread)
    # C = A^T A. A A^T has the same non-zero eigenvalues; the smaller matrix is decomposed.
    if len(A) < A.shape[1]:
        values, vectors = np.linalg.eigh(A @ A.T)
        common = (vectors / np.sqrt(np.maximum(values, 0) + RIDGE)).T @ A
    else:
        values, vectors = np.linalg.eigh(A.T @ A)
        values = np.maximum(values, 0)
        common = (vectors * np.sqrt(values / (values + RIDGE))).T
    return spread, common.astype(np.float32)


def decorrelate(error: np.ndarray, spread: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Subtract from the error of each feature what the errors of the others predict.

    The errors are multiplied by the inverse of their regularised covariance. Up to one factor per
    feature, the results are the residuals of the regression of each error on all others.

    Parameters
    ----------
    error : ndarray of shape (n_samples, n_features)
        NaN where a value is missing, which predicts nothing.
    spread, common : ndarray
        From :func:`error_covariance`.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
        NaN where `error` is.
    """
    with np.errstate(over="ignore"):
        error = np.clip(error / spread, -FAR, FAR)
    # No matrix of shape (n_features, n_features).
    residual: np.ndarray = error - (np.nan_to_num(error) @ common.T) @ common
    return residual


def weighted_median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the median of each column, where a sample of weight two counts as two samples.

    NaN is ignored. The median of a column of NaN is zero.
    """
    seen = ~np.isnan(values)
    values = np.where(seen.any(axis=0), values, 0.0)
    order = np.argsort(values, axis=0)  # NaN comes last
    half = weight @ np.where(seen.any(axis=0), seen, True) / 2
    # They differ where exactly half of the weight is on either side, as for an even number.
    lower, upper = (_at_weight(values, order, weight, half, upper=u) for u in (False, True))
    median: np.ndarray = (lower + upper) / 2
    return median


def _at_weight(
    values: np.ndarray, order: np.ndarray, weight: np.ndarray, target: np.ndarray, *, upper: bool
) -> np.ndarray:
    """Return the first sorted value of each column at which the cumulated weight is its target.

    With ``upper`` it is the first one at which the cumulated weight exceeds its target.
    """
    total = np.cumsum(weight[order], axis=0)  # (n_samples, n_columns)
    rounding = 1e-12 * total[-1]
    short = total <= target + rounding if upper else total < target - rounding
    place = np.minimum(short.sum(axis=0), len(values) - 1)
    value: np.ndarray = np.take_along_axis(values, order, axis=0)[
        place, np.arange(values.shape[1])
    ]
    return value


def lower_threshold(scores: np.ndarray, weight: np.ndarray, fraction: float) -> float:
    """Return a threshold with a fraction of the scores, counted by weight, below it.

    It is the middle of the gap between the two scores that it separates, so that rounding errors
    of scores do not matter. With k of n scores below it, a new score is below it with probability
    of about (k + 1/2) / (n + 1). If k is zero, the threshold is below the lowest score by half of
    the gap between this and the next one.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
    weight : ndarray of shape (n_samples,)
    fraction : float
    """
    order = np.argsort(scores)
    total = np.cumsum(weight[order])
    # The factor: a weight that equals the fraction up to rounding is below the threshold.
    place = int(np.searchsorted(total, fraction * total[-1] * (1 + 1e-9), side="right"))
    above = scores[order[min(place, len(order) - 1)]]
    rounding = 1e-10 * max(1.0, abs(above))  # scores that are equal up to this are equal
    below = scores[scores < above - rounding]
    if len(below):
        return float((below.max() + above) / 2)
    beyond = scores[scores > above + rounding]
    gap = beyond.min() - above if len(beyond) else 0.0
    return float(above - max(gap / 2, rounding))


def conformal_p_values(
    scores: np.ndarray, held_out: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """Return the conformal p-value of each score.

    It is ``(1 + n_lower) / (1 + n)`` if ``n_lower`` of n held-out scores are at most the score.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
    held_out : ndarray of shape (n_training_samples,)
        Held-out scores, float32 or float64; NaN for samples of weight zero.
    weight : ndarray of shape (n_training_samples,) or None

    Returns
    -------
    ndarray of shape (n_samples,)
    """
    # NaN is sorted to the end.
    order = np.argsort(held_out)[: np.count_nonzero(~np.isnan(held_out))]
    counted = np.ones(len(order)) if weight is None else weight[order]
    below = np.concatenate([[0.0], np.cumsum(counted)])
    # Equal scores count as lower ones, also if they are equal only up to rounding.
    rounding = max(1e-9, np.finfo(held_out.dtype).eps)
    tied = scores + rounding * np.clip(np.abs(scores), 1.0, 1e300)  # finite: -inf stays -inf
    place = np.searchsorted(held_out[order].astype(np.float64), tied, side="right")
    p_values: np.ndarray = (1 + below[place]) / (1 + below[-1])
    return p_values
