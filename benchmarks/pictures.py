"""Photographs: noise taken off them, and bits saved on them.

Trained on 120 grey pictures of 180 x 180 (BSDS), judged on the twelve standard test pictures
(Set12) and on scikit-learn's two. Without the folder of the data: trained on ``china.jpg`` and
judged on ``flower.jpg``. Run::

    python benchmarks/pictures.py [--quick] [--validate] [--only denoising compression]

**Denoising.** Gaussian noise is added and not clipped; results are, to [0, 1], before PSNR and
SSIM (Gaussian window of 1.5 pixels) are taken picture by picture and averaged. Rows: the noisy
pictures; the median filter, its size the best of three on training pictures; the linear filter of
15 x 15 neighbours that is best in least squares on the training pictures; and
``DenoisingAutoencoder(network=UNetNetwork(residual=True))``, trained on crops with fresh noise in
every epoch, which restores overlapping squares that are averaged with a window.

**Compression.** Pictures are cut into blocks, blocks encoded, codes divided by a step and rounded,
and decoded; pixels are rounded to bytes. The rate counts the bits that an ideal entropy coder
needs for the rounded codes of the test pictures, a table for each component, made from the
training pictures (see ``CodeLengths``); tables and weights are the coder's and do not count. Rates
and PSNR are averaged over pictures, step by step, and PSNR is interpolated at the rates of the
table. All components are kept: those that round to zero cost next to nothing. Each autoencoder is
trained for one step, under noise on what it sees. "PCA and U-Net" has the bits of PCA, and a
``DenoisingAutoencoder`` whose noise is that very rounding, of any step, restores whole pictures
after it. JPEG (Pillow, optimised tables) counts its files, headers included. All see the pictures
cut to multiples of 16 pixels.

``--validate`` trains on the first 100 pictures and judges on the other 20. All settings were
chosen so, none on the test pictures.
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
"""Bits a pixel and PSNR, averaged over pictures, step by step."""

SIDE = 48
"""Of the squares that the U-Net sees, in pixels."""

RATES = (0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)
"""Bits a pixel to compare at."""


def spoil(clean: Pictures, sigma: float) -> Pictures:
    """Add noise to pictures of bytes; return pixels in units of their range."""
    return [
        picture / 255 + sigma * np.random.default_rng(number).standard_normal(picture.shape)
        for number, picture in enumerate(clean)
    ]


def quality(restored: Pictures, clean: Pictures) -> dict[str, float]:
    """Average PSNR and SSIM over pictures."""
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
    """Choose the median filter that restores the last training pictures best."""
    clean = train[-20:]
    noisy = spoil(clean, sigma)
    found = {
        size: quality([median_filter(picture, size) for picture in noisy], clean)["psnr"]
        for size in (3, 5, 7)
    }
    best = max(found, key=found.__getitem__)
    return f"median filter {best} x {best}", lambda picture: median_filter(picture, best)


def unet_of(train: Pictures, megapixels: float, network: dict, **params: Any) -> Function:
    """Train a U-Net on so many pixels, counted as often as they are seen."""
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
    """Measure every way to take the noise off."""
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
    print(f"sigma {255 * sigma:.0f}, fitted in {time.process_time() - start:.0f} s of a processor")
    results = []
    for title, clean in tests.items():
        noisy = spoil(clean, sigma)
        for way, function in ways.items():
            found = quality([function(picture) for picture in noisy], clean)
            results.append({"data": title, "sigma": 255 * sigma, "way": way, **found})
            print(f"  {title:10} {way:24} {found['psnr']:6.2f} dB  {found['ssim']:.4f}")
    return results


class Coder(NamedTuple):
    """What makes codes of blocks, blocks of codes, and something of the joined blocks."""

    encode: Function
    decode: Function
    finish: Function = lambda picture: picture


def point(
    coder: Coder, step: float, side: int, train: Pictures, clean: Pictures
) -> tuple[float, float]:
    """Return bits a pixel and PSNR of pictures, at one step."""

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
    """Train an autoencoder to decode what was rounded to multiples of a step.

    The error of rounding has a standard deviation of ``step / sqrt(12)`` in the components that
    do not all become zero, and less in the others: a fifth of the step served best.
    """
    spread = np.sqrt(rows.var(axis=0).mean())
    return Autoencoder(
        rows.shape[1],
        input_noise=float(step / 5 / spread),
        hidden_layer_sizes=(512, 512),
        learning_rate_init=1e-3,  # at 0.003 a loss of layers as wide as this may explode
        max_iter=epochs,
        early_stopping=False,
        random_state=0,
        verbose=1,
    ).fit(rows)


def jpeg(clean: Pictures) -> Curve | None:
    """Bits and PSNR of JPEG, quality by quality, or None without Pillow."""
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
    """Make a noise of what rounding to any step does to the codes of squares."""

    def noise(rows: Tensor) -> Tensor:
        steps = (16 / 255 * 16 ** torch.rand(len(rows), device=rows.device)).cpu().numpy()
        step = np.repeat(steps, (SIDE // side) ** 2)[:, None]  # one for the blocks of a square
        squares = 255 * rows.cpu().numpy().reshape(-1, SIDE)  # a tall picture: one above the other
        codes = np.rint(pca.transform(blocks(squares, side)) / step) * step
        decoded = joined(pca.inverse_transform(codes.astype(np.float32)), squares.shape)
        return torch.from_numpy(decoded.reshape(rows.shape)).to(rows)

    return noise


def compress(
    train: Pictures, tests: dict[str, Pictures], side: int, quick: bool
) -> dict[str, dict[str, Curve]]:
    """Measure rate and distortion of PCA and of autoencoders on blocks of one size."""
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
        # Codes are in units of the spread of the rows.
        unit = float(step / 255 / np.sqrt(rows.var(axis=0).mean()))
        measure("Autoencoder", Coder(model.transform, model.inverse_transform), unit)
    if side == 8:  # squares that overlap by 24 pixels agree on the blocks
        params = {"noise": rounding(pca, side), "learning_rate_init": 2e-3}
        finish = unet_of(train, megapixels, {}, **params)
        for step in steps[2:]:
            measure("PCA and U-Net", Coder(*linear[:2], finish), step / 255)
    return curves


def interpolated(curve: Curve) -> list[float]:
    """PSNR at the rates to compare at; NaN beyond the ends."""
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
        print(f"{title:26}" + "".join(f"{rate:7.2f}" for rate in RATES) + "  bits a pixel")
        for name, curve in found.items():
            print(f"  {name:24}" + "".join(f"{value:7.2f}" for value in interpolated(curve)))
    return curves


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute for each fit at most")
    parser.add_argument("--validate", action="store_true", help="judge on training pictures")
    parts = ["denoising", "compression"]
    parser.add_argument("--only", nargs="*", default=parts, choices=parts)
    parser.add_argument("--sigma", nargs="*", type=float, default=[15, 25, 50])
    parser.add_argument("--megapixels", type=float, help="that each U-Net sees")
    parser.add_argument("--network", type=json.loads, default={}, help="of UNetNetwork, as JSON")
    arguments = parser.parse_args()
    train, tests, source = pictures()
    suffix = ""
    if arguments.validate:
        if len(train) < 120:
            parser.error("--validate needs the pictures in the folder named by SKLEARN_AE_DATA")
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
