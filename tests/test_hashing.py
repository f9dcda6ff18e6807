"""What makes semantic hashing: bits that carry something, and an exact search among them."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_ae import SemanticHashing
from sklearn_ae._search.hamming import closest, hamming_distances, nearest_codes, pack_bits
from sklearn_ae.networks import DenseNetwork
from sklearn_ae.networks._hashing import HashingModule


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def hashing(digits):
    X, _ = digits
    return SemanticHashing(64, max_iter=40, random_state=0).fit(X[:1400])


def _small(n_components=10, **parameters):
    parameters = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0} | parameters
    return SemanticHashing(n_components, **parameters)


def _brute_force(queries, bits, n_neighbors, leave_out=False):
    """Sort all distances; ties by index."""
    distances = (queries[:, None] != bits).sum(axis=2)
    if leave_out:
        np.fill_diagonal(distances, 10**6)
    indices = np.argsort(distances, axis=1, kind="stable")[:, :n_neighbors]
    return np.take_along_axis(distances, indices, axis=1), indices


# Searching


@pytest.mark.parametrize("n_bits", [1, 3, 8, 13, 63, 64, 65, 128, 200, 300])
@pytest.mark.parametrize("leave_out", [False, True])
def test_search_equals_brute_force(n_bits, leave_out):
    """Short codes are full of ties, long ones need another type for their distances."""
    rng = np.random.default_rng(n_bits)
    bits = rng.random((150, n_bits)) < rng.random(n_bits)
    queries = bits if leave_out else rng.random((20, n_bits)) < 0.5
    for n_neighbors in (1, 10, 149):
        distances, indices = nearest_codes(
            pack_bits(queries).view(np.uint64),
            pack_bits(bits).view(np.uint64),
            n_neighbors,
            leave_out=leave_out,
        )
        expected, places = _brute_force(queries, bits, n_neighbors, leave_out)
        np.testing.assert_array_equal(distances, expected)
        np.testing.assert_array_equal(indices, places)


def test_distances_across_chunks_and_of_opposite_codes(monkeypatch):
    monkeypatch.setattr("sklearn_ae._search.hamming.CHUNK_SAMPLES", 7)
    bits = np.random.default_rng(0).random((50, 256)) < 0.5
    bits[-1] = ~bits[0]
    words = pack_bits(bits).view(np.uint64)
    distances = hamming_distances(words[0], words)
    np.testing.assert_array_equal(distances, (bits != bits[0]).sum(axis=1))
    assert distances[-1] == 256  # one more than a byte holds


def test_closest_takes_ties_in_order_of_their_place():
    distances = np.array([3, 1, 2, 1, 3, 1, 0], np.uint8)
    np.testing.assert_array_equal(closest(distances, 3), [6, 1, 3])
    np.testing.assert_array_equal(closest(distances, 7), [6, 1, 3, 5, 2, 0, 4])


def test_neighbors_are_those_of_scikit_learn_on_the_codes(hashing, digits):
    X, _ = digits
    codes, queries = hashing.transform(X[:1400]), hashing.transform(X[1400:])
    theirs = NearestNeighbors(metric="hamming", algorithm="brute").fit(codes)
    distances, indices = hashing.kneighbors(X[1400:], n_neighbors=7)
    np.testing.assert_allclose(distances, 64 * theirs.kneighbors(queries, 7)[0], atol=1e-9)
    expected, places = _brute_force(queries, codes, 7)
    np.testing.assert_array_equal(indices, places)
    np.testing.assert_array_equal(distances, expected)
    assert indices.dtype == np.int64
    assert distances.dtype == np.float64
    np.testing.assert_array_equal(
        hashing.kneighbors(X[1400:], n_neighbors=7, return_distance=False), indices
    )


def test_training_samples_are_no_neighbors_of_themselves(hashing, digits):
    X, _ = digits
    codes = hashing.transform(X[:1400])
    distances, indices = hashing.kneighbors()
    assert indices.shape == (1400, hashing.n_neighbors)
    expected, places = _brute_force(codes, codes, hashing.n_neighbors, leave_out=True)
    np.testing.assert_array_equal(indices, places)
    np.testing.assert_array_equal(distances, expected)
    asked = hashing.kneighbors(X[:1400], n_neighbors=1)
    assert (asked[0] == 0).all()


def test_too_many_or_no_neighbors_are_refused(digits):
    X = digits[0][:20]
    hashing = _small(n_neighbors=20).fit(X)
    assert hashing.kneighbors(X)[1].shape == (20, 20)
    with pytest.raises(ValueError, match="n_neighbors=21, but there are 20 training samples; n_"):
        hashing.kneighbors(X, n_neighbors=21)
    with pytest.raises(ValueError, match="its own neighbour; n_neighbors must be at most 19"):
        hashing.kneighbors()
    with pytest.raises(ValueError, match="n_neighbors must be a positive integer, got 0"):
        hashing.kneighbors(X, n_neighbors=0)
    with pytest.raises(ValueError, match="mode must be 'connectivity' or 'distance', got 'x'"):
        hashing.kneighbors_graph(X, mode="x")


def test_graph_holds_the_neighbors(hashing, digits):
    X, _ = digits
    distances, indices = hashing.kneighbors(X[1400:], n_neighbors=3)
    graph = hashing.kneighbors_graph(X[1400:], n_neighbors=3, mode="distance")
    assert graph.shape == (397, 1400)
    assert graph.nnz == 3 * 397  # zeros are there
    np.testing.assert_array_equal(graph.indices.reshape(-1, 3), indices)
    np.testing.assert_array_equal(graph.data.reshape(-1, 3), distances)
    assert (hashing.kneighbors_graph(X[1400:]).sum(axis=1) == hashing.n_neighbors).all()
    assert not hashing.kneighbors_graph().diagonal().any()


def test_graph_feeds_a_classifier_of_precomputed_distances(hashing, digits):
    X, y = digits
    graphs = FunctionTransformer(
        hashing.kneighbors_graph, kw_args={"n_neighbors": 15, "mode": "distance"}
    )
    model = make_pipeline(graphs, KNeighborsClassifier(5, metric="precomputed"))
    model.fit(X[:1400], y[:1400])
    direct = KNeighborsClassifier(5, metric="hamming").fit(hashing.transform(X[:1400]), y[:1400])
    assert model.score(X[1400:], y[1400:]) > 0.8
    assert model.score(X[1400:], y[1400:]) == pytest.approx(
        direct.score(hashing.transform(X[1400:]), y[1400:]), abs=0.03
    )


# Codes


def test_codes_are_bits_that_are_packed_and_unpacked(hashing, digits):
    X, _ = digits
    for dtype in (np.float64, np.float32):
        codes = hashing.transform(X[:1400].astype(dtype))
        assert codes.dtype == dtype
        assert set(np.unique(codes)) == {0.0, 1.0}
    packed = hashing.pack(hashing.transform(X[:1400]))
    assert packed.dtype == np.uint8
    np.testing.assert_array_equal(packed, hashing.packed_codes_)
    codes = hashing.transform(X[:1400])
    np.testing.assert_array_equal(np.unpackbits(packed, axis=1, bitorder="little"), codes)
    rows = hashing.inverse_transform(codes)
    np.testing.assert_allclose(rows, hashing.reconstruct(X[:1400]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_bits", [1, 8, 63, 64, 65, 130])
def test_packed_codes_are_whole_words(n_bits, digits):
    X = digits[0][:30]
    hashing = _small(n_bits).fit(X)
    packed = hashing.pack(hashing.transform(X))
    assert packed.shape == (30, 8 * -(-n_bits // 64))
    bits = np.unpackbits(packed, axis=1, bitorder="little")
    np.testing.assert_array_equal(bits[:, :n_bits], hashing.transform(X))
    assert not bits[:, n_bits:].any()


def test_what_is_no_code_is_not_packed(hashing, digits):
    with pytest.raises(ValueError, match=r"codes of zeros and ones.*pack\(transform\(X\)\)"):
        hashing.pack(digits[0][:3])
    with pytest.raises(ValueError, match="X has 3 columns"):
        hashing.pack(np.zeros((2, 3)))


def test_bits_are_informative(hashing, digits):
    """On rows not seen: no bit is constant, most are balanced, none repeats another."""
    codes = hashing.transform(digits[0][1400:])
    rates = codes.mean(axis=0).clip(1e-9, 1 - 1e-9)
    entropy = -(rates * np.log2(rates) + (1 - rates) * np.log2(1 - rates))
    assert entropy.min() > 0.5
    assert entropy.mean() > 0.9
    correlation = np.corrcoef(codes.T) - np.eye(64)
    assert np.abs(correlation).max() < 0.98


def _precision(indices, y, asked):
    return (y[indices] == asked[:, None]).mean()


def test_retrieval_beats_random_hyperplanes_and_chance(hashing, digits):
    X, y = digits
    train, test = X[:1400], X[1400:]
    found = hashing.kneighbors(test, n_neighbors=20, return_distance=False)
    precision = _precision(found, y[:1400], y[1400:])
    planes = []
    for seed in range(5):
        normal = np.random.default_rng(seed).standard_normal((64, 64))
        words = [pack_bits((part - train.mean(axis=0)) @ normal > 0) for part in (test, train)]
        words = [part.view(np.uint64) for part in words]
        planes.append(_precision(nearest_codes(*words, 20)[1], y[:1400], y[1400:]))
    assert precision > np.max(planes)
    assert precision > 0.7


def test_codes_of_few_bits_restore_more_than_random_ones(digits):
    """16 bits, a quarter of a byte a pixel less: still a third of the variance."""
    X, _ = digits
    hashing = SemanticHashing(16, max_iter=40, random_state=0).fit(X[:1400])
    assert hashing.score(X[1400:]) > 0.3


# Training


def _module(**parameters):
    parameters = {"code_noise": 2.0, "input_masking": 0.0} | parameters
    torch.manual_seed(0)
    module = HashingModule(DenseNetwork(hidden_layer_sizes=()), (5,), 4, **parameters)
    return module.double()


def test_noise_comes_before_the_logistic_function():
    module, x = _module(), torch.randn(6, 5, dtype=torch.float64)
    torch.manual_seed(1)
    code = module.noisy_code(x)
    torch.manual_seed(1)
    noise = torch.randn(6, 4, dtype=torch.float64)
    layer = module.encoder.layers[0]
    expected = 1 / (1 + torch.exp(-(x @ layer.weight.t() + layer.bias) - 2 * noise))
    torch.testing.assert_close(code, expected)
    torch.testing.assert_close(module.encode(x), (x @ layer.weight.t() + layer.bias > 0).double())


def test_gradient_passes_the_noise_as_its_definition_says():
    """d code / d logit = h (1 - h), with the noise held fixed."""
    module, x = _module(), torch.randn(6, 5, dtype=torch.float64)
    torch.manual_seed(1)
    code = module.noisy_code(x)
    (gradient,) = torch.autograd.grad(code.sum(), module.encoder.layers[0].bias)
    torch.testing.assert_close(gradient, (code * (1 - code)).sum(0).detach())


def test_hidden_entries_have_the_mean_of_their_feature():
    module = _module(input_masking=0.3, code_noise=0.0)
    center = torch.arange(5, dtype=torch.float64)
    module.standardize_input(center, torch.full((5,), 4.0, dtype=torch.float64))
    seen = []
    module.logits = lambda x: seen.append(x) or x[:, :4]
    x = torch.full((4000, 5), 9.0, dtype=torch.float64)
    module.noisy_code(x)
    hidden = seen[0] == center
    assert ((seen[0] == x) | hidden).all()
    assert hidden.double().mean() == pytest.approx(0.3, abs=0.02)


def test_noise_polarises_the_codes(digits):
    """With more noise, what reaches the logistic function is farther from zero."""
    X = digits[0][:600]
    sizes = []
    for noise in (0.0, 4.0):
        hashing = SemanticHashing(16, code_noise=noise, max_iter=30, random_state=0).fit(X)
        module = hashing.module_
        rows = (torch.from_numpy(X) - module.center) / module.scale
        with torch.no_grad():
            sizes.append(float(module.logits(rows.to(module.center)).abs().mean()))
    assert sizes[1] > 1.5 * sizes[0]


# Data


def _documents():
    """Three topics of ten words each, in the counts of 150 documents."""
    rng = np.random.default_rng(0)
    topics = rng.integers(3, size=150)
    rates = np.full((3, 30), 0.1)
    for topic in range(3):
        rates[topic, 10 * topic : 10 * topic + 10] = 2.0
    return rng.poisson(rates[topics]).astype(float), topics


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_sparse_counts_are_hashed_by_topic(loss):
    X, topics = _documents()
    hashing = SemanticHashing(16, loss=loss, max_iter=40, random_state=0).fit(sp.csr_matrix(X))
    codes = hashing.transform(sp.csr_matrix(X))
    np.testing.assert_array_equal(codes, hashing.transform(X))
    indices = hashing.kneighbors(sp.csr_matrix(X[:20]), n_neighbors=10, return_distance=False)
    assert _precision(indices, topics, topics[:20]) > 0.9
    assert _precision(hashing.kneighbors(return_distance=False), topics, topics) > 0.9


def test_small_units_do_not_matter_to_losses_without_scaling():
    """The encoder sees standardised rows whatever the loss."""
    X, _ = _documents()
    hashing = _small(loss="poisson", early_stopping=False).fit(X / 1000)
    assert float(hashing.module_.input_scale) == pytest.approx(
        np.sqrt(X.var(axis=0).mean()) / 1000, rel=1e-5
    )


def test_samples_of_weight_zero_keep_their_places(digits):
    X = digits[0][:40]
    weight = np.ones(40)
    weight[:10] = 0
    hashing = _small(32).fit(X, sample_weight=weight)
    assert hashing.packed_codes_.shape == (40, 8)
    np.testing.assert_array_equal(hashing.packed_codes_, hashing.pack(hashing.transform(X)))


def test_partial_fit_keeps_the_last_chunk(digits):
    X = digits[0]
    hashing = _small(16).partial_fit(X[:50]).partial_fit(X[50:80])
    np.testing.assert_array_equal(hashing.packed_codes_, hashing.pack(hashing.transform(X[50:80])))


def test_pickles_are_small_and_search_alike(hashing, digits):
    X, _ = digits
    data = pickle.dumps(hashing)
    assert b"torch" not in data
    without = clone(hashing).set_params(max_iter=1).fit(X[:50])
    assert len(data) - len(pickle.dumps(without)) < 8 * 1350 + 20_000  # the history grows, too
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.kneighbors(X[:9])[1], hashing.kneighbors(X[:9])[1])


def test_drawn_codes_are_bits(hashing):
    codes = hashing._draw_codes(50, np.random.RandomState(0))
    assert set(np.unique(codes)) <= {0.0, 1.0}
    assert hashing.sample(3, random_state=0).shape == (3, 64)
