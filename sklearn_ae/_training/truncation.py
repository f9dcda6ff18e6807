"""Ordered codes: training on truncated codes, in which only the first components are kept.

The loss is averaged over truncations: with ``p(k)`` a probability for each number of components,
training minimises ``sum_k p(k) loss(decode(code with all but the first k components zero))``, so
that each component adds as much as it can to those before it. This is nested dropout. Rippel et
al. draw one truncation for each sample; here each batch is decoded under several, evenly spaced in
probability, which has a lower variance for the cost of a few passes of the decoder.

References
----------
Rippel, O., Gelbart, M. and Adams, R. (2014). Learning ordered representations with nested dropout.
ICML.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._training.batches import Batch, Samples
from sklearn_ae._training.description import Objective
from sklearn_ae._training.linear import mean_and_variance, principal_axes
from sklearn_ae._training.optimizer import FlatParameters
from sklearn_ae._training.random import drawing_from
from sklearn_ae._training.steps import AutogradStep, PlainDenseStep, Step, Terms, check_terms
from sklearn_ae.networks._module import AutoencoderModule

N_TRUNCATIONS = 4
"""Number of truncations under which a batch is decoded. One of them is the full code."""

MAX_EVALUATED = 16
"""Number of truncations under which held-out samples are evaluated after each epoch."""

LEAST_UNEXPLAINED = 1e-3
"""Fraction of the variance below which components of PCA are noise."""


@contextmanager
def truncated_to(module: AutoencoderModule, n_decoded: int) -> Iterator[None]:
    """Decode codes with all but the first ``n_decoded`` components zero, within the block."""
    module.n_decoded = n_decoded
    try:
        yield
    finally:
        module.n_decoded = None


def unexplained_by_pca(samples: Samples, n_components: int, seed: int) -> Tensor:
    """Compute the fraction of the variance that is left after each principal component.

    Parameters
    ----------
    samples : Samples
    n_components : int
    seed : int
        Passed to :func:`~sklearn_ae._training.linear.principal_axes`.

    Returns
    -------
    Tensor of shape (n_components,), in the widest dtype
        All zero for samples without variance, and for samples whose variance overflows.
    """
    center, variances = mean_and_variance(samples)
    total = variances.sum()
    if not 0 < total < torch.inf:
        return variances.new_zeros(n_components)
    # Missing values become the mean, as in `mean_and_variance`.
    centered = samples.map(lambda x: (x - center.to(x)).nan_to_num(), samples.n_features)
    _, along = principal_axes(centered, n_components, seed)
    return (1 - along.cumsum(0) / total).clamp_min(0)


class Truncations:
    """A probability of each truncation, and how batches and held-out samples use it.

    One of the truncations of each batch is the full code, which is used most. The others keep
    ``k`` components with a probability proportional to ``1 / (e_k sqrt(k))``, where ``e_k`` is the
    fraction of the variance that PCA leaves with as many. By the first factor an improvement by
    the same fraction of PCA's error counts as much for long codes as for short ones. By the second
    one the many long codes, of which neighbours differ little, do not outweigh the short ones.

    Parameters
    ----------
    unexplained : Tensor of shape (n_components,)
        Fraction of the variance that PCA leaves.

    Attributes
    ----------
    probability : ndarray of shape (n_components,)
        Probability of each truncation in training, without the full code that is always included.
    evaluated : list of int
        Numbers of components with which held-out samples are evaluated, increasing. The last one
        is the full code.
    importance : ndarray of shape (n_evaluated,)
        Factors of the held-out losses, whose mean is then the objective of the training.
    """

    def __init__(self, unexplained: Tensor) -> None:
        error = unexplained.clamp_min(LEAST_UNEXPLAINED).cpu().double().numpy()
        n_components = len(error)
        number = np.arange(1, n_components + 1)
        weight = 1 / (error * np.sqrt(number))
        self.probability: np.ndarray = weight / weight.sum()
        chosen = number
        if n_components > MAX_EVALUATED:
            spaced = np.geomspace(1, n_components, MAX_EVALUATED)
            chosen = np.unique(np.rint(spaced).astype(int))
        self.evaluated: list[int] = chosen.tolist()
        self.n_drawn = min(N_TRUNCATIONS, n_components) - 1
        # The probability of truncations that are not evaluated counts for the next longer one.
        total = self.probability * self.n_drawn
        total[-1] += 1
        places = np.searchsorted(chosen, number)
        weights = np.bincount(places, total, minlength=len(chosen)) / total.sum()
        self.importance: np.ndarray = weights * len(chosen)

    def draw(self, uniform: float) -> list[int]:
        """Return the numbers of components to keep in a training step, the full code last.

        The others are evenly spaced in probability, shifted by one uniform number.
        """
        points = (np.arange(self.n_drawn) + uniform) / max(1, self.n_drawn)
        drawn = np.searchsorted(self.probability.cumsum(), points, side="right")
        n_components = len(self.probability)
        return [*(drawn + 1).clip(max=n_components).tolist(), n_components]


class OrderedDenseStep(PlainDenseStep):
    """Step with a hand-written backward pass that averages the loss over truncations.

    Parameters
    ----------
    truncations : Truncations
    generator : torch.Generator
        Draws the truncations of each batch.
    *args
        Those of :class:`PlainDenseStep`.
    """

    def __init__(self, truncations: Truncations, generator: torch.Generator, *args: Any) -> None:
        super().__init__(*args)
        self.truncations = truncations
        self.generator = generator
        n_components = len(truncations.probability)
        # Row k keeps k components, (n_components + 1, n_components).
        ones = torch.ones(n_components + 1, n_components, device=generator.device)
        self.masks = ones.tril(-1)

    def __call__(self, batch: Batch) -> Terms:
        """Write the gradient of the batch's loss; return its only term."""
        with drawing_from(self.generator):
            masks = self.masks[self.truncations.draw(_uniform(batch.samples))]
        value = self.gradient(batch.samples, batch.target, batch.weight, masks)
        return {"reconstruction": value}


def _uniform(like: Tensor) -> float:
    return float(torch.rand(1, device=like.device))


def ordered(
    objective: Objective,
    module: AutoencoderModule,
    truncations: Truncations,
    products: torch.dtype,
) -> Objective:
    """Return an objective that is averaged over truncations of the code.

    Parameters
    ----------
    objective : Objective
        That of the full code.
    module : AutoencoderModule
    truncations : Truncations
    products : torch.dtype
        Dtype of the matrix products.

    Returns
    -------
    Objective
    """

    def terms(module: AutoencoderModule, X: Tensor, y: Tensor, weight: Tensor | None) -> Terms:
        sums: Terms = {}
        drawn = truncations.draw(_uniform(X))
        for n_decoded in drawn:
            with truncated_to(module, n_decoded):
                parts = objective.terms(module, X, y, weight)
            check_terms(parts, len(X))
            for name, part in parts.items():
                sums[name] = sums[name] + part if name in sums else part
        return {name: total / len(drawn) for name, total in sums.items()}

    def evaluate(
        module: AutoencoderModule, X: Tensor, y: Tensor, weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        assert objective.evaluate is not None
        columns = []
        for n_decoded, importance in zip(
            truncations.evaluated, truncations.importance, strict=True
        ):
            with truncated_to(module, n_decoded):
                losses, errors = objective.evaluate(module, X, y, weight)
            columns.append(float(importance) * losses)
        return torch.stack(columns, 1), errors  # the errors of the full code, which is the last

    def make_step(flat: FlatParameters, generator: torch.Generator) -> Step:
        plain = objective.reconstruction
        if plain is not None and PlainDenseStep.applies(module, plain):
            return OrderedDenseStep(truncations, generator, module, plain, flat, products)
        return AutogradStep(module, terms, flat, products, generator)

    return replace(objective, terms=terms, evaluate=evaluate, make_step=make_step)
