"""Tables of decoded codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm

from sklearn_ae.plotting._estimators import SplitPipeline, as_array, check_natural, count_samples
from sklearn_ae.plotting._figures import (
    COLORS,
    GAP,
    Display,
    limits_of,
    require_matplotlib,
    show_image,
    to_unit_range,
)
from sklearn_ae.plotting._reduction import check_components
from sklearn_ae.plotting._shapes import SampleFormat, resolve_kind
from sklearn_ae.variational import VariationalAutoencoder

TAIL_FRACTION = 0.02
"""Fraction of the samples beyond either end of a grid, because outliers may be far away."""


CELL = (0.75, 1.0)
"""Height and width of the cell of a curve, in units of the axes."""


class LatentTraversalDisplay(Display):
    """Table of decoded codes: two components vary, the others are equal to their mean.

    The first component increases to the right, the second upwards. Their values, which the axes
    show, are quantiles: there are equally many samples between neighbouring values.

    Parameters
    ----------
    decoded : array-like of shape (n_upwards, n_across, ...)
        Decoded images of shape (height, width) or (height, width, 3), or series of shape
        (n_steps,) or (n_steps, n_channels). The first row is drawn at the bottom.
    across : array-like of shape (n_across,)
        Values of the first component.
    upwards : array-like of shape (n_upwards,), default=None
        Values of the second component. None if only one component varies.
    axis_names : sequence of str, default=None
        Labels of the axes. None means ``"code 0"`` and ``"code 1"``.
    kind : {"image", "series"}, default=None
        How to draw the decoded samples. None means images if they have two or more axes.

    Attributes
    ----------
    artists_ : ndarray of shape (n_upwards, n_across)
        matplotlib AxesImage of each image, or a list of Line2D, one per channel, of each series.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.

    See Also
    --------
    LatentSpaceDisplay : Positions of samples in this plane.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import VariationalAutoencoder
    >>> from sklearn_ae.plotting import LatentTraversalDisplay
    >>> X = load_digits().data
    >>> autoencoder = VariationalAutoencoder(2, max_iter=10, random_state=0).fit(X)
    >>> display = LatentTraversalDisplay.from_estimator(
    ...     autoencoder, X, grid_size=5, image_shape=(8, 8)
    ... )
    >>> display.decoded.shape
    (5, 5, 8, 8)
    """

    def __init__(
        self,
        *,
        decoded: Any,
        across: Any,
        upwards: Any = None,
        axis_names: Sequence[str] | None = None,
        kind: str | None = None,
    ) -> None:
        self.decoded = decoded
        self.across = across
        self.upwards = upwards
        self.axis_names = axis_names
        self.kind = kind

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        components: int | Sequence[int] | None = None,
        grid: str = "auto",
        grid_size: int = 9,
        image_shape: tuple[int, ...] | str | None = None,
        kind: str | None = None,
        ax: Any = None,
    ) -> LatentTraversalDisplay:
        """Draw codes on a grid, decoded by a fitted autoencoder.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted autoencoder, or fitted pipeline whose last step is one and whose other steps
            have `inverse_transform`.
        X : array-like of shape (n_samples, ...), default=None
            Samples from whose codes the quantiles and the means are computed. May be None with
            ``grid="normal"``; the means are then zero.
        components : tuple of int, default=None
            One or two components of the code to vary. None means the first two, or the only one.
        grid : {"auto", "quantiles", "normal"}, default="auto"
            Values of the components: quantiles of the codes of `X`, from 2 % to 98 %, or those
            of a standard normal distribution. ``"auto"`` is ``"normal"`` for a
            `VariationalAutoencoder` and ``"quantiles"`` otherwise.
        grid_size : int, default=9
            Number of values of each component.
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
        display : LatentTraversalDisplay
            The Display, already drawn.
        """
        require_matplotlib(cls)
        check_natural(grid_size, "grid_size", least=2)
        pipeline = SplitPipeline.of(estimator, needs="inverse_transform")
        _check_decoder(pipeline.autoencoder)
        grid = _choose_grid(pipeline.autoencoder, grid, X)
        codes = None if X is None else pipeline.encode(X)
        width = pipeline.autoencoder.n_components_
        chosen = check_components(
            tuple(range(min(2, width))) if components is None else components, width
        )
        values = [_values(codes, index, grid, grid_size) for index in chosen]
        mean = np.zeros(width) if codes is None else codes.mean(0)
        decoded = pipeline.decode(_table_of_codes(mean, chosen, values))
        sample_format = SampleFormat.of(pipeline.autoencoder, decoded.shape[1], kind, image_shape)
        of = "of a standard normal" if grid == "normal" else "of the samples' codes"
        names = [f"code {index}" for index in chosen]
        both = "both at" if len(chosen) == 2 else "at"
        return cls(
            decoded=sample_format.unfold(decoded).reshape(-1, grid_size, *sample_format.shape),
            across=values[0],
            upwards=values[1] if len(values) == 2 else None,
            axis_names=[f"{names[0]}\n{both} quantiles {of}", *names[1:]],
            kind=sample_format.kind,
        ).plot(ax)

    def plot(self, ax: Any = None) -> LatentTraversalDisplay:
        """Draw the table.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.

        Returns
        -------
        display : LatentTraversalDisplay
            The Display itself.
        """
        decoded, across = as_array(self.decoded), as_array(self.across)
        upwards = None if self.upwards is None else as_array(self.upwards)
        n_rows, n_columns = 1 if upwards is None else len(upwards), len(across)
        if decoded.shape[:2] != (n_rows, n_columns) or not decoded.size:
            raise ValueError(
                f"decoded must have {n_rows} x {n_columns} entries, one for each pair of values "
                f"in upwards and across; got the shape {decoded.shape}."
            )
        flat = decoded.reshape(n_rows * n_columns, *decoded.shape[2:])
        kind = resolve_kind(flat, self.kind, "decoded, with its first two axes joined,")
        sides = flat.shape[1:3] if kind == "image" else CELL
        size = (GAP * sides[0], GAP * sides[1])
        ax = self._open(ax, _figure_size(n_rows, n_columns, size), layout="compressed")
        draw = self._draw_images if kind == "image" else self._draw_series
        artists = draw(ax, flat, n_columns)
        # Filled one by one: np.array would make an array of the lists of lines.
        self.artists_ = np.empty((n_rows, n_columns), dtype=object)
        for cell, artist in zip(np.ndindex(n_rows, n_columns), artists, strict=True):
            self.artists_[cell] = artist
        self._label(ax, size, across, upwards)
        return self

    def _draw_images(self, ax: Any, images: np.ndarray, n_columns: int) -> list[Any]:
        """Draw images side by side; a pixel is one unit of the axes."""
        has_colors = images.ndim == 4
        limits = limits_of(images, colors=has_colors)
        style = {} if has_colors else {"cmap": "gray", "vmin": limits[0], "vmax": limits[1]}
        shown = to_unit_range(images, limits) if has_colors else images
        pitch = [GAP * side for side in images.shape[1:3]]
        return [
            show_image(
                ax, image, ((n % n_columns) * pitch[1], (n // n_columns) * pitch[0]), **style
            )
            for n, image in enumerate(shown)
        ]

    def _draw_series(self, ax: Any, series: np.ndarray, n_columns: int) -> list[Any]:
        """Draw curves in cells, all with the same scale of values."""
        from matplotlib.transforms import Affine2D

        series = series.reshape(*series.shape[:2], -1)  # (n_cells, n_steps, n_channels)
        low, high = limits_of(series)
        steps, span = max(series.shape[1] - 1, 1), (high - low) or 1.0
        drawn = []
        for n, curves in enumerate(series):
            # The lines store the decoded values; a transform moves them into the cell.
            cell = Affine2D().translate(0, -low).scale(0.9 * CELL[1] / steps, 0.9 * CELL[0] / span)
            cell.translate(
                GAP * CELL[1] * (n % n_columns) + 0.05 * CELL[1],
                GAP * CELL[0] * (n // n_columns) + 0.05 * CELL[0],
            )
            drawn.append(
                [
                    ax.plot(curve, color=COLORS[channel % len(COLORS)], lw=1.2)[0]
                    for channel, curve in enumerate(curves.T)
                ]
            )
            for line in drawn[-1]:
                line.set_transform(cell + ax.transData)
        ax.set_title(f"all from {low:.3g} to {high:.3g}", fontsize="medium", loc="right")
        return drawn

    def _label(
        self,
        ax: Any,
        size: tuple[float, float],
        across: np.ndarray,
        upwards: np.ndarray | None,
    ) -> None:
        """Label the axes with the values of the components."""
        height, width = size
        names = ("code 0", "code 1") if self.axis_names is None else self.axis_names
        n_rows = 1 if upwards is None else len(upwards)
        # There is no gap after the last image.
        right, top = (len(across) - 1 + 1 / GAP) * width, (n_rows - 1 + 1 / GAP) * height
        ax.set(xlabel=names[0], xlim=(0, right), ylim=(0, top))
        ax.set_xticks(width * (np.arange(len(across)) + 0.5 / GAP), [f"{v:.2g}" for v in across])
        if upwards is None:
            ax.set_yticks([])
        else:
            ax.set_yticks(height * (np.arange(n_rows) + 0.5 / GAP), [f"{v:.2g}" for v in upwards])
            ax.set_ylabel(names[1])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_aspect("equal")


def _choose_grid(autoencoder: Any, grid: str, X: Any) -> str:
    """Resolve the parameter `grid`, and check that there are samples for the quantiles."""
    if grid not in ("auto", "quantiles", "normal"):
        raise ValueError(f'grid must be "auto", "quantiles" or "normal", got {grid!r}.')
    if grid == "auto":
        grid = "normal" if isinstance(autoencoder, VariationalAutoencoder) else "quantiles"
    if X is None and grid == "quantiles":
        raise ValueError(
            "The values of the components are quantiles of the codes of X: pass X, or set "
            'grid="normal" if the codes are standard normal.'
        )
    if X is not None:
        count_samples(X)
    return grid


def _check_decoder(autoencoder: Any) -> None:
    """Raise a ValueError if the decoder needs more than the components of the code."""
    network = getattr(getattr(autoencoder, "module_", None), "network", None)
    extra = network.extra_names(autoencoder.input_shape_) if network is not None else []
    if extra:
        raise ValueError(
            f"The decoder of {type(autoencoder).__name__} needs {len(extra)} values besides the "
            f"components (such as {extra[0]!r}), whose mean cannot be decoded. Fit an autoencoder "
            f"without them: with another unpooling, or without skip connections."
        )


def _values(codes: np.ndarray | None, index: int, grid: str, grid_size: int) -> np.ndarray:
    """Return the values of a component on the grid."""
    levels = np.linspace(TAIL_FRACTION, 1 - TAIL_FRACTION, grid_size)
    values: np.ndarray
    if grid == "normal" or codes is None:
        values = norm.ppf(levels)
    else:
        values = np.quantile(codes[:, index], levels)
    return values


def _table_of_codes(mean: np.ndarray, chosen: list[int], values: list[np.ndarray]) -> np.ndarray:
    """Return codes equal to the mean except in the chosen components; the first varies fastest."""
    tables = np.meshgrid(*values)
    codes = np.tile(mean, (tables[0].size, 1))
    for index, table in zip(chosen, tables, strict=True):
        codes[:, index] = table.ravel()
    return codes


def _figure_size(n_rows: int, n_columns: int, size: tuple[float, float]) -> tuple[float, float]:
    """Return a size in inches that preserves the shape of the cells and has room for labels."""
    height, width = size
    cell = min(0.75, 9 / max(n_columns, n_rows * height / width))
    return 1.0 + max(3.0, cell * n_columns), 0.9 + cell * n_rows * height / width
