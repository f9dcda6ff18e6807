"""What the networks of sequences share: a row as steps, some of which may not be there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

from torch import Tensor

from sklearn_ae._compat import Interval
from sklearn_ae.networks._network import Network


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceNetwork(Network):
    """Base of the networks that read a row as a sequence. Not to be used directly."""

    n_steps: int | None = None

    takes_missing: ClassVar[bool] = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_steps": [Interval(Integral, 1, None, closed="left"), None],
    }

    def n_channels(self, row_shape: tuple[int, ...]) -> int:
        """Number of values of one step."""
        return self._as_sequence(row_shape)[1]

    def _as_sequence(self, row_shape: tuple[int, ...]) -> tuple[int, int]:
        """Number of steps of a row, and of values of a step."""
        n_features = math.prod(row_shape)
        n_steps = self.n_steps or row_shape[0]
        if len(row_shape) > 1 and n_steps != row_shape[0]:
            raise ValueError(
                f"n_steps={n_steps} contradicts sequences of {row_shape[0]} steps; leave it None."
            )
        if n_features % n_steps:
            raise ValueError(
                f"n_steps={n_steps} does not divide rows of {n_features} features into steps."
            )
        return n_steps, n_features // n_steps


def count_steps(steps: Tensor) -> Tensor:
    """Length of each sequence of ``(batch, n_steps, n_channels)``: NaN follows its end."""
    return (~steps[..., 0].isnan()).sum(1)
