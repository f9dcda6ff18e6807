"""What a network specification is: parameters, and the encoder and decoder that they build."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from sklearn_ae._compat import is_whole


class Network(BaseEstimator):
    """Base of all network specifications: a dataclass of parameters with two factories.

    Any encoder works under any objective, so it is told how many numbers to return and not
    what they mean.

    Attributes
    ----------
    takes_missing : bool
        Whether rows may be ragged: what follows the end of a sequence is NaN.
    cheap_in_double : bool
        Whether more than a handful of rows may be trained on in float64 at little cost.
    rows_at_once : int
        Number of rows up to which inference is fast. Inner layers that are much larger than
        a row want fewer.
    """

    takes_missing: ClassVar[bool] = False
    cheap_in_double: ClassVar[bool] = True
    rows_at_once: ClassVar[int] = 4096

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}
    """What is checked of the parameters, as scikit-learn has it; the others may be anything."""

    @abstractmethod
    def encoder(self, row_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
        """Return a module from ``(batch, n_features)`` to ``(batch, n_outputs + n_extra)``.

        Parameters
        ----------
        row_shape : tuple of int
            Shape of one row of the data: ``(n_features,)`` unless it was an image or a
            sequence. Modules see it flattened.
        n_outputs : int
            Numbers to return for each row, beside one for each of :meth:`extra_names`.
        """

    @abstractmethod
    def decoder(self, row_shape: tuple[int, ...], n_inputs: int) -> nn.Module:
        """Return a module from ``(batch, n_inputs + n_extra)`` to ``(batch, n_features)``."""

    def code_size(self, row_shape: tuple[int, ...]) -> int:
        """Return the number of components where ``n_components`` is None.

        The factories are then also given ``dense=False``.

        Raises
        ------
        ValueError
            If only ``n_components`` can say it.
        """
        raise ValueError(
            f"n_components=None is not possible with {type(self).__name__}; set the number of "
            f"components. Networks whose maps can be the code, such as ConvolutionalNetwork, do "
            f"without."
        )

    def resized(self, row_shape: tuple[int, ...], other: tuple[int, ...]) -> Self:
        """Return a specification whose weights are the same, for samples of another shape.

        Raises
        ------
        ValueError
            If the weights belong to samples of one shape.
        """
        raise ValueError(f"{type(self).__name__} takes samples of the shape of the training.")

    def common_center(
        self, center: Tensor, row_shape: tuple[int, ...], other: tuple[int, ...]
    ) -> Tensor:
        """Return what to subtract from samples of shape `other`, given the mean of each feature.

        Called where ``n_components`` is None, so that the mean says nothing of places.
        """
        return center

    def extra_names(self, row_shape: tuple[int, ...]) -> list[str]:
        """Name what the decoder needs besides the components, and so becomes code."""
        return []

    def n_extra(self, row_shape: tuple[int, ...]) -> int:
        """Return how many values :meth:`extra_names` names."""
        return len(self.extra_names(row_shape))

    def step_size(self, row_shape: tuple[int, ...]) -> int:
        """Return how many neighbouring values of a row are there or missing together."""
        return 1

    def connect(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Let encoder and decoder share weights. They share none by default."""

    def start_at(self, decoder: nn.Module, output: Tensor) -> None:
        """Set the decoder's last biases so that its outputs start near some values.

        Training under a loss with a link starts at the mean of the data: from far away the first
        steps all go the same way, and saturate what lies before. By default nothing is set.

        Parameters
        ----------
        decoder : Module
            As returned by :meth:`decoder`.
        output : Tensor of shape (n_features,)
        """

    @classmethod
    def of(cls, source: Any) -> Self:
        """Take the parameters from an object's attributes of their names, those that it has."""
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        given = {name: getattr(source, name) for name in names if hasattr(source, name)}
        return cls(**given).with_python_numbers()

    def with_python_numbers(self) -> Self:
        """Turn NumPy's numbers among the parameters into Python's, in place.

        Layers of torch take no others, and products of small types overflow.
        """
        return self.set_params(
            **{name: python_numbers(value) for name, value in self.get_params(deep=False).items()}
        )


def python_numbers(value: Any) -> Any:
    """Return a number of NumPy's as Python's, also within tuples and lists."""
    if type(value) in (tuple, list):
        return type(value)(python_numbers(entry) for entry in value)
    return value.item() if isinstance(value, np.generic) else value


def positive_integers(values: Any, name: str, least: int = 1) -> tuple[int, ...]:
    """Return one or more positive integers as a tuple; with ``least=0`` also none."""
    integers = [values] if np.ndim(values) == 0 else list(values)
    if len(integers) < least or not all(is_whole(value) and value > 0 for value in integers):
        raise ValueError(f"{name} must be positive integers, got {values!r}.")
    return tuple(int(value) for value in integers)
