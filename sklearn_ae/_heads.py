"""Estimators of scikit-learn as heads: chosen, and fitted on the codes of labelled samples."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter
from torch import Tensor

from sklearn_ae._head_training import Labels
from sklearn_ae.base import BaseAutoencoder


def can_continue(stack: Any) -> bool:
    """Return whether the head can be trained further; the linear one can.

    Raises
    ------
    AttributeError
        If it cannot; the message names the remedy.
    """
    if stack.head is None or hasattr(stack.head, "partial_fit"):
        return True
    raise AttributeError(
        f"head={stack.head!r} has no partial_fit, and neither has {type(stack).__name__} with it. "
        f"Choose a head that has one, such as those of SGDClassifier and SGDRegressor, leave "
        f"head=None for the linear layer, or fit the head on the codes of all samples."
    )


def choose_head(stack: Any, is_weighted: bool, seed: int, one_pass: bool) -> Any:
    """Return the head to fit, None for the linear one; refuse it before the long training."""
    if stack.head is None:
        return None
    head = clone(stack.head)
    task, suits = (
        ("classifier", is_classifier) if is_classifier(stack) else ("regressor", is_regressor)
    )
    if not suits(head):
        raise ValueError(f"head must be a {task}, got {head!r}.")
    method = "partial_fit" if one_pass else "fit"
    if is_weighted and not _refuses_weights(head, method) and not _takes_weights(head, method):
        raise ValueError(
            f"head={head!r} does not take weights, so sample_weight and class_weight cannot "
            f"be passed on to it; leave them out or choose another head."
        )
    fitted = vars(stack).get("head_") if one_pass else None
    if fitted is not None and type(fitted) is not type(head):
        raise ValueError(
            f"head was changed from {type(fitted).__name__} to {type(head).__name__}, so training "
            f"cannot continue; use a new estimator, or fit."
        )
    if fitted is not None:
        return copy.deepcopy(fitted)  # an error must not reach what is there
    open_seeds = [
        name
        for name, value in head.get_params().items()
        if value is None and name.split("__")[-1] == "random_state"
    ]
    return head.set_params(**dict.fromkeys(open_seeds, seed))


def fit_head(
    head: Any, autoencoder: BaseAutoencoder, X: Any, labels: Labels, classes: Any, one_pass: bool
) -> Any:
    """Fit an estimator on the codes of the labelled samples, or train it for one pass.

    Parameters
    ----------
    head : estimator
        One that :func:`choose_head` returned.
    autoencoder : BaseAutoencoder
        Fitted.
    X : ndarray, CSR matrix or Tensor of shape (n_samples, n_features)
    labels : Labels
    classes : ndarray or None
        All classes that a classifier is to know of. None: for a regressor.
    one_pass : bool
    """
    if one_pass and not labels.known.any():
        if hasattr(head, "n_features_in_"):
            return head
        raise ValueError(
            f"y has no labelled sample, and head={head!r} needs some in the first call of "
            f"partial_fit."
        )
    samples = X if labels.known.all() else X[labels.known]  # without a copy, where that can be
    codes = np.asarray(on_cpu(autoencoder.transform(samples)))
    values = labels.values[labels.known]
    method = "partial_fit" if one_pass else "fit"
    given = {"classes": classes} if one_pass and classes is not None else {}
    if labels.weight is not None and not _refuses_weights(head, method):
        given["sample_weight"] = labels.weight.numpy()[labels.known]
    with config_context(array_api_dispatch=False):  # it is given NumPy arrays
        return getattr(head, method)(codes, values, **given)


def on_cpu(array: Any) -> Any:
    """Return an array that NumPy can take."""
    return array.cpu() if isinstance(array, Tensor) else array


def _refuses_weights(head: Any, method: str) -> bool:
    """Whether a head was set not to be given weights, as by ``set_fit_request``."""
    known = getattr(get_routing_for_object(head), method, None)  # a pipeline has none
    return known is not None and known.requests.get("sample_weight") is False


def _takes_weights(head: Any, method: str) -> bool:
    """Whether a head takes weights, itself or by metadata routing."""
    if method == "partial_fit":
        return "sample_weight" in inspect.signature(head.partial_fit).parameters
    if has_fit_parameter(head, "sample_weight"):
        return True
    routing = get_routing_for_object(head)
    return get_config()["enable_metadata_routing"] and bool(
        routing.consumes("fit", ["sample_weight"])
    )
