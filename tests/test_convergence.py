"""The warning that a fit at a constant learning rate has not converged."""

import math
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from skorch.callbacks import LRScheduler

from sklearn_ae import (
    Autoencoder,
    RestrictedBoltzmannMachine,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
)

CONSTANT = {"learning_rate": "constant", "random_state": 0}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, size=(150, 1))
    return np.hstack([t, t**2, t**3]) + 0.05 * rng.normal(size=(150, 3))


def warns(estimator, *data):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(*data)
    return any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def has_converged(losses, tol, patience):
    """Follow the losses as `n_iter_no_change` and `tol` are documented."""
    reference, waited = math.inf, 0
    for loss in losses:
        if reference == math.inf or loss < reference - tol * abs(reference):
            reference, waited = loss, 0
        else:
            waited += 1
    return waited >= patience


@pytest.mark.parametrize("tol", [1e-4, 1e-2, 0.3])
@pytest.mark.parametrize("patience", [2, 5, 12])
@pytest.mark.parametrize("max_iter", [6, 20, 60])
def test_the_warning_is_given_where_max_iter_ends_what_patience_would_not(
    X, tol, patience, max_iter
):
    autoencoder = Autoencoder(
        1, max_iter=max_iter, tol=tol, n_iter_no_change=patience, early_stopping=False, **CONSTANT
    )
    found = warns(autoencoder, X)
    losses = autoencoder.loss_curve_
    improving = len(losses) == max_iter and not has_converged(losses, tol, patience)
    assert found == (improving and patience < max_iter)


def test_both_ends_of_a_fit_are_tested_above(X):
    shared = {"early_stopping": False, **CONSTANT}
    assert warns(Autoencoder(1, max_iter=20, n_iter_no_change=12, tol=1e-4, **shared), X)
    assert not warns(Autoencoder(1, max_iter=60, n_iter_no_change=2, tol=0.3, **shared), X)


def test_scikit_learn_warns_of_the_same_fit(X):
    params = {"max_iter": 20, "n_iter_no_change": 10, "tol": 1e-4, "random_state": 0}
    assert warns(MLPRegressor(**params), X, X)
    params |= {"early_stopping": False}
    assert warns(Autoencoder(1, learning_rate="constant", **params), X)


@pytest.mark.parametrize(
    "params",
    [
        {"learning_rate": "one_cycle"},
        {"n_iter_no_change": 20},
        {"n_iter_no_change": math.inf},
        {"callbacks": [LRScheduler("StepLR", step_size=5)]},
    ],
)
def test_a_fit_whose_length_is_chosen_is_silent(X, params):
    params = {"max_iter": 20, "n_iter_no_change": 5, "early_stopping": False} | CONSTANT | params
    assert not warns(Autoencoder(1, **params), X)


def test_held_out_loss_is_what_improves(X):
    params = {"init": "random", "max_iter": 40, "n_iter_no_change": 15, **CONSTANT}
    autoencoder = Autoencoder(1, early_stopping=True, **params)
    found = warns(autoencoder, X)
    losses = [entry["valid_loss"] for entry in autoencoder.history_]
    assert found == (len(losses) == 40 and not has_converged(losses, 1e-4, 15))


@pytest.mark.parametrize("fine_tune", [True, False])
def test_supervised_stacks(X, fine_tune):
    params = {"hidden_layer_sizes": (8, 4), "pretraining_max_iter": 20, "fine_tune": fine_tune}
    params |= {"max_iter": 12, "n_iter_no_change": 5}
    y = X[:, 0]
    assert warns(StackedAutoencoderRegressor(**params, **CONSTANT), X, y)
    assert warns(StackedAutoencoderClassifier(**params, **CONSTANT), X, y > 0)
    assert not warns(StackedAutoencoderRegressor(**params, random_state=0), X, y)
    assert not warns(StackedAutoencoderRegressor(**params | {"n_iter_no_change": 12}), X, y)


def test_layers_and_chunks_have_a_length_that_is_chosen(X):
    params = {"pretraining_max_iter": 20, "n_iter_no_change": 5, **CONSTANT}
    assert not warns(StackedAutoencoder(1, fine_tune=False, **params), X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Autoencoder(1, n_iter_no_change=1, **CONSTANT).partial_fit(X).partial_fit(X)
        regressor = StackedAutoencoderRegressor(**params | {"n_iter_no_change": 1})
        regressor.partial_fit(X, X[:, 0]).partial_fit(X, X[:, 0])
    # Contrastive divergence has no loss that could tell.
    assert not warns(RestrictedBoltzmannMachine(2, max_iter=8, n_iter_no_change=2, **CONSTANT), X)


def test_a_warning_that_is_an_error_leaves_the_estimator_as_it_was(X):
    autoencoder = Autoencoder(1, max_iter=8, n_iter_no_change=4, early_stopping=False, **CONSTANT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning, match=r"max_iter=8 was reached.*Increase max_iter"):
            autoencoder.fit(X)
    assert not hasattr(autoencoder, "module_")
