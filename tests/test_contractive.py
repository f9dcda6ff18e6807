"""What makes a contractive autoencoder one: the exact norm of its Jacobian, and its fall."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sklearn_ae import ContractiveAutoencoder, DenoisingAutoencoder
from sklearn_ae.networks import DenseNetwork, LSTMNetwork
from sklearn_ae.networks._contractive import encode_with_norm, estimated_norm
from sklearn_ae.networks._layers import differentiable
from sklearn_ae.networks.activations import ACTIVATIONS

SMOOTH = ["silu", "softplus", "gelu", "tanh", "logistic", "identity"]


def _module(hidden, activation, code_activation, n_components=3):
    torch.manual_seed(0)
    contractive = ContractiveAutoencoder(
        n_components,
        hidden_layer_sizes=hidden,
        activation=activation,
        code_activation=code_activation,
    )
    contractive.input_shape_ = (5,)
    return contractive._build_module(5).double()


def _by_autograd(module, x):
    full = torch.autograd.functional.jacobian(lambda row: module.encode(row[None])[0], x[0])
    assert full.shape == (module.n_components, 5)
    return torch.stack(
        [
            torch.autograd.functional.jacobian(lambda row: module.encode(row[None])[0], row)
            .square()
            .sum()
            for row in x
        ]
    )


@pytest.mark.parametrize("code_activation", ["identity", "logistic", "tanh"])
@pytest.mark.parametrize("hidden", [(), (7,), (7, 4), (6, 8, 4)])
@pytest.mark.parametrize("activation", SMOOTH)
def test_norm_equals_the_full_jacobian_of_automatic_differentiation(
    activation, hidden, code_activation
):
    module = _module(hidden, activation, code_activation)
    x = torch.randn(6, 5, dtype=torch.float64)
    torch.testing.assert_close(
        module.encode_with_norm(x)[1], _by_autograd(module, x), rtol=1e-10, atol=0
    )


@pytest.mark.parametrize("hidden", [(4,), (6, 4)])
@pytest.mark.parametrize("activation", SMOOTH)
def test_gradient_of_the_norm_is_that_of_finite_differences(activation, hidden):
    module = _module(hidden, activation, "tanh")
    x = torch.randn(6, 5, dtype=torch.float64)
    module.encode_with_norm(x)[1].sum().backward()
    for layer in module.encoder.layers:
        for place in ((0, 0), (2, 1)):
            norms = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    layer.weight[place] += step
                    norms.append(float(module.encode_with_norm(x)[1].sum()))
                    layer.weight[place] -= step
            slope = (norms[0] - norms[1]) / 2e-5
            assert float(layer.weight.grad[place]) == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_one_logistic_layer_has_the_closed_form():
    module = _module((), "tanh", "logistic", n_components=8)
    x = torch.randn(6, 5, dtype=torch.float64)
    weight, h = module.encoder.layers[0].weight, module.encode(x)
    expected = ((h * (1 - h)).square() * weight.square().sum(1)).sum(1)
    torch.testing.assert_close(module.encode_with_norm(x)[1], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("hidden", [(), (7, 4)])
def test_gradient_of_the_norm_equals_that_of_the_full_jacobian(hidden):
    module = _module(hidden, "tanh", "logistic")
    x = torch.randn(4, 5, dtype=torch.float64)
    parameters = list(module.encoder.parameters())
    ours = torch.autograd.grad(module.encode_with_norm(x)[1].sum(), parameters, allow_unused=True)
    full = sum(
        torch.autograd.functional.jacobian(
            lambda row: module.encode(row[None])[0], row, create_graph=True
        ).square().sum()
        for row in x
    )  # fmt: skip
    expected = torch.autograd.grad(full, parameters, allow_unused=True)
    for got, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-14)


def test_any_encoder_takes_the_general_path():
    module = _module((7, 4), "tanh", "logistic")
    x = torch.randn(6, 5, dtype=torch.float64)
    wrapped = torch.nn.Sequential(module.encoder)
    torch.testing.assert_close(
        encode_with_norm(wrapped, ACTIVATIONS["logistic"], x)[1], module.encode_with_norm(x)[1]
    )


def test_estimate_has_the_norm_as_its_mean():
    module = _module((7,), "tanh", "logistic", n_components=20)
    x = torch.randn(4, 5, dtype=torch.float64)
    torch.manual_seed(0)
    estimate = estimated_norm(module.encode, x, 20_000).detach()
    torch.testing.assert_close(estimate, module.encode_with_norm(x)[1].detach(), rtol=0.03, atol=0)


@pytest.mark.parametrize("n_projections", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_norm_falls_tenfold_at_comparable_reconstruction(n_projections):
    X = load_digits().data
    train, test = X[:1400], X[1400:]
    params = {"hidden_layer_sizes": (64, 64), "max_iter": 60, "random_state": 0}
    free = ContractiveAutoencoder(16, contraction=0.0, **params).fit(train)
    # More flattens further, but reconstructs less: this is well inside both bounds below.
    flat = ContractiveAutoencoder(16, contraction=0.6, n_projections=n_projections, **params).fit(
        train
    )
    fall = np.square(free.jacobian_norm(test)).mean() / np.square(flat.jacobian_norm(test)).mean()
    assert fall > 10
    assert flat.score(test) > free.score(test) - 0.06
    assert "contraction" not in free.history_[-1]
    assert flat.history_[-1]["contraction"] < 0.3 * flat.history_[0]["contraction"]


def test_jacobian_norm_is_in_units_of_the_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4))
    contractive = ContractiveAutoencoder(2, max_iter=20, random_state=0).fit(X)
    step = 1e-6
    for row, norm in zip(X[:3], contractive.jacobian_norm(X[:3]), strict=True):
        moved = contractive.transform(row + step * np.eye(4)) - contractive.transform(
            row - step * np.eye(4)
        )
        assert np.linalg.norm(moved / (2 * step)) == pytest.approx(norm, rel=1e-3)
    scaled = ContractiveAutoencoder(2, max_iter=20, random_state=0).fit(100 * X)
    np.testing.assert_allclose(
        scaled.jacobian_norm(100 * X), contractive.jacobian_norm(X) / 100, rtol=1e-3
    )


def test_given_dense_network_is_the_same_as_its_parameters():
    X = np.random.default_rng(0).normal(size=(100, 4))
    given = ContractiveAutoencoder(
        2, network=DenseNetwork(hidden_layer_sizes=(8,)), max_iter=5, random_state=0
    ).fit(X)
    own = ContractiveAutoencoder(2, hidden_layer_sizes=(8,), max_iter=5, random_state=0).fit(X)
    np.testing.assert_array_equal(given.transform(X), own.transform(X))


# Second derivatives of recurrent layers, which cuDNN lacks


def _with_cudnn(monkeypatch, device):
    """Record whether cuDNN is in use in each forward pass of an LSTM, as on a device."""
    seen = []
    forward = torch.nn.LSTM.forward

    def recorded(self, *args):
        seen.append(torch.backends.cudnn.enabled)
        return forward(self, *args)

    def as_on_device(module, _):
        return differentiable(module, torch.device(device))

    monkeypatch.setattr(torch.nn.LSTM, "forward", recorded)
    monkeypatch.setattr("sklearn_ae.networks._contractive.differentiable", as_on_device)
    monkeypatch.setattr("sklearn_ae.networks._denoising.differentiable", as_on_device)
    return seen


@pytest.mark.parametrize("n_projections", [None, 2])
def test_cudnn_is_not_used_where_an_lstm_is_differentiated_twice(n_projections, monkeypatch):
    network = LSTMNetwork(hidden_size=3)
    options = {"network": network, "n_projections": n_projections, "random_state": 0}
    estimator = ContractiveAutoencoder(2, max_iter=1, early_stopping=False, **options)
    X = np.random.default_rng(0).normal(size=(20, 6))
    expected = estimator.fit(X).jacobian_norm(X)

    seen = _with_cudnn(monkeypatch, "cuda")
    estimator.fit(X)
    assert seen.count(False) == 1  # the encoder, in the only step
    seen.clear()
    np.testing.assert_array_equal(estimator.jacobian_norm(X), expected)
    assert seen == [False]
    assert torch.backends.cudnn.enabled

    seen = _with_cudnn(monkeypatch, "cpu")
    estimator.fit(X)
    assert all(seen)


def test_cudnn_is_not_used_for_draws_of_clean_sequences(monkeypatch):
    X = np.random.default_rng(0).normal(size=(20, 6))
    estimator = DenoisingAutoencoder(2, network=LSTMNetwork(hidden_size=3), max_iter=1)
    estimator.fit(X)
    seen = _with_cudnn(monkeypatch, "cuda")
    estimator.sample(3, random_state=0)
    assert seen[-2:] == [False, False]  # encoder and decoder, differentiated


def test_cudnn_is_used_for_networks_that_are_not_recurrent(monkeypatch):
    def refuse(**_):
        raise AssertionError("cuDNN is disabled")

    monkeypatch.setattr(torch.backends.cudnn, "flags", refuse)
    module = torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3), torch.nn.Linear(3, 2))
    with differentiable(module, torch.device("cuda")):
        assert torch.backends.cudnn.enabled
    with pytest.raises(AssertionError, match="cuDNN is disabled"):
        differentiable(torch.nn.Sequential(torch.nn.GRU(2, 2)), torch.device("cuda"))
