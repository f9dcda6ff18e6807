"""Autoencoders that stand where ``PCA()`` stands: scikit-learn estimators on PyTorch."""

from sklearn_ae.autoencoder import Autoencoder

__version__ = "0.1.0"

__all__ = ["Autoencoder"]
