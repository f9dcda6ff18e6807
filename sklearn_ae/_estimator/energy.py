"""The energy of autoencoders with tied weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sklearn_ae._estimator.inference import open_rows
from sklearn_ae._training.batches import by_chunks
from sklearn_ae._training.isolation import isolated
from sklearn_ae.networks._layers import TiedLinear
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks.dense import DenseStack


@isolated
def energy(self: Any, X: Any) -> Any:
    r"""Energy of each sample: its gradient is what reconstruction adds to the sample.

    With tied weights and one layer, :math:`r(x) = W^\top h(W x + b) + c`, and
    :math:`r(x) - x` is the gradient of

    .. math:: F(x) = \sum_j H(u_j) - \tfrac12 \lVert x - c \rVert^2,
              \qquad u = W x + b, \quad H' = h,

    up to a constant. :math:`H(u)` is :math:`\log(1 + e^u)` for logistic units and
    :math:`u^2 / 2` for linear ones. The energy grows towards the training samples; with
    logistic units it is minus the free energy of the restricted Boltzmann machine with
    Gaussian visible units and the same weights.

    Parameters
    ----------
    X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
        Samples.

    Returns
    -------
    energy : ndarray of shape (n_samples,)
        In squared units of `X`: its gradient with respect to `X` is ``reconstruct(X) - X``.

    Raises
    ------
    ValueError
        If the network is not dense, tied and without hidden layers, if the loss does not
        leave the decoder's output as it is, or if the integral of `code_activation` has no
        closed form (``"silu"``).

    References
    ----------
    Kamyshanska, H. and Memisevic, R. (2015). The potential energy of an autoencoder. IEEE
    Transactions on Pattern Analysis and Machine Intelligence, 37(6), 1261-1273.
    """
    rows, kind, module = open_rows(self, X, "energy")
    if not self._get_fitted_loss().scaled:
        raise ValueError(
            "energy needs a linear output; use loss='squared_error' and "
            "output_activation='identity'."
        )
    stack = _tied_layer(module)

    def of_rows(x: Tensor) -> Tensor:
        hidden = stack.output_activation.integral(stack.layers[0](x))  # type: ignore[misc]
        distance = (x - module.decoder.layers[0].bias).square().sum(1)  # type: ignore
        return hidden.sum(1) - distance / 2

    return kind.wrap(by_chunks(rows, of_rows, module.network.rows_at_once) * module.scale**2)


def _tied_layer(module: AutoencoderModule) -> DenseStack:
    """Return the encoder of a module that has an energy.

    Raises
    ------
    ValueError
        If it has none.
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
    if encoder.output_activation.integral is None:
        raise ValueError(
            "energy needs a code_activation whose integral has a closed form, such as 'logistic', "
            "'tanh', 'relu', 'gelu' or 'identity'."
        )
    return encoder
