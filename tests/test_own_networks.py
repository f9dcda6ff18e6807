"""Networks that a user writes: all copies are the same, and files refuse them in time."""

import copy
import pickle
from dataclasses import dataclass

import cloudpickle
import numpy as np
import pytest
import torch
from own_networks import NETWORKS, Bare, Inner, Options
from sklearn.model_selection import GridSearchCV

from sklearn_ae import Autoencoder, DenoisingAutoencoder, SparseAutoencoder, save, to_onnx
from sklearn_ae.networks import DenseNetwork, Network

each_network = pytest.mark.parametrize("name", NETWORKS)

pytestmark = pytest.mark.filterwarnings("ignore:.*nested tensors.*")


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(60, 5))


def _model(name, **parameters):
    return Autoencoder(2, network=NETWORKS[name], max_iter=2, random_state=0, **parameters)


COPIES = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "cloudpickle": lambda model: cloudpickle.loads(cloudpickle.dumps(model)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "twice": lambda model: copy.deepcopy(pickle.loads(pickle.dumps(model))),
}


@pytest.mark.parametrize("way", COPIES)
@each_network
def test_copies_compute_the_same(name, way, X):
    model = _model(name).fit(X)
    before = torch.get_rng_state()
    again = COPIES[way](model)
    assert torch.equal(torch.get_rng_state(), before)
    for data in (X, X.astype(np.float32)):
        codes = model.transform(data)
        assert np.ptp(codes) > 0
        np.testing.assert_array_equal(again.transform(data), codes)
        np.testing.assert_array_equal(again.reconstruct(data), model.reconstruct(data))


@each_network
def test_training_goes_on_in_copies_as_in_the_original(name, X):
    model = _model(name).partial_fit(X[:30])
    again = pickle.loads(pickle.dumps(model))
    third = copy.deepcopy(model)
    codes = model.partial_fit(X[30:]).transform(X)
    for other in (again, third):
        assert np.any(other.transform(X) != codes)  # it has not been trained with the original
        np.testing.assert_array_equal(other.partial_fit(X[30:]).transform(X), codes)


@each_network
def test_warm_starts_go_on_in_copies_as_in_the_original(name, X):
    model = _model(name, warm_start=True).fit(X)
    again = pickle.loads(pickle.dumps(model))
    codes = model.fit(X).transform(X)
    np.testing.assert_array_equal(again.fit(X).transform(X), codes)


@each_network
def test_an_error_behind_the_training_leaves_the_network_as_it_was(name, X, monkeypatch):
    model = _model(name).partial_fit(X)
    codes = model.transform(X)

    def fails(*arguments):
        raise RuntimeError("on purpose")

    monkeypatch.setattr("sklearn_ae._estimator.fitting.fit_code_density", fails)
    with pytest.raises(RuntimeError, match="on purpose"):
        model.partial_fit(X)
    np.testing.assert_array_equal(model.transform(X), codes)


@each_network
def test_files_refuse_it_before_they_are_touched(name, X, tmp_path):
    model = _model(name).fit(X)
    with pytest.raises(ValueError, match="network is a own_networks.OwnNetwork, which is neither"):
        save(model, tmp_path / "model")
    model.set_params(network=None)  # what was fitted is there all the same
    with pytest.raises(ValueError, match=r"module_\S*network is a own_networks.OwnNetwork"):
        save(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


NOT_IN_ONNX = {
    "IntegerBuffer": "'__getitem__' of torch",
    "ComplexBuffer": "'imag' of torch",
    "Branches": "'prelu' of torch",
    "Lazy": "'batch_norm' of torch",
    "Recurrent": "'unsqueeze' of torch",
    "KeptOutput": "'sum' of torch",
}
"""What of a network has no translation, as the message has it; all others are exported."""


@each_network
def test_exports_work_or_say_why_not(name, X):
    import onnxruntime

    model = _model(name).fit(X)
    codes = model.transform(X)
    if name in NOT_IN_ONNX:
        with pytest.raises(NotImplementedError, match=NOT_IN_ONNX[name]):
            to_onnx(model)
    else:
        session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
        (found,) = session.run(None, {"X": X.astype(np.float32)})
        np.testing.assert_allclose(found, codes, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(model.transform(X), codes)  # the model is as it was


class Late(torch.nn.Module):
    """A layer that forward makes, which no optimiser has been told of."""

    def __init__(self, n_outputs):
        super().__init__()
        self.n_outputs = n_outputs
        self.layer = None

    def forward(self, x):
        if self.layer is None:
            self.layer = torch.nn.Linear(x.shape[1], self.n_outputs, dtype=x.dtype)
        return self.layer(x)


class LateNetwork(DenseNetwork):
    """A network with such a layer."""

    def encoder(self, sample_shape, n_outputs, **options):
        return Late(n_outputs)


def test_parts_that_training_makes_are_refused(X):
    with pytest.raises(ValueError, match=r"LateNetwork made 'encoder.layer' while it was trained"):
        Autoencoder(2, network=LateNetwork(), init="random", max_iter=1).fit(X)


def test_a_changed_network_is_not_continued(X):
    model = _model("ParameterWithoutEquality").partial_fit(X)
    model.set_params(network__bare=Bare(4))
    with pytest.raises(ValueError, match="bare was changed from"):
        model.partial_fit(X)
    model = _model("NestedDataclass").partial_fit(X)
    model.set_params(network__options=Options(Inner(0.25, np.zeros(3)), (3,)))
    with pytest.raises(ValueError, match="options was changed from"):
        model.partial_fit(X)


def test_frozen_parameters_stay_as_they_are(X):
    model = _model("Frozen", alpha=0.1).partial_fit(X)
    before = model.module_.encoder.first.weight.clone()
    moved = model.module_.encoder.last.weight.clone()
    model.partial_fit(X)
    assert torch.equal(model.module_.encoder.first.weight, before)
    assert not torch.equal(model.module_.encoder.last.weight, moved)
    again = pickle.loads(pickle.dumps(model))
    assert not again.module_.encoder.first.weight.requires_grad


def test_what_is_in_two_places_is_one_thing_in_copies(X):
    again = pickle.loads(pickle.dumps(_model("Tied").fit(X))).module_.encoder
    assert again.twice.weight is again.again.weight
    assert again.same is again.again
    again = pickle.loads(pickle.dumps(_model("Lists").fit(X))).module_.encoder
    assert again.all[0] is again.shifts[0]
    assert again.all[1] is again.first


@pytest.mark.parametrize("name", ["ComplexBuffer", "BooleanMask", "IntegerBuffer"])
def test_types_of_buffers_stay_theirs(name, X):
    model = _model(name).fit(X.astype(np.float32))
    (buffer,) = model.module_.encoder.buffers()
    (again,) = pickle.loads(pickle.dumps(model)).module_.encoder.buffers()
    assert again.dtype == buffer.dtype
    assert torch.equal(again, buffer)
    assert not buffer.dtype.is_floating_point


@pytest.mark.parametrize("name", ["PlainTensor", "Drawn", "DataclassAttribute", "Generators"])
def test_pickles_hold_no_objects_of_torch(name, X):
    state = _model(name).fit(X).__getstate__()["module_"]
    assert b"torch._utils" not in pickle.dumps(state)


@pytest.mark.parametrize("objective", [DenoisingAutoencoder, SparseAutoencoder])
@pytest.mark.parametrize("name", ["WeightNorm", "PlainTensor", "Lazy"])
def test_other_objectives_copy_them_too(objective, name, X):
    model = objective(2, network=NETWORKS[name], max_iter=2, random_state=0).fit(X)
    again = copy.deepcopy(model)
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    codes = model.partial_fit(X).transform(X)
    np.testing.assert_array_equal(again.partial_fit(X).transform(X), codes)


@dataclass
class PlainDataclassNetwork(Network):
    """A dataclass as Python makes them by default: with an equality, a text and no hash."""

    width: int = 3

    def encoder(self, sample_shape, n_outputs):
        return torch.nn.Linear(sample_shape[0], n_outputs)

    def decoder(self, sample_shape, n_inputs):
        return torch.nn.Linear(n_inputs, sample_shape[0])


class PlainClassNetwork(Network):
    """No dataclass at all, one pair of layers for both ways, and no number of components."""

    def __init__(self, bias=True):
        self.bias = bias

    def code_size(self, sample_shape):
        return 3

    def encoder(self, sample_shape, n_outputs, dense=True):
        self._layer = torch.nn.Linear(sample_shape[0], n_outputs, bias=self.bias)
        return self._layer

    def decoder(self, sample_shape, n_inputs, dense=True):
        decoder = torch.nn.Linear(n_inputs, sample_shape[0])
        decoder.weight = torch.nn.Parameter(self._layer.weight.detach().t().clone())
        return torch.nn.Sequential(decoder, torch.nn.Linear(sample_shape[0], sample_shape[0]))


@pytest.mark.parametrize("network", [PlainDataclassNetwork(), PlainClassNetwork(bias=False)])
@pytest.mark.parametrize("n_components", [2, None])
def test_specifications_need_not_be_dataclasses(network, n_components, X):
    model = Autoencoder(n_components, network=network, max_iter=2, random_state=0).fit(X)
    if n_components is None:  # that of its own method code_size, or as many as PCA
        own = isinstance(network, PlainClassNetwork)
        assert model.n_components_ == (3 if own else min(X.shape))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    np.testing.assert_array_equal(
        again.partial_fit(X).transform(X), model.partial_fit(X).transform(X)
    )
    name = next(iter(network.get_params()))
    search = GridSearchCV(model, {f"network__{name}": [1, 2]}, cv=2).fit(X)
    assert search.best_params_[f"network__{name}"] in (1, 2)
