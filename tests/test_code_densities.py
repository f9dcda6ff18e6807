"""The densities of codes that are chosen by name."""

import math
import sys

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from sklearn_ae import Autoencoder, VariationalAutoencoder, load, save
from sklearn_ae._estimator.code_densities import (
    MIN_VARIANCE,
    N_GAUSSIANS,
    CodeKernelDensity,
    fit_mixture,
)


@pytest.fixture(scope="module")
def blobs():
    X, _ = make_blobs(120, centers=4, n_features=3, cluster_std=0.3, random_state=0)
    return (X - X.mean(0)) / X.std(0)


def _left_out(X, bandwidth):
    """Mean log-density of each row under the kernels of all others."""
    fits = (
        KernelDensity(bandwidth=bandwidth).fit(np.delete(X, row, axis=0)) for row in range(len(X))
    )
    return np.mean([fit.score_samples(X[[row]]) for row, fit in enumerate(fits)])


def test_kernels_are_gaussians(blobs):
    found = CodeKernelDensity().fit(blobs)
    X = np.random.default_rng(0).normal(size=(50, 3))
    of_columns = norm.logpdf(X[:, None], loc=blobs, scale=found.bandwidth_)
    expected = logsumexp(of_columns.sum(2), axis=1) - np.log(len(blobs))
    np.testing.assert_allclose(found.score_samples(X), expected, rtol=1e-9)
    assert found.score(X) == pytest.approx(expected.sum())


def test_the_bandwidth_maximises_the_left_out_likelihood(blobs):
    X = blobs[:60]
    chosen = CodeKernelDensity().fit(X).bandwidth_
    best = _left_out(X, chosen)
    for factor in (0.5, 0.8, 0.9, 1.1, 1.25, 2.0):
        assert _left_out(X, factor * chosen) < best


def test_copies_do_not_make_the_kernels_narrow(blobs):
    single, twice = (CodeKernelDensity().fit(X) for X in (blobs, blobs.repeat(2, axis=0)))
    assert twice.bandwidth_ == pytest.approx(single.bandwidth_, rel=0.03)


def test_many_codes_are_scored_in_parts(blobs, monkeypatch):
    found = CodeKernelDensity().fit(blobs)
    expected = found.score_samples(blobs)
    monkeypatch.setattr(sys.modules[CodeKernelDensity.__module__], "ROWS_AT_ONCE", 1000)
    np.testing.assert_allclose(found.score_samples(blobs), expected, rtol=1e-12)


def test_draws_are_codes_with_noise_of_the_bandwidth(blobs):
    X = np.column_stack([blobs, np.full(len(blobs), 2.0)])
    found = CodeKernelDensity().fit(X)
    assert found.bandwidth_ == pytest.approx(CodeKernelDensity().fit(blobs).bandwidth_)
    drawn = found.sample(40_000, random_state=0)
    variances = blobs.var(0) + found.bandwidth_**2
    # The standard error of a variance of n draws is at most that of a normal one.
    np.testing.assert_allclose(drawn[:, :3].var(0), variances, rtol=5 * math.sqrt(2 / 40_000))
    np.testing.assert_array_equal(drawn[:, 3], 2.0)
    equal = CodeKernelDensity().fit(np.ones((9, 2)))
    np.testing.assert_array_equal(equal.sample(3, random_state=0), 1.0)
    two = CodeKernelDensity().fit(np.array([[0.0], [1.0]]))
    assert two.bandwidth_ == pytest.approx(1.0, rel=0.02)  # maximum of -1 / 2h^2 - log h


def test_the_number_of_gaussians_has_the_lowest_criterion(blobs):
    found = fit_mixture(blobs, seed=0)
    options = {"reg_covar": MIN_VARIANCE, "max_iter": 1000, "random_state": 0}
    criteria = {
        n: GaussianMixture(n, **options).fit(blobs).bic(blobs) for n in N_GAUSSIANS if n <= 8
    }
    assert found.n_components == min(criteria, key=criteria.get) == 4
    assert found.bic(blobs) == pytest.approx(criteria[4])


@pytest.mark.parametrize("n_distinct", [1, 2, 9])
def test_few_distinct_codes_are_one_gaussian(n_distinct):
    codes = np.random.default_rng(0).normal(size=(n_distinct, 3)).repeat(20, axis=0)
    assert fit_mixture(codes, seed=0).n_components == 1


def test_wide_codes_have_diagonal_covariances():
    wide = np.random.default_rng(0).normal(size=(40, 65))
    assert fit_mixture(wide, seed=0).covariance_type == "diag"
    assert fit_mixture(wide[:, :64], seed=0).covariance_type == "full"


@pytest.mark.parametrize("density", ["kde", "mixture"])
@pytest.mark.parametrize("estimator", [Autoencoder, VariationalAutoencoder])
def test_named_densities_are_saved_without_further_packages(
    blobs, density, estimator, tmp_path, monkeypatch
):
    model = estimator(2, max_iter=2, density=density, random_state=0).fit(blobs)
    expected = model.sample(5, random_state=1)
    again = clone(model).fit(blobs)
    np.testing.assert_array_equal(again.sample(5, random_state=1), expected)
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.density == density
    np.testing.assert_array_equal(loaded.sample(5, random_state=1), expected)
