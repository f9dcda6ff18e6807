"""The deep belief network as a model of the density: draws, and a bound of the likelihood.

Notation: ``h_0`` are the visible units and ``h_1`` to ``h_L`` the layers above. The topmost two
are a restricted Boltzmann machine, and each layer below is drawn given the one above it:

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
    """The generative model that greedy training leaves in a stack, before any fine-tuning.

    Parameters
    ----------
    module : AutoencoderModule
        Of a :class:`StackNetwork` whose layers were trained as RBMs.
    loss : Loss
        Of the reconstruction, which says what the visible units are.

    Attributes
    ----------
    layers : list of BoltzmannLayer
        From the visible units up.
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
        """Number of units between the visible ones and the code."""
        return sum(len(layer.weight) for layer in self.layers[:-1])

    @torch.no_grad()
    def sample(self, codes: Tensor, n_steps: int, noise: bool) -> Tensor:
        """Draw samples in network units: a chain in the topmost RBM, then one layer after another.

        Parameters
        ----------
        codes : Tensor of shape (n_samples, n_components)
            Where the chains start.
        n_steps : int
            Number of Gibbs steps of the topmost RBM.
        noise : bool
            Whether the visible units are drawn. If False their means given the layer above are
            returned; all layers above are drawn in any case.
        """
        top = self.layers[-1]
        h = codes.clamp(0, 1) if top.hidden == "bernoulli" else codes
        # The last step ends with the units that the loop draws.
        h = draw_units(top.hidden_mean(top.gibbs(top.visible_mean(h), n_steps - 1)), top.hidden)
        for layer in reversed(self.layers):
            mean = layer.visible_mean(h)
            h = draw_units(mean, layer.visible)
        return h if noise else mean

    def bound(self, x: Tensor, uniform: Tensor) -> Tensor:
        """Return the variational bound of each sample, the topmost ``log Z`` not subtracted.

        With the recognition pass ``q(h_{l+1} | h_l)``, the hidden probabilities of each RBM,

            E_q[ sum_{l < L-1} log p(h_l | h_{l+1}) - log q(h_{l+1} | h_l) - F(h_{L-1}) ],

        where ``F`` is the free energy of the topmost RBM. The expectation is a mean over draws,
        which are all alike where ``q`` is the posterior: its logarithm is not averaged apart.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_features)
            In network units.
        uniform : Tensor of shape (n_samples, n_draws, n_inner)
            Uniform numbers, one for each hidden unit that is drawn.

        Returns
        -------
        Tensor of shape (n_samples,)
        """
        if len(self.layers) == 1:
            return -self.layers[0].free_energy(x)
        below, total, place = x[:, None], torch.zeros((), dtype=x.dtype, device=x.device), 0
        for layer in self.layers[:-1]:
            field = layer.hidden_input(below)  # (n_samples, 1 or n_draws, n_hidden)
            drawn = uniform[:, :, place : place + len(layer.weight)] < torch.sigmoid(field)
            h = drawn.to(x.dtype)
            log_q = (h * field - softplus(field)).sum(2)
            total = total + _log_likelihood(layer, below, h) - log_q
            below, place = h, place + len(layer.weight)
        energy = self.layers[-1].free_energy(below.flatten(0, 1))
        return (total - energy.unflatten(0, (-1, uniform.shape[1]))).mean(1)

    def log_partition(self, n_temperatures: int, n_runs: int) -> float:
        """Logarithm of the topmost RBM's partition function, remembered on the module."""
        top, mean = self.layers[-1], self.module.code_mean
        # Annealing starts at independent units, near the means that the training samples give.
        is_turned = top.visible == "bernoulli" and top.hidden == "gaussian"
        base = mean if is_turned else top.visible_input(mean[None])[0].detach()
        layer = top.turned() if is_turned else top
        return log_partition(self.module, layer, base, n_temperatures, n_runs)


def _log_likelihood(layer: BoltzmannLayer, v: Tensor, h: Tensor) -> Tensor:
    """Return ``log p(v | h)``, summed over the visible units on the last axis."""
    field = layer.visible_input(h)
    if layer.visible == "bernoulli":
        return (v * field - softplus(field)).sum(2)
    return -0.5 * ((v - field).square() + math.log(2 * math.pi)).sum(2)
