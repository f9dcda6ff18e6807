"""The U-Net autoencoder: skip connections, and image-to-image training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_array
from torch import Tensor

from sklearn_ae._code_penalty import CodePenalty
from sklearn_ae._inputs import _as_known, _check_finite_tensor, as_numbers, to_plain
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks.unet import UNetNetwork, UNetParameters


@dataclass(kw_only=True, eq=False, repr=False)
class UNetAutoencoder(CodePenalty, UNetParameters, BaseAutoencoder):
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

    Parameters
    ----------
    n_components : int or None, default=2
        Size of the code. It may exceed the number of features. None: the code is the maps alone,
        without dense layers.
    loss : str or callable, default="squared_error"
        Loss that training minimises, averaged over the values of a sample:
        ``"squared_error"``, ``"absolute_error"``, ``"huber"``, ``"binary_crossentropy"``,
        ``"continuous_bernoulli"`` or ``"poisson"``. The last three use the data without centring
        and scaling; the first two of them need data in [0, 1], the last one data that are not
        negative. A callable
        ``loss(output, target)`` takes tensors of shape (batch_size, n_features) in
        the network's units and returns one value a row, shape (batch_size,).
    output_activation : {"identity", "logistic", "tanh", "relu", "softplus"}, default="identity"
        Non-linearity of the output under a loss that has none of its own. Other than
        ``"identity"``, it uses the data without centring and scaling and needs data in its range:
        [0, 1] for ``"logistic"``, [-1, 1] for ``"tanh"``, not negative for ``"relu"`` and
        ``"softplus"``.
    density : "gaussian" or density estimator, default="gaussian"
        Distribution of the codes, for `sample`: the Gaussian that has the mean and the covariance
        of the training rows' codes, or what a clone of the given estimator makes of them, such
        as ``GaussianMixture(10)`` or ``KernelDensity(bandwidth="scott")`` of scikit-learn. It is
        fitted on 10,000 rows at most, each component of the code standardised.
    alpha : float, default=0.1
        Weight decay: each step shrinks the weights, not the biases, by the factor
        ``1 - learning_rate * alpha``.
    batch_size : int or "auto", default="auto"
        Samples in a training step. ``"auto"`` is 64 below 1,024 training samples, 128 below
        16,384 and 256 from there.
    learning_rate : {"one_cycle", "constant"}, default="one_cycle"
        Schedule of the step size. ``"one_cycle"`` rises to `learning_rate_init` over the
        first tenth of `max_iter` and then falls to zero along half a cosine. With
        ``"constant"`` a ``ConvergenceWarning`` is raised if `max_iter`, larger than
        `n_iter_no_change`, ends a fit that is still improving by more than `tol`.
    learning_rate_init : float, default=0.003
        Step size of the optimiser, the largest one of the schedule.
    solver : {"adam", "sgd"}, default="adam"
        Optimiser: Adam, or stochastic gradient descent with `momentum`, online with
        ``batch_size=1``. For ``"sgd"`` set ``alpha=1e-4`` and `learning_rate_init` to about 0.05,
        more with many features, over which losses are means, much less under a likelihood.
    momentum : float, default=0.9
        Fraction of each step of gradient descent that is added to the next. Not used by Adam.
    max_iter : int, default=200
        Number of epochs, at most.
    tol : float, default=0.0001
        Smallest relative fall of the loss that counts as an improvement.
    early_stopping : bool, default=True
        Whether to hold out `validation_fraction` of the rows, judge each epoch on them and
        keep the best weights. If False, and without `X_val`, all rows are trained on and the
        last weights kept.
    validation_fraction : float, default=0.1
        Share of the rows to hold out. Copies of a row are held out together. Where that is
        less than one distinct row, all rows are trained and validated on alike, which proves
        nothing.
    n_iter_no_change : int or inf, default=100
        Epochs without an improvement, of the held-out loss or else of the training loss,
        after which training stops. ``numpy.inf``: never.
    warm_start : bool, default=False
        Whether `fit` continues from the present weights, optimiser state included.
    callbacks : list of skorch callbacks, default=None
        For example ``[skorch.callbacks.Checkpoint(...)]``. An ``LRScheduler`` replaces
        `learning_rate`.
    device : str or torch.device, default="auto"
        Where to train. ``"auto"`` is the device of `X` if it is a tensor on an accelerator,
        else the first CUDA device if there is one, else the CPU.
    precision : {"auto", "float32", "float64", "bfloat16"}, default="auto"
        Data types of training. ``"auto"`` trains in float32, except that float64 data are
        trained on in float64 where it costs little: in dense networks up to 512 rows, or
        weight matrices whose smaller side is up to 32; in other networks up to 64 rows. Where
        a smaller side is 256 or more, products are in bfloat16 if the hardware has
        instructions for it, and weights in float32. Results are always computed in the
        floating-point type of the data.
    random_state : int, RandomState instance or None, default=None
        Fixes initial weights, held-out rows, order and noise.
    verbose : int or bool, default=False
        Whether to show a progress bar with the loss and the time left.
    image_shape : tuple of int, default=None
        Shape of an image, or of a signal: (height, width) or (length,), where the channels
        are what is left of a row; (height, width, n_channels), or (n_channels, height,
        width) with ``channels_last=False``. None: the shape of a row of `X`; a flat row is
        then a signal of one channel.
    channels_last : bool, default=True
        Whether the channels of a pixel stand side by side, or each channel is an image of its
        own.
    channels : tuple of int, default=(16, 32, 64)
        Number of maps of each level of the encoder; the decoder mirrors them. There is a
        pooling between one level and the next.
    kernel_size : int, default=3
        Side of the convolutions' windows, in pixels.
    activation : {"relu", "silu", "gelu", "tanh", "logistic", "identity"}, default="silu"
        Non-linearity of the hidden layers.
    pool_size : int, default=2
        Side of the windows that are pooled, in pixels. Each level of the encoder is smaller
        than the one before by this factor.
    normalization : {"batch"} or None, default=None
        Whether batch normalisation follows each hidden convolution. Fitted estimators use running
        statistics in place of those of a batch.
    residual : bool, default=False
        Whether the network says what to add to a row and not what to make of it, so that it
        need not learn to copy. Best where the noise is small beside the image. The row itself
        becomes part of the code, in columns named ``input0`` and so on.
    code_alpha : float, default=0.0
        Strength of the L2 penalty on the code: the factor of the mean square of its components,
        in the loss. Codes then gather at the origin.

    Attributes
    ----------
    n_components_ : int
        Size of the code.
    n_features_in_ : int
        Number of features of a row, all axes of an image counted.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if `X` had names.
    input_shape_ : tuple of int
        Shape of one row of `X`.
    n_iter_ : int
        Number of epochs of the last call.
    loss_ : float
        Training loss of the last epoch, the sum of its terms. A squared error is in units of
        the variance of the training rows.
    loss_curve_ : list of float
        Training loss of each epoch.
    best_loss_ : float
        Lowest loss of an epoch. On held-out rows, where there are any, it is that of the
        weights kept.
    best_epoch_ : int
        Epoch of the last call whose weights were kept. Zero: those of its start, which under
        ``init="pca"`` are PCA's.
    validation_scores_ : list of float or None
        Fraction of variance explained on the held-out rows after each epoch, in units of the
        variance of the training rows.
    history_ : list of dict
        One entry an epoch with all losses by name.
    module_ : torch.nn.Module
        The network. Its ``encode`` and ``decode`` take centred and scaled rows.
    device_ : str
        Where it was trained.
    density_ : Pipeline or str
        What `sample` draws codes from: a scaler and the fitted `density`, or its name if it is no
        estimator.

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        **CodePenalty._parameter_constraints,
        **UNetParameters._parameter_constraints,
    }

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
