"""What makes a denoising autoencoder one: it restores, and points to where the data are."""

import copy
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import stdtrit
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback, LRScheduler

from sklearn_ae import Autoencoder, DenoisingAutoencoder, FitCheckpoint
from sklearn_ae._training.callbacks import BestWeights
from sklearn_ae._training.description import Hyperparameters, Objective, TrainingRun
from sklearn_ae._training.net import Validation
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae.networks import ConvolutionalNetwork, LSTMNetwork

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
        2,
        noise_level=LEVEL,
        hidden_layer_sizes=(64, 64),
        max_iter=60,
        random_state=0,
    ).fit(X)


def test_field_is_the_score_of_the_noisy_density(denoiser):
    rng = np.random.default_rng(1)
    x = _mixture(2000, rng) + LEVEL * rng.normal(size=(2000, 2))
    field, score = denoiser.score_field(x), _analytic_score(x, LEVEL)
    cosine = (field * score).sum() / np.sqrt(np.square(field).sum() * np.square(score).sum())
    assert cosine >= 0.98
    assert np.square(field - score).sum() / np.square(score).sum() <= 0.05
    np.testing.assert_allclose(field, (denoiser.reconstruct(x) - x) / LEVEL**2, rtol=1e-9)


class _FieldErrors(Callback):
    """Squared error of the score field after each epoch, relative to the score itself."""

    def on_train_begin(self, net, **kwargs):
        rng = np.random.default_rng(1)
        self.x = _mixture(2000, rng) + LEVEL * rng.normal(size=(2000, 2))
        self.score = _analytic_score(self.x, LEVEL)
        self.errors = []

    @torch.no_grad()
    def on_epoch_end(self, net, **kwargs):
        module = net.module_.eval()
        x = (torch.from_numpy(self.x).to(module.center) - module.center) / module.scale
        field = ((module(x) - x) * module.scale / LEVEL**2).double().numpy()
        self.errors.append(np.square(field - self.score).sum() / np.square(self.score).sum())


@pytest.mark.slow
def test_early_stopping_keeps_a_field_nearly_as_exact_as_that_of_the_last_epoch():
    """An epoch chosen by one draw of the noise has a field with 1.6 to 2.2 times the error."""
    kept, last = [], []
    for seed in range(5):
        X = _mixture(4000, np.random.default_rng(seed))
        recorder = _FieldErrors()
        denoiser = DenoisingAutoencoder(
            2,
            noise_level=LEVEL,
            hidden_layer_sizes=(64, 64),
            max_iter=60,
            callbacks=[recorder],
            random_state=seed,
        ).fit(X)
        kept.append(recorder.errors[denoiser.best_epoch_ - 1])
        last.append(recorder.errors[-1])
    assert np.mean(kept) < 1.5 * np.mean(last)
    assert max(kept) < 0.02


def test_every_epoch_is_validated_on_the_same_pairs_of_draws():
    X = np.random.default_rng(0).normal(size=(200, 3))
    drawn = []

    def record(x):
        noise = torch.randn_like(x)
        drawn.append(noise)
        return x + noise

    denoiser = DenoisingAutoencoder(
        2, noise=record, learning_rate_init=1e-12, max_iter=4, random_state=0
    ).fit(X)
    validated = [noise for noise in drawn if len(noise) == 4 * 20]  # of 20 samples held out
    assert len(validated) == 5  # the start, and four epochs
    for noise in validated:
        torch.testing.assert_close(noise, validated[0], rtol=0, atol=0)
    first, second, *mirrored = validated[0].chunk(4)
    torch.testing.assert_close(torch.cat(mirrored), -torch.cat([first, second]))
    assert not torch.allclose(first, second)
    losses = [epoch["valid_loss"] for epoch in denoiser.history_]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-9)


class _Net:
    """Training of 100 held-out samples: the losses of each epoch, the start's first."""

    def __init__(self, offsets, spreads, max_epochs):
        pattern = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(50)
        self.validations = [
            Validation(
                1 + offset + spread * pattern,
                torch.ones(100, dtype=torch.float64),
                torch.arange(100),
                0.0,
                {},
                torch.tensor([float(number)]),
            )
            for number, (offset, spread) in enumerate(zip(offsets, spreads, strict=True))
        ]
        self.max_epochs = max_epochs
        self.history = []
        self.stop_training = False

    def validate(self):
        return self.validation

    def restore(self, parameters):
        self.kept = int(parameters)


def _kept(offsets, spreads, max_epochs=3, **rules):
    net = _Net(offsets, spreads, max_epochs)
    patient = {"tol": 0.0, "n_iter_no_change": 100, "max_iter": max_epochs}
    run = TrainingRun(
        module=None,
        samples="samples",
        held_out="other samples",
        objective=Objective(terms=None, **{"prefers_last": True} | rules),
        parameters=Hyperparameters.of(DenoisingAutoencoder(), **patient),
        products=torch.float64,
        seeds=None,
    )
    best = BestWeights(run)
    net.validation = net.validations[0]
    best.on_train_begin(net)
    for validation in net.validations[1:]:
        net.validation = validation
        net.history.append({})
        best.on_epoch_end(net)
    best.on_train_end(net)
    assert best.kept_epoch == net.kept
    assert best.best_loss == pytest.approx(1 + offsets[net.kept])
    return net.kept


def test_the_last_epoch_is_kept_unless_another_is_significantly_better():
    """Of 100 samples with differences +-s it is if their mean is above ``t s / sqrt(99)``.

    The best of three epochs is tested at a third of the level.
    """
    offsets = [1, 0.5, 0, 0.1]
    bound = 0.1 * 99**0.5 / stdtrit(99, 1 - 0.05 / 3)
    assert _kept(offsets, [0, 0, 0, 1.01 * bound]) == 3
    assert _kept(offsets, [0, 0, 0, 0.99 * bound]) == 2
    assert _kept(offsets, [0, 0, 0, 1.01 * bound], prefers_last=False) == 2
    assert _kept(offsets, [0, 0, 0, 1.01 * bound], max_epochs=4) == 2  # patience was over
    # The last epoch is not significantly better than the start, but the best one is.
    spreads = [0.01, 0, 0, 1.01 * bound]
    assert _kept([0.11, 0.1, 0, 0.1], spreads, needs_significance=True) == 2
    assert _kept([0.11, 0.1, 0, 0.1], spreads) == 3
    assert _kept([0.01, 0.1, 0, 0.1], [0, 0, 1, 1.1], needs_significance=True) == 0


@pytest.mark.parametrize("loss", [np.inf, np.nan])
def test_a_last_epoch_whose_held_out_loss_is_not_finite_is_not_kept(loss):
    assert _kept([1, 0.5, 0, loss], [0, 0, 0, 0.1]) == 2
    assert _kept([loss, 0.5, 0, 0.01], [0, 0, 0, 0.1]) == 3


def test_only_annealed_denoising_prefers_the_last_epoch(monkeypatch):
    X = np.random.default_rng(0).normal(size=(60, 4))
    preferred, init = [], BestWeights.__init__

    def record(self, *args, **kwargs):
        init(self, *args, **kwargs)
        preferred.append(self.prefers_last)

    monkeypatch.setattr(BestWeights, "__init__", record)
    DenoisingAutoencoder(2, max_iter=1).fit(X)
    DenoisingAutoencoder(2, max_iter=1, learning_rate="constant").fit(X)
    schedule = ("schedule", LRScheduler("StepLR", step_size=10))
    DenoisingAutoencoder(2, max_iter=1, callbacks=[schedule]).fit(X)
    Autoencoder(2, max_iter=1).fit(X)
    assert preferred == [True, False, False, False]


def test_a_run_resumed_after_its_last_epoch_keeps_the_same_epoch(tmp_path, monkeypatch):
    """Killed after the last epoch, or after the end: the module has other weights then."""
    X = _mixture(300, np.random.default_rng(0))

    def fit(folder):
        return DenoisingAutoencoder(
            2, max_iter=6, init="random", callbacks=[FitCheckpoint(folder)], random_state=0
        ).fit(X)

    whole = fit(tmp_path / "whole")
    again = fit(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(BestWeights, "on_train_end", _killed)
        with pytest.raises(RuntimeError, match="killed"):
            fit(tmp_path / "killed")
    for resumed in (again, fit(tmp_path / "killed")):
        assert resumed.best_epoch_ == whole.best_epoch_
        np.testing.assert_array_equal(resumed.transform(X), whole.transform(X))


def _killed(self, net, **kwargs):
    raise RuntimeError("killed")


def test_samples_match_the_data_in_energy_distance(denoiser):
    rng = np.random.default_rng(2)
    data = _mixture(2000, rng)
    drawn = denoiser.sample(2000, random_state=0)

    def energy(a, b):
        return 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()

    gaussian = rng.multivariate_normal(data.mean(0), np.cov(data.T), 2000)
    assert energy(drawn, data) < 0.3 * energy(gaussian, data)  # .239 at most in 21 draws
    np.testing.assert_array_equal(drawn, denoiser.sample(2000, random_state=0))
    assert denoiser.sample(3, random_state=1, n_steps=1).shape == (3, 2)


def test_one_gaussian_has_its_linear_closed_form():
    rng = np.random.default_rng(0)
    factor, mean = np.array([[1.0, 0.0], [0.8, 0.5]]), np.array([3.0, -1.0])
    X = mean + rng.normal(size=(20_000, 2)) @ factor.T
    level = 0.6
    denoiser = DenoisingAutoencoder(
        2, noise_level=level, hidden_layer_sizes=(), alpha=0.0, max_iter=60, random_state=0
    ).fit(X)
    covariance = np.cov(X.T)
    precision = np.linalg.inv(covariance + level**2 * np.eye(2))
    gain = covariance @ precision
    origin = denoiser.reconstruct(mean[None])[0]
    learned = (denoiser.reconstruct(mean + np.eye(2)) - origin).T
    # Of a regression on the samples of one epoch, corrupted once.
    residuals = level**2 * np.diag(gain)
    errors = np.sqrt(np.outer(residuals, np.diag(precision)) / 18_000)
    assert (np.abs(learned - gain) < 4 * errors).all()
    np.testing.assert_allclose(origin, mean, atol=1e-2)


@pytest.mark.parametrize("noise", ["gaussian", "masking", "salt_and_pepper", "swap"])
def test_corrupted_samples_are_reconstructed(noise):
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
    elif noise == "swap":
        spoilt[hit] = rng.permuted(X[:200], axis=0)[hit]
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
    # The ends are those of the training samples: with held-out ones, maybe not those of X.
    salted = _spoil(X, noise="salt_and_pepper", noise_level=0.3, early_stopping=False)
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


def test_codes_are_those_of_the_uncorrupted_samples():
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
    with pytest.raises(ValueError, match=r"noise_level=1\.5 is a fraction"):
        DenoisingAutoencoder(2, noise="masking", noise_level=1.5).fit(X)


# Draws of clean samples


@pytest.mark.parametrize(("n_features", "rank"), [(1, 1), (4, 4), (30, 3), (40, 40)])
def test_roots_without_the_matrix_are_those_of_its_eigenvalues(n_features, rank):
    """Products with a Jacobian that is not symmetric, some eigenvalues below 0 and above 1."""
    from sklearn_ae.networks._posterior import root_times, symmetric_jacobian

    generator = torch.Generator().manual_seed(0)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    jacobian = draw(6, n_features, rank) @ draw(6, rank, n_features) / n_features
    jacobian[0] = 0  # of a constant function
    x, noise = draw(6, n_features), draw(6, n_features)
    values, product = symmetric_jacobian(lambda x: (jacobian @ x[..., None])[..., 0], x)
    torch.testing.assert_close(values, (jacobian @ x[..., None])[..., 0])
    eigenvalues, axes = torch.linalg.eigh((jacobian + jacobian.mT) / 2)
    clamped = eigenvalues.clamp(0, 1)
    clamped[eigenvalues.abs() < 1e-12] = 0
    root = (axes * clamped.sqrt()[:, None]) @ axes.mT
    found = root_times(product, noise, min(n_features, 2 * rank + 1))
    # The root of an eigenvalue that is zero but for rounding is that of the rounding error.
    torch.testing.assert_close(found, (root @ noise[..., None])[..., 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "network", [None, ConvolutionalNetwork(channels=(4,)), LSTMNetwork(hidden_size=4)]
)
def test_draws_have_the_covariance_of_tweedies_formula(network):
    """Of any network: against the Jacobian, formed by automatic differentiation."""
    X = np.random.default_rng(0).normal(size=(100, 4, 4)).cumsum(1)
    denoiser = DenoisingAutoencoder(2, network=network, max_iter=3, random_state=0).fit(X)
    module = copy.deepcopy(denoiser.module_).double()
    x = torch.from_numpy(X[:1].reshape(1, 16)) / module.scale.item()
    jacobian = torch.autograd.functional.jacobian(module, x)[0, :, 0]
    eigenvalues, axes = torch.linalg.eigh((jacobian + jacobian.T) / 2)
    variance = (module.level / module.scale).square()
    expected = variance * (axes * eigenvalues.clamp(0, 1)) @ axes.T
    with drawing_from(make_generator(0)):
        drawn = module.draw_clean(x.expand(20_000, -1))
    error = torch.cov(drawn.T) - expected
    assert error.abs().max() < 0.05 * expected.diagonal().max()
    assert (drawn.mean(0) - module(x)[0]).abs().max() < 0.05 * variance.sqrt()


def test_images_take_as_many_products_as_the_code_has_components():
    """The Jacobian has 784 x 784 entries and is never formed."""
    X = np.random.default_rng(0).normal(size=(150, 784)).astype(np.float32)
    denoiser = DenoisingAutoencoder(8, max_iter=1, random_state=0).fit(X)
    widths = []
    with torch.no_grad():
        denoiser.module_.encoder.layers[0].register_forward_hook(
            lambda layer, inputs, output: widths.append(len(output))
        )
    assert denoiser.sample(100, random_state=0, n_steps=5).shape == (100, 784)
    assert widths == [100] * 6  # one pass for each step, and one that the draws are made from


def test_chains_have_the_variance_of_the_noisy_density():
    """Across data on a line the noisy density has the noise's variance, whatever the step."""
    X = np.random.default_rng(0).normal(size=(4000, 1)) * [[3.0, 4.0]]
    denoiser = DenoisingAutoencoder(
        1, noise_level=2.0, hidden_layer_sizes=(), max_iter=20, random_state=0
    ).fit(X)
    module = denoiser.module_
    with drawing_from(make_generator(0)):
        ends = module.langevin(torch.zeros(40_000, 2).to(module.center), 300)
    ends = (ends * module.scale).double() @ torch.tensor([[0.6, -0.8], [0.8, 0.6]]).double()
    # Four standard errors of a variance of so many draws; independent noise gives a ninth more.
    tolerance = 4 * (2 / 40_000) ** 0.5
    assert float(ends[:, 1].var()) / 4 == pytest.approx(1, abs=tolerance)
    # Along the line, of slope a, the score is -(1 - a) x / 4, that of a variance of 4 / (1 - a).
    steps = np.array([[0.0, 0.0], [0.6, 0.8]])
    slope = np.diff(denoiser.reconstruct(steps), axis=0)[0] @ [0.6, 0.8]
    assert float(ends[:, 0].var()) * (1 - slope) / 4 == pytest.approx(1, abs=tolerance)
    assert slope == pytest.approx(25 / 29, rel=0.02)


def _gaussian_draws(level, hidden, **params):
    """Samples of a Gaussian, and draws of a denoiser fitted on them."""
    rng = np.random.default_rng(0)
    factor = np.array([[2.0, 0.0, 0.0], [1.2, 0.5, 0.0], [-0.5, 0.2, 0.4]])
    X = 3 + rng.normal(size=(4000, 3)) @ factor.T
    params = {"noise_level": level, "hidden_layer_sizes": hidden, "random_state": 0} | params
    return X, DenoisingAutoencoder(3, **params).fit(X).sample(8000, random_state=0, n_steps=200)


def _assert_same_moments(X, drawn, variance, squared_error):
    """Compare means and covariances after noise, in units of the deviations that X then has."""
    root = np.linalg.cholesky(np.cov(X.T) + variance * np.eye(3))
    mean = np.linalg.solve(root, drawn.mean(0) - X.mean(0))
    gap = np.linalg.solve(root, np.linalg.solve(root, np.cov(drawn.T) - np.cov(X.T)).T)
    # A share of 1 / n for the mean of n draws, and of 2 / n for their variance: 4.5 errors.
    np.testing.assert_allclose(mean, 0, atol=4.5 * np.sqrt(squared_error + 1 / len(drawn)))
    np.testing.assert_allclose(gap, 0, atol=4.5 * np.sqrt(squared_error + 2 / len(drawn)))


@pytest.mark.parametrize("hidden", [(), (32,)])
@pytest.mark.parametrize("level", [0.3, pytest.param(1.5, marks=pytest.mark.slow)])
def test_draws_from_a_gaussian_have_its_covariance(hidden, level):
    """The start is the best denoiser of a Gaussian, so that its draws are exact."""
    start = {"learning_rate_init": 1e-12, "max_iter": 1, "early_stopping": False}
    X, drawn = _gaussian_draws(level, hidden, **start)
    _assert_same_moments(X, drawn, 0, 0)


@pytest.mark.parametrize("hidden", [(), (32,)])
@pytest.mark.parametrize("level", [0.8, pytest.param(1.5, marks=pytest.mark.slow)])
def test_draws_after_training_have_the_covariance_of_a_gaussian(hidden, level):
    """Chains have the variance ``s^2 / (1 - g)`` where a sample is restored by a factor ``g``.

    Regression of ``n`` samples of variance ``v`` on noisy ones leaves ``g`` the squared error
    ``v s^2 / n / (v + s^2)^2``, and so the chains' variance and mean, in units of the noisy
    samples' own, that of ``v / (n s^2)``.
    """
    X, drawn = _gaussian_draws(level, hidden, max_iter=20)
    largest = np.linalg.eigvalsh(np.cov(X.T))[-1]
    _assert_same_moments(X, drawn, level**2, largest / (0.9 * len(X) * level**2))


def _clusters(n_features, gap, seed, share=0.5, n_samples=4000):
    """Two clusters of deviation 0.5 in every direction, `gap` to each side of the origin."""
    rng = np.random.default_rng(seed)
    X = 0.5 * rng.normal(size=(n_samples, n_features))
    X[:, 0] += np.where(rng.random(n_samples) < share, gap, -gap)
    return X


def _denoiser(n_features, level, seed, **params):
    settings = {"max_iter": 60, "random_state": seed} | params
    return DenoisingAutoencoder(n_features, noise_level=level, **settings)


FEATURES = [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(5, marks=pytest.mark.slow)]


@pytest.mark.parametrize("n_features", FEATURES)
def test_clusters_are_drawn_as_wide_as_they_are(n_features):
    X = _clusters(n_features, 3.0, 0)
    trained = _denoiser(n_features, 0.5, 0).fit(X)
    drawn = trained.sample(2000, 0, n_steps=100)
    right = drawn[:, 0] > 0
    for part in (drawn[right], drawn[~right]):
        # Four standard errors of the deviation of a thousand draws are 9 % of it.
        np.testing.assert_allclose(part.std(0), 0.5, rtol=0.15)
        np.testing.assert_allclose(
            np.abs(part.mean(0)), 3.0 * (np.arange(n_features) == 0), atol=0.2
        )
    # Chains do not change the cluster: the weights are those of their starts, about equal.
    assert right.mean() == pytest.approx((X[:, 0] > 0).mean(), abs=0.12)


def test_a_mixture_of_the_codes_gives_distant_clusters_their_weights():
    X = _clusters(2, 3.0, 0, share=0.8)
    denoiser = _denoiser(2, 0.5, 0, density=GaussianMixture(2, random_state=0)).fit(X)
    drawn = denoiser.sample(2000, random_state=0, n_steps=100)
    assert (drawn[:, 0] > 0).mean() == pytest.approx((X[:, 0] > 0).mean(), abs=0.03)


@pytest.mark.parametrize("n_features", FEATURES)
def test_noise_beyond_the_gaps_is_warned_of(n_features):
    """The clean samples of a corrupted one lie in both clusters, and no Gaussian does."""
    X, small = _clusters(n_features, 2.0, 0), {"hidden_layer_sizes": (64,), "max_iter": 30}
    denoiser = _denoiser(n_features, 2.0, 0, **small).fit(X)
    with pytest.warns(
        UserWarning, match=r"noise_level=2 .* Lower noise_level, .* to 1\."
    ) as found:
        denoiser.sample(2, random_state=0, n_steps=1)
    assert found[0].filename == __file__
    calm = _denoiser(n_features, 0.5, 0, **small).fit(X)
    calm.sample(2, random_state=0, n_steps=1)  # no warning


@pytest.mark.filterwarnings("ignore:Column(s 23, 3 have| 12 has) 99")  # areas; proline, of wines
@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_digits])
@pytest.mark.parametrize("scale", [False, True])
def test_ordinary_tables_give_no_warning(load, scale):
    X = load().data
    if scale:
        X = StandardScaler().fit_transform(X)
    denoiser = DenoisingAutoencoder(max_iter=30, random_state=0).fit(X)
    assert np.isfinite(denoiser.sample(2, random_state=0, n_steps=1)).all()


def test_values_that_repeat_are_no_gaps():
    X = np.random.default_rng(0).integers(0, 6, size=(600, 2)).astype(float)
    DenoisingAutoencoder(max_iter=10, random_state=0).fit(X).sample(2, random_state=0, n_steps=1)


def test_the_start_is_the_best_linear_denoiser():
    """PCA leaves all the noise in the components: its draws are wider than the data."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4))
    X -= X.mean(0)
    denoiser = DenoisingAutoencoder(
        2,
        noise_level=0.8,
        learning_rate_init=1e-12,
        max_iter=1,
        early_stopping=False,  # held-out samples are not used for the factors
        random_state=0,
    ).fit(X)
    values, axes = np.linalg.eigh(X.T @ X / len(X))
    gain = (axes[:, 2:] * (values[2:] / (values[2:] + 0.64))) @ axes[:, 2:].T
    np.testing.assert_allclose(denoiser.reconstruct(X), X @ gain, atol=1e-6)
