"""How training went: every named loss term over the epochs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from sklearn_ae.plotting._estimators import Chain
from sklearn_ae.plotting._figures import (
    BLUE,
    COLORS,
    GREY,
    ORANGE,
    Display,
    require_matplotlib,
)


class LossCurveDisplay(Display):
    """Loss over the epochs, term by term, with the epoch whose weights were kept.

    Read off it whether training has settled, whether it overfits (the held-out loss rises
    while that of the training falls) and whether a term is dead (a ``"kl"`` at zero).

    Parameters
    ----------
    history : list of dict
        One entry an epoch: ``"epoch"``, ``"train_loss"``, its terms by name, and where rows
        were held out ``"valid_loss"`` and ``"valid_score"``. As ``history_`` has it.
    best_epoch : int, default=None
        Epoch whose weights were kept, as the entries count. None: not shown.

    Attributes
    ----------
    lines_ : dict of matplotlib Line2D
        The curves by their names in `history`.
    best_line_ : matplotlib Line2D or None
        The upright line at `best_epoch`.
    ax_ : matplotlib Axes
        What it is drawn on.
    figure_ : matplotlib Figure
        What these belong to.

    See Also
    --------
    ReconstructionDisplay : What the loss is about.

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

    def __init__(self, *, history, best_epoch=None):
        self.history = history
        self.best_epoch = best_epoch

    @classmethod
    def from_estimator(cls, estimator, X=None, *, ax=None, scale="auto", score=False):
        """Draw the losses of a fitted estimator.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted autoencoder, or a fitted pipeline that ends in one.
        X : None
            Ignored; it is there because other Displays have it.
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        scale : {"auto", "log", "symlog", "linear"}, default="auto"
            As in `plot`.
        score : bool, default=False
            As in `plot`.

        Returns
        -------
        display : LossCurveDisplay
            What was drawn.
        """
        require_matplotlib(cls)
        last = Chain.of(estimator, needs="history_").autoencoder
        best_epoch = getattr(last, "best_epoch_", None)
        if best_epoch is not None:
            # It counts from the start of the last call, the history from that of the first.
            best_epoch += len(last.history_) - last.n_iter_
        return cls(history=last.history_, best_epoch=best_epoch).plot(ax, scale=scale, score=score)

    def plot(self, ax=None, *, scale="auto", score=False):
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a new figure.
        scale : {"auto", "log", "symlog", "linear"}, default="auto"
            Scale of the losses. ``"symlog"`` is logarithmic away from zero and linear around
            it, so that zero and less have a place. ``"auto"`` is linear unless the training
            loss falls to a tenth or a curve is everywhere less than a thirtieth of another,
            and then ``"log"``, or ``"symlog"`` where there is zero or less.
        score : bool, default=False
            Whether to add the share of the held-out rows' variance explained, on an axis of
            its own on the right.

        Returns
        -------
        display : LossCurveDisplay
            Itself.
        """
        curves = self._curves()
        scale, bend = _choose_scale(scale, curves)
        ax = self._open(ax, figsize=(7, 4))
        self.lines_ = {}
        for name, (epochs, values) in curves.items():
            (self.lines_[name],) = ax.plot(epochs, values, **self._style(name, len(epochs)))
        options = {"linthresh": bend} if scale == "symlog" else {}
        ax.set_yscale(scale, **options)
        around = f" (linear between ±{bend:.1g})" if scale == "symlog" else ""
        ax.set(xlabel="epoch", ylabel=f"loss{around}")
        ax.xaxis.get_major_locator().set_params(integer=True)
        self._mark_best(ax)
        if score:
            self._add_score(ax)
        lines = [*self.lines_.values(), *([self.best_line_] if self.best_line_ else [])]
        # Beside the curves: wherever inside it would hide some.
        ax.legend(handles=lines, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        return self

    def _curves(self) -> dict[str, tuple[list[float], list[float]]]:
        """Return epochs and values of each curve; no term that is the training loss itself."""
        if not self.history or "train_loss" not in self.history[0]:
            raise ValueError(
                'history must have an entry for each epoch with its "epoch" and '
                '"train_loss", as the history_ of a fitted autoencoder.'
            )
        names = list(dict.fromkeys(name for entry in self.history for name in entry))
        terms = [
            name
            for name in names
            if name not in {"epoch", *self._NAMES}
            and not name.startswith("event_")  # notes of skorch's callbacks
            and any(entry.get(name) not in (None, entry["train_loss"]) for entry in self.history)
        ]
        losses = ["train_loss", *(["valid_loss"] if "valid_loss" in names else []), *terms]
        return {name: self._curve(name) for name in losses}

    def _curve(self, name: str) -> tuple[list[float], list[float]]:
        """Return the epochs that have this entry, and its values."""
        having = [entry for entry in self.history if name in entry]
        return [entry["epoch"] for entry in having], [entry[name] for entry in having]

    def _style(self, name: str, n_epochs: int) -> dict[str, Any]:
        """Return label, colour and dashes: the two totals strong, their terms thin."""
        label = self._NAMES.get(name, name)
        # A line needs two points.
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
        """Draw a line where the weights kept come from."""
        self.best_line_ = None
        if self.best_epoch is None:
            return
        first = self.history[0]["epoch"]
        what = "start" if self.best_epoch < first else f"epoch {self.best_epoch}"
        self.best_line_ = ax.axvline(
            self.best_epoch, color=GREY, lw=1, label=f"weights kept: {what}", zorder=0
        )

    def _add_score(self, ax: Any) -> None:
        """Draw the share of variance explained on an axis of its own."""
        epochs, values = self._curve("valid_score")
        if not epochs:
            raise ValueError(
                'score=True needs rows that were held out; history has no "valid_score". Fit '
                "with early_stopping=True or X_val, or leave score out."
            )
        right = ax.twinx()
        (line,) = right.plot(epochs, values, color="black", lw=1.4, ls=(0, (1, 2)))
        line.set_label(f"{self._NAMES['valid_score']} (right axis)")
        right.set_ylabel(self._NAMES["valid_score"])
        self.lines_["valid_score"] = line


def _choose_scale(scale: str, curves: dict[str, Any]) -> tuple[str, float]:
    """Return the scale to use, and where ``"symlog"`` turns from linear to logarithmic."""
    lows = {name: np.nanmin(values) for name, (_, values) in curves.items()}
    has_log = min(lows.values()) > 0
    peaks = [peak for _, values in curves.values() if (peak := np.nanmax(np.abs(values))) > 0]
    total = curves["train_loss"][1]
    # A term that only starts from nothing, as a KL does, must not flatten all others.
    least = min([*peaks, *(value for value in total if value > 0)], default=1.0)
    bend = float(10 ** np.floor(np.log10(least)))
    if scale == "auto":
        is_steep = lows["train_loss"] > 0 and np.nanmax(total) >= 10 * lows["train_loss"]
        is_wide = max(peaks, default=1.0) >= 30 * min(peaks, default=1.0)
        scale = "linear" if not (is_steep or is_wide) else "log" if has_log else "symlog"
    if scale not in ("log", "symlog", "linear"):
        raise ValueError(f'scale must be "auto", "log", "symlog" or "linear", got {scale!r}.')
    if scale == "log" and not has_log:
        lowest = min(lows, key=lambda name: lows[name])
        raise ValueError(
            f'scale="log" has no place for zero and less, but {lowest!r} falls to '
            f'{lows[lowest]:.3g}. Use scale="symlog".'
        )
    return scale, bend
