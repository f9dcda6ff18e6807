"""Translations of torch functions to ONNX.

Each translation takes the graph, the result on the example samples and the function's arguments;
see ``tracing.py``. Importing this module fills the table there.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._onnx.graph import Graph, UnsupportedError, dtype_number
from sklearn_ae._onnx.tracing import TRANSLATIONS, Traced, to_examples, translates


def as_dtype(g: Graph, value: Any, dtype: torch.dtype) -> Any:
    """Convert an argument to a dtype; the result is a name, a traced tensor or a constant."""
    if not isinstance(value, Traced):
        return torch.as_tensor(value, dtype=dtype)
    return value if value.dtype == dtype else g.add("Cast", value, to=dtype_number(dtype))


def ints(*values: int) -> np.ndarray:
    """Return axes or a shape as a constant."""
    return np.array(values, np.int64)


# Elementwise functions


def _unary(kind: str, g: Graph, result: Tensor, x: Traced, inplace: bool = False) -> str:
    return g.add(kind, x)


def _binary(kind: str, g: Graph, result: Tensor, a: Any, b: Any) -> str:
    # torch promotes the operands to a common dtype, ONNX does not.
    dtype = result.dtype
    if dtype == torch.bool:  # of a comparison
        dtype = torch.result_type(to_examples(a), to_examples(b))
    return g.add(kind, as_dtype(g, a, dtype), as_dtype(g, b, dtype))


UNARY = {
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "relu": "Relu",
    "neg": "Neg",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "round": "Round",
    "floor": "Floor",
    "abs": "Abs",
    "sin": "Sin",
    "cos": "Cos",
    "erf": "Erf",
    "sign": "Sign",
    "ceil": "Ceil",
    "reciprocal": "Reciprocal",
    "isnan": "IsNaN",
    "__invert__": "Not",
}

BINARY = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "pow": "Pow",
    "__pow__": "Pow",
    "maximum": "Max",
    "minimum": "Min",
    "eq": "Equal",
    "__eq__": "Equal",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "__and__": "And",
    "__or__": "Or",
}

TRANSLATIONS.update({name: functools.partial(_unary, kind) for name, kind in UNARY.items()})
TRANSLATIONS.update({name: functools.partial(_binary, kind) for name, kind in BINARY.items()})


@translates("__rsub__")
def _reversed_sub(g: Graph, result: Tensor, a: Any, b: Any) -> str:
    return _binary("Sub", g, result, b, a)


@translates("__rdiv__")
def _reversed_div(g: Graph, result: Tensor, a: Any, b: Any) -> str:
    return _binary("Div", g, result, b, a)


@translates("remainder")
def _remainder(g: Graph, result: Tensor, a: Any, b: Any) -> str:
    if result.is_floating_point():  # there, Mod has the sign of the dividend
        raise UnsupportedError("remainders are supported for integers only")
    return _binary("Mod", g, result, a, b)


@translates("__floordiv__")
def _floor_divide(g: Graph, result: Tensor, a: Any, b: Any) -> str:
    # ONNX's Div rounds towards zero; without the remainder there is nothing to round.
    remainder = _remainder(g, result, a, b)
    multiple = g.add("Sub", as_dtype(g, a, result.dtype), remainder)
    return g.add("Div", multiple, as_dtype(g, b, result.dtype))


@translates("contiguous", "detach", "clone")
def _identity(g: Graph, result: Tensor, x: Traced) -> str:
    return g.name_of(x)


@translates("square")
def _square(g: Graph, result: Tensor, x: Traced) -> str:
    return g.add("Mul", x, x)


@translates("rsqrt")
def _rsqrt(g: Graph, result: Tensor, x: Traced) -> str:
    return g.add("Reciprocal", g.add("Sqrt", x))


@translates("expm1")
def _expm1(g: Graph, result: Tensor, x: Traced) -> str:
    """``exp(x) - 1``: less precise near zero, but precise enough as a summand of a loss."""
    return g.add("Sub", g.add("Exp", x), torch.ones((), dtype=x.dtype))


@translates("log1p")
def _log1p(g: Graph, result: Tensor, x: Traced) -> str:
    """``log(1 + x)``: less precise near zero, but precise enough as a summand of a loss."""
    return g.add("Log", g.add("Add", x, torch.ones((), dtype=x.dtype)))


@translates("clamp", "clamp_min")
def _clamp(g: Graph, result: Tensor, x: Any, min: Any = None, max: Any = None) -> str:
    x = as_dtype(g, x, result.dtype)
    for kind, bound in (("Max", min), ("Min", max)):
        if bound is not None:
            x = g.add(kind, x, as_dtype(g, bound, result.dtype))
    return g.name_of(x)


@translates("nan_to_num")
def _nan_to_num(g: Graph, result: Tensor, x: Traced) -> str:
    return g.add("Where", g.add("IsNaN", x), torch.zeros((), dtype=x.dtype), x)


@translates("masked_fill")
def _masked_fill(g: Graph, result: Tensor, x: Traced, mask: Any, value: Any) -> str:
    return g.add("Where", mask, as_dtype(g, value, x.dtype), x)


@translates("where")
def _where(g: Graph, result: Tensor, first: Any, second: Any, other: Any) -> str:
    # The function is where(condition, x, other), the method x.where(condition, other); both
    # arrive here under one name.
    is_first, is_second = (getattr(v, "dtype", None) == torch.bool for v in (first, second))
    if is_first and is_second:
        raise UnsupportedError("where does not select from booleans; use & and |")
    condition, value = (first, second) if is_first else (second, first)
    return g.add(
        "Where", condition, as_dtype(g, value, result.dtype), as_dtype(g, other, result.dtype)
    )


@translates("to", "long", "float", "double")
def _to(g: Graph, result: Tensor, x: Traced, *_: Any, **__: Any) -> str:
    return g.name_of(as_dtype(g, x, result.dtype))


@translates("zeros_like")
def _zeros_like(g: Graph, result: Tensor, x: Traced) -> str:
    value = g.onnx.numpy_helper.from_array(np.zeros(1, result.numpy().dtype))
    return g.add("ConstantOfShape", g.add("Shape", x), value=value)


# Reductions


@translates("sum")
def _sum(g: Graph, result: Tensor, x: Traced, dim: Any, keepdim: bool = False) -> str:
    return _reduce("ReduceSum", g, as_dtype(g, x, result.dtype), dim, keepdim)


@translates("mean")
def _mean(g: Graph, result: Tensor, x: Traced, dim: Any, keepdim: bool = False) -> str:
    return _reduce("ReduceMean", g, x, dim, keepdim)


def _reduce(kind: str, g: Graph, x: Any, dim: Any, keepdim: bool) -> str:
    return g.add(kind, x, _axes(dim), keepdims=int(keepdim))


def _axes(dim: Any) -> np.ndarray:
    """Return the axes of a reduction, given as one integer or as several."""
    if dim is None:
        raise UnsupportedError("a reduction needs its axes")
    return ints(*np.atleast_1d(dim))


@translates("logsumexp")
def _logsumexp(g: Graph, result: Tensor, x: Traced, dim: Any) -> str:
    """Subtract the maximum before taking exponentials, which could overflow."""
    axes = _axes(dim)
    maximum = g.add("ReduceMax", x, axes, keepdims=1)
    total = g.add("ReduceSum", g.add("Exp", g.add("Sub", x, maximum)), axes, keepdims=1)
    return g.add("Squeeze", g.add("Add", maximum, g.add("Log", total)), axes)


@translates("argmin")
def _argmin(g: Graph, result: Tensor, x: Traced, dim: int) -> str:
    (axis,) = _axes(dim).tolist()
    return g.add("ArgMin", x, axis=axis, keepdims=0)


@translates("topk")
def _topk(
    g: Graph,
    result: Any,
    x: Traced,
    k: int,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,
) -> list[str]:
    return g.add_with_outputs(2, "TopK", x, ints(k), axis=dim, largest=int(largest))
