"""
A custom network
================

A network is a dataclass with two methods that return torch modules, and works with every
objective, in searches and in pipelines. Here the decoder is a formula of physics, a damped
oscillation, so that the components of the code are its frequency, its damping, its amplitude
and its phase.
"""

# %%
# The network
# -----------
# The encoder is a usual one. The decoder has no weights: it maps four components to the 60
# values of a curve. Components are unbounded; ``exp`` and ``softplus`` make frequency and
# damping positive.

import math
from dataclasses import dataclass
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from sklearn_ae import Autoencoder
from sklearn_ae.networks import Network


class Oscillation(nn.Module):
    def __init__(self, n_steps):
        super().__init__()
        self.register_buffer("time", torch.linspace(0, 1, n_steps))

    def forward(self, code):
        frequency, damping, cosine, sine = code.T[:, :, None]
        phase = 2 * math.pi * 3 * torch.exp(0.5 * frequency) * self.time
        wave = cosine * torch.cos(phase) + sine * torch.sin(phase)
        return wave * torch.exp(-3 * nn.functional.softplus(damping) * self.time)


@dataclass(kw_only=True, eq=False, repr=False)
class OscillationNetwork(Network):
    width: int = 64

    def encoder(self, sample_shape, n_outputs):
        widths = [math.prod(sample_shape), self.width, self.width]
        layers = [nn.Sequential(nn.Linear(*pair), nn.SiLU()) for pair in pairwise(widths)]
        return nn.Sequential(*layers, nn.Linear(self.width, n_outputs))

    def decoder(self, sample_shape, n_inputs):
        return Oscillation(math.prod(sample_shape))


# %%
# Noisy curves
# ------------
# The true frequencies and dampings are not shown to the autoencoder.

rng = np.random.default_rng(0)
n = 1000
frequencies, dampings = rng.uniform(2, 5, n), rng.uniform(0.5, 4, n)
time = np.linspace(0, 1, 60)
phases = 2 * np.pi * frequencies[:, None] * time + rng.uniform(0, 2 * np.pi, (n, 1))
clean = np.cos(phases) * np.exp(-dampings[:, None] * time)
X = clean + 0.1 * rng.standard_normal(clean.shape)
train, test = slice(0, 800), slice(800, None)

fit = {"init": "random", "max_iter": 150, "random_state": 0}
models = {
    "physical decoder": Autoencoder(4, network=OscillationNetwork(), **fit).fit(X[train]),
    "dense decoder": Autoencoder(4, random_state=0).fit(X[train]),
}

# %%
# Codes with a meaning
# --------------------
# Errors are those from the curves without noise. The dense decoder reconstructs as well, but
# its components mean nothing: those of the formula are the frequency and the damping, up to an
# error.

for name, model in models.items():
    error = np.sqrt(np.square(model.reconstruct(X[test]) - clean[test]).mean())
    print(f"{name:18} root mean square error {error:.3f}, noise 0.1")
codes = models["physical decoder"].transform(X[test])
estimates = 3 * np.exp(0.5 * codes[:, 0]), 3 * np.logaddexp(0, codes[:, 1])

figure, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
axes[0].plot(time, X[test][0], ".", color="0.6", label="noisy curve")
for (name, model), style in zip(models.items(), ("-", "--"), strict=True):
    axes[0].plot(time, model.reconstruct(X[test][:1])[0], style, label=name)
axes[0].set(xlabel="time", title="a test curve")
axes[0].legend(fontsize=8)
truths = {"frequency": frequencies, "damping": dampings}
for ax, (name, truth), estimate in zip(axes[1:], truths.items(), estimates, strict=True):
    ax.plot(truth[test], truth[test], color="0.7")
    ax.scatter(truth[test], estimate, 8)
    ax.set(xlabel=f"true {name}", ylabel="from the code", title=name)
plt.show()
