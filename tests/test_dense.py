"""Dense networks: the hand-written backward pass, and the start at PCA."""

import math

import numpy as np
import pytest
import torch

from sklearn_ae._estimator.modules import module_from_state, module_to_state
from sklearn_ae._training import device
from sklearn_ae._training.optimizer import FlatParameters
from sklearn_ae.losses import LOSSES, get_loss
from sklearn_ae.networks import ConvolutionalNetwork, DenseNetwork, LSTMNetwork
from sklearn_ae.networks._module import AutoencoderModule, inner_width, n_shared_products
from sklearn_ae.networks.activations import ACTIVATIONS
from sklearn_ae.networks.dense_gradient import MANY, DenseGradient


def _module(activation="tanh", hidden=(7, 4), shortcut=True, dtype=torch.float64):
    torch.manual_seed(0)
    network = DenseNetwork(hidden_layer_sizes=hidden, activation=activation)
    module = AutoencoderModule(network, (5,), 3, shortcut=shortcut).to(dtype)
    with torch.no_grad():
        if shortcut:
            module.encoder.shortcut.normal_()
            module.decoder.shortcut.normal_()
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
            parameter.grad = torch.zeros_like(parameter)
    return module


def _by_hand(module, loss, dtype):
    flat = FlatParameters(module)
    return DenseGradient(
        [module.encoder], [module.decoder], flat.values, flat.gradient, loss, dtype
    )


def _gradients(module):
    return {name: value.grad.clone() for name, value in module.named_parameters()}


@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize("hidden", [(), (6,), (7, 4), (5, 8, 3)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_backward_pass_equals_automatic_differentiation(activation, hidden, shortcut):
    module = _module(activation, hidden, shortcut)
    x = torch.randn(9, 5, dtype=torch.float64)
    value = _by_hand(module, get_loss("squared_error"), x.dtype)(x, x, None)
    by_hand = _gradients(module)
    module.zero_grad()
    expected = get_loss("squared_error").value(module(x), x).mean()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(by_hand[name], parameter.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", LOSSES)
def test_weights_and_losses_enter_the_backward_pass(name):
    module = _module()
    x = torch.rand(9, 5, dtype=torch.float64)
    weight = torch.rand(9, dtype=torch.float64)
    loss = get_loss(name)
    value = _by_hand(module, loss, x.dtype)(x, x, weight)
    by_hand = _gradients(module)
    module.zero_grad()
    expected = (loss.value(module(x), x) * weight).mean()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    for key, parameter in module.named_parameters():
        torch.testing.assert_close(by_hand[key], parameter.grad, rtol=1e-10, atol=1e-13)


def test_low_precision_products_leave_master_weights_in_float32():
    module = _module(dtype=torch.float32)
    x = torch.randn(64, 5)
    exact = _by_hand(module, get_loss("squared_error"), torch.float32)
    exact(x, x, None)
    expected = _gradients(module)
    _by_hand(module, get_loss("squared_error"), torch.bfloat16)(x, x, None)
    for name, parameter in module.named_parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        distance = (parameter.grad - expected[name]).norm() / expected[name].norm()
        assert distance < 0.03  # bfloat16 keeps eight bits


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"),
    [(torch.float64, 0, 1e-15), (torch.float32, 0, 5e-7), (torch.bfloat16, 2**-7, 0)],
)
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_hidden_units_of_large_batches_are_exact(size, dtype, rtol, atol):
    """Small activations of bfloat16 keep their digits, as those of few samples do."""
    weights = torch.float64 if dtype == torch.float64 else torch.float32
    module = _module(hidden=(7,), shortcut=False, dtype=weights)
    step = _by_hand(module, get_loss("squared_error"), dtype)
    with torch.no_grad():
        module.encoder.layers[0].bias.zero_()
    x = size * torch.randn(1000, 5, dtype=weights)
    step(x, x, None)
    hidden, pre = step.encoder.inputs[1], step.encoder.pre_activations[0]
    assert hidden.numel() >= MANY
    expected = torch.tanh(pre.to(weights))
    torch.testing.assert_close(hidden.to(weights), expected, rtol=rtol, atol=atol)


def test_linear_start_computes_the_linear_map():
    module = _module()
    generator = torch.Generator().manual_seed(1)
    draw = {"dtype": torch.float64, "generator": generator}
    weight, bias = torch.randn(3, 5, **draw), torch.randn(3, **draw)
    module.encoder.start_linear(weight, bias, torch.randn(5, **draw), torch.rand(5, **draw) + 1)
    x = torch.randn(6, 5, **draw)
    torch.testing.assert_close(module.encode(x), x @ weight.t() + bias)


def test_branch_starts_as_if_its_input_were_standardised():
    module = _module()
    reference = _module()
    scale = torch.full((5,), 10.0, dtype=torch.float64)
    center = torch.full((5,), 3.0, dtype=torch.float64)
    module.encoder.start_linear(torch.zeros(3, 5), torch.zeros(3), center, scale)
    x = torch.randn(6, 5, dtype=torch.float64)
    torch.testing.assert_close(
        module.encoder.layers[0](x * scale + center), reference.encoder.layers[0](x)
    )


def test_module_travels_as_plain_values():
    module = _module()
    state = module_to_state(module)
    assert all(isinstance(array, np.ndarray) for array in state["arrays"].values())
    again = module_from_state(state)
    x = torch.randn(4, 5, dtype=torch.float64)
    assert torch.equal(again(x), module(x))
    state["arrays"]["center"][:] = 7
    assert not (again.center == 7).any()


def test_building_from_state_leaves_the_global_generator_alone():
    state = module_to_state(_module())
    before = torch.get_rng_state()
    module_from_state(state)
    assert torch.equal(torch.get_rng_state(), before)


def test_inner_width_is_the_smaller_side_of_the_largest_matrix():
    network = DenseNetwork(hidden_layer_sizes=(1000, 20))
    assert inner_width(AutoencoderModule(network, (64,), 3)) == 64
    assert inner_width(AutoencoderModule(network, (784,), 3)) == 784


@pytest.mark.parametrize(
    ("network", "shape", "number"),
    [
        (DenseNetwork(hidden_layer_sizes=(7,)), (64,), 0),
        # Each filter at each pixel; the second level has a quarter of the pixels.
        (ConvolutionalNetwork(channels=(4, 5)), (8, 6), 2 * (48 * 4 * 9 + 12 * 4 * 5 * 9)),
        (
            ConvolutionalNetwork(channels=(4,), pooling="strided", unpooling="transposed"),
            (8, 6),
            12 * 4 * 9 + 12 * 4 * 4 * 4 + 48 * 4 * 9,
        ),
        # Four gates, of the inputs and the hidden state; the decoder's inputs are the code.
        (LSTMNetwork(hidden_size=6), (10, 3), 10 * 4 * 6 * (3 + 6) + 10 * 4 * 6 * (2 + 6)),
        (LSTMNetwork(hidden_size=6, cell="gru"), (10, 3), 10 * 3 * 6 * ((3 + 6) + (2 + 6))),
    ],
)
def test_products_with_weights_that_are_used_many_times(network, shape, number):
    module = AutoencoderModule(network, shape, 2)
    state = torch.get_rng_state()
    assert n_shared_products(module, torch.zeros(1, math.prod(shape))) == number
    assert module.training
    assert not any(each._forward_hooks for each in module.modules())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("width", [255, 256])
@pytest.mark.parametrize("n_shared", [0, 499_999, 500_000])
@pytest.mark.parametrize("has_instructions", [False, True])
def test_much_arithmetic_is_done_in_bfloat16(width, n_shared, has_instructions, monkeypatch):
    monkeypatch.setattr(device, "_supports_bfloat16", lambda device: has_instructions)
    cpu = torch.device("cpu")
    is_much = width == 256 or n_shared == 500_000
    expected = torch.bfloat16 if is_much and has_instructions else torch.float32
    chosen = device.resolve_precision("auto", False, 1000, width, cpu, n_shared)
    assert chosen == (torch.float32, expected)
    chosen = device.resolve_precision("float32", False, 1000, width, cpu, n_shared)
    assert chosen == (torch.float32, torch.float32)


def test_decay_spares_vectors():
    names = _module().unpenalized()
    assert "decoder.layers.0.bias" in names
    assert "decoder.layers.0.weight" not in names


def test_linear_path_is_not_trained():
    assert not any("shortcut" in name for name, _ in _module().named_parameters())
