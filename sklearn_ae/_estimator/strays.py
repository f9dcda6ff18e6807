"""Test whether samples drawn by a denoising autoencoder lie where the data are."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_ae._training.batches import Samples
from sklearn_ae.networks._denoising import DenoisingModule

MAX_SAMPLES = 512
"""Maximum number of samples that are corrupted and drawn again."""

MAX_VALUES = 2**17
"""Maximum number of values of these samples: the test must take little time beside training."""

MAX_STEPS = 16
"""Maximum number of Lanczos steps of these draws."""

MIN_SAMPLES = 100
"""Number of samples below which a fraction of them is too uncertain."""

N_NEIGHBORS = 5
"""The distance of a sample is that to its fifth nearest neighbour: nearer ones may be outliers."""

QUANTILE = 0.99
"""Quantile of the samples' distances beyond which a draw is a stray."""

STRAYS = 0.07
"""Fraction of strays above which `sample` warns. The expected value of a good model is 0.01."""

MIN_STRAYS = 10
"""Number of strays below which they may be due to chance, however few samples there are."""


@torch.no_grad()
def fraction_of_strays(module: DenoisingModule, samples: Samples) -> float:
    """Return the fraction of corrupted training samples that are drawn away from the data.

    If the model is correct, a clean sample drawn given a corrupted one has the distribution of the
    data (Bengio et al., 2013). A draw is a stray if it is farther from its fifth nearest sample
    than 99 % of the samples are from theirs. If the code is narrower than a sample, draws lack the
    components that the code omits, and distances are those of codes.

    Parameters
    ----------
    module : DenoisingModule
        Trained with Gaussian noise and squared error.
    samples : Samples
        Training samples. Random numbers are those of the surrounding ``drawing_from``.

    Returns
    -------
    float
        Zero if there are too few samples or if some sequences are shorter than others.
    """
    n_checked = min(len(samples), MAX_SAMPLES, MAX_VALUES // samples.n_features)
    if n_checked < MIN_SAMPLES:
        return 0.0
    order = torch.randperm(len(samples))[:n_checked]
    x, weight = samples.take(order), samples.take_weight(order)
    if x.isnan().any():
        return 0.0
    drawn = torch.cat(
        [
            module.draw_clean(module.corrupt(part), MAX_STEPS)
            for part in torch.split(x, module.network.samples_at_once)
        ]
    )
    if len(module.code_mean) < samples.n_features:
        x, drawn = module.encode(x), module.encode(drawn)
    limit = _quantile(_distance_to_neighbor(x, x), weight)
    strays = _distance_to_neighbor(drawn, x) > limit
    enough = int(strays.sum()) >= MIN_STRAYS
    return float((weight * strays).sum() / weight.sum()) if enough else 0.0


def _distance_to_neighbor(points: Tensor, samples: Tensor) -> Tensor:
    """Return the distance of each point to its fifth nearest sample, of shape (n_points,).

    Point ``i`` belongs to sample ``i``, which is left out. So are samples at distance zero:
    rounded data contain many equal samples, and their scale is the distance of different ones.
    """
    # Not by matrix products, which leave rounding errors in place of distances of zero.
    distances = torch.cdist(points, samples, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(torch.inf)
    distances.masked_fill_(distances == 0, torch.inf)
    return distances.kthvalue(N_NEIGHBORS).values


def _quantile(values: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted quantile of order `QUANTILE`."""
    values, order = values.sort()
    fractions = weight[order].cumsum(0) / weight.sum()
    place = int((fractions < QUANTILE).sum())
    return values[min(place, len(values) - 1)]
