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

**Compression.** Pictures are cut into blocks, blocks encoded, codes divided by a step and
rounded, and decoded; pixels are rounded to bytes. The rate counts the bits that an ideal entropy
coder needs for the rounded codes of the test pictures, a table for each component, made from the
training pictures (see ``CodeLengths``); tables and weights are the coder's and do not count. It is
averaged over pictures as PSNR is, step by step, and PSNR is interpolated between the rates. PCA
keeps all components: with an entropy coder those that round to zero are free, and any smaller
number of them was worse. Each autoencoder is trained for one step, under noise of the size of its
rounding error. JPEG (Pillow, optimised tables) counts its files, headers included.

``--validate`` trains on the first 100 pictures and judges on the other 20. All settings were
chosen so; Set12 was looked at once.
"""

from __future__ import annotations

import argparse
import io
import json
import time

import numpy as np
from _data import machine, pictures, write_json
from _pictures import CodeLengths, Function, best_filter, blocks, crops, psnr, restore
from scipy.ndimage import median_filter
from skimage.metrics import structural_similarity
from sklearn.decomposition import PCA

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
        (picture / 255 + sigma * np.random.default_rng(number).standard_normal(picture.shape))
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


def unet_of(train: Pictures, sigma: float, megapixels: float, network: dict) -> Function:
    """Train a U-Net on so many pixels, counted as often as they are seen."""
    epochs = 6
    clean = crops(train, int(megapixels * 1e6 / epochs / SIDE**2), SIDE, seed=0)
    model = DenoisingAutoencoder(
        1,
        network=UNetNetwork(**{"channels": (32, 64, 128), "residual": True} | network),
        noise_level=sigma,
        batch_size=16,
        max_iter=epochs,
        early_stopping=False,
        precision="bfloat16",
        random_state=0,
        verbose=1,
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
        "DenoisingAutoencoder": unet_of(train, sigma, megapixels, network),
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


def point(
    encode: Function,
    decode: Function,
    step: float,
    train: np.ndarray,
    tests: list[np.ndarray],
) -> tuple[float, float]:
    """Return bits a pixel and PSNR of pictures, cut into blocks, at one step."""
    lengths = CodeLengths(np.rint(encode(train) / step).astype(int))
    found = []
    for rows in tests:
        numbers = np.rint(encode(rows) / step).astype(int)
        pixels = np.rint(255 * np.clip(decode((numbers * step).astype(np.float32)), 0, 1)) / 255
        found.append((lengths.bits(numbers) / rows.size, psnr(pixels, rows)))
    rate, ratio = np.mean(found, axis=0).tolist()
    return rate, ratio


def autoencoder_of(rows: np.ndarray, step: float, epochs: int) -> Autoencoder:
    """Train an autoencoder to decode what was rounded to multiples of a step."""
    spread = np.sqrt(rows.var(axis=0).mean())
    return Autoencoder(
        rows.shape[1],
        input_noise=float(step / np.sqrt(12) / spread),
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


def compress(
    train: Pictures, tests: dict[str, Pictures], side: int, n_rows: int, epochs: int
) -> dict[str, dict[str, Curve]]:
    """Measure rate and distortion of PCA and of autoencoders on blocks of one size."""
    coded = np.concatenate([blocks(picture, side) for picture in train])
    cut = {title: [blocks(picture, side) for picture in clean] for title, clean in tests.items()}
    rows = crops(train, n_rows, side, seed=2).reshape(n_rows, -1)
    pca = PCA().fit(rows)
    curves: dict[str, dict[str, Curve]] = {title: {} for title in tests}

    def measure(name: str, encode: Function, decode: Function, step: float) -> None:
        for title, blocks_of in cut.items():
            found = point(encode, decode, step, coded, blocks_of)
            curves[title].setdefault(f"{name}, {side} x {side}", []).append(found)

    for step in (6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256):
        measure("PCA", pca.transform, pca.inverse_transform, step / 255)
    for step in (16, 32, 64, 128, 192):
        model = autoencoder_of(rows, step / 255, epochs)
        # Its codes are in units of the spread of the rows, as PCA's would be of scaled ones.
        unit = step / 255 / np.sqrt(rows.var(axis=0).mean())
        measure("Autoencoder", model.transform, model.inverse_transform, float(unit))
    return curves


def interpolated(curve: Curve) -> list[float]:
    """PSNR at the rates to compare at; NaN beyond the ends."""
    rates, ratios = np.array(sorted(curve)).T
    return np.interp(np.log(RATES), np.log(rates), ratios, left=np.nan, right=np.nan).tolist()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute for each fit at most")
    parser.add_argument("--validate", action="store_true", help="judge on training pictures")
    parser.add_argument("--only", nargs="*", default=["denoising", "compression"])
    parser.add_argument("--sigma", nargs="*", type=float, default=[15, 25, 50])
    parser.add_argument("--megapixels", type=float, help="that each U-Net sees")
    parser.add_argument("--network", type=json.loads, default={}, help="of UNetNetwork, as JSON")
    arguments = parser.parse_args()
    train, tests, source = pictures()
    if arguments.validate:
        train, tests = train[:100], {"held out": train[100:]}
    print(machine())
    print(f"trained on {source}")
    content: dict = {"machine": machine(), "training": source, "arguments": vars(arguments)}
    if "denoising" in arguments.only:
        megapixels = arguments.megapixels or (10 if arguments.quick else 80)
        content["denoising"] = [
            result
            for sigma in arguments.sigma
            for result in denoise(train, tests, sigma / 255, megapixels, arguments.network)
        ]
    if "compression" in arguments.only:
        content["compression"] = compression(train, tests, arguments.quick)
    name = "pictures_validated" if arguments.validate else "pictures"
    write_json(name, content)


def compression(train: Pictures, tests: dict[str, Pictures], quick: bool) -> dict:
    """Print the table of rates and distortions; return the curves."""
    sizes = {8: (50_000, 5), 16: (50_000, 5)} if quick else {8: (200_000, 20), 16: (200_000, 20)}
    curves: dict[str, dict[str, Curve]] = {title: {} for title in tests}
    for title, clean in tests.items():
        if (curve := jpeg(clean)) is not None:
            curves[title]["JPEG"] = curve
    for side, (n_rows, epochs) in sizes.items():
        for title, found in compress(train, tests, side, n_rows, epochs).items():
            curves[title] |= found
    for title, found in curves.items():
        print(f"{title:26}" + "".join(f"{rate:7.2f}" for rate in RATES) + "  bits a pixel")
        for name, curve in found.items():
            print(f"  {name:24}" + "".join(f"{value:7.2f}" for value in interpolated(curve)))
    return curves


if __name__ == "__main__":
    main()
