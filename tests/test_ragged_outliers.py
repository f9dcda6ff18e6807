"""Outlier detection among sequences of different lengths."""

import numpy as np
import pytest
import torch

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    VariationalAutoencoder,
    load,
    save,
    to_onnx,
)
from sklearn_ae._detection.error_statistics import normal_error
from sklearn_ae._detection.halves import folds
from sklearn_ae.networks import LSTMNetwork

LSTM = LSTMAutoencoder(2, hidden_size=3, max_iter=2)


def _sequences(n_samples=40, seed=0, n_channels=2):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(rng.integers(2, 6), n_channels)) for _ in range(n_samples)]


def _padded(sequences, n_steps=5):
    padded = np.full((len(sequences), n_steps, *sequences[0].shape[1:]), np.nan)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return padded


def _detector(estimator=LSTM, **parameters):
    return AutoencoderOutlierDetector(estimator, n_estimators=2, random_state=0, **parameters)


@pytest.fixture(scope="module")
def detector():
    return _detector().fit(_sequences())


def test_the_score_is_the_mean_over_the_observed_steps(detector):
    X = _padded(_sequences(20, seed=1))
    keys = detector._keys(X.reshape(20, -1))
    expected = np.zeros(20)
    for member in detector._members:
        error = np.abs(X - member.estimator.reconstruct(X)).reshape(20, -1)
        scores = -np.nanmean(np.log1p((error / member.scale[folds(keys)]) ** 2), axis=1)
        expected += np.where(member.is_new(keys), scores, 0)
    np.testing.assert_allclose(detector.score_samples(X), expected, rtol=1e-9)


def test_training_samples_are_scored_by_members_that_held_them_out(detector):
    X = _sequences()
    np.testing.assert_allclose(detector.score_samples(X), detector.held_out_scores_)
    assert (detector.predict(X) == -1).sum() == 4
    assert detector.p_values(X).min() >= 1 / 41
    assert detector.input_shape_ == (5, 2)


@pytest.mark.parametrize(
    "convert",
    [
        _padded,
        lambda X: [torch.from_numpy(x) for x in X],
        lambda X: [x.tolist() for x in X],
        lambda X: np.array([*X, None], dtype=object)[:-1],
        lambda X: _padded(X).reshape(len(X), -1),
    ],
    ids=["padded", "tensors", "lists", "objects", "flat"],
)
def test_any_container_of_sequences_is_taken(detector, convert):
    X = _sequences(10, seed=1)
    np.testing.assert_array_equal(detector.score_samples(convert(X)), detector.score_samples(X))


@pytest.mark.parametrize(
    "estimator",
    [
        LSTM,
        RecursiveAutoencoder(2, hidden_size=3, max_iter=1),
        VariationalAutoencoder(2, network=LSTMNetwork(hidden_size=3), max_iter=1),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_values_out_of_range_are_outliers(estimator):
    X = _sequences(n_channels=1)
    found = _detector(estimator).fit(X)
    far = [x + 50 for x in _sequences(10, seed=1, n_channels=1)]
    assert (found.predict(far) == -1).all()
    # Sequences of numbers are sequences of one channel.
    of_numbers = _detector(estimator).fit([x[:, 0] for x in X])
    assert of_numbers.input_shape_ == (5,)
    scores = of_numbers.score_samples([x[:, 0] for x in far])
    np.testing.assert_allclose(scores, found.score_samples(far))


def test_the_step_that_is_wrong_is_explained(detector):
    X = _sequences(6, seed=1)
    for x in X:
        x[1, 0] += 30
    fractions = detector.explain(X)
    assert fractions.shape == (6, 5, 2)
    np.testing.assert_allclose(fractions.sum((1, 2)), 1)
    np.testing.assert_array_equal(fractions[np.isnan(_padded(X))], 0)
    assert (fractions.reshape(6, -1).argmax(1) == 2).all()


def test_files_and_exports_score_sequences_alike(detector, tmp_path):
    X = _sequences(10, seed=1)
    save(detector, tmp_path / "model")
    loaded = load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_samples(X), detector.score_samples(X))
    onnxruntime = pytest.importorskip("onnxruntime")
    model = to_onnx(detector, "score_samples").SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"X": _padded(X).astype(np.float32)})
    expected = detector.score_samples(_padded(X).astype(np.float32))
    np.testing.assert_allclose(scores.ravel(), expected, atol=1e-4)


def test_steps_that_no_held_out_sample_has_are_compared_with_the_others():
    error = np.array([[1.0, 10.0, np.nan], [3.0, 20.0, np.nan], [2.0, 90.0, np.nan]])
    np.testing.assert_allclose(normal_error(error, np.ones(3)), [2, 20, 11])
    X = [*_sequences(40), np.zeros((9, 2))]  # one sequence is longer than all others
    found = _detector().fit(X)
    assert found.input_shape_ == (9, 2)
    longer = np.random.default_rng(1).normal(size=(9, 2))
    assert found.score_samples([longer])[0] > found.score_samples([longer + 50])[0]
    assert found.predict([longer])[0] == 1


def test_what_is_no_sequence_is_refused(detector):
    with pytest.raises(ValueError, match="a sequence of 6 steps, more than the 5"):
        detector.predict([np.zeros((6, 2))])
    gap = _padded(_sequences(5))
    gap[0, 0] = np.nan
    for method in (detector.predict, _detector().fit):
        with pytest.raises(ValueError, match="NaN that is not the end of a sequence"):
            method(gap)


@pytest.mark.parametrize("model", [Autoencoder(), _detector(None), _detector(Autoencoder())])
@pytest.mark.parametrize("convert", [list, lambda X: [x.tolist() for x in X]])
def test_other_networks_name_those_that_take_sequences(model, convert):
    message = "of different lengths, from 2 to 5, but .*LSTMAutoencoder"
    with pytest.raises(ValueError, match=message):
        model.fit(convert(_sequences()))
