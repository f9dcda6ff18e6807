"""Estimators of scikit-learn from untrusted archives in the format of skops.

An archive contains ``schema.json``, a tree of nodes that each name a loader, and an ``.npy`` file
for each array. This module implements only the loaders that fitted estimators need, which build
data; there are none for functions, methods, partial functions and calls of constructors by name.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_ae._files.allowance import Allowance, check_keys, read_json, read_scalar
from sklearn_ae._files.arrays import random_state, read_npy
from sklearn_ae._files.catalogue import (
    ESTIMATORS,
    MODULES,
    NUMBER_TYPES,
    RECORDS,
    sklearn_estimators,
    sklearn_losses,
)
from sklearn_ae._files.values import short

NEWEST = 2
"""Latest version of skops's format that is read; the nodes used here are the same since 0."""

ENTRY_COST = 1_500
"""Bytes of memory of an entry of an archive's directory."""

ENTRY_SIGNATURE = b"PK\x01\x02"
"""The first bytes of such an entry."""

VALUE_COST = 200
"""Bytes of a value, or of a container without its entries."""

OBJECT_COST = 2_000
"""Bytes of an estimator of scikit-learn."""

KEY_TYPES: dict[tuple[str, str], Callable[[str], Any]] = {
    ("builtins", "str"): str,
    ("numpy", "str_"): np.str_,
    ("builtins", "bool"): "true".__eq__,  # keys of JSON are strings
}


def _key_type(kind: type) -> Callable[[str], Any]:
    return lambda key: kind(read_scalar(key))


KEY_TYPES |= {
    (kind.__module__, kind.__name__): _key_type(kind) for kind in NUMBER_TYPES if kind is not bool
}
"""Functions from the string of a dictionary's key to the key, by module and name of its type."""

_UNSHARED = frozenset(("JsonNode", "TypeNode"))
"""Loaders of immutable values: it makes no difference whether equal ones are one object."""


class SkopsReader:
    """Builds the object that an archive describes.

    Parameters
    ----------
    content : bytes
        The archive.
    allowance : Allowance
        The memory that may still be used; it is reduced before anything is built.
    restore : callable
        Builds an estimator of this package from its class and its state.
    """

    def __init__(
        self, content: bytes, allowance: Allowance, restore: Callable[[type, dict[str, Any]], Any]
    ) -> None:
        # Before ZipFile reads the directory, an object for each entry.
        allowance.take(ENTRY_COST * content.count(ENTRY_SIGNATURE))
        self._allowance = allowance
        self._restore = restore
        self._archive = zipfile.ZipFile(io.BytesIO(content))
        self._unread = _parts(self._archive, len(content))
        self._path: list[str] = []
        self._built: dict[int, tuple[Any, int]] = {}

    def read(self) -> Any:
        """Return the object.

        Raises
        ------
        ValueError
            If the archive is not consistent, or contains more than data; the message names the
            place.
        """
        try:
            return self._root()
        except Exception as error:  # of any type, depending on the content
            where = f"{''.join(self._path).lstrip('.')}: " if self._path else ""
            raise ValueError(f"its skops part cannot be read: {where}{error}") from error

    def _root(self) -> Any:
        schema = read_json(self._part("schema.json").decode("ascii"), self._allowance)
        protocol = schema["protocol"]
        if type(protocol) is not int or not 0 <= protocol <= NEWEST:
            raise ValueError(f"version {short(protocol)} of that format is not supported")
        return self._node(schema)

    def _part(self, name: str) -> bytes:
        if name not in self._unread:
            raise ValueError(f"{short(name)} is missing, or used twice")
        return self._archive.read(self._unread.pop(name))

    def _node(self, node: dict[str, Any]) -> Any:
        """Build a node; nodes with the same ``__id__`` are one object."""
        identity = node.get("__id__")
        if identity in self._built:
            value, cost = self._built[identity]
            self._allowance.take(cost)  # that of a copy: nested sharing could double without end
            return value
        loader = _LOADERS.get(node["__loader__"])
        if loader is None:
            name = f"{node['__module__']}.{node['__class__']}"
            raise ValueError(
                f"a {short(node['__loader__'])}, {short(name)}, is not data, and a file contains "
                f"no code"
            )
        before = self._allowance.left
        self._allowance.take(VALUE_COST)
        value = loader(self, node)
        if identity is not None and node["__loader__"] not in _UNSHARED:
            self._built[identity] = value, before - self._allowance.left
        return value

    # Loaders by name

    def _json(self, node: dict[str, Any]) -> Any:
        self._allowance.take(2 * node["content"].__sizeof__())
        return read_scalar(node["content"])

    def _list(self, node: dict[str, Any]) -> list[Any]:
        _expect(node, "builtins", "list")
        return self._entries(node["content"])

    def _entries(self, nodes: list[dict[str, Any]]) -> list[Any]:
        return [self._at(f"[{index}]", node) for index, node in enumerate(nodes)]

    def _at(self, step: str, node: dict[str, Any]) -> Any:
        """Build a node one step deeper. After an error, the path is that of the node."""
        self._path.append(step)
        value = self._node(node)
        self._path.pop()
        return value

    def _tuple(self, node: dict[str, Any]) -> tuple[Any, ...]:
        values = self._entries(node["content"])
        if node["__module__"].startswith("sklearn_ae."):
            record: tuple[Any, ...] = _look_up(RECORDS, node)(*values)
            return record
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
            raise ValueError("a slice has bounds that are no integers")
        return slice(*parts)

    def _type(self, node: dict[str, Any]) -> type:
        if node["__module__"].startswith("sklearn_ae."):
            module: type = _look_up(MODULES, node)
            return module
        for kind in NUMBER_TYPES:
            if (kind.__module__, kind.__name__) == (node["__module__"], node["__class__"]):
                return kind
        raise ValueError(f"{short(node['__class__'])} is no class of numbers")

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
        if len(shape) > 1:  # entries are nested lists, one level for each further axis
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
            return self._restore(_look_up(ESTIMATORS, node), self._node(node["content"]))
        if not module.startswith("sklearn."):
            raise ValueError(f"{short(module)} is no module of scikit-learn")
        self._allowance.take(OBJECT_COST)
        is_loss = node["__class__"] in sklearn_losses()
        cls = _look_up(sklearn_losses() if is_loss else sklearn_estimators(), node)
        state = self._node(node["content"]) if node.get("content") else {}
        state = state or {}  # skops writes None for an object without attributes
        _check_names(cls, state)
        built = cls.__new__(cls)  # without __init__, which may compute
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
        return _look_up(sklearn_losses(), node)(*arguments)


def _parts(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the files of an archive by name, if together they are not larger than the archive."""
    parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("its skops part is compressed")
    if sum(part.file_size for part in parts) > size:
        raise ValueError("its skops part declares more bytes than it has")
    return {part.filename: part for part in parts}


def _expect(node: dict[str, Any], module: str, name: str) -> None:
    if (node["__module__"], node["__class__"]) != (module, name):
        raise ValueError(f"{short(node['__class__'])} is not a {name}")


def _expect_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{short(value)} is not a list")
    return value


def _look_up(allowed: Mapping[str, Any], node: dict[str, Any]) -> Any:
    """Return the class of a node; it may have been in another module of its package before."""
    cls = allowed.get(node["__class__"])
    # Some compiled classes of scikit-learn 1.8 give the last part of their module's name only.
    if cls is None or not _ends(cls.__module__) & _ends(node["__module__"]):
        package, _, _ = node["__module__"].partition(".")
        raise ValueError(f"{short(node['__class__'])} is none of the classes of {package}")
    return cls


def _ends(module: str) -> set[str]:
    """Return the first and the last part of a module's name."""
    return {module.partition(".")[0], module.rpartition(".")[2]}


def _check_names(cls: Any, state: dict[str, Any]) -> None:
    """Refuse attributes that would replace methods or settings of the class."""
    parameters = cls._get_param_names() if issubclass(cls, BaseEstimator) else ()
    for name in state:
        if not name.isidentifier() or (hasattr(cls, name) and name not in parameters):
            raise ValueError(f"{cls.__name__} has no attribute {short(name)}")


_LOADERS: dict[str, Callable[[SkopsReader, dict[str, Any]], Any]] = {
    "JsonNode": SkopsReader._json,
    "ListNode": SkopsReader._list,
    "TupleNode": SkopsReader._tuple,
    "DictNode": SkopsReader._dict,
    "SliceNode": SkopsReader._slice,
    "TypeNode": SkopsReader._type,
    "NdArrayNode": SkopsReader._array,
    "RandomStateNode": SkopsReader._random,
    "ObjectNode": SkopsReader._object,
    "LossNode": SkopsReader._loss,
}
