"""The order of a fit: from validated samples to a trained module."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._estimator.continuing import check_unchanged
from sklearn_ae._estimator.density import check_density, describe_codes
from sklearn_ae._estimator.identity import saved_run
from sklearn_ae._estimator.inputs import FitData, Kind, check_range
from sklearn_ae._estimator.modules import duplicate
from sklearn_ae._parameters.training import with_python_numbers
from sklearn_ae._training.antithetic import Losses, MeanOverDraws, pairs_for
from sklearn_ae._training.batches import Rows
from sklearn_ae._training.checkpoint import deleting_checkpoints
from sklearn_ae._training.description import Hyperparameters, Objective, Trained, TrainingRun
from sklearn_ae._training.device import Precision, resolve_device, resolve_precision
from sklearn_ae._training.held_out import held_out_mask
from sklearn_ae._training.linear import spread
from sklearn_ae._training.random import (
    Seeds,
    draw_seeds,
    drawing_from,
    make_generator,
)
from sklearn_ae._training.resources import heavy
from sklearn_ae._training.run import train
from sklearn_ae.losses import Loss
from sklearn_ae.networks._module import AutoencoderModule, converted, inner_width

MAX_FLOAT64_SAMPLES = 64
"""Number of samples up to which any network trains in float64 on float64 data."""

ONE_PASS: dict[str, Any] = {"learning_rate": "constant", "max_iter": 1}
"""Hyperparameters of a pass over one chunk of an unknown number."""


class Fit(NamedTuple):
    """What the steps of a fit share, each resolved once.

    Attributes
    ----------
    estimator : BaseAutoencoder
        For its hooks and its own parameters. It is not changed.
    loss : Loss
        Of the reconstruction.
    kind : Kind
        Of `X`.
    device : torch.device
    seeds : Seeds
    resume : bool
        Whether training continues from a copy of the fitted module.
    one_pass : bool
        Whether this is a pass over one chunk of many.
    """

    estimator: Any
    loss: Loss
    kind: Kind
    device: torch.device
    seeds: Seeds
    resume: bool
    one_pass: bool


class Units(NamedTuple):
    """Centre and scale of the samples.

    Attributes
    ----------
    center : Tensor of shape (n_features,)
    scale : scalar Tensor
    moments : tuple of Tensor
        Mean and variance of each feature, both in float64.
    """

    center: Tensor
    scale: Tensor
    moments: tuple[Tensor, Tensor]


@heavy
@deleting_checkpoints()
def fit_module(
    estimator: Any, data: FitData, *, resume: bool, one_pass: bool, callbacks: list[Any]
) -> tuple[AutoencoderModule, Trained]:
    """Build or copy an estimator's module, and train it.

    Parameters
    ----------
    estimator : BaseAutoencoder
        It is not changed.
    data : FitData
        Validated.
    resume : bool
        Whether to continue from a copy of the fitted module.
    one_pass : bool
        Whether this is a pass over one chunk of many.
    callbacks : list of skorch callbacks

    Returns
    -------
    module : AutoencoderModule
    trained : Trained
    """
    estimator = with_python_numbers(estimator)
    check_density(estimator.density)
    device, seeds = resolve_device(estimator.device, data.X), draw_seeds(estimator.random_state)
    fit = Fit(estimator, estimator._get_loss(), data.kind, device, seeds, resume, one_pass)

    samples, validation = _open(fit, data)
    module, precision = _copied_module(fit, samples) if resume else _new_module(fit, samples)
    training, held_out, units = _split(fit, module, samples, validation, precision.weights)
    found = {} if resume else _start(fit, module, samples, training, units)
    training, held_out = _standardized(module, training, held_out, precision.weights)
    if held_out is not None and held_out is not training:
        _check_near(held_out, "X" if validation is None else "X_val")
    parts = _part_names(module)
    trained = train(_describe(fit, module, training, held_out, precision.products, callbacks))
    _check_parts(module, parts)
    density = describe_codes(module, training, estimator.density, seeds.subspace)
    with drawing_from(make_generator(seeds.subspace, device)):
        found |= estimator._describe(module, training)
    trained.description = found | {"density_": density}
    return module, trained


def _open(fit: Fit, data: FitData) -> tuple[Rows, Rows | None]:
    """Put the data on the device, samples of weight zero left out; those to validate on, too."""
    for name, values in (("X", data.X), ("y", data.y), ("X_val", data.X_val)):
        if values is not None and not fit.loss.scaled:
            check_range(values, name, fit.loss, fit.estimator._says_loss())
    ragged = fit.estimator._network().takes_missing
    opened = functools.partial(Rows, device=fit.device, dtype=fit.kind.dtype, ragged=ragged)
    weight = data.sample_weight
    samples = opened(data.X, weight)
    if data.y is not None:
        samples.targets = opened(data.y, weight)
    if weight is not None:
        samples = samples.where(weight.numpy() > 0)
    return samples, None if data.X_val is None else opened(data.X_val, None)


def _copied_module(fit: Fit, samples: Rows) -> tuple[AutoencoderModule, Precision]:
    """Copy the fitted module: an error must not reach the weights that are there."""
    check_unchanged(fit.estimator, samples.n_features)
    module = duplicate(fit.estimator.module_).to(fit.device)
    precision = _precision(fit, module, samples)
    weights = module.center.dtype
    low = precision.products == torch.bfloat16
    return module, Precision(weights, torch.bfloat16 if low else weights)


def _new_module(fit: Fit, samples: Rows) -> tuple[AutoencoderModule, Precision]:
    """Build the module, its weights drawn."""
    with drawing_from(make_generator(fit.seeds.weights)):
        module = fit.estimator._build_module(samples.n_features)
    precision = _precision(fit, module, samples)
    converted(module, precision.weights, fit.device)
    return module, precision


def _precision(fit: Fit, module: AutoencoderModule, samples: Rows) -> Precision:
    few = len(samples) <= MAX_FLOAT64_SAMPLES
    double = fit.kind.double and (module.network.cheap_in_double or few)
    return resolve_precision(
        fit.estimator.precision, double, len(samples), inner_width(module), fit.device
    )


def _split(
    fit: Fit,
    module: AutoencoderModule,
    samples: Rows,
    validation: Rows | None,
    dtype: torch.dtype,
) -> tuple[Rows, Rows | None, Units | None]:
    """Return the samples to train on, those to validate on, and the units of all samples."""
    estimator = fit.estimator
    holds_out = validation is None and estimator.early_stopping and not fit.one_pass
    units = None
    if not fit.resume or holds_out:
        # All values must be representable, whichever of them are held out.
        units = _units_of(fit, module, samples, dtype)
    if validation is None and not estimator._joint_epochs():
        return samples, samples, units
    if units is None or not holds_out:
        return samples, validation, units
    fraction = estimator.validation_fraction
    return *split(samples, fit.seeds.split, fraction, moments=units.moments), units


def split(
    samples: Rows,
    seed: int,
    fraction: float,
    classes: np.ndarray | None = None,
    moments: tuple[Tensor, Tensor] | None = None,
) -> tuple[Rows, Rows]:
    """Hold out a fraction of the samples, chosen by their values.

    Neither their order nor their units change the choice. Where training continues, the same data
    thus give the same choice as in the first fit. Of classes the same fraction of each is held
    out, unless that is less than a sample. Samples too few to spare one are trained and validated
    on alike.
    """
    mask = held_out_mask(samples, seed, fraction, classes, moments)
    return (samples.where(~mask), samples.where(mask)) if mask.any() else (samples, samples)


def _units_of(fit: Fit, module: AutoencoderModule, samples: Rows, dtype: torch.dtype) -> Units:
    """Return centre and scale as ``dtype``."""
    moments = mean, variances = spread(samples)
    center = module.common_center(mean)
    variances = variances + (mean - center).square()  # about what is subtracted
    variance = variances.mean()
    # Results have a type of their own, and errors of samples are in squared units.
    squares = variances
    if not fit.loss.scaled:
        squares = variances + center.square()
        center, variance = torch.zeros_like(center), torch.ones_like(variance)
    scale = variance.sqrt() if variance > 0 else torch.ones_like(variance)
    center, scale = center.to(dtype), scale.to(dtype)
    sizes = torch.stack([scale, center.abs().max()])
    fits = bool(squares.max() <= torch.finfo(fit.kind.dtype).max) and bool(sizes.isfinite().all())
    if not fits or scale == 0:
        raise ValueError(
            f"X has values so large or so small that {str(dtype)[6:]} cannot hold "
            f"their mean and variance; rescale X, or try precision='float64' and X in float64."
        )
    return Units(center, scale, moments)


def _start(
    fit: Fit, module: AutoencoderModule, samples: Rows, training: Rows, units: Units | None
) -> dict[str, Any]:
    """Set the units of a new module and its start, and return fitted attributes.

    Only a start at PCA, with its centre and scale, is that of all samples: without evidence
    against it the fit must be scikit-learn's PCA. Nothing else receives held-out samples.
    """
    assert units is not None
    estimator, center, scale = fit.estimator, units.center, units.scale
    if training is not samples and not estimator._starts_well():
        center, scale, _ = _units_of(fit, module, training, center.dtype)
    module.center.copy_(center)
    module.scale.copy_(scale)
    seen = training.standardized(center, scale, center.dtype)
    known = samples.standardized(center, scale, center.dtype) if estimator._starts_well() else seen
    if not fit.loss.scaled:  # else the data are centred
        module.network.start_at(module.decoder, fit.loss.link(spread(seen)[0].to(center)))
    estimator._start(module, known, fit.seeds.subspace)
    return estimator._pretrain(module, seen, fit.seeds.subspace) or {}


def _standardized(
    module: AutoencoderModule, training: Rows, held_out: Rows | None, dtype: torch.dtype
) -> tuple[Rows, Rows | None]:
    """Centre and scale both; of one set of samples used twice, return one."""
    units = module.center, module.scale, dtype
    standardized = training.standardized(*units)
    if held_out is None or held_out is training:
        return standardized, held_out and standardized
    return standardized, held_out.standardized(*units)


def _check_near(held_out: Rows, called: str) -> None:
    """Refuse samples to validate on whose squared distances overflow."""
    center, variances = spread(held_out)
    if not (center.square() + variances).sum() <= torch.finfo(held_out.dtype).max:
        others = "those of X" if called == "X_val" else "the others"
        raise ValueError(
            f"{called} has values so far beyond {others} that their loss is not finite; look "
            f"for outliers, or rescale."
        )


def _describe(
    fit: Fit,
    module: AutoencoderModule,
    training: Rows,
    held_out: Rows | None,
    products: torch.dtype,
    callbacks: list[Any],
) -> TrainingRun:
    """Describe the training run."""
    estimator = fit.estimator
    shown = estimator.verbose and not fit.one_pass and estimator._joint_epochs()
    changed = ONE_PASS if fit.one_pass else {"max_iter": estimator._joint_epochs()}
    run = TrainingRun(
        module=module,
        samples=training,
        held_out=held_out,
        objective=_objective(fit, module, training, held_out, products),
        parameters=Hyperparameters.of(estimator, **changed),
        products=products,
        seeds=fit.seeds,
        state=estimator._training_state if fit.resume else None,
        callbacks=callbacks,
        title=type(estimator).__name__ if shown else None,
        saved=None if fit.one_pass else saved_run(estimator),
    )
    return estimator._adjust(run)


def _objective(
    fit: Fit,
    module: AutoencoderModule,
    training: Rows,
    held_out: Rows | None,
    products: torch.dtype,
) -> Objective:
    """Return what the estimator's module is trained for."""
    estimator, anneals = fit.estimator, not (fit.one_pass or fit.resume)
    at_once = estimator._rows_at_once(module.network)
    plain = fit.loss if estimator._has_plain_loss() else None
    # Noise is relative to the deviation of the data. A loss that uses them as they are is the
    # only one that leaves it open.
    noise_level, deviation = estimator._noise_level(), 1.0
    if noise_level and not fit.loss.scaled:
        deviation = float(spread(training)[1].mean()) ** 0.5 or 1.0
    losses: Losses = functools.partial(_losses, estimator, module)
    if plain is None and held_out is not None:
        losses = MeanOverDraws(losses, pairs_for(len(held_out)), at_once)
        at_once = max(1, at_once // 2)  # each at least twice
    return Objective(
        terms=estimator._loss,
        reconstruction=plain,
        noise_level=noise_level * deviation,
        evaluate=functools.partial(_evaluate, fit.loss, losses, products),
        samples_at_once=at_once,
        anneals=anneals,
        annealed_from=estimator._settled_from() if anneals else 0.0,
        needs_significance=not fit.resume and estimator._starts_well(),
    )


def _losses(
    estimator: Any,
    module: AutoencoderModule,
    X: Tensor,
    y: Tensor,
    sample_weight: Tensor | None,
) -> Tensor:
    """Return the loss of each sample, the sum of its terms."""
    terms = estimator._loss(module, X, y, sample_weight).values()
    return torch.stack([term.to(X.dtype).expand(len(X)) for term in terms]).sum(0)


def _evaluate(
    loss: Loss,
    losses: Losses,
    products: torch.dtype,
    module: AutoencoderModule,
    X: Tensor,
    y: Tensor,
    sample_weight: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the loss and the squared error of each sample."""
    with torch.autocast(X.device.type, products, enabled=products == torch.bfloat16):
        output = module(X).to(X.dtype)
        values = losses(X, y, sample_weight)
    squares = (loss.mean(output) - y).square()
    if module.network.takes_missing:
        squares = squares.nan_to_num()
    return values, squares.sum(1)


def _part_names(module: AutoencoderModule) -> set[str]:
    """Name all parts and parameters of a module."""
    return {name for name, _ in [*module.named_modules(), *module.named_parameters()]}


def _check_parts(module: AutoencoderModule, before: set[str]) -> None:
    """Refuse a module that has made parameters in its first pass: they were not trained."""
    if later := sorted(_part_names(module) - before):
        raise ValueError(
            f"{type(module.network).__name__} made {later[0]!r} while it was trained, which was "
            f"not trained with it; make all parts in the constructor, or use torch's lazy modules."
        )
