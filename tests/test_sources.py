"""Data that are read block by block give what the same data in memory give."""

import os
import pickle
import sys
import threading
from itertools import repeat

import numpy as np
import pytest
import torch
from instances import INSTANCES, name_of
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score

from sklearn_ae import (
    Autoencoder,
    AutoencoderImputer,
    AutoencoderOutlierDetector,
    ConvolutionalAutoencoder,
    DenoisingAutoencoder,
    FitCheckpoint,
    LSTMAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    VariationalAutoencoder,
)
from sklearn_ae._estimator import inputs
from sklearn_ae._sources import arrow
from sklearn_ae._sources.kinds import KINDS, as_source
from sklearn_ae._sources.source import ArrayInMemory
from sklearn_ae._training import batches, held_out, streaming
from sklearn_ae._training.batches import Batches, Samples
from sklearn_ae._training.linear import mean_and_variance
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._training.streaming import Stream, TemporaryRows
from sklearn_ae.sources import Source, open_source, register_source

pa = pytest.importorskip("pyarrow")
dataset = pytest.importorskip("pyarrow.dataset")
parquet = pytest.importorskip("pyarrow.parquet")

# Arrays that data with names are compared with have none.
pytestmark = [
    pytest.mark.filterwarnings("ignore:X does not have valid feature names"),
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame"),  # within Dask
]

N_ROWS, N_FEATURES = 600, 8
NAMES = [f"x{number}" for number in range(N_FEATURES)]
CPU = torch.device("cpu")


def samples_of(n_rows=N_ROWS, dtype=np.float32):
    rng = np.random.default_rng(0)
    t = rng.uniform(0, 6, (n_rows, 2))
    X = np.column_stack([np.sin(t), np.cos(t), t, t**2])
    return (X + 0.05 * rng.standard_normal(X.shape) + 3).astype(dtype)


X = samples_of()


def table_of(rows, names=NAMES):
    return pa.table([np.ascontiguousarray(column) for column in rows.T], names=names)


@pytest.fixture
def folder(tmp_path):
    """A folder of three Parquet files."""
    path = tmp_path / "files"
    path.mkdir()
    for number in range(3):
        part = table_of(X[200 * number : 200 * (number + 1)])
        parquet.write_table(part, path / f"{number}.parquet", row_group_size=40)
    return path


@pytest.fixture
def streamed(monkeypatch):
    """Nothing is small enough to be loaded or cached, and windows hold few blocks."""
    monkeypatch.setattr(inputs, "CACHE_BYTES", 0)
    monkeypatch.setattr(batches, "cache_limit", lambda device: 0)
    monkeypatch.setattr(streaming, "WINDOW_BYTES", 128 * N_FEATURES * 4)


def open_h5(folder):
    h5py = pytest.importorskip("h5py")
    file = h5py.File(folder / "data.h5", "w")
    return file.create_dataset("rows", data=X, chunks=(50, 4))


def open_zarr(folder):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(str(folder / "d.zarr"), shape=X.shape, chunks=(64, 8), dtype="f4")
    array[:] = X
    return array


def open_dask_array(folder):
    return pytest.importorskip("dask.array").from_array(X, chunks=(70, 3))


def open_dask_frame(folder):
    return pytest.importorskip("dask.dataframe").read_parquet(folder)


def open_polars(folder):
    return pytest.importorskip("polars").scan_parquet(folder / "*.parquet")


def open_hugging_face(folder):
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset(table_of(X))


OPENERS = {
    "path": lambda folder: str(folder / "*.parquet"),
    "folder": lambda folder: folder,
    "Arrow table": lambda folder: table_of(X),
    "Arrow data set": lambda folder: dataset.dataset(folder),
    "Feather files": lambda folder: dataset.dataset(feather(folder), format="feather"),
    "h5py": open_h5,
    "zarr": open_zarr,
    "Dask array": open_dask_array,
    "Dask frame": open_dask_frame,
    "polars": open_polars,
    "Hugging Face": open_hugging_face,
}


def feather(folder):
    path = folder.parent / "rows.feather"
    pytest.importorskip("pyarrow.feather").write_feather(table_of(X), path, chunksize=90)
    return path


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_small_sources_give_the_bits_of_an_array(opener, folder):
    data = opener(folder)
    model = Autoencoder(2, hidden_layer_sizes=(8,), max_iter=3, random_state=0)
    expected, found = clone(model).fit(X), clone(model).fit(data)
    for method in ("transform", "reconstruct", "score_samples"):
        in_memory = getattr(expected, method)(X)
        np.testing.assert_array_equal(getattr(found, method)(X), in_memory)
        blocks = np.asarray(getattr(found, method)(data))
        np.testing.assert_allclose(blocks, in_memory, atol=1e-5)
    assert found.score(data) == expected.score(X)
    assert found.history_ == expected.history_
    assert found.n_features_in_ == N_FEATURES
    names = open_source(data).names
    assert (names == NAMES) == hasattr(found, "feature_names_in_")
    assert open_source(data).shape == X.shape
    assert open_source(data).dtype == np.float32


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_streams_hold_out_the_samples_of_an_array_and_start_where_it_does(
    opener, folder, streamed, monkeypatch
):
    """Two passes over the blocks give mean, scale and PCA."""
    data, held, masks = opener(folder), held_out.held_out, []

    def recorded(*arguments):
        masks.append(held(*arguments))
        return masks[-1]

    monkeypatch.setattr(held_out, "held_out", recorded)
    model = Autoencoder(3, hidden_layer_sizes=(8,), max_iter=1, random_state=0)
    expected, found = clone(model).fit(X), clone(model).fit(data)
    np.testing.assert_array_equal(*masks)
    assert 0 < masks[0].sum() < len(X)
    for name in ("center", "scale"):
        np.testing.assert_allclose(
            getattr(found.module_, name), getattr(expected.module_, name), rtol=1e-6
        )
    np.testing.assert_allclose(
        found.validation_scores_[0], expected.validation_scores_[0], rtol=1e-3
    )
    rebuilt = clone(model).set_params(learning_rate_init=1e-12).fit(data).reconstruct(X)
    pca = PCA(3).fit(X.astype(float))
    expected = pca.inverse_transform(pca.transform(X.astype(float)))
    np.testing.assert_allclose(rebuilt, expected, atol=1e-5 * np.abs(X).max())


@pytest.mark.parametrize("estimator", INSTANCES, ids=name_of)
def test_every_estimator_streams(estimator, folder, streamed):
    rows = np.clip(X / 40, 0, 1)  # the range of Bernoulli units
    source = open_source(table_of(rows))
    model = clone(estimator).set_params(random_state=0, max_iter=1).fit(source)
    codes = model.transform(source)
    assert codes.shape == (N_ROWS, model.n_components_)
    assert np.isfinite(codes).all()
    if hasattr(model, "score"):
        assert np.isfinite(model.score(source))


def test_a_supervised_stack_streams(folder, streamed):
    y = (X[:, 4] > 6).astype(int)
    params = {"hidden_layer_sizes": (8,), "max_iter": 30, "random_state": 0}
    params["pretraining_max_iter"] = 5
    model = StackedAutoencoderClassifier(**params).fit(str(folder), y)
    assert model.score(X, y) > 0.9
    for method in ("predict", "predict_proba", "decision_function", "transform"):
        np.testing.assert_allclose(
            getattr(model, method)(str(folder)), getattr(model, method)(table_of(X)), atol=1e-6
        )
    regressor = StackedAutoencoderRegressor(**params).fit(str(folder), X[:, 0].astype(float))
    assert regressor.predict(str(folder)).shape == (N_ROWS,)


def test_detectors_and_imputers_draw_rows_and_predict_blocks(folder):
    source = open_source(folder)
    some = source.sample(300, random_state=0)
    detector = AutoencoderOutlierDetector(n_estimators=2, random_state=0)
    with pytest.raises(ValueError, match=r"in memory; draw some .*\.sample\(100_000"):
        detector.fit(source)
    detector.fit(some)
    for method in ("score_samples", "decision_function", "predict", "p_values"):
        np.testing.assert_allclose(getattr(detector, method)(source), getattr(detector, method)(X))
    imputer = AutoencoderImputer(Autoencoder(2, max_iter=5), random_state=0)
    with pytest.raises(ValueError, match="in memory"):
        imputer.fit(str(folder))
    imputer.fit(np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X))
    np.testing.assert_allclose(imputer.transform(source), X)


def test_named_columns_of_a_data_frame_are_found_in_a_file(folder):
    frame = pytest.importorskip("pandas").DataFrame(X, columns=NAMES)
    params = {"n_estimators": 2, "random_state": 0}
    fitted = Autoencoder(2, max_iter=2, random_state=0).fit(frame[NAMES[::-1]])
    np.testing.assert_array_equal(fitted.transform(folder), fitted.transform(frame[NAMES[::-1]]))
    detector = AutoencoderOutlierDetector(**params).fit(frame)
    np.testing.assert_allclose(detector.predict(folder), detector.predict(frame))


# What a stream reads


def numbers_of(samples):
    return samples.take(slice(0, len(samples))).numpy()


def stream_of(rows, group=40):
    class Groups(Source):
        def __init__(self):
            self.shape, self.dtype, self.names = rows.shape, rows.dtype, None
            self.starts = np.append(np.arange(0, len(rows), group), len(rows))
            self.n_read = 0

        def read(self, start, stop):
            self.n_read += stop - start
            return rows[start:stop]

    return Stream(Groups(), allows_missing=True)


def test_rows_of_a_stream_are_those_of_the_array():
    stream, rng = stream_of(X), np.random.default_rng(0)
    for rows in (slice(3, 9), slice(35, 90), slice(0, 600), slice(599, 600), slice(5, 5)):
        np.testing.assert_array_equal(stream[rows], X[rows])
    for _ in range(20):
        rows = rng.integers(0, N_ROWS, rng.integers(1, 200))
        np.testing.assert_array_equal(stream[rows], X[rows])
    again = pickle.loads(pickle.dumps(stream.starts))
    np.testing.assert_array_equal(again, stream.starts)


def test_a_pass_in_order_reads_each_row_once():
    stream = stream_of(X)
    samples = Samples(stream, None, CPU, torch.float64)
    for chunk in samples.chunks():
        np.testing.assert_array_equal(samples.take(chunk).numpy(), X[chunk])
    assert stream._source.n_read == N_ROWS


@pytest.mark.parametrize("batch_size", [1, 7, 64, 599])
@pytest.mark.parametrize("held", [None, "some"])
def test_an_epoch_has_every_sample_once(batch_size, held, streamed):
    index = None if held is None else np.flatnonzero(np.random.default_rng(0).random(600) < 0.7)
    stream = stream_of(X, group=30)
    samples = Samples(stream, None, CPU, torch.float32)
    samples = samples if index is None else samples.subset(index)
    shuffle = torch.Generator().manual_seed(0)
    batches_of = Batches(samples, batch_size, shuffle)
    orders = []
    for _ in range(2):
        found = [batch.samples.numpy().copy() for batch in batches_of]
        assert [len(each) for each in found[:-1]] == [batch_size] * (len(found) - 1)
        assert len(found) == len(batches_of)
        orders.append(np.concatenate(found))
    expected = X if index is None else X[index]
    for order in orders:
        np.testing.assert_array_equal(order[np.lexsort(order.T)], expected[np.lexsort(expected.T)])
    if batch_size < len(expected):
        assert not np.array_equal(*orders)


def test_weights_and_targets_stay_with_their_samples(streamed):
    weight = torch.arange(1.0, N_ROWS + 1, dtype=torch.float64)
    number = np.arange(N_ROWS, dtype=np.float32)[:, None]
    samples = Samples(stream_of(np.hstack([number, number])), weight, CPU, torch.float32)
    samples.targets = Samples(stream_of(2 * number, group=77), weight, CPU, torch.float32)
    part = samples.where(np.arange(N_ROWS) % 3 > 0)
    mean = float(part.weight.mean())
    for batch in Batches(part, 32, torch.Generator().manual_seed(0)):
        np.testing.assert_array_equal(batch.target[:, 0], 2 * batch.samples[:, 0])
        np.testing.assert_allclose(batch.weight * mean, batch.samples[:, 0] + 1, rtol=1e-6)


def test_the_next_window_is_read_meanwhile(streamed):
    """In another thread, which ends with the stream."""
    stream, threads = stream_of(X), set()
    read = stream._source.read

    def recorded(start, stop):
        threads.add(threading.current_thread())
        return read(start, stop)

    stream._source.read = recorded
    for index in stream.shuffled(None, repeat(50), torch.Generator().manual_seed(0)):
        stream[index.numpy()]
    (reader,) = threads - {threading.main_thread()}
    assert reader.name.startswith("sklearn_ae_reader")
    del stream
    reader.join(10)
    assert not reader.is_alive()


@pytest.mark.parametrize("n_groups", [4, 16])
def test_batches_of_a_sorted_source_spread_as_documented(n_groups, monkeypatch):
    """The variance of batch means is that of a random sample and that of the mean of a window."""
    n_rows, group, batch_size = 64_000, 100, 100
    rows = np.arange(n_rows, dtype=np.float32)[:, None] / n_rows
    monkeypatch.setattr(streaming, "WINDOW_BYTES", n_groups * group * 4)
    stream = stream_of(rows, group)
    shuffle, means = torch.Generator().manual_seed(0), []
    for _ in range(3):
        for index in stream.shuffled(None, repeat(batch_size), shuffle):
            means.append(float(rows[index.numpy()].mean()))
    within = (1 / 12) / batch_size * (1 - batch_size / (n_groups * group))
    between = (1 / 12) / n_groups
    assert np.var(means) == pytest.approx(within + between, rel=0.15)


def test_moments_in_one_pass_are_exact():
    """Far from the origin, with missing values and with weights."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((10_000, 3)) + np.array([0, 1e6, -1e4])
    rows[:, 2] = 7.3
    missing = rng.random(rows.shape) < 0.2
    weight = rng.uniform(0.5, 2, len(rows))
    for values in (rows, np.where(missing, np.nan, rows)):
        samples = Samples(stream_of(values, 999), None, CPU, torch.float64, True)
        mean, variance = mean_and_variance(samples)
        expected = np.nanmean(values, axis=0)
        np.testing.assert_allclose(mean, expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(
            variance, np.nan_to_num(np.square(values - expected)).mean(0), rtol=1e-9, atol=1e-18
        )
        assert variance[2] == 0  # not a rounding error
        weighted = Samples(values, torch.from_numpy(weight), CPU, torch.float64, True)
        mean, variance = mean_and_variance(weighted)
        present = ~np.isnan(values) * weight[:, None]
        expected = np.nansum(values * present, axis=0) / present.sum(0)
        squares = (np.square(np.nan_to_num(values - expected)) * weight[:, None]).sum(0)
        np.testing.assert_allclose(mean, expected, rtol=1e-12)
        np.testing.assert_allclose(variance, squares / weight.sum(), rtol=1e-9, atol=1e-18)


def test_moments_of_a_standardised_stream_are_derived():
    samples = Samples(stream_of(X), None, CPU, torch.float64)
    center, scale = torch.full((8,), 2.5), torch.tensor(1.7)
    derived = mean_and_variance(samples.standardized(center, scale, torch.float64))
    direct = mean_and_variance(
        Samples(X, None, CPU, torch.float64).standardized(center, scale, torch.float64)
    )
    for one, other in zip(derived, direct, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7)  # float32 minus float32 is rounded


def test_temporary_rows_are_what_was_written():
    rows = TemporaryRows(100, 3, np.dtype(np.float32))
    values = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    for start in (60, 0, 30):
        rows.write(start, values[start : start + 40])
    np.testing.assert_array_equal(rows.read(10, 90), values[10:90])


def test_hashes_of_many_samples_are_those_of_few(monkeypatch):
    samples = Samples(X, None, CPU, torch.float64)
    few = held_out.hash_samples(samples, 3)
    monkeypatch.setattr(held_out, "MANY_SAMPLES", 100)
    many = held_out.hash_samples(samples, 3)
    np.testing.assert_array_equal(few.keys, many.keys)


def test_large_row_groups_are_read_in_parts(tmp_path, monkeypatch, streamed):
    """In their order: each is decoded once in an epoch."""
    parquet.write_table(table_of(X), tmp_path / "one.parquet", row_group_size=300)
    monkeypatch.setattr(arrow, "MAX_GROUP_BYTES", 1000)
    monkeypatch.setattr(streaming, "MAX_BLOCK_BYTES", 1700)
    opened, open_group = [], arrow._GroupReader._open

    def counted(self, *group):
        opened.append(self.number)
        return open_group(self, *group)

    monkeypatch.setattr(arrow._GroupReader, "_open", counted)
    source = open_source(tmp_path / "one.parquet")
    stream = Stream(source)
    assert len(stream.starts) > 10
    seen = [
        stream[index.numpy()]
        for index in stream.shuffled(None, repeat(32), torch.Generator().manual_seed(0))
    ]
    found = np.concatenate(seen)
    np.testing.assert_array_equal(found[np.lexsort(found.T)], X[np.lexsort(X.T)])
    assert sorted(opened) == [0, 1]
    np.testing.assert_array_equal(source.read(250, 350), X[250:350])


# Columns and rows


def test_columns_are_selected_by_name(folder):
    source = open_source(folder, columns=["x3", "x1"])
    np.testing.assert_array_equal(source.to_numpy(), X[:, [3, 1]])
    np.testing.assert_array_equal(source.select(["x1"]).to_numpy(), X[:, [1]])
    model = Autoencoder(1, max_iter=2, random_state=0).fit(source)
    assert list(model.feature_names_in_) == ["x3", "x1"]
    np.testing.assert_array_equal(model.transform(folder), model.transform(table_of(X)))
    for wanted in (["x1", "y"], []):
        with pytest.raises(ValueError, match="no column"):
            open_source(folder, columns=wanted)
    with pytest.raises(ValueError, match="list of names"):
        open_source(folder, columns="x1")
    with pytest.raises(ValueError, match="no names"):
        open_source(open_dask_array(folder), columns=["x1"])
    with pytest.raises(ValueError, match="has no column 'x3'"):
        model.transform(table_of(X[:, :2], NAMES[:2]))


def test_rows_are_selected(folder):
    source, rng = open_source(folder), np.random.default_rng(0)
    mask = rng.random(N_ROWS) < 0.3
    for rows in (slice(30, 500), slice(None, None, -7), mask, rng.permutation(N_ROWS)[:90]):
        part = source[rows]
        np.testing.assert_array_equal(part.to_numpy(), X[rows])
        np.testing.assert_array_equal(Stream(part)[0:4], X[rows][:4])
    np.testing.assert_array_equal(
        source[100:].select(["x2"])[mask[100:]].to_numpy(), X[100:][mask[100:]][:, [2]]
    )
    sample = source.sample(50, random_state=0)
    assert len(np.unique(sample[:, 0])) == 50
    assert set(sample[:, 0]) <= set(X[:, 0])
    np.testing.assert_array_equal(source.sample(50, random_state=0), sample)
    assert len(source.sample(10_000)) == N_ROWS
    with pytest.raises(TypeError, match="rows of a source"):
        source[3]


def test_searches_take_sources(folder):
    source, grid = open_source(folder), {"alpha": [0.0, 0.1]}
    model = Autoencoder(2, hidden_layer_sizes=(4,), max_iter=2, random_state=0)
    expected = GridSearchCV(model, grid, cv=3).fit(X)
    found = GridSearchCV(model, grid, cv=3).fit(source)
    np.testing.assert_array_equal(
        found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )
    np.testing.assert_array_equal(
        cross_val_score(model, source, cv=3, n_jobs=2), cross_val_score(model, X, cv=3)
    )


def test_images_keep_their_shape(tmp_path, streamed):
    h5py = pytest.importorskip("h5py")
    images = load_digits().images[:200].astype(np.float32)
    model = ConvolutionalAutoencoder(3, channels=(2,), max_iter=2, random_state=0)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        data = file.create_dataset("images", data=images)
        model.fit(data)
        assert model.input_shape_ == (8, 8)
        assert model.reconstruct(data).shape == images.shape
        with pytest.raises(ValueError, match=r"shape \(4, 4\)"):
            model.transform(file.create_dataset("small", data=images[:, :4, :4]))


def test_a_column_of_lists_is_a_matrix(tmp_path):
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), N_FEATURES)):
        rows = pa.array(list(X), type=kind)
        source = open_source(pa.table({"embedding": rows, "text": ["a"] * N_ROWS}), ["embedding"])
        assert source.shape == X.shape
        np.testing.assert_array_equal(source.to_numpy(), X)
        parquet.write_table(pa.table({"embedding": rows}), tmp_path / "lists.parquet")
        np.testing.assert_array_equal(open_source(tmp_path / "lists.parquet").to_numpy(), X)
    ragged = pa.table({"e": pa.array([[1.0], [1.0, 2.0], [3.0]])})
    with pytest.raises(ValueError, match="equally many|different lengths"):
        open_source(ragged).to_numpy()


def test_numbers_of_all_types_and_missing_ones():
    table = pa.table(
        {
            "integer": pa.array([1, None, 3]),
            "boolean": [True, False, None],
            "decimal": pa.array([1, 2, 3]).cast(pa.decimal128(22, 2)),
            "half": pa.array(np.array([1, 2, 3], np.float16)),
        }
    )
    source = open_source(table)
    assert source.dtype == np.float64
    np.testing.assert_array_equal(
        source.to_numpy(), [[1, 1, 1, 1], [np.nan, 0, 2, 2], [3, np.nan, 3, 3]]
    )


@pytest.mark.parametrize("n_missing", [0, 40])
def test_missing_values_are_completed(n_missing, streamed):
    rows = X.copy()
    rows[:n_missing, 2] = np.nan
    model = Autoencoder(2, hidden_layer_sizes=(8,), max_iter=3, random_state=0)
    found, expected = clone(model).fit(table_of(rows)), clone(model).fit(rows)
    assert (found.module_.completion is None) == (expected.module_.completion is None)
    np.testing.assert_allclose(found.score(table_of(rows)), expected.score(rows), atol=0.02)


# Results in files and lazy results


def test_results_are_written_to_parquet(folder, tmp_path):
    model = Autoencoder(2, max_iter=2, random_state=0).fit(folder)
    path = tmp_path / "codes.parquet"
    assert model.transform(folder, out=path) == path
    written = parquet.read_table(path)
    assert written.column_names == list(model.get_feature_names_out())
    np.testing.assert_array_equal(np.column_stack(written.columns), model.transform(X[:, :]))
    model.score_samples(str(folder), out=str(path))  # replaces it
    np.testing.assert_array_equal(
        parquet.read_table(path)["score_samples"], model.score_samples(table_of(X))
    )
    model.reconstruct(table_of(X), out=path)
    assert parquet.read_table(path).column_names == NAMES
    before = path.read_bytes()
    broken = X.copy()
    broken[-1, 3] = np.inf
    with pytest.raises(ValueError, match="row 599, column 'x3' of the Arrow table"):
        model.transform(table_of(broken), out=path)
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["codes.parquet", "files"]


def test_arrays_are_written_too(tmp_path):
    model = Autoencoder(2, max_iter=2, random_state=0).fit(X)
    model.transform(X, out=tmp_path / "codes.parquet")
    written = parquet.read_table(tmp_path / "codes.parquet")
    np.testing.assert_array_equal(np.column_stack(written.columns), model.transform(X))


def test_results_for_dask_are_lazy(folder):
    da = pytest.importorskip("dask.array")
    array, frame = open_dask_array(folder), open_dask_frame(folder)
    model = Autoencoder(2, max_iter=2, random_state=0).fit(X)
    codes = model.transform(array)
    assert isinstance(codes, da.Array)
    assert codes.shape == (N_ROWS, 2)
    assert codes.dtype == np.float32
    assert codes.chunks[0] == array.chunks[0]
    np.testing.assert_allclose(codes.compute(scheduler="threads"), model.transform(X), atol=1e-6)
    scores = Autoencoder(2, max_iter=2, random_state=0).fit(frame).score_samples(frame)
    assert isinstance(scores, da.Array)
    np.testing.assert_allclose(scores.compute(), model.score_samples(X), rtol=1e-5)


# Kinds


def test_users_add_kinds(monkeypatch):
    monkeypatch.setattr("sklearn_ae.sources.KINDS", own := dict(KINDS))
    monkeypatch.setattr("sklearn_ae._sources.kinds.KINDS", own)

    class Mine:
        pass

    with pytest.raises(TypeError, match="Mine is no data that are read block by block"):
        open_source(Mine())
    register_source("mine", lambda X: isinstance(X, Mine), lambda X, columns: stream_of(X)._source)
    register_source(
        "mine", lambda X: isinstance(X, Mine), lambda _, columns: ArrayInMemory(X, NAMES, "mine")
    )
    assert open_source(Mine()).names == NAMES
    assert Autoencoder(2, max_iter=1).fit(Mine()).n_features_in_ == N_FEATURES
    register_source("mine", lambda X: isinstance(X, Mine), lambda X, columns: [1])
    with pytest.raises(TypeError, match="opened no Source"):
        open_source(Mine())


@pytest.mark.parametrize(
    ("opener", "package"),
    [
        ("path", "pyarrow.dataset"),
        ("Arrow table", "pyarrow"),
        ("h5py", "h5py"),
        ("zarr", "zarr"),
        ("Dask array", "dask.array"),
        ("polars", "pyarrow"),
    ],
)
def test_a_missing_library_is_named(opener, package, folder, monkeypatch):
    data = OPENERS[opener](folder)
    monkeypatch.setitem(sys.modules, package, None)
    name = package.split(".")[0]
    with pytest.raises(ImportError, match=rf"{name}.* is needed to read .* pip install {name}"):
        Autoencoder(2).fit(data)


def test_other_data_are_no_sources():
    for data in (X, X.tolist(), [["a"]], load_iris(as_frame=True).data, None, 3):
        assert as_source(data) is None


# Errors


def refuses(model, data, error, message):
    """Whether a fit fails with a message, and leaves the estimator as it was."""
    before = dict(vars(model))
    with pytest.raises(error, match=message):
        model.fit(data)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


def fitted():
    return Autoencoder(2, hidden_layer_sizes=(4,), max_iter=4, random_state=0).fit(samples_of(50))


def test_files_that_are_missing_or_no_parquet(folder, tmp_path):
    refuses(fitted(), str(tmp_path / "none.parquet"), FileNotFoundError, "does not exist")
    refuses(fitted(), str(tmp_path / "*.none"), FileNotFoundError, "no file matches")
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    refuses(fitted(), tmp_path / "text.csv", ValueError, "no Parquet file.*scan_csv")
    empty = table_of(X[:0])
    refuses(fitted(), empty, ValueError, "has no rows")
    parquet.write_table(empty, tmp_path / "empty.parquet")
    refuses(fitted(), tmp_path / "empty.parquet", ValueError, "has no rows")


@pytest.mark.parametrize("kept", [0.4, 0.95])
def test_a_truncated_file_is_named(folder, kept):
    content = (folder / "1.parquet").read_bytes()
    (folder / "1.parquet").write_bytes(content[: int(kept * len(content))])
    refuses(fitted(), folder, OSError, r"1\.parquet cannot be read: it may be truncated")


def test_damaged_pages_are_found(folder, streamed):
    content = bytearray((folder / "1.parquet").read_bytes())
    content[200:1500] = bytes(1300)
    (folder / "1.parquet").write_bytes(content)
    refuses(fitted(), folder, OSError, r"1\.parquet cannot be read")


def test_columns_that_change_between_files(folder):
    parquet.write_table(table_of(X[:50].astype(np.float64)), folder / "2.parquet")
    refuses(fitted(), folder, ValueError, "column 'x0' has the type double in .*2.parquet")
    parquet.write_table(table_of(X[:50, :7], NAMES[:7]), folder / "2.parquet")
    refuses(fitted(), folder, ValueError, "2.parquet has no column 'x7', which the other")
    assert open_source(folder, columns=NAMES[:7]).shape == (450, 7)


@pytest.mark.parametrize("change", ["removed", "rewritten"])
def test_files_that_change_in_the_middle(folder, change, streamed, monkeypatch):
    train_epoch, n_epochs = AutoencoderNet.train_epoch, []

    def meddling(*arguments):
        n_epochs.append(1)
        if len(n_epochs) == 2:
            if change == "removed":
                os.remove(folder / "1.parquet")
            else:
                parquet.write_table(table_of(X[:200] + 1), folder / "1.parquet")
        return train_epoch(*arguments)

    model = fitted()
    monkeypatch.setattr(AutoencoderNet, "train_epoch", meddling)
    message = "has disappeared" if change == "removed" else "was changed"
    refuses(model, folder, OSError, rf"1\.parquet {message} since it was opened")


def test_values_that_are_no_numbers(folder):
    texts = table_of(X).append_column("name", pa.array(["a"] * N_ROWS))
    refuses(fitted(), texts, ValueError, "column 'name' of the Arrow table has the type string")
    da = pytest.importorskip("dask.array")
    refuses(fitted(), da.from_array(X + 1j), ValueError, "complex64, not one of real numbers")
    refuses(fitted(), da.from_array(X[:, 0]), ValueError, "at least two dimensions")


def test_infinite_and_missing_values_are_found(folder):
    rows = X.copy()
    rows[123, 4] = np.inf
    refuses(fitted(), table_of(rows), ValueError, "contains infinity: row 123, column 'x4'")
    rows[123, 4] = np.nan
    model = LSTMAutoencoder(2, hidden_size=2, max_iter=1)  # only ends of sequences may be missing
    refuses(model, table_of(rows), ValueError, "contains NaN: row 123, column 'x4'")
    with pytest.raises(ValueError, match=r"in \[0, 1\], but X ranges from"):
        Autoencoder(2, loss="binary_crossentropy").fit(table_of(X))


def test_sources_of_another_width_are_refused(folder):
    model = Autoencoder(2, max_iter=1).fit(X)
    with pytest.raises(ValueError, match="X has 3 features, but Autoencoder is expecting 8"):
        model.transform(open_dask_array(folder)[:, :3])
    frame = pytest.importorskip("pandas").DataFrame({"a": ["x", "y"] * 20, "b": np.arange(40.0)})
    table = Autoencoder(2, max_iter=1).fit(frame)
    with pytest.raises(ValueError, match="fitted on a table with categories"):
        table.score(folder)
    assert not hasattr(table.fit(folder), "is_categorical_")


def test_filtered_data_sets_are_refused(folder):
    part = dataset.dataset(folder).filter(dataset.field("x0") > 3)
    refuses(fitted(), part, ValueError, "is filtered; write the rows")


def test_partitions_of_a_data_set_are_columns(tmp_path):
    table = table_of(X).append_column("year", pa.array([2001] * 300 + [2002] * 300))
    dataset.write_dataset(
        table,
        tmp_path / "parts",
        format="parquet",
        partitioning=["year"],
        partitioning_flavor="hive",
    )
    data = dataset.dataset(tmp_path / "parts", partitioning="hive")
    source = open_source(data, columns=["x1", "year"])
    found = source.to_numpy()
    assert set(found[:, 1]) == {2001, 2002}
    np.testing.assert_allclose(np.sort(found[:, 0]), np.sort(X[:, 1]))


# Interrupted fits


@pytest.mark.parametrize(
    "estimator",
    [
        Autoencoder(2, hidden_layer_sizes=(8,)),
        DenoisingAutoencoder(2, hidden_layer_sizes=(8,)),
        VariationalAutoencoder(2, hidden_layer_sizes=(8,)),
    ],
    ids=name_of,
)
def test_a_stopped_stream_goes_on_to_the_same_bits(
    estimator, folder, tmp_path, streamed, monkeypatch
):
    train_epoch, epochs = AutoencoderNet.train_epoch, []

    def stopping(*arguments):
        if len(epochs) == 4:
            raise KeyboardInterrupt
        epochs.append(1)
        return train_epoch(*arguments)

    model = clone(estimator).set_params(max_iter=6, random_state=0)
    whole = clone(model).fit(folder)
    saving = tmp_path / "saved"
    stopped = clone(model).set_params(callbacks=[FitCheckpoint(saving, every=1)])
    with monkeypatch.context() as patched:
        patched.setattr(AutoencoderNet, "train_epoch", stopping)
        with pytest.raises(KeyboardInterrupt):
            stopped.fit(folder)
    assert list(saving.iterdir())
    again = clone(stopped).fit(folder)
    np.testing.assert_array_equal(again.transform(folder), whole.transform(folder))
    assert again.history_ == whole.history_
    assert not list(saving.iterdir())


# Details of kinds


def test_other_columns_of_a_file_may_be_of_any_type(tmp_path):
    """A fitted estimator reads those that it knows."""
    table = table_of(X).append_column("name", pa.array(["a"] * N_ROWS))
    parquet.write_table(table, tmp_path / "all.parquet")
    model = Autoencoder(2, max_iter=2, random_state=0).fit(table.select(NAMES))
    np.testing.assert_array_equal(
        model.transform(tmp_path / "all.parquet"), model.transform(table.select(NAMES))
    )
    assert model.score(tmp_path / "all.parquet") == model.score(table.select(NAMES[::-1]))
    assert open_source(table, ["x2", "x0"]).names == ["x2", "x0"]
    np.testing.assert_array_equal(open_source(table, ["x2", "x0"]).to_numpy(), X[:, [2, 0]])


def test_large_integers_are_rounded_as_by_numpy():
    values = np.array([2**53 + 1, -(2**60) - 1, 3])
    found = open_source(pa.table({"a": values})).to_numpy()[:, 0]
    np.testing.assert_array_equal(found, values.astype(float))


def test_data_frames_of_dask_with_odd_columns_and_partitions():
    dd = pytest.importorskip("dask.dataframe")
    frame = pytest.importorskip("pandas").DataFrame(X, columns=NAMES)
    model = Autoencoder(2, max_iter=2, random_state=0).fit(frame)
    expected = model.transform(frame)
    more = dd.from_pandas(frame[NAMES[::-1]].assign(text="a"), npartitions=3)
    np.testing.assert_allclose(model.transform(more).compute(), expected, atol=1e-6)
    gaps = dd.from_pandas(frame, npartitions=5)
    gaps = gaps.map_partitions(lambda part: part[part.index < 150])  # leaves empty partitions
    np.testing.assert_allclose(model.transform(gaps).compute(), expected[:150], atol=1e-6)
    numbered = dd.from_pandas(frame.set_axis(range(N_FEATURES), axis=1), npartitions=2)
    assert open_source(numbered).names == [str(number) for number in range(N_FEATURES)]


def test_scattered_rows_are_read_a_few_at_a_time(monkeypatch):
    source = stream_of(X, group=N_ROWS)._source
    sizes, read = [], source.read

    def recorded(start, stop):
        sizes.append(stop - start)
        return read(start, stop)

    source.read = recorded
    monkeypatch.setattr("sklearn_ae._sources.source.BLOCK_BYTES", 20 * N_FEATURES * 4)
    rows = np.random.default_rng(0).permutation(N_ROWS)[:100]
    np.testing.assert_array_equal(source[rows].to_numpy(), X[rows])
    source.sample(5, random_state=0)
    assert max(sizes) <= 20
    for wrong in ([N_ROWS], [-N_ROWS - 1], np.zeros(3, bool)):
        with pytest.raises(IndexError):
            source[wrong]


def test_a_source_that_returns_other_rows_is_named(streamed):
    source = stream_of(X)._source
    source.read = lambda start, stop: X[start : stop - 1]
    refuses(fitted(), source, ValueError, r"rows 0 to 40 of the source have the shape \(39, 8\)")


def test_one_source_may_be_read_by_several_threads(tmp_path, monkeypatch, streamed):
    parquet.write_table(table_of(X), tmp_path / "one.parquet", row_group_size=300)
    monkeypatch.setattr(arrow, "MAX_GROUP_BYTES", 1000)
    monkeypatch.setattr(streaming, "MAX_BLOCK_BYTES", 1700)
    source, found = open_source(tmp_path / "one.parquet"), []

    def read():
        found.append(np.concatenate([block.copy() for block in Stream(source).blocks()]))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for rows in found:
        np.testing.assert_array_equal(rows, X)


def test_heads_and_mixed_losses_learn_from_streams(folder, streamed):
    y = np.where(np.arange(N_ROWS) % 3, (X[:, 4] > 6).astype(int), -1)
    params = {"hidden_layer_sizes": (8,), "max_iter": 20, "random_state": 0}
    params["pretraining_max_iter"] = 5
    for more in ({"head": LogisticRegression()}, {"reconstruction_weight": 0.1}):
        model = StackedAutoencoderClassifier(unlabeled=-1, **params, **more).fit(folder, y)
        assert model.score(X, (X[:, 4] > 6).astype(int)) > 0.9


def test_sources_without_rows_are_named(folder):
    model = Autoencoder(2, max_iter=1).fit(folder)
    for out in (None, folder / "out.parquet"):
        with pytest.raises(ValueError, match="has no rows"):
            model.transform(table_of(X[:0]), out=out)
