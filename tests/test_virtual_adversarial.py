"""The virtual adversarial loss of the semi-supervised classifier."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from torch import nn

from sklearn_ae import Autoencoder, SemanticHashing, StackedAutoencoderClassifier
from sklearn_ae._stacks import head_training
from sklearn_ae._stacks.virtual_adversarial import neighborhood_radius, virtual_adversarial_loss


def linear(weight, bias):
    layer = nn.Linear(len(weight[0]), len(weight)).double()
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(np.array(weight)))
        layer.bias.copy_(torch.as_tensor(np.array(bias)))
    return layer


def divergence(p, q):
    return (p * (np.log(p) - np.log(q))).sum(-1)


def loss_of(classifier, X, radius):
    X = torch.as_tensor(X)
    return (
        virtual_adversarial_loss(classifier, X, classifier(X), radius, X.shape[1]).detach().numpy()
    )


def test_the_radius_is_half_the_distance_to_the_nearest_sample():
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), -1).reshape(-1, 2)
    assert neighborhood_radius(3 * grid) == pytest.approx(1.5)
    assert neighborhood_radius(np.concatenate([grid, grid, grid])) == pytest.approx(0.5)


def test_equal_samples_have_no_neighbourhood():
    assert neighborhood_radius(np.ones((7, 3))) == 0


def test_the_end_of_a_ragged_sample_counts_as_zero():
    ragged = np.array([[1, 2, np.nan], [1, 2, 3], [5, 6, 7]])
    assert neighborhood_radius(ragged) == neighborhood_radius(np.nan_to_num(ragged))


def test_two_classes_of_a_linear_classifier():
    """The worst directions are those along the weights, and the loss has a closed form."""
    weight, bias, radius = np.array([0.8, -0.6, 1.2]), 0.3, 0.4
    classifier = linear([-weight / 2, weight / 2], [-bias / 2, bias / 2])
    X = np.random.default_rng(0).normal(size=(50, 3))
    logit = X @ weight + bias
    change = radius * np.linalg.norm(weight)
    p = np.stack([expit(-logit), expit(logit)], -1)
    either = [
        divergence(p, np.stack([expit(-moved), expit(moved)], -1))
        for moved in (logit - change, logit + change)
    ]
    found = loss_of(classifier, X, radius)
    nearer = np.abs(found - np.array(either)).min(axis=0)
    np.testing.assert_allclose(nearer, 0, atol=1e-10)


def test_few_directions_are_worse():
    """Against all directions of a plane, in steps of a degree."""
    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 5)).double()
    with torch.no_grad():
        classifier[2].weight.mul_(4)
    X = np.random.default_rng(0).normal(size=(100, 2))
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    circle = 0.3 * np.stack([np.cos(angles), np.sin(angles)], -1)

    def predicted(points):
        return classifier(torch.as_tensor(points)).softmax(-1).detach().numpy()

    values = divergence(predicted(X)[:, None], predicted(X[:, None] + circle))
    found = loss_of(classifier, X, 0.3)
    assert (found <= values.max(axis=1) * (1 + 1e-3)).all()
    assert np.median(found / values.max(axis=1)) > 0.8
    assert np.median(values / values.max(axis=1, keepdims=True)) < 0.6  # any direction


def test_the_prediction_for_the_sample_itself_is_held_fixed():
    classifier = linear([[1.0, 2.0], [0.5, -1.0]], [0.0, 0.1])
    X = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    output = classifier(X).detach().requires_grad_()
    virtual_adversarial_loss(classifier, X, output, 0.5, 2).sum().backward()
    assert output.grad is None
    assert classifier.weight.grad.abs().max() > 1e-3


def test_nothing_follows_the_end_of_a_ragged_sample():
    received = []

    class Sums(nn.Module):
        def forward(self, x):
            received.append(x.detach())
            total = x.nansum(1)
            return torch.stack([total, -total], 1)

    X = torch.tensor([[1.0, 2.0, np.nan], [1.0, 2.0, 3.0]])
    loss = virtual_adversarial_loss(Sums(), X, Sums()(X), 0.5, 3)
    assert torch.isfinite(loss).all()
    for x in received[1:]:
        assert torch.equal(x.isnan(), X.isnan())
        moved = torch.nan_to_num(x) - torch.nan_to_num(X)
        torch.testing.assert_close(moved.norm(dim=1), torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize("gap", [30.0, 60.0, 90.0, 110.0])
def test_certain_predictions_are_not_moved_far(gap):
    """The squares of their gradient underflow in single precision."""
    received = []

    class Recorded(nn.Linear):
        def forward(self, x):
            received.append(x.detach())
            return super().forward(x)

    classifier = Recorded(4, 2)
    with torch.no_grad():
        classifier.weight.zero_()[:, 0] = torch.tensor([gap / 20, -gap / 20])
        classifier.bias.zero_()
    X = torch.zeros(50, 4)
    X[:, 0] = 10
    loss = virtual_adversarial_loss(classifier, X, classifier(X), 0.5, 4)
    assert loss.max() < 1e-6
    for moved in received[1:]:
        assert (moved - X).norm(dim=1).max() < 0.501


def test_indicators_of_missing_values_are_not_moved(digits):
    X, few = digits[0].copy(), np.where(np.arange(240) % 5 == 0, digits[1], -1)
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    received = []

    def record(classifier, X, output, radius, n_features):
        received.append((X.shape[1], n_features))
        return virtual_adversarial_loss(classifier, X, output, radius, n_features)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_training, "virtual_adversarial_loss", record)
        model = on(Autoencoder(8, max_iter=2), max_iter=2).fit(X, few)
    assert set(received) == {(128, 64)}
    assert np.isfinite(model.predict_proba(X)).all()
    x = torch.zeros(3, 4)
    moved = []

    def classifier(x):
        moved.append(x.detach())
        return x[:, :2] @ torch.eye(2) + x[:, 2:] * 5

    virtual_adversarial_loss(classifier, x, classifier(x), 0.5, 2)
    for each in moved:
        assert not each[:, 2:].any()


def test_samples_that_are_equal_up_to_rounding_have_a_neighbourhood():
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), -1).reshape(-1, 2)
    copies = np.concatenate([grid, grid * (1 + 1e-15)])
    assert neighborhood_radius(np.concatenate([copies, [[9.0, 9.0]]])) > 0.1


# In the classifier


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:240] / 16, y[:240]


@pytest.fixture(scope="module")
def few(digits):
    return np.where(np.arange(240) % 5 == 0, digits[1], -1)


@pytest.fixture(scope="module")
def frozen(digits):
    return FrozenEstimator(Autoencoder(12, max_iter=2, random_state=0).fit(digits[0]))


def on(frozen, **params):
    return StackedAutoencoderClassifier(
        autoencoder=frozen, **{"unlabeled": -1, "max_iter": 10, "random_state": 0} | params
    )


def test_predictions_change_less_near_the_samples(digits, few, frozen):
    X, y = digits
    random = np.random.default_rng(0)
    directions = random.normal(size=X.shape)
    moved = X + neighborhood_radius(X) * directions / np.linalg.norm(directions, axis=1)[:, None]
    changes, scores = [], []
    for weight in (0.0, 4.0):
        model = on(frozen, adversarial_weight=weight, max_iter=100).fit(X, few)
        p, q = model.predict_proba(X), model.predict_proba(moved)
        changes.append(divergence(p, q).mean())
        scores.append(model.score(X, y))
    assert changes[1] < changes[0] / 2
    assert scores[1] > scores[0] - 0.02


def test_the_loss_is_the_sum_of_its_terms(digits, few, frozen):
    model = on(frozen, max_iter=2).fit(digits[0], few)
    for entry in model.history_:
        assert entry["adversarial"] > 0
        assert entry["train_loss"] == pytest.approx(entry["supervised"] + entry["adversarial"])


@pytest.mark.parametrize(
    "params", [{"unlabeled": None}, {"fine_tune": False}, {"adversarial_weight": 0.0}], ids=str
)
def test_where_it_has_no_effect(digits, few, frozen, params):
    y = digits[1] if "unlabeled" in params else few
    model = on(frozen, max_iter=2, **params).fit(digits[0], y)
    assert "adversarial" not in model.history_[0]
    without = on(frozen, max_iter=2, **params | {"adversarial_weight": 0.0}).fit(digits[0], y)
    np.testing.assert_array_equal(model.head_coef_, without.head_coef_)


def test_passes_over_chunks_and_several_labels_do_without(digits, few, frozen):
    model = on(frozen).partial_fit(digits[0], few, classes=np.arange(10))
    assert "adversarial" not in model.history_[0]
    several = np.where(few[:, None] < 0, -1, np.stack([few > 3, few % 2], -1))
    model = on(frozen, max_iter=2).fit(digits[0], several)
    assert "adversarial" not in model.history_[0]


def test_bits_do_not_change_with_small_steps(digits, few):
    model = StackedAutoencoderClassifier(
        autoencoder=SemanticHashing(16, max_iter=2), unlabeled=-1, max_iter=2, random_state=0
    ).fit(digits[0], few)
    assert model.history_[-1]["adversarial"] == 0


def test_large_data_are_sampled(monkeypatch, digits, few, frozen):
    received = []

    def record(points):
        received.append(points)
        return neighborhood_radius(points)

    monkeypatch.setattr(head_training, "neighborhood_radius", record)
    monkeypatch.setattr(head_training, "MAX_COMPARED", 100)
    on(frozen, max_iter=1).fit(digits[0], few, sample_weight=(np.arange(240) % 2).astype(float))
    rows = {row.tobytes() for row in received[0]}
    assert len(rows) == 100
    module = frozen.estimator.module_
    X = torch.as_tensor(digits[0][1::2], dtype=torch.float32)
    weighted = {row.tobytes() for row in ((X - module.center) / module.scale).numpy()}
    assert rows <= weighted  # samples of weight zero take no part
