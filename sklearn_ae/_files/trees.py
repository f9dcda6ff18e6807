"""Trees of scikit-learn's compiled code, which reads memory at the indices that they contain.

Their arrays are checked before such an object is built, and neighbour trees are built again from
their samples.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sklearn_ae._compat.fitted import shared_features, tree_classes
from sklearn_ae._files.allowance import Allowance

LEAF = -1
"""Number of the children of a leaf."""

WORDS = 8
"""Number of integers in a set of categories, one bit for each of 256."""

METRICS = {
    "Euclidean": "euclidean",
    "Manhattan": "manhattan",
    "Chebyshev": "chebyshev",
    "Minkowski": "minkowski",
    "Haversine": "haversine",
    "Hamming": "hamming",
    "Canberra": "canberra",
    "BrayCurtis": "braycurtis",
}
"""Names of the distances without parameters, and of Minkowski's, by the start of their class."""


def tree_parts(tree: Any) -> dict[str, Any]:
    """Return the data of a tree of a forest."""
    _, (n_features, n_classes, n_outputs), state = tree.__reduce__()
    sizes = {"n_features": n_features, "n_classes": n_classes, "n_outputs": n_outputs}
    parts: dict[str, Any] = sizes | state
    return parts


def tree_from(allowance: Allowance, parts: dict[str, Any]) -> Any:
    """Build a tree of a forest from :func:`tree_parts`, if its indices are inside the tree."""
    sizes = [parts[name] for name in ("n_features", "n_outputs", "node_count", "max_depth")]
    nodes, values, n_classes = parts["nodes"], parts["values"], parts["n_classes"]
    n_features, n_outputs, n_nodes, _ = sizes
    if not set(map(type, sizes)) <= {int} or min(sizes) < 0:
        raise ValueError("a tree has sizes that are no integers")
    if n_classes.dtype != np.intp or n_classes.shape != (n_outputs,) or not (n_classes > 0).all():
        raise ValueError("a tree has numbers of classes that do not fit to its outputs")
    if values.shape != (n_nodes, n_outputs, n_classes.max(initial=0)):
        raise ValueError("a tree has values that do not fit to its nodes")
    if nodes.shape != (n_nodes,) or not n_nodes:
        raise ValueError("a tree has another number of nodes than it declares")
    left, right, feature = (nodes[name] for name in ("left_child", "right_child", "feature"))
    is_leaf = left == LEAF
    _check_children(left, right, is_leaf)
    if not (is_leaf | (feature >= 0) & (feature < n_features)).all():
        raise ValueError("a tree compares features that samples do not have")
    allowance.take(2 * (nodes.nbytes + values.nbytes))
    tree = tree_classes()[0](n_features, n_classes, n_outputs)
    names = ("max_depth", "node_count", "nodes", "values")
    tree.__setstate__({name: parts[name] for name in names})
    return tree


def _check_children(left: np.ndarray, right: np.ndarray, is_leaf: np.ndarray) -> None:
    """Refuse children that are outside of the tree or before their parent: walks would not end."""
    places = np.arange(len(left))
    for child in (left.astype(np.int64), right.astype(np.int64)):
        if not (is_leaf | (places < child) & (child < len(left))).all():
            raise ValueError("a tree has children that are not behind their parents")


def predictor_parts(tree: Any) -> dict[str, Any]:
    """Return the data of a tree of histogram gradient boosting."""
    names = ("nodes", "binned_left_cat_bitsets", "raw_left_cat_bitsets")
    return {name: getattr(tree, name) for name in names}


def predictor_from(allowance: Allowance, parts: dict[str, Any]) -> Any:
    """Build a tree of histogram gradient boosting, if its indices are inside the tree."""
    nodes, bits = parts["nodes"], parts["raw_left_cat_bitsets"]
    if nodes.ndim != 1 or not len(nodes):
        raise ValueError("a tree has no nodes")
    is_leaf = nodes["is_leaf"].astype(bool)
    _check_children(nodes["left"], nodes["right"], is_leaf)
    shapes = {array.shape for array in (bits, parts["binned_left_cat_bitsets"])}
    if shapes != {(len(bits), WORDS)}:
        raise ValueError("a tree has sets of categories of the wrong shape")
    is_set = ~is_leaf & nodes["is_categorical"].astype(bool)
    if (nodes["bitset_idx"][is_set] >= len(bits)).any() or (nodes["feature_idx"] < 0).any():
        raise ValueError("a tree refers to sets of categories that it does not have")
    return tree_classes()[1](**parts)


def neighbors_parts(tree: Any) -> dict[str, Any]:
    """Return the samples of a neighbour tree, and how it was built.

    Raises
    ------
    ValueError
        If its distance has parameters other than Minkowski's power.
    """
    state = tree.__getstate__()
    distance, sample_weight = state[-2:]
    start = type(distance).__name__.partition("Distance")[0]
    power, vector, _ = distance.__getstate__()
    if start not in METRICS or (start == "Minkowski" and len(vector) > 1):
        raise ValueError(f"a tree of neighbours by {type(distance).__name__}")
    metric = {"metric": METRICS[start]} | ({"p": power} if start == "Minkowski" else {})
    weight = None if sample_weight is None else np.asarray(sample_weight)
    data = np.asarray(state[0])
    return {"data": data, "leaf_size": state[4], "distance": metric, "sample_weight": weight}


def neighbors_from(cls: Any, allowance: Allowance, parts: dict[str, Any]) -> Any:
    """Build a neighbour tree from its samples."""
    data, leaf_size, metric = parts["data"], parts["leaf_size"], parts["distance"]
    if data.dtype != np.float64 or data.ndim != 2 or not data.size:
        raise ValueError("a tree of neighbours has no samples")
    if metric["metric"] not in METRICS.values() or type(leaf_size) is not int or leaf_size < 1:
        raise ValueError("a tree of neighbours has another distance or size of its leaves")
    n_levels = 1 + int(math.log2(max(1, (len(data) - 1) / leaf_size)))
    # Bounds of each node, its description, and the order of the samples.
    allowance.take(data.nbytes + 2**n_levels * (16 * data.shape[1] + 64) + 8 * len(data))
    return cls(data, leaf_size=leaf_size, sample_weight=parts["sample_weight"], **metric)


def check_trees(estimator: Any) -> None:
    """Refuse an estimator whose trees would read features that its samples do not have.

    Raises
    ------
    ValueError
    """
    tree_class, predictor_class = tree_classes()
    attributes, name = vars(estimator), type(estimator).__name__
    tree: Any = attributes.get("tree_")
    if isinstance(tree, tree_class) and tree.n_features != estimator.n_features_in_:
        raise ValueError(f"the tree of {name} has another number of features")
    if "_predictors" in attributes:
        _check_boosting(estimator, predictor_class)
    if "estimators_" not in attributes or (n_features := shared_features(estimator)) is None:
        return
    for member in np.ravel(np.array(estimator.estimators_, object)):
        if member.tree_.n_features != n_features:
            raise ValueError(f"the trees of {name} have other numbers of features")
    for features in attributes.get("estimators_features_", []):
        if len(features) != n_features:
            raise ValueError(f"the trees of {name} receive other numbers of features")


def _check_boosting(estimator: Any, predictor_class: Any) -> None:
    """Check the features of histogram gradient boosting, and which of them are categorical."""
    n_features, mapper = estimator.n_features_in_, estimator._bin_mapper
    is_categorical = mapper.is_categorical_
    known = mapper.bin_thresholds_
    if len(is_categorical) != n_features or len(known) != n_features:
        raise ValueError("a gradient boosting has bins for another number of features")
    for predictor in (each for trees in estimator._predictors for each in trees):
        if not isinstance(predictor, predictor_class):
            raise ValueError("a gradient boosting contains something else than trees")
        nodes = predictor.nodes[~predictor.nodes["is_leaf"].astype(bool)]
        if (nodes["feature_idx"] >= n_features).any():
            raise ValueError("a gradient boosting compares features that samples do not have")
        is_set = nodes["is_categorical"].astype(bool)
        if not is_categorical[nodes["feature_idx"][is_set]].all():
            raise ValueError("a gradient boosting takes numbers for categories")
