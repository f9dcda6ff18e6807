"""Models in files that hold values and no code: safetensors and JSON.

A file is one of safetensors. Its arrays are those of the model and a digest; its metadata has one
entry, JSON with the version of the format, those of the libraries and the description of the
model (:mod:`sklearn_ae._files.description`).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import sklearn
import torch
from sklearn.base import BaseEstimator

import sklearn_ae
from sklearn_ae._estimator.state import arriving_on, building_with
from sklearn_ae._files.allowance import Allowance, read_json, weigh
from sklearn_ae._files.description import Description
from sklearn_ae._files.modules import module_from_file
from sklearn_ae._files.rebuilding import Rebuilding
from sklearn_ae._training.atomic import write_atomically
from sklearn_ae._training.device import resolve_device
from sklearn_ae._training.isolation import isolated

FORMAT = 1
"""Version of the format. A file of a higher one is refused, all others are read."""

ENTRY = "sklearn_ae"
"""Name of the entry of the metadata."""

DIGEST = "digest"
"""Name of the array that holds the digest of everything else."""

LONGEST_HEADER = 100_000_000
"""Bytes that safetensors reads before it comes to the arrays, at most."""


LONG = 100_000
"""Characters of a description beyond which it is read again before it is written."""

LONGEST_MESSAGE = 1_000
"""Characters of an error that are shown: it may quote what stands in the file."""

ARRAY_COST = 400
"""Bytes that an array takes in memory without its values."""


@isolated
def save(estimator: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Save an estimator to a file that is safe to load.

    The file holds values and arrays, no code and no pickle; :func:`load` reads it. It is written
    beside its place and then moved there, so that an error, a full disk or a power cut leaves what
    was there before.

    Parameters
    ----------
    estimator : BaseEstimator
        An estimator of this package, fitted or not, or one of scikit-learn, for example a
        ``Pipeline`` with some of this package's. What scikit-learn's own estimators have learnt
        travels through skops, which must then be installed.
    path : str or path-like
        Where to. The usual ending is ``.safetensors``.

    Raises
    ------
    ValueError
        If the estimator holds what no file can, for example a function as its ``loss``; no
        file is touched then.
    ImportError
        If skops is needed and not there.

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
        raise ValueError(f"estimator must be an instance of an estimator, got {estimator!r}.")
    try:
        description = Description(estimator)
    except RecursionError as error:
        raise ValueError(
            f"{type(estimator).__name__} holds values inside values without end, or nearly so, "
            f"which a file cannot hold."
        ) from error
    text = json.dumps(
        {"format": FORMAT, "versions": _versions(), "objects": description.objects},
        allow_nan=False,
        separators=(",", ":"),
    )
    if len(text) > LONGEST_HEADER // 2:
        raise ValueError(
            f"the description of {type(estimator).__name__} takes {len(text):,} characters, more "
            f"than a file can hold; use pickle."
        )
    arrays = description.arrays | {DIGEST: _digest(text, description.arrays)}
    content = safetensors.numpy.save(arrays, {ENTRY: text})
    if len(text) > LONG:
        _check_readable(estimator, content, text, description.arrays)
    write_atomically(Path(path).resolve(), content)


def _check_readable(
    estimator: BaseEstimator, content: bytes, text: str, arrays: dict[str, np.ndarray]
) -> None:
    """Refuse to write a file that would be refused because it takes too much when it is read."""
    allowance = Allowance(len(content))
    try:
        _check_header(content[8 : 8 + int.from_bytes(content[:8], "little")], len(content))
        allowance.take(ARRAY_COST * len(arrays))
        objects = read_json(text, allowance)["objects"]
        with arriving_on("cpu"), building_with(module_from_file):
            Rebuilding(dict(arrays), allowance).build(objects)
    except Exception as error:  # of any kind, as when it is loaded
        raise ValueError(
            f"{type(estimator).__name__} cannot be saved, since the file could not be loaded: "
            f"{error}; use pickle."
        ) from error


@isolated
def load(path: str | os.PathLike[str], device: str | torch.device | None = None) -> Any:
    """Load an estimator that :func:`save` has written.

    Nothing in the file is executed, whoever wrote it. The estimator gives the same bits as the
    one that was saved, on the same kind of device.

    Parameters
    ----------
    path : str or path-like
        From where.
    device : str or torch.device, default=None
        Where the networks are to be. ``"auto"`` is the first CUDA device if there is one, else
        the CPU. None: where they were when they were saved, if there is such a device here, else
        the CPU. The parameter ``device`` of the estimators, where `fit` trains, stays as it is.

    Returns
    -------
    estimator : BaseEstimator

    Raises
    ------
    ValueError
        If the file is not one of :func:`save`, is damaged or makes no sense, is of a newer
        version of the format, or if `device` is not there.
    OSError
        If the file is not there or cannot be read.
    """
    target = None if device is None else str(resolve_device(device, None))
    _check_file(path)
    try:
        allowance = Allowance(os.path.getsize(path))
        text, arrays = _read(path, allowance)
        objects = _objects(text, arrays, allowance)
        with arriving_on(target), building_with(module_from_file):
            return Rebuilding(arrays, allowance).build(objects)
    except MemoryError:
        raise
    except Exception as error:
        message = str(error)
        shown = message if len(message) < LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}..."
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {shown}.") from error


def _check_file(path: str | os.PathLike[str]) -> None:
    """Let the system raise its own errors, and refuse what is read without end."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: it is no regular file.")
    with open(path, "rb"):
        pass


def _read(path: str | os.PathLike[str], allowance: Allowance) -> tuple[str, dict[str, np.ndarray]]:
    """Return the JSON and the arrays of a file."""
    size = os.path.getsize(path)
    _check_header(_header(path, size), size)
    with safetensors.safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get(ENTRY)
        if text is None:
            raise ValueError("it was not written by sklearn_ae.save")
        names = list(file.keys())
        allowance.take(ARRAY_COST * len(names))
        return text, {name: file.get_tensor(name) for name in names}


def _header(path: str | os.PathLike[str], size: int) -> bytes:
    """Return what safetensors will read before the arrays; nothing if it will not."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(length if length <= min(size, LONGEST_HEADER) else 0)


def _check_header(header: bytes, size: int) -> None:
    """Refuse a header that would take far more memory than a file of a size accounts for."""
    allowance = Allowance(size)
    allowance.take(weigh(header.decode("latin-1"), allowance.left))


def _objects(
    text: str, arrays: dict[str, np.ndarray], allowance: Allowance
) -> list[dict[str, Any]]:
    """Return what is described, if it is what was written."""
    if not text.isascii():
        raise ValueError("its description has characters that are not written as such")
    content = read_json(text, allowance)
    written = content["format"]
    if not isinstance(written, int) or written < 1:
        raise ValueError(f"its format is {written!r}")
    if written > FORMAT:
        raise ValueError(
            f"it is of format {written} and was written by sklearn-ae "
            f"{content['versions']['sklearn-ae']}, but sklearn-ae {sklearn_ae.__version__} reads "
            f"formats up to {FORMAT}; install a newer version"
        )
    if not np.array_equal(arrays.pop(DIGEST), _digest(text, arrays)):
        raise ValueError("it is damaged: its content is not what its digest says")
    return content["objects"]


def _digest(text: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return a fingerprint of everything: it tells damage, not forgery."""
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(array.tobytes() if array.ndim == 0 else np.ascontiguousarray(array).data)
    return np.frombuffer(digest.digest(), np.uint8)


def _versions() -> dict[str, str]:
    """Return what the file was written with, for whoever reads it."""
    return {
        "sklearn-ae": sklearn_ae.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }
