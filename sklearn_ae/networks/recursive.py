"""Recursive networks: a binary tree over the steps of a sequence.

The encoder merges two neighbouring nodes to their parent until one node is left, the root. The
decoder splits parents into their children until there is a node for each step.
"""

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
"""Merges of a tree, in groups that can be computed at once. See :func:`waves_of`."""


def _linear(fan_in: int, fan_out: int) -> nn.Linear:
    """Create a linear layer that preserves the variance of its input, which suits tanh."""
    layer = nn.Linear(fan_in, fan_out)
    nn.init.uniform_(layer.weight, -math.sqrt(3 / fan_in), math.sqrt(3 / fan_in))
    return layer


class Join(nn.Module):
    """Layer that maps two children to their parent, ``tanh(W [left; right] + b)``."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layer = _linear(2 * size, size)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Map two tensors of shape ``(..., size)`` to one."""
        parent: Tensor = self.layer(torch.cat([left, right], -1))
        return parent.tanh()


class Split(nn.Module):
    """Layer that maps a parent to its two children, ``[left; right] = tanh(W p + b)``."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layer = _linear(size, 2 * size)

    def forward(self, parent: Tensor) -> tuple[Tensor, Tensor]:
        """Map a tensor of shape ``(..., size)`` to two."""
        left, right = self.layer(parent).tanh().chunk(2, -1)
        return left, right


def fold_balanced(nodes: Tensor, join: Join) -> Tensor:
    """Merge ``(batch, n_steps, size)`` to ``(batch, size)``, one level of the tree at a time.

    If the number of nodes is odd, the last one is a node of the next level, unchanged.
    """
    while (n_nodes := nodes.shape[1]) > 1:
        last = n_nodes // 2 * 2
        pairs = torch.unflatten(nodes[:, :last], 1, (-1, 2))
        left, right = pairs.unbind(2)  # (batch, pairs, size)
        nodes = torch.cat([join(left, right), nodes[:, last:]], 1)
    return nodes[:, 0]


def unfold_balanced(root: Tensor, n_steps: int, split: Split) -> Tensor:
    """Split ``(batch, size)`` to ``(batch, n_steps, size)``, one level at a time."""
    levels = [n_steps]  # numbers of nodes, from the leaves to the root
    while levels[-1] > 1:
        levels.append((levels[-1] + 1) // 2)
    nodes = root[:, None]
    for n_nodes in reversed(levels[:-1]):
        pairs = n_nodes // 2
        children = torch.stack(split(nodes[:, :pairs]), 2)  # (batch, pairs, 2, size)
        nodes = torch.cat([children.flatten(1, 2), nodes[:, pairs:]], 1)
    return nodes


def fold_left(nodes: Tensor, join: Join) -> Tensor:
    """Merge ``(batch, n_steps, size)`` to ``(batch, size)``, one step at a time."""
    root, *others = nodes.unbind(1)
    for node in others:
        root = join(root, node)
    return root


def unfold_left(root: Tensor, n_steps: int, split: Split) -> Tensor:
    """Split ``(batch, size)`` to ``(batch, n_steps, size)``, the last step first."""
    nodes = []
    for _ in range(n_steps - 1):
        root, right = split(root)
        nodes.append(right)
    return torch.stack([root, *reversed(nodes)], 1)


@torch.no_grad()
def greedy_merges(nodes: Tensor, length: Tensor, join: Join, split: Split) -> Tensor:
    """Choose which neighbours to merge: at each step the pair with the least error.

    The error of a pair is the reconstruction error of its children from their parent,
    ``||[left; right] - split(join(left, right))||^2``.

    Parameters
    ----------
    nodes : Tensor of shape (batch, n_steps, size)
        Leaves of the trees.
    length : Tensor of shape (batch,)
        Number of leaves of each tree.
    join : Join
    split : Split

    Returns
    -------
    merges : Tensor of shape (batch, n_steps - 1)
        Index of each merged pair among the pairs of neighbours at that step. -1 if only one node
        was left.
    """

    def errors_of(left: Tensor, right: Tensor, is_pair: Tensor) -> Tensor:
        """Return the errors of pairs, infinite where there is no pair."""
        reconstructed = split(join(left, right))
        error: Tensor = (left - reconstructed[0]).square().sum(-1)
        error = error + (right - reconstructed[1]).square().sum(-1)
        return error.where(is_pair, torch.inf)

    n_samples, n_steps, size = nodes.shape
    samples, places = (torch.arange(n, device=nodes.device) for n in (n_samples, n_steps))
    errors = errors_of(nodes[:, :-1], nodes[:, 1:], places[1:] < length[:, None])
    # The slots of the nodes of all trees are numbered consecutively. A parent replaces the left
    # child in its slot.
    slots, nodes = samples[:, None] * n_steps + places, nodes.reshape(-1, size).clone()
    merges = []
    for n_pairs in range(n_steps - 1, 0, -1):
        place = errors.argmin(1)
        is_pair = errors[samples, place] < torch.inf
        merges.append(place.where(is_pair, -1))
        left, right = slots[samples, place], slots[samples, place + 1]
        nodes[left] = join(nodes[left], nodes[right])
        slots, errors = _drop(slots, place + 1), _drop(errors, place)
        length = length - is_pair.long()
        if n_pairs > 1:  # only the pairs of the parent and its neighbours have other errors
            near = torch.stack([place - 1, place]).clamp(0, n_pairs - 2)
            pair = nodes[slots[samples, near]], nodes[slots[samples, near + 1]]
            errors[samples, near] = errors_of(*pair, near + 1 < length)
    return torch.stack(merges, 1) if merges else length.new_empty(n_samples, 0)


def _drop(values: Tensor, place: Tensor) -> Tensor:
    """Remove one value of each sample from ``(batch, n, ...)``, the one at its place."""
    kept = torch.arange(values.shape[1] - 1, device=values.device)
    kept = kept + (kept >= place[:, None]).long()
    return values[torch.arange(len(values), device=values.device)[:, None], kept]


@torch.no_grad()
def waves_of(merges: Tensor) -> Waves:
    """Group merges into waves: those of one wave depend only on the nodes of earlier waves.

    Each node is stored in the slot of the first step below it. The slots of all samples are
    numbered consecutively.

    Parameters
    ----------
    merges : Tensor of shape (batch, n_steps - 1)
        As :func:`greedy_merges` returns them. An index after the last pair means that pair.

    Returns
    -------
    list of (Tensor, Tensor)
        Slots of the left and of the right children in each wave. The slot of the parent is that
        of the left child.
    """
    n_samples, n_steps = len(merges), merges.shape[1] + 1
    samples = torch.arange(n_samples, device=merges.device)
    slots = samples[:, None] * n_steps + torch.arange(n_steps, device=merges.device)
    heights = torch.zeros_like(slots).flatten()  # of the subtree in each slot
    n_nodes = 1 + (merges >= 0).sum(1)
    done = []
    for merge in merges.unbind(1):
        is_merge = merge >= 0
        place = torch.minimum(merge, n_nodes - 2).clamp_min(0)
        left, right = slots[samples, place], slots[samples, place + 1]
        height = 1 + torch.maximum(heights[left], heights[right])
        heights[left] = height.where(is_merge, heights[left])
        done.append(torch.stack([left, right, height.where(is_merge, 0)]))
        # A slot is removed and the last one repeated, so that the shape remains the same.
        slots = torch.cat(
            [_drop(slots, (place + 1).where(is_merge, n_steps - 1)), slots[:, -1:]], 1
        )
        n_nodes = n_nodes - is_merge.long()
    if not done:
        return []
    left, right, height = torch.cat(done, 1)
    waves = range(1, int(height.max()) + 1)  # height zero: no merge
    return [(left[height == wave], right[height == wave]) for wave in waves]


def fold_along(nodes: Tensor, waves: Waves, join: Join) -> Tensor:
    """Merge ``(batch, n_steps, size)`` to ``(batch, size)`` along the tree of each sample."""
    slots = nodes.flatten(0, 1)
    for left, right in waves:
        slots = slots.index_copy(0, left, join(slots[left], slots[right]))
    return slots.view_as(nodes)[:, 0]


def unfold_along(root: Tensor, waves: Waves, n_steps: int, split: Split) -> Tensor:
    """Split ``(batch, size)`` to ``(batch, n_steps, size)`` along the tree of each sample."""
    slots = root[:, None].expand(-1, n_steps, -1).flatten(0, 1)
    for left, right in reversed(waves):
        children = torch.cat(split(slots[left]))
        slots = slots.index_copy(0, torch.cat([left, right]), children)
    return torch.unflatten(slots, 0, (-1, n_steps))


class FoldingEncoder(nn.Module):
    """Encoder that maps steps to nodes, merges the nodes, and maps the root to the code.

    Parameters
    ----------
    sequence : tuple of int
        Number of steps of a sample, and of values of a step.
    n_outputs : int
        Number of values to return for each sample, besides the merges of the tree.
    hidden_size : int
        Number of values of a node.
    tree : {"balanced", "left", "greedy"}
        Order of the merges.
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
        steps = torch.unflatten(x, 1, self.sequence)  # (batch, n_steps, n_channels)
        leaves = self.embed(steps.nan_to_num()).tanh()
        if self.tree == "greedy":
            length = count_steps(steps)
            merges = greedy_merges(leaves, length, self.join, self.split)
            root = fold_along(leaves, waves_of(merges), self.join)
            return torch.cat([self.code(root).to(x.dtype), merges.to(x.dtype)], 1)
        # The decoder does not receive the length, and returns nodes for the steps after the end.
        # Reconstructions are better if these have nodes in the encoder as well, with one learned
        # value, than if they are skipped.
        leaves = torch.where(steps[..., :1].isnan(), self.nothing.to(leaves.dtype), leaves)
        fold = fold_balanced if self.tree == "balanced" else fold_left
        code: Tensor = self.code(fold(leaves, self.join))
        return code


class UnfoldingDecoder(nn.Module):
    """Decoder that maps the code to the root, splits nodes, and maps the leaves to steps.

    Parameters
    ----------
    sequence : tuple of int
        Number of steps of a sample, and of values of a step.
    n_inputs : int
        Number of components of the code, besides the merges of the tree.
    hidden_size : int
        Number of values of a node.
    tree : {"balanced", "left", "greedy"}
        Order of the merges.
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
            # Codes that were drawn from a density are decoded with the nearest valid tree.
            merges = z[:, self.n_inputs :].round().clamp(-1, n_steps).long()
            leaves = unfold_along(root, waves_of(merges), n_steps, self.split)
        else:
            unfold = unfold_balanced if self.tree == "balanced" else unfold_left
            leaves = unfold(root, n_steps, self.split)
        steps: Tensor = self.step(leaves)  # (batch, n_steps, n_channels)
        return steps.flatten(1)


@declares_parameters
class RecursiveParameters(SequenceParameters):
    """Parameters of recursive networks and of `RecursiveAutoencoder`."""

    hidden_size: int = parameter(
        default=64,
        doc="""int
        Number of values of each node of the tree.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    tree: str = parameter(
        default="balanced",
        doc="""{"balanced", "left", "greedy"}
        Order of the merges. ``"balanced"``: all pairs of neighbours, then all pairs of their
        parents and so on; a last node without a neighbour moves up unchanged. ``"left"``: the
        first two steps, then their parent and the third step and so on. ``"greedy"``: in each
        sequence, the two neighbours that are reconstructed best from their parent. Only under
        ``"greedy"`` does the tree depend on the sample, and the code has further columns for it.
        """,
        constraint=[StrOptions({"balanced", "left", "greedy"})],
    )


@declares_parameters
class RecursiveNetwork(RecursiveParameters, SequenceNetwork):
    """Recursive network for sequences.

    The encoder maps each step to a node and merges pairs of neighbours until one node is left. The
    decoder splits the nodes in the reverse order.

    Sequences may have different lengths: all steps after the end of a sequence are NaN. The
    decoder always returns all steps.

    Examples
    --------
    >>> from sklearn_ae.networks import RecursiveNetwork
    >>> RecursiveNetwork(n_steps=10).encoder(sample_shape=(30,), n_outputs=4).join.layer
    Linear(in_features=128, out_features=64, bias=True)
    """

    samples_at_once: ClassVar[int] = 256

    def encoder(self, sample_shape: tuple[int, ...], n_outputs: int) -> FoldingEncoder:
        """Create the encoder."""
        sequence = self._as_sequence(sample_shape)
        return FoldingEncoder(sequence, n_outputs, self.hidden_size, self.tree)

    def decoder(self, sample_shape: tuple[int, ...], n_inputs: int) -> UnfoldingDecoder:
        """Create the decoder."""
        sequence = self._as_sequence(sample_shape)
        return UnfoldingDecoder(sequence, n_inputs, self.hidden_size, self.tree)

    def connect(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Share the weights that split nodes, by which the encoder chooses the merges."""
        if self.tree == "greedy":
            encoder.split = decoder.split

    def extra_names(self, sample_shape: tuple[int, ...]) -> list[str]:
        """Return the names of the merges, if the tree depends on the sample."""
        n_merges = self._as_sequence(sample_shape)[0] - 1 if self.tree == "greedy" else 0
        return [f"merge{number}" for number in range(n_merges)]
