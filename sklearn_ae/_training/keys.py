"""Keys of samples: hashes of their values that are insensitive to rounding errors.

All that depends on the content of a sample is determined by its key: whether it is held out, which
members of an ensemble score it, the draws that estimate its likelihood. A sample is projected on a
few random directions, and its key is the hash of the grid cells in which the projections lie.
Rounding to float32 moves a sample to another cell only if it lies within the rounding error of an
edge. Since the number of projections is small for any number of features, few samples do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

N_PROJECTIONS = 4
"""Number of random directions. More of them make more cells, and more edges to cross."""

N_CELLS = 8
"""Largest number of cells along one direction of a grid.

Cells hold equal numbers of samples. Copies of a sample with little noise mostly share a cell.
"""

DRAWING_CELLS = 2.0**10
"""Largest number of cells per unit that have different draws."""

EQUAL_CELLS = 2.0**20
"""Number of cells per unit if all samples in a cell are considered equal."""

ROUNDING = 2e-8
"""Average rounding error of a projection in float32, relative to the size of its summands."""

CROSSING = 4e-4
"""Fraction of the samples that may change their cell in float32; the docs promise 1 in 1,000."""

USUAL_OFFSETS = 16.0, 1536.0
"""Range of the sizes of samples, in standard deviations, of data far from the origin.

Examples are temperatures in kelvin, and years. Twice as many of their samples may change their
cell: otherwise they would have fewer cells than the same data centred.
"""

LARGEST_OFFSET = 4096.0
"""Largest mean of a feature, in its standard deviations, at which it has full influence.

Beyond it, few digits are left for the differences between samples.
"""

NEGLIGIBLE = 2.0**-40
"""Largest standard deviation, relative to the mean, that is due to rounding errors."""

N_SLICES = 4
"""Number of slices of a cell along the first direction.

A fraction of a cell's samples is taken as this fraction of each slice.
"""

POSITION_BITS = 16
"""Number of the lowest bits of a key, which hold the position of the sample in its slice."""

MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
"""Shifts and factors of the finaliser of splitmix64."""

LAST_SHIFT = 31
"""Last shift of the finaliser of splitmix64."""

STRIDE = 0x9E3779B97F4A7C15
"""Increment of splitmix64, between the numbers that are mixed into the draws of a key."""

FAR = 2.0**52
"""Bound on the indices of cells: float64 represents all integers up to it exactly."""


class Grid(NamedTuple):
    """Random projections and cells at quantiles of the projections of training samples.

    Attributes
    ----------
    directions : ndarray of shape (N_PROJECTIONS, n_features)
    edges : ndarray of shape (N_PROJECTIONS, N_CELLS + 2)
        The smallest and the largest projection, and between them the edges of the cells. An edge
        that rounding errors could cross is infinite.
    """

    directions: np.ndarray
    edges: np.ndarray


class Units(NamedTuple):
    """Random projections of standardised samples, and cells of equal width.

    Attributes
    ----------
    directions : ndarray of shape (N_PROJECTIONS, n_features)
    shift : ndarray of shape (N_PROJECTIONS,)
        Offsets of the edges, in cells.
    n_cells : float
        Number of cells per unit.
    """

    directions: np.ndarray
    shift: np.ndarray
    n_cells: float


def draw_directions(n_features: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw directions, vectors of length one, and offsets of the edges, in cells."""
    random = np.random.default_rng(seed)
    directions = random.standard_normal((N_PROJECTIONS, n_features))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions, random.uniform(size=N_PROJECTIONS)


def cells_of_units(n_features: int, n_cells: float, offset: float = 0.0) -> Units:
    """Return cells for samples whose values are centred and scaled.

    Parameters
    ----------
    n_features : int
    n_cells : float
        Largest number of cells per unit.
    offset : float, default=0.0
        Root mean square of the centre that was subtracted, in units. The larger it is, the larger
        are rounding errors in float32, and the fewer are the cells.

    Returns
    -------
    Units
    """
    least_width = N_PROJECTIONS * ROUNDING * math.hypot(1.0, offset) / CROSSING
    n_cells = min(n_cells, 2.0 ** -math.ceil(math.log2(least_width)))
    return Units(*draw_directions(n_features, seed=0), n_cells)


def feature_weights(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return factors of the features that give all of them equal influence on a projection.

    They are one over the standard deviation, less if it is small compared with the mean, and
    zero for a constant feature.
    """
    deviation, offset = np.sqrt(variance), np.abs(mean)
    size = np.maximum(deviation, offset / LARGEST_OFFSET)
    factors: np.ndarray = np.zeros_like(size)
    np.divide(1.0, size, out=factors, where=deviation > NEGLIGIBLE * offset)
    return factors


Rank = Callable[[np.ndarray], np.ndarray]
"""Maps cumulative weights to indices of sorted values, the first at which each is reached."""


def edges_of(
    values: np.ndarray,
    weight: np.ndarray | None,
    start: float,
    size: float,
    in_place: bool = False,
) -> np.ndarray:
    """Return the edges between the projections of samples on one direction.

    They are equivariant to shifts and changes of units of the samples.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        Projection of each sample.
    weight : ndarray of shape (n_samples,) or None
    start : float
        Offset of the edges, in cells.
    size : float
        Median size of the samples: the root mean square of the values of each, multiplied by
        the factors of the features.
    in_place : bool, default=False
        Whether the order of `values` may be changed.

    Returns
    -------
    ndarray of shape (N_CELLS + 2,)
    """
    least, most = USUAL_OFFSETS
    crossing = CROSSING * (2 if least <= size <= most else 1)
    return _edges(*_sorted(values, weight, in_place), start, ROUNDING * size, crossing)


def _sorted(
    values: np.ndarray, weight: np.ndarray | None, in_place: bool
) -> tuple[np.ndarray, Rank, float]:
    """Return the sorted values, the rank of cumulative weights, and the total weight."""
    if weight is None:
        ordered = values if in_place else values.copy()
        ordered.sort()
        # As `np.searchsorted` in the cumulative weights 1, 2, 3, ...
        return ordered, lambda x: np.ceil(x).astype(np.int64).clip(1) - 1, float(len(values))
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return values[order], lambda x: np.searchsorted(total, x), float(total[-1])


def lower_median(values: np.ndarray, weight: np.ndarray | None, in_place: bool = False) -> float:
    """Return the lower weighted median; with `in_place` the order of the values may change."""
    ordered, rank, total = _sorted(values, weight, in_place)
    return float(ordered[rank(np.array(total / 2))])


def _edges(
    values: np.ndarray, rank: Rank, total: float, start: float, noise: float, most: float
) -> np.ndarray:
    """Choose edges between sorted values.

    An edge lies halfway between two neighbouring values near a quantile. Edges among values that
    differ by less than a few times the noise are infinite: such values are considered equal. The
    number of cells is halved until the noise moves few enough samples across edges.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        Sorted.
    rank : callable
    total : float
        Total weight.
    start : float
        Offset of the edges from the quantiles, in cells.
    noise : float
        Average rounding error of a value.
    most : float
        Largest fraction of the samples that may cross edges of any direction.

    Returns
    -------
    ndarray of shape (N_CELLS + 2,)
    """
    n_cells = N_CELLS
    while True:
        quantiles = (np.arange(n_cells) + start) / n_cells
        # Half a cell around each edge, for the density of the samples there.
        around = quantiles[:, None] + np.array([-0.25, 0.0, 0.25]) / n_cells  # (n_cells, 3)
        found = rank(np.clip(around, 0, 1) * total)
        low, below, high = values[np.minimum(found, len(values) - 1)].T
        following = np.searchsorted(values, below, side="right")
        above = np.where(
            following < len(values), values[np.minimum(following, len(values) - 1)], np.inf
        )
        width = np.maximum(high, above) - low
        apart = width > 16 * noise
        # Half a cell, a fraction 1 / (2 n_cells) of the samples, is spread over the width.
        crossing = (noise / width[apart]).sum() / (2 * n_cells)
        if n_cells == 1 or N_PROJECTIONS * crossing <= most:
            break
        n_cells //= 2
    edges = np.where(apart, below / 2 + above / 2, np.inf)
    inner = np.append(edges, np.full(N_CELLS - n_cells, np.inf))
    return np.concatenate([values[:1], np.sort(inner), values[-1:]])


def project(values: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return the projections of samples, of shape (n_directions, n_samples).

    Copies of a sample have equal projections: `einsum` adds the products of each sample in the
    same order, which a product of matrices does not guarantee.
    """
    values = np.ascontiguousarray(values, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.stack([np.einsum("ij,j->i", values, each) for each in directions])


def keys_of_projections(projected: np.ndarray, grid: Grid) -> np.ndarray:
    """Hash samples by the cells of their projections on the directions of a grid.

    Parameters
    ----------
    projected : ndarray of shape (N_PROJECTIONS, n_samples)
    grid : Grid

    Returns
    -------
    ndarray of shape (n_samples,), dtype uint64
        The highest bits are the hash of the cell, the lowest `POSITION_BITS` bits the position of
        the sample in its slice of the cell.
    """
    # Faster than np.searchsorted for so few edges.
    cells = [
        (values > edges[1:-1, None]).sum(axis=0)
        for values, edges in zip(projected, grid.edges, strict=True)
    ]
    edges = np.sort(grid.edges[0])  # moves the largest projection before the infinite edges
    # The cell that a sample is in starts at the edge of this index: below the first edge lies
    # the smallest projection, above the last one the largest.
    least, largest = edges[cells[0]], edges[cells[0] + 1]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        position = np.nan_to_num((projected[0] - least) / (largest - least)).clip(0, 1)
    position = (position * N_SLICES % 1 * 2**POSITION_BITS).astype(np.uint64)
    keys: np.ndarray = _hash_cells(np.stack(cells)) | position
    return keys


def sample_keys(samples: np.ndarray, cells: Units) -> np.ndarray:
    """Hash samples whose values are centred and scaled.

    Equal samples have equal keys at any position, and rounding errors change few keys.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features)
    cells : Units

    Returns
    -------
    ndarray of shape (n_samples,), dtype uint64
    """
    with np.errstate(over="ignore", invalid="ignore"):
        place = project(samples, cells.directions) * cells.n_cells + cells.shift[:, None]
    return _hash_cells(np.floor(np.nan_to_num(place).clip(-FAR, FAR)))


def _hash_cells(cells: np.ndarray) -> np.ndarray:
    """Hash the indices of cells, of shape (N_PROJECTIONS, n_samples).

    The lowest `POSITION_BITS` bits of the hashes are zero.
    """
    numbers = cells.astype(np.int64).view(np.uint64)  # negative indices wrap around
    hashes = _mix((numbers * cell_factors()[:, None]).sum(axis=0, dtype=np.uint64))
    return hashes >> np.uint64(POSITION_BITS) << np.uint64(POSITION_BITS)


def cell_factors() -> np.ndarray:
    """Return the odd factors of the cell indices in the hash, one per projection, as uint64."""
    numbers = np.arange(1, N_PROJECTIONS + 1, dtype=np.uint64) * STRIDE
    factors: np.ndarray = _mix(numbers) | np.uint64(1)
    return factors


def reordered(keys: np.ndarray, factor: int = 1) -> np.ndarray:
    """Return numbers, equal for equal keys, whose order is a random order of the samples.

    The numbers of the samples in a cell start at a random number and increase with the position
    in the slice; after the largest int64 they continue at the smallest. A fraction of all samples,
    those with the smallest numbers, therefore holds about this fraction of the samples of each
    cell, even if most samples are in a few cells.

    Parameters
    ----------
    keys : ndarray of shape (n_samples,), dtype uint64
    factor : int, default=1
        An odd number in the range of int64. Different factors give different orders.

    Returns
    -------
    ndarray of shape (n_samples,), dtype int64
    """
    position = keys & np.uint64(2**POSITION_BITS - 1)
    start = (keys - position).view(np.int64) * np.int64(factor)
    # As the highest bits: positions then span the whole range of int64, and the sum wraps around.
    numbers: np.ndarray = start + (position << np.uint64(64 - POSITION_BITS)).view(np.int64)
    return numbers


def draw_factor(random_state: np.random.RandomState) -> int:
    """Draw a factor for :func:`reordered`."""
    limits = np.iinfo(np.int64)
    return int(random_state.randint(limits.min, limits.max, dtype=np.int64)) | 1


def _mix(keys: np.ndarray) -> np.ndarray:
    """Convert keys to pseudo-random numbers by the finaliser of splitmix64."""
    for shift, factor in MIXING:
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    mixed: np.ndarray = keys ^ (keys >> np.uint64(LAST_SHIFT))
    return mixed


def uniform_from_keys(keys: np.ndarray, n_draws: int, seed: int = 0) -> Tensor:
    """Draw uniform numbers for each key, the same in each call.

    The draws for a sample then depend neither on its position nor on the other samples.

    Parameters
    ----------
    keys : ndarray of shape (n_keys,), dtype uint64
    n_draws : int
    seed : int, default=0
        Different seeds give different draws.

    Returns
    -------
    Tensor of shape (n_keys, n_draws), float32
        Multiples of 2^-24 plus 2^-25, so that none is zero.
    """
    # 24 bits: as many as a float32 holds.
    bits = _mix(keys[:, None] + draw_steps(n_draws, seed)) >> np.uint64(40)
    return torch.from_numpy((bits.astype(np.float32) + np.float32(0.5)) * np.float32(2**-24))


def draw_steps(n_draws: int, seed: int) -> np.ndarray:
    """Return the increments of a key, one for each of its draws, as uint64."""
    numbers = np.arange(1, n_draws + 1, dtype=np.uint64) + np.uint64(seed << 32)
    return numbers * np.uint64(STRIDE)
