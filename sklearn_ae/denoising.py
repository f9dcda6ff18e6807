"""The denoising autoencoder: reconstructs clean samples from corrupted ones."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar

import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._compat import Interval, StrOptions
from sklearn_ae._estimator.advice import warn_of_ignored_targets
from sklearn_ae._estimator.energy import energy
from sklearn_ae._estimator.inference import module_as, open_samples
from sklearn_ae._estimator.inputs import array_type_of, check_count
from sklearn_ae._estimator.network_choice import LinearStart
from sklearn_ae._estimator.strays import STRAYS, fraction_of_strays
from sklearn_ae._estimator.tables import (
    TABLE_ATTRIBUTES,
    TableColumns,
    in_data_form,
    layout_of,
)
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae._parameters.documentation import documented_like
from sklearn_ae._tables.loss import Layout
from sklearn_ae._training.batches import Samples, by_chunks
from sklearn_ae._training.description import TrainingRun
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.linear import mean_and_variance, shrink_start
from sklearn_ae._training.marginals import draw_values
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae._training.resources import limit_resources
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks._denoising import DenoisingModule


@declares_parameters
class DenoisingAutoencoder(LinearStart, BaseAutoencoder):
    r"""Autoencoder that is trained to reconstruct clean samples from corrupted ones.

    Let :math:`\tilde x` be a corrupted copy of a sample :math:`x`, with new noise in every epoch.
    Training minimises the loss between the reconstruction :math:`r(\tilde x) = g(f(\tilde x))`
    and :math:`x`, with encoder :math:`f` and decoder :math:`g`. `transform`, `reconstruct` and
    the scores do not corrupt their input.

    Under Gaussian noise of standard deviation :math:`\sigma` and squared error the optimal
    :math:`r` is the mean of the clean samples given the corrupted one, and

    .. math:: \frac{r(x) - x}{\sigma^2} = \nabla_x \log (p * \mathcal N(0, \sigma^2 I))(x)

    is the score (the gradient of the log-density) of the noisy data. `score_field` returns it,
    and `sample` runs Markov chains along it. With ``init="pca"`` training then starts at the best
    linear denoiser: PCA's reconstruction, in which each component of variance :math:`v` is
    multiplied by :math:`v / (v + \sigma^2)`.

    With held-out samples and the schedule ``"one_cycle"`` the weights of the last epoch are kept,
    unless patience ended the training or those of an earlier epoch are better by a paired t-test.

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
    >>> corrupted = X + 0.2 * rng.normal(size=X.shape)
    >>> denoiser = DenoisingAutoencoder(noise_level=0.2, max_iter=50, random_state=0).fit(X)
    >>> before = np.square(corrupted - X).mean()
    >>> after = np.square(denoiser.reconstruct(corrupted) - X).mean()
    >>> bool(after < 0.7 * before)
    True
    """

    noise: str | Callable[[Tensor], Tensor] = parameter(
        default="gaussian",
        doc="""{"gaussian", "masking", "salt_and_pepper", "swap"} or callable
        Corruption of the training samples. ``"gaussian"`` adds Gaussian noise, ``"masking"`` sets
        values to zero, and ``"salt_and_pepper"`` sets values to the minimum or the maximum of
        their feature, with equal probability. ``"swap"`` replaces values by observed values of
        the same feature in training samples, drawn for each value independently. A callable takes
        a tensor of shape (batch_size, n_features) in the units of `X` and returns the corrupted
        samples; `random_state` seeds torch's random numbers in it.
        """,
        constraint=[StrOptions({"gaussian", "masking", "salt_and_pepper", "swap"}), callable],
    )
    noise_level: float | None = parameter(
        default=None,
        doc="""float
        Standard deviation of the Gaussian noise in the units of `X`, or the fraction of values
        that are replaced. None means 0.3 times the overall standard deviation of `X`, or a
        fraction of 0.25.
        """,
        constraint=[Interval(Real, 0, None, closed="neither"), None],
    )

    categorical_features: Any = same_as(TableColumns, "categorical_features")
    max_categories: int = same_as(TableColumns, "max_categories")

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        **TABLE_ATTRIBUTES,
        "noise_level_": """float or None
        The noise level that was used. None if `noise` is a callable.
        """,
    }

    energy = energy

    def _build_module(self, n_features: int) -> DenoisingModule:
        is_fraction = self.noise in ("masking", "salt_and_pepper", "swap")
        if is_fraction and (self.noise_level or 0) > 1:
            raise ValueError(
                f"noise_level={self.noise_level} is a fraction of values under "
                f"noise={self.noise!r} and cannot exceed 1."
            )
        return DenoisingModule(
            self._network(),
            self.input_shape_,
            self.n_components,
            noise=self.noise,
            noise_level=self.noise_level,
            layout=layout_of(self),
            **self._network_options(),
        )

    @torch.no_grad()
    def _pretrain(self, module: DenoisingModule, X: Samples, seed: int) -> None:
        """Store what the noise depends on; shrink a start at linear maps."""
        module.least.fill_(torch.inf)
        module.most.fill_(-torch.inf)
        samples = X.targets or X  # with missing values, if there are any
        for x in map(samples.take, samples.chunks()):
            torch.minimum(module.least, x.nan_to_num(torch.inf).amin(0), out=module.least)
            torch.maximum(module.most, x.nan_to_num(-torch.inf).amax(0), out=module.most)
        for bound in (module.least, module.most):  # of features without a value
            bound.nan_to_num_(posinf=0.0, neginf=0.0)
        if self.noise == "swap":
            layout = module.layout
            if layout is not None:
                samples = samples.map(layout.to_columns, layout.n_columns)
            values = draw_values(samples, len(module.values), seed)
            module.values.copy_(values if layout is None else layout.from_columns(values))
        level = self.noise_level
        if level is None and self.noise == "gaussian":
            level = (
                0.3 * float(mean_and_variance(samples)[1].mean()) ** 0.5 * float(module.scale)
                or 0.3
            )
        module.level.fill_(0.25 if level is None else level)
        if self._starts_at_solution() and self._trains_score(module):
            shrink_start(module, X)

    def _check_targets(self, y: Any, n_samples: int, sample_shape: tuple[int, ...]) -> Any:
        shapes = (n_samples, *sample_shape), (n_samples, math.prod(sample_shape))
        if tuple(getattr(y, "shape", ())) in shapes:
            warn_of_ignored_targets(self)

    def _trains_score(self, module: DenoisingModule) -> bool:
        """Whether the optimal reconstruction is the conditional mean of Tweedie's formula."""
        is_linear = self._get_loss().scaled
        return module.noise == "gaussian" and self.loss == "squared_error" and is_linear

    def _adjust(self, run: TrainingRun) -> TrainingRun:
        # The clean sample given a corrupted one is random, and its variance is most of the loss:
        # between late epochs held-out losses differ by chance. The last epoch has the smallest
        # steps behind it, and samples that are corrupted anew each time are hardly overfitted.
        return replace(run, objective=replace(run.objective, prefers_last=True))

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
    def _fitted_attributes(self, module: DenoisingModule, X: Samples) -> dict[str, Any]:
        module.residual.zero_()
        module.strays.zero_()
        if self._trains_score(module):
            module.strays.fill_(fraction_of_strays(module, X))
        else:
            self._note_residual(module, X)
        return {"noise_level_": None if callable(self.noise) else float(module.level)}

    def _note_residual(self, module: DenoisingModule, X: Samples) -> None:
        """Store the standard deviation of each feature's residuals in the module."""
        mean = self._get_loss().mean
        squares, seen = torch.zeros_like(module.residual), torch.zeros_like(module.residual)
        targets = X.targets or X
        for chunk in X.chunks(module.network.samples_at_once):
            x, weight = targets.take(chunk), X.take_weight(chunk).to(squares.dtype)
            reconstructed = mean(module(module.corrupt(X.take(chunk))))
            squares += weight @ (reconstructed - x).square().nan_to_num()
            seen += weight @ (~x.isnan()).to(weight)
        module.residual.copy_((squares / seen.clamp_min(1e-12)).sqrt())

    @isolated
    @documented_like(BaseAutoencoder.transform)
    def score_field(self, X):
        """Return the gradient of the log-density of the noisy data at each sample.

        Returns
        -------
        field : ndarray of the shape of `X`
            ``(reconstruct(X) - X) / noise_level_ ** 2``.

        Raises
        ------
        ValueError
            If the autoencoder was not trained with Gaussian noise, squared error and no
            `output_activation`: this formula holds for these only.
        """
        samples, array_type, module = open_samples(self, X, "score_field")
        assert isinstance(module, DenoisingModule)
        if not self._has_score():
            raise ValueError(
                f"score_field needs noise='gaussian' and loss='squared_error', without an "
                f"output_activation; this estimator has noise={module.noise!r} and "
                f"loss={self._fitted_loss!r}."
            )

        def field(x: Tensor) -> Tensor:
            # The difference is multiplied by the scale to be in the units of `X`.
            score: Tensor = (module(x) - x) * module.scale / self.noise_level_**2
            return score

        result = by_chunks(samples, field, module.network.samples_at_once)
        return array_type.wrap(result.reshape(-1, *self.input_shape_))

    @isolated
    @limit_resources
    @torch.no_grad()
    def sample(self, n_samples=1, random_state=None, n_steps=300):
        r"""Draw new samples by Markov chains.

        Each chain starts at a corrupted sample, decoded from a code drawn from the distribution
        that `density` selects. Under Gaussian noise and squared error the chain is Langevin
        dynamics along the score of the noisy density. From its end :math:`\tilde x` a sample is
        drawn from :math:`\mathcal N(r(\tilde x), \sigma^2\, \partial r / \partial \tilde x)`: by
        Tweedie's formula these are the mean and the covariance of the clean samples given
        :math:`\tilde x`. The derivative is made symmetric and its eigenvalues are clamped to
        [0, 1].

        Under other noises and losses each step draws a clean sample and corrupts it, and the
        chain ends with a clean sample. Clean samples are drawn from a Gaussian around the
        reconstruction, with one standard deviation per feature, that of the residuals of the
        training samples. The distribution of the result is close to that of the data only if
        these Gaussians describe the clean samples given a corrupted one.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples, each from its own chain.
        random_state : int, RandomState instance or None, default=None
            Controls the randomness of the samples.
        n_steps : int, default=300
            Number of steps of each chain.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Samples in the units of the training data.

        Warns
        -----
        UserWarning
            If `noise_level` is large compared with the gaps in the data. The clean samples given
            a corrupted one then lie on both sides of a gap, and the Gaussian draws fill it. At the
            end of `fit` up to 512 training samples are corrupted and drawn again; the warning is
            raised if more than 7 % of the draws are farther from their fifth nearest sample than
            99 % of the samples are from theirs.
        """
        check_count(n_steps, "n_steps")
        random_state = check_random_state(random_state)
        check_is_fitted(self)
        check_count(n_samples, "n_samples")
        array_type = array_type_of(self._kind)
        module = module_as(self, array_type.dtype)
        assert isinstance(module, DenoisingModule)
        self._warn_of_strays(module)
        codes = torch.from_numpy(self._draw_codes(n_samples, random_state)).to(module.center)
        with drawing_from(make_generator(random_state.randint(2**31 - 1), codes.device)):
            samples = [
                self._walk(module, module.corrupt(self._mean(module, part)), n_steps)
                for part in torch.split(codes, module.network.samples_at_once)
            ]
        x = torch.cat(samples) * module.scale + module.center
        x = x.reshape(-1, *self.input_shape_)
        return in_data_form(self, array_type, x, random_state)

    def _mean(self, module: DenoisingModule, codes: Tensor) -> Tensor:
        return self._get_fitted_loss().mean(module.decode(codes))

    def _warn_of_strays(self, module: DenoisingModule) -> None:
        if (strays := float(module.strays)) > STRAYS:
            warnings.warn(
                f"{strays:.0%} of the training samples, corrupted with noise_level="
                f"{self.noise_level_:.3g} and drawn again, lie where there are no data: the noise "
                f"is larger than gaps in the data, or training was too short. Lower "
                f"noise_level, for example to {self.noise_level_ / 2:.3g}.",
                stacklevel=6,
            )

    def _walk(self, module: DenoisingModule, corrupted: Tensor, n_steps: int) -> Tensor:
        """Run chains from corrupted samples; return clean samples drawn at their ends."""
        if self._has_score():
            return module.draw_clean(module.langevin(corrupted, n_steps))
        loss = self._get_fitted_loss()

        def draw() -> Tensor:
            output = module(corrupted)
            if module.layout is not None:
                return _draw_table(module, module.layout, output)
            mean = loss.mean(output)
            return (mean + module.residual * torch.randn_like(mean)).clamp(loss.lower, loss.upper)

        for _ in range(n_steps):
            corrupted = module.corrupt(draw())
        return draw()

    def _has_score(self) -> bool:
        is_linear = self._get_fitted_loss().scaled
        is_squared = self._fitted_loss == "squared_error"
        return self.module_.noise == "gaussian" and is_squared and is_linear


def _draw_table(module: DenoisingModule, layout: Layout, output: Tensor) -> Tensor:
    """Draw the numbers and the categories of a table, given the output of the network."""
    numbers, logits = layout.split(output)
    deviations = layout.split(module.residual)[0]
    drawn = numbers + deviations * torch.randn_like(numbers)
    return torch.cat([drawn, layout.draw(logits)], -1)
