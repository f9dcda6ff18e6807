"""The module of sparse autoencoders: codes of which little is active."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._network import Network

MEMORY = 0.95
"""Share of a running mean that a step keeps."""

DEAD = 0.1
"""Share of the mean usage below which a unit is pulled up."""


class SparseModule(AutoencoderModule):
    """A network whose code is made sparse after the encoder.

    Parameters
    ----------
    network : Network
    row_shape : tuple of int
    n_components : int or None
    sparsity : {"kl", "l1", "topk"}
    sparsity_target : float
    n_active : int or None
    encoding_factor : float
    """

    usage: Tensor
    factor: Tensor

    def __init__(
        self,
        network: Network,
        row_shape: tuple[int, ...],
        n_components: int | None,
        sparsity: str,
        sparsity_target: float,
        n_active: int | None,
        encoding_factor: float,
    ) -> None:
        super().__init__(network, row_shape, n_components)
        n_components = self.n_components
        self.sparsity = sparsity
        # The pre-activation at which a logistic unit has the activation asked for.
        self.start = math.log(sparsity_target / (1 - sparsity_target))
        self.n_active = n_active or max(1, round(sparsity_target * n_components))
        self.n_kept = min(max(1, round(encoding_factor * self.n_active)), n_components)
        # Of each unit: the running mean of its activation, or of its being active.
        self.register_buffer("usage", torch.full((n_components,), torch.nan))
        self.register_buffer("factor", torch.full((), 0.1))

    def encode(self, x: Tensor) -> Tensor:
        """Map rows to sparse codes."""
        n_kept = self.n_scheduled() if self.training else self.n_kept
        return self.sparsify(self.encoder(x).to(x.dtype), n_kept)

    def sparsify(self, raw: Tensor, n_kept: int) -> Tensor:
        """Map what the encoder gives to a sparse code; ``"topk"`` keeps `n_kept` units."""
        if self.sparsity == "kl":
            return torch.sigmoid(raw + self.start)
        if self.sparsity == "l1":
            return raw.relu()
        values, places = raw.topk(n_kept, dim=1, sorted=False)
        return torch.zeros_like(raw).scatter(1, places, values)

    def n_scheduled(self) -> int:
        """Return how many units training keeps: all at first, `n_active` from half-way on."""
        left = max(0.0, 1 - 2 * self.progress)
        return self.n_active + round(left * (self.n_components - self.n_active))

    def running_mean(self, values: Tensor, weight: Tensor | None) -> Tensor:
        """Mean over the batches before, with the gradient of this one's.

        What is added to the mean, and the gradient, are sums over samples given those batches. A
        batch of heavy samples moves the mean further; on average it is that over copies.
        """
        share = torch.ones_like(values[:, 0]) if weight is None else weight
        weighted = (values * share[:, None]).mean(0)  # in full precision
        part = share.mean()
        mean = weighted / part
        if not self.training:
            return torch.where(self.usage.isnan(), mean, self.usage)
        with torch.no_grad():
            known = torch.where(self.usage.isnan(), mean, self.usage)
            self.usage.copy_(known.lerp(mean, ((1 - MEMORY) * part).clamp_max(1)))
        return known + weighted - weighted.detach()

    def revival(self, raw: Tensor, code: Tensor, usage: Tensor) -> Tensor:
        """Distance of each dead unit from being active, averaged."""
        dead = usage.detach() < DEAD * usage.detach().mean()
        active = torch.where(code != 0, raw, torch.inf).amin(1, keepdim=True)
        threshold = torch.where(active.isfinite(), active, 0.0).detach()
        return ((threshold - raw).relu() * dead).sum(1) / raw.shape[1]
