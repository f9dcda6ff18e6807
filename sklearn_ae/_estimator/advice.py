"""Warnings of a fit about data that were probably not meant as they are."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from torch import Tensor

from sklearn_ae._tables.columns import Category
from sklearn_ae._tables.table import FEW_VALUES, Table
from sklearn_ae._training.ranks import Ranks
from sklearn_ae.networks import Network

DOMINANT = 0.99
"""Fraction of the variance of all columns from which on a few are said to dominate."""

FEW_COLUMNS = 0.1
"""Largest fraction of the columns that are said to be few; one always is."""

DOMINANT_SPARSE = 0.95
"""Fraction of the variance from which on a single column of sparse data dominates."""

DIFFERENT = 0.9
"""Number of categories, as a fraction of the samples, from which on they identify the samples."""

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
    """Warn if few columns have nearly all of the variance, so that others hardly count.

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
    largest, order = (variances / variances.sum()).sort(descending=True)
    few = 1 if is_sparse else max(1, int(FEW_COLUMNS * len(variances)))
    enough = largest[:few].cumsum(0) > (DOMINANT_SPARSE if is_sparse else DOMINANT)
    if not enough.any():
        return
    n_dominant = int(enough.int().argmax()) + 1
    names = list(getattr(estimator, "feature_names_in_", ()))
    named = len(names) == len(variances)
    shown = [repr(str(names[place])) if named else str(place) for place in order[:3].tolist()]
    columns = f"Column {shown[0]} has"
    if n_dominant > 1:
        columns = f"Columns {', '.join(shown[:n_dominant])}"
        columns += " and others have" if n_dominant > 3 else " have"
    fraction = float(largest[:n_dominant].sum())
    steps, what = "StandardScaler()", "Scale the columns"
    if is_sparse:
        steps, what = "TfidfTransformer(sublinear_tf=True)", "Weight counts of words"
    _warn(
        f"{columns} {100 * fraction:.4g} % of the variance of X, so the others hardly "
        f"count in the loss. {what}, for example by make_pipeline({steps}, "
        f"{type(estimator).__name__}(...))."
    )


def warn_of_categories(table: Table, n_samples: int) -> None:
    """Warn of columns of categories that tell nothing about other rows, or hold numbers."""
    for column in table.columns:
        if not isinstance(column, Category) or len(column.categories) <= FEW_VALUES:
            continue
        if all(isinstance(each, str) and _is_number(each) for each in column.categories):
            _warn(
                f"Column {column.name!r} holds numbers written as strings, which are taken for "
                f"categories. Convert them, for example by pandas.to_numeric."
            )
        elif len(column.categories) >= DIFFERENT * n_samples:
            _warn(
                f"Column {column.name!r} has {len(column.categories)} categories in {n_samples} "
                f"rows: it identifies rows, and says nothing about others. Leave it out."
            )


def warn_of_ignored_targets(estimator: Any, X: Any, y: Any) -> None:
    """Warn if `y` is ignored, though it looks like the clean version of noisy samples."""
    if y is X or not isinstance(y, np.ndarray) or y.ndim < 2 or y.shape != np.shape(X):
        return
    if y.dtype.kind == "f" and not np.array_equal(y, X, equal_nan=True):
        _warn(
            f"y has the shape of X, but {type(estimator).__name__} ignores it: the targets are "
            f"the samples in X. DenoisingAutoencoder makes the noise itself, from clean X; "
            f"UNetAutoencoder takes pairs of images."
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _warn(text: str) -> None:
    """Warn in the first of several processes only."""
    ranks = Ranks.current()
    if ranks is None or ranks.is_first:
        warnings.warn(text, UserWarning, stacklevel=3)
