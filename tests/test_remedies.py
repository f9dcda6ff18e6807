"""Data that are often passed by mistake: errors say what to do, and change nothing."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from sklearn_ae import (
    Autoencoder,
    AutoencoderImputer,
    AutoencoderOutlierDetector,
    ConvolutionalAutoencoder,
    DeepBeliefNetwork,
    LSTMAutoencoder,
    RestrictedBoltzmannMachine,
    SemanticHashing,
    StackedAutoencoderClassifier,
)

FAST = Autoencoder(2, max_iter=2, random_state=0)
HASHING = SemanticHashing(8, max_iter=2, random_state=0)
TEXTS = ["bake bread", "drive a car"]
STRINGS = np.array([["a", "b"], ["c", "d"]])
MIXED = [[1.0, "b"], [2.0, "d"]]


def _refused(estimator, X, message):
    estimator = clone(estimator)
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, [0, 1])
    assert vars(estimator) == before


@pytest.mark.parametrize(
    "X",
    [STRINGS, STRINGS.astype(object), STRINGS.tolist(), MIXED, np.array(MIXED, object)],
    ids=["array", "objects", "lists", "mixed lists", "mixed objects"],
)
def test_strings_are_refused_with_what_to_do(X):
    tables = [FAST, AutoencoderImputer(FAST), AutoencoderOutlierDetector()]
    for estimator in (*tables, StackedAutoencoderClassifier(max_iter=1)):
        _refused(estimator, X, "X holds strings, such as .*: pass a data frame, or name the")
    for estimator in (HASHING, ConvolutionalAutoencoder(), RestrictedBoltzmannMachine()):
        name = type(estimator).__name__
        _refused(estimator, X, f"{name} takes numbers only: encode them.*OneHotEncoder")
    _refused(Autoencoder(categorical_features=None), X, "but categorical_features=None")
    for estimator in (FAST, HASHING):
        fitted = clone(estimator).fit(np.eye(4, 2))
        with pytest.raises(ValueError, match="X holds strings, such as .*, but .* was fitted on"):
            fitted.transform(X)


@pytest.mark.parametrize("kind", [list, np.array, lambda X: np.array(X, object), pd.Series])
def test_texts_are_refused_with_what_to_do(kind):
    message = "X holds texts: turn them into numbers first, for example by TfidfVectorizer"
    for estimator in (FAST, HASHING, LSTMAutoencoder(), AutoencoderImputer(FAST)):
        _refused(estimator, kind(TEXTS), message)
    with pytest.raises(ValueError, match=message):
        clone(HASHING).fit(np.eye(9)).kneighbors(kind(TEXTS))


def test_digits_in_arrays_of_objects_are_numbers():
    """As in scikit-learn."""
    X = np.arange(12).reshape(6, 2)
    found = clone(FAST).fit(X.astype(str).astype(object)).transform(X)
    np.testing.assert_array_equal(found, clone(FAST).fit(X.astype(float)).transform(X))


def test_missing_values_are_refused_with_the_imputer():
    X = np.array([[0.5, np.nan], [0.2, 0.1]])
    machine = RestrictedBoltzmannMachine(2, max_iter=1)
    stack = StackedAutoencoderClassifier(autoencoder=machine)
    for estimator in (machine, DeepBeliefNetwork(), stack, AutoencoderOutlierDetector(FAST)):
        name = type(estimator).__name__
        _refused(
            estimator,
            X,
            rf"^Input X contains NaN\.\n{name} does not accept missing values: .*"
            rf"make_pipeline\(AutoencoderImputer\(\), {name}\(\.\.\.\)\)\.$",
        )


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_one_sample_is_recognised(kind):
    images = np.random.default_rng(0).uniform(size=(20, 4, 4))
    coloured = np.random.default_rng(0).uniform(size=(20, 4, 4, 3))
    convolutional = ConvolutionalAutoencoder(2, channels=(2,), max_iter=1)
    detector = AutoencoderOutlierDetector(FAST, n_estimators=2)
    for estimator, X, x, remedy in [
        (FAST, images, images[0], "X[None]"),
        (convolutional, coloured, coloured[0], "X[None]"),
        (detector, images, images[0], "X[None]"),
        (FAST, images.reshape(20, -1), images[0], "X.reshape(1, -1)"),
        (AutoencoderImputer(FAST), images.reshape(20, -1), images[0], "X.reshape(1, -1)"),
    ]:
        fitted = clone(estimator).fit(X)
        method = getattr(fitted, "transform", getattr(fitted, "predict", None))
        with pytest.raises(ValueError, match=re.escape(f"If X is one sample, pass {remedy}.")):
            method(kind(x))
        assert len(method(x[None] if remedy == "X[None]" else x.reshape(1, -1))) == 1
        with pytest.raises(ValueError, match=r"X has") as caught:
            method(kind(x[:-1]))
        assert "one sample" not in str(caught.value)
