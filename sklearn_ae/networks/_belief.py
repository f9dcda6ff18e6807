"""The density of a deep belief network: samples, and a bound on the likelihood.

Notation: ``h_0`` are the visible units and ``h_1`` to ``h_L`` the hidden layers. The last two
layers are a restricted Boltzmann machine (RBM), and each layer below is drawn given the next one:

    p(h_0, ..., h_L) = p(h_{L-1}, h_L) prod_{l < L-1} p(h_l | h_{l+1}).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from sklearn_ae.losses import Loss
from sklearn_ae.networks._boltzmann_layer import BoltzmannLayer, draw_units
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._partition import log_partition
from sklearn_ae.networks._stack import BoltzmannPair, LayerPair
from sklearn_ae.networks.dense import DenseStack


class BeliefNetwork:
    """Generative model of a stack after greedy training and before fine-tuning.

    Parameters
    ----------
    module : AutoencoderModule
        Module of a :class:`StackNetwork` whose layers were trained as RBMs.
    loss : Loss
        Reconstruction loss, which determines the type of the visible units.

    Attributes
    ----------
    layers : list of BoltzmannLayer
        The RBM of the visible units first.
    """

    def __init__(self, module: AutoencoderModule, loss: Loss) -> None:
        assert isinstance(module.encoder, DenseStack)
        self.module = module
        self.layers: list[BoltzmannLayer] = [
            BoltzmannPair(LayerPair(module, depth, loss)).layer
            for depth in range(len(module.encoder.layers))
        ]

    @property
    def n_inner(self) -> int:
        """Number of hidden units below the code."""
        return sum(len(layer.weight) for layer in self.layers[:-1])

    @torch.no_grad()
    def sample(self, codes: Tensor, n_steps: int, noise: bool) -> Tensor:
        """Draw samples in network units: a Gibbs chain in the last RBM, then layer by layer.

        Parameters
        ----------
        codes : Tensor of shape (n_samples, n_components)
            Start of the chains.
        n_steps : int
            Number of Gibbs steps in the last RBM.
        noise : bool
            Whether the visible units are drawn. If False, their means given the first hidden
            layer are returned; the hidden layers are drawn in either case.

        Returns
        -------
        Tensor of shape (n_samples, n_features)
        """
        top = self.layers[-1]
        h = codes.clamp(0, 1) if top.hidden == "bernoulli" else codes
        # The loop below draws the visible units of the last RBM, which complete the last step.
        h = draw_units(top.hidden_mean(top.gibbs(top.visible_mean(h), n_steps - 1)), top.hidden)
        for layer in reversed(self.layers):
            mean = layer.visible_mean(h)
            h = draw_units(mean, layer.visible)
        return h if noise else mean

    def bound(self, x: Tensor, uniform: Tensor) -> Tensor:
        """Return the variational bound of each sample, without ``- log Z`` of the last RBM.

        With the recognition distributions ``q(h_{l+1} | h_l)``, the hidden probabilities of each
        RBM, it is

            E_q[ sum_{l < L-1} log p(h_l | h_{l+1}) - log q(h_{l+1} | h_l) - F(h_{L-1}) ],

        where ``F`` is the free energy of the last RBM. The expectation is a mean over draws of the
        whole bracket. Its terms are not averaged separately: if ``q`` is the posterior, the
        bracket is the same for all draws, whereas each term is not.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_features)
            Samples in network units.
        uniform : Tensor of shape (n_samples, n_draws, n_inner)
            Uniform random numbers, one for each hidden unit that is drawn.

        Returns
        -------
        Tensor of shape (n_samples,)
        """
        if len(self.layers) == 1:
            return -self.layers[0].free_energy(x)
        # Units of the layer below, the sum of the terms so far, and the first unused number.
        below, total, place = x[:, None], torch.zeros((), dtype=x.dtype, device=x.device), 0
        for layer in self.layers[:-1]:
            field = layer.hidden_input(below)  # (n_samples, 1 or n_draws, n_hidden)
            drawn = uniform[:, :, place : place + len(layer.weight)] < torch.sigmoid(field)
            h = drawn.to(x.dtype)
            log_q = (h * field - softplus(field)).sum(2)  # of bits whose logits are the field
            total = total + _log_likelihood(layer, below, h) - log_q
            below, place = h, place + len(layer.weight)
        energy = self.layers[-1].free_energy(below.flatten(0, 1))
        energy = torch.unflatten(energy, 0, (-1, uniform.shape[1]))  # (n_samples, n_draws)
        return (total - energy).mean(1)

    def log_partition(self, n_temperatures: int, n_runs: int) -> float:
        """Return the logarithm of the last RBM's partition function, cached on the module."""
        top, mean = self.layers[-1], self.module.code_mean
        # Annealing requires binary hidden units. It starts at independent visible units with
        # nearly the means that the training samples have there.
        is_exchanged = top.visible == "bernoulli" and top.hidden == "gaussian"
        base = mean if is_exchanged else top.visible_input(mean[None])[0].detach()
        layer = top.exchanged() if is_exchanged else top
        return log_partition(self.module, layer, base, n_temperatures, n_runs)


def _log_likelihood(layer: BoltzmannLayer, v: Tensor, h: Tensor) -> Tensor:
    """Return ``log p(v | h)``, summed over the visible units, the last axis."""
    field = layer.visible_input(h)
    if layer.visible == "bernoulli":
        return (v * field - softplus(field)).sum(2)
    return -0.5 * ((v - field).square() + math.log(2 * math.pi)).sum(2)
