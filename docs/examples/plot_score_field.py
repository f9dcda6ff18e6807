r"""
Score field of a spiral
=======================

A denoising autoencoder moves a noisy sample to where the clean ones are: reconstruction minus
sample, divided by the variance of the noise, is the gradient of the log-density of noisy
samples. Langevin dynamics with these gradients draw new samples.
"""

# %%
# The optimal reconstruction :math:`r(x)` of a sample with Gaussian noise of standard deviation
# :math:`\sigma` is the mean of the clean samples given the noisy one, hence
# :math:`(r(x) - x) / \sigma^2 = \nabla \log p(x)` with :math:`p` the density of noisy samples.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV

from sklearn_ae import DenoisingAutoencoder
from sklearn_ae.plotting import ScoreFieldDisplay

rng = np.random.default_rng(0)
t = np.sqrt(rng.uniform(1, 16, size=1500))  # evenly along the spiral
X = np.column_stack([t * np.cos(3 * t), t * np.sin(3 * t)])
X += 0.08 * rng.standard_normal(X.shape)
denoiser = DenoisingAutoencoder(2, noise_level=0.25, random_state=0).fit(X)
drawn = denoiser.sample(600, random_state=0)

# %%
# The distance of a draw from the middle of the spiral is compared with that of draws from a
# mixture of Gaussians, whose number maximises the likelihood of held-out samples.

search = GridSearchCV(GaussianMixture(random_state=0), {"n_components": [10, 20, 40, 80]}, cv=3)
mixture = search.fit(X).best_estimator_
middle = np.linspace(1, 4, 2000)
curve = np.column_stack([middle * np.cos(3 * middle), middle * np.sin(3 * middle)])
candidates = {
    "samples": X,
    f"{mixture.n_components} Gaussians": mixture.sample(600)[0],
    "denoising autoencoder": drawn,
}
for name, points in candidates.items():
    distance = np.linalg.norm(points[:, None] - curve, axis=2).min(axis=1)
    print(
        f"{name:24}mean distance {distance.mean():.3f}, within 0.3: {(distance < 0.3).mean():.0%}"
    )

# %%
# To draw points in the plane a mixture of Gaussians is enough, and better. The score field
# needs no density, and can be learned where mixtures fail, as of images.
#
# Arrows point to the spiral and are short on it.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
ScoreFieldDisplay.from_estimator(denoiser, X, grid_size=26, ax=axes[0])
axes[0].set_title("gradient of the log-density")
axes[1].scatter(*X[:600].T, s=8, color="0.75", label="samples")
axes[1].scatter(*drawn.T, s=8, color="C1", label="draws")
axes[1].set(aspect="equal", title="Langevin dynamics", xlabel="feature 0", ylabel="feature 1")
axes[1].legend(loc="upper right")
plt.show()
