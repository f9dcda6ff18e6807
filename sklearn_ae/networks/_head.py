"""A linear layer on the code of an autoencoder, trained with the encoder or alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_ae.networks._module import AutoencoderModule, TrainableModule


class HeadedModule(TrainableModule):
    """An encoder with a linear layer on its code.

    Parameters
    ----------
    autoencoder : AutoencoderModule
        Gives the code. Its mean and spread over the training rows must be known.
    n_outputs : int
    trains : {"head", "encoder", "all"}
        What is trained: the layer alone, which then takes codes in place of rows; the encoder
        too; or all of the autoencoder.

    Attributes
    ----------
    head : nn.Linear
        On codes less ``code_mean``, over ``code_std``. Starts at zero, nearly.
    """

    autoencoder: AutoencoderModule
    code_mean: Tensor
    code_std: Tensor

    def __init__(self, autoencoder: AutoencoderModule, n_outputs: int, trains: str) -> None:
        super().__init__()
        self.trains = trains
        if trains == "encoder":
            self.encoder = autoencoder.encoder
        # Kept out of torch's sight, so that its decoder is not trained, nor decays.
        self.__dict__["autoencoder"] = autoencoder
        if trains == "all":
            self.trained = autoencoder
        variance = autoencoder.code_factor.square().sum(1) + autoencoder.code_spread.square()
        # One number for all: units that hardly vary say little, and should not say it loudly.
        std = variance.mean().sqrt() if variance.any() else torch.ones_like(variance[0])
        self.register_buffer("code_mean", autoencoder.code_mean.clone())
        self.register_buffer("code_std", std)
        self.head = nn.Linear(len(variance), n_outputs, device=std.device, dtype=std.dtype)
        nn.init.zeros_(self.head.weight)
        # On centred codes and targets a bias of zero has a gradient of rounding errors alone,
        # which Adam would take for a direction.
        nn.init.uniform_(self.head.bias, -0.1, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows in network units, or codes, to ``(batch, n_outputs)``."""
        code = x if self.trains == "head" else self.autoencoder.encode(x)
        return self.head((code - self.code_mean) / self.code_std).to(x.dtype)

    def head_state(self) -> dict[str, np.ndarray]:
        """Describe the layer and what it takes for centre and spread of codes."""
        own = ("head.", "code_")
        return {
            name: value.cpu().numpy().copy()
            for name, value in self.state_dict().items()
            if name.startswith(own)
        }

    def load_head(self, state: dict[str, np.ndarray]) -> None:
        """Undo :meth:`head_state`."""
        tensors = {name: torch.from_numpy(value) for name, value in state.items()}
        self.load_state_dict(tensors, strict=False)

    def linear_map(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the layer as a linear map of the code itself, in float64."""
        weight, bias, mean, std = (  # on the CPU: not every device knows float64
            value.detach().cpu().double()
            for value in (self.head.weight, self.head.bias, self.code_mean, self.code_std)
        )
        weight = weight / std
        return weight, bias - weight @ mean
