"""Any parameters, any data: a right result, or an error that names the culprit.

The normal run tries 400 cases; ``make fuzz`` sets ``SKLEARN_AE_FUZZ`` to the number of another
run. A case that fails is shown in its smallest form, and tried again first the next time.
"""

import os
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.utils._param_validation import Interval, Options

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    ContractiveAutoencoder,
    ConvolutionalAutoencoder,
    DeepBeliefNetwork,
    DenoisingAutoencoder,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    RestrictedBoltzmannMachine,
    SemanticHashing,
    SparseAutoencoder,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    UNetAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae.networks import (
    ConvolutionalNetwork,
    DenseNetwork,
    LSTMNetwork,
    RecursiveNetwork,
    UNetNetwork,
)

SEARCHED = [
    Autoencoder,
    SparseAutoencoder,
    DenoisingAutoencoder,
    ContractiveAutoencoder,
    VariationalAutoencoder,
    ConvolutionalAutoencoder,
    UNetAutoencoder,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    StackedAutoencoder,
    DeepBeliefNetwork,
    SemanticHashing,
    RestrictedBoltzmannMachine,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    AutoencoderOutlierDetector,
]
EXAMPLES = int(os.environ.get("SKLEARN_AE_FUZZ", 400)) // len(SEARCHED) + 1

# Small enough for thousands of fits; what is searched replaces them.
SMALL = {
    "max_iter": 2,
    "hidden_layer_sizes": (4,),
    "pretraining_max_iter": 1,
    "channels": (2,),
    "hidden_size": 3,
    "estimator": Autoencoder(1, hidden_layer_sizes=(3,), max_iter=2),
    "n_estimators": 2,
    "random_state": 0,
}

JUNK = st.sampled_from(
    [
        *(None, True, -1, 0, 0.5, 3, 1e-30, 1e30, -0.1, float("nan"), float("inf"), "junk", ""),
        *((), [], (0,), (2, -1), (3, 2), (2.5,), ("a",), {}, np.int64(2), np.float32(0.25)),
        *(np.array([1, 2]), object(), len, Autoencoder, Autoencoder(2), DenseNetwork()),
    ]
)

# What says how long to compute: not to be drawn as large as it may be.
LONG = {
    "max_iter", "pretraining_max_iter", "n_steps", "n_chains", "n_importance_samples", "n_layers",
    "n_estimators", "n_projections",
}  # fmt: skip

SPECIAL = {
    "hidden_layer_sizes": st.lists(st.integers(1, 6), max_size=3).map(tuple),
    "channels": st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    "network": st.sampled_from(
        [
            None,
            DenseNetwork(hidden_layer_sizes=()),
            ConvolutionalNetwork(channels=(2,)),
            ConvolutionalNetwork(channels=(1, 2), unpooling="switches", pool_size=3),
            UNetNetwork(channels=(2,)),
            LSTMNetwork(hidden_size=2),
            RecursiveNetwork(hidden_size=2, tree="left"),
        ]
    ),
    "density": st.sampled_from(
        ["gaussian", "prior", "kde", "mixture", GaussianMixture(2), LogisticRegression()]
    ),
    "image_shape": st.sampled_from([None, (2, 2), (4,), (2, 1), (1, 2, 2), (3, 3), (-2, -2)]),
    "n_timesteps": st.sampled_from([None, 1, 2, 4, 5]),
    "head": st.sampled_from([None, LogisticRegression()]),
    "autoencoder": st.sampled_from([None, Autoencoder(2, max_iter=1), SparseAutoencoder(3)]),
    "estimator": st.sampled_from([None, Autoencoder(1, max_iter=2), LogisticRegression()]),
    "callbacks": st.sampled_from([None, []]),
    "device": st.sampled_from(["auto", "cpu", "cuda:7", "mps", "nowhere"]),
    "random_state": st.integers(0, 10),
    "unlabeled": st.sampled_from([None, -1, 0, 2.0, np.nan, "none"]),
    "verbose": st.just(False),
}


def allowed(name, constraints):
    """Values that the constraints of a parameter admit, as far as they can be drawn."""
    if name in SPECIAL:
        return SPECIAL[name]
    draws = []
    for constraint in constraints:
        if isinstance(constraint, Options):
            draws.append(st.sampled_from(sorted(constraint.options, key=str)))
        elif isinstance(constraint, Interval):
            draws.append(_inside(name, constraint))
        elif constraint == "boolean":
            draws.append(st.booleans())
        elif constraint is None:
            draws.append(st.none())
    return st.one_of(draws) if draws else JUNK


def _inside(name, interval):
    low = -5 if interval.left is None else interval.left
    high = low + 6 if interval.right is None else interval.right
    if issubclass(int, interval.type):
        return st.integers(int(low), int(min(high, low + (3 if name in LONG else 20))))
    return st.floats(
        float(low),
        float(high),
        exclude_min=interval.closed in ("right", "neither"),
        exclude_max=interval.closed in ("left", "neither") and interval.right is not None,
        width=32,
    )


NUMBERS = st.one_of(
    st.floats(-3, 3, width=32),
    st.sampled_from([0.0, -0.0, 1.0, 1e-30, 1e-160, 1e5, 1e19, 1e38, 1e160, 1e300]),
)
EVIL = st.sampled_from([np.nan, np.inf, -np.inf])


@st.composite
def tables(draw):
    """Rows: ordinary numbers most of the time, of any size, kind and order in memory."""
    n_rows, n_features = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    if draw(st.integers(0, 19)) == 19:
        n_rows, n_features = draw(st.sampled_from([(0, n_features), (n_rows, 0), (0, 0)]))
    kind = draw(st.sampled_from(["normal", "normal", "normal", "equal", "bits", "numbers"]))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    if kind == "normal":
        X = random.normal(size=(n_rows, n_features)) * 10.0 ** draw(st.integers(-3, 3))
    elif kind == "equal":
        X = np.full((n_rows, n_features), draw(NUMBERS))
    elif kind == "bits":
        X = random.integers(0, 2, (n_rows, n_features)).astype(float)
    else:
        cells = st.lists(NUMBERS, min_size=n_features, max_size=n_features)
        X = np.array(draw(st.lists(cells, min_size=n_rows, max_size=n_rows)), float)
        X = X.reshape(n_rows, n_features)
    if X.size and draw(st.integers(0, 19)) == 19:
        X[draw(st.integers(0, n_rows - 1)), draw(st.integers(0, n_features - 1))] = draw(EVIL)
    if draw(st.integers(0, 4)) == 4:
        X[random.random(X.shape) < 0.3] = np.nan
    with np.errstate(over="ignore", invalid="ignore"):
        return draw(st.sampled_from(FORMS))(X)


FORMS = [
    *([lambda X: X] * 8),
    lambda X: X.astype(np.float32),
    lambda X: np.asfortranarray(X),
    lambda X: X[::-1],
    lambda X: X.astype(np.float16),
    lambda X: np.nan_to_num(X, posinf=0, neginf=0).clip(-9, 9).astype(np.int8),
    lambda X: X.tolist(),
    sp.csr_array,
    lambda X: X[:, :, None],
    lambda X: X.ravel(),
    lambda X: X.astype(object),
    lambda X: X.astype(str),
]


COLUMNS = {
    "normal": lambda random, n: random.normal(size=n) * 10.0 ** random.integers(-3, 4),
    "heavy": lambda random, n: np.rint(random.standard_cauchy(n) * 100),
    "integers": lambda random, n: random.integers(-30, 30, n),
    "few": lambda random, n: random.integers(0, 3, n),
    "strings": lambda random, n: random.choice(["a", "b", "c d", ""], n),
    "names": lambda random, n: np.array([f"name {i}" for i in range(n)], dtype=object),
    "booleans": lambda random, n: random.random(n) < 0.5,
    "dates": lambda random, n: np.datetime64("2020-02-29") + random.integers(0, 900, n),
    "constant": lambda random, n: np.full(n, "x"),
    "category": lambda random, n: pd.Categorical.from_codes(random.integers(0, 2, n), list("xyz")),
    "empty": lambda random, n: np.full(n, np.nan),
    "mixed": lambda random, n: np.array([(1, "x", None, 2.5)[i % 4] for i in range(n)], object),
}


@st.composite
def frames(draw):
    """A data frame of columns of any kind, some with gaps."""
    n_rows = draw(st.integers(1, 14))
    kinds = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=5))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    columns = {f"{kind} {i}": COLUMNS[kind](random, n_rows) for i, kind in enumerate(kinds)}
    table = pd.DataFrame(columns)
    if draw(st.integers(0, 2)) == 2:
        table = table.astype(object).mask(random.random(table.shape) < 0.3).infer_objects()
    if draw(st.integers(0, 3)) == 3:
        table = pl.DataFrame({name: of_python(table[name]) for name in table}, strict=False)
    return table


def of_python(column):
    """Values of a column of pandas as polars takes them."""
    values = [None if pd.isna(value) else value for value in column.tolist()]
    return [
        value.to_pydatetime() if isinstance(value, pd.Timestamp) else value for value in values
    ]


@st.composite
def cases(draw, cls, data):
    """An estimator with up to three parameters of any value, and data for it."""
    estimator = cls()
    known = estimator.get_params(deep=False)
    params = {name: value for name, value in SMALL.items() if name in known}
    names = draw(st.lists(st.sampled_from(sorted(known)), max_size=3, unique=True))
    junk = draw(st.integers(0, 5)) == 5
    for name in names:
        constraints = cls._parameter_constraints[name]
        value = draw(JUNK if junk else allowed(name, constraints))
        if not (name in LONG and isinstance(value, float) and value > 1e9):
            params[name] = value
    X = draw(data)
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    weight = None
    if draw(st.integers(0, 4)) == 4:
        weight = draw(st.lists(st.floats(0, 3), min_size=n_rows, max_size=n_rows))
        if weight and draw(st.integers(0, 4)) == 4:
            weight[0] = draw(st.sampled_from([np.nan, np.inf, -1.0, 1e300]))
    random = np.random.default_rng(n_rows)
    y = random.integers(-1, 3, n_rows)
    if cls is StackedAutoencoderRegressor:
        y = random.normal(size=n_rows)
    return params, X, y, weight


def names_a_culprit(message, params):
    """Whether a message says which argument to look at."""
    words = {"X", "Input", "y", "sample_weight", "sample", "samples", "n_samples", "weight"}
    words |= {"array", "dtype", "class", "classes", "features", "Found", "Training", "rows"}
    words |= {
        "string",
        "Column",
        "column",
        "columns",
        "learning_rate_init",
        "training",
        "n_features",
        "weights",
    } | set(params)
    return bool(words & set(re.findall(r"\w+", message)))


def has_density(estimator):
    """Whether its units define a density under its loss; otherwise two methods raise an error."""
    is_belief = isinstance(estimator, DeepBeliefNetwork) and not estimator.fine_tune
    return not (is_belief and estimator.loss in ("poisson", "continuous_bernoulli"))


def objects(table):
    """A data frame of any library as one of pandas."""
    columns = {name: list(table[name]) for name in table.columns}
    return pd.DataFrame(columns, dtype=object)


def results(estimator, X):
    """All that a fitted estimator makes of rows, by name."""
    made = {}
    for name in ("transform", "reconstruct", "score_samples", "predict", "predict_proba"):
        if hasattr(estimator, name) and (name != "score_samples" or has_density(estimator)):
            made[name] = getattr(estimator, name)(X)
    if hasattr(estimator, "inverse_transform") and "transform" in made:
        made["inverse_transform"] = estimator.inverse_transform(made["transform"])
    if hasattr(estimator, "sample") and has_density(estimator):
        steps = {"n_steps": 2} if "n_steps" in estimator.sample.__code__.co_varnames else {}
        made["sample"] = estimator.sample(3, random_state=0, **steps)
    return made


def attempt(cls, params, X, y, weight):
    """Fit, and say what went wrong; None if all is well or rightly refused."""
    estimator = cls(**params)
    before = {name: repr(value) for name, value in vars(estimator).items()}
    given = {} if weight is None else {"sample_weight": weight}
    if cls in (StackedAutoencoderClassifier, StackedAutoencoderRegressor):
        given["y"] = y
    refusal = None
    try:
        estimator.fit(X, **given)
    except (ValueError, TypeError) as error:
        refusal = " ".join([str(error), *getattr(error, "__notes__", [])])
    if refusal is not None:
        after = {name: repr(value) for name, value in vars(estimator).items()}
        assert after == before, "half fitted"
        assert names_a_culprit(refusal, params), f"unclear: {refusal}"
        return
    made = results(estimator, X)
    for name, value in made.items():
        if hasattr(value, "columns"):
            assert list(value.columns) == list(X.columns), f"{name} has other columns"
            has_values = objects(X).notna().any()
            assert objects(value).loc[:, has_values].notna().all(axis=None), f"{name} has gaps"
            continue
        value = np.asarray(value, float)
        if name == "score_samples":  # a squared error too large for its type makes a row -inf
            value = value[value > -np.inf]
        assert np.isfinite(value).all(), f"{name} is not finite"
    if params["random_state"] is None:
        return
    again = results(clone(estimator).fit(X, **given), X)
    for name, value in again.items():
        if hasattr(value, "columns"):  # in arrays of objects NaN is not equal to itself
            pd.testing.assert_frame_equal(objects(value), objects(made[name]), check_exact=True)
            continue
        np.testing.assert_array_equal(value, made[name], err_msg=f"{name} does not repeat")


@pytest.mark.parametrize(
    ("cls", "data", "n_examples"),
    [
        *((cls, tables(), EXAMPLES) for cls in SEARCHED),
        *(
            (cls, frames(), EXAMPLES // 2)
            for cls in SEARCHED
            if hasattr(cls(), "categorical_features")
        ),
    ],
)
@pytest.mark.usefixtures("few_temperatures")
def test_any_parameters_and_any_data(cls, data, n_examples):
    @settings(
        max_examples=n_examples,
        deadline=None,
        database=None,
        derandomize="SKLEARN_AE_FUZZ" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(cls, data))
    def search(case):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # GaussianMixture's
            warnings.filterwarnings("ignore", "Only about .* annealed runs contribute")
            warnings.filterwarnings("ignore", r"Column .* of the variance|The \d+ channels of")
            attempt(cls, *case)

    search()
