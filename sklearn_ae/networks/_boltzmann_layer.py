"""The layer of a restricted Boltzmann machine (RBM), with Bernoulli or Gaussian units.

Notation: ``v`` are visible and ``h`` hidden units, ``W`` of shape (n_hidden, n_visible) their
weights, ``b`` and ``c`` the visible and the hidden biases. The energy of a pair is

    E(v, h) = A(v) + C(h) - h^T W v,

where ``A(v) = -b^T v`` for Bernoulli units and ``A(v) = |v - b|^2 / 2`` for Gaussian ones, and
likewise ``C`` with ``c``. The probability of a pair is ``e^{-E} / Z``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

INITIAL_STD = 0.01
"""Standard deviation of the weights before training."""


def draw_units(mean: Tensor, kind: str) -> Tensor:
    """Draw units with these means: bits, or Gaussian numbers of variance one."""
    if kind == "bernoulli":
        return (torch.rand_like(mean) < mean).to(mean.dtype)
    return mean + torch.randn_like(mean)


class BoltzmannLayer(nn.Module):
    """RBM of given parameters, which it may share with other layers.

    Parameters
    ----------
    weight : nn.Parameter of shape (n_hidden, n_visible)
        For example the weight of an ``nn.Linear`` from visible to hidden units.
    hidden_bias : nn.Parameter of shape (n_hidden,)
    visible_bias : nn.Parameter of shape (n_visible,)
    visible, hidden : {"bernoulli", "gaussian"}
        Gaussian units have variance one.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        hidden_bias: nn.Parameter,
        visible_bias: nn.Parameter,
        visible: str = "bernoulli",
        hidden: str = "bernoulli",
    ) -> None:
        super().__init__()
        self.weight = weight
        self.hidden_bias = hidden_bias
        self.visible_bias = visible_bias
        self.visible = visible
        self.hidden = hidden

    def exchanged(self) -> BoltzmannLayer:
        """Return the RBM with visible and hidden units exchanged, which shares the memory."""
        weight, hidden_bias, visible_bias = (p.detach() for p in self.parameters())
        return BoltzmannLayer(
            nn.Parameter(weight.t()),
            nn.Parameter(visible_bias),
            nn.Parameter(hidden_bias),
            visible=self.hidden,
            hidden=self.visible,
        )

    def hidden_input(self, v: Tensor) -> Tensor:
        """Return ``c + W v`` of each sample, ``(n_samples, n_hidden)``."""
        return functional.linear(v, self.weight, self.hidden_bias)

    def visible_input(self, h: Tensor) -> Tensor:
        """Return ``b + W^T h`` of each sample, ``(n_samples, n_visible)``."""
        return functional.linear(h, self.weight.t(), self.visible_bias)

    def hidden_mean(self, v: Tensor) -> Tensor:
        """Return the mean of the hidden units given the visible ones."""
        field = self.hidden_input(v)
        return torch.sigmoid(field) if self.hidden == "bernoulli" else field

    def visible_mean(self, h: Tensor) -> Tensor:
        """Return the mean of the visible units given the hidden ones."""
        field = self.visible_input(h)
        return torch.sigmoid(field) if self.visible == "bernoulli" else field

    def free_energy(self, v: Tensor) -> Tensor:
        """Return ``F(v) = -log sum_h e^{-E(v, h)}`` of each sample, ``(n_samples,)``.

        For Bernoulli hidden units it is ``A(v) - sum_j log(1 + e^{c_j + (W v)_j})``. For Gaussian
        ones the sum is an integral: ``A(v) - [|c + W v|^2 - |c|^2 + n_hidden log(2 pi)] / 2``.
        """
        field = self.hidden_input(v)
        if self.hidden == "bernoulli":
            gain = functional.softplus(field).sum(1)
        else:
            squares = field.square() - self.hidden_bias.square()
            gain = 0.5 * (squares + math.log(2 * math.pi)).sum(1)
        if self.visible == "bernoulli":
            return -(v @ self.visible_bias) - gain
        return 0.5 * (v - self.visible_bias).square().sum(1) - gain

    def gibbs(self, v: Tensor, n_steps: int = 1) -> Tensor:
        """Draw the hidden units given the visible ones, and then these again, ``n_steps`` times.

        Parameters
        ----------
        v : Tensor of shape (n_samples, n_visible)
        n_steps : int, default=1

        Returns
        -------
        Tensor of shape (n_samples, n_visible)
        """
        for _ in range(n_steps):
            h = draw_units(self.hidden_mean(v), self.hidden)
            v = draw_units(self.visible_mean(h), self.visible)
        return v

    def cd_terms(
        self,
        v: Tensor,
        n_steps: int = 1,
        sample_weight: Tensor | None = None,
        chains: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return loss terms whose gradient is that of contrastive divergence.

        The value ``F(v) - F(v')`` has no interpretation of its own. Its derivative with ``v'``
        constant is the difference between the statistics of the positive and the negative phase.

        Parameters
        ----------
        v : Tensor of shape (batch_size, n_visible)
        n_steps : int, default=1
            Gibbs steps from ``v``, or from the chains, to ``v'``.
        sample_weight : Tensor of shape (batch_size,) or None, default=None
            Not used here: the caller averages the terms with these weights.
        chains : Tensor of shape (n_chains, n_hidden) or None, default=None
            Hidden states of persistent chains, updated in place.

        Returns
        -------
        dict of Tensor
            ``"contrastive"``, of shape (batch_size,).
        """
        with torch.no_grad():
            h = draw_units(self.hidden_mean(v), self.hidden) if chains is None else chains
            # The negative phase starts at hidden units: half of the first Gibbs step is done.
            fantasy = self.gibbs(draw_units(self.visible_mean(h), self.visible), n_steps - 1)
            if chains is not None:
                chains.copy_(draw_units(self.hidden_mean(fantasy), self.hidden))
        negative = self.free_energy(fantasy)  # (batch_size,) or (n_chains,)
        if chains is not None:
            negative = negative.mean()
        return {"contrastive": self.free_energy(v) - negative}
