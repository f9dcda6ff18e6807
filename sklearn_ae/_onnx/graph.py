"""The only module that imports onnx: a graph to which nodes are added."""

from __future__ import annotations

import copy
import hashlib
import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

FIRST_OPSET = 18
"""Version of the ONNX operators that graphs use; later versions accept them as well."""


class UnsupportedError(NotImplementedError):
    """A computation cannot be exported; the message is the reason, without a full stop."""


def require(name: str) -> Any:
    """Import a package that exports need.

    Raises
    ------
    ImportError
        If it is missing; the message contains the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'Models in ONNX need {name}, which is missing: pip install "sklearn-ae[onnx]".'
        ) from error


class Entry(NamedTuple):
    """An input or a result of a graph.

    Attributes
    ----------
    name : str
    dtype : dtype
    shape : tuple of (int or None)
        None is the number of samples.
    """

    name: str
    dtype: Any
    shape: tuple[int | None, ...]

    @classmethod
    def of(cls, value: Any) -> Entry:
        """Return the result that a traced tensor is, with the samples on its first axis."""
        dtype = torch.empty(0, dtype=value.dtype).numpy().dtype
        return cls(value.onnx_name, dtype, (None, *value.shape[1:]))


class Graph:
    """Nodes and constants of a model, in the order in which they were added.

    Parameters
    ----------
    prefix : str, default=""
        Prefix of all names.

    Attributes
    ----------
    nodes : list of NodeProto
    constants : dict of str to ndarray
    domains : dict of str to int
        Version of each operator set other than ONNX's own.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = f"{prefix}_" if prefix else ""
        self.onnx = require("onnx")
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.domains: dict[str, int] = {}
        self._constant_names: dict[tuple[Any, ...], str] = {}
        self._outputs_of_nodes: dict[bytes, list[str]] = {}
        self._n_names = 0

    def new_name(self, kind: str) -> str:
        """Return a name that is not used yet."""
        self._n_names += 1
        return f"{self.prefix}{kind}_{self._n_names}"

    def add(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node with one output, unless there is an equal one; return the output's name.

        See :meth:`add_with_outputs`.
        """
        return self.add_with_outputs(1, kind, *inputs, **attributes)[0]

    def add_with_outputs(
        self, n_outputs: int, kind: str, *inputs: Any, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node, unless there is an equal one; return the names of its outputs.

        Parameters
        ----------
        n_outputs : int
        kind : str
            Name of the operator.
        *inputs : str, Tensor, ndarray, number or None
            Names, traced tensors, or values that become constants. None omits an input; only the
            last ones can be omitted, since some runtimes do not support gaps.
        domain : str, default=""
            Operator set; the default is ONNX's own.
        **attributes : object
        """
        given = [value for value in inputs if value is not None]
        assert all(value is not None for value in inputs[: len(given)])
        names = [self.name_of(value) for value in given]
        make_node = self.onnx.helper.make_node
        # The bytes of the node without outputs: equal computations are added once.
        content = make_node(kind, names, [], domain=domain, **attributes).SerializeToString()
        outputs = self._outputs_of_nodes.get(content)
        if outputs is None:
            outputs = [self.new_name(kind.lower()) for _ in range(n_outputs)]
            self.nodes.append(make_node(kind, names, outputs, domain=domain, **attributes))
            self._outputs_of_nodes[content] = outputs
        return list(outputs)

    def name_of(self, value: Any) -> str:
        """Return the name of a value; a value without one becomes a constant, equal ones one."""
        if isinstance(value, str):
            return value
        if isinstance(name := getattr(value, "onnx_name", None), str):
            return name
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        key = _array_key(array)
        if key not in self._constant_names:
            self._constant_names[key] = self.new_name("constant")
            self.constants[self._constant_names[key]] = array
        return self._constant_names[key]

    def content(self) -> list[Any]:
        """Return a value that is equal for equal graphs only."""
        return [*self._constant_names, *(node.SerializeToString() for node in self.nodes)]

    def loop(
        self, n_times: int, state: Sequence[Tensor], body: Callable[..., Sequence[Tensor]]
    ) -> list[str]:
        """Run a part of the graph repeatedly.

        Parameters
        ----------
        n_times : int
        state : sequence of traced tensors
            Initial state.
        body : callable
            ``(iteration, *names)``, the names of the iteration number and of the state, to traced
            tensors: the next state, and then values that are collected over the iterations. It
            may use constants and its arguments only; other values must be part of the state,
            since some runtimes do not give inner graphs access to outer values.

        Returns
        -------
        list of str
            Names of the final state and of the collected values, stacked along a first axis.
        """
        # A node of the body must not replace an equal outer one, or the other way round.
        outer = self.nodes, self._outputs_of_nodes
        self.nodes, self._outputs_of_nodes = [], {}
        inputs = [self.new_name("inner") for _ in range(2 + len(state))]
        results = body(inputs[0], *inputs[2:])
        # An output of the body must be the output of a node, and of one only. The first input
        # after the iteration number, and the first output, is the condition to go on.
        outputs = [self.named(v, self.new_name("kept")) for v in (inputs[1], *results)]
        nodes = self.nodes
        self.nodes, self._outputs_of_nodes = outer
        iteration, condition = torch.tensor(0), torch.tensor(True)
        inner = self.onnx.helper.make_graph(
            nodes,
            "body",
            self._declare(inputs, [iteration, condition, *state]),
            self._declare(outputs, [condition, *results]),
        )
        start = np.int64(n_times), np.bool_(True), *state
        return self.add_with_outputs(len(results), "Loop", *start, body=inner)

    def _declare(self, names: Sequence[str], tensors: Sequence[Tensor]) -> list[Any]:
        """Declare the dtypes of inputs or outputs; of shapes, only those of scalars."""
        return [
            self.onnx.helper.make_tensor_value_info(
                name, dtype_number(tensor.dtype), None if tensor.ndim else []
            )
            for name, tensor in zip(names, tensors, strict=True)
        ]

    def named(self, value: Any, name: str) -> str:
        """Give a value another name, and return it."""
        node = self.onnx.helper.make_node("Identity", [self.name_of(value)], [name])
        self.nodes.append(node)
        return name

    def inline(self, model: Any, *inputs: Any) -> list[str]:
        """Add the nodes of another model, with values of this graph as its inputs.

        Parameters
        ----------
        model : ModelProto
        *inputs : str or Tensor

        Returns
        -------
        list of str
            Names of the outputs.
        """
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
        """Return the model that computes some outputs, without nodes that they do not need.

        Parameters
        ----------
        inputs, outputs : sequence of (str, dtype, shape)
            Names are those of the model. ``None`` in a shape is the number of samples.
        opset : int

        Returns
        -------
        ModelProto
        """
        helper = self.onnx.helper
        declared = [
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
        graph = helper.make_graph(nodes, "sklearn_ae", *declared, constants)
        domains = {"": opset, **self.domains}
        imports = [helper.make_opsetid(*entry) for entry in domains.items()]
        return helper.make_model(
            graph,
            opset_imports=imports,
            # The oldest format that has these operators: more runtimes accept it.
            ir_version=helper.find_min_ir_version_for(imports),
            producer_name="sklearn_ae",
        )

    def _needed(self, outputs: Sequence[str]) -> tuple[list[Any], set[str]]:
        """Return the nodes that outputs depend on, and the names that these nodes use."""
        used, needed = set(outputs), []
        # Nodes are in topological order: backwards, each is reached after all that use it.
        for node in reversed(self.nodes):
            if used.intersection(node.output):
                needed.append(node)
                used.update(node.input)
                for attribute in node.attribute:  # bodies of loops use outer constants
                    used.update(name for inner in attribute.g.node for name in inner.input)
        return needed[::-1], used


def _array_key(array: np.ndarray) -> tuple[Any, ...]:
    """Return a key that is equal for equal arrays only: a hash, as arrays may be large."""
    if array.dtype == object:  # strings
        return "strings", *array.tolist()
    values = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return array.dtype.str, array.shape, hashlib.sha256(values).digest()


def _prefix_names(graph: Any, prefix: str) -> None:
    """Prefix all names in a graph, including those in the bodies of its loops."""
    for entry in (*graph.input, *graph.output, *graph.initializer):
        entry.name = prefix + entry.name
    for node in graph.node:
        # An empty name is an omitted input or output, and must stay empty.
        node.name = node.name and prefix + node.name
        for names in (node.input, node.output):
            names[:] = [name and prefix + name for name in names]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _prefix_names(inner, prefix)


def dtype_number(dtype: torch.dtype) -> int:
    """Return ONNX's number of a torch dtype.

    Raises
    ------
    UnsupportedError
        If NumPy, and so the export, does not have the dtype.
    """
    onnx = require("onnx")
    example = torch.empty(0, dtype=dtype, device="cpu")
    try:
        number: int = onnx.helper.np_dtype_to_tensor_dtype(example.numpy().dtype)
    except (TypeError, KeyError) as error:
        raise UnsupportedError(f"{dtype} has no counterpart in NumPy and ONNX") from error
    return number
