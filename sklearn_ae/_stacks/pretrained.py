"""The autoencoder below a supervised head: new, frozen or continued from an earlier fit."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._estimator.continuing import check_unchanged
from sklearn_ae._estimator.inputs import check_samples
from sklearn_ae._estimator.tables import table_of, without_table
from sklearn_ae._estimator.tasks import task
from sklearn_ae._parameters.training import TrainingParameters
from sklearn_ae._stacks.greedy import StackParameters
from sklearn_ae._training.checkpoint import checkpoints_among
from sklearn_ae._training.shared_rows import SharedRows
from sklearn_ae._training.streaming import Stream
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks._network import positive_integers
from sklearn_ae.stacked import StackedAutoencoder


def pretrained_autoencoder(
    stack: Any,
    X: Any,
    weight: Tensor | None,
    seed: int,
    *,
    resume: bool,
    one_pass: bool,
    context: Any,
) -> BaseAutoencoder:
    """Return an autoencoder that is fitted to the samples, or a copy of the frozen one.

    Parameters
    ----------
    stack : SupervisedStack
        Its parameters specify the autoencoder. It is not changed.
    X : ndarray, CSR matrix or Tensor of shape (n_samples, n_features)
        Validated training samples, labelled or not.
    weight : Tensor of shape (n_samples,) or None
    seed : int
        Seed of an autoencoder whose own ``random_state`` is None.
    resume : bool
        Whether to continue with a copy of the fitted autoencoder.
    one_pass : bool
        Whether to train for one pass over one chunk of the data.
    context : CallbackContext or None
        Context of the fit, for scikit-learn's callbacks.
    """
    frozen = frozen_autoencoder(stack)
    if frozen is not None and not resume:
        _check_frozen_input(stack, frozen, X)
        autoencoder = copy.deepcopy(frozen)
        # It receives arrays from here on, and would warn that their names are missing.
        autoencoder.__dict__.pop("feature_names_in_", None)
        return autoencoder
    autoencoder = _new_autoencoder(stack, seed)
    if resume:
        autoencoder = _continued(stack, autoencoder, X.shape[1])
        if frozen is not None or not one_pass:  # warm_start continues the supervised part alone
            return autoencoder
    is_flat = len(stack.input_shape_) == 1 or isinstance(X, (Stream, SharedRows))
    samples = X if is_flat else X.reshape(-1, *stack.input_shape_)
    with task(context, "autoencoder", stack, inner=autoencoder):
        train: Any = autoencoder.partial_fit if one_pass else autoencoder.fit
        train(samples, sample_weight=weight)
    return autoencoder


def frozen_autoencoder(stack: Any) -> BaseAutoencoder | None:
    """Return the fitted autoencoder in a ``FrozenEstimator``, None if none was given."""
    if not isinstance(stack.autoencoder, FrozenEstimator):
        return None
    frozen = stack.autoencoder.estimator
    if not isinstance(frozen, BaseAutoencoder):
        raise ValueError(
            f"autoencoder is a FrozenEstimator of {type(frozen).__name__}, but it must contain an "
            f"autoencoder of this package. Put the steps before it into a Pipeline with "
            f"{type(stack).__name__} as its last step."
        )
    check_is_fitted(frozen)
    return frozen


def network_of(stack: Any) -> Network:
    """Return the specification of the network of a stack that is not fitted yet."""
    frozen = frozen_autoencoder(stack)
    if frozen is None:
        return _new_autoencoder(stack, seed=0)._network()
    network = frozen.module_.network
    sequences: Any = network
    if network.takes_missing and sequences.n_steps is None:
        # Sequences shorter than those of the frozen autoencoder are padded to their length.
        padded: Network = clone(network).set_params(n_steps=frozen.input_shape_[0])
        return padded
    return network


def autoencoder_allows_missing(stack: Any) -> bool:
    """Return whether the autoencoder of a stack takes samples with missing values."""
    autoencoder = frozen_autoencoder(stack) or _new_autoencoder(stack, seed=0)
    return autoencoder._allows_missing()


def _check_frozen_input(stack: Any, frozen: BaseAutoencoder, X: Any) -> None:
    """Refuse samples that differ in features from those of the frozen autoencoder."""
    if table_of(frozen) is not None:
        raise ValueError(
            f"autoencoder is a FrozenEstimator that was fitted to a table, but "
            f"{type(stack).__name__} encodes tables itself: encode the table before both, for "
            f"example by ColumnTransformer."
        )
    without_names = copy.copy(frozen)
    without_names.__dict__.pop("feature_names_in_", None)
    check_samples(without_names, X, reset=False)
    names, expected = (vars(e).get("feature_names_in_") for e in (stack, frozen))
    if names is None or expected is None or np.array_equal(names, expected):
        return
    column = np.flatnonzero(names != expected)[0]
    raise ValueError(
        f"column {column} of X is {names[column]!r}, but autoencoder was fitted on samples with "
        f"{expected[column]!r} there; pass the same columns in the same order."
    )


def _continued(stack: Any, autoencoder: BaseAutoencoder, n_features: int) -> BaseAutoencoder:
    """Return a copy of the fitted autoencoder, with the parameters of a new one."""
    if type(autoencoder) is not type(stack.autoencoder_):
        raise ValueError(
            f"autoencoder was changed from {type(stack.autoencoder_).__name__} to "
            f"{type(autoencoder).__name__}, so training cannot continue; use a new estimator, "
            f"or warm_start=False."
        )
    continued: BaseAutoencoder = copy.deepcopy(stack.autoencoder_)
    continued.set_params(**autoencoder.get_params(deep=False))
    check_unchanged(continued, n_features)
    return continued


def _new_autoencoder(stack: Any, seed: int) -> BaseAutoencoder:
    """Return the unfitted autoencoder: a clone of the given one, or a stacked autoencoder."""
    if stack.autoencoder is None:
        return _stacked_autoencoder(stack, seed)
    autoencoder: BaseAutoencoder = clone(
        getattr(stack.autoencoder, "estimator", stack.autoencoder)  # of a FrozenEstimator
    )
    autoencoder = without_table(autoencoder, stack)
    if autoencoder.random_state is None:
        autoencoder.set_params(random_state=seed)
    for name in ("device", "precision"):
        if getattr(autoencoder, name) == "auto":
            autoencoder.set_params(**{name: getattr(stack, name)})
    return autoencoder


def _stacked_autoencoder(stack: Any, seed: int) -> StackedAutoencoder:
    """Return the default autoencoder, with the parameters that it shares with the stack."""
    widths = positive_integers(stack.hidden_layer_sizes, "hidden_layer_sizes", least=0)
    if not widths:
        raise ValueError("hidden_layer_sizes is empty; its last value is the size of the code.")
    shared = [*fields(StackParameters), *fields(TrainingParameters)]
    return StackedAutoencoder(
        **{field.name: getattr(stack, field.name) for field in shared}
        | {
            "n_components": widths[-1],
            "hidden_layer_sizes": widths[:-1],
            "code_activation": stack.activation,
            "fine_tune": False,
            "early_stopping": False,
            "warm_start": False,
            # The other callbacks are called in the supervised training.
            "callbacks": checkpoints_among(stack.callbacks),
            "random_state": seed,
        }
    )
