"""What torch is set to in a thread: its defaults in our methods, and the caller's after them.

``no_grad``, ``inference_mode``, ``autocast``, the default type and the default device reach into
every function that is called within them, and each would change what a fit computes. Gradients,
autocast and the default device are states of the thread, which are set and put back. The default
type is one of the whole process, where other threads would see the change: it stays, and the
functions that go by it are given the usual one instead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch.overrides import (
    TorchFunctionMode,
    _get_current_function_mode_stack,
    _pop_mode,
    _push_mode,
)
from torch.utils._device import DeviceContext

Function = TypeVar("Function", bound=Callable[..., Any])

DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu")
"""Kinds of device that have an autocast of their own."""

FLOATING = {
    torch.empty,
    torch.empty_permuted,
    torch.empty_strided,
    torch.ones,
    torch.zeros,
    torch.eye,
    torch.rand,
    torch.randn,
    torch.linspace,
    torch.logspace,
    torch.bartlett_window,
    torch.blackman_window,
    torch.hamming_window,
    torch.hann_window,
    torch.kaiser_window,
    torch.fft.fftfreq,
    torch.fft.rfftfreq,
}
"""Functions whose result is of the default type unless they are told another."""

FOLLOWING = {
    torch.arange,
    torch.as_tensor,
    torch.asarray,
    torch.full,
    torch.range,
    torch.scalar_tensor,
    torch.tensor,
}
"""Functions whose result is of the default type where they are given numbers of Python."""


class Autocast(NamedTuple):
    """The state of autocast in a thread.

    Attributes
    ----------
    enabled : tuple of bool
        For each of `DEVICE_TYPES`.
    dtypes : tuple of torch.dtype
        For each of `DEVICE_TYPES`.
    caching : bool
    nesting : int
        Number of blocks that are open. What was cast is forgotten when the last one closes, so a
        block that is not the last would go on with weights from before the last step.
    """

    enabled: tuple[bool, ...] = (False,) * len(DEVICE_TYPES)
    dtypes: tuple[torch.dtype, ...] = ()
    caching: bool = True
    nesting: int = 0

    @classmethod
    def now(cls) -> Autocast:
        """Return what it is."""
        try:
            nesting = torch.autocast_increment_nesting() - 1
        finally:
            torch.autocast_decrement_nesting()
        return cls(
            tuple(map(torch.is_autocast_enabled, DEVICE_TYPES)),
            tuple(map(torch.get_autocast_dtype, DEVICE_TYPES)),
            torch.is_autocast_cache_enabled(),
            nesting,
        )

    def set(self) -> None:
        """Make it so."""
        for device_type, is_enabled in zip(DEVICE_TYPES, self.enabled, strict=True):
            torch.set_autocast_enabled(device_type, is_enabled)
        for device_type, dtype in zip(DEVICE_TYPES, self.dtypes, strict=False):
            torch.set_autocast_dtype(device_type, dtype)
        torch.set_autocast_cache_enabled(self.caching)
        nesting = Autocast.now().nesting
        while nesting != self.nesting:
            up = nesting < self.nesting
            nesting = (
                torch.autocast_increment_nesting() if up else torch.autocast_decrement_nesting()
            )
        if not nesting:
            torch.clear_autocast_cache()


class UsualTypes(TorchFunctionMode):
    """Within the block, this thread's functions of torch take float32 as the default type."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Name the type where none is named and the default one would be taken."""
        kwargs = kwargs or {}
        if kwargs.get("dtype") is None and _goes_by_default(func, args, kwargs):
            kwargs = {**kwargs, "dtype": torch.float32}
        return func(*args, **kwargs)


def _goes_by_default(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    if func in FLOATING:
        return True
    return func in FOLLOWING and any(map(_is_floating, [*args, *kwargs.values()]))


def _is_floating(value: Any) -> bool:
    """Whether this is a floating-point number of Python, or lists of numbers with one."""
    if isinstance(value, (list, tuple)):
        return any(map(_is_floating, value)) and not any(hasattr(each, "dtype") for each in value)
    return isinstance(value, float) and not hasattr(value, "dtype")


class Surroundings(NamedTuple):
    """What a caller has set for the thread.

    Attributes
    ----------
    gradients : bool
    autocast : Autocast
    modes : list of TorchFunctionMode
        The default device, and whatever else watches calls of torch's functions.
    inference : inference_mode or None
        What leads out of the inference mode, if the caller is in it.
    """

    gradients: bool
    autocast: Autocast
    modes: list[Any]
    inference: torch.inference_mode | None

    @classmethod
    def now(cls) -> Surroundings:
        """Return what is set."""
        is_inference = torch.is_inference_mode_enabled()
        return cls(
            torch.is_grad_enabled(),
            Autocast.now(),
            _get_current_function_mode_stack(),
            torch.inference_mode(False) if is_inference else None,
        )

    def leave(self) -> None:
        """Set torch's defaults."""
        if self.inference is not None:
            self.inference.__enter__()
        if not self.gradients:
            torch._C._set_grad_enabled(True)
        if self.autocast.nesting or any(self.autocast.enabled):
            Autocast(dtypes=self.autocast.dtypes).set()
        modes = [mode for mode in self.modes if not isinstance(mode, DeviceContext)]
        if torch.get_default_dtype() != torch.float32:
            modes.insert(0, UsualTypes())
        if modes != self.modes:
            _set_modes(modes)

    def put_back(self) -> None:
        """Set what was set before; to be called again where it was interrupted."""
        if _get_current_function_mode_stack() != self.modes:
            _set_modes(self.modes)
        if Autocast.now() != self.autocast:
            self.autocast.set()
        if self.inference is not None and not torch.is_inference_mode_enabled():
            self.inference.__exit__(None, None, None)
        torch._C._set_grad_enabled(self.gradients)


def _set_modes(modes: list[Any]) -> None:
    while _get_current_function_mode_stack():
        _pop_mode()
    for mode in modes:
        _push_mode(mode)


def isolated(function: Function) -> Function:
    """Decorate what a user calls: it runs under torch's defaults, and leaves what it found.

    The latter also where an interrupt hits the entry or the exit of a block such as that of
    ``no_grad``, which is written in Python and would leave gradients off.
    """

    @functools.wraps(function)
    def isolated_function(*args: Any, **kwargs: Any) -> Any:
        before = Surroundings.now()
        try:
            before.leave()
            return function(*args, **kwargs)
        except RuntimeError as error:
            # An interrupt while torch has a mode off its stack: leaving the mode then fails.
            if "mode stack" in str(error) and isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise
        finally:
            try:
                before.put_back()
            except BaseException:
                before.put_back()
                raise

    return isolated_function  # type: ignore[return-value]
