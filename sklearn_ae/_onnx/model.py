"""From a fitted estimator to a whole model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline

from sklearn_ae._detection.member_copies import last_step
from sklearn_ae._onnx import detector, supervised  # noqa: F401 - register what they write
from sklearn_ae._onnx.graph import FIRST_OPSET, Graph, dtype_number
from sklearn_ae._onnx.methods import Output, methods_of, write
from sklearn_ae._onnx.operators import ints
from sklearn_ae._onnx.steps import scikit_learn_model, steps_before
from sklearn_ae._onnx.tracing import EXAMPLE_ROWS, traced
from sklearn_ae._training.isolation import isolated


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
        Its input is ``"X"``, also for codes; its outputs have the methods' names.
    """
    graph, last, is_code = Graph(), last_step(estimator), "inverse_transform" in methods
    shape = (last.n_components_,) if is_code else row_shape(estimator)
    rows, n_rows = with_a_sample(graph, "X", 1 + len(shape))
    if (steps := steps_before(estimator)) is not None:
        (rows,) = graph.inline(scikit_learn_model(steps, shape), rows)
    elif len(shape) > 1:
        rows = graph.add("Reshape", rows, np.array([-1, math.prod(shape)]))
    outputs = [
        output._replace(name=graph.named(first_rows(graph, output.name, n_rows), method))
        for method, output in zip(methods, write_all(last, graph, rows, methods), strict=True)
    ]
    return graph.model([("X", np.float32, (None, *shape))], outputs, opset)


def with_a_sample(graph: Graph, rows: str, n_axes: int) -> tuple[str, str]:
    """Add a sample of zeros where there is none: onnxruntime cannot run all layers on nothing.

    Of an empty batch recurrent layers end the process, and others raise errors.

    Returns
    -------
    rows : str
        At least one sample.
    n_rows : str
        The number of samples that were given, of shape (1,).
    """
    n_rows = graph.add("Shape", rows, start=0, end=1)
    n_added = graph.add("Cast", graph.add("Equal", n_rows, ints(0)), to=dtype_number(torch.int64))
    zeros = np.zeros(n_axes, np.int64)
    return graph.add("Pad", rows, graph.add("Concat", zeros, n_added, zeros[1:], axis=0)), n_rows


def first_rows(graph: Graph, result: str, n_rows: str) -> str:
    """Take the sample away that :func:`with_a_sample` added."""
    return graph.add("Slice", result, ints(0), n_rows, ints(0))


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
