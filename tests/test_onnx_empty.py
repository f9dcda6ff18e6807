"""Models in ONNX give empty results for empty batches, in a process that may end."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import skl2onnx
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, name_of, one_of_each
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sklearn_ae import (
    AutoencoderOutlierDetector,
    ConvolutionalAutoencoder,
    DeepBeliefNetwork,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    StackedAutoencoderClassifier,
    UNetAutoencoder,
    VariationalAutoencoder,
    register_onnx_converters,
    to_onnx,
)
from sklearn_ae._onnx.methods import methods_of
from sklearn_ae.networks import LSTMNetwork

rng = np.random.default_rng(0)
X = rng.uniform(size=(60, 12)).astype(np.float32)
y = (X[:, 0] > 0.5).astype(int)
ragged = X.reshape(-1, 4, 3).copy()
ragged[::2, 2:] = np.nan

FEW = {"hidden_layer_sizes": (8, 4), "pretraining_max_iter": 3, "max_iter": 5}
GREEDY = RecursiveAutoencoder(hidden_size=4, tree="greedy", max_iter=2)

RUN = """
import json, sys
import numpy as np
import onnxruntime

for path in sys.argv[1:]:
    print(path, flush=True)
    session = onnxruntime.InferenceSession(path)
    (given,) = session.get_inputs()
    empty = np.zeros([0, *given.shape[1:]], np.float32)
    results = session.run(None, {given.name: empty})
    for described, result in zip(session.get_outputs(), results):
        print(json.dumps([list(np.shape(result)), described.shape[1:]]), flush=True)
"""


def assert_empty(models, folder):
    """Run models on nothing, in a process of its own."""
    paths = []
    for name, model in models.items():
        paths.append(str(folder / f"{len(paths)} {name}.onnx"))
        onnx.save(model, paths[-1])
    command = [sys.executable, "-c", RUN, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (lines[-1:], done.stderr[-1000:])
    assert [line for line in lines if not line.startswith("[")] == paths
    for line in lines:
        if line.startswith("["):
            shape, described = json.loads(line)
            assert shape == [0, *described]


def models_of(estimator, data):
    """Export every method."""
    fitted = clone(estimator).set_params(random_state=0).fit(data, y)
    return {method: to_onnx(fitted, method) for method in methods_of(fitted)}


FIRST = one_of_each(INSTANCES)
OTHERS = [each for each in INSTANCES if each not in FIRST]


@pytest.mark.parametrize(
    "estimators",
    [
        FIRST[: len(FIRST) // 2],
        FIRST[len(FIRST) // 2 :],
        *(
            pytest.param(OTHERS[start : start + 8], marks=pytest.mark.slow)
            for start in range(0, len(OTHERS), 8)
        ),
        [*SUPERVISED, StackedAutoencoderClassifier(head=KNeighborsClassifier(3), **FEW)],
        [
            *OUTLIER_DETECTORS,
            AutoencoderOutlierDetector(LSTMAutoencoder(max_iter=2), n_estimators=2),
        ],
    ],
    ids=lambda estimators: f"{type(estimators[0]).__name__} and {len(estimators) - 1} more",
)
def test_every_method(estimators, tmp_path):
    models = {}
    for number, estimator in enumerate(estimators):
        for method, model in models_of(estimator, X).items():
            models[f"{number} {type(estimator).__name__} {method}"] = model
    assert_empty(models, tmp_path)


@pytest.mark.parametrize(
    "estimator",
    [
        LSTMAutoencoder(hidden_size=4, n_layers=2, max_iter=2),
        LSTMAutoencoder(hidden_size=4, cell="gru", max_iter=2),
        RecursiveAutoencoder(hidden_size=4, tree="left", max_iter=2),
        GREEDY,
        VariationalAutoencoder(
            network=LSTMNetwork(hidden_size=4), n_importance_samples=3, max_iter=2
        ),
    ],
    ids=name_of,
)
def test_sequences(estimator, tmp_path):
    assert_empty(models_of(estimator, ragged), tmp_path)


@pytest.mark.parametrize(
    "estimator",
    [
        ConvolutionalAutoencoder(channels=(2,), unpooling="switches", max_iter=1),
        ConvolutionalAutoencoder(None, channels=(2,), max_iter=1),
        UNetAutoencoder(channels=(2, 3), max_iter=1),
        DeepBeliefNetwork(2, hidden_layer_sizes=(4,), fine_tune=False, pretraining_max_iter=1),
    ],
    ids=name_of,
)
def test_images(estimator, tmp_path):
    assert_empty(models_of(estimator, X.reshape(-1, 4, 3)), tmp_path)


def test_texts_as_labels(tmp_path):
    names = np.array(["no", "yes"])[y]
    fitted = StackedAutoencoderClassifier(**FEW, random_state=0).fit(X, names)
    assert_empty({"both": to_onnx(fitted)}, tmp_path)


def test_pipelines(tmp_path):
    register_onnx_converters()
    steps = make_pipeline(StandardScaler(), LSTMAutoencoder(max_iter=2, random_state=0)).fit(X)
    whole = make_pipeline(MinMaxScaler(), GREEDY, LogisticRegression()).fit(X, y)
    several = to_onnx(steps, ["transform", "reconstruct", "score_samples"])
    converted = skl2onnx.to_onnx(steps, X[:1])
    assert_empty({"several": several, "whole": to_onnx(whole), "converted": converted}, tmp_path)


def test_the_input_of_a_decoder_is_named_as_others():
    for method, model in models_of(INSTANCES[0], X).items():
        assert [value.name for value in model.graph.input] == ["X"], method
