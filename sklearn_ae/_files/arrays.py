"""Arrays and generators from untrusted bytes and numbers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

STATE_WORDS = 624
"""Number of words in the state of a Mersenne twister."""

LAST_CODE_POINT = 0x10FFFF
"""The largest number that is a Unicode character."""

PLAIN_KINDS = "biufcUSmM"
"""Kinds of NumPy dtypes without Python objects."""

DTYPE = re.compile(r"[<|](c8|c16|S[1-9]\d{0,8}|[mM]8(\[\d{0,9}\w{1,9}\])?)")
"""Dtypes whose values are written as bytes: complex numbers, byte strings, times."""

TEXT_OR_OBJECT = re.compile(r"\|O|<U[1-9]\d{0,8}")
"""Further dtypes that may be values themselves."""

FIELD = re.compile(r"[<|][biuf]\d")
"""Dtypes of the fields of a table."""

MAX_FIELDS = 100
"""Number of fields of a table."""


def packed(dtype: Any, is_alone: bool = False) -> Any:
    """Return a dtype as values of JSON, None if there is no such description.

    Parameters
    ----------
    dtype : dtype
        In native byte order.
    is_alone : bool, default=False
        Whether the dtype is a value itself, and not that of an array.
    """
    if dtype.fields is None:
        pattern = TEXT_OR_OBJECT if is_alone and not DTYPE.fullmatch(dtype.str) else DTYPE
        return dtype.str if pattern.fullmatch(dtype.str) else None
    names = dtype.names or ()
    fields = [[name, dtype.fields[name][0].str, dtype.fields[name][1]] for name in names]
    if any(len(dtype.fields[name]) > 2 or not FIELD.fullmatch(code) for name, code, _ in fields):
        return None
    return {"fields": fields, "size": dtype.itemsize}


def unpacked(code: Any, is_alone: bool = False) -> np.dtype[Any]:
    """Return a dtype from the result of :func:`packed`.

    Raises
    ------
    ValueError
        If it is none of those that :func:`packed` describes.
    """
    if isinstance(code, str):
        if not DTYPE.fullmatch(code) and not (is_alone and TEXT_OR_OBJECT.fullmatch(code)):
            raise ValueError(f"{code[:100]!r} is no dtype that a file may contain")
        return np.dtype(code)
    names, formats, offsets = zip(*code["fields"], strict=True)
    if len(names) > MAX_FIELDS or not all(FIELD.fullmatch(each) for each in formats):
        raise ValueError("a table has fields that are no numbers")
    layout = {"names": names, "formats": formats, "offsets": offsets, "itemsize": code["size"]}
    dtype: np.dtype[Any] = np.dtype(layout)  # type: ignore[call-overload]
    return dtype


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
