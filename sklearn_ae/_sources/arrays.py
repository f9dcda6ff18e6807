"""Arrays in files and lazy arrays: h5py, zarr and Dask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sklearn_ae._sources.source import Source, check_names, even_starts


class SlicedArray(Source):
    """An array whose rows are read by slices, such as a data set of h5py or an array of zarr."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape = tuple(int(size) for size in array.shape)
        name = getattr(array, "name", None) or ""
        self.description = f"{type(array).__module__.split('.')[0]} array {name}".rstrip()
        if len(self.shape) < 2:
            raise ValueError(
                f"{self.description} has the shape {self.shape}; samples need at least two "
                f"dimensions, (n_samples, n_features)."
            )
        self.dtype = number_type(np.dtype(array.dtype), self.description)
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        chunks = getattr(array, "chunks", None)
        self.starts = even_starts(self.shape[0], row_bytes, int(chunks[0]) if chunks else 1)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read consecutive rows."""
        return np.asarray(self.array[start:stop], self.dtype)


class DaskArray(Source):
    """An array of Dask, whose chunks of rows are the blocks."""

    def __init__(self, array: Any, names: list[str] | None = None) -> None:
        if array.ndim < 2:
            raise ValueError(
                f"the Dask array has the shape {array.shape}; samples need at least two "
                f"dimensions, (n_samples, n_features)."
            )
        if any(math.isnan(size) for size in array.chunks[0]):
            array = array.compute_chunk_sizes()
        self.array, self.names = array, names
        self.shape = tuple(int(size) for size in array.shape)
        self.description = "the Dask array" if names is None else "the Dask data frame"
        self.dtype = number_type(array.dtype, self.description)
        sizes = [size for size in array.chunks[0] if size]
        self.starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._last: tuple[int, np.ndarray] | None = None

    def read(self, start: int, stop: int) -> np.ndarray:
        """Compute the chunk in which the rows are; the last one computed is kept."""
        block = int(np.searchsorted(self.starts, start, side="right")) - 1
        first, end = (int(each) for each in self.starts[block : block + 2])
        if self._last is None or self._last[0] != block:
            self._last = block, np.asarray(self.array[first:end].compute(), self.dtype)
        values = self._last[1][start - first : stop - first]
        if stop >= end:  # not needed again in this pass
            self._last = None
        return values


def open_sliced(array: Any, columns: Sequence[str] | None) -> Source:
    """Open an array of a file."""
    source = SlicedArray(array)
    return source if columns is None else source.select(columns)


def open_dask(array: Any, columns: Sequence[str] | None) -> Source:
    """Open an array of Dask."""
    source = DaskArray(array)
    return source if columns is None else source.select(columns)


def open_dask_frame(frame: Any, columns: Sequence[str] | None) -> Source:
    """Open a data frame of Dask, of which all columns are numbers."""
    labels = {str(label): label for label in frame.columns}
    names = list(labels) if columns is None else list(columns)
    check_names(names, list(labels), "the Dask data frame")
    frame = frame[[labels[name] for name in names]]
    for name, dtype in frame.dtypes.items():
        if getattr(dtype, "kind", "O") not in "biuf":
            raise ValueError(
                f"column {name!r} of the Dask data frame has the dtype {dtype}; select columns "
                f"of numbers with open_source(X, columns=[...])."
            )
    dtypes = {np.dtype(getattr(dtype, "numpy_dtype", dtype)) for dtype in frame.dtypes}
    dtype = np.dtype(np.float32 if dtypes == {np.dtype(np.float32)} else np.float64)
    array = frame.astype(dtype).to_dask_array(lengths=True)
    return DaskArray(array, names)


def number_type(dtype: np.dtype, description: str) -> np.dtype:
    """Return the dtype in which values are read; raise an error if they are no real numbers."""
    if dtype.kind not in "biuf":
        raise ValueError(f"{description} has the dtype {dtype}, not one of real numbers.")
    return dtype if dtype.kind != "b" else np.dtype(np.uint8)
