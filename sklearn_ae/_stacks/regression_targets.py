"""Targets of a regressor: which samples have one, and the units that training uses."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length
from torch import Tensor

from sklearn_ae._stacks.head_training import Labels
from sklearn_ae._stacks.labels import as_numpy


def check_targets(y: Any, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Validate targets.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets, NaN for samples without one.
    n_samples : int
        Required number of samples.

    Returns
    -------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    missing : ndarray of shape (n_samples, n_outputs), dtype bool
        Which targets are NaN.
    """
    options = {"ensure_2d": False, "dtype": "numeric", "input_name": "y"}
    y = check_array(as_numpy(y), ensure_all_finite="allow-nan", **options)
    check_consistent_length(range(n_samples), y)
    return y, np.isnan(y.reshape(n_samples, -1).astype(np.float64))


def regression_targets(
    regressor: Any, y: Any, n_samples: int, weight: Tensor | None, resume: bool, one_pass: bool
) -> Labels:
    """Validate targets, and set their mean and scale unless an earlier fit is continued.

    Parameters
    ----------
    regressor : StackedAutoencoderRegressor
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    n_samples : int
    weight : Tensor of shape (n_samples,) or None
    resume : bool
        Whether to continue an earlier fit.
    one_pass : bool
        Whether to train for one pass over one chunk of the data.

    Returns
    -------
    Labels
        Its targets are centred and scaled.
    """
    y, missing = check_targets(y, n_samples)
    if (missing.any(1) != missing.all(1)).any():
        raise ValueError(
            "y has samples with some targets that are NaN and others that are not; a sample must "
            "have all its targets or none."
        )
    labelled = ~np.any(missing, axis=1)
    if weight is not None:
        labelled &= weight.numpy() > 0
    if not labelled.any() and not (resume and one_pass):
        raise ValueError("y has no target that is not NaN, of a sample with a positive weight.")
    targets = y.reshape(n_samples, -1).astype(np.float64)
    if not resume:
        weights = None if weight is None else weight.numpy()[labelled]
        regressor._y_mean, regressor._y_scale = _mean_and_scale(targets[labelled], weights)
        regressor._y_ndim = y.ndim
    elif len(regressor._y_mean) != targets.shape[1]:
        raise ValueError(
            f"y had {len(regressor._y_mean)} targets and has {targets.shape[1]} now, so training "
            f"cannot continue; use a new estimator, or warm_start=False."
        )
    # Zero, the mean, replaces NaN: no loss is computed from it, but it must not propagate.
    scaled = np.nan_to_num((targets - regressor._y_mean) / regressor._y_scale)
    strata = np.zeros(n_samples, int)
    return Labels(y, scaled, labelled, weight, strata, targets.shape[1])


def _mean_and_scale(
    targets: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of each target, or 1 if it is constant."""
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported below
        mean = np.average(targets, axis=0, weights=weights)
        variance = np.average((targets - mean) ** 2, axis=0, weights=weights)
    if not np.isfinite(variance).all():
        raise ValueError("y has values so large that their variance overflows; rescale y.")
    return mean, np.where(variance > 0, np.sqrt(variance), 1.0)
