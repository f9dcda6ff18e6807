"""Tables of numbers and categories: in as they come, out as they were."""

import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import stats
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch.nn import functional

from sklearn_ae import (
    Autoencoder,
    AutoencoderImputer,
    AutoencoderOutlierDetector,
    DenoisingAutoencoder,
    SparseAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    VariationalAutoencoder,
    load,
    save,
)
from sklearn_ae._detection.error_statistics import mean_of_squares, weighted_median
from sklearn_ae._tables.columns import fit_number, from_normal, to_normal
from sklearn_ae._tables.loss import Layout, table_loss
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae.metrics import denoising_scorer
from sklearn_ae.plotting import LossCurveDisplay, ReconstructionDisplay

LAYOUT = Layout(2, (3, 2))
SMALL = {"max_iter": 5, "hidden_layer_sizes": (8,), "random_state": 0}
ESTIMATORS = [
    Autoencoder(2, **SMALL),
    DenoisingAutoencoder(2, **SMALL),
    DenoisingAutoencoder(2, noise="swap", **SMALL),
    VariationalAutoencoder(2, **SMALL),
]


def name_of(estimator):
    return type(estimator).__name__


def frame(n_samples=200, seed=0):
    """Columns of every kind that depend on two numbers."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_samples, 2))
    weather = np.select([z[:, 0] > 0.5, z[:, 0] < -0.5], ["hot", "cold"], "mild")
    made = pd.DataFrame(
        {
            "price": 3 * z[:, 0] + 0.1 * rng.normal(size=n_samples) + 100,
            "weather": weather,
            "open": z[:, 1] > 0,
            "count": np.rint(20 * z[:, 1]).astype(int),
            "day": pd.Timestamp("2024-02-29") + pd.to_timedelta((50 * z[:, 0]).round(), "D"),
            "size": pd.Categorical(np.where(z[:, 1] > 1, "L", "S"), ["S", "M", "L"], ordered=True),
            "rooms": np.clip(np.rint(z[:, 0] + 3), 1, 5).astype(np.int8),
        }
    )
    return made.set_index(np.arange(n_samples) + 7)


def polars_frame(n_samples=200):
    table = frame(n_samples)
    return pl.DataFrame(
        {
            "price": table["price"].to_numpy(),
            "weather": table["weather"].tolist(),
            "open": table["open"].to_numpy(),
            "day": [day.date() for day in table["day"]],
            "hour": pl.Series(table["day"].to_numpy()).dt.replace_time_zone("Europe/Berlin"),
            "size": pl.Series(table["size"].tolist(), dtype=pl.Enum(["S", "M", "L"])),
            "kind": pl.Series(table["weather"].tolist(), dtype=pl.Categorical),
            "count": pl.Series(table["count"].to_numpy(), dtype=pl.Int16),
        }
    )


# Loss


def outputs_and_targets(seed=0, n=6):
    rng = np.random.default_rng(seed)
    target = np.concatenate(
        [
            rng.normal(size=(n, 2)),
            np.eye(3)[rng.integers(3, size=n)],
            np.eye(2)[rng.integers(2, size=n)],
        ],
        axis=1,
    )
    return torch.from_numpy(5 * rng.normal(size=(n, 7))), torch.from_numpy(target)


def test_loss_is_the_mean_of_squared_errors_and_cross_entropies():
    output, target = outputs_and_targets()
    expected = (output - target)[:, :2].square().sum(1)
    for start, stop in ((2, 5), (5, 7)):
        expected += functional.cross_entropy(
            output[:, start:stop], target[:, start:stop], reduction="none"
        )
    loss = table_loss(LAYOUT)
    torch.testing.assert_close(loss.value(output, target), expected / 4)
    torch.testing.assert_close(loss.deviances(output, target).sum(1), expected)


@pytest.mark.parametrize("layout", [LAYOUT, Layout(7, ()), Layout(0, (4, 3))])
@pytest.mark.parametrize("has_gaps", [False, True])
def test_gradient_is_that_of_automatic_differentiation(layout, has_gaps):
    output, target = outputs_and_targets()
    loss = table_loss(layout)
    if has_gaps:
        missing = torch.zeros(6, 7, dtype=torch.bool)
        missing[0, 0] = missing[1, 2:5] = missing[2] = True
        if layout is LAYOUT:
            output, target = loss.ignoring(missing, output, target)
    output.requires_grad_()
    loss.value(output, target).sum().backward()
    torch.testing.assert_close(loss.gradient(output.detach(), target), output.grad)


def test_large_logits_neither_overflow_nor_leak_into_other_columns():
    output = torch.tensor([[0.0, 0.0, 1e4, -1e4, 0.0, 1.0, 0.0]])
    mean = table_loss(LAYOUT).mean(output)
    torch.testing.assert_close(mean[0, 2:5], torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(mean[0, 5:], torch.tensor([1.0, 0.0]).softmax(0))


def test_link_inverts_the_mean():
    mean = torch.tensor([[0.5, -2.0, 0.7, 0.2, 0.1, 0.5, 0.5]])
    loss = table_loss(LAYOUT)
    torch.testing.assert_close(loss.mean(loss.link(mean)), mean)


def test_missing_columns_have_no_loss_and_no_gradient():
    output, target = outputs_and_targets()
    loss = table_loss(LAYOUT)
    missing = torch.zeros(6, 7, dtype=torch.bool)
    missing[:, 0] = missing[:, 2:5] = True
    found = loss.deviances(*loss.ignoring(missing, output, target))
    expected = loss.deviances(output, target)
    assert not found[:, [0, 2]].any()
    torch.testing.assert_close(found[:, [1, 3]], expected[:, [1, 3]])
    gradient = loss.gradient(*loss.ignoring(missing, output, target))
    assert not gradient[missing].any()
    np.testing.assert_array_equal(
        LAYOUT.observed(target.masked_fill(missing, torch.nan))[0], [False, True, False, True]
    )


def test_drawn_categories_have_their_probabilities():
    torch.manual_seed(0)
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.0]).repeat(20_000, 1)
    drawn = LAYOUT.draw(logits)
    assert (drawn[:, :3].sum(1) == 1).all()
    assert (drawn[:, 3:].sum(1) == 1).all()
    for part in (slice(0, 3), slice(3, 5)):
        expected = 20_000 * logits[0, part].softmax(0).numpy()
        assert stats.chisquare(drawn[:, part].sum(0).numpy(), expected).pvalue > 1e-4


@pytest.mark.parametrize("noise", ["masking", "swap"])
def test_noise_replaces_whole_columns(noise):
    table = frame(500)
    model = DenoisingAutoencoder(2, noise=noise, noise_level=0.4, **SMALL).fit(table)
    module, layout = model.module_, model.module_.layout
    X = torch.from_numpy(model._table.encode(table)).repeat(20, 1)
    with drawing_from(make_generator(0)):
        corrupted = module.corrupt(X)
    changed = corrupted != X
    sizes = layout.split(corrupted)[1].split(layout.widths, -1)
    for before, after, column in zip(
        layout.split(X)[1].split(layout.widths, -1), sizes, range(9), strict=False
    ):
        replaced = (before != after).any(1)
        if noise == "masking":
            assert not after[replaced].any()
            share = 0.4
        else:  # a category replaces another one as often as two draws differ
            assert (after.sum(1) == 1).all()
            share = 0.4 * (1 - before.mean(0).square().sum())
        assert replaced.double().mean() == pytest.approx(float(share), abs=0.03), column
    assert changed[:, 0].double().mean() == pytest.approx(0.4, abs=0.03)
    torch.testing.assert_close(layout.from_columns(layout.to_columns(X)), X)


# Columns


def test_heavy_tails_become_normal_and_come_back():
    values = np.exp(3 * np.random.default_rng(0).normal(size=2000))
    column = fit_number("x", "float64", "float", values)
    assert column.quantiles is not None
    encoded = column.encode(values)
    assert stats.kurtosis(encoded[:, 0], fisher=False) == pytest.approx(3, abs=0.5)
    # Up to the quantiles between which values are interpolated.
    decoded = column.decode(encoded)
    assert stats.spearmanr(values, decoded).statistic > 0.999
    inner = (values > np.quantile(values, 0.01)) & (values < np.quantile(values, 0.99))
    np.testing.assert_allclose(decoded[inner], values[inner], rtol=0.05)
    light = fit_number("x", "float64", "float", np.log(values))
    assert light.quantiles is None


def test_many_equal_values_are_mapped_to_the_middle_of_their_ranks():
    values = np.array([0.0] * 80 + list(range(1, 21)))
    quantiles = np.quantile(values, np.linspace(0, 1, 100))
    normal = to_normal(values, quantiles)
    assert normal[0] == pytest.approx(stats.norm.ppf(0.4), abs=0.02)
    np.testing.assert_allclose(from_normal(normal, quantiles), values, atol=0.3)


def test_constant_and_empty_columns():
    table = frame()
    table["same"], table["none"] = 5.0, np.nan
    table["one"] = "a"
    reconstructed = clone(ESTIMATORS[0]).fit(table).reconstruct(table)
    np.testing.assert_allclose(reconstructed["same"], 5, atol=0.2)
    assert (reconstructed["one"] == "a").all()
    np.testing.assert_allclose(reconstructed["none"], 0, atol=0.2)


def test_integers_are_rounded_and_stay_in_their_range():
    table = frame()
    reconstructed = clone(ESTIMATORS[0]).fit(table).reconstruct(table)
    assert reconstructed["count"].dtype == table["count"].dtype
    assert reconstructed["count"].between(table["count"].min(), table["count"].max()).all()


# Estimators


@pytest.mark.parametrize("table", [frame(), polars_frame()], ids=["pandas", "polars"])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
def test_frames_come_back(estimator, table):
    model = clone(estimator).fit(table)
    codes = model.transform(table)
    assert isinstance(codes, np.ndarray)
    assert codes.shape == (200, 2)
    assert model.n_features_in_ == table.shape[1]
    np.testing.assert_array_equal(model.feature_names_in_, list(table.columns))
    made = {
        "reconstruct": model.reconstruct(table),
        "inverse_transform": model.inverse_transform(codes),
        "sample": model.sample(50, random_state=0),
        "interpolate": model.interpolate(table[:4], table[4:8], n_steps=3),
    }
    assert len(made["interpolate"]) == 12
    for name, result in made.items():
        assert type(result) is type(table), name
        if isinstance(table, pd.DataFrame):
            pd.testing.assert_series_equal(result.dtypes, table.dtypes)
        else:
            assert result.schema == table.schema, name
    if isinstance(table, pd.DataFrame):
        assert made["reconstruct"].index.equals(table.index)
    assert np.isfinite(model.score_samples(table)).all()
    assert model.score(table) <= 1


def test_columns_that_determine_each_other_are_reconstructed():
    train, test = frame(1000), frame(300, seed=1)
    model = Autoencoder(2, max_iter=150, random_state=0).fit(train)
    reconstructed = model.reconstruct(test)
    for name in ("weather", "open", "size"):
        assert (reconstructed[name] == test[name]).mean() > 0.9, name
    assert np.corrcoef(reconstructed["price"], test["price"])[0, 1] > 0.95
    assert model.score(test) > 0.8
    assert model.column_scores_.shape == (7,)
    assert model.column_scores_[:6].min() > 0.7


def test_score_is_the_explained_deviance():
    """Of numbers the squared error, of categories the cross-entropy, in an own computation."""
    table = frame()[["price", "weather"]]
    model = Autoencoder(1, max_iter=20, early_stopping=False, random_state=0).fit(table)
    price = (table["price"] - table["price"].mean()) / table["price"].std(ddof=0)
    kinds = [column.categories for column in model._table.columns if hasattr(column, "categories")]
    matrix = np.column_stack([price, *(table["weather"] == kind for kind in kinds[0])])
    with torch.no_grad():
        output = model.module_(torch.from_numpy(matrix)).numpy()
    squares = np.square(output[:, 0] - price).to_numpy()
    logits = output[:, 1:] - np.log(np.exp(output[:, 1:]).sum(axis=1, keepdims=True))
    entropies = -(matrix[:, 1:] * logits).sum(axis=1)
    shares = matrix[:, 1:].mean(axis=0)
    constant = np.array([1.0, -(shares * np.log(shares)).sum()])
    expected = 1 - (squares + entropies).mean() / constant.sum()
    assert model.score(table) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(
        model.column_scores_,
        1 - np.array([squares.mean(), entropies.mean()]) / constant,
        rtol=1e-6,
    )
    np.testing.assert_allclose(model.score_samples(table), -(squares + entropies) / 2, rtol=1e-5)


def test_history_has_the_held_out_loss_of_each_column():
    table = frame(300)
    model = Autoencoder(3, max_iter=30, random_state=0).fit(table)
    last = model.history_[-1]
    losses = [last[f"valid_loss_{name}"] for name in table]
    assert last["valid_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    # Relative to the deviance of the training samples from means and frequencies.
    assert model.validation_scores_[-1] == pytest.approx(model.score(table), abs=0.1)
    # The columns have nearly equal deviances.
    kept = model.validation_scores_[model.best_epoch_ - 1]
    assert kept == pytest.approx(np.mean(model.column_scores_), abs=0.1)
    display = LossCurveDisplay.from_estimator(model)
    assert not [name for name in display.lines_ if "price" in name]
    assert (
        "valid_loss_price"
        not in Autoencoder(3, max_iter=2, early_stopping=False).fit(table).history_[-1]
    )


def test_a_likelihood_of_columns_integrates_to_one():
    """The bound of a decoder that ignores its code is the log-density itself."""
    table = frame()[["price", "weather", "open"]]
    model = VariationalAutoencoder(1, max_iter=2, random_state=0).fit(table)
    module = model.module_
    output = torch.zeros(1, 1, 6, dtype=torch.float64)
    output[..., 0], output[..., 1:] = 0.3, torch.tensor([0.5, -1.0, 0.0, 1.0, 2.0])
    grid = torch.linspace(-60, 60, 24_001, dtype=torch.float64)
    total = 0.0
    for weather in range(3):
        for is_open in range(2):
            x = torch.zeros(len(grid), 6, dtype=torch.float64)
            x[:, 0], x[:, 1 + weather], x[:, 4 + is_open] = grid, 1, 1
            errors = module.errors_of_outputs(output.expand(1, len(grid), -1), x)
            total += float(torch.trapezoid((-errors[0].detach()).exp(), grid))
    assert total == pytest.approx(1, abs=1e-9)


def test_drawn_tables_are_like_the_data():
    table = frame(2000)
    model = VariationalAutoencoder(4, variance="per_feature", max_iter=75, random_state=0)
    drawn = model.fit(table).sample(4000, random_state=0)
    for name in ("weather", "open", "size", "rooms"):
        shares = table[name].value_counts(normalize=True)
        found = drawn[name].value_counts(normalize=True).reindex(shares.index, fill_value=0)
        assert np.abs(found - shares).max() < 0.08, name
    assert drawn["price"].std() == pytest.approx(table["price"].std(), rel=0.15)
    by_weather = drawn.groupby("weather")["price"].mean()
    assert by_weather["cold"] < by_weather["mild"] - 1 < by_weather["hot"] - 2


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
def test_missing_values_in_tables(estimator):
    table = frame(300)
    gaps = table.astype({"open": object, "size": object})
    random = np.random.default_rng(0)
    for name in gaps.columns:
        gaps.loc[random.random(300) < 0.15, name] = None
    gaps["size"] = gaps["size"].astype(table["size"].dtype)
    gaps.iloc[0] = None
    model = clone(estimator).fit(gaps)
    assert np.isfinite(model.transform(gaps)).all()
    assert not model.reconstruct(gaps).isna().any().any()
    assert np.isfinite(model.score_samples(gaps)).all()
    assert np.isfinite(model.score(gaps))


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
def test_unknown_and_rare_categories(estimator):
    table = frame()
    model = clone(estimator).fit(table)
    other, missing = table[:20].copy(), table[:20].copy()
    other["weather"], missing["weather"] = "snow", None
    np.testing.assert_array_equal(model.transform(other), model.transform(missing))
    table["weather"] = [f"city {n}" for n in range(200)]  # one for each sample
    with pytest.warns(UserWarning, match="Column 'weather' has 200 categories in 200 rows"):
        model.set_params(max_categories=10).fit(table)
    assert model.module_.center.shape[0] < 30
    assert set(model.reconstruct(table)["weather"]) <= set(table["weather"])
    drawn = model.sample(300, random_state=0)["weather"]
    assert drawn.nunique() > 50  # the rare ones by their frequencies


def test_very_many_categories():
    table = pd.DataFrame({"x": np.arange(1e5), "id": [f"{n}" for n in range(100_000)]})
    model = Autoencoder(1, max_iter=1, hidden_layer_sizes=(4,), random_state=0)
    with pytest.warns(UserWarning, match="Column 'id' holds numbers written as strings"):
        model.fit(table)
    assert model.input_shape_ == (51,)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=name_of)
def test_copies_files_and_continued_training(estimator, tmp_path):
    table = frame()
    model = clone(estimator).set_params(warm_start=True).fit(table)
    save(model, tmp_path / "model")
    for again in (load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        pd.testing.assert_frame_equal(again.reconstruct(table), model.reconstruct(table))
        pd.testing.assert_frame_equal(again.sample(5, 0), model.sample(5, 0))
        again.partial_fit(table).fit(table[:50])
    X = np.random.default_rng(0).normal(size=(30, 4))  # numbers again
    model.set_params(warm_start=False).fit(X)
    assert isinstance(model.reconstruct(X), np.ndarray)
    assert not hasattr(model, "is_categorical_")


def test_columns_may_be_chosen():
    table = frame()[["price", "rooms", "weather", "count"]]
    by_name = Autoencoder(1, categorical_features=["weather", "count"], **SMALL).fit(table)
    np.testing.assert_array_equal(by_name.is_categorical_, [False, False, True, True])
    for chosen in ([2, 3], [-1, -2], [False, False, True, True], np.array([2, 3])):
        other = clone(by_name).set_params(categorical_features=chosen).fit(table)
        np.testing.assert_array_equal(other.transform(table), by_name.transform(table))
    array = table.to_numpy()
    other = clone(by_name).set_params(categorical_features=[2, 3]).fit(array)
    np.testing.assert_allclose(other.transform(array), by_name.transform(table), atol=1e-6)
    assert other.reconstruct(array).dtype == object
    numbers = clone(other).fit(array[:, [0, 1, 3, 3]].astype(float))
    assert numbers.reconstruct(array[:5, [0, 1, 3, 3]].astype(float)).dtype == float


def test_frames_of_numbers_are_as_before():
    table = frame()[["price", "count", "rooms", "open"]]
    model = Autoencoder(2, **SMALL).fit(table)
    assert isinstance(model.reconstruct(table), np.ndarray)
    none = Autoencoder(2, categorical_features=None, **SMALL)
    np.testing.assert_array_equal(none.fit(table).transform(table), model.transform(table))
    with pytest.raises(ValueError, match="X holds strings.*, but categorical_features=None"):
        none.fit(frame())


def test_a_pipeline_and_a_search():
    table = frame(300)
    y = table.pop("open")
    pipeline = make_pipeline(Autoencoder(max_iter=30, random_state=0), LogisticRegression())
    search = GridSearchCV(pipeline, {"autoencoder__n_components": [1, 3]}, cv=2).fit(table, y)
    assert search.best_score_ > 0.8
    assert search.score(table, y) > 0.8


@pytest.mark.parametrize(
    ("params", "change", "message"),
    [
        ({"categorical_features": ["no"]}, {}, "'no', which X does not have"),
        ({"categorical_features": [9]}, {}, "9, which X does not have"),
        ({"categorical_features": [True]}, {}, "mask of 1 columns, but X has 7"),
        ({"categorical_features": ["rooms"]}, {}, "'weather' holds no numbers, but is not among"),
        (
            {"categorical_features": ["weather", "open", "size", "day"]},
            {},
            "'day' holds dates, which cannot be categories",
        ),
        ({"loss": "huber"}, {}, "loss='huber' is a loss of numbers, but X has columns"),
        ({}, {"price": np.inf}, "Column 'price' of X contains infinity"),
        ({}, {"weather": [(1, 2)] * 200}, "Column 'weather' has values of type tuple"),
    ],
)
def test_clear_errors_in_fit(params, change, message):
    model = Autoencoder(2, **SMALL).set_params(**params)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(frame().assign(**change))
    assert vars(model) == before


def test_clear_errors_later():
    table = frame()
    model = Autoencoder(2, **SMALL).fit(table)
    with pytest.raises(ValueError, match="'price' held numbers in fit, but now it has 'high'"):
        model.transform(table.assign(price="high"))
    with pytest.raises(ValueError, match="Column 'day' had the dtype datetime64"):
        model.transform(table.assign(day=1.0))
    with pytest.raises(ValueError, match="feature names"):
        model.transform(table[table.columns[::-1]])
    assert np.isfinite(model.transform(table.assign(weather=None))).all()


# Stacks and the imputer


@pytest.mark.parametrize("table", [frame(300), polars_frame(300)], ids=["pandas", "polars"])
def test_supervised_stacks_take_tables(table, tmp_path):
    y = np.where(frame(300)["price"] > 100, "dear", "cheap")
    features = (
        table.drop(columns="price") if isinstance(table, pd.DataFrame) else table.drop("price")
    )
    options = {"hidden_layer_sizes": (16,), "pretraining_max_iter": 5, "max_iter": 40}
    classifier = StackedAutoencoderClassifier(**options, random_state=0).fit(features, y)
    assert classifier.score(features, y) > 0.9
    np.testing.assert_array_equal(classifier.feature_names_in_, list(features.columns))
    save(classifier, tmp_path / "model")
    np.testing.assert_array_equal(
        load(tmp_path / "model").predict(features), classifier.predict(features)
    )
    numbers = np.asarray(frame(300)["price"])
    regressor = StackedAutoencoderRegressor(
        autoencoder=Autoencoder(3, max_iter=5), max_iter=60, random_state=0
    )
    assert regressor.fit(features, numbers).score(features, numbers) > 0.8


def with_gaps(table, rate=0.2):
    random = np.random.default_rng(0)
    if isinstance(table, pl.DataFrame):
        gone = [pl.Series(random.random(len(table)) < rate) for _ in table.columns]
        return table.with_columns(
            pl.when(mask).then(None).otherwise(table[name]).alias(name)
            for mask, name in zip(gone, table.columns, strict=True)
        )
    gaps = table.astype({"open": object})
    for name in gaps.columns:
        gaps[name] = gaps[name].mask(random.random(len(gaps)) < rate)
    return gaps


@pytest.mark.parametrize(
    ("table", "draws"),
    [
        (frame(400), False),
        (polars_frame(400), True),
        pytest.param(frame(400), True, marks=pytest.mark.slow),
        pytest.param(polars_frame(400), False, marks=pytest.mark.slow),
    ],
    ids=["pandas", "polars draws", "pandas draws", "polars"],
)
def test_tables_are_imputed(table, draws):
    gaps = with_gaps(table)
    imputer = AutoencoderImputer(
        Autoencoder(3, max_iter=60, random_state=0), sample_posterior=draws, random_state=0
    )
    filled = imputer.fit_transform(gaps)
    assert type(filled) is type(gaps)
    assert list(filled.columns) == list(gaps.columns)
    np.testing.assert_array_equal(imputer.get_feature_names_out(), gaps.columns)
    for name in gaps.columns:
        missing = np.array([each is None or each != each for each in gaps[name].to_list()])
        found, complete = np.array(filled[name].to_list()), np.array(table[name].to_list())
        np.testing.assert_array_equal(found[~missing], complete[~missing])
        if name in ("weather", "open", "size"):
            guess = max(np.mean(complete[~missing] == kind) for kind in set(complete[~missing]))
            right = (found[missing] == complete[missing]).mean()
            assert right > guess - (0.15 if draws else 0), name


@pytest.mark.parametrize("table", [frame(100), polars_frame(100)], ids=["pandas", "polars"])
@pytest.mark.parametrize("library", [pd, pl])
def test_imputed_tables_are_frames_of_the_library_asked_for(table, library):
    imputer = AutoencoderImputer(Autoencoder(2, **SMALL), random_state=0)
    imputer.set_output(transform=library.__name__)
    imputed = imputer.fit_transform(table)
    assert isinstance(imputed, library.DataFrame)
    for name in table.columns:
        assert [str(v) for v in imputed[name]] == [str(v) for v in table[name]]


def test_indicators_empty_columns_and_unknown_categories():
    gaps = with_gaps(frame(300))
    gaps["none"] = None
    imputer = AutoencoderImputer(
        Autoencoder(2, max_iter=3), add_indicator=True, random_state=0
    ).fit(gaps)
    filled = imputer.transform(gaps)
    assert list(filled.columns) == list(imputer.get_feature_names_out())
    assert "none" not in filled
    np.testing.assert_array_equal(filled["missingindicator_weather"], gaps["weather"].isna())
    kept = imputer.set_params(keep_empty_features=True, add_indicator=False).fit_transform(gaps)
    assert list(kept.columns) == list(gaps.columns)
    other = gaps[:5].assign(weather="snow")
    assert (imputer.transform(other)["weather"] == "snow").all()
    with pytest.raises(ValueError, match="missing_values=-1 applies to arrays of numbers"):
        imputer.set_params(missing_values=-1).fit(gaps)


def test_imputers_of_tables_are_saved(tmp_path):
    gaps = with_gaps(frame(200))
    imputer = AutoencoderImputer(Autoencoder(2, max_iter=3), random_state=0).fit(gaps)
    save(imputer, tmp_path / "model")
    expected = imputer.transform(gaps)
    for again in (load(tmp_path / "model"), pickle.loads(pickle.dumps(imputer))):
        pd.testing.assert_frame_equal(again.transform(gaps), expected)
    array = gaps.drop(columns="day").to_numpy()
    by_index = imputer.set_params(categorical_features=[1, 2, 4]).fit(array).transform(array)
    assert by_index.shape == array.shape
    assert not pd.isna(by_index).any()


# Odd columns


def test_weights_are_copies():
    """Of the encoding, too: a sample of weight zero neither scales nor has a category."""
    table = frame(40)
    table["tail"] = np.exp(3 * np.random.default_rng(1).normal(size=40))
    table.iloc[0, :2] = 1e6, "snow"
    weight = np.array([0] + 5 * [2] + 34 * [1])
    model = Autoencoder(2, **SMALL).set_params(batch_size=1000, early_stopping=False)
    weighted = clone(model).fit(table, sample_weight=weight)
    copies = model.fit(table.iloc[np.repeat(np.arange(40), weight)])
    assert weighted.input_shape_ == copies.input_shape_
    codes = copies.transform(table[1:])
    np.testing.assert_allclose(weighted.transform(table[1:]), codes, atol=1e-9)


def test_large_integers_are_neither_rounded_nor_too_large():
    large = [2**60 + 1, 2**60 + 2] * 20
    table = pd.DataFrame({"kind": ["a", "b"] * 20, "id": large})
    table["most"] = 2**63 - 1 - np.arange(40)
    reconstructed = Autoencoder(1, **SMALL).fit(table).reconstruct(table)
    assert set(reconstructed["id"]) <= set(large)
    assert (reconstructed["most"] > 2**62).all()
    dates = pd.DataFrame(
        {"kind": ["a", "b"] * 20, "day": [pd.Timestamp.min, pd.Timestamp.max] * 20}
    )
    assert Autoencoder(1, **SMALL).fit(dates).reconstruct(dates)["day"].notna().all()


def test_numbers_of_any_size_are_standardised():
    table = frame(60)
    for power in (160, -200, 307):
        table[f"1e{power}"] = np.random.default_rng(0).uniform(-1, 1, 60) * 10.0**power
    seconds = 1_700_000_000_000_000 + np.random.default_rng(1).integers(0, 1500, 60)
    table["short"] = pd.to_datetime(seconds, unit="us")
    model = Autoencoder(2, **SMALL).fit(table)
    matrix = model._table.encode(table)[:, : model._table.layout.n_numbers]
    # Dates are 1e12 times as large as they differ.
    np.testing.assert_allclose(matrix.std(axis=0), 1, rtol=1e-4)
    reconstructed = model.reconstruct(table)
    assert np.isfinite(reconstructed.select_dtypes(float)).all().all()


def test_constant_categories_alone():
    table = pd.DataFrame({"kind": ["a"] * 40, "number": 1.0})
    for columns in (["kind"], ["kind", "number"]):
        model = Autoencoder(1, **SMALL).fit(table[columns])
        assert model.score(table[columns]) == 1
        pd.testing.assert_frame_equal(model.reconstruct(table[columns]), table[columns])


def test_missing_marks_of_every_library():
    values = pd.array(["a", None] * 20, dtype="string")
    table = pd.DataFrame({"x": np.arange(40.0), "kind": values})
    table["count"] = pd.array([None, 5, 6, 7] * 10, dtype="Int64")
    table["open"] = pd.array([True, None, False, True] * 10, dtype="boolean")
    model = Autoencoder(2, **SMALL).fit(table)
    pd.testing.assert_series_equal(model.reconstruct(table).dtypes, table.dtypes)
    with pytest.warns(UserWarning, match="valid feature names"):
        codes = model.transform(table.to_numpy())
    np.testing.assert_allclose(codes, model.transform(table))


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_units_of_dates_stay(unit):
    start = pl.Series([1_577_836_800 * 10**9 + 37 * 10**6 * i for i in range(40)])
    table = pl.DataFrame({"kind": ["a", "b"] * 20, "t": start.cast(pl.Datetime("ns"))})
    table = table.with_columns(pl.col("t").cast(pl.Datetime(unit)))
    gaps = table.with_columns(pl.when(pl.int_range(40) > 2).then(pl.col("t")).alias("t"))
    assert Autoencoder(1, **SMALL).fit(table).reconstruct(table).schema == table.schema
    filled = AutoencoderImputer(Autoencoder(1, **SMALL), random_state=0).fit_transform(gaps)
    assert filled.schema == table.schema
    assert filled["t"][3:].equals(table["t"][3:])


def test_later_chunks_may_have_new_categories():
    table = frame(60)
    new = table.assign(weather=["snow", *table["weather"][1:]])
    model = Autoencoder(2, **SMALL).partial_fit(table).partial_fit(new)
    assert np.isfinite(model.transform(new)).all()
    with pytest.raises(ValueError, match="contains NaN, but the first samples"):
        model.partial_fit(table.assign(price=np.nan))


def test_the_imputer_takes_other_categories_and_widths():
    table = frame(60).drop(columns="day")
    imputer = AutoencoderImputer(Autoencoder(2, **SMALL), random_state=0).fit(table)
    other = table.astype({"rooms": float, "size": str}).astype({"size": "category"})
    other["weather"] = pd.Categorical([None] + ["snow"] * 59)
    other.loc[other.index[1], "rooms"] = np.nan
    filled = imputer.transform(other)
    assert not filled.isna().any().any()
    assert filled["weather"].iloc[0] in set(table["weather"])
    empty = table.assign(none=pd.array([None] * 60, dtype="Int64"))
    kept = imputer.set_params(keep_empty_features=True).fit_transform(empty)
    assert (kept["none"] == 0).all()


def test_arrays_of_numbers_stay_arrays_of_numbers():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=40), np.arange(40) % 3, rng.normal(size=40)])
    X[3, 1] = np.nan
    imputer = AutoencoderImputer(Autoencoder(2, **SMALL), categorical_features=[1], random_state=0)
    filled = imputer.fit_transform(X)
    assert filled.dtype == float
    assert filled[3, 1] in (0, 1, 2)


@pytest.mark.parametrize("place", range(2))
def test_unsupported_columns_are_named(place):
    unsupported = [
        pd.DataFrame({"kind": ["a", "b"] * 20, "odd": np.arange(40) * 1j}),
        pl.DataFrame({"kind": ["a", "b"] * 20, "odd": [Decimal("1.5")] * 40}),
    ]
    with pytest.raises(ValueError, match="Column 'odd' has the unsupported dtype"):
        Autoencoder(2, **SMALL).fit(unsupported[place])


def test_what_takes_no_tables_says_so(tmp_path):
    table = frame(60)
    takes_numbers = SparseAutoencoder(2, max_iter=1)
    for estimator in (takes_numbers, AutoencoderOutlierDetector(takes_numbers)):
        with pytest.raises(ValueError, match="takes numbers only: encode them"):
            estimator.fit(table)
    model = Autoencoder(2, **SMALL).fit(table)
    with pytest.raises(ValueError, match="energy is defined for numbers"):
        model.energy(table)
    with pytest.raises(ValueError, match="denoising_scorer takes numbers only"):
        denoising_scorer("gaussian", 0.1)(model, table)
    with pytest.raises(ValueError, match="This plot shows samples as numbers"):
        ReconstructionDisplay.from_estimator(model, table)
    with pytest.raises(ValueError, match="belongs to AutoencoderImputer"):
        AutoencoderImputer(Autoencoder(2, categorical_features=[0])).fit(np.ones((9, 2)))
    with pytest.raises(ValueError, match="encode the table before both"):
        StackedAutoencoderClassifier(autoencoder=FrozenEstimator(model)).fit(
            table, np.arange(60) % 2
        )


@pytest.mark.parametrize(
    "changed",
    [
        {"dtype": "S999999999"},
        {"name": "price"},
        {"declared": [[]]},
        {"declared": ["a", "a"]},
        {"categories": ["hot", float("nan"), "mild"]},
        {"width": 10**9},
        {"frequencies": np.ones(2)},
    ],
    ids=str,
)
def test_forged_tables_are_refused(changed, tmp_path):
    model = Autoencoder(2, **SMALL).fit(frame(60))
    columns = list(model._table.columns)
    columns[1] = columns[1]._replace(**changed)
    model._table = model._table._replace(columns=tuple(columns))
    with pytest.raises(ValueError, match=r"of its table|its table has"):
        save(model, tmp_path / "model")


# Outliers


@pytest.fixture(scope="module")
def detector():
    return AutoencoderOutlierDetector(contamination=0.05, random_state=0).fit(frame(600))


def with_permuted(table, name):
    """Replace the values of a column by those of other rows; return the rows that changed."""
    changed = table.copy()
    changed[name] = np.random.default_rng(1).permutation(table[name].to_numpy())
    return changed[changed[name].to_numpy() != table[name].to_numpy()]


@pytest.mark.parametrize("name", ["price", "weather", "rooms", "open"])
def test_values_of_other_rows_are_anomalous(detector, name):
    """More so than to Isolation Forest, which sees the categories as indicators."""
    table, queries = frame(600), frame(300, seed=5)
    changed = with_permuted(queries, name)
    parts = [table, queries, changed]
    together = pd.concat(parts, ignore_index=True)
    encoded = pd.get_dummies(together.assign(day=together["day"].astype(int)), dtype=float)
    forest = IsolationForest(random_state=0).fit(encoded[:600])
    is_changed = np.arange(600, len(together)) >= 900
    of_forest = roc_auc_score(is_changed, -forest.score_samples(encoded[600:]))
    found = roc_auc_score(is_changed, -detector.score_samples(together[600:]))
    assert found > max(0.7, of_forest)


def test_explanations_name_columns(detector):
    queries = frame(300, seed=5)
    for name in ("price", "day", "rooms"):
        fractions = detector.explain(with_permuted(queries, name))
        assert list(fractions.columns) == list(queries.columns)
        np.testing.assert_allclose(fractions.sum(axis=1), 1)
        # Price and day determine each other: which is wrong, only the other columns tell.
        assert name in fractions.mean().nlargest(2).index


def test_unknown_categories_are_anomalous(detector):
    queries = frame(300, seed=5)
    scores = detector.score_samples(queries)
    assert (detector.score_samples(queries.assign(weather="hail")) < scores).mean() > 0.9
    np.testing.assert_array_equal(detector.is_categorical_, [0, 1, 1, 0, 0, 1, 1])


def test_numbers_far_beyond_the_others_are_anomalous():
    """Also in a column with heavy tails, among many columns."""
    rng = np.random.default_rng(0)
    table = frame(500).assign(income=rng.lognormal(10, 1.5, 500))
    for number in range(20):
        table[f"noise {number}"] = rng.normal(size=500)
    detector = AutoencoderOutlierDetector(random_state=0).fit(table)
    far = table[:1].assign(income=1e9)
    assert detector.predict(far) == -1
    assert detector.p_values(far) < 0.01
    assert detector.explain(far).iloc[0].idxmax() == "income"


@pytest.mark.parametrize("kind", ["table", "array", "float32"])
def test_missing_values_are_not_anomalous(kind):
    """As many samples with gaps are flagged as without, and gaps have no part in the anomaly."""
    rng = np.random.default_rng(0)

    def draw(n_samples, seed):
        table = frame(n_samples, seed)
        if kind == "table":
            return table.mask(rng.random(table.shape) < 0.2)
        z = np.random.default_rng(seed).normal(size=(n_samples, 3))
        X = np.column_stack([z, z[:, 0] + z[:, 1], 2 * z[:, 2]])
        X[rng.random(X.shape) < 0.2] = np.nan
        return X.astype(np.float32 if kind == "float32" else float)

    detector = AutoencoderOutlierDetector(contamination=0.1, random_state=0).fit(draw(600, 0))
    fresh = draw(600, 1)
    n_flagged = (detector.predict(fresh) == -1).sum()
    # Both the threshold and the count are those of 600 samples.
    assert stats.norm.sf(abs(n_flagged - 60) / np.sqrt(2 * 600 * 0.1 * 0.9)) > 1e-4
    gaps = np.asarray(pd.isna(fresh))
    some = ~gaps.all(axis=1)  # a sample without any value has equal fractions
    assert not np.asarray(detector.explain(fresh))[some][gaps[some]].any()
    nothing = (
        fresh[:1].mask(np.ones((1, 7), bool))
        if kind == "table"
        else np.full_like(fresh[:1], np.nan)
    )
    assert detector.score_samples(nothing)[0] == 0
    # Missing values may also come up only later.
    whole = frame(200) if kind == "table" else np.nan_to_num(draw(200, 2))
    of_whole = AutoencoderOutlierDetector(n_estimators=2, random_state=0).fit(whole)
    assert np.isfinite(of_whole.score_samples(fresh)).all()


@pytest.mark.parametrize("form", [np.asarray, csr_array], ids=["integers", "sparse"])
def test_values_may_be_missing_only_later(form):
    """Also if the training data could have none."""
    X = np.random.default_rng(0).integers(0, 50, size=(200, 4))
    detector = AutoencoderOutlierDetector(n_estimators=2, random_state=0).fit(form(X))
    gaps = np.where(np.random.default_rng(1).random(X.shape) < 0.3, np.nan, X)
    scores = detector.score_samples(gaps)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(detector.score_samples(gaps[::-1]), scores[::-1])
    assert not detector.explain(gaps[:5])[np.isnan(gaps[:5])].any()


@pytest.mark.parametrize("table", [frame(100), polars_frame(100)], ids=["pandas", "polars"])
def test_detectors_of_tables_are_copied(table, tmp_path):
    detector = AutoencoderOutlierDetector(n_estimators=2, random_state=0).fit(table)
    scores = detector.score_samples(table)
    save(detector, tmp_path / "detector")
    for other in (load(tmp_path / "detector"), pickle.loads(pickle.dumps(detector))):
        np.testing.assert_array_equal(other.score_samples(table), scores)
    np.testing.assert_allclose(
        detector.score_samples(table[20:40]), scores[20:40], rtol=0, atol=1e-5
    )
    assert type(detector.explain(table)) is type(table)
    np.testing.assert_allclose(scores, detector.held_out_scores_, rtol=0, atol=1e-5)


def test_medians_ignore_missing_values():
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=(50, 4)), rng.integers(1, 4, 50).astype(float)
    values[rng.random(values.shape) < 0.3] = np.nan
    values[:, 3] = np.nan
    repeated = np.repeat(values, weight.astype(int), axis=0)
    expected = [*np.nanmedian(repeated[:, :3], axis=0), 0.0]
    np.testing.assert_allclose(weighted_median(values, weight), expected)
    squares = [*np.nanmean(repeated[:, :3] ** 2, axis=0), 0.0]
    np.testing.assert_allclose(mean_of_squares(values, weight), squares)
