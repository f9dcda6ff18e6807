"""What the networks of sequences have in common: rows are steps, some of them not there."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from sklearn_ae.lstm import LSTMAutoencoder
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.recursive import RecursiveAutoencoder

SMALL = {"n_components": 3, "hidden_size": 6, "max_iter": 3, "random_state": 0}
INSTANCES = {
    "lstm": LSTMAutoencoder(**SMALL),
    "gru": LSTMAutoencoder(**SMALL, cell="gru", n_layers=2, reverse=False),
    "balanced": RecursiveAutoencoder(**SMALL),
    "left": RecursiveAutoencoder(**SMALL, tree="left"),
    "greedy": RecursiveAutoencoder(**SMALL, tree="greedy"),
}
each_network = pytest.mark.parametrize("estimator", INSTANCES.values(), ids=INSTANCES)


def _sequences(step_shape, n_samples=40, seed=0):
    rng = np.random.default_rng(seed)
    lengths = [9, *rng.integers(1, 10, size=n_samples - 1)]
    return [rng.normal(size=(length, *step_shape)) for length in lengths]


def _padded(sequences, n_steps=9):
    rows = np.full((len(sequences), n_steps, *sequences[0].shape[1:]), np.nan)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = sequence
    return rows


@each_network
@pytest.mark.parametrize("step_shape", [(), (1,), (2,)])
def test_a_sequence_has_the_same_code_alone_in_a_batch_and_padded(estimator, step_shape):
    sequences = _sequences(step_shape)
    fitted = clone(estimator).fit(sequences)
    codes = fitted.transform(sequences)
    for sequence, code in zip(sequences, codes, strict=True):
        np.testing.assert_allclose(fitted.transform([sequence])[0], code, atol=1e-12)
    padded = _padded(sequences)
    np.testing.assert_array_equal(fitted.transform(padded), codes)
    again = clone(estimator).fit(padded)
    np.testing.assert_array_equal(again.transform(padded), codes)
    flat = clone(estimator).set_params(n_steps=9).fit(padded.reshape(len(padded), -1))
    np.testing.assert_array_equal(flat.transform(padded.reshape(len(padded), -1)), codes)


@pytest.mark.parametrize("name", ["lstm", "gru", "greedy"])
def test_room_for_longer_sequences_does_not_reach_the_code(name):
    network = INSTANCES[name]._network()
    long, short = AutoencoderModule(network, (9, 2), 3), AutoencoderModule(network, (4, 2), 3)
    short.encoder.load_state_dict(long.encoder.state_dict())
    rows = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([rows, torch.full((5, 5, 2), torch.nan)], 1)
    expected = short.encode(rows.flatten(1))[:, :3]
    torch.testing.assert_close(long.encode(padded.flatten(1))[:, :3], expected)


@each_network
def test_scores_count_what_is_there(estimator):
    rows = _padded(_sequences((2,)))
    fitted = clone(estimator).fit(rows)
    errors = np.square(rows - fitted.reconstruct(rows))
    np.testing.assert_allclose(fitted.score_samples(rows), -np.nanmean(errors, axis=(1, 2)))
    variation = np.square(rows - np.nanmean(rows, axis=0))
    expected = 1 - np.nansum(errors) / np.nansum(variation)
    assert fitted.score(rows) == pytest.approx(expected, rel=1e-9)


@each_network
def test_the_decoder_gives_all_steps(estimator):
    sequences = _sequences((2,))
    fitted = clone(estimator).fit(sequences)
    restored = fitted.reconstruct(sequences)
    assert restored.shape == (40, 9, 2)
    assert np.isfinite(restored).all()
    np.testing.assert_array_equal(fitted.inverse_transform(fitted.transform(sequences)), restored)
    assert np.isfinite(fitted.sample(20, random_state=0)).all()


@each_network
@pytest.mark.parametrize("place", [(0, 0), (0, slice(4, 6)), (0, 8, 0), (0, slice(None))], ids=str)
def test_a_gap_is_no_end(estimator, place):
    rows = _padded(_sequences((2,)))
    fitted = clone(estimator).fit(rows)
    rows = np.nan_to_num(rows)
    rows[place] = np.nan
    for method in (fitted.transform, clone(estimator).fit):
        with pytest.raises(ValueError, match="NaN that is not the end of a sequence"):
            method(rows)


@each_network
def test_longer_sequences_than_in_training_are_refused(estimator):
    fitted = clone(estimator).fit(_sequences((2,)))
    with pytest.raises(ValueError, match="a sequence of 10 steps, more than the 9"):
        fitted.transform([np.zeros((10, 2)), np.zeros((3, 2))])


@each_network
@pytest.mark.parametrize("n_features", [1, 2, 3, 5, 64])
def test_flat_samples_of_any_width(estimator, n_features):
    X = np.random.default_rng(0).normal(size=(30, n_features))
    fitted = clone(estimator).fit(X)
    assert fitted.reconstruct(X).shape == X.shape
    np.testing.assert_array_equal(
        fitted.reconstruct(X), fitted.inverse_transform(fitted.transform(X))
    )
    np.testing.assert_allclose(fitted.transform(X[:1]), fitted.transform(X)[:1], atol=1e-12)


@each_network
def test_steps_of_flat_samples_lie_one_after_another(estimator):
    X = np.random.default_rng(0).normal(size=(30, 4, 3))
    flat = clone(estimator).set_params(n_steps=4).fit(X.reshape(30, 12))
    deep = clone(estimator).fit(X)
    np.testing.assert_array_equal(flat.transform(X.reshape(30, 12)), deep.transform(X))
    np.testing.assert_array_equal(
        flat.reconstruct(X.reshape(30, 12)), deep.reconstruct(X).reshape(30, 12)
    )
    by_channels = clone(estimator).set_params(n_channels=3).fit(X.reshape(30, 12))
    np.testing.assert_array_equal(by_channels.transform(X.reshape(30, 12)), deep.transform(X))


@each_network
def test_steps_that_do_not_fit_are_refused(estimator):
    X = np.zeros((30, 12))
    with pytest.raises(ValueError, match="n_steps=5 and n_channels=None do not fit samples"):
        clone(estimator).set_params(n_steps=5).fit(X)
    with pytest.raises(ValueError, match="n_steps=6 and n_channels=None do not fit samples"):
        clone(estimator).set_params(n_steps=6).fit(X.reshape(30, 4, 3))


@each_network
def test_pickles_go_on_training(estimator):
    X = np.random.default_rng(0).normal(size=(30, 5))
    fitted = clone(estimator).set_params(warm_start=True).fit(X)
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.transform(X), fitted.transform(X))
    np.testing.assert_array_equal(restored.fit(X).transform(X), fitted.fit(X).transform(X))


@each_network
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_every_precision_trains_on_ragged_samples(estimator, precision):
    rows = _padded(_sequences((2,)))
    fitted = clone(estimator).set_params(precision=precision).fit(rows)
    assert np.isfinite(fitted.loss_)
    codes = fitted.transform(rows.astype(np.float32))
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes[:, :3], fitted.transform(rows)[:, :3], atol=1e-4)


@each_network
@pytest.mark.parametrize("loss", ["absolute_error", "binary_crossentropy", "poisson"])
def test_other_losses_on_ragged_samples(estimator, loss):
    rows = _padded([np.abs(s) % 1 for s in _sequences(())])
    fitted = clone(estimator).set_params(loss=loss, max_iter=20).fit(rows)
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]
    assert np.isfinite(fitted.reconstruct(rows)).all()


@each_network
def test_derivatives_of_the_encoder_are_those_of_differences(estimator):
    """In one batched call, which can be differentiated in turn, as objectives ask for it."""
    module = AutoencoderModule(estimator._network(), (5, 2), 3).double()
    draw = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.normal_(std=0.3, generator=draw)
    rows = torch.randn(4, 10, dtype=torch.float64, generator=draw)
    rows[0, 6:] = torch.nan
    rows.requires_grad_()

    def jacobians(x):
        units = torch.eye(3, dtype=x.dtype)[:, None].expand(-1, len(x), -1)
        return torch.autograd.grad(
            module.encode(x)[:, :3], x, units, create_graph=True, is_grads_batched=True
        )[0]

    found = jacobians(rows)
    for place in (0, 5, 9):
        step = torch.zeros(10, dtype=torch.float64)
        step[place] = 1e-6
        rise = module.encode(rows + step)[:, :3] - module.encode(rows - step)[:, :3]
        torch.testing.assert_close(found[:, :, place], rise.t() / 2e-6, atol=1e-7, rtol=1e-5)
    found.square().sum().backward()
    assert all(
        parameter.grad is None or parameter.grad.isfinite().all()
        for parameter in module.parameters()
    )


def test_any_collection_of_sequences_will_do():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=length) for length in rng.integers(3, 9, size=20)]
    estimator = LSTMAutoencoder(2, hidden_size=4, max_iter=2, random_state=0)
    expected = estimator.fit(arrays).transform(arrays)
    objects = np.empty(20, dtype=object)
    objects[:] = arrays
    tensors = [torch.from_numpy(array) for array in arrays]
    for other in ([list(array) for array in arrays], objects, pd.Series(arrays), tensors):
        np.testing.assert_array_equal(clone(estimator).fit(other).transform(other), expected)


def test_longest_sequence_may_come_later():
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=length) for length in range(3, 33)]
    estimator = LSTMAutoencoder(2, hidden_size=4, max_iter=2, n_steps=32, random_state=0)
    assert estimator.fit(sequences[:20]).transform(sequences).shape == (30, 2)
    assert np.isfinite(cross_val_score(estimator, sequences, cv=3)).all()
