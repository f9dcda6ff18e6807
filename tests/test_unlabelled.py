"""A classifier is a classifier first: every label is a class, unless told what marks none."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import (
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    load,
    save,
    to_onnx,
)

SMALL = {"hidden_layer_sizes": (16, 8), "pretraining_max_iter": 3, "random_state": 0}

MISSING = [np.nan, None, pd.NA]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:400], y[:400]


@pytest.fixture(scope="module")
def few(digits):
    X, y = digits
    return X, np.where(np.arange(len(y)) % 4 == 0, y, -1)


def fitted(X, y, sample_weight=None, **params):
    return StackedAutoencoderClassifier(**SMALL | params).fit(X, y, sample_weight)


# scikit-learn's checks, as somebody else would run them

STRANGER = """
import json, sys, warnings
import sklearn_ae
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator

QUICK = {
    "max_iter": 5, "pretraining_max_iter": 3, "hidden_layer_sizes": (8,), "hidden_size": 4,
    "channels": (2,), "n_estimators": 2,
}
ACCURATE = {"hidden_layer_sizes": (8, 4), "learning_rate_init": 0.03}  # as some checks ask for
warnings.simplefilter("ignore", SkipTestWarning)
ended = {}
for name in sys.argv[1:]:
    cls = getattr(sklearn_ae, name)
    known = cls().get_params(deep=False)
    small = QUICK | {"max_iter": 10} | ACCURATE if "head" in known else QUICK
    estimator = cls(**{key: value for key, value in small.items() if key in known})
    results = check_estimator(estimator, on_fail=None)
    ended[name] = {
        status: [r["check_name"] for r in results if r["status"] == status]
        for status in sorted({r["status"] for r in results})
    }
print(json.dumps(ended))
"""


# One of each kind; the checks of all others run in this process.
NAMES = ("AutoencoderOutlierDetector", "StackedAutoencoderClassifier")


@pytest.mark.slow
def test_scikit_learns_checks_pass_as_somebody_else_runs_them():
    environment = {name: v for name, v in os.environ.items() if name != "SCIPY_ARRAY_API"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, *NAMES],
        env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout.splitlines()[-1])
    assert set(ended) == set(NAMES)
    for name, of_status in ended.items():
        assert set(of_status) <= {"passed", "skipped"}, (name, of_status.get("failed"))
        # An array of another library is for those who set SCIPY_ARRAY_API.
        assert all("array_api" in check for check in of_status.get("skipped", [])), name
        assert len(of_status["passed"]) > 40
    assert "check_classifiers_classes" in ended["StackedAutoencoderClassifier"]["passed"]


# Without a marker


@pytest.mark.parametrize(
    "labels",
    [
        [-1, 0, 1],
        pytest.param([-1.0, 0.0, 1.0], marks=pytest.mark.slow),
        ["-1", "0", "1"],
        pytest.param([-1, 5, 7], marks=pytest.mark.slow),
    ],
    ids=lambda labels: f"{labels[0]!r}, {labels[1]!r}",
)
def test_no_class_is_lost(labels):
    X, y = make_blobs(150, centers=3, cluster_std=0.3, random_state=0)
    y = np.array(labels)[y]
    classifier = fitted(X, y, max_iter=20, learning_rate_init=0.03)
    np.testing.assert_array_equal(classifier.classes_, np.unique(y))
    assert classifier.score(X, y) == np.mean(classifier.predict(X) == y) > 0.95
    assert classifier.predict_proba(X).shape == (150, 3)
    scores = cross_val_score(classifier, X, y, scoring="accuracy", error_score="raise")
    np.testing.assert_array_equal(scores, cross_val_score(classifier, X, y))
    assert scores.mean() > 0.9


def test_minus_one_beside_one_class():
    X, y = make_blobs(100, centers=2, cluster_std=0.3, random_state=0)
    classifier = fitted(X, 2 * y - 1, max_iter=100)
    assert classifier.classes_.tolist() == [-1, 1]
    assert classifier.score(X, 2 * y - 1) > 0.95


@pytest.mark.parametrize("dtype", [int, float, str, object])
def test_a_marker_that_is_not_named_is_pointed_out(few, dtype):
    X, y = few
    with pytest.warns(UserWarning, match=r"-1 in 300 of 400 samples.*set unlabeled=-1"):
        classifier = fitted(X, y.astype(dtype) if dtype is not object else _named(y), max_iter=1)
    assert len(classifier.classes_) == 11


def _named(y):
    return np.array([f"digit {label}" if label >= 0 else "-1" for label in y], object)


@pytest.mark.parametrize(
    "counts",
    [
        {-1: 90, 1: 10},  # a rare class
        {-1: 20, 0: 20, 1: 20},
        {-1: 30, 0: 15, 1: 15},
        {0: 90, 1: 5, 2: 5},
        {-2: 90, 1: 5, 2: 5},
        {True: 30, False: 20},
    ],
    ids=str,
)
def test_classes_as_they_come_are_no_reason_to_warn(counts):
    y = np.repeat(list(counts), list(counts.values()))
    X = np.random.default_rng(0).normal(size=(len(y), 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(fitted(X, y, max_iter=1).classes_) == len(counts)


# With a marker


@pytest.mark.parametrize("marker", [-1, 99, -1.0, 0.5, "none", "-1", np.int64(-1), *MISSING[::2]])
def test_any_value_may_be_the_marker(few, marker):
    X, y = few
    expected = fitted(X, y, unlabeled=-1, max_iter=5)
    if isinstance(marker, str):
        labels = np.array([marker if i < 0 else f"digit {i}" for i in y])
    elif marker is pd.NA:
        labels = np.array([marker if i < 0 else int(i) for i in y], object)
    else:
        labels = np.where(y < 0, marker, y)
    classifier = fitted(X, labels, unlabeled=marker, max_iter=5)
    np.testing.assert_array_equal(classifier.predict_proba(X), expected.predict_proba(X))
    names = [f"digit {i}" for i in range(10)] if isinstance(marker, str) else list(range(10))
    assert classifier.classes_.tolist() == names
    assert classifier.score(X, labels) == expected.score(X, y)
    kept = clone(classifier).unlabeled
    assert kept is marker or kept == marker


@pytest.mark.parametrize("missing", MISSING, ids=str)
@pytest.mark.parametrize("names", [list(range(10)), list("abcdefghij")], ids=["int", "str"])
def test_a_missing_value_marks_all_missing_values(few, missing, names):
    X, y = few
    labels = np.array([missing if i < 0 else names[i] for i in y], object)
    classifier = fitted(X, labels, unlabeled=np.nan, max_iter=5)
    assert classifier.classes_.tolist() == names
    expected = fitted(X, y, unlabeled=-1, max_iter=5)
    np.testing.assert_array_equal(classifier.predict(X), np.array(names)[expected.predict(X)])
    assert classifier.score(X, labels) == expected.score(X, y)


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("Int64", "i"), ("boolean", "b"), ("Float32", "f"), ("string", "O"), ("category", "O")],
)
def test_frames_with_missing_labels(few, dtype, kind):
    X, y = few
    values = pd.Series(y).astype(object).where(y >= 0, None)
    if dtype == "boolean":
        values = values.map(lambda label: None if label is None else bool(label > 4))
    if dtype in ("string", "category"):
        values = values.map(lambda label: None if label is None else f"digit {label}")
    labels = values.astype(dtype)
    classifier = fitted(X, labels, unlabeled=np.nan, max_iter=5)
    assert len(classifier.classes_) == (2 if dtype == "boolean" else 10)
    assert classifier.predict(X).dtype.kind in (kind, "U")
    known = y >= 0
    assert classifier.score(X, labels) == classifier.score(X[known], labels[known])


def test_missing_labels_without_a_marker_are_refused(few):
    X, y = few
    with pytest.raises(ValueError, match=r"contains NaN.*unlabeled=np.nan"):
        fitted(X, np.where(y < 0, np.nan, y))
    with pytest.raises(ValueError, match=r"contains NaN.*unlabeled=np.nan"):
        fitted(X, np.where(y == 3, np.nan, y), unlabeled=-1)
    with pytest.raises(ValueError, match="infinity"):
        fitted(X, np.where(y < 0, np.inf, y))
    with pytest.raises(ValueError, match="'unlabeled' parameter"):
        fitted(X, y, unlabeled=[-1])


def test_an_estimator_scores_by_the_marker_that_it_was_fitted_with(few):
    X, y = few
    classifier = fitted(X, y, unlabeled=-1, max_iter=5)
    expected = classifier.score(X, y)
    assert classifier.set_params(unlabeled=None).score(X, y) == expected
    with pytest.warns(UserWarning, match="set unlabeled=-1"):
        assert len(classifier.fit(X, y).classes_) == 11


def test_training_goes_on_with_the_same_classes_only(few):
    X, y = few
    classifier = fitted(X, y, unlabeled=-1, warm_start=True, max_iter=2)
    n_epochs = len(classifier.fit(X, y).history_)
    assert n_epochs == 4
    with pytest.raises(ValueError, match="classes were"):
        classifier.set_params(unlabeled=None).fit(X, y)


def test_a_class_without_weight_is_none(few):
    X, y = few
    weight = np.where(y == 3, 0.0, 1.0)
    classifier = fitted(X, y, weight, unlabeled=-1, max_iter=5)
    assert 3 not in classifier.classes_
    assert len(classifier.classes_) == 9
    without = fitted(X[y != 3], y[y != 3], unlabeled=-1, max_iter=5, fine_tune=False)
    np.testing.assert_array_equal(classifier.classes_, without.classes_)


BY_DIGIT = {digit: 1.0 + digit for digit in range(10)}


@pytest.mark.parametrize(
    ("marker", "class_weight"),
    [
        (-1, "balanced"),
        (np.nan, BY_DIGIT),
        pytest.param(-1, BY_DIGIT, marks=pytest.mark.slow),
        pytest.param(np.nan, "balanced", marks=pytest.mark.slow),
    ],
)
def test_class_weights_are_those_of_the_labelled(few, class_weight, marker):
    X, y = few
    stack = FrozenEstimator(StackedAutoencoder(6, max_iter=2, random_state=0).fit(X))
    params = {"autoencoder": stack, "fine_tune": False, "unlabeled": marker, "max_iter": 5}
    params["pseudo_labels"] = False  # weights of unlabelled samples would count
    labels = np.where(y < 0, marker, y)
    by_class = fitted(X, labels, class_weight=class_weight, **params)
    share = np.bincount(y[y >= 0])
    of_class = 1.0 + np.arange(10) if class_weight != "balanced" else share.sum() / 10 / share
    by_sample = fitted(X, labels, of_class[y], **params)  # those of -1 count for nothing
    np.testing.assert_allclose(by_class.predict_proba(X), by_sample.predict_proba(X), rtol=1e-10)


@pytest.mark.parametrize("marker", [-1, "none", np.nan, np.float32(-1)])
@pytest.mark.parametrize("head", [None, LogisticRegression(max_iter=300)])
def test_it_travels(few, marker, head, tmp_path):
    X, y = few
    names = [f"digit {label}" if isinstance(marker, str) else label for label in y]
    labels = np.array([marker if i < 0 else name for i, name in zip(y, names, strict=True)])
    classifier = fitted(X, labels, unlabeled=marker, max_iter=5, head=head)
    save(classifier, tmp_path / "file")
    again = load(tmp_path / "file")
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    assert again.score(X, labels) == classifier.score(X, labels)
    assert repr(again.unlabeled) == repr(marker)
    session = onnxruntime.InferenceSession(to_onnx(classifier).SerializeToString())
    predicted, proba = session.run(None, {"X": X.astype(np.float32)})
    np.testing.assert_allclose(proba, classifier.predict_proba(X), atol=1e-4)
    assert (predicted == classifier.predict(X)).mean() > 0.99
    assert FrozenEstimator(classifier).score(X, labels) == classifier.score(X, labels)


# Searches


def test_searches_as_they_are_written_for_any_classifier(few):
    X, y = few
    pipeline = make_pipeline(
        StandardScaler(), StackedAutoencoderClassifier(**SMALL, unlabeled=-1, max_iter=40)
    )
    grid = {"stackedautoencoderclassifier__fine_tune": [True, False]}
    search = GridSearchCV(pipeline, grid, cv=StratifiedKFold(3), error_score="raise").fit(X, y)
    assert search.best_score_ > 0.5  # the score is that of the samples with a label
    assert search.score(X, y) == search.best_estimator_.score(X[y >= 0], y[y >= 0])


def test_folds_of_targets_that_are_missing():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    y = X.sum(axis=1)
    y[40:] = np.nan  # the first fold of KFold takes them all
    model = StackedAutoencoderRegressor(**SMALL, max_iter=20)
    with pytest.raises(ValueError, match="no target that is not NaN"):
        cross_val_score(model, X, y, error_score="raise")
    folds = StratifiedKFold(5).split(X, np.isnan(y))
    assert np.isfinite(cross_val_score(model, X, y, cv=folds, error_score="raise")).all()
