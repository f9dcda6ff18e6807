"""Methods of supervised stacks: a linear layer, or an estimator of scikit-learn, on codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sklearn_ae._onnx.graph import Entry, Graph, dtype_number
from sklearn_ae._onnx.methods import default_methods, methods_of, write
from sklearn_ae._onnx.steps import scikit_learn_model
from sklearn_ae._onnx.tracing import Traced
from sklearn_ae.stacked_classifier import StackedAutoencoderClassifier
from sklearn_ae.stacked_regressor import StackedAutoencoderRegressor

FLOAT = np.dtype(np.float32)


@methods_of.register
def _(estimator: StackedAutoencoderClassifier) -> tuple[str, ...]:
    # A head may lack probabilities, or a decision function.
    methods = "predict", "predict_proba", "predict_log_proba", "decision_function", "transform"
    return tuple(method for method in methods if hasattr(estimator, method))


@default_methods.register
def _(estimator: StackedAutoencoderClassifier) -> tuple[str, ...]:
    return methods_of(estimator)[: 1 + hasattr(estimator, "predict_proba")]


@methods_of.register
def _(estimator: StackedAutoencoderRegressor) -> tuple[str, ...]:
    return "predict", "transform"


@write.register
def _(estimator: StackedAutoencoderClassifier, graph: Graph, x: Traced, method: str) -> Entry:
    codes = write(estimator.autoencoder_, graph, x, "transform")
    if method == "transform":
        return codes
    n_classes = len(estimator.classes_)
    if estimator._has_several_labels:
        return _multilabel_output(estimator, graph, codes, method)
    if estimator.head_ is not None:
        return _head_output(estimator, graph, codes, method)
    scores = _linear(estimator, graph, codes)
    if method == "decision_function" and n_classes == 2:
        return Entry(graph.add("Squeeze", scores, np.array([1])), FLOAT, (None,))
    if n_classes == 2:  # the score is the logit of the second class, relative to the first
        zeros = graph.add("Sub", scores, scores)  # of any number of samples
        scores = graph.add("Concat", zeros, scores, axis=1)
    if method == "predict":
        return _labels(graph, graph.add("ArgMax", scores, axis=1, keepdims=0), estimator.classes_)
    if method != "decision_function":
        kind = "Softmax" if method == "predict_proba" else "LogSoftmax"
        scores = graph.add(kind, scores, axis=1)
    return Entry(scores, FLOAT, (None, n_classes))


@write.register
def _(estimator: StackedAutoencoderRegressor, graph: Graph, x: Traced, method: str) -> Entry:
    codes = write(estimator.autoencoder_, graph, x, "transform")
    if method == "transform":
        return codes
    if estimator.head_ is not None:
        model = scikit_learn_model(estimator.head_, (estimator.n_components_,))
        (result,) = graph.inline(model, codes.name)
    else:
        result = _linear(estimator, graph, codes)
    n_targets = len(estimator._y_mean)
    shape = (-1,) if estimator._y_ndim == 1 else (-1, n_targets)
    result = graph.add("Reshape", result, np.array(shape))
    return Entry(result, FLOAT, (None, *shape[1:]))


def _linear(estimator: Any, graph: Graph, codes: Entry) -> str:
    """Add the linear layer; its result has shape (n_samples, n_outputs)."""
    layer = estimator.head_coef_, estimator.head_intercept_
    return graph.add("Gemm", codes.name, *(v.astype(np.float32) for v in layer), transB=1)


def _multilabel_output(estimator: Any, graph: Graph, codes: Entry, method: str) -> Entry:
    """Add a logistic unit for each label."""
    if estimator.head_ is not None:
        raise ValueError(
            f"a multilabel classifier can be exported with head=None only, got "
            f"head={estimator.head_!r}."
        )
    shape, scores = (None, len(estimator.classes_)), _linear(estimator, graph, codes)
    if method == "predict":
        positive = graph.add("Greater", scores, np.float32(0))
        number = dtype_number(torch.int64)
        return Entry(graph.add("Cast", positive, to=number), np.dtype(np.int64), shape)
    if method == "predict_proba":
        scores = graph.add("Sigmoid", scores)
    elif method == "predict_log_proba":
        # log(sigmoid(s)) = -softplus(-s), which does not overflow
        scores = graph.add("Neg", graph.add("Softplus", graph.add("Neg", scores)))
    return Entry(scores, FLOAT, shape)


def _labels(graph: Graph, indices: str, classes: np.ndarray) -> Entry:
    """Replace indices of classes by the classes."""
    # ONNX has strings only as an array of objects; whole numbers are int64, as in skl2onnx.
    if classes.dtype.kind in "USO":
        classes = classes.astype(object)
    elif classes.dtype.kind != "f" or (classes == classes.astype(np.int64)).all():
        classes = classes.astype(np.int64)
    return Entry(graph.add("Gather", classes, indices), classes.dtype, (None,))


def _head_output(estimator: Any, graph: Graph, codes: Entry, method: str) -> Entry:
    """Add a classifier of scikit-learn on the codes."""
    raw = {"raw_scores": True} if method == "decision_function" else {}
    options = {"zipmap": False, **raw}
    model = scikit_learn_model(estimator.head_, (estimator.n_components_,), options)
    label, scores = graph.inline(model, codes.name)
    classes = estimator.head_.classes_
    if method == "predict":
        dtype = np.dtype(object if classes.dtype.kind in "USO" else np.int64)
        return Entry(label, dtype, (None,))
    if method == "predict_log_proba":
        scores = graph.add("Log", scores)
    elif method == "decision_function" and len(classes) == 2:
        # skl2onnx returns the score of the second class and its negative.
        column = graph.add("Gather", scores, np.int64(1), axis=1)
        return Entry(column, FLOAT, (None,))
    return Entry(scores, FLOAT, (None, len(classes)))
