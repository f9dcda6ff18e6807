"""What defines the recursive autoencoder: trees, folded and unfolded."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from sklearn_ae import Autoencoder
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks.recursive import (
    RecursiveNetwork,
    fold_along,
    fold_balanced,
    fold_left,
    unfold_along,
    unfold_balanced,
    unfold_left,
    waves_of,
)
from sklearn_ae.recursive import RecursiveAutoencoder


class Names:
    """Joins nodes, which are numbers here, to a new one and remembers its children."""

    def __init__(self):
        self.children = {}

    def join(self, left, right):
        pairs = zip(left.flatten().tolist(), right.flatten().tolist(), strict=True)
        parents = [self._name(pair) for pair in pairs]
        return torch.tensor(parents).reshape(left.shape)

    def _name(self, pair):
        parent = 1000.0 + len(self.children)
        self.children[parent] = pair
        return parent

    def split(self, parents):
        pairs = torch.tensor([self.children[parent] for parent in parents.flatten().tolist()])
        left, right = pairs.reshape(-1, 2).unbind(1)
        return left.reshape(parents.shape), right.reshape(parents.shape)

    def tree(self, node):
        if node not in self.children:
            return int(node)
        return tuple(self.tree(child) for child in self.children[node])


def _leaves(n_rows, n_steps):
    return torch.arange(float(n_steps)).expand(n_rows, -1)[..., None]


@pytest.mark.parametrize("n_steps", range(1, 10))
def test_unfolding_undoes_folding(n_steps):
    leaves = _leaves(2, n_steps)
    names = Names()
    root = fold_balanced(leaves, names.join)
    assert torch.equal(unfold_balanced(root, n_steps, names.split), leaves)
    root = fold_left(leaves, names.join)
    assert torch.equal(unfold_left(root, n_steps, names.split), leaves)


@pytest.mark.parametrize("n_steps", range(1, 10))
def test_unfolding_undoes_folding_along_any_trees(n_steps):
    rng, names = np.random.default_rng(n_steps), Names()
    lengths = [n_steps, *rng.integers(1, n_steps + 1, size=20)]
    merges = np.full((len(lengths), n_steps - 1), -1)
    for merge, length in zip(merges, lengths, strict=True):
        merge[: length - 1] = rng.integers(0, np.arange(length - 1, 0, -1))
    waves = waves_of(torch.from_numpy(merges))
    root = fold_along(_leaves(len(lengths), n_steps), waves, names.join)
    leaves = unfold_along(root, waves, n_steps, names.split)
    for node, merge, length, unfolded in zip(root, merges, lengths, leaves, strict=True):
        trees = list(range(length))
        for place in merge[: length - 1]:
            trees[place : place + 2] = [(trees[place], trees[place + 1])]
        assert [names.tree(node.item())] == trees
        assert unfolded[:length, 0].tolist() == list(range(length))


def test_trees_are_what_their_names_say():
    names = Names()
    (balanced,) = fold_balanced(_leaves(1, 5), names.join).flatten().tolist()
    assert names.tree(balanced) == (((0, 1), (2, 3)), 4)
    (left,) = fold_left(_leaves(1, 4), names.join).flatten().tolist()
    assert names.tree(left) == (((0, 1), 2), 3)


def test_merges_without_a_meaning_are_taken_for_the_nearest():
    names = Names()
    waves = waves_of(torch.tensor([[9, -1, 0, 5]]))
    root = fold_along(_leaves(1, 5), waves, names.join)
    assert names.tree(root.item()) == ((0, 1), (2, 3))  # three merges: of four steps


def _greedy(sequence, encoder):
    """Merges and root of one sequence: all pairs are tried at every merge."""
    weights = {
        name: value.detach().double().numpy() for name, value in encoder.state_dict().items()
    }

    def layer(name, x):
        return np.tanh(weights[f"{name}.weight"] @ x + weights[f"{name}.bias"])

    nodes, merges = [layer("embed", step) for step in sequence], []
    while len(nodes) > 1:
        pairs = [np.concatenate(nodes[place : place + 2]) for place in range(len(nodes) - 1)]
        parents = [layer("join.layer", pair) for pair in pairs]
        errors = [
            np.square(pair - layer("split.layer", parent)).sum()
            for pair, parent in zip(pairs, parents, strict=True)
        ]
        merges.append(int(np.argmin(errors)))
        nodes[merges[-1] : merges[-1] + 2] = [parents[merges[-1]]]
    return merges, weights["code.weight"] @ nodes[0] + weights["code.bias"]


def test_greedy_merges_are_those_of_trying_all_pairs():
    rng = np.random.default_rng(0)
    lengths = [9, *rng.integers(1, 10, size=30)]
    sequences = [rng.normal(size=(length, 2)) for length in lengths]
    greedy = RecursiveAutoencoder(3, hidden_size=6, tree="greedy", max_iter=5, random_state=0)
    codes = greedy.fit(sequences).transform(sequences)
    assert codes.shape == (31, 3 + 8)
    module = greedy.module_
    center = module.center.double().numpy().reshape(9, 2)
    trees = set()
    for sequence, code in zip(sequences, codes, strict=True):
        scaled = (sequence - center[: len(sequence)]) / module.scale.item()
        merges, expected = _greedy(scaled, module.encoder)
        unused = [-1] * (9 - len(sequence))
        assert code[3:].tolist() == merges + unused
        np.testing.assert_allclose(code[:3], expected, atol=1e-9)
        trees.add(tuple(merges))
    assert len(trees) > 15  # they differ between sequences


def test_greedy_merges_are_scored_by_the_weights_that_unfold():
    X = np.random.default_rng(0).normal(size=(30, 6))
    greedy = RecursiveAutoencoder(tree="greedy", hidden_size=4, max_iter=3, random_state=0)
    module = greedy.fit(X).module_
    assert module.encoder.split is module.decoder.split


@pytest.mark.parametrize("tree", ["balanced", "left", "greedy"])
def test_names_of_what_the_decoder_needs(tree):
    network = RecursiveNetwork(tree=tree)
    names = network.extra_names((4, 2))
    assert names == (["merge0", "merge1", "merge2"] if tree == "greedy" else [])
    assert AutoencoderModule(network, (4, 2), 5).encode(torch.zeros(3, 8)).shape == (
        3,
        5 + len(names),
    )


def test_any_codes_can_be_decoded():
    X = np.random.default_rng(0).normal(size=(40, 7))
    greedy = RecursiveAutoencoder(tree="greedy", hidden_size=4, max_iter=3).fit(X)
    codes = 10 * np.random.default_rng(0).normal(size=(50, greedy.n_components_))
    assert np.isfinite(greedy.inverse_transform(codes)).all()
    np.testing.assert_allclose(
        greedy.inverse_transform(greedy.transform(X) + 0.4 * (np.arange(8) > 1)),
        greedy.reconstruct(X),
    )


def _of_trees(n_samples, seed, depth=4, n_latent=3):
    """Leaves of balanced trees: a few numbers at the root, one rule at every node."""
    # The rule is what the test is about, not a draw: under some rules the sequences are nearly
    # linear in their roots, so that PCA reconstructs them as well. A shift of seeds leaves it.
    fixed, rng = np.random.Generator(np.random.PCG64(42)), np.random.default_rng(seed)
    rule, leaf = 1.5 * fixed.normal(size=(2, n_latent, n_latent)), fixed.normal(size=n_latent)
    nodes = rng.normal(size=(n_samples, 1, n_latent))
    for _ in range(depth):
        children = np.tanh(np.stack([nodes @ rule[0], nodes @ rule[1]], 2))
        nodes = children.reshape(n_samples, -1, n_latent)
    return nodes @ leaf + 0.02 * rng.normal(size=nodes.shape[:2])


# The sequences are made by balanced trees; sixteen levels of another tree take longer to learn.
@pytest.mark.parametrize(
    ("tree", "max_iter"), [("balanced", 100), pytest.param("left", 300, marks=pytest.mark.slow)]
)
def test_sequences_made_by_trees_are_reconstructed_better_than_by_pca(tree, max_iter):
    train, test = _of_trees(500, seed=0), _of_trees(300, seed=1)
    autoencoder = RecursiveAutoencoder(
        3, tree=tree, hidden_size=32, max_iter=max_iter, random_state=0
    ).fit(train)
    pca = PCA(3).fit(train)
    error = np.square(test - pca.inverse_transform(pca.transform(test))).sum()
    assert np.square(test - autoencoder.reconstruct(test)).sum() < 0.5 * error


@pytest.mark.parametrize("tree", ["balanced", pytest.param("left", marks=pytest.mark.slow)])
def test_as_the_network_of_another_estimator(tree):
    X = _of_trees(500, seed=0)
    network = RecursiveNetwork(hidden_size=16, tree=tree)
    autoencoder = Autoencoder(3, network=network, max_iter=60, random_state=0).fit(X)
    assert autoencoder.score(X) > 0.8
