"""Sequences of different lengths: padding with NaN, and validation of padded arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from torch import Tensor


def is_sequences(X: Any) -> bool:
    """Return whether `X` consists of sequences: of arrays, or of lists of unequal lengths."""
    if isinstance(X, np.ndarray) or hasattr(X, "to_numpy"):
        if getattr(X, "ndim", 2) != 1:
            return False
        values: np.ndarray = X if isinstance(X, np.ndarray) else X.to_numpy()
        return values.ndim == 1 and values.dtype.kind == "O"
    if not isinstance(X, (list, tuple)) or not all(hasattr(x, "__len__") for x in X):
        return False
    arrays = all(isinstance(x, (np.ndarray, Tensor)) for x in X)
    return arrays or len({len(x) for x in X}) > 1


def refuse_ragged(X: Any, name: str) -> None:
    """Raise an error if samples have different lengths, for an estimator that needs one length."""
    if not is_sequences(X):
        return
    lengths = {len(x) for x in X if isinstance(x, (list, tuple, np.ndarray, Tensor))}
    if len(lengths) > 1:
        raise ValueError(
            f"X contains samples of different lengths, from {min(lengths)} to {max(lengths)}, but "
            f"{name} needs samples of one length. LSTMAutoencoder and RecursiveAutoencoder take "
            f"different lengths, as do other estimators with an LSTMNetwork or a RecursiveNetwork."
        )


def pad(sequences: list[np.ndarray], n_steps: int | None) -> np.ndarray:
    """Return sequences as an array of shape (n_samples, n_steps, ...), padded with NaN.

    Each sequence has the shape (length,) or (length, n_channels). `n_steps` is the length of the
    array; None: that of the longest sequence.

    Raises
    ------
    ValueError
        If a sequence is empty or too long, or if their channels differ.
    """
    shapes = {sequence.shape[1:] for sequence in sequences}
    lengths = [len(sequence) if sequence.ndim else 0 for sequence in sequences]
    if len(shapes) != 1 or min(lengths, default=0) < 1:
        raise ValueError(
            "X must contain at least one sequence, and all of them must have at least one step "
            "and one shape of steps: arrays of shape (length,) or (length, n_channels). Got steps "
            f"of shapes {sorted(shapes)} and a shortest length of {min(lengths, default=0)}."
        )
    if n_steps is not None and max(lengths) > n_steps:
        raise ValueError(
            f"X contains a sequence of {max(lengths)} steps, more than the {n_steps} of the "
            f"network. Set n_steps to the length of the longest sequence to be expected."
        )
    dtype = np.result_type(np.float32, *{sequence.dtype for sequence in sequences})
    padded = np.full((len(lengths), n_steps or max(lengths), *shapes.pop()), np.nan, dtype)
    for sample, sequence in zip(padded, sequences, strict=True):
        sample[: len(sequence)] = sequence
    return padded


def check_missing(X: Any, step_size: int) -> None:
    """Raise an error unless NaN stands for whole steps at the end of samples only."""
    # In chunks: the masks of a large memory map would be large as well.
    for start in range(0, X.shape[0], 1024):
        part = X[start : start + 1024]
        # A data frame with sparse columns becomes a sparse matrix.
        part = part.toarray() if sp.issparse(part) else part
        missing = part != part  # NaN, in arrays and tensors alike
        counts = missing.sum(1)
        resumed = (missing[:, :-1] & ~missing[:, 1:]).any()
        if resumed or (counts % step_size != 0).any() or (counts == X.shape[1]).any():
            raise ValueError(
                "X contains NaN that is not the end of a sequence. NaN may only stand for whole "
                f"steps, of {step_size} value(s) each, after the last step of a sample, and not "
                "for all of them. Impute other missing values."
            )
