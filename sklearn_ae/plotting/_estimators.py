"""Autoencoders, alone or as the last step of a pipeline, and their samples as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._estimator.inputs import array_type_of, check_samples
from sklearn_ae._estimator.tables import table_of


class SplitPipeline(NamedTuple):
    """A fitted pipeline, split into the autoencoder and the steps before it.

    Attributes
    ----------
    steps : Pipeline or None
        Steps before the autoencoder, if there are any.
    autoencoder : BaseAutoencoder
        The last step.
    """

    steps: Any
    autoencoder: Any

    @classmethod
    def of(cls, estimator: Any, needs: str, having: str = "that has it") -> SplitPipeline:
        """Split a fitted estimator; its last step must have the attribute `needs`.

        `having` says which autoencoders have it, for the error message.
        """
        steps = None
        # A parameter search stores the fitted estimator in this attribute.
        last = estimator = getattr(estimator, "best_estimator_", estimator)
        if isinstance(estimator, Pipeline):
            last = estimator[-1]
            steps = estimator[:-1] if len(estimator) > 1 else None
        if not hasattr(type(last), "fit"):
            raise ValueError(f"estimator must be a fitted autoencoder, got {last!r}.")
        check_is_fitted(last)
        if not hasattr(last, needs):
            raise ValueError(
                f"{type(last).__name__} has no {needs}, which this plot requires. Pass a fitted "
                f"autoencoder {having}, or a pipeline whose last step is one: pipeline[:-1] omits "
                f"the last step."
            )
        return cls(steps, last)

    def preprocess(self, X: Any) -> Any:
        """Transform samples by the steps before the autoencoder."""
        return X if self.steps is None else self.steps.transform(X)

    def flat_samples(self, X: Any) -> np.ndarray:
        """Return samples before any step as an array of shape (n_samples, n_features)."""
        self._check_numbers()
        if self.steps is None:
            # This pads lists of sequences to arrays.
            X = check_samples(self.autoencoder, X, reset=False)[0]
        samples: np.ndarray = X.toarray() if sp.issparse(X) else as_array(X)
        return samples.reshape(len(samples), -1)

    def _check_numbers(self) -> None:
        """Raise an error if samples are tables, which are not drawn."""
        if table_of(self.autoencoder) is not None:
            raise ValueError(
                f"This plot shows samples as numbers, but {type(self.autoencoder).__name__} was "
                f"fitted to a table. Plot its codes, or loss curves."
            )

    def encode(self, X: Any) -> np.ndarray:
        """Return the codes of samples."""
        return as_array(self.autoencoder.transform(self.preprocess(X)))

    def decode(self, Z: np.ndarray) -> np.ndarray:
        """Decode codes to samples in the input units of the first step, flattened."""
        self._check_numbers()
        return self._to_input_units(self.autoencoder.inverse_transform(self.as_fitted_type(Z)))

    def as_fitted_type(self, Z: np.ndarray) -> Any:
        """Convert an array to the array type of the fit: tensors under array API dispatch."""
        # Estimators of other packages have no such attribute and accept NumPy arrays.
        fitted_on = getattr(self.autoencoder, "_kind", None)
        return Z if fitted_on is None else array_type_of(fitted_on).wrap(torch.from_numpy(Z))

    def reconstruct(self, X: Any) -> np.ndarray:
        """Reconstruct samples, in the input units of the first step, flattened."""
        return self._to_input_units(self.autoencoder.reconstruct(self.preprocess(X)))

    def _to_input_units(self, samples: Any) -> np.ndarray:
        """Transform flattened samples back by the steps before the autoencoder."""
        flat: np.ndarray = as_array(samples).reshape(len(samples), -1)
        if self.steps is None:
            return flat
        if not hasattr(self.steps, "inverse_transform"):
            names = [
                name
                for name, step in self.steps.steps
                if step not in (None, "passthrough") and not hasattr(step, "inverse_transform")
            ]
            raise ValueError(
                f"The pipeline's steps {names} have no inverse_transform, so reconstructions "
                f"cannot be converted to the units of X. Pass pipeline[-1] and "
                f"pipeline[:-1].transform(X) to draw them in the units of the autoencoder."
            )
        return as_array(self.steps.inverse_transform(flat)).reshape(len(flat), -1)


def as_array(X: Any) -> np.ndarray:
    """Convert dataframes, tensors on any device and nested lists to NumPy arrays."""
    if hasattr(X, "detach"):
        X = X.detach().cpu()
    return np.asarray(X)


def count_samples(X: Any) -> int:
    """Return the number of samples of data in any format."""
    n_samples: int = X.shape[0] if hasattr(X, "shape") else len(X)
    if not n_samples:
        raise ValueError("X has no samples; pass at least one.")
    return n_samples


def take_samples(X: Any, indices: Sequence[int]) -> Any:
    """Return some samples of data in any format, in the same format."""
    if hasattr(X, "iloc"):
        return X.iloc[list(indices)]
    if isinstance(X, (list, tuple)):
        return [X[index] for index in indices]
    return X[list(indices)]


def choose_samples(n_available: int, n_samples: int, indices: Any = None) -> list[int]:
    """Return `indices`, or those of `n_samples` samples, evenly spaced from first to last."""
    if indices is None:
        check_natural(n_samples, "n_samples")
        evenly = np.linspace(0, n_available - 1, min(n_samples, n_available))
        return [int(index) for index in evenly.round()]
    chosen = np.atleast_1d(indices)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not len(chosen):
        raise ValueError(f"indices must be integers, the indices of samples; got {indices!r}.")
    if chosen.min() < -n_available or chosen.max() >= n_available:
        raise ValueError(
            f"indices must be from 0 to {n_available - 1}, the samples of X; got {indices!r}."
        )
    return [int(index) % n_available for index in chosen]


def check_natural(value: Any, name: str, least: int = 1) -> None:
    """Raise a ValueError if a value is not an integer of at least `least`."""
    # bool is a subclass of int.
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
