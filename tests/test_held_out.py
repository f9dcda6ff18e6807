"""What a fit sees of the samples that it holds out: nothing but PCA's start does."""

import numpy as np
import pytest
import torch
from instances import INSTANCES, name_of
from sklearn.base import clone
from sklearn.mixture import GaussianMixture

from sklearn_ae import (
    Autoencoder,
    DeepBeliefNetwork,
    DenoisingAutoencoder,
    SparseAutoencoder,
    StackedAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae._training.batches import Samples
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.losses import get_loss

X = np.random.default_rng(0).normal(size=(120, 6)).cumsum(axis=1)


@pytest.fixture
def recorded(monkeypatch):
    """Samples, in the units of the data, that each part of a fit is given."""
    seen = {}

    def record(name, rows):
        values = torch.cat([rows._read(chunk) for chunk in rows.chunks()])
        seen[name] = {tuple(row) for row in values.double().round(decimals=5).tolist()}

    def watch(place, name, at):
        function = getattr(place, name)

        def watched(*args, **kwargs):
            record(name, args[at])
            return function(*args, **kwargs)

        monkeypatch.setattr(place, name, watched)

    import sklearn_ae._estimator.fitting as fitting

    watch(fitting, "fit_code_density", 1)
    split = fitting.split

    def divide(*args, **kwargs):
        training, held_out = split(*args, **kwargs)
        if training is not held_out:  # else there is too little to hold out
            record("training", training)
            record("held_out", held_out)
        return training, held_out

    monkeypatch.setattr(fitting, "split", divide)
    return seen, watch


@pytest.mark.parametrize("estimator", INSTANCES, ids=name_of)
def test_nothing_but_pca_is_given_held_out_samples(estimator, recorded):
    seen, watch = recorded
    estimator = clone(estimator).set_params(early_stopping=True, random_state=0)
    for cls in type(estimator).__mro__:
        for name in ("_start", "_pretrain", "_fitted_attributes"):
            if name in vars(cls) and cls is not BaseAutoencoder:
                watch(cls, name, 2)
    estimator.fit(X)
    if not estimator._joint_epochs():  # early_stopping is then not used
        assert "training" not in seen
        return
    training, held_out = seen.pop("training"), seen.pop("held_out")
    assert len(held_out) >= 10
    assert not training & held_out
    assert seen.pop("fit_code_density") == training
    start = seen.pop("_start", training)
    assert start == (training | held_out if estimator._starts_at_solution() else training)
    assert all(rows == training for rows in seen.values())
    module = estimator.module_
    if get_loss(estimator.loss).scaled:
        rows = np.array(
            sorted(training | held_out if estimator._starts_at_solution() else training)
        )
        center = module.common_center(torch.from_numpy(rows.mean(axis=0))).numpy()
        np.testing.assert_allclose(module.center, center, atol=1e-4)
        variance = np.square(rows - center).mean()
        assert float(module.scale) == pytest.approx(variance**0.5, rel=1e-4)


def values_of(fitted):
    """Weights, buffers and fitted numbers."""
    values = {name: value.numpy() for name, value in fitted.module_.state_dict().items()}
    return values | {
        name: value
        for name, value in vars(fitted).items()
        if isinstance(value, (int, float, np.ndarray)) and name.endswith("_")
    }


@pytest.mark.parametrize(
    "estimator",
    [
        Autoencoder(init="random", max_iter=3),
        Autoencoder(loss="binary_crossentropy", max_iter=3),
        SparseAutoencoder(6, max_iter=3),
        DenoisingAutoencoder(init="random", max_iter=3),
        VariationalAutoencoder(max_iter=3),
        StackedAutoencoder(hidden_layer_sizes=(8,), pretraining_max_iter=3, max_iter=3),
        DeepBeliefNetwork(hidden_layer_sizes=(8,), pretraining_max_iter=3, max_iter=3),
    ],
    ids=name_of,
)
def test_values_of_held_out_samples_do_not_matter(estimator, monkeypatch):
    """Whatever they are, what is fitted is the same, if the same epoch is the best."""
    data = (X - X.min()) / (X.max() - X.min())
    mask = np.arange(120) % 10 == 3
    monkeypatch.setattr("sklearn_ae._estimator.fitting.held_out_mask", lambda *args: mask)
    # Both take the weights of the last epoch, whatever the held-out samples say to them.
    monkeypatch.setattr("sklearn_ae._training.callbacks.BestWeights._value", _always_falling())
    other = np.where(mask[:, None], np.random.default_rng(1).random(data.shape), data)
    one, two = (
        values_of(clone(estimator).set_params(random_state=0).fit(each)) for each in (data, other)
    )
    del one["best_loss_"], two["best_loss_"]
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)


def _always_falling():
    return lambda self, net, validation: -float(len(net.history))


def test_pca_starts_from_all_samples_and_its_noise_from_the_training_ones(recorded):
    seen, watch = recorded
    for name in ("_start", "_pretrain"):
        watch(DenoisingAutoencoder, name, 2)
    DenoisingAutoencoder(max_iter=2, random_state=0).fit(X)
    assert seen["_start"] == seen["training"] | seen["held_out"]
    assert seen["_pretrain"] == seen["training"]


def test_white_noise_is_not_reconstructed_better_where_it_was_held_out():
    """Pre-training learns noise by heart; of samples held out it explains as much as of fresh."""
    random = np.random.default_rng(0)
    kept, fresh = [], []
    for seed in range(16):
        stack = StackedAutoencoder(
            8,
            hidden_layer_sizes=(),
            pretraining="autoencoder",
            pretraining_max_iter=80,
            learning_rate_init=0.01,
            alpha=0.0,
            max_iter=1,
            validation_fraction=0.3,
            random_state=seed,
        ).fit(random.normal(size=(100, 20)))
        kept.append(1 - stack.best_loss_)  # of the start or the one epoch
        fresh.append(stack.score(random.normal(size=(2000, 20))))
    difference = np.subtract(kept, fresh)
    error = difference.std(ddof=1) / len(difference) ** 0.5
    assert abs(difference.mean()) < 4 * error
    assert error < 0.02


def test_validation_scores_are_unbiased_where_few_samples_are_held_out():
    """The variance is that of the training samples, not that of four around their own mean."""
    random = np.random.default_rng(0)
    kept, fresh = [], []
    for seed in range(60):
        autoencoder = Autoencoder(
            1,
            init="random",
            hidden_layer_sizes=(8,),
            validation_fraction=0.02,
            max_iter=1,
            random_state=seed,
        ).fit(random.normal(size=(200, 10)))
        assert autoencoder.best_epoch_ in (0, 1)
        kept.append(autoencoder.validation_scores_[0])
        fresh.append(autoencoder.score(random.normal(size=(1000, 10))))
    difference = np.subtract(kept, fresh)
    error = difference.std(ddof=1) / len(difference) ** 0.5
    assert abs(difference.mean()) < 4 * error
    assert error < 0.05


def test_continuing_holds_out_the_same_samples(monkeypatch):
    """Else a continued fit would train on samples that the first one was validated on."""
    import sklearn_ae._estimator.fitting as fitting

    masks, choose = [], fitting.held_out_mask
    monkeypatch.setattr(
        fitting, "held_out_mask", lambda *args: masks.append(choose(*args)) or masks[-1]
    )
    for params in ({"init": "random"}, {"init": "random", "loss": "binary_crossentropy"}, {}):
        data = (X - X.min()) / (X.max() - X.min())
        model = Autoencoder(2, max_iter=2, warm_start=True, random_state=0, **params)
        model.fit(data).fit(data)
        np.testing.assert_array_equal(masks[-1], masks[-2])
        assert masks[-1].sum() == 12


def test_neither_order_nor_units_change_what_is_held_out(monkeypatch):
    import sklearn_ae._estimator.fitting as fitting

    masks, choose = [], fitting.held_out_mask
    monkeypatch.setattr(
        fitting, "held_out_mask", lambda *args: masks.append(choose(*args)) or masks[-1]
    )
    for data in (X, 3 * X + 5, X[::-1]):
        StackedAutoencoder(
            hidden_layer_sizes=(4,), pretraining_max_iter=1, max_iter=1, random_state=0
        ).fit(data)
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2][::-1])


def test_without_fine_tuning_nothing_is_held_out(recorded):
    seen, _ = recorded
    DeepBeliefNetwork(
        hidden_layer_sizes=(4,), pretraining_max_iter=1, fine_tune=False, early_stopping=True
    ).fit(X)
    assert "training" not in seen
    assert len(seen["fit_code_density"]) == len(X)


def test_a_held_out_sample_beyond_all_bounds_is_refused(monkeypatch):
    mask = np.arange(120) == 7
    monkeypatch.setattr("sklearn_ae._estimator.fitting.held_out_mask", lambda *args: mask)
    data = X.astype(np.float32)
    data[7] = 1e25
    with pytest.raises(ValueError, match=r"X has values so large|X has values so far beyond"):
        StackedAutoencoder(pretraining_max_iter=1, max_iter=1).fit(data)
    # PCA, which they take part in, can be computed.
    data[7] = 1e17
    assert Autoencoder(max_iter=1).fit(data).score(data) > 0.99


# Subsamples


@pytest.mark.parametrize("density", ["gaussian", GaussianMixture(2)])
def test_samples_that_alternate_are_all_in_the_density(density):
    """Every second of 4,000 samples is another regime; the codes of both are described."""
    random = np.random.default_rng(0)
    n_samples = 4000 if density == "gaussian" else 20_000
    regime = np.arange(n_samples) % 2
    data = random.normal(size=(n_samples, 3)) + 20 * regime[:, None]
    model = Autoencoder(1, density=density, max_iter=1, early_stopping=False, random_state=0)
    drawn = model.fit(data).sample(1000, random_state=0).mean(axis=1)
    np.testing.assert_allclose(drawn.mean(), 10, atol=1)
    np.testing.assert_allclose(drawn.std(), 10, atol=1)


def test_a_subsample_is_drawn_by_the_seed():
    values = np.arange(1000.0)[:, None]
    rows = Samples(values, torch.arange(1000.0), torch.device("cpu"), torch.float64)
    one, again, other = (rows.sample(300, seed) for seed in (0, 0, 1))
    taken = one.take(slice(0, 300))[:, 0]
    assert len(one) == len(set(taken.tolist())) == 300
    assert (taken.diff() > 0).all()
    torch.testing.assert_close(taken, one.weight.double())
    torch.testing.assert_close(taken, again.take(slice(0, 300))[:, 0])
    assert not torch.equal(taken, other.take(slice(0, 300))[:, 0])
    assert rows.sample(1000, 0) is rows
    means = [float(rows.sample(100, seed).take(slice(0, 100)).mean()) for seed in range(100)]
    assert abs(np.mean(means) - 499.5) < 4 * 1000 / 12**0.5 / 100
