"""What a fitted autoencoder does with samples and codes, as functions of the estimator."""

from __future__ import annotations

from typing import Any, cast

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._compat import check_same_namespace
from sklearn_ae._estimator.inputs import Kind, check_codes, check_rows, check_weight, shape_of_row
from sklearn_ae._estimator.modules import build, converted_copy
from sklearn_ae._training.batches import Rows, by_chunks
from sklearn_ae._training.linear import share_explained, spread
from sklearn_ae._training.reach import codes_within_reach, lowest_if_far, within_reach
from sklearn_ae._training.resources import heavy
from sklearn_ae.networks._any_size import resized
from sklearn_ae.networks._module import AutoencoderModule

Opened = tuple[Rows, Kind, AutoencoderModule]


def open_rows(
    estimator: Any,
    X: Any,
    method: str,
    sample_weight: Any = None,
    y: Any = None,
    any_size: bool = False,
) -> Opened:
    """Validate samples for a method of a fitted estimator.

    Parameters
    ----------
    estimator : BaseAutoencoder
    X, sample_weight, y : object
        As they were given to the method.
    method : str
        Its name, for error messages.
    any_size : bool, default=False
        Whether samples may have another shape, if the network has no dense layers.

    Returns
    -------
    rows : Rows
        The samples in network units.
    kind : Kind
        What array the result is to be.
    module : AutoencoderModule
        The network, in the precision of the data.
    """
    check_is_fitted(estimator)
    check_same_namespace(X, estimator, attribute="_kind", method=method)
    any_size = any_size and estimator.module_.config["n_components"] is None
    shape = shape_of_row(X) if any_size else None
    X, kind = check_rows(estimator, X, reset=False, any_size=any_size)
    module = module_as(estimator, kind.dtype)
    if shape is not None and shape != estimator.input_shape_:
        module = _resized(estimator, module, shape)
    weight = check_weight(sample_weight, X.shape[0])
    ragged = module.network.takes_missing
    y = estimator._check_targets(y, X.shape[0], module.config["row_shape"])
    device = module.center.device
    targets = None if y is None else Rows(y, weight, device, kind.dtype, ragged)
    rows = Rows(X, weight, device, kind.dtype, ragged, targets)
    rows = rows.standardized(module.center, module.scale, module.center.dtype)
    rows = rows.through(within_reach, rows.n_features)
    if rows.targets is not None:
        rows.targets = rows.targets.through(within_reach, rows.n_features)
    return rows, kind, module


def _resized(
    estimator: Any, module: AutoencoderModule, shape: tuple[int, ...]
) -> AutoencoderModule:
    """Return the module for samples of another shape."""
    try:
        return resized(module, shape, build)
    except ValueError as error:
        raise ValueError(
            f"X has rows of shape {shape}, but {type(estimator).__name__} was fitted on rows of "
            f"shape {estimator.input_shape_}. {error}"
        ) from error


def open_codes(estimator: Any, codes: Any) -> tuple[Any, Kind]:
    """Validate codes for `inverse_transform` of a fitted estimator."""
    check_is_fitted(estimator)
    check_same_namespace(codes, estimator, attribute="_kind", method="inverse_transform")
    return check_codes(estimator, codes)


def module_as(estimator: Any, dtype: torch.dtype) -> AutoencoderModule:
    """Return the fitted module in the precision of the data, a copy where that is another."""
    module = estimator.module_
    if module.center.device.type == "mps" or module.center.dtype == dtype:
        return module
    return converted_copy(module, dtype)


def to_units(estimator: Any, module: AutoencoderModule, output: Tensor) -> Tensor:
    """Turn outputs of the decoder into samples in the units of the training data."""
    return estimator._get_fitted_loss().mean(output) * module.scale + module.center


@torch.no_grad()
def decode(estimator: Any, codes: Any, kind: Kind, draws: bool = False) -> Tensor:
    """Map codes to samples in the units and the shape of the training data.

    With `draws` they are draws of the module, not its means.
    """
    module = module_as(estimator, kind.dtype)
    rows = Rows(codes, None, module.center.device, module.center.dtype)
    rows = rows.through(codes_within_reach, rows.n_features)

    def decoded(z: Tensor) -> Tensor:
        output = module.decode(z)
        if draws:
            return cast(Any, module).draw(output) * module.scale + module.center
        return to_units(estimator, module, output)

    result = by_chunks(rows, decoded, module.network.rows_at_once)
    return result.reshape(-1, *estimator.input_shape_)


def interpolate(estimator: Any, first: Opened, last: Opened, n_steps: int) -> Tensor:
    """Decode codes on the lines between those of two sets of samples."""
    (rows, kind, module), (last_rows, _, _) = first, last
    if len(rows) != len(last_rows):
        raise ValueError(
            f"X has {len(rows)} rows and X_end has {len(last_rows)}; give as many of both."
        )
    begin, end = (
        by_chunks(part, module.encode, module.network.rows_at_once).to(kind.dtype)
        for part in (rows, last_rows)
    )
    share = torch.linspace(0, 1, n_steps, dtype=begin.dtype, device=begin.device)[:, None]
    codes = (1 - share) * begin[:, None] + share * end[:, None]
    n_own = module.n_components
    # What stands behind the components, such as places of maxima, has no values in between.
    nearer = torch.where(share < 0.5, begin[:, None], end[:, None])
    codes = torch.cat([codes[..., :n_own], nearer[..., n_own:]], dim=2)
    between = decode(estimator, codes.flatten(0, 1), kind)
    return between.reshape(len(rows), n_steps, *estimator.input_shape_)


def minus_mean_squares(estimator: Any, rows: Rows, module: AutoencoderModule) -> Tensor:
    """Return minus the mean squared error of each sample, in squared units of the data."""

    def scored(x: Tensor) -> Tensor:
        errors, counts = _squared_errors(estimator, module, x, x)
        return lowest_if_far(-errors / counts * module.scale.square(), x)

    return by_chunks(rows, scored, module.network.rows_at_once)


@heavy
@torch.no_grad()
def fraction_explained(estimator: Any, rows: Rows, module: AutoencoderModule) -> float:
    """Return the fraction of the samples' variance that the reconstruction explains."""
    targets: Rows = rows.targets or rows
    total = torch.zeros((), dtype=rows.precise, device=rows.device)
    for chunk in rows.chunks(module.network.rows_at_once):
        errors, _ = _squared_errors(estimator, module, rows.take(chunk), targets.take(chunk))
        weight = rows.take_weight(chunk)
        total += weight @ errors.to(weight.dtype)
    return share_explained(float(total) / rows.total_weight, float(spread(targets)[1].sum()))


def _squared_errors(
    estimator: Any, module: AutoencoderModule, x: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum of each sample's squared errors, in network units, and the number of its values."""
    squares = (estimator._get_fitted_loss().mean(module(x)) - target).square()
    if module.network.takes_missing:
        squares = squares.masked_fill(target.isnan(), 0.0)
    return squares.sum(1), (~target.isnan()).sum(1)
