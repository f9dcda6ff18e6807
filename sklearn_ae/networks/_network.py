"""The base class of network specifications: parameters, and factories of torch modules."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from sklearn_ae._compat import is_whole
from sklearn_ae.networks.layout import Layout


class Network(BaseEstimator):
    """Base class of network specifications.

    A specification stores the parameters of a network and creates its encoder and its decoder.
    Estimators accept it as `network` and combine it with their own loss.

    A new network is a subclass that implements two methods, :meth:`encoder` and :meth:`decoder`.
    The other methods have defaults; override one only if its description applies to the network.
    The parameters are best declared as fields of a dataclass. ``eq=False`` and ``repr=False`` keep
    the comparison by identity and the text of scikit-learn's estimators. A class whose
    ``__init__`` assigns its arguments to attributes of the same names is accepted as well.
    Networks of this package declare and document their parameters as its estimators do.

    Attributes
    ----------
    takes_missing : bool
        Class attribute. Whether samples may be sequences of different lengths. The encoder then
        receives NaN after the end of each. Default: False.
    cheap_in_double : bool
        Class attribute. Whether training in float64 costs little more than in float32. If False,
        more than 64 samples in float64 are converted to float32 for training. Default: True.
    max_batch_size : int
        Class attribute. Largest batch size that ``batch_size="auto"`` stands for. Choose less if
        the time of a step grows with the batch from its first sample on. Default: 256.
    samples_at_once : int
        Class attribute. Number of samples that are encoded or decoded in one call at inference.
        Choose fewer if the hidden layers are much larger than a sample. Default: 4096.

    See Also
    --------
    DenseNetwork : Fully connected layers, the default of most estimators.
    ConvolutionalNetwork : Convolutions of images and signals.

    Notes
    -----
    The modules that the factories return must satisfy the following:

    * They take and return flat samples, tensors of shape ``(batch, n_features)``, and reshape them
      inside ``forward`` if necessary.
    * They create all layers in the constructor. torch's lazy modules are accepted. ``fit`` raises
      a ``ValueError`` if ``forward`` creates other layers, because these would not be trained.
    * They take samples in float32 and in float64. Constant tensors that are not buffers are
      converted in ``forward`` by ``tensor.to(x)``.
    * They draw random numbers with functions such as ``torch.randn``, ``torch.rand_like`` and
      those of ``torch.nn.init``, without a generator. `random_state` controls these draws,
      initial weights included, but not those of ``torch.nn.Dropout``.
    * They treat each sample independently of the others, except in training.

    The samples are in network units: the mean is subtracted, and all features are divided by one
    number, unless the loss restricts the range of the data.

    The class attribute ``_parameter_constraints`` may declare the valid values of the parameters,
    as in scikit-learn's estimators. Without it all values are accepted.

    Examples
    --------
    >>> import math
    >>> from dataclasses import dataclass
    >>> from sklearn.datasets import load_iris
    >>> from torch import nn
    >>> from sklearn_ae import Autoencoder
    >>> from sklearn_ae.networks import Network
    >>> @dataclass(kw_only=True, eq=False, repr=False)
    ... class NarrowNetwork(Network):
    ...     width: int = 16
    ...
    ...     def encoder(self, sample_shape, n_outputs):
    ...         first = nn.Linear(math.prod(sample_shape), self.width)
    ...         return nn.Sequential(first, nn.Tanh(), nn.Linear(self.width, n_outputs))
    ...
    ...     def decoder(self, sample_shape, n_inputs):
    ...         last = nn.Linear(self.width, math.prod(sample_shape))
    ...         return nn.Sequential(nn.Linear(n_inputs, self.width), nn.Tanh(), last)
    >>> network = NarrowNetwork(width=8)
    >>> X = load_iris().data
    >>> autoencoder = Autoencoder(2, network=network, max_iter=5, random_state=0)
    >>> autoencoder.fit_transform(X).shape
    (150, 2)
    """

    takes_missing: ClassVar[bool] = False
    cheap_in_double: ClassVar[bool] = True
    max_batch_size: ClassVar[int] = 256
    samples_at_once: ClassVar[int] = 4096

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}
    """Valid values of the parameters, as in scikit-learn. Others are not validated."""

    @abstractmethod
    def encoder(self, sample_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
        """Create the encoder.

        Parameters
        ----------
        sample_shape : tuple of int
            Shape of one sample: ``(n_features,)`` for a table, otherwise that of an image or a
            sequence. The module receives samples flattened.
        n_outputs : int
            Number of values to return for each sample, in addition to those of
            :meth:`extra_names`. It is the number of components, or a multiple: a variational
            autoencoder needs a mean and a variance for each component.

        Returns
        -------
        encoder : nn.Module
            Maps ``(batch, n_features)`` to ``(batch, n_outputs + n_extra)``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define the method encoder.")

    @abstractmethod
    def decoder(self, sample_shape: tuple[int, ...], n_inputs: int) -> nn.Module:
        """Create the decoder.

        Parameters
        ----------
        sample_shape : tuple of int
            Shape of one sample.
        n_inputs : int
            Number of components of the code, without the values of :meth:`extra_names`.

        Returns
        -------
        decoder : nn.Module
            Maps ``(batch, n_inputs + n_extra)`` to ``(batch, n_features)``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define the method decoder.")

    def reconstruct(self, encoder: Any, decoder: Any, x: Tensor) -> Tensor:
        """Return what the decoder returns for the encoder's output.

        Override it if there is a shorter way than through the flat code.

        Parameters
        ----------
        encoder, decoder : nn.Module
            Of this network.
        x : Tensor of shape (batch, n_features)
            Samples.

        Returns
        -------
        output : Tensor of shape (batch, n_features)
        """
        output: Tensor = decoder(encoder(x))
        return output

    def code_size(self, sample_shape: tuple[int, ...]) -> int:
        """Return the number of components under ``n_components=None``, if maps are then the code.

        Estimators call it only for networks that override it; for others None stands for
        ``min(n_samples, n_features)``. Override it if the output of the hidden layers can be the
        code, without a dense layer. Under ``n_components=None`` the factories are then called
        with the argument ``dense=False``, which both must accept.

        Parameters
        ----------
        sample_shape : tuple of int
            Shape of one sample.

        Returns
        -------
        n_components : int

        Raises
        ------
        ValueError
            If the network needs `n_components`.
        """
        raise ValueError(
            f"n_components=None is not possible with {type(self).__name__}; set the number of "
            f"components, or use a network whose maps can be the code, such as "
            f"ConvolutionalNetwork."
        )

    @classmethod
    def has_maps(cls) -> bool:
        """Return whether the maps of the network are the code under ``n_components=None``."""
        return cls.code_size is not Network.code_size

    def layout(self, sample_shape: tuple[int, ...]) -> Layout | None:
        """Return how the values of a sample are arranged.

        Plots use it to show samples as images or as series. Override it if the network treats
        samples as images, signals or sequences.

        Parameters
        ----------
        sample_shape : tuple of int
            Shape of one sample.

        Returns
        -------
        layout : Layout or None
            None if the network treats all features alike.
        """
        return None

    def doubt(self, sample_shape: tuple[int, ...]) -> str | None:
        """Return the text of a warning if the shape of the samples can be read in two ways.

        `fit` issues it once. By default there is none.

        Parameters
        ----------
        sample_shape : tuple of int
            Shape of one sample.

        Returns
        -------
        text : str or None
        """
        return None

    def resized(self, sample_shape: tuple[int, ...], other: tuple[int, ...]) -> Self:
        """Return a specification with the same weights for samples of another shape.

        Override it, together with :meth:`code_size`, if the weights do not depend on the size of
        a sample.

        Parameters
        ----------
        sample_shape : tuple of int
            Shape of a training sample.
        other : tuple of int
            Shape of the samples that the new specification is for.

        Returns
        -------
        network : Network

        Raises
        ------
        ValueError
            If the weights depend on the shape of the samples.
        """
        raise ValueError(
            f"{type(self).__name__} takes samples of the shape of the training samples only."
        )

    def common_center(
        self, center: Tensor, sample_shape: tuple[int, ...], other: tuple[int, ...]
    ) -> Tensor:
        """Return what is subtracted from samples of another shape.

        Called under ``n_components=None``. Override it together with :meth:`resized`: a mean for
        each feature cannot be subtracted from samples with more features.

        Parameters
        ----------
        center : Tensor of shape (n_features,)
            Mean of each feature of the training samples.
        sample_shape, other : tuple of int
            Shapes of a training sample and of the other samples.

        Returns
        -------
        center : Tensor
            One value for each feature of the other samples.
        """
        return center

    def extra_names(self, sample_shape: tuple[int, ...]) -> list[str]:
        """Return the names of the values that the decoder needs besides the components.

        These values are appended to the code. Examples are the maps of skip connections. Without
        such values the list is empty.
        """
        return []

    def n_extra(self, sample_shape: tuple[int, ...]) -> int:
        """Return the length of :meth:`extra_names`."""
        return len(self.extra_names(sample_shape))

    def shape_with_missing(self, sample_shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of the encoder's input if it says which values were missing.

        The encoder then receives twice as many values: those of the sample, in which missing ones
        are replaced, and then one for each value that was missing and zero for each other one. By
        default the result is None: the encoder receives the values of the sample only.

        Parameters
        ----------
        sample_shape : tuple of int
            Shape of one sample.

        Returns
        -------
        shape : tuple of int or None
            Passed to :meth:`encoder` in place of `sample_shape`.
        """
        return None

    def step_size(self, sample_shape: tuple[int, ...]) -> int:
        """Return the number of values of one step of a sequence.

        Used if ``takes_missing`` is True: NaN must then cover whole steps.
        """
        return 1

    def connect(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Share weights between encoder and decoder, in place. None are shared by default."""

    def start_at(self, decoder: nn.Module, output: Tensor) -> None:
        """Set the biases of the decoder's last layer such that its outputs start near `output`.

        Called if the loss restricts the range of the data. If the outputs started far from the
        mean of the data, the first steps would all have the same direction, and would saturate
        the layers before. By default nothing is set; override it if the last layer has a bias.

        Parameters
        ----------
        decoder : nn.Module
            The module that :meth:`decoder` returned.
        output : Tensor of shape (n_features,)
            Output whose reconstruction is the mean of the training samples.
        """

    @classmethod
    def of(cls, source: Any) -> Self:
        """Create a specification from an object that has parameters of the same names.

        Parameters
        ----------
        source : object
            Usually an estimator. Parameters that it lacks keep their defaults.

        Returns
        -------
        network : Network
        """
        names = [field.name for field in fields(cls)]
        given = {name: getattr(source, name) for name in names if hasattr(source, name)}
        return cls(**given).with_python_numbers()

    def with_python_numbers(self) -> Self:
        """Convert NumPy's numbers among the parameters to Python's, in place.

        torch's layers accept no others, and products of small integer types overflow.

        Returns
        -------
        self : Network
        """
        self.set_params(
            **{name: python_numbers(value) for name, value in self.get_params(deep=False).items()}
        )
        return self


def python_numbers(value: Any) -> Any:
    """Convert a number of NumPy to one of Python, also inside tuples and lists."""
    if type(value) in (tuple, list):
        return type(value)(python_numbers(entry) for entry in value)
    return value.item() if isinstance(value, np.generic) else value


def positive_integers(values: Any, name: str, least: int = 1) -> tuple[int, ...]:
    """Return one or more positive integers as a tuple.

    Parameters
    ----------
    values : int or sequence of int
    name : str
        Name of the parameter, for the error message.
    least : int, default=1
        Minimum number of integers; 0 permits an empty sequence.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If there are fewer, or others than positive integers.
    """
    integers = [values] if np.ndim(values) == 0 else list(values)
    if len(integers) < least or not all(is_whole(value) and value > 0 for value in integers):
        raise ValueError(f"{name} must be positive integers, got {values!r}.")
    return tuple(int(value) for value in integers)
