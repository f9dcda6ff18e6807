"""Greedy layer-wise training: each layer is an autoencoder on the codes of the layer below."""

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
from sklearn_ae._estimator.identity import saved_run
from sklearn_ae._estimator.inference import open_samples
from sklearn_ae._estimator.inputs import ArrayType, check_count
from sklearn_ae._estimator.state import set_history
from sklearn_ae._estimator.tasks import running, task
from sklearn_ae._parameters.declaration import (
    constraints_of,
    declares_parameters,
    parameter,
    same_as,
)
from sklearn_ae._parameters.documentation import documented_like
from sklearn_ae._training.batches import Samples, by_chunks
from sklearn_ae._training.description import Hyperparameters, Objective, Trained, TrainingRun
from sklearn_ae._training.device import resolve_precision
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.linear import mean_and_variance
from sklearn_ae._training.random import draw_seeds, drawing_from, make_generator
from sklearn_ae._training.run import train
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.boltzmann import RestrictedBoltzmannMachine
from sklearn_ae.networks import Network
from sklearn_ae.networks._module import AutoencoderModule, inner_width
from sklearn_ae.networks._stack import BoltzmannPair, LayerPair, StackNetwork
from sklearn_ae.networks.dense import DenseParameters, DenseStack

LINEAR_RATE_FACTOR = 0.1
"""Factor of the learning rate of an RBM with linear hidden units, which are unbounded."""

History = list[dict[str, float]]
"""All losses by name, one dictionary per epoch."""


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
        How each layer is trained: as an autoencoder; as a denoising autoencoder, whose inputs
        are set to zero with probability `noise_level`; with an L1 penalty on its code; with a
        penalty on the Jacobian of its code; or as a restricted Boltzmann machine, which requires
        ``activation="logistic"``. None: no pre-training, all layers are trained together from
        random weights.
        """,
        constraint=[
            StrOptions({"autoencoder", "denoising", "sparse", "contractive", "rbm"}),
            None,
        ],
    )
    pretraining_max_iter: int | Sequence[int] = parameter(
        default=50,
        doc="""int or sequence of int
        Number of epochs of each layer, the code layer last. An integer applies to all layers.
        """,
        constraint=["array-like", Interval(Integral, 1, None, closed="left")],
    )
    noise_level: float | Sequence[float] = parameter(
        default=0.25,
        doc="""float or sequence of float
        Fraction of a layer's inputs that is set to zero. For the samples, zero is the mean of the
        feature, unless the loss uses the data without centring. Only used if
        ``pretraining="denoising"``.
        """,
        constraint=["array-like", Interval(Real, 0, 1, closed="left")],
    )
    sparsity_weight: float | Sequence[float] = parameter(
        default=0.3,
        doc="""float or sequence of float
        Factor of the mean absolute value of a layer's code. Useful for layers that are wider than
        their input. Only used if ``pretraining="sparse"``.
        """,
        constraint=["array-like", Interval(Real, 0, None, closed="left")],
    )
    contraction: float | Sequence[float] = parameter(
        default=0.001,
        doc="""float or sequence of float
        Factor of the squared Frobenius norm of a layer's Jacobian. Only used if
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

    def _pretrain(self, module: AutoencoderModule, X: Samples, seed: int) -> dict[str, Any]:
        return {"layer_histories_": pretrain_layers(self, module, X, seed)}

    def _set_fitted(
        self,
        module: AutoencoderModule,
        trained: Trained,
        array_type: ArrayType,
        continues: bool,
        keep_state: bool,
    ) -> None:
        super()._set_fitted(module, trained, array_type, continues, keep_state)
        histories = self.layer_histories_
        # Without joint training the history is that of the last layer, which is the code.
        if histories and not continues and not trained.history:
            set_history(self, histories[-1], best_epoch=len(histories[-1]))

    @isolated
    @documented_like(BaseAutoencoder.transform)
    def transform_layer(self, X, layer):
        """Encode samples up to one of the layers.

        Parameters
        ----------
        layer : int
            Number of the layer: 1 for the first hidden layer, ``len(hidden_layer_sizes) + 1`` for
            the code.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_units)
            Output of the layer.
        """
        check_count(layer, "layer")
        samples, array_type, module = open_samples(self, X, "transform_layer")
        stack = module.encoder
        assert isinstance(stack, DenseStack)
        if layer > len(stack.layers):
            raise ValueError(f"layer={layer}, but the encoder has {len(stack.layers)} layers.")
        # The last layer applies the code's own non-linearity, which `hidden` does not.
        hidden = partial(stack.hidden, depth=layer)
        return array_type.wrap(by_chunks(samples, stack if layer == len(stack.layers) else hidden))


class Layer(NamedTuple):
    """Objective of one layer: reconstruction of its input, and terms that prevent mere copying.

    Attributes
    ----------
    max_iter : int
        Number of epochs.
    noise_level : float
        Fraction of the inputs that is set to zero.
    sparsity_weight : float
        Factor of the mean absolute code.
    contraction : float
        Factor of the squared Frobenius norm of the layer's Jacobian.
    """

    max_iter: int
    noise_level: float
    sparsity_weight: float
    contraction: float

    def terms(
        self, pair: LayerPair, x: Tensor, y: Any = None, sample_weight: Any = None
    ) -> dict[str, Tensor]:
        """Return named loss terms of a batch, each of shape ``(batch_size,)``.

        Parameters
        ----------
        pair : LayerPair
        x : Tensor of shape (batch_size, n_inputs)
        y, sample_weight : object
            Not used.
        """
        corrupted, norm = x, torch.zeros_like(x[:, 0])
        if self.noise_level:
            corrupted = x.masked_fill(torch.rand_like(x) < self.noise_level, 0.0)
        if self.contraction:
            code, norm = pair.encode_with_norm(corrupted)
        else:
            code = pair.encode(corrupted)
        # The target is the input before corruption.
        terms = {"reconstruction": pair.loss.value(pair.decode(code), x) / pair.unit}
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
"""The parameter of each kind of pre-training; those of the other kinds are not used."""


def _layers(stack: Any, n_layers: int) -> list[Layer]:
    """Return the objective of each layer, validated; an empty list without pre-training."""
    epochs = per_layer(stack.pretraining_max_iter, "pretraining_max_iter", n_layers)
    strengths = {
        name: per_layer(
            getattr(stack, name) if method == stack.pretraining else 0.0, name, n_layers
        )
        for method, name in STRENGTHS.items()
    }
    if stack.pretraining is None:  # after the validation of the parameters that it ignores
        return []
    if stack.pretraining == "rbm" and not (
        stack.activation == "logistic" and stack.code_activation in ("logistic", "identity")
    ):
        raise ValueError(
            "pretraining='rbm' trains logistic units; set activation='logistic', and "
            "code_activation, if the estimator has it, to 'logistic' or 'identity'."
        )
    if stack.pretraining == "rbm" and stack.output_activation not in ("identity", "logistic"):
        raise ValueError(
            f"pretraining='rbm' requires Gaussian or logistic visible units; set "
            f"output_activation='identity' or 'logistic', not {stack.output_activation!r}."
        )
    return [
        Layer(max_iter, **{name: values[depth] for name, values in strengths.items()})
        for depth, max_iter in enumerate(epochs)
    ]


def per_layer(value: Any, name: str, n_layers: int) -> list[Any]:
    """Return a parameter's value for each layer, given one value for all or one for each."""
    values: list[Any] = np.atleast_1d(value).tolist()
    allowed = constraints_of(StackParameters)[name][-1]
    if not all(allowed.is_satisfied_by(each) for each in values):
        raise ValueError(f"each value of {name} must be {allowed}, got {value!r}.")
    if np.ndim(value) == 0:
        return values * n_layers
    if len(values) != n_layers:
        raise ValueError(
            f"{name} has {len(values)} values, but there are {n_layers} layers, including the "
            f"code; give one value for each layer, or one for all."
        )
    return values


def _autoencoder_training(
    stack: Any, layer: Layer, pair: LayerPair, samples: Samples
) -> dict[str, Any]:
    """Return the module, objective and hyperparameters that train a layer as an autoencoder."""
    pair.unit.fill_(_reducible_loss(pair, samples))
    signature = layer._replace(max_iter=0), pair.activation, pair.output_activation, pair.loss
    return {
        "module": pair,
        "objective": Objective(terms=layer.terms, signature=signature),
        "parameters": Hyperparameters.of(stack, max_iter=layer.max_iter),
    }


@torch.no_grad()
def _reducible_loss(pair: LayerPair, samples: Samples) -> float:
    """Return the mean loss of predicting the mean, minus that of a perfect reconstruction.

    Under squared error this is the variance. The cross-entropy of codes near one half is large
    even for a perfect reconstruction, so it would hide the part that training can reduce.
    """
    mean, total = mean_and_variance(samples)[0].to(samples.dtype), 0.0
    for chunk in samples.chunks():
        x = samples.take(chunk)
        output = pair.loss.link(mean).expand_as(x)  # (n_features,) to (n_chunk, n_features)
        gain = pair.loss.value(output, x) - pair.loss.value(pair.loss.link(x), x)
        total += float(samples.take_weight(chunk) @ gain.to(samples.precise))
    return max(total, 0.0) / samples.total_weight or 1.0  # 1 for constant inputs: no division by 0


def _rbm_training(stack: Any, layer: Layer, pair: LayerPair, samples: Samples) -> dict[str, Any]:
    """Return the module, loss and parameters that train a layer as an RBM."""
    rbm = BoltzmannPair(pair)
    rbm.start_at(mean_and_variance(samples)[0])

    def loss(rbm: BoltzmannPair, x: Tensor, y: Any, sample_weight: Any) -> dict[str, Tensor]:
        return rbm.layer.cd_terms(x, stack.n_steps, sample_weight)

    defaults = RestrictedBoltzmannMachine
    parameters = Hyperparameters.of(
        stack,
        max_iter=layer.max_iter,
        solver="sgd",
        momentum=defaults.momentum,
        learning_rate_init=defaults.learning_rate_init
        * (1.0 if rbm.is_binary else LINEAR_RATE_FACTOR),
        alpha=defaults.alpha,
        # The value of the contrastive loss does not show whether training improves.
        n_iter_no_change=math.inf,
    )
    return {"module": rbm, "objective": Objective(terms=loss), "parameters": parameters}


def pretrain_layers(
    stack: Any, module: AutoencoderModule, samples: Samples, seed: int
) -> list[History]:
    """Train one layer after another, each encoder layer together with its decoder layer.

    Parameters
    ----------
    stack : StackedAutoencoder or DeepBeliefNetwork
        Specifies the training. It is not changed.
    module : AutoencoderModule
        Module of a :class:`StackNetwork`. Its layers are trained in place.
    samples : Samples
        Training samples, centred and scaled.
    seed : int

    Returns
    -------
    list of list of dict
        History of the training of each layer; empty without pre-training.
    """
    histories: list[History] = []
    assert isinstance(module.encoder, DenseStack)
    layers = _layers(stack, len(module.encoder.layers))
    products = resolve_precision(
        stack.precision,
        samples.dtype == torch.float64,
        len(samples),
        inner_width(module),
        samples.device,
    ).products
    specify = _rbm_training if stack.pretraining == "rbm" else _autoencoder_training
    for depth, layer in enumerate(layers):
        pair = LayerPair(module, depth, stack._get_loss())
        seeds = draw_seeds(seed + depth)
        with drawing_from(make_generator(seeds.weights, samples.device)):
            specified = specify(stack, layer, pair, samples.cache())
        # A callback may end the epochs of one layer; the next layers are trained nevertheless.
        with task(running(stack), "layer", stack, n_epochs=layer.max_iter) as own:
            trained = train(
                TrainingRun(
                    **specified,
                    samples=samples,
                    held_out=None,
                    products=products,
                    seeds=seeds,
                    callbacks=own.listeners(stack),
                    title=f"layer {depth + 1} of {len(layers)}" if stack.verbose else None,
                    saved=saved_run(stack),
                )
            )
        if stack.pretraining == "rbm":
            pair.tie()  # the decoder layer becomes the transpose of the RBM's weights
        histories.append(trained.history)
        # The next layer is trained on the codes of this one, computed as batches are taken.
        samples = samples.map(pair.encode, pair.n_outputs)
    return histories
