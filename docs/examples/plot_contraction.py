"""
Contraction as singular values
==============================

The singular values of the encoder's Jacobian tell to how many directions of the input the code
is sensitive. A contractive autoencoder keeps a few directions, in which the samples vary, and
contracts the others.
"""

# %%
# Jacobians
# ---------
# Three autoencoders have the same network and a logistic code. They differ in what they are
# trained for: reconstruction, reconstruction from noisy samples, and a small norm of the
# Jacobian.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_ae import Autoencoder, ContractiveAutoencoder, DenoisingAutoencoder
from sklearn_ae.networks import DenseNetwork

X_train, X_test = train_test_split(load_digits().data / 16, test_size=100, random_state=0)
network = DenseNetwork(hidden_layer_sizes=(), code_activation="logistic")
shared = {"n_components": 64, "max_iter": 100, "random_state": 0}
models = {
    "plain": Autoencoder(network=network, init="random", input_noise=0, **shared),
    "denoising": DenoisingAutoencoder(network=network, noise_level=0.3, **shared),
    "contractive": ContractiveAutoencoder(hidden_layer_sizes=(), contraction=0.1, **shared),
}


def singular_values(model, X, step=1e-3):
    """Return the singular values of the encoder's Jacobian at each sample."""
    shifts = step * np.eye(X.shape[1])
    columns = [
        (model.transform(X + shift) - model.transform(X - shift)) / (2 * step) for shift in shifts
    ]
    return np.linalg.svd(np.stack(columns, axis=2), compute_uv=False)


# %%
# Spectra
# -------
# The lines are medians over test samples, relative to the largest singular value.

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for (name, model), style in zip(models.items(), ("-", "--", "-."), strict=True):
    values = singular_values(model.fit(X_train), X_test)
    relative = np.median(values / values[:, :1], axis=0)
    ax.plot(np.arange(1, len(relative) + 1), relative, style, label=name)
    n_large = (relative > 0.1).sum()
    print(
        f"{name:12} explained variance {model.score(X_test):.3f}, {n_large} values above a tenth"
    )
ax.set(xlabel="singular value", ylabel="relative to the largest one", ylim=(0, 1.02))
ax.legend()
plt.show()
