"""Binary codes packed into words, and exact nearest-neighbour search by Hamming distance."""

from __future__ import annotations

import numpy as np

CHUNK_SAMPLES = 2**16
"""Number of codes that are compared at a time, so that they fit in a processor's cache."""

WORD_BYTES = 8
"""Number of bytes of a word."""


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Pack bits, eight to a byte, into whole words of 64.

    Parameters
    ----------
    bits : ndarray of shape (n_samples, n_bits), dtype bool

    Returns
    -------
    ndarray of shape (n_samples, n_bytes), dtype uint8
        Component ``8 * i + j`` is bit ``j`` of byte ``i``, where bit 0 is the lowest. The bytes
        that fill up the last word are zero.
    """
    n_bytes = -(-bits.shape[1] // 8)  # rounded up
    packed = np.zeros((len(bits), n_bytes + -n_bytes % WORD_BYTES), np.uint8)
    packed[:, :n_bytes] = np.packbits(bits, axis=1, bitorder="little")
    return packed


def hamming_distances(query: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """Count the bits in which each of many codes differs from one code.

    Parameters
    ----------
    query : ndarray of shape (n_words,), dtype uint64
    packed : ndarray of shape (n_samples, n_words), dtype uint64

    Returns
    -------
    ndarray of shape (n_samples,)
        Distances, in the smallest unsigned type for the number of bits plus one.
    """
    # The additional value marks the query itself in `nearest_codes`.
    dtype = np.min_scalar_type(64 * len(query) + 1)
    distances = np.empty(len(packed), dtype)
    for start in range(0, len(packed), CHUNK_SAMPLES):
        chunk = slice(start, start + CHUNK_SAMPLES)
        # One word at a time: NumPy's sums along an axis of two or three values are slow.
        total = np.bitwise_count(packed[chunk, 0] ^ query[0]).astype(dtype, copy=False)
        for word in range(1, len(query)):
            total += np.bitwise_count(packed[chunk, word] ^ query[word])
        distances[chunk] = total
    return distances


def closest(distances: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Return the indices of the smallest distances, ties ordered by index.

    Parameters
    ----------
    distances : ndarray of shape (n_samples,), unsigned integers
    n_neighbors : int
        At most `n_samples`.

    Returns
    -------
    ndarray of shape (n_neighbors,)
        Indices, nearest first.
    """
    # The cumulative histogram gives the radius within which there are enough neighbours, so that
    # only these are sorted: the search is linear in the number of samples.
    radius = np.searchsorted(np.cumsum(np.bincount(distances)), n_neighbors)
    near = np.flatnonzero(distances <= radius)
    return near[np.argsort(distances[near], kind="stable")[:n_neighbors]]


def nearest_codes(
    queries: np.ndarray, packed: np.ndarray, n_neighbors: int, *, leave_out: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest codes of each query by exhaustive search.

    Parameters
    ----------
    queries : ndarray of shape (n_queries, n_words), dtype uint64
    packed : ndarray of shape (n_samples, n_words), dtype uint64
    n_neighbors : int
    leave_out : bool, default=False
        Whether query ``i`` is code ``i`` and must not be returned as its own neighbour.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_neighbors), float64
        Numbers of differing bits, in ascending order.
    indices : ndarray of shape (n_queries, n_neighbors), int64
        Indices of the codes; those at equal distances are in ascending order.
    """
    distances = np.empty((len(queries), n_neighbors))
    indices = np.empty((len(queries), n_neighbors), np.int64)
    for i, query in enumerate(queries):
        found = hamming_distances(query, packed)
        if leave_out:
            found[i] = 64 * packed.shape[1] + 1  # farther than any other code
        indices[i] = closest(found, n_neighbors)
        distances[i] = found[indices[i]]
    return distances, indices
