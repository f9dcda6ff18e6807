"""
Outliers with reasons
=====================

``AutoencoderOutlierDetector`` is fitted like ``IsolationForest``, and ``explain`` returns the
fraction of an outlier's score that each feature contributes. Here one pixel of a digit is
changed, and the contributions show which one.
"""

# %%
# Changed digits
# --------------
# Half of the test digits have one pixel changed: black to white, or white to black. The pixels
# that are empty in most digits are left out, where the change would be obvious.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from sklearn_ae import AutoencoderOutlierDetector

X = load_digits().data
X_train, X_test = X[:1397], X[1397:].copy()
rng = np.random.default_rng(0)
inner = np.flatnonzero(np.median(X_train, axis=0) > 0)
pixels = rng.choice(inner, 200)
changed = np.arange(200)
X_test[changed, pixels] = np.where(X_test[changed, pixels] < 8, 16, 0)
is_changed = np.arange(400) < 200

# %%
# Detection
# ---------
# All detectors have their default parameters. One pixel is little, and many of the changed
# digits are as usual as the others.

detectors = {
    "AutoencoderOutlierDetector": AutoencoderOutlierDetector(random_state=0),
    "IsolationForest": IsolationForest(random_state=0),
    "LocalOutlierFactor": LocalOutlierFactor(novelty=True),
}
for name, detector in detectors.items():
    scores = detector.fit(X_train).score_samples(X_test)
    print(f"{name:28}area under the ROC curve {roc_auc_score(~is_changed, scores):.3f}")

# %%
# Reasons
# -------
# The contributions to a sample sum to one. The squares mark the pixels that were changed.

shares = detectors["AutoencoderOutlierDetector"].explain(X_test[changed])
found = (shares.argmax(axis=1) == pixels).mean()
print(f"the changed pixel has the largest contribution in {found:.0%} of the digits")

figure, axes = plt.subplots(2, 8, figsize=(8, 2.3), layout="constrained")
for column, (upper, lower) in enumerate(axes.T):
    upper.imshow(X_test[column].reshape(8, 8), cmap="gray_r")
    lower.imshow(shares[column].reshape(8, 8), cmap="magma")
    row, place = divmod(pixels[column], 8)
    for ax in (upper, lower):
        corner = (place - 0.5, row - 0.5)
        ax.add_patch(plt.Rectangle(corner, 1, 1, fill=False, edgecolor="C0", linewidth=2))
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("digit")
axes[1, 0].set_ylabel("contribution")
plt.show()
