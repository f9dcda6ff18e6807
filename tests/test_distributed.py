"""Fits of several processes: :mod:`in_processes` within each, and processes that die."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch.distributed

from sklearn_ae import Autoencoder, load

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch was built without torch.distributed"
)


@pytest.mark.parametrize(
    ("n_processes", "marked"),
    [
        (2, "not slow"),
        pytest.param(2, "slow", marks=pytest.mark.slow),
        pytest.param(3, "slow or not slow", marks=pytest.mark.slow),
    ],
)
def test_all_processes_pass(n_processes, marked):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={n_processes}", "-m", "pytest", "-q", "-x"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", "-m", marked]
    command += [str(HERE / "in_processes.py")]
    if n_processes == 3:  # parts of unequal sizes
        command += ["-k", "masking or huber or told or unequal_sizes"]
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


LAUNCHED = """
def train(path):
    import numpy as np
    import torch.distributed as dist
    from sklearn_ae import Autoencoder, save
    from sklearn_ae._training import ranks

    X = np.random.default_rng(0).normal(size=(200, 5))
    model = Autoencoder(2, init="random", max_iter=3, random_state=0).fit(X)
    assert next(ranks._numbers) == 1, "the fit was not one of several processes"
    if dist.get_rank() == 0:
        save(model, path)
"""

SPARK = """
import sys
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

spark = SparkSession.builder.master("local[2]").getOrCreate()
TorchDistributor(num_processes=2, local_mode=True, use_gpu=False).run(train, sys.argv[1])
spark.stop()
"""

RAY = """
import sys
import ray
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer

ray.init(num_cpus=2, include_dashboard=False)
TorchTrainer(
    lambda config: train(config["path"]),
    train_loop_config={"path": sys.argv[1]},
    scaling_config=ScalingConfig(num_workers=2),
).fit()
"""


@pytest.mark.parametrize(
    ("launcher", "packages"),
    [(SPARK, ("pyspark",)), (RAY, ("ray", "pydantic"))],
    ids=["Spark", "Ray"],
)
def test_launchers_of_other_libraries(launcher, packages, tmp_path):
    """The file that one process writes is that of a fit alone."""
    for package in packages:
        pytest.importorskip(package, exc_type=ImportError)
    script, path = tmp_path / "script.py", tmp_path / "model.skae"
    script.write_text(
        f"{LAUNCHED}\nif __name__ == '__main__':\n" + launcher.replace("\n", "\n    ")
    )
    command = [sys.executable, str(script), str(path)]
    environment = os.environ | {"RAY_AUTH_TOKEN": "0" * 32}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    X = np.random.default_rng(0).normal(size=(200, 5))
    alone = Autoencoder(2, init="random", max_iter=3, random_state=0).fit(X)
    np.testing.assert_allclose(load(path).transform(X), alone.transform(X), atol=1e-6)
