"""The columns of a table, as `fit` found them: encoding to a matrix, and decoding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from sklearn_ae._tables.columns import (
    CATEGORY_TYPES,
    DAY,
    Category,
    Column,
    Number,
    fit_category,
    fit_number,
)
from sklearn_ae._tables.frames import RawColumn, column_of, container_of, frame_of, unsupported
from sklearn_ae._tables.loss import Layout

FEW_VALUES = 10
"""Largest number of distinct integers for which a column of integers holds categories."""


class Table(NamedTuple):
    """Description of a table.

    Attributes
    ----------
    columns : tuple of Number or Category
        In the order of the table.
    container : {"pandas", "polars", "array"}
        Library of the table.
    """

    columns: tuple[Column, ...]
    container: str

    @property
    def layout(self) -> Layout:
        """Columns of the matrix: numbers come first."""
        widths = tuple(column.width for column in self.columns if isinstance(column, Category))
        return Layout(len(self.columns) - len(widths), widths)

    def is_categorical(self) -> np.ndarray:
        """Return the mask of the columns of categories."""
        return np.array([isinstance(column, Category) for column in self.columns])

    def check(self, n_features: int) -> None:
        """Check a table that was read from a file.

        Raises
        ------
        ValueError
            If a field has a value that :func:`fit_table` does not give it.
        """
        is_valid = (
            isinstance(self.columns, tuple)
            and all(isinstance(column, (Category, Number)) for column in self.columns)
            and self.container in ("pandas", "polars", "array")
        )
        if not is_valid:
            raise ValueError("its table is none.")
        for column in self.columns:
            if not column.is_valid():
                raise ValueError(f"column {column.name!r} of its table is invalid.")
        if len({column.name for column in self.columns}) < len(self.columns):
            raise ValueError("two columns of its table have the same name.")
        if self.layout.n_features != n_features:
            raise ValueError(
                f"its table has {self.layout.n_features} features, its network {n_features}."
            )

    def expand(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask of the matrix from one of the table, of shape (n_samples, n_columns)."""
        expanded: np.ndarray = np.repeat(mask[:, self.places()], self.widths(), axis=1)
        return expanded

    def names(self) -> tuple[str, ...]:
        """Return the names of the columns in the order of the matrix."""
        return tuple(str(self.columns[place].name) for place in self.places())

    def widths(self) -> list[int]:
        """Return the number of columns of the matrix of each column, in its order."""
        return [self.columns[place].width for place in self.places()]

    def places(self) -> list[int]:
        """Return the columns of the table in the order of the matrix."""
        return sorted(
            range(len(self.columns)), key=lambda i: isinstance(self.columns[i], Category)
        )

    def encode(self, X: Any) -> np.ndarray:
        """Return the matrix of a table.

        Parameters
        ----------
        X : data frame or ndarray of shape (n_samples, n_columns)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Standardised numbers and indicators, NaN where a value is missing or unknown.

        Raises
        ------
        ValueError
            If a column of numbers has other values, or infinite ones.
        """
        parts = []
        for place in self.places():
            column = self.columns[place]
            raw = column_of(X, place, column.name)
            if isinstance(column, Number):
                parts.append(column.encode(_numbers(raw, column)))
            else:
                parts.append(column.encode(_codes(raw, column)))
        return np.concatenate(parts, axis=1)

    def missing(self, X: Any) -> np.ndarray:
        """Return the mask of the missing values of a table, of shape (n_samples, n_columns)."""
        masks = []
        for place, column in enumerate(self.columns):
            raw = column_of(X, place, column.name)
            if raw.numbers is not None:
                masks.append(np.isnan(raw.numbers))
            else:
                masks.append(np.array([value is None for value in raw.values or ()]))
        return np.column_stack(masks)

    def decode(
        self,
        matrix: np.ndarray,
        random_state: np.random.RandomState | None = None,
        index: Any = None,
    ) -> Any:
        """Return the table of reconstructions.

        Parameters
        ----------
        matrix : ndarray of shape (n_samples, n_features)
            Numbers and probabilities.
        random_state : RandomState or None, default=None
            Draws categories by their probabilities. None: the most probable ones.
        index : Index or None, default=None
            Index of a data frame of pandas.
        """
        decoded: dict[int, np.ndarray] = {}
        start = 0
        for place in self.places():
            column = self.columns[place]
            part = matrix[:, start : start + column.width]
            start += column.width
            if isinstance(column, Number):
                decoded[place] = column.decode(part)
            else:
                decoded[place] = column.decode(part, random_state)
        columns = [(column, decoded[place]) for place, column in enumerate(self.columns)]
        return frame_of(columns, self.container, index)


def is_table(X: Any, categorical_features: Any) -> bool:
    """Return whether some columns of unvalidated data hold categories or dates."""
    if categorical_features is None:
        return False
    if not isinstance(categorical_features, str):
        return len(categorical_features) > 0
    container = container_of(X)
    if container == "pandas":
        import pandas as pd

        kinds = pd.api.types
        return any(
            isinstance(dtype, pd.CategoricalDtype)
            or kinds.is_datetime64_any_dtype(dtype)
            or (
                _holds_strings(X.iloc[:, place])
                if isinstance(dtype, np.dtype) and dtype.kind == "O"
                else kinds.is_string_dtype(dtype)
            )
            for place, dtype in enumerate(X.dtypes)
        )
    if container == "polars":
        import polars as pl

        kinds = (pl.Categorical, pl.Enum, pl.String, pl.Date, pl.Datetime)
        return any(dtype in kinds for dtype in X.dtypes)
    return False


def _holds_strings(series: Any) -> bool:
    """Return whether a column of objects has a string."""
    return any(isinstance(value, str) for value in series)


def fit_table(
    X: Any,
    categorical_features: Any,
    max_categories: int,
    weight: np.ndarray | None = None,
    as_normal: bool | None = None,
) -> Table:
    """Return the description of a table.

    Parameters
    ----------
    X : data frame or ndarray of shape (n_samples, n_columns)
    categorical_features : "from_dtype" or array-like of bool, int or str
    max_categories : int
    weight : ndarray of shape (n_samples,) or None, default=None
        Sample weights. Samples of weight zero are ignored.
    as_normal : bool or None, default=None
        Whether numbers are mapped to normal quantiles; None: those with heavy tails.

    Raises
    ------
    ValueError
        If `categorical_features` names a column that `X` lacks, if a column that holds no numbers
        is not among them, or if a column could not be restored.
    """
    container = container_of(X)
    names = list(range(X.shape[1])) if container == "array" else list(X.columns)
    chosen = _chosen(categorical_features, names, container)
    columns = []
    for place, name in enumerate(names):
        if type(name) not in CATEGORY_TYPES:
            raise ValueError(f"Names of columns must be strings or numbers, got {name!r}.")
        raw = column_of(X, place, name)
        if weight is not None:
            raw = raw.where(weight > 0)
        is_category = raw.numbers is None if chosen is None else place in chosen
        if chosen is None and raw.kind == "integer":
            is_category = len({*(raw.values or ())} - {None}) <= FEW_VALUES
        if chosen is None and raw.numbers is not None and np.isnan(raw.numbers).all():
            is_category = False
        positive = None if weight is None else weight[weight > 0]
        column = _fitted(name, raw, is_category, max_categories, positive, as_normal)
        try:
            frame_of([(column, column.decode(np.zeros((1, column.width))))], container)
        except Exception as error:  # of pandas or polars, whatever its type
            raise unsupported(name, raw.dtype) from error
        columns.append(column)
    return Table(tuple(columns), container)


def _fitted(
    name: Any,
    raw: RawColumn,
    is_category: bool,
    max_categories: int,
    weight: np.ndarray | None,
    as_normal: bool | None,
) -> Column:
    """Return the description of a column."""
    if not is_category:
        if raw.numbers is None:
            raise ValueError(
                f"Column {name!r} holds no numbers, but is not among categorical_features."
            )
        if np.isinf(raw.numbers).any():
            raise ValueError(f"Column {name!r} of X contains infinity.")
        known = raw.numbers[~np.isnan(raw.numbers)]
        is_day = raw.kind == "date" and not (known % DAY).any()
        kind = "day" if is_day else raw.kind
        return fit_number(name, raw.dtype, kind, raw.numbers, weight, as_normal)
    values = raw.values
    if values is None:  # fractions or dates
        assert raw.numbers is not None
        if raw.kind == "date":
            raise ValueError(f"Column {name!r} holds dates, which cannot be categories.")
        values = [None if number != number else number for number in raw.numbers.tolist()]
    return fit_category(name, raw.dtype, values, max_categories, raw.declared, raw.ordered, weight)


def _chosen(categorical_features: Any, names: list[Any], container: str) -> set[int] | None:
    """Return the places of the columns of categories, None if their dtypes tell."""
    if isinstance(categorical_features, str):
        return None
    chosen = np.asarray(categorical_features, dtype=object).ravel().tolist()
    chosen = [each.item() if isinstance(each, np.generic) else each for each in chosen]
    kinds = {type(each) for each in chosen}
    if kinds not in ({bool}, {int}, {str}):
        raise ValueError(
            f"categorical_features must be 'from_dtype', None, or all of it a mask, indices or "
            f"names, got {categorical_features!r}."
        )
    if kinds == {bool}:
        if len(chosen) != len(names):
            raise ValueError(
                f"categorical_features is a mask of {len(chosen)} columns, but X has {len(names)}."
            )
        return set(np.flatnonzero(chosen).tolist())
    unknown: Iterable[Any]
    if kinds == {str}:
        if container == "array":
            raise ValueError("categorical_features has names, but X has none; use indices.")
        unknown = [each for each in chosen if each not in names]
        places = {names.index(each) for each in chosen if each in names}
    else:
        unknown = [each for each in chosen if not -len(names) <= each < len(names)]
        places = {int(each) % len(names) for each in chosen}
    if unknown:
        raise ValueError(f"categorical_features has {unknown[0]!r}, which X does not have.")
    return places


def _numbers(raw: RawColumn, column: Number) -> np.ndarray:
    """Return the values of a column of numbers."""
    if raw.numbers is None:
        known = [value for value in raw.values or () if value is not None]
        if known:
            raise ValueError(
                f"Column {column.name!r} held numbers in fit, but now it has {known[0]!r}."
            )
        return np.full(len(raw.values or ()), np.nan)
    if np.isnan(raw.numbers).all():  # without values, a column has any dtype
        return raw.numbers
    if (raw.kind == "date") != (column.kind in ("date", "day")):
        raise ValueError(
            f"Column {column.name!r} had the dtype {column.dtype} in fit, but now it has "
            f"{raw.dtype}."
        )
    if np.isinf(raw.numbers).any():
        raise ValueError(f"Column {column.name!r} of X contains infinity.")
    return raw.numbers


def _codes(raw: RawColumn, column: Category) -> np.ndarray:
    """Return the places of values in the categories, -1 for missing and unknown ones."""
    places = {value: place for place, value in enumerate(column.categories)}
    values = raw.values
    if values is None:
        assert raw.numbers is not None
        values = raw.numbers.tolist()
    found = {isinstance(value, str) for value in values if value is not None and value == value}
    known = {isinstance(value, str) for value in column.categories}
    if found and known and found.isdisjoint(known):
        was, now = ("numbers", "strings") if True in found else ("strings", "numbers")
        raise ValueError(f"Column {column.name!r} held {was} in fit, but now it holds {now}.")
    return np.array([places.get(value, -1) for value in values], dtype=np.int64)
