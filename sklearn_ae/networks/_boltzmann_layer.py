"""One layer of a restricted Boltzmann machine, of two kinds of units.

Notation: ``v`` are visible and ``h`` hidden units, ``W`` of shape (n_hidden, n_visible) their
couplings, ``b`` and ``c`` the visible and the hidden biases. The energy of a pair is

    E(v, h) = A(v) + C(h) - h^T W v,

where a Bernoulli layer adds ``A(v) = -b^T v`` and a Gaussian one ``A(v) = |v - b|^2 / 2``, and
likewise ``C`` with ``c``. The probability of a pair is ``e^{-E} / Z``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

START = 0.01
"""Standard deviation of the couplings before training."""


def draw_units(mean: Tensor, kind: str) -> Tensor:
    """Draw units of the given means: bits, or Gaussian numbers of variance one."""
    if kind == "bernoulli":
        return (torch.rand_like(mean) < mean).to(mean.dtype)
    return mean + torch.randn_like(mean)


class BoltzmannLayer(nn.Module):
    """A restricted Boltzmann machine on parameters that are given, and may be shared.

    Parameters
    ----------
    weight : nn.Parameter of shape (n_hidden, n_visible)
        For example that of an ``nn.Linear`` from visible to hidden units.
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

    def turned(self) -> BoltzmannLayer:
        """Return the same machine with its sides exchanged, on the same memory."""
        weight, hidden_bias, visible_bias = (p.detach() for p in self.parameters())
        return BoltzmannLayer(
            nn.Parameter(weight.t()),
            nn.Parameter(visible_bias),
            nn.Parameter(hidden_bias),
            visible=self.hidden,
            hidden=self.visible,
        )

    def hidden_input(self, v: Tensor) -> Tensor:
        """Return ``c + W v`` of each row, ``(n_rows, n_hidden)``."""
        return functional.linear(v, self.weight, self.hidden_bias)

    def visible_input(self, h: Tensor) -> Tensor:
        """Return ``b + W^T h`` of each row, ``(n_rows, n_visible)``."""
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
        """Return ``F(v) = -log sum_h e^{-E(v, h)}`` of each row, ``(n_rows,)``.

        Over Bernoulli units the sum is ``A(v) - sum_j log(1 + e^{c_j + (W v)_j})``, over Gaussian
        ones, an integral, ``A(v) - [|c + W v|^2 - |c|^2 + n_hidden log(2 pi)] / 2``.
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
        """Draw all hidden units given the visible ones and then those anew, ``n_steps`` times."""
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

        The value ``F(v) - F(v')`` means little; its derivative, ``v'`` held fixed, is the
        difference of the two phases' statistics.

        Parameters
        ----------
        v : Tensor of shape (batch_size, n_visible)
        n_steps : int
            Gibbs steps from ``v``, or from the chains, to ``v'``.
        sample_weight : Tensor of shape (batch_size,) or None
            Weights that the terms will be averaged with. The chains stand for all rows.
        chains : Tensor of shape (n_chains, n_hidden) or None
            Hidden states of persistent chains, which are moved on in place.

        Returns
        -------
        dict of Tensor
            ``"contrastive"``, of shape (batch_size,).
        """
        with torch.no_grad():
            start = self.hidden_mean(v) if chains is None else chains
            h = draw_units(start, self.hidden) if chains is None else chains
            fantasy = self.gibbs(draw_units(self.visible_mean(h), self.visible), n_steps - 1)
            if chains is not None:
                chains.copy_(draw_units(self.hidden_mean(fantasy), self.hidden))
        negative = self.free_energy(fantasy)
        if chains is not None:
            negative = negative.mean()
        return {"contrastive": self.free_energy(v) - negative}
