"""Batches of samples as tensors, from arrays, memory maps, CSR matrices and tensors.

Samples are centred, scaled and converted one batch at a time, so large data are never copied,
converted or densified as a whole. Data that are small enough are converted once and cached.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sklearn_ae._training.device import cache_limit
from sklearn_ae._training.keys import EQUAL_CELLS, cells_of_units, sample_keys
from sklearn_ae._training.ranks import Place, Ranks, agreed
from sklearn_ae._training.resources import limit_resources
from sklearn_ae._training.shared_rows import SharedRows
from sklearn_ae._training.streaming import Stream, TemporaryRows

CHUNK_BYTES = 8 * 2**20
"""Largest size of the chunks in which data are read."""

CHUNK_SAMPLES = 4096
"""Largest number of samples in a chunk: hidden layers may be wider than the data."""


class Samples:
    """Weighted samples that are returned as tensors on the training device.

    Methods that select or convert samples return a new object with the same data `X`; samples are
    computed only by :meth:`take` and :meth:`cache`.

    Parameters
    ----------
    X : ndarray, CSR matrix or Tensor of shape (n_samples, n_features)
        Of any numeric dtype. Never modified.
    weight : Tensor of shape (n_samples,) or None
        Sample weights: a sample of weight two is equivalent to two copies. None: all one.
    device : torch.device
    dtype : torch.dtype
        Dtype of the tensors that :meth:`take` returns.
    has_missing : bool, default=False
        Whether values may be missing: NaN, for example after the end of a sequence.
    targets : Samples or None
        Targets of the decoder if they are not the samples themselves. They are scaled and
        selected together with the samples.
    """

    def __init__(
        self,
        X: Any,
        weight: Tensor | None,
        device: torch.device,
        dtype: torch.dtype,
        has_missing: bool = False,
        targets: Samples | None = None,
    ) -> None:
        self.X = X
        self.weight = weight
        self.n_features: int = X.shape[1]
        self.device = device
        self.dtype = dtype
        self.has_missing = has_missing
        self.targets = targets
        self.center: Tensor | None = None
        self.scale: Tensor | None = None
        self._index: np.ndarray | None = None
        self._cached: Tensor | None = None
        self._functions: tuple[Callable[[Tensor], Tensor], ...] = ()
        self._max_chunk_size = CHUNK_SAMPLES

    def __len__(self) -> int:
        return self.X.shape[0] if self._index is None else len(self._index)

    @property
    def precise(self) -> torch.dtype:
        """Widest floating-point dtype of the device: MPS has no float64."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def standardized(self, center: Tensor, scale: Tensor, dtype: torch.dtype) -> Samples:
        """Return the samples minus `center`, divided by `scale`, as `dtype`."""
        samples = self._copy()
        samples.dtype = dtype
        samples.center, samples.scale = center.to(self.device), scale.to(self.device)
        if self.targets is not None:
            samples.targets = self.targets.standardized(center, scale, dtype)
        return samples

    def known_moments(self) -> tuple[Tensor, Tensor] | None:
        """Return mean and variance of each feature if reading them again can be avoided."""
        is_all = self._index is None and self.weight is None and not self._functions
        if not (isinstance(self.X, Stream) and is_all) or self.precise != torch.float64:
            return None
        mean, variance = (each.to(self.device) for each in self.X.ranges.moments)
        if self.center is None or self.scale is None:
            return mean, variance
        return (mean - self.center) / self.scale, variance / self.scale.double().square()

    @property
    def is_streamed(self) -> bool:
        """Whether the samples are read block by block, again in every epoch."""
        return isinstance(self.X, Stream) and not self.is_cached

    def on_disk(self) -> Samples:
        """Return the same samples, copied to a temporary file if they are streamed.

        Few samples of a stream are in all of its blocks, which would all be read for them.
        """
        if not isinstance(self.X, (Stream, SharedRows)) or self._index is None:
            return self
        rows = TemporaryRows(len(self), self.X.shape[1], self.X.dtype)
        for chunk in self.chunks():
            rows.write(chunk.start, self.X[self._index[chunk]])
        samples = self._copy()
        samples.X, samples._index = Stream(rows, allows_missing=True), None
        if samples.targets is not None:
            samples.targets = samples.targets.on_disk()
        return samples

    def in_data_units(self) -> Samples:
        """Return the samples as they are in the data, in the widest dtype."""
        samples = Samples(self.X, self.weight, self.device, self.precise, self.has_missing)
        samples._index = self._index
        return samples

    def map(
        self,
        function: Callable[[Tensor], Tensor],
        n_features: int,
        at_once: int = CHUNK_SAMPLES,
    ) -> Samples:
        """Return the samples mapped by a function, which is called by :meth:`take`.

        Parameters
        ----------
        function : callable
            Maps a tensor of shape (n_taken, n_features) to one of as many samples. Called
            without gradients.
        n_features : int
            Number of features that it returns.
        at_once : int
            Largest number of samples that :meth:`chunks` passes to it in one call.
        """
        samples = self._copy()
        samples.n_features = n_features
        samples._functions = (*self._functions, function)
        samples._max_chunk_size = min(self._max_chunk_size, at_once)
        return samples

    def _copy(self) -> Samples:
        """Return a shallow copy without the cache, which holds other samples or other values."""
        samples = copy.copy(self)
        samples._cached = None
        return samples

    def subset(self, index: np.ndarray) -> Samples:
        """Return the samples at `index`, an integer array."""
        samples = self._copy()
        samples.weight = None if self.weight is None else self.weight[torch.from_numpy(index)]
        samples._index = index if self._index is None else self._index[index]
        if self.targets is not None:
            samples.targets = self.targets.subset(index)
        return samples

    def where(self, mask: np.ndarray) -> Samples:
        """Return the samples at which `mask` is true."""
        small = len(mask) <= np.iinfo(np.int32).max  # half the memory of int64
        return self.subset(np.flatnonzero(mask).astype(np.int32 if small else np.int64))

    def sample(self, n_samples: int, seed: int) -> Samples:
        """Return `n_samples` samples drawn without replacement, in their order; or all."""
        if len(self) <= n_samples:
            return self
        # Not every k-th sample: if two sources alternate in the data, all could be from one.
        random = np.random.default_rng(seed)
        drawn = random.choice(len(self), n_samples, replace=False, shuffle=False)
        return self.subset(np.sort(drawn))

    def cache(self) -> Samples:
        """Cache all samples as :meth:`take` returns them if they are small enough.

        Returns
        -------
        self : Samples
        """
        size = len(self) * self.n_features * self.dtype.itemsize
        is_on_disk = isinstance(self.X, Stream) and self.X.is_temporary
        fits = not is_on_disk and size <= cache_limit(self.device)
        if self._cached is None and agreed(fits):  # by the memory of the first process's device
            shape = (len(self), self.n_features)
            cached = torch.empty(shape, dtype=self.dtype, device=self.device)
            for chunk in self.chunks():
                cached[chunk] = self.take(chunk)
            self._cached = cached
        if self.targets is not None:
            self.targets.cache()
        return self

    @property
    def is_cached(self) -> bool:
        """Whether all samples are in memory as :meth:`take` returns them."""
        return self._cached is not None

    def take(self, index: slice | Tensor) -> Tensor:
        """Return some samples, standardised, on the device. The result must not be modified.

        Parameters
        ----------
        index : slice or integer Tensor on the CPU

        Returns
        -------
        Tensor of shape (n_taken, n_features)
        """
        if self._cached is not None:
            if isinstance(index, slice):
                return self._cached[index]  # a view
            return self._cached.index_select(0, transferred(index, self.device))
        values = self._read(index)
        if self.center is not None and self.scale is not None:
            # In the precision of the data: after a cast to float32, values with a large offset
            # would have lost their digits.
            values = (values - self.center.to(values.dtype)).div_(self.scale.to(values.dtype))
        values = values.to(self.dtype)
        with torch.no_grad():
            for function in self._functions:
                values = function(values)
        return values

    def take_weight(self, index: slice | Tensor) -> Tensor:
        """Return the weights of some samples in the widest dtype; ones if there are no weights."""
        if self.weight is None:
            n_taken = index.stop - index.start if isinstance(index, slice) else len(index)
            return torch.ones(n_taken, dtype=self.precise, device=self.device)
        return transferred(self.weight[index].to(self.precise), self.device)

    @property
    def total_weight(self) -> float:
        """Sum of the weights."""
        return float(len(self) if self.weight is None else self.weight.sum())

    def _read(self, index: slice | Tensor) -> Tensor:
        """Return some samples of the data, not standardised, in float32 or float64."""
        if isinstance(self.X, Tensor):
            if self._index is not None:
                index = torch.from_numpy(self._index)[index]
            if not isinstance(index, slice):
                index = transferred(index, self.X.device)
            values = self.X[index].detach()
            dtype = torch.float32 if values.dtype == torch.float32 else self.precise
            return transferred(values.to(dtype), self.device)
        selected = index if isinstance(index, slice) else index.numpy()
        if self._index is not None:
            selected = self._index[selected]
        part = self.X[selected]
        array = part.toarray() if sp.issparse(part) else np.asarray(part)
        single = array.dtype == np.float32 or self.device.type == "mps"
        with np.errstate(over="ignore"):  # a longdouble may overflow to infinity
            array = array.astype(np.float32 if single else np.float64, order="C", copy=False)
        # torch.from_numpy warns of read-only arrays and refuses negative strides.
        if not array.flags.writeable or min(array.strides) < 0:
            array = array.copy()
        return transferred(torch.from_numpy(array), self.device)

    def shuffled(self, sizes: Iterable[int], generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the indices of each batch of streamed samples; see :meth:`Stream.shuffled`."""
        if self._index is None or (self._index[1:] >= self._index[:-1]).all():
            yield from self.X.shuffled(self._index, sizes, generator)
            return
        order = np.argsort(self._index, kind="stable")
        for index in self.X.shuffled(self._index[order], sizes, generator):
            yield torch.from_numpy(order)[index]

    @property
    def is_shared(self) -> bool:
        """Whether each process of a fit holds some of the samples."""
        return isinstance(self.X, SharedRows) and not self.is_cached

    def own_range(self) -> slice:
        """Return the samples that this process holds, if they are shared."""
        first, last = self.X.own_range
        if self._index is None:
            return slice(first, last)
        ends = np.array([first, last], self._index.dtype)
        return slice(*np.searchsorted(self._index, ends).tolist())

    def own(self) -> Samples:
        """Return the samples that this process holds, if they are shared."""
        part, first = self.own_range(), self.X.own_range[0]
        samples = self._copy()
        samples.X = self.X.own
        samples.weight = None if self.weight is None else self.weight[part]
        samples._index = None if self._index is None else self._index[part] - first
        if self.targets is not None:
            is_shared = isinstance(self.targets.X, SharedRows)
            positions = np.arange(part.start, part.stop)
            samples.targets = self.targets.own() if is_shared else self.targets.subset(positions)
        return samples

    def sum_over_chunks(self, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Add what a function returns for the samples and the weights of each chunk.

        In a fit of several processes each computes some of the chunks.
        """
        ranks = Ranks.current()
        own = self.own() if ranks is not None and self.is_shared else self
        total: Tensor | None = None
        for number, chunk in enumerate(own.chunks()):
            if ranks is None or own is not self or number % ranks.size == ranks.rank:
                part = function(own.take(chunk), own.take_weight(chunk))
                total = part if total is None else total.add_(part)
        if ranks is None:
            assert total is not None
            return total
        if total is None:  # fewer chunks than processes
            some = own.take(slice(0, 1))
            total = torch.zeros_like(function(some, own.take_weight(slice(0, len(some)))))
        return ranks.add_(total)

    @property
    def chunk_size(self) -> int:
        """Number of samples that are read at a time."""
        widest: int = max(self.n_features, self.X.shape[1])  # before and after the functions
        at_most = min(self._max_chunk_size, CHUNK_BYTES // (8 * widest))
        if self.is_streamed:
            at_most = min(at_most, self.X.chunk_size)
        return max(1, at_most)

    def chunks(self, at_most: int = CHUNK_SAMPLES) -> Iterator[slice]:
        """Yield slices that cover all samples in order."""
        size = min(self.chunk_size, at_most)
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))


class Batch(NamedTuple):
    """Inputs of a training step.

    Attributes
    ----------
    samples : Tensor of shape (batch_size, n_features)
        Input of the encoder.
    target : Tensor of shape (batch_size, n_features)
        Target of the decoder: the samples without noise, unless other targets were passed.
    weight : Tensor of shape (batch_size,) or None
        Sample weights, of mean one over the epoch.
    duplicates : Tensor of shape (batch_size,) or None
        Index of the draws for each sample: equal samples may share them. None: each sample has
        draws of its own.
    n_draws : int or None
        Number of draws for samples, of which `duplicates` are indices.
    place : Place or None
        Part of a batch of several processes that this is. None: the whole.
    """

    samples: Tensor
    target: Tensor
    weight: Tensor | None
    duplicates: Tensor | None
    n_draws: int | None = None
    place: Place | None = None

    @property
    def n_samples(self) -> int:
        """Number of samples, also of those of other processes."""
        return len(self.samples) if self.place is None else self.place.n_total


class Batches:
    """Iterable over the batches of an epoch.

    Parameters
    ----------
    samples : Samples
    batch_size : int
    shuffle : torch.Generator or None
        Shuffles the samples in each epoch. None: they keep their order.
    noise_level : float
        Standard deviation of Gaussian noise on the inputs of the encoder, drawn in each epoch.
    noise : torch.Generator or None
        Generator of the noise.
    versions : sequence of Samples, default=()
        Other versions of the samples: one version is drawn for each epoch.
    ranks : Ranks or None, default=None
        Processes each of which takes a part of every batch.

    Attributes
    ----------
    duplicates : Tensor of shape (n_samples,) or None
        Index of the group of equal samples to which each sample belongs, if there is one batch.
    n_groups : int or None
        Number of these groups.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        shuffle: torch.Generator | None = None,
        noise_level: float = 0.0,
        noise: torch.Generator | None = None,
        versions: Sequence[Samples] = (),
        ranks: Ranks | None = None,
    ) -> None:
        self.samples = samples
        self.ranks = ranks
        self._versions = [samples, *versions]
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.noise_level = noise_level
        self.noise = noise
        self.mean_weight = samples.total_weight / max(1, len(samples))
        # Half the memory of int64 for the order of an epoch.
        self._index_dtype = torch.int32 if len(samples) < 2**31 else torch.int64
        # In a single batch, copies of a sample share their noise and all other draws, which makes
        # two copies equivalent to one sample of weight two.
        self.duplicates = self.find_groups() if len(samples) <= batch_size else None
        self.n_groups = None if self.duplicates is None else int(self.duplicates.max()) + 1
        self._substitute: Samples | None = None
        if ranks is not None and samples.is_shared:
            self._n_own = ranks.of_all(len(samples.own()))

    def find_groups(self) -> Tensor:
        """Return the index of each sample's group of equal samples.

        Returns
        -------
        Tensor of shape (n_samples,), int64
            Groups are sorted by the hash of their samples.
        """
        cells = cells_of_units(self.samples.n_features, EQUAL_CELLS)
        keys = [
            sample_keys(self.samples.take(chunk).nan_to_num().cpu().numpy(), cells)
            for chunk in self.samples.chunks()
        ]
        groups = np.unique(np.concatenate(keys), return_inverse=True)[1]
        return torch.from_numpy(groups).to(self.samples.device)

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        if len(self._versions) > 1:
            drawn = torch.randint(len(self._versions), (), generator=self.shuffle)
            self.samples = self._versions[int(drawn)]
        if self.ranks is not None and self.samples.is_shared and self.draws_order:
            yield from map(self._with_noise, self._own_batches(self.ranks))
            return
        for index in self._indices():
            yield self._with_noise(self.take(index))

    @property
    def draws_order(self) -> bool:
        """Whether samples are shuffled: within one batch their order is irrelevant."""
        return self.shuffle is not None and len(self.samples) > self.batch_size

    def _indices(self) -> Iterator[slice | Tensor]:
        """Yield the samples of each batch of an epoch."""
        if self.samples.is_streamed and self.draws_order:
            assert self.shuffle is not None
            yield from self.samples.shuffled(itertools.repeat(self.batch_size), self.shuffle)
            return
        order, n_samples = self.draw_order(), len(self.samples)
        for start in range(0, n_samples, self.batch_size):
            part = slice(start, min(start + self.batch_size, n_samples))
            yield part if order is None else order[part]

    def _own_batches(self, ranks: Ranks) -> Iterator[Batch]:
        """Yield what this process holds of each batch of an epoch.

        Each batch has about the same fraction of the samples of every process.
        """
        own, n_batches = self.samples.own(), len(self)
        assert self.shuffle is not None
        # Rounded at other batches in each process, so that all batches have about the same size.
        n_samples, ends = len(self.samples), np.arange(n_batches + 1) * len(self.samples)
        shifts = n_samples * np.arange(ranks.size) // ranks.size
        upto = [
            (ends // n_batches * n + shift) // n_samples
            for n, shift in zip(self._n_own, shifts, strict=True)
        ]
        sizes = np.diff(upto, axis=1)  # (n_processes, n_batches)
        sizes = sizes[:, sizes.any(0)]
        mine = sizes[ranks.rank].tolist()
        if own.is_streamed:
            indices = own.shuffled(filter(None, mine), self.shuffle)
        else:
            order = torch.randperm(len(own), generator=self.shuffle)
            indices = iter(torch.split(order, [size for size in mine if size]))
        for number, size in enumerate(mine):
            n_total, start = int(sizes[:, number].sum()), int(sizes[: ranks.rank, number].sum())
            if size:
                place = Place(start, start + size, n_total, size / n_total)
                yield self._part(own, next(indices), place)
            else:
                yield self._part(self._any_sample(own), slice(0, 1), Place(0, 1, n_total, 0.0))

    def _any_sample(self, own: Samples) -> Samples:
        """Return samples of which the first is computed where there is none, but not counted."""
        if len(own):
            return own
        if self._substitute is None:
            zeros = np.zeros((1, own.X.shape[1]), np.float32)
            one = Samples(zeros, None, own.device, own.dtype, own.has_missing)
            one.center, one.scale = own.center, own.scale
            for function in own._functions:
                one = one.map(function, own.n_features)
            if own.targets is not None:
                empty = np.zeros((1, own.targets.X.shape[1]), np.float32)
                one.targets = Samples(empty, None, own.device, own.dtype)
            if own.weight is not None:
                one.weight = torch.ones(1, dtype=torch.float64)
            self._substitute = one
        return self._substitute

    def continue_from(self, other: Batches) -> None:
        """Set the generators to the state of others."""
        for own, others in ((self.shuffle, other.shuffle), (self.noise, other.noise)):
            if own is not None and others is not None and own is not others:
                own.set_state(others.get_state())

    def draw_order(self) -> Tensor | None:
        """Draw the order of the samples in an epoch; None: they keep their order."""
        if not self.draws_order:
            return None
        n_samples = len(self.samples)
        return torch.randperm(n_samples, generator=self.shuffle, dtype=self._index_dtype)

    def take(self, index: slice | Tensor) -> Batch:
        """Return some samples as a batch without noise; of several processes, the own part."""
        if self.ranks is None:
            return self._part(self.samples, index, None)
        if self.samples.is_shared:
            assert isinstance(index, slice)
            held = self.samples.own_range()
            start, stop = max(index.start, held.start), min(index.stop, held.stop)
            n_total = index.stop - index.start
            place = Place(0, 1, n_total, 0.0)
            own = slice(0, 1)
            if start < stop:
                own = slice(start - held.start, stop - held.start)
                fraction = (stop - start) / n_total
                place = Place(start - index.start, stop - index.start, n_total, fraction)
            return self._part(self._any_sample(self.samples.own()), own, place)
        if isinstance(index, slice):
            place = self.ranks.place_in(index.stop - index.start)
            index = slice(index.start + place.start, index.start + place.stop)
        else:
            place = self.ranks.place_in(len(index))
            index = index[place.start : place.stop]
        return self._part(self.samples, index, place)

    def _part(self, samples: Samples, index: slice | Tensor, place: Place | None) -> Batch:
        """Return samples as a batch, given their place in that of all processes."""
        values, weight = samples.take(index), None
        target = values if samples.targets is None else samples.targets.take(index)
        if samples.weight is not None:
            weight = (samples.take_weight(index) / self.mean_weight).to(values.dtype)
        if place is None:
            return Batch(values, target, weight, self.duplicates, self.n_groups)
        if self.duplicates is not None:
            duplicates = self.duplicates[place.start : place.stop]
            return Batch(values, target, weight, duplicates, self.n_groups, place)
        # All processes draw for all samples, and each takes what its own samples need.
        draws = torch.arange(place.start, place.stop, device=values.device)
        return Batch(values, target, weight, draws, place.n_total, place)

    def _with_noise(self, batch: Batch) -> Batch:
        """Add noise to the inputs of the encoder."""
        if not self.noise_level:
            return batch
        samples, n_targets = batch.samples, batch.target.shape[1]
        empty = samples.new_empty(samples.shape, dtype=torch.float32)
        draw = self.draw_noise(empty, batch.duplicates, batch.n_draws)
        # Not in place: the samples may be a view of the cache, and are the target.
        inputs = torch.add(samples, draw.to(samples.dtype), alpha=self.noise_level)
        if samples.shape[1] > n_targets:  # no noise on what says which values were missing
            inputs = torch.cat([inputs[:, :n_targets], samples[:, n_targets:]], 1)
        return batch._replace(samples=inputs)

    def draw_noise(
        self, out: Tensor, duplicates: Tensor | None = None, n_draws: int | None = None
    ) -> Tensor:
        """Draw standard normal numbers for a batch, the same for equal samples.

        Parameters
        ----------
        out : Tensor of shape (batch_size, n_features), float32
            Overwritten and returned. Not of the dtype of the data: torch draws float64 several
            times as slowly.
        duplicates, n_draws : Tensor of shape (batch_size,) and int, or None
            As in :class:`Batch`.
        """
        if duplicates is None or n_draws is None:
            return out.normal_(generator=self.noise)
        distinct = out.new_empty(n_draws, out.shape[1]).normal_(generator=self.noise)
        return out.copy_(distinct[duplicates])


def transferred(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, to which the next batch is copied while it computes a step.

    A copy of pinned memory to a CUDA device is queued behind the step, and the caller reads on. Of
    other memory it would wait until the step is complete. torch keeps the pinned memory until the
    copy is complete.
    """
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


@limit_resources
@torch.no_grad()
def by_chunks(
    samples: Samples,
    function: Callable[[Tensor], Tensor],
    at_most: int = CHUNK_SAMPLES,
    dim: int = 0,
) -> Tensor:
    """Apply a function to one chunk of the samples after another; concatenate along `dim`."""
    results = [function(samples.take(chunk)) for chunk in samples.chunks(at_most)]
    return results[0] if len(results) == 1 else torch.cat(results, dim)
