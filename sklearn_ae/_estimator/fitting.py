"""The order of a fit: from validated rows to a trained module."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._estimator.continuing import check_unchanged
from sklearn_ae._estimator.density import check_density, describe_codes
from sklearn_ae._estimator.identity import identity_of
from sklearn_ae._estimator.inputs import Kind, check_callbacks, check_range, check_weight
from sklearn_ae._estimator.modules import duplicate
from sklearn_ae._parameters.training import TrainingParameters, with_python_numbers
from sklearn_ae._training.antithetic import MeanOverDraws, pairs_for
from sklearn_ae._training.batches import Rows
from sklearn_ae._training.checkpoint import (
    checkpoints_among,
    deleting_checkpoints,
    without_name,
)
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
from sklearn_ae._training.run import Trained, Training, train
from sklearn_ae.networks._module import AutoencoderModule, converted, inner_width

MAX_FLOAT64_SAMPLES = 64
"""Number of samples up to which any network trains in float64 on float64 data."""


class Units(NamedTuple):
    """What rows are to be centred by and divided by.

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
    estimator: Any,
    X: Any,
    y: Any,
    kind: Kind,
    sample_weight: Any,
    X_val: Any,
    *,
    resume: bool,
    one_pass: bool,
    callbacks: list[Any],
) -> tuple[AutoencoderModule, Trained]:
    """Build or take up an estimator's module, and train it.

    Parameters
    ----------
    estimator : BaseAutoencoder
        Its parameters and hooks say how. It is not changed.
    X, X_val : ndarray, CSR matrix or Tensor of shape (n_samples, n_features)
        Validated rows to train and, unless None, to validate on.
    y : ndarray, CSR matrix or Tensor of shape (n_samples, n_features) or None
        What to make of the rows, where that is not the rows themselves.
    kind : Kind
        Of `X`.
    sample_weight : array-like of shape (n_samples,) or None
    resume : bool
        Whether to go on from a copy of the fitted module.
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
    seeds = draw_seeds(estimator.random_state)
    device = resolve_device(estimator.device, X)
    rows = _rows(estimator, X, y, sample_weight, kind, device)
    validation = (
        None if X_val is None else _rows(estimator, X_val, None, None, kind, device, "X_val")
    )
    build = _resumed_module if resume else _new_module
    module, precision = build(estimator, rows, kind, seeds)
    holds_out = validation is None and estimator.early_stopping and not one_pass
    training, judged = rows, validation
    if not resume or holds_out:
        # All values must be representable, whichever of them are held out.
        whole = _units_of(estimator, module, rows, kind, precision.weights)
    if validation is None and not estimator._joint_epochs():
        judged = rows
    elif holds_out:
        fraction = estimator.validation_fraction
        training, judged = split(rows, seeds.split, fraction, moments=whole.moments)
    found = {}
    if not resume:
        found = _start_module(estimator, module, rows, training, whole, kind, seeds.subspace)

    units = module.center, module.scale, precision.weights
    seen = training.standardized(*units)
    if judged is not None:
        judged = seen if judged is training else judged.standardized(*units)
    if judged is not None and judged is not seen:
        _check_near(judged, "X" if validation is None else "X_val")
    parts = _part_names(module)
    trained = train(
        _plan(
            estimator,
            module,
            seen,
            judged,
            resume=resume,
            one_pass=one_pass,
            products=precision.products,
            seeds=seeds,
            noise_level=estimator._noise_level() * _deviation(estimator, seen),
            callbacks=callbacks,
        )
    )
    if later := sorted(_part_names(module) - parts):
        raise ValueError(
            f"{type(module.network).__name__} made {later[0]!r} while it was trained, which was "
            f"not trained with it; make all parts in the constructor, or use torch's lazy modules."
        )
    density = describe_codes(module, seen, estimator.density, seeds.subspace)
    with drawing_from(make_generator(seeds.subspace, device)):
        found |= estimator._describe(module, seen)
    trained.description = found | {"density_": density}
    return module, trained


def _part_names(module: AutoencoderModule) -> set[str]:
    """Name all parts and parameters of a module."""
    return {name for name, _ in [*module.named_modules(), *module.named_parameters()]}


def _start_module(
    estimator: Any,
    module: AutoencoderModule,
    rows: Rows,
    training: Rows,
    whole: Units,
    kind: Kind,
    seed: int,
) -> dict[str, Any]:
    """Set the units of a new module and its start, and return fitted attributes.

    Only a start at PCA, with its centre and scale, is that of all rows: without evidence against
    it the fit must be scikit-learn's PCA. Whatever else is fitted does not see held-out rows.
    """
    center, scale = whole.center, whole.scale
    if training is not rows and not estimator._starts_well():
        center, scale, _ = _units_of(estimator, module, training, kind, center.dtype)
    module.center.copy_(center)
    module.scale.copy_(scale)
    seen = training.standardized(center, scale, center.dtype)
    known = rows.standardized(center, scale, center.dtype) if estimator._starts_well() else seen
    loss = estimator._get_loss()
    if not loss.scaled:  # else the data are centred
        module.network.start_at(module.decoder, loss.link(spread(seen)[0].to(center)))
    estimator._start(module, known, seed)
    return estimator._pretrain(module, seen, seed) or {}


def _deviation(estimator: Any, rows: Rows) -> float:
    """Return the overall standard deviation of rows in network units.

    Noise is relative to it. Only a loss that uses the data as they are leaves it open.
    """
    if estimator._get_loss().scaled:
        return 1.0
    return float(spread(rows)[1].mean()) ** 0.5 or 1.0


def _plan(
    estimator: Any,
    module: AutoencoderModule,
    rows: Rows,
    held_out: Rows | None,
    *,
    resume: bool,
    one_pass: bool,
    products: torch.dtype,
    **rest: Any,
) -> Training:
    """Gather what a training run needs to know of an estimator. `rest` is handed on."""
    shown = estimator.verbose and not one_pass and estimator._joint_epochs()
    at_once = estimator._rows_at_once(module.network)
    losses_of = MeanOverDraws(
        functools.partial(_losses, estimator, module),
        pairs_for(0 if held_out is None else len(held_out)),
        at_once,
    )
    training = training_of(
        estimator,
        module=module,
        rows=rows,
        held_out=held_out,
        loss=estimator._loss,
        plain=estimator._get_loss() if estimator._has_plain_loss() else None,
        judge=functools.partial(_judge, estimator, products=products, losses_of=losses_of),
        products=products,
        schedule="constant" if one_pass else estimator.learning_rate,
        max_iter=1 if one_pass else estimator._joint_epochs(),
        **({"checkpoint": None} if one_pass else {}),
        has_course=not one_pass and not resume,
        settled_from=0.0 if one_pass or resume else estimator._settled_from(),
        rows_at_once=at_once if estimator._has_plain_loss() else max(1, at_once // 2),
        demand_evidence=not resume and estimator._starts_well(),
        progress=type(estimator).__name__ if shown else None,
        state=estimator._training_state if resume else None,
        **rest,
    )
    return estimator._adjust(training)


def training_of(parameters: TrainingParameters, **rest: Any) -> Training:
    """Take what parameters say of a training run; `rest` says the others, or overrules."""
    checkpoints, identity = checkpoints_among(parameters.callbacks), ""
    if checkpoints and rest.get("checkpoint", ...) is not None:
        named = check_callbacks(parameters.callbacks)
        others = [*checkpoints[1:], *map(without_name, named)]
        checkpoints[0].check(parameters.random_state, others)
        identity = identity_of(parameters, checkpoints[0])
    parameters = with_python_numbers(parameters)
    said = {
        "batch_size": parameters.batch_size,
        "learning_rate_init": parameters.learning_rate_init,
        "momentum": parameters.momentum if parameters.solver == "sgd" else None,
        "schedule": parameters.learning_rate,
        "alpha": parameters.alpha,
        "max_iter": parameters.max_iter,
        "tol": parameters.tol,
        "patience": parameters.n_iter_no_change,
        "checkpoint": checkpoints[0] if checkpoints else None,
        "identity": identity,
    }
    return Training(**said | rest)


def _rows(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    kind: Kind,
    device: torch.device,
    called: str = "X",
) -> Rows:
    """Put data on the device, those of weight zero left out."""
    loss = estimator._get_loss()
    for name, data in ((called, X), ("y", y)):
        if data is not None and not loss.scaled:
            check_range(data, name, loss, estimator._says_loss())
    ragged = estimator._network().takes_missing
    weight = check_weight(sample_weight, X.shape[0])
    targets = None if y is None else Rows(y, weight, device, kind.dtype, ragged)
    rows = Rows(X, weight, device, kind.dtype, ragged, targets)
    return rows if weight is None else rows.where(weight.numpy() > 0)


def _resumed_module(
    estimator: Any, rows: Rows, kind: Kind, seeds: Seeds
) -> tuple[AutoencoderModule, Precision]:
    """Copy the fitted module: an error must not reach the weights that are there."""
    check_unchanged(estimator, rows.n_features)
    module = duplicate(estimator.module_).to(rows.device)
    precision = _precision(estimator, module, rows, kind)
    weights = module.center.dtype
    low = precision.products == torch.bfloat16
    return module, Precision(weights, torch.bfloat16 if low else weights)


def _new_module(
    estimator: Any, rows: Rows, kind: Kind, seeds: Seeds
) -> tuple[AutoencoderModule, Precision]:
    """Build the module, its weights drawn."""
    with drawing_from(make_generator(seeds.weights)):
        module = estimator._build_module(rows.n_features)
    precision = _precision(estimator, module, rows, kind)
    converted(module, precision.weights, rows.device)
    return module, precision


def _units_of(
    estimator: Any, module: AutoencoderModule, rows: Rows, kind: Kind, dtype: torch.dtype
) -> Units:
    """Return what the rows are to be centred by and divided by, as ``dtype``."""
    moments = mean, variances = spread(rows)
    center = module.common_center(mean)
    variances = variances + (mean - center).square()  # about what is subtracted
    variance = variances.mean()
    # Results have a type of their own, and errors of rows come in squared units.
    squares = variances
    if not estimator._get_loss().scaled:
        squares = variances + center.square()
        center, variance = torch.zeros_like(center), torch.ones_like(variance)
    scale = variance.sqrt() if variance > 0 else torch.ones_like(variance)
    center, scale = center.to(dtype), scale.to(dtype)
    sizes = torch.stack([scale, center.abs().max()])
    held = bool(squares.max() <= torch.finfo(kind.dtype).max) and bool(sizes.isfinite().all())
    if not held or scale == 0:
        raise ValueError(
            f"X has values so large or so small that {str(dtype)[6:]} cannot hold "
            f"their mean and variance; rescale X, or try precision='float64' and X in float64."
        )
    return Units(center, scale, moments)


def _check_near(held_out: Rows, called: str) -> None:
    """Refuse rows to validate on whose squared distance from those to train on is not held."""
    center, variances = spread(held_out)
    if not (center.square() + variances).sum() <= torch.finfo(held_out.dtype).max:
        others = "those of X" if called == "X_val" else "the others"
        raise ValueError(
            f"{called} has values so far beyond {others} that no loss of theirs can be told; look "
            f"for outliers, or rescale."
        )


def _precision(estimator: Any, module: AutoencoderModule, rows: Rows, kind: Kind) -> Precision:
    double = kind.double and (module.network.cheap_in_double or len(rows) <= MAX_FLOAT64_SAMPLES)
    return resolve_precision(
        estimator.precision, double, len(rows), inner_width(module), rows.device
    )


def split(
    rows: Rows,
    seed: int,
    fraction: float,
    classes: np.ndarray | None = None,
    moments: tuple[Tensor, Tensor] | None = None,
) -> tuple[Rows, Rows]:
    """Hold out a fraction of the rows, chosen by their content.

    Neither their order nor their units change the choice. Where training continues, the same data
    thus give the same choice as in the first fit. Of classes the same fraction of each is held
    out, unless that is less than a row. Rows too few to spare one are trained and validated on
    alike.
    """
    mask = held_out_mask(rows, seed, fraction, classes, moments)
    return (rows.where(~mask), rows.where(mask)) if mask.any() else (rows, rows)


def _judge(
    estimator: Any,
    module: AutoencoderModule,
    X: Tensor,
    y: Tensor,
    sample_weight: Tensor | None,
    *,
    products: torch.dtype,
    losses_of: MeanOverDraws,
) -> tuple[Tensor, Tensor]:
    """Return the loss and the squared error of each row."""
    loss = estimator._get_loss()
    with torch.autocast(X.device.type, products, enabled=products == torch.bfloat16):
        output = module(X).to(X.dtype)
        if estimator._has_plain_loss():
            losses = estimator._compare(module, output, y).to(X.dtype).expand(len(X))
        else:
            losses = losses_of(X, y, sample_weight)
    squares = (loss.mean(output) - y).square()
    if module.network.takes_missing:
        squares = squares.nan_to_num()
    return losses, squares.sum(1)


def _losses(
    estimator: Any,
    module: AutoencoderModule,
    X: Tensor,
    y: Tensor,
    sample_weight: Tensor | None,
) -> Tensor:
    """Return the sum of the terms of each row's loss."""
    terms = estimator._loss(module, X, y, sample_weight).values()
    return torch.stack([term.to(X.dtype).expand(len(X)) for term in terms]).sum(0)
