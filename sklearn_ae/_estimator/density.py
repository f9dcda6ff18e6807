"""The distribution of the codes, which new rows are drawn from.

The Gaussian that has the codes' mean and covariance is part of every module. Other
distributions are density estimators of scikit-learn, fitted on codes.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from sklearn_ae._training.batches import Rows, by_chunks
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae.networks._module import AutoencoderModule

CODE_SAMPLE = 2_000
"""Number of rows whose codes give mean and covariance of all."""

DENSITY_SAMPLE = 10_000
"""Number of rows whose codes a density estimator is fitted on: it has more to learn."""


@torch.no_grad()
def describe_codes(
    module: AutoencoderModule, rows: Rows, density: Any, seed: int
) -> Pipeline | str:
    """Describe the distribution of the training rows' codes.

    Parameters
    ----------
    module : AutoencoderModule
        Notes the Gaussian in its buffers.
    rows : Rows
    density : str or estimator with ``fit`` and ``sample``
    seed : int

    Returns
    -------
    Pipeline or str
        What :func:`fit_density` returns, where `density` is an estimator, else its name.
    """
    if rows.weight is not None:
        rows = rows.where(rows.weight.numpy() > 0)
    n_code = len(module.code_mean)
    n_rows = CODE_SAMPLE if isinstance(density, str) else DENSITY_SAMPLE
    if n_code > CODE_SAMPLE:
        n_rows = CODE_SAMPLE // 8
    rows = rows.sample(n_rows, seed)
    with drawing_from(make_generator(seed, rows.device)):
        codes = by_chunks(rows, module.draw_codes, module.network.rows_at_once)
    codes = codes.to(rows.precise)
    weight = rows.take_weight(slice(0, len(rows)))
    weight = weight / weight.sum()
    _note_gaussian(module, codes, weight)
    return density if isinstance(density, str) else fit_density(density, codes, weight, seed)


def _note_gaussian(module: AutoencoderModule, codes: Tensor, weight: Tensor) -> None:
    """Write mean and covariance of the codes into the module."""
    n_code = codes.shape[1]
    module.code_mean.copy_(weight @ codes)
    centered = (codes - weight @ codes) * weight.sqrt()[:, None]
    # The covariance is C^T C; the smaller of C^T C and C C^T has its axes.
    if len(centered) < n_code:
        values, vectors = torch.linalg.eigh(centered @ centered.t())
        factor = centered.t() @ vectors.flip(1)
    else:
        values, vectors = torch.linalg.eigh(centered.t() @ centered)
        factor = (vectors * values.clamp_min(0).sqrt()).flip(1)
    rank = min(module.code_factor.shape[1], factor.shape[1])
    module.code_factor.zero_()[:, :rank] = factor[:, :rank]
    rest = centered.square().sum(0) - factor[:, :rank].square().sum(1)
    module.code_spread.copy_(rest.clamp_min(0).sqrt() if rank < n_code else 0 * rest)


def check_density(density: Any) -> None:
    """Refuse before a long training what cannot be fitted after it."""
    if isinstance(density, str):
        return
    if isinstance(density, type):
        raise ValueError(f"density must be an instance, got the class {density.__name__}.")
    if hasattr(density, "_parameter_constraints"):
        density._validate_params()


def fit_density(density: Any, codes: Tensor, weight: Tensor, seed: int) -> Pipeline:
    """Fit a clone of a density estimator on standardised codes.

    Parameters
    ----------
    density : estimator with ``fit`` and ``sample``
    codes : Tensor of shape (n_samples, n_code)
    weight : Tensor of shape (n_samples,)
        Shares of the rows, which sum to one.
    seed : int
        Stands in where the estimator has ``random_state=None``.

    Returns
    -------
    Pipeline
        Of the scaler and the fitted clone.
    """
    density = clone(density)
    if density.get_params().get("random_state", 0) is None:
        density.set_params(random_state=seed)
    model = make_pipeline(StandardScaler(), density)
    # Few density estimators take weights: a row stands there as often as its weight says.
    places = (np.arange(len(codes)) + 0.5) / len(codes)
    shares = weight.cpu().double().numpy().cumsum()
    rows = codes.cpu().double().numpy()[np.searchsorted(shares, places * shares[-1])]
    try:
        with config_context(array_api_dispatch=False):  # codes are a NumPy array here
            return model.fit(rows)
    except ValueError as error:
        raise ValueError(
            f"density={density!r} cannot be fitted on the codes of {len(rows)} rows: {error}"
        ) from error


def draw_from_density(
    model: Pipeline, n_samples: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Draw codes, of shape (n_samples, n_code), from what :func:`fit_density` fitted."""
    scaler, density = model.named_steps.values()
    with config_context(array_api_dispatch=False):
        if "random_state" in inspect.signature(density.sample).parameters:
            drawn = density.sample(n_samples, random_state=random_state)
        else:  # mixtures draw by their own parameter, one component after another
            density = copy.copy(density)
            if "random_state" in density.get_params():
                density.set_params(random_state=random_state)
            drawn = density.sample(n_samples)
        codes = drawn[0] if isinstance(drawn, tuple) else drawn
        return scaler.inverse_transform(codes[random_state.permutation(n_samples)])


def draw_from_gaussian(
    module: AutoencoderModule, n_samples: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Draw codes, of shape (n_samples, n_code), from the Gaussian that the module notes."""
    mean, factor, spread = (
        getattr(module, name).detach().cpu().double().numpy()
        for name in ("code_mean", "code_factor", "code_spread")
    )
    codes = mean + random_state.standard_normal((n_samples, factor.shape[1])) @ factor.T
    return codes + random_state.standard_normal(codes.shape) * spread
