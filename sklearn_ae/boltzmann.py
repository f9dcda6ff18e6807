"""The restricted Boltzmann machine (RBM): a model of the density with hidden binary units."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._estimator.blockwise import blockwise
from sklearn_ae._estimator.inference import module_as, open_samples
from sklearn_ae._estimator.inputs import array_type_of, check_count
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._parameters.documentation import documented_like
from sklearn_ae._training.batches import Batch, Samples, by_chunks
from sklearn_ae._training.description import TrainingRun
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.linear import mean_and_variance
from sklearn_ae._training.optimizer import FlatParameters
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae._training.reach import lowest_if_far
from sklearn_ae._training.resources import limit_if_forked, limit_resources
from sklearn_ae._training.steps import Terms
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks._boltzmann import BoltzmannModule, BoltzmannNetwork
from sklearn_ae.networks._partition import CELLS, pseudo_likelihood
from sklearn_ae.networks.boltzmann_gradient import ContrastiveGradient, Sparsity

EVALUATED_UNITS = {"bernoulli": 16, "gaussian": 4}
"""Number of visible units per held-out sample whose likelihood given the others is computed."""


class ContrastiveStep:
    """Gradient of contrastive divergence, in place of one by automatic differentiation.

    Parameters
    ----------
    module : BoltzmannModule
    n_steps : int
        Number of Gibbs steps from the samples to the fantasies.
    sparsity : Sparsity or None
    products : torch.dtype
        Dtype of the matrix products.
    flat : FlatParameters
        Not used, but it must exist: it allocates the gradients of the module's parameters.
    generator : torch.Generator
        Generator of the draws of the units.
    """

    def __init__(
        self,
        module: BoltzmannModule,
        n_steps: int,
        sparsity: Sparsity | None,
        products: torch.dtype,
        flat: FlatParameters,
        generator: torch.Generator,
    ) -> None:
        self.gradient = ContrastiveGradient(module, n_steps, sparsity, products, generator)

    def __call__(self, batch: Batch) -> Terms:
        """Write the gradient of the batch's loss; return its terms."""
        return self.gradient(batch.samples, batch.weight, batch.duplicates, batch.n_draws)


@declares_parameters
class RestrictedBoltzmannMachine(BaseAutoencoder):
    r"""Restricted Boltzmann machine (RBM): a model of the density with hidden binary units.

    Samples :math:`v` and hidden units :math:`h \in \{0, 1\}^{n}` have the joint probability
    :math:`e^{-E(v, h)} / Z`, where the energy for Bernoulli and for Gaussian visible units is

    .. math:: E(v, h) = -b^\top v - c^\top h - h^\top W v, \qquad
              E(v, h) = \tfrac12 \lVert v - b \rVert^2 - c^\top h - h^\top W v.

    Given one layer, the units of the other are independent and are drawn at once. Drawing the
    hidden and then the visible units is a Gibbs step. `transform` returns
    :math:`P(h = 1 | v)` and `inverse_transform` returns :math:`E[v | h]`.

    The gradient of the log-likelihood is a difference between statistics under the data and
    under the model. Contrastive divergence estimates the latter from samples that are `n_steps`
    Gibbs steps away from the data or, if `persistent`, from Markov chains that continue from
    batch to batch.

    With the free energy :math:`F(v) = -\log \sum_h e^{-E(v, h)}` the log-likelihood is
    :math:`-F(v) - \log Z`; `score_samples` returns it in nats and in the units of `X`. `score`
    is the fraction of variance explained, as for all autoencoders. To select by likelihood, pass
    ``scoring=lambda estimator, X, y=None: estimator.score_samples(X).mean()`` to a search.

    The gradient that training follows is not that of a loss function. ``"contrastive"`` in
    `history_` is the mean free energy of the samples minus that of the samples of the model: it
    stays near zero and does not measure progress. With ``early_stopping=True`` or `X_val` the
    held-out samples are evaluated by their pseudo-likelihood, the probabilities of single
    features given all others.

    See Also
    --------
    sklearn.neural_network.BernoulliRBM : RBM with binary visible units and persistent chains.

    References
    ----------
    Hinton, G. E. (2002). Training products of experts by minimizing contrastive divergence. Neural
    Computation, 14(8), 1771-1800.

    Tieleman, T. (2008). Training restricted Boltzmann machines using approximations to the
    likelihood gradient. ICML.

    Salakhutdinov, R. and Murray, I. (2008). On the quantitative analysis of deep belief networks.
    ICML.

    Hinton, G. E. (2012). A practical guide to training restricted Boltzmann machines. LNCS 7700,
    599-619.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import RestrictedBoltzmannMachine
    >>> X = (load_digits().data > 7).astype(float)
    >>> rbm = RestrictedBoltzmannMachine(15, visible="bernoulli", random_state=0).fit(X)
    >>> rbm.transform(X).shape
    (1797, 15)
    >>> bool(rbm.score_samples(X).mean() > -21)
    True
    >>> rbm.sample(3, random_state=0).shape
    (3, 64)
    """

    n_components: Any = parameter(  # int or None
        default=256,
        doc="""int or None
        Number of hidden units. None: ``min(n_samples, n_features)``.
        """,
        # No fraction: a hidden unit that is zero is not absent, so that codes cannot be truncated.
        constraint=[Interval(Integral, 1, None, closed="left"), None],
        kw_only=False,
    )
    ordered: ClassVar[bool] = False  # type: ignore[misc]
    loss: ClassVar[property] = property(  # type: ignore[misc]
        lambda self: "squared_error" if self.visible == "gaussian" else "binary_crossentropy"
    )
    output_activation: ClassVar[str] = "identity"  # type: ignore[misc]
    solver: ClassVar[str] = "sgd"  # type: ignore[misc]
    alpha: float = 1e-4
    learning_rate_init: float = 0.03
    early_stopping: bool = False
    visible: str = parameter(
        default="gaussian",
        doc="""{"gaussian", "bernoulli"}
        Distribution of a sample given the hidden units. ``"gaussian"`` divides each feature by
        its standard deviation; the variance given the hidden units is then one. ``"bernoulli"``
        requires data in [0, 1] and interprets values between 0 and 1 as probabilities.
        """,
        constraint=[StrOptions({"gaussian", "bernoulli"})],
    )
    n_steps: int = parameter(
        default=1,
        doc="""int
        Number of Gibbs steps per training step.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    persistent: bool = parameter(
        default=False,
        doc="""bool
        Whether the Gibbs steps of a training step start at the end of those of the previous step
        (persistent contrastive divergence), and not at the samples. The estimate is closer to the
        gradient of the likelihood if the weights change slowly or `n_steps` is large.
        """,
        constraint=["boolean"],
    )
    n_chains: int = parameter(
        default=100,
        doc="""int
        Number of persistent chains. Not used if `persistent` is False.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    sparsity_target: float | None = parameter(
        default=None,
        doc="""float
        Target of the mean activation of each hidden unit. None means no target.
        """,
        constraint=[Interval(Real, 0, 1, closed="neither"), None],
    )
    sparsity_weight: float = parameter(
        default=3.0,
        doc="""float
        Strength of the pull towards `sparsity_target`: this factor, times the difference between
        the mean activation of a hidden unit and the target, is added to the gradient with respect
        to its input.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )

    _attribute_docs: ClassVar[dict[str, str | None]] = {"explained_variance_ratio_": None}

    def _network(self) -> BoltzmannNetwork:
        return BoltzmannNetwork(visible=self.visible)

    def _build_module(self, n_features: int) -> BoltzmannModule:
        n_chains = self.n_chains if self.persistent else 0
        return BoltzmannModule(self._network(), self.input_shape_, self.n_components, n_chains)

    def _allows_missing(self) -> bool:
        return False  # a missing unit would have to be drawn in each step of a chain

    def _loss_description(self) -> str:
        return f"visible={self.visible!r}"

    def _pretrain(self, module: BoltzmannModule, X: Samples, seed: int) -> None:
        module.start_at(*mean_and_variance(X))

    def _adjust(self, run: TrainingRun) -> TrainingRun:
        assert isinstance(run.module, BoltzmannModule)
        sparsity = None
        if self.sparsity_target is not None:
            sparsity = Sparsity(self.sparsity_target, self.sparsity_weight)
        step = functools.partial(ContrastiveStep, run.module, self.n_steps, sparsity, run.products)
        parameters = run.parameters
        # The contrastive loss does not measure progress, so it must not stop training.
        if run.held_out is None:
            parameters = replace(parameters, n_iter_no_change=math.inf)
        objective = replace(run.objective, make_step=step)
        return replace(run, objective=objective, parameters=parameters)

    def _samples_at_once(self, network: Network) -> int:
        size: int = self.n_components
        return max(1, CELLS // (size * EVALUATED_UNITS[self.visible]))

    def _loss(
        self,
        module: BoltzmannModule,  # type: ignore[override]
        X: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss of held-out samples; training steps use the contrastive gradient."""
        n_samples, n_features = X.shape
        n_evaluated = min(EVALUATED_UNITS[self.visible], n_features)
        # Stratified: one random unit out of each of `n_evaluated` equal intervals of features.
        position = torch.rand(n_samples, n_evaluated, dtype=X.dtype, device=X.device)
        position = torch.arange(n_evaluated, device=X.device) + position
        # Rounding may put the last position at n_features, which is no column.
        columns = (position * (n_features / n_evaluated)).long().clamp_max(n_features - 1)
        likelihood = pseudo_likelihood(module.layer, X / module.sigma, columns)
        return {"pseudo_likelihood": -n_features * likelihood}

    @isolated
    @blockwise
    @documented_like(BaseAutoencoder.transform)
    def free_energy(self, X):
        """Return the free energy of each sample, in nats.

        Returns
        -------
        energy : ndarray of shape (n_samples,)
            Minus the logarithm of the unnormalised density: lower values are more likely.
        """
        samples, array_type, module = open_samples(self, X, "free_energy")
        return array_type.wrap(-_log_unnormalized(module, samples))

    @isolated
    def log_partition(self, n_temperatures=1000, n_runs=100):
        """Return the logarithm of the partition function.

        It is the logarithm of the sum, or the integral, of ``exp(-free_energy(x))`` over all
        possible samples. If one of the layers has at most 20 binary units, it is exact: all their
        states are enumerated. Otherwise it is estimated by annealed importance sampling with
        fixed random numbers. The estimate tends to be too small, and likelihoods too large. The
        result is cached until the weights change.

        Parameters
        ----------
        n_temperatures : int, default=1000
            Number of intermediate distributions of each run. The estimate improves with more.
        n_runs : int, default=100
            Number of runs.

        Returns
        -------
        log_partition : float
            Logarithm of the partition function, for densities per unit of `X`.

        Warns
        -----
        UserWarning
            If the estimate depends on only a few of the runs.
        """
        check_is_fitted(self)
        check_count(n_temperatures, "n_temperatures")
        check_count(n_runs, "n_runs")
        limit_if_forked()
        module: Any = self.module_
        return module.log_partition(n_temperatures, n_runs)

    @isolated
    @blockwise
    @documented_like(BaseAutoencoder.transform)
    def score_samples(self, X):
        """Return the log-likelihood of each sample, in nats.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            ``-free_energy(X) - log_partition()``: the log-density per unit of `X`, or the
            log-probability under ``visible="bernoulli"``.
        """
        samples, array_type, module = open_samples(self, X, "score_samples")
        return array_type.wrap(_log_unnormalized(module, samples) - self.log_partition())

    @isolated
    def gibbs(self, V, n_steps=1, random_state=None):
        """Run Gibbs steps from given samples.

        Each step draws the hidden units given the visible ones, and then the visible units given
        the hidden ones.

        Parameters
        ----------
        V : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Samples to start from.
        n_steps : int, default=1
            Number of Gibbs steps.
        random_state : int, RandomState instance or None, default=None
            Controls the randomness of the draws.

        Returns
        -------
        V_new : ndarray of the shape of `V`
            Samples in the units of the training data.
        """
        check_count(n_steps, "n_steps")
        samples, array_type, module = open_samples(self, V, "gibbs")
        assert isinstance(module, BoltzmannModule)
        run = functools.partial(self._run_gibbs, module, n_steps=n_steps)
        seed = check_random_state(random_state).randint(2**31 - 1)
        with drawing_from(make_generator(seed, samples.device)):
            result = by_chunks(samples, run, module.network.samples_at_once)
        return array_type.wrap(result.reshape(-1, *self.input_shape_))

    @isolated
    @limit_resources
    @torch.no_grad()
    def sample(self, n_samples=1, random_state=None, n_steps=500):
        """Draw new samples by Markov chains.

        Each chain starts at a sample decoded from a code that is drawn from the distribution that
        `density` selects, and runs Gibbs steps.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples, each from its own chain.
        random_state : int, RandomState instance or None, default=None
            Controls the randomness of the samples.
        n_steps : int, default=500
            Number of Gibbs steps of each chain.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Samples in the units of the training data; bits under ``visible="bernoulli"``.
        """
        check_count(n_steps, "n_steps")
        random_state = check_random_state(random_state)
        check_is_fitted(self)
        check_count(n_samples, "n_samples")
        array_type = array_type_of(self._kind)
        module: Any = module_as(self, array_type.dtype)
        codes = torch.from_numpy(self._draw_codes(n_samples, random_state)).to(module.center)
        link = self._get_fitted_loss().mean

        def chains(codes: Tensor) -> Tensor:
            # Codes are drawn from a density on the whole space, but are means of bits.
            return self._run_gibbs(module, link(module.decode(codes.clamp(0, 1))), n_steps)

        parts = torch.split(codes, module.network.samples_at_once)
        with drawing_from(make_generator(random_state.randint(2**31 - 1), codes.device)):
            x = torch.cat([chains(part) for part in parts])
        return array_type.wrap(x.reshape(-1, *self.input_shape_))

    def _run_gibbs(self, module: BoltzmannModule, x: Tensor, n_steps: int) -> Tensor:
        """Run Gibbs steps from samples in network units; return samples in units of the data."""
        return module.gibbs(x, n_steps) * module.scale + module.center


def _log_unnormalized(module: Any, samples: Samples) -> Tensor:
    """Return the logarithm of the unnormalised density of samples."""
    return by_chunks(
        samples, lambda x: lowest_if_far(-module.free_energy(x), x), module.network.samples_at_once
    )
