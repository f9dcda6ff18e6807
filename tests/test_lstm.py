"""What defines the recurrent autoencoder: the recurrences, computed once more by hand."""

import numpy as np
import pytest
import torch

from sklearn_ae.lstm import LSTMAutoencoder
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks.lstm import LSTMNetwork


def _sines(n_samples, n_steps, seed):
    rng = np.random.default_rng(seed)
    frequency, phase = rng.uniform(1, 3, (n_samples, 1)), rng.uniform(0, 2 * np.pi, (n_samples, 1))
    return np.sin(2 * np.pi * frequency * np.arange(n_steps) / n_steps + phase)


def test_held_out_sines_are_reconstructed_with_defaults_else():
    autoencoder = LSTMAutoencoder(4, precision="float32", random_state=0)
    assert autoencoder.fit(_sines(300, 30, seed=0)).score(_sines(200, 30, seed=1)) > 0.95


def test_gated_recurrent_units_learn_too():
    autoencoder = LSTMAutoencoder(
        3, cell="gru", hidden_size=16, learning_rate_init=0.01, random_state=0
    )
    X = np.sin(0.5 * np.arange(15) + np.random.default_rng(0).uniform(0, 6, size=(200, 1)))
    assert autoencoder.fit(X).score(X) > 0.95


def _logistic(x):
    return 1 / (1 + np.exp(-x))


def _run(weights, inputs, hidden, memory):
    """The recurrence of Hochreiter and Schmidhuber, with forget gates, for one sequence."""
    states = []
    for step in inputs:
        gates = (
            weights["weight_ih_l0"] @ step
            + weights["bias_ih_l0"]
            + weights["weight_hh_l0"] @ hidden
            + weights["bias_hh_l0"]
        )
        enter, forget, candidate, leave = np.split(gates, 4)
        memory = _logistic(forget) * memory + _logistic(enter) * np.tanh(candidate)
        hidden = _logistic(leave) * np.tanh(memory)
        states.append(hidden)
    return np.array(states)


def _plain_weights(module):
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("reverse", [True, False])
def test_encoder_and_decoder_are_the_recurrences(reverse):
    network = LSTMNetwork(hidden_size=5, reverse=reverse)
    module = AutoencoderModule(network, (6, 2), 3).double()
    rows = np.random.default_rng(0).normal(size=(4, 6, 2))
    rows[1, 4:], rows[2, 1:] = np.nan, np.nan
    codes = module.encode(torch.from_numpy(rows.reshape(4, 12))).detach().numpy()
    restored = module.decode(torch.from_numpy(codes)).detach().numpy().reshape(4, 6, 2)

    nothing = np.zeros(5)
    encoder, decoder = _plain_weights(module.encoder), _plain_weights(module.decoder)
    reader, writer = (
        {name.removeprefix("recurrence."): value for name, value in weights.items()}
        for weights in (encoder, decoder)
    )
    for row, code, output in zip(rows, codes, restored, strict=True):
        steps = row[~np.isnan(row[:, 0])]
        last = _run(reader, steps[::-1] if reverse else steps, nothing, nothing)[-1]
        np.testing.assert_allclose(encoder["code.weight"] @ last + encoder["code.bias"], code)
        hidden, memory = np.split(
            np.tanh(decoder["start.weight"] @ code + decoder["start.bias"]), 2
        )
        states = _run(writer, [code] * 6, hidden, memory)
        np.testing.assert_allclose(
            states @ decoder["step.weight"].T + decoder["step.bias"], output
        )


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_layers_and_cells_have_the_shapes_that_they_say(cell):
    module = AutoencoderModule(LSTMNetwork(cell=cell, hidden_size=4, n_layers=3), (5, 2), 2)
    for part in (module.encoder, module.decoder):
        assert part.recurrence.num_layers == 3
        assert part.recurrence.mode == cell.upper()
    assert module(torch.zeros(1, 10)).shape == (1, 10)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_first_state_of_each_layer_comes_from_the_code(cell):
    """With weights of the recurrence at zero, what is left of a state is known."""
    module = AutoencoderModule(LSTMNetwork(cell=cell, hidden_size=4, n_layers=2), (3,), 2).double()
    decoder = module.decoder
    for parameter in decoder.recurrence.parameters():
        parameter.data.zero_()
    z = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    starts = decoder.start(z).tanh().unflatten(1, (-1, 2, 4))[:, -1, -1]
    # All gates are 1/2: h_1 = tanh(c_0 / 2) / 2 of an LSTM, h_0 / 2 of a GRU.
    hidden = (starts / 2).tanh() / 2 if cell == "lstm" else starts / 2
    torch.testing.assert_close(module.decode(z)[:, :1], decoder.step(hidden))


def test_unknown_cells_are_refused():
    with pytest.raises(ValueError, match="'cell' parameter"):
        LSTMAutoencoder(cell="elman").fit(np.zeros((5, 3)))
