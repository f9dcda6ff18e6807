"""Imputation of missing values by an autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.impute import MissingIndicator
from sklearn.utils import check_random_state
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
)
from torch import Tensor

from sklearn_ae._estimator.blockwise import blockwise
from sklearn_ae._estimator.completing import completing
from sklearn_ae._estimator.inference import open_samples
from sklearn_ae._estimator.inner import InstanceOf, refuse_pipeline
from sklearn_ae._estimator.inputs import completes, refuse_source, validated
from sklearn_ae._estimator.state import unchanged_on_error
from sklearn_ae._estimator.tables import (
    TABLE_ATTRIBUTES,
    TableColumns,
    check_table,
    table_of,
    without_table,
)
from sklearn_ae._imputation.calibration import Predictions, calibrate, hide
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae._tables.frames import container_of, converted, filled
from sklearn_ae._training.batches import by_chunks
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.random import drawing_from, make_generator
from sklearn_ae.autoencoder import Autoencoder
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.variational import VariationalAutoencoder

CODE_BEYOND_FEATURES = 128
"""Number of components of the default autoencoder in addition to the number of features: enough
for what depends on which values are missing, beside the values themselves."""


SAMPLES_AT_ONCE = 512
"""Number of samples whose missing values are predicted at a time: some networks draw many codes
for each."""


@declares_parameters
class AutoencoderImputer(TransformerMixin, BaseEstimator):
    r"""Imputation of missing values by an autoencoder.

    A missing value is replaced by a prediction from the observed values of its sample. The
    prediction starts at the mean under a Gaussian distribution, which is fitted to the incomplete
    samples by expectation maximisation, and moves towards the reconstruction by an autoencoder as
    far as this reduces the error. How far is determined for each feature on a tenth of the
    observed values, which are hidden from a first fit.

    Features are standardised, so their units do not matter. The methods and attributes are those
    of scikit-learn's imputers.

    See Also
    --------
    sklearn.impute.IterativeImputer : Prediction of each feature from the others.
    Autoencoder : Accepts missing values itself, as other autoencoders do.

    References
    ----------
    Dempster, A. P., Laird, N. M. and Rubin, D. B. (1977). Maximum likelihood from incomplete
    data via the EM algorithm. Journal of the Royal Statistical Society B, 39(1), 1-38.

    Gondara, L. and Wang, K. (2018). MIDA: Multiple imputation using denoising autoencoders.
    PAKDD.

    Mattei, P.-A. and Frellsen, J. (2019). MIWAE: Deep generative modelling and imputation of
    incomplete data sets. ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import AutoencoderImputer
    >>> x = np.random.default_rng(0).uniform(-1, 1, 200)
    >>> X = np.column_stack([x, 2 * x, x**2])
    >>> X[::5, 1] = np.nan
    >>> imputed = AutoencoderImputer(random_state=0).fit_transform(X)
    >>> bool(np.abs(imputed[:, 1] - 2 * x).max() < 0.1)
    True
    """

    estimator: BaseAutoencoder | None = parameter(
        default=None,
        doc="""autoencoder
        Unfitted autoencoder that takes missing values. None: an `Autoencoder` with two hidden
        layers of 128 units and 128 more components than features, trained for 200 epochs.
        """,
        constraint=[InstanceOf(BaseAutoencoder, "an autoencoder of sklearn_ae"), None],
        kw_only=False,
    )
    missing_values: Any = parameter(
        default=np.nan,
        doc="""float or None
        Value that is missing. None and NaN are missing in any case.
        """,
        constraint=[Real, None],
    )
    add_indicator: bool = parameter(
        default=False,
        doc="""bool
        Whether to append a column for each feature that had missing values in `fit`, with one
        where a value was missing and zero elsewhere.
        """,
        constraint=["boolean"],
    )
    keep_empty_features: bool = parameter(
        default=False,
        doc="""bool
        Whether to keep features that have no observed value in `fit`. They are imputed by zero.
        """,
        constraint=["boolean"],
    )
    sample_posterior: bool = parameter(
        default=False,
        doc="""bool
        Whether to draw missing values from their distribution given the observed ones, instead of
        predicting their mean. For multiple imputation, transform the samples several times with
        different values of `random_state`.
        """,
        constraint=["boolean"],
    )
    random_state: int | np.random.RandomState | None = parameter(
        default=None,
        doc="""int, RandomState instance or None
        Controls the training, and the draws in `transform`. Pass an int for reproducible results
        across multiple calls.
        """,
        constraint=["random_state"],
    )

    categorical_features: Any = same_as(TableColumns, "categorical_features")
    max_categories: int = same_as(TableColumns, "max_categories")

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "is_categorical_": TABLE_ATTRIBUTES["is_categorical_"],
        "estimator_": """BaseAutoencoder
        The fitted autoencoder, of standardised features.
        """,
        "reconstruction_weights_": """ndarray of shape (n_features,)
        For each feature the weight of the reconstruction in an imputed value; the rest is that of
        the Gaussian mean. NaN for features without observed values. Of a table: of the columns of
        its matrix, numbers first, then the indicators of the categories.
        """,
        "indicator_": """MissingIndicator or None
        Indicator of the missing values. None if `add_indicator` is False.
        """,
        "n_features_in_": """int
        Number of features seen during `fit`.
        """,
        "feature_names_in_": """ndarray of shape (n_features,)
        Names of the features seen during `fit`. Defined only if `X` has feature names that are
        all strings.
        """,
    }

    # Not metadata of samples, which scikit-learn would route.
    __metadata_request__transform: ClassVar[dict[str, Any]] = {"out": UNUSED}

    def _validate_params(self) -> None:
        refuse_pipeline(self, "estimator")
        super()._validate_params()

    @isolated
    @unchanged_on_error
    def fit(self, X, y=None):
        """Fit the imputer.

        Parameters
        ----------
        X : {array-like, DataFrame} of shape (n_samples, n_features)
            Samples with missing values.
        y : None
            Ignored. Present for API consistency.

        Returns
        -------
        self : object
            The fitted imputer.

        Raises
        ------
        ValueError
            If a parameter or the data are invalid, or if no feature has an observed value.
        """
        self._validate_params()
        given, X = X, self._check(X, reset=True)
        missing = np.isnan(X)
        self._observed_features: np.ndarray = ~missing.all(axis=0)
        if not self._observed_features.any():
            raise ValueError("X has no observed value in any feature, so nothing can be learned.")
        self.indicator_ = None
        if self.add_indicator:
            self.indicator_ = MissingIndicator(error_on_new=False).fit(self._gaps(given, X))
        if table_of(self) is not None:
            self._kept_columns: np.ndarray = ~np.isnan(self._gaps(given, X)).all(axis=0)
        X = X[:, self._observed_features]
        self._mean = np.nanmean(X, axis=0)
        deviation = np.nanstd(X, axis=0)
        self._scale = np.where(deviation > 0, deviation, 1.0)
        Z = (X - self._mean) / self._scale
        random_state = check_random_state(self.random_state)
        seed = random_state.randint(2**31 - 1)
        hidden = hide(Z, random_state)
        first = self._fitted_autoencoder(np.where(hidden, np.nan, Z), seed)
        predictions = self._predict(first, np.where(hidden, np.nan, Z))
        self._calibration = calibrate(Z, hidden, predictions)
        # The final autoencoder sees all values, unless nothing would be missing then.
        is_complete = not missing[:, self._observed_features].any()
        self.estimator_ = first if is_complete else self._fitted_autoencoder(Z, seed)
        self.reconstruction_weights_ = np.full(len(self._observed_features), np.nan)
        self.reconstruction_weights_[self._observed_features] = self._calibration.weights
        return self

    def _fitted_autoencoder(self, Z: np.ndarray, seed: int) -> BaseAutoencoder:
        """Fit a clone of the autoencoder to standardised samples with NaN."""
        if self.estimator is None:
            estimator: BaseAutoencoder = Autoencoder(
                Z.shape[1] + CODE_BEYOND_FEATURES,
                hidden_layer_sizes=(128, 128),
                input_noise=0.0,
                # No weights have to be selected: the calibration limits their influence.
                early_stopping=False,
            )
        else:
            estimator = without_table(clone(self.estimator), self)
        if not completes(estimator, estimator._network()):
            raise ValueError(
                f"{type(estimator).__name__} does not take tables with missing values; use "
                f"another estimator, for example Autoencoder()."
            )
        if estimator.random_state is None:
            estimator.set_params(random_state=seed)
        fitted: BaseAutoencoder = estimator.fit(Z)
        return fitted

    @isolated
    @blockwise
    def transform(self, X):
        """Impute all missing values.

        Parameters
        ----------
        X : {array-like, DataFrame} of shape (n_samples, n_features)
            Samples with missing values.

        Returns
        -------
        X_imputed : ndarray of shape (n_samples, n_features_out)
            Samples without missing values, in the floating-point dtype of `X`, and the columns of
            the indicator if `add_indicator` is True. Of a table a table: only missing values
            differ.
        """
        check_is_fitted(self)
        given, X = X, self._check(X, reset=False)
        result = X.copy()
        Z = (X[:, self._observed_features] - self._mean) / self._scale
        missing = np.isnan(Z)
        random_state = check_random_state(self.random_state)
        if missing.any():
            imputed = self._impute(Z, random_state) * self._scale + self._mean
            # Of the data themselves, not of standardised and restored ones, which are rounded.
            result[:, self._observed_features] = np.where(
                missing, imputed, X[:, self._observed_features]
            )
        result[:, ~self._observed_features] = 0.0
        if table_of(self) is not None:
            made = self._filled_table(given, result, random_state)
            return converted(made, _get_output_config("transform", self)["dense"])
        if not self.keep_empty_features:
            result = result[:, self._observed_features]
        if self.indicator_ is None:
            return result
        shown = self.indicator_.transform(X)
        return np.concatenate([result, shown.astype(result.dtype)], axis=1)

    def _filled_table(
        self, X: Any, matrix: np.ndarray, random_state: np.random.RandomState
    ) -> Any:
        """Return a table whose missing values are those of an imputed matrix."""
        table = table_of(self)
        assert table is not None
        dtype = getattr(X, "dtype", np.dtype(float))
        if table.container == "array":
            X = np.asarray(X, dtype=object)
        decoded = table.decode(matrix, random_state if self.sample_posterior else None)
        missing = table.missing(X)
        kept = np.ones(missing.shape[1], bool) if self.keep_empty_features else self._kept_columns
        shown, names = None, []
        if self.indicator_ is not None:
            shown = self.indicator_.transform(np.where(missing, np.nan, 0.0))
            names = self.get_feature_names_out()[kept.sum() :]
        result = filled(X, decoded, missing, kept, shown, names)
        is_numeric = table.container == "array" and dtype.kind in "fiu"
        return result.astype(dtype if dtype.kind == "f" else float) if is_numeric else result

    def _gaps(self, given: Any, X: np.ndarray) -> np.ndarray:
        """Return a matrix with NaN for the missing values of each feature or column."""
        table = table_of(self)
        if table is None:
            return X
        given = np.asarray(given, object) if table.container == "array" else given
        return np.where(table.missing(given), np.nan, 0.0)

    def _impute(self, Z: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        """Return predictions or draws of the values of standardised samples with NaN."""
        seed = random_state.randint(2**31 - 1)
        if self.sample_posterior and isinstance(self.estimator_, VariationalAutoencoder):
            return self._map(self.estimator_, Z, _draw_from_posterior, seed)
        predictions = self._predict(self.estimator_, Z)
        blended = predictions.blend(self._calibration.weights)
        if not self.sample_posterior:
            return blended
        drawn = self._map(self.estimator_, Z, _draw_from_gaussian, seed)
        deviation = predictions.deviation
        normal = (drawn - predictions.gaussian) / np.where(deviation > 0, deviation, 1.0)
        imputed: np.ndarray = blended + deviation * self._calibration.errors(normal)
        if (table := table_of(self)) is not None:  # categories are drawn by their probabilities
            first = int(self._observed_features[: table.layout.n_numbers].sum())
            imputed[:, first:] = blended[:, first:]
        return imputed

    def _predict(self, estimator: BaseAutoencoder, Z: np.ndarray) -> Predictions:
        """Return both predictions of the values of standardised samples with NaN."""
        mean = estimator._get_fitted_loss().mean

        def predicted(module: Any, x: Tensor) -> Tensor:
            gaussian = module.completion.complete(x)
            deviation = module.completion.deviations(x)
            return torch.stack([gaussian, gaussian + deviation, module.forecast(x, mean)])

        gaussian, upper, reconstruction = self._map(estimator, Z, predicted)
        return Predictions(gaussian, upper - gaussian, reconstruction)

    def _map(
        self,
        estimator: BaseAutoencoder,
        Z: np.ndarray,
        function: Callable[[Any, Tensor], Tensor],
        seed: int = 0,
    ) -> np.ndarray:
        """Return ``function(module, x)`` in the units of `Z`, for chunks ``x`` with NaN."""
        samples, _, module = open_samples(estimator, Z, "transform")
        samples = samples.targets or samples
        # Too few samples to hide any value of: the module has no Gaussian.
        module = completing(module, estimator._get_fitted_loss().mean)

        def in_units(x: Tensor) -> Tensor:
            result = function(module, x) * module.scale + module.center
            return result.to(samples.precise)

        with drawing_from(make_generator(seed, samples.device)):
            result = by_chunks(samples, in_units, SAMPLES_AT_ONCE, dim=-2)
        mapped: np.ndarray = result.cpu().numpy()
        return mapped

    def _check(self, X: Any, reset: bool) -> np.ndarray:
        """Return validated samples as a new array of floats with NaN for missing values."""
        if reset:
            refuse_source(X, type(self).__name__)
        marks_nan = self.missing_values is None or np.isnan(self.missing_values)
        matrix = check_table(self, X, reset=reset)
        if matrix is not None:
            table = table_of(self)
            if table is not None and container_of(X) != table.container:
                raise ValueError(
                    f"X was a table of {table.container} in fit, but now it is one of "
                    f"{container_of(X)}."
                )
            if not marks_nan:
                raise ValueError(
                    f"missing_values={self.missing_values!r} applies to arrays of numbers; mark "
                    f"the missing values of a table by None or NaN."
                )
            return matrix
        X = validated(
            self,
            X,
            reset=reset,
            dtype=(np.float64, np.float32),
            ensure_all_finite="allow-nan",
            copy=True,
        )
        if not marks_nan:
            X[self.missing_values == X] = np.nan
        checked: np.ndarray = X
        return checked

    def get_feature_names_out(self, input_features=None):
        """Get output feature names for transformation.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the features, if none were seen in `fit`.

        Returns
        -------
        feature_names_out : ndarray of str objects
            Names of the features, then those of the indicator's columns.
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        observed = self._observed_features if table_of(self) is None else self._kept_columns
        kept = names if self.keep_empty_features else names[observed]
        if self.indicator_ is None:
            return kept
        return np.concatenate([kept, self.indicator_.get_feature_names_out(names)])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _draw_from_gaussian(module: Any, x: Tensor) -> Tensor:
    drawn: Tensor = module.completion.draw(x)
    return drawn


def _draw_from_posterior(module: Any, x: Tensor) -> Tensor:
    drawn: Tensor = module.draw_missing(x)
    return drawn
