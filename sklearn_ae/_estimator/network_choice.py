"""The parameters of an objective that leave the network, and its start, open."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from sklearn_ae._compat import Options, StrOptions
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae._training.batches import Rows
from sklearn_ae._training.linear import start_at_pca
from sklearn_ae.networks import DenseNetwork, Network
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks.dense import DenseParameters


class Specification(Options):
    """A network specification; estimators get an error of their own, which names their network."""

    def __init__(self) -> None:
        super().__init__(Network, set())

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it has or is a network."""
        return isinstance(val, Network) or hasattr(val, "_network")

    def __str__(self) -> str:
        return "an instance of 'sklearn_ae.networks.Network'"


@declares_parameters
class NetworkChoice:
    """A dense network by default, or the one that is given."""

    hidden_layer_sizes: tuple[int, ...] = same_as(DenseParameters, "hidden_layer_sizes")
    activation: str = same_as(DenseParameters, "activation")
    network: Network | None = parameter(
        default=None,
        doc="""Network
        Specification of another network, from `sklearn_ae.networks`; `hidden_layer_sizes` and
        `activation` are then not used. None: a dense network. Convolutional ones also take
        ``n_components=None``: their maps are then the code.
        """,
        constraint=[Specification(), None],
    )

    def _network(self) -> Network:
        if self.network is None:
            return DenseNetwork(
                hidden_layer_sizes=self.hidden_layer_sizes, activation=self.activation
            ).with_python_numbers()
        if not isinstance(self.network, Network):
            taken = type(self.network._network()).__name__
            raise ValueError(
                f"network must be a specification from sklearn_ae.networks, but is the estimator "
                f"{type(self.network).__name__}; take {taken}."
            )
        network = clone(self.network)
        network._validate_params()
        return network.with_python_numbers()


@declares_parameters
class LinearStart(NetworkChoice):
    """A dense network may carry linear maps beside it and start at PCA."""

    init: str = parameter(
        default="pca",
        doc="""{"pca", "random"}
        Where training of a dense network starts. ``"pca"`` adds linear maps to it, set to PCA;
        ``"random"`` leaves them out; other networks, those with tied weights and those with a
        `code_activation` have none. Under ``"binary_crossentropy"``, ``"poisson"`` or an
        `output_activation`, which see the data through a link, only the encoder's linear map is
        PCA's.
        """,
        constraint=[StrOptions({"pca", "random"})],
    )

    def _network_options(self) -> dict[str, Any]:
        """Return what the network's factories are told beside their sizes."""
        network = self._network()
        can_be_linear = isinstance(network, DenseNetwork) and network.admits_shortcut()
        return {"shortcut": True} if self.init == "pca" and can_be_linear else {}

    def _starts_well(self) -> bool:
        return bool(self._network_options()) and self._get_loss().scaled  # type: ignore[attr-defined]

    def _start(self, module: AutoencoderModule, X: Rows, seed: int) -> None:
        if self._network_options():
            start_at_pca(module, X, self._get_loss(), seed)  # type: ignore[attr-defined]
