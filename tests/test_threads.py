"""Threads, processes and what is global: fits beside each other, and nothing left behind."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from faults import (
    each_class,
    each_estimator,
    fails,
    fitted,
    outcome,
    seeded,
    table,
    targets,
)
from instances import OUTLIER_DETECTORS, SUPERVISED, name_of
from surroundings import surroundings

pytestmark = pytest.mark.usefixtures("few_temperatures")

ANSWERS = {
    "transform": lambda e, X: e.transform(X),
    "reconstruct": lambda e, X: e.reconstruct(X),
    "score_samples": lambda e, X: e.score_samples(X),
    "predict": lambda e, X: e.predict(X),
    "explain": lambda e, X: e.explain(X),
    "kneighbors": lambda e, X: e.kneighbors(X)[1],
    "sample": lambda e, X: e.sample(3, random_state=0),
}


def _answers(estimator, X):
    """Return what an estimator answers to all that it can be asked."""
    return [ask(estimator, X) for name, ask in ANSWERS.items() if hasattr(estimator, name)]


def _at_once(*functions):
    """Call functions in a thread each, switching often; return what they return."""
    results = [None] * len(functions)

    def run(place):
        results[place] = functions[place]()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(functions))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    return results


@each_estimator
def test_nothing_around_a_fit_changes_and_neither_does_it_by_failing(instance):
    X = table(70)
    before = surroundings()
    estimator = fitted(instance, X)
    _answers(estimator, X)
    assert surroundings() == before
    fails(estimator, ValueError, "NaN|infinity", np.full_like(X, np.inf))
    if hasattr(estimator, "learning_rate_init"):
        # Pre-training by contrastive divergence has a rate of its own, and none of this one.
        estimator.set_params(learning_rate_init=1e30)
        if getattr(instance, "fine_tune", True):
            fails(estimator, ValueError, "diverged", X)
    assert surroundings() == before


@pytest.mark.parametrize("instance", SUPERVISED + OUTLIER_DETECTORS, ids=name_of)
def test_fits_at_once_give_the_bits_of_one(instance):
    X = table()
    expected, before = outcome(fitted(instance, X), X), surroundings()
    for result in _at_once(*[lambda: outcome(fitted(instance, X), X)] * 4):
        np.testing.assert_array_equal(result, expected)
    assert surroundings() == before


@each_class
def test_shared_estimators_answer_while_others_are_fitted(instance):
    X, y = table(), targets(instance)
    other = table(dtype=np.float32)
    shared, calm = fitted(instance, X), fitted(instance, X)  # what is remembered, is not yet
    alone, expected = _answers(calm, X), _answers(calm, other)
    fits = [lambda: _answers(seeded(instance).fit(X, y), X)] * 2
    asked = [lambda: _answers(shared, X), lambda: _answers(shared, other)] * 2
    results = _at_once(*fits, *asked)
    for place, result in enumerate(results):
        wanted = expected if place in (3, 5) else alone
        for one, another in zip(result, wanted, strict=True):
            np.testing.assert_array_equal(one, another)


def _run(script, n_threads=2):
    """Run a script with so many threads for torch; return what it prints as JSON."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(n_threads),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


ALL = """
import json, os, pickle, sys
before = dict(os.environ)
from faults import CLASSES, fitted, outcome, table, targets
X = table()
for instance in CLASSES:
    estimator = pickle.loads(pickle.dumps(fitted(instance, X)))
    outcome(estimator, X)
    if hasattr(estimator, "warm_start"):
        estimator.set_params(warm_start=True).fit(X, targets(instance))
print(json.dumps([before == dict(os.environ), "torch._dynamo" in sys.modules]))
"""


def test_no_environment_variable_is_set_and_no_compiler_loaded():
    assert _run(ALL, n_threads=1) == [True, False]


FIRST_CALLS = """
import copy, json, os, pickle, signal, tempfile
import numpy as np, torch
import sklearn_ae
from sklearn_ae import Autoencoder, RestrictedBoltzmannMachine, VariationalAutoencoder

X = np.random.default_rng(0).normal(size=(600, 300))  # large enough for two threads everywhere
params = {"max_iter": 1, "random_state": 0}
dense = Autoencoder(300, hidden_layer_sizes=(300,), init="random", **params).fit(X)
variational = VariationalAutoencoder(300, hidden_layer_sizes=(300,), **params).fit(X)
rbm = RestrictedBoltzmannMachine(300, **params).fit(X)
codes, dump = dense.transform(X), pickle.dumps(dense)
file = os.path.join(tempfile.mkdtemp(), "file")
sklearn_ae.save(dense, file)
calls = {
    "fit": lambda: close(Autoencoder(**dense.get_params()).fit(X).transform(X)),
    "transform": lambda: close(dense.transform(X)),
    "another precision": lambda: dense.transform(X.astype(np.float32)),
    "inverse_transform": lambda: dense.inverse_transform(codes),
    "score": lambda: dense.score(X),
    "sample": lambda: dense.sample(600, random_state=0),
    "sample of a variational one": lambda: variational.sample(600, random_state=0),
    "sample of an RBM": lambda: rbm.sample(600, random_state=0, n_steps=2),
    "log_partition": lambda: rbm.log_partition(n_temperatures=3, n_runs=400),
    "pickle": lambda: close(pickle.loads(dump).transform(X)),
    "copy": lambda: close(copy.deepcopy(dense).transform(X)),
    "load": lambda: close(sklearn_ae.load(file).transform(X)),
}

def close(found):
    assert np.allclose(found, codes)

def n_threads_after(call):
    child = os.fork()
    if not child:
        signal.alarm(60)  # what hangs is ended, and its status is not a number of threads
        try:
            call()
            os._exit(torch.get_num_threads())
        finally:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

torch.ones(10**6).sum()
ended = {name: n_threads_after(call) for name, call in calls.items()}
print(json.dumps([ended, n_threads_after(lambda: None), torch.get_num_threads()]))
"""


@pytest.fixture(scope="module")
def forked():
    """Number of threads of a fork after each call, of one that calls nothing, of the parent."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    return _run(FIRST_CALLS)


def test_forked_processes_do_not_wait_for_threads_of_their_parent(forked):
    assert forked[0]["fit"] == 1  # and the fit is that of the parent
    assert forked[2] == 2


def test_whatever_a_forked_process_calls_first_runs_on_one_thread(forked):
    ended, elsewhere, parent = forked
    assert set(ended.values()) == {1}, ended
    assert elsewhere == parent == 2  # a fork that calls nothing of this package stays as it was


WORKERS = """
import json
import numpy as np, torch
from joblib import parallel_config
from sklearn.model_selection import cross_validate
from skorch.callbacks import Callback
from sklearn_ae import Autoencoder

class Threads(Callback):
    def on_epoch_end(self, net, **kwargs):
        self.seen = torch.get_num_threads()

def score(estimator, X):
    def count(x):
        seen.append(torch.get_num_threads())
        return encode(x)
    seen, encode = [], estimator.module_.encode
    estimator.module_.encode = count
    estimator.transform(X)
    del estimator.module_.encode
    return {"score": estimator.score(X), "threads": max(seen)}

X = np.random.default_rng(0).normal(size=(150, 5))
estimator = Autoencoder(2, max_iter=3, callbacks=[Threads()], random_state=0)
results = {}
for backend in ("sequential", "threading", "multiprocessing", "loky"):
    with parallel_config(backend=backend, n_jobs=1 if backend == "sequential" else 2):
        found = cross_validate(estimator, X, cv=4, scoring=score, return_estimator=True)
    results[backend] = {
        "scores": found["test_score"].tolist(),
        "fit": [fitted.callbacks[0].seen for fitted in found["estimator"]],
        "transform": found["test_threads"].tolist(),
    }
results["after"] = torch.get_num_threads()
print(json.dumps(results))
"""


def test_workers_take_one_thread_each_and_give_the_bits_of_one():
    results = _run(WORKERS)
    assert results.pop("after") == 2
    alone = results.pop("sequential")
    assert alone["fit"] == alone["transform"] == [2] * 4
    for backend, found in results.items():
        assert found["fit"] == found["transform"] == [1] * 4, backend
        assert found["scores"] == alone["scores"], backend
