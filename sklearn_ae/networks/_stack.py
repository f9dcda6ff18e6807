"""The network of stacked autoencoders, and one layer of it as an autoencoder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from sklearn_ae.losses import Loss, get_loss
from sklearn_ae.networks._boltzmann_layer import START, BoltzmannLayer
from sklearn_ae.networks._contractive import derivative
from sklearn_ae.networks._module import AutoencoderModule, TrainableModule
from sklearn_ae.networks.activations import ACTIVATIONS
from sklearn_ae.networks.dense import DenseNetwork, DenseStack


@dataclass(kw_only=True, eq=False, repr=False)
class StackNetwork(DenseNetwork):
    """The dense network of a stack.

    Its code may go through a non-linearity, as every layer below it does.
    """


class LayerPair(TrainableModule):
    """A layer of the encoder, and the layer of the decoder that undoes it.

    They are the layers of the network itself: what trains the pair trains the network.

    Parameters
    ----------
    module : AutoencoderModule
        Of a :class:`StackNetwork`.
    depth : int
        Number of the layer, zero for the one that sees the rows.
    loss : Loss
        Of the reconstruction of rows. Layers above undo their input by cross-entropy if it is
        logistic, else by squared error.

    Attributes
    ----------
    n_inputs, n_outputs : int
        Size of what the layer sees and of its code.
    loss : Loss
        Between what :meth:`decode` returns and the layer's input.
    is_top : bool
        Whether its code is that of the network.
    """

    def __init__(self, module: AutoencoderModule, depth: int, loss: Loss) -> None:
        super().__init__()
        encoder, decoder = module.encoder, module.decoder
        assert isinstance(encoder, DenseStack)
        assert isinstance(decoder, DenseStack)
        self.up, self.down = encoder.layers[depth], decoder.layers[-1 - depth]
        self.n_inputs, self.n_outputs = self.up.in_features, self.up.out_features
        self.is_top = self.up is encoder.layers[-1]
        self.activation = encoder.output_activation if self.is_top else encoder.activation
        self.below = encoder.activation if depth else ACTIVATIONS["identity"]
        self.loss = loss
        if depth and encoder.activation == ACTIVATIONS["logistic"]:
            self.loss, self.below = get_loss("binary_crossentropy"), ACTIVATIONS["identity"]
        elif depth:
            self.loss = get_loss("squared_error")

    def encode(self, x: Tensor) -> Tensor:
        """Map ``(batch, n_inputs)`` to codes ``(batch, n_outputs)``."""
        return self.activation.forward(self.up(x)).to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """Map codes to outputs of the loss's link."""
        return self.below.forward(self.down(z)).to(z.dtype)

    def encode_with_norm(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode; return also the squared Frobenius norm of the Jacobian at each row.

        Of a single layer it is ``sum_i phi'(a_i)^2 sum_j W_ij^2``.
        """
        pre = self.up(x).to(x.dtype)
        slopes = derivative(self.activation, pre).square()
        return self.activation.forward(pre), slopes @ self.up.weight.square().sum(1)

    @torch.no_grad()
    def tie(self) -> None:
        """Set the decoder's weights to the transposed ones of the encoder."""
        self.down.weight.copy_(self.up.weight.t())


class BoltzmannPair(TrainableModule):
    """A pair of layers as a restricted Boltzmann machine, both of whose ways have one weight.

    The machine's weight and hidden biases are the encoder's and its visible biases the decoder's,
    whose weight follows in the end (:meth:`LayerPair.tie`). Layers above see probabilities. Rows
    are Bernoulli where their loss is a cross-entropy, else Gaussian.

    Parameters
    ----------
    pair : LayerPair

    Attributes
    ----------
    layer : BoltzmannLayer
    is_binary : bool
        Whether the hidden units are Bernoulli, not linear.
    """

    def __init__(self, pair: LayerPair) -> None:
        super().__init__()
        self.link = pair.loss.link
        self.is_binary = pair.activation == ACTIVATIONS["logistic"]
        self.layer = BoltzmannLayer(
            cast("nn.Parameter", pair.up.weight),
            cast("nn.Parameter", pair.up.bias),
            cast("nn.Parameter", pair.down.bias),
            visible="gaussian" if pair.loss.scaled else "bernoulli",
            hidden="bernoulli" if self.is_binary else "gaussian",
        )

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Set out from units that are independent, nearly, of the given means."""
        self.layer.weight.copy_(START * torch.randn_like(self.layer.weight))
        self.layer.hidden_bias.zero_()
        self.layer.visible_bias.copy_(self.link(mean))
