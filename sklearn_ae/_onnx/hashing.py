"""Hashes of rows and the numbers drawn from them, in whole numbers of 64 bits as in Python.

ONNX multiplies and adds signed numbers only; their bits are those of unsigned ones.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._backend.random import GRID, LAST_SHIFT, MIXING, STRIDE, key_factors
from sklearn_ae._members import fingerprint_factors
from sklearn_ae._onnx.graph import dtype_number
from sklearn_ae._onnx.tracing import plain, written

LEAST_EXPONENT = -126
"""Of float32; numbers below have fewer digits."""


def fingerprints(x: Tensor, seed: int) -> Tensor:
    """Write down ``row_fingerprints``: a number for each row of float32, ``(batch,)``.

    With ``2^e <= |x| < 2^(e+1)`` the bits of a number are those of
    ``(|x| / 2^e + e + 126) 2^23``, and of its sign.
    """
    powers = torch.tensor([2.0**e for e in range(LEAST_EXPONENT, 128)], dtype=torch.float64)
    size = x.double().abs()

    def place_of(exponent: Tensor) -> Tensor:
        return (exponent.clamp(LEAST_EXPONENT, 127) - LEAST_EXPONENT).long()

    place = place_of((size.log() / math.log(2)).floor())
    power = _looked_up(powers, place)
    # The logarithm may be off by its last digit.
    place = (place + (size >= 2 * power).long() - (size < power).long()).clamp(0, 253)
    significand = size / _looked_up(powers, place)
    bits = ((significand + place.double()) * 2.0**23).long() + (x < 0).long() * 2**31
    return _times(bits, fingerprint_factors(x.shape[1], seed))


def uniform_of_rows(x: Tensor, n_draws: int) -> Tensor:
    """Write down the uniform numbers of each row, ``(batch, n_draws)``, by content."""
    grid = (x.nan_to_num() * GRID).clamp(-(2.0**62), 2.0**62).round().long()
    keys = _mix(_times(grid, key_factors(x.shape[1], seed=0)))
    with np.errstate(over="ignore"):
        steps = np.arange(1, n_draws + 1, dtype=np.uint64) * np.uint64(STRIDE)
    bits = _shifted(_mix(keys[:, None] + _signed(steps)), 40)
    return (bits.to(x.dtype) + 0.5) * 2.0**-24


def noise_of_rows(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """Write down the Gaussian noise of each row, ``(shape[0], batch, shape[1])``, by content."""
    uniform = uniform_of_rows(x, math.prod(shape))
    noise = normal_quantile(uniform.clamp(2.0**-25, 1 - 2.0**-24))
    return noise.unflatten(1, shape).permute(1, 0, 2)


def normal_quantile(p: Tensor) -> Tensor:
    """Inverse of the normal distribution function for ``10^-11 < p < 1 - 10^-11``.

    To seven digits: algorithm AS 241 of Wichura, M. J. (1988), The percentage points of the
    normal distribution, Applied Statistics 37, 477-484.
    """
    q = p - 0.5
    r = 0.180625 - q.square()
    middle = q * _ratio(
        r,
        (3.3871327179, 50.434271938, 159.29113202, 59.109374720),
        (1.0, 17.895169469, 78.757757664, 67.187563600),
    )
    r = torch.minimum(p, 1 - p).log().neg().sqrt() - 1.6
    tail = _ratio(
        r,
        (1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103),
        (1.0, 0.73700164250, 0.12021132975),
    )
    return torch.where(q.abs() <= 0.425, middle, torch.where(q < 0, -tail, tail))


def _ratio(x: Tensor, above: tuple[float, ...], below: tuple[float, ...]) -> Tensor:
    """Divide two polynomials, the constant terms given first."""
    return _polynomial(x, above) / _polynomial(x, below)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    value = x * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * x + coefficient
    return value


def _signed(numbers: np.ndarray) -> Tensor:
    """Read unsigned numbers as signed ones of the same bits."""
    return torch.from_numpy(numbers.view(np.int64))


def _times(numbers: Tensor, factors: np.ndarray) -> Tensor:
    """Multiply the numbers of each row by factors and add them up, as whole numbers.

    As a product of matrices: onnxruntime takes sums over an axis in floating point.
    """
    return (numbers @ _signed(factors)[:, None])[:, 0]


def _mix(keys: Tensor) -> Tensor:
    """Turn keys into numbers that look independent."""
    for shift, factor in MIXING:
        keys = _xor(keys, _shifted(keys, shift)) * _signed(np.array(factor, np.uint64))
    return _xor(keys, _shifted(keys, LAST_SHIFT))


def _shifted(keys: Tensor, n_bits: int) -> Tensor:
    """Move bits down; zeros follow."""
    unsigned = written("Cast", keys, example=keys, to=dtype_number(torch.uint64))
    moved = written("BitShift", unsigned, np.uint64(n_bits), example=keys, direction="RIGHT")
    return written("Cast", moved, example=keys, to=dtype_number(torch.int64))


def _xor(a: Tensor, b: Tensor) -> Tensor:
    return written("BitwiseXor", a, b, example=a)


def _looked_up(table: Tensor, places: Tensor) -> Tensor:
    return written("Gather", table, places, example=table[plain(places)], axis=0)
