"""Files in which a fit keeps what it has reached."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from sklearn.base import BaseEstimator

from sklearn_ae._backend.files import write_atomically

_FILES: ContextVar[list[Path] | None] = ContextVar("files of the fit in this thread", default=None)


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

    Notes
    -----
    The estimator needs an integer `random_state`: only then does the second attempt draw what
    the first one drew. Other callbacks begin anew; skorch's ``LRScheduler`` and
    ``EarlyStopping``, which change the training by what they remember, are refused. A function
    given as a loss is known by its name and its own code, not by what that calls. Files hold
    arrays and JSON, and reading them executes nothing. `partial_fit` writes none.

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

    def __init__(self, folder: str | Path, every: int = 10) -> None:
        self.folder = folder
        self.every = every

    def check(self, random_state: Any, others: list[Any]) -> None:
        """Refuse what a second attempt could not repeat."""
        if not isinstance(self.every, Integral) or self.every < 1:
            raise ValueError(f"every must be a positive integer, got {self.every!r}.")
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
        path = folder / f"{fingerprint}.safetensors"
        files = _FILES.get()
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


def write_checkpoint(path: Path, arrays: dict[str, np.ndarray], said: dict[str, Any]) -> None:
    """Write a file; where that is impossible warn, for the fit itself is well."""
    content = save(arrays, {"sklearn_ae checkpoint": json.dumps(said)})
    try:
        write_atomically(path, content)
    except OSError as error:
        warnings.warn(
            f"the checkpoint {path} could not be written ({error}); the fit goes on without.",
            RuntimeWarning,
            stacklevel=2,
        )


def read_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Read a file; None if there is none.

    Raises
    ------
    ValueError
        If it is not what :func:`write_checkpoint` wrote.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as file:
            said = json.loads((file.metadata() or {})["sklearn_ae checkpoint"])
            return {name: file.get_tensor(name) for name in file.keys()}, said  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(not_whole(path)) from error


def not_whole(path: Path) -> str:
    """Say that a file is of no use, and what to do."""
    return f"{path} is not a whole checkpoint; delete it and fit again."


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
