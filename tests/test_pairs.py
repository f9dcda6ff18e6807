"""Every objective with every network: what works together does, and what cannot says why."""

import pickle
from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_ae import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
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


@pytest.mark.parametrize(("objective", "network"), SENSIBLE)
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
