"""A classifier on a stacked autoencoder: learns from all rows, and from the labels of some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sklearn_ae._backend.isolation import isolated
from sklearn_ae._class_targets import class_targets, set_classes
from sklearn_ae._compat import MissingValues, StrOptions
from sklearn_ae._head_training import Labels
from sklearn_ae._heads import can_continue, head_has, label_probabilities, takes_several_labels
from sklearn_ae._inputs import check_weight
from sklearn_ae._labels import check_labels
from sklearn_ae._state import unchanged_on_error
from sklearn_ae._supervised import SupervisedStack


@dataclass(kw_only=True, eq=False, repr=False)
class StackedAutoencoderClassifier(ClassifierMixin, SupervisedStack):
    """Classifier on the code of a stacked autoencoder, for few labels and many rows.

    An autoencoder is trained on all rows, labelled or not; then a classifier on its code, or the
    encoder together with a softmax layer, on the samples that have a label. By default all of them
    have: set `unlabeled` to the value that marks samples without one.

    A sample may have several labels: `y` of shape (n_samples, n_outputs), of zeros and ones, is
    learnt by one logistic unit per column in place of the softmax layer, under the sum of their
    binary cross-entropies.

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
    unlabeled : int, float, str or None, default=None
        What stands in `y` for no label, such as -1. A missing value, such as ``np.nan``, stands
        for all of them: NaN, None and pandas' NA. Samples without a label train the autoencoder
        only, and `score` leaves them out. None: every sample has a label, and every value of `y`
        is a class. Of several labels per sample it stands in all columns.
    class_weight : dict or "balanced", default=None
        Weights of the classes, ``{label: weight}``. ``"balanced"`` makes all classes weigh the
        same. They count for the head and for fine-tuning, not for the autoencoder. Not supported
        for several labels per sample.
    scoring : {"loss", "accuracy"}, default="loss"
        By what `early_stopping` judges the held-out rows. Of epochs of equal accuracy the one of
        the lower loss is better.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, without `unlabeled`. Of several labels per sample the numbers of the columns.
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
    StackedAutoencoderRegressor : The same for numbers.
    sklearn.semi_supervised.SelfTrainingClassifier : Labels further rows by itself.

    References
    ----------
    Hinton, G. E., Osindero, S. and Teh, Y.-W. (2006). A fast learning algorithm for deep belief
    nets. Neural Computation, 18(7), 1527-1554.

    Bengio, Y., Lamblin, P., Popovici, D. and Larochelle, H. (2007). Greedy layer-wise training of
    deep networks. NeurIPS.

    Kingma, D. P., Rezende, D. J., Mohamed, S. and Welling, M. (2014). Semi-supervised learning
    with deep generative models. NeurIPS.

    Examples
    --------
    Digits, of which only 50 have a label:

    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import StackedAutoencoderClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> few = np.where(np.arange(len(y)) < 50, y, -1)
    >>> classifier = StackedAutoencoderClassifier(unlabeled=-1, random_state=0).fit(X, few)
    >>> bool(classifier.score(X[50:], y[50:]) > 0.75)
    True
    """

    unlabeled: Any = None
    class_weight: dict | str | None = None
    scoring: str = "loss"

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SupervisedStack._parameter_constraints,
        "unlabeled": [MissingValues()],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "scoring": [StrOptions({"loss", "accuracy"})],
    }

    @available_if(can_continue)
    @isolated
    @unchanged_on_error
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one pass over one chunk of samples.

        One pass of the autoencoder over all samples by its own `partial_fit`, then one pass of
        fine-tuning or of the head over the labelled ones. Later calls continue, optimiser state
        included. The learning rate is `learning_rate_init` throughout, and nothing is held out. A
        frozen autoencoder is not trained, but is fine-tuned. With a `head` that has no
        `partial_fit` there is none here either.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            One chunk of the training samples, labelled or not.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels, `unlabeled` for samples without one. There need not be any.
        classes : array-like of shape (n_classes,), default=None
            All classes that there will be, such as ``numpy.unique`` of all labels; `unlabeled`
            among them is left out. Of several labels per sample ``numpy.arange(n_outputs)``.
            Needed in the first call unless the estimator is fitted.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, if `classes` is missing in the first call or
            changes later, if `y` has another class, or if training diverges. The estimator is
            then as it was before.
        """
        self._validate_params()
        set_classes(self, classes)
        return self._fit(X, y, sample_weight, one_pass=True)

    def _check_labels(
        self, y: Any, n_samples: int, weight: Tensor | None, resume: bool, one_pass: bool
    ) -> Labels:
        return class_targets(self, y, n_samples, weight, resume, one_pass)

    @property
    def _has_several_labels(self) -> bool:
        """Whether a sample may have several of the classes."""
        return vars(self).get("_multilabel", False)

    def _judge_outputs(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if self._has_several_labels:
            losses = binary_cross_entropy_with_logits(output, target, reduction="none").sum(1)
            return losses, ((output > 0) != (target > 0)).any(1).to(losses.dtype)
        numbers = target[:, 0].long()
        losses = cross_entropy(output, numbers, reduction="none")
        return losses, (output.argmax(1) != numbers).to(losses.dtype)

    def _score_of(self) -> Callable[[float], float]:
        return lambda error: 1 - error

    def _monitors_score(self) -> bool:
        return self.scoring == "accuracy"

    def _to_head(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        if (
            len(weight) == 2 and not self._has_several_labels
        ):  # one logit, as in scikit-learn's linear classifiers
            return weight[1:] - weight[:1], bias[1:] - bias[:1]
        return weight, bias

    def predict(self, X):
        """Predict the class of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Their classes; never `unlabeled`. Of several labels per sample 1 where one is there.
        """
        check_is_fitted(self)
        if self.head_ is not None:
            return self.head_.predict(self._codes(X))
        if self._has_several_labels:
            return (self._linear(X) > 0).astype(int)
        return self.classes_[self._logits(X).argmax(1)]

    @available_if(head_has("predict_proba"))
    def predict_proba(self, X):
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`. Of several labels per sample the probability of each, as
            :class:`~sklearn.neural_network.MLPClassifier` returns them.
        """
        check_is_fitted(self)
        if self.head_ is not None:
            return label_probabilities(self.head_, self._codes(X))
        if self._has_several_labels:
            return expit(self._linear(X))
        return softmax(self._logits(X), axis=1)

    @available_if(head_has("predict_proba"))
    def predict_log_proba(self, X):
        """Predict the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        check_is_fitted(self)
        if self.head_ is not None:
            with np.errstate(divide="ignore"):  # of zero: -inf
                return np.log(label_probabilities(self.head_, self._codes(X)))
        if self._has_several_labels:
            return log_expit(self._linear(X))
        return log_softmax(self._logits(X), axis=1)

    @available_if(head_has("decision_function"))
    def decision_function(self, X):
        """Return the linear layer's values, or whatever the head's are.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of two classes the second one's logit, positive where it is predicted. Of several
            labels per sample the logit of each.
        """
        check_is_fitted(self)
        if self.head_ is not None:
            return self.head_.decision_function(self._codes(X))
        scores = self._linear(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def _logits(self, X: Any) -> np.ndarray:
        """Return logits of all classes."""
        scores = self._linear(X)
        return np.hstack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores

    def score(self, X, y, sample_weight=None):
        """Accuracy on the samples that have a label.

        Of several labels per sample it is that of all together, the subset accuracy.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels. Samples marked by `unlabeled`, as it was when `fit` was called, do not count.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            The accuracy.

        Raises
        ------
        ValueError
            If no sample has a label.
        """
        predicted = self.predict(X)
        labels, known = check_labels(y, len(predicted), self._unlabeled)
        if not known.any():
            raise ValueError(f"y has no labelled sample to score on: all are {self._unlabeled!r}.")
        weight = check_weight(sample_weight, len(predicted))
        weight = None if weight is None else weight.numpy()[known]
        return float(accuracy_score(labels, predicted[known], sample_weight=weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = takes_several_labels(self.head)
        return tags
