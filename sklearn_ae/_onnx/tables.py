"""Tables: an input for each column, and the encoding of numbers and categories."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from sklearn_ae._onnx.graph import Entry, Graph, dtype_number
from sklearn_ae._onnx.hashing import look_up, normal_quantile
from sklearn_ae._onnx.tracing import N_EXAMPLES, traced
from sklearn_ae._tables.columns import REACH, Category, Number
from sklearn_ae._tables.loss import Layout
from sklearn_ae._tables.table import Table


class ByBlock(Layout):
    """Layout whose blocks are treated one by one, by functions that have a translation."""

    def by_block(self) -> bool:
        """Return whether blocks are treated one by one."""
        return True


def encoded(graph: Graph, table: Table) -> tuple[str, list[Entry]]:
    """Add the encoding of a table.

    Returns
    -------
    matrix : str
        Name of the encoded table, float32, with NaN for missing values and unknown categories.
    inputs : list of Entry
        One of shape (n_samples, 1) for each column, with its name.
    """
    inputs, parts = [], {}
    for place, column in enumerate(table.columns):
        name = str(column.name)
        if isinstance(column, Number):
            is_date = column.kind in ("date", "day")
            inputs.append(Entry(name, np.dtype(np.int64 if is_date else np.float32), (None, 1)))
            parts[place] = _number(graph, name, column)
        else:
            inputs.append(Entry(name, _dtype(column), (None, 1)))
            parts[place] = _indicators(graph, name, column)
    return graph.add("Concat", *(parts[place] for place in table.places()), axis=1), inputs


def _dtype(column: Category) -> Any:
    """Return the dtype of a column of categories.

    Raises
    ------
    ValueError
        If its categories have several types.
    """
    kinds = {type(value) for value in column.categories} or {str}
    dtypes = {str: object, bool: np.bool_, int: np.int64, float: np.float32}
    if len(kinds) > 1:
        raise ValueError(
            f"column {column.name!r} has categories of several types, which ONNX does not have; "
            f"convert them to strings before fit."
        )
    return np.dtype(dtypes[kinds.pop()])


def _number(graph: Graph, name: str, column: Number) -> str:
    """Add the standardised values of a column of numbers."""
    values = graph.add("Cast", name, to=dtype_number(torch.float64))
    x: Any = traced(graph, values, torch.zeros(N_EXAMPLES, 1, dtype=torch.float64))
    if column.quantiles is not None:
        # Values that were equal to a quantile must be so as an input, too.
        dtype = np.int64 if column.kind in ("date", "day") else np.float32
        x = x.where(x.isnan(), _to_normal(x, column.quantiles.astype(dtype).astype(float)))
    return graph.name_of(((x - column.mean) / column.scale).float())


def _to_normal(x: Tensor, quantiles: np.ndarray) -> Tensor:
    """Map values to the normal quantiles of their ranks, as :func:`to_normal` does."""
    distinct, first, counts = np.unique(quantiles, return_index=True, return_counts=True)
    lower, upper = (
        torch.from_numpy(ranks / (len(quantiles) - 1)) for ranks in (first, first + counts - 1)
    )
    knots = torch.from_numpy(distinct)
    place = ((x >= knots).long().sum(1) - 1).clamp(0, len(knots) - 1)  # of the last one below
    following = (place + 1).clamp(0, len(knots) - 1)
    value = x[:, 0]
    left, right = look_up(knots, place), look_up(knots, following)
    start, end = look_up(upper, place), look_up(lower, following)
    fraction = (value - left) / (right - left).clamp_min(np.finfo(float).tiny)
    between = start + fraction * (end - start)
    middle = (look_up(lower, place) + start) / 2
    rank = torch.where(value == left, middle, between)
    rank = torch.where(value < left, 0.0, torch.where(value > float(distinct[-1]), 1.0, rank))
    limit = float(ndtr(-REACH))
    return normal_quantile(rank.clamp(limit, 1 - limit))[:, None]


def _indicators(graph: Graph, name: str, column: Category) -> str:
    """Add the indicators of a column of categories."""
    int64 = dtype_number(torch.int64)
    if not column.categories:  # any value is unknown
        nothing = np.full((1, column.width), np.nan, np.float32)
        return graph.add("Expand", nothing, graph.add("Shape", name))
    if isinstance(column.categories[0], str):
        graph.domains["ai.onnx.ml"] = max(3, graph.domains.get("ai.onnx.ml", 0))
        place = graph.add(
            "LabelEncoder",
            name,
            domain="ai.onnx.ml",
            keys_strings=column.categories,
            values_int64s=range(len(column.categories)),
            default_int64=-1,
        )
    else:
        is_float = isinstance(column.categories[0], float)
        values = name if is_float else graph.add("Cast", name, to=int64)
        known = np.array([column.categories], np.float32 if is_float else np.int64)
        equal = graph.add("Equal", values, known)  # (n_samples, n_categories)
        found = graph.add("Cast", equal, to=int64)
        # One plus the place, zero without one.
        numbers = np.arange(1, known.size + 1)[:, None]
        place = graph.add("Sub", graph.add("MatMul", found, numbers), np.int64(1))
    pooled = graph.add("Min", place, np.int64(column.width - 1))
    equal = graph.add("Equal", pooled, np.arange(column.width)[None])
    indicators = graph.add("Cast", equal, to=dtype_number(torch.float32))
    unknown = graph.add("Less", place, np.int64(0))
    return graph.add("Where", unknown, np.float32(np.nan), indicators)
