"""The module of variational autoencoders: posteriors, likelihoods and bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklearn_ae._tables.loss import Layout
from sklearn_ae.losses import (
    bernoulli_likelihood,
    continuous_bernoulli_likelihood,
    continuous_bernoulli_quantile,
    gaussian_divergence,
    gaussian_likelihood,
)
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._network import Network

VARIANCE_SPEEDUP = 10.0
"""Ratio of ``log_variance`` and the parameter that is trained.

The variance changes by more than a weight does in training, so that its steps must be larger."""

MIN_LOG_VARIANCE = math.log(1e-6)
"""Minimum of a learned variance in network units. That of a constant feature would vanish."""

MAX_EXPONENT = 2.0
"""Output of the encoder from which on the variance of the posterior is linear in it, not
exponential. The variance of the prior is one."""

MISSING_DRAWS = 128
"""Number of codes that are drawn for a sample with missing values."""


class VariationalModule(AutoencoderModule):
    """Autoencoder whose encoder returns a Gaussian distribution of codes.

    Parameters
    ----------
    network : Network
    sample_shape : tuple of int
    n_components : int or None
    likelihood : {"gaussian", "bernoulli", "continuous_bernoulli"}
        Distribution of the data given a code.
    variance : {"learned", "per_feature"} or float
        Variance of a Gaussian likelihood.
    binarize : bool, default=False
        Whether the data are probabilities of bits, and the likelihood is that of the bits.
    layout : tuple or None, default=None
        Fields of the `Layout` of an encoded table, whose categories have a categorical likelihood.
    **options
        Further arguments of `AutoencoderModule`.
    """

    def __init__(
        self,
        network: Network,
        sample_shape: tuple[int, ...],
        n_components: int | None,
        likelihood: str,
        variance: str | float,
        binarize: bool = False,
        layout: tuple[int, tuple[int, ...]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network, sample_shape, n_components, **options)
        self.likelihood = likelihood
        self.binarize = binarize
        self.layout = Layout.of(layout, len(self.center))
        numbers = self.center if self.layout is None else self.center[: self.layout.n_numbers]
        start = torch.zeros(numbers.shape if variance == "per_feature" else ())
        self.is_learned = likelihood == "gaussian" and isinstance(variance, str)
        if self.is_learned:
            self.slow_log_variance = torch.nn.Parameter(start)
        else:
            self.register_buffer("slow_log_variance", start)

    @property
    def log_variance(self) -> Tensor:
        """Logarithm of the likelihood's variance, of shape ``()`` or ``(n_features,)``."""
        log_variance = VARIANCE_SPEEDUP * self.slow_log_variance
        return log_variance.clamp_min(MIN_LOG_VARIANCE) if self.is_learned else log_variance

    @torch.no_grad()
    def fix_variance(self, variance: float) -> None:
        """Set the likelihood's variance, in network units."""
        self.slow_log_variance.fill_(math.log(variance) / VARIANCE_SPEEDUP)

    def n_encoded(self, n_components: int) -> int:
        """Return the number of means and variances."""
        return 2 * n_components

    def encode(self, x: Tensor) -> Tensor:
        """Map samples to the means of their posteriors."""
        return self.posterior(x)[0]

    def draw_codes(self, x: Tensor) -> Tensor:
        """Draw a code from the posterior of each sample: the aggregate posterior."""
        mean, log_variance = self.posterior(x)
        return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map samples to the mean and log-variance of each posterior.

        The variance is the exponential of the encoder's output, continued by its tangent from
        `MAX_EXPONENT` on: for a sample far from the others the exponential would be
        astronomical, and with it the loss.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)

        Returns
        -------
        mean, log_variance : Tensor of shape (batch, n_components)
        """
        mean, output = self.encoder(x).to(x.dtype).chunk(2, dim=1)
        excess = (output - MAX_EXPONENT).clamp_min(0)
        # Below -20 the variance is zero in practice.
        return mean, output.clamp(-20, MAX_EXPONENT) + excess.log1p()

    def importance(
        self,
        mean: Tensor,
        log_variance: Tensor,
        noise: Tensor,
        target: Tensor,
        beta: float,
        in_units: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Decode draws from the posterior, and compute their importance weights.

        Parameters
        ----------
        mean, log_variance : Tensor of shape (batch_size, n_components)
            The posteriors.
        noise : Tensor of shape (n_draws, batch_size or 1, n_components)
            Standard normal draws.
        target : Tensor of shape (batch_size, n_features)
            Samples whose likelihood is computed.
        beta : float
            Factor of the divergence.
        in_units : bool, default=False
            Whether the density is per unit of the data instead of per network unit.

        Returns
        -------
        errors : Tensor of shape (n_draws, batch_size)
            ``-log p(x | z)``.
        weights : Tensor of shape (n_draws, batch_size)
            ``log p(x | z) + beta (log p(z) - log q(z | x))``.
        """
        codes = mean + (0.5 * log_variance).exp() * noise
        # The decoder takes (n_draws * batch_size, n_components).
        output = torch.unflatten(self.decode(codes.flatten(0, 1)), 0, (len(codes), -1))
        errors = self.errors_of_outputs(output, target, in_units)
        # log p(z) - log q(z | x): the constants of the two Gaussian densities cancel.
        ratio = 0.5 * (noise.square() + log_variance - codes.square()).sum(2)
        return errors, beta * ratio - errors

    def errors_of_outputs(self, output: Tensor, target: Tensor, in_units: bool = False) -> Tensor:
        """Return ``-log p(x | z)`` for outputs of the decoder.

        Parameters
        ----------
        output : Tensor of shape (n_draws, batch_size or 1, n_features)
        target : Tensor of shape (batch_size, n_features)
        in_units : bool, default=False
            Whether the density is per unit of the data instead of per network unit.

        Returns
        -------
        Tensor of shape (n_draws, batch_size)
        """
        observed = target
        if self.takes_missing:
            observed = target.nan_to_num()  # NaN would reach the gradient even if masked later
        if self.layout is not None:
            errors = self._errors_of_columns(self.layout, output, observed)
        elif self.likelihood == "gaussian":
            # In float64, and on the CPU, which every device can copy to and which has float64.
            unit = 2 * self.scale.cpu().double().log() if in_units else 0.0
            errors = gaussian_likelihood(output, observed, self.log_variance, unit)
        elif self.likelihood == "bernoulli":
            errors = bernoulli_likelihood(output, observed)
        else:
            errors = continuous_bernoulli_likelihood(output, observed)
        if self.takes_missing:
            errors = errors.where(~target.isnan(), 0.0)
        return errors.sum(2)

    def _errors_of_columns(self, layout: Layout, output: Tensor, target: Tensor) -> Tensor:
        """Return the negative log-likelihood of numbers and of indicators, as `output`."""
        numbers, logits = layout.split(output)
        values, indicators = layout.split(target)
        of_numbers = gaussian_likelihood(numbers, values, self.log_variance)
        return torch.cat([of_numbers, -indicators * layout.log_probabilities(logits)], -1)

    def draw(self, output: Tensor) -> Tensor:
        """Draw samples in network units from ``p(x | z)``, given the decoder's output."""
        if self.layout is not None:
            numbers, logits = self.layout.split(output)
            drawn = numbers + (0.5 * self.log_variance).exp() * torch.randn_like(numbers)
            return torch.cat([drawn, self.layout.draw(logits)], -1)
        if self.likelihood == "gaussian":
            return output + (0.5 * self.log_variance).exp() * torch.randn_like(output)
        uniform = torch.rand_like(output)
        if self.likelihood == "bernoulli":
            return (uniform < output.sigmoid()).to(output.dtype)
        return continuous_bernoulli_quantile(output, uniform)

    def forecast(self, x: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the mean of all values of samples given the observed ones.

        It is the mean of reconstructions from `MISSING_DRAWS` codes of each sample, weighted by
        their importance (Mattei and Frellsen, 2019).
        """
        outputs, weights = self._weighted_outputs(x)
        return torch.einsum("kn,knj->nj", weights, mean(outputs))

    def draw_missing(self, x: Tensor) -> Tensor:
        """Draw all values of samples given the observed ones, by resampling weighted codes."""
        outputs, weights = self._weighted_outputs(x)
        chosen = torch.multinomial(weights.t(), 1)[:, 0]
        return self.draw(outputs[chosen, torch.arange(len(x), device=x.device)])

    def _weighted_outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs for drawn codes, (k, batch, n_features), and weights, (k, batch)."""
        mean, log_variance = self.posterior(self.complete(x))
        noise = torch.randn(MISSING_DRAWS, *mean.shape, dtype=mean.dtype, device=mean.device)
        _, log_weights = self.importance(mean, log_variance, noise, x, 1.0)
        codes = mean + (0.5 * log_variance).exp() * noise
        outputs = self.decode(codes.flatten(0, 1)).unflatten(0, (MISSING_DRAWS, -1))
        return outputs, log_weights.softmax(0)

    def bound(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return the evidence lower bound of each sample, in the units of the data.

        Parameters
        ----------
        x : Tensor of shape (batch_size, n_features)
            Samples, with NaN for missing values: the bound is that of the observed values.
        noise : Tensor of shape (n_draws, batch_size or 1, n_components)
            Standard normal draws.

        Returns
        -------
        Tensor of shape (batch_size,)
        """
        mean, log_variance = self.posterior(self.complete(x))
        errors, _ = self.importance(mean, log_variance, noise, x, 1.0, in_units=True)
        return -errors.mean(0) - gaussian_divergence(mean, log_variance)

    def tight_bound(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return the importance-weighted bound of each sample, as :meth:`bound` does."""
        mean, log_variance = self.posterior(self.complete(x))
        _, weights = self.importance(mean, log_variance, noise, x, 1.0, in_units=True)
        return weights.logsumexp(0) - math.log(len(noise))
