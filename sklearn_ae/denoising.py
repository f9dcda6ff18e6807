"""The denoising autoencoder: clean rows from spoilt ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._backend.batches import Rows, by_chunks
from sklearn_ae._backend.isolation import isolated
from sklearn_ae._backend.linear import shrink_start, spread
from sklearn_ae._backend.random import drawing_from, make_generator
from sklearn_ae._backend.resources import heavy
from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._energy import Energy
from sklearn_ae._inference import module_as, open_rows
from sklearn_ae._inputs import check_count, kind_of
from sklearn_ae._network_choice import LinearStart
from sklearn_ae._strays import STRAYS, fraction_of_strays
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks._denoising import DenoisingModule


@dataclass(kw_only=True, eq=False, repr=False)
class DenoisingAutoencoder(Energy, LinearStart, BaseAutoencoder):
    r"""Autoencoder that is shown spoilt rows and asked for the clean ones.

    With :math:`\tilde x` a corrupted copy of :math:`x`, drawn anew every time the row is
    presented, training minimises the loss between :math:`r(\tilde x) = g(f(\tilde x))` and
    :math:`x`. `transform`, `reconstruct` and the scores see rows as they are.

    Under Gaussian noise of standard deviation :math:`\sigma` and squared error the best
    possible :math:`r` is the mean of the clean rows given the spoilt one, and

    .. math:: \frac{r(x) - x}{\sigma^2} = \nabla_x \log (p * \mathcal N(0, \sigma^2 I))(x),

    the score of the data's density after the noise. `score_field` returns it and `sample`
    walks along it. With ``init="pca"`` the start is then the best linear denoiser: PCA's
    reconstruction, a component of variance :math:`v` shrunk by :math:`v / (v + \sigma^2)`.

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
    init : {"pca", "random"}, default="pca"
        Where training of a dense network starts. ``"pca"`` adds linear maps to it, set to PCA;
        ``"random"`` leaves them out; other networks, those with tied weights and those with a
        `code_activation` have none. Under ``"binary_crossentropy"``, ``"poisson"`` or an
        `output_activation`, which see the data through a link, only the encoder's linear map is
        PCA's.
    noise : {"gaussian", "masking", "salt_and_pepper"} or callable, default="gaussian"
        What spoils a row: a Gaussian added to it, entries set to zero, or entries set at random
        to the least or the greatest value of their feature. A callable takes a tensor of
        shape (batch_size, n_features) in the units of `X` and returns the spoilt rows; what it
        draws from torch is seeded by `random_state`.
    noise_level : float, default=None
        Standard deviation of the Gaussian in the units of `X`, or the share of entries hit.
        None: 0.3 times the overall standard deviation of `X`, or a share of 0.25.

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
    noise_level_ : float or None
        The noise level used. None if `noise` is a callable.

    References
    ----------
    Vincent, P., Larochelle, H., Lajoie, I., Bengio, Y. and Manzagol, P.-A. (2010). Stacked
    denoising autoencoders. Journal of Machine Learning Research, 11, 3371-3408.

    Alain, G. and Bengio, Y. (2014). What regularized auto-encoders learn from the
    data-generating distribution. Journal of Machine Learning Research, 15, 3743-3773.

    Efron, B. (2011). Tweedie's formula and selection bias. Journal of the American Statistical
    Association, 106(496), 1602-1614.

    Bengio, Y., Yao, L., Alain, G. and Vincent, P. (2013). Generalized denoising auto-encoders
    as generative models. NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import DenoisingAutoencoder
    >>> rng = np.random.default_rng(0)
    >>> t = rng.uniform(0, 2 * np.pi, size=500)
    >>> X = np.column_stack([np.cos(t), np.sin(t)])
    >>> spoilt = X + 0.2 * rng.normal(size=X.shape)
    >>> denoiser = DenoisingAutoencoder(noise_level=0.2, random_state=0).fit(X)
    >>> before = np.square(spoilt - X).mean()
    >>> after = np.square(denoiser.reconstruct(spoilt) - X).mean()
    >>> bool(after < 0.7 * before)
    True
    """

    noise: str | Callable[[Tensor], Tensor] = "gaussian"
    noise_level: float | None = None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        **LinearStart._parameter_constraints,
        "noise": [StrOptions({"gaussian", "masking", "salt_and_pepper"}), callable],
        "noise_level": [Interval(Real, 0, None, closed="neither"), None],
    }

    def _build_module(self, n_features: int) -> DenoisingModule:
        is_share = self.noise in ("masking", "salt_and_pepper")
        if is_share and (self.noise_level or 0) > 1:
            raise ValueError(
                f"noise_level={self.noise_level} is a share of entries under "
                f"noise={self.noise!r} and cannot exceed 1."
            )
        return DenoisingModule(
            self._network(),
            self.input_shape_,
            self.n_components,
            noise=self.noise,
            noise_level=self.noise_level,
            **self._network_options(),
        )

    @torch.no_grad()
    def _pretrain(self, module: DenoisingModule, X: Rows, seed: int) -> None:
        """Note the range of the features and the noise level; shrink a start at linear maps."""
        module.least.fill_(torch.inf)
        module.most.fill_(-torch.inf)
        for x in map(X.take, X.chunks()):
            torch.minimum(module.least, x.nan_to_num(torch.inf).amin(0), out=module.least)
            torch.maximum(module.most, x.nan_to_num(-torch.inf).amax(0), out=module.most)
        level = self.noise_level
        if level is None and self.noise == "gaussian":
            level = 0.3 * float(spread(X)[1].mean()) ** 0.5 * float(module.scale) or 0.3
        module.level.fill_(0.25 if level is None else level)
        if self._starts_well() and self._trains_score(module):
            shrink_start(module, X)

    def _trains_score(self, module: DenoisingModule) -> bool:
        """Whether the optimal reconstruction is the mean that Tweedie's formula speaks of."""
        return module.noise == "gaussian" and self.loss == "squared_error"

    def _loss(
        self,
        module: DenoisingModule,  # type: ignore[override]
        X: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        output = module(module.corrupt(X))
        return {"reconstruction": self._compare(module, output, X if y is None else y)}

    @torch.no_grad()
    def _describe(self, module: DenoisingModule, X: Rows) -> dict[str, Any]:
        module.residual.zero_()
        module.strays.zero_()
        if self._trains_score(module):
            module.strays.fill_(fraction_of_strays(module, X))
        else:
            self._note_residual(module, X)
        return {"noise_level_": None if callable(self.noise) else float(module.level)}

    def _note_residual(self, module: DenoisingModule, X: Rows) -> None:
        """Write the deviations of clean samples from reconstructed ones into the module."""
        mean = self._get_loss().mean
        squares, seen = torch.zeros_like(module.residual), torch.zeros_like(module.residual)
        for chunk in X.chunks(module.network.rows_at_once):
            x, weight = X.take(chunk), X.take_weight(chunk).to(squares.dtype)
            restored = mean(module(module.corrupt(x)))
            squares += weight @ (restored - x).square().nan_to_num()
            seen += weight @ (~x.isnan()).to(weight)
        module.residual.copy_((squares / seen.clamp_min(1e-12)).sqrt())

    @isolated
    def score_field(self, X):
        """Gradient of the log-density of the data after the noise, at each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        field : ndarray of the shape of `X`
            ``(reconstruct(X) - X) / noise_level_ ** 2``.

        Raises
        ------
        ValueError
            Unless trained under Gaussian noise and squared error, which alone make it so.
        """
        rows, kind, module = open_rows(self, X, "score_field")
        assert isinstance(module, DenoisingModule)
        if not self._has_score():
            raise ValueError(
                f"score_field needs noise='gaussian' and loss='squared_error', without an "
                f"output_activation; this estimator has noise={module.noise!r} and "
                f"loss={self._fitted_loss!r}."
            )

        def field(x: Tensor) -> Tensor:
            return (module(x) - x) * module.scale / self.noise_level_**2

        result = by_chunks(rows, field, module.network.rows_at_once)
        return kind.wrap(result.reshape(-1, *self.input_shape_))

    @isolated
    @heavy
    @torch.no_grad()
    def sample(self, n_samples=1, random_state=None, n_steps=300):
        r"""Draw new samples by Markov chains.

        A chain starts at a sample decoded from a code drawn from the distribution that `density`
        chooses, corrupted. Under Gaussian noise and squared error it follows Langevin's walk along
        the score of the noisy density, and its end :math:`\tilde x` gives a draw from
        :math:`\mathcal N(r(\tilde x), \sigma^2\, \partial r / \partial \tilde x)`: by Tweedie's
        formula these are mean and covariance of the clean samples that :math:`\tilde x` may come
        from. The derivative is made symmetric and its eigenvalues are clamped to [0, 1].

        Under other noises and losses samples are reconstructed and corrupted in turn, and the
        chain ends with a reconstruction. The draw is then Gaussian around `reconstruct` with one
        standard deviation per feature, that of the training samples' residuals, and the samples'
        distribution approximates that of the data only as far as this describes the clean samples
        given a corrupted one.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples, each the end of a chain of its own.
        random_state : int, RandomState instance or None, default=None
            Controls the randomness of the draw.
        n_steps : int, default=300
            Length of the chains.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Samples in the units of the training data.

        Warns
        -----
        UserWarning
            If more than 7 % of up to 512 training samples, corrupted and drawn again at the end
            of `fit`, were farther from the data, by the fifth nearest sample, than 99 % of the
            samples themselves. `noise_level` is then large beside the gaps in the data: the clean
            samples given a corrupted one lie on both sides of a gap, and Gaussian draws fill it.
        """
        check_count(n_steps, "n_steps")
        random_state = check_random_state(random_state)
        check_is_fitted(self)
        check_count(n_samples, "n_samples")
        kind = kind_of(self._kind)
        module = module_as(self, kind.dtype)
        assert isinstance(module, DenoisingModule)
        self._warn_of_strays(module)
        codes = torch.from_numpy(self._draw_codes(n_samples, random_state)).to(module.center)
        with drawing_from(make_generator(random_state.randint(2**31 - 1), codes.device)):
            rows = [
                self._walk(module, module.corrupt(self._mean(module, part)), n_steps)
                for part in codes.split(module.network.rows_at_once)
            ]
        x = torch.cat(rows) * module.scale + module.center
        return kind.wrap(x.reshape(-1, *self.input_shape_))

    def _mean(self, module: DenoisingModule, codes: Tensor) -> Tensor:
        return self._get_fitted_loss().mean(module.decode(codes))

    def _warn_of_strays(self, module: DenoisingModule) -> None:
        if (strays := float(module.strays)) > STRAYS:
            warnings.warn(
                f"{strays:.0%} of the training samples, corrupted with noise_level="
                f"{self.noise_level_:.3g} and drawn again, lie where there are no data: the noise "
                f"is large beside the gaps in the data, or training was too short. Lower "
                f"noise_level, for example to {self.noise_level_ / 2:.3g}.",
                stacklevel=6,
            )

    def _walk(self, module: DenoisingModule, corrupted: Tensor, n_steps: int) -> Tensor:
        """Take chains of corrupted samples further; return the samples that they were made of."""
        if self._has_score():
            return module.draw_clean(module.langevin(corrupted, n_steps))
        loss = self._get_fitted_loss()

        def draw() -> Tensor:
            mean = loss.mean(module(corrupted))
            return (mean + module.residual * torch.randn_like(mean)).clamp(loss.lower, loss.upper)

        for _ in range(n_steps):
            corrupted = module.corrupt(draw())
        return draw()

    def _has_score(self) -> bool:
        is_linear = self._get_fitted_loss().scaled
        is_squared = self._fitted_loss == "squared_error"
        return self.module_.noise == "gaussian" and is_squared and is_linear
