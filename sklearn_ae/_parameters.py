"""Parameters that many estimators share, each written once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch

from sklearn_ae._backend.device import available_devices
from sklearn_ae._backend.optimizer import SCHEDULES
from sklearn_ae._compat import Interval, Options, StrOptions
from sklearn_ae.networks._network import python_numbers


def with_python_numbers(estimator: Any) -> Any:
    """Return a shallow copy of an estimator with NumPy's numbers among its parameters as Python's.

    Integers of few bits overflow in products, and torch takes none of NumPy's for some sizes.
    """
    copy = object.__new__(type(estimator))
    vars(copy).update(vars(estimator))
    given = {name: vars(copy)[name] for name in estimator._get_param_names()}
    vars(copy).update({name: python_numbers(value) for name, value in given.items()})
    return copy


class DeviceName(Options):
    """A device or what may be the name of one; what may not is told which there are."""

    def __init__(self) -> None:
        super().__init__(str, {"auto"})

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is text or a device."""
        return isinstance(val, (str, torch.device))

    def __str__(self) -> str:
        return f"'auto' or one of {available_devices()}"


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingParameters:
    """How a network is trained, whatever it is trained for."""

    alpha: float = 0.1
    batch_size: int | str = "auto"
    learning_rate: str = "one_cycle"
    learning_rate_init: float = 0.003
    solver: str = "adam"
    momentum: float = 0.9
    max_iter: int = 200
    tol: float = 1e-4
    early_stopping: bool = True
    validation_fraction: float = 0.1
    n_iter_no_change: float = 100
    warm_start: bool = False
    callbacks: list[Any] | None = None
    device: str | torch.device = "auto"
    precision: str = "auto"
    random_state: int | np.random.RandomState | None = None
    verbose: int | bool = False

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions(set(SCHEDULES))],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "solver": [StrOptions({"adam", "sgd"})],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {math.inf}),
        ],
        "warm_start": ["boolean"],
        "callbacks": [list, None],
        "device": [DeviceName()],
        "precision": [StrOptions({"auto", "float32", "float64", "bfloat16"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
