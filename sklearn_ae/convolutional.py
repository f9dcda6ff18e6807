"""The convolutional autoencoder, for images and signals."""

from __future__ import annotations

from sklearn_ae._estimator.code_penalty import CodePenalty, is_unpenalized, penalized_loss
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks.convolutional import ConvolutionalNetwork, ConvolutionalParameters


@declares_parameters
class ConvolutionalAutoencoder(ConvolutionalParameters, BaseAutoencoder):
    r"""Autoencoder of images and signals: filters that are the same at every place.

    Level :math:`l` of the encoder convolves and keeps the largest value of each window, and a
    linear map :math:`A` of the last, smallest maps is the code. The decoder goes the same way
    back; an unpooling :math:`\mathrm{up}` fills each window from one value.

    .. math::

        h_l = \phi(\mathrm{pool}(W_l * h_{l-1} + b_l)), \qquad z = A h_L + a, \qquad
        g_{l-1} = V_l * \mathrm{up}(\phi(g_l)) + c_l, \qquad g_L = B z + b,

    with :math:`h_0 = x` and :math:`x' = g_0`. Images may be of any size: windows may hang over
    the edge, and the decoder cuts off what lies beyond it.

    With ``unpooling="switches"`` the decoder puts each value back where its window had its
    maximum, and zeros elsewhere. These places are numbers from 0 to ``pool_size**2 - 1``
    (``pool_size - 1`` for a signal) and are further columns of the code, named ``switch0_0``
    and so on: there is one for each value behind each pooling, and it holds
    :math:`2 \log_2` ``pool_size`` bits (half as many for a signal). For images of 28 x 28 and
    the default sizes that is 4,704 columns of two bits. The reconstruction is much sharper
    because the code says much more, so switches are for looking at what maps have found
    and for image-to-image work rather than for compressing.

    With ``n_components=None`` there are no dense layers, and the code is the last maps, before
    their non-linearity:

    .. math::

        z = \mathrm{pool}(W_L * h_{L-1} + b_L), \qquad g_L = B * \phi(z) + b.

    All weights are then filters, which serve images of any size: fit on small images, or on
    pieces of large ones, and `transform`, `reconstruct`, `score_samples` and `score` take whole
    ones, of other heights and widths than those of the training. The mean that is subtracted is
    one number for each channel. ``channels=(16, 8)`` makes 8 x 7 x 7 numbers of an image of
    28 x 28, with 3,217 weights.

    Rows are centred, and divided by one scalar, before they reach the network. Their units
    do not matter.

    See Also
    --------
    UNetAutoencoder : The decoder also sees the encoder's maps.
    sklearn_ae.networks.ConvolutionalNetwork : The same network for other objectives.

    References
    ----------
    Masci, J., Meier, U., Ciresan, D. and Schmidhuber, J. (2011). Stacked convolutional
    auto-encoders for hierarchical feature extraction. ICANN, 52-59.

    Zeiler, M. D. and Fergus, R. (2014). Visualizing and understanding convolutional
    networks. ECCV, 818-833.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import ConvolutionalAutoencoder
    >>> images = load_digits().images[:300]
    >>> images.shape
    (300, 8, 8)
    >>> autoencoder = ConvolutionalAutoencoder(
    ...     16, channels=(8, 16), max_iter=20, random_state=0
    ... ).fit(images)
    >>> autoencoder.transform(images).shape
    (300, 16)
    >>> autoencoder.reconstruct(images).shape
    (300, 8, 8)

    Flat rows of three channels, one after the other:

    >>> rows = images.repeat(3, axis=0).reshape(300, 3 * 64)
    >>> colour = autoencoder.set_params(image_shape=(3, 8, 8), channels_last=False)
    >>> colour.fit(rows).reconstruct(rows).shape
    (300, 192)

    Without dense layers, images of other sizes than those of the training:

    >>> maps = ConvolutionalAutoencoder(None, channels=(16, 8), max_iter=20, random_state=0)
    >>> maps.fit(images).transform(images).shape  # 8 maps of 2 x 2
    (300, 32)
    >>> maps.reconstruct(images.reshape(15, 160, 8)).shape
    (15, 160, 8)
    """

    n_components: int | None = parameter(
        default=2,
        doc="""int or None
        Size of the code. It may exceed the number of features. None: the code is the last maps,
        without dense layers.
        """,
        kw_only=False,
    )
    code_alpha: float = same_as(CodePenalty, "code_alpha")

    _loss = penalized_loss
    _has_plain_loss = is_unpenalized

    def _network(self) -> Network:
        return ConvolutionalNetwork.of(self)
