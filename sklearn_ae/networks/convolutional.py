"""Convolutional networks for images and signals, with three types of unpooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from sklearn_ae._compat import StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae.networks._images import (
    Convolution,
    ImageNetwork,
    ImageParameters,
    Unpooling,
    max_pool,
    max_pool_with_places,
    unpool,
    upsample,
    value_names,
)
from sklearn_ae.networks.activations import ACTIVATIONS
from sklearn_ae.networks.layout import Layout, Pair, Shape, from_columns, to_columns


class ConvolutionalEncoder(nn.Module):
    """Encoder of alternating convolutions and poolings, followed by a linear layer.

    Parameters
    ----------
    network : ConvolutionalNetwork
    layout : Layout
        Layout of a sample.
    n_outputs : int
        Number of values to return for each sample, besides the places of the maxima.
    dense : bool
        Whether a linear layer returns them. Otherwise they are the last maps, without a
        non-linearity. If `n_outputs` is a multiple of the size of these maps, such as for means
        and variances, there are as many groups of them.
    """

    def __init__(
        self, network: ConvolutionalNetwork, layout: Layout, n_outputs: int, dense: bool
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[network.activation].forward
        self.layout = layout
        self.window = layout.window(network.pool_size)
        self.is_strided = network.pooling == "strided"
        self.has_switches = network.unpooling == "switches"
        shapes = network._pooled_shapes(layout)
        kernel = layout.window(network.kernel_size)
        stride = self.window if self.is_strided else (1, 1)
        widths = [layout.n_channels, *(shape[0] for shape in shapes)]
        n_values = math.prod(shapes[-1])
        self.n_groups = 1 if dense else n_outputs // n_values
        widths[-1] *= self.n_groups
        n_normalized = len(shapes) - (not dense) if network.normalization else 0
        self.layers = nn.ModuleList(
            # Without a linear layer, the last maps are the code, which is not normalised.
            Convolution(*pair, kernel, stride, level < n_normalized)
            for level, pair in enumerate(pairwise(widths))
        )
        self.head = nn.Linear(n_values, n_outputs) if dense else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, n_features)`` to ``(batch, n_outputs + n_extra)``."""
        maps, places = self.layout.to_image(x), []  # (batch, n_channels, height, width)
        for level, layer in enumerate(self.layers, start=1):
            maps = layer(maps)
            if self.has_switches:
                maps, found = max_pool_with_places(maps, self.window)
                places.append(to_columns(found).to(x.dtype))
            elif not self.is_strided:
                maps = max_pool(maps, self.window)
            # After the pooling, because there are fewer values then.
            if self.head is not None or level < len(self.layers):
                maps = self.activation(maps)
        code: Tensor
        if self.head is not None:
            code = self.head(to_columns(maps))
        else:
            code = torch.cat([to_columns(group) for group in maps.chunk(self.n_groups, 1)], 1)
        return torch.cat([code.to(x.dtype), *places], 1) if places else code


class ConvolutionalDecoder(nn.Module):
    """Decoder that mirrors the encoder: a first layer, then alternating unpooling and convolution.

    Parameters
    ----------
    network : ConvolutionalNetwork
    layout : Layout
        Layout of a sample.
    n_inputs : int
        Number of values for each sample, besides the places of the maxima.
    dense : bool
        Whether the first layer is linear. Otherwise the values are maps, and the first layer is
        their non-linearity, followed by a convolution.
    """

    def __init__(
        self, network: ConvolutionalNetwork, layout: Layout, n_inputs: int, dense: bool
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[network.activation].forward
        self.layout, self.n_inputs = layout, n_inputs
        self.window = layout.window(network.pool_size)
        self.shapes = network._pooled_shapes(layout)
        widths = [layout.n_channels] + [shape[0] for shape in self.shapes]
        self.sizes: list[Pair] = [layout.size] + [shape[1:] for shape in self.shapes]
        kernel = layout.window(network.kernel_size)
        self.head: nn.Linear | Convolution
        if dense:
            self.head = nn.Linear(n_inputs, math.prod(self.shapes[-1]))
        else:
            self.head = Convolution(widths[-1], widths[-1], kernel)
        learned = nn.ModuleList()
        if network.unpooling == "transposed":
            learned.extend(Unpooling(width, width, self.window) for width in widths[1:])
        self.has_switches = network.unpooling == "switches"
        self.learned = cast("Sequence[Unpooling]", learned)
        # In the order of the encoder. The first one is applied last and returns the image, which
        # is not normalised.
        layers = [
            Convolution(n_in, n_out, kernel, normalized=bool(number and network.normalization))
            for number, (n_out, n_in) in enumerate(pairwise(widths))
        ]
        self.layers = cast("Sequence[Convolution]", nn.ModuleList(layers))

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(batch, n_inputs + n_extra)`` to ``(batch, n_features)``."""
        code = z[:, : self.n_inputs]
        if isinstance(self.head, nn.Linear):
            maps = from_columns(self.head(code), self.shapes[-1])
        else:
            maps = self.head(self.activation(from_columns(code, self.shapes[-1])))
        places = self._places(z[:, self.n_inputs :]) if self.has_switches else []
        for level in reversed(range(len(self.layers))):
            maps = self._unpool(self.activation(maps), places, level)
            maps = self.layers[level](maps)
        return self.layout.from_image(maps)

    def _unpool(self, maps: Tensor, places: list[Tensor], level: int) -> Tensor:
        """Return maps of the size before the pooling of this level."""
        size = self.sizes[level]
        if self.has_switches:
            return unpool(maps, places[level], self.window, size)
        if len(self.learned):
            larger: Tensor = self.learned[level](maps, size)
            return larger
        return upsample(maps, self.window, size)

    def _places(self, columns: Tensor) -> list[Tensor]:
        """Return the places of the maxima as maps, level by level."""
        # In codes that were drawn from a density they are not integers.
        whole = columns.round().clamp(0, math.prod(self.window) - 1)
        parts = torch.split(whole, [math.prod(shape) for shape in self.shapes], 1)
        return [from_columns(part, shape) for part, shape in zip(parts, self.shapes, strict=True)]


@declares_parameters
class ConvolutionalParameters(ImageParameters):
    """Parameters of convolutional networks and of `ConvolutionalAutoencoder`."""

    pooling: str = parameter(
        default="max",
        doc="""{"max", "strided"}
        Whether the maximum of each window is kept, or the convolutions have a stride of
        `pool_size`.
        """,
        constraint=[StrOptions({"max", "strided"})],
    )
    unpooling: str = parameter(
        default="nearest",
        doc="""{"nearest", "transposed", "switches"}
        How the decoder fills a window. ``"nearest"``: with one value. ``"transposed"``: with a
        learned pattern, by a transposed convolution. ``"switches"``: with the value at the place
        of the maximum in the encoder, and zeros elsewhere; these places are part of the code.
        """,
        constraint=[StrOptions({"nearest", "transposed", "switches"})],
    )


@declares_parameters
class ConvolutionalNetwork(ConvolutionalParameters, ImageNetwork):
    """Convolutional network for images and signals.

    The encoder consists of alternating convolutions and poolings, and ends with a linear layer.
    The decoder begins with a linear layer, followed by alternating unpoolings and convolutions.
    Images may have any size, even smaller than a window: windows may extend beyond the edge, and
    the decoder crops its output.

    Under ``n_components=None`` there are no linear layers: the code consists of the last maps
    before their non-linearity, and the decoder begins with a convolution. Images of other heights
    and widths than the training images are then accepted as well.

    Examples
    --------
    >>> from sklearn_ae.networks import ConvolutionalNetwork
    >>> network = ConvolutionalNetwork(channels=(8, 16), unpooling="switches")
    >>> names = network.extra_names((7, 7))
    >>> len(names), names[0], names[-1]
    (192, 'switch0_0', 'switch1_63')
    """

    def encoder(
        self, sample_shape: tuple[int, ...], n_outputs: int, dense: bool = True
    ) -> ConvolutionalEncoder:
        """Create the encoder, with a linear layer at the end if `dense` is True."""
        return ConvolutionalEncoder(self, self.layout(sample_shape), n_outputs, dense)

    def decoder(
        self, sample_shape: tuple[int, ...], n_inputs: int, dense: bool = True
    ) -> ConvolutionalDecoder:
        """Create the decoder, with a linear layer at the start if `dense` is True."""
        return ConvolutionalDecoder(self, self.layout(sample_shape), n_inputs, dense)

    def code_size(self, sample_shape: tuple[int, ...]) -> int:
        """Return the number of values of the last maps."""
        return math.prod(self._pooled_shapes(self.layout(sample_shape))[-1])

    def _last_layer(self, decoder: Any) -> Convolution:
        last: Convolution = decoder.layers[0]
        return last

    def extra_names(self, sample_shape: tuple[int, ...]) -> list[str]:
        """Return the names of the places of the maxima, level by level."""
        return value_names("switch", self._switch_shapes(sample_shape))

    def n_extra(self, sample_shape: tuple[int, ...]) -> int:
        """Return the length of :meth:`extra_names`, without millions of names of large images."""
        return sum(map(math.prod, self._switch_shapes(sample_shape)))

    def _switch_shapes(self, sample_shape: tuple[int, ...]) -> list[Shape]:
        """Return the shapes of the maps of the places of the maxima in the code.

        Raises
        ------
        ValueError
            If there are no maxima, because convolutions have a stride.
        """
        if self.unpooling != "switches":
            return []
        if self.pooling != "max":
            raise ValueError(
                f"unpooling='switches' needs the places of the maxima, which exist only with "
                f"pooling='max', but pooling={self.pooling!r}."
            )
        return self._pooled_shapes(self.layout(sample_shape))

    def _pooled_shapes(self, layout: Layout) -> list[Shape]:
        """Return the shapes of the maps after each pooling."""
        return self._level_shapes(layout, n_poolings=len(self._widths()))
