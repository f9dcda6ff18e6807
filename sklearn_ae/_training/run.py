"""One training run, from prepared rows and module to weights, history and state."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._training.batches import CHUNK_ROWS, Batches, Rows
from sklearn_ae._training.checkpoint import FitCheckpoint, without_name
from sklearn_ae._training.linear import share_explained, spread
from sklearn_ae._training.optimizer import FlatParameters
from sklearn_ae._training.random import make_generator
from sklearn_ae._training.steps import AutogradStep, LossFunction, PlainDenseStep, Step
from sklearn_ae.losses import Loss
from sklearn_ae.networks._module import TrainableModule


@dataclass(kw_only=True)
class Training:
    """What a training run needs to know.

    Attributes
    ----------
    module : TrainableModule
        Trained in place.
    rows, held_out : Rows
        Rows to train on, and rows to validate on or None.
    loss : callable
        ``(module, X, y, sample_weight)`` to named terms.
    plain : Loss or None
        The loss, where it is nothing but that of the reconstruction; a dense network then
        takes the hand-written step.
    judge : callable
        ``(module, rows, target, weight)`` to the loss and the error of each row. Needed where
        rows are held out.
    score : callable or None
        Weighted mean error of the held-out rows to their score. None: the errors are squared
        ones, and the score is the fraction of variance explained.
    monitor_score : bool
        Whether the best epoch is that of the highest score instead of the lowest loss.
    keep_last : bool
        Whether the last epoch is kept unless the best one is significantly better.
    products : torch.dtype
        Precision of the matrix products.
    noise_level : float
        Standard deviation of the noise on what the encoder sees.
    seeds : Seeds
    state : dict or None
        Where an earlier run of the same module left off.
    make_step : callable or None
        ``(flat, generator)`` to a step of the variant's own, in place of the gradient of `loss`.
    momentum : float or None
        Of gradient descent. None: Adam.
    checkpoint : FitCheckpoint or None
        Where to keep the state between epochs.
    identity : str
        The estimator and its parameters, by which a checkpoint is known again.
    others : Rows or None
        Further rows that the loss looks at by itself, by which it is known as well.
    """

    module: TrainableModule
    rows: Rows
    held_out: Rows | None
    loss: LossFunction
    products: torch.dtype
    seeds: Any
    batch_size: int | str
    learning_rate_init: float
    schedule: str
    alpha: float
    max_iter: int
    tol: float
    patience: float
    judge: Callable[..., tuple[Tensor, Tensor]] | None = None
    plain: Loss | None = None
    score: Callable[[float], float] | None = None
    monitor_score: bool = False
    noise_level: float = 0.0
    has_course: bool = True
    settled_from: float = 0.0
    rows_at_once: int = CHUNK_ROWS
    demand_evidence: bool = False
    keep_last: bool = False
    callbacks: list[Any] = field(default_factory=list)
    progress: str | None = None
    state: dict[str, Any] | None = None
    make_step: Callable[[FlatParameters, torch.Generator], Step] | None = None
    momentum: float | None = None
    checkpoint: FitCheckpoint | None = None
    identity: str = ""
    others: Rows | None = None


@dataclass
class Trained:
    """What a training run leaves behind.

    Attributes
    ----------
    history : list of dict
        One entry an epoch: its number, the loss, its terms, the held-out loss and score.
    best_loss : float
        Lowest held-out loss, or lowest training loss where nothing was held out.
    best_epoch : int
        Number of the epoch whose weights were kept; zero where it is the start.
    state : dict
        Optimiser and generators, as NumPy arrays.
    description : dict
        The variant's own fitted attributes.
    cut_short : bool
        Whether `max_iter` ended the training before patience could, which it could have.
    """

    history: list[dict[str, float]]
    best_loss: float
    best_epoch: int
    state: dict[str, Any]
    description: dict[str, Any] = field(default_factory=dict)
    cut_short: bool = False


def auto_batch_size(n_rows: int) -> int:
    """Batch size that gives small tables enough steps and large ones enough arithmetic."""
    return 64 if n_rows < 1024 else 128 if n_rows < 16384 else 256


def train(training: Training) -> Trained:
    """Train the module."""
    # Imported when used: skorch doubles the time of an import.
    from sklearn_ae._training.callbacks import BestWeights, Progress
    from sklearn_ae._training.net import LONGEST_COURSE, AutoencoderNet, Plan

    flat = FlatParameters(training.module)
    device = flat.values.device
    rows = training.rows.hold()
    shuffle = make_generator(training.seeds.shuffle)
    noise = make_generator(training.seeds.noise, device)
    best = BestWeights(
        _monitored(training),
        training.tol,
        training.patience,
        training.demand_evidence,
        has_evidence=training.held_out is not training.rows,
        settled_from=training.settled_from * min(training.max_iter, LONGEST_COURSE),
        keep_last=training.keep_last,
    )
    generators = {"shuffle": shuffle, "noise": noise}
    listeners = _listeners(training, best, generators)
    plan = Plan(
        step=_choose_step(training, flat, noise),
        judge=training.judge and functools.partial(training.judge, training.module),
        learning_rate_init=training.learning_rate_init,
        schedule=training.schedule,
        alpha=training.alpha,
        max_iter=training.max_iter,
        has_course=training.has_course,
        score=training.score or _explained(training),
        seed=training.seeds.split,
        momentum=training.momentum,
    )
    net = AutoencoderNet(training.module, flat, plan, listeners)
    net.initialize()
    if training.state is not None:
        _restore(training.state, net.optimizer_, flat, generators)
    auto = isinstance(training.batch_size, str)
    size = auto_batch_size(len(training.rows)) if auto else int(training.batch_size)
    held_out = training.held_out
    judged = None
    if held_out is not None:
        at_once = min(held_out.chunk_size, training.rows_at_once)
        judged = Batches(held_out.hold(), at_once)
    try:
        net.train(Batches(rows, size, shuffle, training.noise_level, noise), judged)
    finally:
        for listener in listeners:
            if isinstance(listener, Progress):
                listener.close()
    for parameter in training.module.parameters():
        parameter.grad = None
        # Memory of its own, as a loaded model has: bits of products depend on its boundaries.
        parameter.data = parameter.data.clone()
    training.module.eval()
    return Trained(
        [_plain(epoch) for epoch in net.history],
        float(best.best_loss),
        best.kept_epoch,
        _save(net.optimizer_, flat, generators),
        cut_short=_is_cut_short(training, len(net.history), best.waited),
    )


def _is_cut_short(training: Training, n_epochs: int, waited: int) -> bool:
    """Whether there was an improvement within the patience when `max_iter` was reached.

    A schedule that falls to zero by then is done, and so is a fit whose length is `max_iter`
    because patience cannot end it before.
    """
    from skorch.callbacks import LRScheduler

    scheduled = any(isinstance(without_name(each), LRScheduler) for each in training.callbacks)
    if training.schedule != "constant" or scheduled or n_epochs < training.max_iter:
        return False
    return waited < training.patience < training.max_iter


def _listeners(training: Training, best: Any, generators: dict[str, torch.Generator]) -> list[Any]:
    """Collect what hears of the epochs: a checkpoint after those whose state it keeps."""
    from sklearn_ae._training.callbacks import Progress

    listeners = [best, *training.callbacks]
    if training.checkpoint is not None:
        from sklearn_ae._training.saver import Saver

        shown = [training.rows, training.held_out, training.others]
        known = training.checkpoint, training.identity
        listeners.append(Saver(*known, best, generators, shown, training.progress))
    if training.progress is not None:
        listeners.append(Progress(training.max_iter, training.progress))
    return listeners


def _monitored(training: Training) -> str:
    if training.held_out is None:
        return "train_loss"
    return "valid_score" if training.monitor_score else "valid_loss"


def _explained(training: Training) -> Callable[[float], float]:
    """Turn mean squared errors of held-out rows into the fraction of variance explained.

    The variance is that of the training rows: that of a few held-out ones around their own mean is
    too small, and the fraction would be too low.
    """
    if training.held_out is None:
        return float
    rows = training.rows.targets or training.rows
    variance = float(spread(rows)[1].mean())
    return lambda error: share_explained(error / rows.n_features, variance)


def _choose_step(training: Training, flat: FlatParameters, noise: torch.Generator) -> Step:
    """Take the hand-written step where it applies, else automatic differentiation."""
    if training.make_step is not None:
        return training.make_step(flat, noise)
    plain = training.plain
    if plain is not None and PlainDenseStep.applies(training.module, plain):
        return PlainDenseStep(training.module, plain, flat, training.products)
    return AutogradStep(training.module, training.loss, flat, training.products, noise)


def _plain(epoch: dict[str, Any]) -> dict[str, float]:
    """Keep what is a number and repeats with the seed: no durations, no batches."""
    passing = {"epoch", "batches", "dur"}
    values = {
        name: float(value)
        for name, value in epoch.items()
        if isinstance(value, float) and name not in passing
    }
    return {"epoch": int(epoch["epoch"]), **values}


def _save(
    optimizer: torch.optim.Optimizer,
    flat: FlatParameters,
    generators: dict[str, torch.Generator],
) -> dict[str, Any]:
    state = {
        name: value.detach().cpu().numpy() for name, value in optimizer.state[flat.values].items()
    }
    return state | {name: g.get_state().cpu().numpy() for name, g in generators.items()}


def _restore(
    state: dict[str, Any],
    optimizer: torch.optim.Optimizer,
    flat: FlatParameters,
    generators: dict[str, torch.Generator],
) -> None:
    moments = optimizer.state[flat.values]
    if not set(moments) <= set(state):
        raise ValueError(
            "solver was changed since the last fit, so training cannot continue; use a new "
            "estimator, or warm_start=False."
        )
    for name, value in moments.items():
        value.copy_(torch.from_numpy(np.array(state[name])))
    for name, generator in generators.items():
        if len(state[name]) == len(generator.get_state()):  # another device has another format
            generator.set_state(torch.from_numpy(np.array(state[name])))
