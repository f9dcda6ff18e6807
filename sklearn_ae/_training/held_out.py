"""Which samples are held out: chosen by what they hold."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor

from sklearn_ae._training.batches import Rows
from sklearn_ae._training.keys import (
    N_PROJECTIONS,
    Grid,
    draw_directions,
    feature_weights,
    grid_of_projections,
    keys_of_projections,
    project,
    reordered,
)
from sklearn_ae._training.linear import spread


class Hashed(NamedTuple):
    """Keys of samples, and the grid that gives fresh ones theirs.

    Attributes
    ----------
    keys : ndarray of shape (n_samples,), dtype uint64
    grid : Grid
    """

    keys: np.ndarray
    grid: Grid


def hash_rows(rows: Rows, seed: int, moments: tuple[Tensor, Tensor] | None = None) -> Hashed:
    """Hash samples by their values in the units of the data.

    Features count alike whatever their units; a change of units, or of the floating-point type,
    gives another key to one sample of thousands.

    Parameters
    ----------
    rows : Rows
        Centre, scale and functions of theirs make no difference.
    seed : int
    moments : tuple of Tensor or None
        Mean and variance of each feature, where they are known.
    """
    rows = rows.raw()
    mean, variance = (each.cpu().numpy() for each in moments or spread(rows))
    weights = feature_weights(mean, variance)
    directions, shift = draw_directions(rows.n_features, seed)
    directions *= weights
    projected = np.empty((N_PROJECTIONS + 1, len(rows)))
    for chunk in rows.chunks():
        values = rows.take(chunk).cpu().numpy()
        if rows.ragged:
            values = np.where(np.isnan(values), mean, values)
        projected[:-1, chunk] = project(values, directions)
        values = values * weights
        projected[-1, chunk] = np.sqrt(np.einsum("ij,ij->i", values, values) / len(mean))
    weight = None if rows.weight is None else rows.weight.numpy()
    grid = grid_of_projections(directions, shift, projected, weight)
    parts = [keys_of_projections(projected[:-1, chunk], grid) for chunk in rows.chunks()]
    return Hashed(np.concatenate(parts), grid)


def keys_in_grid(rows: Rows, grid: Grid) -> np.ndarray:
    """Hash fresh samples as those that a grid was made for; see :func:`hash_rows`."""
    parts = [
        keys_of_projections(project(rows.take(chunk).cpu().numpy(), grid.directions), grid)
        for chunk in rows.chunks()
    ]
    return np.concatenate(parts)


def held_out(keys: np.ndarray, weight: np.ndarray | None, fraction: float) -> np.ndarray:
    """Choose the rows to validate on.

    The rows with the smallest keys are held out until they carry ``fraction`` of the
    weight. Copies of a row have one key, so none of them is trained on while another is
    validated on, and a row of weight two counts exactly as two rows do.

    Parameters
    ----------
    keys : ndarray of shape (n_samples,)
    weight : ndarray of shape (n_samples,) or None
    fraction : float

    Returns
    -------
    ndarray of shape (n_samples,), dtype bool
        All False where a fraction of the distinct rows is less than one row.
    """
    if weight is None:
        ordered = np.sort(keys)
        place = math.ceil(fraction * len(keys)) - 1
    else:
        order = np.argsort(keys)
        ordered, carried = keys[order], np.cumsum(weight[order])
        place = np.searchsorted(carried, fraction * carried[-1])
    n_distinct = 1 + np.count_nonzero(ordered[1:] != ordered[:-1])
    if n_distinct * fraction < 1:
        return np.zeros(len(keys), dtype=bool)
    last = ordered[place]
    if last == ordered[-1]:  # something must be left to train on
        last = ordered[np.searchsorted(ordered, last) - 1]
    return keys <= last


def held_out_mask(
    rows: Rows,
    seed: int,
    fraction: float,
    classes: np.ndarray | None = None,
    moments: tuple[Tensor, Tensor] | None = None,
) -> np.ndarray:
    """Return which rows to hold out; none where they are too few to spare one.

    Of classes the same fraction of each is held out, unless that is less than a row.
    """
    keys = reordered(hash_rows(rows, seed, moments).keys)
    weight = None if rows.weight is None else rows.weight.numpy()
    mask = np.zeros(len(rows), bool)
    for number in () if classes is None else np.unique(classes):
        place = classes == number
        mask[place] = held_out(keys[place], None if weight is None else weight[place], fraction)
    if not mask.any():  # no classes, or too few rows of each
        mask = held_out(keys, weight, fraction)
    return mask
