"""How the values of a flat sample are arranged: in an image, a signal or a sequence."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

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
