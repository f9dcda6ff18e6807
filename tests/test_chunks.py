"""Supervised stacks that are trained on one chunk of samples after another."""

import pickle

import numpy as np
import pytest
import sklearn.utils.estimator_checks as checks
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor

from sklearn_ae import (
    Autoencoder,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    load,
    save,
)

SMALL = {"hidden_layer_sizes": (24, 12), "pretraining_max_iter": 3, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:300], y[:300]


@pytest.fixture(scope="module")
def frozen(digits):
    return FrozenEstimator(Autoencoder(6, max_iter=3, random_state=0).fit(digits[0]))


def classifier_on(autoencoder, **params):
    params = {"random_state": 0, "learning_rate": "constant"} | params
    return StackedAutoencoderClassifier(autoencoder=autoencoder, **params)


def continued(estimator, n_calls, X, y, **given):
    for _ in range(n_calls):
        estimator.partial_fit(X, y, **given)
    return estimator


@pytest.mark.parametrize("params", [{}, {"fine_tune": False}, {"reconstruction_weight": 0.5}])
def test_passes_over_one_chunk_are_epochs_of_a_fit(digits, frozen, params):
    X, y = digits
    params = params | {"n_iter_no_change": np.inf}
    fitted = classifier_on(frozen, max_iter=4, **params).fit(X, y)
    chunks = continued(classifier_on(frozen, **params), 4, X, y, classes=np.arange(10))
    np.testing.assert_allclose(chunks.head_coef_, fitted.head_coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(chunks.predict_proba(X), fitted.predict_proba(X), rtol=1e-7)
    np.testing.assert_allclose(chunks.loss_curve_, fitted.loss_curve_, rtol=1e-9)
    assert chunks.n_iter_ == 1
    assert [entry["epoch"] for entry in chunks.history_] == [1, 2, 3, 4]


def test_passes_over_one_chunk_of_targets_are_epochs_of_a_fit(digits, frozen):
    X, y = digits
    params = {"autoencoder": frozen, "random_state": 0, "n_iter_no_change": np.inf}
    regressor = StackedAutoencoderRegressor(**params, learning_rate="constant", max_iter=4)
    chunks = continued(StackedAutoencoderRegressor(**params), 4, X, y)
    np.testing.assert_allclose(chunks.predict(X), regressor.fit(X, y).predict(X), rtol=1e-7)


@pytest.mark.parametrize("marker", [-1, np.nan, "none"])
def test_the_autoencoder_is_trained_by_its_own_partial_fit_on_all_samples(digits, marker):
    X, y = digits
    y = y.astype(str) if isinstance(marker, str) else y.astype(float)
    few = np.where(np.arange(len(y)) % 5 == 0, y, marker)
    params = SMALL | {"unlabeled": marker, "fine_tune": False}
    chunks = StackedAutoencoderClassifier(**params)
    stack = StackedAutoencoder(
        12,
        hidden_layer_sizes=(24,),
        activation="tanh",
        code_activation="tanh",
        pretraining_max_iter=3,
        max_iter=100,
        fine_tune=False,
    )
    for part in (slice(0, 150), slice(150, 300)):
        chunks.partial_fit(X[part], few[part], classes=few)
        stack.set_params(random_state=chunks.autoencoder_.random_state).partial_fit(X[part])
    np.testing.assert_array_equal(chunks.transform(X), stack.transform(X))
    np.testing.assert_array_equal(chunks.classes_, np.unique(y))  # the marker is left out


def test_digits_are_learnt_from_chunks_of_which_few_samples_are_labelled():
    X, y = load_digits(return_X_y=True)
    few = np.where(np.arange(len(y)) % 3 == 0, y, -1)
    params = SMALL | {"hidden_layer_sizes": (64, 32)}
    classifier = StackedAutoencoderClassifier(unlabeled=-1, **params)
    for _ in range(8):
        for start in range(0, 1500, 300):
            part = slice(start, start + 300)
            classifier.partial_fit(X[part], few[part], np.arange(10))
    assert classifier.score(X[1500:], y[1500:]) > 0.75


def test_classes_are_given_in_the_first_call(digits, frozen):
    X, y = digits
    classifier = classifier_on(frozen)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        classifier.partial_fit(X, y)
    with pytest.raises(ValueError, match="at least two are needed"):
        classifier.partial_fit(X, y, classes=[1])
    assert not hasattr(classifier, "classes_")
    some = y < 5
    classifier.partial_fit(X[some], y[some], classes=range(10)).partial_fit(X[~some], y[~some])
    np.testing.assert_array_equal(classifier.classes_, np.arange(10))
    assert classifier.predict_proba(X).shape == (300, 10)


def test_classes_do_not_change(digits, frozen):
    X, y = digits
    classifier = classifier_on(frozen).partial_fit(X, y % 3, classes=[0, 1, 2])
    before = classifier.head_coef_
    with pytest.raises(ValueError, match="not the same as on last call"):
        classifier.partial_fit(X, y % 3, classes=[0, 1])
    with pytest.raises(ValueError, match="`y` has classes not in `self.classes_`"):
        classifier.partial_fit(X, y % 4)
    assert classifier.head_coef_ is before
    classifier.partial_fit(X, y % 2).partial_fit(X[y == 0], y[y == 0])  # some are not there


def test_a_chunk_without_labels_trains_the_autoencoder_alone(digits):
    X, y = digits
    nothing = np.full(len(y), -1)
    params = SMALL | {"unlabeled": -1, "fine_tune": False}
    classifier = StackedAutoencoderClassifier(**params)
    classifier.partial_fit(X, nothing, classes=np.arange(10))
    assert classifier.n_iter_ == 0
    assert np.abs(classifier.predict_proba(X) - 0.1).max() < 0.05  # near to where it starts
    classifier.partial_fit(X, y)
    codes, coefficients = classifier.transform(X), classifier.head_coef_
    moments = classifier._training_state["training"]
    classifier.partial_fit(X, nothing)
    np.testing.assert_allclose(classifier.head_coef_, coefficients, rtol=1e-12)
    assert np.abs(classifier.transform(X) - codes).max() > 1e-6
    np.testing.assert_equal(classifier._training_state["training"], moments)


def test_a_fit_is_continued(digits, frozen):
    X, y = digits
    params = {"max_iter": 3, "warm_start": True, "n_iter_no_change": np.inf}
    chunks = classifier_on(frozen, **params).fit(X, y)
    again = clone(chunks).fit(X, y).set_params(max_iter=1).fit(X, y)
    chunks.partial_fit(X, y)
    np.testing.assert_allclose(chunks.predict_proba(X), again.predict_proba(X), rtol=1e-7)
    chunks.fit(X, y)  # and it continues a pass
    assert len(chunks.loss_curve_) == 7
    fresh = clone(chunks).fit(X, y)
    chunks.set_params(warm_start=False).fit(X, y)
    np.testing.assert_array_equal(chunks.predict_proba(X), fresh.predict_proba(X))


def test_a_fit_without_its_optimiser_is_continued_from_its_weights(digits, frozen):
    X, y = digits
    classifier = classifier_on(frozen, max_iter=30, n_iter_no_change=np.inf).fit(X, y)
    last = classifier.loss_curve_[-1]
    first = classifier.loss_curve_[0]
    classifier.partial_fit(X, y)
    assert classifier.loss_curve_[-1] < (last + first) / 2


@pytest.mark.parametrize("weighted", [False, True])
def test_a_head_is_trained_by_its_own_partial_fit(digits, frozen, weighted):
    X, y = digits
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    few = np.where(np.arange(len(y)) % 3 == 0, y, -1)
    head = SGDClassifier(random_state=0)
    classifier = classifier_on(frozen, head=head, fine_tune=False, unlabeled=-1)
    expected, codes = clone(head), frozen.estimator.transform(X)
    for part in (slice(0, 150), slice(150, 300)):
        known = np.flatnonzero(few[part] != -1) + part.start
        given = {} if weight is None else {"sample_weight": weight[known]}
        expected.partial_fit(codes[known], y[known], classes=np.arange(10), **given)
        own = None if weight is None else weight[part]
        classifier.partial_fit(X[part], few[part], np.arange(10), own)
    np.testing.assert_array_equal(classifier.head_.coef_, expected.coef_)
    assert not hasattr(classifier, "head_coef_")
    before = pickle.dumps(classifier.head_)
    with pytest.raises(ValueError, match="classes not in"):
        classifier.partial_fit(X, y + 1)
    assert pickle.dumps(classifier.head_) == before


def test_a_head_of_a_regressor_is_trained_by_its_own_partial_fit(digits, frozen):
    X, y = digits
    codes, head = frozen.estimator.transform(X), SGDRegressor(random_state=0)
    params = {"autoencoder": frozen, "head": head, "fine_tune": False}
    regressor = continued(StackedAutoencoderRegressor(**params), 2, X, y)
    expected = continued(clone(head), 2, codes, y.astype(float))
    np.testing.assert_array_equal(regressor.predict(X), expected.predict(codes))


@pytest.mark.parametrize(
    "stack",
    [
        StackedAutoencoderClassifier(head=LogisticRegression()),
        StackedAutoencoderRegressor(head=Ridge()),
    ],
)
def test_a_head_without_partial_fit_is_named(stack):
    assert not hasattr(stack, "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as error:
        stack.partial_fit  # noqa: B018
    assert str(stack.head) in str(error.value.__cause__)
    assert "use head=None" in str(error.value.__cause__)
    assert hasattr(stack.set_params(head=None), "partial_fit")


def test_the_head_stays_of_one_kind(digits, frozen):
    X, y = digits
    params = {"head": SGDClassifier(random_state=0), "fine_tune": False, "unlabeled": -1}
    classifier = classifier_on(frozen, **params)
    with pytest.raises(ValueError, match="no labelled sample"):
        classifier.partial_fit(X, np.full(len(y), -1), classes=range(10))
    classifier.partial_fit(X, y, classes=range(10)).partial_fit(X, np.full(len(y), -1))
    from sklearn.naive_bayes import GaussianNB

    with pytest.raises(ValueError, match="head was changed from SGDClassifier to GaussianNB"):
        classifier.set_params(head=GaussianNB()).partial_fit(X, y)


@pytest.mark.parametrize("head", [SGDClassifier(random_state=0), None])
def test_scikit_learn_checks_with_a_head(head):
    classifier = StackedAutoencoderClassifier(head=head, fine_tune=False, **SMALL)
    name = type(classifier).__name__
    checks.check_estimators_partial_fit_n_features(name, classifier)
    checks.check_n_features_in_after_fitting(name, classifier)
    checks.check_dataframe_column_names_consistency(name, classifier)
    checks.check_classifiers_one_label(name, classifier)


def test_class_weights_are_sample_weights(digits, frozen):
    X, y = digits
    y = (y > 6).astype(int)
    weights = {0: 1.0, 1: 3.0}
    by_class = classifier_on(frozen, class_weight=weights)
    by_class.partial_fit(X, y, [0, 1])
    by_sample = classifier_on(frozen)
    by_sample.partial_fit(X, y, [0, 1], np.where(y == 1, 3.0, 1.0))
    np.testing.assert_allclose(by_class.head_coef_, by_sample.head_coef_, rtol=1e-9)
    by_class.set_params(class_weight={0: 0.0, 1: 1.0})
    before = by_class.head_coef_
    by_class.partial_fit(X[y == 0], y[y == 0])  # nothing counts
    np.testing.assert_allclose(by_class.head_coef_, before, rtol=1e-12)
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        by_class.set_params(class_weight="balanced").partial_fit(X, y)


def test_targets_keep_the_units_of_the_first_chunk():
    X, y = load_diabetes(return_X_y=True)
    regressor = StackedAutoencoderRegressor(**SMALL)
    with pytest.raises(ValueError, match="no target that is not NaN"):
        regressor.partial_fit(X, np.full(len(y), np.nan))
    for _ in range(10):
        for start in range(0, 440, 110):
            regressor.partial_fit(X[start : start + 110], y[start : start + 110])
    assert regressor._y_mean == pytest.approx([y[:110].mean()])
    assert regressor.score(X, y) > 0.3
    predicted = regressor.predict(X)
    regressor.set_params(fine_tune=True).partial_fit(X, np.full(len(y), np.nan))
    assert regressor.predict(X).shape == predicted.shape


@pytest.mark.parametrize("way", ["pickle", "file"])
def test_passes_go_on_after_a_journey(digits, way, tmp_path):
    X, y = digits
    classifier = StackedAutoencoderClassifier(**SMALL).partial_fit(X[:150], y[:150], range(10))
    if way == "pickle":
        arrived = pickle.loads(pickle.dumps(classifier))
    else:
        save(classifier, tmp_path / "model.ae")
        arrived = load(tmp_path / "model.ae")
    expected = classifier.partial_fit(X[150:], y[150:]).predict_proba(X)
    found = arrived.partial_fit(X[150:], y[150:]).predict_proba(X)
    np.testing.assert_array_equal(found, expected)


def test_nothing_changes_when_a_pass_fails(digits):
    X, y = digits
    classifier = StackedAutoencoderClassifier(**SMALL).partial_fit(X, y, range(10))
    before = classifier.predict_proba(X)
    with pytest.raises(ValueError, match="diverged"):
        classifier.set_params(learning_rate_init=1e30).partial_fit(X, y)
    np.testing.assert_array_equal(classifier.predict_proba(X), before)
