"""Memory use of a fit beyond its data: arrays, large memory maps, CSR matrices.

Each case runs in a separate process. A thread reads the anonymous resident memory of the
process a hundred times per second; pages of a mapped file, which the system can drop at any
time, are not included. Linux only. Run::

    python benchmarks/fit_memory.py
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from _data import data_folder, machine, write_json

MEGABYTE = 2**20


def anonymous() -> float:
    """Return the anonymous resident memory of this process, in MB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


def watch(function) -> float:
    """Return the largest growth of memory while ``function`` runs, in MB."""
    base, largest, done = anonymous(), [0.0], threading.Event()

    def sample() -> None:
        while not done.wait(0.01):
            largest[0] = max(largest[0], anonymous() - base)

    thread = threading.Thread(target=sample)
    thread.start()
    function()
    done.set()
    thread.join()
    return largest[0]


def posts() -> sp.csr_matrix:
    """Return tf-idf of 20 Newsgroups with 2,000 words, or a random matrix of that size."""
    folder = data_folder()
    if folder is None:
        return sp.random(11314, 2000, density=0.025, format="csr", dtype=np.float32, rng=0)
    from sklearn.feature_extraction.text import TfidfVectorizer

    with gzip.open(folder / "newsgroups" / "train.jsonl.gz", "rt") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    words = TfidfVectorizer(
        max_features=2000, stop_words="english", sublinear_tf=True, dtype=np.float32
    )
    return sp.csr_matrix(words.fit_transform(texts))


def case(name: str, argument: str) -> dict[str, float]:
    """Fit once in this process."""
    from sklearn_ae import Autoencoder

    params = {"hidden_layer_sizes": (64,), "max_iter": 1, "random_state": 0}
    small = np.random.default_rng(0).normal(size=(5000, 8)).astype(np.float32)
    Autoencoder(2, **params).fit(small)  # imports and buffers that are not measured
    if name == "array":
        rng = np.random.default_rng(0)
        X = rng.standard_normal((int(argument), 128), dtype=np.float32)
        size = X.nbytes
    elif name == "map":
        X = np.load(argument, mmap_mode="r")
        size = X.nbytes
    else:
        X = posts()
        size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
        params["hidden_layer_sizes"] = (256,)
    start = time.perf_counter()
    grown = watch(lambda: Autoencoder(16, **params).fit(X))
    return {
        "rows": X.shape[0],
        "data": size / MEGABYTE,
        "dense": X.shape[0] * X.shape[1] * 4 / MEGABYTE,
        "grown": grown,
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs=2, help="run one case in this process")
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(case(*arguments.case)))
        return
    print(machine())
    print(f"{'data':34}{'rows':>9}{'MB':>8}{'MB dense':>10}{'MB grown':>10}{'seconds':>9}")
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        cases = {
            "float32 array": ("array", "200000"),
            "float32 array, five times longer": ("array", "1000000"),
            "uint8 memory map": ("map", make_map(folder, 200_000)),
            "uint8 memory map, ten times longer": ("map", make_map(folder, 2_000_000)),
            "CSR, 20 Newsgroups, 2,000 words": ("csr", ""),
        }
        for name, words in cases.items():
            command = [sys.executable, __file__, "--case", *words]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            row = report[name] = json.loads(output)
            print(
                f"{name:34}{row['rows']:9}{row['data']:8.0f}{row['dense']:10.0f}"
                f"{row['grown']:10.0f}{row['seconds']:9.1f}",
                flush=True,
            )
    write_json("fit_memory", {"machine": machine(), "cases": report})


def make_map(folder: str, n_rows: int) -> str:
    """Write random bytes as samples of 128 features."""
    path = Path(folder) / f"{n_rows}.npy"
    X = np.lib.format.open_memmap(path, "w+", np.uint8, (n_rows, 128))
    rng = np.random.default_rng(0)
    for start in range(0, n_rows, 50_000):
        X[start : start + 50_000] = rng.integers(0, 256, size=(50_000, 128), dtype=np.uint8)
    X.flush()
    return str(path)


if __name__ == "__main__":
    main()
