"""The one gate to skl2onnx: models of scikit-learn's own estimators."""

from __future__ import annotations

from typing import Any

from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from sklearn_ae._detection.member_copies import last_step
from sklearn_ae._onnx.graph import FIRST_OPSET, require
from sklearn_ae._stacks.supervised import SupervisedStack

ML_OPSET = 3
"""Version of the operators for trees, linear models and so on."""


def unwrapped(estimator: Any, is_last: bool = True) -> Any:
    """Replace what only holds an estimator by that estimator, throughout a pipeline.

    A search is its best estimator. A supervised stack that other steps follow gives them the
    codes of its autoencoder.
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
    """Return the steps of a pipeline before its last one, None if they do nothing."""
    if not isinstance(estimator, Pipeline):
        return None
    steps = [step for step in estimator.steps[:-1] if step[1] not in (None, "passthrough")]
    return Pipeline(steps) if steps else None


def scikit_learn_model(
    estimator: Any,
    row_shape: tuple[int, ...],
    options: dict[str, Any] | None = None,
    opset: int = FIRST_OPSET,
) -> Any:
    """Convert a fitted estimator by skl2onnx, for rows of float32.

    Parameters
    ----------
    estimator : object
        It may hold estimators of this package.
    row_shape : tuple of int
    options : dict or None
        Of its converter. None: a classifier's probabilities are an array.
    opset : int

    Returns
    -------
    ModelProto
        Its input is ``"X"``.
    """
    skl2onnx = require("skl2onnx")
    from sklearn_ae._onnx.converters import register

    register()
    estimator = unwrapped(estimator)
    if options is None and is_classifier(estimator):
        options = {"zipmap": False}
    rows = skl2onnx.common.data_types.FloatTensorType([None, *row_shape])

    def converted(options: dict[str, Any] | None) -> Any:
        return skl2onnx.to_onnx(
            estimator,
            initial_types=[("X", rows)],
            target_opset={"": opset, "ai.onnx.ml": ML_OPSET},
            options={id(last_step(estimator)): options} if options else None,
        )

    try:
        return converted(options)
    except NameError:  # an option that its converter lacks: it has no probabilities to map
        return converted({k: v for k, v in options.items() if k != "zipmap"} if options else None)
