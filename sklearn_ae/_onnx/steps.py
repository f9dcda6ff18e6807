"""Estimators of scikit-learn, converted by skl2onnx."""

from __future__ import annotations

from typing import Any

from sklearn.base import is_classifier
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
        return convert(options)
    except NameError:
        # skl2onnx's error for an option that a converter does not have: that of a classifier
        # without probabilities has no "zipmap".
        return convert({k: v for k, v in options.items() if k != "zipmap"} if options else None)
