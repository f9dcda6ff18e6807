"""
Trees of a recursive autoencoder
================================

A recursive autoencoder merges neighbouring vectors until one is left. The tree decides how many
merges are between a step and the code: with a balanced tree of 32 steps five, with a tree that
grows from the left up to 31, which takes more epochs to learn.
"""

# %%
# Sequences
# ---------
# A sequence is a sine wave with a random frequency and phase, 32 steps long. Each network has a
# code of six components and as many hidden units; the recurrent network reads step after step.

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np

from sklearn_ae import LSTMAutoencoder, RecursiveAutoencoder

rng = np.random.default_rng(0)
frequencies, phases = rng.uniform(0.2, 0.8, (800, 1)), rng.uniform(0, 2 * np.pi, (800, 1))
X = np.sin(frequencies * np.arange(32) + phases) + 0.05 * rng.standard_normal((800, 32))
X_train, X_test = X[:600], X[600:]

shared = {"hidden_size": 32, "max_iter": 40, "precision": "float32", "random_state": 0}
models = {
    "balanced tree": RecursiveAutoencoder(6, tree="balanced", **shared),
    "left tree": RecursiveAutoencoder(6, tree="left", **shared),
    "LSTM": LSTMAutoencoder(6, **shared),
}

# %%
# Training
# --------
# All three have the same learning rate, their default.

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
print(f"{'network':15}{'explained variance of test samples':>36}{'seconds':>9}")
for (name, model), style in zip(models.items(), ("-", "--", "-."), strict=True):
    start = perf_counter()
    model.fit(X_train)
    seconds = perf_counter() - start
    print(f"{name:15}{model.score(X_test):36.3f}{seconds:9.1f}")
    ax.plot(
        range(1, len(model.validation_scores_) + 1), model.validation_scores_, style, label=name
    )
ax.set(xlabel="epoch", ylabel="explained variance, held-out samples", ylim=(-0.05, 1.02))
ax.legend()
plt.show()
