"""The Gaussian of largest likelihood under missing values, by expectation maximisation."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_ae._training.batches import Samples
from sklearn_ae._training.linear import principal_axes
from sklearn_ae.networks._completion import Completion

MAX_SAMPLES = 2_000
"""Number of samples that are used if there are more."""

MAX_ITERATIONS = 100
"""Maximum number of iterations."""

TOLERANCE = 1e-3
"""Change of the explained variance of any feature, as a fraction, that ends the iterations.

Later iterations, and methods that converge faster, raise the likelihood a little, but the error
of values that were hidden as well: on digits with half of their values hidden by 5 %."""

MIN_VARIANCE = 1e-4
"""Minimum of the variance that the factors leave, as a fraction of the feature's variance."""

MIN_DEVIATION = 1e-12
"""Minimum of the standard deviation of a feature in network units; the square of a much smaller
one underflows in float32. It is also the variance of features that do not vary."""

PRIOR_SAMPLES = 1.0
"""Weight of the prior in samples. They shrink the loadings towards zero, so that the covariance is
regular whatever is missing."""


@torch.no_grad()
def fit_completion(completion: Completion, samples: Samples, seed: int) -> None:
    """Set the Gaussian of a completion to that of largest likelihood.

    The loadings are shrunk towards zero, by a few percent where a feature hardly has noise: as if
    in every iteration one more sample of each feature did not depend on the factors.

    Parameters
    ----------
    completion : Completion
    samples : Samples
        With missing values, in network units.
    seed : int
        Seed of the choice of samples, if there are more than are used.

    References
    ----------
    Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). Maximum likelihood from incomplete
    data via the EM algorithm. Journal of the Royal Statistical Society B, 39(1), 1-38.

    Rubin, D. B. and Thayer, D. T. (1982). EM algorithms for ML factor analysis. Psychometrika,
    47(1), 69-76.
    """
    samples = samples.sample(MAX_SAMPLES, seed)
    x = torch.cat([samples.take(chunk).to(samples.precise) for chunk in samples.chunks()])
    weight = samples.take_weight(slice(0, len(samples)))
    # Relative to the prior, two copies have the influence of a weight of two.
    distinct = torch.unique(torch.cat([x.nan_to_num(), x.isnan()], dim=1), dim=0)
    weight = weight * (len(distinct) / weight.sum())
    counts = (weight @ (~x.isnan()).to(weight)).clamp_min(torch.finfo(weight.dtype).tiny)
    mean = weight @ x.nan_to_num() / counts
    deviation = (weight @ (x - mean).square().nan_to_num() / counts).sqrt()
    # Features without variance, or without a value, do not depend on the factors.
    varies = (deviation > 1e-7 * mean.abs()) & (deviation > MIN_DEVIATION)
    deviation = torch.where(varies, deviation, 1.0)
    gaussian = Completion(samples.n_features, shows_missing=False).to(x)
    _maximize_likelihood(gaussian, (x - mean) / deviation, weight, seed)
    completion.mean.copy_(mean + deviation * gaussian.mean)
    completion.loadings.copy_(deviation[:, None] * gaussian.loadings)
    # A feature that does not vary must not attract a principal axis.
    variances = deviation.square() * gaussian.variances
    completion.variances.copy_(torch.where(varies, variances, MIN_DEVIATION))


def _maximize_likelihood(gaussian: Completion, x: Tensor, weight: Tensor, seed: int) -> None:
    """Fit a Gaussian to standardised samples with NaN, in place."""
    observed = (~x.isnan()).to(x)
    known = x.nan_to_num()
    counts = weight @ observed + PRIOR_SAMPLES
    prior = PRIOR_SAMPLES * torch.eye(gaussian.n_factors).to(x)
    axes, variances = principal_axes(
        Samples(known, weight, x.device, x.dtype), gaussian.n_factors, seed
    )
    gaussian.loadings = axes.t() * variances.sqrt()
    explained = gaussian.loadings.square().sum(1)
    for _ in range(MAX_ITERATIONS):
        given = gaussian.condition(x)
        # For each feature, a regression of its observed values on the factors.
        moments = given.covariances() + given.scores[:, :, None] * given.scores[:, None, :]
        moments = (weight[:, None] * observed).t() @ moments.flatten(1)
        moments = moments.unflatten(1, prior.shape)
        distances = (known - gaussian.mean) * observed
        products = (weight[:, None] * distances).t() @ given.scores
        loadings = torch.linalg.solve(moments + prior, products)
        rest = weight @ distances.square() + PRIOR_SAMPLES - (loadings * products).sum(1)
        gaussian.loadings = loadings
        gaussian.variances = (rest / counts).clamp_min(MIN_VARIANCE)
        gaussian.mean = weight @ ((known - given.scores @ loadings.t()) * observed) / counts
        earlier, explained = explained, gaussian.loadings.square().sum(1)
        if (explained - earlier).abs().max() < TOLERANCE:
            break
