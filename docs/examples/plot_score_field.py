"""
Score field and energy
======================

A denoising autoencoder estimates the score, i.e. the gradient of the log-density. If encoder and
decoder share their weights, the score is minus the gradient of an energy, which is the free energy
of a restricted Boltzmann machine (Vincent, 2011). The data are points on a spiral.
"""

# %%
# The score of the density of corrupted samples
# ---------------------------------------------
# With Gaussian noise of standard deviation :math:`\sigma` and squared error the optimal
# reconstruction :math:`r` is the conditional mean of the clean sample given the corrupted one, and
# :math:`(r(x) - x) / \sigma^2` is the gradient of the log-density of corrupted samples.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from sklearn_ae import DenoisingAutoencoder, RestrictedBoltzmannMachine
from sklearn_ae.plotting import ScoreFieldDisplay

output = Path("demo_output")
output.mkdir(exist_ok=True)

LEVEL = 0.25
rng = np.random.default_rng(0)
t = np.sqrt(rng.uniform(1, 16, size=1500))  # evenly along the spiral
spiral = np.column_stack([t * np.cos(3 * t), t * np.sin(3 * t)])
spiral += 0.08 * rng.standard_normal(spiral.shape)
denoiser = DenoisingAutoencoder(2, noise_level=LEVEL, random_state=0).fit(spiral)

# %%
# ``sample`` runs Langevin dynamics with this score and then draws a clean sample given the result.
# The noise is small relative to the gap between two turns, so that the draws are on the spiral.

drawn = denoiser.sample(600, random_state=0)
angle = 3 * np.sort(t)
turns = np.column_stack([angle / 3 * np.cos(angle), angle / 3 * np.sin(angle)])
distance = np.linalg.norm(drawn[:, None] - turns[None, ::5], axis=2).min(axis=1)
print(f"draws within 0.3 of the spiral: {(distance < 0.3).mean():.0%}")

# %%
# Tied autoencoders and restricted Boltzmann machines
# ---------------------------------------------------
# Let :math:`r(x) = c + W^T s(W x + b)` with the logistic function :math:`s`, and measure
# :math:`x` in units of the noise. Then :math:`r(x) - x` is minus the gradient of
#
# .. math:: E(x) = \tfrac12 |x|^2 - c \cdot x - \sum_j \log(1 + e^{b_j + (W x)_j}),
#
# which is, up to a constant, the free energy of an RBM with Gaussian visible units.
# Here the network of an RBM is trained as a denoising autoencoder, instead of by contrastive
# divergence.

machine = RestrictedBoltzmannMachine(200, max_iter=1, random_state=0).fit(spiral)
module, seeded = machine.module_, torch.Generator().manual_seed(0)
x = (torch.from_numpy(spiral).to(module.center) - module.center) / module.scale
module.sigma.fill_(LEVEL / module.scale)  # the visible units have the variance of the noise
with torch.no_grad():
    module.layer.weight.normal_(std=0.3, generator=seeded)
    spread = 4 / LEVEL * torch.rand(200, generator=seeded).to(x)
    module.layer.hidden_bias.copy_(-spread * module.layer.weight.norm(dim=1))
optimizer = torch.optim.Adam(module.layer.parameters(), lr=0.02)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=4000)
for _ in range(4000):
    clean = x[torch.randint(len(x), (256,), generator=seeded)]
    noise = torch.randn(clean.shape, generator=seeded, dtype=x.dtype)
    restored = module.decode(module.encode(clean + noise * module.sigma))
    loss = ((restored - clean) / module.sigma).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()

# %%
# Compare the gradient of the free energy, by central differences, with the score field:

points = rng.uniform(-4, 4, size=(500, 2))
step = 1e-4
slopes = np.column_stack(
    [
        (machine.free_energy(points + shift) - machine.free_energy(points - shift)) / (2 * step)
        for shift in step * np.eye(2)
    ]
)
arrows = (machine.reconstruct(points) - points) / LEVEL**2
error = np.abs(arrows + slopes).max() / np.abs(arrows).max()
print(f"largest difference between score and gradient: {error:.1e} of the largest score")

# %%
# The left panel shows the score field of the denoising autoencoder without tied weights, the
# middle one that of the tied network, and the right one the density defined by the energy of the
# latter.

figure, axes = plt.subplots(1, 3, figsize=(17, 5), layout="constrained")
free = ScoreFieldDisplay.from_estimator(denoiser, spiral, grid_size=28, ax=axes[0])
tied = ScoreFieldDisplay(
    points=free.points,
    arrows=(machine.reconstruct(free.points) - free.points) / LEVEL**2,
    X=spiral,
).plot(axes[1])
side = np.linspace(-4.8, 4.8, 260)
grid = np.stack(np.meshgrid(side, side), -1)
energy = machine.free_energy(grid.reshape(-1, 2)).reshape(len(side), -1)
density = np.exp(energy.min() - energy)
density /= density.sum() * (side[1] - side[0]) ** 2
image = axes[2].pcolormesh(side, side, density, cmap="magma", shading="auto", rasterized=True)
axes[2].scatter(*drawn[:300].T, s=4, color="white", alpha=0.6, linewidths=0)
axes[2].set(aspect="equal", xlabel="feature 0", ylabel="feature 1")
figure.colorbar(image, ax=axes[2], label="density")
titles = ["denoising autoencoder: score field", "tied weights: score field"]
for ax, title in zip(axes, [*titles, "tied weights: exp(-free energy); dots: draws"], strict=True):
    ax.set_title(title)
figure.savefig(output / "score_field.png", dpi=120)
