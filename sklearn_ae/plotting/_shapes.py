"""Shapes of flat samples: images or series."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from sklearn_ae.networks.layout import find_channels

Shape = tuple[int, ...]


class SampleFormat(NamedTuple):
    """How to draw a flat sample.

    Attributes
    ----------
    kind : {"image", "series"}
        Whether the sample is an image or a series of values.
    shape : tuple of int
        (height, width) or (height, width, 3); or (n_steps,) or (n_steps, n_channels).
    channels_last : bool
        Whether the channels of a pixel or step are adjacent in the flat sample.
    axis : {"step", "feature"}
        Name of the horizontal axis of a series.
    """

    kind: str
    shape: Shape
    channels_last: bool = True
    axis: str = "step"

    @classmethod
    def of(
        cls, autoencoder: Any, n_features: int, kind: str | None, image_shape: Any
    ) -> SampleFormat:
        """Determine the format from the user's choice, the network and the data."""
        if kind not in (None, "image", "series"):
            raise ValueError(f'kind must be "image", "series" or None, got {kind!r}.')
        if image_shape is not None:
            if kind == "series":
                raise ValueError('image_shape is for images; leave it out with kind="series".')
            return _image(_check_image_shape(image_shape, n_features))
        native = _native_format(autoencoder, n_features)
        if kind == "series" and native.kind == "image":
            return _series(native.shape)
        if kind == "image" and native.kind == "series":
            raise ValueError(
                f"The image shape of samples of {n_features} values is unknown. Set "
                f'image_shape=(height, width), or image_shape="square".'
            )
        return native

    def unfold(self, samples: np.ndarray) -> np.ndarray:
        """Reshape samples from (n_samples, n_features) to (n_samples, *shape)."""
        if self.channels_last or len(self.shape) < 2:
            return samples.reshape(len(samples), *self.shape)
        channels_first = (self.shape[-1], *self.shape[:-1])
        return np.moveaxis(samples.reshape(len(samples), *channels_first), 1, -1)


def resolve_kind(samples: np.ndarray, kind: str | None, name: str) -> str:
    """Return the kind of plain data and validate their shape; None depends on their axes."""
    if kind not in (None, "image", "series"):
        raise ValueError(f'kind must be "image", "series" or None, got {kind!r}.')
    kind = kind or ("image" if samples.ndim >= 3 else "series")
    is_image = samples.ndim == 3 or (samples.ndim == 4 and samples.shape[-1] == 3)
    if kind == "image" and not is_image:
        raise ValueError(
            f"{name} must have the shape (n_samples, height, width) or (n_samples, height, "
            f"width, 3), got {samples.shape}. Reshape it."
        )
    if kind == "series" and samples.ndim not in (2, 3):
        raise ValueError(
            f"{name} must have the shape (n_samples, n_steps) or (n_samples, n_steps, "
            f"n_channels), got {samples.shape}. Reshape it."
        )
    return kind


def _native_format(autoencoder: Any, n_features: int) -> SampleFormat:
    """Return the format that the network or the shape of the training samples implies."""
    shape: Shape = getattr(autoencoder, "input_shape_", (n_features,))
    # A step before the autoencoder may have changed the number of features.
    if math.prod(shape) != n_features:
        return SampleFormat("series", (n_features,), axis="feature")
    network = getattr(getattr(autoencoder, "module_", None), "network", None)
    layout = None if network is None else network.layout(shape)
    if layout is not None and layout.is_signal:
        return _series((layout.size[1], layout.n_channels), layout.channels_last)
    if layout is not None:
        return _image((*layout.size, layout.n_channels), layout.channels_last)
    if len(shape) == 1:
        return SampleFormat("series", shape, axis="feature")
    channels_last = len(shape) < 3 or find_channels(shape, shape) is not False
    return _image(shape if channels_last else (*shape[1:], shape[0]), channels_last)


def _series(shape: Shape, channels_last: bool = True) -> SampleFormat:
    if len(shape) > 2:
        raise ValueError(f"Samples of shape {shape} are no series; set kind='image' or None.")
    return SampleFormat("series", shape[:1] if shape[-1] == 1 else shape, channels_last)


def _image(shape: Shape, channels_last: bool = True) -> SampleFormat:
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    if len(shape) == 3 and shape[2] == 3:
        return SampleFormat("image", shape, channels_last)
    if len(shape) != 2:
        raise ValueError(
            f"Samples of shape {shape} are no images of one or three colours. Set "
            f"image_shape=(height, width) or (height, width, 3)."
        )
    return SampleFormat("image", shape)


def _check_image_shape(image_shape: Any, n_features: int) -> Shape:
    """Validate the parameter `image_shape` and return it as a tuple."""
    if isinstance(image_shape, str):
        side = math.isqrt(n_features)
        if image_shape != "square" or side**2 != n_features:
            raise ValueError(
                f"image_shape={image_shape!r} does not fit samples of {n_features} values. Set "
                f"(height, width) or (height, width, 3)."
            )
        return side, side
    shape = tuple(np.atleast_1d(image_shape).tolist())
    if len(shape) not in (2, 3) or math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={image_shape!r} does not fit samples of {n_features} values: the "
            f"product of height, width and number of colours must be {n_features}."
        )
    return shape
