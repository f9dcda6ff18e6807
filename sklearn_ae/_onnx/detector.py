"""Methods of outlier detectors: each member scores the samples that it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._detection.halves import FOLD_BITS
from sklearn_ae._detection.limits import limit_of
from sklearn_ae._detection.member_copies import last_step
from sklearn_ae._detection.members import Member
from sklearn_ae._estimator.tables import table_of
from sklearn_ae._onnx.graph import Entry, Graph
from sklearn_ae._onnx.hashing import highest_bits, keys_in_grid, look_up
from sklearn_ae._onnx.methods import default_methods, methods_of, write
from sklearn_ae._onnx.steps import scikit_learn_model, steps_before
from sklearn_ae._onnx.tracing import Traced, traced
from sklearn_ae._training.keys import POSITION_BITS
from sklearn_ae.outlier import AutoencoderOutlierDetector


@methods_of.register
def _(estimator: AutoencoderOutlierDetector) -> tuple[str, ...]:
    if table_of(estimator) is not None:
        return ()
    return "predict", "decision_function", "score_samples"


@default_methods.register
def _(estimator: AutoencoderOutlierDetector) -> tuple[str, ...]:
    return "predict", "decision_function"


@write.register
def _(estimator: AutoencoderOutlierDetector, graph: Graph, x: Traced, method: str) -> Entry:
    limit = limit_of(np.float32)
    is_far = (x.abs() >= limit).long().sum(1) > 0
    # Squares of larger values overflow. NaN, after the end of a sequence, stays.
    bounded = graph.name_of(torch.where(x.isnan(), x, x.clamp(-limit, limit)))
    x = traced(graph, bounded, torch.zeros(x.shape))
    fill = torch.from_numpy(estimator._fill).to(x.dtype)
    cells, position = keys_in_grid(torch.where(x.isnan(), fill, x), estimator._grid)
    # The highest bits of an int64 order samples within a cell; the sum may wrap around.
    position = position * 2 ** (64 - POSITION_BITS)
    fold = highest_bits(cells, FOLD_BITS)
    total: Any = 0.0
    for member in estimator._members:
        factor, median = (int(number) for number in member.split)
        second_half = cells * torch.tensor(factor) + position > torch.tensor(median)
        is_new = ~second_half if member.second else second_half
        total = total + _score(member, graph, x, fold).masked_fill(~is_new, 0.0)
    # Members are pairs with complementary halves: each sample is new to half of them.
    scores = (total / (len(estimator._members) // 2)).masked_fill(is_far, -torch.inf)
    if method == "score_samples":
        return Entry.of(scores.float())
    decision = scores - estimator.offset_
    if method == "decision_function":
        return Entry.of(decision.float())
    # Labels are taken in float64, in which the threshold lies between training samples.
    return Entry.of(1 - 2 * (decision < 0).long())


def _score(member: Member, graph: Graph, x: Traced, fold: Tensor) -> Tensor:
    """Compute one member's score of each sample, in float64; `fold` selects the statistics."""
    prepared = _prepared(member.estimator, graph, x)
    autoencoder = last_step(member.estimator)
    if member.knows_likelihood:
        bound = write(autoencoder, graph, prepared, "score_samples")
        likelihood = traced(graph, bound.name, torch.zeros(len(x))).double()
        return likelihood - look_up(torch.from_numpy(member.level), fold)
    output = write(autoencoder, graph, prepared, "reconstruct")
    flat = graph.add("Reshape", output.name, np.array([-1, prepared.shape[1]]))
    target = prepared.double()
    reconstructed = traced(graph, flat, torch.zeros(prepared.shape)).double()
    # For a feature that was constant in training, that value replaces the reconstruction.
    constant = torch.from_numpy(member.constant)
    error = torch.where(constant.isnan(), reconstructed - target, target - constant.nan_to_num())
    if member.joint:
        common = torch.from_numpy(member.common).double()
        error = error / torch.from_numpy(member.spread)
        error = error - (error @ common.T) @ common
    square = (error / look_up(torch.from_numpy(member.scale), fold)).square()
    if member.joint:
        return -square.mean(1).log1p()
    is_missing = target.isnan()
    terms = square.log1p().masked_fill(is_missing, 0.0)
    return -terms.sum(1) / (~is_missing).double().sum(1)


def _prepared(estimator: Any, graph: Graph, x: Traced) -> Traced:
    """Apply the steps before the autoencoder."""
    steps = steps_before(estimator)
    if not steps:
        return x
    (name,) = graph.inline(scikit_learn_model(steps, (x.shape[1],)), x)
    n_features = last_step(estimator).n_features_in_
    return traced(graph, name, torch.zeros(len(x), n_features))
