"""Draws given some values: against closed forms, enumeration and unconditional draws."""

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from test_tables import frame, polars_frame

from sklearn_ae import VariationalAutoencoder
from sklearn_ae._estimator import conditions as module_of_conditions
from sklearn_ae._estimator.conditions import N_PROPOSALS
from sklearn_ae._estimator.density import moments_of_gaussian

N_DRAWS = 4000
KNOWN = [{0: 4.0}, {0: 4.0, 1: 2.0, 2: 6.0}, {0: 8.0, 1: 3.0, 2: 1.0, 3: 1.0}]


@pytest.fixture(scope="module")
def linear_rows():
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(5, 2))
    return rng.normal(size=(1000, 2)) @ axes.T + 0.3 * rng.normal(size=(1000, 5)) + 3


@pytest.fixture(scope="module")
def linear_models(linear_rows):
    """Models with a linear decoder, whose samples are Gaussian."""
    params = {"hidden_layer_sizes": (), "max_iter": 30, "random_state": 0}
    one = GaussianMixture(1, random_state=0)
    return {
        str(density): VariationalAutoencoder(2, density=density, **params).fit(linear_rows)
        for density in ("prior", "gaussian", one)
    }


def joint_moments(model):
    """Return mean and covariance of the samples of a linear model."""
    if model.density_ == "prior":
        mean, covariance = np.zeros(2), np.eye(2)
    elif isinstance(model.density_, str):
        mean, covariance = moments_of_gaussian(model.module_)
    else:
        scaler, mixture = model.density_.named_steps.values()
        mean = scaler.inverse_transform(mixture.means_)[0]
        covariance = mixture.covariances_[0] * np.outer(scaler.scale_, scaler.scale_)
    center = model.inverse_transform(np.zeros((1, 2)))[0]
    axes = (model.inverse_transform(np.eye(2)) - center).T
    noise = model.noise_variance_ * np.eye(5)
    return center + axes @ mean, axes @ covariance @ axes.T + noise


def conditional_moments(model, known):
    """Return the unknown columns and their mean and covariance given the known ones."""
    mean, covariance = joint_moments(model)
    seen, values = list(known), np.array(list(known.values()))
    unknown = [i for i in range(5) if i not in seen]
    gain = covariance[np.ix_(unknown, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    return (
        unknown,
        mean[unknown] + gain @ (values - mean[seen]),
        covariance[np.ix_(unknown, unknown)] - gain @ covariance[np.ix_(seen, unknown)],
    )


def effective_proposals(model, known):
    """Return the effective number of draws of the model among which codes are chosen."""
    mean, covariance = joint_moments(model)
    seen = list(known)
    noise = model.noise_variance_ * np.eye(len(seen))
    means = stats.multivariate_normal(
        mean[seen], covariance[np.ix_(seen, seen)] - noise, allow_singular=True, seed=0
    ).rvs(N_PROPOSALS)
    means = np.reshape(means, (N_PROPOSALS, -1))
    weights = stats.multivariate_normal(np.zeros(len(seen)), noise).pdf(
        means - np.array(list(known.values()))
    )
    return weights.sum() ** 2 / np.square(weights).sum()


@pytest.mark.parametrize("known", KNOWN, ids=len)
@pytest.mark.parametrize("place", range(3), ids=["prior", "gaussian", "mixture"])
def test_draws_of_a_linear_model_have_the_conditional_moments(linear_models, place, known):
    model = list(linear_models.values())[place]
    unknown, mean, covariance = conditional_moments(model, known)
    drawn = model.sample(N_DRAWS, random_state=0, noise=True, conditions=known)
    assert (drawn[:, list(known)] == list(known.values())).all()
    n_effective = 1 / (1 / N_DRAWS + 1 / effective_proposals(model, known))
    errors = (drawn[:, unknown].mean(0) - mean) / np.sqrt(np.diag(covariance) / n_effective)
    assert np.abs(errors).max() < 5
    found = np.cov(drawn[:, unknown].T).reshape(covariance.shape)
    size = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2)
    assert np.abs((found - covariance) / size * np.sqrt(n_effective)).max() < 5


def test_chains_forget_where_they_start(linear_rows, monkeypatch):
    """From a single proposal, chosen without regard to what is known."""
    monkeypatch.setattr(module_of_conditions, "N_STEPS", 100)
    model = VariationalAutoencoder(2, hidden_layer_sizes=(), max_iter=150, random_state=0)
    model, known = model.fit(linear_rows), {0: 4.0}
    unknown, mean, covariance = conditional_moments(model, known)
    error = np.sqrt(np.diag(covariance) / N_DRAWS)
    corners = np.array(list(itertools.product([-1.5, 1.5], repeat=2)))
    distances = np.abs((model.inverse_transform(corners)[:, unknown] - mean) / error).max(axis=1)
    same = corners[[distances.argmax()]]
    assert distances.max() > 10
    monkeypatch.setattr(model, "_draw_codes", lambda n, rng: same)
    drawn = model.sample(N_DRAWS, random_state=0, noise=True, conditions=known)[:, unknown]
    assert np.abs((drawn.mean(0) - mean) / error).max() < 5
    np.testing.assert_allclose(drawn.var(0), np.diag(covariance), rtol=5 * np.sqrt(2 / N_DRAWS))


def test_bits_have_their_conditional_probabilities():
    """By enumeration of all bits, and quadrature over the code."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, size=(100, 4)).astype(float)
    model = VariationalAutoencoder(
        1, hidden_layer_sizes=(), likelihood="bernoulli", max_iter=1, random_state=0
    ).fit(X)
    # Any weights will do, and the encoder need not fit to them.
    with torch.no_grad():
        for parameter in model.module_.decoder.parameters():
            steep = torch.tensor([3.0, 4.0, 2.0, 3.0]).reshape(parameter.shape)
            parameter.copy_(steep if parameter.ndim == 2 else 0 * steep)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    means = model.inverse_transform(nodes[:, None])[:, None]  # (nodes, 1, bits)
    every = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
    probability = weights @ np.prod(means**every * (1 - means) ** (1 - every), axis=2)
    given = every[:, 0] == 1
    expected = probability[given] / probability[given].sum()
    assert expected[-1] > 0.4  # all are ones; the share is 1/8 for independent bits
    drawn = model.sample(N_DRAWS, random_state=0, noise=True, conditions=[[1, *[np.nan] * 3]])
    shares = [(drawn == bits).all(1).mean() for bits in every[given]]
    # At least a tenth of the proposals have these bits.
    np.testing.assert_allclose(shares, expected, atol=5 * np.sqrt(0.25 * 2 / (N_PROPOSALS / 10)))
    means = model.sample(3, random_state=0, conditions={0: 1.0})
    assert (means[:, 0] == 1).all()
    assert ((means[:, 1:] > 0) & (means[:, 1:] < 1)).all()


@pytest.mark.parametrize(
    "density",
    ["prior", pytest.param(KernelDensity(bandwidth=0.3), marks=pytest.mark.slow)],
    ids=["prior", "kde"],
)
def test_tables_given_a_category_are_those_drawn_with_it(density):
    table = frame(1000)[["price", "weather", "open", "day"]]
    model = VariationalAutoencoder(
        2, variance="per_feature", density=density, max_iter=30, random_state=0
    ).fit(table)
    every = model.sample(50_000, random_state=1)
    for weather in ("hot", "cold"):
        expected = every[every["weather"] == weather]
        drawn = model.sample(1000, random_state=0, conditions={"weather": weather})
        assert (drawn["weather"] == weather).all()
        assert (drawn.dtypes == table.dtypes).all()
        # A fifth of the proposals have this category, at least.
        n_effective = 1 / (1 / 1000 + 5 / N_PROPOSALS)
        bound = 5 / np.sqrt(n_effective)
        assert (
            abs(drawn["price"].mean() - expected["price"].mean()) < bound * expected["price"].std()
        )
        assert abs(drawn["open"].mean() - expected["open"].mean()) < bound / 2
        distance = stats.ks_2samp(drawn["price"], expected["price"]).statistic
        assert distance < stats.kstwobign.isf(1e-6) / np.sqrt(n_effective)


def test_rows_of_conditions_keep_their_order_and_values():
    table = frame(300)
    model = VariationalAutoencoder(2, max_iter=5, random_state=0).fit(table)
    known = table[["price", "open", "day"]].iloc[[5, 9, 11]]
    known.iloc[1, 0] = np.nan
    drawn = model.sample(2, random_state=0, conditions=known)
    assert (drawn.dtypes == table.dtypes).all()
    assert len(drawn) == 6
    twice = known.iloc[[0, 0, 1, 1, 2, 2]].reset_index(drop=True)
    assert drawn["price"].notna().all()
    for name in known:
        seen = twice[name].notna()
        assert (drawn[name][seen] == twice[name][seen]).all(), name
    again = model.sample(2, random_state=0, conditions=known)
    pd.testing.assert_frame_equal(drawn, again)
    both = model.sample(1, conditions={"price": [100.0, 90.0], "size": ["S", None]})
    assert both["price"].tolist() == [100.0, 90.0]
    assert both["size"][0] == "S"
    assert len(model.sample(3, conditions={})) == 3


def test_conditions_of_other_containers():
    table = polars_frame(300)
    model = VariationalAutoencoder(2, max_iter=5, random_state=0).fit(table)
    drawn = model.sample(2, random_state=0, conditions={"weather": "hot", "count": 3})
    assert drawn.schema == table.schema
    assert drawn["weather"].to_list() == ["hot", "hot"]
    assert drawn["count"].to_list() == [3, 3]
    known = table.select("day", "kind")[:3]
    drawn = model.sample(1, random_state=0, conditions=known)
    assert drawn.select("day", "kind").equals(known)
    assert drawn.schema == table.schema
    array = frame(300)[["price", "weather"]].to_numpy()
    of_array = VariationalAutoencoder(2, max_iter=5, categorical_features=[1], random_state=0)
    of_array.fit(array)
    assert of_array.sample(2, conditions={1: "cold"})[:, 1].tolist() == ["cold", "cold"]
    assert of_array.sample(1, conditions=[[100.0, None]])[0, 0] == 100.0


def test_values_far_from_the_data_are_conditions_too(linear_models):
    drawn = linear_models["prior"].sample(3, random_state=0, conditions={0: 1e200})
    assert (drawn[:, 0] == 1e200).all()
    assert np.isfinite(drawn).all()


def test_images_are_completed():
    images = np.random.default_rng(0).random((100, 4, 4))
    model = VariationalAutoencoder(2, max_iter=3, random_state=0).fit(images)
    upper = np.full((2, 4, 4), np.nan)
    upper[:, :2] = images[:2, :2]
    drawn = model.sample(3, random_state=0, conditions=upper)
    assert drawn.shape == (6, 4, 4)
    np.testing.assert_array_equal(drawn[:, :2], np.repeat(images[:2, :2], 3, axis=0))
    assert np.isfinite(drawn).all()


def test_models_of_incomplete_samples(linear_rows):
    """Their encoder sees which values are missing; in a chain none is."""
    X = np.where(np.random.default_rng(0).random(linear_rows.shape) < 0.2, np.nan, linear_rows)
    model = VariationalAutoencoder(2, hidden_layer_sizes=(), max_iter=30, random_state=0).fit(X)
    unknown, mean, covariance = conditional_moments(model, KNOWN[0])
    drawn = model.sample(N_DRAWS, random_state=0, noise=True, conditions=KNOWN[0])[:, unknown]
    n_effective = 1 / (1 / N_DRAWS + 1 / effective_proposals(model, KNOWN[0]))
    errors = (drawn.mean(0) - mean) / np.sqrt(np.diag(covariance) / n_effective)
    assert np.abs(errors).max() < 5


class OnlyDraws(KernelDensity):
    score_samples = property()


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({9: 1}, "the column 9, which X did not have"),
        ({"a": 1}, "the column 'a', which X did not have"),
        ({0: "high"}, "could not convert string to float: 'high'"),
        ([[1, 2]], r"of shape \(n, 5\) with NaN for unknown values, got the shape \(1, 2\)"),
        ({0: [1, 2], 1: [3]}, "equally many values in each column"),
        ({0: np.inf}, "infinity"),
        ({0: []}, "0 sample"),
        (pl.DataFrame({"a": [1]}), "the column 'a', which X did not have"),
    ],
)
def test_invalid_conditions(linear_models, conditions, message):
    with pytest.raises(ValueError, match=message):
        linear_models["prior"].sample(1, conditions=conditions)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"weather": "wet"}, "category in column 'weather' .* one of .'cold', 'hot', 'mild'"),
        ({"wether": "hot"}, "the column 'wether', which X did not have"),
        ({"price": "high"}, "'price' held numbers in fit, but now it has 'high'"),
        (polars_frame(1), "a table of pandas in fit, but conditions is .*polars"),
        (5, "a table of pandas in fit, but conditions is .*int"),
        (frame(1)[:0], "has no samples"),
    ],
)
def test_invalid_conditions_on_tables(conditions, message):
    model = VariationalAutoencoder(1, hidden_layer_sizes=(), max_iter=1).fit(frame(50))
    with pytest.raises(ValueError, match=message):
        model.sample(1, conditions=conditions)


def test_densities_must_have_scores(linear_rows):
    model = VariationalAutoencoder(2, max_iter=1, density=OnlyDraws()).fit(linear_rows)
    assert len(model.sample(3)) == 3
    with pytest.raises(ValueError, match=r"OnlyDraws\(\) has no method score_samples"):
        model.sample(1, conditions={0: 1.0})


def test_values_outside_the_range_of_the_likelihood_are_refused():
    X = np.random.default_rng(0).random((50, 3))
    model = VariationalAutoencoder(1, likelihood="bernoulli", max_iter=1).fit(X)
    with pytest.raises(ValueError, match="conditions ranges from 2 to 2"):
        model.sample(1, conditions={0: 2.0})
