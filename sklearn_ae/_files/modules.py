"""Torch modules from untrusted files; their arrays limit what is built."""

from __future__ import annotations

import math
from typing import Any

from sklearn_ae._estimator.modules import check_arrays, module_from_state, with_arrays
from sklearn_ae._files.catalogue import ESTIMATORS, MODULES
from sklearn_ae._files.trusted import is_extension
from sklearn_ae.networks._empty import without_values
from sklearn_ae.networks._module import AutoencoderModule

CALLS = 200
"""Number of torch calls that building a module may take, apart from those for its layers."""

CALLS_PER_ARRAY = 15
"""Number of further torch calls for each of its arrays."""

MAX_AXES = 64
"""Number of axes that an array of NumPy may have."""

MAX_ARRAYS = 4_000
"""Number of arrays of one module: that of a thousand dense layers in encoder and decoder each.

Every array takes torch some time whatever its size, and in recurrent layers a time that grows
with the square of their number.
"""


def module_from_file(state: dict[str, Any]) -> AutoencoderModule:
    """Build a module from an untrusted description.

    Parameters
    ----------
    state : dict
        As :func:`sklearn_ae._estimator.modules.module_to_state` returns it.

    Returns
    -------
    AutoencoderModule

    Raises
    ------
    Exception
        Of any type, if the arguments do not describe a module with these arrays.
    """
    if "contents" in state:
        _check_extension(state)
        return module_from_state(state)
    return with_arrays(_without_values(state), state["arrays"])


def check_module(state: dict[str, Any]) -> None:
    """Raise the errors of :func:`module_from_file`, without building the module.

    Parameters
    ----------
    state : dict

    Raises
    ------
    Exception
    """
    if "contents" in state:
        _check_extension(state)
    else:
        check_arrays(_without_values(state), state["arrays"])


def _check_extension(state: dict[str, Any]) -> None:
    """Refuse a custom network of which a part cannot be found by its name."""
    for each, known in (
        (state["class"], MODULES.values()),
        (type(state["config"]["network"]), ESTIMATORS.values()),
    ):
        if each not in known and not is_extension(each):
            raise ValueError(f"{each.__module__}.{each.__qualname__} is not defined in a module")


def _without_values(state: dict[str, Any]) -> AutoencoderModule:
    """Build a module without memory for its values, in limited time.

    Sizes then cost nothing, however large: shapes are compared with those of the arrays before
    memory is allocated. The number of layers remains to be limited, by the number of arrays.
    """
    cls: Any = state["class"]
    config, arrays = state["config"], state["arrays"]
    network: Any = config["network"]
    if cls not in MODULES.values():
        raise ValueError(f"{cls.__name__} is no module of sklearn_ae")
    if type(network) not in ESTIMATORS.values():
        raise ValueError(f"{type(network).__name__} is no network of sklearn_ae")
    if len(arrays) > MAX_ARRAYS:
        raise ValueError(f"a network of {len(arrays):,} arrays is more than a file can hold")
    shape = config["sample_shape"]
    # The product of a number and a list would be a list, of any length.
    if not (
        isinstance(shape, tuple) and len(shape) <= MAX_AXES and set(map(type, shape)) <= {int}
    ):
        raise ValueError("the shape of its samples is no tuple of integers")
    # Before the network is built: it could make a list with an entry for each feature.
    if math.prod(shape) != len(arrays["center"]):
        raise ValueError(f"samples of shape {shape} do not have as many features as the arrays")
    network._validate_params()
    with without_values(CALLS + CALLS_PER_ARRAY * len(arrays)):
        module: AutoencoderModule = cls(**config)
    return module
