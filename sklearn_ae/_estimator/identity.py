"""The identity of a fit: everything that its training depends on, as text."""

from __future__ import annotations

import functools
import hashlib
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from sklearn_ae._estimator.inputs import check_callbacks
from sklearn_ae._training.checkpoint import FitCheckpoint, checkpoints_among, without_name
from sklearn_ae._training.description import SavedRun

PASSING = {"callbacks", "device", "verbose", "warm_start"}
"""Parameters that do not move the weights, or that have words of their own."""

AFTERWARDS = {"density", "head"}
"""Estimators that are fitted when the weights are there."""

VERSIONED = {"builtins", "functools", "math", "numpy", "scipy", "sklearn", "sklearn_ae", "skorch",
             "torch"}  # fmt: skip
"""Packages whose code is known by their versions, which a checkpoint notes."""

PLAIN = (type(None), bool, int, float, complex, str, bytes, range, slice, type(...), np.generic,
         np.dtype, torch.dtype, torch.device, PurePath)  # fmt: skip
"""Types whose values are told apart by their ``repr``."""

DEEPEST = 20
"""Number of objects within each other that are looked into."""


def saved_run(estimator: Any) -> SavedRun | None:
    """Return where an estimator's fits keep their state, None unless its callbacks ask for it."""
    checkpoints = checkpoints_among(estimator.callbacks)
    if not checkpoints:
        return None
    checkpoint, *others = checkpoints
    others = [*others, *map(without_name, check_callbacks(estimator.callbacks))]
    checkpoint.check(estimator.random_state, others)
    return SavedRun(checkpoint, identity_of(estimator, checkpoint))


def identity_of(estimator: Any, checkpoint: FitCheckpoint) -> str:
    """Describe an estimator by all of its parameters that may move its weights.

    Raises
    ------
    ValueError
        If a part of it is code that no version is known of, or cannot be told from another.
    """
    words = Words(checkpoint.version)
    described = [words.of(type(estimator), type(estimator).__name__)]
    for name, value in estimator.get_params().items():
        parts = name.split("__")
        if parts[-1] not in PASSING and not AFTERWARDS & set(parts):
            described.append(f"{name}={words.of(value, name)}")
    for callback in map(without_name, check_callbacks(estimator.callbacks)):
        described.append(words.of(callback, f"callback {type(callback).__name__}"))
    return ", ".join(described)


class Words:
    """Turns values into text that is the same in another process, and another for others.

    Parameters
    ----------
    version : int, str or None
        Of code that is in none of `VERSIONED`.
    """

    def __init__(self, version: int | str | None) -> None:
        self.version = version

    def of(self, value: Any, where: str, depth: int = 0) -> str:
        """Describe a value; `where` names it in errors."""
        if depth > DEEPEST:
            raise ValueError(self._undescribed(where, "it holds itself, or too much"))
        if isinstance(value, PLAIN):
            return f"{type(value).__name__} {value!r}"
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            value = (value.double() if value.dtype == torch.bfloat16 else value).numpy()
        if isinstance(value, np.ndarray) and value.dtype.kind != "O":
            digest = hashlib.blake2b(np.ascontiguousarray(value).data, digest_size=16)
            return f"array {value.dtype} {value.shape} {digest.hexdigest()}"
        parts = self._parts(value, where)
        return "(" + ", ".join(self.of(part, where, depth + 1) for part in parts) + ")"

    def _parts(self, value: Any, where: str) -> list[Any]:
        """List values that a value is made of."""
        if isinstance(value, dict):
            return ["dict", *(part for item in value.items() for part in item)]
        if isinstance(value, (list, tuple)):
            return [type(value).__name__, *value]
        if isinstance(value, (set, frozenset)):
            return ["set", *sorted(value, key=repr)]
        if isinstance(value, functools.partial):
            return ["partial", value.func, list(value.args), value.keywords]
        if isinstance(value, MethodType):
            return ["method", value.__func__, value.__self__]
        if isinstance(value, CodeType):  # its lines and files may move
            names = [*value.co_names, *value.co_varnames]
            return ["code", value.co_code, names, list(value.co_consts)]
        if isinstance(value, (FunctionType, BuiltinFunctionType, type, ModuleType)):
            return self._named(value, where)
        if isinstance(value, BaseEstimator) and not isinstance(value, torch.nn.Module):
            return ["estimator", type(value), *self._own(value)]
        return ["object", type(value), *self._attributes(value, where)]

    def _named(self, value: Any, where: str) -> list[Any]:
        """List what tells code apart: its name and version, and what a function closes over."""
        owner = getattr(value, "__self__", None)  # of torch's functions that are written in C
        module = str(getattr(value, "__module__", None) or type(owner).__module__)
        if isinstance(value, ModuleType):
            module = value.__name__
        known = module.split(".")[0] in VERSIONED
        if not known and self.version is None:
            raise ValueError(
                f"FitCheckpoint cannot know whether the code of {where} ({value!r}) has changed "
                f"since a file was written. Give it a version, FitCheckpoint(..., version=1), and "
                f"another one whenever that code, or what it calls, has changed."
            )
        words = [module, getattr(value, "__qualname__", ""), None if known else self.version]
        if isinstance(value, FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            words += [value.__code__, value.__defaults__, value.__kwdefaults__, cells]
        return words

    def _own(self, value: BaseEstimator) -> list[Any]:
        """List the parameters of an estimator that are its own."""
        params = value.get_params(deep=False)
        return [part for item in params.items() for part in item if item[0] not in PASSING]

    def _attributes(self, value: Any, where: str) -> list[Any]:
        """List all that an object holds."""
        slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
        if not slots and not hasattr(value, "__dict__"):  # written in C
            raise ValueError(self._undescribed(where, f"it is or holds a {type(value).__name__}"))
        held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
        held |= getattr(value, "__dict__", {})
        if hasattr(value, "on_epoch_end"):  # what it notes during a fit ends so
            held = {name: each for name, each in held.items() if not name.endswith("_")}
        return [part for name in sorted(held) for part in (name, held[name])]

    def _undescribed(self, where: str, reason: str) -> str:
        return (
            f"FitCheckpoint cannot tell {where} from another one: {reason}. Without "
            f"FitCheckpoint it is all right."
        )
