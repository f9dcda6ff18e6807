"""Outputs that go through a non-linearity before the loss."""

import pickle

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

from sklearn_ae import (
    Autoencoder,
    ContractiveAutoencoder,
    ConvolutionalAutoencoder,
    DenoisingAutoencoder,
    LSTMAutoencoder,
    SemanticHashing,
    SparseAutoencoder,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    load,
    save,
    to_onnx,
)
from sklearn_ae.losses import LOSSES, OUTPUT_ACTIVATIONS, get_loss
from sklearn_ae.networks import DenseNetwork

RANGES = {"logistic": (0, 1), "tanh": (-1, 1), "relu": (0, np.inf), "softplus": (0, np.inf)}
BY_TORCH = {
    "logistic": torch.nn.Sigmoid(),
    "tanh": torch.nn.Tanh(),
    "relu": torch.nn.ReLU(),
    "softplus": torch.nn.Softplus(),
}
FREE = [name for name in LOSSES if LOSSES[name].scaled]
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return 1 / (1 + np.exp(-2 * rng.normal(size=(90, 2)) @ rng.normal(size=(2, 6))))


@pytest.mark.parametrize("activation", OUTPUT_ACTIVATIONS)
@pytest.mark.parametrize("name", [*FREE, "callable"])
def test_loss_is_that_of_the_activated_output(name, activation):
    plain = (lambda o, t: (o - t).pow(4).mean(1)) if name == "callable" else name
    loss, bare = get_loss(plain, activation), get_loss(plain)
    generator = torch.Generator().manual_seed(0)
    draw = {"dtype": torch.float64, "generator": generator}
    output = (3 * torch.randn(8, 5, **draw)).requires_grad_()
    target = torch.rand(8, 5, **draw)
    value = bare.value(BY_TORCH[activation](output), target)
    torch.testing.assert_close(loss.value(output, target), value)
    torch.testing.assert_close(loss.mean(output), BY_TORCH[activation](output))
    value.sum().backward()
    if name == "callable":
        assert loss.gradient is None
    else:
        by_hand = loss.gradient(output.detach(), target)
        torch.testing.assert_close(by_hand, output.grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("activation", OUTPUT_ACTIVATIONS)
def test_ranges_and_inverses_are_those_of_the_activation(activation):
    loss = get_loss("squared_error", activation)
    assert (loss.lower, loss.upper) == RANGES[activation]
    assert not loss.scaled
    inside = torch.linspace(-0.9 if activation == "tanh" else 0.05, 0.95, 9, dtype=torch.float64)
    torch.testing.assert_close(loss.mean(loss.link(inside)), inside)
    ends = loss.link(torch.tensor([loss.lower, min(loss.upper, 1e6)]))
    assert ends.isfinite().all()
    assert loss.mean(torch.tensor(loss.zero)).abs() < 1e-12


@pytest.mark.parametrize("activation", OUTPUT_ACTIVATIONS)
@pytest.mark.parametrize("name", FREE)
def test_training_loss_is_computed_on_the_data_as_they_are(name, activation, X):
    fitted = Autoencoder(
        3, loss=name, output_activation=activation, init="random", input_noise=0.0, alpha=0.0,
        early_stopping=False, learning_rate_init=1e-30, **SMALL,
    ).fit(X)  # fmt: skip
    module = fitted.module_
    assert module.scale == 1
    assert not module.center.any()
    with torch.no_grad():
        output = BY_TORCH[activation](module(torch.from_numpy(X)))
    expected = LOSSES[name].value(output, torch.from_numpy(X)).mean()
    assert fitted.loss_ == pytest.approx(expected.item(), rel=1e-9)
    np.testing.assert_allclose(fitted.reconstruct(X), output, rtol=1e-12)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_sigmoid_outputs_learn_images(loss):
    pixels = load_digits().data[:600] / 16
    fitted = Autoencoder(
        16, loss=loss, output_activation="logistic", max_iter=60, random_state=0
    ).fit(pixels[:500])
    assert fitted.score(pixels[500:]) > 0.6
    drawn = fitted.sample(200, random_state=0)
    for values in (fitted.reconstruct(pixels), drawn):
        assert values.min() >= 0
        assert values.max() <= 1


@pytest.mark.parametrize(
    "estimator",
    [
        SparseAutoencoder(8, **SMALL),
        DenoisingAutoencoder(2, **SMALL),
        DenoisingAutoencoder(2, noise="masking", **SMALL),
        ContractiveAutoencoder(2, **SMALL),
        ConvolutionalAutoencoder(2, channels=(3,), max_iter=3, random_state=0),
        SemanticHashing(8, **SMALL),
        StackedAutoencoder(2, pretraining_max_iter=2, **SMALL),
        StackedAutoencoder(
            2, pretraining="rbm", activation="logistic", pretraining_max_iter=2, **SMALL
        ),
    ],
    ids=str,
)
def test_every_objective_takes_it(estimator, X, tmp_path):
    fitted = clone(estimator).set_params(output_activation="logistic").fit(X)
    codes = fitted.transform(X)
    with torch.no_grad():
        output = fitted.module_.double().decode(torch.from_numpy(codes))
    np.testing.assert_allclose(fitted.inverse_transform(codes), output.sigmoid(), rtol=1e-9)
    drawn = fitted.sample(20, random_state=0)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    save(fitted, tmp_path / "model")
    for again in (load(tmp_path / "model"), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(again.reconstruct(X), fitted.reconstruct(X))


def test_ragged_sequences_have_no_error_where_they_have_ended():
    sequences = np.random.default_rng(0).uniform(-0.9, 0.9, size=(30, 6))
    sequences[::2, 4:] = np.nan
    for activation in ("tanh", "logistic"):
        data = sequences if activation == "tanh" else np.abs(sequences)
        fitted = LSTMAutoencoder(
            2, hidden_size=4, output_activation=activation, early_stopping=False, max_iter=1,
            learning_rate_init=1e-30, random_state=0,
        ).fit(data)  # fmt: skip
        errors = np.square(fitted.reconstruct(data) - data)
        assert fitted.loss_ == pytest.approx(np.nan_to_num(errors).mean(), rel=1e-5)


def test_classifier_on_such_an_autoencoder_reconstructs(X):
    stack = StackedAutoencoder(2, output_activation="logistic", pretraining_max_iter=2, **SMALL)
    classifier = StackedAutoencoderClassifier(
        autoencoder=stack, reconstruction_weight=0.5, max_iter=3, random_state=0
    )
    classifier.fit(X, np.arange(90) % 2)
    assert classifier.predict(X).shape == (90,)
    with pytest.raises(ValueError, match="output_activation='logistic'"):
        clone(classifier).fit(X + 1, np.arange(90) % 2)


def test_exported_models_end_with_the_activation(X):
    X = X.astype(np.float32)
    for activation in OUTPUT_ACTIVATIONS:
        fitted = Autoencoder(2, output_activation=activation, **SMALL).fit(X)
        for method in ("reconstruct", "score_samples"):
            model = to_onnx(fitted, method)
            session = onnxruntime.InferenceSession(model.SerializeToString())
            (result,) = session.run(None, {session.get_inputs()[0].name: X})
            np.testing.assert_allclose(result, getattr(fitted, method)(X), atol=1e-4)


def test_fitted_estimators_keep_the_activation_that_they_were_fitted_with(X):
    fitted = Autoencoder(2, output_activation="logistic", warm_start=True, **SMALL).fit(X)
    expected = fitted.reconstruct(X)
    fitted.set_params(output_activation="tanh")
    np.testing.assert_array_equal(fitted.reconstruct(X), expected)
    with pytest.raises(ValueError, match="output_activation was changed from 'logistic'"):
        fitted.fit(X)


@pytest.mark.parametrize(
    ("parameters", "factor", "message"),
    [
        ({"output_activation": "logistic"}, 2, r"output_activation='logistic'"),
        ({"output_activation": "relu"}, -1, r"output_activation='relu'"),
        ({"output_activation": "tanh"}, -2, r"output_activation='tanh'"),
        ({"output_activation": "logistic", "loss": "poisson"}, 1, "activation of its own"),
        ({"output_activation": "silu"}, 1, "'output_activation' parameter of Autoencoder"),
    ],
)
def test_data_and_losses_that_do_not_fit_are_refused(parameters, factor, message, X):
    with pytest.raises(ValueError, match=message):
        Autoencoder(2, **parameters, **SMALL).fit(factor * X)


def test_what_needs_a_linear_output_says_so(X):
    layer = DenseNetwork(hidden_layer_sizes=(), tied=True)
    denoiser = DenoisingAutoencoder(
        2, network=layer, output_activation="logistic", max_iter=1, random_state=0
    ).fit(X)
    with pytest.raises(ValueError, match="score_field needs .* without an output_activation"):
        denoiser.score_field(X)
    with pytest.raises(ValueError, match="energy needs a linear output"):
        denoiser.energy(X)
    stack = StackedAutoencoder(
        2, pretraining="rbm", activation="logistic", output_activation="relu", **SMALL
    )
    with pytest.raises(ValueError, match="requires Gaussian or logistic visible units"):
        stack.fit(X)
