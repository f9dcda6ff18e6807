"""Export to ONNX, for programs without Python, PyTorch or scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.utils.validation import check_is_fitted

from sklearn_ae._training.isolation import isolated


@isolated
def to_onnx(
    estimator: Any, method: str | Sequence[str] | None = None, *, target_opset: int = 18
) -> Any:
    """Export a fitted estimator, or a pipeline, to ONNX.

    The model takes samples in the units of the training data: centring and scaling are part of
    it. Samples are float32, in any number; the result of an empty batch is empty.

    Parameters
    ----------
    estimator : estimator of this package, Pipeline or other estimator
        Fitted. A search is exported as its best estimator. Steps and estimators of scikit-learn
        are converted by skl2onnx, which must have a converter for them.
    method : str or sequence of str, default=None
        The method to export: ``"transform"``, ``"inverse_transform"``, ``"reconstruct"``,
        ``"score_samples"``, ``"predict"``, ``"predict_proba"``, ``"predict_log_proba"`` or
        ``"decision_function"``, if the estimator, or the last step of a pipeline, has it. Several
        methods are several outputs of one model, with common computations done once. None:
        ``"transform"``; for a classifier ``"predict"`` and ``"predict_proba"``; for a regressor
        ``"predict"``; for an outlier detector ``"predict"`` and ``"decision_function"``.
    target_opset : int, default=18
        Version of ONNX's operators, 18 or later.

    Returns
    -------
    model : onnx.ModelProto
        ``onnx.save(model, path)`` writes it to a file. The name of its input is ``"X"``; the
        shape is ``(n_samples, n_features)``, or that of the images or sequences in training; for
        ``"inverse_transform"`` it is ``(n_samples, n_components)``. Each output has the name of
        its method. If the last step is not of this package, skl2onnx names the outputs. A model of
        an estimator that was fitted to a table has an input for each column.

    Raises
    ------
    ImportError
        If onnx is missing, or skl2onnx for pipelines, outlier detectors and heads of scikit-learn.
    NotImplementedError
        If a custom network uses a torch function that has no translation to ONNX, or if skl2onnx
        cannot convert a step of scikit-learn.
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the estimator does not have the method, if `method` contains ``"inverse_transform"``
        and others, or if `target_opset` is too low.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import Autoencoder, to_onnx
    >>> X = load_digits().data.astype("float32")
    >>> autoencoder = Autoencoder(8, max_iter=10, random_state=0).fit(X)
    >>> model = to_onnx(autoencoder, ["transform", "reconstruct"])
    >>> [output.name for output in model.graph.output]
    ['transform', 'reconstruct']

    In another program:

    >>> import onnxruntime
    >>> session = onnxruntime.InferenceSession(model.SerializeToString())
    >>> codes, reconstructed = session.run(None, {"X": X[:5]})
    >>> codes.shape, reconstructed.shape
    ((5, 8), (5, 64))
    """
    from sklearn_ae._onnx.graph import FIRST_OPSET
    from sklearn_ae._onnx.model import build, has_own_export, sample_shape
    from sklearn_ae._onnx.steps import scikit_learn_model, unwrapped

    check_is_fitted(estimator)
    if target_opset < FIRST_OPSET:
        raise ValueError(
            f"target_opset={target_opset} is too low: the models need version {FIRST_OPSET} of "
            f"ONNX's operators, or a later one."
        )
    estimator = unwrapped(estimator)
    if has_own_export(estimator):
        return build(estimator, _methods_to_export(estimator, method), target_opset)
    if method is not None:
        raise ValueError(
            f"method={method!r} applies to estimators of sklearn_ae, and to pipelines that end in "
            f"one; skl2onnx decides what a model of {type(estimator).__name__} computes. Leave "
            f"method=None."
        )
    return scikit_learn_model(estimator, sample_shape(estimator), opset=target_opset)


def register_onnx_converters() -> None:
    """Register the estimators of this package with skl2onnx.

    ``skl2onnx.to_onnx`` and ``skl2onnx.convert_sklearn`` then convert everything that contains
    one: pipelines, searches, column transformers. The outputs of autoencoders are codes; of
    classifiers labels and probabilities; of regressors predictions; of outlier detectors labels
    and decisions. :func:`to_onnx` does not need this call.

    Raises
    ------
    ImportError
        If skl2onnx is missing.

    Examples
    --------
    >>> import skl2onnx
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_ae import Autoencoder, register_onnx_converters
    >>> X, y = load_digits(return_X_y=True)
    >>> autoencoder = Autoencoder(8, max_iter=10, random_state=0)
    >>> pipeline = make_pipeline(autoencoder, LogisticRegression(max_iter=1000)).fit(X, y)
    >>> register_onnx_converters()
    >>> model = skl2onnx.to_onnx(pipeline, X[:1].astype("float32"))
    """
    from sklearn_ae._onnx.graph import require

    require("skl2onnx")
    # Importing the first two registers the methods that converters look up.
    from sklearn_ae._onnx import detector, supervised  # noqa: F401
    from sklearn_ae._onnx.converters import register

    register()


def _methods_to_export(estimator: Any, method: str | Sequence[str] | None) -> Sequence[str]:
    """Return the names of the methods to export, after checking that they exist."""
    from sklearn_ae._detection.member_copies import last_step
    from sklearn_ae._onnx.methods import default_methods, methods_of

    last = last_step(estimator)
    available = methods_of(last)
    if method is None:
        return default_methods(last)
    methods = [method] if isinstance(method, str) else list(method)
    if not methods or any(name not in available for name in methods):
        raise ValueError(
            f"method={method!r} is not available: of {type(last).__name__} can be exported: "
            f"{', '.join(available)}."
        )
    if "inverse_transform" in methods and (len(methods) > 1 or last is not estimator):
        raise ValueError(
            "inverse_transform takes codes, all other methods samples: export it in a model of "
            "its own, and for a pipeline from its last step alone."
        )
    return methods
