"""The reconstruction loss of encoded tables: squared errors and cross-entropies."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sklearn_ae.losses import Loss

FEW_BLOCKS = 16
"""Number of blocks up to which one call for each is faster than calls for all of them."""

LEAST_FREQUENCY = 1e-4
"""Frequencies of categories are raised to this value before their logarithm is an output."""


class Layout(NamedTuple):
    """Columns of an encoded table: numbers first, then one block of indicators per category.

    Attributes
    ----------
    n_numbers : int
    widths : tuple of int
        Number of indicators of each column of categories.
    """

    n_numbers: int
    widths: tuple[int, ...]

    @classmethod
    def of(cls, fields: tuple[int, tuple[int, ...]] | None, n_features: int) -> Layout | None:
        """Return a layout from its fields, None for None.

        Raises
        ------
        ValueError
            If it has another number of features.
        """
        if fields is None:
            return None
        layout = cls(*fields)
        if layout.n_features != n_features:
            raise ValueError(f"layout {fields} does not have {n_features} features.")
        return layout

    @property
    def n_columns(self) -> int:
        """Number of columns of the table."""
        return self.n_numbers + len(self.widths)

    @property
    def n_features(self) -> int:
        """Number of columns of the matrix."""
        return self.n_numbers + sum(self.widths)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers and the indicators of an encoded table, or of its outputs."""
        return x[..., : self.n_numbers], x[..., self.n_numbers :]

    def columns(self, device: torch.device) -> Tensor:
        """Return the index of the column of each feature."""
        numbers = torch.arange(self.n_numbers, device=device)
        return torch.cat([numbers, self.n_numbers + self.blocks(device)])

    def to_columns(self, x: Tensor) -> Tensor:
        """Return encoded samples with the place of its category in one column per block."""
        numbers, indicators = self.split(x)
        places = [part.argmax(-1, keepdim=True) for part in indicators.split(self.widths, -1)]
        columns = torch.cat([numbers, *(each.to(x.dtype) for each in places)], -1)
        return columns.where(self.observed(x), torch.nan)

    def from_columns(self, columns: Tensor) -> Tensor:
        """Invert :meth:`to_columns` for samples without missing values."""
        numbers, places = self.split(columns)
        indicators = [
            functional.one_hot(place.long(), width).to(columns.dtype)
            for place, width in zip(places.unbind(-1), self.widths, strict=True)
        ]
        return torch.cat([numbers, *indicators], -1)

    def observed(self, x: Tensor) -> Tensor:
        """Return which columns of encoded samples have a value, of shape (..., n_columns)."""
        numbers, indicators = self.split(x)
        ends = torch.tensor(self.widths, dtype=torch.int64, device=x.device).cumsum(0)
        return ~torch.cat([numbers, indicators.index_select(-1, ends - 1)], -1).isnan()

    def blocks(self, device: torch.device) -> Tensor:
        """Return the index of the block of each indicator."""
        widths = torch.tensor(self.widths, dtype=torch.int64, device=device)
        return torch.repeat_interleave(widths)

    def by_block(self) -> bool:
        """Return whether blocks are treated one by one."""
        return len(self.widths) <= FEW_BLOCKS

    def sums(self, x: Tensor) -> Tensor:
        """Return the sum of each block, of shape (..., n_blocks)."""
        if not self.widths:
            return x
        if self.by_block():
            return torch.stack([part.sum(-1) for part in x.split(self.widths, -1)], -1)
        zeros = x.new_zeros((*x.shape[:-1], len(self.widths)))
        return zeros.index_add(-1, self.blocks(x.device), x)

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Return the logarithm of the softmax function of each block.

        Parameters
        ----------
        logits : Tensor of shape (..., sum of widths)

        Returns
        -------
        Tensor of the shape of `logits`
        """
        if not self.widths:
            return logits
        if self.by_block():
            return torch.cat([part.log_softmax(-1) for part in logits.split(self.widths, -1)], -1)
        blocks = self.blocks(logits.device)
        shape = (*logits.shape[:-1], len(self.widths))
        # Any shift cancels. That by the maximum prevents overflow.
        largest = logits.new_full(shape, -torch.inf).scatter_reduce(
            -1, blocks.expand_as(logits), logits.detach(), "amax"
        )
        shifted = logits - largest[..., blocks]
        return shifted - self.sums(shifted.exp()).log()[..., blocks]

    def draw(self, logits: Tensor) -> Tensor:
        """Draw a category of each block; return indicators of the shape of `logits`."""
        # The maximum of logits with Gumbel noise has the probabilities of the softmax function.
        uniform = torch.rand_like(logits).clamp_min(torch.finfo(logits.dtype).tiny)
        noisy = self.log_probabilities(logits) - (-uniform.log()).log()
        chosen = [part.argmax(-1) for part in noisy.split(self.widths, -1)]
        drawn = [
            functional.one_hot(places, width)
            for places, width in zip(chosen, self.widths, strict=True)
        ]
        return torch.cat([logits[..., :0], *drawn], -1).to(logits)


def _deviances(layout: Layout, output: Tensor, target: Tensor) -> Tensor:
    """Return the squared error or the cross-entropy of each column, ``(..., n_columns)``."""
    numbers, logits = layout.split(output)
    values, indicators = layout.split(target)
    squares = (numbers - values).square()
    if not layout.widths:
        return squares
    entropies = -indicators * layout.log_probabilities(logits)
    return torch.cat([squares, layout.sums(entropies)], -1)


def _value(layout: Layout, output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of the terms of all columns, for each sample."""
    return _deviances(layout, output, target).mean(-1)


def _gradient(layout: Layout, output: Tensor, target: Tensor) -> Tensor:
    """Return the derivative of :func:`_value` with respect to the output."""
    numbers, logits = layout.split(output)
    values, indicators = layout.split(target)
    errors = 2 * (numbers - values)
    if layout.widths:
        # The indicators of a missing value are all zero in the target: its gradient is zero.
        known = layout.sums(indicators)[..., layout.blocks(output.device)]
        difference = layout.log_probabilities(logits).exp() * known - indicators
        errors = torch.cat([errors, difference], -1)
    return errors.div_(layout.n_columns)


def _mean(layout: Layout, output: Tensor) -> Tensor:
    """Return the numbers and the probabilities of the categories."""
    if not layout.widths:
        return output
    numbers, logits = layout.split(output)
    return torch.cat([numbers, layout.log_probabilities(logits).exp()], -1)


def _link(layout: Layout, mean: Tensor) -> Tensor:
    """Return an output whose mean is `mean`, up to the least frequency."""
    numbers, frequencies = layout.split(mean)
    return torch.cat([numbers, frequencies.clamp_min(LEAST_FREQUENCY).log()], -1)


def table_loss(layout: Layout) -> Loss:
    """Return the loss of encoded tables.

    It is the mean over the columns of the squared error of a standardised number, or of the
    cross-entropy of a category, in nats. Predicting the mean or the frequencies costs one for a
    number, and the entropy, mostly between 0.3 and 3, for a category: no column drowns others.
    """
    return Loss(
        value=partial(_value, layout),
        gradient=partial(_gradient, layout),
        mean=partial(_mean, layout),
        link=partial(_link, layout),
        scaled=False,
        n_linear=layout.n_numbers,
        deviances=partial(_deviances, layout),
    )
