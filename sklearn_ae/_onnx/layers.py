"""Translations of torch layers to ONNX; see ``operators.py``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._onnx.graph import Graph, UnsupportedError
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
    g: Graph,
    result: Tensor,
    x: Traced,
    shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> str:
    if weight is None:  # ONNX requires a scale
        weight = torch.ones(list(shape), dtype=x.dtype)
    return g.add("LayerNormalization", x, weight, bias, axis=-len(shape), epsilon=eps)


@translates("matmul")
def _matmul(g: Graph, result: Tensor, a: Any, b: Any) -> str:
    return g.add("MatMul", a, b)


# Convolution and pooling


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
    window = _window(stride, padding, dilation)
    return g.add("Conv", x, weight, bias, group=groups, **window)


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
    window = _window(stride, padding, dilation) | {"output_padding": _pair(output_padding)}
    return g.add("ConvTranspose", x, weight, bias, group=groups, **window)


def _window(stride: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    """Return the attributes of a convolution that determine the positions of its window."""
    if isinstance(padding, str):
        raise UnsupportedError(f"padding={padding!r} must be numbers")
    # ONNX takes the padding at the beginning of both axes, then at the end of both.
    pads = _pair(padding) * 2
    return {"strides": _pair(stride), "pads": pads, "dilations": _pair(dilation)}


def _pair(value: Any) -> list[int]:
    """Return one number for each of two axes; torch accepts one number for both."""
    return [value, value] if isinstance(value, int) else list(value)


@translates("max_pool2d")
def _max_pool(
    g: Graph,
    result: Tensor,
    x: Traced,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> str:
    return _pool(g, x, kernel_size, stride, padding, dilation, ceil_mode)[0]


@translates("max_pool2d_with_indices")
def _max_pool_with_indices(
    g: Graph,
    result: Any,
    x: Traced,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> list[str]:
    values, indices = _pool(g, x, kernel_size, stride, padding, dilation, ceil_mode)
    # ONNX counts positions through all maps of all samples, torch within each map.
    return [values, g.add("Mod", indices, np.int64(math.prod(x.shape[2:])))]


def _pool(
    g: Graph,
    x: Traced,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
) -> list[str]:
    window = _pair(kernel_size)
    strides = _pair(stride) if stride else window  # torch takes None and () for the kernel size
    if strides != window or _pair(padding) != [0, 0] or _pair(dilation) != [1, 1]:
        raise UnsupportedError("pooling windows must be adjacent, without padding")
    sizes: dict[str, Any] = {"kernel_shape": window, "strides": window}
    return g.add_with_outputs(2, "MaxPool", x, ceil_mode=int(ceil_mode), **sizes)


@translates("interpolate")
def _upsample(
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
    factors = list(np.atleast_1d(scale_factor if size is None else np.nan))
    factors = factors * (x.ndim - 2) if len(factors) == 1 else factors
    if mode != "nearest" or any(factor % 1 for factor in factors):  # a remainder of NaN is NaN
        raise UnsupportedError("interpolate must repeat values, by integer scale factors")
    scales = np.array([1, 1, *factors], np.float32)
    # Without both, Resize would round to the nearest centre, unlike torch.
    how: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return g.add("Resize", x, np.empty(0, np.float32), scales, mode="nearest", **how)


# Recurrent layers


@translates("lstm")
def _lstm(g: Graph, result: Any, x: Traced, *arguments: Any) -> list[str]:
    # torch orders the gates input, forget, cell, output; ONNX input, output, forget, cell.
    return _recurrence("LSTM", (0, 3, 1, 2), {}, g, x, *arguments)


@translates("gru")
def _gru(g: Graph, result: Any, x: Traced, *arguments: Any) -> list[str]:
    # torch orders the gates reset, update, new; ONNX update, reset, new. torch multiplies by the
    # reset gate after the linear map of the state.
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
) -> list[str]:
    """Add the layers of a recurrent network; `gates` is ONNX's order as indices of torch's."""
    states = list(start) if isinstance(start, (tuple, list)) else [start]
    _check_recurrence(x, states, weights, has_biases, n_layers, bidirectional, batch_first)
    steps = g.add("Transpose", x, perm=[1, 0, 2])  # (n_steps, n_samples, size)
    # All sequences have full length; the input before the initial states must not be omitted.
    value = g.onnx.numpy_helper.from_array(np.array([x.shape[1]], np.int32))
    n_samples = g.add("Slice", g.add("Shape", x), ints(0), ints(1))
    lengths = g.add("ConstantOfShape", n_samples, value=value)
    last: list[list[str]] = []
    for layer in range(n_layers):
        w, r, w_bias, r_bias = (
            torch.cat([value.chunk(len(gates))[gate] for gate in gates])[None]
            for value in weights[4 * layer : 4 * layer + 4]
        )
        bias = torch.cat([w_bias, r_bias], 1)
        initial = []
        if isinstance(states[0], Traced):  # otherwise they are zeros, ONNX's default
            part = ints(layer), ints(layer + 1), ints(0)
            initial = [lengths, *(g.add("Slice", state, *part) for state in states)]
        inputs = steps, w, r, bias, *initial
        out, *ends = g.add_with_outputs(
            1 + len(states), kind, *inputs, hidden_size=r.shape[2], **options
        )
        steps = g.add("Squeeze", out, ints(1))  # the axis of directions
        last.append(ends)
    ends = [g.add("Concat", *of_layers, axis=0) for of_layers in zip(*last, strict=True)]
    return [g.add("Transpose", steps, perm=[1, 0, 2]), *ends]


def _check_recurrence(
    x: Traced,
    states: list[Tensor],
    weights: list[Tensor],
    has_biases: bool,
    n_layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> None:
    if bidirectional or not has_biases or not batch_first or x.ndim != 3:
        raise UnsupportedError("a recurrent layer must have one direction, biases and batch_first")
    if len(weights) != 4 * n_layers:
        raise UnsupportedError("a recurrent layer must have no projection")
    constant = [state for state in states if not isinstance(state, Traced)]
    if any(state.any() for state in constant) or len(constant) not in (0, len(states)):
        raise UnsupportedError("initial states must be zero, or depend on the samples")
