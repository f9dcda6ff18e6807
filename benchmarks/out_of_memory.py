"""Fits on Parquet files that are read block by block, beside the same fit in memory.

The script writes files of 128 columns of float32 to a folder: the rows in random order, and
sorted by a column in each file, which is hard for shuffling by blocks.
Each fit runs in a process of its own, whose memory is compared with its memory after
``import sklearn_ae``. Linux only. Run::

    python benchmarks/out_of_memory.py --quick    # 600,000 rows, 300 MB
    python benchmarks/out_of_memory.py            # 10 million rows, 5 GB
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from _data import machine, write_json

N_FEATURES = 128
GROUP_ROWS = 8192
FILE_ROWS = 500_000
PARAMS = {
    "n_components": 16,
    "hidden_layer_sizes": (64,),
    "init": "pca",
    "random_state": 0,
    "n_iter_no_change": 100,
}


def memory(field: str) -> float:
    """Return a field of the memory of this process, in MB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def rows_of(start: int, stop: int) -> np.ndarray:
    """Return rows of a curved surface with noise, float32."""
    mixing = np.random.default_rng(0).standard_normal((12, 2, N_FEATURES)).astype(np.float32)
    rng = np.random.default_rng(start + 1)
    phases = rng.uniform(-2, 2, (stop - start, 12)).astype(np.float32)
    rows = np.sin(phases) @ mixing[:, 0] + np.cos(2 * phases) @ mixing[:, 1]
    return rows + 0.3 * rng.standard_normal(rows.shape, dtype=np.float32)


def write_files(folder: Path, n_rows: int, is_sorted: bool) -> None:
    """Write rows to Parquet files."""
    import pyarrow as pa
    from pyarrow import parquet

    folder.mkdir()
    names = [f"x{number}" for number in range(N_FEATURES)]
    for number, start in enumerate(range(0, n_rows, FILE_ROWS)):
        rows = rows_of(start, min(start + FILE_ROWS, n_rows))
        if is_sorted:
            # By one column: the rows of a row group are neighbours.
            rows = rows[np.argsort(rows[:, 0])]
        table = pa.table([np.ascontiguousarray(column) for column in rows.T], names=names)
        parquet.write_table(
            table, folder / f"{number:03}.parquet", row_group_size=GROUP_ROWS, compression=None
        )


def case(data: str, max_iter: int, n_rows: int) -> dict[str, float]:
    """Fit once in this process."""
    from sklearn_ae import Autoencoder

    before = {field: memory(field) for field in ("VmRSS", "RssAnon")}
    X: object = data
    if data == "memory":
        X = np.concatenate(
            [
                rows_of(start, min(start + FILE_ROWS, n_rows))
                for start in range(0, n_rows, FILE_ROWS)
            ]
        )
    peaks, done = dict(before), threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            for field in peaks:
                peaks[field] = max(peaks[field], memory(field))

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    model = Autoencoder(**PARAMS, max_iter=max_iter).fit(X)
    seconds = time.perf_counter() - start
    done.set()
    thread.join()
    return {
        "seconds": seconds,
        "resident": peaks["VmRSS"] - before["VmRSS"],
        "anonymous": peaks["RssAnon"] - before["RssAnon"],
        "score": model.validation_scores_[-1],
    }


def run(data: str, max_iter: int, n_rows: int) -> dict[str, float]:
    """Fit in another process."""
    command = [sys.executable, __file__, "--case", data, str(max_iter), str(n_rows)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def spread_of_batches(n_rows: int, batch_size: int = 256) -> float:
    """Return the variance of batch means of a sorted column, relative to a uniform shuffle."""
    import torch

    from sklearn_ae._training.streaming import Stream
    from sklearn_ae.sources import Source

    class Numbers(Source):
        shape, dtype, description = (n_rows, N_FEATURES), np.dtype(np.float32), "numbers"
        starts = np.append(np.arange(0, n_rows, GROUP_ROWS), n_rows)

        def read(self, start: int, stop: int) -> np.ndarray:
            return np.zeros((stop - start, N_FEATURES), np.float32)

    stream = Stream(Numbers())
    shuffle = torch.Generator().manual_seed(0)
    order = stream.shuffled(None, itertools.repeat(batch_size), shuffle)
    means = np.array([float(index.double().mean()) for index in order if len(index) == batch_size])
    uniform = (n_rows**2 / 12) / batch_size
    return float(means.var() / uniform)


def main() -> None:
    """Print memory, speed and results of all cases."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="600,000 rows")
    parser.add_argument("--epochs", type=int, default=4)
    cases = ["memory", "shuffled", "sorted"]
    parser.add_argument("--cases", nargs="+", default=cases, choices=cases)
    parser.add_argument("--folder", type=Path, help="where the files are written")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        data, max_iter, n_rows = options.case
        print(json.dumps(case(data, int(max_iter), int(n_rows))))
        return
    n_rows = 600_000 if options.quick else 10_000_000
    print(machine())
    results = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in set(options.cases) - {"memory"}:
            write_files(Path(folder) / name, n_rows, name == "sorted")
        print(f"{n_rows:,} rows of {N_FEATURES}; {options.epochs} epochs of 128-64-16")
        print(f"{'':10} {'rows/s':>10} {'whole fit':>10} {'RSS':>8} {'anon.':>8} {'R^2':>8}")
        for name in options.cases:
            data = name if name == "memory" else str(Path(folder) / name)
            short, long = (run(data, each, n_rows) for each in (1, options.epochs))
            per_epoch = (long["seconds"] - short["seconds"]) / (options.epochs - 1)
            results[name] = long | {"rows_per_second": n_rows / per_epoch}
            print(
                f"{name:10} {n_rows / per_epoch:10,.0f} {long['seconds']:8.1f} s "
                f"{long['resident']:5.0f} MB {long['anonymous']:5.0f} MB {long['score']:8.4f}"
            )
    allowed = 200 + 16 * n_rows / 2**20
    spread = spread_of_batches(n_rows)
    print(f"allowed memory (200 MB and 16 bytes a row): {allowed:.0f} MB")
    if {"memory", "shuffled"} <= set(results):
        ratio = results["shuffled"]["rows_per_second"] / results["memory"]["rows_per_second"]
        print(f"rows per second, files relative to memory: {ratio:.2f}")
    print(f"variance of batch means of a sorted column, relative to uniform: {spread:.1f}")
    write_json("out_of_memory", results | {"spread": spread})


if __name__ == "__main__":
    main()
