"""
Traversal of a variational autoencoder
======================================

The codes of a variational autoencoder are close to a standard normal distribution, so that
every code between them decodes to a likely sample. With two components a grid of codes shows
all of them at once: one digit changes into another without a gap.
"""

# %%
# The codes of the samples fill a disc, since the objective includes their divergence from the
# standard normal distribution.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from sklearn_ae import VariationalAutoencoder
from sklearn_ae.plotting import LatentSpaceDisplay, LatentTraversalDisplay

X, y = load_digits(return_X_y=True)
autoencoder = VariationalAutoencoder(2, max_iter=150, random_state=0).fit(X)
LatentSpaceDisplay.from_estimator(autoencoder, X, y)

# %%
# The steps of the grid are quantiles of the standard normal, such that most of them are where
# most codes are.

# sphinx_gallery_thumbnail_number = 2
LatentTraversalDisplay.from_estimator(autoencoder, X, image_shape=(8, 8), grid_size=15)
plt.show()
