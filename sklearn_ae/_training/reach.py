"""Samples so far from the training samples that arithmetic on them would overflow.

A sentinel such as the largest float is finite, but its square is not, and sums of such numbers
are infinite or NaN. Methods of fitted estimators therefore bound what a network receives, and
scores of samples that reach the bound are ``-inf``.
"""

from __future__ import annotations

import torch
from torch import Tensor

FARTHEST = 2.0**40
"""Largest size of a value in network units, about 1e12 standard deviations.

Squares are 2^80, so that products with weights, and sums over features, are held by float32. It is
the same in float64: results do not depend on the type.
"""

FARTHEST_CODE = 2.0**56
"""Largest size of a code that is decoded: beyond those that bounded samples are given."""


def within_reach(x: Tensor) -> Tensor:
    """Bound values in network units; NaN, which ends a sequence, is left."""
    return x.clamp(-FARTHEST, FARTHEST)


def codes_within_reach(z: Tensor) -> Tensor:
    """Bound codes that are to be decoded."""
    return z.clamp(-FARTHEST_CODE, FARTHEST_CODE)


def lowest_if_far(scores: Tensor, x: Tensor) -> Tensor:
    """Replace scores of samples that reach the bound, and those that are NaN, by ``-inf``.

    Parameters
    ----------
    scores : Tensor of shape (n_samples,)
    x : Tensor of shape (n_samples, n_features)
        The samples, as :func:`within_reach` returns them.
    """
    is_far = (x.abs() >= FARTHEST).long().sum(1) > 0
    return scores.masked_fill(is_far | scores.isnan(), -torch.inf)
