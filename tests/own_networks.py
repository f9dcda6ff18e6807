"""Networks as users write them: each keeps something that weights alone do not bring back.

All are encoders of `n_features` inputs; the decoder is a linear layer unless one is given.
"""

import dataclasses
import enum
import functools
import math
import random
import threading
import warnings
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from sklearn_ae.networks import Network

WIDTH = 6

doubled = lambda x: 2 * x  # noqa: E731 - users write these

KINDS: dict[str, type[nn.Module]] = {}
"""Encoders by name, each called with the numbers of inputs and of outputs."""


class Shape(enum.Enum):
    """A parameter that is no plain value."""

    WIDE = 7
    NARROW = 3


@dataclass
class Inner:
    """A parameter within a parameter."""

    gain: float = 0.5
    table: Any = field(default_factory=lambda: np.arange(3.0))


@dataclass
class Options:
    """A parameter with one within it."""

    inner: Inner = field(default_factory=Inner)
    sizes: tuple[int, ...] = (4, 5)


class Bare:
    """A parameter without equality: a copy of it is not equal to it."""

    def __init__(self, size):
        self.size = size


def kind(cls):
    """Add a class of encoders to the list."""
    KINDS[cls.__name__] = cls
    return cls


class Encoder(nn.Module):
    """Two layers, and what a subclass puts between them."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.first = nn.Linear(n_inputs, WIDTH)
        self.last = nn.Linear(WIDTH, n_outputs)
        self.prepare()

    def prepare(self):
        pass

    def between(self, h):
        return h

    def forward(self, x):
        return self.last(self.between(self.first(x)).tanh())


@kind
class BooleanMask(Encoder):
    def prepare(self):
        self.register_buffer("mask", torch.rand(WIDTH) < 0.7)

    def between(self, h):
        return h * self.mask


@kind
class IntegerBuffer(Encoder):
    def prepare(self):
        self.register_buffer("order", torch.randperm(WIDTH))

    def between(self, h):
        return h[:, self.order]


@kind
class ComplexBuffer(Encoder):
    def prepare(self):
        self.register_buffer("phase", torch.polar(torch.ones(WIDTH), torch.rand(WIDTH)))

    def between(self, h):
        return (h * self.phase).imag + h


@kind
class NonPersistentBuffer(Encoder):
    def prepare(self):
        self.register_buffer("gain", torch.rand(WIDTH), persistent=False)

    def between(self, h):
        return h * self.gain


@kind
class PlainTensor(Encoder):
    def prepare(self):
        self.gain = torch.rand(WIDTH)

    def between(self, h):
        return h * self.gain.to(h)


@kind
class PlainTensorsInContainers(Encoder):
    def prepare(self):
        self.gains = [torch.rand(WIDTH), {"b": (torch.rand(WIDTH), 2)}]

    def between(self, h):
        return h * self.gains[0].to(h) + self.gains[1]["b"][0].to(h)


@kind
class ItemInConstructor(Encoder):
    def prepare(self):
        width = int(torch.tensor([2, 3]).sum().item())
        self.side = nn.Linear(WIDTH, width)
        self.back = nn.Linear(width, WIDTH)

    def between(self, h):
        return h + self.back(self.side(h))


@kind
class ItemInForward(Encoder):
    def between(self, h):
        return h / (1 + abs(self.first.bias.detach().mean().item()))


@kind
class ManyCalls(Encoder):
    """More than a thousand calls of torch, and few arrays."""

    def prepare(self):
        total = torch.zeros(())
        for n in range(2000):
            total = total + 1 / (n + 1) ** 2
        self.register_buffer("total", total)

    def between(self, h):
        return h * self.total


@kind
class WeightNorm(Encoder):
    def prepare(self):
        parametrizations.weight_norm(self.first)


@kind
class OldWeightNorm(Encoder):
    """torch's first one, which computes an attribute from two parameters."""

    def prepare(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            nn.utils.weight_norm(self.first)


@kind
class OldSpectralNorm(Encoder):
    """Its hook leaves a computed weight behind, with a graph attached."""

    def prepare(self):
        nn.utils.spectral_norm(self.first)


@kind
class SpectralNorm(Encoder):
    def prepare(self):
        parametrizations.spectral_norm(self.first)


@kind
class Orthogonal(Encoder):
    def prepare(self):
        parametrizations.orthogonal(self.last)


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).T


@kind
class OwnParametrization(Encoder):
    def prepare(self):
        self.square = nn.Linear(WIDTH, WIDTH)
        parametrize.register_parametrization(self.square, "weight", Symmetric())

    def between(self, h):
        return self.square(h)


@kind
class Branches(Encoder):
    """A ModuleDict and a ParameterDict."""

    def prepare(self):
        self.branch = nn.ModuleDict({"a": nn.Linear(WIDTH, WIDTH), "b": nn.PReLU()})
        self.gain = nn.ParameterDict({"a": torch.ones(WIDTH)})

    def between(self, h):
        return self.branch["b"](self.branch["a"](h)) * self.gain["a"]


@kind
class Lists(Encoder):
    """A ParameterList, and a plain list of parameters and of parts that are elsewhere as well."""

    def prepare(self):
        self.shifts = nn.ParameterList([torch.rand(WIDTH), torch.rand(WIDTH)])
        self.all = [self.shifts[0], self.first]

    def between(self, h):
        return h + self.shifts[1] + self.all[0] * self.all[1].bias


class Lazy(nn.Module):
    """Layers that take their sizes from what they see first."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LazyLinear(WIDTH), nn.LazyBatchNorm1d(), nn.Tanh(), nn.LazyLinear(n_outputs)
        )

    def forward(self, x):
        return self.layers(x)


kind(Lazy)


@kind
class Tied(Encoder):
    def prepare(self):
        self.again = nn.Linear(WIDTH, WIDTH)
        self.twice = nn.Linear(WIDTH, WIDTH)
        self.twice.weight = self.again.weight
        self.same = self.again

    def between(self, h):
        return self.same(self.twice(self.again(h)))


@kind
class Lambdas(Encoder):
    def prepare(self):
        self.activation = lambda x: x * torch.sigmoid(x)  # local, so no pickle holds it
        self.scaling = doubled
        self.partial = functools.partial(torch.clamp, min=-1.0)

    def between(self, h):
        return self.partial(self.scaling(self.activation(h)))


@kind
class Closure(Encoder):
    """A function that has hold of a parameter."""

    def prepare(self):
        weight = self.extra = nn.Parameter(torch.rand(WIDTH))
        self.scaled = lambda h: h * weight

    def between(self, h):
        return self.scaled(h)


@dataclass
class Stats:
    center: torch.Tensor
    factors: np.ndarray


@kind
class DataclassAttribute(Encoder):
    def prepare(self):
        self.stats = Stats(torch.rand(WIDTH), np.random.default_rng().random(WIDTH))

    def between(self, h):
        return (h - self.stats.center.to(h)) * torch.from_numpy(self.stats.factors).to(h)


@kind
class NumpyArray(Encoder):
    def prepare(self):
        self.factors = np.random.default_rng().random(WIDTH)

    def between(self, h):
        return h * torch.from_numpy(self.factors).to(h)


@kind
class EnumAttribute(Encoder):
    def prepare(self):
        self.shape = Shape.WIDE
        self.side = nn.Linear(WIDTH, self.shape.value)
        self.back = nn.Linear(self.shape.value, WIDTH)

    def between(self, h):
        return self.back(self.side(h)) if self.shape is Shape.WIDE else h


@kind
class NoneBuffers(Encoder):
    """Buffers and parameters that are None, or are not any more."""

    def prepare(self):
        self.register_buffer("never", None)
        self.register_buffer("later", None)
        self.register_buffer("gone", torch.ones(WIDTH))
        self.register_parameter("no_bias", None)

    def between(self, h):
        if self.later is None:
            self.later, self.gone = self.gone * 0.5, None
        return h * self.later


@kind
class BFloat16Buffer(Encoder):
    def prepare(self):
        self.register_buffer("gain", torch.rand(WIDTH).bfloat16())
        self.plain = torch.rand(WIDTH).bfloat16()

    def between(self, h):
        return h * self.gain.to(h) + self.plain.to(h)


@kind
class Generators(Encoder):
    """Generators of random numbers of three libraries, and one of Python's kind."""

    def prepare(self):
        self.generator = torch.Generator().manual_seed(3)
        self.numpy = np.random.default_rng(3)
        self.python = random.Random(3)
        self.counter = (n for n in range(10**9))
        self.lock = threading.Lock()

    def between(self, h):
        if self.training:
            noise = torch.rand(WIDTH, generator=self.generator) + self.numpy.random()
            h = h + 0.1 * (noise + self.python.random()).to(h)
        return h + 0 * next(self.counter)


@kind
class Drawn(Encoder):
    """What the constructor draws is other than tensors as well."""

    def prepare(self):
        self.angle = random.random()
        self.factor = float(torch.rand(()))
        self.sign = np.random.default_rng().choice([-1.0, 1.0])

    def between(self, h):
        return self.sign * self.factor * h + self.angle


@kind
class Counting(Encoder):
    """Numbers that forward changes."""

    def prepare(self):
        self.n_calls, self.mean, self.seen = 0, 0.0, OrderedDict()

    def between(self, h):
        if self.training:
            self.n_calls += 1
            self.mean += 0.1 * (float(h.detach().mean()) - self.mean)
            self.seen[self.n_calls] = self.mean
        return h - self.mean + 0.01 * math.log1p(len(self.seen))


@kind
class GrowingBuffer(Encoder):
    """A buffer whose shape follows from the data."""

    def prepare(self):
        self.register_buffer("memory", torch.zeros(0, WIDTH))

    def between(self, h):
        if self.training:
            large = h.detach()[h.detach().norm(dim=1) > 0.3][:2]
            self.memory = torch.cat([self.memory, large])[-5:]
        return h - self.memory.sum(0)


@kind
class ShapeFromTensors(Encoder):
    """The constructor multiplies tensors, and compares them, to get a shape."""

    def prepare(self):
        sizes = torch.tensor([2, 3])
        width = int(torch.mul(sizes[0], sizes[1]))
        if bool(torch.lt(sizes, 3).all()):
            width += 1
        basis, _ = torch.linalg.qr(torch.randn(WIDTH, width))
        self.register_buffer("basis", basis)

    def between(self, h):
        return h @ self.basis @ self.basis.T


@kind
class Frozen(Encoder):
    """A layer that is not trained."""

    def prepare(self):
        self.first.requires_grad_(False)


@kind
class ExtraState(Encoder):
    """State in torch's own way for what is no tensor."""

    def prepare(self):
        self.extra = Bare(random.random())

    def get_extra_state(self):
        return {"size": self.extra.size}

    def set_extra_state(self, state):
        self.extra = Bare(state["size"])

    def between(self, h):
        return h * (1 + self.extra.size)


@kind
class Recurrent(nn.Module):
    """torch's own modules with plain lists of their parameters."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.recurrence = nn.GRU(1, WIDTH, batch_first=True)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.last = nn.Linear(WIDTH, n_outputs)

    def forward(self, x):
        hidden = self.recurrence(x.unsqueeze(2))[0]
        return self.last(self.attention(hidden, hidden, hidden)[0].mean(1))


@kind
class Hooks(Encoder):
    def prepare(self):
        self.first.register_forward_hook(lambda module, args, output: output * 0.5)
        self.register_buffer("unit", torch.eye(WIDTH).to_sparse())

    def between(self, h):
        return h + functional.linear(h, self.unit.to_dense().to(h))


@kind
class KeptOutput(Encoder):
    """What forward computed, with its graph, as an attribute and within a list."""

    def between(self, h):
        self.output, self.outputs = h.sum(), [h.mean()]
        return h


Point = namedtuple("Point", "x y")


@kind
class SharedContainers(Encoder):
    """One list in two places, a list in itself, and a named tuple."""

    def prepare(self):
        self.log = [0.5]
        self.first.log = self.log
        self.loop = [1]
        self.loop.append(self.loop)
        self.point = Point(torch.rand(WIDTH), 2)

    def between(self, h):
        self.log.append(1.0)
        assert self.first.log is self.log
        assert self.loop[1] is self.loop
        return h * self.point.x.to(h) + min(self.first.log)


@dataclass(kw_only=True, eq=False, repr=False)
class OwnNetwork(Network):
    """A network with one of the encoders, and parameters of many kinds."""

    encoder_class: type[nn.Module] = Encoder
    options: Options = field(default_factory=Options)
    shape: Shape = Shape.NARROW
    array: Any = None
    bare: Any = None
    activation: Any = None

    def encoder(self, sample_shape, n_outputs):
        return self.encoder_class(math.prod(sample_shape), n_outputs)

    def decoder(self, sample_shape, n_inputs):
        layers = [nn.Linear(n_inputs, WIDTH), nn.Linear(WIDTH, math.prod(sample_shape))]
        if self.activation is not None:
            layers.insert(1, self.activation)
        return nn.Sequential(*layers)


@dataclass(kw_only=True, eq=False, repr=False)
class NamedNetwork(Network):
    """A network with one of the encoders, by its name: all its parameters are plain values."""

    kind: str = "Encoder"

    def encoder(self, sample_shape, n_outputs):
        return KINDS[self.kind](math.prod(sample_shape), n_outputs)

    def decoder(self, sample_shape, n_inputs):
        return nn.Linear(n_inputs, math.prod(sample_shape))


NETWORKS = {name: OwnNetwork(encoder_class=cls) for name, cls in KINDS.items()}
NETWORKS["NestedDataclass"] = OwnNetwork(options=Options(Inner(0.25), (3,)), shape=Shape.WIDE)
NETWORKS["ArrayParameter"] = OwnNetwork(array=np.arange(4.0))
NETWORKS["ParameterWithoutEquality"] = OwnNetwork(bare=Bare(3))
NETWORKS["ParameterWithoutPickle"] = OwnNetwork(bare=[Bare(np.ones(2)), np.zeros(3)])
NETWORKS["ModuleParameter"] = OwnNetwork(activation=nn.PReLU())
assert all(dataclasses.is_dataclass(network) for network in NETWORKS.values())
