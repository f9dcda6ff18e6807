"""Estimators of scikit-learn as heads: validate them, and fit them on labelled codes."""

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

from sklearn_ae._estimator.inputs import select_rows
from sklearn_ae._stacks.head_training import Labels


def head_has(method: str) -> Callable[[Any], bool]:
    """Return a condition: whether the head has a method. The linear layer has all of them."""

    def check(stack: Any) -> bool:
        head = getattr(stack, "head_", stack.head)
        return head is None or hasattr(head, method)

    return check


def takes_several_labels(head: Any) -> bool:
    """Return whether a head supports several labels per sample, according to its tags."""
    if head is None:
        return True
    tags = get_tags(head)
    multi_label = tags.classifier_tags is not None and tags.classifier_tags.multi_label
    return bool(multi_label or tags.target_tags.multi_output)


def can_continue(stack: Any) -> bool:
    """Return whether the head has ``partial_fit``; the linear layer has.

    Raises
    ------
    AttributeError
        If it has not. ``available_if`` shows this message, which names the remedy.
    """
    if stack.head is None or hasattr(stack.head, "partial_fit"):
        return True
    raise AttributeError(
        f"head={stack.head!r} has no partial_fit, so {type(stack).__name__} has none with this "
        f"head. Choose a head that has one, such as SGDClassifier or SGDRegressor, use head=None "
        f"for a linear layer, or call fit on all samples."
    )


def choose_head(stack: Any, is_weighted: bool, seed: int, one_pass: bool) -> Any:
    """Return the head to fit, validated before the long training; None for the linear layer.

    Parameters
    ----------
    stack : SupervisedStack
    is_weighted : bool
        Whether the labelled samples have weights.
    seed : int
        Seed of every ``random_state`` of the head that is None.
    one_pass : bool
        Whether to continue the fitted head, if there is one, with ``partial_fit``.

    Returns
    -------
    estimator or None
        A clone of the parameter `head`, or a copy of the fitted one.
    """
    if stack.head is None:
        return None
    head = clone(stack.head)
    task, has_task = (
        ("classifier", is_classifier) if is_classifier(stack) else ("regressor", is_regressor)
    )
    if not has_task(head):
        raise ValueError(f"head must be a {task}, got {head!r}.")
    method = "partial_fit" if one_pass else "fit"
    if is_weighted and not _refuses_weights(head, method) and not _takes_weights(head, method):
        raise ValueError(
            f"head={head!r} does not take weights, so sample_weight and class_weight cannot "
            f"be passed to it; omit them or choose another head."
        )
    fitted = vars(stack).get("head_") if one_pass else None
    if fitted is not None and type(fitted) is not type(head):
        raise ValueError(
            f"head was changed from {type(fitted).__name__} to {type(head).__name__}, so training "
            f"cannot continue; use a new estimator, or fit."
        )
    if fitted is not None:
        return copy.deepcopy(fitted)  # an error must leave the fitted head unchanged
    open_seeds = [
        name
        for name, value in head.get_params().items()
        if value is None and name.split("__")[-1] == "random_state"
    ]
    return head.set_params(**dict.fromkeys(open_seeds, seed))


def fit_head(
    head: Any, autoencoder: Any, X: Any, labels: Labels, classes: Any, one_pass: bool
) -> Any:
    """Fit a head on the codes of the labelled samples, or train it for one pass over them.

    Parameters
    ----------
    head : estimator
        Head from :func:`choose_head`.
    autoencoder : BaseAutoencoder
        Fitted autoencoder.
    X : ndarray, CSR matrix or Tensor of shape (n_samples, n_features)
    labels : Labels
    classes : ndarray or None
        All classes, which the first ``partial_fit`` of a classifier requires. None: regression.
    one_pass : bool
        Whether to call ``partial_fit`` in place of ``fit``.

    Returns
    -------
    estimator
        The fitted head.
    """
    labelled = labels.labelled
    if one_pass and not labelled.any():
        if hasattr(head, "n_features_in_"):  # fitted on earlier chunks
            return head
        raise ValueError(
            f"y has no labelled sample, and head={head!r} needs some in the first call of "
            f"partial_fit."
        )
    # A selection copies all samples.
    samples = X if labelled.all() else select_rows(X, labelled)
    codes = np.asarray(on_cpu(autoencoder.transform(samples)))
    values = labels.values[labelled]
    method = "partial_fit" if one_pass else "fit"
    options = {"classes": classes} if one_pass and classes is not None else {}
    if labels.weight is not None and not _refuses_weights(head, method):
        options["sample_weight"] = labels.weight.numpy()[labelled]
    try:
        with config_context(array_api_dispatch=False):  # codes and labels are NumPy arrays
            return getattr(head, method)(codes, values, **options)
    except ValueError as error:
        if not is_classifier(head) or values.ndim == 1:
            raise
        raise ValueError(
            f"head={head!r} does not take y of shape (n_samples, n_outputs): {error} Choose a "
            f"head that supports several labels per sample, or wrap it in MultiOutputClassifier."
        ) from error


def label_probabilities(head: Any, codes: np.ndarray) -> np.ndarray:
    """Return the probabilities of a head, of shape (n_samples, n_classes or n_outputs).

    With several labels per sample, some classifiers return a list: for each output, the
    probabilities of its classes. An output has one class only if all training samples agree; the
    sum over the columns of class 1 is then zero or one.
    """
    proba = head.predict_proba(codes)
    if isinstance(proba, list):
        pairs = zip(proba, head.classes_, strict=True)
        proba = np.column_stack([each[:, classes == 1].sum(axis=1) for each, classes in pairs])
    return np.asarray(proba)


def on_cpu(array: Any) -> Any:
    """Move a tensor to the CPU, where NumPy can read it; return other arrays unchanged."""
    return array.cpu() if isinstance(array, Tensor) else array


def _refuses_weights(head: Any, method: str) -> bool:
    """Whether a head requests to receive no weights, by ``set_fit_request`` or similar."""
    # A pipeline routes metadata to its steps, and has no requests of its own.
    requests = getattr(get_routing_for_object(head), method, None)
    return requests is not None and requests.requests.get("sample_weight") is False


def _takes_weights(head: Any, method: str) -> bool:
    """Whether a head takes weights, as an argument or by metadata routing."""
    if method == "partial_fit":
        return "sample_weight" in inspect.signature(head.partial_fit).parameters
    if has_fit_parameter(head, "sample_weight"):
        return True
    routing = get_routing_for_object(head)
    return get_config()["enable_metadata_routing"] and bool(
        routing.consumes("fit", ["sample_weight"])
    )
