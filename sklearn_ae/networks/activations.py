"""Activation functions with the derivatives that the hand-written backward pass needs."""

from __future__ import annotations

import math
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
    integral : callable or None
        Pre-activation to an antiderivative of ``forward``. None: it has no closed form.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]
    start: float = 1.0
    integral: Callable[[Tensor], Tensor] | None = None


def _silu_backward(g: Tensor, pre: Tensor, post: Tensor) -> Tensor:
    """Gradient through ``x s(x)``; torch's own kernel cannot itself be differentiated."""
    if not (torch.is_grad_enabled() and pre.requires_grad):
        return _aten.silu_backward(g, pre)
    share = torch.sigmoid(pre)
    return g * share * (1 + pre * (1 - share))


def _gelu_integral(pre: Tensor) -> Tensor:
    """``[(u^2 - 1) Phi(u) + u phi(u)] / 2`` with the Gaussian density ``phi`` and its integral."""
    density = (-pre.square() / 2).exp() / math.sqrt(2 * math.pi)
    return ((pre.square() - 1) * torch.special.ndtr(pre) + pre * density) / 2


def _log_cosh(pre: Tensor) -> Tensor:
    """``log cosh u``, without the overflow of ``cosh``."""
    size = pre.abs()
    return size + functional.softplus(-2 * size) - math.log(2)


def _softplus(pre: Tensor) -> Tensor:
    """``log(1 + e^u)``; torch's own is linear from 20 on, which costs digits in float64."""
    return torch.logaddexp(pre, torch.zeros_like(pre))


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(
        functional.relu,
        lambda g, pre, post: _aten.threshold_backward(g, post, 0),
        integral=lambda pre: pre.relu().square() / 2,
    ),
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
