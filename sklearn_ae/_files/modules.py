"""Networks out of files: none that its arrays do not account for is ever built."""

from __future__ import annotations

import math
from typing import Any

from sklearn_ae._estimator.modules import check_arrays, with_arrays
from sklearn_ae._files.catalogue import estimators, modules
from sklearn_ae.networks._empty import without_values
from sklearn_ae.networks._module import AutoencoderModule

CALLS = 200
"""Calls of torch that building a module takes at most, beside those for its layers."""

CALLS_PER_ARRAY = 15
"""And for each of its arrays."""

MOST_ARRAYS = 4_000
"""Number of arrays of one module: those of a thousand dense layers each way.

Each takes torch some time whatever its size, and recurrent layers one that grows as their square.
"""


def module_from_file(state: dict[str, Any]) -> AutoencoderModule:
    """Build a module that a stranger may have described.

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
        Of whatever kind, where the arguments are not those of a module with such arrays.
    """
    return with_arrays(_without_values(state), state["arrays"])


def check_module(state: dict[str, Any]) -> None:
    """Refuse what :func:`module_from_file` would refuse.

    Parameters
    ----------
    state : dict

    Raises
    ------
    Exception
    """
    check_arrays(_without_values(state), state["arrays"])


def _without_values(state: dict[str, Any]) -> AutoencoderModule:
    """Build a module without values, as far as the number of its arrays goes.

    Without values no size costs anything, however large: shapes are compared with those of the
    arrays before there is memory for them. What is left to bound is the number of parts.
    """
    cls: Any = state["class"]
    config, arrays = state["config"], state["arrays"]
    network: Any = config["network"]
    if cls not in modules().values():
        raise ValueError(f"{cls.__name__} is no module of sklearn_ae")
    if type(network) not in estimators().values():
        raise ValueError(f"{type(network).__name__} is no network of sklearn_ae")
    if len(arrays) > MOST_ARRAYS:
        raise ValueError(f"a network of {len(arrays):,} arrays is more than a file can hold")
    if math.prod(config["row_shape"]) != len(arrays["center"]):
        raise ValueError(f"rows of shape {config['row_shape']} are not those of such arrays")
    network._validate_params()
    with without_values(CALLS + CALLS_PER_ARRAY * len(arrays)):
        return cls(**config)
