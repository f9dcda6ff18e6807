"""Activation functions, with the derivatives for the hand-written backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_aten = torch.ops.aten


class Activation(NamedTuple):
    """Element-wise non-linearity.

    Attributes
    ----------
    forward : callable
        Maps the pre-activation to the activation.
    backward : callable
        Maps ``(gradient, pre, post)`` to the gradient with respect to the pre-activation, where
        ``gradient`` is that with respect to the activation, and ``pre`` and ``post`` are the
        pre-activation and the activation.
    start : float
        Initial weights are drawn uniformly from ``+- start / sqrt(fan_in)``. Saturating functions
        are nearly linear unless pre-activations have unit variance, which requires
        ``start = sqrt(3)``. Rectifiers are non-linear at any scale, and reconstruct better with
        smaller initial weights.
    integral : callable or None
        Maps the pre-activation to an antiderivative of ``forward``. None: there is no closed form.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]
    start: float = 1.0
    integral: Callable[[Tensor], Tensor] | None = None


def _silu_backward(g: Tensor, pre: Tensor, post: Tensor) -> Tensor:
    """Return the gradient through ``x s(x)``, where ``s`` is the logistic function."""
    if not torch.is_grad_enabled():
        gradient: Tensor = _aten.silu_backward(g, pre)
        return gradient
    # torch's kernel has no derivative of its own, which penalties on Jacobians need.
    s = torch.sigmoid(pre)
    return g * s * (1 + pre * (1 - s))


def _gelu_integral(pre: Tensor) -> Tensor:
    """Return ``[(u^2 - 1) Phi(u) + u phi(u)] / 2``; ``phi`` is the Gaussian density."""
    density = (-pre.square() / 2).exp() / math.sqrt(2 * math.pi)
    normal: Tensor = torch.special.ndtr(pre)
    return ((pre.square() - 1) * normal + pre * density) / 2


def _log_cosh(pre: Tensor) -> Tensor:
    """Return ``log cosh u``, without the overflow of ``cosh``."""
    size = pre.abs()
    return size + functional.softplus(-2 * size) - math.log(2)


def _softplus(pre: Tensor) -> Tensor:
    """Return ``log(1 + e^u)``; torch's softplus is linear above 20, inexact in float64."""
    return torch.logaddexp(pre, torch.zeros_like(pre))


LEAK = 0.01
"""Slope of the leaky rectifier below zero, as in torch."""


def _elu_integral(pre: Tensor) -> Tensor:
    """Return ``u^2 / 2`` above zero and ``e^u - 1 - u`` below."""
    below = pre.clamp_max(0)
    return pre.relu().square() / 2 + below.expm1() - below


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(
        functional.relu,
        lambda g, pre, post: _aten.threshold_backward(g, post, 0),
        integral=lambda pre: pre.relu().square() / 2,
    ),
    "leaky_relu": Activation(
        lambda pre: functional.leaky_relu(pre, LEAK),
        lambda g, pre, post: _aten.leaky_relu_backward(g, pre, LEAK, False),
        integral=lambda pre: pre * functional.leaky_relu(pre, LEAK) / 2,
    ),
    "elu": Activation(
        functional.elu,
        lambda g, pre, post: _aten.elu_backward(g, 1, 1, 1, False, pre),
        integral=_elu_integral,
    ),
    # Its integral is a dilogarithm.
    "softplus": Activation(_softplus, lambda g, pre, post: g * torch.sigmoid(pre)),
    "silu": Activation(functional.silu, _silu_backward),  # its integral is a dilogarithm
    "gelu": Activation(
        functional.gelu,
        lambda g, pre, post: _aten.gelu_backward(g, pre),
        integral=_gelu_integral,
    ),
    "tanh": Activation(
        torch.tanh, lambda g, pre, post: _aten.tanh_backward(g, post), 3**0.5, _log_cosh
    ),
    "logistic": Activation(
        torch.sigmoid, lambda g, pre, post: _aten.sigmoid_backward(g, post), 3**0.5, _softplus
    ),
    "identity": Activation(
        lambda pre: pre, lambda g, pre, post: g, integral=lambda pre: pre.square() / 2
    ),
}
