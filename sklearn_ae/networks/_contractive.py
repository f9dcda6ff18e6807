"""The module of contractive autoencoders: norms of Jacobians, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._network import Network
from sklearn_ae.networks.activations import ACTIVATIONS, Activation
from sklearn_ae.networks.dense import DenseStack

SIGNS = (1, 1, -1, -1, 1, -1, 1, -1)
"""Of numbers in each eighth of the unit interval; those of ``u`` and ``1 - u`` are independent."""


class ContractiveModule(AutoencoderModule):
    """A network with a non-linearity on its code.

    Parameters
    ----------
    network : Network
    row_shape : tuple of int
    n_components : int or None
    code_activation : str
        A key of ``ACTIVATIONS``.
    """

    def __init__(
        self,
        network: Network,
        row_shape: tuple[int, ...],
        n_components: int | None,
        code_activation: str,
    ) -> None:
        super().__init__(network, row_shape, n_components)
        self.activation = ACTIVATIONS[code_activation]

    def encode(self, x: Tensor) -> Tensor:
        """Map rows to bounded codes."""
        return self.activation.forward(self.encoder(x).to(x.dtype))

    def encode_with_norm(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode; return also the squared Frobenius norm of the Jacobian at each row."""
        return encode_with_norm(self.encoder, self.activation, x)


def encode_with_norm(
    encoder: nn.Module, activation: Activation, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Return ``activation(encoder(x))`` and the squared Frobenius norm of its Jacobian.

    The Jacobian's rows are those of the encoder's Jacobian times the activation's derivatives:
    ``sum_i phi'(a_i)^2 ||J_i||^2``. Differentiable with respect to the parameters.

    Parameters
    ----------
    encoder : nn.Module
    activation : Activation
        Of the code, element by element.
    x : Tensor of shape (batch_size, n_features)

    Returns
    -------
    code : Tensor of shape (batch_size, n_outputs)
    norm : Tensor of shape (batch_size,)
    """
    if isinstance(encoder, DenseStack) and encoder.is_plain():
        pre, rows = _dense_rows(encoder, x)
    else:
        pre, rows = _any_rows(encoder, x)
    return activation.forward(pre), (derivative(activation, pre).square() * rows).sum(1)


def derivative(activation: Activation, pre: Tensor) -> Tensor:
    """Derivative of an element-wise function, itself differentiable."""
    return activation.backward(torch.ones_like(pre), pre, activation.forward(pre))


def _dense_rows(stack: DenseStack, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output of a dense stack, and the squared norms of its Jacobian's rows.

    The Jacobian is the product ``W_L D_{L-1} W_{L-1} ... D_1 W_1`` with ``D_l`` the diagonal
    of the activation's derivatives. It is multiplied out from the output's side, and the
    last product ``G W_1`` is not formed: its norms are those of ``G`` under ``W_1 W_1^T``.

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
        return output, first.square().sum(1).expand_as(output)
    product = stack.layers[-1].weight  # (n_outputs, width)
    for layer, slope in zip(stack.layers[-2:0:-1], slopes[:0:-1], strict=True):
        product = (product * slope[:, None]) @ layer.weight  # (batch, n_outputs, width below)
    product = product * slopes[0][:, None]
    return output, ((product @ (first @ first.t())) * product).sum(2).to(x.dtype)


def _any_rows(encoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what :func:`_dense_rows` does, for any encoder, by automatic differentiation."""
    recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        output = encoder(x).to(x.dtype)
        units = torch.eye(output.shape[1], dtype=x.dtype, device=x.device)
        (rows,) = torch.autograd.grad(
            output,
            x,
            units[:, None].expand(-1, len(x), -1),
            create_graph=recorded,
            is_grads_batched=True,
        )  # (n_outputs, batch, n_features)
    return output, rows.square().sum(2).t()


def estimated_norm(encode: Callable[[Tensor], Tensor], x: Tensor, n_projections: int) -> Tensor:
    """Estimate the squared Frobenius norm of the Jacobian of ``encode`` at each row.

    For random signs ``v``, ``||v^T J||^2`` has ``||J||_F^2`` as its mean. It is the same for
    ``-v``; the signs are therefore functions of uniform numbers ``u`` for which those of
    ``1 - u`` are independent of those of ``u``, and two antithetic draws are two draws.

    Parameters
    ----------
    encode : callable
        Rows to codes.
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
        (products,) = torch.autograd.grad(
            code, x, signs, create_graph=recorded, is_grads_batched=True
        )
    return products.square().sum(2).mean(0)
