"""Completion of samples with missing values, before they are encoded."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sklearn_ae._estimator.bounds import cells_of_network
from sklearn_ae._training.batches import Samples
from sklearn_ae._training.keys import Units, sample_keys, uniform_from_keys
from sklearn_ae.networks._module import AutoencoderModule

MAX_HIDINGS = 32
"""Maximum number of ways in which observed values are hidden; one is drawn for each epoch."""

HIDDEN_ENTRIES = 2**24
"""Number of entries of samples that are stored with values hidden, unless two ways take more."""

MAX_PATTERNS = 1024
"""Maximum number of samples whose patterns of missing values are used."""

N_RECONSTRUCTIONS = 20
"""Number of reconstructions by which a network replaces missing values if it has seen none."""


def completed(samples: Samples, module: AutoencoderModule) -> Samples:
    """Return the inputs of the encoder, whose targets are the samples.

    Parameters
    ----------
    samples : Samples
        In network units, with NaN for missing values.
    module : AutoencoderModule
        Without a ``completion`` the result is `samples`.

    Returns
    -------
    Samples
    """
    if module.completion is None:
        return samples
    inputs = samples.map(module.completion, module.completion.n_outputs)
    inputs.has_missing = False
    inputs.targets = samples.targets or samples
    return inputs


class Patterns(NamedTuple):
    """Patterns of missing values by which observed values are hidden.

    Attributes
    ----------
    missing : Tensor of shape (n_patterns, n_features), bool
    limits : Tensor of shape (n_patterns,)
        Sum of the weights of the samples with this pattern or an earlier one; the last is one.
    cells : Units
        Cells of samples in network units: samples in one cell draw the same pattern.
    seed : int
    """

    missing: Tensor
    limits: Tensor
    cells: Units
    seed: int

    def hide(self, x: Tensor, number: int) -> Tensor:
        """Hide values of samples by a pattern that is drawn for each.

        It is a function of the sample alone: two copies are equivalent to a weight of two, and
        batches of any size and order give the same.

        Parameters
        ----------
        x : Tensor of shape (n_samples, n_features)
        number : int
            Different numbers give different draws.

        Returns
        -------
        Tensor of shape (n_samples, n_features)
        """
        keys = sample_keys(x.nan_to_num().cpu().numpy(), self.cells)
        drawn = uniform_from_keys(keys, 1, self.seed + number)[:, 0].to(self.limits)
        places = torch.searchsorted(self.limits, drawn).clamp_max(len(self.limits) - 1)
        missing = x.isnan()
        hidden = missing | self.missing[places]
        # A sample of which nothing would be left is used as it is.
        hidden = torch.where(hidden.all(1, keepdim=True), missing, hidden)
        return x.masked_fill(hidden, torch.nan)


def patterns_of(samples: Samples, module: AutoencoderModule, seed: int) -> Patterns:
    """Return the patterns of missing values of training samples.

    Parameters
    ----------
    samples : Samples
        In network units, with NaN for missing values.
    module : AutoencoderModule
    seed : int
        Seed of all draws.
    """
    cells = cells_of_network(module, samples.n_features)
    samples = samples.sample(MAX_PATTERNS, seed)
    masks = [samples.take(chunk).isnan() for chunk in samples.chunks()]
    missing, places = torch.unique(torch.cat(masks), dim=0, return_inverse=True)
    weight = samples.take_weight(slice(0, len(samples)))
    limits = weight.new_zeros(len(missing)).index_add_(0, places, weight).cumsum(0)
    return Patterns(missing, limits / limits[-1], cells, seed)


def hidden_again(
    samples: Samples, module: AutoencoderModule, patterns: Patterns, n_hidings: int | None = 1
) -> list[Samples]:
    """Return the inputs of the encoder with some observed values hidden, which remain targets.

    A network that sees all targets could copy them. In each sample the values are hidden that are
    missing in another sample, so that they are like those that are missing.

    Parameters
    ----------
    samples : Samples
        In network units, with NaN for missing values.
    module : AutoencoderModule
        With a ``completion``.
    patterns : Patterns
    n_hidings : int or None, default=1
        Number of results, each with other values hidden. None: as many as can be stored.

    Returns
    -------
    list of Samples
    """
    assert module.completion is not None
    if n_hidings is None:
        n_entries = len(samples) * module.completion.n_outputs
        n_hidings = min(MAX_HIDINGS, max(2, HIDDEN_ENTRIES // n_entries))
    results = []
    for number in range(n_hidings):
        hiding = samples.map(partial(patterns.hide, number=number), samples.n_features)
        hiding.targets = samples.targets or samples
        inputs = completed(hiding, module)
        inputs.cache()
        results.append(inputs)
    return results


class ByReconstruction:
    """Completion by the reconstruction of a network that was trained on complete samples.

    Missing values start at the mean, and are replaced by their reconstruction several times.

    Parameters
    ----------
    module : AutoencoderModule
    mean : callable
        Maps outputs of the decoder to reconstructions in network units.
    """

    def __init__(self, module: AutoencoderModule, mean: Callable[[Tensor], Tensor]) -> None:
        self.module = module
        self.mean = mean

    @property
    def n_outputs(self) -> int:
        """Number of values that a call returns for a sample."""
        return len(self.module.center)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        missing = x.isnan()
        result = x.nan_to_num()
        if missing.any():
            for _ in range(N_RECONSTRUCTIONS):
                result = torch.where(missing, self.mean(self.module(result)), x)
        return result

    def complete(self, x: Tensor) -> Tensor:
        """Return complete samples."""
        return self(x)

    def deviations(self, x: Tensor) -> Tensor:
        """Return a standard deviation of one for what is missing, else zero."""
        return x.isnan().to(x.dtype)

    def draw(self, x: Tensor) -> Tensor:
        """Return complete samples with standard normal noise on what was missing."""
        return self(x) + self.deviations(x) * torch.randn_like(x)


def completing(module: AutoencoderModule, mean: Callable[[Tensor], Tensor]) -> AutoencoderModule:
    """Return a module with the same weights and a completion, its own if it has one."""
    if module.takes_missing:
        return module
    result: Any = copy.copy(module)
    result.__dict__["completion"] = ByReconstruction(module, mean)
    return result  # type: ignore[no-any-return]
