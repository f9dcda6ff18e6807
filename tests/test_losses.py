"""Every loss against its closed form, and every gradient against automatic differentiation."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from sklearn_ae.losses import LOSSES, get_loss


@pytest.fixture
def output_and_target():
    rng = np.random.default_rng(0)
    output = rng.normal(scale=2, size=(5, 3))
    return output, rng.uniform(size=(5, 3))


def _value(name, output, target):
    return get_loss(name).value(torch.from_numpy(output), torch.from_numpy(target)).numpy()


def test_squared_error_is_mean_of_squares(output_and_target):
    output, target = output_and_target
    expected = ((output - target) ** 2).mean(axis=1)
    np.testing.assert_allclose(_value("squared_error", output, target), expected, rtol=1e-12)


def test_absolute_error_is_mean_of_distances(output_and_target):
    output, target = output_and_target
    expected = np.abs(output - target).mean(axis=1)
    np.testing.assert_allclose(_value("absolute_error", output, target), expected, rtol=1e-12)


def test_huber_is_quadratic_near_and_linear_far(output_and_target):
    output, target = output_and_target
    expected = special.huber(1.0, output - target).mean(axis=1)
    np.testing.assert_allclose(_value("huber", output, target), expected, rtol=1e-12)


def test_binary_crossentropy_is_bernoulli_log_likelihood(output_and_target):
    output, _ = output_and_target
    target = (np.random.default_rng(1).uniform(size=output.shape) < 0.5).astype(float)
    expected = -stats.bernoulli.logpmf(target, special.expit(output)).mean(axis=1)
    np.testing.assert_allclose(_value("binary_crossentropy", output, target), expected)


def test_poisson_is_log_likelihood_below_its_maximum(output_and_target):
    output, _ = output_and_target
    counts = np.random.default_rng(1).poisson(3, size=output.shape).astype(float)
    saturated = stats.poisson.logpmf(counts, np.where(counts > 0, counts, 1e-300))
    expected = (saturated - stats.poisson.logpmf(counts, np.exp(output))).mean(axis=1)
    np.testing.assert_allclose(_value("poisson", output, counts), expected, rtol=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_equals_automatic_differentiation(name, output_and_target):
    loss = get_loss(name)
    output, target = (torch.from_numpy(values) for values in output_and_target)
    output.requires_grad_()
    loss.value(output, target).sum().backward()
    np.testing.assert_allclose(
        loss.gradient(output.detach(), target).numpy(), output.grad.numpy(), rtol=1e-12
    )


@pytest.mark.parametrize("shape", [(6, 4), (3, 6, 4)], ids=["one model", "three"])
@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].mean_and_gradient])
def test_mean_and_gradient_equal_those_of_the_values(name, shape):
    loss = get_loss(name)
    rng = np.random.default_rng(0)
    output, target = (torch.from_numpy(rng.normal(size=shape)) for _ in range(2))
    mean, gradient = loss.mean_and_gradient(output, target)
    output.requires_grad_()
    expected = loss.value(output.flatten(0, -2), target.flatten(0, -2)).view(shape[:-1]).mean(-1)
    expected.sum().backward()
    np.testing.assert_allclose(mean.numpy(), expected.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(gradient.numpy(), output.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_link_inverts_mean(name):
    loss = get_loss(name)
    mean = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    torch.testing.assert_close(loss.mean(loss.link(mean)), mean)


@pytest.mark.parametrize("name", LOSSES)
def test_least_loss_is_at_the_target(name):
    """The gradient is zero where the reconstruction is the target."""
    loss = get_loss(name)
    target = torch.linspace(0.1, 0.9, 6, dtype=torch.float64).reshape(2, 3)
    gradient = loss.gradient(loss.link(target), target)
    np.testing.assert_allclose(gradient.numpy(), 0, atol=1e-12)
