"""The stacked autoencoder: layers trained one after another, then together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn_ae._compat import StrOptions
from sklearn_ae._greedy import Stack, StackParameters
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks.activations import ACTIVATIONS


@dataclass(kw_only=True, eq=False, repr=False)
class StackedAutoencoder(StackParameters, Stack):
    r"""Deep autoencoder whose layers are trained one after another.

    Layer by layer, an autoencoder learns to undo one layer,

    .. math:: h_l = \phi(W_l h_{l-1} + b_l), \qquad h'_{l-1} = \psi(V_l h_l + c_l) ,

    on the codes :math:`h_{l-1}` of the layers below, :math:`h_0` being the rows; then, with
    ``fine_tune=True``, all layers are trained together. The pairs of layers are those of the whole
    network: nothing is copied. Greedy training finds a start for networks whose depth, or whose
    saturating units, defeat training from a random one.

    Parameters
    ----------
    n_components : int, default=2
        Size of the code. It may exceed the number of features.
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
    hidden_layer_sizes : tuple of int, default=(128, 128)
        Widths of the encoder's hidden layers; the decoder mirrors them. An empty tuple leaves
        no hidden layer.
    activation : {"relu", "silu", "gelu", "tanh", "logistic", "identity"}, default="tanh"
        Non-linearity of the hidden layers.
    pretraining : {"autoencoder", "denoising", "sparse", "contractive", "rbm"}, default="denoising"
        How each layer is trained: to undo itself; to do so from inputs of which a share of
        `noise_level` is set to zero; with an L1 penalty on its code; with a penalty on the
        Jacobian of its code; or as a restricted Boltzmann machine, which needs
        ``activation="logistic"``. None: the weights stay random until all are trained together.
    pretraining_max_iter : int or sequence of int, default=50
        Number of epochs of each layer, that of the code last; one number is for all.
    noise_level : float or sequence of float, default=0.25
        Share of a layer's inputs set to zero, in the rows that is the mean of the feature unless
        the loss uses the data as they are. Only for ``pretraining="denoising"``.
    sparsity_weight : float or sequence of float, default=0.3
        Factor of the mean absolute value of a layer's code, for layers that are wider than what
        they see. Only for ``pretraining="sparse"``.
    contraction : float or sequence of float, default=0.001
        Factor of the squared Frobenius norm of a layer's Jacobian. Only for
        ``pretraining="contractive"``.
    code_activation : str, default="identity"
        Non-linearity of the code, one of those of `activation`.
    fine_tune : bool, default=True
        Whether to train all layers together in the end, for `max_iter` epochs. If False,
        `early_stopping`, `max_iter` and what goes with them are not used.

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
    layer_histories_ : list of list of dict
        For each layer, one entry an epoch of its training, with all losses by name. Empty without
        pre-training. Reconstruction losses are in units of what a perfect reconstruction gains
        over the mean: of the variance of what the layer sees, under squared error. `history_`,
        `loss_curve_` and `n_iter_` are those of the training of all layers together; where
        `fine_tune` is False, those of the last layer.

    See Also
    --------
    StackedAutoencoderClassifier : Puts a classifier on top and trains on.
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

    code_activation: str = "identity"
    fine_tune: bool = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        **StackParameters._parameter_constraints,
        "code_activation": [StrOptions(set(ACTIVATIONS))],
        "fine_tune": ["boolean"],
    }
