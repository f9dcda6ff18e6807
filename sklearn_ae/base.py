"""What all autoencoders share: parameters, the order of fit, inference and scoring.

A variant declares its own hyperparameters and overrides hooks: ``_loss`` most of all, and
``_build_module``, ``_start``, ``_pretrain`` or ``_describe`` where it must. Think twice before
adding anything else to this class.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    with_callbacks,
)
from sklearn_ae._estimator.density import draw_from_density, draw_from_gaussian
from sklearn_ae._estimator.fitting import fit_module
from sklearn_ae._estimator.inference import (
    decode,
    fraction_explained,
    interpolate,
    minus_mean_squares,
    open_codes,
    open_rows,
    to_units,
)
from sklearn_ae._estimator.inputs import (
    Kind,
    check_callbacks,
    check_count,
    check_fit_data,
    kind_of,
)
from sklearn_ae._estimator.modules import duplicate
from sklearn_ae._estimator.network_choice import NetworkChoice
from sklearn_ae._estimator.state import (
    convert_arrays,
    from_plain_state,
    set_history,
    to_plain_state,
    unchanged_on_error,
    warn_if_cut_short,
)
from sklearn_ae._estimator.tasks import Task, whole_fit
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._parameters.training import TrainingParameters
from sklearn_ae._training.batches import Rows, by_chunks
from sklearn_ae._training.description import Trained, TrainingRun
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.resources import limit_if_forked
from sklearn_ae.losses import LOSSES, OUTPUT_ACTIVATIONS, Loss, get_loss
from sklearn_ae.networks import Network
from sklearn_ae.networks._module import AutoencoderModule

__all__ = [
    "BaseAutoencoder",
    "Interval",
    "NetworkChoice",
    "StrOptions",
    "declares_parameters",
    "isolated",
    "parameter",
]
"""What authors of estimators need."""


@declares_parameters
class BaseAutoencoder(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    TrainingParameters,
    BaseEstimator,
):
    """Base of all autoencoders. Not to be used directly."""

    n_components: int | None = parameter(
        default=2,
        doc="""int
        Size of the code. It may exceed the number of features.
        """,
        constraint=[Interval(Integral, 1, None, closed="left"), None],
        kw_only=False,
    )
    loss: str | Callable[[Tensor, Tensor], Tensor] = parameter(
        default="squared_error",
        doc="""str or callable
        Loss that training minimises, averaged over the values of a sample:
        ``"squared_error"``, ``"absolute_error"``, ``"huber"``, ``"binary_crossentropy"``,
        ``"continuous_bernoulli"`` or ``"poisson"``. The last three use the data without centring
        and scaling; the first two of them need data in [0, 1], the last one data that are not
        negative. A callable
        ``loss(output, target)`` takes tensors of shape (batch_size, n_features) in
        the network's units and returns one value a row, shape (batch_size,).
        """,
        constraint=[StrOptions(set(LOSSES)), callable],
    )
    output_activation: str = parameter(
        default="identity",
        doc="""{"identity", "logistic", "tanh", "relu", "softplus"}
        Non-linearity of the output under a loss that has none of its own. Other than
        ``"identity"``, it uses the data without centring and scaling and needs data in its range:
        [0, 1] for ``"logistic"``, [-1, 1] for ``"tanh"``, not negative for ``"relu"`` and
        ``"softplus"``.
        """,
        constraint=[StrOptions({"identity", *OUTPUT_ACTIVATIONS})],
    )
    density: Any = parameter(
        default="gaussian",
        doc=""""gaussian" or density estimator
        Distribution of the codes, for `sample`: the Gaussian that has the mean and the covariance
        of the training rows' codes, or what a clone of the given estimator makes of them, such
        as ``GaussianMixture(10)`` or ``KernelDensity(bandwidth="scott")`` of scikit-learn. It is
        fitted on 10,000 rows at most, each component of the code standardised.
        """,
        constraint=[StrOptions({"gaussian"}), HasMethods(["fit", "sample"])],
    )

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "n_components_": """int
        Size of the code.
        """,
        "n_features_in_": """int
        Number of features of a row, all axes of an image counted.
        """,
        "feature_names_in_": """ndarray of shape (n_features,)
        Names of the features, if `X` had names.
        """,
        "input_shape_": """tuple of int
        Shape of one row of `X`.
        """,
        "n_iter_": """int
        Number of epochs of the last call.
        """,
        "loss_": """float
        Training loss of the last epoch, the sum of its terms. A squared error is in units of
        the variance of the training rows.
        """,
        "loss_curve_": """list of float
        Training loss of each epoch.
        """,
        "best_loss_": """float
        Lowest loss of an epoch. On held-out rows, where there are any, it is that of the
        weights kept.
        """,
        "best_epoch_": """int
        Epoch of the last call whose weights were kept. Zero: those of its start, which under
        ``init="pca"`` are PCA's.
        """,
        "validation_scores_": """list of float or None
        Fraction of variance explained on the held-out rows after each epoch, in units of the
        variance of the training rows.
        """,
        "history_": """list of dict
        One entry an epoch with all losses by name.
        """,
        "module_": """torch.nn.Module
        The network. Its ``encode`` and ``decode`` take centred and scaled rows.
        """,
        "device_": """str
        Where it was trained.
        """,
        "density_": """Pipeline or str
        What `sample` draws codes from: a scaler and the fitted `density`, or its name if it is no
        estimator.
        """,
    }

    # Hooks of a variant

    @abstractmethod
    def _network(self) -> Network:
        """Return a specification of the network, one that nobody else changes."""

    def _build_module(self, n_features: int) -> AutoencoderModule:
        """Return the module. Draws of torch are seeded by ``random_state``."""
        return AutoencoderModule(self._network(), self.input_shape_, self.n_components)

    def _loss(
        self,
        module: AutoencoderModule,
        X: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return named loss terms, each of shape ``(batch_size,)`` or scalar."""
        return {"reconstruction": self._compare(module, module(X), X if y is None else y)}

    def _start(self, module: Any, X: Rows, seed: int) -> None:
        """Set the weights to a solution for `X`, which is all samples if `_starts_well`."""

    def _pretrain(self, module: Any, X: Rows, seed: int) -> dict[str, Any] | None:
        """Prepare the module on the training samples; return fitted attributes, if any."""

    def _joint_epochs(self) -> int:
        """Say how many epochs to train the whole network for, at most."""
        return self.max_iter

    def _n_tasks(self, resume: bool) -> int:
        """Say how many tasks a fit has, at most, of which scikit-learn's callbacks hear."""
        return self._joint_epochs()

    def _says_loss(self) -> str:
        """Name the parameter that chooses the loss, and its value, for error messages."""
        if self.output_activation != "identity":
            return f"output_activation={self.output_activation!r}"
        return f"loss={self.loss!r}"

    def _noise_level(self) -> float:
        """Say how much noise, in network units, the encoder sees while it is trained."""
        return 0.0

    def _starts_well(self) -> bool:
        """Say whether the start is a solution that only evidence should move."""
        return False

    def _describe(self, module: Any, X: Rows) -> dict[str, Any]:
        """Return the variant's own fitted attributes, numbers or tensors, from training rows."""
        return {}

    def _rows_at_once(self, network: Network) -> int:
        """Say how many rows the loss may be judged on at a time."""
        return network.rows_at_once

    def _settled_from(self) -> float:
        """Say after which share of the training the objective stays the same."""
        return 0.0

    def _adjust(self, run: TrainingRun) -> TrainingRun:
        """Change the training run where the shared parameters do not describe it."""
        return run

    def _has_plain_loss(self) -> bool:
        """Say whether the loss is that of the reconstruction and nothing else."""
        return type(self)._loss is BaseAutoencoder._loss

    # What hooks may use

    def _get_loss(self) -> Loss:
        """Return the loss of the reconstruction, that of the parameters."""
        return get_loss(self.loss, self.output_activation)

    def _get_fitted_loss(self) -> Loss:
        """Return the loss that the module was trained for, whatever the parameters are now."""
        # Files of estimators without such a parameter lack the attribute.
        return get_loss(self._fitted_loss, vars(self).get("_fitted_output_activation", "identity"))

    def _compare(self, module: AutoencoderModule, output: Tensor, target: Tensor) -> Tensor:
        """Return the reconstruction loss of each row."""
        loss = self._get_loss()
        if module.network.takes_missing:
            # What is not there is zero, and so is its prediction: no error under any loss.
            missing = target.isnan()
            output = output.masked_fill(missing, loss.zero)
            target = target.masked_fill(missing, 0.0)
        return loss.value(output, target)

    def _code_size(self) -> int:
        """Return the number of components: the one asked for, or else the network's own."""
        if self.n_components is not None:
            return self.n_components
        return self._network().code_size(self.input_shape_)

    def _compressing_network(self) -> Network:
        """Return the network, if nothing but the components reaches its decoder."""
        network = self._network()
        if extra := network.extra_names(self.input_shape_):
            raise ValueError(
                f"{type(self).__name__} constrains the code, but {type(network).__name__} "
                f"hands its decoder {len(extra)} values past it (such as {extra[0]!r}). Use "
                f"a network without, for example DenseNetwork."
            )
        if getattr(network, "code_activation", "identity") != "identity":
            raise ValueError(
                f"{type(self).__name__} puts a non-linearity of its own on the code, if any; "
                f"leave code_activation='identity' in its network, which has "
                f"{network.code_activation!r}."
            )
        return network

    # Fitting

    @isolated
    @unchanged_on_error
    @with_callbacks
    def fit(self, X, y=None, sample_weight=None, X_val=None):
        """Train the autoencoder.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Training rows. Images and sequences of shape (n_samples, ...) are flattened.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples. One of weight two counts as two equal ones: up to rounding if
            all samples are in one batch, in the expected gradient of each step otherwise.
        X_val : array-like of shape (n_validation, n_features), default=None
            Rows to validate on. None: `validation_fraction` of `X`.

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
        self._validate_params()
        resume = self.warm_start and self.__sklearn_is_fitted__()
        data = check_fit_data(self, X, y, sample_weight, X_val, reset=not resume)
        shown = {"X": X, "y": X if y is None else y}
        with whole_fit(self, self._n_tasks(resume), **shown) as context:
            snapshot = functools.partial(self._snapshot, data.kind)
            # Those that scikit-learn has set come first: one of skorch's may end training.
            listeners = Task(context).listeners(self, **shown, snapshot=snapshot)
            callbacks = [*listeners, *check_callbacks(self.callbacks)]
            module, trained = fit_module(
                self, data, resume=resume, one_pass=False, callbacks=callbacks
            )
            self._set_fitted(
                module, trained, data.kind, continues=resume, keep_state=self.warm_start
            )
        warn_if_cut_short(self, trained)
        return self

    @isolated
    @unchanged_on_error
    def partial_fit(self, X, y=None, sample_weight=None):
        """Train for one pass over one chunk of rows.

        The first call fixes centre, scale and start from its chunk; later calls continue,
        optimiser state included. The learning rate is `learning_rate_init` throughout, and
        nothing is held out.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            One chunk of the training rows.
        y : None
            Ignored, except by estimators whose `fit` takes targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples. One of weight two counts as two equal ones: up to rounding if
            all samples are in one batch, in the expected gradient of each step otherwise.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._validate_params()
        resume = self.__sklearn_is_fitted__()
        data = check_fit_data(self, X, y, sample_weight, reset=not resume)
        module, trained = fit_module(
            self, data, resume=resume, one_pass=True, callbacks=check_callbacks(self.callbacks)
        )
        self._set_fitted(module, trained, data.kind, continues=resume, keep_state=True)
        return self

    def _set_fitted(
        self,
        module: AutoencoderModule,
        trained: Trained,
        kind: Kind,
        continues: bool,
        keep_state: bool,
    ) -> None:
        """Set the fitted attributes, all at once and last."""
        earlier: list[dict[str, float]] = vars(self)["history_"] if continues else []
        set_history(self, trained.history, trained.best_epoch, earlier)
        self.loss_ = trained.history[-1]["train_loss"] if trained.history else trained.best_loss
        self.best_loss_ = trained.best_loss
        self.n_components_ = self._n_features_out = len(module.code_mean)
        self.device_ = str(module.center.device)
        self.module_ = module
        self._fitted_loss = self.loss
        self._fitted_output_activation = self.output_activation
        self._kind = kind.empty()
        for name, value in trained.description.items():
            setattr(self, name, kind.wrap(value) if isinstance(value, Tensor) else value)
        self._training_state = trained.state if keep_state else None

    def _snapshot(self, kind: Kind, module: AutoencoderModule) -> dict[str, Any]:
        """Return the fitted attributes of an estimator that would stop now."""
        return {
            "module_": duplicate(module),
            "n_components_": len(module.code_mean),
            "_n_features_out": len(module.code_mean),
            "_fitted_loss": self.loss,
            "_fitted_output_activation": self.output_activation,
            "_kind": kind.empty(),
        }

    # Inference. None of these methods changes the estimator.

    def _check_targets(self, y: Any, n_samples: int, row_shape: tuple[int, ...]) -> Any:
        """Validate what to make of the rows. None: the rows themselves, whatever y is."""
        return None

    @isolated
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
        rows, kind, module = open_rows(self, X, "transform", any_size=True)
        return kind.wrap(by_chunks(rows, module.encode, module.network.rows_at_once))

    @isolated
    def inverse_transform(self, X):
        """Decode codes.

        Parameters
        ----------
        X : {array-like, Tensor} of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Samples in the units of the training data, in the floating-point type of `X`.
            Images and sequences have their own shape.
        """
        codes, kind = open_codes(self, X)
        return kind.wrap(decode(self, codes, kind))

    @isolated
    def reconstruct(self, X):
        """Encode and decode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_reconstructed : ndarray of the shape of `X`
            Equal to ``inverse_transform(transform(X))``.
        """
        rows, kind, module = open_rows(self, X, "reconstruct", any_size=True)
        result = by_chunks(
            rows, lambda x: to_units(self, module, module(x)), module.network.rows_at_once
        )
        return kind.wrap(result.reshape(-1, *module.config["row_shape"]))

    @isolated
    def score_samples(self, X):
        """Score each row: the higher, the more like the training rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Minus the mean squared error of each row's reconstruction, in squared units of
            `X`.
        """
        rows, kind, module = open_rows(self, X, "score_samples", any_size=True)
        return kind.wrap(minus_mean_squares(self, rows, module))

    @isolated
    def score(self, X, y=None, sample_weight=None):
        """Fraction of variance explained.

        ``1 - ||X - X'||^2 / ||X - mean(X)||^2``, with ``X'`` the reconstruction:
        comparable with ``PCA.explained_variance_ratio_.sum()``.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            At most 1; higher is better. Of rows that are all equal: 1 if they are
            reconstructed, else 0.
        """
        rows, _, module = open_rows(self, X, "score", sample_weight, y, any_size=True)
        return fraction_explained(self, rows, module)

    @isolated
    def sample(self, n_samples=1, random_state=None):
        """Draw new rows.

        Codes are drawn from the distribution that `density` chooses, and decoded.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Fixes the draw.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows in the units of the training data.
        """
        check_is_fitted(self)
        check_count(n_samples, "n_samples")
        limit_if_forked()
        codes = self._draw_codes(n_samples, check_random_state(random_state))
        kind = kind_of(self._kind)
        return kind.wrap(decode(self, codes, kind))

    def _draw_codes(self, n_samples: int, random_state: np.random.RandomState) -> np.ndarray:
        """Draw codes like those of the training rows."""
        if isinstance(self.density_, str):
            return draw_from_gaussian(self.module_, n_samples, random_state)
        return draw_from_density(self.density_, n_samples, random_state)

    @isolated
    def interpolate(self, X, X_end, n_steps=9):
        """Decode the codes between those of two rows.

        The codes lie on a straight line, evenly. What a network tells its decoder past the
        components, such as the places of maxima, is that of the nearer end.

        Parameters
        ----------
        X, X_end : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows to start from, and as many rows to arrive at.
        n_steps : int, default=9
            Number of codes on each line, both ends counted; at least 2.

        Returns
        -------
        X_between : ndarray of shape (n_samples, n_steps, n_features)
            Rows in the units of the training data, the first and the last of each line the
            reconstructions of its ends. Images and sequences come back in their own shape.
        """
        check_count(n_steps, "n_steps", at_least=2)
        first, last = (open_rows(self, rows, "interpolate") for rows in (X, X_end))
        return first[1].wrap(interpolate(self, first, last, n_steps))

    # What scikit-learn asks for

    def get_feature_names_out(self, input_features=None):
        """Name the columns of the code.

        Parameters
        ----------
        input_features : None
            Ignored, as by PCA.

        Returns
        -------
        names : ndarray of shape (n_codes,)
            The name of the class and a number for each component, or what the column tells the
            decoder besides.
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
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.array_api_support = True
        return tags

    def __sklearn_array_api_convert__(self, converter: Callable[[Any], Any]) -> None:
        """Move to another array library or device."""
        convert_arrays(self, converter)

    @isolated
    def __getstate__(self) -> dict[str, Any]:
        """Describe the estimator without torch objects."""
        return to_plain_state(self, super().__getstate__())

    @isolated
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(from_plain_state(state))
