"""Tests on a CUDA device, which pytest collects only by name. Run::

    make test-gpu
    SKLEARN_AE_DEVICE=cpu .venv/bin/python -m pytest tests/on_cuda.py  # the tests themselves

Without a device all are skipped. The draws of a device differ from those of the CPU, so that only
fits without draws on the device are compared value by value.
"""

import os

import numpy as np
import pytest
import sklearn
import torch
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, name_of
from sklearn.base import clone
from skorch.callbacks import Callback

from sklearn_ae import (
    Autoencoder,
    AutoencoderImputer,
    AutoencoderOutlierDetector,
    ContractiveAutoencoder,
    ConvolutionalAutoencoder,
    DenoisingAutoencoder,
    FitCheckpoint,
    LSTMAutoencoder,
    SparseAutoencoder,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    UNetAutoencoder,
    VariationalAutoencoder,
    load,
    save,
    to_onnx,
)
from sklearn_ae._training import batches
from sklearn_ae.networks import LSTMNetwork

DEVICE = os.environ.get("SKLEARN_AE_DEVICE", "cuda")

pytestmark = [
    pytest.mark.skipif(
        DEVICE.startswith("cuda") and not torch.cuda.is_available(),
        reason="There is no CUDA device.",
    ),
    # The parameters of a fit are one vector, in another order than cuDNN's: it copies them.
    pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous"),
]

X = np.random.default_rng(0).normal(size=(150, 3)) @ np.random.default_rng(1).normal(size=(3, 12))
X += 0.1 * np.random.default_rng(2).normal(size=X.shape)
y = (X[:, 0] > 0).astype(int)


def _on(device, estimator, **params):
    return clone(estimator).set_params(device=device, random_state=0, **params)


def _type_of(fitted):
    return fitted.module_.center.device.type


# Training in float64 without draws on the device: values differ by rounding alone.

SMALL = {"hidden_layer_sizes": (8,)}
WITHOUT_DRAWS = [
    Autoencoder(2, **SMALL),
    Autoencoder(2, solver="sgd", early_stopping=False, **SMALL),
    Autoencoder(2, loss="huber", **SMALL),
    Autoencoder(2, loss=lambda output, target: (output - target).square().mean(1), **SMALL),
    SparseAutoencoder(6, **SMALL),
    ContractiveAutoencoder(2, **SMALL),
    ContractiveAutoencoder(2, network=LSTMNetwork(hidden_size=4)),
    StackedAutoencoder(2, pretraining=None, **SMALL),
    ConvolutionalAutoencoder(2, channels=(3,)),
    UNetAutoencoder(2, channels=(2, 3)),
    LSTMAutoencoder(2, hidden_size=4),
]


def _exact_on(device, estimator, **params):
    """Return a copy that trains in float64 and draws nothing but its initial weights."""
    wanted = {"init": "random", "input_noise": 0.0, "precision": "float64", "max_iter": 4}
    accepted = estimator.get_params()
    params |= {name: value for name, value in wanted.items() if name in accepted}
    return _on(device, estimator, **params)


@pytest.mark.parametrize("batch_size", [32, 200])
@pytest.mark.parametrize("estimator", WITHOUT_DRAWS, ids=name_of)
def test_fits_equal_those_of_the_cpu(estimator, batch_size):
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    fitted, expected = (
        _exact_on(device, estimator, batch_size=batch_size).fit(X, sample_weight=weight)
        for device in (DEVICE, "cpu")
    )
    assert _type_of(fitted) == torch.device(DEVICE).type
    np.testing.assert_allclose(fitted.loss_curve_, expected.loss_curve_, rtol=1e-6)
    np.testing.assert_allclose(fitted.transform(X), expected.transform(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fitted.reconstruct(X), expected.reconstruct(X), atol=1e-5)
    assert fitted.score(X) == pytest.approx(expected.score(X), abs=1e-6)


@pytest.mark.parametrize("estimator", WITHOUT_DRAWS[:2], ids=name_of)
def test_streamed_batches_give_the_fit_of_cached_ones(estimator, monkeypatch):
    cached = _exact_on(DEVICE, estimator, batch_size=16).fit(X)
    monkeypatch.setattr(batches, "cache_limit", lambda device: -1)
    streamed = _exact_on(DEVICE, estimator, batch_size=16).fit(X)
    np.testing.assert_allclose(streamed.transform(X), cached.transform(X), rtol=1e-9, atol=1e-9)


# Everything else runs there, and its methods give what the same model gives on the CPU.


@pytest.mark.parametrize("instance", INSTANCES, ids=name_of)
def test_every_autoencoder_fits_and_gives_what_its_copy_gives_on_the_cpu(instance, tmp_path):
    Z = np.abs(X) / np.abs(X).max()  # in the range of every loss
    fitted = _on(DEVICE, instance).fit(Z)
    assert _type_of(fitted) == torch.device(DEVICE).type
    save(fitted, tmp_path / "model")
    there, here = load(tmp_path / "model"), load(tmp_path / "model", device="cpu")
    assert _type_of(there) == torch.device(DEVICE).type
    assert _type_of(here) == "cpu"
    codes = fitted.transform(Z)
    np.testing.assert_array_equal(there.transform(Z), codes)
    if getattr(fitted, "precision", "") != "bfloat16":
        np.testing.assert_allclose(here.transform(Z), codes, rtol=1e-3, atol=1e-3)
        assert here.score(Z) == pytest.approx(fitted.score(Z), abs=1e-3)


@pytest.mark.parametrize("instance", SUPERVISED, ids=name_of)
def test_supervised_stacks(instance):
    fitted = _on(DEVICE, instance).fit(X, y)
    assert fitted.predict(X).shape == y.shape
    assert fitted.score(X, y) > 0.5


@pytest.mark.parametrize("instance", OUTLIER_DETECTORS, ids=name_of)
def test_outlier_detectors(instance):
    detector = clone(instance).set_params(random_state=0)
    names = [name for name in detector.get_params() if name.endswith("device")]
    detector.set_params(**dict.fromkeys(names, DEVICE)).fit(X)
    strange = X + 20 * np.random.default_rng(0).normal(size=X.shape)
    assert detector.score_samples(X).mean() > detector.score_samples(strange).mean()
    assert (detector.predict(strange) == -1).mean() > 0.9


def test_detector_without_an_autoencoder():
    assert AutoencoderOutlierDetector(n_estimators=2, random_state=0).fit(X).predict(X).size == 150


def test_imputer():
    missing = X.copy()
    missing[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    autoencoder = Autoencoder(3, device=DEVICE, max_iter=5)
    imputed = AutoencoderImputer(autoencoder, random_state=0).fit_transform(missing)
    lost = np.isnan(missing)
    assert np.isfinite(imputed).all()
    error = np.square(imputed - X)[lost].mean()
    assert error < 0.5 * np.square(np.nanmean(missing, 0) - X)[lost].mean()


# What surrounds a fit


def test_partial_fit_goes_on_where_it_was():
    fitted = _on(DEVICE, Autoencoder(2, init="random"), batch_size=32)
    for _ in range(40):
        fitted.partial_fit(X)
    assert _type_of(fitted) == torch.device(DEVICE).type
    assert fitted.loss_curve_[-1] < 0.5 * fitted.loss_curve_[0]


class Interrupts(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 4:
            raise KeyboardInterrupt


def test_a_fit_resumes_from_its_checkpoint(tmp_path):
    options = {"max_iter": 6, "learning_rate": "constant", "early_stopping": False}
    whole = _on(DEVICE, Autoencoder(2), **options).fit(X)
    checkpoint = FitCheckpoint(tmp_path, every=1, version=1)
    with pytest.raises(KeyboardInterrupt):
        _on(DEVICE, Autoencoder(2), callbacks=[Interrupts(), checkpoint], **options).fit(X)
    resumed = _on(DEVICE, Autoencoder(2), callbacks=[checkpoint], **options).fit(X)
    np.testing.assert_allclose(resumed.loss_curve_, whole.loss_curve_, rtol=1e-6)
    np.testing.assert_allclose(resumed.transform(X), whole.transform(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("estimator", [VariationalAutoencoder(2), DenoisingAutoencoder(2)])
def test_equal_seeds_draw_equal_numbers(estimator):
    one, two = (_on(DEVICE, estimator, max_iter=3).fit(X) for _ in range(2))
    np.testing.assert_allclose(one.transform(X), two.transform(X), rtol=1e-3, atol=1e-4)
    drawn = [model.sample(5, random_state=0) for model in (one, two)]
    np.testing.assert_allclose(*drawn, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("method", ["transform", "reconstruct", "score_samples"])
def test_export_of_a_model_on_the_device(method):
    from onnxruntime import InferenceSession

    fitted = _on(DEVICE, Autoencoder(2), max_iter=3).fit(X.astype(np.float32))
    session = InferenceSession(to_onnx(fitted, method).SerializeToString())
    (result,) = session.run(None, {"X": X.astype(np.float32)})
    expected = getattr(fitted, method)(X.astype(np.float32))
    np.testing.assert_allclose(result.squeeze(), expected.squeeze(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_on_the_device(dtype):
    data = torch.from_numpy(X).to(DEVICE, dtype)
    with sklearn.config_context(array_api_dispatch=True):
        fitted = Autoencoder(2, max_iter=3, random_state=0).fit(data)  # device="auto"
        codes, score = fitted.transform(data), fitted.score(data)
    assert _type_of(fitted) == torch.device(DEVICE).type
    assert codes.device.type == torch.device(DEVICE).type
    assert codes.dtype == dtype
    assert np.isfinite(score)
    np.testing.assert_allclose(
        codes.cpu().numpy(), fitted.transform(X.astype(np.float32)), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("n_projections", [None, 1])
def test_derivatives_of_recurrent_encoders(n_projections):
    network = LSTMNetwork(hidden_size=4)
    options = {"network": network, "n_projections": n_projections, "max_iter": 2}
    fitted = _on(DEVICE, ContractiveAutoencoder(2, **options)).fit(X)
    assert (fitted.jacobian_norm(X) > 0).all()


def test_clean_sequences_are_drawn():
    network = LSTMNetwork(hidden_size=4)
    fitted = _on(DEVICE, DenoisingAutoencoder(2, network=network, max_iter=2)).fit(X)
    assert np.isfinite(fitted.sample(4, random_state=0)).all()


def test_classifier_with_tensors_on_the_device():
    data = torch.from_numpy(X).to(DEVICE)
    with sklearn.config_context(array_api_dispatch=True):
        classifier = StackedAutoencoderClassifier(
            hidden_layer_sizes=(8,), pretraining_max_iter=2, max_iter=10, random_state=0
        ).fit(data, torch.from_numpy(y).to(DEVICE))
        predicted = classifier.predict(data)
    assert _type_of(classifier.autoencoder_) == torch.device(DEVICE).type
    assert (torch.as_tensor(predicted).cpu().numpy() == y).mean() > 0.6
