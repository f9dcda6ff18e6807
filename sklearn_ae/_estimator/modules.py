"""Conversion of modules to plain values and arrays, and back.

A module stores the arguments of its constructor. A module of this package consists of these and
its weights: it is built again without values, and receives the arrays. A custom network may read
values when it is built, draw them, and contain other data than weights: its constructor runs as
usual, and its data are restored (:mod:`sklearn_ae._estimator.contents`).

A module is copied or unpickled by its owner, so nothing is checked here except for damage. Modules
from files that others may have written are built by :mod:`sklearn_ae._files.modules`.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_ae._estimator.contents import module_contents, restore_contents
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae.networks._empty import without_values
from sklearn_ae.networks._module import AutoencoderModule, converted, distinct

DENSITY = frozenset({"code_mean", "code_factor", "code_spread"})
"""Names of the buffers that describe the density of the codes."""


def module_to_state(module: AutoencoderModule) -> dict[str, Any]:
    """Convert a module to plain values and NumPy arrays.

    Arrays of modules on the CPU share their memory. Weights that encoder and decoder share are
    stored once, and bits in one byte each.

    Parameters
    ----------
    module : AutoencoderModule

    Returns
    -------
    dict
        ``"class"``; ``"config"``, the arguments of the constructor; and ``"arrays"`` by name, or
        for custom networks ``"contents"``.
    """
    state = {"class": type(module), "config": dict(module.config)}
    if not is_built_in(type(module), module.config):
        return state | {"contents": module_contents(module)}
    arrays = {
        name: np.asarray(
            value.detach().cpu().numpy(), bool if name in module.bits else None, order="C"
        )
        for name, value in distinct(module).items()
    }
    return state | {"arrays": arrays}


def module_from_state(state: dict[str, Any]) -> AutoencoderModule:
    """Build a module on the CPU from the result of :func:`module_to_state`.

    The arrays are copied, because they may be a read-only memory map. Draws by the constructor of
    a custom network do not advance torch's global generator.

    Parameters
    ----------
    state : dict

    Returns
    -------
    AutoencoderModule

    Raises
    ------
    ValueError
        If the arrays do not belong to such a module.
    """
    module = build(state["class"], state["config"])
    if "contents" in state:
        restore_contents(module.cpu(), state["contents"])
        return module.eval()
    return with_arrays(module, state["arrays"])


def build(cls: type[AutoencoderModule], config: dict[str, Any]) -> AutoencoderModule:
    """Build a module whose values will be replaced, without values if possible.

    Parameters
    ----------
    cls : type
    config : dict
        Arguments of the constructor.

    Returns
    -------
    AutoencoderModule
        On the device "meta" if it is a module of this package.
    """
    if is_built_in(cls, config):
        with without_values():
            return cls(**config)
    with drawing_from(make_generator(0)):
        # A config may contain modules, and two networks must not share their weights.
        return cls(**copy.deepcopy(config))


def is_built_in(cls: type[AutoencoderModule], config: dict[str, Any]) -> bool:
    """Return whether a module is built by code of this package and torch only.

    Parameters
    ----------
    cls : type
    config : dict
        Arguments of the constructor.
    """
    classes = (cls, type(config["network"]))
    is_ours = all(each.__module__.partition(".")[0] == "sklearn_ae" for each in classes)
    return is_ours and not any(isinstance(value, nn.Module) for value in config.values())


def check_shapes(module: AutoencoderModule) -> None:
    """Raise an error if encoder or decoder of a custom network return other shapes than declared.

    A decoder that returns one value per sample, for example, would be compared with all features.
    A copy of the network is applied to two samples, so that the network itself does not change.

    Parameters
    ----------
    module : AutoencoderModule

    Raises
    ------
    ValueError
        The message names the module, the shape that it returned and the expected one.
    """
    if is_built_in(type(module), module.config):
        return
    again = duplicate(module).eval()
    n_extra = again.network.n_extra(module.config["sample_shape"])
    samples = again.complete(torch.zeros_like(again.center).repeat(2, 1))
    codes = samples.new_zeros(2, again.n_components + n_extra)
    n_encoded = again.n_encoded(again.n_components) + n_extra
    _check_shape(again, "encoder", samples, n_encoded)
    _check_shape(again, "decoder", codes, len(again.center))


@torch.no_grad()
def _check_shape(module: AutoencoderModule, name: str, x: Tensor, width: int) -> None:
    owner = f"the {name} of {type(module.network).__name__}"
    try:
        output = getattr(module, name)(x)
    except RuntimeError as error:
        if "shape" not in str(error) and "size" not in str(error):
            raise
        raise ValueError(
            f"{owner} cannot be applied to a batch of shape {tuple(x.shape)}: {error}"
        ) from error
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if shape != (len(x), width):
        raise ValueError(
            f"{owner} returned {shape} for a batch of shape {tuple(x.shape)}; expected was "
            f"{(len(x), width)}. The methods encoder and decoder of a network receive the width "
            f"of the output as n_outputs, and that of the input as n_inputs."
        )


def with_arrays(module: AutoencoderModule, arrays: dict[str, np.ndarray]) -> AutoencoderModule:
    """Assign copies of arrays to a module without values.

    Parameters
    ----------
    module : AutoencoderModule
        As built by :func:`build` or under ``without_values``.
    arrays : dict of str to ndarray

    Returns
    -------
    AutoencoderModule
        The same object.

    Raises
    ------
    ValueError
        If names, shapes or dtypes of the arrays are not those of the module.
    """
    check_arrays(module, arrays)
    dtype = torch.float64 if arrays["center"].dtype == np.float64 else torch.float32
    tensors = {
        # Copied to memory that torch allocates: rounding in products depends on its alignment.
        name: torch.tensor(array, dtype=dtype) if name in module.bits else torch.tensor(array)
        for name, array in arrays.items()
    }
    return _with_tensors(module, tensors)


def check_arrays(module: AutoencoderModule, arrays: dict[str, np.ndarray]) -> None:
    """Raise an error unless arrays have the names, shapes and dtypes of a module.

    Parameters
    ----------
    module : AutoencoderModule
        It may be without values.
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
        raise ValueError(f"the arrays of a {name} cannot have the dtypes {sorted(dtypes)}")
    for key, array in arrays.items():
        shape = tuple(expected[key].shape)
        # Arrays of real numbers may have either dtype, others (counts) only that of the module.
        exact = torch.empty(0, dtype=expected[key].dtype).numpy().dtype
        wanted = np.dtype(bool) if key in module.bits else exact
        if array.shape != shape or (key not in real and array.dtype != wanted):
            raise ValueError(
                f"{key} is of shape {array.shape} and dtype {array.dtype}, but in such a {name} "
                f"it has the shape {shape}" + ("" if key in real else f" and the dtype {wanted}")
            )


def duplicate(module: AutoencoderModule) -> AutoencoderModule:
    """Copy a module on its device, without values that it has cached.

    Parameters
    ----------
    module : AutoencoderModule

    Returns
    -------
    AutoencoderModule
    """
    # Closures of a custom network may refer to its weights, so its constructor has to run.
    if not is_built_in(type(module), module.config):
        return module_from_state(module_to_state(module)).to(module.center.device)
    tensors = {name: value.detach().clone() for name, value in distinct(module).items()}
    return _with_tensors(build(type(module), module.config), tensors)


@torch.no_grad()
def narrowed(module: AutoencoderModule, n_components: int) -> AutoencoderModule:
    """Copy a module with the first components of its code only.

    Wherever the size of an array depends on the number of components, the part that belongs to
    the first ones is copied. The density of the codes is not: it has to be fitted again.

    Parameters
    ----------
    module : AutoencoderModule
    n_components : int
        At most as many as the module has.

    Returns
    -------
    AutoencoderModule
    """
    small = build(type(module), module.config | {"n_components": n_components})
    sizes = module.n_components, n_components
    tensors = {}
    for name, target in distinct(small).items():
        value = distinct(module)[name].detach()
        if name in DENSITY:
            tensors[name] = value.new_zeros(target.shape)
            continue
        for axis, (old, new) in enumerate(zip(value.shape, target.shape, strict=True)):
            if old != new:
                value = value.index_select(axis, _first_components(old, *sizes).to(value.device))
        tensors[name] = value.clone()
    return _with_tensors(small.to(module.center.device) if _is_real(small) else small, tensors)


def _first_components(size: int, n_components: int, n_kept: int) -> Tensor:
    """Return the places of the first components on an axis.

    There are as many values as components, or several for each, such as the means followed by the
    variances of a posterior; or further values follow, which are all kept.
    """
    places = torch.arange(size)
    if size % n_components == 0:
        return places[places % n_components < n_kept]
    return places[(places < n_kept) | (places >= n_components)]


def _is_real(module: AutoencoderModule) -> bool:
    return module.center.device.type != "meta"


def converted_copy(module: AutoencoderModule, dtype: torch.dtype) -> AutoencoderModule:
    """Copy a module in another dtype, for inference.

    Parameters
    ----------
    module : AutoencoderModule
    dtype : torch.dtype

    Returns
    -------
    AutoencoderModule
    """
    if is_built_in(type(module), module.config):
        return copy.deepcopy(module).to(dtype)  # with values that it has cached
    return converted(duplicate(module), dtype)


def _with_tensors(module: AutoencoderModule, tensors: dict[str, Tensor]) -> AutoencoderModule:
    # Not strict: shared weights are in `tensors` under their first name only.
    module.load_state_dict(tensors, assign=True, strict=False)
    return module.requires_grad_(True).eval()
