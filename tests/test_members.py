"""What the outlier detector counts with: thresholds, medians, fingerprints."""

import numpy as np
import pytest
import scipy.sparse as sp

from sklearn_ae._error_statistics import lower_threshold, weighted_median
from sklearn_ae._members import row_fingerprints


def test_weighted_median_is_that_of_repeated_values():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values, weight = rng.normal(size=(9, 2)), rng.integers(1, 4, size=9)
        expected = np.quantile(
            np.repeat(values, weight, axis=0), 0.5, axis=0, method="inverted_cdf"
        )
        np.testing.assert_array_equal(weighted_median(values, weight.astype(float)), expected)


@pytest.mark.parametrize("share", [0.0, 0.004, 0.1, 0.25, 0.3, 0.5])
def test_a_share_of_the_weight_lies_below_the_threshold(share):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=100)
    threshold = lower_threshold(scores, np.ones(100), share)
    assert (scores < threshold).sum() == int(100 * share + 1e-9)
    assert abs(threshold - np.quantile(scores, share, method="inverted_cdf")) < 0.2


def test_fingerprints_tell_rows_apart_and_know_them_again():
    X = np.random.default_rng(0).normal(size=(1000, 3))
    keys = row_fingerprints(X, 0)
    assert len(set(keys)) == 1000
    np.testing.assert_array_equal(keys, row_fingerprints(X.astype(np.float32), 0))
    np.testing.assert_array_equal(keys, row_fingerprints(sp.csr_array(X), 0))
    assert row_fingerprints(np.array([[-0.0]]), 0) == row_fingerprints(np.array([[0.0]]), 0)


def test_threshold_is_the_same_for_copies_and_for_weights():
    rng = np.random.default_rng(0)
    for share in (0.05, 0.2, 0.5):
        scores, weight = rng.normal(size=30), rng.integers(1, 4, size=30)
        repeated = lower_threshold(np.repeat(scores, weight), np.ones(weight.sum()), share)
        assert lower_threshold(scores, weight.astype(float), share) == repeated
