"""Objects that a file may contain besides estimators and arrays, each as a dictionary of values.

A file names the class of such an object, which is looked up here. All of them are data:
containers, sparse matrices, generators, trees, splines, kernels, loss functions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from sklearn_ae._compat.fitted import (
    imputation_class,
    loss_classes,
    neighbor_classes,
    tree_classes,
    value_classes,
)
from sklearn_ae._files.allowance import Allowance, check_keys
from sklearn_ae._files.trees import (
    neighbors_from,
    neighbors_parts,
    predictor_from,
    predictor_parts,
    tree_from,
    tree_parts,
)

OBJECT_COST = 2_000
"""Bytes of memory of an object without its parts."""

SCALARS = (type(None), bool, int, float, str, np.integer)
"""Types of the bounds of a slice."""


class Form(NamedTuple):
    """How objects of a class become a dictionary of values, and are built from it.

    Attributes
    ----------
    cls : type
    parts : callable
        Maps an object to its parts by name.
    build : callable
        Maps an allowance and the parts to the object; it raises an error if they do not fit.
    """

    cls: type
    parts: Callable[[Any], dict[str, Any]]
    build: Callable[[Allowance, dict[str, Any]], Any]


@functools.cache
def forms() -> dict[str, Form]:
    """Return the form of each class, by the name that it has in a file."""
    from scipy.interpolate import BSpline

    tree, predictor = tree_classes()
    imputation = imputation_class()
    matrices = [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array]
    own = [
        Form(slice, _bounds, functools.partial(_from_bounds, slice)),
        Form(range, _bounds, functools.partial(_from_bounds, range)),
        Form(set, _entries, functools.partial(_from_entries, set)),
        Form(frozenset, _entries, functools.partial(_from_entries, frozenset)),
        Form(Bunch, lambda bunch: {"entries": dict(bunch)}, _bunch),
        Form(np.random.Generator, _generator_parts, _generator),
        Form(BSpline, _spline_parts, functools.partial(_spline, BSpline)),
        Form(imputation, lambda step: step._asdict(), functools.partial(_fields, imputation)),
        Form(tree, tree_parts, tree_from),
        Form(predictor, predictor_parts, predictor_from),
        *(Form(cls, _matrix_parts, functools.partial(_matrix, cls)) for cls in matrices),
        *(
            Form(cls, neighbors_parts, functools.partial(neighbors_from, cls))
            for cls in neighbor_classes()
        ),
        *(
            Form(cls, _state, functools.partial(_from_state, cls))
            for cls in (*loss_classes(), *value_classes())
        ),
    ]
    return {form.cls.__name__: form for form in own}


def form_of(value: Any) -> Form | None:
    """Return the form of an object, None if it has none."""
    form = forms().get(type(value).__name__)
    return form if form is not None and form.cls is type(value) else None


def build_object(name: str, parts: dict[str, Any], allowance: Allowance) -> Any:
    """Build an object from the name of its class and its parts.

    Raises
    ------
    Exception
        Of any type, if there is no such class, or the parts do not fit.
    """
    allowance.take(OBJECT_COST)
    if not isinstance(name, str) or name not in forms():
        raise ValueError(f"{str(name)[:100]!r} is no class of objects that a file may contain")
    return forms()[name].build(allowance, parts)


# Containers


def _bounds(value: Any) -> dict[str, Any]:
    return {"bounds": [value.start, value.stop, value.step]}


def _from_bounds(cls: Any, allowance: Allowance, parts: dict[str, Any]) -> Any:
    start, stop, step = parts["bounds"]
    if not all(isinstance(bound, SCALARS) for bound in (start, stop, step)):
        raise ValueError(f"a {cls.__name__} has bounds that are no numbers or names")
    return cls(start, stop, step)


def _entries(value: Any) -> dict[str, Any]:
    return {"entries": sorted(value, key=repr)}  # the order of a set differs between processes


def _from_entries(cls: Any, allowance: Allowance, parts: dict[str, Any]) -> Any:
    entries = parts["entries"]
    check_keys(entries)
    allowance.take(100 * len(entries))
    return cls(entries)


def _bunch(allowance: Allowance, parts: dict[str, Any]) -> Any:
    bunch = Bunch()
    bunch.update(parts["entries"])
    return bunch


# Objects of NumPy and SciPy


def _generator_parts(generator: Any) -> dict[str, Any]:
    state: dict[str, Any] = generator.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise ValueError(f"a generator of random numbers by {state['bit_generator']}")
    return state


def _generator(allowance: Allowance, parts: dict[str, Any]) -> Any:
    numbers = [*parts["state"].values(), parts["has_uint32"], parts["uinteger"]]
    if parts["bit_generator"] != "PCG64" or not set(map(type, numbers)) <= {int}:
        raise ValueError("the state of a generator of random numbers is none of a PCG64")
    bits: Any = np.random.PCG64(0)
    bits.state = parts
    return np.random.Generator(bits)


def _matrix_parts(matrix: Any) -> dict[str, Any]:
    names = ("data", "indices", "indptr")
    return {name: getattr(matrix, name) for name in names} | {"shape": tuple(matrix.shape)}


def _matrix(cls: Any, allowance: Allowance, parts: dict[str, Any]) -> Any:
    arrays = parts["data"], parts["indices"], parts["indptr"]
    allowance.take(sum(array.nbytes for array in arrays))
    if arrays[0].dtype.kind not in "biufc" or {a.dtype.kind for a in arrays[1:]} != {"i"}:
        raise ValueError("a sparse matrix has values or indices that are no numbers")
    matrix = cls(arrays, shape=tuple(int(size) for size in parts["shape"]))
    matrix.check_format(full_check=True)  # compiled code reads memory at these indices
    return matrix


def _spline_parts(spline: Any) -> dict[str, Any]:
    names = ("t", "c", "k", "extrapolate", "axis")
    return {name: getattr(spline, name) for name in names}


def _spline(cls: Any, allowance: Allowance, parts: dict[str, Any]) -> Any:
    if {parts["t"].dtype, parts["c"].dtype} != {np.dtype(float)}:
        raise ValueError("a spline has knots or coefficients that are no numbers")
    return cls(**parts)


# Objects of scikit-learn that consist of their fields or attributes


def _fields(cls: Any, allowance: Allowance, parts: dict[str, Any]) -> Any:
    return cls(**parts)


def _state(value: Any) -> dict[str, Any]:
    # Compiled loss functions have no attributes, but the arguments of their constructor.
    return (
        dict(vars(value)) if hasattr(value, "__dict__") else {"$arguments": value.__reduce__()[1]}
    )


def _from_state(cls: Any, allowance: Allowance, parts: dict[str, Any]) -> Any:
    if "$arguments" in parts or not hasattr(cls, "__dictoffset__") or not cls.__dictoffset__:
        arguments = parts.get("$arguments", ())
        if not {type(each) for each in arguments} <= {int, float}:
            raise ValueError("a loss function has arguments that are no numbers")
        return cls(*arguments)
    for name in parts:
        if not name.isidentifier() or name.startswith("__") or _is_method(cls, name):
            raise ValueError(f"{cls.__name__} has no attribute {name[:100]!r}")
    value = cls.__new__(cls)
    vars(value).update(parts)
    return value


def _is_method(cls: type, name: str) -> bool:
    """Return whether a name is that of a method or a property of a class."""
    found = getattr(cls, name, None)
    return callable(found) or hasattr(type(found), "__get__")
