"""Reconstruction losses: small pure functions of a decoder output and its target.

Notation: ``o`` is the decoder's output and ``t`` its target, both of shape
``(batch_size, ...)``; ``p`` is the number of entries of one row. Every loss is a mean
over the entries of a row, so its size does not depend on the width of the data, and
comes with its derivative with respect to ``o``, which the hand-written training step of
dense networks uses and the tests hold against automatic differentiation.

A loss also fixes how an output becomes a reconstruction, its ``mean``: the identity for
differences, the logistic function for Bernoulli and the exponential for Poisson data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

HUBER_THRESHOLD = 1.0

SERIES = 0.1
"""Size of an output below which series stand for differences of large numbers."""

MEAN_SERIES = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160)
"""Of ``(1 / (1 - e^{-o}) - 1 / o - 1 / 2) / o``, in ``o^2``."""

NORMALIZER_SERIES = (1 / 12, -7 / 1440, 31 / 90720, -127 / 4838400)
"""Of ``log(o / tanh(o / 2) / 2) / o^2``, in ``o^2``."""

LARGEST_EXPONENT = 80.0
"""Exponentials of more are not held by float32, or nearly so."""

FAR = -30.0
"""Output whose logistic function or exponential is as good as zero."""


def _row_mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each row, ``sum_j (o_j - t_j)^2 / p``.

    Parameters
    ----------
    output, target : Tensor of shape (batch_size, ...)

    Returns
    -------
    Tensor of shape (batch_size,)
    """
    return _row_mean((output - target).square())


def squared_error_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Derivative of :func:`squared_error`, ``2 (o - t) / p``."""
    return (output - target).mul_(2 / target[0].numel())


def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of each row, ``sum_j |o_j - t_j| / p``.

    Its minimiser is a conditional median, which outlying entries do not move.
    """
    return _row_mean((output - target).abs())


def absolute_error_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Derivative of :func:`absolute_error`, ``sign(o - t) / p``."""
    return (output - target).sign_().div_(target[0].numel())


def huber(output: Tensor, target: Tensor) -> Tensor:
    """Huber's loss of each row, quadratic up to 1 and linear beyond.

    With ``d = o - t``: ``d^2 / 2`` where ``|d| <= 1``, else ``|d| - 1/2``, averaged over
    the row. The threshold of 1 is one standard deviation of the data.

    References
    ----------
    Huber, P. J. (1964). Robust estimation of a location parameter. Annals of
    Mathematical Statistics, 35(1), 73-101.
    """
    return _row_mean(
        functional.huber_loss(output, target, reduction="none", delta=HUBER_THRESHOLD)
    )


def huber_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Derivative of :func:`huber`, ``clip(o - t, -1, 1) / p``."""
    difference = (output - target).clamp_(-HUBER_THRESHOLD, HUBER_THRESHOLD)
    return difference.div_(target[0].numel())


def binary_crossentropy(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each row between ``t`` in [0, 1] and Bernoulli means.

    The output is a logit: ``sum_j [log(1 + e^{o_j}) - t_j o_j] / p``, in nats.
    """
    return _row_mean(bernoulli_likelihood(output, target))


def binary_crossentropy_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Derivative of :func:`binary_crossentropy`, ``(sigmoid(o) - t) / p``."""
    return output.sigmoid().sub_(target).div_(target[0].numel())


def poisson(output: Tensor, target: Tensor) -> Tensor:
    """Half Poisson deviance of each row between counts ``t`` and rates ``e^o``.

    ``sum_j [t_j log t_j - t_j - t_j o_j + e^{o_j}] / p``, which is zero for a perfect
    reconstruction and differs from the negative log-likelihood by a constant.
    """
    saturated = torch.special.xlogy(target, target) - target
    return _row_mean(saturated - target * output + output.exp())


def poisson_mean(output: Tensor) -> Tensor:
    """Return the rates ``e^o``, bounded where the exponential would overflow."""
    return output.clamp(max=LARGEST_EXPONENT).exp()


def poisson_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Derivative of :func:`poisson`, ``(e^o - t) / p``."""
    return output.exp().sub_(target).div_(target[0].numel())


def gaussian_likelihood(
    output: Tensor, target: Tensor, log_variance: Tensor, log_square_unit: Tensor | float = 0.0
) -> Tensor:
    """Negative log-likelihood of each entry under a Gaussian, in nats.

    With mean ``o`` and ``v = log sigma^2``: ``[(o_j - t_j)^2 e^{-v} + v + log(2 pi)] / 2``. If
    both are in multiples of a unit ``s``, ``log s^2`` is added to ``v`` in the second place:
    the density is then per unit of the data.

    Parameters
    ----------
    output, target : Tensor of shape (..., n_features)
    log_variance : Tensor of shape () or (n_features,)
    log_square_unit : Tensor of shape () or float, default=0.0

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
    """Negative log-likelihood of each entry under a Bernoulli distribution, in nats.

    The output is a logit: ``log(1 + e^{o_j}) - t_j o_j``.
    """
    return functional.softplus(output) - target * output


def continuous_bernoulli_likelihood(output: Tensor, target: Tensor) -> Tensor:
    """Negative log-density of each value under a continuous Bernoulli distribution, in nats.

    The output is a logit. The density on [0, 1] is ``C(o) e^{t_j o_j} / (1 + e^{o_j})`` with
    ``C(o) = o / tanh(o / 2)``, so the value is that of :func:`bernoulli_likelihood` less
    ``log C(o_j)``.

    References
    ----------
    Loaiza-Ganem, G. and Cunningham, J. P. (2019). The continuous Bernoulli: fixing a pervasive
    error in variational autoencoders. NeurIPS.
    """
    return bernoulli_likelihood(output, target) - _log_normalizer(output)


def continuous_bernoulli(output: Tensor, target: Tensor) -> Tensor:
    """Mean of :func:`continuous_bernoulli_likelihood` over each sample's values."""
    return _row_mean(continuous_bernoulli_likelihood(output, target))


def continuous_bernoulli_gradient(output: Tensor, target: Tensor) -> Tensor:
    """Derivative of :func:`continuous_bernoulli`, ``(m(o) - t) / p`` with ``m`` the mean."""
    return continuous_bernoulli_mean(output).sub_(target).div_(target[0].numel())


def continuous_bernoulli_mean(output: Tensor) -> Tensor:
    """Mean of the distribution, ``1 / (1 - e^{-o}) - 1 / o``; one half at zero."""
    # Both terms are large near zero, where the series is exact to the last digit.
    near = output.abs() < SERIES
    safe = torch.where(near, 1.0, output)
    series = 0.5 + output * _polynomial(output.square(), MEAN_SERIES)
    return torch.where(near, series, -1 / torch.expm1(-safe) - 1 / safe)


def continuous_bernoulli_quantile(output: Tensor, probability: Tensor) -> Tensor:
    """Value below which the distribution has a given probability.

    ``x(o, u) = log(1 + u (e^o - 1)) / o``; for ``o > 0`` by ``x(o, u) = 1 - x(-o, 1 - u)``.
    """
    size = output.abs().clamp_min(1e-6)  # a uniform distribution, to the last digit
    rising = output > 0
    u = torch.where(rising, 1 - probability, probability)
    value = -torch.log1p(u * torch.expm1(-size)) / size
    return torch.where(rising, 1 - value, value).clamp(0, 1)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Evaluate a polynomial, the constant term given first, by Horner's rule."""
    value = x * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * x + coefficient
    return value


def _log_normalizer(output: Tensor) -> Tensor:
    """Logarithm of ``o / tanh(o / 2)``, which is even in ``o`` and two at zero."""
    size = output.abs()
    near = size < SERIES
    safe = torch.where(near, 1.0, size)
    far = safe.log() + torch.log1p(torch.exp(-safe)) - torch.log(-torch.expm1(-safe))
    square = output.square()
    series = square * _polynomial(square, NORMALIZER_SERIES)
    return torch.where(near, math.log(2) + series, far)


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence from a standard Gaussian, in nats.

    ``KL(N(m, e^v) || N(0, 1)) = [m_i^2 + e^{v_i} - v_i - 1] / 2``, summed over a code.

    Parameters
    ----------
    mean, log_variance : Tensor of shape (batch_size, n_components)

    Returns
    -------
    Tensor of shape (batch_size,)
    """
    return 0.5 * (mean.square() + log_variance.expm1() - log_variance).sum(1)


def bernoulli_divergence(target: float, mean: Tensor) -> Tensor:
    """Kullback-Leibler divergence between Bernoulli distributions, in nats.

    ``KL(rho || r_j) = rho log(rho / r_j) + (1 - rho) log((1 - rho) / (1 - r_j))``.

    Parameters
    ----------
    target : float
        ``rho``, in (0, 1).
    mean : Tensor
        ``r_j``, in [0, 1]. At the ends the divergence is that at a rounding error from them.

    Returns
    -------
    Tensor of the shape of `mean`
    """
    eps = torch.finfo(mean.dtype).eps
    mean = mean.clamp(eps, 1 - eps)
    hit = target * (math.log(target) - mean.log())
    return hit + (1 - target) * (math.log1p(-target) - (-mean).log1p())


def _identity(output: Tensor) -> Tensor:
    return output


def _logit(mean: Tensor) -> Tensor:
    return torch.logit(mean, eps=1e-3)


def _continuous_logit(mean: Tensor) -> Tensor:
    """Undo :func:`continuous_bernoulli_mean` by bisection, kept away from the poles."""
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
    """A reconstruction loss and all that depends on its choice.

    Attributes
    ----------
    value : callable
        ``(output, target)`` to one value a row.
    gradient : callable or None
        ``(output, target)`` to the derivative of each row's value with respect to its
        output. None: automatic differentiation.
    mean : callable
        Output to reconstruction.
    link : callable
        Reconstruction to output, the inverse of ``mean`` kept away from its poles.
    scaled : bool
        Whether the data are centred and scaled first. Losses that fix the range of the
        data use them as they are.
    lower, upper : float
        The range of data that the loss is defined on.
    zero : float
        An output whose reconstruction is as good as zero.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor] | None = None
    mean: Callable[[Tensor], Tensor] = _identity
    link: Callable[[Tensor], Tensor] = _identity
    scaled: bool = True
    lower: float = float("-inf")
    upper: float = float("inf")
    zero: float = 0.0


LOSSES: dict[str, Loss] = {
    "squared_error": Loss(squared_error, squared_error_gradient),
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
        zero=FAR,
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
        zero=FAR,
    ),
}


class OutputActivation(NamedTuple):
    """A non-linearity between the decoder's output and the loss, and the range of its values.

    Attributes
    ----------
    forward : callable
        Output to reconstruction.
    backward : callable
        ``(gradient, output, reconstruction)``: the gradient with respect to the reconstruction to
        that with respect to the output.
    inverse : callable
        Reconstruction to output, kept away from the ends of the range.
    lower, upper : float
        The range.
    zero : float
        An output that it maps to zero, or nearly.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    lower: float = 0.0
    upper: float = float("inf")
    zero: float = 0.0


OUTPUT_ACTIVATIONS: dict[str, OutputActivation] = {
    "logistic": OutputActivation(
        torch.sigmoid, lambda g, pre, post: g * post * (1 - post), _logit, upper=1.0, zero=FAR
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
        zero=FAR,
    ),
}
"""What the output may go through before the loss, besides ``"identity"``."""


def _behind(loss: Loss, activation: OutputActivation) -> Loss:
    """Return the loss of outputs that go through an activation first."""
    gradient = loss.gradient

    def chained(output: Tensor, target: Tensor) -> Tensor:
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
    """Look a loss up by its name, or wrap a callable.

    Parameters
    ----------
    loss : str or callable
        A key of ``LOSSES``, or ``loss(output, target)`` that returns one value a row,
        shape ``(batch_size,)``, on centred and scaled data.
    output_activation : str, default="identity"
        What the output goes through before the loss: ``"identity"`` or a key of
        ``OUTPUT_ACTIVATIONS``.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If the loss has an activation of its own and another one is asked for.
    """
    chosen = LOSSES[loss] if isinstance(loss, str) else Loss(_checked(loss))
    if output_activation == "identity":
        return chosen
    if not chosen.scaled:
        raise ValueError(
            f"loss={loss!r} has an output activation of its own; leave "
            f"output_activation='identity', not {output_activation!r}, or choose another loss."
        )
    return _behind(chosen, OUTPUT_ACTIVATIONS[output_activation])


def _checked(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Wrap a user's loss: it must return one value for each sample."""

    def checked(output: Tensor, target: Tensor) -> Tensor:
        value = loss(output, target)
        if value.shape != (len(output),):
            raise ValueError(
                f"loss must return one value a row, of shape ({len(output)},), but returned "
                f"a tensor of shape {tuple(value.shape)}."
            )
        return value

    return checked
