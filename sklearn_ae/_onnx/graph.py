"""The one gate to onnx: a graph as it is written down."""

from __future__ import annotations

import copy
import hashlib
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

FIRST_OPSET = 18
"""Version of the ONNX operators that graphs are written in; later ones read them as well."""


def require(name: str) -> Any:
    """Import one of the packages that exports need, or say how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'Models in ONNX need {name}, which is missing: pip install "sklearn-ae[onnx]".'
        ) from error


class Graph:
    """Nodes and constants of a model, in the order in which they were added.

    Parameters
    ----------
    prefix : str, default=""
        What all names begin with.

    Attributes
    ----------
    nodes : list of NodeProto
    constants : dict of str to ndarray
    domains : dict of str to int
        Version of each set of operators besides ONNX's own.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = f"{prefix}_" if prefix else ""
        self.onnx = require("onnx")
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.domains: dict[str, int] = {}
        self._known: dict[tuple[Any, ...], str] = {}
        self._made: dict[bytes, list[str]] = {}
        self._n_names = 0

    def new_name(self, kind: str) -> str:
        """Return a name that nothing else has."""
        self._n_names += 1
        return f"{self.prefix}{kind}_{self._n_names}"

    def add(
        self, kind: str, *inputs: Any, n_outputs: int = 1, domain: str = "", **attributes: Any
    ) -> Any:
        """Add a node, unless there is an equal one; return the name of its output, or a list.

        Inputs are names, traced tensors, or what becomes a constant. None is left out; it can
        only be at the end, as not every reader of graphs understands gaps.
        """
        given = [value for value in inputs if value is not None]
        assert all(value is not None for value in inputs[: len(given)])
        names = [self.name_of(value) for value in given]
        make_node = self.onnx.helper.make_node
        content = make_node(kind, names, [], domain=domain, **attributes).SerializeToString()
        outputs = self._made.get(content)
        if outputs is None:
            outputs = [self.new_name(kind.lower()) for _ in range(n_outputs)]
            self.nodes.append(make_node(kind, names, outputs, domain=domain, **attributes))
            self._made[content] = outputs
        return outputs[0] if n_outputs == 1 else list(outputs)

    def name_of(self, value: Any) -> str:
        """Return the name of a value. What has none becomes a constant, once for equal ones."""
        if isinstance(value, str):
            return value
        if isinstance(name := getattr(value, "onnx_name", None), str):
            return name
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        key = _content(array)
        if key not in self._known:
            self._known[key] = self.new_name("constant")
            self.constants[self._known[key]] = array
        return self._known[key]

    def content(self) -> list[Any]:
        """Return what tells a graph from others."""
        return [*self._known, *(node.SerializeToString() for node in self.nodes)]

    def loop(
        self, n_times: int, state: Sequence[Tensor], body: Callable[..., Sequence[Tensor]]
    ) -> list[str]:
        """Run a part of the graph again and again.

        Parameters
        ----------
        n_times : int
        state : sequence of traced tensors
            What the first run starts from.
        body : callable
            ``(number, *names)``, names of the number of the run and of the state, to traced
            tensors: the next state, and then what is kept of every run. It may use constants and
            its arguments; other values must be part of the state, as not every reader of graphs
            knows that inner ones can see the outer ones.

        Returns
        -------
        list of str
            The last state, and what was kept, stacked along a first axis.
        """
        outer = self.nodes, self._made
        self.nodes, self._made = [], {}
        inputs = [self.new_name("inner") for _ in range(2 + len(state))]
        results = body(inputs[0], *inputs[2:])
        # An output of the body must be that of a node, and one output only.
        outputs = [self.named(v, self.new_name("kept")) for v in (inputs[1], *results)]
        nodes = self.nodes
        self.nodes, self._made = outer
        number, going = torch.tensor(0), torch.tensor(True)
        inner = self.onnx.helper.make_graph(
            nodes,
            "body",
            self._described(inputs, [number, going, *state]),
            self._described(outputs, [going, *results]),
        )
        n_outputs = len(results)
        names = self.add(
            "Loop", np.int64(n_times), np.bool_(True), *state, n_outputs=n_outputs, body=inner
        )
        return [names] if n_outputs == 1 else names

    def _described(self, names: Sequence[str], tensors: Sequence[Tensor]) -> list[Any]:
        """Say of what types inputs or outputs are; of shapes only that scalars are scalars."""
        return [
            self.onnx.helper.make_tensor_value_info(
                name, dtype_number(tensor.dtype), None if tensor.ndim else []
            )
            for name, tensor in zip(names, tensors, strict=True)
        ]

    def named(self, value: Any, name: str) -> str:
        """Give a value a name of the caller's choice, and return that."""
        node = self.onnx.helper.make_node("Identity", [self.name_of(value)], [name])
        self.nodes.append(node)
        return name

    def inline(self, model: Any, *inputs: Any) -> list[str]:
        """Add the nodes of another model, fed with values of this one; return its outputs."""
        for entry in model.opset_import:
            if entry.domain:
                self.domains[entry.domain] = max(entry.version, self.domains.get(entry.domain, 0))
        part = copy.deepcopy(model.graph)
        _prefix_names(part, self.new_name("part") + "_")
        for tensor in part.initializer:
            self.constants[tensor.name] = self.onnx.numpy_helper.to_array(tensor)
        for value, entry in zip(inputs, part.input, strict=True):
            self.named(value, entry.name)
        self.nodes.extend(part.node)
        return [entry.name for entry in part.output]

    def model(self, inputs: Sequence[Any], outputs: Sequence[Any], opset: int) -> Any:
        """Return the whole.

        Parameters
        ----------
        inputs, outputs : sequence of (str, dtype, shape)
            Each by its name in the model. ``None`` in a shape is the number of rows.
        opset : int

        Returns
        -------
        ModelProto
        """
        helper = self.onnx.helper
        described = [
            [
                helper.make_tensor_value_info(
                    name,
                    helper.np_dtype_to_tensor_dtype(np.dtype(dtype)),
                    ["n" if length is None else length for length in shape],
                )
                for name, dtype, shape in entries
            ]
            for entries in (inputs, outputs)
        ]
        nodes, used = self._needed([name for name, _, _ in outputs])
        constants = [
            self.onnx.numpy_helper.from_array(value.copy(order="C"), name)
            for name, value in self.constants.items()
            if name in used
        ]
        graph = helper.make_graph(nodes, "sklearn_ae", *described, constants)
        domains = {"": opset, **self.domains}
        imports = [helper.make_opsetid(*entry) for entry in domains.items()]
        return helper.make_model(
            graph,
            opset_imports=imports,
            ir_version=helper.find_min_ir_version_for(imports),
            producer_name="sklearn_ae",
        )

    def _needed(self, outputs: Sequence[str]) -> tuple[list[Any], set[str]]:
        """Return the nodes that outputs depend on, and the names that those use."""
        used, needed = set(outputs), []
        for node in reversed(self.nodes):
            if used.intersection(node.output):
                needed.append(node)
                used.update(node.input)
                for attribute in node.attribute:
                    used.update(name for inner in attribute.g.node for name in inner.input)
        return needed[::-1], used


def _content(array: np.ndarray) -> tuple[Any, ...]:
    """Return what tells an array from others: its hash, as arrays may be large."""
    if array.dtype == object:  # texts
        return "text", *array.tolist()
    values = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return array.dtype.str, array.shape, hashlib.sha256(values).digest()


def _prefix_names(graph: Any, prefix: str) -> None:
    """Put something before all names in a graph, those in the bodies of its loops included."""
    for entry in (*graph.input, *graph.output, *graph.initializer):
        entry.name = prefix + entry.name
    for node in graph.node:
        node.name = node.name and prefix + node.name
        for names in (node.input, node.output):
            names[:] = [name and prefix + name for name in names]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _prefix_names(inner, prefix)


def dtype_number(dtype: torch.dtype) -> int:
    """Return ONNX's number of a type of tensors."""
    onnx = require("onnx")
    example = torch.empty(0, dtype=dtype, device="cpu").numpy()
    return onnx.helper.np_dtype_to_tensor_dtype(example.dtype)
