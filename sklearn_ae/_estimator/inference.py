"""Inference with a fitted autoencoder: encoding, decoding and scores."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._compat import check_same_namespace
from sklearn_ae._estimator.completing import completed, completing
from sklearn_ae._estimator.inputs import (
    ArrayType,
    check_codes,
    check_samples,
    check_weight,
    has_missing,
    sample_shape,
)
from sklearn_ae._estimator.modules import build, converted_copy
from sklearn_ae._training.batches import Samples, by_chunks
from sklearn_ae._training.linear import mean_and_variance, ratio_from_error
from sklearn_ae._training.reach import codes_within_reach, lowest_if_far, within_reach
from sklearn_ae._training.resources import limit_resources
from sklearn_ae.losses import Loss
from sklearn_ae.networks._any_size import resized
from sklearn_ae.networks._module import AutoencoderModule

Opened = tuple[Samples, ArrayType, AutoencoderModule]


def open_samples(
    estimator: Any,
    X: Any,
    method: str,
    sample_weight: Any = None,
    y: Any = None,
    any_size: bool = False,
) -> Opened:
    """Validate the arguments of a method of a fitted estimator.

    Parameters
    ----------
    estimator : BaseAutoencoder
    X, sample_weight, y : object
        Arguments of the method.
    method : str
        Name of the method, for error messages.
    any_size : bool, default=False
        Whether samples may have another shape than in training, if the network has no dense
        layers.

    Returns
    -------
    samples : Samples
        The inputs of the encoder in network units, with weights and targets. If `X` has missing
        values, these are completed, and the targets are the samples with NaN.
    array_type : ArrayType
        Array library, device and dtype of the result.
    module : AutoencoderModule
        The fitted network, in the dtype of the data.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If an argument is invalid.
    """
    check_is_fitted(estimator)
    check_same_namespace(X, estimator, attribute="_kind", method=method)
    any_size = any_size and estimator.module_.config["n_components"] is None
    shape = sample_shape(X) if any_size else None
    X, array_type = check_samples(estimator, X, reset=False, any_size=any_size)
    module = module_as(estimator, array_type.dtype)
    if shape is not None and shape != estimator.input_shape_:
        module = _resized(estimator, module, shape)
    weight = check_weight(sample_weight, X.shape[0])
    ragged = module.network.takes_missing
    has_gaps = not ragged and has_missing(X)
    if has_gaps:
        module = completing(module, estimator._get_fitted_loss().mean)
    y = estimator._check_targets(y, X.shape[0], module.config["sample_shape"])
    device = module.center.device
    targets = None if y is None else Samples(y, weight, device, array_type.dtype, ragged)
    samples = Samples(X, weight, device, array_type.dtype, ragged or has_gaps, targets)
    samples = samples.standardized(module.center, module.scale, module.center.dtype)
    # Outliers whose squares would overflow are clipped; scores of such samples are -inf.
    samples = samples.map(within_reach, samples.n_features)
    if samples.targets is not None:
        samples.targets = samples.targets.map(within_reach, samples.n_features)
    return completed(samples, module), array_type, module


def _resized(
    estimator: Any, module: AutoencoderModule, shape: tuple[int, ...]
) -> AutoencoderModule:
    """Return a module with the same weights for samples of another shape."""
    try:
        return resized(module, shape, build)
    except ValueError as error:
        raise ValueError(
            f"X has samples of shape {shape}, but {type(estimator).__name__} was fitted on "
            f"samples of shape {estimator.input_shape_}. {error}"
        ) from error


def open_codes(estimator: Any, codes: Any) -> tuple[Any, ArrayType]:
    """Validate codes for `inverse_transform` of a fitted estimator."""
    check_is_fitted(estimator)
    check_same_namespace(codes, estimator, attribute="_kind", method="inverse_transform")
    return check_codes(estimator, codes)


def module_as(estimator: Any, dtype: torch.dtype) -> AutoencoderModule:
    """Return the fitted module in a dtype: the module itself if it has this dtype, else a copy."""
    module: AutoencoderModule = estimator.module_
    # The device "mps" does not support float64.
    if module.center.device.type == "mps" or module.center.dtype == dtype:
        return module
    return converted_copy(module, dtype)


def to_units(estimator: Any, module: AutoencoderModule, output: Tensor) -> Tensor:
    """Convert outputs of the decoder to samples in the units of the training data."""
    mean: Tensor = estimator._get_fitted_loss().mean(output)
    return mean * module.scale + module.center


@torch.no_grad()
def decode(estimator: Any, codes: Any, array_type: ArrayType, draws: bool = False) -> Tensor:
    """Decode codes.

    Parameters
    ----------
    estimator : BaseAutoencoder
    codes : ndarray or Tensor of shape (n_samples, n_code)
    array_type : ArrayType
        Of the codes.
    draws : bool, default=False
        Whether to draw samples from the decoder's distribution instead of returning its mean.
        Only for modules with a method ``draw``.

    Returns
    -------
    Tensor of shape (n_samples, ...)
        In the units and the shape of the training data.
    """
    module = module_as(estimator, array_type.dtype)
    samples = Samples(codes, None, module.center.device, module.center.dtype)
    samples = samples.map(codes_within_reach, samples.n_features)

    def decoded(z: Tensor) -> Tensor:
        output = module.decode(z)
        if draws:
            drawn: Tensor = cast(Any, module).draw(output)
            return drawn * module.scale + module.center
        return to_units(estimator, module, output)

    result = by_chunks(samples, decoded, module.network.samples_at_once)
    return result.reshape(-1, *estimator.input_shape_)


def interpolate(estimator: Any, first: Opened, last: Opened, n_steps: int) -> Tensor:
    """Decode codes on the lines between the codes of two sets of samples.

    Parameters
    ----------
    estimator : BaseAutoencoder
    first, last : tuple
        As returned by :func:`open_samples`.
    n_steps : int

    Returns
    -------
    Tensor of shape (n_samples, n_steps, ...)

    Raises
    ------
    ValueError
        If the numbers of samples differ.
    """
    (samples, array_type, module), (last_samples, _, _) = first, last
    if len(samples) != len(last_samples):
        raise ValueError(
            f"X has {len(samples)} samples and X_end has {len(last_samples)}; pass equally "
            f"many of both."
        )
    begin, end = (
        by_chunks(part, module.encode, module.network.samples_at_once).to(array_type.dtype)
        for part in (samples, last_samples)
    )
    fraction = torch.linspace(0, 1, n_steps, dtype=begin.dtype, device=begin.device)[:, None]
    # (n_samples, 1, n_code) and (n_steps, 1) give (n_samples, n_steps, n_code)
    codes = (1 - fraction) * begin[:, None] + fraction * end[:, None]
    n_components = module.n_components
    # Columns after the components, such as positions of maxima, cannot be interpolated.
    nearer = torch.where(fraction < 0.5, begin[:, None], end[:, None])
    codes = torch.cat([codes[..., :n_components], nearer[..., n_components:]], dim=2)
    between = decode(estimator, codes.flatten(0, 1), array_type)
    return between.reshape(len(samples), n_steps, *estimator.input_shape_)


def negative_mean_squared_errors(
    estimator: Any, samples: Samples, module: AutoencoderModule
) -> Tensor:
    """Return the negative mean squared error of each sample, in squared units of the data.

    Of a table it is the negative mean of the terms of its columns.
    """
    targets = samples.targets or samples
    loss = estimator._get_fitted_loss()

    def scores_of_columns(x: Tensor) -> Tensor:
        counts: Tensor = estimator._table.layout.observed(x).sum(1)
        output, target = module(module.complete(x)), x
        if module.takes_missing:
            output, target = loss.ignoring(x.isnan(), output, x)
        total: Tensor = loss.deviances(output, target).sum(1)
        return lowest_if_far(-total / counts.clamp_min(1), x)

    if loss.deviances is not None:
        return by_chunks(targets, scores_of_columns, module.network.samples_at_once)

    def scores(x: Tensor) -> Tensor:
        errors, counts = _squared_errors(estimator, module, module.complete(x), x)
        # Samples without any value have no error.
        return lowest_if_far(-errors / counts.clamp_min(1) * module.scale.square(), x)

    return by_chunks(targets, scores, module.network.samples_at_once)


@limit_resources
@torch.no_grad()
def explained_variance_ratio(estimator: Any, samples: Samples, module: AutoencoderModule) -> float:
    """Return the fraction of the variance of samples, or targets, that is reconstructed.

    Of a table it is the fraction of the deviance that is explained.
    """
    if estimator._get_fitted_loss().deviances is not None:
        return ratio_from_error(
            *(float(each.sum()) for each in deviances(estimator, samples, module))
        )
    targets: Samples = samples.targets or samples
    total = torch.zeros((), dtype=samples.precise, device=samples.device)
    for chunk in samples.chunks(module.network.samples_at_once):
        errors, _ = _squared_errors(estimator, module, samples.take(chunk), targets.take(chunk))
        weight = samples.take_weight(chunk)
        total += weight @ errors.to(weight.dtype)
    return ratio_from_error(
        float(total) / samples.total_weight, float(mean_and_variance(targets)[1].sum())
    )


@limit_resources
@torch.no_grad()
def deviances(
    estimator: Any, samples: Samples, module: AutoencoderModule
) -> tuple[Tensor, Tensor]:
    """Return the deviances of the columns of a table, each of shape (n_columns,).

    Returns
    -------
    reconstructed : Tensor
        Of the reconstructions.
    constant : Tensor
        Of the means of numbers, and of the frequencies of categories.
    """
    loss = estimator._get_fitted_loss()
    targets: Samples = samples.targets or samples
    sums: list[Tensor] = []
    for chunk in samples.chunks(module.network.samples_at_once):
        target, weight = targets.take(chunk), samples.take_weight(chunk)
        terms = observed_deviances(loss, module(samples.take(chunk)), target)
        sums.append(weight @ terms.to(weight.dtype))
    return torch.stack(sums).sum(0), constant_deviances(loss, targets)


def observed_deviances(loss: Loss, output: Tensor, target: Tensor) -> Tensor:
    """Return the deviances of samples of a table, (n_samples, n_columns); zero if missing."""
    assert loss.deviances is not None
    return loss.deviances(*loss.ignoring(target.isnan(), output, target))


@torch.no_grad()
def constant_deviances(loss: Loss, samples: Samples) -> Tensor:
    """Return the deviance of each column of a table from means and frequencies."""
    constant = loss.link(mean_and_variance(samples)[0])
    sums: list[Tensor] = []
    for chunk in samples.chunks():
        target, weight = samples.take(chunk), samples.take_weight(chunk)
        terms = observed_deviances(loss, constant.to(target).expand_as(target), target)
        sums.append(weight @ terms.to(weight.dtype))
    return torch.stack(sums).sum(0)


def column_scores(
    estimator: Any, samples: Samples, module: AutoencoderModule, training: Samples
) -> np.ndarray:
    """Return the fraction of the deviance of each column of a table that is explained.

    It is relative to the deviance of the training samples: a few held-out samples may all have
    the same category.
    """
    targets: Samples = training.targets or training
    constant = constant_deviances(estimator._get_fitted_loss(), targets) / targets.total_weight
    reconstructed = deviances(estimator, samples, module)[0] / samples.total_weight
    both = zip(reconstructed.tolist(), constant.tolist(), strict=True)
    scores = np.array([ratio_from_error(*each) for each in both])
    return scores[np.argsort(estimator._table.places())]


def _squared_errors(
    estimator: Any, module: AutoencoderModule, x: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the sum of the squared errors of each sample, and the number of its values.

    Both have the shape (n_samples,); errors are in network units. Missing values are not counted.
    """
    squares = (estimator._get_fitted_loss().mean(module(x)) - target).square()
    if module.takes_missing:
        squares = squares.masked_fill(target.isnan(), 0.0)
    return squares.sum(1), (~target.isnan()).sum(1)
