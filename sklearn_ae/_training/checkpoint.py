"""Checkpoints: files from which an interrupted fit resumes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save
from sklearn.base import BaseEstimator

from sklearn_ae._training.atomic import write_atomically

_FILES: ContextVar[list[Path] | None] = ContextVar("files of the fit in this thread", default=None)
"""Checkpoints that the current fit has used; None outside of a fit. A thread has its own value."""

CHECKPOINT_PATTERN = "[0-9a-f]" * 32 + ".checkpoint"
"""Pattern of the names of checkpoints."""

PARTIAL_PATTERN = "." + "[0-9a-f]" * 16 + ".part"
"""Pattern of the names of temporary files, which remain if a process is killed while it writes."""

SECONDS_PER_DAY = 24 * 3600.0

PARTIAL_MAX_AGE = SECONDS_PER_DAY
"""Age in seconds after which no process is still writing a temporary file."""

TEXT = "text"
"""Name of the array that holds JSON."""

DIGEST_SIZE = 32
"""Size in bytes of the SHA-256 digest at the start of a file."""


class FitCheckpoint(BaseEstimator):
    """Save the state of a fit in a file, from which an interrupted fit resumes.

    Pass it to an estimator in the list `callbacks`. If `fit` is called again with the same data,
    parameters and versions, also in another process, it resumes from the last checkpoint and
    gives bit-identical weights. A stack skips the layers that were completed. When the fit has
    finished, its files are deleted.

    The name of a file is a hash of everything that the training depends on. Several fits, such as
    those of a search, can therefore share a folder, and a fit with other data or parameters starts
    from the beginning.

    Parameters
    ----------
    folder : str or Path
        Folder of the files. It is created if it does not exist.
    every : int, default=10
        Number of epochs between two checkpoints.
    version : int or str, default=None
        Version of custom code, which is not in a package that has a version: a callable `loss` or
        `noise`, a custom network, callback or estimator. Required if there is such code: change it
        whenever the code, or a function that it calls, changes. A fit resumes only from files of
        the same version.
    max_age : float, default=30
        Age in days, since the last change, after which a file is deleted when another fit starts
        in the folder. ``numpy.inf``: never.

    Notes
    -----
    The estimator needs an integer `random_state`, so that the second fit draws the same random
    numbers. Other callbacks start from the beginning; skorch's ``LRScheduler`` and
    ``EarlyStopping``, whose state changes the training, raise an error. A callable is identified
    by its `version`, its name, its own code, its defaults and attributes, and the variables of its
    closure. Files hold arrays and JSON, and reading them executes no code. If a file is corrupted,
    the fit warns and starts from the beginning. Several processes may share a folder.
    `partial_fit` writes no checkpoints.

    Examples
    --------
    >>> import os
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import Autoencoder, FitCheckpoint
    >>> X = load_iris().data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = FitCheckpoint(folder, every=50)
    ...     autoencoder = Autoencoder(callbacks=[checkpoint], random_state=0).fit(X)
    ...     print("files after the fit:", os.listdir(folder))
    files after the fit: []
    """

    def __init__(
        self,
        folder: str | Path,
        every: int = 10,
        version: int | str | None = None,
        max_age: float = 30,
    ) -> None:
        self.folder = folder
        self.every = every
        self.version = version
        self.max_age = max_age

    def check(self, random_state: Any, others: list[Any]) -> None:
        """Validate the parameters, and refuse a fit that a second call could not repeat.

        Parameters
        ----------
        random_state : object
            Of the estimator.
        others : list of callbacks
            The other callbacks of the estimator.

        Raises
        ------
        ValueError
            If a parameter is invalid, `random_state` is not an integer, there is a second
            checkpoint, or a callback changes the training by its state.
        """
        if not isinstance(self.every, Integral) or self.every < 1:
            raise ValueError(f"every must be a positive integer, got {self.every!r}.")
        if not isinstance(self.version, (Integral, str, type(None))):
            raise ValueError(f"version must be an int, a str or None, got {self.version!r}.")
        if not isinstance(self.max_age, Real) or not self.max_age > 0:
            raise ValueError(f"max_age must be a positive number, got {self.max_age!r}.")
        if any(isinstance(other, FitCheckpoint) for other in others):
            raise ValueError("callbacks must hold at most one FitCheckpoint; remove the others.")
        if not isinstance(random_state, Integral):
            raise ValueError(
                f"FitCheckpoint needs an integer random_state, got {random_state!r}: a second "
                f"fit would draw other random numbers."
            )
        if not others:
            return
        # Imported only if there are callbacks: skorch doubles the time of an import.
        from sklearn_ae._training.skorch_callbacks import controls_training

        for other in others:
            if controls_training(other):
                raise ValueError(
                    f"FitCheckpoint cannot save the state of {type(other).__name__}; use "
                    f"learning_rate and n_iter_no_change instead."
                )

    def path_of(self, fingerprint: str) -> Path:
        """Return the path of the checkpoint of a training run, which is deleted after the fit."""
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{fingerprint}.checkpoint"
        files = _FILES.get()
        if not files:  # the first training run of a fit
            _delete_stale(folder, self.max_age * SECONDS_PER_DAY)
        if files is not None:
            files.append(path)
        return path


def without_name(callback: Any) -> Any:
    """Return the callback of a ``(name, callback)`` pair of skorch, or the callback itself."""
    if isinstance(callback, tuple) and len(callback) == 2 and isinstance(callback[0], str):
        return callback[1]
    return callback


def checkpoints_among(callbacks: list[Any] | None) -> list[FitCheckpoint]:
    """Return the checkpoints in an estimator's `callbacks`."""
    found = map(without_name, callbacks or [])
    return [callback for callback in found if isinstance(callback, FitCheckpoint)]


def _delete_stale(folder: Path, max_age: float) -> None:
    """Delete stale checkpoints, older than `max_age` seconds, and stale temporary files."""
    now = time.time()
    for pattern, limit in ((CHECKPOINT_PATTERN, max_age), (PARTIAL_PATTERN, PARTIAL_MAX_AGE)):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):  # another process may have deleted it
                if now - path.stat().st_mtime > limit:
                    path.unlink()


def write_checkpoint(path: Path, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    """Write a checkpoint.

    Parameters
    ----------
    path : Path
    arrays : dict of ndarray
    values : dict
        Other values, written as JSON.

    Warns
    -----
    RuntimeWarning
        If the file cannot be written. The fit itself is not affected.
    """
    # With its name: a file that was renamed belongs to another training run.
    text = json.dumps(values | {"name": path.stem}).encode()
    content = save(arrays | {TEXT: np.frombuffer(text, np.uint8)})
    try:
        write_atomically(path, hashlib.sha256(content).digest() + content)
    except OSError as error:
        warnings.warn(
            f"the checkpoint {path} could not be written ({error}); the fit continues without it.",
            RuntimeWarning,
            stacklevel=2,
        )


def read_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Read a checkpoint.

    Returns
    -------
    tuple of two dicts or None
        The arrays and values that :func:`write_checkpoint` wrote, or None without a valid file.

    Warns
    -----
    RuntimeWarning
        If the checkpoint cannot be read or is corrupted.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # a process that did the same fit may have deleted it just now
        return None
    except OSError as error:
        _warn(path, f"could not be read ({error})")
        return None
    digest, content = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    if digest == hashlib.sha256(content).digest():
        arrays = load(content)
        values = json.loads(arrays.pop(TEXT).tobytes())
        if values.pop("name") == path.stem:
            return arrays, values
    _warn(path, "is corrupted: its content does not match its digest and its name")
    return None


def _warn(path: Path, reason: str) -> None:
    warnings.warn(
        f"the checkpoint {path} {reason}; the fit starts from the beginning.",
        RuntimeWarning,
        stacklevel=2,
    )


@contextlib.contextmanager
def deleting_checkpoints() -> Iterator[None]:
    """Delete the checkpoints of the fit in the block, if it finishes without an error.

    The checkpoints of a fit within another fit, such as that of a stack's layer, are deleted when
    the outer fit finishes: it may still be interrupted.
    """
    if _FILES.get() is not None:
        yield
        return
    token = _FILES.set([])
    try:
        yield
        for path in _FILES.get() or ():
            path.unlink(missing_ok=True)
    finally:
        _FILES.reset(token)
