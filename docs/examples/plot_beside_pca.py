"""
Comparison of an autoencoder with PCA
=====================================

PCA finds the best *linear* code. ``Autoencoder`` starts training at PCA: its encoder and
decoder are PCA plus a non-linear part. It is a drop-in replacement for PCA in pipelines and grid
searches. The data are scikit-learn's handwritten digits of 8 x 8 pixels.
"""

# %%
# Pipelines
# ---------
# The pipelines have the same three steps and the same number of components; only the middle
# step differs.

from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from sklearn_ae import Autoencoder

output = Path("demo_output")
output.mkdir(exist_ok=True)

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.25, stratify=y, random_state=0
)


def pipeline(reducer):
    """Return a pipeline of a scaler, a reducer and a classifier."""
    return Pipeline(
        [
            ("scaler", MinMaxScaler()),
            ("reducer", reducer),
            ("classifier", LogisticRegression(max_iter=1000)),
        ]
    )


def explained(model, X):
    """Return the explained variance ratio of the reconstructions."""
    scaled = model["scaler"].transform(X)
    restored = model["reducer"].inverse_transform(model["reducer"].transform(scaled))
    return 1 - np.square(scaled - restored).sum() / np.square(scaled - scaled.mean(0)).sum()


print(f"{'reducer':28}{'components':>11}{'explained variance':>20}{'accuracy':>10}{'seconds':>9}")


def report(name, model):
    """Fit a pipeline and print a row of the table."""
    start = perf_counter()
    model.fit(X_train, y_train)
    seconds = perf_counter() - start
    best = getattr(model, "best_estimator_", model)
    n_components = best["reducer"].n_components
    accuracy = best.score(X_test, y_test)
    ratio = explained(best, X_test)
    print(f"{name:28}{n_components:11}{ratio:20.3f}{accuracy:10.3f}{seconds:9.1f}", flush=True)
    return best


for n_components in (2, 4, 8):
    report("PCA", pipeline(PCA(n_components)))
    report("Autoencoder", pipeline(Autoencoder(n_components, random_state=0, verbose=1)))

# %%
# Grid search
# -----------
# The number of components and the hidden layers of the autoencoder are searched.

search = GridSearchCV(
    pipeline(Autoencoder(random_state=0, max_iter=100)),
    {
        "reducer__n_components": [4, 8],
        "reducer__hidden_layer_sizes": [(64,), (128, 128, 128)],
    },
    cv=3,
    n_jobs=2,
    verbose=1,
)
best = report("Autoencoder, grid search", search)
print("best parameters:", search.best_params_)

# %%
# Loss curve
# ----------
# The loss is the fraction of variance that is not explained. The weights of the best epoch on
# held-out samples are kept.

autoencoder = best["reducer"]
epochs = [entry["epoch"] for entry in autoencoder.history_]
held_out = [entry["valid_loss"] for entry in autoencoder.history_]

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot(epochs, autoencoder.loss_curve_, label="training samples")
axes.plot(epochs, held_out, label="held-out samples", linestyle="--")
axes.axvline(autoencoder.best_epoch_, color="grey", linewidth=0.8, label="best epoch")
axes.set(xlabel="epoch", ylabel="unexplained variance ratio", ylim=(0, None), title="Loss curve")
axes.legend()
figure.savefig(output / "loss_curve.png", dpi=120)

# %%
# Reconstructions
# ---------------
# The top row shows eight test digits, the rows below the reconstructions by PCA and by the
# autoencoder from codes of the same size.

samples = best["scaler"].transform(X_test[:8])
pca = PCA(autoencoder.n_components).fit(best["scaler"].transform(X_train))
pictures = {
    "original": samples,
    f"PCA, {pca.n_components_} components": pca.inverse_transform(pca.transform(samples)),
    f"autoencoder, {autoencoder.n_components_} components": autoencoder.reconstruct(samples),
}
figure, axes = plt.subplots(3, 8, figsize=(8, 3.8), layout="constrained")
for line, (name, images) in zip(axes, pictures.items(), strict=True):
    for cell, image in zip(line, images, strict=True):
        cell.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        cell.set(xticks=[], yticks=[])
    line[0].set_title(name, loc="left", fontsize=10)
figure.savefig(output / "reconstructions.png", dpi=120)

# %%
# Two components
# --------------
# Codes of the test digits with two components, coloured by digit.

scaled_train, scaled_test = best["scaler"].transform(X_train), best["scaler"].transform(X_test)
planes = {
    "PCA": PCA(2).fit(scaled_train),
    "Autoencoder": Autoencoder(2, random_state=0).fit(scaled_train),
}
figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
for cell, (name, model) in zip(axes, planes.items(), strict=True):
    codes = model.transform(scaled_test)
    for digit in range(10):
        chosen = codes[y_test == digit]
        cell.scatter(*chosen.T, s=12, color=plt.cm.tab10(digit), label=str(digit))
    restored = model.inverse_transform(codes)
    error = np.square(scaled_test - restored).sum()
    ratio = 1 - error / np.square(scaled_test - scaled_test.mean(0)).sum()
    cell.set(title=f"{name}: {ratio:.0%} of the variance", xlabel="code 1", ylabel="code 2")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", title="digit")
figure.savefig(output / "codes.png", dpi=120)
print("figures:", ", ".join(sorted(str(path) for path in output.glob("*.png"))))
