"""Outlier detection by the reconstruction errors of autoencoders."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import joblib
import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from sklearn_ae._compat import CallbackSupportMixin, Interval, safe_indexing, with_callbacks
from sklearn_ae._detection.ensemble import average_over_pairs, train_members
from sklearn_ae._detection.error_statistics import conformal_p_values, lower_threshold
from sklearn_ae._detection.limits import check_size, far_samples, frame_like, within_limit
from sklearn_ae._detection.member_copies import last_step, templates_of
from sklearn_ae._detection.members import TrainingSamples, means_of_observed, replaced
from sklearn_ae._estimator.blockwise import blockwise
from sklearn_ae._estimator.identity import shown_parameters
from sklearn_ae._estimator.inputs import (
    check_weight,
    network_of,
    refuse_source,
    validated,
    without_tensors,
)
from sklearn_ae._estimator.sequences import check_missing, is_sequences, pad, refuse_ragged
from sklearn_ae._estimator.state import unchanged_on_error
from sklearn_ae._estimator.tables import (
    TABLE_ATTRIBUTES,
    TableColumns,
    check_table,
    refuse_table,
    table_of,
)
from sklearn_ae._estimator.tasks import Tasks, whole_fit
from sklearn_ae._parameters.declaration import (
    attribute_docs_of,
    declares_parameters,
    parameter,
    same_as,
)
from sklearn_ae._parameters.documentation import documented_like
from sklearn_ae._training.batches import Samples
from sklearn_ae._training.held_out import hash_samples, keys_in_grid
from sklearn_ae._training.ranks import agreed, among_ranks, telling_ranks
from sklearn_ae.autoencoder import Autoencoder
from sklearn_ae.base import BaseAutoencoder


class CheckedSamples(NamedTuple):
    """Validated samples.

    Attributes
    ----------
    flat : ndarray or CSR matrix of shape (n_samples, n_features)
        The samples as numbers, for hashing; a table is encoded. NaN for missing values.
    for_members : ndarray, CSR matrix or DataFrame of shape (n_samples, ...)
        The samples as the members take them.
    far : ndarray of shape (n_samples,), dtype bool
        Which samples have a value so large that `fit` refuses it.
    """

    flat: Any
    for_members: Any
    far: np.ndarray


@declares_parameters
class AutoencoderOutlierDetector(CallbackSupportMixin, OutlierMixin, BaseEstimator):
    r"""Outlier detection by the reconstruction errors of autoencoders.

    Several autoencoders are trained, each on some of the samples, such that every training sample
    is held out by some of them. A sample is anomalous if its features are reconstructed worse than
    those of held-out samples usually are. With :math:`M` one member of each pair, :math:`e_{mj}`
    the error of member :math:`m` at feature :math:`j`, and :math:`s_{mj}` its median size
    on other samples that the member was not trained on, the score is

    .. math:: -\frac1{|M|} \sum_{m \in M} \frac1d \sum_j \log\left(1 + (e_{mj} / s_{mj})^2\right),

    up to a constant the log-likelihood of Cauchy distributions with these quartiles. Each feature
    is thus compared with its own usual error, and the logarithm limits the effect of a single
    feature. The score of a :class:`VariationalAutoencoder` is its bound of the log-likelihood
    instead.

    Of every three pairs of default members, the last two subtract from the error of each feature
    its prediction from the errors of the other features, and take the mean over the features
    within the logarithm: one broken relation among many features then suffices for a low score.
    The training samples may contain outliers. The first two members are used to find the fraction
    `trim` of samples with the lowest scores, without which all later members are trained.

    The two members of a pair split all possible samples into halves, by a hash of their values.
    Each scores the half that the other one is trained on, for training samples and new samples
    alike. ``fit(X).predict(X)``, the threshold and the p-values therefore use held-out scores
    only: about a fraction `contamination` of new samples from the distribution of the training
    samples is labelled as outliers, and exactly this fraction of the training samples. The hash
    depends neither on the units nor on the floating-point type of the data, except for one sample
    in a thousand.

    Without an `estimator`, `X` may have missing values: they are replaced by the mean of the
    feature, and carry no anomaly. It may also be a table, whose categories become indicators. The
    term of a category is minus the logarithm of its reconstructed indicator, which estimates its
    probability, with a minimum of 0.01; that of a category that the training samples did not have
    is the largest.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Outliers by the number of random splits that isolate them.

    References
    ----------
    Hawkins, S., He, H., Williams, G. and Baxter, R. (2002). Outlier detection using replicator
    neural networks. DaWaK.

    Chen, J., Sathe, S., Aggarwal, C. and Turaga, D. (2017). Outlier detection with autoencoder
    ensembles. SDM.

    Vovk, V. (2015). Cross-conformal predictors. Annals of Mathematics and Artificial
    Intelligence, 74, 9-28.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import AutoencoderOutlierDetector
    >>> rng = np.random.default_rng(0)
    >>> t = rng.uniform(size=300)
    >>> X = np.column_stack([t, 2 * t, -t]) + 0.02 * rng.normal(size=(300, 3))
    >>> detector = AutoencoderOutlierDetector(contamination=0.05, random_state=0).fit(X)
    >>> X_new = [[0.5, 1.0, -0.5], [0.5, 1.0, 0.5]]
    >>> detector.predict(X_new)
    array([ 1, -1])
    >>> detector.explain(X_new)[1].argmax()
    np.int64(2)
    """

    estimator: Any = parameter(
        default=None,
        doc="""object
        An autoencoder of this package, or a Pipeline that ends in one; copies of it are fitted.
        None: a ``StandardScaler`` and a small denoising :class:`Autoencoder`, with strong noise in
        the first pair of members and weaker noise in the next ones.
        """,
        constraint=[BaseEstimator, None],
        kw_only=False,
    )
    n_estimators: int = parameter(
        default=6,
        doc="""int
        Number of members, rounded up to an even number. Each pair splits the samples into random
        halves, and each member is trained on samples of its half. With the default `estimator`,
        at least four members are needed to detect small deviations from relations between
        features.
        """,
        constraint=[Interval(Integral, 2, None, closed="left")],
    )
    contamination: float = parameter(
        default=0.1,
        doc="""float
        Fraction of outliers among the training samples, in (0, 0.5]. It determines the threshold
        `offset_`, and does not affect the scores.
        """,
        constraint=[Interval(Real, 0, 0.5, closed="right")],
    )
    max_samples: int = parameter(
        default=512,
        doc="""int
        Maximum number of distinct samples that a member is trained on.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    trim: float = parameter(
        default=0.3,
        doc="""float
        Fraction of the samples, those with the lowest scores of the first pair of members, that
        later members are not trained on. It should exceed the fraction of outliers; set it to 0 if
        the training samples contain none. The same fraction is left out of the covariance of the
        errors.
        """,
        constraint=[Interval(Real, 0, 1, closed="left")],
    )
    random_state: int | np.random.RandomState | None = parameter(
        default=None,
        doc="""int, RandomState instance or None
        Controls the randomness of initial weights, halves, batches and noise.
        """,
        constraint=["random_state"],
    )

    categorical_features: Any = same_as(TableColumns, "categorical_features")
    max_categories: int = same_as(TableColumns, "max_categories")

    _numbers_as_normal: ClassVar[bool] = False  # quantiles have an end, outliers have none
    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "is_categorical_": TABLE_ATTRIBUTES["is_categorical_"],
        "estimators_": """list of object
        The fitted members.
        """,
        "offset_": """float
        Threshold of the scores: a fraction `contamination` of the `held_out_scores_` is below it.
        It is the middle of the gap between the two scores that it separates, so that predictions
        do not depend on rounding. If ``contamination < 1 / n`` it is below the lowest of the n
        scores, by half of the gap between this and the next one.
        """,
        "held_out_scores_": """ndarray of shape (n_samples,)
        Score of each training sample by the members that were not trained on it, in the
        floating-point type of the data; NaN for samples of weight zero.
        """,
        **attribute_docs_of(
            BaseAutoencoder, "n_features_in_", "feature_names_in_", "input_shape_"
        ),
    }

    # Not metadata of samples, which scikit-learn would route.
    __metadata_request__decision_function: ClassVar[dict[str, Any]] = {"out": UNUSED}
    __metadata_request__predict: ClassVar[dict[str, Any]] = {"out": UNUSED}

    @unchanged_on_error
    @with_callbacks
    @documented_like(BaseAutoencoder.fit)
    def fit(self, X, y=None, sample_weight=None):
        """Train the members and determine the threshold.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Training samples, with or without outliers; also a table. Images of shape
            (n_samples, ...) require an `estimator` that takes them; without an `estimator` they
            are flattened. If the network of `estimator` takes sequences of different lengths, as
            that of :class:`LSTMAutoencoder`, so does the detector: a list of arrays of shape
            (length,) or (length, n_channels).

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, if all samples are equal, or if training
            diverges. The detector is then unchanged.
        """
        self._validate_params()
        distributed = getattr(last_step(self.estimator), "distributed", "auto")
        with telling_ranks(distributed, "cpu"):
            flat, samples, far = self._check_samples(X, reset=True)
            check_size(flat, far)
            templates = templates_of(self.estimator, int(self.n_estimators), *flat.shape)
            given = check_weight(sample_weight, flat.shape[0])

        def describe() -> dict[str, str]:
            return {"parameters": shown_parameters(self), "data": joblib.hash((flat, given))}

        with whole_fit(self, len(templates), X, y) as context:
            # Callbacks follow members one by one: then all processes train each together.
            is_shared = context is None and distributed == "auto"
            with among_ranks("auto" if is_shared else None, torch.device("cpu"), describe):
                self._fit(flat, samples, given, templates, Tasks(context, "member", self))
        return self

    def _fit(self, flat, samples, given, templates, tasks):
        """Train the members on validated samples."""
        weight = np.ones(flat.shape[0]) if given is None else given.numpy()
        random_state = agreed(check_random_state(self.random_state))
        counted = np.flatnonzero(weight)  # samples of weight zero do not take part
        part = None if given is None else given[counted]
        # Hashed in float64 for data of any type, so that float32 data have the same hashes.
        self._fill = means_of_observed(flat, weight)
        hashed = self._hashed(safe_indexing(flat, counted), part)
        keys, self._grid = hash_samples(hashed, random_state.randint(2**31 - 1))
        table = table_of(self)
        training = TrainingSamples(
            safe_indexing(samples, counted),
            weight[counted],
            given is not None,
            keys,
            self.trim,
            np.array(() if table is None else table.layout.widths, dtype=int),
            fills=self._sequence_network(reset=True) is None,
        )
        self._members, scores = train_members(
            templates, training, self.max_samples, random_state, tasks
        )
        self.estimators_ = [member.estimator for member in self._members]
        dtype = np.float32 if flat.dtype == np.float32 else np.float64
        self.held_out_scores_ = np.full(len(weight), np.nan, dtype)
        self.held_out_scores_[counted] = scores
        self.offset_ = lower_threshold(scores, training.weight, self.contamination)
        self._weight = None if given is None else weight

    @blockwise
    @documented_like(BaseAutoencoder.score_samples)
    def score_samples(self, X):
        """Score each sample: the higher, the more similar to the training samples.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            At most zero. For a :class:`VariationalAutoencoder`, nats above the median of held-out
            samples. The hash of a sample selects the members that score it; for a training sample
            they are those that were not trained on it. ``-inf`` if a value is so large that `fit`
            would refuse it.
        """
        check_is_fitted(self)
        flat, samples, far = self._check_samples(X, reset=False)
        keys = self._keys(flat)
        new = np.array([member.is_new(keys) for member in self._members])
        scores = np.zeros(new.shape)
        for member, score, chosen in zip(self._members, scores, new, strict=True):
            if chosen.any():
                part = safe_indexing(samples, np.flatnonzero(chosen))
                score[chosen] = member.score(part, keys[chosen])
        mean = average_over_pairs(scores, new)
        return np.where(far | np.isnan(mean), -np.inf, mean)

    def _keys(self, flat: Any) -> np.ndarray:
        """Return the hashes of samples, which assign them to members and folds."""
        return keys_in_grid(self._hashed(flat), self._grid)

    def _hashed(self, flat: Any, weight: torch.Tensor | None = None) -> Samples:
        """Return samples for hashing."""
        flat = replaced(flat, self._fill)
        return Samples(flat, weight, torch.device("cpu"), torch.float64)

    @blockwise
    @documented_like(BaseAutoencoder.score_samples)
    def decision_function(self, X):
        """Score each sample relative to the threshold.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            ``score_samples(X) - offset_``: negative for outliers.
        """
        return self.score_samples(X) - self.offset_

    @blockwise
    @documented_like(BaseAutoencoder.score_samples)
    def predict(self, X):
        """Predict whether samples are outliers.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 for outliers, 1 for inliers.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    @blockwise
    @documented_like(BaseAutoencoder.score_samples)
    def p_values(self, X):
        """Return the probability that a normal sample scores no higher than each sample.

        The p-values are cross-conformal: the score of a sample is compared with the held-out
        scores of the training samples. If sample and training samples are exchangeable, the
        p-value is at most :math:`u` with a probability of about :math:`u`, over training sets and
        new samples. Outliers among the training samples make p-values larger.

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            In (0, 1], small for outliers; at least ``1 / (n_training_samples + 1)``.
        """
        scores = self.score_samples(X)
        return conformal_p_values(scores, self.held_out_scores_, self._weight)

    @documented_like(BaseAutoencoder.score_samples)
    def explain(self, X):
        r"""Return the fraction of each feature in the anomaly of a sample.

        Returns
        -------
        fractions : ndarray or DataFrame of shape (n_samples, n_features)
            Not negative; those of a sample sum to one. Proportional to the mean over members
            of :math:`\log(1 + (e'_{mj} / s'_{mj})^2)`, with :math:`e'_{mj}` the error of feature
            :math:`j` minus its prediction from the errors of the other features. For the first of
            three pairs, and for a given `estimator`, this is averaged with the term of the score.
            The features are those that the autoencoder receives, or the columns of a table; a
            missing value has none. Images keep their shape. If `X` is a DataFrame, so is the
            result, with the names of the features.
        """
        check_is_fitted(self)
        _, samples, _ = self._check_samples(X, reset=False)
        # By all members: nothing is compared with held-out scores.
        total = np.sum([member.explain(samples) for member in self._members], axis=0)
        whole = total.sum(axis=1, keepdims=True)
        # A sample without any anomaly has equal fractions.
        fractions = np.where(whole > 0, total / np.where(whole > 0, whole, 1), 1 / total.shape[1])
        return self._in_shape_of(fractions, X)

    def _in_shape_of(self, fractions: np.ndarray, X: Any) -> Any:
        """Return fractions as a DataFrame with feature names, or in the shape of the samples."""
        table = table_of(self)
        if table is not None:
            fractions = fractions[:, np.argsort(table.places())]
        if hasattr(X, "columns"):
            names = getattr(self, "feature_names_in_", list(X.columns))
            if isinstance(self.estimators_[0], Pipeline) and not self._flat:
                names = self.estimators_[0][:-1].get_feature_names_out(names)
            return frame_like(X, fractions, names)
        if table is None and fractions.shape[1] == math.prod(self.input_shape_):
            return fractions.reshape(-1, *self.input_shape_)
        return fractions

    def _check_samples(self, X: Any, *, reset: bool) -> CheckedSamples:
        """Validate samples; with ``reset``, set the attributes that describe their features.

        Without ``reset``, values beyond the limit are clipped.
        """
        if reset:
            refuse_source(X, type(self).__name__)
        sequences = self._sequence_network(reset=reset)
        if sequences is not None and is_sequences(X):
            n_steps = sequences.n_steps if reset else self.input_shape_[0]
            X = pad([np.asarray(without_tensors(sequence)) for sequence in X], n_steps)
        refuse_ragged(X, type(self).__name__)
        X = without_tensors(X)
        flat_members = self.estimator is None if reset else self._flat
        if flat_members:
            matrix = check_table(self, X, reset=reset, training=True)
            if matrix is not None:
                return self._check_matrix(matrix, reset)
        else:  # samples are hashed as numbers, whatever a pipeline does
            refuse_table(X, f"{type(self).__name__} with an estimator")
        shape = tuple(X.shape[1:]) if getattr(X, "ndim", 2) > 2 else None
        if shape is not None and not reset and shape != self.input_shape_:
            raise ValueError(
                f"X has samples of shape {shape}, but {type(self).__name__} was fitted on samples "
                f"of shape {self.input_shape_}."
            )
        is_ragged = sequences is not None and not sp.issparse(X)
        allows_nan = is_ragged or (flat_members and not sp.issparse(X))
        options = {
            "accept_sparse": "csr",
            "dtype": "numeric",
            "ensure_all_finite": "allow-nan" if allows_nan else True,
        }
        flat = X if shape is None else X.reshape(X.shape[0], math.prod(shape))
        flat = validated(self, flat, reset=reset, **options)
        far = far_samples(flat)
        if reset:
            self.input_shape_: tuple[int, ...] = shape or (flat.shape[1],)
            # Stored, since the parameter may be changed after the fit.
            self._flat: bool = flat_members
        else:
            flat, X = within_limit(flat, X, far)
        if is_ragged:
            check_missing(flat, sequences.step_size(self.input_shape_))
        samples = flat
        if not self._flat and hasattr(X, "columns"):  # a pipeline may select columns by name
            samples = X
        elif not self._flat and not sp.issparse(flat):
            samples = flat.reshape(-1, *self.input_shape_)
        return CheckedSamples(flat, samples, far)

    def _sequence_network(self, *, reset: bool) -> Any:
        """Return the network of the members if it takes sequences of different lengths."""
        last = last_step(self.estimator if reset else self.estimators_[0])
        if not isinstance(last, BaseAutoencoder):  # the default, or what `fit` refuses
            return None
        network = network_of(last, reset)
        return network if network.takes_missing else None

    def _check_matrix(self, matrix: np.ndarray, reset: bool) -> CheckedSamples:
        """Return the samples of an encoded table."""
        far = far_samples(matrix)
        if reset:
            self.input_shape_ = (matrix.shape[1],)
            self._flat = True
        else:
            matrix, _ = within_limit(matrix, matrix, far)
        return CheckedSamples(matrix, matrix, far)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        given = self.estimator if isinstance(self.estimator, BaseEstimator) else Autoencoder()
        tags.input_tags.allow_nan = self.estimator is None
        tags.input_tags.sparse = get_tags(given).input_tags.sparse
        tags.input_tags.three_d_array = get_tags(given).input_tags.three_d_array
        return tags
