"""Converters by which skl2onnx exports this package's estimators within its own models.

skl2onnx is imported by this module and by ``steps`` only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from sklearn_ae._onnx.batches import drop_added_sample, with_a_sample
from sklearn_ae._onnx.graph import FIRST_OPSET, Graph, dtype_number, require
from sklearn_ae._onnx.methods import default_methods, methods_of, write_all
from sklearn_ae.outlier import AutoencoderOutlierDetector
from sklearn_ae.stacked_classifier import StackedAutoencoderClassifier
from sklearn_ae.stacked_regressor import StackedAutoencoderRegressor

FLOAT32, FLOAT64 = dtype_number(torch.float32), dtype_number(torch.float64)


def register() -> None:
    """Register a converter for every estimator of this package that has methods to export.

    The modules that register methods, ``detector`` and ``supervised``, must be imported before.
    """
    skl2onnx = require("skl2onnx")
    classifier_options = {
        "zipmap": [True, False, "columns"],
        "output_class_labels": [False, True],
    }
    for base in methods_of.registry:
        for cls in _own_classes(base):
            is_classifier = issubclass(cls, StackedAutoencoderClassifier)
            options = classifier_options if is_classifier else None
            skl2onnx.update_registered_converter(
                cls, f"SklearnAe{cls.__name__}", _declare_outputs, _convert, options=options
            )


def _own_classes(base: type[Any]) -> Iterator[type[Any]]:
    """Yield a class and those derived from it, as far as they are of this package."""
    if base is not object and base.__module__.startswith("sklearn_ae."):
        yield base
        for derived in base.__subclasses__():
            yield from _own_classes(derived)


def _declare_outputs(operator: Any) -> None:
    """Set dtypes and shapes of outputs: codes, targets, or labels and one number per class."""
    types = require("skl2onnx.common.data_types")
    estimator, n_samples = operator.raw_operator, operator.inputs[0].get_first_dimension()
    widths: list[int | None]
    if isinstance(estimator, StackedAutoencoderClassifier):
        is_text = estimator.classes_.dtype.kind in "USO"
        label = types.StringTensorType if is_text else types.Int64TensorType
        widths = [len(estimator.classes_)]
        operator.outputs[0].type = label(
            [n_samples, *(widths if estimator._has_several_labels else [])]
        )
    elif isinstance(estimator, AutoencoderOutlierDetector):
        operator.outputs[0].type = types.Int64TensorType([n_samples, 1])
        widths = [1]
    elif isinstance(estimator, StackedAutoencoderRegressor):
        widths = [len(estimator._y_mean)]
    else:
        widths = [estimator.n_components_]
    operator.outputs[-1].type.shape = [n_samples, *widths]


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of an estimator's own graph to those that skl2onnx collects."""
    estimator = operator.raw_operator
    if container.target_opset < FIRST_OPSET:
        raise ValueError(
            f"{type(estimator).__name__} needs version {FIRST_OPSET} of ONNX's operators; give "
            f"target_opset={FIRST_OPSET} or more, not {container.target_opset}."
        )
    methods = default_methods(estimator)
    if len(methods) < len(operator.outputs):  # the head has no probabilities
        methods = (*methods, "decision_function")
    graph = Graph(scope.get_unique_operator_name("sklearn_ae"))
    columns = [graph.add("Cast", part.full_name, to=FLOAT32) for part in operator.inputs]
    samples = graph.add("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
    samples = graph.add("Reshape", samples, np.array([-1, estimator.n_features_in_]))
    samples, n_samples = with_a_sample(graph, samples, 2)
    outputs = write_all(estimator, graph, samples, methods)
    for output, variable in zip(outputs, operator.outputs, strict=True):
        result = drop_added_sample(graph, output.name, n_samples)
        _connect(graph, result, len(output.shape), variable)
    _hand_over(graph, scope, container)


def _connect(graph: Graph, result: str, n_axes: int, variable: Any) -> None:
    """Give a result the shape, dtype and name that skl2onnx expects."""
    types, shape = require("skl2onnx.common.data_types"), variable.type.shape[1:]
    if shape == [2] and n_axes == 1:  # a binary decision, of which skl2onnx expects both signs
        column = graph.add("Reshape", result, np.array([-1, 1]))
        result = graph.add("Concat", graph.add("Neg", column), column, axis=1)
    result = graph.add("Reshape", result, np.array([-1, *shape]))
    if isinstance(variable.type, types.DoubleTensorType):  # if the input is float64
        result = graph.add("Cast", result, to=FLOAT64)
    graph.named(result, variable.full_name)


def _hand_over(graph: Graph, scope: Any, container: Any) -> None:
    """Add the nodes and constants of a graph to skl2onnx's container."""
    for name, value in graph.constants.items():
        container.initializers.append(graph.onnx.numpy_helper.from_array(value, name))
    versions = {"": FIRST_OPSET, **graph.domains}
    attribute_value = graph.onnx.helper.get_attribute_value
    for node in graph.nodes:
        container.add_node(
            node.op_type,
            list(node.input),
            list(node.output),
            op_domain=node.domain,
            op_version=versions[node.domain],
            name=scope.get_unique_operator_name(node.op_type),
            **{attribute.name: attribute_value(attribute) for attribute in node.attribute},
        )
