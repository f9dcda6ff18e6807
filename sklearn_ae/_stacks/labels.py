"""Labels of a classifier: which samples have one, and which label it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.validation import check_consistent_length
from torch import Tensor

from sklearn_ae._estimator.inputs import check_weight, from_other_library

_MISSING = (
    "Input y contains NaN, None or NA. If these samples have no label, set unlabeled=np.nan, or "
    "mark them by another value: y = np.where(missing, -1, y) and unlabeled=-1."
)
"""Message for missing values that `unlabeled` does not allow."""


def check_labels(y: Any, n_samples: int, unlabeled: Any) -> tuple[np.ndarray, np.ndarray]:
    """Validate labels, and separate them from the marks of samples without one.

    Parameters
    ----------
    y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
        Labels. With several per sample, each is 0 or 1.
    n_samples : int
        Required number of samples.
    unlabeled : object
        Value in `y` that marks a sample without a label. None: every value is a label.

    Returns
    -------
    labels : ndarray of shape (n_labelled,) or (n_labelled, n_outputs)
        Labels of the labelled samples.
    labelled : ndarray of shape (n_samples,), dtype bool
        Whether a sample has a label.

    Raises
    ------
    ValueError
        If `y` has another shape, or contains a missing value that `unlabeled` does not mark.
    """
    y = y.toarray() if sp.issparse(y) else as_numpy(y)
    numpy_type = getattr(getattr(y, "dtype", None), "numpy_dtype", None)  # of pandas' Int64 etc.
    if hasattr(y, "isna"):
        # Only objects can hold NA beside integers; without NA the plain NumPy type is exact.
        y = y.to_numpy(dtype=object if np.asarray(y.isna()).any() else numpy_type)
    y = check_array(y, ensure_2d=False, dtype=None, ensure_all_finite=False, input_name="y")
    check_consistent_length(range(n_samples), y)
    if y.ndim == 2 and y.shape[1] > 1:
        return _check_label_matrix(y, unlabeled)
    y = column_or_1d(y, warn=True)
    labelled = is_labelled(y, unlabeled)
    labels = y[labelled]
    if is_missing(labels).any():
        raise ValueError(_MISSING)
    if labels.dtype.kind == "f":  # NaN is refused above; this call refuses infinity
        check_array(labels, ensure_2d=False, ensure_min_samples=0, input_name="y")
    return (_as_plain(labels, numpy_type) if unlabeled is not None else labels), labelled


def _check_label_matrix(y: np.ndarray, unlabeled: Any) -> tuple[np.ndarray, np.ndarray]:
    """Validate several labels per sample, each 0 or 1; a sample has all its labels or none."""
    if unlabeled is not None and not is_labelled(np.array([0, 1]), unlabeled).all():
        raise ValueError(
            f"unlabeled={unlabeled!r} is a label if y has shape (n_samples, n_outputs); mark "
            f"samples without labels by another value, such as -1, in all columns."
        )
    given = is_labelled(y, unlabeled)
    labelled = np.all(given, axis=1)
    if (given.any(1) != labelled).any():
        raise ValueError(
            f"y has samples with some labels equal to {unlabeled!r} and others not; a sample must "
            f"have all its labels or none."
        )
    labels = y[labelled]
    if is_missing(labels).any():
        raise ValueError(_MISSING)
    if labels.dtype.kind not in "biufO" or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            f"Unknown label type: y has shape (n_samples, {y.shape[1]}), so its values must be "
            f"0 or 1, with one column for each label that a sample may have; got "
            f"{np.unique(labels.astype(str))[:5].tolist()}."
        )
    return labels.astype(int), labelled


def as_numpy(y: Any) -> Any:
    """Convert a tensor or an array of another library to a NumPy array; return others unchanged.

    Labels on an accelerator are copied, since scikit-learn's heads and metrics run on the CPU.
    """
    if not isinstance(y, Tensor) and hasattr(y, "__array_namespace__"):
        y = y if isinstance(y, np.ndarray) else from_other_library(y)
    if not isinstance(y, Tensor):
        return y
    y = y.detach().cpu()
    return (y.float() if y.dtype == torch.bfloat16 else y).numpy()  # NumPy has no bfloat16


def is_labelled(y: np.ndarray, unlabeled: Any) -> np.ndarray:
    """Return which values are labels: all but `unlabeled`.

    If `unlabeled` is a missing value, all missing values (NaN, None, NA) mark samples without a
    label. NumPy converts numbers to text if it builds an array of numbers and strings; in arrays
    of strings, the text of `unlabeled` is therefore a mark as well.
    """
    labelled: np.ndarray = np.ones(y.shape, bool)
    if unlabeled is None:
        return labelled
    missing = _is_missing_value(unlabeled)
    text = "nan" if missing else str(unlabeled)
    if y.dtype.kind == "U":
        labelled = y != text
    elif missing:
        labelled = ~is_missing(y)
    elif y.dtype.kind == "O":
        flat = [not _is_same(value, unlabeled, text) for value in y.ravel().tolist()]
        labelled = np.array(flat, bool).reshape(y.shape)
    elif not isinstance(unlabeled, str):  # an array of numbers contains no strings
        labelled = y != unlabeled
    return labelled


def is_missing(y: np.ndarray) -> np.ndarray:
    """Return which values are NaN, None or pandas' NA and NaT."""
    missing: np.ndarray = np.zeros(y.shape, bool)
    if y.dtype.kind == "f":
        missing = np.isnan(y)
    elif y.dtype.kind == "O":
        flat = [_is_missing_value(value) for value in y.ravel().tolist()]
        missing = np.array(flat, bool).reshape(y.shape)
    return missing


def _is_missing_value(value: Any) -> bool:
    if value is None or type(value).__name__ == "NAType":  # pandas' NA equals nothing, not even NA
        return True
    return bool(value != value)  # true for NaN and NaT only


def _is_same(value: Any, unlabeled: Any, text: str) -> bool:
    """Whether a value in an array of objects is the mark `unlabeled`, or its text."""
    if _is_missing_value(value):
        return False
    return bool(value == (text if isinstance(value, str) else unlabeled))


def _as_plain(labels: np.ndarray, numpy_type: Any) -> np.ndarray:
    """Convert labels to the type that they have without the mark.

    Integers beside a mark such as None form an array of objects, which scikit-learn refuses.
    """
    if labels.dtype.kind != "O":
        return labels
    if numpy_type is not None:
        return labels.astype(numpy_type)
    plain = np.array(labels.tolist())
    return plain if plain.dtype.kind in "biuf" else labels


def score_labelled(
    metric: Callable[..., float],
    y: np.ndarray,
    predicted: np.ndarray,
    labelled: np.ndarray,
    sample_weight: Any,
) -> float:
    """Evaluate predictions on the labelled samples.

    Parameters
    ----------
    metric : callable
        ``metric(y, predicted, sample_weight=...)`` of scikit-learn.
    y : ndarray of shape (n_labelled,) or (n_labelled, n_outputs)
        Labels or targets of the labelled samples.
    predicted : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Predictions for all samples.
    labelled : ndarray of shape (n_samples,), dtype bool
    sample_weight : array-like of shape (n_samples,) or None
    """
    weight = check_weight(sample_weight, len(predicted))
    of_labelled = None if weight is None else weight.numpy()[labelled]
    return float(metric(y, predicted[labelled], sample_weight=of_labelled))


def warn_of_marker(classes: np.ndarray, counts: np.ndarray) -> None:
    """Warn if the class -1 probably marks samples without a label.

    This is assumed if there are at least two other classes, and -1 is more frequent than all of
    them together.
    """
    count = int(counts[~is_labelled(classes, -1)].sum())
    if len(classes) < 3 or 2 * count <= counts.sum():
        return
    warnings.warn(
        f"y is -1 in {count} of {counts.sum()} samples, and -1 is trained as a class "
        f"like the {len(classes) - 1} others. If it marks samples without a label, set "
        f"unlabeled=-1.",
        UserWarning,
        stacklevel=2,
    )


def too_few(classes: np.ndarray, n_unlabelled: int, unlabeled: Any) -> str:
    """Return the error message for labels of fewer than two classes."""
    names = ", ".join(repr(name) for name in classes.tolist()) or "none"
    message = f"The labelled samples have {len(classes)} class ({names}); at least two are needed."
    if n_unlabelled:
        message += (
            f" y is {unlabeled!r} in {n_unlabelled} samples, which under unlabeled={unlabeled!r} "
            f"have no label. If this value is a class, set unlabeled=None."
        )
    return message
