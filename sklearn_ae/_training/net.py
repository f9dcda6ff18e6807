"""The training loop: a net of skorch that trains on whole batches.

skorch loads samples one by one from a data set and notifies its callbacks of every batch; both
take longer than the arithmetic of a small network. This net takes batches from tensors, keeps the
losses on the device until the end of the epoch, and notifies of batches only if a callback has a
method for them. The training is an iterator over epochs, so that several nets can be trained in
turns (:mod:`sklearn_ae._training.group`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple, NoReturn

import torch
from scipy.special import stdtrit
from skorch import NeuralNet
from torch import Tensor

from sklearn_ae._training.batches import Batches
from sklearn_ae._training.description import TrainingRun
from sklearn_ae._training.optimizer import SCHEDULES, FlatAdam, FlatMomentum, FlatParameters
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae._training.ranks import Place, Ranks
from sklearn_ae._training.skorch_callbacks import (
    has_scheduler,
    is_out_of_patience,
    overrides_batches,
)
from sklearn_ae._training.steps import Step, Terms
from sklearn_ae.networks._layers import batch_norms

SIGNIFICANCE_LEVEL = 0.05
"""Probability of replacing initial weights that are as good as the trained ones."""

FEW_SAMPLES = 5
"""Number of samples up to which the loss to be reached may be too low for any significance."""

MAX_WEIGHT = 1e15
"""Absolute value of a weight above which training has diverged: data are of the order of one."""


class Validation(NamedTuple):
    """Result of an evaluation on the held-out samples.

    Attributes
    ----------
    losses : Tensor of shape (n_held_out,) or (n_held_out, n_losses)
        Loss of each sample, or several of them, whose mean is minimised.
    weight : Tensor of shape (n_held_out,)
        Weight of each sample.
    groups : Tensor of shape (n_held_out,)
        Index of the group of equal samples to which each sample belongs.
    score : float
        Score that is reported with the loss; higher is better.
    columns : dict
        Mean error of each column of a table by name.
    parameters : Tensor
        Copy of the evaluated parameters, followed by the running statistics.
    mean : float or None
        Weighted mean of the losses if it has been computed.
    """

    losses: Tensor
    weight: Tensor
    groups: Tensor
    score: float
    columns: dict[str, float]
    parameters: Tensor
    mean: float | None = None

    @property
    def loss(self) -> float:
        """Weighted mean of the losses."""
        if self.mean is not None:
            return self.mean
        return float(_mean_loss(self.losses, self.weight))

    def is_better_than(self, other: Validation, n_tests: int = 1) -> bool:
        """Whether the losses are lower, by a one-sided paired t-test at the 5 % level.

        If this is the best of `n_tests` validations, the level is divided by their number
        (Bonferroni's correction). If there are several losses, all of them must be lower: each is
        tested at the full level, because a single failure decides (an intersection-union test).

        A group of equal samples is one observation, with their total weight, and the number of
        observations of unequal weight is Kish's effective sample size, ``(sum W)^2 / sum W^2``. A
        weight of two is thus equivalent to two copies, and neither increases the significance.
        The result is False for a single observation, which has no standard error.

        References
        ----------
        Kish, L. (1965). Survey sampling. Wiley.

        Berger, R. L. (1982). Multiparameter hypothesis testing and acceptance sampling.
        Technometrics, 24(4), 295-300.
        """
        return self.significance_over(other, n_tests) > 1

    def significance_over(self, other: Validation, n_tests: int = 1) -> float:
        """Return the t statistic of :meth:`is_better_than`, divided by that which is significant.

        If there are several losses, it is the smallest of their quotients.
        """
        if self.losses.ndim > 1:
            pairs = zip(self._columns(), other._columns(), strict=True)
            return min(own.significance_over(others, n_tests) for own, others in pairs)
        mean, variance, count = self._moments(other.losses - self.losses)
        # Of differences that are equal up to rounding, the standard error is a rounding error.
        if count <= 1 or variance <= 1e-12 * mean.square():
            return 0.0
        quantile = stdtrit(count - 1, 1 - SIGNIFICANCE_LEVEL / n_tests)
        quotient = float(mean / (quantile * (variance / (count - 1)).sqrt()))
        return 0.0 if math.isnan(quotient) else quotient  # the minimum of several would skip it

    def needs_more_samples(self) -> bool:
        """Whether there are so few samples that losses of zero would not be significantly lower.

        Nor would losses be that are all lower by one fraction, because the t statistic is then
        the same: ``sqrt(n - 1)`` times the mean of the losses divided by their standard deviation.
        Of two samples it is too small if one loss is more than 1.38 times the other. If there are
        several losses, a single one decides. Negative losses may have no lower bound.

        The result is False for more than `FEW_SAMPLES`. Their statistic is as small if a single
        loss is most of the sum, and the others could still decrease significantly.
        """
        if self.losses.ndim > 1:
            return any(own.needs_more_samples() for own in self._columns())
        mean, variance, count = self._moments(self.losses)
        if count > FEW_SAMPLES or bool((self.losses < 0).any()):
            return False
        if count <= 1:
            return True
        quantile = stdtrit(count - 1, 1 - SIGNIFICANCE_LEVEL)
        return bool(mean <= quantile * (variance / (count - 1)).sqrt())

    def _columns(self) -> list[Validation]:
        """Return a validation for each of several losses."""
        return [self._replace(losses=losses) for losses in self.losses.unbind(1)]

    def _moments(self, values: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return mean and variance over groups of equal samples, and their effective number."""
        values, weight = _group_means(values, self.weight, self.groups)
        total = weight.sum()
        mean = (weight * values).sum() / total
        variance = (weight * (values - mean).square()).sum() / total
        return mean, variance, float(total.square() / weight.square().sum())


def _mean_loss(losses: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of the losses, all of which count alike, as a scalar."""
    losses = losses if losses.ndim == 1 else losses.mean(1)
    return (losses * weight).sum() / weight.sum()


def _group_means(values: Tensor, weight: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean and the total weight of each group of equal samples.

    The differences from one value of the group are averaged: the mean of equal values is then
    bit-identical to the value, for any number of them.
    """
    n_groups = int(groups.max()) + 1
    reference = values.new_empty(n_groups).index_copy_(0, groups, values)  # one value of each
    totals = weight.new_zeros(n_groups).index_add_(0, groups, weight)
    differences = weight * (values - reference[groups])
    sums = values.new_zeros(n_groups).index_add_(0, groups, differences)
    return reference + sums / totals, totals


class AutoencoderNet(NeuralNet):
    """A net of skorch that trains on whole batches.

    Parameters
    ----------
    run : TrainingRun
    flat : FlatParameters
        The parameters of the module of `run`.
    step : callable
        Maps a batch to named loss terms, and writes the gradient.
    score : callable
        Maps the weighted mean error of the held-out samples to their score.
    callbacks : list of skorch callbacks
    generators : dict of str to torch.Generator
        Those that training draws from.
    """

    def __init__(
        self,
        run: TrainingRun,
        flat: FlatParameters,
        step: Step,
        score: Callable[[float], float],
        callbacks: list[Any],
        generators: Mapping[str, torch.Generator],
    ) -> None:
        super().__init__(
            run.module,
            criterion=torch.nn.Identity,
            lr=run.parameters.learning_rate_init,
            max_epochs=run.parameters.max_iter,
            callbacks=callbacks,
            train_split=None,
            verbose=0,
            device=None,
        )
        self.run = run
        self.flat = flat
        self.step = step
        self.score_of = score
        self.generators = generators
        self.ranks = Ranks.current()
        self.statistics = [value for norm in batch_norms(run.module) for value in norm.buffers()]
        self.stop_training = False
        self.validation: Validation | None = None
        self.groups: Tensor | None = None
        self.total_weight = 0.0  # of the held-out samples

    @property
    def _default_callbacks(self) -> list[Any]:
        """None: those of skorch take longer than some epochs. The net records what they do."""
        return []

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> AutoencoderNet:
        """Create the optimiser of the flat parameters."""
        parameters = self.run.parameters
        rate, alpha = parameters.learning_rate_init, parameters.alpha
        self.optimizer_ = (
            FlatMomentum(self.flat, rate, alpha, parameters.momentum)
            if parameters.solver == "sgd"
            else FlatAdam(self.flat, rate, alpha)
        )
        return self

    @property
    def notifies_batches(self) -> bool:
        """Whether a callback is to be notified of every batch."""
        return any(overrides_batches(callback) for _, callback in self.callbacks_)

    @property
    def has_own_schedule(self) -> bool:
        """Whether no callback sets the learning rate."""
        return not has_scheduler(self.callbacks_)

    def epochs(
        self, batches: Batches, held_out: Batches | None
    ) -> Generator[int, Validation | None]:
        """Yield the number of each epoch, in which the caller trains the parameters once.

        The caller calls :meth:`train_epoch`, or passes the mean loss terms of the epoch to
        :meth:`record_epoch`. It may send the :class:`Validation` of the new parameters, or None
        if it has not evaluated them.

        Parameters
        ----------
        batches : Batches
        held_out : Batches or None
            Samples to validate on.

        Raises
        ------
        ValueError
            If the loss is not finite or the weights diverge.
        KeyboardInterrupt
            If the user or a callback raises it, except skorch's EarlyStopping.
        """
        self.held_out = held_out
        if held_out is not None:
            self.groups = held_out.find_groups()
            self.total_weight = held_out.samples.total_weight
        self.notify("on_train_begin", X=batches.samples, y=None)
        try:
            yield from self._remaining_epochs(batches)
        finally:
            self.module_.progress = 1.0
        self._check_weights()
        self.notify("on_train_end", X=batches.samples, y=None)

    def _remaining_epochs(self, batches: Batches) -> Generator[int, Validation | None]:
        lowest = {
            name: min((epoch[name] for epoch in self.history if name in epoch), default=math.inf)
            for name in ("train_loss", "valid_loss")
        }
        data = {"dataset_train": batches.samples, "dataset_valid": None}
        if self.held_out is not None:
            data["dataset_valid"] = self.held_out.samples
        # A resumed run begins with the history of the epochs that were completed.
        for epoch in range(len(self.history), self.run.parameters.max_iter):
            if self.stop_training:
                break
            begin = time.time()
            self.notify("on_epoch_begin", **data)
            if not all(parameter.requires_grad for parameter in self.flat.parameters):
                raise ValueError(
                    "callbacks that freeze parameters (Freezer) are not supported; freeze them in "
                    "the constructor of a custom network."
                )
            evaluated = yield epoch
            self._check_weights()
            last = self.history[-1]
            if self.ranks is not None:
                self._agree_on_weights(self.ranks)
            if self.held_out is not None:
                self.validation = evaluated or self.validate()
                last["valid_loss"] = self.validation.loss
                last["valid_score"] = self.validation.score
                for name, error in self.validation.columns.items():
                    last[f"valid_loss_{name}"] = error
            for name, value in lowest.items():
                if name in last:
                    last[f"{name}_best"] = last[name] < value
                    lowest[name] = min(value, last[name])
            last["dur"] = time.time() - begin
            self._end_epoch(data)
            self._check_loss()
            if self.ranks is not None:
                self._agree(self.ranks)

    def _end_epoch(self, data: dict[str, Any]) -> None:
        """Notify the callbacks of the end of an epoch.

        skorch's EarlyStopping raises KeyboardInterrupt to end the training. Callbacks are called
        one by one to distinguish it from interrupts by the user, which are raised.
        """
        self.on_epoch_end(self, **data)
        for _, callback in self.callbacks_:
            try:
                callback.on_epoch_end(self, **data)
            except KeyboardInterrupt:
                if not is_out_of_patience(callback):
                    raise
                self.stop_training = True

    def _agree_on_weights(self, ranks: Ranks) -> None:
        """Copy the weights of the first process, which differ by what processors round.

        Statistics of batch normalisation are those of the part of each process.
        """
        ranks.copy_of_(self.flat.values.data, 0)
        for buffer in self.module_.buffers():
            ranks.copy_of_(buffer, 0)

    def _agree(self, ranks: Ranks) -> None:
        """Make decisions of callbacks and random numbers those of all processes."""
        stops = torch.tensor([float(self.stop_training)], device=self.flat.values.device)
        self.stop_training = bool(ranks.add_(stops))
        for generator in self.generators.values():
            state = generator.get_state()
            generator.set_state(ranks.of_first(state))

    def train_epoch(self, batches: Batches, epoch: int) -> None:
        """Train on all batches once, and record the mean loss terms."""
        self.module_.train()
        notify_batches, has_own_schedule = self.notifies_batches, self.has_own_schedule
        group = self.optimizer_.param_groups[0]
        # torch's schedulers wrap `step` and warn if it is not called; `move` is faster.
        move = self.optimizer_.move if has_own_schedule else self.optimizer_.step
        sums: Terms = {}  # on the device: reading a value would wait for the batch to finish
        for number, batch in enumerate(batches):
            rate, progress = self.schedule(epoch, number, len(batches))
            if self.run.objective.anneals:
                self.module_.progress = progress
            if has_own_schedule:
                group["lr"] = rate
            if notify_batches:
                self.notify("on_batch_begin", batch=batch, training=True)
            terms = self.step(batch)
            if notify_batches:
                terms = self._of_all(terms)
                self.notify(
                    "on_grad_computed",
                    named_parameters=self.get_all_learnable_params(),
                    batch=batch,
                    training=True,
                )
            move()
            for name, term in terms.items():
                if name in sums:
                    sums[name].add_(term, alpha=batch.n_samples)
                else:
                    sums[name] = term * batch.n_samples
            if notify_batches:
                loss = sum(terms.values())
                self.history.record_batch("train_batch_size", batch.n_samples)
                self.history.record_batch("train_loss", float(loss))
                self.notify("on_batch_end", batch=batch, training=True, loss=loss, y_pred=None)
        n_samples = len(batches.samples)
        if not notify_batches:
            sums = self._of_all(sums)
        totals = torch.stack(list(sums.values())).tolist()  # one read of the device, not several
        means = {name: total / n_samples for name, total in zip(sums, totals, strict=True)}
        self.record_epoch(means, len(batches))

    def _of_all(self, terms: Terms) -> Terms:
        """Return the sums of the terms over the processes of the fit."""
        if self.ranks is None:
            return terms
        total = self.ranks.add_(torch.stack([*terms.values()]))
        return dict(zip(terms, total.unbind(), strict=True))

    def schedule(self, epoch: int, number: int, n_batches: int) -> tuple[float, float]:
        """Return the learning rate and the module's ``progress`` in a step.

        Parameters
        ----------
        epoch, number : int
            Number of the epoch and of the batch in it.
        n_batches : int
            Number of batches of an epoch.
        """
        parameters, progress = self.run.parameters, 1.0
        if self.run.objective.anneals:
            completed = (epoch * n_batches + number) / n_batches
            progress = min(1.0, completed / self.run.annealing_epochs)
        rate = parameters.learning_rate_init * self.rate_factor(epoch, number, n_batches)
        return rate, progress

    def rate_factor(self, epoch: int, number: int, n_batches: int) -> float:
        """Return the factor of the learning rate in a step; see :meth:`schedule`."""
        parameters = self.run.parameters
        completed = (epoch * n_batches + number) / (n_batches * parameters.max_iter)
        return SCHEDULES[parameters.learning_rate](completed)

    def record_epoch(self, means: dict[str, float], n_batches: int) -> None:
        """Record the mean loss terms of an epoch."""
        last = self.history[-1]
        last |= {**means, "train_loss": sum(means.values()), "train_batch_count": n_batches}
        if not last["batches"]:  # skorch's Checkpoint expects one
            last["batches"].append({})

    def _check_weights(self) -> None:
        """Raise an error if a weight is too large, infinite or NaN."""
        largest = float(torch.linalg.vector_norm(self.flat.values.detach(), math.inf))
        if not largest < MAX_WEIGHT:  # NaN is not less either
            self._raise_diverged(f"weights have grown to {largest:g}")

    def _check_loss(self) -> None:
        """Raise an error if the loss of the epoch is not finite."""
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
        """Evaluate the current parameters on the held-out samples."""
        self.module_.eval()
        assert self.held_out is not None
        evaluate = self.run.objective.evaluate
        assert evaluate is not None
        assert self.groups is not None
        samples = self.held_out.samples
        ranks = self.ranks
        # One array for all batches. Results that are kept one by one leave gaps in the memory
        # between them, into which the next batch does not fit.
        kept: list[Tensor] = []
        start = 0
        self.module_.progress = 1.0  # by the final objective
        # The same draws after every epoch: the losses of two epochs compare.
        draws = drawing_from(make_generator(self.run.seeds.split, samples.device))
        with draws:
            for batch in self.held_out:
                draws.duplicates, draws.n_draws = batch.duplicates, batch.n_draws
                results = evaluate(self.run.module, batch.samples, batch.target, batch.weight)
                if not kept:
                    kept = [each.new_zeros(len(samples), *each.shape[1:]) for each in results]
                place = batch.place or Place(0, batch.n_samples, batch.n_samples, 1.0)
                for each, result in zip(kept, results, strict=True):
                    if place.fraction:
                        each[start + place.start : start + place.stop] = result
                start += batch.n_samples
        losses, errors = kept if ranks is None else map(ranks.add_, kept)
        weight = samples.take_weight(slice(0, len(samples))).to(losses)
        error = weight @ errors / self.total_weight
        # One read of the device, not several.
        values = torch.hstack([_mean_loss(losses, weight), error.sum(), error.reshape(-1)])
        mean, total, *of_columns = values.tolist()
        columns = dict(zip(self.run.objective.columns, of_columns, strict=False))
        score = self.score_of(total)
        return Validation(losses, weight, self.groups, score, columns, self.snapshot(), mean)

    def snapshot(self) -> Tensor:
        """Return a copy of the parameters, followed by the running statistics."""
        values = [self.flat.values.detach(), *self.statistics]
        return torch.cat([value.reshape(-1) for value in values])

    @torch.no_grad()
    def restore(self, snapshot: Tensor) -> None:
        """Set parameters and running statistics to those of an earlier validation."""
        values = [self.flat.values, *self.statistics]
        parts = torch.split(snapshot, [value.numel() for value in values])
        for value, part in zip(values, parts, strict=True):
            value.copy_(part.view(value.shape))
