"""Estimators of scikit-learn from what skops has written, or a stranger.

An archive of skops holds ``schema.json``, a tree of nodes that each name a loader, and an ``.npy``
file for each array. Only the loaders that fitted estimators need are here, and they build values;
functions, methods, partial functions and calls of constructors by name have none.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_ae._files.allowance import Allowance, check_keys, read_json, read_scalar
from sklearn_ae._files.arrays import random_state, read_npy
from sklearn_ae._files.catalogue import (
    NUMBER_TYPES,
    estimators,
    foreign_estimators,
    foreign_values,
    modules,
    records,
)
from sklearn_ae._files.values import short

NEWEST = 2
"""Newest version of skops's format that is read; the nodes used here have not changed since 0."""

ENTRY_COST = 1_500
"""Bytes that the entry of an archive's directory takes in memory."""

ENTRY_SIGN = b"PK\x01\x02"
"""With what such an entry begins."""

VALUE_COST = 200
"""Bytes that a value takes, or a container without its entries."""

OBJECT_COST = 2_000
"""Bytes that an estimator of scikit-learn takes."""

KEY_TYPES: dict[tuple[str, str], Callable[[str], Any]] = {
    ("builtins", "str"): str,
    ("numpy", "str_"): np.str_,
    ("builtins", "bool"): "true".__eq__,  # JSON has only texts as keys
}


def _key_type(kind: type) -> Callable[[str], Any]:
    return lambda key: kind(read_scalar(key))


KEY_TYPES |= {
    (kind.__module__, kind.__name__): _key_type(kind) for kind in NUMBER_TYPES if kind is not bool
}
"""What makes a key of a dictionary of its text, by module and name of its type."""

_UNSHARED = frozenset(("JsonNode", "TypeNode"))
"""Loaders of values of which it makes no difference whether they are one object."""


class SkopsReading:
    """Builds what skops took apart.

    Parameters
    ----------
    content : bytes
        The archive.
    allowance : Allowance
        What the file may still take; all that is built is paid for.
    revive : callable
        Builds an estimator of this package from its class and its state.
    """

    def __init__(
        self, content: bytes, allowance: Allowance, revive: Callable[[type, dict], Any]
    ) -> None:
        allowance.take(ENTRY_COST * content.count(ENTRY_SIGN))
        self._allowance = allowance
        self._revive = revive
        self._archive = zipfile.ZipFile(io.BytesIO(content))
        self._unread = _parts(self._archive, len(content))
        self._path: list[str] = []
        self._built: dict[int, tuple[Any, int]] = {}

    def read(self) -> Any:
        """Return the object.

        Raises
        ------
        ValueError
            If the archive makes no sense, or holds more than values; the message names the place.
        """
        try:
            return self._root()
        except Exception as error:  # of any kind, from whatever a stranger wrote
            where = f"{''.join(self._path).lstrip('.')}: " if self._path else ""
            raise ValueError(f"its part for skops cannot be read: {where}{error}") from error

    def _root(self) -> Any:
        schema = read_json(self._part("schema.json").decode("ascii"), self._allowance)
        protocol = schema["protocol"]
        if type(protocol) is not int or not 0 <= protocol <= NEWEST:
            raise ValueError(f"it is of version {short(protocol)} of that format")
        return self._node(schema)

    def _part(self, name: str) -> bytes:
        if name not in self._unread:
            raise ValueError(f"{short(name)} is not there, or used twice")
        return self._archive.read(self._unread.pop(name))

    def _node(self, node: dict[str, Any]) -> Any:
        """Build a node, once: what has the same ``__id__`` is the same object."""
        place = node.get("__id__")
        if place in self._built:
            value, cost = self._built[place]
            self._allowance.take(cost)  # as much as a copy, or sharing would be free to double
            return value
        loader = _LOADERS.get(node["__loader__"])
        if loader is None:
            shown = f"{node['__module__']}.{node['__class__']}"
            raise ValueError(
                f"a {short(node['__loader__'])}, {short(shown)}, is no value, and a file holds no "
                f"code"
            )
        before = self._allowance.left
        self._allowance.take(VALUE_COST)
        value = loader(self, node)
        if place is not None and node["__loader__"] not in _UNSHARED:
            self._built[place] = value, before - self._allowance.left
        return value

    # Loaders by name

    def _json(self, node: dict[str, Any]) -> Any:
        self._allowance.take(2 * node["content"].__sizeof__())
        return read_scalar(node["content"])

    def _list(self, node: dict[str, Any]) -> list[Any]:
        _expect(node, "builtins", "list")
        return self._entries(node["content"])

    def _entries(self, nodes: list[dict[str, Any]]) -> list[Any]:
        return [self._at(f"[{place}]", node) for place, node in enumerate(nodes)]

    def _at(self, step: str, node: dict[str, Any]) -> Any:
        """Build a node; where it raises, the path shows the place."""
        self._path.append(step)
        value = self._node(node)
        self._path.pop()
        return value

    def _tuple(self, node: dict[str, Any]) -> tuple[Any, ...]:
        values = self._entries(node["content"])
        if node["__module__"].startswith("sklearn_ae."):
            return _look_up(records(), node)(*values)
        _expect(node, "builtins", "tuple")
        return tuple(values)

    def _dict(self, node: dict[str, Any]) -> dict[Any, Any]:
        _expect(node, "builtins", "dict")
        content, kinds = node["content"], node["key_types"]["content"]
        if len(content) != len(kinds):
            raise ValueError("a dictionary has more keys than types of keys")
        names = [(kind["__module__"], kind["__class__"]) for kind in kinds]
        keys = [KEY_TYPES[name](key) for name, key in zip(names, content, strict=True)]
        check_keys(keys)
        return {
            key: self._at(f".{key}", value)
            for key, value in zip(keys, content.values(), strict=True)
        }

    def _slice(self, node: dict[str, Any]) -> slice:
        parts = [node["content"][name] for name in ("start", "stop", "step")]
        if not {type(part) for part in parts} <= {int, type(None)}:
            raise ValueError("a slice has bounds that are no numbers")
        return slice(*parts)

    def _type(self, node: dict[str, Any]) -> type:
        if node["__module__"].startswith("sklearn_ae."):
            return _look_up(modules(), node)
        for kind in NUMBER_TYPES:
            if (kind.__module__, kind.__name__) == (node["__module__"], node["__class__"]):
                return kind
        raise ValueError(f"{short(node['__class__'])} is no type of numbers")

    def _array(self, node: dict[str, Any]) -> Any:
        if node["type"] == "json":
            return self._objects(node)
        array = read_npy(self._part(node["file"]))
        if node["__class__"] == "ndarray":
            _expect(node, "numpy", "ndarray")
            return array
        if array.shape or array.dtype.type.__name__ != node["__class__"]:
            raise ValueError(f"an array is no {short(node['__class__'])}")
        return array[()]

    def _objects(self, node: dict[str, Any]) -> np.ndarray:
        entries = self._entries(node["content"])
        shape = self._node(node["shape"])
        if len(shape) > 1:  # entries are lists of lists
            for _ in shape[1:]:
                entries = [value for entry in entries for value in _expect_list(entry)]
        elif not shape:
            raise ValueError("an array of objects has no shape")
        return np.fromiter(entries, object, len(entries)).reshape(shape)

    def _random(self, node: dict[str, Any]) -> np.random.RandomState:
        _expect(node, "numpy.random.mtrand", "RandomState")
        self._allowance.take(OBJECT_COST)
        state = self._node(node["content"])
        words = state["state"]
        return random_state(words["key"], words["pos"], state["has_gauss"], state["gauss"])

    def _object(self, node: dict[str, Any]) -> Any:
        module = node["__module__"]
        if module.startswith("sklearn_ae."):
            return self._revive(_look_up(estimators(), node), self._node(node["content"]))
        if not module.startswith("sklearn."):
            raise ValueError(f"{short(module)} is no module of scikit-learn")
        self._allowance.take(OBJECT_COST)
        known = foreign_values() if node["__class__"] in foreign_values() else foreign_estimators()
        cls = _look_up(known, node)
        state = self._node(node["content"]) if node.get("content") else {}
        state = state or {}  # of an object without any, skops writes None
        _check_names(cls, state)
        built = cls.__new__(cls)
        if hasattr(built, "__setstate__"):
            built.__setstate__(state)
        else:
            vars(built).update(state)
        return built

    def _loss(self, node: dict[str, Any]) -> Any:
        arguments = self._node(node["__reduce__"]["args"]) or ()
        if self._node(node["content"]):
            raise ValueError("a loss function has a state")
        if not {type(argument) for argument in arguments} <= {int, float}:
            raise ValueError("a loss function has arguments that are no numbers")
        return _look_up(foreign_values(), node)(*arguments)


def _parts(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the files of an archive by name, if they are no larger than it is."""
    parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("its part for skops is compressed")
    if sum(part.file_size for part in parts) > size:
        raise ValueError("its part for skops is shorter than it says")
    return {part.filename: part for part in parts}


def _expect(node: dict[str, Any], module: str, name: str) -> None:
    if (node["__module__"], node["__class__"]) != (module, name):
        raise ValueError(f"{short(node['__class__'])} stands where a {name} should be")


def _expect_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{short(value)} stands where a list should be")
    return value


def _look_up(known: dict[str, Any], node: dict[str, Any]) -> Any:
    """Return the class of a node, which may have stood in another module of its package."""
    cls = known.get(node["__class__"])
    package = node["__module__"].partition(".")[0]
    if cls is None or cls.__module__.partition(".")[0] != package:
        raise ValueError(f"{short(node['__class__'])} is none of the classes of {package}")
    return cls


def _check_names(cls: Any, state: dict[str, Any]) -> None:
    """Refuse attributes that would stand for methods or settings of a class."""
    parameters = cls._get_param_names() if issubclass(cls, BaseEstimator) else ()
    for name in state:
        if not name.isidentifier() or (hasattr(cls, name) and name not in parameters):
            raise ValueError(f"{cls.__name__} has no attribute {short(name)}")


_LOADERS: dict[str, Callable[[SkopsReading, dict[str, Any]], Any]] = {
    "JsonNode": SkopsReading._json,
    "ListNode": SkopsReading._list,
    "TupleNode": SkopsReading._tuple,
    "DictNode": SkopsReading._dict,
    "SliceNode": SkopsReading._slice,
    "TypeNode": SkopsReading._type,
    "NdArrayNode": SkopsReading._array,
    "RandomStateNode": SkopsReading._random,
    "ObjectNode": SkopsReading._object,
    "LossNode": SkopsReading._loss,
}
