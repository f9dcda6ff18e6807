"""Moments and principal axes of data of any size, and the initialisation of networks at PCA."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sklearn_ae._training.batches import Samples
from sklearn_ae._training.moments import Moments
from sklearn_ae._training.random import make_generator
from sklearn_ae._training.ranks import Ranks
from sklearn_ae.losses import Loss
from sklearn_ae.networks._completion import Completion
from sklearn_ae.networks._denoising import DenoisingModule
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks.dense import DenseStack

EXACT_FEATURES = 1024
"""Largest number of features for which the covariance matrix is formed and decomposed exactly."""

_OVERSAMPLING = 16
"""Dimensions of the random subspace beyond the number of components."""

_POWER_PASSES = 4
"""Number of power iterations."""


def mean_and_variance(samples: Samples) -> tuple[Tensor, Tensor]:
    """Compute the mean and variance of each feature.

    Parameters
    ----------
    samples : Samples

    Returns
    -------
    center : Tensor of shape (n_features,)
        Mean of the values that are not NaN, which follows the end of a ragged sample.
    variances : Tensor of shape (n_features,)
        Sum of the squared distances from the mean over the weight of all samples: a missing value
        counts as the mean. Zero if the samples differ by rounding errors only.
    """
    known = samples.known_moments()
    if known is not None:
        return known
    precise, total = samples.precise, samples.total_weight
    ranks = Ranks.current()
    own = samples.own() if ranks is not None and samples.is_shared else samples
    moments = Moments(samples.n_features, precise, samples.device, samples.has_missing)
    for chunk in own.chunks():
        # Weights that sum to one: sums of squares then overflow no earlier than variances.
        moments.add(own.take(chunk).to(precise), own.take_weight(chunk) / total)
    if ranks is not None and own is not samples:
        parts = moments.mean, moments.squares, moments.weight
        found = ranks.of_all([part.cpu() for part in parts])  # each has its own device
        moments = Moments(samples.n_features, precise, samples.device)
        for each in found:
            moments.combine(*(part.to(samples.device) for part in each))
    return moments.mean_and_variance()


def ratio_from_error(error: float, variance: float) -> float:
    """Return the explained variance ratio, ``1 - error / variance``.

    If the variance is zero, it is 1 for an error of zero up to rounding, else 0.
    """
    if variance > 0:
        return 1 - error / variance
    return float(error < torch.finfo(torch.float32).eps)


def principal_axes(samples: Samples, n_components: int, seed: int) -> tuple[Tensor, Tensor]:
    """Compute the principal axes, the directions of largest variance, as PCA does.

    They are exact up to ``EXACT_FEATURES`` features. Wider data are projected on a random
    subspace, which a few power iterations turn towards the principal one; the covariance matrix
    is never formed.

    Parameters
    ----------
    samples : Samples
        Centred and scaled.
    n_components : int
    seed : int
        Seed of the random subspace.

    Returns
    -------
    axes : Tensor of shape (n_components, n_features)
        Orthonormal axes, the component of largest absolute value of each positive. Axes beyond
        the number of features are zero.
    variances : Tensor of shape (n_components,)
        Variance of the samples along each axis.

    References
    ----------
    Halko, N., Martinsson, P. G. and Tropp, J. A. (2011). Finding structure with
    randomness. SIAM Review, 53(2), 217-288.
    """
    n_features, total = samples.n_features, samples.total_weight

    def covariance_times(block: Tensor | None) -> Tensor:
        """Return the product of the covariance matrix and `block`, or the matrix for None."""

        def product(values: Tensor, weight: Tensor) -> Tensor:
            values = values.to(samples.precise)
            weighted = values * weight[:, None]
            return values.t() @ (weighted if block is None else weighted @ block)

        return samples.sum_over_chunks(product) / total

    if n_features <= EXACT_FEATURES:
        variances, vectors = torch.linalg.eigh(covariance_times(None))
    else:
        width = min(n_features, n_components + _OVERSAMPLING)
        basis = torch.randn(n_features, width, generator=make_generator(seed))
        basis = basis.to(samples.device, samples.precise)
        for _ in range(_POWER_PASSES):
            # Orthonormal again: else all columns would turn to the first axis.
            basis = torch.linalg.qr(covariance_times(basis)).Q
        variances, rotation = torch.linalg.eigh(basis.t() @ covariance_times(basis))
        vectors = basis @ rotation
    # eigh sorts by ascending eigenvalue.
    return _signed_axes(vectors.flip(1), variances.flip(0), n_components)


def _signed_axes(vectors: Tensor, variances: Tensor, n_components: int) -> tuple[Tensor, Tensor]:
    """Return the first eigenvectors as rows, the largest entry of each positive, and variances.

    Both are padded with zeros to ``n_components``.
    """
    kept = min(n_components, vectors.shape[1])
    vectors, variances = vectors[:, :kept], variances[:kept]
    largest = vectors.abs().argmax(0)
    vectors = vectors * vectors[largest, torch.arange(kept, device=vectors.device)].sign()
    axes = vectors.new_zeros(n_components, len(vectors))
    axes[:kept] = vectors.t()
    padded = variances.new_zeros(n_components)
    padded[:kept] = variances.clamp_min(0)  # rounding errors may be negative
    return axes, padded


@torch.no_grad()
def start_at_pca(module: AutoencoderModule, samples: Samples, loss: Loss, seed: int) -> None:
    """Initialise the linear paths of a dense network at PCA.

    For a loss with a link function, the codes are those of PCA, and the outputs are the mean of
    the samples: the reconstructions of PCA may be outside the range of the data.

    Parameters
    ----------
    module : AutoencoderModule
        Its encoder and decoder are dense stacks with a linear path.
    samples : Samples
        Centred and scaled.
    loss : Loss
    seed : int
        Passed to :func:`principal_axes`.
    """
    assert isinstance(module.encoder, DenseStack)
    assert isinstance(module.decoder, DenseStack)
    completion = module.completion
    if completion is None:
        center, variances = mean_and_variance(samples)
    else:
        center, variances = completion.mean.to(samples.precise), completion.feature_variances()
    unit = variances.mean().sqrt() if variances.any() else torch.ones_like(center[0])
    # The samples are in network units, (X - module.center) / module.scale, and `center` is in
    # these units, too: not zero if the loss fixes the range of the data.
    data_center = module.center + module.scale * center
    if completion is None:
        centered = samples.standardized(data_center, module.scale, samples.dtype)
        axes, code_variances = principal_axes(centered.cache(), module.n_components, seed)
    else:
        axes, code_variances = _axes_of(completion, module.n_components)
    if not variances.any():  # what is left are rounding errors
        code_variances = torch.zeros_like(code_variances)
    # Components of (nearly) no variance would be divided by (nearly) zero.
    code_scale = code_variances.clamp_min(1e-6 * code_variances.max()).sqrt() / unit
    code_scale = torch.where(code_scale > 0, code_scale, 1.0)
    # Inputs that say which values are missing have no influence at the start.
    n_further = module.encoder.layers[0].in_features - len(center)
    module.encoder.start_linear(
        functional.pad(axes / unit, (0, n_further)),
        -axes @ center / unit,
        functional.pad(center, (0, n_further)),
        functional.pad(unit.expand_as(center), (0, n_further), value=1.0),
    )
    # Behind an exponential or a sigmoid no linear map gives the reconstructions of PCA.
    back = axes.t() * unit
    if not loss.scaled:
        back[loss.n_linear :] = 0
    module.decoder.start_linear(back, loss.link(center), torch.zeros_like(code_scale), code_scale)


def _axes_of(completion: Completion, n_components: int) -> tuple[Tensor, Tensor]:
    """Return the axes and variances of :func:`principal_axes` for a Gaussian."""
    _, loadings, noise = completion.precise_parameters(completion.mean.device)
    n_features = len(loadings)
    if n_features <= EXACT_FEATURES:
        variances, vectors = torch.linalg.eigh(completion.covariance())
        variances, vectors = variances.flip(0), vectors.flip(1)
    else:  # of the factors alone: the noise hardly turns their axes
        vectors, roots, _ = torch.linalg.svd(loadings, full_matrices=False)
        variances = roots.square() + noise.mean()
    return _signed_axes(vectors, variances, n_components)


@torch.no_grad()
def shrink_start(module: DenoisingModule, samples: Samples) -> None:
    """Convert an initialisation at PCA into the best linear denoiser of as many components.

    For samples with Gaussian noise of variance ``s^2``, the best linear reconstruction multiplies
    a principal component of variance ``v`` by ``v / (v + s^2)``; PCA leaves the noise in it.

    Parameters
    ----------
    module : DenoisingModule
        Initialised by :func:`start_at_pca`, with its noise level set.
    samples : Samples
        Centred and scaled.
    """
    assert isinstance(module.decoder, DenseStack)
    back = module.decoder.shortcut
    assert back is not None
    codes = samples.map(module.encode, module.n_components)
    # Variances of the components in network units: codes are scaled, and so is each column of
    # the decoder, of shape (n_features, n_components), whose squared norm undoes this.
    variances = mean_and_variance(codes)[1].to(back) * back.square().sum(0)
    noise = (module.level / module.scale).square()
    back.mul_(variances / (variances + noise))
