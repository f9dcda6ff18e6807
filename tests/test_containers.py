"""Objects, booleans, nullable numbers, missing values, NumPy's numbers: alike everywhere."""

import functools

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, name_of, one_of_each
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.utils import get_tags

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    ConvolutionalAutoencoder,
    DenoisingAutoencoder,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    RestrictedBoltzmannMachine,
    SparseAutoencoder,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    UNetAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae.networks import LSTMNetwork

rng = np.random.default_rng(0)
integers = rng.integers(0, 5, size=(40, 6))
integers[:, 0] = np.arange(40)  # all samples differ
truths = (np.arange(40)[:, None] >> np.arange(6)) % 2 == 1
labels = np.arange(40) % 2
NAMES = list("abcdef")

SEQUENCES = [
    LSTMAutoencoder(hidden_size=4, max_iter=2),
    RecursiveAutoencoder(hidden_size=4, max_iter=2),
    RecursiveAutoencoder(hidden_size=4, tree="greedy", max_iter=2),
]
DETECTORS = [
    AutoencoderOutlierDetector(member, n_estimators=2)
    for member in (
        None,
        Autoencoder(2, max_iter=2),
        VariationalAutoencoder(2, max_iter=2),
        SEQUENCES[0],
        make_pipeline(MaxAbsScaler(), Autoencoder(2, max_iter=2)),
        make_pipeline(Autoencoder(2, max_iter=2)),
    )
]
EVERY = [*INSTANCES, *SUPERVISED, *OUTLIER_DETECTORS]


def every(instances):
    return pytest.mark.parametrize("estimator", instances, ids=name_of)


def result_of(estimator, X):
    """What a fit on some data makes of them."""
    fitted = clone(estimator).set_params(random_state=0).fit(X, labels)
    if hasattr(fitted, "explain"):
        shares = np.asarray(fitted.explain(X), float).reshape(len(labels), -1)
        return np.column_stack([fitted.score_samples(X), fitted.predict(X), shares])
    return fitted.transform(X)


@functools.cache
def expected_of(estimator, is_truth):
    return result_of(estimator, (truths if is_truth else integers).astype(float))


def sparse_frame(X):
    return pd.DataFrame.sparse.from_spmatrix(sp.csr_matrix(X.astype(float)), columns=NAMES)


def objects_of_polars(X):
    columns = {
        name: pl.Series([each.item() for each in values], dtype=pl.Object)
        for name, values in zip(NAMES, X.T, strict=True)
    }
    return pl.DataFrame(columns)


CONTAINERS = {
    "lists": lambda X: X.tolist(),
    "objects": lambda X: X.astype(object),
    "list of object arrays": lambda X: list(X.astype(object)),
    "frame": lambda X: pd.DataFrame(X, columns=NAMES),
    "frame of objects": lambda X: pd.DataFrame(X, columns=NAMES).astype(object),
    "nullable": lambda X: pd.DataFrame(X, columns=NAMES).convert_dtypes(),
    "mixed": lambda X: pd.DataFrame(X, columns=NAMES).astype({"a": float, "b": object}),
    "sparse columns": sparse_frame,
    "polars": lambda X: pl.DataFrame(X, schema=NAMES),
    "objects of polars": objects_of_polars,
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("X", [integers, truths], ids=["integers", "booleans"])
@every(
    [
        *(Autoencoder(max_iter=2), SEQUENCES[0], DETECTORS[0]),
        *(pytest.param(each, marks=pytest.mark.slow) for each in SEQUENCES[1:] + DETECTORS[1:]),
    ]
)
def test_any_container_of_numbers(estimator, X, container):
    expected = expected_of(estimator, X is truths)
    result = result_of(estimator, CONTAINERS[container](X))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def with_none(X):
    X = X.tolist()
    X[3][2] = None
    return X


MISSING = {
    "list": with_none,
    "tuples": lambda X: tuple(map(tuple, with_none(X))),
    "objects": lambda X: np.array(with_none(X), object),
    "frame of objects": lambda X: pd.DataFrame(with_none(X), columns=NAMES, dtype=object),
    "nullable": lambda X: pd.DataFrame(with_none(X), columns=NAMES).convert_dtypes(),
    "polars": lambda X: pl.DataFrame(with_none(X), schema=NAMES, orient="row"),
}


@functools.cache
def codes_with_a_gap(estimator, booleans):
    gaps = np.array(truths if booleans else integers / 50, float)
    gaps[3, 2] = np.nan
    return result_with_a_gap(estimator, gaps)


def result_with_a_gap(estimator, gaps):
    fitted = clone(estimator).set_params(random_state=0).fit(gaps, labels)
    return (fitted.transform if hasattr(fitted, "transform") else fitted.score_samples)(gaps)


@pytest.mark.parametrize(
    ("estimator", "container"),
    [
        pytest.param(each, container, id=f"{name_of(each)}-{container}")
        for each in EVERY
        for container in (MISSING if each in one_of_each(EVERY) else ["list"])
    ],
)
@pytest.mark.parametrize("X", [integers / 50, truths], ids=["numbers", "booleans"])
def test_missing_values_are_accepted_or_refused(estimator, X, container):
    broken = MISSING[container](X)
    if get_tags(estimator).input_tags.allow_nan:
        expected = codes_with_a_gap(estimator, X is truths)
        found = result_with_a_gap(estimator, broken)
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
        return
    with pytest.raises(ValueError, match="contains NaN"):
        clone(estimator).fit(broken, labels)


@pytest.mark.parametrize("container", MISSING)
@every([RestrictedBoltzmannMachine(max_iter=2), SEQUENCES[0], OUTLIER_DETECTORS[2]])
def test_missing_values_are_refused_by_fitted_estimators(estimator, container):
    broken = MISSING[container](integers / 50)
    whole = pd.DataFrame(integers / 50, columns=NAMES)
    fitted = clone(estimator).fit(whole if hasattr(broken, "columns") else integers / 50, labels)
    for method in ("transform", "reconstruct", "score_samples", "score", "predict", "explain"):
        if hasattr(fitted, method):
            y = (labels,) if method == "score" else ()
            with pytest.raises(ValueError, match="contains NaN"):
                getattr(fitted, method)(broken, *y)


@every(EVERY)
def test_tables_are_accepted_or_refused(estimator):
    """With every method, or by an error that says what to do."""
    table = pd.DataFrame(integers[:, :3] / 50, columns=["a", "b", "c"])
    table["d"] = np.where(np.arange(len(table)) % 3 > 0, "x", "y")
    model = clone(estimator).set_params(random_state=0)
    given = isinstance(model, AutoencoderOutlierDetector) and model.estimator is not None
    before = dict(vars(model))
    is_loss_of_numbers = estimator.get_params().get("loss", "squared_error") != "squared_error"
    if not hasattr(model, "categorical_features") or is_loss_of_numbers or given:
        with pytest.raises(ValueError, match="takes numbers only: encode|is a loss of numbers"):
            model.fit(table, labels)
        assert vars(model) == before
        return
    model.fit(table, labels)
    for method in ("transform", "predict", "score_samples", "predict_proba"):
        if hasattr(model, method):
            assert np.isfinite(getattr(model, method)(table)).all()
    for method in ("reconstruct", "explain"):
        if hasattr(model, method):
            assert list(getattr(model, method)(table).columns) == list(table.columns)
    assert "is_categorical_" in vars(model)


def test_missing_values_elsewhere_are_refused():
    X = integers.tolist()
    with pytest.raises(ValueError, match="contains NaN"):
        Autoencoder(max_iter=2).fit(X, sample_weight=[None, *[1.0] * 39])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        Autoencoder(max_iter=2).fit(X).inverse_transform([[0.5, None]])
    with pytest.raises(ValueError, match="Input y contains NaN"):
        UNetAutoencoder(channels=(2,), max_iter=2).fit(X, with_none(integers))


@every(SEQUENCES)
def test_none_after_the_end_of_a_sequence_is_missing(estimator):
    X = integers.astype(float)
    X[::3, 4:] = np.nan
    lists = [[None if np.isnan(value) else value for value in row] for row in X.tolist()]
    np.testing.assert_array_equal(result_of(estimator, lists), result_of(estimator, X))


@every(SEQUENCES)
def test_nan_in_sparse_columns(estimator):
    X = integers.astype(float)
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="contains NaN that is not the end of a sequence"):
        clone(estimator).fit(sparse_frame(X))


def test_regressors_take_none_for_no_target():
    regressor = StackedAutoencoderRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0)
    y = [None if each % 3 else float(each) for each in range(40)]
    missing = np.array(y, float)
    np.testing.assert_array_equal(
        clone(regressor).fit(integers, y).predict(integers),
        clone(regressor).fit(integers, missing).predict(integers),
    )


# Parameters

SIZES = [
    (Autoencoder(max_iter=2), "n_components"),
    (VariationalAutoencoder(max_iter=2), "n_components"),
    (SparseAutoencoder(max_iter=2), "n_components"),
    (RestrictedBoltzmannMachine(max_iter=2), "n_components"),
    (ConvolutionalAutoencoder(max_iter=1), "n_components"),
    (LSTMAutoencoder(hidden_size=4, max_iter=2), "n_components"),
    (LSTMAutoencoder(max_iter=2), "hidden_size"),
    (LSTMAutoencoder(max_iter=2), "n_layers"),
    (RecursiveAutoencoder(max_iter=2), "hidden_size"),
    (DenoisingAutoencoder(network=LSTMNetwork(), max_iter=2), "network__hidden_size"),
    (VariationalAutoencoder(max_iter=2), "n_importance_samples"),
    (Autoencoder(), "max_iter"),
    (Autoencoder(max_iter=2), "batch_size"),
    (AutoencoderOutlierDetector(), "n_estimators"),
]
LISTS = [
    (Autoencoder(max_iter=2), "hidden_layer_sizes"),
    (StackedAutoencoder(max_iter=2, pretraining_max_iter=1), "hidden_layer_sizes"),
    (StackedAutoencoderClassifier(max_iter=2, pretraining_max_iter=1), "hidden_layer_sizes"),
    (ConvolutionalAutoencoder(max_iter=1), "channels"),
]


def parameters(sizes):
    return pytest.mark.parametrize(
        ("estimator", "name"), sizes, ids=[f"{type(e).__name__}-{name}" for e, name in sizes]
    )


@pytest.mark.parametrize("value", [True, np.True_, 2**63, 2**60, 2.0, -1])
@parameters(SIZES)
def test_what_is_no_size_is_refused(estimator, name, value):
    message = f"'{name.split('__')[-1]}' parameter of .* must be .*int in the range.*Got"
    with pytest.raises(ValueError, match=message):
        clone(estimator).set_params(**{name: value}).fit(integers, labels)


@pytest.mark.parametrize("value", [True, np.True_, 2**63, 2.0, -1])
@parameters(LISTS)
def test_what_is_no_size_in_a_list_is_refused(estimator, name, value):
    for values in ((value,), (4, value)):
        with pytest.raises(ValueError, match=f"{name} must be positive integers, got"):
            clone(estimator).set_params(**{name: values}).fit(integers, labels)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int64, np.uint64])
@parameters([*SIZES, *LISTS])
def test_integers_of_numpy_are_as_good_as_python_s(estimator, name, dtype):
    X = integers / 50
    given = [clone(estimator).set_params(random_state=0) for _ in range(2)]
    for each, value in zip(given, (dtype(2), 2), strict=True):
        each.set_params(**{name: (value, value) if (estimator, name) in LISTS else value})
        each.fit(X, labels)
    assert type(given[0].get_params()[name]) is not int  # parameters are left as they are
    results = [e.score_samples(X) if hasattr(e, "explain") else e.transform(X) for e in given]
    np.testing.assert_array_equal(*results)


def test_sizes_that_no_memory_holds_are_told():
    with pytest.raises(MemoryError, match="choose a smaller network"):
        Autoencoder(2**58, max_iter=1).fit(integers)
