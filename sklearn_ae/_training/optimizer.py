"""Parameters as one flat vector, its optimisers, and learning-rate schedules."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sklearn_ae.networks._module import TrainableModule

BETAS = (0.9, 0.999)
"""Decay of the moments of Adam."""


class FlatParameters:
    """The trained parameters of a module as one vector, and their gradients as another.

    The module's parameters become views of `values`, so a single kernel updates all of them.
    Parameters with weight decay come first.

    Parameters
    ----------
    module : TrainableModule

    Attributes
    ----------
    values : nn.Parameter of shape (n_parameters,)
    gradient : Tensor of shape (n_parameters,)
        The gradient of `values`. The gradients of the module's parameters are views of it.
    n_penalized : int
        Weight decay acts on ``values[:n_penalized]``.
    parameters : list of nn.Parameter
        The module's trained parameters. Parameters that the network froze when it was built are
        not included.
    places : list of slice
        Place of each parameter in `values`.

    Raises
    ------
    ValueError
        If no parameter is trained.
    """

    def __init__(self, module: TrainableModule) -> None:
        unpenalized = module.unpenalized()
        trained = [item for item in module.named_parameters() if item[1].requires_grad]
        if not trained:
            raise ValueError(
                "the network has no trainable parameters; set requires_grad=True on at least one."
            )
        named = sorted(trained, key=lambda item: item[0] in unpenalized)  # a stable sort
        self.parameters = [parameter for _, parameter in named]
        parts = [parameter.detach().reshape(-1) for _, parameter in named]
        ends = list(accumulate(map(len, parts)))
        self.places = [slice(end - len(part), end) for end, part in zip(ends, parts, strict=True)]
        self.n_penalized = sum(p.numel() for name, p in named if name not in unpenalized)
        self.values = nn.Parameter(torch.cat(parts))
        self.move_to(self.values.detach(), torch.zeros_like(self.values))

    def move_to(self, values: Tensor, gradient: Tensor) -> None:
        """Make all parameters and gradients views of two vectors, which hold their values."""
        self.values.data = values
        self.gradient = self.values.grad = gradient
        for parameter, place in zip(self.parameters, self.places, strict=True):
            parameter.data = values[place].view(parameter.shape)
            parameter.grad = gradient[place].view(parameter.shape)


class Rows(NamedTuple):
    """Several models in one step, each a row of all tensors.

    Attributes
    ----------
    values, gradient : Tensor of shape (n_models, n_parameters)
    state : dict of str to Tensor
        The states of the optimisers, also of models that take no step.
    rates, momentum : Tensor of shape (n_models, 1)
    parts : sequence of slice
        Rows whose models have taken the same number of steps.
    """

    values: Tensor
    gradient: Tensor
    state: dict[str, Tensor]
    rates: Tensor
    momentum: Tensor
    parts: Sequence[slice]


class FlatOptimizer(torch.optim.Optimizer):
    """Base class of optimisers of one flat vector, with decoupled weight decay.

    Parameters
    ----------
    flat : FlatParameters
    options : dict
        ``"lr"``, the learning rate, ``"alpha"``, the factor of the weight decay - each step
        shrinks the penalised values by ``lr * alpha`` - and options of the optimiser.
    """

    def __init__(self, flat: FlatParameters, options: dict[str, Any]) -> None:
        super().__init__([flat.values], options)
        self.n_penalized = flat.n_penalized

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Store the only group.

        The method of torch imports torch's compiler, which takes a second and sets an environment
        variable.
        """
        self.param_groups.append({**self.defaults, **param_group})

    def step(self, closure: Any = None) -> Any:
        """Update the parameters once, with the hooks and the profiler of torch's optimisers."""
        value = None if closure is None else torch.enable_grad()(closure)()
        self.move()
        return value

    @torch.no_grad()
    def move(self) -> None:
        """Update the parameters once, without hooks, which add 15 us to every ``step``."""
        group = self.param_groups[0]
        vector = group["params"][0]
        if group["alpha"]:
            vector[: self.n_penalized].mul_(1 - group["lr"] * group["alpha"])
        self._move(vector, group, self.state[vector])

    @abstractmethod
    def _move(self, vector: Tensor, group: dict[str, Any], state: dict[str, Tensor]) -> None:
        """Update the parameters by their gradient."""

    @staticmethod
    def _gradient(vector: Tensor) -> Tensor:
        """Return the gradient of the parameters, which :class:`FlatParameters` has set."""
        assert vector.grad is not None
        return vector.grad

    @staticmethod
    @abstractmethod
    def move_rows(rows: Rows) -> None:
        """Update the parameters of several models."""


class FlatMomentum(FlatOptimizer):
    """Gradient descent with momentum: ``u <- momentum * u - lr * gradient``, ``w <- w + u``.

    Parameters
    ----------
    flat : FlatParameters
    lr : float
        Learning rate.
    alpha : float
        Factor of the weight decay: each step shrinks the penalised values by ``lr * alpha``.
    momentum : float
        Fraction of the last update that is added to the next one.

    References
    ----------
    Sutskever, I., Martens, J., Dahl, G. and Hinton, G. (2013). On the importance of initialization
    and momentum in deep learning. ICML.
    """

    def __init__(self, flat: FlatParameters, lr: float, alpha: float, momentum: float) -> None:
        super().__init__(flat, {"lr": lr, "alpha": alpha, "momentum": momentum})
        self.state[flat.values]["velocity"] = torch.zeros_like(flat.values)

    def _move(self, vector: Tensor, group: dict[str, Any], state: dict[str, Tensor]) -> None:
        velocity = state["velocity"]
        # torch refuses a factor that overflows the dtype; training with it should diverge, which
        # has an error message with a remedy.
        rate = min(group["lr"], torch.finfo(vector.dtype).max)
        velocity.mul_(group["momentum"]).add_(self._gradient(vector), alpha=-rate)
        vector.add_(velocity)

    @staticmethod
    def move_rows(rows: Rows) -> None:
        """Update the parameters of several models."""
        velocity = rows.state["velocity"][: len(rows.values)]
        velocity.mul_(rows.momentum).addcmul_(rows.gradient, rows.rates, value=-1)
        rows.values.add_(velocity)


class FlatAdam(FlatOptimizer):
    """Adam with decoupled weight decay on one flat vector.

    torch's fused Adam does the same arithmetic, but the overhead of a step takes longer than the
    update of a narrow network.

    Parameters
    ----------
    flat : FlatParameters
    lr : float
        Learning rate.
    alpha : float
        Factor of the weight decay: each step shrinks the penalised values by ``lr * alpha``.

    References
    ----------
    Kingma, D. P. and Ba, J. (2015). Adam: a method for stochastic optimization. ICLR.
    Loshchilov, I. and Hutter, F. (2019). Decoupled weight decay regularization. ICLR.
    """

    def __init__(self, flat: FlatParameters, lr: float, alpha: float) -> None:
        super().__init__(flat, {"lr": lr, "alpha": alpha})
        state = self.state[flat.values]
        state["step"] = torch.zeros((), device=flat.values.device)
        state["exp_avg"] = torch.zeros_like(flat.values)
        state["exp_avg_sq"] = torch.zeros_like(flat.values)

    def _move(self, vector: Tensor, group: dict[str, Any], state: dict[str, Tensor]) -> None:
        state["step"] += 1
        _adam(vector, self._gradient(vector), state, state["step"], float(group["lr"]))

    @staticmethod
    def move_rows(rows: Rows) -> None:
        """Update the parameters of several models."""
        steps = rows.state["step"]
        steps[: len(rows.values)] += 1
        # The kernel has one rate for all models: the change with a rate of one, times each rate.
        change = torch.zeros_like(rows.values)
        for part in rows.parts:
            moments = {name: rows.state[name][part] for name in ("exp_avg", "exp_avg_sq")}
            _adam(change[part], rows.gradient[part], moments, steps[part.start], 1.0)
        rows.values.addcmul_(change, rows.rates)


def _adam(
    values: Tensor, gradient: Tensor, moments: dict[str, Tensor], step: Tensor, rate: float
) -> None:
    """Update parameters by torch's kernel for Adam."""
    torch._fused_adam_(
        [values],
        [gradient],
        [moments["exp_avg"]],
        [moments["exp_avg_sq"]],
        [],
        [step],
        lr=rate,
        beta1=BETAS[0],
        beta2=BETAS[1],
        weight_decay=0.0,  # it has been applied, decoupled from the gradient
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    )


class Stack:
    """Parameters, gradients and optimisers of several nets of equal shapes, one in each row.

    Those of the nets become views of the rows until :meth:`release` is called.

    Parameters
    ----------
    flats : sequence of FlatParameters
    optimizers : sequence of FlatOptimizer
        Of one class.

    Attributes
    ----------
    values, gradient : Tensor of shape (n_models, n_parameters)
    """

    def __init__(
        self, flats: Sequence[FlatParameters], optimizers: Sequence[FlatOptimizer]
    ) -> None:
        self.flats, self.optimizers = flats, optimizers
        states = [
            optimizer.state[flat.values] for flat, optimizer in zip(flats, optimizers, strict=True)
        ]
        self.values = torch.stack([flat.values.detach() for flat in flats])
        self.gradient = torch.zeros_like(self.values)
        self.state = {name: torch.stack([each[name] for each in states]) for name in states[0]}
        groups = [optimizer.param_groups[0] for optimizer in optimizers]
        momentum = [group.get("momentum", 0.0) for group in groups]
        self._momentum = self.values.new_tensor(momentum)[:, None]
        for row, (flat, own) in enumerate(zip(flats, states, strict=True)):
            flat.move_to(self.values[row], self.gradient[row])
            own |= {name: self.state[name][row] for name in own}

    def release(self) -> None:
        """Give each net memory of its own."""
        for row, (flat, optimizer) in enumerate(zip(self.flats, self.optimizers, strict=True)):
            flat.move_to(self.values[row].clone(), self.gradient[row].clone())
            own = optimizer.state[flat.values]
            own |= {name: self.state[name][row].clone() for name in own}

    @torch.no_grad()
    def move(self, rates: Tensor, decay: Tensor | None, parts: Sequence[slice]) -> None:
        """Update the parameters of the first models once.

        Parameters
        ----------
        rates : Tensor of shape (n_updated, 1)
            Learning rates of as many models as are updated.
        decay : Tensor of shape (n_updated, 1) or None
            Factors by which the penalised parameters shrink.
        parts : sequence of slice
            Rows whose models have taken the same number of steps.
        """
        values, gradient, momentum = (
            each[: len(rates)] for each in (self.values, self.gradient, self._momentum)
        )
        if decay is not None:
            values[:, : self.flats[0].n_penalized].mul_(decay)
        self.optimizers[0].move_rows(Rows(values, gradient, self.state, rates, momentum, parts))


def constant(progress: float) -> float:
    """Return the factor of the learning rate at any time: one."""
    return 1.0


WARM_UP = 0.1
"""Fraction of the training in which the one-cycle schedule rises."""


def one_cycle(progress: float) -> float:
    """Return the factor of the learning rate: a linear rise to 1, then half a cosine down to 0.

    Parameters
    ----------
    progress : float
        Fraction of the training that is completed, in [0, 1).

    References
    ----------
    Smith, L. N. and Topin, N. (2019). Super-convergence: very fast training of neural
    networks using large learning rates. SPIE 11006.
    """
    if progress < WARM_UP:
        return progress / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "one_cycle": one_cycle,
}
