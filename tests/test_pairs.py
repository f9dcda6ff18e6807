"""Every objective with every network: what works together does, and what cannot says why."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sklearn_ae import (
    Autoencoder,
    ContractiveAutoencoder,
    ConvolutionalAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae.losses import get_loss
from sklearn_ae.networks import (
    ConvolutionalNetwork,
    DenseNetwork,
    LSTMNetwork,
    RecursiveNetwork,
    UNetNetwork,
)

OBJECTIVES = {
    "plain": Autoencoder,
    "sparse kl": SparseAutoencoder,
    "sparse topk": partial(SparseAutoencoder, sparsity="topk", n_active=1),
    "denoising": DenoisingAutoencoder,
    "contractive": ContractiveAutoencoder,
    "variational": VariationalAutoencoder,
}

# Beside each network a parameter to search over.
NETWORKS = {
    "dense": (DenseNetwork(hidden_layer_sizes=(6,)), {"hidden_layer_sizes": [(4,), (6,)]}),
    "convolutional": (ConvolutionalNetwork(channels=(3,)), {"channels": [(2,), (3, 4)]}),
    "image": (
        ConvolutionalNetwork(image_shape=(3, 4), channels=(3,)),
        {"unpooling": ["nearest", "transposed"]},
    ),
    "switches": (
        ConvolutionalNetwork(channels=(3,), unpooling="switches"),
        {"kernel_size": [1, 3]},
    ),
    "unet": (UNetNetwork(channels=(2, 3)), {"channels": [(2,), (2, 3)]}),
    "lstm": (LSTMNetwork(hidden_size=4), {"cell": ["lstm", "gru"]}),
    "recursive": (RecursiveNetwork(hidden_size=4), {"hidden_size": [3, 4]}),
    "greedy": (RecursiveNetwork(hidden_size=4, tree="greedy"), {"hidden_size": [3, 4]}),
}

# Codes that are constrained must be all that the decoder sees.
PAST_THE_CODE = {"switches", "unet", "greedy"}
CONSTRAINED = {"sparse kl", "sparse topk", "contractive", "variational"}

X = np.random.default_rng(0).normal(size=(40, 3)) @ np.random.default_rng(1).normal(size=(3, 12))


def _make(objective, network):
    return OBJECTIVES[objective](
        n_components=2, network=clone(NETWORKS[network][0]), max_iter=2, random_state=0
    )


SENSIBLE = [
    (objective, network)
    for objective in OBJECTIVES
    for network in NETWORKS
    if not (objective in CONSTRAINED and network in PAST_THE_CODE)
]


@pytest.mark.parametrize(
    ("objective", "network"),
    [
        # Chains of greedy trees merge anew in every step.
        pytest.param(*pair, marks=pytest.mark.slow) if pair == ("denoising", "greedy") else pair
        for pair in SENSIBLE
    ],
)
def test_pair_fits_and_round_trips(objective, network):
    pair = _make(objective, network).fit(X)
    codes = pair.transform(X)
    assert codes.shape == (40, pair.n_components_)
    assert pair.n_components_ == len(pair.get_feature_names_out())
    assert (pair.n_components_ > 2) == (network in PAST_THE_CODE)
    np.testing.assert_allclose(
        pair.reconstruct(X), pair.inverse_transform(codes), rtol=1e-6, atol=1e-9
    )
    assert np.isfinite(pair.score(X))
    assert pair.score_samples(X).shape == (40,)
    assert pair.sample(3, random_state=0).shape == (3, 12)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pair)).transform(X), codes)
    np.testing.assert_array_equal(clone(pair).fit(X).transform(X), codes)


@pytest.mark.parametrize(("objective", "network"), SENSIBLE)
def test_grid_search_reaches_into_the_network(objective, network):
    pair = _make(objective, network)
    (name, values), = NETWORKS[network][1].items()  # fmt: skip
    search = GridSearchCV(pair, {f"network__{name}": values}, cv=2, error_score="raise").fit(X)
    assert search.best_params_[f"network__{name}"] in values
    assert pair.network.get_params() == NETWORKS[network][0].get_params()


@pytest.mark.parametrize("network", sorted(PAST_THE_CODE))
@pytest.mark.parametrize("objective", sorted(CONSTRAINED))
def test_pair_that_makes_no_sense_says_why(objective, network):
    with pytest.raises(ValueError, match="constrains the code, but .* past it"):
        _make(objective, network).fit(X)


@pytest.mark.parametrize("network", ["convolutional", "lstm", "recursive"])
@pytest.mark.parametrize("objective", ["contractive"])
def test_jacobian_of_any_network_is_exact(objective, network):
    pair = _make(objective, network).fit(X)
    step = 1e-5
    for row, norm in zip(X[:2], pair.jacobian_norm(X[:2]), strict=True):
        ends = [pair.transform(row + sign * step * np.eye(12)) for sign in (1, -1)]
        assert np.linalg.norm((ends[0] - ends[1]) / (2 * step)) == pytest.approx(norm, rel=1e-3)


def test_a_network_is_not_shared_with_the_estimator():
    network = DenseNetwork(hidden_layer_sizes=(6,))
    pair = Autoencoder(2, network=network, max_iter=2, random_state=0).fit(X)
    codes = pair.transform(X)
    network.set_params(hidden_layer_sizes=(3,))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pair)).transform(X), codes)
    with pytest.raises(ValueError, match="hidden_layer_sizes was changed from"):
        pair.set_params(warm_start=True).fit(X)


def test_parameters_of_a_network_are_validated():
    with pytest.raises(ValueError, match="'network' parameter of Autoencoder"):
        Autoencoder(2, network="dense").fit(X)
    with pytest.raises(ValueError, match="'cell' parameter of LSTMNetwork"):
        Autoencoder(2, network=LSTMNetwork(cell="rnn")).fit(X)


def _ragged(n_rows=60, n_steps=9):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n_rows, 1)) * np.sin(np.arange(n_steps) + rng.normal(size=(n_rows, 1)))
    rows[np.arange(n_steps) >= rng.integers(4, n_steps + 1, size=(n_rows, 1))] = np.nan
    return rows


@pytest.mark.parametrize("network", ["lstm", "recursive"])
@pytest.mark.parametrize("objective", [*OBJECTIVES, "masking", "salt_and_pepper", "swap", "bits"])
def test_ragged_samples_under_every_objective(objective, network):
    rows = _ragged()
    params = {}
    if objective in ("masking", "salt_and_pepper", "swap"):
        objective, params = "denoising", {"noise": objective, "noise_level": 0.3}
    if objective == "bits":
        rows = 1 / (1 + np.exp(-rows))
        objective, params = "variational", {"likelihood": "bernoulli", "binarize": True}
    pair = _make(objective, network).set_params(**params).fit(rows)
    codes = pair.transform(rows)
    assert np.isfinite(codes).all()
    assert np.isfinite(pair.reconstruct(rows)).all()
    assert np.isfinite(pair.score_samples(rows)).all()
    assert np.isfinite(pair.loss_)
    np.testing.assert_allclose(pair.transform(rows[:1, :]), codes[:1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("noise", ["gaussian", "masking", "salt_and_pepper", "swap"])
def test_noise_does_not_change_the_length_of_a_sequence(noise):
    rows = _ragged()
    pair = _make("denoising", "lstm").set_params(noise=noise, noise_level=0.3).fit(rows)
    x = torch.from_numpy(rows).to(pair.module_.center)
    spoilt = pair.module_.corrupt(x)
    assert torch.equal(spoilt.isnan(), x.isnan())
    assert not torch.equal(spoilt.nan_to_num(), x.nan_to_num())


def test_density_of_ragged_samples_counts_what_is_there():
    rows = _ragged()
    one, thousand = (
        _make("variational", "lstm").fit(a * rows).score_samples(a * rows) for a in (1, 1000)
    )
    counts = (~np.isnan(rows)).sum(axis=1)
    np.testing.assert_allclose((one - thousand) / np.log(1000), counts, atol=0.05)


@pytest.mark.parametrize("loss", ["squared_error", "binary_crossentropy", "poisson"])
def test_what_is_not_there_costs_nothing(loss):
    rows = np.abs(_ragged()) / 5
    pair = _make("plain", "lstm").set_params(loss=loss).fit(rows)
    module = pair.module_
    x = (torch.from_numpy(rows).to(module.center) - module.center) / module.scale
    with torch.no_grad():
        values = pair._compare(module, module(x), x)
        entries = get_loss(loss).value(module(x).reshape(-1, 1), x.reshape(-1, 1)).view(x.shape)
    torch.testing.assert_close(values, entries.nansum(1) / x.shape[1])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_weights_are_copies_also_in_validation(objective):
    rng = np.random.default_rng(3)
    weight = rng.integers(1, 4, size=40)
    pair = _make(objective, "dense").set_params(max_iter=3, batch_size=1000)
    weighted = clone(pair).fit(X, sample_weight=weight)
    copied = clone(pair).fit(np.repeat(X, weight, axis=0))
    for one, other in zip(weighted.history_, copied.history_, strict=True):
        assert one["valid_loss"] == pytest.approx(other["valid_loss"], rel=1e-8)
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-8)


@pytest.mark.parametrize(
    "network",
    [
        "dense",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("convolutional", "lstm", "recursive")
        ),
    ],
)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_products_in_low_precision_train_as_well(objective, network):
    pair = _make(objective, network).set_params(max_iter=20)
    low = clone(pair).set_params(precision="bfloat16").fit(X)
    assert low.transform(X).dtype == np.float64
    assert low.loss_ == pytest.approx(pair.fit(X).loss_, rel=0.2)


@pytest.mark.parametrize(
    ("network", "most"),
    [
        (DenseNetwork(hidden_layer_sizes=(33,)), 512),
        (DenseNetwork(hidden_layer_sizes=(32,)), None),
        (ConvolutionalNetwork(channels=(3,)), 64),
        (UNetNetwork(channels=(2, 3)), 64),
        (LSTMNetwork(hidden_size=4), 64),
        (RecursiveNetwork(hidden_size=4), 64),
    ],
    ids=str,
)
def test_few_samples_are_trained_on_in_their_own_precision(network, most):
    rows = np.random.default_rng(0).normal(size=(513, 40))
    pair = Autoencoder(33 if most == 512 else 2, network=network, init="random", max_iter=1)
    for n_samples in (64, 65, 512, 513):
        expected = torch.float64 if most is None or n_samples <= most else torch.float32
        assert pair.fit(rows[:n_samples]).module_.center.dtype == expected
        assert pair.fit(rows[:n_samples].astype("f4")).module_.center.dtype == torch.float32


def test_patience_waits_until_the_objective_has_settled():
    params = {"max_iter": 60, "n_iter_no_change": 3, "early_stopping": False, "random_state": 0}
    sparse = SparseAutoencoder(20, sparsity="topk", n_active=2, **params).fit(X)
    assert sparse.n_iter_ > 30
    vae = VariationalAutoencoder(2, kl_warm_up=0.9, **params).fit(X)
    assert vae.n_iter_ > 54
    assert vae.best_loss_ == min(vae.loss_curve_[54:])


def test_going_on_does_not_run_the_schedule_again():
    sparse = SparseAutoencoder(
        20, sparsity="topk", n_active=2, max_iter=30, warm_start=True, random_state=0
    ).fit(X)
    module = sparse.module_
    kept = []
    module.train()
    sparse.callbacks = [_Record(kept)]
    sparse.set_params(max_iter=3).fit(X)
    assert kept == [2, 2, 2]
    assert sparse.history_[30]["reconstruction"] < 1.5 * sparse.history_[29]["reconstruction"]


class _Record(Callback):
    def __init__(self, kept):
        self.kept = kept

    def on_epoch_end(self, net, **kwargs):
        net.module_.train()
        self.kept.append(net.module_.n_scheduled())


def test_encoding_factor_does_not_reach_training():
    fits = [
        SparseAutoencoder(
            20, sparsity="topk", n_active=2, encoding_factor=factor, max_iter=10, random_state=0
        ).fit(X)
        for factor in (1.0, 5.0)
    ]
    weights = [list(fit.module_.parameters()) for fit in fits]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_estimators_are_no_networks():
    with pytest.raises(ValueError, match="is the estimator ConvolutionalAutoencoder"):
        SparseAutoencoder(network=ConvolutionalAutoencoder()).fit(X)
    assert not hasattr(Autoencoder, "encoder")
