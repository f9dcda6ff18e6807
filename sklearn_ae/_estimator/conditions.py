"""Draws from a variational autoencoder given some values of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from scipy.stats import multivariate_normal
from sklearn.utils.validation import check_array
from torch import Tensor

from sklearn_ae._estimator.completing import completing
from sklearn_ae._estimator.density import moments_of_gaussian
from sklearn_ae._estimator.inference import module_as
from sklearn_ae._estimator.inputs import check_range
from sklearn_ae._estimator.tables import encode_partly, table_of
from sklearn_ae._tables.frames import columns_of, container_of
from sklearn_ae._training.reach import within_reach
from sklearn_ae.networks._variational import VariationalModule

N_PROPOSALS = 2**14
"""Maximum number of draws of the density among which the first code of a sample is chosen."""

N_STEPS = 20
"""Number of steps of each Markov chain."""

MAX_TERMS = 2**24
"""Maximum number of likelihoods of single values that are computed at a time."""


class Conditions(NamedTuple):
    """Known values of samples.

    Attributes
    ----------
    matrix : ndarray of shape (n_rows, n_features)
        Of a table the encoded one; NaN for what is unknown.
    table : data frame, ndarray or None
        The conditions with all columns, if the estimator was fitted to a table.
    """

    matrix: np.ndarray
    table: Any

    def filled_in(self, samples: Tensor) -> Tensor:
        """Return samples, equally many for each row, with the known values in their places."""
        known = torch.as_tensor(self.matrix).to(samples)
        known = known.repeat_interleave(len(samples) // len(known), dim=0).reshape(samples.shape)
        return samples.where(known.isnan(), known)


def check_conditions(estimator: Any, conditions: Any) -> Conditions:
    """Validate conditions.

    Parameters
    ----------
    estimator : VariationalAutoencoder
    conditions : dict, data frame or array-like
        As in `VariationalAutoencoder.sample`.

    Returns
    -------
    Conditions

    Raises
    ------
    ValueError
        If a column or a category is unknown, or a value is invalid.
    """
    if table_of(estimator) is not None:
        matrix, table = encode_partly(estimator, conditions)
    else:
        matrix, table = _matrix_of(estimator, conditions), None
    check_range(matrix, "conditions", estimator._get_fitted_loss(), estimator._loss_description())
    return Conditions(matrix, table)


def _matrix_of(estimator: Any, conditions: Any) -> np.ndarray:
    """Return conditions on arrays of numbers."""
    n_features = estimator.n_features_in_
    if not isinstance(conditions, Mapping) and container_of(conditions) == "array":
        array = np.asarray(conditions, dtype=float)
        if array.shape[1:] not in ((n_features,), estimator.input_shape_):
            raise ValueError(
                f"conditions must be a dict, a data frame or an array of shape (n, {n_features}) "
                f"with NaN for unknown values, got the shape {array.shape}."
            )
        matrix = array.reshape(len(array), -1)
    else:
        names = list(getattr(estimator, "feature_names_in_", range(n_features)))
        if not isinstance(conditions, Mapping):
            conditions = {name: conditions[name].to_numpy() for name in conditions.columns}
        columns, n_rows = columns_of(conditions)
        places = []
        for name in columns:
            is_place = isinstance(name, (int, np.integer)) and -n_features <= name < n_features
            if name not in names and not is_place:
                raise ValueError(f"conditions has the column {name!r}, which X did not have.")
            places.append(names.index(name) if name in names else int(name) % n_features)
        matrix = np.full((n_rows, n_features), np.nan)
        for place, values in zip(places, columns.values(), strict=True):
            matrix[:, place] = values
    check_array(matrix, ensure_all_finite="allow-nan", input_name="conditions")
    return matrix


def n_proposals(n_features: int) -> int:
    """Return the number of draws among which first codes are chosen; fewer of large images."""
    return min(N_PROPOSALS, max(256, MAX_TERMS // n_features))


@torch.no_grad()
def draw_codes_given(
    estimator: Any, proposals: np.ndarray, matrix: np.ndarray, n_samples: int
) -> Tensor:
    """Draw codes of samples some of whose values are known.

    The first codes are chosen from draws of the density by the likelihood of what is known. From
    them Markov chains start whose stationary distribution is the exact one: Gibbs sampling of
    the unknown values and of the code in turn, with a Metropolis-Hastings step for the latter,
    because the encoder's posterior is an approximation.

    Parameters
    ----------
    estimator : VariationalAutoencoder
    proposals : ndarray of shape (n_proposals, n_components)
        Draws of the density.
    matrix : ndarray of shape (n_rows, n_features)
        Known values, with NaN for unknown ones.
    n_samples : int
        Number of samples for each row.

    Returns
    -------
    Tensor of shape (n_rows * n_samples, n_components)

    References
    ----------
    Mattei, P.-A. and Frellsen, J. (2018). Leveraging the exact likelihood of deep latent variable
    models. NeurIPS.
    """
    module = cast(VariationalModule, module_as(estimator, torch.float64))
    # This copy ignores missing values in the likelihood.
    likelihood = cast(VariationalModule, completing(module, estimator._get_fitted_loss().mean))
    codes = torch.as_tensor(proposals).to(module.center)
    known = (torch.as_tensor(matrix).to(module.center) - module.center) / module.scale
    known = within_reach(known)
    n_at_once = module.network.samples_at_once
    outputs = torch.cat([module.decode(part) for part in codes.split(n_at_once)])[:, None]
    chosen = []
    for rows in known.split(max(1, MAX_TERMS // outputs.numel())):
        errors = likelihood.errors_of_outputs(outputs, rows)  # (n_proposals, n_rows)
        weights = (-errors).t().softmax(1)
        chosen.append(torch.multinomial(weights, n_samples, replacement=True).flatten())
    codes = codes[torch.cat(chosen)]
    known = known.repeat_interleave(n_samples, dim=0)
    n_at_once = max(1, min(n_at_once, MAX_TERMS // known.shape[1] // 16))
    parts = zip(codes.split(n_at_once), known.split(n_at_once), strict=True)
    return torch.cat([_end_of_chains(estimator, module, *part) for part in parts])


def _end_of_chains(
    estimator: Any, module: VariationalModule, codes: Tensor, known: Tensor
) -> Tensor:
    """Return the codes at the end of Markov chains that start at `codes`."""
    unknown = known.isnan()
    outputs = module.decode(codes)
    density = _log_density(estimator, codes)
    for _ in range(N_STEPS):
        x = torch.where(unknown, module.draw(outputs), known)
        mean, log_variance = module.posterior(module.complete(x))
        deviation = (0.5 * log_variance).exp()
        proposals = mean + deviation * torch.randn_like(mean)
        new_outputs = module.decode(proposals)
        new_density = _log_density(estimator, proposals)
        # log p(x | z) + log p(z) - log q(z | x); constants of q cancel
        new, old = (
            p - module.errors_of_outputs(out[None], x)[0] + _half_square((z - mean) / deviation)
            for p, out, z in ((new_density, new_outputs, proposals), (density, outputs, codes))
        )
        accepted = torch.rand_like(new).log() < new - old
        codes = torch.where(accepted[:, None], proposals, codes)
        outputs = torch.where(accepted[:, None], new_outputs, outputs)
        density = torch.where(accepted, new_density, density)
    return codes


def _half_square(z: Tensor) -> Tensor:
    """Return minus the logarithm of the standard normal density, up to a constant."""
    return 0.5 * z.square().sum(1)


def _log_density(estimator: Any, codes: Tensor) -> Tensor:
    """Return the log-density of codes, of shape (n_samples,), up to a constant."""
    density = estimator.density_
    if isinstance(density, str) and density == "prior":
        return -_half_square(codes)
    array = codes.cpu().double().numpy()
    if isinstance(density, str):
        mean, covariance = moments_of_gaussian(estimator.module_)
        values = multivariate_normal.logpdf(array, mean, covariance, allow_singular=True)
    elif hasattr(density, "score_samples"):
        values = density.score_samples(array)
    else:
        raise ValueError(
            f"density={density[-1]!r} has no method score_samples, which samples with conditions "
            f"need; use another, such as 'prior' or GaussianMixture()."
        )
    return torch.as_tensor(np.atleast_1d(values)).to(codes)
