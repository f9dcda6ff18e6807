"""Hashes of rows and the numbers drawn from them, in whole numbers of 64 bits as in Python.

ONNX multiplies and adds signed numbers only; their bits are those of unsigned ones.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._onnx.graph import dtype_number
from sklearn_ae._onnx.tracing import written
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
    """Write down the hash of each sample's cell, and the place in the slice."""
    projected = x.double() @ torch.from_numpy(grid.directions.T)
    inner = torch.from_numpy(grid.edges[:, 1:-1])
    cells = (projected[:, :, None] > inner).long().sum(2)
    edges = torch.from_numpy(np.sort(grid.edges[0]))
    least, largest = (looked_up(edges, cells[:, 0] + k) for k in (0, 1))
    position = ((projected[:, 0] - least) / (largest - least)).nan_to_num().clamp(0.0, 1.0)
    position = position * float(N_SLICES)
    position = (position - position.floor()) * 2.0**POSITION_BITS
    return _hash_cells(cells), position.floor().long()


def _hash_cells(cells: Tensor) -> Tensor:
    hashes = _mix(_times(cells, cell_factors()))
    return _shifted(hashes, POSITION_BITS) * 2**POSITION_BITS


def highest_bits(keys: Tensor, n_bits: int) -> Tensor:
    """Write down the whole number that the highest bits of each key are."""
    return _shifted(keys, 64 - n_bits)


def uniform_of_rows(x: Tensor, cells: Units, shape: tuple[int, int], seed: int) -> Tensor:
    """Write down uniform numbers of each sample, ``(shape[0], batch, shape[1])``, by content."""
    projected = x.nan_to_num().double() @ torch.from_numpy(cells.directions.T)
    place = (projected * cells.n_cells + torch.from_numpy(cells.shift)).clamp(-FAR, FAR)
    keys = _hash_cells(place.floor().long())
    with np.errstate(over="ignore"):
        steps = draw_steps(math.prod(shape), seed)
    bits = _shifted(_mix(keys[:, None] + _signed(steps)), 40)
    uniform = (bits.to(x.dtype) + 0.5) * 2.0**-24
    return uniform.unflatten(1, shape).permute(1, 0, 2)


def normal_quantile(p: Tensor) -> Tensor:
    """Inverse of the normal distribution function for uniform numbers of float32.

    To seven digits: algorithm AS 241 of Wichura, M. J. (1988), The percentage points of the
    normal distribution, Applied Statistics 37, 477-484.
    """
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


def looked_up(table: Tensor, places: Tensor) -> Tensor:
    """Write down the entries of a table at places that no example gives."""
    example = table[torch.zeros(len(places), dtype=torch.int64)]
    return written("Gather", table, places, example=example, axis=0)
