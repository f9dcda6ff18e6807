"""Gradient descent with momentum in place of Adam."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA

from sklearn_ae import (
    Autoencoder,
    FitCheckpoint,
    RestrictedBoltzmannMachine,
    StackedAutoencoderClassifier,
)
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._training.optimizer import FlatMomentum, FlatParameters
from sklearn_ae.networks import DenseNetwork
from sklearn_ae.networks._module import AutoencoderModule

SGD = {"solver": "sgd", "learning_rate_init": 0.05, "alpha": 0.0, "random_state": 0}
PLAIN = {
    "init": "random",
    "input_noise": 0.0,
    "early_stopping": False,
    "learning_rate": "constant",
}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return 3 + rng.normal(size=(60, 3)) @ rng.normal(size=(3, 6)) + 0.1 * rng.normal(size=(60, 6))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_steps_are_those_of_torch(momentum):
    torch.manual_seed(0)
    mine, theirs = (
        AutoencoderModule(DenseNetwork(hidden_layer_sizes=(4,)), (5,), 2).double()
        for _ in range(2)
    )
    theirs.load_state_dict(mine.state_dict())
    flat = FlatParameters(mine)
    descent = FlatMomentum(flat, lr=0.1, alpha=0.0, momentum=momentum)
    reference = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=momentum)
    for _ in range(20):
        x = torch.randn(7, 5, dtype=torch.float64)
        flat.gradient.zero_()
        (mine(x) - x).square().mean().backward()
        descent.step()
        reference.zero_grad()
        (theirs(x) - x).square().mean().backward()
        reference.step()
        for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_fit_is_gradient_descent(momentum, X):
    """Thirty epochs of one batch, against a loop of torch from the same weights."""
    parameters = {**SGD, **PLAIN, "hidden_layer_sizes": (8,), "precision": "float64"}
    fitted = Autoencoder(2, max_iter=30, momentum=momentum, **parameters).fit(X)
    start = Autoencoder(2, max_iter=1, **{**parameters, "learning_rate_init": 1e-300}).fit(X)
    module = start.module_.train()
    x = (torch.from_numpy(X) - module.center) / module.scale
    reference = torch.optim.SGD(module.parameters(), lr=0.05, momentum=momentum)
    for _ in range(30):
        reference.zero_grad()
        (module(x) - x).square().mean().backward()
        reference.step()
    for mine, other in zip(fitted.module_.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_online_and_mini_batch_descent_find_the_principal_subspace(batch_size, X):
    rate = 0.01 if batch_size == 1 else 0.1
    parameters = SGD | PLAIN | {"learning_rate": "one_cycle", "learning_rate_init": rate}
    linear = Autoencoder(
        2, hidden_layer_sizes=(), batch_size=batch_size, max_iter=100, **parameters
    ).fit(X)
    share = PCA(2).fit(X).explained_variance_ratio_.sum()
    assert linear.score(X) == pytest.approx(share, abs=2e-3)
    assert linear.score(X) <= share + 1e-9


def test_weight_decay_shrinks_weights_under_gradient_descent(X):
    free, shrunk = (
        Autoencoder(2, hidden_layer_sizes=(8,), max_iter=30, **PLAIN, **{**SGD, "alpha": alpha})
        for alpha in (0.0, 0.1)
    )
    sizes = [
        sum(
            float(p.detach().square().sum())
            for p in each.fit(X).module_.parameters()
            if p.ndim > 1
        )
        for each in (free, shrunk)
    ]
    assert sizes[1] < 0.95 * sizes[0]


def test_two_fits_in_a_row_equal_one(X):
    once = Autoencoder(2, max_iter=6, batch_size=16, **SGD, **PLAIN).fit(X)
    twice = Autoencoder(2, max_iter=3, batch_size=16, warm_start=True, **SGD, **PLAIN).fit(X)
    assert "velocity" in twice._training_state
    twice.fit(X)
    np.testing.assert_allclose(twice.transform(X), once.transform(X), rtol=1e-9, atol=1e-12)
    forgetful = Autoencoder(2, max_iter=3, batch_size=16, warm_start=True, **SGD, **PLAIN).fit(X)
    forgetful._training_state["velocity"][:] = 0
    assert not np.allclose(forgetful.fit(X).transform(X), once.transform(X), rtol=1e-6)


def test_a_fit_that_was_stopped_goes_on(X, tmp_path, monkeypatch):
    estimator = Autoencoder(2, max_iter=8, **SGD, callbacks=[FitCheckpoint(tmp_path, every=1)])
    expected = clone(estimator).fit(X).transform(X)
    train_epoch, done = AutoencoderNet.train_epoch, []

    def stopping(*given):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(1)
        return train_epoch(*given)

    with monkeypatch.context() as patched:
        patched.setattr(AutoencoderNet, "train_epoch", stopping)
        with pytest.raises(KeyboardInterrupt):
            clone(estimator).fit(X)
    monkeypatch.setattr(
        AutoencoderNet, "train_epoch", lambda *given: (done.append(1), train_epoch(*given))[1]
    )
    again = clone(estimator).fit(X)
    assert len(done) == 8
    np.testing.assert_array_equal(again.transform(X), expected)


def test_another_solver_cannot_go_on(X):
    fitted = Autoencoder(2, max_iter=2, warm_start=True, random_state=0).fit(X)
    with pytest.raises(ValueError, match="solver was changed"):
        fitted.set_params(solver="sgd").fit(X)


def test_momentum_is_one_parameter_of_all_estimators(X):
    machine = RestrictedBoltzmannMachine(4, max_iter=3, random_state=0)
    assert "solver" not in machine.get_params()
    assert machine.get_params()["momentum"] == 0.9
    codes = machine.fit(X).transform(X)
    assert not np.allclose(codes, clone(machine).set_params(momentum=0.0).fit(X).transform(X))
    y = np.arange(60) % 2
    head = StackedAutoencoderClassifier(max_iter=3, random_state=0, fine_tune=False)
    probabilities = [
        clone(head).set_params(**options).fit(X, y).predict_proba(X)
        for options in (
            {},
            {"solver": "sgd"},
            {"solver": "sgd", "momentum": 0.0},
            {"momentum": 0.0},
        )
    ]
    np.testing.assert_array_equal(probabilities[0], probabilities[3])  # Adam has none
    assert not np.allclose(probabilities[0], probabilities[1])
    assert not np.allclose(probabilities[1], probabilities[2])


@pytest.mark.parametrize(
    "parameters", [{"solver": "lbfgs"}, {"momentum": 1.0}, {"momentum": -0.1}]
)
def test_what_is_no_solver_is_refused(parameters, X):
    with pytest.raises(ValueError, match="parameter of Autoencoder must be"):
        Autoencoder(2, **parameters).fit(X)
