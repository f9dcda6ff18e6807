"""Plots of the score of a denoising autoencoder."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from sklearn_ae.plotting._estimators import SplitPipeline, as_array, check_natural
from sklearn_ae.plotting._figures import GREY, Display, color_map, require_matplotlib


class ScoreFieldDisplay(Display):
    """Score of a denoising autoencoder as arrows, for samples with two features.

    Each arrow points in the direction in which the density of the noisy data increases. Its
    colour is the norm of the gradient of the log-density. Its length is proportional to the
    square root of this norm, up to the distance between two arrows: with lengths proportional to
    the norm, the arrows far from the samples would hide all others.

    Parameters
    ----------
    points : array-like of shape (n_points, 2)
        Start of each arrow.
    arrows : array-like of shape (n_points, 2)
        Gradient of the log-density at each point.
    X : array-like of shape (n_samples, 2), default=None
        Samples to draw below the arrows.
    feature_names : sequence of two str, default=None
        Labels of the axes. None means ``"feature 0"`` and ``"feature 1"``.

    Attributes
    ----------
    quiver_ : matplotlib Quiver
        The arrows.
    scatter_ : matplotlib PathCollection or None
        The samples.
    colorbar_ : matplotlib Colorbar
        Colour bar of the norm of the gradient.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from sklearn_ae import DenoisingAutoencoder
    >>> from sklearn_ae.plotting import ScoreFieldDisplay
    >>> t = np.random.default_rng(0).uniform(0, 2 * np.pi, size=300)
    >>> X = np.column_stack([np.cos(t), np.sin(t)])
    >>> denoiser = DenoisingAutoencoder(2, noise_level=0.2, max_iter=20, random_state=0).fit(X)
    >>> display = ScoreFieldDisplay.from_estimator(denoiser, X, grid_size=10)
    >>> display.arrows.shape
    (100, 2)
    """

    def __init__(
        self,
        *,
        points: Any,
        arrows: Any,
        X: Any = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self.points = points
        self.arrows = arrows
        self.X = X
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        grid_size: int = 20,
        margin: float = 0.15,
        ax: Any = None,
        longest: float | None = None,
    ) -> ScoreFieldDisplay:
        """Draw the score of a fitted autoencoder on a grid over the samples.

        Parameters
        ----------
        estimator : DenoisingAutoencoder
            Fitted under Gaussian noise and squared error.
        X : array-like of shape (n_samples, 2)
            Samples to draw. The grid covers their range.
        grid_size : int, default=20
            Number of arrows along the axis with the larger range.
        margin : float, default=0.15
            Extension of the grid beyond the samples, as a fraction of their range.
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        longest : float, default=None
            As in `plot`.

        Returns
        -------
        display : ScoreFieldDisplay
            The Display, already drawn.
        """
        require_matplotlib(cls)
        pipeline = SplitPipeline.of(estimator, needs="score_field")
        if pipeline.steps is not None:
            raise ValueError(
                "The score is in the units of the denoiser's input, after the other steps of the "
                "pipeline. Pass pipeline[-1] and pipeline[:-1].transform(X)."
            )
        samples = _in_plane(pipeline.flat_samples(X), "X")
        check_natural(grid_size, "grid_size", least=2)
        points = _grid_over(samples, grid_size, margin)
        with warnings.catch_warnings():
            # After a fit on a dataframe the grid has no feature names; the user cannot help it.
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            arrows = as_array(pipeline.autoencoder.score_field(pipeline.as_fitted_type(points)))
        names = getattr(pipeline.autoencoder, "feature_names_in_", None)
        return cls(points=points, arrows=arrows, X=samples, feature_names=names).plot(
            ax, longest=longest
        )

    def plot(self, ax: Any = None, *, longest: float | None = None) -> ScoreFieldDisplay:
        """Draw the arrows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        longest : float, default=None
            Length of the longest arrows in units of the axes. None means 0.9 times the distance
            between points.

        Returns
        -------
        display : ScoreFieldDisplay
            The Display itself.
        """
        points, arrows = self._checked_arrows()
        X = None if self.X is None else _in_plane(self.X, "X")
        ax = self._open(ax, figsize=(6.4, 5))
        self.scatter_ = None
        if X is not None:
            self.scatter_ = ax.scatter(*X.T, s=9, color=GREY, alpha=0.5, linewidths=0)
        norms = np.linalg.norm(arrows, axis=1)
        self.quiver_ = ax.quiver(
            *points.T,
            *_shorten(arrows, norms, longest or 0.9 * _distance(points)).T,
            norms,
            cmap=color_map(),
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.004,
        )
        self._label(ax)
        return self

    def _checked_arrows(self) -> tuple[np.ndarray, np.ndarray]:
        points, arrows = _in_plane(self.points, "points"), as_array(self.arrows)
        if arrows.shape != points.shape:
            raise ValueError(
                f"arrows must have the shape of points, one for each of the points: "
                f"{points.shape}; got {arrows.shape}."
            )
        return points, arrows

    def _label(self, ax: Any) -> None:
        """Label the axes and the colour bar, and make the units of both axes equally long."""
        names = ["feature 0", "feature 1"] if self.feature_names is None else self.feature_names
        ax.set(xlabel=names[0], ylabel=names[1])
        # Otherwise the drawn directions would not be those of the gradient.
        ax.set_aspect("equal", adjustable="datalim")
        self.colorbar_ = self.figure_.colorbar(
            self.quiver_, ax=ax, label="norm of the log-density's gradient"
        )


def _in_plane(points: Any, name: str) -> np.ndarray:
    """Validate points with two features and return them as an array."""
    points = as_array(points)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(
            f"{name} must have two features to be drawn in the plane, got the shape "
            f"{points.shape}."
        )
    return np.asarray(points)


def _grid_over(samples: np.ndarray, grid_size: int, margin: float) -> np.ndarray:
    """Return the points of a grid over the range of the samples, extended by a margin."""
    low, high = samples.min(0), samples.max(0)
    # If all samples are equal, the grid is as large as for a range of one.
    half = (0.5 + margin) * ((high - low) if (high > low).any() else np.ones(2))
    # Steps are equal along both axes, so the grid may extend farther along the shorter one. The
    # small number keeps rounding errors from adding a step.
    step = 2 * half.max() / (grid_size - 1)
    counts = np.maximum(np.ceil(2 * half / step - 1e-9), 1)
    sides = [
        middle + step * (np.arange(count + 1) - count / 2)
        for middle, count in zip((low + high) / 2, counts, strict=True)
    ]
    return np.stack(np.meshgrid(*sides), -1).reshape(-1, 2)


def _distance(points: np.ndarray) -> float:
    """Return the distance between neighbouring points, as if they were evenly spaced."""
    spans = np.ptp(points, axis=0)
    n_points = max(len(points), 2)
    if spans.min() > 0:
        return float(min(spans) / max(n_points**0.5 - 1, 1))
    return float(max(spans) / (n_points - 1)) or 1.0


def _shorten(arrows: np.ndarray, norms: np.ndarray, longest: float) -> np.ndarray:
    """Scale arrows to the square root of their norms; the longest tenth gets one length."""
    reference = np.quantile(norms, 0.9) or norms.max() or 1.0
    lengths = longest * np.sqrt(np.minimum(norms / reference, 1.0))
    # Arrows of length zero stay so.
    shortened: np.ndarray = arrows * (lengths / np.where(norms > 0, norms, 1.0))[:, None]
    return shortened
