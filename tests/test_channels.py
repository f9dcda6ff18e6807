"""Images whose channels are the first axis, as in torch, or the last one."""

import warnings

import numpy as np
import pytest
import torch

from sklearn_ae import (
    Autoencoder,
    ConvolutionalAutoencoder,
    UNetAutoencoder,
    VariationalAutoencoder,
    load,
    save,
)
from sklearn_ae.networks import ConvolutionalNetwork, UNetNetwork
from sklearn_ae.networks.layout import find_channels
from sklearn_ae.plotting import ReconstructionDisplay
from sklearn_ae.sources import open_source

NETWORKS = [ConvolutionalNetwork, UNetNetwork]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # One axis may be channels:
        ((28, 28, 1), True),
        ((28, 28, 3), True),
        ((1, 28, 28), False),
        ((3, 20, 28), False),
        ((4, 20, 28), False),
        ((20, 28, 2), True),
        # 1 and 3 before 2 and 4:
        ((4, 6, 3), True),
        ((3, 6, 4), False),
        ((2, 5, 1), True),
        # Otherwise images are square:
        ((3, 3, 1), True),
        ((1, 3, 3), False),
        ((2, 2, 4), True),
        ((9, 9, 12), True),
        ((12, 9, 9), False),
        # One channel either way:
        ((1, 5, 1), True),
        # Unknown:
        ((3, 6, 3), None),
        ((2, 6, 4), None),
        ((9, 9, 9), None),
        ((9, 10, 11), None),
    ],
)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_shape_of_images_shows_their_channels(network, shape, expected):
    assert find_channels(shape, shape) is expected
    found = network()
    assert found.layout(shape).channels_last == (expected is not False)
    assert (found.doubt(shape) is None) == (expected is not None)
    for given in (True, False):
        assert network(channels_last=given).doubt(shape) is None
        assert network(channels_last=given).layout(shape).channels_last is given
    # The parameter decides in place of the samples if these are flat.
    flat = network(image_shape=shape)
    assert flat.layout((int(np.prod(shape)),)) == found.layout(shape)


@pytest.mark.parametrize(
    ("image_shape", "sample_shape", "expected"),
    [
        ((5, 7), (5, 7, 9), True),
        ((5, 7), (9, 5, 7), False),
        ((5, 5), (5, 5, 5), None),
        ((5, 7), (5, 7), True),
        ((5, 7), (35,), True),
        ((5, 7), (70,), None),  # flat samples do not show which channels are adjacent
        ((20,), (20, 6), True),
        ((20,), (6, 20), False),
        ((20,), (20, 20), None),
        ((20,), (40,), None),
    ],
)
def test_channels_are_the_axis_that_the_image_shape_lacks(image_shape, sample_shape, expected):
    network = ConvolutionalNetwork(image_shape=image_shape)
    assert find_channels(image_shape, sample_shape) is expected
    assert network.layout(sample_shape).channels_last == (expected is not False)
    assert (network.doubt(sample_shape) is None) == (expected is not None)


def _images(n_samples=40, n_channels=3):
    return np.random.default_rng(0).normal(size=(n_samples, n_channels, 6, 5))


def _options(**parameters):
    return {
        "channels": (4,),
        "max_iter": 2,
        "random_state": 0,
        "early_stopping": False,
        **parameters,
    }


@pytest.mark.parametrize("estimator", [ConvolutionalAutoencoder, UNetAutoencoder])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_torch_order_is_found_and_kept(estimator, n_channels):
    X = _images(n_channels=n_channels)
    model = estimator(2, **_options()).fit(X)
    other = estimator(2, **_options()).fit(np.moveaxis(X, 1, 3))
    codes = model.transform(X)
    np.testing.assert_allclose(codes[:, :2], other.transform(np.moveaxis(X, 1, 3))[:, :2])
    for found, expected in (
        (model.reconstruct(X), other.reconstruct(np.moveaxis(X, 1, 3))),
        (model.inverse_transform(codes), other.reconstruct(np.moveaxis(X, 1, 3))),
    ):
        assert found.shape == X.shape
        np.testing.assert_allclose(np.moveaxis(found, 1, 3), expected, atol=1e-9)
    assert model.sample(3, random_state=0).shape == (3, n_channels, 6, 5)
    tensor = torch.from_numpy(X)
    np.testing.assert_array_equal(model.transform(tensor), codes)


def test_images_of_another_size_are_read_as_those_of_the_fit():
    """Their own shape would say something else: an axis of length three beside the channels."""
    X = _images(n_channels=4)
    maps = ConvolutionalAutoencoder(None, **_options()).fit(X)
    given = ConvolutionalAutoencoder(None, **_options(channels_last=False)).fit(X)
    large = np.random.default_rng(1).normal(size=(2, 4, 12, 3))
    np.testing.assert_array_equal(maps.reconstruct(large), given.reconstruct(large))
    assert maps.reconstruct(large).shape == large.shape
    dense = ConvolutionalAutoencoder(2, **_options()).fit(X)
    with pytest.raises(ValueError, match=r"shape \(4, 6, 5\). Fit with n_components=None"):
        dense.reconstruct(large)
    for other in (maps.interpolate, lambda X, _: maps.partial_fit(X)):
        with pytest.raises(ValueError, match=r"shape \(4, 6, 5\)\.$"):
            other(large, large)


def test_unclear_shapes_are_warned_of_once():
    X = np.random.default_rng(0).normal(size=(20, 6, 5, 7))
    model = ConvolutionalAutoencoder(2, **_options())
    message = r"7 channels of samples of shape \(6, 5, 7\).*channels_last=True, or channels_last=F"
    with pytest.warns(UserWarning, match=message) as caught:
        expected = model.fit(X).transform(X)
    assert len(caught) == 1
    first = VariationalAutoencoder(2, network=ConvolutionalNetwork(channels=(4,)), max_iter=1)
    with pytest.warns(UserWarning, match=message) as caught:
        first.partial_fit(X)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first.partial_fit(X)
        last = ConvolutionalAutoencoder(2, **_options(channels_last=True)).fit(X)
        ConvolutionalAutoencoder(2, **_options(channels_last=False)).fit(X)
    np.testing.assert_array_equal(last.transform(X), expected)


def test_flat_samples_of_several_channels_are_warned_of():
    X = _images().reshape(40, -1)
    with pytest.warns(UserWarning, match=r"3 channels of samples of shape \(90,\)"):
        ConvolutionalAutoencoder(2, **_options(image_shape=(6, 5))).fit(X)


def test_files_and_blocks_keep_the_order(tmp_path):
    X = _images(n_channels=1).astype(np.float32)
    model = ConvolutionalAutoencoder(2, **_options()).fit(X)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.channels_last == "auto"
    np.testing.assert_array_equal(again.reconstruct(X), model.reconstruct(X))
    dask = pytest.importorskip("dask.array")
    blocks = open_source(dask.from_array(X, chunks=(16, 1, 6, 5)))
    in_blocks = ConvolutionalAutoencoder(2, **_options()).fit(blocks)
    np.testing.assert_allclose(in_blocks.transform(X), model.transform(X), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 6, 5)])
def test_dense_networks_are_plotted_in_both_orders(shape):
    pytest.importorskip("matplotlib").use("agg")
    X = np.random.default_rng(0).uniform(size=(20, *shape))
    model = Autoencoder(2, max_iter=1, random_state=0).fit(X)
    display = ReconstructionDisplay.from_estimator(model, X, n_samples=4)
    expected = np.moveaxis(X[:1], 1, 3)[0].squeeze()
    np.testing.assert_allclose(np.asarray(display.original)[0], expected)
