"""The distribution of the codes, from which ``sample`` draws.

The Gaussian with the mean and the covariance of the codes is part of every module. Other
distributions are estimators that are fitted on codes.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from sklearn_ae._estimator.code_densities import CodeKernelDensity, fit_mixture
from sklearn_ae._training.batches import Samples, by_chunks
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae.networks._module import AutoencoderModule

GAUSSIAN_SAMPLES = 2_000
"""Maximum number of samples from which mean and covariance of the codes are computed."""

DENSITY_SAMPLES = 10_000
"""Maximum number of samples on whose codes a density estimator is fitted."""


@torch.no_grad()
def fit_code_density(
    module: AutoencoderModule, samples: Samples, density: Any, seed: int
) -> Pipeline | str:
    """Fit the density of the training samples' codes.

    Parameters
    ----------
    module : AutoencoderModule
        The Gaussian is stored in its buffers, whatever `density` is.
    samples : Samples
        Training samples in network units.
    density : str or estimator with ``fit`` and ``sample``
    seed : int

    Returns
    -------
    Pipeline or str
        `density` if it is ``"gaussian"`` or ``"prior"``, else the result of :func:`fit_density`.
    """
    needs_no_fit = isinstance(density, str) and density in ("gaussian", "prior")
    if samples.weight is not None:
        samples = samples.where(samples.weight.numpy() > 0)
    n_code = len(module.code_mean)
    n_samples = GAUSSIAN_SAMPLES if needs_no_fit else DENSITY_SAMPLES
    if n_code > GAUSSIAN_SAMPLES:  # very wide codes, such as feature maps: less time and memory
        n_samples = GAUSSIAN_SAMPLES // 8
    samples = samples.sample(n_samples, seed)
    with drawing_from(make_generator(seed, samples.device)):
        codes = by_chunks(samples, module.draw_codes, module.network.samples_at_once)
    codes = codes.to(samples.precise)
    weight = samples.take_weight(slice(0, len(samples)))
    weight = weight / weight.sum()
    _store_gaussian(module, codes, weight)
    return density if needs_no_fit else fit_density(density, codes, weight, seed)


def _store_gaussian(module: AutoencoderModule, codes: Tensor, weight: Tensor) -> None:
    """Store mean and covariance of the codes in the module, as ``L L^T + diag(s^2)``.

    ``L`` consists of the leading principal axes, and ``s^2`` is the rest of each variance.
    """
    n_code = codes.shape[1]
    module.code_mean.copy_(weight @ codes)
    centered = (codes - weight @ codes) * weight.sqrt()[:, None]  # C, (n_samples, n_code)
    # The covariance is C^T C. Its axes follow from the smaller one of C^T C and C C^T.
    if len(centered) < n_code:
        values, vectors = torch.linalg.eigh(centered @ centered.t())
        factor = centered.t() @ vectors.flip(1)
    else:
        values, vectors = torch.linalg.eigh(centered.t() @ centered)
        factor = (vectors * values.clamp_min(0).sqrt()).flip(1)
    rank = min(module.code_factor.shape[1], factor.shape[1])
    module.code_factor.zero_()[:, :rank] = factor[:, :rank]
    # Rounding may make the rest negative, and nothing but rounding is left at full rank.
    rest = centered.square().sum(0) - factor[:, :rank].square().sum(1)
    module.code_spread.copy_(rest.clamp_min(0).sqrt() if rank < n_code else 0 * rest)


def check_density(density: Any) -> None:
    """Raise an error before a long training if the density could not be fitted after it."""
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
    density : {"kde", "mixture"} or estimator with ``fit`` and ``sample``
    codes : Tensor of shape (n_samples, n_code)
    weight : Tensor of shape (n_samples,)
        Weights, with the sum one.
    seed : int
        Replaces ``random_state=None`` of the estimator.

    Returns
    -------
    Pipeline
        A ``StandardScaler`` and the fitted clone, or the fitted density of this name.

    Raises
    ------
    ValueError
        If the estimator cannot be fitted on these codes.
    """
    # Few density estimators accept weights. Codes are therefore repeated in proportion to their
    # weights: evenly spaced quantiles of the weighted codes, as many as there are codes.
    places = (np.arange(len(codes)) + 0.5) / len(codes)
    fractions = weight.cpu().double().numpy().cumsum()
    repeated = codes.cpu().double().numpy()[np.searchsorted(fractions, places * fractions[-1])]
    if isinstance(density, str):
        with config_context(array_api_dispatch=False):
            scaler = StandardScaler().fit(repeated)
            scaled = scaler.transform(repeated)
            is_mixture = density == "mixture"
            fitted = fit_mixture(scaled, seed) if is_mixture else CodeKernelDensity().fit(scaled)
        return make_pipeline(scaler, fitted)
    density = clone(density)
    if density.get_params().get("random_state", 0) is None:
        density.set_params(random_state=seed)
    model = make_pipeline(StandardScaler(), density)
    try:
        with config_context(array_api_dispatch=False):  # codes are a NumPy array here
            return model.fit(repeated)
    except ValueError as error:
        raise ValueError(
            f"density={density!r} cannot be fitted on the codes of {len(repeated)} samples: "
            f"{error}"
        ) from error


def draw_from_density(
    model: Pipeline, n_samples: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Draw codes, of shape (n_samples, n_code), from the result of :func:`fit_density`."""
    scaler, density = model.named_steps.values()
    with config_context(array_api_dispatch=False):
        drawn = _draw(density, n_samples, random_state)
        codes = drawn[0] if isinstance(drawn, tuple) else drawn  # mixtures return labels, too
        # Mixtures draw one component after another.
        shuffled: np.ndarray = codes[random_state.permutation(n_samples)]
        original: np.ndarray = scaler.inverse_transform(shuffled)
    return original


def _draw(density: Any, n_samples: int, random_state: np.random.RandomState) -> Any:
    """Call ``sample`` of a fitted density estimator with a random state.

    Some estimators, such as ``GaussianMixture``, draw by their parameter `random_state`. Others,
    such as ``KernelDensity`` and autoencoders, draw by an argument of ``sample``. One with neither
    draws unseeded.
    """
    if "random_state" in density.get_params(deep=False):
        density = copy.copy(density)  # the fitted estimator stays as it is
        density.set_params(random_state=random_state)
    try:
        return density.sample(n_samples, random_state=random_state)
    except TypeError:
        return density.sample(n_samples)


def draw_from_gaussian(
    module: AutoencoderModule, n_samples: int, random_state: np.random.RandomState
) -> np.ndarray:
    """Draw codes, of shape (n_samples, n_code), from the Gaussian stored in the module."""
    mean, factor, deviation = _gaussian_of(module)
    codes = mean + random_state.standard_normal((n_samples, factor.shape[1])) @ factor.T
    drawn: np.ndarray = codes + random_state.standard_normal(codes.shape) * deviation
    return drawn


def moments_of_gaussian(module: AutoencoderModule) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the Gaussian stored in the module."""
    mean, factor, deviation = _gaussian_of(module)
    return mean, factor @ factor.T + np.diag(deviation**2)


def _gaussian_of(module: AutoencoderModule) -> list[np.ndarray]:
    """Return mean, factor and deviations of the Gaussian stored in the module, in float64."""
    buffers = module.code_mean, module.code_factor, module.code_spread
    return [buffer.detach().cpu().double().numpy() for buffer in buffers]
