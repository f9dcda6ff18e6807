"""Pseudo-labels: label propagation over the neighbours of codes."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits, make_moons
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from sklearn_ae import Autoencoder, StackedAutoencoderClassifier
from sklearn_ae._stacks import head_training
from sklearn_ae._stacks.propagation import (
    DIFFUSION,
    N_NEIGHBORS,
    _normalized_graph,
    _probabilities,
    _scores,
    propagate,
)

MOONS, CRESCENT = make_moons(120, noise=0.08, random_state=0)
"""Two classes that no linear map separates, in two dimensions."""


def labelled(y, every, start=0):
    return np.where(np.arange(len(y)) % every == start, y, -1)


def inverse(graph):
    """The matrix that maps labels to scores."""
    return np.linalg.inv(np.eye(graph.shape[0]) - DIFFUSION * graph.toarray())


def test_the_graph_has_the_defined_weights():
    X = np.random.default_rng(0).normal(size=(40, 3))
    distances = cdist(X, X)
    nearest = np.argsort(distances, axis=1)[:, 1 : N_NEIGHBORS + 1]
    unit = distances[np.arange(40), nearest[:, -1]]
    affinity = np.zeros((40, 40))
    for i, row in enumerate(nearest):
        for j in row:
            weight = np.exp(-(distances[i, j] ** 2) / (unit[i] * unit[j]))
            affinity[i, j] = affinity[j, i] = weight
    root = np.sqrt(affinity.sum(axis=1))
    expected = affinity / root[:, None] / root
    np.testing.assert_allclose(_normalized_graph(X).toarray(), expected, atol=1e-12)


def test_scores_are_those_of_the_inverse():
    graph = _normalized_graph(MOONS)
    labels = np.eye(2)[CRESCENT] * (labelled(CRESCENT, 10) >= 0)[:, None]
    scores, _ = _scores(graph, labels, np.arange(3))
    np.testing.assert_allclose(scores, inverse(graph) @ labels, rtol=1e-6, atol=1e-8)


def test_a_label_is_left_out_as_if_it_were_unknown():
    graph = _normalized_graph(MOONS)
    labels = np.eye(2)[CRESCENT] * (labelled(CRESCENT, 10) >= 0)[:, None]
    tested = np.flatnonzero(labels.any(axis=1))
    _, without_own = _scores(graph, labels, tested)
    for place, node in enumerate(tested):
        others = labels.copy()
        others[node] = 0
        expected = (inverse(graph) @ others)[node]
        np.testing.assert_allclose(without_own[place], expected, rtol=1e-5, atol=1e-8)


def test_probabilities_are_a_mixture_with_the_class_frequencies():
    found = _probabilities(np.array([[0.2, 0.8]]), 2.0, 0.1, np.array([0.5, 0.5]))
    np.testing.assert_allclose(found, [[0.9 * 0.04 / 0.68 + 0.05, 0.9 * 0.64 / 0.68 + 0.05]])


def test_labels_follow_the_clusters():
    few = labelled(CRESCENT, 12)
    found = propagate(MOONS, few, np.ones(120), 2, 0)
    assert np.mean(found.classes == CRESCENT) > 0.97
    assert found.certainty.mean() > 0.4
    linear = LogisticRegression().fit(MOONS[few >= 0], few[few >= 0])
    assert linear.score(MOONS, CRESCENT) < 0.92


def test_labels_that_neighbours_do_not_predict_are_not_propagated():
    random = np.random.default_rng(0)
    X, y = random.normal(size=(200, 5)), random.integers(2, size=200)
    found = propagate(X, labelled(y, 2), np.ones(200), 2, 0)
    assert found.certainty.max() < 0.1


def test_samples_without_a_path_to_a_label_are_uncertain():
    X = np.concatenate([MOONS, MOONS + 100])
    y = np.concatenate([labelled(CRESCENT, 6), np.full(120, -1)])
    found = propagate(X, y, np.ones(240), 2, 0)
    assert found.certainty[:120].mean() > 0.4
    np.testing.assert_allclose(found.certainty[120:], 0, atol=1e-6)


def test_order_and_copies_do_not_matter():
    few = labelled(CRESCENT, 12)
    weight = 1.0 + np.arange(120) % 2
    expected = propagate(MOONS, few, weight, 2, 0)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(120), 1 + np.arange(120) % 2))
    copies = propagate(MOONS[order], few[order], np.ones(len(order)), 2, 0)
    np.testing.assert_array_equal(copies.classes, expected.classes[order])
    np.testing.assert_allclose(copies.certainty, expected.certainty[order], atol=1e-9)


@pytest.mark.parametrize("n_nodes", [1, 2, 3, 5])
def test_few_distinct_codes(n_nodes):
    codes = np.repeat(np.arange(n_nodes, dtype=float), 4)[:, None]
    classes = np.tile([0, 1, -1, -1], n_nodes)
    found = propagate(codes, classes, np.ones(len(codes)), 2, 0)
    assert np.isfinite(found.certainty).all()
    assert found.certainty.max() < 0.1  # each code has both labels


def test_nearly_equal_codes_and_outliers():
    random = np.random.default_rng(0)
    near = 1 + 1e-9 * random.normal(size=(30, 4))
    codes = np.concatenate([near, random.normal(size=(30, 4)), 1e6 * np.eye(4)])
    classes = labelled(np.arange(64) % 3, 2)
    found = propagate(codes, classes, np.ones(64), 3, 0)
    assert np.isfinite(found.certainty).all()


# In the classifier


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:240] / 16, y[:240]


@pytest.fixture(scope="module")
def frozen(digits):
    return FrozenEstimator(Autoencoder(12, max_iter=2, random_state=0).fit(digits[0]))


def on(frozen, **params):
    return StackedAutoencoderClassifier(
        autoencoder=frozen, **{"unlabeled": -1, "max_iter": 10, "random_state": 0} | params
    )


def test_pseudo_labels_raise_the_accuracy(digits, frozen):
    X, y = digits
    few = labelled(y, 8)
    scores = [on(frozen, pseudo_labels=pseudo).fit(X, few).score(X, y) for pseudo in (False, True)]
    assert scores[1] > scores[0] + 0.02


def test_without_unlabelled_samples_nothing_changes(digits, frozen):
    found = [
        on(frozen, pseudo_labels=pseudo, unlabeled=None, max_iter=2).fit(*digits)
        for pseudo in (False, True)
    ]
    np.testing.assert_array_equal(found[0].head_coef_, found[1].head_coef_)


def test_without_pseudo_labels_only_labelled_samples_train(digits, frozen):
    X, y = digits
    few, params = labelled(y, 5), {"pseudo_labels": False, "adversarial_weight": 0.0}
    alone = on(frozen, max_iter=3, **params).fit(X[few >= 0], few[few >= 0])
    found = on(frozen, max_iter=3, **params).fit(X, few)
    np.testing.assert_array_equal(found.head_coef_, alone.head_coef_)


def calls(monkeypatch):
    """Record the classes and the weights that are propagated."""
    recorded = []

    def record(codes, classes, weight, n_classes, seed):
        recorded.append((classes, weight))
        return propagate(codes, classes, weight, n_classes, seed)

    monkeypatch.setattr(head_training, "propagate", record)
    return recorded


def test_labels_that_are_held_out_are_not_propagated(monkeypatch, digits, frozen):
    X, y = digits
    few = labelled(y, 4)
    recorded = calls(monkeypatch)
    model = on(frozen, early_stopping=True, validation_fraction=0.3, max_iter=2).fit(X, few)
    classes, _ = recorded[0]
    assert len(model.validation_scores_) == 2
    assert (classes < 0).sum() == (few < 0).sum()  # nor do held-out samples receive a label
    assert 0.6 < (classes >= 0).sum() / (few >= 0).sum() < 0.8


def test_samples_of_weight_zero_take_no_part(monkeypatch, digits, frozen):
    X, y = digits
    few, weight = labelled(y, 5), (np.arange(len(y)) % 3).astype(float)
    recorded = calls(monkeypatch)
    model = on(frozen, max_iter=2).fit(X, few, sample_weight=weight)
    kept = weight > 0
    alone = on(frozen, max_iter=2).fit(X[kept], few[kept], sample_weight=weight[kept])
    for ours, others in zip(recorded[0], recorded[2], strict=True):  # two spaces for each fit
        np.testing.assert_array_equal(ours, others)
    np.testing.assert_allclose(model.head_coef_, alone.head_coef_, atol=1e-5)


def test_weights_of_pseudo_labels(monkeypatch, digits, frozen):
    """They are products of sample weight, certainty and the weight of the class."""
    X, y = digits
    few, weight = labelled(y, 5), 1.0 + np.arange(len(y)) % 3
    class_weight = 0.5 + np.arange(10)
    used, found = [], []

    def trained(samples, labels):
        used.append(labels)
        return with_labels(samples, labels)

    def record(*arguments):
        found.append(propagate(*arguments))
        return found[-1]

    with_labels = head_training._with_labels
    monkeypatch.setattr(head_training, "_with_labels", trained)
    monkeypatch.setattr(head_training, "propagate", record)
    model = on(frozen, class_weight={c: class_weight[c] for c in np.unique(y)}, max_iter=1)
    model.fit(X, few, sample_weight=weight)
    best = max(found, key=lambda labels: labels.likelihood)  # of codes and of features
    assert len(found) == 2
    assert best.certainty.min() > head_training.MIN_CERTAINTY
    names, indices = np.unique(few[few >= 0], return_inverse=True)
    classes, certainty = best.classes.copy(), np.where(few < 0, best.certainty, 1)
    classes[few >= 0] = indices
    expected = weight * certainty * class_weight[names[classes]]
    np.testing.assert_allclose(used[-1].weight.numpy(), expected)
    np.testing.assert_array_equal(used[-1].targets[:, 0], classes)
    assert used[-1].labelled.all()


def test_large_data_are_sampled(monkeypatch, digits, frozen):
    X, y = digits
    recorded = calls(monkeypatch)
    monkeypatch.setattr(head_training, "MAX_PSEUDO_LABELLED", 100)
    on(frozen, max_iter=1).fit(X, labelled(y, 5))
    on(frozen, max_iter=1).fit(X, labelled(y, 2))  # 120 labels, of which there are enough
    assert len(recorded) == 2  # for codes and features of the first fit
    classes, _ = recorded[0]
    assert (classes >= 0).sum() == 48
    assert (classes < 0).sum() == 100


def test_labels_of_noise_train_as_if_they_were_alone(frozen):
    random = np.random.default_rng(0)
    X, y = random.normal(size=(120, 64)), random.integers(2, size=120)
    few = labelled(y, 2)
    found = [on(frozen, pseudo_labels=pseudo, max_iter=1).fit(X, few) for pseudo in (False, True)]
    np.testing.assert_array_equal(found[0].head_coef_, found[1].head_coef_)


def test_passes_over_chunks_use_given_labels_only(monkeypatch, digits, frozen):
    recorded = calls(monkeypatch)
    on(frozen).partial_fit(digits[0], labelled(digits[1], 5), classes=np.arange(10))
    assert recorded == []
