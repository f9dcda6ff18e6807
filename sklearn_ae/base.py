"""Base class of all autoencoders, and what the author of a new one imports.

A variant declares its own hyperparameters, is decorated with ``declares_parameters`` and inherits
from ``NetworkChoice`` if it accepts any network. It overrides hooks: usually ``_loss``, and
``_build_module``, ``_start``, ``_pretrain`` or ``_fitted_attributes`` if necessary. Everything
else is common to all variants. Think twice before adding anything to this class.

Training calls the hooks on a shallow copy of the estimator, in whose parameters NumPy's numbers
are replaced by Python's. Attributes that a hook sets on ``self`` are therefore lost; fitted
attributes are returned from ``_pretrain`` or ``_fitted_attributes``. torch records gradients in
all hooks, except when ``_loss`` evaluates held-out samples.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    RealNotInt,
    StrOptions,
    is_whole,
    with_callbacks,
)
from sklearn_ae._estimator.blockwise import blockwise
from sklearn_ae._estimator.density import draw_from_density, draw_from_gaussian
from sklearn_ae._estimator.fitting import fit_module
from sklearn_ae._estimator.inference import (
    decode,
    explained_variance_ratio,
    interpolate,
    negative_mean_squared_errors,
    open_codes,
    open_samples,
    to_units,
)
from sklearn_ae._estimator.inputs import (
    ArrayType,
    allows_gaps,
    array_type_of,
    check_callbacks,
    check_count,
    check_fit_data,
)
from sklearn_ae._estimator.modules import duplicate
from sklearn_ae._estimator.network_choice import NetworkChoice
from sklearn_ae._estimator.ordered import OfOrderedCodes
from sklearn_ae._estimator.state import (
    convert_arrays,
    from_plain_state,
    set_history,
    to_plain_state,
    unchanged_on_error,
    warn_if_cut_short,
)
from sklearn_ae._estimator.tables import in_data_form, table_of
from sklearn_ae._estimator.tasks import Task, whole_fit
from sklearn_ae._parameters.declaration import check_declared, declares_parameters, parameter
from sklearn_ae._parameters.training import TrainingParameters
from sklearn_ae._tables.loss import table_loss
from sklearn_ae._training.batches import Samples, by_chunks
from sklearn_ae._training.description import Trained, TrainingRun
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.ranks import telling_ranks
from sklearn_ae._training.resources import limit_if_forked
from sklearn_ae.losses import LOSSES, OUTPUT_ACTIVATIONS, Loss, get_loss
from sklearn_ae.networks import Network
from sklearn_ae.networks._module import AutoencoderModule

__all__ = [
    "AutoencoderModule",
    "BaseAutoencoder",
    "Interval",
    "NetworkChoice",
    "StrOptions",
    "declares_parameters",
    "isolated",
    "parameter",
]
"""Names for authors of estimators."""


@declares_parameters
class BaseAutoencoder(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    TrainingParameters,
    BaseEstimator,
):
    """Base class of all autoencoders. Not to be used directly."""

    n_components: Any = parameter(  # int, float or None
        default=2,
        doc="""int, float or None
        Number of components of the code. It may exceed the number of features. A float between 0
        and 1: the smallest number that explains this fraction of the variance of the held-out
        samples, at most as many as PCA needs for it; the code is then `ordered`. None:
        ``min(n_samples, n_features)``, with which PCA loses nothing. In `partial_fit` a float or
        None determines the number from the first chunk, by PCA.
        """,
        constraint=[
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            None,
        ],
        kw_only=False,
    )
    ordered: bool = parameter(
        default=False,
        doc="""bool
        Whether the components are ordered as those of PCA: training minimises the loss averaged
        over codes of which only the first components are kept and the others are set to zero. The
        first `k` columns of the code, followed by zeros, then decode about as well as a code of
        `k` components. Always so if `n_components` is a float.
        """,
        constraint=["boolean"],
    )
    loss: str | Callable[[Tensor, Tensor], Tensor] = parameter(
        default="squared_error",
        doc="""str or callable
        Reconstruction loss that training minimises, averaged over the features:
        ``"squared_error"``, ``"absolute_error"``, ``"huber"``, ``"binary_crossentropy"``,
        ``"continuous_bernoulli"`` or ``"poisson"``. The last three are computed without centring
        and scaling the data: ``"binary_crossentropy"`` and ``"continuous_bernoulli"`` need data
        in [0, 1], ``"poisson"`` needs non-negative data. A callable ``loss(output, target)``
        receives two tensors of shape (batch_size, n_features), centred and scaled, and returns a
        tensor of shape (batch_size,): one value per sample.
        """,
        constraint=[StrOptions(set(LOSSES)), callable],
    )
    output_activation: str = parameter(
        default="identity",
        doc="""{"identity", "logistic", "tanh", "relu", "softplus"}
        Activation function of the output layer, for losses that do not define one themselves.
        With any other value than ``"identity"`` the data are neither centred nor scaled and must
        be in the range of the function: in [0, 1] for ``"logistic"``, in [-1, 1] for ``"tanh"``,
        non-negative for ``"relu"`` and ``"softplus"``.
        """,
        constraint=[StrOptions({"identity", *OUTPUT_ACTIVATIONS})],
    )
    density: Any = parameter(
        default="gaussian",
        doc="""{"gaussian", "mixture", "kde"} or density estimator
        Distribution from which `sample` draws codes. ``"gaussian"``: a Gaussian with the mean and
        the covariance of the training samples' codes. The others are fitted on the standardised
        codes of at most 10,000 training samples. ``"mixture"``: a mixture of one to 32 Gaussians,
        as many as have the lowest Bayesian information criterion. ``"kde"``: a Gaussian kernel
        density with the bandwidth that maximises the log-likelihood of codes under the kernels of
        the other codes. A density estimator, such as ``GaussianMixture(10)`` of scikit-learn: a
        clone of it. Its draws are controlled by its parameter `random_state` and the argument
        `random_state` of its method ``sample``, whichever it has.
        """,
        constraint=[StrOptions({"gaussian", "mixture", "kde"}), HasMethods(["fit", "sample"])],
    )

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "n_components_": """int
        Number of columns of the code: the components and, with some networks, further values that
        the decoder needs.
        """,
        "explained_variance_ratio_": """ndarray of shape (n_components,)
        Increment of the explained variance ratio by each component, on the held-out samples or, if
        there are none, on the training samples: the sum of the first `k` is that of samples
        decoded from the first `k` components, relative to the mean of the training samples, and
        comparable with PCA's. Defined only if the code is ordered.
        """,
        "n_features_in_": """int
        Number of features of a sample: the product of `input_shape_`.
        """,
        "feature_names_in_": """ndarray of shape (n_features,)
        Names of the features seen during `fit`. Defined only if `X` has feature names that are
        all strings.
        """,
        "input_shape_": """tuple of int
        Shape of one sample of `X`, before it is flattened.
        """,
        "n_iter_": """int
        Number of epochs of the last call of `fit` or `partial_fit`.
        """,
        "loss_": """float
        Training loss of the last epoch: the sum of all loss terms. A squared error is in units
        of the variance of the training samples.
        """,
        "loss_curve_": """list of float
        Training loss of each epoch.
        """,
        "best_loss_": """float
        Loss of the kept weights on the held-out samples or, if no samples are held out, the
        lowest training loss of an epoch with the final objective.
        """,
        "best_epoch_": """int
        Epoch of the last call whose weights were kept. Zero stands for the weights before the
        first epoch, which are those of PCA if ``init="pca"``; `n_iter_` is then often 20 or less,
        because such a fit ends early.
        """,
        "validation_scores_": """list of float or None
        Explained variance ratio on the held-out samples after each epoch, relative to the
        variance of the training samples. None if no samples are held out.
        """,
        "history_": """list of dict
        One entry per epoch: its number ``"epoch"``, the training loss ``"train_loss"``, all loss
        terms by name and, if samples are held out, ``"valid_loss"`` and ``"valid_score"``. Of a
        table also the held-out loss of each column, ``"valid_loss_"`` before its name.
        """,
        "module_": """torch.nn.Module
        The fitted network. Its methods ``encode`` and ``decode`` work on centred and scaled
        samples.
        """,
        "device_": """str
        Device of the network, such as ``"cpu"`` or ``"cuda:0"``.
        """,
        "density_": """Pipeline or str
        Distribution from which `sample` draws codes: a pipeline of a scaler and the fitted
        density, or the name if `density` is ``"gaussian"`` or ``"prior"``.
        """,
    }

    # Not metadata of samples, which scikit-learn would route.
    __metadata_request__transform: ClassVar[dict[str, Any]] = {"out": UNUSED}

    explained_variance_ratio_ = OfOrderedCodes()

    def __new__(cls, *args: Any, **params: Any) -> Self:
        """Create an estimator, unless its class lacks the decorator of parameters."""
        check_declared(cls)
        created: Self = super().__new__(cls)
        return created

    # Hooks of a variant

    @abstractmethod
    def _network(self) -> Network:
        """Return the specification of the network.

        The module stores the object, so it must be a new one, or one that is never modified.
        `NetworkChoice` implements this method: its network is the parameter `network`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no network: inherit from NetworkChoice before "
            f"BaseAutoencoder, or define the method _network."
        )

    def _build_module(self, n_features: int) -> AutoencoderModule:
        """Return a new module with its initial weights.

        The shape of a sample is ``self.input_shape_``. Draws by torch are seeded by
        ``random_state``; dtype and device are set afterwards. The arguments of the module's
        constructor must describe it completely: copies and pickles are built from them.
        """
        return AutoencoderModule(self._network(), self.input_shape_, self.n_components)

    def _loss(
        self,
        module: AutoencoderModule,
        X: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss terms of a batch by name.

        The caller averages terms of shape (batch_size,) with the sample weights, adds all terms,
        and records them by name in ``history_``. Terms of shape () are added as they are: they
        must apply `sample_weight` themselves. Draws by torch are seeded by ``random_state``.
        ``module.training`` is False when held-out samples are evaluated, in parts, in which a
        term of shape () counts for each sample. If the loss draws, it is then called with copies
        of the samples, over which each sample's loss is averaged.

        Parameters
        ----------
        module : AutoencoderModule
            ``module.progress`` increases from 0 to 1 during training.
        X : Tensor of shape (batch_size, n_features)
            Input of the encoder, in network units: centred and scaled, unless the loss needs
            data in a fixed range, and with the noise of `_noise_level` in training.
        y : Tensor of shape (batch_size, n_features) or None
            Target of the decoder, in network units. None: `X`.
        sample_weight : Tensor of shape (batch_size,) or None
            Positive weights, about one on average, for terms that depend on a mean over the
            batch. None: all weights are one.

        Returns
        -------
        dict of str to Tensor of shape (batch_size,) or ()
        """
        return {"reconstruction": self._compare(module, module(X), X if y is None else y)}

    def _start(self, module: Any, X: Samples, seed: int) -> None:
        """Set the initial weights to a solution, for example that of PCA.

        `X` provides the samples in network units: all samples if `_starts_at_solution` returns
        True, else those that are not held out. Use `seed` for random numbers.
        """

    def _pretrain(self, module: Any, X: Samples, seed: int) -> dict[str, Any] | None:
        """Prepare the module before all its layers are trained together.

        `X` provides the training samples in network units, without those held out. Use `seed`
        for random numbers. Fitted attributes may be returned by name.
        """

    def _joint_epochs(self) -> int:
        """Return the maximum number of epochs in which the whole network is trained."""
        return self.max_iter

    def _n_tasks(self, resume: bool) -> int:
        """Return the maximum number of tasks that `fit` reports to scikit-learn's callbacks.

        An epoch is a task, and so is a layer that `_pretrain` trains. `resume` is whether `fit`
        continues an earlier one.
        """
        return self._joint_epochs()

    def _loss_description(self) -> str:
        """Return the parameter that selects the loss, with its value, for error messages."""
        if self.output_activation != "identity":
            return f"output_activation={self.output_activation!r}"
        return f"loss={self.loss!r}"

    def _noise_level(self) -> float:
        """Return the standard deviation of the noise on the encoder's input in training.

        It is relative to the overall standard deviation of the data. The target of the decoder
        has no noise.
        """
        return 0.0

    def _starts_at_solution(self) -> bool:
        """Return whether training replaces the initial weights only if it is significantly better.

        The test compares the losses on held-out samples before and after training.
        """
        return False

    def _fitted_attributes(self, module: Any, X: Samples) -> dict[str, Any]:
        """Return the variant's fitted attributes by name, computed from the trained module.

        `X` provides the training samples in network units. Tensors become arrays of the library
        of the data; other values are stored as they are. Draws by torch are seeded by
        ``random_state``.
        """
        return {}

    def _samples_at_once(self, network: Network) -> int:
        """Return the maximum number of samples for which `_loss` is evaluated at once.

        It limits the memory that held-out samples need. It does not limit training batches.
        """
        return network.samples_at_once

    def _annealed_from(self) -> float:
        """Return the fraction of training after which `_loss` no longer depends on the progress.

        Only from there on `n_iter_no_change` counts epochs, and are training losses compared.
        Held-out samples are always evaluated with ``module.progress`` equal to 1.
        """
        return 0.0

    def _adjust(self, run: TrainingRun) -> TrainingRun:
        """Return the training run with any changes that the variant needs.

        A run is immutable: use ``dataclasses.replace``, for example for the training step or for
        hyperparameters.
        """
        return run

    def _can_map_loss(self, module: Any) -> bool:
        """Whether `_loss` can be called within ``torch.vmap``, by several models at once."""
        return True

    def _has_plain_loss(self) -> bool:
        """Return whether the loss is the reconstruction loss alone.

        Dense networks are then trained by the hand-written backward pass, without `_loss`.
        """
        return type(self)._loss is BaseAutoencoder._loss

    def _allows_missing(self) -> bool:
        """Return whether samples may have missing values, which are NaN.

        They are replaced before they are encoded, and have no part in the loss: their value in
        the target of `_loss` is NaN.
        """
        return True

    def _check_targets(self, y: Any, n_samples: int, sample_shape: tuple[int, ...]) -> Any:
        """Return the validated targets of the decoder, None if the targets are the samples.

        `y` is the argument of `fit` or `score`. Targets have the shape (n_samples, n_features).
        By default `y` is ignored.
        """
        return None

    # For use in hooks

    def _get_loss(self) -> Loss:
        """Return the reconstruction loss that the parameters select, or the columns of a table."""
        if (table := table_of(self)) is not None:
            return table_loss(table.layout)
        return get_loss(self.loss, self.output_activation)

    def _get_fitted_loss(self) -> Loss:
        """Return the reconstruction loss of the fit; the parameters may have changed since."""
        if table_of(self) is not None:
            return self._get_loss()
        # Estimators without the parameter lack the attribute when they are loaded from files.
        return get_loss(self._fitted_loss, vars(self).get("_fitted_output_activation", "identity"))

    def _compare(self, module: AutoencoderModule, output: Tensor, target: Tensor) -> Tensor:
        """Return the reconstruction loss of each sample, of shape (batch_size,)."""
        loss = self._get_loss()
        if module.takes_missing:
            output, target = loss.ignoring(target.isnan(), output, target)
        return loss.value(output, target)

    def _code_size(self) -> int:
        """Return the number of components, that of the fitted module if `fit` determined it."""
        if is_whole(self.n_components):
            return int(self.n_components)
        network = self._network()
        if self.n_components is None and network.has_maps():
            return network.code_size(self.input_shape_)
        return self.module_.n_components

    def _compressing_network(self) -> Network:
        """Return the network, for variants that constrain the code.

        Raises
        ------
        ValueError
            If the decoder receives values beside the components, or if the network has a
            `code_activation`.
        """
        network = self._network()
        if extra := network.extra_names(self.input_shape_):
            raise ValueError(
                f"{type(self).__name__} constrains the code, but {type(network).__name__} "
                f"passes {len(extra)} values (such as {extra[0]!r}) to its decoder past it. Use "
                f"a network without such values, for example DenseNetwork."
            )
        if getattr(network, "code_activation", "identity") != "identity":
            raise ValueError(
                f"{type(self).__name__} defines the activation of the code itself; leave "
                f"code_activation='identity' in its network, which has "
                f"code_activation={network.code_activation!r}."
            )
        return network

    # Fitting

    @isolated
    @unchanged_on_error
    @with_callbacks
    def fit(self, X, y=None, sample_weight=None, X_val=None):
        """Fit the autoencoder.

        With ``warm_start=True`` a fitted autoencoder is trained further.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Training samples. Images and sequences of shape (n_samples, ...) are flattened.
        y : None
            Ignored. Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None: all equal. A sample of weight two is equivalent to two
            copies of it: up to rounding if all samples are in one batch, in the expected
            gradient of each step otherwise.
        X_val : {array-like, sparse matrix, Tensor}, default=None
            Validation samples, of shape (n_validation, n_features). None: with
            ``early_stopping=True`` the fraction `validation_fraction` of `X` is held out.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, or if training diverges. The estimator
            is then unchanged.
        """
        self._validate_params()
        resume = self.warm_start and self.__sklearn_is_fitted__()
        with telling_ranks(self.distributed, self.device):
            data = check_fit_data(self, X, y, sample_weight, X_val, reset=not resume)
        shown = {"X": X, "y": X if y is None else y}
        with whole_fit(self, self._n_tasks(resume), **shown) as context:
            snapshot = functools.partial(self._snapshot, data.array_type)
            # scikit-learn's callbacks come first: one of skorch's may end training.
            listeners = Task(context).listeners(self, **shown, snapshot=snapshot)
            callbacks = [*listeners, *check_callbacks(self.callbacks)]
            module, trained = fit_module(
                self, data, resume=resume, one_pass=False, callbacks=callbacks
            )
            self._set_fitted(
                module, trained, data.array_type, continues=resume, keep_state=self.warm_start
            )
        warn_if_cut_short(self, trained)
        return self

    @isolated
    @unchanged_on_error
    def partial_fit(self, X, y=None, sample_weight=None):
        """Fit the autoencoder incrementally: train for one epoch on a chunk of samples.

        The first call determines the centre, the scale and the initial weights from its chunk.
        Later calls continue from the present weights and the state of the optimiser. The
        learning rate is `learning_rate_init` in all calls, and no samples are held out.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Chunk of the training samples.
        y : None
            Ignored, except by estimators whose `fit` accepts targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None: all equal. A sample of weight two is equivalent to two
            copies of it: up to rounding if all samples are in one batch, in the expected
            gradient of each step otherwise.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, or if training diverges. The estimator
            is then unchanged.
        """
        self._validate_params()
        resume = self.__sklearn_is_fitted__()
        with telling_ranks(self.distributed, self.device):
            data = check_fit_data(self, X, y, sample_weight, reset=not resume)
        module, trained = fit_module(
            self, data, resume=resume, one_pass=True, callbacks=check_callbacks(self.callbacks)
        )
        self._set_fitted(module, trained, data.array_type, continues=resume, keep_state=True)
        return self

    def _set_fitted(
        self,
        module: AutoencoderModule,
        trained: Trained,
        array_type: ArrayType,
        continues: bool,
        keep_state: bool,
    ) -> None:
        """Set the fitted attributes, when nothing can fail any more.

        `continues` is whether the history continues that of an earlier call; `keep_state` is
        whether the state of the optimiser is stored for later calls.
        """
        earlier: list[dict[str, float]] = vars(self)["history_"] if continues else []
        set_history(self, trained.history, trained.best_epoch, earlier)
        self.loss_ = trained.history[-1]["train_loss"] if trained.history else trained.best_loss
        self.best_loss_ = trained.best_loss
        self.n_components_ = self._n_features_out = len(module.code_mean)
        self.device_ = str(module.center.device)
        self.module_ = module
        self._fitted_loss = self.loss
        self._fitted_output_activation = self.output_activation
        self._kind = array_type.empty()
        self.__dict__.pop("explained_variance_ratio_", None)  # of an earlier fit
        for name, value in trained.description.items():
            setattr(self, name, array_type.wrap(value) if isinstance(value, Tensor) else value)
        self._training_state = trained.state if keep_state else None

    def _snapshot(self, array_type: ArrayType, module: AutoencoderModule) -> dict[str, Any]:
        """Return the fitted attributes for callbacks, as if training stopped now."""
        return {
            "module_": duplicate(module),
            "n_components_": len(module.code_mean),
            "_n_features_out": len(module.code_mean),
            "_fitted_loss": self.loss,
            "_fitted_output_activation": self.output_activation,
            "_kind": array_type.empty(),
        }

    # Inference: these methods do not change the estimator

    @isolated
    @blockwise
    def transform(self, X):
        """Encode samples.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_components)
            Codes of the samples, in the floating-point dtype of `X`. Some networks add columns
            after the components; `get_feature_names_out` names them.
        """
        samples, array_type, module = open_samples(self, X, "transform", any_size=True)
        return array_type.wrap(by_chunks(samples, module.encode, module.network.samples_at_once))

    @isolated
    def inverse_transform(self, X):
        """Decode codes.

        Parameters
        ----------
        X : {array-like, Tensor} of shape (n_samples, n_components)
            Codes, with the columns that `transform` returns.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Decoded samples in the units of the training data, in the floating-point dtype of
            `X`. Images and sequences have the shape (n_samples, ...) of the training data. A
            table if the training data were one.
        """
        codes, array_type = open_codes(self, X)
        return in_data_form(self, array_type, decode(self, codes, array_type))

    @isolated
    @blockwise
    def reconstruct(self, X):
        """Encode and decode samples.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        X_reconstructed : ndarray of the shape of `X`
            Reconstructed samples, equal to ``inverse_transform(transform(X))``. A table if the
            training data were one.
        """
        samples, array_type, module = open_samples(self, X, "reconstruct", any_size=True)
        result = by_chunks(
            samples, lambda x: to_units(self, module, module(x)), module.network.samples_at_once
        )
        result = result.reshape(-1, *module.config["sample_shape"])
        return in_data_form(self, array_type, result, like=X)

    @isolated
    @blockwise
    def score_samples(self, X):
        """Score each sample: the higher, the more similar to the training samples.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Negative mean squared error of the reconstruction of each sample, in squared units
            of `X`; ``-inf`` for samples so far from the training samples that it would overflow.
            Of a table: minus the mean over the observed columns of the squared error of a
            standardised number or the cross-entropy of a category.
        """
        samples, array_type, module = open_samples(self, X, "score_samples", any_size=True)
        return array_type.wrap(negative_mean_squared_errors(self, samples, module))

    @isolated
    def score(self, X, y=None, sample_weight=None):
        """Return the explained variance ratio of the reconstruction.

        It is ``1 - ||X - X'||^2 / ||X - mean(X)||^2`` with the reconstruction ``X'``, whatever
        the loss, and comparable with ``PCA.explained_variance_ratio_.sum()``. Of a table it is the
        explained fraction of the deviance: squared errors of standardised numbers and
        cross-entropies of categories, relative to those of their means and frequencies.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Samples.
        y : None
            Ignored. Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None: all equal.

        Returns
        -------
        score : float
            At most 1; higher is better. If all samples are equal: 1 if they are reconstructed,
            else 0.
        """
        samples, _, module = open_samples(self, X, "score", sample_weight, y, any_size=True)
        return explained_variance_ratio(self, samples, module)

    @isolated
    def sample(self, n_samples=1, random_state=None):
        """Generate random samples.

        Codes are drawn from the distribution that the parameter `density` selects, and decoded.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples to generate.
        random_state : int, RandomState instance or None, default=None
            Controls the randomness of the drawn codes. Pass an int for reproducible results
            across multiple calls.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Samples in the units of the training data. Images and sequences have the shape
            (n_samples, ...) of the training data. A table if the training data were one, with
            categories drawn by their probabilities.
        """
        check_is_fitted(self)
        check_count(n_samples, "n_samples")
        limit_if_forked()
        random_state = check_random_state(random_state)
        codes = self._draw_codes(n_samples, random_state)
        array_type = array_type_of(self._kind)
        return in_data_form(self, array_type, decode(self, codes, array_type), random_state)

    def _draw_codes(self, n_samples: int, random_state: np.random.RandomState) -> np.ndarray:
        """Return codes for `sample`, of shape (n_samples, n_code): a hook of variants, too."""
        if isinstance(self.density_, str):
            return draw_from_gaussian(self.module_, n_samples, random_state)
        return draw_from_density(self.density_, n_samples, random_state)

    @isolated
    def interpolate(self, X, X_end, n_steps=9):
        """Decode codes on the straight line between the codes of two samples.

        The codes are evenly spaced. Values that a network passes to its decoder beside the
        components, such as the positions of maxima, are those of the nearer end.

        Parameters
        ----------
        X, X_end : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Samples at which the lines start, and as many samples at which they end.
        n_steps : int, default=9
            Number of codes on each line including both ends; at least 2.

        Returns
        -------
        X_between : ndarray of shape (n_samples, n_steps, n_features)
            Samples in the units of the training data. The first and the last one of each line
            are the reconstructions of its ends. Images and sequences have the shape
            (n_samples, n_steps, ...). A table of n_samples times n_steps rows, line after line,
            if the training data were one.
        """
        check_count(n_steps, "n_steps", at_least=2)
        first, last = (open_samples(self, samples, "interpolate") for samples in (X, X_end))
        return in_data_form(self, first[1], interpolate(self, first, last, n_steps))

    # Interface of scikit-learn

    def get_feature_names_out(self, input_features=None):
        """Get output feature names for transformation.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Only used to validate feature names with the names seen in `fit`.

        Returns
        -------
        feature_names_out : ndarray of str objects
            One name per column of the code: the lower-case name of the class, followed by the
            number of the component, or by a description of a column that the network adds.
        """
        names = super().get_feature_names_out(input_features)
        extra = self.module_.network.extra_names(self.input_shape_)
        prefix = type(self).__name__.lower()
        names[len(names) - len(extra) :] = [f"{prefix}_{name}" for name in extra]
        return names

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = allows_gaps(self)
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.array_api_support = True
        return tags

    def __sklearn_array_api_convert__(self, converter: Callable[[Any], Any]) -> None:
        """Convert the fitted arrays to another array library or device."""
        convert_arrays(self, converter)

    @isolated
    def __getstate__(self) -> dict[str, Any]:
        """Return the state of the estimator without torch objects."""
        return to_plain_state(self, super().__getstate__())

    @isolated
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(from_plain_state(state))
