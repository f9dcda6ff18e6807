"""Plots of the losses over the epochs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sklearn_ae.plotting._estimators import SplitPipeline
from sklearn_ae.plotting._figures import (
    BLUE,
    COLORS,
    GREY,
    ORANGE,
    Display,
    require_matplotlib,
)

Curve = tuple[list[float], list[float]]
"""Epochs and values."""


class LossCurveDisplay(Display):
    """Losses over the epochs, with all terms and the epoch whose weights were kept.

    The plot shows whether training has converged, whether it overfits (the held-out loss
    increases while the training loss decreases) and whether a term has no effect (a ``"kl"`` of
    zero).

    Parameters
    ----------
    history : list of dict
        One entry per epoch, as in the attribute ``history_`` of a fitted estimator: ``"epoch"``,
        ``"train_loss"``, its terms by name and, if samples were held out, ``"valid_loss"`` and
        ``"valid_score"``.
    best_epoch : int, default=None
        Value of ``"epoch"`` of the entry whose weights were kept. If None, it is not shown.

    Attributes
    ----------
    lines_ : dict of matplotlib Line2D
        Curves by their names in `history`.
    best_line_ : matplotlib Line2D or None
        Vertical line at `best_epoch`.
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the plot.

    See Also
    --------
    ReconstructionDisplay : Samples, their reconstructions and the errors.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import VariationalAutoencoder
    >>> from sklearn_ae.plotting import LossCurveDisplay
    >>> X = load_iris().data
    >>> autoencoder = VariationalAutoencoder(2, max_iter=20, random_state=0).fit(X)
    >>> display = LossCurveDisplay.from_estimator(autoencoder)
    >>> sorted(display.lines_)
    ['kl', 'reconstruction', 'train_loss', 'valid_loss']
    """

    _NAMES: ClassVar[dict[str, str]] = {
        "train_loss": "training loss",
        "valid_loss": "held-out loss",
        "valid_score": "held-out variance explained",
    }

    def __init__(self, *, history: list[dict[str, Any]], best_epoch: int | None = None) -> None:
        self.history = history
        self.best_epoch = best_epoch

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any = None,
        *,
        ax: Any = None,
        scale: str = "auto",
        score: bool = False,
    ) -> LossCurveDisplay:
        """Draw the losses of a fitted estimator.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted autoencoder, or fitted pipeline whose last step is one.
        X : None
            Ignored; present for consistency with other Displays.
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        scale : {"auto", "log", "symlog", "linear"}, default="auto"
            As in `plot`.
        score : bool, default=False
            As in `plot`.

        Returns
        -------
        display : LossCurveDisplay
            The Display, already drawn.
        """
        require_matplotlib(cls)
        last = SplitPipeline.of(estimator, needs="history_").autoencoder
        best_epoch = getattr(last, "best_epoch_", None)
        if best_epoch is not None:
            # best_epoch_ counts the epochs of the last call, the history those of all calls.
            best_epoch += len(last.history_) - last.n_iter_
        return cls(history=last.history_, best_epoch=best_epoch).plot(ax, scale=scale, score=score)

    def plot(
        self, ax: Any = None, *, scale: str = "auto", score: bool = False
    ) -> LossCurveDisplay:
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        scale : {"auto", "log", "symlog", "linear"}, default="auto"
            Scale of the losses. ``"symlog"`` is linear around zero and logarithmic elsewhere, so
            that it can show zero and negative values. ``"auto"`` is ``"linear"`` unless the
            training loss falls to a tenth, or the maximum of a curve is less than a thirtieth of
            that of another; then it is ``"log"``, or ``"symlog"`` if values are zero or negative.
        score : bool, default=False
            Whether to add the fraction of variance explained of the held-out samples, with an
            axis on the right.

        Returns
        -------
        display : LossCurveDisplay
            The Display itself.
        """
        curves = self._curves()
        scale, linear_width = _choose_scale(scale, curves)
        ax = self._open(ax, figsize=(7, 4))
        self.lines_ = {}
        for name, (epochs, values) in curves.items():
            (self.lines_[name],) = ax.plot(epochs, values, **self._style(name, len(epochs)))
        options = {"linthresh": linear_width} if scale == "symlog" else {}
        ax.set_yscale(scale, **options)
        note = f" (linear between ±{linear_width:.1g})" if scale == "symlog" else ""
        ax.set(xlabel="epoch", ylabel=f"loss{note}")
        ax.xaxis.get_major_locator().set_params(integer=True)
        self._mark_best(ax)
        if score:
            self._add_score(ax)
        lines = [*self.lines_.values(), *([self.best_line_] if self.best_line_ else [])]
        # Above the axes, because inside it would hide some of the curves.
        ax.legend(handles=lines, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        return self

    def _curves(self) -> dict[str, Curve]:
        """Return epochs and values of each curve; a term that equals the loss is left out."""
        if not self.history or "train_loss" not in self.history[0]:
            raise ValueError(
                'history must have an entry for each epoch with "epoch" and "train_loss", like '
                "the history_ of a fitted autoencoder."
            )
        names = list(dict.fromkeys(name for entry in self.history for name in entry))
        terms = [
            name
            for name in names
            if name not in {"epoch", *self._NAMES}
            and not name.startswith("valid_loss_")
            and not name.startswith("event_")  # added by callbacks of skorch
            and any(entry.get(name) not in (None, entry["train_loss"]) for entry in self.history)
        ]
        losses = ["train_loss", *(["valid_loss"] if "valid_loss" in names else []), *terms]
        return {name: self._curve(name) for name in losses}

    def _curve(self, name: str) -> Curve:
        """Return the epochs that have an entry of this name, and its values."""
        entries = [entry for entry in self.history if name in entry]
        return [entry["epoch"] for entry in entries], [entry[name] for entry in entries]

    def _style(self, name: str, n_epochs: int) -> dict[str, Any]:
        """Return label, colour and dashes; the lines of the terms are thinner than the totals."""
        label = self._NAMES.get(name, name)
        # A line through a single point would be invisible.
        marker = "o" if n_epochs == 1 else None
        if name == "train_loss":
            return {"label": label, "color": BLUE, "lw": 2, "marker": marker}
        if name == "valid_loss":
            return {"label": label, "color": ORANGE, "lw": 2, "ls": "--", "marker": marker}
        position = len(self.lines_) - 1 - ("valid_loss" in self.lines_)
        dashes = ("-.", ":", (0, (5, 1, 1, 1, 1, 1)))
        return {
            "label": label,
            "color": COLORS[2 + position % 3],
            "lw": 1.4,
            "ls": dashes[position % 3],
            "marker": marker,
        }

    def _mark_best(self, ax: Any) -> None:
        """Draw a vertical line at the epoch whose weights were kept."""
        self.best_line_ = None
        if self.best_epoch is None:
            return
        first = self.history[0]["epoch"]
        what = "start" if self.best_epoch < first else f"epoch {self.best_epoch}"
        self.best_line_ = ax.axvline(
            self.best_epoch, color=GREY, lw=1, label=f"weights kept: {what}", zorder=0
        )

    def _add_score(self, ax: Any) -> None:
        """Draw the fraction of variance explained, with an axis on the right."""
        epochs, values = self._curve("valid_score")
        if not epochs:
            raise ValueError(
                'score=True needs samples that were held out, but history has no "valid_score". '
                "Fit with early_stopping=True or X_val, or set score=False."
            )
        right = ax.twinx()
        (line,) = right.plot(epochs, values, color="black", lw=1.4, ls=(0, (1, 2)))
        line.set_label(f"{self._NAMES['valid_score']} (right axis)")
        right.set_ylabel(self._NAMES["valid_score"])
        self.lines_["valid_score"] = line


def _choose_scale(scale: str, curves: dict[str, Curve]) -> tuple[str, float]:
    """Return the scale to use, and where ``"symlog"`` turns from linear to logarithmic."""
    minima = {name: float(np.nanmin(values)) for name, (_, values) in curves.items()}
    all_positive = min(minima.values()) > 0
    peaks = [
        peak for _, values in curves.values() if (peak := float(np.nanmax(np.abs(values)))) > 0
    ]
    total = curves["train_loss"][1]
    # From the maxima of the terms, not their minima: a term that starts at zero, such as "kl",
    # would otherwise extend the logarithmic part so far that the other curves look flat.
    smallest = min([*peaks, *(value for value in total if value > 0)], default=1.0)
    linear_width = float(10 ** np.floor(np.log10(smallest)))
    if scale == "auto":
        is_steep = minima["train_loss"] > 0 and np.nanmax(total) >= 10 * minima["train_loss"]
        is_wide = max(peaks, default=1.0) >= 30 * min(peaks, default=1.0)
        scale = "linear" if not (is_steep or is_wide) else "log" if all_positive else "symlog"
    if scale not in ("log", "symlog", "linear"):
        raise ValueError(f'scale must be "auto", "log", "symlog" or "linear", got {scale!r}.')
    if scale == "log" and not all_positive:
        lowest = min(minima, key=lambda name: minima[name])
        raise ValueError(
            f'scale="log" cannot show zero or negative values, but {lowest!r} falls to '
            f'{minima[lowest]:.3g}. Use scale="symlog".'
        )
    return scale, linear_width
