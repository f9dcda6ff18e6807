"""Rows of a data source, read ahead in a thread and shuffled block by block.

A :class:`Stream` stands where an array does in :class:`Samples`: its rows are selected by slices
and integer arrays. It holds a few windows of consecutive or shuffled blocks in memory.
"""

from __future__ import annotations

import math
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from sklearn_ae._training.moments import Moments

MAX_BLOCK_BYTES = 8 * 2**20
"""Size of a block above which it is read in parts."""

WINDOW_BYTES = 24 * 2**20
"""Size of the blocks of which the samples are shuffled together; two windows are in memory."""


CHUNK_BYTES = 2**20
"""Size in float64 of the rows of a stream that are converted at once."""

ABSENT = np.iinfo(np.int64).min
"""Shift of the rows of blocks that are not in a window."""


class BlockReader(Protocol):
    """What a stream reads: see :class:`sklearn_ae.sources.Source`."""

    dtype: np.dtype
    starts: np.ndarray
    description: str

    @property
    def lock(self) -> Any:
        """Held while rows are read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, followed by the shape of a row."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read consecutive rows of one block."""


class Window(NamedTuple):
    """Some blocks in memory.

    Attributes
    ----------
    values : ndarray of shape (at_least_n_rows, n_features)
    blocks : list of int
        The blocks, in the order of their rows in `values`.
    """

    values: np.ndarray
    blocks: list[int]


class Ranges(NamedTuple):
    """What one pass over all rows finds out.

    Attributes
    ----------
    least, most : float
        Smallest and largest value that is not missing; infinite if there is none.
    has_missing : bool
    moments : tuple of Tensor of shape (n_features,), float64
        Mean and variance of each feature.
    """

    least: float
    most: float
    has_missing: bool
    moments: tuple[torch.Tensor, torch.Tensor]


class Stream:
    """Rows of a source, which are read ahead of their use.

    Parameters
    ----------
    source : Source
    allows_missing : bool
        Whether values may be NaN.

    Attributes
    ----------
    shape : tuple of int
        (n_samples, n_features): rows of several dimensions are flattened.
    sample_shape : tuple of int
        Shape of a row of the source.
    dtype : numpy.dtype
    starts : ndarray of shape (n_blocks + 1,)
        Row at which each block starts, and the number of rows.
    """

    def __init__(self, source: BlockReader, allows_missing: bool = False) -> None:
        self._source = source
        self._allows_missing = allows_missing
        self.sample_shape = tuple(source.shape[1:])
        self.shape = source.shape[0], math.prod(self.sample_shape)
        self.dtype = source.dtype
        row_bytes = self.shape[1] * self.dtype.itemsize
        at_most = max(1, MAX_BLOCK_BYTES // max(1, row_bytes))
        self.starts, self._runs = _parts(np.asarray(source.starts), at_most)
        self._window_rows = max(1, WINDOW_BYTES // max(1, row_bytes))
        self._forget()

    def _forget(self) -> None:
        """Forget what was read, and the thread that reads."""
        self._blocks: dict[int, np.ndarray] = {}  # the last ones that were read in their order
        self._ahead: tuple[int, Future[np.ndarray]] | None = None
        self._window: Window | None = None
        self._shift: np.ndarray | None = None  # from rows of each block to their place in it
        self._carried = np.empty(0, np.int64), np.empty((0, self.shape[1]), self.dtype)
        self._unused: list[np.ndarray] = []
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without what was read."""
        dropped = {"_blocks", "_ahead", "_window", "_shift", "_carried", "_unused", "_pool"}
        return {name: value for name, value in self.__dict__.items() if name not in dropped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def is_temporary(self) -> bool:
        """Whether the rows are a copy in a temporary file."""
        return isinstance(self._source, TemporaryRows)

    def selected(self, rows: np.ndarray) -> Stream:
        """Return a stream of some rows of a source."""
        source: Any = self._source
        return Stream(source[rows], self._allows_missing)

    # Reading

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return some rows. The result may be a view and must not be modified.

        Parameters
        ----------
        rows : slice or ndarray of int
        """
        if isinstance(rows, slice):
            first, last, _ = rows.indices(len(self))
            block = self._block_of(first)
            if first < last <= self.starts[block + 1]:
                start = int(self.starts[block])
                return self._block(block)[first - start : last - start]
            rows = np.arange(first, last)
        found = np.searchsorted(self.starts, rows, side="right") - 1
        if self._window is None or self._shift is None:
            return self._collect(rows, found)
        shift = self._shift[found]
        inside = shift != ABSENT
        if inside.all():
            chosen: np.ndarray = self._window.values[rows + shift]
            return chosen
        result = np.empty((len(rows), self.shape[1]), self.dtype)
        result[inside] = self._window.values[(rows + shift)[inside]]
        result[~inside] = self._collect(rows[~inside], found[~inside])
        return result

    def _collect(self, rows: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Return rows that are not in the window, given the block of each."""
        kept, values = self._carried
        result = np.empty((len(rows), self.shape[1]), self.dtype)
        places = np.minimum(np.searchsorted(kept, rows), max(0, len(kept) - 1))
        here = kept[places] == rows if len(kept) else np.zeros(len(rows), bool)
        if here.any():
            result[here] = values[places[here]]
        for block in np.unique(found[~here]).tolist():
            own = (found == block) & ~here
            result[own] = self._block(block)[rows[own] - int(self.starts[block])]
        return result

    def _block_of(self, row: int) -> int:
        """Return the index of the block of a row."""
        return min(int(np.searchsorted(self.starts, row, side="right")), len(self.starts) - 1) - 1

    def _block(self, block: int) -> np.ndarray:
        """Return the rows of a block; if it has to be read, the next one is read ahead."""
        if block in self._blocks:
            return self._blocks[block]
        if self._ahead is not None and self._ahead[0] == block:
            values = self._ahead[1].result()
        else:
            values = self._read_block(block)
        self._ahead = None
        if block + 2 < len(self.starts):
            self._ahead = block + 1, self._submit(self._read_block, block + 1)
        self._blocks = {block: values}
        return values

    def _submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call a function in the thread that reads."""
        if self._process != os.getpid():  # a fork has no thread
            self._forget()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="sklearn_ae_reader")
        return self._pool.submit(function, *args)

    def _read_block(self, block: int) -> np.ndarray:
        """Read a block, and check its values."""
        start, stop = (int(each) for each in self.starts[block : block + 2])
        with self._source.lock:
            read = np.asarray(self._source.read(start, stop))
        if read.shape != (stop - start, *self.sample_shape):
            raise ValueError(
                f"rows {start} to {stop} of {self._source.description} have the shape "
                f"{read.shape}, not {(stop - start, *self.sample_shape)}."
            )
        values = read.reshape(stop - start, -1)
        self._check(values, start)
        return values

    def _check(self, values: np.ndarray, start: int) -> None:
        """Raise an error if values are infinite, or missing where they may not be."""
        if values.dtype.kind != "f" or np.isfinite(_sum(values)):
            return
        wrong = np.isinf(values) if self._allows_missing else ~np.isfinite(values)
        if not wrong.any():
            return
        row, column = (int(each) for each in np.argwhere(wrong)[0])
        kind = "infinity" if np.isinf(values[row, column]) else "NaN"
        names = getattr(self._source, "names", None)
        called = repr(names[column]) if names else str(column)
        raise ValueError(
            f"Input X contains {kind}: row {start + row}, column {called} of "
            f"{self._source.description}."
        )

    @property
    def chunk_size(self) -> int:
        """Number of rows that are converted at once."""
        return max(1, CHUNK_BYTES // (8 * max(1, self.shape[1])))

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the rows of each block, in their order."""
        for block in range(len(self.starts) - 1):
            yield self._block(block)

    @cached_property
    def ranges(self) -> Ranges:
        """What one pass over all rows finds out about them."""
        moments = Moments(self.shape[1], torch.float64, has_missing=True)
        least, most, has_missing = math.inf, -math.inf, False
        for values in self.blocks():
            has_missing |= values.dtype.kind == "f" and bool(np.isnan(_sum(values)))
            least = min(least, float(np.fmin.reduce(values, axis=None)))
            most = max(most, float(np.fmax.reduce(values, axis=None)))
            for start in range(0, len(values), self.chunk_size):
                rows = values[start : start + self.chunk_size]
                part = torch.from_numpy(rows.astype(np.float64))
                weight = part.new_full((len(part),), 1 / len(self))
                moments.add(part, weight)
        return Ranges(least, most, has_missing, moments.mean_and_variance())

    # Order

    def shuffled(
        self, index: np.ndarray | None, sizes: Iterable[int], generator: torch.Generator
    ) -> Iterator[torch.Tensor]:
        """Yield the samples of each batch of an epoch in random order.

        The blocks are drawn in random order, and the samples of as many blocks as a window holds
        are shuffled. The next window is read while the caller uses the present one.

        Parameters
        ----------
        index : ndarray of shape (n_samples,) or None
            Sorted rows of the samples. None: all.
        sizes : iterable of int
            Size of each batch; the last batch has what is left.
        generator : torch.Generator

        Yields
        ------
        Tensor of int64
            Positions of samples in `index`.
        """
        bounds = self.starts
        if index is not None:  # of one dtype: else all of the index would be converted
            bounds = np.searchsorted(index, self.starts.astype(index.dtype))
        plan = self._plan(bounds, generator)
        ahead: Future[Window] | None = None
        rest = torch.empty(0, dtype=torch.int64)
        remaining = iter(sizes)
        size = next(remaining)
        try:
            for number, blocks in enumerate(plan):
                window = self._read_window(blocks) if ahead is None else ahead.result()
                rows = np.sort(rest.numpy() if index is None else index[rest.numpy()])
                carried = rows.astype(np.int64), self[rows]
                self._show(window)
                self._carried = carried
                del window  # the next one takes its memory
                is_last = number + 1 == len(plan)
                if not is_last:
                    ahead = self._submit(self._read_window, plan[number + 1])
                own = np.concatenate([np.arange(bounds[b], bounds[b + 1]) for b in blocks])
                drawn = torch.randperm(len(own), generator=generator)
                order = torch.cat([rest, torch.from_numpy(own)[drawn]])
                start = 0
                while start + size <= len(order):
                    yield order[start : start + size]
                    start += size
                    size = next(remaining, size)
                rest = order[start:]
                if is_last and len(rest):
                    yield rest
        finally:
            if ahead is not None:
                ahead.cancel()
            self._show(None)
            self._unused = []

    def _show(self, window: Window | None) -> None:
        """Make a window the one in which rows are looked up."""
        if self._window is not None and window is not None:
            self._unused.append(self._window.values)
        self._window = self._shift = None
        self._carried = np.empty(0, np.int64), np.empty((0, self.shape[1]), self.dtype)
        if window is None:
            return
        self._blocks = {}
        sizes = np.diff(self.starts)[window.blocks]
        self._shift = np.full(len(self.starts) - 1, ABSENT)
        self._shift[window.blocks] = np.cumsum(sizes) - sizes - self.starts[window.blocks]
        self._window = window

    def _plan(self, bounds: np.ndarray, generator: torch.Generator) -> list[list[int]]:
        """Draw the blocks of each window of an epoch, without those that have no samples.

        Parts of a large block are read one after another: reading them in random order would
        read its beginning again and again.
        """
        plan: list[list[int]] = [[]]
        n_rows = 0
        for run in torch.randperm(len(self._runs), generator=generator).tolist():
            for block in range(*self._runs[run]):
                if bounds[block] == bounds[block + 1]:
                    continue
                size = int(self.starts[block + 1] - self.starts[block])
                if n_rows + size > self._window_rows and plan[-1]:
                    plan.append([])
                    n_rows = 0
                plan[-1].append(block)
                n_rows += size
        return plan

    def _read_window(self, blocks: Sequence[int]) -> Window:
        """Read some blocks into one array."""
        sizes = [int(self.starts[block + 1] - self.starts[block]) for block in blocks]
        # Memory that is freed and allocated again in two threads would leave gaps.
        shape = max(self._window_rows, sum(sizes)), self.shape[1]
        values = self._unused.pop() if self._unused else np.empty(shape, self.dtype)
        place = 0
        for block, size in zip(blocks, sizes, strict=True):
            values[place : place + size] = self._read_block(block)
            place += size
        return Window(values, list(blocks))


def _parts(starts: np.ndarray, at_most: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Divide large blocks; return the starts of all parts, and the parts of each block."""
    parts: list[int] = []
    runs = []
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        if start == stop:
            continue
        n_parts = -(-(stop - start) // at_most)
        size = -(-(stop - start) // n_parts)
        first = len(parts)
        parts += range(start, stop, size)
        runs.append((first, len(parts)))
    return np.array([*parts, int(starts[-1])]), runs


def _sum(values: np.ndarray) -> float:
    """Return a sum that is finite if all values are and it does not overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(values.sum(dtype=np.float64))


class TemporaryRows:
    """Rows in a temporary file without a name, which the system deletes when it is closed.

    Parameters
    ----------
    n_rows, n_features : int
    dtype : numpy.dtype

    Raises
    ------
    OSError
        If the folder of temporary files is full; the environment variable TMPDIR names it.
    """

    def __init__(self, n_rows: int, n_features: int, dtype: np.dtype) -> None:
        self.shape = n_rows, n_features
        self.dtype = np.dtype(dtype)
        self.description = "a temporary file"
        self._row_bytes = n_features * self.dtype.itemsize
        at_once = max(1, MAX_BLOCK_BYTES // max(1, self._row_bytes))
        self.starts = np.append(np.arange(0, n_rows, at_once), n_rows)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this object is
        self._file.truncate(n_rows * self._row_bytes)  # rows that are not written are zeros
        weakref.finalize(self, self._file.close)
        self.lock = threading.RLock()

    def write(self, start: int, values: np.ndarray) -> None:
        """Write consecutive rows."""
        with self.lock:
            self._file.seek(start * self._row_bytes)
            self._file.write(np.ascontiguousarray(values, self.dtype).data)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read consecutive rows."""
        values = np.empty((stop - start, self.shape[1]), self.dtype)
        with self.lock:
            self._file.seek(start * self._row_bytes)
            self._file.readinto(values.data)
        return values
