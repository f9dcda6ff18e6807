"""Greedy training of a stack, each layer an autoencoder on the codes of the one below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._estimator.fitting import training_of
from sklearn_ae._estimator.inference import open_rows
from sklearn_ae._estimator.inputs import check_count
from sklearn_ae._estimator.state import set_history
from sklearn_ae._estimator.tasks import running, task
from sklearn_ae._parameters.declaration import (
    constraints_of,
    declares_parameters,
    parameter,
    same_as,
)
from sklearn_ae._training.batches import Rows, by_chunks
from sklearn_ae._training.device import resolve_precision
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.linear import spread
from sklearn_ae._training.random import draw_seeds, drawing_from, make_generator
from sklearn_ae._training.run import train
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.boltzmann import RestrictedBoltzmannMachine
from sklearn_ae.networks import Network
from sklearn_ae.networks._module import AutoencoderModule, inner_width
from sklearn_ae.networks._stack import BoltzmannPair, LayerPair, StackNetwork
from sklearn_ae.networks.dense import DenseParameters, DenseStack

LINEAR = 0.1
"""Factor of the learning rate of a machine with linear hidden units, which have no bounds."""

History = list[dict[str, float]]


@declares_parameters
class StackParameters:
    """How the layers of a stack are trained, one after another."""

    hidden_layer_sizes: tuple[int, ...] = same_as(
        DenseParameters, "hidden_layer_sizes", default=(128, 128)
    )
    activation: str = same_as(DenseParameters, "activation", default="silu")
    pretraining: str | None = parameter(
        default="denoising",
        doc="""{"autoencoder", "denoising", "sparse", "contractive", "rbm"}
        How each layer is trained: to undo itself; to do so from inputs of which a share of
        `noise_level` is set to zero; with an L1 penalty on its code; with a penalty on the
        Jacobian of its code; or as a restricted Boltzmann machine, which needs
        ``activation="logistic"``. None: the weights stay random until all are trained together.
        """,
        constraint=[
            StrOptions({"autoencoder", "denoising", "sparse", "contractive", "rbm"}),
            None,
        ],
    )
    pretraining_max_iter: int | Sequence[int] = parameter(
        default=50,
        doc="""int or sequence of int
        Number of epochs of each layer, that of the code last; one number is for all.
        """,
        constraint=["array-like", Interval(Integral, 1, None, closed="left")],
    )
    noise_level: float | Sequence[float] = parameter(
        default=0.25,
        doc="""float or sequence of float
        Share of a layer's inputs set to zero, in the rows that is the mean of the feature unless
        the loss uses the data as they are. Only for ``pretraining="denoising"``.
        """,
        constraint=["array-like", Interval(Real, 0, 1, closed="left")],
    )
    sparsity_weight: float | Sequence[float] = parameter(
        default=0.3,
        doc="""float or sequence of float
        Factor of the mean absolute value of a layer's code, for layers that are wider than what
        they see. Only for ``pretraining="sparse"``.
        """,
        constraint=["array-like", Interval(Real, 0, None, closed="left")],
    )
    contraction: float | Sequence[float] = parameter(
        default=0.001,
        doc="""float or sequence of float
        Factor of the squared Frobenius norm of a layer's Jacobian. Only for
        ``pretraining="contractive"``.
        """,
        constraint=["array-like", Interval(Real, 0, None, closed="left")],
    )


class Stack(BaseAutoencoder):
    """Base of autoencoders that are trained layer by layer. Not to be used directly."""

    fine_tune: bool
    hidden_layer_sizes: Any
    n_steps: int = 1
    layer_histories_: list[History]

    def _network(self) -> Network:
        return StackNetwork.of(self)

    def _joint_epochs(self) -> int:
        return self.max_iter if self.fine_tune else 0

    def _n_tasks(self, resume: bool) -> int:
        layers = len(np.atleast_1d(self.hidden_layer_sizes)) + 1
        if resume or getattr(self, "pretraining", None) is None:
            layers = 0
        return layers + self._joint_epochs()

    def _pretrain(self, module: AutoencoderModule, X: Rows, seed: int) -> dict[str, Any]:
        return {"layer_histories_": pretrain_layers(self, module, X, seed)}

    def _set_fitted(self, module, trained, kind, continues, keep_state):
        super()._set_fitted(module, trained, kind, continues, keep_state)
        histories = self.layer_histories_
        if histories and not continues and not trained.history:  # nothing was trained together
            set_history(self, histories[-1], best_epoch=len(histories[-1]))

    @isolated
    def transform_layer(self, X, layer):
        """Encode rows up to one of the layers.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.
        layer : int
            Number of the layer: 1 for the first hidden one, ``len(hidden_layer_sizes) + 1`` for
            the code.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_units)
            What the layer makes of them.
        """
        check_count(layer, "layer")
        rows, kind, module = open_rows(self, X, "transform_layer")
        stack = module.encoder
        assert isinstance(stack, DenseStack)
        if layer > len(stack.layers):
            raise ValueError(f"layer={layer}, but there are {len(stack.layers)} layers.")
        hidden = partial(stack.hidden, depth=layer)
        return kind.wrap(by_chunks(rows, stack if layer == len(stack.layers) else hidden))


class Layer(NamedTuple):
    """What one layer is trained for: to undo itself, and what keeps it from merely copying.

    Attributes
    ----------
    max_iter : int
        Number of epochs.
    noise_level : float
        Share of the inputs set to zero.
    sparsity_weight : float
        Factor of the mean absolute code.
    contraction : float
        Factor of the squared norm of the layer's Jacobian.
    """

    max_iter: int
    noise_level: float
    sparsity_weight: float
    contraction: float

    def terms(self, pair: LayerPair, x: Tensor, unit: float) -> dict[str, Tensor]:
        """Return named loss terms of a batch, each of shape ``(batch_size,)``.

        Parameters
        ----------
        pair : LayerPair
        x : Tensor of shape (batch_size, n_inputs)
        unit : float
            What the reconstruction loss is divided by.
        """
        spoilt, norm = x, torch.zeros_like(x[:, 0])
        if self.noise_level:
            spoilt = x.masked_fill(torch.rand_like(x) < self.noise_level, 0.0)
        if self.contraction:
            code, norm = pair.encode_with_norm(spoilt)
        else:
            code = pair.encode(spoilt)
        terms = {"reconstruction": pair.loss.value(pair.decode(code), x) / unit}
        if self.sparsity_weight:
            terms["sparsity"] = self.sparsity_weight * code.abs().mean(1)
        if self.contraction:
            terms["contraction"] = self.contraction * norm
        return terms


STRENGTHS = {
    "denoising": "noise_level",
    "sparse": "sparsity_weight",
    "contractive": "contraction",
}
"""The parameter that each kind of pre-training goes by; those of the others are not used."""


def _layers(stack: Any, n_layers: int) -> list[Layer]:
    """Say how each layer is trained; nothing without pre-training."""
    epochs = per_layer(stack.pretraining_max_iter, "pretraining_max_iter", n_layers)
    strengths = {
        name: per_layer(getattr(stack, name) if kind == stack.pretraining else 0.0, name, n_layers)
        for kind, name in STRENGTHS.items()
    }
    if stack.pretraining is None:
        return []
    if stack.pretraining == "rbm" and not (
        stack.activation == "logistic" and stack.code_activation in ("logistic", "identity")
    ):
        raise ValueError(
            "pretraining='rbm' trains logistic units; set activation='logistic', and a "
            "code_activation, where there is one, of 'logistic' or 'identity'."
        )
    if stack.pretraining == "rbm" and stack.output_activation not in ("identity", "logistic"):
        raise ValueError(
            f"pretraining='rbm' has visible units that are Gaussian or logistic; set "
            f"output_activation='identity' or 'logistic', not {stack.output_activation!r}."
        )
    return [
        Layer(max_iter, **{name: values[depth] for name, values in strengths.items()})
        for depth, max_iter in enumerate(epochs)
    ]


def per_layer(value: Any, name: str, n_layers: int) -> list[Any]:
    """Return a parameter's value for each layer: one for all, or one for each."""
    values = np.atleast_1d(value).tolist()
    allowed = constraints_of(StackParameters)[name][-1]
    if not all(allowed.is_satisfied_by(each) for each in values):
        raise ValueError(f"each value of {name} must be {allowed}, got {value!r}.")
    if np.ndim(value) == 0:
        return values * n_layers
    if len(values) != n_layers:
        raise ValueError(
            f"{name} has {len(values)} values, but there are {n_layers} layers, that of the code "
            f"counted; give one value for each layer, or one for all."
        )
    return values


def _autoencoder(stack: Any, layer: Layer, pair: LayerPair, rows: Rows) -> dict[str, Any]:
    """Say what is trained where a layer is an autoencoder."""
    unit = _explicable(pair, rows)

    def loss(pair: LayerPair, x: Tensor, *_: Any) -> dict[str, Tensor]:
        return layer.terms(pair, x, unit)

    return {"module": pair, "loss": loss}


@torch.no_grad()
def _explicable(pair: LayerPair, rows: Rows) -> float:
    """Return by how much a perfect reconstruction is better than the mean of the rows.

    Under squared error that is their variance. The cross-entropy of codes near one half is large
    whatever is done, and nearly all of it is not to be explained.
    """
    mean, total = spread(rows)[0].to(rows.dtype), 0.0
    for chunk in rows.chunks():
        x = rows.take(chunk)
        output = pair.loss.link(mean).expand_as(x)
        gain = pair.loss.value(output, x) - pair.loss.value(pair.loss.link(x), x)
        total += float(rows.take_weight(chunk) @ gain.to(rows.precise))
    return max(total, 0.0) / rows.total_weight or 1.0


def _boltzmann(stack: Any, layer: Layer, pair: LayerPair, rows: Rows) -> dict[str, Any]:
    """Say what is trained where a layer is a restricted Boltzmann machine."""
    machine = BoltzmannPair(pair)
    machine.start_at(spread(rows)[0])

    def loss(machine: BoltzmannPair, x: Tensor, y: Any, sample_weight: Any) -> dict[str, Tensor]:
        return machine.layer.cd_terms(x, stack.n_steps, sample_weight)

    own = RestrictedBoltzmannMachine
    return {
        "module": machine,
        "loss": loss,
        "momentum": own.momentum,
        "learning_rate_init": own.learning_rate_init * (1.0 if machine.is_binary else LINEAR),
        "alpha": own.alpha,
        "patience": math.inf,  # the loss tells nothing
    }


def pretrain_layers(stack: Any, module: AutoencoderModule, rows: Rows, seed: int) -> list[History]:
    """Train one layer after another, each with the one that undoes it.

    Parameters
    ----------
    stack : StackedAutoencoder
        Or whatever has its parameters. It is not changed.
    module : AutoencoderModule
        Of a :class:`StackNetwork`. Its own layers are trained, in place.
    rows : Rows
        Centred and scaled.
    seed : int

    Returns
    -------
    list of list of dict
        The history of each layer's training; empty without pre-training.
    """
    histories: list[History] = []
    assert isinstance(module.encoder, DenseStack)
    layers = _layers(stack, len(module.encoder.layers))
    products = resolve_precision(
        stack.precision, rows.dtype == torch.float64, len(rows), inner_width(module), rows.device
    ).products
    for depth, layer in enumerate(layers):
        pair = LayerPair(module, depth, stack._get_loss())
        undoes = _boltzmann if stack.pretraining == "rbm" else _autoencoder
        seeds = draw_seeds(seed + depth)
        with drawing_from(make_generator(seeds.weights, rows.device)):
            what = undoes(stack, layer, pair, rows.hold())
        # A callback may end the epochs of a layer; no layer is left out.
        with task(running(stack), "layer", stack, n_epochs=layer.max_iter) as own:
            trained = train(
                training_of(
                    stack,
                    **what,
                    rows=rows,
                    held_out=None,
                    products=products,
                    seeds=seeds,
                    max_iter=layer.max_iter,
                    callbacks=own.listeners(stack),
                    progress=f"layer {depth + 1} of {len(layers)}" if stack.verbose else None,
                )
            )
        if stack.pretraining == "rbm":
            pair.tie()
        histories.append(trained.history)
        rows = rows.through(pair.encode, pair.n_outputs)
    return histories
