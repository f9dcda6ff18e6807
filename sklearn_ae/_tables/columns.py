"""Columns of a table: how each becomes numbers for the network, and how it comes back."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

CATEGORY_TYPES = (str, bool, int, float)
"""Types of categories and of names, which a file can hold."""

DTYPE = re.compile(r"[A-Za-z]{1,12}[0-9]{0,2}( [A-Za-z0-9_/+-]+)*|datetime64\[\w+(, [\w/+:-]+)?\]")
"""Names of dtypes of columns."""

N_QUANTILES = 512
"""Maximum number of quantiles that describe the distribution of a column."""

MAX_KURTOSIS = 12.0
"""Kurtosis from which on a column is heavy-tailed. That of a normal distribution is 3, that of an
exponential one 9."""

DAY = 86_400_000_000
"""Microseconds of a day."""

REACH = 5.0
"""Size of the largest normal quantile that a value is mapped to."""


class Number(NamedTuple):
    """A column of numbers, which is standardised.

    Attributes
    ----------
    name : object
        Name or index of the column.
    dtype : str
        Dtype of the column, as its library writes it.
    kind : {"float", "integer", "date", "day"}
        What values are on the way back: integers are rounded, dates and dates without a time of
        day are dates again.
    mean, scale : float
        Of the values or of their normal quantiles.
    quantiles : ndarray of shape (n_quantiles,) or None
        Evenly spaced quantiles of a column that is mapped to normal quantiles, else None.
    lower, upper : float
        Smallest and largest value. Integers and dates stay between them.
    """

    name: Any
    dtype: str
    kind: str
    mean: float
    scale: float
    quantiles: np.ndarray | None
    lower: float
    upper: float

    @property
    def width(self) -> int:
        """Number of columns of the encoded column."""
        return 1

    def is_valid(self) -> bool:
        """Return whether all fields have the types and values that a fit gives them."""
        q = self.quantiles
        return (
            _is_named(self)
            and self.kind in ("float", "integer", "date", "day")
            and all(type(v) is float for v in (self.mean, self.scale, self.lower, self.upper))
            and bool(np.isfinite([self.mean, self.scale, self.lower, self.upper]).all())
            and self.scale > 0
            and self.lower <= self.upper
            and (q is None or (_is_vector(q) and len(q) > 0 and bool((np.diff(q) >= 0).all())))
        )

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return standardised values of shape (n_samples, 1) from floats, NaN if missing."""
        if self.quantiles is not None:
            values = to_normal(values, self.quantiles)
        encoded: np.ndarray = ((values - self.mean) / self.scale)[:, None]
        return encoded

    def decode(self, encoded: np.ndarray) -> np.ndarray:
        """Return values as floats from an array of shape (n_samples, 1)."""
        values: np.ndarray = encoded[:, 0].astype(float) * self.scale + self.mean
        if self.quantiles is not None:
            values = from_normal(values, self.quantiles)
        if self.kind != "float":
            unit = DAY if self.kind == "day" else 1
            values = (np.rint(values / unit) * unit).clip(self.lower, self.upper)
        return values


class Category(NamedTuple):
    """A column of categories, each of which has an indicator.

    Attributes
    ----------
    name : object
        Name or index of the column.
    dtype : str
        Dtype of the column, as its library writes it.
    categories : list
        Distinct values, the most frequent first.
    frequencies : ndarray of shape (n_categories,)
        Their fractions of the training samples.
    width : int
        Number of indicators. If there are more categories, the last indicator is that of all the
        rare ones.
    declared : list or None
        Categories in the order of a categorical dtype, which may have more than occur.
    ordered : bool
        Whether the categorical dtype is ordered.
    """

    name: Any
    dtype: str
    categories: list[Any]
    frequencies: np.ndarray
    width: int
    declared: list[Any] | None
    ordered: bool

    def is_valid(self) -> bool:
        """Return whether all fields have the types and values that a fit gives them."""
        known = self.categories
        return (
            _is_named(self)
            and _are_distinct(known)
            and _is_vector(self.frequencies)
            and len(self.frequencies) == len(known)
            and bool((self.frequencies >= 0).all())
            and type(self.width) is int
            and 1 <= self.width <= max(1, len(known))
            and (
                self.declared is None
                or (_are_distinct(self.declared) and set(known) <= set(self.declared))
            )
            and type(self.ordered) is bool
        )

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Return indicators of shape (n_samples, width).

        Parameters
        ----------
        codes : ndarray of shape (n_samples,)
            Places in `categories`; -1 for missing and unknown values, whose indicators are NaN.
        """
        encoded = np.zeros((len(codes), self.width))
        known = codes >= 0
        encoded[known, np.minimum(codes[known], self.width - 1)] = 1.0
        encoded[~known] = np.nan
        return encoded

    def decode(
        self, probabilities: np.ndarray, random_state: np.random.RandomState | None = None
    ) -> np.ndarray:
        """Return places in `categories`: the most probable ones, or draws.

        Parameters
        ----------
        probabilities : ndarray of shape (n_samples, width)
        random_state : RandomState or None, default=None
            None: the most probable category, and of the rare ones the most frequent.
        """
        if random_state is None:
            likely: np.ndarray = probabilities.argmax(axis=1)
            return likely
        places = _draw(probabilities.astype(float), random_state)
        rare = places == self.width - 1
        if self.width < len(self.categories) and rare.any():
            pooled = np.tile(self.frequencies[self.width - 1 :], (int(rare.sum()), 1))
            places[rare] += _draw(pooled, random_state)
        return places


Column = Number | Category


def _is_named(column: Column) -> bool:
    """Return whether name and dtype of a column are what they should be."""
    return (
        type(column.name) in CATEGORY_TYPES
        and isinstance(column.dtype, str)
        and DTYPE.fullmatch(column.dtype) is not None
    )


def _are_distinct(categories: Any) -> bool:
    """Return whether categories are a list of distinct values."""
    return (
        type(categories) is list
        and all(type(value) in CATEGORY_TYPES and value == value for value in categories)
        and len(set(categories)) == len(categories)
    )


def _is_vector(values: Any) -> bool:
    """Return whether values are a vector of finite floats."""
    return (
        isinstance(values, np.ndarray)
        and values.dtype == float
        and values.ndim == 1
        and bool(np.isfinite(values).all())
    )


def _draw(probabilities: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """Draw the index of a column for each row of probabilities."""
    limits = probabilities.clip(min=0).cumsum(axis=1)
    uniform = random_state.uniform(size=(len(limits), 1)) * limits[:, -1:]
    drawn: np.ndarray = (uniform >= limits[:, :-1]).sum(axis=1)
    return drawn


def fit_number(
    name: Any,
    dtype: str,
    kind: str,
    values: np.ndarray,
    weight: np.ndarray | None = None,
    as_normal: bool | None = None,
) -> Number:
    """Return the description of a column of floats, NaN if missing.

    Its values are mapped to normal quantiles if `as_normal`, and with None if it has heavy tails.
    """
    weight = np.ones(len(values)) if weight is None else weight
    seen = np.isfinite(values)
    known, weight = values[seen], weight[seen]
    if not len(known):
        return Number(name, dtype, kind, 0.0, 1.0, None, 0.0, 0.0)
    lower, upper = float(known.min()), float(known.max())
    if kind != "float" and max(abs(lower), abs(upper)) >= 2**53:
        # As floats integers are rounded, possibly to one that their dtype does not have.
        upper = float(np.nextafter(upper, -np.inf))
        lower = min(upper, float(np.nextafter(lower, np.inf)))
    quantiles = None
    if as_normal is None:
        as_normal = lower < upper and _is_heavy_tailed(known, weight)
    if lower < upper and as_normal:
        levels = np.linspace(0, 1, min(N_QUANTILES, len(np.unique(known))))
        quantiles = _quantiles(known, weight, levels)
        known = to_normal(known, quantiles)
    mean, scale = _mean_and_deviation(known, weight)
    return Number(name, dtype, kind, mean, scale or 1.0, quantiles, lower, upper)


def _mean_and_deviation(values: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation, zero if the values differ by rounding errors only."""
    size = float(np.abs(values).max()) or 1.0  # squares must neither overflow nor underflow
    start = values[0] / size
    mean = start + np.average(values / size - start, weights=weight)
    deviation = float(np.sqrt(np.average(np.square(values / size - mean), weights=weight)))
    if deviation <= 8 * np.finfo(float).eps * abs(mean):
        deviation = 0.0
    return float(mean * size), deviation * size


def _quantiles(values: np.ndarray, weight: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return weighted quantiles; a weight of two is equivalent to two values."""
    order = np.argsort(values)
    mass = weight[order].cumsum()
    places = np.searchsorted(mass, levels * mass[-1]).clip(max=len(values) - 1)
    quantiles: np.ndarray = values[order][places]
    return quantiles


def fit_category(
    name: Any,
    dtype: str,
    values: list[Any],
    max_categories: int,
    declared: list[Any] | None = None,
    ordered: bool = False,
    weight: np.ndarray | None = None,
) -> Category:
    """Return the description of a column of values, None if missing."""
    counts: dict[Any, float] = {}
    weights = [1.0] * len(values) if weight is None else weight.tolist()
    for value, each in zip(values, weights, strict=True):
        if value is not None:
            counts[value] = counts.get(value, 0.0) + each
    # Sorted by frequency, and categories of equal frequency by their text.
    categories = sorted(counts, key=lambda value: (-counts[value], str(value)))
    if not categories and declared:
        categories = list(declared)
    frequencies = np.array([counts.get(value, 0.0) for value in categories])
    frequencies /= frequencies.sum() or 1.0
    width = max(1, min(len(categories), max_categories))
    return Category(name, dtype, categories, frequencies, width, declared, ordered)


def _is_heavy_tailed(values: np.ndarray, weight: np.ndarray) -> bool:
    """Return whether the fourth moment is dominated by few values."""
    mean, deviation = _mean_and_deviation(values, weight)
    if not deviation:
        return False
    # Relative to the largest: the fourth power must not overflow.
    squares = np.square((values - mean) / np.abs(values - mean).max())
    moments = [np.average(squares**power, weights=weight) for power in (1, 2)]
    return bool(moments[1] > MAX_KURTOSIS * moments[0] ** 2)


def to_normal(values: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Map values to the normal quantiles of their ranks; equal values to that of their middle."""
    levels = np.linspace(0, 1, len(quantiles))
    below = np.interp(values, quantiles, levels)
    # For a value that several quantiles share, the mean of the smallest and the largest rank.
    above = 1 - np.interp(-values, -quantiles[::-1], levels)
    limit = ndtr(-REACH)
    normal: np.ndarray = ndtri(((below + above) / 2).clip(limit, 1 - limit))
    return normal


def from_normal(normal: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Map normal quantiles to values."""
    values: np.ndarray = np.interp(ndtr(normal), np.linspace(0, 1, len(quantiles)), quantiles)
    return values
