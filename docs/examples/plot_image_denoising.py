"""
Image denoising and compression
===============================

Autoencoders are fitted on patches of the left halves of scikit-learn's two sample images, and
evaluated on the right halves: first they remove noise, then the artefacts of compression.
"""

# %%
# Images
# ------

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import median_filter
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.linear_model import LinearRegression

from sklearn_ae import DenoisingAutoencoder
from sklearn_ae.networks import UNetNetwork

output = Path("demo_output")
output.mkdir(exist_ok=True)

photographs = [picture.astype(np.float32) / 255 for picture in load_sample_images().images]
known = [picture[:424, :320] for picture in photographs]
judged = [picture[:424, 320:] for picture in photographs]


def draw(side, n):
    """Draw patches of the training halves."""
    return np.concatenate(
        [extract_patches_2d(half, (side, side), max_patches=n, random_state=0) for half in known]
    )


def psnr(restored, clean):
    """Return the peak signal-to-noise ratio in dB: 3 dB more mean half the squared error."""
    return -10 * np.log10(np.square(np.clip(restored, 0, 1) - clean).mean())


def show(columns, file):
    """Draw a crop of each test half, clean and as in each column; PSNR is that of the half."""
    parts = np.s_[230:390, 0:160], np.s_[130:290, 0:160]
    n_columns = 1 + len(columns)
    size = (2.2 * n_columns, 5.1)
    figure, axes = plt.subplots(2, n_columns, figsize=size, layout="constrained")
    for line, clean, part, number in zip(axes, judged, parts, range(2), strict=True):
        for cell, (name, pictures) in zip(
            line, {"original": judged, **columns}.items(), strict=True
        ):
            cell.imshow(np.clip(pictures[number][part], 0, 1))
            cell.set(xticks=[], yticks=[])
            if pictures is not judged:
                cell.set_xlabel(f"{psnr(pictures[number], clean):.1f} dB")
            if number == 0:
                cell.set_title(name, fontsize=10)
    figure.savefig(output / file, dpi=120)


# %%
# Denoising
# ---------
# A denoising autoencoder is trained on patches with fresh noise in every epoch. Its network is a
# residual U-Net, which predicts the difference to the noisy patch.

sigma = 25 / 255
side = 32
squares = draw(side, 1000)
training = {
    "batch_size": 8,
    "max_iter": 4,
    "learning_rate_init": 2e-3,
    "early_stopping": False,
    "precision": "bfloat16",
    "random_state": 0,
    "verbose": 1,
}
denoiser = DenoisingAutoencoder(
    1, network=UNetNetwork(residual=True), noise_level=sigma, **training
).fit(squares)

# %%
# An image is cut into patches that overlap by half. The denoised patches are averaged with weights
# that decrease towards the border of a patch.


def restore(denoiser, picture):
    """Denoise the patches of an image and average them."""
    tops, lefts = (
        np.unique([*range(0, length - side, side // 2), length - side])
        for length in picture.shape[:2]
    )
    squares = sliding_window_view(picture, (side, side, 3))[tops[:, None], lefts, 0]
    restored = denoiser.reconstruct(squares.reshape(-1, side, side, 3)).reshape(squares.shape)
    fade = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    fade = np.outer(fade, fade)[:, :, None]
    total, weight = np.zeros(picture.shape), np.zeros((*picture.shape[:2], 1))
    for line, top in zip(restored, tops, strict=True):
        for square, left in zip(line, lefts, strict=True):
            place = np.s_[top : top + side, left : left + side]
            total[place] += fade * square
            weight[place] += fade
    return total / weight


# %%
# The baselines are a median filter of 5 x 5 pixels, and the best linear map from 7 x 7 pixels to
# the central one, fitted on the same halves.

rng = np.random.default_rng(0)
small = draw(7, 10_000)
spoilt = small + sigma * rng.standard_normal(small.shape)
linear = LinearRegression().fit(spoilt.reshape(len(small), -1), small[:, 3, 3])


def linear_map(picture):
    """Replace each pixel by a weighted sum of its neighbours."""
    around = extract_patches_2d(np.pad(picture, ((3, 3), (3, 3), (0, 0)), "reflect"), (7, 7))
    return linear.predict(around.reshape(len(around), -1)).reshape(picture.shape)


noisy = [picture + sigma * rng.standard_normal(picture.shape) for picture in judged]
noisy = [picture.astype(np.float32) for picture in noisy]
columns = {
    "noisy": noisy,
    "median filter": [median_filter(picture, (5, 5, 1)) for picture in noisy],
    "best linear map": [linear_map(picture) for picture in noisy],
    "autoencoder": [restore(denoiser, picture) for picture in noisy],
}
for name, pictures in columns.items():
    print(f"{name:16}", *(f"{psnr(*pair):.1f} dB" for pair in zip(pictures, judged, strict=True)))
show(columns, "pictures_noise.png")

# %%
# Compression
# -----------
# An image is cut into blocks of 8 x 8 pixels, and PCA transforms each block to 192 components,
# which are divided by a step and rounded. The larger the step, the smaller the number of bits that
# an entropy coder needs. Its frequency tables, one per component, are those of the training
# halves.

edge = 8
pca = PCA().fit(draw(edge, 15_000).reshape(30_000, -1))


def encode(pictures, step):
    """Return the rounded codes of the blocks of images, one block per row."""
    n, high, wide = len(pictures), *(length // edge for length in pictures.shape[1:3])
    blocks = pictures.reshape(n, high, edge, wide, edge, 3).swapaxes(2, 3)
    return np.rint(pca.transform(blocks.reshape(n * high * wide, -1)) / step)


def decode(codes, step, shape):
    """Decode rounded codes to images."""
    n, high, wide = shape[0], *(length // edge for length in shape[1:3])
    blocks = pca.inverse_transform((codes * step).astype(np.float32))
    return blocks.reshape(n, high, wide, edge, edge, 3).swapaxes(2, 3).reshape(shape)


def n_bits(codes, counted):
    """Return the bits of rounded codes, with frequency tables of other codes."""
    total = 0
    for column, seen in zip(codes.astype(int).T, counted.astype(int).T, strict=True):
        least, most = min(column.min(), seen.min()), max(column.max(), seen.max())
        counts = np.bincount(seen - least, minlength=most - least + 1) + 0.5
        total -= np.log2(counts / counts.sum())[column - least].sum()
    return total


# %%
# Rounding is a kind of corruption, and ``noise`` may be any function of samples: this one
# compresses them, each with a different step, so that one autoencoder can be used at all rates.
# Unlike PCA, it uses the context across the edges of the blocks.


def rounding(rows):
    """Compress patches and decode them."""
    steps = (0.15 * 8 ** torch.rand(len(rows), device=rows.device)).cpu().numpy()
    step = np.repeat(steps, (side // edge) ** 2)[:, None]  # the same for all blocks of a patch
    pictures = rows.cpu().numpy().reshape(-1, side, side, 3)
    decoded = decode(encode(pictures, step), step, pictures.shape)
    return torch.from_numpy(decoded.reshape(rows.shape)).to(rows)


smoother = DenoisingAutoencoder(
    1, network=UNetNetwork(residual=True), noise=rounding, **training
).fit(squares)

results = []
for step in (0.2, 0.35, 0.6, 1.0):
    codes = encode(np.stack(judged), step)
    rate = n_bits(codes, encode(np.stack(known), step)) / np.stack(judged)[..., 0].size
    decoded = decode(codes, step, np.stack(judged).shape)
    smooth = [restore(smoother, picture) for picture in decoded]
    results.append((rate, decoded, smooth))

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for place, name, style in (1, "PCA", "o--"), (2, "PCA and autoencoder", "s-"):
    points = [
        (found[0], np.mean([psnr(*pair) for pair in zip(found[place], judged, strict=True)]))
        for found in results
    ]
    axes.plot(*np.transpose(points), style, label=name)
    print(f"{name:20}", *(f"{rate:.2f} bits: {ratio:.1f} dB  " for rate, ratio in points))
axes.set(xlabel="bits per pixel", ylabel="PSNR in dB")
axes.legend()
figure.savefig(output / "pictures_rate.png", dpi=120)

# %%
# The original images have 24 bits per pixel.

rate, decoded, smooth = results[2]
show({f"PCA, {rate:.2f} bits": decoded, "PCA and autoencoder": smooth}, "pictures_bits.png")
