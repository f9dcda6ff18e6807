"""Classes of scikit-learn that fitted estimators contain, most of them private.

They are imported when they are needed: this package is imported without most of scikit-learn.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from inspect import isclass
from typing import Any

PRIVATE_ESTIMATORS = {
    "sklearn.calibration": ("_SigmoidCalibration", "_TemperatureScaling"),
    "sklearn.ensemble._hist_gradient_boosting.binning": ("_BinMapper",),
    "sklearn.gaussian_process._gpc": ("_BinaryGaussianProcessClassifierLaplace",),
    "sklearn.impute._iterative": ("IterativeImputer",),
    "sklearn.linear_model._ridge": ("_IdentityClassifier", "_IdentityRegressor", "_RidgeGCV"),
    "sklearn.model_selection._search_successive_halving": (
        "HalvingGridSearchCV",
        "HalvingRandomSearchCV",
    ),
    "sklearn.multiclass": ("_ConstantPredictor",),
}
"""Estimators that ``all_estimators`` omits, by module: parts of others, and experimental ones."""

VALUES = {
    "sklearn.calibration": ("_CalibratedClassifier",),
    "sklearn.cluster._bisect_k_means": ("_BisectingTree",),
    "sklearn.compose": ("make_column_selector",),
    "sklearn.neural_network._stochastic_optimizers": ("AdamOptimizer", "SGDOptimizer"),
}
"""Classes whose objects contain nothing but data and estimators, by module."""


def _existing(names: dict[str, tuple[str, ...]]) -> list[type]:
    """Return the classes that the installed version of scikit-learn has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [(import_module(module), each) for module, each in names.items()]
    return [getattr(module, n) for module, each in found for n in each if hasattr(module, n)]


def private_estimators() -> list[type]:
    """Return estimators that ``sklearn.utils.all_estimators`` omits."""
    return _existing(PRIVATE_ESTIMATORS)


def value_classes() -> list[type]:
    """Return classes whose objects consist of their attributes: kernels, splitters and others."""
    from sklearn import model_selection
    from sklearn.gaussian_process import kernels

    public = [*vars(kernels).values(), *vars(model_selection).values()]
    bases = kernels.Kernel, model_selection.BaseCrossValidator, model_selection.BaseShuffleSplit
    return [
        *(cls for cls in public if isclass(cls) and issubclass(cls, bases)),
        *_existing(VALUES),
    ]


def loss_classes() -> list[type]:
    """Return the classes of the loss functions that fitted linear models contain."""
    from sklearn._loss import _loss, link, loss
    from sklearn.linear_model import _sgd_fast

    found = [
        cls
        for module in (_loss, link, loss, _sgd_fast)
        for cls in vars(module).values()
        # In scikit-learn 1.8 some give the last part of the module's name only.
        if isinstance(cls, type)
        and cls.__module__ in (module.__name__, module.__name__.rpartition(".")[2])
    ]
    return list(dict.fromkeys(found))


def imputation_class() -> Any:
    """Return the class of the steps of an ``IterativeImputer``."""
    from sklearn.impute._iterative import _ImputerTriplet

    return _ImputerTriplet


def neighbor_classes() -> tuple[Any, Any]:
    """Return the classes of the trees by which neighbours are found."""
    from sklearn.neighbors import BallTree, KDTree

    return KDTree, BallTree


def tree_classes() -> tuple[Any, Any]:
    """Return the classes of the trees of forests, and of histogram gradient boosting."""
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.tree._tree import Tree

    return Tree, TreePredictor


def shared_features(estimator: Any) -> int | None:
    """Return the number of features that all trees of an ensemble receive without a check.

    None if the estimator checks the samples for each of its trees.
    """
    from sklearn.ensemble import IsolationForest
    from sklearn.ensemble._forest import BaseForest
    from sklearn.ensemble._gb import BaseGradientBoosting

    if isinstance(estimator, IsolationForest):
        return int(estimator._max_features)
    if isinstance(estimator, (BaseForest, BaseGradientBoosting)):
        return int(estimator.n_features_in_)
    return None


def clusterings() -> list[Any]:
    """Return the functions that fitted bisecting k-means refers to."""
    from sklearn.cluster import _bisect_k_means as module

    return [module._kmeans_single_elkan, module._kmeans_single_lloyd]


__all__ = [
    "clusterings",
    "imputation_class",
    "loss_classes",
    "neighbor_classes",
    "private_estimators",
    "shared_features",
    "tree_classes",
    "value_classes",
]
