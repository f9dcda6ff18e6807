"""What callbacks of skorch ask of the training. Import it late: skorch is slow to import."""

from __future__ import annotations

from typing import Any

from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.callbacks.scoring import ScoringBase


def overrides_batches(callback: Any) -> bool:
    """Whether a callback is to be notified of every batch."""
    if isinstance(callback, LRScheduler):
        return bool(callback.step_every == "batch")
    hooks = ("on_batch_begin", "on_batch_end", "on_grad_computed")
    return any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in hooks)


def has_scheduler(callbacks: list[Any]) -> bool:
    """Whether an ``LRScheduler`` is among callbacks, or among pairs of a name and a callback."""
    plain = (each[1] if isinstance(each, tuple) else each for each in callbacks)
    return any(isinstance(callback, LRScheduler) for callback in plain)


def is_out_of_patience(callback: Any) -> bool:
    """Whether a callback is skorch's EarlyStopping and its patience is exhausted."""
    return isinstance(callback, EarlyStopping) and bool(callback.misses_ >= callback.patience)


def controls_training(callback: Any) -> bool:
    """Whether a callback of skorch changes the training by a state that no checkpoint holds."""
    return isinstance(callback, (LRScheduler, EarlyStopping))


def predicts_with_net(callback: Any) -> bool:
    """Whether a callback of skorch scores predictions of the net itself."""
    return isinstance(callback, ScoringBase)
