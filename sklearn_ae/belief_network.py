"""The deep belief network: a stack of restricted Boltzmann machines (RBMs)."""

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
from sklearn_ae._estimator.blockwise import blockwise
from sklearn_ae._estimator.bounds import cells_of_network
from sklearn_ae._estimator.inference import module_as, open_samples
from sklearn_ae._estimator.inputs import array_type_of, check_count
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae._parameters.documentation import documented_like
from sklearn_ae._stacks.greedy import Stack, StackParameters
from sklearn_ae._training.batches import by_chunks
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.keys import sample_keys, uniform_from_keys
from sklearn_ae._training.random import drawing_from, latin_grid, make_generator, shifted
from sklearn_ae._training.reach import lowest_if_far
from sklearn_ae._training.resources import limit_resources
from sklearn_ae.networks._belief import BeliefNetwork
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._partition import CELLS

CHAIN = 500
"""Number of Gibbs steps of the topmost RBM before the layers below are drawn."""

DRAWS = 100
"""Number of draws of the hidden units for the bound of one sample's log-likelihood."""


@declares_parameters
class DeepBeliefNetwork(Stack):
    """Stack of restricted Boltzmann machines (RBMs), unrolled into a deep autoencoder.

    Each layer is trained by contrastive divergence, as a :class:`RestrictedBoltzmannMachine` on
    the hidden units of the layer below. The weights of the layers are then those of the encoder
    and, transposed, those of the decoder of a deep autoencoder, which back-propagation fine-tunes.

    Under ``loss="binary_crossentropy"`` the visible units are Bernoulli units. Under other losses
    they are Gaussian units of unit variance, for samples that are centred and divided by their
    overall standard deviation.

    See Also
    --------
    RestrictedBoltzmannMachine : A single layer, with its likelihood.
    StackedAutoencoderClassifier : Classifier that accepts this estimator as its `autoencoder`.

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
    >>> X = load_digits().data[:600] / 16
    >>> network = DeepBeliefNetwork(
    ...     10, loss="binary_crossentropy", max_iter=50, random_state=0
    ... ).fit(X)
    >>> network.score(X) > 0.5
    True
    """

    # Derivatives of logistic units are at most 1/4, so larger steps than the default are stable.
    learning_rate_init: float = 0.01
    hidden_layer_sizes: tuple[int, ...] = same_as(StackParameters, "hidden_layer_sizes")
    code_activation: str = parameter(
        default="identity",
        doc="""{"identity", "logistic"}
        Non-linearity of the code. In the RBM the units of the code are Gaussian with variance one
        under ``"identity"``, and binary under ``"logistic"``.
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
        Whether to train the unrolled network for up to `max_iter` epochs after all layers. If
        False, `max_iter`, `early_stopping` and the parameters related to them are not used, all
        samples are used for training, and the network is a model of the density: `sample` draws
        from it, and `score_samples` returns a lower bound of the log-likelihood. The losses
        ``"poisson"`` and ``"continuous_bernoulli"`` are no densities of Boltzmann units and raise
        a ``ValueError`` in `fit` then.
        """,
        constraint=["boolean"],
    )

    activation: ClassVar[str] = "logistic"
    pretraining: ClassVar[str] = "rbm"

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "layer_histories_": """list of list of dict
        For each layer a list with one entry per epoch. ``"contrastive"`` is the difference of free
        energies, which should stay near zero. `history_`, `loss_curve_` and `n_iter_` describe the
        training of all layers together or, if `fine_tune` is False, that of the last layer.
        """,
    }

    def _build_module(self, n_features: int) -> AutoencoderModule:
        if not self.fine_tune and self.loss in ("poisson", "continuous_bernoulli"):
            raise ValueError(
                f"loss={self.loss!r} is no density of Boltzmann units: with fine_tune=False use "
                f"another loss, for example 'binary_crossentropy' for bits."
            )
        return super()._build_module(n_features)

    def _allows_missing(self) -> bool:
        return False  # the layers below the code are trained by the chains of RBMs

    def _belief(self, module: AutoencoderModule) -> BeliefNetwork | None:
        """Return the generative model; None if the network was fine-tuned."""
        # Fine-tuning minimises the loss, so its epochs have no contrastive term.
        if any("contrastive" not in epoch for epoch in self.history_):
            return None
        return BeliefNetwork(module, self._get_fitted_loss())

    @isolated
    @limit_resources
    def sample(self, n_samples=1, random_state=None, noise=True):
        """Draw new samples.

        With ``fine_tune=False`` codes are drawn from the distribution that `density` selects, the
        topmost RBM runs 500 Gibbs steps from each of them, and the layers below are drawn one
        after another. After fine-tuning the network is an autoencoder: codes are drawn and
        decoded.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.
        random_state : int, RandomState instance or None, default=None
            Controls the randomness of the samples.
        noise : bool, default=True
            Whether the visible units are drawn as well: bits under
            ``loss="binary_crossentropy"``, otherwise Gaussian values whose standard deviation is
            the scalar by which the network divides the data. If False, the samples are the means
            of the visible units given the layer above, which are smoother than the data. Not used
            after fine-tuning, because an autoencoder has no distribution of the visible units.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Samples in the units of the training data.
        """
        check_is_fitted(self)
        array_type = array_type_of(self._kind)
        module = module_as(self, array_type.dtype)
        network = self._belief(module)
        if network is None:
            return super().sample(n_samples, random_state)
        check_count(n_samples, "n_samples")
        random_state = check_random_state(random_state)
        codes = torch.from_numpy(self._draw_codes(n_samples, random_state)).to(module.center)
        with drawing_from(make_generator(random_state.randint(2**31 - 1), codes.device)):
            parts = torch.split(codes, module.network.samples_at_once)
            x = torch.cat([network.sample(part, CHAIN, noise) for part in parts])
        return array_type.wrap((x * module.scale + module.center).reshape(-1, *self.input_shape_))

    @isolated
    def log_partition(self, n_temperatures=1000, n_runs=100):
        """Return the logarithm of the partition function of the topmost RBM.

        If one of its layers has at most 20 binary units, or if both its layers are Gaussian, the
        result is exact. Otherwise it is estimated by annealed importance sampling with fixed
        random numbers. The estimate tends to be too small, and bounds of likelihoods too large.
        The result is cached until the weights change.

        Parameters
        ----------
        n_temperatures : int, default=1000
            Number of intermediate distributions of each run. The estimate improves with more.
        n_runs : int, default=100
            Number of runs.

        Returns
        -------
        log_partition : float
            Logarithm of the partition function, in the units of the network.

        Raises
        ------
        ValueError
            If the network was fine-tuned, or if its loss or its weights define no density.

        Warns
        -----
        UserWarning
            If the estimate depends on only a few of the runs.
        """
        check_is_fitted(self)
        check_count(n_temperatures, "n_temperatures")
        check_count(n_runs, "n_runs")
        network = self._belief(self.module_)
        if network is None:
            raise ValueError(
                "After fine-tuning the network has no RBMs and no partition function; set "
                "fine_tune=False and fit again."
            )
        return network.log_partition(n_temperatures, n_runs)

    @isolated
    @blockwise
    @documented_like(Stack.transform)
    def score_samples(self, X, n_draws=DRAWS):
        r"""Score each sample: higher scores mean greater similarity to the training samples.

        With ``fine_tune=False`` the score is a lower bound of the log-likelihood, in nats:

        .. math:: \mathbb E_q \Big[ \sum_{l < L - 1} \log p(h_l | h_{l+1})
                  - \log q(h_{l+1} | h_l) - F(h_{L-1}) \Big] - \log Z ,

        where :math:`h_0` is the sample, :math:`q` is the recognition pass that draws each layer
        given the one below, and :math:`F` and :math:`Z` are the free energy and the partition
        function (`log_partition`) of the topmost RBM. Without hidden layers it is the
        log-likelihood itself. After fine-tuning the score is minus the mean squared error of the
        reconstruction.

        Parameters
        ----------
        n_draws : int, default=100
            Number of draws of the hidden units from which the expectation is estimated. The draws
            depend on the values of the sample only. The estimate is unbiased for any number.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Bound of the log-density per unit of `X`, or of the log-probability under
            ``loss="binary_crossentropy"``. After fine-tuning, scores in squared units of `X`.

        Raises
        ------
        ValueError
            If the network defines no density: because of its loss, as in `sample`, or because
            both layers of an RBM are Gaussian and its weights are too large.
        """
        check_count(n_draws, "n_draws")
        samples, array_type, module = open_samples(self, X, "score_samples")
        if self._belief(module) is None:
            return super().score_samples(X)
        # Bits are drawn by comparison with thresholds: rounding errors of float32 would flip some.
        module = (
            module if module.center.dtype == samples.precise else module_as(self, samples.precise)
        )
        network = self._belief(module)
        assert network is not None
        # The same Latin hypercube for all samples, (n_draws, n_inner), shifted by a hash of each.
        grid = latin_grid(n_draws, network.n_inner).to(module.center)
        cells = cells_of_network(module, samples.n_features)

        def bound(x: Tensor) -> Tensor:
            keys = sample_keys(x.cpu().numpy(), cells)
            shift = uniform_from_keys(keys, grid.shape[1]).to(grid)
            return lowest_if_far(network.bound(x.to(grid), shifted(grid, shift)), x)

        widest = max(samples.n_features, *(max(layer.weight.shape) for layer in network.layers))
        bounds = by_chunks(samples, bound, max(1, CELLS // (n_draws * widest)))
        return array_type.wrap((bounds - self._log_volume(module)).to(array_type.dtype))

    def _log_volume(self, module: AutoencoderModule) -> float:
        """Return the term to subtract from a bound in network units to normalise it.

        It is the log-partition function and, if the data were scaled, the logarithm of the volume
        of a unit cube of the network in the units of `X`.
        """
        log_volume = 0.0
        if self._get_fitted_loss().scaled:
            log_volume = len(module.center) * math.log(float(module.scale))
        log_partition: float = self.log_partition()
        return log_partition + log_volume
