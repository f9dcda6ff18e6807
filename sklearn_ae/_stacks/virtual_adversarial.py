"""The virtual adversarial loss: how much predictions change near a sample, at worst."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from sklearn_ae._stacks.propagation import nearest

REACH = 0.5
"""Radius of the neighbourhoods, relative to the median distance to the nearest sample."""

EQUAL = 1e-6
"""Distance, relative to the largest, up to which samples are equal but for rounding errors."""

MAX_COMPARED = 2_000
"""Maximum number of samples whose distances are compared."""


def neighborhood_radius(points: np.ndarray) -> float:
    """Return the radius within which a sample is expected to keep its class.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_features)
        Samples. NaN, which follows the end of a ragged sample, counts as zero.

    Returns
    -------
    radius : float
        `REACH` times the median of the distances of samples to the nearest different one; zero
        if all samples are equal.
    """
    different = np.unique(np.nan_to_num(points), axis=0)
    if len(different) < 2:
        return 0.0
    squares, _ = nearest(different, 1)
    apart = squares > EQUAL**2 * squares.max()
    return REACH * float(np.median(np.sqrt(squares[apart]))) if apart.any() else 0.0


def virtual_adversarial_loss(
    classifier: nn.Module, X: Tensor, output: Tensor, radius: float, n_features: int
) -> Tensor:
    r"""Return how much the prediction for each sample changes in the worst direction.

    .. math:: \mathrm{KL}(p(\cdot \mid x) \,\|\, p(\cdot \mid x + r)), \qquad
              r = \rho \, \frac{g}{\lVert g \rVert}, \qquad
              g = \nabla_{x'} \mathrm{KL}(p(\cdot \mid x) \,\|\, p(\cdot \mid x'))

    with the gradient at a random point at the distance :math:`\rho` from the sample. The
    prediction for the sample itself is held fixed. No label is needed (Miyato et al., 2019, with
    one step of the power iteration).

    Parameters
    ----------
    classifier : nn.Module
        Maps samples to logits of the classes.
    X : Tensor of shape (batch_size, n_inputs)
        NaN, which follows the end of a ragged sample, is not changed.
    output : Tensor of shape (batch_size, n_classes)
        Logits of the samples.
    radius : float
    n_features : int
        Number of inputs that are moved. Those that follow say which values are missing.

    Returns
    -------
    loss : Tensor of shape (batch_size,)
        In nats. Zero if the logits do not depend on the samples in a differentiable way.
    """
    expected, moves = log_softmax(output.detach(), dim=1), ~X.isnan()
    moves[:, n_features:] = False

    def moved(direction: Tensor) -> Tensor:
        direction = torch.where(moves, direction, 0)
        tiny = torch.finfo(X.dtype).tiny
        # In two steps: squares of the gradient of a certain prediction may underflow.
        direction = direction / direction.abs().amax(1, keepdim=True).clamp_min(tiny)
        direction = direction / direction.norm(dim=1, keepdim=True).clamp_min(tiny)
        return X + radius * direction

    probe = moved(torch.randn_like(X)).requires_grad_()
    change = _divergence(expected, classifier(probe)).sum()
    (gradient,) = torch.autograd.grad(change, probe, allow_unused=True)
    if gradient is None:  # bits, for example
        return X.new_zeros(len(X))
    return _divergence(expected, classifier(moved(gradient)))


def _divergence(expected: Tensor, output: Tensor) -> Tensor:
    """Return the divergence of each sample's prediction from the expected log-probabilities."""
    divergence: Tensor = (expected.exp() * (expected - log_softmax(output, dim=1))).sum(dim=1)
    return divergence
