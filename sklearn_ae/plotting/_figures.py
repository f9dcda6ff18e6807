"""The only import of matplotlib, and what all plots share: colours, axes, images."""

from __future__ import annotations

from typing import Any

import numpy as np

COLORS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#832db6",
    "#a96b59",
    "#94a4a2",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
"""Ten colours that colour-blind readers can distinguish (Petroff, 2021), in another order."""

BLUE, ORANGE, RED, GREY = COLORS[0], COLORS[1], COLORS[2], COLORS[8]

MARKERS = "osD^vPX"
"""Seven is coprime to the number of colours: there are 70 pairs of a colour and a marker."""


GAP = 1.08
"""Distance between neighbouring images or curves of a table, in units of their size."""


def require_matplotlib(caller: Any) -> Any:
    """Return ``matplotlib.pyplot``, or raise an error that names `caller`, a Display or class."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        name = (caller if isinstance(caller, type) else type(caller)).__name__
        raise ImportError(
            f'{name} requires matplotlib: pip install "sklearn-ae[plot]".'
        ) from error
    return plt


class Display:
    """Base of all Displays, which draw plain data on given axes or in a new figure.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.
    """

    ax_: Any
    figure_: Any

    def _open(self, ax: Any, figsize: tuple[float, float], layout: str = "constrained") -> Any:
        """Return the given axes or those of a new figure, and store them.

        ``layout="compressed"`` is for axes with an equal aspect ratio, for which the constrained
        layout leaves too much or too little room beside them.
        """
        plt = require_matplotlib(self)
        if ax is None:
            _, ax = plt.subplots(figsize=figsize, layout=layout)
        elif not hasattr(ax, "get_subplotspec"):
            raise ValueError(
                f"ax must be one matplotlib Axes, got {type(ax).__name__}. Take one from an "
                f"array of axes, such as axes[0]."
            )
        self.ax_, self.figure_ = ax, ax.figure
        return ax


def axes_within(ax: Any, heights: list[float], n_columns: int) -> np.ndarray:
    """Replace axes by a table of axes; the given axes become an empty strip above the table.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes to replace. The strip has room for a legend.
    heights : list of float
        Relative heights of the strip and of the rows of the table.
    n_columns : int
        Number of columns of the table.

    Returns
    -------
    axes : ndarray of matplotlib Axes of shape (len(heights) - 1, n_columns)
        The table. Axes in a row share their y-axis, axes in a column their x-axis.
    """
    spec, shape = ax.get_subplotspec(), (len(heights), n_columns)
    if spec is None:  # the axes have a position of their own, as from Figure.add_axes
        box = ax.get_position()
        grid = ax.figure.add_gridspec(
            *shape, height_ratios=heights, left=box.x0, right=box.x1, bottom=box.y0, top=box.y1
        )
    else:
        grid = spec.subgridspec(*shape, height_ratios=heights)
    ax.set_subplotspec(grid[0, :])
    ax.set_axis_off()
    axes = np.empty((len(heights) - 1, n_columns), dtype=object)
    for row, column in np.ndindex(*axes.shape):
        cell = axes[row, column] = ax.figure.add_subplot(
            grid[row + 1, column],
            sharex=axes[0, column] if row else None,
            sharey=axes[row, 0] if column else None,
        )
        cell.tick_params(labelleft=column == 0)
    return axes


def show_image(ax: Any, image: np.ndarray, corner: tuple[float, float], **options: Any) -> Any:
    """Draw one of several images on the same axes; a pixel is one unit of the axes.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes of all images.
    image : ndarray of shape (height, width) or (height, width, 3)
        Image to draw.
    corner : tuple of float
        Position of its lower left corner.
    **options
        Arguments of ``imshow``.
    """
    left, bottom = corner
    extent = (left, left + image.shape[1], bottom, bottom + image.shape[0])
    return ax.imshow(image, extent=extent, origin="upper", **options)


def color_map() -> Any:
    """Return viridis without its yellow end, which is too pale on white; NaN is grey."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    colors = ListedColormap(colormaps["viridis"](np.linspace(0, 0.88, 256)))
    return colors.with_extremes(bad="#c8c8c8")


def to_unit_range(images: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Scale images to [0, 1], the range that matplotlib expects of colours."""
    low, high = limits
    scaled: np.ndarray = np.clip((images - low) / ((high - low) or 1.0), 0.0, 1.0)
    return scaled


def limits_of(*arrays: np.ndarray, colors: bool = False) -> tuple[float, float]:
    """Return the limits of a shared scale of images or curves.

    Colour images in [0, 1] or [0, 255] keep these limits, because rescaling would change their
    colours.
    """
    low = min(float(np.nanmin(array)) for array in arrays)
    high = max(float(np.nanmax(array)) for array in arrays)
    if colors:
        # The first array has the data; decoded values may leave their range.
        low, high = float(np.nanmin(arrays[0])), float(np.nanmax(arrays[0]))
        if low >= 0 and high <= 255:
            return 0.0, 1.0 if high <= 1 else 255.0
    return low, high
