"""Deep belief networks as densities: draws and likelihoods against enumeration of all states."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits

from sklearn_ae import DeepBeliefNetwork, RestrictedBoltzmannMachine
from sklearn_ae.losses import get_loss
from sklearn_ae.networks._belief import BeliefNetwork
from sklearn_ae.networks._boltzmann_layer import BoltzmannLayer
from sklearn_ae.networks._partition import (
    annealed_log_partition,
    exact_log_partition,
    log_partition,
)

N_FEATURES = 4
LOG_TWO_PI = np.log(2 * np.pi)
N_ERRORS = 4.5
"""Standard errors within which a mean must be: a hundred comparisons exceed it once in 1,500."""

every_kind = pytest.mark.parametrize(
    ("loss", "code_activation"),
    list(itertools.product(["binary_crossentropy", "squared_error"], ["logistic", "identity"])),
)
every_depth = pytest.mark.parametrize("hidden_layer_sizes", [(), (3,), (3, 2)])


def by_hand(loss, code_activation, hidden_layer_sizes, seed=0):
    """A tiny network whose weights are drawn, not trained."""
    random = np.random.default_rng(seed)
    X = random.random((50, N_FEATURES)) * (1 if loss == "binary_crossentropy" else 7)
    network = DeepBeliefNetwork(
        2,
        hidden_layer_sizes=hidden_layer_sizes,
        code_activation=code_activation,
        loss=loss,
        pretraining_max_iter=1,
        fine_tune=False,
        random_state=0,
    ).fit(X)
    for layer, down in zip(machines(network), network.module_.decoder.layers[::-1], strict=True):
        # Linear units on both sides have a density only if the weights are small, and chains of
        # strongly coupled ones take long to forget where they started.
        n_linear = (layer.visible, layer.hidden).count("gaussian")
        size = {0: 1.2, 1: 0.7, 2: 0.3}[n_linear]
        with torch.no_grad():
            for values in layer.parameters():
                drawn = random.normal(scale=size if values.ndim > 1 else 0.7, size=values.shape)
                if n_linear == 2 and values.ndim > 1:  # singular values must be below one
                    drawn /= max(1.0, np.linalg.norm(drawn, 2) / 0.8)
                values.copy_(torch.from_numpy(drawn))
            down.weight.copy_(layer.weight.t())
    return network, X


def machines(network):
    return BeliefNetwork(network.module_, get_loss(network.loss)).layers


def states(n_units):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n_units)))


def arrays(layer):
    """Weight, hidden and visible bias."""
    return (values.detach().numpy() for values in layer.parameters())


def log_mass(layer, v):
    """``log sum_h e^{-E(v, h)}``, term by term over the states of binary hidden units."""
    W, c, b = arrays(layer)
    own = v @ b if layer.visible == "bernoulli" else -0.5 * ((v - b) ** 2).sum(1)
    if layer.hidden == "bernoulli":
        h = states(len(c))
        return own + logsumexp(h @ c + v @ W.T @ h.T, axis=1)
    field = c + v @ W.T
    return own + 0.5 * (field**2 - c**2 + LOG_TWO_PI).sum(1)


def log_conditional(layer, v, h):
    """``log p(v | h)``, of shape (n_v, n_h)."""
    W, _, b = arrays(layer)
    field = b + h @ W
    if layer.visible == "bernoulli":
        return v @ log_expit(field).T + (1 - v) @ log_expit(-field).T
    return -0.5 * ((v[:, None] - field) ** 2 + LOG_TWO_PI).sum(2)


def log_hidden(layers):
    """States of the units above the visible ones and their log-probabilities, by enumeration."""
    top, h = layers[-1], states(layers[-1].weight.shape[1])
    log_p = log_mass(top, h)
    log_p -= logsumexp(log_p)
    for layer in layers[-2:0:-1]:
        below = states(layer.weight.shape[1])
        log_p = logsumexp(log_conditional(layer, below, h) + log_p, axis=1)
        h = below
    return h, log_p


def moments_of_one(layer):
    """Mean and covariance of the visible units of a machine, and of their conditional means."""
    W, c, b = arrays(layer)
    if layer.visible == "bernoulli":
        v = states(N_FEATURES)
        p = np.exp(log_mass(layer, v) - logsumexp(log_mass(layer, v)))
        mean = p @ v
        return mean, (v - mean).T @ ((v - mean) * p[:, None])
    if layer.hidden == "bernoulli":
        h = states(len(c))  # v given h is Gaussian: Z(h) = e^{c.h + |b + hW|^2 / 2 - |b|^2 / 2}
        log_p = h @ c + 0.5 * ((b + h @ W) ** 2).sum(1)
        return mixture(b + h @ W, np.exp(log_p - logsumexp(log_p)))
    covariance = np.linalg.inv(np.eye(N_FEATURES) - W.T @ W)
    return covariance @ (b + W.T @ c), covariance


def mixture(means, p, noise=1.0):
    """Mean and covariance of Gaussians of variance ``noise`` around means of probability p."""
    mean = p @ means
    spread = (means - mean).T @ ((means - mean) * p[:, None])
    return mean, spread + noise * np.eye(means.shape[1])


def exact_moments(network, noise):
    """Mean and covariance of the rows that a network draws."""
    layers = machines(network)
    if len(layers) == 1:
        mean, covariance = moments_of_one(layers[0])
    else:
        h, log_p = log_hidden(layers)
        W, _, b = arrays(layers[0])
        means = b + h @ W
        if layers[0].visible == "bernoulli":
            means = expit(means)
        mean, covariance = mixture(means, np.exp(log_p), 0.0)
        rest = means * (1 - means) if layers[0].visible == "bernoulli" else 0 * means + 1
        covariance += noise * np.diag(np.exp(log_p) @ rest)
    center, scale = network.module_.center.numpy(), float(network.module_.scale)
    return mean * scale + center, covariance * scale**2


def assert_moments(drawn, mean, covariance):
    """Compare means and products of deviations with what they should be in the mean."""
    products = (drawn - mean)[:, :, None] * (drawn - mean)[:, None]
    for values, expected in ((drawn, mean), (products, covariance)):
        error = values.std(axis=0) / np.sqrt(len(drawn))
        # A state that is rare may be missing among the draws, and its error with it: ten draws.
        rare = 10 * np.abs(values).max() / len(drawn)
        assert (np.abs(values.mean(axis=0) - expected) < N_ERRORS * error + rare).all()


@every_kind
@every_depth
def test_draws_have_the_moments_of_the_enumerated_network(
    loss, code_activation, hidden_layer_sizes
):
    network, _ = by_hand(loss, code_activation, hidden_layer_sizes)
    drawn = network.sample(10_000, random_state=0)
    if loss == "binary_crossentropy":
        assert set(np.unique(drawn)) == {0.0, 1.0}
    assert_moments(drawn, *exact_moments(network, noise=1.0))


@every_kind
@pytest.mark.parametrize("hidden_layer_sizes", [(3,), (3, 2)])
def test_means_are_those_of_the_last_layer_only(loss, code_activation, hidden_layer_sizes):
    network, _ = by_hand(loss, code_activation, hidden_layer_sizes)
    means = network.sample(10_000, random_state=0, noise=False)
    assert_moments(means, *exact_moments(network, noise=0.0))
    assert len(np.unique(means.round(6), axis=0)) == 8  # one for each state of three bits


def in_units(network, X):
    """Rows in network units, and what is taken from a log-density for the units of the rows."""
    center, scale = network.module_.center.numpy(), float(network.module_.scale)
    return (X - center) / scale, X.shape[1] * np.log(scale)


def exact_log_likelihood(network, X):
    layers = machines(network)
    v, volume = in_units(network, X)
    if len(layers) > 1:
        h, log_p = log_hidden(layers)
        return logsumexp(log_conditional(layers[0], v, h) + log_p, axis=1) - volume
    (layer,) = layers
    if layer.visible == "bernoulli":
        return log_mass(layer, v) - logsumexp(log_mass(layer, states(N_FEATURES)))
    W, c, b = arrays(layer)
    if layer.hidden == "bernoulli":
        h = states(len(c))
        log_p = h @ c + 0.5 * ((b + h @ W) ** 2).sum(1)
        log_p -= logsumexp(log_p)
        return logsumexp(log_conditional(layer, v, h) + log_p, axis=1) - volume
    return multivariate_normal(*moments_of_one(layer)).logpdf(v) - volume


def exact_bound(network, X):
    """The bound and the standard deviation of what is averaged, over all ways up the network."""
    layers = machines(network)
    v, volume = in_units(network, X)
    log_q = np.zeros((len(v), 1))
    value = np.zeros((len(v), 1))
    below = v[:, None]
    for layer in layers[:-1]:
        W, c, _ = arrays(layer)
        h, rate = states(len(c)), expit(below @ W.T + c)
        log_q_h = (h * np.log(rate[:, :, None]) + (1 - h) * np.log(1 - rate[:, :, None])).sum(-1)
        log_p = np.stack([log_conditional(layer, part, h) for part in below])
        value = value[:, :, None] + log_p - log_q_h
        log_q = log_q[:, :, None] + log_q_h
        n_ways = log_q.shape[1] * len(h)
        value, log_q = value.reshape(len(v), n_ways), log_q.reshape(len(v), n_ways)
        below = np.broadcast_to(np.tile(h, (n_ways // len(h), 1)), (len(v), n_ways, len(c)))
    top = layers[-1]
    total = logsumexp(log_mass(top, states(top.weight.shape[1])))
    value = value + np.stack([log_mass(top, part) for part in below]) - total - volume
    mean = (np.exp(log_q) * value).sum(1)
    return mean, np.sqrt((np.exp(log_q) * (value - mean[:, None]) ** 2).sum(1))


def rows(loss):
    random = np.random.default_rng(1)
    if loss == "binary_crossentropy":
        return states(N_FEATURES)
    return random.normal(3, 3, size=(20, N_FEATURES))


@every_kind
def test_one_layer_has_its_exact_likelihood(loss, code_activation):
    network, _ = by_hand(loss, code_activation, ())
    X = rows(loss)
    np.testing.assert_allclose(
        network.score_samples(X), exact_log_likelihood(network, X), rtol=1e-10
    )


def test_one_layer_is_an_rbm():
    network, X = by_hand("binary_crossentropy", "logistic", ())
    alone = RestrictedBoltzmannMachine(2, visible="bernoulli", max_iter=1).fit(X)
    with torch.no_grad():
        for own, other in zip(
            machines(network)[0].parameters(), alone.module_.layer.parameters(), strict=True
        ):
            other.copy_(own)
    np.testing.assert_allclose(network.score_samples(X), alone.score_samples(X), rtol=1e-12)
    assert network.log_partition() == pytest.approx(alone.log_partition(), rel=1e-12)


@every_kind
@pytest.mark.parametrize("hidden_layer_sizes", [(3,), (3, 2)])
def test_bound_is_the_enumerated_one_and_below_the_likelihood(
    loss, code_activation, hidden_layer_sizes
):
    network, _ = by_hand(loss, code_activation, hidden_layer_sizes)
    X = rows(loss)
    expected, deviation = exact_bound(network, X)
    likelihood = exact_log_likelihood(network, X)
    assert (expected <= likelihood + 1e-12).all()
    assert (expected < likelihood - 1e-3).any()
    error = np.abs(network.score_samples(X, n_draws=2000) - expected)
    assert (error < N_ERRORS * deviation / np.sqrt(2000) + 1e-9).all()


@pytest.mark.parametrize("n_draws", [1, 3])
def test_bound_is_unbiased_for_any_number_of_draws(n_draws):
    network, _ = by_hand("squared_error", "logistic", (3, 2))
    X = np.random.default_rng(2).normal(3, 3, size=(3000, N_FEATURES))
    difference = network.score_samples(X, n_draws=n_draws) - exact_bound(network, X)[0]
    assert abs(difference.mean()) < N_ERRORS * difference.std() / np.sqrt(len(X))


def test_tied_layers_have_no_gap():
    """Where the second machine is the first one upside down, the recognition pass is exact."""
    network, _ = by_hand("binary_crossentropy", "logistic", (3,))
    network.n_components = N_FEATURES
    first, second = machines(network.fit(states(N_FEATURES)))
    W = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        first.weight.copy_(W)
        second.weight.copy_(W.t())
        second.visible_bias.copy_(first.hidden_bias)
        second.hidden_bias.copy_(first.visible_bias)
    X = states(N_FEATURES)
    np.testing.assert_allclose(network.score_samples(X), exact_log_likelihood(network, X))


def test_scores_depend_on_the_sample_alone():
    network, _ = by_hand("squared_error", "identity", (3, 2))
    X = rows("squared_error")
    scores = network.score_samples(X)
    np.testing.assert_allclose(network.score_samples(X[::-1])[::-1], scores, rtol=1e-12)
    np.testing.assert_allclose(network.score_samples(X[3:4]), scores[3:4], rtol=1e-12)
    assert not np.array_equal(network.score_samples(X, n_draws=50), scores)
    single = network.score_samples(X.astype(np.float32))
    assert single.dtype == np.float32
    # The draws are others: they come from a hash of the row.
    error = exact_bound(network, X)[1] / 10
    assert (np.abs(single - scores) < 2 * N_ERRORS * error + 1e-5).all()


@pytest.mark.parametrize("kinds", [("bernoulli", "gaussian"), ("gaussian", "bernoulli")])
def test_exchanged_layers_have_the_same_partition_function(kinds, monkeypatch):
    monkeypatch.setattr("sklearn_ae.networks._partition.MAX_ENUMERATED_UNITS", 10)
    random = torch.Generator().manual_seed(0)
    sizes = (12, 2) if kinds[0] == "gaussian" else (2, 12)  # hidden, visible
    weight, c, b = (
        torch.nn.Parameter(0.4 * torch.randn(*size, generator=random, dtype=torch.float64))
        for size in (sizes, sizes[:1], sizes[1:])
    )
    layer = BoltzmannLayer(weight, c, b, *kinds)
    exchanged = layer.exchanged()
    v, h = (torch.randn(5, size, generator=random).double() for size in sizes[::-1])
    torch.testing.assert_close(layer.hidden_mean(v), exchanged.visible_mean(v))
    torch.testing.assert_close(layer.visible_mean(h), exchanged.hidden_mean(h))
    plain = layer if kinds[1] == "bernoulli" else exchanged
    exact = exact_log_partition(plain)
    base = plain.visible_bias.detach()
    assert annealed_log_partition(plain, base, 1000, 100) == pytest.approx(exact, abs=0.1)
    owner = torch.nn.Module()
    owner.layer = layer
    estimate = log_partition(owner, plain, base, 1000, 100)
    assert estimate == annealed_log_partition(plain, base, 1000, 100)
    assert estimate == log_partition(owner, plain, base, 1000, 100)


def test_linear_units_that_feed_back_too_much_are_no_density():
    network, X = by_hand("squared_error", "identity", ())
    with torch.no_grad():
        machines(network)[0].weight.copy_(torch.eye(2, N_FEATURES))
    with pytest.raises(ValueError, match="does not define a density: a singular value"):
        network.score_samples(X)


def test_wide_networks_are_estimated_by_annealing():
    X = (load_digits().data > 7).astype(float)
    network = DeepBeliefNetwork(
        25,
        hidden_layer_sizes=(30,),
        loss="binary_crossentropy",
        pretraining_max_iter=30,
        fine_tune=False,
        random_state=0,
    ).fit(X[:1000])
    assert network.log_partition(n_temperatures=50) != network.log_partition()
    rate = X[:1000].mean(axis=0).clip(1e-3, 1 - 1e-3)
    independent = X[1000:] @ np.log(rate) + (1 - X[1000:]) @ np.log(1 - rate)
    assert network.score_samples(X[1000:]).mean() > independent.mean() + 2


def test_draws_of_digits_vary_as_digits_do():
    X = (load_digits().data > 7).astype(float)
    network = DeepBeliefNetwork(
        40,
        hidden_layer_sizes=(60,),
        code_activation="logistic",
        loss="binary_crossentropy",
        pretraining_max_iter=100,
        fine_tune=False,
        random_state=0,
    ).fit(X)
    variance = X.var(axis=0).sum()
    drawn, means = (network.sample(1000, random_state=0, noise=n) for n in (True, False))
    assert abs(drawn.var(axis=0).sum() / variance - 1) < 0.1
    assert means.var(axis=0).sum() < 0.6 * variance
    np.testing.assert_allclose(drawn.mean(axis=0), means.mean(axis=0), atol=0.08)


def test_fine_tuned_it_is_an_autoencoder():
    X = load_digits().data[:200]
    network = DeepBeliefNetwork(
        3, hidden_layer_sizes=(10,), pretraining_max_iter=2, max_iter=2, random_state=0
    ).fit(X)
    expected = -np.square(X - network.reconstruct(X)).mean(axis=1)
    np.testing.assert_allclose(network.score_samples(X), expected, rtol=1e-6)
    drawn = network.sample(5, random_state=0)
    np.testing.assert_array_equal(drawn, network.sample(5, random_state=0, noise=False))
    with pytest.raises(ValueError, match="no RBMs"):
        network.log_partition()


@pytest.mark.parametrize("loss", ["poisson", "continuous_bernoulli"])
def test_losses_that_are_no_density_are_refused_before_training(loss):
    X = np.random.default_rng(0).uniform(size=(50, 4)).round()
    network = DeepBeliefNetwork(2, loss=loss, pretraining_max_iter=1, max_iter=1, fine_tune=False)
    with pytest.raises(ValueError, match=f"loss='{loss}' is no density"):
        network.fit(X)
    assert len(network.set_params(fine_tune=True).fit(X).sample(3)) == 3


def test_numbers_of_draws_are_checked():
    network, X = by_hand("squared_error", "logistic", (3,))
    with pytest.raises(ValueError, match="n_draws"):
        network.score_samples(X, n_draws=0)
    with pytest.raises(ValueError, match="n_samples"):
        network.sample(0)
