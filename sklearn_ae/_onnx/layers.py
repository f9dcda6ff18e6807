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


@translates("batch_norm")
def _batch_norm(
    g: Graph,
    result: Tensor,
    x: Traced,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> str:
    if training or mean is None or variance is None:
        raise UnsupportedError("batch normalisation needs running statistics")
    scale = torch.ones_like(mean) if weight is None else weight
    shift = torch.zeros_like(mean) if bias is None else bias
    return g.add("BatchNormalization", x, scale, shift, mean, variance, epsilon=float(eps))


@translates("group_norm")
def _group_norm(
    g: Graph,
    result: Tensor,
    x: Traced,
    n_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> str:
    """Standardise groups of maps as instances of their own, then scale and shift each map."""
    one, zero = torch.ones(n_groups, dtype=x.dtype), torch.zeros(n_groups, dtype=x.dtype)
    grouped = g.add("Reshape", x, ints(0, n_groups, -1))
    grouped = g.add("InstanceNormalization", grouped, one, zero, epsilon=float(eps))
    values = g.add("Reshape", grouped, ints(0, *x.shape[1:]))
    shape = (-1, *(1,) * (x.ndim - 2))
    if weight is not None:
        values = g.add("Mul", values, weight.reshape(shape))
    return values if bias is None else g.add("Add", values, bias.reshape(shape))


@translates("matmul", "__matmul__")
def _matmul(g: Graph, result: Tensor, a: Any, b: Any) -> str:
    return g.add("MatMul", a, b)


# Convolution and pooling


@translates("conv1d", "conv2d")
def _conv(
    g: Graph,
    result: Tensor,
    x: Traced,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> str:
    window = _window(x.ndim - 2, stride, padding, dilation)
    return g.add("Conv", x, weight, bias, group=groups, **window)


@translates("conv_transpose1d", "conv_transpose2d")
def _transposed_conv(
    g: Graph,
    result: Tensor,
    x: Traced,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> str:
    n_axes = x.ndim - 2
    window = _window(n_axes, stride, padding, dilation)
    window["output_padding"] = _for_axes(n_axes, output_padding)
    return g.add("ConvTranspose", x, weight, bias, group=groups, **window)


def _window(n_axes: int, stride: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    """Return the attributes of a convolution that determine the positions of its window."""
    if isinstance(padding, str):
        raise UnsupportedError(f"padding={padding!r} must be numbers")
    # ONNX takes the padding at the beginning of all axes, then at the end of all.
    return {
        "strides": _for_axes(n_axes, stride),
        "pads": _for_axes(n_axes, padding) * 2,
        "dilations": _for_axes(n_axes, dilation),
    }


def _for_axes(n_axes: int, value: Any) -> list[int]:
    """Return one number for each axis; torch accepts one number for all."""
    values = [value] if isinstance(value, int) else list(value)
    return values * n_axes if len(values) == 1 else values


@translates("avg_pool1d", "avg_pool2d")
def _average_pool(
    g: Graph,
    result: Tensor,
    x: Traced,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> str:
    if ceil_mode or divisor_override is not None:
        raise UnsupportedError("average pooling needs ceil_mode=False and no other divisor")
    n_axes = x.ndim - 2
    window = _for_axes(n_axes, kernel_size)
    how = _window(n_axes, stride if stride else window, padding, 1)
    del how["dilations"]
    return g.add(
        "AveragePool", x, kernel_shape=window, count_include_pad=int(count_include_pad), **how
    )


@translates("adaptive_avg_pool1d", "adaptive_avg_pool2d")
def _adaptive_average_pool(g: Graph, result: Tensor, x: Traced, output_size: Any) -> str:
    if set(result.shape[2:]) != {1}:
        raise UnsupportedError("adaptive pooling must have the output size 1")
    return g.add("GlobalAveragePool", x)


@translates("max_pool1d", "max_pool2d")
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


@translates("max_pool1d_with_indices", "max_pool2d_with_indices")
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
    n_axes = x.ndim - 2
    window = _for_axes(n_axes, kernel_size)
    # torch takes None and () for the kernel size
    strides = _for_axes(n_axes, stride) if stride else window
    how = _for_axes(n_axes, padding), _for_axes(n_axes, dilation)
    if strides != window or how != ([0] * n_axes, [1] * n_axes):
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
