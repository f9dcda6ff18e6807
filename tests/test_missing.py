"""Missing values in estimators: completion by a Gaussian, no loss, no gradient."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone

from sklearn_ae import (
    Autoencoder,
    ContractiveAutoencoder,
    ConvolutionalAutoencoder,
    DeepBeliefNetwork,
    DenoisingAutoencoder,
    LSTMAutoencoder,
    RestrictedBoltzmannMachine,
    SemanticHashing,
    SparseAutoencoder,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    UNetAutoencoder,
    VariationalAutoencoder,
    load,
    save,
)
from sklearn_ae._estimator.completing import hidden_again, patterns_of
from sklearn_ae._training import batches
from sklearn_ae._training import gaussian as gaussian_fit
from sklearn_ae._training.batches import Samples
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae.losses import LOSSES
from sklearn_ae.networks import DenseNetwork
from sklearn_ae.networks._completion import MAX_FACTORS, Completion
from sklearn_ae.networks._module import AutoencoderModule

CPU = torch.device("cpu")
SMALL = {"max_iter": 3, "hidden_layer_sizes": (8,), "random_state": 0}
ESTIMATORS = [
    Autoencoder(2, **SMALL),
    Autoencoder(2, loss="huber", init="random", **SMALL),
    Autoencoder(2, network=DenseNetwork(hidden_layer_sizes=(8,), tied=True), **SMALL),
    SparseAutoencoder(4, **SMALL),
    SparseAutoencoder(4, sparsity="topk", **SMALL),
    DenoisingAutoencoder(2, **SMALL),
    DenoisingAutoencoder(2, noise="masking", **SMALL),
    DenoisingAutoencoder(2, noise="swap", **SMALL),
    ContractiveAutoencoder(2, **SMALL),
    VariationalAutoencoder(2, **SMALL),
    VariationalAutoencoder(2, n_importance_samples=3, variance="per_feature", **SMALL),
    ConvolutionalAutoencoder(2, channels=(2,), max_iter=3, random_state=0),
    UNetAutoencoder(channels=(2,), max_iter=3, random_state=0),
    StackedAutoencoder(2, pretraining_max_iter=2, **SMALL),
    SemanticHashing(8, **SMALL),
]
SUPERVISED = [
    StackedAutoencoderClassifier(pretraining_max_iter=2, **SMALL),
    StackedAutoencoderClassifier(
        autoencoder=Autoencoder(2, **SMALL), reconstruction_weight=1.0, max_iter=3
    ),
    StackedAutoencoderRegressor(pretraining_max_iter=2, **SMALL),
]


def with_gaps(n_samples=120, n_features=6, rate=0.3, seed=0):
    """Correlated samples, complete and with values missing at random."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n_samples, 2)) @ rng.normal(size=(2, n_features))
    X = factors + 0.3 * rng.normal(size=(n_samples, n_features)) + 5
    return X, np.where(rng.random(X.shape) < rate, np.nan, X)


def gaussian(n_features, n_factors, seed=0):
    """A completion of random parameters, with its mean and its covariance."""
    rng = np.random.default_rng(seed)
    completion = Completion(n_features, shows_missing=True).double()
    completion.mean.copy_(torch.from_numpy(rng.normal(size=n_features)))
    loadings = np.zeros((n_features, completion.n_factors))
    loadings[:, :n_factors] = rng.normal(size=(n_features, n_factors))
    completion.loadings.copy_(torch.from_numpy(loadings))
    completion.variances.copy_(torch.from_numpy(rng.uniform(0.1, 1, n_features)))
    covariance = loadings @ loadings.T + np.diag(completion.variances.numpy())
    return completion, completion.mean.numpy(), covariance


def conditional(x, mean, covariance):
    """Mean and covariance of what is missing, by the formula for Gaussians."""
    gone = np.isnan(x)
    gain = covariance[np.ix_(gone, ~gone)] @ np.linalg.inv(covariance[np.ix_(~gone, ~gone)])
    rest = covariance[np.ix_(gone, gone)] - gain @ covariance[np.ix_(~gone, gone)]
    return mean[gone] + gain @ (x[~gone] - mean[~gone]), rest


# The Gaussian


@pytest.mark.parametrize("n_features", [3, MAX_FACTORS + 8])
def test_completion_is_the_conditional_distribution(n_features):
    completion, mean, covariance = gaussian(n_features, 2)
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20, n_features))
    X[rng.random(X.shape) < 0.5] = np.nan
    X[0] = np.nan
    X[1] = 1.0
    center = completion.complete(torch.from_numpy(X)).numpy()
    deviation = completion.deviations(torch.from_numpy(X)).numpy()
    for x, filled, spread in zip(X, center, deviation, strict=True):
        gone = np.isnan(x)
        expected, rest = conditional(x, mean, covariance)
        np.testing.assert_allclose(filled[gone], expected, rtol=1e-9, atol=1e-10)
        np.testing.assert_array_equal(filled[~gone], x[~gone])
        np.testing.assert_allclose(spread[gone], np.sqrt(np.diag(rest)), rtol=1e-9)
        assert not spread[~gone].any()


def test_the_encoder_is_shown_what_was_missing():
    completion, mean, _ = gaussian(3, 1)
    nan = np.nan
    X = torch.tensor([[1.0, nan, 2.0], [nan, nan, nan], [1.0, 2.0, 3.0]], dtype=torch.float64)
    shown = completion(X)[:, 3:].numpy()
    np.testing.assert_array_equal(shown, [[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(completion(X)[1, :3].numpy(), mean)


def test_draws_have_the_conditional_moments():
    completion, mean, covariance = gaussian(4, 2)
    x = np.array([0.3, np.nan, np.nan, -1.0])
    n_draws = 40_000
    with drawing_from(make_generator(0)):
        drawn = completion.draw(torch.from_numpy(np.tile(x, (n_draws, 1)))).numpy()
    expected, rest = conditional(x, mean, covariance)
    error = np.sqrt(np.diag(rest) / n_draws)
    assert (np.abs(drawn[:, [1, 2]].mean(0) - expected) < 5 * error).all()
    found = np.cov(drawn[:, [1, 2]].T)
    # The variance of an element of the covariance of normal draws.
    errors = np.sqrt((rest**2 + np.outer(np.diag(rest), np.diag(rest))) / n_draws)
    assert (np.abs(found - rest) < 5 * errors).all()
    np.testing.assert_array_equal(drawn[:, [0, 3]], np.tile(x[[0, 3]], (n_draws, 1)))


@pytest.fixture
def until_convergence(monkeypatch):
    """Let the iterations, which end early, go on to the limit, without a prior."""
    monkeypatch.setattr(gaussian_fit, "PRIOR_SAMPLES", 1e-6)
    monkeypatch.setattr(gaussian_fit, "MAX_ITERATIONS", 5000)
    monkeypatch.setattr(gaussian_fit, "TOLERANCE", 1e-7)


def _fitted_completion(X):
    completion = Completion(X.shape[1], shows_missing=False).double()
    gaussian_fit.fit_completion(
        completion, Samples(X, None, CPU, torch.float64, has_missing=True), seed=0
    )
    return completion


def test_likelihood_is_largest_for_a_monotone_pattern(until_convergence):
    """If only one of two features has gaps, the estimate is a regression (Anderson, 1957)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=1900)
    y = 0.8 * x + 0.6 * rng.normal(size=1900)
    seen = rng.random(1900) < 1 / (1 + np.exp(-2 * x))  # large x, so large y, are seen
    X = np.column_stack([x, np.where(seen, y, np.nan)])
    slope, intercept = np.polyfit(x[seen], y[seen], 1)
    completion = _fitted_completion(X)
    mean, covariance = completion.mean.numpy(), completion.covariance().numpy()
    np.testing.assert_allclose(mean, [x.mean(), intercept + slope * x.mean()], atol=0.01)
    assert covariance[0, 1] / covariance[0, 0] == pytest.approx(slope, abs=0.02)
    residual = np.var(y[seen] - intercept - slope * x[seen])
    assert covariance[1, 1] == pytest.approx(slope**2 * x.var() + residual, rel=0.02)
    assert y[seen].mean() - mean[1] > 0.2  # the mean of what is seen is far from it


def test_covariance_of_complete_samples_is_that_of_the_samples(until_convergence):
    X, _ = with_gaps(n_samples=1500)
    covariance = _fitted_completion(X).covariance().numpy()
    np.testing.assert_allclose(covariance, np.cov(X.T, bias=True), atol=0.01 * covariance.max())


def test_features_without_values_or_variance_do_not_disturb():
    _X, gaps = with_gaps()
    gaps[:, 2], gaps[:, 3] = np.nan, 7.0
    gaps[0, 3] = np.nan
    completion = _fitted_completion(gaps)
    complete = completion.complete(torch.from_numpy(gaps)).numpy()
    assert np.isfinite(complete).all()
    assert complete[0, 3] == pytest.approx(7.0)
    assert not complete[:, 2].any()
    assert completion.feature_variances()[2:4].max() < 1e-9
    model = Autoencoder(2, **SMALL).fit(gaps)
    np.testing.assert_allclose(model.reconstruct(gaps)[:, 2], 0, atol=1e-9)


def test_features_of_any_scale_are_completed():
    X, gaps = with_gaps(400)
    units = np.array([1e-9, 1e6, 1.0, 1e-160, 1e3, 1e-3])
    completion = _fitted_completion(gaps * units)
    found = completion.complete(torch.from_numpy(gaps * units)).numpy() / units
    assert np.isfinite(found).all()
    # The smallest is taken for constant: the others are as without it.
    others = [0, 1, 2, 4, 5]
    gaps = gaps[:, others]
    expected = _fitted_completion(gaps).complete(torch.from_numpy(gaps)).numpy()
    np.testing.assert_allclose(found[:, others], expected, atol=0.02)
    missing = np.isnan(gaps)
    by_mean = (X[:, others] - np.nanmean(gaps, axis=0))[missing]
    assert ((found - X)[:, others][missing] ** 2).mean() < 0.5 * (by_mean**2).mean()


def test_weights_are_copies():
    _, gaps = with_gaps(60)
    weight = np.arange(60) % 3 + 1
    weighted = Completion(6, shows_missing=False).double()
    samples = Samples(gaps, torch.from_numpy(weight.astype(float)), CPU, torch.float64, True)
    gaussian_fit.fit_completion(weighted, samples, seed=0)
    copied = _fitted_completion(np.repeat(gaps, weight, axis=0))
    torch.testing.assert_close(weighted.covariance(), copied.covariance())


# Loss and gradient


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(4, 5)])
def test_missing_targets_have_no_loss_and_no_gradient(loss, shape):
    """The same value and gradient for any value in their place."""
    from sklearn_ae._training.optimizer import FlatParameters
    from sklearn_ae._training.steps import PlainDenseStep

    torch.manual_seed(0)
    module = AutoencoderModule(DenseNetwork(hidden_layer_sizes=(4,)), (5,), 2, completes=True)
    module = module.double()
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.uniform(0.1, 0.9, size=shape))
    gone = torch.from_numpy(rng.random(shape) < 0.4)
    target, inputs = (
        X.masked_fill(gone, torch.nan),
        module.complete(X.masked_fill(gone, torch.nan)),
    )
    flat = FlatParameters(module)
    step = PlainDenseStep(module, LOSSES[loss], flat, torch.float64)
    value = step.gradient(inputs, target, None)
    by_hand = flat.gradient.clone()

    flat.gradient.zero_()
    output = module(inputs)
    # Independently: the sum over the values that are there, one sample and feature at a time.
    terms = [
        LOSSES[loss].value(output[i : i + 1, j : j + 1], X[i : i + 1, j : j + 1]).sum()
        for i in range(shape[0])
        for j in range(shape[1])
        if not gone[i, j]
    ]
    expected = torch.stack(terms).sum() / (shape[0] * shape[1])
    expected.backward()
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(by_hand, flat.gradient)


def test_hidden_values_stay_targets():
    _, gaps = with_gaps(50)
    module = AutoencoderModule(DenseNetwork(), (6,), 2, completes=True).double()
    samples = Samples(gaps, None, CPU, torch.float64, has_missing=True)
    patterns = patterns_of(samples, module, seed=0)
    for inputs in hidden_again(samples, module, patterns, n_hidings=3):
        everything = slice(0, 50)
        np.testing.assert_array_equal(inputs.targets.take(everything).numpy(), gaps)
        shown = inputs.take(everything)[:, 6:].numpy().astype(bool)
        missing = np.isnan(gaps)
        partly = ~missing.all(axis=1)
        assert shown[missing & partly[:, None]].all()
        assert 0.05 < (shown & ~missing).mean() < 0.4
        assert not shown.all(axis=1).any()


# What is hidden is a function of the sample


@pytest.mark.parametrize(
    "estimator",
    [
        Autoencoder(2, init="random", **SMALL),
        Autoencoder(2, **SMALL),
        VariationalAutoencoder(2, **SMALL),
        SparseAutoencoder(4, **SMALL),
    ],
    ids=str,
)
def test_a_weight_of_two_equals_two_copies(estimator):
    """In a single batch up to rounding, as without missing values, wherever the copies are."""
    _, gaps = with_gaps(24)
    weight = np.arange(24) % 3 + 1
    copies = np.repeat(gaps, weight, axis=0)[np.random.default_rng(1).permutation(weight.sum())]
    model = clone(estimator).set_params(batch_size=1000, early_stopping=False)
    weighted = clone(model).fit(gaps, sample_weight=weight).transform(gaps)
    np.testing.assert_allclose(clone(model).fit(copies).transform(gaps), weighted, atol=1e-6)


@pytest.mark.parametrize("is_cached", [True, False])
def test_the_same_is_hidden_in_each_epoch(is_cached, monkeypatch):
    if not is_cached:
        monkeypatch.setattr(batches, "cache_limit", lambda device: 0)
    _, gaps = with_gaps(60)
    module = AutoencoderModule(DenseNetwork(), (6,), 2, completes=True).double()
    samples = Samples(gaps, None, CPU, torch.float64, has_missing=True)
    (inputs,) = hidden_again(samples, module, patterns_of(samples, module, seed=0))
    first = inputs.take(slice(0, 60)).clone()
    order = torch.randperm(60)
    for index in (slice(0, 60), order, order[:7]):
        torch.testing.assert_close(inputs.take(index), first[index])


# Estimators


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_every_method_takes_missing_values(estimator):
    _, gaps = with_gaps(
        n_features=16 if "Conv" in str(estimator) or "UNet" in str(estimator) else 6
    )
    if gaps.shape[1] == 16:
        gaps = gaps.reshape(-1, 4, 4)
    model = clone(estimator).fit(gaps)
    reconstructed = model.reconstruct(gaps)
    assert np.isfinite(model.transform(gaps)).all()
    assert np.isfinite(reconstructed).all()
    assert reconstructed.shape == gaps.shape
    flat, seen = gaps.reshape(len(gaps), -1), ~np.isnan(gaps).reshape(len(gaps), -1)
    errors = np.square(np.where(seen, reconstructed.reshape(flat.shape) - flat, 0.0))
    variance = np.square(flat - np.nanmean(flat, axis=0))
    assert model.score(gaps) == pytest.approx(1 - errors.sum() / np.nansum(variance))
    if not isinstance(model, VariationalAutoencoder):
        expected = -errors.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        np.testing.assert_allclose(model.score_samples(gaps), expected, rtol=1e-5)
    assert np.isfinite(model.score_samples(gaps)).all()
    repeated = clone(estimator).fit_transform(gaps)
    np.testing.assert_array_equal(repeated, model.transform(gaps))


@pytest.mark.parametrize("estimator", SUPERVISED, ids=lambda e: type(e).__name__)
def test_supervised_stacks_take_missing_values(estimator):
    X, gaps = with_gaps()
    y = (X[:, 0] > 5).astype(int)
    model = clone(estimator).fit(gaps, y)
    assert np.isfinite(model.transform(gaps)).all()
    assert np.isfinite(model.predict(gaps)).all()
    model.partial_fit(gaps, y)
    assert np.isfinite(model.score(gaps, y))


@pytest.mark.parametrize(
    "estimator",
    [
        RestrictedBoltzmannMachine(2, max_iter=2),
        DeepBeliefNetwork(2, **SMALL),
        LSTMAutoencoder(2, hidden_size=2, max_iter=2),
    ],
    ids=lambda e: type(e).__name__,
)
def test_others_refuse_them(estimator):
    gaps = with_gaps()[1].clip(0, 1)
    gaps[:, -1] = 0.5  # not at the end of a sequence
    with pytest.raises(ValueError, match="NaN|missing"):
        clone(estimator).fit(gaps)


@pytest.mark.parametrize("noise", ["gaussian", "masking", "salt_and_pepper", "swap"])
def test_noise_on_a_feature_without_values(noise):
    gaps = with_gaps()[1]
    gaps[:, 2] = np.nan
    model = DenoisingAutoencoder(2, noise=noise, **SMALL).fit(gaps)
    np.testing.assert_allclose(model.reconstruct(gaps)[:, 2], 0, atol=1e-12)
    assert np.isfinite(model.sample(3, random_state=0, n_steps=2)).all()


def test_start_is_pca_of_the_gaussian():
    """With no epoch that helps, codes are scores of the completed samples."""
    X, gaps = with_gaps(400)
    model = Autoencoder(2, max_iter=1, learning_rate_init=1e-30, random_state=0).fit(gaps)
    assert model.best_epoch_ == 0
    module = model.module_
    _values, vectors = np.linalg.eigh(module.completion.covariance().numpy())
    units = (torch.from_numpy(gaps) - module.center) / module.scale
    complete = module.completion.complete(units).numpy() - module.completion.mean.numpy()
    scores = complete @ vectors[:, ::-1][:, :2]
    codes = model.transform(gaps)
    for k in range(2):
        assert abs(np.corrcoef(scores[:, k], codes[:, k])[0, 1]) == pytest.approx(1, abs=1e-6)
    # What nobody has seen is reconstructed far better than by the mean.
    hidden = np.isnan(gaps)
    by_mean = np.square(np.nanmean(gaps, axis=0) - X)[hidden].mean()
    assert np.square(model.reconstruct(gaps) - X)[hidden].mean() < 0.5 * by_mean


def test_a_sample_without_values_has_the_code_of_the_mean():
    _, gaps = with_gaps()
    model = Autoencoder(2, **SMALL | {"max_iter": 30}, init="random").fit(gaps)
    module = model.module_
    mean = (module.completion.mean * module.scale + module.center).numpy()[None]
    nothing = np.full((1, 6), np.nan)
    np.testing.assert_allclose(model.transform(nothing), model.transform(mean), atol=1e-12)
    assert model.score_samples(nothing) == 0


@pytest.mark.parametrize(
    "how", ["float32", "list", "object", "frame", "nullable", "csr", "tensor"]
)
def test_containers_of_missing_values_are_equivalent(how):
    _X, gaps = with_gaps()
    gaps = gaps.astype(np.float32).astype(np.float64)
    expected = Autoencoder(2, **SMALL).fit(gaps).transform(gaps)
    given = {
        "float32": lambda: gaps.astype(np.float32),
        "list": lambda: [[None if v != v else v for v in row] for row in gaps.tolist()],
        "object": lambda: np.where(np.isnan(gaps), None, gaps),
        "frame": lambda: pd.DataFrame(gaps, columns=list("abcdef")),
        "nullable": lambda: pd.DataFrame(gaps).astype("Float64"),
        "csr": lambda: sp.csr_array(gaps),
        "tensor": lambda: torch.from_numpy(gaps),
    }[how]()
    model = Autoencoder(2, precision="float64", **SMALL).fit(given)
    np.testing.assert_allclose(model.transform(given), expected, rtol=1e-4, atol=1e-4)


def test_zeros_of_sparse_matrices_are_values():
    X, _ = with_gaps()
    X[X < 4.5] = 0.0
    dense = Autoencoder(2, **SMALL).fit(X).transform(X)
    np.testing.assert_allclose(Autoencoder(2, **SMALL).fit(sp.csr_array(X)).transform(X), dense)


@pytest.mark.parametrize("estimator", ESTIMATORS[:1] + ESTIMATORS[8:9] + ESTIMATORS[5:6], ids=repr)
def test_copies_and_files_keep_the_completion(estimator, tmp_path):
    _, gaps = with_gaps()
    model = clone(estimator).fit(gaps)
    save(model, tmp_path / "model")
    for again in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        load(tmp_path / "model"),
    ):
        np.testing.assert_array_equal(again.transform(gaps), model.transform(gaps))
        again.partial_fit(gaps)
        continued = clone(estimator).set_params(warm_start=True).fit(gaps).fit(gaps)
        assert np.isfinite(continued.transform(gaps)).all()


def test_a_network_fitted_on_complete_samples_completes_by_reconstruction():
    X, gaps = with_gaps(600)
    model = Autoencoder(2, max_iter=1, learning_rate_init=1e-30, random_state=0).fit(X)
    hidden = np.isnan(gaps)
    error = np.square(model.reconstruct(gaps) - X)[hidden].mean()
    assert error < 0.5 * np.square(X.mean(axis=0) - X)[hidden].mean()
    np.testing.assert_array_equal(model.transform(X[:5]), model.transform(X)[:5])
    assert np.isfinite(model.score_samples(gaps)).all()


def test_a_network_fitted_on_complete_samples_does_not_learn_from_gaps():
    X, gaps = with_gaps()
    model = Autoencoder(2, warm_start=True, **SMALL).fit(X)
    before = model.transform(X)
    for method in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="had no missing values"):
            method(gaps)
    np.testing.assert_array_equal(model.transform(X), before)


def test_validation_samples_may_have_missing_values():
    X, gaps = with_gaps()
    for train, held_out in ((X, gaps), (gaps, X), (gaps, gaps)):
        model = Autoencoder(2, **SMALL).fit(train, X_val=held_out)
        assert len(model.validation_scores_) == model.n_iter_


def test_bound_is_that_of_the_observed_values():
    """With a linear decoder the density of the observed values is a Gaussian in closed form."""
    _, gaps = with_gaps(400)
    model = VariationalAutoencoder(
        1, hidden_layer_sizes=(), max_iter=200, variance="per_feature", random_state=0
    ).fit(gaps)
    module = model.module_
    weight = module.decoder.layers[0].weight.detach().numpy()[:, 0] * float(module.scale)
    bias = module.decoder.layers[0].bias.detach().numpy() * float(module.scale)
    mean = bias + module.center.numpy()
    covariance = np.outer(weight, weight) + np.diag(model.noise_variance_)
    scores = model.score_samples(gaps[:40], n_importance_samples=10_000)
    with drawing_from(make_generator(0)):
        units = (torch.from_numpy(gaps[:40]) - module.center) / module.scale
        filled = torch.stack([module.forecast(units, lambda o: o) for _ in range(20)]).mean(0)
    filled = (filled * module.scale + module.center).detach().numpy()
    for x, score, values in zip(gaps[:40], scores, filled, strict=True):
        seen = ~np.isnan(x)
        part = covariance[np.ix_(seen, seen)]
        distance = x[seen] - mean[seen]
        density = -0.5 * (
            distance @ np.linalg.solve(part, distance) + np.linalg.slogdet(2 * np.pi * part)[1]
        )
        assert score == pytest.approx(density, abs=0.1)
        expected, rest = conditional(x, mean, covariance)
        assert (np.abs(values[~seen] - expected) < 0.3 * np.sqrt(np.diag(rest))).all()
