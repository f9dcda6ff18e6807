"""The steps of a fit, in order: from validated samples to a trained module."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sklearn_ae._estimator.advice import warn_of_categories, warn_of_dominance, warn_of_shape
from sklearn_ae._estimator.completing import completed, hidden_again, patterns_of
from sklearn_ae._estimator.continuing import check_unchanged
from sklearn_ae._estimator.density import check_density, fit_code_density
from sklearn_ae._estimator.identity import described, saved_run
from sklearn_ae._estimator.inference import (
    column_scores,
    constant_deviances,
    observed_deviances,
)
from sklearn_ae._estimator.inputs import ArrayType, FitData, check_range, has_missing
from sklearn_ae._estimator.modules import check_shapes, duplicate
from sklearn_ae._estimator.ordered import select_components
from sklearn_ae._estimator.size import sized
from sklearn_ae._estimator.tables import table_of
from sklearn_ae._parameters.training import with_python_numbers
from sklearn_ae._training.antithetic import MeanOverDraws, pairs_for
from sklearn_ae._training.batches import Samples
from sklearn_ae._training.checkpoint import deleting_checkpoints
from sklearn_ae._training.description import Hyperparameters, Objective, Trained, TrainingRun
from sklearn_ae._training.device import Precision, resolve_device, resolve_precision
from sklearn_ae._training.gaussian import fit_completion
from sklearn_ae._training.held_out import held_out_mask
from sklearn_ae._training.linear import mean_and_variance, ratio_from_error
from sklearn_ae._training.random import (
    Seeds,
    draw_seeds,
    drawing_from,
    make_generator,
)
from sklearn_ae._training.ranks import Ranks, agreed, among_ranks
from sklearn_ae._training.resources import limit_resources
from sklearn_ae._training.run import train
from sklearn_ae._training.shared_rows import SharedRows
from sklearn_ae._training.steps import check_terms
from sklearn_ae._training.truncation import Truncations, ordered, unexplained_by_pca
from sklearn_ae.losses import Loss
from sklearn_ae.networks._completion import Completion
from sklearn_ae.networks._module import (
    AutoencoderModule,
    converted,
    inner_width,
    n_shared_products,
)
from sklearn_ae.networks.dense import DenseStack

MAX_FLOAT64_SAMPLES = 64
"""Number of samples of float64 data up to which ``precision="auto"`` is float64 in any network.

With more samples, networks with ``cheap_in_double = False`` would take too long in float64. Other
networks are trained in it on up to ``MAX_FLOAT64_SAMPLES_ANY_WIDTH`` samples, and if they are
narrow on any number.
"""

ONE_PASS: dict[str, Any] = {"learning_rate": "constant", "max_iter": 1}
"""Hyperparameters of ``partial_fit``; a schedule would depend on the unknown number of calls."""


BESIDE_LOSS = {
    *Hyperparameters.names(),
    "callbacks",
    "density",
    "device",
    "distributed",
    "early_stopping",
    "init",
    "input_noise",
    "n_components",
    "noise_level",
    "random_state",
    "validation_fraction",
    "verbose",
    "warm_start",
}
"""Parameters of estimators that the loss of a module does not depend on."""


class Fit(NamedTuple):
    """Arguments that the steps of a fit have in common.

    Attributes
    ----------
    estimator : BaseAutoencoder
        Provides the hooks and parameters of the variant. It is not changed.
    loss : Loss
        Reconstruction loss.
    array_type : ArrayType
        Array library, device and dtype of `X`.
    device : torch.device
        Device of the training.
    seeds : Seeds
    resume : bool
        Whether training continues from a copy of the fitted module.
    one_pass : bool
        Whether this is a call of ``partial_fit``.
    """

    estimator: Any
    loss: Loss
    array_type: ArrayType
    device: torch.device
    seeds: Seeds
    resume: bool
    one_pass: bool


class Scaling(NamedTuple):
    """Centre and scale of the samples.

    Attributes
    ----------
    center : Tensor of shape (n_features,)
        Subtracted from each sample; zero if the loss needs data in a fixed range.
    scale : Tensor of shape ()
        Divides each sample; one if the loss needs data in a fixed range.
    moments : tuple of Tensor of shape (n_features,)
        Mean and variance of each feature, both in float64 where the device supports it.
    """

    center: Tensor
    scale: Tensor
    moments: tuple[Tensor, Tensor]


@limit_resources
@deleting_checkpoints()
def fit_module(
    estimator: Any, data: FitData, *, resume: bool, one_pass: bool, callbacks: list[Any]
) -> tuple[AutoencoderModule, Trained]:
    """Build or copy an estimator's module, and train it.

    Parameters
    ----------
    estimator : BaseAutoencoder
        It is not changed: an error leaves nothing to undo.
    data : FitData
    resume : bool
        Whether to continue from a copy of the fitted module.
    one_pass : bool
        Whether this is a call of ``partial_fit``.
    callbacks : list of skorch callbacks

    Returns
    -------
    module : AutoencoderModule
    trained : Trained
        Its ``description`` contains the fitted attributes of the variant.

    Raises
    ------
    ValueError
        If the data do not fit the parameters, or if training diverges.
    """
    estimator = with_python_numbers(estimator)
    check_density(estimator.density)
    device = resolve_device(estimator.device, data.X)
    with among_ranks(estimator.distributed, device, functools.partial(described, estimator, data)):
        seeds = agreed(draw_seeds(estimator.random_state))
        data = of_all_processes(estimator, data)
        fit = Fit(
            estimator, estimator._get_loss(), data.array_type, device, seeds, resume, one_pass
        )
        return _fitted_module(fit, data, callbacks)


def of_all_processes(estimator: Any, data: FitData) -> FitData:
    """Return the data of all processes if each of them has its own, else `data`."""
    ranks = Ranks.current()
    is_own = not isinstance(data.X, SharedRows)  # not passed on by an estimator around this one
    if ranks is None or estimator.distributed != "sharded" or not is_own:
        return data
    if getattr(estimator, "_table", None) is not None:
        raise ValueError(
            "distributed='sharded' takes numbers: the categories of a table would be encoded by "
            "those in each process. Encode them before, or pass all rows to all processes."
        )
    weights = ranks.of_all(data.sample_weight)
    if any(weight is None for weight in weights) != all(weight is None for weight in weights):
        raise ValueError("sample_weight was passed in some processes, but not in all.")
    return data._replace(
        X=SharedRows(data.X, ranks),
        y=None if data.y is None else SharedRows(data.y, ranks),
        sample_weight=None if data.sample_weight is None else torch.cat(weights),
        X_val=None if data.X_val is None else SharedRows(data.X_val, ranks),
    )


def _fitted_module(
    fit: Fit, data: FitData, callbacks: list[Any]
) -> tuple[AutoencoderModule, Trained]:
    """Build or copy the module, and train it; see :func:`fit_module`."""
    estimator, device, seeds, resume, one_pass = (
        fit.estimator,
        fit.device,
        fit.seeds,
        fit.resume,
        fit.one_pass,
    )
    samples, validation = _open(fit, data)
    given = estimator.n_components
    estimator = sized(estimator, samples, seeds.subspace, resume)
    fit = fit._replace(estimator=estimator)
    module, precision = _copied_module(fit, samples) if resume else _new_module(fit, samples)
    training, held_out, scaling = _split(fit, module, samples, validation, precision.weights)
    attributes = {} if resume else _start(fit, module, samples, training, scaling)
    if scaling is not None and not resume:
        _advise(fit, module, data, len(samples), scaling)
    training, held_out = _standardized(module, training, held_out, precision.weights)
    if held_out is not None and held_out is not training:
        _check_near(held_out, "X" if validation is None else "X_val")
    names = _part_names(module)
    run = _training_run(fit, module, training, held_out, precision.products, callbacks)
    trained = train(run)
    _check_parts(module, names)
    training = completed(training, module)
    held_out = held_out and completed(held_out, module)
    if estimator.ordered:
        fraction = given if isinstance(given, float) and not (resume or one_pass) else None
        parts = training, held_out
        module, explained = select_components(estimator, fraction, module, trained, *parts)
        attributes["explained_variance_ratio_"] = explained
    if fit.loss.deviances is not None:
        evaluated = training if held_out is None else held_out
        attributes["column_scores_"] = column_scores(estimator, evaluated, module, training)
    density = fit_code_density(module, training, estimator.density, seeds.subspace)
    with drawing_from(make_generator(seeds.subspace, device)):
        attributes |= estimator._fitted_attributes(module, training)
    trained.description = attributes | {"density_": density}
    return module, trained


def _open(fit: Fit, data: FitData) -> tuple[Samples, Samples | None]:
    """Return the samples of positive weight, and the validation samples, on the device."""
    for name, values in (("X", data.X), ("y", data.y), ("X_val", data.X_val)):
        if values is not None and not fit.loss.scaled:
            check_range(values, name, fit.loss, fit.estimator._loss_description())
    ragged = fit.estimator._network().takes_missing
    has_gaps = has_missing(data.X) or (data.X_val is not None and has_missing(data.X_val))
    opened = functools.partial(
        Samples, device=fit.device, dtype=fit.array_type.dtype, has_missing=ragged or has_gaps
    )
    weight = data.sample_weight
    samples = opened(data.X, weight)
    if data.y is not None:
        samples.targets = opened(data.y, weight)
    if weight is not None:  # a sample of weight zero must be equivalent to none
        samples = samples.where(weight.numpy() > 0)
    return samples, None if data.X_val is None else opened(data.X_val, None)


def _copied_module(fit: Fit, samples: Samples) -> tuple[AutoencoderModule, Precision]:
    """Copy the fitted module, so that an error cannot change its weights."""
    check_unchanged(fit.estimator, samples.n_features)
    if samples.has_missing and not fit.estimator.module_.takes_missing:
        raise ValueError(
            f"X contains NaN, but the first samples that {type(fit.estimator).__name__} was "
            f"fitted on had no missing values, so the encoder cannot take them. Start again with "
            f"samples some of which have missing values, or replace them, for example with "
            f"AutoencoderImputer."
        )
    module = duplicate(fit.estimator.module_).to(fit.device)
    precision = _precision(fit, module, samples)
    # The dtype of the weights is kept, because the state of the optimiser has the same.
    weights = module.center.dtype
    low = precision.products == torch.bfloat16
    return module, Precision(weights, torch.bfloat16 if low else weights)


def _new_module(fit: Fit, samples: Samples) -> tuple[AutoencoderModule, Precision]:
    """Build a module with random weights, in the dtype and on the device of the training."""
    with drawing_from(make_generator(fit.seeds.weights)):
        module = fit.estimator._build_module(samples.n_features)
    if samples.has_missing and not module.network.takes_missing:
        with drawing_from(make_generator(fit.seeds.weights)):
            module = type(module)(**module.config, completes=True)
    check_shapes(module)
    precision = _precision(fit, module, samples)
    converted(module, precision.weights, fit.device)
    return module, precision


def _precision(fit: Fit, module: AutoencoderModule, samples: Samples) -> Precision:
    """Return the dtypes of the training, given the cost of float64 in the network."""
    sample = module.complete(torch.zeros_like(module.center)[None])
    few = len(samples) <= MAX_FLOAT64_SAMPLES
    double = fit.array_type.double and (module.network.cheap_in_double or few)
    return resolve_precision(
        fit.estimator.precision,
        double,
        len(samples),
        inner_width(module),
        fit.device,
        n_shared_products(module, sample),
    )


def _split(
    fit: Fit,
    module: AutoencoderModule,
    samples: Samples,
    validation: Samples | None,
    dtype: torch.dtype,
) -> tuple[Samples, Samples | None, Scaling | None]:
    """Return training samples, held-out samples, and centre and scale of all samples.

    Centre and scale are None if training continues and the split does not depend on them.
    """
    estimator = fit.estimator
    holds_out = validation is None and estimator.early_stopping and not fit.one_pass
    scaling = None
    if not fit.resume or holds_out:
        # Of all samples: whether values are too large must not depend on the split.
        scaling = _scaling_of(fit, module, samples, dtype)
    if validation is None and not estimator._joint_epochs():
        # Nothing is selected by held-out samples, so all samples are trained on.
        return samples, samples, scaling
    if scaling is None or not holds_out:
        return samples, validation, scaling
    fraction = estimator.validation_fraction
    return *split(samples, fit.seeds.split, fraction, moments=scaling.moments), scaling


def split(
    samples: Samples,
    seed: int,
    fraction: float,
    classes: np.ndarray | None = None,
    moments: tuple[Tensor, Tensor] | None = None,
) -> tuple[Samples, Samples]:
    """Hold out a fraction of the samples, chosen by a hash of their values.

    The choice depends neither on the order of the samples nor on their units. When training
    continues on the same data, it is that of the first fit.

    Parameters
    ----------
    samples : Samples
    seed : int
    fraction : float
    classes : ndarray of shape (n_samples,) or None, default=None
        Labels. The same fraction of each class is held out, unless it is less than one sample.
    moments : tuple of Tensor or None, default=None
        Mean and variance of each feature, if they are known.

    Returns
    -------
    training, held_out : Samples
        Both are `samples` if the fraction is less than one sample.
    """
    mask = held_out_mask(samples, seed, fraction, classes, moments)
    if not mask.any():
        return samples, samples
    return samples.where(~mask), samples.where(mask).on_disk()


def _scaling_of(
    fit: Fit, module: AutoencoderModule, samples: Samples, dtype: torch.dtype
) -> Scaling:
    """Return centre and scale as ``dtype``.

    Raises
    ------
    ValueError
        If they overflow or underflow in the dtype of the training or of the results.
    """
    moments = mean, variances = mean_and_variance(samples)
    center = module.common_center(mean)
    variances = variances + (mean - center).square()  # about the centre instead of the mean
    variance = variances.mean()
    # Results may have another dtype than the training, and scores are in squared units.
    squares = variances
    if not fit.loss.scaled:
        squares = variances + center.square()
        center, variance = torch.zeros_like(center), torch.ones_like(variance)
    scale = variance.sqrt() if variance > 0 else torch.ones_like(variance)
    center, scale = center.to(dtype), scale.to(dtype)
    sizes = torch.stack([scale, center.abs().max()])
    fits = bool(squares.max() <= torch.finfo(fit.array_type.dtype).max) and bool(
        sizes.isfinite().all()
    )
    if not fits or scale == 0:
        raise ValueError(
            f"X has values so large or so small that their mean and variance overflow or "
            f"underflow in {str(dtype)[6:]}; rescale X, or try precision='float64' and X in "
            f"float64."
        )
    return Scaling(center, scale, moments)


def _start(
    fit: Fit,
    module: AutoencoderModule,
    samples: Samples,
    training: Samples,
    scaling: Scaling | None,
) -> dict[str, Any]:
    """Set centre, scale and initial weights of a new module; return fitted attributes.

    Held-out samples are used for a start at PCA only, and for its centre and scale: unless
    training is significantly better, the fit must equal scikit-learn's PCA of all samples.
    """
    assert scaling is not None  # as training does not continue
    estimator, center, scale = fit.estimator, scaling.center, scaling.scale
    if training is not samples and not estimator._starts_at_solution():
        center, scale, _ = _scaling_of(fit, module, training, center.dtype)
    module.center.copy_(center)
    module.scale.copy_(scale)
    inputs = training.standardized(center, scale, center.dtype)
    starts_at = inputs
    if estimator._starts_at_solution():
        starts_at = samples.standardized(center, scale, center.dtype)
    if isinstance(module.completion, Completion):
        fit_completion(module.completion, starts_at, fit.seeds.subspace)
    if not fit.loss.scaled:  # else the data are centred, and zero biases output their mean
        module.network.start_at(
            module.decoder, fit.loss.link(mean_and_variance(inputs)[0].to(center))
        )
    estimator._start(module, completed(starts_at, module), fit.seeds.subspace)
    return estimator._pretrain(module, completed(inputs, module), fit.seeds.subspace) or {}


def _advise(
    fit: Fit, module: AutoencoderModule, data: FitData, n_samples: int, scaling: Scaling
) -> None:
    """Warn of data that were probably not meant as they are."""
    warn_of_shape(module.network, fit.estimator.input_shape_)
    if (table := table_of(fit.estimator)) is not None:
        warn_of_categories(fit.estimator, table, n_samples)
    # Losses of data in a fixed range, and columns of tables, have scales of their own.
    if fit.loss.scaled:
        variances, is_sparse = scaling.moments[1], sp.issparse(data.X)
        warn_of_dominance(fit.estimator, module.network, n_samples, variances, is_sparse)


def _standardized(
    module: AutoencoderModule, training: Samples, held_out: Samples | None, dtype: torch.dtype
) -> tuple[Samples, Samples | None]:
    """Centre and scale both; if they are one object, the results are one object as well."""
    center, scale = module.center, module.scale
    standardized = training.standardized(center, scale, dtype)
    if held_out is None or held_out is training:
        return standardized, held_out and standardized
    return standardized, held_out.standardized(center, scale, dtype)


def _check_near(held_out: Samples, called: str) -> None:
    """Raise an error if the squared distances of held-out samples to the centre overflow."""
    center, variances = mean_and_variance(held_out)
    # Not "more than the maximum", which is false for NaN.
    if not (center.square() + variances).sum() <= torch.finfo(held_out.dtype).max:
        others = "those of X" if called == "X_val" else "the others"
        raise ValueError(
            f"{called} has values so far beyond {others} that their loss is not finite; look "
            f"for outliers, or rescale."
        )


def _inputs(
    fit: Fit, module: AutoencoderModule, training: Samples, held_out: Samples | None
) -> tuple[list[Samples], Samples | None]:
    """Return the versions of the training samples and the held-out ones, with values hidden."""
    if module.completion is None:
        return [training], held_out
    patterns = patterns_of(training, module, fit.seeds.subspace)
    versions = hidden_again(training, module, patterns, n_hidings=None)
    if held_out is training:
        return versions, versions[0]
    return versions, held_out and hidden_again(held_out, module, patterns)[0]


def _training_run(
    fit: Fit,
    module: AutoencoderModule,
    training: Samples,
    held_out: Samples | None,
    products: torch.dtype,
    callbacks: list[Any],
) -> TrainingRun:
    """Return the description of the training run.

    Parameters
    ----------
    training, held_out : Samples
        In network units, possibly with missing values.
    """
    estimator = fit.estimator
    objective = _objective(fit, module, training, held_out, products)
    versions, held_out = _inputs(fit, module, training, held_out)
    has_progress_bar = estimator.verbose and not fit.one_pass and estimator._joint_epochs()
    changed = ONE_PASS if fit.one_pass else {"max_iter": estimator._joint_epochs()}
    if estimator.ordered and module.n_components > 1:  # one component has no order
        unexplained = unexplained_by_pca(training, module.n_components, fit.seeds.subspace)
        objective = ordered(objective, module, Truncations(unexplained), products)
    run = TrainingRun(
        module=module,
        samples=versions[0],
        versions=versions[1:],
        held_out=held_out,
        objective=objective,
        parameters=Hyperparameters.of(estimator, **changed),
        products=products,
        seeds=fit.seeds,
        state=estimator._training_state if fit.resume else None,
        callbacks=callbacks,
        title=type(estimator).__name__ if has_progress_bar else None,
        saved=None if fit.one_pass else saved_run(estimator),
        max_batch_size=module.network.max_batch_size,
    )
    adjusted: TrainingRun = estimator._adjust(run)
    return adjusted


def _objective(
    fit: Fit,
    module: AutoencoderModule,
    training: Samples,
    held_out: Samples | None,
    products: torch.dtype,
) -> Objective:
    """Return the loss of the training, and how its result is evaluated."""
    estimator, anneals = fit.estimator, not (fit.one_pass or fit.resume)
    at_once = estimator._samples_at_once(module.network)
    plain = fit.loss if estimator._has_plain_loss() else None
    # The level is relative to the standard deviation of the data, which is one after scaling.
    noise_level, deviation = estimator._noise_level(), 1.0
    if noise_level and not fit.loss.scaled:
        deviation = float(mean_and_variance(training)[1].mean()) ** 0.5 or 1.0
    losses = None
    if plain is None and held_out is not None:
        of_terms = functools.partial(_losses, estimator, module)
        losses = MeanOverDraws(of_terms, pairs_for(len(held_out)), at_once)
    score, columns = None, ()
    if fit.loss.deviances is not None and held_out is not None:
        targets = training.targets or training
        constant = float(constant_deviances(fit.loss, targets).sum() / targets.total_weight)
        score = functools.partial(ratio_from_error, variance=constant)
        columns = estimator._table.names()
    return Objective(
        terms=estimator._loss,
        reconstruction=plain,
        noise_level=noise_level * deviation,
        evaluate=functools.partial(_evaluate, estimator, fit.loss, losses, products),
        signature=_signature(estimator, module),
        compare=None if losses else functools.partial(_compare, estimator, fit.loss),
        score=score,
        columns=columns,
        samples_at_once=at_once,
        anneals=anneals,
        annealed_from=estimator._annealed_from() if anneals else 0.0,
        needs_significance=not fit.resume and estimator._starts_at_solution(),
    )


def _signature(estimator: Any, module: AutoencoderModule) -> Hashable | None:
    """Return what the loss of an estimator depends on beside its module; None: unknown.

    Subclasses of users, and callables, may do anything. Layers that share weights, and layers
    that are not dense, cannot be computed for several models at once.
    """
    stacks = module.encoder, module.decoder
    if module.takes_missing or not all(
        # Not isinstance: a subclass may compute something else.
        type(each) is DenseStack and not each.is_tied()
        for each in stacks
    ):
        return None
    kept = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if name not in BESIDE_LOSS
    }
    is_own = type(estimator).__module__.startswith("sklearn_ae.")
    if not is_own or not estimator._can_map_loss(module) or any(map(callable, kept.values())):
        return None
    return type(estimator), *((name, repr(value)) for name, value in sorted(kept.items()))


def _losses(
    estimator: Any,
    module: AutoencoderModule,
    X: Tensor,
    y: Tensor,
    sample_weight: Tensor | None,
) -> Tensor:
    """Return the loss of each sample, the sum of its terms."""
    terms = estimator._loss(module, X, y, sample_weight)
    check_terms(terms, len(X))
    return torch.stack([term.to(X.dtype).expand(len(X)) for term in terms.values()]).sum(0)


def _evaluate(
    estimator: Any,
    loss: Loss,
    losses: MeanOverDraws | None,
    products: torch.dtype,
    module: AutoencoderModule,
    X: Tensor,
    y: Tensor,
    sample_weight: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the loss and the squared error of each sample, both of shape (n_samples,).

    Errors of a table are the deviances of its columns, of shape (n_samples, n_columns). Without
    `losses` the loss is that of the reconstruction, which is there already.
    """
    with torch.autocast(X.device.type, products, enabled=products == torch.bfloat16):
        output = module(X).to(X.dtype)
        if losses is None:
            return _compare(estimator, loss, module, output, y)
        values = losses(X, y, sample_weight)
    return values, _errors(loss, module, output, y)


def _compare(
    estimator: Any, loss: Loss, module: AutoencoderModule, output: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the reconstruction loss and the error of each sample; see :func:`_evaluate`."""
    values = estimator._compare(module, output, y).to(output.dtype).expand(len(output))
    return values, _errors(loss, module, output, y)


def _errors(loss: Loss, module: AutoencoderModule, output: Tensor, y: Tensor) -> Tensor:
    """Return the errors of :func:`_evaluate`."""
    if loss.deviances is not None:
        return observed_deviances(loss, output, y)
    squares = (loss.mean(output) - y).square()
    if module.takes_missing:
        squares = squares.nan_to_num()
    return squares.sum(1)


def _part_names(module: AutoencoderModule) -> set[str]:
    """Return the names of all submodules and parameters of a module."""
    return {name for name, _ in [*module.named_modules(), *module.named_parameters()]}


def _check_parts(module: AutoencoderModule, before: set[str]) -> None:
    """Raise an error if a module made parameters during training, which the optimiser lacks."""
    if later := sorted(_part_names(module) - before):
        raise ValueError(
            f"{type(module.network).__name__} made {later[0]!r} while it was trained, so that "
            f"was not trained; make all parts in the constructor, or use torch's lazy modules."
        )
