"""
Outlier detection
=================

An outlier detector made of autoencoders is compared with an isolation forest. It attributes the
score of a sample to its features, and its threshold is valid for new samples. The data are the
tumours and the handwritten digits of scikit-learn.
"""

# %%
# Malignant tumours as outliers
# -----------------------------
# Labels are not used in training: the detectors are fitted on a mixture of one malignant tumour
# to fifteen benign ones. Both have their default parameters, except for ``contamination``.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import false_discovery_control
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import RocCurveDisplay, roc_auc_score
from sklearn.model_selection import train_test_split

from sklearn_ae import AutoencoderOutlierDetector

output = Path("demo_output")
output.mkdir(exist_ok=True)

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
train, test, benign, benign_test = train_test_split(X, y == 1, test_size=0.4, random_state=0)
rng = np.random.default_rng(0)
few = rng.choice(np.flatnonzero(~benign), benign.sum() // 15, replace=False)
train = train.iloc[np.concatenate([np.flatnonzero(benign), few])]

detectors = {
    "AutoencoderOutlierDetector": AutoencoderOutlierDetector(contamination=0.06, random_state=0),
    "IsolationForest": IsolationForest(contamination=0.06, random_state=0),
}
figure, axes = plt.subplots(figsize=(4.5, 4.2), layout="constrained")
for name, detector in detectors.items():
    normal = detector.fit(train).score_samples(test)
    RocCurveDisplay.from_predictions(~benign_test, -normal, name=name, ax=axes)
    alarms = (detector.predict(test[benign_test]) == -1).mean()
    area = roc_auc_score(~benign_test, -normal)
    print(f"{name:28} AUROC {area:.3f}, false positive rate {alarms:.3f}")
axes.set_title("malignant tumours as outliers")
figure.savefig(output / "outliers_roc.png", dpi=120)

# %%
# Explanations
# ------------
# ``explain`` returns the contribution of each feature; the contributions to a sample sum to one.
# For a dataframe the result is a dataframe.

detector = detectors["AutoencoderOutlierDetector"]
oddest = test.iloc[[detector.score_samples(test).argmin()]]
shares = detector.explain(oddest).iloc[0].sort_values().tail(8)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.barh(shares.index, shares)
axes.set(xlabel="fraction of the score", title="test sample with the lowest score")
figure.savefig(output / "outliers_why.png", dpi=120)

# %%
# p-values
# --------
# A p-value is the probability that a sample from the distribution of the training samples has a
# score at most as high. Here the detector is fitted on benign tumours only. The procedure of
# Benjamini and Hochberg controls the false discovery rate, here at about a tenth.

clean = AutoencoderOutlierDetector(trim=0, random_state=0).fit(train[: -len(few)])
reported = false_discovery_control(clean.p_values(test)) <= 0.1
false = (reported & benign_test).sum()
print(f"reported {reported.sum()} of {len(test)} tumours, {false} of them benign")

# %%
# Images
# ------
# For images the contributions have the shape of the images. One pixel of each test digit is set to
# black or white, whichever it is not; most of these pixels have the largest contribution.

digits = load_digits().images
digits, spoilt = digits[:1500], digits[1500:1508].copy()
places = rng.integers(8, size=(len(spoilt), 2))
for image, (row, column) in zip(spoilt, places, strict=True):
    image[row, column] = 16.0 if image[row, column] < 8 else 0.0
maps = AutoencoderOutlierDetector(random_state=0).fit(digits).explain(spoilt)
figure, axes = plt.subplots(2, 8, figsize=(8, 2.4), layout="constrained")
for upper, lower, image, shares, (row, column) in zip(*axes, spoilt, maps, places, strict=True):
    upper.imshow(image, cmap="gray_r")
    lower.imshow(shares, cmap="magma")
    for cell in (upper, lower):
        cell.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="c"))
        cell.set(xticks=[], yticks=[])
figure.savefig(output / "outliers_where.png", dpi=120)
found = maps.reshape(len(maps), -1).argmax(axis=1) == places @ [8, 1]
print(f"largest contribution at the changed pixel in {found.sum()} of {len(found)} digits")
