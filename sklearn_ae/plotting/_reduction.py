"""Reduce codes to at most two dimensions, with names for the axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.decomposition import PCA


def to_plane(
    codes: np.ndarray, reduction: str, components: Any, random_state: Any
) -> tuple[np.ndarray, list[str]]:
    """Return codes as positions of shape (n_samples, 1 or 2), and the names of the axes."""
    if codes.ndim != 2 or not len(codes):
        raise ValueError(
            f"codes must have the shape (n_samples, n_components) and at least one sample; got "
            f"the shape {codes.shape}."
        )
    if reduction not in ("pca", "tsne"):
        raise ValueError(f'reduction must be "pca" or "tsne", got {reduction!r}.')
    if components is None and codes.shape[1] <= 2:
        components = tuple(range(codes.shape[1]))
    if components is not None:
        chosen = check_components(components, codes.shape[1])
        return codes[:, chosen], [f"code {index}" for index in chosen]
    if len(codes) < 3:
        raise ValueError(
            f"{len(codes)} samples are too few to reduce their codes; pass at least three, or set "
            f"components=(0, 1)."
        )
    return (_by_pca if reduction == "pca" else _by_tsne)(codes, random_state)


def check_components(components: Any, n_components: int) -> list[int]:
    """Validate one or two different columns of the code and return them as a list."""
    given: Sequence[Any] = np.atleast_1d(components).tolist()
    # Not isinstance, which accepts booleans.
    valid = all(type(index) is int and 0 <= index < n_components for index in given)
    if not valid or len(given) not in (1, 2) or len(set(given)) < len(given):
        raise ValueError(
            f"components must be one or two different numbers from 0 to {n_components - 1}, "
            f"got {components!r}."
        )
    return list(given)


def _by_pca(codes: np.ndarray, random_state: Any) -> tuple[np.ndarray, list[str]]:
    if not np.ptp(codes, axis=0).any():
        raise ValueError(
            "All codes are equal, so they have no principal components; set components=(0, 1)."
        )
    pca = PCA(2, random_state=random_state)
    positions = pca.fit_transform(codes)
    names = [
        f"{which} principal component of the codes ({ratio:.0%})".replace("%", " %")
        for which, ratio in zip(("first", "second"), pca.explained_variance_ratio_, strict=True)
    ]
    return positions, names


def _by_tsne(codes: np.ndarray, random_state: Any) -> tuple[np.ndarray, list[str]]:
    from sklearn.manifold import TSNE

    # The default perplexity, which must be less than the number of samples.
    perplexity = min(30.0, (len(codes) - 1) / 3)
    positions = TSNE(2, perplexity=perplexity, random_state=random_state).fit_transform(codes)
    return positions, [f"t-SNE of the codes, axis {axis} (no unit)" for axis in (0, 1)]
