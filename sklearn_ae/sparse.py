"""The sparse autoencoder: codes of which few numbers are active at a time."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._estimator.network_choice import NetworkChoice
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._training.batches import Rows
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.losses import bernoulli_divergence
from sklearn_ae.networks import DenseNetwork
from sklearn_ae.networks._sparse import SparseModule
from sklearn_ae.networks.dense import DenseStack

CONTROL = 0.03
"""Relative change of the penalty's weight in a step, for an excess of one."""

TOLERANCE = 0.1
"""Relative excess of active units that counts for nothing."""


@declares_parameters
class SparseAutoencoder(NetworkChoice, BaseAutoencoder):
    r"""Autoencoder whose codes are mostly zero, or nearly.

    Of a code that may be wider than the data only a few units respond to a row. What makes
    them few is one of three:

    * ``"kl"``: codes are logistic and a divergence pulls each unit's mean activation
      :math:`\hat\rho_j` towards the target :math:`\rho`,

      .. math:: \lambda \sum_j \rho \log\frac{\rho}{\hat\rho_j}
                + (1 - \rho) \log\frac{1 - \rho}{1 - \hat\rho_j}.

      The mean is a running one: that of a single batch would make the divergence too large.
    * ``"l1"``: codes are rectified and cost :math:`\lambda \sum_j |z_j|`. If `n_active` is
      given, :math:`\lambda` is adapted until that many units are active in the mean.
    * ``"topk"``: the `n_active` largest units keep their value, the others are zero. Training
      starts with all units and reaches `n_active` half-way.

    Units of an ``"l1"`` or ``"topk"`` code that no row uses are revived: while they are dead,
    their activation is pulled up to where it would count.

    See Also
    --------
    sklearn.decomposition.DictionaryLearning : Sparse codes found by optimisation, row by row.

    References
    ----------
    Ng, A. (2011). Sparse autoencoder. CS294A lecture notes, Stanford University.

    Makhzani, A. and Frey, B. (2013). k-sparse autoencoders. arXiv:1312.5663.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import SparseAutoencoder
    >>> X = load_digits().data
    >>> sparse = SparseAutoencoder(100, sparsity="topk", n_active=5, max_iter=5, random_state=0)
    >>> codes = sparse.fit_transform(X)
    >>> (codes != 0).sum(axis=1).max()
    np.int64(5)
    """

    n_components: int | None = parameter(
        default=64,
        kw_only=False,
    )
    sparsity: str = parameter(
        default="kl",
        doc="""{"kl", "l1", "topk"}
        What makes codes sparse.
        """,
        constraint=[StrOptions({"kl", "l1", "topk"})],
    )
    sparsity_target: float = parameter(
        default=0.05,
        doc="""float
        Mean activation of each unit under ``"kl"``, and the share of active units under
        ``"topk"`` if `n_active` is None.
        """,
        constraint=[Interval(Real, 0, 1, closed="neither")],
    )
    sparsity_weight: float | None = parameter(
        default=None,
        doc=r"""float
        Factor :math:`\lambda` of the penalty; the loss it is added to is the share of variance
        not explained, under squared error. None: 0.3 under ``"kl"``, 0.03 under ``"l1"``.
        """,
        constraint=[Interval(Real, 0, None, closed="left"), None],
    )
    n_active: int | None = parameter(
        default=None,
        doc="""int
        Number of active units of a code. Under ``"topk"`` None is a share of
        `sparsity_target`, at least one; under ``"l1"`` None leaves `sparsity_weight` as it is.
        Not used under ``"kl"``.
        """,
        constraint=[Interval(Integral, 1, None, closed="left"), None],
    )
    encoding_factor: float = parameter(
        default=1.0,
        doc="""float
        Under ``"topk"``, and there only, a fitted estimator keeps the
        ``encoding_factor * n_active`` largest units. More than in training often makes better
        features for a classifier.
        """,
        constraint=[Interval(Real, 0, None, closed="neither")],
    )
    hidden_sparsity_weight: float = parameter(
        default=0.0,
        doc=r"""float
        Factor :math:`\mu` of an L1 penalty on the encoder's hidden layers,
        :math:`\mu \sum_l \sum_j |h^{(l)}_j|`, beside whatever makes the code sparse. It needs a
        dense network.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "mean_activation_": """ndarray of shape (n_components,)
        Mean of each unit over the training rows, of its absolute value; over the last chunk
        after `partial_fit`.
        """,
        "dead_units_": """float
        Share of units that no training row activates by more than a thousandth.
        """,
    }

    def _build_module(self, n_features: int) -> SparseModule:
        if self.sparsity != "kl" and (self.n_active or 0) > self._code_size():
            raise ValueError(
                f"n_active={self.n_active} exceeds n_components={self._code_size()}; lower it."
            )
        network = self._compressing_network()
        if self.hidden_sparsity_weight and not isinstance(network, DenseNetwork):
            raise ValueError(
                f"hidden_sparsity_weight={self.hidden_sparsity_weight} needs a dense network, not "
                f"{type(network).__name__}."
            )
        return SparseModule(
            network,
            self.input_shape_,
            self.n_components,
            sparsity=self.sparsity,
            sparsity_target=self.sparsity_target,
            n_active=self.n_active,
            encoding_factor=self.encoding_factor,
        )

    def _settled_from(self) -> float:
        return 0.5 if self.sparsity == "topk" else 0.0

    def _loss(
        self,
        module: SparseModule,  # type: ignore[override]
        X: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        raw, hidden = self._encode(module, X)
        code = module.sparsify(raw, module.n_scheduled())
        terms = {
            "reconstruction": self._compare(module, module.decode(code), X if y is None else y)
        }
        if hidden:
            sizes = torch.stack([layer.to(X.dtype).abs().sum(1) for layer in hidden])
            terms["hidden_sparsity"] = self.hidden_sparsity_weight * sizes.sum(0)
        if self.sparsity == "kl":
            mean = module.running_mean(code, sample_weight)
            divergence = bernoulli_divergence(self.sparsity_target, mean).sum()
            return terms | {"sparsity": self._weight() * divergence}
        usage = module.running_mean((code != 0).to(code.dtype), sample_weight)
        if self.sparsity == "l1":
            terms["sparsity"] = self._l1(module, code, sample_weight)
        return terms | {"revival": module.revival(raw, code, usage)} if module.training else terms

    def _encode(self, module: SparseModule, X: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return what the encoder gives, and its hidden layers if they are penalised."""
        if not self.hidden_sparsity_weight:
            return module.encoder(X).to(X.dtype), []
        assert isinstance(module.encoder, DenseStack)
        raw, hidden = module.encoder.forward_with_hidden(X)
        return raw.to(X.dtype), hidden

    def _l1(self, module: SparseModule, code: Tensor, sample_weight: Tensor | None) -> Tensor:
        """Penalty of each row; its weight follows the number of active units if one is asked."""
        if self.n_active is None:
            return self._weight() * code.sum(1)
        excess = (code != 0).to(code.dtype).sum(1) / self.n_active - 1
        if sample_weight is not None:
            excess = excess * sample_weight
        if not module.training:  # epochs are compared by how well they keep to that number
            part = 1.0 if sample_weight is None else sample_weight.mean()
            return (excess.mean() / part - TOLERANCE).clamp_min(0)
        # Before the update: the factor of a batch must not depend on the batch.
        penalty = self._weight() * module.factor.clone() * code.sum(1)
        module.factor.mul_(1 + CONTROL * excess.mean().clamp(-1, 1))
        return penalty

    def _weight(self) -> float:
        if self.sparsity_weight is not None:
            return self.sparsity_weight
        return 0.3 if self.sparsity == "kl" else 0.03

    @torch.no_grad()
    def _describe(self, module: SparseModule, X: Rows) -> dict[str, Any]:
        total = torch.zeros(module.n_components, dtype=X.precise, device=X.device)
        most = torch.zeros_like(total)
        for chunk in X.chunks(module.network.rows_at_once):
            code = module.encode(X.take(chunk)).abs().to(X.precise)
            total += X.take_weight(chunk) @ code
            most = torch.maximum(most, code.amax(0))
        return {
            "mean_activation_": total / X.total_weight,
            "dead_units_": float((most < 1e-3).to(X.precise).mean()),
        }
