"""Sentinels: finite values on which arithmetic would overflow."""

import functools

import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, name_of
from sklearn.base import clone
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    ConvolutionalAutoencoder,
    LSTMAutoencoder,
    StackedAutoencoderClassifier,
    UNetAutoencoder,
    VariationalAutoencoder,
    to_onnx,
)
from sklearn_ae._onnx.methods import methods_of
from sklearn_ae._training.reach import FARTHEST
from sklearn_ae.networks import DenseNetwork

FLT_MAX, DBL_MAX = (float(np.finfo(dtype).max) for dtype in (np.float32, np.float64))
pytestmark = pytest.mark.usefixtures("few_temperatures")

SENTINELS = pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.float32, FLT_MAX),
        (np.float32, -FLT_MAX),
        (np.float64, FLT_MAX),
        (np.float64, 1e200),
        (np.float64, DBL_MAX),
        (np.float64, -DBL_MAX),
    ],
)
PLACE = 3
"""Number of the sample that has a sentinel."""

rng = np.random.default_rng(0)
train, some = rng.uniform(size=(60, 6)), rng.uniform(size=(7, 6))
labels = (train[:, 0] > 0.5).astype(int)

TIED = DenseNetwork(hidden_layer_sizes=(), tied=True, code_activation="logistic")
FEW = {"hidden_layer_sizes": (8, 4), "pretraining_max_iter": 3, "max_iter": 5}
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 5}
EVERY = [
    *INSTANCES,
    Autoencoder(network=TIED, max_iter=5),
    Autoencoder(loss="poisson", **SMALL),
    Autoencoder(loss="absolute_error", output_activation="softplus", **SMALL),
    VariationalAutoencoder(likelihood="bernoulli", **SMALL),
    VariationalAutoencoder(likelihood="bernoulli", binarize=True, **SMALL),
    *SUPERVISED,
    StackedAutoencoderClassifier(head=KNeighborsClassifier(3), fine_tune=False, **FEW),
    *OUTLIER_DETECTORS,
]

FINITE = {
    "transform": lambda e, X: e.transform(X),
    "reconstruct": lambda e, X: e.reconstruct(X),
    "interpolate": lambda e, X: e.interpolate(X, np.repeat(X[:1], len(X), axis=0), 3),
    "transform_layer": lambda e, X: e.transform_layer(X, 1),
    "posterior": lambda e, X: np.hstack(e.posterior(X)),
    "jacobian_norm": lambda e, X: e.jacobian_norm(X),
    "score_field": lambda e, X: e.score_field(X),
    "energy": lambda e, X: e.energy(X),
    "gibbs": lambda e, X: e.gibbs(X, random_state=0),
    "kneighbors": lambda e, X: np.hstack(e.kneighbors(X)),
    "predict": lambda e, X: e.predict(X),
    "predict_proba": lambda e, X: e.predict_proba(X),
    "decision_function": lambda e, X: e.decision_function(X),
    "explain": lambda e, X: e.explain(X),
    "p_values": lambda e, X: e.p_values(X),
}
"""Methods whose results are finite for every sample."""

LOWEST = {
    "score_samples": lambda e, X: e.score_samples(X),
    "free_energy": lambda e, X: -e.free_energy(X),
}
"""Methods whose results are ``-inf`` for a sample with a sentinel."""

_fitted = {}


def fitted(estimator):
    name = name_of(estimator)
    if name not in _fitted:
        _fitted[name] = clone(estimator).set_params(random_state=0).fit(train, labels)
    return _fitted[name]


@functools.cache
def without_sentinel(estimator, method, dtype):
    """Results of samples as they are, once for all sentinels."""
    return (FINITE | LOWEST)[method](estimator, some.astype(dtype))


def with_sentinel(dtype, value):
    X = some.astype(dtype)
    X[PLACE, 2] = value
    return X


def has(estimator, method):
    if not hasattr(estimator, method):
        return False
    if method == "energy":
        return TIED.get_params() == getattr(estimator.network, "get_params", dict)()
    return method != "score_field" or estimator._has_score()


def every(instances):
    return pytest.mark.parametrize("estimator", instances, ids=name_of)


def assert_others_unchanged(result, expected, dtype):
    """Detectors and greedy trees compute other samples together: results differ by rounding."""
    result, expected = (np.delete(np.asarray(r), PLACE, axis=0) for r in (result, expected))
    atol = 100 * np.finfo(dtype).eps * np.abs(expected).max()
    np.testing.assert_allclose(result, expected, rtol=0, atol=atol)


@SENTINELS
@every(EVERY)
def test_a_sentinel_in_one_sample(estimator, dtype, value):
    """Every method: finite, or the lowest score; the other samples' results do not change."""
    estimator = fitted(estimator)
    X = with_sentinel(dtype, value)
    lowest = dict(LOWEST)
    if isinstance(estimator, AutoencoderOutlierDetector):
        lowest["decision_function"] = FINITE["decision_function"]
    for method, call in (FINITE | lowest).items():
        if not has(estimator, method):
            continue
        result = call(estimator, X)
        assert not np.isnan(result).any(), method
        if method in lowest:
            assert result[PLACE] == -np.inf, method
            result = np.delete(result, PLACE)
            assert np.isfinite(result).all(), method
            result = np.insert(result, PLACE, 0)
        assert np.isfinite(result).all(), method
        assert_others_unchanged(result, without_sentinel(estimator, method, dtype), dtype)
    if hasattr(estimator, "reconstruct"):
        assert -np.inf < estimator.score(X) <= 1


@SENTINELS
@every([e for e in EVERY if isinstance(e, StackedAutoencoderClassifier)])
def test_probabilities_of_a_sentinel(estimator, dtype, value):
    X = with_sentinel(dtype, value)
    proba = fitted(estimator).predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(
            fitted(estimator).predict_log_proba(X).clip(-700), np.log(proba).clip(-700), atol=1e-6
        )


@SENTINELS
@every(OUTLIER_DETECTORS)
def test_a_sentinel_is_an_outlier(estimator, dtype, value):
    detector, X = fitted(estimator), with_sentinel(dtype, value)
    assert detector.predict(X)[PLACE] == -1
    assert detector.p_values(X)[PLACE] == pytest.approx(1 / (len(train) + 1))
    assert detector.decision_function(X)[PLACE] == -np.inf
    np.testing.assert_allclose(detector.explain(X).sum(axis=1), 1)
    assert detector.predict(X[PLACE:][:1]) == -1
    with pytest.raises(ValueError, match="as large as .*; rescale X"):
        clone(detector).fit(X)


@pytest.mark.parametrize("make", [sp.csr_array, pd.DataFrame, pl.DataFrame, torch.from_numpy])
@every(
    [
        Autoencoder(**SMALL),
        OUTLIER_DETECTORS[0],
        OUTLIER_DETECTORS[2],
        AutoencoderOutlierDetector(
            make_pipeline(MaxAbsScaler(), Autoencoder(1, **SMALL)), n_estimators=2
        ),
    ]
)
def test_a_sentinel_in_any_container(estimator, make):
    if make is pl.DataFrame:
        make = lambda X: pl.DataFrame(X, schema=list("abcdef"))  # noqa: E731
    X = with_sentinel(np.float64, DBL_MAX)
    estimator = clone(estimator).set_params(random_state=0).fit(make(train))
    scores = estimator.score_samples(make(X))
    assert np.flatnonzero(scores == -np.inf).tolist() == [PLACE]
    if hasattr(estimator, "explain"):
        assert np.isfinite(np.asarray(estimator.explain(make(X)))).all()
    else:
        assert np.isfinite(estimator.transform(make(X))).all()


def test_extended_precision():
    X = with_sentinel(np.longdouble, np.finfo(np.longdouble).max)
    estimator = fitted(Autoencoder(**SMALL))
    assert np.isfinite(estimator.transform(X)).all()
    assert np.flatnonzero(estimator.score_samples(X) == -np.inf).tolist() == [PLACE]


@pytest.mark.parametrize("value", [FLT_MAX, DBL_MAX])
def test_a_sentinel_in_a_sequence_and_in_an_image(value):
    sequences = [train[k, : 1 + k % 6] for k in range(60)]
    lstm = LSTMAutoencoder(hidden_size=4, max_iter=2, random_state=0).fit(sequences)
    sequences[PLACE] = np.full(4, value)
    scores = lstm.score_samples(sequences)
    assert np.flatnonzero(scores == -np.inf).tolist() == [PLACE]
    assert np.isfinite(lstm.transform(sequences)).all()

    images = train.reshape(-1, 3, 2)
    network = ConvolutionalAutoencoder(None, channels=(2,), max_iter=2, random_state=0).fit(images)
    wide = np.tile(images[:7], 3)
    wide[PLACE, 1, 1] = value
    assert np.flatnonzero(network.score_samples(wide) == -np.inf).tolist() == [PLACE]
    assert np.isfinite(network.reconstruct(wide)).all()


@pytest.mark.parametrize("value", [FLT_MAX, DBL_MAX])
def test_a_sentinel_in_a_target(value):
    unet = UNetAutoencoder(channels=(2,), max_iter=2, random_state=0).fit(train, train / 2)
    targets = some / 2
    targets[PLACE, 1] = value
    assert -np.inf < unet.score(some, targets) <= 1


@SENTINELS
@every(INSTANCES)
def test_a_sentinel_among_codes(estimator, dtype, value):
    estimator = fitted(estimator)
    codes = estimator.transform(some.astype(dtype))
    expected = estimator.inverse_transform(codes)
    codes[PLACE, -1] = value
    result = estimator.inverse_transform(codes)
    assert np.isfinite(result).all()
    assert_others_unchanged(result, expected, dtype)


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_the_bound_is_where_it_is_said_to_be(factor):
    """A linear map: its codes are exactly those of the bounded values."""
    linear = Autoencoder(2, hidden_layer_sizes=(), max_iter=1, random_state=0).fit(train)
    module = linear.module_
    X = some.copy()
    X[PLACE, 2] = float(module.center[2]) + factor * FARTHEST * float(module.scale)
    bounded = X.copy()
    bounded[PLACE, 2] = float(module.center[2]) + min(factor, 1) * FARTHEST * float(module.scale)
    np.testing.assert_allclose(linear.transform(X), linear.transform(bounded), rtol=1e-9)
    assert (linear.score_samples(X)[PLACE] == -np.inf) == (factor > 1)


def test_reconstruct_is_the_inverse_of_transform_for_sentinels():
    for estimator in (Autoencoder(**SMALL), INSTANCES[3], INSTANCES[14]):
        estimator, X = fitted(estimator), with_sentinel(np.float64, DBL_MAX)
        np.testing.assert_allclose(
            estimator.inverse_transform(estimator.transform(X)), estimator.reconstruct(X)
        )


@every(EVERY)
def test_a_sentinel_in_onnx(estimator):
    estimator = fitted(clone(estimator))
    for method in methods_of(estimator):
        X = with_sentinel(np.float32, FLT_MAX)
        if method == "inverse_transform":
            X = estimator.transform(some.astype(np.float32))
            X[PLACE, -1] = FLT_MAX
        model = to_onnx(estimator, method).SerializeToString()
        (result,) = onnxruntime.InferenceSession(model).run(None, {"X": X})
        assert not np.isnan(result).any(), method
        expected = getattr(estimator, method)(X)
        lowest = expected == -np.inf
        np.testing.assert_array_equal(result == -np.inf, lowest)
        others = np.where(lowest, 0, expected)
        size = np.maximum(1, np.abs(others).reshape(len(X), -1).max(1))
        error = np.abs(np.where(lowest, 0, result) - others).reshape(len(X), -1).max(1)
        assert (error <= 1e-4 * size).all(), method


def test_a_sentinel_behind_a_scaler():
    pipeline = make_pipeline(StandardScaler(), Autoencoder(**SMALL, random_state=0)).fit(train)
    X = with_sentinel(np.float64, 1e300)
    assert np.isfinite(pipeline.transform(X)).all()
    assert pipeline.score_samples(X)[PLACE] == -np.inf
