"""Selection of held-out samples by a hash of their values."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._training.batches import Samples
from sklearn_ae._training.keys import (
    N_PROJECTIONS,
    Grid,
    draw_directions,
    edges_of,
    feature_weights,
    keys_of_projections,
    lower_median,
    project,
    reordered,
)
from sklearn_ae._training.linear import mean_and_variance
from sklearn_ae._training.ranks import Ranks
from sklearn_ae._training.streaming import TemporaryRows

MANY_SAMPLES = 2**18
"""Number of samples from which on what is computed for each of them is kept in a file."""


class Hashed(NamedTuple):
    """Keys of samples, and the grid that assigns keys to new samples.

    Attributes
    ----------
    keys : ndarray of shape (n_samples,), dtype uint64
    grid : Grid
    """

    keys: np.ndarray
    grid: Grid


def hash_samples(
    samples: Samples, seed: int, moments: tuple[Tensor, Tensor] | None = None
) -> Hashed:
    """Hash samples by their values in the units of the data.

    All features have equal influence, whatever their units. A change of units, or of the
    floating-point dtype, changes the key of about one sample in a thousand.

    Parameters
    ----------
    samples : Samples
        Their centre, scale and functions make no difference.
    seed : int
    moments : tuple of Tensor or None
        Mean and variance of each feature, if they were computed before.

    Returns
    -------
    Hashed
    """
    samples = samples.in_data_units()
    mean, variance = (each.cpu().numpy() for each in moments or mean_and_variance(samples))
    weights = feature_weights(mean, variance)
    directions, shift = draw_directions(samples.n_features, seed)
    directions *= weights

    # Sizes and projections of many samples wait in a file, of which one row at a time is read.
    # Reading the samples again for each of them would take longer.
    n_rows, n_samples = 1 + N_PROJECTIONS, len(samples)
    is_many = n_samples > MANY_SAMPLES
    memory = None if is_many else np.zeros((n_rows, n_samples))
    rows = TemporaryRows(n_rows * n_samples, 1, np.dtype(float)) if is_many else None
    # Of samples that several processes hold, each computes its own and adds zeros for the others.
    ranks = Ranks.current()
    own = samples.own() if ranks is not None and samples.is_shared else samples
    first = 0 if own is samples else samples.own_range().start
    for part in own.chunks():
        values: np.ndarray = own.take(part).cpu().numpy()
        chunk = slice(first + part.start, first + part.stop)
        if samples.has_missing:
            values = np.where(np.isnan(values), mean, values)
        scaled = values * weights
        sizes = np.sqrt(np.einsum("ij,ij->i", scaled, scaled) / len(mean))
        for number, found in enumerate([sizes, *project(values, directions)]):
            if memory is not None:
                memory[number, chunk] = found
            elif rows is not None:
                rows.write(number * n_samples + chunk.start, found)

    def row(number: int, part: slice = slice(0, n_samples)) -> np.ndarray:
        """Return the sizes (number zero), or the projections on one direction."""
        if rows is None:
            assert memory is not None
            return memory[number, part]
        start = number * n_samples
        return rows.read(start + part.start, start + part.stop)[:, 0]

    def of_all(values: np.ndarray) -> np.ndarray:
        """Return the sum over processes that hold different samples."""
        if ranks is not None and own is not samples:
            ranks.add_(torch.from_numpy(values))
        return values

    weight = None if samples.weight is None else samples.weight.numpy()
    # It determines the rounding errors.
    size = lower_median(of_all(row(0)), weight, in_place=is_many)
    edges = [
        edges_of(of_all(row(1 + number)), weight, start, size, in_place=is_many)
        for number, start in enumerate(shift)
    ]
    grid = Grid(directions, np.stack(edges))
    keys = np.zeros(n_samples, np.uint64)
    for part in own.chunks():
        chunk = slice(first + part.start, first + part.stop)
        projected = np.stack([row(1 + number, chunk) for number in range(N_PROJECTIONS)])
        keys[chunk] = keys_of_projections(projected, grid)
    of_all(keys.view(np.int64))
    return Hashed(keys, grid)


def keys_in_grid(samples: Samples, grid: Grid) -> np.ndarray:
    """Hash new samples as the samples that a grid was computed from; see :func:`hash_samples`.

    Returns
    -------
    ndarray of shape (n_samples,), dtype uint64
    """
    parts = [
        keys_of_projections(project(samples.take(chunk).cpu().numpy(), grid.directions), grid)
        for chunk in samples.chunks()
    ]
    return np.concatenate(parts)


def held_out(keys: np.ndarray, weight: np.ndarray | None, fraction: float) -> np.ndarray:
    """Select the samples to validate on.

    The samples with the smallest keys are held out until their total weight is `fraction` of the
    weight of all samples. Copies of a sample have equal keys, so either all or none of them are
    held out, and a sample of weight two is exactly equivalent to two copies.

    Parameters
    ----------
    keys : ndarray of shape (n_samples,)
    weight : ndarray of shape (n_samples,) or None
    fraction : float

    Returns
    -------
    ndarray of shape (n_samples,), dtype bool
        All False if the fraction of the distinct samples is less than one sample.
    """
    if weight is None:
        ordered = np.sort(keys)
        place = math.ceil(fraction * len(keys)) - 1
    else:
        order = np.argsort(keys)
        ordered, total = keys[order], np.cumsum(weight[order])
        place = int(np.searchsorted(total, fraction * total[-1]))
    # In parts, because a comparison of all is an array of its own.
    parts = (slice(start, start + MANY_SAMPLES + 1) for start in range(0, len(keys), MANY_SAMPLES))
    n_distinct = 1 + sum(np.count_nonzero(np.diff(ordered[part])) for part in parts)
    if n_distinct * fraction < 1:
        return np.zeros(len(keys), dtype=bool)
    last = ordered[place]
    if last == ordered[-1]:  # all samples: leave those of the largest key to train on
        last = ordered[np.searchsorted(ordered, last) - 1]
    del ordered  # eight bytes for each sample
    mask: np.ndarray = keys <= last
    return mask


def held_out_mask(
    samples: Samples,
    seed: int,
    fraction: float,
    classes: np.ndarray | None = None,
    moments: tuple[Tensor, Tensor] | None = None,
) -> np.ndarray:
    """Return the mask of the samples to hold out; all False for too few samples.

    Parameters
    ----------
    samples : Samples
    seed : int
    fraction : float
        Fraction of the total weight that is held out.
    classes : ndarray of shape (n_samples,) or None
        This fraction of each class is held out, unless it is less than one sample.
    moments : tuple of Tensor or None
        As in :func:`hash_samples`.

    Returns
    -------
    ndarray of shape (n_samples,), dtype bool
    """
    keys = hash_samples(samples, seed, moments).keys
    for chunk in samples.chunks():  # in the same memory
        keys[chunk] = reordered(keys[chunk]).view(np.uint64)
    keys = keys.view(np.int64)
    weight = None if samples.weight is None else samples.weight.numpy()
    mask = np.zeros(len(samples), bool)
    for label in () if classes is None else np.unique(classes):
        of_class = classes == label
        class_weight = None if weight is None else weight[of_class]
        mask[of_class] = held_out(keys[of_class], class_weight, fraction)
    if not mask.any():  # no classes, or too few samples of each
        mask = held_out(keys, weight, fraction)
    return mask
