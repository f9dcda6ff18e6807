"""What goes by the content of a sample: it follows neither type, unit, place nor storage."""

import pickle
import tracemalloc
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn import datasets

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    DeepBeliefNetwork,
    VariationalAutoencoder,
)
from sklearn_ae._training import held_out
from sklearn_ae._training import keys as hashing
from sklearn_ae._training.batches import Samples
from sklearn_ae._training.held_out import hash_samples, held_out_mask, keys_in_grid

N = 20_000
PROMISED = 1e-3
"""Fraction of the samples that may be parted otherwise."""
PROMISED_OFFSET = 1000
"""Mean of a feature, in standard deviations, up to which this is promised."""


def rows_of(X, weight=None):
    weight = None if weight is None else torch.from_numpy(np.asarray(weight, np.float64))
    return Samples(X, weight, torch.device("cpu"), torch.float64)


def mask_of(X, weight=None, seed=0):
    return held_out_mask(rows_of(X, weight), seed, 0.1)


def tables():
    """Data of many kinds; none of which float32 knows fewer than three digits."""
    rng = np.random.default_rng(0)
    for name in ("breast_cancer", "digits", "wine", "iris", "diabetes"):
        yield name, getattr(datasets, f"load_{name}")().data
    yield "one feature", rng.normal(size=(N, 1))
    yield "heavy tails", rng.standard_cauchy((N, 5))
    yield "products", np.exp(3 * rng.normal(size=(N, 4)))
    outlier = rng.normal(size=(1000, 3))
    outlier[0] = 1e6
    yield "one outlier", outlier
    for offset in (10, 100, 1000, 10_000):
        yield f"offset of {offset}", offset + rng.normal(size=(N, 3))
    yield "one offset", rng.normal(size=(N, 10)) + 1e4 * np.eye(1, 10)
    yield "bits", (rng.random((N, 5)) < 0.3).astype(float)
    yield "clusters", 10.0 * rng.integers(3, size=(N, 1)) + 0.01 * rng.normal(size=(N, 2))
    yield "constant", np.column_stack([rng.normal(size=N), np.full(N, 7.3)])
    yield "large bit", np.column_stack([1e6 * (rng.random(N) < 0.5), rng.normal(size=N)])


TABLES = dict(tables())


@pytest.mark.parametrize("name", TABLES)
def test_type_and_units_hardly_change_what_is_held_out(name):
    X = TABLES[name]
    varies = X.std(axis=0) > 1e-9 * np.abs(X).max()
    offset = (np.abs(X.mean(axis=0))[varies] / X.std(axis=0)[varies]).max()
    for seed in range(3):
        mask = mask_of(X, seed=seed)
        single = X.astype(np.float32)
        units = np.random.default_rng(seed).uniform(0.1, 10, size=X.shape[1])
        exact = X * 1024
        np.testing.assert_array_equal(mask_of(exact, seed=seed), mask)
        for same in (single, X * (1000 / 3), single * np.float32(1000 / 3), X * units):
            changed = (mask_of(same, seed=seed) != mask).sum()
            # One in a thousand is expected to change, at most, up to the offset that the docs
            # name; rounding errors grow with larger ones.
            most = PROMISED * len(X) * max(1, offset / PROMISED_OFFSET)
            assert changed <= most + 4 * np.sqrt(most)


def most_at_one_position(X, grid):
    """Return how many samples have equal keys at most, counted along the first direction.

    A cell has four slices and a slice 2^16 positions. A position is thus an interval in each of
    the slices, of length 2^-18 of the cell, and the end of the cell, which belongs to the first.
    """
    values, edges = np.sort(hashing.project(X, grid.directions)[0]), np.sort(grid.edges[0])
    assert hashing.N_SLICES * 2**hashing.POSITION_BITS == 2**18
    most = 0
    for least, largest in pairwise(edges[np.isfinite(edges)]):
        inside = values[(least <= values) & (values <= largest)]
        length = (largest - least) * 2**-18 * (1 + 1e-9)  # and rounding errors of the positions
        after = np.searchsorted(inside, inside + length, side="right")
        most = max(most, (after - np.arange(len(inside))).max(initial=0))
    return (hashing.N_SLICES + 1) * most


@pytest.mark.parametrize("name", TABLES)
def test_a_tenth_is_held_out_of_any_data(name):
    X = TABLES[name]
    _, which, counts = np.unique(X, axis=0, return_inverse=True, return_counts=True)
    for seed in range(3):
        mask = mask_of(X, seed=seed)
        keys, grid = hash_samples(rows_of(X), seed=seed)
        # Samples of equal keys are on one side, and those of one key are all that there may be
        # too much. They are copies, or so close that they have one position in a cell.
        largest = np.unique(keys, return_counts=True)[1].max()
        assert (np.bincount(which.ravel(), mask) % counts == 0).all()
        assert 0.1 * len(X) <= mask.sum() < 0.1 * len(X) + largest
        assert counts.max() <= largest <= most_at_one_position(X, grid)
        assert (mask != mask_of(X, seed=seed + 10)).any()


@pytest.mark.parametrize(
    "name", ["one feature", "heavy tails", "clusters", "offset of 1000", "large bit", "digits"]
)
def test_held_out_samples_are_like_the_others(name):
    """A tenth is held out of each fifth of the values of a feature, clusters or tails or none."""
    X, shares = TABLES[name], []
    for seed in range(10):
        mask = mask_of(X, seed=seed)
        for values in X.T:
            groups = np.digitize(values, np.unique(np.quantile(values, [0.2, 0.4, 0.6, 0.8])))
            shares += [mask[groups == number].mean() for number in np.unique(groups)]
    assert np.sqrt(np.square(np.array(shares) - 0.1).mean()) < 0.05


def test_neither_order_nor_storage_changes_what_is_held_out(tmp_path):
    X = np.random.default_rng(0).poisson(0.7, size=(3000, 6)).astype(float)
    X += 0.5 * (X > 0) * np.random.default_rng(1).random(X.shape)
    mask, order = mask_of(X), np.random.default_rng(2).permutation(len(X))
    np.save(tmp_path / "X.npy", X)
    kinds = {
        "columns first": np.asfortranarray(X),
        "every second": np.repeat(X, 2, axis=0)[::2],
        "sparse": sp.csr_array(X),
        "tensor": torch.from_numpy(X),
        "frame": pd.DataFrame(X).to_numpy(),
        "memory map": np.load(tmp_path / "X.npy", mmap_mode="r"),
        "other byte order": X.astype(">f8"),
    }
    for name, same in kinds.items():
        np.testing.assert_array_equal(mask_of(same), mask, err_msg=name)
    np.testing.assert_array_equal(mask_of(X[order]), mask[order])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        np.testing.assert_array_equal(mask_of(X), mask)
    finally:
        torch.set_num_threads(threads)


def test_origin_does_not_change_what_is_held_out():
    X = TABLES["iris"]
    for offset in (1.0, 50.0, -300.0):
        np.testing.assert_array_equal(mask_of(X + offset), mask_of(X))


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_of_weight_two_is_held_out_as_two_copies_are(seed):
    rng = np.random.default_rng(seed)
    X, weight = rng.normal(size=(200, 3)), rng.integers(1, 4, size=200)
    repeated = mask_of(np.repeat(X, weight, axis=0), seed=seed)
    np.testing.assert_array_equal(repeated, np.repeat(mask_of(X, weight, seed), weight))


def test_fresh_samples_have_the_keys_of_equal_training_samples():
    X = TABLES["breast_cancer"]
    keys, grid = hash_samples(rows_of(X), seed=0)
    np.testing.assert_array_equal(keys_in_grid(rows_of(X[7:9]), grid), keys[7:9])
    assert len(np.unique(keys)) > 0.99 * len(np.unique(X, axis=0))


def test_cells_hold_equally_many_samples():
    """An edge is a quantile, moved by the same part of a cell for all edges of a direction."""
    X = np.random.default_rng(0).normal(size=(8000, 3))
    grid = hash_samples(rows_of(X), seed=0).grid
    for direction, edges in zip(grid.directions, grid.edges, strict=True):
        inner = edges[1:-1]
        below = (X @ direction[:, None] < inner).mean(axis=0)
        np.testing.assert_allclose(np.diff(below), 1 / hashing.N_CELLS, atol=1e-3)
        assert not np.isin(inner, X @ direction).any()


def test_values_that_overflow_have_keys():
    _, grid = hash_samples(rows_of(TABLES["iris"]), seed=0)
    for value in (np.finfo(np.float64).max, np.finfo(np.float32).max, -1e300):
        X = np.full((2, 4), value)
        X[1, 2] *= -1
        assert keys_in_grid(rows_of(X), grid).shape == (2,)
        cells = hashing.cells_of_units(4, hashing.DRAWING_CELLS)
        assert hashing.sample_keys(X, cells).shape == (2,)


def test_draws_of_keys_are_uniform_and_independent():
    rows = np.random.default_rng(0).normal(size=(N, 5))
    keys = hashing.sample_keys(rows, hashing.cells_of_units(5, hashing.DRAWING_CELLS))
    assert len(np.unique(keys)) == N
    first, second = (hashing.uniform_from_keys(keys, 3, seed).numpy() for seed in (0, 1))
    draws = np.hstack([first, second])
    assert np.abs(draws.mean(axis=0) - 0.5).max() < 5 / np.sqrt(12 * N)
    assert np.abs(np.corrcoef(draws.T) - np.eye(6)).max() < 5 / np.sqrt(N)
    near = rows + 1e-3 * np.random.default_rng(1).normal(size=rows.shape)
    others = hashing.sample_keys(near, hashing.cells_of_units(5, hashing.DRAWING_CELLS))
    other = hashing.uniform_from_keys(others, 1).numpy()[others != keys, 0]
    assert abs(np.corrcoef(other, first[others != keys, 0])[0, 1]) < 5 / np.sqrt(len(other))


def test_orders_of_keys_are_random_and_even_within_cells():
    X = np.random.default_rng(0).normal(size=(N, 1))
    keys, _ = hash_samples(rows_of(X), seed=0)
    cells = keys >> np.uint64(hashing.POSITION_BITS)
    assert len(np.unique(cells)) < 100
    least = np.argsort(hashing.reordered(keys, 3)).argsort() < N // 2
    share = np.array([least[cells == cell].mean() for cell in np.unique(cells)])
    weight = np.array([(cells == cell).mean() for cell in np.unique(cells)])
    assert np.average(np.abs(share - 0.5), weights=weight) < 0.2
    other = np.argsort(hashing.reordered(keys, 12345)).argsort() < N // 2
    assert 0.3 < (least == other).mean() < 0.7


# What estimators make of it


@pytest.mark.parametrize("offset", [0.0, 10.0])
@pytest.mark.parametrize("params", [{"n_importance_samples": 3}, {}], ids=["three", "elbo"])
def test_the_type_does_not_change_the_draws_of_a_likelihood(params, offset):
    random = np.random.default_rng(0)
    X = (offset + random.normal(size=(2000, 6)).cumsum(axis=1)).astype(np.float32)
    vae = VariationalAutoencoder(
        2, hidden_layer_sizes=(8,), max_iter=3, random_state=0, **params
    ).fit(X[:200].astype(np.float64))
    single, double = vae.score_samples(X), vae.score_samples(X.astype(np.float64))
    assert single.dtype == np.float32
    scale = np.abs(double).max()
    # Offsets of ten deviations leave float32 six digits of what is centred.
    other = np.abs(single - double) > 1e-4 * scale
    assert other.mean() <= PROMISED + 4 * np.sqrt(PROMISED / len(X))
    X = X.astype(np.float64)
    rounded = vae.score_samples(X.astype(np.float32).astype(np.float64) * (1 + 1e-8))
    other = np.abs(rounded - double) > 1e-4 * scale
    assert other.mean() <= PROMISED + 4 * np.sqrt(PROMISED / len(X))


def test_the_type_does_not_change_the_draws_of_a_belief_network():
    X = np.random.default_rng(0).normal(size=(1000, 6)).cumsum(axis=1).astype(np.float32)
    belief = DeepBeliefNetwork(
        hidden_layer_sizes=(4,),
        pretraining_max_iter=2,
        fine_tune=False,
        random_state=0,
    ).fit(X[:200])
    single, double = belief.score_samples(X), belief.score_samples(X.astype(np.float64))
    other = np.abs(single - double) > 1e-3 * np.abs(double).max()
    assert other.mean() <= PROMISED + 4 * np.sqrt(PROMISED / len(X))


@pytest.mark.parametrize("seed", range(3))
def test_type_and_units_do_not_change_a_fit(seed):
    X = np.random.default_rng(seed).normal(size=(300, 5)).cumsum(axis=1).astype(np.float32)

    def fitted(data):
        return Autoencoder(2, init="random", max_iter=3, random_state=seed).fit(data)

    one = fitted(X)
    for same, unit in ((X.astype(np.float64), 1), (X * 1024, 1024), (X * np.float32(0.3), 0.3)):
        other = fitted(same)
        assert other.best_epoch_ == one.best_epoch_
        np.testing.assert_allclose(
            other.reconstruct(same) / unit, one.reconstruct(X), atol=1e-3 * np.abs(X).max()
        )


@pytest.mark.parametrize("seed", range(3))
def test_type_and_units_do_not_change_labels(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(200, 4))
    X[:, 3] = 2 * X[:, 0] + 0.1 * X[:, 3]
    labels = AutoencoderOutlierDetector(random_state=seed).fit_predict(X)
    for same in (1024 * X, X * (1000 / 3), X.astype(np.float32)):
        other = AutoencoderOutlierDetector(random_state=seed).fit_predict(same)
        # The sample next to the threshold may change sides with it.
        assert (other != labels).sum() <= (2 if same.dtype == np.float32 else 0)


def test_rounded_training_samples_are_scored_as_they_were():
    """By the same members, but for the few that rounding takes across an edge."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4))
    X[:, 3] = 2 * X[:, 0] + 0.1 * X[:, 3]
    detector = AutoencoderOutlierDetector(n_estimators=2, random_state=0).fit(X)
    keys = detector._keys(X)
    text = np.array([[float(f"{value:.6g}") for value in row] for row in X])
    for rounded, most in ((X.astype(np.float32), 0), (text, 2), (X.astype(np.float16), 12)):
        again = detector._keys(rounded)
        for member in detector._members:
            assert (member.is_new(again) != member.is_new(keys)).sum() <= most


def test_held_out_scores_are_of_the_type_of_the_data_and_are_what_predict_goes_by():
    X = TABLES["iris"]
    for dtype, expected in ((np.float64, np.float64), (np.float32, np.float32), (int, np.float64)):
        data = X.astype(dtype)
        detector = AutoencoderOutlierDetector(n_estimators=2, random_state=0).fit(data)
        assert detector.held_out_scores_.dtype == expected
        eps = np.finfo(expected).eps
        np.testing.assert_allclose(
            detector.score_samples(data), detector.held_out_scores_, rtol=100 * eps
        )
        # Each training sample is one of those that score no more than it does.
        scores = detector.held_out_scores_.astype(float)
        tie = max(1e-9, eps) * np.maximum(1, np.abs(scores))
        counts = (scores <= (scores + tie)[:, None]).sum(axis=1)
        np.testing.assert_allclose(detector.p_values(data), (1 + counts) / (1 + len(data)))


def test_a_detector_keeps_one_number_for_each_training_sample():
    """And a second one for its weight, where weights were given."""
    rng = np.random.default_rng(0)
    sizes = {}
    for n_samples in (6_000, 12_000):
        for dtype, weight in ((np.float64, None), (np.float32, None), (np.float64, 1.0)):
            X = rng.normal(size=(n_samples, 3)).astype(dtype)
            detector = AutoencoderOutlierDetector(
                Autoencoder(1, hidden_layer_sizes=(), max_iter=1), n_estimators=2, random_state=0
            ).fit(X, sample_weight=None if weight is None else np.full(n_samples, weight))
            sizes.setdefault((dtype, weight), []).append(len(pickle.dumps(detector)))
    growth = {key: (large - small) / 6_000 for key, (small, large) in sizes.items()}
    assert growth[np.float64, None] == pytest.approx(8, abs=0.2)
    assert growth[np.float32, None] == pytest.approx(4, abs=0.2)
    assert growth[np.float64, 1.0] == pytest.approx(16, abs=0.2)


@pytest.mark.parametrize("weighted", [False, True])
def test_many_samples_are_hashed_one_projection_at_a_time(weighted, monkeypatch):
    """In several passes over the data, which need less memory, and to the same bits."""
    rng = np.random.default_rng(0)
    X = np.round(rng.normal(size=(3000, 4)), 1)  # with ties
    weight = rng.uniform(0.1, 3, size=len(X)) if weighted else None
    once = hash_samples(rows_of(X, weight), 0)
    mask = mask_of(X, weight)
    monkeypatch.setattr(held_out, "MANY_SAMPLES", 100)
    several = hash_samples(rows_of(X, weight), 0)
    assert np.array_equal(once.keys, several.keys)
    assert np.array_equal(once.grid.edges, several.grid.edges)
    assert np.array_equal(mask, mask_of(X, weight))


def test_the_hash_needs_at_most_sixteen_bytes_for_a_sample():
    X = np.zeros((2**20 + 2**18, 2), np.float32)
    X[:] = np.random.default_rng(0).random(X.shape, np.float32)
    tracemalloc.start()
    try:
        mask_of(X)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 16 * len(X) + 10 * 2**20  # and what is read at a time
