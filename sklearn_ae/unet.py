"""The U-Net autoencoder: a convolutional autoencoder with skip connections."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_array
from torch import Tensor

from sklearn_ae._compat import Interval
from sklearn_ae._estimator.code_penalty import CodePenalty, is_unpenalized, penalized_loss
from sklearn_ae._estimator.inputs import (
    _check_finite_tensor,
    as_numbers,
    from_other_library,
    to_plain,
)
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae._parameters.documentation import documented_like
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks.unet import UNetNetwork, UNetParameters


@declares_parameters
class UNetAutoencoder(UNetParameters, BaseAutoencoder):
    r"""U-Net: a convolutional autoencoder with skip connections, for image-to-image training.

    Level :math:`l` of the encoder is a convolution of the pooled feature maps of the level
    before. Each level of the decoder upsamples by a transposed convolution, concatenates the
    result with the encoder's feature maps of the same size, and convolves both.

    .. math::

        h_l = \phi(W_l * \mathrm{pool}(h_{l-1})), \qquad z = A h_L, \qquad
        g_L = \phi(V_L * \phi(h_L + B z)), \qquad
        g_l = \phi(V_l * [\mathrm{up}(g_{l+1}), h_l]),

    and :math:`x'` is a convolution of :math:`g_0`. The biases of all layers are omitted here.

    Whatever the decoder needs is part of the code: `transform` returns the ``n_components``
    values of :math:`z`, which depend on the whole image, followed by all feature maps
    :math:`h_l`, in columns named ``skip0_0`` and so on. For images of 28 x 28 and the default
    sizes these are 21,952 columns. A U-Net thus hardly compresses, and without targets it
    reconstructs almost anything. Its purpose is to map one image to another: pass the corrupted
    images to `fit` as `X` and the clean ones as `y`, or pass a
    :class:`~sklearn_ae.networks.UNetNetwork` to :class:`DenoisingAutoencoder`. Then `reconstruct`
    returns the clean images. Without `y`, `score` and `score_samples` compare these with `X`.

    With ``n_components=None`` the linear layers :math:`A` and :math:`B` are omitted, and the code
    consists of the feature maps. All weights are then filters, which can be applied to images of
    any size: after a fit on small images, or on patches of large ones, `transform`,
    `reconstruct`, `score_samples` and `score` accept images of other heights and widths. The mean
    that is subtracted is then one number per channel.

    The network receives samples that are centred and divided by one scalar, and targets in the
    same way: one factor common to all pixels and channels does not matter.

    See Also
    --------
    DenoisingAutoencoder : Corrupts the samples itself, with new noise in every epoch.
    ConvolutionalAutoencoder : Compresses images.
    sklearn_ae.networks.UNetNetwork : The same network for other objectives.

    References
    ----------
    Ronneberger, O., Fischer, P. and Brox, T. (2015). U-Net: convolutional networks for
    biomedical image segmentation. MICCAI, 234-241.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import UNetAutoencoder
    >>> clean = load_digits().images[:600]
    >>> noisy = clean + 4 * np.random.default_rng(0).normal(size=clean.shape)
    >>> unet = UNetAutoencoder(channels=(8, 16), max_iter=20, random_state=0)
    >>> denoised = unet.fit(noisy[:500], clean[:500]).reconstruct(noisy[500:])
    >>> before = np.square(noisy - clean)[500:].mean()
    >>> bool(np.square(denoised - clean[500:]).mean() < 0.5 * before)
    True
    """

    n_components: int | None = parameter(
        default=2,
        doc="""int or None
        Number of components of the code besides the feature maps. It may exceed the number of
        features. With None there are no dense layers, and the code consists of the maps.
        """,
        # No fraction: the maps explain almost everything.
        constraint=[Interval(Integral, 1, None, closed="left"), None],
        kw_only=False,
    )
    ordered: ClassVar[bool] = False  # type: ignore[misc]
    code_alpha: float = same_as(CodePenalty, "code_alpha")

    _attribute_docs: ClassVar[dict[str, str | None]] = {"explained_variance_ratio_": None}

    # Functions that several estimators share, assigned as methods.
    _loss = penalized_loss
    _has_plain_loss = is_unpenalized

    def _network(self) -> Network:
        return UNetNetwork.of(self)

    @documented_like(BaseAutoencoder.fit)
    def fit(self, X, y=None, sample_weight=None, X_val=None):
        """Fit the autoencoder.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Training samples. Images of shape (n_samples, ...) are flattened.
        y : {array-like, sparse matrix, Tensor} of the shape of `X`, default=None
            Targets: the images that the reconstructions are compared with, flat or not. If None,
            or if `y` has one or two axes and another size, such as labels, the targets are the
            samples themselves.
        X_val : array-like of shape (n_validation, n_features), default=None
            Samples to validate on; cannot be combined with targets. If None,
            `validation_fraction` of `X` is held out.
        """
        return super().fit(X, y, sample_weight, X_val)

    @documented_like(BaseAutoencoder.score)
    def score(self, X, y=None, sample_weight=None):
        """Return the fraction of variance explained, of the targets if there are any.

        Parameters
        ----------
        y : {array-like, sparse matrix, Tensor} of the shape of `X`, default=None
            Targets, as in `fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
            At most 1; higher is better.
        """
        return super().score(X, y, sample_weight)

    def _check_targets(self, y: Any, n_samples: int, sample_shape: tuple[int, ...]) -> Any:
        y = to_plain(y)
        y = y if hasattr(y, "shape") else np.asarray(y)
        shape = tuple(y.shape)  # None becomes an array of shape ()
        n_features = math.prod(sample_shape)
        if shape[1:] not in (sample_shape, (n_features,)):
            if len(shape) > 2:
                raise ValueError(
                    f"y has images of shape {shape[1:]}, but X has samples of shape "
                    f"{sample_shape}; pass targets of the shape of X."
                )
            # Labels, which pipelines and searches pass as y, are ignored.
            return None
        if shape[0] != n_samples:
            raise ValueError(f"y has {shape[0]} samples, but X has {n_samples}.")
        if len(shape) > 2:
            y = y.reshape(shape[0], n_features)
        if isinstance(y, Tensor) and y.device.type != "cpu":
            # check_array needs an array in main memory.
            _check_finite_tensor(y, "y")
            return y
        options = {"accept_sparse": "csr", "dtype": "numeric", "input_name": "y"}
        y = as_numbers(check_array(y, **options), **options)
        is_known = isinstance(y, (np.ndarray, Tensor)) or sp.issparse(y)
        return y if is_known else from_other_library(y)
