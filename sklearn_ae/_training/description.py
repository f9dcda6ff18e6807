"""What a training run is told, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sklearn_ae._training.batches import CHUNK_ROWS, Rows
from sklearn_ae._training.checkpoint import FitCheckpoint
from sklearn_ae._training.optimizer import FlatParameters
from sklearn_ae._training.random import Seeds
from sklearn_ae._training.steps import LossFunction, Step
from sklearn_ae.losses import Loss
from sklearn_ae.networks._module import TrainableModule
from sklearn_ae.networks._network import python_numbers

LONGEST_ANNEALING = 10_000
"""Number of epochs over which an objective changes at most.

Patience begins when the objective no longer changes. With ``max_iter=10**6``, which asks for
patience alone to end the training, a tenth of that would take days.
"""

Evaluation = Callable[[Any, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""``(module, X, target, weight)`` to the loss and the error of each sample."""


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Parameters of estimators that the training itself reads, under their names.

    A further one is declared among the shared parameters of estimators, repeated here, and used.
    """

    alpha: float
    batch_size: int | str
    learning_rate: str
    learning_rate_init: float
    max_iter: int
    momentum: float
    n_iter_no_change: float
    solver: str
    tol: float

    @classmethod
    def of(cls, estimator: Any, **changed: Any) -> Hyperparameters:
        """Copy an estimator's, those apart that are given."""
        values = {each.name: getattr(estimator, each.name) for each in fields(cls)} | changed
        return cls(**{name: python_numbers(value) for name, value in values.items()})


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is minimised, and how the result is evaluated.

    Attributes
    ----------
    terms : callable
        ``(module, X, y, sample_weight)`` to named loss terms.
    reconstruction : Loss or None
        The loss, if it is that of the reconstruction alone; a dense network then takes the
        hand-written step.
    make_step : callable or None
        ``(flat, generator)`` to a step of the variant's own, in place of the gradient of `terms`.
    noise_level : float
        Standard deviation of the noise on the encoder's inputs.
    evaluate : callable or None
        Loss and error of each held-out sample. None: nothing is held out.
    score : callable or None
        Weighted mean error of the held-out samples to their score. None: the errors are squared
        ones, and the score is the fraction of variance explained.
    keeps_highest_score : bool
        Whether the best epoch is that of the highest score instead of the lowest loss.
    prefers_last : bool
        Whether the last epoch of an annealed learning rate is kept unless an earlier one is
        significantly better.
    samples_at_once : int
        Number of samples that `evaluate` may receive at a time.
    anneals : bool
        Whether the module's ``progress`` runs from 0 to 1. It is 1 in a pass over one chunk of
        an unknown number, and where training continues.
    annealed_from : float
        Fraction of the training after which the objective no longer changes.
    needs_significance : bool
        Whether the start is kept unless the best epoch is significantly better.
    """

    terms: LossFunction
    reconstruction: Loss | None = None
    make_step: Callable[[FlatParameters, torch.Generator], Step] | None = None
    noise_level: float = 0.0
    evaluate: Evaluation | None = None
    score: Callable[[float], float] | None = None
    keeps_highest_score: bool = False
    prefers_last: bool = False
    samples_at_once: int = CHUNK_ROWS
    anneals: bool = True
    annealed_from: float = 0.0
    needs_significance: bool = False


class SavedRun(NamedTuple):
    """Where a run keeps its state between epochs.

    Attributes
    ----------
    checkpoint : FitCheckpoint
    identity : str
        The estimator and its parameters, part of the name of the file.
    """

    checkpoint: FitCheckpoint
    identity: str


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Everything that decides how a module is trained.

    Attributes
    ----------
    module : TrainableModule
        Trained in place.
    samples : Rows
        Centred and scaled samples to train on.
    held_out : Rows or None
        Samples to validate on.
    objective : Objective
    parameters : Hyperparameters
    products : torch.dtype
        Precision of the matrix products.
    seeds : Seeds
    state : dict or None
        Where an earlier run of the same module stopped.
    callbacks : list of skorch callbacks
    title : str or None
        What the progress bar is called. None: there is none.
    saved : SavedRun or None
    other_samples : Rows or None
        Samples that the objective reads by itself; a checkpoint depends on them, too.
    """

    module: TrainableModule
    samples: Rows
    held_out: Rows | None
    objective: Objective
    parameters: Hyperparameters
    products: torch.dtype
    seeds: Seeds
    state: dict[str, Any] | None = None
    callbacks: list[Any] = field(default_factory=list)
    title: str | None = None
    saved: SavedRun | None = None
    other_samples: Rows | None = None

    @property
    def batch_size(self) -> int:
        """Samples in a training step: small data get enough steps, large ones enough work."""
        size = self.parameters.batch_size
        if not isinstance(size, str):
            return size
        n_samples = len(self.samples)
        return 64 if n_samples < 1024 else 128 if n_samples < 16384 else 256

    @property
    def annealing_epochs(self) -> int:
        """Number of epochs in which the module's ``progress`` runs from 0 to 1."""
        return min(self.parameters.max_iter, LONGEST_ANNEALING)


@dataclass
class Trained:
    """What a training run returns.

    Attributes
    ----------
    history : list of dict
        One entry per epoch: its number, the loss, its terms, the held-out loss and score.
    best_loss : float
        Lowest held-out loss, or lowest training loss where nothing was held out.
    best_epoch : int
        Number of the epoch whose weights were kept; zero if they are those of the start.
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
