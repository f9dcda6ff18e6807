"""The module of contractive autoencoders: norms of the encoder's Jacobians, batched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_ae.networks._layers import differentiable
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._network import Network
from sklearn_ae.networks.activations import ACTIVATIONS, Activation
from sklearn_ae.networks.dense import DenseStack

SIGNS = (1, 1, -1, -1, 1, -1, 1, -1)
"""Of numbers in each eighth of the unit interval; those of ``u`` and ``1 - u`` are independent."""


class ContractiveModule(AutoencoderModule):
    """Autoencoder with a non-linearity on its code.

    Parameters
    ----------
    network : Network
    sample_shape : tuple of int
    n_components : int or None
    code_activation : str
        A key of ``ACTIVATIONS``.
    **options
        Further arguments of `AutoencoderModule`.
    """

    shows_missing = False

    def __init__(
        self,
        network: Network,
        sample_shape: tuple[int, ...],
        n_components: int | None,
        code_activation: str,
        **options: Any,
    ) -> None:
        super().__init__(network, sample_shape, n_components, **options)
        self.activation = ACTIVATIONS[code_activation]

    def encode(self, x: Tensor) -> Tensor:
        """Map samples to codes, through the non-linearity."""
        return self.activation.forward(self.encoder(x).to(x.dtype))

    def encode_with_norm(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes, and the squared Frobenius norm of the Jacobian at each sample."""
        return encode_with_norm(self.encoder, self.activation, x)

    def estimated_norm(self, x: Tensor, n_projections: int) -> Tensor:
        """Return an estimate of this norm from random projections of the code."""

        def encode(x: Tensor) -> Tensor:
            with differentiable(self.encoder, x.device):
                return self.encode(x)

        return estimated_norm(encode, x, n_projections)


def encode_with_norm(
    encoder: nn.Module, activation: Activation, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Return ``activation(encoder(x))`` and the squared Frobenius norm of its Jacobian.

    By the chain rule, the norm is ``sum_i phi'(a_i)^2 ||J_i||^2``, where ``J_i`` is a row of the
    Jacobian of ``encoder`` and ``phi'(a_i)`` the derivative of the activation. The result can be
    differentiated with respect to the parameters.

    Parameters
    ----------
    encoder : nn.Module
    activation : Activation
        Element-wise non-linearity of the code.
    x : Tensor of shape (batch_size, n_features)

    Returns
    -------
    code : Tensor of shape (batch_size, n_outputs)
    norm : Tensor of shape (batch_size,)
    """
    if isinstance(encoder, DenseStack) and encoder.is_plain():
        pre, norms = _dense_row_norms(encoder, x)
    else:
        pre, norms = _autograd_row_norms(encoder, x)
    return activation.forward(pre), (derivative(activation, pre).square() * norms).sum(1)


def derivative(activation: Activation, pre: Tensor) -> Tensor:
    """Return the derivative of an activation, which is itself differentiable."""
    return activation.backward(torch.ones_like(pre), pre, activation.forward(pre))


def _dense_row_norms(stack: DenseStack, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output of a dense stack, and the squared norms of the rows of its Jacobian.

    The Jacobian is the product ``W_L D_{L-1} W_{L-1} ... D_1 W_1``, where ``D_l`` is the diagonal
    matrix of the activation's derivatives. The product is computed from the left, because the
    code is narrower than a sample. The last factor is not multiplied: the squared norms of the
    rows of ``G W_1`` are the diagonal of ``G (W_1 W_1^T) G^T``.

    Returns
    -------
    output : Tensor of shape (batch_size, n_outputs)
    norms : Tensor of shape (batch_size, n_outputs)
    """
    slopes, hidden = [], x
    for layer in stack.layers[:-1]:
        pre = layer(hidden)
        slopes.append(derivative(stack.activation, pre))
        hidden = stack.activation.forward(pre)
    output = stack.layers[-1](hidden).to(x.dtype)
    first = stack.layers[0].weight
    if not slopes:
        return output, first.square().sum(1).expand_as(output)  # the same for all samples
    product = stack.layers[-1].weight  # (n_outputs, width)
    for layer, slope in zip(stack.layers[-2:0:-1], slopes[:0:-1], strict=True):
        product = (product * slope[:, None]) @ layer.weight  # (batch, n_outputs, width below)
    product = product * slopes[0][:, None]  # G, (batch, n_outputs, width of the first layer)
    return output, ((product @ (first @ first.t())) * product).sum(2).to(x.dtype)


def _autograd_row_norms(encoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the result of :func:`_dense_row_norms` by autograd, for any encoder."""
    recorded = torch.is_grad_enabled()  # training differentiates the norms once more
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        with differentiable(encoder, x.device):
            output = encoder(x).to(x.dtype)
        units = torch.eye(output.shape[1], dtype=x.dtype, device=x.device)
        (rows,) = torch.autograd.grad(
            output,
            x,
            units[:, None].expand(-1, len(x), -1),  # one backward pass for each output
            create_graph=recorded,
            is_grads_batched=True,
        )  # (n_outputs, batch, n_features)
    return output, rows.square().sum(2).t()


def estimated_norm(encode: Callable[[Tensor], Tensor], x: Tensor, n_projections: int) -> Tensor:
    """Estimate the squared Frobenius norm of the Jacobian of ``encode`` at each sample.

    If ``v`` is a vector of random signs, the mean of ``||v^T J||^2`` is ``||J||_F^2``. It is the
    same for ``-v``; the signs are therefore functions of uniform numbers ``u`` for which those of
    ``1 - u`` are independent of those of ``u``, and two antithetic draws are two draws.

    Parameters
    ----------
    encode : callable
        Maps samples to codes.
    x : Tensor of shape (batch_size, n_features)
    n_projections : int
        Number of vectors ``v``.

    Returns
    -------
    Tensor of shape (batch_size,)
    """
    recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        code = encode(x)
        uniform = torch.rand(n_projections, *code.shape, dtype=x.dtype, device=x.device)
        signs = x.new_tensor(SIGNS)[(len(SIGNS) * uniform).long()]
        norm = torch.zeros_like(x[:, 0])
        for sign in signs:  # in turn: torch imports SymPy, for seconds, to take them together
            (product,) = torch.autograd.grad(
                (code * sign).sum(), x, create_graph=recorded, retain_graph=True
            )
            norm = norm + product.square().sum(1)
    return norm / n_projections
