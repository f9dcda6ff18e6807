"""Searches on clusters: Dask and Ray give the bits of one process, and move little but data."""

import functools
import io
import json
import os
import pickle
import secrets
import subprocess
import sys

import cloudpickle
import numpy as np
import pytest
from instances import INSTANCES, OUTLIER_DETECTORS, SMALL, SUPERVISED, name_of
from joblib import parallel_config
from joblib.parallel import BatchedCalls
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import Autoencoder, AutoencoderOutlierDetector, VariationalAutoencoder

X = load_iris().data

MORE_THAN_PCA = 2_500
"""Bytes that a task may have beyond those of the same task with PCA."""

# A cluster is started by a script: its workers then import no test modules, and what the cluster
# leaves in its process ends with it. The script has torch's own number of threads.

SEARCHES = """
import json, os, threading
import cloudpickle
import numpy as np, torch
from joblib import Parallel, cpu_count, delayed, parallel_config
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, ParameterGrid
from skorch.callbacks import Callback
from sklearn_ae import Autoencoder, AutoencoderOutlierDetector
from sklearn_ae._training import group

class Threads(Callback):
    def on_epoch_end(self, net, **kwargs):
        self.seen = torch.get_num_threads()

def facts(estimator, X, y=None):
    (watch,) = estimator.callbacks
    return {"score": estimator.score(X), "threads": watch.seen, "process": os.getpid()}

def mean_score(detector, X, y=None):
    return detector.score_samples(X).mean()

def results(search, *names):
    return {name: [float(value) for value in search.cv_results_[f"split0_test_{name}"]]
            for name in names}

X = load_iris().data
narrow = Autoencoder(2, hidden_layer_sizes=(8,), init="random", max_iter=3, random_state=0)
model = clone(narrow).set_params(early_stopping=False, callbacks=[Threads()])
GRID = {"alpha": [0.0, 0.1], "learning_rate_init": [1e-3, 1e-2]}

def searched():
    search = GridSearchCV(model, GRID, cv=3, scoring=facts, refit="score").fit(X)
    return results(search, "score", "threads", "process")

def detected():
    detector = AutoencoderOutlierDetector(narrow, random_state=0)
    search = GridSearchCV(detector, {"n_estimators": [2, 4]}, cv=2, scoring=mean_score)
    return results(search.fit(X), "score")

def search_part(candidates):
    sizes, train = [], group._train_group

    def noting(trainings, *args):
        sizes.append(len(trainings))
        return train(trainings, *args)

    group._train_group = noting
    try:
        with parallel_config(backend="sklearn_ae"):
            search = GridSearchCV(model, candidates, cv=3, scoring=facts, refit=False).fit(X)
    finally:
        group._train_group = train
    return results(search, "score", "threads", "process") | {"sizes": sizes}

def in_parts():
    candidates = [{name: [value] for name, value in candidate.items()}
                  for candidate in ParameterGrid(GRID)]
    return Parallel()(delayed(search_part)(part) for part in (candidates[:2], candidates[2:]))

found = {"cores": cpu_count(), "threads here": torch.get_num_threads(), "here": os.getpid()}
found["alone"] = searched(), detected()
"""

DASK = """
from dask.distributed import Client, LocalCluster

options = {"dashboard_address": None, "worker_dashboard_address": None}
threads = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, **options)
with threads, Client(threads), parallel_config("dask"):
    found["threads"] = searched(), in_parts()

cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **options)
with cluster, Client(cluster) as client, parallel_config("dask"):
    found["cluster"] = searched(), detected()
    found["parts"] = in_parts()

    # Bytes of the tasks. Dask sends what is large, such as the samples, to each worker once.
    submit, sizes = client.submit, []

    def noting(function, tasks, **options):
        sizes.append(len(cloudpickle.dumps((function, tasks))) / len(tasks))
        return submit(function, tasks=tasks, **options)

    client.submit = noting
    GridSearchCV(narrow, {}, cv=3, refit=False).fit(np.tile(X, (100, 1)))
    found["bytes"] = sizes
print(json.dumps(found))
"""

RAY = """
import ray
from ray.util.joblib import register_ray

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
register_ray()
with parallel_config("ray", n_jobs=2):
    found["cluster"] = searched(), detected()
    found["parts"] = in_parts()
ray.shutdown()
print(json.dumps(found))
"""


@functools.cache
def run(script):
    """Run a script in a new process and return what it prints as JSON."""
    environment = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    # Without a token, Ray writes one to the home directory.
    environment |= {"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", SEARCHES + script],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(
    params=[pytest.param(("distributed", DASK), id="dask"), pytest.param(("ray", RAY), id="ray")]
)
def found(request):
    package, script = request.param
    pytest.importorskip(package)
    return run(script)


@pytest.fixture
def found_by_dask():
    pytest.importorskip("distributed")
    return run(DASK)


def test_scores_are_the_bits_of_one_process(found):
    (alone, detected), (search, detected_there) = found["alone"], found["cluster"]
    assert search["score"] == alone["score"]
    assert detected_there["score"] == detected["score"]
    assert len(set(alone["score"])) == 4
    assert len(set(detected["score"])) == 2


def test_models_are_trained_in_the_workers_on_their_share_of_the_threads(found):
    for searched in (found["cluster"][0], *found["parts"]):
        assert found["here"] not in searched["process"]
        assert max(searched["threads"]) <= max(1, found["cores"] // 2)
    # The limit is that of the workers: without it, torch uses what it likes.
    assert found["alone"][0]["threads"] == [found["threads here"]] * 4


def test_a_part_of_a_search_is_one_batch_in_its_worker(found):
    alone = found["alone"][0]["score"]
    scores = [score for part in found["parts"] for score in part["score"]]
    np.testing.assert_allclose(scores, alone, rtol=1e-6)
    assert [part["sizes"] for part in found["parts"]] == [[6], [6]]  # two candidates, three folds


def test_threads_of_a_worker_share_the_processors(found_by_dask):
    """A worker in this process: no variable limits its threads."""
    search, parts = found_by_dask["threads"]
    assert search["score"] == found_by_dask["alone"][0]["score"]
    assert {*search["process"]} == {found_by_dask["here"]}
    for searched in (search, *parts):
        assert max(searched["threads"]) <= max(1, found_by_dask["cores"] // 2)


def test_dask_sends_samples_apart_from_tasks(found_by_dask):
    """Of 15,000 samples, 600 KB with their indices, a task has references only."""
    assert len(found_by_dask["bytes"]) > 0
    assert max(found_by_dask["bytes"]) < 20_000  # most of it is scikit-learn's configuration


# Bytes of tasks, without a cluster


class Modules(pickle.Unpickler):
    """Notes the modules of all objects that a pickle names."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data))
        self.names = set()

    def find_class(self, module, name):
        self.names.add(module)
        return super().find_class(module, name)


def torch_modules_of(data):
    reader = Modules(data)
    reader.load()
    assert reader.names
    return [name for name in reader.names if name.split(".")[0] in ("torch", "skorch")]


@pytest.mark.parametrize("instance", [*INSTANCES, *SUPERVISED, *OUTLIER_DETECTORS], ids=name_of)
def test_an_estimator_that_is_not_fitted_is_a_name_and_its_parameters(instance):
    data = cloudpickle.dumps(clone(instance))
    assert len(data) < 2_000
    assert torch_modules_of(data) == []


@pytest.fixture
def tasks(monkeypatch):
    """Return the list of the pickles of all tasks that joblib runs in threads from now on."""
    found, call = [], BatchedCalls.__call__

    def noting(batch):
        found.append(cloudpickle.dumps(batch))
        return call(batch)

    monkeypatch.setattr(BatchedCalls, "__call__", noting)
    return found


def mean_value(estimator, X, y=None):
    """Score any estimator."""
    find = getattr(estimator, "score_samples", None) or estimator.transform
    return find(X).mean()


TASKS = {
    "autoencoder": Autoencoder(2, **SMALL),
    "pipeline": make_pipeline(StandardScaler(), VariationalAutoencoder(2, **SMALL)),
    "detector": AutoencoderOutlierDetector(Autoencoder(2, **SMALL), n_estimators=2),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_of_a_search_is_little_more_than_that_of_pca(name, tasks):
    """Samples, indices, and the settings of scikit-learn are in both."""
    sizes = []
    for model in (PCA(2), TASKS[name]):
        with parallel_config(backend="threading", n_jobs=2):
            GridSearchCV(model, {}, cv=3, scoring=mean_value, refit=False).fit(X)
        assert len(tasks) == 3
        sizes.append(max(map(len, tasks)))
        assert not any(map(torch_modules_of, tasks))
        tasks.clear()
    assert X.nbytes < sizes[0]
    assert sizes[1] - sizes[0] < MORE_THAN_PCA
