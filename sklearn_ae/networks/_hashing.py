"""The module of semantic hashing: codes that are bits, learnt through noise."""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._network import Network


class HashingModule(AutoencoderModule):
    """A network whose code is a row of bits.

    Parameters
    ----------
    network : Network
    row_shape : tuple of int
    n_components : int or None
    code_noise : float
    input_masking : float

    Attributes
    ----------
    input_center : Tensor of shape (n_features,)
    input_scale : Tensor of shape ()
        The encoder standardises rows by these, as losses without centring do not: entries
        of a tf-idf row are so small that it would see next to nothing.
    """

    input_center: Tensor
    input_scale: Tensor

    def __init__(
        self,
        network: Network,
        row_shape: tuple[int, ...],
        n_components: int | None,
        code_noise: float,
        input_masking: float,
    ) -> None:
        super().__init__(network, row_shape, n_components)
        self.code_noise = code_noise
        self.input_masking = input_masking
        self.register_buffer("input_center", torch.zeros(self.center.shape))
        self.register_buffer("input_scale", torch.ones(()))

    @torch.no_grad()
    def standardize_input(self, center: Tensor, variances: Tensor) -> None:
        """Note mean and variance of each feature of the training rows, in network units."""
        self.input_center.copy_(center)
        if variances.any():
            self.input_scale.copy_(variances.mean().sqrt())

    def logits(self, x: Tensor) -> Tensor:
        """Map rows to numbers whose signs are the bits."""
        return self.encoder((x - self.input_center) / self.input_scale).to(x.dtype)

    def encode(self, x: Tensor) -> Tensor:
        """Map rows to bits, 0 or 1."""
        return (self.logits(x) > 0).to(x.dtype)

    def noisy_code(self, x: Tensor) -> Tensor:
        """Map rows, some entries hidden, to logistic codes of noisy logits.

        Noise of a standard deviation much above one leaves the decoder only what is far from
        zero on either side, where the logistic function is flat: codes become bits although
        every step is smooth.
        """
        if self.input_masking:
            hidden = (torch.rand_like(x) < self.input_masking) & ~x.isnan()
            x = torch.where(hidden, self.input_center, x)
        logits = self.logits(x)
        return torch.sigmoid(logits + self.code_noise * torch.randn_like(logits))

    def decode(self, z: Tensor) -> Tensor:
        """Map codes to outputs of the loss's link."""
        return self.decoder(2 * z - 1).to(z.dtype)  # mean zero, as layers like their inputs
