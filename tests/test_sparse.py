"""What makes a sparse autoencoder one: how many units answer, and how often."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

from sklearn_ae import SparseAutoencoder
from sklearn_ae.losses import bernoulli_divergence
from sklearn_ae.networks import ConvolutionalNetwork


@pytest.fixture(scope="module")
def digits():
    X = load_digits().data
    return X[:1400], X[1400:]


def test_divergence_equals_its_closed_form():
    rho, means = 0.05, np.array([0.01, 0.05, 0.3, 0.9])
    expected = rho * np.log(rho / means) + (1 - rho) * np.log((1 - rho) / (1 - means))
    divergence = bernoulli_divergence(rho, torch.from_numpy(means))
    np.testing.assert_allclose(divergence.numpy(), expected, rtol=1e-12, atol=1e-15)
    assert divergence[1] == 0
    assert bernoulli_divergence(rho, torch.tensor([0.0, 1.0])).isfinite().all()


@pytest.mark.parametrize("target", [0.05, pytest.param(0.15, marks=pytest.mark.slow)])
@pytest.mark.parametrize("hidden", [(), (64,)])
def test_kl_brings_mean_activations_to_the_target(digits, hidden, target):
    train, test = digits
    sparse = SparseAutoencoder(
        64, hidden_layer_sizes=hidden, sparsity_target=target, max_iter=150, random_state=0
    ).fit(train)
    codes = sparse.transform(test)
    activation, error = codes.mean(axis=0), codes.std(axis=0) / np.sqrt(len(test))
    assert activation.mean() == pytest.approx(target, rel=0.2)
    live = sparse.mean_activation_ > 1e-3
    assert live.all()
    assert sparse.dead_units_ == 0
    distance = np.abs(activation[live] - target)
    assert (distance < target + 4 * error[live]).all()
    assert np.mean(distance < 0.5 * target) > 0.9
    assert sparse.score(test) > 0.75


def test_term_in_the_history_is_the_divergence(digits):
    train, _ = digits
    sparse = SparseAutoencoder(16, max_iter=60, sparsity_weight=2.0, random_state=0)
    sparse.set_params(early_stopping=False, hidden_layer_sizes=()).fit(train)
    rho, mean = 0.05, sparse.mean_activation_
    divergence = rho * np.log(rho / mean) + (1 - rho) * np.log((1 - rho) / (1 - mean))
    recorded = sparse.history_[-1]["sparsity"]
    assert recorded == pytest.approx(2 * divergence.sum(), rel=0.2)


def test_small_batches_do_not_bias_the_divergence():
    """The mean of four rows is far from the target even where the mean of all is on it."""
    rng = np.random.default_rng(0)
    code = torch.from_numpy((rng.random((4000, 8)) < 0.05).astype(np.float32))
    module = _module(8).train()

    def divergence(mean):
        return float(bernoulli_divergence(0.05, mean).sum())

    running = [divergence(module.running_mean(batch, None)) for batch in code.split(4)]
    single = [divergence(batch.mean(0)) for batch in code.split(4)]
    exact = divergence(code.mean(0))
    assert abs(np.mean(running[500:]) - exact) < 0.1 * abs(np.mean(single) - exact)


def _module(n_components, sparsity="kl", n_active=None):
    sparse = SparseAutoencoder(n_components, sparsity=sparsity, n_active=n_active)
    sparse.input_shape_ = (5,)
    return sparse._build_module(5)


def test_running_mean_has_the_gradient_of_the_batch():
    module = _module(3).train()
    module.running_mean(torch.full((4, 3), 0.5), None)
    values = torch.rand(4, 3, requires_grad=True)
    weight = torch.tensor([1.0, 2.0, 0.5, 0.5])
    mean = module.running_mean(values, weight)
    torch.testing.assert_close(mean, torch.full((3,), 0.5))  # that of the batches before
    torch.testing.assert_close(module.usage, 0.95 * 0.5 + 0.05 * (weight @ values.detach() / 4))
    (gradient,) = torch.autograd.grad(mean.sum(), values)
    torch.testing.assert_close(gradient, (weight / 4)[:, None].expand(4, 3))


@pytest.mark.parametrize("n_active", [1, 5, pytest.param(20, marks=pytest.mark.slow)])
def test_topk_keeps_as_many_units_as_asked(digits, n_active):
    train, test = digits
    sparse = SparseAutoencoder(
        100, sparsity="topk", n_active=n_active, hidden_layer_sizes=(), max_iter=60, random_state=0
    ).fit(train)
    codes = sparse.transform(test)
    assert np.all((codes != 0).sum(axis=1) == n_active)
    # They are the largest: the encoder's other outputs are smaller.
    X = torch.from_numpy((test - sparse.module_.center.numpy()) / sparse.module_.scale.numpy())
    with torch.no_grad():
        raw = sparse.module_.double().encoder(X).numpy()
    threshold = np.sort(raw, axis=1)[:, -n_active]
    np.testing.assert_array_equal(codes != 0, raw >= threshold[:, None])
    assert sparse.dead_units_ < 0.1 or n_active == 1


def test_topk_schedule_falls_to_n_active_half_way():
    module = _module(40, "topk", 4).train()
    x, kept = torch.randn(6, 5), []
    for module.progress in (0.0, 0.25, 0.5, 0.9):
        kept.append(int((module.encode(x) != 0).sum(1).unique()))
    assert kept == [40, 22, 4, 4]


def test_encoding_factor_keeps_more_units(digits):
    train, test = digits
    sparse = SparseAutoencoder(50, sparsity="topk", n_active=4, encoding_factor=2.5, max_iter=5)
    codes = sparse.fit(train).transform(test)
    assert np.all((codes != 0).sum(axis=1) == 10)
    np.testing.assert_array_equal(sparse.reconstruct(test), sparse.inverse_transform(codes))


@pytest.mark.parametrize("n_active", [8, pytest.param(20, marks=pytest.mark.slow)])
def test_l1_finds_the_weight_that_gives_the_number_asked_for(digits, n_active):
    train, test = digits
    sparse = SparseAutoencoder(
        100,
        sparsity="l1",
        n_active=n_active,
        hidden_layer_sizes=(64,),
        max_iter=80,
        random_state=0,
    ).fit(train)
    codes = sparse.transform(test)
    assert codes.min() == 0
    assert (codes != 0).sum(axis=1).mean() == pytest.approx(n_active, rel=0.2)
    assert sparse.score(test) > 0.6


def test_more_weight_gives_fewer_units(digits):
    train, test = digits
    counts = [
        (SparseAutoencoder(
            64, sparsity="l1", sparsity_weight=weight, max_iter=40, random_state=0
        ).fit(train).transform(test) != 0).sum(axis=1).mean()
        for weight in (0.003, 0.03, 0.1)
    ]  # fmt: skip
    assert counts[0] > 1.3 * counts[1] > 1.3**2 * counts[2]


def test_dead_units_are_pulled_up_until_they_count():
    module = _module(6, "topk", 2).train()
    module.usage.copy_(torch.tensor([0.9, 0.9, 0.1, 0.1, 0.0, 0.0]))
    raw = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0, -4.0]], requires_grad=True)
    module.progress = 1.0
    pull = module.revival(raw, module.sparsify(raw, 2), module.usage)
    torch.testing.assert_close(pull, torch.tensor([(3.0 + 6.0) / 6]))
    (gradient,) = torch.autograd.grad(pull.sum(), raw)
    torch.testing.assert_close(gradient, torch.tensor([[0, 0, 0, 0, -1 / 6, -1 / 6]]))


def test_over_complete_codes_and_impossible_numbers(digits):
    train, _ = digits
    assert SparseAutoencoder(300, max_iter=2).fit(train).transform(train[:3]).shape == (3, 300)
    with pytest.raises(ValueError, match="n_active=9 exceeds n_components=4"):
        SparseAutoencoder(4, sparsity="topk", n_active=9).fit(train)


@pytest.mark.parametrize("sparsity", ["kl", "l1", "topk"])
def test_hidden_layers_are_penalised_by_the_sum_of_their_activations(digits, sparsity):
    X = digits[0][:50]
    sparse = SparseAutoencoder(
        20, sparsity=sparsity, hidden_layer_sizes=(12, 9), hidden_sparsity_weight=0.25,
        max_iter=1, learning_rate_init=1e-30, early_stopping=False, random_state=0,
    ).fit(X)  # fmt: skip
    module = sparse.module_
    x = (X - module.center.numpy()) / module.scale.numpy()
    total = np.zeros(len(X))
    for layer in module.encoder.layers[:2]:
        x = np.tanh(x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy())
        total += np.abs(x).sum(axis=1)
    assert sparse.history_[0]["hidden_sparsity"] == pytest.approx(0.25 * total.mean(), rel=1e-5)
    free = clone(sparse).set_params(hidden_sparsity_weight=0.0).fit(X)
    assert "hidden_sparsity" not in free.history_[0]
    for name, value in free.history_[0].items():
        if name != "train_loss":
            assert sparse.history_[0][name] == pytest.approx(value, rel=1e-6), name


def test_a_penalty_on_hidden_layers_makes_all_of_them_sparse(digits):
    train, test = digits
    active = []
    for weight in (0.0, 0.003):
        sparse = SparseAutoencoder(
            32, sparsity="l1", sparsity_weight=0.003, activation="relu",
            hidden_layer_sizes=(64, 48), hidden_sparsity_weight=weight,
            max_iter=30, random_state=0,
        ).fit(train)  # fmt: skip
        module = sparse.module_
        x = (torch.from_numpy(test).to(module.center) - module.center) / module.scale
        with torch.no_grad():
            hidden = [module.encoder.hidden(x, depth) for depth in (1, 2)]
        active.append([(layer > 0).double().mean().item() for layer in hidden])
        assert min(active[-1]) > 0.01
    for free, penalised in zip(*active, strict=True):
        assert penalised < 0.85 * free


def test_hidden_layers_of_other_networks_are_not_penalised(digits):
    network = ConvolutionalNetwork(channels=(2,))
    sparse = SparseAutoencoder(8, network=network, hidden_sparsity_weight=0.1, max_iter=1)
    with pytest.raises(ValueError, match="needs a dense network, not ConvolutionalNetwork"):
        sparse.fit(digits[0])
