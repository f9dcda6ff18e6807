"""Recurrent networks: a sequence is read into one code, and written from it."""

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
    """Return the last layer's states after each step, ``(batch, n_steps, hidden_size)``.

    Processors without instructions for bfloat16 emulate its products, but there are no
    recurrent layers in it for them, and torch raises an error: these stay in float32.
    """
    emulated = steps.device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if emulated:
        dtype = next(recurrence.parameters()).dtype
        steps = steps.to(dtype)
        start = None if start is None else tuple(state.to(dtype) for state in start)
    first: Any = start if start is None or isinstance(recurrence, nn.LSTM) else start[0]
    with torch.autocast("cpu", enabled=False) if emulated else nullcontext():
        return recurrence(steps, first)[0]


class RecurrentEncoder(nn.Module):
    """Many to one: the hidden state after the last step of a sequence is mapped to its code.

    Parameters
    ----------
    sequence : tuple of int
        Number of steps of a row, and of values of a step.
    n_outputs : int
        Width of the code.
    cell : {"lstm", "gru"}
        Recurrent unit.
    hidden_size, n_layers : int
        Width and number of the recurrent layers.
    reverse : bool
        Whether to read from the end.
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
        steps = x.unflatten(1, self.sequence)
        last = count_steps(steps) - 1
        steps = steps.nan_to_num()
        if self.reverse:
            order = (last[:, None] - torch.arange(self.sequence[0], device=x.device)).clamp_min(0)
            steps = steps.gather(1, order[..., None].expand_as(steps))
        # A state knows nothing of the steps that follow, so what stands after the end of a
        # sequence cannot reach its last one. Packed sequences skip that work, and yet take
        # two to five times as long.
        hidden = _hidden_states(self.recurrence, steps)
        return self.code(hidden[torch.arange(len(x), device=x.device), last])


class RecurrentDecoder(nn.Module):
    """One to many: the code sets the first state and is the input of every step.

    Parameters
    ----------
    sequence : tuple of int
        Number of steps of a row, and of values of a step.
    n_inputs : int
        Width of the code.
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
        states = self.start(z).tanh().unflatten(1, (self.n_states, -1, size)).permute(1, 2, 0, 3)
        states = states.contiguous()
        inputs = z[:, None].expand(-1, self.sequence[0], -1)
        hidden = _hidden_states(self.recurrence, inputs, states.unbind())
        return self.step(hidden).flatten(1)


@declares_parameters
class LSTMParameters(SequenceParameters):
    """Parameters of recurrent networks and of `LSTMAutoencoder`."""

    cell: str = parameter(
        default="lstm",
        doc="""{"lstm", "gru"}
        Recurrent unit: long short-term memory, or the gated recurrent unit, which has a
        quarter fewer weights.
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
        Number of recurrent layers, of the encoder and of the decoder.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    reverse: bool = parameter(
        default=True,
        doc="""bool
        Whether the encoder reads a sequence from its end, so that what it has read last is
        what the decoder writes first. Training then takes far fewer epochs.
        """,
        constraint=["boolean"],
    )


@declares_parameters
class LSTMNetwork(LSTMParameters, SequenceNetwork):
    """Recurrent network of sequences: many steps to one code, and one code to many steps.

    The encoder reads the steps one after another and its last state gives the code. The
    decoder starts from the code and sees it again at every step; it never sees the steps
    that it should write (no teacher forcing), so whatever it restores was in the code.

    Rows may be ragged: NaN after the end of a sequence, in whole steps. The decoder always
    writes all steps.

    Examples
    --------
    >>> from sklearn_ae.networks import LSTMNetwork
    >>> LSTMNetwork(n_steps=10).encoder(row_shape=(30,), n_outputs=4).recurrence
    LSTM(3, 64, batch_first=True)
    """

    rows_at_once: ClassVar[int] = 256

    def encoder(self, row_shape: tuple[int, ...], n_outputs: int) -> RecurrentEncoder:
        """Return the encoder."""
        return RecurrentEncoder(
            self._as_sequence(row_shape),
            n_outputs,
            self.cell,
            self.hidden_size,
            self.n_layers,
            self.reverse,
        )

    def decoder(self, row_shape: tuple[int, ...], n_inputs: int) -> RecurrentDecoder:
        """Return the decoder."""
        return RecurrentDecoder(
            self._as_sequence(row_shape), n_inputs, self.cell, self.hidden_size, self.n_layers
        )
