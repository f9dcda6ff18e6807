"""What makes a variational autoencoder one: its bound on the likelihood."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from sklearn_ae import VariationalAutoencoder
from sklearn_ae.losses import bernoulli_likelihood, gaussian_divergence, gaussian_likelihood


def test_divergence_equals_its_closed_form_and_an_integral():
    mean, std = np.array([[0.3, -2.0]]), np.array([[0.5, 1.7]])
    z = np.linspace(-20, 20, 400_001)
    integrals = [
        np.trapezoid(norm.pdf(z, m, s) * (norm.logpdf(z, m, s) - norm.logpdf(z)), z)
        for m, s in zip(mean[0], std[0], strict=True)
    ]
    divergence = gaussian_divergence(torch.from_numpy(mean), torch.from_numpy(2 * np.log(std)))
    np.testing.assert_allclose(divergence.numpy(), [sum(integrals)], rtol=1e-8)


def test_likelihoods_equal_those_of_scipy():
    rng = np.random.default_rng(0)
    output, target = rng.normal(size=(2, 5, 3))
    log_variance = rng.normal(size=3)
    ours = gaussian_likelihood(*map(torch.from_numpy, (output, target, log_variance)))
    expected = -norm.logpdf(target, output, np.exp(log_variance / 2))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)
    bits = rng.integers(2, size=(5, 3)).astype(float)
    mean = 1 / (1 + np.exp(-output))
    expected = -np.log(np.where(bits == 1, mean, 1 - mean))
    ours = bernoulli_likelihood(torch.from_numpy(output), torch.from_numpy(bits))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9)


@pytest.fixture(scope="module")
def gaussian_rows():
    """Rows of probabilistic PCA: two latent numbers and noise."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(2, 6)) * np.array([[2.0], [1.0]])

    def draw(n_rows):
        return rng.normal(size=(n_rows, 2)) @ loadings + 0.5 * rng.normal(size=(n_rows, 6)) + 3

    return draw(3000), draw(1000)


@pytest.fixture(scope="module")
def linear(gaussian_rows):
    return VariationalAutoencoder(
        2,
        hidden_layer_sizes=(),
        alpha=0.0,
        learning_rate_init=0.02,
        max_iter=150,
        random_state=0,
    ).fit(gaussian_rows[0])


def test_linear_model_approaches_probabilistic_pca(gaussian_rows, linear):
    train, test = gaussian_rows
    exact = PCA(2).fit(train).score_samples(test)
    elbo = linear.score_samples(test)
    tight = linear.score_samples(test, n_importance_samples=2000)
    assert elbo.mean() == pytest.approx(exact.mean(), abs=0.1)
    assert tight.mean() == pytest.approx(exact.mean(), abs=0.03)
    assert elbo.mean() <= tight.mean() + 1e-6
    assert np.corrcoef(tight, exact)[0, 1] > 0.99
    assert linear.noise_variance_ == pytest.approx(0.25, rel=0.1)
    assert linear.active_units_ == 2


def test_bounds_rise_with_the_number_of_draws(gaussian_rows, linear):
    _, test = gaussian_rows
    bounds = [linear.score_samples(test, k).mean() for k in (1, 5, 50, 500)]
    assert bounds == sorted(bounds)
    # One draw is the evidence lower bound, up to the noise of drawing once.
    assert bounds[0] == pytest.approx(linear.score_samples(test).mean(), abs=0.3)


def test_bound_equals_an_independent_computation(gaussian_rows, linear):
    _, test = gaussian_rows
    x = test[:50]
    mean, std = linear.posterior(x)
    rng = np.random.default_rng(0)
    z = mean + std * rng.normal(size=(4000, *mean.shape))
    variance = linear.noise_variance_
    decoded = linear.inverse_transform(z.reshape(-1, 2)).reshape(4000, 50, 6)
    likelihood = norm.logpdf(x, decoded, np.sqrt(variance)).sum(2)
    divergence = 0.5 * (mean**2 + std**2 - 2 * np.log(std) - 1).sum(1)
    expected = likelihood.mean(0) - divergence
    np.testing.assert_allclose(linear.score_samples(x), expected, atol=0.05)
    weights = likelihood + norm.logpdf(z).sum(2) - norm.logpdf(z, mean, std).sum(2)
    tight = np.logaddexp.reduce(weights, axis=0) - np.log(4000)
    np.testing.assert_allclose(linear.score_samples(x, 4000), tight, atol=0.1)


def test_posterior_is_that_of_the_linear_model(gaussian_rows, linear):
    _, test = gaussian_rows
    mean, std = linear.posterior(test)
    np.testing.assert_array_equal(mean, linear.transform(test))
    # Given the decoder x = W z + m the posterior's precision is I + W^T W / variance.
    origin = linear.inverse_transform(np.zeros((1, 2)))
    loadings = (linear.inverse_transform(np.eye(2)) - origin).T
    precision = np.eye(2) + loadings.T @ loadings / linear.noise_variance_
    expected = (test - origin) @ loadings @ np.linalg.inv(precision) / linear.noise_variance_
    np.testing.assert_allclose(mean, expected, atol=0.15)
    np.testing.assert_allclose(std.mean(0), 1 / np.sqrt(np.diag(precision)), rtol=0.1)


@pytest.mark.parametrize("variance", ["per_feature", 0.25])
def test_variance_of_the_likelihood(gaussian_rows, variance):
    train, _ = gaussian_rows
    vae = VariationalAutoencoder(
        2, variance=variance, hidden_layer_sizes=(32,), max_iter=60, random_state=0
    ).fit(train)
    if variance == 0.25:
        assert vae.noise_variance_ == pytest.approx(0.25, rel=1e-5)
    else:
        assert vae.noise_variance_.shape == (6,)
        np.testing.assert_allclose(vae.noise_variance_, 0.25, rtol=0.35)


def test_importance_weighted_objective_is_below_the_elbo_s(gaussian_rows):
    train, _ = gaussian_rows
    vae = VariationalAutoencoder(2, n_importance_samples=5, max_iter=3, random_state=0)
    last = vae.set_params(early_stopping=False).fit(train).history_[-1]
    assert last["tightening"] < 0
    parts = last["reconstruction"] + last["kl"] + last["tightening"]
    assert last["train_loss"] == pytest.approx(parts)
    np.testing.assert_array_equal(vae.score_samples(train), vae.score_samples(train, 5))


def test_collapse_shows_in_the_history_and_in_the_active_units(gaussian_rows):
    train, _ = gaussian_rows
    params = {"max_iter": 40, "early_stopping": False, "random_state": 0}
    open_ = VariationalAutoencoder(2, beta=1.0, **params).fit(train)
    collapsed = VariationalAutoencoder(2, beta=100.0, **params).fit(train)
    assert open_.history_[-1]["kl"] > 1
    assert open_.active_units_ == 2
    assert collapsed.history_[-1]["kl"] < 0.5
    assert collapsed.active_units_ == 0
    assert collapsed.score(train) < 0.05


def test_warm_up_raises_beta_over_its_share_of_the_epochs(gaussian_rows):
    train, _ = gaussian_rows
    vae = VariationalAutoencoder(2, kl_warm_up=0.5, max_iter=40, random_state=0).fit(train)
    assert vae.history_[0]["kl"] < 0.05 * vae.history_[-1]["kl"]
    at_once = VariationalAutoencoder(2, kl_warm_up=0.0, max_iter=1, random_state=0).fit(train)
    assert at_once.history_[0]["kl"] > vae.history_[0]["kl"]


def test_samples_come_from_the_prior(gaussian_rows, linear):
    train, _ = gaussian_rows
    drawn = linear.sample(20_000, random_state=0)
    np.testing.assert_allclose(drawn.mean(0), train.mean(0), atol=0.15)
    signal = np.cov(train.T) - 0.25 * np.eye(6)
    assert np.linalg.norm(np.cov(drawn.T) - signal) < 0.15 * np.linalg.norm(signal)


def test_bernoulli_likelihood_is_a_probability():
    X = (load_digits().data > 7).astype(float)
    vae = VariationalAutoencoder(
        4, likelihood="bernoulli", hidden_layer_sizes=(64,), max_iter=80, random_state=0
    ).fit(X[:1500])
    bounds = vae.score_samples(X[1500:])
    assert np.all(bounds < 0)
    independent = np.clip(X[:1500].mean(0), 1e-3, 1 - 1e-3)
    baseline = np.log(np.where(X[1500:] == 1, independent, 1 - independent)).sum(1)
    assert bounds.mean() > baseline.mean() + 3
    assert vae.sample(5).min() >= 0
    assert np.isnan(vae.noise_variance_)
    with pytest.raises(ValueError, match=r"likelihood='bernoulli' needs data in \[0, 1\]"):
        vae.fit(2 * X)


def test_density_is_per_unit_of_the_data(gaussian_rows):
    train, test = gaussian_rows
    one, ten = (
        VariationalAutoencoder(2, max_iter=10, random_state=0)
        .fit(a * train)
        .score_samples(a * test)
        for a in (1, 10)
    )
    assert one.mean() == pytest.approx(ten.mean() + 6 * np.log(10), abs=0.1)
    assert np.corrcoef(one, ten)[0, 1] > 0.95


def test_scores_of_a_row_do_not_depend_on_its_company(gaussian_rows, linear):
    _, test = gaussian_rows
    together = linear.score_samples(test, 20)
    np.testing.assert_allclose(linear.score_samples(test[7:9], 20), together[7:9], rtol=1e-9)
    with pytest.raises(ValueError, match="n_importance_samples must be a positive integer"):
        linear.score_samples(test, 0)


def test_bits_are_drawn_anew_every_time():
    X = np.full((2000, 5), 0.3)
    vae = VariationalAutoencoder(1, likelihood="bernoulli", binarize=True, max_iter=10)
    vae.set_params(random_state=0, early_stopping=False, learning_rate_init=0.03).fit(X)
    # The bits are independent, so no code helps: their entropy is what remains.
    entropy = -5 * (0.3 * np.log(0.3) + 0.7 * np.log(0.7))
    assert vae.loss_ == pytest.approx(entropy, rel=0.02)
    assert vae.sample(500, random_state=0).mean() == pytest.approx(0.3, abs=0.02)
    with pytest.raises(ValueError, match="binarize=True needs likelihood='bernoulli'"):
        vae.set_params(likelihood="gaussian").fit(X)
