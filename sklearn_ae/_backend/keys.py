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

N_PROJECTIONS = 3
"""Number of random directions. More make more cells, and more edges to cross."""

PARTING_CELLS = 2.0**6
"""Number of cells in a unit, at most, that samples are parted by.

One unit is about a standard deviation. Samples that differ by their rounding to float16 alone, or
are copies of one sample but for some noise, then mostly stay together.
"""

DRAWING_CELLS = 2.0**10
"""Number of cells in a unit, at most, that have draws of their own."""

ROUNDING = 2.0**-12
"""Least width of a cell in units of the size of the values, so that float32 crosses few edges.

Rounding to float32 moves a projection by 2e-8 of that size on average, and so across an edge in
three samples of 20,000; four times that is left for the rounding of mean and spread.
"""

LEAST_CELLS = 0.5
"""Number of cells in a unit where float32 has no digits left for more."""

EQUAL_CELLS = 2.0**20
"""Number of cells in a unit where a cell stands for equal samples."""

LARGEST_OFFSET = 32.0
"""Mean of a feature, in its deviations, from which on it counts less: its digits are few."""

NEGLIGIBLE = 2.0**-40
"""Differences, as a fraction of the size of the values, that are rounding errors."""

POSITION_BITS = 16
"""Lowest bits of a key: where in its cell the sample lies."""

MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
"""Shifts and factors that turn sums into hashes."""

LAST_SHIFT = 31

STRIDE = 0x9E3779B97F4A7C15
"""Between the numbers that are mixed into the draws of one key."""

FAR = 1e100
"""Projections beyond are taken for this one: its square does not overflow."""


class Grid(NamedTuple):
    """Random projections and the cells that they are divided into.

    Attributes
    ----------
    directions : ndarray of shape (N_PROJECTIONS, n_features)
    center : ndarray of shape (N_PROJECTIONS,)
        What is subtracted from the projections.
    unit : ndarray of shape (N_PROJECTIONS,)
        What they are then divided by.
    n_cells : float
        Number of cells in a unit about the centre. Far from it they grow with the distance, as
        rounding errors do.
    shift : ndarray of shape (N_PROJECTIONS,)
        By how many cells the grid is moved.
    """

    directions: np.ndarray
    center: np.ndarray
    unit: np.ndarray
    n_cells: float
    shift: np.ndarray


def draw_directions(n_features: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw directions, vectors of length one, and shifts of a grid."""
    random = np.random.default_rng(seed)
    directions = random.standard_normal((N_PROJECTIONS, n_features))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions, random.uniform(size=N_PROJECTIONS)


def grid_of_units(n_features: int, n_cells: float) -> Grid:
    """Return a grid for samples whose values are centred and scaled.

    Parameters
    ----------
    n_features : int
    n_cells : float
        Number of cells in a unit, see `cells_in_a_unit`.
    """
    directions, shift = draw_directions(n_features, seed=0)
    return Grid(directions, np.zeros(N_PROJECTIONS), np.ones(N_PROJECTIONS), n_cells, shift)


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

    Neither origin nor unit of the samples makes a difference, and outliers make little.

    Parameters
    ----------
    directions : ndarray of shape (N_PROJECTIONS, n_features)
    shift : ndarray of shape (N_PROJECTIONS,)
    projected : ndarray of shape (N_PROJECTIONS + 1, n_samples)
        The samples on each direction, and the size of each sample: the root mean square of its
        values, each times the weight of its feature.
    weight : ndarray of shape (n_samples,) or None
    """
    low, high = _halves(projected[-1], weight)
    size = (low + high) / 2
    centers, units = np.empty((2, N_PROJECTIONS))
    for number, values in enumerate(projected[:-1]):
        low, high = _halves(values, weight)
        centers[number], unit = (low + high) / 2, high - low
        if not unit > NEGLIGIBLE * size:  # most samples are equal
            unit = math.sqrt(np.average(np.square(values - centers[number]), weights=weight))
        units[number] = unit or 1.0
    n_cells = cells_in_a_unit(size / units.mean(), PARTING_CELLS)
    return Grid(directions, centers, units, n_cells, shift)


def _halves(values: np.ndarray, weight: np.ndarray | None) -> tuple[float, float]:
    """Return the means of the lower and the upper half, a tenth at each end left out.

    A sample of weight two counts as two samples.
    """
    order = np.argsort(values, kind="stable")
    values = values[order]
    weight = np.ones(len(values)) if weight is None else weight[order]
    end = np.cumsum(weight)

    def mean_between(*fractions: float) -> float:
        low, high = (fraction * end[-1] for fraction in fractions)
        first, last = np.searchsorted(end, (low, high))
        counted = weight[first : last + 1].copy()
        counted[0] -= low - (end[first] - weight[first])
        counted[-1] -= end[last] - high
        return float(np.average(values[first : last + 1], weights=counted))

    return mean_between(0.1, 0.5), mean_between(0.5, 0.9)


def cells_in_a_unit(size: float, most: float) -> float:
    """Return the number of cells in a unit, a power of two, that float32 hardly ever leaves.

    Parameters
    ----------
    size : float
        Root mean square of the values before they are centred, in units.
    most : float
        Largest number.
    """
    width = ROUNDING * size if 0 < size < math.inf else 1.0
    return min(most, max(LEAST_CELLS, 2.0 ** -math.ceil(math.log2(width))))


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
        Not yet centred.
    grid : Grid

    Returns
    -------
    ndarray of shape (n_samples,), dtype uint64
        The hash of the cell, then `POSITION_BITS` bits that say where in it the sample lies.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (projected - grid.center[:, None]) / grid.unit[:, None]
    scaled = np.clip(np.nan_to_num(scaled), -FAR, FAR)
    place = np.arcsinh(scaled) * grid.n_cells + grid.shift[:, None]
    cell = np.floor(place)
    position = np.minimum((place[0] - cell[0]) * 2**POSITION_BITS, 2**POSITION_BITS - 1)
    hashes = _mix((cell.astype(np.int64).view(np.uint64) * cell_factors()[:, None]).sum(axis=0))
    return (hashes >> POSITION_BITS << POSITION_BITS) | position.astype(np.uint64)


def row_keys(rows: np.ndarray, grid: Grid) -> np.ndarray:
    """Hash each sample by its content.

    Equal samples have equal keys wherever they stand, and rounding errors hardly ever make
    a difference.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
    grid : Grid

    Returns
    -------
    ndarray of shape (n_samples,), dtype uint64
    """
    return keys_of_projections(project(rows, grid.directions), grid)


def cell_factors() -> np.ndarray:
    """Return the odd number that each projection's cell is multiplied by, as uint64."""
    return _mix(np.arange(1, N_PROJECTIONS + 1, dtype=np.uint64) * STRIDE) | np.uint64(1)


def reordered(keys: np.ndarray, factor: int = 1) -> np.ndarray:
    """Return numbers that put samples in a random order, as int64: equal ones for equal keys.

    Those of the samples in one cell go from a random number up with the place in the cell, the
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
    cells = keys >> POSITION_BITS << POSITION_BITS
    bits = _mix(cells[:, None] + draw_steps(n_draws, seed)) >> np.uint64(40)
    return torch.from_numpy((bits.astype(np.float32) + np.float32(0.5)) * np.float32(2**-24))


def draw_steps(n_draws: int, seed: int) -> np.ndarray:
    """Return what is added to a key for each of its draws, as uint64."""
    numbers = np.arange(1, n_draws + 1, dtype=np.uint64) + np.uint64(seed << 32)
    return numbers * np.uint64(STRIDE)
