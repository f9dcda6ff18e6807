"""The network of stacked autoencoders, and each of its layers as an autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from sklearn_ae.losses import Loss, get_loss
from sklearn_ae.networks._boltzmann_layer import INITIAL_STD, BoltzmannLayer
from sklearn_ae.networks._contractive import derivative
from sklearn_ae.networks._module import AutoencoderModule, TrainableModule
from sklearn_ae.networks.activations import ACTIVATIONS
from sklearn_ae.networks.dense import DenseNetwork, DenseStack


@dataclass(kw_only=True, eq=False, repr=False)
class StackNetwork(DenseNetwork):
    """Dense network of a stack.

    Its code may have a non-linearity, like the output of every layer before.
    """

    def shape_with_missing(self, sample_shape: tuple[int, ...]) -> None:
        """Return None: the first layer is pre-trained to reconstruct its input."""


class LayerPair(TrainableModule):
    """A layer of the encoder and the corresponding layer of the decoder.

    They are the layers of the network itself, not copies: training the pair trains the network.

    Parameters
    ----------
    module : AutoencoderModule
        Module of a :class:`StackNetwork`.
    depth : int
        Number of the layer; layer zero receives the samples.
    loss : Loss
        Loss of the reconstruction of samples. The loss of other layers is the cross-entropy if
        their inputs are logistic, and the squared error otherwise.

    Attributes
    ----------
    encoder_layer, decoder_layer : nn.Linear
    n_inputs, n_outputs : int
        Number of inputs of the encoder's layer, and of its outputs.
    loss : Loss
        Loss between the output of :meth:`decode` and the input of the encoder's layer.
    is_last : bool
        Whether the output of the encoder's layer is the code of the network.
    unit : Tensor of shape ()
        Divisor of the reconstruction loss.
    """

    unit: Tensor

    def __init__(self, module: AutoencoderModule, depth: int, loss: Loss) -> None:
        super().__init__()
        encoder, decoder = module.encoder, module.decoder
        assert isinstance(encoder, DenseStack)
        assert isinstance(decoder, DenseStack)
        self.encoder_layer, self.decoder_layer = encoder.layers[depth], decoder.layers[-1 - depth]
        self.n_inputs = self.encoder_layer.in_features
        self.n_outputs = self.encoder_layer.out_features
        self.is_last = self.encoder_layer is encoder.layers[-1]
        self.activation = encoder.output_activation if self.is_last else encoder.activation
        self.output_activation = encoder.activation if depth else ACTIVATIONS["identity"]
        self.register_buffer("unit", torch.ones_like(self.encoder_layer.bias[0]))
        self.loss = loss
        if depth and encoder.activation == ACTIVATIONS["logistic"]:
            # The link of the cross-entropy is the logistic function.
            self.loss = get_loss("binary_crossentropy")
            self.output_activation = ACTIVATIONS["identity"]
        elif depth:
            self.loss = get_loss("squared_error")

    def encode(self, x: Tensor) -> Tensor:
        """Map ``(batch, n_inputs)`` to codes ``(batch, n_outputs)``."""
        return self.activation.forward(self.encoder_layer(x)).to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """Map codes to outputs, to which the link of the loss is applied."""
        return self.output_activation.forward(self.decoder_layer(z)).to(z.dtype)

    def encode_with_norm(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes, and the squared Frobenius norm of the Jacobian at each sample.

        The norm for a single layer is ``sum_i phi'(a_i)^2 sum_j W_ij^2``.
        """
        pre = self.encoder_layer(x).to(x.dtype)
        slopes = derivative(self.activation, pre).square()
        return self.activation.forward(pre), slopes @ self.encoder_layer.weight.square().sum(1)

    @torch.no_grad()
    def tie(self) -> None:
        """Set the decoder layer's weight to the transposed weight of the encoder's layer."""
        self.decoder_layer.weight.copy_(self.encoder_layer.weight.t())


class BoltzmannPair(TrainableModule):
    """A pair of layers as a restricted Boltzmann machine (RBM).

    The RBM's weight and hidden biases are those of the encoder's layer, and its visible biases
    are those of the decoder's layer, whose weight is set after training
    (:meth:`LayerPair.tie`). The inputs of the next layer are probabilities. Visible units are
    Bernoulli if the loss is a cross-entropy, and Gaussian otherwise.

    Parameters
    ----------
    pair : LayerPair

    Attributes
    ----------
    layer : BoltzmannLayer
    is_binary : bool
        Whether the hidden units are Bernoulli. Otherwise they are Gaussian.
    """

    def __init__(self, pair: LayerPair) -> None:
        super().__init__()
        self.link = pair.loss.link
        self.is_binary = pair.activation == ACTIVATIONS["logistic"]
        self.layer = BoltzmannLayer(
            cast("nn.Parameter", pair.encoder_layer.weight),  # a Tensor in torch's stubs
            pair.encoder_layer.bias,
            pair.decoder_layer.bias,
            visible="gaussian" if pair.loss.scaled else "bernoulli",
            hidden="bernoulli" if self.is_binary else "gaussian",
        )

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Initialise with nearly independent visible units of these means, ``(n_inputs,)``."""
        self.layer.weight.copy_(INITIAL_STD * torch.randn_like(self.layer.weight))
        self.layer.hidden_bias.zero_()
        self.layer.visible_bias.copy_(self.link(mean))
