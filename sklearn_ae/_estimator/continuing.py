"""Whether a fit can be continued: of the same network, for the same loss."""

from __future__ import annotations

import contextlib
from typing import Any

import joblib
import numpy as np
from torch import nn

from sklearn_ae._estimator.modules import is_own
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae.networks._empty import without_values


def check_unchanged(estimator: Any, n_features: int) -> None:
    """Refuse to continue a fit of another network or another loss."""
    activation = vars(estimator).get("_fitted_output_activation", "identity")
    fitted = estimator.module_
    changed = fitted.config | {"network": estimator._network()}
    is_ours = is_own(type(fitted), fitted.config) and is_own(type(fitted), changed)
    # A network of somebody else may look at values, and draw them, when it is built.
    with without_values() if is_ours else drawing_from(make_generator(0)):
        now = _plain(estimator._build_module(n_features).config) | {
            "loss": estimator.loss,
            "output_activation": estimator.output_activation,
        }
    before = _plain(estimator.module_.config) | {
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
    """Whether two values of a parameter are the same, or copies of one thing."""
    if isinstance(old, nn.Module):  # its weights may have been trained since
        return repr(old) == repr(new)
    with contextlib.suppress(Exception):  # arrays within dataclasses, for example
        if np.array_equal(np.asarray(old, object), np.asarray(new, object)):
            return True
    if type(old) is not type(new):
        return False
    try:  # of what has no equality of its own, copies differ
        return joblib.hash(old) == joblib.hash(new)
    except Exception:  # of any kind: it cannot be pickled
        return type(old).__eq__ is object.__eq__


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Replace the specification of the network by its parameters."""
    network = config["network"]
    rest = {name: value for name, value in config.items() if name != "network"}
    return rest | {"network": type(network).__name__} | network.get_params()
