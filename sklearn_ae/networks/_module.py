"""What every network is: a torch module that can say how it was built.

A module remembers the arguments of its constructor, so a fitted model travels as plain
values and NumPy arrays (class, arguments, weights) and is built again on arrival. No torch
object is ever pickled.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from sklearn_ae.networks._network import Network

CODE_RANK = 64
"""Rank of the description of the codes' distribution, exact for codes up to that size."""

CODE_ENTRIES = 2**14
"""Number of entries up to which that description has its full rank, whatever the network."""

CODE_SHARE = 10
"""Beyond, it has at most one entry for so many weights: a code may be far wider than a row."""

SPARE = 1_000
"""How much larger a number of a module may be than any side of its arrays."""

LISTED = 100
"""How much longer a list in its arguments may be than the list of its arrays."""

CALLS = 50
"""Calls of torch that building takes for each of the arrays, at most."""

HOLLOW: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(("rand", "randn"), torch.empty),
    **dict.fromkeys(("ones_like", "zeros_like"), lambda tensor: torch.empty(tensor.shape)),
    **dict.fromkeys(("uniform_", "normal_", "kaiming_uniform_"), lambda tensor, *_, **__: tensor),
    **dict.fromkeys(("mul", "lt"), lambda tensor, *_: tensor),
}
"""What constructors of modules do with values, by name, and what does for a module without."""


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
        network.connect(self.encoder, self.decoder)
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("code_mean", torch.zeros(n_code))
        self.register_buffer("code_factor", torch.zeros(n_code, self._code_rank(n_code)))
        self.register_buffer("code_spread", torch.zeros(n_code))

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


def module_to_state(module: AutoencoderModule) -> dict[str, Any]:
    """Describe a module by plain values and NumPy arrays.

    The arrays share memory with the module where it lies on the CPU. Weights that encoder and
    decoder share are there once, and bits take a byte.
    """
    arrays = {
        name: np.asarray(
            value.detach().cpu().numpy(), bool if name in module.bits else None, order="C"
        )
        for name, value in _distinct(module).items()
    }
    return {"class": type(module), "config": dict(module.config), "arrays": arrays}


def _distinct(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's weights and buffers by name, each under its first name."""
    values = module.state_dict(keep_vars=True)
    first = {id(value): name for name, value in reversed(values.items())}
    return {name: value for name, value in values.items() if first[id(value)] == name}


def module_from_state(state: dict[str, Any]) -> AutoencoderModule:
    """Build the module that :func:`module_to_state` described, on the CPU.

    The arrays are copied: they may be a read-only memory map. The state may come from a stranger:
    what is built takes no more time or memory than its arrays account for.

    Raises
    ------
    ValueError
        If the arguments are not those of a module with such arrays.
    """
    cls, config, arrays = state["class"], state["config"], state["arrays"]
    if not issubclass(cls, AutoencoderModule):
        raise ValueError(f"{cls.__name__} is no module of an autoencoder")
    if math.prod(config["row_shape"]) != len(arrays["center"]):
        raise ValueError(f"rows of shape {config['row_shape']} are not those of such arrays")
    sizes = [size for array in arrays.values() for size in array.shape]
    _check_arguments(config, SPARE + max(sizes, default=0), LISTED + len(arrays))
    config["network"]._validate_params()
    with torch.device("meta"), _Hollow(SPARE + CALLS * len(arrays)):
        module = cls(**config)
    _check_arrays(module, arrays)
    dtype = arrays["center"].dtype
    tensors = {
        name: torch.from_numpy(np.array(array, dtype if name in module.bits else None))
        for name, array in arrays.items()
    }
    module.load_state_dict(tensors, assign=True, strict=False)  # what is shared has a name only
    return module.requires_grad_(True).eval()


def _check_arrays(module: AutoencoderModule, arrays: dict[str, np.ndarray]) -> None:
    """Refuse arrays that are not those of a module, or of other shapes or types."""
    expected, name = _distinct(module), type(module).__name__
    if list(arrays) != list(expected):
        raise ValueError(f"the arrays are not those of such a {name}")
    real = {key for key in arrays if expected[key].is_floating_point() and key not in module.bits}
    dtypes = {arrays[key].dtype.name for key in real}
    if dtypes not in ({"float32"}, {"float64"}):
        raise ValueError(f"the arrays of a {name} cannot be of types {sorted(dtypes)}")
    for key, array in arrays.items():
        shape = tuple(expected[key].shape)
        counts = torch.empty(0, dtype=expected[key].dtype).numpy().dtype  # of what is no number
        wanted = bool if key in module.bits else counts
        if array.shape != shape or (key not in real and array.dtype != wanted):
            raise ValueError(
                f"{key} is of shape {array.shape} and type {array.dtype}, but that of such a "
                f"{name} has the shape {shape}"
            )


class _Hollow(TorchFunctionMode):
    """Builds modules without values, and none that takes more calls of torch than it should.

    Nothing is drawn or computed: even without values torch does that by way of its compiler,
    whose import takes seconds, makes a folder and sets an environment variable.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.left -= 1
        # Not within the exit of ``no_grad``: gradients would stay off.
        if self.left < 0 and function is not torch._C._set_grad_enabled:
            raise ValueError("the network has more parts than there are arrays for")
        function = HOLLOW.get(getattr(function, "__name__", ""), function)
        return function(*args, **(kwargs or {}))


def _check_arguments(value: Any, largest: int, longest: int) -> None:
    """Refuse what no array accounts for in the arguments of a module or of a network.

    Parameters
    ----------
    value : object
    largest : int
        Bound of all whole numbers.
    longest : int
        Bound of the lengths of lists.
    """
    if hasattr(value, "get_params"):
        value = value.get_params(deep=False)
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, dict):  # a window may be larger than the image, and costs nothing
        value = [entry for name, entry in value.items() if name != "pool_size"]
    if isinstance(value, (list, tuple)):
        if len(value) > longest:
            raise ValueError(f"the network has {len(value)} parts, more than there are arrays for")
        for entry in value:
            _check_arguments(entry, largest, longest)
    elif isinstance(value, int) and abs(value) > largest:  # sizes are whole numbers
        raise ValueError(f"{value!r} among the arguments of the network is out of range")
