"""Data for the benchmarks: from the folder named by SKLEARN_AE_DATA, or from scikit-learn."""

from __future__ import annotations

import gzip
import json
import os
import platform
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn import datasets

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Folder of Debian's package dataset-fashion-mnist."""

RESULTS = Path(__file__).parent / "results"


def data_folder() -> Path | None:
    """Return the folder of the data, or None if there is none."""
    folder = os.environ.get("SKLEARN_AE_DATA")
    return Path(folder) if folder and Path(folder).is_dir() else None


def bundled_tables() -> dict[str, np.ndarray]:
    """Load the tables that come with scikit-learn."""
    names = ["breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine"]
    return {name: getattr(datasets, f"load_{name}")().data for name in names}


def anomaly_tables() -> dict[str, np.ndarray]:
    """Load the tables of ADBench, if available."""
    folder = data_folder()
    if folder is None:
        return {}
    files = sorted((folder / "adbench").glob("*.npz"))
    return {file.stem: np.load(file)["X"].astype(np.float64) for file in files}


def mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    """Load MNIST: training and test images in [0, 1], flat; their labels; the source."""
    folder = data_folder()
    if folder is None:
        images, labels = datasets.fetch_openml("mnist_784", return_X_y=True, as_frame=False)
        images, labels = (images / 255).astype(np.float32), labels.astype(int)
        return images[:60000], images[60000:], labels[:60000], labels[60000:], "OpenML mnist_784"

    return *_idx(folder / "mnist"), "MNIST, IDX files"


def fashion_mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, str]:
    """Load Fashion-MNIST, like :func:`mnist`, from Debian's package or else from OpenML."""
    if FASHION.is_dir():
        return *_idx(FASHION), "Fashion-MNIST, Debian's dataset-fashion-mnist"
    images, labels = datasets.fetch_openml("Fashion-MNIST", return_X_y=True, as_frame=False)
    images, labels = (images / 255).astype(np.float32), labels.astype(int)
    return images[:60000], images[60000:], labels[:60000], labels[60000:], "OpenML Fashion-MNIST"


def _idx(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read the four IDX files of MNIST or of a data set in its format."""

    def read(name: str, offset: int) -> np.ndarray:
        with gzip.open(folder / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=offset)

    train, test = (
        read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 784).astype(np.float32) / 255
        for part in ("train", "t10k")
    )
    labels = [read(f"{part}-labels-idx1-ubyte.gz", 8).astype(int) for part in ("train", "t10k")]
    return train, test, labels[0], labels[1]


def newsgroups() -> tuple[tuple[list[str], np.ndarray], tuple[list[str], np.ndarray], str]:
    """Load 20 Newsgroups by date: texts and groups of training and test posts, and the source."""
    folder = data_folder()
    if folder is None:
        parts = [datasets.fetch_20newsgroups(subset=part) for part in ("train", "test")]
        train, test = ((part.data, part.target) for part in parts)
        return train, test, "scikit-learn's fetch_20newsgroups"

    def read(part: str) -> tuple[list[str], np.ndarray]:
        with gzip.open(folder / "newsgroups" / f"{part}.jsonl.gz", "rt") as file:
            posts = [json.loads(line) for line in file]
        groups = np.unique([post["label"] for post in posts], return_inverse=True)[1]
        return [post["text"] for post in posts], groups

    return read("train"), read("test"), "20 Newsgroups by date, JSON lines"


def pictures() -> tuple[list[np.ndarray], dict[str, list[np.ndarray]], str]:
    """Load greyscale images as bytes: training images, test sets by name, and the source."""
    luminance = np.array([0.299, 0.587, 0.114])
    bundled = [
        np.rint(p @ luminance).astype(np.uint8) for p in datasets.load_sample_images().images
    ]
    folder = data_folder()
    if folder is None:
        return bundled[:1], {"flower.jpg": bundled[1:]}, "china.jpg of scikit-learn"
    with np.load(folder / "images" / "bsd_train_gray.npz") as file:
        train = list(file["images"])
    with np.load(folder / "images" / "set12_gray.npz") as file:
        standard = [file[name] for name in sorted(file.files)]
    return train, {"Set12": standard, "bundled": bundled}, f"{len(train)} images of BSDS"


def machine() -> str:
    """Return one line that describes the hardware and the versions."""
    capabilities = torch.cpu.get_capabilities()
    return (
        f"{capabilities.get('cpu_name', platform.processor())}, "
        f"{torch.get_num_threads()} thread(s), torch {torch.__version__}, "
        f"scikit-learn {sklearn.__version__}"
    )


def write_json(name: str, content: dict) -> None:
    """Write a result as JSON."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, default=float) + "\n")
