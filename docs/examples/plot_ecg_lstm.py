"""
Heart beats of different lengths
================================

An LSTM autoencoder encodes sequences of different lengths in codes of one length. It is fitted
on normal heart beats; a beat that does not follow their course has a large reconstruction
error, and the error shows where.
"""

# %%
# Drawn beats
# -----------
# A beat is a sum of five waves, P, Q, R, S and T, whose places and heights vary from beat to
# beat, and whose number of steps depends on the rate of the heart. In an abnormal beat, a
# premature one, the P wave is missing, the R wave is broad and the T wave inverted.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score

from sklearn_ae import LSTMAutoencoder
from sklearn_ae.plotting import ReconstructionDisplay

rng = np.random.default_rng(0)
PLACES = np.array([0.2, 0.35, 0.4, 0.45, 0.7])
HEIGHTS = np.array([0.15, -0.12, 1.0, -0.25, 0.3])
WIDTHS = np.array([0.04, 0.02, 0.025, 0.02, 0.06])


def beat(is_normal):
    """Draw a beat of 30 to 40 steps."""
    n_steps = rng.integers(30, 41)
    places = PLACES + 0.01 * rng.standard_normal(5)
    heights, widths = HEIGHTS * rng.uniform(0.8, 1.2, 5), WIDTHS * rng.uniform(0.9, 1.1, 5)
    if not is_normal:
        heights *= [0, 1, 0.9, 1.5, -0.8]
        widths *= [1, 1, 1.8, 1, 1]
    t = np.linspace(0, 1, n_steps)[:, None]
    waves = heights * np.exp(-0.5 * np.square((t - places) / widths))
    return waves.sum(axis=1) + 0.02 * rng.standard_normal(n_steps)


train = [beat(is_normal=True) for _ in range(400)]
is_normal = np.repeat([True, False], [180, 20])
test = [beat(each) for each in is_normal]

# %%
# Reconstruction errors
# ---------------------
# ``score_samples`` is minus the squared error of the observed steps, and needs no labels.

autoencoder = LSTMAutoencoder(
    8,
    hidden_size=32,
    batch_size=32,
    learning_rate_init=0.01,
    max_iter=40,
    precision="float32",
    random_state=0,
).fit(train)
scores = autoencoder.score_samples(test)
print(f"shape of the codes: {autoencoder.transform(test).shape}")
print(f"area under the ROC curve: {roc_auc_score(is_normal, scores):.3f}")

# %%
# The two beats on the left are normal, the two on the right abnormal.

ReconstructionDisplay.from_estimator(autoencoder, test, indices=[0, 1, 180, 181])
plt.show()
