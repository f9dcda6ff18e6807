"""Rows of any kind as tensors: arrays, memory maps, CSR matrices, tensors.

Rows are centred, scaled and converted when they are taken, a batch at a time, so nothing
that is large is ever copied, converted or densified as a whole. Data small enough to hold
are prepared once instead.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sklearn_ae._training.device import holding_limit
from sklearn_ae._training.keys import EQUAL_CELLS, cells_of_units, row_keys
from sklearn_ae._training.resources import heavy

CHUNK_BYTES = 8 * 2**20
"""Size of the pieces in which larger data are read."""

CHUNK_ROWS = 4096
"""Number of rows in such a piece at most: hidden layers may be wider than the data."""


class Rows:
    """A sequence of weighted rows that gives tensors on the training device.

    Parameters
    ----------
    X : ndarray, CSR matrix or Tensor of shape (n_samples, n_features)
        Any numeric data type. Never changed.
    weight : Tensor of shape (n_samples,) or None
        Of each row, as a number of copies. None: all one.
    device : torch.device
    dtype : torch.dtype
        Of the tensors that :meth:`take` returns.
    ragged : bool, default=False
        Whether there may be NaN after the end of a row.
    targets : Rows or None
        What a decoder should make of them, where that is not the rows themselves. They are
        scaled and chosen along with the rows.
    """

    def __init__(
        self,
        X: Any,
        weight: Tensor | None,
        device: torch.device,
        dtype: torch.dtype,
        ragged: bool = False,
        targets: Rows | None = None,
    ) -> None:
        self.X = X
        self.weight = weight
        self.n_features = X.shape[1]
        self.device = device
        self.dtype = dtype
        self.ragged = ragged
        self.targets = targets
        self.center: Tensor | None = None
        self.scale: Tensor | None = None
        self._index: np.ndarray | None = None
        self._held: Tensor | None = None
        self._functions: tuple[Callable[[Tensor], Tensor], ...] = ()
        self._at_once = CHUNK_ROWS

    def __len__(self) -> int:
        return self.X.shape[0] if self._index is None else len(self._index)

    @property
    def precise(self) -> torch.dtype:
        """The widest floating-point type that the device knows."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def standardized(self, center: Tensor, scale: Tensor, dtype: torch.dtype) -> Rows:
        """Return the same rows less ``center``, over ``scale``, as ``dtype``."""
        rows = self._copy()
        rows.dtype = dtype
        rows.center, rows.scale = center.to(self.device), scale.to(self.device)
        if self.targets is not None:
            rows.targets = self.targets.standardized(center, scale, dtype)
        return rows

    def raw(self) -> Rows:
        """Return the same rows in the units of the data, in the widest type."""
        rows = Rows(self.X, self.weight, self.device, self.precise, self.ragged)
        rows._index = self._index
        return rows

    def through(
        self,
        function: Callable[[Tensor], Tensor],
        n_features: int,
        at_once: int = CHUNK_ROWS,
    ) -> Rows:
        """Return what a function makes of the rows, when they are taken.

        Parameters
        ----------
        function : callable
            Tensor of shape (n_taken, n_features) to one of as many rows. Called without
            recording a gradient.
        n_features : int
            Number of columns that it returns.
        at_once : int
            Number of rows that it should be given at most where all are gone through.
        """
        rows = self._copy()
        rows.n_features = n_features
        rows._functions = (*self._functions, function)
        rows._at_once = min(self._at_once, at_once)
        return rows

    def _copy(self) -> Rows:
        rows = copy.copy(self)
        rows._held = None
        return rows

    def subset(self, index: np.ndarray) -> Rows:
        """Return the rows at ``index``, an integer array."""
        rows = self._copy()
        rows.weight = None if self.weight is None else self.weight[torch.from_numpy(index)]
        rows._index = index if self._index is None else self._index[index]
        if self.targets is not None:
            rows.targets = self.targets.subset(index)
        return rows

    def where(self, mask: np.ndarray) -> Rows:
        """Return the rows at which ``mask`` is true."""
        small = len(mask) <= np.iinfo(np.int32).max  # half the memory of the usual int64
        return self.subset(np.flatnonzero(mask).astype(np.int32 if small else np.int64))

    def sample(self, n_rows: int, seed: int) -> Rows:
        """Return ``n_rows`` of the rows, drawn without replacement, in their order; or all."""
        if len(self) <= n_rows:
            return self
        # No multiple of a step: rows in turn from two sources would come from one only.
        drawn = np.random.default_rng(seed).choice(len(self), n_rows, replace=False, shuffle=False)
        return self.subset(np.sort(drawn))

    def hold(self) -> Rows:
        """Prepare all rows now if they are small enough; return ``self``."""
        size = len(self) * self.n_features * self.dtype.itemsize
        if self._held is None and size <= holding_limit(self.device):
            shape = (len(self), self.n_features)
            held = torch.empty(shape, dtype=self.dtype, device=self.device)
            for chunk in self.chunks():
                held[chunk] = self.take(chunk)
            self._held = held
        if self.targets is not None:
            self.targets.hold()
        return self

    def take(self, index: slice | Tensor) -> Tensor:
        """Return some rows, centred and scaled, on the device. Not to be written to.

        Parameters
        ----------
        index : slice or integer Tensor on the CPU

        Returns
        -------
        Tensor of shape (n_taken, n_features)
        """
        if self._held is not None:
            if isinstance(index, slice):
                return self._held[index]
            return self._held.index_select(0, index.to(self.device))
        rows = self._raw(index)
        if self.center is not None and self.scale is not None:
            # In the data's own precision: a large offset must go before a cast.
            rows = (rows - self.center.to(rows.dtype)).div_(self.scale.to(rows.dtype))
        rows = rows.to(self.dtype)
        with torch.no_grad():
            for function in self._functions:
                rows = function(rows)
        return rows

    def take_weight(self, index: slice | Tensor) -> Tensor:
        """Return the weights of some rows as float64, ones where there are none."""
        if self.weight is None:
            n_taken = index.stop - index.start if isinstance(index, slice) else len(index)
            return torch.ones(n_taken, dtype=self.precise, device=self.device)
        return self.weight[index].to(self.device, self.precise)

    @property
    def total_weight(self) -> float:
        """Sum of the weights."""
        return float(len(self) if self.weight is None else self.weight.sum())

    def _raw(self, index: slice | Tensor) -> Tensor:
        """Return some rows as they are, in float32 or float64."""
        if isinstance(self.X, Tensor):
            if self._index is not None:
                index = torch.from_numpy(self._index)[index]
            rows = self.X[index if isinstance(index, slice) else index.to(self.X.device)]
            dtype = torch.float32 if rows.dtype == torch.float32 else self.precise
            return rows.detach().to(self.device, dtype)
        place = index if isinstance(index, slice) else index.numpy()
        if self._index is not None:
            place = self._index[place]
        taken = self.X[place]
        array = taken.toarray() if sp.issparse(taken) else np.asarray(taken)
        single = array.dtype == np.float32 or self.device.type == "mps"
        with np.errstate(over="ignore"):  # of a wider type: infinity
            array = array.astype(np.float32 if single else np.float64, order="C", copy=False)
        # torch has no read-only tensors and no negative strides.
        if not array.flags.writeable or min(array.strides) < 0:
            array = array.copy()
        return torch.from_numpy(array).to(self.device)

    @property
    def chunk_size(self) -> int:
        """Number of rows that are read at a time."""
        widest = max(self.n_features, self.X.shape[1])  # of what is read and what is returned
        return max(1, min(self._at_once, CHUNK_BYTES // (8 * widest)))

    def chunks(self, at_most: int = CHUNK_ROWS) -> Iterator[slice]:
        """Slices that cover all rows in order."""
        size = min(self.chunk_size, at_most)
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))


class Batch(NamedTuple):
    """What a training step sees.

    Attributes
    ----------
    rows : Tensor of shape (batch_size, n_features)
        What the encoder sees.
    target : Tensor of shape (batch_size, n_features)
        What the decoder should give: the rows without noise, unless targets were given.
    weight : Tensor of shape (batch_size,) or None
        One on average over the epoch.
    twins : Tensor of shape (batch_size,) or None
        Number of each row among the distinct ones, where copies share what is drawn for them.
    """

    rows: Tensor
    target: Tensor
    weight: Tensor | None
    twins: Tensor | None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.rows)


class Batches:
    """Batches of one epoch after another.

    Parameters
    ----------
    rows : Rows
    batch_size : int
    shuffle : torch.Generator or None
        Gives the order. None: the order as it is.
    noise_level : float
        Standard deviation of Gaussian noise on what the encoder sees, fresh every time.
    noise : torch.Generator or None
        Gives the noise.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        shuffle: torch.Generator | None = None,
        noise_level: float = 0.0,
        noise: torch.Generator | None = None,
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.noise_level = noise_level
        self.noise = noise
        self.mean_weight = rows.total_weight / max(1, len(rows))
        self._places = torch.int32 if len(rows) < 2**31 else torch.int64
        # In a single batch copies of a row share their noise and whatever else is drawn, which
        # makes two copies the same as one row of weight two.
        self._twins = self.find_groups() if len(rows) <= batch_size else None

    def find_groups(self) -> Tensor:
        """Number the distinct rows, in an order of their own: equal rows have equal numbers."""
        cells = cells_of_units(self.rows.n_features, EQUAL_CELLS)
        keys = [
            row_keys(self.rows.take(chunk).nan_to_num().cpu().numpy(), cells)
            for chunk in self.rows.chunks()
        ]
        groups = np.unique(np.concatenate(keys), return_inverse=True)[1]
        return torch.from_numpy(groups).to(self.rows.device)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        n_rows, size = len(self.rows), self.batch_size
        if n_rows <= size or self.shuffle is None:  # one batch needs no order
            for start in range(0, n_rows, size):
                yield self._batch(slice(start, min(start + size, n_rows)))
            return
        for index in torch.randperm(n_rows, generator=self.shuffle, dtype=self._places).split(
            size
        ):
            yield self._batch(index)

    def _batch(self, index: slice | Tensor) -> Batch:
        rows, weight = self.rows.take(index), None
        target = rows if self.rows.targets is None else self.rows.targets.take(index)
        if self.rows.weight is not None:
            weight = (self.rows.take_weight(index) / self.mean_weight).to(rows.dtype)
        seen = rows + self._draw(rows) if self.noise_level else rows
        return Batch(seen, target, weight, self._twins)

    def _draw(self, rows: Tensor) -> Tensor:
        # In float32 whatever the type of the data is: torch draws others in float64.
        draw = torch.empty_like(rows, dtype=torch.float32)
        if self._twins is None:
            return draw.normal_(std=self.noise_level, generator=self.noise).to(rows)
        distinct = draw[: int(self._twins.max()) + 1]
        return distinct.normal_(std=self.noise_level, generator=self.noise)[self._twins].to(rows)


@heavy
@torch.no_grad()
def by_chunks(
    rows: Rows, function: Callable[[Tensor], Tensor], at_most: int = CHUNK_ROWS, dim: int = 0
) -> Tensor:
    """Apply ``function`` to one piece of the rows after another; join along ``dim``."""
    results = [function(rows.take(chunk)) for chunk in rows.chunks(at_most)]
    return results[0] if len(results) == 1 else torch.cat(results, dim)
