"""Where a fit runs and in which precision it multiplies."""

from __future__ import annotations

import sys
import warnings
from typing import NamedTuple

import torch

HELD_BYTES = 32 * 2**20
"""Copies of the data in main memory are at most this large."""

NARROW = 32
"""Widest layer, in units, up to which float64 data are trained on in float64."""

FEW_ROWS = 512
"""Number of rows up to which they are, whatever the width."""

WIDE = 256
"""Smaller side of the largest weight matrix from which bfloat16 products pay."""


def resolve_device(device: str | torch.device, X: object) -> torch.device:
    """Turn the parameter ``device`` into a device that exists.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` is the device of ``X`` where ``X`` is a tensor on an accelerator, else
        the first CUDA device if there is one, else the CPU.
    X : object
        The data of the fit.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If torch does not know the device or cannot reach it.
    """
    if isinstance(device, str) and device == "auto":
        if isinstance(X, torch.Tensor) and X.device.type != "cpu":
            return X.device
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        if resolved.type == "meta":
            raise RuntimeError("it holds no values")
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={str(device)!r} cannot be used here ({reason}); "
            f"choose 'auto' or one of {available_devices()}."
        ) from error
    return resolved


def present_device(device: str) -> torch.device:
    """Return a device where a model once was, or the CPU where that is not there.

    A kind of device that this installation of torch has no module for is not even looked for, as
    torch would import one of its name. As it is rarer than a missing GPU, there is a warning.
    """
    kind = str(device).partition(":")[0]
    if f"torch.{kind}" not in sys.modules:
        warnings.warn(
            f"the model was on the device {device!r}, which torch does not know here; it is on "
            f"the CPU now.",
            stacklevel=2,
        )
        return torch.device("cpu")
    try:
        return resolve_device(device, None)
    except ValueError:
        return torch.device("cpu")


def available_devices() -> list[str]:
    """Name the devices that are here."""
    available = ["cpu"]
    if torch.cuda.is_available():
        available += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        available.append("mps")
    return available


class Precision(NamedTuple):
    """Data types of a fit.

    Attributes
    ----------
    weights : torch.dtype
        Of weights, gradients, optimiser state and losses.
    products : torch.dtype
        Of the matrix products.
    """

    weights: torch.dtype
    products: torch.dtype


def resolve_precision(
    precision: str,
    data_is_double: bool,
    n_rows: int,
    inner_width: int,
    device: torch.device,
) -> Precision:
    """Choose the data types of a fit.

    Parameters
    ----------
    precision : {"auto", "float32", "float64", "bfloat16"}
    data_is_double : bool
        Whether the rows come in float64, as scikit-learn's usually do.
    n_rows : int
        Number of training rows.
    inner_width : int
        Smaller side of the largest weight matrix.
    device : torch.device

    Returns
    -------
    Precision
    """
    if precision == "bfloat16":
        return Precision(torch.float32, torch.bfloat16)
    if precision == "float64" and device.type == "mps":
        raise ValueError("precision='float64' is not known to the device 'mps'.")
    if precision != "auto":
        dtype = getattr(torch, precision)
        return Precision(dtype, dtype)
    cheap = inner_width <= NARROW or n_rows <= FEW_ROWS
    if data_is_double and cheap and device.type == "cpu":
        return Precision(torch.float64, torch.float64)
    if inner_width >= WIDE and _multiplies_bfloat16(device):
        return Precision(torch.float32, torch.bfloat16)
    return Precision(torch.float32, torch.float32)


def holding_limit(device: torch.device) -> int:
    """Size in bytes up to which data are prepared once and held on the device.

    On the CPU the data are there already, and a second copy should stay small. On an
    accelerator, rows that are not held must travel with every batch.
    """
    if device.type == "cuda":
        # What torch keeps for reuse is free as well, though not in the driver's eyes.
        reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (torch.cuda.mem_get_info(device)[0] + reusable) // 2
    return HELD_BYTES


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16 numbers."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False
