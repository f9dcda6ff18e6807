"""A regressor on a stacked autoencoder: learns from all rows, and from the targets of some."""

from __future__ import annotations

from dataclasses import dataclass
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
from sklearn_ae._heads import can_continue
from sklearn_ae._stacks.head_training import Labels
from sklearn_ae._stacks.labels import as_numpy
from sklearn_ae._stacks.supervised import SupervisedStack
from sklearn_ae._training.isolation import isolated


@dataclass(kw_only=True, eq=False, repr=False)
class StackedAutoencoderRegressor(RegressorMixin, SupervisedStack):
    """Regressor on the code of a stacked autoencoder, for few targets and many rows.

    An autoencoder is trained on all rows, then a regressor on its code, or the encoder together
    with a linear layer under squared error, on the rows whose target is known. **Rows whose
    target is NaN have none.**

    Parameters
    ----------
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
    max_iter : int, default=100
        Number of epochs of the head, or of fine-tuning, at most.
    tol : float, default=0.0001
        Smallest relative fall of the loss that counts as an improvement.
    early_stopping : bool, default=False
        Whether to hold out `validation_fraction` of the labelled rows, judge each epoch on them
        and keep the best weights. The autoencoder is trained on them, too, without their labels.
    validation_fraction : float, default=0.1
        Share of the labelled rows to hold out; of classes, the same of each where that is a row
        or more. Copies of a row are held out together.
    n_iter_no_change : int or inf, default=100
        Epochs without an improvement, of the held-out loss or else of the training loss,
        after which training stops. ``numpy.inf``: never.
    warm_start : bool, default=False
        Whether `fit` continues from the present weights, optimiser state included, without
        training the autoencoder anew.
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
        Fixes initial weights, held-out rows, order and noise, also those of an `autoencoder` and a
        `head` whose own `random_state` is None.
    verbose : int or bool, default=False
        Whether to show a progress bar with the loss and the time left.
    hidden_layer_sizes : tuple of int, default=(128, 128)
        Widths of the encoder's layers, that of the code last.
    activation : {"relu", "silu", "gelu", "tanh", "logistic", "identity"}, default="tanh"
        Non-linearity of all these layers.
    pretraining : {"autoencoder", "denoising", "sparse", "contractive", "rbm"}, default="denoising"
        How each layer is trained: to undo itself; to do so from inputs of which a share of
        `noise_level` is set to zero; with an L1 penalty on its code; with a penalty on the
        Jacobian of its code; or as a restricted Boltzmann machine, which needs
        ``activation="logistic"``. None: the weights stay random until all are trained together.
    pretraining_max_iter : int or sequence of int, default=50
        Number of epochs of each layer, that of the code last; one number is for all.
    noise_level : float or sequence of float, default=0.25
        Share of a layer's inputs set to zero, in the rows that is the mean of the feature unless
        the loss uses the data as they are. Only for ``pretraining="denoising"``.
    sparsity_weight : float or sequence of float, default=0.3
        Factor of the mean absolute value of a layer's code, for layers that are wider than what
        they see. Only for ``pretraining="sparse"``.
    contraction : float or sequence of float, default=0.001
        Factor of the squared Frobenius norm of a layer's Jacobian. Only for
        ``pretraining="contractive"``.
    autoencoder : estimator, default=None
        Any autoencoder of this package, to be trained on all rows first, by its own parameters;
        in scikit-learn's ``FrozenEstimator`` one that is fitted already, of which a copy is used.
        The parameters from `hidden_layer_sizes` to `contraction` are then not used. None: a
        :class:`StackedAutoencoder` with these parameters, whose last layer is the code.
    head : estimator, default=None
        Any estimator of scikit-learn for the task, fitted on the code of the labelled rows. None:
        a linear layer, which under a softmax tells classes apart. Weights of samples and classes
        are passed on to it, unless ``set_fit_request(sample_weight=False)`` was called on it.
    fine_tune : bool, default=True
        Whether to train the encoder together with such a layer on the labelled rows. If False
        the encoder stays as it was. A `head` is fitted on the code of the encoder, fine-tuned or
        not.
    reconstruction_weight : float, default=0.0
        Factor of the autoencoder's own loss, of labelled and unlabelled rows, in fine-tuning.

    Attributes
    ----------
    autoencoder_ : estimator
        The fitted autoencoder, its encoder fine-tuned; `transform` is its.
    head_ : estimator or None
        The fitted `head`. None: there is but the linear layer.
    head_coef_ : ndarray of shape (n_outputs, n_components)
        Weights of the linear layer on the code, not on the features; of two classes the
        difference. Not there if a `head` was given and nothing fine-tuned.
    head_intercept_ : ndarray of shape (n_outputs,)
        Its intercept.
    n_components_ : int
        Size of the code.
    n_features_in_ : int
        Number of features of a row, all axes of an image counted.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if `X` had names.
    input_shape_ : tuple of int
        Shape of one row of `X`.
    n_iter_ : int
        Number of epochs of the last call: of fine-tuning, or of the linear layer. Where a `head`
        is fitted and nothing fine-tuned, those of the autoencoder.
    loss_curve_ : list of float
        Training loss of each of these epochs, after those of the calls that were continued.
    best_epoch_ : int
        Epoch of the last call whose weights were kept.
    validation_scores_ : list of float or None
        Score of the held-out rows after each epoch.
    history_ : list of dict
        One entry per value of `loss_curve_`, with all losses by name: ``"supervised"`` and, if it
        has a weight, ``"reconstruction"``. That of the autoencoder is ``autoencoder_.history_``.
    device_ : str
        Where it was trained.

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
            Weights of the samples.

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
