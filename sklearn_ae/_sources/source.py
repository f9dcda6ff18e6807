"""What a data source is: rows of numbers that are read block by block."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.random import sample_without_replacement

BLOCK_BYTES = 4 * 2**20
"""Size of the blocks of a source of which any rows can be read at equal cost."""


class Source(ABC):
    """Rows of numbers that are read block by block, for data that do not fit in memory.

    A subclass sets the attributes and defines `read`; :func:`~sklearn_ae.sources.register_source`
    makes estimators accept the objects that it reads.

    Attributes
    ----------
    shape : tuple of int
        Number of rows, followed by the shape of a row.
    dtype : numpy.dtype
        Dtype of the blocks. Results are float32 for float32, and float64 for all others.
    names : list of str or None
        Names of the columns. None: they have none.
    starts : ndarray of shape (n_blocks + 1,)
        Row at which each block starts, and the number of rows. Rows of one block are read
        together at little more than the cost of one of them.
    description : str
        What is read, for error messages.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    names: list[str] | None = None
    starts: np.ndarray
    description: str = "the source"

    @abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """Read consecutive rows of one block.

        Called from one thread at a time.

        Parameters
        ----------
        start, stop : int
            First row, and the row after the last one.

        Returns
        -------
        ndarray of shape (stop - start, ...)
        """

    def select(self, names: Sequence[str]) -> Source:
        """Return a source of some columns, in this order.

        Raises
        ------
        ValueError
            If a column is missing, or if columns have no names.
        """
        if self.names is None:
            raise ValueError(f"columns of {self.description} have no names to select them by.")
        check_names(names, self.names, self.description)
        return self if list(names) == self.names else SelectedColumns(self, names)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Source:
        """Return some rows as a source, which is still read block by block.

        Parameters
        ----------
        rows : slice, integer array or boolean array of shape (n_rows,)
        """
        if isinstance(rows, tuple) and len(rows) == 2 and rows[1] is Ellipsis:
            rows = rows[0]  # as scikit-learn selects rows of arrays
        if not isinstance(rows, (slice, list, np.ndarray)):
            raise TypeError(
                f"rows of a source are selected by a slice, integers or a mask, not {rows!r}."
            )
        if isinstance(rows, slice):
            return SelectedRows(self, np.arange(*rows.indices(len(self))))
        rows = np.asarray(rows)
        if rows.dtype == bool:
            if len(rows) != len(self):
                raise IndexError(f"the mask has {len(rows)} values for {len(self)} rows.")
            return SelectedRows(self, np.flatnonzero(rows))
        if len(rows) and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows are out of the range of {len(self)} rows.")
        return SelectedRows(self, np.where(rows < 0, rows + len(self), rows).astype(np.int64))

    def sample(self, n_rows: int, random_state: Any = None) -> np.ndarray:
        """Read some rows into memory, drawn without replacement.

        Parameters
        ----------
        n_rows : int
            Number of rows; all if there are fewer.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        ndarray of shape (n_rows, ...)
            In the order of the source.
        """
        n_drawn = min(n_rows, len(self))
        drawn = sample_without_replacement(len(self), n_drawn, random_state=random_state)
        rows: np.ndarray = self[np.sort(drawn)].to_numpy()
        return rows

    def to_numpy(self) -> np.ndarray:
        """Read all rows into memory."""
        values = np.empty(self.shape, self.dtype)
        size = self._rows_at_once
        for first, end in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            for start in range(first, end, size):
                stop = min(start + size, end)
                values[start:stop] = self.read(start, stop)
        return values

    @property
    def _rows_at_once(self) -> int:
        """Number of rows of about `BLOCK_BYTES`."""
        row_bytes = math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize
        return max(1, BLOCK_BYTES // max(1, row_bytes))

    @property
    def lock(self) -> Any:
        """Held while rows are read, by one thread at a time."""
        return vars(self).setdefault("_lock", threading.RLock())

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the lock."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of shape {self.shape}, {self.dtype}: {self.description}>"


class ArrayInMemory(Source):
    """Rows of an array in memory, with the names of its columns: a block of another source."""

    def __init__(self, values: np.ndarray, names: list[str] | None, description: str) -> None:
        self.values = values
        self.shape, self.dtype = values.shape, values.dtype
        self.names, self.description = names, description
        self.starts = np.array([0, len(values)])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return rows of the array."""
        return self.values[start:stop]


class SelectedColumns(Source):
    """Some columns of a source that reads all of them."""

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        assert source.names is not None
        self._source = source
        self._places = [source.names.index(name) for name in names]
        self.names = list(names)
        self.shape, self.dtype = (len(source), len(names)), source.dtype
        self.starts, self.description = source.starts, source.description

    @property
    def lock(self) -> Any:
        """That of the source."""
        return self._source.lock

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read all columns, and return some of them."""
        rows: np.ndarray = self._source.read(start, stop)[:, self._places]
        return rows


class SelectedRows(Source):
    """Some rows of a source."""

    def __init__(self, source: Source, rows: np.ndarray) -> None:
        self._source, self._rows = source, rows
        self.names, self.dtype = source.names, source.dtype
        self.shape = (len(rows), *source.shape[1:])
        self.description = source.description
        blocks = np.searchsorted(source.starts, rows, side="right")
        changes = np.flatnonzero(np.diff(blocks)) + 1
        self.starts = np.concatenate([[0], changes, [len(rows)]])

    @property
    def lock(self) -> Any:
        """That of the source."""
        return self._source.lock

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read the rows between the first and the last one, and return those selected."""
        rows = self._rows[start:stop]
        selected = np.empty((len(rows), *self.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        size, first = self._source._rows_at_once, 0
        while first < len(ordered):  # rows between those selected are read, but few at a time
            least = int(ordered[first])
            end = int(np.searchsorted(ordered, least + size))
            read = self._source.read(least, int(ordered[end - 1]) + 1)
            selected[order[first:end]] = read[ordered[first:end] - least]
            first = end
        return selected

    def select(self, names: Sequence[str]) -> Source:
        """Return the same rows of some columns."""
        return SelectedRows(self._source.select(names), self._rows)


def check_names(wanted: Sequence[str], present: Sequence[str], description: str) -> None:
    """Raise an error unless all names are among those of the columns."""
    missing = [name for name in wanted if name not in present]
    if missing:
        some = ", ".join(map(repr, missing[:3]))
        known = ", ".join(map(repr, list(present)[:10]))
        raise ValueError(
            f"{description} has no column {some}; its columns are {known}"
            f"{', ...' if len(present) > 10 else ''}."
        )
    if not wanted:
        raise ValueError(f"no column of {description} is selected.")


def even_starts(n_rows: int, row_bytes: int, multiple: int = 1) -> np.ndarray:
    """Return the starts of blocks of equal size of about `BLOCK_BYTES`.

    Parameters
    ----------
    n_rows : int
    row_bytes : int
        Size of a row.
    multiple : int, default=1
        The number of rows of a block is a multiple of it, for files in chunks of as many rows.
    """
    chunks = max(1, BLOCK_BYTES // max(1, row_bytes * multiple))
    return np.append(np.arange(0, n_rows, chunks * multiple), n_rows)
