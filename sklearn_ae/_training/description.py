"""Description of a training run, and its result."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sklearn_ae._training.batches import CHUNK_SAMPLES, Samples
from sklearn_ae._training.checkpoint import FitCheckpoint
from sklearn_ae._training.optimizer import FlatParameters
from sklearn_ae._training.random import Seeds
from sklearn_ae._training.steps import LossFunction, Step
from sklearn_ae.losses import Loss
from sklearn_ae.networks._module import TrainableModule
from sklearn_ae.networks._network import python_numbers

LONGEST_ANNEALING = 10_000
"""Largest number of epochs in which an objective changes.

Patience counts from the epoch in which the objective no longer changes. With ``max_iter=10**6``,
set so that only patience ends the training, a tenth of `max_iter` would take days.
"""

Evaluation = Callable[[Any, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""``(module, X, target, weight)`` to the loss and the error of each sample."""


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Parameters of estimators that the training reads, under the same names.

    A new one is declared among the shared parameters of estimators, and then listed here.
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
    def names(cls) -> list[str]:
        """Return the names of all parameters."""
        return [each.name for each in fields(cls)]

    @classmethod
    def of(cls, estimator: Any, **changed: Any) -> Hyperparameters:
        """Copy the parameters of an estimator, with other values for those in `changed`."""
        values = {each.name: getattr(estimator, each.name) for each in fields(cls)} | changed
        return cls(**{name: python_numbers(value) for name, value in values.items()})


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss that training minimises, and the evaluation of held-out samples.

    Attributes
    ----------
    terms : callable
        ``(module, X, y, sample_weight)`` to named loss terms.
    reconstruction : Loss or None
        The loss if it is the reconstruction loss alone: dense networks then use the hand-written
        step.
    make_step : callable or None
        ``(flat, generator)`` to a custom step, which replaces the gradient of `terms`.
    noise_level : float
        Standard deviation of the noise on the inputs of the encoder.
    evaluate : callable or None
        Returns the loss and the error of each held-out sample. None: no samples are held out.
    signature : Hashable or None
        What `terms` and `compare` depend on beside their arguments: several modules may be
        trained together by those of one. None: each module has its own.
    compare : callable or None
        ``(module, output, target)`` to what `evaluate` returns, if it depends on no more than the
        outputs of the module for the samples.
    score : callable or None
        Maps the weighted mean error of the held-out samples to their score. None: errors are
        squared errors, and the score is the explained variance ratio.
    columns : tuple of str
        Names of the columns of a table, for each of which `evaluate` returns an error. Empty: it
        returns one error for a sample.
    keeps_highest_score : bool
        Whether the best epoch is the one with the highest score instead of the lowest loss.
    prefers_last : bool
        Whether the last epoch of an annealed learning rate is kept unless an earlier one is
        significantly better.
    samples_at_once : int
        Largest number of samples that `evaluate` receives in one call.
    anneals : bool
        Whether the module's ``progress`` increases from 0 to 1. If not, it is 1 throughout: when
        training continues, and in ``partial_fit``, which cannot tell the number of chunks.
    annealed_from : float
        Fraction of the training after which the objective no longer changes.
    needs_significance : bool
        Whether the initial weights are kept unless the best epoch is significantly better.
    """

    terms: LossFunction
    reconstruction: Loss | None = None
    make_step: Callable[[FlatParameters, torch.Generator], Step] | None = None
    noise_level: float = 0.0
    evaluate: Evaluation | None = None
    signature: Hashable | None = None
    compare: Callable[[Any, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    score: Callable[[float], float] | None = None
    columns: tuple[str, ...] = ()
    keeps_highest_score: bool = False
    prefers_last: bool = False
    samples_at_once: int = CHUNK_SAMPLES
    anneals: bool = True
    annealed_from: float = 0.0
    needs_significance: bool = False


class SavedRun(NamedTuple):
    """The checkpoint of a training run.

    Attributes
    ----------
    checkpoint : FitCheckpoint
    identity : str
        Description of the estimator and its parameters, which is hashed in the name of the file.
    """

    checkpoint: FitCheckpoint
    identity: str


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Everything that the training of a module depends on.

    Attributes
    ----------
    module : TrainableModule
        Trained in place.
    samples : Samples
        Samples to train on, centred and scaled.
    held_out : Samples or None
        Samples to validate on.
    objective : Objective
    parameters : Hyperparameters
    products : torch.dtype
        Dtype of the matrix products.
    seeds : Seeds
    state : dict or None
        Final state of an earlier run of the same module, from which training continues.
    callbacks : list of skorch callbacks
    title : str or None
        Text in front of the progress bar. None: no progress bar.
    saved : SavedRun or None
        Checkpoint of the run. None: the run cannot be resumed.
    versions : list of Samples
        Other versions of `samples`, with other values hidden: one is drawn for each epoch.
    other_samples : Samples or None
        Further samples that the objective uses; the name of a checkpoint depends on them, too.
    max_batch_size : int
        Largest batch size that is chosen without being asked for.
    """

    module: TrainableModule
    samples: Samples
    held_out: Samples | None
    objective: Objective
    parameters: Hyperparameters
    products: torch.dtype
    seeds: Seeds
    state: dict[str, Any] | None = None
    callbacks: list[Any] = field(default_factory=list)
    title: str | None = None
    saved: SavedRun | None = None
    versions: list[Samples] = field(default_factory=list)
    other_samples: Samples | None = None
    max_batch_size: int = 256

    @property
    def batch_size(self) -> int:
        """Number of samples in a training step.

        By default it increases with the number of samples: small data need enough steps per
        epoch, and large data are processed faster in large batches.
        """
        size = self.parameters.batch_size
        if not isinstance(size, str):
            return size
        n_samples = len(self.samples)
        usual = 64 if n_samples < 1024 else 128 if n_samples < 16384 else 256
        return min(usual, self.max_batch_size)

    @property
    def annealing_epochs(self) -> int:
        """Number of epochs in which the module's ``progress`` increases from 0 to 1."""
        return min(self.parameters.max_iter, LONGEST_ANNEALING)


@dataclass
class Trained:
    """Result of a training run.

    Attributes
    ----------
    history : list of dict
        One entry per epoch: its number, the loss, its terms, the held-out loss and score.
    best_loss : float
        Held-out loss of the kept weights, or lowest training loss if no samples were held out.
    best_epoch : int
        Number of the epoch whose weights were kept; zero for the initial weights.
    state : dict or None
        State of the optimiser and the generators, as NumPy arrays. None: a later call starts
        with a new one.
    description : dict
        Fitted attributes of the estimator's own.
    cut_short : bool
        Whether `max_iter` ended the training before patience could.
    """

    history: list[dict[str, float]]
    best_loss: float
    best_epoch: int
    state: dict[str, Any] | None
    description: dict[str, Any] = field(default_factory=dict)
    cut_short: bool = False
