"""Dense networks: fully connected layers, with a linear path beside them on request."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import cast

import torch
from torch import Tensor, nn

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae.networks._layers import BatchNorm, LayerNorm, TiedLinear, drop
from sklearn_ae.networks._network import Network, positive_integers
from sklearn_ae.networks.activations import ACTIVATIONS


class DenseStack(nn.Module):
    """A chain of linear layers with a non-linearity between them.

    With ``shortcut`` a fixed linear map of the input is added to the output of the last
    layer, so that the chain only learns what that map does not say. The output may go through
    a non-linearity of its own.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the input, of each hidden layer and of the output.
    activation : str
        A key of ``ACTIVATIONS``.
    shortcut : bool
        Whether to add the linear path.
    output_activation : str, default="identity"
        A key of ``ACTIVATIONS``.
    normalization : {"batch", "layer"} or None, default=None
        What standardises the input of each hidden layer's non-linearity.
    dropout : float, default=0.0
        Fraction of each hidden layer's output that is set to zero in training.
    """

    shortcut: Tensor | None

    def __init__(
        self,
        sizes: tuple[int, ...],
        activation: str,
        shortcut: bool,
        output_activation: str = "identity",
        normalization: str | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.output_activation = ACTIVATIONS[output_activation]
        layers = nn.ModuleList(nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes))
        self.layers = cast("Sequence[nn.Linear]", layers)
        self.dropout = dropout
        self.norms = None if normalization is None else _norms(normalization, sizes[1:-1])
        self.register_buffer("shortcut", torch.zeros(sizes[-1], sizes[0]) if shortcut else None)
        self.reset()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, sizes[0])`` to ``(batch, sizes[-1])``."""
        return self._last(x, self.hidden(x, len(self.layers) - 1))

    def forward_with_hidden(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return also the activations of each hidden layer, before dropout."""
        activations: list[Tensor] = []
        last = self._recorded(x, len(self.layers) - 1, activations)
        return self._last(x, last), activations

    def _last(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Return the output for an input and what the hidden layers make of it."""
        output = self.layers[-1](hidden)
        if self.shortcut is not None:
            output = torch.addmm(output, x, self.shortcut.t())
        return self.output_activation.forward(output)

    def hidden(self, x: Tensor, depth: int) -> Tensor:
        """Return what the first ``depth`` hidden layers make of the rows."""
        if not self._has_plain_hidden_layers():
            return self._recorded(x, depth, [])
        for layer in self.layers[:depth]:
            x = self.activation.forward(layer(x))
        return x

    def _has_plain_hidden_layers(self) -> bool:
        return self.norms is None and not self.dropout

    def _recorded(self, x: Tensor, depth: int, activations: list[Tensor]) -> Tensor:
        """Return what :meth:`hidden` does, with normalisation and dropout; list activations."""
        for number, layer in enumerate(self.layers[:depth]):
            x = layer(x)
            if self.norms is not None:
                x = self.norms[number](x)
            x = self.activation.forward(x)
            activations.append(x)
            if self.dropout and self.training:
                x = drop(x, self.dropout)
        return x

    def is_plain(self) -> bool:
        """Whether there is nothing but the chain: no linear path, no non-linearity at its end."""
        is_bare = self.shortcut is None and self.output_activation == ACTIVATIONS["identity"]
        return is_bare and self.has_plain_layers()

    def has_plain_layers(self) -> bool:
        """Whether layers are linear with weights of their own, and only activations between."""
        is_linear = all(type(layer) is nn.Linear for layer in self.layers)
        return is_linear and self._has_plain_hidden_layers()

    @torch.no_grad()
    def tie_to(self, encoder: DenseStack) -> None:
        """Replace the layers by those of an encoder, transposed; the biases stay.

        The shared weights are resized to suit both directions: a uniform draw within
        ``+- start * sqrt(2 / (fan_in + fan_out))``, for tanh that of Glorot and Bengio (2010).
        """
        for layer in encoder.layers:
            fan_in, fan_out = layer.in_features, layer.out_features
            layer.weight.mul_(math.sqrt(2 * fan_in / (fan_in + fan_out)))
        pairs = zip(list(encoder.layers)[::-1], self.layers, strict=True)
        tied = nn.ModuleList(TiedLinear(up, down.bias) for up, down in pairs)
        self.layers = cast("Sequence[nn.Linear]", tied)

    @torch.no_grad()
    def reset(self) -> None:
        """Draw the layers' weights uniformly, in the size that suits the activation."""
        for layer in self.layers:
            limit = 1 / math.sqrt(layer.in_features)
            layer.bias.uniform_(-limit, limit)
            limit *= self.activation.start
            layer.weight.uniform_(-limit, limit)

    @torch.no_grad()
    def start_linear(self, weight: Tensor, bias: Tensor, center: Tensor, scale: Tensor) -> None:
        """Make the stack compute ``x @ weight.T + bias``, its non-linear branch zero.

        The branch's first layer is adapted to inputs of mean ``center`` and spread
        ``scale``, so that it starts as if they were standardised.
        """
        assert self.shortcut is not None
        first, last = self.layers[0], self.layers[-1]
        center, scale = center.to(first.weight), scale.to(first.weight)
        self.shortcut.copy_(weight)
        first.weight.div_(scale)
        first.bias.sub_(first.weight @ center)
        last.weight.zero_()
        last.bias.copy_(bias)


def _norms(normalization: str, widths: tuple[int, ...]) -> nn.ModuleList:
    """Return the normalisation of each hidden layer."""
    kind = BatchNorm if normalization == "batch" else LayerNorm
    return nn.ModuleList(kind(width) for width in widths)


@declares_parameters
class DenseParameters:
    """What describes a dense network; estimators have it at their top level."""

    hidden_layer_sizes: tuple[int, ...] = parameter(
        default=(128, 128, 128),
        doc="""tuple of int
        Widths of the encoder's hidden layers; the decoder mirrors them. An empty tuple leaves
        no hidden layer.
        """,
        constraint=["array-like", Interval(Integral, 1, None, closed="left")],
    )
    activation: str = parameter(
        default="tanh",
        doc="""{"relu", "silu", "gelu", "tanh", "logistic", "identity"}
        Non-linearity of the hidden layers.
        """,
        constraint=[StrOptions(set(ACTIVATIONS))],
    )


@declares_parameters
class DenseNetwork(DenseParameters, Network):
    """Fully connected network, shallow or deep.

    Notes
    -----
    Linear maps beside the network, to start at PCA, are added only if the network is not tied and
    the code is linear.

    Examples
    --------
    >>> from sklearn_ae.networks import DenseNetwork
    >>> encoder = DenseNetwork(hidden_layer_sizes=(64,)).encoder(row_shape=(20,), n_outputs=3)
    >>> [tuple(layer.weight.shape) for layer in encoder.layers]
    [(64, 20), (3, 64)]
    """

    code_activation: str = parameter(
        default="identity",
        doc="""{"relu", "silu", "gelu", "tanh", "logistic", "identity"}
        Non-linearity of the code. Sparse, contractive and variational autoencoders and semantic
        hashing have one of their own and accept no other.
        """,
        constraint=[StrOptions(set(ACTIVATIONS))],
    )
    tied: bool = parameter(
        default=False,
        doc="""bool
        Whether the weights of the decoder are those of the encoder, transposed. The biases are
        not shared. A variational autoencoder, whose encoder returns means and variances,
        cannot be tied.
        """,
        constraint=["boolean"],
    )
    normalization: str | None = parameter(
        default=None,
        doc="""{"batch", "layer"} or None
        What standardises the input of each hidden layer's non-linearity, before a learned scale
        and shift: each unit over the batch, or each sample over the units. Fitted estimators
        use running statistics in place of those of a batch.
        """,
        constraint=[StrOptions({"batch", "layer"}), None],
    )
    dropout: float = parameter(
        default=0.0,
        doc="""float
        Fraction of each hidden layer's output that is set to zero in training, drawn anew for
        each sample and step.
        """,
        constraint=[Interval(Real, 0, 1, closed="left")],
    )

    hidden_layer_sizes: tuple[int, ...] = parameter(
        default=(128, 128, 128),
        doc="""tuple of int
        Widths of the encoder's hidden layers; the decoder mirrors them. An empty tuple
        makes a linear autoencoder.
        """,
    )

    def encoder(
        self, row_shape: tuple[int, ...], n_outputs: int, shortcut: bool = False
    ) -> DenseStack:
        """Return the encoder, with a linear path beside the layers on request."""
        sizes = (math.prod(row_shape), *self._widths(), n_outputs)
        return self._stack(sizes, shortcut, self.code_activation)

    def decoder(
        self, row_shape: tuple[int, ...], n_inputs: int, shortcut: bool = False
    ) -> DenseStack:
        """Return the decoder, with a linear path beside the layers on request."""
        sizes = (n_inputs, *self._widths()[::-1], math.prod(row_shape))
        return self._stack(sizes, shortcut, "identity")

    def _stack(self, sizes: tuple[int, ...], shortcut: bool, output_activation: str) -> DenseStack:
        return DenseStack(
            sizes,
            self.activation,
            shortcut,
            output_activation,
            self.normalization,
            self.dropout,
        )

    def connect(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Let the decoder use the encoder's weights, if they are tied."""
        if not self.tied:
            return
        assert isinstance(encoder, DenseStack)
        assert isinstance(decoder, DenseStack)
        n_outputs, n_inputs = encoder.layers[-1].out_features, decoder.layers[0].in_features
        if n_outputs != n_inputs:
            raise ValueError(
                f"tied=True needs an encoder that returns the code and nothing else, but this one "
                f"returns {n_outputs} values for a code of {n_inputs}, such as the means and "
                f"variances of a variational autoencoder; use tied=False."
            )
        decoder.tie_to(encoder)

    def admits_shortcut(self) -> bool:
        """Whether a linear map beside the network makes it linear at the start."""
        return not self.tied and self.code_activation == "identity"

    @torch.no_grad()
    def start_at(self, decoder: nn.Module, output: Tensor) -> None:
        """Set the decoder's last biases."""
        assert isinstance(decoder, DenseStack)
        decoder.layers[-1].bias.copy_(output)

    def _widths(self) -> tuple[int, ...]:
        return positive_integers(self.hidden_layer_sizes, "hidden_layer_sizes", least=0)
