"""Whether a denoising autoencoder's draws lie where the data are."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_ae._training.batches import Rows
from sklearn_ae.networks._denoising import DenoisingModule

CHECKED = 512
"""Number of samples that are corrupted and drawn again at most."""

CHECKED_ENTRIES = 2**17
"""Number of their values at most: the check must cost little beside training."""

CHECKED_STEPS = 16
"""Number of Lanczos steps of these draws at most."""

FEWEST = 100
"""Number of samples below which a fraction of them says nothing."""

NEIGHBOUR = 5
"""A sample is as far from the others as its fifth nearest one: the first may be an outlier."""

QUANTILE = 0.99
"""Fraction of the samples that are nearer to the others than a stray is."""

STRAYS = 0.07
"""Fraction of strays above which `sample` warns; it is a hundredth where all is well."""

LEAST_STRAYS = 10
"""Number of strays that chance does not explain, in however few samples."""


@torch.no_grad()
def fraction_of_strays(module: DenoisingModule, rows: Rows) -> float:
    """Corrupt training samples, draw them again, and count how many leave the data.

    If the draws had the distribution of the clean samples given the corrupted ones, they would
    have that of the data: a sample that is corrupted and drawn again is then a sample like any
    other (Bengio et al., 2013). It is a stray if the fifth nearest of the other samples is farther
    away than for 99 % of the samples themselves. Where the code is narrower than a sample, draws
    lack what the code leaves out, and distances are those of the codes.

    Parameters
    ----------
    module : DenoisingModule
        Trained under Gaussian noise and squared error.
    rows : Rows
        Training samples. What is drawn comes from the surrounding ``drawing_from``.

    Returns
    -------
    float
        Zero where there are too few samples, or where some end early.
    """
    n_checked = min(len(rows), CHECKED, CHECKED_ENTRIES // rows.n_features)
    if n_checked < FEWEST:
        return 0.0
    order = torch.randperm(len(rows))[:n_checked]
    x, weight = rows.take(order), rows.take_weight(order)
    if x.isnan().any():
        return 0.0
    drawn = torch.cat(
        [
            module.draw_clean(module.corrupt(part), CHECKED_STEPS)
            for part in x.split(module.network.rows_at_once)
        ]
    )
    if len(module.code_mean) < rows.n_features:
        x, drawn = module.encode(x), module.encode(drawn)
    own, theirs = _distance_to_neighbour(x, x), _distance_to_neighbour(drawn, x)
    strays = theirs > _quantile(own, weight)
    enough = int(strays.sum()) >= LEAST_STRAYS
    return float((weight * strays).sum() / weight.sum()) if enough else 0.0


def _distance_to_neighbour(points: Tensor, samples: Tensor) -> Tensor:
    """Return how far each point's fifth nearest sample is, that of its own number left out.

    So are samples at distance zero: values that were rounded have many equal ones, and the
    distance between different ones is what their gaps are measured by.
    """
    distances = torch.cdist(points, samples, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(torch.inf)
    distances.masked_fill_(distances == 0, torch.inf)
    return distances.kthvalue(NEIGHBOUR).values


def _quantile(values: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted quantile that all but one in a hundred are below."""
    values, order = values.sort()
    shares = weight[order].cumsum(0) / weight.sum()
    place = int((shares < QUANTILE).sum())
    return values[min(place, len(values) - 1)]
