"""Results that are written to a file while they are computed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np


def write_parquet(path: Any, blocks: Iterable[np.ndarray], names: list[str]) -> None:
    """Write blocks of rows as the row groups of a Parquet file.

    The file appears under its name when it is complete: an error leaves what was there before.

    Parameters
    ----------
    path : str or path
    blocks : iterable of ndarray of shape (n_rows, n_columns)
        Evaluated one after another.
    names : list of str
        Names of the columns.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    OSError
        If the file cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            "pyarrow is needed to write Parquet files; install it, for example by: "
            "pip install pyarrow"
        ) from error
    path = os.fspath(path)
    partial = f"{path}.{uuid.uuid4().hex}.partial"  # another process may write as well
    writer = None
    try:
        for block in blocks:
            columns = [np.ascontiguousarray(column) for column in block.T]
            table = pyarrow.table(columns, names=names)
            if writer is None:
                writer = parquet.ParquetWriter(partial, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
            writer = None
            os.replace(partial, path)
    finally:
        if writer is not None:
            writer.close()
        if os.path.exists(partial):
            os.remove(partial)
