"""Shared code of the networks of sequences: samples as steps, some of which may be missing."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from sklearn_ae._compat import Interval
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae.networks._network import Network
from sklearn_ae.networks.layout import Layout


@declares_parameters
class SequenceParameters:
    """Parameters of networks of sequences, and of the estimators with such a network."""

    n_steps: int | None = parameter(
        default=None,
        doc="""int
        Number of steps of a sample with flat features, which are those of the first step, then
        those of the second and so on. None: the number of features divided by `n_channels`. Not
        needed for arrays of shape (n_samples, n_steps, n_channels). For lists of sequences, the
        length of the longest sequence that may occur; None: of the longest training sequence.
        """,
        constraint=[Interval(Integral, 1, None, closed="left"), None],
    )
    n_channels: int | None = parameter(
        default=None,
        doc="""int
        Number of values of a step of a sample with flat features. None: the number of features
        divided by `n_steps`, or one.
        """,
        constraint=[Interval(Integral, 1, None, closed="left"), None],
    )


class SequenceNetwork(SequenceParameters, Network):
    """Base class of the networks that treat a sample as a sequence. Do not use it directly."""

    takes_missing: ClassVar[bool] = True
    cheap_in_double: ClassVar[bool] = False

    def layout(self, sample_shape: tuple[int, ...]) -> Layout:
        """Return the layout of a signal whose pixels are the steps.

        Raises
        ------
        ValueError
            If `n_steps` and `n_channels` do not match `sample_shape`.
        """
        n_steps, n_channels = self._as_sequence(sample_shape)
        return Layout(n_channels, (1, n_steps), is_signal=True, channels_last=True)

    def step_size(self, sample_shape: tuple[int, ...]) -> int:
        """Return the number of values of one step."""
        return self._as_sequence(sample_shape)[1]

    @torch.no_grad()
    def start_at(self, decoder: nn.Module, output: Tensor) -> None:
        """Set the biases of the layer that returns a step to the mean over the steps."""
        layers = cast(Any, decoder)
        layers.step.bias.copy_(output.view(layers.sequence).mean(0))

    def _as_sequence(self, sample_shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the number of steps of a sample, and of values of a step."""
        n_features = math.prod(sample_shape)
        n_steps = self.n_steps
        if n_steps is None:
            flat_steps = n_features // (self.n_channels or 1)
            # At least one, so that fewer features than channels reach the error below.
            n_steps = max(flat_steps, 1) if len(sample_shape) == 1 else sample_shape[0]
        n_channels = self.n_channels or n_features // n_steps
        if n_steps * n_channels != n_features or (
            len(sample_shape) > 1 and n_steps != sample_shape[0]
        ):
            raise ValueError(
                f"n_steps={self.n_steps} and n_channels={self.n_channels} do not fit samples of "
                f"shape {sample_shape}. A sample has n_steps * n_channels values; for arrays of "
                f"sequences leave both None."
            )
        return n_steps, n_channels


def count_steps(steps: Tensor) -> Tensor:
    """Return the length of each sequence, ``(batch,)``.

    Parameters
    ----------
    steps : Tensor of shape (batch, n_steps, n_channels)
        Sequences, with NaN after the end of each.
    """
    return (~steps[..., 0].isnan()).sum(1)  # steps are missing as a whole: one channel suffices
