"""The data of custom networks as plain values, and back."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import torch

from sklearn_ae._estimator.contents import StoredContainer, StoredGenerator, StoredTensor

KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (list, tuple, set, frozenset, dict, collections.OrderedDict, collections.deque)
}
"""Types of containers in attributes of modules, by name."""

# Types of values that are described as they are elsewhere in a file.
PLAIN = (type(None), bool, int, float, str, np.generic, np.ndarray)
GENERATORS = (np.random.Generator, np.random.RandomState)


def to_plain(contents: dict[str, Any]) -> dict[str, Any]:
    """Return contents of a module without objects of their own types.

    Parameters
    ----------
    contents : dict
        As returned by :func:`sklearn_ae._estimator.contents.module_contents`.

    Raises
    ------
    ValueError
        If a file cannot contain one of the values; the message names it.
    """
    for name, tensor in contents["tensors"].items():
        if not isinstance(tensor, np.ndarray):
            raise ValueError(f"{name} is a tensor of {tensor.dtype}, {tensor.layout}")
    if contents["extra"]:
        raise ValueError("a part of it defines get_extra_state")
    writer = _Writer()
    attributes = {
        module: {name: writer.value(f"{module}.{name}", value) for name, value in each.items()}
        for module, each in contents["attributes"].items()
    }
    return contents | {"attributes": attributes}


def from_plain(plain: dict[str, Any]) -> dict[str, Any]:
    """Return contents of a module from the result of :func:`to_plain`."""
    reader = _Reader()
    attributes = {
        module: {name: reader.value(value) for name, value in each.items()}
        for module, each in plain["attributes"].items()
    }
    return plain | {"attributes": attributes}


class _Writer:
    """Replaces stored values by tuples; a container that occurs again by its number."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def value(self, place: str, stored: Any) -> Any:
        if isinstance(stored, StoredTensor):
            return ("tensor", *stored)
        if isinstance(stored, StoredGenerator):
            return ("generator", *stored)
        if isinstance(stored, StoredContainer):
            return self._container(place, stored)
        if isinstance(stored, torch.Size):
            return ("size", list(stored))
        if isinstance(stored, torch.dtype):
            return ("dtype", str(stored).removeprefix("torch."))
        if not isinstance(stored, (*PLAIN, *GENERATORS, torch.device)):
            raise ValueError(f"{place} is of type {type(stored).__name__}")
        return ("value", stored)

    def _container(self, place: str, stored: StoredContainer) -> Any:
        if id(stored) in self._numbers:
            return ("again", self._numbers[id(stored)])
        if KINDS.get(stored.kind.__name__) is not stored.kind:
            raise ValueError(f"{place} is of type {stored.kind.__name__}")
        self._numbers[id(stored)] = len(self._numbers)
        parts = [self.value(place, part) for part in stored.parts]
        return ("container", stored.kind.__name__, stored.extra, parts)


class _Reader:
    """Restores the stored values."""

    def __init__(self) -> None:
        self._containers: list[StoredContainer] = []

    def value(self, plain: Any) -> Any:
        kind, *rest = plain
        if kind == "tensor":
            return StoredTensor(*rest)
        if kind == "generator":
            return StoredGenerator(*rest)
        if kind == "size":
            return torch.Size(rest[0])
        if kind == "dtype":
            dtype = getattr(torch, rest[0])
            if not isinstance(dtype, torch.dtype):
                raise ValueError(f"{rest[0]!r} is no dtype of torch")
            return dtype
        if kind == "again":
            return self._containers[rest[0]]
        if kind == "container":
            name, extra, parts = rest
            stored = StoredContainer(KINDS[name], extra, [])
            self._containers.append(stored)
            stored.parts.extend(self.value(part) for part in parts)
            return stored
        return rest[0]
