"""What makes a variational autoencoder one: its bound on the likelihood."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from sklearn_ae import VariationalAutoencoder
from sklearn_ae.losses import (
    bernoulli_likelihood,
    continuous_bernoulli,
    continuous_bernoulli_gradient,
    continuous_bernoulli_likelihood,
    continuous_bernoulli_mean,
    continuous_bernoulli_quantile,
    gaussian_divergence,
    gaussian_likelihood,
)
from sklearn_ae.networks import ConvolutionalNetwork, DenseNetwork, LSTMNetwork, UNetNetwork


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


@pytest.mark.parametrize("seed", range(5))
def test_constants_of_a_density_in_float32_are_rounded_once(seed):
    """Those of variance and unit nearly cancel; their sum has one rounding error, and no more."""
    rng = np.random.default_rng(seed)
    log_variance = torch.from_numpy(rng.uniform(-14, -10, size=50).astype(np.float32))
    unit = torch.tensor(-log_variance.double().mean().item() - np.log(2 * np.pi))
    exact = 0.5 * (log_variance.double() + unit + np.log(2 * np.pi))
    zeros = torch.zeros(50)
    found = gaussian_likelihood(zeros, zeros, log_variance, unit)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, exact, rtol=2.0**-23, atol=1e-12)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e5])
def test_densities_of_a_fitted_model_use_its_unit_in_float64(factor):
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    # The logarithms of this variance and of 2 pi nearly cancel.
    fitted = VariationalAutoencoder(1, variance=0.16, max_iter=1, random_state=0).fit(factor * X)
    module = copy.deepcopy(fitted.module_).float()
    codes = torch.zeros(1, 1, 1)
    with torch.no_grad():
        output = module.decode(codes[0])
        errors = module.errors_of_outputs(output[None], output, in_units=True)
    unit = 2 * np.log(module.scale.double().item())
    constant = module.log_variance.double() + unit + np.log(2 * np.pi)
    # One rounding error for each of the terms and of their three sums, at most.
    expected = 1.5 * constant.item()
    np.testing.assert_allclose(errors.item(), expected, rtol=4 * 2.0**-24)


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


def nodes_of(mean, std):
    """Codes and weights of a product rule that integrates over posteriors of two components."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    grid = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 1, 2)
    return mean + std * grid, np.outer(weights, weights).ravel() / weights.sum() ** 2


@pytest.fixture(scope="module")
def curved(gaussian_rows):
    """A model whose bound is not quadratic in the code."""
    return VariationalAutoencoder(2, hidden_layer_sizes=(16,), max_iter=30, random_state=0).fit(
        gaussian_rows[0]
    )


def test_bounds_rise_with_the_number_of_draws(gaussian_rows, curved):
    _, test = gaussian_rows
    bounds = [curved.score_samples(test, k) for k in (1, 5, 50, 500)]
    for looser, tighter in pairwise(bounds):
        gain = tighter - looser
        assert gain.mean() > -3 * gain.std() / np.sqrt(len(test))
    # A posterior that is not exact leaves a gap, which many draws close for the most part.
    gain = bounds[-1] - bounds[0]
    assert gain.mean() > 3.5 * gain.std() / np.sqrt(len(test))
    # One draw is the evidence lower bound, up to the noise of drawing once.
    noise = bounds[0] - curved.score_samples(test)
    assert abs(noise.mean()) < 3.5 * noise.std() / np.sqrt(len(test))


@pytest.mark.parametrize("part", range(5))
def test_bound_is_estimated_without_bias(gaussian_rows, curved, part):
    x = gaussian_rows[1][200 * part : 200 * (part + 1)]
    mean, std = curved.posterior(x)
    codes, weights = nodes_of(mean, std)
    decoded = curved.inverse_transform(codes.reshape(-1, 2)).reshape(len(weights), *x.shape)
    likelihood = weights @ norm.logpdf(x, decoded, np.sqrt(curved.noise_variance_)).sum(2)
    divergence = 0.5 * (mean**2 + std**2 - 2 * np.log(std) - 1).sum(1)
    errors = curved.score_samples(x) - (likelihood - divergence)
    # Draws are those of each sample alone, so errors average out like independent ones.
    assert abs(errors.mean()) < 3.5 * errors.std() / np.sqrt(len(x))
    assert errors.std() < 0.15


def test_importance_weighted_bound_equals_an_independent_computation(gaussian_rows, curved):
    _, test = gaussian_rows
    mean, std = curved.posterior(test)
    z = mean + std * np.random.default_rng(0).normal(size=(500, *mean.shape))
    decoded = curved.inverse_transform(z.reshape(-1, 2)).reshape(500, *test.shape)
    likelihood = norm.logpdf(test, decoded, np.sqrt(curved.noise_variance_)).sum(2)
    weights = likelihood + norm.logpdf(z).sum(2) - norm.logpdf(z, mean, std).sum(2)
    errors = curved.score_samples(test, 500) - (np.logaddexp.reduce(weights, axis=0) - np.log(500))
    assert abs(errors.mean()) < 3.5 * errors.std() / np.sqrt(len(test))


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
        # The likelihood is greatest where it is the mean squared residual, whatever the networks.
        mean, std = vae.posterior(train)
        codes = mean + std * np.random.default_rng(0).normal(size=(20, *mean.shape))
        decoded = vae.inverse_transform(codes.reshape(-1, 2)).reshape(20, *train.shape)
        squares = np.square(train - decoded).mean(0)
        # Training sees one draw for each sample, and ends with about an epoch's average of them.
        error = squares.std(0) / np.sqrt(len(train))
        assert np.all(np.abs(vae.noise_variance_ - squares.mean(0)) < 5 * error)


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
    params = {"hidden_layer_sizes": (32,), "max_iter": 40, "random_state": 0}
    params["early_stopping"] = False
    open_ = VariationalAutoencoder(2, beta=1.0, **params).fit(train)
    with pytest.warns(ConvergenceWarning, match=r"collapsed onto the prior.*Lower beta"):
        collapsed = VariationalAutoencoder(2, beta=100.0, **params).fit(train)
    assert open_.history_[-1]["kl"] > 1
    assert open_.active_units_ == 2
    assert collapsed.history_[-1]["kl"] < 0.5
    assert collapsed.active_units_ == 0
    assert collapsed.kl_ < 0.01 < 1 < open_.kl_
    assert collapsed.score(train) < 0.05


def test_warm_up_raises_beta_over_its_share_of_the_epochs(gaussian_rows):
    train, _ = gaussian_rows
    params = {"hidden_layer_sizes": (32,), "random_state": 0}
    vae = VariationalAutoencoder(2, kl_warm_up=0.5, max_iter=40, **params).fit(train)
    assert vae.history_[0]["kl"] < 0.05 * vae.history_[-1]["kl"]
    at_once = VariationalAutoencoder(2, kl_warm_up=0.0, max_iter=1, **params).fit(train)
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
        VariationalAutoencoder(2, hidden_layer_sizes=(32,), max_iter=10, random_state=0)
        .fit(a * train)
        .score_samples(a * test)
        for a in (1, 10)
    )
    assert one.mean() == pytest.approx(ten.mean() + 6 * np.log(10), abs=0.1)
    assert np.corrcoef(one, ten)[0, 1] > 0.95


def test_scores_of_a_sample_do_not_depend_on_the_others(gaussian_rows, linear):
    _, test = gaussian_rows
    together = linear.score_samples(test, 20)
    np.testing.assert_allclose(linear.score_samples(test[7:9], 20), together[7:9], rtol=1e-9)
    with pytest.raises(ValueError, match="n_importance_samples must be a positive integer"):
        linear.score_samples(test, 0)


def test_bits_are_drawn_anew_every_time():
    X = np.full((2000, 5), 0.3)
    vae = VariationalAutoencoder(1, likelihood="bernoulli", binarize=True, max_iter=10)
    vae.set_params(random_state=0, early_stopping=False, learning_rate_init=0.03)
    with pytest.warns(ConvergenceWarning, match="without structure this result is correct"):
        vae.fit(X)
    # The bits are independent, so no code helps: their entropy is what remains.
    entropy = -5 * (0.3 * np.log(0.3) + 0.7 * np.log(0.7))
    assert vae.loss_ == pytest.approx(entropy, rel=0.02)
    assert vae.sample(500, random_state=0).mean() == pytest.approx(0.3, abs=0.02)
    with pytest.raises(ValueError, match="binarize=True needs likelihood='bernoulli', but"):
        vae.set_params(likelihood="gaussian").fit(X)


@pytest.mark.slow
def test_bound_of_binarized_data_is_a_mean_over_bits():
    grey = load_digits().data / 16
    vae = VariationalAutoencoder(
        3, likelihood="bernoulli", binarize=True, hidden_layer_sizes=(32,), max_iter=20
    )
    vae.set_params(random_state=0).fit(grey[:1000])
    rng, test = np.random.default_rng(0), grey[1000:1300]
    for draws in (None, 5):
        bits = [rng.random(test.shape) < test for _ in range(30)]
        of_bits = np.mean([vae.score_samples(b.astype(float), draws) for b in bits], axis=0)
        errors = vae.score_samples(test, draws) - of_bits
        assert abs(errors.mean()) < 3.5 * errors.std() / np.sqrt(len(errors))
    # What training maximises, on training samples.
    assert vae.score_samples(grey[:1000]).mean() == pytest.approx(-vae.loss_, rel=0.05)


LOGITS = torch.tensor([-40, -3, -0.11, -0.09, -1e-4, 0, 1e-9, 0.09, 0.11, 0.5, 40]).double()


def test_continuous_bernoulli_is_a_density_with_this_mean_and_these_quantiles():
    x = torch.linspace(0, 1, 400_001).double()
    for output in LOGITS:
        logits = torch.full_like(x, float(output))
        density = (-continuous_bernoulli_likelihood(logits, x)).exp().numpy()
        assert np.trapezoid(density, x.numpy()) == pytest.approx(1, abs=1e-8)
        mean = np.trapezoid(density * x.numpy(), x.numpy())
        assert float(continuous_bernoulli_mean(output)) == pytest.approx(mean, abs=1e-8)
        below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2) / 4e5])
        value = float(continuous_bernoulli_quantile(output, torch.tensor(0.3).double()))
        assert np.interp(value, x.numpy(), below) == pytest.approx(0.3, abs=1e-6)


def test_gradient_of_the_continuous_bernoulli_likelihood():
    output = LOGITS[None].clone().requires_grad_()
    target = torch.rand(1, len(LOGITS), generator=torch.Generator().manual_seed(0)).double()
    (expected,) = torch.autograd.grad(continuous_bernoulli(output, target).sum(), output)
    gradient = continuous_bernoulli_gradient(output.detach(), target)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


def test_continuous_bernoulli_model_draws_grey_values_of_its_means():
    X = load_digits().data / 16
    vae = VariationalAutoencoder(
        4, likelihood="continuous_bernoulli", hidden_layer_sizes=(64,), max_iter=40, random_state=0
    ).fit(X)
    means, drawn = vae.sample(3000, random_state=0), vae.sample(3000, random_state=0, noise=True)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert np.unique(drawn).size > 0.9 * drawn.size
    errors = (drawn - means).mean(0) / ((drawn - means).std(0) / np.sqrt(3000) + 1e-9)
    assert np.abs(errors).max() < 5
    # A density of grey values, above that of a uniform distribution.
    assert vae.score_samples(X).mean() > 0
    assert np.isnan(vae.noise_variance_)


@pytest.mark.parametrize(
    "density", ["gaussian", pytest.param(GaussianMixture(1), marks=pytest.mark.slow)]
)
def test_density_is_that_of_the_aggregate_posterior(gaussian_rows, density):
    train, _ = gaussian_rows
    vae = VariationalAutoencoder(
        2,
        hidden_layer_sizes=(),
        variance=4.0,
        density=density,
        learning_rate_init=0.02,
        max_iter=60,
        random_state=0,
    ).fit(train)
    mean, std = vae.posterior(train)
    expected = np.cov(mean.T) + np.diag((std**2).mean(0))
    drawn = vae._draw_codes(20_000, np.random.RandomState(0))
    # The Gaussian is that of 2,000 codes: four standard errors of a variance of one.
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.13)
    assert np.abs(np.cov(mean.T) - expected).max() > 0.2  # that of the means alone


def test_draws_are_of_the_density_of_the_fit(gaussian_rows):
    train, _ = gaussian_rows
    params = {"max_iter": 3, "random_state": 0}
    for fitted, later in (("gaussian", "prior"), ("prior", "gaussian")):
        vae = VariationalAutoencoder(2, density=fitted, **params).fit(train)
        before = vae.sample(5, random_state=0), vae.score_samples(train[:5])
        vae.set_params(density=later, n_importance_samples=7, likelihood="bernoulli")
        np.testing.assert_array_equal(vae.sample(5, random_state=0), before[0])
        np.testing.assert_array_equal(vae.score_samples(train[:5]), before[1])


@pytest.mark.parametrize(
    "network",
    [
        DenseNetwork(),
        ConvolutionalNetwork(channels=(4,)),
        ConvolutionalNetwork(channels=(4,), channels_last=False, image_shape=(3, 4, 5)),
        LSTMNetwork(),
    ],
)
def test_training_starts_at_the_mean_of_the_data(network):
    rng = np.random.default_rng(0)
    shape = (3, 4, 5) if getattr(network, "image_shape", None) else (4, 5, 3)
    shape = (12, 5) if isinstance(network, LSTMNetwork) else shape
    X = rng.uniform(0.2, 0.6, size=(40, *shape)) * 0.3
    X[(..., 0) if len(shape) == 2 or shape[-1] == 3 else (slice(None), 0)] += 0.6
    vae = VariationalAutoencoder(2, likelihood="bernoulli", network=network, random_state=0)
    vae.set_params(max_iter=1, learning_rate_init=1e-12, kl_warm_up=0.0)
    restored = vae.fit(X).reconstruct(X)
    # Far nearer to the mean than an output of one half, which weights of any start give.
    assert np.abs(restored - X.mean(0)).mean() < 0.15 < np.abs(0.5 - X.mean(0)).mean()


@pytest.mark.parametrize("residual", [False, True])
def test_a_residual_u_net_does_not_add_the_mean(residual):
    network = UNetNetwork(channels=(2, 2), residual=residual)
    decoder = network.decoder((8, 8), 2)
    before = decoder.last.bias.detach().clone()
    network.start_at(decoder, torch.full((64,), 3.0))
    expected = before if residual else torch.full_like(before, 3.0)
    torch.testing.assert_close(decoder.last.bias.detach(), expected)


def test_default_model_of_grey_images_learns():
    X = load_digits().data / 16
    vae = VariationalAutoencoder(8, likelihood="bernoulli", max_iter=40, random_state=0)
    vae.fit(X[:1400])
    assert vae.active_units_ >= 4
    assert vae.score(X[1400:]) > PCA(3).fit(X[:1400]).explained_variance_ratio_.sum()


@pytest.mark.filterwarnings("ignore:The posterior has collapsed")  # it should, on one sample
@pytest.mark.parametrize("value", [1e30, 1e160, -1e308])
def test_a_single_sample_far_from_the_origin_has_a_bound(value):
    """It is its own mean, and the scale is one: the square of the mean would overflow."""
    X = np.array([[value]])
    vae = VariationalAutoencoder(1, hidden_layer_sizes=(4,), max_iter=2, random_state=0)
    near = vae.fit(np.array([[1.0]])).score_samples(np.array([[1.0]]))
    np.testing.assert_allclose(vae.fit(X).score_samples(X), near)


def test_variances_grow_linearly_in_the_end():
    """An exponential up to ``e^2``, then its tangent."""
    X = np.random.default_rng(0).random((20, 3))
    module = VariationalAutoencoder(1, max_iter=1).fit(X).module_.double()
    output = torch.linspace(-30, 9, 40, dtype=torch.float64, requires_grad=True)
    both = torch.stack([torch.zeros_like(output), output], 1)
    module.encoder = torch.nn.Identity()
    _, log_variance = module.posterior(both)
    values = output.detach()
    exponential = torch.exp(values.clamp_min(-20))
    tangent = np.exp(2) * (1 + (values - 2))
    variance = log_variance.exp()[:, 0]
    torch.testing.assert_close(variance.detach(), torch.where(values < 2, exponential, tangent))
    (slope,) = torch.autograd.grad(variance.sum(), output)
    inside = (values > -20) & (values != 2)
    expected = torch.where(values < 2, exponential, torch.full_like(values, np.exp(2)))
    torch.testing.assert_close(slope[inside], expected[inside])


@pytest.mark.parametrize("activation", ["relu", pytest.param("silu", marks=pytest.mark.slow)])
def test_heavy_tails_do_not_explode(activation):
    """A wide network extrapolates to samples that are hundreds of deviations away."""
    X = np.random.default_rng(0).standard_t(1, size=(1000, 20))
    model = VariationalAutoencoder(
        2, hidden_layer_sizes=(512, 512), activation=activation, max_iter=15, random_state=0
    ).fit(X)
    losses = [epoch["train_loss"] for epoch in model.history_]
    assert max(losses) < 100 * losses[0]  # 20,000 with exponentials
