"""Parameters of estimators that train any network: its choice and its initial weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.base import clone

from sklearn_ae import networks
from sklearn_ae._compat import Options, StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae._training.batches import Samples
from sklearn_ae._training.linear import start_at_pca
from sklearn_ae.losses import Loss
from sklearn_ae.networks import DenseNetwork, Network
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks.dense import DenseParameters


class NetworkOption(Options):
    """Constraint: a network specification.

    It accepts estimators of this package as well, because ``_network`` raises an error that names
    the specification to use instead.
    """

    def __init__(self) -> None:
        super().__init__(Network, set())

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is a network specification, or has one."""
        return isinstance(val, Network) or hasattr(val, "_network")

    def __str__(self) -> str:
        return "an instance of a class that derives from sklearn_ae.networks.Network"


def _without_network(owner: str, name: str) -> str:
    """Return the error for a parameter of a network where there is none."""
    inner = name.removeprefix("network__")
    having = [each for each in networks.__all__ if inner in getattr(networks, each)().get_params()]
    if inner in NetworkChoice.__dataclass_fields__:
        return (
            f"{owner} has network=None, a dense network, whose parameter is set by "
            f"{inner!r} instead of {name!r}."
        )
    example = f", for example network={having[0]}()" if having else ""
    return (
        f"{owner} has network=None, a dense network, and so no parameter {name!r}. Choose a "
        f"network first{example}, or search over whole networks with 'network'."
    )


@declares_parameters
class NetworkChoice:
    """Parameters of estimators with a dense network by default, or any other network."""

    hidden_layer_sizes: tuple[int, ...] = same_as(DenseParameters, "hidden_layer_sizes")
    activation: str = same_as(DenseParameters, "activation")
    network: Network | None = parameter(
        default=None,
        doc="""Network
        Specification of another network, from `sklearn_ae.networks`; `hidden_layer_sizes` and
        `activation` are then ignored. None: a dense network. Convolutional networks and U-Nets
        also accept ``n_components=None``: their feature maps are then the code.
        """,
        constraint=[NetworkOption(), None],
    )

    def set_params(self, **params: Any) -> Any:
        """Set the parameters of this estimator.

        Parameters
        ----------
        **params : dict
            Estimator parameters. ``network__name`` is the parameter ``name`` of `network`.

        Returns
        -------
        self : object
            The estimator.
        """
        nested = [name for name in params if name.startswith("network__")]
        if nested and params.get("network", self.network) is None:
            raise ValueError(_without_network(type(self).__name__, nested[0]))
        return super().set_params(**params)  # type: ignore[misc]

    def _network(self) -> Network:
        if self.network is None:
            return DenseNetwork(
                hidden_layer_sizes=self.hidden_layer_sizes, activation=self.activation
            ).with_python_numbers()
        if not isinstance(self.network, Network):
            needed = type(self.network._network()).__name__
            raise ValueError(
                f"network must be a specification from sklearn_ae.networks, but is the estimator "
                f"{type(self.network).__name__}; use {needed}."
            )
        network: Network = clone(self.network)  # the user's object may be modified later
        network._validate_params()
        return network.with_python_numbers()


@declares_parameters
class LinearStart(NetworkChoice):
    """Parameters of estimators whose dense network may start at PCA."""

    init: str = parameter(
        default="pca",
        doc="""{"pca", "random"}
        Initial weights of a dense network. ``"pca"``: fixed linear maps, set to PCA, are added to
        the outputs of its encoder and its decoder. ``"random"``: there are no such maps; nor are
        there in other networks, with tied weights, or with a `code_activation`. With a loss or an
        `output_activation` that applies a non-linear function to the outputs, only the linear map
        of the encoder is that of PCA.
        """,
        constraint=[StrOptions({"pca", "random"})],
    )

    if TYPE_CHECKING:  # defined by BaseAutoencoder, from which all subclasses inherit as well

        def _get_loss(self) -> Loss: ...

    def _network_options(self) -> dict[str, Any]:
        """Return further arguments of the methods `encoder` and `decoder` of the network."""
        network = self._network()
        can_be_linear = isinstance(network, DenseNetwork) and network.admits_shortcut()
        return {"shortcut": True} if self.init == "pca" and can_be_linear else {}

    def _starts_at_solution(self) -> bool:
        return bool(self._network_options()) and self._get_loss().scaled

    def _start(self, module: AutoencoderModule, X: Samples, seed: int) -> None:
        if self._network_options():
            start_at_pca(module, X, self._get_loss(), seed)
