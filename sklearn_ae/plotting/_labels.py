"""Labels of samples: classes or numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sklearn_ae.plotting._estimators import as_array

MAX_CLASSES = 20
"""Integers with more distinct values are numbers and not classes."""


class Labels(NamedTuple):
    """Labels of samples.

    Attributes
    ----------
    classes : list of str or None
        Names of the classes, in order. None if the labels are numbers.
    values : ndarray of shape (n_samples,)
        Index of each sample's class, or its number.
    """

    classes: list[str] | None
    values: np.ndarray

    @classmethod
    def of(cls, y: Any, n_samples: int) -> Labels:
        """Distinguish classes from numbers: strings, booleans and few integers are classes."""
        y = as_array(y)
        if y.shape != (n_samples,):
            raise ValueError(
                f"y must have one label for each of {n_samples} samples, got the shape {y.shape}."
            )
        if y.dtype.kind == "f" or (y.dtype.kind in "iu" and len(np.unique(y)) > MAX_CLASSES):
            return cls(None, y.astype(float))
        names, values = np.unique(
            y if y.dtype.kind in "biu" else y.astype(str), return_inverse=True
        )
        return cls([str(name) for name in names], values)


def label_positions(positions: np.ndarray, labels: Labels) -> dict[int, np.ndarray]:
    """Return where to write the name of each class, so that names do not overlap.

    A name is written at the sample nearest to the median of its class where it does not overlap
    the names before it.

    Returns
    -------
    placed : dict of int to ndarray of shape (2,)
        Positions by class. Classes whose names would overlap everywhere are left out.
    """
    low, span = positions.min(0), np.ptp(positions, axis=0)
    # In units of the axes; a span of zero would divide by zero.
    scaled = (positions - low) / np.where(span > 0, span, 1.0)
    taken: list[tuple[np.ndarray, float]] = []
    placed = {}
    for index, name in enumerate(labels.classes or []):
        members = np.flatnonzero(labels.values == index)
        center = np.median(scaled[members], axis=0)
        order = members[np.argsort(np.square(scaled[members] - center).sum(1))]
        # A letter is about 0.025 wide and, with the box around it, a line is 0.07 high.
        width = 0.025 * len(name) + 0.02
        free = [
            sample
            for sample in order
            if all(
                abs(scaled[sample] - at)[0] > (width + other) / 2
                or abs(scaled[sample] - at)[1] > 0.07
                for at, other in taken
            )
        ]
        if free:
            taken.append((scaled[free[0]], width))
            placed[index] = positions[free[0]]
    return placed


def choose_apart(positions: np.ndarray, n_chosen: int, room: np.ndarray) -> list[int]:
    """Return at most `n_chosen` samples that are at least `room` apart on one of the axes.

    Each sample is the farthest from those before it, so that few samples cover the whole range.
    """
    scaled = positions / room
    # The first is the sample nearest to the mean.
    chosen = [int(np.square(scaled - scaled.mean(0)).sum(1).argmin())]
    # Rectangles of the size of `room` do not overlap if their centres are this far apart on one
    # axis: distances are maxima over the axes.
    distance = np.abs(scaled - scaled[chosen[0]]).max(1)
    while len(chosen) < n_chosen and distance.max() >= 1:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.abs(scaled - scaled[chosen[-1]]).max(1))
    return chosen
