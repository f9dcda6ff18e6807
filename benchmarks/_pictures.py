"""Common functions of the image benchmarks: crops, patches, filters and code lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import correlate

Function = Callable[[np.ndarray], np.ndarray]
"""Map an array to an array of the same shape."""


def psnr(restored: np.ndarray, clean: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of pixels in [0, 1], in dB."""
    return float(-10 * np.log10(np.square(restored - clean, dtype=np.float64).mean()))


def crops(pictures: Sequence[np.ndarray], n: int, side: int, seed: int) -> np.ndarray:
    """Draw crops of images, each rotated and mirrored at random.

    Parameters
    ----------
    pictures : sequence of ndarray of bytes
    n, side : int
    seed : int

    Returns
    -------
    ndarray of shape (n, side, side)
        Pixels in [0, 1], float32.
    """
    rng = np.random.default_rng(seed)
    squares = np.empty((n, side, side), np.float32)
    for square in squares:
        picture = pictures[rng.integers(len(pictures))]
        top, left = (rng.integers(length - side + 1) for length in picture.shape)
        cut = np.rot90(picture[top : top + side, left : left + side], rng.integers(4))
        square[...] = cut.T if rng.integers(2) else cut
    return squares / 255


def restore(picture: np.ndarray, side: int, function: Function) -> np.ndarray:
    """Apply a function to overlapping patches of an image and average the results.

    Patches overlap by half. They are weighted by a window that is one in the centre of a patch and
    decreases to zero at its border, where the function has the least context.

    Parameters
    ----------
    picture : ndarray of shape (height, width)
    side : int
    function : callable
        Map patches of shape (n, side, side) to denoised ones.

    Returns
    -------
    ndarray of shape (height, width)
    """
    tops, lefts = (
        np.unique([*range(0, length - side, side // 2), length - side]) for length in picture.shape
    )
    squares = sliding_window_view(picture, (side, side))[tops[:, None], lefts]
    restored = function(squares.reshape(-1, side, side)).reshape(squares.shape)
    window = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    window = np.outer(window, window)
    total, weight = np.zeros(picture.shape), np.zeros(picture.shape)
    for line, top in zip(restored, tops, strict=True):
        for square, left in zip(line, lefts, strict=True):
            place = slice(top, top + side), slice(left, left + side)
            total[place] += window * square
            weight[place] += window
    return total / weight


def best_filter(noisy: np.ndarray, clean: np.ndarray, side: int = 15) -> Function:
    """Fit the least-squares linear filter from noisy neighbourhoods to clean pixels.

    Parameters
    ----------
    noisy, clean : ndarray of shape (n, size, size)
        Training patches, larger than the filter.
    side : int
        Side of the filter, odd.

    Returns
    -------
    callable
        Map a noisy image to a filtered one.
    """
    rows = sliding_window_view(noisy, (side, side), axis=(1, 2)).reshape(-1, side**2)
    inner = slice(side // 2, -(side // 2))
    rows = np.column_stack([rows, np.ones(len(rows), rows.dtype)]).astype(np.float64)
    products, wanted = rows.T @ rows, rows.T @ clean[:, inner, inner].ravel()
    *weights, bias = np.linalg.solve(products + 1e-6 * np.eye(len(products)), wanted)
    kernel = np.reshape(weights, (side, side))
    return lambda picture: correlate(picture.astype(np.float64), kernel, mode="mirror") + bias


def blocks(picture: np.ndarray, side: int) -> np.ndarray:
    """Cut an image into adjacent blocks, one per row; crop the image to whole blocks."""
    high, wide = (length // side for length in picture.shape)
    cut = picture[: high * side, : wide * side].astype(np.float32) / 255
    return cut.reshape(high, side, wide, side).swapaxes(1, 2).reshape(-1, side**2)


def joined(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Invert :func:`blocks` for an image whose sides are multiples of the side of a block."""
    side = int(np.sqrt(rows.shape[1]))
    high, wide = (length // side for length in shape)
    return rows.reshape(high, wide, side, side).swapaxes(1, 2).reshape(shape)


class CodeLengths:
    """Number of bits of an entropy coder with tables estimated on other data.

    Each component has a separate table. The probability of an integer that occurred ``c`` times
    is proportional to ``c + 1/2``. Any integer outside the range of the training data is coded by
    an escape symbol, with a probability proportional to ``1/2``, and 16 more bits.

    Parameters
    ----------
    training : ndarray of int of shape (n, n_components)
    """

    def __init__(self, training: np.ndarray) -> None:
        self.least, most = training.min(0), training.max(0)
        self.tables = []
        for column, least, length in zip(training.T, self.least, most - self.least, strict=True):
            counts = np.bincount(column - least, minlength=length + 2) + 0.5
            self.tables.append(-np.log2(counts / counts.sum()))

    def bits(self, numbers: np.ndarray) -> float:
        """Return the number of bits of integers of shape (n, n_components)."""
        total = 0.0
        for column, least, table in zip(numbers.T, self.least, self.tables, strict=True):
            place = column - least
            escaped = (place < 0) | (place > len(table) - 2)
            total += table[np.where(escaped, len(table) - 1, place)].sum() + 16 * escaped.sum()
        return total
