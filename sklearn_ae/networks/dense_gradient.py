"""The hand-written backward pass of dense autoencoders.

Automatic differentiation records a graph at every step, which costs more than the arithmetic of
narrow layers. A manual pass also permits the matrix products of wide layers to be in bfloat16,
while weights, gradients and the optimiser remain in float32.

The gradients of a layer ``a = h W^T + b`` with upstream gradient ``g`` are ``dW = g^T h``,
``db = sum g`` and ``dh = g W``.

Several models of equal shapes can be computed at once. All tensors then have the models on a
leading axis, and each product is a batched one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_ae.losses import Loss
from sklearn_ae.networks.activations import ACTIVATIONS
from sklearn_ae.networks.dense import DenseStack

MANY = 4096
"""Number of values from which on four passes take less time than torch's tanh on the CPU: with
many values a fifth."""


class _Products:
    """Values and gradients of the flat parameters, in the precision of the matrix products.

    Parameters
    ----------
    values, gradient : Tensor of shape (n_parameters,) or (n_models, n_parameters)
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
        # The parameter is a view of the (first) flat vector: its offset there is its position.
        start = int(parameter.storage_offset())
        end = start + parameter.numel()
        if parameter.ndim > 1:
            self._n_matrix_entries = max(self._n_matrix_entries, end)
        # The gradients of matrices are products; those of vectors are sums, in full precision.
        gradient = self.gradient if parameter.ndim > 1 else self._masters[1]
        value, gradient = (
            flat[..., start:end].unflatten(-1, parameter.shape) for flat in (self.values, gradient)
        )
        return _Weight(value, gradient)

    def refresh(self) -> None:
        """Copy the parameters into the precision of the products."""
        if self._is_copy:
            self.values.copy_(self._masters[0])

    def copy_back(self) -> None:
        """Copy the gradients of the matrices to full precision; those of vectors are in it."""
        if self._is_copy:
            end = self._n_matrix_entries
            self._masters[1][..., :end].copy_(self.gradient[..., :end])


class _Weight:
    """Weights or biases of a layer, and the memory of their gradient.

    Attributes
    ----------
    value : Tensor of shape (..., n_outputs, n_inputs) or (..., n_outputs)
    transposed : Tensor of shape (..., n_inputs, n_outputs)
        Transposed weights.
    row : Tensor of shape (..., 1, n_outputs)
        Biases, as they are added to a batch.
    """

    def __init__(self, value: Tensor, gradient: Tensor) -> None:
        self.value, self._gradient = value, gradient
        # Created once: views take time in every step.
        self.transposed = value.transpose(-1, -2) if value.ndim > 1 else value
        self.row = value.unsqueeze(-2)

    def set_product(self, left: Tensor, right: Tensor) -> None:
        """Set the gradient to ``left @ right``, in the precision of the products."""
        if left.ndim == 2:
            torch.mm(left, right, out=self._gradient)
        else:  # into memory with gaps between the models, which the batched product does slowly
            self._gradient.copy_(torch.bmm(left, right))

    def set_sum(self, upstream: Tensor) -> None:
        """Set the gradient to the sum of ``upstream`` over the batch, in full precision."""
        torch.sum(upstream, -2, dtype=self._gradient.dtype, out=self._gradient)


def _add_product(bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return ``bias + left @ right``, of matrices or of batches of matrices."""
    add = torch.addmm if left.ndim == 2 else torch.baddbmm
    return add(bias, left, right)


class _StackGradient:
    """Forward and backward pass of one :class:`DenseStack`, or of several of equal shapes.

    The forward pass stores the inputs and pre-activations that the backward pass needs.
    """

    def __init__(self, stacks: Sequence[DenseStack], products: _Products) -> None:
        stack = stacks[0]
        self.activation, self.output_activation = stack.activation, stack.output_activation
        values = products.values
        # Not in bfloat16, in which numbers near one half have two digits.
        is_precise = values.dtype in (torch.float32, torch.float64)
        is_tanh = stack.activation == ACTIVATIONS["tanh"]
        self.is_slow = is_tanh and is_precise and values.device.type == "cpu"
        self.layers = [
            (products.weight(layer.weight), products.weight(layer.bias)) for layer in stack.layers
        ]
        self.shortcut = None
        if stack.shortcut is not None:
            maps = [each.shortcut for each in stacks if each.shortcut is not None]
            shortcut = maps[0] if products.values.ndim == 1 else torch.stack(maps)
            self.shortcut = shortcut.to(products.values.dtype)
            self._shortcut_transposed = self.shortcut.mT

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the stack, ``(..., batch_size, n_outputs)``."""
        self.inputs, self.pre_activations = [x], []
        for weight, bias in self.layers[:-1]:
            pre = _add_product(bias.row, self.inputs[-1], weight.transposed)
            self.pre_activations.append(pre)
            self.inputs.append(self._activate(pre))
        weight, bias = self.layers[-1]
        output = _add_product(bias.row, self.inputs[-1], weight.transposed)
        if self.shortcut is not None:
            output = _add_product(output, x, self._shortcut_transposed)
        self.raw_output, self.output = output, self.output_activation.forward(output)
        return self.output

    def _activate(self, pre: Tensor) -> Tensor:
        """Return the output of a hidden layer, given its pre-activation."""
        if self.is_slow and pre.numel() >= MANY:
            # As 2 s(2u) - 1, where s is the logistic function.
            return (2 * pre).sigmoid_().mul_(2).sub_(1)
        return self.activation.forward(pre)

    def backward(self, upstream: Tensor) -> Tensor:
        """Write the gradients of the parameters; return that at the first pre-activation."""
        gradient = self.output_activation.backward(upstream, self.raw_output, self.output)
        self.at_raw_output = gradient
        for depth in range(len(self.layers) - 1, -1, -1):
            weight, bias = self.layers[depth]
            weight.set_product(gradient.mT, self.inputs[depth])
            bias.set_sum(gradient)
            if depth:  # the encoder's input needs no gradient
                gradient = self.activation.backward(
                    torch.matmul(gradient, weight.value),
                    self.pre_activations[depth - 1],
                    self.inputs[depth],
                )
        return gradient

    def backward_to_input(self, upstream: Tensor) -> Tensor:
        """Write the gradients of the parameters; return that at the input."""
        gradient = torch.matmul(self.backward(upstream), self.layers[0][0].value)
        if self.shortcut is not None:
            gradient = _add_product(gradient, self.at_raw_output, self.shortcut)
        return gradient


class DenseGradient:
    """Loss and gradient of a dense autoencoder, or of several of equal shapes, in one call.

    Parameters
    ----------
    encoders, decoders : sequence of DenseStack
        Those of each model. The parameters of the first are views of `values` at its beginning,
        and the ``grad`` of each is a view of `gradient`.
    values, gradient : Tensor of shape (n_parameters,) or (n_models, n_parameters)
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
        encoders: Sequence[DenseStack],
        decoders: Sequence[DenseStack],
        values: Tensor,
        gradient: Tensor,
        loss: Loss,
        dtype: torch.dtype,
        takes_missing: bool = False,
    ) -> None:
        if loss.gradient is None:
            raise ValueError("the loss has no hand-written gradient")
        self.value, self.derivative = loss.value, loss.gradient
        self.mean_and_gradient = loss.mean_and_gradient
        self.ignoring = loss.ignoring if takes_missing else None
        self.dtype = dtype
        self.products = _Products(values, gradient, dtype)
        self.encoder = _StackGradient(encoders, self.products)
        self.decoder = _StackGradient(decoders, self.products)

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
        x, target : Tensor of shape (..., batch_size, n_features)
            Input of the encoder, and desired reconstruction.
        sample_weight : Tensor of shape (..., batch_size) or None
            Weight of each sample, with a mean of one over the training samples.
        masks : Tensor of shape (n_masks, n_components) or None, default=None
            Factors of the code, zeros and ones. The loss is averaged over them. For a single
            model.

        Returns
        -------
        Tensor of shape () or (n_models,)
        """
        self.products.refresh()
        code = self.encoder.forward(x.to(self.dtype))
        if masks is not None:  # the whole batch once for each mask
            masks = masks.to(self.dtype)[:, None]  # (n_masks, 1, n_components)
            code, target = (code * masks).flatten(0, 1), target.repeat(len(masks), 1)
            sample_weight = None if sample_weight is None else sample_weight.repeat(len(masks))
        output = self.decoder.forward(code)
        # The loss is computed in full precision.
        mean, gradient = self._loss(output.to(target.dtype), target, sample_weight)
        at_code = self.decoder.backward_to_input(gradient.to(self.dtype))
        if masks is not None:
            at_code = (at_code.unflatten(0, (len(masks), -1)) * masks).sum(0)
        self.encoder.backward(at_code)
        self.products.copy_back()
        return mean

    def _loss(
        self, output: Tensor, target: Tensor, sample_weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the mean loss of the batch, and its derivative."""
        is_plain = self.ignoring is None and sample_weight is None
        if is_plain and self.mean_and_gradient is not None:
            return self.mean_and_gradient(output, target)
        if self.ignoring is not None:
            missing = target.isnan()
            output, target = self.ignoring(missing, output, target)
        # Losses take a matrix with all samples.
        rows = output.flatten(0, -2), target.flatten(0, -2)
        values = self.value(*rows).view(output.shape[:-1])
        # In place, as below: the derivative is a new tensor that nothing else refers to.
        gradient = self.derivative(*rows).view(output.shape).div_(target.shape[-2])
        if self.ignoring is not None:
            gradient.masked_fill_(missing, 0.0)
        if sample_weight is not None:
            values = values * sample_weight
            gradient.mul_(sample_weight[..., None])
        return values.mean(-1), gradient

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstructions of samples, ``(..., batch_size, n_features)``."""
        return self.decoder.forward(self.encoder.forward(x.to(self.dtype))).to(x.dtype)
