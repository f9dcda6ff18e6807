"""Which samples a member is trained on and which it scores: both follow from hashes of samples."""

from __future__ import annotations

import numpy as np

from sklearn_ae._training.keys import draw_factor, reordered

FOLD_BITS = 3
"""Number of highest bits of a sample's key; they are the index of one of eight folds."""


def draw_split(keys: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """Draw a random split of all possible samples into halves; see :func:`second_half`.

    Parameters
    ----------
    keys : ndarray of shape (n_distinct,), dtype uint64
        Keys of the distinct training samples, which are split at their median.

    Returns
    -------
    ndarray of shape (2,), dtype int64
        A factor that determines a random order of keys, and the median in this order.
    """
    factor = draw_factor(random_state)
    return np.array([factor, np.sort(reordered(keys, factor))[(len(keys) - 1) // 2]])


def second_half(keys: np.ndarray, split: np.ndarray) -> np.ndarray:
    """Return which samples belong to the second half, given their keys.

    Only the hash of a sample decides, for training samples and new samples alike. Every new sample
    is therefore scored by one member of each pair, as every training sample is. The mean over both
    members would vary less, and could not be compared with held-out scores.
    """
    factor, median = split  # the factor orders the keys anew, so that pairs are independent
    in_second: np.ndarray = reordered(keys, factor) > median
    return in_second


def draw_some(keys: np.ndarray, size: int, random_state: np.random.RandomState) -> np.ndarray:
    """Return the sorted positions of at most ``size`` keys, drawn at random.

    The draw is a random order of all possible keys: whether a key is drawn before another does not
    depend on the other keys.
    """
    order = np.argsort(reordered(keys, draw_factor(random_state)), kind="stable")
    return np.sort(order[:size])


def folds(keys: np.ndarray) -> np.ndarray:
    """Return the index of the fold of each sample.

    A sample must not contribute to the scale that its own errors are divided by, or training
    samples would score higher than new ones. Each fold therefore uses the scale of the others.
    """
    return (keys >> np.uint64(64 - FOLD_BITS)).astype(np.int64)
