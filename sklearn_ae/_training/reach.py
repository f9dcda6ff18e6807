"""Bounds for samples so far from the training samples that arithmetic on them would overflow.

The largest float, often used as a sentinel, is finite, but its square is not, and sums of such
squares are infinite or NaN. Methods of fitted estimators therefore bound the inputs of a network,
and the scores of samples that reach the bound are ``-inf``.
"""

from __future__ import annotations

import torch
from torch import Tensor

FARTHEST = 2.0**40
"""Largest absolute value in network units, about 1e12 standard deviations.

Its square is 2^80, so products with weights and sums over features do not overflow in float32,
whose range ends at 2^128. The bound is the same in float64: results do not depend on the dtype.
"""

FARTHEST_CODE = 2.0**56
"""Largest absolute value of a code that is decoded; the codes of bounded samples are smaller."""


def within_reach(x: Tensor) -> Tensor:
    """Bound values in network units. NaN, which ends a sequence, stays NaN."""
    return x.clamp(-FARTHEST, FARTHEST)


def codes_within_reach(z: Tensor) -> Tensor:
    """Bound codes before they are decoded."""
    return z.clamp(-FARTHEST_CODE, FARTHEST_CODE)


def lowest_if_far(scores: Tensor, x: Tensor) -> Tensor:
    """Replace NaN, and the scores of samples that reach the bound, by ``-inf``.

    Parameters
    ----------
    scores : Tensor of shape (n_samples,)
    x : Tensor of shape (n_samples, n_features)
        The samples, as :func:`within_reach` returns them.

    Returns
    -------
    Tensor of shape (n_samples,)
    """
    # A sum and not `any`: the export to ONNX has the sum.
    is_far = (x.abs() >= FARTHEST).long().sum(1) > 0
    return scores.masked_fill(is_far | scores.isnan(), -torch.inf)
