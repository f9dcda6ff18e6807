"""Random numbers: explicit generators only, so nothing global is read or changed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode


class Seeds(NamedTuple):
    """One seed for each use, so that more draws of one kind do not shift another."""

    weights: int
    split: int
    shuffle: int
    noise: int
    subspace: int


def draw_seeds(random_state: Any) -> Seeds:
    """Draw the seeds of a fit from scikit-learn's ``random_state``."""
    drawn = check_random_state(random_state).randint(2**31 - 1, size=len(Seeds._fields))
    return Seeds(*(int(seed) for seed in drawn))


def make_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator of its own on ``device``."""
    return torch.Generator(device=device).manual_seed(seed)


_DRAWS = {
    torch.rand,
    torch.randn,
    torch.randint,
    torch.randperm,
    torch.rand_like,
    torch.randn_like,
    torch.randint_like,
    torch.normal,
    torch.bernoulli,
    torch.multinomial,
    torch.poisson,
    Tensor.bernoulli,
    Tensor.bernoulli_,
    Tensor.uniform_,
    Tensor.normal_,
    Tensor.exponential_,
    Tensor.random_,
    Tensor.multinomial,
    # These are intercepted as a whole: what they call inside is not seen.
    init.uniform_,
    init.normal_,
    init.trunc_normal_,
    init.xavier_uniform_,
    init.xavier_normal_,
    init.kaiming_uniform_,
    init.kaiming_normal_,
    init.orthogonal_,
    init.sparse_,
}


class drawing_from(TorchFunctionMode):  # noqa: N801 - reads as a statement
    """Within the block, this thread's torch draws come from ``generator``.

    Losses and corruptions can then be written in plain torch, and neither the global
    generator nor another thread's fit is touched.

    Parameters
    ----------
    generator : torch.Generator
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Add the generator to functions that draw."""
        kwargs = kwargs or {}
        if func in _DRAWS and kwargs.get("generator") is None:
            kwargs = {**kwargs, "generator": self.generator}
        return func(*args, **kwargs)


_GRID = 2.0**20


def row_keys(rows: np.ndarray, seed: int) -> np.ndarray:
    """Hash each row by its content.

    Equal rows have equal keys wherever they stand, and rounding errors of a change of
    units vanish in the grid of 2^-20 standard deviations.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
        Centred and scaled rows.
    seed : int

    Returns
    -------
    ndarray of shape (n_samples,), dtype uint64
    """
    factors = np.random.default_rng(seed).integers(
        2**63, size=rows.shape[1], dtype=np.uint64
    ) | np.uint64(1)
    grid = np.rint(np.clip(rows * _GRID, -(2.0**62), 2.0**62)).astype(np.int64)
    keys = (grid.view(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
    # The sum is linear in the row; two rounds of splitmix64 break the lines up.
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    return keys ^ (keys >> np.uint64(31))


def held_out(keys: np.ndarray, weight: np.ndarray | None, fraction: float) -> np.ndarray:
    """Choose the rows to validate on.

    The rows with the smallest keys are held out until they carry ``fraction`` of the
    weight. Copies of a row have one key, so none of them is trained on while another is
    validated on, and a row of weight two counts exactly as two rows do.

    Parameters
    ----------
    keys : ndarray of shape (n_samples,)
    weight : ndarray of shape (n_samples,) or None
    fraction : float

    Returns
    -------
    ndarray of shape (n_samples,), dtype bool
        All False where a fraction of the distinct rows is less than one row.
    """
    if weight is None:
        ordered = np.sort(keys)
        place = math.ceil(fraction * len(keys)) - 1
    else:
        order = np.argsort(keys)
        ordered, carried = keys[order], np.cumsum(weight[order])
        place = np.searchsorted(carried, fraction * carried[-1])
    n_distinct = 1 + np.count_nonzero(ordered[1:] != ordered[:-1])
    if n_distinct * fraction < 1:
        return np.zeros(len(keys), dtype=bool)
    last = ordered[place]
    if last == ordered[-1]:  # something must be left to train on
        last = ordered[np.searchsorted(ordered, last) - 1]
    return keys <= last
