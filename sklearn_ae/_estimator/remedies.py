"""Remedies for data that scikit-learn's validation refuses without naming one."""

from __future__ import annotations

import contextlib
import math
import reprlib
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
    n_axes, example = _string_in(X)
    if n_axes == 0:
        return None
    if n_axes == 1:
        return "X holds texts: turn them into numbers first, for example by TfidfVectorizer."
    name, holds = type(estimator).__name__, f"X holds strings, such as {example}"
    if not reset:
        return f"{holds}, but {name} was fitted on numbers."
    if not hasattr(estimator, "categorical_features"):
        return (
            f"{holds}, but {name} takes numbers only: encode them, for example by OneHotEncoder "
            f"or OrdinalEncoder in a ColumnTransformer."
        )
    if estimator.categorical_features is None:
        return (
            f"{holds}, but categorical_features=None: leave the default and pass a data frame, or "
            f"name the columns of categories in categorical_features."
        )
    return (
        f"{holds}: pass a data frame, or name the columns of categories in categorical_features."
    )


def _string_in(X: Any) -> tuple[int, str]:
    """Return the number of axes of data and the first string that is no number; 0 without one."""
    try:
        values = np.asarray(X)
    except (TypeError, ValueError, RuntimeError):  # of different lengths, or on an accelerator
        return 0, ""
    for value in values.ravel().tolist() if values.dtype.kind in "USTO" else ():
        if isinstance(value, (str, bytes)) and not _is_number(value):
            return values.ndim, reprlib.repr(value)
    return 0, ""


def _is_number(value: str | bytes) -> bool:
    """Return whether NumPy converts a string to a number."""
    try:
        float(value)
    except ValueError:
        return False
    return True


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
