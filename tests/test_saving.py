"""What `save` and `load` refuse, and what is never lost."""

import errno
import io
import os
import pickle
import resource
import signal
import stat
import time
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
import torch
from forging import put_together, take_apart
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import EpochScoring

from sklearn_ae import (
    Autoencoder,
    ConvolutionalAutoencoder,
    DenoisingAutoencoder,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    RestrictedBoltzmannMachine,
    SparseAutoencoder,
    StackedAutoencoderClassifier,
    UNetAutoencoder,
    VariationalAutoencoder,
    load,
    save,
)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(40, 4))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def fitted(X):
    return Autoencoder(2, hidden_layer_sizes=(4,), max_iter=2, random_state=0).fit(X)


def _distance(output, target):
    return (output - target).square().sum(1)


def _local():
    """An estimator of a class that no name leads to."""

    class Local(Autoencoder):
        pass

    return Local()


class Foreign(TransformerMixin, BaseEstimator):
    """An estimator of nobody's."""


# What no file can hold


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (
            Autoencoder(loss=lambda a, b: a),
            r"Autoencoder.loss is <function <lambda> .*Define the function at the top level of an "
            r"importable module and fit again",
        ),
        (DenoisingAutoencoder(noise=np.sin), r"DenoisingAutoencoder.noise is <ufunc 'sin'>"),
        (
            make_pipeline(Autoencoder(callbacks=[EpochScoring("r2")])),
            r"Pipeline.steps\[0\]\[1\].callbacks\[0\] is .*set_params\(callbacks=None\)",
        ),
        (
            StackedAutoencoderClassifier(autoencoder=Autoencoder(loss=np.add.reduce)),
            r"StackedAutoencoderClassifier.autoencoder.loss is <built-in",
        ),
        (_local(), "Local, which is neither of sklearn_ae nor of scikit-learn"),
        (
            make_pipeline(Foreign(), Autoencoder()),
            r"Pipeline.steps\[0\]\[1\] is a test_saving.Foreign, which is neither",
        ),
        (
            make_pipeline(FunctionTransformer(_distance), Autoencoder()),
            r"Pipeline.steps\[0\]\[1\].func is <function _distance.*pickle, which stores func",
        ),
        (make_pipeline(Autoencoder(), memory="cache"), r"memory is 'cache', .*memory=None"),
        (Autoencoder(max_iter=0), "'max_iter' parameter of Autoencoder must be an int"),
        (Autoencoder(random_state=np.random.RandomState(np.random.PCG64(0))), "random_state is"),
        (Autoencoder, "must be an instance of an estimator"),
        ("model", r"save\(estimator, path\): the first argument must be .* got 'model'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_saved_is_named_before_a_file_is_touched(estimator, message, path):
    with pytest.raises(ValueError, match=message):
        save(estimator, path)
    assert not os.listdir(path.parent)


def test_a_trained_loss_of_ones_own_cannot_be_taken_back(X, path):
    loss = lambda output, target: _distance(output, target)  # noqa: E731 - no name leads to it
    fitted = Autoencoder(2, loss=loss, max_iter=2).fit(X).set_params(loss="huber")
    with pytest.raises(ValueError, match=r"Autoencoder._fitted_loss is <function "):
        save(fitted, path)


SEARCHES = [
    GridSearchCV(Autoencoder(max_iter=1), {"n_components": [1, 2]}, cv=2),
    RandomizedSearchCV(Autoencoder(max_iter=1), {"n_components": [1, 2]}, n_iter=2, cv=2),
    HalvingGridSearchCV(Autoencoder(max_iter=1), {"n_components": [1, 2]}, cv=2, min_resources=20),
]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_of_a_search_its_best_estimator_is_saved(search, X, path):
    search = clone(search).set_params(random_state=0) if "random_state" in vars(search) else search
    search = clone(search).fit(X)
    save(search, path)
    again = load(path)
    assert isinstance(again, Autoencoder)
    np.testing.assert_array_equal(again.transform(X), search.transform(X))


def test_a_search_without_a_best_estimator_is_refused(X, path):
    search = clone(SEARCHES[0]).set_params(refit=False).fit(X)
    with pytest.raises(ValueError, match="has no best_estimator_.*Fit it with refit=True"):
        save(search, path)
    save(SEARCHES[0], path)  # one that is not fitted is saved as it is
    assert repr(load(path)) == repr(SEARCHES[0])


@pytest.mark.parametrize(
    "value", [1j, {1j}, b"", np.zeros(2, np.longdouble), np.array([_distance])]
)
def test_attributes_that_are_no_values_are_named(value, fitted, path):
    fitted.note_ = {"a": [value]}
    with pytest.raises(ValueError, match=r"Autoencoder.note_.a\[0\]"):
        save(fitted, path)


def test_what_contains_itself_is_refused(fitted, path):
    fitted.note_ = fitted
    with pytest.raises(ValueError, match="Autoencoder.note_ contains itself"):
        save(fitted, path)
    fitted.note_ = []
    fitted.note_.append(fitted.note_)
    with pytest.raises(ValueError, match="contains a value that contains itself"):
        save(fitted, path)


# What is never lost


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_while_writing_leaves_the_old_file(call, fitted, X, path, monkeypatch):
    save(fitted, path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(f"os.{call}", full)
    with pytest.raises(OSError, match="No space left"):
        save(Autoencoder(1, max_iter=2).fit(X), path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_cannot_grow_leaves_the_old_one(fitted, X, path):
    save(fitted, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save(fitted, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_file_has_the_permissions_of_any_other(fitted, path):
    plain = path.with_name("plain")
    plain.touch()
    save(fitted, path)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o600)
    save(fitted, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link(fitted, X, path):
    link = path.with_name("link")
    link.symlink_to(path.name)
    save(fitted, link)
    assert link.is_symlink()
    np.testing.assert_array_equal(load(path).transform(X), fitted.transform(X))


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_regular_file_is_left_alone(linked, fitted, path):
    """A pipe stands for a device, which only the administrator could replace."""
    pipe = path.with_name("pipe")
    os.mkfifo(pipe)
    if linked:
        path.symlink_to(pipe)
    target = path if linked else pipe
    before = sorted(os.listdir(path.parent))
    with pytest.raises(FileExistsError, match="no regular file"):
        save(fitted, target)
    with pytest.raises(ValueError, match="no regular file"):
        load(target)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(os.listdir(path.parent)) == before


def test_a_folder_is_not_replaced(fitted, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        save(fitted, tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]


def test_what_could_not_be_loaded_is_not_written(path):
    """Values that a file could hold, but that load takes for an attack."""
    model = Autoencoder()
    model.note_ = {place * (2**61 - 1): "a" * 2000 for place in range(1, 100)}
    with pytest.raises(ValueError, match="many keys of one hash"):
        save(model, path)
    model.note_ = [[]] * 400_000  # a list of two characters takes far more
    with pytest.raises(ValueError, match="cannot be saved.*more memory than its size accounts"):
        save(model, path)
    assert not os.listdir(path.parent)


def test_long_descriptions_are_loaded(path):
    model = Autoencoder()
    model.note_ = [{"name": f"a name {place}", "value": place / 7} for place in range(20_000)]
    model.names_ = np.array([f"feature_{place}" for place in range(100_000)], object)
    save(model, path)
    again = load(path)
    assert again.note_ == model.note_
    assert list(again.names_) == list(model.names_)


def test_paths_are_strings_too(fitted, path):
    save(fitted, str(path))
    assert load(str(path)).n_components_ == 2


# What is no file of a model


def _refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_other_files_are_refused(fitted, path):
    not_ours = "cannot be loaded: it is not a file of sklearn_ae.save"
    _refused(path, b"", "cannot be loaded: it is empty")
    _refused(path, b"a few words", rf"{not_ours}\.$")
    _refused(path, pickle.dumps(fitted), f"{not_ours}; it looks like a pickle .*joblib.load")
    archive = io.BytesIO()
    torch.save(torch.zeros(3), archive)
    _refused(path, archive.getvalue(), f"{not_ours}; it looks like a zip archive")
    _refused(path, safetensors.numpy.save({"a": np.zeros(3)}), "not written by sklearn_ae.save")
    _refused(path, safetensors.numpy.save({}, {"sklearn_ae": "{"}), "cannot be loaded")


def test_errors_of_the_system_stay_what_they_are(path):
    with pytest.raises(FileNotFoundError):
        load(path)
    with pytest.raises(IsADirectoryError):
        load(path.parent)
    with pytest.raises(FileNotFoundError, match="The folder does not exist: .*nowhere'$"):
        save(Autoencoder(), path.parent / "nowhere" / "model")
    path.touch()
    with pytest.raises(NotADirectoryError, match=f"The folder cannot be written to.*{path.name}'"):
        save(Autoencoder(), path / "model")


@pytest.mark.parametrize(
    ("trusted", "message"),
    [
        ([Autoencoder], "got <class .*; write 'sklearn_ae.autoencoder.Autoencoder'"),
        (Autoencoder, "got <class .*; write 'sklearn_ae.autoencoder.Autoencoder'"),
        ([os], "write 'os'"),
        (True, "names of modules or classes as strings, got True; write 'my_network'"),
        (None, "names of modules or classes as strings, got None"),
    ],
)
def test_what_is_trusted_are_names(trusted, message, path):
    save(Autoencoder(), path)
    with pytest.raises(TypeError, match=message):
        load(path, trusted=trusted)


def test_every_truncation_and_every_damaged_byte_is_noticed(fitted, path):
    save(fitted, path)
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        message = "truncated or damaged" if length > 8 else "cannot be loaded"
        _refused(path, content[:length], message)
    _refused(path, content + b"\0", "cannot be loaded")
    for place in range(8, len(content), 41):
        damaged = bytearray(content)
        damaged[place] ^= 1
        _refused(path, damaged, "cannot be loaded")


def _forge(path, change):
    """Let `change` edit the description and the arrays; the digest is made to fit."""
    content, arrays = take_apart(path)
    change(content, arrays)
    return put_together(content, arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, a: c.update(format=2), "format 2 .* reads formats up to 1; install a later"),
        (lambda c, a: c["objects"][-1].update({"class": "Popen"}), "'Popen' is no class"),
        (lambda c, a: c["objects"][-1]["params"].update(color=1), "no parameter 'color'"),
        (lambda c, a: c["objects"][-1]["params"].update(alpha=-1.0), "'alpha' parameter of"),
        (lambda c, a: c["objects"][-1]["attributes"].update(fit=1), "no attribute 'fit'"),
        (lambda c, a: c["objects"][-1]["attributes"].update(__class__=1), "no attribute '__cl"),
        (
            lambda c, a: c["objects"][-1]["attributes"].update(n_components_=3),
            "n_components_ is 3",
        ),
        (lambda c, a: a.update(spare=np.zeros(3)), "1 of its arrays are not used"),
        (lambda c, a: a.popitem(), "is missing, or used twice"),
        (lambda c, a: c["objects"].clear(), "cannot be loaded"),
        (lambda c, a: c["objects"][-1]["params"].update(alpha={"$eval": "1"}), "'\\$eval' is no"),
    ],
    ids=range(11),
)
def test_what_is_tampered_with_is_named(change, message, fitted, path):
    save(fitted, path)
    _refused(path, _forge(path, change), message)


def _arguments(content):
    """Parameters of the network, and arguments of the module, of the last estimator."""
    config = content["objects"][-1]["attributes"]["module_"]["config"]
    return content["objects"][config["network"]["$estimator"]]["params"], config


@pytest.mark.parametrize(
    ("estimator", "name", "value"),
    [
        (Autoencoder(1), "hidden_layer_sizes", {"$tuple": [10**12]}),
        (Autoencoder(1), "hidden_layer_sizes", {"$tuple": [5] * 10_000}),
        (Autoencoder(1), "n_components", 10**15),
        (Autoencoder(1), "sample_shape", {"$tuple": [10**6] * 3}),
        (LSTMAutoencoder(1), "n_layers", 10**9),
        (LSTMAutoencoder(1), "n_layers", 900),
        (LSTMAutoencoder(1), "hidden_size", 10**7),
        (RecursiveAutoencoder(1), "n_steps", 10**9),
        (RecursiveAutoencoder(1), "n_steps", {"$float": "inf"}),
        (RecursiveAutoencoder(1), "n_steps", {"$scalar": 10**9, "dtype": "int64"}),
        (Autoencoder(1), "sample_shape", {"$tuple": [1] * 100_000}),
        (UNetAutoencoder(1, channels=(1,), residual=True), "sample_shape", {"$tuple": [300] * 3}),
        (UNetAutoencoder(1, channels=(1,)), "channels", {"$tuple": [500, 500]}),
        (
            ConvolutionalAutoencoder(1, channels=(1,), unpooling="switches"),
            "channels",
            {"$tuple": [900, 900]},
        ),
    ],
    ids=range(14),
)
def test_numbers_that_no_array_accounts_for_cost_nothing(estimator, name, value, X, path):
    save(estimator.set_params(max_iter=1).fit(X), path)

    def change(content, arrays):
        network, config = _arguments(content)
        target = network if name in network else config
        target[name] = value

    forged = _forge(path, change)
    before = time.process_time()
    tracemalloc.start()  # what torch allocates is not seen, but it allocates nothing: "meta"
    try:
        _refused(path, forged, "cannot be loaded")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - before < 2
    assert peak < 20 * 2**20


SIZES = [0, 10**4, 10**9, 2**62, {"$float": "inf"}]
FORGED = [
    *SIZES,
    *({"$tuple": parts} for size in SIZES for parts in ([size], [2, size])),
    *({"$tuple": [size] * 10_000} for size in (1, 3)),
]


@pytest.mark.parametrize(
    "estimator",
    [
        SparseAutoencoder(2),
        VariationalAutoencoder(1),
        RestrictedBoltzmannMachine(2, persistent=True, n_chains=2),
        ConvolutionalAutoencoder(1, channels=(1,), unpooling="transposed"),
        ConvolutionalAutoencoder(1, channels=(1,), unpooling="switches"),
        LSTMAutoencoder(1, hidden_size=2),
        RecursiveAutoencoder(1, hidden_size=2, tree="greedy"),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_no_argument_of_a_network_makes_a_small_file_large(estimator, X, path):
    """Whatever is declared: a model or an error, in little time and little memory."""
    save(estimator.set_params(max_iter=1).fit(X), path)
    content, arrays = take_apart(path)
    network, config = _arguments(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_refused = 0
    for target in (config, network):
        for name in sorted(set(target) - {"network"}):
            value = target[name]
            for target[name] in FORGED:
                path.write_bytes(put_together(content, arrays))
                start = time.process_time()
                try:
                    assert isinstance(load(path), type(estimator))
                except ValueError:
                    n_refused += 1
                assert time.process_time() - start < 1
            target[name] = value
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    assert n_refused > len(FORGED)
    path.write_bytes(put_together(content, arrays))
    np.testing.assert_array_equal(load(path).transform(X), estimator.transform(X))


def test_many_arrays_of_no_size_take_no_more_time_than_they_should(X, path):
    """What as many arrays as there may be can account for: recurrent layers, most of all."""
    save(LSTMAutoencoder(1, hidden_size=1, max_iter=1).fit(X), path)
    content, arrays = take_apart(path)
    network, _ = _arguments(content)
    described = content["objects"][-1]["attributes"]["module_"]["arrays"]
    for n_more, message in ((3_900, "are not those of such"), (4_100, "than a file can hold")):
        network["n_layers"] = 490
        forged = dict(arrays)
        for number in range(n_more):
            described[f"encoder.more{number}"] = {"$array": f"more{number}"}
            forged[f"more{number}"] = np.zeros((0,), np.float32)
        path.write_bytes(put_together(content, forged))
        start = time.process_time()
        with pytest.raises(ValueError, match=message):
            load(path)
        assert time.process_time() - start < 5


def test_what_would_be_refused_is_refused_before_a_file_is_touched(fitted, X, path, monkeypatch):
    monkeypatch.setattr("sklearn_ae._files.modules.MAX_ARRAYS", 12)
    assert len(fitted.__getstate__()["module_"]["arrays"]) == 15
    again = pickle.loads(pickle.dumps(fitted))  # nobody distrusts those
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    with pytest.raises(ValueError, match="module_ cannot be saved: a network of 15 arrays is"):
        save(fitted, path)
    monkeypatch.undo()
    fitted.module_.encoder.layers[0] = torch.nn.Linear(4, 5).double()  # by hand
    with pytest.raises(ValueError, match="module_ cannot be saved: encoder.layers.0.weight is of"):
        save(fitted, path)
    assert not os.listdir(path.parent)


def test_a_key_that_is_there_twice_is_refused(fitted, path):
    save(fitted, path)
    _, arrays = take_apart(path)
    _refused(path, put_together('{"format":1,"format":1,"objects":[]}', arrays), "a key twice")
    _refused(path, put_together('{"format":NaN,"objects":[]}', arrays), "NaN is not JSON")
    _refused(path, put_together("[" * 100_000, arrays), "cannot be loaded")


def test_a_parameter_that_is_younger_than_the_file_has_its_default(fitted, X, path):
    save(fitted, path)

    def change(content, arrays):
        del content["objects"][-1]["params"]["precision"]

    path.write_bytes(_forge(path, change))
    assert load(path).precision == "auto"
