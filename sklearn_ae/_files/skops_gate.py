"""The only module that imports skops, which writes scikit-learn's estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_ae._files.catalogue import own_types
from sklearn_ae._files.values import check_values

MIN_VERSION = (0, 13)
"""Version of skops: the list of trusted types of earlier versions can be circumvented."""


class SkopsError(ImportError):
    """skops is missing or too old."""


def dump_with_skops(estimator: BaseEstimator, where: str) -> np.ndarray:
    """Return the bytes that skops writes for an estimator of scikit-learn.

    Parameters
    ----------
    estimator : BaseEstimator
    where : str
        Its place within the saved estimator, for messages.

    Returns
    -------
    ndarray of shape (n_bytes,), dtype uint8

    Raises
    ------
    ValueError
        If the class is not scikit-learn's, or the bytes contain types that skops does not trust.
    SkopsError
        If skops is missing or too old.
    """
    name = type(estimator).__name__
    if not type(estimator).__module__.startswith("sklearn."):
        raise ValueError(
            f"{where} is a {type(estimator).__module__}.{name}, which is neither of sklearn_ae "
            f"nor of scikit-learn; a file contains no other classes. Remove it, or use pickle."
        )
    skops = _import_skops(f"{where} is scikit-learn's {name}, which is saved by skops")
    try:
        data = skops.dumps(estimator)
        untrusted = skops.get_untrusted_types(data=data)
    except Exception as error:  # of any type, depending on what the estimator contains
        raise ValueError(f"{where} cannot be saved: skops refuses it ({error}).") from error
    refused = sorted(set(untrusted) - set(own_types()))
    if refused:
        message = (
            f"{where} contains types that are neither of sklearn_ae nor trusted by skops: "
            f"{', '.join(refused)}. Remove them, or use pickle."
        )
        try:
            check_values(estimator, where)
        except ValueError as error:  # this message names the place as well
            raise ValueError(f"{message} {error}") from None
        raise ValueError(message)
    return np.frombuffer(data, np.uint8)


def _import_skops(need: str) -> Any:
    try:
        import skops
        import skops.io
    except ImportError as error:
        raise SkopsError(f'{need}; pip install "sklearn-ae[skops]"') from error
    if tuple(int(part) for part in skops.__version__.split(".")[:2]) < MIN_VERSION:
        required = ".".join(map(str, MIN_VERSION))
        raise SkopsError(
            f"{need}, version {required} or later, but {skops.__version__} is installed"
        )
    return skops.io
