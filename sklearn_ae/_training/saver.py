"""Callback that saves a training run in a checkpoint and resumes it."""

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

from sklearn_ae._training.batches import Samples
from sklearn_ae._training.callbacks import BestWeights
from sklearn_ae._training.checkpoint import read_checkpoint, write_checkpoint
from sklearn_ae._training.description import TrainingRun
from sklearn_ae._version import __version__

FORMAT = 2
"""Version of the contents of checkpoints: incremented with each change of them."""


class Saver(Callback):
    """Save the state of a run at regular intervals, or resume an interrupted run.

    It must be called after the callbacks whose state it saves.

    Parameters
    ----------
    run : TrainingRun
        With a checkpoint, its attribute `saved`.
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
        """Restore the state of the run if there is a checkpoint of it."""
        self.path = self.checkpoint.path_of(self._fingerprint(net))
        if net.ranks is None:
            found = read_checkpoint(self.path)
        else:  # the first process writes and reads for all
            found = read_checkpoint(self.path) if net.ranks.is_first else None
            found = net.ranks.of_first(found)
        if found is None:
            return
        self._restore(net, *found)
        if self.run.title and (net.ranks is None or net.ranks.is_first):
            print(
                f"{self.run.title}: resumed after epoch {len(net.history)} from {self.path}",
                file=sys.stderr,
            )

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Write a checkpoint after every so many epochs."""
        if len(net.history) % self.checkpoint.every == 0:
            self._save(net)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Write the final state: the fit may be interrupted in a later run, e.g. of a layer."""
        net.stop_training = True
        self._save(net)

    def _fingerprint(self, net: Any) -> str:
        """Return a hash of everything that the run depends on."""
        hashed = hashlib.blake2b(digest_size=16)
        packages = torch, np, scipy, sklearn, skorch
        numbers = [package.__version__ for package in packages]
        versions = FORMAT, __version__, sys.version_info[:2], numbers
        run = self.run
        objective = run.objective
        rules = (
            self.best.monitor,
            objective.needs_significance,
            self.best.ends_early and (self.best.checked_every, self.best.checked_from),
            objective.prefers_last,
            objective.anneals,
            objective.annealed_from,
        )
        settings = run.parameters, run.seeds, rules, type(net.step).__name__
        hashed.update(repr((versions, self.identity, settings)).encode())
        for name, array in self._tensors(net).items():
            hashed.update(name.encode())
            hashed.update(array.tobytes())
        for samples in (run.samples, run.held_out, run.other_samples):
            for part in (samples, samples and samples.targets):
                _hash_samples(hashed, part)
        return hashed.hexdigest()

    def _tensors(self, net: Any) -> dict[str, np.ndarray]:
        """Return the arrays that a training step changes."""
        tensors = {f"module.{name}": value for name, value in net.module_.state_dict().items()}
        state = net.optimizer_.state[net.flat.values]
        tensors |= {f"optimizer.{name}": value for name, value in state.items()}
        tensors |= {name: each.get_state() for name, each in self.generators.items()}
        return {name: _array(value) for name, value in tensors.items()}

    def _save(self, net: Any) -> None:
        """Write a checkpoint."""
        if net.ranks is not None and not net.ranks.is_first:
            return
        best, arrays = self.best, self._tensors(net)
        values = {
            "history": [
                {k: v for k, v in epoch.items() if isinstance(v, (int, float))}
                for epoch in net.history
            ],
            "stop_training": bool(net.stop_training),
            "best": [best.best_loss, best.reference, best.waited, best.kept_epoch],
        }
        if best.monitor != "train_loss":
            values["score"] = best.best.score
            for name in ("losses", "weight", "parameters"):
                arrays[f"best.{name}"] = _array(getattr(best.best, name))
        write_checkpoint(self.path, arrays, values)

    def _restore(self, net: Any, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        """Set the net, the generators and the best weights to the state in a checkpoint."""
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        best = self.best
        module = {
            name.removeprefix("module."): value
            for name, value in tensors.items()
            if name.startswith("module.")
        }
        net.module_.load_state_dict(module)
        for name, value in net.optimizer_.state[net.flat.values].items():
            value.copy_(tensors[f"optimizer.{name}"])
        for name, generator in self.generators.items():
            generator.set_state(tensors[name])
        for epoch in values["history"]:
            net.history.new_epoch()
            for name, value in epoch.items():
                net.history.record(name, value)
        net.stop_training = values["stop_training"]
        best.best_loss, best.reference, best.waited, best.kept_epoch = values["best"]
        if best.monitor != "train_loss":
            start = best.start
            best.best = start._replace(
                losses=tensors["best.losses"].to(start.losses),
                weight=tensors["best.weight"].to(start.weight),
                score=values["score"],
                mean=None,
                parameters=tensors["best.parameters"].to(start.parameters),
            )


def _array(tensor: Tensor) -> np.ndarray:
    """Return a copy as a contiguous array on the CPU."""
    return tensor.detach().cpu().numpy().copy(order="C")


def _hash_samples(hashed: Any, samples: Samples | None) -> None:
    """Update a hash by samples and their weights."""
    if samples is None:
        return
    for chunk in samples.chunks():
        hashed.update(_array(samples.take(chunk)).tobytes())
        hashed.update(_array(samples.take_weight(chunk)).tobytes())
