"""What a classifier is trained on: its classes, their numbers and their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from sklearn_ae._compat import check_partial_fit_first_call
from sklearn_ae._stacks.head_training import Labels
from sklearn_ae._stacks.labels import check_labels, too_few, warn_of_marker


def set_classes(classifier: Any, classes: Any) -> None:
    """Set the classes before a pass over one chunk, which need not have all of them.

    Parameters
    ----------
    classifier : StackedAutoencoderClassifier
    classes : array-like or None
        What was given: needed in the first call, and the same ones later.
    """
    if classes is not None:
        classes = np.unique(check_labels(classes, len(classes), classifier.unlabeled)[0])
    if check_partial_fit_first_call(classifier, classes) and len(classifier.classes_) < 2:
        raise ValueError(f"classes has {len(classifier.classes_)} class; at least two are needed.")


def class_targets(
    classifier: Any, y: Any, n_samples: int, weight: Tensor | None, resume: bool, one_pass: bool
) -> Labels:
    """Validate labels, and set the classes unless `set_classes` has.

    Parameters
    ----------
    classifier : StackedAutoencoderClassifier
    y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
    n_samples : int
    weight : Tensor of shape (n_samples,) or None
    resume : bool
        Whether an earlier fit is continued.
    one_pass : bool
        Whether this is a pass over one chunk of many.
    """
    labels, known = check_labels(y, n_samples, classifier.unlabeled)
    n_unlabelled = int((~known).sum())
    if weight is not None:
        weighted = weight.numpy() > 0
        labels, known = labels[weighted[known]], known & weighted
    several = labels.ndim == 2
    if resume and several != classifier._has_several_labels:
        raise ValueError(
            "y was of shape (n_samples,) or (n_samples, n_outputs) and is now of the other, so "
            "training cannot continue; use a new estimator, or warm_start=False."
        )
    classifier._multilabel, classifier._unlabeled = several, classifier.unlabeled
    if several:
        return _label_targets(classifier, labels, known, weight, resume, one_pass)
    if len(labels):
        with np.errstate(invalid="ignore"):  # it compares with integers, which may hold less
            check_classification_targets(labels)
    classes, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if one_pass:
        classes, numbers = classifier.classes_, _numbered(labels, classes, classifier.classes_)
    elif len(classes) < 2:
        raise ValueError(too_few(classes, n_unlabelled, classifier.unlabeled))
    elif resume and not np.array_equal(classes, classifier.classes_):
        raise ValueError(
            f"the classes were {classifier.classes_} and are now {classes}, so training cannot "
            f"continue; use a new estimator, or warm_start=False."
        )
    elif classifier.unlabeled is None:
        warn_of_marker(classes, counts)
    classifier.classes_ = classes
    indices = np.zeros(n_samples, int)  # of samples without a label any
    indices[known] = numbers
    if classifier.class_weight is not None:
        weights = _class_weights(classifier, indices, known, weight, one_pass)
        of_samples = torch.from_numpy(weights[indices])
        weight = of_samples if weight is None else weight * of_samples
        if one_pass:  # it may have samples of classes without a weight, and no others
            known = known & (weight.numpy() > 0)
    targets = indices[:, None].astype(float)
    return Labels(classes[indices], targets, known, weight, indices, len(classes))


def _label_targets(
    classifier: Any,
    labels: np.ndarray,
    known: np.ndarray,
    weight: Tensor | None,
    resume: bool,
    one_pass: bool,
) -> Labels:
    """Return what is trained on where a sample may have several labels."""
    if classifier.class_weight is not None:
        raise ValueError(
            "class_weight is not supported where y is of shape (n_samples, n_outputs): a sample "
            "may be of several classes; pass sample_weight."
        )
    if not len(labels) and not one_pass:
        raise ValueError("y has no labelled sample that has a weight.")
    n_outputs = labels.shape[1]
    classes = np.arange(n_outputs)
    if (one_pass or resume) and not np.array_equal(classifier.classes_, classes):
        raise ValueError(
            f"y has {n_outputs} columns, so the classes must be numpy.arange({n_outputs}), and "
            f"they are {classifier.classes_}."
        )
    classifier.classes_ = classes
    values = np.zeros((len(known), n_outputs), int)
    values[known] = labels
    strata = np.zeros(len(known), int)
    return Labels(values, values.astype(float), known, weight, strata, n_outputs)


def _numbered(labels: np.ndarray, present: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the number of each label among the classes."""
    if len(np.setdiff1d(present, classes)):
        raise ValueError(
            f"`y` has classes not in `self.classes_`. `self.classes_` has {classes}. 'y' has "
            f"{present}."
        )
    return np.searchsorted(classes, labels) if len(labels) else np.zeros(0, int)


def _class_weights(
    classifier: Any, indices: np.ndarray, known: np.ndarray, weight: Tensor | None, one_pass: bool
) -> np.ndarray:
    """Return the weight of each class."""
    if classifier.class_weight == "balanced" and one_pass:
        raise ValueError(
            "class_weight='balanced' is not supported for partial_fit: one chunk does not tell "
            "how frequent the classes are. Pass {label: weight}, for example from "
            "sklearn.utils.compute_class_weight('balanced', classes=classes, y=y) of a large "
            "sample of labels."
        )
    if classifier.class_weight == "balanced" and weight is not None:
        # scikit-learn 1.8 counts samples; one of weight two is two samples.
        mass = np.bincount(indices[known], weight.numpy()[known])
        return mass.sum() / (len(mass) * mass)
    labels, classes = classifier.classes_[indices[known]], classifier.classes_
    weights = compute_class_weight(classifier.class_weight, classes=classes, y=labels)
    if (weights < 0).any() or not weights.any():
        shown = dict(zip(classes.tolist(), weights.tolist(), strict=True))
        raise ValueError(
            f"class_weight comes to {shown}; no weight may be negative, and not all zero."
        )
    return weights
