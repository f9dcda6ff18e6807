"""Tensors that record the operations applied to them.

A network is run once on a few example samples. Each torch function that receives a traced tensor
is looked up in ``TRANSLATIONS`` by its name, and its translation adds nodes to the graph; the
function's result on the examples gives shapes and dtypes. The number of samples stays open: a
computation that depends on it in Python instead of in torch is an error.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_ae._onnx.graph import Graph, UnsupportedError

N_EXAMPLES = 3
"""Number of samples that a network is run on while it is traced."""

Translation = Callable[..., Any]

TRANSLATIONS: dict[str, Translation] = {}
"""From the name of a torch function to its translation.

A translation takes the graph, the function's result on the examples and the function's arguments;
it adds nodes to the graph and returns the name of the result, or a list of names. For arguments
that it does not support it raises UnsupportedError with the reason."""

_METADATA = {
    "dim",
    "ndim",
    "size",
    "shape",
    "__len__",
    "dtype",
    "is_floating_point",
    "device",
}
"""Functions whose result depends on shape or dtype alone: no nodes are added for them."""


class Traced(Tensor):
    """A tensor that adds the operations applied to it to a graph.

    Attributes
    ----------
    graph : Graph
    onnx_name : str
        Name of the tensor in the graph.
    """

    graph: Graph
    onnx_name: str

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run a function on the examples, and add its translation to the graph."""
        kwargs = kwargs or {}
        # Attributes such as `shape` arrive as the `__get__` of their descriptor.
        name = func.__self__.__name__ if func.__name__ == "__get__" else func.__name__
        # Without this context the call would arrive here again.
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*to_examples(args), **to_examples(kwargs))
        if name in _METADATA:
            return result
        graph = _graph_of([args, kwargs])
        translate = _find_translation(name, graph, result, *args, **kwargs)
        try:
            names = translate(graph, result, *args, **kwargs)
        except UnsupportedError as error:  # any other exception is a bug, and raised unchanged
            raise _refusal(name, str(error)) from error
        if isinstance(names, str):
            return traced(graph, names, result)
        return type(result)(
            traced(graph, name, value) for name, value in zip(names, result, strict=True)
        )


def _find_translation(name: str, *args: Any, **kwargs: Any) -> Translation:
    """Return the translation of a torch function that accepts these arguments.

    Raises
    ------
    NotImplementedError
        If there is none, or its signature lacks one of the arguments.
    """
    translate = TRANSLATIONS.get(name)
    try:
        if translate is not None:
            inspect.signature(translate).bind(*args, **kwargs)
            return translate
    except TypeError:  # of `bind`: the translation has no such parameter, or requires more
        pass
    reason = "there is no translation" + (" for these arguments" if translate else "")
    raise _refusal(name, reason)


def _refusal(name: str, reason: str) -> NotImplementedError:
    return NotImplementedError(
        f"{name!r} of torch, as this network uses it, cannot be exported to ONNX here: {reason}. "
        f"The network itself, estimator.module_, can be passed to torch.onnx.export."
    )


def traced(graph: Graph, name: str, example: Tensor) -> Traced:
    """Return a traced tensor with this name in the graph."""
    tensor = torch.Tensor._make_subclass(Traced, example.detach())
    tensor.graph, tensor.onnx_name = graph, name
    return tensor


def _leaves(value: Any) -> list[Any]:
    """List the innermost values of nested arguments."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [leaf for entry in value for leaf in _leaves(entry)]
    return [value]


def to_examples(value: Any) -> Any:
    """Replace traced tensors by their examples, also within tuples, lists and dictionaries."""
    if isinstance(value, Traced):
        return value.as_subclass(Tensor)
    if isinstance(value, (tuple, list)):
        return type(value)(to_examples(entry) for entry in value)
    if isinstance(value, dict):
        return {key: to_examples(entry) for key, entry in value.items()}
    return value


def translates(*names: str) -> Callable[[Translation], Translation]:
    """Register the decorated function as the translation of torch functions."""

    def register(function: Translation) -> Translation:
        TRANSLATIONS.update(dict.fromkeys(names, function))
        return function

    return register


def add_node(kind: str, *inputs: Any, example: Tensor, **attributes: Any) -> Tensor:
    """Add a node that corresponds to no torch function.

    Parameters
    ----------
    kind : str
        Name of the ONNX operator.
    *inputs : Tensor or ndarray
    example : Tensor
        Has the shape and dtype of the result.
    **attributes : object
        Attributes of the node.
    """
    graph = _graph_of(inputs)
    return traced(graph, graph.add(kind, *inputs, **attributes), to_examples(example))


def loop(
    n_times: int, state: Sequence[Tensor], body: Callable[..., Sequence[Tensor]]
) -> list[Tensor]:
    """Run ``body(iteration, *state)`` repeatedly; see :meth:`Graph.loop`."""
    graph = _graph_of(state)
    examples: list[Tensor] = []

    def body_of_names(iteration: str, *names: str) -> Sequence[Tensor]:
        inner = [traced(graph, *pair) for pair in zip(names, to_examples(state), strict=True)]
        results = body(traced(graph, iteration, torch.tensor(0)), *inner)
        examples.extend(to_examples(results))
        return results

    names = graph.loop(n_times, state, body_of_names)
    # Results after the state are collected: ONNX stacks those of all iterations.
    for index in range(len(state), len(names)):
        examples[index] = examples[index].expand(n_times, *examples[index].shape)
    return [traced(graph, *pair) for pair in zip(names, examples, strict=True)]


def _graph_of(values: Any) -> Graph:
    """Return the graph of the first traced tensor among nested values."""
    return next(leaf.graph for leaf in _leaves(values) if isinstance(leaf, Traced))
