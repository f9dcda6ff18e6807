"""Completion of samples with missing values by a Gaussian distribution of complete samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

MAX_FACTORS = 32
"""Maximum rank of the part of the covariance matrix that is not diagonal."""

BLOCK_ENTRIES = 2**21
"""Maximum number of entries of the matrices that are decomposed at a time."""


class Conditional(NamedTuple):
    """Distribution of the factors of samples given their observed values.

    Attributes
    ----------
    scores : Tensor of shape (batch, n_factors)
        Means of the factors.
    roots : Tensor of shape (n_patterns, n_factors, n_factors)
        Lower Cholesky factor of the precision matrix of the factors, for each pattern of missing
        values.
    places : Tensor of shape (batch,)
        Index of the pattern of each sample.
    """

    scores: Tensor
    roots: Tensor
    places: Tensor

    def covariances(self) -> Tensor:
        """Return the covariance matrix of the factors of each sample."""
        return torch.cholesky_inverse(self.roots)[self.places]


class Completion(nn.Module):
    """Gaussian distribution of complete samples, in network units.

    It is that of factor analysis: a sample is ``m + L f + e`` with independent standard normal
    factors ``f`` and independent noise ``e`` of variances ``v``. Given the factors, the values of
    a sample are independent, so that samples with different missing values differ only in small
    matrices. With as many factors as features the covariance ``L L^T + diag(v)`` is any matrix.

    Parameters
    ----------
    n_features : int
    shows_missing : bool
        Whether the result of :meth:`forward` says which values were missing.

    Attributes
    ----------
    mean : Tensor of shape (n_features,)
    loadings : Tensor of shape (n_features, n_factors)
    variances : Tensor of shape (n_features,)
    """

    mean: Tensor
    loadings: Tensor
    variances: Tensor

    def __init__(self, n_features: int, shows_missing: bool) -> None:
        super().__init__()
        self.shows_missing = shows_missing
        self.n_factors = min(n_features, MAX_FACTORS)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("loadings", torch.zeros(n_features, self.n_factors))
        self.register_buffer("variances", torch.ones(n_features))

    @property
    def n_outputs(self) -> int:
        """Number of values that :meth:`forward` returns for a sample."""
        return (2 if self.shows_missing else 1) * len(self.mean)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input of the encoder for samples whose missing values are NaN.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)

        Returns
        -------
        Tensor of shape (batch, n_outputs)
            Complete samples and, if ``shows_missing``, one for each missing value and zero for
            each observed one. A sample without any value is the mean, with zeros.
        """
        complete, missing = self.complete(x), x.isnan()
        if not self.shows_missing:
            return complete
        n_missing = missing.to(x.dtype).sum(1, keepdim=True)
        shown = torch.where(n_missing < len(self.mean), missing.to(x.dtype), 0.0)
        return torch.cat([complete, shown], dim=1)

    @torch.no_grad()
    def complete(self, x: Tensor) -> Tensor:
        """Replace missing values by their mean given the observed values of the sample."""
        mean, loadings, _ = self.precise_parameters(x.device)
        result = x.clone()
        for rows in self._blocks(x):
            filled = mean + self.condition(x[rows]).scores @ loadings.t()
            result[rows] = torch.where(x[rows].isnan(), filled.to(x.dtype), x[rows])
        return result

    @torch.no_grad()
    def deviations(self, x: Tensor) -> Tensor:
        """Return the standard deviation of missing values given the observed ones, else zero."""
        _, loadings, variances = self.precise_parameters(x.device)
        result = torch.zeros_like(x)
        for rows in self._blocks(x):
            given = self.condition(x[rows])
            # If A = R R^T is the precision of the factors, l^T A^-1 l = |R^-1 l|^2.
            solved = torch.linalg.solve_triangular(given.roots, loadings.t(), upper=False)
            spread = (solved.square().sum(1) + variances).sqrt()[given.places]
            result[rows] = torch.where(x[rows].isnan(), spread, 0.0).to(x.dtype)
        return result

    @torch.no_grad()
    def draw(self, x: Tensor) -> Tensor:
        """Replace missing values by draws from their distribution given the observed values."""
        result = x.clone()
        for rows in self._blocks(x):
            mean, loadings, variances = self.precise_parameters(x.device)
            given = self.condition(x[rows])
            # If A = R R^T is the precision, R^-T e has the covariance A^-1.
            change = torch.linalg.solve_triangular(
                given.roots.mT[given.places], torch.randn_like(given.scores)[..., None], upper=True
            )
            drawn = mean + (given.scores + change[..., 0]) @ loadings.t()
            drawn += variances.sqrt() * torch.randn_like(drawn)
            result[rows] = torch.where(x[rows].isnan(), drawn.to(x.dtype), x[rows])
        return result

    def condition(self, x: Tensor) -> Conditional:
        """Return the distribution of the factors given the values of `x` that are not NaN."""
        mean, loadings, variances = self.precise_parameters(x.device)
        observed = ~x.isnan()
        patterns, places = torch.unique(observed, dim=0, return_inverse=True)
        outer = (loadings[:, :, None] * loadings[:, None, :]).flatten(1)
        precision = (patterns.to(mean) / variances) @ outer
        precision = precision.unflatten(1, (self.n_factors, self.n_factors))
        roots = torch.linalg.cholesky(precision + torch.eye(self.n_factors).to(mean))
        distances = torch.where(observed, x.to(mean) - mean, 0.0)
        weighted = (distances / variances) @ loadings
        scores = torch.cholesky_solve(weighted[..., None], roots[places])[..., 0]
        return Conditional(scores, roots, places)

    def covariance(self) -> Tensor:
        """Return the covariance matrix of complete samples, of shape (n_features, n_features)."""
        _, loadings, variances = self.precise_parameters(self.mean.device)
        return loadings @ loadings.t() + torch.diag(variances)

    def feature_variances(self) -> Tensor:
        """Return the variance of each feature of complete samples, of shape (n_features,)."""
        _, loadings, variances = self.precise_parameters(self.mean.device)
        return loadings.square().sum(1) + variances

    def precise_parameters(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, loadings and variances in the widest dtype of a device.

        The observed values may determine a missing one to more digits than float32 has.
        """
        precise = torch.float32 if device.type == "mps" else torch.float64
        return self.mean.to(precise), self.loadings.to(precise), self.variances.to(precise)

    def _blocks(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the indices of the samples with missing values, a limited number at a time."""
        affected = x.isnan().any(1).nonzero()[:, 0]
        yield from torch.split(affected, max(1, BLOCK_ENTRIES // self.n_factors**2))
