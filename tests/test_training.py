"""The training loop: stopping, weights, schedules, callbacks, continuing."""

import math
import pickle

import numpy as np
import pytest
import sklearn
import torch
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    Freezer,
    GradientNormClipping,
    LRScheduler,
)

from sklearn_ae import Autoencoder, VariationalAutoencoder
from sklearn_ae._training import description
from sklearn_ae._training.net import Validation
from sklearn_ae._training.optimizer import FlatAdam, FlatParameters, one_cycle
from sklearn_ae.networks import ConvolutionalNetwork, DenseNetwork
from sklearn_ae.networks._module import AutoencoderModule


def test_best_weights_are_restored(curve):
    """Samples on a line leave PCA nothing to gain: all that training does is harm."""
    pca = PCA(1).fit(curve)
    line = pca.inverse_transform(pca.transform(curve))
    autoencoder = Autoencoder(1, learning_rate_init=3.0, max_iter=15, random_state=0).fit(line)
    assert min(entry["valid_loss"] for entry in autoencoder.history_) > 1e-6
    assert autoencoder.score(line) == pytest.approx(1, abs=1e-9)
    assert autoencoder.best_epoch_ == 0


def test_best_loss_is_that_of_the_weights_kept(curve):
    train, held_out = curve[:300], curve[300:]
    autoencoder = Autoencoder(1, max_iter=60, random_state=0).fit(train, X_val=held_out)
    error = -autoencoder.score_samples(held_out).mean()
    scale = float(autoencoder.module_.scale)
    assert error / scale**2 == pytest.approx(autoencoder.best_loss_, rel=1e-9)
    losses = [entry["valid_loss"] for entry in autoencoder.history_]
    assert autoencoder.best_loss_ == pytest.approx(min(losses), rel=1e-12)
    best = int(np.argmin(losses))
    explained = 1 - error / train.var(axis=0).mean()
    assert autoencoder.validation_scores_[best] == pytest.approx(explained, rel=1e-6)


def test_patience_ends_training(curve):
    impatient = Autoencoder(1, max_iter=500, n_iter_no_change=3, random_state=0)
    assert impatient.fit(curve).n_iter_ < 500
    flat = Autoencoder(
        1, max_iter=500, n_iter_no_change=3, tol=1.0, early_stopping=False, random_state=0
    )
    assert flat.fit(curve).n_iter_ == 4


def test_fitted_attributes_agree(curve):
    autoencoder = Autoencoder(1, max_iter=5, random_state=0).fit(curve)
    assert autoencoder.n_iter_ == len(autoencoder.loss_curve_) == 5
    assert autoencoder.loss_ == autoencoder.loss_curve_[-1]
    assert len(autoencoder.validation_scores_) == 5
    assert [entry["epoch"] for entry in autoencoder.history_] == [1, 2, 3, 4, 5]
    assert autoencoder.history_[0]["reconstruction"] == autoencoder.loss_curve_[0]
    assert autoencoder.device_ == "cpu"
    assert Autoencoder(1, max_iter=2, early_stopping=False).fit(curve).validation_scores_ is None


def test_weights_count_as_copies(curve):
    X, weight = curve[:24], np.random.default_rng(0).integers(0, 4, size=24)
    weighted = Autoencoder(1, max_iter=50, random_state=0).fit(X, sample_weight=weight)
    repeated = Autoencoder(1, max_iter=50, random_state=0).fit(np.repeat(X, weight, axis=0))
    np.testing.assert_allclose(weighted.reconstruct(X), repeated.reconstruct(X), rtol=1e-7)


@pytest.mark.parametrize("how", ["heavy", pytest.param("light", marks=pytest.mark.slow), "copied"])
def test_weights_and_copies_add_no_evidence(how):
    """Nothing is better than PCA on white noise; 100 seeds, with one in twenty admitted."""
    n_left = 0
    for seed in range(100):
        X = np.random.default_rng(seed).normal(size=(80, 5))
        weight = {"heavy": np.full(80, 1000.0), "light": np.full(80, 1e-3)}.get(how)
        autoencoder = Autoencoder(
            2, hidden_layer_sizes=(16,), batch_size=4000, max_iter=8, random_state=seed
        )
        X = np.repeat(X, 50, axis=0) if how == "copied" else X
        n_left += autoencoder.fit(X, sample_weight=weight).best_epoch_ > 0
    assert n_left <= 5


def _validation(losses, weight, groups):
    losses, weight = (torch.tensor(each, dtype=torch.float64) for each in (losses, weight))
    return Validation(losses, weight, torch.tensor(groups), 0.0, {}, torch.zeros(1))


def test_a_weight_of_two_is_two_copies_in_the_t_test_to_the_bit():
    """Of samples at the edge of significance, so that any other rounding would show."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        counts = rng.integers(1, 8, size=6)
        start, fall = rng.normal(size=6), rng.normal(size=6)
        fall -= fall @ counts / counts.sum()
        n_eff = counts.sum() ** 2 / np.square(counts).sum()
        deviation = np.sqrt(counts @ np.square(fall) / counts.sum())
        edge = stats.t.ppf(0.95, n_eff - 1) * deviation / np.sqrt(n_eff - 1)
        groups = np.repeat(np.arange(6), counts)
        order = rng.permutation(len(groups))
        for shift in (edge * (1 - 1e-9), edge, edge * (1 + 1e-9)):
            end = start - fall - shift
            weighted = [_validation(each, counts, np.arange(6)) for each in (end, start)]
            copied = [
                _validation(each[groups][order], np.ones(len(groups)), groups[order])
                for each in (end, start)
            ]
            answer = weighted[0].is_better_than(weighted[1])
            assert answer == copied[0].is_better_than(copied[1])
            if shift != edge:
                assert answer == (shift > edge)


def test_divergence_is_an_error_and_leaves_the_estimator(curve):
    autoencoder = Autoencoder(
        1, max_iter=5, activation="relu", early_stopping=False, random_state=0
    ).fit(curve.astype(np.float32))
    before = autoencoder.transform(curve)
    autoencoder.set_params(learning_rate_init=1e25, learning_rate="constant")
    with pytest.raises(ValueError, match=r"diverged.*learning_rate_init \(now 1e\+25\)"):
        autoencoder.fit(curve.astype(np.float32))
    np.testing.assert_array_equal(autoencoder.transform(curve), before)


def test_grid_search_scores_a_diverging_candidate_as_an_error(curve):
    search = GridSearchCV(
        Autoencoder(1, max_iter=3, activation="relu", learning_rate="constant", random_state=0),
        {"learning_rate_init": [1e-3, 1e30]},
        cv=2,
        error_score=-1.0,
    )
    with pytest.warns(FitFailedWarning, match="diverged"):
        search.fit(curve.astype(np.float32))
    assert search.best_params_ == {"learning_rate_init": 1e-3}


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "binary_crossentropy", "poisson"])
@pytest.mark.parametrize("init", ["pca", pytest.param("random", marks=pytest.mark.slow)])
def test_losses_fall(loss, init, curve):
    X = (curve - curve.min(0)) / np.ptp(curve, axis=0)
    autoencoder = Autoencoder(2, loss=loss, init=init, max_iter=60, random_state=0).fit(X)
    assert autoencoder.loss_curve_[-1] < autoencoder.loss_curve_[0]
    assert autoencoder.score(X) > 0.7
    restored = autoencoder.reconstruct(X)
    if loss == "binary_crossentropy":
        assert ((restored > 0) & (restored < 1)).all()
    if loss == "poisson":
        assert (restored > 0).all()


def test_loss_may_be_a_callable(curve):
    def quartic(output, target):
        return (output - target).pow(4).mean(1)

    autoencoder = Autoencoder(1, loss=quartic, max_iter=30, random_state=0).fit(curve)
    assert autoencoder.loss_curve_[-1] < autoencoder.loss_curve_[0]


def test_callable_squared_error_equals_the_built_in_one(curve):
    """The same fit by automatic differentiation and by the hand-written step."""

    def squared(output, target):
        return (output - target).square().mean(1)

    one, other = (
        Autoencoder(2, loss=loss, max_iter=10, random_state=0).fit(curve).reconstruct(curve)
        for loss in ("squared_error", squared)
    )
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_absolute_error_resists_outliers():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 1)) @ np.array([[1.0, 2.0, -1.0]])
    dirty = X.copy()
    dirty[::20] += rng.normal(scale=30, size=(15, 3))
    errors = {
        loss: np.abs(
            Autoencoder(1, loss=loss, activation="identity", init="random", random_state=0)
            .fit(dirty)
            .reconstruct(X)
            - X
        ).mean()
        for loss in ("squared_error", "absolute_error")
    }
    assert errors["absolute_error"] < 0.5 * errors["squared_error"]


def test_weight_decay_shrinks_the_branch_not_the_linear_path(curve):
    def branch(alpha):
        fitted = Autoencoder(1, alpha=alpha, max_iter=40, early_stopping=False, random_state=0)
        fitted = fitted.fit(curve).module_
        return fitted.encoder.layers[1].weight.norm(), fitted.encoder.shortcut

    (loose, path), (tight, same_path) = branch(0.0), branch(100.0)
    assert tight < 0.2 * loose
    assert torch.equal(path, same_path)


def test_flat_adam_is_torchs_adam_with_decoupled_decay():
    torch.manual_seed(0)
    module = AutoencoderModule(DenseNetwork(hidden_layer_sizes=(6,)), (4,), 2)
    reference = AutoencoderModule(DenseNetwork(hidden_layer_sizes=(6,)), (4,), 2)
    reference.load_state_dict(module.state_dict())
    flat = FlatParameters(module)
    optimizer = FlatAdam(flat, lr=0.01, alpha=0.3)
    spared = reference.unpenalized()
    groups = [
        {"params": [p for n, p in reference.named_parameters() if n in spared], "weight_decay": 0},
        {"params": [p for n, p in reference.named_parameters() if n not in spared]},
    ]
    theirs = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.3)
    for _ in range(5):
        x = torch.randn(10, 4)
        for model, rule in ((module, optimizer), (reference, theirs)):
            for parameter in model.parameters():
                parameter.grad.zero_() if parameter.grad is not None else None
            (model(x) - x).square().mean().backward()
            rule.step()
    for ours, expected in zip(module.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, expected)


def test_one_cycle_rises_then_falls_to_zero():
    assert one_cycle(0.0) == 0
    assert one_cycle(0.1) == 1
    assert one_cycle(0.55) == pytest.approx(0.5)
    assert one_cycle(1.0) == pytest.approx(0)


def test_divergence_in_the_last_step_is_seen(curve):
    one_step = Autoencoder(
        1,
        max_iter=1,
        early_stopping=False,
        activation="relu",
        learning_rate="constant",
        learning_rate_init=1e38,
        random_state=0,
    )
    with pytest.raises(ValueError, match="diverged"):
        one_step.fit(1e3 * curve[:40].astype(np.float32))


@pytest.mark.parametrize(
    "loss", [lambda o, t: (o - t).square().mean(), lambda o, t: (o - t).square()]
)
@pytest.mark.parametrize("early_stopping", [True, False])
def test_callable_losses_must_return_one_value_per_sample(curve, loss, early_stopping):
    autoencoder = Autoencoder(1, loss=loss, early_stopping=early_stopping, max_iter=2)
    with pytest.raises(ValueError, match="loss must return one value per sample"):
        autoencoder.fit(curve)


def test_callable_losses_must_return_a_tensor(curve):
    autoencoder = Autoencoder(1, loss=lambda output, target: 1.0, max_iter=2)
    with pytest.raises(TypeError, match="loss must return a tensor .* type float"):
        autoencoder.fit(curve)


def test_errors_inside_a_callable_loss_say_where_they_come_from(curve):
    with pytest.raises(TypeError) as raised:
        Autoencoder(1, loss=len, max_iter=2).fit(curve)
    assert raised.value.__notes__ == [
        "It was raised by the callable loss=<built-in function len>."
    ]


def test_changed_loss_does_not_reach_a_fit(curve):
    X = (curve - curve.min(0)) / np.ptp(curve, axis=0)
    autoencoder = Autoencoder(1, loss="binary_crossentropy", max_iter=3, random_state=0).fit(X)
    expected = autoencoder.reconstruct(X)
    np.testing.assert_array_equal(
        autoencoder.set_params(loss="squared_error").reconstruct(X), expected
    )


# Continuing


def test_warm_start_continues(curve):
    autoencoder = Autoencoder(
        2, init="random", warm_start=True, learning_rate="constant", max_iter=5, random_state=0
    ).fit(curve)
    loss = autoencoder.loss_
    autoencoder.fit(curve)
    assert autoencoder.loss_ < loss
    assert [entry["epoch"] for entry in autoencoder.history_] == list(range(1, 11))


def test_warm_start_continues_to_the_bit(curve):
    """Twice five epochs are ten: optimiser and generators go on where they were."""
    shared = {"warm_start": True, "learning_rate": "constant", "early_stopping": False}
    twice = Autoencoder(2, max_iter=5, random_state=0, **shared).fit(curve).fit(curve)
    once = Autoencoder(2, max_iter=10, random_state=0, **shared).fit(curve)
    np.testing.assert_array_equal(twice.transform(curve), once.transform(curve))


def test_partial_fit_learns_chunk_by_chunk(curve):
    autoencoder = Autoencoder(1, batch_size=20, random_state=0)
    for _ in range(30):
        for chunk in np.array_split(curve, 4):
            autoencoder.partial_fit(chunk)
    assert autoencoder.score(curve) > 0.97
    assert autoencoder.n_iter_ == 1
    assert len(autoencoder.loss_curve_) == 120


def test_continuing_refuses_another_shape(curve):
    autoencoder = Autoencoder(1, random_state=0).partial_fit(curve)
    for name, value in {
        "n_components": 2,
        "loss": "huber",
        "hidden_layer_sizes": (3,),
        "activation": "relu",
    }.items():
        changed = pickle.loads(pickle.dumps(autoencoder)).set_params(**{name: value})
        with pytest.raises(ValueError, match=f"{name} was changed from .* cannot continue"):
            changed.partial_fit(curve)
    with pytest.raises(ValueError, match="3 features"):
        autoencoder.partial_fit(curve[:, :3])


def test_failing_continuation_leaves_the_estimator(curve):
    autoencoder = Autoencoder(1, activation="relu", random_state=0)
    autoencoder.partial_fit(curve.astype(np.float32))
    before = autoencoder.transform(curve)
    autoencoder.set_params(learning_rate_init=1e30, batch_size=5)
    with pytest.raises(ValueError, match="diverged"):
        autoencoder.partial_fit(curve.astype(np.float32))
    np.testing.assert_array_equal(autoencoder.transform(curve), before)


# skorch's callbacks


class Recorder(Callback):
    """Counts what it is told of."""

    def __init__(self):
        self.batches = 0

    def on_batch_end(self, net, training, **kwargs):
        self.batches += training


def test_skorch_early_stopping(curve):
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=10.0)
    autoencoder = Autoencoder(1, callbacks=[stop], max_iter=50, random_state=0).fit(curve)
    assert autoencoder.n_iter_ == 3


class Closable(Callback):
    def close(self):
        raise AssertionError("not a hook of skorch")


def test_methods_that_are_no_hooks_of_skorch_are_not_called(curve):
    Autoencoder(1, callbacks=[Closable()], max_iter=1).fit(curve)


class Ends(Callback):
    """Count the epochs that have ended; interrupt the fit in one of them."""

    def __init__(self, interrupt_in=None):
        self.interrupt_in = interrupt_in
        self.count = 0

    def on_epoch_end(self, net, **kwargs):
        self.count += 1
        if self.count == self.interrupt_in:
            raise KeyboardInterrupt


def test_callbacks_after_early_stopping_are_notified_of_the_last_epoch(curve):
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=10.0)
    before, after = Ends(), Ends()
    callbacks = [("before", before), ("stop", stop), ("after", after)]  # skorch keeps this order
    autoencoder = Autoencoder(1, callbacks=callbacks, max_iter=50, random_state=0).fit(curve)
    assert autoencoder.n_iter_ == before.count == after.count == 3


@pytest.mark.parametrize("place", [0, 1])
def test_interrupts_in_the_epoch_of_early_stopping_are_raised(curve, place):
    callbacks = [EarlyStopping(monitor="train_loss", patience=2, threshold=10.0)]
    callbacks.insert(place, Ends(interrupt_in=3))
    autoencoder = Autoencoder(1, callbacks=callbacks, max_iter=50, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        autoencoder.fit(curve)
    assert not hasattr(autoencoder, "module_")


def test_a_loss_that_is_not_finite_is_an_error_in_the_epoch_of_early_stopping(curve):
    def infinite(output, target):
        return (output - target).square().mean(1) + float("inf")

    stop = EarlyStopping(monitor="train_loss", patience=1)
    autoencoder = Autoencoder(1, loss=infinite, callbacks=[stop], random_state=0)
    with pytest.raises(ValueError, match="diverged"):
        autoencoder.fit(curve)


def test_skorch_checkpoint(curve, tmp_path):
    checkpoint = Checkpoint(dirname=tmp_path, monitor="valid_loss_best", f_pickle=None)
    Autoencoder(1, callbacks=[checkpoint], max_iter=5, random_state=0).fit(curve)
    assert (tmp_path / "params.pt").exists()


def test_skorch_learning_rate_scheduler_replaces_ours(curve):
    rates = []

    class Rate(Callback):
        def on_epoch_end(self, net, **kwargs):
            rates.append(net.optimizer_.param_groups[0]["lr"])

    scheduler = LRScheduler(policy="StepLR", step_size=1, gamma=0.5)
    Autoencoder(
        1, callbacks=[Rate(), scheduler], max_iter=4, learning_rate_init=0.008, random_state=0
    ).fit(curve)
    assert rates == pytest.approx([0.008, 0.004, 0.002, 0.001])


def test_skorch_callbacks_hear_of_batches_where_they_ask(curve):
    recorder = Recorder()
    fit = {"max_iter": 3, "batch_size": 100, "early_stopping": False, "random_state": 0}
    told = Autoencoder(1, callbacks=[recorder], **fit).fit(curve)
    assert recorder.batches == 3 * 4
    untold = Autoencoder(1, **fit).fit(curve)
    np.testing.assert_array_equal(told.transform(curve), untold.transform(curve))
    assert told.loss_ == pytest.approx(untold.loss_, rel=1e-9)


def test_skorch_gradient_clipping_acts(curve):
    fit = {"max_iter": 3, "early_stopping": False, "random_state": 0, "init": "random"}
    clipped = Autoencoder(1, callbacks=[GradientNormClipping(1e-9)], **fit).fit(curve)
    plain = Autoencoder(1, **fit).fit(curve)
    assert not np.allclose(clipped.transform(curve), plain.transform(curve))


def test_skorch_freezer_is_refused(curve):
    with pytest.raises(ValueError, match="Freezer"):
        Autoencoder(1, callbacks=[Freezer("encoder*")], random_state=0).fit(curve)


def test_interrupts_are_raised_on(curve):
    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    autoencoder = Autoencoder(1, callbacks=[Interrupt()], random_state=0)
    with pytest.raises(KeyboardInterrupt):
        autoencoder.fit(curve)
    assert not hasattr(autoencoder, "module_")


# Searches


def test_pipeline_with_a_classifier_in_a_grid_search(curve):
    y = curve[:, 0] > 0
    search = GridSearchCV(
        make_pipeline(
            StandardScaler(), Autoencoder(max_iter=5, random_state=0), LogisticRegression()
        ),
        {
            "autoencoder__n_components": [1, 2],
            "autoencoder__hidden_layer_sizes": [(8,), (8, 4)],
        },
        cv=2,
    ).fit(curve, y)
    assert search.best_score_ > 0.8


def test_weights_and_validation_samples_are_routed_through_a_pipeline(curve):
    routed = {"sample_weight": np.arange(len(curve)) / len(curve), "X_val": curve[:50]}
    plain = Autoencoder(1, max_iter=3, random_state=0).fit(curve, **routed)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            Autoencoder(1, max_iter=3, random_state=0).set_fit_request(
                sample_weight=True, X_val=True
            ),
            StandardScaler().set_fit_request(sample_weight=False),
        )
        pipeline.fit(curve, **routed)
    np.testing.assert_array_equal(pipeline[0].transform(curve), plain.transform(curve))


def test_html_representation_of_a_fit(curve):
    html = Autoencoder(1, max_iter=2, random_state=0).fit(curve)._repr_html_()
    assert "n_iter_" in html


def test_a_warm_up_ends_however_many_epochs_are_allowed(monkeypatch):
    """A share of 10**6 epochs would keep patience from beginning."""
    monkeypatch.setattr(description, "LONGEST_ANNEALING", 40)
    X = np.random.default_rng(0).normal(size=(60, 3))
    params = {"hidden_layer_sizes": (4,), "n_iter_no_change": 3, "tol": 1.0, "random_state": 0}
    vae = VariationalAutoencoder(1, kl_warm_up=0.25, max_iter=10**6, **params).fit(X)
    assert 10 + 3 <= vae.n_iter_ < 100
    seen = []

    class Watching(Callback):
        def on_epoch_end(self, net, **kwargs):
            pass

        def on_batch_begin(self, net, **kwargs):
            seen.append(net.module_.progress)

    fit = {"kl_warm_up": 0.25, "max_iter": 80, "callbacks": [Watching()], **params}
    VariationalAutoencoder(1, **fit | {"n_iter_no_change": 80}).fit(X)
    np.testing.assert_allclose(seen, np.minimum(1, np.arange(80) / 40))


class CountsBatches(Callback):
    def on_epoch_end(self, net, **kwargs):
        self.n_batches = net.history[-1]["train_batch_count"]


@pytest.mark.parametrize(
    ("network", "sizes"),
    [(DenseNetwork(), (64, 128, 256)), (ConvolutionalNetwork(channels=(1,)), (64, 64, 64))],
)
def test_automatic_batch_size(network, sizes):
    """The time of a step with images is that of the images, in a batch of any size."""
    for n_samples, size in zip((1023, 1024, 16384), sizes, strict=True):
        X = np.random.default_rng(0).random((n_samples, 2, 2), np.float32)
        X = X if isinstance(network, ConvolutionalNetwork) else X.reshape(n_samples, 4)
        counts = CountsBatches()
        options = {"max_iter": 1, "early_stopping": False, "init": "random"}
        Autoencoder(1, network=network, callbacks=[("counts", counts)], **options).fit(X)
        assert counts.n_batches == math.ceil(n_samples / size)
