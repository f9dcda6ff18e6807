"""The training loop: skorch's epochs, callbacks and history around whole batches.

skorch takes samples one by one from a data set and notifies its callbacks of every batch;
both cost more than the arithmetic of a small network. This net takes batches from tensors,
keeps the losses on the device until the epoch ends, and notifies of batches only where a
callback asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import torch
from scipy.special import stdtrit
from skorch import NeuralNet
from skorch.callbacks import LRScheduler
from torch import Tensor

from sklearn_ae._training.batches import Batches
from sklearn_ae._training.callbacks import overrides_batches, stopped_by_patience
from sklearn_ae._training.description import TrainingRun
from sklearn_ae._training.optimizer import SCHEDULES, FlatAdam, FlatMomentum, FlatParameters
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae._training.steps import Step, Terms
from sklearn_ae.networks._layers import batch_norms

SIGNIFICANCE_LEVEL = 0.05
"""Probability of leaving a start that is as good as what was trained."""

MAX_WEIGHT = 1e15
"""Absolute value of a weight from which training has diverged: data are of the order of one."""


class Validation(NamedTuple):
    """What one pass over the held-out rows gives.

    Attributes
    ----------
    losses : Tensor of shape (n_held_out,)
        Loss of each row.
    weight : Tensor of shape (n_held_out,)
        Weight of each row.
    groups : Tensor of shape (n_held_out,)
        Number of each row among the distinct ones.
    score : float
        What is reported beside the loss: the higher, the better.
    parameters : Tensor
        Copy of the parameters that were judged, and of the running statistics.
    """

    losses: Tensor
    weight: Tensor
    groups: Tensor
    score: float
    parameters: Tensor

    @property
    def loss(self) -> float:
        """Weighted mean of the losses."""
        return float((self.losses * self.weight).sum() / self.weight.sum())

    def is_better_than(self, other: Validation, n_tests: int = 1) -> bool:
        """Whether the losses are lower, by a one-sided paired t-test at the 5 % level.

        If this is the best of `n_tests` validations, the level is divided by their number
        (Bonferroni's correction).

        Equal samples are one observation, of all their weight, and observations of unequal weight
        count as Kish's effective number of them, ``(sum W)^2 / sum W^2``: a weight of two and two
        copies are the same, and neither weights nor copies add evidence. One observation has no
        standard error, and is never enough.

        References
        ----------
        Kish, L. (1965). Survey sampling. Wiley.
        """
        fall, weight = _of_groups(other.losses - self.losses, self.weight, self.groups)
        total = weight.sum()
        count = float(total.square() / weight.square().sum())
        mean = (weight * fall).sum() / total
        variance = (weight * (fall - mean).square()).sum() / total
        if count <= 1 or variance <= 1e-12 * mean.square():
            return False
        quantile = stdtrit(count - 1, 1 - SIGNIFICANCE_LEVEL / n_tests)
        return bool(mean > quantile * (variance / (count - 1)).sqrt())


def _of_groups(values: Tensor, weight: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean and the total weight of each group of equal samples.

    Means are taken of differences from one value of the group: of equal values they are that
    value to the last bit, however many there are.
    """
    n_groups = int(groups.max()) + 1
    some = values.new_empty(n_groups).index_copy_(0, groups, values)
    totals = weight.new_zeros(n_groups).index_add_(0, groups, weight)
    rest = values.new_zeros(n_groups).index_add_(0, groups, weight * (values - some[groups]))
    return some + rest / totals, totals


class AutoencoderNet(NeuralNet):
    """A skorch net that trains on whole batches.

    Parameters
    ----------
    run : TrainingRun
    flat : FlatParameters
        The parameters of its module.
    step : callable
        Batch to named loss terms; writes the gradient.
    score : callable
        Weighted mean error of the held-out samples to their score.
    callbacks : list of skorch callbacks
    """

    def __init__(
        self,
        run: TrainingRun,
        flat: FlatParameters,
        step: Step,
        score: Callable[[float], float],
        callbacks: list[Any],
    ) -> None:
        super().__init__(
            run.module,
            criterion=torch.nn.Identity,
            lr=run.parameters.learning_rate_init,
            max_epochs=run.parameters.max_iter,
            callbacks=callbacks,
            callbacks__print_log=None,
            train_split=None,
            verbose=0,
            device=None,
        )
        self.run = run
        self.flat = flat
        self.step = step
        self.score_of = score
        self.statistics = [value for norm in batch_norms(run.module) for value in norm.buffers()]
        self.stop_training = False
        self.validation: Validation | None = None
        self.groups: Tensor | None = None

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> AutoencoderNet:
        """Make the optimiser of the flat parameters."""
        parameters = self.run.parameters
        rate, alpha = parameters.learning_rate_init, parameters.alpha
        self.optimizer_ = (
            FlatMomentum(self.flat, rate, alpha, parameters.momentum)
            if parameters.solver == "sgd"
            else FlatAdam(self.flat, rate, alpha)
        )
        return self

    def train(self, batches: Batches, held_out: Batches | None) -> None:
        """Run the epochs.

        Parameters
        ----------
        batches : Batches
        held_out : Batches or None
            Rows to validate on.

        Raises
        ------
        ValueError
            If the loss stops being finite, or the weights get lost.
        KeyboardInterrupt
            As it came, unless skorch's early stopping raised it.
        """
        self.held_out = held_out
        self.groups = None if held_out is None else held_out.find_groups()
        self.notify("on_train_begin", X=batches.rows, y=None)
        try:
            self._run_epochs(batches)
        except KeyboardInterrupt as interrupt:
            if not stopped_by_patience(self.callbacks_, interrupt):
                raise
        finally:
            self.module_.progress = 1.0
        self._check_weights()
        self.notify("on_train_end", X=batches.rows, y=None)

    def _run_epochs(self, batches: Batches) -> None:
        listeners = [callback for _, callback in self.callbacks_]
        tell_batches = any(overrides_batches(callback) for callback in listeners)
        own_schedule = not any(isinstance(callback, LRScheduler) for callback in listeners)
        data = {"dataset_train": batches.rows, "dataset_valid": None}
        if self.held_out is not None:
            data["dataset_valid"] = self.held_out.rows
        for epoch in range(len(self.history), self.run.parameters.max_iter):  # some may be done
            if self.stop_training:
                break
            self.notify("on_epoch_begin", **data)
            if not all(parameter.requires_grad for parameter in self.flat.parameters):
                raise ValueError("callbacks that freeze parameters (Freezer) are not supported.")
            self.module_.train()
            self._train_epoch(batches, epoch, tell_batches, own_schedule)
            self._check_weights()
            if self.held_out is not None:
                self.validation = self.validate()
                self._record("valid", {"loss": self.validation.loss}, len(self.held_out.rows))
                self.history.record("valid_score", self.validation.score)
            self.notify("on_epoch_end", **data)
            self._check_loss()

    def _train_epoch(
        self, batches: Batches, epoch: int, tell_batches: bool, own_schedule: bool
    ) -> None:
        parameters, n_batches = self.run.parameters, len(batches)
        schedule = SCHEDULES[parameters.learning_rate]
        n_steps = n_batches * parameters.max_iter
        stretch = parameters.max_iter / self.run.annealing_epochs
        group = self.optimizer_.param_groups[0]
        # A foreign scheduler watches ``step``; without one the short way is open.
        move = self.optimizer_.move if own_schedule else self.optimizer_.step
        sums: Terms = {}
        for number, batch in enumerate(batches):
            progress = (epoch * n_batches + number) / n_steps
            if self.run.objective.anneals:
                self.module_.progress = min(1.0, progress * stretch)
            if own_schedule:
                group["lr"] = parameters.learning_rate_init * schedule(progress)
            if tell_batches:
                self.notify("on_batch_begin", batch=batch, training=True)
            terms = self.step(batch)
            if tell_batches:
                self.notify(
                    "on_grad_computed",
                    named_parameters=self.get_all_learnable_params(),
                    batch=batch,
                    training=True,
                )
            move()
            for name, term in terms.items():
                sums.setdefault(name, torch.zeros_like(term)).add_(term, alpha=batch.n_rows)
            if tell_batches:
                loss = sum(terms.values())
                self._record("train", {"loss": float(loss)}, batch.n_rows, new_batch=False)
                self.notify("on_batch_end", batch=batch, training=True, loss=loss, y_pred=None)
        n_rows = len(batches.rows)
        means = {name: float(total) / n_rows for name, total in sums.items()}
        for name, value in means.items():
            self.history.record(name, value)
        if not tell_batches:
            self._record("train", {"loss": sum(means.values())}, n_rows)
        self.history.record("train_batch_count", n_batches)

    def _record(
        self, prefix: str, values: dict[str, float], size: int, new_batch: bool = True
    ) -> None:
        """Write the row of a batch, which skorch's callbacks average over the epoch."""
        if new_batch:
            self.history.new_batch()
        self.history.record_batch(f"{prefix}_batch_size", size)
        for name, value in values.items():
            self.history.record_batch(f"{prefix}_{name}", value)

    def _check_weights(self) -> None:
        largest = float(torch.linalg.vector_norm(self.flat.values.detach(), math.inf))
        if not largest < MAX_WEIGHT:
            self._raise_diverged(f"weights have grown to {largest:g}")

    def _check_loss(self) -> None:
        loss = self.history[-1]["train_loss"]
        if not math.isfinite(loss):
            self._raise_diverged(f"the loss is {loss}")

    def _raise_diverged(self, sign: str) -> NoReturn:
        raise ValueError(
            f"Training diverged: {sign} after epoch {len(self.history)}. Lower "
            f"learning_rate_init (now {self.run.parameters.learning_rate_init})."
        )

    @torch.no_grad()
    def validate(self) -> Validation:
        """Judge the present parameters on the held-out rows."""
        self.module_.eval()
        assert self.held_out is not None
        evaluate = self.run.objective.evaluate
        assert evaluate is not None
        assert self.groups is not None
        rows, losses, errors = self.held_out.rows, [], []
        self.module_.progress = 1.0  # by the final objective
        # The same draws after every epoch: the losses of two epochs compare.
        draws = drawing_from(make_generator(self.run.seeds.split, rows.device))
        with draws:
            for batch in self.held_out:
                draws.twins = batch.twins
                batch_losses, batch_errors = evaluate(
                    self.run.module, batch.rows, batch.target, batch.weight
                )
                losses.append(batch_losses)
                errors.append(batch_errors)
        weight = rows.take_weight(slice(0, len(rows))).to(losses[0])
        score = self.score_of(float(weight @ torch.cat(errors)) / rows.total_weight)
        return Validation(torch.cat(losses), weight, self.groups, score, self._snapshot())

    def _snapshot(self) -> Tensor:
        """Copy the parameters, and the running statistics behind them."""
        values = [self.flat.values.detach(), *self.statistics]
        return torch.cat([value.reshape(-1) for value in values])

    @torch.no_grad()
    def put_back(self, snapshot: Tensor) -> None:
        """Set parameters and running statistics to those of an earlier validation."""
        values = [self.flat.values, *self.statistics]
        parts = snapshot.split([value.numel() for value in values])
        for value, part in zip(values, parts, strict=True):
            value.copy_(part.view(value.shape))
