"""What the places of the code are decoded to."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import norm

from sklearn_ae.plotting._estimators import Chain, as_array, check_natural, count_rows
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
from sklearn_ae.plotting._shapes import Look, kind_of_array
from sklearn_ae.variational import VariationalAutoencoder

OUTERMOST = 0.02
"""Share of the rows that lie past either end of a grid: single ones may lie far out."""


CELL = (0.75, 1.0)
"""Height and width of a curve on the axes."""


class LatentTraversalDisplay(Display):
    """A table of decoded codes: two components vary, the others stay at their mean.

    The first component grows to the right, the second upwards. Their values are quantiles, so
    that each step passes equally many rows; the axes show them.

    Parameters
    ----------
    decoded : array-like of shape (n_upwards, n_across, ...)
        Images of shape (height, width) or (height, width, 3), or series of shape (n_steps,) or
        (n_steps, n_channels). The first line is the lowest.
    across : array-like of shape (n_across,)
        Values of the first component.
    upwards : array-like of shape (n_upwards,), default=None
        Values of the second. None: there is one component only.
    axis_names : sequence of str, default=None
        What to call the components.
    kind : {"image", "series"}, default=None
        What is decoded. None: images if each has two axes or more.

    Attributes
    ----------
    artists_ : ndarray of shape (n_upwards, n_across)
        matplotlib AxesImages, or lists of Line2D, one for each channel of a series.
    ax_ : matplotlib Axes
        What it is drawn on.
    figure_ : matplotlib Figure
        What these belong to.

    See Also
    --------
    LatentSpaceDisplay : Where rows lie in this plane.

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

    def __init__(self, *, decoded, across, upwards=None, axis_names=None, kind=None):
        self.decoded = decoded
        self.across = across
        self.upwards = upwards
        self.axis_names = axis_names
        self.kind = kind

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X=None,
        *,
        components=None,
        grid="auto",
        grid_size=9,
        image_shape=None,
        kind=None,
        ax=None,
    ):
        """Draw what a fitted autoencoder decodes codes to.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted autoencoder, or a fitted pipeline that ends in one and whose other steps
            have `inverse_transform`.
        X : array-like of shape (n_samples, ...), default=None
            Rows; their codes have the quantiles and the mean. With ``grid="normal"`` they may
            be left out, and the mean is zero.
        components : tuple of int, default=None
            One or two columns of the code to vary. None: the first two, or the only one.
        grid : {"auto", "quantiles", "normal"}, default="auto"
            Values of the components: quantiles of the codes of `X`, from 2 % to 98 %, or those
            of a standard normal. ``"auto"`` is ``"normal"`` for a `VariationalAutoencoder`.
        grid_size : int, default=9
            Number of values of a component.
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
        display : LatentTraversalDisplay
            What was drawn.
        """
        require_matplotlib(cls)
        check_natural(grid_size, "grid_size", least=2)
        chain = Chain.of(estimator, needs="inverse_transform")
        _check_decoder(chain.autoencoder)
        grid = _choose_grid(chain.autoencoder, grid, X)
        codes = None if X is None else chain.encode(X)
        width = chain.autoencoder.n_components_
        chosen = check_components(
            tuple(range(min(2, width))) if components is None else components, width
        )
        values = [_values(codes, index, grid, grid_size) for index in chosen]
        mean = np.zeros(width) if codes is None else codes.mean(0)
        rows = chain.decode(_table_of_codes(mean, chosen, values))
        look = Look.of(chain.autoencoder, rows.shape[1], kind, image_shape)
        of = "of a standard normal" if grid == "normal" else "of the rows' codes"
        names = [f"code {index}" for index in chosen]
        both = "both at" if len(chosen) == 2 else "at"
        return cls(
            decoded=look.unfold(rows).reshape(-1, grid_size, *look.shape),
            across=values[0],
            upwards=values[1] if len(values) == 2 else None,
            axis_names=[f"{names[0]}\n{both} quantiles {of}", *names[1:]],
            kind=look.kind,
        ).plot(ax)

    def plot(self, ax=None):
        """Draw the table.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.

        Returns
        -------
        display : LatentTraversalDisplay
            Itself.
        """
        decoded, across = as_array(self.decoded), as_array(self.across)
        upwards = None if self.upwards is None else as_array(self.upwards)
        lines, columns = 1 if upwards is None else len(upwards), len(across)
        if decoded.shape[:2] != (lines, columns) or not decoded.size:
            raise ValueError(
                f"decoded must have {lines} x {columns} entries, as across and upwards say; got "
                f"the shape {decoded.shape}."
            )
        flat = decoded.reshape(lines * columns, *decoded.shape[2:])
        kind = kind_of_array(flat, self.kind, "decoded, its first two axes joined,")
        sides = flat.shape[1:3] if kind == "image" else CELL
        size = (GAP * sides[0], GAP * sides[1])
        ax = self._open(ax, _figure_size(lines, columns, size), layout="compressed")
        draw = self._draw_images if kind == "image" else self._draw_series
        self.artists_ = np.empty((lines, columns), dtype=object)
        for place, artist in zip(np.ndindex(lines, columns), draw(ax, flat, columns), strict=True):
            self.artists_[place] = artist
        self._label(ax, size, across, upwards)
        return self

    def _draw_images(self, ax: Any, images: np.ndarray, columns: int) -> list[Any]:
        """Draw images side by side; a pixel is as large as a unit of the axes."""
        has_colors = images.ndim == 4
        limits = limits_of(images, colors=has_colors)
        style = {} if has_colors else {"cmap": "gray", "vmin": limits[0], "vmax": limits[1]}
        shown = to_unit_range(images, limits) if has_colors else images
        pitch = [GAP * side for side in images.shape[1:3]]
        return [
            show_image(ax, image, ((n % columns) * pitch[1], (n // columns) * pitch[0]), **style)
            for n, image in enumerate(shown)
        ]

    def _draw_series(self, ax: Any, series: np.ndarray, columns: int) -> list[Any]:
        """Draw curves in cells, all on the same scale of values."""
        from matplotlib.transforms import Affine2D

        series = series.reshape(*series.shape[:2], -1)
        low, high = limits_of(series)
        steps, span = max(series.shape[1] - 1, 1), (high - low) or 1.0
        drawn = []
        for n, curves in enumerate(series):
            # The lines keep their own numbers; the transform puts them into the cell.
            cell = Affine2D().translate(0, -low).scale(0.9 * CELL[1] / steps, 0.9 * CELL[0] / span)
            cell.translate(
                GAP * CELL[1] * (n % columns) + 0.05 * CELL[1],
                GAP * CELL[0] * (n // columns) + 0.05 * CELL[0],
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

    def _label(self, ax: Any, size: Any, across: np.ndarray, upwards: np.ndarray | None) -> None:
        """Put the values of the components along the axes."""
        height, width = size
        names = ("code 0", "code 1") if self.axis_names is None else self.axis_names
        lines = 1 if upwards is None else len(upwards)
        # Behind the last one there is no gap.
        right, top = (len(across) - 1 + 1 / GAP) * width, (lines - 1 + 1 / GAP) * height
        ax.set(xlabel=names[0], xlim=(0, right), ylim=(0, top))
        ax.set_xticks(width * (np.arange(len(across)) + 0.5 / GAP), [f"{v:.2g}" for v in across])
        if upwards is None:
            ax.set_yticks([])
        else:
            ax.set_yticks(height * (np.arange(lines) + 0.5 / GAP), [f"{v:.2g}" for v in upwards])
            ax.set_ylabel(names[1])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_aspect("equal")


def _choose_grid(autoencoder: Any, grid: str, X: Any) -> str:
    """Return which quantiles to take, and see to it that there are rows for them."""
    if grid not in ("auto", "quantiles", "normal"):
        raise ValueError(f'grid must be "auto", "quantiles" or "normal", got {grid!r}.')
    if grid == "auto":
        grid = "normal" if isinstance(autoencoder, VariationalAutoencoder) else "quantiles"
    if X is None and grid == "quantiles":
        raise ValueError(
            "The values of the components are quantiles of the codes of X: pass X, or take "
            'grid="normal" if the codes are standard normal.'
        )
    if X is not None:
        count_rows(X)
    return grid


def _check_decoder(autoencoder: Any) -> None:
    """Refuse decoders that need more than the components."""
    network = getattr(getattr(autoencoder, "module_", None), "network", None)
    extra = network.extra_names(autoencoder.input_shape_) if network is not None else []
    if extra:
        raise ValueError(
            f"{type(autoencoder).__name__} hands its decoder {len(extra)} values past the "
            f"components (such as {extra[0]!r}), which have no mean that could be decoded. Fit "
            f"one without: other unpooling, or no skip connections."
        )


def _values(codes: np.ndarray | None, index: int, grid: str, grid_size: int) -> np.ndarray:
    """Return the values that a component takes."""
    shares = np.linspace(OUTERMOST, 1 - OUTERMOST, grid_size)
    if grid == "normal" or codes is None:
        return norm.ppf(shares)
    return np.quantile(codes[:, index], shares)


def _table_of_codes(mean: np.ndarray, chosen: list[int], values: list[np.ndarray]) -> np.ndarray:
    """Return codes at the mean but for the chosen components; the first varies fastest."""
    tables = np.meshgrid(*values)
    codes = np.tile(mean, (tables[0].size, 1))
    for index, table in zip(chosen, tables, strict=True):
        codes[:, index] = table.ravel()
    return codes


def _figure_size(lines: int, columns: int, size: Any) -> tuple[float, float]:
    """Return a size in inches that leaves cells their shape, and labels their room."""
    height, width = size
    cell = min(0.75, 9 / max(columns, lines * height / width))
    return 1.0 + max(3.0, cell * columns), 0.9 + cell * lines * height / width
