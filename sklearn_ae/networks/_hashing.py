"""The module of semantic hashing: binary codes, trained with noise on the logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._network import Network


class HashingModule(AutoencoderModule):
    """Autoencoder with binary codes.

    Parameters
    ----------
    network : Network
    sample_shape : tuple of int
    n_components : int or None
    code_noise : float
        Standard deviation of the noise on the logits of the code, in training.
    input_masking : float
        Fraction of the features that are masked at the input, in training.
    **options
        Further arguments of `AutoencoderModule`.

    Attributes
    ----------
    input_center : Tensor of shape (n_features,)
    input_scale : Tensor of shape ()
        Mean and scale by which the encoder standardises its input. Losses such as the
        cross-entropy use the data as they are, but tf-idf values are so small that the logits
        would hardly depend on them.
    """

    shows_missing = False

    input_center: Tensor
    input_scale: Tensor

    def __init__(
        self,
        network: Network,
        sample_shape: tuple[int, ...],
        n_components: int | None,
        code_noise: float,
        input_masking: float,
        **options: Any,
    ) -> None:
        super().__init__(network, sample_shape, n_components, **options)
        self.code_noise = code_noise
        self.input_masking = input_masking
        self.register_buffer("input_center", torch.zeros(self.center.shape))
        self.register_buffer("input_scale", torch.ones(()))

    @torch.no_grad()
    def standardize_input(self, center: Tensor, variances: Tensor) -> None:
        """Store the mean and the scale of the training samples.

        Parameters
        ----------
        center, variances : Tensor of shape (n_features,)
            Mean and variance of each feature, in network units.
        """
        self.input_center.copy_(center)
        if variances.any():  # otherwise the scale remains one
            self.input_scale.copy_(variances.mean().sqrt())

    def logits(self, x: Tensor) -> Tensor:
        """Map samples to logits, whose signs are the bits."""
        logits: Tensor = self.encoder((x - self.input_center) / self.input_scale)
        return logits.to(x.dtype)

    def encode(self, x: Tensor) -> Tensor:
        """Map samples to bits, 0 or 1."""
        return (self.logits(x) > 0).to(x.dtype)

    def noisy_code(self, x: Tensor) -> Tensor:
        """Map samples with some features masked to logistic codes of noisy logits.

        If the standard deviation of the noise is much larger than one, only logits far from zero
        transmit information to the decoder. The logistic function is flat there, so the codes
        become nearly binary although the loss is differentiable.
        """
        if self.input_masking:
            masked = (torch.rand_like(x) < self.input_masking) & ~x.isnan()
            x = torch.where(masked, self.input_center, x)
        logits = self.logits(x)
        return torch.sigmoid(logits + self.code_noise * torch.randn_like(logits))

    def decode(self, z: Tensor) -> Tensor:
        """Map codes to decoder outputs, to which the link is applied."""
        output: Tensor = self.decoder(2 * z - 1)  # from [0, 1] to [-1, 1]: centred inputs
        return output.to(z.dtype)
