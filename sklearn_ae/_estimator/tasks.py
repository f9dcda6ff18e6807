"""Tasks of a fit, which are reported to the callbacks set by scikit-learn's ``set_callbacks``.

A context is scikit-learn's ``CallbackContext``, or None if there are no such callbacks; then
nothing is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sklearn_ae._compat import open_context


class Task:
    """A task of a fit, such as the training of one layer.

    Attributes
    ----------
    context : sklearn.callback.CallbackContext or None
    stop : bool
        Whether a callback requested, at the end of the task, that no further tasks of this kind
        are begun.
    """

    def __init__(self, context: Any) -> None:
        self.context = context
        self.stop = False

    def listeners(
        self,
        estimator: Any,
        X: Any = None,
        y: Any = None,
        snapshot: Callable[[Any], dict[str, Any]] | None = None,
    ) -> list[Any]:
        """Return skorch callbacks that report each epoch of this task as a subtask.

        Parameters
        ----------
        estimator : estimator
            The estimator that is fitted.
        X, y : array-like or None
            Data of the fit, for callbacks that score.
        snapshot : callable or None
            Maps the module to the fitted attributes that the estimator would have if training
            stopped now. None: the estimator could not be used yet.
        """
        if self.context is None:
            return []
        # Imported when needed: it imports skorch, which doubles the time of an import.
        from sklearn_ae._training.callbacks import ScikitLearnCallbacks

        return [ScikitLearnCallbacks(estimator, self.context, X, y, snapshot)]


@contextmanager
def whole_fit(estimator: Any, n_tasks: int, X: Any, y: Any) -> Iterator[Any]:
    """Report the begin of a fit, yield its context, and report its end after the block."""
    context = open_context(estimator, n_tasks)
    if context is not None:
        context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
    yield context
    if context is not None:
        context.call_on_fit_task_end(estimator=estimator, X=X, y=y, reconstruction_attributes=dict)


@contextmanager
def task(
    context: Any, name: str, estimator: Any, *, n_epochs: int = 0, inner: Any = None
) -> Iterator[Task]:
    """Report the begin of a task, yield it, and report its end after the block.

    Parameters
    ----------
    context : CallbackContext or None
        Context of the whole fit.
    name : str
        Name of the task.
    estimator : estimator
        The estimator that is fitted.
    n_epochs : int, default=0
        Maximum number of epochs of the task.
    inner : estimator or None, default=None
        Another estimator that is fitted in the block. Its tasks become subtasks, for callbacks
        that scikit-learn propagates.
    """
    if context is None:
        yield Task(None)
        return
    own = Task(context.subcontext(task_name=name, max_subtasks=n_epochs))
    if inner is None or not hasattr(inner, "set_callbacks"):
        own.context.call_on_fit_task_begin(estimator=estimator)
        yield own
        own.stop = own.context.call_on_fit_task_end(estimator=estimator)
        return
    with own.context.propagate_callback_context(inner):
        own.context.call_on_fit_task_begin(estimator=estimator)
        yield own
        own.stop = own.context.call_on_fit_task_end(estimator=estimator)


class Tasks:
    """Successive tasks of one name, in each of which another estimator is fitted.

    Parameters
    ----------
    context : CallbackContext or None
        Context of the whole fit.
    name : str
        Name of the tasks.
    estimator : estimator
        The estimator whose fit consists of the tasks.

    Attributes
    ----------
    stop : bool
        Whether a callback requested that no further tasks are begun.
    """

    def __init__(self, context: Any, name: str, estimator: Any) -> None:
        self.context = context
        self.name = name
        self.estimator = estimator
        self.stop = False

    @contextmanager
    def around(self, inner: Any) -> Iterator[None]:
        """Report the task in which an estimator is fitted in the block."""
        with task(self.context, self.name, self.estimator, inner=inner) as own:
            yield
        self.stop |= own.stop


def running(estimator: Any) -> Any:
    """Return the context of the present fit of an estimator, None if it has no callbacks."""
    if not getattr(estimator, "_skl_callbacks", None):
        return None
    return getattr(estimator, "_callback_fit_ctx", None)
