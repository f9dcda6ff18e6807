"""Steps of several models at once with automatic differentiation.

``torch.vmap`` applies the loss of one model to stacked parameters, buffers and batches. It cannot
draw from a generator for each model, so all random numbers of a step are drawn before it, in the
order in which the loss asks for them, and handed out within.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from sklearn_ae._training.batches import Batches
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._training.optimizer import Stack
from sklearn_ae._training.random import (
    DRAWS,
    LIKE,
    SIZED,
    drawing_from,
    make_generator,
    size_of_draw,
)
from sklearn_ae._training.steps import LossFunction, Terms, check_terms, weighted_means


class Draw(NamedTuple):
    """A call of a function that draws.

    Attributes
    ----------
    is_normal : bool
        Whether the numbers are standard normal; otherwise they are uniform.
    size : tuple of int
    dtype : torch.dtype
    """

    is_normal: bool
    size: tuple[int, ...]
    dtype: torch.dtype


class _recording_draws(TorchFunctionMode):  # noqa: N801 - reads as a statement
    """Within the block, calls of functions that draw are recorded.

    Raises
    ------
    NotImplementedError
        For functions other than ``rand``, ``randn`` and their ``_like``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[Draw] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record a draw."""
        kwargs = kwargs or {}
        if func not in DRAWS:
            return func(*args, **kwargs)
        if func not in LIKE | SIZED:
            raise NotImplementedError(f"{func.__name__} cannot be drawn for several models")
        drawn = func(*args, **kwargs)
        is_normal = func in (torch.randn, torch.randn_like)
        self.draws.append(Draw(is_normal, tuple(drawn.shape), drawn.dtype))
        return drawn


class _handing_out(TorchFunctionMode):  # noqa: N801 - reads as a statement
    """Within the block, functions that draw return tensors that are there already, in order."""

    def __init__(self, drawn: Sequence[Tensor]) -> None:
        super().__init__()
        self._drawn = iter(drawn)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the next tensor in place of a draw."""
        kwargs = kwargs or {}
        if func not in DRAWS:
            return func(*args, **kwargs)
        values = next(self._drawn)
        assert tuple(values.shape) == tuple(size_of_draw(func, args, kwargs))
        return values


class _Calls(nn.Module):
    """A function of a module as a module, whose parameters can be replaced in a call.

    Parameters
    ----------
    module : nn.Module
    function : callable
        ``(module, X, y, weight)`` to tensors.
    """

    def __init__(self, module: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.module = module
        self._function = function

    def forward(self, X: Tensor, y: Tensor, weight: Tensor | None, mode: TorchFunctionMode) -> Any:
        """Call the function; random numbers are those of a mode."""
        with mode:
            return self._function(self.module, X, y, weight)


def _mean_terms(terms: LossFunction, module: Any, *batch: Any) -> Terms:
    """Return the mean of each loss term."""
    X, _, weight = batch
    found = terms(module, *batch)
    check_terms(found, len(X))
    return weighted_means(found, weight)


class MappedStep:
    """Step of several models of equal shapes, for any loss.

    Parameters
    ----------
    nets : sequence of AutoencoderNet
    stack : Stack
        Their parameters.
    streams : sequence of Batches
        Batches whose generators are drawn from.
    stream_of : Tensor of shape (n_models,)
        Index of the stream of each model.
    """

    def __init__(
        self,
        nets: Sequence[AutoencoderNet],
        stack: Stack,
        streams: Sequence[Batches],
        stream_of: Tensor,
    ) -> None:
        self.nets, self.stack = nets, stack
        self.streams, self.stream_of = streams, stream_of
        objective = nets[0].run.objective
        self.loss = _Calls(nets[0].run.module, partial(_mean_terms, objective.terms))
        self.evaluation = objective.evaluate and _Calls(nets[0].run.module, objective.evaluate)
        self._held_out_draws: list[Tensor] | None = None
        modules = [net.run.module for net in nets]
        first = nets[0].flat
        places = {
            id(own): place for own, place in zip(first.parameters, first.places, strict=True)
        }
        self.parameters: dict[str, Tensor] = {}
        self.gradients: list[tuple[Tensor, Tensor]] = []  # in the stack, and as torch wants them
        for name, parameter in modules[0].named_parameters():
            if id(parameter) in places:
                part = places[id(parameter)]
                shape = len(nets), *parameter.shape
                values = stack.values[:, part].view(shape).detach().requires_grad_()
                values.grad = torch.zeros(shape, dtype=values.dtype, device=values.device)
                self.parameters[f"module.{name}"] = values
                self.gradients.append((stack.gradient[:, part].view(shape), values.grad))
        self.buffers = {}
        for name, _ in modules[0].named_buffers():
            # Buffers may change in a step, and the modules are evaluated after an epoch.
            stacked = torch.stack([module.get_buffer(name) for module in modules])
            owner, _, own_name = name.rpartition(".")
            for module, row in zip(modules, stacked, strict=True):
                module.get_submodule(owner)._buffers[own_name] = row
            self.buffers[f"module.{name}"] = stacked
        for name, parameter in modules[0].named_parameters():
            if id(parameter) not in places:
                frozen = [module.get_parameter(name).detach() for module in modules]
                self.buffers[f"module.{name}"] = torch.stack(frozen)
        self._draws: dict[int, list[Draw]] = {}

    def __call__(
        self, X: Tensor, y: Tensor, weight: Tensor | None, number: int, progress: float
    ) -> Terms:
        """Write the gradients; return the terms, each of shape (n_models,).

        Parameters
        ----------
        X, y : Tensor of shape (n_models, batch_size, n_features)
        weight : Tensor of shape (n_models, batch_size) or None
        number : int
            Number of the batch in the epoch.
        progress : float
            Fraction of the training that is completed.
        """
        module = self.nets[0].run.module
        module.train()
        module.progress = progress
        drawn = [values[self.stream_of] for values in self._draw(X, y, weight, number)]
        for _, gradient in self.gradients:
            gradient.zero_()
        with torch.enable_grad():
            terms: Terms = self._map(self.loss, X, y, weight, drawn)
            torch.autograd.backward(torch.stack(list(terms.values())).sum())
        for in_stack, gradient in self.gradients:
            in_stack.copy_(gradient)
        return {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def evaluate(
        self, X: Tensor, y: Tensor, weight: Tensor | None, held_out: Sequence[Batches]
    ) -> tuple[Tensor, Tensor]:
        """Return the losses and errors of held-out samples, of shape (n_models, n_samples).

        Each model has the same draws after every epoch, from a generator of its own.
        """
        assert self.evaluation is not None
        module = self.nets[0].run.module
        module.eval()
        module.progress = 1.0
        if self._held_out_draws is None:
            draws = self._record(self.evaluation, X, y, weight)
            drawn: list[list[Tensor]] = [[] for _ in draws]
            for net, batches in zip(self.nets, held_out, strict=True):
                generator = make_generator(net.run.seeds.split, X.device)
                with drawing_from(generator, batches.duplicates):
                    for draw, results in zip(draws, drawn, strict=True):
                        results.append(_draw_for(draw, len(batches.samples), X.shape[1], X.device))
            self._held_out_draws = [torch.stack(results) for results in drawn]
        found: tuple[Tensor, Tensor] = self._map(
            self.evaluation, X, y, weight, self._held_out_draws
        )
        return found

    def _map(
        self,
        function: _Calls,
        X: Tensor,
        y: Tensor,
        weight: Tensor | None,
        drawn: list[Tensor],
    ) -> Any:
        """Call a function of each module, with its parameters, batch and random numbers."""

        def call(tensors: dict[str, Tensor], *arguments: Any) -> Any:
            *batch, own = arguments
            return functional_call(function, tensors, (*batch, _handing_out(own)))

        in_dims = (0, 0, 0, None if weight is None else 0, 0)
        return torch.vmap(call, in_dims)(self.parameters | self.buffers, X, y, weight, drawn)

    def _draw(self, X: Tensor, y: Tensor, weight: Tensor | None, number: int) -> list[Tensor]:
        """Draw the random numbers of a step, each tensor of shape (n_streams, ...)."""
        n_rows = X.shape[1]
        if n_rows not in self._draws:
            self._draws[n_rows] = self._record(self.loss, X, y, weight)
        drawn: list[list[Tensor]] = [[] for _ in self._draws[n_rows]]
        for batches in self.streams:
            assert batches.noise is not None
            n_own = min(batches.batch_size, len(batches.samples) - number * batches.batch_size)
            with drawing_from(batches.noise, batches.duplicates):
                for draw, results in zip(self._draws[n_rows], drawn, strict=True):
                    results.append(_draw_for(draw, n_own, n_rows, X.device))
        return [torch.stack(results) for results in drawn]

    def _record(self, function: _Calls, X: Tensor, y: Tensor, weight: Tensor | None) -> list[Draw]:
        """Return the draws of a function for the first model, in order."""
        recording = _recording_draws()
        tensors = {
            name: values[0].detach().clone()
            for name, values in (self.parameters | self.buffers).items()
        }
        with torch.no_grad(), drawing_from(make_generator(0, X.device)):
            own = None if weight is None else weight[0]
            functional_call(function, tensors, (X[0], y[0], own, recording))
        return recording.draws

    def release(self) -> None:
        """Give the modules buffers of their own."""
        for module in (net.run.module for net in self.nets):
            for part in module.modules():
                for name, values in part._buffers.items():
                    part._buffers[name] = None if values is None else values.clone()


def _draw_for(draw: Draw, n_own: int, n_rows: int, device: torch.device) -> Tensor:
    """Draw for a batch of ``n_own`` samples, which is padded to ``n_rows``."""
    size = list(draw.size)
    is_padded = len(size) > 1 and size[-2] == n_rows and n_own < n_rows
    if is_padded:
        size[-2] = n_own
    function = torch.randn if draw.is_normal else torch.rand
    values = function(*size, dtype=draw.dtype, device=device)
    if is_padded:
        padding = [*size[:-2], n_rows - n_own, size[-1]]
        values = torch.cat([values, values.new_full(padding, 0.5)], -2)
    return values
