"""What makes a denoising autoencoder one: it restores, and points to where the data are."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from sklearn_ae import DenoisingAutoencoder

CENTERS = np.array([[-1.5, 0.0], [1.5, 0.5], [0.0, -1.8]])
STDS = np.array([0.4, 0.5, 0.3])
SHARES = np.array([0.3, 0.4, 0.3])
LEVEL = 0.5


def _mixture(n_rows, rng):
    parts = rng.choice(3, size=n_rows, p=SHARES)
    return CENTERS[parts] + STDS[parts, None] * rng.normal(size=(n_rows, 2))


def _analytic_score(x, level):
    """Gradient of the log-density of the mixture after Gaussian noise."""
    variances = STDS**2 + level**2
    distances = CENTERS[None] - x[:, None]
    log_parts = np.log(SHARES / variances) - np.square(distances).sum(2) / (2 * variances)
    parts = np.exp(log_parts - log_parts.max(axis=1, keepdims=True))
    parts /= parts.sum(axis=1, keepdims=True)
    return (parts[:, :, None] * distances / variances[None, :, None]).sum(1)


@pytest.fixture(scope="module")
def denoiser():
    X = _mixture(4000, np.random.default_rng(0))
    return DenoisingAutoencoder(
        2, noise_level=LEVEL, hidden_layer_sizes=(64, 64), max_iter=60, random_state=0
    ).fit(X)


def test_field_is_the_score_of_the_noisy_density(denoiser):
    rng = np.random.default_rng(1)
    x = _mixture(2000, rng) + LEVEL * rng.normal(size=(2000, 2))
    field, score = denoiser.score_field(x), _analytic_score(x, LEVEL)
    cosine = (field * score).sum() / np.sqrt(np.square(field).sum() * np.square(score).sum())
    assert cosine >= 0.98
    assert np.square(field - score).sum() / np.square(score).sum() <= 0.05
    np.testing.assert_allclose(field, (denoiser.reconstruct(x) - x) / LEVEL**2, rtol=1e-9)


def test_samples_match_the_data_in_energy_distance(denoiser):
    rng = np.random.default_rng(2)
    data = _mixture(5000, rng)
    drawn = denoiser.sample(5000, random_state=0)

    def energy(a, b):
        return 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()

    gaussian = rng.multivariate_normal(data.mean(0), np.cov(data.T), 5000)
    assert energy(drawn, data) < 0.2 * energy(gaussian, data)
    np.testing.assert_array_equal(drawn, denoiser.sample(5000, random_state=0))
    assert denoiser.sample(3, random_state=1, n_steps=1).shape == (3, 2)


def test_one_gaussian_has_its_linear_closed_form():
    rng = np.random.default_rng(0)
    factor, mean = np.array([[1.0, 0.0], [0.8, 0.5]]), np.array([3.0, -1.0])
    X = mean + rng.normal(size=(20_000, 2)) @ factor.T
    level = 0.6
    denoiser = DenoisingAutoencoder(
        2, noise_level=level, hidden_layer_sizes=(), alpha=0.0, max_iter=60, random_state=0
    ).fit(X)
    covariance = factor @ factor.T
    gain = covariance @ np.linalg.inv(covariance + level**2 * np.eye(2))
    origin = denoiser.reconstruct(mean[None])[0]
    learned = (denoiser.reconstruct(mean + np.eye(2)) - origin).T
    np.testing.assert_allclose(learned, gain, atol=1e-2)
    np.testing.assert_allclose(origin, mean, atol=1e-2)


@pytest.mark.parametrize("noise", ["gaussian", "masking", "salt_and_pepper"])
def test_spoilt_rows_are_restored(noise):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1200, 2)) @ rng.normal(size=(2, 10)) + 5
    denoiser = DenoisingAutoencoder(
        4, noise=noise, noise_level=0.2, init="random", max_iter=60, random_state=0
    ).fit(X[:1000])
    test, spoilt = X[1000:], X[1000:].copy()
    hit = rng.random(test.shape) < 0.2
    if noise == "gaussian":
        spoilt += 0.2 * rng.normal(size=test.shape)
    elif noise == "masking":
        spoilt[hit] = 0
    else:
        ends = np.where(rng.random(test.shape) < 0.5, X[:1000].min(axis=0), X[:1000].max(axis=0))
        spoilt[hit] = ends[hit]
    before = np.square(spoilt - test).mean()
    assert np.square(denoiser.reconstruct(spoilt) - test).mean() < 0.5 * before
    assert denoiser.noise_level_ == pytest.approx(0.2)


def _spoil(X, **params):
    """What a fitted estimator does to rows in training, in the units of X."""
    module = DenoisingAutoencoder(2, max_iter=1, random_state=0, **params).fit(X).module_
    x = (torch.from_numpy(X).to(module.center) - module.center) / module.scale
    torch.manual_seed(0)
    return (module.corrupt(x) * module.scale + module.center).numpy()


def test_noise_is_what_it_says():
    X = np.random.default_rng(0).uniform(1, 3, size=(4000, 3))
    added = _spoil(X, noise="gaussian", noise_level=0.7) - X
    assert added.std() == pytest.approx(0.7, rel=0.03)
    assert abs(added.mean()) < 0.03
    masked = _spoil(X, noise="masking", noise_level=0.3)
    hit = np.abs(masked) < 1e-5
    assert hit.mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_allclose(masked[~hit], X[~hit], rtol=1e-5)
    salted = _spoil(X, noise="salt_and_pepper", noise_level=0.3)
    low, high = (np.isclose(salted, end(axis=0), rtol=1e-5) for end in (X.min, X.max))
    assert low.mean() == pytest.approx(0.15, abs=0.02)
    assert high.mean() == pytest.approx(0.15, abs=0.02)
    default = DenoisingAutoencoder(2, max_iter=1, early_stopping=False).fit(X).noise_level_
    assert default == pytest.approx(0.3 * np.sqrt(X.var(axis=0).mean()), rel=1e-5)


def _double(x):
    return 2 * x + torch.zeros_like(x).normal_(std=1e-3)


def test_a_callable_sees_units_of_the_data_and_seeded_draws():
    X = np.random.default_rng(0).uniform(1, 3, size=(300, 3))
    np.testing.assert_allclose(_spoil(X, noise=_double), 2 * X, atol=0.02)
    fits = [
        DenoisingAutoencoder(2, noise=_double, max_iter=3, random_state=0).fit(X).transform(X)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*fits)
    with pytest.raises(ValueError, match="noise must return a tensor of the shape"):
        DenoisingAutoencoder(2, noise=lambda x: x[:, :1], max_iter=1).fit(X)


def test_every_presentation_has_fresh_noise():
    X = np.random.default_rng(0).normal(size=(64, 3))
    seen = []

    def record(x):
        seen.append(x + torch.randn_like(x))
        return seen[-1]

    DenoisingAutoencoder(2, noise=record, max_iter=4, early_stopping=False).fit(X)
    assert all(not torch.allclose(a, b) for a, b in pairwise(seen))


def test_codes_are_those_of_the_rows_as_they_are():
    X = np.random.default_rng(0).normal(size=(200, 4))
    denoiser = DenoisingAutoencoder(2, noise="masking", max_iter=5, random_state=0).fit(X)
    np.testing.assert_array_equal(denoiser.transform(X), denoiser.transform(X))
    np.testing.assert_allclose(
        denoiser.reconstruct(X), denoiser.inverse_transform(denoiser.transform(X)), rtol=1e-12
    )


def test_what_is_no_score_is_refused():
    X = np.random.default_rng(0).uniform(size=(100, 4))
    masking = DenoisingAutoencoder(2, noise="masking", max_iter=2).fit(X)
    with pytest.raises(ValueError, match="score_field needs noise='gaussian'"):
        masking.score_field(X)
    robust = DenoisingAutoencoder(2, loss="absolute_error", max_iter=2).fit(X)
    with pytest.raises(ValueError, match="loss='absolute_error'"):
        robust.score_field(X)
    with pytest.raises(ValueError, match=r"noise_level=1\.5 is a share"):
        DenoisingAutoencoder(2, noise="masking", noise_level=1.5).fit(X)
