"""Tasks in threads whose models are trained together.

Each task runs in a thread of its own until it reaches the training of a model that can be trained
together with others. There it waits. When every task that can run waits, the thread that began
the tasks trains all models, those of equal shapes as one group, and each task goes on with its
result. It is this thread because it has the threads of OpenMP: with those of a second one there
would be more threads than processors, and the runtime would put them to sleep after each product.

At any time only as many tasks run as there are processors; those that wait do not count. Which
models are trained together depends on the tasks, not on the time that they take.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from operator import attrgetter
from typing import Any

from sklearn import config_context, get_config

from sklearn_ae._training.group import train_groups
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.ranks import train_alone
from sklearn_ae._training.resources import limit_resources, limited_to
from sklearn_ae._training.training import Cancelled, Training

N_PROCESSORS = os.cpu_count() or 1

LONGEST_WAIT = 0.1
"""Seconds after which a waiting thread can be interrupted on any platform."""

WAITING_BYTES = 2**30
"""Size of the samples of waiting models from which on no further task begins."""

_local = threading.local()


class Task:
    """A function to be called in a thread.

    Parameters
    ----------
    function : callable
    parent : Task or None
        The task that submitted this one.
    place : tuple of int
        Place of the task among all; that of a nested task begins with that of its parent.
    """

    def __init__(
        self, function: Callable[[], Any], parent: Task | None, place: tuple[int, ...]
    ) -> None:
        self.function = function
        self.parent = parent
        self.place = place
        self.future: Future[Any] = Future()
        self.n_submitted = self.n_unfinished = 0  # tasks of which this is the parent
        self.is_suspended = False


def _configured(config: dict[str, Any], function: Callable[[], Any]) -> Any:
    """Call a function under the configuration of scikit-learn of another thread."""
    with config_context(**config):
        return function()


class Request:
    """A model that waits to be trained.

    Attributes
    ----------
    training : Training
    place : tuple of int
        Place of its task.
    done : bool
    error : BaseException or None
        What its training raised.
    """

    def __init__(self, training: Training, place: tuple[int, ...]) -> None:
        self.training = training
        self.place = place
        self.done = False
        self.error: BaseException | None = None


class Gathering:
    """Tasks that run in threads and train their models together.

    The thread that creates this object must call :meth:`lead`, or nothing is trained.

    Parameters
    ----------
    n_tasks : int
        Maximum number of tasks that have begun and are not complete, without those that wait for
        tasks of their own.
    """

    def __init__(self, n_tasks: int) -> None:
        self.n_tasks = n_tasks
        self._changed = threading.Condition()
        self._queue: deque[Task] = deque()
        self._threads: list[threading.Thread] = []
        self._requests: list[Request] = []
        self.n_submitted = 0
        # Tasks that are not complete; that have begun; of these, that run, and may run again.
        self._n_incomplete = self._n_begun = self._n_running = self._n_ready = 0
        self._n_dispatching = 0
        self._is_cancelled = False
        self._process = os.getpid()

    @classmethod
    def current(cls) -> Gathering | None:
        """Return the gathering to which the task of this thread belongs, if any.

        None in a process that a task has forked: there nobody leads.
        """
        gathering: Gathering | None = getattr(_local, "gathering", None)
        return gathering if gathering is not None and gathering._process == os.getpid() else None

    @classmethod
    def of_tasks(cls, n_tasks: int) -> Gathering:
        """Return the gathering of this thread, or a new one."""
        return cls.current() or cls(n_tasks)

    # Called by those who submit tasks.

    def begin_dispatch(self) -> None:
        """Announce tasks: no model is trained before :meth:`end_dispatch`."""
        with self._changed:
            self._n_dispatching += 1

    def end_dispatch(self) -> None:
        """End what :meth:`begin_dispatch` began."""
        with self._changed:
            self._n_dispatching -= 1
            self._changed.notify_all()

    def submit(
        self, function: Callable[[], Any], callback: Callable[[Future[Any]], Any] | None = None
    ) -> Future[Any]:
        """Call a function in a thread as soon as the number of tasks permits it.

        Parameters
        ----------
        function : callable
        callback : callable or None, default=None
            Called with the future in the task's thread when it is complete, and before the next
            task begins. It may submit further tasks.
        """
        # A callback of a task submits for the parent of the task.
        parent = _own_task()
        if parent is not None and parent.future.done():
            parent = parent.parent
        with self._changed:
            owner = parent or self
            place = (() if parent is None else parent.place) + (owner.n_submitted,)
            owner.n_submitted += 1
            task = Task(function, parent, place)
            if parent is not None:
                parent.n_unfinished += 1
            if callback is not None:
                task.future.add_done_callback(callback)
            self._queue.append(task)
            self._n_incomplete += 1
            self._begin_tasks()
        return task.future

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Within the block, the task of this thread, if any, waits for those it submitted."""
        task = _own_task()
        if task is None:
            yield
            return
        with self._changed:
            task.is_suspended = True
            self._n_begun -= 1
            self._n_running -= 1
            if not task.n_unfinished:
                self._n_ready += 1
            self._begin_tasks()
        try:
            yield
        finally:
            with self._changed:
                task.is_suspended = False
                self._n_begun += 1
                if task.n_unfinished:  # an error ended the block
                    self._n_ready += 1
                self._run_again()

    @isolated
    @limit_resources
    def lead(self) -> None:
        """Train the models of the tasks until all tasks are complete, or one failed.

        Nothing is done in the thread of a task, whose own tasks are led by the same thread.
        """
        if Gathering.current() is not None:
            return
        with self._changed:
            while self._n_incomplete and not self._is_cancelled:
                if self._is_complete():
                    self._train_all()
                else:
                    self._changed.wait(LONGEST_WAIT)

    def cancel(self) -> None:
        """End all tasks as soon as possible. Those that run arbitrary code end after it."""
        with self._changed:
            self._is_cancelled = True
            waiting, self._queue = self._queue, deque()
            self._n_incomplete -= len(waiting)
            self._changed.notify_all()
        for task in waiting:  # without the lock: a callback may wait for another thread
            task.future.cancel()

    def join(self) -> None:
        """Wait until all threads have ended."""
        while True:
            with self._changed:
                threads, self._threads = self._threads, []
            if not threads:
                return
            for thread in threads:
                thread.join()

    def map(self, functions: Sequence[Callable[[], Any]]) -> list[Any]:
        """Call functions in threads, and return their results.

        Raises
        ------
        BaseException
            The error of the first function that raises one, after all have ended.
        """
        config, contexts = get_config(), [copy_context() for _ in functions]
        self.begin_dispatch()
        try:
            futures = [
                self.submit(partial(context.run, _configured, config, function))
                for context, function in zip(contexts, functions, strict=True)
            ]
        finally:
            self.end_dispatch()
        try:
            self.lead()
            with self.suspended():
                wait(futures)
        except BaseException:  # an interrupt
            if Gathering.current() is None:
                self.cancel()
            raise
        finally:
            if Gathering.current() is None:
                self.join()
        return [future.result() for future in futures]

    # Called by tasks.

    def is_cancelled(self) -> bool:
        """Whether nobody waits for results."""
        return self._is_cancelled

    def train(self, training: Training) -> None:
        """Wait until the model of this thread's task is trained, together with others."""
        request = Request(training, _local.task.place)
        with self._changed:
            self._requests.append(request)
            self._n_running -= 1
            self._begin_tasks()
            while not request.done:
                if self._is_cancelled and request in self._requests:
                    self._requests.remove(request)
                    self._finish(request, Cancelled())
                else:
                    self._changed.wait()
            self._run_again()
        if request.error is not None:
            raise request.error

    # All methods below but the last are called with the lock held.

    def _begin_tasks(self) -> None:
        """Begin as many tasks as may run."""
        while self._may_begin() and self._may_run():
            thread = threading.Thread(target=self._run, args=(self._queue.popleft(),), daemon=True)
            thread.start()  # if it fails, nothing is counted
            self._n_begun += 1
            self._n_running += 1
            self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        self._changed.notify_all()

    def _may_begin(self) -> bool:
        """Whether the next task may begin as soon as another one stops running."""
        n_bytes = sum(request.training.n_bytes for request in self._requests)
        return bool(self._queue) and self._n_begun < self.n_tasks and n_bytes < WAITING_BYTES

    def _may_run(self) -> bool:
        """Whether another task may run."""
        return self._n_running < N_PROCESSORS

    def _run_again(self) -> None:
        """Wait until the task of this thread may run again."""
        while not self._may_run():
            self._changed.wait()
        self._n_ready -= 1
        self._n_running += 1

    def _is_complete(self) -> bool:
        """Whether no task can go on before models are trained."""
        if not self._requests or self._n_running or self._n_ready or self._may_begin():
            return False
        return not self._n_dispatching or self._n_begun >= self.n_tasks

    def _train_all(self) -> None:
        """Train all models that wait."""
        requests, self._requests = sorted(self._requests, key=attrgetter("place")), []
        by_training = {id(request.training): request for request in requests}

        def finish(training: Training, error: BaseException | None) -> None:
            with self._changed:
                self._finish(by_training.pop(id(training)), error)

        self._changed.release()
        try:
            trainings = [request.training for request in requests]
            train_groups(trainings, finish, self.is_cancelled)
        finally:  # also after an interrupt: nobody waits for ever
            self._changed.acquire()
            for request in by_training.values():
                self._finish(request, Cancelled())

    def _finish(self, request: Request, error: BaseException | None) -> None:
        """Let a task go on whose model is trained."""
        request.error, request.done = error, True
        self._n_ready += 1
        self._changed.notify_all()

    def _end(self, task: Task) -> None:
        """Note that a task is complete."""
        self._n_incomplete -= 1
        self._n_begun -= 1
        self._n_running -= 1
        parent = task.parent
        if parent is not None:
            parent.n_unfinished -= 1
            if parent.is_suspended and not parent.n_unfinished:
                self._n_ready += 1
        self._begin_tasks()

    def _run(self, task: Task) -> None:
        """Run a task: the function of its thread."""
        _local.gathering, _local.task = self, task
        train_alone()
        try:
            if task.future.set_running_or_notify_cancel():
                try:
                    with limited_to(1):
                        result = task.function()
                except BaseException as error:
                    task.future.set_exception(error)
                else:
                    task.future.set_result(result)
        finally:
            with self._changed:
                self._end(task)


def _own_task() -> Task | None:
    """Return the task of this thread, if any."""
    return None if Gathering.current() is None else _local.task
