"""What a fitted autoencoder does: encode, decode, score and sample rows."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._backend.batches import Rows, by_chunks
from sklearn_ae._backend.isolation import isolated
from sklearn_ae._backend.linear import share_explained, spread
from sklearn_ae._backend.reach import codes_within_reach, lowest_if_far, within_reach
from sklearn_ae._backend.resources import heavy, limit_if_forked
from sklearn_ae._compat import check_same_namespace
from sklearn_ae._density import draw_from_density, draw_from_gaussian
from sklearn_ae._inputs import (
    Kind,
    check_codes,
    check_count,
    check_rows,
    check_weight,
    kind_of,
    shape_of_row,
)
from sklearn_ae._modules import build, converted_copy
from sklearn_ae._state import PlainState
from sklearn_ae.losses import Loss, get_loss
from sklearn_ae.networks._any_size import resized
from sklearn_ae.networks._module import AutoencoderModule


class Inference(ClassNamePrefixFeaturesOutMixin, TransformerMixin, PlainState):
    """The methods of a fitted autoencoder. None of them changes it."""

    def _check_targets(self, y: Any, n_samples: int, row_shape: tuple[int, ...]) -> Any:
        """Validate what to make of the rows. None: the rows themselves, whatever y is."""
        return None

    @isolated
    def transform(self, X):
        """Encode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            Their codes, in the floating-point type of `X`.
        """
        rows, kind, module = self._to_infer(X, "transform", any_size=True)
        return kind.wrap(by_chunks(rows, module.encode, module.network.rows_at_once))

    @isolated
    def inverse_transform(self, X):
        """Decode codes.

        Parameters
        ----------
        X : {array-like, Tensor} of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Samples in the units of the training data, in the floating-point type of `X`.
            Images and sequences have their own shape.
        """
        check_is_fitted(self)
        check_same_namespace(X, self, attribute="_kind", method="inverse_transform")
        codes, kind = check_codes(self, X)
        return kind.wrap(self._decoded(codes, kind))

    @isolated
    def reconstruct(self, X):
        """Encode and decode rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_reconstructed : ndarray of the shape of `X`
            Equal to ``inverse_transform(transform(X))``.
        """
        rows, kind, module = self._to_infer(X, "reconstruct", any_size=True)
        result = by_chunks(
            rows, lambda x: self._to_units(module, module(x)), module.network.rows_at_once
        )
        return kind.wrap(result.reshape(-1, *module.config["row_shape"]))

    @isolated
    def score_samples(self, X):
        """Score each row: the higher, the more like the training rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Minus the mean squared error of each row's reconstruction, in squared units of
            `X`.
        """
        rows, kind, module = self._to_infer(X, "score_samples", any_size=True)

        def scored(x: Tensor) -> Tensor:
            errors, counts = self._squared_errors(module, x, x)
            return lowest_if_far(-errors / counts * module.scale.square(), x)

        return kind.wrap(by_chunks(rows, scored, module.network.rows_at_once))

    @isolated
    def score(self, X, y=None, sample_weight=None):
        """Fraction of variance explained.

        ``1 - ||X - X'||^2 / ||X - mean(X)||^2``, with ``X'`` the reconstruction:
        comparable with ``PCA.explained_variance_ratio_.sum()``.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            At most 1; higher is better. Of rows that are all equal: 1 if they are
            reconstructed, else 0.
        """
        rows, _, module = self._to_infer(X, "score", sample_weight, y, any_size=True)
        error = self._mean_squared_error(rows, module)
        variance = float(spread(rows.targets or rows)[1].sum())
        return share_explained(error, variance)

    @isolated
    def sample(self, n_samples=1, random_state=None):
        """Draw new rows.

        Codes are drawn from the distribution that `density` chooses, and decoded.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Fixes the draw.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows in the units of the training data.
        """
        check_is_fitted(self)
        check_count(n_samples, "n_samples")
        limit_if_forked()
        codes = self._draw_codes(n_samples, check_random_state(random_state))
        kind = kind_of(self._kind)
        return kind.wrap(self._decoded(codes, kind))

    def _draw_codes(self, n_samples: int, random_state: np.random.RandomState) -> np.ndarray:
        """Draw codes like those of the training rows."""
        if isinstance(self.density_, str):
            return draw_from_gaussian(self.module_, n_samples, random_state)
        return draw_from_density(self.density_, n_samples, random_state)

    @isolated
    def interpolate(self, X, X_end, n_steps=9):
        """Decode the codes between those of two rows.

        The codes lie on a straight line, evenly. What a network tells its decoder past the
        components, such as the places of maxima, is that of the nearer end.

        Parameters
        ----------
        X, X_end : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Rows to start from, and as many rows to arrive at.
        n_steps : int, default=9
            Number of codes on each line, both ends counted; at least 2.

        Returns
        -------
        X_between : ndarray of shape (n_samples, n_steps, n_features)
            Rows in the units of the training data, the first and the last of each line the
            reconstructions of its ends. Images and sequences come back in their own shape.
        """
        check_count(n_steps, "n_steps", at_least=2)
        rows, kind, module = self._to_infer(X, "interpolate")
        last_rows, _, _ = self._to_infer(X_end, "interpolate")
        if len(rows) != len(last_rows):
            raise ValueError(
                f"X has {len(rows)} rows and X_end has {len(last_rows)}; give as many of both."
            )
        first, last = (
            by_chunks(part, module.encode, module.network.rows_at_once).to(kind.dtype)
            for part in (rows, last_rows)
        )
        share = torch.linspace(0, 1, n_steps, dtype=first.dtype, device=first.device)[:, None]
        codes = (1 - share) * first[:, None] + share * last[:, None]
        n_own = module.n_components
        nearer = torch.where(share < 0.5, first[:, None], last[:, None])
        codes = torch.cat([codes[..., :n_own], nearer[..., n_own:]], dim=2)
        between = self._decoded(codes.flatten(0, 1), kind)
        return kind.wrap(between.reshape(len(rows), n_steps, *self.input_shape_))

    def _to_infer(
        self,
        X: Any,
        method: str,
        sample_weight: Any = None,
        y: Any = None,
        any_size: bool = False,
    ) -> tuple[Rows, Kind, AutoencoderModule]:
        """Validate rows for a method of the fitted estimator.

        With `any_size` they may have another shape, if the network has no dense layers.
        """
        check_is_fitted(self)
        check_same_namespace(X, self, attribute="_kind", method=method)
        any_size = any_size and self.module_.config["n_components"] is None
        shape = shape_of_row(X) if any_size else None
        X, kind = check_rows(self, X, reset=False, any_size=any_size)
        module = self._module_as(kind.dtype)
        if shape is not None and shape != self.input_shape_:
            module = self._resized(module, shape)
        weight = check_weight(sample_weight, X.shape[0])
        ragged = module.network.takes_missing
        y = self._check_targets(y, X.shape[0], module.config["row_shape"])
        device = module.center.device
        targets = None if y is None else Rows(y, weight, device, kind.dtype, ragged)
        rows = Rows(X, weight, device, kind.dtype, ragged, targets)
        rows = rows.standardized(module.center, module.scale, module.center.dtype)
        rows = rows.through(within_reach, rows.n_features)
        if rows.targets is not None:
            rows.targets = rows.targets.through(within_reach, rows.n_features)
        return rows, kind, module

    def _resized(self, module: AutoencoderModule, shape: tuple[int, ...]) -> AutoencoderModule:
        """Return the module for rows of another shape."""
        try:
            return resized(module, shape, build)
        except ValueError as error:
            raise ValueError(
                f"X has rows of shape {shape}, but {type(self).__name__} was fitted on rows of "
                f"shape {self.input_shape_}. {error}"
            ) from error

    def _module_as(self, dtype: torch.dtype) -> AutoencoderModule:
        """Return the module in the precision of the data, a copy where that is another."""
        module = self.module_
        if module.center.device.type == "mps" or module.center.dtype == dtype:
            return module
        return converted_copy(module, dtype)

    def _get_fitted_loss(self) -> Loss:
        """Return the loss that the module was trained for, whatever the parameters are now."""
        # Files of estimators without such a parameter lack the attribute.
        return get_loss(self._fitted_loss, vars(self).get("_fitted_output_activation", "identity"))

    def _to_units(self, module: AutoencoderModule, output: Tensor) -> Tensor:
        """Turn outputs of the decoder into rows in the units of the training data."""
        return self._get_fitted_loss().mean(output) * module.scale + module.center

    @torch.no_grad()
    def _decoded(self, Z: Any, kind: Kind, draws: bool = False) -> Tensor:
        """Map codes to samples in the units and the shape of the training data.

        With `draws` they are draws of the module, not its means.
        """
        module = self._module_as(kind.dtype)
        codes = Rows(Z, None, module.center.device, module.center.dtype)
        codes = codes.through(codes_within_reach, codes.n_features)

        def decoded(z: Tensor) -> Tensor:
            output = module.decode(z)
            if draws:
                return cast(Any, module).draw(output) * module.scale + module.center
            return self._to_units(module, output)

        result = by_chunks(codes, decoded, module.network.rows_at_once)
        return result.reshape(-1, *self.input_shape_)

    @heavy
    @torch.no_grad()
    def _mean_squared_error(self, rows: Rows, module: AutoencoderModule) -> float:
        """Weighted mean of the samples' squared errors, in network units."""
        targets: Rows = rows.targets or rows
        total = torch.zeros((), dtype=rows.precise, device=rows.device)
        for chunk in rows.chunks(module.network.rows_at_once):
            errors, _ = self._squared_errors(module, rows.take(chunk), targets.take(chunk))
            weight = rows.take_weight(chunk)
            total += weight @ errors.to(weight.dtype)
        return float(total) / rows.total_weight

    def _squared_errors(
        self, module: AutoencoderModule, x: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sum of each row's squared errors, in network units, and the number of its entries."""
        squares = (self._get_fitted_loss().mean(module(x)) - target).square()
        if module.network.takes_missing:
            squares = squares.masked_fill(target.isnan(), 0.0)
        return squares.sum(1), (~target.isnan()).sum(1)

    # What scikit-learn asks for

    def get_feature_names_out(self, input_features=None):
        """Name the columns of the code.

        Parameters
        ----------
        input_features : None
            Ignored, as by PCA.

        Returns
        -------
        names : ndarray of shape (n_codes,)
            The name of the class and a number for each component, or what the column tells the
            decoder besides.
        """
        names = super().get_feature_names_out(input_features)
        extra = self.module_.network.extra_names(self.input_shape_)
        prefix = type(self).__name__.lower()
        names[len(names) - len(extra) :] = [f"{prefix}_{name}" for name in extra]
        return names

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.array_api_support = True
        return tags
