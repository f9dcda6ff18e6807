"""How layers of torch are written in ONNX; see ``operators.py``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._onnx.graph import Graph
from sklearn_ae._onnx.operators import ints
from sklearn_ae._onnx.tracing import Traced, translates


@translates("linear")
def _linear(g: Graph, result: Tensor, x: Traced, weight: Tensor, bias: Any = None) -> str:
    if x.ndim == 2:
        return g.add("Gemm", x, weight, bias, transB=1)
    product = g.add("MatMul", x, weight.t())
    return product if bias is None else g.add("Add", product, bias)


@translates("addmm")
def _addmm(g: Graph, result: Tensor, bias: Any, a: Any, b: Any) -> str:
    return g.add("Add", bias, g.add("MatMul", a, b))


@translates("layer_norm")
def _layer_norm(
    g: Graph, result: Tensor, x: Traced, shape: Any, weight: Tensor, bias: Tensor, eps: float
) -> str:
    return g.add("LayerNormalization", x, weight, bias, axis=-len(shape), epsilon=eps)


@translates("matmul")
def _matmul(g: Graph, result: Tensor, a: Any, b: Any) -> str:
    return g.add("MatMul", a, b)


@translates("conv2d")
def _conv(
    g: Graph,
    result: Tensor,
    x: Traced,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> str:
    sizes = _sizes(stride, padding, dilation)
    return g.add("Conv", x, weight, bias, group=groups, **sizes)


@translates("conv_transpose2d")
def _transposed_conv(
    g: Graph,
    result: Tensor,
    x: Traced,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> str:
    sizes = _sizes(stride, padding, dilation) | {"output_padding": list(output_padding)}
    return g.add("ConvTranspose", x, weight, bias, group=groups, **sizes)


def _sizes(stride: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    """Say how the window of a convolution moves, pairs of numbers in ONNX's terms."""
    if isinstance(padding, str):
        raise NotImplementedError(f"padding={padding!r} must be numbers.")
    pads = [*padding, *padding]
    return {"strides": list(stride), "pads": pads, "dilations": list(dilation)}


@translates("max_pool2d")
def _max_pool(g: Graph, result: Tensor, x: Traced, *arguments: Any, **options: Any) -> str:
    return _pool(g, x, *arguments, **options)[0]


@translates("max_pool2d_with_indices")
def _max_pool_with_places(
    g: Graph, result: Any, x: Traced, *arguments: Any, **options: Any
) -> list[str]:
    """ONNX counts places through all maps of all rows, torch through each map by itself."""
    values, places = _pool(g, x, *arguments, **options)
    return [values, g.add("Mod", places, np.int64(math.prod(x.shape[2:])))]


def _pool(
    g: Graph,
    x: Traced,
    kernel_size: Any,
    stride: Any = None,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> list[str]:
    if (stride or kernel_size) != kernel_size or padding != 0 or dilation != 1:
        raise NotImplementedError("Windows of pooling must lie side by side.")
    window = list(kernel_size)
    sizes: dict[str, Any] = {"kernel_shape": window, "strides": window}
    return g.add("MaxPool", x, n_outputs=2, ceil_mode=int(ceil_mode), **sizes)


@translates("interpolate")
def _repeat(
    g: Graph,
    result: Tensor,
    x: Traced,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: bool = False,
) -> str:
    if mode != "nearest" or any(factor % 1 for factor in scale_factor):
        raise NotImplementedError("interpolate must repeat entries a whole number of times.")
    scales = np.array([1, 1, *scale_factor], np.float32)
    how: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return g.add("Resize", x, np.empty(0, np.float32), scales, mode="nearest", **how)


@translates("lstm")
def _lstm(g: Graph, result: Any, x: Traced, *arguments: Any) -> list[Any]:
    return _recurrence("LSTM", (0, 3, 1, 2), {}, g, x, *arguments)


@translates("gru")
def _gru(g: Graph, result: Any, x: Traced, *arguments: Any) -> list[Any]:
    return _recurrence("GRU", (1, 0, 2), {"linear_before_reset": 1}, g, x, *arguments)


def _recurrence(
    kind: str,
    gates: tuple[int, ...],
    options: dict[str, Any],
    g: Graph,
    x: Traced,
    start: Any,
    weights: list[Tensor],
    has_biases: bool,
    n_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> list[Any]:
    """Write layers of a recurrent network; `gates` is ONNX's order of them in torch's terms."""
    if bidirectional or not has_biases or not batch_first:
        raise NotImplementedError("Of recurrent layers only one way with biases works here.")
    states = list(start) if isinstance(start, (tuple, list)) else [start]
    steps = g.add("Transpose", x, perm=[1, 0, 2])  # (n_steps, batch, size)
    # All sequences are as long as the rows; the input before the first states must say so.
    value = g.onnx.numpy_helper.from_array(np.array([x.shape[1]], np.int32))
    n_rows = g.add("Slice", g.add("Shape", x), ints(0), ints(1))
    lengths = g.add("ConstantOfShape", n_rows, value=value)
    last: list[list[str]] = []
    for layer in range(n_layers):
        w, r, w_bias, r_bias = (
            torch.cat([value.chunk(len(gates))[gate] for gate in gates])[None]
            for value in weights[4 * layer : 4 * layer + 4]
        )
        bias = torch.cat([w_bias, r_bias], 1)
        first = []
        # States that are not traced are what torch starts from by itself: zeros.
        if isinstance(states[0], Traced):
            part = ints(layer), ints(layer + 1), ints(0)
            first = [lengths, *(g.add("Slice", state, *part) for state in states)]
        sizes: dict[str, Any] = {"hidden_size": r.shape[2], "n_outputs": 1 + len(states)}
        out, *ends = g.add(kind, steps, w, r, bias, *first, **sizes, **options)
        steps = g.add("Squeeze", out, ints(1))
        last.append(ends)
    ends = [g.add("Concat", *of_layers, axis=0) for of_layers in zip(*last, strict=True)]
    return [g.add("Transpose", steps, perm=[1, 0, 2]), *ends]
