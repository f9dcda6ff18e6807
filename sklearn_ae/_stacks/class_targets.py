"""Targets of a classifier: its classes, their indices and their weights."""

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
    """Set the classes before a pass over one chunk, which may lack some of them.

    Parameters
    ----------
    classifier : StackedAutoencoderClassifier
    classes : array-like or None
        Argument of `partial_fit`: required in the first call, and unchanged later.
    """
    if classes is not None:
        classes = np.unique(check_labels(classes, len(classes), classifier.unlabeled)[0])
    if check_partial_fit_first_call(classifier, classes) and len(classifier.classes_) < 2:
        raise ValueError(f"classes has {len(classifier.classes_)} class; at least two are needed.")


def class_targets(
    classifier: Any, y: Any, n_samples: int, weight: Tensor | None, resume: bool, one_pass: bool
) -> Labels:
    """Validate labels, and set the classes that they contain.

    Parameters
    ----------
    classifier : StackedAutoencoderClassifier
        Its classes are set, unless `one_pass`: :func:`set_classes` has set them then.
    y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
    n_samples : int
    weight : Tensor of shape (n_samples,) or None
    resume : bool
        Whether to continue an earlier fit.
    one_pass : bool
        Whether to train for one pass over one chunk of the data.

    Returns
    -------
    Labels
    """
    labels, labelled = check_labels(y, n_samples, classifier.unlabeled)
    n_unlabelled = int((~labelled).sum())
    if weight is not None:
        weighted = weight.numpy() > 0
        labels, labelled = labels[weighted[labelled]], labelled & weighted
    multilabel = labels.ndim == 2
    if resume and multilabel != classifier._has_several_labels:
        raise ValueError(
            "y was of shape (n_samples,) or (n_samples, n_outputs) and is now of the other, so "
            "training cannot continue; use a new estimator, or warm_start=False."
        )
    classifier._multilabel, classifier._unlabeled = multilabel, classifier.unlabeled
    if multilabel:
        return _multilabel_targets(classifier, labels, labelled, weight, resume, one_pass)
    indices = np.zeros(n_samples, int)  # unlabelled samples have any index
    indices[labelled] = _class_indices(classifier, labels, n_unlabelled, resume, one_pass)
    class_weights = None
    if classifier.class_weight is not None:
        class_weights = _class_weights(classifier, indices, labelled, weight, one_pass)
        factors = torch.from_numpy(class_weights[indices])
        weight = factors if weight is None else weight * factors
        if one_pass:  # all samples of a chunk may be of classes of weight zero
            labelled = labelled & (weight.numpy() > 0)
    classes = classifier.classes_
    targets = indices[:, None].astype(float)
    return Labels(
        classes[indices], targets, labelled, weight, indices, len(classes), class_weights
    )


def _class_indices(
    classifier: Any, labels: np.ndarray, n_unlabelled: int, resume: bool, one_pass: bool
) -> np.ndarray:
    """Return the index of each label among the classes, which are set or compared."""
    if len(labels):
        # The comparison with integers may warn of values that they cannot hold.
        with np.errstate(invalid="ignore"):
            check_classification_targets(labels)
    found, indices, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if one_pass:
        return _indices_in_chunk(labels, found, classifier.classes_)
    if len(found) < 2:
        raise ValueError(too_few(found, n_unlabelled, classifier.unlabeled))
    if resume and not np.array_equal(found, classifier.classes_):
        raise ValueError(
            f"the classes were {classifier.classes_} and are now {found}, so training cannot "
            f"continue; use a new estimator, or warm_start=False."
        )
    if classifier.unlabeled is None:
        warn_of_marker(found, counts)
    classifier.classes_ = found
    return indices


def _indices_in_chunk(labels: np.ndarray, found: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the index of each label of a chunk, which must contain no other classes."""
    if len(np.setdiff1d(found, classes)):
        raise ValueError(
            f"`y` has classes not in `self.classes_`. `self.classes_` has {classes}. 'y' has "
            f"{found}."
        )
    # An empty array of labels may have a type that cannot be compared with the classes.
    return np.searchsorted(classes, labels) if len(labels) else np.zeros(0, int)


def _multilabel_targets(
    classifier: Any,
    labels: np.ndarray,
    labelled: np.ndarray,
    weight: Tensor | None,
    resume: bool,
    one_pass: bool,
) -> Labels:
    """Return the targets if a sample may have several labels; its classes are the columns."""
    if classifier.class_weight is not None:
        raise ValueError(
            "class_weight is not supported if y has shape (n_samples, n_outputs), since a sample "
            "may belong to several classes; pass sample_weight."
        )
    if not len(labels) and not one_pass:
        raise ValueError("y has no labelled sample with a positive weight.")
    n_outputs = labels.shape[1]
    classes = np.arange(n_outputs)
    if (one_pass or resume) and not np.array_equal(classifier.classes_, classes):
        raise ValueError(
            f"y has {n_outputs} columns, so the classes must be numpy.arange({n_outputs}), but "
            f"they are {classifier.classes_}."
        )
    classifier.classes_ = classes
    values = np.zeros((len(labelled), n_outputs), int)
    values[labelled] = labels
    strata = np.zeros(len(labelled), int)
    return Labels(values, values.astype(float), labelled, weight, strata, n_outputs)


def _class_weights(
    classifier: Any,
    indices: np.ndarray,
    labelled: np.ndarray,
    weight: Tensor | None,
    one_pass: bool,
) -> np.ndarray:
    """Return the weight of each class, shape ``(n_classes,)``."""
    if classifier.class_weight == "balanced" and one_pass:
        raise ValueError(
            "class_weight='balanced' is not supported for partial_fit: the class frequencies are "
            "unknown from one chunk. Pass {label: weight}, for example from "
            "sklearn.utils.compute_class_weight('balanced', classes=classes, y=y) of a large "
            "sample of labels."
        )
    weights: np.ndarray
    if classifier.class_weight == "balanced" and weight is not None:
        # scikit-learn 1.8 counts samples; here a sample of weight two is two samples.
        mass = np.bincount(indices[labelled], weight.numpy()[labelled])
        weights = mass.sum() / (len(mass) * mass)
        return weights
    labels, classes = classifier.classes_[indices[labelled]], classifier.classes_
    weights = compute_class_weight(classifier.class_weight, classes=classes, y=labels)
    if (weights < 0).any() or not weights.any():
        shown = dict(zip(classes.tolist(), weights.tolist(), strict=True))
        raise ValueError(
            f"class_weight comes to {shown}; no weight may be negative, and not all may be zero."
        )
    return weights
