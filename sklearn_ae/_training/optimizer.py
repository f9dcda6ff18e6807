"""One flat vector of parameters, optimisers over it, and the learning-rate schedules."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from sklearn_ae.networks._module import TrainableModule


class FlatParameters:
    """The trained parameters of a module in one vector, and their gradients in another.

    The module's parameters become views of ``values``; one kernel then updates them all.
    Those that weight decay shrinks come first.

    Parameters
    ----------
    module : TrainableModule

    Attributes
    ----------
    values : nn.Parameter of shape (n_parameters,)
    gradient : Tensor of shape (n_parameters,)
        Its ``grad``. Kept: the parameters' own are views of it.
    n_penalized : int
        Weight decay acts on ``values[:n_penalized]``.
    parameters : list of nn.Parameter
        The module's own. Those of a network that froze them when it was built are not among them.
    """

    def __init__(self, module: TrainableModule) -> None:
        spared = module.unpenalized()
        trained = [item for item in module.named_parameters() if item[1].requires_grad]
        if not trained:
            raise ValueError("the network has no parameters that are trained.")
        named = sorted(trained, key=lambda item: item[0] in spared)
        self.parameters = [parameter for _, parameter in named]
        parts = [parameter.detach().reshape(-1) for _, parameter in named]
        self.n_penalized = sum(p.numel() for name, p in named if name not in spared)
        self.values = nn.Parameter(torch.cat(parts))
        self.gradient = self.values.grad = torch.zeros_like(self.values)
        start = 0
        for _, parameter in named:
            end = start + parameter.numel()
            parameter.data = self.values.data[start:end].view(parameter.shape)
            parameter.grad = self.gradient[start:end].view(parameter.shape)
            start = end


class FlatOptimizer(torch.optim.Optimizer):
    """Base of the optimisers of one flat vector, with decoupled weight decay on its first entries.

    Parameters
    ----------
    flat : FlatParameters
    options : dict
        ``"lr"``, the step size, ``"alpha"`` - each step also shrinks the penalised entries by
        ``lr * alpha`` - and the optimiser's own.
    """

    def __init__(self, flat: FlatParameters, options: dict[str, Any]) -> None:
        super().__init__([flat.values], options)
        self.n_penalized = flat.n_penalized

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take the one group that there is.

        torch's own loads its compiler, which takes a second and sets an environment variable.
        """
        self.param_groups.append({**self.defaults, **param_group})

    def step(self, closure: Any = None) -> Any:
        """Move the parameters once, as every optimiser does: hooks and profiler included."""
        value = None if closure is None else torch.enable_grad()(closure)()
        self.move()
        return value

    @torch.no_grad()
    def move(self) -> None:
        """Move the parameters once, and nothing else. torch adds 15 us to every ``step``."""
        group = self.param_groups[0]
        vector = group["params"][0]
        if group["alpha"]:
            vector[: self.n_penalized].mul_(1 - group["lr"] * group["alpha"])
        self._move(vector, group, self.state[vector])

    @abstractmethod
    def _move(self, vector: Tensor, group: dict[str, Any], state: dict[str, Tensor]) -> None:
        """Move the parameters against their gradient."""


class FlatMomentum(FlatOptimizer):
    """Gradient descent with momentum: ``u <- momentum * u - lr * gradient`` and a step of ``u``.

    Parameters
    ----------
    flat : FlatParameters
    lr : float
        Step size.
    alpha : float
        Each step also shrinks the penalised entries by ``lr * alpha``.
    momentum : float

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
        rate = min(group["lr"], torch.finfo(vector.dtype).max)  # else torch refuses, not diverges
        velocity.mul_(group["momentum"]).add_(cast(Tensor, vector.grad), alpha=-rate)
        vector.add_(velocity)


class FlatAdam(FlatOptimizer):
    """Adam on one flat vector, with decoupled weight decay on its first entries.

    torch's own fused Adam does the same arithmetic but spends more time on bookkeeping
    than a narrow network's whole update takes.

    Parameters
    ----------
    flat : FlatParameters
    lr : float
        Step size.
    alpha : float
        Each step also shrinks the penalised entries by ``lr * alpha``.

    References
    ----------
    Kingma, D. P. and Ba, J. (2015). Adam: a method for stochastic optimization. ICLR.
    Loshchilov, I. and Hutter, F. (2019). Decoupled weight decay regularization. ICLR.
    """

    def __init__(self, flat: FlatParameters, lr: float, alpha: float) -> None:
        super().__init__(flat, {"lr": lr, "alpha": alpha, "betas": (0.9, 0.999)})
        state = self.state[flat.values]
        state["step"] = torch.zeros((), device=flat.values.device)
        state["exp_avg"] = torch.zeros_like(flat.values)
        state["exp_avg_sq"] = torch.zeros_like(flat.values)

    def _move(self, vector: Tensor, group: dict[str, Any], state: dict[str, Tensor]) -> None:
        state["step"] += 1
        torch._fused_adam_(
            [vector],
            [cast(Tensor, vector.grad)],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            lr=float(group["lr"]),
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )


def constant(progress: float) -> float:
    """Factor on the learning rate: always one."""
    return 1.0


WARM_UP = 0.1
"""Share of the budget in which the one-cycle schedule rises."""


def one_cycle(progress: float) -> float:
    """Factor on the learning rate: up over the first tenth, then down a half cosine to 0.

    Parameters
    ----------
    progress : float
        Share of the budget that is spent, in [0, 1).

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
