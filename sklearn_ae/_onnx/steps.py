"""Estimators of scikit-learn, converted by skl2onnx."""

from __future__ import annotations

from typing import Any

from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from sklearn_ae._detection.member_copies import last_step
from sklearn_ae._onnx.converters import register
from sklearn_ae._onnx.graph import FIRST_OPSET, require
from sklearn_ae._stacks.supervised import SupervisedStack

ML_OPSET = 3
"""Version of the operator set ``ai.onnx.ml``: trees, linear models and others."""


def unwrapped(estimator: Any, is_last: bool = True) -> Any:
    """Replace searches and frozen estimators by the estimator inside, throughout a pipeline.

    A search is replaced by its best estimator. A supervised stack before other steps is replaced
    by its autoencoder, since these steps receive its codes.
    """
    if isinstance(estimator, Pipeline):
        *before, (name, last) = estimator.steps
        steps = [(step, unwrapped(each, is_last=False)) for step, each in before]
        return Pipeline([*steps, (name, unwrapped(last, is_last))])
    if isinstance(estimator, FrozenEstimator):
        return unwrapped(estimator.estimator, is_last)
    if hasattr(estimator, "best_estimator_"):
        return unwrapped(estimator.best_estimator_, is_last)
    if isinstance(estimator, SupervisedStack) and not is_last:
        return estimator.autoencoder_
    return estimator


def steps_before(estimator: Any) -> Pipeline | None:
    """Return the steps of a pipeline before its last one, None if there are none to compute."""
    if not isinstance(estimator, Pipeline):
        return None
    steps = [step for step in estimator.steps[:-1] if step[1] not in (None, "passthrough")]
    return Pipeline(steps) if steps else None


def scikit_learn_model(
    estimator: Any,
    sample_shape: tuple[int, ...],
    options: dict[str, Any] | None = None,
    opset: int = FIRST_OPSET,
) -> Any:
    """Convert a fitted estimator by skl2onnx, for float32 samples.

    Parameters
    ----------
    estimator : object
        It may contain estimators of this package.
    sample_shape : tuple of int
    options : dict or None, default=None
        Options of its converter. None: the probabilities of a classifier are an array.
    opset : int, default=18

    Returns
    -------
    ModelProto
        Its input is ``"X"``.
    """
    skl2onnx = require("skl2onnx")
    register()
    estimator = unwrapped(estimator)
    _check_columns(estimator)
    if options is None and is_classifier(estimator):
        options = {"zipmap": False}
    samples = skl2onnx.common.data_types.FloatTensorType([None, *sample_shape])

    def convert(options: dict[str, Any] | None) -> Any:
        return skl2onnx.to_onnx(
            estimator,
            initial_types=[("X", samples)],
            target_opset={"": opset, "ai.onnx.ml": ML_OPSET},
            options={id(last_step(estimator)): options} if options else None,
        )

    try:
        try:
            return convert(options)
        except NameError:
            # skl2onnx's error for an option that a converter does not have: that of a classifier
            # without probabilities has no "zipmap".
            kept = {k: v for k, v in options.items() if k != "zipmap"} if options else None
            return convert(kept)
    except NotImplementedError:  # of this package
        raise
    except RuntimeError as error:  # of skl2onnx
        raise NotImplementedError(_refusal(estimator, error)) from error


def _check_columns(estimator: Any) -> None:
    """Refuse column transformers that select by name: the input is one array of numbers."""
    if named := _columns_by_name(estimator):
        raise NotImplementedError(
            f"ColumnTransformer selects columns by name, such as {named!r}, but the input of this "
            f"model is one array of numbers. If all columns are numbers, select them by position: "
            f"[0, 1] or slice(0, 2). Otherwise call register_onnx_converters() once, and "
            f"skl2onnx.to_onnx(pipeline, X[:1]) with a dataframe, whose columns are then the "
            f"inputs."
        )


def _refusal(estimator: Any, error: Exception) -> str:
    """Return the message for an estimator that skl2onnx cannot convert."""
    first = " ".join(str(error).split())[:300]
    return (
        f"skl2onnx cannot convert {type(estimator).__name__}: {first} Apply the steps without a "
        f"converter before the model, and export the others, for example to_onnx(pipeline[1:])."
    )


def _columns_by_name(estimator: Any) -> str | None:
    """Return the name of a column that a column transformer selects, None if there is none."""
    parts = [estimator, *estimator.get_params(deep=True).values()]
    for part in parts:
        if isinstance(part, ColumnTransformer):
            for _, _, columns in part.transformers:
                names = [columns] if isinstance(columns, (str, slice)) else list(columns)
                names = [each.start if isinstance(each, slice) else each for each in names]
                if names and isinstance(names[0], str):
                    return names[0]
    return None
