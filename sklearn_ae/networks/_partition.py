"""The partition function of restricted Boltzmann machines (RBMs), exact or estimated.

The notation is that of ``_boltzmann_layer.py``. Hidden units are bits, unless all units are
Gaussian.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from sklearn_ae.networks._boltzmann_layer import BoltzmannLayer

MAX_ENUMERATED_UNITS = 20
"""Maximum number of units whose states are enumerated."""

CELLS = 2**22
"""Maximum number of matrix entries that are processed at a time."""

MIN_EFFECTIVE_FRACTION = 0.05
"""Effective fraction of the annealed runs below which a warning is emitted."""

GRID_STEP = 1.25
"""Step of the grid for the integral over a Gaussian unit.

The density of the unit is a mixture of Gaussians of variance one, for which the sum over such a
grid equals the integral to five digits."""

MAX_GRID_POINTS = 256
"""Maximum number of points of this grid."""


def log_partition(
    owner: nn.Module, layer: BoltzmannLayer, base: Tensor, n_temperatures: int, n_runs: int
) -> float:
    """Return the logarithm of the partition function, exact if feasible, otherwise estimated.

    The last result is cached on ``owner`` until its parameters change. Two threads may both
    compute it, with equal results.

    Parameters
    ----------
    owner : nn.Module
        Module that contains the layer.
    layer : BoltzmannLayer
    base : Tensor of shape (n_visible,)
    n_temperatures, n_runs : int
        As in :func:`annealed_log_partition`.

    Returns
    -------
    float
    """
    is_gaussian = "gaussian" == layer.visible == layer.hidden
    exact = is_gaussian or min(_enumerable(layer)) <= MAX_ENUMERATED_UNITS
    # torch increments the version of a tensor at every change in place.
    state = tuple(parameter._version for parameter in owner.parameters())
    key = (state, None if exact else (n_temperatures, n_runs))
    cached: tuple[object, float] | None = vars(owner).get("_log_partition")
    if cached is None or cached[0] != key:
        if exact:
            value = exact_log_partition(layer)
        else:
            value = annealed_log_partition(layer, base, n_temperatures, n_runs)
        cached = vars(owner)["_log_partition"] = (key, value)
    return cached[1]


def _enumerable(layer: BoltzmannLayer) -> tuple[int, ...]:
    """Return the numbers of units of the layers whose states can be enumerated."""
    n_hidden, n_visible = layer.weight.shape
    return (n_hidden, n_visible) if layer.visible == "bernoulli" else (n_hidden,)


@torch.no_grad()
def exact_log_partition(layer: BoltzmannLayer) -> float:
    """Return ``log Z`` by a sum over all states of the hidden or the visible units.

    The other units are summed in closed form. For bits it is
    ``log sum_h e^{c^T h} prod_i (1 + e^{b_i + (W^T h)_i})``, or the same with visible and hidden
    units exchanged. For Gaussian visible units it is
    ``log sum_h e^{a^T h + h^T G h / 2} + n_visible log(2 pi) / 2`` with ``a = c + W b`` and
    ``G = W W^T``. If all units are Gaussian it is an integral in closed form.
    """
    weight, c, b = _doubles(layer)
    if layer.hidden == "gaussian":
        return _gaussian_log_partition(weight, c, b)
    if layer.visible == "gaussian":
        product = weight @ weight.t()
        tilt = c + weight @ b
        total = _sum_states(
            len(c), len(c), weight, lambda h: h @ tilt + 0.5 * ((h @ product) * h).sum(1)
        )
        return float(total) + 0.5 * len(b) * math.log(2 * math.pi)
    if len(b) < len(c):  # enumerate the states of the smaller layer
        weight, c, b = weight.t(), b, c
    return float(
        _sum_states(len(c), len(b), weight, lambda h: h @ c + softplus(b + h @ weight).sum(1))
    )


def _gaussian_log_partition(weight: Tensor, c: Tensor, b: Tensor) -> float:
    """Return the logarithm of the integral of ``e^{-E}`` over Gaussian units.

    With ``P = I - W^T W`` and ``g = b + W^T c`` it is
    ``[g^T P^{-1} g - |b|^2 - log det P + (n_hidden + n_visible) log(2 pi)] / 2``.

    Raises
    ------
    ValueError
        If ``P`` is not positive definite, and the integral therefore infinite.
    """
    precision = torch.eye(len(b), dtype=b.dtype, device=b.device) - weight.t() @ weight
    factor, failed = torch.linalg.cholesky_ex(precision)
    if failed:
        raise ValueError(
            "The RBM of linear units does not define a density: a singular value of its weights "
            "is 1 or larger. Train it for fewer epochs (pretraining_max_iter), or set "
            "code_activation='logistic'."
        )
    tilt = (b + weight.t() @ c)[:, None]
    # With P = L L^T, g^T P^{-1} g is the squared norm of L^{-1} g.
    square = torch.linalg.solve_triangular(factor, tilt, upper=False).square().sum()
    n_units = len(b) + len(c)
    rest = 2 * factor.diagonal().log().sum() - n_units * math.log(2 * math.pi)
    return 0.5 * float(square - b.square().sum() - rest)


def _doubles(layer: BoltzmannLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Return weight, hidden bias and visible bias in the highest precision of their device."""
    device = layer.weight.device
    dtype = torch.float32 if device.type == "mps" else torch.float64
    weight, c, b = (p.detach().to(dtype) for p in layer.parameters())
    return weight, c, b


def _sum_states(
    n_units: int, width: int, like: Tensor, exponent: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the logarithm of the sum of ``e^exponent(h)`` over all states of `n_units` bits.

    Parameters
    ----------
    n_units : int
    width : int
        Number of columns of the largest matrix that `exponent` computes.
    like : Tensor
        Determines dtype and device.
    exponent : callable
        Maps states, ``(n_states, n_units)``, to ``(n_states,)``.

    Returns
    -------
    Tensor of shape ()
    """
    places = torch.arange(n_units, device=like.device)
    size = max(1, CELLS // max(width, n_units))
    sums = []
    for start in range(0, 2**n_units, size):
        numbers = torch.arange(start, min(start + size, 2**n_units), device=like.device)
        states = (numbers[:, None] >> places) & 1  # binary digits, (n_states, n_units)
        sums.append(exponent(states.to(like.dtype)).logsumexp(0))
    return torch.stack(sums).logsumexp(0)


@torch.no_grad()
def annealed_log_partition(
    layer: BoltzmannLayer, base: Tensor, n_temperatures: int, n_runs: int, seed: int = 0
) -> float:
    """Estimate ``log Z`` by annealed importance sampling.

    A sequence of RBMs with weights ``t W``, hidden biases ``t c`` and visible biases
    ``(1 - t) b_0 + t b`` begins at independent units, whose partition function is known, and ends
    at the layer. Each run passes through the sequence, with ``t`` from 0 to 1 in equal steps, and
    makes one Gibbs step at each RBM. Its importance weight is
    ``w = prod_k e^{F_{k-1}(v_k) - F_k(v_k)}``. The expected weight is the ratio of the last and
    the first partition function. On average, the logarithm of the mean weight underestimates the
    logarithm of this ratio.

    Parameters
    ----------
    layer : BoltzmannLayer
    base : Tensor of shape (n_visible,)
        Visible biases ``b_0``. Those of independent units with the means of the training samples
        are a good choice.
    n_temperatures, n_runs : int
    seed : int, default=0
        The same seed gives the same estimate.

    Returns
    -------
    float
        Logarithm of the estimated partition function.

    References
    ----------
    Salakhutdinov, R. and Murray, I. (2008). On the quantitative analysis of deep belief networks.
    ICML.
    """
    is_bits = layer.visible == "bernoulli"
    weight, c, b = (p.detach().float() for p in layer.parameters())
    base = base.to(b)
    draws = torch.Generator(b.device).manual_seed(seed)
    v = _draw(base.expand(n_runs, -1), is_bits, draws)
    log_weight = torch.zeros(n_runs, dtype=_doubles(layer)[0].dtype, device=b.device)
    step = 1 / n_temperatures
    shift = (b - base) * step
    for number in range(1, n_temperatures + 1):
        t = number * step
        field = torch.addmm(c, v, weight.t())  # (n_runs, n_hidden)
        bias = base + number * shift
        # Differences of terms are summed, not energies subtracted: in float32 the rounding error
        # of an energy is too large.
        gain = (softplus(t * field) - softplus((t - step) * field)).sum(1) + v @ shift
        if not is_bits:
            gain -= ((bias - 0.5 * shift) * shift).sum()
        log_weight += gain
        if number < n_temperatures:
            h = _draw(t * field, True, draws)
            v = _draw(torch.addmm(bias, h, weight, alpha=t), is_bits, draws)
    start = (
        softplus(base.to(log_weight)).sum() if is_bits else 0.5 * len(b) * math.log(2 * math.pi)
    )
    _check_agreement(log_weight)
    ratio = log_weight.logsumexp(0) - math.log(n_runs)
    return float(ratio + start + len(c) * math.log(2))


def _check_agreement(log_weight: Tensor) -> None:
    """Warn if the effective number of runs, ``(sum w)^2 / sum w^2``, is small."""
    effective = float((2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0)).exp())
    if effective < MIN_EFFECTIVE_FRACTION * len(log_weight):
        warnings.warn(
            f"Only about {effective:.1f} of {len(log_weight)} annealed runs contribute to the "
            f"estimate of the partition function. It is probably too low, and likelihoods too "
            f"high. Call log_partition with a larger n_temperatures.",
            stacklevel=2,
        )


def _draw(field: Tensor, is_bits: bool, draws: torch.Generator) -> Tensor:
    """Draw bits with these logits, or Gaussian numbers with these means."""
    if is_bits:
        uniform = torch.rand(field.shape, generator=draws, device=field.device)
        return (uniform < field.sigmoid()).to(field.dtype)
    return field + torch.randn(field.shape, generator=draws, device=field.device)


def pseudo_likelihood(layer: BoltzmannLayer, v: Tensor, columns: Tensor) -> Tensor:
    """Return the mean over some units of ``log p(v_i | all other visible units)``, in nats.

    ``log p(v_i | rest) = -F(v) - log sum_t e^{-F(v; v_i = t)}``. The sum is over both values of a
    bit; for a Gaussian unit it is an integral, computed on a grid.

    Parameters
    ----------
    layer : BoltzmannLayer
    v : Tensor of shape (n_samples, n_visible)
    columns : Tensor of shape (n_samples, n_columns), integer
        Indices of the units, for each sample.

    Returns
    -------
    Tensor of shape (n_samples,)
    """
    field = layer.hidden_input(v)[:, None]  # (n_samples, 1, n_hidden)
    weight, bias = layer.weight.t()[columns], layer.visible_bias[columns]
    present = v.gather(1, columns)
    grid, step = _unit_values(layer)

    def log_mass(values: Tensor) -> Tensor:
        """Return ``-F`` with the units set to these values, up to terms of the other units."""
        moved = torch.addcmul(field, (values - present)[..., None], weight)
        own = values * bias if layer.visible == "bernoulli" else -0.5 * (values - bias).square()
        return softplus(moved).sum(2) + own

    masses = torch.stack([log_mass(values[columns]) for values in grid])
    total = masses.logsumexp(0) + step.log()[columns]
    return (log_mass(present) - total).mean(1)


@torch.no_grad()
def _unit_values(layer: BoltzmannLayer) -> tuple[Tensor, Tensor]:
    """Return the values of each visible unit, ``(n_values, n_visible)``, and their spacing."""
    bias, weight = layer.visible_bias, layer.weight
    if layer.visible == "bernoulli":
        return torch.stack([torch.zeros_like(bias), torch.ones_like(bias)]), torch.ones_like(bias)
    # The means of the mixture's components lie between b + min_h W^T h and b + max_h W^T h.
    least = bias + weight.clamp_max(0).sum(0) - 5
    most = bias + weight.clamp_min(0).sum(0) + 5
    n_points = min(MAX_GRID_POINTS, 1 + math.ceil(float((most - least).max()) / GRID_STEP))
    step = (most - least) / (n_points - 1)
    places = torch.arange(n_points, device=bias.device, dtype=bias.dtype)
    return least + places[:, None] * step, step
