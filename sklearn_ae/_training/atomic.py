"""Files that are either the old ones or the new ones, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, or leave the one that is there.

    Parameters
    ----------
    path : Path
        In a folder that exists. A file that is there keeps its permissions.
    content : bytes

    Raises
    ------
    FileExistsError
        If there is something that is no regular file, such as a device or a pipe.
    OSError
        If the folder cannot be written to or the disk is full. What was there is then intact, and
        nothing is left beside it.
    """
    if _is_special(path):
        raise FileExistsError(
            errno.EEXIST, "There is something that is no regular file", str(path)
        )
    beside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):  # another process may delete it meanwhile
            shutil.copymode(path, beside)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _is_special(path: Path) -> bool:
    """Whether there is something that is neither a regular file nor a folder."""
    try:  # looked at once: another process may delete a file between two looks
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
