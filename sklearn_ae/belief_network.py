"""The deep belief network: restricted Boltzmann machines one on another, unrolled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._backend.batches import by_chunks
from sklearn_ae._backend.isolation import isolated
from sklearn_ae._backend.keys import row_keys, uniform_from_keys
from sklearn_ae._backend.random import drawing_from, latin_grid, make_generator, shifted
from sklearn_ae._backend.reach import lowest_if_far
from sklearn_ae._backend.resources import heavy
from sklearn_ae._bounds import cells_of_network
from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._greedy import Stack
from sklearn_ae._inference import module_as, open_rows
from sklearn_ae._inputs import check_count, kind_of
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks._belief import BeliefNetwork
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._partition import CELLS
from sklearn_ae.networks.dense import DenseParameters

CHAIN = 500
"""Gibbs steps of the topmost RBM before the layers below are drawn."""

DRAWS = 100
"""Draws of the hidden units for the bound of one sample's log-likelihood."""


@dataclass(kw_only=True, eq=False, repr=False)
class DeepBeliefNetwork(Stack):
    r"""Stack of restricted Boltzmann machines, unrolled into a deep autoencoder.

    Each layer is trained as a :class:`RestrictedBoltzmannMachine` on the hidden units of the one
    below, by contrastive divergence. Unrolled, the weights that went up and, transposed, those
    that go down are the start of a deep autoencoder, which back-propagation then fine-tunes.

    Under ``"binary_crossentropy"`` the rows are Bernoulli units, otherwise Gaussian ones of unit
    variance once centred and divided by their overall standard deviation.

    Parameters
    ----------
    n_components : int, default=2
        Size of the code. It may exceed the number of features.
    loss : str or callable, default="squared_error"
        Loss that training minimises, averaged over the values of a sample:
        ``"squared_error"``, ``"absolute_error"``, ``"huber"``, ``"binary_crossentropy"``,
        ``"continuous_bernoulli"`` or ``"poisson"``. The last three use the data without centring
        and scaling; the first two of them need data in [0, 1], the last one data that are not
        negative. A callable
        ``loss(output, target)`` takes tensors of shape (batch_size, n_features) in
        the network's units and returns one value a row, shape (batch_size,).
    output_activation : {"identity", "logistic", "tanh", "relu", "softplus"}, default="identity"
        Non-linearity of the output under a loss that has none of its own. Other than
        ``"identity"``, it uses the data without centring and scaling and needs data in its range:
        [0, 1] for ``"logistic"``, [-1, 1] for ``"tanh"``, not negative for ``"relu"`` and
        ``"softplus"``.
    density : "gaussian" or density estimator, default="gaussian"
        Distribution of the codes, for `sample`: the Gaussian that has the mean and the covariance
        of the training rows' codes, or what a clone of the given estimator makes of them, such
        as ``GaussianMixture(10)`` or ``KernelDensity(bandwidth="scott")`` of scikit-learn. It is
        fitted on 10,000 rows at most, each component of the code standardised.
    alpha : float, default=0.1
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
    learning_rate_init : float, default=0.01
        Step size of the optimiser, the largest one of the schedule.
    solver : {"adam", "sgd"}, default="adam"
        Optimiser: Adam, or stochastic gradient descent with `momentum`, online with
        ``batch_size=1``. For ``"sgd"`` set ``alpha=1e-4`` and `learning_rate_init` to about 0.05,
        more with many features, over which losses are means, much less under a likelihood.
    momentum : float, default=0.9
        Fraction of each step of gradient descent that is added to the next. Not used by Adam.
    max_iter : int, default=200
        Number of epochs, at most.
    tol : float, default=0.0001
        Smallest relative fall of the loss that counts as an improvement.
    early_stopping : bool, default=True
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
    hidden_layer_sizes : tuple of int, default=(128, 128)
        Widths of the encoder's hidden layers; the decoder mirrors them. An empty tuple leaves
        no hidden layer.
    code_activation : {"identity", "logistic"}, default="identity"
        Whether the units of the code are linear, with Gaussian noise of variance one in the
        machine, or logistic.
    pretraining_max_iter : int or sequence of int, default=50
        Number of epochs of each layer, that of the code last; one number is for all.
    n_steps : int, default=1
        Number of Gibbs steps of contrastive divergence.
    fine_tune : bool, default=True
        Whether to train the unrolled network in the end, for `max_iter` epochs. If False,
        `early_stopping`, `max_iter` and what goes with them are not used, all samples are trained
        on, and the network is a density: `sample` draws from it, and `score_samples` is a lower
        bound of the log-likelihood.

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
    layer_histories_ : list of list of dict
        For each layer, one entry an epoch of its training. ``"contrastive"`` is the difference of
        free energies, which should stay near zero. `history_`, `loss_curve_` and `n_iter_` are
        those of the training of all layers together; where `fine_tune` is False, those of the last
        layer.

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
    hidden_layer_sizes: tuple[int, ...] = (128, 128)
    code_activation: str = "identity"
    pretraining_max_iter: int | Sequence[int] = 50
    n_steps: int = 1
    fine_tune: bool = True

    activation: ClassVar[str] = "logistic"
    pretraining: ClassVar[str] = "rbm"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        "hidden_layer_sizes": DenseParameters._parameter_constraints["hidden_layer_sizes"],
        "code_activation": [StrOptions({"identity", "logistic"})],
        "pretraining_max_iter": ["array-like", Interval(Integral, 1, None, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "fine_tune": ["boolean"],
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
