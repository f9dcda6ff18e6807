"""Activation functions with the derivatives that the hand-written backward pass needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_aten = torch.ops.aten


class Activation(NamedTuple):
    """An element-wise non-linearity.

    Attributes
    ----------
    forward : callable
        Pre-activation to activation.
    backward : callable
        ``(gradient, pre, post)``: the gradient with respect to the activation, the
        pre-activation and the activation, to the gradient with respect to the
        pre-activation.
    start : float
        Weights are drawn uniformly from ``+- start / sqrt(fan_in)``. Saturating functions
        need pre-activations of unit variance, ``start = sqrt(3)``, to be non-linear from
        the start; rectifiers are so at any size, and smaller weights reconstruct better.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]
    start: float = 1.0


def _silu_backward(g: Tensor, pre: Tensor, post: Tensor) -> Tensor:
    """Gradient through ``x s(x)``; torch's own kernel cannot itself be differentiated."""
    if not (torch.is_grad_enabled() and pre.requires_grad):
        return _aten.silu_backward(g, pre)
    share = torch.sigmoid(pre)
    return g * share * (1 + pre * (1 - share))


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(functional.relu, lambda g, pre, post: _aten.threshold_backward(g, post, 0)),
    "silu": Activation(functional.silu, _silu_backward),
    "gelu": Activation(functional.gelu, lambda g, pre, post: _aten.gelu_backward(g, pre)),
    "tanh": Activation(torch.tanh, lambda g, pre, post: _aten.tanh_backward(g, post), 3**0.5),
    "logistic": Activation(
        torch.sigmoid, lambda g, pre, post: _aten.sigmoid_backward(g, post), 3**0.5
    ),
    "identity": Activation(lambda pre: pre, lambda g, pre, post: g),
}
