"""The variational autoencoder: a latent-variable model of the data."""

from __future__ import annotations

import math
import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._compat import HasMethods, Interval, StrOptions
from sklearn_ae._estimator.blockwise import blockwise
from sklearn_ae._estimator.bounds import ELBO_DRAWS, bound_of_samples, uniform_of_samples
from sklearn_ae._estimator.conditions import (
    check_conditions,
    draw_codes_given,
    n_proposals,
)
from sklearn_ae._estimator.inference import decode, open_samples
from sklearn_ae._estimator.inputs import ArrayType, array_type_of, check_count
from sklearn_ae._estimator.network_choice import NetworkChoice
from sklearn_ae._estimator.tables import TABLE_ATTRIBUTES, TableColumns, in_data_form, layout_of
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae._parameters.documentation import documented_like
from sklearn_ae._training.batches import Samples, by_chunks
from sklearn_ae._training.description import Trained
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.random import drawing_from, make_generator, normal_quantile
from sklearn_ae._training.resources import limit_if_forked
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.losses import gaussian_divergence
from sklearn_ae.networks import Network
from sklearn_ae.networks._module import AutoencoderModule
from sklearn_ae.networks._variational import VariationalModule

COLLAPSED = 0.01
"""Divergence from the prior, in nats, below which codes carry almost no information."""

LOSS_OF = {
    "gaussian": "squared_error",
    "bernoulli": "binary_crossentropy",
    "continuous_bernoulli": "continuous_bernoulli",
}
"""Loss of each likelihood: its link maps outputs to means, and it fixes the range of the data."""

MAX_DECODED = 2**14
"""Number of codes that are decoded at a time."""


@declares_parameters
class VariationalAutoencoder(NetworkChoice, BaseAutoencoder):
    r"""Variational autoencoder: a latent-variable model of the data.

    The model draws a code from the prior :math:`p(z) = \mathcal N(0, I)` and a sample from
    :math:`p(x | z)`, whose mean is the decoder's output. The encoder returns the mean and the
    standard deviation of a Gaussian :math:`q(z | x)` that approximates the posterior. Training
    maximises the evidence lower bound

    .. math:: \log p(x) \ge \mathbb E_{q(z|x)} \log p(x | z)
              - \beta \, \mathrm{KL}(q(z | x) \,\|\, p(z)), \qquad \beta = 1,

    or, with ``n_importance_samples=k``, the tighter
    :math:`\mathbb E \log \frac1k \sum_{i=1}^k p(x | z_i) p(z_i) / q(z_i | x)`.

    `transform` returns the mean of :math:`q(z | x)`, and `posterior` its standard deviation as
    well. `sample` decodes draws from :math:`p(z)`.

    `score_samples` returns the bound of each sample in nats. What it bounds depends on the
    likelihood:

    * ``"gaussian"``: the log-density in the units of `X`;
    * ``"continuous_bernoulli"``: the log-density of data in [0, 1];
    * ``"bernoulli"``: the log-probability of data that are zeros and ones. For values strictly
      between 0 and 1 the likelihood is minus a cross-entropy and not a log-density, because it
      does not integrate to one. With ``binarize=True`` it is the expected log-probability of bits
      with these means.

    `score` is the fraction of variance explained, as for all autoencoders, so that a parameter
    search can compare them. To select by likelihood, pass to the search
    ``scoring=lambda estimator, X, y=None: estimator.score_samples(X).mean()``.

    `history_` has both terms of the loss by name. If ``"kl"`` stays at zero, the posterior has
    collapsed onto the prior: codes carry no information about the samples. `fit` then raises a
    ``ConvergenceWarning``.

    See Also
    --------
    sklearn.decomposition.FactorAnalysis : Linear latent-variable model with exact likelihood.

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
    _numbers_as_normal: ClassVar[bool] = True  # the likelihood of numbers of tables is Gaussian
    density: Any = parameter(
        default="prior",
        doc="""{"prior", "gaussian", "mixture", "kde"} or density estimator
        Distribution from which `sample` draws codes. ``"prior"`` is :math:`p(z)`; ``"gaussian"``
        has the mean and the covariance of the codes of the training samples. The others
        approximate the distribution of the codes more closely, and are fitted on the standardised
        codes of at most 10,000 training samples. ``"mixture"``: a mixture of one to 32 Gaussians,
        as many as have the lowest Bayesian information criterion. ``"kde"``: a Gaussian kernel
        density with the bandwidth that maximises the log-likelihood of codes under the kernels of
        the other codes. A density estimator, such as scikit-learn's ``GaussianMixture(10)``: a
        clone of it.
        """,
        constraint=[
            StrOptions({"prior", "gaussian", "mixture", "kde"}),
            HasMethods(["fit", "sample"]),
        ],
    )
    likelihood: str = parameter(
        default="gaussian",
        doc="""{"gaussian", "bernoulli", "continuous_bernoulli"}
        Distribution of a sample given its code. The last two require data in [0, 1]:
        ``"bernoulli"`` is for bits, ``"continuous_bernoulli"`` for grey values.
        """,
        constraint=[StrOptions(set(LOSS_OF))],
    )
    variance: str | float = parameter(
        default="learned",
        doc="""{"learned", "per_feature"} or float
        Variance of the Gaussian likelihood. ``"learned"`` learns one variance for all features,
        ``"per_feature"`` one for each feature; a float is a fixed variance in squared units of
        `X`. Not used under other likelihoods.
        """,
        constraint=[
            StrOptions({"learned", "per_feature"}),
            Interval(Real, 0, None, closed="neither"),
        ],
    )
    beta: float = parameter(
        default=1.0,
        doc=r"""float
        Factor :math:`\beta` of the divergence. Values above 1 reduce the information in the codes
        and make their components more independent.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )
    kl_warm_up: float = parameter(
        default=0.1,
        doc="""float
        Fraction of the epochs over which the factor of the divergence rises linearly from zero
        to `beta`, in the first call of `fit`: a fraction of `max_iter`, or of 10,000 epochs if
        `max_iter` is larger.
        """,
        constraint=[Interval(Real, 0, 1, closed="both")],
    )
    n_importance_samples: int = parameter(
        default=1,
        doc="""int
        Number of codes drawn for each sample in a training step.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    binarize: bool = parameter(
        default=False,
        doc="""bool
        Whether to train on bits: each value of a sample is the probability of a bit, and the bits
        are drawn anew in each epoch. Requires ``likelihood="bernoulli"``.
        """,
        constraint=["boolean"],
    )

    categorical_features: Any = same_as(TableColumns, "categorical_features")
    max_categories: int = same_as(TableColumns, "max_categories")

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "kl_": """float
        Mean divergence of the posteriors of the training samples from the prior, in nats.
        """,
        "n_importance_samples_": """int
        Number of codes that were drawn for each sample in each training step.
        """,
        "active_units_": """int
        Number of components whose posterior mean has a variance above 0.01 over the training
        samples.
        """,
        "noise_variance_": """float or ndarray of shape (n_features,)
        Variance of the Gaussian likelihood in squared units of `X`; NaN under other likelihoods.
        Of a table that of its standardised numbers.
        """,
        **TABLE_ATTRIBUTES,
    }

    def _build_module(self, n_features: int) -> VariationalModule:
        if self.binarize and self.likelihood != "bernoulli":
            raise ValueError(
                f"binarize=True needs likelihood='bernoulli', but likelihood={self.likelihood!r}."
            )
        return VariationalModule(
            self._compressing_network(),
            self.input_shape_,
            self.n_components,
            likelihood=self.likelihood,
            variance=self.variance,
            binarize=self.binarize,
            layout=layout_of(self),
        )

    def _annealed_from(self) -> float:
        return self.kl_warm_up

    def _samples_at_once(self, network: Network) -> int:
        return max(1, min(MAX_DECODED // self.n_importance_samples, network.samples_at_once))

    def _loss_description(self) -> str:
        return f"likelihood={self.likelihood!r}"

    def _pretrain(self, module: VariationalModule, X: Samples, seed: int) -> None:
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
            # Comparisons with NaN are False; missing values must stay missing.
            uniform = torch.rand_like(X)
            X = (uniform < X).to(X.dtype).where(~X.isnan(), X)
            bits = (uniform[:, : target.shape[1]] < target).to(X.dtype)
            target = bits.where(~target.isnan(), target)
        warm_up = module.progress / self.kl_warm_up if self.kl_warm_up else 1.0
        beta = self.beta * min(1.0, warm_up)
        # The posterior of a component that is truncated becomes the prior.
        mean, log_variance = map(module.truncate, module.posterior(X))
        # (n_importance_samples, batch_size, n_components)
        noise = torch.randn(
            self.n_importance_samples, *mean.shape, dtype=mean.dtype, device=mean.device
        )
        errors, weights = module.importance(mean, log_variance, noise, target, beta)
        terms = {
            "reconstruction": errors.mean(0),
            "kl": beta * gaussian_divergence(mean, log_variance),
        }
        if self.n_importance_samples > 1:
            # The terms must add up to minus the importance-weighted bound, which is minimised.
            bound = weights.logsumexp(0) - math.log(len(weights))
            terms["tightening"] = -bound - sum(terms.values())
        return terms

    def _fitted_attributes(self, module: VariationalModule, X: Samples) -> dict[str, Any]:
        # Means beside log variances, (n_samples, 2 n_components)
        both = by_chunks(
            X, lambda x: torch.cat(module.posterior(x), 1), module.network.samples_at_once
        ).to(X.precise)
        codes, log_variances = both.chunk(2, dim=1)
        weight = X.take_weight(slice(0, len(X))) / X.total_weight
        code_variance = weight @ (codes - weight @ codes).square()
        # From the squared units of the network to those of `X`.
        variance = module.log_variance.detach().exp() * module.scale.square()
        if self.likelihood != "gaussian":
            variance = torch.full_like(variance, torch.nan)
        return {
            "kl_": float(weight @ gaussian_divergence(codes, log_variances)),
            "n_importance_samples_": self.n_importance_samples,
            "active_units_": int((code_variance > 0.01).sum()),
            "noise_variance_": float(variance) if variance.ndim == 0 else variance,
        }

    def _set_fitted(
        self,
        module: AutoencoderModule,
        trained: Trained,
        array_type: ArrayType,
        continues: bool,
        keep_state: bool,
    ) -> None:
        super()._set_fitted(module, trained, array_type, continues, keep_state)
        # After a single epoch a posterior may still be close to the prior.
        if self.beta and self.kl_ < COLLAPSED and len(trained.history) > 1:
            warnings.warn(
                f"The posterior has collapsed onto the prior: its divergence is {self.kl_:.2g} "
                f"nats, so codes carry no information about the samples. Lower beta (now "
                f"{self.beta:g}), raise kl_warm_up (now {self.kl_warm_up:g}) or max_iter, or use "
                f"fewer hidden layers. For data without structure this result is correct.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _draw_codes(self, n_samples: int, random_state: np.random.RandomState) -> np.ndarray:
        if isinstance(self.density_, str) and self.density_ == "prior":
            return random_state.standard_normal((n_samples, self.n_components_))
        return super()._draw_codes(n_samples, random_state)

    @isolated
    @torch.no_grad()
    def sample(self, n_samples=1, random_state=None, noise=None, conditions=None):
        """Draw new samples, also given some of their values.

        Codes are drawn from the distribution that `density` selects, and decoded. Given
        `conditions`, codes and unknown values are drawn from their joint distribution given the
        known values, by Markov chains of 20 steps.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.
        random_state : int, RandomState instance or None, default=None
            Controls the randomness of the samples.
        noise : bool, default=None
            Whether to draw the samples from :math:`p(x | z)`; under ``likelihood="bernoulli"``
            they are then bits. If False, the means of :math:`p(x | z)` are returned, which are
            smoother and vary less than the data; categories of a table are drawn anyway. None:
            True for tables, else False.
        conditions : dict, data frame or array-like of shape (n_rows, n_features), default=None
            Known values. A dict maps names of columns, or their indices, to a value or to a list
            of values. A data frame may lack columns, and unknown values are missing or NaN.
            `n_samples` samples are drawn for each row, in the order of the rows. They have
            exactly the known values.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Samples in the units of the training data; given `conditions`, n_rows times n_samples.
            A table if the training data were one.

        Raises
        ------
        ValueError
            If `conditions` has a column or a category that the training data did not have.
        """
        check_is_fitted(self)
        check_count(n_samples, "n_samples")
        limit_if_forked()
        random_state = check_random_state(random_state)
        array_type = array_type_of(self._kind)
        draws = self.module_.layout is not None if noise is None else noise
        known = None if conditions is None else check_conditions(self, conditions)
        n_drawn = n_samples if known is None else n_proposals(known.matrix.shape[1])
        codes: Any = self._draw_codes(n_drawn, random_state)
        generator = make_generator(random_state.randint(2**31 - 1), self.module_.center.device)
        with drawing_from(generator):
            if known is not None:
                codes = draw_codes_given(self, codes, known.matrix, n_samples)
            samples = decode(self, codes, array_type, draws=draws)
        if known is None:
            return in_data_form(self, array_type, samples, random_state)
        samples = known.filled_in(samples)
        return in_data_form(self, array_type, samples, random_state, known=known.table)

    @isolated
    @documented_like(BaseAutoencoder.transform)
    def posterior(self, X):
        """Return the mean and the standard deviation of the posterior of each sample's code.

        Returns
        -------
        mean : ndarray of shape (n_samples, n_components)
            Mean of :math:`q(z | x)`, equal to ``transform(X)``.
        std : ndarray of shape (n_samples, n_components)
            Standard deviation of :math:`q(z | x)`.
        """
        samples, array_type, module = open_samples(self, X, "posterior")
        assert isinstance(module, VariationalModule)
        both = by_chunks(
            samples,
            lambda x: torch.stack(module.posterior(x)),
            module.network.samples_at_once,
            dim=1,
        )
        return array_type.wrap(both[0]), array_type.wrap((0.5 * both[1]).exp())

    @isolated
    @blockwise
    @documented_like(BaseAutoencoder.transform)
    def score_samples(self, X, n_importance_samples=None):
        """Return a lower bound of the log-density of each sample, in nats.

        The bound is estimated from codes drawn for each sample. The draws depend on the values of
        the sample only, so that equal samples have equal scores in every call.

        Parameters
        ----------
        n_importance_samples : int, default=None
            Number of codes of the importance-weighted bound. The bound approaches the log-density
            from below as this number grows. None means the number used in training; if that is
            one, the score is an unbiased estimate of the evidence lower bound, a mean over 64
            codes.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Bound of the log-density per unit of `X`. Under ``likelihood="bernoulli"`` bound of
            the log-probability of bits, and with ``binarize=True`` its mean over bits drawn with
            the means `X`, which is what training maximises.
        """
        samples, array_type, module = open_samples(self, X, "score_samples")
        assert isinstance(module, VariationalModule)
        if n_importance_samples is not None:
            check_count(n_importance_samples, "n_importance_samples")
        elif self.n_importance_samples_ > 1:
            n_importance_samples = self.n_importance_samples_
        # Each sample needs as many codes to be decoded as it has draws.
        n_decoded = min(MAX_DECODED, 4 * module.network.samples_at_once)
        at_once = max(1, n_decoded // (n_importance_samples or ELBO_DRAWS))
        bounds = by_chunks(
            samples.targets or samples,
            lambda x: bound_of_samples(
                module, x, n_importance_samples, uniform_of_samples, normal_quantile
            ),
            at_once,
        )
        return array_type.wrap(bounds)
