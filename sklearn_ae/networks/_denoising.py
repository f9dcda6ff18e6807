"""The module of denoising autoencoders, which corrupts samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklearn_ae._tables.loss import Layout
from sklearn_ae.networks._layers import differentiable
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._network import Network
from sklearn_ae.networks._posterior import MAX_STEPS, draw_clean

LANGEVIN_STEP = 0.2
"""Fraction of the way to the reconstruction that one step of Langevin dynamics moves a sample."""

N_VALUES = 256
"""Number of values of each feature that swap noise draws from: a power of two."""


class DenoisingModule(AutoencoderModule):
    """Autoencoder with a corruption of its samples.

    Parameters
    ----------
    network : Network
    sample_shape : tuple of int
    n_components : int or None
    noise : str or callable
        Type of the corruption.
    noise_level : float or None
        Parameter of the estimator. The level that is used is stored in ``level``.
    layout : tuple or None, default=None
        Fields of the `Layout` of an encoded table, whose columns are corrupted as a whole.
    **options
        Further arguments of the network's factories.

    Attributes
    ----------
    least, most : Tensor of shape (n_features,)
        Minimum and maximum of each feature of the training samples, in network units.
    level : Tensor of shape ()
        Noise level; a standard deviation is in the units of the data.
    residual : Tensor of shape (n_features,)
        Root mean squared difference between reconstructed and clean training samples. Zero under
        Gaussian noise, where draws use the covariance of Tweedie's formula instead.
    strays : Tensor of shape ()
        Fraction of the training samples that lie far from all data after corruption and a draw of
        the clean sample. Zero if it was not measured.
    values : Tensor of shape (N_VALUES, n_features)
        Observed values of each feature of the training samples, in network units. Only under swap
        noise.
    """

    shows_missing = False

    least: Tensor
    most: Tensor
    level: Tensor
    residual: Tensor
    strays: Tensor
    values: Tensor

    def __init__(
        self,
        network: Network,
        sample_shape: tuple[int, ...],
        n_components: int | None,
        noise: str | Callable[[Tensor], Tensor],
        noise_level: float | None,
        layout: tuple[int, tuple[int, ...]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network, sample_shape, n_components, **options)
        self.noise = noise
        self.layout = Layout.of(layout, len(self.center))
        for name in ("least", "most", "residual"):
            self.register_buffer(name, torch.zeros(self.center.shape))
        for name in ("level", "strays"):
            self.register_buffer(name, torch.zeros(()))
        if noise == "swap":
            self.register_buffer("values", torch.zeros(N_VALUES, len(self.center)))

    def corrupt(self, x: Tensor) -> Tensor:
        """Corrupt samples in network units, ``(batch, n_features)``.

        Raises
        ------
        ValueError
            If a callable `noise` does not return a tensor of the shape of its argument.
        """
        if callable(self.noise):
            corrupted = self.noise(x * self.scale + self.center)  # in the units of the data
            if not isinstance(corrupted, Tensor) or corrupted.shape != x.shape:
                found = getattr(corrupted, "shape", type(corrupted))
                raise ValueError(
                    f"noise must return a tensor of the shape of its argument, "
                    f"{tuple(x.shape)}, but returned {found}."
                )
            return (corrupted.to(x.dtype) - self.center) / self.scale
        if self.noise == "gaussian":
            return x + self.level / self.scale * torch.randn_like(x)
        # NaN marks the end of a sequence, which corruption must not change.
        replaced = (self._uniform(x) < self.level) & ~x.isnan()
        if self.noise == "masking":
            return torch.where(replaced, -self.center / self.scale, x)  # zero in the data
        if self.noise == "swap":
            # Values of training samples instead of others of the batch: samples and Markov chains
            # do not depend on each other, and missing values, even completed ones, are not drawn.
            # Multiplying by a power of two does not round, so that the product is below it.
            places = (N_VALUES * self._uniform(x)).long()
            return torch.where(replaced, self.values.gather(0, places), x)
        ends = torch.where(torch.rand_like(x) < 0.5, self.least, self.most)
        return torch.where(replaced, ends, x)

    def _uniform(self, x: Tensor) -> Tensor:
        """Draw a uniform number for each value, the same for all indicators of a category."""
        if self.layout is None:
            return torch.rand_like(x)
        columns = self.layout.columns(x.device)
        return torch.rand_like(x[:, : self.layout.n_columns])[:, columns]

    @torch.no_grad()
    def langevin(self, x: Tensor, n_steps: int) -> Tensor:
        """Apply ``n_steps`` steps of Langevin dynamics for the density of corrupted samples.

        Each step adds the mean of two successive Gaussian vectors instead of one new vector. The
        variance of the chain is then exact for a Gaussian density at any step size, and has an
        error of second order in the step size otherwise. With independent noise the variance would
        be too large by up to a ninth.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)
            Start of the chains, in network units.
        n_steps : int

        Returns
        -------
        Tensor of shape (batch, n_features)

        References
        ----------
        Leimkuhler, B. and Matthews, C. (2013). Rational construction of stochastic numerical
        methods for molecular sampling. Applied Mathematics Research eXpress, 2013(1), 34-56.
        """
        # By Tweedie's formula the score is (r(x) - x) / sigma^2. A step of 0.2 sigma^2 has noise
        # of variance 2 * 0.2 sigma^2; a sum of two vectors needs half of that deviation each.
        deviation = (LANGEVIN_STEP / 2) ** 0.5 * self.level / self.scale
        noise = torch.randn_like(x)
        for _ in range(n_steps):
            last, noise = noise, torch.randn_like(x)
            x = x + LANGEVIN_STEP * (self(x) - x) + deviation * (last + noise)
        return x

    @torch.no_grad()
    def draw_clean(self, corrupted: Tensor, max_steps: int = MAX_STEPS) -> Tensor:
        """Draw clean samples given samples corrupted by Gaussian noise.

        Parameters
        ----------
        corrupted : Tensor of shape (batch, n_features)
            In network units.
        max_steps : int, default=64
            Maximum number of steps of Lanczos' method.

        Returns
        -------
        Tensor of shape (batch, n_features)
        """
        # The rank of the Jacobian is at most the number of components, and that of its symmetric
        # part twice as large. Lanczos' method is exact after one step more than the rank.
        n_steps = min(2 * len(self.code_mean) + 1, max_steps)
        with differentiable(self, corrupted.device):
            return draw_clean(self, corrupted, self.level / self.scale, n_steps)
