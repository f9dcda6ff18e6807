"""Save estimators to files that contain data and no code: safetensors and JSON.

The format is that of safetensors. The arrays are those of the estimator and a digest; the metadata
have one entry, JSON with the version of the format, those of the libraries and the description of
the estimator (:mod:`sklearn_ae._files.description`).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import sklearn
import torch
from sklearn.base import BaseEstimator

from sklearn_ae._compat import BaseSearchCV
from sklearn_ae._estimator.state import building_with, map_location
from sklearn_ae._files.allowance import Allowance, json_memory, read_json
from sklearn_ae._files.description import Description
from sklearn_ae._files.modules import module_from_file
from sklearn_ae._files.rebuilding import Rebuilder
from sklearn_ae._files.trusted import Trusted, check_trusted
from sklearn_ae._training.atomic import write_atomically
from sklearn_ae._training.device import resolve_device
from sklearn_ae._training.isolation import isolated
from sklearn_ae._version import __version__

FORMAT = 1
"""Version of the format. Files of later versions are refused, those of earlier ones are read."""

ENTRY = "sklearn_ae"
"""Name of the entry of the metadata."""

DIGEST = "digest"
"""Name of the array that contains the digest of everything else."""

MAX_HEADER = 100_000_000
"""Largest number of bytes of a header that safetensors accepts."""

LONG = 100_000
"""Number of characters of a description above which it is read back before it is written.

Only such a description can take more memory than `load` allows."""

OTHER_KINDS = {
    b"\x80": "; it looks like a pickle (joblib.load reads it: call that only if you trust it)",
    b"PK": "; it looks like a zip archive, such as those of torch.save and skops",
}
"""First bytes of other kinds of files, and what they look like."""

MAX_MESSAGE = 1_000
"""Number of characters of an error that are shown: it may quote the content of the file."""

ARRAY_COST = 400
"""Bytes of memory of an array without its values."""


@isolated
def save(estimator: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Save an estimator to a file that is safe to load.

    The file contains values and arrays, no code and no pickle; :func:`load` reads it. It is
    written to a temporary file in the same folder, which then replaces `path`: after an error, a
    full disk or a power cut an existing file is unchanged.

    Parameters
    ----------
    estimator : BaseEstimator
        An estimator of this package, fitted or not, or one of scikit-learn, for example a
        ``Pipeline`` that contains estimators of this package. Of a fitted search, such as
        ``GridSearchCV``, its ``best_estimator_`` is saved.
    path : str or path-like
        Path of the file. The usual suffix is ``.safetensors``.

    Raises
    ------
    ValueError
        If a file cannot contain some value of the estimator, for example a callback, or if a
        fitted search has no best estimator; no file is written then.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import Autoencoder, load, save
    >>> X = load_iris().data
    >>> autoencoder = Autoencoder(2, max_iter=5, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(autoencoder, os.path.join(folder, "iris.safetensors"))
    ...     again = load(os.path.join(folder, "iris.safetensors"))
    >>> bool((again.transform(X) == autoencoder.transform(X)).all())
    True
    """
    if not isinstance(estimator, BaseEstimator):
        raise ValueError(
            f"save(estimator, path): the first argument must be an instance of an estimator, got "
            f"{estimator!r}."
        )
    estimator = _without_search(estimator)
    try:
        description = Description(estimator)
    except RecursionError as error:
        raise ValueError(
            f"{type(estimator).__name__} contains a value that contains itself, or too many "
            f"nested values, which a file cannot represent."
        ) from error
    text = json.dumps(
        {"format": FORMAT, "versions": _versions(), "objects": description.objects},
        allow_nan=False,
        separators=(",", ":"),
    )
    if len(text) > MAX_HEADER // 2:
        raise ValueError(
            f"the description of {type(estimator).__name__} has {len(text):,} characters, more "
            f"than a file can contain; use pickle."
        )
    arrays = description.arrays | {DIGEST: _digest(text, description.arrays)}
    content = safetensors.numpy.save(arrays, {ENTRY: text})
    if len(text) > LONG:
        _check_readable(estimator, content, text, description.arrays)
    write_atomically(Path(path).resolve(), content)


def _without_search(estimator: BaseEstimator) -> BaseEstimator:
    """Return the best estimator of a fitted search, and any other estimator as it is.

    Raises
    ------
    ValueError
        If the search has been fitted with ``refit=False``.
    """
    if not isinstance(estimator, BaseSearchCV) or not hasattr(estimator, "cv_results_"):
        return estimator
    if not hasattr(estimator, "best_estimator_"):
        raise ValueError(
            f"{type(estimator).__name__} has no best_estimator_, which is what is saved of a "
            f"search, because of refit={estimator.refit!r}. Fit it with refit=True, or save an "
            f"estimator that is fitted with its best parameters."
        )
    return estimator.best_estimator_


def _check_readable(
    estimator: BaseEstimator, content: bytes, text: str, arrays: dict[str, np.ndarray]
) -> None:
    """Refuse to write a file that `load` would refuse because it takes too much memory."""
    allowance = Allowance(len(content))
    try:
        # A file of safetensors begins with the length of its header, in eight bytes.
        length = int.from_bytes(content[:8], "little")
        _check_header(content[8 : 8 + length], len(content))
        allowance.take(ARRAY_COST * len(arrays))
        objects = read_json(text, allowance)["objects"]
        with map_location("cpu"), building_with(module_from_file):
            Rebuilder(dict(arrays), allowance, Trusted(None)).build(objects)
    except Exception as error:  # of any type, as in `load`
        raise ValueError(
            f"{type(estimator).__name__} cannot be saved, since the file could not be loaded: "
            f"{error}; use pickle."
        ) from error


@isolated
def load(
    path: str | os.PathLike[str],
    device: str | torch.device | None = None,
    *,
    trusted: str | Sequence[str] = (),
) -> Any:
    """Load an estimator that :func:`save` has written.

    Nothing in the file is executed, whoever wrote it; of other modules, only code of those that
    are `trusted`. The results of the estimator are bit-identical to those of the saved one, on
    the same type of device.

    Parameters
    ----------
    path : str or path-like
        Path of the file.
    device : str or torch.device, default=None
        Device of the fitted networks. ``"auto"`` is the first CUDA device if there is one, else
        the CPU. None: the device at the time of saving if it is available, else the CPU. The
        parameter ``device`` of the estimators, the device of `fit`, is not changed.
    trusted : str or sequence of str, default=()
        Names of modules that define networks, autoencoders or loss functions of the file, such as
        ``["my_package.networks"]``, or full names of single classes and functions. Modules that
        are named here are imported. Of their classes only those are used that derive from
        ``sklearn_ae.networks.Network`` or ``sklearn_ae.base``. The name of a package does not
        include its submodules.

    Returns
    -------
    estimator : BaseEstimator

    Raises
    ------
    ValueError
        If the file was not written by :func:`save`, is damaged or inconsistent, has a later
        version of the format, refers to a module that is not `trusted`, or if `device` is not
        available.
    TypeError
        If `trusted` contains anything but strings.
    OSError
        If the file does not exist or cannot be read.
    """
    target = None if device is None else str(resolve_device(device, None))
    known = Trusted(check_trusted(trusted))
    _check_file(path)
    try:
        allowance = Allowance(os.path.getsize(path))
        text, arrays = _read(path, allowance)
        objects = _objects(text, arrays, allowance)
        with map_location(target), building_with(module_from_file):
            return Rebuilder(arrays, allowance, known).build(objects)
    except MemoryError:
        raise
    except Exception as error:  # of any type, depending on the content
        message = str(error)
        shown = message if len(message) < MAX_MESSAGE else f"{message[:MAX_MESSAGE]}..."
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {shown}.") from error


def _check_file(path: str | os.PathLike[str]) -> None:
    """Raise the errors of the system, and refuse pipes and devices, which may not end."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: it is no regular file.")
    with open(path, "rb"):
        pass


def _read(path: str | os.PathLike[str], allowance: Allowance) -> tuple[str, dict[str, np.ndarray]]:
    """Return the JSON and the arrays of a file."""
    size = os.path.getsize(path)
    _check_start(path)
    _check_header(_header(path, size), size)
    try:
        opened = safetensors.safe_open(path, framework="numpy")
    except safetensors.SafetensorError as error:
        raise ValueError("it is truncated or damaged") from error
    with opened as file:
        text = (file.metadata() or {}).get(ENTRY)
        if text is None:
            raise ValueError("it was not written by sklearn_ae.save")
        names = list(file.keys())
        allowance.take(ARRAY_COST * len(names))
        return text, {name: file.get_tensor(name) for name in names}


def _check_start(path: str | os.PathLike[str]) -> None:
    """Refuse a file that is no beginning of one of safetensors, and say what it looks like."""
    with open(path, "rb") as file:
        start = file.read(9)  # the length of the header, and its first character
    if not start:
        raise ValueError("it is empty")
    if start[8:] != b"{":
        kinds = [kind for first, kind in OTHER_KINDS.items() if start.startswith(first)]
        raise ValueError(f"it is not a file of sklearn_ae.save{''.join(kinds)}")


def _header(path: str | os.PathLike[str], size: int) -> bytes:
    """Return the header that safetensors will decode; nothing if it will refuse it."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(length if length <= min(size, MAX_HEADER) else 0)


def _check_header(header: bytes, size: int) -> None:
    """Refuse a header that would take far more memory than a file of this size may."""
    allowance = Allowance(size)
    allowance.take(json_memory(header.decode("latin-1"), allowance.left))


def _objects(
    text: str, arrays: dict[str, np.ndarray], allowance: Allowance
) -> list[dict[str, Any]]:
    """Decode the description, and check the format and the digest."""
    if not text.isascii():
        raise ValueError("its description contains characters beyond ASCII")
    content = read_json(text, allowance)
    version = content["format"]
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"its format is {version!r}")
    if version > FORMAT:
        raise ValueError(
            f"it has format {version} and was written by sklearn-ae "
            f"{content['versions']['sklearn-ae']}, but sklearn-ae {__version__} reads "
            f"formats up to {FORMAT}; install a later version"
        )
    if not np.array_equal(arrays.pop(DIGEST), _digest(text, arrays)):
        raise ValueError("it is damaged: its content does not match its digest")
    objects: list[dict[str, Any]] = content["objects"]
    return objects


def _digest(text: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return a hash of the content: it detects damage, not forgery, since it has no key."""
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return np.frombuffer(digest.digest(), np.uint8)


def _versions() -> dict[str, str]:
    """Return the versions of the libraries, for readers of the file."""
    return {
        "sklearn-ae": __version__,
        "scikit-learn": sklearn.__version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }
