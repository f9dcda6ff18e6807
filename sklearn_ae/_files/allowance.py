"""How much memory and time a file may take before it is refused: what its size accounts for."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

FIXED = 48 * 2**20
"""Bytes that a file may take in memory beside its text and its arrays, however small it is."""

PER_BYTE = 4
"""Bytes that it may take beyond, for each byte of its size."""

COSTS = {"{": 150, "[": 90, ",": 60, ":": 220}
"""Most that a sign of JSON accounts for once it is read: containers, values and keys."""

REPEATED = 30
"""Most that a key accounts for that stands in many objects: it is the same text everywhere."""

KEY = re.compile(r'(\\?)"([^"\\]*)"\s*:')
"""A key without escapes; a backslash before it says that it is the end of a longer one."""

LONGEST_NUMBER = 1_000
"""Digits of a number: reading longer ones takes time that grows with their square."""

MOST_COLLISIONS = 10
"""Keys of a dictionary that may have one hash: looking them up compares each with each."""


class Allowance:
    """What a file may still take, in bytes of memory.

    Whatever is read from a file is paid for before it is built, so that no file takes more memory
    than a multiple of its size. What a byte pays for takes little time, so that time is bounded
    too.

    Parameters
    ----------
    size : int
        Number of bytes of the file.

    Attributes
    ----------
    left : int
    """

    def __init__(self, size: int) -> None:
        self.left = FIXED + PER_BYTE * size

    def take(self, n_bytes: int) -> None:
        """Pay for something.

        Raises
        ------
        ValueError
            If the file has taken more than it may.
        """
        self.left -= n_bytes
        if self.left < 0:
            raise ValueError("it would take far more memory than its size accounts for")


def weigh(text: str, most: int) -> int:
    """Return the most memory that the values of a JSON text take, apart from their characters.

    Parameters
    ----------
    text : str
    most : int
        Beyond it, any number may be returned that is larger.
    """
    weight = sum(cost * text.count(sign) for sign, cost in COSTS.items())
    if weight - (COSTS[":"] - REPEATED) * text.count(":") > most:
        return weight
    keys: set[str] = set()
    for match in KEY.finditer(text):
        if not match[1] and match[2] in keys:
            weight -= COSTS[":"] - REPEATED
        elif COSTS[":"] * len(keys) > most:
            return weight
        else:
            keys.add(match[2])
    return weight


def read_json(text: str, allowance: Allowance) -> Any:
    """Read JSON without what programs do not write: keys twice, NaN, numbers of many digits.

    Parameters
    ----------
    text : str
    allowance : Allowance

    Raises
    ------
    ValueError
        If it is not JSON, or would take more memory than it may; that is known before it is read.
    """
    allowance.take(weigh(text, allowance.left))
    return _DECODER.decode(text)


def read_scalar(text: str) -> Any:
    """Read the JSON of a text, a number, a truth value or nothing, NaN and infinities included."""
    if text[:1] in ("", "{", "[") or text[0].isspace():
        raise ValueError("a value is no scalar")
    return _SCALARS.decode(text)


def check_keys(keys: Iterable[Any]) -> None:
    """Refuse keys that were chosen to make a dictionary slow.

    Raises
    ------
    ValueError
    """
    # The hash of a text is not known to whoever writes a file, those of numbers and tuples are.
    hashes = Counter(hash(key) for key in keys if type(key) is not str)
    if hashes and max(hashes.values()) > MOST_COLLISIONS:
        raise ValueError("a dictionary has many keys of one hash")


def _number(kind: type) -> Any:
    def read(digits: str) -> Any:
        if len(digits) > LONGEST_NUMBER:
            raise ValueError(f"a number has {len(digits)} digits")
        return kind(digits)

    return read


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("an object has a key twice")
    return values


_NUMBERS = {"parse_int": _number(int), "parse_float": _number(float)}
_SCALARS = json.JSONDecoder(**_NUMBERS)
_DECODER = json.JSONDecoder(
    parse_constant=_refuse, object_pairs_hook=_without_repetition, **_NUMBERS
)
