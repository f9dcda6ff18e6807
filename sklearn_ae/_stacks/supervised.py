"""Base of the supervised stacks: an autoencoder of all samples, a head on the labelled ones."""

from __future__ import annotations

import copy
import functools
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._compat import CallbackSupportMixin, HasMethods, Interval, with_callbacks
from sklearn_ae._estimator.blockwise import blockwise
from sklearn_ae._estimator.completing import completed
from sklearn_ae._estimator.density import fit_code_density
from sklearn_ae._estimator.fitting import of_all_processes
from sklearn_ae._estimator.identity import described
from sklearn_ae._estimator.inner import InstanceOf, refuse_pipeline
from sklearn_ae._estimator.inputs import (
    ArrayType,
    FitData,
    allows_gaps,
    check_samples,
    check_weight,
    has_missing,
)
from sklearn_ae._estimator.modules import duplicate
from sklearn_ae._estimator.state import set_history, unchanged_on_error, warn_if_cut_short
from sklearn_ae._estimator.tables import TABLE_ATTRIBUTES, TableColumns
from sklearn_ae._estimator.tasks import task, whole_fit
from sklearn_ae._parameters.declaration import (
    attribute_docs_of,
    declares_parameters,
    parameter,
    same_as,
)
from sklearn_ae._parameters.documentation import documented_like
from sklearn_ae._parameters.training import TrainingParameters
from sklearn_ae._stacks.greedy import StackParameters
from sklearn_ae._stacks.head_training import HeadTraining, Labels
from sklearn_ae._stacks.heads import can_continue, choose_head, fit_head, on_cpu
from sklearn_ae._stacks.pretrained import (
    autoencoder_allows_missing,
    frozen_autoencoder,
    network_of,
    pretrained_autoencoder,
)
from sklearn_ae._training.batches import Samples
from sklearn_ae._training.checkpoint import deleting_checkpoints
from sklearn_ae._training.description import Trained
from sklearn_ae._training.device import resolve_device
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.random import draw_seeds
from sklearn_ae._training.ranks import agreed, among_ranks, telling_ranks
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks._head import HeadedModule


@declares_parameters
class SupervisedStack(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    StackParameters,
    TrainingParameters,
    BaseEstimator,
):
    """Base of the supervised stacks. Do not use it directly."""

    validation_fraction: float = parameter(
        default=0.1,
        doc="""float
        Fraction of the labelled samples to hold out: the same fraction of each class, unless that
        is less than one sample. Copies of a sample are held out together.
        """,
    )
    warm_start: bool = parameter(
        default=False,
        doc="""bool
        Whether `fit` continues from the current weights, including the state of the optimiser,
        without training the autoencoder again.
        """,
    )
    random_state: int | np.random.RandomState | None = parameter(
        default=None,
        doc="""int, RandomState instance or None
        Controls the randomness of initial weights, held-out samples, batches and noise, also those
        of an `autoencoder` and a `head` whose own `random_state` is None.
        """,
    )
    hidden_layer_sizes: tuple[int, ...] = parameter(
        default=(128, 128),
        doc="""tuple of int
        Widths of the encoder's layers. The last one is the size of the code.
        """,
    )
    activation: str = parameter(
        default="tanh",
        doc="""str
        Non-linearity of all these layers, the code included: ``"relu"``, ``"leaky_relu"``,
        ``"elu"``, ``"softplus"``, ``"silu"``, ``"gelu"``, ``"tanh"``, ``"logistic"`` or
        ``"identity"``.
        """,
    )
    early_stopping: bool = parameter(
        default=False,
        doc="""bool
        Whether to hold out `validation_fraction` of the labelled samples, evaluate each epoch on
        them and keep the best weights. The autoencoder is trained on them as well, without their
        labels. The default is that of ``MLPClassifier`` and ``MLPRegressor``, which keep the
        weights with the highest accuracy or :math:`R^2` on the held-out samples; here those with
        the lowest loss are kept, unless `scoring` of the classifier chooses otherwise.
        """,
    )
    max_iter: int = parameter(
        default=100,
        doc="""int
        Maximum number of epochs of fine-tuning, or of the linear layer.
        """,
    )
    autoencoder: BaseAutoencoder | FrozenEstimator | None = parameter(
        default=None,
        doc="""estimator
        Any autoencoder of this package. It is first trained on all samples, with its own
        parameters. A fitted autoencoder in scikit-learn's ``FrozenEstimator`` is copied and not
        trained again. With either, the parameters from `hidden_layer_sizes` to `contraction` are
        not used. None: a :class:`StackedAutoencoder` with these parameters, whose last layer is
        the code.
        """,
        constraint=[
            InstanceOf(BaseAutoencoder, "an autoencoder of sklearn_ae"),
            InstanceOf(FrozenEstimator, "a FrozenEstimator of one"),
            None,
        ],
    )
    head: Any = parameter(
        default=None,
        doc="""estimator
        Any classifier or regressor of scikit-learn, fitted on the codes of the labelled samples.
        It receives sample and class weights, unless ``set_fit_request(sample_weight=False)`` was
        called on it. None: a linear layer, followed by a softmax in a classifier.
        """,
        constraint=[HasMethods(["fit", "predict"]), None],
    )
    fine_tune: bool = parameter(
        default=True,
        doc="""bool
        Whether to train the encoder together with a linear layer on the labelled samples. If
        False, the encoder is not changed. A `head` is fitted afterwards, on the codes of the
        encoder in either case.
        """,
        constraint=["boolean"],
    )
    reconstruction_weight: float = parameter(
        default=0.0,
        doc="""float
        Factor of the autoencoder's own loss, of labelled and unlabelled samples, in fine-tuning.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )

    categorical_features: Any = same_as(TableColumns, "categorical_features")
    max_categories: int = same_as(TableColumns, "max_categories")

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "autoencoder_": """estimator
        The fitted autoencoder, with the fine-tuned encoder; `transform` returns its codes.
        """,
        "head_": """estimator or None
        The fitted `head`. None if predictions are made by the linear layer.
        """,
        "head_coef_": """ndarray of shape (n_outputs, n_components)
        Weights of the linear layer on the code, not on the features; for two classes their
        difference. Not set if a `head` is given and ``fine_tune=False``.
        """,
        "head_intercept_": """ndarray of shape (n_outputs,)
        Intercept of the linear layer.
        """,
        **attribute_docs_of(
            BaseAutoencoder,
            "n_components_",
            "n_features_in_",
            "feature_names_in_",
            "input_shape_",
            "device_",
        ),
        "is_categorical_": TABLE_ATTRIBUTES["is_categorical_"],
        "n_iter_": """int
        Number of epochs of the last call: of fine-tuning or of the linear layer. If a `head` is
        given and ``fine_tune=False``, those of the autoencoder.
        """,
        "loss_curve_": """list of float
        Training loss of each epoch, including those of the calls that were continued.
        """,
        "best_epoch_": """int
        Epoch of the last call whose weights are kept.
        """,
        "validation_scores_": """list of float or None
        Score of the held-out samples after each epoch, None without held-out samples.
        """,
        "history_": """list of dict
        One entry per value of `loss_curve_`, with all losses by name: ``"supervised"``; if
        `reconstruction_weight` is positive, ``"reconstruction"``; and, if a classifier has
        unlabelled samples and `adversarial_weight` is positive, ``"adversarial"``. The history of
        the autoencoder is ``autoencoder_.history_``.
        """,
    }

    # Not metadata of samples, which scikit-learn would route.
    __metadata_request__transform: ClassVar[dict[str, Any]] = {"out": UNUSED}

    # Hooks of classifier and regressor

    _marking: ClassVar[str]
    """How samples without a label are marked, for messages."""

    @abstractmethod
    def _check_labels(
        self, y: Any, n_samples: int, weight: Tensor | None, resume: bool, one_pass: bool
    ) -> Labels:
        """Validate the labels, and set the attributes that later calls need."""

    @abstractmethod
    def _losses_and_errors(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the error of each sample, both of shape ``(batch_size,)``."""

    def _error_to_score(self) -> Callable[[float], float] | None:
        """Return the function from mean error to score. None: errors are squared, score is R2."""
        return None

    def _monitors_score(self) -> bool:
        """Whether the best epoch is the one with the best score, not the lowest loss."""
        return False

    def _propagates_labels(self) -> bool:
        """Whether training uses unlabelled samples with the labels near them."""
        return False

    def _adversarial_weight(self) -> float:
        """Return the factor of the virtual adversarial loss."""
        return 0.0

    @abstractmethod
    def _to_head(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Convert weights and bias of the linear layer to coefficients and intercept."""

    # Fitting

    def _validate_params(self) -> None:
        refuse_pipeline(self, "autoencoder")
        super()._validate_params()

    @isolated
    @unchanged_on_error
    @with_callbacks
    @deleting_checkpoints()
    @documented_like(BaseAutoencoder.fit)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the autoencoder to all samples, then the head, or all layers, to the labelled ones.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Training samples, labelled or not. Images and sequences of shape (n_samples, ...) are
            flattened.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels or targets. Unlabelled samples are marked as documented for the class.
        """
        return self._fit(X, y, sample_weight, one_pass=False)

    @available_if(can_continue)
    @isolated
    @unchanged_on_error
    @documented_like(fit)
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one pass over one chunk of samples.

        The autoencoder is trained for one pass over all samples by its own `partial_fit`, then
        the head, or all layers, for one pass over the labelled samples. The first call determines
        the centre and scale of `X`, and of the targets of a regressor, from its chunk; later calls
        continue, including the state of the optimiser. The learning rate is `learning_rate_init`
        throughout, and nothing is held out. A frozen autoencoder is not trained by its own
        `partial_fit`, but it is fine-tuned. Not available if `head` has no `partial_fit`.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            One chunk of the training samples, labelled or not.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels or targets, marked for unlabelled samples as documented for the class. For a
            regressor the first chunk must contain a labelled sample.
        """
        return self._fit(X, y, sample_weight, one_pass=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, one_pass: bool) -> Any:
        """Fit autoencoder and head, or train them for one pass over one chunk of the data."""
        self._validate_params()
        resume = (one_pass or self.warm_start) and self.__sklearn_is_fitted__()
        data = {"X": X, "y": y}
        with telling_ranks(self.distributed, self.device):
            X, array_type = check_samples(
                self, X, reset=not resume, sample_weight=sample_weight, training=True
            )
            if y is None:
                name = type(self).__name__
                raise ValueError(
                    f"{name} requires y to be passed, but the target y is None. {self._marking}"
                )
            weight = check_weight(sample_weight, X.shape[0])
        own = FitData(X, None, weight, None, array_type)
        describe = functools.partial(described, self, own, y)
        with among_ranks(self.distributed, resolve_device(self.device, X), describe) as ranks:
            fit_data = of_all_processes(self, own)
            if ranks is not None and fit_data is not own:
                y = np.concatenate(ranks.of_all(np.asarray(y)))
            n_samples, weight = fit_data.X.shape[0], fit_data.sample_weight
            labels = self._check_labels(y, n_samples, weight, resume, one_pass)
            return self._fit_labelled(fit_data, labels, data, resume, one_pass)

    def _fit_labelled(
        self, fit_data: FitData, labels: Any, data: dict[str, Any], resume: bool, one_pass: bool
    ) -> Any:
        """Fit autoencoder and head to validated samples and labels."""
        X, weight, array_type = fit_data.X, fit_data.sample_weight, fit_data.array_type
        seeds = agreed(draw_seeds(self.random_state))
        head = choose_head(self, labels.weight is not None, seeds.split, one_pass)
        tasks: AbstractContextManager[Any] = nullcontext()  # no callbacks in a pass over a chunk
        if not one_pass:
            tasks = whole_fit(self, self._n_tasks(resume), **data)
        with tasks as context:
            options = {"resume": resume, "one_pass": one_pass, "context": context}
            autoencoder = pretrained_autoencoder(self, X, weight, seeds.weights, **options)
            samples = self._samples(autoencoder, X, array_type, weight)
            trained, state = None, None
            if self.fine_tune or head is None:
                training = HeadTraining(self, autoencoder, labels, seeds, one_pass)
                trained, state = self._train_layer(training, samples, resume, context, data)
            else:
                self._delete_layer()
            if head is not None:
                classes = getattr(self, "classes_", None)
                with task(context, "head", self, inner=head):
                    head = fit_head(head, autoencoder, X, labels, classes, one_pass)
            self.head_: Any = head
            self._set_fitted(autoencoder, trained, resume, one_pass)
            self._training_state: dict[str, Any] | None = state
        if trained is not None:
            warn_if_cut_short(self, trained)
        return self

    def _n_tasks(self, resume: bool) -> int:
        """Return the number of tasks of a fit: autoencoder, linear layer and head, if trained."""
        trains_autoencoder = not resume and frozen_autoencoder(self) is None
        trains_layer = self.fine_tune or self.head is None
        return trains_autoencoder + trains_layer + (self.head is not None)

    def _samples(
        self, autoencoder: BaseAutoencoder, X: Any, array_type: ArrayType, weight: Tensor | None
    ) -> Samples:
        """Return the samples in the units of the autoencoder's network, on its device."""
        module = autoencoder.module_.to(resolve_device(self.device, X))
        device, dtype = module.center.device, module.center.dtype
        is_incomplete = module.takes_missing or has_missing(X)
        samples = Samples(X, weight, device, array_type.dtype, is_incomplete)
        return completed(samples.standardized(module.center, module.scale, dtype), module)

    def _train_layer(
        self,
        training: HeadTraining,
        samples: Samples,
        resume: bool,
        context: Any,
        data: dict[str, Any],
    ) -> tuple[Trained, dict[str, Any]]:
        """Train the linear layer, with the encoder if `fine_tune`; set the coefficients.

        Returns
        -------
        trained : Trained
        state : dict
            State with which a later call continues.
        """
        autoencoder = training.autoencoder
        earlier = self._training_state if resume else None
        snapshot = functools.partial(self._snapshot, autoencoder)
        name = "fine_tuning" if self.fine_tune else "linear_layer"
        with task(context, name, self, n_epochs=self.max_iter) as own:
            listeners = own.listeners(self, **data, snapshot=snapshot)
            module, trained = training.run(samples, earlier, listeners)
        if self.fine_tune:  # the codes have changed, and so has their density
            autoencoder.density_ = fit_code_density(
                autoencoder.module_, samples, autoencoder.density, training.seeds.subspace
            )
        self.head_coef_, self.head_intercept_ = self._coefficients(module)
        keep = self.warm_start or training.one_pass
        return trained, training.state_of(module, trained.state if keep else None)

    def _coefficients(self, module: HeadedModule) -> tuple[np.ndarray, np.ndarray]:
        """Return the coefficients and the intercept of the linear layer on the code."""
        coef, intercept = self._to_head(*module.linear_map())
        return coef.numpy(), intercept.numpy()

    def _delete_layer(self) -> None:
        """Delete the coefficients of an earlier fit: the head makes all predictions."""
        for name in ("head_coef_", "head_intercept_"):
            self.__dict__.pop(name, None)

    def _snapshot(self, autoencoder: BaseAutoencoder, module: HeadedModule) -> dict[str, Any]:
        """Return the fitted attributes of a stack that stops now, without its `head`."""
        fitted = copy.copy(autoencoder)
        fitted.module_ = duplicate(autoencoder.module_)  # training continues in the original
        coef, intercept = self._coefficients(module)
        return {
            "autoencoder_": fitted,
            "head_": None,
            "head_coef_": coef,
            "head_intercept_": intercept,
            "n_components_": autoencoder.n_components_,
            "_n_features_out": autoencoder.n_components_,
        }

    def _set_fitted(
        self,
        autoencoder: BaseAutoencoder,
        trained: Trained | None,
        continues: bool,
        one_pass: bool,
    ) -> None:
        """Set the fitted autoencoder, and the history of the last training of this call."""
        earlier = self.history_ if continues else []
        if trained is not None:
            if continues and self._training_state is None:  # those are the autoencoder's epochs
                earlier = []
            set_history(self, trained.history, trained.best_epoch, earlier)
        elif continues and (not one_pass or frozen_autoencoder(self) is not None):
            set_history(self, [], 0, earlier)  # only the head was fitted
        else:  # only the autoencoder was trained: the history is that of its last call
            last = autoencoder.history_[len(autoencoder.history_) - autoencoder.n_iter_ :]
            numbered = [{**entry, "epoch": 1 + place} for place, entry in enumerate(last)]
            set_history(self, numbered, autoencoder.best_epoch_, earlier)
        self.autoencoder_: BaseAutoencoder = autoencoder
        self.n_components_ = self._n_features_out = autoencoder.n_components_
        self.device_ = autoencoder.device_ = str(autoencoder.module_.center.device)

    def _network(self) -> Network:
        """Return the specification of the encoder's network, which validates `X`."""
        return network_of(self)

    def _allows_missing(self) -> bool:
        return autoencoder_allows_missing(self)

    # Inference

    @blockwise
    @documented_like(BaseAutoencoder.transform)
    def transform(self, X):
        """Encode samples."""
        return self._codes(X)

    def _codes(self, X: Any) -> np.ndarray:
        """Return the codes of samples as a NumPy array, for the linear layer or a head."""
        check_is_fitted(self)
        X, _ = check_samples(self, X, reset=False)
        encode: Any = self.autoencoder_.transform
        return np.asarray(on_cpu(encode(X)))

    def _linear_output(self, X: Any) -> np.ndarray:
        """Return the output of the linear layer, float64 of shape (n_samples, n_outputs)."""
        codes = self._codes(X).astype(np.float64, copy=False)
        output: np.ndarray = codes @ self.head_coef_.T + self.head_intercept_
        return output

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.__sklearn_is_fitted__():  # the device of the pickle may not exist here
            self.device_ = self.autoencoder_.device_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "autoencoder_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = allows_gaps(self)
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
