"""Hashes of samples by their content, to which rounding errors make no difference.

Whatever is chosen for a sample by its content goes by its key: whether it is held out, which
members of an ensemble score it, the numbers drawn for its likelihood. A sample is projected on a
few random directions; the cells of a grid in which the projections lie give the key. Rounding to
float32 moves a sample to another cell only if it lies that close to an edge. With few projections,
whatever the number of features, hardly any sample does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

N_PROJECTIONS = 4
"""Number of random directions. More make more cells, and more edges to cross."""

N_CELLS = 8
"""Number of cells along one direction, at most, that samples are parted by.

They hold equally many samples. Copies of a sample but for some noise mostly stay together."""

DRAWING_CELLS = 2.0**10
"""Number of cells in a unit, at most, that have draws of their own."""

EQUAL_CELLS = 2.0**20
"""Number of cells in a unit where a cell stands for equal samples."""

ROUNDING = 2e-8
"""What rounding to float32 changes a projection by, on average, as a fraction of its summands."""

CROSSING = 4e-4
"""Fraction of the samples that may change their cell in float32. One in a thousand is promised."""

USUAL_OFFSETS = 16.0, 1536.0
"""Sizes of samples, in deviations, of data that lie far from the origin, as temperatures in kelvin
or years do. Twice as many may change, so that such data keep the cells that they have without."""

LARGEST_OFFSET = 4096.0
"""Mean of a feature, in its deviations, from which on it counts less: its digits are few."""

NEGLIGIBLE = 2.0**-40
"""Deviation, as a fraction of the mean, that is a rounding error."""

N_SLICES = 4
"""Number of slices of a cell of the first direction. A part of a cell is that part of each."""

POSITION_BITS = 16
"""Lowest bits of a key: where in its slice the sample lies."""

MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
"""Shifts and factors that turn sums into hashes."""

LAST_SHIFT = 31

STRIDE = 0x9E3779B97F4A7C15
"""Between the numbers that are mixed into the draws of one key."""

FAR = 2.0**52
"""Cells beyond this number are taken for this one."""


class Grid(NamedTuple):
    """Random projections and the cells that training samples are parted by.

    Attributes
    ----------
    directions : ndarray of shape (N_PROJECTIONS, n_features)
    edges : ndarray of shape (N_PROJECTIONS, N_CELLS + 2)
        The least and the largest projection, and between them the edges of the cells; infinite
        ones for edges that could not be told from samples.
    """

    directions: np.ndarray
    edges: np.ndarray


class Units(NamedTuple):
    """Random projections of samples in known units, and cells of one width.

    Attributes
    ----------
    directions : ndarray of shape (N_PROJECTIONS, n_features)
    shift : ndarray of shape (N_PROJECTIONS,)
        By how many cells the edges are moved.
    n_cells : float
        Number of cells in a unit.
    """

    directions: np.ndarray
    shift: np.ndarray
    n_cells: float


def draw_directions(n_features: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw directions, vectors of length one, and by how many cells edges are moved."""
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
        Number of cells in a unit, at most.
    offset : float, default=0.0
        Root mean square of what was subtracted, in units: float32 leaves fewer cells.
    """
    least_width = N_PROJECTIONS * ROUNDING * math.hypot(1.0, offset) / CROSSING
    n_cells = min(n_cells, 2.0 ** -math.ceil(math.log2(least_width)))
    return Units(*draw_directions(n_features, seed=0), n_cells)


def feature_weights(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return what features are multiplied by, to count alike in a projection.

    One over the deviation; less if the digits of the mean leave few to the deviations, and
    zero for a constant feature.
    """
    deviation, offset = np.sqrt(variance), np.abs(mean)
    size = np.maximum(deviation, offset / LARGEST_OFFSET)
    return np.divide(1.0, size, out=np.zeros_like(size), where=deviation > NEGLIGIBLE * offset)


def grid_of_projections(
    directions: np.ndarray, shift: np.ndarray, projected: np.ndarray, weight: np.ndarray | None
) -> Grid:
    """Return the grid for samples of which the projections are known.

    Neither origin nor unit of the samples makes a difference.

    Parameters
    ----------
    directions : ndarray of shape (N_PROJECTIONS, n_features)
    shift : ndarray of shape (N_PROJECTIONS,)
    projected : ndarray of shape (N_PROJECTIONS + 1, n_samples)
        The samples on each direction, and the size of each sample: the root mean square of its
        values, each times the weight of its feature.
    weight : ndarray of shape (n_samples,) or None
    """
    *columns, sizes = projected
    size = _lower_median(*_sorted(sizes, weight))
    least, most = USUAL_OFFSETS
    crossing = CROSSING * (2 if least <= size <= most else 1)
    rows = [
        _edges(*_sorted(values, weight), start, ROUNDING * size, crossing)
        for values, start in zip(columns, shift, strict=True)
    ]
    return Grid(directions, np.stack(rows))


def _sorted(values: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sort values; return the weight up to each as well."""
    if weight is None:
        return np.sort(values), np.arange(1.0, len(values) + 1)
    order = np.argsort(values)
    return values[order], np.cumsum(weight[order])


def _lower_median(values: np.ndarray, total: np.ndarray) -> float:
    """Return the median of sorted values."""
    return float(values[np.searchsorted(total, total[-1] / 2)])


def _edges(
    values: np.ndarray, total: np.ndarray, start: float, noise: float, most: float
) -> np.ndarray:
    """Choose edges between sorted values, so few that `noise` crosses hardly any.

    An edge lies halfway between two values. There is none among values that differ by less than
    a few times the noise: they are one value.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
    total : ndarray of shape (n_samples,)
        Weight up to each value.
    start : float
        By how many cells the edges are moved from the quantiles.
    noise : float
    most : float
        Fraction of the samples that may cross edges of any direction.
    """
    n_cells = N_CELLS
    while True:
        places = (np.arange(n_cells) + start) / n_cells
        around = places[:, None] + np.array([-0.25, 0.0, 0.25]) / n_cells
        found = np.searchsorted(total, np.clip(around, 0, 1) * total[-1])
        low, below, high = values[np.minimum(found, len(values) - 1)].T
        next_one = np.searchsorted(values, below, side="right")
        above = np.where(
            next_one < len(values), values[np.minimum(next_one, len(values) - 1)], np.inf
        )
        width = np.maximum(high, above) - low
        apart = width > 16 * noise
        crossing = (noise / width[apart]).sum() / (2 * n_cells)
        if n_cells == 1 or N_PROJECTIONS * crossing <= most:
            break
        n_cells //= 2
    edges = np.where(apart, below / 2 + above / 2, np.inf)
    inner = np.append(edges, np.full(N_CELLS - n_cells, np.inf))
    return np.concatenate([values[:1], np.sort(inner), values[-1:]])


def project(values: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Project samples, ``(n_directions, n_samples)``.

    Sums are taken in one order wherever a sample stands, which a product of matrices does not
    promise: copies of a sample have equal projections.
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
        The hash of the cell, then `POSITION_BITS` bits: where in its slice the sample lies.
    """
    # Faster than np.searchsorted: there are few edges.
    cells = [
        (values > edges[1:-1, None]).sum(axis=0)
        for values, edges in zip(projected, grid.edges, strict=True)
    ]
    edges = np.sort(grid.edges[0])  # the largest projection before infinite edges
    least, largest = edges[cells[0]], edges[cells[0] + 1]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        position = np.nan_to_num((projected[0] - least) / (largest - least)).clip(0, 1)
    position = (position * N_SLICES % 1 * 2**POSITION_BITS).astype(np.uint64)
    return _hash_cells(np.stack(cells)) | position


def row_keys(rows: np.ndarray, cells: Units) -> np.ndarray:
    """Hash samples whose values are centred and scaled.

    Equal samples have equal keys wherever they stand, and rounding errors hardly ever make
    a difference.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
    cells : Units

    Returns
    -------
    ndarray of shape (n_samples,), dtype uint64
    """
    with np.errstate(over="ignore", invalid="ignore"):
        place = project(rows, cells.directions) * cells.n_cells + cells.shift[:, None]
    return _hash_cells(np.floor(np.nan_to_num(place).clip(-FAR, FAR)))


def _hash_cells(cells: np.ndarray) -> np.ndarray:
    """Hash the numbers of cells, ``(N_PROJECTIONS, n_samples)``; the lowest bits are zero."""
    numbers = cells.astype(np.int64).view(np.uint64)
    hashes = _mix((numbers * cell_factors()[:, None]).sum(axis=0, dtype=np.uint64))
    return hashes >> np.uint64(POSITION_BITS) << np.uint64(POSITION_BITS)


def cell_factors() -> np.ndarray:
    """Return the odd number that each projection's cell is multiplied by, as uint64."""
    return _mix(np.arange(1, N_PROJECTIONS + 1, dtype=np.uint64) * STRIDE) | np.uint64(1)


def reordered(keys: np.ndarray, factor: int = 1) -> np.ndarray:
    """Return numbers that put samples in a random order, as int64: equal ones for equal keys.

    Those of the samples in one cell go from a random number up with the place in the slice, the
    largest followed by the least. A fraction of all samples that have the least numbers is
    therefore about that fraction of the samples in each cell, also where cells are crowded.

    Parameters
    ----------
    keys : ndarray of shape (n_samples,), dtype uint64
    factor : int, default=1
        Odd, between the limits of int64. Another one gives another order.
    """
    position = keys & np.uint64(2**POSITION_BITS - 1)
    start = (keys - position).view(np.int64) * np.int64(factor)
    return start + (position << np.uint64(64 - POSITION_BITS)).view(np.int64)


def draw_factor(random_state: np.random.RandomState) -> int:
    """Draw what `reordered` takes."""
    limits = np.iinfo(np.int64)
    return int(random_state.randint(limits.min, limits.max, dtype=np.int64)) | 1


def _mix(keys: np.ndarray) -> np.ndarray:
    """Turn keys into numbers that look independent: the finaliser of splitmix64."""
    for shift, factor in MIXING:
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    return keys ^ (keys >> np.uint64(LAST_SHIFT))


def uniform_from_keys(keys: np.ndarray, n_draws: int, seed: int = 0) -> Tensor:
    """Draw uniform numbers for each key, always the same for one cell.

    What a sample is given then depends neither on its place nor on the samples beside it.

    Parameters
    ----------
    keys : ndarray of shape (n_keys,), dtype uint64
    n_draws : int
    seed : int, default=0
        Others have other draws.

    Returns
    -------
    Tensor of shape (n_keys, n_draws), float32
        Multiples of 2^-24, shifted by half of that off the ends of the unit interval.
    """
    bits = _mix(keys[:, None] + draw_steps(n_draws, seed)) >> np.uint64(40)
    return torch.from_numpy((bits.astype(np.float32) + np.float32(0.5)) * np.float32(2**-24))


def draw_steps(n_draws: int, seed: int) -> np.ndarray:
    """Return what is added to a key for each of its draws, as uint64."""
    numbers = np.arange(1, n_draws + 1, dtype=np.uint64) + np.uint64(seed << 32)
    return numbers * np.uint64(STRIDE)
