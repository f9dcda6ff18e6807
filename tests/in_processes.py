"""What all processes of a fit must pass: run by ``torchrun -m pytest tests/in_processes.py``.

:mod:`test_distributed` does so with two and with three processes.
"""

import hashlib
import os
import sys
import time
import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
from instances import name_of
from sklearn import callback
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

import sklearn_ae._training.batches as batches
from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    ContractiveAutoencoder,
    ConvolutionalAutoencoder,
    DeepBeliefNetwork,
    DenoisingAutoencoder,
    FitCheckpoint,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    RestrictedBoltzmannMachine,
    SemanticHashing,
    SparseAutoencoder,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    UNetAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae._detection import ensemble
from sklearn_ae._detection.members import train_member
from sklearn_ae._estimator.identity import described
from sklearn_ae._estimator.inputs import FitData
from sklearn_ae._training.linear import principal_axes
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._training.ranks import Ranks, among_ranks
from sklearn_ae.networks import DenseNetwork

RANK, SIZE = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
X, y = load_digits(return_X_y=True)
X, y = X[:500, 16:40] / 16, y[:500]
OWN = slice(len(X) * RANK // SIZE, len(X) * (RANK + 1) // SIZE)
PARAMS = {"max_iter": 5, "random_state": 0}
DENSE = {"hidden_layer_sizes": (16,), **PARAMS}


def of_all(value):
    """Return the values of all processes, in tests whose fits have opened the group."""
    found = [None] * SIZE
    dist.all_gather_object(found, value)
    return found


def same_everywhere(model):
    """Whether all processes have ended with the same fitted estimator."""
    arrays = [each.detach().numpy().tobytes() for each in model.module_.state_dict().values()]
    own = hashlib.sha256(b"".join(arrays)).hexdigest(), repr(model.history_), model.best_epoch_
    return all(each == own for each in of_all(own))


SMALL = {"hidden_layer_sizes": (8,), "max_iter": 2}

OTHERS = [
    SparseAutoencoder(6, sparsity="l1", n_active=1, **SMALL),
    SparseAutoencoder(6, sparsity="topk", sparsity_target=0.3, **SMALL),
    DenoisingAutoencoder(noise="swap", **SMALL),
    ContractiveAutoencoder(n_projections=1, **SMALL),
    ConvolutionalAutoencoder(channels=(2, 3), unpooling="switches", max_iter=2),
    UNetAutoencoder(channels=(2, 3), max_iter=2),
    LSTMAutoencoder(max_iter=2, hidden_size=4),
    RecursiveAutoencoder(max_iter=2, hidden_size=4),
    DeepBeliefNetwork(pretraining_max_iter=2, **SMALL),
    SemanticHashing(**SMALL),
    Autoencoder(network=DenseNetwork(hidden_layer_sizes=(8,), dropout=0.1), max_iter=2),
]

# Their loss depends on the mean of a batch, which each process knows of its part alone.
OF_MEANS = [
    SparseAutoencoder(6, sparsity="kl", **SMALL),
    RestrictedBoltzmannMachine(6, sparsity_target=0.2, max_iter=2),
    Autoencoder(network=DenseNetwork(hidden_layer_sizes=(8,), normalization="batch"), max_iter=2),
]
EXACT = [
    Autoencoder(4, init="random", batch_size=96, **DENSE),
    Autoencoder(4, init="random", batch_size=len(X), **DENSE),
    Autoencoder(4, init="random", batch_size=7, max_iter=2, random_state=0),
    Autoencoder(4, init="random", loss="huber", validation_fraction=0.3, **DENSE),
    pytest.param(
        Autoencoder(4, init="random", early_stopping=False, **DENSE), marks=pytest.mark.slow
    ),
    Autoencoder(4, ordered=True, init="random", **DENSE),
    DenoisingAutoencoder(4, noise="masking", init="random", **DENSE),
    pytest.param(VariationalAutoencoder(4, **DENSE), marks=pytest.mark.slow),
    VariationalAutoencoder(4, n_importance_samples=2, **DENSE),
    StackedAutoencoder(4, pretraining_max_iter=3, **DENSE),
    pytest.param(RestrictedBoltzmannMachine(12, **PARAMS), marks=pytest.mark.slow),
    RestrictedBoltzmannMachine(12, persistent=True, n_chains=9, **PARAMS),
]


@pytest.mark.parametrize("estimator", EXACT, ids=name_of)
def test_weights_are_those_of_one_process(estimator):
    found = clone(estimator).fit(X)
    alone = clone(estimator).set_params(distributed=None).fit(X)
    assert same_everywhere(found)
    for name, value in alone.module_.state_dict().items():
        np.testing.assert_allclose(found.module_.state_dict()[name], value, atol=1e-5)
    np.testing.assert_allclose(found.transform(X), alone.transform(X), atol=1e-5)
    np.testing.assert_allclose(found.loss_curve_, alone.loss_curve_, rtol=1e-5)
    assert found.best_epoch_ == alone.best_epoch_
    assert found.n_iter_ == alone.n_iter_ > 0
    start = clone(estimator).set_params(max_iter=1, learning_rate_init=1e-12).fit(X)
    assert np.abs(found.transform(X) - start.transform(X)).max() > 1e-3  # it was trained


@pytest.mark.parametrize("estimator", OTHERS + OF_MEANS, ids=name_of)
def test_other_estimators_are_the_same_in_all_processes(estimator):
    model = clone(estimator).set_params(random_state=0, batch_size=70).fit(X[:140])
    assert same_everywhere(model)
    alone = clone(model).set_params(distributed=None).fit(X[:140])
    tolerance = 0.02 if estimator in OF_MEANS else 1e-4
    np.testing.assert_allclose(model.transform(X), alone.transform(X), atol=tolerance)


def test_best_weights_have_the_statistics_of_one_process():
    """Batch normalisation: each process has means of its own parts."""
    network = DenseNetwork(hidden_layer_sizes=(8,), normalization="batch")
    params = {"learning_rate": "constant", "learning_rate_init": 0.03, "n_iter_no_change": 2}
    model = Autoencoder(2, network=network, init="random", random_state=0, **params)
    assert same_everywhere(model.fit(X))
    assert 0 < model.best_epoch_ < model.n_iter_ < model.max_iter


def test_a_fit_that_stays_at_pca_ends_in_the_epoch_of_one_process():
    noise = np.random.default_rng(0).normal(size=(60, 12))
    for samples, n_epochs in ((noise, 20), (noise[:10], 1)):
        model = Autoencoder(4, random_state=0).fit(samples)
        assert same_everywhere(model)
        assert (model.n_iter_, model.best_epoch_) == (n_epochs, 0)


def test_a_supervised_stack_is_that_of_one_process():
    params = {"hidden_layer_sizes": (16,), "pretraining_max_iter": 2, **PARAMS}
    for more in ({}, {"reconstruction_weight": 0.5}, {"early_stopping": True}):
        model = StackedAutoencoderClassifier(**params, **more).fit(X, y)
        digest = hashlib.sha256(model.predict_proba(X).tobytes()).hexdigest()
        assert len(set(of_all(digest))) == 1
        alone = clone(model).set_params(distributed=None).fit(X, y)
        assert model.score(X, y) > alone.score(X, y) - 0.03
        if not more:
            np.testing.assert_allclose(model.predict_proba(X), alone.predict_proba(X), atol=1e-5)


def test_pseudo_labels_are_those_of_one_process():
    params = {"hidden_layer_sizes": (16,), "pretraining_max_iter": 2, "max_iter": 2}
    few = np.where(np.arange(len(X)) % 4 == 0, y, -1)
    for weight in (0.0, 4.0):  # the directions of the virtual adversarial loss are drawn
        params["adversarial_weight"] = weight
        model = StackedAutoencoderClassifier(unlabeled=-1, random_state=0, **params).fit(X, few)
        digest = hashlib.sha256(model.predict_proba(X).tobytes()).hexdigest()
        assert len(set(of_all(digest))) == 1
        alone = clone(model).set_params(distributed=None).fit(X, few)
        tolerance = 0.05 if weight else 1e-5
        np.testing.assert_allclose(model.predict_proba(X), alone.predict_proba(X), atol=tolerance)


def test_weights_and_missing_values():
    weight = 1.0 + np.arange(len(X)) % 3
    missing = X.copy()
    missing[::7, 3] = np.nan
    model = Autoencoder(4, init="random", **DENSE)
    for data, sample_weight in ((X, weight), (missing, None)):
        found = clone(model).fit(data, sample_weight=sample_weight)
        alone = clone(model).set_params(distributed=None).fit(data, sample_weight=sample_weight)
        assert same_everywhere(found)
        np.testing.assert_allclose(found.transform(data), alone.transform(data), atol=1e-5)


@pytest.mark.parametrize("callbacks", [[], [callback.ProgressBar()]], ids=["", "callbacks"])
def test_members_of_a_detector_are_shared(callbacks, monkeypatch):
    """Each process trains some of them; with callbacks all train each of them together."""
    trained = []

    def counted(*args, **kwargs):
        trained.append(args)
        return train_member(*args, **kwargs)

    monkeypatch.setattr(ensemble, "train_member", counted)
    member = Autoencoder(2, init="random", **SMALL, distributed=None)
    detector = AutoencoderOutlierDetector(member, n_estimators=4, random_state=0)
    alone = detector.fit(X).score_samples(X)
    assert len(trained) == 4
    detector.set_params(estimator__distributed="auto").set_callbacks(*callbacks).fit(X)
    assert len(trained) == 4 + (4 if callbacks else 4 // SIZE)
    np.testing.assert_allclose(detector.score_samples(X), alone, rtol=1e-4)
    assert len({scores.tobytes() for scores in of_all(detector.score_samples(X))}) == 1
    detector.set_params(random_state=None).fit(X)
    assert len({scores.tobytes() for scores in of_all(detector.score_samples(X))}) == 1


def test_detectors_of_different_data_are_told():
    with pytest.raises(ValueError, match="processes 0 and 1 of this fit have different data"):
        AutoencoderOutlierDetector(n_estimators=2).fit(X[RANK:])


def test_searches_end_the_same():
    model = Autoencoder(3, hidden_layer_sizes=(8,), max_iter=2, random_state=0)
    search = GridSearchCV(model, {"alpha": [0.0, 0.1]}, cv=2).fit(X)
    scores = search.cv_results_["mean_test_score"]
    assert len({each.tobytes() for each in of_all(scores)}) == 1
    if RANK == 0:  # workers train alone, so no other process has to take part
        apart = clone(search).set_params(n_jobs=2, refit=False).fit(X)
        np.testing.assert_allclose(apart.cv_results_["mean_test_score"], scores, rtol=1e-6)


def test_seeds_are_agreed_on():
    model = Autoencoder(4, init="random", hidden_layer_sizes=(16,), max_iter=2).fit(X)
    assert same_everywhere(model)


# Samples of which each process has its own


@pytest.mark.parametrize(
    "estimator",
    [
        Autoencoder(4, init="random", **DENSE),
        VariationalAutoencoder(4, **DENSE),
        pytest.param(
            StackedAutoencoder(4, pretraining_max_iter=2, **DENSE), marks=pytest.mark.slow
        ),
        RestrictedBoltzmannMachine(12, **PARAMS),
    ],
    ids=name_of,
)
def test_few_shards_give_the_weights_of_one_process(estimator):
    found = clone(estimator).set_params(distributed="sharded").fit(X[OWN])
    alone = clone(estimator).set_params(distributed=None).fit(X)
    assert same_everywhere(found)
    np.testing.assert_allclose(found.transform(X), alone.transform(X), atol=1e-5)


@pytest.fixture
def large(monkeypatch):
    """Nothing is small enough for all processes to hold it."""
    monkeypatch.setattr(batches, "cache_limit", lambda device: 0)


def test_large_shards_start_at_the_pca_of_all_samples(large):
    model = Autoencoder(4, hidden_layer_sizes=(8,), max_iter=1, learning_rate_init=1e-12)
    weight = 1.0 + np.arange(len(X)) % 3
    for given in (None, weight):
        own = None if given is None else given[OWN]
        found = clone(model).set_params(distributed="sharded", random_state=0)
        found.fit(X[OWN], sample_weight=own)
        alone = clone(model).set_params(distributed=None, random_state=0)
        alone.fit(X, sample_weight=given)
        assert same_everywhere(found)
        np.testing.assert_allclose(found.reconstruct(X), alone.reconstruct(X), atol=1e-6)


@pytest.mark.parametrize(
    "kind", ["array", pytest.param("sparse", marks=pytest.mark.slow), "source", "missing"]
)
def test_large_shards_learn_as_much(kind, large, monkeypatch):
    import scipy.sparse as sp

    data = X[OWN]
    if kind == "sparse":
        data = sp.csr_matrix(data)
    elif kind == "missing":
        data = data.copy()
        data[::9, 2] = np.nan
    elif kind == "source":
        pa = pytest.importorskip("pyarrow")
        monkeypatch.setattr("sklearn_ae._estimator.inputs.CACHE_BYTES", 0)
        data = pa.table(list(data.T), names=[str(each) for each in range(X.shape[1])])
    params = {"init": "random", "hidden_layer_sizes": (16,), "max_iter": 20, "random_state": 0}
    model = Autoencoder(4, batch_size=50, distributed="sharded", **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # names of columns
        score = model.fit(data).score(X)
        alone = clone(model).set_params(distributed=None).fit(X).score(X)
    assert same_everywhere(model)
    assert abs(score - alone) < 0.06
    if kind == "array":
        labels = StackedAutoencoderClassifier(
            hidden_layer_sizes=(16,),
            max_iter=20,
            pretraining_max_iter=3,
            random_state=0,
            distributed="sharded",
        )
        labelled = clone(labels).set_params(distributed=None).fit(X, y).score(X, y)
        assert labels.fit(data, y[OWN]).score(X, y) > labelled - 0.05


def test_an_epoch_of_shards_has_every_sample_once(large, monkeypatch):
    seen, step = [], batches.Batches._part

    def recorded(self, samples, index, place):
        batch = step(self, samples, index, place)
        if self.shuffle is not None and place.fraction:
            seen.append(batch.samples.clone())
        return batch

    monkeypatch.setattr(batches.Batches, "_part", recorded)
    rows = np.arange(300.0)[:, None] + np.zeros((1, 3))
    own = rows[100 * RANK : (100 * (RANK + 1) if RANK + 1 < SIZE else 300)]
    model = Autoencoder(1, max_iter=1, early_stopping=False, input_noise=0.0, batch_size=11)
    model.set_params(distributed="sharded", random_state=0).fit(own)
    mine = torch.cat(seen)[:, 0].numpy() * float(model.module_.scale)
    np.testing.assert_allclose(
        np.sort(mine + float(model.module_.center[0])), own[:, 0], atol=1e-3
    )


@pytest.mark.parametrize("batch_size", [1, pytest.param(2, marks=pytest.mark.slow), 11])
@pytest.mark.parametrize("n_first", [1, 0, 20])
def test_shards_of_unequal_sizes(batch_size, n_first, large):
    """A process may have one row, or none that is trained on."""
    own = X[:30][slice(n_first + 1) if RANK == 0 else slice(n_first + 1, None)]
    own = own if RANK < 2 else own[: 5 * RANK]
    for estimator in (
        Autoencoder(2, init="random", early_stopping=n_first == 1, max_iter=2),
        VariationalAutoencoder(2, hidden_layer_sizes=(4,), max_iter=2, early_stopping=False),
    ):
        model = estimator.set_params(batch_size=batch_size, distributed="sharded", random_state=0)
        assert same_everywhere(model.fit(own))
        assert np.isfinite(model.loss_curve_).all()


def test_targets_of_shards_are_held_out_with_their_samples(large):
    images = load_digits().images[:60] / 16
    own = slice(60 * RANK // SIZE, 60 * (RANK + 1) // SIZE)
    model = UNetAutoencoder(channels=(2,), max_iter=2, random_state=0, distributed="sharded")
    model.fit(images[own], 1 - images[own])
    assert same_everywhere(model)


def test_sums_over_chunks_are_those_of_one_process(large):
    samples = batches.Samples(X, None, torch.device("cpu"), torch.float64)
    samples._max_chunk_size = 17
    alone = principal_axes(samples, 3, 0)
    with among_ranks("auto", torch.device("cpu"), dict):
        assert Ranks.current().size == SIZE
        together = principal_axes(samples, 3, 0)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)
    assert Ranks.current() is None


# Decisions


def test_one_process_prints_and_a_callback_of_any_ends_all(capfd):
    class Stopping(Callback):
        def on_epoch_end(self, net, **kwargs):
            if RANK == SIZE - 1 and len(net.history) == 3:
                net.stop_training = True

    model = Autoencoder(2, init="random", max_iter=50, random_state=0, verbose=1)
    model.set_params(callbacks=[Stopping()]).fit(X)
    assert model.n_iter_ == 3
    assert ("Autoencoder" in capfd.readouterr().err) == (RANK == 0)


def test_a_stopped_fit_goes_on_to_the_same_weights(tmp_path_factory, monkeypatch):
    folder = of_all(str(tmp_path_factory.mktemp("checkpoints")))[0]
    train_epoch, epochs = AutoencoderNet.train_epoch, []

    def stopping(*arguments):
        if len(epochs) == 3:
            raise KeyboardInterrupt
        epochs.append(1)
        return train_epoch(*arguments)

    model = VariationalAutoencoder(4, hidden_layer_sizes=(16,), max_iter=6, random_state=0)
    whole = clone(model).fit(X)
    model.set_params(callbacks=[FitCheckpoint(folder, every=1)])
    with monkeypatch.context() as patched:
        patched.setattr(AutoencoderNet, "train_epoch", stopping)
        with pytest.raises(KeyboardInterrupt):
            clone(model).fit(X)
    of_all(None)  # all have stopped
    assert len(os.listdir(folder)) == 1
    again = clone(model).fit(X)
    np.testing.assert_array_equal(again.transform(X), whole.transform(X))
    assert again.history_ == whole.history_


# Errors


def test_differences_between_processes_are_told():
    model = Autoencoder(2, init="random", **DENSE)
    different = X + RANK
    with pytest.raises(ValueError, match=r"processes 0 and 1 .* different data.*'sharded'"):
        clone(model).fit(different)
    with pytest.raises(ValueError, match=r"different parameters: .*alpha=0"):
        clone(model).set_params(alpha=0.1 * (RANK == 1)).fit(X)
    with pytest.raises(ValueError, match="different data"):
        StackedAutoencoderClassifier(max_iter=2).fit(X, np.roll(y, RANK))
    callbacks = [Callback()] if RANK == 0 else None
    with pytest.raises(ValueError, match="different parameters: .*callbacks"):
        clone(model).set_params(callbacks=callbacks).fit(X)
    with pytest.raises(ValueError, match="different shapes of samples"):
        clone(model).set_params(distributed="sharded").fit(X[:, : 10 + (RANK == 1)])
    assert same_everywhere(clone(model).fit(X))  # the connections are as before


def test_the_error_of_one_process_ends_the_others():
    class Failing(Callback):
        def on_epoch_end(self, net, **kwargs):
            if RANK == 1 and len(net.history) == 2:
                raise ZeroDivisionError("by nothing")

    model = Autoencoder(2, init="random", callbacks=[Failing()], **DENSE)
    start = time.perf_counter()
    if RANK == 1:
        with pytest.raises(ZeroDivisionError, match="by nothing"):
            model.fit(X)
    else:
        with pytest.raises(RuntimeError, match=r"process 1: ZeroDivisionError: by nothing"):
            model.fit(X)
    assert time.perf_counter() - start < 30
    assert not hasattr(model, "module_")
    of_all(None)
    assert same_everywhere(Autoencoder(2, init="random", **DENSE).fit(X))


def test_an_error_before_the_fit_ends_the_others():
    """Samples of one process are invalid: it begins no fit."""
    own = X[OWN].copy()
    if RANK == 1:
        own[3, 4] = np.inf
    model = Autoencoder(2, init="random", distributed="sharded", **DENSE)
    with pytest.raises(ValueError if RANK == 1 else RuntimeError, match="contains infinity"):
        model.fit(own)
    labels = StackedAutoencoderClassifier(max_iter=2, distributed="sharded")
    with pytest.raises(ValueError if RANK == 1 else RuntimeError, match="contains infinity"):
        labels.fit(own, y[OWN])
    of_all(None)
    assert same_everywhere(Autoencoder(2, init="random", **DENSE).fit(X))


def test_the_largest_samples_are_compared():
    """A position in float32 would be beyond the last row."""
    many = np.broadcast_to(np.float32(0), (20_000_000, 1))
    data = FitData(many, None, None, None, None)
    assert set(described(Autoencoder(), data)) == {"versions", "parameters", "data"}


def test_fits_alone_ask_nobody():
    if RANK == 0:
        model = Autoencoder(2, max_iter=2, random_state=0, distributed=None).fit(X)
        assert model.score(X) > 0


if __name__ == "__main__":
    sys.exit("run by: torchrun --nproc-per-node=2 -m pytest tests/in_processes.py")
