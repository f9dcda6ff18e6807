"""Network specifications, and the torch modules that they build."""

from sklearn_ae.networks._network import Network
from sklearn_ae.networks.dense import DenseNetwork

__all__ = ["DenseNetwork", "Network"]
