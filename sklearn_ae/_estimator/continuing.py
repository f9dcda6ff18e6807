"""Check that a fit can be continued: network and loss must be unchanged."""

from __future__ import annotations

import contextlib
from typing import Any, cast

import joblib
import numpy as np
from torch import nn

from sklearn_ae._estimator.modules import is_built_in
from sklearn_ae._estimator.size import with_fitted_size
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae.networks._empty import without_values


def check_unchanged(estimator: Any, n_features: int) -> None:
    """Raise an error if the network or the loss was changed since the last fit.

    Parameters
    ----------
    estimator : BaseAutoencoder
        A fitted one.
    n_features : int

    Raises
    ------
    ValueError
    """
    activation = vars(estimator).get("_fitted_output_activation", "identity")
    fitted = estimator.module_
    estimator = with_fitted_size(estimator)
    config = fitted.config | {"network": estimator._network()}
    built_in = is_built_in(type(fitted), fitted.config) and is_built_in(type(fitted), config)
    # The constructor of a custom network may read values or draw random numbers; those of this
    # package do not, and are fast without memory for the weights.
    with without_values() if built_in else drawing_from(make_generator(0)):
        now = _parameters(estimator._build_module(n_features).config) | {
            "loss": estimator.loss,
            "output_activation": estimator.output_activation,
        }
    now |= {name: value for name, value in fitted.config.items() if name == "completes"}
    before = _parameters(fitted.config) | {
        "loss": estimator._fitted_loss,
        "output_activation": activation,
    }
    for name in now | before:
        old, new = before.get(name), now.get(name)
        if not _is_same(old, new):
            raise ValueError(
                f"{name} was changed from {old!r} to {new!r}, so training "
                f"cannot continue; use a new estimator, or warm_start=False."
            )


def _is_same(old: Any, new: Any) -> bool:
    """Return whether two values of a parameter are equal, or copies of one object."""
    if isinstance(old, nn.Module):  # not by its weights, which training may have changed
        return repr(old) == repr(new)
    # Comparisons may raise any error, or return arrays, which have no truth value.
    with contextlib.suppress(Exception):
        if np.array_equal(np.asarray(old, object), np.asarray(new, object)):
            return True
    if type(old) is not type(new):
        return False
    try:  # copies of an object without __eq__ are not equal, but have the same content
        return bool(joblib.hash(old) == joblib.hash(new))
    except Exception:  # it cannot be pickled; without __eq__ nothing shows that it was changed
        return cast(object, type(old).__eq__) is object.__eq__


def _parameters(config: dict[str, Any]) -> dict[str, Any]:
    """Replace the network specification in a module's config by its class and parameters."""
    network = config["network"]
    parameters: dict[str, Any] = {n: value for n, value in config.items() if n != "network"}
    parameters["network"] = type(network).__name__
    parameters |= network.get_params()
    return parameters
