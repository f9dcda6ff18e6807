"""Batches without a sample, which onnxruntime cannot pass through every layer."""

from __future__ import annotations

import numpy as np
import torch

from sklearn_ae._onnx.graph import Graph, dtype_number
from sklearn_ae._onnx.operators import ints


def with_a_sample(graph: Graph, samples: str, n_axes: int) -> tuple[str, str]:
    """Add a sample of zeros to an empty batch; other batches stay as they are.

    In onnxruntime recurrent layers crash the process for an empty batch, and other layers raise
    errors.

    Parameters
    ----------
    graph : Graph
    samples : str
    n_axes : int
        Number of axes of `samples`.

    Returns
    -------
    samples : str
        At least one sample.
    n_samples : str
        The number of samples before, of shape (1,).
    """
    n_samples = graph.add("Shape", samples, start=0, end=1)
    is_empty = graph.add("Equal", n_samples, ints(0))
    n_added = graph.add("Cast", is_empty, to=dtype_number(torch.int64))
    # Pad takes the lengths to add before each axis, then those to add after each axis.
    zeros = np.zeros(n_axes, np.int64)
    pads = graph.add("Concat", zeros, n_added, zeros[1:], axis=0)
    return graph.add("Pad", samples, pads), n_samples


def drop_added_sample(graph: Graph, result: str, n_samples: str) -> str:
    """Remove the result for the sample that :func:`with_a_sample` added."""
    return graph.add("Slice", result, ints(0), n_samples, ints(0))
