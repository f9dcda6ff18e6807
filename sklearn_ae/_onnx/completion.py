"""Completion of samples by products and sums: ONNX has no solver of linear equations."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_ae.networks._completion import Completion

STEPS_PER_FACTOR = 2
"""Steps of the conjugate gradient method for each factor. Without rounding errors one suffices."""


class IterativeCompletion(Completion):
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
        super().__init__(len(completion.mean), completion.shows_missing)
        self.load_state_dict(completion.state_dict())
        self.double()

    def complete(self, x: Tensor) -> Tensor:
        """Replace missing values as :meth:`Completion.complete` does."""
        missing = x.isnan()
        weights = torch.where(missing, 0.0, 1 / self.variances)
        distances = torch.where(missing, 0.0, x.double() - self.mean)
        # (I + L^T W L) f = L^T W (x - m)
        residual = (distances * weights) @ self.loadings
        direction, scores = residual, torch.zeros_like(residual)
        size = (residual * residual).sum(1, keepdim=True)
        for _ in range(STEPS_PER_FACTOR * self.n_factors):
            image = direction + ((direction @ self.loadings.t()) * weights) @ self.loadings
            # Rounding errors are left at the end; they must not be divided by zero.
            curvature = (direction * image).sum(1, keepdim=True).clamp_min(1e-300)
            step = size / curvature
            scores = scores + step * direction
            residual = residual - step * image
            last, size = size, (residual * residual).sum(1, keepdim=True)
            direction = residual + size / last.clamp_min(1e-300) * direction
        filled = self.mean + scores @ self.loadings.t()
        return torch.where(missing, filled.to(x.dtype), x)
