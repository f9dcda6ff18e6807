"""The sparse autoencoder: only few components of each code are active."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._estimator.network_choice import NetworkChoice
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._training.batches import Samples
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.losses import bernoulli_divergence
from sklearn_ae.networks import DenseNetwork
from sklearn_ae.networks._sparse import SparseModule
from sklearn_ae.networks.dense import DenseStack

PENALTY_STEP = 0.03
"""Relative change of the penalty's factor in a step if there are twice `n_active` active units."""

TOLERANCE = 0.1
"""Relative excess of active units up to which an epoch is not penalised."""


@declares_parameters
class SparseAutoencoder(NetworkChoice, BaseAutoencoder):
    r"""Autoencoder with sparse codes.

    The code may have more components (units) than the data have features, but only few of them
    are active for each sample. The parameter `sparsity` selects one of three methods:

    * ``"kl"``: units are logistic, and the loss contains the divergence of each unit's mean
      activation :math:`\hat\rho_j` from the target :math:`\rho`,

      .. math:: \lambda \sum_j \rho \log\frac{\rho}{\hat\rho_j}
                + (1 - \rho) \log\frac{1 - \rho}{1 - \hat\rho_j}.

      :math:`\hat\rho_j` is a running mean over batches, because the mean over a single batch
      varies, which would make the divergence too large.
    * ``"l1"``: units are rectified, and the loss contains :math:`\lambda \sum_j |z_j|`. If
      `n_active` is given, :math:`\lambda` is adapted during training until on average that many
      units are active.
    * ``"topk"``: the `n_active` largest units keep their values, and the others are set to zero.
      Training starts with all units; their number decreases to `n_active` over the first half.

    Under ``"l1"`` and ``"topk"`` some units may become dead: no sample activates them. An
    additional loss term increases the inputs of dead units until they are active again.

    See Also
    --------
    sklearn.decomposition.DictionaryLearning : Sparse codes found by optimisation per sample.

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
        doc="""int or None
        Number of components (units) of the code. It may exceed the number of features. None:
        ``min(n_samples, n_features)``, or the maps of the network if it has maps.
        """,
        # No fraction: PCA would bound the number, and sparse codes are wider than PCA's.
        constraint=[Interval(Integral, 1, None, closed="left"), None],
        kw_only=False,
    )
    sparsity: str = parameter(
        default="kl",
        doc="""{"kl", "l1", "topk"}
        Method that makes the codes sparse: a divergence of mean activations from
        `sparsity_target`, an L1 penalty, or a fixed number of active units.
        """,
        constraint=[StrOptions({"kl", "l1", "topk"})],
    )
    sparsity_target: float = parameter(
        default=0.05,
        doc="""float
        Target of the mean activation of each unit under ``"kl"``; fraction of active units under
        ``"topk"`` if `n_active` is None.
        """,
        constraint=[Interval(Real, 0, 1, closed="neither")],
    )
    sparsity_weight: float | None = parameter(
        default=None,
        doc=r"""float
        Factor :math:`\lambda` of the penalty. Under squared error the reconstruction loss, to
        which the penalty is added, is the fraction of variance that is not explained. None means
        0.3 under ``"kl"`` and 0.03 under ``"l1"``.
        """,
        constraint=[Interval(Real, 0, None, closed="left"), None],
    )
    n_active: int | None = parameter(
        default=None,
        doc="""int
        Number of active units per code. If None, it is the fraction `sparsity_target` of the
        units, at least one, under ``"topk"``; under ``"l1"`` the penalty has the constant factor
        `sparsity_weight`. Not used under ``"kl"``.
        """,
        constraint=[Interval(Integral, 1, None, closed="left"), None],
    )
    encoding_factor: float = parameter(
        default=1.0,
        doc="""float
        Under ``"topk"`` a fitted estimator keeps the ``encoding_factor * n_active`` largest units
        of each code. More units than in training often are better features for a classifier. Not
        used otherwise.
        """,
        constraint=[Interval(Real, 0, None, closed="neither")],
    )
    hidden_sparsity_weight: float = parameter(
        default=0.0,
        doc=r"""float
        Factor :math:`\mu` of an L1 penalty on the encoder's hidden layers,
        :math:`\mu \sum_l \sum_j |h^{(l)}_j|`, in addition to that on the code. Requires a dense
        network.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "mean_activation_": """ndarray of shape (n_components,)
        Mean absolute value of each unit over the training samples; over the last chunk after
        `partial_fit`.
        """,
        "dead_units_": """float
        Fraction of units whose absolute value is below 0.001 for all training samples.
        """,
    }

    def _build_module(self, n_features: int) -> SparseModule:
        if self.sparsity != "kl" and (self.n_active or 0) > self._code_size():
            raise ValueError(
                f"n_active={self.n_active} exceeds n_components={self._code_size()}; reduce it."
            )
        network = self._compressing_network()
        if self.hidden_sparsity_weight and not isinstance(network, DenseNetwork):
            raise ValueError(
                f"hidden_sparsity_weight={self.hidden_sparsity_weight} needs a dense network, not "
                f"{type(network).__name__}; set it to 0 or use DenseNetwork."
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

    def _annealed_from(self) -> float:
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
            norms = torch.stack([layer.to(X.dtype).abs().sum(1) for layer in hidden])
            terms["hidden_sparsity"] = self.hidden_sparsity_weight * norms.sum(0)
        if self.sparsity == "kl":
            mean = module.running_mean(code, sample_weight)
            divergence = bernoulli_divergence(self.sparsity_target, mean).sum()
            return terms | {"sparsity": self._weight() * divergence}
        # Fraction of samples for which each unit is active, (n_components,): no gradient.
        usage = module.running_mean((code != 0).to(code.dtype), sample_weight)
        if self.sparsity == "l1":
            terms["sparsity"] = self._l1(module, code, sample_weight)
        return terms | {"revival": module.revival(raw, code, usage)} if module.training else terms

    def _encode(self, module: SparseModule, X: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the encoder's output and, if they are penalised, its hidden layers."""
        # Layers may be bfloat16; losses are computed in the dtype of the data.
        if not self.hidden_sparsity_weight:
            return module.encoder(X).to(X.dtype), []
        assert isinstance(module.encoder, DenseStack)
        raw, hidden = module.encoder.forward_with_hidden(X)
        return raw.to(X.dtype), hidden

    def _l1(self, module: SparseModule, code: Tensor, sample_weight: Tensor | None) -> Tensor:
        """Return the L1 penalty per sample; with `n_active` its factor is adapted in training."""
        if self.n_active is None:
            return self._weight() * code.sum(1)
        excess = (code != 0).to(code.dtype).sum(1) / self.n_active - 1
        if sample_weight is not None:
            excess = excess * sample_weight
        # The factor changes from epoch to epoch, so penalties of two epochs are not comparable.
        # In evaluation the term is the excess of active units instead.
        if not module.training:
            mean_weight = 1.0 if sample_weight is None else sample_weight.mean()
            return (excess.mean() / mean_weight - TOLERANCE).clamp_min(0)
        # Before the update: the factor of a batch must not depend on the batch.
        penalty = self._weight() * module.factor.clone() * code.sum(1)
        module.factor.mul_(1 + PENALTY_STEP * excess.mean().clamp(-1, 1))
        return penalty

    def _weight(self) -> float:
        if self.sparsity_weight is not None:
            return self.sparsity_weight
        return 0.3 if self.sparsity == "kl" else 0.03

    @torch.no_grad()
    def _fitted_attributes(self, module: SparseModule, X: Samples) -> dict[str, Any]:
        total = torch.zeros(module.n_components, dtype=X.precise, device=X.device)
        maximum = torch.zeros_like(total)
        for chunk in X.chunks(module.network.samples_at_once):
            code = module.encode(X.take(chunk)).abs().to(X.precise)
            total += X.take_weight(chunk) @ code
            maximum = torch.maximum(maximum, code.amax(0))
        return {
            "mean_activation_": total / X.total_weight,
            "dead_units_": float((maximum < 1e-3).to(X.precise).mean()),
        }
