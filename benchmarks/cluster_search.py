"""Seconds of a search, and bytes of its tasks, on clusters of this machine with two workers.

``GridSearchCV`` on scikit-learn's digits, over two learning rates, two levels of weight decay and
two numbers of components. *sequential*: one process. *loky*: two processes of joblib. *dask*: a
``LocalCluster``; *dask set*: with the settings of the guide, the samples sent to both workers
first and glibc's own limit of freed memory. *ray*: a local Ray. *start* is the start of the
cluster; *first* is the first search, for which the workers import torch; *second* is the same
search again, the best of the repeats. *batched* trains the candidates as one batch: all, or the
half that each worker has. *bytes* is the size of one task as it is sent. The last columns are the
largest differences of a score of *second* and of *batched* from the sequential search. Each way
runs in a process of its own, with torch's default number of threads, and is left out if its
package is missing. Run::

    python benchmarks/cluster_search.py [--quick] [--repeats 2]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from _data import machine, write_json

N_WORKERS = 2
PACKAGES = {"dask": "distributed", "dask set": "distributed", "ray": "ray"}
WAYS = ["sequential", "loky", "dask", "dask set", "ray"]
FOLDS = 5
GRID = {
    "alpha": [0.0, 1e-2],
    "learning_rate_init": [1e-3, 3e-3],
    "n_components": [2, 4],
}


@contextlib.contextmanager
def cluster_of(way: str, X: Any) -> Iterator[dict[str, Any]]:
    """Start a cluster; yield the arguments of ``parallel_config``."""
    if way.startswith("dask"):
        import dask
        from dask.distributed import Client, LocalCluster

        if way == "dask set":
            dask.config.set({"distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1}})
        options = {"processes": True, "dashboard_address": None}
        with LocalCluster(N_WORKERS, threads_per_worker=1, **options) as cluster, Client(cluster):
            yield {"backend": "dask"} | ({"scatter": [X]} if way == "dask set" else {})
    elif way == "ray":
        import ray
        from ray.util.joblib import register_ray

        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # or Ray writes a file
        ray.init(num_cpus=N_WORKERS, include_dashboard=False, log_to_driver=False)
        register_ray()
        yield {"backend": "ray", "n_jobs": N_WORKERS}
        ray.shutdown()
    else:
        # The number of jobs of one process would also be that of the batch within it.
        yield {"backend": way} if way == "sequential" else {"backend": way, "n_jobs": N_WORKERS}


def search_part(model: Any, candidates: list[dict[str, list]], X: Any) -> list[float]:
    """Search some of the candidates as one batch, in a worker; return their scores."""
    from joblib import parallel_config
    from sklearn.model_selection import GridSearchCV

    import sklearn_ae  # noqa: F401 - registers the backend

    with parallel_config(backend="sklearn_ae"):
        search = GridSearchCV(model, candidates, cv=FOLDS, refit=False).fit(X)
    return list(search.cv_results_["mean_test_score"])


@contextlib.contextmanager
def weighed(way: str) -> Iterator[list[float]]:
    """Within the block, fill the yielded list with the mean bytes of the tasks of each batch."""
    import cloudpickle
    from joblib import parallel

    found: list[float] = []
    if way == "sequential":
        yield found
        return
    if way.startswith("dask"):
        from dask.distributed import Client as Submitter
    else:
        Submitter = parallel.BACKENDS[way]
    submit = Submitter.submit

    def noting(self: Any, function: Any, *args: Any, **options: Any) -> Any:
        tasks = options.get("tasks")
        sent = function if tasks is None else (function, tasks)
        n_tasks = len(function.items if tasks is None else tasks)
        found.append(len(cloudpickle.dumps(sent)) / n_tasks)
        return submit(self, function, *args, **options)

    Submitter.submit = noting
    yield found
    Submitter.submit = submit


def measure(way: str, epochs: int, repeats: int) -> dict:
    """Search on one kind of cluster."""
    import numpy as np
    from joblib import Parallel, delayed, parallel_config
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV, ParameterGrid

    from sklearn_ae import Autoencoder

    X = load_digits().data.astype(np.float32)
    model = Autoencoder(hidden_layer_sizes=(16,), max_iter=epochs, random_state=0)
    candidates = [{k: [v] for k, v in each.items()} for each in ParameterGrid(GRID)]
    n_parts = 1 if way == "sequential" else N_WORKERS
    parts = [list(part) for part in np.array_split(np.array(candidates), n_parts)]
    searches, batched = [], []
    begin = time.perf_counter()
    with cluster_of(way, X) as options, parallel_config(**options):
        start = time.perf_counter() - begin
        for _ in range(1 + repeats):
            begin = time.perf_counter()
            search = GridSearchCV(model, GRID, cv=FOLDS, refit=False).fit(X)
            searches.append(time.perf_counter() - begin)
        for _ in range(repeats):
            begin = time.perf_counter()
            scores = Parallel()(delayed(search_part)(model, part, X) for part in parts)
            batched.append(time.perf_counter() - begin)
        with weighed(way) as sizes:
            GridSearchCV(model, GRID, cv=FOLDS, refit=False).fit(X)
    whole = search.cv_results_["mean_test_score"]
    return {
        "start": start,
        "first": searches[0],
        "second": min(searches[1:]),
        "batched": min(batched),
        "bytes": max(sizes, default=0),
        "samples": X.nbytes,
        "scores": {"second": whole.tolist(), "batched": np.concatenate(scores).tolist()},
    }


def in_a_process_of_its_own(way: str, epochs: int, repeats: int) -> dict:
    """Run :func:`measure` in a new process, without environment variables for threads."""
    environment = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    command = [sys.executable, __file__, "--case", way, str(epochs), str(repeats)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 epochs and one repeat")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case is not None:
        way, epochs, repeats = arguments.case
        print(json.dumps(measure(way, int(epochs), int(repeats))))
        return
    epochs = 20 if arguments.quick else 50
    repeats = 1 if arguments.quick else arguments.repeats
    print(machine())
    print(f"seconds of {FOLDS} folds of 8 candidates with {epochs} epochs; the best of {repeats}")
    print(f"{'way':12}{'start':>8}{'first':>8}{'second':>8}{'batched':>9}{'bytes':>10}"
          f"{'differences':>20}")  # fmt: skip
    report: dict[str, dict] = {}
    for way in WAYS:
        if importlib.util.find_spec(PACKAGES.get(way, "joblib")) is None:
            print(f"{way:12} {PACKAGES[way]} is not installed")
            continue
        found = report[way] = in_a_process_of_its_own(way, epochs, repeats)
        alone = report["sequential"]["scores"]["second"]
        differences = [
            max(abs(one - other) for one, other in zip(scores, alone, strict=True))
            for scores in found["scores"].values()
        ]
        print(
            f"{way:12}{found['start']:8.2f}{found['first']:8.2f}{found['second']:8.2f}"
            f"{found['batched']:9.2f}{found['bytes']:10.0f}"
            + "".join(f"{difference:10.0e}" for difference in differences),
            flush=True,
        )
    print(f"the samples have {report['sequential']['samples']} bytes")
    write_json("cluster_search", {"machine": machine(), "epochs": epochs, "results": report})


if __name__ == "__main__":
    main()
