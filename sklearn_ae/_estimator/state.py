"""State of an estimator: restored after errors, set after training, pickled without torch."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from sklearn.exceptions import ConvergenceWarning

from sklearn_ae._estimator.inputs import array_from_state, array_to_state
from sklearn_ae._estimator.modules import module_from_state, module_to_state
from sklearn_ae._training.device import present_device
from sklearn_ae._training.resources import limit_if_forked
from sklearn_ae.networks._module import AutoencoderModule

_TARGET: ContextVar[str | None] = ContextVar("target", default=None)

Method = TypeVar("Method", bound=Callable[..., Any])

Build = Callable[[dict[str, Any]], AutoencoderModule]
"""Function that builds a module from the result of :func:`module_to_state`."""

_BUILD: ContextVar[Build] = ContextVar("build", default=module_from_state)


@contextmanager
def map_location(device: str | None) -> Iterator[None]:
    """Restore estimators on a device within the block. None: on their own device."""
    token = _TARGET.set(device)
    try:
        yield
    finally:
        _TARGET.reset(token)


@contextmanager
def building_with(build: Build) -> Iterator[None]:
    """Build modules with a function within the block, for files that are not trusted."""
    token = _BUILD.set(build)
    try:
        yield
    finally:
        _BUILD.reset(token)


def unchanged_on_error(method: Method) -> Method:
    """Restore the attributes of the estimator if ``method`` raises an error."""

    @functools.wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(vars(self))
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            self.__dict__ = before  # in one step: an interrupt cannot leave it empty
            raise

    return cast(Method, guarded)


def set_history(
    estimator: Any,
    history: list[dict[str, float]],
    best_epoch: int,
    earlier: Sequence[dict[str, float]] = (),
) -> None:
    """Set the fitted attributes that describe the course of training.

    Parameters
    ----------
    estimator : estimator
    history : list of dict
        Entries for the epochs of this call, as returned by the training loop.
    best_epoch : int
        Epoch of this call whose weights were kept.
    earlier : sequence of dict
        Entries for the epochs of the calls that this one continues.
    """
    new = [{**entry, "epoch": entry["epoch"] + len(earlier)} for entry in history]
    estimator.history_ = [*earlier, *new]
    estimator.n_iter_ = len(new)
    estimator.loss_curve_ = [entry["train_loss"] for entry in estimator.history_]
    estimator.validation_scores_ = [
        entry["valid_score"] for entry in estimator.history_ if "valid_score" in entry
    ] or None
    estimator.best_epoch_ = best_epoch


def warn_if_cut_short(estimator: Any, trained: Any) -> None:
    """Warn if training at a constant learning rate was still improving at `max_iter`."""
    if not trained.cut_short:
        return
    warnings.warn(
        f"{type(estimator).__name__}: max_iter={estimator.max_iter} was reached, but the loss has "
        f"fallen by more than tol={estimator.tol} within the last n_iter_no_change="
        f"{estimator.n_iter_no_change} epochs. Increase max_iter.",
        ConvergenceWarning,
        stacklevel=2,
    )


def array_attributes(estimator: Any) -> list[str]:
    """Return the names of the fitted attributes that are arrays of the data's library."""
    return [
        name
        for name, value in vars(estimator).items()
        if type(value) is type(estimator._kind) and name != "feature_names_in_"
    ]


def convert_arrays(estimator: Any, converter: Callable[[Any], Any]) -> None:
    """Convert the fitted attributes that are arrays to another array library or device."""
    for name in array_attributes(estimator):
        setattr(estimator, name, converter(getattr(estimator, name)))


def to_plain_state(estimator: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Replace the torch objects in an estimator's state by plain values and NumPy arrays."""
    state = dict(state)
    if "module_" in state:
        state["module_"] = module_to_state(state["module_"])
        for name in array_attributes(estimator):
            state[name] = array_to_state(state[name])
    return state


def from_plain_state(state: dict[str, Any]) -> dict[str, Any]:
    """Undo :func:`to_plain_state`, on the device of :func:`map_location`."""
    limit_if_forked()  # unpickling may be the first thing that a worker process does with torch
    state = dict(state)
    if "module_" in state:
        device = present_device(_TARGET.get() or state["device_"])
        state["module_"] = _BUILD.get()(state["module_"]).to(device)
        state["device_"] = str(state["module_"].center.device)  # the CPU if it is not present
        state |= {n: array_from_state(v, _TARGET.get()) for n, v in state.items()}
    return state
