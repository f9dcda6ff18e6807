"""Isolation of public methods from the caller's settings of torch.

``no_grad``, ``inference_mode``, ``autocast``, the default dtype and the default device apply to
every function that is called within their blocks, and each would change the results of a fit.
Gradients, autocast and the default device are settings of the thread: they are set to torch's
defaults and restored afterwards. The default dtype is a setting of the process, and a change would
affect other threads: it is not changed, and functions that depend on it receive float32 instead.
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
"""Types of devices that have an autocast state."""

DEFAULT_DTYPE_FUNCTIONS = {
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
"""Functions that return the default dtype unless a dtype is passed."""

INFERRED_DTYPE_FUNCTIONS = {
    torch.arange,
    torch.as_tensor,
    torch.asarray,
    torch.full,
    torch.range,
    torch.scalar_tensor,
    torch.tensor,
}
"""Functions that return the default dtype for floating-point numbers of Python."""


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
        Number of open blocks. The cache of weights in bfloat16 is cleared when the outermost block
        closes: training in an inner block would use weights from before the last step.
    """

    enabled: tuple[bool, ...] = (False,) * len(DEVICE_TYPES)
    dtypes: tuple[torch.dtype, ...] = ()
    caching: bool = True
    nesting: int = 0

    @classmethod
    def current(cls) -> Autocast:
        """Return the current state."""
        # torch has no function that reads the nesting, so it is incremented and decremented, by
        # `finally` also if an interrupt arrives in between.
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
        """Make this the state of autocast."""
        for device_type, is_enabled in zip(DEVICE_TYPES, self.enabled, strict=True):
            torch.set_autocast_enabled(device_type, is_enabled)
        for device_type, dtype in zip(DEVICE_TYPES, self.dtypes, strict=False):
            torch.set_autocast_dtype(device_type, dtype)
        torch.set_autocast_cache_enabled(self.caching)
        nesting = Autocast.current().nesting
        while nesting != self.nesting:
            is_lower = nesting < self.nesting
            step = (
                torch.autocast_increment_nesting if is_lower else torch.autocast_decrement_nesting
            )
            nesting = step()
        if not nesting:
            torch.clear_autocast_cache()


class Float32Default(TorchFunctionMode):
    """Context manager: torch functions that this thread calls use float32 as the default dtype."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Pass float32 to functions that would return the default dtype."""
        kwargs = kwargs or {}
        if kwargs.get("dtype") is None and _returns_default_dtype(func, args, kwargs):
            kwargs = {**kwargs, "dtype": torch.float32}
        return func(*args, **kwargs)


def _returns_default_dtype(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a call without a dtype returns a tensor of the default dtype."""
    if func in DEFAULT_DTYPE_FUNCTIONS:
        return True
    inferred = func in INFERRED_DTYPE_FUNCTIONS
    return inferred and any(map(_is_python_float, [*args, *kwargs.values()]))


def _is_python_float(value: Any) -> bool:
    """Whether this is a floating-point number of Python, or a nested list with one."""
    if isinstance(value, (list, tuple)):
        has_float = any(map(_is_python_float, value))
        return has_float and not any(hasattr(each, "dtype") for each in value)
    # np.float64 is a subclass of float, but torch infers float64 from it.
    return isinstance(value, float) and not hasattr(value, "dtype")


class ThreadSettings(NamedTuple):
    """The settings of torch in a thread.

    Attributes
    ----------
    gradients : bool
    autocast : Autocast
    modes : list of TorchFunctionMode
        The default device and other modes that intercept calls of torch functions.
    inference : inference_mode or None
        Context manager that leaves the inference mode, if the thread is in it.
    """

    gradients: bool
    autocast: Autocast
    modes: list[Any]
    inference: torch.inference_mode | None

    @classmethod
    def current(cls) -> ThreadSettings:
        """Return the current settings."""
        is_inference = torch.is_inference_mode_enabled()
        return cls(
            torch.is_grad_enabled(),
            Autocast.current(),
            _get_modes(),
            torch.inference_mode(False) if is_inference else None,
        )

    def set_defaults(self) -> None:
        """Set torch's defaults in place of these settings."""
        if self.inference is not None:
            self.inference.__enter__()
        if not self.gradients:
            # Not `torch.enable_grad`: it is written in Python, and an interrupt could hit it.
            torch._C._set_grad_enabled(True)
        if self.autocast.nesting or any(self.autocast.enabled):
            Autocast(dtypes=self.autocast.dtypes).set()
        modes = [mode for mode in self.modes if not isinstance(mode, DeviceContext)]
        if torch.get_default_dtype() != torch.float32:
            modes.insert(0, Float32Default())
        if modes != self.modes:
            _set_modes(modes)

    def restore(self) -> None:
        """Make these the settings of the thread. If it was interrupted, call it again."""
        if _get_modes() != self.modes:
            _set_modes(self.modes)
        if Autocast.current() != self.autocast:
            self.autocast.set()
        if self.inference is not None and not torch.is_inference_mode_enabled():
            self.inference.__exit__(None, None, None)
        torch._C._set_grad_enabled(self.gradients)


# The functions of torch below have no annotations.


def _get_modes() -> list[Any]:
    """Return the stack of modes of this thread, the innermost last."""
    modes: list[Any] = _get_current_function_mode_stack()
    return modes


def _set_modes(modes: list[Any]) -> None:
    """Replace the stack of modes of this thread."""
    while _get_modes():
        _pop_mode()
    for mode in modes:
        _push_mode(mode)


def isolated(function: Function) -> Function:
    """Decorate a public method: run it under torch's defaults, then restore the settings.

    They are restored even if an interrupt hits the entry or the exit of a block such as that of
    ``no_grad``, which is written in Python and would leave gradients disabled.
    """

    @functools.wraps(function)
    def isolated_function(*args: Any, **kwargs: Any) -> Any:
        before = ThreadSettings.current()
        try:
            before.set_defaults()
            return function(*args, **kwargs)
        except RuntimeError as error:
            # torch takes a mode off the stack while it calls the mode. After an interrupt there,
            # leaving the mode fails with this error; the interrupt is what the caller expects.
            if "mode stack" in str(error) and isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise
        finally:
            try:
                before.restore()
            except BaseException:  # an interrupt
                before.restore()
                raise

    return isolated_function  # type: ignore[return-value]  # functools.wraps keeps the signature
