"""What heavy work may take of the machine: threads, and memory.

A process that is forked while torch has threads inherits a pool of threads that are not there,
and hangs at its first operation on two. A forked process therefore sets torch to one thread when
it first calls this package. Nothing is registered that would run in forks which never do.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from joblib.parallel import get_active_backend
from threadpoolctl import ThreadpoolController

Function = TypeVar("Function", bound=Callable[..., Any])

_process = os.getpid()

_SIGNS = (
    "Storage size calculation overflowed",
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "ALLOC_FAILED",
)


def heavy(function: Function) -> Function:
    """Decorate work on many rows: it takes its share of the threads, and tells of memory.

    Raises
    ------
    MemoryError
        From torch's own error, where memory runs out on any device.
    """

    @functools.wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        limit_if_forked()
        try:
            with share_of_threads():
                return function(*args, **kwargs)
        except RuntimeError as error:
            if not _ran_out(error):
                raise
            raise MemoryError(
                f"Memory ran out ({str(error).splitlines()[0]}). Lower batch_size in training, "
                f"give other methods fewer rows at a time, or take a smaller network."
            ) from error

    return bounded  # type: ignore[return-value]


def limit_if_forked() -> None:
    """Set torch to one thread in a process that was forked from the one that imported this module.

    Once in each process, so that a later ``torch.set_num_threads`` counts. To be called before the
    first work on tensors, wherever a caller may enter.
    """
    global _process
    if os.getpid() != _process:
        torch.set_num_threads(1)
        _process = os.getpid()


def _ran_out(error: RuntimeError) -> bool:
    """Whether torch lacked memory; for some devices the text alone tells."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(sign in str(error) for sign in _SIGNS)


def share_of_threads() -> AbstractContextManager:
    """Work on one thread in a thread of joblib's, which runs others beside this one.

    Processes of joblib's have had their share before: loky sets ``OMP_NUM_THREADS``. The limit is
    that of the calling thread and ends with the block; nothing global changes.
    """
    if threading.current_thread() is threading.main_thread():
        return nullcontext()
    if not get_active_backend()[0].nesting_level:
        return nullcontext()
    return _openmp().limit(limits=1)


@functools.cache
def _openmp() -> ThreadpoolController:
    """Return the handle of torch's threads."""
    return ThreadpoolController().select(user_api="openmp")
