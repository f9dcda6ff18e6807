"""Estimators from plain JSON and arrays that a stranger may have written."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import MetadataRequest

from sklearn_ae._files.allowance import Allowance, check_keys
from sklearn_ae._files.arrays import check_characters, random_state
from sklearn_ae._files.catalogue import DTYPES, estimators, modules, records
from sklearn_ae._files.skops_reading import SkopsReading
from sklearn_ae._files.values import check_values, short
from sklearn_ae.losses import LOSSES, OUTPUT_ACTIVATIONS

CONTAINER_COST = 100
"""Bytes that a container takes without its entries."""

ENTRY_COST = 50
"""Bytes that an entry of a container takes, apart from its value."""

OBJECT_COST = 6_000
"""Bytes that an estimator of this package or the state of a generator takes, with its checks."""

MODULE_COST = 16_000
"""Bytes that a network takes without its weights."""

SHARED = 16
"""How much less than a copy it costs to be in a further place."""


class Rebuilding:
    """Builds estimators from what :class:`sklearn_ae._files.description.Description` made of them.

    Nothing is believed: every name is looked up in the catalogue, every array is used once, so
    that a small file cannot become a large object, and what was built is checked for sense.

    Parameters
    ----------
    arrays : dict of str to ndarray
        All arrays of the file. They are taken out as they are used.
    allowance : Allowance
        What the file may still take; all that is built is paid for before.
    """

    def __init__(self, arrays: dict[str, np.ndarray], allowance: Allowance) -> None:
        self.arrays = arrays
        self.allowance = allowance
        self.built: list[BaseEstimator] = []
        self._costs: list[int] = []  # of each that is built, with copies of all it refers to
        self._referred: set[int] = set()
        self._inside = self._shared = 0

    def build(self, objects: list[dict[str, Any]]) -> BaseEstimator:
        """Build all estimators, and return the last one.

        Parameters
        ----------
        objects : list of dict

        Returns
        -------
        estimator : BaseEstimator

        Raises
        ------
        Exception
            Of whatever kind, where the description makes no sense.
        """
        for described in objects:
            before = self.allowance.left
            self._inside = self._shared = 0
            if "skops" in described:
                self.built.append(self.foreign(self._value(described["skops"]).tobytes()))
            else:
                self.built.append(self._estimator(described))
            own = before - self.allowance.left - self._shared
            self._costs.append(own + self._inside)
        if self.arrays:
            raise ValueError(f"{len(self.arrays)} of its arrays belong to nothing")
        check_values(self.built[-1])
        return self.built[-1]

    def foreign(self, content: bytes) -> BaseEstimator:
        """Build an estimator of scikit-learn, of which skops has made bytes."""
        built = SkopsReading(content, self.allowance, self._revive).read()
        if not isinstance(built, BaseEstimator):
            raise ValueError("its part for skops is no estimator")
        return built

    def _estimator(self, described: dict[str, Any]) -> BaseEstimator:
        cls = _look_up(estimators(), described["class"], "class")
        params, attributes = self._items(described["params"]), described["attributes"]
        return self._revived(cls, params, self._items(attributes))

    def _revive(self, cls: type, state: dict[str, Any]) -> BaseEstimator:
        """Build an estimator from its parameters and attributes together."""
        known = _parameters(cls)
        params = {name: value for name, value in state.items() if name in known}
        return self._revived(cls, params, {n: v for n, v in state.items() if n not in known})

    def _revived(
        self, cls: Any, params: dict[str, Any], attributes: dict[str, Any]
    ) -> BaseEstimator:
        self.allowance.take(OBJECT_COST + MODULE_COST * ("module_" in attributes))
        known = _parameters(cls)
        if unknown := sorted(set(params) - set(known)):
            raise ValueError(f"{cls.__name__} has no parameter {unknown[0]!r}")
        if strange := [name for name in attributes if not is_attribute(cls, name)]:
            raise ValueError(f"{cls.__name__} has no attribute {strange[0]!r}")
        # Parameters that are younger than the file have their default.
        given = {name: known[name].default for name in known} | params
        if missing := [name for name in given if given[name] is inspect.Parameter.empty]:
            raise ValueError(f"{cls.__name__} lacks the parameter {missing[0]!r}")
        estimator = cls.__new__(cls)
        estimator.__setstate__(given | attributes)
        check_sense(estimator)
        return estimator

    def _items(self, values: dict[str, Any]) -> dict[str, Any]:
        self.allowance.take(CONTAINER_COST + ENTRY_COST * len(values))
        return {name: self._value(value) for name, value in values.items()}

    def _list(self, values: Any) -> list[Any]:
        if not isinstance(values, list):
            raise ValueError(f"{short(values)} stands where a list should be")
        self.allowance.take(CONTAINER_COST + ENTRY_COST * len(values))
        return [self._value(value) for value in values]

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return self._list(value)
        if not isinstance(value, dict):
            return value
        tag = next(iter(value), "")
        if not tag.startswith("$"):
            return self._items(value)
        options = dict(value)
        return _look_up(_BUILDERS, tag, "kind of value")(self, options.pop(tag), **options)

    # What JSON does not have; the first argument is the value of the key with the ``$``

    def _tuple(self, values: Any) -> tuple[Any, ...]:
        return tuple(self._list(values))

    def _dict(self, pairs: list[list[Any]]) -> dict[Any, Any]:
        self.allowance.take(CONTAINER_COST + 2 * ENTRY_COST * len(pairs))
        keys = [self._value(key) for key, _ in pairs]
        check_keys(keys)
        return {key: self._value(value) for key, (_, value) in zip(keys, pairs, strict=True)}

    def _float(self, name: str) -> float:
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[name]

    def _array(self, name: str, order: str = "C", text: bool = False) -> np.ndarray:
        if name not in self.arrays:
            raise ValueError(f"the array {short(name)} is not there, or used twice")
        array = self.arrays.pop(name)
        if text:
            if array.dtype != np.uint32:
                raise ValueError(f"the array {short(name)} is no text")
            check_characters(array)
            array = array.view(f"<U{array.shape[-1]}")[..., 0]
        return array.T if order == "F" else array

    def _objects(self, values: Any, shape: list[int]) -> np.ndarray:
        # One by one: NumPy would look for arrays in what has a length, a pipeline for one.
        return np.fromiter(self._list(values), object, len(values)).reshape(shape)

    def _scalar(self, value: Any, dtype: str) -> np.generic:
        number = self._value(value)
        if type(number) not in (bool, int, float, str):
            raise ValueError(f"{short(value)} stands where a number should be")
        return (np.str_ if dtype == "str" else self._dtype(dtype).type)(number)

    def _dtype(self, name: str) -> np.dtype:
        return _look_up(DTYPES, name, "type of numbers")

    def _device(self, name: str) -> torch.device:
        return torch.device(name)

    def _random(self, state: list[Any]) -> np.random.RandomState:
        key, place, has_gauss, gauss = self._list(state)
        self.allowance.take(OBJECT_COST)
        return random_state(key, place, has_gauss, gauss)

    def _module(self, name: str) -> type:
        return _look_up(modules(), name, "module")

    def _record(self, name: str, values: Any) -> Any:
        return _look_up(records(), name, "record")(*self._list(values))

    def _requests(self, asked: dict[str, dict[str, Any]]) -> MetadataRequest:
        self.allowance.take(OBJECT_COST)
        request = MetadataRequest(owner="estimator")
        for method, answers in asked.items():
            for param, alias in answers.items():
                self.allowance.take(CONTAINER_COST)
                vars(request)[method].add_request(param=param, alias=alias)
        return request

    def _built(self, place: int) -> BaseEstimator:
        if not isinstance(place, int) or not 0 <= place < len(self.built):
            raise ValueError(f"there is no estimator {short(place)} yet")
        self._inside += self._costs[place]
        if place in self._referred:
            # Pipelines that hold the one before twice double what is in them.
            self.allowance.take(self._costs[place] // SHARED)
            self._shared += self._costs[place] // SHARED
        self._referred.add(place)
        return self.built[place]


_BUILDERS: dict[str, Any] = {
    "$tuple": Rebuilding._tuple,
    "$dict": Rebuilding._dict,
    "$float": Rebuilding._float,
    "$array": Rebuilding._array,
    "$objects": Rebuilding._objects,
    "$scalar": Rebuilding._scalar,
    "$dtype": Rebuilding._dtype,
    "$device": Rebuilding._device,
    "$random": Rebuilding._random,
    "$module": Rebuilding._module,
    "$record": Rebuilding._record,
    "$requests": Rebuilding._requests,
    "$estimator": Rebuilding._built,
}


def check_sense(estimator: Any) -> None:
    """Refuse parameters that no estimator of the kind has, and sizes that contradict each other.

    Raises
    ------
    ValueError
    """
    name = type(estimator).__name__
    if hasattr(type(estimator), "_parameter_constraints"):
        estimator._validate_params()
    module = vars(estimator).get("module_")
    if module is None:
        return
    sizes = {
        "n_features_in_": (estimator.n_features_in_, len(module.center)),
        "n_components_": (estimator.n_components_, len(module.code_mean)),
        "_n_features_out": (estimator._n_features_out, len(module.code_mean)),
        "input_shape_": (estimator.input_shape_, module.config["row_shape"]),
    }
    for attribute, (size, expected) in sizes.items():
        if size != expected:
            raise ValueError(f"{name}.{attribute} says {short(size)}, its network {expected}")
    loss = estimator._fitted_loss
    if isinstance(loss, str) and loss not in LOSSES:
        raise ValueError(f"{name} was fitted with the loss {short(loss)}, which is none")
    activation = vars(estimator).get("_fitted_output_activation", "identity")
    if activation not in ("identity", *OUTPUT_ACTIVATIONS):
        raise ValueError(f"{name} was fitted with the output activation {short(activation)}")
    estimator._get_fitted_loss()


@functools.cache
def _parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(cls).parameters


def is_attribute(cls: type, name: str) -> bool:
    """Whether a fitted estimator may have an attribute of that name, which is nothing's yet."""
    return name.isidentifier() and "_" in (name[0], name[-1]) and not hasattr(cls, name)


def _look_up(known: dict[str, Any], name: Any, what: str) -> Any:
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{short(name)} is no {what} of sklearn_ae")
    return known[name]
