"""Labels of unlabelled samples, by diffusion over their nearest neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

N_NEIGHBORS = 10
"""Number of neighbours of each sample in the graph."""

DIFFUSION = 0.9
"""Fraction of its scores that a sample takes over from its neighbours."""

SHARPNESS = (0.5, 1.0, 2.0, 4.0)
"""Candidates for the exponent of the scores."""

DOUBT = (0.02, 0.1, 0.3, 0.6, 1.0)
"""Candidates for the weight of the class frequencies in the probabilities."""

N_LEFT_OUT = 200
"""Maximum number of labelled samples that are left out, one at a time, to compare candidates."""

MAX_STEPS = 200
"""Maximum number of steps of conjugate gradients."""

TOLERANCE = 1e-8
"""Norm of the residual, relative to that of the right-hand side, at which they stop."""

UNREACHED = 1e-6
"""Score, relative to that of one label, below which the class frequencies predominate."""

ROWS_AT_ONCE = 1024
"""Number of samples whose distances to all others are in memory."""

_TINY = np.finfo(np.float64).tiny


class PseudoLabels(NamedTuple):
    """Most probable classes of samples.

    Attributes
    ----------
    classes : ndarray of shape (n_samples,), dtype int
        Index of the class.
    certainty : ndarray of shape (n_samples,)
        Fraction of the entropy of the class frequencies by which the entropy of the sample's
        probabilities is smaller: from 0, nothing is known, to 1.
    likelihood : float
        Mean log-likelihood of a label given the other ones, in nats.
    """

    classes: np.ndarray
    certainty: np.ndarray
    likelihood: float


def propagate(
    codes: np.ndarray, classes: np.ndarray, weight: np.ndarray, n_classes: int, seed: int
) -> PseudoLabels:
    r"""Predict classes by those of the nearest samples.

    With the symmetric graph of nearest neighbours, whose edges have the weights
    ``exp(-d_ij^2 / (s_i s_j))``, the distance ``s_i`` to the last neighbour as the unit, the
    scores solve

    .. math:: (I - \alpha D^{-1/2} A D^{-1/2}) F = Y

    for the label weights ``Y`` (Zhou et al., 2004). The probability of class ``c`` is
    ``(1 - d) F_ic^b / sum_k F_ik^b + d p_c``, where ``p`` are the class frequencies. ``b`` and
    ``d`` maximise the likelihood of each label given the other ones, so that the certainty is
    zero where neighbours do not predict labels. Equal samples are one node of the graph.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_components)
        Codes or features of the samples.
    classes : ndarray of shape (n_samples,), dtype int
        Index of the class, -1 for unlabelled samples.
    weight : ndarray of shape (n_samples,)
        Weights of the labels.
    n_classes : int
    seed : int
        Seed of the choice of labels that are left out, if there are more than `N_LEFT_OUT`.

    Returns
    -------
    PseudoLabels
    """
    nodes, of_node = np.unique(codes, axis=0, return_inverse=True)
    of_node = of_node.reshape(-1)  # NumPy 2.0 returns another shape
    labels = np.zeros((len(nodes), n_classes))
    known = classes >= 0
    np.add.at(labels, (of_node[known], classes[known]), weight[known])
    labels /= weight[known].mean()
    prior = labels.sum(axis=0) / labels.sum()
    labelled = np.flatnonzero(labels.any(axis=1))
    if len(nodes) < 3 or len(labelled) < 2 or prior.max() == 1:
        return PseudoLabels(np.full(len(codes), prior.argmax()), np.zeros(len(codes)), -np.inf)
    tested = labelled
    if len(labelled) > N_LEFT_OUT:
        chosen = np.random.default_rng(seed).choice(len(labelled), N_LEFT_OUT, replace=False)
        tested = np.sort(labelled[chosen])
    scores, without_own = _scores(_normalized_graph(nodes), labels, tested)
    scores, without_own = _proportions(scores, prior), _proportions(without_own, prior)
    sharpness, doubt, likelihood = _calibrated(without_own, labels[tested], prior)
    probabilities = _probabilities(scores, sharpness, doubt, prior)
    certainty = np.clip(1 - _entropy(probabilities) / _entropy(prior), 0, 1)
    return PseudoLabels(probabilities.argmax(axis=1)[of_node], certainty[of_node], likelihood)


def _normalized_graph(nodes: np.ndarray) -> sp.csr_array:
    """Return the symmetric graph, each edge divided by the root of both degrees."""
    n_nodes = len(nodes)
    squares, neighbors = nearest(nodes, min(N_NEIGHBORS, n_nodes - 1))
    unit = np.sqrt(squares[:, -1])
    # Rounding may make distances between nearly equal codes zero; any others are then infinite.
    with np.errstate(over="ignore"):
        weights = np.exp(-squares / np.maximum(unit[:, None] * unit[neighbors], _TINY))
    starts = np.arange(0, neighbors.size + 1, neighbors.shape[1])
    graph = sp.csr_array((weights.ravel(), neighbors.ravel(), starts), shape=(n_nodes, n_nodes))
    graph = graph.maximum(graph.T)
    scale = sp.diags_array(1 / np.sqrt(np.maximum(graph.sum(axis=1), _TINY)))
    return (scale @ graph @ scale).tocsr()


def nearest(nodes: np.ndarray, n_neighbors: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared distances to the nearest other nodes, increasing, and their indices."""
    # By torch: OpenMP threads of others hang in a process that was forked after their use.
    points = torch.from_numpy(nodes).double()
    points = points - points.mean(dim=0)  # the products below cancel less
    lengths = points.square().sum(dim=1)
    squares, neighbors = [], []
    for rows in torch.arange(len(points)).split(ROWS_AT_ONCE):
        distances = lengths[rows, None] + lengths - 2 * points[rows] @ points.t()
        distances[torch.arange(len(rows)), rows] = torch.inf  # not a neighbour of itself
        found = distances.clamp_(min=0).topk(n_neighbors, largest=False)
        squares.append(found.values)
        neighbors.append(found.indices)
    return torch.cat(squares).numpy(), torch.cat(neighbors).numpy()


def _scores(
    graph: sp.csr_array, labels: np.ndarray, tested: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Diffuse the labels, and for the nodes `tested` also those of all other nodes only.

    Returns
    -------
    scores : ndarray of shape (n_nodes, n_classes)
    without_own : ndarray of shape (n_tested, n_classes)
        Scores of the nodes `tested`, each without its own labels.
    """
    n_classes = labels.shape[1]
    units = np.zeros((len(labels), len(tested)))
    units[tested, np.arange(len(tested))] = 1
    solved = _solve(graph, np.hstack([labels, units]))
    scores, responses = solved[:, :n_classes], solved[:, n_classes:]
    own = responses[tested, np.arange(len(tested))]  # the diagonal of the inverse
    return scores, scores[tested] - own[:, None] * labels[tested]


def _solve(graph: sp.csr_array, right: np.ndarray) -> np.ndarray:
    """Solve ``(I - DIFFUSION * graph) X = right`` by conjugate gradients, each column alone."""
    solution, residual = np.zeros_like(right), right.copy()
    direction, square = residual.copy(), (residual**2).sum(axis=0)
    enough = TOLERANCE**2 * square
    for _ in range(MAX_STEPS):
        image = direction - DIFFUSION * (graph @ direction)
        # A column that is solved exactly, or zero, has the step zero.
        step = square / np.maximum((direction * image).sum(axis=0), _TINY)
        solution += step * direction
        residual -= step * image
        last, square = square, (residual**2).sum(axis=0)
        if (square <= enough).all():
            break
        direction = residual + square / np.maximum(last, _TINY) * direction
    return solution


def _proportions(scores: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Divide scores by their sums; those near zero become the class frequencies."""
    scores = np.maximum(scores, 0) + UNREACHED * prior
    proportions: np.ndarray = scores / scores.sum(axis=1, keepdims=True)
    return proportions


def _calibrated(
    without_own: np.ndarray, labels: np.ndarray, prior: np.ndarray
) -> tuple[float, float, float]:
    """Return the sharpness and the doubt of the largest likelihood of the labels, and this."""
    candidates = [(sharpness, doubt) for sharpness in SHARPNESS for doubt in DOUBT]

    def likelihood(candidate: tuple[float, float]) -> float:
        probabilities = _probabilities(without_own, *candidate, prior)
        total = (labels * np.log(np.maximum(probabilities, _TINY))).sum()
        return float(total / labels.sum())

    best = max(candidates, key=likelihood)
    return *best, likelihood(best)


def _probabilities(
    proportions: np.ndarray, sharpness: float, doubt: float, prior: np.ndarray
) -> np.ndarray:
    """Return the class probabilities."""
    powers = proportions**sharpness
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return (1 - doubt) * probabilities + doubt * prior


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy along the last axis, in nats."""
    entropy: np.ndarray = -(probabilities * np.log(np.maximum(probabilities, _TINY))).sum(axis=-1)
    return entropy
