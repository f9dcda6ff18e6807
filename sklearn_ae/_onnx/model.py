"""From a fitted estimator to a whole model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline

from sklearn_ae._backend.isolation import isolated
from sklearn_ae._members import last_step
from sklearn_ae._onnx import detector, supervised  # noqa: F401 - register what they write
from sklearn_ae._onnx.graph import FIRST_OPSET, Graph
from sklearn_ae._onnx.methods import Output, methods_of, write
from sklearn_ae._onnx.steps import scikit_learn_model, steps_before
from sklearn_ae._onnx.tracing import EXAMPLE_ROWS, traced


def build(estimator: Any, methods: Sequence[str], opset: int = FIRST_OPSET) -> Any:
    """Return a model of some methods of one estimator, or of a pipeline that ends in one.

    Parameters
    ----------
    estimator : object
        Fitted. Its last step has an export of its own.
    methods : sequence of str
        All take rows, or there is but ``"inverse_transform"``.
    opset : int

    Returns
    -------
    ModelProto
        Its input is ``"X"``, or ``"Z"`` for codes; its outputs have the methods' names.
    """
    graph, last, is_code = Graph(), last_step(estimator), "inverse_transform" in methods
    name, shape = ("Z", (last.n_components_,)) if is_code else ("X", row_shape(estimator))
    rows = name
    if (steps := steps_before(estimator)) is not None:
        (rows,) = graph.inline(scikit_learn_model(steps, shape), rows)
    elif len(shape) > 1:
        rows = graph.add("Reshape", rows, np.array([-1, math.prod(shape)]))
    outputs = [
        output._replace(name=graph.named(output.name, method))
        for method, output in zip(methods, write_all(last, graph, rows, methods), strict=True)
    ]
    return graph.model([(name, np.float32, (None, *shape))], outputs, opset)


@isolated
@torch.no_grad()
def write_all(estimator: Any, graph: Graph, rows: str, methods: Sequence[str]) -> list[Output]:
    """Write down methods of an estimator, for flat rows of float32 with that name."""
    is_code = "inverse_transform" in methods
    width = estimator.n_components_ if is_code else estimator.n_features_in_
    source = traced(graph, rows, torch.zeros(EXAMPLE_ROWS, width))
    return [write(estimator, graph, source, method) for method in methods]


def row_shape(estimator: Any) -> tuple[int, ...]:
    """Return the shape of a row as an estimator, or the first step of a pipeline, takes it."""
    if isinstance(estimator, Pipeline):
        steps = (step for _, step in estimator.steps if step not in (None, "passthrough"))
        return row_shape(next(steps))
    return tuple(getattr(estimator, "input_shape_", (estimator.n_features_in_,)))


def is_ours(estimator: Any) -> bool:
    """Say whether an estimator, or the last step of a pipeline, has an export of its own."""
    return bool(methods_of(last_step(estimator)))
