"""Tables in estimators: parameters, validation, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import _check_feature_names, _check_n_features, check_array
from torch import Tensor

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._tables.frames import container_of, filled, with_columns
from sklearn_ae._tables.table import Table, fit_table, is_table


@declares_parameters
class TableColumns:
    """Parameters of estimators that accept tables of numbers and categories."""

    categorical_features: Any = parameter(
        default="from_dtype",
        doc=""""from_dtype" or array-like of bool, int or str
        Which columns of `X` hold categories. ``"from_dtype"``: if a column of a data frame holds
        strings, a categorical dtype or dates, the frame is a table. Its columns of strings, of
        booleans, of a categorical dtype and of at most ten distinct integers are then categories;
        dates and all other columns are numbers. Otherwise a mask, indices or names of the columns
        of categories. None: all columns are numbers.
        """,
        constraint=[StrOptions({"from_dtype"}), "array-like", None],
    )
    max_categories: int = parameter(
        default=50,
        doc="""int
        Maximum number of indicators of a column of categories. If it has more categories, the
        rarest ones share an indicator.
        """,
        constraint=[Interval(Integral, 2, None, closed="left")],
    )


TABLE_ATTRIBUTES: dict[str, str | None] = {
    "is_categorical_": """ndarray of shape (n_features,)
    Mask of the columns of categories. Defined only if `X` is a table.
    """,
    "column_scores_": """ndarray of shape (n_features,)
    Fraction of the deviance of each column that is explained, on the held-out samples or, if
    there are none, on the training samples; relative to the deviance of the training samples from
    their means and frequencies. Defined only if `X` is a table.
    """,
}


def check_table(
    estimator: Any,
    X: Any,
    *,
    reset: bool,
    weights: Callable[[int], Tensor | None] | None = None,
    training: bool = False,
) -> np.ndarray | None:
    """Validate a table and return its matrix, or None if the data are no table.

    Parameters
    ----------
    estimator : BaseAutoencoder
        If ``reset`` is True its ``_table``, ``is_categorical_``, ``n_features_in_`` and
        ``feature_names_in_`` are set.
    X : object
        Data that are not validated.
    reset : bool
    weights : callable or None, default=None
        Maps the number of samples to their validated weights in `fit`.
    training : bool, default=False
        Whether the network is trained on the samples. In later calls unknown categories then have
        no indicator, and so no loss.

    Raises
    ------
    ValueError
        If the table is invalid, or has other columns than in `fit`.
    """
    if reset:
        categorical = vars(estimator).get("categorical_features")
        forget_table(estimator)
        if not is_table(X, categorical):
            if not hasattr(estimator, "categorical_features"):
                refuse_table(X, type(estimator).__name__)
            return None
    elif table_of(estimator) is None:
        return None
    if container_of(X) == "array":
        X = _array_of_objects(X)
    _check_feature_names(estimator, X, reset=reset)
    _check_n_features(estimator, X, reset=reset)
    weight = weights(len(X)) if weights is not None and training else None
    if reset:
        _check_loss(estimator)
        estimator._table = fit_table(
            X,
            categorical,
            estimator.max_categories,
            None if weight is None else weight.numpy(),
            as_normal=getattr(estimator, "_numbers_as_normal", None),
        )
        estimator.is_categorical_ = estimator._table.is_categorical()
    table: Table = estimator._table
    if container_of(X) == "array" != table.container:
        X = _array_of_objects(X)
    encoded = table.encode(X)
    if weight is not None:
        encoded[weight.numpy() == 0] = 0.0  # they are ignored, also if something is missing
    if training and not reset:
        # A network that was trained without missing values takes none.
        unknown = np.isnan(encoded) & ~table.expand(table.missing(X))
        encoded[unknown] = 0.0
    matrix: np.ndarray = check_array(
        encoded, ensure_all_finite="allow-nan", estimator=estimator, input_name="X"
    )
    return matrix


def forget_table(estimator: Any) -> None:
    """Delete what an earlier fit learned of a table."""
    for name in ("_table", "is_categorical_", "column_scores_"):
        vars(estimator).pop(name, None)


def encode_partly(estimator: Any, conditions: Any) -> tuple[np.ndarray, Any]:
    """Encode a table that may lack columns.

    Parameters
    ----------
    estimator : BaseAutoencoder
        Fitted to a table.
    conditions : dict, data frame or array-like of shape (n_samples, n_columns)

    Returns
    -------
    matrix : ndarray of shape (n_samples, n_features)
        NaN where a value is missing.
    table : data frame or ndarray of shape (n_samples, n_columns)
        `conditions` with all columns.

    Raises
    ------
    ValueError
        If a column or a category is unknown, or a value is invalid.
    """
    table = estimator._table
    names = [column.name for column in table.columns]
    given = with_columns(conditions, names, table.container)
    if not len(given):
        raise ValueError("conditions has no samples.")
    matrix = table.encode(given)
    unknown = (np.isnan(matrix) & ~table.expand(table.missing(given))).any(0)
    if unknown.any():
        place = table.places()[np.repeat(range(len(names)), table.widths())[unknown.argmax()]]
        column = table.columns[place]
        raise ValueError(
            f"conditions has a category in column {column.name!r} that X did not have; it must "
            f"be one of {sorted(column.categories, key=str)}."
        )
    return matrix, given


def table_of(estimator: Any) -> Table | None:
    """Return the table that an estimator was fitted to, None if the data are no table."""
    table: Table | None = vars(estimator).get("_table")
    return table


def layout_of(estimator: Any) -> tuple[int, tuple[int, ...]] | None:
    """Return the fields of the layout of a table, None if the data are no table."""
    table = table_of(estimator)
    return None if table is None else (table.layout.n_numbers, table.layout.widths)


def refuse_table(X: Any, name: str) -> None:
    """Raise an error if data are a table of numbers and categories."""
    if is_table(X, "from_dtype"):
        raise ValueError(
            f"X has columns of strings, categories or dates, but {name} takes numbers only: "
            f"encode them, for example by ColumnTransformer."
        )


def without_table(estimator: Any, owner: Any) -> Any:
    """Return an inner autoencoder, whose samples are encoded by its owner.

    Raises
    ------
    ValueError
        If it is to encode columns itself.
    """
    chosen = vars(estimator).get("categorical_features", "from_dtype")
    if chosen is not None and not isinstance(chosen, str):
        raise ValueError(
            f"categorical_features={chosen!r} belongs to {type(owner).__name__}, not to the "
            f"{type(estimator).__name__} in it."
        )
    return estimator


def in_data_form(
    estimator: Any,
    array_type: Any,
    samples: Tensor,
    random_state: np.random.RandomState | None = None,
    like: Any = None,
    known: Any = None,
) -> Any:
    """Return samples in the form of the training data: an array, or a table.

    Parameters
    ----------
    estimator : BaseAutoencoder
    array_type : ArrayType
    samples : Tensor of shape (n_samples, ...)
        In the units of the training data; of a table its matrix.
    random_state : RandomState or None, default=None
        Draws the categories of a table. None: the most probable ones.
    like : object, default=None
        Data frame of pandas whose index the result gets.
    known : data frame or ndarray of shape (n_rows, n_columns) or None, default=None
        Table whose values the result gets where they are not missing, one row after another for
        equally many samples.
    """
    table = table_of(estimator)
    if table is None:
        return array_type.wrap(samples)
    matrix = samples.detach().cpu().numpy().reshape(-1, table.layout.n_features)
    index = like.index if container_of(like) == table.container == "pandas" else None
    decoded = table.decode(matrix, random_state, index)
    if known is None:
        return decoded
    missing = table.missing(known)
    rows = np.repeat(range(len(missing)), len(matrix) // len(missing))
    known = known[rows] if table.container != "pandas" else known.iloc[rows].reset_index(drop=True)
    every = np.ones(len(table.columns), bool)
    return filled(decoded, known, ~missing[rows], every, None, [])


def _array_of_objects(X: Any) -> np.ndarray:
    """Return a table that is no data frame as a matrix of objects."""
    if sp.issparse(X) or isinstance(X, Tensor):
        raise ValueError(
            f"categorical_features needs a data frame or an array, not a {type(X).__name__}."
        )
    array = np.asarray(X, dtype=object)
    if array.ndim != 2:
        raise ValueError(
            f"categorical_features needs data of shape (n_samples, n_features), but X has the "
            f"shape {array.shape}."
        )
    return array


def _check_loss(estimator: Any) -> None:
    """Raise an error if parameters select a loss that columns of categories do not have."""
    if not hasattr(estimator, "output_activation"):  # no autoencoder, but a stack or an imputer
        return
    if estimator.loss != "squared_error" or estimator.output_activation != "identity":
        raise ValueError(
            f"{estimator._loss_description()} is a loss of numbers, but X has columns of "
            f"categories, or of dates. Leave the default, or encode X before."
        )
