"""Random numbers from explicit generators: no global state is read or changed."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from sklearn.utils import check_random_state
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode


class Seeds(NamedTuple):
    """One seed for each purpose: the number of draws for one does not change the others."""

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
    """Return a new generator on ``device``."""
    return torch.Generator(device=device).manual_seed(seed)


DRAWS = {
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
    # Initialisations are intercepted as a whole: torch functions that they call are not.
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


class drawing_from(TorchFunctionMode):  # noqa: N801 - a context manager, as torch.no_grad
    """Context manager: torch functions that this thread calls draw from ``generator``.

    Losses and corruptions can then be written in plain torch, and neither the global generator
    nor fits in other threads are affected.

    Parameters
    ----------
    generator : torch.Generator
    duplicates : Tensor of shape (batch_size,) or None
        Index of the group of equal samples to which each sample of the batch belongs. Draws by
        ``rand``, ``randn``, ``rand_like`` and ``randn_like``, with samples on the second-to-last
        axis, are then the same for copies of a sample: two copies are equivalent to one sample of
        weight two.
    n_draws : int or None
        Number of groups; None: as many as have a sample in `duplicates`.

    Attributes
    ----------
    has_drawn : bool
        Whether anything has been drawn.
    """

    def __init__(
        self,
        generator: torch.Generator,
        duplicates: Tensor | None = None,
        n_draws: int | None = None,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.duplicates = duplicates
        self.n_draws = n_draws
        self.has_drawn = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Pass the generator to functions that draw."""
        kwargs = kwargs or {}
        if func in DRAWS and kwargs.get("generator") is None:
            self.has_drawn = True
            kwargs = {**kwargs, "generator": self.generator}
            if self.duplicates is not None and func in LIKE | SIZED:
                return self._draw_for_duplicates(func, args, kwargs)
        return func(*args, **kwargs)

    def _draw_for_duplicates(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Draw once for each group of equal samples."""
        assert self.duplicates is not None
        size = size_of_draw(func, args, kwargs)
        like = args[0] if args else kwargs.get("input")
        kwargs = {name: value for name, value in kwargs.items() if name not in ("input", "size")}
        # Draws of any other shape, such as one per feature, are not draws for samples.
        shared = len(size) > 1 and size[-2] == len(self.duplicates)
        if shared:
            size[-2] = self.n_draws or int(self.duplicates.max()) + 1
        first = like.new_empty(size) if func in LIKE else size
        drawn: Tensor = func(first, **kwargs)
        return drawn.index_select(-2, self.duplicates) if shared else drawn


def normal_quantile(probability: Tensor) -> Tensor:
    """Convert uniform numbers in float32 to standard normal ones."""
    # The quantiles of 0 and 1 are infinite; 1 - 2^-24 is the largest float32 below 1.
    quantile: Tensor = torch.special.ndtri(probability.clamp(2**-25, 1 - 2**-24))
    return quantile


def latin_grid(n_draws: int, n_dimensions: int) -> Tensor:
    """Return a Latin hypercube: each column holds the multiples of ``1 / n_draws``, shuffled.

    After a uniform shift of each column, modulo one, each point is uniform in the unit cube, and
    the points are evenly spaced in each dimension. The same arguments give the same hypercube.

    Returns
    -------
    Tensor of shape (n_draws, n_dimensions), float64
    """
    draws = torch.rand(n_draws, n_dimensions, generator=make_generator(0), dtype=torch.float64)
    return draws.argsort(0).to(draws) / n_draws


def shifted(grid: Tensor, shift: Tensor) -> Tensor:
    """Shift the points of a grid in the unit cube by one vector per sample, modulo one.

    Parameters
    ----------
    grid : Tensor of shape (n_draws, n_dimensions)
    shift : Tensor of shape (n_samples, n_dimensions)
        Between zero and one, as the values of the grid.

    Returns
    -------
    Tensor of shape (n_samples, n_draws, n_dimensions)
    """
    points = grid + shift[:, None]
    return points - (points >= 1).to(points.dtype)
