"""Recurrent networks: a sequence is encoded step by step, and decoded step by step."""

from __future__ import annotations

from contextlib import nullcontext
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae.networks._sequence import SequenceNetwork, SequenceParameters, count_steps

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


def _hidden_states(
    recurrence: nn.LSTM | nn.GRU, steps: Tensor, start: tuple[Tensor, ...] | None = None
) -> Tensor:
    """Return the hidden states of the last layer, ``(batch, n_steps, hidden_size)``.

    Parameters
    ----------
    recurrence : nn.LSTM or nn.GRU
    steps : Tensor of shape (batch, n_steps, n_inputs)
    start : tuple of Tensor of shape (n_layers, batch, hidden_size), or None, default=None
        Hidden state before the first step and, for an LSTM, the cell state. None: zeros.
    """
    # Without instructions for bfloat16, a CPU emulates its matrix products, but torch raises an
    # error for recurrent layers, which are therefore computed in float32.
    emulated = steps.device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if emulated:
        dtype = next(recurrence.parameters()).dtype
        steps = steps.to(dtype)
        start = None if start is None else tuple(state.to(dtype) for state in start)
    first: Any = start if start is None or isinstance(recurrence, nn.LSTM) else start[0]
    with torch.autocast("cpu", enabled=False) if emulated else nullcontext():
        states: Tensor = recurrence(steps, first)[0]
    return states


class RecurrentEncoder(nn.Module):
    """Encoder that maps the hidden state after the last step of a sequence to its code.

    Parameters
    ----------
    sequence : tuple of int
        Number of steps of a sample, and of values of a step.
    n_outputs : int
        Number of values to return for each sample.
    cell : {"lstm", "gru"}
        Recurrent unit.
    hidden_size, n_layers : int
        Width and number of the recurrent layers.
    reverse : bool
        Whether the steps are processed from the last to the first.
    """

    def __init__(
        self,
        sequence: tuple[int, int],
        n_outputs: int,
        cell: str,
        hidden_size: int,
        n_layers: int,
        reverse: bool,
    ) -> None:
        super().__init__()
        self.sequence = sequence
        self.reverse = reverse
        self.recurrence = CELLS[cell](sequence[1], hidden_size, n_layers, batch_first=True)
        self.code = nn.Linear(hidden_size, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, n_features)`` to ``(batch, n_outputs)``."""
        steps = torch.unflatten(x, 1, self.sequence)  # (batch, n_steps, n_channels)
        last = count_steps(steps) - 1
        steps = steps.nan_to_num()
        if self.reverse:
            # The last step of each sequence first; after its end, the first step again.
            order = (last[:, None] - torch.arange(self.sequence[0], device=x.device)).clamp_min(0)
            steps = steps.gather(1, order[..., None].expand_as(steps))
        # A state does not depend on later steps, so the padding after the end of a sequence has
        # no effect on the state that is used. Packed sequences would avoid these steps, but take
        # two to five times as long.
        hidden = _hidden_states(self.recurrence, steps)
        code: Tensor = self.code(hidden[torch.arange(len(x), device=x.device), last])
        return code


class RecurrentDecoder(nn.Module):
    """Decoder whose first hidden state is computed from the code, the input of every step.

    Parameters
    ----------
    sequence : tuple of int
        Number of steps of a sample, and of values of a step.
    n_inputs : int
        Number of components of the code.
    cell : {"lstm", "gru"}
        Recurrent unit.
    hidden_size, n_layers : int
        Width and number of the recurrent layers.
    """

    def __init__(
        self, sequence: tuple[int, int], n_inputs: int, cell: str, hidden_size: int, n_layers: int
    ) -> None:
        super().__init__()
        self.sequence = sequence
        self.n_states = 2 if cell == "lstm" else 1
        self.start = nn.Linear(n_inputs, self.n_states * n_layers * hidden_size)
        self.recurrence = CELLS[cell](n_inputs, hidden_size, n_layers, batch_first=True)
        self.step = nn.Linear(hidden_size, sequence[1])

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(batch, n_inputs)`` to ``(batch, n_features)``."""
        # (batch, n_states * n_layers * hidden_size) -> n_states of (n_layers, batch, hidden_size)
        size = self.recurrence.hidden_size
        states = torch.unflatten(self.start(z).tanh(), 1, (self.n_states, -1, size))
        states = states.permute(1, 2, 0, 3).contiguous()  # which cuDNN requires
        inputs = z[:, None].expand(-1, self.sequence[0], -1)
        hidden = _hidden_states(self.recurrence, inputs, states.unbind())
        steps: Tensor = self.step(hidden)  # (batch, n_steps, n_channels)
        return steps.flatten(1)


@declares_parameters
class LSTMParameters(SequenceParameters):
    """Parameters of recurrent networks and of `LSTMAutoencoder`."""

    cell: str = parameter(
        default="lstm",
        doc="""{"lstm", "gru"}
        Recurrent unit: long short-term memory, or the gated recurrent unit, which has a quarter
        fewer weights.
        """,
        constraint=[StrOptions(set(CELLS))],
    )
    hidden_size: int = parameter(
        default=64,
        doc="""int
        Width of each recurrent layer.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    n_layers: int = parameter(
        default=1,
        doc="""int
        Number of recurrent layers in the encoder and in the decoder.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    reverse: bool = parameter(
        default=True,
        doc="""bool
        Whether the encoder processes a sequence from its end, so that its last input is the first
        step that the decoder returns. Training then takes far fewer epochs.
        """,
        constraint=["boolean"],
    )


@declares_parameters
class LSTMNetwork(LSTMParameters, SequenceNetwork):
    """Recurrent network for sequences.

    The encoder processes the steps one after another, and its last hidden state is mapped to the
    code. The decoder computes its first hidden state from the code, which is also the input of
    every step. It does not receive the steps to reconstruct (no teacher forcing), so that it
    depends on the code alone.

    Sequences may have different lengths: all steps after the end of a sequence are NaN. The
    decoder always returns all steps.

    Examples
    --------
    >>> from sklearn_ae.networks import LSTMNetwork
    >>> LSTMNetwork(n_steps=10).encoder(sample_shape=(30,), n_outputs=4).recurrence
    LSTM(3, 64, batch_first=True)
    """

    samples_at_once: ClassVar[int] = 256

    def encoder(self, sample_shape: tuple[int, ...], n_outputs: int) -> RecurrentEncoder:
        """Create the encoder."""
        return RecurrentEncoder(
            self._as_sequence(sample_shape),
            n_outputs,
            self.cell,
            self.hidden_size,
            self.n_layers,
            self.reverse,
        )

    def decoder(self, sample_shape: tuple[int, ...], n_inputs: int) -> RecurrentDecoder:
        """Create the decoder."""
        return RecurrentDecoder(
            self._as_sequence(sample_shape), n_inputs, self.cell, self.hidden_size, self.n_layers
        )
