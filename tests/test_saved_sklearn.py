"""Every estimator of scikit-learn in a pipeline with an autoencoder: saved, loaded, the same bits."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import all_estimators
from sklearn.utils._test_common.instance_generator import _construct_instances

from sklearn_ae import Autoencoder, load, save

REFUSED = {
    **dict.fromkeys(
        ["GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV"],
        "within another estimator: its scorer is a function; save its best_estimator_",
    ),
    "Birch": "its clusters refer to each other in circles",
    "TunedThresholdClassifierCV": "it contains a scorer, which refers to a function",
}
"""Estimators that a file cannot contain once they are fitted, and why."""

METHODS = (
    *("transform", "predict", "predict_proba", "decision_function", "score_samples", "kneighbors"),
)

N_SAMPLES = 30
X = np.abs(np.random.default_rng(0).normal(size=(N_SAMPLES, 3)))
LABELS = np.arange(N_SAMPLES) % 2
TWO_LABELS = np.column_stack([LABELS, np.arange(N_SAMPLES) % 3 > 0]).astype(int)
TEXTS = ["a word", "another word with a word", "something else"] * 10

DATA = {
    **dict.fromkeys(["CountVectorizer", "TfidfVectorizer", "HashingVectorizer"], (TEXTS, None)),
    **dict.fromkeys(["DictVectorizer", "FeatureHasher"], ([{"a": 1.0}, {"b": 2.0}] * 15, None)),
    **dict.fromkeys(["LabelBinarizer", "LabelEncoder"], (LABELS,)),
    "MultiLabelBinarizer": ([("a", "b"), ("b",)] * 15,),
    "IsotonicRegression": (X[:, 0], X[:, 1]),
    "KernelCenterer": (X @ X.T, LABELS),
    "PatchExtractor": (X.reshape(2, 15, 3),),
    "GammaRegressor": (X, X[:, 0]),
    **dict.fromkeys(["ClassifierChain", "MultiOutputClassifier"], (X, TWO_LABELS)),
    **dict.fromkeys(["CCA", "PLSCanonical", "PLSRegression", "PLSSVD"], (X, X[:, :2])),
    **dict.fromkeys(["RegressorChain", "MultiOutputRegressor"], (X, X[:, :2])),
    **dict.fromkeys(["MultiTaskElasticNet", "MultiTaskElasticNetCV"], (X, X[:, :2])),
    **dict.fromkeys(["MultiTaskLasso", "MultiTaskLassoCV"], (X, X[:, :2])),
}
"""Training data of the estimators that do not take a matrix and labels."""

ESTIMATORS = [name for name, _ in all_estimators() if name != "FrozenEstimator"]


@pytest.fixture(scope="module")
def autoencoder():
    fitted = Autoencoder(2, hidden_layer_sizes=(4,), max_iter=1, random_state=0).fit(X)
    return FrozenEstimator(fitted)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model"


def _travelled(estimator, path):
    save(estimator, path)
    return load(path)


def _assert_equal(one, other):
    if sparse.issparse(other):
        assert (one != other).nnz == 0
    else:
        np.testing.assert_array_equal(one, other)


def _assert_same(again, fitted, data):
    compared = 0
    for name in METHODS:
        if hasattr(fitted, name):
            expected = getattr(fitted, name)(data)
            found = getattr(again, name)(data)
            pairs = zip(found, expected, strict=True) if type(expected) is tuple else []
            for one, other in pairs or [(found, expected)]:
                _assert_equal(one, other)
            compared += 1
    return compared


def _fitted(name):
    cls = dict(all_estimators())[name]
    data = DATA.get(name, (X, LABELS))
    instance = next(iter(_construct_instances(cls)))
    if "random_state" in instance.get_params():
        instance.set_params(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clone(instance).fit(*data), data[0]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_is_saved_or_refused_for_a_reason(name, autoencoder, path):
    fitted, data = _fitted(name)
    pipeline = Pipeline([("codes", autoencoder), ("step", fitted)])
    if name in REFUSED:
        with pytest.raises(ValueError, match="step.*cannot be saved|contains itself"):
            save(pipeline, path)
        assert not path.exists()
        return
    again = _travelled(pipeline, path)
    np.testing.assert_array_equal(again[0].transform(X), autoencoder.transform(X))
    step = again[1]
    assert type(step) is type(fitted)
    # A copy: some estimators compute more precisely for the array that they were fitted to.
    data = data.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _assert_same(step, fitted, data)
