"""Plots of samples and their reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sklearn_ae.plotting._estimators import (
    SplitPipeline,
    as_array,
    choose_samples,
    count_samples,
    take_samples,
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
from sklearn_ae.plotting._shapes import SampleFormat, resolve_kind

ROWS = ("original", "reconstruction", "error")
ROWS_WITH_TARGET = ("input", "reconstruction", "target", "error")
"""Names of the rows of images; those of all but the errors also name the curves of series."""


class ReconstructionDisplay(Display):
    """Samples, their reconstructions and the errors, as images or as series.

    Images are drawn in three rows: originals and reconstructions on a common grey scale, and
    below them the errors, reconstruction minus original, on a symmetric scale from blue (too
    dark) over white (no error) to red (too bright). For colour images the error is the mean of
    the absolute errors of the three colours. Series are drawn as curves, the original together
    with the reconstruction, and the error below them.

    With `target`, as for a denoising autoencoder, errors are the reconstruction minus the target,
    which is drawn as well: a row of images above the errors, or a third curve.

    Parameters
    ----------
    original : array-like of shape (n_samples, ...)
        Images of shape (height, width) or (height, width, 3), or series of shape (n_steps,) or
        (n_steps, n_channels). NaN, as after the end of a short series, is not drawn.
    reconstruction : array-like of the shape of `original`
        Reconstructions of the samples.
    target : array-like of the shape of `original`, default=None
        What is to be reconstructed, e.g. clean samples if `original` are noisy ones. None means
        `original`.
    kind : {"image", "series"}, default=None
        How to draw the samples. None means images if a sample has two or more axes.
    names : sequence of str, default=None
        Names of the samples. None means their indices.
    axis : str, default="step"
        Label of the horizontal axis of series.

    Attributes
    ----------
    images_ : ndarray of matplotlib AxesImage of shape (3, n_samples) or (4, n_samples) or None
        Originals, reconstructions, targets if they are given, and errors; None for series.
    axes_ : ndarray of matplotlib Axes of shape (2, n_samples) or None
        Axes of the curves and of the errors; None for images.
    ax_ : matplotlib Axes
        Axes of the plot; of series, the empty axes above them.
    figure_ : matplotlib Figure
        Figure of the plot.

    See Also
    --------
    LatentTraversalDisplay : Decoded codes on a grid.

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

    def __init__(
        self,
        *,
        original: Any,
        reconstruction: Any,
        target: Any = None,
        kind: str | None = None,
        names: Sequence[str] | None = None,
        axis: str = "step",
    ) -> None:
        self.original = original
        self.reconstruction = reconstruction
        self.target = target
        self.kind = kind
        self.names = names
        self.axis = axis

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        target: Any = None,
        n_samples: int | None = None,
        indices: Any = None,
        image_shape: tuple[int, ...] | str | None = None,
        kind: str | None = None,
        ax: Any = None,
    ) -> ReconstructionDisplay:
        """Draw samples and their reconstructions by a fitted autoencoder.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted autoencoder, or fitted pipeline whose last step is one and whose other steps
            have `inverse_transform`.
        X : array-like of shape (n_samples, ...)
            Samples in any format that the estimator accepts.
        target : array-like of shape (n_samples, ...), default=None
            What is to be reconstructed, in the format of `X`, e.g. clean samples if `X` are noisy
            ones. None means `X`.
        n_samples : int, default=None
            Number of samples to draw, evenly spaced from the first to the last. None means eight
            images, or four series.
        indices : array-like of int, default=None
            Indices of the samples to draw. If given, `n_samples` is not used.
        image_shape : tuple of int or "square", default=None
            Image shape of flat samples: (height, width) or (height, width, 3). None means that of
            the training data or the network.
        kind : {"image", "series"}, default=None
            How to draw the samples. None means series for flat samples and for networks of
            sequences or signals, and images otherwise.
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.

        Returns
        -------
        display : ReconstructionDisplay
            The Display, already drawn.
        """
        require_matplotlib(cls)
        pipeline = SplitPipeline.of(estimator, needs="reconstruct")
        n_available = count_samples(X)
        n_features = pipeline.flat_samples(take_samples(X, [0])).shape[1]
        sample_format = SampleFormat.of(pipeline.autoencoder, n_features, kind, image_shape)
        if n_samples is None:
            n_samples = 8 if sample_format.kind == "image" else 4
        chosen = choose_samples(n_available, n_samples, indices)
        samples = take_samples(X, chosen)
        if target is not None:
            if count_samples(target) != n_available:
                raise ValueError(
                    f"target has {count_samples(target)} samples and X has {n_available}; pass "
                    f"one target for each sample."
                )
            target = sample_format.unfold(pipeline.flat_samples(take_samples(target, chosen)))
        return cls(
            original=sample_format.unfold(pipeline.flat_samples(samples)),
            reconstruction=sample_format.unfold(pipeline.reconstruct(samples)),
            target=target,
            kind=sample_format.kind,
            names=[f"row {index}" for index in chosen],
            axis=sample_format.axis,
        ).plot(ax)

    def plot(self, ax: Any = None) -> ReconstructionDisplay:
        """Draw the samples.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; for series they are replaced by several axes in the same place. If
            None, a new figure is created.

        Returns
        -------
        display : ReconstructionDisplay
            The Display itself.
        """
        arrays = self._arrays()
        original = arrays[0]
        kind = resolve_kind(original, self.kind, "original")
        n_samples = len(original)
        names = self.names
        if names is None:
            names = [f"row {index}" for index in range(n_samples)]
        if len(names) != n_samples:
            raise ValueError(
                f"names has {len(names)} entries for {n_samples} samples; pass one per sample."
            )
        self.images_: Any = None
        self.axes_: Any = None
        if kind == "image":
            height, width = original.shape[1:3]
            figsize = _figure_size(len(arrays) + 1, n_samples, height, width)
            ax = self._open(ax, figsize, layout="compressed")
            self._plot_images(ax, arrays, names)
        else:
            ax = self._open(ax, figsize=(1 + max(2.4 * n_samples, 3), 4.2))
            self._plot_series(ax, arrays, names)
            self._add_legend(original)
        return self

    def _arrays(self) -> list[np.ndarray]:
        """Return originals, reconstructions and any targets as floats; missing values stay NaN."""
        named = {"original": self.original, "reconstruction": self.reconstruction}
        if self.target is not None:
            named["target"] = self.target
        arrays = [as_array(samples).astype(float) for samples in named.values()]
        original, reconstructed, *target = arrays
        if len({each.shape for each in arrays}) > 1 or not original.size:
            raise ValueError(
                f"{' and '.join(named)} must have the same shape and at least one sample; got "
                f"the shapes {' and '.join(str(each.shape) for each in arrays)}."
            )
        # Of a value that is missing in the input, the reconstruction is known, and the target
        # may be.
        is_missing = np.isnan(target[0] if target else original)
        return [original, np.where(is_missing, np.nan, reconstructed), *target]

    def _row_names(self) -> tuple[str, ...]:
        """Return the names of the rows of images."""
        return ROWS if self.target is None else ROWS_WITH_TARGET

    def _plot_images(self, ax: Any, arrays: list[np.ndarray], names: Sequence[str]) -> None:
        """Draw rows of images on the same axes, in units of pixels."""
        height, width = arrays[0].shape[1:3]
        has_colors = arrays[0].ndim == 4
        low, high = limits_of(*arrays, colors=has_colors)
        error, error_style, error_name = self._error_image(arrays)
        style: dict[str, Any] = {"cmap": "gray", "vmin": low, "vmax": high}
        if has_colors:
            arrays, style = [to_unit_range(part, (low, high)) for part in arrays], {}
        pitch = (GAP * width, GAP * height)
        styles = [style] * len(arrays) + [error_style]
        corners = _corners(len(styles), len(names), pitch)
        self.images_ = np.array(
            [
                [
                    show_image(ax, image, corner, **options)
                    for image, corner in zip(images, places, strict=True)
                ]
                for images, options, places in zip([*arrays, error], styles, corners, strict=True)
            ]
        )
        _frame_tiles(ax, (height, width), pitch, self._row_names(), names)
        n_rows = len(styles)
        if not has_colors:
            # Each bar is beside the rows it belongs to, with a margin.
            self._add_scale(ax, self.images_[0, 0], "value", (1.11 / n_rows, 1 - 1.11 / n_rows))
        self._add_scale(ax, self.images_[-1, 0], error_name, (0.0, 0.9 / n_rows))

    def _error_image(self, arrays: list[np.ndarray]) -> tuple[np.ndarray, dict[str, Any], str]:
        """Return the errors of images, the options for drawing them, and their label."""
        error = self._errors(arrays)
        if error.ndim == 4:
            error = np.abs(error).mean(-1)
            style = {"cmap": "Reds", "vmin": 0.0, "vmax": error.max() or 1.0}
            return error, style, "mean absolute\nerror"
        bound = np.nanmax(np.abs(error)) or 1.0
        return error, {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound}, self._error_name()

    def _errors(self, arrays: list[np.ndarray]) -> np.ndarray:
        """Return the reconstructions minus what is to be reconstructed."""
        errors: np.ndarray = arrays[1] - (arrays[0] if self.target is None else arrays[2])
        return errors

    def _error_name(self) -> str:
        """Return the label of signed errors."""
        return "reconstruction\n- " + ("original" if self.target is None else "target")

    def _add_scale(self, ax: Any, image: Any, name: str, span: tuple[float, float]) -> None:
        """Add a colour bar on the right of the rows of images that it belongs to."""
        # In units of the axes, whose width is that of all images.
        width = 0.15 / self.images_.shape[1]
        beside = ax.inset_axes((1 + width, span[0], width, span[1]))
        beside.tick_params(labelsize="small")
        self.figure_.colorbar(image, cax=beside, label=name).locator.set_params(nbins=3)

    def _plot_series(self, ax: Any, arrays: list[np.ndarray], names: Sequence[str]) -> None:
        """Draw one column per sample: the curves, and the error below them."""
        # (n_samples, n_steps, n_channels)
        arrays = [part.reshape(*part.shape[:2], -1) for part in arrays]
        errors = self._errors(arrays)
        self.axes_ = axes_within(ax, heights=[0.4, 3, 1.4], n_columns=len(errors))
        for column, (above, below) in enumerate(self.axes_.T):
            colors = _channel_colors(errors[column])
            for channel, (first, second, third) in enumerate(colors):
                before, after, *target = (part[column, :, channel] for part in arrays)
                above.plot(before, color=first, lw=1.6, alpha=0.4 if target else None)
                above.plot(after, color=second, lw=1.4, ls="--")
                for wanted in target:
                    above.plot(wanted, color=first, lw=1.6)
                below.plot(errors[column, :, channel], color=third, lw=1.2)
            below.axhline(0, color=GREY, lw=0.8, zorder=0)
            above.set_title(names[column], fontsize="medium")
            above.tick_params(labelbottom=False)
            below.set_xlabel(self.axis)
        self.axes_[0, 0].set_ylabel("value")
        self.axes_[1, 0].set_ylabel(self._error_name(), fontsize="small")
        bound = np.nanmax(np.abs(errors)) or 1.0
        self.axes_[1, 0].set_ylim(-1.1 * bound, 1.1 * bound)

    def _add_legend(self, original: np.ndarray) -> None:
        """Add a legend of the curves above all columns."""
        n_channels = original.shape[2] if original.ndim == 3 else 1
        names = self._row_names()[:-1]
        self.ax_.legend(
            self.axes_[0, 0].lines[: len(names)],
            names,
            title=f"{n_channels} channels, one colour each" if n_channels > 1 else None,
            loc="center",
            ncols=len(names),
        )


def _channel_colors(series: np.ndarray) -> list[tuple[str, str, str]]:
    """Return the colours of original, reconstruction and error for each channel."""
    n_channels = series.shape[1]
    if n_channels == 1:
        return [(BLUE, ORANGE, RED)]
    return [(color, color, color) for color in (COLORS * n_channels)[:n_channels]]


def _figure_size(n_rows: int, n_columns: int, height: int, width: int) -> tuple[float, float]:
    """Return a size in inches such that images of any shape have about the same area."""
    ratio = _shown_ratio(height, width)
    side = min(ratio**0.5, 12 / n_columns)
    return 2.2 + max(side * n_columns, 1.0), 0.4 + n_rows * GAP * max(side / ratio, 0.5)


def _shown_ratio(height: int, width: int) -> float:
    """Return the ratio of width to height of a drawn image; it is limited for narrow images."""
    return float(np.clip(width / height, 1 / 3, 3))


def _corners(
    n_rows: int, n_columns: int, pitch: tuple[float, float]
) -> list[list[tuple[float, float]]]:
    """Return the lower left corners of rows of images."""
    return [
        [(column * pitch[0], -row * pitch[1]) for column in range(n_columns)]
        for row in range(n_rows)
    ]


def _frame_tiles(
    ax: Any,
    size: tuple[int, int],
    pitch: tuple[float, float],
    rows: Sequence[str],
    names: Sequence[str],
) -> None:
    """Label rows and columns of images, and set the limits of the axes around them."""
    height, width = size
    ax.set_yticks([height / 2 - row * pitch[1] for row in range(len(rows))], rows)
    columns = range(len(names))
    ax.set_xticks([width / 2 + column * pitch[0] for column in columns], names)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlim(0, (len(names) - 1) * pitch[0] + width)
    ax.set_ylim((1 - len(rows)) * pitch[1], height)
    ax.set_aspect(width / height / _shown_ratio(height, width))
