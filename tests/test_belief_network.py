"""Deep belief networks: Boltzmann machines one on another, and what becomes of them unrolled."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sklearn_ae import (
    DeepBeliefNetwork,
    RestrictedBoltzmannMachine,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
)
from sklearn_ae.losses import get_loss
from sklearn_ae.networks._stack import BoltzmannPair, LayerPair


@pytest.fixture(scope="module")
def bits():
    return (load_digits().data > 7).astype(float)


def machines(network):
    loss = get_loss(network.loss)
    n_layers = len(network.module_.encoder.layers)
    return [BoltzmannPair(LayerPair(network.module_, d, loss)).layer for d in range(n_layers)]


GREEDY = {"loss": "binary_crossentropy", "fine_tune": False, "random_state": 0}


def test_each_encoder_layer_and_its_decoder_layer_are_one_rbm(bits):
    network = DeepBeliefNetwork(
        5,
        hidden_layer_sizes=(20, 10),
        code_activation="logistic",
        pretraining_max_iter=5,
        **GREEDY,
    ).fit(bits)
    encoder, decoder = network.module_.encoder.layers, network.module_.decoder.layers
    for up, down in zip(encoder, decoder[::-1], strict=True):
        torch.testing.assert_close(up.weight.t(), down.weight)
    v = torch.from_numpy(bits[:50]).to(encoder[0].weight)
    for number, machine in enumerate(machines(network), 1):
        v = machine.hidden_mean(v)
        np.testing.assert_allclose(
            network.transform_layer(bits[:50], number), v.detach(), atol=1e-6
        )
    h = v
    for machine in machines(network)[::-1]:
        h = machine.visible_mean(h)
    np.testing.assert_allclose(network.reconstruct(bits[:50]), h.detach(), atol=1e-6)


def test_a_layer_is_as_likely_as_an_rbm_of_its_own(bits):
    settings = {"random_state": 0, "learning_rate": "one_cycle"}
    alone = RestrictedBoltzmannMachine(12, visible="bernoulli", max_iter=60, **settings).fit(bits)
    network = DeepBeliefNetwork(
        12, hidden_layer_sizes=(), code_activation="logistic", pretraining_max_iter=60, **GREEDY
    ).fit(bits)
    machine = machines(network)[0]
    with torch.no_grad():
        for mine, own in zip(machine.parameters(), alone.module_.layer.parameters(), strict=True):
            own.copy_(mine)
    mine = alone.score_samples(bits).mean()  # exact: twelve hidden units
    alone = RestrictedBoltzmannMachine(12, visible="bernoulli", max_iter=60, **settings).fit(bits)
    assert mine == pytest.approx(alone.score_samples(bits).mean(), abs=0.5)
    independent = -np.log(2) * 64
    assert mine > independent / 2


def test_samples_are_like_the_training_samples(bits):
    network = DeepBeliefNetwork(
        40,
        hidden_layer_sizes=(60,),
        code_activation="logistic",
        pretraining_max_iter=100,
        **GREEDY,
    ).fit(bits)
    dreamt = network.sample(1000, random_state=0)
    assert 0 <= dreamt.min() <= dreamt.max() <= 1
    assert np.abs(dreamt.mean(0) - bits.mean(0)).mean() < 0.06
    seen, made = (
        np.corrcoef(bits.T + 0.01 * np.random.default_rng(0).normal(size=bits.T.shape)),
        (np.corrcoef(dreamt.T + 0.01 * np.random.default_rng(0).normal(size=dreamt.T.shape))),
    )
    upper = np.triu_indices(64, 1)
    assert np.corrcoef(seen[upper], made[upper])[0, 1] > 0.8


def test_unrolled_it_is_a_better_start_than_chance():
    X = load_digits().data
    params = {"hidden_layer_sizes": (100, 100, 100), "max_iter": 10, "random_state": 0}
    network = DeepBeliefNetwork(10, pretraining_max_iter=30, **params).fit(X)
    chance = StackedAutoencoder(10, activation="logistic", pretraining=None, **params).fit(X)
    assert network.score(X) > chance.score(X) + 0.1
    assert network.n_iter_ == 10
    assert [len(history) for history in network.layer_histories_] == [30] * 4


def test_real_values_are_gaussian_units():
    X = load_digits().data
    network = DeepBeliefNetwork(8, pretraining_max_iter=5, fine_tune=False).fit(X)
    kinds = [(machine.visible, machine.hidden) for machine in machines(network)]
    assert kinds == [
        ("gaussian", "bernoulli"),
        ("bernoulli", "bernoulli"),
        ("bernoulli", "gaussian"),
    ]


def test_units_of_the_data_do_not_matter():
    X = load_digits().data[:60]  # few enough for float64
    network = DeepBeliefNetwork(4, pretraining_max_iter=5, fine_tune=False, random_state=0)
    codes = network.fit(X).transform(X)
    np.testing.assert_allclose(network.fit(4 * X - 1).transform(4 * X - 1), codes, atol=1e-6)


def test_more_steps_of_the_chain_are_another_gradient(bits):
    one, three = (
        DeepBeliefNetwork(
            4, hidden_layer_sizes=(10,), n_steps=n, pretraining_max_iter=2, **GREEDY
        ).fit(bits)
        for n in (1, 3)
    )
    assert np.abs(one.transform(bits) - three.transform(bits)).max() > 1e-4


def test_it_is_a_start_for_the_classifier(bits):
    y = load_digits().target
    few = np.where(np.arange(len(y)) % 5 == 0, y, -1)
    network = DeepBeliefNetwork(
        50,
        hidden_layer_sizes=(100,),
        code_activation="logistic",
        pretraining_max_iter=100,
        **GREEDY,
    )
    classifier = StackedAutoencoderClassifier(
        autoencoder=network, unlabeled=-1, random_state=0
    ).fit(bits, few)
    assert classifier.score(bits, y) > 0.85
    flat = StackedAutoencoderClassifier(
        hidden_layer_sizes=(100, 50),
        activation="logistic",
        pretraining="rbm",
        unlabeled=-1,
        random_state=0,
    ).fit(bits, few)
    assert flat.score(bits, y) > 0.85


def test_rbms_have_logistic_units(bits):
    with pytest.raises(ValueError, match="activation='logistic'"):
        StackedAutoencoder(pretraining="rbm").fit(bits)
    with pytest.raises(ValueError, match="code_activation"):
        DeepBeliefNetwork(code_activation="tanh").fit(bits)
    with pytest.raises(ValueError, match=r"needs data in \[0, 1\]"):
        DeepBeliefNetwork(loss="binary_crossentropy").fit(3 * bits)
