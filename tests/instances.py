"""One small instance of every public estimator, for the tests that all must pass.

A new estimator is added here and nowhere else.
"""

from sklearn_ae import Autoencoder

INSTANCES = [
    Autoencoder(max_iter=20),
    Autoencoder(max_iter=20, init="random", hidden_layer_sizes=(8,), activation="silu"),
    Autoencoder(max_iter=20, loss="huber", early_stopping=False, learning_rate="constant"),
]


def name_of(estimator):
    """Short name of an instance for test reports."""
    return str(estimator).replace("\n", " ").replace("  ", "")
