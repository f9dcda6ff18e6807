"""The imputer: scikit-learn's interface, and what it predicts and draws."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from sklearn_ae import (
    Autoencoder,
    AutoencoderImputer,
    DenoisingAutoencoder,
    LSTMAutoencoder,
    RestrictedBoltzmannMachine,
    VariationalAutoencoder,
    load,
    save,
)
from sklearn_ae._imputation.calibration import Predictions, calibrate, hide

FAST = AutoencoderImputer(Autoencoder(3, hidden_layer_sizes=(8,), max_iter=3), random_state=0)
INSTANCES = [
    FAST,
    clone(FAST).set_params(add_indicator=True),
    clone(FAST).set_params(keep_empty_features=True, sample_posterior=True),
    clone(FAST).set_params(
        estimator=VariationalAutoencoder(2, hidden_layer_sizes=(8,), max_iter=3)
    ),
]


@pytest.fixture(scope="module")
def gaps():
    """Samples of a curved relation between features, complete and with missing values."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, size=600)
    X = np.column_stack([t, t**2, 3 * t + 5, np.sin(3 * t)]) + 0.02 * rng.normal(size=(600, 4))
    return X, np.where(rng.random(X.shape) < 0.2, np.nan, X)


def checks():
    for number, instance in enumerate(INSTANCES[::2]):
        for estimator, check in estimator_checks_generator(instance, legacy=True):
            yield pytest.param(estimator, check, id=f"{number}-{check.func.__name__}")


@pytest.mark.parametrize(("estimator", "check"), [*checks()])
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


# Interface


def test_observed_values_are_kept_to_the_bit(gaps):
    _, X = gaps
    imputed = clone(FAST).fit_transform(X)
    seen = ~np.isnan(X)
    np.testing.assert_array_equal(imputed[seen], X[seen])
    assert np.isfinite(imputed).all()
    assert clone(FAST).fit(X).transform(X.astype(np.float32)).dtype == np.float32


def test_empty_features_are_dropped_or_kept(gaps):
    X = gaps[1].copy()
    X[:, 1] = np.nan
    dropped = clone(FAST).fit(X)
    assert dropped.transform(X).shape == (600, 3)
    assert list(dropped.get_feature_names_out(list("abcd"))) == ["a", "c", "d"]
    assert np.isnan(dropped.reconstruction_weights_[1])
    kept = clone(FAST).set_params(keep_empty_features=True).fit(X)
    expected = SimpleImputer(keep_empty_features=True).fit(X).transform(X)
    np.testing.assert_array_equal(kept.transform(X)[:, 1], expected[:, 1])
    with pytest.raises(ValueError, match="no observed value in any feature"):
        clone(FAST).fit(np.full((5, 2), np.nan))


def test_indicator_is_that_of_scikit_learn(gaps):
    frame = pd.DataFrame(gaps[1], columns=list("abcd"))
    frame["a"] = frame["a"].fillna(0)
    reference = SimpleImputer(add_indicator=True).fit(frame)
    imputer = clone(FAST).set_params(add_indicator=True).fit(frame)
    np.testing.assert_array_equal(
        imputer.transform(frame)[:, 4:], reference.transform(frame)[:, 4:]
    )
    names = imputer.get_feature_names_out()
    assert list(names) == list(reference.get_feature_names_out())


@pytest.mark.parametrize(("library", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_frames_go_in_and_come_out(gaps, library, kind):
    frame = pd.DataFrame(gaps[1], columns=list("abcd"))
    imputer = clone(FAST).set_output(transform=library)
    result = imputer.fit_transform(frame if library == "pandas" else pl.from_pandas(frame))
    assert isinstance(result, kind)
    assert list(result.columns) == list("abcd")


def test_missing_values_may_be_marked_by_a_number(gaps):
    _, X = gaps
    marked = np.where(np.isnan(X), -999.0, X)
    imputer = clone(FAST).set_params(missing_values=-999)
    np.testing.assert_array_equal(imputer.fit_transform(marked), clone(FAST).fit_transform(X))


def test_none_is_missing(gaps):
    objects = np.where(np.isnan(gaps[1]), None, gaps[1])
    expected = clone(FAST).fit_transform(gaps[1])
    np.testing.assert_array_equal(clone(FAST).fit_transform(objects), expected)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (RestrictedBoltzmannMachine(), "RestrictedBoltzmannMachine does not take tables"),
        (LSTMAutoencoder(), "LSTMAutoencoder does not take tables"),
        (
            make_pipeline(StandardScaler(), Autoencoder()),
            r"make_pipeline\(StandardScaler\(...\), AutoencoderImputer\(estimator=Autoencoder\(",
        ),
        (PCA(), "must be an autoencoder of sklearn_ae or None. Got PCA"),
    ],
)
def test_estimators_that_cannot_impute_are_refused(gaps, estimator, message):
    imputer = AutoencoderImputer(estimator)
    with pytest.raises(ValueError, match=message):
        imputer.fit(gaps[1])
    assert not hasattr(imputer, "n_features_in_")


def test_new_missing_values_are_imputed(gaps):
    """A feature may have missing values in `transform` only, or all of them may."""
    X, incomplete = gaps
    imputer = clone(FAST).fit(X)
    assert np.isfinite(imputer.transform(incomplete)).all()
    nothing = imputer.transform(np.full((1, 4), np.nan))
    np.testing.assert_allclose(nothing[0], X.mean(axis=0), atol=0.2 * X.std(axis=0).max())
    assert clone(FAST).fit(X[:1]).transform(incomplete[:9]).shape == (9, 4)


@pytest.mark.parametrize("imputer", INSTANCES, ids=range(len(INSTANCES)))
def test_copies_and_files_impute_alike(gaps, imputer, tmp_path):
    _, X = gaps
    fitted = clone(imputer).fit(X)
    save(fitted, tmp_path / "model")
    for again in (
        copy.deepcopy(fitted),
        pickle.loads(pickle.dumps(fitted)),
        load(tmp_path / "model"),
    ):
        np.testing.assert_array_equal(again.transform(X), fitted.transform(X))


def test_inside_a_pipeline_and_a_search():
    X, y = load_iris(return_X_y=True)
    X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    pipeline = make_pipeline(FAST, RandomForestClassifier(10, random_state=0))
    search = GridSearchCV(pipeline, {"autoencoderimputer__estimator__n_components": [2, 4]}, cv=3)
    assert search.fit(X, y).best_score_ > 0.8


# Predictions


def test_relations_that_are_not_linear_are_learned(gaps):
    X, incomplete = gaps
    hidden = np.isnan(incomplete)
    imputer = AutoencoderImputer(random_state=0).fit(incomplete)
    error = np.square(imputer.transform(incomplete) - X)[hidden].mean()

    gaussian = copy.deepcopy(imputer)
    gaussian._calibration = imputer._calibration._replace(weights=np.zeros(4))
    assert error < 0.75 * np.square(gaussian.transform(incomplete) - X)[hidden].mean()
    assert (imputer.reconstruction_weights_ > 0.5).all()


def test_without_structure_the_mean_is_imputed():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 5))
    incomplete = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    hidden = np.isnan(incomplete)
    imputer = AutoencoderImputer(random_state=0).fit(incomplete)
    by_mean = np.square(np.nanmean(incomplete, axis=0) - X)[hidden].mean()
    # Ten regressions of 0.7 * 400 samples each lose about 5 / 280; the rest is the autoencoder's.
    assert np.square(imputer.transform(incomplete) - X)[hidden].mean() < 1.06 * by_mean


def test_weights_minimise_the_error_on_hidden_values():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 2))
    hidden = hide(X, np.random.RandomState(0))
    # Of the first feature the reconstruction is right, of the second one it is noise.
    gaussian = X + rng.normal(size=X.shape)
    reconstruction = np.column_stack([X[:, 0], gaussian[:, 1] + rng.normal(size=20_000)])
    predictions = Predictions(gaussian, np.ones_like(X), reconstruction)
    weights = calibrate(X, hidden, predictions).weights
    # The common weight, 1/2, counts as four features. With n hidden values of a feature its
    # standard error is (2 n)^(-1/2), and that of the second feature's own weight n^(-1/2).
    n_hidden = hidden.sum(axis=0).min()
    bound = 5 * (0.8 * np.sqrt(0.5 / n_hidden) + 0.2 * np.sqrt(1 / n_hidden))
    expected = [(1 + 4 * 0.5) / 5, (0 + 4 * 0.5) / 5]
    np.testing.assert_allclose(weights, expected, atol=bound)
    assert bound < 0.1


def test_hidden_values_leave_something_of_every_sample_and_feature():
    X = np.where(np.random.default_rng(0).random((300, 3)) < 0.6, np.nan, 1.0)
    hidden = hide(X, np.random.RandomState(0))
    assert not (hidden & np.isnan(X)).any()
    left = ~np.isnan(X) & ~hidden
    assert left[~np.isnan(X).all(axis=1)].any(axis=1).all()
    assert (left.sum(axis=0) >= (~np.isnan(X)).sum(axis=0) / 2).all()


# Draws


def correlated(n_samples=3000, seed=0):
    """Gaussian samples with one feature missing at random, and its conditional moments."""
    rng = np.random.default_rng(seed)
    covariance = np.array([[1.0, 0.6, 0.3], [0.6, 1.0, 0.5], [0.3, 0.5, 1.0]])
    X = rng.multivariate_normal(np.zeros(3), covariance, size=n_samples)
    incomplete = X.copy()
    incomplete[rng.random(n_samples) < 0.4, 0] = np.nan
    gain = np.linalg.solve(covariance[1:, 1:], covariance[1:, 0])
    return X, incomplete, gain, covariance[0, 0] - covariance[0, 1:] @ gain


def conditional_moments(imputer, seen):
    """Moments of the first of three features of a linear model, given the others."""
    model = imputer.estimator_
    center = model.inverse_transform(np.zeros((1, 2)))[0]
    axes = (model.inverse_transform(np.eye(2)) - center).T
    covariance = axes @ axes.T + np.diag(model.noise_variance_)
    gain = np.linalg.solve(covariance[1:, 1:], covariance[1:, 0])
    distances = (seen - imputer._mean[1:]) / imputer._scale[1:] - center[1:]
    variance = covariance[0, 0] - covariance[0, 1:] @ gain
    mean, scale = imputer._mean[0], imputer._scale[0]
    return mean + scale * (center[0] + distances @ gain), scale**2 * variance


@pytest.mark.parametrize(
    ("estimator", "n_samples"),
    [
        (Autoencoder(3, max_iter=5, hidden_layer_sizes=(8,)), 12_000),
        pytest.param(
            VariationalAutoencoder(
                2,
                hidden_layer_sizes=(),
                variance="per_feature",
                n_importance_samples=5,
                max_iter=50,
            ),
            3_000,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["autoencoder", "variational"],
)
def test_draws_have_the_conditional_moments(estimator, n_samples):
    _, incomplete, gain, variance = correlated(n_samples)
    imputer = AutoencoderImputer(estimator, sample_posterior=True, random_state=0).fit(incomplete)
    missing = np.isnan(incomplete[:, 0])
    draws = np.stack(
        [
            imputer.set_params(random_state=seed).transform(incomplete)[missing, 0]
            for seed in range(30)
        ]
    )
    expected = incomplete[missing, 1:] @ gain
    if isinstance(estimator, VariationalAutoencoder):
        expected, variance = conditional_moments(imputer, incomplete[missing, 1:])
    # The mean of thirty draws alone differs by .15 standard deviations.
    assert np.abs(draws.mean(axis=0) - expected).mean() < 0.3 * np.sqrt(variance)
    # The scale of the errors is that of the hidden values, 6 % of the samples: four standard
    # errors of a variance.
    bound = 4 * np.sqrt(2 / (0.06 * n_samples))
    assert draws.var(axis=0, ddof=1).mean() == pytest.approx(variance, rel=bound)


def test_intervals_of_draws_contain_as_many_values_as_they_should(gaps):
    X, incomplete = gaps
    hidden = np.isnan(incomplete)
    imputer = AutoencoderImputer(sample_posterior=True, random_state=0).fit(incomplete)
    draws = np.stack(
        [imputer.set_params(random_state=seed).transform(incomplete) for seed in range(60)]
    )
    low, high = np.quantile(draws, [0.05, 0.95], axis=0, method="weibull")
    covered = ((low <= X) & (high >= X))[hidden]
    # Three standard errors of the share itself, and of the calibration on a tenth of the values.
    error = np.sqrt(0.9 * 0.1 * (1 / hidden.sum() + 1 / (0.1 * (~hidden).sum())))
    assert abs(covered.mean() - 0.9) < 3 * error + 0.02


def test_draws_repeat_with_the_seed(gaps):
    _, X = gaps
    imputer = clone(FAST).set_params(sample_posterior=True).fit(X)
    first, again = imputer.transform(X), imputer.transform(X)
    np.testing.assert_array_equal(first, again)
    other = imputer.set_params(random_state=1).transform(X)
    assert not np.array_equal(first, other)


def test_errors_follow_their_quantiles():
    rng = np.random.default_rng(0)
    X = rng.standard_exponential(size=(30_000, 1)) - 1
    zero = np.zeros_like(X)
    calibration = calibrate(X, np.ones_like(X, bool), Predictions(zero, zero + 2.0, zero))
    normal = norm.ppf([[0.1], [0.5], [0.9]])
    expected = (-np.log1p(-np.array([0.1, 0.5, 0.9])) - 1) / 2
    found = calibration.errors(normal)[:, 0]
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_a_denoising_autoencoder_imputes(gaps):
    X, incomplete = gaps
    hidden = np.isnan(incomplete)
    imputed = AutoencoderImputer(
        DenoisingAutoencoder(4, max_iter=20, hidden_layer_sizes=(32,)), random_state=0
    ).fit_transform(incomplete)
    by_mean = np.square(np.nanmean(incomplete, axis=0) - X)[hidden].mean()
    assert np.square(imputed - X)[hidden].mean() < 0.5 * by_mean
