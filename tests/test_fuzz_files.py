"""Thousands of files that were tampered with: each is a model or a ValueError, and no more.

The environment variable MUTATIONS says how many. Most have a digest that is right, as those of an
attacker would: damage that the digest notices is the easy part.
"""

import contextlib
import json
import os
import resource
import struct
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from forging import put_together, take_apart
from heavy import heavy_files, limits, mixed_file
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import SGDRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    SplineTransformer,
    StandardScaler,
)

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    ConvolutionalAutoencoder,
    LSTMAutoencoder,
    RestrictedBoltzmannMachine,
    StackedAutoencoderClassifier,
    load,
    networks,
    save,
)

MUTATIONS = int(os.environ.get("MUTATIONS", "1200"))
LONGEST = 2.0  # seconds of processor time that one file may take
MOST = 200 * 2**20  # bytes of memory that all of them together may take

SMALL = {"hidden_layer_sizes": (2,), "max_iter": 1, "random_state": 0}
TINY = Autoencoder(1, **SMALL)
MODELS = {
    "dense": Autoencoder(1, warm_start=True, **SMALL),
    "network": Autoencoder(1, network=networks.UNetNetwork(channels=(1,)), **SMALL),
    "convolutional": ConvolutionalAutoencoder(1, channels=(1,), max_iter=1),
    "recurrent": LSTMAutoencoder(1, hidden_size=2, n_layers=2, max_iter=1),
    "boltzmann": RestrictedBoltzmannMachine(
        2, persistent=True, n_chains=2, max_iter=1, random_state=np.random.RandomState(0)
    ),
    "classifier": StackedAutoencoderClassifier(
        autoencoder=TINY, hidden_layer_sizes=(2,), max_iter=1
    ),
    "detector": AutoencoderOutlierDetector(make_pipeline(StandardScaler(), TINY), n_estimators=2),
    "scikit-learn": make_pipeline(
        MinMaxScaler(),
        KBinsDiscretizer(2, encode="onehot", quantile_method="averaged_inverted_cdf"),
        TruncatedSVD(2),
        FunctionTransformer(np.exp),
        SplineTransformer(3, degree=1),
        TINY,
        SGDRegressor(max_iter=2, tol=None),
    ),
    "trees": VotingClassifier(
        [
            ("forest", RandomForestClassifier(2, random_state=0)),
            ("boosting", HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2)),
            ("neighbours", KNeighborsClassifier(2)),
        ]
    ),
}

NUMBERS = [0, 1, -1, 2, 7, 625, 2**31 - 1, 2**31, 2**63, 10**18, 10**400, 0.5, -0.0, 1e308, True]
TEXTS = ["", "a", "x" * 10_000, "\x00", "os.system", "builtins.eval", "../../etc/passwd", "meta"]
NAMES = ["Autoencoder", "Pipeline", "DenseNetwork", "HashingModule", "Member", "TensorState"]
TAGGED = [
    {"$tuple": [1, 2]},
    {"$tuple": [10**9] * 9},
    {"$dict": [[[], 1]]},
    {"$dict": [[1, 2], [1, 3]]},
    {"$float": "nan"},
    {"$float": "-inf"},
    {"$array": "0"},
    {"$array": "0", "text": True},
    {"$array": "1", "order": "F"},
    {"$objects": ["a"] * 4, "shape": [2, 2]},
    {"$objects": [], "shape": [0, 10**18]},
    {"$scalar": 300, "dtype": "int8"},
    {"$dtype": "float64"},
    {"$device": "cuda"},
    {"$random": [{"$array": "0"}, 10**9, 0, 0.0]},
    {"$module": "BoltzmannModule"},
    {"$record": "Member", "values": [{"$estimator": 0}] * 5},
    {"$requests": {"fit": {"sample_weight": True}}},
    {"$estimator": 0},
    {"$estimator": -1},
    {"$estimator": 10**9},
    {"$pickle": "gASVHQ=="},
    {"$array": "0", "dtype": "<c16"},
    {"$array": "0", "dtype": {"fields": [["a", "<i8", 0]], "size": 8}},
    {"$mapping": ["a", "b"], "values": {"$array": "0"}},
    {"$type": "numpy.float64"},
    {"$function": "log1p"},
    {"$function": "os:system"},
    {"$object": "set", "parts": {"entries": [1, 1]}},
    {"$object": "Tree", "parts": {}},
    {"$object": "KFold", "parts": {"n_splits": 10**9}},
]


JUNK = [*NUMBERS, *TEXTS, *NAMES, *TAGGED, None, [], {}, [[]]]


# Mutations of JSON


def _places(value):
    """Return all pairs of a container and a key in it."""
    if not isinstance(value, (dict, list)):
        return []
    found = [(value, key) for key in (value if isinstance(value, dict) else range(len(value)))]
    return found + [place for _, entry in _items(value) for place in _places(entry)]


def _items(value):
    return value.items() if isinstance(value, dict) else enumerate(value)


def _edit(content, rng):
    """Change something about a value of JSON, and return it."""
    places = _places(content)
    container, key = places[rng.integers(len(places))]
    value = container[key]
    other, other_key = places[rng.integers(len(places))]
    kind = rng.integers(8)
    if kind == 0:
        del container[key]
    elif kind == 1:
        copied = other[other_key] if rng.random() < 0.5 else [value]
        container[key] = json.loads(json.dumps(copied))
    elif kind == 2 and isinstance(value, (int, float)):
        container[key] = value * 10 ** int(rng.integers(20)) + int(rng.integers(-2, 3))
    elif kind == 3 and isinstance(value, list):
        container[key] = value * int(rng.integers(2, 1000))
    elif kind == 4 and isinstance(container, dict):
        container[_choose(rng, [*TEXTS, *NAMES, "$tuple", "$array", "class"])] = container.pop(key)
    elif kind == 5 and isinstance(container, dict):
        container[_choose(rng, [*TEXTS, "fit", "__dict__", "__class__", "note_"])] = value
    else:
        container[key] = json.loads(json.dumps(_choose(rng, JUNK)))
    return content


def _choose(rng, values):
    return values[rng.integers(len(values))]


def _spoil(text, rng):
    """Write what no program would: a key twice, or values a thousand deep."""
    places = [place for place, sign in enumerate(text) if sign == "{"]
    place = _choose(rng, places) + 1
    depth = _choose(rng, [0, 0, 90, 900, 90_000])
    if not depth:
        end = text.find(",", place)
        return text[:place] + text[place : end + 1] + text[place:]
    opening, closing = _choose(rng, [("[", "]"), ('{"a":', "}"), ('{"$tuple":[', "]}")])
    return text[:place] + '"note_":' + opening * depth + "1" + closing * depth + "," + text[place:]


# Mutations of bytes


def _damage(data, rng):
    """Flip bits, cut, repeat or overwrite some bytes."""
    data = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        for _ in range(int(rng.integers(1, 9))):
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del data[rng.integers(len(data)) :]
    elif kind == 2:
        start, size = rng.integers(len(data)), int(rng.integers(1, 64))
        data[start:start] = data[start : start + size]
    else:
        start = rng.integers(len(data))
        data[start : start + 8] = struct.pack("<Q", _choose(rng, [0, 1, 2**32, 2**63, 2**64 - 1]))
    return bytes(data)


def _header(data, rng):
    """Edit what safetensors says of the arrays."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    header = _edit(header, rng)
    if rng.random() < 0.9:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _lengths(data, rng):
    """Change how long the header is said to be."""
    values = [0, 1, 7, len(data), len(data) - 8, 10**8, 10**8 + 1, 2**32, 2**63, 2**64 - 1]
    return struct.pack("<Q", _choose(rng, values)) + data[8:]


# Mutations of arrays


def _reshape(arrays, rng):
    """Change type, shape or values of one array, or the names of two."""
    names = list(arrays)
    name, other = _choose(rng, names), _choose(rng, names)
    array = arrays[name]
    kind = rng.integers(6)
    if kind == 0:
        with np.errstate(invalid="ignore", over="ignore"):
            arrays[name] = array.astype(_choose(rng, ["?", "i1", "u4", "i8", "f2", "f4", "f8"]))
    elif kind == 1:
        arrays[name] = array.reshape(_choose(rng, [(-1,), (1, *array.shape), (-1, 1)]))
    elif kind == 2:
        arrays[name] = np.ascontiguousarray(array[:0] if array.ndim else array[None])
    elif kind == 3:
        arrays[name], arrays[other] = arrays[other], array
    elif kind == 4:
        arrays[name] = np.full_like(array, _choose(rng, [0, 1, 100]))
    else:
        del arrays[name]
    return arrays


class Mutator:
    """Makes files out of one."""

    def __init__(self, path):
        self.data = path.read_bytes()
        content, self.arrays = take_apart(path)
        self.text = json.dumps(content)

    def __call__(self, rng):
        kind = rng.random()
        arrays = dict(self.arrays)
        if kind < 0.1:
            return _damage(self.data, rng)
        if kind < 0.13:
            return _lengths(self.data, rng)
        if kind < 0.2:
            return _header(self.data, rng)
        if kind < 0.25:
            return put_together(_spoil(self.text, rng), arrays)
        if kind < 0.35:
            return put_together(self.text, _reshape(arrays, rng))
        content = json.loads(self.text)
        for _ in range(1 if kind < 0.9 else 3):
            content = _edit(content, rng)
        return put_together(content, arrays)


# What is watched


HARMLESS = {"builtins.id", "object.__getattr__", "object.__setattr__", "sys._getframe"}


class Watch:
    """Notes whatever the interpreter is asked for that a file has no business with."""

    def __init__(self):
        self.on = False
        self.seen = []
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if not self.on or event in HARMLESS:
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if event == "compile" and arguments[1] == "<unknown>":  # ast.literal_eval, in .npy
            return
        self.seen.append((event, arguments))


@pytest.fixture(scope="module")
def watch():
    return Watch()


def test_the_watch_sees_what_it_should(watch, tmp_path):
    watch.seen.clear()
    watch.on = True
    exec("1")
    os.system("true")
    (tmp_path / "file").touch()
    with contextlib.suppress(ImportError):
        __import__("a_module_that_is_not_there")
    watch.on = False
    assert {"exec", "os.system", "open", "import"} <= {event for event, _ in watch.seen}


@pytest.mark.parametrize("name", MODELS)
def test_every_file_is_a_model_or_an_error(name, watch, tmp_path):
    X = np.random.default_rng(0).normal(size=(12, 3))
    path = tmp_path / "model"
    y = np.arange(12) % 2 + 1.0 if name == "scikit-learn" else np.array(["a", "b"] * 6)
    save(clone(MODELS[name]).fit(X, y), path)
    mutate = Mutator(path)
    rng = np.random.default_rng(sum(name.encode()))
    repr(load(path))  # imports what loading and its messages need
    outcomes = {"loaded": 0, "refused": 0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch.seen.clear()
    largest = 0
    for number in range(MUTATIONS // len(MODELS)):
        path.write_bytes(mutate(rng))
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            watch.on = True
            try:
                assert isinstance(load(path), BaseEstimator)
                outcomes["loaded"] += 1
            except ValueError:
                outcomes["refused"] += 1
            finally:
                watch.on = False
        size = path.stat().st_size  # some are made 64 MB long
        assert time.process_time() - start < max(LONGEST, limits(size)[0]), number
        assert not watch.seen, number
        assert torch.is_grad_enabled(), number
        largest = max(largest, size)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < max(MOST, limits(largest)[1])
    assert min(outcomes.values()) > 0.01 * sum(outcomes.values())


# What is small and would become large


@pytest.mark.slow
def test_no_file_takes_more_than_its_size_accounts_for(tmp_path):
    ordinary, path = tmp_path / "ordinary", tmp_path / "heavy"
    X = np.random.default_rng(0).normal(size=(12, 3))
    save(make_pipeline(MinMaxScaler(), TINY).fit(X), ordinary)
    size = min(100 * MUTATIONS, 10**7)
    files = heavy_files(ordinary, size)
    rng = np.random.default_rng(0)
    files |= {f"mixed {n}": mixed_file(ordinary, size, rng) for n in range(20)}
    program = [sys.executable, Path(__file__).with_name("heavy.py"), ordinary]
    failed, outcomes = {}, set()
    with subprocess.Popen(
        program, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        for name, (make, *arguments) in files.items():
            path.write_bytes(make(*arguments))
            print(path, file=process.stdin, flush=True)
            seconds, taken, outcome = json.loads(process.stdout.readline())
            allowed = limits(path.stat().st_size)
            if seconds > allowed[0] or taken > allowed[1]:
                failed[name] = seconds, taken, outcome, allowed
            outcomes.add(outcome)
        process.stdin.close()
    assert not failed
    assert "model" in outcomes  # some are as large as they seem


def test_what_is_measured_is_what_is_taken(tmp_path):
    """A list of numbers takes what it takes, and the limits are those that are promised."""
    path = tmp_path / "model"
    model = clone(TINY)
    save(make_pipeline(MinMaxScaler(), model), tmp_path / "ordinary")
    model.note_ = [place / 7 for place in range(300_000)]
    save(make_pipeline(MinMaxScaler(), model), path)
    result = subprocess.run(
        [sys.executable, Path(__file__).with_name("heavy.py"), tmp_path / "ordinary"],
        input=f"{path}\n",
        text=True,
        capture_output=True,
        check=True,
    )
    seconds, taken, outcome = json.loads(result.stdout)
    assert outcome == "model"
    assert seconds > 0.01
    assert taken > 300_000 * (24 + 8)  # a number and its place in a list
    assert limits(0)[1] == 64 * 2**20
    assert limits(10**6)[1] == limits(0)[1] + 10**7
