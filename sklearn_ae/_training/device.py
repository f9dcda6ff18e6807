"""Device, dtypes and cache size of a fit."""

from __future__ import annotations

import os
import sys
import warnings
from typing import NamedTuple

import torch

CACHE_BYTES = 32 * 2**20
"""Largest size of a copy of the data in main memory."""

MAX_FLOAT64_WIDTH = 32
"""Largest width, in units, of a network that is trained in float64 on float64 data."""

MAX_FLOAT64_SAMPLES_ANY_WIDTH = 512
"""Largest number of float64 samples on which a network of any width is trained in float64."""

MIN_BFLOAT16_WIDTH = 256
"""Smallest width from which products are faster in bfloat16.

The width of a network is the largest of the smaller sides of its weight matrices.
"""

MIN_BFLOAT16_PRODUCTS = 500_000
"""Smallest number of multiplications per sample, by weights that are used several times for a
sample, from which products are faster in bfloat16."""


def resolve_device(device: str | torch.device, X: object) -> torch.device:
    """Return the device that the parameter ``device`` names, after testing that it is available.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` is the device of ``X`` if ``X`` is a tensor on an accelerator, else the first
        CUDA device if there is one, else the CPU.
    X : object
        The data of the fit.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If the name is invalid or torch cannot allocate memory on the device.
    """
    if isinstance(device, str) and device == "auto":
        if isinstance(X, torch.Tensor) and X.device.type != "cpu":
            return X.device
        if not torch.cuda.is_available():
            return torch.device("cpu")
        # torchrun starts as many processes on a machine as it has devices.
        local = os.environ.get("LOCAL_RANK") if "TORCHELASTIC_RUN_ID" in os.environ else None
        return torch.device("cuda" if local is None else f"cuda:{local}")
    try:
        resolved = _named_device(device)
        if resolved.type == "meta":
            raise RuntimeError("tensors on it have no values")
        torch.empty(0, device=resolved)  # torch checks the device at the first allocation only
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]  # the first sentence
        raise ValueError(
            f"device={str(device)!r} cannot be used here ({reason}); "
            f"choose 'auto' or one of {available_devices()}."
        ) from error
    return resolved


def _named_device(device: str | torch.device) -> torch.device:
    """Return the device of a name; the error of torch lists all types that are in its code."""
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise RuntimeError("it is no name of a device, such as 'cuda' or 'cuda:0'") from error


def present_device(device: str) -> torch.device:
    """Return the device of a saved model, or the CPU if the device is not available.

    If this installation of torch has no module for the type of device, it is not passed to torch,
    which would import a module of that name. This is rarer than a missing GPU, so there is a
    warning.
    """
    kind = str(device).partition(":")[0]
    if f"torch.{kind}" not in sys.modules:
        warnings.warn(
            f"the model was saved on the device {device!r}, which this installation of torch does "
            f"not support; it is now on the CPU.",
            stacklevel=2,
        )
        return torch.device("cpu")
    try:
        return resolve_device(device, None)
    except ValueError:
        return torch.device("cpu")


def available_devices() -> list[str]:
    """Return the names of the available devices."""
    available = ["cpu"]
    if torch.cuda.is_available():
        available += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        available.append("mps")
    return available


class Precision(NamedTuple):
    """Dtypes of a fit.

    Attributes
    ----------
    weights : torch.dtype
        Dtype of weights, gradients, optimiser state and losses.
    products : torch.dtype
        Dtype of the matrix products.
    """

    weights: torch.dtype
    products: torch.dtype


def resolve_precision(
    precision: str,
    data_is_double: bool,
    n_samples: int,
    inner_width: int,
    device: torch.device,
    n_shared_products: int = 0,
) -> Precision:
    """Choose the dtypes of a fit.

    Parameters
    ----------
    precision : {"auto", "float32", "float64", "bfloat16"}
    data_is_double : bool
        Whether the samples are float64, as usual in scikit-learn.
    n_samples : int
        Number of training samples.
    inner_width : int
        Smaller side of the largest weight matrix.
    device : torch.device
    n_shared_products : int, default=0
        Number of multiplications per sample in convolutions and recurrent layers.

    Returns
    -------
    Precision

    Raises
    ------
    ValueError
        For float64 on MPS.
    """
    if precision == "bfloat16":
        return Precision(torch.float32, torch.bfloat16)
    if precision == "float64" and device.type == "mps":
        raise ValueError("precision='float64' is not available on the device 'mps'; use 'auto'.")
    if precision != "auto":
        dtype = getattr(torch, precision)
        return Precision(dtype, dtype)
    # In float64 a weight of two and two copies agree to 1e-7, as scikit-learn's checks require.
    cheap = inner_width <= MAX_FLOAT64_WIDTH or n_samples <= MAX_FLOAT64_SAMPLES_ANY_WIDTH
    if data_is_double and cheap and device.type == "cpu":
        return Precision(torch.float64, torch.float64)
    much = inner_width >= MIN_BFLOAT16_WIDTH or n_shared_products >= MIN_BFLOAT16_PRODUCTS
    if much and _supports_bfloat16(device):
        return Precision(torch.float32, torch.bfloat16)
    return Precision(torch.float32, torch.float32)


def cache_limit(device: torch.device) -> int:
    """Return the size in bytes up to which standardised data are cached on the device.

    On the CPU the data are in memory already, and a second copy should stay small. To an
    accelerator, samples that are not cached are transferred with every batch.
    """
    if device.type == "cuda":
        # The driver counts the memory that torch reserves for later tensors as used.
        reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (torch.cuda.mem_get_info(device)[0] + reusable) // 2
    return CACHE_BYTES


def _supports_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16 numbers."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False
