"""Swap noise: values replaced by those of the same feature in training samples."""

import copy
import pickle

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.stats import ks_2samp
from sklearn.base import clone

from sklearn_ae import DenoisingAutoencoder, load, save
from sklearn_ae._training import marginals
from sklearn_ae._training.batches import Samples
from sklearn_ae._training.marginals import draw_values
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae.networks import LSTMNetwork
from sklearn_ae.networks._denoising import N_VALUES
from sklearn_ae.onnx import to_onnx

CPU = torch.device("cpu")
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 3, "early_stopping": False}


def _swapping(noise_level=None, **params):
    params = {"noise": "swap", "noise_level": noise_level, "random_state": 0} | SMALL | params
    return DenoisingAutoencoder(2, **params)


def _correlated(n_samples, seed):
    """Features of different distributions: skewed, binary, uniform; all from one factor."""
    factor = np.random.default_rng(seed).normal(size=n_samples)
    noise = np.random.default_rng(seed + 1000).normal(size=(n_samples, 3))
    latent = factor[:, None] + 0.2 * noise
    return np.column_stack([np.exp(latent[:, 0]), latent[:, 1] > 0.5, np.tanh(latent[:, 2])])


def _with_gaps(n_samples=300):
    X = _correlated(n_samples, 0)
    return np.where(np.random.default_rng(1).random(X.shape) < 0.3, np.nan, X)


def _units(module, X):
    return (torch.from_numpy(X).to(module.center) - module.center) / module.scale


def _corrupt(module, X, seed=0):
    with drawing_from(make_generator(seed)):
        return module.corrupt(_units(module, X))


def _values_of(X, n_values, weight=None, seed=0):
    weight = None if weight is None else torch.from_numpy(weight)
    return draw_values(Samples(X, weight, CPU, torch.float64, True), n_values, seed).numpy()


# The stored values


@pytest.mark.parametrize("n_samples", [1, 7, 256, 1000])
def test_each_value_is_a_quantile_between_its_bounds(n_samples):
    X = np.random.default_rng(0).normal(size=(n_samples, 2)).round(1)
    values = _values_of(X, 64)
    bounds = np.quantile(X, np.arange(65) / 64, axis=0, method="inverted_cdf")
    assert (bounds[:-1] <= values).all()
    assert (values <= bounds[1:]).all()
    assert not np.array_equal(values, _values_of(X, 64, seed=1)) or n_samples == 1


def test_weighted_samples_have_the_values_of_their_copies():
    X = np.random.default_rng(0).normal(size=(100, 3))
    weight = np.random.default_rng(1).integers(1, 5, size=100)
    copies = np.repeat(X, weight, axis=0)[np.random.default_rng(2).permutation(weight.sum())]
    expected = _values_of(copies, N_VALUES)
    np.testing.assert_array_equal(_values_of(X, N_VALUES, weight.astype(float)), expected)


def test_missing_values_are_not_drawn():
    X = np.random.default_rng(0).normal(size=(50, 4))
    X[np.random.default_rng(1).random(X.shape) < 0.6] = np.nan
    X[:, 3] = np.nan
    X[:, 2] = np.nan
    X[17, 2] = 5.0
    values = _values_of(X, N_VALUES)
    for column, drawn in zip(X.T[:3], values.T, strict=False):
        assert set(drawn) <= set(column[~np.isnan(column)])
    assert (values[:, 2] == 5).all()
    assert not values[:, 3].any()


def test_rare_values_are_drawn_as_often_as_they_occur():
    """One sample in 2,000 has the value: it is one of 256 values with probability 256 / 2,000."""
    n_features, rate = 1000, 1 / 2000  # few enough that all samples are used
    X = np.zeros((2000, n_features), np.float32)
    X[np.random.default_rng(0).integers(2000)] = 1
    drawn = _values_of(X, N_VALUES).sum(0)
    assert set(drawn) == {0, 1}
    error = np.sqrt(N_VALUES * rate * (1 - N_VALUES * rate) / n_features)
    assert drawn.mean() == pytest.approx(N_VALUES * rate, abs=4.5 * error)


def test_large_data_are_represented_by_a_random_subset(monkeypatch):
    X = np.random.default_rng(0).normal(size=(20_000, 2))
    monkeypatch.setattr(marginals, "MAX_VALUES", 8000)
    values = _values_of(X, N_VALUES)
    # The bound of Dvoretzky, Kiefer and Wolfowitz for 4,000 samples, at a level of 1e-6.
    bound = 1 / N_VALUES + np.sqrt(np.log(2e6) / 2 / 4000)
    for column, drawn in zip(X.T, values.T, strict=True):
        assert ks_2samp(column, drawn).statistic < bound


# The corruption


@pytest.mark.parametrize("level", [0.1, 0.6, 1.0])
def test_fraction_and_distribution_of_replaced_values(level):
    train, test = _correlated(3000, 0), _correlated(4000, 1)
    test[:, 1] += 7  # so that every replaced value differs from the one before
    module = _swapping(level).fit(train).module_
    x = _units(module, test)
    corrupted = _corrupt(module, test)
    changed = (corrupted != x).numpy()
    error = np.sqrt(level * (1 - level) / len(test))
    np.testing.assert_allclose(changed.mean(0), level, rtol=0, atol=4.5 * error)
    seen = _units(module, train).numpy()
    for j in range(3):
        replaced = corrupted[:, j].numpy()[changed[:, j]]
        assert set(replaced) <= set(seen[:, j])
        # Two steps of the approximation, and the bound for random samples at a level of 1e-6.
        bound = 1 / N_VALUES + np.sqrt(np.log(2e6) / 2 / len(replaced))
        assert ks_2samp(replaced, seen[:, j]).statistic < bound


def test_the_values_of_a_sample_are_drawn_independently():
    train = _correlated(3000, 0)
    module = _swapping(1.0).fit(train).module_
    drawn = _corrupt(module, _correlated(4000, 1)).numpy()
    correlation = np.corrcoef(drawn.T) - np.eye(3)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(len(drawn))
    assert (np.corrcoef(train.T) > 0.4).all()


def test_corruption_of_a_sample_does_not_depend_on_the_others():
    """Chains of one call are independent draws, also if there is only one."""
    X = _correlated(200, 0)
    module = _swapping(0.9).fit(X).module_
    others = X.copy()
    others[1:] = 1e3
    np.testing.assert_array_equal(_corrupt(module, X)[0], _corrupt(module, others)[0])
    alone = torch.cat([_corrupt(module, X[:1], seed) for seed in range(200)])
    error = np.sqrt(0.9 * 0.1 / 200)
    assert (alone[:, 0] != _units(module, X)[0, 0]).double().mean() == pytest.approx(
        0.9,
        abs=4.5 * error + 2 / N_VALUES,  # the sample's own value can be drawn as well
    )


def test_copies_of_a_sample_share_their_draws():
    X = _correlated(100, 0)[[3, 5, 3, 3]]
    module = _swapping(0.5).fit(_correlated(100, 0)).module_
    with drawing_from(make_generator(0), torch.tensor([0, 1, 0, 0])):
        corrupted = module.corrupt(_units(module, X))
    assert torch.equal(corrupted[0], corrupted[2])
    assert torch.equal(corrupted[0], corrupted[3])


def test_a_sample_of_weight_two_is_two_copies():
    X = _correlated(60, 0)
    weight = np.random.default_rng(1).integers(1, 4, size=60)
    model = _swapping(batch_size=1000, early_stopping=True)
    weighted = clone(model).fit(X, sample_weight=weight)
    copied = clone(model).fit(np.repeat(X, weight, axis=0))
    for one, other in zip(weighted.history_, copied.history_, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-8)
        assert one["valid_loss"] == pytest.approx(other["valid_loss"], rel=1e-8)


# Missing values


def test_observed_values_are_swapped_in_and_targets_stay_missing(monkeypatch):
    gaps = _with_gaps()
    compared, compare = [], DenoisingAutoencoder._compare

    def record(self, module, output, target):
        compared.append(target)
        return compare(self, module, output, target)

    monkeypatch.setattr(DenoisingAutoencoder, "_compare", record)
    module = _swapping(0.6, max_iter=1).fit(gaps).module_
    units = _units(module, gaps)
    assert compared
    for target in compared:  # the samples as they are: neither completed nor swapped
        rows = {tuple(row) for row in units.nan_to_num(9e9).tolist()}
        assert {tuple(row) for row in target.nan_to_num(9e9).tolist()} <= rows
    inputs = module.complete(units)
    assert not inputs.isnan().any()
    with drawing_from(make_generator(0)):
        corrupted = module.corrupt(inputs)
    changed = corrupted != inputs
    assert changed[units.isnan()].any()
    for j in range(3):
        observed = set(units[~units[:, j].isnan(), j].tolist())
        assert set(corrupted[changed[:, j], j].tolist()) <= observed


def test_a_feature_without_values_stays_finite():
    gaps = _with_gaps()
    gaps[:, 1] = np.nan
    model = _swapping(0.6).fit(gaps)
    assert np.isfinite(model.transform(gaps)).all()
    assert np.isfinite(model.loss_)
    assert np.isfinite(model.sample(3, random_state=0, n_steps=5)).all()


def test_steps_of_sequences_are_swapped_with_the_same_step_of_sequences_that_have_it():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(80, 6)) + 10 * np.arange(6)
    lengths = rng.integers(2, 7, size=(80, 1))
    X[np.arange(6) >= lengths] = np.nan
    network = LSTMNetwork(hidden_size=4)
    model = DenoisingAutoencoder(2, noise="swap", noise_level=0.9, network=network, max_iter=1)
    module = model.fit(X).module_
    corrupted = _corrupt(module, X)
    np.testing.assert_array_equal(corrupted.isnan().numpy(), np.isnan(X))
    swapped = (corrupted * module.scale + module.center).numpy()
    np.testing.assert_array_equal(
        np.floor(swapped / 10)[~np.isnan(X)], np.floor(X / 10)[~np.isnan(X)]
    )


# The estimator


def test_fits_are_reproducible_and_differ_between_seeds():
    X = _correlated(200, 0)
    one, again, other = (_swapping(random_state=seed).fit(X) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.transform(X), again.transform(X))
    np.testing.assert_array_equal(one.sample(5, 0, 10), again.sample(5, 0, 10))
    assert torch.equal(one.module_.values, again.module_.values)
    assert not torch.equal(one.module_.values, other.module_.values)


def test_level_is_a_fraction():
    X = _correlated(100, 0)
    assert _swapping().fit(X).noise_level_ == 0.25
    with pytest.raises(ValueError, match=r"noise_level=1\.5 is a fraction .* noise='swap'"):
        _swapping(1.5).fit(X)


def test_only_swap_noise_stores_values():
    X = _correlated(100, 0)
    assert _swapping().fit(X).module_.values.shape == (N_VALUES, 3)
    assert not hasattr(_swapping(noise="masking").fit(X).module_, "values")


def test_copies_files_and_exports_are_equivalent(tmp_path):
    X = _correlated(150, 0)
    model = _swapping().fit(X)
    save(model, tmp_path / "model.skae")
    for same in (
        load(tmp_path / "model.skae"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    ):
        np.testing.assert_array_equal(same.transform(X), model.transform(X))
        np.testing.assert_array_equal(same.sample(4, 0, 10), model.sample(4, 0, 10))
        before = same.module_.values.clone()
        same.partial_fit(X)
        assert torch.equal(same.module_.values, before)
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    (codes,) = session.run(None, {session.get_inputs()[0].name: X.astype(np.float32)})
    np.testing.assert_allclose(codes, model.transform(X), rtol=1e-4, atol=1e-5)


def _linear(X, level):
    """Denoiser with a linear network that keeps all features."""
    return DenoisingAutoencoder(
        X.shape[1],
        noise="swap",
        noise_level=level,
        hidden_layer_sizes=(),
        alpha=0.0,
        early_stopping=False,
        max_iter=30,
        random_state=0,
    ).fit(X)


def _stationary_moments(module, level, n_features):
    """Mean and covariance of the chain of a linear denoiser, in network units.

    A swap keeps a value with probability ``1 - level``, independently for each feature, and
    otherwise replaces it by an independent one: all moments up to the second are closed.
    """
    with torch.no_grad():
        offset = module(torch.zeros(1, n_features).to(module.center)).double()[0]
        slope = module(torch.eye(n_features).to(module.center)).double().T - offset[:, None]
    values = module.values.double()
    swapped, spread = values.mean(0), values.var(0, correction=0)
    mean, covariance = torch.zeros(n_features).double(), torch.eye(n_features).double()
    kept = 1 - level
    for _ in range(1000):
        variance = kept * covariance.diagonal() + level * spread
        variance += kept * level * (mean - swapped).square()
        covariance = kept**2 * covariance
        covariance.diagonal().copy_(variance)
        mean = slope @ (kept * mean + level * swapped) + offset
        covariance = slope @ covariance @ slope.T + module.residual.double().square().diag()
    return mean.numpy(), covariance.numpy()


@pytest.mark.parametrize("level", [0.25, 0.6])
def test_chains_of_a_linear_denoiser_have_their_stationary_moments(level):
    X = np.random.default_rng(0).normal(size=(1000, 3)) @ [
        [2, 1.2, -0.5],
        [0, 0.5, 0.2],
        [0, 0, 1],
    ]
    model = _linear(X + 3, level)
    drawn = model.sample(8000, random_state=0, n_steps=100)
    drawn = _units(model.module_, drawn).double().numpy()
    mean, covariance = _stationary_moments(model.module_, level, 3)
    errors = drawn.std(0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(0) - mean) < 4.5 * errors).all()
    products = (drawn - mean)[:, :, None] * (drawn - mean)[:, None, :]
    errors = products.std(0) / np.sqrt(len(drawn))
    assert (np.abs(products.mean(0) - covariance) < 4.5 * errors).all()


def test_samples_of_independent_features_have_the_variances_of_the_data():
    """The best denoiser multiplies by the probability ``q`` that a value is kept.

    With a factor ``g`` and its residuals the chain has ``V (1 - g^2 q) = v (1 - 2 g q + g^2 (2 -
    q))`` for data of variance ``v``: ``V = v`` for ``g = q``, and the derivative of ``V / v`` is
    ``2 q / (1 - q^3)``. Regression on ``n`` samples leaves ``g`` a variance of ``(1 - q^2) / n``.
    """
    X, kept = np.random.default_rng(0).normal(size=(4000, 3)), 0.75
    model = _linear(X, 1 - kept)
    drawn = model.sample(8000, random_state=0, n_steps=50)
    sensitivity = 2 * kept / (1 - kept**3)
    squared_error = sensitivity**2 * (1 - kept**2) / len(X) + 2 / len(drawn)
    np.testing.assert_allclose(
        drawn.var(0) / X.var(0), 1, rtol=0, atol=4.5 * np.sqrt(squared_error)
    )
