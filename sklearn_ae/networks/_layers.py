"""Layers that dense networks are made of, beside torch's own."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class TiedLinear(nn.Module):
    """A linear layer that uses another one's weight, transposed, and a bias of its own.

    Parameters
    ----------
    source : nn.Linear
        The layer whose weight is shared. It is registered here as well, so that copies, changes of
        device and files keep the two together.
    bias : nn.Parameter of shape (source.in_features,)
    """

    def __init__(self, source: nn.Linear, bias: nn.Parameter) -> None:
        super().__init__()
        self.source = source
        self.bias = bias
        self.in_features, self.out_features = source.out_features, source.in_features

    @property
    def weight(self) -> Tensor:
        """The shared weight as this layer uses it, a view of shape (out_features, in_features)."""
        return self.source.weight.t()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_features)`` to ``(batch, out_features)``."""
        return functional.linear(x, self.weight, self.bias)
