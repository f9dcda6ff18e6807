"""Convolutional networks without dense layers: the 16 -> 8 maps of tutorials, and whole images.

First, 16 -> 8 feature maps on MNIST in [0, 1], whose last maps are the code, are compared with PCA
by the squared error per pixel, averaged over test images. Then a residual U-Net is trained on
patches of the left halves of two images with noise of 25 (of 255). It denoises the right halves as
whole images, in patches that overlap by half and are averaged with a window, and in adjacent
patches. Run::

    python benchmarks/any_size.py [--quick]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _data import machine, mnist, write_json
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.feature_extraction.image import extract_patches_2d

from sklearn_ae import ConvolutionalAutoencoder, DenoisingAutoencoder
from sklearn_ae.networks import UNetNetwork

NETWORKS = {
    "16 -> 8, pooling": {},
    "16 -> 8, strides": {"pooling": "strided"},
    "16 -> 8, strided+transposed": {"pooling": "strided", "unpooling": "transposed"},
    "16 -> 8 -> 8, pooling": {"channels": (16, 8, 8)},
    "16 -> 8, dense code": {"n_components": 32},
}
SIGMA, SIDE = 25 / 255, 32


def show(name: str, **values: float) -> dict[str, float | str]:
    """Print one line of a table, and return it."""
    shown = (f"{key} {value:.5g}" for key, value in values.items())
    print(f"  {name:28}", *shown, sep="  ", flush=True)
    return {"name": name} | values


def maps_on_mnist(n_train: int, max_iter: int) -> list[dict]:
    """Measure the error of feature maps, and of PCA, on test images."""
    train, test, *_, source = mnist()
    train = train[:n_train]
    print(f"{source}, {n_train} training images, {max_iter} epochs")
    results = [show("mean image", error=float(np.square(test - train.mean(axis=0)).mean()))]
    for size in (32, 64, 128, 392):
        pca = PCA(size, random_state=0).fit(train)
        error = float(np.square(test - pca.inverse_transform(pca.transform(test))).mean())
        results.append(show(f"PCA, {size}", error=error))
    for name, params in NETWORKS.items():
        start = time.perf_counter()
        autoencoder = ConvolutionalAutoencoder(
            **{"n_components": None, "channels": (16, 8)} | params,
            image_shape=(28, 28),
            batch_size=64,
            max_iter=max_iter,
            learning_rate_init=5e-3,
            early_stopping=False,
            random_state=0,
        ).fit(train)
        results.append(
            show(
                name,
                error=float(np.square(test - autoencoder.reconstruct(test)).mean()),
                components=autoencoder.n_components_,
                weights=sum(each.numel() for each in autoencoder.module_.parameters()),
                seconds=time.perf_counter() - start,
            )
        )
    return results


def psnr(restored: np.ndarray, clean: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    return float(-10 * np.log10(np.square(np.clip(restored, 0, 1) - clean).mean()))


def square_by_square(denoiser: DenoisingAutoencoder, picture: np.ndarray, step: int) -> np.ndarray:
    """Denoise patches at a distance of `step` pixels and average them."""
    tops, lefts = (
        np.unique([*range(0, length - SIDE, step), length - SIDE]) for length in picture.shape[:2]
    )
    squares = sliding_window_view(picture, (SIDE, SIDE, 3))[tops[:, None], lefts, 0]
    restored = denoiser.reconstruct(squares.reshape(-1, SIDE, SIDE, 3)).reshape(squares.shape)
    fade = np.sin(np.pi * (np.arange(SIDE) + 0.5) / SIDE) ** 2
    fade = np.outer(fade, fade)[:, :, None] if step < SIDE else np.ones((SIDE, SIDE, 1))
    total, weight = np.zeros(picture.shape), np.zeros((*picture.shape[:2], 1))
    for line, top in zip(restored, tops, strict=True):
        for square, left in zip(line, lefts, strict=True):
            place = np.s_[top : top + SIDE, left : left + SIDE]
            total[place] += fade * square
            weight[place] += fade
    return total / weight


def whole_pictures(n_squares: int) -> list[dict]:
    """Measure PSNR and time of denoising whole images and patches."""
    photographs = [picture.astype(np.float32) / 255 for picture in load_sample_images().images]
    known = [picture[:, :320] for picture in photographs]
    clean = [picture[:, 320:] for picture in photographs]
    draws = {"patch_size": (SIDE, SIDE), "max_patches": n_squares, "random_state": 0}
    squares = np.concatenate([extract_patches_2d(half, **draws) for half in known])
    rng = np.random.default_rng(0)
    noisy = [half + SIGMA * rng.standard_normal(half.shape, np.float32) for half in clean]
    print(f"two images, {len(squares)} patches of {SIDE} x {SIDE}")
    results = [
        show("noisy", psnr=np.mean([psnr(*pair) for pair in zip(noisy, clean, strict=True)]))
    ]
    for name, n_components in (("with one component", 1), ("maps only", None)):
        denoiser = DenoisingAutoencoder(
            n_components,
            network=UNetNetwork(residual=True),
            noise_level=SIGMA,
            batch_size=8,
            max_iter=4,
            learning_rate_init=2e-3,
            early_stopping=False,
            random_state=0,
        ).fit(squares)
        ways = {
            "adjacent patches": lambda half, fit=denoiser: square_by_square(fit, half, SIDE),
            "overlapping patches": lambda half, fit=denoiser: square_by_square(
                fit, half, SIDE // 2
            ),
        }
        if n_components is None:
            ways["whole image"] = lambda half, fit=denoiser: fit.reconstruct(half[None])[0]
        for way, restore in ways.items():
            start = time.perf_counter()
            ratios = [psnr(restore(half), like) for half, like in zip(noisy, clean, strict=True)]
            seconds = time.perf_counter() - start
            results.append(show(f"{name}, {way}", psnr=np.mean(ratios), seconds=seconds))
    return results


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes: fewer images")
    quick = parser.parse_args().quick
    print(machine())
    maps = maps_on_mnist(*((3000, 3) if quick else (10_000, 10)))
    pictures = whole_pictures(200 if quick else 2000)
    write_json("any_size", {"machine": machine(), "maps": maps, "pictures": pictures})


if __name__ == "__main__":
    main()
