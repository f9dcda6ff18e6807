"""Atomic writing: whatever happens, a file has its old content or its new content."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file; if this fails, leave an existing file unchanged.

    Parameters
    ----------
    path : Path
        In an existing folder. An existing file keeps its permissions.
    content : bytes

    Raises
    ------
    FileExistsError
        If the path is not a regular file, but e.g. a device or a pipe.
    OSError
        If the folder does not exist or is not writable, or if the disk is full. An existing file
        is then unchanged, and no temporary file remains.
    """
    if _is_special(path):
        raise FileExistsError(errno.EEXIST, "The path exists and is no regular file", str(path))
    # In the same folder: a file can be renamed atomically within one file system only.
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with _created(temporary) as file:
            file.write(content)
            file.flush()
            # The content must be on the disk before the new name is: a power failure between
            # the two would leave an empty file under that name.
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):  # another process may delete it meanwhile
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _created(path: Path) -> BinaryIO:
    """Create a file; an error names the folder, since the user does not know the file."""
    try:
        return open(path, "xb")
    except OSError as error:
        message = f"The folder cannot be written to ({error.strerror})"
        if isinstance(error, FileNotFoundError):
            message = "The folder does not exist"
        # OSError chooses the class by the number, here that of the error.
        raise OSError(error.errno, message, str(path.parent)) from None


def _is_special(path: Path) -> bool:
    """Whether the path exists and is neither a regular file nor a folder."""
    try:  # one look only: another process may delete a file between two
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
