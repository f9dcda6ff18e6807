"""Converters of this package's estimators for skl2onnx, which converts whole pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sklearn_ae._onnx.graph import FIRST_OPSET, Graph, dtype_number, require
from sklearn_ae._onnx.methods import default_methods
from sklearn_ae._onnx.model import first_rows, with_a_sample, write_all
from sklearn_ae.outlier import AutoencoderOutlierDetector
from sklearn_ae.stacked_classifier import StackedAutoencoderClassifier
from sklearn_ae.stacked_regressor import StackedAutoencoderRegressor

FLOAT32, FLOAT64 = dtype_number(torch.float32), dtype_number(torch.float64)


def register() -> None:
    """Tell skl2onnx of every estimator of this package."""
    import sklearn_ae

    skl2onnx = require("skl2onnx")
    for name in sklearn_ae.__all__:
        estimator = getattr(sklearn_ae, name)
        if not hasattr(estimator, "fit"):
            continue
        options = None
        if issubclass(estimator, StackedAutoencoderClassifier):
            options = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True]}
        skl2onnx.update_registered_converter(
            estimator, f"SklearnAe{name}", _set_shapes, _convert, options=options
        )


def _set_shapes(operator: Any) -> None:
    """Say what comes out: codes, targets, or labels and numbers for each."""
    types = require("skl2onnx.common.data_types")
    estimator, n_rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    widths: list[int | None]
    if isinstance(estimator, StackedAutoencoderClassifier):
        is_text = estimator.classes_.dtype.kind in "USO"
        label = types.StringTensorType if is_text else types.Int64TensorType
        widths = [len(estimator.classes_)]
        operator.outputs[0].type = label(
            [n_rows, *(widths if estimator._has_several_labels else [])]
        )
    elif isinstance(estimator, AutoencoderOutlierDetector):
        operator.outputs[0].type = types.Int64TensorType([n_rows, 1])
        widths = [1]
    elif isinstance(estimator, StackedAutoencoderRegressor):
        widths = [len(estimator._y_mean)]
    else:
        widths = [estimator.n_components_]
    operator.outputs[-1].type.shape = [n_rows, *widths]


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of an estimator's own model to those of a pipeline."""
    types = require("skl2onnx.common.data_types")
    estimator = operator.raw_operator
    if container.target_opset < FIRST_OPSET:
        raise ValueError(
            f"{type(estimator).__name__} needs version {FIRST_OPSET} of ONNX's operators; give "
            f"target_opset={FIRST_OPSET} or more, not {container.target_opset}."
        )
    methods = default_methods(estimator)
    if len(methods) < len(operator.outputs):  # a head that knows no probabilities
        methods = (*methods, "decision_function")
    graph = Graph(scope.get_unique_operator_name("sklearn_ae"))
    columns = [graph.add("Cast", part.full_name, to=FLOAT32) for part in operator.inputs]
    rows = graph.add("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
    rows = graph.add("Reshape", rows, np.array([-1, estimator.n_features_in_]))
    rows, n_rows = with_a_sample(graph, rows, 2)
    outputs = write_all(estimator, graph, rows, methods)
    for output, variable in zip(outputs, operator.outputs, strict=True):
        shape, result = variable.type.shape[1:], first_rows(graph, output.name, n_rows)
        if shape == [2] and len(output.shape) == 1:  # one decision stands for two classes
            column = graph.add("Reshape", result, np.array([-1, 1]))
            result = graph.add("Concat", graph.add("Neg", column), column, axis=1)
        result = graph.add("Reshape", result, np.array([-1, *shape]))
        if isinstance(variable.type, types.DoubleTensorType):  # so is the input
            result = graph.add("Cast", result, to=FLOAT64)
        graph.named(result, variable.full_name)
    _hand_over(graph, scope, container)


def _hand_over(graph: Graph, scope: Any, container: Any) -> None:
    """Add what a graph holds to what skl2onnx collects."""
    for name, value in graph.constants.items():
        container.initializers.append(graph.onnx.numpy_helper.from_array(value, name))
    versions = {"": FIRST_OPSET, **graph.domains}
    read = graph.onnx.helper.get_attribute_value
    for node in graph.nodes:
        container.add_node(
            node.op_type,
            list(node.input),
            list(node.output),
            op_domain=node.domain,
            op_version=versions[node.domain],
            name=scope.get_unique_operator_name(node.op_type),
            **{attribute.name: read(attribute) for attribute in node.attribute},
        )
