"""Draw the pictures of the user guide, one function for each, and print what they show.

MNIST is read from the folder named by the environment variable ``SKLEARN_AE_DATA``, or else
downloaded from OpenML. Run from the root of the repository::

    python docs/pictures.py [sparse lstm ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

import sklearn_ae as ae
from sklearn_ae.networks import UNetNetwork

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

Rows = dict[str, np.ndarray]


def mnist(n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Return some training and test images of MNIST, flat, in [0, 1]."""
    from _data import mnist

    train, test, *_ = mnist()
    return train[:n], test[:1000]


def strips(rows: Rows, side: int, size: float = 0.62) -> Figure:
    """Draw rows of square grey images, each row with its name at the left."""
    n_columns = max(map(len, rows.values()))
    figure = Figure(figsize=(size * n_columns + 1.3, size * len(rows)))
    axes = figure.subplots(len(rows), n_columns, squeeze=False)
    figure.subplots_adjust(1.3 / (size * n_columns + 1.3), 0.02, 0.99, 0.98, 0.06, 0.06)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        for cell, image in zip(line, images, strict=False):
            cell.imshow(image.reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
        for cell in line:
            cell.set(xticks=[], yticks=[])
            cell.spines[:].set_visible(False)
    return figure


def panels(n: int, **options: object) -> tuple[Figure, np.ndarray]:
    """Return a figure of a row of equal panels."""
    figure = Figure(figsize=(3.1 * n, 2.7), layout="constrained")
    return figure, figure.subplots(1, n, squeeze=False, **options)[0]


def autoencoder() -> Figure:
    """Reconstruct points of a curve from one component."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-2, 2, 600)
    X = np.column_stack([t, np.sin(2 * t)]) + 0.1 * rng.standard_normal((600, 2))
    train, test = X[:300], X[300:]
    figure, axes = panels(2, sharex=True, sharey=True)
    for cell, model in zip(axes, (PCA(1), ae.Autoencoder(1, random_state=0)), strict=True):
        model.fit(train)
        restored = model.inverse_transform(model.transform(test))
        ratio = 1 - np.square(test - restored).sum() / np.square(test - test.mean(0)).sum()
        cell.plot(*test.T, ".", color="0.7", label="test samples")
        cell.plot(*restored.T, ".", color="C3", markersize=3, label="reconstructions")
        cell.set(title=f"{type(model).__name__}: {ratio:.3f} explained")
    axes[0].legend(fontsize=7, loc="lower right")
    return figure


def sparse() -> Figure:
    """Draw digits as sums of the features of their active units."""
    train, test = mnist()
    model = ae.SparseAutoencoder(
        100, sparsity="topk", n_active=6, hidden_layer_sizes=(), max_iter=60, random_state=0
    ).fit(train)
    codes = model.transform(test[:4])
    nothing = model.inverse_transform(np.zeros((1, 100), np.float32))
    features = model.inverse_transform(np.eye(100, dtype=np.float32)) - nothing
    figure = Figure(figsize=(6.4, 3.3))
    axes = figure.subplots(4, 8)
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.92, 0.08, 0.08)
    for line, digit, code in zip(axes, test, codes, strict=False):
        units = np.argsort(-np.abs(code))[:6]
        parts = code[units, None] * features[units]
        for cell, image in zip(line[:2], (digit, nothing[0] + parts.sum(0)), strict=True):
            cell.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        for cell, part in zip(line[2:], parts, strict=True):
            cell.imshow(part.reshape(28, 28), cmap="RdBu_r", vmin=-0.7, vmax=0.7)
    for cell in axes.flat:
        cell.axis("off")
    for cell, title in zip(axes[0], ("image", "sum", *["part"] * 6), strict=True):
        cell.set_title(title, fontsize=9)
    return figure


def denoising() -> Figure:
    """Remove noise from digits: the best number of principal components, and the autoencoder."""
    train, test = mnist()
    rng = np.random.default_rng(0)
    noisy, train_noisy = (
        v + 0.5 * rng.standard_normal(v.shape, np.float32) for v in (test, train)
    )

    def error(model: object, seen: np.ndarray, clean: np.ndarray) -> float:
        return float(np.square(model.inverse_transform(model.transform(seen)) - clean).mean())

    fits = [PCA(k).fit(train) for k in (8, 16, 24, 32, 48, 64)]
    pca = min(fits, key=lambda model: error(model, train_noisy, train))
    denoiser = ae.DenoisingAutoencoder(64, noise_level=0.5, max_iter=60, random_state=0).fit(train)
    print("  components", pca.n_components_, error(pca, noisy, test), error(denoiser, noisy, test))
    some = slice(0, 9)
    return strips(
        {
            "clean": test[some],
            "corrupted": noisy[some],
            f"PCA({pca.n_components_})": pca.inverse_transform(pca.transform(noisy[some])),
            "denoised": denoiser.reconstruct(noisy[some]),
        },
        28,
    )


def contractive() -> Figure:
    """Draw the singular values of the encoder's Jacobian, and the reconstruction error."""
    X = load_digits().data.astype(np.float32) / 16
    train, test = train_test_split(X, test_size=0.2, random_state=0)
    figure, (cell,) = panels(1)
    for strength in (0, 0.01, 0.1):
        model = ae.ContractiveAutoencoder(
            16, contraction=strength, hidden_layer_sizes=(64,), max_iter=60, random_state=0
        ).fit(train)
        x = torch.from_numpy(test - train.mean(0)) / float(train.std(0).mean())
        jacobians = torch.func.vmap(torch.func.jacrev(model.module_.encode))(x[:, None])
        values = torch.linalg.svdvals(jacobians.flatten(1).reshape(len(x), 16, -1)).mean(0)
        cell.plot(
            values.detach(), label=f"contraction={strength}: {model.score(test):.3f} explained"
        )
    cell.set(xlabel="singular value", ylabel="mean over test samples", ylim=(0, 0.5))
    cell.legend(fontsize=7)
    return figure


def variational() -> Figure:
    """Decode a grid of codes with equal probability under the prior."""
    from scipy.stats import norm

    train, _ = mnist()
    vae = ae.VariationalAutoencoder(2, likelihood="bernoulli", max_iter=60, random_state=0)
    vae.fit(train)
    quantiles = norm.ppf((np.arange(12) + 0.5) / 12).astype(np.float32)
    codes = np.stack(np.meshgrid(quantiles, quantiles[::-1]), -1).reshape(-1, 2)
    digits = vae.inverse_transform(codes).reshape(12, 12, 28, 28).swapaxes(1, 2)
    figure = Figure(figsize=(3.4, 3.4))
    cell = figure.add_axes((0, 0, 1, 1))
    cell.imshow(digits.reshape(12 * 28, -1), cmap="gray_r")
    cell.axis("off")
    return figure


def hashing() -> Figure:
    """Find the nearest codes of digits."""
    train, test = mnist()
    model = ae.SemanticHashing(128, max_iter=60, random_state=0).fit(train)
    queries = test[:5]
    distances, indices = model.kneighbors(queries, n_neighbors=9)
    figure = strips(
        {f"query {i + 1}": np.vstack([queries[i : i + 1], train[indices[i]]]) for i in range(5)},
        28,
    )
    for cell, bits in zip(figure.axes, np.insert(distances, 0, -1, axis=1).ravel(), strict=True):
        if bits >= 0:
            cell.text(0, 4, f"{bits:.0f}", fontsize=7, color="C3")
    return figure


def boltzmann() -> Figure:
    """Draw samples of RBMs that were trained by two kinds of contrastive divergence."""
    train, _ = mnist()
    rows = {"training": train[:10]}
    for name, options in {"CD": {}, "PCD": {"persistent": True, "n_steps": 5}}.items():
        model = ae.RestrictedBoltzmannMachine(
            256,
            visible="bernoulli",
            learning_rate_init=0.05,
            max_iter=60,
            random_state=0,
            **options,
        ).fit(train)
        rows[name] = model.sample(10, random_state=0)
    return strips(rows, 28)


def belief_network() -> Figure:
    """Draw samples of a network of two layers of binary units."""
    train, _ = mnist()
    network = ae.DeepBeliefNetwork(
        200,
        hidden_layer_sizes=(256,),
        loss="binary_crossentropy",
        code_activation="logistic",
        pretraining_max_iter=60,
        learning_rate_init=0.05,
        fine_tune=False,
        random_state=0,
    ).fit(train)
    return strips(
        {
            "training": train[:10],
            "draws": network.sample(10, random_state=0),
            "means": network.sample(10, noise=False, random_state=0),
        },
        28,
    )


def stacked() -> Figure:
    """Draw the explained variance of held-out samples, with and without pre-training."""
    X = load_digits().data / 16
    figure, (cell,) = panels(1)
    for name in ("denoising", None):
        model = ae.StackedAutoencoder(
            10,
            hidden_layer_sizes=(128, 64, 32),
            activation="logistic",
            pretraining=name,
            max_iter=100,
            random_state=0,
        ).fit(X)
        print(" ", name, max(model.validation_scores_))
        cell.plot(model.validation_scores_, label=f"pretraining={name!r}")
    cell.set(xlabel="epoch of joint training", ylabel="explained variance, held out", ylim=(0, 1))
    cell.legend(fontsize=8)
    return figure


def stacked_supervised() -> Figure:
    """Draw the accuracy against the number of labels."""
    X, y = load_digits(return_X_y=True)
    train, test, y_train, y_test = train_test_split(X / 16, y, test_size=0.3, random_state=0)
    sizes, seeds = (20, 50, 200), range(2)
    figure, (cell,) = panels(1)
    found: dict[str, list[list[float]]] = {
        "same network, labels only": [],
        "SVC(C=10)": [],
        "StackedAutoencoderClassifier": [],
    }
    for n in sizes:
        scores = []
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(len(train))
            labelled = order[:n]
            few = np.full(len(train), -1)
            few[labelled] = y_train[labelled]
            options = {"unlabeled": -1, "random_state": seed}
            alone = ae.StackedAutoencoderClassifier(pretraining=None, random_state=seed)
            stack = ae.StackedAutoencoderClassifier(**options)
            scores.append(
                [
                    alone.fit(train[labelled], y_train[labelled]).score(test, y_test),
                    SVC(C=10).fit(train[labelled], y_train[labelled]).score(test, y_test),
                    stack.fit(train, few).score(test, y_test),
                ]
            )
        for name, value in zip(found, np.mean(scores, axis=0), strict=True):
            found[name].append(float(value))
    for name, values in found.items():
        print(" ", name, np.round(values, 3))
        cell.plot(sizes, values, ".-", label=name)
    cell.set(xlabel="labels", ylabel="accuracy on test samples")
    cell.legend(fontsize=7)
    return figure


def convolutional() -> Figure:
    """Reconstruct digits from 16 components."""
    train, test = mnist()
    shape = (-1, 28, 28)
    rows = {"image": test[:10]}
    pca = PCA(16).fit(train)
    models = {"PCA": pca, "dense": ae.Autoencoder(16, max_iter=60, random_state=0).fit(train)}
    images = ae.ConvolutionalAutoencoder(16, max_iter=20, random_state=0)
    models["convolutional"] = images.fit(train.reshape(shape))
    for name, model in models.items():
        seen = test.reshape(shape) if model is images else test
        restored = model.inverse_transform(model.transform(seen)).reshape(len(test), -1)
        print(" ", name, np.square(restored - test).sum(1).mean())
        rows[name] = restored[:10]
    return strips(rows, 28)


def unet() -> Figure:
    """Remove noise from the right half of a photograph, after a fit on patches of the left."""
    picture = load_sample_image("china.jpg").mean(2).astype(np.float32) / 255
    left, right = picture[:, :320], picture[160:288, 448:576]
    patches = extract_patches_2d(left, (32, 32), max_patches=3000, random_state=0)
    model = ae.DenoisingAutoencoder(
        None,
        network=UNetNetwork(residual=True),
        noise_level=0.1,
        batch_size=16,
        max_iter=8,
        learning_rate_init=2e-3,
        early_stopping=False,
        random_state=0,
    ).fit(patches)
    noisy = right + 0.1 * np.random.default_rng(0).standard_normal(right.shape, np.float32)
    figure, axes = panels(3)
    shown = {
        "clean": right,
        "corrupted": noisy,
        "reconstructed": model.reconstruct(noisy[None])[0],
    }
    for cell, (name, image) in zip(axes, shown.items(), strict=True):
        cell.imshow(image, cmap="gray", vmin=0, vmax=1)
        error = np.square(np.clip(image, 0, 1) - right).mean()
        cell.set_title(name if error == 0 else f"{name}, {-10 * np.log10(error):.1f} dB")
        cell.axis("off")
    return figure


def pulses(starts: np.ndarray, seed: int) -> np.ndarray:
    """Return one pulse of random width and height per start, in 40 steps."""
    rng = np.random.default_rng(seed)
    width, height = rng.uniform(1.5, 3, (2, len(starts), 1)) * [[[1]], [[0.5]]]
    return height * np.exp(-0.5 * ((np.arange(40) - starts[:, None]) / width) ** 2)


def lstm() -> Figure:
    """Shift pulses out of the range of the training samples."""
    rng = np.random.default_rng(0)
    figure, (cell,) = panels(1)
    places = np.arange(5, 36)
    for model in (
        ae.LSTMAutoencoder(4, max_iter=100, random_state=0),
        ae.Autoencoder(4, random_state=0),
    ):
        for low, high in ((8, 16), (5, 35)):
            model.fit(pulses(rng.uniform(low, high, 500), 1).astype(np.float32))
            scores = []
            for place in places:
                X = pulses(np.full(200, float(place)), 2).astype(np.float32)
                error = np.square(model.reconstruct(X) - X).sum()
                scores.append(1 - error / np.square(X).sum())
            name = f"{type(model).__name__}, trained on {low} to {high}"
            print(" ", name, np.round(scores[3:12], 2).min(), np.round(scores[::5], 2))
            cell.plot(places, np.clip(scores, -1, 1), label=name)
    cell.set(xlabel="step of the pulse", ylabel="fraction explained", ylim=(-1.05, 1.05))
    cell.legend(fontsize=6, loc="lower left")
    return figure


def recursive() -> Figure:
    """Draw the greedy trees of two sequences."""
    rng = np.random.default_rng(0)
    levels = rng.choice([-1.0, 0.0, 1.0], size=(800, 3))
    ends = np.sort(np.stack([rng.choice(np.arange(2, 11), 2, replace=False) for _ in levels]), 1)
    part = (np.arange(12)[:, None] >= ends[:, None]).sum(2)
    X = np.take_along_axis(levels, part, 1) + 0.05 * rng.standard_normal((800, 12))
    model = ae.RecursiveAutoencoder(4, tree="greedy", max_iter=30, random_state=0).fit(X)
    X = X[(np.diff(levels) != 0).all(1)][:3]
    figure, axes = panels(3, sharey=True)
    for cell, sequence, merges in zip(axes, X, model.transform(X)[:, 4:], strict=True):
        nodes = [(float(step), 0.0) for step in range(12)]
        for place in merges.astype(int):
            (left, low), (right, high) = nodes[place : place + 2]
            top = max(low, high) + 1
            cell.plot([left, left, right, right], [low, top, top, high], color="C0", lw=1)
            nodes[place : place + 2] = [((left + right) / 2, top)]
        cell.step(np.arange(12), sequence - 2.5, where="mid", color="C3")
        cell.set(yticks=[], xlabel="step")
    return figure


def missing() -> Figure:
    """Impute the second feature of points on a parabola."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, 400)
    X = np.column_stack([t, t**2 + 0.03 * rng.standard_normal(400)])
    gaps = X.copy()
    gaps[::4, 1] = np.nan
    ways = {
        "SimpleImputer": SimpleImputer(),
        "IterativeImputer": IterativeImputer(random_state=0),
        "AutoencoderImputer": ae.AutoencoderImputer(random_state=0),
    }
    figure, axes = panels(3, sharex=True, sharey=True)
    for cell, (name, imputer) in zip(axes, ways.items(), strict=True):
        filled = imputer.fit_transform(gaps)
        error = np.sqrt(np.square(filled - X)[::4, 1].mean())
        cell.plot(*np.delete(X, np.s_[::4], 0).T, ".", color="0.75", label="observed")
        cell.plot(*filled[::4].T, ".", color="C3", label="imputed")
        cell.set_title(f"{name}: error {error:.2f}", fontsize=10)
    axes[0].legend(fontsize=7)
    return figure


def outlier() -> Figure:
    """Draw the scores of samples of which one value contradicts the others."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((1500, 3))
    X = np.tanh(factors @ rng.standard_normal((3, 10))) + 0.05 * rng.standard_normal((1500, 10))
    train, test, broken = X[:500], X[500:1000], X[1000:].copy()
    places = np.arange(500), rng.integers(10, size=500)
    broken[places] = test[places]  # a usual value of the feature, but of another sample
    figure, axes = panels(2, sharey=True)
    for cell, cls in zip(axes, (IsolationForest, ae.AutoencoderOutlierDetector), strict=True):
        detector = cls(contamination=0.05, random_state=0).fit(train)
        scores = [detector.decision_function(part) for part in (test, broken)]
        area = roc_auc_score(np.repeat([1, 0], 500), np.concatenate(scores))
        bins = np.histogram_bin_edges(np.concatenate(scores), 30)
        cell.hist(scores[0], bins, alpha=0.6, label="test samples")
        cell.hist(scores[1], bins, alpha=0.6, color="C3", label="one value exchanged")
        cell.set_title(f"{cls.__name__}: AUC {area:.2f}", fontsize=10)
        cell.set(xlabel="decision_function", yticks=[])
        if cls is ae.AutoencoderOutlierDetector:
            print("  explained", (detector.explain(broken).argmax(1) == places[1]).mean())
    axes[0].legend(fontsize=7)
    return figure


PICTURES: dict[str, Callable[[], Figure]] = {
    function.__name__: function
    for function in (
        autoencoder,
        sparse,
        denoising,
        contractive,
        variational,
        hashing,
        boltzmann,
        belief_network,
        stacked,
        stacked_supervised,
        convolutional,
        unet,
        lstm,
        recursive,
        missing,
        outlier,
    )
}


def main(names: list[str]) -> None:
    """Draw the named pictures, or all of them, into ``docs/images``."""
    mpl.rcParams.update({"savefig.facecolor": "white", "font.size": 9})
    for name in names or PICTURES:
        print(name, flush=True)
        path = ROOT / "docs" / "images" / f"{name}.png"
        PICTURES[name]().savefig(path, dpi=110)
        with Image.open(path) as image:  # a palette takes a third of the space
            small = image.convert("RGB").quantize(32)
        small.save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
