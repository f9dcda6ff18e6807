"""The state of a training run, into a checkpoint and back."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import numpy as np
import scipy
import sklearn
import skorch
import torch
from skorch.callbacks import Callback
from torch import Tensor

from sklearn_ae._training.batches import Rows
from sklearn_ae._training.callbacks import BestWeights
from sklearn_ae._training.checkpoint import read_checkpoint, write_checkpoint
from sklearn_ae._training.description import TrainingRun
from sklearn_ae._version import __version__

FORMAT = 2
"""Of the files: another number for each change of what they hold."""


class Saver(Callback):
    """Write the state of a run every so many epochs, or take up a run that was killed.

    It comes after the callbacks that it keeps the state of.

    Parameters
    ----------
    run : TrainingRun
        It is `saved` somewhere.
    best : BestWeights
    generators : dict of str to torch.Generator
    """

    def __init__(
        self, run: TrainingRun, best: BestWeights, generators: dict[str, torch.Generator]
    ) -> None:
        assert run.saved is not None
        self.run = run
        self.checkpoint, self.identity = run.saved
        self.best = best
        self.generators = generators

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Look for a file of this very run."""
        self.path = self.checkpoint.path_of(self._fingerprint(net))
        found = read_checkpoint(self.path)
        if found is None:
            return
        self._restore(net, *found)
        if self.run.title:
            print(
                f"{self.run.title}: resumed after epoch {len(net.history)} from {self.path}",
                file=sys.stderr,
            )

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Write the file, if it is time."""
        if len(net.history) % self.checkpoint.every == 0:
            self._save(net)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Write what is final: the fit may have more runs to do."""
        net.stop_training = True
        self._save(net)

    def _fingerprint(self, net: Any) -> str:
        """Hash everything that decides how the run goes."""
        hashed = hashlib.blake2b(digest_size=16)
        packages = torch, np, scipy, sklearn, skorch
        numbers = [package.__version__ for package in packages]
        versions = FORMAT, __version__, sys.version_info[:2], numbers
        run = self.run
        objective = run.objective
        rules = (
            self.best.monitor,
            objective.needs_significance,
            objective.prefers_last,
            objective.anneals,
            objective.annealed_from,
        )
        told = run.parameters, run.seeds, rules, type(net.step).__name__
        hashed.update(repr((versions, self.identity, told)).encode())
        for name, array in self._tensors(net).items():
            hashed.update(name.encode())
            hashed.update(array.tobytes())
        for samples in (run.samples, run.held_out, run.other_samples):
            for part in (samples, samples and samples.targets):
                _hash_rows(hashed, part)
        return hashed.hexdigest()

    def _tensors(self, net: Any) -> dict[str, np.ndarray]:
        """Return what changes in every step."""
        tensors = {f"module.{name}": value for name, value in net.module_.state_dict().items()}
        state = net.optimizer_.state[net.flat.values]
        tensors |= {f"optimizer.{name}": value for name, value in state.items()}
        tensors |= {name: each.get_state() for name, each in self.generators.items()}
        return {name: _array(value) for name, value in tensors.items()}

    def _save(self, net: Any) -> None:
        best, arrays = self.best, self._tensors(net)
        said = {
            "history": [
                {k: v for k, v in epoch.items() if isinstance(v, (int, float))}
                for epoch in net.history
            ],
            "stop_training": bool(net.stop_training),
            "best": [best.best_loss, best.reference, best.waited, best.kept_epoch],
        }
        if best.monitor != "train_loss":
            said["score"] = best.best.score
            for name in ("losses", "weight", "parameters"):
                arrays[f"best.{name}"] = _array(getattr(best.best, name))
        write_checkpoint(self.path, arrays, said)

    def _restore(self, net: Any, arrays: dict[str, np.ndarray], said: dict[str, Any]) -> None:
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        best = self.best
        module = {n[7:]: value for n, value in tensors.items() if n.startswith("module.")}
        net.module_.load_state_dict(module)
        for name, value in net.optimizer_.state[net.flat.values].items():
            value.copy_(tensors[f"optimizer.{name}"])
        for name, generator in self.generators.items():
            generator.set_state(tensors[name])
        for epoch in said["history"]:
            net.history.new_epoch()
            for name, value in epoch.items():
                net.history.record(name, value)
        net.stop_training = said["stop_training"]
        best.best_loss, best.reference, best.waited, best.kept_epoch = said["best"]
        if best.monitor != "train_loss":
            start = best.start
            best.best = start._replace(
                losses=tensors["best.losses"].to(start.losses),
                weight=tensors["best.weight"].to(start.weight),
                score=said["score"],
                parameters=tensors["best.parameters"].to(start.parameters),
            )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy(order="C")


def _hash_rows(hashed: Any, rows: Rows | None) -> None:
    if rows is None:
        return
    for chunk in rows.chunks():
        hashed.update(_array(rows.take(chunk)).tobytes())
        hashed.update(_array(rows.take_weight(chunk)).tobytes())
