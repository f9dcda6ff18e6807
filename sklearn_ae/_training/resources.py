"""Threads and memory of expensive methods.

A process that is forked after torch has started its threads inherits a thread pool without the
threads, and hangs at its first operation on two threads. A forked process therefore sets torch to
one thread when it first calls this package. No hook is registered with ``os.register_at_fork``: it
would run in every fork, also in those that never call this package.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from joblib import cpu_count
from joblib.parallel import get_active_backend
from threadpoolctl import ThreadpoolController

Function = TypeVar("Function", bound=Callable[..., Any])

_process = os.getpid()

_OUT_OF_MEMORY_TEXTS = (
    "Storage size calculation overflowed",
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "ALLOC_FAILED",
)
"""Parts of the error messages of torch's devices for lack of memory."""


def limit_resources(function: Function) -> Function:
    """Decorate an expensive function: limit its threads, convert its out-of-memory errors.

    Raises
    ------
    MemoryError
        In place of torch's own error if the memory of any device is exhausted.
    """

    @functools.wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        limit_if_forked()
        try:
            with _limited_threads():
                return function(*args, **kwargs)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            raise MemoryError(
                f"Memory ran out ({str(error).splitlines()[0]}). Lower batch_size in training, "
                f"pass fewer samples at a time to other methods, or choose a smaller network."
            ) from error

    return bounded  # type: ignore[return-value]  # functools.wraps keeps the signature


def limit_if_forked() -> None:
    """Set torch to one thread in a process forked from the one that imported this module.

    This is done once per process, so a later ``torch.set_num_threads`` has its effect. Call it
    before the first operation on tensors in every public method.
    """
    global _process
    if os.getpid() != _process:
        torch.set_num_threads(1)
        _process = os.getpid()


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch is due to a lack of memory."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    # Not every device raises this class: for the CPU only the message shows it.
    return any(text in str(error) for text in _OUT_OF_MEMORY_TEXTS)


def _limited_threads() -> AbstractContextManager[object]:
    """Limit torch to one thread in a worker thread of joblib, and to a share in one of Dask.

    Worker processes need no limit: joblib, Dask and Ray set ``OMP_NUM_THREADS`` for them. The
    limit applies to the calling thread and ends with the block; no global state changes.
    """
    if threading.current_thread() is threading.main_thread():
        return nullcontext()
    if get_active_backend()[0].nesting_level:
        return limited_to(1)
    n_tasks = _tasks_of_dask()
    if n_tasks < 2:
        return nullcontext()
    return limited_to(min(torch.get_num_threads(), max(1, cpu_count() // n_tasks)))


def _tasks_of_dask() -> int:
    """Return how many tasks a worker of Dask runs at a time, 0 if this is no thread of one."""
    get_worker = getattr(sys.modules.get("distributed"), "get_worker", None)
    if get_worker is None:
        return 0
    try:
        return int(get_worker().state.nthreads)
    except ValueError:
        return 0


def limited_to(n_threads: int) -> AbstractContextManager[object]:
    """Return a context manager: this thread uses so many threads of torch."""
    torch.get_num_threads()  # its first call in a thread sets the number, and would end the limit
    limits: AbstractContextManager[object] = _openmp().limit(limits=n_threads)
    return limits


@functools.cache
def _openmp() -> ThreadpoolController:
    """Return the controller of torch's thread pool."""
    return ThreadpoolController().select(user_api="openmp")
