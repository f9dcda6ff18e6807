"""The contractive autoencoder: codes that do not move when rows move a little."""

from __future__ import annotations

import math
from numbers import Integral, Real

from torch import Tensor

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._estimator.inference import open_rows
from sklearn_ae._estimator.network_choice import NetworkChoice
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._training.batches import by_chunks
from sklearn_ae._training.isolation import isolated
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks._contractive import ContractiveModule, estimated_norm
from sklearn_ae.networks.activations import ACTIVATIONS

JACOBIAN_ENTRIES = 2**24
"""Size up to which the Jacobians of several rows are held at a time, outside of training."""


@declares_parameters
class ContractiveAutoencoder(NetworkChoice, BaseAutoencoder):
    r"""Autoencoder whose encoder is flat wherever reconstruction does not forbid it.

    To the reconstruction loss comes the squared Frobenius norm of the Jacobian of the encoder
    :math:`f` at each training row,

    .. math:: \lambda \, \lVert J_f(x) \rVert_F^2
              = \lambda \sum_{ij} \left(\frac{\partial f_i(x)}{\partial x_j}\right)^2,

    exactly, for any depth. For one logistic layer it is
    :math:`\sum_i (h_i (1 - h_i))^2 \sum_j W_{ij}^2`. Codes then keep only those directions in
    which the data vary: along a manifold, and not across it.

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
        Factor :math:`\lambda` of the penalty. The Jacobian is that of codes with respect to
        centred and scaled rows.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )
    code_activation: str = parameter(
        default="logistic",
        doc="""str
        Non-linearity of the code, one of those of `activation`. A code without bounds could
        shrink to nothing while the decoder grows, which satisfies the penalty and contracts
        nothing.
        """,
        constraint=[StrOptions(set(ACTIVATIONS))],
    )
    n_projections: int | None = parameter(
        default=None,
        doc="""int
        Estimate the norm from that many random projections of the code, at the cost of as many
        backward passes. None: exact, at a cost that grows with `n_components`.
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
            norms = estimated_norm(module.encode, X, self.n_projections)
        error = self._compare(module, module.decode(code), X if y is None else y)
        return {"reconstruction": error, "contraction": self.contraction * norms}

    def _rows_at_once(self, network: Network) -> int:
        """As many rows as Jacobians, one number for each component and feature, allow."""
        n_features = math.prod(self.input_shape_)
        return max(
            1, min(JACOBIAN_ENTRIES // (self._code_size() * n_features), network.rows_at_once)
        )

    @isolated
    def jacobian_norm(self, X):
        """Frobenius norm of the encoder's Jacobian at each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        norms : ndarray of shape (n_samples,)
            Of the derivative of ``transform(X)`` with respect to `X`, in units of codes per
            unit of `X`.
        """
        rows, kind, module = open_rows(self, X, "jacobian_norm")
        assert isinstance(module, ContractiveModule)
        squares = by_chunks(
            rows, lambda x: module.encode_with_norm(x)[1], self._rows_at_once(module.network)
        )
        return kind.wrap(squares.sqrt() / module.scale)
