"""Moments and principal axes of rows that need not fit into memory, and the start at them."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_ae._training.batches import Rows
from sklearn_ae._training.random import make_generator
from sklearn_ae.losses import Loss
from sklearn_ae.networks._denoising import DenoisingModule
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks.dense import DenseStack

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
        Mean of what is there: entries after the end of a ragged row are NaN.
    variances : Tensor of shape (n_features,)
        Mean squared distance from it, entries that are not there counted as being there.
        Zero where the rows differ by rounding errors only.
    """
    precise, total = rows.precise, rows.total_weight
    center = torch.zeros(rows.n_features, dtype=precise, device=rows.device)
    seen = torch.zeros_like(center)
    for chunk in rows.chunks():
        values, weight = rows.take(chunk).to(precise), rows.take_weight(chunk) / total
        if rows.ragged:
            seen += weight @ (~values.isnan()).to(precise)
            values = values.nan_to_num()
        center += weight @ values
    if rows.ragged:
        center /= torch.where(seen > 0, seen, 1.0)
    variances = torch.zeros_like(center)
    for chunk in rows.chunks():
        distances = (rows.take(chunk).to(precise) - center).square()
        if rows.ragged:
            distances = distances.nan_to_num()
        variances += rows.take_weight(chunk) @ distances / total
    rounding = 8 * torch.finfo(precise).eps * center.abs()
    # Roots: the square of a large rounding error would overflow.
    return center, torch.where(variances.sqrt() > rounding, variances, 0.0)


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


@torch.no_grad()
def start_at_pca(module: AutoencoderModule, rows: Rows, loss: Loss, seed: int) -> None:
    """Set the linear paths of a dense network to PCA.

    Under a loss with a link, where PCA has no reconstructions to offer, the codes are PCA's
    and the outputs the mean of the rows.

    Parameters
    ----------
    module : AutoencoderModule
        Encoder and decoder are dense stacks with a linear path.
    rows : Rows
        Centred and scaled.
    loss : Loss
    seed : int
        Of :func:`principal_axes`.
    """
    assert isinstance(module.encoder, DenseStack)
    assert isinstance(module.decoder, DenseStack)
    center, variances = spread(rows)
    unit = variances.mean().sqrt() if variances.any() else torch.ones_like(center[0])
    centered = rows.standardized(module.center + module.scale * center, module.scale, rows.dtype)
    axes, code_variances = principal_axes(centered.hold(), module.n_components, seed)
    code_scale = code_variances.clamp_min(1e-6 * code_variances.max()).sqrt() / unit
    code_scale = torch.where(code_scale > 0, code_scale, 1.0)
    module.encoder.start_linear(axes / unit, -axes @ center / unit, center, unit.expand_as(center))
    # What is linear in the data is not linear before an exponential.
    back = axes.t() * unit if loss.scaled else torch.zeros_like(axes.t())
    module.decoder.start_linear(back, loss.link(center), torch.zeros_like(code_scale), code_scale)


@torch.no_grad()
def shrink_start(module: DenoisingModule, rows: Rows) -> None:
    """Turn a start at PCA into the best linear denoiser of as many components.

    Of samples with Gaussian noise of variance ``s^2`` the best linear reconstruction shrinks a
    principal component of variance ``v`` by ``v / (v + s^2)``, where PCA leaves the noise in it.

    Parameters
    ----------
    module : DenoisingModule
        As :func:`start_at_pca` left it, its noise level noted.
    rows : Rows
        Centred and scaled.
    """
    assert isinstance(module.decoder, DenseStack)
    back = module.decoder.shortcut
    assert back is not None
    codes = rows.through(module.encode, module.n_components)
    variances = spread(codes)[1].to(back) * back.square().sum(0)
    noise = (module.level / module.scale).square()
    back.mul_(variances / (variances + noise))
