"""The hand-written gradient of contrastive divergence.

The positive phase consists of the samples of a batch, and the negative phase of samples that the
restricted Boltzmann machine (RBM) draws, called fantasies. Let ``s_r`` be the weight of sample
``r`` divided by the number of samples, negative for fantasies. The gradients of
``sum_r s_r F(v_r)`` are ``dW = -sum_r s_r h_r v_r^T``, ``dc = -sum_r s_r h_r`` and
``db = -sum_r s_r v_r``, where ``h_r`` is the mean of the hidden units given ``v_r``.

Both phases are stored in one matrix, and ``-s`` is a further column next to ``-s h``. One matrix
product then returns ``dW`` and ``db``. It is accurate in bfloat16 as well, whereas the difference
of two products would be dominated by rounding errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from sklearn_ae.losses import bernoulli_divergence
from sklearn_ae.networks._boltzmann import BoltzmannModule

Draw = Callable[[tuple[int, int], torch.Generator, Tensor], Tensor]


class Sparsity(NamedTuple):
    """A penalty on the mean activations of the hidden units.

    Attributes
    ----------
    target : float
        Desired mean activation.
    weight : float
        Factor of the penalty.
    """

    target: float
    weight: float


class _Phases:
    """Memory for the samples of a batch, followed by the fantasies.

    Parameters
    ----------
    weight : Tensor of shape (n_hidden, n_visible)
        Determines sizes, device and precision.
    n_samples, n_chains : int
        If there are no chains, there is one fantasy for each sample.
    dtype : torch.dtype
        Precision of the products.

    Attributes
    ----------
    v : Tensor of shape (n_samples + n_fantasies, n_visible)
    field, mean : Tensor of shape (n_samples + n_fantasies, n_hidden)
        Inputs and means of the hidden units.
    sign : Tensor of shape (n_samples + n_fantasies, 1)
        ``-s``.
    signed : Tensor of shape (n_samples + n_fantasies, n_hidden + 1)
        ``-s h`` and ``-s``.
    """

    def __init__(self, weight: Tensor, n_samples: int, n_chains: int, dtype: torch.dtype) -> None:
        n_hidden, n_visible = weight.shape
        self.n_chains, n_fantasies = n_chains, n_chains or n_samples
        n_all = n_samples + n_fantasies
        self.v = weight.new_empty(n_all, n_visible, dtype=dtype)
        self.field = weight.new_empty(n_all, n_hidden, dtype=dtype)
        self.mean = weight.new_empty(n_all, n_hidden)
        self.hidden = weight.new_empty(n_fantasies, n_hidden, dtype=dtype)
        self.signed = weight.new_empty(n_all, n_hidden + 1, dtype=dtype)
        self.sign = weight.new_empty(n_all, 1)
        # Views are created once, because they cost as much as the arithmetic of a small batch.
        sizes = [n_samples, n_fantasies]
        self.v_parts, self.field_parts = torch.split(self.v, sizes), torch.split(self.field, sizes)
        self.mean_parts = torch.split(self.mean, sizes)
        self.sign_parts = torch.split(self.sign, sizes)
        self.signed_hidden, self.signed_one = torch.split(self.signed, [n_hidden, 1], dim=1)
        self.signed_transposed = self.signed.t()
        self.set_weights(weight.new_full((n_samples, 1), 1 / n_samples))

    def set_weights(self, s: Tensor) -> None:
        """Set ``s`` of the samples, ``(n_samples, 1)``, and ``s`` of the fantasies to match."""
        torch.neg(s, out=self.sign_parts[0])
        # Each chain has the mean weight of the samples, each other fantasy that of its sample.
        self.sign_parts[1].copy_(s.sum() / self.n_chains if self.n_chains else s)
        self.signed_one.copy_(self.sign)


class ContrastiveGradient:
    """Loss terms and gradient of contrastive divergence in one call.

    Parameters
    ----------
    module : BoltzmannModule
        The ``grad`` of each parameter must exist. Each call overwrites it.
    n_steps : int
        Number of Gibbs steps.
    sparsity : Sparsity or None
    dtype : torch.dtype
        Precision of the matrix products.
    generator : torch.Generator
        Generator of all draws.
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
        # Weight, hidden bias and visible bias: in full precision, their gradients, and in the
        # precision of the products.
        self.masters = tuple(parameter.detach() for parameter in parameters)
        self.gradients = tuple(_gradient(parameter) for parameter in parameters)
        self.copies = tuple(master.to(dtype) for master in self.masters)
        self.transposed = self.copies[0].t()
        n_hidden, n_visible = layer.weight.shape
        self.product = self.copies[0].new_empty(n_hidden + 1, n_visible)
        self.product_parts = self.product[:-1], self.product[-1]
        self._phases: dict[int, _Phases] = {}

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        sample_weight: Tensor | None,
        duplicates: Tensor | None,
        n_draws: int | None = None,
    ) -> dict[str, Tensor]:
        """Write the gradient of a batch and return its loss terms.

        Parameters
        ----------
        x : Tensor of shape (batch_size, n_features)
        sample_weight : Tensor of shape (batch_size,) or None
        duplicates : Tensor of shape (batch_size,) or None
            Number of the group of equal samples that a sample belongs to. Equal samples have the
            same draws. None: there are none.
        n_draws : int or None
            Number of groups; None: as many as have a sample.

        Returns
        -------
        dict of scalar Tensor
        """
        self._n_draws = n_draws
        phases = self._phases.get(len(x)) or self._allocate(len(x))
        if self.copies[0].dtype != x.dtype:
            for copy, master in zip(self.copies, self.masters, strict=True):
                copy.copy_(master)
        if sample_weight is not None:
            phases.set_weights(sample_weight[:, None] / len(x))
        if self.is_bits:
            phases.v_parts[0].copy_(x)
        else:
            torch.div(x, self.sigma, out=phases.v_parts[0])
        self._infer_hidden(phases, 0)
        self._sample_negative(phases, duplicates)
        torch.mul(phases.mean, phases.sign, out=phases.signed_hidden)
        # Before the product, because the penalty changes -s h.
        sparsity = None if self.sparsity is None else self._add_sparsity(phases)
        torch.mm(phases.signed_transposed, phases.v, out=self.product)
        weight, hidden_bias, visible_bias = self.gradients
        weight.copy_(self.product_parts[0])
        visible_bias.copy_(self.product_parts[1])
        torch.sum(phases.signed_hidden, 0, dtype=hidden_bias.dtype, out=hidden_bias)
        terms = {"contrastive": self._contrast(phases)}
        return terms if sparsity is None else terms | {"sparsity": sparsity}

    def _allocate(self, n_samples: int) -> _Phases:
        """Return memory for a batch of this size, which later batches of the size reuse."""
        if len(self._phases) > 1:  # only full batches and a shorter last one recur
            self._phases.clear()
        n_chains = 0 if self.chains is None else len(self.chains)
        phases = _Phases(self.masters[0], n_samples, n_chains, self.copies[0].dtype)
        self._phases[n_samples] = phases
        return phases

    def _infer_hidden(self, phases: _Phases, phase: int) -> None:
        """Compute the inputs and means of the hidden units of the positive (0) or negative (1)."""
        field, mean = phases.field_parts[phase], phases.mean_parts[phase]
        torch.addmm(self.copies[1], phases.v_parts[phase], self.transposed, out=field)
        torch.sigmoid(field.to(mean.dtype), out=mean)

    def _sample_negative(self, phases: _Phases, duplicates: Tensor | None) -> None:
        """Draw the fantasies by Gibbs steps from the samples, or from the chains."""
        h, v = phases.hidden, phases.v_parts[1]
        if self.chains is None:
            self._draw(phases.mean_parts[0], h, duplicates)
        else:
            h.copy_(self.chains)
            duplicates = None
        for number in range(self.n_steps):
            if number:
                self._draw(phases.mean_parts[1], h, duplicates)
            torch.addmm(self.copies[2], h, self.copies[0], out=v)
            field = v.to(phases.mean.dtype)
            if self.is_bits:
                self._draw(field.sigmoid_(), v, duplicates)
            else:
                v.copy_(field + self._noise(_draw_gaussian, field, duplicates))
            self._infer_hidden(phases, 1)
        if self.chains is not None:
            self._draw(phases.mean_parts[1], self.chains, None)

    def _draw(self, mean: Tensor, out: Tensor, duplicates: Tensor | None) -> None:
        """Draw bits with these means into ``out``."""
        torch.lt(self._noise(draw_uniform, mean, duplicates), mean, out=out)

    def _noise(self, draw: Draw, like: Tensor, duplicates: Tensor | None) -> Tensor:
        """Return random numbers of the shape of `like`, equal for equal samples."""
        n_draws = len(like)
        if duplicates is not None:
            n_draws = self._n_draws or int(duplicates.max()) + 1
        noise = draw((n_draws, like.shape[1]), self.generator, like)
        return noise if duplicates is None else noise.index_select(0, duplicates)

    def _contrast(self, phases: _Phases) -> Tensor:
        """Return ``sum_r s_r F(v_r)``."""
        sign = phases.sign.view(-1)
        value = softplus(phases.field).sum(1, dtype=sign.dtype).dot(sign)
        if self.is_bits:  # the gradient of b is sum_r -s_r v_r
            return value + self.gradients[2].dot(self.masters[2])
        return value - 0.5 * (phases.v - self.masters[2]).square().sum(1).dot(sign)

    def _add_sparsity(self, phases: _Phases) -> Tensor:
        """Add the gradient of the sparsity penalty to ``-s h``, and return the penalty.

        Let ``q`` be the mean of a hidden unit over the batch. The gradient that is added to the
        input of the unit is ``q - target``, the derivative of the divergence if ``q`` were the
        logistic function of that input. It does not vanish for units that are always 1 or always
        0. It is linear in ``q``, so that the noise of the mean over a batch causes no bias.
        """
        assert self.sparsity is not None
        target, factor = self.sparsity
        mean, fraction = phases.mean_parts[0], -phases.sign_parts[0]
        fraction = fraction / fraction.sum()
        q = (mean * fraction).sum(0)
        phases.signed_hidden[: len(mean)] += factor * (q - target) * fraction
        return factor * bernoulli_divergence(target, q).sum()


def _gradient(parameter: Tensor) -> Tensor:
    """Return the gradient of a parameter, which must exist."""
    assert parameter.grad is not None
    return parameter.grad


def draw_uniform(size: tuple[int, int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw uniform random numbers from [0, 1), with a resolution of 24 bits.

    In float32, because torch takes up to ten times as long in float64.

    Parameters
    ----------
    size : tuple of int
        Shape of the result.
    generator : torch.Generator
    like : Tensor
        Determines dtype and device.

    Returns
    -------
    Tensor of shape `size`
    """
    drawn = torch.rand(size, generator=generator, dtype=torch.float32, device=like.device)
    return drawn.to(like.dtype)


def _draw_gaussian(size: tuple[int, int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw standard normal random numbers; the arguments are those of :func:`draw_uniform`."""
    drawn = torch.randn(size, generator=generator, dtype=torch.float32, device=like.device)
    return drawn.to(like.dtype)
