"""A regressor on a stacked autoencoder: learns from all rows, and from the targets of some."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import check_array
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from torch import Tensor

from sklearn_ae._estimator.inputs import check_weight
from sklearn_ae._estimator.state import unchanged_on_error
from sklearn_ae._parameters.declaration import declares_parameters
from sklearn_ae._stacks.head_training import Labels
from sklearn_ae._stacks.heads import can_continue
from sklearn_ae._stacks.labels import as_numpy
from sklearn_ae._stacks.supervised import SupervisedStack
from sklearn_ae._training.isolation import isolated


@declares_parameters
class StackedAutoencoderRegressor(RegressorMixin, SupervisedStack):
    """Regressor on the code of a stacked autoencoder, for few targets and many rows.

    An autoencoder is trained on all rows, then a regressor on its code, or the encoder together
    with a linear layer under squared error, on the rows whose target is known. **Rows whose
    target is NaN have none.**

    See Also
    --------
    StackedAutoencoderClassifier : The same for classes.

    References
    ----------
    Bengio, Y., Lamblin, P., Popovici, D. and Larochelle, H. (2007). Greedy layer-wise training of
    deep networks. NeurIPS.

    Examples
    --------
    Of 442 patients the progress of 100 is known:

    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_ae import StackedAutoencoderRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> few = np.where(np.arange(len(y)) < 100, y, np.nan)
    >>> regressor = StackedAutoencoderRegressor(fine_tune=False, random_state=0).fit(X, few)
    >>> regressor.predict(X[:3]).shape
    (3,)
    """

    @available_if(can_continue)
    @isolated
    @unchanged_on_error
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one pass over one chunk of samples.

        One pass of the autoencoder over all samples by its own `partial_fit`, then one pass of
        fine-tuning or of the head over the labelled ones. The first call fixes mean and scale of
        the targets from its chunk, as the autoencoder's fixes those of `X`; later calls continue,
        optimiser state included. The learning rate is `learning_rate_init` throughout, and
        nothing is held out. A frozen autoencoder is not trained, but is fine-tuned. With a `head`
        that has no `partial_fit` there is none here either.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            One chunk of the training samples, labelled or not.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, NaN for unlabelled samples. The first chunk needs a labelled one.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples. One of weight two counts as two equal ones: up to rounding if
            all samples are in one batch, in the expected gradient of each step otherwise.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, or if training diverges. The estimator
            is then as it was before.
        """
        return self._fit(X, y, sample_weight, one_pass=True)

    def _check_labels(
        self, y: Any, n_samples: int, weight: Tensor | None, resume: bool, one_pass: bool
    ) -> Labels:
        y = _checked(y, n_samples)
        targets = y.reshape(n_samples, -1).astype(np.float64)
        missing = np.isnan(targets)
        if (missing.any(1) != missing.all(1)).any():
            raise ValueError(
                "y has rows of which some targets are NaN and others are not; a row has all its "
                "targets, or none."
            )
        known = ~missing.any(1)
        if weight is not None:
            known &= weight.numpy() > 0
        if not known.any() and not (resume and one_pass):
            raise ValueError("y has no target that is not NaN, in a row with a weight.")
        if not resume:
            mass = None if weight is None else weight.numpy()[known]
            with np.errstate(over="ignore", invalid="ignore"):
                self._y_mean = np.average(targets[known], axis=0, weights=mass)
                variance = np.average((targets[known] - self._y_mean) ** 2, axis=0, weights=mass)
            if not np.isfinite(variance).all():
                raise ValueError("y has values so large that their variance is not held; rescale.")
            self._y_scale = np.where(variance > 0, np.sqrt(variance), 1.0)
            self._y_ndim = y.ndim
        elif len(self._y_mean) != targets.shape[1]:
            raise ValueError(
                f"y had {len(self._y_mean)} targets and has {targets.shape[1]} now, so training "
                f"cannot continue; use a new estimator, or warm_start=False."
            )
        scaled = np.nan_to_num((targets - self._y_mean) / self._y_scale)
        return Labels(y, scaled, known, weight, np.zeros(n_samples, int), targets.shape[1])

    def _judge_outputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        squares = (output - target).square()
        return squares.mean(1), squares.sum(1)

    def _to_head(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        scale, mean = (torch.from_numpy(v) for v in (self._y_scale, self._y_mean))
        return weight * scale[:, None], bias * scale + mean

    def predict(self, X):
        """Predict the targets of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        if self.head_ is not None:
            return self.head_.predict(self._codes(X))
        predicted = self._linear(X)
        return predicted[:, 0] if self._y_ndim == 1 else predicted

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination of the rows whose target is known.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Rows with NaN do not count.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            R2, at most 1.

        Raises
        ------
        ValueError
            If no target is known.
        """
        predicted = self.predict(X)
        y = _checked(y, len(predicted))
        known = ~np.isnan(y.reshape(len(y), -1).astype(float)).any(1)
        if not known.any():
            raise ValueError("y has no row to score on: all targets are NaN.")
        weight = check_weight(sample_weight, len(predicted))
        weight = None if weight is None else weight.numpy()[known]
        return float(r2_score(y[known], predicted[known], sample_weight=weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _checked(y: Any, n_samples: int) -> np.ndarray:
    """Return targets as an array of as many rows."""
    options = {"ensure_2d": False, "dtype": "numeric", "input_name": "y"}
    y = check_array(as_numpy(y), ensure_all_finite="allow-nan", **options)
    check_consistent_length(range(n_samples), y)
    return y
