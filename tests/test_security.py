"""What an import, a fit and a transform leave alone: the network, the environment, the disk."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PROGRAM = """
import os
import sys
import warnings

import numpy as np
{before}

seen = []

def watch(event, arguments):
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes and "__pycache__" in str(arguments[0]):  # Python's own
        return
    starts = ("socket.", "subprocess.", "os.putenv", "os.unsetenv", "os.system", "os.posix_spawn",
              "os.exec", "os.mkdir", "os.rename", "os.remove", "urllib.", "http.", "ftplib.",
              "smtplib.", "webbrowser.", "shutil.", "tempfile.")
    if writes or event.startswith(starts):
        seen.append((event, str(arguments)[:200]))

environment = dict(os.environ)
sys.addaudithook(watch)
{watched}
assert dict(os.environ) == environment
print(*seen, sep="\\n")
"""

FIT = """
import sklearn_ae
X = np.random.default_rng(0).normal(size=(60, 8))
y = np.arange(60) % 2
for name in sklearn_ae.__all__:
    if hasattr(getattr(sklearn_ae, name), "fit"):
        model = getattr(sklearn_ae, name)(random_state=0)
        if hasattr(model, "max_iter"):
            model.set_params(max_iter=2)
        model.fit(X, y)
        (model.transform if hasattr(model, "transform") else model.predict)(X)
"""


def _events(before, watched):
    program = PROGRAM.format(before=before, watched=watched)
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return result.stdout.strip()


def test_the_watch_sees_what_it_should():
    events = _events("", "import socket; socket.socket().close(); open(os.devnull, 'w').close()")
    assert "socket.__new__" in events
    assert "open" in events


def test_an_import_touches_nothing():
    # What torch and scikit-learn do when they are imported is theirs.
    others = "import safetensors.numpy, scipy.sparse, sklearn.pipeline, torch"
    assert not _events(others, "import sklearn_ae")


def test_a_fit_and_a_transform_touch_nothing():
    assert not _events("import skorch, tqdm.auto, torch", FIT)


def test_no_module_names_the_network():
    for path in (ROOT / "sklearn_ae").rglob("*.py"):
        text = path.read_text()
        for word in ("import socket", "import urllib", "import requests", "http.client"):
            assert word not in text, path


TRAVELS = """
import json, pickle, sys, warnings
import numpy as np
from sklearn_ae import *
X = np.random.default_rng(0).normal(size=(12, 4))

def compiler():
    return sorted({"torch._dynamo", "sympy"} & set(sys.modules))

Autoencoder(max_iter=1).fit(X)
before = list(warnings.filters)
models = [RestrictedBoltzmannMachine(2, persistent=True, max_iter=1), Autoencoder(max_iter=1)]
models += [LSTMAutoencoder(max_iter=1), ConvolutionalAutoencoder(max_iter=1)]
models += [UNetAutoencoder(max_iter=1), RecursiveAutoencoder(max_iter=1)]
models += [DenoisingAutoencoder(max_iter=1), SemanticHashing(max_iter=1)]
models += [VariationalAutoencoder(variance="per_feature", max_iter=1)]
for model in models:
    again = pickle.loads(pickle.dumps(model.fit(X)))
    again.transform(X)
    again.partial_fit(X)
found = {"arrived": compiler()}
models = [Autoencoder(), DenoisingAutoencoder(), VariationalAutoencoder(), SemanticHashing(8)]
models += [RestrictedBoltzmannMachine(2), SparseAutoencoder(4), LSTMAutoencoder()]
models += [ConvolutionalAutoencoder(), UNetAutoencoder(), RecursiveAutoencoder()]
for model in models:
    model.set_params(max_iter=1, warm_start=True).fit(X).fit(X).partial_fit(X)
found["continued"] = compiler()
found["filters"] = [repr(each) for each in warnings.filters if each not in before]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    """What models leave in a process that sends, receives and continues them."""
    result = subprocess.run(
        [sys.executable, "-c", TRAVELS], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return json.loads(result.stdout)


def test_a_model_arrives_without_torch_s_compiler(found):
    assert found["arrived"] == []


def test_continuing_a_fit_loads_no_compiler_and_filters_no_warning(found):
    assert found["continued"] == found["filters"] == []
