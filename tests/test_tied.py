"""Tied weights: one matrix for both directions, and the energy that they give."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA

from sklearn_ae import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    FitCheckpoint,
    SemanticHashing,
    SparseAutoencoder,
    VariationalAutoencoder,
    load,
    save,
)
from sklearn_ae._estimator.modules import module_from_state, module_to_state
from sklearn_ae._training.optimizer import FlatParameters
from sklearn_ae.networks import DenseNetwork
from sklearn_ae.networks._boltzmann_layer import BoltzmannLayer
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks.activations import ACTIVATIONS

TIED = DenseNetwork(hidden_layer_sizes=(6, 5), tied=True)
SMOOTH = ["identity", "logistic", "tanh", "gelu", "elu"]


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return 3 + 2 * np.tanh(rng.normal(size=(120, 2)) @ rng.normal(size=(2, 7)))


def _assert_tied(module):
    up, down = module.encoder.layers, module.decoder.layers
    for one, other in zip(up, reversed(down), strict=True):
        assert torch.equal(one.weight, other.weight.t())
        assert one.weight.data_ptr() == other.weight.data_ptr()


def _one_layer(activation="logistic", cls=Autoencoder, n_components=4, **parameters):
    network = DenseNetwork(hidden_layer_sizes=(), tied=True, code_activation=activation)
    return cls(n_components, network=network, max_iter=20, random_state=0, **parameters)


@pytest.mark.parametrize(
    "estimator",
    [
        Autoencoder(2),
        Autoencoder(9, input_noise=0.0, early_stopping=False),
        DenoisingAutoencoder(2),
        SparseAutoencoder(10),
        SparseAutoencoder(10, sparsity="topk"),
        ContractiveAutoencoder(2),
        SemanticHashing(8),
    ],
    ids=str,
)
def test_weights_stay_tied_under_every_objective(estimator, X):
    estimator.set_params(network=clone(TIED), max_iter=3, random_state=0)
    if hasattr(estimator, "early_stopping"):  # or the weights before training may be kept
        estimator.set_params(early_stopping=False)
    estimator.fit(X)
    _assert_tied(estimator.module_)
    fresh = clone(estimator).set_params(learning_rate_init=1e-30).fit(X)
    moved = estimator.module_.encoder.layers[0].weight - fresh.module_.encoder.layers[0].weight
    assert moved.abs().max() > 1e-4


def test_shared_weights_are_parameters_once():
    module = AutoencoderModule(TIED, (7,), 3)
    n_weights, n_biases = 7 * 6 + 6 * 5 + 5 * 3, (6 + 5 + 3) + (5 + 6 + 7)
    flat = FlatParameters(module)
    assert len(flat.values) == n_weights + n_biases
    assert flat.n_penalized == n_weights
    _assert_tied(module)
    names = [name for name in module_to_state(module)["arrays"] if "weight" in name]
    assert names == [f"encoder.layers.{number}.weight" for number in range(3)]


def test_gradient_is_the_sum_of_both_directions():
    torch.manual_seed(0)
    module = AutoencoderModule(TIED, (7,), 3).double()
    free = AutoencoderModule(DenseNetwork(hidden_layer_sizes=(6, 5)), (7,), 3).double()
    with torch.no_grad():
        for side in ("encoder", "decoder"):
            pairs = zip(getattr(free, side).layers, getattr(module, side).layers, strict=True)
            for one, other in pairs:
                one.weight.copy_(other.weight)
                one.bias.copy_(other.bias)
    x = torch.randn(9, 7, dtype=torch.float64)
    for each in (module, free):
        (each(x) - x).square().mean().backward()
    torch.testing.assert_close(module(x), free(x), rtol=1e-12, atol=1e-12)
    layers = zip(
        module.encoder.layers, free.encoder.layers, reversed(free.decoder.layers), strict=True
    )
    for tied, up, down in layers:
        torch.testing.assert_close(tied.weight.grad, up.weight.grad + down.weight.grad.t())


@pytest.mark.parametrize("n_components", [2, 300])
def test_start_has_the_size_for_both_directions(n_components):
    torch.manual_seed(0)
    module = AutoencoderModule(_one_layer("tanh").network, (50,), n_components)
    largest = module.encoder.layers[0].weight.abs().max().item()
    limit = (6 / (50 + n_components)) ** 0.5
    assert 0.9 * limit < largest <= limit


def test_tied_weights_travel(X, tmp_path):
    fitted = _one_layer().fit(X)
    save(fitted, tmp_path / "model")
    copies = {
        "pickle": pickle.loads(pickle.dumps(fitted)),
        "deepcopy": copy.deepcopy(fitted),
        "file": load(tmp_path / "model"),
    }
    for way, again in copies.items():
        _assert_tied(again.module_)
        np.testing.assert_array_equal(again.energy(X), fitted.energy(X), err_msg=way)
        np.testing.assert_array_equal(again.reconstruct(X), fitted.reconstruct(X), err_msg=way)
    module = module_from_state(module_to_state(fitted.module_)).to(torch.float32)
    _assert_tied(module)


def test_training_goes_on_with_tied_weights(X, tmp_path):
    fitted = _one_layer(warm_start=True).fit(X)
    before = fitted.module_.encoder.layers[0].weight.detach().clone()
    fitted.set_params(max_iter=2).fit(X)
    _assert_tied(fitted.module_)
    assert not torch.equal(before, fitted.module_.encoder.layers[0].weight)
    fitted.partial_fit(X)
    _assert_tied(fitted.module_)
    checkpoint = FitCheckpoint(tmp_path, every=1)
    _assert_tied(_one_layer(callbacks=[checkpoint]).fit(X).module_)


def test_linear_tied_autoencoder_finds_the_principal_subspace(X):
    # Of W^T (W x + b) + c the optimum is the projection on the first axes (Baldi and Hornik).
    fitted = _one_layer(
        "identity", n_components=2, input_noise=0.0, alpha=0.0, early_stopping=False
    ).set_params(max_iter=500, learning_rate_init=0.02)
    share = PCA(2).fit(X).explained_variance_ratio_.sum()
    assert fitted.fit(X).score(X) == pytest.approx(share, abs=1e-4)
    weight = fitted.module_.encoder.layers[0].weight.detach().double().numpy()
    np.testing.assert_allclose(weight @ weight.T, np.eye(2), atol=0.01)


def test_no_linear_map_is_added_to_tied_networks_or_bent_codes(X):
    for network in (TIED, DenseNetwork(code_activation="tanh")):
        fitted = Autoencoder(2, network=network, init="pca", max_iter=2, random_state=0).fit(X)
        assert fitted.module_.encoder.shortcut is None
        free = clone(fitted).set_params(init="random").fit(X)
        np.testing.assert_array_equal(fitted.transform(X), free.transform(X))


@pytest.mark.parametrize("activation", ["logistic", "relu", "tanh", "silu", "softplus"])
def test_code_goes_through_its_activation(activation, X):
    network = DenseNetwork(hidden_layer_sizes=(6,), code_activation=activation)
    fitted = Autoencoder(3, network=network, max_iter=2, random_state=0).fit(X)
    module = fitted.module_
    x = (torch.from_numpy(X) - module.center) / module.scale
    with torch.no_grad():
        first, last = module.encoder.layers
        expected = ACTIVATIONS[activation].forward(last(first(x).tanh()))
    np.testing.assert_allclose(fitted.transform(X), expected, rtol=1e-12, atol=1e-12)


def test_pairs_that_make_no_sense_are_refused(X):
    with pytest.raises(ValueError, match="tied=True needs an encoder .* returns 4 values"):
        VariationalAutoencoder(2, network=TIED, max_iter=1).fit(X)
    bent = DenseNetwork(code_activation="logistic")
    for cls in (ContractiveAutoencoder, SparseAutoencoder, VariationalAutoencoder):
        with pytest.raises(ValueError, match="leave code_activation='identity'"):
            cls(2, network=bent, max_iter=1).fit(X)


# Energy


def _gradient(energy, x, step=1e-4):
    columns = [
        (energy(x + step * unit) - energy(x - step * unit)) / (2 * step)
        for unit in np.eye(x.shape[1])
    ]
    return np.stack(columns, 1)


@pytest.mark.parametrize("cls", [Autoencoder, DenoisingAutoencoder])
@pytest.mark.parametrize("activation", [*SMOOTH, "relu"])
def test_gradient_of_the_energy_is_what_reconstruction_adds(activation, cls, X):
    fitted = _one_layer(activation, cls).fit(X)
    x = np.concatenate([X[:20], X.mean(0) + 10 * np.random.default_rng(1).normal(size=(20, 7))])
    if activation == "relu":  # differences do not see a kink between their ends
        module = fitted.module_
        pre = module.encoder.layers[0]((torch.from_numpy(x) - module.center) / module.scale)
        x = x[(pre.abs() > 1e-3).all(1).numpy()]
        assert len(x) > 20
    np.testing.assert_allclose(
        _gradient(fitted.energy, x), fitted.reconstruct(x) - x, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("activation", [*SMOOTH, "relu", "leaky_relu"])
def test_integrals_are_those_of_the_activations(activation):
    pre = torch.linspace(-40, 40, 2001, dtype=torch.float64, requires_grad=True)
    integral = ACTIVATIONS[activation].integral(pre)
    (slope,) = torch.autograd.grad(integral.sum(), pre)
    expected = ACTIVATIONS[activation].forward(pre)
    torch.testing.assert_close(slope, expected, rtol=1e-12, atol=1e-13)


def test_energy_of_logistic_units_is_minus_the_free_energy_of_a_boltzmann_machine(X):
    """Vincent (2011), section 4: the same field as that of a Gaussian-Bernoulli RBM."""
    fitted = _one_layer("logistic").fit(X)
    module = fitted.module_
    layer = module.encoder.layers[0]
    machine = BoltzmannLayer(
        layer.weight, layer.bias, module.decoder.layers[0].bias, visible="gaussian"
    )
    with torch.no_grad():
        free = machine.free_energy((torch.from_numpy(X) - module.center) / module.scale)
    scale = float(module.scale)
    np.testing.assert_allclose(fitted.energy(X), -(scale**2) * free.numpy(), rtol=1e-10)


def test_energy_is_higher_where_the_data_are(X):
    fitted = _one_layer("logistic", DenoisingAutoencoder, n_components=20).fit(X)
    far = X + 4 * np.random.default_rng(0).normal(size=X.shape)
    assert (fitted.energy(X).mean() > fitted.energy(far)).mean() > 0.95
    assert fitted.energy(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("network", "parameters", "message"),
    [
        (None, {}, "needs tied weights and no hidden layer"),
        (TIED, {}, "needs tied weights and no hidden layer"),
        (DenseNetwork(hidden_layer_sizes=()), {}, "needs tied weights and no hidden layer"),
        (_one_layer("silu").network, {}, "whose integral has a closed form"),
        (_one_layer().network, {"loss": "poisson"}, "needs a linear output"),
    ],
)
def test_estimators_without_an_energy_say_why(network, parameters, message, X):
    fitted = Autoencoder(2, network=network, max_iter=1, random_state=0, **parameters)
    with pytest.raises(ValueError, match=message):
        fitted.fit(np.abs(X)).energy(X)
