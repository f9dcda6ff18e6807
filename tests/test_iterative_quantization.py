"""The initialisation of semantic hashing at the signs of rotated principal components."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from sklearn_ae import SemanticHashing
from sklearn_ae._training import iterative_quantization

DIGITS = load_digits().data[:400] / 16


def started(X, n_bits, sample_weight=None, **params):
    """Fit with steps that change nothing."""
    hashing = SemanticHashing(
        n_bits, max_iter=1, learning_rate_init=1e-30, random_state=0, **params
    )
    return hashing.fit(X, sample_weight=sample_weight)


def itq(X, n_bits, rotation):
    """Iterative quantisation by NumPy, from a given rotation."""
    axes = PCA(n_bits, svd_solver="full").fit(X).components_
    axes = axes * np.sign(axes[np.arange(n_bits), np.abs(axes).argmax(1)])[:, None]
    codes = (X - X.mean(0)) @ axes.T
    for _ in range(iterative_quantization.N_ITERATIONS):
        left, _, right = np.linalg.svd(codes.T @ np.sign(codes @ rotation))
        rotation = left @ right
    return codes, rotation


def test_bits_are_those_of_iterative_quantization(monkeypatch):
    starts = []

    def recorded(codes, weight, n_bits, seed):
        shape = n_bits, codes.shape[1]
        draws = torch.randn(
            shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        starts.append(torch.linalg.qr(draws).Q.t().numpy())
        return rotation_to_signs(codes, weight, n_bits, seed)

    rotation_to_signs = iterative_quantization._rotation_to_signs
    monkeypatch.setattr(iterative_quantization, "_rotation_to_signs", recorded)
    bits = started(DIGITS, 12, precision="float64").transform(DIGITS)
    codes, rotation = itq(DIGITS, 12, starts[0])
    np.testing.assert_array_equal(bits, codes @ rotation > 0)


def test_the_decoder_is_the_regression_on_the_bits():
    hashing = started(DIGITS, 12, precision="float64")
    bits = hashing.transform(DIGITS)
    expected = LinearRegression(fit_intercept=False).fit(2 * bits - 1, DIGITS - DIGITS.mean(0))
    found = hashing.inverse_transform(bits) - DIGITS.mean(0)
    np.testing.assert_allclose(found, expected.predict(2 * bits - 1), atol=1e-5)


def test_the_rotation_brings_codes_closer_to_signs():
    codes = torch.from_numpy(PCA(16).fit_transform(DIGITS))
    weight = torch.ones(len(codes), 1, dtype=codes.dtype)
    rotation = iterative_quantization._rotation_to_signs(codes, weight, 16, 0)
    np.testing.assert_allclose(rotation @ rotation.t(), np.eye(16), atol=1e-10)

    def away(rotated):
        return (rotated - rotated.sign()).square().mean()

    assert away(codes @ rotation) < 0.95 * away(codes)


def test_logits_are_as_wide_as_the_noise():
    hashing = started(DIGITS, 8, code_noise=3.0)
    module = hashing.module_
    X = torch.as_tensor((DIGITS - module.center.numpy()) / module.scale.numpy()).float()
    logits = module.logits(X).detach().numpy()
    np.testing.assert_allclose(logits.std(0), 3, rtol=0.05)


def test_more_bits_than_features():
    X = np.random.default_rng(0).normal(size=(200, 3))
    bits = started(X, 20).transform(X)
    assert (np.abs(bits.mean(0) - 0.5) < 0.2).all()
    assert len(np.unique(bits, axis=0)) > 20


@pytest.mark.parametrize("X", [np.ones((20, 4)), np.tile([[0.0, 1, 0, 0], [0, 1, 2, 0]], (10, 1))])
def test_axes_without_variance_are_left_out(X):
    hashing = started(X, 6)
    assert np.isfinite(hashing.inverse_transform(hashing.transform(X))).all()


def test_weights_count_as_copies():
    weight = np.random.default_rng(0).integers(1, 4, size=100)
    params = {"precision": "float64"}
    weighted = started(DIGITS[:100], 8, sample_weight=weight, **params).module_
    copies = started(np.repeat(DIGITS[:100], weight, axis=0), 8, **params).module_
    for stack in ("encoder", "decoder"):
        shortcuts = [getattr(module, stack).shortcut for module in (weighted, copies)]
        np.testing.assert_allclose(*shortcuts, atol=1e-8)


def test_behind_a_link_function_outputs_are_the_mean():
    hashing = started(DIGITS, 8, loss="binary_crossentropy")
    found = hashing.inverse_transform(hashing.transform(DIGITS))
    mean = np.broadcast_to(DIGITS.mean(0), found.shape)
    np.testing.assert_allclose(found, np.clip(mean, 1e-6, 1), atol=1e-3)
    assert hashing.module_.encoder.shortcut.any()


def test_many_samples_are_drawn(monkeypatch):
    monkeypatch.setattr(iterative_quantization, "MAX_ROTATED", 100)
    received = []

    def recorded(codes, *others):
        received.append(codes)
        return rotation_to_signs(codes, *others)

    rotation_to_signs = iterative_quantization._rotation_to_signs
    monkeypatch.setattr(iterative_quantization, "_rotation_to_signs", recorded)
    bits = started(DIGITS, 8).transform(DIGITS)
    assert received[0].shape == (100, 8)
    assert (np.abs(bits.mean(0) - 0.5) < 0.25).all()


def test_random_weights_have_no_linear_map():
    assert started(DIGITS, 8, init="random").module_.encoder.shortcut is None
