"""The energy of autoencoders with tied weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from sklearn_ae._estimator.inference import open_samples
from sklearn_ae._estimator.tables import table_of
from sklearn_ae._training.batches import by_chunks
from sklearn_ae._training.isolation import isolated
from sklearn_ae.networks._layers import TiedLinear
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks.dense import DenseStack


@isolated
def energy(self: Any, X: Any) -> Any:
    r"""Compute the energy of each sample, whose gradient is the change by reconstruction.

    With tied weights and one layer, :math:`r(x) = W^\top h(W x + b) + c`, and
    :math:`r(x) - x` is the gradient of

    .. math:: F(x) = \sum_j H(u_j) - \tfrac12 \lVert x - c \rVert^2,
              \qquad u = W x + b, \quad H' = h,

    up to a constant. :math:`H(u)` is :math:`\log(1 + e^u)` for logistic units and
    :math:`u^2 / 2` for linear ones. The energy is highest at samples like those of the training.
    With logistic units it is the negative free energy of the restricted Boltzmann machine (RBM)
    with Gaussian visible units and the same weights.

    Parameters
    ----------
    X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
        Samples.

    Returns
    -------
    energy : ndarray of shape (n_samples,)
        Energy in squared units of `X`. Its gradient with respect to `X` is
        ``reconstruct(X) - X``.

    Raises
    ------
    ValueError
        If the network is not dense with tied weights and no hidden layer, if `loss` or
        `output_activation` makes the output non-linear, or if the integral of
        `code_activation` has no closed form (``"silu"``).

    References
    ----------
    Kamyshanska, H. and Memisevic, R. (2015). The potential energy of an autoencoder. IEEE
    Transactions on Pattern Analysis and Machine Intelligence, 37(6), 1261-1273.
    """
    samples, array_type, module = open_samples(self, X, "energy")
    if table_of(self) is not None:
        raise ValueError("energy is defined for numbers, but the training data were a table.")
    if not self._get_fitted_loss().scaled:
        raise ValueError(
            "energy needs a linear output; use loss='squared_error' and "
            "output_activation='identity'."
        )
    encoder, bias, integral = _tied_layer(module)

    def energies(x: Tensor) -> Tensor:
        hidden = integral(encoder.layers[0](x))  # (n_samples, n_components)
        distance = (x - bias).square().sum(1)
        return hidden.sum(1) - distance / 2

    # Network units are units of X divided by the scale, and the energy is in their square.
    return array_type.wrap(
        by_chunks(samples, energies, module.network.samples_at_once) * module.scale**2
    )


def _tied_layer(
    module: AutoencoderModule,
) -> tuple[DenseStack, Tensor, Callable[[Tensor], Tensor]]:
    """Return the encoder of a module with one tied layer, the decoder's bias and ``H``.

    Raises
    ------
    ValueError
        If the module has other layers, or an activation without a closed integral.
    """
    encoder, decoder = module.encoder, module.decoder
    if not (
        isinstance(encoder, DenseStack)
        and isinstance(decoder, DenseStack)
        and len(decoder.layers) == 1
        and isinstance(decoder.layers[0], TiedLinear)
    ):
        raise ValueError(
            "energy needs tied weights and no hidden layer: "
            "network=DenseNetwork(hidden_layer_sizes=(), tied=True), with any code_activation."
        )
    integral = encoder.output_activation.integral
    if integral is None:
        raise ValueError(
            "energy needs a code_activation whose integral has a closed form, such as 'logistic', "
            "'tanh', 'relu', 'gelu' or 'identity'."
        )
    return encoder, decoder.layers[0].bias, integral
