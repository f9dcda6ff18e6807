"""The module of restricted Boltzmann machines (RBMs): one layer as an autoencoder."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from sklearn_ae._compat import StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae.losses import get_loss
from sklearn_ae.networks._boltzmann_layer import INITIAL_STD, BoltzmannLayer
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._network import Network
from sklearn_ae.networks._partition import log_partition


@declares_parameters
class BoltzmannNetwork(Network):
    """Specification of a restricted Boltzmann machine: encoder and decoder are one layer."""

    visible: str = parameter(
        default="gaussian",
        constraint=[StrOptions({"gaussian", "bernoulli"})],
    )

    def encoder(self, sample_shape: tuple[int, ...], n_outputs: int) -> BoltzmannLayer:
        """Create the layer."""
        n_visible = math.prod(sample_shape)
        return BoltzmannLayer(
            # In place, because other products on the device "meta" load torch's compiler.
            nn.Parameter(torch.randn(n_outputs, n_visible).mul_(INITIAL_STD)),
            nn.Parameter(torch.zeros(n_outputs)),
            nn.Parameter(torch.zeros(n_visible)),
            self.visible,
        )

    def decoder(self, sample_shape: tuple[int, ...], n_inputs: int) -> nn.Module:
        """Create a placeholder without weights, because the encoder's layer decodes as well."""
        return nn.Identity()


class BoltzmannModule(AutoencoderModule):
    """RBM as an autoencoder, with its persistent chains and its partition function.

    Parameters
    ----------
    network : BoltzmannNetwork
    sample_shape : tuple of int
    n_components : int
    n_chains : int
        Number of persistent chains; zero if the Gibbs chains start at the training samples.

    Attributes
    ----------
    sigma : Tensor of shape (n_features,)
        Standard deviation of each feature in network units. Gaussian visible units are the
        features divided by it.
    base : Tensor of shape (n_features,)
        Visible biases of independent units that have the means of the training samples.
    chains : Tensor of shape (n_chains, n_components)
        Hidden states of the persistent chains.
    """

    bits: ClassVar[frozenset[str]] = frozenset({"chains"})

    encoder: BoltzmannLayer
    sigma: Tensor
    base: Tensor
    chains: Tensor

    def __init__(
        self,
        network: BoltzmannNetwork,
        sample_shape: tuple[int, ...],
        n_components: int,
        n_chains: int = 0,
    ) -> None:
        super().__init__(network, sample_shape, n_components)
        self.register_buffer("sigma", torch.ones(self.center.shape))
        self.register_buffer("base", torch.zeros(self.center.shape))
        self.register_buffer("chains", torch.empty(n_chains, n_components).bernoulli_(0.5))

    @property
    def layer(self) -> BoltzmannLayer:
        """The RBM of samples divided by ``sigma``."""
        return self.encoder

    @torch.no_grad()
    def start_at(self, mean: Tensor, variance: Tensor) -> None:
        """Initialise with independent visible units of these means and variances.

        Parameters
        ----------
        mean, variance : Tensor of shape (n_features,)
            In network units.
        """
        if self.layer.visible == "bernoulli":
            self.base.copy_(get_loss("binary_crossentropy").link(mean))
        else:
            # A constant feature, once centred, still has the variance of its rounding errors.
            rounding = 8 * torch.finfo(variance.dtype).eps * (self.center / self.scale).abs()
            self.sigma.copy_(torch.where(variance > rounding.square(), variance, 1.0).sqrt())
        self.layer.visible_bias.copy_(self.base)

    def encode(self, x: Tensor) -> Tensor:
        """Map samples to the probabilities that hidden units are 1."""
        return self.layer.hidden_mean(x / self.sigma)

    def decode(self, z: Tensor) -> Tensor:
        """Map hidden units to the means of Gaussian visible units, or the logits of bits."""
        return self.layer.visible_input(z) * self.sigma

    def free_energy(self, x: Tensor) -> Tensor:
        """Return the free energy of each sample."""
        return self.layer.free_energy(x / self.sigma)

    def gibbs(self, x: Tensor, n_steps: int) -> Tensor:
        """Apply ``n_steps`` Gibbs steps to each sample."""
        return self.layer.gibbs(x / self.sigma, n_steps) * self.sigma

    def log_partition(self, n_temperatures: int, n_runs: int) -> float:
        """Return the logarithm of ``sum_x e^{-F(x)}``, or of the integral in units of the data."""
        value = log_partition(self, self.layer, self.base, n_temperatures, n_runs)
        if self.layer.visible == "bernoulli":
            return value
        # The layer's units are x / (sigma * scale): a change of variables.
        return value + float((self.sigma.double() * self.scale.double()).log().sum())
