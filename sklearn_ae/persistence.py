"""Models in files that hold values and no code: safetensors and JSON.

A file is one of safetensors. Its arrays are those of the model and a digest; its metadata has one
entry, JSON with the version of the format, those of the libraries and the description of the
model (:mod:`sklearn_ae._files.description`).
"""

from __future__ import annotations

import hashlib
import json
import os
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
from sklearn_ae._backend.device import resolve_device
from sklearn_ae._backend.files import write_atomically
from sklearn_ae._backend.isolation import isolated
from sklearn_ae._files.description import Description
from sklearn_ae._files.modules import module_from_file
from sklearn_ae._files.rebuilding import Rebuilding
from sklearn_ae._files.skops_gate import SkopsError
from sklearn_ae._state import arriving_on, building_with

FORMAT = 1
"""Version of the format. A file of a higher one is refused, all others are read."""

ENTRY = "sklearn_ae"
"""Name of the entry of the metadata."""

DIGEST = "digest"
"""Name of the array that holds the digest of everything else."""

LONGEST_HEADER = 100_000_000
"""Bytes that safetensors reads before it comes to the arrays, at most."""


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
    write_atomically(Path(path).resolve(), safetensors.numpy.save(arrays, {ENTRY: text}))


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
    ImportError
        If it holds estimators of scikit-learn and skops is not there.
    """
    target = None if device is None else str(resolve_device(device, None))
    with open(path, "rb"):  # an error of the system is one, not one of the file
        pass
    try:
        text, arrays = _read(path)
        objects = _objects(text, arrays)
        with arriving_on(target), building_with(module_from_file):
            return Rebuilding(arrays).build(objects)
    except (SkopsError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {error}.") from error


def _read(path: str | os.PathLike[str]) -> tuple[str, dict[str, np.ndarray]]:
    """Return the JSON and the arrays of a file."""
    with safetensors.safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get(ENTRY)
        if text is None:
            raise ValueError("it was not written by sklearn_ae.save")
        return text, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _objects(text: str, arrays: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return what is described, if it is what was written."""
    content = json.loads(text, parse_constant=_refuse, object_pairs_hook=_without_repetition)
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


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("an object has a key twice")
    return values


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
