"""Greedy trees as loops of which every iteration is the same for all samples.

The network's own code visits only the merges of each sample's tree and needs their values for
that, so it cannot be traced.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sklearn_ae._onnx.tracing import loop
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._sequence import count_steps
from sklearn_ae.networks.recursive import FoldingEncoder, UnfoldingDecoder


def with_loops(module: AutoencoderModule) -> AutoencoderModule:
    """Replace the encoder and the decoder of a greedy tree by their loops, in place."""
    if isinstance(module.encoder, FoldingEncoder) and module.encoder.tree == "greedy":
        module.encoder = GreedyEncoder(module.encoder)
    if isinstance(module.decoder, UnfoldingDecoder) and module.decoder.tree == "greedy":
        module.decoder = GreedyDecoder(module.decoder)
    return module


class GreedyEncoder(nn.Module):
    """Compute the same as a :class:`FoldingEncoder` with a greedy tree.

    Each node has a slot, that of the first step under it. The loop over merges has this state:

    ======  ==========================  =======================================================
    nodes   (n_samples, n_steps, size)  vectors by slot; merged right children keep theirs
    slots   (n_samples, n_steps)        slots of the nodes that are left, from left to right;
                                        only the first `length` entries are used
    errors  (n_samples, n_steps - 1)    error of each pair of neighbours, infinite if there is
                                        no such pair
    length  (n_samples, 1)              number of nodes that are left
    ======  ==========================  =======================================================
    """

    def __init__(self, encoder: FoldingEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n_samples, n_features)`` to ``(n_samples, n_outputs + n_extra)``."""
        n_steps, size = self.encoder.sequence
        steps = x.reshape(-1, n_steps, size)
        nodes = self.encoder.embed(steps.nan_to_num()).tanh()
        code: Tensor
        if n_steps == 1:
            code = self.encoder.code(nodes[:, 0])
            return code
        length = count_steps(steps)[:, None]
        # Multiples of a traced tensor: constants would have the number of examples as a length.
        slots = length * 0 + torch.arange(n_steps)
        errors = self._errors(nodes[:, :-1], nodes[:, 1:], torch.arange(1, n_steps) < length)
        state = [nodes, slots, errors, length]
        nodes, _, _, _, merges = loop(n_steps - 1, state, self._merge)
        code = self.encoder.code(nodes[:, 0])  # the root has the slot of the first step
        # (n_merges, n_samples, 1) -> (n_samples, n_merges)
        merges = merges.permute(1, 0, 2).flatten(1)
        return torch.cat([code, merges.to(x.dtype)], 1)

    def _merge(
        self, iteration: Tensor, nodes: Tensor, slots: Tensor, errors: Tensor, length: Tensor
    ) -> list[Tensor]:
        """Merge the pair with the smallest error in each sample that has a pair."""
        place = errors.argmin(1)[:, None]
        is_pair = errors.gather(1, place) < torch.inf
        left = slots.gather(1, place)
        pair = _nodes_at(nodes, left), _nodes_at(nodes, slots.gather(1, place + 1))
        # Without a pair the left node is replaced by itself.
        parent = torch.where(is_pair[..., None], self.encoder.join(*pair), pair[0])
        nodes = _with_nodes(nodes, left, parent)
        slots, errors = _drop(slots, place + 1), _drop(errors, place)
        length = length - is_pair.long()
        # `_drop` repeats the last error, whose pair is gone.
        errors = torch.where(torch.arange(errors.shape[1]) + 1 < length, errors, torch.inf)
        # The parent has new errors with its two neighbours.
        near = torch.cat([place - 1, place], 1).clamp(0, errors.shape[1] - 1)
        left, right = (_nodes_at(nodes, slots.gather(1, at)) for at in (near, near + 1))
        errors = errors.scatter(1, near, self._errors(left, right, near + 1 < length))
        return [nodes, slots, errors, length, place.where(is_pair, -1)]

    def _errors(self, left: Tensor, right: Tensor, is_pair: Tensor) -> Tensor:
        """Return the squared error of each pair's reconstruction from its parent."""
        new_left, new_right = self.encoder.split(self.encoder.join(left, right))
        error: Tensor = (left - new_left).square().sum(-1) + (right - new_right).square().sum(-1)
        return error.where(is_pair, torch.inf)


class GreedyDecoder(nn.Module):
    """Compute the same as an :class:`UnfoldingDecoder` with a greedy tree."""

    def __init__(self, decoder: UnfoldingDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(n_samples, n_inputs + n_extra)`` to ``(n_samples, n_features)``."""
        n_inputs, n_steps = self.decoder.n_inputs, self.decoder.sequence[0]
        root = self.decoder.root(z[:, :n_inputs]).tanh()
        nodes = root[:, None].expand(-1, n_steps, -1)
        if n_steps > 1:
            # Any code can be decoded: its merges are rounded to the nearest tree.
            merges = z[:, n_inputs:].round().clamp(-1, n_steps).long()
            slots = merges[:, :1] * 0 + torch.arange(n_steps)
            n_nodes = 1 + (merges >= 0).sum(1)[:, None]
            # Merges are undone in reverse order, so their slots are computed first.
            found = loop(n_steps - 1, [merges, slots, n_nodes], _find_pair)[3:]
            nodes = loop(n_steps - 1, [nodes, *found], self._split)[0]
        reconstructed: Tensor = self.decoder.step(nodes)  # (n_samples, n_steps, n_channels)
        return reconstructed.flatten(1)

    def _split(
        self, iteration: Tensor, nodes: Tensor, lefts: Tensor, rights: Tensor, merged: Tensor
    ) -> list[Tensor]:
        """Undo one merge in each sample, beginning with the last one."""
        index = (len(lefts) - 1 - iteration)[None]
        left, right, is_merge = (v.index_select(0, index)[0] for v in (lefts, rights, merged))
        parent = _nodes_at(nodes, left)
        for slot, child in zip((left, right), self.decoder.split(parent), strict=True):
            child = torch.where(is_merge[..., None], child, _nodes_at(nodes, slot))
            nodes = _with_nodes(nodes, slot, child)
        return [nodes, lefts, rights, merged]


def _find_pair(iteration: Tensor, merges: Tensor, slots: Tensor, n_nodes: Tensor) -> list[Tensor]:
    """Find the slots of the nodes that one merge joins; see ``waves_of``."""
    merge = merges.index_select(1, iteration[None])
    is_merge = merge >= 0
    place = torch.minimum(merge, n_nodes - 2).clamp_min(0)
    left, right = slots.gather(1, place), slots.gather(1, place + 1)
    slots = torch.where(is_merge, _drop(slots, place + 1), slots)
    return [merges, slots, n_nodes - is_merge.long(), left, right, is_merge]


def _at_slots(
    function: Callable[..., Tensor], nodes: Tensor, slots: Tensor, *values: Tensor
) -> Tensor:
    """Call gather or scatter for nodes of shape (n_samples, n_slots, size)."""
    return function(nodes, 1, slots[..., None].expand(-1, -1, nodes.shape[2]), *values)


def _nodes_at(nodes: Tensor, slots: Tensor) -> Tensor:
    """Take the nodes at ``(n_samples, n)`` slots: ``(n_samples, n, size)``."""
    return _at_slots(torch.gather, nodes, slots)


def _with_nodes(nodes: Tensor, slots: Tensor, values: Tensor) -> Tensor:
    """Replace the nodes at ``(n_samples, n)`` slots."""
    return _at_slots(torch.scatter, nodes, slots, values)


def _drop(values: Tensor, place: Tensor) -> Tensor:
    """Remove one entry of each sample from ``(n_samples, n)``; the last entry is repeated.

    The shape stays the same, as ONNX requires of the state of a loop.
    """
    kept = torch.arange(values.shape[1])
    return values.gather(1, (kept + (kept >= place).long()).clamp(0, len(kept) - 1))
