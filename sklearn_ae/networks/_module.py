"""What every network is: a torch module that can say how it was built.

A module remembers the arguments of its constructor, so that it can be built again from them
(:mod:`sklearn_ae._estimator.modules`).
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

if TYPE_CHECKING:
    from sklearn_ae.networks._network import Network

CODE_RANK = 64
"""Rank of the description of the codes' distribution, exact for codes up to that size."""

CODE_ENTRIES = 2**14
"""Number of entries up to which that description has its full rank, whatever the network."""

CODE_SHARE = 10
"""Beyond, it has at most one entry for so many weights: a code may be far wider than a row."""


class TrainableModule(nn.Module):
    """What the training loop asks of a module.

    Attributes
    ----------
    progress : float
        Share of the training that is over: 1 whenever it is not in training.
    """

    progress: float = 1.0

    def unpenalized(self) -> set[str]:
        """Names of the parameters that weight decay leaves alone: vectors."""
        return {name for name, value in self.named_parameters() if value.ndim < 2}


class AutoencoderModule(TrainableModule):
    """Encoder and decoder on centred and scaled rows.

    They work on *network units*: rows from which ``center`` was taken and which were
    divided by ``scale``; the estimator converts. A row is flat.

    Parameters
    ----------
    network : Network
        Builds both. Remembered, so it must not change any more.
    row_shape : tuple of int
        Shape of a row before it was flattened.
    n_components : int or None
        Width of the code, apart from what the network adds to it. None: the maps of the network
        are the code, without dense layers.
    **options
        Further arguments of the network's factories.

    Attributes
    ----------
    config : dict
        The constructor's arguments by name, plain values only.
    center : Tensor of shape (n_features,)
        What is taken from every row.
    scale : Tensor of shape ()
        What every row is then divided by.
    code_mean, code_spread : Tensor of shape (n_code,)
    code_factor : Tensor of shape (n_code, rank)
        The training rows' codes are described by a Gaussian of mean ``code_mean`` and
        covariance ``L L^T + diag(s^2)``, ``L`` the factor and ``s`` the spread.
    """

    bits: ClassVar[frozenset[str]] = frozenset()
    """Names of buffers that hold zeros and ones only."""

    config: dict[str, Any]
    center: Tensor
    scale: Tensor
    code_mean: Tensor
    code_factor: Tensor
    code_spread: Tensor

    def __new__(cls, *args: Any, **kwargs: Any) -> AutoencoderModule:
        """Note the arguments before ``__init__`` sees them."""
        module = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(module, *args, **kwargs)
        given = dict(bound.arguments)
        del given["self"]
        module.__dict__["config"] = given | given.pop("options", {})
        return module

    def __init__(
        self,
        network: Network,
        row_shape: tuple[int, ...],
        n_components: int | None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.network = network
        if n_components is None:
            n_components = network.code_size(row_shape)
            options = options | {"dense": False}
        self.n_components = n_components
        n_features = math.prod(row_shape)
        n_code = n_components + network.n_extra(row_shape)
        self.encoder = network.encoder(row_shape, self.n_encoded(n_components), **options)
        self.decoder = network.decoder(row_shape, n_components, **options)
        if any(is_lazy(value) for value in [*self.parameters(), *self.buffers()]):
            self._set_lazy_sizes(n_features, n_code)
        network.connect(self.encoder, self.decoder)
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("code_mean", torch.zeros(n_code))
        self.register_buffer("code_factor", torch.zeros(n_code, self._code_rank(n_code)))
        self.register_buffer("code_spread", torch.zeros(n_code))

    @torch.no_grad()
    def _set_lazy_sizes(self, n_features: int, n_code: int) -> None:
        """Show two samples to torch's lazy modules, which have no weights before."""
        self.eval()  # running statistics stay as they are
        self.encoder(torch.zeros(2, n_features))
        self.decoder(torch.zeros(2, n_code))
        self.train()

    def _code_rank(self, n_code: int) -> int:
        """Return the rank of the description of the codes."""
        n_weights = sum(weight.numel() for weight in self.parameters())
        entries = max(CODE_ENTRIES, n_weights // CODE_SHARE)
        return max(1, min(n_code, CODE_RANK, entries // n_code))

    def common_center(self, center: Tensor) -> Tensor:
        """Return what to subtract from each sample, given the mean of each feature.

        Without dense layers samples may be of any size later on, and a mean of each channel is
        all that is known of them.
        """
        if self.config["n_components"] is not None:
            return center
        shape = self.config["row_shape"]
        return self.network.common_center(center, shape, shape)

    def n_encoded(self, n_components: int) -> int:
        """Return how many numbers the encoder gives for a code of ``n_components``."""
        return n_components

    def encode(self, x: Tensor) -> Tensor:
        """Map rows in network units, ``(batch, n_features)``, to codes."""
        return self.encoder(x).to(x.dtype)

    def draw_codes(self, x: Tensor) -> Tensor:
        """Map samples to codes that stand for them in a density: those of :meth:`encode`."""
        return self.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Map codes, ``(batch, n_code)``, to outputs of the loss's link."""
        return self.decoder(z).to(z.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Decode what was encoded."""
        return self.decode(self.encode(x))


def inner_width(module: nn.Module) -> int:
    """Width of a module's largest matrix product: the smaller side of its matrices."""
    matrices = (value for value in module.parameters() if value.ndim > 1)
    return max((min(len(matrix), matrix[0].numel()) for matrix in matrices), default=1)


def converted(
    module: AutoencoderModule, dtype: torch.dtype, device: torch.device | None = None
) -> AutoencoderModule:
    """Convert a module in place, as its ``to`` does, and keep what is complex complex."""

    def convert(value: Tensor) -> Tensor:
        if value.is_complex():
            return value.to(device, dtype.to_complex())
        return value.to(device, dtype if value.is_floating_point() else None)

    return module._apply(convert)


def distinct(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's weights and buffers by name, each under its first name."""
    values = module.state_dict(keep_vars=True)
    first = {id(value): name for name, value in reversed(values.items())}
    return {name: value for name, value in values.items() if first[id(value)] == name}
