"""Dense networks: fully connected layers, optionally with a linear map in parallel."""

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
    """Linear layers with non-linearities between them.

    If ``shortcut`` is True, a fixed linear map of the input is added to the output of the last
    layer, and the layers learn only the difference from that map.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the input, of each hidden layer and of the output.
    activation : str
        Non-linearity of the hidden layers, a key of ``ACTIVATIONS``.
    shortcut : bool
        Whether the linear map is added.
    output_activation : str, default="identity"
        Non-linearity of the output, a key of ``ACTIVATIONS``.
    normalization : {"batch", "layer"} or None, default=None
        Normalisation of the input of each hidden layer's non-linearity.
    dropout : float, default=0.0
        Fraction of each hidden layer's output that is set to zero in training.

    Attributes
    ----------
    layers : sequence of nn.Linear
    norms : nn.ModuleList or None
        Normalisation of each hidden layer.
    shortcut : Tensor of shape (sizes[-1], sizes[0]) or None
        Weight of the linear map, a buffer that is not trained.
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
        # A buffer, not a parameter: it is stored with the model, but not trained.
        self.register_buffer("shortcut", torch.zeros(sizes[-1], sizes[0]) if shortcut else None)
        self.reset()  # torch's initial weights do not depend on the activation

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, sizes[0])`` to ``(batch, sizes[-1])``."""
        return self._last(x, self.hidden(x, len(self.layers) - 1))

    def forward_with_hidden(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the output, and the activations of each hidden layer before dropout."""
        activations: list[Tensor] = []
        last = self._collect_hidden(x, len(self.layers) - 1, activations)
        return self._last(x, last), activations

    def _last(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Return the output, given the input and the output of the last hidden layer."""
        output = self.layers[-1](hidden)
        if self.shortcut is not None:
            output = torch.addmm(output, x, self.shortcut.t())
        return self.output_activation.forward(output)

    def hidden(self, x: Tensor, depth: int) -> Tensor:
        """Return the output of the hidden layer number ``depth``; zero is the input."""
        if not self._has_plain_hidden_layers():
            return self._collect_hidden(x, depth, [])
        for layer in self.layers[:depth]:
            x = self.activation.forward(layer(x))
        return x

    def _has_plain_hidden_layers(self) -> bool:
        """Return whether hidden layers have neither normalisation nor dropout."""
        return self.norms is None and not self.dropout

    def _collect_hidden(self, x: Tensor, depth: int, activations: list[Tensor]) -> Tensor:
        """Return the result of :meth:`hidden`, and append the activations to a list."""
        for number, layer in enumerate(self.layers[:depth]):
            x = layer(x)
            if self.norms is not None:
                x = self.norms[number](x)
            x = self.activation.forward(x)
            activations.append(x)
            # After the activation is stored: penalties apply to all units, dropped or not.
            if self.dropout and self.training:
                x = drop(x, self.dropout)
        return x

    def is_plain(self) -> bool:
        """Return whether layers are plain, the output is linear and there is no linear map."""
        is_bare = self.shortcut is None and self.output_activation == ACTIVATIONS["identity"]
        return is_bare and self.has_plain_layers()

    def has_plain_layers(self) -> bool:
        """Return whether the weights are not shared, and only activations separate the layers."""
        is_linear = all(type(layer) is nn.Linear for layer in self.layers)
        return is_linear and self._has_plain_hidden_layers()

    def is_tied(self) -> bool:
        """Return whether the weights are those of another stack."""
        return any(isinstance(layer, TiedLinear) for layer in self.layers)

    @torch.no_grad()
    def tie_to(self, encoder: DenseStack) -> None:
        """Replace the weights of the layers by the transposed weights of an encoder.

        The shared weights are rescaled for both directions, to a uniform distribution on
        ``+- start * sqrt(2 / (fan_in + fan_out))``. For tanh it is that of Glorot and Bengio
        (2010). The biases do not change.
        """
        for layer in encoder.layers:
            # From the bound for fan_in alone to that for the mean of fan_in and fan_out.
            fan_in, fan_out = layer.in_features, layer.out_features
            layer.weight.mul_(math.sqrt(2 * fan_in / (fan_in + fan_out)))
        pairs = zip(list(encoder.layers)[::-1], self.layers, strict=True)
        tied = nn.ModuleList(TiedLinear(up, down.bias) for up, down in pairs)
        self.layers = cast("Sequence[nn.Linear]", tied)

    @torch.no_grad()
    def reset(self) -> None:
        """Draw new weights and biases uniformly, on a scale that depends on the activation."""
        for layer in self.layers:
            limit = 1 / math.sqrt(layer.in_features)  # as in torch
            layer.bias.uniform_(-limit, limit)
            limit *= self.activation.start
            layer.weight.uniform_(-limit, limit)

    @torch.no_grad()
    def start_linear(self, weight: Tensor, bias: Tensor, center: Tensor, scale: Tensor) -> None:
        """Set the linear map to ``x @ weight.T + bias``, and the output of the layers to zero.

        The first layer is rescaled such that it starts as if its inputs were standardised.

        Parameters
        ----------
        weight : Tensor of shape (sizes[-1], sizes[0])
        bias : Tensor of shape (sizes[-1],)
        center, scale : Tensor of shape (sizes[0],)
            Mean and standard deviation of the inputs.
        """
        assert self.shortcut is not None
        first, last = self.layers[0], self.layers[-1]
        center, scale = center.to(first.weight), scale.to(first.weight)
        self.shortcut.copy_(weight)
        first.weight.div_(scale)
        first.bias.sub_(first.weight @ center)  # with the weight that is already rescaled
        last.weight.zero_()
        last.bias.copy_(bias)


def _norms(normalization: str, widths: tuple[int, ...]) -> nn.ModuleList:
    """Create the normalisation of each hidden layer."""
    norm = BatchNorm if normalization == "batch" else LayerNorm
    return nn.ModuleList(norm(width) for width in widths)


@declares_parameters
class DenseParameters:
    """Parameters of dense networks that estimators with a dense network have as well."""

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
        doc="""str
        Non-linearity of the hidden layers: ``"relu"``, ``"leaky_relu"``, ``"elu"``,
        ``"softplus"``, ``"silu"``, ``"gelu"``, ``"tanh"``, ``"logistic"`` or ``"identity"``.
        """,
        constraint=[StrOptions(set(ACTIVATIONS))],
    )


@declares_parameters
class DenseNetwork(DenseParameters, Network):
    """Fully connected network, shallow or deep.

    Notes
    -----
    Estimators add linear maps in parallel to the network, which start at PCA, only if the weights
    are not tied and the code is linear.

    Examples
    --------
    >>> from sklearn_ae.networks import DenseNetwork
    >>> encoder = DenseNetwork(hidden_layer_sizes=(64,)).encoder(sample_shape=(20,), n_outputs=3)
    >>> [tuple(layer.weight.shape) for layer in encoder.layers]
    [(64, 20), (3, 64)]
    """

    code_activation: str = parameter(
        default="identity",
        doc="""str
        Non-linearity of the code, one of those of `activation`. Sparse, contractive and
        variational autoencoders and semantic hashing set it themselves and accept only the
        default.
        """,
        constraint=[StrOptions(set(ACTIVATIONS))],
    )
    tied: bool = parameter(
        default=False,
        doc="""bool
        Whether the weights of the decoder are the transposed weights of the encoder. The biases
        are not shared. A variational autoencoder cannot be tied, because its encoder returns
        means and variances.
        """,
        constraint=["boolean"],
    )
    normalization: str | None = parameter(
        default=None,
        doc="""{"batch", "layer"} or None
        Normalisation of the input of each hidden layer's non-linearity. ``"batch"`` standardises
        each unit over the batch, and ``"layer"`` each sample over the units; a learned scale and
        shift follow. Fitted estimators use running statistics instead of those of a batch.
        """,
        constraint=[StrOptions({"batch", "layer"}), None],
    )
    dropout: float = parameter(
        default=0.0,
        doc="""float
        Fraction of each hidden layer's output that is set to zero in training, drawn for each
        sample and step.
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

    def shape_with_missing(self, sample_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return twice the number of features, or None for tied weights."""
        return None if self.tied else (2 * math.prod(sample_shape),)

    def encoder(
        self, sample_shape: tuple[int, ...], n_outputs: int, shortcut: bool = False
    ) -> DenseStack:
        """Create the encoder, with a linear map in parallel if `shortcut` is True."""
        sizes = (math.prod(sample_shape), *self._widths(), n_outputs)
        return self._stack(sizes, shortcut, self.code_activation)

    def decoder(
        self, sample_shape: tuple[int, ...], n_inputs: int, shortcut: bool = False
    ) -> DenseStack:
        """Create the decoder, with a linear map in parallel if `shortcut` is True."""
        sizes = (n_inputs, *self._widths()[::-1], math.prod(sample_shape))
        return self._stack(sizes, shortcut, "identity")

    def _stack(self, sizes: tuple[int, ...], shortcut: bool, output_activation: str) -> DenseStack:
        """Create the layers of the encoder or the decoder."""
        return DenseStack(
            sizes,
            self.activation,
            shortcut,
            output_activation,
            self.normalization,
            self.dropout,
        )

    def connect(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Share the encoder's weights with the decoder if `tied` is True.

        Raises
        ------
        ValueError
            If the encoder returns more values than the code has.
        """
        if not self.tied:
            return
        assert isinstance(encoder, DenseStack)
        assert isinstance(decoder, DenseStack)
        n_outputs, n_inputs = encoder.layers[-1].out_features, decoder.layers[0].in_features
        if n_outputs != n_inputs:
            raise ValueError(
                f"tied=True needs an encoder that returns the code and nothing else, but this one "
                f"returns {n_outputs} values for a code of {n_inputs}, such as the means and "
                f"variances of a variational autoencoder. Use tied=False."
            )
        decoder.tie_to(encoder)

    def admits_shortcut(self) -> bool:
        """Return whether a linear map in parallel can make the network linear at the start."""
        return not self.tied and self.code_activation == "identity"

    @torch.no_grad()
    def start_at(self, decoder: nn.Module, output: Tensor) -> None:
        """Set the biases of the decoder's last layer."""
        assert isinstance(decoder, DenseStack)
        decoder.layers[-1].bias.copy_(output)

    def _widths(self) -> tuple[int, ...]:
        """Return the widths of the encoder's hidden layers."""
        return positive_integers(self.hidden_layer_sizes, "hidden_layer_sizes", least=0)
