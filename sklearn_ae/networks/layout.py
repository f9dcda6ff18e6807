"""How the values of a flat sample are arranged: in an image, a signal or a sequence."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

COMMON_COUNTS = (1, 3), (2, 4)
"""Numbers of channels of most images, those of the first tuple before those of the second."""

Pair = tuple[int, int]
"""Height and width."""

Shape = tuple[int, int, int]
"""Number of channels, height and width."""


class Layout(NamedTuple):
    """Arrangement of the values of a flat sample.

    A signal and a sequence are images of height one: networks and plots then need one
    implementation for all three.

    Attributes
    ----------
    n_channels : int
        Number of values of a pixel, or of a step of a sequence.
    size : tuple of int
        Height and width. The height of a signal is 1, and its width is its number of steps.
    is_signal : bool
        Whether there is only one axis besides the channels.
    channels_last : bool
        Whether the channels of a pixel are adjacent in the flat sample. Otherwise each channel is
        stored as an image of its own.
    """

    n_channels: int
    size: Pair
    is_signal: bool
    channels_last: bool

    def to_image(self, x: Tensor) -> Tensor:
        """Reshape ``(batch, n_features)`` to ``(batch, n_channels, height, width)``."""
        shape = (self.n_channels, *self.size)
        if self.channels_last:
            return from_columns(x, shape)
        # Through columns and back, so that the result is stored channels last in memory.
        return from_columns(to_columns(x.reshape(-1, *shape)), shape)

    def from_image(self, image: Tensor) -> Tensor:
        """Invert :meth:`to_image`."""
        return to_columns(image) if self.channels_last else image.flatten(1)

    def window(self, length: int) -> Pair:
        """Return the height and width of a window of this length along each axis."""
        return (1 if self.is_signal else length, length)


def to_columns(maps: Tensor) -> Tensor:
    """Flatten ``(batch, channels, height, width)``, with the channels of a pixel adjacent."""
    return maps.permute(0, 2, 3, 1).flatten(1)


def from_columns(columns: Tensor, shape: Shape) -> Tensor:
    """Invert :func:`to_columns`; `shape` is ``(channels, height, width)`` of one image."""
    n_channels, *size = shape
    return columns.reshape(-1, *size, n_channels).permute(0, 3, 1, 2)


def find_channels(shape: tuple[int, ...], sample_shape: tuple[int, ...]) -> bool | None:
    """Determine whether the channels are the last axis of samples or the first one.

    Parameters
    ----------
    shape : tuple of int
        Shape of an image or signal. With up to two axes it does not contain the channels.
    sample_shape : tuple of int
        Shape of a sample, which may be flat.

    Returns
    -------
    bool or None
        None if both are possible. True if they are equivalent, as with one channel.
    """
    if len(shape) == 3:
        first, _, last = shape
        if first == last == 1:
            return True
        for counts in COMMON_COUNTS:
            if (first in counts) != (last in counts):
                return last in counts
            if first in counts:
                break
        before, behind = shape[0] == shape[1], shape[1] == shape[2]
        return None if before == behind else before
    if len(sample_shape) <= len(shape):  # flat samples, or images without an axis of channels
        return True if math.prod(shape) == math.prod(sample_shape) else None
    before, behind = sample_shape[:-1] == shape, sample_shape[1:] == shape
    return None if before and behind else not behind
