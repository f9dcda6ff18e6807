"""Recursive networks: neighbours are folded into parents, and parents unfolded again."""

from __future__ import annotations

import math
from numbers import Integral
from typing import ClassVar

import torch
from torch import Tensor, nn

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae.networks._sequence import SequenceNetwork, SequenceParameters, count_steps

Waves = list[tuple[Tensor, Tensor]]


def _linear(fan_in: int, fan_out: int) -> nn.Linear:
    """Return a linear layer that keeps the variance of its input, as tanh wants it."""
    layer = nn.Linear(fan_in, fan_out)
    nn.init.uniform_(layer.weight, -math.sqrt(3 / fan_in), math.sqrt(3 / fan_in))
    return layer


class Join(nn.Module):
    """Two children to their parent, ``tanh(W [left; right] + b)``."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layer = _linear(2 * size, size)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Map two tensors of shape ``(..., size)`` to one."""
        return self.layer(torch.cat([left, right], -1)).tanh()


class Split(nn.Module):
    """A parent to its two children, ``[left; right] = tanh(W p + b)``."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layer = _linear(size, 2 * size)

    def forward(self, parent: Tensor) -> tuple[Tensor, Tensor]:
        """Map a tensor of shape ``(..., size)`` to two."""
        left, right = self.layer(parent).tanh().chunk(2, -1)
        return left, right


def fold_balanced(nodes: Tensor, join: Join) -> Tensor:
    """Fold ``(batch, n_steps, size)`` to ``(batch, size)``, a level of the tree at a time.

    The last of an odd number of nodes is carried up as it is.
    """
    while (n_nodes := nodes.shape[1]) > 1:
        last = n_nodes // 2 * 2
        left, right = nodes[:, :last].unflatten(1, (-1, 2)).unbind(2)  # (batch, pairs, size)
        nodes = torch.cat([join(left, right), nodes[:, last:]], 1)
    return nodes[:, 0]


def unfold_balanced(root: Tensor, n_steps: int, split: Split) -> Tensor:
    """Unfold ``(batch, size)`` to ``(batch, n_steps, size)``, a level at a time."""
    levels = [n_steps]
    while levels[-1] > 1:
        levels.append((levels[-1] + 1) // 2)
    nodes = root[:, None]
    for n_nodes in reversed(levels[:-1]):
        pairs = n_nodes // 2
        children = torch.stack(split(nodes[:, :pairs]), 2)  # (batch, pairs, 2, size)
        nodes = torch.cat([children.flatten(1, 2), nodes[:, pairs:]], 1)
    return nodes


def fold_left(nodes: Tensor, join: Join) -> Tensor:
    """Fold ``(batch, n_steps, size)`` to ``(batch, size)``, a step at a time."""
    root, *others = nodes.unbind(1)
    for node in others:
        root = join(root, node)
    return root


def unfold_left(root: Tensor, n_steps: int, split: Split) -> Tensor:
    """Unfold ``(batch, size)`` to ``(batch, n_steps, size)``, the last step first."""
    nodes = []
    for _ in range(n_steps - 1):
        root, right = split(root)
        nodes.append(right)
    return torch.stack([root, *reversed(nodes)], 1)


@torch.no_grad()
def greedy_merges(nodes: Tensor, length: Tensor, join: Join, split: Split) -> Tensor:
    """Choose which neighbours to merge, the pair with the least error first.

    The error of a pair is that of its reconstruction from its parent,
    ``||[left; right] - split(join(left, right))||^2``.

    Parameters
    ----------
    nodes : Tensor of shape (batch, n_steps, size)
    length : Tensor of shape (batch,)
    join : Join
    split : Split

    Returns
    -------
    merges : Tensor of shape (batch, n_steps - 1)
        The place of each pair among those that were there, counted from the left. -1 where
        only one node was left.
    """

    def errors_of(left: Tensor, right: Tensor, is_pair: Tensor) -> Tensor:
        restored = split(join(left, right))
        error = (left - restored[0]).square().sum(-1) + (right - restored[1]).square().sum(-1)
        return error.where(is_pair, torch.inf)

    n_rows, n_steps, size = nodes.shape
    rows, places = (torch.arange(n, device=nodes.device) for n in (n_rows, n_steps))
    errors = errors_of(nodes[:, :-1], nodes[:, 1:], places[1:] < length[:, None])
    slots, nodes = rows[:, None] * n_steps + places, nodes.reshape(-1, size).clone()
    merges = []
    for n_pairs in range(n_steps - 1, 0, -1):
        place = errors.argmin(1)
        is_pair = errors[rows, place] < torch.inf
        merges.append(place.where(is_pair, -1))
        left, right = slots[rows, place], slots[rows, place + 1]
        nodes[left] = join(nodes[left], nodes[right])
        slots, errors = _drop(slots, place + 1), _drop(errors, place)
        length = length - is_pair.long()
        if n_pairs > 1:  # the pairs of the parent with its neighbours
            near = torch.stack([place - 1, place]).clamp(0, n_pairs - 2)
            pair = nodes[slots[rows, near]], nodes[slots[rows, near + 1]]
            errors[rows, near] = errors_of(*pair, near + 1 < length)
    return torch.stack(merges, 1) if merges else length.new_empty(n_rows, 0)


def _drop(values: Tensor, place: Tensor) -> Tensor:
    """Take one entry out of each row of ``(batch, n, ...)``; what follows moves up."""
    kept = torch.arange(values.shape[1] - 1, device=values.device)
    kept = kept + (kept >= place[:, None]).long()
    return values[torch.arange(len(values), device=values.device)[:, None], kept]


@torch.no_grad()
def waves_of(merges: Tensor) -> Waves:
    """Sort merges so that those of one wave need only what earlier waves made.

    A node has the slot of the first step under it, slots of all rows in one sequence.

    Parameters
    ----------
    merges : Tensor of shape (batch, n_steps - 1)
        As :func:`greedy_merges` returns them. Places beyond the last pair mean that pair.

    Returns
    -------
    list of (Tensor, Tensor)
        Slots of the left and of the right children. The parent takes the left one's.
    """
    n_rows, n_steps = len(merges), merges.shape[1] + 1
    rows = torch.arange(n_rows, device=merges.device)
    slots = rows[:, None] * n_steps + torch.arange(n_steps, device=merges.device)
    heights = torch.zeros_like(slots).flatten()
    n_nodes = 1 + (merges >= 0).sum(1)
    done = []
    for merge in merges.unbind(1):
        is_merge = merge >= 0
        place = torch.minimum(merge, n_nodes - 2).clamp_min(0)
        left, right = slots[rows, place], slots[rows, place + 1]
        height = 1 + torch.maximum(heights[left], heights[right])
        heights[left] = height.where(is_merge, heights[left])
        done.append(torch.stack([left, right, height.where(is_merge, 0)]))
        slots = torch.cat(
            [_drop(slots, (place + 1).where(is_merge, n_steps - 1)), slots[:, -1:]], 1
        )
        n_nodes = n_nodes - is_merge.long()
    if not done:
        return []
    left, right, height = torch.cat(done, 1)
    waves = range(1, int(height.max()) + 1)
    return [(left[height == wave], right[height == wave]) for wave in waves]


def fold_along(nodes: Tensor, waves: Waves, join: Join) -> Tensor:
    """Fold ``(batch, n_steps, size)`` to ``(batch, size)`` along a tree for each row."""
    slots = nodes.flatten(0, 1)
    for left, right in waves:
        slots = slots.index_copy(0, left, join(slots[left], slots[right]))
    return slots.view_as(nodes)[:, 0]


def unfold_along(root: Tensor, waves: Waves, n_steps: int, split: Split) -> Tensor:
    """Unfold ``(batch, size)`` to ``(batch, n_steps, size)`` along a tree for each row."""
    slots = root[:, None].expand(-1, n_steps, -1).flatten(0, 1)
    for left, right in reversed(waves):
        children = torch.cat(split(slots[left]))
        slots = slots.index_copy(0, torch.cat([left, right]), children)
    return slots.unflatten(0, (-1, n_steps))


class FoldingEncoder(nn.Module):
    """Steps to vectors, vectors folded to one, and that one mapped to the code.

    Parameters
    ----------
    sequence : tuple of int
        Number of steps of a row, and of values of a step.
    n_outputs : int
        Width of the code, apart from what it says of the tree.
    hidden_size : int
        Width of the vectors.
    tree : {"balanced", "left", "greedy"}
        Order of folding.
    """

    def __init__(
        self, sequence: tuple[int, int], n_outputs: int, hidden_size: int, tree: str
    ) -> None:
        super().__init__()
        self.sequence = sequence
        self.tree = tree
        self.embed = _linear(sequence[1], hidden_size)
        self.join = Join(hidden_size)
        self.code = nn.Linear(hidden_size, n_outputs)
        if tree == "greedy":
            self.split = Split(hidden_size)
        else:
            self.nothing = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, n_features)`` to ``(batch, n_outputs + n_extra)``."""
        steps = x.unflatten(1, self.sequence)
        leaves = self.embed(steps.nan_to_num()).tanh()
        if self.tree == "greedy":
            length = count_steps(steps)
            merges = greedy_merges(leaves, length, self.join, self.split)
            root = fold_along(leaves, waves_of(merges), self.join)
            return torch.cat([self.code(root).to(x.dtype), merges.to(x.dtype)], 1)
        # What follows the end is folded in as well: the decoder, which is not told where the
        # end is, unfolds it again. Sequences are restored better than if it were skipped.
        leaves = torch.where(steps[..., :1].isnan(), self.nothing.to(leaves.dtype), leaves)
        fold = fold_balanced if self.tree == "balanced" else fold_left
        return self.code(fold(leaves, self.join))


class UnfoldingDecoder(nn.Module):
    """The code to a vector, the vector unfolded to all steps' vectors, and those to steps.

    Parameters
    ----------
    sequence : tuple of int
        Number of steps of a row, and of values of a step.
    n_inputs : int
        Width of the code, apart from what it says of the tree.
    hidden_size : int
        Width of the vectors.
    tree : {"balanced", "left", "greedy"}
        Order of folding.
    """

    def __init__(
        self, sequence: tuple[int, int], n_inputs: int, hidden_size: int, tree: str
    ) -> None:
        super().__init__()
        self.sequence = sequence
        self.n_inputs = n_inputs
        self.tree = tree
        self.root = _linear(n_inputs, hidden_size)
        self.split = Split(hidden_size)
        self.step = nn.Linear(hidden_size, sequence[1])

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(batch, n_inputs + n_extra)`` to ``(batch, n_features)``."""
        root, n_steps = self.root(z[:, : self.n_inputs]).tanh(), self.sequence[0]
        if self.tree == "greedy":
            # Any code can be decoded: what it says of the tree is taken for the nearest tree.
            merges = z[:, self.n_inputs :].round().clamp(-1, n_steps).long()
            leaves = unfold_along(root, waves_of(merges), n_steps, self.split)
        else:
            unfold = unfold_balanced if self.tree == "balanced" else unfold_left
            leaves = unfold(root, n_steps, self.split)
        return self.step(leaves).flatten(1)


@declares_parameters
class RecursiveParameters(SequenceParameters):
    """Parameters of recursive networks and of `RecursiveAutoencoder`."""

    hidden_size: int = parameter(
        default=64,
        doc="""int
        Width of the vectors that are folded.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    tree: str = parameter(
        default="balanced",
        doc="""{"balanced", "left", "greedy"}
        What is folded first. ``"balanced"``: all pairs of neighbours, then all pairs of
        their parents and so on; a last one without a neighbour is carried up. ``"left"``: the
        first two steps, then their parent and the third and so on. ``"greedy"``: the two
        neighbours, in each sequence, that their parent restores best. Only ``"greedy"`` lets
        the tree depend on the row, and only its codes have columns beyond the components.
        """,
        constraint=[StrOptions({"balanced", "left", "greedy"})],
    )


@declares_parameters
class RecursiveNetwork(RecursiveParameters, SequenceNetwork):
    """Recursive network of sequences: neighbours are folded in pairs until one is left.

    Rows may be ragged: NaN after the end of a sequence, in whole steps. The decoder always
    gives all steps.

    Examples
    --------
    >>> from sklearn_ae.networks import RecursiveNetwork
    >>> RecursiveNetwork(n_steps=10).encoder(row_shape=(30,), n_outputs=4).join.layer
    Linear(in_features=128, out_features=64, bias=True)
    """

    rows_at_once: ClassVar[int] = 256

    def encoder(self, row_shape: tuple[int, ...], n_outputs: int) -> FoldingEncoder:
        """Return the encoder."""
        sequence = self._as_sequence(row_shape)
        return FoldingEncoder(sequence, n_outputs, self.hidden_size, self.tree)

    def decoder(self, row_shape: tuple[int, ...], n_inputs: int) -> UnfoldingDecoder:
        """Return the decoder."""
        sequence = self._as_sequence(row_shape)
        return UnfoldingDecoder(sequence, n_inputs, self.hidden_size, self.tree)

    def connect(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Let the encoder choose merges with the very weights that will undo them."""
        if self.tree == "greedy":
            encoder.split = decoder.split

    def extra_names(self, row_shape: tuple[int, ...]) -> list[str]:
        """Name what the decoder must know of the tree."""
        n_merges = self._as_sequence(row_shape)[0] - 1 if self.tree == "greedy" else 0
        return [f"merge{number}" for number in range(n_merges)]
