"""
Looking at an autoencoder
=========================

Has training settled? What is lost? Where do the rows lie in the code, and what is in between?
One picture for each question, on scikit-learn's handwritten digits, 8 x 8 pixels each; and one
for a denoising autoencoder, on a spiral.
"""

# %%
# How training went
# -----------------
# A variational autoencoder pays for what it fails to restore and for what it writes into the
# code. Both terms are in the history by name. The upright line marks the weights that were
# kept, those of the best epoch on held-out rows.

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
# What is lost
# ------------
# Originals, what two numbers leave of them, and the difference. The rows are flat, so the shape
# of the images must be said.

display = ReconstructionDisplay.from_estimator(autoencoder, X, image_shape=(8, 8))
display.figure_.savefig(output / "looking_reconstructions.png", dpi=120)

# %%
# Eight numbers lose less.

wider = Autoencoder(8, max_iter=100, random_state=0).fit(X)
display = ReconstructionDisplay.from_estimator(wider, X, image_shape=(8, 8))
display.figure_.savefig(output / "looking_reconstructions_8.png", dpi=120)

# %%
# Where the rows lie
# ------------------
# Two numbers are a place in the plane. Some of the rows are drawn as what they are, in frames of
# their class's colour.

display = LatentSpaceDisplay.from_estimator(autoencoder, X, y, thumbnails=60, image_shape=(8, 8))
display.figure_.savefig(output / "looking_codes.png", dpi=120)

# %%
# More than two numbers come to the plane by PCA, and the axes say how much of the codes' variance
# they show. A t-SNE keeps neighbours together and nothing else: it has no unit.

figure, axes = plt.subplots(1, 2, figsize=(13, 4.8), layout="constrained")
LatentSpaceDisplay.from_estimator(wider, X, y, ax=axes[0])
LatentSpaceDisplay.from_estimator(wider, X[:800], y[:800], reduction="tsne", ax=axes[1])
figure.savefig(output / "looking_wider_codes.png", dpi=120)

# %%
# What lies in between
# --------------------
# Codes that no row has, decoded. The codes of a variational autoencoder are close to a standard
# normal, so the table steps through its quantiles.

display = LatentTraversalDisplay.from_estimator(autoencoder, X, image_shape=(8, 8))
display.figure_.savefig(output / "looking_traversal.png", dpi=120)

# %%
# Where rows come from
# --------------------
# A denoising autoencoder learns in which direction rows are denser. On a spiral the arrows lead
# to its nearest turn, and are short on it.

rng = np.random.default_rng(0)
t = rng.uniform(1, 4, size=600)
spiral = np.column_stack([t * np.cos(2 * t), t * np.sin(2 * t)])
spiral += 0.1 * rng.standard_normal(spiral.shape)
denoiser = DenoisingAutoencoder(2, noise_level=0.4, random_state=0).fit(spiral)
display = ScoreFieldDisplay.from_estimator(denoiser, spiral, grid_size=24)
display.figure_.savefig(output / "looking_score_field.png", dpi=120)
