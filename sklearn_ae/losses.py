"""Reconstruction losses: pure functions of a decoder output and its target.

Notation: ``o`` is the decoder's output and ``t`` its target, both of shape ``(batch_size, ...)``,
and ``p`` is the number of values of one sample. Every loss is a mean over the values of a sample,
so that its scale does not depend on the number of features. The derivative of a loss with respect
to ``o`` is used by the hand-written training step of dense networks.

A loss also determines the link between outputs and reconstructions, its ``mean``: the identity
for losses of differences, the logistic function for Bernoulli and the exponential for Poisson
data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

HUBER_THRESHOLD = 1.0
"""Difference at which Huber's loss changes from quadratic to linear."""

SERIES_RADIUS = 0.1
"""Outputs of a smaller size use a series instead of a difference of large numbers."""

MEAN_SERIES = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160)
"""Coefficients of ``(1 / (1 - e^{-o}) - 1 / o - 1 / 2) / o`` in powers of ``o^2``."""

NORMALIZER_SERIES = (1 / 12, -7 / 1440, 31 / 90720, -127 / 4838400)
"""Coefficients of ``log(o / tanh(o / 2) / 2) / o^2`` in powers of ``o^2``."""

MAX_EXPONENT = 80.0
"""Exponents are clamped to this value, because exponentials overflow float32 from 89 on."""

ZERO_OUTPUT = -30.0
"""Output whose logistic function and exponential are practically zero."""


def _sample_mean(values: Tensor) -> Tensor:
    """Return the mean of the values of each sample, ``(batch_size,)``."""
    return values.flatten(1).mean(1)


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each sample, ``sum_j (o_j - t_j)^2 / p``.

    Parameters
    ----------
    output, target : Tensor of shape (batch_size, ...)

    Returns
    -------
    Tensor of shape (batch_size,)
    """
    return _sample_mean((output - target).square())


# The gradients work in place on a tensor that they have just allocated, which saves allocations in
# every training step.


def squared_error_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Return the derivative of :func:`squared_error`, ``2 (o - t) / p``."""
    return (output - target).mul_(2 / target[0].numel())


def mean_squared_error(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of :func:`squared_error` over a batch, and its derivative.

    It takes a third of the time of both for themselves.

    Parameters
    ----------
    output, target : Tensor of shape (..., batch_size, n_features)

    Returns
    -------
    mean : Tensor of shape (...)
    gradient : Tensor of shape (..., batch_size, n_features)
    """
    difference = output - target
    flat = difference.flatten(-2)
    n_values = flat.shape[-1]
    mean = flat.dot(flat) if flat.ndim == 1 else torch.linalg.vecdot(flat, flat)
    return mean.div_(n_values), difference.mul_(2 / n_values)


def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of each sample, ``sum_j |o_j - t_j| / p``.

    Its minimiser is the conditional median, which is robust against outlying values.
    """
    return _sample_mean((output - target).abs())


def absolute_error_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Return the derivative of :func:`absolute_error`, ``sign(o - t) / p``."""
    return (output - target).sign_().div_(target[0].numel())


def huber(output: Tensor, target: Tensor) -> Tensor:
    """Return Huber's loss of each sample, quadratic up to 1 and linear beyond.

    With ``d = o - t`` it is ``d^2 / 2`` if ``|d| <= 1`` and ``|d| - 1/2`` otherwise, averaged over
    the sample. The data are scaled, so that a threshold of 1 is one standard deviation.

    References
    ----------
    Huber, P. J. (1964). Robust estimation of a location parameter. Annals of
    Mathematical Statistics, 35(1), 73-101.
    """
    return _sample_mean(
        functional.huber_loss(output, target, reduction="none", delta=HUBER_THRESHOLD)
    )


def huber_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Return the derivative of :func:`huber`, ``clip(o - t, -1, 1) / p``."""
    difference = (output - target).clamp_(-HUBER_THRESHOLD, HUBER_THRESHOLD)
    return difference.div_(target[0].numel())


def binary_crossentropy(output: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of each sample between ``t`` in [0, 1] and Bernoulli means.

    The output is a logit. The loss is ``sum_j [log(1 + e^{o_j}) - t_j o_j] / p``, in nats.
    """
    return _sample_mean(bernoulli_likelihood(output, target))


def binary_crossentropy_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Return the derivative of :func:`binary_crossentropy`, ``(sigmoid(o) - t) / p``."""
    return output.sigmoid().sub_(target).div_(target[0].numel())


def poisson(output: Tensor, target: Tensor) -> Tensor:
    """Return half the Poisson deviance of each sample between counts ``t`` and rates ``e^o``.

    The loss is ``sum_j [t_j log t_j - t_j - t_j o_j + e^{o_j}] / p``. It is zero for a perfect
    reconstruction, and differs from the negative log-likelihood by a constant.
    """
    saturated = torch.special.xlogy(target, target) - target  # 0 log 0 is 0
    return _sample_mean(saturated - target * output + output.exp())


def poisson_mean(output: Tensor) -> Tensor:
    """Return the rates ``e^o``, bounded to avoid overflow."""
    return output.clamp(max=MAX_EXPONENT).exp()


def poisson_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Return the derivative of :func:`poisson`, ``(e^o - t) / p``."""
    return output.exp().sub_(target).div_(target[0].numel())


def gaussian_likelihood(
    output: Tensor, target: Tensor, log_variance: Tensor, log_square_unit: Tensor | float = 0.0
) -> Tensor:
    """Return the negative log-likelihood of each value under a Gaussian distribution, in nats.

    With mean ``o`` and ``v = log sigma^2`` it is
    ``[(o_j - t_j)^2 e^{-v} + v + log s^2 + log(2 pi)] / 2``. If output, target and standard
    deviation are multiples of a unit ``s`` of the data, the density is per unit of the data.

    Parameters
    ----------
    output, target : Tensor of shape (..., n_features)
    log_variance : Tensor of shape () or (n_features,)
    log_square_unit : Tensor of shape () or float, default=0.0
        ``log s^2``.

    Returns
    -------
    Tensor of shape (..., n_features)
    """
    squares = (output - target).square() * torch.exp(-log_variance)
    if isinstance(log_square_unit, Tensor):
        # The logarithms may nearly cancel: with a unit in float64 their sum is rounded once.
        constant = log_variance.to(log_square_unit) + log_square_unit + math.log(2 * math.pi)
        return 0.5 * (squares + constant.to(squares))
    return 0.5 * (squares + (log_variance + log_square_unit + math.log(2 * math.pi)))


def bernoulli_likelihood(output: Tensor, target: Tensor) -> Tensor:
    """Return the negative log-likelihood of each value under a Bernoulli distribution, in nats.

    The output is a logit. The likelihood is ``log(1 + e^{o_j}) - t_j o_j``.
    """
    return functional.softplus(output) - target * output


def continuous_bernoulli_likelihood(output: Tensor, target: Tensor) -> Tensor:
    """Return the negative log-density of each value under a continuous Bernoulli distribution.

    The output is a logit. The density on [0, 1] is ``C(o) e^{t_j o_j} / (1 + e^{o_j})`` with
    ``C(o) = o / tanh(o / 2)``. Its negative logarithm, in nats, is the value of
    :func:`bernoulli_likelihood` minus ``log C(o_j)``.

    References
    ----------
    Loaiza-Ganem, G. and Cunningham, J. P. (2019). The continuous Bernoulli: fixing a pervasive
    error in variational autoencoders. NeurIPS.
    """
    return bernoulli_likelihood(output, target) - _log_normalizer(output)


def continuous_bernoulli(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of :func:`continuous_bernoulli_likelihood` for each sample."""
    return _sample_mean(continuous_bernoulli_likelihood(output, target))


def continuous_bernoulli_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Return the derivative of :func:`continuous_bernoulli`, ``(mean(o) - t) / p``."""
    return continuous_bernoulli_mean(output).sub_(target).div_(target[0].numel())


def continuous_bernoulli_mean(output: Tensor) -> Tensor:
    """Return the mean of the distribution, ``1 / (1 - e^{-o}) - 1 / o``; one half at zero."""
    # Both terms are large near zero, where the series is exact to the last digit.
    near = output.abs() < SERIES_RADIUS
    # The branch that is not used must be finite, or its gradient would be NaN.
    safe = torch.where(near, 1.0, output)
    series = 0.5 + output * _polynomial(output.square(), MEAN_SERIES)
    return torch.where(near, series, -1 / torch.expm1(-safe) - 1 / safe)


def continuous_bernoulli_quantile(output: Tensor, probability: Tensor) -> Tensor:
    """Return the quantile function of the distribution, ``log(1 + u (e^o - 1)) / o``.

    Parameters
    ----------
    output : Tensor
        Logits ``o``.
    probability : Tensor of the shape of `output`
        Probabilities ``u``.

    Returns
    -------
    Tensor of the shape of `output`
    """
    # For o > 0 the exponential may overflow, but x(o, u) = 1 - x(-o, 1 - u).
    size = output.abs().clamp_min(1e-6)  # below, the distribution is uniform to the last digit
    rising = output > 0
    u = torch.where(rising, 1 - probability, probability)
    value = -torch.log1p(u * torch.expm1(-size)) / size
    return torch.where(rising, 1 - value, value).clamp(0, 1)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Evaluate a polynomial by Horner's rule; the first coefficient is the constant term."""
    value = x * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * x + coefficient
    return value


def _log_normalizer(output: Tensor) -> Tensor:
    """Return the logarithm of ``o / tanh(o / 2)``, an even function of ``o``."""
    size = output.abs()
    near = size < SERIES_RADIUS
    safe = torch.where(near, 1.0, size)  # as in continuous_bernoulli_mean
    far = safe.log() + torch.log1p(torch.exp(-safe)) - torch.log(-torch.expm1(-safe))
    square = output.square()
    series = square * _polynomial(square, NORMALIZER_SERIES)
    return torch.where(near, math.log(2) + series, far)


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of Gaussians from the standard Gaussian, in nats.

    ``KL(N(m, e^v) || N(0, 1)) = sum_i [m_i^2 + e^{v_i} - v_i - 1] / 2``, for each sample.

    Parameters
    ----------
    mean, log_variance : Tensor of shape (batch_size, n_components)

    Returns
    -------
    Tensor of shape (batch_size,)
    """
    return 0.5 * (mean.square() + log_variance.expm1() - log_variance).sum(1)


def bernoulli_divergence(target: float, mean: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence between Bernoulli distributions, in nats.

    ``KL(rho || r_j) = rho log(rho / r_j) + (1 - rho) log((1 - rho) / (1 - r_j))``.

    Parameters
    ----------
    target : float
        ``rho``, in (0, 1).
    mean : Tensor
        ``r_j``, in [0, 1]. Means closer to 0 or 1 than the machine epsilon are moved to it, where
        the divergence is finite.

    Returns
    -------
    Tensor of the shape of `mean`
    """
    eps = torch.finfo(mean.dtype).eps
    mean = mean.clamp(eps, 1 - eps)
    of_ones = target * (math.log(target) - mean.log())
    return of_ones + (1 - target) * (math.log1p(-target) - (-mean).log1p())


# Links map the mean of the data to an output. They are clamped, so that data that are all zero or
# all one have a finite output.


def _identity(output: Tensor) -> Tensor:
    return output


def _logit(mean: Tensor) -> Tensor:
    return torch.logit(mean, eps=1e-3)


def _continuous_logit(mean: Tensor) -> Tensor:
    """Invert :func:`continuous_bernoulli_mean` by bisection."""
    mean = mean.clamp(0.02, 0.98)
    low, high = torch.full_like(mean, -64.0), torch.full_like(mean, 64.0)
    for _ in range(60):
        middle = (low + high) / 2
        above = continuous_bernoulli_mean(middle) > mean
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def _log(mean: Tensor) -> Tensor:
    return mean.clamp_min(1e-3).log()


class Loss(NamedTuple):
    """A reconstruction loss, its link and its requirements on the data.

    Attributes
    ----------
    value : callable
        Maps ``(output, target)`` to one value per sample.
    gradient : callable or None
        Maps ``(output, target)`` to the derivative of each sample's value with respect to its
        output. None: automatic differentiation is used.
    mean : callable
        Maps outputs to reconstructions.
    link : callable
        Maps reconstructions to outputs: the inverse of ``mean``, clamped to finite values.
    scaled : bool
        Whether the data are centred and scaled. Losses that restrict the range of the data use
        them unchanged.
    lower, upper : float
        Range of the data for which the loss is defined.
    zero : float
        Output whose reconstruction is zero, or practically zero.
    n_linear : int
        Number of outputs, the first ones, that are reconstructions although ``scaled`` is False.
    deviances : callable or None
        Maps ``(output, target)`` to the term of each column of a table, of shape (..., n_columns).
        None: the data are no table.
    mean_and_gradient : callable or None
        Maps ``(output, target)``, of shape (..., batch_size, n_features), to the mean value of
        all samples and its derivative, in less time. None: they follow from ``value`` and
        ``gradient``.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor] | None = None
    mean: Callable[[Tensor], Tensor] = _identity
    link: Callable[[Tensor], Tensor] = _identity
    scaled: bool = True
    lower: float = float("-inf")
    upper: float = float("inf")
    zero: float = 0.0
    n_linear: int = 0
    deviances: Callable[[Tensor, Tensor], Tensor] | None = None
    mean_and_gradient: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None

    def ignoring(self, missing: Tensor, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs and targets of error zero where `missing` is true, else unchanged."""
        return output.masked_fill(missing, self.zero), target.masked_fill(missing, 0.0)


LOSSES: dict[str, Loss] = {
    "squared_error": Loss(
        squared_error, squared_error_gradient, mean_and_gradient=mean_squared_error
    ),
    "absolute_error": Loss(absolute_error, absolute_error_gradient),
    "huber": Loss(huber, huber_gradient),
    "binary_crossentropy": Loss(
        binary_crossentropy,
        binary_crossentropy_gradient,
        mean=torch.sigmoid,
        link=_logit,
        scaled=False,
        lower=0.0,
        upper=1.0,
        zero=ZERO_OUTPUT,
    ),
    "continuous_bernoulli": Loss(
        continuous_bernoulli,
        continuous_bernoulli_gradient,
        mean=continuous_bernoulli_mean,
        link=_continuous_logit,
        scaled=False,
        lower=0.0,
        upper=1.0,
    ),
    "poisson": Loss(
        poisson,
        poisson_gradient,
        mean=poisson_mean,
        link=_log,
        scaled=False,
        lower=0.0,
        zero=ZERO_OUTPUT,
    ),
}


class OutputActivation(NamedTuple):
    """A non-linearity between the decoder's output and the loss.

    Attributes
    ----------
    forward : callable
        Maps outputs to reconstructions.
    backward : callable
        Maps ``(gradient, output, reconstruction)``, where the gradient is that with respect to the
        reconstruction, to the gradient with respect to the output.
    inverse : callable
        Maps reconstructions to outputs, clamped to finite values.
    lower, upper : float
        Range of the reconstructions.
    zero : float
        Output whose reconstruction is zero, or practically zero.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    lower: float = 0.0
    upper: float = float("inf")
    zero: float = 0.0


OUTPUT_ACTIVATIONS: dict[str, OutputActivation] = {
    "logistic": OutputActivation(
        torch.sigmoid,
        lambda g, pre, post: g * post * (1 - post),
        _logit,
        upper=1.0,
        zero=ZERO_OUTPUT,
    ),
    "tanh": OutputActivation(
        torch.tanh,
        lambda g, pre, post: g * (1 - post.square()),
        lambda mean: torch.atanh(mean.clamp(-1 + 1e-3, 1 - 1e-3)),
        lower=-1.0,
        upper=1.0,
    ),
    "relu": OutputActivation(functional.relu, lambda g, pre, post: g * (post > 0), _identity),
    "softplus": OutputActivation(
        functional.softplus,
        lambda g, pre, post: g * torch.sigmoid(pre),
        lambda mean: mean + torch.log(-torch.expm1(-mean.clamp_min(1e-3))),
        zero=ZERO_OUTPUT,
    ),
}
"""Output activations by name; ``"identity"`` is not among them."""


def _with_activation(loss: Loss, activation: OutputActivation) -> Loss:
    """Return the loss of outputs to which an activation is applied first."""
    gradient = loss.gradient

    def chained(output: Tensor, target: Tensor) -> Tensor:
        """Return the derivative with respect to the output, by the chain rule."""
        assert gradient is not None
        mean = activation.forward(output)
        return activation.backward(gradient(mean, target), output, mean)

    return Loss(
        value=lambda output, target: loss.value(activation.forward(output), target),
        gradient=None if gradient is None else chained,
        mean=activation.forward,
        link=activation.inverse,
        scaled=False,
        lower=activation.lower,
        upper=activation.upper,
        zero=activation.zero,
    )


def get_loss(
    loss: str | Callable[[Tensor, Tensor], Tensor], output_activation: str = "identity"
) -> Loss:
    """Return a loss by its name, or from a callable.

    Parameters
    ----------
    loss : str or callable
        A key of ``LOSSES``, or a function ``loss(output, target)`` of centred and scaled data that
        returns one value per sample, of shape ``(batch_size,)``.
    output_activation : str, default="identity"
        Non-linearity that is applied to the output before the loss: ``"identity"`` or a key of
        ``OUTPUT_ACTIVATIONS``.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If `output_activation` is given for a loss that has a link other than the identity.
    """
    chosen = LOSSES[loss] if isinstance(loss, str) else Loss(_with_shape_check(loss))
    if output_activation == "identity":
        return chosen
    if not chosen.scaled:
        raise ValueError(
            f"loss={loss!r} has an output activation of its own; leave "
            f"output_activation='identity', not {output_activation!r}, or choose another loss."
        )
    return _with_activation(chosen, OUTPUT_ACTIVATIONS[output_activation])


def _with_shape_check(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a user's loss, with a check that it returns one value per sample."""

    def checked(output: Tensor, target: Tensor) -> Tensor:
        try:
            value = loss(output, target)
        except Exception as error:
            error.add_note(f"It was raised by the callable loss={loss!r}.")
            raise
        if not isinstance(value, Tensor):
            raise TypeError(
                f"loss must return a tensor of one value per sample, but returned an object of "
                f"type {type(value).__name__}."
            )
        if value.shape != (len(output),):
            raise ValueError(
                f"loss must return one value per sample, of shape ({len(output)},), but returned "
                f"a tensor of shape {tuple(value.shape)}."
            )
        return value

    return checked
