"""The identity of a fit: a text of everything in the estimator that training depends on."""

from __future__ import annotations

import functools
import hashlib
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from sklearn_ae._estimator.inputs import FitData, check_callbacks
from sklearn_ae._training.batches import Samples
from sklearn_ae._training.checkpoint import FitCheckpoint, checkpoints_among, without_name
from sklearn_ae._training.description import SavedRun
from sklearn_ae._training.streaming import Stream
from sklearn_ae._version import __version__

IGNORED = {"callbacks", "device", "distributed", "verbose", "warm_start"}
"""Parameters that do not change the trained weights, or are described separately."""

FITTED_LATER = {"density", "head"}
"""Parameters that are estimators which are fitted when training is completed."""

DESCRIBED_ROWS = 64
"""Number of rows that are compared between the processes of a fit."""

VERSIONED = {"builtins", "functools", "math", "numpy", "scipy", "sklearn", "sklearn_ae", "skorch",
             "torch"}  # fmt: skip
"""Packages whose versions a checkpoint stores, so that their code need not be described."""

PLAIN_TYPES = (type(None), bool, int, float, complex, str, bytes, range, slice, type(...),
               np.generic, np.dtype, torch.dtype, torch.device, PurePath)  # fmt: skip
"""Types whose ``repr`` identifies a value."""

MAX_DEPTH = 20
"""Maximum depth of nested objects."""


def saved_run(estimator: Any) -> SavedRun | None:
    """Return where a fit saves its state: None without a `FitCheckpoint` among the callbacks."""
    checkpoints = checkpoints_among(estimator.callbacks)
    if not checkpoints:
        return None
    checkpoint, *others = checkpoints
    others = [*others, *map(without_name, check_callbacks(estimator.callbacks))]
    checkpoint.check(estimator.random_state, others)
    return SavedRun(checkpoint, identity_of(estimator, checkpoint))


def identity_of(estimator: Any, checkpoint: FitCheckpoint) -> str:
    """Return a text of the estimator's class, callbacks and all parameters that affect training.

    Raises
    ------
    ValueError
        If it contains code without a known version, or an object that cannot be described.
    """
    descriptions = Descriptions(checkpoint.version)
    described = [descriptions.of(type(estimator), type(estimator).__name__)]
    for name, value in estimator.get_params().items():
        parts = name.split("__")
        if parts[-1] not in IGNORED and not FITTED_LATER & set(parts):
            described.append(f"{name}={descriptions.of(value, name)}")
    for callback in map(without_name, check_callbacks(estimator.callbacks)):
        described.append(descriptions.of(callback, f"callback {type(callback).__name__}"))
    return ", ".join(described)


def described(estimator: Any, data: FitData, y: Any = None) -> dict[str, str]:
    """Return what has to be equal in the processes of a fit, by the name of each.

    `y` are the labels of a supervised estimator.
    """
    # Processes with other kinds of callbacks would wait for each other at other places.
    callbacks = [type(each).__name__ for each in estimator.callbacks or []]
    is_fitted = estimator.warm_start and estimator.__sklearn_is_fitted__()
    everything = {
        "versions": f"sklearn_ae {__version__}, torch {torch.__version__}",
        "parameters": shown_parameters(estimator, callbacks=callbacks, fitted=is_fitted),
    }
    if estimator.distributed == "sharded":
        given = [X for X in (data.X, data.y, data.X_val) if X is not None]
        kinds = [(X.shape[1:], str(X.dtype)) for X in given]
        names = list(getattr(estimator, "feature_names_in_", []))
        return {**everything, "shapes of samples": str(kinds), "names of columns": str(names)}
    digest = hashlib.blake2b(digest_size=8)
    for X in (data.X, data.y, data.X_val):
        if X is None:
            continue
        samples = Samples(X, None, torch.device("cpu"), torch.float64)
        n_rows = min(len(samples), DESCRIBED_ROWS)
        # Integers: a float32 has no room for the number of a late row.
        places = torch.arange(n_rows) * (len(samples) - 1) // max(1, n_rows - 1)
        rows = samples.take(places)
        total = X.ranges.moments[0].sum() if isinstance(X, Stream) else X.sum()
        digest.update(repr((X.shape, X.dtype, float(total))).encode() + rows.numpy().tobytes())
    if y is not None:
        digest.update(joblib.hash(np.asarray(y)).encode())
    if data.sample_weight is not None:
        digest.update(data.sample_weight.numpy().tobytes())
    return {**everything, "data": digest.hexdigest()}


def shown_parameters(estimator: Any, **others: Any) -> str:
    """Return the class and the parameters of an estimator as text, equal in all processes."""
    parameters = {"class": type(estimator).__name__, **others}
    for name, value in estimator.get_params().items():
        if name.split("__")[-1] not in {*IGNORED, "random_state"}:
            # An address in memory tells nothing.
            parameters[name] = type(value).__qualname__ if " at 0x" in repr(value) else repr(value)
    return ", ".join(f"{name}={text}" for name, text in parameters.items())


class Descriptions:
    """Converts values to text: equal values to equal text, in any process, and others to other.

    Parameters
    ----------
    version : int, str or None
        Version of all code that is not in a package of `VERSIONED`.
    """

    def __init__(self, version: int | str | None) -> None:
        self.version = version

    def of(self, value: Any, where: str, depth: int = 0) -> str:
        """Return the text for a value; `where` is its name in error messages."""
        if depth > MAX_DEPTH:
            raise ValueError(self._message(where, "it contains itself, or is nested too deeply"))
        if isinstance(value, PLAIN_TYPES):
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
        """Return the values that identify a value, together with the name of its type."""
        if isinstance(value, dict):
            return ["dict", *(part for item in value.items() for part in item)]
        if isinstance(value, (list, tuple)):
            return [type(value).__name__, *value]
        if isinstance(value, (set, frozenset)):
            # The order of a set of strings depends on the hash seed of the process.
            return ["set", *sorted(value, key=repr)]
        if isinstance(value, functools.partial):
            return ["partial", value.func, list(value.args), value.keywords]
        if isinstance(value, MethodType):
            return ["method", value.__func__, value.__self__]
        if isinstance(value, CodeType):  # without file and line numbers, which may change
            names = [*value.co_names, *value.co_varnames]
            return ["code", value.co_code, names, list(value.co_consts)]
        if isinstance(value, (FunctionType, BuiltinFunctionType, type, ModuleType)):
            return self._named(value, where)
        if isinstance(value, BaseEstimator) and not isinstance(value, torch.nn.Module):
            return ["estimator", type(value), *self._parameters(value)]
        return ["object", type(value), *self._attributes(value, where)]

    def _named(self, value: Any, where: str) -> list[Any]:
        """Return what identifies code: its name and version, and the closure of a function."""
        # Functions of torch that are written in C have no module, but an owner that has one.
        owner = getattr(value, "__self__", None)
        module = str(getattr(value, "__module__", None) or type(owner).__module__)
        if isinstance(value, ModuleType):
            module = value.__name__
        is_versioned = module.split(".")[0] in VERSIONED
        if not is_versioned and self.version is None:
            raise ValueError(
                f"FitCheckpoint cannot detect whether the code of {where} ({value!r}) has changed "
                f"since a file was written. Give it a version, FitCheckpoint(..., version=1), and "
                f"another one whenever this code, or code that it calls, has changed."
            )
        parts = [
            module,
            getattr(value, "__qualname__", ""),
            None if is_versioned else self.version,
        ]
        if isinstance(value, FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            parts += [value.__code__, value.__defaults__, value.__kwdefaults__, cells]
        return parts

    def _parameters(self, value: BaseEstimator) -> list[Any]:
        """Return names and values of an estimator's parameters, without those to ignore."""
        params = value.get_params(deep=False)
        return [part for item in params.items() for part in item if item[0] not in IGNORED]

    def _attributes(self, value: Any, where: str) -> list[Any]:
        """Return names and values of all attributes of an object, in alphabetical order."""
        slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
        if not slots and not hasattr(value, "__dict__"):  # written in C
            name = type(value).__name__
            raise ValueError(self._message(where, f"it is or contains a {name}"))
        attributes = {name: getattr(value, name) for name in slots if hasattr(value, name)}
        attributes |= getattr(value, "__dict__", {})
        # Attributes that a callback sets during a fit end with an underscore.
        if hasattr(value, "on_epoch_end"):
            attributes = {
                name: each for name, each in attributes.items() if not name.endswith("_")
            }
        return [part for name in sorted(attributes) for part in (name, attributes[name])]

    def _message(self, where: str, reason: str) -> str:
        return (
            f"FitCheckpoint cannot tell {where} from another one: {reason}. Fit without "
            f"FitCheckpoint, or replace it."
        )
