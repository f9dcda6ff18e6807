"""What the networks for images and signals share: rows as images, pooling and its undoing.

A signal is an image of height one, with windows of height one, so that everything is written
once. Images are held channels last in memory, where convolutions on a CPU take little more
than half the time; maps are flattened in that order too, which then copies nothing.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from numbers import Integral
from typing import Any, ClassVar, NamedTuple, Self, cast

import torch
from sklearn.base import clone
from torch import Tensor, nn
from torch.nn import functional

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae.networks._layers import BatchNorm
from sklearn_ae.networks._network import Network, positive_integers
from sklearn_ae.networks.activations import ACTIVATIONS

Pair = tuple[int, int]
"""Height and width."""

Shape = tuple[int, int, int]
"""Channels, height and width."""


class Layout(NamedTuple):
    """How the numbers of a flat row stand for pixels.

    Attributes
    ----------
    n_channels : int
    size : tuple of int
        Height and width; a signal has height one.
    is_signal : bool
        Whether there is one spatial axis only.
    channels_last : bool
        Whether the channels of a pixel are neighbours in the row.
    """

    n_channels: int
    size: Pair
    is_signal: bool
    channels_last: bool

    def to_image(self, rows: Tensor) -> Tensor:
        """Turn ``(batch, n_features)`` into ``(batch, n_channels, height, width)``."""
        shape = (self.n_channels, *self.size)
        if self.channels_last:
            return from_columns(rows, shape)
        return from_columns(to_columns(rows.reshape(-1, *shape)), shape)

    def to_rows(self, image: Tensor) -> Tensor:
        """Undo :meth:`to_image`."""
        return to_columns(image) if self.channels_last else image.flatten(1)

    def square(self, length: int) -> Pair:
        """Return a window of this length along each spatial axis."""
        return (1 if self.is_signal else length, length)


@declares_parameters
class ImageParameters:
    """Parameters of networks that convolve, and of the estimators that have such a network."""

    image_shape: tuple[int, ...] | None = parameter(
        default=None,
        doc="""tuple of int
        Shape of an image, or of a signal: (height, width) or (length,), where the channels
        are what is left of a row; (height, width, n_channels), or (n_channels, height,
        width) with ``channels_last=False``. None: the shape of a row of `X`; a flat row is
        then a signal of one channel.
        """,
        constraint=["array-like", None],
    )
    channels_last: bool = parameter(
        default=True,
        doc="""bool
        Whether the channels of a pixel stand side by side, or each channel is an image of its
        own.
        """,
        constraint=["boolean"],
    )
    channels: tuple[int, ...] = parameter(
        default=(16, 32),
        doc="""tuple of int
        Number of maps of each level of the encoder; the decoder mirrors them.
        """,
        constraint=["array-like", Interval(Integral, 1, None, closed="left")],
    )
    kernel_size: int = parameter(
        default=3,
        doc="""int
        Side of the convolutions' windows, in pixels.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    activation: str = parameter(
        default="silu",
        doc="""{"relu", "silu", "gelu", "tanh", "logistic", "identity"}
        Non-linearity of the hidden layers.
        """,
        constraint=[StrOptions(set(ACTIVATIONS))],
    )
    pool_size: int = parameter(
        default=2,
        doc="""int
        Side of the windows that are pooled, in pixels. Each level of the encoder is smaller
        than the one before by this factor.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    normalization: str | None = parameter(
        default=None,
        doc="""{"batch"} or None
        Whether batch normalisation follows each hidden convolution. Fitted estimators use running
        statistics in place of those of a batch.
        """,
        constraint=[StrOptions({"batch"}), None],
    )


class ImageNetwork(ImageParameters, Network):
    """Base of the networks that convolve. Not to be used directly."""

    # The layers inside hold many numbers for each of a row.
    rows_at_once: ClassVar[int] = 256
    cheap_in_double: ClassVar[bool] = False

    @torch.no_grad()
    def start_at(self, decoder: nn.Module, output: Tensor) -> None:
        """Set the last convolution's biases: the mean over the pixels of each channel."""
        image = cast(Any, decoder).layout.to_image(output[None])
        cast(Tensor, self._last_layer(decoder).bias).copy_(image.mean((0, 2, 3)))

    @abstractmethod
    def _last_layer(self, decoder: Any) -> Convolution:
        """Return the convolution that gives the decoder's output."""

    def _widths(self) -> tuple[int, ...]:
        """Return the number of channels of each level, from the outermost inwards."""
        return positive_integers(self.channels, "channels")

    def _layout(self, row_shape: tuple[int, ...]) -> Layout:
        """Find out which pixel each number of a row belongs to, or say why that cannot be."""
        given = row_shape if self.image_shape is None else self.image_shape
        shape = positive_integers(given, "image_shape")
        n_axes, n_features = min(len(shape), 2), math.prod(row_shape)
        axes: tuple[int, ...]
        if len(shape) == 3:
            axes = shape[:2] if self.channels_last else shape[1:]
            n_channels = shape[2] if self.channels_last else shape[0]
        else:
            axes, n_channels = shape[:2], n_features // math.prod(shape)
        whole = (*axes, n_channels) if self.channels_last else (n_channels, *axes)
        # Axes of length one say nothing: (28, 28) is (28, 28, 1).
        bare = [length for length in whole if length > 1]
        same = len(row_shape) == 1 or bare == [length for length in row_shape if length > 1]
        if len(shape) > 3 or math.prod(whole) != n_features or not same:
            raise ValueError(
                f"image_shape={self.image_shape!r} does not fit rows of shape {row_shape} with "
                f"channels_last={self.channels_last}. It is (length,), (height, width), (height, "
                f"width, channels) or, with channels_last=False, (channels, height, width)."
            )
        size = (axes[0] if n_axes == 2 else 1, axes[-1])
        return Layout(n_channels, size, n_axes == 1, self.channels_last)

    def resized(self, row_shape: tuple[int, ...], other: tuple[int, ...]) -> Self:
        """Return a specification for images of another size, with as many channels."""
        shape = self.image_shape
        if shape is not None:
            n_axes = len(positive_integers(shape, "image_shape"))
            # What was said of the shape is said of the other: (length,) of (length, n_channels).
            shape = other[:n_axes] if self.channels_last else other[-n_axes:]
        network = clone(self).set_params(image_shape=shape)
        before, now = self._layout(row_shape), network._layout(other)
        if len(row_shape) != len(other) or before.n_channels != now.n_channels:
            raise ValueError("Images of another size must have the channels of the training.")
        # As many pixels at a time as before.
        n_rows = self.rows_at_once * math.prod(row_shape) // math.prod(other)
        vars(network)["rows_at_once"] = max(1, min(self.rows_at_once, n_rows))
        return network

    def common_center(
        self, center: Tensor, row_shape: tuple[int, ...], other: tuple[int, ...]
    ) -> Tensor:
        """Return the mean of each channel, at each pixel of an image of shape `other`."""
        means = self._layout(row_shape).to_image(center[None]).mean((2, 3), keepdim=True)
        layout = self.resized(row_shape, other)._layout(other)
        return layout.to_rows(means.expand(-1, -1, *layout.size))[0]

    def _shapes(self, layout: Layout, n_poolings: int) -> list[Shape]:
        """Return the shapes of the maps of each level, the last `n_poolings` of them pooled."""
        high, wide = layout.square(self.pool_size)
        widths, size = self._widths(), layout.size
        shapes: list[Shape] = []
        for level, width in enumerate(widths):
            if level >= len(widths) - n_poolings:
                # A window at the edge may hang over it.
                size = (-(-size[0] // high), -(-size[1] // wide))
            shapes.append((width, *size))
        return shapes


def names_of(prefix: str, shapes: list[Shape]) -> list[str]:
    """Name the numbers of maps of these shapes, level by level."""
    return [
        f"{prefix}{level}_{index}"
        for level, shape in enumerate(shapes)
        for index in range(math.prod(shape))
    ]


def to_columns(maps: Tensor) -> Tensor:
    """Flatten ``(batch, channels, height, width)``, the channels of a pixel side by side."""
    return maps.permute(0, 2, 3, 1).flatten(1)


def from_columns(columns: Tensor, shape: Shape) -> Tensor:
    """Undo :func:`to_columns`; the shape is that of one image, ``(channels, height, width)``."""
    n_channels, *size = shape
    return columns.reshape(-1, *size, n_channels).permute(0, 3, 1, 2)


def max_pool(maps: Tensor, window: Pair) -> Tensor:
    """Keep the largest value of each window; windows at the edge may hang over it."""
    return functional.max_pool2d(maps, window, ceil_mode=True)


def max_pool_and_locate(maps: Tensor, window: Pair) -> tuple[Tensor, Tensor]:
    """Keep the largest value of each window, and say where in its window it was.

    Parameters
    ----------
    maps : Tensor of shape (batch, channels, height, width)
    window : tuple of int

    Returns
    -------
    values : Tensor of shape (batch, channels, n_high, n_wide)
    places : integer Tensor of the same shape
        From 0 to ``window[0] * window[1] - 1``, line by line.
    """
    values, found = functional.max_pool2d(maps, window, ceil_mode=True, return_indices=True)
    width = maps.shape[-1]
    # Windows start at multiples of their size, so a remainder is a place in its window.
    return values, found // width % window[0] * window[1] + found % width % window[1]


def repeat(values: Tensor, window: Pair, size: Pair) -> Tensor:
    """Fill each window with its value: nearest-neighbour unpooling, cropped to `size`."""
    factors = [float(length) for length in window]
    return functional.interpolate(values, scale_factor=factors)[:, :, : size[0], : size[1]]


def put_back(values: Tensor, places: Tensor, window: Pair, size: Pair) -> Tensor:
    """Put each value where in its window it was found, and zeros elsewhere.

    Parameters
    ----------
    values, places : floating-point Tensor of shape (batch, channels, n_high, n_wide)
        As from :func:`max_pool_and_locate`.
    window, size : tuple of int
        Of the windows and of the result; what would lie beyond `size` is left out.

    Returns
    -------
    Tensor of shape (batch, channels, *size)
    """
    lines, columns = (
        torch.arange(length, device=values.device) % step
        for length, step in zip(size, window, strict=True)
    )
    here = repeat(places, window, size) == lines[:, None] * window[1] + columns
    return repeat(values, window, size) * here


class Convolution(nn.Conv2d):
    """A convolution that keeps the size of its input, or divides it by a stride, rounding up.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    kernel, stride : tuple of int
        The kernel is made as large as the stride at least, so that no pixel is skipped.
    normalized : bool, default=False
        Whether batch normalisation follows.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: Pair,
        stride: Pair = (1, 1),
        normalized: bool = False,
    ) -> None:
        high, wide = (max(pair) for pair in zip(kernel, stride, strict=True))
        odd = high % 2 == 1 and wide % 2 == 1
        padding = (high // 2, wide // 2) if odd else (0, 0)
        super().__init__(n_in, n_out, (high, wide), stride, padding)
        # Half of an even kernel lies one pixel further beyond the end than beyond the start.
        self.beyond = () if odd else ((wide - 1) // 2, wide // 2, (high - 1) // 2, high // 2)
        self.norm = BatchNorm(n_out) if normalized else None

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(batch, n_in, height, width)`` to ``(batch, n_out, ...)``."""
        maps = super().forward(functional.pad(maps, self.beyond) if self.beyond else maps)
        return maps if self.norm is None else self.norm(maps)


class Unpooling(nn.ConvTranspose2d):
    """A transposed convolution that turns each pixel into a window, cropped to a size."""

    def __init__(self, n_in: int, n_out: int, window: Pair) -> None:
        super().__init__(n_in, n_out, window, window)

    def forward(self, maps: Tensor, size: Pair) -> Tensor:  # type: ignore[override]
        """Map ``(batch, n_in, n_high, n_wide)`` to ``(batch, n_out, *size)``."""
        return super().forward(maps)[:, :, : size[0], : size[1]]
