"""Fitted estimators as models in ONNX, for programs without Python, PyTorch or scikit-learn."""

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

    The model takes rows as the estimator does, in their own units: centre and scale are part of
    it. Rows are float32, any number of them: an empty batch gives an empty result.

    Parameters
    ----------
    estimator : estimator of this package, Pipeline or other estimator
        Fitted. Of a search its best estimator. Steps and estimators of scikit-learn are converted
        by skl2onnx, which must know them.
    method : str or sequence of str, default=None
        What to compute: ``"transform"``, ``"inverse_transform"``, ``"reconstruct"``,
        ``"score_samples"``, ``"predict"``, ``"predict_proba"``, ``"predict_log_proba"`` or
        ``"decision_function"``, as far as the estimator, or the last step of a pipeline, has
        it. Several are several outputs of one model, which shares what they share. None:
        ``"transform"``; of a classifier ``"predict"`` and ``"predict_proba"``; of a regressor
        ``"predict"``; of an outlier detector ``"predict"`` and ``"decision_function"``.
    target_opset : int, default=18
        Version of ONNX's operators, 18 or later.

    Returns
    -------
    model : onnx.ModelProto
        ``onnx.save(model, path)`` writes it to a file. Its input is ``"X"``, of shape
        ``(n, n_features)``, or that of the images or sequences of the training; for
        ``"inverse_transform"`` codes, of shape ``(n, n_components)``. Each output is named as its
        method. Where the last step is not of this package, the outputs are named by skl2onnx.

    Raises
    ------
    ImportError
        If onnx, or for pipelines, outlier detectors and heads of scikit-learn skl2onnx, is
        missing.
    ValueError
        If the estimator has no such method, or `method` mixes rows and codes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import Autoencoder, to_onnx
    >>> X = load_digits().data.astype("float32")
    >>> autoencoder = Autoencoder(8, max_iter=10, random_state=0).fit(X)
    >>> model = to_onnx(autoencoder, ["transform", "reconstruct"])
    >>> [output.name for output in model.graph.output]
    ['transform', 'reconstruct']

    Anywhere else:

    >>> import onnxruntime
    >>> session = onnxruntime.InferenceSession(model.SerializeToString())
    >>> codes, restored = session.run(None, {"X": X[:5]})
    >>> codes.shape, restored.shape
    ((5, 8), (5, 64))
    """
    from sklearn_ae._onnx.graph import FIRST_OPSET
    from sklearn_ae._onnx.model import build, is_ours, row_shape
    from sklearn_ae._onnx.steps import scikit_learn_model, unwrapped

    check_is_fitted(estimator)
    if target_opset < FIRST_OPSET:
        raise ValueError(
            f"target_opset={target_opset}, but the models need version {FIRST_OPSET} of ONNX's "
            f"operators, or a later one."
        )
    estimator = unwrapped(estimator)
    if is_ours(estimator):
        return build(estimator, _checked(estimator, method), target_opset)
    if method is not None:
        raise ValueError(
            f"method={method!r} is for estimators of sklearn_ae, and pipelines that end in one; "
            f"skl2onnx decides what a model of {type(estimator).__name__} computes."
        )
    return scikit_learn_model(estimator, row_shape(estimator), opset=target_opset)


def register_onnx_converters() -> None:
    """Tell skl2onnx of this package's estimators.

    ``skl2onnx.to_onnx`` and ``skl2onnx.convert_sklearn`` then convert whatever holds one:
    pipelines, searches, column transformers. Estimators give codes; classifiers labels and
    probabilities; regressors predictions; outlier detectors labels and decisions.
    :func:`to_onnx` needs no such call.

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
    from sklearn_ae._onnx.converters import register

    register()


def _checked(estimator: Any, method: str | Sequence[str] | None) -> Sequence[str]:
    """Return the methods to export."""
    from sklearn_ae._detection.member_copies import last_step
    from sklearn_ae._onnx.methods import default_methods, methods_of

    last = last_step(estimator)
    known = methods_of(last)
    if method is None:
        return default_methods(last)
    methods = [method] if isinstance(method, str) else list(method)
    if not methods or any(name not in known for name in methods):
        raise ValueError(
            f"method={method!r}, but of {type(last).__name__} can be exported: {', '.join(known)}."
        )
    if "inverse_transform" in methods and (len(methods) > 1 or last is not estimator):
        raise ValueError(
            "inverse_transform takes codes, all other methods rows: export it by itself, and "
            "that of a pipeline's last step without the others."
        )
    return methods
