"""Training of several models at once.

A step of a narrow network is mostly overhead of calls. Models of equal shapes take their steps
together: their parameters are the rows of one matrix, each product of a step is a batched one, and
one call of the optimiser updates all rows. Everything else is a model's own: samples, random
numbers, learning rate and schedule, weight decay, noise, patience and callbacks. A model that is
complete leaves the group.

The result is that of a model trained alone, up to rounding: the same numbers are drawn from the
same generators, and the same arithmetic is done in another layout of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sklearn_ae._training.batches import Batches
from sklearn_ae._training.mapped import MappedStep
from sklearn_ae._training.net import Validation
from sklearn_ae._training.optimizer import Stack
from sklearn_ae._training.progress import Progress
from sklearn_ae._training.steps import AutogradStep, Terms
from sklearn_ae._training.training import Cancelled, Training
from sklearn_ae.networks.dense_gradient import DenseGradient

GROUP_BYTES = 16 * 2**20
"""Size up to which parameters, optimiser state and activations of a group are kept in cache."""

SAMPLE_BYTES = 2**28
"""Size up to which the samples of a group are copied into one tensor."""

CHUNK_BYTES = 2 * 2**20
"""Size up to which the samples of several steps are read at once."""


Finish = Callable[[Training, BaseException | None], None]
"""Called with each training when it is complete, and with what it raised."""


def train_groups(
    trainings: Sequence[Training], finish: Finish, is_cancelled: Callable[[], bool]
) -> None:
    """Train nets, those of equal keys together.

    Parameters
    ----------
    trainings : sequence of Training
        With keys that are not None.
    finish : callable
    is_cancelled : callable
        Asked before each epoch whether the results are still of use.
    """
    groups: dict[Hashable, list[Training]] = {}
    for training in trainings:
        groups.setdefault(training.key, []).append(training)
    for group in groups.values():
        first = group[0]
        size = min(GROUP_BYTES // first.n_bytes_of_step, SAMPLE_BYTES // first.n_bytes)
        n_parts = -(-len(group) // max(1, size))
        for number in range(n_parts):  # of nearly equal sizes
            _train_group(group[number::n_parts], finish, is_cancelled)


class _Loop:
    """The iteration over the epochs of one training.

    Attributes
    ----------
    training : Training
    epoch : int
        Number of the epoch to be trained.
    error : BaseException or None
        What ended the iteration.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self.epoch = 0
        self.error: BaseException | None = None
        self._epochs: Generator[int, Validation | None] = training.net.epochs(
            training.batches, training.held_out
        )

    def advance(self, validation: Validation | None) -> bool:
        """Go to the next epoch, and return whether there is one."""
        try:
            self.epoch = self._epochs.send(validation)
        except StopIteration:
            return False
        except BaseException as error:
            self.error = error
            return False
        return True

    def fail(self, error: BaseException) -> None:
        """End the iteration with an error."""
        self.error = error
        self._epochs.close()


def _train_group(
    trainings: Sequence[Training], finish: Finish, is_cancelled: Callable[[], bool]
) -> None:
    """Train nets of one key together."""
    if len(trainings) == 1:
        try:
            trainings[0].alone(is_cancelled)
        except BaseException as error:
            finish(trainings[0], error)
        else:
            finish(trainings[0], None)
        return
    bar = _common_progress(trainings)
    loops = [_Loop(training) for training in trainings]
    active = [loop for loop in loops if loop.advance(None)]
    _finish_others(loops, active, finish)
    # Those with the most steps in an epoch first: the models of each step are then a prefix.
    active.sort(key=lambda loop: -len(loop.training.batches))
    while active:
        remaining = active
        try:
            group = Group([loop.training for loop in active])
            while remaining == active:
                if is_cancelled():
                    raise Cancelled
                validations = group.train_epoch([loop.epoch for loop in active])
                remaining = [
                    loop
                    for loop, validation in zip(active, validations, strict=True)
                    if loop.advance(validation)
                ]
                if bar is not None:
                    bar.on_epoch_end(max(active, key=lambda loop: loop.epoch).training.net)
            group.release()
        except BaseException as error:  # not of one model: an interrupt, or a lack of memory
            remaining = []
            for loop in active:
                loop.fail(error)
        _finish_others(active, remaining, finish)
        active = remaining
    if bar is not None:
        bar.on_train_end(max((each.net for each in trainings), key=lambda net: len(net.history)))
        bar.close()


def _finish_others(loops: Sequence[_Loop], active: Sequence[_Loop], finish: Finish) -> None:
    """Finish the trainings that are not active any more, while the others go on."""
    for loop in loops:
        if loop not in active:
            finish(loop.training, loop.error)


def _common_progress(trainings: Sequence[Training]) -> Progress | None:
    """Return one progress bar in place of those of the nets; None if they have none."""
    title, total = None, 0
    for net in (training.net for training in trainings):
        title = title or net.run.title
        total = max(total, net.max_epochs)
        net.callbacks_ = [pair for pair in net.callbacks_ if not isinstance(pair[1], Progress)]
    if title is None:
        return None
    bar = Progress(total, f"{title} x {len(trainings)}")
    bar.on_train_begin(trainings[0].net)
    return bar


class _Step(NamedTuple):
    """What the models of a group do in one step of an epoch.

    Attributes
    ----------
    number : int
        Number of the step in the epoch.
    n_samples : Tensor of shape (n_models,)
        Number of samples in the batch of each.
    largest : int
        The largest of these numbers.
    padding : Tensor of shape (n_models, largest) or None
        Weight of each sample if the numbers differ: zero for rows that are not in a batch.
    rows : list of slice
        Models that have taken the same number of steps.
    """

    number: int
    n_samples: Tensor
    largest: int
    padding: Tensor | None
    rows: list[slice]


class Group:
    """Models whose epochs are trained together.

    Parameters
    ----------
    trainings : sequence of Training
        Of equal keys, those with the most batches first.
    """

    def __init__(self, trainings: Sequence[Training]) -> None:
        self.trainings = trainings
        self.nets = [training.net for training in trainings]
        self.batches = [training.batches for training in trainings]
        self.size = self.batches[0].batch_size
        flats, optimizers = [net.flat for net in self.nets], [net.optimizer_ for net in self.nets]
        self.stack = Stack(flats, optimizers)
        self.leaders: dict[Hashable, Batches] = {}
        for training in trainings:
            self.leaders.setdefault(training.stream, training.batches)
        self.gradients: dict[int, DenseGradient] = {}
        self.steps = [self._plan(step) for step in range(len(self.batches[0]))]
        alphas = [net.run.parameters.alpha for net in self.nets]
        self.alphas = self.stack.values.new_tensor(alphas)[:, None]
        self._stack_samples()
        self._stack_held_out()
        self.mapped: MappedStep | None = None
        if type(self.nets[0].step) is AutogradStep:
            streams = list(self.leaders.values())
            self.mapped = MappedStep(self.nets, self.stack, streams, self.stream_of)
        for net in self.nets:
            net.module_.eval()  # the group does not call the modules, but callbacks may

    def _gradient(self, n_models: int) -> DenseGradient:
        """Return the step of the first models."""
        if n_models not in self.gradients:
            modules: list[Any] = [net.run.module for net in self.nets[:n_models]]
            loss, flat = self.nets[0].run.objective.reconstruction, self.stack
            assert loss is not None
            self.gradients[n_models] = DenseGradient(
                [module.encoder for module in modules],
                [module.decoder for module in modules],
                flat.values[:n_models],
                flat.gradient[:n_models],
                loss,
                flat.values.dtype,
            )
        return self.gradients[n_models]

    def _plan(self, number: int) -> _Step:
        """Describe a step of an epoch."""
        active = [batches for batches in self.batches if len(batches) > number]
        counts = [min(self.size, len(each.samples) - number * self.size) for each in active]
        largest, new = max(counts), self.stack.values.new_tensor
        n_samples, padding = new(counts), None
        if largest > min(counts):
            is_inside = torch.arange(largest, device=n_samples.device) < n_samples[:, None]
            # Such that the mean over all rows is that over the samples.
            padding = is_inside * (largest / n_samples)[:, None]
        taken = [
            (float(net.optimizer_.state[net.flat.values].get("step", 0)), len(batches))
            for net, batches in zip(self.nets, active, strict=False)
        ]
        ends = [end for end in range(1, len(taken) + 1) if taken[end - 1 : end] != taken[end:][:1]]
        rows = [slice(start, end) for start, end in pairwise([0, *ends])]
        return _Step(number, n_samples, largest, padding, rows)

    def _stack_samples(self) -> None:
        """Copy the samples of all models into one tensor."""
        every = slice(None)
        samples = [batches.take(every) for batches in self.batches]
        counts = [len(each.samples) for each in samples]
        # Row of the first sample of each model.
        self.offsets = (
            torch.tensor([0, *counts[:-1]]).cumsum(0)[:, None].to(samples[0].samples.device)
        )
        self.all_samples = self.all_targets = torch.cat([each.samples for each in samples])
        if self.batches[0].samples.targets is not None:
            self.all_targets = torch.cat([each.target for each in samples])
        self.all_weights = None
        if any(each.weight is not None for each in samples):
            weights = [
                each.samples.new_ones(len(each.samples)) if each.weight is None else each.weight
                for each in samples
            ]
            self.all_weights = torch.cat(weights)
        n_features = self.all_samples.shape[1]
        n_bytes = len(self.nets) * self.size * n_features * self.all_samples.element_size()
        self.n_read = max(1, min(len(self.steps), CHUNK_BYTES // (2 * n_bytes)))
        levels = self.stack.values.new_tensor([each.noise_level for each in self.batches])
        self.levels = levels[:, None, None] if levels.any() else None
        if self.levels is not None and type(self.nets[0].step) is AutogradStep:
            self.n_read = 1  # the noise of a batch is drawn before the numbers of its loss
        streams = list(self.leaders)
        self.stream_of = torch.tensor([streams.index(each.stream) for each in self.trainings])
        self.noise = levels.new_zeros(
            len(streams), self.n_read, self.size, n_features, dtype=torch.float32
        )

    def release(self) -> None:
        """Give the nets memory of their own, and generators in the state of those they shared."""
        self.stack.release()
        if self.mapped is not None:
            self.mapped.release()
        for training in self.trainings:
            own, leader = training.batches, self.leaders[training.stream]
            own.continue_from(leader)

    @torch.no_grad()
    def train_epoch(self, epochs: Sequence[int]) -> list[Validation | None]:
        """Train all models on all their batches once.

        Parameters
        ----------
        epochs : sequence of int
            Number of the epoch of each model.

        Returns
        -------
        list of Validation or None
            Validation of each model after the epoch. None: it has not been evaluated.
        """
        orders = self._draw_orders()
        rates, decay = self._schedules(epochs)
        sums: Terms = {}
        for first in range(0, len(self.steps), self.n_read):
            self._read(first, orders)
            for place, step in enumerate(self.steps[first : first + self.n_read]):
                n_models, largest = len(step.n_samples), step.largest
                weight = step.padding
                if self.all_weights is not None:
                    weight = self.weight[place, :n_models, :largest]
                    weight = weight if step.padding is None else weight * step.padding
                terms = self._take_step(
                    step,
                    epochs[0],
                    self.inputs[place, :n_models, :largest],
                    self.targets[place, :n_models, :largest],
                    weight,
                )
                shrinkage = None if decay is None else decay[first + place, :n_models]
                self.stack.move(rates[first + place, :n_models], shrinkage, step.rows)
                for name, term in terms.items():
                    total = sums.setdefault(name, term.new_zeros(len(self.nets)))
                    total[:n_models].addcmul_(term, step.n_samples)
        totals = torch.stack(list(sums.values()), 1).tolist()
        for net, batches, row in zip(self.nets, self.batches, totals, strict=True):
            n_samples = len(batches.samples)
            means = {name: total / n_samples for name, total in zip(sums, row, strict=True)}
            net.record_epoch(means, len(batches))
        return self._validations()

    def _take_step(
        self, step: _Step, epoch: int, X: Tensor, y: Tensor, weight: Tensor | None
    ) -> Terms:
        """Write the gradients of a step; return the loss terms, each of shape (n_models,)."""
        if self.mapped is None:
            return {"reconstruction": self._gradient(len(X))(X, y, weight)}
        progress = self.nets[0].schedule(epoch, step.number, len(self.steps))[1]
        return self.mapped(X, y, weight, step.number, progress)

    def _schedules(self, epochs: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Return the rates of all steps, and the factors by which weights shrink, if any.

        Both have the shape (n_steps, n_models, 1).
        """
        factors: dict[Hashable, list[float]] = {}
        rates = []
        for net, batches, epoch in zip(self.nets, self.batches, epochs, strict=True):
            own, n_batches = net.run.parameters, len(batches)
            key = own.learning_rate, own.max_iter, n_batches, epoch
            if key not in factors:
                factors[key] = [
                    net.rate_factor(epoch, step, n_batches) for step in range(n_batches)
                ]
            padding = [0.0] * (len(self.steps) - n_batches)
            rates.append([own.learning_rate_init * each for each in factors[key]] + padding)
        all_rates = self.stack.values.new_tensor(rates).t().contiguous()[:, :, None]
        return all_rates, 1 - all_rates * self.alphas if self.alphas.any() else None

    def _read(self, first: int, orders: Tensor) -> None:
        """Read the samples of some steps of each model, and draw their noise."""
        steps = slice(first, first + self.n_read)
        index = orders[:, steps.start * self.size : steps.stop * self.size]
        shape = -1, len(self.nets), self.size
        # (n_models, n_read * batch_size) to (n_read, n_models, batch_size)
        index = index.unflatten(1, (-1, self.size)).transpose(0, 1).flatten()
        self.targets = self.all_targets.index_select(0, index).unflatten(0, shape)
        self.inputs = self.targets
        if self.all_samples is not self.all_targets:
            self.inputs = self.all_samples.index_select(0, index).unflatten(0, shape)
        if self.all_weights is not None:
            self.weight = self.all_weights[index].unflatten(0, shape)
        if self.levels is None:
            return
        for stream, memory in zip(self.leaders.values(), self.noise, strict=True):
            n_samples = len(stream.samples)
            for step, rows in zip(range(first, len(stream)), memory, strict=False):
                stream.draw_noise(
                    rows[: n_samples - step * self.size], stream.duplicates, stream.n_groups
                )
        # (n_read, n_streams, batch_size, n_features)
        noise = self.noise[:, : len(self.inputs)].transpose(0, 1).to(self.inputs.dtype)
        if len(self.leaders) > 1:
            noise = noise[:, self.stream_of]
        self.inputs = torch.addcmul(self.inputs, self.levels, noise)

    def _draw_orders(self) -> Tensor:
        """Draw the order of the samples of each model: rows of the data, with padding."""
        orders = self.all_samples.new_zeros(
            len(self.leaders), len(self.steps) * self.size, dtype=torch.int64
        )
        for row, batches in zip(orders, self.leaders.values(), strict=True):
            order, n_samples = batches.draw_order(), len(batches.samples)
            row[:n_samples] = torch.arange(n_samples) if order is None else order
        return orders[self.stream_of] + self.offsets

    def _stack_held_out(self) -> None:
        """Copy the held-out samples of all models into one tensor, unless they are too many."""
        held_out = [training.held_out for training in self.trainings]
        self.held_out: _HeldOut | None = None
        if all(each is not None and len(each) == 1 for each in held_out):
            whole = [batch for each in held_out if each is not None for batch in each]
            weights = [
                each.samples.take_weight(slice(0, len(each.samples))).to(batch.samples)
                for each, batch in zip(held_out, whole, strict=True)
                if each is not None
            ]
            counts = [len(batch.samples) for batch in whole]
            batch_weight = None
            if max(counts) > min(counts) or any(batch.weight is not None for batch in whole):
                own = [
                    batch.samples.new_ones(len(batch.samples))
                    if batch.weight is None
                    else batch.weight
                    for batch in whole
                ]
                # Such that the mean over all rows is that over the samples.
                batch_weight = padded([max(counts) / len(each) * each for each in own])
            self.held_out = _HeldOut(
                padded([batch.samples for batch in whole]),
                padded([batch.target for batch in whole]),
                padded(weights),
                batch_weight,
            )

    def _validations(self) -> list[Validation | None]:
        """Evaluate all models."""
        if self.held_out is None:
            return [None] * len(self.nets)
        samples, target, weight, batch_weight = self.held_out
        if self.mapped is None:
            compare = self.nets[0].run.objective.compare
            assert compare is not None
            output = self._gradient(len(self.nets)).forward(samples)
            rows = output.flatten(0, 1), target.flatten(0, 1)
            found = compare(self.nets[0].run.module, *rows)
            losses, errors = (values.view(weight.shape) for values in found)
        else:
            held_out = [each.held_out for each in self.trainings if each.held_out is not None]
            losses, errors = self.mapped.evaluate(samples, target, batch_weight, held_out)
        totals = weight.sum(1)
        mean_losses, mean_errors = (
            ((weight * values).sum(1) / totals).tolist() for values in (losses, errors)
        )
        validations: list[Validation | None] = []
        for row, net in enumerate(self.nets):
            assert net.held_out is not None
            assert net.groups is not None
            n_samples = len(net.held_out.samples)
            score = net.score_of(mean_errors[row])
            of_samples = losses[row, :n_samples], weight[row, :n_samples]
            parameters = self.stack.values[row].clone()
            validations.append(
                Validation(*of_samples, net.groups, score, {}, parameters, mean_losses[row])
            )
        return validations


class _HeldOut(NamedTuple):
    """Held-out samples of several models.

    Attributes
    ----------
    samples, target : Tensor of shape (n_models, n_held_out, n_features)
    weight : Tensor of shape (n_models, n_held_out)
        Zero after the last sample of a model.
    batch_weight : Tensor of shape (n_models, n_held_out) or None
        Weights that losses receive: as those of a batch, zero after the last sample.
    """

    samples: Tensor
    target: Tensor
    weight: Tensor
    batch_weight: Tensor | None


def padded(parts: Sequence[Tensor]) -> Tensor:
    """Stack tensors that differ in their first size, with zeros at their ends."""
    longest = max(map(len, parts))
    stacked = parts[0].new_zeros(len(parts), longest, *parts[0].shape[1:])
    for row, part in zip(stacked, parts, strict=True):
        row[: len(part)] = part
    return stacked
