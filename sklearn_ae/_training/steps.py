"""Training steps: functions of a batch that write the gradient and return the loss terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import torch
from torch import Tensor

from sklearn_ae._training.batches import Batch
from sklearn_ae._training.optimizer import FlatParameters
from sklearn_ae._training.random import drawing_from
from sklearn_ae._training.ranks import Ranks
from sklearn_ae.losses import Loss
from sklearn_ae.networks._layers import batch_norms
from sklearn_ae.networks._module import AutoencoderModule, TrainableModule
from sklearn_ae.networks.dense import DenseStack
from sklearn_ae.networks.dense_gradient import DenseGradient

Terms = dict[str, Tensor]
"""Loss terms by name."""

Step = Callable[[Batch], Terms]
"""Writes the gradient of a batch and returns the terms of its loss."""

LossFunction = Callable[[Any, Tensor, Any, Tensor | None], Terms]
"""``(module, X, y, sample_weight)`` to named loss terms."""


def check_terms(terms: Terms, n_samples: int) -> None:
    """Raise an error if the result of an estimator's ``_loss`` is not a dictionary of loss terms.

    Other shapes would be averaged or broadcast without an error.

    Parameters
    ----------
    terms : dict of Tensor
    n_samples : int
        Number of samples in the batch.

    Raises
    ------
    TypeError
        If `terms` is not a dictionary of tensors.
    ValueError
        If the shape of a term is neither (n_samples,) nor ().
    """
    if not isinstance(terms, dict):
        raise TypeError(
            f"_loss must return a dictionary of loss terms by name, not a {type(terms).__name__}."
        )
    for name, term in terms.items():
        if not isinstance(term, Tensor):
            raise TypeError(
                f"_loss must return tensors, but the term {name!r} is a {type(term).__name__}."
            )
        if term.shape not in ((), (n_samples,)):
            raise ValueError(
                f"_loss must return terms of shape (batch_size,) or (), but with a batch size of "
                f"{n_samples} the term {name!r} has the shape {tuple(term.shape)}."
            )


def weighted_means(terms: Terms, sample_weight: Tensor | None) -> Terms:
    """Average each term over the batch.

    Parameters
    ----------
    terms : dict of Tensor
        One value per sample, of shape (batch_size,), or a scalar.
    sample_weight : Tensor of shape (batch_size,) or None

    Returns
    -------
    dict of scalar Tensor
    """
    return {
        name: term
        if term.ndim == 0
        else (term if sample_weight is None else term * sample_weight).mean()
        for name, term in terms.items()
    }


class AutogradStep:
    """Step with automatic differentiation, for any loss of any module.

    Parameters
    ----------
    module : TrainableModule
    loss : callable
        ``(module, X, y, sample_weight)`` to named loss terms.
    flat : FlatParameters
    products : torch.dtype
        Dtype of the matrix products.
    generator : torch.Generator
        Generator of the draws in the loss.
    """

    def __init__(
        self,
        module: TrainableModule,
        loss: LossFunction,
        flat: FlatParameters,
        products: torch.dtype,
        generator: torch.Generator,
    ) -> None:
        self.module = module
        self.loss = loss
        self.flat = flat
        self.cast = torch.autocast(
            flat.values.device.type, products, enabled=products == torch.bfloat16
        )
        self.draws = drawing_from(generator)
        self.norms = batch_norms(module)

    def __call__(self, batch: Batch) -> Terms:
        """Write the gradient of the batch's loss; return its terms."""
        # The parameters' gradients are views of this vector, to which `backward` adds.
        self.flat.gradient.zero_()
        self.draws.duplicates, self.draws.n_draws = batch.duplicates, batch.n_draws
        for norm in self.norms:
            norm.sample_weight = batch.weight
        with self.draws, self.cast:
            terms = self.loss(self.module, batch.samples, batch.target, batch.weight)
        check_terms(terms, len(batch.samples))
        for norm in self.norms:
            norm.sample_weight = None
        terms = weighted_means(terms, batch.weight)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        return {name: term.detach() for name, term in terms.items()}


class SharedStep:
    """Step of which each process computes the part of its own samples.

    Parameters
    ----------
    step : callable
        Maps the samples of this process to mean loss terms, and writes their gradient.
    flat : FlatParameters
    ranks : Ranks
    """

    def __init__(self, step: Step, flat: FlatParameters, ranks: Ranks) -> None:
        self.step = step
        self.flat = flat
        self.ranks = ranks

    def __call__(self, batch: Batch) -> Terms:
        """Write the gradient of the batch of all processes; return terms to be added up."""
        assert batch.place is not None
        terms = self.step(batch)
        if batch.place.fraction:
            self.flat.gradient.mul_(batch.place.fraction)
        else:  # not even NaN counts
            self.flat.gradient.zero_()
            terms = {name: torch.zeros_like(term) for name, term in terms.items()}
        self.ranks.add_(self.flat.gradient)
        return {name: term * batch.place.fraction for name, term in terms.items()}


class PlainDenseStep:
    """Step with a hand-written backward pass, for the reconstruction loss of a dense network.

    Parameters
    ----------
    module : AutoencoderModule
        A module for which :meth:`applies` returns True.
    loss : Loss
    flat : FlatParameters
    products : torch.dtype
        Dtype of the matrix products.
    """

    def __init__(
        self,
        module: AutoencoderModule,
        loss: Loss,
        flat: FlatParameters,
        products: torch.dtype,
    ) -> None:
        assert isinstance(module.encoder, DenseStack)
        assert isinstance(module.decoder, DenseStack)
        self.gradient = DenseGradient(
            [module.encoder],
            [module.decoder],
            flat.values,
            flat.gradient,
            loss,
            products,
            module.takes_missing,
        )

    @staticmethod
    def applies(module: TrainableModule, loss: Loss) -> TypeGuard[AutoencoderModule]:
        """Whether the network and the loss have a hand-written backward pass."""
        # Not isinstance: a subclass may compute something else.
        if type(module) is not AutoencoderModule or loss.gradient is None:
            return False
        return all(
            isinstance(stack, DenseStack) and stack.has_plain_layers()
            for stack in (module.encoder, module.decoder)
        )

    def __call__(self, batch: Batch) -> Terms:
        """Write the gradient of the batch's loss; return its only term."""
        return {"reconstruction": self.gradient(batch.samples, batch.target, batch.weight)}
