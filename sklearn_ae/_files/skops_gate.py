"""The gate to skops, through which scikit-learn's own estimators travel in a file."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_ae._files.catalogue import own_types

OLDEST = (0, 13)
"""The first version of skops without a known way around its list of trusted types."""


class SkopsError(ImportError):
    """skops is not there, or too old."""


def dump_foreign(estimator: BaseEstimator, where: str) -> np.ndarray:
    """Return the bytes that skops makes of an estimator of scikit-learn.

    Parameters
    ----------
    estimator : BaseEstimator
    where : str
        What to call it in messages.

    Returns
    -------
    ndarray of shape (n_bytes,), dtype uint8

    Raises
    ------
    ValueError
        If skops is not there, or what it made could not be read again without trust.
    """
    name = type(estimator).__name__
    if not type(estimator).__module__.startswith("sklearn."):
        raise ValueError(
            f"{where} is a {type(estimator).__module__}.{name}, which is neither of sklearn_ae "
            f"nor of scikit-learn; a file holds no other classes. Leave it out, or use "
            f"pickle."
        )
    skops = _skops(f"{where} is scikit-learn's {name}, which is saved")
    try:
        data = skops.dumps(estimator)
    except Exception as error:  # of any kind, from whatever a foreign estimator holds
        raise ValueError(f"{where} cannot be saved: skops refuses it ({error}).") from error
    strange = sorted(set(skops.get_untrusted_types(data=data)) - set(own_types()))
    if strange:
        raise ValueError(
            f"{where} contains what is neither of sklearn_ae nor trusted by skops: "
            f"{', '.join(strange)}. Leave it out, or use pickle."
        )
    return np.frombuffer(data, np.uint8)


def load_foreign(data: np.ndarray) -> Any:
    """Build what :func:`dump_foreign` took apart.

    Of this package's classes those of the catalogue are trusted, and all others only as far as
    skops trusts them by itself.
    """
    skops = _skops("the file contains estimators of scikit-learn, which are loaded")
    content = data.tobytes()
    _check_size(content)
    return skops.loads(content, trusted=own_types())


def _check_size(content: bytes) -> None:
    """Refuse what would be far larger in memory than it is in the file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
        packed = [part for part in parts if _starts_archive(archive, part)]
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("its part for skops is compressed")
    if packed:
        raise ValueError("its part for skops has an archive inside, which may be compressed")
    if sum(part.file_size for part in parts) > len(content):
        raise ValueError("its part for skops is shorter than it says")


def _starts_archive(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bool:
    with archive.open(part) as file:
        return file.read(2) == b"PK"


def _skops(need: str) -> Any:
    try:
        import skops
        import skops.io
    except ImportError as error:
        raise SkopsError(f'{need} by skops; pip install "sklearn-ae[skops]"') from error
    if tuple(int(part) for part in skops.__version__.split(".")[:2]) < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise SkopsError(f"{need} by skops {least} or newer, but {skops.__version__} is here")
    return skops.io
