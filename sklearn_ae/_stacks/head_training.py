"""Train a linear layer on the code of an autoencoder, alone or together with the encoder."""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._estimator.fitting import ONE_PASS
from sklearn_ae._estimator.identity import saved_run
from sklearn_ae._estimator.inputs import check_callbacks, check_range
from sklearn_ae._stacks.propagation import propagate
from sklearn_ae._stacks.virtual_adversarial import (
    MAX_COMPARED,
    neighborhood_radius,
    virtual_adversarial_loss,
)
from sklearn_ae._training.batches import Samples, by_chunks
from sklearn_ae._training.description import Hyperparameters, Objective, Trained, TrainingRun
from sklearn_ae._training.device import resolve_precision
from sklearn_ae._training.held_out import held_out_mask
from sklearn_ae._training.random import Seeds, drawing_from, make_generator
from sklearn_ae._training.resources import limit_resources
from sklearn_ae._training.run import train
from sklearn_ae._training.steps import weighted_means
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks._head import HeadedModule
from sklearn_ae.networks._module import AutoencoderModule, inner_width, n_shared_products
from sklearn_ae.networks._network import Network
from sklearn_ae.networks.dense import DenseStack

MIN_RECONSTRUCTED = 256
"""Minimum number of samples whose reconstruction loss enters a step of fine-tuning."""

MAX_PSEUDO_LABELLED = 10_000
"""Maximum number of unlabelled samples that receive a label, and of labels that are propagated."""

MAX_VALUES = 2**25
"""Maximum number of values of their codes, and of their features if these are compared as well."""

MIN_CERTAINTY = 0.05
"""Certainty below which a sample receives no label: it would only take a place in batches."""


class Labels(NamedTuple):
    """Validated labels or targets of the samples.

    Attributes
    ----------
    values : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Labels in the form that a `head` takes; arbitrary for unlabelled samples.
    targets : ndarray of shape (n_samples, n_targets), float64
        Targets of the loss of the linear layer; arbitrary for unlabelled samples.
    labelled : ndarray of shape (n_samples,), dtype bool
        Whether a sample has a label and a positive weight.
    weight : Tensor of shape (n_samples,) or None
        Weights of the samples in supervised training, class weights included.
    strata : ndarray of shape (n_samples,)
        Groups of samples; the same fraction of each is held out.
    n_outputs : int
        Number of outputs of the linear layer.
    class_weight : ndarray of shape (n_classes,) or None
        Weights of the classes, which are factors of `weight`.
    """

    values: np.ndarray
    targets: np.ndarray
    labelled: np.ndarray
    weight: Tensor | None
    strata: np.ndarray
    n_outputs: int
    class_weight: np.ndarray | None = None


class HeadTraining:
    """Training of the linear layer and, with fine-tuning, of the encoder or the autoencoder.

    Parameters
    ----------
    stack : SupervisedStack
        Its parameters specify the training, its hooks the loss. It is not changed.
    autoencoder : BaseAutoencoder
        Fitted autoencoder. Its module is trained in place.
    labels : Labels
    seeds : Seeds
    one_pass : bool
        Whether to train for one pass over one chunk of the data.
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
        self.radius = 0.0
        self.trains = "head"
        if stack.fine_tune:
            self.trains = "all" if stack.reconstruction_weight else "encoder"

    @limit_resources
    def run(
        self, samples: Samples, state: dict[str, Any] | None, listeners: list[Any]
    ) -> tuple[HeadedModule, Trained]:
        """Train on the labelled samples.

        Parameters
        ----------
        samples : Samples
            All samples, in the units of the autoencoder's network.
        state : dict or None
            State of the run that this one continues, from :meth:`state_of`.
        listeners : list of skorch callbacks
            Callbacks in addition to those of the user.

        Returns
        -------
        module : HeadedModule
        trained : Trained
        """
        loss = self.autoencoder._get_loss()
        if self.trains == "all" and not loss.scaled:
            check_range(samples.X, "X", loss, self.autoencoder._loss_description())
        with drawing_from(make_generator(self.seeds.subspace, samples.device)):
            module = HeadedModule(self.autoencoder.module_, self.labels.n_outputs, self.trains)
        if state is not None:
            self._restore(module, state)
        if not self.labels.labelled.any():  # possible only in a chunk after the first one
            earlier = {} if state is None else state["training"]
            return module, Trained([], math.nan, 0, earlier)
        self.reconstructed = samples
        if samples.weight is not None:  # samples of weight zero do not take part in any training
            self.reconstructed = samples.where(samples.weight.numpy() > 0)
        return module, train(self._training(module, samples, state, listeners))

    def state_of(self, module: HeadedModule, training: dict[str, Any] | None) -> dict[str, Any]:
        """Return the state at the end of a run, as plain values and NumPy arrays."""
        return {"trains": self.trains, "head": module.head_state(), "training": training}

    def _restore(self, module: HeadedModule, state: dict[str, Any]) -> None:
        """Restore the linear layer of an earlier run, which must have trained the same parts."""
        if state["trains"] != self.trains:
            raise ValueError(
                f"the last fit trained {state['trains']!r}, but this one would train "
                f"{self.trains!r}, so training cannot continue; leave fine_tune and "
                f"reconstruction_weight unchanged, or set warm_start=False."
            )
        module.load_head(state["head"])

    def _training(
        self,
        module: HeadedModule,
        samples: Samples,
        state: dict[str, Any] | None,
        listeners: list[Any],
    ) -> TrainingRun:
        """Describe the training run."""
        stack, network = self.stack, self.autoencoder.module_.network
        training, held_out = self._labelled(samples)
        if self.trains == "head":  # the encoder is fixed, so the layer is trained on codes
            encode = self.autoencoder.module_.encode
            sizes = len(module.code_mean), network.samples_at_once
            training = training.map(encode, *sizes)
            held_out = held_out and held_out.map(encode, *sizes)
        autoencoder = self.autoencoder.module_
        sample = autoencoder.complete(torch.zeros_like(autoencoder.center)[None])
        double = samples.dtype == torch.float64
        precision = resolve_precision(
            stack.precision,
            double,
            len(training),
            inner_width(module),
            samples.device,
            n_shared_products(module, sample),
        )
        self.products = precision.products
        objective = Objective(
            terms=self.loss,
            signature=self._signature(),
            evaluate=self.evaluate,
            score=stack._error_to_score(),
            keeps_highest_score=stack._monitors_score(),
            samples_at_once=network.samples_at_once,
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
            other_samples=self.reconstructed if self.trains == "all" else None,
            max_batch_size=(Network if self.trains == "head" else network).max_batch_size,
        )

    def _signature(self) -> Hashable | None:
        """Return what the loss depends on beside the module; None: more than can be named."""
        stack, module = self.stack, self.autoencoder.module_
        # The step of several models maps the parts that are trained, and no others.
        encodes_alone = self.trains == "encoder" and type(module) is AutoencoderModule
        is_own = type(stack).__module__.startswith("sklearn_ae.")
        if not is_own or self.radius or not (self.trains == "head" or encodes_alone):
            return None
        if not isinstance(module.encoder, DenseStack) or module.encoder.is_tied():
            return None
        return type(stack), self.trains, bool(getattr(stack, "_has_several_labels", False))

    def _labelled(self, samples: Samples) -> tuple[Samples, Samples | None]:
        """Return the labelled training samples, and the held-out samples or None."""
        labels, stack = self.labels, self.stack
        training, held_out = _with_labels(samples, labels), None
        if not self.one_pass and stack.early_stopping:
            strata = labels.strata[labels.labelled]
            mask = held_out_mask(training, self.seeds.split, stack.validation_fraction, strata)
            held_out = training
            if mask.any():
                held_out = training.where(mask).on_disk()
                kept = labels.labelled.copy()
                kept[labels.labelled] = ~mask
                labels = labels._replace(labelled=kept)
        # Labels that are held out or have the weight zero are not replaced.
        unlabelled = np.flatnonzero(~self.labels.labelled & (_weights(samples) > 0))
        if not self.one_pass and len(unlabelled):
            if self.trains != "head" and stack._adversarial_weight():
                self.radius = self._radius(samples)
            if stack._propagates_labels():
                labels = self._with_pseudo_labels(samples, labels, unlabelled)
        return _with_labels(samples, labels), held_out

    def _radius(self, samples: Samples) -> float:
        """Return the radius of the neighbourhoods of the virtual adversarial loss."""
        chosen = np.flatnonzero(_weights(samples) > 0)
        at_most = min(MAX_COMPARED, max(1, MAX_VALUES // samples.n_features))
        if len(chosen) > at_most:
            random = np.random.default_rng(self.seeds.subspace)
            chosen = np.sort(random.choice(chosen, at_most, replace=False, shuffle=False))
        n_features = self.autoencoder.module_.center.numel()
        return neighborhood_radius(_features(samples.subset(chosen))[:, :n_features])

    def _with_pseudo_labels(
        self, samples: Samples, labels: Labels, unlabelled: np.ndarray
    ) -> Labels:
        """Label unlabelled samples by the labels near them, weighted by their certainty.

        Neighbours are those of the codes or those of the features, whichever predict the labels
        better that are left out.

        Parameters
        ----------
        samples : Samples
            All samples.
        labels : Labels
            Labels of the training samples, without held-out ones.
        unlabelled : ndarray of int
            Indices of the samples without a label and with a positive weight.
        """
        module, seed, own = self.autoencoder.module_, self.seeds.subspace, _weights(samples)
        at_most = min(MAX_PSEUDO_LABELLED, MAX_VALUES // len(module.code_mean))
        if labels.labelled.sum() > at_most:
            return labels
        if len(unlabelled) > at_most:
            random = np.random.default_rng(seed)
            unlabelled = random.choice(unlabelled, at_most, replace=False, shuffle=False)
        chosen = np.sort(np.concatenate([np.flatnonzero(labels.labelled), unlabelled]))
        classes = np.where(labels.labelled, labels.targets[:, 0].astype(int), -1)[chosen]
        candidates = [
            propagate(points, classes, own[chosen], labels.n_outputs, seed)
            for points in self._spaces(samples.subset(chosen))
        ]
        found = max(candidates, key=lambda candidate: candidate.likelihood)
        pseudo = (classes < 0) & (found.certainty > MIN_CERTAINTY)
        if not pseudo.any():
            return labels
        weight = own.copy() if labels.weight is None else labels.weight.numpy().copy()
        new, targets, labelled = chosen[pseudo], labels.targets.copy(), labels.labelled.copy()
        targets[new, 0] = found.classes[pseudo]
        weight[new] = own[new] * found.certainty[pseudo]
        if labels.class_weight is not None:
            weight[new] *= labels.class_weight[found.classes[pseudo]]
        labelled[new] = weight[new] > 0
        return labels._replace(targets=targets, labelled=labelled, weight=torch.from_numpy(weight))

    def _spaces(self, samples: Samples) -> Iterator[np.ndarray]:
        """Yield the codes of samples, and the samples if they are complete and not too large."""
        module = self.autoencoder.module_
        with torch.no_grad():
            codes = by_chunks(samples, module.encode, module.network.samples_at_once)
        yield codes.cpu().numpy()
        if len(samples) * samples.n_features <= MAX_VALUES:
            features = _features(samples)
            if not np.isnan(features).any():  # NaN after the end of a sequence
                yield features

    def loss(
        self, module: HeadedModule, X: Tensor, y: Tensor, sample_weight: Tensor | None
    ) -> dict[str, Tensor]:
        """Return the loss terms of a batch of labelled samples.

        The reconstruction loss, if it has a weight, is that of another batch, drawn from all
        samples, labelled or not.
        """
        output = module(X)
        terms = {"supervised": self.stack._losses_and_errors(output, y)[0]}
        if self.radius:
            n_features = module.autoencoder.center.numel()
            change = virtual_adversarial_loss(module, X, output, self.radius, n_features)
            terms["adversarial"] = self.stack._adversarial_weight() * change
        if self.trains != "all":
            return terms
        samples, weight = self.reconstructed, None
        if samples.is_shared:  # each process draws from its own
            samples = samples.own()
        size = max(len(X), MIN_RECONSTRUCTED)
        index: Any = slice(0, len(samples))
        if len(samples) > size:
            # Drawn on the device, whose generator is seeded; samples are taken by CPU indices.
            index = torch.randint(len(samples), (size,), device=X.device).cpu()
            if samples.is_streamed:  # neighbours: others would be in all blocks
                start = min(int(index[0]), len(samples) - size)
                index = slice(start, start + size)
        if samples.weight is not None:
            # Weights of mean one over all samples: the expectation of the term is their mean.
            weight = (samples.take_weight(index) * len(samples) / samples.total_weight).to(X.dtype)
        target = None if samples.targets is None else samples.targets.take(index)
        own = self.autoencoder._loss(module.autoencoder, samples.take(index), target, weight)
        total = torch.stack(list(weighted_means(own, weight).values())).sum()
        # A scalar: this batch has other samples than that of the supervised term.
        return terms | {"reconstruction": self.stack.reconstruction_weight * total}

    def evaluate(
        self, module: HeadedModule, X: Tensor, y: Tensor, sample_weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the loss and the error of each sample, both of shape ``(batch_size,)``."""
        low = self.products == torch.bfloat16
        # Evaluated in the precision of training, so that both losses are comparable.
        with torch.autocast(X.device.type, self.products, enabled=low):
            output = module(X)
        losses, errors = self.stack._losses_and_errors(output, y)
        return losses, errors


def _weights(samples: Samples) -> np.ndarray:
    """Return the weights of all samples, ones if they have none."""
    return np.ones(len(samples)) if samples.weight is None else samples.weight.numpy()


def _features(samples: Samples) -> np.ndarray:
    """Return all samples, in network units, as one array."""
    features: np.ndarray = by_chunks(samples, lambda chunk: chunk).cpu().numpy()
    return features


def _with_labels(samples: Samples, labels: Labels) -> Samples:
    """Return the labelled samples with their targets and weights."""
    samples = copy.copy(samples)  # the caller's samples keep their own weights and targets
    samples.weight = labels.weight
    samples.targets = Samples(labels.targets, labels.weight, samples.device, samples.dtype)
    return samples.where(labels.labelled)
