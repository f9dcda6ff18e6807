"""Tables in ONNX: an input for each column."""

import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from test_tables import ESTIMATORS, SMALL, frame, name_of, polars_frame

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    to_onnx,
)
from sklearn_ae._onnx.tables import ByBlock
from sklearn_ae._tables.loss import Layout, table_loss

DTYPES = {1: np.float32, 7: np.int64, 9: np.bool_}


def feeds(model, table):
    """Return the columns of a table as the inputs of a model."""
    result = {}
    for entry in model.graph.input:
        number = entry.type.tensor_type.elem_type
        column = table[entry.name]
        values = column.to_list() if isinstance(column, pl.Series) else column.tolist()
        if number == 8:
            values = np.array(
                ["" if value != value or value is None else value for value in values], object
            )
        elif number == 7 and entry.name in ("day", "hour"):  # microseconds
            dates = pd.to_datetime(pd.Series(values), utc=True)
            values = dates.dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
        else:
            values = np.array(values, DTYPES[number])
        result[entry.name] = values[:, None]
    return result


def run(model, table):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, feeds(model, table))


def with_heavy_tails(seed, n_samples=300):
    """A table with two columns whose quantiles are used, one with many equal values."""
    rng = np.random.default_rng(seed)
    amounts = np.where(rng.random(n_samples) < 0.8, 0, np.rint(rng.lognormal(5, 2, n_samples)))
    tails = rng.standard_t(1.5, n_samples).round(1)
    return frame(n_samples, seed).assign(amount=amounts, tail=tails)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
def test_results_are_those_of_the_estimator(estimator):
    model = clone(estimator).fit(with_heavy_tails(0))
    assert sum(getattr(c, "quantiles", None) is not None for c in model._table.columns) >= 2
    fresh = with_heavy_tails(1, 100)
    fresh.loc[fresh.index[:2], "amount"] = [1e6, 5.0]  # beyond the largest, between two
    exported = to_onnx(model, ["transform", "score_samples"])
    codes, scores = run(exported, fresh)
    expected = model.transform(fresh)
    np.testing.assert_allclose(codes, expected, atol=1e-5 * np.abs(expected).max())
    expected = model.score_samples(fresh)
    np.testing.assert_allclose(scores, expected, atol=1e-5 * np.abs(expected).max())
    codes, scores = run(exported, fresh[:0].assign(day=fresh["day"][:0]))
    assert codes.shape == (0, 2)
    assert scores.shape == (0,)


def test_missing_values_and_unknown_categories():
    table = frame(300)[["price", "weather", "count"]].astype({"count": float})
    gaps = table.mask(np.random.default_rng(0).random(table.shape) < 0.2)
    model = Autoencoder(2, **SMALL).fit(gaps)
    gaps.loc[gaps.index[0], "weather"] = "hail"
    exported = to_onnx(model, ["transform", "score_samples"])
    for found, expected in zip(
        run(exported, gaps), [model.transform(gaps), model.score_samples(gaps)], strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_tables_of_polars_and_pooled_categories():
    table = polars_frame(200)
    model = Autoencoder(2, max_categories=2, **SMALL).fit(table)
    (codes,) = run(to_onnx(model), table)
    np.testing.assert_allclose(codes, model.transform(table), atol=1e-5)


def test_categories_of_other_types():
    rng = np.random.default_rng(0)
    array = np.column_stack([rng.normal(size=60), rng.integers(3, size=60) / 2])
    model = Autoencoder(1, categorical_features=[1], **SMALL).fit(array)
    table = pd.DataFrame(array, columns=["0", "1"])
    (codes,) = run(to_onnx(model), table)
    np.testing.assert_allclose(codes, model.transform(array), atol=1e-5)
    mixed = pd.DataFrame({"a": rng.normal(size=60), "b": [1, "x"] * 30})
    model = Autoencoder(1, **SMALL).fit(mixed)
    with pytest.raises(ValueError, match="column 'b' has categories of several types"):
        to_onnx(model)
    empty = pd.DataFrame({"a": rng.normal(size=60), "b": ["x", "y"] * 30, "c": [None] * 60})
    model = Autoencoder(1, categorical_features=["b", "c"], **SMALL).fit(empty)
    (codes,) = run(to_onnx(model), empty)
    np.testing.assert_allclose(codes, model.transform(empty), atol=1e-5)


@pytest.mark.parametrize("kind", [StackedAutoencoderClassifier, StackedAutoencoderRegressor])
def test_supervised_stacks(kind):
    table, y = frame(200), np.arange(200) % 3
    model = kind(hidden_layer_sizes=(8,), max_iter=3, random_state=0).fit(table, y)
    exported = to_onnx(model)
    for output, found in zip(exported.graph.output, run(exported, table), strict=True):
        np.testing.assert_allclose(found, getattr(model, output.name)(table), atol=1e-5)


def test_blocks_one_by_one_and_together_are_equal():
    """Few blocks are treated one by one, many together, and in ONNX always one by one."""
    rng = np.random.default_rng(0)
    widths = tuple(rng.integers(1, 6, 30).tolist())
    many, few = Layout(2, widths), ByBlock(2, widths)
    assert few.by_block() > many.by_block()
    output = torch.from_numpy(5 * rng.normal(size=(7, many.n_features)))
    target = torch.from_numpy(rng.random((7, many.n_features)))
    for name in ("value", "gradient", "mean", "deviances"):
        both = [
            getattr(table_loss(layout), name)(*((output,) if name == "mean" else (output, target)))
            for layout in (many, few)
        ]
        torch.testing.assert_close(*both)


def test_what_cannot_be_exported():
    table = frame(60)
    model = Autoencoder(2, **SMALL).fit(table)
    with pytest.raises(ValueError, match="can be exported: transform, score_samples"):
        to_onnx(model, "reconstruct")
    pipeline = make_pipeline(model, LogisticRegression()).fit(table, np.arange(60) % 2)
    detector = AutoencoderOutlierDetector(n_estimators=2).fit(table)
    for estimator in (pipeline, detector):
        with pytest.raises(ValueError, match="only autoencoders and supervised stacks can be"):
            to_onnx(estimator)
