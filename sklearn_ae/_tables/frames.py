"""Columns of data frames of pandas and polars and of arrays, as values of Python and back.

Neither library is imported unless the data come from it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sklearn_ae._tables.columns import CATEGORY_TYPES, Category, Number


class RawColumn(NamedTuple):
    """A column as it was read.

    Attributes
    ----------
    dtype : str
        Dtype as its library writes it.
    numbers : ndarray of shape (n_samples,) or None
        Values as floats, NaN if missing; None if the column does not hold numbers or dates.
    kind : {"float", "integer", "date", "category"}
    values : list or None
        Values of Python, None if missing; None if the column holds dates or fractions.
    declared : list or None
        Categories of a categorical dtype.
    ordered : bool
        Whether the categorical dtype is ordered.
    """

    dtype: str
    numbers: np.ndarray | None
    kind: str
    values: list[Any] | None
    declared: list[Any] | None = None
    ordered: bool = False

    def where(self, mask: np.ndarray) -> RawColumn:
        """Return the column at the samples where `mask` is true."""
        values = self.values
        return self._replace(
            numbers=None if self.numbers is None else self.numbers[mask],
            values=None if values is None else [values[i] for i in np.flatnonzero(mask)],
        )


def container_of(X: Any) -> str:
    """Return "pandas", "polars" or "array"."""
    for name in ("pandas", "polars"):
        library = sys.modules.get(name)
        if library is not None and isinstance(X, library.DataFrame):
            return name
    return "array"


def column_of(X: Any, place: int, name: Any) -> RawColumn:
    """Return a column of a data frame or of an array of shape (n_samples, n_features).

    Raises
    ------
    ValueError
        If the dtype of the column is not supported.
    """
    container = container_of(X)
    try:
        if container == "pandas":
            return _pandas_column(X.iloc[:, place], name)
        if container == "polars":
            return _polars_column(X.to_series(place), name)
        return _column_of_values(X[:, place].tolist(), str(X.dtype), name)
    except (TypeError, NotImplementedError) as error:
        dtype = X.dtype if container == "array" else list(X.dtypes)[place]
        raise unsupported(name, dtype) from error


def unsupported(name: Any, dtype: Any) -> ValueError:
    """Return the error about a column of a dtype that cannot be read, or not be restored."""
    return ValueError(
        f"Column {name!r} has the unsupported dtype {dtype}; convert it to a dtype of NumPy or to "
        f"strings, booleans, categories or dates."
    )


def _pandas_column(series: Any, name: Any) -> RawColumn:
    import pandas as pd

    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        declared = _python_values(dtype.categories.tolist(), name)
        values = [declared[code] if code >= 0 else None for code in series.cat.codes]
        return RawColumn("category", None, "category", values, declared, bool(dtype.ordered))
    if isinstance(dtype, pd.ArrowDtype) or pd.api.types.is_complex_dtype(dtype):
        raise unsupported(name, dtype)
    if pd.api.types.is_datetime64_any_dtype(dtype):
        if getattr(dtype, "tz", None) is not None:
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        return RawColumn(str(dtype), _microseconds(series.to_numpy()), "date", None)
    is_integer = pd.api.types.is_integer_dtype(dtype)
    if is_integer or pd.api.types.is_bool_dtype(dtype) or not pd.api.types.is_numeric_dtype(dtype):
        values = [
            None if missing else value
            for value, missing in zip(series.tolist(), series.isna().tolist(), strict=True)
        ]
        return _column_of_values(values, str(dtype), name, is_integer)
    numbers = series.to_numpy(dtype=float, na_value=np.nan)
    return RawColumn(str(dtype), numbers, "float", None)


def _polars_column(series: Any, name: Any) -> RawColumn:
    import polars as pl

    dtype = series.dtype
    if dtype.is_decimal():
        raise unsupported(name, dtype)
    if dtype.is_float():
        return RawColumn(str(dtype), series.cast(pl.Float64).to_numpy().copy(), "float", None)
    if dtype in (pl.Date, pl.Datetime):
        zone = getattr(dtype, "time_zone", None)
        unit = getattr(dtype, "time_unit", "")
        written = "Date" if dtype == pl.Date else f"Datetime {unit} {zone or ''}".strip()
        numbers = series.cast(pl.Datetime("us", zone)).dt.timestamp("us").cast(pl.Float64)
        return RawColumn(written, numbers.to_numpy().copy(), "date", None)
    if dtype == pl.Enum:
        declared = dtype.categories.to_list()
        return RawColumn("Enum", None, "category", series.to_list(), declared)
    if dtype in (pl.Categorical, pl.String, pl.Boolean):
        written = "Categorical" if dtype == pl.Categorical else str(dtype)
        return RawColumn(written, None, "category", series.to_list())
    return _column_of_values(series.to_list(), str(dtype), name, dtype.is_integer())


def _column_of_values(
    values: list[Any], dtype: str, name: Any, is_integer: bool = False
) -> RawColumn:
    """Return a column of values of Python: numbers if all of them are, else categories.

    ``is_integer`` is whether the dtype is one of integers, also if no value is known.
    """
    values = _python_values(values, name)
    known = [value for value in values if value is not None]
    if is_integer or (known and all(type(value) in (int, float) for value in known)):
        numbers = np.array([np.nan if value is None else value for value in values], dtype=float)
        is_integer = all(type(value) is int for value in known)
        kind = "integer" if is_integer else "float"
        return RawColumn(dtype, numbers, kind, values)
    return RawColumn(dtype, None, "category", values)


def _python_values(values: list[Any], name: Any) -> list[Any]:
    """Return values as those of Python, None for missing ones."""
    result: list[Any] = []
    for value in values:
        if isinstance(value, np.generic):
            value = value.item()
        exact = next((kind for kind in CATEGORY_TYPES if isinstance(value, kind)), None)
        if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
            result.append(None)
        elif type(value) is exact:
            result.append(value)
        elif exact is not None:  # of a subclass, such as an enumeration
            result.append(exact.__str__(value) if exact is str else exact(value))
        else:
            raise ValueError(
                f"Column {name!r} has values of type {type(value).__name__}; convert them to "
                f"numbers, strings, booleans, categories or dates."
            )
    return result


def _microseconds(dates: np.ndarray) -> np.ndarray:
    """Return dates as microseconds since 1970, NaN if missing."""
    numbers = dates.astype("datetime64[us]").astype(np.int64).astype(float)
    numbers[np.isnat(dates)] = np.nan
    return numbers


def frame_of(
    columns: list[tuple[Number | Category, np.ndarray]], container: str, index: Any = None
) -> Any:
    """Return a data frame or an array.

    Parameters
    ----------
    columns : list of tuple
        Each description with its values: floats, or places in the categories.
    container : {"pandas", "polars", "array"}
    index : Index or None, default=None
        Index of a data frame of pandas.
    """
    if container == "pandas":
        import pandas as pd

        made = {c.name: _pandas_series(c, values) for c, values in columns}
        return pd.DataFrame(made) if index is None else pd.DataFrame(made).set_index(index)
    if container == "polars":
        import polars as pl

        return pl.DataFrame([_polars_series(c, values) for c, values in columns])
    every = [_values(c, values) for c, values in columns]
    if all(isinstance(values, np.ndarray) and values.dtype == float for values in every):
        return np.column_stack(every)
    result = np.empty((len(every[0]), len(every)), dtype=object)
    for place, values in enumerate(every):
        result[:, place] = values
    return result


def with_columns(X: Any, names: list[Any], container: str) -> Any:
    """Return a table with these columns; those that it lacks are missing.

    Parameters
    ----------
    X : dict, data frame or array-like of shape (n_samples, n_columns)
        A dict has a value, or a list of them, for each column.
    names : list
        Names of the columns.
    container : {"pandas", "polars", "array"}
        Library of the result.

    Raises
    ------
    ValueError
        If `X` has other columns, or is a data frame of another library.
    """
    if isinstance(X, Mapping):
        X, n_samples = columns_of(X)
    elif container_of(X) != container:
        raise ValueError(f"X was a table of {container} in fit, but conditions is {type(X)}.")
    elif container == "array":
        array = np.asarray(X, dtype=object)
        if array.ndim != 2 or array.shape[1] != len(names):
            raise ValueError(
                f"conditions must have {len(names)} columns, got the shape {array.shape}."
            )
        return array
    else:
        n_samples = len(X)
    given = list(X if isinstance(X, dict) else X.columns)
    if unknown := [name for name in given if name not in names]:
        raise ValueError(f"conditions has the column {unknown[0]!r}, which X did not have.")
    if container == "pandas":
        import pandas as pd

        index = range(n_samples) if isinstance(X, dict) else X.index
        return pd.DataFrame(X, index=index).reindex(columns=names)
    gone = [None] * n_samples
    if container == "polars":
        import polars as pl

        return pl.DataFrame({name: X[name] if name in given else gone for name in names})
    result = np.empty((n_samples, len(names)), dtype=object)
    for place, name in enumerate(names):
        result[:, place] = X.get(name, gone)
    return result


def columns_of(X: Mapping[Any, Any]) -> tuple[dict[Any, list[Any]], int]:
    """Return a dict of columns with a list for each, and the number of samples.

    Raises
    ------
    ValueError
        If the lists differ in length.
    """
    lists = (list, tuple, np.ndarray)
    columns = {name: list(v) if isinstance(v, lists) else [v] for name, v in X.items()}
    n_samples = {len(values) for values in columns.values()} or {1}
    if len(n_samples) > 1:
        raise ValueError("conditions must have equally many values in each column.")
    return columns, n_samples.pop()


def converted(X: Any, container: str) -> Any:
    """Return a data frame as one of another library, "pandas" or "polars"; else `X` itself."""
    if container_of(X) in ("array", container) or container not in ("pandas", "polars"):
        return X
    columns = {name: X[name].to_list() for name in X.columns}
    if container == "pandas":
        import pandas as pd

        return pd.DataFrame(columns)
    import polars as pl

    for name, values in columns.items():
        columns[name] = [getattr(value, "to_pydatetime", lambda v=value: v)() for value in values]
    return pl.DataFrame(columns, nan_to_null=True)


def filled(
    X: Any,
    decoded: Any,
    missing: np.ndarray,
    kept: np.ndarray,
    shown: np.ndarray | None,
    names: Sequence[str],
) -> Any:
    """Return a table in which missing values are replaced.

    Parameters
    ----------
    X, decoded : data frame or ndarray of shape (n_samples, n_columns)
        The table, and one of the same form without missing values.
    missing : ndarray of shape (n_samples, n_columns), dtype bool
    kept : ndarray of shape (n_columns,), dtype bool
        Mask of the columns of the result.
    shown : ndarray of shape (n_samples, n_shown) or None
        Further columns.
    names : sequence of str
        Their names.
    """
    container = container_of(X)
    if container == "array":
        result = np.where(missing, decoded, X)[:, kept]
        return result if shown is None else np.concatenate([result, shown], axis=1)
    if container == "pandas":
        parts = {
            name: _filled_series(X.iloc[:, place], decoded.iloc[:, place], missing[:, place])
            for place, name in enumerate(X.columns)
            if kept[place]
        }
        if shown is not None:
            parts |= dict(zip(names, shown.T, strict=True))
        return type(X)(parts, index=X.index)
    import polars as pl

    gone = pl.DataFrame(missing, schema=X.columns)
    columns = []
    for name, is_kept in zip(X.columns, kept, strict=True):
        if is_kept:
            given, made = X[name], decoded[name]
            try:
                made = made.cast(given.dtype)
            except pl.exceptions.InvalidOperationError:  # an Enum lacks categories of the other
                given, made = given.cast(pl.String), made.cast(pl.String)
            columns.append(pl.select(pl.when(gone[name]).then(made).otherwise(given).alias(name)))
    if shown is not None:
        columns.append(pl.DataFrame(shown, schema=list(names)))
    return pl.concat(columns, how="horizontal")


def _filled_series(given: Any, decoded: Any, missing: np.ndarray) -> Any:
    """Return a column of pandas in which missing values are replaced."""
    import pandas as pd

    if isinstance(given.dtype, pd.CategoricalDtype):
        known = given.cat.categories
        given = given.cat.add_categories([v for v in decoded[missing].unique() if v not in known])
    try:
        return given.where(~missing, decoded.to_numpy())
    except TypeError:  # the dtype is narrower than that in fit
        return given.astype(object).where(~missing, decoded.to_numpy(dtype=object)).infer_objects()


def _categories(column: Category, places: np.ndarray) -> list[Any]:
    """Return categories by their places; None if the column has none."""
    if not column.categories:
        return [None] * len(places)
    return [column.categories[place] for place in places]


def _values(column: Number | Category, values: np.ndarray) -> Any:
    """Return the values of a column of an array."""
    if isinstance(column, Number):
        return values
    chosen = _categories(column, values)
    if all(type(value) in (int, float) for value in column.categories):
        return np.array(chosen, dtype=float)  # NaN for None
    return chosen


def _pandas_series(column: Number | Category, values: np.ndarray) -> Any:
    import pandas as pd

    if isinstance(column, Category):
        chosen = _categories(column, values)
        if column.declared is not None:
            return pd.Categorical(chosen, categories=column.declared, ordered=column.ordered)
        return pd.Series(chosen, dtype=column.dtype)
    if column.kind in ("date", "day"):
        dates = pd.Series(values.astype(np.int64).astype("datetime64[us]"))
        zone = getattr(pd.api.types.pandas_dtype(column.dtype), "tz", None)
        if zone is not None:
            dates = dates.dt.tz_localize("UTC").dt.tz_convert(zone)
        return dates.astype(column.dtype)
    return pd.Series(values).astype(column.dtype)


def _polars_series(column: Number | Category, values: np.ndarray) -> Any:
    import polars as pl

    if isinstance(column, Category):
        chosen = _categories(column, values)
        is_enum = column.dtype == "Enum"
        dtype = pl.Enum(column.declared or []) if is_enum else _polars_type(column.dtype)
        return pl.Series(column.name, chosen, dtype=dtype)
    if column.kind in ("date", "day"):
        dates = pl.Series(column.name, values.astype(np.int64)).cast(pl.Datetime("us"))
        if column.dtype == "Date":
            return dates.cast(pl.Date)
        written: list[Any] = column.dtype.split(" ")
        _, unit, *zone = written
        dates = dates.cast(pl.Datetime(unit))
        if zone:
            dates = dates.dt.replace_time_zone("UTC").dt.convert_time_zone(zone[0])
        return dates
    return pl.Series(column.name, values).cast(_polars_type(column.dtype))


def _polars_type(name: str) -> Any:
    """Return a dtype of polars by its name."""
    import polars as pl

    found = getattr(pl, name, None)
    if not (isinstance(found, type) and issubclass(found, pl.DataType)):
        raise ValueError(f"polars has no dtype {name!r}.")
    return found
