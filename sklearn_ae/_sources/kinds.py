"""The table of all kinds of sources, which users can extend."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sklearn_ae._sources.source import Source

Opener = Callable[[Any, Sequence[str] | None], Source]
"""``(X, columns)`` to a source; `columns` None: all."""


class Kind(NamedTuple):
    """A kind of data that is read block by block.

    Attributes
    ----------
    matches : callable
        Whether an object is of this kind. Called with any argument of `fit`, so it must be fast
        and import nothing.
    open : callable
        ``(X, columns)`` to a :class:`Source`.
    has_names : bool
        Whether columns of data of this kind always have names.
    """

    matches: Callable[[Any], bool]
    open: Opener
    has_names: bool = False


def is_a(*names: str) -> Callable[[Any], bool]:
    """Return a test for classes by the names of package and class, without importing them."""
    wanted = {tuple(name.rsplit(".", 1)) for name in names}

    def matches(X: Any) -> bool:
        classes = type(X).__mro__
        return any((each.__module__.split(".")[0], each.__name__) in wanted for each in classes)

    return matches


def needs(package: str, extra: str, opener: str) -> Opener:
    """Return an opener in a module that is imported when it is used.

    Parameters
    ----------
    package : str
        What must be installed.
    extra : str
        Name under which the error says that pip finds it.
    opener : str
        Module and function, such as ``"arrow:open_files"``.
    """
    module, name = opener.split(":")

    def opened(X: Any, columns: Sequence[str] | None) -> Source:
        try:
            importlib.import_module(package)
        except ImportError as error:
            is_path = isinstance(X, (str, os.PathLike))
            shown = repr(X) if is_path else f"data of the type {type(X).__name__}"
            raise ImportError(
                f"{package} is needed to read {shown}; install it, for example by: "
                f"pip install {extra}"
            ) from error
        function = getattr(importlib.import_module(f"sklearn_ae._sources.{module}"), name)
        source: Source = function(X, columns)
        return source

    return opened


KINDS: dict[str, Kind] = {
    "path": Kind(
        lambda X: isinstance(X, (str, os.PathLike)),
        needs("pyarrow.dataset", "pyarrow", "arrow:open_files"),
        has_names=True,
    ),
    "pyarrow.Table": Kind(
        is_a("pyarrow.Table"), needs("pyarrow", "pyarrow", "arrow:open_table"), True
    ),
    "pyarrow.dataset.Dataset": Kind(
        is_a("pyarrow.Dataset"),
        needs("pyarrow.dataset", "pyarrow", "arrow:open_arrow_dataset"),
        has_names=True,
    ),
    "h5py.Dataset": Kind(is_a("h5py.Dataset"), needs("h5py", "h5py", "arrays:open_sliced")),
    "zarr.Array": Kind(is_a("zarr.Array"), needs("zarr", "zarr", "arrays:open_sliced")),
    "dask.array.Array": Kind(is_a("dask.Array"), needs("dask.array", "dask", "arrays:open_dask")),
    "dask.dataframe.DataFrame": Kind(
        is_a("dask.DataFrame"),
        needs("dask.dataframe", "dask", "arrays:open_dask_frame"),
        has_names=True,
    ),
    "datasets.Dataset": Kind(
        is_a("datasets.Dataset"),
        needs("pyarrow", "pyarrow", "arrow:open_dataset"),
        has_names=True,
    ),
    "polars.LazyFrame": Kind(
        is_a("polars.LazyFrame"),
        needs("pyarrow", "pyarrow", "arrow:open_lazy_frame"),
        has_names=True,
    ),
}
"""All kinds by name, in the order in which they are tried."""


def kind_of(X: Any) -> Kind | None:
    """Return the kind of an object, None if it is not read block by block."""
    if type(X) is np.ndarray:  # asked several times in each call of a method
        return None
    return next((kind for kind in KINDS.values() if kind.matches(X)), None)


def is_source(X: Any) -> bool:
    """Whether data are read block by block. Nothing is opened."""
    return isinstance(X, Source) or kind_of(X) is not None


def as_source(
    X: Any, columns: Sequence[str] | None = None, *, if_named: bool = False
) -> Source | None:
    """Open data that are read block by block; None for all other data.

    With ``if_named=True`` columns are selected only where columns have names.
    """
    if isinstance(columns, str):
        raise ValueError(f"columns must be a list of names, got the string {columns!r}.")
    if isinstance(X, Source):
        return X if columns is None else X.select(columns)
    kind = kind_of(X)
    if kind is None:
        return None
    if columns is not None and if_named and not kind.has_names:
        source = kind.open(X, None)
        return source if source.names is None else source.select(columns)
    source = kind.open(X, None if columns is None else list(columns))
    if not isinstance(source, Source):
        raise TypeError(f"the kind registered for {type(X).__name__} opened no Source.")
    return source
