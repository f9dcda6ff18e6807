"""A semi-supervised regressor on the code of a stacked autoencoder."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._estimator.blockwise import blockwise
from sklearn_ae._parameters.declaration import declares_parameters
from sklearn_ae._parameters.documentation import documented_like
from sklearn_ae._stacks.head_training import Labels
from sklearn_ae._stacks.labels import score_labelled
from sklearn_ae._stacks.regression_targets import check_targets, regression_targets
from sklearn_ae._stacks.supervised import SupervisedStack
from sklearn_ae.base import BaseAutoencoder


@declares_parameters
class StackedAutoencoderRegressor(RegressorMixin, SupervisedStack):
    """Semi-supervised regressor on the code of a stacked autoencoder.

    It is made for few targets and many samples. First an autoencoder is trained on all samples.
    Then a regressor on its code, or the encoder together with a linear layer under squared error,
    is trained on the samples with a target. **A target of NaN marks a sample without one.**

    See Also
    --------
    StackedAutoencoderClassifier : The same for classification.

    References
    ----------
    Bengio, Y., Lamblin, P., Popovici, D. and Larochelle, H. (2007). Greedy layer-wise training of
    deep networks. NeurIPS.

    Examples
    --------
    Of 442 patients, 100 have a target:

    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_ae import StackedAutoencoderRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> few = np.where(np.arange(len(y)) < 100, y, np.nan)
    >>> regressor = StackedAutoencoderRegressor(fine_tune=False, random_state=0).fit(X, few)
    >>> regressor.predict(X[:3]).shape
    (3,)
    """

    _marking: ClassVar[str] = "Mark samples without a target by NaN in y."

    # Not metadata of samples, which scikit-learn would route.
    __metadata_request__predict: ClassVar[dict[str, Any]] = {"out": UNUSED}

    def _check_labels(
        self, y: Any, n_samples: int, weight: Tensor | None, resume: bool, one_pass: bool
    ) -> Labels:
        return regression_targets(self, y, n_samples, weight, resume, one_pass)

    def _losses_and_errors(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        squares = (output - target).square()
        return squares.mean(1), squares.sum(1)

    def _to_head(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        # The layer is trained on centred and scaled targets.
        scale, mean = (torch.from_numpy(v) for v in (self._y_scale, self._y_mean))
        return weight * scale[:, None], bias * scale + mean

    @blockwise
    @documented_like(BaseAutoencoder.score_samples)
    def predict(self, X):
        """Predict the targets of samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predicted targets.
        """
        check_is_fitted(self)
        if self.head_ is not None:
            return self.head_.predict(self._codes(X))
        predicted = self._linear_output(X)
        return predicted[:, 0] if self._y_ndim == 1 else predicted

    @documented_like(BaseAutoencoder.score)
    def score(self, X, y, sample_weight=None):
        """Return the coefficient of determination on the samples with a target.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Samples with NaN are ignored.

        Returns
        -------
        score : float
            R2, at most 1.

        Raises
        ------
        ValueError
            If no sample has a target.
        """
        predicted = self.predict(X)
        y, missing = check_targets(y, len(predicted))
        labelled = ~np.any(missing, axis=1)
        if not labelled.any():
            raise ValueError("y has no sample to score: all targets are NaN.")
        return score_labelled(r2_score, y[labelled], predicted, labelled, sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
