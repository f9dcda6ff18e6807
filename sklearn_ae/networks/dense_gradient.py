"""The hand-written backward pass of dense autoencoders.

Automatic differentiation records a graph at every step, which costs more than the arithmetic of
narrow layers. A manual pass also permits the matrix products of wide layers to be in bfloat16,
while weights, gradients and the optimiser remain in float32.

The gradients of a layer ``a = h W^T + b`` with upstream gradient ``g`` are ``dW = g^T h``,
``db = sum g`` and ``dh = g W``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_ae.losses import Loss
from sklearn_ae.networks.dense import DenseStack


class _Products:
    """Values and gradients of the flat parameters, in the precision of the matrix products.

    Parameters
    ----------
    values, gradient : Tensor of shape (n_parameters,)
        All parameters, matrices before vectors, and their gradient. Each is copied as a whole
        once per step, which takes half the time of a copy of each matrix.
    dtype : torch.dtype
        Precision of the products.
    """

    def __init__(self, values: Tensor, gradient: Tensor, dtype: torch.dtype) -> None:
        self._masters = values.detach(), gradient
        self._is_copy = dtype != values.dtype
        self.values, self.gradient = self._masters
        if self._is_copy:
            self.values, self.gradient = (
                values.detach().to(dtype),
                torch.empty_like(values, dtype=dtype),
            )
        self._n_matrix_entries = 0

    def weight(self, parameter: Tensor) -> _Weight:
        """Return the part of the values and gradients that belongs to a parameter."""
        assert parameter.grad is not None
        # The parameter is a view of the flat vector, so its offset there is its position.
        start = int(parameter.storage_offset())
        end = start + parameter.numel()
        if parameter.ndim > 1:
            self._n_matrix_entries = max(self._n_matrix_entries, end)
        value, product = (
            flat[start:end].view(parameter.shape) for flat in (self.values, self.gradient)
        )
        return _Weight(value, product, parameter.grad)

    def refresh(self) -> None:
        """Copy the parameters into the precision of the products."""
        if self._is_copy:
            self.values.copy_(self._masters[0])

    def copy_back(self) -> None:
        """Copy the gradients of the matrices to full precision; those of vectors are in it."""
        if self._is_copy:
            end = self._n_matrix_entries
            self._masters[1][:end].copy_(self.gradient[:end])


class _Weight:
    """One weight or bias, with the memory of its gradient in both precisions."""

    def __init__(self, value: Tensor, product: Tensor, gradient: Tensor) -> None:
        self.value = value
        self._product, self._gradient = product, gradient
        self.transposed = value.t()  # created once: views take time in every step

    def set_product(self, left: Tensor, right: Tensor) -> None:
        """Set the gradient to ``left @ right``, in the precision of the products."""
        torch.mm(left, right, out=self._product)

    def set_sum(self, upstream: Tensor) -> None:
        """Set the gradient to the sum of ``upstream`` over the batch, in full precision."""
        torch.sum(upstream, 0, dtype=self._gradient.dtype, out=self._gradient)


class _StackGradient:
    """Forward and backward pass of one :class:`DenseStack`.

    The forward pass stores the inputs and pre-activations that the backward pass needs.
    """

    def __init__(self, stack: DenseStack, products: _Products) -> None:
        self.activation, self.output_activation = stack.activation, stack.output_activation
        self.layers = [
            (products.weight(layer.weight), products.weight(layer.bias)) for layer in stack.layers
        ]
        dtype = products.values.dtype
        self.shortcut = None if stack.shortcut is None else stack.shortcut.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the stack, ``(batch_size, n_outputs)``."""
        self.inputs, self.pre_activations = [x], []
        for weight, bias in self.layers[:-1]:
            pre = torch.addmm(bias.value, self.inputs[-1], weight.transposed)
            self.pre_activations.append(pre)
            self.inputs.append(self.activation.forward(pre))
        weight, bias = self.layers[-1]
        output = torch.addmm(bias.value, self.inputs[-1], weight.transposed)
        if self.shortcut is not None:
            output.addmm_(x, self.shortcut.t())
        self.raw_output, self.output = output, self.output_activation.forward(output)
        return self.output

    def backward(self, upstream: Tensor) -> Tensor:
        """Write the gradients of the parameters; return that at the first pre-activation."""
        gradient = self.output_activation.backward(upstream, self.raw_output, self.output)
        self.at_raw_output = gradient
        for depth in range(len(self.layers) - 1, -1, -1):
            weight, bias = self.layers[depth]
            weight.set_product(gradient.t(), self.inputs[depth])
            bias.set_sum(gradient)
            if depth:  # the encoder's input needs no gradient
                gradient = self.activation.backward(
                    torch.mm(gradient, weight.value),
                    self.pre_activations[depth - 1],
                    self.inputs[depth],
                )
        return gradient

    def backward_to_input(self, upstream: Tensor) -> Tensor:
        """Write the gradients of the parameters; return that at the input."""
        gradient = torch.mm(self.backward(upstream), self.layers[0][0].value)
        if self.shortcut is not None:
            gradient.addmm_(self.at_raw_output, self.shortcut)
        return gradient


class DenseGradient:
    """Loss and gradient of a dense autoencoder in one call.

    Parameters
    ----------
    encoder, decoder : DenseStack
        Their parameters are views of `values`, and the ``grad`` of each is a view of `gradient`.
    values, gradient : Tensor of shape (n_parameters,)
        All parameters, matrices before vectors, and their gradient, which each call overwrites.
    loss : Loss
        A loss with a hand-written gradient.
    dtype : torch.dtype
        Precision of the matrix products.
    takes_missing : bool, default=False
        Whether targets may have missing values, which are NaN and have no gradient.

    Raises
    ------
    ValueError
        If the loss has no hand-written gradient.
    """

    def __init__(
        self,
        encoder: DenseStack,
        decoder: DenseStack,
        values: Tensor,
        gradient: Tensor,
        loss: Loss,
        dtype: torch.dtype,
        takes_missing: bool = False,
    ) -> None:
        if loss.gradient is None:
            raise ValueError("the loss has no hand-written gradient")
        self.value, self.derivative = loss.value, loss.gradient
        self.ignoring = loss.ignoring if takes_missing else None
        self.dtype = dtype
        self.products = _Products(values, gradient, dtype)
        self.encoder = _StackGradient(encoder, self.products)
        self.decoder = _StackGradient(decoder, self.products)

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        target: Tensor,
        sample_weight: Tensor | None,
        masks: Tensor | None = None,
    ) -> Tensor:
        """Write the gradient of the batch's mean loss and return that loss.

        Parameters
        ----------
        x, target : Tensor of shape (batch_size, n_features)
            Input of the encoder, and desired reconstruction.
        sample_weight : Tensor of shape (batch_size,) or None
            Weight of each sample, with a mean of one over the training samples.
        masks : Tensor of shape (n_masks, n_components) or None, default=None
            Factors of the code, zeros and ones. The loss is averaged over them.

        Returns
        -------
        Tensor of shape ()
        """
        self.products.refresh()
        code = self.encoder.forward(x.to(self.dtype))
        if masks is not None:  # the whole batch once for each mask
            masks = masks.to(self.dtype)[:, None]  # (n_masks, 1, n_components)
            code, target = (code * masks).flatten(0, 1), target.repeat(len(masks), 1)
            sample_weight = None if sample_weight is None else sample_weight.repeat(len(masks))
        output = self.decoder.forward(code)
        output = output.to(target.dtype)  # the loss is computed in full precision
        if self.ignoring is not None:
            missing = target.isnan()
            output, target = self.ignoring(missing, output, target)
        values = self.value(output, target)
        # In place, as below: the derivative is a new tensor that nothing else refers to.
        gradient = self.derivative(output, target).div_(len(target))
        if self.ignoring is not None:
            gradient.masked_fill_(missing, 0.0)
        if sample_weight is not None:
            values = values * sample_weight
            gradient.mul_(sample_weight[:, None])
        at_code = self.decoder.backward_to_input(gradient.to(self.dtype))
        if masks is not None:
            at_code = (at_code.unflatten(0, (len(masks), -1)) * masks).sum(0)
        self.encoder.backward(at_code)
        self.products.copy_back()
        return values.mean()
