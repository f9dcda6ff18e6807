"""Network specifications, and the torch modules that they build."""

from sklearn_ae.networks._network import Network
from sklearn_ae.networks.convolutional import ConvolutionalNetwork
from sklearn_ae.networks.dense import DenseNetwork
from sklearn_ae.networks.lstm import LSTMNetwork
from sklearn_ae.networks.recursive import RecursiveNetwork
from sklearn_ae.networks.unet import UNetNetwork

__all__ = [
    "ConvolutionalNetwork",
    "DenseNetwork",
    "LSTMNetwork",
    "Network",
    "RecursiveNetwork",
    "UNetNetwork",
]

Network.__module__ = "sklearn_ae.networks"  # as messages should name it
