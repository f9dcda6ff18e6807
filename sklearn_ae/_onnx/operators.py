"""How the functions of torch that networks use are written in ONNX.

Each takes the graph, the result on the example rows and the function's arguments; see
``tracing.py``. Importing this module fills the table there.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._onnx.graph import Graph, dtype_number
from sklearn_ae._onnx.tracing import TRANSLATIONS, Traced, plain, translates

END = np.iinfo(np.int64).max
"""Where a slice ends that goes to the end of its axis."""


def as_dtype(g: Graph, value: Any, dtype: torch.dtype) -> Any:
    """Return an argument in a type: a name, a traced tensor or a constant."""
    if not isinstance(value, Traced):
        return torch.as_tensor(value, dtype=dtype)
    return value if value.dtype == dtype else g.add("Cast", value, to=dtype_number(dtype))


def ints(*values: int) -> np.ndarray:
    """Return axes or a shape as a constant."""
    return np.array(values, np.int64)


# Entry by entry


def _unary(kind: str, g: Graph, result: Tensor, x: Traced, inplace: bool = False) -> str:
    return g.add(kind, x)


def _binary(kind: str, g: Graph, result: Tensor, a: Any, b: Any) -> str:
    dtype = result.dtype
    if dtype == torch.bool:  # of a comparison
        dtype = torch.result_type(plain(a), plain(b))
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
    "softplus": "Softplus",
    "isnan": "IsNaN",
    "__invert__": "Not",
}

BINARY = {
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
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
def _subtract_from(g: Graph, result: Tensor, a: Any, b: Any) -> str:
    return _binary("Sub", g, result, b, a)


@translates("__rdiv__")
def _divide_into(g: Graph, result: Tensor, a: Any, b: Any) -> str:
    return _binary("Div", g, result, b, a)


@translates("remainder")
def _remainder(g: Graph, result: Tensor, a: Any, b: Any) -> str:
    if result.is_floating_point():
        raise NotImplementedError("Remainders must be those of whole numbers.")
    return _binary("Mod", g, result, a, b)


@translates("__floordiv__")
def _floor_divide(g: Graph, result: Tensor, a: Any, b: Any) -> str:
    rest = _remainder(g, result, a, b)  # ONNX rounds towards zero
    whole = g.add("Sub", as_dtype(g, a, result.dtype), rest)
    return g.add("Div", whole, as_dtype(g, b, result.dtype))


@translates("contiguous", "detach", "clone")
def _same(g: Graph, result: Tensor, x: Traced) -> str:
    return g.name_of(x)


@translates("silu")
def _silu(g: Graph, result: Tensor, x: Traced, inplace: bool = False) -> str:
    return g.add("Mul", x, g.add("Sigmoid", x))


@translates("gelu")
def _gelu(g: Graph, result: Tensor, x: Traced) -> str:
    """``x (1 + erf(x / sqrt(2))) / 2``."""
    half, root = (torch.tensor(value, dtype=x.dtype) for value in (0.5, 0.5**0.5))
    share = g.add("Erf", g.add("Mul", x, root))
    return g.add("Mul", g.add("Mul", x, half), g.add("Add", share, torch.ones((), dtype=x.dtype)))


@translates("square")
def _square(g: Graph, result: Tensor, x: Traced) -> str:
    return g.add("Mul", x, x)


@translates("expm1")
def _expm1(g: Graph, result: Tensor, x: Traced) -> str:
    """To the digits that one has, which is enough for what is added up."""
    return g.add("Sub", g.add("Exp", x), torch.ones((), dtype=x.dtype))


@translates("log1p")
def _log1p(g: Graph, result: Tensor, x: Traced) -> str:
    """To the digits that one has, which is enough for what is added up."""
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
def _masked_fill(g: Graph, result: Tensor, x: Traced, mask: Any, value: float) -> str:
    return g.add("Where", mask, torch.tensor(value, dtype=x.dtype), x)


@translates("where")
def _where(g: Graph, result: Tensor, first: Any, second: Any, other: Any) -> str:
    # torch.where takes the condition first, the method of a tensor behind the tensor.
    is_first, is_second = (getattr(v, "dtype", None) == torch.bool for v in (first, second))
    if is_first and is_second:
        raise NotImplementedError("Conditions cannot be chosen from; use & and |.")
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


# Sums over axes


@translates("sum")
def _sum(g: Graph, result: Tensor, x: Traced, dim: Any, keepdim: bool = False) -> str:
    return _reduce("ReduceSum", g, as_dtype(g, x, result.dtype), dim, keepdim)


@translates("mean")
def _mean(g: Graph, result: Tensor, x: Traced, dim: Any, keepdim: bool = False) -> str:
    return _reduce("ReduceMean", g, x, dim, keepdim)


def _reduce(kind: str, g: Graph, x: Any, dim: Any, keepdim: bool) -> str:
    return g.add(kind, x, ints(*np.atleast_1d(dim)), keepdims=int(keepdim))


@translates("logsumexp")
def _logsumexp(g: Graph, result: Tensor, x: Traced, dim: int) -> str:
    """Take the largest value out before exponentials are summed."""
    most = g.add("ReduceMax", x, ints(dim), keepdims=1)
    total = g.add("ReduceSum", g.add("Exp", g.add("Sub", x, most)), ints(dim), keepdims=1)
    return g.add("Squeeze", g.add("Add", most, g.add("Log", total)), ints(dim))


# Shapes


@translates("reshape", "view")
def _reshape(g: Graph, result: Tensor, x: Traced, *shape: Any) -> str:
    sizes = _listed(shape)
    if -1 not in sizes or x.shape[0] == result.shape[0]:
        sizes[0] = _kept_rows(x, result)
    return g.add("Reshape", x, ints(*sizes))


def _listed(sizes: tuple[Any, ...]) -> list[int]:
    """Return numbers that may be given one by one, or as one sequence."""
    return list(sizes[0] if isinstance(sizes[0], (tuple, list)) else sizes)


@translates("flatten", "unflatten")
def _refold(g: Graph, result: Tensor, x: Traced, dim: int = 0, *rest: Any) -> str:
    if dim % x.ndim:
        return g.add("Reshape", x, ints(_kept_rows(x, result), *result.shape[1:]))
    sizes = [-1, *result.shape[1:]]  # what is folded holds the rows, or they become the first axis
    if result.ndim > x.ndim:
        sizes = [*rest[0], *x.shape[1:]]
        if -1 not in sizes:
            raise NotImplementedError("unflatten(0, ...) must leave one of the lengths open.")
    return g.add("Reshape", x, ints(*sizes))


def _kept_rows(x: Tensor, result: Tensor) -> int:
    """Return what stands in a shape for the first axis as it was."""
    if x.shape[0] != result.shape[0]:
        raise NotImplementedError(
            f"A reshape from {tuple(x.shape)} to {tuple(result.shape)} must leave the number of "
            f"rows open: one of the lengths should be -1."
        )
    return 0


@translates("permute")
def _permute(g: Graph, result: Tensor, x: Traced, *dims: int) -> str:
    return g.add("Transpose", x, perm=_listed(dims))


@translates("expand")
def _expand(g: Graph, result: Tensor, x: Traced, *sizes: int) -> str:
    return g.add("Expand", x, ints(*(1 if size == -1 else size for size in _listed(sizes))))


@translates("expand_as")
def _expand_as(g: Graph, result: Tensor, x: Traced, other: Traced) -> str:
    return g.add("Expand", x, g.add("Shape", other))


@translates("cat")
def _cat(g: Graph, result: Tensor, parts: Any, dim: int = 0) -> str:
    parts = [as_dtype(g, part, result.dtype) for part in parts]
    return g.add("Concat", *parts, axis=dim)


@translates("stack")
def _stack(g: Graph, result: Tensor, parts: Any, dim: int = 0) -> str:
    return g.add("Concat", *(g.add("Unsqueeze", part, ints(dim)) for part in parts), axis=dim)


@translates("split", "chunk")
def _split(g: Graph, result: Any, x: Traced, sizes: Any, dim: int = 0) -> list[str]:
    lengths = [part.shape[dim] for part in result]
    if len(lengths) == 1:
        return [g.add("Identity", x)]
    return g.add("Split", x, ints(*lengths), n_outputs=len(lengths), axis=dim)


@translates("unbind")
def _unbind(g: Graph, result: Any, x: Traced, dim: int = 0) -> list[str]:
    return [g.add("Gather", x, np.int64(place), axis=dim) for place in range(len(result))]


@translates("pad")
def _pad(
    g: Graph, result: Tensor, x: Traced, pad: Any, mode: str = "constant", value: float | None = 0
) -> str:
    if mode != "constant":
        raise NotImplementedError(f"pad with mode={mode!r} cannot be written in ONNX here.")
    before, after = [0] * x.ndim, [0] * x.ndim
    for place in range(len(pad) // 2):  # torch counts from the last axis
        before[-1 - place], after[-1 - place] = pad[2 * place], pad[2 * place + 1]
    return g.add("Pad", x, ints(*before, *after), torch.tensor(value or 0, dtype=x.dtype))


# Parts


@translates("__getitem__")
def _getitem(g: Graph, result: Tensor, x: Traced, index: Any) -> str:
    index = index if isinstance(index, tuple) else (index,)
    if any(isinstance(entry, Tensor) for entry in index):
        return _gather_from_rows(g, x, *index)
    if Ellipsis in index:
        place = index.index(Ellipsis)
        n_taken = sum(entry is not None and entry is not Ellipsis for entry in index)
        whole = (slice(None),) * (x.ndim - n_taken)
        index = index[:place] + whole + index[place + 1 :]
    axis, out = 0, x
    for entry in index:
        if entry is None:
            out = g.add("Unsqueeze", out, ints(axis))
        elif isinstance(entry, int):
            out = g.add("Gather", out, np.int64(entry), axis=axis)
            continue
        elif entry != slice(None):
            start, stop, step = entry.start or 0, entry.stop, entry.step or 1
            stop = END if stop is None else stop
            out = g.add("Slice", out, ints(start), ints(stop), ints(axis), ints(step))
        axis += 1
    return g.name_of(out)


def _gather_from_rows(g: Graph, x: Traced, rows: Any, places: Any = None) -> str:
    """Write ``x[arange(n_rows), places]``: one place of each row."""
    each = torch.arange(len(x))
    if places is None or isinstance(rows, Traced) or not torch.equal(rows.cpu(), each):
        raise NotImplementedError("Of indices by tensors only x[arange(len(x)), places] works.")
    return g.add("GatherND", x, g.add("Unsqueeze", places, ints(-1)), batch_dims=1)


@translates("gather")
def _gather(g: Graph, result: Tensor, x: Any, dim: int, index: Any) -> str:
    return g.add("GatherElements", x, index, axis=dim)


@translates("scatter")
def _scatter(g: Graph, result: Tensor, x: Traced, dim: int, index: Any, values: Any) -> str:
    return g.add("ScatterElements", x, index, values, axis=dim)


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
    return g.add("TopK", x, ints(k), n_outputs=2, axis=dim, largest=int(largest))


@translates("index_select")
def _index_select(g: Graph, result: Tensor, x: Traced, dim: int, index: Any) -> str:
    return g.add("Gather", x, index, axis=dim)


@translates("argmin")
def _argmin(g: Graph, result: Tensor, x: Traced, dim: int) -> str:
    return g.add("ArgMin", x, axis=dim, keepdims=0)
