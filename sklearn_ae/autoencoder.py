"""The plain autoencoder: dense, shallow or deep, undercomplete or over-complete."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import torch

from sklearn_ae._backend.batches import Rows
from sklearn_ae._backend.linear import principal_axes, spread
from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.losses import get_loss
from sklearn_ae.networks import DenseNetwork
from sklearn_ae.networks.activations import ACTIVATIONS
from sklearn_ae.networks.dense import DenseModule


@dataclass(kw_only=True, eq=False, repr=False)
class Autoencoder(BaseAutoencoder):
    """Autoencoder."""

    hidden_layer_sizes: Any = (128, 128)
    activation: str = "tanh"
    init: str = "pca"
    input_noise: float = 0.2

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "init": [StrOptions({"pca", "random"})],
        "input_noise": [Interval(Real, 0, None, closed="left")],
    }

    def _build_module(self, n_features: int) -> DenseModule:
        network = DenseNetwork(
            hidden_layer_sizes=self.hidden_layer_sizes, activation=self.activation
        )
        return network.build(n_features, self.n_components, shortcut=self.init == "pca")

    @torch.no_grad()
    def _pretrain(self, module: DenseModule, X: Rows, seed: int) -> None:
        """Start at PCA: in output units, to first order around the mean."""
        if self.init != "pca":
            return
        loss = get_loss(self.loss)
        center, variance = spread(X)
        centered = X.standardized(X.center + X.scale * center, X.scale, X.dtype).hold()
        axes, variances = principal_axes(centered, self.n_components, seed)
        slope = torch.ones_like(center) if loss.slope is None else loss.slope(center)
        code_scale = variances.clamp_min(1e-6 * variances.max()).sqrt()
        code_scale = torch.where(code_scale > 0, code_scale, 1.0)
        input_scale = variance.sqrt().expand_as(center) if variance > 0 else torch.ones_like(center)
        module.encoder.start_linear(axes, -axes @ center, center, input_scale)
        module.decoder.start_linear(
            (axes / slope).t(), loss.link(center), torch.zeros_like(code_scale), code_scale
        )

    def _starts_well(self) -> bool:
        return self.init == "pca"

    def _noise_level(self) -> float:
        return self.input_noise
