"""Data of every kind: the right result, or an error that names the culprit."""

import itertools
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from instances import name_of
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.utils.fixes import parse_version

from sklearn_ae import (
    Autoencoder,
    ConvolutionalAutoencoder,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    UNetAutoencoder,
)
from sklearn_ae.networks import DenseNetwork

FAST = Autoencoder(2, max_iter=3, random_state=0)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(40, 5))


@pytest.fixture(scope="module")
def expected(X):
    return clone(FAST).fit(X).transform(X)


@pytest.mark.parametrize("a", [1e-6, 1.0, 1e6])
def test_units_do_not_matter(a, curve):
    reference = Autoencoder(1, max_iter=30, random_state=0).fit(curve).score(curve)
    moved = a * curve + 1e3 * a
    score = Autoencoder(1, max_iter=30, random_state=0).fit(moved).score(moved)
    assert score == pytest.approx(reference, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point_type_is_kept(X, dtype):
    autoencoder = clone(FAST).fit(X.astype(dtype))
    Z = autoencoder.transform(X.astype(dtype))
    assert Z.dtype == dtype
    assert autoencoder.inverse_transform(Z).dtype == dtype
    assert autoencoder.reconstruct(X.astype(dtype)).dtype == dtype
    assert autoencoder.score_samples(X.astype(dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.uint16, np.int64, bool, ">f8", ">i4"])
def test_other_numbers_count_as_float64(X, dtype):
    X = np.round(4 * X + 20).astype(dtype)
    result = clone(FAST).fit(X).transform(X)
    np.testing.assert_array_equal(
        result, clone(FAST).fit(X.astype(float)).transform(X.astype(float))
    )
    assert result.dtype == np.float64


@pytest.mark.parametrize(
    "arrange",
    [
        np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
        lambda X: X[::-1].copy()[::-1],
        lambda X: X.tolist(),
        lambda X: X.astype(object),
        pd.DataFrame,
        sp.csr_array,
        sp.csc_matrix,
        torch.from_numpy,
        lambda X: torch.from_numpy(X).requires_grad_(),
    ],
    ids=["fortran", "strided", "negative strides", "lists", "objects", "frame", "csr", "csc",
         "tensor", "tensor with gradient"],
)  # fmt: skip
def test_arrangement_does_not_matter(X, expected, arrange):
    arranged = arrange(X)
    np.testing.assert_allclose(clone(FAST).fit(arranged).transform(arranged), expected, atol=1e-12)


def test_read_only_memory_map(X, expected, tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_allclose(clone(FAST).fit(mapped).transform(mapped), expected, atol=1e-12)


def test_data_are_not_changed(X):
    before = X.copy()
    clone(FAST).fit(X, sample_weight=np.ones(len(X)), X_val=X).score(X)
    np.testing.assert_array_equal(X, before)


# scikit-learn 1.8 takes names from pandas alone.
FRAMES = [pd.DataFrame] + [pl.DataFrame] * (
    parse_version(sklearn.__version__) >= parse_version("1.9")
)


@pytest.mark.parametrize("make", FRAMES)
def test_feature_names_of_frames(X, make):
    autoencoder = clone(FAST).fit(make(dict(zip("abcde", X.T, strict=True))))
    assert list(autoencoder.feature_names_in_) == list("abcde")
    assert list(autoencoder.get_feature_names_out()) == ["autoencoder0", "autoencoder1"]


def test_images_are_flattened_and_reconstructed_as_images():
    images = np.random.default_rng(0).normal(size=(30, 4, 3, 2))
    autoencoder = clone(FAST).fit(images)
    assert autoencoder.n_features_in_ == 24
    assert autoencoder.transform(images).shape == (30, 2)
    assert autoencoder.reconstruct(images).shape == images.shape
    assert autoencoder.inverse_transform(np.zeros((5, 2))).shape == (5, 4, 3, 2)
    flat = clone(FAST).fit(images.reshape(30, -1))
    np.testing.assert_array_equal(
        flat.transform(images.reshape(30, -1)), autoencoder.transform(images)
    )
    with pytest.raises(ValueError, match=r"shape \(3, 4, 2\).*shape \(4, 3, 2\)"):
        autoencoder.transform(images.transpose(0, 2, 1, 3))


@pytest.mark.parametrize("n_samples", [1, 2, 3])
def test_few_samples(n_samples):
    X = np.random.default_rng(0).normal(size=(n_samples, 4))
    autoencoder = clone(FAST).set_params(n_components=3).fit(X)
    np.testing.assert_allclose(autoencoder.reconstruct(X), X, atol=1e-6)
    assert autoencoder.score(X) == pytest.approx(1)


def test_one_column():
    X = np.random.default_rng(0).normal(size=(30, 1))
    autoencoder = Autoencoder(1, max_iter=3, random_state=0).fit(X)
    np.testing.assert_allclose(autoencoder.reconstruct(X), X, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9])
def test_constant_samples(value):
    X = np.full((30, 3), value)
    autoencoder = clone(FAST).fit(X)
    np.testing.assert_allclose(autoencoder.reconstruct(X), X, rtol=1e-9, atol=1e-9)
    assert autoencoder.score(X) == 1
    assert autoencoder.score_samples(X) == pytest.approx(0)


def test_constant_columns_stay_constant(X):
    X = np.column_stack([X, np.full(len(X), 7.0)])
    autoencoder = Autoencoder(2, max_iter=30, random_state=0).fit(X)
    np.testing.assert_allclose(autoencoder.reconstruct(X)[:, -1], 7, atol=0.05)


def test_copies_of_samples_are_held_out_together(X):
    """With every row twice, no row is trained on while its copy is validated on."""
    from sklearn_ae._training.batches import Samples
    from sklearn_ae._training.held_out import held_out_mask

    rows = Samples(np.concatenate([X, X]), None, torch.device("cpu"), torch.float64)
    mask = held_out_mask(rows, seed=0, fraction=0.2)
    np.testing.assert_array_equal(mask[: len(X)], mask[len(X) :])
    assert mask.mean() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("where", "bad"),
    [
        *itertools.product(["X", "X_val", "sample_weight"], [np.inf, -np.inf]),
        ("sample_weight", np.nan),
    ],
)
def test_values_that_are_no_numbers_are_refused(X, where, bad):
    fitted = clone(FAST).fit(X)
    before = fitted.transform(X)
    broken = {"X": X.copy(), "X_val": X.copy(), "sample_weight": np.ones(len(X))}
    broken[where].flat[3] = bad
    with pytest.raises(ValueError, match="NaN|infinity"):
        fitted.fit(**broken)
    np.testing.assert_array_equal(fitted.transform(X), before)


def test_huge_values_are_refused():
    with pytest.raises(ValueError, match="rescale X"):
        clone(FAST).fit(np.array([[1e300], [-1e300], [0.0]]))


@pytest.mark.parametrize(
    ("name", "value", "message", "scaler"),
    [
        ("loss", "binary_crossentropy", r"\[0, 1\]", r"MinMaxScaler\(\)"),
        ("loss", "poisson", r"\[0, inf\)", r"MinMaxScaler\(\)"),
        ("output_activation", "tanh", r"\[-1, 1\]", r"MinMaxScaler\(\(-1, 1\)\)"),
    ],
)
def test_losses_refuse_data_outside_their_range(X, name, value, message, scaler):
    autoencoder = clone(FAST).set_params(**{name: value})
    message = (
        rf"{name}='{value}' needs data in {message}, .*make_pipeline\({scaler}, \.\.\.\), or "
    )
    with pytest.raises(ValueError, match=f"{message}choose another {name}"):
        autoencoder.fit(X)
    assert not hasattr(autoencoder, "n_features_in_")


def test_weights_are_checked(X):
    for weight, message in [
        (np.zeros(len(X)), "zero"),
        (-np.ones(len(X)), "[Nn]egative"),
        (np.ones(3), "shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            clone(FAST).fit(X, sample_weight=weight)


def test_codes_are_checked(X):
    fitted = clone(FAST).fit(X)
    with pytest.raises(ValueError, match="X has 3 columns.*n_components_=2"):
        fitted.inverse_transform(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="NaN"):
        fitted.inverse_transform([[np.nan, 0]])


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("gpu", "it is no name of a device, such as 'cuda' or 'cuda:0'"),
        ("meta", "tensors on it have no values"),
        ("cuda:99", ".*"),
        ("vulkan", "Could not run '[^']*' with arguments from the 'Vulkan' backend"),
    ],
)
def test_devices_that_are_not_there_are_refused(X, device, reason):
    message = rf"device='{device}' cannot be used here \({reason}\); choose 'auto' or one of"
    with pytest.raises(ValueError, match=message):
        clone(FAST).set_params(device=device).fit(X)


@pytest.mark.parametrize("network", [torch.nn.Linear(5, 2), DenseNetwork, "dense"])
def test_what_is_no_network_is_refused(X, network):
    message = (
        "must be an instance of a class that derives from sklearn_ae.networks.Network or None"
    )
    with pytest.raises(ValueError, match=message):
        clone(FAST).set_params(network=network).fit(X)


def test_csr_is_densified_a_batch_at_a_time(monkeypatch):
    """No more rows than a chunk or a batch are ever dense at once."""
    from sklearn_ae._training import batches, device

    monkeypatch.setattr(device, "CACHE_BYTES", 0)
    monkeypatch.setattr(batches, "CHUNK_BYTES", 8 * 50 * 100)
    seen = []
    original = sp.csr_matrix.toarray
    monkeypatch.setattr(
        sp.csr_matrix, "toarray", lambda self: seen.append(self.shape[0]) or original(self)
    )
    X = sp.random(1000, 50, density=0.1, format="csr", random_state=0)
    Autoencoder(2, max_iter=2, batch_size=64, random_state=0).fit(sp.csr_matrix(X))
    assert max(seen) <= 100


@settings(max_examples=60)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
        elements=st.floats(-1e3, 1e3, width=32),
    ),
    st.integers(1, 5),
)
def test_any_finite_table_is_fitted_and_reconstructed(X, n_components):
    autoencoder = Autoencoder(n_components, max_iter=2, random_state=0).fit(X)
    Z = autoencoder.transform(X)
    assert Z.shape == (len(X), n_components)
    assert np.isfinite(Z).all()
    restored = autoencoder.reconstruct(X)
    assert restored.shape == X.shape
    np.testing.assert_allclose(autoencoder.inverse_transform(Z), restored, rtol=1e-5, atol=1e-5)
    assert autoencoder.score(X) <= 1


def test_iris_frame_through_pandas_output():
    frame = load_iris(as_frame=True).data
    codes = clone(FAST).set_output(transform="pandas").fit_transform(frame)
    assert list(codes.columns) == ["autoencoder0", "autoencoder1"]
    assert (codes.index == frame.index).all()


def test_weights_of_any_number_type(X):
    expected = clone(FAST).fit(X, sample_weight=np.arange(40.0)).transform(X)
    read_only = np.arange(40.0)
    read_only.flags.writeable = False
    for weight in [np.arange(40, dtype=">f8"), read_only, torch.arange(40), list(range(40))]:
        given = clone(FAST).fit(X, sample_weight=weight)
        np.testing.assert_array_equal(given.transform(X), expected)


def test_one_reversed_column_or_row(X):
    fitted = clone(FAST).fit(X)
    np.testing.assert_array_equal(fitted.transform(X[::-1][:1]), fitted.transform(X[-1:]))
    assert Autoencoder(1, max_iter=1).fit(X[:, :1][:, ::-1]).n_iter_ == 1


def test_nested_lists_are_images_too():
    images = np.random.default_rng(0).normal(size=(12, 3, 2))
    fitted = clone(FAST).fit(images)
    np.testing.assert_array_equal(fitted.transform(images.tolist()), fitted.transform(images))


def test_no_images_at_all():
    with pytest.raises(ValueError, match="0 sample"):
        clone(FAST).fit(np.empty((0, 4, 3)))


@pytest.mark.parametrize("size", [1e-46, 1e39])
def test_values_that_float32_cannot_hold_are_refused(size):
    X = size * np.random.default_rng(0).normal(size=(600, 40))
    with pytest.raises(ValueError, match="rescale X, or try precision='float64'"):
        clone(FAST).fit(X)
    assert clone(FAST).set_params(precision="float64", max_iter=1).fit(X).n_iter_ == 1


@pytest.mark.parametrize("sizes", [(0,), (-3,), (2.7,), ("a",)])
def test_layer_sizes_must_be_positive_integers(X, sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes must be positive integers"):
        clone(FAST).set_params(hidden_layer_sizes=sizes).fit(X)


def test_one_layer_may_be_given_by_its_size(X):
    one = clone(FAST).set_params(hidden_layer_sizes=7).fit(X)
    other = clone(FAST).set_params(hidden_layer_sizes=(7,)).fit(X)
    np.testing.assert_array_equal(one.transform(X), other.transform(X))


SPECIALISED = [
    ConvolutionalAutoencoder(2, channels=(2,)),
    UNetAutoencoder(2, channels=(2,)),
    LSTMAutoencoder(2, hidden_size=3),
    RecursiveAutoencoder(2, hidden_size=3),
]


@pytest.fixture(scope="module")
def limits():
    """Numbers of samples, and the width, up to which float64 is documented for training."""
    promise = (
        r"recursive networks for up to (\d+) samples; in other networks for up to (\d+) samples, "
        r"and\s+for any number if the smaller side of each weight matrix is at most (\d+)"
    )
    return [int(number) for number in re.search(promise, Autoencoder.__doc__).groups()]


def _dtype_of_training(estimator, n_samples, n_features, dtype=np.float64):
    X = (10 * np.random.default_rng(0).normal(size=(n_samples, n_features))).astype(dtype)
    fitted = clone(estimator).set_params(max_iter=1, device="cpu", random_state=0).fit(X)
    return fitted.module_.center.dtype


@pytest.mark.parametrize("estimator", SPECIALISED, ids=name_of)
def test_specialised_networks_train_few_samples_in_float64(estimator, limits):
    few = limits[0]
    assert _dtype_of_training(estimator, few, 16) == torch.float64
    assert _dtype_of_training(estimator, few + 1, 16) == torch.float32
    assert _dtype_of_training(estimator, few, 16, np.float32) == torch.float32


def test_dense_networks_train_in_float64_where_the_documentation_promises_it(limits):
    _, some, narrow = limits
    wide = Autoencoder(2, hidden_layer_sizes=(narrow + 1,))
    assert _dtype_of_training(wide, some, narrow + 1) == torch.float64
    assert _dtype_of_training(wide, some + 1, narrow + 1) == torch.float32
    assert _dtype_of_training(wide, some, narrow + 1, np.float32) == torch.float32
    assert _dtype_of_training(wide, some, narrow + 1, np.int64) == torch.float64
    limit = Autoencoder(2, hidden_layer_sizes=(narrow,))
    assert _dtype_of_training(limit, some + 1, narrow + 1) == torch.float64
