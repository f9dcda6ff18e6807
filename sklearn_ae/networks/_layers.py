"""Layers of networks that torch lacks or implements differently."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

MOMENTUM = 0.1
"""Weight of a new batch in the running statistics of batch normalisation, from the tenth on."""

EPS = 1e-5
"""Added to variances before a division by their square root."""

MAX_NORMALIZED = 1e15
"""Values are clamped to this size before layer normalisation, so that squares do not overflow."""


class TiedLinear(nn.Module):
    """Linear layer with the transposed weight of another layer, and its own bias.

    Parameters
    ----------
    source : nn.Linear
        The layer whose weight is shared. It is a submodule of this layer as well, so that copies,
        changes of device and files preserve the sharing.
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
    """Batch normalisation with sample weights.

    In training, each unit is standardised by the mean and the variance of the batch, and otherwise
    by running means of both. A batch with one value per unit has no variance, and is standardised
    by the running statistics as well.

    Parameters
    ----------
    width : int
        Number of units, or of maps: the length of the second axis.

    Attributes
    ----------
    mean, variance : Tensor of shape (width,)
        Running statistics: plain means of the first ten batches, and exponentially weighted means
        from then on. Before the first batch they are zero and one.
    n_batches : Tensor of shape ()
        Number of batches in the running statistics.
    sample_weight : Tensor of shape (batch_size,) or None
        Weights of the samples of the next batch, which the training step sets.

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
        if self.sample_weight is None:  # the same result as below, by torch's faster kernels
            axes = [axis for axis in range(x.ndim) if axis != 1]
            variance, mean = torch.var_mean(x.detach(), axes, correction=0)
            self._update_running(mean, variance)
            return functional.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, EPS)
        mean, variance = self._weighted_moments(x, self.sample_weight)
        self._update_running(mean.detach(), variance.detach())
        return self._standardized(x, mean, variance)

    def _standardized(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Standardise `x`, then apply the learned scale and shift."""
        scale = self.weight / (variance + EPS).sqrt()
        mean, scale, bias = (_broadcast(vector, x) for vector in (mean, scale, self.bias))
        return (x - mean) * scale + bias

    def _weighted_moments(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted mean and variance of each unit, ``(width,)`` each."""
        # With several draws for each sample, x contains the batch once for each draw.
        fraction = weight.repeat(len(x) // len(weight))
        fraction = (fraction / fraction.sum())[:, None]

        def average(values: Tensor) -> Tensor:
            means = values.flatten(2).mean(2) if values.ndim > 2 else values
            # Not a matrix product, which would be computed in bfloat16 under autocast.
            return (means * fraction).sum(0)

        mean = average(x)
        return mean, average((x - _broadcast(mean, x)).square())

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics."""
        self.n_batches += 1
        # A tensor, not a Python number: a number would wait for the device.
        step = (1 / self.n_batches).clamp_min(MOMENTUM)
        self.mean.lerp_(mean, step)
        self.variance.lerp_(variance, step)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation that is finite for samples of any magnitude.

    References
    ----------
    Ba, J. L., Kiros, J. R. and Hinton, G. E. (2016). Layer normalization. arXiv:1607.06450.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Standardise ``(batch, width)`` along the last axis."""
        return super().forward(x.clamp(-MAX_NORMALIZED, MAX_NORMALIZED))


def _broadcast(vector: Tensor, x: Tensor) -> Tensor:
    """Reshape ``(width,)`` to ``(width, 1, ...)``, to broadcast over the second axis of `x`."""
    return vector.view(-1, *(1,) * (x.ndim - 2))


def batch_norms(module: nn.Module) -> list[BatchNorm]:
    """Return all batch normalisations in a module."""
    return [layer for layer in module.modules() if isinstance(layer, BatchNorm)]


def differentiable(module: nn.Module, device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which the forward pass of a module can be differentiated twice.

    cuDNN has no second derivative of recurrent layers, and outside of training not even a first
    one. On a CUDA device, these layers are therefore computed by torch's own kernels, which are
    slower. This is a setting of the process: other threads are as slow meanwhile, and as exact.

    Parameters
    ----------
    module : nn.Module
    device : torch.device
        Device of the input.
    """
    is_recurrent = any(isinstance(layer, nn.RNNBase) for layer in module.modules())
    if not is_recurrent or device.type != "cuda":
        return nullcontext()
    context: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=False)
    return context


def drop(x: Tensor, fraction: float) -> Tensor:
    """Set a random fraction of the values to zero, and divide the others by ``1 - fraction``.

    `random_state` controls the draws of ``rand_like``, unlike those of torch's own dropout, which
    uses the global generator.

    References
    ----------
    Srivastava, N., Hinton, G., Krizhevsky, A., Sutskever, I. and Salakhutdinov, R. (2014).
    Dropout: a simple way to prevent neural networks from overfitting. Journal of Machine Learning
    Research, 15, 1929-1958.
    """
    kept = torch.rand_like(x, dtype=torch.float32) >= fraction
    return x * kept / (1 - fraction)
