"""Batch and layer normalisation, and dropout, as options of networks."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from torch import nn

from sklearn_ae import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae._training.steps import PlainDenseStep
from sklearn_ae.losses import get_loss
from sklearn_ae.networks import ConvolutionalNetwork, DenseNetwork, UNetNetwork
from sklearn_ae.networks._images import Convolution
from sklearn_ae.networks._layers import EPS, BatchNorm, batch_norms, drop

OPTIONS = [
    {"normalization": "batch"},
    {"normalization": "layer"},
    {"dropout": 0.2},
    {"normalization": "batch", "dropout": 0.2},
]
SHAPES = [(12, 5), (12, 5, 3, 4)]


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    return 3 + 2 * np.tanh(rng.normal(size=(100, 2)) @ rng.normal(size=(2, 6)))


def _draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 + 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def _norm(width=5):
    norm = BatchNorm(width).double()
    with torch.no_grad():
        norm.weight.copy_(_draw(width, seed=1))
        norm.bias.copy_(_draw(width, seed=2))
    return norm


@pytest.mark.parametrize("shape", SHAPES)
def test_batches_are_standardised_as_by_torch(shape):
    norm, x = _norm(), _draw(*shape).requires_grad_()
    theirs = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(5).double()
    theirs.load_state_dict(dict(norm.named_parameters()), strict=False)
    upstream = _draw(*shape, seed=3)
    for each in (norm, theirs):
        x.grad = None
        output = each(x)
        output.backward(upstream)
        if each is norm:
            mine = [output, x.grad, norm.weight.grad, norm.bias.grad]
    expected = [output, x.grad, theirs.weight.grad, theirs.bias.grad]
    for one, other in zip(mine, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sample_of_weight_three_is_three_samples(shape):
    weight = torch.tensor([3.0, 1.0, 2.0] * 4, dtype=torch.float64)
    x, upstream = _draw(*shape).requires_grad_(), _draw(*shape, seed=3)
    weighted, repeated = _norm(), _norm()
    weighted.sample_weight = weight
    output = weighted(x)
    (output * upstream * weight.view(-1, *(1,) * (x.ndim - 1))).sum().backward()
    counts = weight.long()
    again = x.detach().repeat_interleave(counts, 0).requires_grad_()
    copies = repeated(again)
    (copies * upstream.repeat_interleave(counts, 0)).sum().backward()
    torch.testing.assert_close(output.repeat_interleave(counts, 0), copies)
    for one, other in zip(weighted.buffers(), repeated.buffers(), strict=True):
        torch.testing.assert_close(one, other)
    for one, other in zip(weighted.parameters(), repeated.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    index = torch.arange(12).repeat_interleave(counts)
    gathered = torch.zeros_like(x).index_add(0, index, again.grad)
    torch.testing.assert_close(x.grad, gathered)


def test_weights_count_for_every_draw_of_a_sample():
    weight = torch.tensor([3.0, 1.0, 2.0, 1.0], dtype=torch.float64)
    x = _draw(12, 5)  # three draws for each of four samples
    norm, flat = _norm(), _norm()
    norm.sample_weight, flat.sample_weight = weight, torch.cat([weight] * 3)
    torch.testing.assert_close(norm(x), flat(x))


def test_running_statistics_are_means_and_then_exponential_means():
    norm = _norm()
    batches = [_draw(7, 5, seed=seed) for seed in range(13)]
    for batch in batches:
        norm(batch)
    means = torch.stack([batch.mean(0) for batch in batches])
    variances = torch.stack([batch.var(0, correction=0) for batch in batches])
    for values, found in ((means, norm.mean), (variances, norm.variance)):
        expected = values[:10].mean(0)
        for value in values[10:]:
            expected = 0.9 * expected + 0.1 * value
        torch.testing.assert_close(found, expected)
    norm.eval()
    x = _draw(3, 5, seed=99)
    expected = (x - norm.mean) / (norm.variance + EPS).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(norm(x), expected)


def test_one_sample_is_standardised_by_running_statistics():
    norm = _norm()
    norm(_draw(7, 5))
    before = [value.clone() for value in norm.buffers()]
    x = _draw(1, 5, seed=1)
    alone = norm(x)
    for one, other in zip(before, norm.buffers(), strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(alone, norm.eval()(x))


def test_layers_standardise_each_sample():
    network = DenseNetwork(hidden_layer_sizes=(6,), normalization="layer", activation="identity")
    stack = network.encoder((5,), 3).double()
    x = _draw(4, 5)
    hidden = stack.layers[0](x)
    expected = (hidden - hidden.mean(1, keepdim=True)) / (
        hidden.var(1, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    torch.testing.assert_close(stack.hidden(x, 1), expected)


# Dropout


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_dropped_values_have_the_moments_of_scaled_bernoulli_draws(fraction):
    n = 400_000
    with drawing_from(make_generator(0)):
        dropped = drop(torch.full((n, 1), 3.0, dtype=torch.float64), fraction)
    share = (dropped == 0).double().mean().item()
    # Six standard errors of each.
    assert abs(share - fraction) < 6 * (fraction * (1 - fraction) / n) ** 0.5
    variance = 9 * fraction / (1 - fraction)
    assert abs(dropped.mean().item() - 3) < 6 * (variance / n) ** 0.5
    assert dropped.var().item() == pytest.approx(variance, rel=0.02)
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 3 / (1 - fraction)))


def test_dropout_draws_from_the_seeded_generator_and_alike_for_copies():
    before = torch.get_rng_state()
    x = torch.ones(4, 50)
    groups = torch.tensor([0, 1, 0, 2])
    with drawing_from(make_generator(0), groups):
        one = drop(x, 0.5)
    with drawing_from(make_generator(0), groups):
        other = drop(x, 0.5)
    assert torch.equal(one, other)
    assert torch.equal(one[0], one[2])
    assert not torch.equal(one[0], one[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_is_for_training_only():
    stack = DenseNetwork(hidden_layer_sizes=(40, 40), dropout=0.5).encoder((5,), 3)
    plain = DenseNetwork(hidden_layer_sizes=(40, 40)).encoder((5,), 3)
    plain.load_state_dict(stack.state_dict())
    x = torch.randn(4, 5)
    assert not torch.allclose(stack(x), plain(x))
    with torch.no_grad():
        torch.testing.assert_close(stack.eval()(x), plain(x))
    hidden = stack.train().hidden(x, 2)
    assert 0.2 < (hidden == 0).float().mean() < 0.8


# In estimators


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_start_is_still_pca(options, X):
    network = DenseNetwork(hidden_layer_sizes=(8,), **options)
    fitted = Autoencoder(2, network=network, max_iter=1, learning_rate_init=1e-30, random_state=0)
    pca = PCA(2).fit(X)
    expected = pca.inverse_transform(pca.transform(X))
    np.testing.assert_allclose(fitted.fit(X).reconstruct(X), expected, atol=1e-9)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
@pytest.mark.parametrize(
    "estimator",
    [
        Autoencoder(2, init="random"),
        DenoisingAutoencoder(2, init="random"),
        SparseAutoencoder(8),
        VariationalAutoencoder(2, n_importance_samples=3),
    ],
    ids=str,
)
def test_every_objective_learns_with_them(estimator, precision, options, X):
    network = DenseNetwork(hidden_layer_sizes=(16,), **options)
    estimator = clone(estimator).set_params(
        network=network, max_iter=20, precision=precision, random_state=0
    )
    weight = np.where(np.arange(len(X)) % 2, 1.0, 2.0)
    estimator.fit(X, sample_weight=weight)
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]
    assert all(norm.sample_weight is None for norm in batch_norms(estimator.module_))
    again = clone(estimator).fit(X, sample_weight=weight)
    np.testing.assert_array_equal(again.transform(X), estimator.transform(X))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_weight_two_is_two_samples(options, X):
    network = DenseNetwork(hidden_layer_sizes=(8,), **options)
    estimator = Autoencoder(2, network=network, max_iter=5, random_state=0)
    weighted = clone(estimator).fit(X[:30], sample_weight=np.r_[np.full(10, 2.0), np.ones(20)])
    repeated = clone(estimator).fit(np.r_[X[:30], X[:10]])
    np.testing.assert_allclose(weighted.transform(X), repeated.transform(X), rtol=1e-7)


def test_best_epoch_has_its_own_running_statistics(X):
    network = DenseNetwork(hidden_layer_sizes=(16,), normalization="batch")
    earlier = 0
    for seed in range(5):
        fitted = Autoencoder(
            2, network=network, init="random", learning_rate="constant", learning_rate_init=0.3,
            max_iter=15, random_state=seed,
        ).fit(X[:70], X_val=X[70:])  # fmt: skip
        error = -fitted.score_samples(X[70:]).mean() / float(fitted.module_.scale) ** 2
        assert error == pytest.approx(fitted.best_loss_, rel=1e-9)
        earlier += 0 < fitted.best_epoch_ < fitted.n_iter_
    assert earlier  # with such large steps the last epoch is hardly ever the best


def test_training_goes_on_from_the_running_statistics(X):
    network = DenseNetwork(hidden_layer_sizes=(8,), normalization="batch")
    fitted = Autoencoder(2, network=network, max_iter=3, random_state=0, warm_start=True)
    fitted.set_params(early_stopping=False).fit(X)  # two batches an epoch
    (first, _) = batch_norms(fitted.module_)
    assert first.n_batches == 6
    fitted.partial_fit(X)
    assert batch_norms(fitted.module_)[0].n_batches == 8


def test_a_last_batch_of_one_sample_is_trained_on(X):
    network = DenseNetwork(hidden_layer_sizes=(8,), normalization="batch")
    estimator = Autoencoder(
        2, network=network, batch_size=33, early_stopping=False, max_iter=20, random_state=0
    )
    assert estimator.fit(X).score(X) > 0.9  # 33, 33, 33 and 1
    assert np.isfinite(estimator.fit(X[:1]).transform(X)).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_they_are_trained_by_automatic_differentiation(options, X):
    loss = get_loss("squared_error")
    for given, by_hand in ((options, False), ({}, True)):
        network = DenseNetwork(hidden_layer_sizes=(8,), **given)
        fitted = Autoencoder(2, network=network, max_iter=1, random_state=0).fit(X)
        assert PlainDenseStep.applies(fitted.module_, loss) == by_hand


def test_jacobians_need_samples_that_do_not_depend_on_each_other(X):
    network = DenseNetwork(hidden_layer_sizes=(8,), normalization="batch")
    with pytest.raises(ValueError, match="use normalization='layer'"):
        ContractiveAutoencoder(2, network=network, max_iter=1).fit(X)
    network.set_params(normalization="layer", dropout=0.1)
    fitted = ContractiveAutoencoder(2, network=network, max_iter=3, random_state=0).fit(X)
    step = 1e-5
    for row, norm in zip(X[:3], fitted.jacobian_norm(X[:3]), strict=True):
        ends = [fitted.transform(row + sign * step * np.eye(6)) for sign in (1, -1)]
        assert np.linalg.norm((ends[0] - ends[1]) / (2 * step)) == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize(
    ("network", "n_norms"),
    [
        (ConvolutionalNetwork(channels=(3, 4), normalization="batch"), 3),
        (ConvolutionalNetwork(channels=(3,), unpooling="switches", normalization="batch"), 1),
        (UNetNetwork(channels=(3, 4, 5), normalization="batch"), 6),
    ],
    ids=str,
)
def test_every_hidden_convolution_is_normalised(network, n_norms):
    images = np.random.default_rng(0).normal(size=(30, 6, 6))
    fitted = Autoencoder(2, network=network, max_iter=2, random_state=0).fit(images)
    convolutions = [each for each in fitted.module_.modules() if isinstance(each, Convolution)]
    assert len(batch_norms(fitted.module_)) == n_norms == len(convolutions) - 1
    seen = {}
    for number, each in enumerate(convolutions):
        each.register_forward_hook(lambda *given, number=number: seen.update({number: given[2]}))
    fitted.module_.train()
    fitted.module_(torch.randn(20, 36, dtype=torch.float64))
    fresh = [seen[n] for n, each in enumerate(convolutions) if each.norm is not None]
    norms = [each.norm for each in convolutions if each.norm is not None]
    for maps, norm in zip(fresh, norms, strict=True):
        torch.testing.assert_close(maps.mean((0, 2, 3)), norm.bias)
        deviation = maps.std((0, 2, 3), correction=0)
        torch.testing.assert_close(deviation, norm.weight.abs(), rtol=0.01, atol=1e-6)
