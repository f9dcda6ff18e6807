"""Completion of samples by products and sums: ONNX has no solver of linear equations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sklearn_ae.networks._completion import Completion

STEPS_PER_FACTOR = 2
"""Steps of the conjugate gradient method for each factor. Without rounding errors one suffices."""


class IterativeCompletion(nn.Module):
    """Completion of samples whose factors are found by the conjugate gradient method.

    The result is that of a :class:`Completion` up to rounding errors. All samples are treated
    alike, with or without missing values.

    Parameters
    ----------
    completion : Completion

    References
    ----------
    Hestenes, M. R. and Stiefel, E. (1952). Methods of conjugate gradients for solving linear
    systems. Journal of Research of the National Bureau of Standards, 49(6), 409-436.
    """

    def __init__(self, completion: Completion) -> None:
        super().__init__()
        self.mean = completion.mean.double()
        self.loadings = completion.loadings.double()
        self.variances = completion.variances.double()
        self.shows_missing = completion.shows_missing
        self.n_steps = STEPS_PER_FACTOR * completion.n_factors

    @property
    def n_outputs(self) -> int:
        """Number of values that :meth:`forward` returns for a sample."""
        return (2 if self.shows_missing else 1) * len(self.mean)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input of the encoder, as :meth:`Completion.forward` does."""
        missing = x.isnan()
        weights = torch.where(missing, 0.0, 1 / self.variances)
        distances = torch.where(missing, 0.0, x.double() - self.mean)
        # (I + L^T W L) f = L^T W (x - m)
        residual = (distances * weights) @ self.loadings
        direction, scores = residual, torch.zeros_like(residual)
        size = (residual * residual).sum(1, keepdim=True)
        for _ in range(self.n_steps):
            image = direction + ((direction @ self.loadings.t()) * weights) @ self.loadings
            # Rounding errors are left at the end; they must not be divided by zero.
            curvature = (direction * image).sum(1, keepdim=True).clamp_min(1e-300)
            step = size / curvature
            scores = scores + step * direction
            residual = residual - step * image
            last, size = size, (residual * residual).sum(1, keepdim=True)
            direction = residual + size / last.clamp_min(1e-300) * direction
        filled = self.mean + scores @ self.loadings.t()
        complete = torch.where(missing, filled.to(x.dtype), x)
        if not self.shows_missing:
            return complete
        n_missing = missing.to(x.dtype).sum(1, keepdim=True)
        shown = torch.where(n_missing < len(self.mean), missing.to(x.dtype), 0.0)
        return torch.cat([complete, shown], 1)
