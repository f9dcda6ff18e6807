"""Bounds of the log-likelihood of variational autoencoders.

They are estimated from random numbers seeded by the content of each sample, so the estimate for a
sample depends neither on the other samples nor on their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sklearn_ae._training.keys import (
    DRAWING_CELLS,
    Units,
    cells_of_units,
    sample_keys,
    uniform_from_keys,
)
from sklearn_ae._training.random import latin_grid, shifted
from sklearn_ae._training.reach import lowest_if_far
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._variational import VariationalModule

ELBO_DRAWS = 64
"""Number of draws in the estimate of a sample's evidence lower bound."""

N_BINARIZATIONS = 8
"""Number of times that a sample is binarised if its values are the probabilities of bits."""


MAX_OFFSET = 1e300
"""Offset beyond which the size of cells would overflow."""


def uniform_of_samples(x: Tensor, cells: Units, shape: tuple[int, int], seed: int) -> Tensor:
    """Draw uniform numbers of shape (shape[0], n_samples, shape[1]), seeded by sample content."""
    keys = sample_keys(x.nan_to_num().cpu().numpy(), cells)
    uniform = uniform_from_keys(keys, shape[0] * shape[1], seed).to(x.device)
    return uniform.view(len(x), *shape).transpose(0, 1)


def cells_of_network(module: AutoencoderModule, n_features: int) -> Units:
    """Return the cells of samples in network units; samples in one cell have the same draws.

    If the centre is large relative to the scale, float32 leaves the difference fewer significant
    digits, and the cells have to be larger.
    """
    center, scale = (each.detach().cpu().double() for each in (module.center, module.scale))
    # Without squares: a single sample has a scale of one, and may be far from the origin.
    offset = math.hypot(*(center / scale).flatten().tolist()) / math.sqrt(center.numel())
    return cells_of_units(n_features, DRAWING_CELLS, min(offset, MAX_OFFSET))


def bound_of_samples(
    module: VariationalModule,
    x: Tensor,
    n_draws: int | None,
    uniform: Callable[[Tensor, Units, tuple[int, int], int], Tensor],
    quantile: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return a lower bound of the log-density of each sample.

    Parameters
    ----------
    module : VariationalModule
    x : Tensor of shape (n_samples, n_features)
        Samples in network units.
    n_draws : int or None
        Number of codes of the importance-weighted bound. None: the evidence lower bound.
    uniform : callable
        Maps ``(x, cells, shape, seed)`` to uniform random numbers of shape
        (shape[0], n_samples, shape[1]).
    quantile : callable
        Maps uniform to standard Gaussian random numbers.

    Returns
    -------
    Tensor of shape (n_samples,)
        In nats, for densities in the units of the data. ``-inf`` for samples with values at the
        limit of :func:`within_reach`.
    """
    k, cells = module.n_components, cells_of_network(module, x.shape[1])

    def bound(x: Tensor, seed: int) -> Tensor:
        if n_draws is not None:
            return module.tight_bound(
                x, quantile(uniform(x, cells, (n_draws, k), seed)).to(x.dtype)
            )
        # A Latin hypercube, shifted for each sample: each draw is uniform, so the mean is
        # unbiased. Along each component there is one draw in each of the 64 strata, so functions
        # of a single component are integrated almost exactly.
        grid = latin_grid(ELBO_DRAWS, k).float().to(x.device)
        points = shifted(grid, uniform(x, cells, (1, k), seed)[0]).permute(1, 0, 2)
        return module.bound(x, quantile(points).to(x.dtype))

    if not module.binarize:
        return lowest_if_far(bound(x, 0), x)
    bounds = []
    for seed in range(N_BINARIZATIONS):
        # Seeds below N_BINARIZATIONS are those of the codes. NaN, which ends a sequence, is kept.
        bits = uniform(x, cells, (1, x.shape[1]), N_BINARIZATIONS + seed)[0] < x
        bounds.append(bound(bits.to(x.dtype).where(~x.isnan(), x), seed))
    return lowest_if_far(torch.stack(bounds).mean(0), x)
