"""Image denoising: a U-Net compared with the best linear map.

Gaussian noise is added to images with pixels in [0, 1] and the result clipped to [0, 1]. The
linear map is the least-squares fit on all training images and their noisy copies. The U-Net is
trained once on one noisy copy of each image, ``UNetAutoencoder().fit(noisy, clean)``, and once on
fresh noise in every epoch, ``DenoisingAutoencoder(network=UNetNetwork())``. The metric is ``PSNR =
10 log10(1 / MSE)`` in dB over all pixels of the 10,000 test images. Run::

    python benchmarks/image_denoising.py [--quick] [--params '{"max_iter": 3}']

Fashion-MNIST is read from the folder ``fashion-mnist`` of the data, or from Debian's
package ``dataset-fashion-mnist``, or else downloaded from OpenML.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
import torch
from _data import data_folder, machine, mnist, write_json
from sklearn.datasets import fetch_openml

from sklearn_ae import DenoisingAutoencoder, UNetAutoencoder
from sklearn_ae.networks import UNetNetwork

Images = tuple[np.ndarray, np.ndarray]


def fashion() -> Images | None:
    """Load training and test images of Fashion-MNIST; return None if unavailable."""
    folders = [Path("/usr/share/datasets/fashion-mnist")]
    if data_folder() is not None:
        folders.insert(0, data_folder() / "fashion-mnist")
    for folder in folders:
        if folder.is_dir():
            parts = []
            for name in ("train", "t10k"):
                with gzip.open(folder / f"{name}-images-idx3-ubyte.gz") as file:
                    parts.append(np.frombuffer(file.read(), np.uint8, offset=16))
            return tuple(part.reshape(-1, 28, 28).astype(np.float32) / 255 for part in parts)
    try:
        images = fetch_openml("Fashion-MNIST", as_frame=False).data
    except OSError:
        return None
    images = (images / 255).astype(np.float32).reshape(-1, 28, 28)
    return images[:60000], images[60000:]


def psnr(restored: np.ndarray, clean: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of pixels in [0, 1], in dB."""
    error = np.square(restored - clean.reshape(restored.shape), dtype=np.float64).mean()
    return float(-10 * np.log10(error))


def linear_map(noisy: np.ndarray, clean: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Denoise test images by the least-squares affine map."""
    rows, wanted = (
        images.reshape(len(images), -1).astype(np.float64) for images in (noisy, clean)
    )
    center, mean = rows.mean(0), wanted.mean(0)
    rows -= center
    weights = np.linalg.solve(rows.T @ rows + 1e-6 * np.eye(rows.shape[1]), rows.T @ wanted)
    return (test.reshape(len(test), -1) - center) @ weights + mean


def compare(images: Images, sigma: float, params: dict, network: dict) -> dict[str, float]:
    """Measure the PSNR of noisy images, the linear map and both trainings of a U-Net."""
    train, test = images
    rng = np.random.default_rng(0)
    noisy, noisy_test = (
        np.clip(part + sigma * rng.standard_normal(part.shape, np.float32), 0, 1)
        for part in images
    )
    result = {
        "noisy": psnr(noisy_test, test),
        "linear map": psnr(linear_map(noisy, train, noisy_test), test),
    }

    def spoil(x: torch.Tensor) -> torch.Tensor:
        return (x + sigma * torch.randn_like(x)).clamp(0, 1)

    fits = {
        "UNetAutoencoder": lambda: UNetAutoencoder(**params, **network).fit(noisy, train),
        "DenoisingAutoencoder": lambda: DenoisingAutoencoder(
            **params, noise=spoil, network=UNetNetwork(**network)
        ).fit(train),
    }
    for name, fit in fits.items():
        start = time.perf_counter()
        model = fit()
        result[f"{name}, seconds"] = time.perf_counter() - start
        result[name] = psnr(model.reconstruct(noisy_test), test)
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one minute per fit: fewer images")
    parser.add_argument(
        "--params", type=json.loads, default={}, help="parameters of both estimators, as JSON"
    )
    parser.add_argument(
        "--network", type=json.loads, default={}, help="parameters of UNetNetwork, as JSON"
    )
    arguments = parser.parse_args()
    params = {
        "n_components": 32,
        "learning_rate_init": 5e-3,
        "batch_size": 64,
        "max_iter": 2 if arguments.quick else 4,
        "early_stopping": False,
        "precision": "bfloat16",
        "random_state": 0,
        "verbose": 1,
    } | arguments.params
    print(machine())
    print(params, arguments.network)
    train, test, *_, source = mnist()
    sets = {
        (source, 0.5): (train.reshape(-1, 28, 28), test.reshape(-1, 28, 28)),
        ("Fashion-MNIST", 0.2): fashion(),
    }
    results = []
    for (name, sigma), images in sets.items():
        if images is None:
            print(f"{name}: missing")
            continue
        n_train = 10_000 if arguments.quick else len(images[0])
        images = images[0][:n_train], images[1]
        result = compare(images, sigma, params, arguments.network)
        results.append({"data": name, "sigma": sigma, "training images": n_train, **result})
        print(f"{name}, sigma {sigma}, {n_train} training images")
        for key in ("noisy", "linear map", "UNetAutoencoder", "DenoisingAutoencoder"):
            seconds = result.get(f"{key}, seconds")
            took = "" if seconds is None else f"  in {seconds:.0f} s"
            gain = result[key] - result["linear map"]
            print(f"  {key:22} {result[key]:6.2f} dB  {gain:+6.2f}{took}", flush=True)
    content = {"machine": machine(), "params": params, "network": arguments.network}
    write_json("image_denoising", content | {"results": results})


if __name__ == "__main__":
    main()
