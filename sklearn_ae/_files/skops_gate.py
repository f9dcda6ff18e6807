"""The gate to skops, which writes scikit-learn's own estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_ae._files.catalogue import own_types
from sklearn_ae._files.values import check_values

OLDEST = (0, 13)
"""The first version of skops whose files are read, and without a known way around its list."""


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
        If what skops made holds what it does not trust.
    SkopsError
        If skops is not there, or too old.
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
        untrusted = skops.get_untrusted_types(data=data)
    except Exception as error:  # of any kind, from whatever a foreign estimator holds
        raise ValueError(f"{where} cannot be saved: skops refuses it ({error}).") from error
    strange = sorted(set(untrusted) - set(own_types()))
    if strange:
        message = (
            f"{where} contains what is neither of sklearn_ae nor trusted by skops: "
            f"{', '.join(strange)}. Leave it out, or use pickle."
        )
        try:
            check_values(estimator, where)
        except ValueError as error:
            raise ValueError(f"{message} {error}") from None
        raise ValueError(message)
    return np.frombuffer(data, np.uint8)


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
