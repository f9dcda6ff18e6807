"""Classifier and regressor on a stack: all rows train the encoder, labelled ones the head."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn.utils.estimator_checks as checks
import torch
from instances import SUPERVISED, name_of, one_of_each
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedKFold,
    cross_val_score,
    learning_curve,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.callbacks import Callback

from sklearn_ae import (
    ConvolutionalAutoencoder,
    LSTMAutoencoder,
    RestrictedBoltzmannMachine,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    VariationalAutoencoder,
)
from sklearn_ae._estimator.fitting import split
from sklearn_ae._training import device
from sklearn_ae._training.batches import Samples
from sklearn_ae.networks import DenseNetwork
from sklearn_ae.networks._head import HeadedModule
from sklearn_ae.networks._module import AutoencoderModule

SMALL = {
    "hidden_layer_sizes": (24, 12),
    "pretraining_max_iter": 5,
    "max_iter": 10,
    "random_state": 0,
}

FURTHER_CHECKS = [
    checks.check_dataframe_column_names_consistency,
    checks.check_transformer_get_feature_names_out,
    checks.check_transformer_get_feature_names_out_pandas,
    checks.check_get_feature_names_out_error,
    checks.check_set_output_transform,
    checks.check_set_output_transform_pandas,
    checks.check_set_output_transform_polars,
    checks.check_global_output_transform_pandas,
    checks.check_global_set_output_transform_polars,
    checks.check_inplace_ensure_writeable,
    checks.check_param_validation,
]


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:500], y[:500]


@pytest.fixture(scope="module")
def few(digits):
    """Digits, of which a fifth has a label."""
    X, y = digits
    return X, np.where(np.arange(len(y)) % 5 == 0, y, -1)


def fitted(X, y, sample_weight=None, **params):
    classifier = StackedAutoencoderClassifier(**SMALL | {"unlabeled": -1} | params)
    return classifier.fit(X, y, sample_weight)


# scikit-learn's contract


@parametrize_with_checks(SUPERVISED, xfail_strict=True)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# Some of the checks fit on a frame and transform an array, to see that it works.
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names")
@pytest.mark.parametrize("check", FURTHER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("estimator", one_of_each(SUPERVISED), ids=name_of)
def test_further_scikit_learn_checks(estimator, check):
    check(type(estimator).__name__, clone(estimator).set_params(random_state=0))


# What is labelled, and what is not


def test_unlabelled_samples_train_the_autoencoder(few):
    X, y = few
    classifier = fitted(X, y, fine_tune=False)
    stack = StackedAutoencoder(
        12,
        hidden_layer_sizes=(24,),
        activation="tanh",
        code_activation="tanh",
        pretraining_max_iter=5,
        max_iter=10,
        fine_tune=False,
        random_state=classifier.autoencoder_.random_state,
    ).fit(X)
    np.testing.assert_array_equal(classifier.transform(X), stack.transform(X))
    labelled = fitted(X[y != -1], y[y != -1], fine_tune=False)
    assert np.abs(labelled.transform(X) - classifier.transform(X)).max() > 1e-3


def test_unlabelled_samples_do_not_train_the_head(few):
    X, y = few
    head = KNeighborsClassifier(3)
    classifier = fitted(X, y, head=head, fine_tune=False)
    codes = classifier.transform(X)
    expected = clone(head).fit(codes[y != -1], y[y != -1])
    np.testing.assert_array_equal(classifier.predict(X), expected.predict(codes))
    assert -1 not in classifier.classes_
    assert -1 not in classifier.predict(X)


def test_pre_training_helps_where_labels_are_few():
    X, y = load_digits(return_X_y=True)
    scores = {None: [], "denoising": []}
    for seed in range(3):
        order = np.random.RandomState(seed).permutation(len(y))
        few = np.full(len(y), -1)
        few[order[:50]] = y[order[:50]]
        for pretraining, collected in scores.items():
            classifier = StackedAutoencoderClassifier(
                hidden_layer_sizes=(128, 128),
                activation="logistic",
                pretraining=pretraining,
                pseudo_labels=False,  # neighbours of the features help without pre-training
                unlabeled=-1,
                random_state=seed,
            ).fit(X, few)
            collected.append(classifier.score(X[order[50:]], y[order[50:]]))
    assert np.mean(scores["denoising"]) > np.mean(scores[None]) + 0.02


@pytest.mark.parametrize(
    "names",
    [
        np.array(list("abcdefghij")),
        pytest.param(np.array(list("abcdefghij"), dtype=object), marks=pytest.mark.slow),
        pytest.param(np.arange(10) * 10 + 3, marks=pytest.mark.slow),
        np.arange(10) + 0.0,
    ],
    ids=lambda names: str(names.dtype),
)
def test_labels_of_any_type(digits, names):
    X, y = digits
    by_number = fitted(X, y)
    by_name = fitted(X, names[y])
    np.testing.assert_array_equal(by_name.classes_, names)
    np.testing.assert_array_equal(by_name.predict(X), names[by_number.predict(X)])
    np.testing.assert_array_equal(by_name.predict_proba(X), by_number.predict_proba(X))
    few = np.where(np.arange(len(y)) % 2 == 0, names[y].astype(object), -1)
    of_few = fitted(X, np.where(np.arange(len(y)) % 2 == 0, y, -1))
    semi = fitted(X, few if names.dtype.kind in "OU" else few.astype(names.dtype))
    np.testing.assert_array_equal(semi.predict(X), names[of_few.predict(X)])


def test_labels_of_numpy_strings(digits):
    few = np.array(["a", "b", -1] * 100)
    assert few.dtype.kind == "U"
    X = digits[0][:300]
    assert "-1" not in fitted(X, few).classes_


def test_truth_values(digits):
    X, y = digits
    classifier = fitted(X, y > 4)
    assert classifier.predict(X).dtype == bool
    assert classifier.decision_function(X).shape == (len(X),)
    assert classifier.head_coef_.shape == (1, 12)
    np.testing.assert_array_equal(classifier.decision_function(X) > 0, classifier.predict(X))


def test_too_few_classes_are_refused_with_advice(digits):
    X, y = digits
    with pytest.raises(ValueError, match=r"1 class .*unlabeled=-1 .*set unlabeled=None"):
        fitted(X, np.where(y > 4, 1, -1))
    with pytest.raises(ValueError, match="0 class .*at least two"):
        fitted(X, np.full(len(y), -1))
    with pytest.raises(ValueError, match="1 class") as error:
        fitted(X, np.ones(len(y)))
    assert "-1" not in str(error.value)


def test_scores_ignore_unlabelled_samples(few, digits):
    X, y = few
    classifier = fitted(X, y)
    known = y != -1
    assert classifier.score(X, y) == pytest.approx(classifier.score(X[known], y[known]))
    weight = np.random.default_rng(0).random(len(y))
    expected = np.average((classifier.predict(X) == y)[known], weights=weight[known])
    assert classifier.score(X, y, sample_weight=weight) == pytest.approx(expected)
    with pytest.raises(ValueError, match="no labelled sample"):
        classifier.score(X, np.full(len(y), -1))


# Heads


def test_the_softmax_layer_is_logistic_regression(digits):
    X, y = digits
    classifier = fitted(
        X,
        y,
        fine_tune=False,
        alpha=0.0,
        max_iter=1500,
        learning_rate_init=0.03,
        batch_size=500,
    )
    codes = classifier.transform(X)
    scores = codes @ classifier.head_coef_.T + classifier.head_intercept_
    np.testing.assert_allclose(classifier.decision_function(X), scores, rtol=1e-12)
    reference = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(codes, y)

    def loss(proba):
        return -np.log(proba[np.arange(len(y)), y]).mean()

    assert loss(classifier.predict_proba(X)) < loss(reference.predict_proba(codes)) + 0.02
    assert loss(classifier.predict_proba(X)) == pytest.approx(classifier.loss_curve_[-1], rel=0.05)


def test_the_linear_layer_is_least_squares():
    X, y = load_diabetes(return_X_y=True)
    y = np.where(np.arange(len(y)) < 200, y, np.nan)
    regressor = StackedAutoencoderRegressor(
        hidden_layer_sizes=(8, 4),
        pretraining_max_iter=10,
        fine_tune=False,
        alpha=0.0,
        early_stopping=False,
        max_iter=2000,
        learning_rate_init=0.03,
        batch_size=200,
        random_state=0,
    ).fit(X, y)
    codes = regressor.transform(X)
    reference = LinearRegression().fit(codes[:200], y[:200])
    # Its error is the least there is, however long and narrow the valley around the minimum.
    error = np.square(regressor.predict(X)[:200] - y[:200]).mean()
    least = np.square(reference.predict(codes[:200]) - y[:200]).mean()
    assert least * (1 - 1e-6) <= error < least * 1.002


@pytest.mark.parametrize("fine_tune", [False, True])
@pytest.mark.parametrize(
    "head",
    [LogisticRegression(max_iter=500), SVC(), RandomForestClassifier(20, random_state=0)],
    ids=lambda head: type(head).__name__,
)
def test_any_classifier_on_the_code(few, head, fine_tune):
    X, y = few
    classifier = fitted(X, y, head=head, fine_tune=fine_tune)
    codes, known = classifier.transform(X), y != -1
    expected = clone(head).fit(codes[known], y[known])
    np.testing.assert_array_equal(classifier.predict(X), expected.predict(codes))
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        assert hasattr(classifier, method) == hasattr(head, method)
    autoencoder = classifier.autoencoder_
    assert (classifier.history_ == autoencoder.history_) == (not fine_tune)


def test_a_head_that_takes_no_weights_is_not_given_any(few):
    X, y = few
    weight = np.ones(len(y))
    with pytest.raises(ValueError, match="head=KNeighborsClassifier.* does not take weights"):
        fitted(X, y, head=KNeighborsClassifier(), sample_weight=weight)
    assert fitted(X, y, head=SVC(), sample_weight=weight).head_.support_.size


def test_units_that_hardly_vary_are_not_made_loud():
    module = AutoencoderModule(DenseNetwork(hidden_layer_sizes=()), (3,), 2)
    module.code_factor.copy_(torch.tensor([[2.0, 0.0], [0.0, 1e-3]]))
    headed = HeadedModule(module, 2, "head")
    torch.nn.init.ones_(headed.head.weight)
    codes = torch.tensor([[2.0, 0.0], [0.0, 1e-3]])
    loud, quiet = (headed(codes) - headed(torch.zeros(1, 2))).detach()[:, 0]
    assert float(loud) == pytest.approx(2**0.5, rel=1e-3)
    assert float(quiet / loud) == pytest.approx(1e-3 / 2, rel=1e-3)
    weight, bias = headed.linear_map()
    torch.testing.assert_close((codes.double() @ weight.t() + bias).float(), headed(codes))


def test_the_head_that_counts_is_the_fitted_one(few):
    X, y = few
    with_forest = fitted(X, y, head=RandomForestClassifier(5, random_state=0), fine_tune=False)
    for classifier in (fitted(X, y), with_forest):
        methods = ("predict", "predict_proba", "predict_log_proba")
        with np.errstate(divide="ignore"):
            before = [getattr(classifier, method)(X) for method in methods]
            classifier.set_params(head=SVC() if classifier.head is None else None)
            after = [getattr(classifier, method)(X) for method in methods]
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)


# Fine-tuning


def parameters(estimator, part):
    return [p.detach().numpy().copy() for p in getattr(estimator.module_, part).parameters()]


def test_fine_tuning_moves_the_encoder_and_nothing_else(few):
    X, y = few
    stack = StackedAutoencoder(12, hidden_layer_sizes=(24,), max_iter=5, random_state=0).fit(X)
    before = parameters(stack, "encoder"), parameters(stack, "decoder")
    for fine_tune in (False, True):
        classifier = fitted(X, y, autoencoder=FrozenEstimator(stack), fine_tune=fine_tune)
        tuned = classifier.autoencoder_
        for old, new in zip(before[0], parameters(tuned, "encoder"), strict=True):
            assert np.array_equal(old, new) != fine_tune
        for old, new in zip(before[1], parameters(tuned, "decoder"), strict=True):
            np.testing.assert_array_equal(old, new)
        for old, new in zip(before[0], parameters(stack, "encoder"), strict=True):
            np.testing.assert_array_equal(old, new)


def test_constant_samples_have_constant_predictions():
    X, y = np.ones((50, 5)), np.array([0, 1] * 5 + [-1] * 40)
    model = StackedAutoencoderClassifier(
        unlabeled=-1, max_iter=4, hidden_layer_sizes=(32, 8), random_state=0
    ).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), 0.5, atol=0.05)


def test_reconstruction_keeps_the_decoder_useful(few):
    X, y = few
    params = {"max_iter": 60, "learning_rate_init": 0.01, "pretraining_max_iter": 40}
    params["adversarial_weight"] = 0.0
    without, weighted = (
        fitted(X, y, reconstruction_weight=weight, **params) for weight in (0.0, 1.0)
    )
    assert weighted.autoencoder_.score(X) > without.autoencoder_.score(X) + 0.1
    assert set(weighted.history_[0]) >= {"supervised", "reconstruction"}
    last = weighted.history_[-1]
    assert last["train_loss"] == pytest.approx(last["supervised"] + last["reconstruction"])


def test_reconstruction_uses_unlabelled_samples(digits):
    X, y = digits
    far = np.concatenate([X, X[:50][:, ::-1]])
    labels = np.concatenate([y, np.full(50, -1)])
    labels[10:500] = -1
    params = {"reconstruction_weight": 1.0, "max_iter": 100, "pretraining_max_iter": 1}
    tuned = fitted(far, labels, **params).autoencoder_
    start = fitted(far, labels, fine_tune=False, **params).autoencoder_
    assert tuned.score(far[-50:]) > start.score(far[-50:]) + 0.1


def test_early_stopping_keeps_the_best(digits):
    X, y = digits
    for scoring in ("loss", "accuracy"):
        classifier = fitted(X, y, early_stopping=True, scoring=scoring, max_iter=30)
        losses = [entry["valid_loss"] for entry in classifier.history_]
        accuracies = classifier.validation_scores_
        key = [
            loss if scoring == "loss" else (-accuracy, loss)
            for loss, accuracy in zip(losses, accuracies, strict=True)
        ]
        assert classifier.best_epoch_ == 1 + min(range(30), key=key.__getitem__)
        assert 0 < max(accuracies) <= 1


def test_held_out_samples_are_of_all_classes(digits):
    X, y = digits
    y = (y == 0).astype(int)  # a tenth
    rows = Samples(X, None, torch.device("cpu"), torch.float64)
    rows.targets = Samples(y[:, None], None, torch.device("cpu"), torch.float64)
    _, held_out = split(rows, 0, 0.1, y)
    targets = held_out.targets.take(slice(0, len(held_out)))
    assert int(targets.sum()) == -(-y.sum() // 10)


def test_where_labels_are_few_samples_are_held_out_of_all_together(digits):
    X, y = digits
    few = np.full(len(y), -1)
    for digit in range(10):
        few[np.flatnonzero(y == digit)[:4]] = digit
    rows = Samples(X[few >= 0], None, torch.device("cpu"), torch.float64)
    training, held_out = split(rows, 0, 0.1, few[few >= 0])
    assert (len(training), len(held_out)) == (36, 4)


def test_class_weights_are_sample_weights(digits):
    X, y = digits[0], (digits[1] > 7).astype(int)
    weights = {0: 1.0, 1: 3.0}
    stack = FrozenEstimator(StackedAutoencoder(8, **SMALL | {"max_iter": 5}).fit(X))
    by_class = fitted(X, y, class_weight=weights, autoencoder=stack)
    by_row = StackedAutoencoderClassifier(**SMALL, autoencoder=stack)
    by_row.fit(X, y, sample_weight=np.where(y, 3.0, 1.0))
    np.testing.assert_allclose(by_class.predict_proba(X), by_row.predict_proba(X), rtol=1e-10)
    balanced = fitted(X, y, class_weight="balanced", autoencoder=stack)
    share = len(y) / 2 / np.bincount(y)
    same = fitted(X, y, class_weight=dict(enumerate(share)), autoencoder=stack)
    np.testing.assert_allclose(balanced.predict_proba(X), same.predict_proba(X), rtol=1e-10)


@pytest.mark.parametrize("weights", [{0: 0.0, 1: 0.0}, {0: -1.0}])
def test_class_weights_that_are_none_are_refused(digits, weights):
    X, y = digits
    with pytest.raises(ValueError, match="class_weight comes to"):
        fitted(X, y > 4, class_weight=weights)


@pytest.mark.parametrize("params", [{}, {"fine_tune": False}, {"reconstruction_weight": 0.5}])
def test_training_goes_on(few, params):
    X, y = few
    params = params | {"learning_rate": "constant"}
    once = fitted(X, y, **params | {"max_iter": 12})
    params = params | {"unlabeled": -1, "warm_start": True, "max_iter": 6}
    twice = StackedAutoencoderClassifier(**SMALL | params)
    twice.fit(X, y).fit(X, y)
    np.testing.assert_allclose(twice.predict_proba(X), once.predict_proba(X), rtol=1e-6)
    assert [entry["epoch"] for entry in twice.history_] == list(range(1, 13))
    assert twice.n_iter_ == 6


def test_what_cannot_go_on_is_refused(few):
    X, y = few
    classifier = fitted(X, y, warm_start=True)
    for params in ({"hidden_layer_sizes": (24, 13)}, {"fine_tune": False}):
        with pytest.raises(ValueError, match="cannot continue"):
            clone(classifier).fit(X, y).set_params(**params).fit(X, y)
    with pytest.raises(ValueError, match="classes were"):
        classifier.fit(X, y % 5 * (y >= 0) - (y < 0))
    classifier.fit(X, y)


# The autoencoder may be any


def test_the_stack_is_reached_either_way(few):
    X, y = few
    flat = fitted(X, y, noise_level=0.4)
    stack = StackedAutoencoder(
        12,
        hidden_layer_sizes=(24,),
        activation="tanh",
        code_activation="tanh",
        pretraining_max_iter=5,
        max_iter=10,
        fine_tune=False,
        random_state=flat.autoencoder_.random_state,
    )
    nested = StackedAutoencoderClassifier(autoencoder=stack, unlabeled=-1, max_iter=10)
    nested.set_params(autoencoder__noise_level=0.4, random_state=0).fit(X, y)
    np.testing.assert_array_equal(flat.predict_proba(X), nested.predict_proba(X))


@pytest.mark.parametrize("fine_tune", [False, True])
@pytest.mark.parametrize(
    "autoencoder",
    [
        VariationalAutoencoder(6, hidden_layer_sizes=(32,), max_iter=30),
        ConvolutionalAutoencoder(6, channels=(4,), max_iter=2),
    ],
    ids=lambda autoencoder: type(autoencoder).__name__,
)
def test_any_autoencoder(few, autoencoder, fine_tune):
    X, y = few
    images = X.reshape(-1, 8, 8)
    classifier = StackedAutoencoderClassifier(
        autoencoder=autoencoder, fine_tune=fine_tune, unlabeled=-1, max_iter=40, random_state=0
    ).fit(images, y)
    assert classifier.transform(images).shape[0] == len(X)
    # Six numbers of a hardly trained network tell digits apart far better than guessing does. By
    # guesses, the accuracy on the samples that are not trained on is binomial.
    unseen, truth = y == -1, load_digits().target[: len(y)]
    guessed = np.bincount(truth[unseen]).max() / unseen.sum()
    error = np.sqrt(guessed * (1 - guessed) / unseen.sum())
    assert (classifier.predict(images) == truth)[unseen].mean() > guessed + 10 * error
    assert not hasattr(autoencoder, "module_")


def test_sequences_of_unequal_length():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = [np.sin((1 + kind) * np.arange(rng.integers(9, 15))) for kind in y]
    lstm = LSTMAutoencoder(8, max_iter=20, random_state=0)
    classifier = StackedAutoencoderClassifier(autoencoder=lstm, random_state=0).fit(X, y)
    assert classifier.score(X, y) > 0.9


def test_a_frozen_autoencoder_is_not_trained_again(few):
    X, y = few
    stack = StackedAutoencoder(8, **SMALL).fit(X)
    classifier = fitted(X, y, autoencoder=FrozenEstimator(stack), fine_tune=False)
    np.testing.assert_array_equal(classifier.transform(X), stack.transform(X))
    assert classifier.n_iter_ == 10
    with pytest.raises(ValueError, match="64"):
        fitted(X[:, :5], y, autoencoder=FrozenEstimator(stack))


@pytest.mark.parametrize("what", [PCA(2), make_pipeline(StandardScaler(), StackedAutoencoder(2))])
def test_what_is_frozen_must_be_an_autoencoder(few, what):
    X, y = few
    with pytest.raises(ValueError, match="FrozenEstimator of (PCA|Pipeline), but it"):
        fitted(X, y, autoencoder=FrozenEstimator(what.fit(X[:60])))


def test_columns_are_those_of_the_frozen_autoencoder(few):
    X, y = few
    frame = pd.DataFrame(X, columns=[f"p{i}" for i in range(64)])
    frozen = FrozenEstimator(StackedAutoencoder(8, **SMALL).fit(frame))
    classifier = fitted(frame, y, autoencoder=frozen)
    assert classifier.predict(frame).shape == y.shape
    with pytest.raises(ValueError, match="column 0 of X is 'p63', but .* with 'p0' there"):
        fitted(frame.iloc[:, ::-1], y, autoencoder=frozen)


def test_samples_may_be_flat_or_images(few):
    X, y = few
    images = X.reshape(-1, 8, 8)
    classifier = fitted(images, y)
    expected = classifier.predict(images)
    np.testing.assert_array_equal(classifier.predict(X), expected)
    np.testing.assert_array_equal(classifier.predict(sp.csr_matrix(X)), expected)
    frozen = FrozenEstimator(StackedAutoencoder(8, **SMALL).fit(X))
    classifier = fitted(images, y, autoencoder=frozen)
    assert classifier.predict(images).shape == y.shape


def test_the_next_fit_may_have_another_autoencoder():
    rng = np.random.default_rng(0)
    y = np.arange(20) % 2
    sequences = [rng.normal(size=rng.integers(4, 9)) for _ in y]
    lstm = LSTMAutoencoder(3, max_iter=1, random_state=0)
    classifier = fitted(rng.normal(size=(20, 5)), y)
    classifier.set_params(autoencoder=lstm).fit(sequences, y)
    assert classifier.predict(sequences).shape == y.shape
    classifier.set_params(warm_start=True).fit(sequences, y)
    with pytest.raises(ValueError, match="changed from LSTMAutoencoder to StackedAutoencoder"):
        classifier.set_params(autoencoder=None).fit(rng.normal(size=(20, 8)), y)


def test_sequences_may_be_shorter_than_those_of_the_frozen_autoencoder():
    rng = np.random.default_rng(0)
    y = np.arange(20) % 2
    sequences = [rng.normal(size=4 + number % 5) for number in range(40)]
    frozen = FrozenEstimator(LSTMAutoencoder(3, max_iter=1, random_state=0).fit(sequences))
    short = sorted(sequences, key=len)[:20]
    classifier = fitted(short, y, autoencoder=frozen)
    assert classifier.predict(sequences).shape == (40,)


def test_data_must_suit_the_loss_of_the_frozen_autoencoder(digits):
    X, y = digits
    stack = StackedAutoencoder(8, loss="binary_crossentropy", **SMALL).fit(X / 16)
    params = {"autoencoder": FrozenEstimator(stack), "reconstruction_weight": 1.0}
    with pytest.raises(ValueError, match="loss='binary_crossentropy' needs data in"):
        fitted(X, y, **params)
    assert fitted(X / 16, y, **params).n_iter_ == 10


@pytest.mark.parametrize("autoencoder", [SVC(), StackedAutoencoder])
def test_what_is_no_autoencoder_is_refused(few, autoencoder):
    message = "must be an autoencoder of sklearn_ae, a FrozenEstimator of one or None. Got"
    with pytest.raises(ValueError, match=message):
        fitted(*few, autoencoder=autoencoder)


@pytest.mark.parametrize(
    ("estimator", "marking"),
    [
        (StackedAutoencoderClassifier(), "by -1 in y, and set unlabeled=-1"),
        (StackedAutoencoderRegressor(), "by NaN in y"),
    ],
)
def test_without_labels_the_error_says_how_they_are_marked(few, estimator, marking):
    with pytest.raises(ValueError, match=f"requires y to be passed, but .* is None.*{marking}"):
        estimator.fit(few[0])


# Data of all kinds


def test_kinds_of_data(few):
    X, y = few
    classifier = fitted(X, y)
    expected = classifier.predict(X)
    frame = pd.DataFrame(X, columns=[f"p{i}" for i in range(64)])
    for data in (sp.csr_matrix(X), torch.from_numpy(X), X.reshape(-1, 8, 8), frame):
        np.testing.assert_array_equal(fitted(data, y).predict(data), expected)
    single = fitted(X.astype(np.float32), y)
    assert single.transform(X.astype(np.float32)).dtype == np.float32
    assert single.predict_proba(X.astype(np.float32)).dtype == np.float64
    names = clone(classifier).set_output(transform="pandas").fit(frame, y).transform(frame)
    assert list(names)[:2] == ["stackedautoencoderclassifier0", "stackedautoencoderclassifier1"]


@pytest.mark.parametrize("head", [None, SVC()])
def test_pickles_hold_no_torch(few, head):
    X, y = few
    classifier = fitted(X, y, head=head)
    dump = pickle.dumps(classifier)
    assert b"torch" not in dump
    np.testing.assert_array_equal(pickle.loads(dump).predict(X), classifier.predict(X))


def test_nothing_changes_when_a_fit_fails(few):
    X, y = few
    classifier = fitted(X, y)
    before = dict(vars(classifier))
    classifier.set_params(learning_rate_init=1e30)
    with pytest.raises(ValueError, match="diverged"):
        classifier.fit(X, y)
    after = dict(vars(classifier))
    assert before.keys() == after.keys()
    assert all(before[key] is after[key] for key in before if key != "learning_rate_init")


# The regressor


def test_samples_without_a_target():
    X, y = load_diabetes(return_X_y=True)
    few = np.where(np.arange(len(y)) % 3 == 0, y, np.nan)
    known = ~np.isnan(few)
    regressor = StackedAutoencoderRegressor(**SMALL | {"max_iter": 50}).fit(X, few)
    assert regressor.predict(X).shape == (len(X),)
    assert regressor.score(X, few) == pytest.approx(regressor.score(X[known], y[known]))
    assert regressor.score(X[known], y[known]) > 0.4
    stack = StackedAutoencoder(8, **SMALL).fit(X)
    ridge = StackedAutoencoderRegressor(
        autoencoder=FrozenEstimator(stack), head=Ridge(), fine_tune=False
    ).fit(X, few)
    expected = Ridge().fit(stack.transform(X)[known], y[known]).predict(stack.transform(X))
    np.testing.assert_allclose(ridge.predict(X), expected)


def test_several_targets():
    X, y = load_diabetes(return_X_y=True)
    both = np.column_stack([y, 1000 - 3 * y])
    both[5] = np.nan
    regressor = StackedAutoencoderRegressor(**SMALL | {"max_iter": 50}).fit(X, both)
    assert regressor.predict(X).shape == (len(X), 2)
    assert regressor.score(X, both) > 0.3
    both[6, 1] = np.nan
    with pytest.raises(ValueError, match="some targets that are NaN"):
        StackedAutoencoderRegressor(**SMALL).fit(X, both)
    with pytest.raises(ValueError, match="no target"):
        StackedAutoencoderRegressor(**SMALL).fit(X, np.full(len(X), np.nan))
    with pytest.raises(ValueError, match="all targets are NaN"):
        regressor.score(X, np.full_like(both, np.nan))


def test_units_of_the_target_do_not_matter():
    X, y = load_diabetes(return_X_y=True)
    a = StackedAutoencoderRegressor(**SMALL).fit(X, y)
    b = StackedAutoencoderRegressor(**SMALL).fit(X, 1e6 * y - 3e8)
    np.testing.assert_allclose(b.predict(X), 1e6 * a.predict(X) - 3e8, rtol=1e-6)


def test_regression_goes_on():
    X, y = load_diabetes(return_X_y=True)
    params = SMALL | {"learning_rate": "constant", "early_stopping": True}
    once = StackedAutoencoderRegressor(**params | {"max_iter": 12}).fit(X, y)
    twice = StackedAutoencoderRegressor(**params | {"max_iter": 6, "warm_start": True})
    twice.fit(X, y).fit(X, y)
    assert len(twice.validation_scores_) == 12
    assert twice.score(X, y) == pytest.approx(once.score(X, y), abs=0.05)


# What users write


def test_grid_search_in_a_pipeline(few):
    X, y = few
    pipeline = Pipeline(
        [
            ("scale", StandardScaler()),
            ("classify", StackedAutoencoderClassifier(**SMALL, unlabeled=-1)),
        ]
    )
    grid = {
        "classify__noise_level": [0.1, 0.3],
        "classify__hidden_layer_sizes": [(16,), (24, 12)],
        "classify__fine_tune": [True, False],
    }
    search = GridSearchCV(pipeline, grid, cv=StratifiedKFold(2), error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.score(X, y) == search.best_estimator_.score(X, y) > 0.5


def test_grid_search_over_the_nested_stack(few):
    X, y = few
    classifier = StackedAutoencoderClassifier(
        autoencoder=StackedAutoencoder(8, **SMALL), unlabeled=-1, max_iter=10, random_state=0
    )
    grid = {"autoencoder__hidden_layer_sizes": [(16,), (12, 10)], "head": [None, SVC()]}
    search = GridSearchCV(classifier, grid, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["mean_test_score"]) == 4


def test_a_stack_before_a_support_vector_machine(digits):
    X, y = digits
    stack = StackedAutoencoder(16, **SMALL | {"pretraining_max_iter": 30})
    scores = cross_val_score(Pipeline([("s", StandardScaler()), ("a", stack), ("c", SVC())]), X, y)
    assert scores.mean() > 0.8


def test_halving_search_over_epochs(digits):
    X, y = digits
    search = HalvingGridSearchCV(
        StackedAutoencoderClassifier(**SMALL),
        {"learning_rate_init": [1e-4, 1e-3, 3e-3, 1e-2]},
        resource="max_iter",
        min_resources=2,
        max_resources=8,
        factor=2,
        cv=2,
        random_state=0,
        error_score="raise",
    ).fit(X, y)
    assert search.best_estimator_.max_iter == 8


def test_cross_validation_in_two_processes(digits):
    X, y = digits
    classifier = StackedAutoencoderClassifier(**SMALL)
    alone = cross_val_score(classifier, X, y, cv=3)
    np.testing.assert_array_equal(alone, cross_val_score(classifier, X, y, cv=3, n_jobs=2))


def test_inside_other_estimators(digits):
    X, y = digits[0][:300], digits[1][:300] % 3
    classifier = StackedAutoencoderClassifier(**SMALL | {"max_iter": 30})
    calibrated = CalibratedClassifierCV(classifier, cv=2).fit(X, y)
    assert calibrated.score(X, y) > 0.7
    both = [("stack", classifier), ("forest", RandomForestClassifier(10, random_state=0))]
    assert StackingClassifier(both, cv=2).fit(X, y).score(X, y) > 0.7
    importance = permutation_importance(classifier.fit(X, y), X, y, n_repeats=2, random_state=0)
    assert importance.importances_mean[0] == 0  # the first pixel is always blank
    assert importance.importances_mean.max() > 0
    _, train, test = learning_curve(
        classifier, X, y, cv=2, train_sizes=[0.3, 1.0], error_score="raise"
    )
    assert test[1].mean() > test[0].mean()
    assert train.shape == (2, 2)


# A head of another kind, and what an earlier one leaves behind


def test_a_head_must_be_for_the_task(few):
    X, y = few
    with pytest.raises(ValueError, match="head must be a classifier, got Ridge"):
        fitted(X, y, head=Ridge())
    with pytest.raises(ValueError, match="head must be a regressor, got SVC"):
        StackedAutoencoderRegressor(**SMALL, head=SVC()).fit(X, np.where(y < 0, np.nan, y))


def test_the_seed_is_also_that_of_the_head(few):
    X, y = few
    head = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=5))
    first, second = (fitted(X, y, head=head).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert head[-1].random_state is None


def test_another_head_in_the_next_fit(few):
    X, y = few
    classifier = fitted(X, y, head=SVC())
    assert not hasattr(classifier, "predict_proba")
    before = classifier.predict(X)
    classifier.set_params(head=None)
    np.testing.assert_array_equal(classifier.predict(X), before)  # what was fitted
    classifier.fit(X, y)
    assert classifier.head_ is None
    assert classifier.predict_proba(X).shape == (len(X), 10)
    classifier.set_params(head=SVC(), fine_tune=False).fit(X, y)
    assert not hasattr(classifier, "head_coef_")


def test_fine_tuning_may_begin_later(few):
    X, y = few
    params = {"head": LogisticRegression(max_iter=1000), "fine_tune": False, "warm_start": True}
    classifier = fitted(X, y, **params)
    classifier.set_params(fine_tune=True).fit(X, y)
    assert len(classifier.history_) == 10


@pytest.mark.parametrize("dtype", [float, object, "string", "category", "Int64"])
def test_missing_labels_are_refused_with_advice(few, dtype):
    X, y = few
    labels = pd.Series(y).astype(object).where(y >= 0, None)
    if dtype == "string":
        labels = labels.map(lambda label: None if label is None else f"digit {label}")
    with pytest.raises(ValueError, match="unlabeled=np.nan"):
        fitted(X, y=labels.astype(dtype))


@pytest.mark.parametrize(("dtype", "kind"), [("Int64", "i"), ("boolean", "b")])
def test_labels_of_nullable_types_stay_what_they_are(digits, dtype, kind):
    X, y = digits
    labels = pd.Series(y > 4 if dtype == "boolean" else y).astype(dtype)
    classifier = fitted(X, labels)
    assert classifier.predict(X).dtype.kind == kind
    assert classifier.score(X, labels) > 0.5


@pytest.mark.parametrize("sizes", [(8.0,), (8, 0)])
def test_widths_must_be_positive_integers(few, sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes must be positive integers"):
        fitted(*few, hidden_layer_sizes=sizes)


def test_a_gaussian_rbm_is_fine_tuned_by_its_own_loss(few):
    machine = RestrictedBoltzmannMachine(6, max_iter=1, random_state=0)
    classifier = fitted(*few, autoencoder=machine, reconstruction_weight=1.0, max_iter=1)
    assert np.isfinite(classifier.loss_curve_).all()


class Recorder(Callback):
    def on_epoch_end(self, net, **kwargs):
        self.n_batches = net.history[-1]["train_batch_count"]
        self.products = net.run.products


@pytest.mark.parametrize("fine_tune", [False, True])
def test_a_layer_on_codes_is_not_trained_like_images(fine_tune, monkeypatch):
    """Precision and batch size go by what a step computes."""
    monkeypatch.setattr(device, "_supports_bfloat16", lambda device: True)
    images = np.random.default_rng(0).random((1100, 28, 28), np.float32)
    y = (images.mean((1, 2)) > 0.5).astype(int)
    recorder = Recorder()
    StackedAutoencoderClassifier(
        autoencoder=ConvolutionalAutoencoder(2, max_iter=1, random_state=0),
        fine_tune=fine_tune,
        early_stopping=False,
        max_iter=1,
        callbacks=[("records", recorder)],
        random_state=0,
    ).fit(images, y)
    assert recorder.products == (torch.bfloat16 if fine_tune else torch.float32)
    assert recorder.n_batches == math.ceil(len(images) / (64 if fine_tune else 128))


@pytest.mark.parametrize("estimator", [StackedAutoencoderClassifier, StackedAutoencoderRegressor])
def test_a_pipeline_as_autoencoder_is_refused_with_the_remedy(estimator):
    inner = make_pipeline(StandardScaler(), PCA(), StackedAutoencoder(2))
    name = estimator.__name__
    remedy = rf"make_pipeline\(StandardScaler\(...\), PCA\(...\), {name}\(autoencoder=Stacked"
    stack = estimator(autoencoder=inner)
    with pytest.raises(ValueError, match=remedy):
        stack.fit(np.eye(5), [0, 1, 0, 1, 1])
    with pytest.raises(ValueError, match=remedy):
        GridSearchCV(stack, {"max_iter": [1]}, cv=2, error_score="raise").fit(
            np.eye(4), [0, 1, 0, 1]
        )
    scaled = make_pipeline(StandardScaler(), PCA(2), estimator(autoencoder=StackedAutoencoder(1)))
    scaled.set_params(**{f"{name.lower()}__max_iter": 1}).fit(np.eye(5), [0, 1, 0, 1, 1])
