"""Files of estimators: what comes back, what is refused, and what is never lost."""

import copy
import pickle
import sys

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from forging import put_together, take_apart
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, name_of
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import sklearn_ae
from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    ContractiveAutoencoder,
    ConvolutionalAutoencoder,
    DeepBeliefNetwork,
    DenoisingAutoencoder,
    FitCheckpoint,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    RestrictedBoltzmannMachine,
    SemanticHashing,
    SparseAutoencoder,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    UNetAutoencoder,
    VariationalAutoencoder,
    load,
    networks,
    save,
)
from sklearn_ae._files.catalogue import ESTIMATORS, MODULES, own_types
from sklearn_ae._files.description import Description
from sklearn_ae.networks._module import AutoencoderModule

pytestmark = pytest.mark.usefixtures("few_temperatures")

ALL = INSTANCES + SUPERVISED + OUTLIER_DETECTORS
METHODS = [
    "transform",
    "reconstruct",
    "score_samples",
    "predict",
    "predict_proba",
    "decision_function",
    "free_energy",
    "kneighbors",
]

each_instance = pytest.mark.parametrize("instance", ALL, ids=name_of)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(40, 4))


@pytest.fixture(scope="module")
def y():
    return np.arange(40) % 2


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def _travelled(estimator, path):
    save(estimator, path)
    return load(path)


def _assert_same(again, estimator):
    """Everything that a file holds of either is the same."""
    one, other = Description(again), Description(estimator)
    assert one.objects == other.objects
    assert list(one.arrays) == list(other.arrays)
    for name, array in one.arrays.items():
        assert array.dtype == other.arrays[name].dtype
        np.testing.assert_array_equal(array, other.arrays[name])


def _assert_works_alike(again, estimator, X):
    for name in METHODS:
        if hasattr(estimator, name):
            one, other = (getattr(e, name)(X) for e in (again, estimator))
            np.testing.assert_array_equal(one, other)
    if hasattr(estimator, "sample"):
        np.testing.assert_array_equal(again.sample(3, 0), estimator.sample(3, 0))
        np.testing.assert_array_equal(
            again.inverse_transform(again.transform(X)),
            estimator.inverse_transform(estimator.transform(X)),
        )
        assert again.score(X) == estimator.score(X)
        assert list(again.get_feature_names_out()) == list(estimator.get_feature_names_out())


# What comes back


@each_instance
def test_a_loaded_estimator_is_the_one_that_was_saved(instance, X, y, path):
    fitted = clone(instance).set_params(random_state=0).fit(X, y)
    again = _travelled(fitted, path)
    assert type(again) is type(fitted)
    assert set(vars(again)) == set(vars(fitted))
    assert repr(again.get_params()) == repr(fitted.get_params())
    _assert_works_alike(again, fitted, X)
    _assert_same(again, fitted)


@each_instance
def test_unfitted_estimators_travel(instance, X, y, path):
    again = _travelled(instance, path)
    assert repr(again.get_params()) == repr(instance.get_params())
    assert vars(again).keys() == vars(instance).keys()


@each_instance
def test_training_goes_on_where_it_was(instance, X, y, path):
    estimator = clone(instance).set_params(random_state=0)
    if hasattr(estimator, "partial_fit"):
        labels = {"y": y} if hasattr(estimator, "predict") else {}
        classes = {"classes": np.unique(y)} if is_classifier(estimator) else {}
        estimator.partial_fit(X, **labels, **classes)
        again = _travelled(estimator, path)
        _assert_works_alike(again.partial_fit(X, **labels), estimator.partial_fit(X, **labels), X)
    if "warm_start" in estimator.get_params():
        estimator = clone(estimator).set_params(warm_start=True).fit(X, y)
        again = _travelled(estimator, path)
        _assert_works_alike(again.fit(X, y), estimator.fit(X, y), X)


def _small(**parameters):
    return Autoencoder(2, hidden_layer_sizes=(4,), max_iter=2, random_state=0, **parameters)


NESTED = {
    "pipeline": make_pipeline(StandardScaler(), _small(), LogisticRegression()),
    "pipeline with a foreign step": make_pipeline(MinMaxScaler(), _small(), Ridge()),
    "pipeline without": make_pipeline("passthrough", _small()),
    "detector of pipelines": AutoencoderOutlierDetector(
        make_pipeline(StandardScaler(), _small()), n_estimators=2, random_state=0
    ),
    "detector of foreign pipelines": AutoencoderOutlierDetector(
        make_pipeline(MinMaxScaler(), _small()), n_estimators=2, random_state=0
    ),
    "classifier of an autoencoder": StackedAutoencoderClassifier(
        autoencoder=_small(), head=LogisticRegression(), random_state=0
    ),
    "network": _small(network=networks.ConvolutionalNetwork(channels=(2,))),
    "column transformer": ColumnTransformer([("a", _small(), [0, 1]), ("b", "drop", [2])]),
}


@pytest.mark.parametrize("name", NESTED)
def test_nested_estimators_travel(name, X, y, path):
    fitted = clone(NESTED[name]).fit(X, y)
    again = _travelled(fitted, path)
    assert repr(again) == repr(fitted)
    _assert_works_alike(again, fitted, X)


def test_frozen_autoencoders_travel(X, y, path):
    frozen = FrozenEstimator(_small().fit(X))
    np.testing.assert_array_equal(_travelled(frozen, path).transform(X), frozen.transform(X))
    classifier = StackedAutoencoderClassifier(autoencoder=frozen, random_state=0).fit(X, y)
    _assert_works_alike(_travelled(classifier, path), classifier, X)


def test_the_best_of_a_search_travels(X, path):
    search = GridSearchCV(_small(), {"n_components": np.array([1, 2])}, cv=2).fit(X)
    best = search.best_estimator_  # its parameter is a NumPy number
    _assert_works_alike(_travelled(best, path), best, X)


def test_members_of_a_detector_stay_one_with_its_estimators(X, path):
    detector = AutoencoderOutlierDetector(_small(), n_estimators=2).fit(X)
    again = _travelled(detector, path)
    members = [member.estimator for member in again._members]
    assert all(a is b for a, b in zip(again.estimators_, members, strict=True))


def test_names_and_output_settings_travel(X, path):
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    fitted = _small().set_output(transform="pandas").fit(frame)
    again = _travelled(fitted, path)
    pd.testing.assert_frame_equal(again.transform(frame), fitted.transform(frame))
    np.testing.assert_array_equal(again.feature_names_in_, fitted.feature_names_in_)
    assert again.feature_names_in_.dtype == object


@pytest.mark.parametrize(
    "labels", [["no", "yes"], [False, True], [1.0, 2.0], np.array(["no", "yes"], object)]
)
def test_labels_travel(labels, X, y, path):
    fitted = clone(SUPERVISED[1]).fit(X, np.array(labels)[y])
    again = _travelled(fitted, path)
    assert again.classes_.dtype == fitted.classes_.dtype
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


def test_requests_of_metadata_travel(X, path):
    with config_context(enable_metadata_routing=True):
        asking = _small().set_fit_request(sample_weight=True).set_score_request(sample_weight="w")
        again = _travelled(asking, path)
        for request in (again, asking):
            routing = request.get_metadata_routing()
            assert routing.fit.requests["sample_weight"] is True
            assert routing.score.requests["sample_weight"] == "w"


@pytest.mark.parametrize(
    "parameters",
    [
        {"device": torch.device("cpu")},
        {"alpha": np.float32(0.1)},
        {"max_iter": np.int64(2)},
        {"loss": np.str_("huber")},
        {"early_stopping": np.bool_(False)},
        {"hidden_layer_sizes": [3, np.int32(2)]},
        {"callbacks": []},
    ],
    ids=str,
)
def test_parameters_of_all_kinds_travel(parameters, X, path):
    fitted = _small().set_params(**parameters).fit(X)
    again = _travelled(fitted, path)
    for name, value in parameters.items():
        assert type(getattr(again, name)) is type(value)
        assert repr(getattr(again, name)) == repr(value)
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))


def test_random_states_go_on_drawing_the_same(X, path):
    random_state = np.random.RandomState(3)
    random_state.normal()
    unfitted = _small().set_params(random_state=random_state)
    again = _travelled(unfitted, path)
    np.testing.assert_array_equal(again.random_state.normal(size=9), random_state.normal(size=9))


def test_values_of_all_kinds_travel(path):
    estimator = _small()
    estimator.note_ = {
        (1, None): [float("nan"), float("inf"), -float("inf"), -0.0, 1e-320, 10**30],
        "$array": ((), [], {}, {"$": 1}),
        True: np.dtype("float16"),
        "scalars": (np.float16(0.1), np.uint64(2**64 - 1), np.bool_(True)),
        "text": 'quotes " and \\ and \u2603 and \U0001f600 and \x00',
    }
    again = _travelled(estimator, path).note_
    assert repr(again) == repr(estimator.note_)


@pytest.mark.parametrize(
    "array",
    [
        np.float64(3.5) * np.ones(()),
        np.zeros((0, 3), np.int8),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12, dtype=np.uint16)[::-3],
        np.arange(3, dtype=">i4"),
        np.array([["a", "\U0001f600bc"], ["", "d"]]),
        np.array([], "U5"),
        np.array([True, False]),
        np.array(["a", 1, None, 2.5], object).reshape(2, 2),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_of_all_kinds_travel(array, path):
    estimator = _small()
    estimator.note_ = array
    again = _travelled(estimator, path).note_
    np.testing.assert_array_equal(again, array)
    assert again.dtype == array.dtype.newbyteorder("=")
    assert again.shape == array.shape
    assert again.flags.f_contiguous == np.ascontiguousarray(array).flags.f_contiguous or (
        array.flags.f_contiguous and again.flags.f_contiguous
    )


def test_tensors_stay_tensors(X, path):
    with config_context(array_api_dispatch=True):
        tensors = torch.from_numpy(X)
        fitted = _small().fit(tensors)
        again = _travelled(fitted, path)
        assert isinstance(again.transform(tensors), torch.Tensor)
        assert torch.equal(again.transform(tensors), fitted.transform(tensors))


def test_the_same_model_gives_the_same_file(X, tmp_path):
    for name in "ab":
        save(_small().fit(X), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_of_a_loaded_model_are_its_own(X, path):
    fitted = _small(warm_start=True).fit(X)
    save(fitted, path)
    one, other = load(path), load(path)
    one.fit(X)
    np.testing.assert_array_equal(other.transform(X), fitted.transform(X))
    assert fitted.set_params(warm_start=False).fit(X)


def _subclasses(cls):
    return {sub for direct in cls.__subclasses__() for sub in {direct} | _subclasses(direct)}


def test_the_catalogue_is_complete():
    """What is missing here is to be added to sklearn_ae/_files/catalogue.py."""
    assert _subclasses(AutoencoderModule) - set(MODULES.values()) == set()
    specifications = _subclasses(networks.Network)
    ours = {cls for cls in specifications if cls.__module__.startswith("sklearn_ae.")}
    concrete = {cls for cls in ours if not hasattr(cls.encoder, "__isabstractmethod__")}
    assert networks.DenseNetwork in concrete
    assert concrete - set(ESTIMATORS.values()) == set()
    own = [getattr(sklearn_ae, name) for name in sklearn_ae.__all__]
    assert {cls for cls in own if hasattr(cls, "fit")} - set(ESTIMATORS.values()) == set()
    assert FitCheckpoint not in ESTIMATORS.values()


# Devices


def test_a_model_of_a_device_that_is_not_here_comes_to_the_cpu(X, path):
    save(clone(SUPERVISED[1]).fit(X, np.arange(40) % 2), path)
    content, arrays = take_apart(path)
    for described in content["objects"]:
        if "device_" in described.get("attributes", {}):
            described["attributes"]["device_"] = "cuda:7"
    path.write_bytes(put_together(content, arrays))
    again = load(path)
    assert again.device_ == again.autoencoder_.device_ == "cpu"
    assert again.predict(X).shape == (40,)


@pytest.mark.parametrize("device", ["hpu", "hpu:0", "mkldnn", "fpga", "nowhere"])
def test_a_kind_of_device_that_torch_does_not_know_is_the_cpu_with_a_warning(device, X, path):
    fitted = _small().fit(X)
    save(fitted, path)
    content, arrays = take_apart(path)
    content["objects"][-1]["attributes"]["device_"] = device
    path.write_bytes(put_together(content, arrays))
    before = set(sys.modules)
    with pytest.warns(UserWarning, match=f"on the device '{device}', .* now on the CPU") as seen:
        again = load(path)
    assert len(seen) == 1
    assert set(sys.modules) == before
    assert again.device_ == "cpu"
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))


def test_a_device_of_a_kind_that_torch_does_not_know_cannot_be_asked_for(X):
    with pytest.raises(ValueError, match="device='hpu' cannot be used here"):
        _small(device="hpu").fit(X)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_a_device_can_be_asked_for(device, X, path):
    fitted = _small().fit(X)
    save(fitted, path)
    again = load(path, device=device)
    assert again.device_ == "cpu"
    assert again.device == "auto"  # where to train is another question
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))


@pytest.mark.parametrize("device", ["cuda:99", "meta", "nowhere"])
def test_a_device_that_is_not_there_is_named(device, X, path):
    save(_small().fit(X), path)
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used here"):
        load(path, device=device)


# Other ways to travel


@each_instance
def test_skops_needs_to_trust_this_package_alone(instance, X, y):
    fitted = make_pipeline(StandardScaler(), clone(instance).set_params(random_state=0)).fit(X, y)
    data = skops.io.dumps(fitted)
    untrusted = skops.io.get_untrusted_types(data=data)
    assert all(name.startswith("sklearn_ae.") for name in untrusted)
    assert set(untrusted) <= set(own_types())
    _assert_works_alike(skops.io.loads(data, trusted=untrusted), fitted, X)


@pytest.mark.parametrize(
    "travel",
    [
        lambda e, folder: pickle.loads(pickle.dumps(e)),
        lambda e, folder: cloudpickle.loads(cloudpickle.dumps(e)),
        lambda e, folder: copy.deepcopy(e),
        lambda e, folder: joblib.load(joblib.dump(e, folder / "e.joblib", compress=3)[0]),
        lambda e, folder: joblib.load(joblib.dump(e, folder / "e.joblib")[0], mmap_mode="r"),
    ],
    ids=["pickle", "cloudpickle", "deepcopy", "joblib compressed", "joblib memory-mapped"],
)
@pytest.mark.parametrize("instance", SUPERVISED[1:] + OUTLIER_DETECTORS, ids=name_of)
def test_pickles_give_the_same_bits(instance, travel, X, y, tmp_path):
    fitted = clone(instance).set_params(random_state=0).fit(X, y)
    again = travel(make_pipeline(MinMaxScaler(), fitted), tmp_path)[-1]
    _assert_works_alike(again, fitted, X)
    assert again.fit(X, y)


def test_memory_maps_are_saved_as_arrays(X, tmp_path, path):
    fitted = _small().fit(X)
    fitted.note_ = np.arange(3.0)
    mapped = joblib.load(joblib.dump(fitted, tmp_path / "e.joblib")[0], mmap_mode="r")
    assert isinstance(mapped.note_, np.memmap)
    _assert_same(_travelled(mapped, path), fitted)


def test_a_device_that_vanished_is_noticed_by_pickles_too(X, y):
    fitted = clone(SUPERVISED[1]).fit(X, y)
    fitted.autoencoder_.device_ = fitted.device_ = "cuda:7"
    again = pickle.loads(pickle.dumps(fitted))
    assert again.device_ == again.autoencoder_.device_ == "cpu"


LAYERS = {"hidden_layer_sizes": (256,), "max_iter": 1}
STACK = {"hidden_layer_sizes": (256, 32), "max_iter": 1, "pretraining_max_iter": 1}
IMAGE = {"image_shape": (28, 28), "channels": (32, 64), "max_iter": 1}
STEPS = {"n_steps": 28, "hidden_size": 128, "max_iter": 1}
REALISTIC = [
    Autoencoder(32, **LAYERS),
    Autoencoder(256, init="random", **LAYERS),
    SparseAutoencoder(32, **LAYERS),
    DenoisingAutoencoder(32, **LAYERS),
    ContractiveAutoencoder(32, **LAYERS),
    VariationalAutoencoder(32, **LAYERS),
    ConvolutionalAutoencoder(32, **IMAGE),
    ConvolutionalAutoencoder(32, unpooling="switches", **IMAGE),
    UNetAutoencoder(32, **IMAGE),
    LSTMAutoencoder(32, **STEPS),
    RecursiveAutoencoder(32, tree="greedy", **STEPS),
    StackedAutoencoder(32, pretraining_max_iter=1, **LAYERS),
    DeepBeliefNetwork(32, pretraining_max_iter=1, **LAYERS),
    SemanticHashing(32, **LAYERS),
    RestrictedBoltzmannMachine(256, persistent=True, max_iter=1),
    StackedAutoencoderClassifier(**STACK),
    StackedAutoencoderRegressor(**STACK),
    AutoencoderOutlierDetector(Autoencoder(32, **LAYERS), n_estimators=2),
]


def _weights(fitted):
    """Bytes of all that is trained, and of the linear path that it is trained beside."""
    if hasattr(fitted, "estimators_"):
        return sum(_weights(member) for member in fitted.estimators_)
    if hasattr(fitted, "autoencoder_"):
        return _weights(fitted.autoencoder_)
    shortcuts = [v for name, v in fitted.module_.named_buffers() if "shortcut" in name]
    return sum(value.nbytes for value in [*fitted.module_.parameters(), *shortcuts])


@pytest.mark.parametrize("instance", REALISTIC, ids=name_of)
def test_files_hold_weights_and_little_else(instance, path):
    X = np.random.default_rng(0).random((200, 784)).astype(np.float32)
    supervised = isinstance(instance, (StackedAutoencoderClassifier, StackedAutoencoderRegressor))
    fitted = clone(instance).fit(X, np.arange(200) % 2 if supervised else None)
    save(fitted, path)
    weights = _weights(fitted)
    for size in (len(pickle.dumps(fitted)), path.stat().st_size):
        assert weights < size < 1.2 * weights


def test_size_of_a_file_does_not_grow_with_the_samples():
    X = np.random.default_rng(0).random((2000, 20)).astype(np.float32)
    sizes = [len(pickle.dumps(_small().fit(X[:n]))) for n in (200, 2000)]
    assert abs(sizes[1] - sizes[0]) < 100


def test_a_detector_keeps_one_number_for_each_sample(path):
    sizes = []
    for n in (3000, 5000):
        X = np.random.default_rng(0).normal(size=(n, 3))
        detector = AutoencoderOutlierDetector(_small(), n_estimators=2, random_state=0).fit(X)
        save(detector, path)
        sizes.append(np.array([path.stat().st_size, len(pickle.dumps(detector))]))
    np.testing.assert_allclose((sizes[1] - sizes[0]) / 2000, 8, atol=0.1)


def test_large_numbers_in_units_of_the_data_travel(tmp_path):
    """What bounds sizes in a file of a stranger does not bound variances."""
    X = np.random.default_rng(0).normal(scale=1e4, size=(40, 4))
    model = VariationalAutoencoder(2, variance=1e7, max_iter=2, hidden_layer_sizes=(4,)).fit(X)
    save(model, tmp_path / "model")
    for again in (load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))


@pytest.mark.parametrize("density", [GaussianMixture(2), BayesianGaussianMixture(n_components=2)])
def test_densities_of_codes_travel(density, tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 4))
    model = Autoencoder(2, density=density, max_iter=2, random_state=0).fit(X)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.sample(9, random_state=1), model.sample(9, random_state=1))
    assert repr(again.density) == repr(density)


@pytest.mark.parametrize(
    "estimator",
    [
        Autoencoder(1, max_iter=2),
        StackedAutoencoderClassifier(hidden_layer_sizes=(3, 2), pretraining_max_iter=1),
        AutoencoderOutlierDetector(Autoencoder(1, max_iter=2), n_estimators=2),
    ],
)
def test_checkpoints_stay_behind(estimator, tmp_path):
    """What a long fit was given travels nowhere, and no file says where to write others."""
    (name,) = [n for n in estimator.get_params() if n.split("__")[-1] == "callbacks"][:1]
    X = np.random.default_rng(0).normal(size=(40, 4))
    checkpoint = [FitCheckpoint(tmp_path / "checkpoints")]
    model = clone(estimator).set_params(random_state=0, **{name: checkpoint})
    if "estimator__random_state" in model.get_params():
        model.set_params(estimator__random_state=0)
    model.fit(X, np.arange(40) % 2)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.get_params()[name] is None
    assert model.get_params()[name] is checkpoint
    method = "predict" if hasattr(model, "predict") else "transform"
    np.testing.assert_array_equal(getattr(again, method)(X), getattr(model, method)(X))


def test_a_foreign_attribute_is_refused_before_a_file_is_written(tmp_path):
    model = Autoencoder()
    model.comment = "mine"
    with pytest.raises(ValueError, match=r"Autoencoder.comment is not an attribute of"):
        save(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


class NormalisedNetwork(networks.DenseNetwork):
    """A network with whole numbers among its buffers."""

    def encoder(self, sample_shape, n_outputs, **options):
        return torch.nn.Sequential(
            torch.nn.Linear(sample_shape[0], 6),
            torch.nn.BatchNorm1d(6),
            torch.nn.Linear(6, n_outputs),
        )


def test_whole_numbers_among_the_buffers_of_a_network_travel():
    X = np.random.default_rng(0).normal(size=(60, 4))
    model = Autoencoder(2, network=NormalisedNetwork(), init="random", max_iter=2, warm_start=True)
    model.fit(X)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.transform(X), model.transform(X))
        counted = again.module_.encoder[1].num_batches_tracked
        assert counted.dtype == torch.int64
        assert counted == model.module_.encoder[1].num_batches_tracked > 0
    model.fit(X).partial_fit(X)


def test_forged_shapes_of_samples_are_refused_before_anything_is_built(path):
    X = np.random.default_rng(0).normal(size=(20, 4, 4))
    model = Autoencoder(1, network=networks.UNetNetwork(channels=(2,), residual=True), max_iter=1)
    save(model.fit(X), path)
    content, arrays = take_apart(path)
    content["objects"][-1]["attributes"]["module_"]["config"]["sample_shape"] = {
        "$tuple": [10**6] * 2
    }
    path.write_bytes(put_together(content, arrays))
    with pytest.raises(ValueError, match=r"samples of shape \(1000000, 1000000\)"):
        load(path)


def test_a_damaged_state_of_a_pickle_is_noticed(X):
    fitted = _small().fit(X)
    for change in ({"center": np.zeros(5)}, {"code_mean": np.zeros(2, np.int64)}, {"other": X}):
        state = fitted.__getstate__()
        state["module_"]["arrays"].update(change)
        with pytest.raises(ValueError, match="arrays of a|is of shape|the arrays are not those"):
            Autoencoder().__setstate__(state)


def test_windows_beyond_the_image_travel(tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 8))
    model = ConvolutionalAutoencoder(2, channels=(2,), pool_size=5000, max_iter=1).fit(X)
    save(model, tmp_path / "model")
    for again in (load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.transform(X), model.transform(X))
