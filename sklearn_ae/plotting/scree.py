"""Plots of the variance that is explained with one, two and more components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

from sklearn_ae.plotting._estimators import SplitPipeline, as_array
from sklearn_ae.plotting._figures import COLORS, MARKERS, Display, require_matplotlib


class ScreeDisplay(Display):
    """Explained variance ratio with one, two and more components of ordered codes.

    The plot shows how many components are needed, and what a non-linear code gains over PCA with
    as many.

    Parameters
    ----------
    ratios : dict of str to array-like of shape (n_components,)
        Increments of the explained variance ratio by each component, as in the attribute
        ``explained_variance_ratio_`` of PCA and of an autoencoder with an ordered code, by the
        name of the curve.

    Attributes
    ----------
    lines_ : dict of matplotlib Line2D
        Curves by their names.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.

    See Also
    --------
    LatentSpaceDisplay : The codes themselves, in two dimensions.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import Autoencoder
    >>> from sklearn_ae.plotting import ScreeDisplay
    >>> X = load_iris().data
    >>> autoencoder = Autoencoder(3, ordered=True, max_iter=20, random_state=0).fit(X)
    >>> display = ScreeDisplay.from_estimator(autoencoder, X)
    >>> list(display.lines_)
    ['Autoencoder', 'PCA']
    """

    def __init__(self, *, ratios: dict[str, Any]) -> None:
        self.ratios = ratios

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any = None, *, ax: Any = None, cumulative: bool = True
    ) -> ScreeDisplay:
        """Draw the curve of a fitted autoencoder beside that of PCA.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted autoencoder with an ordered code, or fitted pipeline whose last step is one.
        X : array-like of shape (n_samples, n_features), default=None
            Samples on which both are evaluated. PCA is fitted on them, so that its curve is the
            highest of all linear maps. If None, the curve of the autoencoder is that of its
            `explained_variance_ratio_`, and PCA is not drawn.
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        cumulative : bool, default=True
            As in `plot`.

        Returns
        -------
        display : ScreeDisplay
            The Display, already drawn.
        """
        require_matplotlib(cls)
        pipeline = _with_ratios(estimator)
        last = pipeline.autoencoder
        ratios = {type(last).__name__: last.explained_variance_ratio_}
        if X is not None:
            samples = pipeline.preprocess(X)
            flat = SplitPipeline(None, last).flat_samples(samples)
            ratios = {type(last).__name__: _ratios_on(last, samples, flat)}
            n_components = min(len(ratios[type(last).__name__]), *flat.shape)
            ratios["PCA"] = PCA(n_components).fit(flat).explained_variance_ratio_
        return cls(ratios=ratios).plot(ax, cumulative=cumulative)

    @classmethod
    def from_estimators(
        cls,
        estimators: Sequence[Any],
        *,
        names: Sequence[str] | None = None,
        ax: Any = None,
        cumulative: bool = True,
    ) -> ScreeDisplay:
        """Draw the curves of several fitted estimators.

        Parameters
        ----------
        estimators : sequence of estimator or Pipeline
            Fitted estimators with the attribute ``explained_variance_ratio_``, such as PCA and
            autoencoders with ordered codes, or pipelines whose last step is one. That of PCA is
            evaluated on its training samples, that of an autoencoder on its held-out samples.
        names : sequence of str, default=None
            Names of the curves. If None, the names of the classes, numbered if they are equal.
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        cumulative : bool, default=True
            As in `plot`.

        Returns
        -------
        display : ScreeDisplay
            The Display, already drawn.
        """
        require_matplotlib(cls)
        last = [_with_ratios(each).autoencoder for each in estimators]
        if names is None:
            names = _distinct_names([type(each).__name__ for each in last])
        if len(names) != len(last) or len(set(names)) != len(names):
            raise ValueError(
                f"names must be one different name for each of the {len(last)} estimators, got "
                f"{list(names)}."
            )
        ratios = {
            name: each.explained_variance_ratio_ for name, each in zip(names, last, strict=True)
        }
        return cls(ratios=ratios).plot(ax, cumulative=cumulative)

    def plot(self, ax: Any = None, *, cumulative: bool = True) -> ScreeDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        cumulative : bool, default=True
            Whether to draw the explained variance ratio of the first components together, or the
            increment by each component.

        Returns
        -------
        display : ScreeDisplay
            The Display itself.
        """
        ax = self._open(ax, figsize=(6, 4))
        self.lines_ = {}
        for place, (name, ratios) in enumerate(self.ratios.items()):
            values = as_array(ratios)
            if values.ndim != 1 or not len(values):
                raise ValueError(
                    f"ratios must have one value for each component, but those of {name!r} have "
                    f"the shape {values.shape}."
                )
            (self.lines_[name],) = ax.plot(
                np.arange(1, len(values) + 1),
                values.cumsum() if cumulative else values,
                label=name,
                color=COLORS[place % len(COLORS)],
                marker=MARKERS[place % len(MARKERS)],
                markersize=4,
            )
        ax.set(
            xlabel="components" if cumulative else "component",
            ylabel="explained variance ratio" + ("" if cumulative else ", increment"),
        )
        ax.xaxis.get_major_locator().set_params(integer=True)
        if cumulative:
            ax.set_ylim(top=1.02)
        ax.legend()
        return self


def _with_ratios(estimator: Any) -> SplitPipeline:
    """Split a fitted estimator whose last step explains a ratio by each component."""
    needs = "explained_variance_ratio_"
    return SplitPipeline.of(estimator, needs, having="with ordered=True")


def _distinct_names(names: list[str]) -> list[str]:
    """Number the names that occur more than once."""
    return [
        f"{name} {names[: place + 1].count(name)}" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _ratios_on(estimator: Any, samples: Any, flat: np.ndarray) -> np.ndarray:
    """Return the increments of the explained variance ratio on given samples."""
    codes = as_array(estimator.transform(samples))
    n_components = len(estimator.explained_variance_ratio_)
    pipeline = SplitPipeline(None, estimator)
    errors = []
    for number in range(1, n_components + 1):
        truncated = codes.copy()
        truncated[:, number:n_components] = 0
        errors.append(np.square(flat - pipeline.decode(truncated)).sum())
    explained = 1 - np.array(errors) / np.square(flat - flat.mean(0)).sum()
    return np.diff(explained, prepend=0)
