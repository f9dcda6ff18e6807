"""Arrays and generators from bytes and numbers that a stranger may have written."""

from __future__ import annotations

import math
import re

import numpy as np

STATE_WORDS = 624
"""Number of words in the state of a Mersenne twister."""

LAST_CODE_POINT = 0x10FFFF
"""The largest number that is a character."""

PLAIN_KINDS = "biufcUSmM"
"""Kinds of arrays without Python objects."""

NPY_START = 10
"""Number of bytes before the header of an ``.npy`` file: name, version and the header's length."""

NPY_HEADER = re.compile(
    rb"\{'descr': '([<>|=][a-zA-Z]\d{1,9}(?:\[\w+\])?)', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\), *\} *\n"
)
"""What NumPy writes before the values of an array that has no fields."""


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
        If it is no such file, holds Python objects, or not as many values as it says.
    """
    start = NPY_START + int.from_bytes(content[8:NPY_START], "little")
    header = NPY_HEADER.fullmatch(content, NPY_START, start)
    if content[:8] != b"\x93NUMPY\x01\x00" or header is None:
        raise ValueError("it is to hold an array that is none of numbers or texts")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(size) for size in header[3].split(b",") if size.strip())
    if dtype.kind not in PLAIN_KINDS or not dtype.itemsize:
        raise ValueError(f"an array is of type {dtype}")
    if math.prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError("an array has not the size that it says")
    values = np.frombuffer(content, dtype, offset=start)
    if dtype.kind == "U":
        check_characters(values.view(f"{dtype.str[0]}u4"))
    by_column = header[2] == b"True"
    array = values.reshape(shape[::-1]).T if by_column else values.reshape(shape)
    return array.copy("K")


def check_characters(code_points: np.ndarray) -> None:
    """Refuse numbers that are no characters.

    Raises
    ------
    ValueError
    """
    if (code_points > LAST_CODE_POINT).any():
        raise ValueError("an array of texts holds what is no character")


def random_state(
    key: np.ndarray, place: int, has_gauss: int, gauss: float
) -> np.random.RandomState:
    """Return a generator in a state.

    Parameters
    ----------
    key : ndarray of shape (624,), dtype uint32
    place : int
        How many of the words of `key` have been used.
    has_gauss : int
        Whether the next normal number is known already.
    gauss : float
        That number.

    Raises
    ------
    ValueError
        If that is no state of a Mersenne twister.
    """
    if key.dtype != np.uint32 or key.shape != (STATE_WORDS,):
        raise ValueError("the state of a RandomState has not the right shape")
    if not 0 <= place <= STATE_WORDS:  # NumPy would read from there
        raise ValueError(f"the state of a RandomState is at place {place}")
    generator = np.random.RandomState(0)
    generator.set_state(("MT19937", key, int(place), int(has_gauss), float(gauss)))
    return generator
