"""Greedy trees step by step, as loops of which every step does the same to all rows.

The networks' own way, which follows only the merges that there are, needs to look at the values.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sklearn_ae._onnx.tracing import loop
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._sequence import count_steps
from sklearn_ae.networks.recursive import FoldingEncoder, UnfoldingDecoder


def in_loops(module: AutoencoderModule) -> AutoencoderModule:
    """Replace, in a module, encoder and decoder of greedy trees."""
    if isinstance(module.encoder, FoldingEncoder) and module.encoder.tree == "greedy":
        module.encoder = GreedyEncoder(module.encoder)
    if isinstance(module.decoder, UnfoldingDecoder) and module.decoder.tree == "greedy":
        module.decoder = GreedyDecoder(module.decoder)
    return module


class GreedyEncoder(nn.Module):
    """What a :class:`FoldingEncoder` of a greedy tree does."""

    def __init__(self, encoder: FoldingEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, n_features)`` to ``(batch, n_outputs + n_extra)``."""
        steps = x.unflatten(1, self.encoder.sequence)
        nodes = self.encoder.embed(steps.nan_to_num()).tanh()
        n_merges = self.encoder.sequence[0] - 1
        if not n_merges:
            return self.encoder.code(nodes[:, 0])
        length = count_steps(steps)[:, None]
        places = torch.arange(n_merges)
        slots = length * 0 + torch.arange(n_merges + 1)
        errors = self._errors(nodes[:, :-1], nodes[:, 1:], places + 1 < length)
        state = [nodes, slots, errors, length]
        nodes, _, _, _, merges = loop(n_merges, state, self._merge)
        # (n_merges, batch, 1) -> (batch, n_merges)
        merges = merges.permute(1, 0, 2).flatten(1)
        return torch.cat([self.encoder.code(nodes[:, 0]), merges.to(x.dtype)], 1)

    def _merge(
        self, number: Tensor, nodes: Tensor, slots: Tensor, errors: Tensor, length: Tensor
    ) -> list[Tensor]:
        """Merge the pair of least error in each row, if there is one."""
        place = errors.argmin(1)[:, None]
        is_pair = errors.gather(1, place) < torch.inf
        left = slots.gather(1, place)
        pair = _nodes_at(nodes, left), _nodes_at(nodes, slots.gather(1, place + 1))
        parent = torch.where(is_pair[..., None], self.encoder.join(*pair), pair[0])
        nodes = _with_nodes(nodes, left, parent)
        slots, errors = _drop(slots, place + 1), _drop(errors, place)
        length = length - is_pair.long()
        errors = torch.where(torch.arange(errors.shape[1]) + 1 < length, errors, torch.inf)
        # The pairs of the parent with its neighbours.
        near = torch.cat([place - 1, place], 1).clamp(0, errors.shape[1] - 1)
        left, right = (_nodes_at(nodes, slots.gather(1, at)) for at in (near, near + 1))
        errors = errors.scatter(1, near, self._errors(left, right, near + 1 < length))
        return [nodes, slots, errors, length, place.where(is_pair, -1)]

    def _errors(self, left: Tensor, right: Tensor, is_pair: Tensor) -> Tensor:
        restored = self.encoder.split(self.encoder.join(left, right))
        error = (left - restored[0]).square().sum(-1) + (right - restored[1]).square().sum(-1)
        return error.where(is_pair, torch.inf)


class GreedyDecoder(nn.Module):
    """What an :class:`UnfoldingDecoder` of a greedy tree does."""

    def __init__(self, decoder: UnfoldingDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(batch, n_inputs + n_extra)`` to ``(batch, n_features)``."""
        n_inputs, n_steps = self.decoder.n_inputs, self.decoder.sequence[0]
        root = self.decoder.root(z[:, :n_inputs]).tanh()
        nodes = root[:, None].expand(-1, n_steps, -1)
        if n_steps > 1:
            merges = z[:, n_inputs:].round().clamp(-1, n_steps).long()
            slots = merges[:, :1] * 0 + torch.arange(n_steps)
            n_nodes = 1 + (merges >= 0).sum(1)[:, None]
            found = loop(n_steps - 1, [merges, slots, n_nodes], _find_pair)[3:]
            nodes = loop(n_steps - 1, [nodes, *found], self._split)[0]
        return self.decoder.step(nodes).flatten(1)

    def _split(
        self, number: Tensor, nodes: Tensor, lefts: Tensor, rights: Tensor, merged: Tensor
    ) -> list[Tensor]:
        """Undo a merge in each row, the last one first."""
        number = (len(lefts) - 1 - number)[None]
        left, right, is_merge = (v.index_select(0, number)[0] for v in (lefts, rights, merged))
        parent = _nodes_at(nodes, left)
        for slot, child in zip((left, right), self.decoder.split(parent), strict=True):
            child = torch.where(is_merge[..., None], child, _nodes_at(nodes, slot))
            nodes = _with_nodes(nodes, slot, child)
        return [nodes, lefts, rights, merged]


def _find_pair(number: Tensor, merges: Tensor, slots: Tensor, n_nodes: Tensor) -> list[Tensor]:
    """Find the slots of the nodes that are merged; see ``waves_of``."""
    merge = merges.index_select(1, number[None])
    is_merge = merge >= 0
    place = torch.minimum(merge, n_nodes - 2).clamp_min(0)
    left, right = slots.gather(1, place), slots.gather(1, place + 1)
    slots = torch.where(is_merge, _drop(slots, place + 1), slots)
    return [merges, slots, n_nodes - is_merge.long(), left, right, is_merge]


def _at_each(function: Callable[..., Tensor], nodes: Tensor, slots: Tensor, *values: Tensor):
    index = slots[..., None].expand(-1, -1, nodes.shape[2])
    return function(nodes, 1, index, *values)


def _nodes_at(nodes: Tensor, slots: Tensor) -> Tensor:
    """Take, of ``(batch, n_slots, size)``, the nodes at ``(batch, n)`` slots of each row."""
    return _at_each(torch.gather, nodes, slots)


def _with_nodes(nodes: Tensor, slots: Tensor, values: Tensor) -> Tensor:
    """Replace the nodes at some slots of each row."""
    return _at_each(torch.scatter, nodes, slots, values)


def _drop(values: Tensor, place: Tensor) -> Tensor:
    """Move up what follows an entry of each row of ``(batch, n)``; the last one stays, too."""
    kept = torch.arange(values.shape[1])
    return values.gather(1, (kept + (kept >= place).long()).clamp(0, len(kept) - 1))
