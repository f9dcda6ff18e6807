"""Hashes of samples, and the numbers drawn from them, traced in 64-bit integers.

The functions compute the same bits as those of ``_training/keys.py``, where NumPy's uint64 is
used. ONNX multiplies and adds signed integers only; modulo 2^64 their bits are the same.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._onnx.graph import dtype_number
from sklearn_ae._onnx.tracing import add_node
from sklearn_ae._training.keys import (
    FAR,
    LAST_SHIFT,
    MIXING,
    N_SLICES,
    POSITION_BITS,
    Grid,
    Units,
    cell_factors,
    draw_steps,
)


def keys_in_grid(x: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Compute ``keys_of_projections`` in two parts.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
    grid : Grid

    Returns
    -------
    cells : Tensor of shape (n_samples,), int64
        Hash of each sample's cell; the lowest `POSITION_BITS` bits are zero.
    position : Tensor of shape (n_samples,), int64
        Position within the slice of the cell, which are these bits.
    """
    projected = x.double() @ torch.from_numpy(grid.directions.T)  # (n_samples, N_PROJECTIONS)
    inner = torch.from_numpy(grid.edges[:, 1:-1])
    cells = (projected[:, :, None] > inner).long().sum(2)
    edges = torch.from_numpy(np.sort(grid.edges[0]))
    least, largest = (look_up(edges, cells[:, 0] + k) for k in (0, 1))
    # A cell between equal or infinite edges gives NaN, which becomes zero.
    position = ((projected[:, 0] - least) / (largest - least)).nan_to_num().clamp(0.0, 1.0)
    position = position * float(N_SLICES)
    position = (position - position.floor()) * 2.0**POSITION_BITS
    return _hash_cells(cells), position.floor().long()


def _hash_cells(cells: Tensor) -> Tensor:
    """Hash cell numbers of shape (n_samples, N_PROJECTIONS); the lowest bits are zero."""
    hashes = _mix(_dot(cells, cell_factors()))
    keys: Tensor = _shift_right(hashes, POSITION_BITS) * 2**POSITION_BITS
    return keys


def highest_bits(keys: Tensor, n_bits: int) -> Tensor:
    """Return the integer that the highest bits of each key represent."""
    return _shift_right(keys, 64 - n_bits)


def uniform_of_samples(x: Tensor, cells: Units, shape: tuple[int, int], seed: int) -> Tensor:
    """Draw uniform numbers for each sample from the hash of its values.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
    cells : Units
    shape : (int, int)
    seed : int

    Returns
    -------
    Tensor of shape (shape[0], n_samples, shape[1])
    """
    projected = x.nan_to_num().double() @ torch.from_numpy(cells.directions.T)
    place = (projected * cells.n_cells + torch.from_numpy(cells.shift)).clamp(-FAR, FAR)
    keys = _hash_cells(place.floor().long())
    with np.errstate(over="ignore"):
        steps = draw_steps(math.prod(shape), seed)
    bits = _shift_right(_mix(keys[:, None] + _signed(steps)), 40)
    # 24 bits, as many as float32 holds; the half keeps the ends of the interval out.
    uniform = (bits.to(x.dtype) + 0.5) * 2.0**-24
    return uniform.reshape(len(x), *shape).permute(1, 0, 2)


def normal_quantile(p: Tensor) -> Tensor:
    """Compute the inverse of the normal distribution function for uniform numbers of float32.

    It has seven digits: algorithm AS 241 of Wichura, M. J. (1988), The percentage points of the
    normal distribution, Applied Statistics 37, 477-484.
    """
    # The largest uniform number of 24 bits rounds to one, whose quantile is infinite.
    p = p.clamp(2.0**-25, 1 - 2.0**-24)
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


def _ratio(x: Tensor, numerator: tuple[float, ...], denominator: tuple[float, ...]) -> Tensor:
    """Divide two polynomials, given by their coefficients, the constant terms first."""
    return _polynomial(x, numerator) / _polynomial(x, denominator)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    value = x * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * x + coefficient
    return value


def _signed(numbers: np.ndarray) -> Tensor:
    """Reinterpret uint64 as int64."""
    return torch.from_numpy(numbers.view(np.int64))


def _dot(numbers: Tensor, factors: np.ndarray) -> Tensor:
    """Return the scalar product of each sample's integers with factors, modulo 2^64.

    It is a product of matrices, since onnxruntime sums over an axis in floating point.
    """
    return (numbers @ _signed(factors)[:, None])[:, 0]


def _mix(keys: Tensor) -> Tensor:
    """Map keys to integers that look independent: the finaliser of splitmix64."""
    for shift, factor in MIXING:
        keys = _xor(keys, _shift_right(keys, shift)) * _signed(np.array(factor, np.uint64))
    return _xor(keys, _shift_right(keys, LAST_SHIFT))


def _shift_right(keys: Tensor, n_bits: int) -> Tensor:
    """Shift bits to the right, with zeros on the left: ONNX shifts unsigned integers only."""
    unsigned = add_node("Cast", keys, example=keys, to=dtype_number(torch.uint64))
    moved = add_node("BitShift", unsigned, np.uint64(n_bits), example=keys, direction="RIGHT")
    return add_node("Cast", moved, example=keys, to=dtype_number(torch.int64))


def _xor(a: Tensor, b: Tensor) -> Tensor:
    return add_node("BitwiseXor", a, b, example=a)


def look_up(table: Tensor, indices: Tensor) -> Tensor:
    """Take entries of a constant table at traced indices, whose examples may be out of range."""
    example = table[torch.zeros(len(indices), dtype=torch.int64)]
    return add_node("Gather", table, indices, example=example, axis=0)
