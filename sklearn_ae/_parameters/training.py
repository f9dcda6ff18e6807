"""Parameters of training, which all estimators share."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch

from sklearn_ae._compat import Interval, Options, StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._training.device import available_devices
from sklearn_ae._training.optimizer import SCHEDULES
from sklearn_ae.networks._network import python_numbers


def with_python_numbers(estimator: Any) -> Any:
    """Return a shallow copy of an estimator whose NumPy numbers are converted to Python's.

    Small integer types such as int8 overflow in products, and some functions of torch do not
    accept NumPy integers as sizes.
    """
    # Without the constructor, so that fitted attributes are copied as well.
    copy = object.__new__(type(estimator))
    vars(copy).update(vars(estimator))
    given = {name: vars(copy)[name] for name in estimator._get_param_names()}
    vars(copy).update({name: python_numbers(value) for name, value in given.items()})
    return copy


class DeviceName(Options):
    """Constraint for `device`, whose error message lists the available devices."""

    def __init__(self) -> None:
        super().__init__(str, {"auto"})

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether the value has the right type; only `fit` looks for the device itself."""
        return isinstance(val, (str, torch.device))

    def __str__(self) -> str:
        return f"'auto' or one of {available_devices()}"


@declares_parameters
class TrainingParameters:
    """Parameters of training, common to all estimators."""

    # Docstrings list these parameters after the estimator's own, under a heading.
    _is_shared: ClassVar[bool] = True

    alpha: float = parameter(
        default=0.1,
        doc="""float
        Strength of the weight decay: each step multiplies the weights, but not the biases, by
        one minus `alpha` times the step size. It is decoupled from the gradient, as in AdamW.
        `alpha` of ``MLPRegressor`` is a penalty instead: half of it times the sum of the squared
        weights, divided by the number of samples in the batch, is part of the loss. Values of one
        are therefore no values of the other.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )
    batch_size: int | str = parameter(
        default="auto",
        doc="""int or "auto"
        Number of samples per training step. ``"auto"`` is 64 for fewer than 1,024 training
        samples, 128 for fewer than 16,384, and 256 otherwise; in convolutional and U-Net networks,
        whose time is that of the images in any batch, it is 64.
        """,
        constraint=[StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    )
    learning_rate: str = parameter(
        default="one_cycle",
        doc="""{"one_cycle", "constant"}
        Schedule of the step size. ``"one_cycle"`` increases it to `learning_rate_init` over the
        first tenth of `max_iter` and then decreases it to zero along half a cosine.
        ``"constant"`` keeps it at `learning_rate_init`. A ``ConvergenceWarning`` is then raised
        if training stops at `max_iter`, larger than `n_iter_no_change`, while the loss still
        improves by more than `tol`.
        """,
        constraint=[StrOptions(set(SCHEDULES))],
    )
    learning_rate_init: float = parameter(
        default=0.003,
        doc="""float
        Learning rate of the optimiser: the largest step size of the schedule.
        """,
        constraint=[Interval(Real, 0, None, closed="neither")],
    )
    solver: str = parameter(
        default="adam",
        doc="""{"adam", "sgd"}
        Optimiser: Adam, or stochastic gradient descent with `momentum`, which with
        ``batch_size=1`` is online learning. With ``"sgd"`` set `alpha` to 1e-4 and
        `learning_rate_init` to about 0.05. Larger step sizes suit data with many features,
        because losses are means over the features; much smaller ones suit likelihoods, which
        are sums.
        """,
        constraint=[StrOptions({"adam", "sgd"})],
    )
    momentum: float = parameter(
        default=0.9,
        doc="""float
        Fraction of the previous update that is added to each update of stochastic gradient
        descent. Not used by Adam.
        """,
        constraint=[Interval(Real, 0, 1, closed="left")],
    )
    max_iter: int = parameter(
        default=200,
        doc="""int
        Maximum number of epochs.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    tol: float = parameter(
        default=1e-4,
        doc="""float
        Smallest relative decrease of the loss that counts as an improvement.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )
    early_stopping: bool = parameter(
        default=True,
        doc="""bool
        Whether to hold out `validation_fraction` of the samples, evaluate the loss on them after
        each epoch and keep the weights of the best epoch. If False, and if no `X_val` is passed
        to `fit`, training uses all samples and keeps the weights of the last epoch. In
        ``MLPRegressor`` the default is False, and the best epoch is the one with the highest
        :math:`R^2` on the held-out samples, not the one with the lowest loss.
        """,
        constraint=["boolean"],
    )
    validation_fraction: float = parameter(
        default=0.1,
        doc="""float
        Fraction of the samples to hold out. Duplicates of a sample are held out together. If
        this fraction is less than one distinct sample, all samples are used for training and for
        validation; the held-out loss is then not an independent estimate.
        """,
        constraint=[Interval(Real, 0, 1, closed="neither")],
    )
    n_iter_no_change: float = parameter(
        default=100,
        doc="""int or inf
        Number of epochs without an improvement after which training stops. What has to improve
        is the held-out loss or, if nothing is held out, the training loss. A fit that starts at
        PCA also stops when it will most likely end there. With ``numpy.inf`` training always
        continues to `max_iter`. In ``MLPRegressor`` the default is 10, and `tol` is a difference
        of losses or scores, here a fraction of the loss; since the one-cycle schedule decreases
        the loss most towards its end, as few epochs would end many fits too early here.
        """,
        constraint=[
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {math.inf}),
        ],
    )
    warm_start: bool = parameter(
        default=False,
        doc="""bool
        Whether `fit` continues from the weights and the optimiser state of the previous call. If
        False, each call starts anew.
        """,
        constraint=["boolean"],
    )
    callbacks: list[Any] | None = parameter(
        default=None,
        doc="""list
        Callbacks of skorch, or pairs of a name and a callback, for example
        ``[skorch.callbacks.EpochTimer()]``. An ``LRScheduler`` replaces `learning_rate`. A
        `FitCheckpoint` saves the state of training at regular intervals.
        """,
        constraint=[list, None],
    )
    device: str | torch.device = parameter(
        default="auto",
        doc="""str or torch.device
        Device to train on. ``"auto"`` is the device of `X` if it is a tensor on an accelerator,
        else the first CUDA device if there is one, else the CPU.
        """,
        constraint=[DeviceName()],
    )
    distributed: str | None = parameter(
        default="auto",
        doc="""{"auto", "sharded"} or None
        Whether the processes that ``torchrun`` started, or that a process group of
        ``torch.distributed`` connects, train one model together. Each computes a part of every
        batch, and ends with the same fitted estimator. With ``"auto"`` all of them are given the
        same samples, with ``"sharded"`` each is given other samples, of which no process needs
        all. None: each trains alone.
        """,
        constraint=[StrOptions({"auto", "sharded"}), None],
    )
    precision: str = parameter(
        default="auto",
        doc="""{"auto", "float32", "float64", "bfloat16"}
        Floating-point dtype of training. ``"auto"``: float32, but float64 on the CPU for data of
        another dtype than float32, where it takes little more time: in convolutional, U-Net, LSTM
        and recursive networks for up to 64 samples; in other networks for up to 512 samples, and
        for any number if the smaller side of each weight matrix is at most 32. On devices with
        instructions for bfloat16, float32 is replaced by ``"bfloat16"`` - products in bfloat16,
        weights in float32 - if the smaller side of a weight matrix is 256 or more, or if
        convolutions and recurrent layers need 500,000 multiplications for a sample, such as two
        levels of 16 and 32 maps of 28 x 28 pixels. Fitted estimators compute in the floating-point
        dtype of the data in any case.
        """,
        constraint=[StrOptions({"auto", "float32", "float64", "bfloat16"})],
    )
    random_state: int | np.random.RandomState | None = parameter(
        default=None,
        doc="""int, RandomState instance or None
        Controls the randomness of the initial weights, the choice of held-out samples, the order
        of the samples and the noise. Pass an int for results that are reproducible across calls.
        """,
        constraint=["random_state"],
    )
    verbose: int | bool = parameter(
        default=False,
        doc="""int or bool
        Whether to show a progress bar with the loss and the remaining time. If standard error is
        neither a terminal nor a notebook, one line is written at the end of each training.
        """,
        constraint=["verbose"],
    )
