"""Shared code of the networks for images and signals: parameters, pooling and unpooling.

A signal is an image of height one, with windows of height one, so that one implementation suffices
for both. Images are stored with the channels last in memory, because convolutions on a CPU then
take little more than half the time. Maps are flattened in the same order, without a copy.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from numbers import Integral
from typing import Any, ClassVar, Self, cast

import torch
from sklearn.base import clone
from torch import Tensor, nn
from torch.nn import functional

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae.networks._layers import BatchNorm
from sklearn_ae.networks._network import Network, positive_integers
from sklearn_ae.networks.activations import ACTIVATIONS
from sklearn_ae.networks.layout import Layout, Pair, Shape, find_channels


@declares_parameters
class ImageParameters:
    """Parameters of convolutional networks, and of the estimators with such a network."""

    image_shape: tuple[int, ...] | None = parameter(
        default=None,
        doc="""tuple of int
        Shape of an image, or of a signal: (height, width, n_channels), or (n_channels, height,
        width), see `channels_last`; (height, width) or (length,), with the number of channels
        given by the number of features. None: the shape of a sample of `X`; a sample with flat
        features is then a signal of one channel.
        """,
        constraint=["array-like", None],
    )
    channels_last: bool | str = parameter(
        default="auto",
        doc="""bool or "auto"
        Whether the channels of a pixel are adjacent in `X`, as in images of shape (height, width,
        n_channels). Otherwise each channel is stored as an image of its own, as in torch. Results
        have the layout of `X`. ``"auto"``: of the first and the last axis of `image_shape` the
        channels are the one of length 1 or 3; else the one of length 2 or 4; else the one that
        leaves a square image. If `image_shape` does not contain the channels, they are the axis
        of the samples that it lacks. If this does not decide, the channels are the last axis, and
        `fit` warns.
        """,
        constraint=["boolean", StrOptions({"auto"})],
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
        Side length of the convolution kernels, in pixels.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    activation: str = parameter(
        default="silu",
        doc="""str
        Non-linearity of the hidden layers: ``"relu"``, ``"leaky_relu"``, ``"elu"``,
        ``"softplus"``, ``"silu"``, ``"gelu"``, ``"tanh"``, ``"logistic"`` or ``"identity"``.
        """,
        constraint=[StrOptions(set(ACTIVATIONS))],
    )
    pool_size: int = parameter(
        default=2,
        doc="""int
        Side length of the pooling windows, in pixels. The maps of each level of the encoder are
        smaller than those of the level before by this factor.
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
    """Base class of the convolutional networks. Do not use it directly."""

    # The maps of the hidden layers have many more values than a sample.
    samples_at_once: ClassVar[int] = 256
    max_batch_size: ClassVar[int] = 64
    cheap_in_double: ClassVar[bool] = False

    @torch.no_grad()
    def start_at(self, decoder: nn.Module, output: Tensor) -> None:
        """Set the biases of the last convolution to the mean over the pixels of each channel."""
        image = cast(Any, decoder).layout.to_image(output[None])
        cast(Tensor, self._last_layer(decoder).bias).copy_(image.mean((0, 2, 3)))

    @abstractmethod
    def _last_layer(self, decoder: Any) -> Convolution:
        """Return the convolution that returns the decoder's output."""

    def _widths(self) -> tuple[int, ...]:
        """Return the number of channels of each level, beginning with the largest maps."""
        return positive_integers(self.channels, "channels")

    def layout(self, sample_shape: tuple[int, ...]) -> Layout:
        """Return the layout of a sample, which follows from `image_shape` and `channels_last`.

        Raises
        ------
        ValueError
            If they do not match `sample_shape`.
        """
        shape = self._image_shape(sample_shape)
        channels_last = self._has_channels_last(sample_shape)
        n_axes, n_features = min(len(shape), 2), math.prod(sample_shape)
        axes: tuple[int, ...]
        if len(shape) == 3:
            axes = shape[:2] if channels_last else shape[1:]
            n_channels = shape[2] if channels_last else shape[0]
        else:
            axes, n_channels = shape[:2], n_features // math.prod(shape)
        complete = (*axes, n_channels) if channels_last else (n_channels, *axes)
        # Axes of length one are ignored: (28, 28) equals (28, 28, 1).
        longer = [length for length in complete if length > 1]
        same = len(sample_shape) == 1 or longer == [
            length for length in sample_shape if length > 1
        ]
        if len(shape) > 3 or math.prod(complete) != n_features or not same:
            raise ValueError(
                f"image_shape={self.image_shape!r} does not fit samples of shape {sample_shape} "
                f"with channels_last={self.channels_last}. It is (length,), (height, width), "
                f"(height, width, channels) or, if channels_last=False, (channels, height, width)."
            )
        size = (axes[0] if n_axes == 2 else 1, axes[-1])
        return Layout(n_channels, size, n_axes == 1, channels_last)

    def _image_shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of an image, in which the channels may be left out."""
        given = sample_shape if self.image_shape is None else self.image_shape
        return positive_integers(given, "image_shape")

    def _has_channels_last(self, sample_shape: tuple[int, ...]) -> bool:
        """Return `channels_last`, or what ``"auto"`` stands for."""
        if not isinstance(self.channels_last, str):
            return bool(self.channels_last)
        return find_channels(self._image_shape(sample_shape), sample_shape) is not False

    def doubt(self, sample_shape: tuple[int, ...]) -> str | None:
        """Return a warning if ``channels_last="auto"`` does not find the axis of the channels."""
        shape = self._image_shape(sample_shape)
        is_given = not isinstance(self.channels_last, str)
        if is_given or find_channels(shape, sample_shape) is not None:
            return None
        n_channels = self.layout(sample_shape).n_channels
        return (
            f"The {n_channels} channels of samples of shape {sample_shape} with image_shape="
            f"{self.image_shape!r} are assumed to be their last axis, but they may be the first "
            f"one. Set channels_last=True, or channels_last=False for (channels, height, width)."
        )

    def resized(self, sample_shape: tuple[int, ...], other: tuple[int, ...]) -> Self:
        """Return a specification for images of another size, with the same number of channels.

        Parameters
        ----------
        sample_shape, other : tuple of int
            Shapes of a training sample and of the other samples.

        Returns
        -------
        network : Network

        Raises
        ------
        ValueError
            If the numbers of channels or of axes differ.
        """
        shape, channels_last = self.image_shape, self._has_channels_last(sample_shape)
        if shape is not None:
            n_axes = len(positive_integers(shape, "image_shape"))
            # Those axes of the other shape that image_shape names: it may omit the channels.
            shape = other[:n_axes] if channels_last else other[-n_axes:]
        network: Self = clone(self).set_params(image_shape=shape, channels_last=channels_last)
        before, now = self.layout(sample_shape), network.layout(other)
        if len(sample_shape) != len(other) or before.n_channels != now.n_channels:
            raise ValueError(
                "Images of another size must have the same number of channels as in training."
            )
        # As many pixels in one call as before.
        n_samples = self.samples_at_once * math.prod(sample_shape) // math.prod(other)
        network.__dict__["samples_at_once"] = max(1, min(self.samples_at_once, n_samples))
        return network

    def common_center(
        self, center: Tensor, sample_shape: tuple[int, ...], other: tuple[int, ...]
    ) -> Tensor:
        """Return the mean of each channel at each pixel of an image of shape `other`."""
        means = self.layout(sample_shape).to_image(center[None]).mean((2, 3), keepdim=True)
        layout = self.resized(sample_shape, other).layout(other)
        return layout.from_image(means.expand(-1, -1, *layout.size))[0]

    def _level_shapes(self, layout: Layout, n_poolings: int) -> list[Shape]:
        """Return the shape of the maps of each level; the last `n_poolings` are pooled."""
        window_height, window_width = layout.window(self.pool_size)
        widths, size = self._widths(), layout.size
        shapes: list[Shape] = []
        for level, width in enumerate(widths):
            if level >= len(widths) - n_poolings:
                # Rounded up: a window may extend beyond the edge.
                size = (-(-size[0] // window_height), -(-size[1] // window_width))
            shapes.append((width, *size))
        return shapes


def value_names(prefix: str, shapes: list[Shape]) -> list[str]:
    """Name each value of maps of these shapes by its level and its index in the flat maps."""
    return [
        f"{prefix}{level}_{index}"
        for level, shape in enumerate(shapes)
        for index in range(math.prod(shape))
    ]


def max_pool(maps: Tensor, window: Pair) -> Tensor:
    """Return the maximum of each window; windows may extend beyond the edge."""
    return functional.max_pool2d(maps, window, ceil_mode=True)


def max_pool_with_places(maps: Tensor, window: Pair) -> tuple[Tensor, Tensor]:
    """Return the maximum of each window, and its place inside the window.

    Parameters
    ----------
    maps : Tensor of shape (batch, channels, height, width)
    window : tuple of int
        Height and width.

    Returns
    -------
    values : Tensor of shape (batch, channels, n_high, n_wide)
    places : integer Tensor of the same shape
        Numbers from 0 to ``window[0] * window[1] - 1``, row by row.
    """
    values, found = functional.max_pool2d(maps, window, ceil_mode=True, return_indices=True)
    width = maps.shape[-1]
    # torch counts places in the whole map. Windows start at multiples of their size, so the
    # remainders are the place inside the window.
    return values, found // width % window[0] * window[1] + found % width % window[1]


def upsample(values: Tensor, window: Pair, size: Pair) -> Tensor:
    """Fill each window with its value, and crop to `size`: nearest-neighbour unpooling."""
    factors = [float(length) for length in window]
    return functional.interpolate(values, scale_factor=factors)[:, :, : size[0], : size[1]]


def unpool(values: Tensor, places: Tensor, window: Pair, size: Pair) -> Tensor:
    """Write each value to its place inside its window, and zeros elsewhere.

    Parameters
    ----------
    values, places : floating-point Tensor of shape (batch, channels, n_high, n_wide)
        As :func:`max_pool_with_places` returns them.
    window, size : tuple of int
        Height and width of a window and of the result. Values beyond `size` are dropped.

    Returns
    -------
    Tensor of shape (batch, channels, *size)
    """
    rows, columns = (
        torch.arange(length, device=values.device) % step
        for length, step in zip(size, window, strict=True)
    )
    # Each pixel's place in its window, compared with the place of the window's maximum.
    here = upsample(places, window, size) == rows[:, None] * window[1] + columns
    return upsample(values, window, size) * here


class Convolution(nn.Conv2d):
    """Convolution whose output has the size of its input, divided by the stride and rounded up.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of channels.
    kernel, stride : tuple of int
        Heights and widths. A kernel is enlarged to the stride, so that no pixel is skipped.
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
        # An even kernel needs one more pixel of padding at the end than at the start, which
        # torch's convolution does not offer: (left, right, top, bottom).
        self.uneven_padding = (
            () if odd else ((wide - 1) // 2, wide // 2, (high - 1) // 2, high // 2)
        )
        self.norm = BatchNorm(n_out) if normalized else None

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(batch, n_in, height, width)`` to ``(batch, n_out, ...)``."""
        if self.uneven_padding:
            maps = functional.pad(maps, self.uneven_padding)
        maps = super().forward(maps)
        return maps if self.norm is None else self.norm(maps)


class Unpooling(nn.ConvTranspose2d):
    """Transposed convolution that maps each pixel to a window, cropped to a size."""

    def __init__(self, n_in: int, n_out: int, window: Pair) -> None:
        super().__init__(n_in, n_out, window, window)

    # The second parameter of torch's method, output_size, cannot crop.
    def forward(self, maps: Tensor, size: Pair) -> Tensor:  # type: ignore[override]
        """Map ``(batch, n_in, n_high, n_wide)`` to ``(batch, n_out, *size)``."""
        return super().forward(maps)[:, :, : size[0], : size[1]]
