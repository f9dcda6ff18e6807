"""The restricted Boltzmann machine: two layers of units that bring about each other."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._backend.batches import Rows, by_chunks
from sklearn_ae._backend.isolation import isolated
from sklearn_ae._backend.linear import spread
from sklearn_ae._backend.random import drawing_from, make_generator
from sklearn_ae._backend.reach import lowest_if_far
from sklearn_ae._backend.resources import heavy, limit_if_forked
from sklearn_ae._backend.steps import ContrastiveStep
from sklearn_ae._backend.training import Training
from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._inference import module_as, open_rows
from sklearn_ae._inputs import check_count, kind_of
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks._boltzmann import BoltzmannModule, BoltzmannNetwork
from sklearn_ae.networks._partition import CELLS, pseudo_likelihood
from sklearn_ae.networks.boltzmann_gradient import Sparsity

JUDGED_UNITS = {"bernoulli": 16, "gaussian": 4}
"""Number of visible units of a held-out row whose likelihood given the others is computed."""


@dataclass(kw_only=True, eq=False, repr=False)
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

    Parameters
    ----------
    n_components : int, default=256
        Size of the code. It may exceed the number of features.
    density : "gaussian" or density estimator, default="gaussian"
        Distribution of the codes, for `sample`: the Gaussian that has the mean and the covariance
        of the training rows' codes, or what a clone of the given estimator makes of them, such
        as ``GaussianMixture(10)`` or ``KernelDensity(bandwidth="scott")`` of scikit-learn. It is
        fitted on 10,000 rows at most, each component of the code standardised.
    alpha : float, default=0.0001
        Weight decay: each step shrinks the weights, not the biases, by the factor
        ``1 - learning_rate * alpha``.
    batch_size : int or "auto", default="auto"
        Samples in a training step. ``"auto"`` is 64 below 1,024 training samples, 128 below
        16,384 and 256 from there.
    learning_rate : {"one_cycle", "constant"}, default="one_cycle"
        Schedule of the step size. ``"one_cycle"`` rises to `learning_rate_init` over the
        first tenth of `max_iter` and then falls to zero along half a cosine. With
        ``"constant"`` a ``ConvergenceWarning`` is raised if `max_iter`, larger than
        `n_iter_no_change`, ends a fit that is still improving by more than `tol`.
    learning_rate_init : float, default=0.03
        Step size of the optimiser, the largest one of the schedule.
    momentum : float, default=0.9
        Fraction of each step of gradient descent that is added to the next. Not used by Adam.
    max_iter : int, default=200
        Number of epochs, at most.
    tol : float, default=0.0001
        Smallest relative fall of the loss that counts as an improvement.
    early_stopping : bool, default=False
        Whether to hold out `validation_fraction` of the rows, judge each epoch on them and
        keep the best weights. If False, and without `X_val`, all rows are trained on and the
        last weights kept.
    validation_fraction : float, default=0.1
        Share of the rows to hold out. Copies of a row are held out together. Where that is
        less than one distinct row, all rows are trained and validated on alike, which proves
        nothing.
    n_iter_no_change : int or inf, default=100
        Epochs without an improvement, of the held-out loss or else of the training loss,
        after which training stops. ``numpy.inf``: never.
    warm_start : bool, default=False
        Whether `fit` continues from the present weights, optimiser state included.
    callbacks : list of skorch callbacks, default=None
        For example ``[skorch.callbacks.Checkpoint(...)]``. An ``LRScheduler`` replaces
        `learning_rate`.
    device : str or torch.device, default="auto"
        Where to train. ``"auto"`` is the device of `X` if it is a tensor on an accelerator,
        else the first CUDA device if there is one, else the CPU.
    precision : {"auto", "float32", "float64", "bfloat16"}, default="auto"
        Data types of training. ``"auto"`` trains in float32, except that float64 data are
        trained on in float64 where it costs little: in dense networks up to 512 rows, or
        weight matrices whose smaller side is up to 32; in other networks up to 64 rows. Where
        a smaller side is 256 or more, products are in bfloat16 if the hardware has
        instructions for it, and weights in float32. Results are always computed in the
        floating-point type of the data.
    random_state : int, RandomState instance or None, default=None
        Fixes initial weights, held-out rows, order and noise.
    verbose : int or bool, default=False
        Whether to show a progress bar with the loss and the time left.
    visible : {"gaussian", "bernoulli"}, default="gaussian"
        Distribution of a row given the hidden units. ``"gaussian"`` divides each feature by its
        standard deviation, and its variance given the hidden units is then one. ``"bernoulli"``
        needs data in [0, 1] and takes what lies between as a probability.
    n_steps : int, default=1
        Gibbs steps that lead to what the rows of a training step are contrasted with.
    persistent : bool, default=False
        Whether the Gibbs steps go on from where those of the last training step ended, and not
        from the rows. Closer to the gradient of the likelihood, if the weights move slowly or
        `n_steps` is larger.
    n_chains : int, default=100
        Number of persistent chains. Not used unless `persistent`.
    sparsity_target : float, default=None
        Mean activation that each hidden unit is drawn to. None: no such pull.
    sparsity_weight : float, default=3.0
        Strength of that pull: the input of each hidden unit is moved by so many times the
        distance of its mean activation from `sparsity_target`.

    Attributes
    ----------
    n_components_ : int
        Size of the code.
    n_features_in_ : int
        Number of features of a row, all axes of an image counted.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if `X` had names.
    input_shape_ : tuple of int
        Shape of one row of `X`.
    n_iter_ : int
        Number of epochs of the last call.
    loss_ : float
        Training loss of the last epoch, the sum of its terms. A squared error is in units of
        the variance of the training rows.
    loss_curve_ : list of float
        Training loss of each epoch.
    best_loss_ : float
        Lowest loss of an epoch. On held-out rows, where there are any, it is that of the
        weights kept.
    best_epoch_ : int
        Epoch of the last call whose weights were kept. Zero: those of its start, which under
        ``init="pca"`` are PCA's.
    validation_scores_ : list of float or None
        Fraction of variance explained on the held-out rows after each epoch, in units of the
        variance of the training rows.
    history_ : list of dict
        One entry an epoch with all losses by name.
    module_ : torch.nn.Module
        The network. Its ``encode`` and ``decode`` take centred and scaled rows.
    device_ : str
        Where it was trained.
    density_ : Pipeline or str
        What `sample` draws codes from: a scaler and the fitted `density`, or its name if it is no
        estimator.

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

    n_components: int = field(default=256, kw_only=False)
    loss: ClassVar[property] = property(  # type: ignore[misc]
        lambda self: "squared_error" if self.visible == "gaussian" else "binary_crossentropy"
    )
    output_activation: ClassVar[str] = "identity"  # type: ignore[misc]
    solver: ClassVar[str] = "sgd"  # type: ignore[misc]
    alpha: float = 1e-4
    learning_rate_init: float = 0.03
    early_stopping: bool = False
    visible: str = "gaussian"
    n_steps: int = 1
    persistent: bool = False
    n_chains: int = 100
    sparsity_target: float | None = None
    sparsity_weight: float = 3.0

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            name: allowed
            for name, allowed in BaseAutoencoder._parameter_constraints.items()
            if name not in ("loss", "output_activation", "solver")
        },
        "visible": [StrOptions({"gaussian", "bernoulli"})],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "persistent": ["boolean"],
        "n_chains": [Interval(Integral, 1, None, closed="left")],
        "sparsity_target": [Interval(Real, 0, 1, closed="neither"), None],
        "sparsity_weight": [Interval(Real, 0, None, closed="left")],
    }

    def _network(self) -> BoltzmannNetwork:
        return BoltzmannNetwork(visible=self.visible)

    def _build_module(self, n_features: int) -> BoltzmannModule:
        n_chains = self.n_chains if self.persistent else 0
        return BoltzmannModule(self._network(), self.input_shape_, self.n_components, n_chains)

    def _says_loss(self) -> str:
        return f"visible={self.visible!r}"

    def _pretrain(self, module: BoltzmannModule, X: Rows, seed: int) -> None:
        module.start_at(*spread(X))

    def _adjust(self, training: Training) -> Training:
        assert isinstance(training.module, BoltzmannModule)
        sparsity = None
        if self.sparsity_target is not None:
            sparsity = Sparsity(self.sparsity_target, self.sparsity_weight)
        training.make_step = functools.partial(
            ContrastiveStep, training.module, self.n_steps, sparsity, training.products
        )
        if training.held_out is None:  # the training loss tells nothing
            training.patience = math.inf
        return training

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
