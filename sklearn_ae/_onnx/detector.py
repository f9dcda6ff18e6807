"""Outlier detectors: ensembles, of which each member judges the rows that are new to it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from sklearn_ae._detection.halves import FOLD_BITS
from sklearn_ae._detection.limits import limit_of
from sklearn_ae._detection.member_copies import last_step
from sklearn_ae._detection.members import Member
from sklearn_ae._onnx.graph import Graph
from sklearn_ae._onnx.hashing import highest_bits, keys_in_grid, looked_up
from sklearn_ae._onnx.methods import Output, default_methods, methods_of, write
from sklearn_ae._onnx.steps import scikit_learn_model, steps_before
from sklearn_ae._onnx.tracing import Traced, traced
from sklearn_ae._training.keys import POSITION_BITS
from sklearn_ae.outlier import AutoencoderOutlierDetector


@methods_of.register
def _(estimator: AutoencoderOutlierDetector) -> tuple[str, ...]:
    return "predict", "decision_function", "score_samples"


@default_methods.register
def _(estimator: AutoencoderOutlierDetector) -> tuple[str, ...]:
    return "predict", "decision_function"


@write.register
def _(estimator: AutoencoderOutlierDetector, graph: Graph, rows: Traced, method: str) -> Output:
    limit = limit_of(np.float32)
    is_far = (rows.abs() >= limit).long().sum(1) > 0
    rows = cast(Traced, rows.clamp(-limit, limit))
    cells, position = keys_in_grid(rows, estimator._grid)
    position = position * 2 ** (64 - POSITION_BITS)
    fold = highest_bits(cells, FOLD_BITS)
    total: Any = 0.0
    for member in estimator._members:
        factor, median = (int(number) for number in member.split)
        second_half = cells * torch.tensor(factor) + position > torch.tensor(median)
        is_new = ~second_half if member.second else second_half
        total = total + _score(member, graph, rows, fold).masked_fill(~is_new, 0.0)
    scores = (total / (len(estimator._members) // 2)).masked_fill(is_far, -torch.inf)
    if method == "score_samples":
        return Output.of(scores.float())
    decision = scores - estimator.offset_
    if method == "decision_function":
        return Output.of(decision.float())
    return Output.of(1 - 2 * (decision < 0).long())


def _score(member: Member, graph: Graph, rows: Traced, fold: Any) -> Any:
    """Write down how normal a member takes samples to be, in float64."""
    rows = _prepared(member.estimator, graph, rows)
    autoencoder = last_step(member.estimator)
    if member.knows_likelihood:
        bound = write(autoencoder, graph, rows, "score_samples")
        return traced(graph, bound.name, torch.zeros(len(rows))).double() - looked_up(
            torch.from_numpy(member.level), fold
        )
    restored = write(autoencoder, graph, rows, "reconstruct")
    flat = graph.add("Reshape", restored.name, np.array([-1, rows.shape[1]]))
    x, y = rows.double(), traced(graph, flat, torch.zeros(rows.shape)).double()
    # Features that never change need no network: their value is known.
    expected = torch.from_numpy(member.constant)
    error = torch.where(expected.isnan(), y - x, x - expected.nan_to_num())
    if member.joint:
        common = torch.from_numpy(member.common).double()
        error = error / torch.from_numpy(member.spread)
        error = error - (error @ common.T) @ common
    square = (error / looked_up(torch.from_numpy(member.scale), fold)).square()
    return -(square.mean(1).log1p() if member.joint else square.log1p().mean(1))


def _prepared(estimator: Any, graph: Graph, rows: Traced) -> Traced:
    """Write down the steps before the autoencoder."""
    steps = steps_before(estimator)
    if not steps:
        return rows
    (name,) = graph.inline(scikit_learn_model(steps, (rows.shape[1],)), rows)
    n_features = last_step(estimator).n_features_in_
    return traced(graph, name, torch.zeros(len(rows), n_features))
