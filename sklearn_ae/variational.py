"""The variational autoencoder: a latent-variable model trained on a bound of its likelihood."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._backend.batches import Rows, by_chunks
from sklearn_ae._backend.isolation import isolated
from sklearn_ae._backend.random import drawing_from, make_generator, normal_quantile
from sklearn_ae._backend.resources import limit_if_forked
from sklearn_ae._bounds import ELBO_DRAWS, bound_of_samples, uniform_of_samples
from sklearn_ae._compat import HasMethods, Interval, StrOptions
from sklearn_ae._inference import decode, open_rows
from sklearn_ae._inputs import check_count, kind_of
from sklearn_ae._network_choice import NetworkChoice
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.losses import gaussian_divergence
from sklearn_ae.networks import Network
from sklearn_ae.networks._variational import VariationalModule

COLLAPSED = 0.01
"""Divergence from the prior, in nats, below which codes tell next to nothing."""

LOSS_OF = {
    "gaussian": "squared_error",
    "bernoulli": "binary_crossentropy",
    "continuous_bernoulli": "continuous_bernoulli",
}
"""The loss that turns outputs into means, and fixes the range of the data."""

DECODED_ROWS = 2**14
"""Number of codes that are decoded at a time."""


@dataclass(kw_only=True, eq=False, repr=False)
class VariationalAutoencoder(NetworkChoice, BaseAutoencoder):
    r"""Autoencoder that is a latent-variable model of the samples.

    The model draws a code from :math:`p(z) = \mathcal N(0, I)` and a sample from
    :math:`p(x | z)`, whose mean is the decoder's output. The encoder returns mean and standard
    deviation of a Gaussian :math:`q(z | x)` that approximates the posterior. Training maximises
    the evidence lower bound

    .. math:: \log p(x) \ge \mathbb E_{q(z|x)} \log p(x | z)
              - \beta \, \mathrm{KL}(q(z | x) \,\|\, p(z)), \qquad \beta = 1,

    or, with ``n_importance_samples=k``, the tighter
    :math:`\mathbb E \log \frac1k \sum_{i=1}^k p(x | z_i) p(z_i) / q(z_i | x)`.

    `transform` returns the mean of the posterior and `posterior` its standard deviation as well;
    `sample` decodes draws from :math:`p(z)`; `score_samples` returns the bound, in nats, per
    sample. Under the Gaussian likelihood it bounds the log-density in the units of `X`, under the
    Bernoulli likelihood and data of zeros and ones the log-probability, under the continuous
    Bernoulli likelihood the log-density of data in [0, 1]. The Bernoulli likelihood of values
    strictly between 0 and 1 is minus a cross-entropy and no log-density: it does not integrate to
    one. With ``binarize=True`` it is the expected log-probability of bits with these means.

    `score` is the variance explained, as for all autoencoders, so that
    one search may run over several of them; to choose by likelihood give the search
    ``scoring=lambda estimator, X, y=None: estimator.score_samples(X).mean()``.

    The history has both terms by name, as they enter the loss: a ``"kl"`` that stays at zero is a
    posterior that has collapsed onto the prior. A fit that ends like that warns.

    Parameters
    ----------
    n_components : int, default=2
        Size of the code. It may exceed the number of features.
    density : {"prior", "gaussian"} or density estimator, default="prior"
        Distribution of the codes, for `sample`: :math:`p(z)`; the Gaussian that has the mean and
        the covariance of the training rows' codes; or what a clone of the given estimator makes
        of them, such as ``GaussianMixture(10)`` of scikit-learn, which is closer to where codes
        really are. It is fitted on 10,000 rows at most, each component of the code standardised.
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
    learning_rate_init : float, default=0.003
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
    hidden_layer_sizes : tuple of int, default=(128, 128, 128)
        Widths of the encoder's hidden layers; the decoder mirrors them. An empty tuple leaves
        no hidden layer.
    activation : {"relu", "silu", "gelu", "tanh", "logistic", "identity"}, default="tanh"
        Non-linearity of the hidden layers.
    network : Network, default=None
        Specification of another network, from `sklearn_ae.networks`; `hidden_layer_sizes` and
        `activation` are then not used. None: a dense network. Convolutional ones also take
        ``n_components=None``: their maps are then the code.
    likelihood : {"gaussian", "bernoulli", "continuous_bernoulli"}, default="gaussian"
        Distribution of a sample given its code. The last two need data in [0, 1]:
        ``"bernoulli"`` is for bits, ``"continuous_bernoulli"`` for grey values.
    variance : {"learned", "per_feature"} or float, default="learned"
        Variance of the Gaussian likelihood: one number that is learned, one for each feature,
        or a given one in squared units of `X`. Only for the Gaussian likelihood.
    beta : float, default=1.0
        Factor on the divergence. Above 1 codes keep less and are easier to tell apart.
    kl_warm_up : float, default=0.1
        Share of the epochs of the first `fit` over which `beta` rises from zero; of 10,000 epochs
        where `max_iter` is larger.
    n_importance_samples : int, default=1
        Number of codes drawn for each row in a training step.
    binarize : bool, default=False
        Whether to train on bits, each entry of a row being the probability of its bit, drawn
        anew every time the row is presented. Needs ``likelihood="bernoulli"``.

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
    kl_ : float
        Mean divergence of the training samples' posteriors from the prior, in nats.
    n_importance_samples_ : int
        Number of codes that were drawn for each sample in a training step.
    active_units_ : int
        Number of components whose posterior mean has a variance above 0.01 over the training
        rows.
    noise_variance_ : float or ndarray of shape (n_features,)
        Variance of the Gaussian likelihood in squared units of `X`; NaN under the others.

    See Also
    --------
    sklearn.decomposition.FactorAnalysis : The linear model with exact likelihood.

    References
    ----------
    Kingma, D. P. and Welling, M. (2014). Auto-encoding variational Bayes. ICLR.

    Burda, Y., Grosse, R. and Salakhutdinov, R. (2016). Importance weighted autoencoders. ICLR.

    Rybkin, O., Daniilidis, K. and Levine, S. (2021). Simple and effective VAE training with
    calibrated decoders. ICML.

    Loaiza-Ganem, G. and Cunningham, J. P. (2019). The continuous Bernoulli: fixing a pervasive
    error in variational autoencoders. NeurIPS.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_ae import VariationalAutoencoder
    >>> X = load_iris().data
    >>> vae = VariationalAutoencoder(2, max_iter=50, random_state=0).fit(X)
    >>> mean, std = vae.posterior(X)
    >>> mean.shape, std.shape
    ((150, 2), (150, 2))
    >>> vae.sample(5, random_state=0).shape
    (5, 4)
    >>> bool((vae.score_samples(X, n_importance_samples=100) >= vae.score_samples(X)).mean() > 0.9)
    True
    """

    loss: ClassVar[property] = property(  # type: ignore[misc]
        lambda self: LOSS_OF.get(self.likelihood, self.likelihood)
    )
    output_activation: ClassVar[str] = "identity"  # type: ignore[misc]
    density: Any = "prior"
    likelihood: str = "gaussian"
    variance: str | float = "learned"
    beta: float = 1.0
    kl_warm_up: float = 0.1
    n_importance_samples: int = 1
    binarize: bool = False

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            name: allowed
            for name, allowed in BaseAutoencoder._parameter_constraints.items()
            if name not in ("loss", "output_activation")
        },
        **NetworkChoice._parameter_constraints,
        "density": [StrOptions({"prior", "gaussian"}), HasMethods(["fit", "sample"])],
        "likelihood": [StrOptions(set(LOSS_OF))],
        "variance": [
            StrOptions({"learned", "per_feature"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "beta": [Interval(Real, 0, None, closed="left")],
        "kl_warm_up": [Interval(Real, 0, 1, closed="both")],
        "n_importance_samples": [Interval(Integral, 1, None, closed="left")],
        "binarize": ["boolean"],
    }

    def _build_module(self, n_features: int) -> VariationalModule:
        if self.binarize and self.likelihood != "bernoulli":
            raise ValueError("binarize=True needs likelihood='bernoulli'.")
        return VariationalModule(
            self._compressing_network(),
            self.input_shape_,
            self.n_components,
            likelihood=self.likelihood,
            variance=self.variance,
            binarize=self.binarize,
        )

    def _settled_from(self) -> float:
        return self.kl_warm_up

    def _rows_at_once(self, network: Network) -> int:
        return max(1, min(DECODED_ROWS // self.n_importance_samples, network.rows_at_once))

    def _says_loss(self) -> str:
        return f"likelihood={self.likelihood!r}"

    def _pretrain(self, module: VariationalModule, X: Rows, seed: int) -> None:
        if not isinstance(self.variance, str):
            module.fix_variance(self.variance / float(module.scale) ** 2)

    def _loss(
        self,
        module: VariationalModule,  # type: ignore[override]
        X: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        target = X if y is None else y
        if self.binarize:
            X = target = (torch.rand_like(X) < X).to(X.dtype).where(~X.isnan(), X)
        warmth = module.progress / self.kl_warm_up if self.kl_warm_up else 1.0
        beta = self.beta * min(1.0, warmth)
        mean, log_variance = module.posterior(X)
        noise = torch.randn(
            self.n_importance_samples, *mean.shape, dtype=mean.dtype, device=mean.device
        )
        errors, weights = module.importance(mean, log_variance, noise, target, beta)
        terms = {
            "reconstruction": errors.mean(0),
            "kl": beta * gaussian_divergence(mean, log_variance),
        }
        if self.n_importance_samples > 1:
            bound = weights.logsumexp(0) - math.log(len(weights))
            terms["tightening"] = -bound - sum(terms.values())
        return terms

    def _describe(self, module: VariationalModule, X: Rows) -> dict[str, Any]:
        # Means beside log variances, (n_samples, 2 n_components)
        both = by_chunks(
            X, lambda x: torch.cat(module.posterior(x), 1), module.network.rows_at_once
        ).to(X.precise)
        codes, log_variances = both.chunk(2, dim=1)
        weight = X.take_weight(slice(0, len(X))) / X.total_weight
        spread_of_codes = weight @ (codes - weight @ codes).square()
        variance = module.log_variance.detach().exp() * module.scale.square()
        if self.likelihood != "gaussian":
            variance = torch.full_like(variance, torch.nan)
        return {
            "kl_": float(weight @ gaussian_divergence(codes, log_variances)),
            "n_importance_samples_": self.n_importance_samples,
            "active_units_": int((spread_of_codes > 0.01).sum()),
            "noise_variance_": float(variance) if variance.ndim == 0 else variance,
        }

    def _set_fitted(self, module, trained, kind, continues, keep_state):
        super()._set_fitted(module, trained, kind, continues, keep_state)
        # After a single pass a posterior may not have left the prior yet.
        if self.beta and self.kl_ < COLLAPSED and len(trained.history) > 1:
            warnings.warn(
                f"The posterior has collapsed onto the prior: its divergence is {self.kl_:.2g} "
                f"nats, so codes carry no information on the samples. Lower beta (now "
                f"{self.beta:g}), raise kl_warm_up (now {self.kl_warm_up:g}) or max_iter, or use "
                f"fewer hidden layers; of data without structure this is the right answer.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _draw_codes(self, n_samples: int, random_state: np.random.RandomState) -> np.ndarray:
        if isinstance(self.density_, str) and self.density_ == "prior":
            return random_state.standard_normal((n_samples, self.n_components_))
        return super()._draw_codes(n_samples, random_state)

    @isolated
    @torch.no_grad()
    def sample(self, n_samples=1, random_state=None, noise=False):
        """Draw new rows.

        Codes are drawn from the distribution that `density` chooses, and decoded.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Fixes the draw.
        noise : bool, default=False
            Whether to draw the rows from :math:`p(x | z)`, as the model has it, bits under
            ``likelihood="bernoulli"``. If False they are its means: smooth pictures, which vary
            less than the data.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows in the units of the training data.
        """
        check_is_fitted(self)
        check_count(n_samples, "n_samples")
        limit_if_forked()
        random_state = check_random_state(random_state)
        kind = kind_of(self._kind)
        codes = self._draw_codes(n_samples, random_state)
        generator = make_generator(random_state.randint(2**31 - 1), self.module_.center.device)
        with drawing_from(generator):
            return kind.wrap(decode(self, codes, kind, draws=noise))

    @isolated
    def posterior(self, X):
        """Mean and standard deviation of the codes of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        mean : ndarray of shape (n_samples, n_components)
            Equal to ``transform(X)``.
        std : ndarray of shape (n_samples, n_components)
        """
        rows, kind, module = open_rows(self, X, "posterior")
        assert isinstance(module, VariationalModule)
        both = by_chunks(
            rows, lambda x: torch.stack(module.posterior(x)), module.network.rows_at_once, dim=1
        )
        return kind.wrap(both[0]), kind.wrap((0.5 * both[1]).exp())

    @isolated
    def score_samples(self, X, n_importance_samples=None):
        """Lower bound of the log-density of each sample, in nats.

        The evidence lower bound is a mean over 64 codes drawn for each sample, without bias; the
        codes depend on the sample's values only.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.
        n_importance_samples : int, default=None
            Number of codes drawn for each sample, always the same for the same sample. More come
            closer to the log-density, from below. None: as many as in training, where one
            stands for the evidence lower bound.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Bound of the log-density per unit of `X`; of the log-probability of bits under
            ``likelihood="bernoulli"``, and of its mean over bits of the means `X` if trained with
            ``binarize=True``: what training maximises.
        """
        rows, kind, module = open_rows(self, X, "score_samples")
        assert isinstance(module, VariationalModule)
        if n_importance_samples is not None:
            check_count(n_importance_samples, "n_importance_samples")
        elif self.n_importance_samples_ > 1:
            n_importance_samples = self.n_importance_samples_
        decoded = min(DECODED_ROWS, 4 * module.network.rows_at_once)
        at_once = max(1, decoded // (n_importance_samples or ELBO_DRAWS))
        bounds = by_chunks(
            rows,
            lambda x: bound_of_samples(
                module, x, n_importance_samples, uniform_of_samples, normal_quantile
            ),
            at_once,
        )
        return kind.wrap(bounds)
