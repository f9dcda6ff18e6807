"""Outlier detection by what autoencoders cannot restore."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_ae._compat import (
    CallbackSupportMixin,
    Interval,
    safe_indexing,
    with_callbacks,
)
from sklearn_ae._detection.error_statistics import conformal_p_values, lower_threshold
from sklearn_ae._detection.limits import check_size, frame_like, is_far, within_limit
from sklearn_ae._detection.members import (
    Member,
    TrainingRows,
    average_over_pairs,
    draw_some,
    draw_split,
    scores_jointly,
    second_half,
    templates_of,
    train_member,
)
from sklearn_ae._estimator.inputs import as_numbers, check_weight, without_tensors
from sklearn_ae._estimator.state import unchanged_on_error
from sklearn_ae._estimator.tasks import Tasks, whole_fit
from sklearn_ae._parameters.declaration import (
    attribute_docs_of,
    declares_parameters,
    parameter,
)
from sklearn_ae._training.batches import Rows
from sklearn_ae._training.held_out import hash_rows, keys_in_grid
from sklearn_ae.autoencoder import Autoencoder


@declares_parameters
class AutoencoderOutlierDetector(CallbackSupportMixin, OutlierMixin, BaseEstimator):
    r"""Outlier detection by what autoencoders cannot restore.

    Several autoencoders are trained, each on a part of the rows, so that every training row is
    held out by some of them. A row is unusual if its features are restored worse than is normal
    on held-out rows. With :math:`M` one member of each pair, :math:`e_{mj}` the error of member
    :math:`m` at feature :math:`j` and :math:`s_{mj}` the median of its size on other rows that the
    member was not trained on, the score is

    .. math:: -\frac1{|M|} \sum_{m \in M} \frac1d \sum_j \log\left(1 + (e_{mj} / s_{mj})^2\right),

    up to a constant the log-likelihood of Cauchy distributions with these quartiles. Every
    feature is judged by its own standard and none, however wrong, drowns the others. A
    :class:`VariationalAutoencoder` scores rows by its bound of the log-likelihood instead.

    Of the default members all but the first pair of each three subtract from the error of a
    feature what the errors of the others predict, and average within the logarithm:
    one broken relation among many features is then enough. The training rows may contain
    outliers. The first two members only find the `trim` worst rows; each later one leaves out
    those that look worst so far.

    Members come in pairs, each of which parts all samples into halves by a hash of their
    values. The one member scores the half that the other is trained on, of training samples and of
    fresh ones alike. ``fit(X).predict(X)``, the threshold and the p-values rest on
    held-out scores alone: about a share `contamination` of fresh samples like the training samples
    is called an outlier, and exactly that share of the training samples. The hash does not change
    with the units or the floating-point type of the data, but for one sample in a thousand.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Outliers by how soon random cuts isolate them.

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
        None: a ``StandardScaler`` and a small :class:`Autoencoder` that learns to take noise
        away: strong noise in the first pair of members, weaker noise in the next ones.
        """,
        constraint=[BaseEstimator, None],
        kw_only=False,
    )
    n_estimators: int = parameter(
        default=6,
        doc="""int
        Number of members. They come in pairs, each of which parts the rows into halves at
        random; each member is trained on rows of its half. An odd number is rounded up. With
        the default `estimator`, two find no broken fine relations: four are needed.
        """,
        constraint=[Interval(Integral, 2, None, closed="left")],
    )
    contamination: float = parameter(
        default=0.1,
        doc="""float
        Share of outliers among the training rows, in (0, 0.5]. It moves the threshold
        `offset_`, not the scores.
        """,
        constraint=[Interval(Real, 0, 0.5, closed="right")],
    )
    max_samples: int = parameter(
        default=512,
        doc="""int
        Number of distinct rows, at most, that a member is trained on.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )
    trim: float = parameter(
        default=0.3,
        doc="""float
        Share of the rows, those with the lowest scores so far, that later members are not
        trained on. Should be above the share of outliers; 0 where the training rows are known
        to be clean. The same share is left out of the covariance of the errors.
        """,
        constraint=[Interval(Real, 0, 1, closed="left")],
    )
    random_state: int | np.random.RandomState | None = parameter(
        default=None,
        doc="""int, RandomState instance or None
        Fixes initial weights, held-out rows, order and noise.
        """,
        constraint=["random_state"],
    )

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "estimators_": """list of object
        The fitted members.
        """,
        "offset_": """float
        Threshold of the scores: of the `held_out_scores_` a share `contamination` is below. It is
        in the middle of the gap between the two scores that part the training samples in this
        proportion, so that predictions do not depend on rounding. Where ``contamination < 1 / n``
        it is below the least of the n scores, by half of the gap above that.
        """,
        "held_out_scores_": """ndarray of shape (n_samples,)
        Score of each training sample by the members that were not trained on it, in the
        floating-point type of the data; NaN for samples of weight zero.
        """,
        **attribute_docs_of(Autoencoder, "n_features_in_", "feature_names_in_", "input_shape_"),
    }

    @unchanged_on_error
    @with_callbacks
    def fit(self, X, y=None, sample_weight=None):
        """Train the members and find the threshold.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Training rows, outliers among them or not. Images of shape (n_samples, ...) are
            for an `estimator` that takes them; without one they are flattened.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples. One of weight two counts as two equal ones: up to rounding if
            all samples are in one batch, in the expected gradient of each step otherwise.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, if the rows are all equal, or if training
            diverges. The detector is then as it was before.
        """
        self._validate_params()
        flat, rows = self._check_rows(X, reset=True)
        check_size(flat)
        templates = templates_of(self.estimator, int(self.n_estimators), flat.shape[1])
        given = check_weight(sample_weight, flat.shape[0])
        weight = np.ones(flat.shape[0]) if given is None else given.numpy()
        random_state = check_random_state(self.random_state)
        counted = np.flatnonzero(weight)
        part = None if given is None else given[counted]
        known = Rows(safe_indexing(flat, counted), part, torch.device("cpu"), torch.float64)
        keys, self._grid = hash_rows(known, random_state.randint(2**31 - 1))
        training = TrainingRows(
            safe_indexing(rows, counted), weight[counted], given is not None, keys, self.trim
        )
        with whole_fit(self, len(templates), X, y) as context:
            self._members, scores = self._train(templates, training, random_state, context)
            self.estimators_ = [member.estimator for member in self._members]
            dtype = np.float32 if flat.dtype == np.float32 else np.float64
            self.held_out_scores_ = np.full(len(weight), np.nan, dtype)
            self.held_out_scores_[counted] = scores
            self.offset_ = lower_threshold(scores, training.weight, self.contamination)
            self._weight = None if given is None else weight
        return self

    def _train(
        self,
        templates: list[Any],
        training: TrainingRows,
        random_state: np.random.RandomState,
        context: Any,
    ) -> tuple[list[Member], np.ndarray]:
        """Train one member after another; return the held-out scores as well."""
        # Copies of a row share their fate: one would tell what the other is.
        distinct, first, which = np.unique(training.keys, return_index=True, return_inverse=True)
        if len(distinct) < 2:
            raise ValueError(
                f"{type(self).__name__} holds rows out and needs two that differ, but the rows "
                f"of X are all equal in float32, or there is 1 sample."
            )
        members, tasks = [], Tasks(context, "member", self)
        scores = np.zeros((len(templates), len(which)))
        new = np.zeros(scores.shape, dtype=bool)
        for number, template in enumerate(templates):
            if number % 2 == 0:
                split = draw_split(distinct, random_state)
                half = second_half(training.keys, split)
            eligible = half[first] == number % 2
            if number >= 2:
                so_far = average_over_pairs(scores[:number], new[:number])
                clean = self._looks_clean(so_far, training.weight)[first]
                eligible &= clean if (eligible & clean).any() else True
            places = np.flatnonzero(eligible)
            chosen = places[draw_some(distinct[places], self.max_samples, random_state)]
            inside = np.isin(which, chosen)
            new[number] = half != number % 2
            seed = random_state.randint(2**31 - 1)
            joint = self.estimator is None and scores_jointly(number // 2)
            member, scores[number, ~inside] = train_member(
                template,
                training,
                inside,
                seed,
                joint=joint,
                split=split,
                second=number % 2 == 1,
                fitting=tasks.around,
            )
            members.append(member)
            if tasks.stop and number % 2 == 1:  # the first of a pair scores one half only
                break
        n_members = len(members)
        return members, average_over_pairs(scores[:n_members], new[:n_members])

    def _looks_clean(self, scores: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return scores >= lower_threshold(scores, weight, self.trim)

    def score_samples(self, X):
        """Score each row: the higher, the more like the training rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            At most zero. For a :class:`VariationalAutoencoder` nats above the median of
            held-out samples. The hash of a sample names the members that score it; for a training
            sample they are those that were not trained on it. ``-inf`` where a value is so large
            that `fit` would refuse it.
        """
        check_is_fitted(self)
        flat, rows = self._check_rows(X, reset=False)
        keys = self._keys(flat)
        new = np.array([member.is_new(keys) for member in self._members])
        scores = np.zeros(new.shape)
        for member, score, chosen in zip(self._members, scores, new, strict=True):
            if chosen.any():
                score[chosen] = member.score(
                    safe_indexing(rows, np.flatnonzero(chosen)), keys[chosen]
                )
        scores = average_over_pairs(scores, new)
        return np.where(is_far(flat) | np.isnan(scores), -np.inf, scores)

    def _keys(self, flat: Any) -> np.ndarray:
        """Hash samples by what they hold."""
        return keys_in_grid(Rows(flat, None, torch.device("cpu"), torch.float64), self._grid)

    def decision_function(self, X):
        """Score each row relative to the threshold.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            ``score_samples(X) - offset_``: negative for outliers.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Tell outliers from inliers.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 for outliers, 1 for inliers.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X):
        """How often a row like the training rows would look at least as unusual.

        The score of a row takes its place among the held-out scores of the training rows
        (cross-conformal). If row and training rows are exchangeable, the p-value is at most
        :math:`u` about a share :math:`u` of the time, over training sets and fresh samples
        both. Outliers among the training rows make p-values larger.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            In (0, 1], small for outliers; not below ``1 / (n_training_rows + 1)``.
        """
        scores = self.score_samples(X)
        return conformal_p_values(scores, self.held_out_scores_, self._weight)

    def explain(self, X):
        r"""Share of each feature, given the others, in how unusual a sample is.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        shares : ndarray or DataFrame of shape (n_samples, n_features)
            Not negative; those of a sample sum to one. Proportional to the mean over members
            of :math:`\log(1 + (e'_{mj} / s'_{mj})^2)`, with :math:`e'_{mj}` what the errors of
            the other features do not predict of the error of feature :math:`j` (of the first
            pair of three, and of a given `estimator`, halfway to the terms of the score), in the
            features that the autoencoder receives. Images keep their shape. A DataFrame
            with the names of the features if `X` was one.
        """
        check_is_fitted(self)
        _, rows = self._check_rows(X, reset=False)
        # By all members: nothing is compared with held-out samples.
        total = np.sum([member.explain(rows) for member in self._members], axis=0)
        whole = total.sum(axis=1, keepdims=True)
        shares = np.where(whole > 0, total / np.where(whole > 0, whole, 1), 1 / total.shape[1])
        return self._dress(shares, X)

    def _dress(self, shares: np.ndarray, X: Any) -> Any:
        """Give shares the names, or the shape, of the rows."""
        if hasattr(X, "columns"):
            names = getattr(self, "feature_names_in_", list(X.columns))
            if isinstance(self.estimators_[0], Pipeline) and not self._flat:
                names = self.estimators_[0][:-1].get_feature_names_out(names)
            return frame_like(X, shares, names)
        if shares.shape[1] == math.prod(self.input_shape_):
            return shares.reshape(-1, *self.input_shape_)
        return shares

    def _check_rows(self, X: Any, *, reset: bool) -> tuple[Any, Any]:
        """Validate rows; return them flat, and as members take them."""
        X = without_tensors(X)
        shape = tuple(X.shape[1:]) if getattr(X, "ndim", 2) > 2 else None
        if shape is not None and not reset and shape != self.input_shape_:
            raise ValueError(
                f"X has rows of shape {shape}, but {type(self).__name__} was fitted on rows of "
                f"shape {self.input_shape_}."
            )
        options = {"accept_sparse": "csr", "dtype": "numeric"}
        flat = X if shape is None else X.reshape(X.shape[0], math.prod(shape))
        flat = as_numbers(validate_data(self, flat, reset=reset, **options), **options)
        if reset:
            self.input_shape_: tuple[int, ...] = shape or (flat.shape[1],)
            self._flat = self.estimator is None
        else:
            flat, X = within_limit(flat, X)
        if self._flat:
            return flat, flat
        if hasattr(X, "columns"):  # steps of a pipeline may go by names
            return flat, X
        return flat, flat if sp.issparse(flat) else flat.reshape(-1, *self.input_shape_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        given = self.estimator if isinstance(self.estimator, BaseEstimator) else Autoencoder()
        tags.input_tags.sparse = get_tags(given).input_tags.sparse
        tags.input_tags.three_d_array = get_tags(given).input_tags.three_d_array
        return tags
