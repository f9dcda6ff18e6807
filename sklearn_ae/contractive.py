"""The contractive autoencoder: codes that change little when the sample changes a little."""

from __future__ import annotations

import math
from numbers import Integral, Real

from torch import Tensor

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._estimator.inference import open_samples
from sklearn_ae._estimator.network_choice import NetworkChoice
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._parameters.documentation import documented_like
from sklearn_ae._training.batches import by_chunks
from sklearn_ae._training.isolation import isolated
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks._contractive import ContractiveModule
from sklearn_ae.networks.activations import ACTIVATIONS
from sklearn_ae.networks.dense import DenseStack

MAX_JACOBIAN_VALUES = 2**24
"""Number of values of the Jacobians that are in memory at a time, outside of training."""


@declares_parameters
class ContractiveAutoencoder(NetworkChoice, BaseAutoencoder):
    r"""Autoencoder with a penalty on the derivative of the encoder.

    The loss is the sum of the reconstruction loss and the squared Frobenius norm of the Jacobian
    of the encoder :math:`f` at each training sample,

    .. math:: \lambda \, \lVert J_f(x) \rVert_F^2
              = \lambda \sum_{ij} \left(\frac{\partial f_i(x)}{\partial x_j}\right)^2.

    The norm is computed exactly, for encoders of any depth; for one logistic layer it is
    :math:`\sum_i (h_i (1 - h_i))^2 \sum_j W_{ij}^2`. The code then varies only in the directions
    in which the data vary: along a manifold, and not across it.

    References
    ----------
    Rifai, S., Vincent, P., Muller, X., Glorot, X. and Bengio, Y. (2011). Contractive
    auto-encoders: explicit invariance during feature extraction. ICML.

    Hutchinson, M. F. (1990). A stochastic estimator of the trace of the influence matrix.
    Communications in Statistics, 19(2), 433-450.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import ContractiveAutoencoder
    >>> X = load_iris().data
    >>> free = ContractiveAutoencoder(contraction=0, max_iter=50, random_state=0).fit(X)
    >>> flat = ContractiveAutoencoder(contraction=1, max_iter=50, random_state=0).fit(X)
    >>> bool(flat.jacobian_norm(X).mean() < 0.5 * free.jacobian_norm(X).mean())
    True
    """

    contraction: float = parameter(
        default=0.1,
        doc=r"""float
        Factor :math:`\lambda` of the penalty. The Jacobian is the derivative of the code with
        respect to the centred and scaled sample.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )
    code_activation: str = parameter(
        default="logistic",
        doc="""str
        Non-linearity of the code, one of those of `activation`. It should be bounded: otherwise
        the penalty can be made arbitrarily small by scaling the code down and the weights of the
        decoder up, which contracts nothing.
        """,
        constraint=[StrOptions(set(ACTIVATIONS))],
    )
    n_projections: int | None = parameter(
        default=None,
        doc="""int
        Number of random projections of the code from which the norm is estimated. Each costs one
        backward pass. With None the norm is exact, at a cost that grows with `n_components`.
        """,
        constraint=[Interval(Integral, 1, None, closed="left"), None],
    )

    def _build_module(self, n_features: int) -> ContractiveModule:
        network = self._compressing_network()
        if getattr(network, "normalization", None) == "batch":
            raise ValueError(
                "ContractiveAutoencoder needs the Jacobian of each sample's code, but batch "
                "normalisation makes codes depend on the other samples; use normalization='layer'."
            )
        return ContractiveModule(
            network,
            self.input_shape_,
            self.n_components,
            code_activation=self.code_activation,
        )

    def _loss(
        self,
        module: ContractiveModule,  # type: ignore[override]
        X: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        if not self.contraction:
            return super()._loss(module, X, y, sample_weight)
        if self.n_projections is None:
            code, norms = module.encode_with_norm(X)
        else:
            code = module.encode(X)
            norms = module.estimated_norm(X, self.n_projections)
        error = self._compare(module, module.decode(code), X if y is None else y)
        return {"reconstruction": error, "contraction": self.contraction * norms}

    def _can_map_loss(self, module: ContractiveModule) -> bool:
        # Other norms call automatic differentiation, which cannot be mapped.
        encoder = module.encoder
        has_formula = isinstance(encoder, DenseStack) and encoder.is_plain()
        return not self.contraction or (has_formula and self.n_projections is None)

    def _samples_at_once(self, network: Network) -> int:
        """Limit the memory of the Jacobians, which are (batch_size, n_components, n_features)."""
        n_values = self._code_size() * math.prod(self.input_shape_)
        return max(1, min(MAX_JACOBIAN_VALUES // n_values, network.samples_at_once))

    @isolated
    @documented_like(BaseAutoencoder.transform)
    def jacobian_norm(self, X):
        """Return the Frobenius norm of the encoder's Jacobian at each sample.

        Returns
        -------
        norms : ndarray of shape (n_samples,)
            Norm of the derivative of ``transform(X)`` with respect to `X`, in units of the code
            per unit of `X`.
        """
        samples, array_type, module = open_samples(self, X, "jacobian_norm")
        assert isinstance(module, ContractiveModule)
        squares = by_chunks(
            samples, lambda x: module.encode_with_norm(x)[1], self._samples_at_once(module.network)
        )
        # The module computes derivatives with respect to the scaled sample.
        return array_type.wrap(squares.sqrt() / module.scale)
