"""Processes that train one model together, by ``torch.distributed``.

Every process runs the same fit. Whatever precedes the training is computed by each of them from
the same samples; in a training step each computes the gradient of its part of the batch, and the
gradients are added. All decisions are made from numbers that are equal in all processes.
"""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from joblib.parallel import get_active_backend
from torch import Tensor

_local = threading.local()
_has_opened = False
_numbers = itertools.count()
_SECONDS_FOR_REASON = 3.0
"""How long a process whose connection broke waits for the error of another process."""


class Place(NamedTuple):
    """Part of a batch that one process computes.

    Attributes
    ----------
    start, stop : int
        Positions in the batch of all processes.
    n_total : int
        Size of that batch.
    fraction : float
        Fraction of the batch that is counted here: zero if it has fewer samples than there are
        processes, and others compute them all.
    """

    start: int
    stop: int
    n_total: int
    fraction: float


class Ranks:
    """The processes of a fit.

    Parameters
    ----------
    rank, size : int
        Number of this process, and of all processes.
    group : ProcessGroup
    store : Store
        Shared by all processes; it survives each of them.
    """

    def __init__(self, rank: int, size: int, group: Any, store: Any) -> None:
        self.rank, self.size = rank, size
        self._group, self._store = group, store
        self._key = f"sklearn_ae/{next(_numbers)}"

    @staticmethod
    def current() -> Ranks | None:
        """Return the processes of the fit that this thread runs, None if it is alone."""
        return getattr(_local, "ranks", None)

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes files for all."""
        return self.rank == 0

    def place_in(self, n_samples: int) -> Place:
        """Return the part of a batch that this process computes: at least one sample."""
        start = n_samples * self.rank // self.size
        stop = n_samples * (self.rank + 1) // self.size
        if start == stop:
            return Place(0, 1, n_samples, 0.0)
        return Place(start, stop, n_samples, (stop - start) / n_samples)

    def add_(self, values: Tensor) -> Tensor:
        """Replace a tensor by the sum of those of all processes."""
        torch.distributed.all_reduce(values, group=self._group)
        return values

    def copy_of_(self, values: Tensor, rank: int) -> Tensor:
        """Replace a tensor by that of one process."""
        torch.distributed.broadcast(values, group=self._group, group_src=rank)
        return values

    def of_first(self, value: Any) -> Any:
        """Return the object of the first process."""
        found = [value]
        torch.distributed.broadcast_object_list(found, group=self._group, group_src=0)
        return found[0]

    def of_all(self, value: Any) -> list[Any]:
        """Return the objects of all processes."""
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, value, group=self._group)
        return found

    def close(self) -> None:
        """End the connections: processes that wait for this one receive an error."""
        torch.distributed.destroy_process_group(self._group)
        self._group = None

    def check_equal(self, described: Mapping[str, Any]) -> None:
        """Raise an error in all processes if they do not describe the same fit.

        Parameters
        ----------
        described : dict
            What has to be equal, by the name that the error gives it.
        """
        everyone = self.of_all(dict(described))
        for name, expected in everyone[0].items():
            for rank, own in enumerate(everyone):
                if own[name] != expected:
                    raise ValueError(
                        f"processes 0 and {rank} of this fit have different {name}: "
                        f"{_shortened(expected)} and {_shortened(own[name])}. All processes "
                        f"must run the same script; pass distributed='sharded' if each has its "
                        f"own samples, and distributed=None for a fit of each process alone."
                    )

    def tell(self, error: BaseException) -> None:
        """Leave an error for the other processes, which then end as well."""
        text = f"{type(error).__name__}: {error}"
        self._store.set(f"{self._key}/error", f"process {self.rank}: {text}")

    def reason(self) -> str | None:
        """Return the error that another process has left."""
        from datetime import timedelta

        key = f"{self._key}/error"
        try:
            self._store.wait([key], timedelta(seconds=_SECONDS_FOR_REASON))
        except RuntimeError:  # of a process that was killed
            return None
        return str(self._store.get(key).decode())


def _shortened(value: Any) -> str:
    """Return a value as text of at most 80 characters."""
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


Value = TypeVar("Value")


def agreed(value: Value) -> Value:
    """Return the value of the first process, in a fit of several, else the value itself."""
    ranks = Ranks.current()
    if ranks is None:
        return value
    first: Value = ranks.of_first(value)
    return first


@contextmanager
def among_ranks(
    distributed: str | None,
    device: torch.device,
    describe: Callable[[], Mapping[str, Any]],
) -> Iterator[Ranks | None]:
    """Within the block, all processes train together.

    A fit within a fit is trained by the processes of the outer one. Fits in threads, and in
    worker processes of joblib, are trained alone: their order is not the same in all processes.

    Parameters
    ----------
    distributed : {"auto", "sharded"} or None
    device : torch.device
        Device of the training, which decides how processes communicate.
    describe : callable
        Returns what has to be equal in all processes; see :meth:`Ranks.check_equal`.

    Raises
    ------
    RuntimeError
        If another process fails or dies.
    ValueError
        If the processes do not run the same fit.
    """
    present = Ranks.current()
    if present is not None or not _is_wanted(distributed):
        yield present
        return
    ranks = _open_ranks(device)
    _local.ranks = ranks
    try:
        ranks.check_equal(describe())
        yield ranks
    except RuntimeError as error:
        if not _is_lost_connection(error):
            ranks.tell(error)
            raise
        reason = ranks.reason()
        if reason is None:
            ranks.tell(error)
        raise RuntimeError(
            f"this fit of {ranks.size} processes ended in process {ranks.rank}, because of "
            f"{reason or 'a process that died or was disconnected'}"
        ) from error
    except BaseException as error:
        ranks.tell(error)
        raise
    finally:
        _local.ranks = None
        # Processes that wait for this one then receive an error at once.
        ranks.close()


def train_alone() -> None:
    """Train all models of this thread in this process alone: it is one of several tasks."""
    _local.is_alone = True


@contextmanager
def telling_ranks(distributed: str | None, device: torch.device | str) -> Iterator[None]:
    """Tell the other processes of an error before the fit, for which they would wait."""
    try:
        yield
    except Exception as error:
        if Ranks.current() is None and _is_wanted(distributed):
            ranks = _open_ranks(device)
            ranks.tell(error)
            ranks.close()
        raise


def _is_lost_connection(error: RuntimeError) -> bool:
    """Whether an error of torch says that another process is gone."""
    signs = "Connection", "connection", "closed by peer", "Timed out", "timed out", "NCCL", "abort"
    is_own = isinstance(error, torch.distributed.DistError) or type(error) is RuntimeError
    return is_own and any(sign in str(error) for sign in signs)


def _is_wanted(distributed: str | None) -> bool:
    """Whether there are other processes, and this fit is to be one with theirs."""
    if distributed is None or not torch.distributed.is_available():
        return False
    if get_active_backend()[0].nesting_level or getattr(_local, "is_alone", False):
        return False
    if torch.distributed.is_initialized() and not _has_opened:
        # By the user, or by a launcher that calls the script in a thread.
        return torch.distributed.get_world_size() > 1
    if threading.current_thread() is not threading.main_thread():
        return False
    if _has_opened:
        return True
    # Set by torchrun; worker processes of other libraries inherit it without being ranks.
    started = "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
    return started and multiprocessing.parent_process() is None


def _open_ranks(device: torch.device | str) -> Ranks:
    """Return the processes that were started together."""
    name = "cuda" if str(device) == "auto" and torch.cuda.is_available() else str(device)
    is_cuda = name.startswith("cuda")
    global _has_opened
    distributed = torch.distributed
    # Tensors on the CPU are exchanged in every fit, for example the keys of held-out samples.
    backend = "cpu:gloo,cuda:nccl" if is_cuda else "gloo"
    if not distributed.is_initialized():
        if is_cuda and name != "cuda":
            torch.cuda.set_device(device)
        distributed.init_process_group(backend)
        _has_opened = True
        # Else torch warns at the end of the script that nobody has done so.
        atexit.register(_close)
    group = distributed.new_group(backend=backend)
    store = distributed.distributed_c10d._get_default_store()
    return Ranks(distributed.get_rank(), distributed.get_world_size(), group, store)


def _close() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
