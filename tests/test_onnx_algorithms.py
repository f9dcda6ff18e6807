"""Algorithms that the export implements a second time agree with the first on random inputs."""

import numpy as np
import onnxruntime
import pytest
import scipy.special
import torch
from torch import nn

from sklearn_ae._detection.halves import FOLD_BITS, draw_split, second_half
from sklearn_ae._estimator import bounds
from sklearn_ae._onnx import activations, layers, operators, shapes  # noqa: F401 - register
from sklearn_ae._onnx import hashing as traced_hashing
from sklearn_ae._onnx.graph import Graph
from sklearn_ae._onnx.greedy import GreedyDecoder, GreedyEncoder
from sklearn_ae._onnx.tracing import N_EXAMPLES, traced
from sklearn_ae._training import keys as hashing
from sklearn_ae.networks.recursive import FoldingEncoder, UnfoldingDecoder

SEEDS = range(6)


def run(function, X):
    """Trace a function of samples, and return what onnxruntime computes."""
    graph = Graph()
    x = traced(graph, "X", torch.zeros(N_EXAMPLES, X.shape[1]).to(torch.from_numpy(X).dtype))
    results = function(x)
    results = results if isinstance(results, tuple) else (results,)
    outputs = []
    for number, result in enumerate(results):
        graph.named(result, f"Y{number}")
        dtype = torch.empty(0, dtype=result.dtype).numpy().dtype
        outputs.append((f"Y{number}", dtype, ["m" for _ in result.shape]))
    for number, (name, dtype, shape) in enumerate(outputs):
        outputs[number] = name, dtype, [f"{axis}{number}{size}" for axis, size in enumerate(shape)]
    model = graph.model([("X", X.dtype, (None, X.shape[1]))], outputs, 18)
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"X": X})
    return found[0] if len(found) == 1 else found


# Greedy trees. In float64: in float32 rounding could choose another of two equally good pairs.

TREES = [(1, 2, 3), (2, 1, 3), (3, 2, 1), (5, 3, 4), (9, 1, 6), (16, 2, 5)]
"""Numbers of steps, of channels, and the width of nodes."""


def coders(n_steps, n_channels, size, seed):
    torch.manual_seed(seed)
    encoder = FoldingEncoder((n_steps, n_channels), 2, size, "greedy").double()
    decoder = UnfoldingDecoder((n_steps, n_channels), 2, size, "greedy").double()
    for parameter in [*encoder.parameters(), *decoder.parameters()]:
        nn.init.normal_(parameter, std=0.8)  # trees of random weights differ between samples
    return encoder, decoder


def ragged(rng, n_steps, n_channels):
    """Sequences of every length from zero on."""
    X = rng.normal(size=(40, n_steps, n_channels))
    lengths = rng.integers(n_steps + 1, size=len(X))
    X[np.arange(n_steps) >= lengths[:, None]] = np.nan
    return X.reshape(len(X), -1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sizes", TREES, ids=str)
def test_greedy_trees_of_encoders(sizes, seed):
    X = ragged(np.random.default_rng(seed), *sizes[:2])
    encoder, _ = coders(*sizes, seed)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(X)).numpy()
        found = run(GreedyEncoder(encoder), X)
    np.testing.assert_array_equal(found[:, 2:], expected[:, 2:])  # the merges
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)
    if sizes[0] > 5:
        assert len(np.unique(expected[:, 2:], axis=0)) > 10


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sizes", TREES, ids=str)
def test_greedy_trees_of_decoders(sizes, seed):
    """Codes of encoders, and random ones: fractions, pairs that are not there, values far off."""
    rng = np.random.default_rng(seed)
    encoder, decoder = coders(*sizes, seed)
    with torch.no_grad():
        codes = encoder(torch.from_numpy(ragged(rng, *sizes[:2]))).numpy()
        wild = rng.normal(scale=sizes[0], size=codes.shape)
        for Z in (codes, wild, np.floor(wild), 1e9 * wild):
            expected = decoder(torch.from_numpy(Z)).numpy()
            np.testing.assert_allclose(
                run(GreedyDecoder(decoder), Z), expected, rtol=0, atol=1e-11
            )


# Hashes and draws. In float64, where the sums of both come nowhere near an edge by chance.


def unsigned(values):
    return values.view(np.uint64)


KINDS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "offset": lambda rng, shape: 500 + rng.normal(size=shape),
    "heavy tails": lambda rng, shape: rng.standard_cauchy(shape),
    "bits": lambda rng, shape: (rng.random(shape) < 0.3).astype(float),
    "clusters": lambda rng, shape: (
        rng.integers(3, size=(shape[0], 1)) + 1e-9 * rng.normal(size=shape)
    ),
    "constant": lambda rng, shape: np.full(shape, 7.25),
}


def grid_of(X, rng, seed, weighted):
    directions, shift = hashing.draw_directions(X.shape[1], seed)
    weight = rng.uniform(0.1, 3, size=len(X)) if weighted else None
    size = hashing.lower_median(np.sqrt(np.square(X).mean(axis=1)), weight)
    edges = [
        hashing.edges_of(values, weight, start, size)
        for values, start in zip(hashing.project(X, directions), shift, strict=True)
    ]
    return hashing.Grid(directions, np.stack(edges))


def keys_by_export(X, grid):
    cells, position = run(lambda x: traced_hashing.keys_in_grid(x, grid), X)
    return unsigned(cells), position


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_features", [1, 3, 30])
@pytest.mark.parametrize("kind", KINDS)
def test_keys_in_a_grid(kind, n_features, seed):
    rng = np.random.default_rng(seed)
    X = KINDS[kind](rng, (200, n_features))
    grid = grid_of(X, rng, seed, weighted=bool(seed % 2))
    mask = np.uint64(2**hashing.POSITION_BITS - 1)
    noise = rng.uniform(0.1, 0.2, size=X.shape)  # new samples lie on no training sample
    for given, tolerance in ((X, 1), (X + noise, 0), (1e6 * (X + noise), 0)):
        expected = hashing.keys_of_projections(hashing.project(given, grid.directions), grid)
        cells, position = keys_by_export(given, grid)
        np.testing.assert_array_equal(cells, expected & ~mask)
        # The training samples at the ends of a slice may be on either side of the wrap.
        apart = (position - (expected & mask).astype(np.int64)) % 2**hashing.POSITION_BITS
        assert np.minimum(apart, 2**hashing.POSITION_BITS - apart).max() <= tolerance


@pytest.mark.parametrize("seed", SEEDS)
def test_halves_and_folds_of_keys(seed):
    """Those that members were trained on and that their statistics belong to."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(300, 4))
    grid = grid_of(X, rng, seed, weighted=False)
    keys = hashing.keys_of_projections(hashing.project(X, grid.directions), grid)
    factor, median = draw_split(np.unique(keys), np.random.RandomState(seed))
    new = rng.normal(size=(500, 4))
    expected = hashing.keys_of_projections(hashing.project(new, grid.directions), grid)

    def halves_and_folds(x):
        cells, position = traced_hashing.keys_in_grid(x, grid)
        place = cells * int(factor) + position * 2 ** (64 - hashing.POSITION_BITS)
        return place > int(median), traced_hashing.highest_bits(cells, FOLD_BITS)

    half, fold = run(halves_and_folds, new)
    np.testing.assert_array_equal(half, second_half(expected, np.array([factor, median])))
    np.testing.assert_array_equal(fold, expected >> np.uint64(64 - FOLD_BITS))
    assert 0.3 < half.mean() < 0.7
    assert len(np.unique(fold)) == 2**FOLD_BITS


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 2), (64, 4)], ids=str)
@pytest.mark.parametrize("n_features", [1, 4, 40])
def test_uniform_draws_of_samples(n_features, shape, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(scale=10.0 ** rng.uniform(-3, 3), size=(100, n_features)).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    X[0], X[1] = 0, X[2]
    X[3] = 3e38 * np.sign(X[3])
    cells = hashing.cells_of_units(n_features, hashing.DRAWING_CELLS, offset=rng.uniform(0, 50))
    expected = bounds.uniform_of_samples(torch.from_numpy(X), cells, shape, seed).numpy()
    found = run(lambda x: traced_hashing.uniform_of_samples(x, cells, shape, seed), X)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found[:, 1], found[:, 2])
    assert found.shape == (shape[0], 100, shape[1])


@pytest.mark.parametrize("seed", SEEDS)
def test_quantiles_of_the_normal_distribution(seed):
    """At random and at the extreme numbers that are drawn, and around the change of formulas."""
    multiples = np.random.default_rng(seed).integers(2**24, size=(500, 3))
    extremes = np.add.outer([2, 1258291, 15518925, 2**24 - 3], [-2, 0, 2])
    p = ((np.vstack([multiples, extremes]) + 0.5) * 2.0**-24).astype(np.float32)
    # Of float32, the largest number below one stands for all that round to one.
    expected = scipy.special.ndtri(np.minimum(p.astype(np.float64), 1 - 2.0**-24))
    found = run(traced_hashing.normal_quantile, p)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)
