"""Draws from the distribution of each feature of the training samples."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_ae._training.batches import Samples
from sklearn_ae._training.random import make_generator

MAX_VALUES = 2**21
"""Number of values of the samples from which values are drawn, unless few samples have more."""


def draw_values(samples: Samples, n_values: int, seed: int) -> Tensor:
    """Draw observed values of each feature, stratified by rank.

    Value ``k`` of a feature is its quantile of a random order between ``k / n_values`` and
    ``(k + 1) / n_values``. A random one of the values has the distribution of the feature in
    expectation over the orders, and a distribution function within ``1 / n_values`` of it.

    Parameters
    ----------
    samples : Samples
        With NaN for missing values, which are not drawn. If there are many, the quantiles are
        those of a random subset.
    n_values : int
    seed : int

    Returns
    -------
    Tensor of shape (n_values, n_features)
        Each column is sorted. Zero for a feature that has no values.
    """
    samples = samples.sample(max(n_values, MAX_VALUES // samples.n_features), seed)
    everything = slice(0, len(samples))
    x, order = samples.take(everything).sort(0)  # NaN at the end
    mass = samples.take_weight(everything)[order].masked_fill(x.isnan(), 0).cumsum(0)
    # On the CPU: the same orders on every device.
    jitter = torch.rand(n_values, samples.n_features, generator=make_generator(seed)).to(mass)
    levels = (torch.arange(n_values).to(mass)[:, None] + jitter) / n_values * mass[-1]
    # The first sample with a cumulative weight above the level; none if there are no values.
    places = torch.searchsorted(mass.T.contiguous(), levels.T.contiguous(), right=True).T
    return x.gather(0, places.clamp_max(len(x) - 1)).nan_to_num()
