"""Warnings of a fit about data that were probably not meant as they are."""

from __future__ import annotations

import warnings
from typing import Any

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

MIN_ROWS = 50
"""Number of samples from which on different categories are no chance."""

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
    names = list(getattr(estimator, "feature_names_in_", ()))
    # Several columns of arrays are often measurements of one unit, such as pixels and spectra.
    named = len(names) == len(variances) and not is_sparse
    few = max(1, int(FEW_COLUMNS * len(variances))) if named else 1
    enough = largest[:few].cumsum(0) > (DOMINANT_SPARSE if is_sparse else DOMINANT)
    if not enough.any():
        return
    n_dominant = int(enough.int().argmax()) + 1
    shown = [repr(str(names[place])) if named else str(place) for place in order[:3].tolist()]
    columns = f"Column {shown[0]} has"
    if n_dominant > 1:
        columns = f"Columns {', '.join(shown[:n_dominant])}"
        columns += " and others have" if n_dominant > 3 else " have"
    fraction = float(largest[:n_dominant].sum())
    name = type(estimator).__name__
    remedy = f"Scale the columns, for example by make_pipeline(StandardScaler(), {name}(...))."
    if n_dominant > 1:
        remedy = f"If the columns have different units, s{remedy[1:]}"
    elif is_sparse:
        remedy = (
            f"Put a TfidfTransformer(sublinear_tf=True) before {name} if the columns are counts "
            f"of words, else a StandardScaler(with_mean=False)."
        )
    _warn(
        f"{columns} {100 * fraction:.4g} % of the variance of X, so the others hardly count in "
        f"the loss. {remedy}"
    )


def warn_of_categories(estimator: Any, table: Table, n_samples: int) -> None:
    """Warn of columns of categories that tell nothing about other rows, or hold quantities."""
    if n_samples < MIN_ROWS:
        return
    for column in table.columns:
        if not isinstance(column, Category) or len(column.categories) <= FEW_VALUES:
            continue
        is_chosen = column.declared is not None or not isinstance(
            estimator.categorical_features, str
        )
        if not is_chosen and _are_quantities(column.categories):
            _warn(
                f"Column {column.name!r} holds numbers written as strings, which are taken for "
                f"categories. If they are quantities, convert them, for example by "
                f"pandas.to_numeric."
            )
        elif len(column.categories) >= DIFFERENT * n_samples:
            _warn(
                f"Column {column.name!r} has {len(column.categories)} categories in {n_samples} "
                f"rows: it identifies rows, and says nothing about others. Leave it out."
            )


def warn_of_ignored_targets(estimator: Any) -> None:
    """Warn that `y` is ignored, though it looks like the clean version of noisy samples."""
    _warn(
        f"y has the shape of X, but is ignored: {type(estimator).__name__} makes the noise "
        f"itself, and X holds the clean samples. UNetAutoencoder takes pairs of noisy and clean "
        f"images."
    )


def _are_quantities(categories: list[Any]) -> bool:
    """Return whether strings are numbers, and not codes: of one length, or with leading zeros."""
    try:
        for each in categories:
            float(each if isinstance(each, str) else "")
    except ValueError:
        return False
    lengths = {len(each) for each in categories}
    return len(lengths) > 1 and not any(
        len(each) > 1 and each.isdigit() and each[0] == "0" for each in categories
    )


def _warn(text: str) -> None:
    """Warn in the first of several processes only."""
    ranks = Ranks.current()
    if ranks is None or ranks.is_first:
        warnings.warn(text, UserWarning, stacklevel=3)
