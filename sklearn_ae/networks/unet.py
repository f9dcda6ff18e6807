"""U-Nets: convolutional networks whose decoder sees the encoder's maps of every size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae.networks._images import (
    Convolution,
    ImageNetwork,
    ImageParameters,
    Layout,
    Shape,
    Unpooling,
    from_columns,
    max_pool,
    names_of,
    to_columns,
)
from sklearn_ae.networks.activations import ACTIVATIONS


class UNetEncoder(nn.Module):
    """Convolution and pooling by turns; the maps of every level are handed on.

    Parameters
    ----------
    network : UNetNetwork
    layout : Layout
        Of a row.
    n_outputs : int
        Numbers to return for each row, beside the maps.
    dense : bool
        Whether there are any, from a linear layer.
    """

    def __init__(self, network: UNetNetwork, layout: Layout, n_outputs: int, dense: bool) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[network.activation].forward
        self.layout = layout
        self.window = layout.square(network.pool_size)
        shapes = network._skips(layout)
        kernel = layout.square(network.kernel_size)
        widths = (layout.n_channels, *(shape[0] for shape in shapes))
        normalized = network.normalization is not None
        layers = [
            Convolution(n_in, n_out, kernel, normalized=normalized)
            for n_in, n_out in pairwise(widths)
        ]
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(math.prod(shapes[-1]), n_outputs) if dense else None
        self.residual = network.residual

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, n_features)`` to ``(batch, n_outputs + n_extra)``."""
        maps, skips = self.layout.to_image(x), []
        for level, layer in enumerate(self.layers):
            if level:
                maps = max_pool(maps, self.window)
            maps = self.activation(layer(maps))
            skips.append(to_columns(maps))
        code = skips if self.head is None else [self.head(skips[-1]), *skips]
        return torch.cat([*code, x] if self.residual else code, 1)


class UNetDecoder(nn.Module):
    """From the smallest maps to the largest: unpool, put the encoder's beside, convolve.

    Parameters
    ----------
    network : UNetNetwork
    layout : Layout
        Of a row.
    n_inputs : int
        Numbers that come for each row, beside the maps.
    dense : bool
        Whether there are any, for a linear layer.
    """

    def __init__(self, network: UNetNetwork, layout: Layout, n_inputs: int, dense: bool) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[network.activation].forward
        self.layout, self.n_inputs = layout, n_inputs
        self.shapes = network._skips(layout)
        widths = [shape[0] for shape in self.shapes]
        window, kernel = layout.square(network.pool_size), layout.square(network.kernel_size)
        self.head = nn.Linear(n_inputs, math.prod(self.shapes[-1])) if dense else None
        normalized = network.normalization is not None
        self.bottom = Convolution(widths[-1], widths[-1], kernel, normalized=normalized)
        unpoolings = [Unpooling(n_in, n_out, window) for n_out, n_in in pairwise(widths)]
        layers = [
            Convolution(2 * width, width, kernel, normalized=normalized) for width in widths[:-1]
        ]
        self.unpoolings = cast("Sequence[Unpooling]", nn.ModuleList(unpoolings))
        self.layers = cast("Sequence[Convolution]", nn.ModuleList(layers))
        self.last = Convolution(widths[0], layout.n_channels, kernel)
        self.residual = network.residual
        if self.residual:  # near the identity: with large first steps all units may die
            for parameter in self.last.parameters():
                parameter.detach().mul_(0.1)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(batch, n_inputs + n_extra)`` to ``(batch, n_features)``."""
        widths = [self.n_inputs, *(math.prod(shape) for shape in self.shapes)]
        code, *parts = z[:, : sum(widths)].split(widths, 1)
        skips = [from_columns(part, shape) for part, shape in zip(parts, self.shapes, strict=True)]
        maps = skips[-1]
        if self.head is not None:
            # The components see the whole image; at the bottom they reach all of it again.
            maps = self.activation(from_columns(self.head(code), self.shapes[-1]) + maps)
        maps = self.activation(self.bottom(maps))
        for level in reversed(range(len(self.layers))):
            maps = self.unpoolings[level](maps, self.shapes[level][1:])
            maps = self.activation(self.layers[level](torch.cat([maps, skips[level]], 1)))
        output = self.layout.to_rows(self.last(maps))
        return output + z[:, sum(widths) :] if self.residual else output


@declares_parameters
class UNetParameters(ImageParameters):
    """Parameters of U-Nets and of `UNetAutoencoder`."""

    channels: tuple[int, ...] = parameter(
        default=(16, 32, 64),
        doc="""tuple of int
        Number of maps of each level of the encoder; the decoder mirrors them. There is a
        pooling between one level and the next.
        """,
    )
    residual: bool = parameter(
        default=False,
        doc="""bool
        Whether the network says what to add to a row and not what to make of it, so that it
        need not learn to copy. Best where the noise is small beside the image. The row itself
        becomes part of the code, in columns named ``input0`` and so on.
        """,
        constraint=["boolean"],
    )


@declares_parameters
class UNetNetwork(UNetParameters, ImageNetwork):
    """U-Net for images and signals.

    A convolutional encoder and decoder with skip connections: the decoder also sees the
    encoder's maps of every size, so that nothing fine is lost on the way. Those maps are part
    of the code. Under ``n_components=None`` they are all of it, without a linear layer, and images
    of other heights and widths than those of the training are taken too.

    Examples
    --------
    >>> from sklearn_ae.networks import UNetNetwork
    >>> network = UNetNetwork(channels=(4, 8))
    >>> names = network.extra_names((8, 8))
    >>> len(names), names[0], names[-1]
    (384, 'skip0_0', 'skip1_127')
    """

    def encoder(
        self, row_shape: tuple[int, ...], n_outputs: int, dense: bool = True
    ) -> UNetEncoder:
        """Return the encoder, with a linear layer beside the maps or without."""
        return UNetEncoder(self, self._layout(row_shape), n_outputs, dense)

    def decoder(
        self, row_shape: tuple[int, ...], n_inputs: int, dense: bool = True
    ) -> UNetDecoder:
        """Return the decoder of such an encoder."""
        return UNetDecoder(self, self._layout(row_shape), n_inputs, dense)

    def code_size(self, row_shape: tuple[int, ...]) -> int:
        """Return the number of components beside the maps: none."""
        return 0

    def start_at(self, decoder: nn.Module, output: Tensor) -> None:
        """Set the last biases, unless they are for what is added to the input."""
        if not self.residual:
            super().start_at(decoder, output)

    def _last_layer(self, decoder: Any) -> Convolution:
        return decoder.last

    def extra_names(self, row_shape: tuple[int, ...]) -> list[str]:
        """Name the numbers of the encoder's maps, level by level, and of the row if it counts."""
        names = names_of("skip", self._skips(self._layout(row_shape)))
        n_inputs = math.prod(row_shape) if self.residual else 0
        return names + [f"input{index}" for index in range(n_inputs)]

    def n_extra(self, row_shape: tuple[int, ...]) -> int:
        """Return how many values :meth:`extra_names` names: of a large image, millions."""
        n_inputs = math.prod(row_shape) if self.residual else 0
        return n_inputs + sum(map(math.prod, self._skips(self._layout(row_shape))))

    def _skips(self, layout: Layout) -> list[Shape]:
        """Return the shapes of the maps that the decoder is handed."""
        return self._shapes(layout, n_poolings=len(self._widths()) - 1)
