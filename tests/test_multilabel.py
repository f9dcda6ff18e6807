"""Supervised stacks whose samples have several labels each."""

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils import get_tags

from sklearn_ae import (
    Autoencoder,
    StackedAutoencoderClassifier,
    load,
    register_onnx_converters,
    save,
    to_onnx,
)
from sklearn_ae.metrics import labeled_scorer

SMALL = {
    "hidden_layer_sizes": (24, 12),
    "pretraining_max_iter": 3,
    "max_iter": 10,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def digits():
    """Digits, labelled as odd, as more than four, and as divisible by three."""
    X, y = load_digits(return_X_y=True)
    return X[:400], np.column_stack([y % 2, y > 4, y % 3 == 0])[:400]


@pytest.fixture(scope="module")
def frozen(digits):
    return FrozenEstimator(Autoencoder(6, max_iter=3, random_state=0).fit(digits[0]))


@pytest.fixture(scope="module")
def fitted(digits):
    return StackedAutoencoderClassifier(**SMALL).fit(*digits)


def test_results_are_those_of_mlp_classifier_in_shape_and_type(digits, fitted):
    X, Y = digits
    mlp = MLPClassifier(max_iter=300, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(fitted.classes_, mlp.classes_)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        found, expected = (getattr(each, method)(X) for each in (fitted, mlp))
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), method
    proba = fitted.predict_proba(X)
    np.testing.assert_allclose(fitted.predict_log_proba(X), np.log(proba), rtol=1e-9)
    np.testing.assert_allclose(fitted.decision_function(X), np.log(proba / (1 - proba)))
    np.testing.assert_array_equal(fitted.predict(X), proba > 0.5)
    assert fitted.head_coef_.shape == (3, 12)
    # All labels of a sample have to be right.
    assert fitted.score(X, Y) == accuracy_score(Y, fitted.predict(X))
    assert fitted.score(X, Y) == (fitted.predict(X) == Y).all(axis=1).mean()


def test_the_loss_is_the_sum_of_binary_cross_entropies(fitted):
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(20, 3)), rng.integers(2, size=(20, 3)).astype(float)
    losses, errors = fitted._losses_and_errors(torch.tensor(logits), torch.tensor(targets))
    p = expit(logits)
    expected = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum(axis=1)
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-12)
    np.testing.assert_array_equal(errors.numpy(), ((p > 0.5) != targets).any(axis=1))


def test_the_layer_is_one_logistic_regression_per_label(digits):
    X, Y = digits
    # Columns with all combinations of noise: the optimum is finite.
    flips = np.random.default_rng(0).uniform(size=Y.shape) < 0.2
    Y = np.where(flips, 1 - Y, Y)
    params = {"alpha": 0.0, "learning_rate_init": 0.03, "batch_size": 400, "max_iter": 1500}
    params |= {"fine_tune": False, "n_iter_no_change": np.inf}
    classifier = StackedAutoencoderClassifier(**SMALL | params).fit(X, Y)
    codes = classifier.transform(X)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=1e9, max_iter=5000))
    proba = np.column_stack(
        [clone(reference).fit(codes, y).predict_proba(codes)[:, 1] for y in Y.T]
    )
    np.testing.assert_allclose(classifier.predict_proba(X), proba, atol=0.03)


def test_two_labels_are_not_two_classes(digits):
    X, Y = digits
    classifier = StackedAutoencoderClassifier(**SMALL).fit(X, Y[:, :2])
    assert classifier.predict_proba(X).shape == (400, 2)
    assert classifier.decision_function(X).shape == (400, 2)
    assert classifier.head_coef_.shape == (2, 12)
    sums = classifier.predict_proba(X).sum(axis=1)
    assert np.ptp(sums) > 0.1  # labels do not exclude each other
    assert classifier.score(X, Y[:, :2]) > 0.4


@pytest.mark.parametrize("kind", ["list", "bool", "float", "sparse", "frame", "tensor"])
def test_kinds_of_labels(digits, fitted, kind):
    X, Y = digits
    given = {
        "list": Y.tolist(),
        "bool": Y.astype(bool),
        "float": Y.astype(float),
        "sparse": sp.csr_array(Y),
        "frame": pd.DataFrame(Y, columns=list("abc")),
        "tensor": torch.tensor(Y),
    }[kind]
    classifier = clone(fitted).fit(X, given)
    np.testing.assert_array_equal(classifier.predict_proba(X), fitted.predict_proba(X))
    assert classifier.predict(X).dtype == int
    assert classifier.score(X, given) == fitted.score(X, Y)


@pytest.mark.parametrize("marker", [-1, np.nan, None])
def test_samples_without_labels_are_marked_in_all_columns(digits, marker):
    X, Y = digits
    few = Y.astype(object if marker is None else float)
    few[::2] = marker
    params = SMALL | {"unlabeled": np.nan if marker is None else marker}
    classifier = StackedAutoencoderClassifier(fine_tune=False, **params).fit(X, few)
    other = np.where(np.isin(np.arange(400), np.arange(0, 400, 2))[:, None], marker, 1 - Y)
    # The labels train the head, and nothing else; the samples train the autoencoder.
    again = clone(classifier).fit(X, other)
    np.testing.assert_array_equal(again.transform(X), classifier.transform(X))
    np.testing.assert_array_equal(classifier.predict(X).max(axis=0), 1)
    labelled = accuracy_score(Y[1::2], classifier.predict(X[1::2]))
    assert classifier.score(X, few) == labelled
    scorer = labeled_scorer("accuracy", unlabeled=params["unlabeled"])
    assert scorer(classifier, X, few) == labelled


@pytest.mark.parametrize(
    ("marker", "change", "message"),
    [
        (-1, (0, 0, -1), "all its labels or none"),
        (None, (0, 0, 2), "must be 0 or 1"),
        (None, (0, 0, np.nan), "contains NaN"),
        (0, None, "unlabeled=0 is a label"),
        (-1, (slice(None), slice(None), -1), "no labelled sample"),
    ],
)
def test_labels_that_are_refused(digits, frozen, marker, change, message):
    X, Y = digits
    Y = Y.astype(float)
    if change is not None:
        Y[change[0], change[1]] = change[2]
    classifier = StackedAutoencoderClassifier(autoencoder=frozen, unlabeled=marker)
    with pytest.raises(ValueError, match=message):
        classifier.fit(X, Y)


def test_class_weights_are_refused_and_sample_weights_are_copies(digits):
    X, Y = digits
    classifier = StackedAutoencoderClassifier(class_weight="balanced", **SMALL)
    with pytest.raises(ValueError, match="pass sample_weight"):
        classifier.fit(X, Y)
    classifier.set_params(class_weight=None, batch_size=400)
    some, weight = X[:150], np.arange(150) % 3
    weighted = clone(classifier).fit(some, Y[:150], sample_weight=weight)
    copies = np.repeat(np.arange(150), weight)
    copied = clone(classifier).fit(some[copies], Y[copies])
    np.testing.assert_allclose(
        weighted.predict_proba(X), copied.predict_proba(X), rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("scoring", ["loss", "accuracy"])
def test_early_stopping_keeps_the_best(digits, scoring):
    X, Y = digits
    params = SMALL | {"max_iter": 30, "early_stopping": True, "scoring": scoring}
    classifier = StackedAutoencoderClassifier(**params).fit(X, Y)
    best = classifier.history_[classifier.best_epoch_ - 1]
    if scoring == "accuracy":
        assert best["valid_score"] == max(classifier.validation_scores_)
    else:
        assert best["valid_loss"] == min(entry["valid_loss"] for entry in classifier.history_)
    assert all(0 <= score <= 1 for score in classifier.validation_scores_)


@pytest.mark.parametrize(
    "head",
    [
        KNeighborsClassifier(3),
        RandomForestClassifier(5),
        MultiOutputClassifier(LogisticRegression(max_iter=500)),
        OneVsRestClassifier(LogisticRegression(max_iter=500)),
        MLPClassifier((5,), max_iter=5, solver="sgd", tol=10.0, n_iter_no_change=1),
    ],
)
def test_heads(digits, frozen, head):
    X, Y = digits
    classifier = StackedAutoencoderClassifier(
        autoencoder=frozen, head=head, fine_tune=False, random_state=0
    ).fit(X, Y)
    proba, codes = classifier.predict_proba(X), classifier.transform(X)
    assert proba.shape == (400, 3)
    np.testing.assert_array_equal(classifier.predict(X), classifier.head_.predict(codes))
    sure = np.abs(proba - 0.5) > 1e-9
    np.testing.assert_array_equal((classifier.predict(X) == 1)[sure], (proba > 0.5)[sure])


def test_a_head_that_has_seen_but_one_value_of_a_label(digits, frozen):
    X, Y = digits
    Y = Y.copy()
    Y[:, 0], Y[:, 1] = 0, 1
    head = RandomForestClassifier(3)
    classifier = StackedAutoencoderClassifier(autoencoder=frozen, head=head, fine_tune=False)
    proba = classifier.fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(proba[:, :2], np.tile([0.0, 1.0], (400, 1)))


def test_a_head_for_single_labels_is_refused_with_advice(digits, frozen):
    classifier = StackedAutoencoderClassifier(autoencoder=frozen, head=SVC(), fine_tune=False)
    with pytest.raises(ValueError, match="wrap it in MultiOutputClassifier"):
        classifier.fit(*digits)


def test_tags_are_those_of_the_head():
    def is_tagged(head):
        tags = get_tags(StackedAutoencoderClassifier(head=head))
        return tags.classifier_tags.multi_label

    assert is_tagged(None)
    assert is_tagged(KNeighborsClassifier())
    assert is_tagged(MultiOutputClassifier(SVC()))
    assert not is_tagged(SVC())


def test_training_goes_on_with_labels_of_one_kind(digits, frozen):
    X, Y = digits
    params = {"autoencoder": frozen, "warm_start": True, "max_iter": 3, "random_state": 0}
    classifier = StackedAutoencoderClassifier(**params).fit(X, Y).fit(X, Y)
    assert len(classifier.loss_curve_) == 6
    with pytest.raises(ValueError, match="is now of the other"):
        classifier.fit(X, Y[:, 0])
    with pytest.raises(ValueError, match="y has 2 columns"):
        classifier.fit(X, Y[:, :2])
    assert clone(classifier).set_params(warm_start=False).fit(X, Y).fit(X, Y[:, 0])
    single = clone(classifier).fit(X, Y[:, 0])
    with pytest.raises(ValueError, match="is now of the other"):
        single.fit(X, Y)


def test_passes_over_chunks(digits, frozen):
    X, Y = digits
    params = {"autoencoder": frozen, "random_state": 0, "learning_rate": "constant"}
    params |= {"n_iter_no_change": np.inf, "max_iter": 3}
    chunks = StackedAutoencoderClassifier(**params)
    with pytest.raises(ValueError, match="classes must be passed"):
        chunks.partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"classes must be numpy.arange\(3\)"):
        chunks.partial_fit(X, Y, classes=[0, 1])
    for _ in range(3):
        chunks.partial_fit(X, Y, classes=np.arange(3))
    expected = clone(chunks).fit(X, Y)
    np.testing.assert_allclose(chunks.predict_proba(X), expected.predict_proba(X), rtol=1e-7)
    chunks.set_params(unlabeled=-1).partial_fit(X, np.full(Y.shape, -1))
    np.testing.assert_allclose(chunks.predict_proba(X), expected.predict_proba(X), rtol=1e-7)


def test_it_is_saved_and_searched(digits, fitted, tmp_path):
    X, Y = digits
    save(fitted, tmp_path / "model.ae")
    loaded = load(tmp_path / "model.ae")
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    search = GridSearchCV(fitted, {"fine_tune": [True, False]}, cv=2).fit(X, Y)
    assert search.best_score_ > 0.3


METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function"]


@pytest.mark.parametrize("n_outputs", [2, 3])
def test_export(digits, n_outputs):
    X, Y = digits[0].astype(np.float32), digits[1][:, :n_outputs]
    classifier = StackedAutoencoderClassifier(**SMALL).fit(X, Y)
    model = to_onnx(classifier, METHODS)
    outputs = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"X": X})
    for method, found in zip(METHODS, outputs, strict=True):
        expected = getattr(classifier, method)(X)
        assert found.shape == expected.shape
        if method == "predict":
            sure = np.abs(classifier.decision_function(X)) > 1e-4
            np.testing.assert_array_equal(found[sure], expected[sure])
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_export_through_skl2onnx(digits):
    import skl2onnx

    X, Y = digits[0].astype(np.float32), digits[1]
    pipeline = make_pipeline(StandardScaler(), StackedAutoencoderClassifier(**SMALL)).fit(X, Y)
    register_onnx_converters()
    options = {id(pipeline): {"zipmap": False}}
    model = skl2onnx.to_onnx(pipeline, X[:1], options=options, target_opset=18)
    labels, proba = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"X": X})
    np.testing.assert_allclose(proba, pipeline.predict_proba(X), rtol=1e-3, atol=1e-4)
    assert labels.shape == Y.shape


def test_export_of_heads_is_refused(digits, frozen):
    classifier = StackedAutoencoderClassifier(
        autoencoder=frozen, head=KNeighborsClassifier(), fine_tune=False
    ).fit(*digits)
    with pytest.raises(ValueError, match="head=None only"):
        to_onnx(classifier, "predict")
    assert to_onnx(classifier, "transform")
