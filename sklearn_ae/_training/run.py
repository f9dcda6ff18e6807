"""A training run: from its description to weights, history and state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sklearn_ae._training.batches import Batches
from sklearn_ae._training.description import Trained, TrainingRun
from sklearn_ae._training.linear import mean_and_variance, ratio_from_error
from sklearn_ae._training.optimizer import FlatParameters
from sklearn_ae._training.random import make_generator
from sklearn_ae._training.ranks import Ranks
from sklearn_ae._training.steps import AutogradStep, PlainDenseStep, SharedStep, Step

Generators = dict[str, torch.Generator]


def train(run: TrainingRun) -> Trained:
    """Train the module of a run in place.

    Returns
    -------
    Trained
    """
    # Imported when used: skorch doubles the time of an import.
    from sklearn_ae._training.callbacks import BestWeights
    from sklearn_ae._training.gathering import Gathering
    from sklearn_ae._training.net import AutoencoderNet
    from sklearn_ae._training.progress import Progress
    from sklearn_ae._training.training import Training

    run.samples.cache()
    flat = FlatParameters(run.module)
    generators = {
        "shuffle": make_generator(run.seeds.shuffle),
        "noise": make_generator(run.seeds.noise, flat.values.device),
    }
    best = BestWeights(run)
    callbacks = _collect_callbacks(run, best, generators)
    step = _choose_step(run, flat, generators["noise"])
    ranks = Ranks.current()
    if ranks is not None:
        ranks.copy_of_(flat.values.data, 0)
        step = SharedStep(step, flat, ranks)
    net = AutoencoderNet(run, flat, step, _score_of(run), callbacks, generators)
    net.initialize()
    if run.state is not None:
        _restore(run.state, net.optimizer_, flat, generators)
    training = Training(net, *_batches(run, **generators))
    gathering = Gathering.current()
    try:
        if gathering is None:
            training.alone()
        elif training.key is None:
            training.alone(gathering.is_cancelled)
        else:
            gathering.train(training)
    finally:
        for callback in callbacks:
            if isinstance(callback, Progress):  # not a method `close` of a user's callback
                callback.close()
    for parameter in run.module.parameters():
        parameter.grad = None
        # Not a view of the flat vector: the last bits of a product depend on the alignment of the
        # memory, and a loaded model, whose parameters are separate, must give the same bits.
        parameter.data = parameter.data.clone()
    run.module.eval()
    return Trained(
        [_reproducible_values(epoch) for epoch in net.history],
        float(best.best_loss),
        best.kept_epoch,
        _save(net.optimizer_, flat, generators),
        cut_short=_is_cut_short(run, len(net.history), best.waited),
    )


def _batches(
    run: TrainingRun, shuffle: torch.Generator, noise: torch.Generator
) -> tuple[Batches, Batches | None]:
    """Return the batches to train on, and those to validate on."""
    ranks = Ranks.current()
    batches = Batches(
        run.samples, run.batch_size, shuffle, run.objective.noise_level, noise, run.versions, ranks
    )
    if run.held_out is None:
        return batches, None
    at_once = min(run.held_out.chunk_size, run.objective.samples_at_once)
    return batches, Batches(run.held_out.cache(), at_once, ranks=ranks)


def _is_cut_short(run: TrainingRun, n_epochs: int, waited: int) -> bool:
    """Whether the last improvement was within the patience when `max_iter` was reached.

    The result is False for a learning rate that decreases to zero, with which the training is
    complete, and for a patience of at least `max_iter`, which could not end the training.
    """
    from sklearn_ae._training.skorch_callbacks import has_scheduler

    parameters = run.parameters
    if parameters.learning_rate != "constant" or has_scheduler(run.callbacks):
        return False
    if n_epochs < parameters.max_iter:
        return False
    return waited < parameters.n_iter_no_change < parameters.max_iter


def _collect_callbacks(run: TrainingRun, best: Any, generators: Generators) -> list[Any]:
    """Return all callbacks of a run, in the order in which they are called."""
    from sklearn_ae._training.progress import Progress

    callbacks = [best, *run.callbacks]
    if run.saved is not None:
        from sklearn_ae._training.saver import Saver

        callbacks.append(Saver(run, best, generators))  # after those whose state it saves
    ranks = Ranks.current()
    if run.title is not None and (ranks is None or ranks.is_first):
        callbacks.append(Progress(run.parameters.max_iter, run.title, best))
    return callbacks


def _score_of(run: TrainingRun) -> Callable[[float], float]:
    """Return the function that maps the mean error of the held-out samples to their score.

    For squared errors the score is the explained variance ratio. The variance is that of the
    training samples: the variance of a few held-out samples around their own mean is too small,
    and the ratio would be too low.
    """
    if run.objective.score is not None:
        return run.objective.score
    if run.held_out is None:
        return float
    samples = run.samples.targets or run.samples
    variance = float(mean_and_variance(samples)[1].mean())
    return lambda error: ratio_from_error(error / samples.n_features, variance)


def _choose_step(run: TrainingRun, flat: FlatParameters, noise: torch.Generator) -> Step:
    """Return the custom step, the hand-written one if it applies, or automatic differentiation."""
    objective = run.objective
    if objective.make_step is not None:
        return objective.make_step(flat, noise)
    plain = objective.reconstruction
    if plain is not None and PlainDenseStep.applies(run.module, plain):
        return PlainDenseStep(run.module, plain, flat, run.products)
    return AutogradStep(run.module, objective.terms, flat, run.products, noise)


def _reproducible_values(epoch: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of an epoch that the seed determines: no durations."""
    excluded = {"epoch", "batches", "dur"}
    values = {
        name: float(value)
        for name, value in epoch.items()
        if isinstance(value, float) and name not in excluded
    }
    return {"epoch": int(epoch["epoch"]), **values}


def _save(
    optimizer: torch.optim.Optimizer,
    flat: FlatParameters,
    generators: Generators,
) -> dict[str, Any]:
    """Return the state of the optimiser and the generators as NumPy arrays."""
    state = {
        name: value.detach().cpu().numpy() for name, value in optimizer.state[flat.values].items()
    }
    return state | {name: g.get_state().cpu().numpy() for name, g in generators.items()}


def _restore(
    state: dict[str, Any],
    optimizer: torch.optim.Optimizer,
    flat: FlatParameters,
    generators: Generators,
) -> None:
    """Set the optimiser and the generators to a saved state."""
    moments = optimizer.state[flat.values]
    if not set(moments) <= set(state):
        raise ValueError(
            "solver was changed since the last fit, so training cannot continue; use a new "
            "estimator, or warm_start=False."
        )
    for name, value in moments.items():
        value.copy_(torch.from_numpy(np.array(state[name])))  # a copy: arrays may be read-only
    for name, generator in generators.items():
        # The state of a generator on another device has another format; it is not restored.
        if len(state[name]) == len(generator.get_state()):
            generator.set_state(torch.from_numpy(np.array(state[name])))
