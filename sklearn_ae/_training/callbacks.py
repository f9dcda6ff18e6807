"""What happens between epochs: keeping the best weights, progress, scikit-learn's callbacks.

Each is a skorch callback. One that wants training to end sets ``net.stop_training``.
"""

from __future__ import annotations

import math
import sys
import traceback
from typing import Any

import torch
from skorch.callbacks import Callback

from sklearn_ae._training.description import TrainingRun


class BestWeights(Callback):
    """Remember the best weights, and stop when nothing has improved for a while.

    Weights are put back only where samples are held out.

    Parameters
    ----------
    run : TrainingRun

    Attributes
    ----------
    monitor : {"valid_loss", "valid_score", "train_loss"}
        What should fall, or the held-out score, which should rise; of equal scores the one of
        the lower loss is better.
    tol : float
        Smallest relative fall that counts.
    patience : float
        Epochs without a fall after which training stops.
    needs_significance : bool
        Go back to the weights of the start unless the best ones are better on the held-out
        samples by a paired t-test.
    is_independent : bool
        Whether the held-out samples are not those of the training.
    annealed_from : float
        Number of epochs over which the objective changes. Training losses of that time do not
        compare with later ones, and patience does not run.
    prefers_last : bool
        Keep the weights of the last epoch, if patience did not end the training, unless the best
        ones are better on the held-out samples by a paired t-test, corrected for the number of
        epochs that they are the best of.
    """

    def __init__(self, run: TrainingRun) -> None:
        objective = run.objective
        if run.held_out is None:
            self.monitor = "train_loss"
        else:
            self.monitor = "valid_score" if objective.keeps_highest_score else "valid_loss"
        self.tol = run.parameters.tol
        self.patience = run.parameters.n_iter_no_change
        self.needs_significance = objective.needs_significance
        self.is_independent = run.held_out is not run.samples
        self.annealed_from = objective.annealed_from * run.annealing_epochs
        self.prefers_last = objective.prefers_last and run.parameters.learning_rate != "constant"

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Start from what is there."""
        self.best_loss = self.reference = math.inf
        self.waited = self.kept_epoch = 0
        if self.monitor != "train_loss":
            self.start = self.best = net.validate()
            self.best_loss = self.reference = self._value(net, self.start)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Compare this epoch with the best."""
        loss = self._value(net, net.validation)
        if len(net.history) <= self.annealed_from:
            self.waited = -1
        # Losses of another objective do not compare with those from here on.
        if self.monitor == "train_loss" and len(net.history) - 1 <= self.annealed_from:
            self.best_loss = self.reference = math.inf
        if loss < self.best_loss:
            self.best_loss = loss
            if self.monitor != "train_loss":
                self.best, self.kept_epoch = net.validation, len(net.history)
        if loss < self.reference - self.tol * abs(self.reference) or math.isinf(self.reference):
            self.reference = loss
            self.waited = 0
        else:
            self.waited += 1
            net.stop_training |= self.waited >= self.patience

    def _value(self, net: Any, validation: Any) -> float:
        """Return what should be small."""
        if self.monitor == "train_loss":
            return net.history[-1, "train_loss"]
        return validation.loss if self.monitor == "valid_loss" else _shortfall(validation)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Put the best weights back."""
        if self.monitor == "train_loss":
            self.kept_epoch = len(net.history)
            return
        if self.prefers_last and len(net.history) == net.max_epochs:
            self._prefer_last(net)
        is_significant = self.is_independent and self.best.is_better_than(self.start)
        if self.needs_significance and not is_significant:
            self.best, self.kept_epoch = self.start, 0
        self.best_loss = self.best.loss
        net.put_back(self.best.parameters)

    def _prefer_last(self, net: Any) -> None:
        """Take the last epoch unless the best one is significantly better."""
        last = net.validation or net.validate()  # nothing was left to train in a resumed run
        if torch.equal(last.parameters, self.best.parameters):
            return
        is_significant = not self.needs_significance or last.is_better_than(self.start)
        if is_significant and not self.best.is_better_than(last, len(net.history)):
            self.best, self.kept_epoch = last, len(net.history)


def _shortfall(validation: Any) -> float:
    """Return how far a score is from 1, and ever so little more for a higher loss."""
    return 1 - validation.score + 1e-6 * math.tanh(validation.loss)


class Progress(Callback):
    """A bar with the loss and the time that is left.

    Parameters
    ----------
    total : int
        Number of epochs at most.
    """

    def __init__(self, total: int, description: str) -> None:
        self.total = total
        self.description = description

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the bar."""
        from tqdm import tqdm

        self.bar = tqdm(
            initial=len(net.history),
            total=self.total,
            desc=self.description,
            unit="epoch",
            file=sys.stderr,
            dynamic_ncols=True,
        )

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Advance by one epoch."""
        last = net.history[-1]
        shown = {name: last[name] for name in ("train_loss", "valid_loss") if name in last}
        self.bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()})
        self.bar.update(len(net.history) - self.bar.n)

    def close(self) -> None:
        """Leave the bar where it is, also after an error."""
        if hasattr(self, "bar"):
            self.bar.close()


class ScikitLearnCallbacks(Callback):
    """Pass each epoch on to the callbacks that scikit-learn has set on the estimator.

    Parameters
    ----------
    estimator : BaseAutoencoder
    context : sklearn.callback.CallbackContext
        Of the fit.
    X, y : array-like
        Data of the fit, for callbacks that score.
    snapshot : callable or None
        ``module`` to the fitted attributes of an estimator that stopped now. None: it could not
        be used yet.
    """

    def __init__(self, estimator: Any, context: Any, X: Any, y: Any, snapshot: Any) -> None:
        self.estimator = estimator
        self.context = context
        self.X = X
        self.y = y
        self.snapshot = snapshot

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the epoch's own context."""
        self.epoch = self.context.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Close it; a callback may ask to stop."""
        net.stop_training |= self.epoch.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes=self.snapshot and (lambda: self.snapshot(net.module_)),
        )


def overrides_batches(callback: Any) -> bool:
    """Whether a callback wants to hear of every batch."""
    from skorch.callbacks import LRScheduler

    if isinstance(callback, LRScheduler):
        return callback.step_every == "batch"
    hooks = ("on_batch_begin", "on_batch_end", "on_grad_computed")
    return any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in hooks)


def stopped_by_patience(callbacks: Any, error: KeyboardInterrupt) -> bool:
    """Whether skorch's EarlyStopping raised this, and not the user.

    skorch ends training by a ``KeyboardInterrupt`` of its own.
    """
    from skorch.callbacks import EarlyStopping

    patience_is_over = any(
        isinstance(callback, EarlyStopping) and callback.misses_ >= callback.patience
        for _, callback in callbacks
    )
    frames = list(traceback.walk_tb(error.__traceback__))
    raised_in = frames[-1][0].f_globals["__name__"]
    return patience_is_over and raised_in.startswith("skorch.")
