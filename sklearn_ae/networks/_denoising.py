"""The module of denoising autoencoders: it knows how rows are spoilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._network import Network
from sklearn_ae.networks._posterior import MAX_STEPS, draw_clean

STEP = 0.2
"""Fraction of the way to the mean that a step of Langevin's walk takes."""


class DenoisingModule(AutoencoderModule):
    """A network that knows how its rows are spoilt.

    Parameters
    ----------
    network : Network
    row_shape : tuple of int
    n_components : int or None
    noise : str or callable
    noise_level : float or None
        As asked for; what it comes to is noted in ``level``.
    **options
        Further arguments of the network's factories.

    Attributes
    ----------
    least, most : Tensor of shape (n_features,)
        Range of the training rows, in network units.
    level : Tensor of shape ()
        Noise level, in the units of the data where it is a standard deviation.
    residual : Tensor of shape (n_features,)
        Root mean squared difference between reconstructed and clean training samples. Zero where
        the module has a score: draws then have a covariance of their own.
    strays : Tensor of shape ()
        Fraction of the training samples that, corrupted and drawn again, lie where no data are.
        Zero where that was not tried.
    """

    least: Tensor
    most: Tensor
    level: Tensor
    residual: Tensor
    strays: Tensor

    def __init__(
        self,
        network: Network,
        row_shape: tuple[int, ...],
        n_components: int | None,
        noise: str | Callable[[Tensor], Tensor],
        noise_level: float | None,
        **options: Any,
    ) -> None:
        super().__init__(network, row_shape, n_components, **options)
        self.noise = noise
        for name in ("least", "most", "residual"):
            self.register_buffer(name, torch.zeros(self.center.shape))
        for name in ("level", "strays"):
            self.register_buffer(name, torch.zeros(()))

    def corrupt(self, x: Tensor) -> Tensor:
        """Spoil rows in network units."""
        if callable(self.noise):
            spoilt = self.noise(x * self.scale + self.center)
            if not isinstance(spoilt, Tensor) or spoilt.shape != x.shape:
                raise ValueError(
                    f"noise must return a tensor of the shape of its argument, "
                    f"{tuple(x.shape)}, but returned {getattr(spoilt, 'shape', type(spoilt))}."
                )
            return (spoilt.to(x.dtype) - self.center) / self.scale
        if self.noise == "gaussian":
            return x + self.level / self.scale * torch.randn_like(x)
        hit = (torch.rand_like(x) < self.level) & ~x.isnan()
        if self.noise == "masking":
            return torch.where(hit, -self.center / self.scale, x)
        ends = torch.where(torch.rand_like(x) < 0.5, self.least, self.most)
        return torch.where(hit, ends, x)

    @torch.no_grad()
    def langevin(self, x: Tensor, n_steps: int) -> Tensor:
        """Take samples ``n_steps`` further along the score of the noisy density.

        Each step adds the mean of two successive Gaussian vectors, not one of its own. The chain
        then has the right variance in a Gaussian at any step size, and an error of second order in
        it elsewhere; with independent noise the variance is too large by up to a ninth.

        References
        ----------
        Leimkuhler, B. and Matthews, C. (2013). Rational construction of stochastic numerical
        methods for molecular sampling. Applied Mathematics Research eXpress, 2013(1), 34-56.
        """
        deviation = (STEP / 2) ** 0.5 * self.level / self.scale
        noise = torch.randn_like(x)
        for _ in range(n_steps):
            last, noise = noise, torch.randn_like(x)
            x = x + STEP * (self(x) - x) + deviation * (last + noise)
        return x

    @torch.no_grad()
    def draw_clean(self, corrupted: Tensor, max_steps: int = MAX_STEPS) -> Tensor:
        """Draw the clean samples that corrupted ones were made of, under Gaussian noise.

        Parameters
        ----------
        corrupted : Tensor of shape (batch, n_features)
        max_steps : int
            Number of steps of Lanczos' method at most.
        """
        # The rank of the Jacobian is the code's size at most, that of its symmetric part twice it.
        n_steps = min(2 * len(self.code_mean) + 1, max_steps)
        return draw_clean(self, corrupted, self.level / self.scale, n_steps)
