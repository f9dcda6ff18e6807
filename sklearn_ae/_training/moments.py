"""Means and variances that are updated chunk by chunk, in one pass over the data."""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Weighted mean and variance of each feature.

    Sums of squares about the mean of each chunk are combined, which is as exact as a second pass
    over the data: the mean square minus the squared mean would lose all digits for data far from
    the origin (Chan, Golub and LeVeque, 1983).

    Parameters
    ----------
    n_features : int
    dtype : torch.dtype
    device : torch.device
    has_missing : bool, default=False
        Whether values may be NaN. They have no part in the mean, and count as the mean in the
        variance.

    Attributes
    ----------
    mean : Tensor of shape (n_features,)
    squares : Tensor of shape (n_features,)
        Weighted sum of the squared distances from the mean.
    weight : Tensor of shape (n_features,)
        Weight of the values that are not missing.
    """

    def __init__(
        self,
        n_features: int,
        dtype: torch.dtype,
        device: torch.device | None = None,
        has_missing: bool = False,
    ) -> None:
        self.mean = torch.zeros(n_features, dtype=dtype, device=device)
        self.squares = torch.zeros_like(self.mean)
        self.weight = torch.zeros_like(self.mean)
        self._has_missing = has_missing

    def add(self, values: Tensor, weight: Tensor) -> None:
        """Add samples.

        Parameters
        ----------
        values : Tensor of shape (n_samples, n_features)
        weight : Tensor of shape (n_samples,)
        """
        # Relative to one of the values: the mean of equal values is then exactly this value.
        reference = values[0]
        if self._has_missing:
            is_present = ~values.isnan()
            first = is_present.to(torch.uint8).argmax(0)  # a sample that has the feature
            reference = values.gather(0, first[None])[0].nan_to_num()
            shifted = (values - reference).nan_to_num()
            present = weight @ is_present.to(weight.dtype)
        else:
            shifted = values - reference
            present = weight.sum().expand_as(self.mean)
        mean = torch.where(present > 0, weight @ shifted / present, 0.0)
        distances = (shifted - mean).square()
        if self._has_missing:
            distances = torch.where(is_present, distances, 0.0)
        self.combine(mean + reference, weight @ distances, present)

    def combine(self, mean: Tensor, squares: Tensor, weight: Tensor) -> None:
        """Add samples of which the moments are known."""
        total = self.weight + weight
        fraction = torch.where(total > 0, weight / total, 0.0)
        shift = mean - self.mean
        # The weight before is zero for the first chunk, whose shift is the mean itself.
        between = torch.where(self.weight > 0, shift.square() * self.weight * fraction, 0.0)
        self.squares = self.squares + squares + between
        self.mean = self.mean + shift * fraction
        self.weight = total

    def mean_and_variance(self, total: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return mean and variance, given the weight of all samples.

        The variance is zero if the samples differ by rounding errors only.
        """
        rounding = 8 * torch.finfo(self.mean.dtype).eps * self.mean.abs()
        variances = self.squares / total
        # Deviations are compared, not variances: the square of a large rounding error overflows.
        return self.mean, torch.where(variances.sqrt() > rounding, variances, 0.0)
