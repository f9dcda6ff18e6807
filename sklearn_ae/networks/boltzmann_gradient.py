"""The gradient of contrastive divergence, written out by hand.

Let ``s`` be the weight of a row over their number, negative for what the machine makes up. The
gradients of ``sum_r s_r F(v_r)`` are ``dW = -sum_r s_r h_r v_r^T``, ``dc = -sum_r s_r h_r`` and
``db = -sum_r s_r v_r``, where ``h_r`` is the mean of the hidden units given ``v_r``. Both phases
lie in one matrix, and ``-s`` is one more column beside ``-s h``: a single product then gives
``dW`` and ``db``, also in bfloat16, where a difference of two products would drown in rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from sklearn_ae.losses import bernoulli_divergence
from sklearn_ae.networks._boltzmann import BoltzmannModule

_LARGEST = 2**31 - 1


class Sparsity(NamedTuple):
    """What the hidden units' mean activations are drawn to, and how strongly."""

    target: float
    weight: float


class _Phases:
    """Room for a batch and, below it, for what the machine makes up.

    Parameters
    ----------
    weight : Tensor of shape (n_hidden, n_visible)
        Tells sizes, device and precision.
    n_rows, n_chains : int
        Without chains there is a fantasy for each row.
    dtype : torch.dtype
        Precision of the products.

    Attributes
    ----------
    v : Tensor of shape (n_rows + n_fantasies, n_visible)
    field, mean : Tensor of shape (n_rows + n_fantasies, n_hidden)
        Inputs and means of the hidden units.
    sign : Tensor of shape (n_rows + n_fantasies, 1)
        ``-s``.
    signed : Tensor of shape (n_rows + n_fantasies, n_hidden + 1)
        ``-s h`` and ``-s``.
    """

    def __init__(self, weight: Tensor, n_rows: int, n_chains: int, dtype: torch.dtype) -> None:
        n_hidden, n_visible = weight.shape
        self.n_chains, n_fantasies = n_chains, n_chains or n_rows
        n_all = n_rows + n_fantasies
        self.v = weight.new_empty(n_all, n_visible, dtype=dtype)
        self.field = weight.new_empty(n_all, n_hidden, dtype=dtype)
        self.mean = weight.new_empty(n_all, n_hidden)
        self.hidden = weight.new_empty(n_fantasies, n_hidden, dtype=dtype)
        self.signed = weight.new_empty(n_all, n_hidden + 1, dtype=dtype)
        self.sign = weight.new_empty(n_all, 1)
        # Views cost as much as the arithmetic of a small batch: they are made once.
        sizes = [n_rows, n_fantasies]
        self.v_parts, self.field_parts = self.v.split(sizes), self.field.split(sizes)
        self.mean_parts, self.sign_parts = self.mean.split(sizes), self.sign.split(sizes)
        self.signed_hidden, self.signed_one = self.signed.split([n_hidden, 1], dim=1)
        self.signed_transposed = self.signed.t()
        self.set_weights(weight.new_full((n_rows, 1), 1 / n_rows))

    def set_weights(self, share: Tensor) -> None:
        """Take over ``s`` of the rows, ``(n_rows, 1)``, and balance it by the other phase."""
        torch.neg(share, out=self.sign_parts[0])
        # Chains stand for all rows alike, fantasies of their own for one row each.
        self.sign_parts[1].copy_(share.sum() / self.n_chains if self.n_chains else share)
        self.signed_one.copy_(self.sign)


class ContrastiveGradient:
    """Contrastive divergence of a module's layer in one call.

    Parameters
    ----------
    module : BoltzmannModule
        The ``grad`` of each parameter is there and will be overwritten.
    n_steps : int
    sparsity : Sparsity or None
    dtype : torch.dtype
        Precision of the matrix products.
    generator : torch.Generator
    """

    def __init__(
        self,
        module: BoltzmannModule,
        n_steps: int,
        sparsity: Sparsity | None,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> None:
        layer = module.layer
        self.n_steps, self.sparsity, self.generator = n_steps, sparsity, generator
        self.is_bits = layer.visible == "bernoulli"
        self.sigma = module.sigma
        self.chains = module.chains if len(module.chains) else None
        parameters = layer.weight, layer.hidden_bias, layer.visible_bias
        self.masters = tuple(parameter.detach() for parameter in parameters)
        self.gradients = tuple(_gradient(parameter) for parameter in parameters)
        self.products = tuple(master.to(dtype) for master in self.masters)
        self.transposed = self.products[0].t()
        n_hidden, n_visible = layer.weight.shape
        self.product = self.products[0].new_empty(n_hidden + 1, n_visible)
        self.product_parts = self.product[:-1], self.product[-1]
        self._room: dict[int, _Phases] = {}

    @torch.no_grad()
    def __call__(
        self, x: Tensor, sample_weight: Tensor | None, twins: Tensor | None
    ) -> dict[str, Tensor]:
        """Write the gradient of a batch and return its loss terms.

        Parameters
        ----------
        x : Tensor of shape (batch_size, n_features)
        sample_weight : Tensor of shape (batch_size,) or None
        twins : Tensor of shape (batch_size,) or None
            Copies of a row share their draws.

        Returns
        -------
        dict of scalar Tensor
        """
        phases = self._room.get(len(x)) or self._make_room(len(x))
        if self.products[0].dtype != x.dtype:
            for product, master in zip(self.products, self.masters, strict=True):
                product.copy_(master)
        if sample_weight is not None:
            phases.set_weights(sample_weight[:, None] / len(x))
        if self.is_bits:
            phases.v_parts[0].copy_(x)
        else:
            torch.div(x, self.sigma, out=phases.v_parts[0])
        self._infer(phases, 0)
        self._dream(phases, twins)
        torch.mul(phases.mean, phases.sign, out=phases.signed_hidden)
        sparsity = None if self.sparsity is None else self._make_sparse(phases)
        torch.mm(phases.signed_transposed, phases.v, out=self.product)
        weight, hidden_bias, visible_bias = self.gradients
        weight.copy_(self.product_parts[0])
        visible_bias.copy_(self.product_parts[1])
        torch.sum(phases.signed_hidden, 0, dtype=hidden_bias.dtype, out=hidden_bias)
        terms = {"contrastive": self._contrast(phases)}
        return terms if sparsity is None else terms | {"sparsity": sparsity}

    def _make_room(self, n_rows: int) -> _Phases:
        if len(self._room) > 1:  # a batch and a shorter last one are all there is
            self._room.clear()
        n_chains = 0 if self.chains is None else len(self.chains)
        phases = _Phases(self.masters[0], n_rows, n_chains, self.products[0].dtype)
        self._room[n_rows] = phases
        return phases

    def _infer(self, phases: _Phases, phase: int) -> None:
        """Fill in inputs and means of the hidden units."""
        field, mean = phases.field_parts[phase], phases.mean_parts[phase]
        torch.addmm(self.products[1], phases.v_parts[phase], self.transposed, out=field)
        torch.sigmoid(field.to(mean.dtype), out=mean)

    def _dream(self, phases: _Phases, twins: Tensor | None) -> None:
        """Draw what the machine makes up, from the rows on or from the chains."""
        h, v = phases.hidden, phases.v_parts[1]
        if self.chains is None:
            self._draw(phases.mean_parts[0], h, twins)
        else:
            h.copy_(self.chains)
            twins = None
        for number in range(self.n_steps):
            if number:
                self._draw(phases.mean_parts[1], h, twins)
            torch.addmm(self.products[2], h, self.products[0], out=v)
            field = v.to(phases.mean.dtype)
            if self.is_bits:
                self._draw(field.sigmoid_(), v, twins)
            else:
                v.copy_(field + self._noise(_draw_gaussian, field, twins))
            self._infer(phases, 1)
        if self.chains is not None:
            self._draw(phases.mean_parts[1], self.chains, None)

    def _draw(self, mean: Tensor, out: Tensor, twins: Tensor | None) -> None:
        """Draw bits of the given means into ``out``."""
        torch.lt(self._noise(draw_uniform, mean, twins), mean, out=out)

    def _noise(self, draw: Any, like: Tensor, twins: Tensor | None) -> Tensor:
        size = like.shape if twins is None else (int(twins.max()) + 1, like.shape[1])
        noise = draw(size, self.generator, like)
        return noise if twins is None else noise.index_select(0, twins)

    def _contrast(self, phases: _Phases) -> Tensor:
        """Return ``sum_r s_r F(v_r)``."""
        sign = phases.sign.view(-1)
        value = softplus(phases.field).sum(1, dtype=sign.dtype).dot(sign)
        if self.is_bits:  # sum_r s_r b^T v_r is there already
            return value + self.gradients[2].dot(self.masters[2])
        return value - 0.5 * (phases.v - self.masters[2]).square().sum(1).dot(sign)

    def _make_sparse(self, phases: _Phases) -> Tensor:
        """Pull the input of each hidden unit by how far its mean ``q`` is from the target.

        ``q - target`` is the slope of the divergence where ``q`` is the logistic function of an
        input. It does not vanish for units that are always on, or always off, and is linear, so
        that the scatter of a batch's mean does no harm.
        """
        assert self.sparsity is not None
        target, strength = self.sparsity
        mean, share = phases.mean_parts[0], -phases.sign_parts[0]
        share = share / share.sum()
        q = (mean * share).sum(0)
        phases.signed_hidden[: len(mean)] += strength * (q - target) * share
        return strength * bernoulli_divergence(target, q).sum()


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def draw_uniform(size: tuple[int, int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw numbers from the unit interval, to 24 bits or more.

    On the CPU the generator's bits come three times as fast as ``torch.rand``.
    """
    if like.device.type != "cpu":
        return torch.rand(size, generator=generator, dtype=like.dtype, device=like.device)
    n_draws = size[0] * size[1]
    pairs = torch.empty((n_draws + 1) // 2, dtype=torch.int64).random_(generator=generator)
    bits = pairs.view(torch.int32)[:n_draws].bitwise_and_(_LARGEST)
    return bits.view(size).to(like.dtype).mul_(1 / (_LARGEST + 1))


def _draw_gaussian(size: tuple[int, int], generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(size, generator=generator, dtype=like.dtype, device=like.device)
