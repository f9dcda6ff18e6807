"""Greedy training of a stack, each layer an autoencoder on the codes of the one below."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_ae._backend.batches import Rows
from sklearn_ae._backend.device import resolve_precision
from sklearn_ae._backend.linear import spread
from sklearn_ae._backend.random import draw_seeds
from sklearn_ae._backend.training import train
from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._fitting import training_of
from sklearn_ae.losses import get_loss
from sklearn_ae.networks._module import AutoencoderModule, inner_width
from sklearn_ae.networks._stack import LayerPair
from sklearn_ae.networks.dense import DenseParameters, DenseStack

History = list[dict[str, float]]


@dataclass(kw_only=True, eq=False, repr=False)
class StackParameters(DenseParameters):
    """How the layers of a stack are trained, one after another."""

    hidden_layer_sizes: tuple[int, ...] = (128, 128)
    pretraining: str | None = "denoising"
    pretraining_max_iter: int | Sequence[int] = 50
    noise_level: float | Sequence[float] = 0.25
    sparsity_weight: float | Sequence[float] = 0.3
    contraction: float | Sequence[float] = 0.01

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **DenseParameters._parameter_constraints,
        "pretraining": [
            StrOptions({"autoencoder", "denoising", "sparse", "contractive", "rbm"}),
            None,
        ],
        "pretraining_max_iter": ["array-like", Interval(Integral, 1, None, closed="left")],
        "noise_level": ["array-like", Interval(Real, 0, 1, closed="left")],
        "sparsity_weight": ["array-like", Interval(Real, 0, None, closed="left")],
        "contraction": ["array-like", Interval(Real, 0, None, closed="left")],
    }


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
    return [
        Layer(max_iter, **{name: values[depth] for name, values in strengths.items()})
        for depth, max_iter in enumerate(epochs)
    ]


def per_layer(value: Any, name: str, n_layers: int) -> list[Any]:
    """Return a parameter's value for each layer: one for all, or one for each."""
    values = np.atleast_1d(value).tolist()
    allowed = StackParameters._parameter_constraints[name][-1]
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


def _terms(layer: Layer, unit: float, pair: LayerPair, x: Tensor, *_: Any) -> dict[str, Tensor]:
    """Call a layer's objective as the training loop does."""
    return layer.terms(pair, x, unit)


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
        pair = LayerPair(module, depth, get_loss(stack.loss))
        unit = float(spread(rows.hold())[1].mean()) if pair.loss.scaled else 1.0
        trained = train(
            training_of(
                stack,
                module=pair,
                rows=rows,
                held_out=None,
                loss=functools.partial(_terms, layer, unit or 1.0),
                products=products,
                seeds=draw_seeds(seed + depth),
                max_iter=layer.max_iter,
                progress=f"layer {depth + 1} of {len(layers)}" if stack.verbose else None,
            )
        )
        histories.append(trained.history)
        rows = rows.through(pair.encode, pair.n_outputs)
    return histories
