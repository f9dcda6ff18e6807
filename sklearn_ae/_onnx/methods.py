"""The methods of fitted autoencoders, traced on example samples.

Samples are flat and float32, and so are all results except the scores of outlier detectors, which
the estimator computes in float64 as well. The modules ``supervised`` and ``detector`` register the
methods of other estimators here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from sklearn_ae._estimator.bounds import bound_of_samples, cells_of_network
from sklearn_ae._estimator.inference import to_units
from sklearn_ae._estimator.modules import duplicate
from sklearn_ae._estimator.tables import table_of
from sklearn_ae._onnx import activations, layers, operators, shapes  # noqa: F401 - register
from sklearn_ae._onnx.completion import IterativeCompletion
from sklearn_ae._onnx.graph import Entry, Graph
from sklearn_ae._onnx.greedy import with_loops
from sklearn_ae._onnx.hashing import normal_quantile, uniform_of_samples
from sklearn_ae._onnx.tables import ByBlock
from sklearn_ae._onnx.tracing import N_EXAMPLES, Traced, traced
from sklearn_ae._tables.loss import table_loss
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.random import latin_grid, shifted
from sklearn_ae._training.reach import FARTHEST, codes_within_reach, lowest_if_far
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.belief_network import DRAWS, DeepBeliefNetwork
from sklearn_ae.boltzmann import RestrictedBoltzmannMachine
from sklearn_ae.networks._boltzmann import BoltzmannModule
from sklearn_ae.networks._completion import Completion
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._variational import VariationalModule
from sklearn_ae.variational import VariationalAutoencoder


@singledispatch
def methods_of(estimator: Any) -> tuple[str, ...]:
    """Return the names of an estimator's methods that can be exported, the defaults first."""
    return ()


@singledispatch
def default_methods(estimator: Any) -> tuple[str, ...]:
    """Return the names of the methods that are exported by default."""
    return methods_of(estimator)[:1]


@singledispatch
def write(estimator: Any, graph: Graph, x: Traced, method: str) -> Entry:
    """Add a method of an estimator to a graph, applied to samples, or to codes."""
    raise TypeError(f"{type(estimator).__name__} has no export of its own.")


@isolated
@torch.no_grad()
def write_all(estimator: Any, graph: Graph, samples: str, methods: Sequence[str]) -> list[Entry]:
    """Add methods of an estimator to a graph.

    Parameters
    ----------
    estimator : object
    graph : Graph
    samples : str
        Name of flat float32 samples, or of codes for ``"inverse_transform"``.
    methods : sequence of str
    """
    is_code = "inverse_transform" in methods
    width = estimator.n_components_ if is_code else estimator.n_features_in_
    if (table := table_of(estimator)) is not None:
        width = table.layout.n_features
    x = traced(graph, samples, torch.zeros(N_EXAMPLES, width))
    return [write(estimator, graph, x, method) for method in methods]


@methods_of.register
def _(estimator: BaseAutoencoder) -> tuple[str, ...]:
    if table_of(estimator) is not None:  # a result is no table
        return "transform", "score_samples"
    return "transform", "inverse_transform", "reconstruct", "score_samples"


@write.register
def _(estimator: BaseAutoencoder, graph: Graph, x: Traced, method: str) -> Entry:
    module = exportable(estimator)
    # Graphs for two numbers of samples differ if Python code has used that number.
    trials = Graph(), Graph()
    for n_more, trial in enumerate(trials):
        examples = torch.zeros(N_EXAMPLES + n_more, x.shape[1])
        _apply(estimator, module, traced(trial, "X", examples), method)
    if trials[0].content() != trials[1].content():
        raise NotImplementedError(
            f"What {type(module.network).__name__} computes depends on the number of samples in "
            f"Python, e.g. by len(x) or x.shape[0], but a model in ONNX is for any number. "
            f"Use -1 for that length where a tensor is reshaped."
        )
    return Entry.of(_apply(estimator, module, x, method))


def _apply(
    estimator: BaseAutoencoder, module: AutoencoderModule, x: Tensor, method: str
) -> Tensor:
    """Compute a method by `module`, for samples or codes in the units of the data."""
    if method == "inverse_transform":
        codes = codes_within_reach(x)
        return _unflattened(estimator, to_units(estimator, module, module.decode(codes)))
    x = _within_reach((x - module.center) / module.scale)
    if method == "transform":
        return module.encode(module.complete(x))
    if method == "reconstruct":
        return _unflattened(estimator, to_units(estimator, module, module(module.complete(x))))
    return score_samples(estimator, module, x)


def _within_reach(x: Tensor) -> Tensor:
    """Bound values by comparisons, which keep NaN; in ONNX, Min and Max may not."""
    x = torch.where(x > FARTHEST, FARTHEST, x)
    return torch.where(x < -FARTHEST, -FARTHEST, x)


def exportable(estimator: BaseAutoencoder) -> AutoencoderModule:
    """Copy the fitted module to the CPU in float32, without code that depends on values."""
    module: Any = with_loops(duplicate(estimator.module_).cpu().float())
    if getattr(module, "layout", None) is not None:
        module.layout = ByBlock(*module.layout)
    if isinstance(module.completion, Completion):
        module.completion = IterativeCompletion(module.completion)
    exported: AutoencoderModule = module
    return exported


def _unflattened(estimator: BaseAutoencoder, x: Tensor) -> Tensor:
    """Reshape flat samples as those of the training data."""
    shape = estimator.input_shape_
    return x if len(shape) == 1 else x.reshape(-1, *shape)


@singledispatch
def score_samples(estimator: BaseAutoencoder, module: AutoencoderModule, x: Tensor) -> Tensor:
    """Compute ``score_samples`` for samples in network units."""
    if (table := table_of(estimator)) is not None:
        return _scores_of_table(ByBlock(*table.layout), module, x)
    reconstructed = estimator._get_fitted_loss().mean(module(module.complete(x)))
    squares = (reconstructed - x).square()
    if not module.takes_missing:
        return lowest_if_far(squares.mean(1) * -module.scale.square(), x)
    missing = x.isnan()
    errors = squares.masked_fill(missing, 0.0).sum(1)
    counts = (~missing).sum(1).clamp(min=1)  # samples without any value have no error
    return lowest_if_far(errors / counts * -module.scale.square(), x)


def _scores_of_table(layout: ByBlock, module: AutoencoderModule, x: Tensor) -> Tensor:
    """Return minus the mean of the terms of the observed columns."""
    loss = table_loss(layout)
    assert loss.deviances is not None
    output, seen = module(module.complete(x)), layout.observed(x)
    target = torch.where(x.isnan(), 0.0, x)
    terms = torch.where(seen, loss.deviances(output, target), 0.0)
    return lowest_if_far(-terms.sum(1) / seen.long().sum(1).clamp(min=1), x)


@score_samples.register
def _(estimator: VariationalAutoencoder, module: VariationalModule, x: Tensor) -> Tensor:
    n_draws = estimator.n_importance_samples_
    return bound_of_samples(
        module, x, None if n_draws == 1 else n_draws, uniform_of_samples, normal_quantile
    )


@score_samples.register(RestrictedBoltzmannMachine)
def _(estimator: Any, module: BoltzmannModule, x: Tensor) -> Tensor:
    return lowest_if_far(-module.free_energy(x) - estimator.log_partition(), x)


@score_samples.register
def _(estimator: DeepBeliefNetwork, module: AutoencoderModule, x: Tensor) -> Tensor:
    # In float64, as in Python: rounding errors of float32 would change the bits that are drawn.
    precise = exportable(estimator).double()
    network = estimator._belief(precise)
    if network is None:
        reconstruction_error: Any = score_samples.dispatch(BaseAutoencoder)
        score: Tensor = reconstruction_error(estimator, module, x)
        return score
    grid = latin_grid(DRAWS, network.n_inner)
    cells = cells_of_network(module, x.shape[1])
    shift = uniform_of_samples(x, cells, (1, grid.shape[1]), seed=0)[0].double()
    bounds = network.bound(x.double(), shifted(grid, shift))
    return lowest_if_far((bounds - estimator._log_volume(precise)).float(), x)
