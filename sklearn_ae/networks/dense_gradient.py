"""The backward pass of a dense autoencoder, written out by hand.

Automatic differentiation records a graph at every step; for narrow layers that record
costs more than the arithmetic. The derivative of a dense stack is short enough to write
down, and doing so also lets wide layers multiply in bfloat16 while their weights, their
gradients and the optimiser stay in float32.

For a layer ``a = h W^T + b`` with upstream gradient ``g``: ``dW = g^T h``, ``db = sum g``
and ``dh = g W``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_ae.losses import Loss
from sklearn_ae.networks.dense import DenseStack


class _Weight:
    """One weight or bias, its gradient's place, and its copy in the product's precision."""

    def __init__(self, parameter: Tensor, dtype: torch.dtype) -> None:
        assert parameter.grad is not None
        self.master = parameter.data
        self.gradient = parameter.grad
        self._is_copy = dtype != self.master.dtype
        self.value, self._product = self.master, self.gradient
        if self._is_copy:
            self.value = self.master.to(dtype)
            self._product = torch.empty_like(self.value)
        self.transposed = self.value.t()  # a view, made once: a step is short of time

    def refresh(self) -> None:
        """Copy the master weight into the product's precision."""
        if self._is_copy:
            self.value.copy_(self.master)

    def take_product(self, left: Tensor, right: Tensor) -> None:
        """Set the gradient to ``left @ right``."""
        torch.mm(left, right, out=self._product)
        if self._is_copy:
            self.gradient.copy_(self._product)

    def take_sum(self, upstream: Tensor) -> None:
        """Set the gradient to the sum of ``upstream`` over the batch."""
        torch.sum(upstream, 0, dtype=self.gradient.dtype, out=self.gradient)


class _StackGradient:
    """Forward with a record, and backward, of one :class:`DenseStack`."""

    def __init__(self, stack: DenseStack, dtype: torch.dtype) -> None:
        self.activation = stack.activation
        self.layers = [
            (_Weight(layer.weight, dtype), _Weight(layer.bias, dtype)) for layer in stack.layers
        ]
        self.shortcut = None if stack.shortcut is None else stack.shortcut.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        for weight, bias in self.layers:
            weight.refresh()
            bias.refresh()
        self.inputs, self.pre_activations = [x], []
        for weight, bias in self.layers[:-1]:
            pre = torch.addmm(bias.value, self.inputs[-1], weight.transposed)
            self.pre_activations.append(pre)
            self.inputs.append(self.activation.forward(pre))
        weight, bias = self.layers[-1]
        output = torch.addmm(bias.value, self.inputs[-1], weight.transposed)
        if self.shortcut is not None:
            output.addmm_(x, self.shortcut.t())
        return output

    def backward(self, upstream: Tensor) -> Tensor:
        """Write the weights' gradients; return the one at the first pre-activation."""
        gradient = upstream
        for depth in range(len(self.layers) - 1, -1, -1):
            weight, bias = self.layers[depth]
            weight.take_product(gradient.t(), self.inputs[depth])
            bias.take_sum(gradient)
            if depth:
                gradient = self.activation.backward(
                    torch.mm(gradient, weight.value),
                    self.pre_activations[depth - 1],
                    self.inputs[depth],
                )
        return gradient

    def backward_to_input(self, upstream: Tensor) -> Tensor:
        """Write the weights' gradients; return the one at the input."""
        gradient = torch.mm(self.backward(upstream), self.layers[0][0].value)
        return gradient if self.shortcut is None else gradient.addmm_(upstream, self.shortcut)


class DenseGradient:
    """Loss and gradient of a dense autoencoder in one call.

    Parameters
    ----------
    encoder, decoder : DenseStack
        Every parameter has its ``grad`` allocated; a call overwrites it.
    loss : Loss
        One with a hand-written gradient.
    dtype : torch.dtype
        Precision of the matrix products.
    """

    def __init__(
        self, encoder: DenseStack, decoder: DenseStack, loss: Loss, dtype: torch.dtype
    ) -> None:
        if loss.gradient is None:
            raise ValueError("the loss has no hand-written gradient")
        self.value, self.derivative = loss.value, loss.gradient
        self.dtype = dtype
        self.encoder = _StackGradient(encoder, dtype)
        self.decoder = _StackGradient(decoder, dtype)

    @torch.no_grad()
    def __call__(self, x: Tensor, target: Tensor, sample_weight: Tensor | None) -> Tensor:
        """Write the gradient of the batch's mean loss and return that loss.

        Parameters
        ----------
        x, target : Tensor of shape (batch_size, n_features)
            What the encoder sees and what the decoder should give.
        sample_weight : Tensor of shape (batch_size,) or None
            Weight of each row, one on average over the training rows.

        Returns
        -------
        Tensor of shape ()
        """
        output = self.decoder.forward(self.encoder.forward(x.to(self.dtype)))
        output = output.to(target.dtype)
        values = self.value(output, target)
        gradient = self.derivative(output, target).div_(len(x))
        if sample_weight is not None:
            values = values * sample_weight
            gradient.mul_(sample_weight[:, None])
        self.encoder.backward(self.decoder.backward_to_input(gradient.to(self.dtype)))
        return values.mean()
