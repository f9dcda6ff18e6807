"""The stacked autoencoder: its layers are trained one after another, then together."""

from __future__ import annotations

from typing import ClassVar

from sklearn_ae._compat import StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._stacks.greedy import Stack, StackParameters
from sklearn_ae.networks.activations import ACTIVATIONS


@declares_parameters
class StackedAutoencoder(StackParameters, Stack):
    r"""Deep autoencoder whose layers are trained one after another.

    Layer by layer, an encoder layer and a decoder layer are trained as an autoencoder,

    .. math:: h_l = \phi(W_l h_{l-1} + b_l), \qquad h'_{l-1} = \psi(V_l h_l + c_l) ,

    on the codes :math:`h_{l-1}` of the layers below, where :math:`h_0` are the samples. Then, with
    ``fine_tune=True``, all layers are trained together. The pairs of layers are those of the whole
    network, so no weights are copied. Greedy training provides initial weights for networks whose
    depth or saturating units prevent training from random ones.

    See Also
    --------
    StackedAutoencoderClassifier : Adds a classifier and fine-tunes the encoder with it.
    DeepBeliefNetwork : A stack of restricted Boltzmann machines.

    References
    ----------
    Bengio, Y., Lamblin, P., Popovici, D. and Larochelle, H. (2007). Greedy layer-wise training of
    deep networks. NeurIPS.

    Vincent, P., Larochelle, H., Lajoie, I., Bengio, Y. and Manzagol, P.-A. (2010). Stacked
    denoising autoencoders. Journal of Machine Learning Research, 11, 3371-3408.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import StackedAutoencoder
    >>> X = load_digits().data
    >>> stack = StackedAutoencoder(
    ...     10, hidden_layer_sizes=(64, 32), pretraining_max_iter=10, max_iter=20, random_state=0
    ... ).fit(X)
    >>> stack.transform(X).shape
    (1797, 10)
    >>> stack.transform_layer(X, 1).shape
    (1797, 64)
    >>> [len(history) for history in stack.layer_histories_]
    [10, 10, 10]
    """

    code_activation: str = parameter(
        default="identity",
        doc="""str
        Non-linearity of the code, any of those allowed for `activation`.
        """,
        constraint=[StrOptions(set(ACTIVATIONS))],
    )
    fine_tune: bool = parameter(
        default=True,
        doc="""bool
        Whether to train all layers together after pre-training, for at most `max_iter` epochs. If
        False, `max_iter`, `early_stopping` and the parameters related to them are not used.
        """,
        constraint=["boolean"],
    )

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "layer_histories_": """list of list of dict
        For each layer, one entry per epoch of its training, with all losses by name. Empty without
        pre-training. Reconstruction losses are divided by the difference between the loss of the
        mean and that of a perfect reconstruction: under squared error, by the variance of the
        layer's input. `history_`, `loss_curve_` and `n_iter_` are those of the training of all
        layers together or, if `fine_tune` is False, those of the last layer.
        """,
    }
