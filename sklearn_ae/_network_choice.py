"""The parameters of an objective that leave the network open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn.base import clone

from sklearn_ae.networks import DenseNetwork, Network


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkChoice(DenseNetwork):
    """A dense network by default, or the one that is given."""

    network: Network | None = None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **DenseNetwork._parameter_constraints,
        "network": [Network, None],
    }

    def _network(self) -> Network:
        return DenseNetwork.of(self) if self.network is None else clone(self.network)
