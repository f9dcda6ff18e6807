"""Held-out losses that draw: averages over pairs of draws that are each other's mirror images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from sklearn_ae import (
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    RestrictedBoltzmannMachine,
    VariationalAutoencoder,
)
from sklearn_ae._training.antithetic import MeanOverDraws, antithetic_draws, pairs_for
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae.networks._contractive import SIGNS, estimated_norm

X = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)

N_SEEDS = 150


def _mean(losses, n_pairs, samples_at_once=1000, duplicates=None, X=X, weight=None):
    mean = MeanOverDraws(losses, n_pairs, samples_at_once)
    with drawing_from(make_generator(0), duplicates) as draws:
        return mean(X, X, weight), draws


def _draw_all(x):
    """One number of each kind for each sample."""
    size = len(x), 1
    parts = [
        torch.randn_like(x),
        torch.rand_like(input=x),
        torch.randn(size, dtype=x.dtype),
        torch.rand(*size, dtype=x.dtype),
        torch.rand(size=(2, *size), dtype=x.dtype).transpose(0, 1).flatten(1),
    ]
    return torch.cat(parts, 1)


@pytest.mark.parametrize("n_pairs", [1, 3])
@pytest.mark.parametrize("samples_at_once", [1, 10, 20, 1000])
def test_what_is_odd_in_the_draws_cancels(n_pairs, samples_at_once):
    means = torch.tensor([0.0] * 3 + [0.5] * 3 + [0.0] + [0.5] * 3, dtype=torch.float64)

    def losses(x, y, weight):
        return x.sum(1) + ((_draw_all(x) - means) ** 3).sum(1)

    found, _ = _mean(losses, n_pairs, samples_at_once)
    torch.testing.assert_close(found, X.sum(1))


def test_uniform_numbers_stay_below_one():
    with drawing_from(make_generator(0)), antithetic_draws(50_000, 1):
        u = torch.rand(100_000, 1)
        z = torch.randn(100_000, 1)
    assert float(u.min()) >= 0
    assert float(u.max()) < 1
    torch.testing.assert_close(u[50_000:], 1 - u[:50_000], rtol=0, atol=2**-24)
    assert torch.equal(z[50_000:], -z[:50_000])
    assert u.var() == pytest.approx(1 / 12, rel=0.02)
    assert z.var() == pytest.approx(1, rel=0.02)


def test_pairs_are_independent_of_each_other_and_so_are_other_draws():
    with drawing_from(make_generator(0)), antithetic_draws(1000, 2):
        first, second, _, _ = torch.randn(4000, 1).chunk(4)
        each = torch.zeros(4000, 1).normal_().chunk(4)
    pairs = [(first, second), (each[0], each[2]), (each[0], each[1]), (each[1], each[3])]
    for a, b in pairs:
        assert abs(float((a * b).mean())) < 4 / 1000**0.5


@pytest.mark.parametrize("samples_at_once", [1, 25, 1000])
def test_the_mean_is_that_of_as_many_draws(samples_at_once):
    """What is even in them, ``z^2``, is averaged over the pairs alone."""
    wide = torch.zeros(20_000, 1, dtype=torch.float64)

    def losses(x, y, weight):
        return (3 + torch.randn_like(x)).square().sum(1)  # 9 + 6 z + z^2

    found, _ = _mean(losses, 2, samples_at_once, X=wide)
    assert float(found.mean()) == pytest.approx(10, abs=4 / 20_000**0.5)
    assert float(found.var()) == pytest.approx(1, rel=0.1)  # 38 / 4 with independent draws


def test_a_loss_that_draws_nothing_is_computed_once():
    sizes = []

    def losses(x, y, weight):
        sizes.append(len(x))
        return x.sum(1)

    found, draws = _mean(losses, 3)
    torch.testing.assert_close(found, X.sum(1), rtol=0, atol=0)
    assert sizes == [5]
    assert not draws.has_drawn


def test_a_loss_may_need_more_than_one_sample():
    def losses(x, y, weight):
        assert len(x) >= 5
        return (torch.randn_like(x) / x.std(0)).sum(1)

    found, _ = _mean(losses, 1)
    torch.testing.assert_close(found, torch.zeros_like(found))


def test_finding_out_takes_no_draws_of_the_caller():
    """Else the first epoch would have other draws than the later ones."""
    mean = MeanOverDraws(lambda x, y, weight: torch.randn_like(x).square().sum(1), 2, 1000)
    found = []
    for _ in range(3):
        with drawing_from(make_generator(0)):
            found.append(mean(X, X, None))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    torch.testing.assert_close(found[0], found[2], rtol=0, atol=0)


def test_duplicates_share_their_draws():
    duplicates = torch.tensor([0, 1, 0, 2, 1])

    def losses(x, y, weight):
        return (torch.randn_like(x).square() + torch.rand_like(x).square()).sum(1)

    found, _ = _mean(losses, 2, duplicates=duplicates)
    torch.testing.assert_close(found, found[[0, 1, 0, 3, 1]], rtol=0, atol=0)
    assert len(set(found.tolist())) == 3


def test_weights_and_targets_go_with_their_samples():
    weight = torch.arange(5.0, dtype=torch.float64)

    def losses(x, y, weight):
        assert torch.equal(x, y)
        return weight + x[:, 0] + torch.randn_like(x)[:, 0]

    found, _ = _mean(losses, 2, weight=weight)
    torch.testing.assert_close(found, weight + X[:, 0])


def test_few_samples_have_more_draws():
    assert [pairs_for(n) for n in (0, 1, 45, 512, 513, 10_000)] == [2, 2, 2, 2, 1, 1]


# Estimators


def test_signs_of_a_pair_are_independent():
    """The norm is even in the signs: with mirrored ones the second draw would be the first."""
    pairs = [(SIGNS[i], SIGNS[len(SIGNS) - 1 - i]) for i in range(len(SIGNS))]
    assert sorted(pairs) == sorted([(a, b) for a in (-1, 1) for b in (-1, 1)] * 2)
    weight = torch.tensor([[1.0, 2.0, 0.5], [0.3, -1.0, 2.0]], dtype=torch.float64)
    x = torch.zeros(40_000, 3, dtype=torch.float64)
    with drawing_from(make_generator(0)), antithetic_draws(20_000, 1):
        one, two = estimated_norm(lambda x: x @ weight.T, x, 1).chunk(2)
    gram = weight @ weight.T
    spread = 2 * float(gram[0, 1].abs())  # of ||v^T J||^2 around the trace
    assert float(one.mean()) == pytest.approx(float(gram.trace()), abs=4 * spread / 20_000**0.5)
    assert float(two.mean()) == pytest.approx(float(gram.trace()), abs=4 * spread / 20_000**0.5)
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / 20_000**0.5


DRAWING = [
    DenoisingAutoencoder(2),
    DenoisingAutoencoder(2, noise="masking"),
    pytest.param(DenoisingAutoencoder(2, noise="salt_and_pepper"), marks=pytest.mark.slow),
    DenoisingAutoencoder(2, noise="swap"),
    VariationalAutoencoder(2),
    pytest.param(VariationalAutoencoder(2, n_importance_samples=3), marks=pytest.mark.slow),
    pytest.param(ContractiveAutoencoder(2, n_projections=1), marks=pytest.mark.slow),
    RestrictedBoltzmannMachine(3, early_stopping=True),
]


@pytest.mark.parametrize("estimator", DRAWING, ids=repr)
def test_epochs_of_one_set_of_weights_have_one_held_out_loss(estimator):
    """Two epochs are compared by the same draws."""
    data = np.random.default_rng(0).random(size=(300, 24))
    estimator.set_params(max_iter=4, learning_rate_init=1e-12, random_state=0).fit(data)
    losses = [epoch["valid_loss"] for epoch in estimator.history_]
    assert len(losses) == 4
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


@pytest.mark.parametrize("estimator", DRAWING, ids=repr)
def test_held_out_losses_vary_less_than_with_one_draw(estimator, monkeypatch):
    """Over seeds of the draws, at the same weights: the variance falls to two fifths or less.

    Four draws that are independent would leave a quarter; mirrored ones leave less of what is odd.
    """
    from sklearn_ae._estimator import fitting
    from sklearn_ae._training import net

    data = np.random.default_rng(0).random(size=(300, 24))
    losses = {True: [], False: []}

    def validate(self):
        for seed in range(N_SEEDS):
            found = before(self, seed)
            losses[averaged].append(found.loss)
        return found

    def before(self, seed):
        self.run = replace(self.run, seeds=self.run.seeds._replace(split=seed))
        return validate_once(self)

    validate_once = net.AutoencoderNet.validate
    monkeypatch.setattr(net.AutoencoderNet, "validate", validate)
    for averaged in (True, False):
        if not averaged:
            monkeypatch.setattr(fitting.MeanOverDraws, "__call__", _once)
        estimator.set_params(max_iter=1, learning_rate_init=1e-12, random_state=0).fit(data)
    several, one = (np.reshape(losses[key], (2, N_SEEDS))[0] for key in (True, False))
    # Two pairs halve the variance of what is even in the draws, and what is odd cancels.
    assert several.var() < 0.5 * stats.f.ppf(1 - 1e-4, N_SEEDS - 1, N_SEEDS - 1) * one.var()
    error = np.hypot(several.std(), one.std()) / np.sqrt(N_SEEDS)
    assert abs(several.mean() - one.mean()) < 4 * error


def _once(self, *args):
    return self.losses(*args)
