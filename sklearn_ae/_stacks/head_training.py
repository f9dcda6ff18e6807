"""Training of a linear head on the code of an autoencoder, with the encoder or alone."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._estimator.fitting import ONE_PASS, split
from sklearn_ae._estimator.identity import saved_run
from sklearn_ae._estimator.inputs import check_callbacks, check_range
from sklearn_ae._training.batches import Rows
from sklearn_ae._training.description import Hyperparameters, Objective, Trained, TrainingRun
from sklearn_ae._training.device import resolve_precision
from sklearn_ae._training.random import Seeds, drawing_from, make_generator
from sklearn_ae._training.resources import heavy
from sklearn_ae._training.run import train
from sklearn_ae._training.steps import weighted_means
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks._head import HeadedModule
from sklearn_ae.networks._module import inner_width

OTHERS = 256
"""Least number of rows whose reconstruction a step of fine-tuning looks at."""


class Labels(NamedTuple):
    """What is known of the rows.

    Attributes
    ----------
    values : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Labels; of samples without one any value.
    targets : ndarray of shape (n_samples, n_targets), float64
        What the head's loss is told, whatever it is of rows without a label.
    known : ndarray of shape (n_samples,), dtype bool
        Whether a row has a label, and a weight.
    weight : Tensor of shape (n_samples,) or None
        Of each row, where it is trained on with its label.
    strata : ndarray of shape (n_samples,)
        Rows are held out of each in the same share.
    n_outputs : int
        Size of what the head gives for a row.
    """

    values: np.ndarray
    targets: np.ndarray
    known: np.ndarray
    weight: Tensor | None
    strata: np.ndarray
    n_outputs: int


class HeadTraining:
    """How a head is trained, and what is under it unless that is to stay as it is.

    Parameters
    ----------
    stack : SupervisedStack
        Its parameters say how, its hooks by what loss. It is not changed.
    autoencoder : BaseAutoencoder
        Fitted. Its module is trained in place.
    labels : Labels
    seeds : Seeds
    one_pass : bool
        Whether this is a pass over one chunk of many.
    """

    def __init__(
        self,
        stack: Any,
        autoencoder: BaseAutoencoder,
        labels: Labels,
        seeds: Seeds,
        one_pass: bool,
    ) -> None:
        self.stack = stack
        self.autoencoder = autoencoder
        self.labels = labels
        self.seeds = seeds
        self.one_pass = one_pass
        self.trains = "head"
        if stack.fine_tune:
            self.trains = "all" if stack.reconstruction_weight else "encoder"

    @heavy
    def run(
        self, rows: Rows, state: dict[str, Any] | None, listeners: list[Any]
    ) -> tuple[HeadedModule, Trained]:
        """Train on the labelled ones among the rows.

        Parameters
        ----------
        rows : Rows
            All of them, in the units of the autoencoder's network.
        state : dict or None
            What :meth:`state_of` gave after an earlier run that this one continues.
        listeners : list of skorch callbacks
            Further ones than the user's.

        Returns
        -------
        module : HeadedModule
        trained : Trained
        """
        loss = self.autoencoder._get_loss()
        if self.trains == "all" and not loss.scaled:
            check_range(rows.X, "X", loss, self.autoencoder._says_loss())
        with drawing_from(make_generator(self.seeds.subspace, rows.device)):
            module = HeadedModule(self.autoencoder.module_, self.labels.n_outputs, self.trains)
        if state is not None:
            self._take_up(module, state)
        if not self.labels.known.any():  # nor has this chunk any
            earlier = {} if state is None else state["training"]
            return module, Trained([], math.nan, 0, earlier)
        # The others of weight zero are left out here as everywhere.
        self.others = rows
        if rows.weight is not None:
            self.others = rows.where(rows.weight.numpy() > 0)
        return module, train(self._training(module, rows, state, listeners))

    def state_of(self, module: HeadedModule, training: dict[str, Any] | None) -> dict[str, Any]:
        """Describe where a run left off, by plain values and NumPy arrays."""
        return {"trains": self.trains, "head": module.head_state(), "training": training}

    def _take_up(self, module: HeadedModule, state: dict[str, Any]) -> None:
        if state["trains"] != self.trains:
            raise ValueError(
                f"the last fit trained {state['trains']!r} and this one is to train "
                f"{self.trains!r}, so training cannot continue; leave fine_tune and "
                f"reconstruction_weight as they were, or set warm_start=False."
            )
        module.load_head(state["head"])

    def _training(
        self,
        module: HeadedModule,
        rows: Rows,
        state: dict[str, Any] | None,
        listeners: list[Any],
    ) -> TrainingRun:
        """Describe the training run."""
        stack, network = self.stack, self.autoencoder.module_.network
        training, held_out = self._labelled(rows)
        if self.trains == "head":  # codes, then, and not rows
            encode = self.autoencoder.module_.encode
            sizes = len(module.code_mean), network.rows_at_once
            training = training.through(encode, *sizes)
            held_out = held_out and held_out.through(encode, *sizes)
        double = rows.dtype == torch.float64
        width = inner_width(module)
        precision = resolve_precision(stack.precision, double, len(training), width, rows.device)
        self.products = precision.products
        objective = Objective(
            terms=self.loss,
            evaluate=self.judge,
            score=stack._score_of(),
            keeps_highest_score=stack._monitors_score(),
            samples_at_once=network.rows_at_once,
            anneals=not self.one_pass,
        )
        return TrainingRun(
            module=module,
            samples=training,
            held_out=held_out,
            objective=objective,
            parameters=Hyperparameters.of(stack, **(ONE_PASS if self.one_pass else {})),
            products=self.products,
            seeds=self.seeds,
            state=(state or {}).get("training") or None,
            callbacks=[*listeners, *check_callbacks(stack.callbacks)],
            title=type(stack).__name__ if stack.verbose and not self.one_pass else None,
            saved=None if self.one_pass else saved_run(stack),
            other_samples=self.others if self.trains == "all" else None,
        )

    def _labelled(self, rows: Rows) -> tuple[Rows, Rows | None]:
        """Return the labelled rows to train on, and those to validate on or None."""
        labels, stack = self.labels, self.stack
        rows = copy.copy(rows)
        rows.weight = labels.weight
        rows.targets = Rows(labels.targets, labels.weight, rows.device, rows.dtype)
        rows = rows.where(labels.known)
        if self.one_pass or not stack.early_stopping:
            return rows, None
        strata = labels.strata[labels.known]
        return split(rows, self.seeds.split, stack.validation_fraction, strata)

    def loss(
        self, module: HeadedModule, X: Tensor, y: Tensor, sample_weight: Tensor | None
    ) -> dict[str, Tensor]:
        """Loss of labelled rows, and that of the reconstruction of any rows on request."""
        terms = {"supervised": self.stack._judge_outputs(module(X), y)[0]}
        if self.trains != "all":
            return terms
        rows, weight = self.others, None
        index: Any = slice(0, len(rows))
        if len(rows) > max(len(X), OTHERS):
            index = torch.randint(len(rows), (max(len(X), OTHERS),), device=X.device).cpu()
        if rows.weight is not None:
            weight = (rows.take_weight(index) * len(rows) / rows.total_weight).to(X.dtype)
        own = self.autoencoder._loss(module.autoencoder, rows.take(index), None, weight)
        error = torch.stack(list(weighted_means(own, weight).values())).sum()
        return terms | {"reconstruction": self.stack.reconstruction_weight * error}

    def judge(
        self, module: HeadedModule, X: Tensor, y: Tensor, sample_weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return loss and error of each row."""
        low = self.products == torch.bfloat16
        with torch.autocast(X.device.type, self.products, enabled=low):
            output = module(X)
        return self.stack._judge_outputs(output, y)
