"""Data that do not fit in memory: files and lazy tables that estimators read block by block.

Methods of estimators accept the objects of other libraries, and paths of Parquet files, as they
are. What is here selects columns, reads samples of rows, and adds further kinds of data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sklearn_ae._sources.kinds import KINDS, Kind, as_source
from sklearn_ae._sources.source import Source

__all__ = ["Source", "open_source", "register_source"]


def open_source(X: Any, columns: Sequence[str] | None = None) -> Source:
    """Open data that are read block by block.

    Estimators do so themselves. The source says what would be read, selects columns and rows, and
    fits where an array is expected, for example in :class:`~sklearn.model_selection.GridSearchCV`.

    Parameters
    ----------
    X : str, path or object
        Path of a Parquet file, or a folder or pattern of several; a table or data set of Arrow,
        a data set of h5py or Hugging Face, an array of zarr or Dask, a data frame of Dask, a lazy
        frame of polars, or an object of a kind added by :func:`register_source`.
    columns : list of str, default=None
        Names of the columns to read, in this order. None: all.

    Returns
    -------
    source : Source
        Has the attributes `shape`, `dtype` and `names`; ``source[rows]`` selects rows, still in
        the file, and ``source.sample(n_rows, random_state)`` reads some of them.

    Raises
    ------
    ImportError
        If the library that reads the data is not installed.
    OSError
        If a file cannot be read.
    ValueError
        If a column is missing or has no numbers, or if the files have different columns.
    TypeError
        If nothing reads `X` block by block.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import Autoencoder
    >>> from sklearn_ae.sources import open_source
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> table = pa.Table.from_pandas(X.assign(species=y))
    >>> source = open_source(table, columns=list(X.columns))
    >>> source.shape
    (150, 4)
    >>> Autoencoder(2, max_iter=2, random_state=0).fit(source).transform(table).shape
    (150, 2)
    """
    source = as_source(X, columns)
    if source is None:
        raise TypeError(
            f"{type(X).__name__} is no data that are read block by block; these are paths of "
            f"Parquet files and {', '.join(name for name in KINDS if name != 'path')}."
        )
    return source


def register_source(
    name: str,
    matches: Callable[[Any], bool],
    open: Callable[[Any, Sequence[str] | None], Source],
) -> None:
    """Add a kind of data that estimators then accept, and read block by block.

    Parameters
    ----------
    name : str
        Name of the kind. One that is known is replaced.
    matches : callable
        Whether an object is of this kind. It is called with any argument of `fit`.
    open : callable
        ``open(X, columns)`` returns a :class:`Source`; `columns` is a list of names, or None.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import Autoencoder
    >>> from sklearn_ae.sources import Source, register_source
    >>> class Waves:
    ...     n_waves = 500
    >>> class WavesSource(Source):
    ...     def __init__(self, X, columns):
    ...         self.shape, self.description = (X.n_waves, 8), "waves"
    ...     dtype, starts = np.dtype(np.float32), np.arange(0, 501, 100)
    ...     def read(self, start, stop):
    ...         phases = np.arange(start, stop)[:, None]
    ...         return np.sin(phases + np.arange(8), dtype=np.float32)
    >>> def is_waves(X):
    ...     return type(X).__name__ == "Waves"
    >>> register_source("waves", is_waves, WavesSource)
    >>> Autoencoder(2, max_iter=2, random_state=0).fit(Waves()).n_features_in_
    8
    """
    KINDS[name] = Kind(matches, open)
