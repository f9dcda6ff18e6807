"""What the components of an ordered code explain, and how many of them a fraction needs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sklearn_ae._estimator.modules import narrowed
from sklearn_ae._training.batches import Samples
from sklearn_ae._training.description import Trained
from sklearn_ae._training.linear import mean_and_variance
from sklearn_ae._training.truncation import truncated_to
from sklearn_ae.networks._module import AutoencoderModule

N_COMPARED = 64
"""Number of samples on which a module and its copy with fewer components are compared."""


class OfOrderedCodes:
    """Attribute that a fit sets if the code is ordered; otherwise its error says so.

    Without a method ``__set__``: the attribute of a fitted estimator takes its place. The class
    itself does not have it, so that files may contain it.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, estimator: Any, owner: type) -> Any:
        remedy = ""
        if estimator is not None and "ordered" in estimator._get_param_names():
            remedy = "; fit with ordered=True to define it"
        raise AttributeError(f"{owner.__name__!r} object has no attribute {self._name!r}{remedy}")


def select_components(
    estimator: Any,
    fraction: float | None,
    module: AutoencoderModule,
    trained: Trained,
    training: Samples,
    held_out: Samples | None,
) -> tuple[AutoencoderModule, Tensor]:
    """Keep as many components of an ordered code as explain a fraction of the variance.

    If training started at PCA and did not leave it, the number is PCA's own, which the module
    has already.

    Parameters
    ----------
    estimator : BaseAutoencoder
    fraction : float or None
        Fraction of the variance of the held-out samples. None: all components are kept.
    module : AutoencoderModule
        Trained.
    trained : Trained
        Its state is dropped if components are: it is that of another number of weights.
    training, held_out : Samples
        Samples in network units. If none are held out, the training samples are evaluated.

    Returns
    -------
    module : AutoencoderModule
    explained : Tensor of shape (n_components,)
        As returned by :func:`explained_by_components`.

    Raises
    ------
    ValueError
        If the code of a custom network cannot be truncated.
    """
    samples = training if held_out is None else held_out
    explained = explained_by_components(estimator, module, samples, training)
    stays_at_pca = estimator._starts_at_solution() and not trained.best_epoch
    if fraction is None or stays_at_pca:
        return module, explained
    enough = (explained.cumsum(0) >= fraction).nonzero()
    n_components = int(enough[0]) + 1 if len(enough) else module.n_components
    if n_components == module.n_components:
        return module, explained
    small = narrowed(module, n_components)
    _check_truncated(small, module, samples)
    trained.state = None
    return small, explained[:n_components]


@torch.no_grad()
def explained_by_components(
    estimator: Any, module: AutoencoderModule, samples: Samples, training: Samples
) -> Tensor:
    """Return the increment of the explained variance ratio by each component, in their order.

    Parameters
    ----------
    estimator : BaseAutoencoder
        Provides the loss.
    module : AutoencoderModule
    samples, training : Samples
        Samples to evaluate, and training samples, both in network units.

    Returns
    -------
    Tensor of shape (n_components,), in the widest dtype
        The sum of the first ``k`` is ``1 - sum (x - x')^2 / sum (x - m)^2``, where ``x'`` is
        decoded from the first ``k`` components and ``m`` is the mean of the training samples.
        Zero if all samples are equal to this mean.
    """
    mean = mean_and_variance(training.targets or training)[0]
    targets = samples.targets or samples
    to_mean = estimator._get_loss().mean
    errors = torch.zeros(module.n_components, dtype=samples.precise, device=samples.device)
    total = torch.zeros_like(errors[0])
    for chunk in samples.chunks(estimator._samples_at_once(module.network)):
        code, target = module.encode(samples.take(chunk)), targets.take(chunk)
        weight = samples.take_weight(chunk)
        # A missing value, such as one after the end of a sequence, has no error.
        total += weight @ (target.to(mean) - mean).square().nan_to_num().sum(1)
        for number in range(module.n_components):
            with truncated_to(module, number + 1):
                output = to_mean(module.decode(code))
            errors[number] += weight @ (output - target).to(weight).square().nan_to_num().sum(1)
    if not total > 0:
        return torch.zeros_like(errors)
    explained = 1 - errors / total
    return explained.diff(prepend=torch.zeros_like(explained[:1]))


@torch.no_grad()
def _check_truncated(small: AutoencoderModule, module: AutoencoderModule, X: Samples) -> None:
    """Raise an error unless a copy with fewer components encodes and decodes as the original."""
    x = X.take(slice(0, min(len(X), N_COMPARED)))
    code = module.encode(x)
    kept = [code[:, : small.n_components], code[:, module.n_components :]]
    with truncated_to(module, small.n_components):
        expected = torch.cat([*kept, module.decode(code)], 1)
    short = small.encode(x)
    found = torch.cat([short, small.decode(short)], 1)
    tolerance = 1e-3 * expected.abs().max()  # rounding errors are much smaller
    if found.shape != expected.shape or not ((found - expected).abs() <= tolerance).all():
        raise ValueError(
            f"n_components must be an integer with {type(module.network).__name__}: of its code, "
            f"the first components alone cannot be kept, as a fraction requires."
        )
