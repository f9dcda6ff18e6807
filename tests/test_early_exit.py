"""Fits that stay at PCA end early; fits that leave it are not changed."""

import math

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import scale
from skorch.callbacks import LRScheduler

from sklearn_ae import Autoencoder, DenoisingAutoencoder, FitCheckpoint
from sklearn_ae._training.callbacks import CHECKED_EVERY, LEAST_SIGNIFICANCE, BestWeights
from sklearn_ae._training.description import Hyperparameters, Objective, TrainingRun
from sklearn_ae._training.net import FEW_SAMPLES, AutoencoderNet, Validation

WINE = scale(load_wine().data)
NOISE = np.random.default_rng(0).normal(size=(60, 12))


def validation(losses, weight=None, groups=None):
    """Losses of the held-out samples, all of weight one by default."""
    losses = torch.as_tensor(losses, dtype=torch.float64)
    weight = torch.ones(len(losses), dtype=torch.float64) if weight is None else weight
    groups = torch.arange(len(losses)) if groups is None else groups
    return Validation(losses, weight, groups, 0.0, {}, torch.zeros(1))


@pytest.fixture
def unending(monkeypatch):
    """Fits train to the end although they will stay at PCA."""
    monkeypatch.setattr(BestWeights, "_is_hopeless", lambda self, net: False)


# Too few samples


def test_two_samples_are_too_few_from_a_ratio_of_their_losses_on():
    """``t = (a + b) / |a - b|`` is the quantile ``q`` if ``b / a = (q + 1) / (q - 1)``."""
    quantile = stats.t.ppf(0.95, 1)
    ratio = (quantile + 1) / (quantile - 1)
    assert ratio == pytest.approx(1.376, abs=1e-3)
    for a in (1e-3, 5.0):
        assert validation([a, a * ratio * (1 + 1e-9)]).needs_more_samples()
        assert not validation([a, a * ratio * (1 - 1e-9)]).needs_more_samples()


@pytest.mark.parametrize("lost", [1.0, math.nan])
@pytest.mark.parametrize("column", [0, 1])
def test_a_loss_that_stays_equal_or_diverges_is_not_better(column, lost):
    """Of several losses, whatever their order."""
    start, better = np.ones((8, 2)), np.linspace(0.1, 0.2, 16).reshape(8, 2)
    assert validation(better).is_better_than(validation(start))
    better[:, column] = lost
    assert validation(better).significance_over(validation(start)) == 0
    assert not validation(better).is_better_than(validation(start))


@pytest.mark.parametrize("n_samples", range(2, FEW_SAMPLES + 1))
def test_samples_are_too_few_if_losses_of_zero_are_not_significantly_lower(n_samples):
    rng = np.random.default_rng(n_samples)
    found = []
    for _ in range(30):
        losses = rng.gamma(0.5, size=n_samples)
        expected = stats.ttest_1samp(losses, 0, alternative="greater").pvalue >= 0.05
        start = validation(losses)
        assert start.needs_more_samples() == expected
        # Nor are losses that are all lower by a fraction.
        for fraction in (0.1, 0.9, 1.0):
            assert validation((1 - fraction) * losses).is_better_than(start) != expected
        found.append(expected)
    assert 0 < np.mean(found) < 1


def test_what_counts_in_the_bound():
    assert validation([3.0]).needs_more_samples()  # no standard error
    assert validation([0.0, 0.0]).needs_more_samples()  # nothing to improve
    assert not validation([2.0, 2.0]).needs_more_samples()
    assert not validation([-1.0, 5.0]).needs_more_samples()  # no lower bound is known
    # One column decides, and so does the number of distinct samples.
    assert validation([[1.0, 1.0], [1.1, 9.0]]).needs_more_samples()
    assert not validation([[1.0, 1.0], [1.1, 1.2]]).needs_more_samples()
    copies = torch.tensor([0, 0, 0, 1, 1, 1])
    assert validation([1.0] * 3 + [9.0] * 3, groups=copies).needs_more_samples()
    # Of many samples, the others may improve although one of them has most of the loss.
    heavy = [1.0] * 20 + [1000.0]
    assert stats.ttest_1samp(heavy, 0, alternative="greater").pvalue > 0.05
    assert not validation(heavy).needs_more_samples()


def test_without_enough_samples_the_first_epoch_is_the_last():
    for n_samples in (8, 10):  # no sample is held out, or one
        fitted = Autoencoder(1, random_state=0).fit(NOISE[:n_samples])
        assert (fitted.n_iter_, fitted.best_epoch_) == (1, 0)


# No improvement


def test_a_small_table_ends_early_at_pca(capsys):
    fitted = Autoencoder(6, random_state=2, verbose=True).fit(WINE)
    assert (fitted.n_iter_, fitted.best_epoch_) == (CHECKED_EVERY, 0)
    pca = PCA(6).fit(WINE)
    np.testing.assert_allclose(
        fitted.reconstruct(WINE), pca.inverse_transform(pca.transform(WINE)), atol=1e-8
    )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"Autoencoder: {CHECKED_EVERY} epochs in ")
    assert "; best epoch 0: valid_loss=" in lines[0]
    assert lines[0].endswith(
        "(the linear start: no epoch was significantly better on the held-out samples)"
    )


def test_a_fit_that_stays_at_pca_costs_at_most_twenty_epochs_in_the_median():
    def fit(seed):
        X = np.random.default_rng(seed).normal(size=(60, 12))
        return Autoencoder(4, random_state=seed).fit(X)

    with parallel_config(backend="sklearn_ae"):
        fits = Parallel()(delayed(fit)(seed) for seed in range(7))
    epochs = [fitted.n_iter_ for fitted in fits if not fitted.best_epoch_]
    assert len(epochs) >= 6
    assert np.median(epochs) <= 20


def test_a_curve_is_learnt_as_before(curve, monkeypatch):
    model = Autoencoder(1, max_iter=41, batch_size=256, learning_rate_init=0.03, random_state=0)
    fitted = clone(model).fit(curve[:200])
    monkeypatch.setattr(BestWeights, "_is_hopeless", lambda self, net: False)
    expected = clone(model).fit(curve[:200])
    assert fitted.n_iter_ == 41
    assert fitted.best_epoch_ > 0
    assert fitted.history_ == expected.history_
    np.testing.assert_array_equal(fitted.transform(curve), expected.transform(curve))


def test_the_epochs_before_the_last_are_those_of_a_longer_fit(unending, monkeypatch):
    """Nothing but the number of epochs depends on the rule: learning rates are the same."""
    whole = Autoencoder(4, n_iter_no_change=25, random_state=0).fit(NOISE)
    monkeypatch.undo()
    short = Autoencoder(4, n_iter_no_change=25, random_state=0).fit(NOISE)
    assert whole.n_iter_ > short.n_iter_ == CHECKED_EVERY
    assert short.history_ == whole.history_[:CHECKED_EVERY]
    np.testing.assert_array_equal(short.transform(NOISE), whole.transform(NOISE))


class _Net:
    """Training with given mean held-out losses of 40 samples, the start's first."""

    def __init__(self, losses, spread=0.0, n_losses=1):
        self.losses = losses
        self.spread = spread
        self.n_losses = n_losses
        self.history = []
        self.stop_training = False

    def validate(self):
        n_epochs = len(self.history)
        pattern = np.where(np.arange(40) % 2, self.spread, -self.spread)
        losses = self.losses[n_epochs] + (pattern if n_epochs else 0 * pattern)
        return validation(losses if self.n_losses == 1 else np.stack([losses] * self.n_losses, 1))

    def train(self, best):
        best.on_train_begin(self)
        while not self.stop_training and len(self.history) + 1 < len(self.losses):
            self.history.append({"valid_loss": self.losses[len(self.history) + 1]})
            self.validation = self.validate()
            best.on_epoch_end(self)
        return len(self.history)


def _rule(max_iter=200, **rules):
    """The callback of a fit, without its fit."""
    run = TrainingRun(
        module=None,
        samples="samples",
        held_out="other samples",
        objective=Objective(terms=None, needs_significance=True, **rules),
        parameters=Hyperparameters.of(Autoencoder(max_iter=max_iter)),
        products=torch.float64,
        seeds=None,
    )
    return BestWeights(run)


@pytest.mark.parametrize(
    ("losses", "n_epochs"),
    [
        # Higher than the start's, and not decreasing again.
        ([1.0] + 60 * [1.2], 20),
        (1 + np.arange(61) / 60, 20),
        # A bit more and a bit less than three tenths of the largest excess are gone.
        ([1.0] + 19 * [1.2] + 29 * [1.139], 48),
        ([1.0] + 19 * [1.2] + 41 * [1.141], 20),
        # The excess returns between two checks.
        ([1.0] + 10 * [1.4] + 10 * [1.1] + 40 * [1.4], 40),
        # One epoch was better, or better by less than `tol`.
        ([1.0, 0.99] + 59 * [1.2], 60),
        ([1.0, 1 - 1e-5] + 59 * [1.2], 20),
    ],
)
def test_training_ends_if_losses_are_above_the_start_and_stay_there(losses, n_epochs):
    assert _Net(losses, spread=0.001).train(_rule()) == n_epochs


def test_the_best_epoch_must_approach_significance_by_the_third_check():
    """The t statistic of 40 decreases ``0.01 +- s`` is ``0.01 sqrt(39) / s``."""
    quantile = stats.t.ppf(0.95, 39)
    bound = 0.01 * 39**0.5 / (LEAST_SIGNIFICANCE * quantile)
    losses = [1.0] + 79 * [0.99]
    assert _Net(losses, 1.001 * bound).train(_rule()) == 60
    assert _Net(losses, 0.999 * bound).train(_rule()) == 79
    # Not of several losses, as those of ordered codes.
    assert _Net(losses, 1.001 * bound, n_losses=2).train(_rule()) == 79


def test_checks_begin_later_if_losses_differ_by_chance():
    losses = [1.0] + 59 * [1.2]
    assert _Net(losses).train(_rule(prefers_last=True)) == 2 * CHECKED_EVERY


def test_checks_keep_their_place_in_the_schedule():
    losses = [1.0] + 99 * [1.2]
    assert _Net(losses).train(_rule(max_iter=600)) == 60
    assert _Net(losses).train(_rule(max_iter=50)) == 20


@pytest.mark.parametrize(
    "model",
    [
        Autoencoder(4, n_iter_no_change=math.inf),
        Autoencoder(4, init="random"),
        Autoencoder(4, early_stopping=False),
        Autoencoder(4, callbacks=[LRScheduler("StepLR", step_size=5)]),
    ],
)
def test_fits_without_a_rule(model):
    fitted = clone(model).set_params(max_iter=22, random_state=0).fit(NOISE)
    assert fitted.n_iter_ == 22


@pytest.mark.parametrize(
    "model",
    [
        Autoencoder(4, ordered=True),
        Autoencoder(0.5),
        Autoencoder(4, loss="huber"),
        DenoisingAutoencoder(4),
    ],
)
def test_variants_end_early(model):
    fitted = clone(model).set_params(random_state=0).fit(NOISE)
    assert fitted.best_epoch_ == 0
    assert fitted.n_iter_ in (CHECKED_EVERY, 3 * CHECKED_EVERY)


# The state of a fit


def test_models_trained_together_end_in_the_epochs_of_single_fits():
    def fit(seed):
        X = np.random.default_rng(seed).normal(size=(60, 12))
        return Autoencoder(4, random_state=seed).fit(X)

    seeds = 0, 6
    alone = [fit(seed) for seed in seeds]
    with parallel_config(backend="sklearn_ae"):
        grouped = Parallel()(delayed(fit)(seed) for seed in seeds)
    assert [each.n_iter_ for each in grouped] == [each.n_iter_ for each in alone]
    assert {each.n_iter_ for each in alone} == {CHECKED_EVERY, 2 * CHECKED_EVERY}


def test_an_interrupted_fit_ends_in_the_same_epoch(tmp_path, monkeypatch):
    whole = Autoencoder(4, random_state=0).fit(NOISE)
    model = Autoencoder(4, random_state=0, callbacks=[FitCheckpoint(tmp_path, every=1)])
    train_epoch = AutoencoderNet.train_epoch

    def interrupted(self, batches, epoch):
        if epoch == 12:
            raise KeyboardInterrupt
        train_epoch(self, batches, epoch)

    monkeypatch.setattr(AutoencoderNet, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(NOISE)
    monkeypatch.undo()
    assert list(tmp_path.iterdir())
    resumed = model.fit(NOISE)
    assert resumed.history_ == whole.history_
    assert resumed.n_iter_ == CHECKED_EVERY
    np.testing.assert_array_equal(resumed.transform(NOISE), whole.transform(NOISE))


def test_a_later_call_goes_on_from_the_end():
    model = Autoencoder(4, random_state=0, warm_start=True).fit(NOISE)
    assert model.n_iter_ == CHECKED_EVERY
    assert model.set_params(max_iter=22).fit(NOISE).n_iter_ == 22  # no significance is needed
    chunks = Autoencoder(2, random_state=0)
    for _ in range(3):
        chunks.partial_fit(NOISE[:10])  # one sample is held out
    assert len(chunks.history_) == 3
