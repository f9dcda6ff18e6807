"""What all autoencoders share: parameters, the order of fit, inference and scoring.

A variant declares its own hyperparameters and overrides hooks: ``_loss`` most of all, and
``_build_module``, ``_start``, ``_pretrain`` or ``_describe`` where it must. Think twice before
adding anything else to this class.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from sklearn_ae._backend.batches import Rows
from sklearn_ae._backend.isolation import isolated
from sklearn_ae._backend.training import Trained, Training
from sklearn_ae._compat import (
    CallbackSupportMixin,
    open_context,
    with_callbacks,
)
from sklearn_ae._fitting import fit_module
from sklearn_ae._inference import Inference
from sklearn_ae._inputs import (
    Kind,
    check_callbacks,
    check_held_out,
    check_rows,
)
from sklearn_ae._modules import duplicate
from sklearn_ae._parameters import CodeParameters, TrainingParameters
from sklearn_ae._state import set_history, unchanged_on_error, warn_if_cut_short
from sklearn_ae.losses import Loss, get_loss
from sklearn_ae.networks import Network
from sklearn_ae.networks._module import AutoencoderModule


@dataclass(kw_only=True, eq=False, repr=False)
class BaseAutoencoder(
    CallbackSupportMixin,
    Inference,
    TrainingParameters,
    CodeParameters,
):
    """Base of all autoencoders. Not to be used directly."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CodeParameters._parameter_constraints,
        **TrainingParameters._parameter_constraints,
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

    def _adjust(self, training: Training) -> Training:
        """Change how the training goes, where the shared parameters do not say it."""
        return training

    def _has_plain_loss(self) -> bool:
        """Say whether the loss is that of the reconstruction and nothing else."""
        return type(self)._loss is BaseAutoencoder._loss

    # What hooks may use

    def _get_loss(self) -> Loss:
        """Return the loss of the reconstruction, that of the parameters."""
        return get_loss(self.loss, self.output_activation)

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
        rows, kind = check_rows(self, X, reset=not resume)
        targets = self._check_targets(y, rows.shape[0], self.input_shape_)
        if X_val is not None and targets is not None:
            raise ValueError(
                "X_val cannot be judged where y says what to make of the rows of X; leave X_val "
                "out, and validation_fraction of X and y is held out."
            )
        held_out = None if X_val is None else check_held_out(self, X_val)
        context = open_context(self, self._n_tasks(resume))
        if context is not None:
            context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        module, trained = fit_module(
            self,
            rows,
            targets,
            kind,
            sample_weight,
            held_out,
            resume=resume,
            one_pass=False,
            callbacks=self._listeners(context, X, y, kind),
        )
        self._set_fitted(module, trained, kind, continues=resume, keep_state=self.warm_start)
        warn_if_cut_short(self, trained)
        if context is not None:
            context.call_on_fit_task_end(
                estimator=self, X=X, y=X if y is None else y, reconstruction_attributes=dict
            )
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
        rows, kind = check_rows(self, X, reset=not resume)
        module, trained = fit_module(
            self,
            rows,
            self._check_targets(y, rows.shape[0], self.input_shape_),
            kind,
            sample_weight,
            None,
            resume=resume,
            one_pass=True,
            callbacks=check_callbacks(self.callbacks),
        )
        self._set_fitted(module, trained, kind, continues=resume, keep_state=True)
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

    def _listeners(self, context: Any, X: Any, y: Any, kind: Kind) -> list[Any]:
        """Collect the callbacks of a fit: the user's, and those that scikit-learn has set."""
        listeners = check_callbacks(self.callbacks)
        if context is not None:
            from sklearn_ae._backend.callbacks import ScikitLearnCallbacks

            snapshot = functools.partial(self._snapshot, kind)
            ours = ScikitLearnCallbacks(self, context, X, X if y is None else y, snapshot)
            listeners.insert(0, ours)  # one of skorch's may end training
        return listeners

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
