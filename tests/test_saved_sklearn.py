"""Estimators of scikit-learn in a pipeline with an autoencoder: saved, loaded, the same bits."""

import warnings

import numpy as np
import pandas as pd
import pytest
from forging import put_together, take_apart
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - for all_estimators
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import BallTree, KDTree, KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import all_estimators
from sklearn.utils._test_common.instance_generator import _construct_instances

from sklearn_ae import Autoencoder, load, save

REFUSED = {
    **dict.fromkeys(
        ["GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV"],
        "within another estimator: its scorer is a function; save its best_estimator_",
    ),
    "Birch": "its clusters refer to each other in circles",
    "TunedThresholdClassifierCV": "it contains a scorer, which refers to a function",
}
"""Estimators that a file cannot contain once they are fitted, and why."""

METHODS = (
    *("transform", "predict", "predict_proba", "decision_function", "score_samples"),
    "kneighbors",
)

N_SAMPLES = 30
X = np.abs(np.random.default_rng(0).normal(size=(N_SAMPLES, 3)))
LABELS = np.arange(N_SAMPLES) % 2
TWO_LABELS = np.column_stack([LABELS, np.arange(N_SAMPLES) % 3 > 0]).astype(int)
TEXTS = ["a word", "another word with a word", "something else"] * 10

DATA = {
    **dict.fromkeys(["CountVectorizer", "TfidfVectorizer", "HashingVectorizer"], (TEXTS, None)),
    **dict.fromkeys(["DictVectorizer", "FeatureHasher"], ([{"a": 1.0}, {"b": 2.0}] * 15, None)),
    **dict.fromkeys(["LabelBinarizer", "LabelEncoder"], (LABELS,)),
    "MultiLabelBinarizer": ([("a", "b"), ("b",)] * 15,),
    "IsotonicRegression": (X[:, 0], X[:, 1]),
    "KernelCenterer": (X @ X.T, LABELS),
    "PatchExtractor": (np.arange(800.0).reshape(2, 20, 20),),
    "GammaRegressor": (X, X[:, 0]),
    **dict.fromkeys(["ClassifierChain", "MultiOutputClassifier"], (X, TWO_LABELS)),
    **dict.fromkeys(["CCA", "PLSCanonical", "PLSRegression", "PLSSVD"], (X, X[:, :2])),
    **dict.fromkeys(["RegressorChain", "MultiOutputRegressor"], (X, X[:, :2])),
    **dict.fromkeys(["MultiTaskElasticNet", "MultiTaskElasticNetCV"], (X, X[:, :2])),
    **dict.fromkeys(["MultiTaskLasso", "MultiTaskLassoCV"], (X, X[:, :2])),
}
"""Training data of the estimators that do not take a matrix and labels."""

ESTIMATORS = [name for name, _ in all_estimators() if name != "FrozenEstimator"]


@pytest.fixture(scope="module")
def autoencoder():
    fitted = Autoencoder(2, hidden_layer_sizes=(4,), max_iter=1, random_state=0).fit(X)
    return FrozenEstimator(fitted)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model"


def _travelled(estimator, path):
    save(estimator, path)
    return load(path)


def _assert_equal(one, other):
    if sparse.issparse(other):
        assert (one != other).nnz == 0
    else:
        np.testing.assert_array_equal(one, other)


def _assert_same(again, fitted, data):
    compared = 0
    for name in METHODS:
        if hasattr(fitted, name):
            expected = getattr(fitted, name)(data)
            found = getattr(again, name)(data)
            pairs = zip(found, expected, strict=True) if type(expected) is tuple else []
            for one, other in pairs or [(found, expected)]:
                _assert_equal(one, other)
            compared += 1
    return compared


def _fitted(name):
    cls = dict(all_estimators())[name]
    data = DATA.get(name, (X, LABELS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        instance = next(iter(_construct_instances(cls)))
        if "random_state" in instance.get_params():
            instance.set_params(random_state=0)
        return clone(instance).fit(*data), data[0]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_is_saved_or_refused_for_a_reason(name, autoencoder, path):
    fitted, data = _fitted(name)
    pipeline = Pipeline([("codes", autoencoder), ("step", fitted)])
    if name in REFUSED:
        with pytest.raises(ValueError, match="step.*cannot be saved|contains itself"):
            save(pipeline, path)
        assert not path.exists()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of deprecated classes
        again = _travelled(pipeline, path)
    np.testing.assert_array_equal(again[0].transform(X), autoencoder.transform(X))
    step = again[1]
    assert type(step) is type(fitted)
    # A copy: some estimators compute more precisely for the array that they were fitted to.
    data = data.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _assert_same(step, fitted, data)


def test_a_column_transformer_of_a_real_table_is_saved(autoencoder, path):
    table = pd.DataFrame(
        {
            "age": [20.0, np.nan, 41.5, 33.0] * 5,
            "income": np.arange(20) ** 2.0,
            "city": np.array(["Bern", np.nan, "Rome", "Bern"] * 5, object),
            "size": ["small", "large", "small", "large"] * 5,
            "note": ["a few words", "a word", "more words", "none"] * 5,
            "day": np.arange(20).astype("datetime64[D]"),
        }
    )
    logarithm = FunctionTransformer(np.log1p, feature_names_out="one-to-one")
    numbers = make_pipeline(SimpleImputer(strategy="median"), logarithm)
    bins = KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf")
    categories = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    columns = ColumnTransformer(
        [
            ("numbers", numbers, ["age"]),
            ("bins", bins, slice("income", "income")),
            ("categories", categories, ["city"]),
            ("order", OrdinalEncoder(categories=[["small", "large"]]), ["size"]),
            ("words", TfidfVectorizer(), "note"),
            ("days", OneHotEncoder(), ["day"]),
        ]
    )
    codes = Autoencoder(2, hidden_layer_sizes=(4,), max_iter=1, random_state=0)
    pipeline = make_pipeline(columns, StandardScaler(with_mean=False), codes).fit(table)
    again = _travelled(pipeline, path)
    np.testing.assert_array_equal(again.transform(table), pipeline.transform(table))
    np.testing.assert_array_equal(
        again[0].get_feature_names_out(), pipeline[0].get_feature_names_out()
    )


def test_columns_that_are_selected_by_their_types_are_saved(path):
    table = pd.DataFrame({"a": np.arange(6.0), "b": np.arange(6), "c": ["x", "y"] * 3})
    numbers = make_column_selector(dtype_include=np.number)
    others = make_column_selector(pattern="^c", dtype_exclude=[np.integer, np.floating])
    columns = ColumnTransformer([("n", StandardScaler(), numbers), ("c", OneHotEncoder(), others)])
    expected = columns.fit_transform(table)
    again = _travelled(columns, path)
    np.testing.assert_array_equal(again.transform(table), expected)
    np.testing.assert_array_equal(clone(again).fit_transform(table), expected)


def test_a_long_vocabulary_takes_one_array(path):
    texts = [f"word{place}" for place in range(30_000)]
    fitted = TfidfVectorizer().fit(texts)
    again = _travelled(fitted, path)
    assert again.vocabulary_ == fitted.vocabulary_
    assert len(take_apart(path)[1]) < 5
    assert (again.transform(texts) != fitted.transform(texts)).nnz == 0


METRICS = [("euclidean", {}), ("manhattan", {}), ("chebyshev", {}), ("minkowski", {"p": 3})]


@pytest.mark.parametrize("cls", [KDTree, BallTree])
@pytest.mark.parametrize(("metric", "power"), METRICS, ids=str)
def test_neighbour_trees_are_built_again_from_their_samples(cls, metric, power, path):
    scaler = MinMaxScaler()
    scaler.note_ = cls(X, leaf_size=3, metric=metric, **power)
    again = _travelled(scaler, path).note_
    for one, other in zip(again.get_arrays(), scaler.note_.get_arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
    _assert_equal(again.query(X + 0.1, 4)[0], scaler.note_.query(X + 0.1, 4)[0])


def test_a_tree_of_another_distance_is_refused(path):
    scaler = MinMaxScaler()
    scaler.note_ = BallTree(X, metric="seuclidean", V=np.ones(3))
    with pytest.raises(
        ValueError, match=r"note_ cannot be saved: it is a tree of neighbours by S"
    ):
        save(scaler, path)


# Indices in trees, at which compiled code reads memory


def _forged(fitted, path, change):
    """Load an estimator after a change of what the file says of its first tree."""
    save(fitted, path)
    content, arrays = take_apart(path)
    change(content, arrays)
    path.write_bytes(put_together(content, arrays))
    return load(path)


def _trees(value, name):
    """Return the parts of all objects of a class in a description."""
    if isinstance(value, dict):
        found = [value["parts"]] if value.get("$object") == name else []
        return found + [part for each in value.values() for part in _trees(each, name)]
    return [part for each in value for part in _trees(each, name)] if type(value) is list else []


def _set(name, field, place, number):
    """Return a change of one field of one node of the first tree."""

    def change(content, arrays):
        reference = _trees(content["objects"], name)[0]["nodes"]
        code = reference["dtype"]
        names, formats, offsets = zip(*code["fields"], strict=True)
        layout = {"names": names, "formats": formats, "offsets": offsets}
        nodes = arrays[reference["$array"]].view(np.dtype(layout | {"itemsize": code["size"]}))
        nodes[field][place] = number

    return change


NODES = [
    ("left_child", 0, 0),
    ("left_child", 0, 10**6),
    ("right_child", 0, -5),
    ("right_child", 1, 0),
    ("feature", 0, 3),
    ("feature", 0, -1),
]


@pytest.mark.parametrize(("field", "place", "number"), NODES)
def test_a_tree_with_indices_outside_of_it_is_refused(field, place, number, path):
    fitted = RandomForestClassifier(2, random_state=0).fit(X, LABELS)
    with pytest.raises(ValueError, match="a tree (has children|compares features)"):
        _forged(fitted, path, _set("Tree", field, place, number))


@pytest.mark.parametrize(
    ("name", "value"),
    [("node_count", 10**6), ("n_features", 10**6), ("n_outputs", 2), ("max_depth", 0.5)],
)
def test_a_tree_of_other_sizes_is_refused(name, value, path):
    def change(content, arrays):
        _trees(content["objects"], "Tree")[0][name] = value

    with pytest.raises(ValueError, match="a tree has|has another number of features"):
        _forged(DecisionTreeRegressor().fit(X, X[:, 0]), path, change)


@pytest.mark.parametrize(
    "ensemble",
    [
        RandomForestClassifier(2, random_state=0),
        GradientBoostingRegressor(n_estimators=2),
        IsolationForest(n_estimators=2, random_state=0),
    ],
    ids=lambda ensemble: type(ensemble).__name__,
)
def test_trees_of_other_features_than_their_ensemble_are_refused(ensemble, path):
    fitted = ensemble.fit(X, LABELS)
    wide = type(fitted)(**fitted.get_params()).fit(np.hstack([X, X]), LABELS)
    fitted.estimators_ = wide.estimators_
    with pytest.raises(ValueError, match="trees of .* other numbers of features"):
        save(fitted, path)


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("left", 10**6),
        ("right", 0),
        ("feature_idx", 3),
        ("feature_idx", -1),
        ("is_categorical", 1),
    ],
)
def test_boosted_trees_with_indices_outside_of_them_are_refused(field, number, path):
    fitted = HistGradientBoostingClassifier(max_iter=1, min_samples_leaf=2).fit(X, LABELS)
    with pytest.raises(ValueError, match="a tree |a gradient boosting"):
        _forged(fitted, path, _set("TreePredictor", field, 0, number))


def test_boosted_trees_of_categories_are_refused(path):
    """scikit-learn stores a function with arguments in them."""
    boosting = HistGradientBoostingClassifier(max_iter=1, categorical_features=[0])
    boosting.fit(np.column_stack([np.arange(N_SAMPLES) % 5, X[:, 0]]), LABELS)
    with pytest.raises(ValueError, match="_preprocessor.*func is functools.partial"):
        save(boosting, path)


@pytest.mark.parametrize("kind", [int, np.int64])
def test_integers_of_a_long_dictionary_keep_their_type(kind, path):
    scaler = MinMaxScaler()
    scaler.note_ = {f"${n}": kind(n) for n in range(200)}
    again = _travelled(scaler, path).note_
    assert again == scaler.note_
    assert {type(value) for value in again.values()} == {kind}


@pytest.mark.parametrize("name", ["indices", "indptr"])
def test_a_sparse_matrix_with_indices_outside_of_it_is_refused(name, path):
    scaler = MinMaxScaler()
    scaler.note_ = sparse.csr_array(np.eye(3))

    def change(content, arrays):
        arrays[_trees(content["objects"], "csr_array")[0][name]["$array"]][1] = 100

    with pytest.raises(ValueError, match="cannot be loaded"):
        _forged(scaler, path, change)


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        frozenset({"a", "b"}),
        slice(1, None, 2),
        range(2, 9, 3),
        np.arange(3) + 1j,
        np.array([b"ab", b"c"]),
        np.array(["2020-01-01", "NaT"], "datetime64[D]"),
        np.array([3, 5], "timedelta64[s]"),
        np.array([(1, 0.5), (2, 1.5)], [("a", "<i4"), ("b", "<f8")]),
        np.dtype("O"),
        np.dtype("<U3"),
        np.dtype("datetime64[ns]"),
        sparse.csc_matrix(np.eye(2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_further_types_are_saved(value, path):
    scaler = MinMaxScaler()
    scaler.note_ = value
    again = _travelled(scaler, path).note_
    assert type(again) is type(value)
    if sparse.issparse(value):
        _assert_equal(again, value)
    else:
        assert repr(again) == repr(value)
    assert getattr(again, "dtype", None) == getattr(value, "dtype", None)


def test_generators_go_on_drawing_the_same(path):
    scaler = MinMaxScaler()
    scaler.note_ = np.random.default_rng(3)
    scaler.note_.integers(5, dtype=np.int32)
    again = _travelled(scaler, path).note_
    np.testing.assert_array_equal(
        again.integers(9, size=9, dtype=np.int32), scaler.note_.integers(9, size=9, dtype=np.int32)
    )


def test_a_search_over_a_pipeline_is_saved_as_its_best_pipeline(path):
    pipeline = make_pipeline(MinMaxScaler(), Autoencoder(2, max_iter=1), KNeighborsClassifier(2))
    search = GridSearchCV(pipeline, {"kneighborsclassifier__n_neighbors": [1, 3]}, cv=2)
    search.fit(X, LABELS)
    again = _travelled(search, path)
    np.testing.assert_array_equal(again.predict(X), search.predict(X))
