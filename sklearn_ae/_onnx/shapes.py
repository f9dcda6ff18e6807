"""Translations of torch functions that change shapes or take parts; see ``operators.py``.

Shapes in the graph must not contain the number of examples: the number of samples stays open.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._onnx.graph import Graph, UnsupportedError
from sklearn_ae._onnx.operators import as_dtype, ints
from sklearn_ae._onnx.tracing import Traced, translates

END = np.iinfo(np.int64).max
"""End of a slice that extends to the end of its axis."""

INTEGERS = (int, np.integer)


@translates("reshape", "view")
def _reshape(g: Graph, result: Tensor, x: Traced, *shape: Any) -> str:
    sizes = _as_list(shape)
    if not sizes or not all(isinstance(size, INTEGERS) for size in sizes):  # as in view(dtype)
        raise UnsupportedError("a tensor is reshaped to at least one axis, by integers")
    if -1 not in sizes or x.shape[:1] == result.shape[:1]:
        sizes[0] = _same_length(x, result)
    return g.add("Reshape", x, ints(*sizes))


def _as_list(sizes: tuple[Any, ...]) -> list[Any]:
    """Return numbers that are given one by one, or as one sequence."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        return list(sizes[0])
    return list(sizes)


@translates("flatten", "unflatten")
def _flatten_or_unflatten(g: Graph, result: Tensor, x: Traced, dim: int = 0, *rest: Any) -> str:
    if x.ndim and dim % x.ndim:
        return g.add("Reshape", x, ints(_same_length(x, result), *result.shape[1:]))
    # The first axis, that of the samples, is flattened with others or split: its length is open.
    sizes = [-1, *result.shape[1:]]
    if result.ndim > x.ndim:
        sizes = [*rest[0], *x.shape[1:]] if rest else []
        if -1 not in sizes:
            raise UnsupportedError("unflatten(0, ...) must leave one of the lengths open")
    return g.add("Reshape", x, ints(*sizes))


def _same_length(x: Tensor, result: Tensor) -> int:
    """Return the size that means, in a shape, the length of this axis before."""
    if x.shape[:1] != result.shape[:1]:
        raise UnsupportedError(
            f"a reshape from {tuple(x.shape)} to {tuple(result.shape)} must leave the number of "
            f"samples open: one of the lengths should be -1"
        )
    return 0


@translates("permute")
def _permute(g: Graph, result: Tensor, x: Traced, *dims: Any) -> str:
    return g.add("Transpose", x, perm=[dim % x.ndim for dim in _as_list(dims)])


@translates("transpose")
def _transpose(g: Graph, result: Tensor, x: Traced, dim0: int, dim1: int) -> str:
    order = list(range(x.ndim))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return g.add("Transpose", x, perm=order)


@translates("unsqueeze")
def _unsqueeze(g: Graph, result: Tensor, x: Traced, dim: int) -> str:
    return g.add("Unsqueeze", x, ints(dim))


@translates("squeeze")
def _squeeze(g: Graph, result: Tensor, x: Traced, dim: int) -> str:
    if result.ndim == x.ndim:
        return g.name_of(x)
    return g.add("Squeeze", x, ints(dim))


@translates("pixel_shuffle")
def _pixel_shuffle(g: Graph, result: Tensor, x: Traced, upscale_factor: int) -> str:
    return g.add("DepthToSpace", x, blocksize=upscale_factor, mode="CRD")


@translates("expand")
def _expand(g: Graph, result: Tensor, x: Traced, *sizes: Any) -> str:
    # To ONNX, a length of one is what -1 is to torch: the axis stays as it is.
    return g.add("Expand", x, ints(*(1 if size == -1 else size for size in _as_list(sizes))))


@translates("expand_as")
def _expand_as(g: Graph, result: Tensor, x: Traced, other: Traced) -> str:
    return g.add("Expand", x, g.add("Shape", other))


@translates("cat")
def _cat(g: Graph, result: Tensor, parts: Any, dim: int = 0) -> str:
    return g.add("Concat", *(as_dtype(g, part, result.dtype) for part in parts), axis=dim)


@translates("stack")
def _stack(g: Graph, result: Tensor, parts: Any, dim: int = 0) -> str:
    return g.add("Concat", *(g.add("Unsqueeze", part, ints(dim)) for part in parts), axis=dim)


@translates("split", "chunk")
def _split(g: Graph, result: Any, x: Traced, sizes: Any, dim: int = 0) -> list[str]:
    lengths = [part.shape[dim] for part in result]
    if len(lengths) == 1:
        return [g.add("Identity", x)]
    return g.add_with_outputs(len(lengths), "Split", x, ints(*lengths), axis=dim)


@translates("unbind")
def _unbind(g: Graph, result: Any, x: Traced, dim: int = 0) -> list[str]:
    return [g.add("Gather", x, np.int64(index), axis=dim) for index in range(len(result))]


@translates("pad")
def _pad(
    g: Graph, result: Tensor, x: Traced, pad: Any, mode: str = "constant", value: float | None = 0
) -> str:
    if mode != "constant":
        raise UnsupportedError(f"mode={mode!r} is not 'constant'")
    before, after = [0] * x.ndim, [0] * x.ndim
    for axis in range(len(pad) // 2):  # torch counts from the last axis, two lengths for each
        before[-1 - axis], after[-1 - axis] = pad[2 * axis], pad[2 * axis + 1]
    return g.add("Pad", x, ints(*before, *after), torch.tensor(value or 0, dtype=x.dtype))


# Indexing


@translates("__getitem__")
def _getitem(g: Graph, result: Tensor, x: Traced, index: Any) -> str:
    index = index if isinstance(index, tuple) else (index,)
    if any(isinstance(entry, Tensor) for entry in index):
        return _gather_one_per_sample(g, x, index)
    axis, name = 0, g.name_of(x)
    for entry in _without_ellipsis(index, x.ndim):
        if entry is None:
            name = g.add("Unsqueeze", name, ints(axis))
        elif isinstance(entry, slice):
            name = _slice(g, name, axis, entry)
        elif isinstance(entry, INTEGERS) and not isinstance(entry, bool):
            name = g.add("Gather", name, np.int64(entry), axis=axis)
            continue  # the axis is gone: the next one has its number
        else:
            raise UnsupportedError(f"{type(entry).__name__} is not supported as an index")
        axis += 1
    return name


def _without_ellipsis(index: tuple[Any, ...], n_axes: int) -> tuple[Any, ...]:
    """Replace an ellipsis by full slices."""
    if Ellipsis not in index:
        return index
    place = index.index(Ellipsis)
    n_indexed = sum(entry is not None and entry is not Ellipsis for entry in index)
    full = (slice(None),) * (n_axes - n_indexed)
    return index[:place] + full + index[place + 1 :]


def _slice(g: Graph, name: str, axis: int, entry: slice) -> str:
    if entry == slice(None):
        return name
    bounds = entry.start or 0, END if entry.stop is None else entry.stop, entry.step or 1
    if not all(isinstance(bound, INTEGERS) for bound in bounds):
        raise UnsupportedError("the bounds of slices must be integers")
    start, stop, step = bounds
    return g.add("Slice", name, ints(start), ints(stop), ints(axis), ints(step))


def _gather_one_per_sample(g: Graph, x: Traced, index: tuple[Any, ...]) -> str:
    """Translate ``x[arange(len(x)), indices]``: one value of each sample."""
    samples, *others = index
    if (
        len(others) != 1
        or not isinstance(samples, Tensor)
        or isinstance(samples, Traced)
        or not isinstance(others[0], Traced)
        or not torch.equal(samples.cpu(), torch.arange(len(x)))
    ):
        raise UnsupportedError(
            "of indexing by tensors only x[arange(len(x)), indices] is supported"
        )
    return g.add("GatherND", x, g.add("Unsqueeze", others[0], ints(-1)), batch_dims=1)


@translates("gather")
def _gather(g: Graph, result: Tensor, x: Any, dim: int, index: Any) -> str:
    return g.add("GatherElements", x, index, axis=dim)


@translates("scatter")
def _scatter(g: Graph, result: Tensor, x: Traced, dim: int, index: Any, src: Any) -> str:
    if not isinstance(src, Tensor):
        raise UnsupportedError("scatter needs a tensor of values")
    return g.add("ScatterElements", x, index, src, axis=dim)


@translates("index_select")
def _index_select(g: Graph, result: Tensor, x: Traced, dim: int, index: Any) -> str:
    return g.add("Gather", x, index, axis=dim)
