"""Tasks of a fit, of which the callbacks that scikit-learn has set hear.

A context is None where there are no such callbacks; nothing happens then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sklearn_ae._compat import open_context


class Task:
    """A part of a fit.

    Attributes
    ----------
    context : sklearn.callback.CallbackContext or None
    stop : bool
        Whether a callback has asked, at the end of the task, for no further ones of its kind.
    """

    def __init__(self, context: Any) -> None:
        self.context = context
        self.stop = False

    def listeners(
        self, estimator: Any, X: Any = None, y: Any = None, snapshot: Callable | None = None
    ) -> list[Any]:
        """Return the skorch callbacks that make a task of each epoch of this one.

        Parameters
        ----------
        estimator : estimator
            Whose task it is.
        X, y : array-like or None
            Data of the fit, for callbacks that score.
        snapshot : callable or None
            ``module`` to the fitted attributes of an estimator that stopped now. None: it could
            not be used yet.
        """
        if self.context is None:
            return []
        from sklearn_ae._training.callbacks import ScikitLearnCallbacks

        return [ScikitLearnCallbacks(estimator, self.context, X, y, snapshot)]


@contextmanager
def whole_fit(estimator: Any, n_tasks: int, X: Any, y: Any) -> Iterator[Any]:
    """Begin a fit, give its context, and end it once the fitted attributes are set."""
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
    """Begin a task of a fit, and end it.

    Parameters
    ----------
    context : CallbackContext or None
        Of the whole fit.
    name : str
    estimator : estimator
        Whose fit it is.
    n_epochs : int
        How many epochs it has, at most.
    inner : estimator or None
        Another estimator, which is fitted within: its tasks are those of this one, for callbacks
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
    """Tasks of one name, one after another, in each of which another estimator is fitted.

    Attributes
    ----------
    stop : bool
        Whether a callback has asked for no further ones.
    """

    def __init__(self, context: Any, name: str, estimator: Any) -> None:
        self.context = context
        self.name = name
        self.estimator = estimator
        self.stop = False

    @contextmanager
    def around(self, inner: Any) -> Iterator[None]:
        """Begin and end the task in which an estimator is fitted."""
        with task(self.context, self.name, self.estimator, inner=inner) as own:
            yield
        self.stop |= own.stop


def running(estimator: Any) -> Any:
    """Return the context of the fit that an estimator is in, None where nobody listens."""
    if not getattr(estimator, "_skl_callbacks", None):
        return None
    return getattr(estimator, "_callback_fit_ctx", None)
