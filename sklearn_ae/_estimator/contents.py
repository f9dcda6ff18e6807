"""The data of a custom network: taken out of one module, and put into a newly built one.

A module is rebuilt by its constructor, which brings back all code: layers, functions, hooks,
parametrisations. It does not bring back random numbers that it drew, nor changes by training. All
*data* are therefore stored: parameters and buffers of any type, tensors, arrays, numbers, text,
random number generators, and lists, dictionaries and dataclasses of these, in any attribute of any
module. An object that is referred to from several places is again one object afterwards.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import dataclasses
import enum
import random
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sklearn_ae._training.device import present_device

INTERNAL = frozenset(vars(nn.Module())) | {"config", "network", "_log_partition"}
"""Attributes that torch and this package store in other ways, or compute again."""

IMMUTABLE = (
    *(type(None), bool, int, float, complex, str, bytes, enum.Enum, slice, range),
    *(np.generic, np.dtype, torch.Size, torch.dtype, torch.device),
)
"""Types whose values need no copy."""

COPIED = (np.random.Generator, np.random.RandomState, np.random.SeedSequence, random.Random)
"""Types of objects that are copied by ``deepcopy``."""

SEQUENCES = (list, tuple, set, frozenset, collections.deque)
MAPPINGS = (dict, collections.OrderedDict, collections.defaultdict)

T = TypeVar("T")


class StoredTensor(NamedTuple):
    """Stands for a tensor: its name among the stored tensors, and its device."""

    name: str
    device: str


class StoredGenerator(NamedTuple):
    """Stands for a generator of torch."""

    state: np.ndarray
    device: str


@dataclasses.dataclass(eq=False)
class StoredContainer:
    """Stands for a list, a dictionary, a dataclass or the like.

    Attributes
    ----------
    kind : type
    extra : object
        What its constructor needs beside the parts: the maximum length of a deque, the default
        factory of a dictionary, the attribute names of a dataclass.
    parts : list
        Stored values; of a dictionary, all keys followed by all values.
    """

    kind: type
    extra: Any
    parts: list[Any]


class _NotDataError(Exception):
    """A value is no data, so the constructor has to create it."""


def module_contents(module: nn.Module) -> dict[str, Any]:
    """Return the data of a module as plain values and NumPy arrays.

    Parameters
    ----------
    module : Module

    Returns
    -------
    dict
        - ``"names"``: for each parameter and buffer, the name of its tensor in ``"tensors"``;
        - ``"trained"``: for each parameter, whether it requires a gradient;
        - ``"attributes"``: for each submodule, those of its attributes that are data;
        - ``"extra"``: for each submodule that defines ``get_extra_state``, what this returns;
        - ``"tensors"``: arrays by name; tensors if NumPy lacks their dtype or layout.
    """
    extractor = _Extractor()
    names = {name: extractor.name_of(name, value) for name, value in _registered(module).items()}
    parameters = module.named_parameters(remove_duplicate=False)
    submodules = module.named_modules()
    return {
        "names": names,
        "trained": {name: value.requires_grad for name, value in parameters},
        "attributes": {name: extractor.attributes(name, each) for name, each in submodules},
        "extra": {name: each.get_extra_state() for name, each in _with_extra_state(module)},
        "tensors": extractor.tensors,
    }


def restore_contents(module: nn.Module, contents: dict[str, Any]) -> None:
    """Give a module the data of another one that was built with the same arguments.

    Parameters
    ----------
    module : Module
        Modified in place, so that closures and lists still refer to its parameters.
    contents : dict
        As returned by :func:`module_contents`.

    Raises
    ------
    ValueError
        If the other module has submodules that the constructor does not make.
    """
    submodules = dict(module.named_modules(remove_duplicate=False))
    if unknown := sorted(set(contents["attributes"]) - set(submodules)):
        raise ValueError(
            f"the constructor of {type(module).__name__} makes no part named {unknown[0]!r}; a "
            f"network must make all its parts in its constructor."
        )
    restorer = _Restorer(contents["tensors"])
    before = _registered(module)
    for name, source in contents["names"].items():
        is_trained = contents["trained"].get(name)
        slots, leaf = _slot(submodules, name, is_trained is not None)
        if source not in restorer.placed:  # else the tensor is shared, and stays shared
            tensor = restorer.tensor(source)
            restorer.placed[source] = _with_value(slots.get(leaf), tensor, is_trained)
        slots[leaf] = restorer.placed[source]
    # Parameters and buffers that had become None are not among the names.
    for name in set(before) - set(contents["names"]):
        slots, leaf = _slot(submodules, name, isinstance(before[name], nn.Parameter))
        slots[leaf] = None
    for name, attributes in contents["attributes"].items():
        restorer.attributes(submodules[name], attributes)
    for name, state in contents["extra"].items():
        submodules[name].set_extra_state(state)


def _registered(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name; those with two names under both."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def _with_extra_state(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the submodules that override ``get_extra_state``, with their names."""
    default: Callable[..., Any] = nn.Module.get_extra_state
    return [(n, m) for n, m in module.named_modules() if type(m).get_extra_state is not default]


def _slot(
    submodules: dict[str, nn.Module], name: str, is_parameter: bool
) -> tuple[dict[str, Any], str]:
    """Return the dictionary in which torch stores a parameter or buffer, and the key."""
    owner, _, leaf = name.rpartition(".")
    module = submodules[owner]
    return module._parameters if is_parameter else module._buffers, leaf


def _with_value(old: Tensor | None, value: Tensor, is_trained: bool | None) -> Tensor:
    """Return a parameter or buffer with a value: the old object, if there is one.

    `is_trained` is None for buffers.
    """
    new = value if is_trained is None else nn.Parameter(value, is_trained)
    if old is None or is_lazy(old):
        return new
    try:
        old.data = value  # not copied into the old memory, which another tensor may share
    except RuntimeError:  # of another layout, for example sparse
        return new
    return old if is_trained is None else old.requires_grad_(is_trained)


def _is_plain_dataclass(value: Any) -> bool:
    """Return whether a value is a dataclass instance, and no module or estimator."""
    is_other = isinstance(value, (type, nn.Module, BaseEstimator))
    return dataclasses.is_dataclass(value) and hasattr(value, "__dict__") and not is_other


class _Extractor:
    """Converts the data of a module to stored values.

    Attributes
    ----------
    tensors : dict
        Arrays by the name under which they were found first; tensors if NumPy lacks their dtype or
        layout.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Any] = {}
        self.stored: dict[int, Any] = {}
        """Stored values by the id of the object for which they stand."""
        self.kept: list[Any] = []  # an id may be reused once its object is deleted

    def name_of(self, name: str, value: Tensor) -> str:
        """Store a tensor and return its name: the first one if it has several."""
        return self.tensor(name, value).name

    def tensor(self, name: str, value: Tensor) -> StoredTensor:
        """Store a tensor."""
        stored: StoredTensor | None = self.stored.get(id(value))
        if stored is not None:
            return stored
        array = value.detach().cpu().resolve_conj().resolve_neg()
        try:
            self.tensors[name] = np.array(array.numpy())
        except (TypeError, RuntimeError):  # of a dtype or a layout that NumPy lacks
            self.tensors[name] = array.clone()
        return self._remember(value, StoredTensor(name, str(value.device)))

    def attributes(self, name: str, module: nn.Module) -> dict[str, Any]:
        """Return those attributes of a module that are data."""
        found = {}
        for key, value in vars(module).items():
            if key in INTERNAL:
                continue
            n_stored, n_tensors = len(self.stored), len(self.tensors)
            try:
                found[key] = self.value(f"{name}.{key}" if name else key, value)
            except _NotDataError:
                # Part of it may be stored already. It must be stored again, under the name of
                # an attribute that is restored, if it is found there, too.
                while len(self.stored) > n_stored:
                    self.stored.popitem()
                while len(self.tensors) > n_tensors:
                    self.tensors.popitem()
        return found

    def value(self, name: str, value: Any) -> Any:
        """Return the stored value for an object that was found under a name."""
        if isinstance(value, IMMUTABLE):
            return value
        if id(value) in self.stored:
            return self.stored[id(value)]
        if type(value) in (Tensor, nn.Parameter, nn.Buffer):
            return self.tensor(name, value)
        if isinstance(value, torch.Generator):
            state = value.get_state().numpy()
            return self._remember(value, StoredGenerator(state, str(value.device)))
        if isinstance(value, COPIED) or (
            isinstance(value, np.ndarray) and not value.dtype.hasobject
        ):
            return self._remember(value, copy.deepcopy(value))
        return self._container(name, value)

    def _container(self, name: str, value: Any) -> StoredContainer:
        kind, extra = type(value), None
        parts: list[Any]
        if kind in MAPPINGS:
            parts = [*value, *value.values()]
            extra = getattr(value, "default_factory", None)
        elif kind in SEQUENCES or hasattr(kind, "_fields"):  # a named tuple
            parts, extra = list(value), getattr(value, "maxlen", None)
        elif _is_plain_dataclass(value):
            parts, extra = list(vars(value).values()), list(vars(value))
        else:
            raise _NotDataError
        # Remembered before its parts are stored: it may contain itself.
        stored = self._remember(value, StoredContainer(kind, extra, []))
        stored.parts.extend(self.value(f"{name}.{n}", part) for n, part in enumerate(parts))
        return stored

    def _remember(self, value: Any, stored: T) -> T:
        self.stored[id(value)] = stored
        self.kept.append(value)
        return stored


class _Restorer:
    """Converts stored values back.

    Parameters
    ----------
    tensors : dict
        As stored by :class:`_Extractor`.

    Attributes
    ----------
    placed : dict of str to Tensor
        The restored tensors by name.
    """

    def __init__(self, tensors: dict[str, Any]) -> None:
        self.tensors = tensors
        self.placed: dict[str, Tensor] = {}
        self.restored: dict[int, Any] = {}
        """Objects by the id of the stored value that stands for them."""

    def tensor(self, name: str) -> Tensor:
        """Return a copy of a tensor, on the CPU."""
        stored = self.tensors[name]
        return stored.clone() if isinstance(stored, Tensor) else torch.tensor(stored)

    def attributes(self, module: nn.Module, attributes: dict[str, Any]) -> None:
        """Set attributes of a module."""
        # In its __dict__, as stored: setattr would register tensors as parameters or buffers.
        vars(module).update({key: self.value(stored) for key, stored in attributes.items()})

    def value(self, stored: Any) -> Any:
        """Return the object for which a value of :meth:`_Extractor.value` stands."""
        if id(stored) in self.restored:
            return self.restored[id(stored)]
        if isinstance(stored, StoredTensor):
            if stored.name not in self.placed:
                tensor = self.tensor(stored.name).to(present_device(stored.device))
                self.placed[stored.name] = tensor
            return self.placed[stored.name]
        value: Any
        if isinstance(stored, StoredGenerator):
            value = torch.Generator(present_device(stored.device))
            # The state has another format if the device is not present.
            with contextlib.suppress(RuntimeError):
                value.set_state(torch.from_numpy(np.array(stored.state)))
        elif isinstance(stored, StoredContainer):
            return self._container(stored)
        elif isinstance(stored, (np.ndarray, *COPIED)):
            value = copy.deepcopy(stored)
        else:
            return stored
        self.restored[id(stored)] = value
        return value

    def _container(self, stored: StoredContainer) -> Any:
        kind, extra = stored.kind, stored.extra
        # Immutable containers are built from their parts, and thus cannot contain themselves.
        if kind in (tuple, frozenset) or hasattr(kind, "_fields"):
            parts = [self.value(part) for part in stored.parts]
            value = kind(*parts) if hasattr(kind, "_fields") else kind(parts)
            self.restored[id(stored)] = value
            return value
        # The others are built empty first, because they may contain themselves.
        if dataclasses.is_dataclass(kind):
            value = object.__new__(kind)
        elif extra is not None:
            value = kind([], extra) if kind is collections.deque else kind(extra)
        else:
            value = kind()
        self.restored[id(stored)] = value
        parts = [self.value(part) for part in stored.parts]
        if dataclasses.is_dataclass(kind):
            vars(value).update(zip(extra, parts, strict=True))
        elif kind in MAPPINGS:
            half = len(parts) // 2
            value.update(zip(parts[:half], parts[half:], strict=True))
        elif kind is set:
            value.update(parts)
        else:
            value.extend(parts)
        return value
