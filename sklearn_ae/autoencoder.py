"""The plain autoencoder: dense, shallow or deep, undercomplete or over-complete."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

from sklearn_ae._code_penalty import CodePenalty
from sklearn_ae._compat import Interval
from sklearn_ae._energy import Energy
from sklearn_ae._network_choice import LinearStart
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks._module import AutoencoderModule


@dataclass(kw_only=True, eq=False, repr=False)
class Autoencoder(Energy, CodePenalty, LinearStart, BaseAutoencoder):
    r"""Dense autoencoder: PCA plus what PCA cannot see.

    An encoder maps each row to a code of ``n_components`` numbers, a decoder maps the code
    back; both are trained together so that what comes back is close to what went in. With
    ``init="pca"`` encoder and decoder are each the sum of a linear map and a dense network,

    .. math:: z = V (x - m) + f(x - m), \qquad x' = m + V^T z + g(z),

    with :math:`m` the mean and :math:`V` the first principal axes of the training rows. The
    networks :math:`f` and :math:`g` start at zero, so training starts at PCA. The linear maps
    stay as they are. Weights are kept only if a paired t-test says that
    they reconstruct held-out rows better; without that evidence the result is PCA. With
    a bounded activation, the default, rows far from the training data are treated nearly as
    PCA treats them.

    Rows are centred, and divided by one scalar, before they reach the network. Their units
    do not matter.

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
    hidden_layer_sizes : tuple of int, default=(128, 128, 128)
        Widths of the encoder's hidden layers; the decoder mirrors them. An empty tuple leaves
        no hidden layer.
    activation : {"relu", "silu", "gelu", "tanh", "logistic", "identity"}, default="tanh"
        Non-linearity of the hidden layers.
    network : Network, default=None
        Specification of another network, from `sklearn_ae.networks`; `hidden_layer_sizes` and
        `activation` are then not used. None: a dense network. Convolutional ones also take
        ``n_components=None``: their maps are then the code.
    init : {"pca", "random"}, default="pca"
        Where training of a dense network starts. ``"pca"`` adds linear maps to it, set to PCA;
        ``"random"`` leaves them out; other networks, those with tied weights and those with a
        `code_activation` have none. Under ``"binary_crossentropy"``, ``"poisson"`` or an
        `output_activation`, which see the data through a link, only the encoder's linear map is
        PCA's.
    code_alpha : float, default=0.0
        Strength of the L2 penalty on the code: the factor of the mean square of its components,
        in the loss. Codes then gather at the origin.
    input_noise : float, default=0.2
        Standard deviation of Gaussian noise on what the encoder sees while it is trained, in
        units of the data's overall standard deviation. It keeps the encoder smooth, which
        matters where rows are few; with very many rows 0 may serve better.

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
    sklearn.decomposition.PCA : The linear optimum, where this estimator starts.

    References
    ----------
    Hinton, G. E. and Salakhutdinov, R. R. (2006). Reducing the dimensionality of data with
    neural networks. Science, 313(5786), 504-507.

    Bishop, C. M. (1995). Training with noise is equivalent to Tikhonov regularization.
    Neural Computation, 7(1), 108-116.

    Examples
    --------
    A curve in space is one number a point, which PCA cannot tell:

    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae import Autoencoder
    >>> t = np.linspace(0, 2, 300)
    >>> X = np.column_stack([np.cos(3 * t), np.sin(3 * t), t])
    >>> round(float(PCA(1).fit(X).explained_variance_ratio_.sum()), 2)
    0.59
    >>> autoencoder = Autoencoder(1, random_state=0).fit(X)
    >>> autoencoder.score(X) > 0.99
    True
    >>> autoencoder.transform(X).shape
    (300, 1)
    """

    input_noise: float = 0.2

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        **CodePenalty._parameter_constraints,
        **LinearStart._parameter_constraints,
        "input_noise": [Interval(Real, 0, None, closed="left")],
    }

    def _build_module(self, n_features: int) -> AutoencoderModule:
        return AutoencoderModule(
            self._network(), self.input_shape_, self.n_components, **self._network_options()
        )

    def _noise_level(self) -> float:
        return self.input_noise
