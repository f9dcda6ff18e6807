"""Autoencoders as scikit-learn estimators on PyTorch: drop-in replacements for ``PCA()``."""

from joblib import register_parallel_backend

from sklearn_ae._training.checkpoint import FitCheckpoint
from sklearn_ae._training.joblib_backend import GatheringBackend
from sklearn_ae._version import __version__ as __version__
from sklearn_ae.autoencoder import Autoencoder
from sklearn_ae.belief_network import DeepBeliefNetwork
from sklearn_ae.boltzmann import RestrictedBoltzmannMachine
from sklearn_ae.contractive import ContractiveAutoencoder
from sklearn_ae.convolutional import ConvolutionalAutoencoder
from sklearn_ae.denoising import DenoisingAutoencoder
from sklearn_ae.hashing import SemanticHashing
from sklearn_ae.imputer import AutoencoderImputer
from sklearn_ae.lstm import LSTMAutoencoder
from sklearn_ae.onnx import register_onnx_converters, to_onnx
from sklearn_ae.outlier import AutoencoderOutlierDetector
from sklearn_ae.persistence import load, save
from sklearn_ae.recursive import RecursiveAutoencoder
from sklearn_ae.sparse import SparseAutoencoder
from sklearn_ae.stacked import StackedAutoencoder
from sklearn_ae.stacked_classifier import StackedAutoencoderClassifier
from sklearn_ae.stacked_regressor import StackedAutoencoderRegressor
from sklearn_ae.unet import UNetAutoencoder
from sklearn_ae.variational import VariationalAutoencoder

register_parallel_backend("sklearn_ae", GatheringBackend)

__all__ = [
    "Autoencoder",
    "AutoencoderImputer",
    "AutoencoderOutlierDetector",
    "ContractiveAutoencoder",
    "ConvolutionalAutoencoder",
    "DeepBeliefNetwork",
    "DenoisingAutoencoder",
    "FitCheckpoint",
    "LSTMAutoencoder",
    "RecursiveAutoencoder",
    "RestrictedBoltzmannMachine",
    "SemanticHashing",
    "SparseAutoencoder",
    "StackedAutoencoder",
    "StackedAutoencoderClassifier",
    "StackedAutoencoderRegressor",
    "UNetAutoencoder",
    "VariationalAutoencoder",
    "load",
    "register_onnx_converters",
    "save",
    "to_onnx",
]
