"""The number of components that `n_components` selects: an integer, None or a fraction."""

from __future__ import annotations

from typing import Any

import torch

from sklearn_ae._compat import is_whole
from sklearn_ae._parameters.training import with_python_numbers
from sklearn_ae._training.batches import Samples
from sklearn_ae._training.truncation import unexplained_by_pca
from sklearn_ae.networks import Network

FIRST_AXES = 64
"""Number of principal axes of wide data that are computed first; it is then doubled."""


def sized(estimator: Any, samples: Samples, seed: int, resume: bool) -> Any:
    """Return a copy of an estimator whose `n_components` is an integer, and `ordered` decided.

    A fraction becomes the number of components with which PCA explains it, as in scikit-learn:
    the largest number that training may need. None becomes ``min(n_samples, n_features)``, and
    stays None for networks whose maps are then the code.

    Parameters
    ----------
    estimator : BaseAutoencoder
    samples : Samples
        All samples of positive weight.
    seed : int
        Seed of the random subspace for principal axes of wide data.
    resume : bool
        Whether training continues; the number is then that of the fitted module.

    Raises
    ------
    ValueError
        If codes are to be ordered but are no vectors, or are not trained jointly.
    """
    given = estimator.n_components
    estimator = with_fitted_size(estimator) if resume else with_python_numbers(estimator)
    estimator.ordered = is_ordered = bool(estimator.ordered or isinstance(given, float))
    if is_ordered and given is None and estimator._network().has_maps():
        raise ValueError(
            f"ordered=True needs a code that is a vector, but with n_components=None the maps of "
            f"{type(estimator._network()).__name__} are the code; set n_components."
        )
    if is_ordered and not estimator._joint_epochs():
        raise ValueError(
            f"ordered codes (ordered=True, or a fraction as n_components; n_components={given!r}) "
            f"are learnt when all layers are trained together; set fine_tune=True."
        )
    if not resume:
        estimator.n_components = _number(given, estimator._network(), samples, seed)
    return estimator


def with_fitted_size(estimator: Any) -> Any:
    """Return a copy of a fitted estimator with the number of components of its module.

    It replaces None and fractions, of which the first call of `fit` determines the number. An
    integer is kept, since it may have been changed since then.
    """
    estimator = with_python_numbers(estimator)
    if not is_whole(estimator.n_components):
        estimator.n_components = estimator.module_.config["n_components"]
    return estimator


def _number(given: Any, network: Network, samples: Samples, seed: int) -> int | None:
    if given is None and network.has_maps():
        return None
    if is_whole(given):
        return int(given)
    largest = min(len(samples), samples.n_features)
    return largest if given is None else _number_for(given, samples, largest, seed)


def _number_for(fraction: float, samples: Samples, largest: int, seed: int) -> int:
    """Return the number of principal components that explain more than a fraction."""
    n_axes = min(largest, FIRST_AXES)
    while True:
        explained = 1 - unexplained_by_pca(samples, n_axes, seed)
        number = int(torch.searchsorted(explained, fraction, right=True)) + 1
        if number <= n_axes or n_axes == largest:
            return min(number, largest)
        n_axes = min(2 * n_axes, largest)
