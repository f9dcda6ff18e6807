"""The variational autoencoder: a probabilistic model of how the rows arise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._backend.batches import Rows, by_chunks
from sklearn_ae._backend.random import make_generator, normal_from_keys, row_keys
from sklearn_ae._compat import HasMethods, Interval, StrOptions
from sklearn_ae._inputs import check_count, kind_of
from sklearn_ae._network_choice import NetworkChoice
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.losses import gaussian_divergence
from sklearn_ae.networks import Network
from sklearn_ae.networks._variational import VariationalModule

ELBO_DRAWS = 64
"""Least number of draws that estimate the evidence lower bound."""

DECODED_ROWS = 2**14
"""Number of codes that are decoded at a time."""


@dataclass(kw_only=True, eq=False, repr=False)
class VariationalAutoencoder(NetworkChoice, BaseAutoencoder):
    r"""Autoencoder that is a model of how the rows arise.

    A code is drawn from :math:`p(z) = \mathcal N(0, I)` and a row from :math:`p(x | z)`, whose
    mean is the decoder's output. The encoder gives mean and standard deviation of a Gaussian
    :math:`q(z | x)` that stands for the posterior. Training maximises the evidence lower bound

    .. math:: \log p(x) \ge \mathbb E_{q(z|x)} \log p(x | z)
              - \beta \, \mathrm{KL}(q(z | x) \,\|\, p(z)), \qquad \beta = 1,

    or, with ``n_importance_samples=k``, the tighter
    :math:`\mathbb E \log \frac1k \sum_{i=1}^k p(x | z_i) p(z_i) / q(z_i | x)`.

    `transform` is the posterior's mean and `posterior` adds its standard deviation; `sample`
    decodes draws from :math:`p(z)`; `score_samples` is the bound, in nats, of the density of a
    row in the units of `X`. `score` is the variance explained, as for all autoencoders, so that
    one search may run over several of them; to choose by likelihood give the search
    ``scoring=lambda estimator, X, y=None: estimator.score_samples(X).mean()``.

    The history has both terms by name, as they enter the loss: a ``"kl"`` that stays at zero is a
    posterior that has collapsed on the prior.

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
        Rows in a training step. ``"auto"`` is 64 below 1,024 training rows, 128 below 4,096
        and 256 from there.
    learning_rate : {"one_cycle", "constant"}, default="one_cycle"
        Schedule of the step size. ``"one_cycle"`` rises to `learning_rate_init` over the
        first tenth of `max_iter` and then falls to zero along half a cosine.
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
    n_iter_no_change : int, default=100
        Epochs without an improvement, of the held-out loss or else of the training loss,
        after which training stops.
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
        trained on in float64 where it costs little: up to 512 rows, or weight matrices
        whose smaller side is up to 32. Where a smaller side is 256 or more, products are in
        bfloat16 if the hardware has instructions for it, and weights in float32. Results
        are always computed in the floating-point type of the data.
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
        `activation` are then not used. None: a dense network.
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        Distribution of a row given its code. ``"bernoulli"`` needs data in [0, 1].
    variance : {"learned", "per_feature"} or float, default="learned"
        Variance of the Gaussian likelihood: one number that is learned, one for each feature,
        or a given one in squared units of `X`. Not used under ``"bernoulli"``.
    beta : float, default=1.0
        Factor on the divergence. Above 1 codes keep less and are easier to tell apart.
    kl_warm_up : float, default=0.1
        Share of the epochs of the first `fit` over which `beta` rises from zero.
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
        Fraction of the held-out rows' variance explained after each epoch.
    history_ : list of dict
        One entry an epoch with all losses by name.
    module_ : torch.nn.Module
        The network. Its ``encode`` and ``decode`` take centred and scaled rows.
    device_ : str
        Where it was trained.
    density_ : Pipeline or None
        A scaler and the fitted `density`, if that is an estimator.
    active_units_ : int
        Number of components whose posterior mean has a variance above 0.01 over the training
        rows.
    noise_variance_ : float or ndarray of shape (n_features,)
        Variance of the Gaussian likelihood in squared units of `X`; NaN under ``"bernoulli"``.

    See Also
    --------
    sklearn.decomposition.FactorAnalysis : The linear model with exact likelihood.

    References
    ----------
    Kingma, D. P. and Welling, M. (2014). Auto-encoding variational Bayes. ICLR.

    Burda, Y., Grosse, R. and Salakhutdinov, R. (2016). Importance weighted autoencoders. ICLR.

    Rybkin, O., Daniilidis, K. and Levine, S. (2021). Simple and effective VAE training with
    calibrated decoders. ICML.

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
        lambda self: "squared_error" if self.likelihood == "gaussian" else "binary_crossentropy"
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
        "likelihood": [StrOptions({"gaussian", "bernoulli"})],
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
        codes = by_chunks(X, module.encode, module.network.rows_at_once).to(X.precise)
        weight = X.take_weight(slice(0, len(X))) / X.total_weight
        spread_of_codes = weight @ (codes - weight @ codes).square()
        variance = module.log_variance.detach().exp() * module.scale.square()
        if self.likelihood == "bernoulli":
            variance = torch.full_like(variance, torch.nan)
        return {
            "active_units_": int((spread_of_codes > 0.01).sum()),
            "noise_variance_": float(variance) if variance.ndim == 0 else variance,
        }

    def _draw_codes(self, n_samples: int, random_state: np.random.RandomState) -> np.ndarray:
        if self.density == "prior":
            return random_state.standard_normal((n_samples, self.n_components_))
        return super()._draw_codes(n_samples, random_state)

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
        random_state = check_random_state(random_state)
        kind = kind_of(self._kind)
        rows = self._decoded(self._draw_codes(n_samples, random_state), kind)
        if noise and self.likelihood == "bernoulli":
            uniform = torch.from_numpy(random_state.random_sample(rows.shape)).to(rows)
            rows = (uniform < rows).to(rows.dtype)
        elif noise:
            module = self.module_
            assert isinstance(module, VariationalModule)
            std = (0.5 * module.log_variance).exp() * module.scale
            drawn = torch.from_numpy(random_state.standard_normal(rows.shape)).to(rows)
            rows = rows + drawn * std.to(rows).expand(rows[0].numel()).view(rows.shape[1:])
        return kind.wrap(rows)

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
        rows, kind, module = self._to_infer(X, "posterior")
        assert isinstance(module, VariationalModule)
        both = by_chunks(
            rows, lambda x: torch.stack(module.posterior(x)), module.network.rows_at_once, dim=1
        )
        return kind.wrap(both[0]), kind.wrap((0.5 * both[1]).exp())

    def score_samples(self, X, n_importance_samples=None):
        """Lower bound of the log-density of each row, in nats.

        The evidence lower bound is estimated from 64 even draws or more.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.
        n_importance_samples : int, default=None
            Number of codes drawn for each row, always the same for the same row. More come
            closer to the log-density, from below. None: as many as in training, where one
            stands for the evidence lower bound.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Density per unit of `X`, or probability under ``likelihood="bernoulli"``.
        """
        rows, kind, module = self._to_infer(X, "score_samples")
        assert isinstance(module, VariationalModule)
        if n_importance_samples is not None:
            check_count(n_importance_samples, "n_importance_samples")
        elif self.n_importance_samples > 1:
            n_importance_samples = self.n_importance_samples
        decoded = min(DECODED_ROWS, 4 * module.network.rows_at_once)
        if n_importance_samples is None:
            noise = even_noise(self.n_components_)[:, None]
            at_once = max(1, decoded // len(noise))
            bounds = by_chunks(rows, lambda x: module.bound(x, noise.to(x)), at_once)
        else:
            at_once = max(1, decoded // n_importance_samples)
            shape = (n_importance_samples, self.n_components_)
            bounds = by_chunks(
                rows, lambda x: module.tight_bound(x, _own_noise(x, shape)), at_once
            )
        return kind.wrap(bounds)


def _own_noise(x: Tensor, shape: tuple[int, int]) -> Tensor:
    """Draw standard Gaussian noise for each row, ``(shape[0], n_rows, shape[1])``, by content."""
    keys = row_keys(x.nan_to_num().cpu().numpy(), seed=0)
    noise = normal_from_keys(keys, math.prod(shape)).to(x)
    return noise.view(len(x), *shape).transpose(0, 1)


def even_noise(n_components: int) -> Tensor:
    """Draw standard Gaussian noise of mean zero and unit covariance exactly, always the same.

    Errors that are quadratic in the code are then averaged exactly.

    Returns
    -------
    Tensor of shape (n_draws, n_components)
    """
    half = max(ELBO_DRAWS // 2, n_components)
    draws = torch.randn(half, n_components, generator=make_generator(0), dtype=torch.float64)
    draws = torch.linalg.qr(draws).Q * half**0.5
    return torch.cat([draws, -draws])
