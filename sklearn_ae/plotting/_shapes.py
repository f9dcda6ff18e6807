"""What a flat row looks like: an image, or a series."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, ...]


class Look(NamedTuple):
    """How to draw a flat row.

    Attributes
    ----------
    kind : {"image", "series"}
    shape : tuple of int
        (height, width) or (height, width, 3); or (n_steps,) or (n_steps, n_channels).
    channels_last : bool
        Whether the channels of a pixel are neighbours in the row.
    axis : {"step", "feature"}
        What a series goes along.
    """

    kind: str
    shape: Shape
    channels_last: bool = True
    axis: str = "step"

    @classmethod
    def of(cls, autoencoder: Any, n_features: int, kind: str | None, image_shape: Any) -> Look:
        """Find out how rows look, from what the user says, the network and the data."""
        if kind not in (None, "image", "series"):
            raise ValueError(f'kind must be "image", "series" or None, got {kind!r}.')
        if image_shape is not None:
            if kind == "series":
                raise ValueError('image_shape goes with images; leave it out with kind="series".')
            return _image(_asked_shape(image_shape, n_features))
        look = _own_look(autoencoder, n_features)
        if kind == "series" and look.kind == "image":
            return _series(look.shape)
        if kind == "image" and look.kind == "series":
            raise ValueError(
                f"Rows of {n_features} values do not say what image they are. Set "
                f'image_shape=(height, width), or image_shape="square".'
            )
        return look

    def unfold(self, rows: np.ndarray) -> np.ndarray:
        """Give rows of shape (n_samples, n_features) their look: (n_samples, *shape)."""
        if self.channels_last or len(self.shape) < 2:
            return rows.reshape(len(rows), *self.shape)
        first = (self.shape[-1], *self.shape[:-1])
        return np.moveaxis(rows.reshape(len(rows), *first), 1, -1)


def kind_of_array(rows: Any, kind: str | None, name: str) -> str:
    """Say what plain data are: images if they have axes enough, unless the user knows better."""
    if kind not in (None, "image", "series"):
        raise ValueError(f'kind must be "image", "series" or None, got {kind!r}.')
    kind = kind or ("image" if rows.ndim >= 3 else "series")
    fits = rows.ndim == 3 or (rows.ndim == 4 and rows.shape[-1] == 3)
    if kind == "image" and not fits:
        raise ValueError(
            f"{name} must have the shape (n_samples, height, width) or (n_samples, height, "
            f"width, 3), got {rows.shape}. Reshape it."
        )
    if kind == "series" and rows.ndim not in (2, 3):
        raise ValueError(
            f"{name} must have the shape (n_samples, n_steps) or (n_samples, n_steps, "
            f"n_channels), got {rows.shape}. Reshape it."
        )
    return kind


def _own_look(autoencoder: Any, n_features: int) -> Look:
    """Ask network and data for the shape of a row."""
    shape: Shape = getattr(autoencoder, "input_shape_", (n_features,))
    if math.prod(shape) != n_features:  # a step before the autoencoder changed the width
        return Look("series", (n_features,), axis="feature")
    network: Any = getattr(getattr(autoencoder, "module_", None), "network", None)
    if hasattr(network, "_as_sequence"):
        return _series(network._as_sequence(shape))
    if hasattr(network, "_layout"):
        layout = network._layout(shape)
        if layout.is_signal:
            return _series((layout.size[1], layout.n_channels), layout.channels_last)
        return _image((*layout.size, layout.n_channels), layout.channels_last)
    if len(shape) == 1:
        return Look("series", shape, axis="feature")
    return _image(shape)


def _series(shape: Shape, channels_last: bool = True) -> Look:
    if len(shape) > 2:
        raise ValueError(f"Rows of shape {shape} are no series; kind must be None or 'image'.")
    return Look("series", shape[:1] if shape[-1] == 1 else shape, channels_last)


def _image(shape: Shape, channels_last: bool = True) -> Look:
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    if len(shape) == 3 and shape[2] == 3:
        return Look("image", shape, channels_last)
    if len(shape) != 2:
        raise ValueError(
            f"Rows of shape {shape} are no images of one or three colours. Set "
            f"image_shape=(height, width) or (height, width, 3)."
        )
    return Look("image", shape)


def _asked_shape(image_shape: Any, n_features: int) -> Shape:
    """Validate the shape that the user asks for."""
    if isinstance(image_shape, str):
        side = math.isqrt(n_features)
        if image_shape != "square" or side**2 != n_features:
            raise ValueError(
                f"image_shape={image_shape!r} does not fit rows of {n_features} values. Set "
                f"(height, width) or (height, width, 3)."
            )
        return side, side
    shape = tuple(np.atleast_1d(image_shape).tolist())
    if len(shape) not in (2, 3) or math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={image_shape!r} does not fit rows of {n_features} values: height, "
            f"width and colours must multiply to that."
        )
    return shape
