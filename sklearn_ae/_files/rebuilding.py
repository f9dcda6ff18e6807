"""Estimators from plain JSON and arrays that a stranger may have written."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest

from sklearn_ae._files.catalogue import DTYPES, LAST_CODE_POINT, estimators, modules, records
from sklearn_ae._files.skops_gate import load_foreign
from sklearn_ae.losses import LOSSES, OUTPUT_ACTIVATIONS

STATE_WORDS = 624
"""Number of words in the state of a Mersenne twister."""


class Rebuilding:
    """Builds estimators from what :class:`sklearn_ae._files.description.Description` made of them.

    Nothing is believed: every name is looked up in the catalogue, every array is used once, so
    that a small file cannot become a large object, and what was built is checked for sense.

    Parameters
    ----------
    arrays : dict of str to ndarray
        All arrays of the file. They are taken out as they are used.
    """

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays
        self.built: list[BaseEstimator] = []

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
            if "skops" in described:
                self.built.append(load_foreign(self._value(described["skops"])))
            else:
                self.built.append(self._estimator(described))
        if self.arrays:
            raise ValueError(f"{len(self.arrays)} of its arrays belong to nothing")
        return self.built[-1]

    def _estimator(self, described: dict[str, Any]) -> BaseEstimator:
        cls = _look_up(estimators(), described["class"], "class")
        known = inspect.signature(cls).parameters
        params, attributes = described["params"], described["attributes"]
        if unknown := sorted(set(params) - set(known)):
            raise ValueError(f"{cls.__name__} has no parameter {unknown[0]!r}")
        if strange := [name for name in attributes if not is_attribute(cls, name)]:
            raise ValueError(f"{cls.__name__} has no attribute {strange[0]!r}")
        # Parameters that are younger than the file have their default.
        given = {name: known[name].default for name in known} | self._items(params)
        if missing := [name for name in given if given[name] is inspect.Parameter.empty]:
            raise ValueError(f"{cls.__name__} lacks the parameter {missing[0]!r}")
        estimator = cls.__new__(cls)
        estimator.__setstate__(given | self._items(attributes))
        check_sense(estimator)
        return estimator

    def _items(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: self._value(value) for name, value in values.items()}

    def _list(self, values: Any) -> list[Any]:
        if not isinstance(values, list):
            raise ValueError(f"{short(values)} stands where a list should be")
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
        return {self._value(key): self._value(value) for key, value in pairs}

    def _float(self, name: str) -> float:
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[name]

    def _array(self, name: str, order: str = "C", text: bool = False) -> np.ndarray:
        if name not in self.arrays:
            raise ValueError(f"the array {short(name)} is not there, or used twice")
        array = self.arrays.pop(name)
        if text:
            if array.dtype != np.uint32 or (array > LAST_CODE_POINT).any():
                raise ValueError(f"the array {name!r} is no text")
            array = array.view(f"<U{array.shape[-1]}")[..., 0]
        return array.T if order == "F" else array

    def _objects(self, values: Any, shape: list[int]) -> np.ndarray:
        entries = self._list(values)
        array = np.empty(len(entries), object)
        array[:] = entries
        return array.reshape(shape)

    def _scalar(self, value: Any, dtype: str) -> np.generic:
        return (np.str_ if dtype == "str" else self._dtype(dtype).type)(self._value(value))

    def _dtype(self, name: str) -> np.dtype:
        return _look_up(DTYPES, name, "type of numbers")

    def _device(self, name: str) -> torch.device:
        return torch.device(name)

    def _random(self, state: list[Any]) -> np.random.RandomState:
        key, place, has_gauss, gauss = self._list(state)
        if key.dtype != np.uint32 or key.shape != (STATE_WORDS,):
            raise ValueError("the state of a RandomState has not the right shape")
        if not 0 <= place <= STATE_WORDS:  # NumPy would read from there
            raise ValueError(f"the state of a RandomState is at place {place}")
        random_state = np.random.RandomState(0)
        random_state.set_state(("MT19937", key, int(place), int(has_gauss), float(gauss)))
        return random_state

    def _module(self, name: str) -> type:
        return _look_up(modules(), name, "module")

    def _record(self, name: str, values: Any) -> Any:
        return _look_up(records(), name, "record")(*self._list(values))

    def _requests(self, asked: dict[str, dict[str, Any]]) -> MetadataRequest:
        request = MetadataRequest(owner="estimator")
        for method, answers in asked.items():
            for param, alias in answers.items():
                vars(request)[method].add_request(param=param, alias=alias)
        return request

    def _built(self, place: int) -> BaseEstimator:
        if not isinstance(place, int) or not 0 <= place < len(self.built):
            raise ValueError(f"there is no estimator {short(place)} yet")
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
    if type(estimator) is Pipeline and estimator.memory is not None:
        raise ValueError(
            f"{name}.memory is {short(estimator.memory)}, but a file does not choose where "
            f"another machine caches; set_params(memory=None) before saving"
        )
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


def is_attribute(cls: type, name: str) -> bool:
    """Whether a fitted estimator may have an attribute of that name, which is nothing's yet."""
    return name.isidentifier() and "_" in (name[0], name[-1]) and not hasattr(cls, name)


def _look_up(known: dict[str, Any], name: Any, what: str) -> Any:
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{short(name)} is no {what} of sklearn_ae")
    return known[name]


def short(value: Any) -> str:
    """Show a value in a message, however long it is."""
    shown = repr(value)
    return shown if len(shown) < 100 else f"{shown[:97]}..."
