"""A fitted module for samples of another size than the training samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sklearn_ae.networks._module import AutoencoderModule

BUFFERS_OF_ONE_SIZE = frozenset(
    {"center", "code_mean", "code_factor", "code_spread", "least", "most", "residual"}
)
"""Buffers with a value for each feature or component that encoding and decoding do not need."""


def resized(
    module: AutoencoderModule,
    sample_shape: tuple[int, ...],
    build: Callable[[type, dict[str, Any]], AutoencoderModule],
) -> AutoencoderModule:
    """Return a module with the same weights for samples of another shape.

    Weights are shared, not copied. Statistics of single features or components of the training
    data, such as the density of the codes, are set to zero.

    Parameters
    ----------
    module : AutoencoderModule
    sample_shape : tuple of int
        Shape of one of the other samples.
    build : callable
        Creates a module from its class and the arguments of its constructor. Its weights are
        replaced.

    Returns
    -------
    AutoencoderModule

    Raises
    ------
    ValueError
        If the module has dense layers, stores other values for each feature or component, or if
        the weights of its network depend on the shape of the samples.
    """
    before = module.config["sample_shape"]
    if module.config["n_components"] is not None:
        raise ValueError(
            "Dense layers take samples of one shape; fit with n_components=None to avoid them."
        )
    network = module.network.resized(before, sample_shape)
    config = module.config | {"network": network, "sample_shape": sample_shape}
    tensors = module.state_dict()
    other = build(type(module), config)
    for name, empty in other.state_dict().items():
        if name in BUFFERS_OF_ONE_SIZE:
            tensors[name] = torch.zeros(empty.shape).to(module.center)
        elif tensors[name].shape != empty.shape:
            raise ValueError(
                f"{type(module).__name__} stores a value for each feature or component ({name}), "
                f"so samples must have the shape of the training samples."
            )
    # The samples are still centred, by a mean of each channel.
    tensors["center"] = module.network.common_center(module.center, before, sample_shape)
    other.load_state_dict(tensors, assign=True)
    buffers = dict(module.named_buffers())
    # A state_dict lacks the buffers that are not persistent.
    for name, empty in other.named_buffers():
        if name not in tensors and buffers[name].shape == empty.shape:
            owner, _, leaf = name.rpartition(".")
            setattr(other.get_submodule(owner), leaf, buffers[name])
    return other.eval()
