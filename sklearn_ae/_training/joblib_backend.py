"""The backend of joblib that trains the models of parallel tasks together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from joblib.parallel import ThreadingBackend

MOST_TASKS = 256
"""Default number of tasks that are begun at a time."""


class GatheringBackend(ThreadingBackend):
    """Threads whose autoencoders are trained together; see :mod:`~.gathering`.

    ``n_jobs`` is the number of tasks that are begun at a time. By default, and if it is negative,
    it is large, so that as many models as there are can be trained together.
    """

    default_n_jobs = MOST_TASKS
    supports_timeout = False  # the caller trains models instead of looking at the clock
    _gathering: Any = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the number of tasks that are begun at a time."""
        if n_jobs is None or n_jobs < 0:
            return self.default_n_jobs
        number: int = super().effective_n_jobs(n_jobs)
        return number

    def get_nested_backend(self) -> tuple[GatheringBackend, int | None]:
        """Return the backend of the tasks: what they parallelise is trained together as well."""
        return type(self)(nesting_level=(self.nesting_level or 0) + 1), None

    def start_call(self) -> None:
        """Begin a call of ``Parallel``."""
        # Imported when used: it imports skorch, which doubles the time of an import.
        from sklearn_ae._training.gathering import Gathering

        self._is_nested = Gathering.current() is not None
        self._gathering = Gathering.of_tasks(self._n_jobs)
        self._is_dispatching = True
        self._gathering.begin_dispatch()

    def stop_call(self) -> None:
        """End a call of ``Parallel``."""
        self._end_dispatch()

    def _end_dispatch(self) -> None:
        if self._is_dispatching:
            self._is_dispatching = False
            self._gathering.end_dispatch()

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Future[Any]], Any] | None = None
    ) -> Future[Any]:
        """Call a function in a thread."""
        future: Future[Any] = self._gathering.submit(func, callback)
        return future

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return the result of a task, or raise its error."""
        error = out.exception()
        if error is not None and not self._is_nested:
            self._gathering.cancel()  # joblib aborts, too
            raise error
        return out.result()

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Within the block all tasks are submitted, or are when others end."""
        self._end_dispatch()
        self._gathering.lead()
        with self._gathering.suspended():
            yield

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End all tasks, unless tasks of others are among them."""
        if self._is_nested:
            return
        self._gathering.cancel()
        self._gathering.join()

    def terminate(self) -> None:
        """Wait for the threads."""
        if self._gathering is not None and not self._is_nested:
            self._gathering.join()
