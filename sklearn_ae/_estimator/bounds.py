"""Bounds of the log-likelihood of variational autoencoders, from draws of each sample's own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sklearn_ae._training.keys import (
    DRAWING_CELLS,
    Units,
    cells_of_units,
    row_keys,
    uniform_from_keys,
)
from sklearn_ae._training.random import latin_grid, shifted
from sklearn_ae._training.reach import lowest_if_far
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._variational import VariationalModule

ELBO_DRAWS = 64
"""Number of draws that estimate the evidence lower bound of a sample."""

BIT_DRAWS = 8
"""Number of times that the bits of a sample are drawn, where its values are probabilities."""


MAX_OFFSET = 1e300
"""Offset beyond which the size of cells would overflow."""


def uniform_of_samples(x: Tensor, cells: Units, shape: tuple[int, int], seed: int) -> Tensor:
    """Draw uniform numbers for each sample, ``(shape[0], n_samples, shape[1])``, by content."""
    keys = row_keys(x.nan_to_num().cpu().numpy(), cells)
    uniform = uniform_from_keys(keys, shape[0] * shape[1], seed).to(x.device)
    return uniform.view(len(x), *shape).transpose(0, 1)


def cells_of_network(module: AutoencoderModule, n_features: int) -> Units:
    """Return the cells that samples in network units draw by.

    The digits that float32 spends on the centre are none of the sample's own.
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
    """Bound the log-density of samples in network units, in nats per unit of the data.

    Parameters
    ----------
    module : VariationalModule
    x : Tensor of shape (n_samples, n_features)
    n_draws : int or None
        Number of codes of the importance-weighted bound. None: the evidence lower bound.
    uniform : callable
        ``(x, cells, shape, seed)`` to uniform numbers of shape (shape[0], n_samples, shape[1]).
    quantile : callable
        Uniform numbers to standard Gaussian ones.

    Returns
    -------
    Tensor of shape (n_samples,)
        ``-inf`` for samples that reach the bound of values.
    """
    k, cells = module.n_components, cells_of_network(module, x.shape[1])

    def bound(x: Tensor, seed: int) -> Tensor:
        if n_draws is not None:
            return module.tight_bound(
                x, quantile(uniform(x, cells, (n_draws, k), seed)).to(x.dtype)
            )
        # Each component's draws fill 64 strata, shifted for each sample: every draw is uniform,
        # so the mean has no bias, and what depends on one component varies little.
        grid = latin_grid(ELBO_DRAWS, k).float().to(x.device)
        points = shifted(grid, uniform(x, cells, (1, k), seed)[0]).permute(1, 0, 2)
        return module.bound(x, quantile(points).to(x.dtype))

    if not module.binarize:
        return lowest_if_far(bound(x, 0), x)
    bounds = []
    for seed in range(BIT_DRAWS):
        bits = uniform(x, cells, (1, x.shape[1]), BIT_DRAWS + seed)[0] < x
        bounds.append(bound(bits.to(x.dtype).where(~x.isnan(), x), seed))
    return lowest_if_far(torch.stack(bounds).mean(0), x)
