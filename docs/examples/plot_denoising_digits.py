"""
Denoising digits
================

``DenoisingAutoencoder`` is fitted on clean images, to which it adds noise that is drawn anew in
every epoch. It restores more of new noisy images than the best linear map does, and than PCA.
"""

# %%
# Noisy images
# ------------
# The noise has a standard deviation of 0.3, for pixels between 0 and 1. ``noise_level`` is the
# only parameter that is not left at its default.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split

from sklearn_ae import DenoisingAutoencoder
from sklearn_ae.plotting import ReconstructionDisplay

X_train, X_test = train_test_split(load_digits().data / 16, random_state=0)
rng = np.random.default_rng(0)
noisy_test = X_test + 0.3 * rng.standard_normal(X_test.shape)

autoencoder = DenoisingAutoencoder(32, noise_level=0.3, random_state=0).fit(X_train)

# %%
# Linear maps
# -----------
# The best linear map from noisy to clean images is fitted on twenty noisy copies of each
# training image. The number of principal components is the one that is best on noisy training
# images.

copies = np.tile(X_train, (20, 1))
noisy = copies + 0.3 * rng.standard_normal(copies.shape)
linear = RidgeCV(alphas=[0.1, 1, 10, 100]).fit(noisy, copies)


def project(n_components, samples):
    """Project samples on the first principal components."""
    pca = PCA(n_components).fit(X_train)
    return pca.inverse_transform(pca.transform(samples))


errors = [np.square(project(n, noisy) - copies).mean() for n in range(1, 65)]
best = 1 + np.argmin(errors)
restored = {
    "noisy image": noisy_test,
    f"PCA, {best} components": project(best, noisy_test),
    "best linear map": linear.predict(noisy_test),
    "autoencoder": autoencoder.reconstruct(noisy_test),
}
for name, images in restored.items():
    error = np.sqrt(np.square(images - X_test).mean())
    print(f"{name:20} root mean square error {error:.3f}")

# %%
# Reconstructions
# ---------------
# ``target`` passes the clean images, from which the errors are computed.

ReconstructionDisplay.from_estimator(
    autoencoder, noisy_test, target=X_test, image_shape=(8, 8), n_samples=8
)
plt.show()
