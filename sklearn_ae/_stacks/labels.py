"""Labels of a classifier: which samples have one, and what it is."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.validation import check_consistent_length
from torch import Tensor

_MISSING = (
    "Input y contains NaN, None or NA. If these samples have no label, say so with "
    "unlabeled=np.nan; or mark them by a value of your own: y = np.where(missing, -1, y) and "
    "unlabeled=-1."
)


def check_labels(y: Any, n_samples: int, unlabeled: Any) -> tuple[np.ndarray, np.ndarray]:
    """Validate labels.

    Parameters
    ----------
    y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
        Labels. Of several per sample each is 0 or 1.
    n_samples : int
        How many there must be.
    unlabeled : object
        What stands in `y` for no label. None: every value is a label.

    Returns
    -------
    labels : ndarray of shape (n_labelled,) or (n_labelled, n_outputs)
        Labels of the samples that have one.
    labelled : ndarray of shape (n_samples,), dtype bool
        Which samples these are.

    Raises
    ------
    ValueError
        If `y` has another shape, or a missing value that does not stand for no label.
    """
    y = y.toarray() if sp.issparse(y) else as_numpy(y)
    numpy_type = getattr(getattr(y, "dtype", None), "numpy_dtype", None)  # of pandas' Int64 etc.
    if hasattr(y, "isna"):
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
    if labels.dtype.kind == "f":
        check_array(labels, ensure_2d=False, ensure_min_samples=0, input_name="y")  # infinity
    return (_as_plain(labels, numpy_type) if unlabeled is not None else labels), labelled


def _check_label_matrix(y: np.ndarray, unlabeled: Any) -> tuple[np.ndarray, np.ndarray]:
    """Validate several labels per sample, each 0 or 1; all of a sample are there, or none."""
    if unlabeled is not None and not is_labelled(np.array([0, 1]), unlabeled).all():
        raise ValueError(
            f"unlabeled={unlabeled!r} is a label where y is of shape (n_samples, n_outputs); mark "
            f"samples without labels by another value, such as -1, in all their columns."
        )
    given = is_labelled(y, unlabeled)
    labelled = np.all(given, axis=1)
    if (given.any(1) != labelled).any():
        raise ValueError(
            f"y has samples of which some labels are {unlabeled!r} and others are not; a sample "
            f"has all its labels, or none."
        )
    labels = y[labelled]
    if is_missing(labels).any():
        raise ValueError(_MISSING)
    if labels.dtype.kind not in "biufO" or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            f"Unknown label type: y is of shape (n_samples, {y.shape[1]}), so its values must be "
            f"0 or 1, one column for each label that a sample may have; got "
            f"{np.unique(labels.astype(str))[:5].tolist()}."
        )
    return labels.astype(int), labelled


def as_numpy(y: Any) -> Any:
    """Return labels that are a tensor, or an array of another library, as a NumPy array.

    On an accelerator they are copied: heads and metrics are scikit-learn's.
    """
    if not isinstance(y, Tensor) and hasattr(y, "__array_namespace__"):
        y = y if isinstance(y, np.ndarray) else torch.from_dlpack(y)
    if not isinstance(y, Tensor):
        return y
    y = y.detach().cpu()
    return (y.float() if y.dtype == torch.bfloat16 else y).numpy()


def is_labelled(y: np.ndarray, unlabeled: Any) -> np.ndarray:
    """Return which values are labels: all but `unlabeled`.

    A missing value as `unlabeled` stands for all kinds of them: NaN, None and NA. NumPy turns
    numbers into text when it makes an array of numbers and strings, so among strings the text of
    `unlabeled` is no label either.
    """
    if unlabeled is None:
        return np.ones(y.shape, bool)
    missing = _is_missing_value(unlabeled)
    text = "nan" if missing else str(unlabeled)
    if y.dtype.kind == "U":
        return y != text
    if missing:
        return ~is_missing(y)
    if y.dtype.kind == "O":
        flat = [not _is_same(value, unlabeled, text) for value in y.ravel().tolist()]
        return np.array(flat, bool).reshape(y.shape)
    if isinstance(unlabeled, str):  # there are no strings among numbers
        return np.ones(y.shape, bool)
    return y != unlabeled


def is_missing(y: np.ndarray) -> np.ndarray:
    """Return which values are NaN, None or pandas' NA and NaT."""
    if y.dtype.kind == "f":
        return np.isnan(y)
    if y.dtype.kind != "O":
        return np.zeros(y.shape, bool)
    flat = [_is_missing_value(value) for value in y.ravel().tolist()]
    return np.array(flat, bool).reshape(y.shape)


def _is_missing_value(value: Any) -> bool:
    if value is None or type(value).__name__ == "NAType":  # pandas' NA equals nothing, not even NA
        return True
    return bool(value != value)


def _is_same(value: Any, unlabeled: Any, text: str) -> bool:
    if _is_missing_value(value):
        return False
    return bool(value == (text if isinstance(value, str) else unlabeled))


def _as_plain(labels: np.ndarray, numpy_type: Any) -> np.ndarray:
    """Return labels without the marker as the type that they have by themselves.

    Beside a marker integers may stand in an array of objects, which scikit-learn refuses.
    """
    if labels.dtype.kind != "O":
        return labels
    if numpy_type is not None:
        return labels.astype(numpy_type)
    plain = np.array(labels.tolist())
    return plain if plain.dtype.kind in "biuf" else labels


def warn_of_marker(classes: np.ndarray, counts: np.ndarray) -> None:
    """Warn where -1, taken as a class, looks as if it stood for no label.

    With two classes beside it or more, of which it outnumbers all others together.
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
    """Return the message for labels of fewer than two classes."""
    names = ", ".join(repr(name) for name in classes.tolist()) or "none"
    message = f"The labelled samples have {len(classes)} class ({names}); at least two are needed."
    if n_unlabelled:
        message += (
            f" y is {unlabeled!r} in {n_unlabelled} samples, which by unlabeled={unlabeled!r} "
            f"means that they have no label. If it is a class, set unlabeled=None."
        )
    return message
