"""Warnings of a fit about data that were probably not meant as they are."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor

from sklearn_ae._training.ranks import Ranks
from sklearn_ae.networks import Network

DOMINANT = 0.99
"""Fraction of the variance of all columns from which on a single one is said to dominate."""

DOMINANT_SPARSE = 0.9
"""The same fraction of sparse data, whose columns have one unit unless they are counts."""

MIN_COLUMNS = 3
"""Number of columns that vary from which on the warning is given: two are often coordinates."""

MIN_SAMPLES = 10
"""Number of samples from which on chance does not give columns of one scale such a fraction."""


def warn_of_shape(network: Network, sample_shape: tuple[int, ...]) -> None:
    """Warn if the network may arrange the values of a sample otherwise than the user means."""
    if doubt := network.doubt(sample_shape):
        _warn(doubt)


def warn_of_dominance(
    estimator: Any, network: Network, n_samples: int, variances: Tensor, is_sparse: bool
) -> None:
    """Warn if one column has nearly all of the variance, so that others are hardly reconstructed.

    Not of images and sequences, whose values have one unit.

    Parameters
    ----------
    estimator : BaseAutoencoder
        It provides the shape of the samples and the names of the columns.
    network : Network
    n_samples : int
    variances : Tensor of shape (n_features,)
    is_sparse : bool
        Whether the data are sparse, such as bags of words.
    """
    shape = estimator.input_shape_
    is_table = len(shape) == 1 and network.layout(shape) is None
    if not is_table or n_samples < MIN_SAMPLES or int((variances > 0).sum()) < MIN_COLUMNS:
        return
    column = int(variances.argmax())
    fraction = float(variances[column] / variances.sum())
    if fraction <= (DOMINANT_SPARSE if is_sparse else DOMINANT):
        return
    names = list(getattr(estimator, "feature_names_in_", ()))
    name = repr(str(names[column])) if len(names) == len(variances) else column
    steps, what = "StandardScaler()", "Scale the columns"
    if is_sparse:
        steps, what = "TfidfTransformer(sublinear_tf=True)", "Weight counts of words"
    _warn(
        f"Column {name} has {100 * fraction:.4g} % of the variance of X, so the others hardly "
        f"count in the loss. {what}, for example by make_pipeline({steps}, "
        f"{type(estimator).__name__}(...))."
    )


def _warn(text: str) -> None:
    """Warn in the first of several processes only."""
    ranks = Ranks.current()
    if ranks is None or ranks.is_first:
        warnings.warn(text, UserWarning, stacklevel=3)
