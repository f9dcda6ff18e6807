"""Columns of Arrow: tables, Parquet files and data sets, and what converts itself to them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sklearn_ae._sources.source import Source, check_names, even_starts

MAX_GROUP_BYTES = 16 * 2**20
"""Size of row groups above which they are read in parts, one after another."""

MAX_OPENED = 4
"""Number of files whose metadata are kept."""

TRANSPOSED_BYTES = 128
"""Bytes of a row that are written at once: two lines of the processor's cache."""


class ArrowTable(Source):
    """A table of Arrow in memory, or anything with a method that returns slices as tables."""

    def __init__(
        self, take: Any, n_rows: int, schema: Any, columns: Sequence[str] | None, called: str
    ) -> None:
        self._take = take
        self.description = called
        self._layout = layout_of(schema, columns, called)
        self.names, self.dtype = self._layout.names, self._layout.dtype
        width = self._layout.width
        if width is None:
            self.shape = (0, 0)
            first = to_rows(take(0, 1), self._layout, called)
            width = first.shape[1]
        self.shape = (n_rows, width)
        self.starts = even_starts(n_rows, width * self.dtype.itemsize)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Convert consecutive rows."""
        table = self._take(start, stop - start)
        rows = to_rows(table, self._layout, self.description)
        if rows.shape != (stop - start, *self.shape[1:]):
            raise ValueError(
                f"rows {start} to {stop} of {self.description} have the shape {rows.shape}, not "
                f"{(stop - start, *self.shape[1:])}: all rows need equally many values."
            )
        return rows


def open_table(table: Any, columns: Sequence[str] | None) -> Source:
    """Open a table of Arrow."""
    if columns is not None:
        check_names(columns, table.schema.names, "the Arrow table")
        table = table.select(list(columns))
    return ArrowTable(table.slice, table.num_rows, table.schema, None, "the Arrow table")


def open_dataset(dataset: Any, columns: Sequence[str] | None) -> Source:
    """Open a data set of Hugging Face."""
    rows = dataset.with_format("arrow")
    if columns is not None:
        check_names(columns, dataset.column_names, "the data set")
        rows = rows.select_columns(list(columns))
    if not len(rows):
        raise ValueError("the data set has no rows.")

    def take(start: int, n_rows: int) -> Any:
        return rows[start : start + n_rows]

    return ArrowTable(take, len(rows), take(0, 1).schema, columns, "the data set")


def open_lazy_frame(frame: Any, columns: Sequence[str] | None) -> Source:
    """Open a lazy frame of polars; each block is a query of its own."""
    import polars

    names = frame.collect_schema().names()
    if columns is not None:
        check_names(columns, names, "the lazy frame")
        frame = frame.select(list(columns))
    n_rows = int(frame.select(polars.len()).collect().item())

    def take(start: int, n_taken: int) -> Any:
        return frame.slice(start, n_taken).collect().to_arrow()

    return ArrowTable(take, n_rows, take(0, 0).schema, columns, "the lazy frame")


class RowGroup(NamedTuple):
    """Rows of a file that are read together.

    Attributes
    ----------
    fragment : pyarrow.dataset.Fragment
        Of the whole file, without its metadata, which take a kilobyte for each column of each
        row group.
    number : int or None
        Number of the row group; None if the file is no Parquet file.
    path : str
    n_rows : int
    """

    fragment: Any
    number: int | None
    path: str
    n_rows: int


class ArrowFiles(Source):
    """Parquet files, or any other data set of Arrow.

    The blocks are row groups; those of more than `MAX_GROUP_BYTES` are read in parts.
    """

    def __init__(self, dataset: Any, columns: Sequence[str] | None, called: str) -> None:
        self._dataset = dataset
        self.description = called
        self._layout = layout_of(dataset.schema, columns, called)
        self.names, self.dtype = self._layout.names, self._layout.dtype
        self._groups: list[RowGroup] = []
        self._stamps: dict[str, tuple[int, int] | None] = {}
        for fragment in dataset.get_fragments():
            self._add(fragment)
        n_rows = sum(group.n_rows for group in self._groups)
        if not n_rows:
            raise ValueError(f"{called} has no rows.")
        self._first = np.concatenate([[0], np.cumsum([group.n_rows for group in self._groups])])
        width = self._layout.width
        if width is None:
            group = self._groups[0]
            head = _copy(group.fragment).head(1, columns=self._layout.columns)
            width = to_rows(head, self._layout, called).shape[1]
            self._layout = self._layout._replace(width=width)
        self.shape = (n_rows, width)
        self.starts = self._first
        self._reader: _GroupReader | None = None
        self._opened: dict[str, Any] = {}

    def _add(self, fragment: Any) -> None:
        """Add the row groups of a file, after a look at its columns."""
        path = getattr(fragment, "path", "") or "the data in memory"
        try:
            opened = _copy(fragment)
            self._check_columns(opened, path)
            if hasattr(opened, "row_groups"):
                sizes = [(each.id, each.num_rows) for each in opened.row_groups]
                groups = [RowGroup(fragment, number, path, size) for number, size in sizes]
            else:
                groups = [RowGroup(fragment, None, path, opened.count_rows())]
        except (OSError, _arrow_error()) as error:
            raise _unreadable(path, error) from error
        self._groups += [group for group in groups if group.n_rows]
        self._stamps[path] = _stamp(path)

    def _check_columns(self, fragment: Any, path: str) -> None:
        """Raise an error unless a file has the columns of the others, of the same types."""
        own = fragment.physical_schema
        for name in self._layout.columns:
            expected = self._dataset.schema.field(name).type
            place = own.get_field_index(name)
            if place < 0:
                if name in _partition_names(fragment):
                    continue
                raise ValueError(
                    f"{path} has no column {name!r}, which the other files have; select columns "
                    f"that all files have with open_source(X, columns=[...])."
                )
            if own.field(place).type != expected:
                raise ValueError(
                    f"column {name!r} has the type {own.field(place).type} in {path}, but "
                    f"{expected} in {self._groups[0].path if self._groups else 'the schema'}; "
                    f"write all files with one type."
                )

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read rows of one row group; the parts of a large one are best read in their order."""
        number = int(np.searchsorted(self._first, start, side="right")) - 1
        group, first = self._groups[number], int(self._first[number])
        if stop > self._first[number + 1]:
            parts = [self.read(start, int(self._first[number + 1]))]
            parts.append(self.read(int(self._first[number + 1]), stop))
            return np.concatenate(parts)
        self._check_unchanged(group.path)
        try:
            table = self._read_part(number, start - first, stop - first)
        except (OSError, _arrow_error()) as error:
            self._reader = None
            raise _unreadable(group.path, error) from error
        if table.num_rows != stop - start:
            raise OSError(f"{group.path} has fewer rows than when it was opened.")
        return to_rows(table, self._layout, group.path)

    def _check_unchanged(self, path: str) -> None:
        """Raise an error if a file was written, or removed, since it was opened."""
        stamp = self._stamps[path]
        if stamp is not None and _stamp(path) != stamp:
            state = "was changed" if os.path.exists(path) else "has disappeared"
            raise OSError(f"{path} {state} since it was opened; open the data again.")

    def _read_part(self, number: int, start: int, stop: int) -> Any:
        """Read some rows of a row group as a table."""
        reader = self._reader
        if reader is None or reader.number != number or reader.position != start:
            # At most about sixteen parts of a group at a time are held by the reader.
            group = self._groups[number]
            fragment = self._fragment_of(group)
            reader = _GroupReader(number, group, fragment, self._layout, self._dataset.schema)
            reader.skip(start)
        self._reader = reader
        table = reader.take(stop - start)
        if reader.position >= self._groups[number].n_rows:
            self._reader = None
        return table

    def _fragment_of(self, group: RowGroup) -> Any:
        """Return a row group of a file; the metadata of the last few files are kept."""
        opened = self._opened.pop(group.path, None)
        if opened is None:
            opened = _copy(group.fragment)
        self._opened[group.path] = opened  # as the last one
        while len(self._opened) > MAX_OPENED:
            self._opened.pop(next(iter(self._opened)))
        return opened if group.number is None else opened.subset(row_group_ids=[group.number])

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without open files."""
        return {**super().__getstate__(), "_reader": None, "_opened": {}}


class _GroupReader:
    """Reads one row group from its start to its end."""

    def __init__(
        self, number: int, group: RowGroup, fragment: Any, layout: Layout, schema: Any
    ) -> None:
        self.number = number
        self.position = 0
        self._rest: list[Any] = []
        self._layout = layout
        self._schema = schema
        self._batches = self._open(group, fragment)

    def _open(self, group: RowGroup, fragment: Any) -> Iterator[Any]:
        columns, schema = self._layout.columns, self._schema
        n_bytes = group.n_rows * (self._layout.width or 1) * 8
        if n_bytes <= MAX_GROUP_BYTES:
            table = fragment.to_table(columns=columns, schema=schema, use_threads=False)
            return iter(table.to_batches())
        from pyarrow.dataset import ParquetFragmentScanOptions

        options: dict[str, Any] = {}
        if group.number is not None:  # its file in small pieces, not as a whole
            options["fragment_scan_options"] = ParquetFragmentScanOptions(
                use_buffered_stream=True, buffer_size=2**16, pre_buffer=False
            )
        scanner = fragment.scanner(
            columns=columns,
            schema=schema,
            batch_size=8192,
            batch_readahead=1,
            fragment_readahead=1,
            use_threads=False,
            **options,
        )
        return iter(scanner.to_batches())

    def skip(self, n_rows: int) -> None:
        """Read rows that are not needed."""
        while self.position < n_rows:
            self.take(min(65536, n_rows - self.position))

    def take(self, n_rows: int) -> Any:
        """Return the next rows as a table; fewer at the end of the file."""
        import pyarrow

        found, parts = 0, []
        while found < n_rows:
            batch = self._rest.pop() if self._rest else next(self._batches, None)
            if batch is None:
                break
            if found + batch.num_rows > n_rows:
                self._rest.append(batch.slice(n_rows - found))
                batch = batch.slice(0, n_rows - found)
            found += batch.num_rows
            parts.append(batch)
        self.position += found
        schema = pyarrow.schema([self._schema.field(name) for name in self._layout.columns])
        return pyarrow.Table.from_batches(parts, schema)


def open_files(path: Any, columns: Sequence[str] | None) -> Source:
    """Open Parquet files by a path, a folder or a pattern such as ``"data/*.parquet"``."""
    from pyarrow import dataset

    text = os.fspath(path)
    if "://" in text:  # a remote file system of Arrow
        return ArrowFiles(dataset.dataset(text, format="parquet"), columns, text)
    if glob.has_magic(text) and not os.path.exists(text):
        found: Any = sorted(glob.glob(text, recursive=True))
        if not found:
            raise FileNotFoundError(f"no file matches {text!r}.")
    elif not os.path.exists(text):
        raise FileNotFoundError(f"{text!r} does not exist.")
    else:
        found = text
    if isinstance(found, str) and os.path.isfile(found) and not _is_parquet(found):
        raise ValueError(
            f"{text!r} is no Parquet file. Open other files with their library, for example "
            f"numpy.load(path, mmap_mode='r'), h5py.File(path)[name] or polars.scan_csv(path)."
        )
    try:
        return ArrowFiles(dataset.dataset(found, format="parquet"), columns, text)
    except _arrow_error() as error:
        raise _unreadable(text, error) from error


def open_arrow_dataset(dataset: Any, columns: Sequence[str] | None) -> Source:
    """Open a data set of Arrow.

    Raises
    ------
    ValueError
        If the data set is filtered: its row groups would have other numbers of rows.
    """
    try:
        dataset.get_fragments()
    except ValueError as error:
        raise ValueError(
            "the Arrow data set is filtered; write the rows that are left to a file with "
            "pyarrow.dataset.write_dataset, and open that."
        ) from error
    return ArrowFiles(dataset, columns, "the Arrow data set")


class Layout(NamedTuple):
    """Columns of a table that make up a sample.

    Attributes
    ----------
    columns : list of str
        Columns that are read.
    names : list of str or None
        Names of the features. None: they are the values of one column of lists.
    dtype : numpy.dtype
        float32 if all columns are float32 or narrower, else float64.
    width : int or None
        Number of features; None: that of the lists, which the type does not tell.
    """

    columns: list[str]
    names: list[str] | None
    dtype: np.dtype
    width: int | None


def layout_of(schema: Any, columns: Sequence[str] | None, description: str) -> Layout:
    """Return how columns make up a sample.

    Raises
    ------
    ValueError
        If a column is missing, or has no numbers.
    """
    import pyarrow

    names = list(schema.names if columns is None else columns)
    check_names(names, schema.names, description)
    types = [schema.field(name).type for name in names]
    if len(names) == 1 and _is_list(types[0]):
        value = types[0].value_type
        if _is_number(value):
            width = getattr(types[0], "list_size", None)
            return Layout(names, None, _dtype_of([value]), width)
    for name, kind in zip(names, types, strict=True):
        if not _is_number(kind):
            raise ValueError(
                f"column {name!r} of {description} has the type {kind}, not one of numbers; "
                f"select columns with open_source(X, columns=[...]), or load the data as a data "
                f"frame, whose categories are encoded."
            )
    assert isinstance(schema, pyarrow.Schema)
    return Layout(names, names, _dtype_of(types), len(names))


def to_rows(table: Any, layout: Layout, description: str) -> np.ndarray:
    """Return the rows of a table as a matrix, with NaN for null."""
    if layout.names is None:
        return _lists_to_rows(table.column(0), layout, description)
    columns = [_to_numbers(column, layout.dtype) for column in table.columns]
    rows = np.empty((table.num_rows, len(columns)), layout.dtype)
    width = TRANSPOSED_BYTES // layout.dtype.itemsize
    for first in range(0, len(columns), width):
        part = slice(first, first + width)
        rows[:, part] = np.stack(columns[part]).T
    return rows


def _lists_to_rows(column: Any, layout: Layout, description: str) -> np.ndarray:
    """Return lists of equal length as rows."""
    lists = column.combine_chunks()
    if lists.null_count:
        raise ValueError(f"column {layout.columns[0]!r} of {description} has missing lists.")
    values = _to_numbers(lists.flatten(), layout.dtype)
    if len(lists) and len(values) % len(lists):
        raise ValueError(
            f"lists in column {layout.columns[0]!r} of {description} have different lengths."
        )
    lengths = lists.value_lengths() if hasattr(lists, "value_lengths") else None
    if lengths is not None and len(lists) and len(lengths.unique()) > 1:
        raise ValueError(
            f"lists in column {layout.columns[0]!r} of {description} have different lengths."
        )
    return values.reshape(len(lists), -1)


def _to_numbers(column: Any, dtype: np.dtype) -> np.ndarray:
    """Return a column as an array; null becomes NaN."""
    import pyarrow
    from pyarrow import compute

    if not pyarrow.types.is_floating(column.type):
        column = compute.cast(column, pyarrow.float64(), safe=False)  # rounded, as by NumPy
    values: np.ndarray = np.asarray(
        column.to_numpy() if hasattr(column, "chunks") else column.to_numpy(zero_copy_only=False)
    )
    return values.astype(dtype, copy=False)


def _is_number(kind: Any) -> bool:
    """Whether a type of Arrow is one of numbers."""
    from pyarrow import types

    return bool(
        types.is_floating(kind)
        or types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_decimal(kind)
    )


def _is_list(kind: Any) -> bool:
    """Whether a type of Arrow is one of lists."""
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _dtype_of(kinds: Sequence[Any]) -> np.dtype:
    """Return float32 if all types are at most float32, else float64."""
    from pyarrow import types

    single = all(types.is_float32(kind) or types.is_float16(kind) for kind in kinds)
    return np.dtype(np.float32 if single else np.float64)


def _copy(fragment: Any) -> Any:
    """Return a fragment of the same file, so that its metadata are not kept."""
    if not hasattr(fragment, "filesystem"):
        return fragment
    return fragment.format.make_fragment(
        fragment.path, fragment.filesystem, fragment.partition_expression
    )


def _is_parquet(path: str) -> bool:
    """Whether a file begins as Parquet files do."""
    with open(path, "rb") as file:
        return file.read(4) in (b"PAR1", b"PARE")


def _stamp(path: str) -> tuple[int, int] | None:
    """Return time and size of a local file, which change when it is written."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size


def _partition_names(fragment: Any) -> set[str]:
    """Return the names of columns whose values are in the path of a file."""
    from pyarrow.dataset import get_partition_keys

    return set(get_partition_keys(fragment.partition_expression))


def _arrow_error() -> Any:
    """Return the class of Arrow's errors."""
    from pyarrow import ArrowException

    return ArrowException


def _unreadable(path: str, error: Exception) -> OSError:
    """Return the error of a file that cannot be read."""
    detail = str(error).splitlines()[0] if str(error) else type(error).__name__
    return OSError(
        f"{path} cannot be read: it may be truncated, or no Parquet file, or have been removed "
        f"({detail})"
    )
