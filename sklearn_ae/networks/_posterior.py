"""Draws of clean samples given corrupted ones, by Tweedie's formula.

Under Gaussian noise of deviation ``s`` the mean of the clean samples given a corrupted one is
``r(x)``, and their covariance is ``s^2 dr/dx``. The draw needs a root of that matrix times a
Gaussian vector. Lanczos' method finds it from products with the Jacobian, which is never formed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MAX_STEPS = 64
"""Number of Lanczos steps at most: the result is exact up to that rank of the Jacobian."""

BASIS_ENTRIES = 2**24
"""Number of entries of the Lanczos vectors that are kept at a time."""

Function = Callable[[Tensor], Tensor]


def symmetric_jacobian(function: Function, x: Tensor) -> tuple[Tensor, Function]:
    """Return a function's values and the products with the symmetric part of its Jacobian.

    Parameters
    ----------
    function : callable
        Maps ``(batch, n_features)`` to the same shape, each sample by itself.
    x : Tensor of shape (batch, n_features)

    Returns
    -------
    values : Tensor of shape (batch, n_features)
    product : callable
        Maps vectors ``v``, one per sample, to ``(J v + J^T v) / 2``.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        values = function(x)
        # J^T u is linear in u, and its derivative with respect to u is J.
        dummy = torch.zeros_like(values, requires_grad=True)
        (linear,) = torch.autograd.grad(values, x, dummy, create_graph=True)

    def product(v: Tensor) -> Tensor:
        (transposed,) = torch.autograd.grad(values, x, v, retain_graph=True)
        (straight,) = torch.autograd.grad(
            linear, dummy, v, retain_graph=True, materialize_grads=True
        )
        return (straight + transposed) / 2

    return values.detach(), product


def root_times(product: Function, noise: Tensor, n_steps: int) -> Tensor:
    """Multiply a square root of each sample's symmetric matrix by a vector.

    The matrices' eigenvalues are clamped to [0, 1] first. The result is exact if a matrix has
    fewer than ``n_steps`` distinct eigenvalues, zero counted, and else the best that a polynomial
    of this degree makes of the root.

    Parameters
    ----------
    product : callable
        Maps ``(batch, n_features)`` to the matrices' products with these vectors.
    noise : Tensor of shape (batch, n_features)
        The vectors.
    n_steps : int

    Returns
    -------
    Tensor of shape (batch, n_features)

    References
    ----------
    Golub, G. H. and Van Loan, C. F. (2013). Matrix computations, chapter 10. Johns Hopkins.
    """
    length = noise.norm(dim=1, keepdim=True)
    basis = noise.new_zeros(len(noise), n_steps, noise.shape[1])
    basis[:, 0] = noise / length.clamp_min(torch.finfo(noise.dtype).tiny)
    matrix = noise.new_zeros(len(noise), n_steps, n_steps)
    for step in range(n_steps):
        image = product(basis[:, step])
        matrix[:, step, step] = (basis[:, step] * image).sum(1)
        # Twice against all: the recurrence alone loses orthogonality to rounding errors.
        vectors = basis[:, : step + 1]
        for _ in range(2):
            image = image - (vectors.mT @ (vectors @ image[..., None]))[..., 0]
        size = image.norm(dim=1)
        # What is left of a vector whose space is exhausted is rounding error.
        rounding = 100 * torch.finfo(size.dtype).eps * matrix.abs().amax((1, 2))
        size = torch.where(size > rounding, size, 0.0)
        if step + 1 == n_steps or not size.any():
            break
        matrix[:, step, step + 1] = matrix[:, step + 1, step] = size
        basis[:, step + 1] = torch.where(size > 0, 1 / size, 0.0)[:, None] * image
    values, axes = torch.linalg.eigh(matrix)
    weights = axes @ (values.clamp(0, 1).sqrt() * axes[:, 0])[..., None]
    return length * (basis.mT @ weights)[..., 0]


def draw_clean(function: Function, x: Tensor, deviation: Tensor, n_steps: int) -> Tensor:
    """Draw clean samples given corrupted ones, from ``N(r(x), s^2 dr/dx)``.

    Parameters
    ----------
    function : callable
        The reconstruction ``r``, on samples in network units.
    x : Tensor of shape (batch, n_features)
    deviation : Tensor of shape ()
        Standard deviation ``s`` of the noise.
    n_steps : int
        Number of Lanczos steps at most.

    Returns
    -------
    Tensor of shape (batch, n_features)

    References
    ----------
    Efron, B. (2011). Tweedie's formula and selection bias. Journal of the American Statistical
    Association, 106(496), 1602-1614.
    """
    n_features = x.shape[1]
    n_steps = min(n_features, n_steps)
    at_once = max(1, BASIS_ENTRIES // (n_steps * n_features))
    noise, drawn = torch.randn_like(x), []
    for part, part_noise in zip(x.split(at_once), noise.split(at_once), strict=True):
        mean, product = symmetric_jacobian(function, part)
        drawn.append(mean + deviation * root_times(product, part_noise, n_steps))
    return torch.cat(drawn)
