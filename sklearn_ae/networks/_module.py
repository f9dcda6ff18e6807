"""What every network is: a torch module that can say how it was built.

A module remembers the arguments of its constructor, so a fitted model travels as plain
values and NumPy arrays (class, arguments, weights) and is built again on arrival. No torch
object is ever pickled.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class AutoencoderModule(nn.Module):
    """Encoder and decoder on centred and scaled rows.

    Subclasses define ``encode`` and ``decode``. They work on *network units*: rows from
    which ``center`` was taken and which were divided by ``scale``; the estimator converts.

    Attributes
    ----------
    config : dict
        The constructor's arguments by name, plain values only.
    center : Tensor of shape (n_features,)
        What is taken from every row.
    scale : Tensor of shape ()
        What every row is then divided by.
    code_mean : Tensor of shape (n_components,)
        Mean of the training rows' codes.
    code_factor : Tensor of shape (n_components, n_components)
        A factor ``L`` of their covariance ``L L^T``.
    """

    config: dict[str, Any]
    center: Tensor
    scale: Tensor
    code_mean: Tensor
    code_factor: Tensor

    def __new__(cls, *args: Any, **kwargs: Any) -> AutoencoderModule:
        """Note the arguments before ``__init__`` sees them."""
        module = super().__new__(cls)
        module.__dict__["config"] = dict(
            inspect.signature(cls).bind_partial(*args, **kwargs).arguments
        )
        return module

    def __init__(self, n_features: int, n_components: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("code_mean", torch.zeros(n_components))
        self.register_buffer("code_factor", torch.zeros(n_components, n_components))

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Map rows in network units, ``(batch, n_features)``, to codes."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Map codes, ``(batch, n_components)``, to outputs of the loss's link."""

    def forward(self, x: Tensor) -> Tensor:
        """Decode what was encoded."""
        return self.decode(self.encode(x))

    def unpenalized(self) -> set[str]:
        """Names of the parameters that weight decay leaves alone: vectors."""
        return {name for name, value in self.named_parameters() if value.ndim < 2}


def inner_width(module: nn.Module) -> int:
    """Width of a module's largest matrix product: the smaller side of its matrices."""
    matrices = (value for value in module.parameters() if value.ndim > 1)
    return max((min(len(matrix), matrix[0].numel()) for matrix in matrices), default=1)


def module_to_state(module: AutoencoderModule) -> dict[str, Any]:
    """Describe a module by plain values and NumPy arrays.

    The arrays share memory with the module where it lies on the CPU.
    """
    arrays = {
        name: np.ascontiguousarray(value.detach().cpu().numpy())
        for name, value in module.state_dict().items()
    }
    return {"class": type(module), "config": dict(module.config), "arrays": arrays}


def module_from_state(state: dict[str, Any]) -> AutoencoderModule:
    """Build the module that :func:`module_to_state` described, on the CPU.

    The arrays are copied: they may be a read-only memory map.
    """
    with torch.device("meta"):
        module = state["class"](**state["config"])
    arrays = {name: torch.from_numpy(np.array(a)) for name, a in state["arrays"].items()}
    module.load_state_dict(arrays, assign=True)
    return module.requires_grad_(True).eval()
