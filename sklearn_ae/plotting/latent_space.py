"""Codes as points of the plane."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_ae.plotting._estimators import Chain, as_array, check_natural, count_rows
from sklearn_ae.plotting._figures import (
    BLUE,
    COLORS,
    MARKERS,
    Display,
    limits_of,
    require_matplotlib,
    scale_of_numbers,
    to_unit_range,
)
from sklearn_ae.plotting._labels import Labels, places_for_labels, spread_evenly
from sklearn_ae.plotting._reduction import to_plane
from sklearn_ae.plotting._shapes import Look, kind_of_array

MOST_IN_LEGEND = 24
"""Classes of a legend; a longer one would leave the points no room."""


MOST_UNNAMED = 8
"""Classes that are looked up in the legend; of more, each is also named where it is."""


class LatentSpaceDisplay(Display):
    """Codes of rows as points, coloured by what is known of the rows.

    Codes of two numbers are drawn as they are. Of wider ones the first two principal components
    are, or a t-SNE. Codes of one number go along the horizontal axis, classes below each other,
    numbers upwards; without labels they are counted.

    Parameters
    ----------
    positions : array-like of shape (n_samples, 1) or (n_samples, 2)
        Where the points are.
    y : array-like of shape (n_samples,), default=None
        Classes or numbers. Strings, truth values and integers of up to 20 values are classes,
        each with a colour and a marker; floats and other integers are numbers on a colour bar,
        NaN in grey.
        More than eight classes are named among the points too, more than 24 only there, as far
        as names have room.
    axis_names : sequence of str, default=None
        What to call the axes. None: the columns of `positions`.
    images : array-like of shape (n_samples, height, width) or (n_samples, height, width, 3), \
            default=None
        Images of the rows, for thumbnails.

    Attributes
    ----------
    scatters_ : list of matplotlib PathCollection
        The points, one collection for each class, or one for all. Empty if they are counted.
    legend_ : matplotlib Legend or None
        The classes.
    colorbar_ : matplotlib Colorbar or None
        The scale of `y`, if it is numbers.
    thumbnails_ : dict of int to matplotlib Axes
        The images drawn, by the row.
    ax_ : matplotlib Axes
        What it is drawn on.
    figure_ : matplotlib Figure
        What these belong to.

    See Also
    --------
    LatentTraversalDisplay : What the places of this plane are decoded to.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import Autoencoder
    >>> from sklearn_ae.plotting import LatentSpaceDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> autoencoder = Autoencoder(2, max_iter=10, random_state=0).fit(X)
    >>> display = LatentSpaceDisplay.from_estimator(autoencoder, X, y)
    >>> [len(scatter.get_offsets()) for scatter in display.scatters_]
    [50, 50, 50]
    """

    def __init__(self, *, positions, y=None, axis_names=None, images=None):
        self.positions = positions
        self.y = y
        self.axis_names = axis_names
        self.images = images

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        reduction="pca",
        components=None,
        thumbnails=0,
        image_shape=None,
        random_state=0,
        ax=None,
        scatter_kwargs=None,
    ):
        """Draw the codes that a fitted estimator has for rows.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted autoencoder, or a fitted pipeline that ends in one.
        X : array-like of shape (n_samples, ...)
            Rows of any kind that the estimator takes.
        y : array-like of shape (n_samples,), default=None
            Classes or numbers.
        reduction : {"pca", "tsne"}, default="pca"
            How codes of more than two numbers come to two.
        components : tuple of int, default=None
            One or two columns of the code to draw as they are instead.
        thumbnails : int, default=0
            Number of rows to draw as images, at most: those that would overlap are left out.
        image_shape : tuple of int or "square", default=None
            What flat rows are images of. None: what the training data or the network say.
        random_state : int, RandomState instance or None, default=0
            Fixes the t-SNE.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        scatter_kwargs : dict, default=None
            Further arguments of ``scatter``, such as ``{"s": 4}``.

        Returns
        -------
        display : LatentSpaceDisplay
            What was drawn.
        """
        require_matplotlib(cls)
        check_natural(thumbnails, "thumbnails", least=0)
        chain = Chain.of(estimator, needs="transform")
        count_rows(X)
        positions, names = to_plane(chain.encode(X), reduction, components, random_state)
        images = None
        if thumbnails:
            rows = chain.rows(X)
            images = Look.of(chain.autoencoder, rows.shape[1], "image", image_shape).unfold(rows)
        return cls(positions=positions, y=y, axis_names=names, images=images).plot(
            ax, thumbnails=thumbnails, scatter_kwargs=scatter_kwargs
        )

    @classmethod
    def from_codes(
        cls,
        codes,
        y=None,
        *,
        reduction="pca",
        components=None,
        images=None,
        thumbnails=0,
        random_state=0,
        ax=None,
        scatter_kwargs=None,
    ):
        """Draw codes.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_components)
            Codes of any width.
        y : array-like of shape (n_samples,), default=None
            Classes or numbers.
        reduction : {"pca", "tsne"}, default="pca"
            How codes of more than two numbers come to two.
        components : tuple of int, default=None
            One or two columns of the code to draw as they are instead.
        images : array-like of shape (n_samples, height, width, ...), default=None
            Images of the rows, for thumbnails.
        thumbnails : int, default=0
            Number of rows to draw as images, at most: those that would overlap are left out.
        random_state : int, RandomState instance or None, default=0
            Fixes the t-SNE.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        scatter_kwargs : dict, default=None
            Further arguments of ``scatter``, such as ``{"s": 4}``.

        Returns
        -------
        display : LatentSpaceDisplay
            What was drawn.
        """
        require_matplotlib(cls)
        positions, names = to_plane(as_array(codes), reduction, components, random_state)
        return cls(positions=positions, y=y, axis_names=names, images=images).plot(
            ax, thumbnails=thumbnails, scatter_kwargs=scatter_kwargs
        )

    def plot(self, ax=None, *, thumbnails=0, scatter_kwargs=None):
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        thumbnails : int, default=0
            Number of rows to draw as images, at most: those that would overlap are left out.
        scatter_kwargs : dict, default=None
            Further arguments of ``scatter``, such as ``{"s": 4}``.

        Returns
        -------
        display : LatentSpaceDisplay
            Itself.
        """
        check_natural(thumbnails, "thumbnails", least=0)
        positions, names = self._checked_positions()
        labels = None if self.y is None else Labels.of(self.y, len(positions))
        images = self._checked_images(positions) if thumbnails else None
        ax = self._open(ax, figsize=(7, 5))
        self.scatters_: list[Any] = []
        self.legend_ = self.colorbar_ = None
        self.thumbnails_: dict[int, Any] = {}
        ax.set_xlabel(names[0])
        # Large sets need small points.
        style = {"s": float(np.clip(20000 / len(positions), 5, 30)), "linewidths": 0, "alpha": 0.8}
        style |= scatter_kwargs or {}
        if positions.shape[1] == 1:
            self._plot_line(positions[:, 0], labels, style)
        else:
            ax.set_ylabel(names[1])
            self._plot_plane(positions, labels, style, images is not None)
        if images is not None:
            self._add_thumbnails(positions, images, thumbnails, labels)
        return self

    def _checked_positions(self) -> tuple[np.ndarray, list[str]]:
        positions = as_array(self.positions)
        if positions.ndim != 2 or positions.shape[1] not in (1, 2) or not len(positions):
            raise ValueError(
                f"positions must have the shape (n_samples, 1) or (n_samples, 2), got "
                f"{positions.shape}. Wider codes are for LatentSpaceDisplay.from_codes."
            )
        if self.axis_names is not None:
            return positions, list(self.axis_names)
        return positions, [f"code {axis}" for axis in range(positions.shape[1])]

    def _checked_images(self, positions: np.ndarray) -> np.ndarray:
        if self.images is None:
            raise ValueError("thumbnails need images=; there are none.")
        images = as_array(self.images)
        kind_of_array(images, "image", "images")
        if len(images) != len(positions) or positions.shape[1] != 2:
            raise ValueError(
                f"thumbnails need one image for each of {len(positions)} positions in the plane; "
                f"got {len(images)} images and positions of {positions.shape[1]} columns."
            )
        has_colors = images.ndim == 4
        limits = limits_of(images, colors=has_colors)
        return to_unit_range(images.astype(float), limits)

    def _plot_plane(
        self, positions: np.ndarray, labels: Labels | None, style: dict, has_thumbnails: bool
    ) -> None:
        """Draw points of two coordinates."""
        if labels is None:
            self.scatters_ = [self.ax_.scatter(*positions.T, **({"color": BLUE} | style))]
        elif labels.classes is None:
            points = self.ax_.scatter(
                *positions.T,
                c=labels.values,
                **({"cmap": scale_of_numbers(), "plotnonfinite": True} | style),
            )
            self.scatters_ = [points]
            self.colorbar_ = self.figure_.colorbar(points, ax=self.ax_, label=_name_of(self.y))
        else:
            self._plot_classes(positions, labels, style)
            if len(labels.classes) <= MOST_IN_LEGEND:
                self._add_legend(len(labels.classes), float((30 / np.mean(style["s"])) ** 0.5))
            if len(labels.classes) > MOST_UNNAMED and not has_thumbnails:
                self._name_classes(positions, labels)

    def _add_legend(self, n_classes: int, markerscale: float) -> None:
        """Put the names of the classes beside the points."""
        self.legend_ = self.ax_.legend(
            title=_name_of(self.y, ""),
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0,
            ncols=1 + (n_classes > MOST_IN_LEGEND // 2),
            markerscale=markerscale,
        )

    def _plot_classes(self, positions: np.ndarray, labels: Labels, style: dict) -> None:
        """Draw one collection for each class; no two have colour and marker in common."""
        for index, name in enumerate(labels.classes or []):
            own = {
                "color": COLORS[index % len(COLORS)],
                "marker": MARKERS[index % len(MARKERS)],
                "label": name,
            }
            members = positions[labels.values == index]
            self.scatters_.append(self.ax_.scatter(*members.T, **(own | style)))

    def _name_classes(self, positions: np.ndarray, labels: Labels) -> None:
        """Write the names of many classes on their points: a legend is a long way then."""
        names = labels.classes or []
        box = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.8}
        for index, place in places_for_labels(positions, labels).items():
            self.ax_.annotate(
                names[index], place, ha="center", va="center", weight="bold", bbox=box
            )

    def _plot_line(self, codes: np.ndarray, labels: Labels | None, style: dict) -> None:
        """Draw codes of one number."""
        ax = self.ax_
        if labels is None:
            ax.hist(codes, bins="auto", color=BLUE)
            ax.set_ylabel("number of rows")
        elif labels.classes is None:
            points = np.column_stack([codes, labels.values])
            self.scatters_ = [ax.scatter(*points.T, **({"color": BLUE} | style))]
            ax.set_ylabel(_name_of(self.y))
        else:
            # Points of a class would hide each other on one line; the height means nothing.
            heights = np.random.default_rng(0).uniform(-0.3, 0.3, size=len(codes))
            points = np.column_stack([codes, labels.values + heights])
            self._plot_classes(points, labels, style)
            ax.set_yticks(range(len(labels.classes)), labels.classes)
            ax.set_ylabel(_name_of(self.y, ""))
            ax.invert_yaxis()

    def _add_thumbnails(
        self, positions: np.ndarray, images: np.ndarray, n_most: int, labels: Labels | None
    ) -> None:
        """Draw images of rows that lie far enough from each other."""
        span = np.where(np.ptp(positions, axis=0) > 0, np.ptp(positions, axis=0), 1.0)
        room = 0.085 * span
        low, high = positions.min(0) - 0.55 * room, positions.max(0) + 0.55 * room
        self.ax_.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        for row in spread_evenly(positions, n_most, room):
            corner = positions[row] - 0.45 * room
            box = self.ax_.inset_axes((*corner, *(0.9 * room)), transform=self.ax_.transData)
            box.imshow(images[row], cmap="gray", vmin=0, vmax=1)
            box.set(xticks=[], yticks=[])
            if labels is not None and labels.classes is not None:
                color = COLORS[labels.values[row] % len(COLORS)]
                box.spines[:].set(color=color, linewidth=2)
            self.thumbnails_[row] = box


def _name_of(y: Any, otherwise: str = "y") -> str:
    """Return the name of a column of a frame, or another where it has none."""
    return str(getattr(y, "name", None) or otherwise)
