"""Modules without values: their shapes, without memory or random draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

IN_PLACE_DRAWS = frozenset({"bernoulli_", "kaiming_uniform_", "normal_", "uniform_"})
"""Names of the functions that fill a tensor with random numbers."""

NEW_DRAWS = frozenset({"rand", "randn"})
"""Names of the functions that return a tensor of random numbers."""


class _WithoutDraws(TorchFunctionMode):
    """Omits random draws, and limits the number of calls of torch.

    On the device "meta", torch draws by means of its compiler, whose import takes seconds, creates
    a folder and sets an environment variable.
    """

    def __init__(self, most: float) -> None:
        super().__init__()
        self.n_left = most

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.n_left -= 1
        # An error at the exit of ``no_grad`` would leave gradients disabled.
        if self.n_left < 0 and function is not torch._C._set_grad_enabled:
            raise ValueError("the network has more parts than there are arrays for")
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name in IN_PLACE_DRAWS:
            return args[0] if args else kwargs["tensor"]
        function = torch.empty if name in NEW_DRAWS else function
        return function(*args, **kwargs)


@contextmanager
def without_values(most: float = math.inf) -> Iterator[None]:
    """Create modules of this package without values within the block, on the device "meta".

    No memory is allocated and no random numbers are drawn, so that the cost is that of the Python
    code alone. Modules from other packages may read values in their constructor, and must not be
    created here.

    Parameters
    ----------
    most : float, default=inf
        Maximum number of calls of torch.

    Raises
    ------
    ValueError
        If there are more calls.
    """
    with torch.device("meta"), _WithoutDraws(most):
        yield
