"""Callbacks of skorch: best weights, scikit-learn's callbacks; kinds of callbacks.

A callback of this package ends the training by setting ``net.stop_training``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from skorch.callbacks import Callback

from sklearn_ae._training.description import TrainingRun
from sklearn_ae._training.skorch_callbacks import has_scheduler

CHECKED_EVERY = 20
"""Number of epochs after which it is checked whether training will replace its start.

With more than 200 epochs it is a tenth of them: the learning rate has then reached its maximum.
"""

REMAINING = 0.7
"""Fraction of the largest excess over the start's loss from which on a loss is not decreasing."""

FIRST_IMPROVEMENTS = 3
"""Number of checks after which an improvement must have begun to be significant."""

LEAST_SIGNIFICANCE = 0.3
"""Fraction of a significant t statistic that the best epoch must have reached by then."""


class BestWeights(Callback):
    """Store the best weights, and end the training when the monitored value stops improving.

    The best weights are restored after training only if there are held-out samples.

    Parameters
    ----------
    run : TrainingRun

    Attributes
    ----------
    monitor : {"valid_loss", "valid_score", "train_loss"}
        Loss to be minimised, or held-out score to be maximised; of two equal scores, the one
        with the lower loss is better.
    tol : float
        Smallest relative decrease that is an improvement.
    patience : float
        Number of epochs without an improvement after which the training ends.
    needs_significance : bool
        Restore the initial weights unless the best ones are better on the held-out samples by a
        paired t-test.
    ends_early : bool
        End the training when the initial weights are likely to be restored; see
        :meth:`_is_hopeless`.
    is_independent : bool
        Whether the held-out samples are not used in training.
    annealed_from : float
        Number of epochs in which the objective changes. Training losses of these epochs are not
        compared with later ones, and epochs without an improvement are not counted.
    prefers_last : bool
        Keep the weights of the last epoch, unless patience ended the training, or the best ones
        are better on the held-out samples by a paired t-test that is corrected for the number of
        epochs.
    best_loss : float
        Loss of the best weights.
    kept_epoch : int
        Number of the epoch of the best weights; zero for the initial ones.
    waited : int
        Number of epochs since the last improvement.
    reference : float
        Monitored value at the last improvement.
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
        # Patience without end is a request to train to the end. How large a loss a schedule of
        # the user causes at which time is unknown.
        self.ends_early = self.needs_significance and self.monitor == "valid_loss"
        self.ends_early &= math.isfinite(self.patience) and not has_scheduler(run.callbacks)
        self.checked_every = max(CHECKED_EVERY, math.ceil(run.parameters.max_iter / 10))
        # Losses that differ by chance between epochs, for which reason the last one is preferred,
        # say little when the steps are largest.
        self.checked_from = (2 if objective.prefers_last else 1) * self.checked_every
        self.annealed_from = objective.annealed_from * run.annealing_epochs
        is_annealed = run.parameters.learning_rate != "constant"
        is_annealed &= not has_scheduler(run.callbacks)
        self.prefers_last = objective.prefers_last and is_annealed

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Evaluate the initial weights."""
        self.best_loss = self.reference = math.inf
        self.waited = self.kept_epoch = 0
        if self.monitor != "train_loss":
            self.start = self.best = net.validate()
            self.best_loss = self.reference = self._value(net, self.start)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Compare this epoch with the best one."""
        loss = self._value(net, net.validation)
        if len(net.history) <= self.annealed_from:
            self.waited = -1
        # Losses before and after a change of the objective cannot be compared. Held-out losses
        # are always those of the final objective.
        if self.monitor == "train_loss" and len(net.history) - 1 <= self.annealed_from:
            self.best_loss = self.reference = math.inf
        if loss < self.best_loss:
            self.best_loss = loss
            if self.monitor != "train_loss":
                self.best, self.kept_epoch = net.validation, len(net.history)
        if loss < self.reference - self.tol * abs(self.reference) or math.isinf(self.reference):
            self.reference = loss  # not the best loss: many small steps add up to an improvement
            self.waited = 0
        else:
            self.waited += 1
            net.stop_training |= self.waited >= self.patience
        net.stop_training |= self.ends_early and self._is_hopeless(net)

    def _is_hopeless(self, net: Any) -> bool:
        """Whether the initial weights will be restored, surely or in all likelihood.

        The first epoch is the last one if no samples are held out, because there is no test then,
        or so few that not even losses of zero would be significantly lower. Later ones are if no
        loss has been lower than that of the initial weights, and the present one exceeds it by at
        least the fraction `REMAINING` of the largest excess so far: where training improves in the
        end, losses that first increased are decreasing again. After some more epochs the best one
        must be at least a part of the way to being significantly better; not if there are several
        losses, of which some improve late.
        """
        n_epochs = len(net.history)
        if n_epochs == 1:
            return not self.is_independent or self.start.needs_more_samples()
        if n_epochs % self.checked_every or n_epochs < self.checked_from:
            return False
        is_late = n_epochs >= FIRST_IMPROVEMENTS * self.checked_every
        if is_late and self.start.losses.ndim == 1:
            return bool(self.best.significance_over(self.start) <= LEAST_SIGNIFICANCE)
        start = self.start.loss
        largest = max(epoch["valid_loss"] for epoch in net.history)
        is_above = net.validation.loss - start >= REMAINING * (largest - start)
        return bool(is_above and self.waited == n_epochs)

    def _value(self, net: Any, validation: Any) -> float:
        """Return the value to be minimised."""
        if self.monitor == "train_loss":
            return float(net.history[-1, "train_loss"])
        return float(validation.loss if self.monitor == "valid_loss" else _score_loss(validation))

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Restore the best weights."""
        if self.monitor == "train_loss":
            self.kept_epoch = len(net.history)
            return
        if self.prefers_last and len(net.history) == net.max_epochs:
            self._prefer_last(net)
        is_significant = self.is_independent and self.best.is_better_than(self.start)
        if self.needs_significance and not is_significant:
            self.best, self.kept_epoch = self.start, 0
        self.best_loss = self.best.loss
        net.restore(self.best.parameters)

    def _prefer_last(self, net: Any) -> None:
        """Take the last epoch unless the best one is significantly better."""
        last = net.validation or net.validate()  # nothing was left to train in a resumed run
        if torch.equal(last.parameters, self.best.parameters):
            return
        if not math.isfinite(last.loss):  # no test finds a finite loss better than NaN
            return
        is_significant = not self.needs_significance or last.is_better_than(self.start)
        if is_significant and not self.best.is_better_than(last, len(net.history)):
            self.best, self.kept_epoch = last, len(net.history)


def _score_loss(validation: Any) -> float:
    """Return 1 minus the score, plus a term that decides by the loss between equal scores."""
    score, loss = float(validation.score), float(validation.loss)
    return 1 - score + 1e-6 * math.tanh(loss)  # at most 1e-6, whatever the size of the loss


class ScikitLearnCallbacks(Callback):
    """Notify scikit-learn's callbacks, set by the estimator's `set_callbacks`, of each epoch.

    Parameters
    ----------
    estimator : BaseAutoencoder
    context : sklearn.callback.CallbackContext
        Context of the fit.
    X, y : array-like
        Data of the fit, for callbacks that score.
    snapshot : callable or None
        Maps the module to the fitted attributes that the estimator would have if training ended
        now. None: the estimator would not be usable.
    """

    def __init__(self, estimator: Any, context: Any, X: Any, y: Any, snapshot: Any) -> None:
        self.estimator = estimator
        self.context = context
        self.X = X
        self.y = y
        self.snapshot = snapshot

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin the context of the epoch."""
        self.epoch = self.context.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """End the context of the epoch; a callback may end the training."""
        net.stop_training |= self.epoch.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes=self.snapshot and (lambda: self.snapshot(net.module_)),
        )
