"""Modules without values: their shapes, for neither memory nor draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode

IN_PLACE = frozenset({"bernoulli_", "kaiming_uniform_", "normal_", "uniform_"})
"""Functions that fill a tensor with draws, by name."""

NEW = frozenset({"rand", "randn"})
"""Functions that return a tensor of draws."""


class _Undrawn(TorchFunctionMode):
    """Leaves draws out, and counts the calls of torch.

    On the device "meta" torch draws by way of its compiler, whose import takes seconds, makes a
    folder and sets an environment variable.
    """

    def __init__(self, most: float) -> None:
        super().__init__()
        self.left = most

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.left -= 1
        # Not within the exit of ``no_grad``: gradients would stay off.
        if self.left < 0 and function is not torch._C._set_grad_enabled:
            raise ValueError("the network has more parts than there are arrays for")
        name = getattr(function, "__name__", "")
        if name in IN_PLACE:
            return args[0] if args else kwargs["tensor"]
        function = torch.empty if name in NEW else function
        return function(*args, **(kwargs or {}))


@contextmanager
def without_values(most: float = math.inf) -> Iterator[None]:
    """Build modules of this package without values within the block: on the device "meta".

    Nothing is allocated and nothing is drawn, so that building costs what its steps in Python
    cost. Modules of others may look at values when they are built, and are not for this.

    Parameters
    ----------
    most : float, default=inf
        Number of calls of torch.

    Raises
    ------
    ValueError
        After more calls than that.
    """
    with torch.device("meta"), _Undrawn(most):
        yield
