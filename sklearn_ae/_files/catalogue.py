"""The classes that a file may contain. A name in a file is looked up here and never imported."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from sklearn_ae import networks
from sklearn_ae._compat.fitted import clusterings, private_estimators
from sklearn_ae._detection.members import Member
from sklearn_ae._estimator.code_densities import CodeKernelDensity
from sklearn_ae._estimator.inputs import TensorState
from sklearn_ae._imputation.calibration import Calibration
from sklearn_ae._tables.columns import Category, Number
from sklearn_ae._tables.table import Table
from sklearn_ae._training.keys import Grid
from sklearn_ae.autoencoder import Autoencoder
from sklearn_ae.belief_network import DeepBeliefNetwork
from sklearn_ae.boltzmann import RestrictedBoltzmannMachine
from sklearn_ae.contractive import ContractiveAutoencoder
from sklearn_ae.convolutional import ConvolutionalAutoencoder
from sklearn_ae.denoising import DenoisingAutoencoder
from sklearn_ae.hashing import SemanticHashing
from sklearn_ae.imputer import AutoencoderImputer
from sklearn_ae.lstm import LSTMAutoencoder
from sklearn_ae.networks._boltzmann import BoltzmannModule, BoltzmannNetwork
from sklearn_ae.networks._contractive import ContractiveModule
from sklearn_ae.networks._denoising import DenoisingModule
from sklearn_ae.networks._hashing import HashingModule
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._sparse import SparseModule
from sklearn_ae.networks._stack import StackNetwork
from sklearn_ae.networks._variational import VariationalModule
from sklearn_ae.outlier import AutoencoderOutlierDetector
from sklearn_ae.recursive import RecursiveAutoencoder
from sklearn_ae.sparse import SparseAutoencoder
from sklearn_ae.stacked import StackedAutoencoder
from sklearn_ae.stacked_classifier import StackedAutoencoderClassifier
from sklearn_ae.stacked_regressor import StackedAutoencoderRegressor
from sklearn_ae.unet import UNetAutoencoder
from sklearn_ae.variational import VariationalAutoencoder

DTYPES = {
    dtype.name: dtype
    for dtype in map(
        np.dtype, ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
    )
}
"""Dtypes of arrays, by name."""

NUMBER_TYPES: frozenset[type] = frozenset(
    (bool, int, float, *(dtype.type for dtype in DTYPES.values()))
)
"""Classes of numbers, which are values themselves in e.g. ``OneHotEncoder(dtype=np.float32)``."""

ABSTRACT_TYPES: frozenset[type] = frozenset(
    (object, str, np.number, np.integer, np.floating, np.bool_, np.datetime64)
)
"""Further classes by which columns of a table are selected."""

TYPES: dict[str, type] = {
    f"{each.__module__}.{each.__name__}": each for each in NUMBER_TYPES | ABSTRACT_TYPES
}
"""All these classes by their full name."""


def _by_name(classes: list[Any]) -> dict[str, Any]:
    return {cls.__name__: cls for cls in classes}


# FitCheckpoint is missing on purpose: a file must not determine where other files are written.
_OWN_ESTIMATORS: dict[str, type] = _by_name(
    [
        Autoencoder,
        AutoencoderImputer,
        AutoencoderOutlierDetector,
        ContractiveAutoencoder,
        ConvolutionalAutoencoder,
        DeepBeliefNetwork,
        DenoisingAutoencoder,
        LSTMAutoencoder,
        RecursiveAutoencoder,
        RestrictedBoltzmannMachine,
        SemanticHashing,
        SparseAutoencoder,
        StackedAutoencoder,
        StackedAutoencoderClassifier,
        StackedAutoencoderRegressor,
        UNetAutoencoder,
        VariationalAutoencoder,
    ]
)

_NETWORKS: dict[str, type] = _by_name(
    [
        *(getattr(networks, name) for name in networks.__all__ if name != "Network"),
        BoltzmannNetwork,
        StackNetwork,
    ]
)

ESTIMATORS: dict[str, type] = (
    _OWN_ESTIMATORS
    | _NETWORKS
    | _by_name([CodeKernelDensity, FrozenEstimator, GaussianMixture, Pipeline, StandardScaler])
)
"""Estimators whose parameters are validated when they are read, by name.

They are this package's, the specifications of its networks, and those of scikit-learn that the
package creates by default. Other estimators of scikit-learn are those of `sklearn_estimators`."""

MODULES: dict[str, type[AutoencoderModule]] = _by_name(
    [
        AutoencoderModule,
        BoltzmannModule,
        ContractiveModule,
        DenoisingModule,
        HashingModule,
        SparseModule,
        VariationalModule,
    ]
)
"""Torch modules of fitted autoencoders, by name."""

RECORDS: dict[str, Any] = _by_name(
    [Calibration, Category, Grid, Member, Number, Table, TensorState]
)
"""Named tuples in fitted attributes, by name."""


@functools.cache
def sklearn_estimators() -> dict[str, type]:
    """Return scikit-learn's estimators, by name; the first call imports all its modules."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated modules warn when they are imported
        found = dict(all_estimators()) | _by_name(private_estimators())
    return {name: cls for name, cls in found.items() if cls.__module__.startswith("sklearn.")}


@functools.cache
def functions() -> dict[str, dict[str, Any]]:
    """Return functions by name, by the parameter or attribute that they may be the value of."""
    from sklearn import feature_selection as selection

    numeric = _by_name(
        [
            *(np.absolute, np.arcsinh, np.arctan, np.cbrt, np.ceil, np.cos, np.degrees, np.exp),
            *(np.exp2, np.expm1, np.floor, np.log, np.log10, np.log1p, np.log2, np.negative),
            *(np.radians, np.reciprocal, np.rint, np.sign, np.sin, np.sinh, np.sqrt, np.square),
            *(np.tan, np.tanh),
        ]
    )
    scores = [
        *(selection.chi2, selection.f_classif, selection.f_regression, selection.r_regression),
        *(selection.mutual_info_classif, selection.mutual_info_regression),
    ]
    return {
        "func": numeric,
        "inverse_func": numeric,
        "score_func": _by_name(scores),
        "pooling_func": _by_name([np.max, np.mean, np.median, np.min]),
        "_kmeans_single": _by_name(clusterings()),
    }


def function_name(place: str, value: Any) -> str | None:
    """Return the name of a function as the value of a parameter, None if a file may not name it.

    Parameters
    ----------
    place : str
        Name of the parameter, also of a nested one: ``"step__func"``.
    value : object
    """
    name = getattr(value, "__name__", None)
    allowed = functions().get(place.rpartition("__")[2], {})
    return name if isinstance(name, str) and allowed.get(name) is value else None


def function_of(name: str) -> Any:
    """Return the function with a name; whether it may stand at its place is checked later.

    Raises
    ------
    ValueError
        If there is none.
    """
    for allowed in functions().values():
        if name in allowed:
            return allowed[name]
    raise ValueError(f"{name[:100]!r} is no function that a file may name")


def own_types() -> list[str]:
    """Return the full names of this package's classes that a file may contain.

    A caller of ``skops.io.load`` can pass them as its trusted types.

    Returns
    -------
    list of str
    """
    classes = [*ESTIMATORS.values(), *MODULES.values(), *RECORDS.values()]
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in classes}
    return sorted(name for name in names if name.startswith("sklearn_ae."))
