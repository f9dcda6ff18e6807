"""A semi-supervised classifier on the code of a stacked autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sklearn_ae._compat import Interval, MissingValues, StrOptions
from sklearn_ae._estimator.blockwise import blockwise
from sklearn_ae._estimator.state import unchanged_on_error
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._parameters.documentation import documented_like
from sklearn_ae._stacks.class_targets import class_targets, set_classes
from sklearn_ae._stacks.head_training import Labels
from sklearn_ae._stacks.heads import (
    can_continue,
    head_has,
    label_probabilities,
    takes_several_labels,
)
from sklearn_ae._stacks.labels import check_labels, score_labelled
from sklearn_ae._stacks.supervised import SupervisedStack
from sklearn_ae._training.isolation import isolated
from sklearn_ae.base import BaseAutoencoder


@declares_parameters
class StackedAutoencoderClassifier(ClassifierMixin, SupervisedStack):
    r"""Semi-supervised classifier on the code of a stacked autoencoder.

    It is made for few labels and many samples. First an autoencoder is trained on all samples,
    labelled or not. Then the encoder together with a softmax layer, or the layer alone, is trained
    on the labelled samples and, with ``pseudo_labels=True``, on unlabelled ones,

    .. math:: \min \sum_i w_i \left[ -\log p(y_i \mid x_i) + \lambda
        \max_{\lVert r \rVert \le \rho} \mathrm{KL}(p(\cdot \mid x_i) \,\|\, p(\cdot \mid x_i + r))
        \right] .

    For a labelled sample :math:`w_i = 1`. For an unlabelled one :math:`y_i` is predicted by the
    labels of samples with near codes, and :math:`w_i` from 0 to 1 is the certainty of this
    prediction. The second term, whose maximum is approximated by one step along the gradient, is
    small if predictions do not change near the samples. It is used if there are unlabelled
    samples. By default all samples are labelled: set `unlabeled` to the value that marks samples
    without a label.

    A sample may have several labels: if `y` has shape (n_samples, n_outputs) and contains zeros
    and ones, one logistic unit per column replaces the softmax layer, and the loss is the sum of
    their binary cross-entropies.

    See Also
    --------
    StackedAutoencoderRegressor : The same for regression.
    sklearn.semi_supervised.LabelSpreading : Label propagation in the space of the features.
    sklearn.semi_supervised.SelfTrainingClassifier : Labels samples by its own predictions.

    References
    ----------
    Hinton, G. E., Osindero, S. and Teh, Y.-W. (2006). A fast learning algorithm for deep belief
    nets. Neural Computation, 18(7), 1527-1554.

    Bengio, Y., Lamblin, P., Popovici, D. and Larochelle, H. (2007). Greedy layer-wise training of
    deep networks. NeurIPS.

    Kingma, D. P., Rezende, D. J., Mohamed, S. and Welling, M. (2014). Semi-supervised learning
    with deep generative models. NeurIPS.

    Zhou, D., Bousquet, O., Lal, T. N., Weston, J. and Schoelkopf, B. (2004). Learning with local
    and global consistency. NeurIPS.

    Miyato, T., Maeda, S., Koyama, M. and Ishii, S. (2019). Virtual adversarial training: a
    regularization method for supervised and semi-supervised learning. IEEE Transactions on
    Pattern Analysis and Machine Intelligence, 41(8), 1979-1993.

    Iscen, A., Tolias, G., Avrithis, Y. and Chum, O. (2019). Label propagation for deep
    semi-supervised learning. CVPR.

    Examples
    --------
    Digits, of which only 50 are labelled:

    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import StackedAutoencoderClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> few = np.where(np.arange(len(y)) < 50, y, -1)
    >>> classifier = StackedAutoencoderClassifier(
    ...     unlabeled=-1, pretraining_max_iter=10, random_state=0
    ... ).fit(X, few)
    >>> bool(classifier.score(X[50:], y[50:]) > 0.75)
    True
    """

    unlabeled: Any = parameter(
        default=None,
        doc="""int, float, str or None
        Value in `y` that marks a sample without a label, such as -1. A missing value, such as
        ``np.nan``, represents all missing values: NaN, None and pandas' NA. Unlabelled samples
        train the autoencoder and, if `pseudo_labels` is True, the encoder and the softmax layer;
        `score` ignores them. None: every sample is labelled, and every value of `y` is a class.
        With several labels per sample, an unlabelled sample has this value in all columns.
        """,
        constraint=[MissingValues()],
    )
    pseudo_labels: bool = parameter(
        default=True,
        doc="""bool
        Whether the softmax layer and the encoder are also trained on unlabelled samples, with the
        classes that label propagation over the ten nearest neighbours of each code predicts. The
        weight of such a sample is the certainty of its class, from 0 to 1, calibrated by leaving
        out one label at a time: it is near 0 if neighbours do not predict labels. At most 10,000
        unlabelled samples, chosen at random, are used, and none if there are more than 10,000
        labels. A `head` is fitted to given labels only. Without effect in `partial_fit` and with
        several labels per sample.
        """,
        constraint=["boolean"],
    )
    adversarial_weight: float = parameter(
        default=4.0,
        doc=r"""float
        Factor :math:`\lambda` of the virtual adversarial loss in fine-tuning: how much the
        prediction for a sample changes if the sample is moved by :math:`\rho` in the worst
        direction, where :math:`\rho` is half the median distance to the nearest sample, among at
        most 2,000 drawn at random. It keeps the boundaries between the classes away from the
        samples, and costs about as much time again. Without effect if all samples are labelled,
        in `partial_fit`, with ``fine_tune=False`` and with several labels per sample.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )
    class_weight: dict[Any, float] | str | None = parameter(
        default=None,
        doc="""dict or "balanced"
        Weights of the classes, ``{label: weight}``. ``"balanced"`` gives all classes the same
        total weight. The weights apply to the head and to fine-tuning, not to the autoencoder.
        Not supported with several labels per sample.
        """,
        constraint=[dict, StrOptions({"balanced"}), None],
    )
    scoring: str = parameter(
        default="loss",
        doc="""{"loss", "accuracy"}
        Criterion by which `early_stopping` evaluates the held-out samples. Of epochs with equal
        accuracy, the one with the lower loss is better.
        """,
        constraint=[StrOptions({"loss", "accuracy"})],
    )

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "classes_": """ndarray of shape (n_classes,)
        The classes, without `unlabeled`. With several labels per sample the column numbers.
        """,
    }

    _marking: ClassVar[str] = "Mark samples without a label by -1 in y, and set unlabeled=-1."

    # Not metadata of samples, which scikit-learn would route.
    __metadata_request__predict: ClassVar[dict[str, Any]] = {"out": UNUSED}
    __metadata_request__predict_proba: ClassVar[dict[str, Any]] = {"out": UNUSED}
    __metadata_request__predict_log_proba: ClassVar[dict[str, Any]] = {"out": UNUSED}
    __metadata_request__decision_function: ClassVar[dict[str, Any]] = {"out": UNUSED}

    @available_if(can_continue)
    @isolated
    @unchanged_on_error
    @documented_like(SupervisedStack.partial_fit, description=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one pass over one chunk of samples.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels, `unlabeled` for samples without one. There need not be any label.
        classes : array-like of shape (n_classes,), default=None
            All classes of all chunks, such as ``numpy.unique`` of all labels; `unlabeled` among
            them is ignored. With several labels per sample ``numpy.arange(n_outputs)``. Required
            in the first call unless the estimator is fitted.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, if `classes` is missing in the first call or
            changes later, if `y` has another class, or if training diverges. The estimator is
            then unchanged.
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
        """Whether a sample may have several labels."""
        # Files of earlier estimators may lack the attribute.
        return bool(vars(self).get("_multilabel", False))

    def _losses_and_errors(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if self._has_several_labels:
            losses = binary_cross_entropy_with_logits(output, target, reduction="none").sum(1)
            # Subset accuracy: one wrong label makes the sample wrong.
            return losses, ((output > 0) != (target > 0)).any(1).to(losses.dtype)
        indices = target[:, 0].long()
        losses = cross_entropy(output, indices, reduction="none")
        return losses, (output.argmax(1) != indices).to(losses.dtype)

    def _error_to_score(self) -> Callable[[float], float]:
        return lambda error: 1 - error

    def _monitors_score(self) -> bool:
        return self.scoring == "accuracy"

    def _propagates_labels(self) -> bool:
        return self.pseudo_labels and not self._has_several_labels

    def _adversarial_weight(self) -> float:
        return 0.0 if self._has_several_labels else self.adversarial_weight

    def _to_head(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        if len(weight) == 2 and not self._has_several_labels:
            # One logit, as in scikit-learn's linear classifiers: that of the second class.
            return weight[1:] - weight[:1], bias[1:] - bias[:1]
        return weight, bias

    @blockwise
    @documented_like(BaseAutoencoder.score_samples)
    def predict(self, X):
        """Predict the classes of samples.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predicted classes, never `unlabeled`. With several labels per sample, 1 for each label
            that is predicted, else 0.
        """
        check_is_fitted(self)
        if self.head_ is not None:
            return self.head_.predict(self._codes(X))
        if self._has_several_labels:
            return (self._linear_output(X) > 0).astype(int)
        return self.classes_[self._logits(X).argmax(1)]

    @available_if(head_has("predict_proba"))
    @blockwise
    @documented_like(BaseAutoencoder.score_samples)
    def predict_proba(self, X):
        """Predict the probabilities of the classes.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Probabilities in the order of `classes_`. With several labels per sample, the
            probability of each, as from :class:`~sklearn.neural_network.MLPClassifier`.
        """
        check_is_fitted(self)
        if self.head_ is not None:
            return label_probabilities(self.head_, self._codes(X))
        if self._has_several_labels:
            return expit(self._linear_output(X))
        return softmax(self._logits(X), axis=1)

    @available_if(head_has("predict_proba"))
    @blockwise
    @documented_like(BaseAutoencoder.score_samples)
    def predict_log_proba(self, X):
        """Predict the logarithms of the probabilities of the classes.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            Logarithms of the probabilities, in the order of `classes_`.
        """
        check_is_fitted(self)
        if self.head_ is not None:
            with np.errstate(divide="ignore"):  # the logarithm of zero is -inf
                return np.log(label_probabilities(self.head_, self._codes(X)))
        if self._has_several_labels:
            return log_expit(self._linear_output(X))
        return log_softmax(self._logits(X), axis=1)

    @available_if(head_has("decision_function"))
    @blockwise
    @documented_like(BaseAutoencoder.score_samples)
    def decision_function(self, X):
        """Return the logits of the linear layer, or the decision function of the head.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the logit of the second, positive if it is predicted. With several
            labels per sample the logit of each.
        """
        check_is_fitted(self)
        if self.head_ is not None:
            return self.head_.decision_function(self._codes(X))
        scores = self._linear_output(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def _logits(self, X: Any) -> np.ndarray:
        """Return the logits of all classes, shape (n_samples, n_classes)."""
        scores = self._linear_output(X)
        # The one logit of two classes is relative to that of the first class, which is zero.
        return np.hstack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores

    @documented_like(BaseAutoencoder.score)
    def score(self, X, y, sample_weight=None):
        """Return the accuracy on the labelled samples.

        With several labels per sample this is the subset accuracy: all labels must be correct.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels. Samples marked by `unlabeled`, as it was when `fit` was called, are ignored.

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
        labels, labelled = check_labels(y, len(predicted), self._unlabeled)
        if not labelled.any():
            raise ValueError(f"y has no labelled sample to score: all are {self._unlabeled!r}.")
        return score_labelled(accuracy_score, labels, predicted, labelled, sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = takes_several_labels(self.head)
        return tags
