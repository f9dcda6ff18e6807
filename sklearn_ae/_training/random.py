"""Random numbers: explicit generators only, so nothing global is read or changed."""

from __future__ import annotations

from typing import Any, NamedTuple

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


LIKE = {torch.rand_like, torch.randn_like}
SIZED = {torch.rand, torch.randn}
GAUSSIAN = {torch.randn, torch.randn_like}


def size_of_draw(func: Any, args: Any, kwargs: dict[str, Any]) -> list[int]:
    """Return the shape that ``rand``, ``randn`` or one of their ``_like`` is called for."""
    if func in LIKE:
        return list((args[0] if args else kwargs["input"]).shape)
    sizes = args or (kwargs["size"],)
    return list(sizes if isinstance(sizes[0], int) else sizes[0])


class drawing_from(TorchFunctionMode):  # noqa: N801 - reads as a statement
    """Within the block, this thread's torch draws come from ``generator``.

    Losses and corruptions can then be written in plain torch, and neither the global
    generator nor another thread's fit is touched.

    Parameters
    ----------
    generator : torch.Generator
    twins : Tensor of shape (batch_size,) or None
        Number of each row of the batch among the distinct ones. What ``rand``, ``randn`` and
        their ``_like`` draw, rows on the last axis but one, is then the same for copies of a
        row: two copies are the same as one row of weight two.

    Attributes
    ----------
    has_drawn : bool
        Whether anything has been drawn.
    """

    def __init__(self, generator: torch.Generator, twins: Tensor | None = None) -> None:
        super().__init__()
        self.generator = generator
        self.twins = twins
        self.has_drawn = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Add the generator to functions that draw."""
        kwargs = kwargs or {}
        if func in _DRAWS and kwargs.get("generator") is None:
            self.has_drawn = True
            kwargs = {**kwargs, "generator": self.generator}
            if self.twins is not None and func in LIKE | SIZED:
                return self._draw_for_twins(func, args, kwargs)
        return func(*args, **kwargs)

    def _draw_for_twins(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        assert self.twins is not None
        size = size_of_draw(func, args, kwargs)
        like = args[0] if args else kwargs.get("input")
        kwargs = {name: value for name, value in kwargs.items() if name not in ("input", "size")}
        shared = len(size) > 1 and size[-2] == len(self.twins)
        if shared:
            size[-2] = int(self.twins.max()) + 1
        drawn = func(like.new_empty(size), **kwargs) if func in LIKE else func(size, **kwargs)
        return drawn.index_select(-2, self.twins) if shared else drawn


def normal_quantile(probability: Tensor) -> Tensor:
    """Turn uniform numbers, in float32, into standard Gaussian ones."""
    return torch.special.ndtri(probability.clamp(2**-25, 1 - 2**-24))


def latin_grid(n_draws: int, n_dimensions: int) -> Tensor:
    """Return a Latin hypercube: each column has the multiples of ``1 / n_draws`` in some order.

    Shifted by a uniform number for each column, modulo one, a row of it is a point uniform in the
    unit cube, and the points of all rows are even in each column. It is always the same.

    Returns
    -------
    Tensor of shape (n_draws, n_dimensions), float64
    """
    draws = torch.rand(n_draws, n_dimensions, generator=make_generator(0), dtype=torch.float64)
    return draws.argsort(0).to(draws) / n_draws


def shifted(grid: Tensor, shift: Tensor) -> Tensor:
    """Move the points of a grid in the unit cube by a vector for each sample, around its edges.

    Parameters
    ----------
    grid : Tensor of shape (n_draws, n_dimensions)
    shift : Tensor of shape (n_samples, n_dimensions)
        Between zero and one, as the grid.

    Returns
    -------
    Tensor of shape (n_samples, n_draws, n_dimensions)
    """
    points = grid + shift[:, None]
    return points - (points >= 1).to(points.dtype)
