"""What the networks of sequences share: a row as steps, some of which may not be there."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from sklearn_ae._compat import Interval
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae.networks._network import Network


@declares_parameters
class SequenceParameters:
    """Parameters of networks of sequences, and of the estimators that have such a network."""

    n_steps: int | None = parameter(
        default=None,
        doc="""int
        Number of steps of a flat row: its features are those of the first step, then those of
        the second and so on. None: as many as `n_channels` leaves. Arrays of shape
        (n_samples, n_steps, n_channels) say it themselves. Of a list of sequences: the length
        of the longest that may come. None: of the longest in training.
        """,
        constraint=[Interval(Integral, 1, None, closed="left"), None],
    )
    n_channels: int | None = parameter(
        default=None,
        doc="""int
        Number of values of a step of a flat row. None: as many as `n_steps` leaves, or one.
        """,
        constraint=[Interval(Integral, 1, None, closed="left"), None],
    )


class SequenceNetwork(SequenceParameters, Network):
    """Base of the networks that read a row as a sequence. Not to be used directly."""

    takes_missing: ClassVar[bool] = True
    cheap_in_double: ClassVar[bool] = False

    def step_size(self, row_shape: tuple[int, ...]) -> int:
        """Number of values of one step."""
        return self._as_sequence(row_shape)[1]

    @torch.no_grad()
    def start_at(self, decoder: nn.Module, output: Tensor) -> None:
        """Set the biases of a step: the mean over the steps."""
        layers = cast(Any, decoder)
        layers.step.bias.copy_(output.view(layers.sequence).mean(0))

    def _as_sequence(self, row_shape: tuple[int, ...]) -> tuple[int, int]:
        """Number of steps of a row, and of values of a step."""
        n_features = math.prod(row_shape)
        n_steps = self.n_steps
        if n_steps is None:
            flat_steps = n_features // (self.n_channels or 1)
            n_steps = max(flat_steps, 1) if len(row_shape) == 1 else row_shape[0]
        n_channels = self.n_channels or n_features // n_steps
        if n_steps * n_channels != n_features or (len(row_shape) > 1 and n_steps != row_shape[0]):
            raise ValueError(
                f"n_steps={self.n_steps} and n_channels={self.n_channels} do not fit rows of "
                f"shape {row_shape}; a row has n_steps * n_channels values, and sequences tell "
                f"both themselves if these are None."
            )
        return n_steps, n_channels


def count_steps(steps: Tensor) -> Tensor:
    """Length of each sequence of ``(batch, n_steps, n_channels)``: NaN follows its end."""
    return (~steps[..., 0].isnan()).sum(1)
