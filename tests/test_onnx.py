"""Models in ONNX give what the estimators give, on real rows, in onnxruntime."""

import pickle
import random
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import skl2onnx
import torch
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, name_of
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, SplineTransformer, StandardScaler
from sklearn.svm import LinearSVC

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    ConvolutionalAutoencoder,
    DeepBeliefNetwork,
    DenoisingAutoencoder,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    RestrictedBoltzmannMachine,
    SemanticHashing,
    SparseAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    UNetAutoencoder,
    VariationalAutoencoder,
    register_onnx_converters,
    to_onnx,
)
from sklearn_ae._onnx import activations, layers, operators, shapes  # noqa: F401 - register
from sklearn_ae._onnx.graph import Graph
from sklearn_ae._onnx.tracing import N_EXAMPLES, traced
from sklearn_ae.networks import ConvolutionalNetwork, DenseNetwork, LSTMNetwork, RecursiveNetwork

METHODS = ["transform", "inverse_transform", "reconstruct", "score_samples"]
TOLERANCE = 1e-5
"""Of values, relative to their size; rows are scaled to about one."""

cancer, benign = load_breast_cancer(return_X_y=True)
cancer = StandardScaler().fit_transform(cancer).astype(np.float32)
digits, number = load_digits(return_X_y=True)
digits = (digits / 16).astype(np.float32)
images = digits.reshape(-1, 8, 8)
progress = load_diabetes().target / 100

ragged = images[:300].copy()
for row, length in zip(ragged, number, strict=False):
    row[max(1, length) :] = np.nan

_fitted = {}


def fitted(estimator, X, y=None):
    """A fitted copy, the same one whenever the same is asked for."""
    key = repr(estimator), id(X), id(y)
    if key not in _fitted:
        copy = clone(estimator).set_params(random_state=0)
        # The arrays are kept, so that no other one takes their ids.
        _fitted[key] = copy.fit(X[:250], None if y is None else y[:250]), X, y
    return _fitted[key][0]


def run(model, X):
    """What a model makes of rows, by the outputs' names."""
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (source,) = session.get_inputs()
    results = session.run(None, {source.name: X})
    for result, described in zip(results, session.get_outputs(), strict=True):
        assert len(result) == len(X)
        assert [*result.shape[1:]] == described.shape[1:]
    return {out.name: result for out, result in zip(session.get_outputs(), results, strict=True)}


def assert_same(result, expected, terms=0.0):
    """Compare results; `terms` is the size of what they are sums of, where that is larger."""
    assert result.shape == expected.shape
    if expected.dtype.kind in "iUSO":
        assert result.tolist() == expected.tolist()
    else:
        size = max(1.0, float(np.abs(expected).max()), terms)
        np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE * size)


def assert_exports(estimator, X, methods):
    """Export methods, one by one, and compare them for one row and for 37."""
    rows = X[-37:]
    for method in methods:
        given = estimator.transform(rows) if method == "inverse_transform" else rows
        model = to_onnx(estimator, method)
        for some in (given, given[:1]):
            expected = getattr(estimator, method)(some)
            assert_same(run(model, some)[method], expected, size_of_terms(estimator, method))


def size_of_terms(estimator, method):
    """Sum of the sizes of the constants in a log-density, which nearly cancel."""
    if method != "score_samples" or not isinstance(estimator, VariationalAutoencoder):
        return 0.0
    variance = np.nan_to_num(estimator.noise_variance_, nan=1 / (2 * np.pi))
    constants = np.broadcast_to(0.5 * np.log(2 * np.pi * variance), estimator.n_features_in_)
    return float(np.abs(constants).sum())


def every(instances):
    return pytest.mark.parametrize("estimator", instances, ids=name_of)


@pytest.mark.parametrize("method", METHODS)
@every(INSTANCES)
def test_every_method_of_every_autoencoder(estimator, method, capfd):
    estimator = fitted(estimator, cancer)
    before = pickle.dumps(estimator)
    state = _global_state()
    capfd.readouterr()
    to_onnx(estimator, method)
    assert capfd.readouterr() == ("", "")
    assert pickle.dumps(estimator) == before
    assert _global_state() == state
    assert_exports(estimator, cancer, [method])


@every(
    [
        DeepBeliefNetwork(3, hidden_layer_sizes=(), code_activation="logistic"),
        DeepBeliefNetwork(3, hidden_layer_sizes=(12, 8)),
        DeepBeliefNetwork(3, hidden_layer_sizes=(12,), loss="binary_crossentropy"),
    ]
)
def test_bounds_of_belief_networks(estimator):
    estimator = clone(estimator).set_params(fine_tune=False, pretraining_max_iter=3)
    assert_exports(fitted(estimator, digits), digits, ["score_samples"])


def _global_state():
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        random.getstate(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
    )


@every(
    [
        ConvolutionalAutoencoder(max_iter=2),
        ConvolutionalAutoencoder(kernel_size=2, unpooling="transposed", max_iter=2),
        ConvolutionalAutoencoder(pool_size=3, pooling="strided", activation="gelu", max_iter=2),
        ConvolutionalAutoencoder(pool_size=3, channels_last=False, max_iter=2),
        UNetAutoencoder(channels=(4, 6, 8), max_iter=2),
        UNetAutoencoder(image_shape=(8, 8), kernel_size=4, activation="relu", max_iter=2),
        VariationalAutoencoder(
            network=ConvolutionalNetwork(channels=(4,)), likelihood="bernoulli", max_iter=2
        ),
        VariationalAutoencoder(n_importance_samples=4, likelihood="bernoulli", max_iter=2),
        VariationalAutoencoder(variance=0.1, max_iter=2),
        VariationalAutoencoder(likelihood="bernoulli", binarize=True, max_iter=2),
        VariationalAutoencoder(likelihood="continuous_bernoulli", max_iter=2),
        ConvolutionalAutoencoder(None, channels=(4, 6), max_iter=5),
        UNetAutoencoder(None, channels=(4, 6), max_iter=5),
        VariationalAutoencoder(None, network=ConvolutionalNetwork(channels=(4, 3)), max_iter=2),
        SparseAutoencoder(network=LSTMNetwork(hidden_size=8), max_iter=2),
        DenoisingAutoencoder(network=RecursiveNetwork(hidden_size=8), max_iter=2),
        LSTMAutoencoder(hidden_size=8, n_layers=2, max_iter=2),
        RecursiveAutoencoder(hidden_size=8, tree="greedy", max_iter=2),
        Autoencoder(loss="binary_crossentropy", hidden_layer_sizes=(16,), max_iter=5),
        Autoencoder(loss="poisson", activation="relu", hidden_layer_sizes=(16,), max_iter=5),
        Autoencoder(hidden_layer_sizes=(), max_iter=5),
        SemanticHashing(loss="poisson", activation="logistic", max_iter=5),
        RestrictedBoltzmannMachine(15, visible="bernoulli", max_iter=5),
    ]
)
def test_images(estimator):
    assert_exports(fitted(estimator, images), images, METHODS)


@pytest.mark.parametrize("X", [images, cancer.reshape(-1, 15, 2)], ids=["images", "signals"])
def test_places_of_maxima(X):
    network = ConvolutionalAutoencoder(channels=(4, 6), unpooling="switches", max_iter=5)
    assert_exports(fitted(network, X), X, METHODS)


@every(
    [
        LSTMAutoencoder(hidden_size=8, max_iter=2),
        LSTMAutoencoder(hidden_size=8, cell="gru", reverse=False, max_iter=2),
        RecursiveAutoencoder(hidden_size=8, max_iter=2),
        RecursiveAutoencoder(hidden_size=8, tree="left", max_iter=2),
        RecursiveAutoencoder(hidden_size=8, tree="greedy", max_iter=2),
        VariationalAutoencoder(
            network=LSTMNetwork(hidden_size=8), n_importance_samples=3, max_iter=2
        ),
    ]
)
def test_sequences_of_different_lengths(estimator):
    assert_exports(fitted(estimator, ragged), ragged, METHODS)


@pytest.mark.parametrize("n_steps", [1, 2])
def test_shortest_trees(n_steps):
    X = digits[:, 20 : 20 + 4 * n_steps].reshape(-1, n_steps, 4)
    greedy = RecursiveAutoencoder(hidden_size=4, tree="greedy", max_iter=2)
    assert_exports(fitted(greedy, X), X, METHODS)


def test_codes_from_elsewhere_are_decoded():
    """What codes say of places and trees is rounded and brought into its range."""
    codes = np.random.default_rng(0).normal(scale=3, size=(37, 1)).astype(np.float32)
    for estimator in (
        ConvolutionalAutoencoder(channels=(2,), unpooling="switches", max_iter=1),
        RecursiveAutoencoder(hidden_size=4, tree="greedy", max_iter=1),
    ):
        estimator = fitted(estimator, images)
        Z = np.roll(np.tile(codes, estimator.n_components_), 1, axis=1) + np.arange(
            estimator.n_components_, dtype=np.float32
        ) % np.float32(2.5)
        result = run(to_onnx(estimator, "inverse_transform"), Z)["inverse_transform"]
        assert_same(result, estimator.inverse_transform(Z))


# Labels and scores

CLASSIFIER = [e for e in SUPERVISED if isinstance(e, StackedAutoencoderClassifier)]
REGRESSOR = [e for e in SUPERVISED if isinstance(e, StackedAutoencoderRegressor)]
FEW = {"hidden_layer_sizes": (8, 4), "pretraining_max_iter": 3, "max_iter": 5}
PROBABLE = ["predict", "predict_proba", "predict_log_proba"]
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 5}


@pytest.mark.parametrize("labels", ["numbers", "texts", "floats", "ten"])
@every(CLASSIFIER[1:])
def test_classifiers(estimator, labels):
    X = digits if labels == "ten" else cancer
    y = {"numbers": benign, "floats": benign + 1.0, "ten": number}.get(labels)
    y = np.array(["malignant", "benign"])[benign] if y is None else y
    estimator = fitted(estimator, X, y)
    assert_exports(estimator, X, [*PROBABLE, "decision_function", "transform"])
    assert list(run(to_onnx(estimator), X[:2])) == ["predict", "predict_proba"]


@pytest.mark.parametrize("head", [KNeighborsClassifier(3), RidgeClassifier(), LinearSVC()])
def test_heads_without_a_method(head):
    estimator = fitted(
        StackedAutoencoderClassifier(head=head, fine_tune=False, **FEW), cancer, benign
    )
    assert_exports(estimator, cancer, ["predict", "transform"])
    outputs = {"predict", "predict_proba"} if hasattr(head, "predict_proba") else {"predict"}
    assert set(run(to_onnx(estimator), cancer[:2])) == outputs
    missing = "decision_function" if hasattr(head, "predict_proba") else "predict_proba"
    with pytest.raises(ValueError, match="can be exported: predict, "):
        to_onnx(estimator, missing)


@pytest.mark.parametrize("n_targets", [1, 2])
@every([*REGRESSOR, StackedAutoencoderRegressor(head=Ridge(), **FEW)])
def test_regressors(estimator, n_targets):
    X = StandardScaler().fit_transform(load_diabetes().data).astype(np.float32)
    y = progress if n_targets == 1 else np.column_stack([progress, X[:, 0]])
    assert_exports(fitted(estimator, X, y), X, ["predict", "transform"])


@every(
    [
        *OUTLIER_DETECTORS,
        AutoencoderOutlierDetector(
            VariationalAutoencoder(2, n_importance_samples=2, **SMALL), n_estimators=2
        ),
    ]
)
def test_outlier_detectors(estimator):
    """Rows that members were trained on are known again, and zeros of both signs are one."""
    X = cancer.copy()
    X[:, 3] = np.round(X[:, 3])
    X[:, 7] = 0.5  # a feature that never changes
    estimator = clone(estimator).set_params(random_state=0).fit(X[:250])
    X[-1, 7] = 0.6
    X[:250, 3] = -X[:250, 3] * -1
    rows = X[200:]
    assert list(run(to_onnx(estimator), rows[:1])) == ["predict", "decision_function"]
    results = run(to_onnx(estimator, ["predict", "decision_function", "score_samples"]), rows)
    decision = estimator.decision_function(rows)
    assert_same(results["score_samples"], estimator.score_samples(rows))
    assert_same(results["decision_function"], decision)
    assert results["predict"].tolist() == estimator.predict(rows).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_labels_of_training_samples_do_not_depend_on_precision(seed):
    """With 199 samples and a tenth of outliers the quantile is a training sample's score."""
    X = cancer[seed * 50 : seed * 50 + 199]
    template = make_pipeline(StandardScaler(), Autoencoder(2, **SMALL))
    detector = AutoencoderOutlierDetector(template, n_estimators=2, random_state=seed).fit(X)
    expected = detector.predict(X.astype(np.float64))
    assert (expected == -1).sum() == 19
    assert detector.predict(X).tolist() == expected.tolist()
    results = run(to_onnx(detector), X)
    assert results["predict"].tolist() == expected.tolist()
    assert (results["decision_function"] < 0).tolist() == (expected == -1).tolist()


def test_detector_of_images():
    network = ConvolutionalAutoencoder(channels=(3,), max_iter=2)
    detector = AutoencoderOutlierDetector(network, n_estimators=2, random_state=0)
    assert_exports(detector.fit(images[:200]), images, ["score_samples"])


# Pipelines


@pytest.fixture(scope="module")
def pipeline():
    steps = [StandardScaler(), Autoencoder(8, random_state=0, **SMALL)]
    return make_pipeline(*steps, LogisticRegression(max_iter=1000)).fit(digits, number)


def test_whole_pipeline(pipeline, capfd):
    before, state = pickle.dumps(pipeline), _global_state()
    model = to_onnx(pipeline)
    assert capfd.readouterr() == ("", "")
    assert (pickle.dumps(pipeline), _global_state()) == (before, state)
    results = run(model, digits)
    assert_same(results["label"], pipeline.predict(digits))
    assert_same(results["probabilities"], pipeline.predict_proba(digits))


@pytest.mark.parametrize("target_opset", [18, 21])
def test_whole_pipeline_through_skl2onnx(pipeline, target_opset):
    register_onnx_converters()
    options = {"zipmap": False}
    model = skl2onnx.to_onnx(pipeline, digits[:1], options=options, target_opset=target_opset)
    label, probabilities = run(model, digits).values()
    assert_same(label, pipeline.predict(digits))
    assert_same(probabilities, pipeline.predict_proba(digits))


def test_float64_input_and_a_search_through_skl2onnx(pipeline):
    register_onnx_converters()
    search = GridSearchCV(pipeline, {"autoencoder__alpha": [0.1, 0.2]}, cv=2).fit(digits, number)
    X = digits.astype(np.float64)
    model = skl2onnx.to_onnx(search, X[:1], options={"zipmap": False})
    assert_same(run(model, X)["label"], search.predict(digits))


@every(INSTANCES)
def test_every_autoencoder_in_a_pipeline(estimator):
    register_onnx_converters()
    scaler = MinMaxScaler().fit(cancer)
    autoencoder = fitted(estimator, cancer)
    steps = Pipeline([("scaler", scaler), ("autoencoder", autoencoder)])
    (result,) = run(skl2onnx.to_onnx(steps, cancer[:1]), cancer[-37:]).values()
    assert_same(result, steps.transform(cancer[-37:]))


@every([*SUPERVISED[1:4], *OUTLIER_DETECTORS[1:]])
def test_every_last_step_through_skl2onnx(estimator):
    register_onnx_converters()
    estimator = fitted(estimator, cancer, benign)
    options = {"zipmap": False} if hasattr(estimator, "predict_proba") else None
    X = cancer[-37:]
    results = run(skl2onnx.to_onnx(estimator, X[:1], options=options), X)
    assert_same(results["label"].ravel(), estimator.predict(X))
    if hasattr(estimator, "predict_proba"):
        assert_same(results["probabilities"], estimator.predict_proba(X))
    else:
        assert results["label"].shape == (37, 1)
        assert_same(results["scores"].ravel(), estimator.decision_function(X))


def test_head_without_probabilities_through_skl2onnx():
    register_onnx_converters()
    stack = StackedAutoencoderClassifier(head=RidgeClassifier(), fine_tune=False, **FEW)
    for X, y in ((cancer, benign), (digits, number)):
        estimator = fitted(stack, X, y)
        results = run(skl2onnx.to_onnx(estimator, X[:1], options={"zipmap": False}), X[-37:])
        decision = estimator.decision_function(X[-37:])
        if decision.ndim == 1:
            decision = np.column_stack([-decision, decision])
        assert_same(results["label"], estimator.predict(X[-37:]))
        assert_same(results["probabilities"], decision)


def test_estimator_fitted_on_float64():
    X = cancer.astype(np.float64) + 100
    autoencoder = Autoencoder(3, random_state=0, **SMALL).fit(X)
    assert autoencoder.module_.center.dtype == torch.float64
    results = run(to_onnx(autoencoder, ["transform", "reconstruct"]), X.astype(np.float32))
    assert_same(results["transform"], autoencoder.transform(X.astype(np.float32)))
    assert_same(results["reconstruct"], autoencoder.reconstruct(X.astype(np.float32)))


def test_regressor_through_skl2onnx():
    register_onnx_converters()
    steps = make_pipeline(StandardScaler(), fitted(REGRESSOR[1], cancer, benign))
    steps[0].fit(cancer)
    result = run(skl2onnx.to_onnx(steps, cancer[:1]), cancer[-37:])["variable"]
    assert_same(result.ravel(), steps.predict(cancer[-37:]))


def test_methods_of_a_pipeline_that_ends_in_an_autoencoder():
    steps = make_pipeline(StandardScaler(), Autoencoder(4, random_state=0, **SMALL)).fit(digits)
    results = run(to_onnx(steps, ["transform", "score_samples"]), digits[-37:])
    assert_same(results["transform"], steps.transform(digits[-37:]))
    assert_same(results["score_samples"], steps.score_samples(digits[-37:]))
    with pytest.raises(ValueError, match="inverse_transform takes codes"):
        to_onnx(steps, "inverse_transform")


def test_a_supervised_stack_gives_the_steps_behind_it_codes():
    stack = StackedAutoencoderClassifier(**FEW, random_state=0)
    steps = make_pipeline(StandardScaler(), stack, LogisticRegression()).fit(cancer, benign)
    assert_same(run(to_onnx(steps), cancer)["probabilities"], steps.predict_proba(cancer))


def test_what_holds_an_estimator_is_exported_as_that_estimator(pipeline):
    search = GridSearchCV(Autoencoder(2, random_state=0, **SMALL), {"alpha": [0.1, 0.2]}, cv=2)
    search.fit(cancer)
    result = run(to_onnx(search, "reconstruct"), cancer[-9:])["reconstruct"]
    assert_same(result, search.best_estimator_.reconstruct(cancer[-9:]))
    frozen = Pipeline([("steps", FrozenEstimator(pipeline[:2])), ("last", pipeline[2])])
    assert_same(run(to_onnx(frozen), digits)["label"], pipeline.predict(digits))


def test_images_in_a_pipeline():
    convolutional = ConvolutionalAutoencoder(channels=(4,), max_iter=2, random_state=0)
    steps = make_pipeline(convolutional, StandardScaler()).fit(images[:250])
    model = to_onnx(steps)
    assert_same(run(model, images[-37:])["variable"], steps.transform(images[-37:]))


# The model


def test_outputs_of_one_model_share_what_they_share():
    autoencoder = fitted(INSTANCES[0], cancer)
    both = to_onnx(autoencoder, ["transform", "reconstruct", "score_samples"])
    alone = [to_onnx(autoencoder, method) for method in METHODS if method != "inverse_transform"]
    assert len(both.graph.node) < sum(len(model.graph.node) for model in alone[1:])
    weights = sum(value.nbytes for value in autoencoder.module_.state_dict().values())
    assert both.ByteSize() < weights + 20_000
    for name, result in run(both, cancer[-5:]).items():
        assert_same(result, getattr(autoencoder, name)(cancer[-5:]))


def test_model_in_a_file(tmp_path):
    autoencoder = fitted(INSTANCES[0], cancer)
    path = tmp_path / "encoder.onnx"
    onnx.save(to_onnx(autoencoder), path)
    session = onnxruntime.InferenceSession(path)
    (codes,) = session.run(["transform"], {"X": cancer[:9]})
    assert_same(codes, autoencoder.transform(cancer[:9]))


@pytest.mark.parametrize("target_opset", [19, 20, 21, 22])
def test_later_operators(target_opset):
    for estimator in (INSTANCES[0], INSTANCES[14], INSTANCES[17], INSTANCES[20]):
        estimator = fitted(estimator, cancer)
        model = to_onnx(estimator, "reconstruct", target_opset=target_opset)
        assert model.opset_import[0].version == target_opset
        assert_same(run(model, cancer[-3:])["reconstruct"], estimator.reconstruct(cancer[-3:]))


# What cannot be


def test_what_is_not_there_is_refused():
    autoencoder = fitted(INSTANCES[0], cancer)
    with pytest.raises(ValueError, match="of Autoencoder can be exported: transform, inverse"):
        to_onnx(autoencoder, "predict")
    with pytest.raises(ValueError, match="can be exported"):
        to_onnx(autoencoder, [])
    with pytest.raises(ValueError, match="takes codes, all other methods samples"):
        to_onnx(autoencoder, ["transform", "inverse_transform"])
    with pytest.raises(ValueError, match="target_opset=17"):
        to_onnx(autoencoder, target_opset=17)
    with pytest.raises(NotFittedError):
        to_onnx(Autoencoder())
    with pytest.raises(ValueError, match="skl2onnx decides"):
        to_onnx(LogisticRegression().fit(cancer, benign), "predict")
    register_onnx_converters()
    with pytest.raises(ValueError, match="give target_opset=18 or more"):
        skl2onnx.to_onnx(autoencoder, cancer[:1], target_opset=17)


def _whole(x):
    return (4 * x).round().long()


FUNCTIONS = {
    "floor": lambda x: (_whole(x) // 3).float(),
    "remainder": lambda x: (_whole(x) % 3).float(),
    "whole by whole": lambda x: _whole(x) / 2,
    "mixed": lambda x: _whole(x) * 0.5 + (x > 0) - 1,
    "reversed": lambda x: 1 - (2 * -x) / torch.arange(1, 1 + x.shape[1]),
    "bounds": lambda x: _whole(x).clamp(-1.5, torch.tensor(2.5)),
    "sums": lambda x: x.sum((1,), keepdim=True) + x.mean(-1, keepdim=True),
    "chosen": lambda x: torch.where(x < 0, x.expm1(), x.log1p()).masked_fill(x == 0, 7.0),
    "places": lambda x: x[torch.arange(len(x)), (x > 0).long().sum(1).clamp(max=3)],
    "slices": lambda x: x[:, None, 1:-1:2].expand(-1, 2, -1)[:, -1].detach().clone().contiguous(),
    "shapes": lambda x: (
        x.reshape(len(x), -1, 2).permute((0, 2, 1)).flatten(1).unflatten(1, (2, -1))
    ),
    "pieces": lambda x: torch.stack([p.square() for p in x.split(1, 1)], 1).flatten(1),
    "total": lambda x: torch.cat([x, _whole(x)], 1).logsumexp(1),
    "rows": lambda x: x - x.mean(0, keepdim=True),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_of_torch(function):
    graph, X = Graph(), cancer[-37:, :4]
    result = function(traced(graph, "X", torch.zeros(N_EXAMPLES, 4)))
    graph.named(result, "Y")
    shape = (None, *result.shape[1:])
    model = graph.model([("X", np.float32, (None, 4))], [("Y", np.float32, shape)], 18)
    assert_same(run(model, X)["Y"], function(torch.from_numpy(X)).numpy())


class Sorting(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x.sort(1).values)


class Counting(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x) * x.shape[0]


class Reshaping(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x.reshape(len(x), 1, -1).flatten(1).clamp(max=9.0).contiguous())


class OwnNetwork(DenseNetwork):
    layer = Reshaping

    def encoder(self, sample_shape, n_outputs):
        return self.layer(*sample_shape, n_outputs)


class SortingNetwork(OwnNetwork):
    layer = Sorting


class CountingNetwork(OwnNetwork):
    layer = Counting


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (OwnNetwork, None),
        (SortingNetwork, r"'sort' of torch.*module_.*torch.onnx.export"),
        (CountingNetwork, "What CountingNetwork computes depends on the number of samples"),
    ],
)
def test_networks_of_users(network, message):
    network = network(hidden_layer_sizes=(4,))
    estimator = DenoisingAutoencoder(2, network=network, init="random", max_iter=1).fit(cancer)
    if message is None:
        assert_exports(estimator, cancer, METHODS)
    else:
        with pytest.raises(NotImplementedError, match=message):
            to_onnx(estimator)


@pytest.mark.parametrize("missing", ["onnx", "skl2onnx"])
def test_missing_packages_are_named(missing, pipeline, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    message = rf'need {missing}, which is missing: pip install "sklearn-ae\[onnx\]"'
    with pytest.raises(ImportError, match=message):
        to_onnx(pipeline if missing == "skl2onnx" else pipeline[1])
    if missing == "skl2onnx":
        with pytest.raises(ImportError, match=message):
            register_onnx_converters()
        assert run(to_onnx(pipeline[1]), digits[:2])  # needs onnx alone


def test_packages_for_exports_are_imported_when_they_are_needed():
    code = "import sys, sklearn_ae; print(*sys.modules)"
    names = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"onnx", "onnxscript", "skl2onnx", "onnxruntime"} & set(names.stdout.split())


def _table():
    rng = np.random.default_rng(0)
    numbers = {"a": rng.normal(size=40), "b": rng.normal(size=40)}
    return pd.DataFrame(numbers | {"c": ["x", "y"] * 20})


def _columns(columns):
    encoder = ColumnTransformer([("n", StandardScaler(), columns)])
    return make_pipeline(encoder, Autoencoder(2, hidden_layer_sizes=(4,), max_iter=1))


@pytest.mark.parametrize("columns", [["a", "b"], slice("a", "b")], ids=str)
def test_columns_selected_by_name_are_refused_with_the_remedy(columns):
    frame = _table()[["a", "b"]]
    message = r"selects columns by name, such as 'a'.*by position.*skl2onnx.to_onnx\(pipeline, X"
    with pytest.raises(NotImplementedError, match=message):
        to_onnx(_columns(columns).fit(frame))
    pipeline = _columns([0, 1]).fit(frame.to_numpy())  # the first remedy
    codes = run(to_onnx(pipeline), frame.to_numpy(np.float32))["transform"]
    np.testing.assert_allclose(codes, pipeline.transform(frame.to_numpy()), rtol=1e-3, atol=1e-5)


def test_columns_of_a_float64_frame_are_inputs_with_skl2onnx():
    """The second remedy, as the guide has it."""
    frame = _table()
    pipeline = _columns(["a", "b"])
    pipeline[0].transformers.append(("c", OneHotEncoder(sparse_output=False), ["c"]))
    pipeline.fit(frame)
    register_onnx_converters()
    model = skl2onnx.to_onnx(pipeline, frame[:1])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (codes,) = session.run(None, {name: frame[[name]].to_numpy() for name in frame})
    np.testing.assert_allclose(codes, pipeline.transform(frame), rtol=1e-3, atol=1e-5)


def test_a_step_without_a_converter_is_refused_with_the_remedy():
    X = _table()[["a", "b"]].to_numpy()
    autoencoder = Autoencoder(2, hidden_layer_sizes=(4,), max_iter=1)
    pipeline = make_pipeline(SplineTransformer(3), autoencoder).fit(X)
    with pytest.raises(NotImplementedError, match=r"cannot convert .*Spline.*pipeline\[1:\]"):
        to_onnx(pipeline)
    codes = run(to_onnx(pipeline[1:]), pipeline[0].transform(X).astype(np.float32))["transform"]
    np.testing.assert_allclose(codes, pipeline.transform(X), rtol=1e-3, atol=1e-5)


def test_columns_of_a_float64_frame_are_converted_for_a_table():
    """The recipe of the guide."""
    table = _table()
    autoencoder = Autoencoder(2, hidden_layer_sizes=(4,), max_iter=1).fit(table)
    session = onnxruntime.InferenceSession(to_onnx(autoencoder).SerializeToString())
    dtypes = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(bool)": "bool"}
    columns = {
        entry.name: table[[entry.name]].to_numpy(dtypes.get(entry.type, object))
        for entry in session.get_inputs()
    }
    (codes,) = session.run(None, columns)
    np.testing.assert_allclose(codes, autoencoder.transform(table), rtol=1e-3, atol=1e-4)
