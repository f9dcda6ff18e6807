"""Estimators from untrusted JSON and arrays."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import MetadataRequest

from sklearn_ae._files.allowance import Allowance, check_keys
from sklearn_ae._files.arrays import check_characters, random_state, unpacked
from sklearn_ae._files.catalogue import (
    DTYPES,
    ESTIMATORS,
    MODULES,
    RECORDS,
    TYPES,
    function_of,
    sklearn_estimators,
)
from sklearn_ae._files.contents import from_plain
from sklearn_ae._files.objects import build_object
from sklearn_ae._files.trees import check_trees
from sklearn_ae._files.trusted import SEPARATOR, Trusted, is_extension, names_in
from sklearn_ae._files.values import check_values, short
from sklearn_ae._tables.table import Table
from sklearn_ae.losses import LOSSES, OUTPUT_ACTIVATIONS

T = TypeVar("T")

CONTAINER_COST = 100
"""Bytes of memory of a container without its entries."""

ENTRY_COST = 50
"""Bytes of an entry of a container, without its value."""

OBJECT_COST = 6_000
"""Bytes of an estimator of this package, or of a generator, including those of its checks."""

MODULE_COST = 16_000
"""Bytes of a network without its weights."""

SHARED = 16
"""Memory of a copy of an estimator, divided by what a further reference to it is charged."""


class Rebuilder:
    """Builds estimators from a :class:`sklearn_ae._files.description.Description`.

    The description is not trusted: every name is looked up in the catalogue, every array is used
    once, so that a small file cannot become a large object, and the estimators are checked for
    consistency.

    Parameters
    ----------
    arrays : dict of str to ndarray
        All arrays of the file. An array is removed when it is used.
    allowance : Allowance
        The memory that may still be used; it is reduced before anything is built.
    trusted : Trusted or None, default=None
        Finds classes of other modules. None: there are none.
    """

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        allowance: Allowance,
        trusted: Trusted | None = None,
    ) -> None:
        self.arrays = arrays
        self.allowance = allowance
        self.trusted = trusted or Trusted()
        self.built: list[BaseEstimator] = []
        # Memory of each built estimator if it were copied with all that it refers to.
        self._costs: list[int] = []
        self._referred: set[int] = set()
        # Of the estimator that is being built: that memory of the estimators it refers to, and
        # what further references to them were charged.
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
            Of any type, if the description is not consistent.
        """
        self.trusted.check(names_in(objects))
        for described in objects:
            before = self.allowance.left
            self._inside = self._shared = 0
            self.built.append(self._estimator(described))
            own = before - self.allowance.left - self._shared
            self._costs.append(own + self._inside)
        if self.arrays:
            raise ValueError(f"{len(self.arrays)} of its arrays are not used")
        check_values(self.built[-1])
        return self.built[-1]

    def _estimator(self, described: dict[str, Any]) -> BaseEstimator:
        cls = self._class(described["class"])
        params, attributes = described["params"], described["attributes"]
        return self._build(cls, self._items(params), self._items(attributes))

    def _class(self, name: Any) -> Any:
        if isinstance(name, str) and SEPARATOR in name:
            return self.trusted.class_(name)
        known = ESTIMATORS if name in ESTIMATORS else sklearn_estimators()
        return _look_up(known, name, "class")

    def _build(
        self, cls: Any, params: dict[str, Any], attributes: dict[str, Any]
    ) -> BaseEstimator:
        self.allowance.take(OBJECT_COST + MODULE_COST * ("module_" in attributes))
        if "contents" in (state := attributes.get("module_", {})):
            attributes["module_"] = state | {"contents": from_plain(state["contents"])}
        declared = _parameters(cls)
        if unknown := sorted(set(params) - set(declared)):
            raise ValueError(f"{cls.__name__} has no parameter {unknown[0]!r}")
        if invalid := [name for name in attributes if not is_attribute(cls, name)]:
            raise ValueError(f"{cls.__name__} has no attribute {invalid[0]!r}")
        # Parameters that were added after the file was written have their default.
        given = {name: declared[name].default for name in declared} | params
        if missing := [name for name in given if given[name] is inspect.Parameter.empty]:
            raise ValueError(f"{cls.__name__} lacks the parameter {missing[0]!r}")
        # Without __init__: __setstate__ sets parameters and attributes together.
        estimator = cls.__new__(cls)
        estimator.__setstate__(given | attributes)
        check_consistency(estimator)
        return estimator

    def _items(self, values: dict[str, Any]) -> dict[str, Any]:
        self.allowance.take(CONTAINER_COST + ENTRY_COST * len(values))
        return {name: self._value(value) for name, value in values.items()}

    def _list(self, values: Any) -> list[Any]:
        if not isinstance(values, list):
            raise ValueError(f"{short(values)} is not a list")
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
        return _look_up(_BUILDERS, tag, "type of value")(self, options.pop(tag), **options)

    # Values that JSON does not have; the first argument is the value of the key with ``$``

    def _tuple(self, values: Any) -> tuple[Any, ...]:
        return tuple(self._list(values))

    def _dict(self, pairs: list[list[Any]]) -> dict[Any, Any]:
        self.allowance.take(CONTAINER_COST + 2 * ENTRY_COST * len(pairs))
        keys = [self._value(key) for key, _ in pairs]
        check_keys(keys)
        return {key: self._value(value) for key, (_, value) in zip(keys, pairs, strict=True)}

    def _float(self, name: str) -> float:
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[name]

    def _mapping(self, keys: list[str], values: Any, scalars: bool = False) -> dict[str, Any]:
        numbers: np.ndarray = self._value(values)
        if not isinstance(keys, list) or set(map(type, keys)) > {str} or numbers.ndim != 1:
            raise ValueError("a vocabulary has words that are no strings")
        self.allowance.take(CONTAINER_COST + 3 * ENTRY_COST * len(keys))
        return dict(zip(keys, numbers if scalars else numbers.tolist(), strict=True))

    def _array(
        self, name: str, order: str = "C", text: bool = False, dtype: Any = None
    ) -> np.ndarray:
        if name not in self.arrays:
            raise ValueError(f"the array {short(name)} is missing, or used twice")
        array = self.arrays.pop(name)
        if text:
            if array.dtype != np.uint32:
                raise ValueError(f"the array {short(name)} contains no strings")
            check_characters(array)
            array = array.view(f"<U{array.shape[-1]}")[..., 0]
        elif dtype is not None:
            if array.dtype != np.uint8 or array.shape[-1:] != (unpacked(dtype).itemsize,):
                raise ValueError(f"the array {short(name)} contains no values of its dtype")
            array = array.view(unpacked(dtype))[..., 0]
        return array.T if order == "F" else array

    def _objects(self, values: Any, shape: list[int]) -> np.ndarray:
        # Not np.array(values): NumPy would iterate over entries with a length, e.g. pipelines.
        return np.fromiter(self._list(values), object, len(values)).reshape(shape)

    def _scalar(self, value: Any, dtype: str) -> np.generic:
        number = self._value(value)
        if type(number) not in (bool, int, float, str):
            raise ValueError(f"{short(value)} is not a number")
        return (np.str_ if dtype == "str" else self._dtype(dtype).type)(number)

    def _dtype(self, name: str) -> np.dtype[Any]:
        if isinstance(name, str) and name in DTYPES:
            return DTYPES[name]
        return unpacked(short(name) if not isinstance(name, str) else name, is_alone=True)

    def _device(self, name: str) -> torch.device:
        return torch.device(name)

    def _random(self, state: list[Any]) -> np.random.RandomState:
        key, position, has_gauss, gauss = self._list(state)
        self.allowance.take(OBJECT_COST)
        return random_state(key, position, has_gauss, gauss)

    def _module(self, name: str) -> type:
        if isinstance(name, str) and SEPARATOR in name:
            return self.trusted.class_(name)
        return _look_up(MODULES, name, "module")

    def _type(self, name: str) -> type:
        return _look_up(TYPES, name, "class of numbers")

    def _function(self, name: str) -> Any:
        if not isinstance(name, str):
            raise ValueError(f"{short(name)} is no name of a function")
        return self.trusted.function(name) if SEPARATOR in name else function_of(name)

    def _object(self, name: str, parts: dict[str, Any]) -> Any:
        values = self._value(parts)
        if not isinstance(values, dict):
            raise ValueError(f"the parts of a {short(name)} have no names")
        return build_object(name, values, self.allowance)

    def _record(self, name: str, values: Any) -> Any:
        return _look_up(RECORDS, name, "record")(*self._list(values))

    def _requests(self, requests: dict[str, dict[str, Any]]) -> MetadataRequest:
        self.allowance.take(OBJECT_COST)
        request = MetadataRequest(owner="estimator")
        for method, aliases in requests.items():
            for param, alias in aliases.items():
                self.allowance.take(CONTAINER_COST)
                vars(request)[method].add_request(param=param, alias=alias)
        return request

    def _reference(self, index: int) -> BaseEstimator:
        if not isinstance(index, int) or not 0 <= index < len(self.built):
            raise ValueError(f"there is no estimator {short(index)} yet")
        self._inside += self._costs[index]
        if index in self._referred:
            # In a chain of pipelines that contain the previous one twice, clone or repr take
            # memory and time that double with each: references are charged as fractions of copies.
            self.allowance.take(self._costs[index] // SHARED)
            self._shared += self._costs[index] // SHARED
        self._referred.add(index)
        return self.built[index]


_BUILDERS: dict[str, Any] = {
    "$tuple": Rebuilder._tuple,
    "$dict": Rebuilder._dict,
    "$float": Rebuilder._float,
    "$array": Rebuilder._array,
    "$objects": Rebuilder._objects,
    "$scalar": Rebuilder._scalar,
    "$dtype": Rebuilder._dtype,
    "$device": Rebuilder._device,
    "$random": Rebuilder._random,
    "$mapping": Rebuilder._mapping,
    "$module": Rebuilder._module,
    "$type": Rebuilder._type,
    "$function": Rebuilder._function,
    "$object": Rebuilder._object,
    "$record": Rebuilder._record,
    "$requests": Rebuilder._requests,
    "$estimator": Rebuilder._reference,
}


def _check_table(estimator: Any) -> int | None:
    """Check the table that an estimator was fitted to; return its number of columns, if any."""
    table = vars(estimator).get("_table")
    if table is None:
        return None
    if not isinstance(table, Table):
        raise ValueError(f"{type(estimator).__name__}._table is {short(table)}")
    if "_members" in vars(estimator):  # of an outlier detector
        widths = {member.widths.tobytes() for member in estimator._members}
        if widths != {np.array(table.layout.widths, dtype=int).tobytes()}:
            raise ValueError(f"{type(estimator).__name__}._table does not fit to its members")
        observed = estimator._fill
    else:
        observed = vars(estimator).get("_observed_features")  # of an imputer
    if observed is None:
        fitted = vars(estimator).get("autoencoder_", estimator)  # in a supervised stack
        observed = fitted.module_.center
    table.check(len(observed))
    lengths = {
        name: len(vars(estimator)[name])
        for name in ("is_categorical_", "column_scores_", "_kept_columns")
        if name in vars(estimator)
    }
    layout = getattr(vars(estimator).get("module_"), "layout", table.layout)
    if set(lengths.values()) - {len(table.columns)} or layout != table.layout:
        raise ValueError(f"{type(estimator).__name__}._table does not fit to its network")
    return len(table.columns)


def check_consistency(estimator: Any) -> None:
    """Refuse invalid parameters, and fitted attributes that contradict the network.

    Raises
    ------
    ValueError
    """
    cls, name = type(estimator), type(estimator).__name__
    if cls not in ESTIMATORS.values() and not is_extension(cls):
        check_trees(estimator)
        return
    if hasattr(cls, "_parameter_constraints"):
        estimator._validate_params()
    n_features = _check_table(estimator)
    module = vars(estimator).get("module_")
    if module is None:
        return
    if n_features is None:
        n_features = len(module.center)
    sizes = {
        "n_features_in_": (estimator.n_features_in_, n_features),
        "n_components_": (estimator.n_components_, len(module.code_mean)),
        "_n_features_out": (estimator._n_features_out, len(module.code_mean)),
        "input_shape_": (estimator.input_shape_, module.config["sample_shape"]),
    }
    for attribute, (size, expected) in sizes.items():
        if size != expected:
            raise ValueError(f"{name}.{attribute} is {short(size)}, but {expected} in its network")
    # Names that are looked up when the estimator is used.
    loss = estimator._fitted_loss
    if isinstance(loss, str) and loss not in LOSSES:
        raise ValueError(f"{name} was fitted with {short(loss)}, which is no loss")
    activation = vars(estimator).get("_fitted_output_activation", "identity")
    if activation not in ("identity", *OUTPUT_ACTIVATIONS):
        raise ValueError(
            f"{name} was fitted with {short(activation)}, which is no output activation"
        )
    estimator._get_fitted_loss()


@functools.cache
def _parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(cls).parameters


def is_attribute(cls: type, name: str) -> bool:
    """Return whether a fitted estimator may have this attribute: its class must not have it."""
    if not name.isidentifier() or hasattr(cls, name):
        return False
    return "_" in (name[0], name[-1]) or cls.__module__.startswith("sklearn.")


def _look_up(allowed: Mapping[str, T], name: Any, kind: str) -> T:
    if not isinstance(name, str) or name not in allowed:
        raise ValueError(f"{short(name)} is no {kind} of sklearn_ae")
    return allowed[name]
