"""How networks say that the values of a flat sample are arranged."""

import math

import numpy as np
import pytest
import torch

from sklearn_ae.networks import (
    ConvolutionalNetwork,
    DenseNetwork,
    LSTMNetwork,
    Network,
    RecursiveNetwork,
    UNetNetwork,
)
from sklearn_ae.networks.layout import Layout

IMAGES = [ConvolutionalNetwork, UNetNetwork]
SEQUENCES = [LSTMNetwork, RecursiveNetwork]


class TableNetwork(Network):
    """A network that overrides nothing but the factories."""

    def encoder(self, sample_shape, n_outputs):
        return torch.nn.Linear(math.prod(sample_shape), n_outputs)

    def decoder(self, sample_shape, n_inputs):
        return torch.nn.Linear(n_inputs, math.prod(sample_shape))


@pytest.mark.parametrize("network", [DenseNetwork(), TableNetwork()])
def test_networks_that_treat_features_alike_have_no_layout(network):
    assert network.layout((12,)) is None
    assert network.layout((3, 4)) is None


@pytest.mark.parametrize("network", IMAGES)
@pytest.mark.parametrize(
    ("parameters", "sample_shape", "expected"),
    [
        ({}, (12,), Layout(1, (1, 12), True, True)),
        ({}, (5, 7), Layout(1, (5, 7), False, True)),
        ({}, (5, 7, 3), Layout(3, (5, 7), False, True)),
        ({"image_shape": (6,)}, (12,), Layout(2, (1, 6), True, True)),
        ({"image_shape": (2, 3)}, (12,), Layout(2, (2, 3), False, True)),
        ({"channels_last": False}, (3, 5, 7), Layout(3, (5, 7), False, False)),
        (
            {"image_shape": (6,), "channels_last": False},
            (2, 6),
            Layout(2, (1, 6), True, False),
        ),
    ],
)
def test_layouts_of_images_follow_from_the_shape(network, parameters, sample_shape, expected):
    layout = network(**parameters).layout(sample_shape)
    assert layout == expected
    assert layout.n_channels * math.prod(layout.size) == math.prod(sample_shape)


@pytest.mark.parametrize("network", SEQUENCES)
@pytest.mark.parametrize(
    ("parameters", "sample_shape", "n_steps", "n_channels"),
    [
        ({}, (12,), 12, 1),
        ({"n_steps": 4}, (12,), 4, 3),
        ({"n_channels": 2}, (12,), 6, 2),
        ({}, (5, 3), 5, 3),
    ],
)
def test_layouts_of_sequences_are_those_of_signals(
    network, parameters, sample_shape, n_steps, n_channels
):
    layout = network(**parameters).layout(sample_shape)
    assert layout == Layout(n_channels, (1, n_steps), is_signal=True, channels_last=True)


@pytest.mark.parametrize("network", [*IMAGES, *SEQUENCES])
def test_shapes_that_do_not_fit_are_refused(network):
    parameter = "image_shape" if network in IMAGES else "n_steps"
    specification = network(**{parameter: (5,) if network in IMAGES else 5})
    with pytest.raises(ValueError, match=rf"{parameter}=.* samples of shape \(12,\)"):
        specification.layout((12,))


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("size", [(4, 5), (1, 6), (1, 1)])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_layouts_reshape_samples_to_images_and_back(channels_last, size, n_channels):
    layout = Layout(n_channels, size, is_signal=size[0] == 1, channels_last=channels_last)
    flat = np.arange(2.0 * n_channels * math.prod(size)).reshape(2, -1)
    image = layout.to_image(torch.from_numpy(flat))
    if channels_last:
        expected = np.moveaxis(flat.reshape(2, *size, n_channels), 3, 1)
    else:
        expected = flat.reshape(2, n_channels, *size)
    np.testing.assert_array_equal(image.numpy(), expected)
    assert image.is_contiguous(memory_format=torch.channels_last)  # what convolutions prefer
    np.testing.assert_array_equal(layout.from_image(image).numpy(), flat)
    assert layout.window(3) == ((1, 3) if size[0] == 1 else (3, 3))
