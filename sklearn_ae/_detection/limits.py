"""Samples with values so large that an outlier detector cannot be fitted on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp


def limit_of(dtype: Any) -> float:
    """Return the absolute value from which squares overflow `dtype`, or values float32."""
    return 2.0**63 if dtype == np.float32 else 2.0**127


def far_samples(X: Any) -> np.ndarray:
    """Return which samples of an array or CSR matrix have a value beyond the limit.

    Returns
    -------
    ndarray of shape (n_samples,), dtype bool
    """
    limit = limit_of(X.dtype)
    far: np.ndarray = np.zeros(X.shape[0], bool)
    if _largest(X) < limit:  # nearly always; needs no array of the size of X
        return far
    if sp.issparse(X):
        places = np.flatnonzero(np.abs(X.data) >= limit)
        # indptr has the place of the first value of each sample, so the last one up to a place
        # is that of its sample.
        far[np.searchsorted(X.indptr, places, side="right") - 1] = True
    else:
        far = ((limit <= X) | (-limit >= X)).any(axis=1)
    return far


def check_size(X: Any, far: np.ndarray) -> None:
    """Raise if any sample is far; see :func:`far_samples`."""
    if far.any():
        raise ValueError(f"X has values as large as {_largest(X):g}; rescale X.")


def within_limit(flat: Any, X: Any, far: np.ndarray) -> tuple[Any, Any]:
    """Clip values to the limit.

    Parameters
    ----------
    flat : ndarray or CSR matrix of shape (n_samples, n_features)
    X : object
        The same samples as passed by the user. It is clipped, too, if it is a DataFrame.
    far : ndarray of shape (n_samples,), dtype bool
        From :func:`far_samples`.

    Returns
    -------
    flat, X : tuple
        The arguments themselves if no sample is far.
    """
    if not far.any():
        return flat, X
    limit = limit_of(flat.dtype)
    if sp.issparse(flat):
        flat = flat.copy()
        flat.data = flat.data.clip(-limit, limit)
    else:
        flat = flat.clip(-limit, limit)
    return flat, frame_like(X, flat, X.columns) if hasattr(X, "columns") else X


def frame_like(X: Any, values: Any, names: Any) -> Any:
    """Return values as a DataFrame of the library of ``X``, with the index of ``X`` if any."""
    values = values.toarray() if sp.issparse(values) else values
    if hasattr(X, "index"):  # pandas
        return type(X)(values, index=X.index, columns=names)
    return type(X)(values, schema=list(names))  # polars


def _largest(X: Any) -> float:
    """Return the largest absolute value, without an array of absolute values."""
    return max(float(X.max()), -float(X.min()))
