"""Samples with values so large that an outlier detector cannot be fitted on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp


def limit_of(dtype: Any) -> float:
    """Return the size from which `dtype` does not hold squares, or float32 the values."""
    return 2.0**63 if dtype == np.float32 else 2.0**127


def check_size(X: Any) -> None:
    """Refuse an array or a CSR matrix with values of that size."""
    if is_far(X).any():
        raise ValueError(f"X has values as large as {_largest(X):g}; rescale X.")


def _largest(X: Any) -> float:
    return max(float(X.max()), -float(X.min()))


def is_far(X: Any) -> np.ndarray:
    """Return which samples have a value of that size, shape (n_samples,)."""
    limit = limit_of(X.dtype)
    if _largest(X) < limit:
        return np.zeros(X.shape[0], bool)
    if not sp.issparse(X):
        return ((limit <= X) | (-limit >= X)).any(axis=1)
    far = np.flatnonzero(np.abs(X.data) >= limit)
    return np.isin(np.arange(X.shape[0]), np.searchsorted(X.indptr, far, side="right") - 1)


def within_limit(flat: Any, X: Any) -> tuple[Any, Any]:
    """Bound the values of samples by that size: of an array or a CSR matrix, and its frame."""
    if not is_far(flat).any():
        return flat, X
    limit = limit_of(flat.dtype)
    if sp.issparse(flat):
        flat = flat.copy()
        flat.data = flat.data.clip(-limit, limit)
    else:
        flat = flat.clip(-limit, limit)
    return flat, frame_like(X, flat, X.columns) if hasattr(X, "columns") else X


def frame_like(X: Any, values: Any, names: Any) -> Any:
    """Return a frame of the library of another one, with its index."""
    values = values.toarray() if sp.issparse(values) else values
    if hasattr(X, "index"):
        return type(X)(values, index=X.index, columns=names)
    return type(X)(values, schema=list(names))
