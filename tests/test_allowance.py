"""What JSON takes in memory is known before it is read, and keys of one hash are noticed."""

import json
import tracemalloc

import numpy as np
import pytest

from sklearn_ae._files.allowance import (
    FIXED,
    MAX_COLLISIONS,
    PER_BYTE,
    Allowance,
    check_keys,
    json_memory,
    read_json,
)

PRIME = 2**61 - 1


def _random(rng, depth=0):
    """A value of JSON, of any kind."""
    kind = rng.integers(9 if depth < 6 else 6)
    if kind < 6:
        values = [None, True, 1.5, int(rng.integers(10**6)), "ab", "a" * int(rng.integers(40))]
        return values[kind]
    entries = [_random(rng, depth + 1) for _ in range(rng.integers(1, 12))]
    if kind == 6:
        return entries
    if kind == 7:
        return {"abc"[place % 3] * (place // 3 + 1): entry for place, entry in enumerate(entries)}
    return {f"{rng.integers(10**9):x}": entry for entry in entries}


def _peak(text):
    allowance = Allowance(10**9)
    tracemalloc.start()
    value = read_json(text, allowance)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return value, peak


@pytest.mark.parametrize("seed", range(10))
def test_no_json_takes_more_than_its_weight(seed):
    rng = np.random.default_rng(seed)
    value = [_random(rng) for _ in range(200)]
    text = json.dumps(value, separators=(",", ":"))
    read, peak = _peak(text)
    assert read == value
    # The characters of texts and the sets of keys that weighing takes are apart.
    assert peak < json_memory(text, 10**9) + 2 * len(text) + 10**4


@pytest.mark.parametrize(
    "unit", ["[]", "{}", "257", "1.5", '"ab"', '{"a":0}', "[[]]", "[1.5]", '{"a":"ab","b":"ab"}']
)
def test_no_repeated_json_takes_more_than_its_weight(unit):
    text = f"[{','.join([unit] * 20_000)}]"
    assert _peak(text)[1] < json_memory(text, 10**9) + len(text)


def test_keys_count_once():
    same = json.dumps([{"name": 0}] * 1000)
    other = json.dumps([{f"name{place}": 0} for place in range(1000)])
    assert json_memory(same, 10**9) < 0.6 * json_memory(other, 10**9)
    # A key that ends in a known one is another key.
    tricky = "[" + ",".join(f'{{"{place}\\"name":0}}' for place in range(1000)) + "]"
    assert len({key for each in json.loads(tricky) for key in each}) == 1000
    assert json_memory(tricky, 10**9) >= json_memory(other, 10**9)


def test_an_allowance_is_used_up():
    allowance = Allowance(100)
    allowance.take(FIXED)
    allowance.take(PER_BYTE * 100)
    with pytest.raises(ValueError, match="more memory than its size accounts for"):
        allowance.take(1)


@pytest.mark.parametrize(
    "keys",
    [
        [PRIME * place for place in range(20)],
        [-PRIME * place for place in range(20)],
        [(PRIME * place, "a") for place in range(20)],
        [*range(1000), *(3 + PRIME * place for place in range(20))],
    ],
)
def test_keys_of_one_hash_are_noticed(keys):
    with pytest.raises(ValueError, match="many keys of one hash"):
        check_keys(keys)
    check_keys(keys[:MAX_COLLISIONS])


def test_other_keys_may_be_many():
    check_keys([*range(-50_000, 50_000), None, True, 0.5, *(2.0**e for e in range(-400, 400, 7))])
    check_keys([str(place) for place in range(50_000)])
