"""
Visualising an autoencoder
==========================

This example shows all Displays of :mod:`sklearn_ae.plotting`: loss curves, reconstructions, the
latent space and latent traversals of scikit-learn's handwritten digits of 8 x 8 pixels, and the
score field of a denoising autoencoder on a spiral.
"""

# %%
# Loss curves
# -----------
# The loss of a variational autoencoder is the sum of a reconstruction term and the divergence of
# the posterior from the prior. ``history_`` has both by name. The vertical line marks the best
# epoch on held-out samples, whose weights were kept.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_ae import Autoencoder, DenoisingAutoencoder, VariationalAutoencoder
from sklearn_ae.plotting import (
    LatentSpaceDisplay,
    LatentTraversalDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
    ScoreFieldDisplay,
)

output = Path("demo_output")
output.mkdir(exist_ok=True)

X, y = load_digits(return_X_y=True)
autoencoder = VariationalAutoencoder(2, max_iter=100, random_state=0).fit(X)
display = LossCurveDisplay.from_estimator(autoencoder)
display.figure_.savefig(output / "looking_loss.png", dpi=120)

# %%
# Reconstructions
# ---------------
# The rows show originals, reconstructions from two components, and their differences. The samples
# are flat, so ``image_shape`` must be passed.

display = ReconstructionDisplay.from_estimator(autoencoder, X, image_shape=(8, 8))
display.figure_.savefig(output / "looking_reconstructions.png", dpi=120)

# %%
# With eight components the differences are smaller.

wider = Autoencoder(8, max_iter=100, random_state=0).fit(X)
display = ReconstructionDisplay.from_estimator(wider, X, image_shape=(8, 8))
display.figure_.savefig(output / "looking_reconstructions_8.png", dpi=120)

# %%
# Latent space
# ------------
# With two components the codes are points in the plane. Some samples are drawn as thumbnails, with
# a frame in the colour of their class.

display = LatentSpaceDisplay.from_estimator(autoencoder, X, y, thumbnails=60, image_shape=(8, 8))
display.figure_.savefig(output / "looking_codes.png", dpi=120)

# %%
# More than two components are reduced by PCA, and the axis labels show the explained variance
# ratio of the codes. t-SNE preserves neighbours only, not distances.

figure, axes = plt.subplots(1, 2, figsize=(13, 4.8), layout="constrained")
LatentSpaceDisplay.from_estimator(wider, X, y, ax=axes[0])
LatentSpaceDisplay.from_estimator(wider, X[:800], y[:800], reduction="tsne", ax=axes[1])
figure.savefig(output / "looking_wider_codes.png", dpi=120)

# %%
# Latent traversal
# ----------------
# Codes on a grid are decoded. The steps are quantiles of the standard normal, since the codes of a
# variational autoencoder are close to it.

display = LatentTraversalDisplay.from_estimator(autoencoder, X, image_shape=(8, 8))
display.figure_.savefig(output / "looking_traversal.png", dpi=120)

# %%
# Score field
# -----------
# A denoising autoencoder estimates the gradient of the log-density. On a spiral the arrows point
# to its nearest turn, and are short on it.

rng = np.random.default_rng(0)
t = rng.uniform(1, 4, size=600)
spiral = np.column_stack([t * np.cos(2 * t), t * np.sin(2 * t)])
spiral += 0.1 * rng.standard_normal(spiral.shape)
denoiser = DenoisingAutoencoder(2, noise_level=0.4, random_state=0).fit(spiral)
display = ScoreFieldDisplay.from_estimator(denoiser, spiral, grid_size=24)
display.figure_.savefig(output / "looking_score_field.png", dpi=120)
