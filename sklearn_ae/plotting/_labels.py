"""What is known of the rows: classes, or numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sklearn_ae.plotting._estimators import as_array

MOST_CLASSES = 20
"""Integers of more values than that are numbers."""


class Labels(NamedTuple):
    """Labels of rows.

    Attributes
    ----------
    classes : list of str or None
        Names of the classes, in order. None: `values` are numbers.
    values : ndarray of shape (n_samples,)
        The class of each row as an index, or its number.
    """

    classes: list[str] | None
    values: np.ndarray

    @classmethod
    def of(cls, y: Any, n_samples: int) -> Labels:
        """Tell classes from numbers: names, truth values and few integers are classes."""
        y = as_array(y)
        if y.shape != (n_samples,):
            raise ValueError(f"y must have one label for each of {n_samples} rows, got {y.shape}.")
        if y.dtype.kind == "f" or (y.dtype.kind in "iu" and len(np.unique(y)) > MOST_CLASSES):
            return cls(None, y.astype(float))
        names, values = np.unique(
            y if y.dtype.kind in "biu" else y.astype(str), return_inverse=True
        )
        return cls([str(name) for name in names], values)


def places_for_labels(positions: np.ndarray, labels: Labels) -> dict[int, np.ndarray]:
    """Return where to write the name of each class: in its middle, beside other names.

    A name goes to the row nearest to the class's median that leaves the names before it room.

    Returns
    -------
    places : dict of int to ndarray of shape (2,)
        Places by class; without those whose names find no room.
    """
    low, span = positions.min(0), np.ptp(positions, axis=0)
    scaled = (positions - low) / np.where(span > 0, span, 1.0)
    taken: list[tuple[np.ndarray, float]] = []
    places = {}
    for index, name in enumerate(labels.classes or []):
        members = np.flatnonzero(labels.values == index)
        middle = np.median(scaled[members], axis=0)
        order = members[np.argsort(np.square(scaled[members] - middle).sum(1))]
        # A letter is about as wide as two hundredths of the axes, and twice as high.
        width = 0.025 * len(name) + 0.02
        free = [
            row
            for row in order
            if all(
                abs(scaled[row] - at)[0] > (width + other) / 2 or abs(scaled[row] - at)[1] > 0.07
                for at, other in taken
            )
        ]
        if free:
            taken.append((scaled[free[0]], width))
            places[index] = positions[free[0]]
    return places


def spread_evenly(positions: np.ndarray, n_chosen: int, room: np.ndarray) -> list[int]:
    """Return rows that lie at least `room` apart on one axis or the other, at most `n_chosen`.

    Each is the one farthest from those before it, so that few rows still show the whole range.
    """
    scaled = positions / room
    chosen = [int(np.square(scaled - scaled.mean(0)).sum(1).argmin())]
    # Rectangles do not overlap where their centres are a room apart on either axis.
    distance = np.abs(scaled - scaled[chosen[0]]).max(1)
    while len(chosen) < n_chosen and distance.max() >= 1:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.abs(scaled - scaled[chosen[-1]]).max(1))
    return chosen
