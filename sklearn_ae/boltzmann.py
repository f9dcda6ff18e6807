"""The restricted Boltzmann machine: two layers of units that bring about each other."""

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
from sklearn_ae._estimator.inference import module_as, open_rows
from sklearn_ae._estimator.inputs import check_count, kind_of
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._training.batches import Batch, Rows, by_chunks
from sklearn_ae._training.description import TrainingRun
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.linear import spread
from sklearn_ae._training.optimizer import FlatParameters
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae._training.reach import lowest_if_far
from sklearn_ae._training.resources import heavy, limit_if_forked
from sklearn_ae._training.steps import Terms
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks._boltzmann import BoltzmannModule, BoltzmannNetwork
from sklearn_ae.networks._partition import CELLS, pseudo_likelihood
from sklearn_ae.networks.boltzmann_gradient import ContrastiveGradient, Sparsity

JUDGED_UNITS = {"bernoulli": 16, "gaussian": 4}
"""Number of visible units of a held-out row whose likelihood given the others is computed."""


class ContrastiveStep:
    """Gradient of contrastive divergence, in place of one by automatic differentiation.

    Parameters
    ----------
    module : BoltzmannModule
    n_steps : int
        Gibbs steps between the phases.
    sparsity : Sparsity or None
    products : torch.dtype
        Precision of the matrix products.
    flat : FlatParameters
        Made before: it gives the parameters the places of their gradients.
    generator : torch.Generator
        What the units are drawn from.
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
        return self.gradient(batch.rows, batch.weight, batch.twins)


@declares_parameters
class RestrictedBoltzmannMachine(BaseAutoencoder):
    r"""Model of the density of rows by hidden binary units.

    Rows :math:`v` and hidden units :math:`h \in \{0, 1\}^{n}` have the joint probability
    :math:`e^{-E(v, h)} / Z`, where for Bernoulli and for Gaussian visible units

    .. math:: E(v, h) = -b^\top v - c^\top h - h^\top W v, \qquad
              E(v, h) = \tfrac12 \lVert v - b \rVert^2 - c^\top h - h^\top W v.

    Given one layer the units of the other are independent, so both are drawn at once: a Gibbs
    step. `transform` returns :math:`P(h = 1 | v)` and `inverse_transform` :math:`E[v | h]`.
    The gradient of the log-likelihood is a difference of statistics under the data and under
    the model; contrastive divergence takes the latter from rows that are `n_steps` Gibbs steps
    away from the data or, if `persistent`, from chains that go on from batch to batch.

    With the free energy :math:`F(v) = -\log \sum_h e^{-E(v, h)}` the log-likelihood is
    :math:`-F(v) - \log Z`, which `score_samples` returns, in nats and in the units of `X`. `score`
    is the variance explained, as for all autoencoders; to choose by likelihood give a search
    ``scoring=lambda estimator, X, y=None: estimator.score_samples(X).mean()``.

    Training lowers no loss that could be written down: ``"contrastive"`` in the history, the free
    energy of the rows less that of what the model makes up, is near zero throughout and no measure
    of progress. With ``early_stopping=True`` or `X_val` the rows held out are judged by their
    pseudo-likelihood, the probabilities of single features given all others.

    See Also
    --------
    sklearn.neural_network.BernoulliRBM : Binary visible units, persistent chains.

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
    >>> machine = RestrictedBoltzmannMachine(15, visible="bernoulli", random_state=0).fit(X)
    >>> machine.transform(X).shape
    (1797, 15)
    >>> bool(machine.score_samples(X).mean() > -21)
    True
    >>> machine.sample(3, random_state=0).shape
    (3, 64)
    """

    n_components: int = parameter(
        default=256,
        kw_only=False,
    )
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
        Distribution of a row given the hidden units. ``"gaussian"`` divides each feature by its
        standard deviation, and its variance given the hidden units is then one. ``"bernoulli"``
        needs data in [0, 1] and takes what lies between as a probability.
        """,
        constraint=[StrOptions({"gaussian", "bernoulli"})],
    )
    n_steps: int = parameter(
        default=1,
        doc="""int
        Gibbs steps that lead to what the rows of a training step are contrasted with.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    persistent: bool = parameter(
        default=False,
        doc="""bool
        Whether the Gibbs steps go on from where those of the last training step ended, and not
        from the rows. Closer to the gradient of the likelihood, if the weights move slowly or
        `n_steps` is larger.
        """,
        constraint=["boolean"],
    )
    n_chains: int = parameter(
        default=100,
        doc="""int
        Number of persistent chains. Not used unless `persistent`.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    sparsity_target: float | None = parameter(
        default=None,
        doc="""float
        Mean activation that each hidden unit is drawn to. None: no such pull.
        """,
        constraint=[Interval(Real, 0, 1, closed="neither"), None],
    )
    sparsity_weight: float = parameter(
        default=3.0,
        doc="""float
        Strength of that pull: the input of each hidden unit is moved by so many times the
        distance of its mean activation from `sparsity_target`.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )

    def _network(self) -> BoltzmannNetwork:
        return BoltzmannNetwork(visible=self.visible)

    def _build_module(self, n_features: int) -> BoltzmannModule:
        n_chains = self.n_chains if self.persistent else 0
        return BoltzmannModule(self._network(), self.input_shape_, self.n_components, n_chains)

    def _says_loss(self) -> str:
        return f"visible={self.visible!r}"

    def _pretrain(self, module: BoltzmannModule, X: Rows, seed: int) -> None:
        module.start_at(*spread(X))

    def _adjust(self, run: TrainingRun) -> TrainingRun:
        assert isinstance(run.module, BoltzmannModule)
        sparsity = None
        if self.sparsity_target is not None:
            sparsity = Sparsity(self.sparsity_target, self.sparsity_weight)
        step = functools.partial(ContrastiveStep, run.module, self.n_steps, sparsity, run.products)
        parameters = run.parameters
        if run.held_out is None:  # the training loss is no measure of progress
            parameters = replace(parameters, n_iter_no_change=math.inf)
        objective = replace(run.objective, make_step=step)
        return replace(run, objective=objective, parameters=parameters)

    def _rows_at_once(self, network: Network) -> int:
        return max(1, CELLS // (self.n_components * JUDGED_UNITS[self.visible]))

    def _loss(
        self,
        module: BoltzmannModule,  # type: ignore[override]
        X: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return what held-out rows are judged by; the training has a step of its own."""
        n_rows, n_features = X.shape
        n_judged = min(JUDGED_UNITS[self.visible], n_features)
        # One unit out of each of as many parts of the row, evenly.
        place = torch.rand(n_rows, n_judged, dtype=X.dtype, device=X.device)
        place = (torch.arange(n_judged, device=X.device) + place) * (n_features / n_judged)
        columns = place.long().clamp_max(n_features - 1)
        likelihood = pseudo_likelihood(module.layer, X / module.sigma, columns)
        return {"pseudo_likelihood": -n_features * likelihood}

    @isolated
    def free_energy(self, X):
        """Free energy of each row, in nats.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        energy : ndarray of shape (n_samples,)
            Minus the logarithm of a density that is not normalised: lower is more likely.
        """
        rows, kind, module = open_rows(self, X, "free_energy")
        return kind.wrap(-_unnormalized(module, rows))

    @isolated
    def log_partition(self, n_temperatures=1000, n_runs=100):
        """Logarithm of the sum, or integral, of ``exp(-free_energy(x))`` over all rows.

        Exact where one layer has up to 20 binary units: all their states are listed. Otherwise
        annealed importance sampling estimates it, always with the same draws; the estimate errs
        on the low side, and the likelihood then on the high side. A warning says when it rests on
        few of the runs. The last result is remembered until the weights change.

        Parameters
        ----------
        n_temperatures : int, default=1000
            Number of machines that each run passes through. More come closer.
        n_runs : int, default=100
            Number of runs.

        Returns
        -------
        log_partition : float
        """
        check_is_fitted(self)
        check_count(n_temperatures, "n_temperatures")
        check_count(n_runs, "n_runs")
        limit_if_forked()
        module: Any = self.module_
        return module.log_partition(n_temperatures, n_runs)

    @isolated
    def score_samples(self, X):
        """Log-likelihood of each row, in nats.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            ``-free_energy(X) - log_partition()``: density per unit of `X`, or probability under
            ``visible="bernoulli"``.
        """
        rows, kind, module = open_rows(self, X, "score_samples")
        return kind.wrap(_unnormalized(module, rows) - self.log_partition())

    @isolated
    def gibbs(self, V, n_steps=1, random_state=None):
        """Draw the hidden units given the rows and then rows given those, over and over.

        Parameters
        ----------
        V : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows to start from.
        n_steps : int, default=1
            How many times.
        random_state : int, RandomState instance or None, default=None
            Fixes the draw.

        Returns
        -------
        V_new : ndarray of the shape of `V`
            Rows in the units of the training data.
        """
        check_count(n_steps, "n_steps")
        rows, kind, module = open_rows(self, V, "gibbs")
        assert isinstance(module, BoltzmannModule)
        walk = functools.partial(self._walk, module, n_steps=n_steps)
        seed = check_random_state(random_state).randint(2**31 - 1)
        with drawing_from(make_generator(seed, rows.device)):
            result = by_chunks(rows, walk, module.network.rows_at_once)
        return kind.wrap(result.reshape(-1, *self.input_shape_))

    @isolated
    @heavy
    @torch.no_grad()
    def sample(self, n_samples=1, random_state=None, n_steps=500):
        """Draw new rows by Markov chains.

        A chain starts at a row decoded from a likely code and takes Gibbs steps.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, each the end of a chain of its own.
        random_state : int, RandomState instance or None, default=None
            Fixes the draw.
        n_steps : int, default=500
            Length of the chains.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows in the units of the training data; bits under ``visible="bernoulli"``.
        """
        check_count(n_steps, "n_steps")
        random_state = check_random_state(random_state)
        check_is_fitted(self)
        check_count(n_samples, "n_samples")
        kind = kind_of(self._kind)
        module: Any = module_as(self, kind.dtype)
        codes = torch.from_numpy(self._draw_codes(n_samples, random_state)).to(module.center)
        link = self._get_fitted_loss().mean

        def walk(codes: Tensor) -> Tensor:
            return self._walk(module, link(module.decode(codes.clamp(0, 1))), n_steps)

        with drawing_from(make_generator(random_state.randint(2**31 - 1), codes.device)):
            x = torch.cat([walk(part) for part in codes.split(module.network.rows_at_once)])
        return kind.wrap(x.reshape(-1, *self.input_shape_))

    def _walk(self, module: Any, x: Tensor, n_steps: int) -> Tensor:
        """Take rows in network units some Gibbs steps further, into the units of the data."""
        return module.gibbs(x, n_steps) * module.scale + module.center


def _unnormalized(module: Any, rows: Rows) -> Tensor:
    """Return the logarithm of the density of rows that is not normalised."""
    return by_chunks(
        rows, lambda x: lowest_if_far(-module.free_energy(x), x), module.network.rows_at_once
    )
