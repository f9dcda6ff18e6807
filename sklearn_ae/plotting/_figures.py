"""The one gate to matplotlib, and what all pictures share: colours, axes, tiles."""

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
"""Ten that the colour-blind tell apart too (Petroff, 2021), in another order."""

BLUE, ORANGE, RED, GREY = COLORS[0], COLORS[1], COLORS[2], COLORS[8]

MARKERS = "osD^vPX"
"""As many as have no factor in common with the colours: 70 pairs before one comes again."""


GAP = 1.08
"""Distance of two images or curves of a table, in units of their size."""


def require_matplotlib(caller: Any) -> Any:
    """Return ``matplotlib.pyplot``, or say how to get it; `caller` is a Display or its class."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        name = (caller if isinstance(caller, type) else type(caller)).__name__
        raise ImportError(
            f'{name} draws with matplotlib, which is missing: pip install "sklearn-ae[plot]".'
        ) from error
    return plt


class Display:
    """Base of all pictures: plain data in, drawn on axes of the user's or of its own.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    ax_: Any
    figure_: Any

    def _open(self, ax: Any, figsize: tuple[float, float], layout: str = "constrained") -> Any:
        """Return the axes given, or those of a new figure, and remember them.

        ``layout="compressed"`` is for axes whose units are equally long: with what stands
        beside them, the other one loses count of the room that is left.
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
    """Put a table of axes in the place of one, which becomes a strip for a legend above them.

    Parameters
    ----------
    ax : matplotlib Axes
    heights : list of float
        Relative ones, that of the strip first.
    n_columns : int

    Returns
    -------
    axes : ndarray of matplotlib Axes of shape (len(heights) - 1, n_columns)
        Those of a line share y, those of a column x.
    """
    place, shape = ax.get_subplotspec(), (len(heights), n_columns)
    if place is None:  # axes that were put somewhere by hand
        box = ax.get_position()
        grid = ax.figure.add_gridspec(
            *shape, height_ratios=heights, left=box.x0, right=box.x1, bottom=box.y0, top=box.y1
        )
    else:
        grid = place.subgridspec(*shape, height_ratios=heights)
    ax.set_subplotspec(grid[0, :])
    ax.set_axis_off()
    axes: Any = np.empty((len(heights) - 1, n_columns), dtype=object)
    for line, column in np.ndindex(axes.shape):
        axes[line, column] = ax.figure.add_subplot(
            grid[line + 1, column],
            sharex=axes[0, column] if line else None,
            sharey=axes[line, 0] if column else None,
        )
        axes[line, column].tick_params(labelleft=column == 0)
    return axes


def show_image(ax: Any, image: np.ndarray, corner: tuple[float, float], **options: Any) -> Any:
    """Draw an image in its own shape on axes that hold several, without touching their limits.

    Parameters
    ----------
    ax : matplotlib Axes
    image : ndarray of shape (height, width) or (height, width, 3)
    corner : tuple of float
        Where its lower left corner goes; a pixel is as large as a unit of the axes.
    **options
        For ``imshow``.
    """
    left, bottom = corner
    extent = (left, left + image.shape[1], bottom, bottom + image.shape[0])
    return ax.imshow(image, extent=extent, origin="upper", **options)


def scale_of_numbers() -> Any:
    """Return viridis without its yellow end, too pale for thin things on white; NaN is grey."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    colors = ListedColormap(colormaps["viridis"](np.linspace(0, 0.88, 256)))
    return colors.with_extremes(bad="#c8c8c8")


def to_unit_range(images: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Bring colour images into [0, 1], as matplotlib wants them."""
    low, high = limits
    return np.clip((images - low) / ((high - low) or 1.0), 0.0, 1.0)


def limits_of(*arrays: np.ndarray, colors: bool = False) -> tuple[float, float]:
    """Return the range of values to which a shared scale of images or curves stretches.

    Colours keep the range that their numbers come in, [0, 1] or [0, 255]: stretched, they
    would be other colours.
    """
    low = min(float(np.nanmin(array)) for array in arrays)
    high = max(float(np.nanmax(array)) for array in arrays)
    if colors:
        # The first array has the data; what is decoded may leave their range.
        low, high = float(np.nanmin(arrays[0])), float(np.nanmax(arrays[0]))
        if low >= 0 and high <= 255:
            return 0.0, 1.0 if high <= 1 else 255.0
    return low, high
