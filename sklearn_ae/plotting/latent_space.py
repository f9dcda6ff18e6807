"""Scatter plots of codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sklearn_ae.plotting._estimators import SplitPipeline, as_array, check_natural, count_samples
from sklearn_ae.plotting._figures import (
    BLUE,
    COLORS,
    MARKERS,
    Display,
    color_map,
    limits_of,
    require_matplotlib,
    to_unit_range,
)
from sklearn_ae.plotting._labels import Labels, choose_apart, label_positions
from sklearn_ae.plotting._reduction import to_plane
from sklearn_ae.plotting._shapes import SampleFormat, resolve_kind

MAX_IN_LEGEND = 24
"""Number of classes up to which there is a legend; a longer one would hide the points."""


MAX_LEGEND_ONLY = 8
"""Number of classes up to which the legend suffices; more are also named among the points."""


class LatentSpaceDisplay(Display):
    """Scatter plot of the codes of samples, coloured by their labels.

    Codes with two components are drawn directly. Codes with more components are reduced to their
    first two principal components, or by t-SNE. Codes with one component are drawn along the
    horizontal axis; on the vertical axis are the classes, or the numbers, of `y`. Without labels
    a histogram is drawn.

    Parameters
    ----------
    positions : array-like of shape (n_samples, 1) or (n_samples, 2)
        Positions of the points.
    y : array-like of shape (n_samples,), default=None
        Labels: classes or numbers. Strings, booleans and integers with at most 20 distinct values
        are classes, each with its own colour and marker. Floats and other integers are numbers,
        with a colour bar; NaN is grey. If there are more than eight classes, their names are also
        written among the points where they do not overlap; if there are more than 24, there is no
        legend.
    axis_names : sequence of str, default=None
        Labels of the axes. None means the columns of `positions`.
    images : array-like of shape (n_samples, height, width) or (n_samples, height, width, 3), \
            default=None
        Images of the samples, for thumbnails.

    Attributes
    ----------
    scatters_ : list of matplotlib PathCollection
        The points, one collection per class, or one for all. Empty for a histogram.
    legend_ : matplotlib Legend or None
        Legend of the classes.
    colorbar_ : matplotlib Colorbar or None
        Colour bar, if `y` are numbers.
    thumbnails_ : dict of int to matplotlib Axes
        Axes of the thumbnails, by the index of the sample.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.

    See Also
    --------
    LatentTraversalDisplay : Decoded codes on a grid of this plane.

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

    def __init__(
        self,
        *,
        positions: Any,
        y: Any = None,
        axis_names: Sequence[str] | None = None,
        images: Any = None,
    ) -> None:
        self.positions = positions
        self.y = y
        self.axis_names = axis_names
        self.images = images

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        reduction: str = "pca",
        components: int | Sequence[int] | None = None,
        thumbnails: int = 0,
        image_shape: tuple[int, ...] | str | None = None,
        random_state: int | np.random.RandomState | None = 0,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> LatentSpaceDisplay:
        """Draw the codes of samples.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted autoencoder, or fitted pipeline whose last step is one.
        X : array-like of shape (n_samples, ...)
            Samples in any format that the estimator accepts.
        y : array-like of shape (n_samples,), default=None
            Labels: classes or numbers.
        reduction : {"pca", "tsne"}, default="pca"
            How to reduce codes with more than two components to two dimensions.
        components : tuple of int, default=None
            One or two components of the code to draw instead, without reduction.
        thumbnails : int, default=0
            Maximum number of samples to draw as images. Images that would overlap others are
            omitted.
        image_shape : tuple of int or "square", default=None
            Image shape of flat samples. None means that of the training data or the network.
        random_state : int, RandomState instance or None, default=0
            Controls the randomness of the t-SNE.
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        scatter_kwargs : dict, default=None
            Additional arguments of ``scatter``, for example ``{"s": 4}``.

        Returns
        -------
        display : LatentSpaceDisplay
            The Display, already drawn.
        """
        require_matplotlib(cls)
        check_natural(thumbnails, "thumbnails", least=0)
        pipeline = SplitPipeline.of(estimator, needs="transform")
        count_samples(X)
        positions, names = to_plane(pipeline.encode(X), reduction, components, random_state)
        images = None
        if thumbnails:
            X = pipeline.flat_samples(X)
            sample_format = SampleFormat.of(pipeline.autoencoder, X.shape[1], "image", image_shape)
            images = sample_format.unfold(X)
        return cls(positions=positions, y=y, axis_names=names, images=images).plot(
            ax, thumbnails=thumbnails, scatter_kwargs=scatter_kwargs
        )

    @classmethod
    def from_codes(
        cls,
        codes: Any,
        y: Any = None,
        *,
        reduction: str = "pca",
        components: int | Sequence[int] | None = None,
        images: Any = None,
        thumbnails: int = 0,
        random_state: int | np.random.RandomState | None = 0,
        ax: Any = None,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> LatentSpaceDisplay:
        """Draw codes.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_components)
            Codes of any width.
        y : array-like of shape (n_samples,), default=None
            Labels: classes or numbers.
        reduction : {"pca", "tsne"}, default="pca"
            How to reduce codes with more than two components to two dimensions.
        components : tuple of int, default=None
            One or two components of the code to draw instead, without reduction.
        images : array-like of shape (n_samples, height, width, ...), default=None
            Images of the samples, for thumbnails.
        thumbnails : int, default=0
            Maximum number of samples to draw as images. Images that would overlap others are
            omitted.
        random_state : int, RandomState instance or None, default=0
            Controls the randomness of the t-SNE.
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        scatter_kwargs : dict, default=None
            Additional arguments of ``scatter``, for example ``{"s": 4}``.

        Returns
        -------
        display : LatentSpaceDisplay
            The Display, already drawn.
        """
        require_matplotlib(cls)
        positions, names = to_plane(as_array(codes), reduction, components, random_state)
        return cls(positions=positions, y=y, axis_names=names, images=images).plot(
            ax, thumbnails=thumbnails, scatter_kwargs=scatter_kwargs
        )

    def plot(
        self,
        ax: Any = None,
        *,
        thumbnails: int = 0,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> LatentSpaceDisplay:
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        thumbnails : int, default=0
            Maximum number of samples to draw as images. Images that would overlap others are
            omitted.
        scatter_kwargs : dict, default=None
            Additional arguments of ``scatter``, for example ``{"s": 4}``.

        Returns
        -------
        display : LatentSpaceDisplay
            The Display itself.
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
        # Many points must be small to be distinguishable.
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
                f"{positions.shape}. For codes with more components use "
                f"LatentSpaceDisplay.from_codes."
            )
        if self.axis_names is not None:
            return positions, list(self.axis_names)
        return positions, [f"code {axis}" for axis in range(positions.shape[1])]

    def _checked_images(self, positions: np.ndarray) -> np.ndarray:
        if self.images is None:
            raise ValueError("thumbnails need images; pass images= to LatentSpaceDisplay.")
        images = as_array(self.images)
        resolve_kind(images, "image", "images")
        if len(images) != len(positions) or positions.shape[1] != 2:
            raise ValueError(
                f"thumbnails need one image for each of {len(positions)} positions in the plane; "
                f"got {len(images)} images and positions with {positions.shape[1]} columns."
            )
        has_colors = images.ndim == 4
        limits = limits_of(images, colors=has_colors)
        return to_unit_range(images.astype(float), limits)

    def _plot_plane(
        self,
        positions: np.ndarray,
        labels: Labels | None,
        style: dict[str, Any],
        has_thumbnails: bool,
    ) -> None:
        """Draw points in the plane."""
        if labels is None:
            self.scatters_ = [self.ax_.scatter(*positions.T, **({"color": BLUE} | style))]
        elif labels.classes is None:
            points = self.ax_.scatter(
                *positions.T,
                c=labels.values,
                **({"cmap": color_map(), "plotnonfinite": True} | style),
            )
            self.scatters_ = [points]
            self.colorbar_ = self.figure_.colorbar(points, ax=self.ax_, label=_name_of(self.y))
        else:
            self._plot_classes(positions, labels, style)
            if len(labels.classes) <= MAX_IN_LEGEND:
                self._add_legend(len(labels.classes), float((30 / np.mean(style["s"])) ** 0.5))
            if len(labels.classes) > MAX_LEGEND_ONLY and not has_thumbnails:
                self._name_classes(positions, labels)

    def _add_legend(self, n_classes: int, markerscale: float) -> None:
        """Add a legend of the classes on the right of the points."""
        self.legend_ = self.ax_.legend(
            title=_name_of(self.y, ""),
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0,
            ncols=1 + (n_classes > MAX_IN_LEGEND // 2),
            markerscale=markerscale,
        )

    def _plot_classes(self, positions: np.ndarray, labels: Labels, style: dict[str, Any]) -> None:
        """Draw one collection per class, each with another pair of colour and marker."""
        for index, name in enumerate(labels.classes or []):
            own = {
                "color": COLORS[index % len(COLORS)],
                "marker": MARKERS[index % len(MARKERS)],
                "label": name,
            }
            members = positions[labels.values == index]
            self.scatters_.append(self.ax_.scatter(*members.T, **(own | style)))

    def _name_classes(self, positions: np.ndarray, labels: Labels) -> None:
        """Write the names of many classes among their points, because a legend is too long."""
        names = labels.classes or []
        box = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.8}
        for index, position in label_positions(positions, labels).items():
            self.ax_.annotate(
                names[index], position, ha="center", va="center", weight="bold", bbox=box
            )

    def _plot_line(self, codes: np.ndarray, labels: Labels | None, style: dict[str, Any]) -> None:
        """Draw codes with one component."""
        ax = self.ax_
        if labels is None:
            ax.hist(codes, bins="auto", color=BLUE)
            ax.set_ylabel("number of samples")
        elif labels.classes is None:
            points = np.column_stack([codes, labels.values])
            self.scatters_ = [ax.scatter(*points.T, **({"color": BLUE} | style))]
            ax.set_ylabel(_name_of(self.y))
        else:
            # On one line the points of a class would hide each other; random heights separate
            # them.
            heights = np.random.default_rng(0).uniform(-0.3, 0.3, size=len(codes))
            points = np.column_stack([codes, labels.values + heights])
            self._plot_classes(points, labels, style)
            ax.set_yticks(range(len(labels.classes)), labels.classes)
            ax.set_ylabel(_name_of(self.y, ""))
            ax.invert_yaxis()

    def _add_thumbnails(
        self, positions: np.ndarray, images: np.ndarray, n_max: int, labels: Labels | None
    ) -> None:
        """Draw images of samples that are far enough from each other."""
        span = np.where(np.ptp(positions, axis=0) > 0, np.ptp(positions, axis=0), 1.0)
        # A thumbnail fills 0.9 of its room; the axes extend half a thumbnail past the points.
        room = 0.085 * span
        low, high = positions.min(0) - 0.55 * room, positions.max(0) + 0.55 * room
        self.ax_.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        for sample in choose_apart(positions, n_max, room):
            corner = positions[sample] - 0.45 * room
            box = self.ax_.inset_axes((*corner, *(0.9 * room)), transform=self.ax_.transData)
            box.imshow(images[sample], cmap="gray", vmin=0, vmax=1)
            box.set(xticks=[], yticks=[])
            if labels is not None and labels.classes is not None:
                color = COLORS[labels.values[sample] % len(COLORS)]
                box.spines[:].set(color=color, linewidth=2)
            self.thumbnails_[sample] = box


def _name_of(y: Any, otherwise: str = "y") -> str:
    """Return the name of a pandas or polars column, or `otherwise` if there is none."""
    return str(getattr(y, "name", None) or otherwise)
