"""Networks in plain torch and a hand-tuned loop that trains them: rivals of the estimators."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn

BATCH, RATE = 128, 1e-3


def dense(sizes: tuple[int, ...]) -> nn.Sequential:
    """Make an encoder and a mirrored decoder with a linear code and a linear output."""
    widths = [*sizes, *sizes[-2::-1]]
    layers: list[nn.Module] = []
    for place, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(fan_in, fan_out))
        if place not in (len(sizes) - 2, len(widths) - 2):
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def convolutional() -> nn.Module:
    """Two levels of 16 and 32 maps, and a code of 32 components."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 49, 32), nn.Linear(32, 32 * 49), nn.Unflatten(1, (32, 7, 7)),
        nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(32, 16, 3, padding=1),
        nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(16, 1, 3, padding=1),
    )  # fmt: skip


class UNet(nn.Module):
    """Three levels of 16, 32 and 64 maps, without a dense layer."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        narrow = widths[:-1]
        pairs = zip((1, *narrow), widths, strict=True)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.bottom = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        pairs = zip(narrow, widths[1:], strict=True)
        self.unpool = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
        self.up = nn.ModuleList(nn.Conv2d(2 * a, a, 3, padding=1) for a in narrow)
        self.last = nn.Conv2d(widths[0], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct images."""
        skips: list[Tensor] = []
        for layer in self.down:
            x = torch.relu(layer(nn.functional.max_pool2d(x, 2) if skips else x))
            skips.append(x)
        x = torch.relu(self.bottom(x))
        for level in (1, 0):
            x = torch.relu(self.up[level](torch.cat([self.unpool[level](x), skips[level]], 1)))
        return self.last(x)


class Recurrent(nn.Module):
    """LSTMs of 64 units, and a code of 8 components, the input of each step of the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.code = nn.LSTM(28, 64, batch_first=True), nn.Linear(64, 8)
        self.start, self.decoder = nn.Linear(8, 128), nn.LSTM(8, 64, batch_first=True)
        self.step = nn.Linear(64, 28)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct sequences."""
        code = self.code(self.encoder(x.flip(1))[0][:, -1])
        states = (
            torch.tanh(self.start(code)).view(-1, 2, 64).permute(1, 0, 2)[:, None].contiguous()
        )
        inputs = code[:, None].expand(-1, 28, -1)
        return self.step(self.decoder(inputs, (states[0], states[1]))[0])


def train(
    module: nn.Module, data: Tensor, epochs: int, low: bool = False, last: bool = False
) -> None:
    """Train on whole tensors, with one permutation per epoch and fused Adam.

    `low`: with products in bfloat16; `last`: with images stored channels last. Data on another
    device than the module are copied from pinned memory.
    """
    device = next(module.parameters()).device
    if last:
        module = module.to(memory_format=torch.channels_last)
        data = data.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(module.parameters(), lr=RATE, fused=True)
    for _ in range(epochs):
        for index in torch.randperm(len(data), device=data.device).split(BATCH):
            rows = data[index]
            if rows.device != device:
                rows = rows.pin_memory().to(device, non_blocking=True)
            if last:
                rows = rows.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16) if low else nullcontext():
                output = module(rows)
            loss = nn.functional.mse_loss(output.float(), rows)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
