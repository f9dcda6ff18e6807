"""The module of denoising autoencoders: it knows how rows are spoilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._network import Network


class DenoisingModule(AutoencoderModule):
    """A network that knows how its rows are spoilt.

    Parameters
    ----------
    network : Network
    row_shape : tuple of int
    n_components : int or None
    noise : str or callable
    noise_level : float or None
        As asked for; what it comes to is noted in ``level``.
    **options
        Further arguments of the network's factories.

    Attributes
    ----------
    least, most : Tensor of shape (n_features,)
        Range of the training rows, in network units.
    level : Tensor of shape ()
        Noise level, in the units of the data where it is a standard deviation.
    residual : Tensor of shape (n_features,)
        Root mean squared distance between restored and clean training rows.
    """

    least: Tensor
    most: Tensor
    level: Tensor
    residual: Tensor

    def __init__(
        self,
        network: Network,
        row_shape: tuple[int, ...],
        n_components: int | None,
        noise: str | Callable[[Tensor], Tensor],
        noise_level: float | None,
        **options: Any,
    ) -> None:
        super().__init__(network, row_shape, n_components, **options)
        self.noise = noise
        for name in ("least", "most", "residual"):
            self.register_buffer(name, torch.zeros_like(self.center))
        self.register_buffer("level", torch.zeros(()))

    def corrupt(self, x: Tensor) -> Tensor:
        """Spoil rows in network units."""
        if callable(self.noise):
            spoilt = self.noise(x * self.scale + self.center)
            if not isinstance(spoilt, Tensor) or spoilt.shape != x.shape:
                raise ValueError(
                    f"noise must return a tensor of the shape of its argument, "
                    f"{tuple(x.shape)}, but returned {getattr(spoilt, 'shape', type(spoilt))}."
                )
            return (spoilt.to(x.dtype) - self.center) / self.scale
        if self.noise == "gaussian":
            return x + self.level / self.scale * torch.randn_like(x)
        hit = (torch.rand_like(x) < self.level) & ~x.isnan()
        if self.noise == "masking":
            return torch.where(hit, -self.center / self.scale, x)
        ends = torch.where(torch.rand_like(x) < 0.5, self.least, self.most)
        return torch.where(hit, ends, x)
