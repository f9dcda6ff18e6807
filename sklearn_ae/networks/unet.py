"""U-Nets: convolutional networks whose decoder receives the encoder's maps of every size."""

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
    Unpooling,
    max_pool,
    value_names,
)
from sklearn_ae.networks.activations import ACTIVATIONS
from sklearn_ae.networks.layout import Layout, Shape, from_columns, to_columns


class UNetEncoder(nn.Module):
    """Encoder of alternating convolutions and poolings, which returns the maps of every level.

    Parameters
    ----------
    network : UNetNetwork
    layout : Layout
        Layout of a sample.
    n_outputs : int
        Number of values to return for each sample, besides the maps.
    dense : bool
        Whether there are such values, which a linear layer returns.
    """

    def __init__(self, network: UNetNetwork, layout: Layout, n_outputs: int, dense: bool) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[network.activation].forward
        self.layout = layout
        self.window = layout.window(network.pool_size)
        shapes = network._skip_shapes(layout)
        kernel = layout.window(network.kernel_size)
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
        code, skips = self.encode(x)
        columns = [to_columns(maps) for maps in skips]
        if code is not None:
            columns = [code, *columns]
        return torch.cat([*columns, x] if self.residual else columns, 1)

    def encode(self, x: Tensor) -> tuple[Tensor | None, list[Tensor]]:
        """Return the components, if there are any, and the maps of every level."""
        maps, skips = self.layout.to_image(x), []
        for level, layer in enumerate(self.layers):
            if level:
                maps = max_pool(maps, self.window)
            maps = self.activation(layer(maps))
            skips.append(maps)
        return None if self.head is None else self.head(to_columns(maps)), skips


class UNetDecoder(nn.Module):
    """Decoder from the smallest maps to the largest.

    At each level the maps are unpooled, concatenated with the encoder's maps, and convolved.

    Parameters
    ----------
    network : UNetNetwork
    layout : Layout
        Layout of a sample.
    n_inputs : int
        Number of values for each sample, besides the maps.
    dense : bool
        Whether there are such values, which are the input of a linear layer.
    """

    def __init__(self, network: UNetNetwork, layout: Layout, n_inputs: int, dense: bool) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[network.activation].forward
        self.layout, self.n_inputs = layout, n_inputs
        self.shapes = network._skip_shapes(layout)
        widths = [shape[0] for shape in self.shapes]
        window, kernel = layout.window(network.pool_size), layout.window(network.kernel_size)
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
        if self.residual:
            # A start close to the identity. Otherwise the first steps are so large that all
            # units may become inactive.
            for parameter in self.last.parameters():
                parameter.detach().mul_(0.1)

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(batch, n_inputs + n_extra)`` to ``(batch, n_features)``."""
        widths = [self.n_inputs, *(math.prod(shape) for shape in self.shapes)]
        code, *parts = torch.split(z[:, : sum(widths)], widths, 1)
        skips = [from_columns(part, shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return self.decode(code, skips, z[:, sum(widths) :])

    def decode(self, code: Tensor | None, skips: Sequence[Tensor], x: Tensor) -> Tensor:
        """Return the output for components and maps; `x` is added to it if it is a residual."""
        maps = skips[-1]
        if self.head is not None:
            # The components depend on the whole image. At the level of the smallest maps they
            # affect the whole output.
            maps = self.activation(from_columns(self.head(code), self.shapes[-1]) + maps)
        maps = self.activation(self.bottom(maps))
        for level in reversed(range(len(self.layers))):
            maps = self.unpoolings[level](maps, self.shapes[level][1:])
            maps = self.activation(self.layers[level](torch.cat([maps, skips[level]], 1)))
        output = self.layout.from_image(self.last(maps))
        return output + x if self.residual else output


@declares_parameters
class UNetParameters(ImageParameters):
    """Parameters of U-Nets and of `UNetAutoencoder`."""

    channels: tuple[int, ...] = parameter(
        default=(16, 32, 64),
        doc="""tuple of int
        Number of maps of each level of the encoder; the decoder mirrors them. There is a pooling
        between each level and the next.
        """,
    )
    residual: bool = parameter(
        default=False,
        doc="""bool
        Whether the input is added to the decoder's output, so that the network need not learn to
        copy it. Recommended if the noise is small compared to the image. The input becomes part
        of the code, in columns named ``input0`` and so on.
        """,
        constraint=["boolean"],
    )


@declares_parameters
class UNetNetwork(UNetParameters, ImageNetwork):
    """U-Net for images and signals.

    A convolutional encoder and decoder with skip connections: the decoder also receives the
    encoder's maps of every size, so that fine details are preserved. These maps are part of the
    code. Under ``n_components=None`` they are the whole code, there is no linear layer, and images
    of other heights and widths than the training images are accepted as well.

    Examples
    --------
    >>> from sklearn_ae.networks import UNetNetwork
    >>> network = UNetNetwork(channels=(4, 8))
    >>> names = network.extra_names((8, 8))
    >>> len(names), names[0], names[-1]
    (384, 'skip0_0', 'skip1_127')
    """

    def encoder(
        self, sample_shape: tuple[int, ...], n_outputs: int, dense: bool = True
    ) -> UNetEncoder:
        """Create the encoder, with a linear layer if `dense` is True."""
        return UNetEncoder(self, self.layout(sample_shape), n_outputs, dense)

    def decoder(
        self, sample_shape: tuple[int, ...], n_inputs: int, dense: bool = True
    ) -> UNetDecoder:
        """Create the decoder, with a linear layer if `dense` is True."""
        return UNetDecoder(self, self.layout(sample_shape), n_inputs, dense)

    def code_size(self, sample_shape: tuple[int, ...]) -> int:
        """Return the number of components besides the maps, which is zero."""
        return 0

    def reconstruct(self, encoder: Any, decoder: Any, x: Tensor) -> Tensor:
        """Encode and decode samples. The maps are not copied into the code and back."""
        output: Tensor = decoder.decode(*encoder.encode(x), x)
        return output

    def start_at(self, decoder: nn.Module, output: Tensor) -> None:
        """Set the biases of the last convolution, unless its output is added to the input."""
        if not self.residual:
            super().start_at(decoder, output)

    def _last_layer(self, decoder: Any) -> Convolution:
        last: Convolution = decoder.last
        return last

    def extra_names(self, sample_shape: tuple[int, ...]) -> list[str]:
        """Return the names of the values of the encoder's maps and, if added, of the input."""
        names = value_names("skip", self._skip_shapes(self.layout(sample_shape)))
        n_inputs = math.prod(sample_shape) if self.residual else 0
        return names + [f"input{index}" for index in range(n_inputs)]

    def n_extra(self, sample_shape: tuple[int, ...]) -> int:
        """Return the length of :meth:`extra_names`, without millions of names of large images."""
        n_inputs = math.prod(sample_shape) if self.residual else 0
        return n_inputs + sum(map(math.prod, self._skip_shapes(self.layout(sample_shape))))

    def _skip_shapes(self, layout: Layout) -> list[Shape]:
        """Return the shapes of the encoder's maps that the decoder receives."""
        return self._level_shapes(layout, n_poolings=len(self._widths()) - 1)
