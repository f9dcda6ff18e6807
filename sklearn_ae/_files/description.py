"""Estimators as JSON and arrays, to be written to a file.

Values of JSON represent themselves, and an object without ``$`` in its keys is a dictionary. Other
values are objects whose first key starts with ``$``:

=============  ==================================================================================
``$tuple``     entries of a tuple
``$dict``      pairs of key and value
``$float``     ``"nan"``, ``"inf"`` or ``"-inf"``
``$array``     name of an array; with ``"order": "F"`` its axes are reversed, with ``"text": true``
               the last axis contains the code points of strings, and with ``dtype`` the bytes of
               values of this dtype
``$mapping``   keys of a dictionary, strings; ``values``, an array of its values, which are
               numbers of NumPy with ``"scalars": true``
``$objects``   entries of an array of Python objects; ``shape``
``$scalar``    a NumPy number; ``dtype``
``$dtype``     name of a NumPy dtype
``$type``      full name of a class of numbers
``$function``  name of a function that its place allows
``$object``    name of a class of :mod:`sklearn_ae._files.objects`; ``parts``
``$device``    name of a torch device
``$random``    state of a ``RandomState``
``$module``    name of the class of a torch module
``$record``    name of a named tuple; ``values``
``$requests``  metadata requests: method to parameter to alias
``$estimator`` index in the list of estimators
=============  ==================================================================================

An estimator is ``{"class", "params", "attributes"}``. An estimator that several others contain is
listed once; each estimator refers only to earlier ones in the list. No two values share an array.
A name of a class or function with a colon is one of somebody's own module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import MetadataRequest

from sklearn_ae._compat import BaseSearchCV
from sklearn_ae._files.allowance import check_keys
from sklearn_ae._files.arrays import packed
from sklearn_ae._files.catalogue import (
    DTYPES,
    ESTIMATORS,
    MODULES,
    RECORDS,
    TYPES,
    function_name,
    sklearn_estimators,
)
from sklearn_ae._files.contents import to_plain
from sklearn_ae._files.modules import check_module
from sklearn_ae._files.objects import Form, form_of
from sklearn_ae._files.rebuilding import check_consistency, is_attribute
from sklearn_ae._files.trusted import full_name, is_extension, is_own_function
from sklearn_ae._files.values import check_values, refusal
from sklearn_ae._training.checkpoint import checkpoints_among

MANY = 100
"""Number of entries from which on a vocabulary is written as one array."""


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
        cls, name = type(estimator), self._class_name(type(estimator))
        if isinstance(estimator, BaseSearchCV) and hasattr(estimator, "cv_results_"):
            raise ValueError(
                f"{self._where()} is a fitted {name}, which cannot be saved within another "
                f"estimator, as its scorer is a function. Replace it by its best_estimator_."
            )
        check_consistency(estimator)  # `load` makes the same check
        state = dict(estimator.__getstate__())
        declared = sorted(cls._get_param_names())
        params = {each: state.pop(each) for each in declared if each in state}
        if params.get("callbacks"):  # the folder of a checkpoint is not part of the fitted model
            others = [each for each in params["callbacks"] if not checkpoints_among([each])]
            params["callbacks"] = others or None
        for attribute in state:
            if not is_attribute(cls, attribute) and not hasattr(cls, attribute):
                raise ValueError(
                    f"{self._where()}.{attribute} is not an attribute of {cls.__name__}: they "
                    f"begin or end with an underscore. Delete it before saving."
                )
        if "module_" in state:
            try:
                check_module(state["module_"])
                if "contents" in state["module_"]:
                    plain = to_plain(state["module_"]["contents"])
                    state["module_"] = state["module_"] | {"contents": plain}
            except Exception as error:  # of any type, as in `load`
                raise ValueError(f"{self._where()}.module_ cannot be saved: {error}.") from error
        return {"class": name, "params": self._items(params), "attributes": self._items(state)}

    def _class_name(self, cls: type) -> str:
        for known in (ESTIMATORS, sklearn_estimators()):
            if known.get(cls.__name__) is cls:
                return cls.__name__
        if is_extension(cls):
            return full_name(cls)
        raise ValueError(
            f"{self._where()} is a {cls.__module__}.{cls.__qualname__}, which is neither of "
            f"sklearn_ae nor of scikit-learn. A file contains no other classes, except networks "
            f"and autoencoders that a module defines at its top level and that derive from "
            f"sklearn_ae.networks.Network or sklearn_ae.base.BaseAutoencoder. Remove it, or use "
            f"pickle."
        )

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
        if isinstance(value, type):
            return self._type(value)
        if RECORDS.get(kind.__name__) is kind:
            return {"$record": kind.__name__, "values": self._list(value)}
        if (form := form_of(value)) is not None:
            return self._object(form, value)
        return self._function(value)

    def _type(self, value: type) -> dict[str, Any]:
        if value in MODULES.values():
            return {"$module": value.__name__}
        if TYPES.get(name := f"{value.__module__}.{value.__name__}") is value:
            return {"$type": name}
        if is_extension(value):
            return {"$module": full_name(value)}
        raise self._refusal(value)

    def _function(self, value: Any) -> dict[str, Any]:
        if (name := function_name(self._name(), value)) is not None:
            return {"$function": name}
        if is_own_function(self._name(), value):
            return {"$function": full_name(value)}
        raise self._refusal(value)

    def _object(self, form: Form, value: Any) -> dict[str, Any]:
        try:
            parts = form.parts(value)
        except ValueError as error:
            raise ValueError(f"{self._where()} cannot be saved: it is {error}.") from error
        return {"$object": form.cls.__name__, "parts": self._dict(parts)}

    def _name(self) -> str:
        """Return the name of the parameter, attribute or key that the present value is in."""
        return [part for part in self._path if not part.startswith("[")][-1]

    def _refusal(self, value: Any) -> ValueError:
        return refusal(self._name(), value, self._where())

    def _list(self, values: Sequence[Any]) -> list[Any]:
        return [self._named(f"[{index}]", value) for index, value in enumerate(values)]

    def _dict(self, value: dict[Any, Any]) -> dict[str, Any]:
        if (mapping := self._mapping(value)) is not None:
            return mapping
        if all(type(key) is str and not key.startswith("$") for key in value):
            return self._items(value)
        check_keys(value)
        return {"$dict": [[self._value(k), self._named(str(k), v)] for k, v in value.items()]}

    def _mapping(self, value: dict[Any, Any]) -> dict[str, Any] | None:
        """Return a long dictionary from strings to integers of one type, such as a vocabulary."""
        kinds = {type(each) for each in value.values()}
        is_long = len(value) >= MANY and set(map(type, value)) == {str}
        if not is_long or kinds not in ({int}, {np.int64}):
            return None
        try:
            numbers = np.fromiter(value.values(), np.int64, len(value))
        except OverflowError:
            return None
        reference = {"$mapping": list(value), "values": self._array(numbers)}
        return reference if kinds == {int} else reference | {"scalars": True}

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
        elif DTYPES.get(value.dtype.name) != value.dtype and (code := packed(value.dtype)):
            value, reference["dtype"] = value[..., None].view(np.uint8), code
        if DTYPES.get(value.dtype.name) != value.dtype:
            raise self._refusal(value)
        self.arrays[reference["$array"]] = value
        return reference

    def _dtype(self, dtype: np.dtype) -> str:
        if DTYPES.get(dtype.name) == dtype:
            return dtype.name
        if not isinstance(code := packed(dtype, is_alone=True), str):
            raise self._refusal(dtype)
        return code

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
