"""What supervised stacks share: an autoencoder on all rows, then a head on the labelled ones."""

from __future__ import annotations

import copy
import functools
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import fields
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
)
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    open_context,
    with_callbacks,
)
from sklearn_ae._estimator.continuing import check_unchanged
from sklearn_ae._estimator.density import describe_codes
from sklearn_ae._estimator.inputs import Kind, check_rows, check_weight
from sklearn_ae._estimator.modules import duplicate
from sklearn_ae._estimator.state import set_history, unchanged_on_error, warn_if_cut_short
from sklearn_ae._estimator.tasks import task
from sklearn_ae._parameters.declaration import attribute_docs_of, declares_parameters, parameter
from sklearn_ae._parameters.training import TrainingParameters
from sklearn_ae._stacks.greedy import StackParameters
from sklearn_ae._stacks.head_training import HeadTraining, Labels
from sklearn_ae._stacks.heads import choose_head, fit_head, on_cpu
from sklearn_ae._training.batches import Rows
from sklearn_ae._training.checkpoint import checkpoints_among, deleting_checkpoints
from sklearn_ae._training.description import Trained
from sklearn_ae._training.device import resolve_device
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.random import draw_seeds
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks._head import HeadedModule
from sklearn_ae.networks._network import positive_integers
from sklearn_ae.stacked import StackedAutoencoder


@declares_parameters
class SupervisedStack(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    StackParameters,
    TrainingParameters,
    BaseEstimator,
):
    """Base of the supervised stacks. Not to be used directly."""

    validation_fraction: float = parameter(
        default=0.1,
        doc="""float
        Share of the labelled rows to hold out; of classes, the same of each where that is a row
        or more. Copies of a row are held out together.
        """,
    )
    warm_start: bool = parameter(
        default=False,
        doc="""bool
        Whether `fit` continues from the present weights, optimiser state included, without
        training the autoencoder anew.
        """,
    )
    random_state: int | np.random.RandomState | None = parameter(
        default=None,
        doc="""int, RandomState instance or None
        Fixes initial weights, held-out rows, order and noise, also those of an `autoencoder` and a
        `head` whose own `random_state` is None.
        """,
    )
    hidden_layer_sizes: tuple[int, ...] = parameter(
        default=(128, 128),
        doc="""tuple of int
        Widths of the encoder's layers, that of the code last.
        """,
    )
    activation: str = parameter(
        default="""tanh""",
        doc="""{"relu", "silu", "gelu", "tanh", "logistic", "identity"}
        Non-linearity of all these layers.
        """,
    )
    early_stopping: bool = parameter(
        default=False,
        doc="""bool
        Whether to hold out `validation_fraction` of the labelled rows, judge each epoch on them
        and keep the best weights. The autoencoder is trained on them, too, without their labels.
        """,
    )
    max_iter: int = parameter(
        default=100,
        doc="""int
        Number of epochs of the head, or of fine-tuning, at most.
        """,
    )
    autoencoder: BaseAutoencoder | FrozenEstimator | None = parameter(
        default=None,
        doc="""estimator
        Any autoencoder of this package, to be trained on all rows first, by its own parameters;
        in scikit-learn's ``FrozenEstimator`` one that is fitted already, of which a copy is used.
        The parameters from `hidden_layer_sizes` to `contraction` are then not used. None: a
        :class:`StackedAutoencoder` with these parameters, whose last layer is the code.
        """,
        constraint=[BaseAutoencoder, FrozenEstimator, None],
    )
    head: Any = parameter(
        default=None,
        doc="""estimator
        Any estimator of scikit-learn for the task, fitted on the code of the labelled rows. None:
        a linear layer, which under a softmax tells classes apart. Weights of samples and classes
        are passed on to it, unless ``set_fit_request(sample_weight=False)`` was called on it.
        """,
        constraint=[HasMethods(["fit", "predict"]), None],
    )
    fine_tune: bool = parameter(
        default=True,
        doc="""bool
        Whether to train the encoder together with such a layer on the labelled rows. If False
        the encoder stays as it was. A `head` is fitted on the code of the encoder, fine-tuned or
        not.
        """,
        constraint=["boolean"],
    )
    reconstruction_weight: float = parameter(
        default=0.0,
        doc="""float
        Factor of the autoencoder's own loss, of labelled and unlabelled rows, in fine-tuning.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "autoencoder_": """estimator
        The fitted autoencoder, its encoder fine-tuned; `transform` is its.
        """,
        "head_": """estimator or None
        The fitted `head`. None: there is but the linear layer.
        """,
        "head_coef_": """ndarray of shape (n_outputs, n_components)
        Weights of the linear layer on the code, not on the features; of two classes the
        difference. Not there if a `head` was given and nothing fine-tuned.
        """,
        "head_intercept_": """ndarray of shape (n_outputs,)
        Its intercept.
        """,
        **attribute_docs_of(
            BaseAutoencoder,
            "n_components_",
            "n_features_in_",
            "feature_names_in_",
            "input_shape_",
            "device_",
        ),
        "n_iter_": """int
        Number of epochs of the last call: of fine-tuning, or of the linear layer. Where a `head`
        is fitted and nothing fine-tuned, those of the autoencoder.
        """,
        "loss_curve_": """list of float
        Training loss of each of these epochs, after those of the calls that were continued.
        """,
        "best_epoch_": """int
        Epoch of the last call whose weights were kept.
        """,
        "validation_scores_": """list of float or None
        Score of the held-out rows after each epoch.
        """,
        "history_": """list of dict
        One entry per value of `loss_curve_`, with all losses by name: ``"supervised"`` and, if it
        has a weight, ``"reconstruction"``. That of the autoencoder is ``autoencoder_.history_``.
        """,
    }

    # Hooks of classifier and regressor

    @abstractmethod
    def _check_labels(
        self, y: Any, n_samples: int, weight: Tensor | None, resume: bool, one_pass: bool
    ) -> Labels:
        """Validate labels, and set what is to be remembered of them."""

    @abstractmethod
    def _judge_outputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and error of each row."""

    def _score_of(self) -> Callable[[float], float] | None:
        """Say how a mean error becomes a score. None: errors are squared, the score is R2."""
        return None

    def _monitors_score(self) -> bool:
        """Say whether the best epoch is that of the best score."""
        return False

    @abstractmethod
    def _to_head(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Turn the fitted linear layer into coefficients and intercept."""

    # Fitting

    @isolated
    @unchanged_on_error
    @with_callbacks
    @deleting_checkpoints()
    def fit(self, X, y, sample_weight=None):
        """Train the autoencoder on all rows, then the head, or all, on the labelled ones.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Training rows, labelled or not.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels. What marks a row without one is said above.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples. One of weight two counts as two equal ones: up to rounding if
            all samples are in one batch, in the expected gradient of each step otherwise.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, or if training diverges. The estimator
            is then as it was before.
        """
        return self._fit(X, y, sample_weight, one_pass=False)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, one_pass: bool) -> Any:
        """Train all there is to train, of a whole data set or for one pass over a chunk."""
        self._validate_params()
        resume = (one_pass or self.warm_start) and hasattr(self, "autoencoder_")
        data = {"X": X, "y": y}
        X, kind = check_rows(self, X, reset=not resume)
        if y is None:
            name = type(self).__name__
            raise ValueError(f"{name} requires y to be passed, but the target y is None.")
        weight = check_weight(sample_weight, X.shape[0])
        labels = self._check_labels(y, X.shape[0], weight, resume, one_pass)
        seeds = draw_seeds(self.random_state)
        head = choose_head(self, labels.weight is not None, seeds.split, one_pass)
        context = None if one_pass else open_context(self, self._n_tasks(resume))
        if context is not None:
            context.call_on_fit_task_begin(estimator=self, **data)
        autoencoder = self._pretrained(X, weight, seeds.weights, resume, one_pass, context)
        rows = self._rows(autoencoder, X, kind, weight)
        trained, state = None, None
        if self.fine_tune or head is None:
            training = HeadTraining(self, autoencoder, labels, seeds, one_pass)
            earlier = self._training_state if resume else None
            snapshot = functools.partial(self._snapshot, autoencoder)
            name = "fine_tuning" if self.fine_tune else "linear_layer"
            with task(context, name, self, n_epochs=self.max_iter) as own:
                listeners = own.listeners(self, **data, snapshot=snapshot)
                module, trained = training.run(rows, earlier, listeners)
            if self.fine_tune:
                autoencoder.density_ = describe_codes(
                    autoencoder.module_, rows, autoencoder.density, seeds.subspace
                )
            keep = self.warm_start or one_pass
            state = training.state_of(module, trained.state if keep else None)
            self._set_head(module)
        else:  # an earlier fit's
            for name in ("head_coef_", "head_intercept_"):
                self.__dict__.pop(name, None)
        if head is not None:
            classes = getattr(self, "classes_", None)
            with task(context, "head", self, inner=head):
                head = fit_head(head, autoencoder, X, labels, classes, one_pass)
        self.head_: Any = head
        self._set_fitted(autoencoder, trained, resume, one_pass)
        if trained is not None:
            warn_if_cut_short(self, trained)
        self._training_state: dict[str, Any] | None = state
        if context is not None:
            context.call_on_fit_task_end(estimator=self, **data, reconstruction_attributes=dict)
        return self

    def _n_tasks(self, resume: bool) -> int:
        """Return how many tasks a fit has: the autoencoder, the linear layer and the head."""
        trains_autoencoder = not resume and self._frozen() is None
        trains_layer = self.fine_tune or self.head is None
        return trains_autoencoder + trains_layer + (self.head is not None)

    def _snapshot(self, autoencoder: BaseAutoencoder, module: HeadedModule) -> dict[str, Any]:
        """Return the fitted attributes of a stack that would stop now, without its `head`."""
        known = copy.copy(autoencoder)
        known.module_ = duplicate(autoencoder.module_)
        coef, intercept = (value.numpy() for value in self._to_head(*module.linear_map()))
        return {
            "autoencoder_": known,
            "head_": None,
            "head_coef_": coef,
            "head_intercept_": intercept,
            "n_components_": autoencoder.n_components_,
            "_n_features_out": autoencoder.n_components_,
        }

    def _pretrained(
        self,
        X: Any,
        weight: Tensor | None,
        seed: int,
        resume: bool,
        one_pass: bool,
        context: Any,
    ) -> BaseAutoencoder:
        """Return an autoencoder that was trained on the samples, or is frozen."""
        frozen = self._frozen()
        if frozen is not None and not resume:
            self._check_frozen(frozen, X)
            autoencoder = copy.deepcopy(frozen)
            autoencoder.__dict__.pop("feature_names_in_", None)  # it is given arrays from here on
            return autoencoder
        autoencoder = self._new_autoencoder(seed)
        if resume:
            autoencoder = self._taken_up(autoencoder, X.shape[1])
            if frozen is not None or not one_pass:
                return autoencoder
        train = autoencoder.partial_fit if one_pass else autoencoder.fit
        in_shape = X if len(self.input_shape_) == 1 else X.reshape(-1, *self.input_shape_)
        with task(context, "autoencoder", self, inner=autoencoder):
            return train(in_shape, sample_weight=weight)

    def _frozen(self) -> BaseAutoencoder | None:
        """Return the autoencoder that is fitted already, if one was given."""
        if not isinstance(self.autoencoder, FrozenEstimator):
            return None
        frozen = self.autoencoder.estimator
        if not isinstance(frozen, BaseAutoencoder):
            raise ValueError(
                f"autoencoder is a FrozenEstimator of {type(frozen).__name__}, but it must be one "
                f"of an autoencoder of this package. What comes before it belongs into a Pipeline "
                f"around {type(self).__name__}."
            )
        check_is_fitted(frozen)
        return frozen

    def _check_frozen(self, frozen: BaseAutoencoder, X: Any) -> None:
        """Refuse rows that are not like those that the autoencoder was fitted on."""
        plain = copy.copy(frozen)
        plain.__dict__.pop("feature_names_in_", None)
        check_rows(plain, X, reset=False)
        names, known = (vars(e).get("feature_names_in_") for e in (self, frozen))
        if names is None or known is None or np.array_equal(names, known):
            return
        place = np.flatnonzero(names != known)[0]
        raise ValueError(
            f"column {place} of X is {names[place]!r}, but autoencoder was fitted on rows where "
            f"it is {known[place]!r}; give the same columns in the same order."
        )

    def _taken_up(self, autoencoder: BaseAutoencoder, n_features: int) -> BaseAutoencoder:
        """Copy the fitted autoencoder, with the parameters of a new one."""
        if type(autoencoder) is not type(self.autoencoder_):
            raise ValueError(
                f"autoencoder was changed from {type(self.autoencoder_).__name__} to "
                f"{type(autoencoder).__name__}, so training cannot continue; use a new estimator, "
                f"or warm_start=False."
            )
        params = autoencoder.get_params(deep=False)
        autoencoder = copy.deepcopy(self.autoencoder_).set_params(**params)
        check_unchanged(autoencoder, n_features)
        return autoencoder

    def _new_autoencoder(self, seed: int) -> BaseAutoencoder:
        """Return the autoencoder to train first, unfitted."""
        if self.autoencoder is not None:
            autoencoder = clone(getattr(self.autoencoder, "estimator", self.autoencoder))
            if autoencoder.random_state is None:
                autoencoder.set_params(random_state=seed)
            for name in ("device", "precision"):
                if getattr(autoencoder, name) == "auto":
                    autoencoder.set_params(**{name: getattr(self, name)})
            return autoencoder
        widths = positive_integers(self.hidden_layer_sizes, "hidden_layer_sizes", least=0)
        if not widths:
            raise ValueError("hidden_layer_sizes is empty, but its last entry is the code's size.")
        shared = [*fields(StackParameters), *fields(TrainingParameters)]
        return StackedAutoencoder(
            **{field.name: getattr(self, field.name) for field in shared}
            | {
                "n_components": widths[-1],
                "hidden_layer_sizes": widths[:-1],
                "code_activation": self.activation,
                "fine_tune": False,
                "early_stopping": False,
                "warm_start": False,
                "callbacks": checkpoints_among(self.callbacks),
                "random_state": seed,
            }
        )

    def _network(self) -> Network:
        """Say what the encoder is to be made of."""
        frozen = self._frozen()
        if frozen is None:
            return self._new_autoencoder(0)._network()
        network = frozen.module_.network
        sequences: Any = network
        if network.takes_missing and sequences.n_steps is None:
            # Shorter sequences than those that it was fitted on are padded to their length.
            network = clone(network).set_params(n_steps=frozen.input_shape_[0])
        return network

    def _rows(
        self, autoencoder: BaseAutoencoder, X: Any, kind: Kind, weight: Tensor | None
    ) -> Rows:
        """Put rows on the device, in the units of the autoencoder's network."""
        module = autoencoder.module_.to(resolve_device(self.device, X))
        device, dtype = module.center.device, module.center.dtype
        rows = Rows(X, weight, device, kind.dtype, module.network.takes_missing)
        return rows.standardized(module.center, module.scale, dtype)

    def _set_head(self, module: HeadedModule) -> None:
        self.head_coef_, self.head_intercept_ = (
            value.numpy() for value in self._to_head(*module.linear_map())
        )

    def _set_fitted(
        self,
        autoencoder: BaseAutoencoder,
        trained: Trained | None,
        continues: bool,
        one_pass: bool,
    ) -> None:
        earlier = self.history_ if continues else []
        if trained is not None:
            if continues and self._training_state is None:  # those were the autoencoder's epochs
                earlier = []
            set_history(self, trained.history, trained.best_epoch, earlier)
        elif continues and (not one_pass or self._frozen() is not None):
            set_history(self, [], 0, earlier)
        else:  # nothing but the autoencoder was trained
            last = autoencoder.history_[len(autoencoder.history_) - autoencoder.n_iter_ :]
            numbered = [{**entry, "epoch": 1 + place} for place, entry in enumerate(last)]
            set_history(self, numbered, autoencoder.best_epoch_, earlier)
        self.autoencoder_: BaseAutoencoder = autoencoder
        self.n_components_ = self._n_features_out = autoencoder.n_components_
        self.device_ = autoencoder.device_ = str(autoencoder.module_.center.device)

    # Inference

    def transform(self, X):
        """Encode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            Their codes, in the floating-point type of `X`.
        """
        return self._codes(X)

    def _codes(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X, _ = check_rows(self, X, reset=False)
        return np.asarray(on_cpu(self.autoencoder_.transform(X)))

    def _linear(self, X: Any) -> np.ndarray:
        """Return what the linear head makes of rows, in float64."""
        codes = self._codes(X).astype(np.float64, copy=False)
        return codes @ self.head_coef_.T + self.head_intercept_

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.__sklearn_is_fitted__():  # it may be on another device than before
            self.device_ = self.autoencoder_.device_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "autoencoder_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
