"""Moments and principal axes of rows that need not fit into memory."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_ae._backend.batches import Rows
from sklearn_ae._backend.random import make_generator

EXACT_FEATURES = 1024
"""Widest data whose covariance matrix is formed and decomposed exactly."""

_OVERSAMPLING = 16
_POWER_PASSES = 4


def spread(rows: Rows) -> tuple[Tensor, Tensor]:
    """Mean and variance of each feature.

    Parameters
    ----------
    rows : Rows

    Returns
    -------
    center : Tensor of shape (n_features,)
    variances : Tensor of shape (n_features,)
        Zero where the rows differ by rounding errors only.
    """
    precise, total = rows.precise, rows.total_weight
    center = torch.zeros(rows.n_features, dtype=precise, device=rows.device)
    for chunk in rows.chunks():
        center += rows.take_weight(chunk) @ rows.take(chunk).to(precise) / total
    variances = torch.zeros_like(center)
    for chunk in rows.chunks():
        distances = (rows.take(chunk).to(precise) - center).square()
        variances += rows.take_weight(chunk) @ distances / total
    rounding = 8 * torch.finfo(precise).eps * center.abs()
    return center, torch.where(variances > rounding.square(), variances, 0.0)


def share_explained(error: float, variance: float) -> float:
    """Fraction of a variance that an error leaves explained, ``1 - error / variance``.

    Of rows that are all equal: 1 if they are reconstructed, else 0.
    """
    if variance > 0:
        return 1 - error / variance
    return float(error < torch.finfo(torch.float32).eps)


def principal_axes(rows: Rows, n_components: int, seed: int) -> tuple[Tensor, Tensor]:
    """Find the directions of largest variance, as PCA does.

    Exact up to ``EXACT_FEATURES`` features. Wider data are projected on a random subspace
    which a few passes over the rows turn towards the principal one; the covariance matrix
    is never formed.

    Parameters
    ----------
    rows : Rows
        Centred and scaled.
    n_components : int
    seed : int
        Of the random subspace.

    Returns
    -------
    axes : Tensor of shape (n_components, n_features)
        Orthonormal rows, the largest entry of each positive; rows of zeros beyond the
        number of features.
    variances : Tensor of shape (n_components,)
        Variance of the rows along each axis.

    References
    ----------
    Halko, N., Martinsson, P. G. and Tropp, J. A. (2011). Finding structure with
    randomness. SIAM Review, 53(2), 217-288.
    """
    n_features, total = rows.n_features, rows.total_weight
    kept = min(n_components, n_features)

    def covariance_times(block: Tensor | None) -> Tensor:
        """Product of the covariance matrix and ``block``; the matrix itself for None."""
        width = n_features if block is None else block.shape[1]
        product = torch.zeros(n_features, width, dtype=rows.precise, device=rows.device)
        for chunk in rows.chunks():
            values = rows.take(chunk).to(rows.precise)
            weighted = values * rows.take_weight(chunk)[:, None]
            product += values.t() @ (weighted if block is None else weighted @ block)
        return product / total

    if n_features <= EXACT_FEATURES:
        variances, vectors = torch.linalg.eigh(covariance_times(None))
    else:
        width = min(n_features, n_components + _OVERSAMPLING)
        basis = torch.randn(n_features, width, generator=make_generator(seed))
        basis = basis.to(rows.device, rows.precise)
        for _ in range(_POWER_PASSES):
            basis = torch.linalg.qr(covariance_times(basis)).Q
        variances, rotation = torch.linalg.eigh(basis.t() @ covariance_times(basis))
        vectors = basis @ rotation
    variances, vectors = variances.flip(0)[:kept], vectors.flip(1)[:, :kept]
    largest = vectors.abs().argmax(0)
    vectors = vectors * vectors[largest, torch.arange(kept, device=vectors.device)].sign()
    axes = vectors.new_zeros(n_components, n_features)
    axes[:kept] = vectors.t()
    spread = variances.new_zeros(n_components)
    spread[:kept] = variances.clamp_min(0)
    return axes, spread
