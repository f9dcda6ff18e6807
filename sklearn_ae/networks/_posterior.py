"""Draws of clean samples given corrupted ones, by Tweedie's formula.

Under Gaussian noise of standard deviation ``s``, the mean of the clean samples given a corrupted
one is the reconstruction ``r(x)``, and their covariance is ``s^2 dr/dx``. A draw requires a square
root of this matrix times a Gaussian vector. Lanczos' method approximates it with products of the
Jacobian and vectors, so that the matrix is never stored.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

MAX_STEPS = 64
"""Maximum number of Lanczos steps. The result is exact for Jacobians of a smaller rank."""

BASIS_ENTRIES = 2**24
"""Maximum number of entries of the Lanczos vectors in memory at a time."""

Function = Callable[[Tensor], Tensor]


def symmetric_jacobian(function: Function, x: Tensor) -> tuple[Tensor, Function]:
    """Return the values of a function, and products with the symmetric part of its Jacobian.

    Parameters
    ----------
    function : callable
        Maps ``(batch, n_features)`` to the same shape, each sample independently.
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
        # Forward products J v from two backward passes: J^T u is linear in u, so that its
        # derivative with respect to u, applied to v, is J v at any u.
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
    """Multiply the square root of one symmetric matrix per sample by a vector.

    The eigenvalues of the matrices are first clamped to [0, 1]. The result is exact if a matrix
    has fewer than ``n_steps`` distinct eigenvalues, including zero. Otherwise the root is
    approximated by a polynomial of degree ``n_steps - 1``.

    Parameters
    ----------
    product : callable
        Maps one vector per sample, ``(batch, n_features)``, to the products with the matrices.
    noise : Tensor of shape (batch, n_features)
        The vectors.
    n_steps : int
        Maximum number of Lanczos steps.

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
        # Orthogonalise against all vectors, twice: under rounding errors, the three-term
        # recurrence loses orthogonality.
        vectors = basis[:, : step + 1]  # (batch, step + 1, n_features)
        for _ in range(2):
            image = image - (vectors.mT @ (vectors @ image[..., None]))[..., 0]
        size = image.norm(dim=1)
        # Once the vectors span an invariant subspace, the remainder is only rounding error.
        rounding = 100 * torch.finfo(size.dtype).eps * matrix.abs().amax((1, 2))
        size = torch.where(size > rounding, size, 0.0)
        if step + 1 == n_steps or not size.any():
            break
        matrix[:, step, step + 1] = matrix[:, step + 1, step] = size
        basis[:, step + 1] = torch.where(size > 0, 1 / size, 0.0)[:, None] * image
    # noise = length * basis[0], so f(A) noise is approximately length * basis^T f(matrix) e_0.
    values, axes = torch.linalg.eigh(matrix)
    weights = axes @ (values.clamp(0, 1).sqrt() * axes[:, 0])[..., None]
    result: Tensor = length * (basis.mT @ weights)[..., 0]
    return result


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
        Maximum number of Lanczos steps.

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
    chunks = zip(torch.split(x, at_once), torch.split(noise, at_once), strict=True)
    for chunk, chunk_noise in chunks:
        mean, product = symmetric_jacobian(function, chunk)
        drawn.append(mean + deviation * root_times(product, chunk_noise, n_steps))
    return torch.cat(drawn)
