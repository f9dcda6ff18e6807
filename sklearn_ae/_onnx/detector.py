"""Outlier detectors: ensembles, of which each member judges the rows that are new to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sklearn_ae._members import Member, last_step
from sklearn_ae._onnx.graph import Graph
from sklearn_ae._onnx.hashing import fingerprints
from sklearn_ae._onnx.methods import Output, default_methods, methods_of, write
from sklearn_ae._onnx.steps import scikit_learn_model, steps_before
from sklearn_ae._onnx.tracing import Traced, traced
from sklearn_ae.outlier import AutoencoderOutlierDetector


@methods_of.register
def _(estimator: AutoencoderOutlierDetector) -> tuple[str, ...]:
    return "predict", "decision_function", "score_samples"


@default_methods.register
def _(estimator: AutoencoderOutlierDetector) -> tuple[str, ...]:
    return "predict", "decision_function"


@write.register
def _(estimator: AutoencoderOutlierDetector, graph: Graph, rows: Traced, method: str) -> Output:
    keys = fingerprints(rows, estimator._key_seed)
    total: Any = 0.0
    count: Any = 0.0
    for member in estimator._members:
        seen = torch.from_numpy(member.seen.view(np.int64))
        is_new = (keys[:, None] == seen).long().sum(1) == 0
        total = total + _score(member, graph, rows).masked_fill(~is_new, 0.0)
        count = count + is_new.double()
    scores = total / count
    if method == "score_samples":
        return Output.of(scores.float())
    decision = scores - estimator.offset_
    if method == "decision_function":
        return Output.of(decision.float())
    return Output.of(1 - 2 * (decision < 0).long())


def _score(member: Member, graph: Graph, rows: Traced) -> Any:
    """Write down how normal a member takes rows to be, in float64."""
    rows = _prepared(member.estimator, graph, rows)
    autoencoder = last_step(member.estimator)
    if member.knows_likelihood:
        bound = write(autoencoder, graph, rows, "score_samples")
        return traced(graph, bound.name, torch.zeros(len(rows))).double() - member.level
    restored = write(autoencoder, graph, rows, "reconstruct")
    flat = graph.add("Reshape", restored.name, np.array([-1, rows.shape[1]]))
    x, y = rows.double(), traced(graph, flat, torch.zeros(rows.shape)).double()
    # Features that never change need no network to be foretold.
    expected = torch.from_numpy(member.constant)
    error = torch.where(expected.isnan(), y - x, x - expected.nan_to_num()).abs()
    return -(error / torch.from_numpy(member.scale)).square().log1p().mean(1)


def _prepared(estimator: Any, graph: Graph, rows: Traced) -> Traced:
    """Write down the steps before the autoencoder."""
    steps = steps_before(estimator)
    if not steps:
        return rows
    (name,) = graph.inline(scikit_learn_model(steps, (rows.shape[1],)), rows)
    n_features = last_step(estimator).n_features_in_
    return traced(graph, name, torch.zeros(len(rows), n_features))
