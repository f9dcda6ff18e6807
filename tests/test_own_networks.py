"""Networks that a user writes: all copies are the same, and files refuse them in time."""

import copy
import pickle
from dataclasses import dataclass
from typing import ClassVar

import cloudpickle
import numpy as np
import pytest
import torch
from own_networks import KINDS, NETWORKS, Bare, Inner, NamedNetwork, Options
from sklearn.model_selection import GridSearchCV
from torch import nn

from sklearn_ae import Autoencoder, DenoisingAutoencoder, SparseAutoencoder, load, save, to_onnx
from sklearn_ae._onnx import methods  # noqa: F401 - registers translations
from sklearn_ae._onnx.graph import FIRST_OPSET, Entry, Graph
from sklearn_ae._onnx.tracing import N_EXAMPLES, traced
from sklearn_ae.networks import DenseNetwork, Network
from sklearn_ae.networks.activations import ACTIVATIONS

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


NOT_IN_FILES = {
    "BFloat16Buffer": "a tensor of torch.bfloat16",
    "Hooks": "a tensor of torch.float.., torch.sparse_coo",
    "Orthogonal": "orthogonal_map is of type _OrthMaps",
    "ExtraState": "get_extra_state",
    "EnumAttribute": "shape is of type Shape",
    "DataclassAttribute": "stats is of type Stats",
    "Generators": "python is of type Random",
    "SharedContainers": "point is of type Point",
}
"""What of a network is no plain value, as the message has it; all others are saved."""


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_a_trusted_module_are_saved(kind, X, tmp_path):
    path = tmp_path / "model"
    model = Autoencoder(2, network=NamedNetwork(kind=kind), max_iter=1, random_state=0).fit(X)
    if kind in NOT_IN_FILES:
        with pytest.raises(ValueError, match=f"module_ cannot be saved.*{NOT_IN_FILES[kind]}"):
            save(model, path)
        assert not path.exists()
        return
    save(model, path)
    again = load(path, trusted=["own_networks"])
    codes = model.transform(X)
    np.testing.assert_array_equal(again.transform(X), codes)
    np.testing.assert_array_equal(again.reconstruct(X), model.reconstruct(X))
    np.testing.assert_array_equal(
        again.partial_fit(X).transform(X), model.partial_fit(X).transform(X)
    )
    with pytest.raises(ValueError, match=r"own_networks.NamedNetwork.*trusted=\['own_networks'\]"):
        load(path)


@pytest.mark.parametrize("name", ["ModuleParameter", "ParameterWithoutEquality", "BooleanMask"])
def test_files_refuse_parameters_that_are_no_values(name, X, tmp_path):
    model = _model(name).fit(X)
    with pytest.raises(ValueError, match=r"Autoencoder.network.* is .*cannot be saved"):
        save(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


NOT_IN_ONNX = {
    "IntegerBuffer": "'__getitem__' of torch",
    "ComplexBuffer": "'imag' of torch",
    "Recurrent": "'is_nested' of torch",
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


# Shapes


class Wide(torch.nn.Linear):
    """A layer with one more output than it was asked for."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__(n_inputs, n_outputs + 1)


class WrongNetwork(DenseNetwork):
    """A network of which one module is given from outside."""

    made: ClassVar[dict[str, object]] = {}

    def encoder(self, sample_shape, n_outputs, **options):
        return self.made.get("encoder", torch.nn.Linear)(*sample_shape, n_outputs)

    def decoder(self, sample_shape, n_inputs, **options):
        return self.made.get("decoder", torch.nn.Linear)(n_inputs, *sample_shape)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            {"encoder": Wide},
            r"the encoder of WrongNetwork returned \(2, 4\) .*expected was \(2, 3\)",
        ),
        (
            {"decoder": lambda n_inputs, n_outputs: torch.nn.Linear(n_inputs, 1)},
            r"the decoder of WrongNetwork returned \(2, 1\) .*expected was \(2, 5\)",
        ),
        (
            {"decoder": lambda n_inputs, n_outputs: torch.nn.Linear(n_inputs + 1, n_outputs)},
            r"the decoder of WrongNetwork cannot be applied to a batch of shape \(2, 3\): mat1",
        ),
        (
            {"decoder": lambda *sizes: torch.nn.LSTM(*sizes)},
            r"the decoder of WrongNetwork returned tuple",
        ),
        (
            {"encoder": lambda *sizes: torch.nn.Sequential(torch.nn.Linear(*sizes), Cube())},
            r"the encoder of WrongNetwork returned \(2, 3, 1\)",
        ),
    ],
    ids=range(5),
)
def test_a_module_that_returns_another_shape_is_named(made, message, X, monkeypatch):
    monkeypatch.setattr(WrongNetwork, "made", made)
    model = Autoencoder(3, network=WrongNetwork(), init="random", max_iter=1)
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    monkeypatch.undo()
    assert model.fit(X).transform(X).shape == (60, 3)


class Cube(torch.nn.Module):
    def forward(self, x):
        return x[..., None]


# Layers of torch in ONNX

LAYERS = {
    **{
        type(layer).__name__ + str(place): layer
        for place, layer in enumerate(
            [
                *(nn.LeakyReLU(), nn.LeakyReLU(0.3), nn.ELU(), nn.ELU(0.5), nn.Softplus()),
                *(nn.Softplus(2.0), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Tanh()),
                *(nn.Sigmoid(), nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 0.7), nn.Hardsigmoid()),
                *(nn.Hardswish(), nn.SELU(), nn.CELU(0.7), nn.Mish(), nn.Softsign()),
                *(nn.Tanhshrink(), nn.LogSigmoid(), nn.Threshold(0.1, 0.2), nn.Identity()),
                *(nn.PReLU(), nn.PReLU(6), nn.Softmax(dim=1), nn.LogSoftmax(dim=-1)),
                *(nn.Dropout(0.4), nn.AlphaDropout(0.2), nn.BatchNorm1d(6)),
                *(nn.BatchNorm1d(6, affine=False), nn.LayerNorm(6), nn.GroupNorm(3, 6)),
                nn.Sequential(nn.Linear(6, 12), nn.GLU()),
            ]
        )
    },
    "Conv1d": nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 3, padding=1), nn.ELU(), nn.Flatten(),
        nn.Linear(12, 6),
    ),
    "ConvTranspose1d": nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.ConvTranspose1d(2, 1, 2, stride=2), nn.Flatten(),
    ),
    "AvgPool1d": nn.Sequential(
        nn.Linear(6, 12), nn.Unflatten(1, (1, 12)), nn.AvgPool1d(2), nn.Flatten()
    ),
    "MaxPool1d": nn.Sequential(
        nn.Linear(6, 12), nn.Unflatten(1, (1, 12)), nn.MaxPool1d(2), nn.Flatten()
    ),
    "Conv2d": nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4),
        nn.Dropout2d(0.5), nn.GroupNorm(2, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 6),
    ),
    "Upsampled": nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Upsample(scale_factor=2),
        nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), nn.Conv2d(1, 1, 2, 2),
        nn.Flatten(),
    ),
    "PixelShuffle": nn.Sequential(
        nn.Linear(6, 24), nn.Unflatten(1, (4, 2, 3)), nn.PixelShuffle(2), nn.Flatten(),
        nn.Linear(24, 6),
    ),
}  # fmt: skip
"""Layers from six values to six."""


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_torch_are_exported(name):
    import onnxruntime

    torch.manual_seed(0)
    layer = copy.deepcopy(LAYERS[name])
    for key, value in layer.state_dict().items():  # weights and statistics that matter
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "var" in key else torch.randn_like(value))
    graph = Graph()
    x = 3 * torch.randn(40, 6)
    with torch.no_grad():
        expected = layer.eval()(x)
        result = layer(traced(graph, "X", torch.zeros(N_EXAMPLES, 6)))
    assert expected.shape == (40, 6)
    outputs = [Entry(graph.named(result, "result"), np.float32, (None, 6))]
    model = graph.model([Entry("X", np.float32, (None, 6))], outputs, FIRST_OPSET)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"X": x.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_exported(activation, X):
    import onnxruntime

    network = DenseNetwork(hidden_layer_sizes=(6,), activation=activation)
    model = Autoencoder(2, network=network, max_iter=1, random_state=0).fit(X)
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    (found,) = session.run(None, {"X": X.astype(np.float32)})
    np.testing.assert_allclose(found, model.transform(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("network__channels", r"has network=None.*for example network=ConvolutionalNetwork\(\)"),
        ("network__hidden_size", r"has network=None.*for example network=LSTMNetwork\(\)"),
        ("network__activation", "set by 'activation' instead of 'network__activation'"),
        ("network__nonsense", "no parameter 'network__nonsense'. Choose a network first, or"),
    ],
)
def test_a_parameter_of_no_network_is_refused_with_the_remedy(name, message, X):
    search = GridSearchCV(Autoencoder(2), {name: [1, 2]}, cv=2)
    with pytest.raises(ValueError, match=message):
        search.fit(X)
    model = Autoencoder(2).set_params(network=DenseNetwork(), network__tied=True)
    assert model.network.tied
    assert model.set_params(network__tied=False, alpha=0.5).alpha == 0.5
