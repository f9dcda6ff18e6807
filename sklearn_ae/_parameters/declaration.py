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

    A class that changes only the default of an inherited parameter assigns the new default
    directly. If `doc` or `constraint` is None, it is inherited from the nearest base that has it.

    Parameters
    ----------
    default : object
        Default value.
    doc : str or None, default=None
        Entry of the docstring in numpydoc's format: the type in the first line, to which the
        default is added, and the description below.
    constraint : list or None, default=None
        Accepted values, in the format of scikit-learn's parameter validation.
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
        Name of the parameter in that class.
    **changed : object
        Arguments of :func:`parameter` that differ.
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

    The decorator sets ``_parameter_constraints``, which scikit-learn's validation reads. Fitted
    attributes are documented by the dictionary ``_attribute_docs``, in the same format, which
    subclasses extend. The signature and the docstring list positional parameters first, then the
    class's own parameters, then those of its bases. The docstring has those of a base with the
    attribute ``_is_shared`` in a section of their own, "Other Parameters".
    """
    # eq=False keeps the hash by identity, repr=False keeps scikit-learn's __repr__.
    cls = dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)
    declared = [field for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
    declared.sort(key=lambda field: (field.kw_only, _distance(cls, field.name)))
    names = [field.name for field in declared]
    constraints = {name: _inherited(cls, name, "constraint") for name in names}
    if missing := sorted(name for name, found in constraints.items() if found is None):
        raise TypeError(f"{cls.__name__} has parameters without a constraint: {missing}.")
    cls._parameter_constraints = constraints  # type: ignore[attr-defined]
    # All but the positional ones are keyword-only, so reordering them changes no call.
    signature = inspect.signature(cls.__init__)
    ordered = [signature.parameters[name] for name in ("self", *names)]
    cls.__init__.__signature__ = signature.replace(parameters=ordered)  # type: ignore[attr-defined]
    if cls.__doc__ is not None:  # it is None under python -OO
        docs = {name: _inherited(cls, name, "doc") for name in names}
        defaults = {field.name: field.default for field in declared}
        shared = [name for name in names if _is_shared(cls, name)]
        cls.__doc__ = composed_docstring(cls, docs, defaults, shared)
    return cls


def check_declared(cls: type) -> None:
    """Raise an error if a class lacks the decorator, so that its constructor lacks parameters."""
    decorated = [base for base in cls.__mro__ if "__dataclass_fields__" in vars(base)]
    if decorated[0] is cls:
        return
    lacking = [
        name
        for base in cls.__mro__
        for name, value in vars(base).items()
        if isinstance(value, dataclasses.Field)
    ]
    # The constructor is that of the nearest decorated class.
    others = [base for base in decorated if not issubclass(decorated[0], base)]
    lacking += [field.name for base in others for field in dataclasses.fields(base)]
    if lacking:
        raise TypeError(
            f"{cls.__name__} lacks the decorator @declares_parameters of sklearn_ae.base, without "
            f"which its constructor takes no {lacking[0]!r}; put it before the class."
        )


def constraints_of(cls: type) -> dict[str, list[Any]]:
    """Return the constraint of each parameter of a class."""
    constraints: dict[str, list[Any]] = cls._parameter_constraints  # type: ignore[attr-defined]
    return constraints


def attribute_docs_of(cls: type, *names: str) -> dict[str, str | None]:
    """Return the documentation of some fitted attributes of a class, for use in another class."""
    docs: dict[str, str | None] = cls._attribute_docs  # type: ignore[attr-defined]
    return {name: docs[name] for name in names}


def _inherited(cls: type, name: str, kind: str) -> Any:
    """Return the `doc` or `constraint` of a parameter from the nearest class that declares it."""
    for base in cls.__mro__:
        field = base.__dict__.get("__dataclass_fields__", {}).get(name)
        if field is not None and kind in field.metadata:
            return field.metadata[kind]
    return None


def _is_shared(cls: type, name: str) -> bool:
    """Whether the class that introduced a parameter is one that all estimators share."""
    return "_is_shared" in vars(cls.__mro__[_distance(cls, name)])


def _distance(cls: type, name: str) -> int:
    """Return the position in the MRO of the last class that has the parameter.

    That is the class that introduced it: dataclasses copy the fields of their bases, so all
    classes before it have the parameter as well.
    """
    having = [name in base.__dict__.get("__dataclass_fields__", {}) for base in cls.__mro__]
    return len(having) - 1 - having[::-1].index(True)
