"""Layers that networks are made of, beside torch's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MOMENTUM = 0.1
"""Weight of a batch in the running statistics of batch normalisation, after the first ten."""

EPS = 1e-5
"""Added to variances before a division by their square root."""

LARGEST = 1e15
"""Size beyond which layer normalisation does not tell values apart: float32 holds its square."""


class TiedLinear(nn.Module):
    """A linear layer that uses another one's weight, transposed, and a bias of its own.

    Parameters
    ----------
    source : nn.Linear
        The layer whose weight is shared. It is registered here as well, so that copies, changes of
        device and files keep the two together.
    bias : nn.Parameter of shape (source.in_features,)
    """

    def __init__(self, source: nn.Linear, bias: nn.Parameter) -> None:
        super().__init__()
        self.source = source
        self.bias = bias
        self.in_features, self.out_features = source.out_features, source.in_features

    @property
    def weight(self) -> Tensor:
        """The shared weight as this layer uses it, a view of shape (out_features, in_features)."""
        return self.source.weight.t()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_features)`` to ``(batch, out_features)``."""
        return functional.linear(x, self.weight, self.bias)


class BatchNorm(nn.Module):
    """Batch normalisation whose statistics count samples by their weights.

    In training each unit is standardised by the mean and the variance of the batch; otherwise by
    running means of both. A batch of one value per unit has no variance and is standardised by
    the running statistics as well.

    Parameters
    ----------
    width : int
        Number of units, or of maps: the second axis.

    Attributes
    ----------
    mean, variance : Tensor of shape (width,)
        Running statistics: plain means over the first ten batches, exponential ones from there.
    n_batches : Tensor of shape ()
        Number of batches that they were computed from. Until then they are zero and one.
    sample_weight : Tensor of shape (batch_size,) or None
        Weights of the samples of the next batch, set by the training step.

    References
    ----------
    Ioffe, S. and Szegedy, C. (2015). Batch normalization: accelerating deep network training by
    reducing internal covariate shift. ICML.
    """

    mean: Tensor
    variance: Tensor
    n_batches: Tensor
    sample_weight: Tensor | None = None

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("n_batches", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise ``(batch, width, ...)`` along the second axis."""
        x = x.to(self.weight.dtype)  # under autocast, layers return bfloat16
        if not self.training or x.numel() == x.shape[1]:
            return self._standardized(x, self.mean, self.variance)
        if self.sample_weight is None:  # the same as below, by torch's faster kernels
            over = [axis for axis in range(x.ndim) if axis != 1]
            variance, mean = torch.var_mean(x.detach(), over, correction=0)
            self._remember(mean, variance)
            return functional.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, EPS)
        mean, variance = self._weighted_moments(x, self.sample_weight)
        self._remember(mean.detach(), variance.detach())
        return self._standardized(x, mean, variance)

    def _standardized(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        scale = self.weight / (variance + EPS).sqrt()
        mean, scale, bias = (_beside(vector, x) for vector in (mean, scale, self.bias))
        return (x - mean) * scale + bias

    def _weighted_moments(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and variance of each unit over samples of these weights."""
        # Where there are several draws for each sample, they come one batch after another.
        share = weight.repeat(len(x) // len(weight))
        share = (share / share.sum())[:, None]

        def average(values: Tensor) -> Tensor:
            means = values.flatten(2).mean(2) if values.ndim > 2 else values
            return (means * share).sum(0)  # not a product of matrices: in full precision

        mean = average(x)
        return mean, average((x - _beside(mean, x)).square())

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics."""
        self.n_batches += 1
        step = (1 / self.n_batches).clamp_min(MOMENTUM)
        self.mean.lerp_(mean, step)
        self.variance.lerp_(variance, step)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation of samples of any size: those far out would give NaN.

    References
    ----------
    Ba, J. L., Kiros, J. R. and Hinton, G. E. (2016). Layer normalization. arXiv:1607.06450.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Standardise ``(batch, width)`` along the last axis."""
        return super().forward(x.clamp(-LARGEST, LARGEST))


def _beside(vector: Tensor, x: Tensor) -> Tensor:
    """Reshape ``(width,)`` so that it broadcasts over ``(batch, width, ...)``."""
    return vector.view(-1, *(1,) * (x.ndim - 2))


def batch_norms(module: nn.Module) -> list[BatchNorm]:
    """Return the batch normalisations in a module."""
    return [each for each in module.modules() if isinstance(each, BatchNorm)]


def drop(x: Tensor, fraction: float) -> Tensor:
    """Set a random fraction of the values to zero, and divide the others by what is left.

    torch's own draws from the global generator.

    References
    ----------
    Srivastava, N., Hinton, G., Krizhevsky, A., Sutskever, I. and Salakhutdinov, R. (2014).
    Dropout: a simple way to prevent neural networks from overfitting. Journal of Machine Learning
    Research, 15, 1929-1958.
    """
    kept = torch.rand_like(x, dtype=torch.float32) >= fraction
    return x * kept / (1 - fraction)
