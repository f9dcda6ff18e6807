"""Estimators of scikit-learn as heads: chosen, and fitted on the codes of labelled samples."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter
from torch import Tensor

from sklearn_ae._stacks.head_training import Labels
from sklearn_ae.base import BaseAutoencoder


def head_has(method: str) -> Callable[[Any], bool]:
    """Return a function that tells whether the head has a method; the linear one has all."""

    def check(stack: Any) -> bool:
        head = getattr(stack, "head_", stack.head)
        return head is None or hasattr(head, method)

    return check


def takes_several_labels(head: Any) -> bool:
    """Return whether a head is known to take several labels per sample."""
    if head is None:
        return True
    tags = get_tags(head)
    known = tags.classifier_tags is not None and tags.classifier_tags.multi_label
    return known or tags.target_tags.multi_output


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
    try:
        with config_context(array_api_dispatch=False):  # it is given NumPy arrays
            return getattr(head, method)(codes, values, **given)
    except ValueError as error:
        if not is_classifier(head) or values.ndim == 1:
            raise
        raise ValueError(
            f"head={head!r} does not take y of shape (n_samples, n_outputs): {error} Choose a "
            f"head that takes several labels per sample, or wrap it in MultiOutputClassifier."
        ) from error


def label_probabilities(head: Any, codes: np.ndarray) -> np.ndarray:
    """Return the probability of each of several labels, ``(n_samples, n_outputs)``.

    Some classifiers return a list with the probabilities of the classes of each output, which
    have one class only where all training samples agree.
    """
    found = head.predict_proba(codes)
    if not isinstance(found, list):
        return found
    pairs = zip(found, head.classes_, strict=True)
    return np.column_stack([proba[:, classes == 1].sum(axis=1) for proba, classes in pairs])


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
