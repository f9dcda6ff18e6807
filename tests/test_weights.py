"""A sample of weight two counts as two equal ones, in expectation over the batches."""

import inspect
from itertools import combinations

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

import sklearn_ae
from sklearn_ae import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    RestrictedBoltzmannMachine,
    SemanticHashing,
    SparseAutoencoder,
    StackedAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae._stacks.greedy import Layer
from sklearn_ae._training.optimizer import FlatParameters
from sklearn_ae._training.steps import weighted_means
from sklearn_ae.boltzmann import ContrastiveStep
from sklearn_ae.losses import get_loss
from sklearn_ae.networks._stack import LayerPair

WEIGHT = np.array([1, 3, 1, 2, 1, 1, 3])
SIZE = 3
TABLE = {"hidden_layer_sizes": (5,), "max_iter": 2, "random_state": 0}
HOOKS = [
    Autoencoder(2, code_alpha=0.3, **TABLE),
    SparseAutoencoder(6, sparsity="kl", **TABLE),
    SparseAutoencoder(6, sparsity="l1", n_active=4, **TABLE),
    SparseAutoencoder(6, sparsity="topk", n_active=2, **TABLE),
    DenoisingAutoencoder(2, **TABLE),
    DenoisingAutoencoder(2, noise="salt_and_pepper", **TABLE),
    DenoisingAutoencoder(2, noise="swap", **TABLE),
    ContractiveAutoencoder(2, **TABLE),
    ContractiveAutoencoder(2, n_projections=2, **TABLE),
    VariationalAutoencoder(2, n_importance_samples=3, **TABLE),
    SemanticHashing(4, **TABLE),
]


class DrawsOfSamples(TorchFunctionMode):
    """Gives each sample the same draws in whatever batch it stands: those of its number."""

    def __init__(self, places):
        super().__init__()
        self.places = places

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.rand_like, torch.randn_like):
            size = args[0].shape
        elif func in (torch.rand, torch.randn):
            size = args if isinstance(args[0], int) else args[0]
        else:
            return func(*args, **(kwargs or {}))
        rng = np.random.default_rng(len(size) + size[-1])
        shape = (*size[:-2], len(WEIGHT), size[-1])
        uniform = func in (torch.rand, torch.rand_like)
        table = torch.from_numpy(rng.random(shape) if uniform else rng.normal(size=shape))
        assert size[-2] == len(self.places)
        return table.index_select(-2, self.places)


def _batches():
    """All batches of weighted samples, and all of as many of their copies, by place."""
    scaled = torch.from_numpy(WEIGHT / WEIGHT.mean())
    copies = np.repeat(np.arange(len(WEIGHT)), WEIGHT)
    own = [torch.tensor(places) for places in combinations(range(len(WEIGHT)), SIZE)]
    theirs = [torch.from_numpy(copies[list(p)]) for p in combinations(range(len(copies)), SIZE)]
    return [(p, scaled[p]) for p in own], [(p, None) for p in theirs]


def _mean_gradients(module, gradient):
    """Average ``gradient(places, weight)`` over all batches, the module's state put back."""
    state = {name: value.clone() for name, value in module.state_dict().items()}
    means = []
    for batches in _batches():
        total = 0.0
        for places, weight in batches:
            module.load_state_dict(state)
            with DrawsOfSamples(places):
                total = total + gradient(places, weight)
        means.append(total / len(batches))
    return means


def _data():
    return np.random.default_rng(0).uniform(size=(len(WEIGHT), 4))


def _vector(module, terms):
    """Gradient of the loss, and what the step leaves in the module's buffers."""
    module.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    gradients = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
    left = [
        getattr(module, name).flatten() for name in ("usage", "factor") if hasattr(module, name)
    ]
    return torch.cat([*gradients, *left]).clone()


@pytest.mark.parametrize("estimator", HOOKS, ids=str)
def test_mean_gradient_over_all_batches_is_that_of_copies(estimator):
    X = np.repeat(_data(), 4, axis=0)
    module = estimator.fit(X).module_.double().train()
    module.progress = 0.7
    if getattr(estimator, "sparsity", None) == "l1":
        # A step changes the factor by a limited share, and the limit is not linear. With three
        # units always on, between three and six are, for four, and no batch comes up to it.
        with torch.no_grad():
            module.encoder.layers[-1].bias[:3] += 10
    x = (torch.from_numpy(_data()) - module.center) / module.scale

    def gradient(places, weight):
        terms = estimator._loss(module, x[places], None, weight)
        return _vector(module, weighted_means(terms, weight))

    weighted, copied = _mean_gradients(module, gradient)
    torch.testing.assert_close(weighted, copied, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "layer", [Layer(1, 0.25, 0.0, 0.0), Layer(1, 0.0, 0.3, 0.0), Layer(1, 0.0, 0.0, 0.1)]
)
def test_greedy_layers_have_the_mean_gradient_of_copies(layer):
    stack = StackedAutoencoder(2, pretraining=None, **TABLE).fit(_data())
    module = stack.module_.double().train()
    pair = LayerPair(module, 0, get_loss("squared_error"))
    x = torch.from_numpy(_data())

    def gradient(places, weight):
        return _vector(pair, weighted_means(layer.terms(pair, x[places], 1.0), weight))

    weighted, copied = _mean_gradients(pair, gradient)
    torch.testing.assert_close(weighted, copied, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("persistent", [False, True])
def test_contrastive_divergence_has_the_mean_gradient_of_copies(persistent):
    machine = RestrictedBoltzmannMachine(
        3, persistent=persistent, n_chains=5, max_iter=1, random_state=0
    )
    module = machine.fit(_data()).module_.double()
    flat = FlatParameters(module)
    step = ContrastiveStep(module, 2, None, torch.float64, flat, torch.Generator())
    x = torch.from_numpy(_data())

    def gradient(places, weight):
        draws = DrawsOfSamples(places)

        def noise(draw, like, duplicates):
            if len(like) != len(places):  # of the chains
                return torch.full_like(like, 0.4)
            function = torch.rand if draw.__name__ == "draw_uniform" else torch.randn
            return draws.__torch_function__(function, (), (like.shape,)).to(like)

        step.gradient._noise = noise
        # A step takes weights always or never.
        step.gradient(x[places], x.new_ones(len(places)) if weight is None else weight, None)
        return flat.gradient.clone()

    weighted, copied = _mean_gradients(module, gradient)
    torch.testing.assert_close(weighted, copied, rtol=1e-9, atol=1e-12)


def test_weights_have_no_unit():
    """Only their ratios matter: two powers apart, to the bit."""
    X = np.random.default_rng(0).normal(size=(300, 4))
    weight = np.random.default_rng(1).integers(1, 4, size=300).astype(float)
    one, other = (
        SparseAutoencoder(6, **TABLE).fit(X, sample_weight=factor * weight).transform(X)
        for factor in (1.0, 1024.0)
    )
    np.testing.assert_array_equal(one, other)


def test_sample_weight_is_documented_alike():
    texts = set()
    methods = [
        getattr(getattr(sklearn_ae, name), method, None)
        for name in sklearn_ae.__all__
        for method in ("fit", "partial_fit")
    ]
    for doc in (inspect.getdoc(method) or "" for method in methods if method is not None):
        if "sample_weight : " in doc:
            lines = doc.split("sample_weight : ")[1].splitlines()[1:4]
            texts.add(" ".join(line.strip() for line in lines).partition(" otherwise.")[0])
    assert len(texts) == 1
    text = texts.pop()
    assert "A sample of weight two is equivalent to two copies of it" in text
    assert "up to rounding if all samples are in one batch, in the expected gradient" in text
