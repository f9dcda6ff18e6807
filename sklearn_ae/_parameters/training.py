"""Parameters that many estimators share, each written once."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from sklearn_ae._compat import Interval, Options, StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._training.device import available_devices
from sklearn_ae._training.optimizer import SCHEDULES
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


@declares_parameters
class TrainingParameters:
    """How a network is trained, whatever it is trained for."""

    alpha: float = parameter(
        default=0.1,
        doc="""float
        Weight decay: each step shrinks the weights, not the biases, by the factor
        ``1 - learning_rate * alpha``.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )
    batch_size: int | str = parameter(
        default="auto",
        doc="""int or "auto"
        Samples in a training step. ``"auto"`` is 64 below 1,024 training samples, 128 below
        16,384 and 256 from there.
        """,
        constraint=[StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    )
    learning_rate: str = parameter(
        default="one_cycle",
        doc="""{"one_cycle", "constant"}
        Schedule of the step size. ``"one_cycle"`` rises to `learning_rate_init` over the
        first tenth of `max_iter` and then falls to zero along half a cosine. With
        ``"constant"`` a ``ConvergenceWarning`` is raised if `max_iter`, larger than
        `n_iter_no_change`, ends a fit that is still improving by more than `tol`.
        """,
        constraint=[StrOptions(set(SCHEDULES))],
    )
    learning_rate_init: float = parameter(
        default=0.003,
        doc="""float
        Step size of the optimiser, the largest one of the schedule.
        """,
        constraint=[Interval(Real, 0, None, closed="neither")],
    )
    solver: str = parameter(
        default="adam",
        doc="""{"adam", "sgd"}
        Optimiser: Adam, or stochastic gradient descent with `momentum`, online with
        ``batch_size=1``. For ``"sgd"`` set ``alpha=1e-4`` and `learning_rate_init` to about 0.05,
        more with many features, over which losses are means, much less under a likelihood.
        """,
        constraint=[StrOptions({"adam", "sgd"})],
    )
    momentum: float = parameter(
        default=0.9,
        doc="""float
        Fraction of each step of gradient descent that is added to the next. Not used by Adam.
        """,
        constraint=[Interval(Real, 0, 1, closed="left")],
    )
    max_iter: int = parameter(
        default=200,
        doc="""int
        Number of epochs, at most.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    tol: float = parameter(
        default=1e-4,
        doc="""float
        Smallest relative fall of the loss that counts as an improvement.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )
    early_stopping: bool = parameter(
        default=True,
        doc="""bool
        Whether to hold out `validation_fraction` of the rows, judge each epoch on them and
        keep the best weights. If False, and without `X_val`, all rows are trained on and the
        last weights kept.
        """,
        constraint=["boolean"],
    )
    validation_fraction: float = parameter(
        default=0.1,
        doc="""float
        Share of the rows to hold out. Copies of a row are held out together. Where that is
        less than one distinct row, all rows are trained and validated on alike, which proves
        nothing.
        """,
        constraint=[Interval(Real, 0, 1, closed="neither")],
    )
    n_iter_no_change: float = parameter(
        default=100,
        doc="""int or inf
        Epochs without an improvement, of the held-out loss or else of the training loss,
        after which training stops. ``numpy.inf``: never.
        """,
        constraint=[
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {math.inf}),
        ],
    )
    warm_start: bool = parameter(
        default=False,
        doc="""bool
        Whether `fit` continues from the present weights, optimiser state included.
        """,
        constraint=["boolean"],
    )
    callbacks: list[Any] | None = parameter(
        default=None,
        doc="""list of skorch callbacks
        For example ``[skorch.callbacks.Checkpoint(...)]``. An ``LRScheduler`` replaces
        `learning_rate`.
        """,
        constraint=[list, None],
    )
    device: str | torch.device = parameter(
        default="auto",
        doc="""str or torch.device
        Where to train. ``"auto"`` is the device of `X` if it is a tensor on an accelerator,
        else the first CUDA device if there is one, else the CPU.
        """,
        constraint=[DeviceName()],
    )
    precision: str = parameter(
        default="auto",
        doc="""{"auto", "float32", "float64", "bfloat16"}
        Floating-point dtype of training. ``"auto"``: float32, but float64 on the CPU for data of
        another dtype than float32, where it takes little more time: in convolutional, U-Net, LSTM
        and recursive networks for up to 64 samples; in other networks for up to 512 samples, and
        for any number if the smaller side of each weight matrix is at most 32. If that of a
        weight matrix is 256 or more and the device has instructions for bfloat16, float32 is
        replaced by ``"bfloat16"``: products of matrices in bfloat16, weights in float32. Fitted
        estimators compute in the floating-point dtype of the data in any case.
        """,
        constraint=[StrOptions({"auto", "float32", "float64", "bfloat16"})],
    )
    random_state: int | np.random.RandomState | None = parameter(
        default=None,
        doc="""int, RandomState instance or None
        Fixes initial weights, held-out rows, order and noise.
        """,
        constraint=["random_state"],
    )
    verbose: int | bool = parameter(
        default=False,
        doc="""int or bool
        Whether to show a progress bar with the loss and the time left.
        """,
        constraint=["verbose"],
    )
