"""What the methods of fitted estimators compute, written down from traced rows.

Rows are flat and in float32, and so is all that follows but the scores of outlier detectors,
which the estimator too computes in float64.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any, NamedTuple

import torch

from sklearn_ae._estimator.bounds import bound_of_samples, cells_of_network
from sklearn_ae._estimator.inference import to_units
from sklearn_ae._estimator.modules import duplicate
from sklearn_ae._onnx import layers, operators  # noqa: F401 - fill the table of translations
from sklearn_ae._onnx.graph import Graph
from sklearn_ae._onnx.greedy import in_loops
from sklearn_ae._onnx.hashing import normal_quantile, uniform_of_rows
from sklearn_ae._onnx.tracing import EXAMPLE_ROWS, Traced, traced
from sklearn_ae._training.random import latin_grid, shifted
from sklearn_ae._training.reach import FARTHEST, codes_within_reach, lowest_if_far
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.belief_network import DRAWS, DeepBeliefNetwork
from sklearn_ae.boltzmann import RestrictedBoltzmannMachine
from sklearn_ae.networks._boltzmann import BoltzmannModule
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._variational import VariationalModule
from sklearn_ae.variational import VariationalAutoencoder


class Output(NamedTuple):
    """A result in a graph.

    Attributes
    ----------
    name : str
    dtype : dtype
    shape : tuple
        None stands for the number of rows.
    """

    name: str
    dtype: Any
    shape: tuple[int | None, ...]

    @classmethod
    def of(cls, value: Any) -> Output:
        """Describe a traced tensor, of which the rows are the first axis."""
        dtype = torch.empty(0, dtype=value.dtype).numpy().dtype
        return cls(value.onnx_name, dtype, (None, *value.shape[1:]))


@singledispatch
def methods_of(estimator: Any) -> tuple[str, ...]:
    """Name the methods of an estimator that can be exported, those by default first."""
    return ()


@singledispatch
def default_methods(estimator: Any) -> tuple[str, ...]:
    """Name the methods that are exported if none is asked for."""
    return methods_of(estimator)[:1]


@singledispatch
def write(estimator: Any, graph: Graph, rows: Traced, method: str) -> Output:
    """Write down what a method of an estimator makes of rows, or of codes."""
    raise TypeError(f"{type(estimator).__name__} has no export of its own.")


@methods_of.register
def _(estimator: BaseAutoencoder) -> tuple[str, ...]:
    return "transform", "inverse_transform", "reconstruct", "score_samples"


@write.register
def _(estimator: BaseAutoencoder, graph: Graph, rows: Traced, method: str) -> Output:
    module = exportable(estimator)
    trials = Graph(), Graph()
    for n_more, trial in enumerate(trials):
        some = torch.zeros(EXAMPLE_ROWS + n_more, rows.shape[1])
        _apply(estimator, module, traced(trial, "X", some), method)
    if trials[0].content() != trials[1].content():
        raise NotImplementedError(
            f"What {type(module.network).__name__} computes depends on the number of rows in "
            f"Python, as by len(x) or x.shape[0], and a model in ONNX is for any number of them. "
            f"Write -1 for that length where a tensor is reshaped."
        )
    return Output.of(_apply(estimator, module, rows, method))


def _apply(estimator: BaseAutoencoder, module: AutoencoderModule, rows: Any, method: str) -> Any:
    """Compute what a method does of rows, or codes, and ``module``."""
    if method == "inverse_transform":
        codes = codes_within_reach(rows)
        return _in_shape(estimator, to_units(estimator, module, module.decode(codes)))
    x = _within_reach((rows - module.center) / module.scale)
    if method == "transform":
        return module.encode(x)
    if method == "reconstruct":
        return _in_shape(estimator, to_units(estimator, module, module(x)))
    return score_rows(estimator, module, x)


def _within_reach(x: Any) -> Any:
    """Bound values by comparisons, which leave NaN; minimum and maximum may not, in ONNX."""
    x = torch.where(x > FARTHEST, FARTHEST, x)
    return torch.where(x < -FARTHEST, -FARTHEST, x)


def exportable(estimator: BaseAutoencoder) -> AutoencoderModule:
    """Copy a fitted module to the CPU, in float32, what looks at values replaced by loops."""
    return in_loops(duplicate(estimator.module_).cpu().float())


def _in_shape(estimator: BaseAutoencoder, rows: Any) -> Any:
    """Give rows the shape of those of the training."""
    shape = estimator.input_shape_
    return rows if len(shape) == 1 else rows.reshape(-1, *shape)


@singledispatch
def score_rows(estimator: BaseAutoencoder, module: AutoencoderModule, x: Any) -> Any:
    """Write down ``score_samples`` for rows in network units."""
    restored = estimator._get_fitted_loss().mean(module(x))
    squares = (restored - x).square()
    if not module.network.takes_missing:
        return lowest_if_far(squares.mean(1) * -module.scale.square(), x)
    missing = x.isnan()
    errors = squares.masked_fill(missing, 0.0).sum(1)
    return lowest_if_far(errors / (~missing).sum(1) * -module.scale.square(), x)


@score_rows.register
def _(estimator: VariationalAutoencoder, module: VariationalModule, x: Any) -> Any:
    n_draws = estimator.n_importance_samples_
    return bound_of_samples(
        module, x, None if n_draws == 1 else n_draws, uniform_of_rows, normal_quantile
    )


@score_rows.register
def _(estimator: RestrictedBoltzmannMachine, module: BoltzmannModule, x: Any) -> Any:
    return lowest_if_far(-module.free_energy(x) - estimator.log_partition(), x)


@score_rows.register
def _(estimator: DeepBeliefNetwork, module: AutoencoderModule, x: Any) -> Any:
    # In double precision, as in Python: rounding errors of float32 would change drawn bits.
    precise = exportable(estimator).double()
    network = estimator._belief(precise)
    if network is None:
        return score_rows.dispatch(BaseAutoencoder)(estimator, module, x)
    grid = latin_grid(DRAWS, network.n_inner)
    cells = cells_of_network(module, x.shape[1])
    shift = uniform_of_rows(x, cells, (1, grid.shape[1]), seed=0)[0].double()
    bounds = network.bound(x.double(), shifted(grid, shift))
    return lowest_if_far((bounds - estimator._log_volume(precise)).float(), x)
