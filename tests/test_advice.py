"""Warnings of a fit about data that were probably not meant as they are."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import (
    Autoencoder,
    AutoencoderImputer,
    AutoencoderOutlierDetector,
    DenoisingAutoencoder,
    LSTMAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae.networks import ConvolutionalNetwork, DenseNetwork
from sklearn_ae.sources import open_source


def _fast(**parameters):
    options = {"hidden_layer_sizes": (3,), "max_iter": 1, "random_state": 0}
    return Autoencoder(1, **(options | parameters))


def _X(ratio, n_samples=40):
    """Columns of variance one, but the third of the variance `ratio`."""
    X = np.random.default_rng(0).normal(size=(n_samples, 4))
    X = (X - X.mean(0)) / X.std(0)
    X[:, 2] *= np.sqrt(ratio)
    return X


def _fit_silently(model, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return model.fit(*arguments, **options)


@pytest.mark.parametrize("n_samples", [10, 40])
def test_a_column_with_nearly_all_of_the_variance_is_named(n_samples):
    just_below, just_above = 3 * 0.9899 / 0.0101, 3 * 0.9901 / 0.0099
    _fit_silently(_fast(), _X(just_below, n_samples))
    message = r"Column 2 has 99.01 % of the variance .* make_pipeline\(StandardScaler\(\), Auto"
    with pytest.warns(UserWarning, match=message) as caught:
        _fast().fit(_X(just_above, n_samples))
    assert len(caught) == 1
    frame = pd.DataFrame(_X(just_above, n_samples), columns=["age", "size", "income", "n"])
    with pytest.warns(UserWarning, match="Column 'income' has 99.01 %"):
        _fast().fit(frame)
    _fit_silently(make_pipeline(StandardScaler(), _fast()), frame)


def test_few_of_many_columns_are_named():
    X = np.random.default_rng(0).normal(size=(60, 40))
    X[:, [3, 7, 11, 20]] *= [200, 120, 100, 90]
    names = [f"c{place}" for place in range(40)]
    message = (
        r"Columns 'c3', 'c7', 'c11' and others have 99.9\d % .* If the columns have different"
    )
    with pytest.warns(UserWarning, match=message):
        _fast().fit(pd.DataFrame(X, columns=names))
    _fit_silently(_fast(), X)  # without names: perhaps pixels
    X[:, [11, 20]] /= 90
    with pytest.warns(UserWarning, match=r"Columns 'c3', 'c7' have 99.\d+ %"):
        _fast().fit(pd.DataFrame(X, columns=names))
    _fit_silently(_fast(), pd.DataFrame(X[:, :19], columns=names[:19]))  # more than a tenth


def test_identifiers_and_quantities_as_strings_are_named():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"size": random.normal(size=60), "kind": list("abc") * 20})
    _fit_silently(_fast(), frame)
    named = frame.assign(row=[f"row {number}" for number in range(60)])
    with pytest.warns(UserWarning, match="Column 'row' has 60 categories in 60 rows: .* Leave"):
        _fast().fit(named)
    _fit_silently(_fast(), named[:40])  # chance, perhaps
    written = frame.assign(price=[f"{number}.5" for number in range(20)] * 3)
    with pytest.warns(UserWarning, match="Column 'price' holds numbers written as strings"):
        _fast().fit(written)
    _fit_silently(_fast(), written.astype({"price": "category"}))
    _fit_silently(_fast(categorical_features=["kind", "price"]), written)
    for codes in ([f"{number}" for number in range(5)], [f"0{number}" for number in range(20)]):
        _fit_silently(_fast(), frame.assign(code=np.resize(np.array(codes, object), 60)))
    _fit_silently(_fast(), frame.assign(code=[f"{10115 + number % 20}" for number in range(60)]))


def test_clean_samples_that_are_ignored_are_named():
    X, options = _X(1.0), {"hidden_layer_sizes": (3,), "max_iter": 1, "random_state": 0}
    with pytest.warns(UserWarning, match="y has the shape of X, but is ignored: Denoising"):
        DenoisingAutoencoder(1, **options).fit(X + 0.1, X)
    _fit_silently(DenoisingAutoencoder(1, **options), X, np.arange(len(X)))
    _fit_silently(make_pipeline(_fast(), Ridge()), X, X + 0.1)  # targets of the last step


def test_a_word_of_a_few_long_texts_is_named():
    X = np.random.default_rng(0).poisson(0.5, size=(40, 4)).astype(float)
    X[:2, 1] = 500
    message = r"Column 1 has 99.9\d % .* Put a TfidfTransformer\(sublinear_tf=True\) before Auto"
    with pytest.warns(UserWarning, match=message):
        _fast().fit(sp.csr_array(X))
    _fit_silently(make_pipeline(TfidfTransformer(sublinear_tf=True), _fast()), sp.csr_array(X))
    with pytest.warns(UserWarning, match="Column 2 has 95.1"):
        _fast().fit(sp.csr_array(_X(3 * 0.951 / 0.049)))


def test_weights_and_missing_values_count():
    X = _X(1.0)
    X[0, 1] = 500.0
    with pytest.warns(UserWarning, match="Column 1 "):
        _fast().fit(X)
    _fit_silently(_fast(), X, sample_weight=np.arange(len(X)) > 0)
    X[0, 1] = np.nan
    _fit_silently(_fast(), X)
    X[1, 0] = 500.0
    with pytest.warns(UserWarning, match="Column 0 "):
        _fast().fit(X)


def test_samples_in_files_are_warned_of_too(tmp_path):
    frame = pd.DataFrame(_X(1e4), columns=list("abcd"))
    frame.to_parquet(tmp_path / "rows.parquet")
    with pytest.warns(UserWarning, match="Column 'c' has 99.97 %"):
        _fast().fit(open_source(tmp_path / "rows.parquet"))


def test_only_the_first_of_several_calls_warns():
    model = _fast(warm_start=True)
    with pytest.warns(UserWarning, match="Column 2 "):
        model.partial_fit(_X(1e4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_fit(_X(1e4)).fit(_X(1e4))


@pytest.mark.parametrize(
    ("model", "X"),
    [
        pytest.param(_fast(), _X(1e4).reshape(-1, 2, 2), id="images"),
        pytest.param(LSTMAutoencoder(1, max_iter=1, random_state=0), _X(1e4), id="sequences"),
        pytest.param(
            _fast(network=ConvolutionalNetwork(channels=(2,))).set_params(n_components=2),
            _X(1e4),
            id="signals",
        ),
        pytest.param(_fast(), sp.csr_array(_X(3 * 0.949 / 0.051)), id="sparse"),
        pytest.param(_fast(loss="poisson"), np.abs(_X(1e4)), id="another scale"),
        pytest.param(_fast(), _X(1e4, n_samples=9), id="few samples"),
        pytest.param(_fast(), _X(1e4)[:, 1:3], id="points in a plane"),
        pytest.param(_fast(), _X(1e4) * [0, 1, 1, 0], id="two columns that vary"),
        pytest.param(_fast(), np.zeros((20, 3)), id="constant"),
        pytest.param(
            VariationalAutoencoder(
                1, max_iter=1, network=DenseNetwork(hidden_layer_sizes=(3,)), random_state=0
            ),
            pd.DataFrame(_X(1e4)).assign(kind=pd.Categorical(list("ab") * 20)).rename(columns=str),
            id="table",
        ),
        pytest.param(AutoencoderImputer(_fast()), _X(1e4), id="imputer"),
        pytest.param(AutoencoderOutlierDetector(n_estimators=2), _X(1e4), id="detector"),
    ],
)
def test_no_warning_where_columns_have_one_unit_or_are_scaled(model, X):
    _fit_silently(model, X)


def test_a_network_may_doubt_the_shape_of_samples():
    class Doubting(DenseNetwork):
        def doubt(self, sample_shape):
            return f"Samples of shape {sample_shape}?"

    with pytest.warns(UserWarning, match=re.escape("Samples of shape (4,)?")) as caught:
        model = _fast(network=Doubting(hidden_layer_sizes=(3,))).fit(_X(1.0))
    assert len(caught) == 1
    assert _fit_silently(model.set_params(warm_start=True), _X(1.0)).n_iter_ == 1
