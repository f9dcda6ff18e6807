"""Remedies for data that scikit-learn's validation refuses without naming one."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np


@contextlib.contextmanager
def naming_remedies(estimator: Any, X: Any, *, reset: bool) -> Iterator[None]:
    """Replace errors about strings, missing values and single samples by ones with a remedy.

    Parameters
    ----------
    estimator : BaseEstimator
        Estimator that validates the data.
    X : object
        The data as the user passed them.
    reset : bool
        Whether they are those of `fit`.
    """
    try:
        yield
    except ValueError as error:
        message = _about_strings(estimator, X, reset)
        message = message or _about_missing_values(estimator, error)
        message = message or (None if reset else _about_one_sample(estimator, X, error))
        if message is None:
            raise
        # Without the replaced message, which recommends something else.
        raise ValueError(message) from None


def _about_strings(estimator: Any, X: Any, reset: bool) -> str | None:
    name, n_axes = type(estimator).__name__, _axes_of_strings(X)
    if not n_axes:
        return None
    if n_axes == 1:
        return "X holds texts: turn them into numbers first, for example by TfidfVectorizer."
    if not reset:
        return f"X holds strings, but {name} was fitted on numbers."
    if not hasattr(estimator, "categorical_features"):
        return (
            f"X holds strings, but {name} takes numbers only: encode them, for example by "
            f"OneHotEncoder or OrdinalEncoder in a ColumnTransformer."
        )
    if estimator.categorical_features is None:
        return (
            "X holds strings, but categorical_features=None: leave the default and pass a data "
            "frame, or name the columns of categories in categorical_features."
        )
    return (
        "X holds strings: pass a data frame, or name the columns of categories in "
        "categorical_features."
    )


def _axes_of_strings(X: Any) -> int:
    """Return the number of axes of data that contain strings, 0 if they contain none."""
    try:
        values = np.asarray(X)
    except (TypeError, ValueError, RuntimeError):  # of different lengths, or on an accelerator
        return 0
    is_text = values.dtype.kind in "UST" or (
        values.dtype.kind == "O" and any(isinstance(value, (str, bytes)) for value in values.flat)
    )
    return values.ndim if is_text else 0


def _about_missing_values(estimator: Any, error: ValueError) -> str | None:
    what, _, advice = str(error).partition("\n")
    if not (advice and what.startswith("Input X contains NaN")):
        return None
    name = type(estimator).__name__
    return (
        f"{what}\n{name} does not accept missing values: replace them first, for example by "
        f"make_pipeline(AutoencoderImputer(), {name}(...))."
    )


def _about_one_sample(estimator: Any, X: Any, error: ValueError) -> str | None:
    shape = tuple(X.shape) if hasattr(X, "reshape") else ()
    if len(shape) < 2 or math.prod(shape) != estimator.n_features_in_ or shape[0] == 1:
        return None
    is_whole = shape == vars(estimator).get("input_shape_")
    return f"{error} If X is one sample, pass {'X[None]' if is_whole else 'X.reshape(1, -1)'}."
