"""What makes a Boltzmann machine one: its energy, its phases, its partition function."""

import itertools
import pickle
import threading
import time

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.special import expit, logsumexp, softmax
from sklearn.datasets import load_digits
from sklearn.neural_network import BernoulliRBM
from torch import nn

from sklearn_ae import RestrictedBoltzmannMachine
from sklearn_ae._training.keys import EQUAL_CELLS, cells_of_units, sample_keys
from sklearn_ae._training.optimizer import FlatMomentum, FlatParameters
from sklearn_ae._training.random import draw_seeds, drawing_from, make_generator
from sklearn_ae.losses import bernoulli_divergence
from sklearn_ae.networks._boltzmann import BoltzmannModule, BoltzmannNetwork
from sklearn_ae.networks._boltzmann_layer import BoltzmannLayer
from sklearn_ae.networks._partition import (
    annealed_log_partition,
    exact_log_partition,
    pseudo_likelihood,
)
from sklearn_ae.networks.boltzmann_gradient import ContrastiveGradient, Sparsity, draw_uniform

KINDS = [("bernoulli", "bernoulli"), ("gaussian", "bernoulli")]


@pytest.fixture(scope="module")
def digits():
    X = (load_digits().data > 7).astype(float)
    return X[:1400], X[1400:]


@pytest.fixture(scope="module")
def trained(digits):
    return RestrictedBoltzmannMachine(
        15, visible="bernoulli", learning_rate_init=0.1, max_iter=100, random_state=0
    ).fit(digits[0])


def _layer(n_visible, n_hidden, visible="bernoulli", hidden="bernoulli", seed=0, size=1.0):
    draw = torch.Generator().manual_seed(seed)

    def parameter(*shape):
        return nn.Parameter(size * torch.randn(*shape, generator=draw, dtype=torch.float64))

    return BoltzmannLayer(
        parameter(n_hidden, n_visible), parameter(n_hidden), parameter(n_visible), visible, hidden
    )


def _states(n_units):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n_units)))


def _energy(layer, v, h):
    """E(v, h) of every pair, written out."""
    W, c, b = (p.detach().numpy() for p in (layer.weight, layer.hidden_bias, layer.visible_bias))
    visible = -(v @ b) if layer.visible == "bernoulli" else 0.5 * np.square(v - b).sum(1)
    hidden = -(h @ c) if layer.hidden == "bernoulli" else 0.5 * np.square(h - c).sum(1)
    return visible[:, None] + hidden - v @ W.T @ h.T


def _rows(kind, n_rows, n_units, seed=1):
    rng = np.random.default_rng(seed)
    if kind == "bernoulli":
        return rng.integers(2, size=(n_rows, n_units)).astype(float)
    return rng.normal(size=(n_rows, n_units))


# Energies and probabilities


@pytest.mark.parametrize(("visible", "hidden"), KINDS)
def test_free_energy_is_the_sum_over_hidden_states(visible, hidden):
    layer, v = _layer(6, 5, visible, hidden), _rows(visible, 20, 6)
    expected = -logsumexp(-_energy(layer, v, _states(5)), axis=1)
    energy = layer.free_energy(torch.from_numpy(v)).detach().numpy()
    # Relative to the largest: an energy near zero is a difference of large terms.
    np.testing.assert_allclose(energy, expected, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
def test_free_energy_of_gaussian_hidden_units_is_the_integral(visible):
    layer, v = _layer(4, 1, visible, "gaussian"), _rows(visible, 5, 4)
    h = np.linspace(-30, 30, 20_001)[:, None]
    expected = -np.log(np.trapezoid(np.exp(-_energy(layer, v, h)), h[:, 0], axis=1))
    energy = layer.free_energy(torch.from_numpy(v)).detach().numpy()
    np.testing.assert_allclose(energy, expected, rtol=1e-9)
    mean = (np.exp(-_energy(layer, v, h)) @ h) / np.exp(-_energy(layer, v, h)).sum(1)[:, None]
    np.testing.assert_allclose(
        layer.hidden_mean(torch.from_numpy(v)).detach().numpy(), mean, rtol=1e-9
    )


def test_conditional_means_are_those_of_the_joint_distribution():
    layer = _layer(4, 3)
    v, h = _states(4), _states(3)
    joint = np.exp(-_energy(layer, v, h))
    hidden = joint @ h / joint.sum(1)[:, None]
    visible = joint.T @ v / joint.sum(0)[:, None]
    with torch.no_grad():
        np.testing.assert_allclose(layer.hidden_mean(torch.from_numpy(v)), hidden, rtol=1e-12)
        np.testing.assert_allclose(layer.visible_mean(torch.from_numpy(h)), visible, rtol=1e-12)


def test_conditional_mean_of_a_gaussian_unit_is_that_of_the_joint_density():
    layer, h = _layer(1, 3, "gaussian"), _states(3)
    v = np.linspace(-30, 30, 20_001)[:, None]
    joint = np.exp(-_energy(layer, v, h))
    with torch.no_grad():
        mean = layer.visible_mean(torch.from_numpy(h)).numpy()
    np.testing.assert_allclose(mean, joint.T @ v / joint.sum(0)[:, None], atol=1e-10)


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
def test_gibbs_chain_has_the_marginals_of_the_model(visible):
    layer = _layer(3, 2, visible, seed=3)
    h = _states(2)
    # p(h) is known in closed form, and given h so are the first two moments of v.
    W, b = layer.weight.detach().numpy(), layer.visible_bias.detach().numpy()
    field = b + h @ W
    sums = np.logaddexp(0, field) if visible == "bernoulli" else 0.5 * (field**2 - b**2)
    p = h @ layer.hidden_bias.detach().numpy() + sums.sum(1)
    p = np.exp(p - logsumexp(p))
    mean = expit(field) if visible == "bernoulli" else field
    variance = mean * (1 - mean) if visible == "bernoulli" else np.ones_like(mean)
    second = np.einsum("s,si,sj->ij", p, mean, mean) + np.diag(p @ variance)
    with drawing_from(make_generator(0)), torch.no_grad():
        v = layer.gibbs(torch.zeros(40_000, 3, dtype=torch.float64), 60).numpy()
    np.testing.assert_allclose(v.mean(0), p @ mean, atol=0.03)
    np.testing.assert_allclose(v.T @ v / len(v), second, atol=0.03 * (1 + np.abs(second).max()))


# Partition function and likelihood


@pytest.mark.parametrize("shape", [(5, 4), (4, 5)])
def test_enumeration_equals_brute_force(shape):
    layer = _layer(*shape)
    v, h = _states(shape[0]), _states(shape[1])
    expected = logsumexp(-_energy(layer, v, h))
    assert exact_log_partition(layer) == pytest.approx(expected, rel=1e-12)


def test_enumeration_in_pieces_equals_enumeration_at_once(monkeypatch):
    layer = _layer(9, 8)
    at_once = exact_log_partition(layer)
    monkeypatch.setattr("sklearn_ae.networks._partition.CELLS", 90)
    assert exact_log_partition(layer) == pytest.approx(at_once, rel=1e-12)


def test_probabilities_of_all_samples_sum_to_one(digits):
    X = digits[0][:300, 18:25]
    machine = RestrictedBoltzmannMachine(
        4, visible="bernoulli", max_iter=50, learning_rate_init=0.3, random_state=0
    ).fit(X)
    assert np.exp(machine.score_samples(_states(7))).sum() == pytest.approx(1, rel=1e-9)
    assert machine.module_.layer.weight.abs().max() > 0.5


def test_density_of_gaussian_samples_integrates_to_one():
    rng = np.random.default_rng(0)
    modes = rng.choice([-2.0, 2.0], size=400)
    X = np.column_stack([modes, -modes]) + 0.5 * rng.normal(size=(400, 2))
    X = X * [1.0, 3.0] + [5.0, -7.0]
    machine = RestrictedBoltzmannMachine(3, max_iter=100, random_state=0).fit(X)
    x, y = np.linspace(-20, 30, 401), np.linspace(-82, 68, 401)
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
    density = np.exp(machine.score_samples(grid)).reshape(401, 401)
    assert np.trapezoid(np.trapezoid(density, y), x) == pytest.approx(1, abs=1e-6)
    # Independent Gaussians know nothing of the two modes.
    independent = -0.5 * np.log(2 * np.pi * np.e * X.var(0)).sum()
    assert machine.score_samples(X).mean() > independent + 0.1


def test_annealed_importance_sampling_agrees_with_enumeration(trained):
    layer, base = trained.module_.layer, trained.module_.base
    exact = exact_log_partition(layer)
    estimate = annealed_log_partition(layer, base, n_temperatures=1000, n_runs=100)
    assert layer.weight.std() > 0.5  # couplings that make it hard
    assert estimate == pytest.approx(exact, rel=0.01)
    assert estimate == pytest.approx(exact, abs=0.3)
    assert estimate == annealed_log_partition(layer, base, n_temperatures=1000, n_runs=100)
    coarse = annealed_log_partition(layer, base, n_temperatures=5, n_runs=10)
    assert abs(coarse - exact) > abs(estimate - exact)


def test_runs_that_do_not_agree_are_reported():
    layer = _layer(40, 40, size=2.0)
    with pytest.warns(UserWarning, match=r"about 1\.\d of 100 annealed runs .* n_temperatures"):
        annealed_log_partition(layer, torch.zeros(40), n_temperatures=3, n_runs=100)


def test_annealed_importance_sampling_of_gaussian_samples():
    X = load_digits().data
    machine = RestrictedBoltzmannMachine(12, max_iter=60, random_state=0).fit(X)
    layer, base = machine.module_.layer, machine.module_.base
    exact = exact_log_partition(layer)
    assert layer.weight.std() > 0.2
    assert annealed_log_partition(layer, base, 1000, 100) == pytest.approx(exact, abs=0.3)


def test_log_partition_is_remembered_until_the_weights_change(digits):
    X = digits[0][:300]
    machine = RestrictedBoltzmannMachine(30, visible="bernoulli", max_iter=3, random_state=0)
    machine.fit(X)

    def timed():
        start = time.perf_counter()
        machine.score_samples(X[:2])
        return time.perf_counter() - start

    attributes = dict(vars(machine))
    first = timed()
    assert min(timed() for _ in range(3)) < first / 5
    assert vars(machine) == attributes
    before = machine.log_partition()
    machine.partial_fit(X)
    assert machine.log_partition() != before
    now = machine.log_partition()
    with torch.no_grad():
        machine.module_.layer.visible_bias.add_(1.0)
    assert machine.log_partition() > now + 1
    assert machine.log_partition(n_temperatures=50) != machine.log_partition()


def test_threads_agree_on_the_likelihood(digits):
    X = digits[0][:300]
    machine = RestrictedBoltzmannMachine(30, visible="bernoulli", max_iter=3, random_state=0)
    fresh = pickle.loads(pickle.dumps(machine.fit(X)))
    expected, results = machine.score_samples(X), [None] * 3

    def run(place):
        results[place] = fresh.score_samples(X)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_likelihood_is_what_is_left_of_the_free_energy(trained, digits):
    _, test = digits
    expected = -trained.free_energy(test) - trained.log_partition()
    np.testing.assert_allclose(trained.score_samples(test), expected, rtol=1e-12)
    single = trained.score_samples(test.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=1e-4)


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
def test_pseudo_likelihood_is_that_of_the_joint_distribution(visible):
    layer, v = _layer(4, 3, visible, seed=5), _rows(visible, 6, 4)
    columns = torch.tensor([[0, 1, 2, 3]] * 6)
    values = np.array([0.0, 1.0]) if visible == "bernoulli" else np.linspace(-25, 25, 5001)
    step = np.diff(values)[0]
    expected = np.zeros(6)
    for column in range(4):
        moved = np.repeat(v[None], len(values), axis=0)
        moved[:, :, column] = values[:, None]
        energy = -logsumexp(-_energy(layer, moved.reshape(-1, 4), _states(3)), axis=1)
        total = logsumexp(-energy.reshape(len(values), 6), axis=0) + np.log(step)
        expected += (logsumexp(-_energy(layer, v, _states(3)), axis=1) - total) / 4
    with torch.no_grad():
        result = pseudo_likelihood(layer, torch.from_numpy(v), columns).numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-4)


# Training


def _textbook(v, W, c, b, draws, *, visible="bernoulli", n_steps=1, weight=None, chains=None):
    """Gradient of contrastive divergence in NumPy; the chains' new states come last."""

    def bits(mean):
        return (draws(torch.rand, mean.shape) < mean).astype(float)

    share = np.full(len(v), 1 / len(v)) if weight is None else weight / len(v)
    positive = expit(c + v @ W.T)
    h = bits(positive) if chains is None else chains
    negative_share = share if chains is None else np.full(len(h), share.sum() / len(h))
    fantasy = None
    for _ in range(n_steps):
        if fantasy is not None:
            h = bits(expit(c + fantasy @ W.T))
        field = b + h @ W
        gaussian = visible == "gaussian"
        fantasy = field + draws(torch.randn, field.shape) if gaussian else bits(expit(field))
    negative = expit(c + fantasy @ W.T)
    gradients = (
        (negative * negative_share[:, None]).T @ fantasy - (positive * share[:, None]).T @ v,
        negative_share @ negative - share @ positive,
        negative_share @ fantasy - share @ v,
    )
    return gradients, fantasy, None if chains is None else bits(negative)


def _draws_of(generator, duplicates=None):
    def draws(draw, shape):
        size = shape if duplicates is None else (duplicates.max() + 1, shape[1])
        if draw is torch.rand:
            drawn = draw_uniform(size, generator, torch.zeros(1, dtype=torch.float64)).numpy()
        else:
            drawn = draw(size, generator=generator).double().numpy()
        return drawn if duplicates is None else drawn[duplicates]

    return draws


def _values(layer):
    parameters = layer.weight, layer.hidden_bias, layer.visible_bias
    return [parameter.detach().numpy().copy() for parameter in parameters]


def _module(visible, n_chains=0, n_visible=7, n_hidden=5):
    with drawing_from(make_generator(0)):
        module = BoltzmannModule(
            BoltzmannNetwork(visible=visible), (n_visible,), n_hidden, n_chains
        ).double()
    layer = module.layer
    with torch.no_grad():
        given = _layer(n_visible, n_hidden, visible, seed=2)
        for mine, other in zip(layer.parameters(), given.parameters(), strict=True):
            mine.copy_(other)
    return module


def _step(module, v, n_steps, seed, weight=None, sparsity=None):
    flat = FlatParameters(module)
    gradient = ContrastiveGradient(module, n_steps, sparsity, torch.float64, make_generator(seed))
    terms = gradient(
        torch.from_numpy(v), None if weight is None else torch.from_numpy(weight), None
    )
    return flat, terms


def _gradients(layer):
    return [p.grad.numpy() for p in (layer.weight, layer.hidden_bias, layer.visible_bias)]


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_chains", [0, 11, 20])
def test_gradient_is_the_textbook_s(visible, n_steps, weighted, n_chains):
    module, v = _module(visible, n_chains), _rows(visible, 20, 7)
    weight = np.random.default_rng(5).uniform(0, 2, size=20) if weighted else None
    chains = module.chains.numpy().copy() if n_chains else None
    options = {"visible": visible, "n_steps": n_steps, "weight": weight, "chains": chains}
    values = _values(module.layer)
    expected, fantasies, moved = _textbook(v, *values, _draws_of(make_generator(9)), **options)
    _, terms = _step(module, v, n_steps, 9, weight)
    for mine, other in zip(_gradients(module.layer), expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-13)
    if n_chains:
        np.testing.assert_array_equal(module.chains.numpy(), moved)
    share = np.ones(20) if weight is None else weight
    with torch.no_grad():
        energy, other = (module.layer.free_energy(torch.from_numpy(x)) for x in (v, fantasies))
    balance = share @ energy.numpy() / 20
    balance -= share.mean() * other.numpy().mean() if n_chains else share @ other.numpy() / 20
    assert terms["contrastive"].item() == pytest.approx(balance, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("visible", "hidden"), [*KINDS, ("bernoulli", "gaussian")])
@pytest.mark.parametrize("n_chains", [0, 11])
def test_terms_differentiate_to_the_same_gradient(visible, hidden, n_chains, monkeypatch):
    """Automatic differentiation of the free energies, on parameters shared with a linear layer."""
    for name, draw in (("draw_uniform", torch.rand), ("_draw_gaussian", torch.randn)):
        monkeypatch.setattr(  # the same draws for both
            f"sklearn_ae.networks.boltzmann_gradient.{name}",
            lambda size, generator, like, draw=draw: draw(
                size, generator=generator, dtype=like.dtype
            ),
        )
    module, v = _module(visible, n_chains), torch.from_numpy(_rows(visible, 20, 7))
    encoder, decoder = nn.Linear(7, 5).double(), nn.Linear(5, 7).double()
    encoder.weight.data.copy_(0.3 * module.layer.weight)
    layer = BoltzmannLayer(encoder.weight, encoder.bias, decoder.bias, visible, hidden)
    chains = module.chains.clone() if n_chains else None
    weight = torch.linspace(0.5, 1.5, 20, dtype=torch.float64)
    with drawing_from(make_generator(4)):
        terms = layer.cd_terms(v, 2, weight, chains)
    (term,) = terms.values()
    assert term.shape == (20,)
    (term * weight).mean().backward()
    if hidden == "gaussian":  # the statistics of linear units, by hand
        with drawing_from(make_generator(4)), torch.no_grad():
            h = module.chains if n_chains else None
            if h is None:
                h = layer.hidden_mean(v) + torch.randn(20, 5, dtype=torch.float64)
            v_new = (torch.rand(len(h), 7, dtype=torch.float64) < layer.visible_mean(h)).double()
            v_new = layer.gibbs(v_new, 1)
            share = weight / 20 if not n_chains else torch.full((11,), 1 / 11).double()
            share = share * weight.mean() if n_chains else share
            positive = (layer.hidden_mean(v) * weight[:, None] / 20).t() @ v
            negative = (layer.hidden_mean(v_new) * share[:, None]).t() @ v_new
        torch.testing.assert_close(encoder.weight.grad, negative - positive)
        return
    with torch.no_grad():
        module.layer.weight.copy_(encoder.weight)
        module.layer.hidden_bias.copy_(encoder.bias)
        module.layer.visible_bias.copy_(decoder.bias)
    _step(module, v.numpy(), 2, 4, weight.numpy())
    gradients = [encoder.weight.grad, encoder.bias.grad, decoder.bias.grad]
    for mine, other in zip(_gradients(module.layer), gradients, strict=True):
        np.testing.assert_allclose(mine, other.numpy(), rtol=1e-9, atol=1e-12)
    if n_chains:
        torch.testing.assert_close(module.chains, chains)


def test_momentum_and_weight_decay_are_the_textbook_s():
    module, v = _module("bernoulli"), _rows("bernoulli", 20, 7)
    layer = module.layer
    descent = FlatMomentum(FlatParameters(module), lr=0.1, alpha=0.3, momentum=0.7)
    gradient = ContrastiveGradient(module, 1, None, torch.float64, make_generator(6))
    values, draws = _values(layer), _draws_of(make_generator(6))
    velocity = [np.zeros_like(value) for value in values]
    for _ in range(4):
        gradient(torch.from_numpy(v), None, None)
        descent.step()
        values = _descend(values, velocity, _textbook(v, *values, draws)[0], 0.1, 0.3, 0.7)
        for mine, other in zip(_values(layer), values, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-13)


def _descend(values, velocity, gradients, rate, alpha, momentum):
    """One step of gradient descent in NumPy; the velocities are changed in place."""
    for u, g in zip(velocity, gradients, strict=True):
        u *= momentum
        u -= rate * g
    W, c, b = values
    return [W * (1 - rate * alpha) + velocity[0], c + velocity[1], b + velocity[2]]


@pytest.mark.parametrize("n_chains", [0, 7])
def test_a_fit_is_the_textbook_s(digits, n_chains):
    """Three epochs of one batch, from the seed to the weights."""
    X = digits[0][:50]
    machine = RestrictedBoltzmannMachine(
        6, visible="bernoulli", momentum=0.5, alpha=0.2, learning_rate="constant", max_iter=3,
        learning_rate_init=0.05, random_state=0, precision="float64", n_steps=2,
        persistent=n_chains > 0, n_chains=n_chains or 1,
    ).fit(X)  # fmt: skip
    seeds = draw_seeds(0)
    with drawing_from(make_generator(seeds.weights)):
        start = BoltzmannModule(BoltzmannNetwork(visible="bernoulli"), (64,), 6, n_chains)
    rate = np.clip(X.mean(0), 1e-3, 1 - 1e-3)
    values = [_values(start.double().layer)[0], np.zeros(6), np.log(rate / (1 - rate))]
    velocity = [np.zeros_like(value) for value in values]
    generator = make_generator(seeds.noise)
    keys = sample_keys(X, cells_of_units(64, EQUAL_CELLS))
    duplicates = np.unique(keys, return_inverse=True)[1]
    chains = start.chains.numpy() if n_chains else None
    draws = _draws_of(generator, None if n_chains else duplicates)
    for _ in range(3):
        gradients, _, chains = _textbook(X, *values, draws, n_steps=2, chains=chains)
        values = _descend(values, velocity, gradients, 0.05, 0.2, 0.5)
    for mine, other in zip(_values(machine.module_.layer), values, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-9)
    assert np.abs(velocity[0]).max() > 1e-3


def test_two_fits_in_a_row_equal_one(digits):
    X = digits[0][:300]
    for params in ({}, {"persistent": True, "n_chains": 20}, {"sparsity_target": 0.1}):
        params = {**params, "visible": "bernoulli", "learning_rate": "constant", "random_state": 0}
        whole = RestrictedBoltzmannMachine(8, max_iter=6, **params).fit(X)
        parts = RestrictedBoltzmannMachine(8, max_iter=3, warm_start=True, **params).fit(X)
        parts = pickle.loads(pickle.dumps(parts)).fit(X)
        np.testing.assert_array_equal(parts.transform(X), whole.transform(X))
        np.testing.assert_array_equal(parts.module_.chains, whole.module_.chains)
        passes = RestrictedBoltzmannMachine(8, **params)
        for _ in range(6):
            passes.partial_fit(X)
        np.testing.assert_array_equal(passes.transform(X), whole.transform(X))


def test_persistent_chains_are_kept_and_move_on(digits):
    X = digits[0][:300]
    machine = RestrictedBoltzmannMachine(
        8, visible="bernoulli", persistent=True, n_chains=20, random_state=0
    ).partial_fit(X)
    first = machine.module_.chains.numpy().copy()
    assert first.shape == (20, 8)
    assert set(np.unique(first)) == {0.0, 1.0}
    again = pickle.loads(pickle.dumps(machine))
    np.testing.assert_array_equal(again.module_.chains.numpy(), first)
    again.partial_fit(X)
    assert not np.array_equal(again.module_.chains.numpy(), first)
    np.testing.assert_array_equal(machine.module_.chains.numpy(), first)
    with pytest.raises(ValueError, match="n_chains was changed from 20 to 10"):
        again.set_params(n_chains=10).partial_fit(X)
    again.set_params(n_chains=20, n_steps=5).partial_fit(X)  # longer chains later are welcome


@pytest.mark.parametrize("params", [{}, {"persistent": True, "n_chains": 13}])
@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
def test_weights_count_as_copies(digits, visible, params):
    X, weight = digits[0][:15], np.random.default_rng(0).integers(0, 4, size=15)
    params = {"visible": visible, "max_iter": 30, "random_state": 0, **params}
    weighted = RestrictedBoltzmannMachine(6, **params).fit(X, sample_weight=weight)
    repeated = RestrictedBoltzmannMachine(6, **params).fit(np.repeat(X, weight, axis=0))
    np.testing.assert_allclose(weighted.transform(X), repeated.transform(X), rtol=1e-7)
    plain = RestrictedBoltzmannMachine(6, **params).fit(X)
    assert np.abs(plain.transform(X) - weighted.transform(X)).max() > 1e-3


@pytest.mark.parametrize("target", [0.05, 0.2])
def test_sparsity_target_is_reached(digits, target):
    train, test = digits
    params = {"visible": "bernoulli", "learning_rate_init": 0.1, "max_iter": 60}
    machine = RestrictedBoltzmannMachine(32, sparsity_target=target, random_state=0, **params).fit(
        train
    )
    activation = machine.transform(test).mean(0)
    assert activation.mean() == pytest.approx(target, rel=0.15)
    assert np.median(np.abs(activation - target)) < 0.5 * target
    last = machine.history_[-1]
    assert last["train_loss"] == pytest.approx(last["contrastive"] + last["sparsity"])
    free = RestrictedBoltzmannMachine(32, random_state=0, **params).fit(train)
    assert abs(free.transform(test).mean() - target) > 0.1


def test_pull_towards_the_sparsity_target():
    module, v = _module("bernoulli"), _rows("bernoulli", 20, 7)
    weight = np.random.default_rng(5).uniform(0, 2, size=20)
    _step(module, v, 1, 3, weight)
    plain = [gradient.copy() for gradient in _gradients(module.layer)]
    _, terms = _step(module, v, 1, 3, weight, Sparsity(0.1, 2.0))
    layer = module.layer
    grown = [mine - other for mine, other in zip(_gradients(layer), plain, strict=True)]
    share = weight / weight.sum()
    q = share @ expit(layer.hidden_bias.detach().numpy() + v @ layer.weight.detach().numpy().T)
    divergence = 2.0 * bernoulli_divergence(0.1, torch.from_numpy(q)).sum()
    assert terms["sparsity"].item() == pytest.approx(divergence.item(), rel=1e-10)
    np.testing.assert_allclose(grown[0], 2.0 * np.outer(q - 0.1, share @ v), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(grown[1], 2.0 * (q - 0.1), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(grown[2], 0, atol=1e-12)
    # It is the slope of the divergence with respect to the logit of q.
    logit = torch.logit(torch.from_numpy(q)).requires_grad_()
    bernoulli_divergence(0.1, torch.sigmoid(logit)).sum().backward()
    np.testing.assert_allclose(logit.grad.numpy(), q - 0.1, rtol=1e-8)


def test_patience_takes_no_notice_of_the_training_loss(digits):
    params = {"visible": "bernoulli", "max_iter": 12, "n_iter_no_change": 1, "random_state": 0}
    machine = RestrictedBoltzmannMachine(4, warm_start=True, **params).fit(digits[0])
    assert machine.n_iter_ == 12
    assert machine.fit(digits[0]).n_iter_ == 12
    assert "valid_loss" not in machine.history_[0]


def test_held_out_samples_are_scored_by_their_pseudo_likelihood(digits):
    train, test = digits
    machine = RestrictedBoltzmannMachine(
        15, visible="bernoulli", early_stopping=True, max_iter=400, learning_rate_init=0.1,
        learning_rate="constant", n_iter_no_change=10, random_state=0,
    ).fit(train)  # fmt: skip
    assert machine.n_iter_ < 400
    losses = [entry["valid_loss"] for entry in machine.history_]
    assert min(losses) == machine.best_loss_
    # One column after another, all 64, on other rows: about the same.
    module = machine.module_
    columns = torch.arange(64).expand(len(test), 64)
    with torch.no_grad():
        exact = -64 * pseudo_likelihood(
            module.layer, torch.from_numpy(test).to(module.center), columns
        )
    assert machine.best_loss_ == pytest.approx(exact.mean().item(), rel=0.1)


# The estimator


def test_likelihood_is_not_below_scikit_learn_s(digits):
    """At equal learning rate, batch size and number of epochs."""
    train, test = digits
    ours, theirs = [], []
    for seed in range(3):
        machine = RestrictedBoltzmannMachine(
            15, visible="bernoulli", momentum=0.0, alpha=0.0, learning_rate="constant",
            learning_rate_init=0.1, batch_size=10, max_iter=30, random_state=seed,
        ).fit(train)  # fmt: skip
        ours.append(machine.score_samples(test).mean())
        other = BernoulliRBM(15, learning_rate=0.1, batch_size=10, n_iter=30, random_state=seed)
        other.fit(train)
        copy = pickle.loads(pickle.dumps(machine))
        with torch.no_grad():
            layer = copy.module_.layer
            layer.weight.copy_(torch.from_numpy(other.components_))
            layer.hidden_bias.copy_(torch.from_numpy(other.intercept_hidden_))
            layer.visible_bias.copy_(torch.from_numpy(other.intercept_visible_))
        np.testing.assert_allclose(copy.transform(test), other.transform(test), rtol=1e-6)
        theirs.append(copy.score_samples(test).mean())
    assert np.mean(ours) > np.mean(theirs)


def test_round_trip(trained, digits):
    _, test = digits
    codes = trained.transform(test)
    layer = trained.module_.layer
    W, c, b = (p.detach().numpy() for p in (layer.weight, layer.hidden_bias, layer.visible_bias))
    np.testing.assert_allclose(codes, expit(c + test @ W.T), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        trained.inverse_transform(codes), expit(b + codes @ W), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        trained.reconstruct(test), trained.inverse_transform(codes), rtol=1e-12
    )
    assert trained.score(test) > 0.5


def test_samples_are_like_the_data(trained, digits):
    train, _ = digits
    drawn = trained.sample(2000, random_state=0)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_array_equal(drawn, trained.sample(2000, random_state=0))
    assert np.abs(drawn.mean(0) - train.mean(0)).mean() < 0.06
    # As likely as a draw from the model is on average, which is minus its entropy.
    noise = (np.random.default_rng(0).random(drawn.shape) < train.mean(0)).astype(float)
    assert trained.score_samples(drawn).mean() > trained.score_samples(noise).mean() + 3
    steps = [trained.gibbs(train, k, random_state=0) for k in (1, 50)]
    changed = [np.mean(step != train) for step in steps]
    assert 0 < changed[0] < changed[1]
    np.testing.assert_array_equal(steps[0], trained.gibbs(train, 1, random_state=0))


def _exact_moments(machine):
    """Mean and covariance of a Gaussian machine's rows, summed over all hidden states."""
    module = machine.module_
    layer, h = module.layer, _states(module.n_components)
    W, c, b = (
        p.detach().double().numpy() for p in (layer.weight, layer.hidden_bias, layer.visible_bias)
    )
    # Given h the rows are a Gaussian around b + W^T h, which e^{-E} is integrated over.
    centers = b + h @ W
    share = softmax(h @ c + 0.5 * np.square(centers).sum(1))
    mean = share @ centers
    covariance = np.eye(len(b)) + (share[:, None] * (centers - mean)).T @ (centers - mean)
    unit = (module.sigma * module.scale).double().numpy()
    return mean * unit + module.center.double().numpy(), covariance * np.outer(unit, unit)


def test_gaussian_samples_have_the_moments_of_the_rbm():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 2)) @ rng.normal(size=(2, 4)) + 0.5 * rng.normal(size=(2000, 4))
    X = 10 * X + 100
    machine = RestrictedBoltzmannMachine(8, random_state=0).fit(X)
    drawn = machine.sample(4000, random_state=0)
    mean, covariance = _exact_moments(machine)
    gaps = drawn - mean
    products = (gaps[:, :, None] * gaps[:, None]).reshape(len(gaps), -1)
    for values, expected in ((drawn, mean), (products, covariance.ravel())):
        error = values.std(0) / np.sqrt(len(values))
        assert np.all(np.abs(values.mean(0) - expected) < 4.5 * error)
    # The likelihood is greatest, among Gaussians with the fixed variance of one, where larger
    # eigenvalues of the correlations are kept: as near as so many rows determine it.
    eigenvalues, axes = np.linalg.eigh(np.corrcoef(X.T))
    likeliest = (axes * np.maximum(eigenvalues, 1)) @ axes.T
    error = np.sqrt(2 / len(X)) * eigenvalues[-1]
    np.testing.assert_allclose(covariance / np.outer(X.std(0), X.std(0)), likeliest, atol=error)
    np.testing.assert_allclose((mean - X.mean(0)) / X.std(0), 0, atol=4 / np.sqrt(len(X)))
    # Rows are linear in the hidden units: a step leads, on average, where their means decode to.
    moved = machine.gibbs(np.repeat(X[:20], 1000, axis=0), 1, random_state=0).reshape(20, 1000, 4)
    expected = machine.inverse_transform(machine.transform(X[:20]))
    error = moved.std(1) / np.sqrt(1000)
    assert np.all(np.abs(moved.mean(1) - expected) < 4.5 * error)


@pytest.mark.parametrize("a", [1e-4, 1e4])
def test_units_of_gaussian_samples_do_not_matter(a):
    X = load_digits().data[:500, 10:40]
    params = {"max_iter": 20, "random_state": 0, "precision": "float64"}
    one = RestrictedBoltzmannMachine(8, **params).fit(X)
    other = RestrictedBoltzmannMachine(8, **params).fit(a * X + 3 * a)
    assert other.score(a * X + 3 * a) == pytest.approx(one.score(X), abs=1e-6)
    np.testing.assert_allclose(
        other.score_samples(a * X + 3 * a), one.score_samples(X) - 30 * np.log(a), atol=1e-3
    )
    # The unit of a single feature does not matter either.
    factors = np.logspace(-2, 2, 30)
    other = RestrictedBoltzmannMachine(8, **params).fit(X * factors)
    np.testing.assert_allclose(other.transform(X * factors), one.transform(X), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point_type_is_kept(digits, dtype):
    X = digits[0][:200].astype(dtype)
    machine = RestrictedBoltzmannMachine(5, visible="bernoulli", max_iter=2, random_state=0).fit(X)
    assert machine.module_.center.dtype == (
        torch.float64 if dtype == np.float64 else torch.float32
    )
    for result in (
        machine.transform(X), machine.reconstruct(X), machine.free_energy(X), machine.gibbs(X),
        machine.score_samples(X), machine.sample(2), machine.inverse_transform(X[:, :5]),
    ):  # fmt: skip
        assert result.dtype == dtype


def test_bfloat16_products_learn_as_well(digits):
    train, test = digits
    params = {"visible": "bernoulli", "learning_rate_init": 0.1, "max_iter": 60, "random_state": 0}
    low, full = (
        RestrictedBoltzmannMachine(15, precision=precision, **params)
        .fit(train).score_samples(test).mean()
        for precision in ("bfloat16", "float32")
    )  # fmt: skip
    assert low == pytest.approx(full, abs=0.4)


def test_bad_input_is_named(digits):
    X = digits[0]
    machine = RestrictedBoltzmannMachine(3, visible="bernoulli", max_iter=1)
    with pytest.raises(ValueError, match=r"visible='bernoulli' needs data in \[0, 1\], but X"):
        machine.fit(2 * X)
    machine.fit(X)
    with pytest.raises(ValueError, match="n_steps must be a positive integer, got 0"):
        machine.gibbs(X, n_steps=0)
    with pytest.raises(ValueError, match="n_steps must be a positive integer, got 0"):
        machine.sample(n_steps=0)
    with pytest.raises(ValueError, match="n_runs must be a positive integer, got -1"):
        machine.log_partition(n_runs=-1)
    with pytest.raises(ValueError, match="visible was changed from 'bernoulli' to 'gaussian'"):
        machine.set_params(visible="gaussian").partial_fit(X)
    for name, value in {"momentum": 1.0, "n_steps": 0, "sparsity_target": 1.0}.items():
        with pytest.raises(ValueError, match=f"'{name}' parameter"):
            RestrictedBoltzmannMachine(3, **{name: value}).fit(X)
    with pytest.raises(ValueError, match="diverged"):
        RestrictedBoltzmannMachine(30, learning_rate_init=50.0).fit(X)


def test_sparse_matrices_are_accepted(digits):
    X = digits[0][:200]
    dense, sparse = (
        RestrictedBoltzmannMachine(5, visible="bernoulli", max_iter=3, random_state=0).fit(rows)
        for rows in (X, csr_array(X))
    )
    np.testing.assert_array_equal(dense.transform(X), sparse.transform(csr_array(X)))
    np.testing.assert_array_equal(dense.score_samples(X), sparse.score_samples(csr_array(X)))


def test_images_are_reconstructed_as_images(digits):
    X = digits[0][:200].reshape(-1, 8, 8)
    machine = RestrictedBoltzmannMachine(5, visible="bernoulli", max_iter=3, random_state=0).fit(X)
    assert machine.gibbs(X[:7], random_state=0).shape == (7, 8, 8)
    assert machine.sample(3, random_state=0, n_steps=2).shape == (3, 8, 8)
    assert machine.free_energy(X).shape == (200,)
