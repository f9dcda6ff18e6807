"""Completion of samples with missing values, before they are encoded."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklearn_ae._training.batches import Samples
from sklearn_ae._training.random import make_generator
from sklearn_ae.networks._module import AutoencoderModule

MAX_HIDINGS = 32
"""Maximum number of ways in which observed values are hidden; one is drawn for each epoch."""

HIDDEN_ENTRIES = 2**24
"""Number of entries of samples that are stored with values hidden, unless two ways take more."""

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


def hidden_again(
    samples: Samples, module: AutoencoderModule, seed: int, n_hidings: int | None = 1
) -> list[Samples]:
    """Return the inputs of the encoder with some observed values hidden, which remain targets.

    A network that sees all targets could copy them. In each sample the values are hidden that are
    missing in another sample, so that they are like those that are missing.

    Parameters
    ----------
    samples : Samples
        In network units, with NaN for missing values.
    module : AutoencoderModule
    seed : int
    n_hidings : int or None, default=1
        Number of results, each with other values hidden. None: as many as can be stored.

    Returns
    -------
    list of Samples
        `samples` itself if the module has no ``completion``.
    """
    if module.completion is None:
        return [samples]
    if n_hidings is None:
        n_entries = len(samples) * module.completion.n_outputs
        n_hidings = min(MAX_HIDINGS, max(2, HIDDEN_ENTRIES // n_entries))
    results = []
    for number in range(n_hidings):
        hiding = samples.map(_Hiding(seed + number), samples.n_features)
        hiding.targets = samples.targets or samples
        inputs = completed(hiding, module)
        inputs.cache()
        results.append(inputs)
    return results


class _Hiding:
    """Function that hides values of samples where other samples of the same chunk lack them.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self.generator = make_generator(seed)

    def __call__(self, x: Tensor) -> Tensor:
        missing = x.isnan()
        other = torch.randperm(len(x), generator=self.generator).to(x.device)
        hidden = missing | missing[other]
        # A sample of which nothing would be left is used as it is.
        hidden = torch.where(hidden.all(1, keepdim=True), missing, hidden)
        return x.masked_fill(hidden, torch.nan)


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

    def forecast(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return complete samples, and a standard deviation of one for what was missing."""
        return self(x), x.isnan().to(x.dtype)

    def draw(self, x: Tensor) -> Tensor:
        """Return complete samples with standard normal noise on what was missing."""
        mean, deviation = self.forecast(x)
        return mean + deviation * torch.randn_like(mean)


def completing(module: AutoencoderModule, mean: Callable[[Tensor], Tensor]) -> AutoencoderModule:
    """Return a module with the same weights and a completion, its own if it has one."""
    if module.takes_missing:
        return module
    result: Any = copy.copy(module)
    result.__dict__["completion"] = ByReconstruction(module, mean)
    return result  # type: ignore[no-any-return]
