"""The convolutional autoencoder, for images and signals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn_ae._code_penalty import CodePenalty
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks.convolutional import ConvolutionalNetwork, ConvolutionalParameters


@dataclass(kw_only=True, eq=False, repr=False)
class ConvolutionalAutoencoder(CodePenalty, ConvolutionalParameters, BaseAutoencoder):
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

    Parameters
    ----------
    n_components : int or None, default=2
        Size of the code. It may exceed the number of features. None: the code is the last maps,
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
    channels : tuple of int, default=(16, 32)
        Number of maps of each level of the encoder; the decoder mirrors them.
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
    pooling : {"max", "strided"}, default="max"
        Whether the largest value of each window is kept, or the convolutions themselves step
        from window to window.
    unpooling : {"nearest", "transposed", "switches"}, default="nearest"
        What the decoder fills a window with: the same value throughout; a pattern that is
        learnt, by a transposed convolution; or the value at the place where pooling found it
        and zeros elsewhere. With ``"switches"`` these places are part of the code.
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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        **CodePenalty._parameter_constraints,
        **ConvolutionalParameters._parameter_constraints,
    }

    def _network(self) -> Network:
        return ConvolutionalNetwork.of(self)
