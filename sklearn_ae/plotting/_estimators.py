"""What is drawn: an autoencoder, alone or at the end of a pipeline, and its rows as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._estimator.inputs import check_rows, kind_of


class Chain(NamedTuple):
    """The steps of a fitted pipeline before its autoencoder, if there are any, and that.

    Attributes
    ----------
    steps : Pipeline or None
    autoencoder : BaseAutoencoder
    """

    steps: Any
    autoencoder: Any

    @classmethod
    def of(cls, estimator: Any, needs: str) -> Chain:
        """Take a fitted estimator apart; its last step must have the attribute `needs`."""
        steps = None
        last = estimator = getattr(estimator, "best_estimator_", estimator)  # of a search
        if isinstance(estimator, Pipeline):
            last = estimator[-1]
            steps = estimator[:-1] if len(estimator) > 1 else None
        if not hasattr(type(last), "fit"):
            raise ValueError(f"estimator must be a fitted autoencoder, got {last!r}.")
        check_is_fitted(last)
        if not hasattr(last, needs):
            raise ValueError(
                f"{type(last).__name__} has no {needs}, which this picture is made of. Pass a "
                f"fitted autoencoder that has, or a pipeline that ends in one: pipeline[:-1] "
                f"leaves out the last step."
            )
        return cls(steps, last)

    def prepare(self, X: Any) -> Any:
        """Take rows through the steps before the autoencoder."""
        return X if self.steps is None else self.steps.transform(X)

    def rows(self, X: Any) -> np.ndarray:
        """Return rows as they come, before any step: (n_samples, n_features)."""
        if self.steps is None:
            X = check_rows(self.autoencoder, X, reset=False)[0]
        X = X.toarray() if sp.issparse(X) else as_array(X)
        return X.reshape(len(X), -1)

    def encode(self, X: Any) -> np.ndarray:
        """Return the codes of rows."""
        return as_array(self.autoencoder.transform(self.prepare(X)))

    def decode(self, Z: np.ndarray) -> np.ndarray:
        """Return the rows of codes, in the units of the first step: (n_samples, n_features)."""
        return self._restore(self.autoencoder.inverse_transform(self.as_fitted(Z)))

    def as_fitted(self, Z: np.ndarray) -> Any:
        """Return numbers of ours as what it was fitted on: tensors under array API dispatch."""
        known = getattr(self.autoencoder, "_kind", None)
        return Z if known is None else kind_of(known).wrap(torch.from_numpy(Z))

    def reconstruct(self, X: Any) -> np.ndarray:
        """Return rows from their codes, in the units of the first step."""
        return self._restore(self.autoencoder.reconstruct(self.prepare(X)))

    def _restore(self, rows: Any) -> np.ndarray:
        rows = as_array(rows).reshape(len(rows), -1)
        if self.steps is None:
            return rows
        if not hasattr(self.steps, "inverse_transform"):
            names = [
                name
                for name, step in self.steps.steps
                if step not in (None, "passthrough") and not hasattr(step, "inverse_transform")
            ]
            raise ValueError(
                f"The pipeline's steps {names} have no inverse_transform, so what is restored "
                f"has no way back to the units of X. Pass pipeline[-1] and "
                f"pipeline[:-1].transform(X) to see it in its own."
            )
        return as_array(self.steps.inverse_transform(rows)).reshape(len(rows), -1)


def as_array(X: Any) -> np.ndarray:
    """Return frames, tensors on any device and nested lists as NumPy arrays."""
    if hasattr(X, "detach"):
        X = X.detach().cpu()
    return np.asarray(X)


def count_rows(X: Any) -> int:
    """Return the number of rows of data of any kind."""
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if not n_rows:
        raise ValueError("X has no rows; there must be one at least to draw.")
    return n_rows


def take_rows(X: Any, indices: Sequence[int]) -> Any:
    """Return some rows of data of any kind, as that kind."""
    if hasattr(X, "iloc"):
        return X.iloc[list(indices)]
    if isinstance(X, (list, tuple)):
        return [X[index] for index in indices]
    return X[list(indices)]


def choose_rows(n_rows: int, n_samples: int, indices: Any = None) -> list[int]:
    """Return the rows asked for, or `n_samples` of them, evenly spaced from first to last."""
    if indices is None:
        check_natural(n_samples, "n_samples")
        return np.linspace(0, n_rows - 1, min(n_samples, n_rows)).round().astype(int).tolist()
    chosen = np.atleast_1d(indices)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not len(chosen):
        raise ValueError(f"indices must be numbers of rows, got {indices!r}.")
    if chosen.min() < -n_rows or chosen.max() >= n_rows:
        raise ValueError(
            f"indices must be from 0 to {n_rows - 1}, the rows of X; got {indices!r}."
        )
    return [int(index) % n_rows for index in chosen]


def check_natural(value: Any, name: str, least: int = 1) -> None:
    """Refuse what is not an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
