"""Declare a parameter once: its default, its constraint and its documentation."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, TypeVar, dataclass_transform

from sklearn_ae._parameters.documentation import composed_docstring

T = TypeVar("T")


def parameter(
    *,
    default: Any,
    doc: str | None = None,
    constraint: list[Any] | None = None,
    kw_only: bool = True,
) -> Any:
    """Return a field of a class that :func:`declares_parameters` decorates.

    A class that changes only the default of an inherited parameter assigns it as usual. One that
    gives `doc` or `constraint` alone inherits the other.

    Parameters
    ----------
    default : object
        Default value.
    doc : str or None, default=None
        Entry of the docstring in numpydoc's format: the type in the first line, to which the
        default is added, and the description below.
    constraint : list or None, default=None
        What scikit-learn's validation of parameters accepts.
    kw_only : bool, default=True
        Whether the parameter is keyword-only.
    """
    metadata = {"doc": doc, "constraint": constraint}
    return dataclasses.field(
        default=default,
        kw_only=kw_only,
        metadata={name: value for name, value in metadata.items() if value is not None},
    )


def same_as(cls: type, name: str, **changed: Any) -> Any:
    """Return a field like the parameter of another class, without inheriting from that class.

    Parameters
    ----------
    cls : type
        Class that declares the parameter.
    name : str
        Name of the parameter there.
    **changed : object
        What is different, as arguments of :func:`parameter`.
    """
    same = {
        "default": cls.__dataclass_fields__[name].default,  # type: ignore[attr-defined]
        "doc": _inherited(cls, name, "doc"),
        "constraint": _inherited(cls, name, "constraint"),
    }
    return parameter(**same | changed)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(parameter,))
def declares_parameters(cls: type[T]) -> type[T]:
    """Turn a class into a dataclass of parameters, with constraints and a composed docstring.

    ``_parameter_constraints`` has what validation accepts, as scikit-learn expects it. Fitted
    attributes are documented by the dictionary ``_attribute_docs``, in the same format, which
    subclasses extend. In the signature and the docstring a class's own parameters come first,
    after positional ones, and those of its bases follow.
    """
    cls = dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)
    declared = [field for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
    declared.sort(key=lambda field: (field.kw_only, _distance(cls, field.name)))
    names = [field.name for field in declared]
    constraints = {name: _inherited(cls, name, "constraint") for name in names}
    if free := sorted(name for name, found in constraints.items() if found is None):
        raise TypeError(f"{cls.__name__} has parameters without a constraint: {free}.")
    cls._parameter_constraints = constraints  # type: ignore[attr-defined]
    signature = inspect.signature(cls.__init__)
    ordered = [signature.parameters[name] for name in ("self", *names)]
    cls.__init__.__signature__ = signature.replace(parameters=ordered)  # type: ignore[attr-defined]
    if cls.__doc__ is not None:  # it is None under python -OO
        docs = {name: _inherited(cls, name, "doc") for name in names}
        defaults = {field.name: field.default for field in declared}
        cls.__doc__ = composed_docstring(cls, docs, defaults)
    return cls


def constraints_of(cls: type) -> dict[str, list[Any]]:
    """Return what validation accepts for each parameter of a class."""
    return cls._parameter_constraints  # type: ignore[attr-defined]


def attribute_docs_of(cls: type, *names: str) -> dict[str, str | None]:
    """Return the documentation of fitted attributes that another class has as well."""
    docs: dict[str, str | None] = cls._attribute_docs  # type: ignore[attr-defined]
    return {name: docs[name] for name in names}


def _inherited(cls: type, name: str, kind: str) -> Any:
    """Return what the nearest class that declares the parameter says of it."""
    for base in cls.__mro__:
        field = base.__dict__.get("__dataclass_fields__", {}).get(name)
        if field is not None and kind in field.metadata:
            return field.metadata[kind]
    return None


def _distance(cls: type, name: str) -> int:
    """Return how far up among the bases the first class stands that declares the parameter."""
    having = [name in base.__dict__.get("__dataclass_fields__", {}) for base in cls.__mro__]
    return len(having) - 1 - having[::-1].index(True)
