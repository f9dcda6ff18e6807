"""Codes of bits packed into words, and exact search among them."""

from __future__ import annotations

import numpy as np

CHUNK_ROWS = 2**16
"""Number of codes that are compared at a time: few enough for a processor's cache."""

WORD_BYTES = 8


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Pack bits, eight to a byte, into whole words of 64.

    Parameters
    ----------
    bits : ndarray of shape (n_samples, n_bits), dtype bool

    Returns
    -------
    ndarray of shape (n_samples, n_bytes), dtype uint8
        Bit ``8 * i + j`` of a row is bit ``j``, the lowest being 0, of its byte ``i``. The
        bytes that fill the last word are zero.
    """
    n_bytes = -(-bits.shape[1] // 8)
    packed = np.zeros((len(bits), n_bytes + -n_bytes % WORD_BYTES), np.uint8)
    packed[:, :n_bytes] = np.packbits(bits, axis=1, bitorder="little")
    return packed


def hamming_distances(query: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """Count the bits in which each of many codes differs from one.

    Parameters
    ----------
    query : ndarray of shape (n_words,), dtype uint64
    packed : ndarray of shape (n_samples, n_words), dtype uint64

    Returns
    -------
    ndarray of shape (n_samples,)
        Of the smallest unsigned type that holds one more than the number of bits.
    """
    dtype = np.min_scalar_type(64 * len(query) + 1)
    distances = np.empty(len(packed), dtype)
    for start in range(0, len(packed), CHUNK_ROWS):
        piece = slice(start, start + CHUNK_ROWS)
        # A word at a time: sums along an axis of two or three entries are slow.
        total = np.bitwise_count(packed[piece, 0] ^ query[0]).astype(dtype, copy=False)
        for place in range(1, len(query)):
            total += np.bitwise_count(packed[piece, place] ^ query[place])
        distances[piece] = total
    return distances


def closest(distances: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Find the smallest of many small integers, ties in order of their place.

    Their number up to each distance says how far to go, so that only what is near is sorted.

    Parameters
    ----------
    distances : ndarray of shape (n_samples,), unsigned integers
    n_neighbors : int
        At most `n_samples`.

    Returns
    -------
    ndarray of shape (n_neighbors,)
        Places, nearest first.
    """
    reach = np.searchsorted(np.cumsum(np.bincount(distances)), n_neighbors)
    near = np.flatnonzero(distances <= reach)
    return near[np.argsort(distances[near], kind="stable")[:n_neighbors]]


def nearest_codes(
    queries: np.ndarray, packed: np.ndarray, n_neighbors: int, *, leave_out: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest codes of each query, exactly.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, n_words), dtype uint64
    packed : ndarray of shape (n_samples, n_words), dtype uint64
    n_neighbors : int
    leave_out : bool, default=False
        Whether query ``i`` is code ``i`` and not a neighbour of itself.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_neighbors), float64
        Numbers of differing bits, ascending.
    indices : ndarray of shape (n_queries, n_neighbors), int64
        Of equal distances the lower index comes first.
    """
    distances = np.empty((len(queries), n_neighbors))
    indices = np.empty((len(queries), n_neighbors), np.int64)
    for place, query in enumerate(queries):
        found = hamming_distances(query, packed)
        if leave_out:
            found[place] = 64 * packed.shape[1] + 1  # beyond all others
        indices[place] = closest(found, n_neighbors)
        distances[place] = found[indices[place]]
    return distances, indices
