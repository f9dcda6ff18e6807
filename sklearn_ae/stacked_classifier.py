"""A classifier on a stacked autoencoder: learns from all rows, and from the labels of some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sklearn_ae._compat import MissingValues, StrOptions
from sklearn_ae._estimator.inputs import check_weight
from sklearn_ae._estimator.state import unchanged_on_error
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._stacks.class_targets import class_targets, set_classes
from sklearn_ae._stacks.head_training import Labels
from sklearn_ae._stacks.heads import (
    can_continue,
    head_has,
    label_probabilities,
    takes_several_labels,
)
from sklearn_ae._stacks.labels import check_labels
from sklearn_ae._stacks.supervised import SupervisedStack
from sklearn_ae._training.isolation import isolated


@declares_parameters
class StackedAutoencoderClassifier(ClassifierMixin, SupervisedStack):
    """Classifier on the code of a stacked autoencoder, for few labels and many rows.

    An autoencoder is trained on all rows, labelled or not; then a classifier on its code, or the
    encoder together with a softmax layer, on the samples that have a label. By default all of them
    have: set `unlabeled` to the value that marks samples without one.

    A sample may have several labels: `y` of shape (n_samples, n_outputs), of zeros and ones, is
    learnt by one logistic unit per column in place of the softmax layer, under the sum of their
    binary cross-entropies.

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

    unlabeled: Any = parameter(
        default=None,
        doc="""int, float, str or None
        What stands in `y` for no label, such as -1. A missing value, such as ``np.nan``, stands
        for all of them: NaN, None and pandas' NA. Samples without a label train the autoencoder
        only, and `score` leaves them out. None: every sample has a label, and every value of `y`
        is a class. Of several labels per sample it stands in all columns.
        """,
        constraint=[MissingValues()],
    )
    class_weight: dict | str | None = parameter(
        default=None,
        doc="""dict or "balanced"
        Weights of the classes, ``{label: weight}``. ``"balanced"`` makes all classes weigh the
        same. They count for the head and for fine-tuning, not for the autoencoder. Not supported
        for several labels per sample.
        """,
        constraint=[dict, StrOptions({"balanced"}), None],
    )
    scoring: str = parameter(
        default="loss",
        doc="""{"loss", "accuracy"}
        By what `early_stopping` judges the held-out rows. Of epochs of equal accuracy the one of
        the lower loss is better.
        """,
        constraint=[StrOptions({"loss", "accuracy"})],
    )

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "classes_": """ndarray of shape (n_classes,)
        The labels, without `unlabeled`. Of several labels per sample the numbers of the columns.
        """,
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
            Weights of the samples. One of weight two counts as two equal ones: up to rounding if
            all samples are in one batch, in the expected gradient of each step otherwise.

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
