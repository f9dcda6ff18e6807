"""What may stand in a file: the classes that a name in it can mean, and no others."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from sklearn_ae._compat import loss_classes

DTYPES = {
    dtype.name: dtype
    for dtype in map(
        np.dtype, ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
    )
}
"""Types of the entries of arrays, by name."""

NUMBER_TYPES: frozenset[type] = frozenset(
    (bool, int, float, *(dtype.type for dtype in DTYPES.values()))
)
"""Classes that stand for types of numbers, as in ``OneHotEncoder(dtype=np.float32)``."""


@functools.cache
def estimators() -> dict[str, type]:
    """Return the estimators that are written out, by name.

    They are this package's, the specifications of its networks, and those of scikit-learn that
    this package's own defaults contain. What else is of scikit-learn travels through skops.
    """
    import sklearn_ae
    from sklearn_ae import FitCheckpoint, networks
    from sklearn_ae.networks._boltzmann import BoltzmannNetwork
    from sklearn_ae.networks._stack import StackNetwork

    ours = [getattr(sklearn_ae, name) for name in sklearn_ae.__all__]
    ours += [getattr(networks, name) for name in networks.__all__ if name != "Network"]
    ours += [BoltzmannNetwork, StackNetwork]
    # A checkpoint is none of them: a file does not say where to write others.
    ours = [cls for cls in ours if isinstance(cls, type) and cls is not FitCheckpoint]
    return _by_name([*ours, Pipeline, FrozenEstimator, StandardScaler])


@functools.cache
def modules() -> dict[str, type]:
    """Return the torch modules of fitted autoencoders, by name."""
    from sklearn_ae.networks._boltzmann import BoltzmannModule
    from sklearn_ae.networks._contractive import ContractiveModule
    from sklearn_ae.networks._denoising import DenoisingModule
    from sklearn_ae.networks._hashing import HashingModule
    from sklearn_ae.networks._module import AutoencoderModule
    from sklearn_ae.networks._sparse import SparseModule
    from sklearn_ae.networks._variational import VariationalModule

    return _by_name(
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


@functools.cache
def records() -> dict[str, Any]:
    """Return the named tuples in fitted attributes, by name."""
    from sklearn_ae._detection.members import Member
    from sklearn_ae._estimator.inputs import TensorState
    from sklearn_ae._training.keys import Grid

    return _by_name([Grid, Member, TensorState])


@functools.cache
def foreign_estimators() -> dict[str, type]:
    """Return scikit-learn's estimators, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # modules that are deprecated are imported too
        found = dict(all_estimators())
    return {name: cls for name, cls in found.items() if cls.__module__.startswith("sklearn.")}


@functools.cache
def foreign_values() -> dict[str, type]:
    """Return scikit-learn's loss functions, which hold numbers only, by name."""
    return _by_name(loss_classes())


def own_types() -> list[str]:
    """Return the full names of all of this package's own classes that a file may hold.

    They are what ``skops.io.load`` is to be told to trust.

    Returns
    -------
    list of str
    """
    known = [*estimators().values(), *modules().values(), *records().values()]
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in known}
    return sorted(name for name in names if name.startswith("sklearn_ae."))


def _by_name(classes: list[Any]) -> dict[str, Any]:
    return {cls.__name__: cls for cls in classes}
