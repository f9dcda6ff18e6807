"""
t-SNE of codes
==============

t-SNE places samples in the plane so that neighbours stay neighbours, and inherits the distances
that it is given. Of clean digits it needs no code; of noisy ones the codes of a denoising
autoencoder keep the neighbours better than pixels and principal components do.
"""

# %%
# Representations
# ---------------
# PCA and the autoencoder are fitted on 1,000 clean images, and encode the others with noise.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier

from sklearn_ae import DenoisingAutoencoder
from sklearn_ae.plotting import LatentSpaceDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, train_size=1000, random_state=0)
rng = np.random.default_rng(0)
noisy_train, noisy_test = (
    samples + 0.3 * rng.standard_normal(samples.shape) for samples in (X_train, X_test)
)


def accuracy(codes, labels):
    """Return the accuracy of five nearest neighbours in ten folds."""
    return cross_val_score(KNeighborsClassifier(), codes, labels, cv=10).mean()


# %%
# The number of principal components is the one with which neighbours of noisy training images
# agree most often; the autoencoder has as many.

numbers = [8, 12, 16, 24, 32, 48]
pca = PCA(48, random_state=0).fit(X_train)
scores = [accuracy(pca.transform(noisy_train)[:, :number], y_train) for number in numbers]
number = numbers[np.argmax(scores)]
autoencoder = DenoisingAutoencoder(number, noise_level=0.3, random_state=0).fit(X_train)
codes = {
    "64 pixels": noisy_test,
    f"{number} principal components": pca.transform(noisy_test)[:, :number],
    f"code of {number} components": autoencoder.transform(noisy_test),
}

# %%
# Noisy digits in the plane
# -------------------------
# The titles have the accuracy of nearest neighbours before t-SNE, and in the plane. Labels are
# used for colours and accuracies only.

figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
for ax, (name, values) in zip(axes, codes.items(), strict=True):
    plane = TSNE(random_state=0).fit_transform(values.astype(np.float32))
    display = LatentSpaceDisplay.from_codes(plane, y_test, ax=ax, scatter_kwargs={"s": 9})
    before, after = accuracy(values, y_test), accuracy(plane, y_test)
    ax.set_title(f"{name}\n5 neighbours: {before:.1%}, in the plane {after:.1%}", fontsize=10)
    ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
    display.legend_.remove()
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", markerscale=2)
plt.show()
