"""The U-Net autoencoder: skip connections, and image-to-image training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_array
from torch import Tensor

from sklearn_ae._estimator.code_penalty import CodePenalty, is_unpenalized, penalized_loss
from sklearn_ae._estimator.inputs import _as_known, _check_finite_tensor, as_numbers, to_plain
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks.unet import UNetNetwork, UNetParameters


@declares_parameters
class UNetAutoencoder(UNetParameters, BaseAutoencoder):
    r"""U-Net: a convolutional autoencoder whose decoder also sees the encoder's maps.

    Level :math:`l` of the encoder convolves what the level above it, pooled, gives. The decoder
    comes up again: it unpools by a transposed convolution, puts the encoder's maps of that size
    beside the result, and convolves both.

    .. math::

        h_l = \phi(W_l * \mathrm{pool}(h_{l-1})), \qquad z = A h_L, \qquad
        g_L = \phi(V_L * \phi(h_L + B z)), \qquad
        g_l = \phi(V_l * [\mathrm{up}(g_{l+1}), h_l]),

    and :math:`x'` is one more convolution of :math:`g_0`; biases are left out here.

    What the decoder needs is part of the code: `transform` returns the ``n_components`` numbers
    of :math:`z`, which see the whole image, and then all maps :math:`h_l`, in columns named
    ``skip0_0`` and so on. For images of 28 x 28 and the default sizes these are 21,952 columns. So
    little is compressed, and on its own the reconstruction of a row is near to the row. The
    use of a U-Net is to turn one image into another: give `fit` the spoilt images as `X` and
    the clean ones as `y`, or give :class:`DenoisingAutoencoder` a
    :class:`~sklearn_ae.networks.UNetNetwork`. Then `reconstruct` returns the clean images,
    and `score` and `score_samples` compare them with the images put in.

    With ``n_components=None`` the linear layers :math:`A` and :math:`B` are left out, and the
    code is the maps alone. All weights are then filters, which serve images of any size: fit on
    small images, or on pieces of large ones, and `transform`, `reconstruct`, `score_samples` and
    `score` take whole ones, of other heights and widths than those of the training. The mean that
    is subtracted is one number for each channel.

    Rows are centred, and divided by one scalar, before they reach the network, and targets in
    the same way. Their units do not matter.

    See Also
    --------
    DenoisingAutoencoder : Draws the noise itself, afresh in every epoch.
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
    >>> restored = unet.fit(noisy[:500], clean[:500]).reconstruct(noisy[500:])
    >>> before = np.square(noisy - clean)[500:].mean()
    >>> bool(np.square(restored - clean[500:]).mean() < 0.5 * before)
    True
    """

    n_components: int | None = parameter(
        default=2,
        doc="""int or None
        Size of the code. It may exceed the number of features. None: the code is the maps alone,
        without dense layers.
        """,
        kw_only=False,
    )
    code_alpha: float = same_as(CodePenalty, "code_alpha")

    _loss = penalized_loss
    _has_plain_loss = is_unpenalized

    def _network(self) -> Network:
        return UNetNetwork.of(self)

    def fit(self, X, y=None, sample_weight=None, X_val=None):
        """Train the autoencoder.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Training rows. Images and sequences of shape (n_samples, ...) are flattened.
        y : {array-like, sparse matrix, Tensor} of the shape of `X`, default=None
            What to make of the rows. If None, or labels and the like, which are of another
            shape: the rows themselves.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples. One of weight two counts as two equal ones: up to rounding if
            all samples are in one batch, in the expected gradient of each step otherwise.
        X_val : array-like of shape (n_validation, n_features), default=None
            Rows to validate on, where there is no `y`. None: `validation_fraction` of `X`.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return super().fit(X, y, sample_weight, X_val)

    def score(self, X, y=None, sample_weight=None):
        """Fraction of variance explained: of the targets, if there are any.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.
        y : {array-like, sparse matrix, Tensor} of the shape of `X`, default=None
            What should become of the rows, as in `fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            At most 1; higher is better.
        """
        return super().score(X, y, sample_weight)

    def _check_targets(self, y: Any, n_samples: int, row_shape: tuple[int, ...]) -> Any:
        y = to_plain(y)
        y = y if hasattr(y, "shape") else np.asarray(y)
        shape = tuple(y.shape)  # () of None
        n_features = math.prod(row_shape)
        if shape[1:] not in (row_shape, (n_features,)):
            if len(shape) > 2:
                raise ValueError(
                    f"y has images of shape {shape[1:]}, but X has rows of shape "
                    f"{row_shape}; what to make of a row is of its shape."
                )
            return None
        if shape[0] != n_samples:
            raise ValueError(f"y has {shape[0]} rows, but X has {n_samples}.")
        if len(shape) > 2:
            y = y.reshape(shape[0], n_features)
        if isinstance(y, Tensor) and y.device.type != "cpu":
            _check_finite_tensor(y, "y")
            return y
        options = {"accept_sparse": "csr", "dtype": "numeric", "input_name": "y"}
        y = as_numbers(check_array(y, **options), **options)
        return y if isinstance(y, (np.ndarray, Tensor)) or sp.issparse(y) else _as_known(y)
