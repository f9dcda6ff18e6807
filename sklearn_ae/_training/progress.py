"""Progress of a training: a bar in terminals and notebooks, one line at its end elsewhere."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any

from skorch.callbacks import Callback

from sklearn_ae._training.callbacks import BestWeights

LOSSES = ("train_loss", "valid_loss")

BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{remaining}{postfix}]"
"""Format of the bar. With the epochs per second as well, the losses would leave no room for it."""


KEPT_START = " (the linear start: no epoch was significantly better on the held-out samples)"
"""Added to the line of a fit that kept its start."""


class Progress(Callback):
    """Progress bar with the loss, the samples per second and the remaining time.

    A file would receive a line for each epoch. There, one line is written at the end of the
    training, and none if it fails.

    Parameters
    ----------
    total : int
        Largest number of epochs.
    description : str
        Text in front of the bar and of the line.
    best : BestWeights, default=None
        The callback that stores the best weights; it must be called before this one. None for a
        group of models, whose line has no losses.

    Attributes
    ----------
    bar : tqdm or None
        The bar; None if standard error is neither a terminal nor a notebook.
    """

    def __init__(self, total: int, description: str, best: BestWeights | None = None) -> None:
        self.total = total
        self.description = description
        self.best = best

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Show the bar, if it is to be shown."""
        self.begin = perf_counter()
        self.bar: Any = None
        if not shows_bars(sys.stderr):
            return
        from tqdm import tqdm  # imported when used: only `verbose` needs it

        self.bar = tqdm(
            initial=len(net.history),
            total=self.total,
            desc=self.description,
            bar_format=BAR_FORMAT,
            file=sys.stderr,
            dynamic_ncols=True,
        )

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Advance the bar by one epoch."""
        if self.bar is None:
            return
        last = net.history[-1]
        texts = _losses_of(last)
        if last.get("dur"):  # unknown for a group of models
            texts["samples/s"] = f"{len(net.run.samples) / last['dur']:,.0f}"
        self.bar.set_postfix(texts)
        self.bar.update(len(net.history) - self.bar.n)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Write the line, if no bar is shown, and say so if the start was kept."""
        kept = KEPT_START if self._has_kept_start() else ""
        if self.bar is None:
            seconds = perf_counter() - self.begin
            line = f"{self.description}: {len(net.history)} epochs in {seconds:.1f} s"
            print(line + self._result(net) + kept, file=sys.stderr, flush=True)
        elif kept:
            self.bar.close()
            print(f"{self.description}: best epoch 0{kept}", file=sys.stderr, flush=True)

    def _has_kept_start(self) -> bool:
        """Whether the result is the start, since no epoch was significantly better."""
        return self.best is not None and self.best.needs_significance and not self.best.kept_epoch

    def _result(self, net: Any) -> str:
        """Return the best epoch and its losses; without held-out samples, those of the last."""
        if self.best is None or not len(net.history):
            return ""
        kept = self.best.kept_epoch
        if self.best.monitor == "train_loss":
            name, texts = "last epoch", _losses_of(net.history[-1])
        elif kept:
            name, texts = f"best epoch {kept}", _losses_of(net.history[kept - 1])
        else:
            # Epoch zero is the start, e.g. PCA, and has no entry in the history.
            name, texts = "best epoch 0", _losses_of({"valid_loss": self.best.best_loss})
        return f"; {name}: " + ", ".join(f"{key}={text}" for key, text in texts.items())

    def close(self) -> None:
        """End the bar at its position, also after an error."""
        if getattr(self, "bar", None) is not None:
            self.bar.close()


def shows_bars(stream: Any) -> bool:
    """Whether a stream is a terminal or the output of a notebook, where lines are overwritten."""
    if type(stream).__module__.partition(".")[0] == "ipykernel":
        return True  # it denies to be a terminal
    return hasattr(stream, "isatty") and bool(stream.isatty())


def _losses_of(epoch: dict[str, Any]) -> dict[str, str]:
    """Return the losses of an epoch as texts, by their names."""
    return {name: f"{epoch[name]:.4g}" for name in LOSSES if name in epoch}
