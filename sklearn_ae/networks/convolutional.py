"""Convolutional networks for images and signals, with unpooling of three kinds."""

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
    Layout,
    Pair,
    Shape,
    Unpooling,
    from_columns,
    max_pool,
    max_pool_and_locate,
    names_of,
    put_back,
    repeat,
    to_columns,
)
from sklearn_ae.networks.activations import ACTIVATIONS


class ConvolutionalEncoder(nn.Module):
    """Convolution and pooling by turns, and a linear layer at the end unless left out.

    Parameters
    ----------
    network : ConvolutionalNetwork
    layout : Layout
        Of a row.
    n_outputs : int
        Numbers to return for each row, beside the places of the maxima.
    dense : bool
        Whether a linear layer returns them. Otherwise they are the last maps, which have no
        non-linearity then; a multiple of the code's size stands for so many groups of maps.
    """

    def __init__(
        self, network: ConvolutionalNetwork, layout: Layout, n_outputs: int, dense: bool
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[network.activation].forward
        self.layout = layout
        self.window = layout.square(network.pool_size)
        self.is_strided = network.pooling == "strided"
        self.has_switches = network.unpooling == "switches"
        shapes = network._pooled(layout)
        kernel = layout.square(network.kernel_size)
        stride = self.window if self.is_strided else (1, 1)
        widths = [layout.n_channels, *(shape[0] for shape in shapes)]
        n_values = math.prod(shapes[-1])
        self.n_groups = 1 if dense else n_outputs // n_values
        widths[-1] *= self.n_groups
        n_normalized = len(shapes) - (not dense) if network.normalization else 0
        self.layers = nn.ModuleList(
            # Without a linear layer the last maps are the code, which is not normalised.
            Convolution(*pair, kernel, stride, level < n_normalized)
            for level, pair in enumerate(pairwise(widths))
        )
        self.head = nn.Linear(n_values, n_outputs) if dense else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, n_features)`` to ``(batch, n_outputs + n_extra)``."""
        maps, places = self.layout.to_image(x), []
        for level, layer in enumerate(self.layers, start=1):
            maps = layer(maps)
            if self.has_switches:
                maps, found = max_pool_and_locate(maps, self.window)
                places.append(to_columns(found).to(x.dtype))
            elif not self.is_strided:
                maps = max_pool(maps, self.window)
            # Behind the pooling, not before it: there are fewer values left.
            if self.head is not None or level < len(self.layers):
                maps = self.activation(maps)
        if self.head is not None:
            code = self.head(to_columns(maps))
        else:
            code = torch.cat([to_columns(group) for group in maps.chunk(self.n_groups, 1)], 1)
        return torch.cat([code.to(x.dtype), *places], 1) if places else code


class ConvolutionalDecoder(nn.Module):
    """The encoder backwards: a first layer, then unpooling and convolution by turns.

    Parameters
    ----------
    network : ConvolutionalNetwork
    layout : Layout
        Of a row.
    n_inputs : int
        Numbers that come for each row, beside the places of the maxima.
    dense : bool
        Whether the first layer is linear. Otherwise they are maps, and it is their
        non-linearity and a convolution.
    """

    def __init__(
        self, network: ConvolutionalNetwork, layout: Layout, n_inputs: int, dense: bool
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[network.activation].forward
        self.layout, self.n_inputs = layout, n_inputs
        self.window = layout.square(network.pool_size)
        self.shapes = network._pooled(layout)
        widths = [layout.n_channels] + [shape[0] for shape in self.shapes]
        self.sizes: list[Pair] = [layout.size] + [shape[1:] for shape in self.shapes]
        kernel = layout.square(network.kernel_size)
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
        layers = [  # the first one, which comes last, returns the image
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
        return self.layout.to_rows(maps)

    def _unpool(self, maps: Tensor, places: list[Tensor], level: int) -> Tensor:
        """Make maps as large as they were before the pooling of this level."""
        size = self.sizes[level]
        if self.has_switches:
            return put_back(maps, places[level], self.window, size)
        if len(self.learned):
            return self.learned[level](maps, size)
        return repeat(maps, self.window, size)

    def _places(self, columns: Tensor) -> list[Tensor]:
        """Read the places of the maxima, level by level."""
        # In codes that were drawn at random they are not whole numbers.
        whole = columns.round().clamp(0, math.prod(self.window) - 1)
        parts = whole.split([math.prod(shape) for shape in self.shapes], 1)
        return [from_columns(part, shape) for part, shape in zip(parts, self.shapes, strict=True)]


@declares_parameters
class ConvolutionalParameters(ImageParameters):
    """Parameters of convolutional networks and of `ConvolutionalAutoencoder`."""

    pooling: str = parameter(
        default="max",
        doc="""{"max", "strided"}
        Whether the largest value of each window is kept, or the convolutions themselves step
        from window to window.
        """,
        constraint=[StrOptions({"max", "strided"})],
    )
    unpooling: str = parameter(
        default="nearest",
        doc="""{"nearest", "transposed", "switches"}
        What the decoder fills a window with: the same value throughout; a pattern that is
        learnt, by a transposed convolution; or the value at the place where pooling found it
        and zeros elsewhere. With ``"switches"`` these places are part of the code.
        """,
        constraint=[StrOptions({"nearest", "transposed", "switches"})],
    )


@declares_parameters
class ConvolutionalNetwork(ConvolutionalParameters, ImageNetwork):
    """Convolutional network for images and signals.

    The encoder convolves and pools by turns and ends with a linear layer; the decoder begins
    with one, and unpools and convolves by turns. Any size of image will do, also one smaller
    than a window: windows may hang over the edge, and the decoder cuts off what lies beyond.

    Under ``n_components=None`` there are no linear layers: the code is the last maps, before
    their non-linearity, and the decoder begins with a convolution of them. Images of other
    heights and widths than those of the training are then taken too.

    Examples
    --------
    >>> from sklearn_ae.networks import ConvolutionalNetwork
    >>> network = ConvolutionalNetwork(channels=(8, 16), unpooling="switches")
    >>> names = network.extra_names((7, 7))
    >>> len(names), names[0], names[-1]
    (192, 'switch0_0', 'switch1_63')
    """

    def encoder(
        self, row_shape: tuple[int, ...], n_outputs: int, dense: bool = True
    ) -> ConvolutionalEncoder:
        """Return the encoder, with a linear layer at the end or without."""
        return ConvolutionalEncoder(self, self._layout(row_shape), n_outputs, dense)

    def decoder(
        self, row_shape: tuple[int, ...], n_inputs: int, dense: bool = True
    ) -> ConvolutionalDecoder:
        """Return the decoder of such an encoder."""
        return ConvolutionalDecoder(self, self._layout(row_shape), n_inputs, dense)

    def code_size(self, row_shape: tuple[int, ...]) -> int:
        """Return the number of values of the last maps."""
        return math.prod(self._pooled(self._layout(row_shape))[-1])

    def _last_layer(self, decoder: Any) -> Convolution:
        return decoder.layers[0]

    def extra_names(self, row_shape: tuple[int, ...]) -> list[str]:
        """Name the places of the maxima, level by level, where the decoder is told them."""
        return names_of("switch", self._switches(row_shape))

    def n_extra(self, row_shape: tuple[int, ...]) -> int:
        """Return how many values :meth:`extra_names` names: of a large image, millions."""
        return sum(map(math.prod, self._switches(row_shape)))

    def _switches(self, row_shape: tuple[int, ...]) -> list[Shape]:
        """Return the shapes of the places of the maxima that the decoder is told."""
        if self.unpooling != "switches":
            return []
        if self.pooling != "max":
            raise ValueError(
                f"unpooling='switches' puts values back where pooling='max' found them, but "
                f"pooling={self.pooling!r}."
            )
        return self._pooled(self._layout(row_shape))

    def _pooled(self, layout: Layout) -> list[Shape]:
        """Return the shapes of the maps behind each pooling."""
        return self._shapes(layout, n_poolings=len(self._widths()))
