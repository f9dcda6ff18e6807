"""Limits on the memory and the time that reading a file may take, in proportion to its size."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

FIXED = 48 * 2**20
"""Bytes of memory that reading any file may take, however small it is."""

PER_BYTE = 4
"""Further bytes of memory for each byte of the file."""

COSTS = {"{": 150, "[": 90, ",": 60, ":": 220}
"""Upper bounds of the memory that a character of JSON implies: of containers, values and keys."""

REPEATED = 30
"""The bound for a key that occurs before: the decoder stores equal keys once."""

KEY = re.compile(r'(\\?)"([^"\\]*)"\s*:')
"""A key without escapes. After a backslash the match is only the end of a longer key."""

MAX_DIGITS = 1_000
"""Number of digits of a number: the time to read one grows with their square."""

MAX_COLLISIONS = 10
"""Number of keys of a dictionary with one hash: each is compared with all others."""


class Allowance:
    """The memory, in bytes, that reading a file may still take.

    Everything that is read from the file is subtracted before it is built, so no file takes more
    memory than a multiple of its size. Building it takes little time per byte, so the time is
    limited as well.

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
        """Subtract memory from what is left.

        Parameters
        ----------
        n_bytes : int

        Raises
        ------
        ValueError
            If less than that is left.
        """
        self.left -= n_bytes
        if self.left < 0:
            raise ValueError("it would take far more memory than its size accounts for")


def json_memory(text: str, limit: int) -> int:
    """Return an upper bound of the memory of a decoded JSON text, without its characters.

    Parameters
    ----------
    text : str
    limit : int
        If the bound exceeds it, any number above `limit` may be returned.
    """
    memory = sum(cost * text.count(character) for character, cost in COSTS.items())
    # Even if all keys are equal: the search for equal keys would take too long in such a text.
    if memory - (COSTS[":"] - REPEATED) * text.count(":") > limit:
        return memory
    keys: set[str] = set()
    for match in KEY.finditer(text):
        if not match[1] and match[2] in keys:
            memory -= COSTS[":"] - REPEATED
        elif COSTS[":"] * len(keys) > limit:  # the set itself must not become too large
            return memory
        else:
            keys.add(match[2])
    return memory


def read_json(text: str, allowance: Allowance) -> Any:
    """Decode JSON, without extensions and ambiguities: NaN, repeated keys, very long numbers.

    Parameters
    ----------
    text : str
    allowance : Allowance

    Raises
    ------
    ValueError
        If it is not JSON, or exceeds the allowance; the latter is checked before it is decoded.
    """
    allowance.take(json_memory(text, allowance.left))
    return _DECODER.decode(text)


def check_keys(keys: Iterable[Any]) -> None:
    """Refuse keys that would make a dictionary slow because many have the same hash.

    Raises
    ------
    ValueError
    """
    # Hashes of strings are randomised in each process, so they cannot be chosen to collide.
    hashes = Counter(hash(key) for key in keys if type(key) is not str)
    if hashes and max(hashes.values()) > MAX_COLLISIONS:
        raise ValueError("a dictionary has many keys of one hash")


def _number(kind: type) -> Callable[[str], Any]:
    def read(digits: str) -> Any:
        if len(digits) > MAX_DIGITS:
            raise ValueError(f"a number has {len(digits)} digits")
        return kind(digits)

    return read


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("an object has a key twice")
    return values


_DECODER = json.JSONDecoder(
    parse_int=_number(int),
    parse_float=_number(float),
    parse_constant=_refuse_constant,
    object_pairs_hook=_unique_keys,
)
