"""Translations of torch functions: bugs come out as they are, what is unsupported is named."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from sklearn_ae import DenoisingAutoencoder, to_onnx
from sklearn_ae._onnx import activations, layers, operators, shapes  # noqa: F401 - register
from sklearn_ae._onnx.graph import Graph
from sklearn_ae._onnx.tracing import N_EXAMPLES, TRANSLATIONS, traced
from sklearn_ae.networks import DenseNetwork

X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)


def trace(function, shape=(4,)):
    graph = Graph()
    return graph, function(traced(graph, "X", torch.zeros(N_EXAMPLES, *shape)))


class Doubling(nn.Linear):
    def forward(self, x):
        return super().forward(x.square())


class OwnNetwork(DenseNetwork):
    def encoder(self, sample_shape, n_outputs):
        return Doubling(*sample_shape, n_outputs)


def fails(error):
    def translation(graph, result, x):
        raise error

    return translation


BUGS = [
    TypeError("unsupported operand"),
    KeyError("square"),
    AttributeError("no such attribute"),
    StopIteration(),
    AssertionError(),
    ValueError("wrong"),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
def test_a_bug_in_a_translation_comes_out_as_it_is(bug, monkeypatch):
    network = OwnNetwork(hidden_layer_sizes=(3,))
    estimator = DenoisingAutoencoder(2, network=network, init="random", max_iter=1).fit(X)
    assert to_onnx(estimator)
    monkeypatch.setitem(TRANSLATIONS, "square", fails(bug))
    with pytest.raises(type(bug)) as caught:
        to_onnx(estimator)
    assert caught.value is bug


def test_a_bug_in_a_signature_within_a_translation_comes_out(monkeypatch):
    """A TypeError of a call inside is not one of the arguments that the network passes."""
    monkeypatch.setitem(TRANSLATIONS, "square", lambda g, result, x: g.add())
    with pytest.raises(TypeError, match=r"add\(\) missing"):
        trace(lambda x: x.square())


weight = torch.ones(2, 2, 3, 3)

UNSUPPORTED = {
    "no translation": (lambda x: x.sort(1), r"'sort' .* there is no translation\. The network"),
    "attribute": (lambda x: x.T, "'T' .* no translation"),
    "sum over all": (lambda x: x.sum(), "'sum' .* no translation for these arguments"),
    "scaled sum": (lambda x: x.add(x, alpha=2.0), "'add' .* for these arguments"),
    "keepdim": (lambda x: x.logsumexp(1, keepdim=True), "'logsumexp' .* for these arguments"),
    "rounding mode": (lambda x: x.div(2, rounding_mode="floor"), "'div' .* these arguments"),
    "no axes": (lambda x: x.mean(None), "'mean' .* needs its axes"),
    "remainder": (lambda x: x % 2.0, "'remainder' .* integers only"),
    "where of conditions": (
        lambda x: torch.where(x > 0, x > 1, x < 1),
        "'where' .* select from booleans",
    ),
    "dtype": (lambda x: x.to(torch.bfloat16), "'to' .* torch.bfloat16 has no counterpart"),
    "view as a dtype": (lambda x: x.view(torch.int32), "'view' .* by integers"),
    "number of examples": (
        lambda x: x.reshape(N_EXAMPLES * 2, 2),
        r"'reshape' .*\(3, 4\) to \(6, 2\) must leave the number of samples open",
    ),
    "unflatten": (
        lambda x: x.flatten(0).unflatten(0, (N_EXAMPLES, 4)),
        "'unflatten' .* one of the lengths open",
    ),
    "list as an index": (lambda x: x[:, [0, 2]], "'__getitem__' .* list is not supported"),
    "boolean as an index": (lambda x: x[True], "'__getitem__' .* bool is not supported"),
    "tensor as an index": (
        lambda x: x[:, torch.tensor([0, 2])],
        r"'__getitem__' .* only x\[arange",
    ),
    "mask as an index": (lambda x: x[x[:, 0] > 0], r"'__getitem__' .* only x\[arange"),
    "constants of samples": (
        lambda x: x[torch.arange(len(x)), torch.zeros(len(x), dtype=torch.long)],
        r"'__getitem__' .* only x\[arange",
    ),
    "scatter a number": (
        lambda x: x.scatter(1, torch.zeros(N_EXAMPLES, 1, dtype=torch.long), 1.0),
        "'scatter' .* these arguments|'scatter' .* tensor of values",
    ),
    "reflecting padding": (
        lambda x: functional.pad(x, (1, 1), mode="reflect"),
        "'pad' .* mode='reflect'",
    ),
    "padding by name": (
        lambda x: torch.conv2d(x.view(-1, 1, 2, 2), weight[:1, :1], None, 1, "same", 1, 1),
        "'conv2d' .* padding='same'",
    ),
    "overlapping windows": (
        lambda x: functional.max_pool2d(x.view(-1, 1, 2, 2), 2, stride=1),
        "'max_pool2d' .* adjacent",
    ),
    "bilinear": (
        lambda x: functional.interpolate(x.view(-1, 1, 2, 2), scale_factor=2, mode="bilinear"),
        "'interpolate' .* repeat values",
    ),
    "size of an image": (
        lambda x: functional.interpolate(x.view(-1, 1, 2, 2), size=(5, 5)),
        "'interpolate' .* repeat values",
    ),
    "two directions": (
        lambda x: nn.GRU(2, 3, batch_first=True, bidirectional=True)(x.view(-1, 2, 2))[0],
        "'gru' .* one direction",
    ),
    "projection": (
        # In float64, since torch warns that float32 is slow.
        lambda x: nn.LSTM(2, 3, batch_first=True, proj_size=2).double()(x.double()[:, None, :2])[
            0
        ],
        "'lstm' .* no projection",
    ),
    "learnt state": (
        lambda x: nn.GRU(2, 3, batch_first=True)(x.view(-1, 2, 2), torch.ones(1, len(x), 3))[0],
        "'gru' .* initial states must be zero",
    ),
}


@pytest.mark.parametrize(("function", "message"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_is_unsupported_is_named(function, message):
    with pytest.raises(NotImplementedError, match=message) as caught:
        trace(function)
    assert "estimator.module_, can be passed to torch.onnx.export" in str(caught.value)


SUPPORTED = {
    "one number for two axes": lambda x: functional.conv_transpose2d(
        torch.conv2d(functional.pad(x.view(-1, 1, 2, 2), (1, 1, 1, 1)), *KERNEL, 1, 1, 1, 1),
        KERNEL[0],
        None,
        1,
        0,
        0,
        1,
        1,
    ),
    "square windows": lambda x: functional.max_pool2d(x.view(-1, 1, 2, 2), 2, 2),
    "one factor": lambda x: functional.interpolate(x.view(-1, 1, 2, 2), scale_factor=3),
    "normalisation without weights": lambda x: functional.layer_norm(x, (4,)),
    "tensor to fill in": lambda x: x.masked_fill(x > 0, torch.tensor(2.0)),
    "NumPy's integers": lambda x: x[:, np.int64(1) :].reshape(-1, np.int64(3))[:, np.int64(2)],
    "negative axes": lambda x: x.view(-1, 2, 2).permute(0, -1, -2).flatten(1),
    "several axes": lambda x: x.view(-1, 2, 2).logsumexp((1, 2)),
}
KERNEL = torch.arange(9.0).view(1, 1, 3, 3) / 9, torch.tensor([0.5])


@pytest.mark.parametrize("function", SUPPORTED.values(), ids=SUPPORTED)
def test_other_ways_to_pass_arguments(function):
    graph, result = trace(function)
    graph.named(result, "Y")
    shape = (None, *result.shape[1:])
    model = graph.model([("X", np.float32, (None, 4))], [("Y", np.float32, shape)], 18)
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"X": X})
    expected = function(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
