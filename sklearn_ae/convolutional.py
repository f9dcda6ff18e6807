"""The convolutional autoencoder for images and signals."""

from __future__ import annotations

from typing import Any

from sklearn_ae._estimator.code_penalty import CodePenalty, is_unpenalized, penalized_loss
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks.convolutional import ConvolutionalNetwork, ConvolutionalParameters


@declares_parameters
class ConvolutionalAutoencoder(ConvolutionalParameters, BaseAutoencoder):
    r"""Convolutional autoencoder of images and signals.

    Level :math:`l` of the encoder is a convolution followed by max-pooling, which keeps the
    largest value of each window. A linear map :math:`A` of the last feature maps is the code. The
    decoder has the same levels in reverse order, with an unpooling :math:`\mathrm{up}` that fills
    each window from one value.

    .. math::

        h_l = \phi(\mathrm{pool}(W_l * h_{l-1} + b_l)), \qquad z = A h_L + a, \qquad
        g_{l-1} = V_l * \mathrm{up}(\phi(g_l)) + c_l, \qquad g_L = B z + b,

    with :math:`h_0 = x` and :math:`x' = g_0`. Images may have any size: windows may extend over
    the edge of an image, and the decoder crops its output.

    With ``unpooling="switches"`` the decoder writes each value to the position of the maximum of
    its window, and zeros elsewhere. The positions are part of the code: further columns named
    ``switch0_0`` and so on, one for each pooled value, with integers from 0 to
    ``pool_size**2 - 1`` (``pool_size - 1`` for a signal). Each contains
    :math:`2 \log_2` ``pool_size`` bits (half as many for a signal). For images of 28 x 28 and
    the default sizes there are 4,704 such columns of two bits. Reconstructions are much sharper
    because the code contains much more information. Switches are therefore suited to inspecting
    feature maps and to image-to-image training, and not to compression.

    With ``n_components=None`` there are no dense layers, and the code consists of the last
    feature maps before their non-linearity:

    .. math::

        z = \mathrm{pool}(W_L * h_{L-1} + b_L), \qquad g_L = B * \phi(z) + b.

    All weights are then filters, which can be applied to images of any size: after a fit on small
    images, or on patches of large ones, `transform`, `reconstruct`, `score_samples` and `score`
    accept images of other heights and widths. The mean that is subtracted is then one number per
    channel. With ``channels=(16, 8)`` the network has 3,217 weights, and the code of an image of
    28 x 28 has 8 x 7 x 7 values.

    The network receives samples that are centred and divided by one scalar, so the units of `X`
    do not matter.

    See Also
    --------
    UNetAutoencoder : The decoder also receives the encoder's feature maps.
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

    Flat samples with three channels, one after the other:

    >>> X = images.repeat(3, axis=0).reshape(300, 3 * 64)
    >>> colour = autoencoder.set_params(image_shape=(3, 8, 8), channels_last=False)
    >>> colour.fit(X).reconstruct(X).shape
    (300, 192)

    Without dense layers, images of other sizes than the training images:

    >>> maps = ConvolutionalAutoencoder(None, channels=(16, 8), max_iter=20, random_state=0)
    >>> maps.fit(images).transform(images).shape  # 8 maps of 2 x 2
    (300, 32)
    >>> maps.reconstruct(images.reshape(15, 160, 8)).shape
    (15, 160, 8)
    """

    n_components: Any = parameter(  # int, float or None
        default=2,
        doc="""int, float or None
        Size of the code. It may exceed the number of features. A float between 0 and 1: the
        smallest number that explains this fraction of the variance of the held-out samples, at
        most as many as PCA needs for it; the code is then `ordered`. With None there are no dense
        layers, and the code consists of the last feature maps.
        """,
        kw_only=False,
    )
    code_alpha: float = same_as(CodePenalty, "code_alpha")

    # Functions that several estimators share, assigned as methods.
    _loss = penalized_loss
    _has_plain_loss = is_unpenalized

    def _network(self) -> Network:
        return ConvolutionalNetwork.of(self)
