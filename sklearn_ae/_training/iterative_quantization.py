"""The initialisation of semantic hashing: the signs of rotated principal components."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_ae._training.batches import Samples, by_chunks
from sklearn_ae._training.linear import principal_axes
from sklearn_ae._training.random import make_generator
from sklearn_ae.losses import Loss
from sklearn_ae.networks._hashing import HashingModule
from sklearn_ae.networks.dense import DenseStack

MAX_ROTATED = 10_000
"""Maximum number of samples, drawn at random, that determine the rotation."""

N_ITERATIONS = 50
"""Number of alternations between bits and rotation, as in the paper."""

LEAST_VARIANCE = 1e-6
"""Variance of an axis, relative to that of the first one, up to which it is left out."""

_RIDGE = 1e-6
"""Factor of the identity, relative to the mean square of the bits, added to their moments."""


@torch.no_grad()
def start_at_itq(module: HashingModule, samples: Samples, loss: Loss, seed: int) -> None:
    """Initialise the linear paths of a dense network at iterative quantisation (ITQ).

    The bits are the signs of the first principal components, rotated such that the components are
    close to their signs. The decoder is the linear regression of the samples on the bits. Both
    are determined by at most `MAX_ROTATED` samples. For a loss with a link function the outputs
    of the decoder are the mean of the samples.

    Parameters
    ----------
    module : HashingModule
        Its encoder and decoder are dense stacks with a linear path, and its input is standardised.
    samples : Samples
        In network units.
    loss : Loss
    seed : int
        Seed of the subspace, of the samples that determine the rotation, and of its start.

    References
    ----------
    Gong, Y. and Lazebnik, S. (2011). Iterative quantization: a procrustean approach to learning
    binary codes. CVPR.
    """
    assert isinstance(module.encoder, DenseStack)
    assert isinstance(module.decoder, DenseStack)
    n_components, center = module.n_components, module.input_center
    centered = samples.map(lambda x: x - center.to(x), samples.n_features).cache()
    axes, variances = principal_axes(centered, n_components, seed)
    # The rotation of axes without variance would be determined by rounding errors.
    axes = axes[: max(1, int((variances > LEAST_VARIANCE * variances[0]).sum()))]
    few = centered.sample(MAX_ROTATED, seed)
    codes = by_chunks(few, lambda x: x.to(axes) @ axes.t())
    weight = few.take_weight(slice(0, len(few))).to(codes)[:, None]
    rotation = _rotation_to_signs(codes, weight, n_components, seed)
    deviations = ((weight * (codes @ rotation).square()).sum(0) / weight.sum()).sqrt()
    # Bits of no variance would be divided by zero. Logits are as wide as the noise.
    gain = (module.code_noise or 1.0) / torch.where(deviations > 0, deviations, 1.0)
    forth = gain[:, None] * (rotation.t() @ axes)
    back = _regression_on_signs(few, forth)
    if not loss.scaled:
        back[loss.n_linear :] = 0  # behind a link function the regression does not hold
    zeros = torch.zeros_like(center)
    none = torch.zeros(n_components, device=center.device)
    module.encoder.start_linear(
        forth * module.input_scale.to(forth), none, zeros, torch.ones_like(center)
    )
    module.decoder.start_linear(back, loss.link(center), none, torch.ones_like(none))


def _rotation_to_signs(codes: Tensor, weight: Tensor, n_bits: int, seed: int) -> Tensor:
    """Return the rotation whose result is close to its signs, by alternating minimisation.

    Returns
    -------
    rotation : Tensor of shape (n_axes, n_bits)
        With orthonormal rows.
    """
    shape = n_bits, codes.shape[1]
    draws = torch.randn(shape, generator=make_generator(seed), dtype=torch.float64)
    rotation: Tensor = torch.linalg.qr(draws.to(codes)).Q.t()
    for _ in range(N_ITERATIONS):
        product = (weight * codes).t() @ (codes @ rotation).sign()
        left, _, right = torch.linalg.svd(product, full_matrices=False)
        rotation = left @ right
    return rotation


def _regression_on_signs(samples: Samples, forth: Tensor) -> Tensor:
    """Return the coefficients, (n_features, n_components), of centred samples on their bits."""

    def moments(values: Tensor, weight: Tensor) -> Tensor:
        values = values.to(forth)
        signs = (values @ forth.t()).sign()
        return (signs * weight[:, None].to(forth)).t() @ torch.hstack([signs, values])

    size = len(forth)
    total = samples.sum_over_chunks(moments) / samples.total_weight
    square = total[:, :size] + _RIDGE * torch.eye(size).to(forth)
    coefficients: Tensor = torch.linalg.solve(square, total[:, size:])
    return coefficients.t()
