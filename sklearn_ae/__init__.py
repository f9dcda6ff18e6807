"""Autoencoders that stand where ``PCA()`` stands: scikit-learn estimators on PyTorch."""

from sklearn_ae.autoencoder import Autoencoder
from sklearn_ae.contractive import ContractiveAutoencoder
from sklearn_ae.convolutional import ConvolutionalAutoencoder
from sklearn_ae.denoising import DenoisingAutoencoder
from sklearn_ae.lstm import LSTMAutoencoder
from sklearn_ae.outlier import AutoencoderOutlierDetector
from sklearn_ae.recursive import RecursiveAutoencoder
from sklearn_ae.sparse import SparseAutoencoder
from sklearn_ae.unet import UNetAutoencoder
from sklearn_ae.variational import VariationalAutoencoder

__version__ = "0.1.0"

__all__ = [
    "Autoencoder",
    "AutoencoderOutlierDetector",
    "ContractiveAutoencoder",
    "ConvolutionalAutoencoder",
    "DenoisingAutoencoder",
    "LSTMAutoencoder",
    "RecursiveAutoencoder",
    "SparseAutoencoder",
    "UNetAutoencoder",
    "VariationalAutoencoder",
]
