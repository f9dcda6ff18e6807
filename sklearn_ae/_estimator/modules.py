"""Modules as plain values and arrays, and modules again.

A module remembers the arguments of its constructor. Of this package's own modules they and the
weights are all that there is: they are built again without values, and take the arrays. A network
of somebody else may look at values when it is built, draw them, and keep more than weights: its
constructor runs as it always does, and what it held is put back
(:mod:`sklearn_ae._estimator.contents`).

Whoever copies or unpickles a module is its owner, and nothing here distrusts anything but
damage. What comes from a stranger's file is for :mod:`sklearn_ae._files.modules`.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_ae._estimator.contents import contents_of, put_back
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae.networks._empty import without_values
from sklearn_ae.networks._module import AutoencoderModule, converted, distinct


def module_to_state(module: AutoencoderModule) -> dict[str, Any]:
    """Describe a module by plain values and NumPy arrays.

    The arrays of this package's own modules share memory with them where they lie on the CPU.
    Weights that encoder and decoder share are there once, and bits take a byte.

    Parameters
    ----------
    module : AutoencoderModule

    Returns
    -------
    dict
        ``"class"`` and ``"config"``, the arguments of its constructor, and ``"arrays"`` by name;
        of networks of others ``"contents"`` instead.
    """
    state = {"class": type(module), "config": dict(module.config)}
    if not is_own(type(module), module.config):
        return state | {"contents": contents_of(module)}
    arrays = {
        name: np.asarray(
            value.detach().cpu().numpy(), bool if name in module.bits else None, order="C"
        )
        for name, value in distinct(module).items()
    }
    return state | {"arrays": arrays}


def module_from_state(state: dict[str, Any]) -> AutoencoderModule:
    """Build the module that :func:`module_to_state` described, on the CPU.

    The arrays are copied: they may be a read-only memory map. What the constructor of somebody
    else's network draws with torch comes from a generator of its own.

    Parameters
    ----------
    state : dict

    Returns
    -------
    AutoencoderModule

    Raises
    ------
    ValueError
        If the arrays are not those of such a module.
    """
    module = build(state["class"], state["config"])
    if "contents" in state:
        put_back(module.cpu(), state["contents"])
        return module.eval()
    return with_arrays(module, state["arrays"])


def build(cls: type[AutoencoderModule], config: dict[str, Any]) -> AutoencoderModule:
    """Build a module whose values will be replaced; this package's own have none.

    Parameters
    ----------
    cls : type
    config : dict
        Arguments of its constructor.

    Returns
    -------
    AutoencoderModule
    """
    if is_own(cls, config):
        with without_values():
            return cls(**config)
    with drawing_from(make_generator(0)):
        # A specification may hold modules, and two networks must not share their weights.
        return cls(**copy.deepcopy(config))


def is_own(cls: type[AutoencoderModule], config: dict[str, Any]) -> bool:
    """Whether no code but this package's, and torch's, builds a module.

    Parameters
    ----------
    cls : type
    config : dict
        Arguments of its constructor.
    """
    kinds = (cls, type(config["network"]))
    is_ours = all(kind.__module__.partition(".")[0] == "sklearn_ae" for kind in kinds)
    return is_ours and not any(isinstance(value, nn.Module) for value in config.values())


def with_arrays(module: AutoencoderModule, arrays: dict[str, np.ndarray]) -> AutoencoderModule:
    """Give copies of arrays to a module that has no values.

    Parameters
    ----------
    module : AutoencoderModule
        As built by :func:`build` or under ``without_values``.
    arrays : dict of str to ndarray

    Returns
    -------
    AutoencoderModule
        The same one.

    Raises
    ------
    ValueError
        If they are not its arrays, or of other shapes or types.
    """
    check_arrays(module, arrays)
    dtype = torch.float64 if arrays["center"].dtype == np.float64 else torch.float32
    tensors = {
        # Copied, to memory of torch, on whose boundaries the bits of products depend.
        name: torch.tensor(array, dtype=dtype) if name in module.bits else torch.tensor(array)
        for name, array in arrays.items()
    }
    return _with_tensors(module, tensors)


def check_arrays(module: AutoencoderModule, arrays: dict[str, np.ndarray]) -> None:
    """Refuse arrays that are not those of a module, or of other shapes or types.

    Parameters
    ----------
    module : AutoencoderModule
        Its values do not matter, and it need not have any.
    arrays : dict of str to ndarray

    Raises
    ------
    ValueError
    """
    expected, name = distinct(module), type(module).__name__
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


def duplicate(module: AutoencoderModule) -> AutoencoderModule:
    """Copy a module, on its device: what it has computed of its weights is left behind.

    Parameters
    ----------
    module : AutoencoderModule

    Returns
    -------
    AutoencoderModule
    """
    if not is_own(type(module), module.config):  # a function in it may have hold of its weights
        return module_from_state(module_to_state(module)).to(module.center.device)
    tensors = {name: value.detach().clone() for name, value in distinct(module).items()}
    return _with_tensors(build(type(module), module.config), tensors)


def converted_copy(module: AutoencoderModule, dtype: torch.dtype) -> AutoencoderModule:
    """Copy a module in another precision, to compute with and not to train.

    Parameters
    ----------
    module : AutoencoderModule
    dtype : torch.dtype

    Returns
    -------
    AutoencoderModule
    """
    if is_own(type(module), module.config):
        return copy.deepcopy(module).to(dtype)  # what it has computed of its weights is kept
    return converted(duplicate(module), dtype)


def _with_tensors(module: AutoencoderModule, tensors: dict[str, Tensor]) -> AutoencoderModule:
    module.load_state_dict(tensors, assign=True, strict=False)  # what is shared has a name only
    return module.requires_grad_(True).eval()
