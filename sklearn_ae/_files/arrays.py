"""Arrays and generators from untrusted bytes and numbers."""

from __future__ import annotations

import math
import re

import numpy as np

STATE_WORDS = 624
"""Number of words in the state of a Mersenne twister."""

LAST_CODE_POINT = 0x10FFFF
"""The largest number that is a Unicode character."""

PLAIN_KINDS = "biufcUSmM"
"""Kinds of NumPy dtypes without Python objects."""

NPY_START = 10
"""Number of bytes before the header of an ``.npy`` file: magic, version, length of the header."""

NPY_HEADER = re.compile(
    rb"\{'descr': '([<>|=][a-zA-Z]\d{1,9}(?:\[\w+\])?)', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\), *\} *\n"
)
"""The header that NumPy writes for an array without fields. NumPy itself would evaluate it."""


def read_npy(content: bytes) -> np.ndarray:
    """Return the array of an ``.npy`` file of version 1.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If it is no such file, contains Python objects, or has the wrong number of values.
    """
    start = NPY_START + int.from_bytes(content[8:NPY_START], "little")
    header = NPY_HEADER.fullmatch(content, NPY_START, start)
    if content[:8] != b"\x93NUMPY\x01\x00" or header is None:
        raise ValueError("a part is not an array of numbers or strings in the format npy")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(size) for size in header[3].split(b",") if size.strip())
    if dtype.kind not in PLAIN_KINDS or not dtype.itemsize:
        raise ValueError(f"an array has the dtype {dtype}")
    # In Python's integers, which do not overflow: before NumPy receives the shape.
    if math.prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError("an array has another size than its header declares")
    values = np.frombuffer(content, dtype, offset=start)
    if dtype.kind == "U":
        check_characters(values.view(f"{dtype.str[0]}u4"))
    is_fortran = header[2] == b"True"
    array = values.reshape(shape[::-1]).T if is_fortran else values.reshape(shape)
    return array.copy("K")  # an array over bytes is read-only


def check_characters(code_points: np.ndarray) -> None:
    """Refuse code points that are no characters: NumPy does not check them.

    Raises
    ------
    ValueError
    """
    if (code_points > LAST_CODE_POINT).any():
        raise ValueError("an array of strings contains code points that are no characters")


def random_state(
    key: np.ndarray, position: int, has_gauss: int, gauss: float
) -> np.random.RandomState:
    """Return a generator with a given state.

    Parameters
    ----------
    key : ndarray of shape (624,), dtype uint32
    position : int
        Number of words of `key` that have been used.
    has_gauss : int
        Whether the next Gaussian number has been drawn already.
    gauss : float
        That number.

    Raises
    ------
    ValueError
        If that is not a state of a Mersenne twister.
    """
    if key.dtype != np.uint32 or key.shape != (STATE_WORDS,):
        raise ValueError("the state of a RandomState has the wrong shape or dtype")
    if not 0 <= position <= STATE_WORDS:  # NumPy would read memory at this position
        raise ValueError(f"the state of a RandomState has the position {position}")
    generator = np.random.RandomState(0)
    generator.set_state(("MT19937", key, int(position), int(has_gauss), float(gauss)))
    return generator
