"""The sparse autoencoder: codes of which few numbers are active at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from sklearn_ae._backend.batches import Rows
from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._network_choice import NetworkChoice
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.losses import bernoulli_divergence
from sklearn_ae.networks import DenseNetwork
from sklearn_ae.networks._sparse import SparseModule
from sklearn_ae.networks.dense import DenseStack

CONTROL = 0.03
"""Relative change of the penalty's weight in a step, for an excess of one."""

TOLERANCE = 0.1
"""Relative excess of active units that counts for nothing."""


@dataclass(kw_only=True, eq=False, repr=False)
class SparseAutoencoder(NetworkChoice, BaseAutoencoder):
    r"""Autoencoder whose codes are mostly zero, or nearly.

    Of a code that may be wider than the data only a few units respond to a row. What makes
    them few is one of three:

    * ``"kl"``: codes are logistic and a divergence pulls each unit's mean activation
      :math:`\hat\rho_j` towards the target :math:`\rho`,

      .. math:: \lambda \sum_j \rho \log\frac{\rho}{\hat\rho_j}
                + (1 - \rho) \log\frac{1 - \rho}{1 - \hat\rho_j}.

      The mean is a running one: that of a single batch would make the divergence too large.
    * ``"l1"``: codes are rectified and cost :math:`\lambda \sum_j |z_j|`. If `n_active` is
      given, :math:`\lambda` is adapted until that many units are active in the mean.
    * ``"topk"``: the `n_active` largest units keep their value, the others are zero. Training
      starts with all units and reaches `n_active` half-way.

    Units of an ``"l1"`` or ``"topk"`` code that no row uses are revived: while they are dead,
    their activation is pulled up to where it would count.

    Parameters
    ----------
    n_components : int, default=64
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
    sparsity : {"kl", "l1", "topk"}, default="kl"
        What makes codes sparse.
    sparsity_target : float, default=0.05
        Mean activation of each unit under ``"kl"``, and the share of active units under
        ``"topk"`` if `n_active` is None.
    sparsity_weight : float, default=None
        Factor :math:`\lambda` of the penalty; the loss it is added to is the share of variance
        not explained, under squared error. None: 0.3 under ``"kl"``, 0.03 under ``"l1"``.
    n_active : int, default=None
        Number of active units of a code. Under ``"topk"`` None is a share of
        `sparsity_target`, at least one; under ``"l1"`` None leaves `sparsity_weight` as it is.
        Not used under ``"kl"``.
    encoding_factor : float, default=1.0
        Under ``"topk"``, and there only, a fitted estimator keeps the
        ``encoding_factor * n_active`` largest units. More than in training often makes better
        features for a classifier.
    hidden_sparsity_weight : float, default=0.0
        Factor :math:`\mu` of an L1 penalty on the encoder's hidden layers,
        :math:`\mu \sum_l \sum_j |h^{(l)}_j|`, beside whatever makes the code sparse. It needs a
        dense network.

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
    mean_activation_ : ndarray of shape (n_components,)
        Mean of each unit over the training rows, of its absolute value; over the last chunk
        after `partial_fit`.
    dead_units_ : float
        Share of units that no training row activates by more than a thousandth.

    See Also
    --------
    sklearn.decomposition.DictionaryLearning : Sparse codes found by optimisation, row by row.

    References
    ----------
    Ng, A. (2011). Sparse autoencoder. CS294A lecture notes, Stanford University.

    Makhzani, A. and Frey, B. (2013). k-sparse autoencoders. arXiv:1312.5663.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import SparseAutoencoder
    >>> X = load_digits().data
    >>> sparse = SparseAutoencoder(100, sparsity="topk", n_active=5, max_iter=5, random_state=0)
    >>> codes = sparse.fit_transform(X)
    >>> (codes != 0).sum(axis=1).max()
    np.int64(5)
    """

    n_components: int | None = field(default=64, kw_only=False)
    sparsity: str = "kl"
    sparsity_target: float = 0.05
    sparsity_weight: float | None = None
    n_active: int | None = None
    encoding_factor: float = 1.0
    hidden_sparsity_weight: float = 0.0

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        **NetworkChoice._parameter_constraints,
        "sparsity": [StrOptions({"kl", "l1", "topk"})],
        "sparsity_target": [Interval(Real, 0, 1, closed="neither")],
        "sparsity_weight": [Interval(Real, 0, None, closed="left"), None],
        "n_active": [Interval(Integral, 1, None, closed="left"), None],
        "encoding_factor": [Interval(Real, 0, None, closed="neither")],
        "hidden_sparsity_weight": [Interval(Real, 0, None, closed="left")],
    }

    def _build_module(self, n_features: int) -> SparseModule:
        if self.sparsity != "kl" and (self.n_active or 0) > self._code_size():
            raise ValueError(
                f"n_active={self.n_active} exceeds n_components={self._code_size()}; lower it."
            )
        network = self._compressing_network()
        if self.hidden_sparsity_weight and not isinstance(network, DenseNetwork):
            raise ValueError(
                f"hidden_sparsity_weight={self.hidden_sparsity_weight} needs a dense network, not "
                f"{type(network).__name__}."
            )
        return SparseModule(
            network,
            self.input_shape_,
            self.n_components,
            sparsity=self.sparsity,
            sparsity_target=self.sparsity_target,
            n_active=self.n_active,
            encoding_factor=self.encoding_factor,
        )

    def _settled_from(self) -> float:
        return 0.5 if self.sparsity == "topk" else 0.0

    def _loss(
        self,
        module: SparseModule,  # type: ignore[override]
        X: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        raw, hidden = self._encode(module, X)
        code = module.sparsify(raw, module.n_scheduled())
        terms = {
            "reconstruction": self._compare(module, module.decode(code), X if y is None else y)
        }
        if hidden:
            sizes = torch.stack([layer.to(X.dtype).abs().sum(1) for layer in hidden])
            terms["hidden_sparsity"] = self.hidden_sparsity_weight * sizes.sum(0)
        if self.sparsity == "kl":
            mean = module.running_mean(code, sample_weight)
            divergence = bernoulli_divergence(self.sparsity_target, mean).sum()
            return terms | {"sparsity": self._weight() * divergence}
        usage = module.running_mean((code != 0).to(code.dtype), sample_weight)
        if self.sparsity == "l1":
            terms["sparsity"] = self._l1(module, code, sample_weight)
        return terms | {"revival": module.revival(raw, code, usage)} if module.training else terms

    def _encode(self, module: SparseModule, X: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return what the encoder gives, and its hidden layers if they are penalised."""
        if not self.hidden_sparsity_weight:
            return module.encoder(X).to(X.dtype), []
        assert isinstance(module.encoder, DenseStack)
        raw, hidden = module.encoder.forward_with_hidden(X)
        return raw.to(X.dtype), hidden

    def _l1(self, module: SparseModule, code: Tensor, sample_weight: Tensor | None) -> Tensor:
        """Penalty of each row; its weight follows the number of active units if one is asked."""
        if self.n_active is None:
            return self._weight() * code.sum(1)
        excess = (code != 0).to(code.dtype).sum(1) / self.n_active - 1
        if sample_weight is not None:
            excess = excess * sample_weight
        if not module.training:  # epochs are compared by how well they keep to that number
            part = 1.0 if sample_weight is None else sample_weight.mean()
            return (excess.mean() / part - TOLERANCE).clamp_min(0)
        # Before the update: the factor of a batch must not depend on the batch.
        penalty = self._weight() * module.factor.clone() * code.sum(1)
        module.factor.mul_(1 + CONTROL * excess.mean().clamp(-1, 1))
        return penalty

    def _weight(self) -> float:
        if self.sparsity_weight is not None:
            return self.sparsity_weight
        return 0.3 if self.sparsity == "kl" else 0.03

    @torch.no_grad()
    def _describe(self, module: SparseModule, X: Rows) -> dict[str, Any]:
        total = torch.zeros(module.n_components, dtype=X.precise, device=X.device)
        most = torch.zeros_like(total)
        for chunk in X.chunks(module.network.rows_at_once):
            code = module.encode(X.take(chunk)).abs().to(X.precise)
            total += X.take_weight(chunk) @ code
            most = torch.maximum(most, code.amax(0))
        return {
            "mean_activation_": total / X.total_weight,
            "dead_units_": float((most < 1e-3).to(X.precise).mean()),
        }
