"""A fitted module for samples of another size than those of the training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sklearn_ae.networks._module import AutoencoderModule

OF_ONE_SIZE = frozenset(
    {"center", "code_mean", "code_factor", "code_spread", "least", "most", "residual"}
)
"""Buffers with a value for each feature or component that encoding and decoding do without."""


def resized(
    module: AutoencoderModule,
    row_shape: tuple[int, ...],
    build: Callable[[type, dict[str, Any]], AutoencoderModule],
) -> AutoencoderModule:
    """Return a module of the same weights for samples of another shape.

    Weights are shared, not copied. What is known of each feature or component of the training
    data alone, such as the distribution of the codes, is zero.

    Parameters
    ----------
    module : AutoencoderModule
    row_shape : tuple of int
    build : callable
        Class and arguments of a module to the module, whose weights will be replaced.

    Returns
    -------
    AutoencoderModule

    Raises
    ------
    ValueError
        If the module holds more for each feature or component than that, or if its network has
        weights of one size.
    """
    before = module.config["row_shape"]
    if module.config["n_components"] is not None:
        raise ValueError(
            "Dense layers take samples of one shape; fit with n_components=None to do without."
        )
    network = module.network.resized(before, row_shape)
    config = module.config | {"network": network, "row_shape": row_shape}
    tensors = module.state_dict()
    other = build(type(module), config)
    for name, empty in other.state_dict().items():
        if name in OF_ONE_SIZE:
            tensors[name] = torch.zeros(empty.shape).to(module.center)
        elif tensors[name].shape != empty.shape:
            raise ValueError(
                f"{type(module).__name__} keeps a value for each feature or component ({name}), "
                f"so samples must have the shape of the training."
            )
    tensors["center"] = module.network.common_center(module.center, before, row_shape)
    other.load_state_dict(tensors, assign=True)
    buffers = dict(module.named_buffers())
    for name, empty in other.named_buffers():
        if name not in tensors and buffers[name].shape == empty.shape:  # not persistent
            owner, _, leaf = name.rpartition(".")
            setattr(other.get_submodule(owner), leaf, buffers[name])
    return other.eval()
