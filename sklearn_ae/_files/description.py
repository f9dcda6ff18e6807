"""Estimators as JSON and arrays, to be written to a file.

Values of JSON represent themselves, and an object without ``$`` in its keys is a dictionary. Other
values are objects whose first key starts with ``$``:

=============  ==================================================================================
``$tuple``     entries of a tuple
``$dict``      pairs of key and value
``$float``     ``"nan"``, ``"inf"`` or ``"-inf"``
``$array``     name of an array; with ``"order": "F"`` its axes are reversed, and with
               ``"text": true`` the last axis contains the code points of strings
``$objects``   entries of an array of Python objects; ``shape``
``$scalar``    a NumPy number; ``dtype``
``$dtype``     name of a NumPy dtype
``$device``    name of a torch device
``$random``    state of a ``RandomState``
``$module``    name of the class of a torch module
``$record``    name of a named tuple; ``values``
``$requests``  metadata requests: method to parameter to alias
``$estimator`` index in the list of estimators
=============  ==================================================================================

An estimator is ``{"class", "params", "attributes"}``, or ``{"skops"}`` with the bytes that skops
writes for an estimator of scikit-learn. An estimator that several others contain is listed once;
each estimator refers only to earlier ones in the list. No two values share an array.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import MetadataRequest

from sklearn_ae._estimator.state import building_with, map_location
from sklearn_ae._files.allowance import Allowance, check_keys
from sklearn_ae._files.catalogue import DTYPES, ESTIMATORS, MODULES, RECORDS
from sklearn_ae._files.modules import check_module, module_from_file
from sklearn_ae._files.rebuilding import Rebuilder, check_consistency, is_attribute
from sklearn_ae._files.skops_gate import dump_with_skops
from sklearn_ae._files.values import check_values, refusal
from sklearn_ae._training.checkpoint import checkpoints_among


class Description:
    """Describes an estimator and everything that it contains.

    Parameters
    ----------
    estimator : BaseEstimator

    Attributes
    ----------
    objects : list of dict
        The described estimators; the last one is `estimator`.
    arrays : dict of str to ndarray
        The arrays that they refer to.

    Raises
    ------
    ValueError
        If a file cannot contain one of the values; the message names it.
    """

    def __init__(self, estimator: BaseEstimator) -> None:
        self.objects: list[dict[str, Any]] = []
        self.arrays: dict[str, np.ndarray] = {}
        # From the id of an estimator to its index; None while it is being described.
        self._indices: dict[int, int | None] = {}
        self._kept: list[BaseEstimator] = []  # an id is unique only while its object exists
        self._path = [type(estimator).__name__]
        self._estimator(estimator)
        check_values(estimator)

    # Estimators

    def _estimator(self, estimator: BaseEstimator) -> dict[str, Any]:
        if id(estimator) not in self._indices:
            self._indices[id(estimator)] = None
            self._kept.append(estimator)
            described = self._fitted_attributes(estimator)
            self._indices[id(estimator)] = len(self.objects)
            self.objects.append(described)
        index = self._indices[id(estimator)]
        if index is None:
            raise ValueError(f"{self._where()} contains itself, which a file cannot represent.")
        return {"$estimator": index}

    def _fitted_attributes(self, estimator: BaseEstimator) -> dict[str, Any]:
        cls = type(estimator)
        if ESTIMATORS.get(cls.__name__) is not cls:
            return {"skops": self._array(self._by_skops(estimator))}
        check_consistency(estimator)  # `load` makes the same check
        state = dict(estimator.__getstate__())
        params = {name: state.pop(name) for name in sorted(cls._get_param_names())}
        if params.get("callbacks"):  # the folder of a checkpoint is not part of the fitted model
            others = [each for each in params["callbacks"] if not checkpoints_among([each])]
            params["callbacks"] = others or None
        for name in state:
            if not is_attribute(cls, name) and not hasattr(cls, name):
                raise ValueError(
                    f"{self._where()}.{name} is not an attribute of {cls.__name__}: they begin "
                    f"or end with an underscore. Delete it before saving."
                )
        described = {
            "class": cls.__name__,
            "params": self._items(params),
            "attributes": self._items(state),
        }
        if "module_" in state:
            try:
                check_module(state["module_"])
            except Exception as error:  # of any type, as in `load`
                raise ValueError(f"{self._where()}.module_ cannot be saved: {error}.") from error
        return described

    def _by_skops(self, estimator: BaseEstimator) -> np.ndarray:
        """Return the bytes that skops writes for an estimator, after reading them."""
        data = dump_with_skops(estimator, self._where())
        try:
            with map_location("cpu"), building_with(module_from_file):
                Rebuilder({}, Allowance(len(data))).from_skops(data.tobytes())
        except Exception as error:  # of any type, as in `load`
            raise ValueError(f"{self._where()} cannot be saved: {error}.") from error
        return data

    def _items(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: self._named(name, value) for name, value in values.items()}

    def _named(self, name: str, value: Any) -> Any:
        self._path.append(name)
        described = self._value(value)
        self._path.pop()
        return described

    def _where(self) -> str:
        return ".".join(self._path).replace(".[", "[")

    # Values

    def _value(self, value: Any) -> Any:
        kind = type(value)  # not isinstance: a derived class could not be restored
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        describe = _DESCRIBERS.get(kind)
        if describe is not None:
            return describe(self, value)
        if kind is np.str_:
            return {"$scalar": str(value), "dtype": "str"}
        if isinstance(value, np.generic):
            return {"$scalar": self._value(value.item()), "dtype": self._dtype(value.dtype)}
        if isinstance(value, np.dtype):
            return {"$dtype": self._dtype(value)}
        if isinstance(value, BaseEstimator):
            return self._estimator(value)
        if isinstance(value, type) and value in MODULES.values():
            return {"$module": value.__name__}
        if RECORDS.get(kind.__name__) is kind:
            return {"$record": kind.__name__, "values": self._list(value)}
        raise self._refusal(value)

    def _refusal(self, value: Any) -> ValueError:
        name = [part for part in self._path if not part.startswith("[")][-1]
        return refusal(name, value, self._where())

    def _list(self, values: Sequence[Any]) -> list[Any]:
        return [self._named(f"[{index}]", value) for index, value in enumerate(values)]

    def _dict(self, value: dict[Any, Any]) -> dict[str, Any]:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return self._items(value)
        check_keys(value)
        return {"$dict": [[self._value(k), self._named(str(k), v)] for k, v in value.items()]}

    def _array(self, value: np.ndarray) -> dict[str, Any]:
        reference: dict[str, Any] = {"$array": str(len(self.arrays))}
        if value.dtype.kind == "O":
            return {"$objects": self._list(value.ravel().tolist()), "shape": list(value.shape)}
        if value.flags.f_contiguous and not value.flags.c_contiguous:
            value, reference["order"] = value.T, "F"
        value = np.array(value, dtype=value.dtype.newbyteorder("="), order="C", subok=False)
        # safetensors has no strings: they are written as code points, (..., n_characters).
        if value.dtype.kind == "U" and value.dtype.itemsize:
            value, reference["text"] = value[..., None].view(np.uint32), True
        if DTYPES.get(value.dtype.name) != value.dtype:
            raise self._refusal(value)
        self.arrays[reference["$array"]] = value
        return reference

    def _dtype(self, dtype: np.dtype) -> str:
        if DTYPES.get(dtype.name) != dtype:
            raise self._refusal(dtype)
        return dtype.name

    def _random(self, value: Any) -> dict[str, Any]:
        state = value.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise self._refusal(value)
        words = [state["state"]["pos"], state["has_gauss"], state["gauss"]]
        return {"$random": [self._array(state["state"]["key"]), *words]}

    def _requests(self, value: MetadataRequest) -> dict[str, Any]:
        requests = {name: getattr(method, "requests", {}) for name, method in vars(value).items()}
        return {"$requests": {name: dict(each) for name, each in requests.items() if each}}


_DESCRIBERS: dict[type, Any] = {
    list: Description._list,
    tuple: lambda self, value: {"$tuple": self._list(value)},
    dict: Description._dict,
    np.ndarray: Description._array,
    np.memmap: Description._array,
    np.random.RandomState: Description._random,
    torch.device: lambda self, value: {"$device": str(value)},
    MetadataRequest: Description._requests,
}
