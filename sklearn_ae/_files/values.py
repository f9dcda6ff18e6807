"""What an estimator in a file may hold, at any depth: values, and nothing that acts."""

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
    NUMBER_TYPES,
    estimators,
    foreign_estimators,
    foreign_values,
    records,
)
from sklearn_ae._training.checkpoint import checkpoints_among
from sklearn_ae.networks._module import AutoencoderModule

PLAIN = frozenset(
    {type(None), bool, int, float, str, slice}
    | {np.random.RandomState, torch.device, torch.Tensor, MetadataRequest}
)
"""Types of values that hold no others, beside NumPy's numbers."""

DERIVED = frozenset(("scipy.interpolate._interpolate.interp1d",))
"""Classes of what scikit-learn builds of values when it is loaded, and no file holds."""

TEXTS: dict[str, tuple[str, str]] = {
    "memory": (
        r"(?!)",  # none
        "a file does not choose where another machine caches; set_params(memory=None) before "
        "saving",
    ),
    "input": (
        r"content",
        "a file does not choose that samples are names of files to read; only 'content' is saved",
    ),
    "verbose_feature_names_out": (
        r"([^{}]|\{(feature|transformer)_name\})*",
        "a template in a file holds {feature_name} and {transformer_name}, and nothing else in "
        "braces",
    ),
    "importance_getter": (
        r"[^\W_]\w*(\.[^\W_]\w*)*",
        "a file names public attributes only",
    ),
    "pre_dispatch": (
        r"all|(\d{1,4} ?\* ?)?n_jobs|\d{1,9}",
        "a file holds no expression but a multiple of n_jobs",
    ),
}
"""What texts may stand under a name, whatever has a parameter of that name, and why no others."""


def check_values(estimator: BaseEstimator, where: str | None = None) -> None:
    """Refuse an estimator if it, or what is within it, holds more than values.

    All parameters, attributes, entries of lists, tuples, dictionaries and arrays of objects are
    visited, those of estimators inside included.

    Parameters
    ----------
    estimator : BaseEstimator
    where : str, default=None
        What to call it in messages. None: by its class.

    Raises
    ------
    ValueError
        If there is a function, a class, a callback, a cache or whatever else is no plain value,
        or a text that `TEXTS` does not allow under its name; the message names the place.
    """
    _Visit(where or type(estimator).__name__).value("", estimator)


def refusal(name: str, value: Any, where: str) -> ValueError:
    """Return the error for what is no value.

    Parameters
    ----------
    name : str
        Of the parameter, attribute or key that it stands under.
    value : object
    where : str
        What to call it in messages.
    """
    remedy = "Replace it by a plain value, or use pickle."
    if name in ("callback", "callbacks", "_skl_callbacks"):
        remedy = "It has no part in a fitted model: take it away, for example by "
        remedy += "set_callbacks()" if name == "_skl_callbacks" else f"set_params({name}=None)"
        remedy += ", before saving."
    elif name.rpartition("__")[2] == "memory":
        remedy = f"A file does not choose where another machine caches; set_params({name}=None)."
    elif callable(value):
        remedy = "Choose one of the values that have a name and fit again, or use pickle."
    return ValueError(
        f"{where} is {short(value)}, of type {type(value).__name__}, and cannot be "
        f"saved: a file holds values, and no code. {remedy}"
    )


def _is_plain_scalar(value: Any) -> bool:
    if isinstance(value, np.generic):
        return value.dtype.kind in PLAIN_KINDS
    return isinstance(value, np.dtype)


class _Visit:
    """Goes through all that an estimator holds, once."""

    def __init__(self, root: str) -> None:
        self._path = [root]
        self._seen: dict[int, BaseEstimator] = {}

    def value(self, name: str, value: Any) -> None:
        """Check a value that stands under a name, or in a list that does."""
        kind = type(value)
        if kind in PLAIN or _is_plain_scalar(value):
            self._texts(name, [value])
        elif kind in (np.ndarray, np.memmap) and value.dtype.kind in PLAIN_KINDS:
            self._texts(name, value.ravel() if value.dtype.kind in "US" else [])
        elif kind is np.ndarray and value.dtype.kind == "O":
            self._list(name, value.ravel().tolist())
        elif kind in (list, tuple) or records().get(kind.__name__) is kind:
            self._list(name, value)
        elif kind is dict:
            self._dict(name, value)
        elif isinstance(value, BaseEstimator):
            self._estimator(name, value)
        elif isinstance(value, AutoencoderModule):
            self._dict(name, value.config)
        elif foreign_values().get(kind.__name__) is kind:
            self._dict(name, getattr(value, "__dict__", {}))
        elif f"{kind.__module__}.{kind.__name__}" in DERIVED:
            return
        elif not (name == "dtype" and isinstance(value, type) and value in NUMBER_TYPES):
            raise refusal(name, value, self._where())

    def _texts(self, name: str, values: Iterable[Any]) -> None:
        rule = TEXTS.get(name.rpartition("__")[2])
        if rule is None:
            return
        for value in values:
            if isinstance(value, (str, bytes)) and not re.fullmatch(rule[0], str(value)):
                raise ValueError(f"{self._where()} is {short(value)}, but {rule[1]}")

    def _list(self, name: str, values: Iterable[Any]) -> None:
        bound = name.rpartition("__")[2] in TEXTS
        for place, value in enumerate(values):
            if bound or type(value) not in PLAIN:
                self._named(name, f"[{place}]", value)

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
        ours = estimators().get(cls.__name__) is cls
        if not ours and foreign_estimators().get(cls.__name__) is not cls:
            raise refusal(name, value, self._where())
        held = dict(vars(value))
        if ours and isinstance(held.get("callbacks"), list):  # checkpoints are not written
            held["callbacks"] = [e for e in held["callbacks"] if not checkpoints_among([e])]
        self._dict(name, held)

    def _named(self, name: str, shown: str, value: Any) -> None:
        self._path.append(shown)
        self.value(name, value)
        self._path.pop()

    def _where(self) -> str:
        return ".".join(self._path).replace(".[", "[")


class _Short(reprlib.Repr):
    """Shows a little of any value, and goes no further into it."""

    def repr1(self, x: Any, level: int) -> str:
        if isinstance(x, BaseEstimator):
            return f"{type(x).__name__}(...)"
        return super().repr1(x[:100] if isinstance(x, (str, bytes)) else x, level)


_SHORT = _Short()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 97
_SHORT.maxlevel = 3


def short(value: Any) -> str:
    """Show a value in a message, however long it is."""
    shown = _SHORT.repr(value)
    return shown if len(shown) < 100 else f"{shown[:97]}..."
