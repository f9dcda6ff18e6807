"""The contractive autoencoder: codes that do not move when rows move a little."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

from torch import Tensor

from sklearn_ae._backend.batches import by_chunks
from sklearn_ae._backend.isolation import isolated
from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._inference import open_rows
from sklearn_ae._network_choice import NetworkChoice
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks._contractive import ContractiveModule, estimated_norm
from sklearn_ae.networks.activations import ACTIVATIONS

JACOBIAN_ENTRIES = 2**24
"""Size up to which the Jacobians of several rows are held at a time, outside of training."""


@dataclass(kw_only=True, eq=False, repr=False)
class ContractiveAutoencoder(NetworkChoice, BaseAutoencoder):
    r"""Autoencoder whose encoder is flat wherever reconstruction does not forbid it.

    To the reconstruction loss comes the squared Frobenius norm of the Jacobian of the encoder
    :math:`f` at each training row,

    .. math:: \lambda \, \lVert J_f(x) \rVert_F^2
              = \lambda \sum_{ij} \left(\frac{\partial f_i(x)}{\partial x_j}\right)^2,

    exactly, for any depth. For one logistic layer it is
    :math:`\sum_i (h_i (1 - h_i))^2 \sum_j W_{ij}^2`. Codes then keep only those directions in
    which the data vary: along a manifold, and not across it.

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
    contraction : float, default=0.1
        Factor :math:`\lambda` of the penalty. The Jacobian is that of codes with respect to
        centred and scaled rows.
    code_activation : str, default="logistic"
        Non-linearity of the code, one of those of `activation`. A code without bounds could
        shrink to nothing while the decoder grows, which satisfies the penalty and contracts
        nothing.
    n_projections : int, default=None
        Estimate the norm from that many random projections of the code, at the cost of as many
        backward passes. None: exact, at a cost that grows with `n_components`.

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

    References
    ----------
    Rifai, S., Vincent, P., Muller, X., Glorot, X. and Bengio, Y. (2011). Contractive
    auto-encoders: explicit invariance during feature extraction. ICML.

    Hutchinson, M. F. (1990). A stochastic estimator of the trace of the influence matrix.
    Communications in Statistics, 19(2), 433-450.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import ContractiveAutoencoder
    >>> X = load_iris().data
    >>> free = ContractiveAutoencoder(contraction=0, max_iter=50, random_state=0).fit(X)
    >>> flat = ContractiveAutoencoder(contraction=1, max_iter=50, random_state=0).fit(X)
    >>> bool(flat.jacobian_norm(X).mean() < 0.5 * free.jacobian_norm(X).mean())
    True
    """

    contraction: float = 0.1
    code_activation: str = "logistic"
    n_projections: int | None = None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        **NetworkChoice._parameter_constraints,
        "contraction": [Interval(Real, 0, None, closed="left")],
        "code_activation": [StrOptions(set(ACTIVATIONS))],
        "n_projections": [Interval(Integral, 1, None, closed="left"), None],
    }

    def _build_module(self, n_features: int) -> ContractiveModule:
        network = self._compressing_network()
        if getattr(network, "normalization", None) == "batch":
            raise ValueError(
                "ContractiveAutoencoder needs the Jacobian of each sample's code, but batch "
                "normalisation makes codes depend on the other samples; use normalization='layer'."
            )
        return ContractiveModule(
            network,
            self.input_shape_,
            self.n_components,
            code_activation=self.code_activation,
        )

    def _loss(
        self,
        module: ContractiveModule,  # type: ignore[override]
        X: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        if not self.contraction:
            return super()._loss(module, X, y, sample_weight)
        if self.n_projections is None:
            code, norms = module.encode_with_norm(X)
        else:
            code = module.encode(X)
            norms = estimated_norm(module.encode, X, self.n_projections)
        error = self._compare(module, module.decode(code), X if y is None else y)
        return {"reconstruction": error, "contraction": self.contraction * norms}

    def _rows_at_once(self, network: Network) -> int:
        """As many rows as Jacobians, one number for each component and feature, allow."""
        n_features = math.prod(self.input_shape_)
        return max(
            1, min(JACOBIAN_ENTRIES // (self._code_size() * n_features), network.rows_at_once)
        )

    @isolated
    def jacobian_norm(self, X):
        """Frobenius norm of the encoder's Jacobian at each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        norms : ndarray of shape (n_samples,)
            Of the derivative of ``transform(X)`` with respect to `X`, in units of codes per
            unit of `X`.
        """
        rows, kind, module = open_rows(self, X, "jacobian_norm")
        assert isinstance(module, ContractiveModule)
        squares = by_chunks(
            rows, lambda x: module.encode_with_norm(x)[1], self._rows_at_once(module.network)
        )
        return kind.wrap(squares.sqrt() / module.scale)
