"""Nothing that acts comes out of a file, at any depth: no path, function, cache or callback."""

import functools
import inspect
import json
import operator
import os
import pickle
import warnings

import joblib
import numpy as np
import pytest
from forging import put_together, take_apart, unchecked
from sklearn.base import BaseEstimator
from sklearn.cluster import OPTICS
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA, DictionaryLearning
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import RFE, SelectFromModel, SelectKBest, f_classif
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, DotProduct
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, SGDClassifier
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import Bunch, all_estimators
from sklearn.utils._param_validation import HasMethods

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    DenoisingAutoencoder,
    StackedAutoencoderClassifier,
    load,
    save,
)
from sklearn_ae._files.values import TEXTS

FOLDER = "some_folder"


def _cached(**parameters):
    return Pipeline([("scale", StandardScaler()), ("pca", PCA(1))], memory=FOLDER, **parameters)


def _noting(value, name="note_"):
    """An estimator of scikit-learn with something in a fitted attribute."""
    estimator = MinMaxScaler()
    setattr(estimator, name, value)
    return estimator


def _objects(value):
    array = np.empty(1, object)
    array[0] = value
    return array


CACHES = {
    "union": (FeatureUnion([("p", _cached())]), r"transformer_list\[0\]\[1\].memory is 'some_f"),
    "columns": (
        ColumnTransformer([("p", _cached(), [0])]),
        r"transformers\[0\]\[1\].memory is 'some_folder'",
    ),
    "remainder": (ColumnTransformer([], remainder=_cached()), "remainder.memory"),
    "pipeline in pipeline in union": (
        FeatureUnion([("p", make_pipeline(make_pipeline(_cached())))]),
        r"\[1\].steps\[0\]\[1\].steps\[0\]\[1\].memory",
    ),
    "union in autoencoder's detector": (
        FeatureUnion([("d", AutoencoderOutlierDetector(make_pipeline(_cached(), Autoencoder())))]),
        "estimator.steps.*memory",
    ),
    "frozen": (FeatureUnion([("p", FrozenEstimator(_cached()))]), "estimator.memory"),
    "clusters": (FeatureUnion([("a", OPTICS(memory=FOLDER))]), "memory"),
    "search": (GridSearchCV(_cached(), {"pca__n_components": [1]}), "estimator.memory"),
    "grid": (GridSearchCV(Pipeline([]), {"memory": [None, FOLDER]}), r"param_grid.memory\[1\]"),
    "grids": (GridSearchCV(Ridge(), [{}, {"p__memory": [FOLDER]}]), r"param_grid\[1\].p__memory"),
    "grid of texts": (GridSearchCV(Ridge(), {"memory": np.array([FOLDER])}), "memory"),
    "grid of objects": (RandomizedSearchCV(Ridge(), {"memory": _objects(FOLDER)}), "memory"),
    "attribute": (_noting(_cached()), "note_.memory"),
    "list": (_noting([1, [_cached()]]), r"note_\[1\]\[0\].memory"),
    "tuple": (_noting((1, (_cached(),))), r"note_\[1\]\[0\].memory"),
    "dictionary": (_noting({"a": {1: _cached()}}), r"note_.a\[1\].memory"),
    "array of objects": (_noting(_objects(_cached())), r"note_\[0\].memory"),
    "text of NumPy": (
        FeatureUnion([("p", _cached().set_params(memory=np.str_(FOLDER)))]),
        "memory is 'some_folder'",
    ),
    "set": (_noting({FOLDER}, "p__memory"), r"p__memory\[0\] is 'some_folder'"),
    "a name that set_params takes": (_noting(FOLDER, "p__memory"), "p__memory is 'some_folder'"),
}
"""Estimators that would take what lies in a folder, and how the place is named."""

TEXTS_OF_OTHERS = {
    "names of files": (make_pipeline(CountVectorizer(input="filename")), "input is 'filename'"),
    "names of files, tf-idf": (TfidfVectorizer(input="filename"), "only 'content' is saved"),
    "files": (FeatureUnion([("h", HashingVectorizer(input="file"))]), "input is 'file'"),
    "template": (
        ColumnTransformer([], verbose_feature_names_out="{feature_name.__class__}"),
        "verbose_feature_names_out is",
    ),
    "wide template": (
        FeatureUnion([], verbose_feature_names_out="{feature_name:>999999999}"),
        "verbose_feature_names_out is",
    ),
    "private attribute": (
        SelectFromModel(Ridge(), importance_getter="__init__.__globals__"),
        "importance_getter is",
    ),
    "expression": (GridSearchCV(Ridge(), {}, pre_dispatch="9**9**9"), "pre_dispatch is"),
    "call": (GridSearchCV(Ridge(), {}, pre_dispatch="exit()*n_jobs"), "pre_dispatch is"),
}
"""Texts that would choose what is read or run."""

CODE = {
    "function of two arguments": FunctionTransformer(np.add),
    "its inverse": FunctionTransformer(inverse_func=np.save),
    "function of targets": TransformedTargetRegressor(Ridge(), func=np.load, inverse_func=np.exp),
    "score": SelectKBest(np.log1p),
    "function of NumPy at another place": SVC(kernel=np.log1p),
    "partial function": FunctionTransformer(functools.partial(np.add, 1)),
    "method caller": FunctionTransformer(operator.methodcaller("fit")),
    "attribute getter": RFE(Ridge(), importance_getter=operator.attrgetter("coef_")),
    "bound method": FunctionTransformer(MinMaxScaler().fit_transform),
    "built-in function": FunctionTransformer(len),
    "class": FunctionTransformer(Autoencoder),
    "type of numbers": FunctionTransformer(np.float64),
    "hook of names": ColumnTransformer([], verbose_feature_names_out=np.add),
    "callback": DictionaryLearning(callback=np.add),
    "tokenizer": CountVectorizer(tokenizer=np.char.add),
    "scorer": GridSearchCV(Ridge(), {}, scoring=make_scorer(np.subtract)),
    "cache": FeatureUnion([("p", _cached(verbose=True).set_params(memory=joblib.Memory(None)))]),
    "list": _noting([np.sin]),
    "tuple": _noting((1, [np.sin])),
    "dictionary": _noting({"a": {2: np.sin}}),
    "bunch": _noting(Bunch(a=np.sin)),
    "array of objects": _noting(_objects(np.sin)),
    "loss": make_pipeline(MinMaxScaler(), Autoencoder(loss=np.subtract)),
    "corruption": FeatureUnion([("a", DenoisingAutoencoder(noise=np.sin))]),
    "class as a loss": FeatureUnion([("a", Autoencoder(loss=Autoencoder))]),
}
"""Estimators with what can be called, or is an object of a class that is no value."""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model"
    save(MinMaxScaler(), tmp_path / "model")
    save(make_pipeline(StandardScaler(), FeatureUnion([("a", PCA(1))])), path)
    return path


def _refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(path)


REFUSED = CACHES | TEXTS_OF_OTHERS


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_may_not_choose_is_refused_by_load(name, path):
    estimator, message = REFUSED[name]
    _refused(path, unchecked(estimator), message)


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_may_not_choose_is_named_before_it_is_written(name, tmp_path):
    estimator, message = REFUSED[name]
    for outer in (estimator, make_pipeline(estimator)):
        with pytest.raises(ValueError, match=message):
            save(outer, tmp_path / "model")
    assert not list(tmp_path.iterdir())


MARK = "the mark"

FORGED = {
    "function where none may be": {"$function": "log1p"},
    "function of a module": {"$function": "numpy.load"},
    "function of another module": {"$function": "os:system"},
    "function of this package": {"$function": "sklearn_ae.persistence:save"},
    "built-in function": {"$function": "builtins:eval"},
    "list instead of a name": {"$function": ["log1p"]},
    "class": {"$type": "builtins.object"},
    "class of numbers where none may be": {"$type": "numpy.float64"},
    "class of a module": {"$module": "subprocess:Popen"},
    "object of no known class": {"$object": "Memory", "parts": {"location": "cache"}},
    "object of a scorer": {"$object": "_CurveScorer", "parts": {}},
    "object without a name": {"$object": ["Bunch"], "parts": {"entries": {}}},
    "object without parts": {"$object": "Bunch", "parts": ["entries"]},
    "method as an attribute": {"$object": "KFold", "parts": {"split": 1}},
    "class as an attribute": {"$object": "KFold", "parts": {"__class__": 1}},
    "argument that is no number": {
        "$object": "CyHalfTweedieLoss",
        "parts": {"$dict": [["$arguments", {"$tuple": ["a"]}]]},
    },
    "function in a bunch": {
        "$object": "Bunch",
        "parts": {"entries": {"a": {"$function": "log1p"}}},
    },
    "other generator": {
        "$object": "Generator",
        "parts": {"bit_generator": "SFC64", "state": {}, "has_uint32": 0, "uinteger": 0},
    },
    "bounds that are no numbers": {"$object": "slice", "parts": {"bounds": [[], None, None]}},
    "set of lists": {"$object": "set", "parts": {"entries": [[1]]}},
    "dtype with objects": {"$dtype": "O,O"},
    "dtype by evaluation": {"$dtype": "{'a': 1}"},
    "pickle": {"$pickle": "gASVHQ=="},
}
"""Values in a file that would be code, or objects of classes that are no values."""


@pytest.mark.parametrize("name", FORGED)
def test_no_code_comes_out_of_a_file(name, path):
    forged = json.dumps(FORGED[name])
    content, arrays = take_apart(path)
    content["objects"][0]["attributes"]["note_"] = MARK
    text = json.dumps(content).replace(f'"{MARK}"', forged)
    assert forged in text
    _refused(path, put_together(text, arrays), "cannot be loaded")


@pytest.mark.parametrize("name", CODE)
def test_code_is_refused_before_a_file_is_written(name, tmp_path):
    for outer in (CODE[name], FeatureUnion([("a", make_pipeline(CODE[name]))])):
        with pytest.raises(ValueError, match="cannot be saved|is neither"):
            save(outer, tmp_path / "model")
    assert not list(tmp_path.iterdir())


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_somebody_s_cache_is_not_unpickled(path, tmp_path):
    """The whole attack: a folder with pickles, and a file that names it."""
    X = np.random.default_rng(0).normal(size=(20, 3))
    folder, sign = tmp_path / "cache", tmp_path / "unpickled"
    steps = [("scale", StandardScaler()), ("pca", PCA(1))]
    union = FeatureUnion([("p", Pipeline(steps, memory=str(folder)))])
    union.fit(X)
    results = list(folder.rglob("output.pkl"))
    assert results
    for result in results:
        result.write_bytes(pickle.dumps(Trap(str(sign))))
    with pytest.raises(ValueError, match=r"transformer_list\[0\]\[1\].memory"):
        save(union, tmp_path / "other")
    path.write_bytes(unchecked(union))
    with pytest.raises(ValueError, match=r"transformer_list\[0\]\[1\].memory is '.*cache'"):
        load(path).fit(X)
    assert not sign.exists()
    with pytest.raises(TypeError):  # the trap works
        union.fit(X)
    assert sign.exists()


@pytest.mark.parametrize(
    "cached",
    [
        lambda memory: Pipeline([("a", Autoencoder())], memory=memory),
        lambda memory: make_pipeline(make_pipeline(Autoencoder(), memory=memory)),
        lambda memory: StackedAutoencoderClassifier(
            head=Pipeline([("a", Ridge())], memory=memory)
        ),
    ],
    ids=["pipeline", "nested", "of a classifier"],
)
@pytest.mark.parametrize("kind", [str, joblib.Memory])  # the latter makes its folder
def test_a_cache_around_an_autoencoder_is_refused_with_the_remedy(cached, kind, tmp_path):
    memory = kind(tmp_path / "cache")
    with pytest.raises(ValueError, match=r"memory is .*set_params\(memory=None\)"):
        save(cached(memory), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_forged_cache_around_an_autoencoder_is_refused(tmp_path):
    save(make_pipeline(make_pipeline(Autoencoder())), tmp_path / "model")
    content, arrays = take_apart(tmp_path / "model")
    content["objects"][1]["params"]["memory"] = FOLDER
    _refused(
        tmp_path / "model",
        put_together(content, arrays),
        r"Pipeline.steps\[0\]\[1\].memory is 'some_folder'",
    )


@pytest.mark.parametrize(
    "value", [{"$module": "AutoencoderModule"}, {"$tuple": [{"$module": "HashingModule"}]}]
)
@pytest.mark.parametrize("place", ["params", "attributes"])
def test_classes_stay_in_the_state_of_networks(value, place, tmp_path):
    save(Autoencoder(), tmp_path / "model")
    content, arrays = take_apart(tmp_path / "model")
    content["objects"][-1][place]["loss" if place == "params" else "note_"] = value
    _refused(tmp_path / "model", put_together(content, arrays), "cannot be loaded")


# Classes of estimators, and their attributes


@pytest.mark.parametrize(
    "name",
    [
        *("Popen", "subprocess.Popen", "sklearn.utils._mocking.CheckingClassifier", "Memory"),
        *("FitCheckpoint", "Tree", "BaseEstimator", ["PCA"], None, 0, {"a": 1}),
    ],
    ids=str,
)
def test_other_classes_are_refused(name, path):
    content, arrays = take_apart(path)
    content["objects"][0]["class"] = name
    _refused(path, put_together(content, arrays), "cannot be loaded")


@pytest.mark.parametrize("name", ["transform", "_parameter_constraints", "__class__", "a b", ""])
def test_attributes_do_not_stand_for_methods(name, path):
    save(MinMaxScaler(), path)
    content, arrays = take_apart(path)
    content["objects"][0]["attributes"][name] = True
    _refused(path, put_together(content, arrays), "has no attribute")


# What is none of that comes back


GOOD = {
    "function of NumPy": FunctionTransformer(np.log1p, inverse_func=np.expm1),
    "function of targets": TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp),
    "score": SelectKBest(f_classif, k=1),
    "set": CountVectorizer(stop_words=frozenset({"a", "the"})),
    "columns": ColumnTransformer([("a", "drop", slice("a", "c")), ("b", "drop", slice(0, 2))]),
    "kernel": GaussianProcessRegressor(RBF(0.5) + 2.0 * DotProduct()),
    "folds": GridSearchCV(Ridge(), {}, cv=KFold(3)),
    "template": FeatureUnion([], verbose_feature_names_out="{transformer_name}-{feature_name}"),
    "attribute": SelectFromModel(Ridge(), importance_getter="named_steps.ridge.coef_"),
    "jobs": GridSearchCV(Ridge(), {"alpha": [0.1]}, pre_dispatch="3*n_jobs"),
    "type of numbers": OneHotEncoder(dtype=np.float32),
    "no cache": GridSearchCV(Pipeline([]), {"memory": [None], "p__memory": [None]}),
    "weights by number": LogisticRegression(class_weight={0: 1.0, 1: 2.0, np.int64(2): 3.0}),
    "weights by truth": LogisticRegression(class_weight={True: 1.0, False: 2.0}),
}


@pytest.mark.parametrize("name", GOOD)
def test_values_under_the_same_names_are_loaded(name, tmp_path):
    save(GOOD[name], tmp_path / "model")
    assert repr(load(tmp_path / "model")) == repr(GOOD[name])


def test_words_that_are_names_of_parameters_are_words(tmp_path):
    texts = ["memory input", "callback pre_dispatch", "importance_getter memory"]
    model = make_pipeline(TfidfVectorizer()).fit(texts)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert (again.transform(texts) != model.transform(texts)).nnz == 0
    assert again[0].vocabulary_ == model[0].vocabulary_


@pytest.mark.parametrize("estimator", [PoissonRegressor(), SGDClassifier(), Ridge(), PCA(2)])
def test_fitted_estimators_of_scikit_learn_are_loaded(estimator, tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = make_pipeline(MinMaxScaler(), estimator).fit(X, np.arange(40) % 2)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    method = "predict" if hasattr(model, "predict") else "transform"
    np.testing.assert_array_equal(getattr(again, method)(X), getattr(model, method)(X))


def test_objects_that_are_shared_stay_shared(tmp_path):
    detector = AutoencoderOutlierDetector(Autoencoder(1, max_iter=1), n_estimators=2)
    detector.fit(np.random.default_rng(0).normal(size=(20, 3)))
    save(ColumnTransformer([("d", detector, [0])]), tmp_path / "model")
    again = load(tmp_path / "model").transformers[0][1]
    assert again.estimators_[0] is again._members[0].estimator
    assert again.offset_ == detector.offset_


# Parameters of scikit-learn that are to come


def _free():
    """Return the parameters of scikit-learn's estimators that take any text, or an object."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimators = all_estimators()
    for name, cls in estimators:
        for parameter, rules in getattr(cls, "_parameter_constraints", {}).items():
            rules = rules if isinstance(rules, list) else []
            if any(rule is str or isinstance(rule, HasMethods) for rule in rules):
                found.setdefault(parameter, name)
    return found


HARMLESS = {
    *("estimator", "remainder", "init", "covariance_estimator", "final_estimator"),  # estimators
    *("regressor", "transformer", "base_estimator", "initial_strategy"),
    *("metric", "scoring", "refit", "threshold", "encoding"),  # names in tables of scikit-learn
    *("token_pattern", "separator", "constant", "pos_label", "outlier_label"),  # texts to compare
    "vocabulary",  # words
    "resource",  # the name of a parameter
}


def test_every_parameter_that_takes_any_text_is_known():
    """A new one may be a path, a cache or a hook: it belongs into TEXTS, or to the harmless."""
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - among all estimators

    assert "memory" in _free()
    assert set(_free()) <= HARMLESS | set(TEXTS)


def test_no_parameter_of_this_package_takes_any_text():
    for instance in (Autoencoder(), AutoencoderOutlierDetector(), StackedAutoencoderClassifier()):
        rules = type(instance)._parameter_constraints
        assert isinstance(instance, BaseEstimator)
        assert set(rules) <= set(inspect.signature(type(instance)).parameters)
        for name, allowed in rules.items():
            assert str not in (allowed if isinstance(allowed, list) else []), name


@pytest.mark.parametrize(
    "shape",
    [
        [10**12, [0, 0]],
        [[0], 10**12],
        ["ab", 10**12],
        [2.0, 2],
        [True, 4],
        [1] * 100 + [4],
        4,
        None,
    ],
    ids=str,
)
def test_the_shape_of_samples_is_a_tuple_of_integers(shape, tmp_path):
    """The product of a number and a list would be a list of that many entries."""
    save(Autoencoder(1, max_iter=1).fit(np.ones((9, 1)) * np.arange(4)), tmp_path / "model")
    content, arrays = take_apart(tmp_path / "model")
    forged = {"$tuple": shape} if isinstance(shape, list) else shape
    content["objects"][-1]["attributes"]["module_"]["config"]["sample_shape"] = forged
    _refused(tmp_path / "model", put_together(content, arrays), "no tuple of integers")
