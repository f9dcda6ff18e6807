"""Imports of private and experimental parts of scikit-learn.

These may change in any release. No other module imports them, so that only this file must follow.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, TypeVar

from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._array_api import (
    _is_numpy_namespace as is_numpy_namespace,
)
from sklearn.utils._array_api import (
    get_namespace_and_device,
)
from sklearn.utils._param_validation import (
    HasMethods,
    MissingValues,
    Options,
    RealNotInt,
    StrOptions,
)
from sklearn.utils._param_validation import (
    Interval as _Interval,
)
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call as check_partial_fit_first_call,
)
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

Method = TypeVar("Method", bound=Callable[..., Any])

MAX_INTEGER_BITS = 60
"""Valid integers have at most so many bits: torch's sizes, and small multiples, have 63."""


def is_whole(value: Any) -> bool:
    """Return whether a value is an integer that torch accepts as a size. Booleans are not."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        return False
    return abs(int(value)) < 1 << MAX_INTEGER_BITS


class Interval(_Interval):
    """An interval of numbers. One of integers excludes booleans, and integers beyond torch's."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is in the interval."""
        is_inside = bool(super().is_satisfied_by(val))
        return is_inside and (self.type is not Integral or is_whole(val))

    def __str__(self) -> str:
        """Return the description of the interval for error messages."""
        text = str(super().__str__())
        return text.replace("inf)", f"2**{MAX_INTEGER_BITS})") if self.type is Integral else text


try:  # experimental in scikit-learn 1.9
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn 1.8

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replacement for versions of scikit-learn without callbacks."""

    def with_callbacks(method: Method) -> Method:
        """Return the method unchanged, because there are no callbacks to tear down."""
        return method


def open_context(estimator: Any, n_epochs: int) -> Any:
    """Create the context of a fit for scikit-learn's callbacks.

    Parameters
    ----------
    estimator : estimator
    n_epochs : int
        Maximum number of epochs.

    Returns
    -------
    context : CallbackContext or None
        None if no callbacks are set on the estimator.
    """
    if not hasattr(estimator, "_init_callback_context"):  # scikit-learn 1.8
        return None
    # Created even without callbacks, as with_callbacks expects.
    context = estimator._init_callback_context(max_subtasks=n_epochs)
    return context if getattr(estimator, "_skl_callbacks", None) else None


try:
    from sklearn.utils._array_api import check_same_namespace
except ImportError:  # scikit-learn 1.8

    def check_same_namespace(X: Any, estimator: Any, *, attribute: str, method: str) -> None:
        """Raise a ``ValueError`` if `X` has another namespace or device than the training data.

        Parameters
        ----------
        X : array
        estimator : estimator
        attribute : str
            Name of a fitted attribute with the namespace and device of the training data.
        method : str
            Name of the method that received `X`, for the error message.
        """
        fitted, _, fitted_device = get_namespace_and_device(getattr(estimator, attribute))
        given, _, given_device = get_namespace_and_device(X)
        both_numpy = is_numpy_namespace(fitted) and is_numpy_namespace(given)
        if not both_numpy and (given != fitted or given_device != fitted_device):
            raise ValueError(
                f"Inputs passed to {type(estimator).__name__}.{method}() must use the "
                f"namespace and the device of the data passed to fit(), which were "
                f"{fitted.__name__} and {fitted_device}; got {given.__name__} and "
                f"{given_device}."
            )


__all__ = [
    "BaseSearchCV",
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "MissingValues",
    "Options",
    "RealNotInt",
    "StrOptions",
    "check_partial_fit_first_call",
    "check_same_namespace",
    "check_sample_weight",
    "get_namespace_and_device",
    "is_numpy_namespace",
    "is_whole",
    "open_context",
    "safe_indexing",
    "with_callbacks",
]
