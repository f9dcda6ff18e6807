"""
Which rows are odd, and why
===========================

An outlier detector made of autoencoders, beside an isolation forest. It names the features that
gave a row away, and its threshold holds on rows that it has not seen. The data are the tumours
and the handwritten digits that come with scikit-learn.
"""

# %%
# A few malignant tumours among benign ones
# -----------------------------------------
# Labels are not used: the detectors are trained on a mixture, one malignant tumour to fifteen
# benign ones. Both keep their default parameters.

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
    print(f"{name:28} area {area:.3f}, false alarms on benign tumours {alarms:.3f}")
axes.set_title("malignant tumours as outliers")
figure.savefig(output / "outliers_roc.png", dpi=120)

# %%
# Why this one?
# -------------
# The shares of a row sum to one. As the rows are a frame, so are the shares.

detector = detectors["AutoencoderOutlierDetector"]
oddest = test.iloc[[detector.score_samples(test).argmin()]]
shares = detector.explain(oddest).iloc[0].sort_values().tail(8)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.barh(shares.index, shares)
axes.set(xlabel="share of the score", title="the oddest tumour of the test")
figure.savefig(output / "outliers_why.png", dpi=120)

# %%
# How sure?
# ---------
# A p-value is the share of rows like the training rows that would look at least as odd: here
# of benign tumours, the only ones that this detector is trained on. With the procedure of
# Benjamini and Hochberg about a tenth of what is reported may be false.

clean = AutoencoderOutlierDetector(trim=0, random_state=0).fit(train[: -len(few)])
reported = false_discovery_control(clean.p_values(test)) <= 0.1
false = (reported & benign_test).sum()
print(f"reported {reported.sum()} of {len(test)} tumours, {false} of them benign")

# %%
# Where in a picture?
# -------------------
# Images keep their shape. One pixel of each test digit is set to black or white, whichever it
# is not; the map of shares finds most of them.

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
print(f"largest share at the spoilt pixel in {found.sum()} of {len(found)} digits")
