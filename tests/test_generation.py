"""New rows: densities of the codes, the penalty that gathers them, and the way between two."""

import numpy as np
import pytest
from instances import INSTANCES, name_of
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import pairwise_distances
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.utils import check_random_state

from sklearn_ae import (
    Autoencoder,
    ConvolutionalAutoencoder,
    RecursiveAutoencoder,
    StackedAutoencoderClassifier,
    UNetAutoencoder,
    VariationalAutoencoder,
)


def energy_distance(A, B):
    """Energy distance of two samples, without bias: zero in the mean where they are alike."""
    within = [pairwise_distances(part).sum() / (len(part) * (len(part) - 1)) for part in (A, B)]
    return 2 * pairwise_distances(A, B).mean() - sum(within)


@pytest.fixture(scope="module")
def blobs():
    centers = [[0, 0, 8], [8, 0, 0], [0, 8, 0]]
    return make_blobs(600, centers=centers, cluster_std=0.5, random_state=0)[0]


@pytest.mark.parametrize(
    "density",
    [
        GaussianMixture(3),
        BayesianGaussianMixture(n_components=3, max_iter=500),
        KernelDensity(bandwidth=0.1),
        "kde",
        "mixture",
    ],
)
def test_density_finds_the_clusters_that_one_gaussian_misses(blobs, density):
    train, held_out = blobs[:300], blobs[300:]
    plain = Autoencoder(2, max_iter=30, random_state=0).fit(train)
    model = clone(plain).set_params(density=density).fit(train)
    distance = energy_distance(model.sample(300, random_state=0), held_out)
    assert distance < 0.2 * energy_distance(plain.sample(300, random_state=0), held_out)
    assert not hasattr(density, "n_features_in_")


def test_density_changes_nothing_but_the_draws(blobs):
    plain = Autoencoder(2, max_iter=5, random_state=0).fit(blobs)
    mixed = clone(plain).set_params(density=GaussianMixture(3)).fit(blobs)
    np.testing.assert_array_equal(plain.transform(blobs), mixed.transform(blobs))
    assert plain.density_ == "gaussian"


@pytest.mark.parametrize("density", [GaussianMixture(3), "kde", "mixture"])
def test_draws_repeat_with_the_seed_and_come_in_no_order(blobs, density):
    model = Autoencoder(2, max_iter=5, density=density, random_state=0).fit(blobs)
    again = clone(model).fit(blobs)
    rows = model.sample(90, random_state=3)
    np.testing.assert_array_equal(rows, model.sample(90, random_state=3))
    np.testing.assert_array_equal(rows, again.sample(90, random_state=3))
    assert not np.array_equal(rows, model.sample(90, random_state=4))
    cluster = rows.argmax(axis=1)
    assert (np.diff(cluster) != 0).sum() > 20


def test_density_sees_weights(blobs):
    """Rows of weight zero are not drawn, and a heavy cluster is drawn more often."""
    cluster = blobs.argmax(axis=1)
    weight = np.choose(cluster, [0.0, 1.0, 3.0])
    model = Autoencoder(2, max_iter=30, density=GaussianMixture(2), random_state=0)
    rows = model.fit(blobs, sample_weight=weight).sample(2000, random_state=0)
    counts = np.bincount(rows.argmax(axis=1), minlength=3)
    assert counts[0] == 0
    assert abs(counts[2] / 2000 - 0.75) < 0.04


def test_parameters_of_the_density_are_searched(blobs):
    search = GridSearchCV(
        Autoencoder(2, max_iter=3, density=GaussianMixture(), random_state=0),
        {"density__n_components": [1, 3]},
        scoring=lambda model, X, y=None: model.density_.score(model.transform(X)),
        cv=2,
    ).fit(blobs)
    assert search.best_params_ == {"density__n_components": 3}


def test_density_that_cannot_be_fitted_is_named(blobs):
    model = Autoencoder(2, max_iter=3, density=GaussianMixture(50))
    with pytest.raises(
        ValueError, match=r"density=GaussianMixture.*18 samples"
    ):  # two are held out
        model.fit(blobs[:20])
    with pytest.raises(ValueError, match="'density' parameter"):
        Autoencoder(density="uniform").fit(blobs)
    with pytest.raises(ValueError, match="'density' parameter"):
        Autoencoder(density="prior").fit(blobs)


def test_variational_codes_come_from_the_prior_unless_asked_otherwise(blobs):
    # With so weak a divergence the codes are not where the prior is.
    model = VariationalAutoencoder(2, beta=0.01, max_iter=50, random_state=0).fit(blobs)
    random = np.random.RandomState(0)
    expected = model.inverse_transform(random.standard_normal((5, 2)))
    np.testing.assert_allclose(model.sample(5, random_state=0), expected)
    mixed = clone(model).set_params(density=GaussianMixture(3)).fit(blobs)
    distances = [energy_distance(m.sample(600, random_state=0), blobs) for m in (model, mixed)]
    assert distances[1] < 0.5 * distances[0]


@pytest.mark.parametrize("estimator", INSTANCES, ids=name_of)
def test_every_autoencoder_draws_from_a_density(estimator):
    X = load_digits().data[:80, 16:32]
    model = clone(estimator).set_params(density=GaussianMixture(2, reg_covar=1e-3), random_state=0)
    rows = model.fit(X).sample(4, random_state=0)
    assert rows.shape == (4, 16)
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("estimator", INSTANCES, ids=name_of)
def test_interpolation_ends_at_reconstructions(estimator):
    X = load_digits().data[:60, 16:32]
    model = clone(estimator).set_params(random_state=0).fit(X)
    rows = model.interpolate(X[:5], X[5:10], n_steps=3)
    assert rows.shape == (5, 3, 16)
    np.testing.assert_allclose(rows[:, 0], model.reconstruct(X[:5]), atol=1e-9)
    np.testing.assert_allclose(rows[:, 2], model.reconstruct(X[5:10]), atol=1e-9)
    ends = model.transform(X[:5]), model.transform(X[5:10])
    if model.module_.network.extra_names(model.input_shape_):
        n_own = model.module_.n_components
        middle = np.hstack([(ends[0] + ends[1])[:, :n_own] / 2, ends[1][:, n_own:]])
    else:
        middle = (ends[0] + ends[1]) / 2
    np.testing.assert_allclose(rows[:, 1], model.inverse_transform(middle), atol=1e-9)


def test_interpolation_of_images_and_sequences():
    images = load_digits().images[:60].astype(np.float32)
    model = ConvolutionalAutoencoder(3, channels=(2,), max_iter=2).fit(images)
    between = model.interpolate(images[:2], images[2:4])
    assert between.shape == (2, 9, 8, 8)
    assert between.dtype == np.float32
    ragged = [images[0, :3], images[1, :6]]
    model = RecursiveAutoencoder(3, hidden_size=4, max_iter=2).fit(ragged)
    assert model.interpolate(ragged[:1], ragged[1:]).shape == (1, 9, 6, 8)


def test_interpolation_refuses_what_does_not_pair(blobs):
    model = Autoencoder(1, max_iter=2).fit(blobs)
    with pytest.raises(ValueError, match="X has 2 samples and X_end has 3"):
        model.interpolate(blobs[:2], blobs[:3])
    with pytest.raises(ValueError, match="n_steps must be an integer of at least 2, got 1"):
        model.interpolate(blobs[:2], blobs[:2], n_steps=1)
    with pytest.raises(ValueError, match="2 features"):
        model.interpolate(blobs[:2], blobs[:2, :2])


@pytest.mark.parametrize("init", ["pca", pytest.param("random", marks=pytest.mark.slow)])
def test_penalty_gathers_codes_at_the_origin(init):
    X = load_digits().data
    sizes, scores = [], []
    for code_alpha in (0.0, 0.01, 1.0):
        model = Autoencoder(
            4, code_alpha=code_alpha, init=init, max_iter=60, hidden_layer_sizes=(32,)
        )
        Z = model.set_params(random_state=0).fit(X).transform(X)
        sizes.append(np.square(Z).mean())
        scores.append(model.score(X))
    assert sizes[1] < sizes[0] / 2
    assert sizes[2] < sizes[1] / 2
    assert np.linalg.norm(Z.mean(axis=0)) < 0.1 * sizes[2] ** 0.5
    assert scores[2] > 0.4


@pytest.mark.parametrize(
    "estimator",
    [
        Autoencoder(3),
        ConvolutionalAutoencoder(3, channels=(2,), unpooling="switches"),
        UNetAutoencoder(3, channels=(2,)),
    ],
)
def test_penalty_is_the_mean_square_of_the_components(estimator):
    X = load_digits().data[:50]
    estimator.set_params(code_alpha=0.7, max_iter=2, random_state=0, early_stopping=False)
    estimator.fit(X)
    rows = estimator.module_.center.new_tensor((X - X.mean(0)) / X.std(0).mean())
    terms = estimator._loss(estimator.module_, rows)
    code = estimator.module_.encode(rows)[:, :3].detach().numpy()
    np.testing.assert_allclose(terms["code"].detach(), 0.7 * (code**2).mean(1), rtol=1e-6)
    assert set(estimator.history_[0]) == {"epoch", "reconstruction", "code", "train_loss"}


def test_no_penalty_takes_the_same_path_as_before():
    X = load_digits().data[:200]
    model = Autoencoder(3, max_iter=3, random_state=0).fit(X)
    assert model._has_plain_loss()
    assert not model.set_params(code_alpha=1e-3)._has_plain_loss()
    assert set(model.history_[0]) == {
        "epoch", "reconstruction", "train_loss", "valid_loss", "valid_score",
    }  # fmt: skip


@pytest.mark.parametrize(
    "variance", [pytest.param("learned", marks=pytest.mark.slow), "per_feature"]
)
def test_noisy_draws_have_the_variance_of_the_model(variance):
    """What the code does not explain is added to the means, each feature's own share if asked."""
    random = np.random.default_rng(0)
    spreads = np.array([0.5, 0.5, 1.0])
    X = random.normal(size=(500, 1)) @ [[3.0, 1.0, 2.0]] + random.normal(size=(500, 3)) * spreads
    model = VariationalAutoencoder(
        1, variance=variance, hidden_layer_sizes=(), activation="identity", random_state=0
    ).fit(X)
    means, rows = (model.sample(20_000, random_state=1, noise=noise) for noise in (False, True))
    noise = (rows - means).reshape(-1, 3)
    expected = np.broadcast_to(model.noise_variance_, 3)
    np.testing.assert_allclose(noise.var(axis=0), expected, rtol=0.05)
    np.testing.assert_allclose(np.corrcoef(noise.T), np.eye(3), atol=0.03)
    together = np.cov(means.T) + np.diag(expected)
    np.testing.assert_allclose(np.cov(rows.T), together, atol=0.03 * together.max())


def test_noisy_draws_of_bits_are_bits():
    X = load_digits().images[:100] / 16
    model = VariationalAutoencoder(2, likelihood="bernoulli", max_iter=20, random_state=0).fit(X)
    means, bits = (model.sample(4000, random_state=1, noise=noise) for noise in (False, True))
    assert bits.shape == means.shape == (4000, 8, 8)
    assert set(np.unique(bits)) == {0.0, 1.0}
    np.testing.assert_allclose(bits.mean(axis=0), means.mean(axis=0), atol=0.04)


def test_a_loss_of_one_s_own_is_what_is_trained():
    called = []

    class Own(Autoencoder):
        def _loss(self, module, X, y=None, sample_weight=None):
            called.append(len(X))
            return {"own": (module(X) - X).square().mean(1)}

    model = Own(2, max_iter=2, hidden_layer_sizes=(4,)).fit(load_digits().data[:50])
    assert called
    assert "own" in model.history_[0]


class Uniform(BaseEstimator):
    """A density that draws from NumPy's own generator and has no parameters."""

    def fit(self, X, y=None):
        self.range_ = X.min(axis=0), X.max(axis=0)
        return self

    def sample(self, n_samples):
        return np.linspace(*self.range_, n_samples)


class Delegating(BaseEstimator):
    """A density without a parameter `random_state`, whose signature does not name the argument."""

    def fit(self, X, y=None):
        self.density_ = KernelDensity(bandwidth=0.1).fit(X)
        return self

    def sample(self, *args, **kwargs):
        return self.density_.sample(*args, **kwargs)


class Seeded(BaseEstimator):
    """A density that draws by its parameter, whatever the argument of `sample`."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def sample(self, n_samples):
        random = check_random_state(self.random_state)
        return random.normal(size=(n_samples, self.n_features_in_)), np.zeros(n_samples)


@pytest.mark.parametrize(
    "density",
    [Delegating(), Seeded(), Seeded(random_state=3), Autoencoder(2, max_iter=2)],
    ids=lambda density: type(density).__name__,
)
def test_draws_of_any_density_repeat_with_the_seed(density, blobs):
    model = Autoencoder(2, max_iter=2, density=density, random_state=0).fit(blobs)
    kept = model.density_[-1].get_params()
    first, again, other = (model.sample(7, random_state=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert model.density_[-1].get_params() == kept


def test_densities_of_one_s_own_need_no_seed(blobs):
    rows = Autoencoder(2, max_iter=2, density=Uniform()).fit(blobs).sample(7, random_state=0)
    assert rows.shape == (7, 3)


@pytest.mark.parametrize("density", [GaussianMixture, GaussianMixture(0)])
def test_a_senseless_density_is_refused_before_the_training(density, blobs, monkeypatch):
    monkeypatch.setattr("sklearn_ae._estimator.fitting.train", None)  # not reached
    with pytest.raises(ValueError, match="density must be an instance|n_components"):
        Autoencoder(2, density=density).fit(blobs)


def test_samples_without_weight_do_not_change_the_density_of_the_codes():
    """Every other row counts; the rows that are looked at are not those that do not."""
    X = np.random.default_rng(0).normal(size=(3000, 3))
    y = np.arange(3000) % 3 % 2
    model = StackedAutoencoderClassifier(
        hidden_layer_sizes=(3, 2), pretraining_max_iter=1, max_iter=1, random_state=0
    ).fit(X, y, sample_weight=np.arange(3000) % 2)
    codes = model.transform(X[1::2])
    drawn = model.autoencoder_.module_.code_mean.numpy()
    np.testing.assert_allclose(drawn, codes.mean(axis=0), atol=0.1 * codes.std())
