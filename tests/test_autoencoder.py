"""What defines the plain autoencoder: it starts at PCA, and leaves it only for the better."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklearn_ae import Autoencoder
from sklearn_ae.networks.activations import ACTIVATIONS


def _unexplained(X, restored):
    return np.square(X - restored).sum() / np.square(X - X.mean(0)).sum()


def _at_start(**parameters):
    """An autoencoder whose first step is too small to move it from its start."""
    return Autoencoder(
        max_iter=1, learning_rate_init=1e-30, early_stopping=False, random_state=0, **parameters
    )


@pytest.mark.parametrize("n_components", [1, 3, 6])
def test_start_is_pca(n_components):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + 5
    autoencoder = _at_start(n_components=n_components).fit(X)
    pca = PCA(n_components).fit(X)
    expected = pca.inverse_transform(pca.transform(X))
    np.testing.assert_allclose(autoencoder.reconstruct(X), expected, atol=1e-9)
    codes, scores = autoencoder.transform(X), pca.transform(X)
    correlation = np.corrcoef(codes.T, scores.T)[:n_components, n_components:]
    np.testing.assert_allclose(np.abs(correlation), np.eye(n_components), atol=1e-9)
    assert autoencoder.score(X) == pytest.approx(pca.explained_variance_ratio_.sum())


def test_start_is_weighted_pca():
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(40, 5)), rng.integers(1, 4, size=40)
    weighted = _at_start(n_components=2).fit(X, sample_weight=weight)
    repeated = PCA(2).fit(np.repeat(X, weight, axis=0))
    expected = repeated.inverse_transform(repeated.transform(X))
    np.testing.assert_allclose(weighted.reconstruct(X), expected, atol=1e-9)


def test_start_is_pca_on_wide_samples():
    """Beyond a thousand features the axes come from a random subspace."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 1100)) + 1e-3 * rng.normal(size=(60, 1100))
    autoencoder = _at_start(n_components=4, precision="float64").fit(X)
    pca = PCA(4).fit(X)
    np.testing.assert_allclose(
        autoencoder.reconstruct(X), pca.inverse_transform(pca.transform(X)), atol=1e-4
    )


@pytest.mark.parametrize("loss", ["binary_crossentropy", "poisson"])
def test_under_a_link_the_start_is_the_mean_with_pcas_codes(loss):
    X = np.random.default_rng(0).beta(2, 3, size=(200, 5))
    autoencoder = _at_start(n_components=2, loss=loss).fit(X)
    np.testing.assert_allclose(autoencoder.reconstruct(X), np.tile(X.mean(0), (200, 1)))
    codes, scores = autoencoder.transform(X), PCA(2).fit_transform(X)
    correlation = np.corrcoef(codes.T, scores.T)[:2, 2:]
    np.testing.assert_allclose(np.abs(correlation), np.eye(2), atol=1e-9)


@pytest.mark.parametrize("loss", ["binary_crossentropy", "poisson"])
def test_losses_with_a_link_learn_more_than_pca(loss):
    X = load_digits().data / (16 if loss == "binary_crossentropy" else 1)
    train, test = X[:1300], X[1300:]
    autoencoder = Autoencoder(4, loss=loss, max_iter=60, random_state=0).fit(train)
    pca = PCA(4).fit(train)
    assert 1 - autoencoder.score(test) < _unexplained(
        test, pca.inverse_transform(pca.transform(test))
    )


def test_learns_a_curve_that_pca_cannot_see(curve):
    train, test = curve[:300], curve[300:]
    pca = PCA(1).fit(train)
    linear = _unexplained(test, pca.inverse_transform(pca.transform(test)))
    autoencoder = Autoencoder(1, random_state=0).fit(train)
    assert 1 - autoencoder.score(test) < 0.25 * linear


@pytest.mark.parametrize("load", [load_breast_cancer, load_diabetes, load_iris, load_wine])
@pytest.mark.parametrize("seed", [0, 1])
def test_never_worse_than_pca_on_small_tables(load, seed):
    train, test = train_test_split(load().data, test_size=0.25, random_state=seed)
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    pca = PCA(max(1, train.shape[1] // 4)).fit(train)
    linear = _unexplained(test, pca.inverse_transform(pca.transform(test)))
    autoencoder = Autoencoder(pca.n_components_, random_state=seed).fit(train)
    assert _unexplained(test, autoencoder.reconstruct(test)) <= 1.02 * linear


def test_noise_alone_leaves_it_at_pca():
    """Nothing non-linear can be learnt from independent noise, and nothing is."""
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(2, 150, 8))
    pca = PCA(2).fit(train)
    linear = _unexplained(test, pca.inverse_transform(pca.transform(test)))
    autoencoder = Autoencoder(2, random_state=0).fit(train)
    assert _unexplained(test, autoencoder.reconstruct(test)) <= 1.01 * linear


def test_far_from_the_data_it_is_nearly_linear(curve):
    """The non-linear branch is bounded, so an outlier is treated as PCA would."""
    autoencoder = Autoencoder(1, random_state=0).fit(curve)
    pca = PCA(1).fit(curve)
    outlier = curve.mean(0) + 1e6 * np.ones((1, 4))
    expected = pca.inverse_transform(pca.transform(outlier))
    distance = np.linalg.norm(autoencoder.reconstruct(outlier) - expected)
    assert distance < 1e-3 * np.linalg.norm(outlier)


def test_more_components_than_features():
    X = np.random.default_rng(0).normal(size=(50, 3))
    autoencoder = Autoencoder(7, random_state=0).fit(X)
    assert autoencoder.transform(X).shape == (50, 7)
    assert autoencoder.score(X) > 0.999


def test_codes_of_a_random_start_reconstruct_too(curve):
    autoencoder = Autoencoder(2, init="random", random_state=0).fit(curve)
    assert autoencoder.score(curve) > 0.95


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation, curve):
    autoencoder = Autoencoder(2, activation=activation, max_iter=20, random_state=0).fit(curve)
    assert autoencoder.score(curve) >= PCA(2).fit(curve).explained_variance_ratio_.sum() - 1e-9


def test_samples_have_the_mean_and_covariance_of_linear_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 2)) @ rng.normal(size=(2, 5)) + 3
    drawn = _at_start(n_components=2).fit(X).sample(20000, random_state=0)
    np.testing.assert_allclose(drawn.mean(0), X.mean(0), atol=0.06)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(X.T), atol=0.1)


def test_samples_repeat_with_their_seed(curve):
    autoencoder = Autoencoder(1, max_iter=5, random_state=0).fit(curve)
    np.testing.assert_array_equal(autoencoder.sample(3, 0), autoencoder.sample(3, 0))
    assert not np.array_equal(autoencoder.sample(3, 0), autoencoder.sample(3, 1))
    with pytest.raises(ValueError, match="n_samples"):
        autoencoder.sample(0)


def test_scores_of_samples_are_minus_their_mean_squared_error(curve):
    autoencoder = Autoencoder(1, max_iter=5, random_state=0).fit(curve)
    expected = -np.square(curve - autoencoder.reconstruct(curve)).mean(axis=1)
    np.testing.assert_allclose(autoencoder.score_samples(curve), expected, rtol=1e-9)


def test_score_is_the_fraction_of_variance_explained(curve):
    autoencoder = Autoencoder(1, max_iter=5, random_state=0).fit(curve)
    expected = 1 - _unexplained(curve, autoencoder.reconstruct(curve))
    assert autoencoder.score(curve) == pytest.approx(expected, rel=1e-9)
    weight = np.random.default_rng(0).integers(0, 3, size=len(curve))
    repeated = np.repeat(curve, weight, axis=0)
    assert autoencoder.score(curve, sample_weight=weight) == pytest.approx(
        autoencoder.score(repeated), rel=1e-9
    )


def _is_pca(autoencoder, X):
    pca = PCA(autoencoder.n_components).fit(X)
    return np.allclose(autoencoder.reconstruct(X), pca.inverse_transform(pca.transform(X)))


def test_with_too_few_samples_to_hold_out_it_stays_at_pca(curve):
    assert _is_pca(Autoencoder(1, random_state=0).fit(curve[:9]), curve[:9])


def test_one_held_out_sample_is_no_evidence(curve):
    """One distinct row is held out of ten, whether it stands there once or thrice."""
    X = curve[:10]
    for fitted in (
        Autoencoder(1, random_state=0).fit(X),
        Autoencoder(1, random_state=0).fit(X, sample_weight=np.full(10, 3)),
        Autoencoder(1, random_state=0).fit(np.repeat(X, 3, axis=0)),
    ):
        assert _is_pca(fitted, X)


def test_evidence_does_not_depend_on_the_sum_of_the_weights(curve):
    plain = Autoencoder(1, max_iter=30, random_state=0).fit(curve)
    shares = Autoencoder(1, max_iter=30, random_state=0).fit(
        curve, sample_weight=np.full(len(curve), 1 / len(curve))
    )
    assert shares.score(curve) == pytest.approx(plain.score(curve), rel=1e-6)


def test_rare_counts_can_be_fitted():
    X = (np.random.default_rng(0).random((600, 50)) < 0.01).astype(float)
    autoencoder = Autoencoder(10, loss="poisson", max_iter=20, random_state=0).fit(X)
    assert np.isfinite(autoencoder.reconstruct(X)).all()
    assert autoencoder.loss_curve_[-1] < autoencoder.loss_curve_[0]


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_noise_goes_by_the_spread_of_counts_too(scale):
    rng = np.random.default_rng(0)
    X = scale * rng.gamma(2, size=(300, 1)) * np.array([[1.0, 2.0, 3.0]])
    autoencoder = Autoencoder(1, loss="poisson", max_iter=100, random_state=0).fit(X)
    assert autoencoder.score(X) > 0.9
