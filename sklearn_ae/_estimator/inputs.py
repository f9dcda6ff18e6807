"""Validation of inputs, and conversion of results to the array library of the inputs."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from sklearn import get_config
from sklearn.utils.validation import _check_n_features, check_array, validate_data
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from sklearn_ae._compat import (
    check_sample_weight,
    get_namespace_and_device,
    is_numpy_namespace,
    is_whole,
)
from sklearn_ae._estimator.remedies import naming_remedies
from sklearn_ae._estimator.sequences import check_missing, is_sequences, pad, refuse_ragged
from sklearn_ae._estimator.tables import check_table, forget_table, table_of
from sklearn_ae._sources.kinds import as_source, is_source
from sklearn_ae._sources.source import ArrayInMemory, Source
from sklearn_ae._training.checkpoint import checkpoints_among, without_name
from sklearn_ae._training.device import CACHE_BYTES, present_device
from sklearn_ae._training.resources import limit_if_forked
from sklearn_ae._training.shared_rows import SharedRows
from sklearn_ae._training.streaming import Stream
from sklearn_ae.losses import Loss


class ArrayType(NamedTuple):
    """Array library, device and floating-point dtype of results.

    Attributes
    ----------
    namespace : module
        Namespace of the array library.
    device : object
        Device, as the array library represents it.
    double : bool
        Whether results are float64 and not float32.
    """

    namespace: Any
    device: Any
    double: bool

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point dtype of results, as torch's."""
        return torch.float64 if self.double else torch.float32

    def wrap(self, result: Tensor) -> Any:
        """Convert a tensor to an array of this library, on this device."""
        result = result.detach()
        if "torch" in self.namespace.__name__:
            return result.to(self.device)
        array = result.cpu().numpy()
        if is_numpy_namespace(self.namespace):
            return array
        return self.namespace.asarray(array, device=self.device)

    def empty(self) -> Any:
        """Return an array of this type without values; :func:`array_type_of` restores the type."""
        return self.wrap(torch.empty((0, 0), dtype=self.dtype))


def to_plain(X: Any) -> Any:
    """Convert a tensor on the CPU to a NumPy array, unless scikit-learn dispatches on tensors.

    The values are not copied. Tensors on other devices and other objects are returned unchanged.
    """
    if isinstance(X, Tensor) and not get_config()["array_api_dispatch"]:
        X = X.detach()
        if X.device.type == "cpu":
            return (X.float() if X.dtype == torch.bfloat16 else X).numpy()  # NumPy lacks bfloat16
    return X


def sample_shape(X: Any) -> tuple[int, ...] | None:
    """Return the shape of a sample of data that are not validated yet, None if it is flat."""
    shape = np.shape(X) if isinstance(X, (list, tuple)) else getattr(X, "shape", ())
    return tuple(shape[1:]) if len(shape) > 2 else None


def check_samples(
    estimator: Any,
    X: Any,
    *,
    reset: bool,
    any_size: bool = False,
    sample_weight: Any = None,
    training: bool = False,
) -> tuple[Any, ArrayType]:
    """Validate samples, and flatten images and sequences.

    The data are not converted as a whole: integers, float16, foreign byte orders, memory maps
    and CSR matrices are returned as they are, and batches of them are converted later.

    Parameters
    ----------
    estimator : BaseAutoencoder
        Its ``n_features_in_``, ``feature_names_in_`` and ``input_shape_`` are set if ``reset`` is
        True, and compared with the data if not.
    X : {array-like, sparse matrix, Tensor} of shape (n_samples, ...)
    reset : bool
    any_size : bool, default=False
        Whether images and sequences may have another shape than in training.
    sample_weight : array-like or None, default=None
        Weights in `fit`, on which the encoding of a table depends.
    training : bool, default=False
        As in :func:`check_table`.

    Returns
    -------
    X : ndarray, CSR matrix or Tensor of shape (n_samples, n_features)
    array_type : ArrayType
        Array library, device and dtype of the results.

    Raises
    ------
    ValueError
        If the data are invalid, or of another shape than in training.
    """
    limit_if_forked()
    if isinstance(X, SharedRows):
        _, array_type = check_samples(estimator, X.own, reset=reset)
        return X, array_type
    source: Any = X
    if not isinstance(X, Stream):
        source = as_source(X) if reset else columns_of_fit(estimator, X)
    if source is not None:
        return check_source(estimator, source, reset=reset, any_size=any_size)
    X = to_plain(X)
    weights = functools.partial(check_weight, sample_weight)
    matrix = check_table(estimator, X, reset=reset, weights=weights, training=training)
    if matrix is not None:
        if reset:
            estimator.input_shape_ = (matrix.shape[1],)
        return matrix, array_type_of(matrix)
    with naming_remedies(estimator, X, reset=reset):
        return _check_numbers(estimator, X, reset, any_size)


def _check_numbers(estimator: Any, X: Any, reset: bool, any_size: bool) -> tuple[Any, ArrayType]:
    """Validate samples in memory that are no table; see :func:`check_samples`."""
    network = network_of(estimator, reset)
    ragged = network.takes_missing and not sp.issparse(X)
    allows_missing = ragged or completes(estimator, network)
    if ragged and is_sequences(X):
        sequences = [np.asarray(to_plain(sequence)) for sequence in X]
        X = pad(sequences, network.n_steps if reset else estimator.input_shape_[0])
    refuse_ragged(X, type(estimator).__name__)
    if isinstance(X, (list, tuple)) and np.ndim(X) > 2:
        X = np.asarray(X)
    shape = tuple(X.shape[1:]) if getattr(X, "ndim", 2) > 2 else None
    is_other = shape is not None and not reset and shape != estimator.input_shape_
    if shape is not None:
        expected = shape if reset else estimator.input_shape_
        if is_other and not any_size:
            is_dense = getattr(estimator, "n_components", None) is not None
            may_vary = network.has_maps() and is_dense and len(shape) == len(expected)
            remedy = " Fit with n_components=None to take images of any size." if may_vary else ""
            raise ValueError(
                f"X has samples of shape {shape}, but {type(estimator).__name__} was fitted "
                f"on samples of shape {expected}.{remedy}"
            )
        X = X.reshape(X.shape[0], math.prod(shape))
    if isinstance(X, Tensor) and not get_config()["array_api_dispatch"]:
        X, array_type = _check_accelerator_tensor(estimator, X, reset, allows_missing, is_other)
    else:
        options = {
            "accept_sparse": "csr",
            "dtype": "numeric",
            "order": None,
            "ensure_all_finite": "allow-nan" if allows_missing else True,
        }
        if is_other:  # validate_data would require the number of features of the training
            X = check_array(X, estimator=estimator, input_name="X", **options)
        else:
            X = validate_data(estimator, X, reset=reset, **options)
        X = as_numbers(X, estimator=estimator, input_name="X", **options)
        array_type = array_type_of(X)
        if not (isinstance(X, (np.ndarray, Tensor)) or sp.issparse(X)):
            X = from_other_library(X)  # of another array library
    if reset:
        estimator.input_shape_ = shape or (X.shape[1],)
    if ragged:
        check_missing(X, network.step_size(estimator.input_shape_))
    return X, array_type


def check_source(
    estimator: Any, source: Source | Stream, *, reset: bool, any_size: bool = False
) -> tuple[Any, ArrayType]:
    """Validate data that are read block by block; see :func:`check_samples`.

    Columns of the names seen in `fit` are selected. Values are checked when they are read. A
    stream was validated by an estimator that contains this one.
    """
    # Sequences of different lengths, which end in NaN, are arrays in memory.
    allows_missing = completes(estimator, network_of(estimator, reset))
    if reset:
        forget_table(estimator)
    names = None if isinstance(source, Stream) else source.names
    shape = source.sample_shape if isinstance(source, Stream) else source.shape[1:]
    if len(shape) > 1 and not reset and shape != estimator.input_shape_ and not any_size:
        raise ValueError(
            f"X has samples of shape {shape}, but {type(estimator).__name__} was fitted on "
            f"samples of shape {estimator.input_shape_}."
        )
    _check_source_features(estimator, names, math.prod(shape), reset)
    if reset:
        estimator.input_shape_ = tuple(shape)
    double = source.dtype != np.float32
    if isinstance(source, Stream):
        return source, ArrayType(np, "cpu", double)
    if not len(source):
        raise ValueError(f"{source.description} has no rows, while at least one is required.")
    if math.prod(source.shape) * source.dtype.itemsize <= CACHE_BYTES:
        blocks = [block.copy() for block in Stream(source, allows_missing).blocks()]
        source = ArrayInMemory(np.concatenate(blocks), names, source.description)
    if isinstance(source, ArrayInMemory):
        options = {"ensure_all_finite": "allow-nan" if allows_missing else True}
        X = check_array(
            source.values.reshape(len(source), -1), input_name="X", estimator=estimator, **options
        )
        return X, array_type_of(X)
    return Stream(source, allows_missing), ArrayType(np, "cpu", double)


def columns_of_fit(estimator: Any, X: Any) -> Any:
    """Open data that are read block by block: the columns of the names that were seen in `fit`.

    None for all other data. Columns that were not seen may be of any type, and are not read.
    """
    if not is_source(X):
        return None
    if table_of(estimator) is not None:
        raise ValueError(
            f"{type(estimator).__name__} was fitted on a table with categories, which cannot be "
            f"read block by block; pass data frames."
        )
    seen = getattr(estimator, "feature_names_in_", None)
    if isinstance(X, Source):
        return X if seen is None or X.names is None else X.select(list(seen))
    return as_source(X, None if seen is None else list(seen), if_named=True)


def _check_source_features(
    estimator: Any, names: list[str] | None, width: int, reset: bool
) -> None:
    """Set or compare the number of features and their names."""
    if names is None:
        validate_data(estimator, np.empty((1, width)), reset=reset, skip_check_array=True)
        return
    _check_n_features(estimator, np.empty((1, width)), reset=reset)
    if reset:
        estimator.feature_names_in_ = np.array(names, dtype=object)


def validated(estimator: Any, X: Any, *, reset: bool, **options: Any) -> Any:
    """Validate data as scikit-learn does, or a block of a source, whose names were compared."""
    if isinstance(X, ArrayInMemory):
        _check_n_features(estimator, X.values, reset=reset)
        return check_array(X.values, estimator=estimator, input_name="X", **options)
    with naming_remedies(estimator, X, reset=reset):
        X = validate_data(estimator, X, reset=reset, **options)
        return as_numbers(X, estimator=estimator, input_name="X", **options)


def refuse_source(X: Any, name: str) -> None:
    """Raise an error for data that are read block by block, if they are needed in memory."""
    if is_source(X):
        raise ValueError(
            f"{name}.fit needs its samples in memory; draw some of them, for example "
            f"fit(open_source(X).sample(100_000, random_state=0)). Its other methods read blocks."
        )


def completes(estimator: Any, network: Any) -> bool:
    """Return whether any value may be missing: within a sequence none may."""
    return bool(estimator._allows_missing() and not network.takes_missing)


def allows_gaps(estimator: Any) -> bool:
    """Return whether any value may be missing, for estimators with invalid parameters too."""
    try:
        return completes(estimator, estimator._network())
    except (AttributeError, TypeError, ValueError):  # invalid parameters, which `fit` refuses
        return False


def select_rows(X: Any, mask: np.ndarray) -> Any:
    """Return the validated samples at which a mask is true; those of a file as a source."""
    if isinstance(X, Stream):
        return X.selected(np.flatnonzero(mask))
    if isinstance(X, SharedRows):
        return X[np.flatnonzero(mask)]
    return X[mask]


def has_missing(X: Any) -> bool:
    """Return whether validated samples have NaN."""
    if isinstance(X, SharedRows):
        return X.any(has_missing(X.own))
    if isinstance(X, Stream):
        return X.ranges.has_missing
    values = X.data if sp.issparse(X) else X
    if (not isinstance(X, Tensor) and values.dtype.kind != "f") or not math.prod(values.shape):
        return False
    least = values.min()  # NaN if any value is, without a mask of the size of the data
    return bool(least != least)


def as_numbers(X: Any, **options: Any) -> Any:
    """Convert validated data of dtype object to numbers.

    scikit-learn's validation returns lists and some data frames with this dtype. None becomes NaN,
    and is accepted or refused like NaN.
    """
    return check_array(X, **options) if X.dtype == object else X


class FitData(NamedTuple):
    """Validated data of a fit.

    Attributes
    ----------
    X : ndarray, CSR matrix or Tensor of shape (n_samples, n_features)
        Samples to train on.
    y : ndarray, CSR matrix or Tensor of shape (n_samples, n_features) or None
        Targets of the decoder. None: the samples.
    sample_weight : Tensor of shape (n_samples,) or None
    X_val : ndarray, CSR matrix or Tensor of shape (n_validation, n_features) or None
        Validation samples.
    array_type : ArrayType
        Array library, device and dtype of `X`.
    """

    X: Any
    y: Any
    sample_weight: Tensor | None
    X_val: Any
    array_type: ArrayType


def check_fit_data(
    estimator: Any, X: Any, y: Any, sample_weight: Any, X_val: Any = None, *, reset: bool
) -> FitData:
    """Validate the arguments of ``fit``; `reset` as in :func:`check_samples`."""
    samples, array_type = check_samples(
        estimator, X, reset=reset, sample_weight=sample_weight, training=True
    )
    targets = estimator._check_targets(y, samples.shape[0], estimator.input_shape_)
    weight = check_weight(sample_weight, samples.shape[0])
    if X_val is None:
        return FitData(samples, targets, weight, None, array_type)
    if targets is not None:
        raise ValueError(
            "X_val cannot be evaluated where y holds the targets of X; leave out X_val, and the "
            "fraction validation_fraction of X and y is held out instead."
        )
    try:
        validation, _ = check_samples(estimator, X_val, reset=False)
    except ValueError as error:
        raise ValueError(f"X_val was validated like X and is invalid: {error}") from error
    return FitData(samples, targets, weight, validation, array_type)


def network_of(estimator: Any, reset: bool) -> Any:
    """Return the specification of the fitted network, or of the one to be fitted if `reset`."""
    holder = vars(estimator).get("autoencoder_", estimator)  # in a supervised stack
    module = None if reset else vars(holder).get("module_")
    return estimator._network() if module is None else module.network


def _check_accelerator_tensor(
    estimator: Any, X: Tensor, reset: bool, allows_missing: bool, is_other: bool
) -> tuple[Tensor, ArrayType]:
    """Validate a tensor on an accelerator without copying it to the CPU."""
    if allows_missing:
        _check_finite_tensor(X.nan_to_num(posinf=torch.inf, neginf=-torch.inf), "X")
    else:
        _check_finite_tensor(X, "X")
    if not is_other:
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    return X, ArrayType(np, "cpu", X.dtype != torch.float32)


def _check_finite_tensor(X: Tensor, name: str) -> None:
    """Raise an error unless a tensor is a non-empty matrix of finite real numbers."""
    if X.ndim != 2 or not X.numel():
        raise ValueError(
            f"{name} must have the shape (n_samples, n_features), neither of them zero; got "
            f"{tuple(X.shape)}."
        )
    if X.is_complex() or not bool(torch.isfinite(X).all()):
        raise ValueError(f"{name} is complex, or contains NaN or infinity.")


def array_type_of(X: Any) -> ArrayType:
    """Return array library, device and floating-point dtype of the results for validated data.

    Results are float32 for float32 data and float64 for other dtypes; always float32 on the
    device "mps", which lacks float64.
    """
    if sp.issparse(X):
        return ArrayType(np, "cpu", X.dtype != np.float32)
    namespace, _, device = get_namespace_and_device(X)
    double = X.dtype != namespace.float32 and not str(device).startswith("mps")
    return ArrayType(namespace, device, double)


def check_codes(estimator: Any, X: Any) -> tuple[Any, ArrayType]:
    """Validate codes of shape (n_samples, n_components_); return them and their array type."""
    limit_if_forked()
    X = to_plain(X)
    on_accelerator = isinstance(X, Tensor) and not get_config()["array_api_dispatch"]
    if on_accelerator:
        _check_finite_tensor(X, "X")
    else:
        options = {"dtype": "numeric", "input_name": "X"}
        X = as_numbers(check_array(X, **options), **options)
    if X.shape[1] != estimator.n_components_:
        raise ValueError(
            f"X has {X.shape[1]} columns, but {type(estimator).__name__} has "
            f"n_components_={estimator.n_components_}."
        )
    array_type = (
        ArrayType(np, "cpu", X.dtype != torch.float32) if on_accelerator else array_type_of(X)
    )
    return (X if isinstance(X, (np.ndarray, Tensor)) else from_other_library(X)), array_type


def from_other_library(X: Any) -> Any:
    """Convert an array of another library to NumPy's, or to a tensor if NumPy cannot read it."""
    try:
        return np.from_dlpack(X)
    except (BufferError, TypeError, RuntimeError):  # for example on an accelerator
        return from_dlpack(X)


def check_callbacks(callbacks: list[Any] | None) -> list[Any]:
    """Return the skorch callbacks among `callbacks`: all but checkpoints.

    Raises
    ------
    ValueError
        If an element is no instance of a callback, or a callback that scores with the net.
    """
    others = [each for each in callbacks or [] if not checkpoints_among([each])]
    if not others:
        return others
    # Imported only if there are callbacks: skorch doubles the time of an import.
    from sklearn_ae._training.skorch_callbacks import predicts_with_net

    for callback in map(without_name, others):
        if not hasattr(callback, "on_epoch_end") or isinstance(callback, type):
            raise ValueError(f"callbacks must be instances of skorch callbacks, got {callback!r}.")
        if predicts_with_net(callback):
            raise ValueError(
                f"{type(callback).__name__} of skorch predicts with the net, which has samples in "
                f"network units and neither X nor y; call set_callbacks with scikit-learn's "
                f"ScoringMonitor, which scores the estimator after each epoch."
            )
    return others


def check_count(value: Any, name: str, at_least: int = 1) -> None:
    """Raise an error unless an argument is an integer of at least ``at_least``."""
    if not is_whole(value) or value < at_least:
        wanted = "a positive integer" if at_least == 1 else f"an integer of at least {at_least}"
        raise ValueError(f"{name} must be {wanted}, got {value!r}.")


def check_weight(sample_weight: Any, n_samples: int) -> Tensor | None:
    """Validate sample weights.

    Returns
    -------
    Tensor of shape (n_samples,), float64, or None

    Raises
    ------
    ValueError
        If a weight is negative or not finite, if all are zero, or if the sum of their squares is
        zero or not finite.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Tensor):
        sample_weight = sample_weight.detach().cpu().double().numpy()
    elif hasattr(sample_weight, "__dlpack__") and not isinstance(sample_weight, np.ndarray):
        sample_weight = np.asarray(from_other_library(sample_weight))
    samples = np.empty((n_samples, 1))  # only their number is read
    weight = check_sample_weight(
        sample_weight, samples, dtype=np.float64, ensure_non_negative=True
    )
    if not weight.any():
        raise ValueError("sample_weight is zero for every sample; at least one must be positive.")
    with np.errstate(over="ignore"):
        squares = np.square(weight).sum()
    if squares == 0 or not np.isfinite(squares):
        raise ValueError(
            f"sample_weight has values so large or so small, up to {weight.max():g}, that their "
            f"squares overflow or underflow; divide it by its mean."
        )
    return torch.from_numpy(np.array(weight))


def check_range(X: Any, name: str, loss: Loss, asked: str) -> None:
    """Raise an error if data are outside the range on which a loss is defined.

    Parameters
    ----------
    X : ndarray, CSR matrix or Tensor of shape (n_samples, n_features)
    name : str
        Name of the data, for the error message.
    loss : Loss
    asked : str
        Parameter and value that select the loss, for the error message.
    """
    if isinstance(X, SharedRows):  # an error of one process ends the others
        check_range(X.own, name, loss, asked)
        return
    if isinstance(X, Stream):
        least, most = X.ranges.least, X.ranges.most
    else:
        values = X.data if sp.issparse(X) else X  # zeros are in the range of every loss
        if isinstance(values, Tensor):
            values = values[values == values]
        if not math.prod(values.shape):
            return
        if isinstance(values, Tensor):
            least, most = float(values.min()), float(values.max())
        else:  # ignoring NaN
            least = float(np.fmin.reduce(values, axis=None))
            most = float(np.fmax.reduce(values, axis=None))
    if least < loss.lower or most > loss.upper:
        end = f"{loss.upper:g}]" if np.isfinite(loss.upper) else "inf)"
        scaler = "MinMaxScaler()" if loss.lower == 0 else "MinMaxScaler((-1, 1))"
        raise ValueError(
            f"{asked} needs data in [{loss.lower:g}, {end}, but {name} ranges from "
            f"{least:g} to {most:g}. Rescale it, for example by make_pipeline({scaler}, ...), or "
            f"choose another {asked.partition('=')[0]}."
        )


class TensorState(NamedTuple):
    """A tensor as a NumPy array and the name of its device."""

    values: np.ndarray
    device: str


def array_to_state(array: Any) -> Any:
    """Convert a tensor to a state without torch objects; return other arrays as they are."""
    if isinstance(array, Tensor):
        return TensorState(array.detach().cpu().numpy(), str(array.device))
    return array


def array_from_state(state: Any, device: str | None = None) -> Any:
    """Undo :func:`array_to_state`, on the CPU if the device is not present."""
    if not isinstance(state, TensorState):
        return state
    return torch.from_numpy(np.array(state.values)).to(present_device(device or state.device))


def without_tensors(X: Any) -> Any:
    """Convert tensors on any device, and nested lists, to NumPy arrays."""
    if isinstance(X, Tensor):
        X = X.detach().cpu()
        return (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    return np.asarray(X) if isinstance(X, (list, tuple)) and np.ndim(X) > 2 else X
