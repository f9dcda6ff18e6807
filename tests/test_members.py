"""What the outlier detector counts with: thresholds, medians, covariances, halves, folds."""

import numpy as np
import pytest
import torch

from sklearn_ae import Autoencoder
from sklearn_ae._detection import error_statistics as _error_statistics
from sklearn_ae._detection.ensemble import average_over_pairs
from sklearn_ae._detection.error_statistics import (
    decorrelate,
    error_covariance,
    lower_threshold,
    normal_error,
    weighted_median,
)
from sklearn_ae._detection.halves import draw_some, draw_split, folds, second_half
from sklearn_ae._detection.members import TrainingSamples, train_member
from sklearn_ae._training.batches import Samples
from sklearn_ae._training.held_out import hash_samples


def test_weighted_median_is_that_of_repeated_values():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values, weight = rng.normal(size=(9, 2)), rng.integers(1, 4, size=9)
        expected = np.median(np.repeat(values, weight, axis=0), axis=0)
        np.testing.assert_array_equal(weighted_median(values, weight.astype(float)), expected)


@pytest.mark.parametrize("share", [0.0, 0.004, 0.1, 0.25, 0.3, 0.5])
def test_a_fraction_of_the_weight_lies_below_the_threshold(share):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=100)
    threshold = lower_threshold(scores, np.ones(100), share)
    assert (scores < threshold).sum() == int(100 * share + 1e-9)
    distance = abs(threshold - np.quantile(scores, share, method="inverted_cdf"))
    assert distance <= np.diff(np.sort(scores)).max()


def test_threshold_is_the_same_for_copies_and_for_weights():
    rng = np.random.default_rng(0)
    for share in (0.05, 0.2, 0.5):
        scores, weight = rng.normal(size=30), rng.integers(1, 4, size=30)
        repeated = lower_threshold(np.repeat(scores, weight), np.ones(weight.sum()), share)
        assert lower_threshold(scores, weight.astype(float), share) == repeated


@pytest.mark.parametrize("n", [1, 2, 7, 10, 40])
@pytest.mark.parametrize("share", [0.03, 0.1, 0.25, 0.5])
def test_a_fraction_of_fresh_scores_lies_below_the_threshold(n, share):
    """The scores are uniform: the expected share is the mean threshold.

    Gaps are independent exponential variables over their sum, of mean 1 / (n + 1) each. Below the
    least score the expectation of max(G_1 - G_2 / 2, 0) is 2 / 3 of that.
    """
    scores = np.random.default_rng(n).uniform(size=(20_000, n))
    below = np.array([lower_threshold(row, np.ones(n), share) for row in scores]).clip(0, 1)
    k = int(n * share + 1e-9)
    expected = (k + 0.5 if k else 2 / 3 if n > 1 else 1) / (n + 1)
    assert abs(below.mean() - expected) < 5 * below.std() / np.sqrt(len(below)) + 1e-9


@pytest.mark.parametrize("share", [0.0, 0.004, 0.1, 0.25, 0.3, 0.5])
def test_the_threshold_is_in_the_middle_of_a_gap(share):
    for seed in range(20):
        scores = np.random.default_rng(seed).normal(size=100)
        ordered = np.sort(scores)
        ordered = np.concatenate([[2 * ordered[0] - ordered[1]], ordered])
        k = int(100 * share + 1e-9)
        middle = (ordered[k] + ordered[k + 1]) / 2
        assert lower_threshold(scores, np.ones(100), share) == pytest.approx(middle, rel=1e-14)
        # Equal scores are on one side, and scores that are equal up to rounding.
        tied = np.repeat(scores, 2) + np.tile([0.0, 1e-13], 100)
        threshold = lower_threshold(tied, np.ones(200), share)
        assert threshold == pytest.approx(middle, rel=1e-12)


def test_the_threshold_of_equal_scores_is_below_them():
    assert lower_threshold(np.full(5, -3.0), np.ones(5), 0.1) < -3.0


@pytest.mark.parametrize("n", [4, 30])
def test_errors_are_multiplied_by_the_inverse_of_their_covariance(n):
    rng = np.random.default_rng(0)
    error, weight = rng.normal(size=(n, 6)) @ rng.normal(size=(6, 6)), rng.uniform(1, 2, size=n)
    spread, common = error_covariance(error, weight, trim=0.0)
    assert common.shape == (min(n, 6), 6)
    fresh = rng.normal(size=(5, 6))
    np.testing.assert_allclose(spread, np.sqrt(np.average(error**2, axis=0, weights=weight)))
    unit = error / spread
    correlations = (unit.T * weight) @ unit / weight.sum()
    ridge = _error_statistics.RIDGE
    expected = ridge * fresh / spread @ np.linalg.inv(correlations + ridge * np.eye(6))
    # The matrix is kept in float32.
    tolerance = 6 * np.finfo(np.float32).eps * np.abs(fresh / spread).max()
    np.testing.assert_allclose(decorrelate(fresh, spread, common), expected, atol=tolerance)


def test_decorrelated_errors_are_residuals_of_regressions(monkeypatch):
    monkeypatch.setattr(_error_statistics, "RIDGE", 1e-4)
    rng = np.random.default_rng(0)
    # Far from singular, as else even a small ridge changes the regressions.
    error = rng.normal(size=(200, 4)) @ (np.eye(4) + 0.3 * rng.normal(size=(4, 4)))
    decorrelated = decorrelate(error, *error_covariance(error, np.ones(200), trim=0.0))
    for feature in range(4):
        others = np.delete(error, feature, axis=1)
        slopes = np.linalg.lstsq(others, error[:, feature], rcond=None)[0]
        residual = error[:, feature] - others @ slopes
        assert np.corrcoef(residual, decorrelated[:, feature])[0, 1] > 0.999


def test_a_group_of_outliers_does_not_shape_the_covariance():
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(90, 1)) * [1.0, 1.0] + 0.05 * rng.normal(size=(90, 2))
    odd = np.tile([[6.0, -6.0]], (10, 1))
    for trim, least, most in ((0.3, 30, np.inf), (0.0, 0, 3)):
        spread, common = error_covariance(np.vstack([clean, odd]), np.ones(100), trim)
        size = np.abs(decorrelate(np.vstack([clean, odd]), spread, common)).mean(axis=1)
        assert least < size[90:].mean() / np.median(size[:90]) < most


def test_samples_are_parted_into_halves_by_their_keys():
    rng = np.random.default_rng(0)
    keys, fresh = (rng.integers(2**64, size=n, dtype=np.uint64) for n in (1001, 20_000))
    random_state, halves = np.random.RandomState(0), []
    for _ in range(3):
        split = draw_split(keys, random_state)
        assert second_half(keys, split).sum() == 500
        np.testing.assert_array_equal(second_half(keys[:7], split), second_half(keys, split)[:7])
        halves.append(second_half(fresh, split))
    assert np.abs(np.mean(halves, axis=1) - 0.5).max() < 5 * 0.5 / np.sqrt(1001)
    assert np.abs(np.corrcoef(halves) - np.eye(3)).max() < 5 / np.sqrt(20_000)


@pytest.mark.parametrize("n", [2, 3])
def test_neither_half_is_empty(n):
    keys = np.arange(n, dtype=np.uint64)
    for seed in range(20):
        half = second_half(keys, draw_split(keys, np.random.RandomState(seed)))
        assert 0 < half.sum() < n


def test_scores_are_averaged_over_the_members_that_did_not_train_on_a_sample():
    scores = np.array([[1.0, 2.0], [3.0, 9.0], [5.0, 5.0], [7.0, 7.0]])
    new = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], dtype=bool)
    np.testing.assert_allclose(average_over_pairs(scores, new), [3.0, 7.0])


def test_normal_errors_do_not_depend_on_the_order_of_samples():
    """Every other sample is of another regime; more than are measured are held out."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4_064, 3))
    X[::2] *= 100
    inside = np.arange(len(X)) >= 4_000
    member = member_trained_on(X, inside)
    error = np.abs(member.estimator.reconstruct(X[:4_000]) - X[:4_000])
    for scale in member.scale:
        share_below = (error < scale).mean(axis=0)
        assert np.abs(share_below - 0.5).max() < 5 * 0.5 / np.sqrt(2_000 * 7 / 8)


def member_trained_on(X, inside, keys=None):
    """A member that was trained on some of the samples."""
    keys = keys_of(X) if keys is None else keys
    training = TrainingSamples(X, np.ones(len(X)), False, keys, 0.0, np.zeros(0, int))
    linear = Autoencoder(1, hidden_layer_sizes=(), max_iter=1)
    split = np.array([1, 0])
    return train_member(linear, training, inside, seed=0, split=split, second=False)[0]


def keys_of(X):
    return hash_samples(Samples(X, None, torch.device("cpu"), torch.float64), seed=0).keys


@pytest.mark.parametrize("n_samples", [24, 200])
def test_no_sample_contributes_to_the_scale_of_its_own_error(n_samples):
    X = np.random.default_rng(0).normal(size=(n_samples, 3))
    inside = np.arange(n_samples) < n_samples // 2
    keys = keys_of(X)
    member, fold = member_trained_on(X, inside, keys), folds(keys)
    for number in range(8):
        others = ~inside & (fold != number)
        error = member.estimator.reconstruct(X[others]) - X[others]
        expected = normal_error(error, np.ones(len(error)))
        np.testing.assert_allclose(member.scale[number], expected)


def test_held_out_samples_of_one_fold_are_their_own_standard():
    X = np.random.default_rng(0).normal(size=(12, 3))
    inside = np.arange(12) < 8
    member = member_trained_on(X, inside, np.arange(12, dtype=np.uint64))
    expected = normal_error(member.estimator.reconstruct(X[8:]) - X[8:], np.ones(4))
    np.testing.assert_allclose(member.scale, np.tile(expected, (8, 1)))


def test_folds_are_equally_frequent_and_independent_of_halves():
    keys = np.random.default_rng(0).integers(2**64, size=20_000, dtype=np.uint64)
    fold, split = folds(keys), draw_split(keys, np.random.RandomState(0))
    shares = np.array([second_half(keys[fold == number], split).mean() for number in range(8)])
    assert np.abs(np.bincount(fold) - 2500).max() < 5 * np.sqrt(2500)
    assert np.abs(shares - 0.5).max() < 5 * 0.5 / np.sqrt(2500)


def test_whether_a_sample_is_drawn_is_up_to_itself():
    """Of fewer samples the same ones are drawn, and as many more as there is room for."""
    keys = keys_of(np.random.default_rng(0).normal(size=(1000, 3)))
    drawn = draw_some(keys, 300, np.random.RandomState(0))
    fewer = draw_some(keys[:900], 300, np.random.RandomState(0))
    other = draw_some(keys, 300, np.random.RandomState(1))
    assert len(drawn) == len(fewer) == 300
    assert set(drawn[drawn < 900]) <= set(fewer)
    assert abs(len(set(drawn) & set(other)) - 90) < 5 * np.sqrt(300 * 0.3 * 0.7)
