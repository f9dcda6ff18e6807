"""What defines the convolutional network: places that are kept, and images of any shape."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

from sklearn_ae.convolutional import ConvolutionalAutoencoder
from sklearn_ae.networks._images import (
    Convolution,
    ImageNetwork,
    max_pool,
    max_pool_with_places,
    unpool,
    upsample,
)
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks.convolutional import ConvolutionalNetwork

UNPOOLINGS = ["nearest", "transposed", "switches"]
LONGER = {
    "channels": (8,),
    "max_iter": 40,
    "learning_rate_init": 0.01,
    "early_stopping": False,
}


@pytest.fixture(scope="module")
def digits():
    images = load_digits().images
    return images[:400], images[1200:]


def _small(n_components=4, **parameters):
    defaults = {"channels": (4, 8), "max_iter": 3, "random_state": 0}
    return ConvolutionalAutoencoder(n_components, **(defaults | parameters))


def _corners(size, window):
    """Slices of the windows of an image, those that hang over its edge cut off."""
    for top in range(0, size[0], window[0]):
        for left in range(0, size[1], window[1]):
            yield slice(top, top + window[0]), slice(left, left + window[1])


@pytest.mark.parametrize("window", [(2, 2), (3, 3), (4, 4), (1, 2), (1, 7)])
@pytest.mark.parametrize("size", [(6, 6), (7, 5), (1, 9), (1, 1), (2, 3)])
def test_unpooling_puts_the_maximum_of_each_window_back_to_its_place(size, window):
    maps = torch.randn(3, 2, *size, dtype=torch.float64)
    values, places = max_pool_with_places(maps, window)
    back = unpool(values, places.to(values.dtype), window, size)
    expected = torch.zeros_like(maps)
    for rows, columns in _corners(size, window):
        part = maps[:, :, rows, columns]
        largest = part.amax((2, 3), keepdim=True)
        expected[:, :, rows, columns] = torch.where(part == largest, part, 0.0)
    torch.testing.assert_close(back, expected, rtol=0, atol=0)
    assert int(places.max()) < window[0] * window[1]
    torch.testing.assert_close(values, max_pool(maps, window))
    torch.testing.assert_close(max_pool(back.where(back != 0, -torch.inf), window), values)


@pytest.mark.parametrize("window", [(2, 2), (1, 3)])
@pytest.mark.parametrize("size", [(5, 7), (1, 4), (1, 1)])
def test_nearest_unpooling_fills_each_window(size, window):
    values = max_pool(torch.randn(2, 3, *size), window)
    filled = upsample(values, window, size)
    assert filled.shape == (2, 3, *size)
    for rows, columns in _corners(size, window):
        part = filled[:, :, rows, columns]
        value = values[:, :, rows.start // window[0], columns.start // window[1]]
        assert (part == value[..., None, None]).all()


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_convolutions_divide_sizes_by_their_stride_and_round_up(kernel, stride):
    for length in range(1, 9):
        layer = Convolution(1, 1, (kernel, kernel), (stride, stride))
        size = layer(torch.zeros(1, 1, length, 2 * length)).shape[2:]
        assert tuple(size) == (-(-length // stride), -(-2 * length // stride))


def test_convolutions_see_every_pixel():
    layer = Convolution(1, 1, (3, 3), (5, 5))
    image = torch.zeros(1, 1, 11, 11, requires_grad=True)
    layer(image).sum().backward()
    assert (image.grad != 0).all()


@pytest.mark.parametrize("pool_size", [2, pytest.param(4, marks=pytest.mark.slow), 7])
def test_places_of_maxima_reconstruct_unseen_digits_better(pool_size, digits):
    train, test = digits
    errors = {}
    for unpooling in ("nearest", "switches"):
        autoencoder = _small(8, **LONGER, pool_size=pool_size, unpooling=unpooling).fit(train)
        errors[unpooling] = 1 - autoencoder.score(test)
    assert errors["switches"] < 0.7 * errors["nearest"]


@pytest.mark.parametrize("pooling", ["max", "strided"])
@pytest.mark.parametrize("unpooling", UNPOOLINGS[:2])
def test_learns_digits(pooling, unpooling, digits):
    train, test = digits
    autoencoder = _small(16, **LONGER, pooling=pooling, unpooling=unpooling).fit(train)
    assert autoencoder.score(test) > 0.6


@pytest.mark.parametrize("unpooling", UNPOOLINGS)
def test_decoding_the_code_is_the_reconstruction(unpooling, digits):
    train, test = digits
    autoencoder = _small(unpooling=unpooling).fit(train)
    codes = autoencoder.transform(test)
    np.testing.assert_allclose(
        autoencoder.inverse_transform(codes), autoencoder.reconstruct(test), atol=1e-10
    )
    assert autoencoder.sample(5, random_state=0).shape == (5, 8, 8)


def test_places_are_columns_of_the_code(digits):
    train, test = digits
    autoencoder = _small(unpooling="switches", pool_size=3).fit(train)
    # 8 x 8 in windows of 3 x 3: 3 x 3 values on 4 maps, and one on each of 8.
    assert autoencoder.n_components_ == 4 + 4 * 9 + 8
    places = autoencoder.transform(test)[:, 4:]
    assert set(np.unique(places)) <= set(range(9))
    names = autoencoder.get_feature_names_out()
    assert len(names) == 48
    assert names[3] == "convolutionalautoencoder3"
    assert names[4] == "convolutionalautoencoder_switch0_0"
    assert names[-1] == "convolutionalautoencoder_switch1_7"
    assert _small().fit(train).n_components_ == 4


def test_codes_that_are_no_places_are_rounded(digits):
    train, test = digits
    autoencoder = _small(unpooling="switches").fit(train)
    codes = autoencoder.transform(test)
    moved = codes.copy()
    moved[:, 4:] += np.random.default_rng(0).uniform(-0.4, 0.4, size=moved[:, 4:].shape)
    np.testing.assert_array_equal(
        autoencoder.inverse_transform(moved), autoencoder.inverse_transform(codes)
    )


def _restore(rows, **parameters):
    """Reconstructions by a fit that sees all rows in one order, whatever their layout."""
    return _small(early_stopping=False, **parameters).fit(rows).reconstruct(rows)


@pytest.mark.parametrize("unpooling", UNPOOLINGS)
def test_flat_samples_and_both_orders_of_axes_give_the_same_result(unpooling):
    images = np.random.default_rng(0).normal(size=(60, 7, 6, 3))  # (n, height, width, channels)
    first = np.moveaxis(images, 3, 1)
    expected = _restore(images, unpooling=unpooling)
    assert expected.shape == images.shape

    def same(result):
        np.testing.assert_allclose(result.reshape(images.shape), expected, atol=1e-8)

    def same_first(result):
        same(np.moveaxis(result.reshape(first.shape), 1, 3))

    flat, flat_first = images.reshape(60, -1), first.reshape(60, -1)
    same(_restore(flat, unpooling=unpooling, image_shape=(7, 6, 3)))
    same(_restore(flat, unpooling=unpooling, image_shape=(7, 6), channels_last=True))
    same(_restore(images, unpooling=unpooling, image_shape=(7, 6)))
    for shape in (None, (3, 7, 6), (7, 6)):
        options = {"image_shape": shape, "channels_last": False, "unpooling": unpooling}
        same_first(_restore(first, **options))
        if shape is not None:
            same_first(_restore(flat_first, **options))


def test_a_signal_may_have_channels():
    signals = np.random.default_rng(0).normal(size=(50, 20, 3))
    expected = _restore(signals, image_shape=(20,))
    flat = _restore(signals.reshape(50, 60), image_shape=(20,), channels_last=True)
    np.testing.assert_allclose(flat.reshape(signals.shape), expected, atol=1e-10)
    network = ConvolutionalNetwork(image_shape=(20,))
    assert network.encoder((20, 3), 2).layers[0].weight.shape == (16, 3, 1, 3)


@pytest.mark.parametrize("unpooling", UNPOOLINGS)
@pytest.mark.parametrize("width", [1, 2, 3, 5, 64])
def test_flat_samples_of_any_width_are_signals(width, unpooling):
    X = np.random.default_rng(0).normal(size=(40, width))
    autoencoder = _small(2, unpooling=unpooling).fit(X)
    assert autoencoder.reconstruct(X).shape == X.shape
    assert np.isfinite(autoencoder.score(X))


@pytest.mark.parametrize("pool_size", [1, 2, 3, 9])
@pytest.mark.parametrize("kernel_size", [1, 2, 5])
@pytest.mark.parametrize("pooling", ["max", "strided"])
@pytest.mark.parametrize("unpooling", UNPOOLINGS[:2])
def test_any_sizes_of_windows(pool_size, kernel_size, pooling, unpooling):
    network = ConvolutionalNetwork(
        pool_size=pool_size, kernel_size=kernel_size, pooling=pooling, unpooling=unpooling
    )
    module = AutoencoderModule(network, (5, 7), 2)
    assert module(torch.randn(1, 35)).shape == (1, 35)


def test_what_is_learnt_at_one_place_holds_at_another():
    """Moved by a whole window, an image has the same maps, moved."""
    torch.manual_seed(0)
    encoder = ConvolutionalNetwork(channels=(5,)).encoder((12, 12), 1)
    image = torch.zeros(1, 12, 12)
    image[:, 4:6, 4:6] = torch.randn(2, 2)
    encoder.head = torch.nn.Identity()
    maps = encoder(image.flatten(1)).reshape(6, 6, 5)
    moved = encoder(image.roll((2, 4), (1, 2)).flatten(1)).reshape(6, 6, 5)
    torch.testing.assert_close(maps.roll((1, 2), (0, 1)), moved)


@pytest.mark.parametrize("unpooling", UNPOOLINGS[:2])
@pytest.mark.parametrize("sample_shape", [(9,), (5, 6)])
def test_batched_derivatives_of_derivatives(unpooling, sample_shape):
    """The contractive objective differentiates the encoder's Jacobian."""
    torch.manual_seed(0)
    n_features = int(np.prod(sample_shape))
    network = ConvolutionalNetwork(channels=(3, 4), unpooling=unpooling)
    module = AutoencoderModule(network, sample_shape, 2)
    module.double()
    x = torch.randn(4, n_features, dtype=torch.float64, requires_grad=True)
    code = module.encode(x)
    units = torch.eye(2, dtype=x.dtype)[:, None].expand(-1, 4, -1)
    (rows,) = torch.autograd.grad(code, x, units, create_graph=True, is_grads_batched=True)
    whole = torch.autograd.functional.jacobian(lambda x: module.encode(x).sum(0), x)
    torch.testing.assert_close(rows, whole)
    rows.square().sum().backward()
    assert all(p.grad is not None for p in module.encoder.layers.parameters() if p.ndim > 1)
    assert torch.autograd.gradcheck(
        module.decode, torch.randn(2, 2, dtype=x.dtype).requires_grad_()
    )


def test_weights_are_the_only_thing_that_a_pickle_needs(digits):
    train, test = digits
    autoencoder = _small(unpooling="switches").fit(train)
    again = pickle.loads(pickle.dumps(autoencoder))
    np.testing.assert_array_equal(again.reconstruct(test), autoencoder.reconstruct(test))


def test_same_seed_same_bits(digits):
    train, test = digits
    first, second = (_small().fit(train).transform(test) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_single_precision_and_bfloat16(digits):
    train, test = digits
    single = _small().fit(train.astype(np.float32))
    assert single.transform(test.astype(np.float32)).dtype == np.float32
    places = _small(unpooling="switches", pool_size=8, precision="bfloat16").fit(train)
    assert set(np.unique(places.transform(test)[:, 4:])) <= set(range(64))


def test_one_sample_at_a_time(digits):
    train, test = digits
    autoencoder = _small(unpooling="switches").fit(train)
    one_by_one = np.concatenate([autoencoder.reconstruct(image[None]) for image in test[:5]])
    np.testing.assert_allclose(one_by_one, autoencoder.reconstruct(test[:5]), atol=1e-10)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"image_shape": (7, 8)}, r"image_shape=\(7, 8\) does not fit samples of shape \(64,\)"),
        ({"image_shape": (65,)}, r"image_shape=\(65,\) does not fit samples of shape \(64,\)"),
        ({"image_shape": (4, 4, 3)}, "does not fit"),
        ({"image_shape": (4, 4, 4), "channels": (0,)}, "channels must be positive integers"),
        ({"image_shape": (2, 2, 2, 8)}, "does not fit"),
        ({"image_shape": (8.0, 8)}, "image_shape must be positive integers"),
        ({"channels": ()}, "channels must be positive integers"),
        ({"unpooling": "switches", "pooling": "strided"}, "pooling='strided'"),
        ({"pool_size": 0}, "pool_size"),
    ],
)
def test_what_cannot_be_is_refused(parameters, message):
    X = np.random.default_rng(0).normal(size=(20, 64))
    with pytest.raises(ValueError, match=message):
        _small(**parameters).fit(X)


def test_images_are_not_taken_for_others_of_as_many_pixels():
    images = np.zeros((20, 3, 8, 8))
    with pytest.raises(ValueError, match=r"\(8, 8\).*samples of shape \(3, 8, 8\)"):
        _small(image_shape=(8, 8), channels_last=True).fit(images)
    _small(image_shape=(8, 8), channels_last=False, max_iter=1).fit(images)


def test_specifications_are_estimators():
    network = ConvolutionalNetwork(channels=(3,), pool_size=3)
    assert clone(network).get_params() == network.get_params()
    assert issubclass(ConvolutionalNetwork, ImageNetwork)
