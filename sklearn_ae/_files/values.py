"""Which values an estimator in a file may contain, at any depth: data, and nothing executable."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import MetadataRequest

from sklearn_ae._files.arrays import PLAIN_KINDS
from sklearn_ae._files.catalogue import (
    ABSTRACT_TYPES,
    ESTIMATORS,
    NUMBER_TYPES,
    RECORDS,
    function_name,
    sklearn_estimators,
)
from sklearn_ae._files.objects import form_of
from sklearn_ae._files.trusted import is_extension, is_own_function, takes_functions
from sklearn_ae._training.checkpoint import checkpoints_among
from sklearn_ae.networks._module import AutoencoderModule

PLAIN = frozenset(
    {type(None), bool, int, float, str}
    | {np.random.RandomState, torch.device, torch.Tensor, MetadataRequest}
)
"""Types of values that contain no others, apart from NumPy's numbers."""

DERIVED = frozenset(("scipy.interpolate._interpolate.interp1d",))
"""Classes of objects that scikit-learn computes when it is loaded; no file contains them."""

TEXTS: dict[str, tuple[str, str]] = {
    "memory": (
        r"(?!)",  # matches nothing
        "a file must not determine where another machine stores a cache; set_params(memory=None) "
        "before saving",
    ),
    "input": (
        r"content",
        "a file must not determine that samples are names of files to read; only 'content' is "
        "saved",
    ),
    "verbose_feature_names_out": (
        r"([^{}]|\{(feature|transformer)_name\})*",
        "a template in a file may contain {feature_name} and {transformer_name}, and nothing else "
        "in braces",
    ),
    "importance_getter": (
        r"[^\W_]\w*(\.[^\W_]\w*)*",
        "a file may contain names of public attributes only",
    ),
    "pre_dispatch": (
        r"all|(\d{1,4} ?\* ?)?n_jobs|\d{1,9}",
        "a file may contain no expression except a multiple of n_jobs",
    ),
}
"""Pattern of the strings that a parameter of this name may have, of any class, and the reason."""


def check_values(estimator: BaseEstimator, where: str | None = None) -> None:
    """Refuse an estimator that contains anything but data.

    All parameters, attributes and entries of lists, tuples, dictionaries and arrays of objects
    are visited, including those of estimators inside.

    Parameters
    ----------
    estimator : BaseEstimator
    where : str, default=None
        Its place within the saved estimator, for messages. None: the name of its class.

    Raises
    ------
    ValueError
        If there is a function, a class, a callback, a cache or any other object that is not
        plain data, or a string that `TEXTS` does not allow; the message names the place.
    """
    _Visitor(where or type(estimator).__name__).value("", estimator)


def refusal(name: str, value: Any, where: str) -> ValueError:
    """Return the error for an object that is not plain data.

    Parameters
    ----------
    name : str
        Name of its parameter, attribute or key.
    value : object
    where : str
        Its place within the saved estimator.
    """
    remedy = "Replace it by a plain value, or use pickle."
    if name in ("callback", "callbacks", "_skl_callbacks"):
        remedy = "It is not part of a fitted model: remove it, for example by "
        remedy += "set_callbacks()" if name == "_skl_callbacks" else f"set_params({name}=None)"
        remedy += ", before saving."
    elif name.rpartition("__")[2] == "memory":
        remedy = "A file must not determine where another machine stores a cache; "
        remedy += f"set_params({name}=None)."
    elif callable(value) and takes_functions(name):
        remedy = "Define the function at the top level of an importable module and fit again, or "
        remedy += "choose one of the values that have a name."
    elif callable(value):
        remedy = "Choose one of the values that have a name and fit again, or use pickle, which "
        remedy += "stores functions of the top level of an importable module only."
    return ValueError(
        f"{where} is {short(value)}, of type {type(value).__name__}, and cannot be "
        f"saved: a file contains data, and no code. {remedy}"
    )


def _is_plain_scalar(value: Any) -> bool:
    if isinstance(value, np.generic):
        return value.dtype.kind in PLAIN_KINDS
    return isinstance(value, np.dtype)


def _is_allowed(name: str, value: Any) -> bool:
    """Return whether an object without parts may be the value of a parameter or attribute."""
    if f"{type(value).__module__}.{type(value).__name__}" in DERIVED:
        return True
    if isinstance(value, type):
        if name in ("dtype_include", "dtype_exclude"):
            return value in ABSTRACT_TYPES | NUMBER_TYPES
        return name == "dtype" and value in NUMBER_TYPES
    return bool(function_name(name, value)) or is_own_function(name, value)


class _Visitor:
    """Visits every value that an estimator contains, each estimator once."""

    def __init__(self, root: str) -> None:
        self._path = [root]
        # The estimators are kept: the id of one that has been deleted could be used again.
        self._seen: dict[int, BaseEstimator] = {}

    def value(self, name: str, value: Any) -> None:
        """Check a value with this name, or in a list with this name."""
        kind = type(value)  # not isinstance: a derived class may contain and do anything
        if kind in PLAIN or _is_plain_scalar(value):
            self._strings(name, [value])
        elif kind in (np.ndarray, np.memmap) and value.dtype.kind in (*PLAIN_KINDS, "V"):
            self._strings(name, value.ravel() if value.dtype.kind in "US" else [])
        elif kind is np.ndarray and value.dtype.kind == "O":
            self._list(name, value.ravel().tolist())
        elif kind in (list, tuple, set, frozenset) or RECORDS.get(kind.__name__) is kind:
            self._list(name, value)
        elif kind is dict:
            self._dict(name, value)
        elif isinstance(value, BaseEstimator):
            self._estimator(name, value)
        elif isinstance(value, AutoencoderModule):
            self._dict(name, value.config)
        elif (form := form_of(value)) is not None:
            self._dict(name, form.parts(value))
        elif not _is_allowed(name, value):
            raise refusal(name, value, self._where())

    def _strings(self, name: str, values: Iterable[Any]) -> None:
        rule = TEXTS.get(name.rpartition("__")[2])  # of "pipeline__memory", as in a grid
        if rule is None:
            return
        pattern, reason = rule
        for value in values:
            if isinstance(value, (str, bytes)) and not re.fullmatch(pattern, str(value)):
                raise ValueError(f"{self._where()} is {short(value)}, but {reason}")

    def _list(self, name: str, values: Iterable[Any]) -> None:
        is_restricted = name.rpartition("__")[2] in TEXTS
        for index, value in enumerate(values):
            if is_restricted or type(value) not in PLAIN:  # long lists of numbers are common
                self._named(name, f"[{index}]", value)

    def _dict(self, name: str, values: dict[Any, Any]) -> None:
        for key, value in values.items():
            if type(key) is str:
                self._named(key, key, value)
            else:
                self._named(name, "[key]", key)
                self._named(name, f"[{short(key)}]", value)

    def _estimator(self, name: str, value: BaseEstimator) -> None:
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        cls = type(value)
        is_own = ESTIMATORS.get(cls.__name__) is cls or is_extension(cls)
        if not is_own and sklearn_estimators().get(cls.__name__) is not cls:
            raise refusal(name, value, self._where())
        state = dict(vars(value))
        if is_own and isinstance(state.get("callbacks"), list):  # checkpoints are not written
            state["callbacks"] = [e for e in state["callbacks"] if not checkpoints_among([e])]
        self._dict(name, state)

    def _named(self, name: str, step: str, value: Any) -> None:
        self._path.append(step)
        self.value(name, value)
        self._path.pop()

    def _where(self) -> str:
        return ".".join(self._path).replace(".[", "[")


class _Short(reprlib.Repr):
    """Abbreviates any value without visiting all of it."""

    def repr1(self, x: Any, level: int) -> str:
        if isinstance(x, BaseEstimator):
            return f"{type(x).__name__}(...)"
        return super().repr1(x[:100] if isinstance(x, (str, bytes)) else x, level)


_SHORT = _Short()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 97
_SHORT.maxlevel = 3


def short(value: Any) -> str:
    """Return a representation of at most a hundred characters, for messages."""
    text = _SHORT.repr(value)
    return text if len(text) < 100 else f"{text[:97]}..."
