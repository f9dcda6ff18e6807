"""Files of every version, with what their models made of some rows when they were written.

``python tests/golden.py`` writes those of this version that are missing. Run it for each release,
and after adding a model to ``MODELS``. Files that exist are never written again.
"""

from pathlib import Path

import numpy as np
import safetensors.numpy
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_ae
from sklearn_ae import (
    Autoencoder,
    AutoencoderImputer,
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
    save,
)

FOLDER = Path(__file__).parent / "files"

METHODS = [
    "transform",
    "reconstruct",
    "score_samples",
    "predict",
    "predict_proba",
    "decision_function",
]

SMALL = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
FEW = {"max_iter": 3, "random_state": 0}
LAYERS = {"hidden_layer_sizes": (5, 3), "pretraining_max_iter": 2, **FEW}

MODELS = {
    "autoencoder": Autoencoder(**SMALL),
    "autoencoder-unfitted": Autoencoder(3, loss="huber", alpha=0.25, init="random"),
    "autoencoder-warm": Autoencoder(warm_start=True, **SMALL),
    "sparse": SparseAutoencoder(6, sparsity="topk", n_active=1, **SMALL),
    "denoising": DenoisingAutoencoder(noise="masking", **SMALL),
    "contractive": ContractiveAutoencoder(**SMALL),
    "variational": VariationalAutoencoder(variance="per_feature", **SMALL),
    "convolutional": ConvolutionalAutoencoder(channels=(2, 3), unpooling="switches", **FEW),
    "unet": UNetAutoencoder(channels=(2, 3), **FEW),
    "lstm": LSTMAutoencoder(hidden_size=3, n_layers=2, cell="gru", **FEW),
    "recursive": RecursiveAutoencoder(hidden_size=3, tree="greedy", **FEW),
    "stacked": StackedAutoencoder(pretraining_max_iter=2, **SMALL),
    "belief-network": DeepBeliefNetwork(pretraining_max_iter=2, **SMALL),
    "hashing": SemanticHashing(8, **SMALL),
    "boltzmann": RestrictedBoltzmannMachine(4, persistent=True, n_chains=5, **FEW),
    "classifier": StackedAutoencoderClassifier(**LAYERS),
    "classifier-head": StackedAutoencoderClassifier(head=LogisticRegression(), **LAYERS),
    "regressor": StackedAutoencoderRegressor(early_stopping=True, **LAYERS),
    "detector": AutoencoderOutlierDetector(
        make_pipeline(StandardScaler(), VariationalAutoencoder(1, **SMALL)), n_estimators=2
    ),
    "imputer": AutoencoderImputer(Autoencoder(**SMALL), random_state=0),
    "pipeline": make_pipeline("passthrough", Autoencoder(**SMALL)),
}
"""A small one of each class, and of each way to be in a file."""


def rows():
    """Return the rows that all models are fitted on, and their labels."""
    X = np.random.default_rng(0).normal(size=(40, 6))
    return X, np.where(X[:, 0] > 0, "above", "below")


def results(model, X):
    """Return what a model makes of rows, by the name of the method."""
    found = {name: getattr(model, name)(X) for name in METHODS if hasattr(model, name)}
    return {
        name: np.ascontiguousarray(values if values.dtype.kind != "U" else values == "above")
        for name, values in found.items()
    }


def write():
    """Write the missing files of this version, and what to expect of them."""
    folder = FOLDER / sklearn_ae.__version__
    folder.mkdir(parents=True, exist_ok=True)
    X, y = rows()
    for name, model in MODELS.items():
        if (folder / f"{name}.safetensors").exists():
            continue
        expected = {"X": X[:10]}
        if not name.endswith("unfitted"):
            model.fit(X, X[:, 1] if name == "regressor" else y)
            expected |= results(model, X[:10])
        save(model, folder / f"{name}.safetensors")
        safetensors.numpy.save_file(expected, folder / f"{name}.expected.safetensors")


if __name__ == "__main__":
    write()
