"""
How many components
===================

The components of PCA are ordered by the variance that they explain. With ``ordered=True`` so are
those of an autoencoder: one fit shows what any number of components explains. A fraction as
``n_components`` selects the number. The data are scikit-learn's digits of 8 x 8 pixels.
"""

# %%
# Explained variance
# ------------------
# An ordered code of 16 components is fitted once. Both curves are those of test samples; PCA is
# even fitted on them, so that no linear map can be above its curve.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from sklearn_ae import Autoencoder
from sklearn_ae.plotting import ScreeDisplay

output = Path("demo_output")
output.mkdir(exist_ok=True)

X, y = load_digits(return_X_y=True)
X_train, X_test = train_test_split(X, test_size=0.25, random_state=0)

params = {"activation": "silu", "alpha": 0.6, "random_state": 0}
autoencoder = Autoencoder(16, ordered=True, **params).fit(X_train)
display = ScreeDisplay.from_estimator(autoencoder, X_test)
display.ax_.set_title("digits, test samples")
display.figure_.savefig(output / "components_scree.png", dpi=120)

# %%
# Truncated codes
# ---------------
# All but the first components of the codes are set to zero, and the codes are decoded.

codes = autoencoder.transform(X_test[:10])
pca = PCA(16).fit(X_train)
linear = pca.transform(X_test[:10])
numbers = [1, 2, 4, 8, 16]
figure, axes = plt.subplots(2, len(numbers), figsize=(10, 4.4), layout="constrained")
for column, number in enumerate(numbers):
    kept = np.arange(16) < number
    for row, (name, model, code) in enumerate(
        [("autoencoder", autoencoder, codes), ("PCA", pca, linear)]
    ):
        images = model.inverse_transform(code * kept).reshape(2, 5, 8, 8)
        axes[row, column].imshow(images.transpose(0, 2, 1, 3).reshape(16, 40), cmap="gray_r")
        axes[row, column].set_axis_off()
        axes[row, column].set_title(f"{name}, {number}", fontsize=9)
figure.savefig(output / "components_truncated.png", dpi=120)

# %%
# A fraction of the variance
# --------------------------
# As many components are kept as explain 80 % of the variance of the held-out samples.

for model in (PCA(0.8), Autoencoder(0.8, **params)):
    model.fit(X_train)
    restored = model.inverse_transform(model.transform(X_test))
    unexplained = np.square(X_test - restored).sum() / np.square(X_test - X_train.mean(0)).sum()
    name = type(model).__name__
    print(f"{name:12}{model.n_components_:3} components explain {1 - unexplained:.3f}")
