"""What authors of estimators and networks are told if a hook is missing or wrong."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_ae import Autoencoder, SemanticHashing
from sklearn_ae.base import BaseAutoencoder, NetworkChoice, declares_parameters, parameter
from sklearn_ae.networks import Network

X = np.random.default_rng(0).normal(size=(40, 5))


def _fit(result, **parameters):
    @declares_parameters
    class Penalised(NetworkChoice, BaseAutoencoder):
        """Autoencoder with the loss of a test."""

        def _loss(self, module, X, y=None, sample_weight=None):
            return result(module.encode(X))

    Penalised(2, max_iter=1, random_state=0, **parameters).fit(X)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (lambda code: {"p": code.abs()}, ValueError, r"the term 'p' has the shape \(\d+, 2\)"),
        (lambda code: {"p": code.mean(1, keepdim=True)}, ValueError, r"the shape \(\d+, 1\)"),
        (lambda code: {"p": code.sum(0)}, ValueError, r"the term 'p' has the shape \(2,\)"),
        (lambda code: {"p": 0.5}, TypeError, "the term 'p' is a float"),
        (lambda code: code.mean(1), TypeError, "a dictionary of loss terms .* not a Tensor"),
    ],
)
def test_terms_of_another_shape_or_type_are_named(result, error, message, early_stopping):
    with pytest.raises(error, match=message):
        _fit(result, early_stopping=early_stopping)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_terms_of_samples_and_of_a_batch_are_accepted(early_stopping):
    _fit(lambda code: {"a": code.mean(1), "b": code.mean()}, early_stopping=early_stopping)


def test_an_estimator_without_a_network_is_told_how_to_get_one():
    @declares_parameters
    class Unconnected(BaseAutoencoder):
        """Autoencoder that nothing gives a network."""

    with pytest.raises(NotImplementedError, match="Unconnected has no network: .*NetworkChoice"):
        Unconnected(2).fit(X)


class HalfNetwork(Network):
    """Network without a decoder."""

    def encoder(self, sample_shape, n_outputs):
        return torch.nn.Linear(5, n_outputs)


def test_a_network_without_a_decoder_is_told_so():
    with pytest.raises(NotImplementedError, match="HalfNetwork must define the method decoder"):
        Autoencoder(2, network=HalfNetwork()).fit(X)


class Undeclared(NetworkChoice, BaseAutoencoder):
    """An objective of which the decorator was forgotten."""

    strength: float = parameter(default=0.1, doc="float\nFactor.", constraint=[float])


class Bare(NetworkChoice, BaseAutoencoder):
    """Another one, with no parameter of its own."""


class Derived(Autoencoder):
    """One that adds a parameter to those of an estimator."""

    strength: float = parameter(default=0.1, doc="float\nFactor.", constraint=[float])


class Plain(Autoencoder):
    """One that changes an estimator without new parameters."""


@pytest.mark.parametrize(
    ("cls", "name"), [(Undeclared, "strength"), (Derived, "strength"), (Bare, r"\w+")]
)
def test_a_class_without_the_decorator_says_so(cls, name):
    message = rf"^{cls.__name__} lacks the decorator @declares_parameters .* takes no '{name}'"
    for arguments in ({}, {"strength": 2.0}):
        with pytest.raises(TypeError, match=message):
            cls(**arguments)
    declared = declares_parameters(type(cls.__name__, cls.__bases__, dict(vars(cls))))
    assert declared(3, max_iter=5).get_params()["n_components"] == 3


def test_a_class_without_new_parameters_needs_no_decorator():
    assert clone(Plain(3, max_iter=5)).max_iter == 5
    assert type("Bits", (SemanticHashing,), {})(3).n_components == 3
    with pytest.raises(TypeError, match="unexpected keyword argument 'strength'"):
        Plain(strength=2.0)
