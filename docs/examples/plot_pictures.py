"""
Photographs: less noise, fewer bits
===================================

Two photographs come with scikit-learn. An autoencoder learns on the first, a temple in China, and
is judged on the second, a flower: what noise it takes off, and in how few bits it keeps a picture.
"""

# %%
# The pictures
# ------------

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import median_filter
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.linear_model import LinearRegression

from sklearn_ae import Autoencoder, DenoisingAutoencoder
from sklearn_ae.networks import UNetNetwork

output = Path("demo_output")
output.mkdir(exist_ok=True)

temple, flower = (picture.astype(np.float32) / 255 for picture in load_sample_images().images)
rng = np.random.default_rng(0)


def psnr(restored, clean):
    """Peak signal-to-noise ratio, in dB; three dB are half the squared error."""
    return -10 * np.log10(np.square(np.clip(restored, 0, 1) - clean).mean())


def show(pictures, columns, file):
    """Draw the same part of several pictures, with the PSNR of each."""
    part = np.s_[130:290, 220:460]
    lines = -(-len(pictures) // columns)
    size = (3.3 * columns, 2.6 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, layout="constrained")
    for cell in axes.flat:
        cell.axis("off")
    for cell, (name, picture) in zip(axes.flat, pictures.items(), strict=False):
        cell.imshow(np.clip(picture[part], 0, 1))
        judged = "" if picture is flower else f"\n{psnr(picture, flower):.1f} dB"
        cell.set_title(name + judged, fontsize=10)
    figure.savefig(output / file, dpi=120)


# %%
# Noise
# -----
# A denoising autoencoder sees squares of the temple with fresh noise in every epoch, and is asked
# for the clean ones. Its network is a residual U-Net: it says what to add to a square.

sigma = 25 / 255
side = 32
squares = extract_patches_2d(temple, (side, side), max_patches=2500, random_state=0)
denoiser = DenoisingAutoencoder(
    1,
    network=UNetNetwork(residual=True),
    noise_level=sigma,
    batch_size=16,
    max_iter=5,
    early_stopping=False,
    precision="bfloat16",
    random_state=0,
    verbose=1,
).fit(squares)

# %%
# A picture is cut into squares that overlap by half. Restored, they are joined again with weights
# that fade towards their rims.


def overlapping(picture):
    """Upper left corners of the squares, and the squares."""
    ends = [length - side for length in picture.shape[:2]]
    corners = [np.unique([*range(0, end, side // 2), end]) for end in ends]
    windows = sliding_window_view(picture, (side, side), axis=(0, 1))
    return corners, np.moveaxis(windows[np.ix_(*corners)], 2, -1)


def joined(corners, squares, shape):
    """The picture that overlapping squares make."""
    fade = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    fade = np.outer(fade, fade)[:, :, None]
    total, weight = np.zeros(shape), np.zeros((*shape[:2], 1))
    for line, top in zip(squares, corners[0], strict=True):
        for square, left in zip(line, corners[1], strict=True):
            place = np.s_[top : top + side, left : left + side]
            total[place] += fade * square
            weight[place] += fade
    return total / weight


noisy = flower + sigma * rng.standard_normal(flower.shape).astype(np.float32)
corners, pieces = overlapping(noisy)
restored = denoiser.reconstruct(pieces.reshape(-1, side, side, 3)).reshape(pieces.shape)
restored = joined(corners, restored, flower.shape)

# %%
# Beside it the median of 5 x 5 pixels, and the best linear map from 7 x 7 pixels to the one in
# their middle, learnt from the temple too.

small = extract_patches_2d(temple, (7, 7), max_patches=20_000, random_state=0)
spoilt = small + sigma * rng.standard_normal(small.shape)
linear = LinearRegression().fit(spoilt.reshape(len(small), -1), small[:, 3, 3])
around = extract_patches_2d(np.pad(noisy, ((3, 3), (3, 3), (0, 0)), "reflect"), (7, 7))
pictures = {
    "original": flower,
    "noisy": noisy,
    "median filter": median_filter(noisy, (5, 5, 1)),
    "best linear map": linear.predict(around.reshape(len(around), -1)).reshape(flower.shape),
    "autoencoder": restored,
}
for name, picture in pictures.items():
    print(f"{name:18} {psnr(picture, flower):5.1f} dB")
show(pictures, 3, "pictures_noise.png")

# %%
# Bits
# ----
# Now the flower is cut into blocks of 8 x 8 pixels. The 192 numbers of a block are encoded,
# divided by a step, and rounded. The larger the step, the fewer bits: those that an entropy coder
# needs whose tables, one for each component, were counted on the temple.

edge = 8


def blocks(picture):
    """Blocks side by side, one a row."""
    high, wide = (length // edge for length in picture.shape[:2])
    cut = picture[: high * edge, : wide * edge].reshape(high, edge, wide, edge, 3)
    return cut.swapaxes(1, 2).reshape(high * wide, -1)


def whole(rows, picture):
    """The picture that blocks make; the rest of it as it was."""
    high, wide = (length // edge for length in picture.shape[:2])
    result = picture.copy()
    cut = rows.reshape(high, wide, edge, edge, 3).swapaxes(1, 2)
    result[: high * edge, : wide * edge] = cut.reshape(high * edge, wide * edge, 3)
    return result


def n_bits(codes, known):
    """Bits of rounded codes, with tables counted on others."""
    total = 0
    for column, seen in zip(codes.T, known.T, strict=True):
        least, most = min(column.min(), seen.min()), max(column.max(), seen.max())
        counts = np.bincount(seen - least, minlength=most - least + 1) + 0.5
        total -= np.log2(counts / counts.sum())[column - least].sum()
    return total


def compress(model, step):
    """Bits a pixel, and the picture that comes back."""
    codes, known = (
        np.rint(model.transform(blocks(picture)) / step).astype(int)
        for picture in (flower, temple)
    )
    back = whole(model.inverse_transform((codes * step).astype(np.float32)), flower)
    return n_bits(codes, known) / flower[..., 0].size, back


# %%
# Rounding is noise of ``step / sqrt(12)`` in each component. ``Autoencoder`` starts at PCA; with
# noise of that size on what it sees it learns to decode what was rounded. Its codes are in units
# of the rows' standard deviation.

rows = extract_patches_2d(temple, (edge, edge), max_patches=30_000, random_state=0)
rows = rows.reshape(len(rows), -1)
spread = np.sqrt(rows.var(axis=0).mean())
pca = PCA().fit(rows)
curves = {"PCA": [], "Autoencoder": []}
for step in (0.12, 0.25, 0.5, 1.0):
    autoencoder = Autoencoder(
        192,
        input_noise=step / np.sqrt(12) / spread,
        max_iter=10,
        early_stopping=False,
        random_state=0,
    ).fit(rows)
    curves["PCA"].append(compress(pca, step))
    curves["Autoencoder"].append(compress(autoencoder, step / spread))

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
for (name, curve), style in zip(curves.items(), ("o--", "s-"), strict=True):
    points = [(rate, psnr(picture, flower)) for rate, picture in curve]
    axes.plot(*np.transpose(points), style, label=name)
    print(f"{name:12}", *(f"{rate:.2f} bits a pixel: {ratio:.1f} dB   " for rate, ratio in points))
axes.set(xlabel="bits a pixel", ylabel="PSNR in dB", xscale="log")
axes.legend()
figure.savefig(output / "pictures_rate.png", dpi=120)

# %%
# The flower in few bits
# ----------------------

pictures = {"original, 24 bits a pixel": flower}
for name, curve in curves.items():
    rate, picture = curve[2]
    pictures[f"{name}, {rate:.2f} bits a pixel"] = picture
show(pictures, 3, "pictures_bits.png")
