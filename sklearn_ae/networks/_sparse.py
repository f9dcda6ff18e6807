"""The module of sparse autoencoders: codes with few active units."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._network import Network

DECAY = 0.95
"""Fraction of a running mean that is kept at each step."""

DEAD_FRACTION = 0.1
"""Fraction of the mean usage below which a unit counts as dead."""


class SparseModule(AutoencoderModule):
    """Autoencoder whose code is made sparse.

    Parameters
    ----------
    network : Network
    sample_shape : tuple of int
    n_components : int or None
    sparsity : {"kl", "l1", "topk"}
        How the code is made sparse.
    sparsity_target : float
        Desired mean activation of a unit, or fraction of active units.
    n_active : int or None
        Number of active units under ``"topk"``. None: it follows from `sparsity_target`.
    encoding_factor : float
        Number of active units in fitted codes, divided by that in training.
    **options
        Further arguments of `AutoencoderModule`.

    Attributes
    ----------
    usage : Tensor of shape (n_components,)
        Running mean of each unit's activation, or of the fraction of samples in which it is
        active. NaN before the first batch.
    factor : Tensor of shape ()
        Factor of the penalty.
    """

    usage: Tensor
    factor: Tensor

    def __init__(
        self,
        network: Network,
        sample_shape: tuple[int, ...],
        n_components: int | None,
        sparsity: str,
        sparsity_target: float,
        n_active: int | None,
        encoding_factor: float,
        **options: Any,
    ) -> None:
        super().__init__(network, sample_shape, n_components, **options)
        n_components = self.n_components
        self.sparsity = sparsity
        # The pre-activation at which a logistic unit has the desired activation.
        self.start = math.log(sparsity_target / (1 - sparsity_target))
        self.n_active = n_active or max(1, round(sparsity_target * n_components))
        self.n_kept = min(max(1, round(encoding_factor * self.n_active)), n_components)
        self.register_buffer("usage", torch.full((n_components,), torch.nan))
        self.register_buffer("factor", torch.full((), 0.1))

    def encode(self, x: Tensor) -> Tensor:
        """Map samples to sparse codes."""
        n_kept = self.n_scheduled() if self.training else self.n_kept
        return self.sparsify(self.encoder(x).to(x.dtype), n_kept)

    def sparsify(self, raw: Tensor, n_kept: int) -> Tensor:
        """Map the encoder's output to a sparse code.

        Parameters
        ----------
        raw : Tensor of shape (batch, n_components)
            Output of the encoder.
        n_kept : int
            Number of units that ``"topk"`` keeps.

        Returns
        -------
        Tensor of shape (batch, n_components)
        """
        if self.sparsity == "kl":
            return torch.sigmoid(raw + self.start)
        if self.sparsity == "l1":
            return raw.relu()
        values, places = raw.topk(n_kept, dim=1, sorted=False)
        return torch.zeros_like(raw).scatter(1, places, values)

    def n_scheduled(self) -> int:
        """Return how many units are kept: all at first, `n_active` in the second half."""
        remaining = max(0.0, 1 - 2 * self.progress)
        return self.n_active + round(remaining * (self.n_components - self.n_active))

    def running_mean(self, values: Tensor, weight: Tensor | None) -> Tensor:
        """Return the running mean of the earlier batches, with the gradient of this batch.

        Given the earlier batches, the update of the mean and the gradient are sums over samples.
        The update is larger for a batch of large weights. A weight of two is thus equivalent to
        two copies of a sample, in expectation over the batches.

        Parameters
        ----------
        values : Tensor of shape (batch, n_components)
        weight : Tensor of shape (batch,) or None
            Weights of the samples.

        Returns
        -------
        Tensor of shape (n_components,)
        """
        weight = torch.ones_like(values[:, 0]) if weight is None else weight
        # Not a matrix product, which would be computed in bfloat16 under autocast.
        weighted = (values * weight[:, None]).mean(0)
        mean_weight = weight.mean()
        mean = weighted / mean_weight
        if not self.training:
            return torch.where(self.usage.isnan(), mean, self.usage)
        with torch.no_grad():
            earlier = torch.where(self.usage.isnan(), mean, self.usage)
            self.usage.copy_(earlier.lerp(mean, ((1 - DECAY) * mean_weight).clamp_max(1)))
        return earlier + weighted - weighted.detach()  # the difference is zero, its gradient not

    def revival(self, raw: Tensor, code: Tensor, usage: Tensor) -> Tensor:
        """Return how far the dead units of each sample are from being active, on average.

        Parameters
        ----------
        raw, code : Tensor of shape (batch, n_components)
            Output of the encoder, and the sparse code.
        usage : Tensor of shape (n_components,)

        Returns
        -------
        Tensor of shape (batch,)
        """
        dead = usage.detach() < DEAD_FRACTION * usage.detach().mean()
        # The smallest active unit is the threshold. A sample without any has none.
        active = torch.where(code != 0, raw, torch.inf).amin(1, keepdim=True)
        threshold = torch.where(active.isfinite(), active, 0.0).detach()
        return ((threshold - raw).relu() * dead).sum(1) / raw.shape[1]
