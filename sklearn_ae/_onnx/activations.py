"""Translations of torch's activation functions to ONNX; see ``operators.py``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._onnx.graph import Graph, UnsupportedError
from sklearn_ae._onnx.tracing import Traced, translates


def _constant(x: Tensor, value: float) -> Tensor:
    return torch.tensor(value, dtype=x.dtype)


@translates("silu")
def _silu(g: Graph, result: Tensor, x: Traced, inplace: bool = False) -> str:
    return g.add("Mul", x, g.add("Sigmoid", x))


@translates("gelu")
def _gelu(g: Graph, result: Tensor, x: Traced, approximate: str = "none") -> str:
    """``x (1 + erf(x / sqrt(2))) / 2``; the operator Gelu requires opset 20."""
    if approximate == "none":
        curve = g.add("Erf", g.add("Mul", x, _constant(x, 0.5**0.5)))
    else:  # tanh(sqrt(2 / pi) (x + 0.044715 x^3))
        cube = g.add("Mul", g.add("Mul", x, g.add("Mul", x, x)), _constant(x, 0.044715))
        scaled = g.add("Mul", g.add("Add", x, cube), _constant(x, math.sqrt(2 / math.pi)))
        curve = g.add("Tanh", scaled)
    return g.add("Mul", g.add("Mul", x, _constant(x, 0.5)), g.add("Add", curve, _constant(x, 1)))


@translates("leaky_relu")
def _leaky_relu(
    g: Graph, result: Tensor, x: Traced, negative_slope: float = 0.01, inplace: bool = False
) -> str:
    return g.add("LeakyRelu", x, alpha=float(negative_slope))


@translates("prelu")
def _prelu(g: Graph, result: Tensor, x: Traced, weight: Tensor) -> str:
    # One slope, or one for each unit or map: the second axis.
    slopes = weight.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else weight
    return g.add("PRelu", x, slopes)


@translates("elu")
def _elu(g: Graph, result: Tensor, x: Traced, alpha: float = 1.0, inplace: bool = False) -> str:
    return g.add("Elu", x, alpha=float(alpha))


@translates("celu")
def _celu(g: Graph, result: Tensor, x: Traced, alpha: float = 1.0, inplace: bool = False) -> str:
    return g.add("Celu", x, alpha=float(alpha))


@translates("selu")
def _selu(g: Graph, result: Tensor, x: Traced, inplace: bool = False) -> str:
    return g.add("Selu", x)


@translates("softplus")
def _softplus(
    g: Graph, result: Tensor, x: Traced, beta: float = 1.0, threshold: float = 20.0
) -> str:
    """``log(1 + exp(beta x)) / beta``; beyond the threshold torch is equal up to rounding."""
    if beta == 1:
        return g.add("Softplus", x)
    return g.add("Div", g.add("Softplus", g.add("Mul", x, _constant(x, beta))), _constant(x, beta))


@translates("logaddexp")
def _logaddexp(g: Graph, result: Tensor, a: Any, b: Any) -> str:
    """``b + log(1 + exp(a - b))``."""
    return g.add("Add", b, g.add("Softplus", g.add("Sub", a, b)))


@translates("logsigmoid", "log_sigmoid")
def _log_sigmoid(g: Graph, result: Tensor, x: Traced) -> str:
    return g.add("Neg", g.add("Softplus", g.add("Neg", x)))


@translates("mish")
def _mish(g: Graph, result: Tensor, x: Traced, inplace: bool = False) -> str:
    return g.add("Mul", x, g.add("Tanh", g.add("Softplus", x)))


@translates("softsign")
def _softsign(g: Graph, result: Tensor, x: Traced) -> str:
    return g.add("Softsign", x)


@translates("tanhshrink")
def _tanhshrink(g: Graph, result: Tensor, x: Traced) -> str:
    return g.add("Sub", x, g.add("Tanh", x))


@translates("hardtanh")
def _hardtanh(
    g: Graph,
    result: Tensor,
    x: Traced,
    min_val: float = -1.0,
    max_val: float = 1.0,
    inplace: bool = False,
) -> str:
    return g.add("Clip", x, _constant(x, min_val), _constant(x, max_val))


@translates("relu6")
def _relu6(g: Graph, result: Tensor, x: Traced, inplace: bool = False) -> str:
    return g.add("Clip", x, _constant(x, 0), _constant(x, 6))


@translates("hardsigmoid")
def _hardsigmoid(g: Graph, result: Tensor, x: Traced, inplace: bool = False) -> str:
    return g.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)


@translates("hardswish")
def _hardswish(g: Graph, result: Tensor, x: Traced, inplace: bool = False) -> str:
    return g.add("Mul", x, g.add("HardSigmoid", x, alpha=1 / 6, beta=0.5))


@translates("threshold", "_threshold")
def _threshold(
    g: Graph, result: Tensor, x: Traced, threshold: float, value: float, inplace: bool = False
) -> str:
    return g.add("Where", g.add("Greater", x, _constant(x, threshold)), x, _constant(x, value))


def _soft(kind: str) -> Callable[..., str]:
    """Return the translation of the softmax or of its logarithm."""

    def translate(
        g: Graph,
        result: Tensor,
        x: Traced,
        dim: int | None = None,
        _stacklevel: int = 3,
        dtype: Any = None,
    ) -> str:
        if dim is None or dtype is not None:
            raise UnsupportedError(f"{kind} needs its axis, and the dtype of its input")
        return g.add(kind, x, axis=dim)

    return translate


translates("softmax")(_soft("Softmax"))
translates("log_softmax")(_soft("LogSoftmax"))


@translates("glu")
def _glu(g: Graph, result: Tensor, x: Traced, dim: int = -1) -> str:
    half = np.array([x.shape[dim] // 2] * 2)
    values, gates = g.add_with_outputs(2, "Split", x, half, axis=dim)
    return g.add("Mul", values, g.add("Sigmoid", gates))


@translates("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout")
def _dropout(
    g: Graph,
    result: Tensor,
    x: Traced,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> str:
    if training:
        raise UnsupportedError("dropout is exported outside of training only")
    return g.name_of(x)
