"""Networks without dense layers: the code is maps, and images have any size."""

import pickle
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch.nn import functional

import sklearn_ae
from sklearn_ae import (
    Autoencoder,
    ContractiveAutoencoder,
    ConvolutionalAutoencoder,
    DenoisingAutoencoder,
    SemanticHashing,
    SparseAutoencoder,
    UNetAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae._estimator.modules import build
from sklearn_ae.networks import ConvolutionalNetwork, Network, RecursiveNetwork, UNetNetwork
from sklearn_ae.networks._any_size import resized
from sklearn_ae.networks._module import AutoencoderModule

SMALL = {"channels": (4, 3), "max_iter": 2, "random_state": 0}
MAPS = ConvolutionalNetwork(channels=(4, 3))
UNPOOLINGS = ["nearest", "transposed", "switches"]

small = partial(ConvolutionalAutoencoder, None, **SMALL)
small_unet = partial(UNetAutoencoder, None, **SMALL)

OBJECTIVES = [
    Autoencoder(None, network=MAPS, max_iter=2, random_state=0),
    DenoisingAutoencoder(None, network=MAPS, max_iter=2, random_state=0),
    DenoisingAutoencoder(None, network=UNetNetwork(channels=(4, 3)), max_iter=2, random_state=0),
    SparseAutoencoder(None, network=MAPS, max_iter=2, random_state=0),
    SparseAutoencoder(None, sparsity="topk", n_active=2, network=MAPS, max_iter=2, random_state=0),
    SparseAutoencoder(None, sparsity="l1", n_active=2, network=MAPS, max_iter=2, random_state=0),
    ContractiveAutoencoder(None, network=MAPS, max_iter=2, random_state=0),
    VariationalAutoencoder(None, network=MAPS, max_iter=2, random_state=0),
    SemanticHashing(None, network=MAPS, max_iter=2, random_state=0),
]


@pytest.fixture(scope="module")
def digits():
    return load_digits().images / 16


def _mosaic(images, n_high, n_wide):
    """Join images to larger ones of that many by that many."""
    high, wide = images.shape[1:]
    whole = images[: len(images) // (n_high * n_wide) * n_high * n_wide]
    whole = whole.reshape(-1, n_high, n_wide, high, wide).swapaxes(2, 3)
    return whole.reshape(-1, n_high * high, n_wide * wide)


# The network


@pytest.mark.parametrize("pooling", ["max", "strided"])
def test_the_tutorial_has_as_many_weights_as_there(pooling):
    # Convolutions of 3 x 3 from 1 to 16 to 8 maps and, as in the tutorials of Keras, 8 to 8 to
    # 16 to 1 on the way back.
    network = ConvolutionalNetwork(channels=(16, 8), pooling=pooling)
    module = AutoencoderModule(network, (28, 28), None)
    assert sum(p.numel() for p in module.encoder.parameters()) == (9 + 1) * 16 + (9 * 16 + 1) * 8
    n_decoder = sum(p.numel() for p in module.decoder.parameters())
    assert n_decoder == (9 * 8 + 1) * 8 + (9 * 8 + 1) * 16 + (9 * 16 + 1) * 1
    assert sum(p.numel() for p in module.parameters()) == 3217
    assert module.encode(torch.zeros(1, 784)).shape == (1, 8 * 7 * 7)
    assert not any(isinstance(part, torch.nn.Linear) for part in module.modules())


def test_it_computes_what_the_formula_says():
    torch.manual_seed(0)
    module = AutoencoderModule(ConvolutionalNetwork(channels=(5, 3)), (12, 8), None).double()
    x = torch.randn(2, 96, dtype=torch.float64)
    first, second = module.encoder.layers
    image = x.view(2, 1, 12, 8)

    def convolve(maps, layer):
        return functional.conv2d(maps, layer.weight, layer.bias, padding=1)

    def double(maps):
        return maps.repeat_interleave(2, 2).repeat_interleave(2, 3)

    maps = functional.silu(functional.max_pool2d(convolve(image, first), 2))
    code = functional.max_pool2d(convolve(maps, second), 2)
    torch.testing.assert_close(module.encode(x), code.permute(0, 2, 3, 1).flatten(1))
    maps = convolve(functional.silu(code), module.decoder.head)
    maps = convolve(double(functional.silu(maps)), module.decoder.layers[1])
    image = convolve(double(functional.silu(maps)), module.decoder.layers[0])
    torch.testing.assert_close(module(x), image.flatten(1))


def test_groups_of_maps_are_mean_and_variance(digits):
    vae = OBJECTIVES[7].fit(digits[:100])
    module = vae.module_
    maps = []
    module.encoder.layers[-1].register_forward_hook(lambda layer, x, y: maps.append(y))
    x = torch.from_numpy(digits[:5].reshape(5, 64)).to(module.center)
    mean, log_variance = module.posterior((x - module.center) / module.scale)
    pooled = functional.max_pool2d(maps[0], 2)  # (5, 2 * 3, 2, 2)
    torch.testing.assert_close(mean, pooled[:, :3].permute(0, 2, 3, 1).flatten(1))
    torch.testing.assert_close(log_variance, pooled[:, 3:].permute(0, 2, 3, 1).flatten(1))


@pytest.mark.parametrize("unpooling", UNPOOLINGS)
@pytest.mark.parametrize("shape", [(8, 8), (7, 5), (1, 1), (1, 9), (6, 7, 3), (9,)])
def test_decoding_the_code_gives_images_of_any_shape(shape, unpooling):
    X = np.random.default_rng(0).normal(size=(30, *shape))
    autoencoder = small(unpooling=unpooling).fit(X)
    codes = autoencoder.transform(X)
    assert codes.shape == (30, autoencoder.n_components_)
    assert len(autoencoder.get_feature_names_out()) == autoencoder.n_components_
    restored = autoencoder.inverse_transform(codes)
    assert restored.shape == X.shape
    np.testing.assert_allclose(restored, autoencoder.reconstruct(X), atol=1e-10)
    assert autoencoder.sample(3, random_state=0).shape == (3, *shape)


@pytest.mark.parametrize(
    "network",
    [
        MAPS,
        ConvolutionalNetwork(unpooling="switches"),
        UNetNetwork(),
        UNetNetwork(residual=True),
        RecursiveNetwork(tree="greedy"),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(9,), (7, 5), (6, 7, 3)])
def test_values_past_the_components_are_counted_as_they_are_named(network, shape):
    shape = shape[:2] if isinstance(network, RecursiveNetwork) else shape
    assert network.n_extra(shape) == len(network.extra_names(shape))


def test_components_are_counted_and_named(digits):
    autoencoder = small().fit(digits[:100])
    assert autoencoder.n_components_ == 3 * 2 * 2
    assert autoencoder.n_components is None
    assert autoencoder.get_feature_names_out()[-1] == "convolutionalautoencoder11"
    switches = small(unpooling="switches").fit(digits[:100])
    assert switches.n_components_ == 12 + 4 * 16 + 3 * 4
    assert switches.get_feature_names_out()[12] == "convolutionalautoencoder_switch0_0"
    # The maps of a U-Net are its code already.
    unet = small_unet().fit(digits[:100])
    assert unet.n_components_ == 4 * 64 + 3 * 16
    assert unet.get_feature_names_out()[0] == "unetautoencoder_skip0_0"


@pytest.mark.parametrize("estimator", OBJECTIVES, ids=str)
def test_every_objective_takes_maps_as_its_code(estimator, digits):
    estimator.fit(digits[:100])
    codes = estimator.transform(digits[:20])
    assert codes.shape == (20, estimator.n_components_)
    np.testing.assert_allclose(
        estimator.inverse_transform(codes), estimator.reconstruct(digits[:20]), atol=1e-10
    )
    assert np.isfinite(estimator.score(digits[:20]))
    assert np.isfinite(estimator.sample(2, random_state=0)).all()
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.transform(digits[:20]), codes)


def test_a_penalty_wants_components(digits):
    assert np.isfinite(small(code_alpha=0.1).fit(digits[:50]).loss_)
    with pytest.raises(ValueError, match=r"code_alpha=0\.1 shrinks components, but UNet"):
        small_unet(code_alpha=0.1).fit(digits[:50])


def test_maps_learn_digits(digits):
    """More is lost than by PCA of as many components, which has weights for every place."""
    train, test = digits[:1200], digits[1200:]
    autoencoder = ConvolutionalAutoencoder(
        None, channels=(16, 8), max_iter=40, learning_rate_init=0.01, random_state=0
    ).fit(train)
    assert autoencoder.n_components_ == 32
    pca = PCA(4).fit(train.reshape(-1, 64))
    flat = test.reshape(-1, 64)
    error = np.square(flat - pca.inverse_transform(pca.transform(flat))).mean()
    assert np.square(autoencoder.reconstruct(test) - test).mean() < 0.7 * error


@dataclass(kw_only=True, eq=False, repr=False)
class _Pairs(Network):
    """Half as many components as features."""

    _parameter_constraints: ClassVar = {}

    def code_size(self, sample_shape):
        return sample_shape[0] // 2

    def encoder(self, sample_shape, n_outputs, dense=True):
        assert not dense
        return torch.nn.Linear(sample_shape[0], n_outputs)

    def decoder(self, sample_shape, n_inputs, dense=True):
        assert not dense
        return torch.nn.Linear(n_inputs, sample_shape[0])


def test_a_network_of_ones_own_may_have_a_size_of_its_own():
    X = np.random.default_rng(0).normal(size=(30, 6))
    autoencoder = Autoencoder(None, network=_Pairs(), max_iter=2).fit(X)
    assert autoencoder.transform(X).shape == (30, 3)
    with pytest.raises(ValueError, match=r"\(4, 3\), but .* _Pairs takes samples of the shape"):
        autoencoder.transform(np.zeros((2, 4, 3)))


@pytest.mark.parametrize("estimator", OBJECTIVES[:3] + OBJECTIVES[6:8], ids=str)
def test_objectives_on_other_sizes(estimator, digits):
    estimator.fit(digits[:60])
    X = _mosaic(digits, 2, 3)[:5]
    assert estimator.reconstruct(X).shape == X.shape
    inner = estimator.transform(X).shape
    assert inner == (5, resized(estimator.module_, (16, 24), build).code_mean.numel())
    assert np.isfinite(estimator.score(X))


# Images of another size


@pytest.mark.parametrize("pooling", ["max", "strided"])
@pytest.mark.parametrize("make", [small, small_unet, partial(small_unet, residual=True)])
def test_a_part_of_a_large_image_is_reconstructed_as_an_image_of_its_own(make, pooling, digits):
    autoencoder = make(**({"pooling": pooling} if make is small else {})).fit(digits[:100])
    large = _mosaic(digits[100:], 6, 7)[:2]  # 48 x 56
    whole = autoencoder.reconstruct(large)
    assert whole.shape == large.shape
    part = autoencoder.reconstruct(large[:, 8:40, 16:48])
    # As far from the edge of the part as no window reaches.
    inner = whole[:, 8:40, 16:48][:, 12:-12, 12:-12]
    np.testing.assert_allclose(part[:, 12:-12, 12:-12], inner, rtol=0, atol=1e-10)
    assert np.abs(part - whole[:, 8:40, 16:48]).max() > 1e-6  # at its edges they differ


@pytest.mark.parametrize("unpooling", UNPOOLINGS)
@pytest.mark.parametrize("size", [(13, 9), (1, 1), (8, 8), (3, 50)])
def test_methods_take_images_of_other_sizes(size, unpooling, digits):
    autoencoder = small(unpooling=unpooling).fit(digits[:100])
    X = np.random.default_rng(0).uniform(size=(5, *size))
    codes = autoencoder.transform(X)
    module = resized(autoencoder.module_, size, build)
    assert codes.shape == (5, module.n_components + len(_names_of_places(unpooling, size)))
    restored = autoencoder.reconstruct(X)
    assert restored.shape == X.shape
    errors = np.square(restored - X)
    np.testing.assert_allclose(autoencoder.score_samples(X), -errors.mean((1, 2)), rtol=1e-10)
    share = 1 - errors.sum() / np.square(X - X.mean(0)).sum()
    assert autoencoder.score(X) == pytest.approx(share, rel=1e-10)
    single = autoencoder.reconstruct(X.astype(np.float32))
    assert single.dtype == np.float32
    if unpooling != "switches":  # of two values that are nearly equal, either may be the larger
        np.testing.assert_allclose(single, restored, atol=1e-4)
    np.testing.assert_array_equal(autoencoder.reconstruct(X.tolist()), restored)
    np.testing.assert_array_equal(autoencoder.reconstruct(torch.from_numpy(X)), restored)


def _names_of_places(unpooling, size):
    return ConvolutionalNetwork(channels=(4, 3), unpooling=unpooling).extra_names(size)


def test_axes_stand_where_they_stood():
    rng = np.random.default_rng(0)
    last, large = rng.normal(size=(40, 7, 6, 3)), rng.normal(size=(4, 12, 11, 3))
    options = {"early_stopping": False}  # which would hold out others
    expected = small(**options).fit(last).reconstruct(large)
    np.testing.assert_allclose(
        small(image_shape=(7, 6), **options).fit(last).reconstruct(large), expected, atol=1e-8
    )
    first, large_first = np.moveaxis(last, 3, 1), np.moveaxis(large, 3, 1)
    for shape in (None, (3, 7, 6), (7, 6)):
        found = small(channels_last=False, image_shape=shape, **options).fit(first)
        found = np.moveaxis(found.reconstruct(large_first), 1, 3)
        np.testing.assert_allclose(found, expected, atol=1e-8)
    signals = small(image_shape=(20,)).fit(rng.normal(size=(40, 20, 2)))
    assert signals.reconstruct(rng.normal(size=(3, 33, 2))).shape == (3, 33, 2)
    assert signals.module_.encoder.layers[0].weight.shape == (4, 2, 1, 3)


def test_what_is_subtracted_is_a_mean_of_each_channel():
    X = np.random.default_rng(0).normal(size=(50, 5, 4, 2)) + np.array([1.0, -3.0])
    X[:, 2] += 5
    module = small().set_params(early_stopping=False).fit(X).module_
    means = X.mean((0, 1, 2))
    np.testing.assert_allclose(module.center.reshape(20, 2), np.tile(means, (20, 1)), rtol=1e-6)
    assert float(module.scale) == pytest.approx(np.sqrt((X - means).var(axis=(0, 1, 2)).mean()))
    other = resized(module, (2, 9, 2), build)
    np.testing.assert_allclose(other.center.reshape(18, 2), np.tile(means, (18, 1)), rtol=1e-6)
    dense = ConvolutionalAutoencoder(2, **SMALL | {"early_stopping": False}).fit(X).module_
    np.testing.assert_allclose(dense.center.reshape(5, 4, 2), X.mean(0), rtol=1e-6)


def test_other_sizes_after_a_file_and_without_a_trace(digits, tmp_path):
    autoencoder = small().fit(digits[:100])
    X = _mosaic(digits[:60], 2, 3)
    before, state = pickle.dumps(autoencoder), torch.get_rng_state()
    restored = autoencoder.reconstruct(X)
    assert pickle.dumps(autoencoder) == before
    assert torch.equal(torch.get_rng_state(), state)
    sklearn_ae.save(autoencoder, tmp_path / "maps")
    np.testing.assert_array_equal(sklearn_ae.load(tmp_path / "maps").reconstruct(X), restored)


def test_large_images_are_taken_fewer_at_a_time(digits):
    module = small().fit(digits[:50]).module_
    at_once = module.network.samples_at_once
    assert resized(module, (16, 32), build).network.samples_at_once == at_once // 8
    assert resized(module, (800, 800), build).network.samples_at_once == 1
    assert resized(module, (2, 2), build).network.samples_at_once == at_once
    assert module.network.samples_at_once == at_once


@pytest.mark.slow
def test_a_denoiser_of_small_images_serves_large_ones():
    rng = np.random.default_rng(0)
    textures = gaussian_filter(rng.normal(size=(120, 64, 80)), (0, 2, 2), mode="wrap")
    textures /= textures.std()
    small_ones = textures[:80].reshape(80, 4, 16, 5, 16).swapaxes(2, 3).reshape(-1, 16, 16)
    clean = textures[80:]
    noisy = clean + rng.normal(size=clean.shape)
    for network in (ConvolutionalNetwork(channels=(8, 8)), UNetNetwork(channels=(4, 8))):
        denoiser = DenoisingAutoencoder(
            None, network=network, noise_level=1.0, max_iter=10, learning_rate_init=0.01,
            random_state=0,
        ).fit(small_ones)  # fmt: skip
        restored = denoiser.reconstruct(noisy)
        assert restored.shape == clean.shape
        assert np.square(restored - clean).mean() < 0.4 * np.square(noisy - clean).mean()
        # As good as piece by piece, and better: there are fewer edges.
        pieces = noisy.reshape(-1, 4, 16, 5, 16).swapaxes(2, 3)
        pieces = denoiser.reconstruct(pieces.reshape(-1, 16, 16)).reshape(pieces.shape)
        pieces = pieces.swapaxes(2, 3).reshape(clean.shape)
        assert np.square(restored - clean).mean() < np.square(pieces - clean).mean()


def test_targets_have_the_size_of_the_images(digits):
    clean = digits[:200]
    noisy = clean + 0.1 * np.random.default_rng(0).normal(size=clean.shape)
    unet = small_unet().fit(noisy, clean)
    large, wanted = _mosaic(noisy, 2, 2), _mosaic(clean, 2, 2)
    errors = np.square(unet.reconstruct(large) - wanted).sum()
    share = 1 - errors / np.square(wanted - wanted.mean(0)).sum()
    assert unet.score(large, wanted) == pytest.approx(share, rel=1e-10)
    with pytest.raises(ValueError, match="y has images"):
        unet.score(large, clean[:50])


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (ConvolutionalAutoencoder(2, **SMALL), r"\(16, 24\), but .* on samples of shape \(8, 8\)"),
        (OBJECTIVES[3], r"\(16, 24\), but .* stores a value for each feature or component"),
        (OBJECTIVES[8], r"\(16, 24\), but .* stores a value for each feature or component"),
    ],
    ids=str,
)
def test_what_has_one_size_says_so(estimator, message, digits):
    estimator.fit(digits[:60])
    with pytest.raises(ValueError, match=message):
        estimator.transform(_mosaic(digits, 2, 3))


@pytest.mark.parametrize("shape", [(8, 8, 3), (9, 8, 2), (70,), (3, 8, 8)])
def test_other_channels_are_no_other_size(shape, digits):
    autoencoder = small().fit(digits[:60])
    with pytest.raises(ValueError, match=r"X has (samples of shape|70 features)"):
        autoencoder.reconstruct(np.zeros((4, *shape)))


@pytest.mark.parametrize("method", ["interpolate", "fit"])
def test_other_methods_want_the_size_of_the_training(method, digits):
    autoencoder = small(warm_start=True).fit(digits[:60])
    X = _mosaic(digits, 2, 2)[:5]
    with pytest.raises(ValueError, match=r"samples of shape \(16, 16\), but"):
        getattr(autoencoder, method)(X, X)
    with pytest.raises(ValueError, match="columns, but"):
        autoencoder.inverse_transform(autoencoder.transform(X))


def test_other_sizes_are_validated_too(digits):
    autoencoder = small().fit(digits[:60])
    with pytest.raises(ValueError, match="infinity"):
        autoencoder.transform(np.full((3, 4, 4), np.inf))
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        autoencoder.transform(np.zeros((0, 4, 4)))
