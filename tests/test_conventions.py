"""What users of scikit-learn and skorch expect: labels, heads, callbacks, numbers of epochs."""

import json
import math

import numpy as np
import pytest
import sklearn
import torch
from faults import seeded, table, targets
from instances import INSTANCES, SUPERVISED, name_of
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import BatchScoring, Callback, EarlyStopping, EpochScoring, LRScheduler

from sklearn_ae import (
    Autoencoder,
    FitCheckpoint,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    load,
    save,
)

SMALL = {"hidden_layer_sizes": (6,), "pretraining_max_iter": 2, "max_iter": 4, "random_state": 0}


# Array API dispatch


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.float32])
@pytest.mark.parametrize("params", [{}, {"head": LogisticRegression()}])
def test_labels_may_be_a_tensor_under_dispatch(dtype, params):
    X, y = table(), (np.arange(40) % 2).astype(str(dtype)[6:])
    expected = StackedAutoencoderClassifier(**SMALL, **params).fit(X, y)
    with sklearn.config_context(array_api_dispatch=True):
        given = torch.tensor(X), torch.tensor(y)
        found = StackedAutoencoderClassifier(**SMALL, **params).fit(*given)
        assert found.score(*given) == expected.score(X, y)
        labels = found.predict(given[0])
    np.testing.assert_array_equal(labels, expected.predict(X))
    assert found.classes_.dtype == expected.classes_.dtype == y.dtype


@pytest.mark.parametrize("shape", [(40,), (40, 2)])
@pytest.mark.parametrize("params", [{}, {"head": Ridge()}])
def test_targets_may_be_a_tensor_under_dispatch(shape, params):
    X, y = table(), np.random.default_rng(1).normal(size=shape)
    y[3] = np.nan  # no target
    expected = StackedAutoencoderRegressor(**SMALL, **params).fit(X, y)
    with sklearn.config_context(array_api_dispatch=True):
        given = torch.tensor(X), torch.tensor(y)
        found = StackedAutoencoderRegressor(**SMALL, **params).fit(*given)
        assert found.score(*given) == expected.score(X, y)
        np.testing.assert_array_equal(found.predict(given[0]), expected.predict(X))


def test_labels_of_another_array_library_are_taken_under_dispatch():
    strict = pytest.importorskip("array_api_strict")
    X, y = table(), np.arange(40) % 2
    with sklearn.config_context(array_api_dispatch=True):
        classifier = StackedAutoencoderClassifier(**SMALL).fit(X, strict.asarray(y))
    np.testing.assert_array_equal(classifier.classes_, [0, 1])


@pytest.mark.parametrize(
    "density",
    [
        GaussianMixture(2),
        BayesianGaussianMixture(n_components=2, max_iter=1000),
        KernelDensity(),
        "kde",
        "mixture",
    ],
    ids=lambda density: density if isinstance(density, str) else type(density).__name__,
)
def test_densities_are_fitted_and_drawn_from_under_dispatch(density):
    X = table()
    params = {"max_iter": 2, "density": density, "random_state": 0}
    expected = Autoencoder(2, **params).fit(X).sample(5, random_state=0)
    with sklearn.config_context(array_api_dispatch=True):
        drawn = Autoencoder(2, **params).fit(torch.tensor(X)).sample(5, random_state=0)
    np.testing.assert_array_equal(drawn, expected)


# Weights of heads


class Recorder(LogisticRegression):
    """Remember the weights that it was given."""

    def fit(self, X, y, sample_weight=None):
        """Fit as usual."""
        self.weights_ = sample_weight
        return super().fit(X, y, sample_weight)


def _weights_of_head(head, **params):
    X, y, weight = table(), np.arange(40) % 2, np.arange(1.0, 41)
    params = SMALL | {"fine_tune": False} | params
    classifier = StackedAutoencoderClassifier(head=head, **params).fit(X, y, sample_weight=weight)
    return weight, classifier.head_.weights_


def test_a_head_receives_weights_unless_it_requests_none():
    weight, received = _weights_of_head(Recorder())
    np.testing.assert_array_equal(received, weight)
    with sklearn.config_context(enable_metadata_routing=True):
        weight, received = _weights_of_head(Recorder().set_fit_request(sample_weight=True))
        np.testing.assert_array_equal(received, weight)
        for class_weight in (None, "balanced"):
            refusing = Recorder().set_fit_request(sample_weight=False)
            assert _weights_of_head(refusing, class_weight=class_weight)[1] is None


def test_a_pipeline_as_head_takes_weights_by_routing():
    X, y, weight = table(), np.arange(40) % 2, np.arange(1.0, 41)
    params = SMALL | {"fine_tune": False}
    plain = make_pipeline(StandardScaler(), Recorder())
    with pytest.raises(ValueError, match="does not take weights"):
        StackedAutoencoderClassifier(head=plain, **params).fit(X, y, sample_weight=weight)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            Recorder().set_fit_request(sample_weight=True),
        )
        fitted = StackedAutoencoderClassifier(head=asking, **params).fit(X, y, weight)
    np.testing.assert_array_equal(fitted.head_[-1].weights_, weight)


# Patience without end


@pytest.mark.parametrize("value", [math.inf, np.inf, np.float64("inf")])
def test_training_may_be_told_never_to_stop(value, tmp_path):
    X = np.ones((30, 3))
    # Steps too small for any improvement; a start at PCA would end the fit earlier.
    params = {"init": "random", "learning_rate_init": 1e-30, "max_iter": 130, "random_state": 0}
    impatient = Autoencoder(1, **params)
    patient = clone(impatient).set_params(n_iter_no_change=value).fit(X)
    assert patient.n_iter_ == 130
    assert impatient.fit(X).n_iter_ == 100
    save(patient, tmp_path / "file")
    assert load(tmp_path / "file").n_iter_no_change == math.inf
    with pytest.raises(ValueError, match="n_iter_no_change"):
        Autoencoder(1, n_iter_no_change=2.5).fit(X)


# skorch's callbacks


class Epochs(Callback):
    """Count epochs."""

    def __init__(self):
        self.count = 0

    def on_epoch_end(self, net, **kwargs):
        """Count one."""
        self.count += 1
        self.names = [name for name, _ in net.callbacks_]


def test_callbacks_may_have_names(tmp_path):
    X, epochs = table(70), Epochs()
    stop = EarlyStopping(monitor="train_loss", patience=3, threshold=10.0)
    pairs = [("mine", epochs), ("stop", stop)]
    autoencoder = Autoencoder(1, max_iter=50, callbacks=pairs, random_state=0).fit(X)
    assert autoencoder.n_iter_ == epochs.count == 4
    assert {"mine", "stop"} <= set(epochs.names)
    kept = ("kept", FitCheckpoint(tmp_path, every=1, version=1))
    named = StackedAutoencoderClassifier(**SMALL, callbacks=[kept, ("mine", Epochs())])
    named.fit(X, targets(named, 70))
    assert named.callbacks[1][1].count == named.n_iter_ == 4
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="EarlyStopping"):
        Autoencoder(1, max_iter=2, callbacks=[kept, ("stop", stop)], random_state=0).fit(X)
    with pytest.raises(ValueError, match="at most one FitCheckpoint"):
        Autoencoder(1, max_iter=2, callbacks=[kept, FitCheckpoint(tmp_path)], random_state=0).fit(
            X
        )
    with pytest.raises(ValueError, match="instances of skorch callbacks"):
        Autoencoder(1, max_iter=2, callbacks=[("mine", Epochs)], random_state=0).fit(X)


def test_a_named_checkpoint_is_left_out_of_files(tmp_path):
    callbacks = [("kept", FitCheckpoint(tmp_path / "folder"))]
    autoencoder = Autoencoder(1, max_iter=2, callbacks=callbacks, random_state=0).fit(table())
    save(autoencoder, tmp_path / "file")
    assert load(tmp_path / "file").callbacks is None


@pytest.mark.parametrize(
    "scoring", [EpochScoring("r2"), BatchScoring("r2"), ("r2", EpochScoring("r2"))]
)
def test_callbacks_that_predict_with_the_net_are_refused_with_the_reason(scoring):
    for estimator in (Autoencoder(1), StackedAutoencoderRegressor(**SMALL)):
        estimator.set_params(callbacks=[scoring])
        with pytest.raises(ValueError, match="neither X nor y.*ScoringMonitor"):
            estimator.fit(table(), np.arange(40.0))


@pytest.mark.parametrize("name", ["LRScheduler", "EarlyStopping", "ScoringBase"])
def test_callbacks_are_recognised_by_their_class_and_not_by_its_name(name, tmp_path):
    own = type(name, (Epochs,), {})()
    callbacks = [own, FitCheckpoint(tmp_path, version=1)]
    fitted = Autoencoder(1, max_iter=2, callbacks=callbacks, random_state=0).fit(table(70))
    assert own.count == fitted.n_iter_ == 2


@pytest.mark.parametrize("base", [LRScheduler, EarlyStopping])
def test_subclasses_of_skorch_callbacks_are_refused_beside_a_checkpoint(base, tmp_path):
    own = type("Own", (base,), {})()
    callbacks = [own, FitCheckpoint(tmp_path, version=1)]
    with pytest.raises(ValueError, match="the state of Own"):
        Autoencoder(1, max_iter=2, callbacks=callbacks, random_state=0).fit(table())


# Numbers of epochs


@pytest.mark.parametrize("instance", [*INSTANCES, *SUPERVISED], ids=name_of)
def test_there_are_as_many_losses_as_epochs_and_no_more_than_asked_for(instance):
    X = table()
    fitted = seeded(instance).fit(X, targets(instance))
    assert 1 <= fitted.n_iter_ <= fitted.max_iter
    assert len(fitted.loss_curve_) == len(fitted.history_) == fitted.n_iter_
    assert fitted.validation_scores_ is None or len(fitted.validation_scores_) == fitted.n_iter_
    assert [entry["epoch"] for entry in fitted.history_] == list(range(1, 1 + fitted.n_iter_))
    assert 0 <= fitted.best_epoch_ <= fitted.n_iter_
    assert json.dumps(fitted.history_)
    before = fitted.n_iter_
    again = fitted.set_params(warm_start=True).fit(X, targets(instance))
    assert again.n_iter_ <= again.max_iter
    assert len(again.loss_curve_) == len(again.history_) == before + again.n_iter_


def test_epochs_of_a_frozen_autoencoder_are_its_own():
    from sklearn.frozen import FrozenEstimator

    X, y = table(), np.arange(40) % 2
    stack = StackedAutoencoder(3, **SMALL, warm_start=True).fit(X).fit(X)
    params = {"autoencoder": FrozenEstimator(stack), "fine_tune": False}
    classifier = StackedAutoencoderClassifier(head=LogisticRegression(), **params).fit(X, y)
    assert classifier.n_iter_ == 4
    assert classifier.loss_curve_ == stack.loss_curve_[4:]
    assert StackedAutoencoderClassifier(max_iter=7, **params).fit(X, y).n_iter_ == 7
