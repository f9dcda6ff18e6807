"""One small instance of every public estimator, for the tests that all must pass.

The common tests take a new estimator from here. CONTRIBUTING.md lists the other files.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    ContractiveAutoencoder,
    ConvolutionalAutoencoder,
    DeepBeliefNetwork,
    DenoisingAutoencoder,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    RestrictedBoltzmannMachine,
    SemanticHashing,
    SparseAutoencoder,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    UNetAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae.networks import DenseNetwork

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 2}

INSTANCES = [
    Autoencoder(max_iter=2),
    Autoencoder(init="random", activation="silu", **SMALL),
    Autoencoder(max_iter=2, loss="huber", early_stopping=False, learning_rate="constant"),
    Autoencoder(3, ordered=True, max_iter=2),
    SparseAutoencoder(6, **SMALL),
    SparseAutoencoder(6, sparsity="l1", n_active=1, **SMALL),
    SparseAutoencoder(6, sparsity="topk", sparsity_target=0.3, **SMALL),
    SparseAutoencoder(6, sparsity="l1", hidden_sparsity_weight=0.01, **SMALL),
    DenoisingAutoencoder(**SMALL),
    DenoisingAutoencoder(noise="masking", init="random", **SMALL),
    DenoisingAutoencoder(noise="salt_and_pepper", **SMALL),
    DenoisingAutoencoder(noise="swap", **SMALL),
    ContractiveAutoencoder(**SMALL),
    ContractiveAutoencoder(n_projections=1, **SMALL),
    VariationalAutoencoder(**SMALL),
    VariationalAutoencoder(variance="per_feature", n_importance_samples=3, **SMALL),
    VariationalAutoencoder(0.7, ordered=True, **SMALL),
    ConvolutionalAutoencoder(channels=(3,), max_iter=2),
    ConvolutionalAutoencoder(channels=(2, 3), unpooling="switches", max_iter=2),
    ConvolutionalAutoencoder(None, channels=(2, 3), max_iter=2),
    UNetAutoencoder(channels=(2, 3), max_iter=2),
    UNetAutoencoder(None, channels=(2, 3), max_iter=2),
    LSTMAutoencoder(max_iter=2, hidden_size=4),
    LSTMAutoencoder(max_iter=2, hidden_size=4, n_layers=2, cell="gru", reverse=False),
    RecursiveAutoencoder(max_iter=2, hidden_size=4),
    RecursiveAutoencoder(max_iter=2, hidden_size=4, tree="left"),
    RecursiveAutoencoder(max_iter=2, hidden_size=4, tree="greedy"),
    StackedAutoencoder(pretraining_max_iter=2, **SMALL),
    StackedAutoencoder(
        hidden_layer_sizes=(8, 4),
        activation="logistic",
        code_activation="logistic",
        pretraining="contractive",
        pretraining_max_iter=(3, 2, 1),
        fine_tune=False,
    ),
    StackedAutoencoder(pretraining="sparse", pretraining_max_iter=2, **SMALL),
    StackedAutoencoder(pretraining=None, **SMALL),
    DeepBeliefNetwork(pretraining_max_iter=2, **SMALL),
    DeepBeliefNetwork(
        code_activation="logistic", pretraining_max_iter=2, fine_tune=False, n_steps=2
    ),
    SemanticHashing(**SMALL),
    SemanticHashing(70, input_masking=0.0, n_neighbors=1, **SMALL),
    RestrictedBoltzmannMachine(max_iter=2),
    RestrictedBoltzmannMachine(6, persistent=True, n_steps=2, n_chains=7, max_iter=2),
    RestrictedBoltzmannMachine(6, sparsity_target=0.2, early_stopping=True, max_iter=2),
    Autoencoder(
        network=DenseNetwork(hidden_layer_sizes=(8,), tied=True, code_activation="tanh"),
        max_iter=2,
    ),
    Autoencoder(
        network=DenseNetwork(hidden_layer_sizes=(8,), normalization="batch", dropout=0.1),
        max_iter=2,
    ),
    DenoisingAutoencoder(
        network=DenseNetwork(hidden_layer_sizes=(8, 4), normalization="layer"), max_iter=2
    ),
    ConvolutionalAutoencoder(channels=(2, 3), normalization="batch", max_iter=2),
    Autoencoder(solver="sgd", momentum=0.5, learning_rate_init=0.02, alpha=1e-4, **SMALL),
]

# scikit-learn's checks ask for accuracy: few epochs, of large steps.
FEW_EPOCHS = {
    "hidden_layer_sizes": (16, 8),
    "pretraining_max_iter": 3,
    "learning_rate_init": 0.03,
    "max_iter": 10,
}

# Estimators that learn from labels, which fit into no list of autoencoders.
SUPERVISED = [
    StackedAutoencoderClassifier(**FEW_EPOCHS),
    StackedAutoencoderClassifier(fine_tune=False, **FEW_EPOCHS),
    StackedAutoencoderClassifier(head=LogisticRegression(), fine_tune=False, **FEW_EPOCHS),
    StackedAutoencoderClassifier(reconstruction_weight=0.5, **FEW_EPOCHS),
    StackedAutoencoderClassifier(unlabeled=np.nan, **FEW_EPOCHS),
    StackedAutoencoderRegressor(**FEW_EPOCHS),
    StackedAutoencoderRegressor(early_stopping=True, **FEW_EPOCHS),
]

# They have no codes, and tests of their own.
OUTLIER_DETECTORS = [
    AutoencoderOutlierDetector(n_estimators=4),
    AutoencoderOutlierDetector(
        make_pipeline(StandardScaler(), Autoencoder(1, **SMALL)), n_estimators=3, trim=0.0
    ),
    AutoencoderOutlierDetector(VariationalAutoencoder(1, **SMALL), n_estimators=2),
]


def one_of_each(instances):
    """Return the first instance of each class, for what no parameter changes."""
    return list({type(each): each for each in reversed(instances)}.values())[::-1]


def name_of(estimator):
    """Short name of an instance for test reports."""
    return str(estimator).replace("\n", " ").replace("  ", "")
