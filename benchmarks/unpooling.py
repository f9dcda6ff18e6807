"""Compare unpooling by switches, repetition and transposed convolutions at sizes 2, 4 and 7.

Autoencoders with one convolution, one pooling and 32 components on MNIST in [0, 1]; the
error is the squared error per pixel, averaged over the 10,000 test images. Switches, the recorded
positions of maxima, are part of the code: the last columns show their number and their bits. Run::

    python benchmarks/unpooling.py [--quick] [--params '{"channels": [16, 32]}']
"""

from __future__ import annotations

import argparse
import json
import math
import time

import numpy as np
from _data import machine, mnist, write_json

from sklearn_ae import ConvolutionalAutoencoder


def measure(train: np.ndarray, test: np.ndarray, params: dict) -> dict[str, float]:
    """Fit one autoencoder and evaluate it on the test images."""
    start = time.perf_counter()
    autoencoder = ConvolutionalAutoencoder(**params).fit(train)
    seconds = time.perf_counter() - start
    n_places = autoencoder.n_components_ - params["n_components"]
    return {
        "error": float(np.square(test - autoencoder.reconstruct(test), dtype=np.float64).mean()),
        "places": n_places,
        "bits": 2 * math.log2(params["pool_size"]) * n_places,
        "seconds": seconds,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one minute: fewer images")
    parser.add_argument("--params", type=json.loads, default={}, help="parameters, as JSON")
    arguments = parser.parse_args()
    train, test, *_, source = mnist()
    train, test = train.reshape(-1, 28, 28), test.reshape(-1, 28, 28)
    if arguments.quick:
        train = train[:5000]
    params = {
        "n_components": 32,
        "channels": (16,),
        "learning_rate_init": 5e-3,
        "batch_size": 64,
        "max_iter": 3,
        "early_stopping": False,
        "precision": "bfloat16",
        "random_state": 0,
    } | arguments.params
    print(source, f"{len(train)} training images", sep=", ")
    print(machine())
    print(params)
    results = []
    print("pool size  unpooling     test error      ratio switches     bits  seconds")
    for pool_size in (2, 4, 7):
        for unpooling in ("nearest", "transposed", "switches"):
            chosen = {"pool_size": pool_size, "unpooling": unpooling}
            result = measure(train, test, params | chosen)
            if unpooling == "nearest":
                nearest = result["error"]
            results.append(chosen | result | {"ratio": result["error"] / nearest})
            print(
                f"{pool_size:9}  {unpooling:12}  {result['error']:10.5f} "
                f"{result['error'] / nearest:10.3f} {result['places']:8} {result['bits']:8.0f} "
                f"{result['seconds']:8.1f}",
                flush=True,
            )
    write_json("unpooling", {"machine": machine(), "params": params, "results": results})


if __name__ == "__main__":
    main()
