"""Scorers: what they measure, by an independent computation, and what a search chooses by them."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, get_scorer, make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from sklearn_ae import (
    Autoencoder,
    DenoisingAutoencoder,
    RestrictedBoltzmannMachine,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    UNetAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae.metrics import (
    denoising_scorer,
    elbo_scorer,
    labeled_scorer,
    reconstruction_scorer,
)

FEW = {"hidden_layer_sizes": (16, 8), "pretraining_max_iter": 2, "max_iter": 5, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:400], y[:400]


@pytest.fixture(scope="module")
def few(digits):
    X, y = digits
    return X, np.where(np.arange(len(y)) % 4 == 0, y, -1)


def explained(X, reconstruction):
    """Explained variance ratio by scikit-learn's R2, where no feature is constant."""
    return r2_score(X, reconstruction, multioutput="variance_weighted")


# Reconstruction


def test_reconstruction_is_measured_in_the_units_of_the_data():
    X = load_iris().data
    pca = PCA(2).fit(X)
    assert reconstruction_scorer(pca, X) == pytest.approx(pca.explained_variance_ratio_.sum())
    autoencoder = Autoencoder(2, max_iter=5, random_state=0).fit(X)
    assert reconstruction_scorer(autoencoder, X) == autoencoder.score(X)
    pipeline = make_pipeline(StandardScaler(), autoencoder).fit(X)
    codes = pipeline.transform(X)
    expected = explained(X, pipeline.inverse_transform(codes))
    assert reconstruction_scorer(pipeline, X) == pytest.approx(expected)
    assert abs(expected - pipeline.score(X)) > 1e-3  # that is in units of the scaler's


def test_pca_and_an_autoencoder_are_candidates_of_one_search(digits):
    X, _ = digits
    candidates = [PCA(8), Autoencoder(8, max_iter=3, random_state=0)]
    pipeline = make_pipeline(MinMaxScaler(), PCA())
    search = GridSearchCV(
        pipeline, {"pca": candidates}, scoring=reconstruction_scorer, cv=2, error_score="raise"
    ).fit(X)
    scores = search.cv_results_["mean_test_score"]
    assert ((scores > 0.4) & (scores < 1)).all()  # PCA.score would be a log-likelihood


def test_equal_samples_are_reconstructed_or_not():
    class Shift:
        def __init__(self, by):
            self.by = by

        def transform(self, X):
            return X

        def inverse_transform(self, X):
            return X + self.by

    X = np.full((5, 2), 3.0)
    assert reconstruction_scorer(Shift(0.0), X) == 1
    assert reconstruction_scorer(Shift(1e-12), X) == 1
    assert reconstruction_scorer(Shift(0.1), X) == 0


def test_targets_count_for_image_to_image():
    X = np.random.default_rng(0).normal(size=(20, 4, 4))
    unet = UNetAutoencoder(channels=(2,), max_iter=1, random_state=0).fit(X, 2 * X)
    assert reconstruction_scorer(unet, X, 2 * X) == unet.score(X, 2 * X) != unet.score(X)


# Likelihood


def test_likelihood_is_the_mean_of_what_samples_score(digits):
    bits = (digits[0][:, 20:26] > 7).astype(float)
    variational = VariationalAutoencoder(2, max_iter=2, random_state=0).fit(bits)
    rbm = RestrictedBoltzmannMachine(3, max_iter=2, random_state=0).fit(bits)
    for model in (variational, rbm, KernelDensity().fit(bits)):
        expected = np.mean(model.score_samples(bits))
        assert elbo_scorer(model, bits) == pytest.approx(expected, rel=1e-12)
        pipeline = make_pipeline("passthrough", model)
        assert elbo_scorer(pipeline, bits) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("wrap", [lambda e: e, make_pipeline])
def test_an_error_of_reconstruction_is_no_likelihood(digits, wrap):
    X, _ = digits
    model = wrap(Autoencoder(2, max_iter=1)).fit(X)
    with pytest.raises(ValueError, match="Autoencoder has no likelihood.*reconstruction_scorer"):
        elbo_scorer(model, X)


# Noise


@pytest.mark.parametrize(
    ("noise", "level"),
    [("gaussian", 2.0), ("masking", 0.3), ("salt_and_pepper", 0.3), ("swap", 0.3)],
)
def test_noise_is_that_of_the_denoising_autoencoder(digits, noise, level):
    X = digits[0][:, 18:22]
    seen = []

    class Identity:
        def transform(self, X):
            seen.append(X)
            return X

        inverse_transform = transform

    score = denoising_scorer(noise, level)(Identity(), X)
    assert score == pytest.approx(explained(X, seen[0]))
    # In expectation: the mean over the values of the squared change.
    change = np.square(seen[0] - X).mean()
    low, high = X.min(axis=0), X.max(axis=0)
    replaced = {
        "gaussian": level**2,
        "masking": level * np.square(X).mean(),
        "salt_and_pepper": level * (np.square(X - low) + np.square(X - high)).mean() / 2,
        "swap": level * 2 * X.var(axis=0).mean(),  # two independent values of one feature
    }
    # Squared changes are below 16^2; 1,600 of them, so the standard error is below 16^2 / 40.
    assert change == pytest.approx(replaced[noise], abs=4 * np.square(seen[0] - X).std() / 40)
    again = denoising_scorer(noise, level)(Identity(), X)
    assert again == score  # the same draws for every candidate
    assert denoising_scorer(noise, level, random_state=1)(Identity(), X) != score


@pytest.mark.parametrize("kind", [pd.DataFrame, sp.csr_array, np.float32])
def test_data_of_any_kind_are_corrupted(digits, kind):
    X = digits[0]
    data = kind(X) if kind is not pd.DataFrame else pd.DataFrame(X).add_prefix("pixel")
    model = make_pipeline(Autoencoder(4, max_iter=2, random_state=0)).fit(data)
    expected = make_pipeline(Autoencoder(4, max_iter=2, random_state=0)).fit(X)
    score = denoising_scorer(noise_level=3.0)(model, data)
    assert score == pytest.approx(denoising_scorer(noise_level=3.0)(expected, X), abs=0.05)


def test_the_ends_of_sequences_stay_what_they_are():
    X = np.ones((6, 4)) * np.arange(1, 7)[:, None]
    X[:3, 2:] = np.nan
    for noise in ("gaussian", "masking", "salt_and_pepper", "swap"):
        noisy = denoising_scorer(noise, 0.9)._corrupt(X)
        np.testing.assert_array_equal(np.isnan(noisy), np.isnan(X))
        assert not np.array_equal(noisy, X, equal_nan=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pepper",), "noise must be one of"),
        (("masking", 1.5), "noise_level must be from 0 to 1"),
        (("gaussian", -0.1), "noise_level must be from 0 to inf"),
        (("gaussian", float("nan")), "noise_level"),
        (("gaussian", "0.1"), "noise_level"),
    ],
)
def test_senseless_noise_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        denoising_scorer(*arguments)


def test_score_chooses_no_noise_and_the_scorer_that_of_the_task(digits):
    X, _ = digits
    levels = [1e-6, 4.0, 16.0]
    search = GridSearchCV(
        DenoisingAutoencoder(16, max_iter=60, random_state=0),
        {"noise_level": levels},
        scoring={"score": reconstruction_scorer, "denoising": denoising_scorer(noise_level=4.0)},
        refit=False,
        cv=2,
        error_score="raise",
    ).fit(X)
    chosen = {
        name: levels[int(np.argmax(search.cv_results_[f"mean_test_{name}"]))]
        for name in ("score", "denoising")
    }
    assert chosen == {"score": 1e-6, "denoising": 4.0}


# Labels


def test_samples_without_a_label_are_left_out(few, digits):
    X, y = few
    known = y != -1
    classifier = StackedAutoencoderClassifier(**FEW, unlabeled=-1).fit(X, y)
    predicted = classifier.predict(X)
    accuracy = labeled_scorer()(classifier, X, y)
    assert accuracy == accuracy_score(y[known], predicted[known]) == classifier.score(X, y)
    # Samples without a label count as errors there, four of five.
    assert accuracy > 2 * get_scorer("accuracy")(classifier, X, y)
    macro = labeled_scorer("f1_macro")(classifier, sp.csr_array(X), pd.Series(y))
    assert macro == f1_score(y[known], predicted[known], average="macro")
    by_callable = labeled_scorer(make_scorer(accuracy_score))
    weight = np.random.default_rng(0).random(len(y))
    weighted = accuracy_score(y[known], predicted[known], sample_weight=weight[known])
    assert by_callable(classifier, X, y, sample_weight=weight) == weighted
    assert labeled_scorer(unlabeled=None)(classifier, *digits) == classifier.score(*digits)
    with pytest.raises(ValueError, match="no labelled sample.*StratifiedKFold"):
        labeled_scorer()(classifier, X, np.full(len(X), -1))


@pytest.mark.parametrize(
    ("names", "unlabeled"),
    [
        (list(range(10)), "none"),
        (list(range(10)), np.nan),
        (list("abcdefghij"), "?"),
        (list("abcdefghij"), np.nan),
        ([float(digit) for digit in range(10)], np.nan),
    ],
)
def test_any_marker_works_in_a_search(few, names, unlabeled):
    X, y = few
    labels = np.array([unlabeled if i < 0 else names[i] for i in y], object)
    folds = StratifiedKFold(2).split(X, y)
    search = GridSearchCV(
        StackedAutoencoderClassifier(**FEW, unlabeled=unlabeled),
        {"fine_tune": [True, False]},
        scoring=labeled_scorer(unlabeled=unlabeled),
        cv=folds,
        error_score="raise",
    ).fit(X, labels)
    expected = GridSearchCV(
        StackedAutoencoderClassifier(**FEW, unlabeled=-1),
        {"fine_tune": [True, False]},
        scoring=labeled_scorer(),
        cv=2,
        error_score="raise",
    ).fit(X, y)
    scores, wanted = (s.cv_results_["mean_test_score"] for s in (search, expected))
    np.testing.assert_array_equal(scores, wanted)
    assert set(search.predict(X).tolist()) <= set(names)


def test_scoring_accuracy_counts_what_has_no_label_as_an_error(few):
    X, y = few
    model = StackedAutoencoderClassifier(**FEW, unlabeled=-1)
    found = cross_validate(
        model,
        X,
        y,
        cv=StratifiedKFold(3),
        scoring={"accuracy": "accuracy", "labelled": labeled_scorer("accuracy")},
        error_score="raise",
    )
    default = cross_validate(model, X, y, cv=StratifiedKFold(3), error_score="raise")
    np.testing.assert_array_equal(found["test_labelled"], default["test_score"])
    # A quarter of the samples has a label, in every fold.
    np.testing.assert_allclose(found["test_accuracy"], found["test_labelled"] / 4, rtol=0.05)


@pytest.mark.parametrize("n_labels", [2, 3, 10])
@pytest.mark.parametrize("marker", [-1, "none"])
def test_every_stratified_fold_has_labels_of_each_class(n_labels, marker):
    rng = np.random.default_rng(0)
    for _ in range(20):
        y = np.full(300, marker, object if isinstance(marker, str) else int)
        places = rng.permutation(300)[: 4 * n_labels]
        y[places] = np.repeat(list("abcd") if isinstance(marker, str) else range(4), n_labels)
        n_splits = min(n_labels, 5)
        for train, test in StratifiedKFold(n_splits).split(y, y):
            for part in (train, test):
                assert len({str(label) for label in y[part]}) == 5  # four classes and the marker


def test_scikit_learns_semi_supervised_estimators_are_scored_as_well(few):
    X, y = few
    model = SelfTrainingClassifier(LogisticRegression(max_iter=500)).fit(X, y)
    known = y != -1
    assert labeled_scorer()(model, X, y) == model.score(X[known], y[known])


@pytest.mark.parametrize("n_targets", [1, 2])
def test_targets_that_are_nan_are_left_out(n_targets):
    X, y = load_diabetes(return_X_y=True)
    y = y if n_targets == 1 else np.column_stack([y, -y])
    y[120:] = np.nan
    missing = np.isnan(y).reshape(len(y), -1).any(1)
    folds = StratifiedKFold(3).split(X, missing)
    scorer = labeled_scorer("r2", unlabeled=np.nan)
    model = StackedAutoencoderRegressor(**FEW)
    found = cross_validate(
        model, X, y, cv=list(folds), scoring={"r2": scorer}, error_score="raise"
    )
    folds = StratifiedKFold(3).split(X, missing)
    default = cross_validate(model, X, y, cv=folds, error_score="raise")
    np.testing.assert_allclose(found["test_r2"], default["test_score"])


def test_weights_are_routed_to_the_scorer_within(few):
    X, y = few
    weight = np.random.default_rng(0).random(len(y))
    seen = []

    def accuracy(y_true, y_pred, sample_weight):
        seen.append(sample_weight)
        return accuracy_score(y_true, y_pred, sample_weight=sample_weight)

    with sklearn.config_context(enable_metadata_routing=True):
        scorer = labeled_scorer(make_scorer(accuracy).set_score_request(sample_weight=True))
        model = StackedAutoencoderClassifier(**FEW, unlabeled=-1)
        model.set_fit_request(sample_weight=False)
        cross_validate(
            model, X, y, cv=2, scoring=scorer, params={"sample_weight": weight},
            error_score="raise",
        )  # fmt: skip
    assert [len(used) for used in seen] == [50, 50]
    assert set(np.concatenate(seen)) == set(weight[y != -1])


@pytest.mark.parametrize(
    "scorer",
    [labeled_scorer(), labeled_scorer("f1_macro"), denoising_scorer(noise_level=2.0)],
    ids=["accuracy", "f1_macro", "denoising"],
)
def test_scorers_travel(scorer, few):
    X, y = few
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(X, y)
    if scorer == denoising_scorer(noise_level=2.0):
        model = PCA(3).fit(X)
    assert pickle.loads(pickle.dumps(scorer))(model, X, y) == scorer(model, X, y)
