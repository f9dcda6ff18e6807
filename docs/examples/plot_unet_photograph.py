"""
Denoising a photograph with a U-Net
===================================

A U-Net without dense layers is fitted on small patches and then applied to whole images of any
size. It is trained on the left halves of two photographs and removes noise from the right
halves.
"""

# %%
# Training
# --------
# The noise has a standard deviation of 25 grey levels of 256, and is drawn anew in every epoch.
# With ``residual=True`` the network predicts the difference from the noisy image.

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import median_filter
from sklearn.datasets import load_sample_images
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.linear_model import LinearRegression

from sklearn_ae import DenoisingAutoencoder
from sklearn_ae.networks import UNetNetwork

SIGMA = 25 / 255
photographs = [image[:424].astype(np.float32) / 255 for image in load_sample_images().images]
left, right = ([image[:, part] for image in photographs] for part in (np.s_[:320], np.s_[320:]))


def patches(side, n_patches):
    return np.concatenate(
        [
            extract_patches_2d(image, (side, side), max_patches=n_patches, random_state=0)
            for image in left
        ]
    )


denoiser = DenoisingAutoencoder(
    None,
    network=UNetNetwork(channels=(16, 32), residual=True),
    noise_level=SIGMA,
    batch_size=8,
    max_iter=5,
    learning_rate_init=2e-3,
    early_stopping=False,
    random_state=0,
).fit(patches(32, 800))

# %%
# Linear filters
# --------------
# The best linear filter of 7 x 7 pixels is fitted on the same halves.

rng = np.random.default_rng(0)


def add_noise(image):
    return image + SIGMA * rng.standard_normal(image.shape).astype(np.float32)


def psnr(restored, clean):
    """Return the peak signal-to-noise ratio in dB: 3 dB more mean half the squared error."""
    return -10 * np.log10(np.square(np.clip(restored, 0, 1) - clean).mean())


def windows(image):
    """Return the 7 x 7 pixels around each pixel as rows."""
    padded = np.pad(image, ((3, 3), (3, 3), (0, 0)), "reflect")
    return extract_patches_2d(padded, (7, 7)).reshape(-1, 147)


small = patches(7, 10_000)
linear = LinearRegression().fit(add_noise(small).reshape(len(small), -1), small[:, 3, 3])

# %%
# Restored images
# ---------------

filters = {
    "noisy": lambda image: image,
    "median filter": lambda image: median_filter(image, (3, 3, 1)),
    "best linear filter": lambda image: linear.predict(windows(image)).reshape(image.shape),
    "U-Net": lambda image: denoiser.reconstruct(image[None])[0],
}
crops = np.s_[230:350, 20:140], np.s_[130:250, 20:140]
figure, axes = plt.subplots(2, 5, figsize=(10, 4.5), layout="constrained")
for line, clean, crop in zip(axes, right, crops, strict=True):
    noisy = add_noise(clean)
    line[0].imshow(clean[crop])
    for ax, (name, restore) in zip(line[1:], filters.items(), strict=True):
        restored = np.clip(restore(noisy), 0, 1)
        ax.imshow(restored[crop])
        ax.set_title(f"{name}\n{psnr(restored, clean):.1f} dB", fontsize=10)
axes[0, 0].set_title("clean", fontsize=10)
for ax in axes.flat:
    ax.set_axis_off()
plt.show()
