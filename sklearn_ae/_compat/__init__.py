"""The one place that imports what scikit-learn does not promise to keep.

Everything here is either private in scikit-learn or experimental. When a release moves
a name, this file changes and nothing else does.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

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
    StrOptions,
)
from sklearn.utils._param_validation import (
    Interval as _Interval,
)
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call as check_partial_fit_first_call,
)
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

LARGEST_POWER = 60
"""Integers are less than 2 to this power: torch takes them for sizes, and a few times as many."""


def is_whole(value: Any) -> bool:
    """Return whether a value is an integer that torch can take for a size: no boolean is."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        return False
    return abs(int(value)) < 2**LARGEST_POWER


class Interval(_Interval):
    """An interval of numbers; of integers neither booleans nor those too large for torch."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether a value is in it."""
        return super().is_satisfied_by(val) and (self.type is not Integral or is_whole(val))

    def __str__(self) -> str:
        text = super().__str__()
        return text.replace("inf)", f"2**{LARGEST_POWER})") if self.type is Integral else text


try:  # experimental in scikit-learn 1.9
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn 1.8

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in where scikit-learn has no callbacks yet."""

    def with_callbacks(method):  # type: ignore[no-redef]
        """Return the method as it is: there are no callbacks to tear down."""
        return method


def open_context(estimator, n_epochs):
    """Begin a fit for the callbacks set on ``estimator``; None where there are none."""
    if not hasattr(estimator, "_init_callback_context"):
        return None
    context = estimator._init_callback_context(max_subtasks=n_epochs)
    return context if getattr(estimator, "_skl_callbacks", None) else None


try:
    from sklearn.utils._array_api import check_same_namespace
except ImportError:  # scikit-learn 1.8

    def check_same_namespace(X, estimator, *, attribute, method):  # type: ignore[no-redef]
        """Raise if X lives in another array library or on another device."""
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


def loss_classes() -> list[type]:
    """Return the classes of loss functions in fitted linear models, and of what these hold."""
    from sklearn._loss import _loss, link, loss
    from sklearn.linear_model import _sgd_fast

    found = [
        cls
        for module in (_loss, link, loss, _sgd_fast)
        for cls in vars(module).values()
        if isinstance(cls, type) and cls.__module__ == module.__name__
    ]
    return list(dict.fromkeys(found))


__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "MissingValues",
    "Options",
    "StrOptions",
    "check_partial_fit_first_call",
    "check_same_namespace",
    "check_sample_weight",
    "get_namespace_and_device",
    "is_numpy_namespace",
    "is_whole",
    "loss_classes",
    "open_context",
    "safe_indexing",
    "with_callbacks",
]
