"""Models of fitted estimators: inputs, the steps of a pipeline, methods, outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from sklearn_ae._detection.member_copies import last_step
from sklearn_ae._estimator.tables import table_of
from sklearn_ae._onnx import detector, supervised  # noqa: F401 - register methods
from sklearn_ae._onnx.batches import drop_added_sample, with_a_sample
from sklearn_ae._onnx.graph import FIRST_OPSET, Entry, Graph
from sklearn_ae._onnx.methods import methods_of, write_all
from sklearn_ae._onnx.steps import scikit_learn_model, steps_before
from sklearn_ae._onnx.tables import encoded


def build(estimator: Any, methods: Sequence[str], opset: int = FIRST_OPSET) -> Any:
    """Return a model of some methods of one estimator, or of a pipeline that ends in one.

    Parameters
    ----------
    estimator : object
        Fitted; its last step is an estimator of this package.
    methods : sequence of str
        Either all take samples, or ``"inverse_transform"`` is the only one.
    opset : int

    Returns
    -------
    ModelProto
        Its input is ``"X"``, also for codes; of a table each column is an input. Its outputs have
        the methods' names.
    """
    graph, last, is_code = Graph(), last_step(estimator), "inverse_transform" in methods
    table = table_of(estimator)
    if table is None:
        shape = (last.n_components_,) if is_code else sample_shape(estimator)
        name, inputs = "X", [Entry("X", np.dtype(np.float32), (None, *shape))]
    else:
        shape = (table.layout.n_features,)
        name, inputs = encoded(graph, table)
    samples, n_samples = with_a_sample(graph, name, 1 + len(shape))
    if (steps := steps_before(estimator)) is not None:
        (samples,) = graph.inline(scikit_learn_model(steps, shape), samples)
    elif len(shape) > 1:
        samples = graph.add("Reshape", samples, np.array([-1, math.prod(shape)]))
    outputs = []
    for method, output in zip(methods, write_all(last, graph, samples, methods), strict=True):
        result = drop_added_sample(graph, output.name, n_samples)
        outputs.append(output._replace(name=graph.named(result, method)))
    return graph.model(inputs, outputs, opset)


def sample_shape(estimator: Any) -> tuple[int, ...]:
    """Return the shape of one sample as the estimator, or its first step, takes it."""
    if isinstance(estimator, Pipeline):
        steps = (step for _, step in estimator.steps if step not in (None, "passthrough"))
        return sample_shape(next(steps))
    if table_of(estimator) is not None:
        raise ValueError(
            f"{type(estimator).__name__} was fitted to a table of numbers and categories. Of such "
            f"estimators only autoencoders and supervised stacks can be exported to ONNX, not "
            f"within a pipeline: encode the table by a ColumnTransformer."
        )
    return tuple(getattr(estimator, "input_shape_", (estimator.n_features_in_,)))


def has_own_export(estimator: Any) -> bool:
    """Return whether this package exports the estimator, or the last step of a pipeline."""
    return bool(methods_of(last_step(estimator)))
