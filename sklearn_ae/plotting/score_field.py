"""Where a denoising autoencoder takes points of the plane."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from sklearn_ae.plotting._estimators import Chain, as_array, check_natural
from sklearn_ae.plotting._figures import GREY, Display, require_matplotlib, scale_of_numbers


class ScoreFieldDisplay(Display):
    """Arrows of a denoising autoencoder over rows of two features.

    An arrow points to where the density of the rows grows. Its colour says how steeply. Its
    length grows with that too, but as the square root and only up to the distance of two
    arrows: drawn as they are, those far from the rows would cover all others.

    Parameters
    ----------
    points : array-like of shape (n_points, 2)
        Where arrows start.
    arrows : array-like of shape (n_points, 2)
        The gradient of the log-density there.
    X : array-like of shape (n_samples, 2), default=None
        Rows to draw beneath.
    feature_names : sequence of two str, default=None
        What to call the axes.

    Attributes
    ----------
    quiver_ : matplotlib Quiver
        The arrows.
    scatter_ : matplotlib PathCollection or None
        The rows beneath.
    colorbar_ : matplotlib Colorbar
        The scale of the gradient's size.
    ax_ : matplotlib Axes
        What it is drawn on.
    figure_ : matplotlib Figure
        What these belong to.

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

    def __init__(self, *, points, arrows, X=None, feature_names=None):
        self.points = points
        self.arrows = arrows
        self.X = X
        self.feature_names = feature_names

    @classmethod
    def from_estimator(cls, estimator, X, *, grid_size=20, margin=0.15, ax=None, longest=None):
        """Draw the score field of a fitted autoencoder on a grid over the rows.

        Parameters
        ----------
        estimator : DenoisingAutoencoder
            Fitted under Gaussian noise and squared error.
        X : array-like of shape (n_samples, 2)
            Rows to draw, and to lay the grid over.
        grid_size : int, default=20
            Number of arrows along the axis on which the rows spread farther.
        margin : float, default=0.15
            How far the grid goes past the rows, as a share of their range.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        longest : float, default=None
            As in `plot`.

        Returns
        -------
        display : ScoreFieldDisplay
            What was drawn.
        """
        require_matplotlib(cls)
        chain = Chain.of(estimator, needs="score_field")
        if chain.steps is not None:
            raise ValueError(
                "The score field lives in the units that the denoiser sees, behind the other "
                "steps of the pipeline. Pass pipeline[-1] and pipeline[:-1].transform(X)."
            )
        rows = _in_plane(chain.rows(X), "X")
        check_natural(grid_size, "grid_size", least=2)
        points = _grid_over(rows, grid_size, margin)
        with warnings.catch_warnings():
            # The points are not the user's, who may well have fitted on a frame.
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            arrows = as_array(chain.autoencoder.score_field(chain.as_fitted(points)))
        names = getattr(chain.autoencoder, "feature_names_in_", None)
        return cls(points=points, arrows=arrows, X=rows, feature_names=names).plot(
            ax, longest=longest
        )

    def plot(self, ax=None, *, longest=None):
        """Draw the arrows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        longest : float, default=None
            Length of the longest arrows, in units of the axes. None: nine tenths of the
            distance between points.

        Returns
        -------
        display : ScoreFieldDisplay
            Itself.
        """
        points, arrows = self._checked_arrows()
        X = None if self.X is None else _in_plane(self.X, "X")
        ax = self._open(ax, figsize=(6.4, 5))
        self.scatter_ = None
        if X is not None:
            self.scatter_ = ax.scatter(*X.T, s=9, color=GREY, alpha=0.5, linewidths=0)
        sizes = np.linalg.norm(arrows, axis=1)
        self.quiver_ = ax.quiver(
            *points.T,
            *_shorten(arrows, sizes, longest or 0.9 * _distance(points)).T,
            sizes,
            cmap=scale_of_numbers(),
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
                f"arrows must be one for each of the points, of shape {points.shape}; got "
                f"{arrows.shape}."
            )
        return points, arrows

    def _label(self, ax: Any) -> None:
        """Name the axes and the colours; one unit is as long to the right as upwards."""
        names = ["feature 0", "feature 1"] if self.feature_names is None else self.feature_names
        ax.set(xlabel=names[0], ylabel=names[1])
        # Directions on paper are those of the field only so.
        ax.set_aspect("equal", adjustable="datalim")
        self.colorbar_ = self.figure_.colorbar(
            self.quiver_, ax=ax, label="size of the log-density's gradient"
        )


def _in_plane(rows: Any, name: str) -> np.ndarray:
    """Return points as an array of two columns."""
    rows = as_array(rows)
    if rows.ndim != 2 or rows.shape[1] != 2:
        raise ValueError(
            f"{name} must have two features to be drawn in the plane, got the shape {rows.shape}."
        )
    return rows


def _grid_over(rows: np.ndarray, grid_size: int, margin: float) -> np.ndarray:
    """Return the points of a grid over the range of the rows and some way past it."""
    low, high = rows.min(0), rows.max(0)
    half = (0.5 + margin) * ((high - low) if (high > low).any() else np.ones(2))
    # Steps are the same along both axes, and those of the shorter one end past the rows.
    step = 2 * half.max() / (grid_size - 1)
    counts = np.maximum(np.ceil(2 * half / step - 1e-9), 1)
    sides = [
        middle + step * (np.arange(count + 1) - count / 2)
        for middle, count in zip((low + high) / 2, counts, strict=True)
    ]
    return np.stack(np.meshgrid(*sides), -1).reshape(-1, 2)


def _distance(points: np.ndarray) -> float:
    """Return how far apart neighbouring points are, were they spread evenly."""
    spans = np.ptp(points, axis=0)
    n_points = max(len(points), 2)
    if spans.min() > 0:
        return float(min(spans) / max(n_points**0.5 - 1, 1))
    return float(max(spans) / (n_points - 1)) or 1.0


def _shorten(arrows: np.ndarray, sizes: np.ndarray, longest: float) -> np.ndarray:
    """Scale arrows by the root of their size; a tenth of them, the longest, to `longest`."""
    reference = np.quantile(sizes, 0.9) or sizes.max() or 1.0
    lengths = longest * np.sqrt(np.minimum(sizes / reference, 1.0))
    return arrows * (lengths / np.where(sizes > 0, sizes, 1.0))[:, None]
