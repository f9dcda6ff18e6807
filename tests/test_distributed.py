"""Fits of several processes: :mod:`in_processes` within each, and processes that die."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch was built without torch.distributed"
)


@pytest.mark.parametrize("n_processes", [2, 3])
def test_all_processes_pass(n_processes):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={n_processes}", "-m", "pytest", "-q", "-x"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", str(HERE / "in_processes.py")]
    if n_processes == 3:  # parts of unequal sizes
        command += ["-k", "one_process or shards or told"]
    # Each must leave its fits within a minute of the failure of another.
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=HERE)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


DYING = """
import os, sys
import numpy as np
import torch.distributed as dist
from skorch.callbacks import Callback
from sklearn_ae import Autoencoder

class Dying(Callback):
    def on_epoch_end(self, net, **kwargs):
        if dist.get_rank() == 1 and len(net.history) == 2:
            os._exit(3)

dist.init_process_group("gloo")
X = np.random.default_rng(0).normal(size=(200, 5))
Autoencoder(2, init="random", max_iter=100, random_state=0, callbacks=[Dying()]).fit(X)
"""


def test_a_process_that_dies_ends_the_others():
    """Without torchrun, which would end them itself."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(2):
        environment = os.environ | {
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(port),
        }
        options = {"stderr": subprocess.PIPE, "text": True, "env": environment}
        ranks.append(subprocess.Popen([sys.executable, "-c", DYING], **options))
    start = time.perf_counter()
    errors = [each.communicate(timeout=120)[1] for each in ranks]
    assert time.perf_counter() - start < 100  # imports included
    assert ranks[1].returncode == 3
    assert ranks[0].returncode != 0
    assert (
        "this fit of 2 processes ended in process 0, because of a process that died" in errors[0]
    )
