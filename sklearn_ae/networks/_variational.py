"""The module of variational autoencoders: posteriors, likelihoods and bounds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sklearn_ae.losses import (
    bernoulli_likelihood,
    continuous_bernoulli_likelihood,
    continuous_bernoulli_quantile,
    gaussian_divergence,
    gaussian_likelihood,
)
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._network import Network

HASTE = 10.0
"""The variance has further to go than a weight: it is learned that many times as fast."""

LEAST_LOG_VARIANCE = math.log(1e-6)
"""Of the learned likelihood, relative to the data: what is constant would have none."""


class VariationalModule(AutoencoderModule):
    """A network whose encoder gives a distribution.

    Parameters
    ----------
    network : Network
    row_shape : tuple of int
    n_components : int or None
    likelihood : {"gaussian", "bernoulli", "continuous_bernoulli"}
    variance : {"learned", "per_feature"} or float
    binarize : bool
        Whether the values are probabilities of bits, and the likelihood is that of the bits.
    """

    def __init__(
        self,
        network: Network,
        row_shape: tuple[int, ...],
        n_components: int | None,
        likelihood: str,
        variance: str | float,
        binarize: bool = False,
    ) -> None:
        super().__init__(network, row_shape, n_components)
        self.likelihood = likelihood
        self.binarize = binarize
        start = torch.zeros(self.center.shape if variance == "per_feature" else ())
        self.is_learned = likelihood == "gaussian" and isinstance(variance, str)
        if self.is_learned:
            self.slow_log_variance = torch.nn.Parameter(start)
        else:
            self.register_buffer("slow_log_variance", start)

    @property
    def log_variance(self) -> Tensor:
        """Logarithm of the likelihood's variance: one or ``(n_features,)``."""
        log_variance = HASTE * self.slow_log_variance
        return log_variance.clamp_min(LEAST_LOG_VARIANCE) if self.is_learned else log_variance

    @torch.no_grad()
    def fix_variance(self, variance: float) -> None:
        """Set the likelihood's variance, in network units."""
        self.slow_log_variance.fill_(math.log(variance) / HASTE)

    def n_encoded(self, n_components: int) -> int:
        """Return two numbers for each component."""
        return 2 * n_components

    def encode(self, x: Tensor) -> Tensor:
        """Map rows to the means of their posteriors."""
        return self.posterior(x)[0]

    def draw_codes(self, x: Tensor) -> Tensor:
        """Draw a code of each sample from its posterior: draws from the aggregate posterior."""
        mean, log_variance = self.posterior(x)
        return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map rows to means and logarithms of variances, each ``(batch, n_components)``."""
        mean, log_variance = self.encoder(x).to(x.dtype).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 20)

    def importance(
        self,
        mean: Tensor,
        log_variance: Tensor,
        noise: Tensor,
        target: Tensor,
        beta: float,
        in_units: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Decode draws from the posterior and weigh them.

        Parameters
        ----------
        mean, log_variance : Tensor of shape (batch_size, n_components)
        noise : Tensor of shape (n_draws, batch_size or 1, n_components)
        target : Tensor of shape (batch_size, n_features)
        beta : float
        in_units : bool
            Whether densities are per unit of the data, not per network unit.

        Returns
        -------
        errors : Tensor of shape (n_draws, batch_size)
            ``-log p(x | z)``.
        weights : Tensor of shape (n_draws, batch_size)
            ``log p(x | z) + beta (log p(z) - log q(z | x))``.
        """
        codes = mean + (0.5 * log_variance).exp() * noise
        errors = self._errors(codes, target, in_units)
        # Of two Gaussian densities only these differ: z^2 / 2 and noise^2 / 2 + log std.
        ratio = 0.5 * (noise.square() + log_variance - codes.square()).sum(2)
        return errors, beta * ratio - errors

    def _errors(self, codes: Tensor, target: Tensor, in_units: bool) -> Tensor:
        output = self.decode(codes.flatten(0, 1)).unflatten(0, (len(codes), -1))
        seen = target
        if self.network.takes_missing:
            seen = target.nan_to_num()
        if self.likelihood == "gaussian":
            # In float64, and on the CPU, which every device can copy to and which has float64.
            unit = 2 * self.scale.cpu().double().log() if in_units else 0.0
            entries = gaussian_likelihood(output, seen, self.log_variance, unit)
        elif self.likelihood == "bernoulli":
            entries = bernoulli_likelihood(output, seen)
        else:
            entries = continuous_bernoulli_likelihood(output, seen)
        if self.network.takes_missing:
            entries = entries.where(~target.isnan(), 0.0)
        return entries.sum(2)

    def draw(self, output: Tensor) -> Tensor:
        """Draw samples, in network units, from ``p(x | z)``, given what the decoder returns."""
        if self.likelihood == "gaussian":
            return output + (0.5 * self.log_variance).exp() * torch.randn_like(output)
        uniform = torch.rand_like(output)
        if self.likelihood == "bernoulli":
            return (uniform < output.sigmoid()).to(output.dtype)
        return continuous_bernoulli_quantile(output, uniform)

    def bound(self, x: Tensor, noise: Tensor) -> Tensor:
        """Evidence lower bound of each row, in the units of the data."""
        mean, log_variance = self.posterior(x)
        errors, _ = self.importance(mean, log_variance, noise, x, 1.0, in_units=True)
        return -errors.mean(0) - gaussian_divergence(mean, log_variance)

    def tight_bound(self, x: Tensor, noise: Tensor) -> Tensor:
        """Importance-weighted bound of each row, in the units of the data."""
        _, weights = self.importance(*self.posterior(x), noise, x, 1.0, in_units=True)
        return weights.logsumexp(0) - math.log(len(noise))
