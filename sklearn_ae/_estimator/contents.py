"""What a network that somebody else wrote holds, put back into one that is built anew.

A constructor brings back what is code: layers, functions, hooks, parametrisations. It cannot be
asked what it drew, and it does not know what training changed. So all that is *data* is
carried: parameters and buffers of any kind, tensors, arrays, numbers, text, generators of random
numbers, and lists, dictionaries and dataclasses of these, wherever a module has them as
attributes. What stands in several places is one thing again afterwards.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import dataclasses
import enum
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sklearn_ae._training.device import present_device

INTERNAL = frozenset(vars(nn.Module())) | {"config", "network", "_log_partition"}
"""Attributes that torch and this package keep account of in other ways, or compute again."""

VALUES = (
    *(type(None), bool, int, float, complex, str, bytes, enum.Enum, slice, range),
    *(np.generic, np.dtype, torch.Size, torch.dtype, torch.device),
)
"""What nobody changes, so that it need not be copied."""

STATES = (np.random.Generator, np.random.RandomState, np.random.SeedSequence, random.Random)
"""Objects of no other kind that are copied as a whole."""

SEQUENCES = (list, tuple, set, frozenset, collections.deque)
MAPPINGS = (dict, collections.OrderedDict, collections.defaultdict)


class Stored(NamedTuple):
    """A tensor: its name among the tensors of the contents, and where it was."""

    name: str
    device: str


class Draws(NamedTuple):
    """A generator of torch."""

    state: np.ndarray
    device: str


@dataclasses.dataclass(eq=False)
class Container:
    """A list, a dictionary or a dataclass: its type, what it was made with, and its parts."""

    kind: type
    extra: Any
    parts: list[Any]


class _NoDataError(Exception):
    """A value that a constructor has to bring."""


def contents_of(module: nn.Module) -> dict[str, Any]:
    """Describe what a module holds by plain values and NumPy arrays.

    Parameters
    ----------
    module : Module

    Returns
    -------
    dict
        ``"names"``: of each parameter and buffer, that of the tensor; ``"trained"``: of each
        parameter, whether it is trained; ``"tensors"``: by name, as arrays unless NumPy lacks
        their type; ``"attributes"``: of each part, what is data among them.
    """
    taking = _Taking()
    names = {name: taking.name_of(name, value) for name, value in _registered(module).items()}
    parameters = module.named_parameters(remove_duplicate=False)
    parts = module.named_modules()
    return {
        "names": names,
        "trained": {name: value.requires_grad for name, value in parameters},
        "attributes": {name: taking.attributes(name, part) for name, part in parts},
        "extra": {name: part.get_extra_state() for name, part in _with_extra(module)},
        "tensors": taking.tensors,
    }


def put_back(module: nn.Module, contents: dict[str, Any]) -> None:
    """Let a module hold what another one held, whose constructor had the same arguments.

    Parameters
    ----------
    module : Module
        Filled in place, so that whatever refers to its parameters still does.
    contents : dict
        As :func:`contents_of` returns them.

    Raises
    ------
    ValueError
        If the other one had parts that the constructor does not make.
    """
    parts = dict(module.named_modules(remove_duplicate=False))
    if strange := sorted(set(contents["attributes"]) - set(parts)):
        raise ValueError(
            f"the constructor of {type(module).__name__} makes no part named {strange[0]!r}; a "
            f"network must make all its parts when it is built."
        )
    giving = _Giving(contents["tensors"])
    before = _registered(module)
    for name, source in contents["names"].items():
        is_trained = contents["trained"].get(name)
        slots, leaf = _slot(parts, name, is_trained is not None)
        if source not in giving.placed:
            giving.placed[source] = _filled(slots.get(leaf), giving.tensor(source), is_trained)
        slots[leaf] = giving.placed[source]
    for name in set(before) - set(contents["names"]):  # None by now
        slots, leaf = _slot(parts, name, isinstance(before[name], nn.Parameter))
        slots[leaf] = None
    for name, attributes in contents["attributes"].items():
        giving.attributes(parts[name], attributes)
    for name, state in contents["extra"].items():
        parts[name].set_extra_state(state)


def _registered(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, those with two names under both."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def _with_extra(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the parts that have a state of their own making."""
    plain: Callable[..., Any] = nn.Module.get_extra_state
    return [(n, p) for n, p in module.named_modules() if type(p).get_extra_state is not plain]


def _slot(
    parts: dict[str, nn.Module], name: str, is_parameter: bool
) -> tuple[dict[str, Any], str]:
    """Return where a parameter or a buffer is kept, and its name there."""
    owner, _, leaf = name.rpartition(".")
    return parts[owner]._parameters if is_parameter else parts[owner]._buffers, leaf


def _filled(old: Tensor | None, value: Tensor, is_trained: bool | None) -> Tensor:
    """Return a parameter or a buffer of a value: the old one where there is one.

    `is_trained` is None for buffers.
    """
    fresh = value if is_trained is None else nn.Parameter(value, is_trained)
    if old is None or is_lazy(old):
        return fresh
    try:
        old.data = value  # and not a copy into it: others may share its memory
    except RuntimeError:  # of another layout
        return fresh
    return old if is_trained is None else old.requires_grad_(is_trained)


def _is_plain_dataclass(value: Any) -> bool:
    """Whether a value is an instance of a dataclass and nothing that is built otherwise."""
    built = isinstance(value, (type, nn.Module, BaseEstimator))
    return dataclasses.is_dataclass(value) and hasattr(value, "__dict__") and not built


class _Taking:
    """Takes data out of a module.

    Attributes
    ----------
    tensors : dict
        Arrays by the name of the place where they were found first, tensors where NumPy lacks
        their type.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Any] = {}
        self.taken: dict[int, Any] = {}
        """What was made of an object, by its id."""
        self.kept: list[Any] = []  # an id is unique only while its object lives

    def name_of(self, name: str, value: Tensor) -> str:
        """Store a tensor, and return its name: another one if it was met before."""
        return self.tensor(name, value).name

    def tensor(self, name: str, value: Tensor) -> Stored:
        """Store a tensor."""
        if id(value) not in self.taken:
            array = value.detach().cpu().resolve_conj().resolve_neg()
            try:
                self.tensors[name] = np.array(array.numpy())
            except (TypeError, RuntimeError):  # of a type or a layout that NumPy has not
                self.tensors[name] = array.clone()
            self._note(value, Stored(name, str(value.device)))
        return self.taken[id(value)]

    def attributes(self, name: str, part: nn.Module) -> dict[str, Any]:
        """Return the attributes of a module that are data."""
        found = {}
        for key, value in vars(part).items():
            if key in INTERNAL:
                continue
            n_taken, n_tensors = len(self.taken), len(self.tensors)
            try:
                found[key] = self.value(f"{name}.{key}" if name else key, value)
            except _NoDataError:  # nor are its parts taken
                while len(self.taken) > n_taken:
                    self.taken.popitem()
                while len(self.tensors) > n_tensors:
                    self.tensors.popitem()
        return found

    def value(self, name: str, value: Any) -> Any:
        """Return what stands for a value; the name says where it was."""
        if isinstance(value, VALUES):
            return value
        if id(value) in self.taken:
            return self.taken[id(value)]
        if type(value) in (Tensor, nn.Parameter, nn.Buffer):
            return self.tensor(name, value)
        if isinstance(value, torch.Generator):
            return self._note(value, Draws(value.get_state().numpy(), str(value.device)))
        if isinstance(value, STATES) or (
            isinstance(value, np.ndarray) and not value.dtype.hasobject
        ):
            return self._note(value, copy.deepcopy(value))
        return self._container(name, value)

    def _container(self, name: str, value: Any) -> Container:
        kind, extra = type(value), None
        parts: list[Any]
        if kind in MAPPINGS:
            parts = [*value, *value.values()]
            extra = getattr(value, "default_factory", None)
        elif kind in SEQUENCES or hasattr(kind, "_fields"):
            parts, extra = list(value), getattr(value, "maxlen", None)
        elif _is_plain_dataclass(value):
            parts, extra = list(vars(value).values()), list(vars(value))
        else:
            raise _NoDataError
        taken = self._note(value, Container(kind, extra, []))  # before its parts: it may be one
        taken.parts.extend(self.value(f"{name}.{n}", part) for n, part in enumerate(parts))
        return taken

    def _note(self, value: Any, taken: Any) -> Any:
        self.taken[id(value)] = taken
        self.kept.append(value)
        return taken


class _Giving:
    """Puts data back.

    Parameters
    ----------
    tensors : dict
        By name, as :class:`_Taking` has stored them.

    Attributes
    ----------
    placed : dict of str to Tensor
        Those that were put back, by name.
    """

    def __init__(self, tensors: dict[str, Any]) -> None:
        self.tensors = tensors
        self.placed: dict[str, Tensor] = {}
        self.given: dict[int, Any] = {}

    def tensor(self, name: str) -> Tensor:
        """Return a copy of a tensor, on the CPU."""
        stored = self.tensors[name]
        return stored.clone() if isinstance(stored, Tensor) else torch.tensor(stored)

    def attributes(self, part: nn.Module, attributes: dict[str, Any]) -> None:
        """Set the attributes of a module."""
        vars(part).update({key: self.value(taken) for key, taken in attributes.items()})

    def value(self, taken: Any) -> Any:
        """Undo :meth:`_Taking.value`."""
        if id(taken) in self.given:
            return self.given[id(taken)]
        if isinstance(taken, Stored):
            if taken.name not in self.placed:
                self.placed[taken.name] = self.tensor(taken.name).to(present_device(taken.device))
            return self.placed[taken.name]
        if isinstance(taken, Draws):
            generator = torch.Generator(present_device(taken.device))
            with contextlib.suppress(RuntimeError):  # another device has another format
                generator.set_state(torch.from_numpy(np.array(taken.state)))
            given: Any = generator
        elif isinstance(taken, Container):
            return self._container(taken)
        elif isinstance(taken, (np.ndarray, *STATES)):
            given = copy.deepcopy(taken)
        else:
            return taken
        self.given[id(taken)] = given
        return given

    def _container(self, taken: Container) -> Any:
        kind, extra = taken.kind, taken.extra
        if kind in (tuple, frozenset) or hasattr(kind, "_fields"):
            parts = [self.value(part) for part in taken.parts]
            given = kind(*parts) if hasattr(kind, "_fields") else kind(parts)
            self.given[id(taken)] = given
            return given
        # What can be part of itself is there before its parts are.
        if dataclasses.is_dataclass(kind):
            given = object.__new__(kind)
        elif extra is not None:
            given = kind([], extra) if kind is collections.deque else kind(extra)
        else:
            given = kind()
        self.given[id(taken)] = given
        parts = [self.value(part) for part in taken.parts]
        if dataclasses.is_dataclass(kind):
            vars(given).update(zip(extra, parts, strict=True))
        elif kind in MAPPINGS:
            half = len(parts) // 2
            given.update(zip(parts[:half], parts[half:], strict=True))
        elif kind is set:
            given.update(parts)
        else:
            given.extend(parts)
        return given
