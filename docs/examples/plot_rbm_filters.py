"""
Filters of a restricted Boltzmann machine
=========================================

The weights of a hidden unit of a restricted Boltzmann machine are a picture of what the unit
detects. The machine is a density: Gibbs sampling of its visible and hidden units turns noise
into digits, and each of its filters contributes a stroke.
"""

# %%
# Filters
# -------
# Pixels are read as probabilities. ``sparsity_target`` makes each unit active for about a tenth
# of the digits, so that it detects something specific.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_ae import RestrictedBoltzmannMachine

X_train, X_test = train_test_split(load_digits().data / 16, random_state=0)
X_train, X_test = (np.round(part) for part in (X_train, X_test))  # black or white
rbm = RestrictedBoltzmannMachine(
    64, visible="bernoulli", persistent=True, sparsity_target=0.1, max_iter=200, random_state=0
).fit(X_train)
print(f"mean activation of the hidden units: {rbm.transform(X_test).mean():.2f}")

# %%
# Likelihood
# ----------
# ``score_samples`` is the log-likelihood, whose normalising constant is estimated by annealed
# importance sampling. A density in which the pixels are independent is the least one should
# beat.

frequencies = np.clip(X_train.mean(axis=0), 1 / len(X_train), 1 - 1 / len(X_train))
independent = (X_test * np.log(frequencies) + (1 - X_test) * np.log(1 - frequencies)).sum(axis=1)
print(f"independent pixels: {independent.mean():.1f} nats per test digit")
print(f"RBM: {rbm.score_samples(X_test).mean():.1f} nats per test digit")

# %%
# Pictures
# --------

filters = rbm.module_.layer.weight.detach().numpy()
filters = filters / np.abs(filters).max(axis=1, keepdims=True)
digits = rbm.sample(64, random_state=0)


def tile(rows):
    """Arrange 64 images of 8 x 8 pixels with empty borders of one pixel."""
    borders = (0, 0), (0, 0), (0, 1), (0, 1)
    padded = np.pad(rows.reshape(8, 8, 8, 8), borders, constant_values=np.nan)
    return padded.swapaxes(1, 2).reshape(72, 72)


figure, axes = plt.subplots(1, 2, figsize=(9, 4.7), layout="constrained")
axes[0].imshow(tile(filters), cmap="RdBu_r", vmin=-1, vmax=1)
axes[0].set_title("filters of the hidden units")
axes[1].imshow(tile(0.1 + 0.9 * digits), cmap="gray_r", vmin=0, vmax=1)
axes[1].set_title("draws")
for ax in axes:
    ax.set_axis_off()
plt.show()
