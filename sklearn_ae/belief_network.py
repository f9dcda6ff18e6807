"""The deep belief network: restricted Boltzmann machines one on another, unrolled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import ClassVar

import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._estimator.bounds import cells_of_network
from sklearn_ae._estimator.inference import module_as, open_rows
from sklearn_ae._estimator.inputs import check_count, kind_of
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae._stacks.greedy import Stack, StackParameters
from sklearn_ae._training.batches import by_chunks
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.keys import row_keys, uniform_from_keys
from sklearn_ae._training.random import drawing_from, latin_grid, make_generator, shifted
from sklearn_ae._training.reach import lowest_if_far
from sklearn_ae._training.resources import heavy
from sklearn_ae.networks._belief import BeliefNetwork
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._partition import CELLS

CHAIN = 500
"""Gibbs steps of the topmost RBM before the layers below are drawn."""

DRAWS = 100
"""Draws of the hidden units for the bound of one sample's log-likelihood."""


@declares_parameters
class DeepBeliefNetwork(Stack):
    """Stack of restricted Boltzmann machines, unrolled into a deep autoencoder.

    Each layer is trained as a :class:`RestrictedBoltzmannMachine` on the hidden units of the one
    below, by contrastive divergence. Unrolled, the weights that went up and, transposed, those
    that go down are the start of a deep autoencoder, which back-propagation then fine-tunes.

    Under ``"binary_crossentropy"`` the rows are Bernoulli units, otherwise Gaussian ones of unit
    variance once centred and divided by their overall standard deviation.

    See Also
    --------
    RestrictedBoltzmannMachine : One layer, with its likelihood.
    StackedAutoencoderClassifier : Takes one as its `autoencoder`.

    References
    ----------
    Hinton, G. E. and Salakhutdinov, R. R. (2006). Reducing the dimensionality of data with
    neural networks. Science, 313(5786), 504-507.

    Hinton, G. E., Osindero, S. and Teh, Y.-W. (2006). A fast learning algorithm for deep belief
    nets. Neural Computation, 18(7), 1527-1554.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import DeepBeliefNetwork
    >>> X = load_digits().data / 16
    >>> network = DeepBeliefNetwork(
    ...     10, loss="binary_crossentropy", max_iter=50, random_state=0
    ... ).fit(X)
    >>> network.score(X) > 0.5
    True
    """

    # Derivatives of logistic units are at most a quarter: steps may be larger.
    learning_rate_init: float = 0.01
    hidden_layer_sizes: tuple[int, ...] = same_as(StackParameters, "hidden_layer_sizes")
    code_activation: str = parameter(
        default="identity",
        doc="""{"identity", "logistic"}
        Whether the units of the code are linear, with Gaussian noise of variance one in the
        machine, or logistic.
        """,
        constraint=[StrOptions({"identity", "logistic"})],
    )
    pretraining_max_iter: int | Sequence[int] = same_as(StackParameters, "pretraining_max_iter")
    n_steps: int = parameter(
        default=1,
        doc="""int
        Number of Gibbs steps of contrastive divergence.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    fine_tune: bool = parameter(
        default=True,
        doc="""bool
        Whether to train the unrolled network in the end, for `max_iter` epochs. If False,
        `early_stopping`, `max_iter` and what goes with them are not used, all samples are trained
        on, and the network is a density: `sample` draws from it, and `score_samples` is a lower
        bound of the log-likelihood.
        """,
        constraint=["boolean"],
    )

    activation: ClassVar[str] = "logistic"
    pretraining: ClassVar[str] = "rbm"

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "layer_histories_": """list of list of dict
        For each layer, one entry an epoch of its training. ``"contrastive"`` is the difference of
        free energies, which should stay near zero. `history_`, `loss_curve_` and `n_iter_` are
        those of the training of all layers together; where `fine_tune` is False, those of the last
        layer.
        """,
    }

    def _belief(self, module: AutoencoderModule) -> BeliefNetwork | None:
        """Return the generative model; None if back-propagation has trained the network on."""
        # RBMs are trained by contrastive divergence, all layers together by the loss.
        if any("contrastive" not in epoch for epoch in self.history_):
            return None
        if self._fitted_loss in ("poisson", "continuous_bernoulli"):
            raise ValueError(
                f"loss={self._fitted_loss!r} is no density of Boltzmann units: with "
                f"fine_tune=False use another loss, 'binary_crossentropy' for bits."
            )
        return BeliefNetwork(module, self._get_fitted_loss())

    @isolated
    @heavy
    def sample(self, n_samples=1, random_state=None, noise=True):
        """Draw new samples.

        With ``fine_tune=False`` the topmost RBM runs a Markov chain of 500 Gibbs steps from a code
        that is drawn as `density` has it, and the layers below are drawn one after another.
        Fine-tuned, the network is an autoencoder: codes are drawn and decoded.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.
        random_state : int, RandomState instance or None, default=None
            Controls the randomness of the draws.
        noise : bool, default=True
            Whether the visible units are drawn as well: bits under
            ``loss="binary_crossentropy"``, else Gaussian numbers whose standard deviation is
            that by which the network divides the data. If False they are their means given the
            layer above, smoother than the data. Without effect after fine-tuning, which leaves
            no distribution around what a code is decoded to.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Samples in the units of the training data.

        Raises
        ------
        ValueError
            If the network was fitted with ``fine_tune=False`` and a loss that belongs to no
            Boltzmann units, ``"poisson"`` or ``"continuous_bernoulli"``.
        """
        check_is_fitted(self)
        kind = kind_of(self._kind)
        module = module_as(self, kind.dtype)
        network = self._belief(module)
        if network is None:
            return super().sample(n_samples, random_state)
        check_count(n_samples, "n_samples")
        random_state = check_random_state(random_state)
        codes = torch.from_numpy(self._draw_codes(n_samples, random_state)).to(module.center)
        with drawing_from(make_generator(random_state.randint(2**31 - 1), codes.device)):
            parts = codes.split(module.network.rows_at_once)
            x = torch.cat([network.sample(part, CHAIN, noise) for part in parts])
        return kind.wrap((x * module.scale + module.center).reshape(-1, *self.input_shape_))

    @isolated
    def log_partition(self, n_temperatures=1000, n_runs=100):
        """Logarithm of the partition function of the topmost RBM.

        Exact where one of its layers has up to 20 binary units: all their states are listed; and
        where both its layers are linear. Otherwise annealed importance sampling estimates it,
        always with the same draws; the estimate errs on the low side, and the bound of the
        likelihood then on the high side. A warning says when it rests on few of the runs. The last
        result is remembered until the weights change.

        Parameters
        ----------
        n_temperatures : int, default=1000
            Number of RBMs that each run passes through. More come closer.
        n_runs : int, default=100
            Number of runs.

        Returns
        -------
        log_partition : float
            In the network's units.

        Raises
        ------
        ValueError
            If the network was fine-tuned, or is no density.
        """
        check_is_fitted(self)
        check_count(n_temperatures, "n_temperatures")
        check_count(n_runs, "n_runs")
        network = self._belief(self.module_)
        if network is None:
            raise ValueError(
                "After fine-tuning there are no RBMs and no partition function; set "
                "fine_tune=False."
            )
        return network.log_partition(n_temperatures, n_runs)

    @isolated
    def score_samples(self, X, n_draws=DRAWS):
        r"""Score each sample: the higher, the more like the training samples.

        With ``fine_tune=False`` the score is a lower bound of the log-likelihood, in nats:

        .. math:: \mathbb E_q \Big[ \sum_{l < L - 1} \log p(h_l | h_{l+1})
                  - \log q(h_{l+1} | h_l) - F(h_{L-1}) \Big] - \log Z ,

        with :math:`h_0` the sample, :math:`q` the recognition pass that draws each layer given
        the one below, and :math:`F` and :math:`Z` the free energy and the partition function
        (`log_partition`) of the topmost RBM. Without hidden layers it is the log-likelihood
        itself. After fine-tuning the score is minus the mean squared error of the reconstruction.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Samples.
        n_draws : int, default=100
            Number of draws of the hidden units that the expectation is estimated from, always
            the same for the same sample. The estimate is unbiased for any number.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Bound of the density per unit of `X`, or of the probability under
            ``loss="binary_crossentropy"``; after fine-tuning in squared units of `X`.

        Raises
        ------
        ValueError
            If the network is no density: of Poisson units, or of linear ones on both sides whose
            weights are too large.
        """
        check_count(n_draws, "n_draws")
        rows, kind, module = open_rows(self, X, "score_samples")
        if self._belief(module) is None:
            return super().score_samples(X)
        # Bits are drawn by thresholds, which rounding errors of float32 would cross.
        module = module if module.center.dtype == rows.precise else module_as(self, rows.precise)
        network = self._belief(module)
        assert network is not None
        grid = latin_grid(n_draws, network.n_inner).to(module.center)
        cells = cells_of_network(module, rows.n_features)

        def bound(x: Tensor) -> Tensor:
            keys = row_keys(x.cpu().numpy(), cells)
            shift = uniform_from_keys(keys, grid.shape[1]).to(grid)
            return lowest_if_far(network.bound(x.to(grid), shifted(grid, shift)), x)

        widest = max(rows.n_features, *(max(layer.weight.shape) for layer in network.layers))
        bounds = by_chunks(rows, bound, max(1, CELLS // (n_draws * widest)))
        return kind.wrap((bounds - self._log_volume(module)).to(kind.dtype))

    def _log_volume(self, module: AutoencoderModule) -> float:
        """Return what takes the bound in network units to the log-density per unit of `X`."""
        volume = 0.0
        if self._get_fitted_loss().scaled:
            volume = len(module.center) * math.log(float(module.scale))
        return self.log_partition() + volume
