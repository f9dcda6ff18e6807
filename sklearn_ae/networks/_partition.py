"""What a restricted Boltzmann machine's likelihood needs: sums over states, exact or estimated.

The notation is that of ``_boltzmann_layer.py``. Hidden units are bits, unless both sides are
Gaussian.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from sklearn_ae.networks._boltzmann_layer import BoltzmannLayer

ENUMERATED = 20
"""Number of units up to which all their states are listed."""

CELLS = 2**22
"""Number of matrix entries that are worked on at a time."""

LEAST_AGREEMENT = 0.05
"""Share of the annealed runs that should count, or a warning says so."""

GRID_STEP = 1.25
"""Of the integral over a Gaussian unit. Its density is a mixture of Gaussians of variance one,
for which the sum over such a grid is the integral to five digits."""

MOST_POINTS = 256
"""Number of points of such a grid, at most."""


def log_partition(
    owner: nn.Module, layer: BoltzmannLayer, base: Tensor, n_temperatures: int, n_runs: int
) -> float:
    """Logarithm of a layer's partition function, exact where that can be had, else estimated.

    The last result is remembered by ``owner`` for as long as its parameters stay what they are.
    Two threads may both compute it, and then agree.

    Parameters
    ----------
    owner : nn.Module
        Module that the layer is a part of.
    layer : BoltzmannLayer
    base, n_temperatures, n_runs
        Of :func:`annealed_log_partition`.
    """
    exact = "gaussian" == layer.visible == layer.hidden or min(_enumerable(layer)) <= ENUMERATED
    state = tuple(parameter._version for parameter in owner.parameters())
    key = (state, None if exact else (n_temperatures, n_runs))
    known: tuple[object, float] | None = vars(owner).get("_log_partition")
    if known is None or known[0] != key:
        if exact:
            value = exact_log_partition(layer)
        else:
            value = annealed_log_partition(layer, base, n_temperatures, n_runs)
        known = vars(owner)["_log_partition"] = (key, value)
    return known[1]


def _enumerable(layer: BoltzmannLayer) -> tuple[int, ...]:
    """Return the numbers of units on each side whose states can be listed."""
    n_hidden, n_visible = layer.weight.shape
    return (n_hidden, n_visible) if layer.visible == "bernoulli" else (n_hidden,)


@torch.no_grad()
def exact_log_partition(layer: BoltzmannLayer) -> float:
    """Sum over all states of one side, the other side being summed in closed form.

    ``log Z = log sum_h e^{c^T h} prod_i (1 + e^{b_i + (W^T h)_i})``, or with the sides exchanged;
    over Gaussian visible units ``log sum_h e^{a^T h + h^T G h / 2} + n_visible log(2 pi) / 2``
    with ``a = c + W b`` and ``G = W W^T``. Where all units are Gaussian it is an integral.
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
    if len(b) < len(c):
        weight, c, b = weight.t(), b, c
    return float(
        _sum_states(len(c), len(b), weight, lambda h: h @ c + softplus(b + h @ weight).sum(1))
    )


def _gaussian_log_partition(weight: Tensor, c: Tensor, b: Tensor) -> float:
    """Logarithm of the integral of ``e^{-E}`` over Gaussian units on both sides.

    With ``P = I - W^T W`` and ``g = b + W^T c``:
    ``[g^T P^{-1} g - |b|^2 - log det P + (n_hidden + n_visible) log(2 pi)] / 2``.

    Raises
    ------
    ValueError
        If ``P`` is not positive definite: the integral is infinite.
    """
    precision = torch.eye(len(b), dtype=b.dtype, device=b.device) - weight.t() @ weight
    factor, failed = torch.linalg.cholesky_ex(precision)
    if failed:
        raise ValueError(
            "The RBM of linear units is no density: a singular value of its weights has reached "
            "1. Train it for fewer epochs (pretraining_max_iter), or set "
            "code_activation='logistic'."
        )
    tilt = (b + weight.t() @ c)[:, None]
    square = torch.linalg.solve_triangular(factor, tilt, upper=False).square().sum()
    n_units = len(b) + len(c)
    rest = 2 * factor.diagonal().log().sum() - n_units * math.log(2 * math.pi)
    return 0.5 * float(square - b.square().sum() - rest)


def _doubles(layer: BoltzmannLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Return weight, hidden and visible bias in the highest precision of their device."""
    device = layer.weight.device
    dtype = torch.float32 if device.type == "mps" else torch.float64
    weight, c, b = (p.detach().to(dtype) for p in layer.parameters())
    return weight, c, b


def _sum_states(n_units: int, width: int, like: Tensor, exponent) -> Tensor:  # type: ignore[no-untyped-def]
    """Logarithm of the sum of ``e^exponent(h)`` over all states of ``n_units`` bits."""
    places = torch.arange(n_units, device=like.device)
    size = max(1, CELLS // max(width, n_units))
    sums = []
    for start in range(0, 2**n_units, size):
        numbers = torch.arange(start, min(start + size, 2**n_units), device=like.device)
        states = (numbers[:, None] >> places) & 1
        sums.append(exponent(states.to(like.dtype)).logsumexp(0))
    return torch.stack(sums).logsumexp(0)


@torch.no_grad()
def annealed_log_partition(
    layer: BoltzmannLayer, base: Tensor, n_temperatures: int, n_runs: int, seed: int = 0
) -> float:
    """Estimate the partition function by annealed importance sampling.

    Machines with couplings ``t W``, hidden biases ``t c`` and visible biases
    ``(1 - t) b_0 + t b`` lead from independent units, whose partition function is known, to the
    machine. A run passes through them, ``t`` from 0 to 1 in even steps, with one Gibbs step in
    each, and has the weight ``w = prod_k e^{F_{k-1}(v_k) - F_k(v_k)}``. The mean weight is the
    ratio of the partition functions. Its logarithm errs on the low side.

    Parameters
    ----------
    layer : BoltzmannLayer
    base : Tensor of shape (n_visible,)
        ``b_0``. Rates of the training rows make a good start.
    n_temperatures, n_runs : int
    seed : int
        The same seed gives the same estimate.

    Returns
    -------
    float

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
        field = torch.addmm(c, v, weight.t())
        bias = base + number * shift
        # Differences are formed before they are summed: in float32 a whole energy is too coarse.
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
    """Warn where the estimate rests on few of the runs: ``(sum w)^2 / sum w^2`` of them."""
    effective = float((2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0)).exp())
    if effective < LEAST_AGREEMENT * len(log_weight):
        warnings.warn(
            f"The partition function rests on about {effective:.1f} of {len(log_weight)} annealed "
            f"runs and is likely too low, so likelihoods are too high. Call log_partition with a "
            f"larger n_temperatures.",
            stacklevel=2,
        )


def _draw(field: Tensor, is_bits: bool, draws: torch.Generator) -> Tensor:
    """Draw bits of the given logits, or Gaussian numbers of the given means."""
    if is_bits:
        uniform = torch.rand(field.shape, generator=draws, device=field.device)
        return (uniform < field.sigmoid()).to(field.dtype)
    return field + torch.randn(field.shape, generator=draws, device=field.device)


def pseudo_likelihood(layer: BoltzmannLayer, v: Tensor, columns: Tensor) -> Tensor:
    """Mean over some units of ``log p(v_i | all other visible units)``, in nats.

    ``log p(v_i | rest) = -F(v) - log sum_t e^{-F(v; v_i = t)}``, the sum over both bits or, for
    a Gaussian unit, an integral on a grid.

    Parameters
    ----------
    layer : BoltzmannLayer
    v : Tensor of shape (n_rows, n_visible)
    columns : Tensor of shape (n_rows, n_columns), integer
        Numbers of the units, for each row.

    Returns
    -------
    Tensor of shape (n_rows,)
    """
    field = layer.hidden_input(v)[:, None]
    weight, bias = layer.weight.t()[columns], layer.visible_bias[columns]
    present = v.gather(1, columns)
    grid, step = _unit_values(layer)

    def log_mass(values: Tensor) -> Tensor:
        moved = torch.addcmul(field, (values - present)[..., None], weight)
        own = values * bias if layer.visible == "bernoulli" else -0.5 * (values - bias).square()
        return softplus(moved).sum(2) + own

    masses = torch.stack([log_mass(values[columns]) for values in grid])
    total = masses.logsumexp(0) + step.log()[columns]
    return (log_mass(present) - total).mean(1)


@torch.no_grad()
def _unit_values(layer: BoltzmannLayer) -> tuple[Tensor, Tensor]:
    """Return values of each visible unit, ``(n_values, n_visible)``, and the steps between."""
    bias, weight = layer.visible_bias, layer.weight
    if layer.visible == "bernoulli":
        return torch.stack([torch.zeros_like(bias), torch.ones_like(bias)]), torch.ones_like(bias)
    least = bias + weight.clamp_max(0).sum(0) - 5
    most = bias + weight.clamp_min(0).sum(0) + 5
    n_points = min(MOST_POINTS, 1 + math.ceil(float((most - least).max()) / GRID_STEP))
    step = (most - least) / (n_points - 1)
    places = torch.arange(n_points, device=bias.device, dtype=bias.dtype)
    return least + places[:, None] * step, step
