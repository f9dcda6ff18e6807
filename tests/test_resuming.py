"""Fits that were stopped go on as if nothing had happened."""

import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from instances import INSTANCES, SUPERVISED, name_of
from joblib import parallel_config
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler

from sklearn_ae import (
    Autoencoder,
    DenoisingAutoencoder,
    FitCheckpoint,
    StackedAutoencoderClassifier,
)
from sklearn_ae._estimator.identity import Descriptions, identity_of
from sklearn_ae._training import atomic as files
from sklearn_ae._training import batches
from sklearn_ae._training.checkpoint import read_checkpoint
from sklearn_ae._training.net import AutoencoderNet

PIXELS = slice(16, 32)


@pytest.fixture
def epochs(monkeypatch):
    """Count the epochs of all runs of all fits; at number ``stop_at`` the user loses patience."""

    class Epochs:
        done, stop_at = 0, 0

        def forget(self, stop_at=0):
            self.done, self.stop_at = 0, stop_at

    counter, train_epoch = Epochs(), AutoencoderNet.train_epoch

    def counting(*given):
        if counter.stop_at and counter.done == counter.stop_at:
            raise KeyboardInterrupt
        counter.done += 1
        return train_epoch(*given)

    monkeypatch.setattr(AutoencoderNet, "train_epoch", counting)
    return counter


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:120, PIXELS], y[:120]


def same_fit(one, other, X):
    """Whether two fitted estimators are the same in all that they do and tell."""
    method = "predict" if hasattr(one, "predict") else "reconstruct"
    np.testing.assert_array_equal(one.transform(X), other.transform(X))
    np.testing.assert_array_equal(getattr(one, method)(X), getattr(other, method)(X))
    for name in ("history_", "loss_curve_", "best_epoch_", "n_iter_", "validation_scores_"):
        assert getattr(one, name) == getattr(other, name), name


# The number of active units falls over the first half of a fit: half a fit has another half.
WITHOUT_COURSE = [each for each in INSTANCES if getattr(each, "sparsity", None) != "topk"]


@pytest.mark.parametrize("estimator", WITHOUT_COURSE, ids=name_of)
def test_parts_make_up_the_whole(estimator, digits):
    """Twice as many epochs, or as many twice; a pickle in between does not matter."""
    X, _ = digits
    model = clone(estimator).set_params(
        random_state=0, learning_rate="constant", early_stopping=False, max_iter=6
    )
    if hasattr(model, "kl_warm_up"):
        model.set_params(kl_warm_up=0.0)
    whole = clone(model).fit(X)
    parts = clone(model).set_params(max_iter=3, warm_start=True).fit(X)
    parts = pickle.loads(pickle.dumps(parts)).fit(X)
    np.testing.assert_array_equal(parts.transform(X), whole.transform(X))
    np.testing.assert_array_equal(parts.reconstruct(X), whole.reconstruct(X))
    assert parts.loss_curve_ == whole.loss_curve_


@pytest.mark.parametrize("estimator", INSTANCES, ids=name_of)
def test_passes_go_on_after_a_pickle(estimator, digits):
    X, _ = digits
    chunks = [X[:40], X[40:80], X[80:], X[:60]]
    whole, parts = (clone(estimator).set_params(random_state=0) for _ in range(2))
    for chunk in chunks:
        whole.partial_fit(chunk)
        parts = pickle.loads(pickle.dumps(parts)).partial_fit(chunk)
    np.testing.assert_array_equal(parts.transform(X), whole.transform(X))
    assert parts.history_ == whole.history_


@pytest.mark.parametrize("estimator", INSTANCES + SUPERVISED, ids=name_of)
def test_a_stopped_fit_goes_on_to_the_same_weights(estimator, digits, tmp_path, epochs):
    X, y = digits
    whole = clone(estimator).set_params(random_state=0).fit(X, y)
    n_epochs = epochs.done
    stopped = clone(whole).set_params(callbacks=[FitCheckpoint(tmp_path, every=1)])
    n_done = max(1, round(0.6 * n_epochs))
    epochs.forget(stop_at=n_done)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(X, y)
    assert list(tmp_path.iterdir())
    epochs.forget()
    again = clone(stopped).fit(X, y)
    assert epochs.done == n_epochs - n_done  # whichever layer they belong to
    same_fit(again, whole, X)
    assert not list(tmp_path.iterdir())


def test_patience_and_best_weights_go_on(digits, tmp_path, epochs):
    """Stopped between the best epoch and the end of patience."""
    X, _ = digits
    params = {"learning_rate": "constant", "learning_rate_init": 0.03, "n_iter_no_change": 5}
    whole = Autoencoder(3, init="random", max_iter=200, random_state=0, **params).fit(X)
    assert whole.best_epoch_ + 2 < epochs.done < 200
    stopped = clone(whole).set_params(callbacks=[FitCheckpoint(tmp_path, every=1)])
    epochs.forget(stop_at=whole.best_epoch_ + 2)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(X)
    epochs.forget()
    same_fit(stopped.fit(X), whole, X)


@pytest.mark.parametrize("is_cached", [True, False])
def test_fits_with_missing_values_go_on(is_cached, tmp_path, epochs, monkeypatch):
    """The same values are hidden again, whether they are stored or computed in each batch."""
    if not is_cached:
        monkeypatch.setattr(batches, "cache_limit", lambda device: 0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 6))
    X[rng.random(X.shape) < 0.3] = np.nan
    model = Autoencoder(2, max_iter=8, batch_size=32, random_state=0)
    whole = clone(model).fit(X)
    stopped = clone(model).set_params(callbacks=[FitCheckpoint(tmp_path, every=1)])
    epochs.forget(stop_at=4)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(X)
    epochs.forget()
    same_fit(stopped.fit(X), whole, X)


def test_files_are_written_every_so_many_epochs(digits, tmp_path, epochs):
    X, _ = digits
    model = Autoencoder(max_iter=20, random_state=0, callbacks=[FitCheckpoint(tmp_path, every=5)])
    epochs.forget(stop_at=13)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    epochs.forget()
    model.fit(X)
    assert epochs.done == 10


SCRIPT = """
import sys, time
from sklearn.datasets import load_digits
from sklearn_ae import Autoencoder, FitCheckpoint
from sklearn_ae._training.net import AutoencoderNet
X = load_digits().data
train_epoch = AutoencoderNet.train_epoch

def slowly(*given):
    time.sleep(0.1)
    return train_epoch(*given)

AutoencoderNet.train_epoch = slowly
autoencoder = Autoencoder(
    5, max_iter=int(sys.argv[2]), random_state=0, callbacks=[FitCheckpoint(sys.argv[1], every=2)]
)
print("begins", flush=True)
autoencoder.fit(X)
"""


def test_a_killed_process_loses_nothing_but_time(tmp_path, capsys):
    """SIGKILL cannot be caught: what is left is what the files hold."""
    epochs = "30"  # of a tenth of a second each, of which the second writes a file
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, tmp_path, epochs], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begins\n"
    limit = time.monotonic() + 60
    while not list(tmp_path.glob("*.checkpoint")) and time.monotonic() < limit:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (file,) = tmp_path.glob("*.checkpoint")
    X = load_digits().data
    n_done = len(read_checkpoint(file)[1]["history"])
    assert 0 < n_done < int(epochs)
    model = Autoencoder(5, max_iter=int(epochs), random_state=0)
    again = clone(model).set_params(callbacks=[FitCheckpoint(tmp_path)], verbose=True).fit(X)
    assert f"Autoencoder: resumed after epoch {n_done} from {file}" in capsys.readouterr().err
    same_fit(again, model.fit(X), X)
    assert not list(tmp_path.iterdir())


def test_other_data_or_parameters_start_anew(digits, tmp_path, epochs):
    X, _ = digits
    checkpoint = FitCheckpoint(tmp_path, every=1)
    model = Autoencoder(2, max_iter=6, random_state=0, loss="binary_crossentropy")
    X = X / 16

    def stopped(**params):
        fit = clone(model).set_params(callbacks=[checkpoint], **params)
        epochs.forget(stop_at=3)
        with pytest.raises(KeyboardInterrupt):
            fit.fit(X)
        epochs.forget()

    stopped()
    stopped(learning_rate_init=0.01)
    stopped(random_state=1)
    stopped(max_iter=7)
    assert len(list(tmp_path.iterdir())) == 4
    X = X.copy()
    X[-1, -1] += 0.01  # a single pixel
    stopped()
    assert len(list(tmp_path.iterdir())) == 5
    same_fit(clone(model).set_params(callbacks=[checkpoint]).fit(X), clone(model).fit(X), X)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_search_shares_a_folder(digits, tmp_path):
    X, _ = digits
    model = Autoencoder(
        2, max_iter=4, random_state=0, callbacks=[FitCheckpoint(tmp_path, every=2)]
    )
    with parallel_config("threading"):
        search = GridSearchCV(model, {"n_components": [1, 2]}, cv=2, n_jobs=2).fit(X)
    plain = GridSearchCV(clone(model).set_params(callbacks=None), {"n_components": [1, 2]}, cv=2)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], plain.fit(X).cv_results_["mean_test_score"]
    )
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_repeated_is_refused(digits, tmp_path):
    X, _ = digits
    model = Autoencoder(2, max_iter=2, callbacks=[FitCheckpoint(tmp_path)])
    with pytest.raises(ValueError, match="FitCheckpoint needs an integer random_state, got None"):
        model.fit(X)
    model.set_params(random_state=np.random.RandomState(0))
    with pytest.raises(ValueError, match="FitCheckpoint needs an integer random_state"):
        model.fit(X)
    model.set_params(random_state=0)
    for callback in (LRScheduler(), EarlyStopping()):
        model.set_params(callbacks=[FitCheckpoint(tmp_path), callback])
        with pytest.raises(ValueError, match=f"the state of {type(callback).__name__}"):
            model.fit(X)
    model.set_params(callbacks=[FitCheckpoint(tmp_path), FitCheckpoint(tmp_path)])
    with pytest.raises(ValueError, match="one FitCheckpoint"):
        model.fit(X)
    model.set_params(callbacks=[FitCheckpoint(tmp_path, every=0)])
    with pytest.raises(ValueError, match="every must be a positive integer, got 0"):
        model.fit(X)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["empty", "short", "other", "noise"])
def test_a_damaged_file_is_named(damage, digits, tmp_path, epochs):
    X, _ = digits
    model = Autoencoder(2, max_iter=4, random_state=0)
    checkpoint = FitCheckpoint(tmp_path, every=1)
    epochs.forget(stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(callbacks=[checkpoint]).fit(X)
    epochs.forget()
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    noise = np.random.default_rng(0).bytes(500)
    changed = {
        "empty": b"",
        "short": content[:-10],
        "other": content.replace(b"module.center", b"module.middle"),
        "noise": noise,
    }
    file.write_bytes(changed[damage])
    with pytest.warns(RuntimeWarning, match=rf"{file.name} is corrupted.*from the beginning"):
        again = clone(model).set_params(callbacks=[checkpoint]).fit(X)
    assert epochs.done == 4
    same_fit(again, clone(model).fit(X), X)
    assert not list(tmp_path.iterdir())


def test_no_damage_of_any_byte_goes_unnoticed(digits, tmp_path, epochs):
    """Bits are flipped, bytes cut and added, and another fit's file put in place of this one's."""
    X, _ = digits
    narrow = Autoencoder(1, hidden_layer_sizes=(8,), max_iter=4)
    narrow.set_params(callbacks=[FitCheckpoint(tmp_path, every=1)])
    contents = []
    for seed in (0, 1):
        epochs.forget(stop_at=2)
        with pytest.raises(KeyboardInterrupt):
            narrow.set_params(random_state=seed).fit(X)
        (file,) = tmp_path.iterdir()
        contents.append(file.read_bytes())
        assert read_checkpoint(file) is not None
        last = file
        last.unlink()
    rng = np.random.default_rng(0)
    content = contents[1]
    spoilt = [contents[0], content[:-1], content + b"\0", content[1:], bytes(len(content))]
    for place in rng.integers(len(content), size=300):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        spoilt.append(bytes(changed))
    for each in spoilt:
        last.write_bytes(each)
        with pytest.warns(RuntimeWarning, match="is corrupted"):
            assert read_checkpoint(last) is None
    last.write_bytes(content)
    assert read_checkpoint(last) is not None


def test_a_full_disk_does_not_end_the_fit(digits, tmp_path, monkeypatch):
    X, _ = digits

    def no_space(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", no_space)
    model = Autoencoder(2, max_iter=2, random_state=0)
    with pytest.warns(RuntimeWarning, match="No space left on device.*continues without"):
        fitted = clone(model).set_params(callbacks=[FitCheckpoint(tmp_path, every=1)]).fit(X)
    assert not list(tmp_path.iterdir())
    same_fit(fitted, clone(model).fit(X), X)


def test_files_are_old_or_new(tmp_path, monkeypatch):
    path = Path(tmp_path) / "file"
    files.write_atomically(path, b"old")

    def killed(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def _absolute(output, target, factor):
    return factor * (output - target).abs().mean(1)


class Damping(Callback):
    """Changes the training, and is a part of what a fit is."""

    def on_grad_computed(self, net, **kwargs):
        net.flat.values.grad[:5] = 0


@pytest.mark.parametrize(
    "changed",
    [
        {"loss": partial(_absolute, factor=2.0)},
        {"callbacks": [Damping()]},
    ],
)
def test_losses_and_callbacks_belong_to_what_a_fit_is(changed, digits, tmp_path, epochs):
    X, _ = digits
    model = Autoencoder(
        2, max_iter=4, random_state=0, early_stopping=False, loss=partial(_absolute, factor=1.0)
    )
    checkpoint = FitCheckpoint(tmp_path, every=1, version=1)
    epochs.forget(stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(callbacks=[checkpoint]).fit(X)
    epochs.forget()
    callbacks = [checkpoint, *changed.get("callbacks", [])]
    clone(model).set_params(**changed | {"callbacks": callbacks}).fit(X)
    assert epochs.done == 4


def test_unlabelled_samples_that_are_reconstructed_belong_to_what_a_fit_is(tmp_path, epochs):
    X, y = load_digits(return_X_y=True)
    X, y = X[:100, PIXELS], y[:100] % 2
    frozen = FrozenEstimator(Autoencoder(3, max_iter=2, random_state=0).fit(X))
    model = StackedAutoencoderClassifier(
        autoencoder=frozen,
        reconstruction_weight=5.0,
        unlabeled=-1,
        max_iter=4,
        random_state=0,
        callbacks=[FitCheckpoint(tmp_path, every=1)],
    )
    labels = np.where(np.arange(100) < 50, y, -1)
    epochs.forget(stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, labels)
    epochs.forget()
    model.fit(np.vstack([X[:50], X[50:] + 1]), labels)
    assert epochs.done == 4


def test_how_tensors_are_printed_does_not_matter(digits, tmp_path, epochs):
    X, _ = digits
    model = Autoencoder(
        2, max_iter=4, random_state=0, callbacks=[FitCheckpoint(tmp_path, every=1)]
    )
    epochs.forget(stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    epochs.forget()
    torch.set_printoptions(precision=9)
    try:
        model.fit(X)
    finally:
        torch.set_printoptions(profile="default")
    assert epochs.done == 2


def test_passes_need_no_seed_beside_a_checkpoint(digits, tmp_path):
    Autoencoder(2, callbacks=[FitCheckpoint(tmp_path)]).partial_fit(digits[0])
    assert not list(tmp_path.iterdir())


# What a fit is


class Scaled:
    """A loss that has an attribute, and an address in its representation."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, output, target):
        return self.factor * (output - target).abs().mean(1)


def _closing_over(factor):
    return lambda output, target: factor * (output - target).abs().mean(1)


def _with_default(value):
    def loss(output, target, factor=value):
        return factor * (output - target).abs().mean(1)

    return loss


def _with_keyword(value):
    def loss(output, target, *, factor=value):
        return factor * (output - target).abs().mean(1)

    return loss


FACTOR = {"value": 1.0}


def _by_a_global(output, target):
    return FACTOR["value"] * (output - target).abs().mean(1)


MAKERS = {
    "attribute": Scaled,
    "method": lambda factor: Scaled(factor).__call__,
    "closure": _closing_over,
    "closed over array": lambda factor: _closing_over(np.full(5, factor)[0]),
    "closed over tensor": lambda factor: _closing_over(torch.full((), factor)),
    "closed over function": lambda factor: (lambda inner: lambda a, b: inner(a, b))(
        _closing_over(factor)
    ),
    "closed over module": lambda factor: _closing_over_module(factor),
    "default": _with_default,
    "keyword default": _with_keyword,
    "partial": lambda factor: partial(_absolute, factor=factor),
}


def _closing_over_module(factor):
    layer = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64).requires_grad_(False)
    layer.weight.fill_(factor)
    return lambda output, target: layer((output - target).abs().mean(1, keepdim=True))[:, 0]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_loss_is_told_from_one_that_differs_in_one_number(
    make, digits, tmp_path, epochs, monkeypatch
):
    """The same loss, made anew at another address, goes on; another one starts anew."""
    X, _ = digits
    model = Autoencoder(1, max_iter=4, random_state=0, early_stopping=False)
    callbacks = [FitCheckpoint(tmp_path, every=1, version=1)]
    epochs.forget(stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(callbacks=callbacks, loss=make(1.0)).fit(X)
    epochs.forget(stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(callbacks=callbacks, loss=make(2.0)).fit(X)
    assert len(list(tmp_path.iterdir())) == 2
    epochs.forget(stop_at=3)
    newer = [FitCheckpoint(tmp_path, every=1, version=2)]
    with pytest.raises(KeyboardInterrupt):
        clone(model).set_params(callbacks=newer, loss=make(1.0)).fit(X)
    assert len(list(tmp_path.iterdir())) == 3
    epochs.forget()
    same_fit(
        clone(model).set_params(callbacks=callbacks, loss=make(1.0)).fit(X),
        clone(model).set_params(loss=make(1.0)).fit(X),
        X,
    )
    assert epochs.done == 2 + 4
    epochs.forget()
    clone(model).set_params(callbacks=callbacks, loss=make(2.0)).fit(X)
    assert epochs.done == 1


def test_code_of_ones_own_needs_a_version(digits, tmp_path):
    """What code calls cannot be known: a global that it reads, a module that it imports."""
    X, _ = digits
    checkpoint = [FitCheckpoint(tmp_path)]
    model = Autoencoder(1, max_iter=1, random_state=0, callbacks=checkpoint)
    own = [
        model.set_params(loss=_by_a_global),
        clone(model).set_params(loss="squared_error", callbacks=[*checkpoint, Damping()]),
        DenoisingAutoencoder(noise=lambda x: x, random_state=0, callbacks=checkpoint),
    ]
    for estimator in own:
        with pytest.raises(
            ValueError, match=r"Give it a version, FitCheckpoint\(..., version=1\)"
        ):
            estimator.fit(X)
    model.set_params(loss=torch.nn.functional.l1_loss)  # torch has a version
    assert "l1_loss" in identity_of(model, checkpoint[0])
    generator = partial(_absolute, factor=torch.Generator())
    model.set_params(loss=generator, callbacks=[FitCheckpoint(tmp_path, version=1)])
    with pytest.raises(ValueError, match="cannot tell loss from another one: .* a Generator"):
        model.fit(X)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="version must be an int, a str or None"):
        model.set_params(callbacks=[FitCheckpoint(tmp_path, version=1.5)]).fit(X)


def test_long_arrays_among_parameters_are_told_apart_in_their_middle():
    arrays = [np.zeros(5000), np.zeros(5000)]
    arrays[1][2500] = 1.0  # where printing leaves values out
    words = [Descriptions(1).of(_closing_over(array), "loss") for array in arrays]
    assert words[0] != words[1]
    assert words[0] == Descriptions(1).of(_closing_over(np.zeros(5000)), "loss")


def test_attributes_of_callbacks_belong_to_what_a_fit_is(digits, tmp_path, epochs):
    X, _ = digits
    model = Autoencoder(1, max_iter=4, random_state=0)
    for limit in (1.0, 2.0):
        callbacks = [FitCheckpoint(tmp_path, every=1), GradientNormClipping(limit)]
        epochs.forget(stop_at=2)
        with pytest.raises(KeyboardInterrupt):
            clone(model).set_params(callbacks=callbacks).fit(X)
    assert len(list(tmp_path.iterdir())) == 2


# Several processes, and what others left


def test_old_files_and_unfinished_ones_are_deleted(digits, tmp_path):
    X, _ = digits
    day = 24 * 3600
    ages = {
        f"{'0' * 32}.checkpoint": 29,
        f"{'1' * 32}.checkpoint": 31,
        f".{'2' * 16}.part": 0.5,
        f".{'3' * 16}.part": 2,
        "mine.checkpoint": 99,
        "notes.part": 99,
    }
    for name, age in ages.items():
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (time.time() - age * day,) * 2)
    model = Autoencoder(1, max_iter=1, random_state=0)
    clone(model).set_params(callbacks=[FitCheckpoint(tmp_path, max_age=np.inf)]).fit(X)
    gone = {f".{'3' * 16}.part"}
    assert {each.name for each in tmp_path.iterdir()} == set(ages) - gone
    clone(model).set_params(callbacks=[FitCheckpoint(tmp_path)]).fit(X)
    gone |= {f"{'1' * 32}.checkpoint"}
    assert {each.name for each in tmp_path.iterdir()} == set(ages) - gone
    with pytest.raises(ValueError, match="max_age must be a positive number"):
        clone(model).set_params(callbacks=[FitCheckpoint(tmp_path, max_age=0)]).fit(X)


SHARING = """
import sys, warnings
warnings.simplefilter("error")
from sklearn.datasets import load_iris
from sklearn_ae import Autoencoder, FitCheckpoint
X = load_iris().data
for _ in range(8):
    checkpoint = FitCheckpoint(sys.argv[1], every=1)
    model = Autoencoder(2, max_iter=4, random_state=0, callbacks=[checkpoint]).fit(X)
    print(model.score(X))
"""


@pytest.mark.slow
def test_processes_in_one_folder_do_not_disturb_each_other(tmp_path):
    """The same fit in three processes at once: they write, read and delete the same file."""
    command = [sys.executable, "-c", SHARING, tmp_path]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
    told = [process.communicate(timeout=120) for process in processes]
    assert [errors for _, errors in told] == [""] * 3
    assert len({line for output, _ in told for line in output.splitlines()}) == 1
    assert not list(tmp_path.iterdir())


def test_a_file_may_vanish_at_any_time(digits, tmp_path, monkeypatch):
    """Another process that does the same fit deletes the file when it is done."""
    X, _ = digits
    model = Autoencoder(1, max_iter=6, random_state=0)
    expected = clone(model).fit(X)
    copymode = files.shutil.copymode

    def vanishing(path, beside):
        path.unlink(missing_ok=True)
        copymode(path, beside)

    monkeypatch.setattr(files.shutil, "copymode", vanishing)
    checkpoint = FitCheckpoint(tmp_path, every=1)
    same_fit(clone(model).set_params(callbacks=[checkpoint]).fit(X), expected, X)
    assert not list(tmp_path.iterdir())


def test_a_file_may_vanish_while_it_is_looked_at(tmp_path, monkeypatch):
    path, look = tmp_path / "file", Path.stat
    path.write_bytes(b"old")

    def vanishing(self, **options):
        found = look(self, **options)
        path.unlink(missing_ok=True)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", vanishing)
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_resuming_is_told_only_when_asked_for(digits, tmp_path, epochs, capsys):
    X, _ = digits
    model = Autoencoder(
        1, max_iter=4, random_state=0, callbacks=[FitCheckpoint(tmp_path, every=1)]
    )
    for verbose in (False, True):
        epochs.forget(stop_at=2)
        with pytest.raises(KeyboardInterrupt):
            clone(model).fit(X)
        epochs.forget()
        capsys.readouterr()
        clone(model).set_params(verbose=verbose).fit(X)
        told = capsys.readouterr().err
        assert ("Autoencoder: resumed after epoch 2 from" in told) == verbose
