"""Rows beside what an autoencoder makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_ae.plotting._estimators import (
    Chain,
    as_array,
    choose_rows,
    count_rows,
    take_rows,
)
from sklearn_ae.plotting._figures import (
    BLUE,
    COLORS,
    GAP,
    GREY,
    ORANGE,
    RED,
    Display,
    axes_within,
    limits_of,
    require_matplotlib,
    show_image,
    to_unit_range,
)
from sklearn_ae.plotting._shapes import Look, kind_of_array

ERROR = "reconstruction\n- original"


class ReconstructionDisplay(Display):
    """Rows, their reconstructions and the difference, as images or as series.

    Images stand in three lines: originals and reconstructions on one scale of grey, and below
    the error, reconstruction minus original, on a scale from blue (too dark) over white to red
    that is even about zero. Of colour images the error is the mean absolute one of the three
    colours. Series are curves, originals and reconstructions together, with the error beneath.

    Parameters
    ----------
    original : array-like of shape (n_samples, ...)
        Images of shape (height, width) or (height, width, 3), or series of shape (n_steps,) or
        (n_steps, n_channels). What follows the end of a short series is NaN and not drawn.
    reconstruction : array-like of the shape of `original`
        What was made of them.
    kind : {"image", "series"}, default=None
        What rows are. None: images if a row has two axes or more.
    names : sequence of str, default=None
        What to call the rows. None: their numbers.
    axis : str, default="step"
        What a series goes along.

    Attributes
    ----------
    images_ : ndarray of matplotlib AxesImage of shape (3, n_samples) or None
        Originals, reconstructions and errors, if rows are images.
    axes_ : ndarray of matplotlib Axes of shape (2, n_samples) or None
        The curves and the errors beneath, if rows are series.
    ax_ : matplotlib Axes
        What it is drawn on, or within.
    figure_ : matplotlib Figure
        What these belong to.

    See Also
    --------
    LatentTraversalDisplay : What other codes stand for.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import Autoencoder
    >>> from sklearn_ae.plotting import ReconstructionDisplay
    >>> X = load_digits().data
    >>> autoencoder = Autoencoder(8, max_iter=10, random_state=0).fit(X)
    >>> display = ReconstructionDisplay.from_estimator(autoencoder, X, image_shape=(8, 8))
    >>> display.images_.shape
    (3, 8)
    """

    def __init__(self, *, original, reconstruction, kind=None, names=None, axis="step"):
        self.original = original
        self.reconstruction = reconstruction
        self.kind = kind
        self.names = names
        self.axis = axis

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        n_samples=None,
        indices=None,
        image_shape=None,
        kind=None,
        ax=None,
    ):
        """Draw rows and what a fitted autoencoder makes of them.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted autoencoder, or a fitted pipeline that ends in one and whose other steps
            have `inverse_transform`.
        X : array-like of shape (n_samples, ...)
            Rows of any kind that the estimator takes.
        n_samples : int, default=None
            Number of rows to draw, evenly spaced from the first to the last. None: eight
            images, or four series.
        indices : array-like of int, default=None
            Which rows to draw instead.
        image_shape : tuple of int or "square", default=None
            What flat rows are images of: (height, width) or (height, width, 3). None: what the
            training data or the network say.
        kind : {"image", "series"}, default=None
            How to draw rows that could be either. None: flat rows and those of networks for
            sequences and signals are series.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.

        Returns
        -------
        display : ReconstructionDisplay
            What was drawn.
        """
        require_matplotlib(cls)
        chain = Chain.of(estimator, needs="reconstruct")
        n_rows = count_rows(X)
        n_features = chain.rows(take_rows(X, [0])).shape[1]
        look = Look.of(chain.autoencoder, n_features, kind, image_shape)
        if n_samples is None:
            n_samples = 8 if look.kind == "image" else 4
        chosen = choose_rows(n_rows, n_samples, indices)
        rows = take_rows(X, chosen)
        return cls(
            original=look.unfold(chain.rows(rows)),
            reconstruction=look.unfold(chain.reconstruct(rows)),
            kind=look.kind,
            names=[f"row {index}" for index in chosen],
            axis=look.axis,
        ).plot(ax)

    def plot(self, ax=None):
        """Draw the rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; series replace it by axes of their own in its place. None: a new
            figure.

        Returns
        -------
        display : ReconstructionDisplay
            Itself.
        """
        original, restored = self._arrays()
        kind = kind_of_array(original, self.kind, "original")
        n_rows = len(original)
        names = self.names
        if names is None:
            names = [f"row {index}" for index in range(n_rows)]
        if len(names) != n_rows:
            raise ValueError(f"names has {len(names)} entries for {n_rows} rows; one a row.")
        self.images_: Any = None
        self.axes_: Any = None
        if kind == "image":
            figsize = _figure_size(n_rows, *original.shape[1:3])
            ax = self._open(ax, figsize, layout="compressed")
            self._plot_images(ax, original, restored, names)
        else:
            ax = self._open(ax, figsize=(1 + max(2.4 * n_rows, 3), 4.2))
            self._plot_series(ax, original, restored, names)
            self._add_legend(original)
        return self

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return both as arrays of floats; none is drawn where there is no original."""
        original, restored = (
            as_array(rows).astype(float) for rows in (self.original, self.reconstruction)
        )
        if original.shape != restored.shape or not original.size:
            raise ValueError(
                f"original and reconstruction must have the same shape and at least one row; "
                f"got {original.shape} and {restored.shape}."
            )
        return original, np.where(np.isnan(original), np.nan, restored)

    def _plot_images(
        self, ax: Any, original: np.ndarray, restored: np.ndarray, names: list[str]
    ) -> None:
        """Draw three lines of images on one pair of axes, in units of pixels."""
        height, width = original.shape[1:3]
        has_colors = original.ndim == 4
        low, high = limits_of(original, restored, colors=has_colors)
        error, error_style, error_name = _error_image(original, restored)
        style: dict[str, Any] = {"cmap": "gray", "vmin": low, "vmax": high}
        if has_colors:
            original, restored = (
                to_unit_range(part, (low, high)) for part in (original, restored)
            )
            style = {}
        pitch = (GAP * width, GAP * height)
        lines = zip([original, restored, error], [style, style, error_style], strict=True)
        self.images_ = np.array(
            [
                [
                    show_image(ax, image, corner, **options)
                    for image, corner in zip(images, corners, strict=True)
                ]
                for (images, options), corners in zip(
                    lines, _corners(len(names), pitch), strict=True
                )
            ]
        )
        _frame_tiles(ax, (height, width), pitch, names)
        if not has_colors:
            self._add_scale(ax, self.images_[0, 0], "value", (0.37, 0.63))
        self._add_scale(ax, self.images_[2, 0], error_name, (0.0, 0.3))

    def _add_scale(self, ax: Any, image: Any, name: str, span: tuple[float, float]) -> None:
        """Put a colour bar beside the lines of images that it is about."""
        # In units of the axes, which are as many images wide.
        width = 0.15 / self.images_.shape[1]
        beside = ax.inset_axes((1 + width, span[0], width, span[1]))
        beside.tick_params(labelsize="small")
        self.figure_.colorbar(image, cax=beside, label=name).locator.set_params(nbins=3)

    def _plot_series(
        self, ax: Any, original: np.ndarray, restored: np.ndarray, names: list[str]
    ) -> None:
        """Draw a column for each row: both curves, and the error beneath."""
        original, restored = (part.reshape(*part.shape[:2], -1) for part in (original, restored))
        self.axes_ = axes_within(ax, heights=[0.4, 3, 1.4], n_columns=len(original))
        for column, (above, below) in enumerate(self.axes_.T):
            before, after = original[column], restored[column]
            for channel, color in zip(
                range(before.shape[1]), _channel_colors(before), strict=True
            ):
                above.plot(before[:, channel], color=color[0], lw=1.6)
                above.plot(after[:, channel], color=color[1], lw=1.4, ls="--")
                below.plot((after - before)[:, channel], color=color[2], lw=1.2)
            below.axhline(0, color=GREY, lw=0.8, zorder=0)
            above.set_title(names[column], fontsize="medium")
            above.tick_params(labelbottom=False)
            below.set_xlabel(self.axis)
        self.axes_[0, 0].set_ylabel("value")
        self.axes_[1, 0].set_ylabel(ERROR, fontsize="small")
        bound = np.nanmax(np.abs(restored - original)) or 1.0
        self.axes_[1, 0].set_ylim(-1.1 * bound, 1.1 * bound)

    def _add_legend(self, original: np.ndarray) -> None:
        """Say which curve is which, above all columns."""
        n_channels = original.shape[2] if original.ndim == 3 else 1
        self.ax_.legend(
            self.axes_[0, 0].lines[:2],
            ["original", "reconstruction"],
            title=f"{n_channels} channels, a colour each" if n_channels > 1 else None,
            loc="center",
            ncols=2,
        )


def _channel_colors(series: np.ndarray) -> list[tuple[str, str, str]]:
    """Return colours of original, reconstruction and error of each channel."""
    n_channels = series.shape[1]
    if n_channels == 1:
        return [(BLUE, ORANGE, RED)]
    return [(color, color, color) for color in (COLORS * n_channels)[:n_channels]]


def _error_image(original: np.ndarray, restored: np.ndarray) -> tuple[np.ndarray, dict, str]:
    """Return the errors of images, how to draw them, and what to call them."""
    error = restored - original
    if error.ndim == 4:
        error = np.abs(error).mean(-1)
        style = {"cmap": "Reds", "vmin": 0.0, "vmax": error.max() or 1.0}
        return error, style, "mean absolute\nerror"
    bound = np.nanmax(np.abs(error)) or 1.0
    return error, {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}, ERROR


def _figure_size(n_columns: int, height: int, width: int) -> tuple[float, float]:
    """Return a size in inches that gives images of any shape about the same area."""
    ratio = _shown_ratio(height, width)
    side = min(ratio**0.5, 12 / n_columns)
    return 2.2 + max(side * n_columns, 1.0), 0.4 + 3 * GAP * max(side / ratio, 0.5)


def _shown_ratio(height: int, width: int) -> float:
    """Return how wide for its height to draw an image; pixels of a strip are not square."""
    return float(np.clip(width / height, 1 / 3, 3))


def _corners(n_columns: int, pitch: tuple[float, float]) -> list[list[tuple[float, float]]]:
    """Return the lower left corners of three lines of images."""
    return [
        [(column * pitch[0], -line * pitch[1]) for column in range(n_columns)] for line in range(3)
    ]


def _frame_tiles(
    ax: Any, size: tuple[int, int], pitch: tuple[float, float], names: list[str]
) -> None:
    """Name lines and columns of images, and fit the axes around them."""
    height, width = size
    lines = ["original", "reconstruction", "error"]
    ax.set_yticks([height / 2 - line * pitch[1] for line in range(3)], lines)
    columns = range(len(names))
    ax.set_xticks([width / 2 + column * pitch[0] for column in columns], names)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlim(0, (len(names) - 1) * pitch[0] + width)
    ax.set_ylim(-2 * pitch[1], height)
    ax.set_aspect(width / height / _shown_ratio(height, width))
