"""Tensors that write down what is done to them.

A network is run once on a few example rows. Every function of torch that takes such a tensor is
looked up in ``TRANSLATIONS`` by its name, and adds its nodes to the graph; its result on the
examples gives shapes and types. The number of rows stays open: what depends on it in Python
rather than in torch is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_ae._onnx.graph import Graph

EXAMPLE_ROWS = 3
"""Number of rows that a network is run on while it is written down."""

Translation = Callable[..., Any]

TRANSLATIONS: dict[str, Translation] = {}
"""From the name of a function of torch to one that adds its nodes.

It takes the graph, the function's result on the examples and its arguments, and returns the name
of the result, or a list of them."""

_ASKS = {"dim", "ndim", "size", "shape", "__len__", "dtype", "is_floating_point", "device"}


class Traced(Tensor):
    """A tensor that adds to a graph what is done to it.

    Attributes
    ----------
    graph : Graph
    onnx_name : str
        Its name there.
    """

    graph: Graph
    onnx_name: str

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run a function on the examples, and write it down."""
        kwargs = kwargs or {}
        name = func.__self__.__name__ if func.__name__ == "__get__" else func.__name__
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*plain(args), **plain(kwargs))
        if name in _ASKS:
            return result
        graph = _graph_of([args, kwargs])
        try:
            names = TRANSLATIONS[name](graph, result, *args, **kwargs)
        except NotImplementedError:  # says what it is
            raise
        except Exception as error:  # none of that name, or not with arguments of these kinds
            raise NotImplementedError(
                f"{name!r} of torch, as this network uses it, cannot be written in ONNX here. "
                f"The network itself, estimator.module_, can be given to torch.onnx.export."
            ) from error
        if isinstance(names, str):
            return traced(graph, names, result)
        return type(result)(
            traced(graph, name, value) for name, value in zip(names, result, strict=True)
        )


def traced(graph: Graph, name: str, example: Tensor) -> Traced:
    """Return a tensor of that name in the graph."""
    tensor = torch.Tensor._make_subclass(Traced, example.detach())
    tensor.graph, tensor.onnx_name = graph, name
    return tensor


def flat(value: Any) -> list[Any]:
    """List what nested arguments hold."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [entry for part in value for entry in flat(part)]
    return [value]


def plain(value: Any) -> Any:
    """Replace traced tensors by their examples, also within tuples, lists and dictionaries."""
    if isinstance(value, Traced):
        return value.as_subclass(Tensor)
    if isinstance(value, (tuple, list)):
        return type(value)(plain(entry) for entry in value)
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return value


def translates(*names: str) -> Callable[[Translation], Translation]:
    """Register what writes down functions of these names."""

    def register(function: Translation) -> Translation:
        TRANSLATIONS.update(dict.fromkeys(names, function))
        return function

    return register


def written(kind: str, *inputs: Any, example: Tensor, **attributes: Any) -> Tensor:
    """Add a node that torch has no function for; `example` has its result's shape and type."""
    graph = _graph_of(inputs)
    return traced(graph, graph.add(kind, *inputs, **attributes), plain(example))


def loop(
    n_times: int, state: Sequence[Tensor], body: Callable[..., Sequence[Tensor]]
) -> list[Tensor]:
    """Run ``body(number, *state)`` again and again; see :meth:`Graph.loop`."""
    graph = _graph_of(state)
    examples: list[Tensor] = []

    def named(number: str, *names: str) -> Sequence[Tensor]:
        inner = [traced(graph, *pair) for pair in zip(names, plain(state), strict=True)]
        results = body(traced(graph, number, torch.tensor(0)), *inner)
        examples.extend(plain(results))
        return results

    names = graph.loop(n_times, state, named)
    for place in range(len(state), len(names)):
        examples[place] = examples[place].expand(n_times, *examples[place].shape)
    return [traced(graph, *pair) for pair in zip(names, examples, strict=True)]


def _graph_of(values: Any) -> Graph:
    """Return the graph of the first traced tensor among nested values."""
    return next(value.graph for value in flat(values) if isinstance(value, Traced))
