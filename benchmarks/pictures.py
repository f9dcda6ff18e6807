"""Image denoising and compression.

All methods are trained on 120 greyscale images of 180 x 180 (BSDS), and evaluated on the twelve
standard test images (Set12) and on scikit-learn's two. Without the folder of the data,
``china.jpg`` is the training image and ``flower.jpg`` the test image. Run::

    python benchmarks/pictures.py [--quick] [--validate] [--only denoising compression]

**Denoising.** Gaussian noise is added without clipping; results are clipped to [0, 1]. PSNR and
SSIM (Gaussian window of 1.5 pixels) are averaged over images. The rows are the noisy
images; the median filter with the best of three sizes on training images; the least-squares linear
filter of 15 x 15 neighbours, fitted on the training images; and
``DenoisingAutoencoder(network=UNetNetwork(residual=True))``, trained on crops with fresh noise in
every epoch, applied to overlapping patches which are averaged with a window.

**Compression.** Images are cut into blocks, blocks are encoded, codes are divided by a step,
rounded and decoded; pixels are rounded to bytes. The rate is the number of bits of an ideal
entropy coder for the rounded codes of the test images, with one table per component, estimated on
the training images (see ``CodeLengths``); the sizes of tables and weights are not included. Rates
and PSNR are averaged over images for each step, and PSNR is interpolated at the rates of the
table. All components are kept: those that are rounded to zero cost almost nothing. Each
autoencoder is trained for one step, with noise on its input. "PCA and U-Net" has the bits of PCA;
a ``DenoisingAutoencoder`` whose noise is the rounding, with random steps, is applied to the
decoded images. The size of JPEG files (Pillow, optimised tables) includes their headers. For all
methods the images are cropped to multiples of 16 pixels.

``--validate`` trains on the first 100 images and evaluates on the other 20. All settings were
chosen in this way, none on the test images.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from _data import machine, pictures, write_json
from _pictures import CodeLengths, Function, best_filter, blocks, crops, joined, psnr, restore
from scipy.ndimage import median_filter
from skimage.metrics import structural_similarity
from sklearn.decomposition import PCA
from torch import Tensor

from sklearn_ae import Autoencoder, DenoisingAutoencoder
from sklearn_ae.networks import UNetNetwork

Pictures = list[np.ndarray]
Curve = list[tuple[float, float]]
"""Bits per pixel and PSNR, averaged over images, for each step."""

SIDE = 48
"""Side of the U-Net's patches, in pixels."""

RATES = (0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)
"""Bits per pixel at which methods are compared."""


def spoil(clean: Pictures, sigma: float) -> Pictures:
    """Scale images of bytes to [0, 1] and add noise."""
    return [
        picture / 255 + sigma * np.random.default_rng(number).standard_normal(picture.shape)
        for number, picture in enumerate(clean)
    ]


def quality(restored: Pictures, clean: Pictures) -> dict[str, float]:
    """Return PSNR and SSIM, averaged over images."""
    values = []
    for picture, wanted in zip(restored, clean, strict=True):
        picture, wanted = np.clip(picture, 0, 1), wanted / 255
        similarity = structural_similarity(
            picture,
            wanted,
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        values.append((psnr(picture, wanted), similarity))
    return dict(zip(("psnr", "ssim"), np.mean(values, axis=0).tolist(), strict=True))


def median_of(train: Pictures, sigma: float) -> tuple[str, Function]:
    """Choose the size of the median filter on the last training images."""
    clean = train[-20:]
    noisy = spoil(clean, sigma)
    found = {
        size: quality([median_filter(picture, size) for picture in noisy], clean)["psnr"]
        for size in (3, 5, 7)
    }
    best = max(found, key=found.__getitem__)
    return f"median filter {best} x {best}", lambda picture: median_filter(picture, best)


def unet_of(train: Pictures, megapixels: float, network: dict, **params: Any) -> Function:
    """Train a U-Net on a number of pixels, summed over epochs."""
    epochs = 6
    clean = crops(train, int(megapixels * 1e6 / epochs / SIDE**2), SIDE, seed=0)
    model = DenoisingAutoencoder(
        1,
        network=UNetNetwork(**{"channels": (32, 64, 128), "residual": True} | network),
        batch_size=16,
        max_iter=epochs,
        early_stopping=False,
        precision="bfloat16",
        random_state=0,
        verbose=1,
        **params,
    ).fit(clean)
    return lambda picture: restore(picture.astype(np.float32), SIDE, model.reconstruct)


def denoise(
    train: Pictures, tests: dict[str, Pictures], sigma: float, megapixels: float, network: dict
) -> list[dict]:
    """Measure all denoising methods."""
    squares = crops(train, 400, 64, seed=1)
    noise = sigma * np.random.default_rng(1).standard_normal(squares.shape, np.float32)
    start = time.process_time()
    name, median = median_of(train, sigma)
    ways: dict[str, Function] = {
        "noisy": lambda picture: picture,
        name: median,
        "best linear filter": best_filter(squares + noise, squares),
        "DenoisingAutoencoder": unet_of(train, megapixels, network, noise_level=sigma),
    }
    print(
        f"sigma {255 * sigma:.0f}, fitted in {time.process_time() - start:.0f} s of processor time"
    )
    results = []
    for title, clean in tests.items():
        noisy = spoil(clean, sigma)
        for way, function in ways.items():
            found = quality([function(picture) for picture in noisy], clean)
            results.append({"data": title, "sigma": 255 * sigma, "way": way, **found})
            print(f"  {title:10} {way:24} {found['psnr']:6.2f} dB  {found['ssim']:.4f}")
    return results


class Coder(NamedTuple):
    """Functions that encode blocks, decode blocks, and process the decoded image."""

    encode: Function
    decode: Function
    finish: Function = lambda picture: picture


def point(
    coder: Coder, step: float, side: int, train: Pictures, clean: Pictures
) -> tuple[float, float]:
    """Return bits per pixel and PSNR of images, for one step."""

    def rounded(picture: np.ndarray) -> np.ndarray:
        return np.rint(coder.encode(blocks(picture, side)) / step).astype(int)

    lengths = CodeLengths(np.concatenate([rounded(picture) for picture in train]))
    found = []
    for picture in clean:
        numbers = rounded(picture)
        decoded = coder.decode((numbers * step).astype(np.float32))
        pixels = coder.finish(joined(decoded, picture.shape))
        pixels = np.rint(255 * np.clip(pixels, 0, 1)) / 255
        found.append((lengths.bits(numbers) / picture.size, psnr(pixels, picture / 255)))
    rate, ratio = np.mean(found, axis=0).tolist()
    return rate, ratio


def autoencoder_of(rows: np.ndarray, step: float, epochs: int) -> Autoencoder:
    """Train an autoencoder to decode codes rounded to multiples of a step.

    The rounding error has a standard deviation of ``step / sqrt(12)`` in components that
    are not always rounded to zero, and less in the others: noise of a fifth of the step was best.
    """
    spread = np.sqrt(rows.var(axis=0).mean())
    return Autoencoder(
        rows.shape[1],
        input_noise=float(step / 5 / spread),
        hidden_layer_sizes=(512, 512),
        learning_rate_init=1e-3,  # at 0.003 layers of this width may diverge
        max_iter=epochs,
        early_stopping=False,
        random_state=0,
        verbose=1,
    ).fit(rows)


def jpeg(clean: Pictures) -> Curve | None:
    """Return bits and PSNR of JPEG for each quality setting, or None without Pillow."""
    try:
        from PIL import Image
    except ImportError:
        return None
    curve = []
    for setting in (2, 5, 8, 10, 15, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95):
        found = []
        for picture in clean:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "JPEG", quality=setting, optimize=True)
            pixels = np.asarray(Image.open(file)) / 255
            found.append((8 * file.tell() / picture.size, psnr(pixels, picture / 255)))
        rate, ratio = np.mean(found, axis=0).tolist()
        curve.append((rate, ratio))
    return curve


def rounding(pca: PCA, side: int) -> Callable[[Tensor], Tensor]:
    """Return a noise function that rounds the PCA codes of patches with random steps."""

    def noise(rows: Tensor) -> Tensor:
        steps = (16 / 255 * 16 ** torch.rand(len(rows), device=rows.device)).cpu().numpy()
        step = np.repeat(steps, (SIDE // side) ** 2)[:, None]  # the same for all blocks of a patch
        squares = 255 * rows.cpu().numpy().reshape(-1, SIDE)  # one tall image of stacked patches
        codes = np.rint(pca.transform(blocks(squares, side)) / step) * step
        decoded = joined(pca.inverse_transform(codes.astype(np.float32)), squares.shape)
        return torch.from_numpy(decoded.reshape(rows.shape)).to(rows)

    return noise


def compress(
    train: Pictures, tests: dict[str, Pictures], side: int, quick: bool
) -> dict[str, dict[str, Curve]]:
    """Measure rate and distortion of PCA and autoencoders for one block size."""
    n_rows, epochs, megapixels = (30_000, 5, 5) if quick else (150_000, 8, 30)
    rows = crops(train, n_rows, side, seed=2).reshape(n_rows, -1)
    pca = PCA().fit(rows)
    linear = Coder(pca.transform, pca.inverse_transform)
    curves: dict[str, dict[str, Curve]] = {title: {} for title in tests}

    def measure(name: str, coder: Coder, step: float) -> None:
        for title, clean in tests.items():
            found = point(coder, step, side, train, clean)
            curves[title].setdefault(f"{name}, {side} x {side}", []).append(found)

    steps = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    for step in steps:
        measure("PCA", linear, step / 255)
    for step in (12, 24, 48, 96, 192):
        model = autoencoder_of(rows, step / 255, epochs)
        # Codes are in units of the standard deviation of the data.
        unit = float(step / 255 / np.sqrt(rows.var(axis=0).mean()))
        measure("Autoencoder", Coder(model.transform, model.inverse_transform), unit)
    if side == 8:  # patches that overlap by 24 pixels have the same block boundaries
        params = {"noise": rounding(pca, side), "learning_rate_init": 2e-3}
        finish = unet_of(train, megapixels, {}, **params)
        for step in steps[2:]:
            measure("PCA and U-Net", Coder(*linear[:2], finish), step / 255)
    return curves


def interpolated(curve: Curve) -> list[float]:
    """Interpolate PSNR at the rates of the table; NaN outside the range."""
    rates, ratios = np.array(sorted(curve)).T
    return np.interp(np.log(RATES), np.log(rates), ratios, left=np.nan, right=np.nan).tolist()


def compression(train: Pictures, tests: dict[str, Pictures], quick: bool) -> dict:
    """Print the table of rates and distortions; return the curves."""
    tests = {
        title: [
            picture[: len(picture) // 16 * 16, : picture.shape[1] // 16 * 16] for picture in clean
        ]
        for title, clean in tests.items()
    }
    curves: dict[str, dict[str, Curve]] = {title: {} for title in tests}
    for title, clean in tests.items():
        if (curve := jpeg(clean)) is not None:
            curves[title]["JPEG"] = curve
    for side in (8, 16):
        for title, found in compress(train, tests, side, quick).items():
            curves[title] |= found
    for title, found in curves.items():
        print(f"{title:26}" + "".join(f"{rate:7.2f}" for rate in RATES) + "  bits per pixel")
        for name, curve in found.items():
            print(f"  {name:24}" + "".join(f"{value:7.2f}" for value in interpolated(curve)))
    return curves


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="at most one minute per fit")
    parser.add_argument("--validate", action="store_true", help="evaluate on training images")
    parts = ["denoising", "compression"]
    parser.add_argument("--only", nargs="*", default=parts, choices=parts)
    parser.add_argument("--sigma", nargs="*", type=float, default=[15, 25, 50])
    parser.add_argument("--megapixels", type=float, help="of training per U-Net")
    parser.add_argument(
        "--network", type=json.loads, default={}, help="parameters of UNetNetwork, as JSON"
    )
    arguments = parser.parse_args()
    train, tests, source = pictures()
    suffix = ""
    if arguments.validate:
        if len(train) < 120:
            parser.error("--validate needs the images in the folder named by SKLEARN_AE_DATA")
        train, tests, suffix = train[:100], {"held out": train[100:]}, "_validated"
    print(machine())
    print(f"trained on {source}")
    content = {"machine": machine(), "training": source, "arguments": vars(arguments)}
    if "denoising" in arguments.only:
        megapixels = arguments.megapixels or (10 if arguments.quick else 80)
        results = [
            result
            for sigma in arguments.sigma
            for result in denoise(train, tests, sigma / 255, megapixels, arguments.network)
        ]
        write_json(f"pictures_denoising{suffix}", content | {"results": results})
    if "compression" in arguments.only:
        curves = compression(train, tests, arguments.quick)
        write_json(f"pictures_compression{suffix}", content | {"curves": curves})


if __name__ == "__main__":
    main()
