"""Methods that return a row for each sample, on data that are read block by block."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._estimator.inputs import columns_of_fit
from sklearn_ae._parameters.documentation import with_parameter
from sklearn_ae._sources.kinds import is_source
from sklearn_ae._sources.source import ArrayInMemory, Source
from sklearn_ae._sources.writing import write_parquet
from sklearn_ae._training.streaming import Stream

OUT = """str, path or None, default=None
Path of a Parquet file to which the result is written block by block; it replaces an existing file
when it is complete. The path is returned. None: the result is returned as an array, for an array
or data frame of Dask as a lazy array of Dask.
"""
"""Documentation of the argument that the decorator adds."""

Method = TypeVar("Method", bound=Callable[..., Any])


def blockwise(method: Method) -> Method:
    """Decorate a method of a fitted estimator that maps samples to as many rows.

    Of a source it reads and maps one block at a time. The decorated method has the argument `out`:
    the path of a Parquet file to which the rows are written instead of being returned. The result
    for an array of Dask is a lazy array of Dask.
    """

    @functools.wraps(method)
    def mapped(self: Any, X: Any, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        # A block in memory is what this method calls itself with.
        in_blocks = is_source(X) and not isinstance(X, ArrayInMemory)
        if not in_blocks and out is None:
            return method(self, X, *args, **kwargs)
        check_is_fitted(self)

        def function(part: Any) -> Any:
            return _on_cpu(method(self, part, *args, **kwargs))

        results = iter([function(X)]) if not in_blocks else None
        if results is None:
            source = columns_of_fit(self, X)
            if not len(source):
                raise ValueError(f"{source.description} has no rows; at least one is required.")
            if out is None and _is_lazy(X):
                return _lazy(function, source)
            results = _by_blocks(function, source)
            if out is None:
                return _gathered(results, len(source))
        matrices = (np.asarray(result).reshape(len(result), -1) for result in results)
        first = next(matrices)
        names = _names(self, method.__name__, first.shape[1])
        write_parquet(out, itertools.chain([first], matrices), names)
        return out

    signature = inspect.signature(method)
    out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
    parameters = [*signature.parameters.values(), out]
    if mapped.__doc__ is not None:
        mapped.__doc__ = with_parameter(mapped.__doc__, "out", OUT)
    mapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return mapped  # type: ignore[return-value]  # functools.wraps keeps the signature


def _by_blocks(function: Callable[[Any], Any], source: Source) -> Iterator[Any]:
    """Yield the results of a function for each block of a source."""
    for values in Stream(source, allows_missing=True).blocks():
        rows = values.reshape(len(values), *source.shape[1:])
        yield function(ArrayInMemory(rows, source.names, source.description))


def _gathered(results: Iterator[Any], n_rows: int) -> np.ndarray:
    """Return the results of all blocks as one array, without a second copy of it."""
    gathered: np.ndarray | None = None
    start = 0
    for result in results:
        rows = np.asarray(result)
        if gathered is None:
            gathered = np.empty((n_rows, *rows.shape[1:]), rows.dtype)
        gathered[start : start + len(rows)] = rows
        start += len(rows)
    assert gathered is not None
    return gathered


def _names(estimator: Any, method: str, n_columns: int) -> list[str]:
    """Return names of the columns of a result."""
    if method == "transform":
        return [str(name) for name in estimator.get_feature_names_out()]
    if method == "reconstruct" and hasattr(estimator, "feature_names_in_"):
        return [str(name) for name in estimator.feature_names_in_]
    return [method] if n_columns == 1 else [f"{method}_{column}" for column in range(n_columns)]


def _is_lazy(X: Any) -> bool:
    """Whether data are an array or a data frame of Dask."""
    return type(X).__module__.startswith("dask.")


def _lazy(function: Callable[[Any], Any], source: Any) -> Any:
    """Return the results for an array of Dask as a lazy array, of the same chunks of rows."""
    array, names, description = source.array, source.names, source.description
    one = np.asarray(
        function(ArrayInMemory(np.zeros((1, *source.shape[1:]), source.dtype), names, description))
    )

    def block(values: np.ndarray) -> Any:
        values = np.asarray(values, source.dtype)
        return function(ArrayInMemory(values, names, description)) if len(values) else one[:0]

    array = array.rechunk(dict.fromkeys(range(1, array.ndim), -1))
    chunks = array.chunks[0], *((size,) for size in one.shape[1:])
    dropped = list(range(one.ndim, array.ndim))
    return array.map_blocks(
        block,
        dtype=one.dtype,
        chunks=chunks,
        drop_axis=dropped,
        new_axis=list(range(array.ndim, one.ndim)),
        meta=one[:0],
    )


def _on_cpu(result: Any) -> Any:
    """Return a tensor as an array."""
    return result.detach().cpu().numpy() if isinstance(result, Tensor) else result
