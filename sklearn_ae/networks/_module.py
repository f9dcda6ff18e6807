"""Base classes of the torch modules that are trained.

A module stores the arguments of its constructor, so that copies and files can rebuild it
(:mod:`sklearn_ae._estimator.modules`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sklearn_ae.networks._completion import Completion

if TYPE_CHECKING:
    from sklearn_ae.networks._network import Network

MAX_CODE_RANK = 64
"""Maximum rank of the covariance factor of the codes. Codes up to this size have full rank."""

FREE_FACTOR_ENTRIES = 2**14
"""Number of entries of the covariance factor that every network may have."""

WEIGHTS_PER_FACTOR_ENTRY = 10
"""A larger factor has at most one entry for so many weights: a code with skip connections may
have many more components than a sample has features."""


class TrainableModule(nn.Module):
    """Base class of the modules that the training loop accepts.

    Attributes
    ----------
    progress : float
        Fraction of the training that is completed; 1 outside training.
    """

    progress: float = 1.0

    def unpenalized(self) -> set[str]:
        """Return the names of the parameters without weight decay: all vectors."""
        return {name for name, value in self.named_parameters() if value.ndim < 2}


class AutoencoderModule(TrainableModule):
    """Encoder and decoder of flat samples in network units.

    A sample in network units has ``center`` subtracted and is divided by ``scale``. The
    estimator converts samples; the module stores both values.

    Parameters
    ----------
    network : Network
        Creates encoder and decoder. It is stored, and must not be changed afterwards.
    sample_shape : tuple of int
        Shape of one sample before it was flattened.
    n_components : int or None
        Number of components of the code, without the values of ``network.extra_names``. None:
        the maps of the network are the code, without dense layers.
    completes : bool, default=False
        Whether missing values of samples are replaced before they are encoded.
    **options
        Further arguments of the network's factories.

    Attributes
    ----------
    completion : Completion or None
        Maps samples with missing values to inputs of the encoder.
    config : dict
        Arguments of the constructor by name, plain values only.
    center : Tensor of shape (n_features,)
        Subtracted from every sample.
    scale : Tensor of shape ()
        Divisor of every centred sample.
    code_mean, code_spread : Tensor of shape (n_code,)
    code_factor : Tensor of shape (n_code, rank)
        Gaussian density of the codes of the training samples: its mean is ``code_mean``, and its
        covariance is ``L L^T + diag(s^2)``, where ``L`` is the factor and ``s`` the spread.
    """

    bits: ClassVar[frozenset[str]] = frozenset()
    """Names of the buffers that contain only zeros and ones."""

    shows_missing: ClassVar[bool] = True
    """Whether the encoder's input may say which values were missing, after the values. False for
    modules that compute with inputs beside encoding them."""

    n_decoded: int | None = None
    """Number of components that :meth:`decode` uses; None: all. The others are set to zero."""

    config: dict[str, Any]
    center: Tensor
    scale: Tensor
    code_mean: Tensor
    code_factor: Tensor
    code_spread: Tensor
    completion: Completion | None

    def __new__(cls, *args: Any, **kwargs: Any) -> AutoencoderModule:
        """Store the arguments before ``__init__`` is called."""
        module = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(module, *args, **kwargs)
        given = dict(bound.arguments)
        del given["self"]
        module.__dict__["config"] = given | given.pop("options", {})
        return module

    def __init__(
        self,
        network: Network,
        sample_shape: tuple[int, ...],
        n_components: int | None,
        completes: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.network = network
        if n_components is None:
            n_components = network.code_size(sample_shape)
            options = options | {"dense": False}
        self.n_components = n_components
        n_features = math.prod(sample_shape)
        n_code = n_components + network.n_extra(sample_shape)
        input_shape, self.completion = sample_shape, None
        if completes:
            with_missing = network.shape_with_missing(sample_shape) if self.shows_missing else None
            input_shape = with_missing or sample_shape
            self.completion = Completion(n_features, shows_missing=with_missing is not None)
        self.encoder = network.encoder(input_shape, self.n_encoded(n_components), **options)
        self.decoder = network.decoder(sample_shape, n_components, **options)
        if any(is_lazy(value) for value in [*self.parameters(), *self.buffers()]):
            self._set_lazy_sizes(math.prod(input_shape), n_code)
        network.connect(self.encoder, self.decoder)
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("code_mean", torch.zeros(n_code))
        self.register_buffer("code_factor", torch.zeros(n_code, self._code_rank(n_code)))
        self.register_buffer("code_spread", torch.zeros(n_code))

    @torch.no_grad()
    def _set_lazy_sizes(self, n_inputs: int, n_code: int) -> None:
        """Initialise torch's lazy modules, which have no weights yet, with two samples."""
        self.eval()  # running statistics must not change
        self.encoder(torch.zeros(2, n_inputs))
        self.decoder(torch.zeros(2, n_code))
        self.train()

    def _code_rank(self, n_code: int) -> int:
        """Return the rank of the covariance factor of the codes."""
        n_weights = sum(weight.numel() for weight in self.parameters())
        entries = max(FREE_FACTOR_ENTRIES, n_weights // WEIGHTS_PER_FACTOR_ENTRY)
        return max(1, min(n_code, MAX_CODE_RANK, entries // n_code))

    @property
    def takes_missing(self) -> bool:
        """Whether targets may have missing values, whose errors do not count."""
        return self.network.takes_missing or self.completion is not None

    def common_center(self, center: Tensor) -> Tensor:
        """Return what is subtracted from each sample, given the mean of each feature.

        Without dense layers, later samples may have another size, for which only a mean of each
        channel is defined.
        """
        if self.config["n_components"] is not None:
            return center
        shape = self.config["sample_shape"]
        return self.network.common_center(center, shape, shape)

    def n_encoded(self, n_components: int) -> int:
        """Return the number of values that the encoder returns for ``n_components``."""
        return n_components

    def complete(self, x: Tensor) -> Tensor:
        """Return the encoder's input for samples, in which missing values are NaN."""
        return x if self.completion is None else self.completion(x)

    def forecast(self, x: Tensor, mean: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the mean of all values of samples given the observed ones.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)
            With NaN for missing values.
        mean : callable
            Maps outputs of the decoder to reconstructions.

        Returns
        -------
        Tensor of shape (batch, n_features)
        """
        return mean(self(self.complete(x)))

    def encode(self, x: Tensor) -> Tensor:
        """Map samples in network units, ``(batch, n_features)``, to codes.

        If the module has a ``completion``, the samples are those of :meth:`complete`.
        """
        code: Tensor = self.encoder(x)
        return code.to(x.dtype)  # under autocast, layers return bfloat16

    def draw_codes(self, x: Tensor) -> Tensor:
        """Return the codes that the density of the codes is fitted to: those of :meth:`encode`."""
        return self.encode(x)

    def truncate(self, z: Tensor) -> Tensor:
        """Set all but the first ``n_decoded`` components of codes to zero; None keeps all."""
        if self.n_decoded is None:
            return z
        kept = torch.ones(z.shape[-1], dtype=z.dtype, device=z.device)
        kept[self.n_decoded : self.n_components] = 0  # not the columns after the components
        return z * kept

    def decode(self, z: Tensor) -> Tensor:
        """Map codes, ``(batch, n_code)``, to decoder outputs, to which the link is applied."""
        output: Tensor = self.decoder(self.truncate(z))
        return output.to(z.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Encode and decode samples."""
        own = type(self)
        has_plain_code = (own.encode, own.decode) == (
            AutoencoderModule.encode,
            AutoencoderModule.decode,
        )
        if has_plain_code and self.n_decoded is None:
            return self.network.reconstruct(self.encoder, self.decoder, x).to(x.dtype)
        return self.decode(self.encode(x))


def inner_width(module: nn.Module) -> int:
    """Return the smaller side of each weight matrix, and of these the largest."""
    matrices = (value for value in module.parameters() if value.ndim > 1)
    return max((min(len(matrix), matrix[0].numel()) for matrix in matrices), default=1)


def n_shared_products(module: nn.Module, x: Tensor) -> int:
    """Count the multiplications per sample by weights that are used several times for a sample.

    Weights of convolutions are used at each pixel, those of recurrent layers in each step.

    Parameters
    ----------
    module : nn.Module
    x : Tensor of shape (1, n_features)
        Any sample.
    """
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.ConvTranspose2d):
            total += inputs[0].numel() * layer.weight[0].numel()
        else:  # (1, n_steps, n_inputs)
            matrices = (value.numel() for value in layer.parameters() if value.ndim > 1)
            total += inputs[0].shape[1] * sum(matrices)

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.LSTM, nn.GRU)
    hooks = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        if isinstance(layer, kinds)
    ]
    if not hooks:
        return 0
    was_training = module.training
    try:
        with torch.no_grad():
            module.eval()(x)
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    return total


def converted(
    module: AutoencoderModule, dtype: torch.dtype, device: torch.device | None = None
) -> AutoencoderModule:
    """Convert a module in place like its method ``to``, but keep complex tensors complex."""

    def convert(value: Tensor) -> Tensor:
        if value.is_complex():
            return value.to(device, dtype.to_complex())
        return value.to(device, dtype if value.is_floating_point() else None)

    module._apply(convert)
    return module


def distinct(module: nn.Module) -> dict[str, Tensor]:
    """Return weights and buffers by name; shared tensors appear once, under their first name."""
    values = module.state_dict(keep_vars=True)
    first = {id(value): name for name, value in reversed(values.items())}
    return {name: value for name, value in values.items() if first[id(value)] == name}
