"""Files in which a fit keeps what it has reached."""

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

OURS, UNFINISHED = "[0-9a-f]" * 32 + ".checkpoint", "." + "[0-9a-f]" * 16 + ".part"
"""Names of the files in a folder: whole ones, and what a killed write leaves."""

DAY = 24 * 3600.0
"""In seconds."""

PART_AGE = DAY
"""Age from which nobody is writing a file any more, in seconds."""

TEXT, DIGEST_SIZE = "text", 32
"""Name of the array that is JSON, and bytes of the digest in front of the arrays."""


class FitCheckpoint(BaseEstimator):
    """Keep what a fit has reached in a file, so that a killed fit can go on.

    Give it to an estimator among its `callbacks`. When `fit` is called again with the same data,
    parameters and versions, in another process say, it goes on from the last file, to the same
    weights, bit for bit, as if nothing had happened. A stack finds the layers that were done.
    When the fit is over its files are deleted.

    A file is named by a hash of everything that the training depends on, so several fits, such
    as those of a search, can share a folder, and one of other data or parameters starts anew.

    Parameters
    ----------
    folder : str or Path
        Where the files are put. It is made if it is not there.
    every : int, default=10
        Number of epochs from one file to the next.
    version : int or str, default=None
        Version of code that is no package's with a version of its own: of a callable `loss` or
        `noise`, of a network, a callback or an estimator of your own. Needed where there is such
        code: choose another one whenever the code, or what it calls, has changed. A fit goes on
        only from files of the same version.
    max_age : float, default=30
        Days after which a file that nobody has written to is deleted, when another fit begins in
        the folder. ``numpy.inf``: never.

    Notes
    -----
    The estimator needs an integer `random_state`: only then does the second attempt draw what
    the first one drew. Other callbacks begin anew; skorch's ``LRScheduler`` and
    ``EarlyStopping``, which change the training by what they remember, are refused. A callable is
    known by its `version`, its name, its own code, its defaults and attributes, and what it closes
    over. Files hold arrays and JSON, and reading them executes nothing; from one that is damaged
    the fit warns and starts anew. Several processes may share a folder. `partial_fit` writes none.

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
    ...     print("left when all is done:", os.listdir(folder))
    left when all is done: []
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
        """Refuse what a second attempt could not repeat."""
        if not isinstance(self.every, Integral) or self.every < 1:
            raise ValueError(f"every must be a positive integer, got {self.every!r}.")
        if not isinstance(self.version, (Integral, str, type(None))):
            raise ValueError(f"version must be an int, a str or None, got {self.version!r}.")
        if not isinstance(self.max_age, Real) or not self.max_age > 0:
            raise ValueError(f"max_age must be a positive number, got {self.max_age!r}.")
        if any(isinstance(other, FitCheckpoint) for other in others):
            raise ValueError("callbacks has room for one FitCheckpoint, but there are more.")
        if not isinstance(random_state, Integral):
            raise ValueError(
                f"FitCheckpoint needs an integer random_state, got {random_state!r}: another "
                f"attempt at the fit would draw other numbers."
            )
        for other in others:
            if {cls.__name__ for cls in type(other).__mro__} & {"LRScheduler", "EarlyStopping"}:
                raise ValueError(
                    f"FitCheckpoint cannot keep the state of {type(other).__name__}; use "
                    f"learning_rate and n_iter_no_change instead."
                )

    def path_of(self, fingerprint: str) -> Path:
        """Return the file of a training run; it is deleted when the fit is over."""
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{fingerprint}.checkpoint"
        files = _FILES.get()
        if not files:  # the first training run of a fit
            _clean(folder, self.max_age * DAY)
        if files is not None:
            files.append(path)
        return path


def without_name(callback: Any) -> Any:
    """Return the callback of a pair of a name and a callback, as skorch takes them."""
    if isinstance(callback, tuple) and len(callback) == 2 and isinstance(callback[0], str):
        return callback[1]
    return callback


def checkpoints_among(callbacks: list[Any] | None) -> list[FitCheckpoint]:
    """Return those of an estimator's `callbacks` that are checkpoints."""
    found = map(without_name, callbacks or [])
    return [callback for callback in found if isinstance(callback, FitCheckpoint)]


def _clean(folder: Path, max_age: float) -> None:
    """Delete what was left by fits that were given up, and by writes that were killed.

    Other processes may be at work in the folder: files that are there no more are no error.
    """
    now = time.time()
    for pattern, limit in ((OURS, max_age), (UNFINISHED, PART_AGE)):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if now - path.stat().st_mtime > limit:
                    path.unlink()


def write_checkpoint(path: Path, arrays: dict[str, np.ndarray], said: dict[str, Any]) -> None:
    """Write a file; where that is impossible warn, for the fit itself is well."""
    text = json.dumps(said | {"name": path.stem}).encode()
    content = save(arrays | {TEXT: np.frombuffer(text, np.uint8)})
    try:
        write_atomically(path, hashlib.sha256(content).digest() + content)
    except OSError as error:
        warnings.warn(
            f"the checkpoint {path} could not be written ({error}); the fit goes on without.",
            RuntimeWarning,
            stacklevel=2,
        )


def read_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Read a file; None if there is none.

    Warns
    -----
    RuntimeWarning
        If it is not what :func:`write_checkpoint` wrote there. The result is then None.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # perhaps only just, by a process that has done the same fit
        return None
    except OSError as error:
        _warn_of(path, f"could not be read ({error})")
        return None
    digest, content = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    if digest == hashlib.sha256(content).digest():
        arrays = load(content)
        said = json.loads(arrays.pop(TEXT).tobytes())
        if said.pop("name") == path.stem:
            return arrays, said
    _warn_of(path, "is damaged: its content is not what its digest says")
    return None


def _warn_of(path: Path, reason: str) -> None:
    warnings.warn(
        f"the checkpoint {path} {reason}; the fit starts anew.", RuntimeWarning, stacklevel=2
    )


@contextlib.contextmanager
def deleting_checkpoints() -> Iterator[None]:
    """Delete the files of the fit within, once it has ended well.

    A fit within a fit leaves that to the outer one, which may still be killed.
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
