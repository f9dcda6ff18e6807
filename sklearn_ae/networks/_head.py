"""A linear layer on the code of an autoencoder, trained alone or together with the encoder."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_ae.networks._module import AutoencoderModule, TrainableModule

LEAST_STD = 1e-6
"""Standard deviation of codes, relative to their mean, up to which they are constant."""


class HeadedModule(TrainableModule):
    """Encoder with a linear layer on its code.

    Parameters
    ----------
    autoencoder : AutoencoderModule
        Returns the code. The density of its codes must be fitted.
    n_outputs : int
        Number of outputs of the layer.
    trains : {"head", "encoder", "all"}
        What is trained: the layer alone, whose input is then codes instead of samples; the layer
        and the encoder; or the layer and the whole autoencoder.

    Attributes
    ----------
    head : nn.Linear
        Layer whose input is the code minus ``code_mean``, divided by ``code_std``. Its weights
        are zero before training.
    """

    autoencoder: AutoencoderModule
    code_mean: Tensor
    code_std: Tensor

    def __init__(self, autoencoder: AutoencoderModule, n_outputs: int, trains: str) -> None:
        super().__init__()
        self.trains = trains
        if trains == "encoder":
            self.encoder = autoencoder.encoder
        # Not registered as a submodule, so that the decoder is neither trained nor decayed.
        self.__dict__["autoencoder"] = autoencoder
        if trains == "all":
            self.trained = autoencoder
        variance = autoencoder.code_factor.square().sum(1) + autoencoder.code_spread.square()
        # One scale for all components: a component that hardly varies is mostly noise, which a
        # scale of its own would amplify.
        std = variance.mean().sqrt()
        if std <= LEAST_STD * autoencoder.code_mean.square().mean().sqrt():  # a rounding error
            std = torch.ones_like(std)
        self.register_buffer("code_mean", autoencoder.code_mean.clone())
        self.register_buffer("code_std", std)
        self.head = nn.Linear(len(variance), n_outputs, device=std.device, dtype=std.dtype)
        nn.init.zeros_(self.head.weight)
        # If codes and targets are centred, the gradient at a bias of zero is a rounding error,
        # which Adam would scale up to a full step.
        nn.init.uniform_(self.head.bias, -0.1, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Map samples in network units, or codes, to ``(batch, n_outputs)``."""
        code = x if self.trains == "head" else self.autoencoder.encode(x)
        output: Tensor = self.head((code - self.code_mean) / self.code_std)
        return output.to(x.dtype)

    def head_state(self) -> dict[str, np.ndarray]:
        """Return the layer's parameters, and mean and scale of the codes, as arrays by name."""
        own = ("head.", "code_")
        return {
            name: value.cpu().numpy().copy()
            for name, value in self.state_dict().items()
            if name.startswith(own)
        }

    def load_head(self, state: dict[str, np.ndarray]) -> None:
        """Restore the values that :meth:`head_state` returned."""
        tensors = {name: torch.from_numpy(value) for name, value in state.items()}
        self.load_state_dict(tensors, strict=False)  # the autoencoder's tensors are not in it

    def linear_map(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the layer as a linear map of the raw code, in float64."""
        weight, bias, mean, std = (  # on the CPU, because not every device supports float64
            value.detach().cpu().double()
            for value in (self.head.weight, self.head.bias, self.code_mean, self.code_std)
        )
        weight = weight / std
        return weight, bias - weight @ mean
