"""Whatever a fitted estimator's parameters are: what can be written is read, and is the same.

The normal run tries 300 cases; ``make fuzz`` a tenth of ``SKLEARN_AE_FUZZ``: each is a fit, a
file and a continued fit.
"""

import copy
import os
import pickle
import warnings

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval
from test_fuzz import LONG, SEARCHED, SMALL, allowed

from sklearn_ae import (
    ConvolutionalAutoencoder,
    DenoisingAutoencoder,
    RecursiveAutoencoder,
    RestrictedBoltzmannMachine,
    SemanticHashing,
    SparseAutoencoder,
    StackedAutoencoderRegressor,
    VariationalAutoencoder,
    load,
    save,
    to_onnx,
)

EXAMPLES = int(os.environ.get("SKLEARN_AE_FUZZ", 1500)) // 10 // len(SEARCHED) + 1

WHOLE = [0, 1, 2, 7, 999, 1001, 2500, 10**4, 10**6, 10**9]
"""Whole numbers: where they are sizes they are large, and where they are none they are any."""

# What says how large the network is, or how long the fit takes, on a machine that is no larger.
SIZES = LONG | {
    "n_components", "hidden_layer_sizes", "channels", "kernel_size", "hidden_size", "batch_size",
    "pool_size", "verbose", "n_iter_no_change",
}  # fmt: skip

EASY = {"max_iter": 2, "hidden_layer_sizes": (4,), "random_state": 0}

FEW_CHANNELS = {"channels": (2,), "max_iter": 2, "random_state": 0}


def _data():
    return np.random.default_rng(0).normal(size=(30, 5)), np.arange(30) % 2


def _copies(model, path):
    """Return the model as files, pickles and deep copies give it back."""
    save(model, path)
    return load(path), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)


def _results(model, X):
    """Return what a model computes of samples, one array after another."""
    names = ("transform", "reconstruct", "predict", "score_samples")
    return [np.asarray(getattr(model, name)(X)) for name in names if hasattr(model, name)]


def _assert_same(one, other, X):
    for found, expected in zip(_results(one, X), _results(other, X), strict=True):
        np.testing.assert_array_equal(found, expected)


def _continued(model, X, y):
    """Return the codes after further training, or why it failed: at a step of 10**9 it does."""
    try:
        return model.partial_fit(X, y).transform(X)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize(
    "model",
    [
        VariationalAutoencoder(2, variance=2500, **EASY),
        VariationalAutoencoder(2, beta=10**6, **EASY),
        VariationalAutoencoder(2, variance=np.int64(10**9), **EASY),
        DenoisingAutoencoder(2, noise_level=2000, **EASY),
        DenoisingAutoencoder(2, noise_level=10**9, noise="gaussian", **EASY),
        SemanticHashing(8, code_noise=1500, **EASY),
        SemanticHashing(8, code_noise=10**6, **EASY),
        SparseAutoencoder(6, sparsity="topk", n_active=2, encoding_factor=5000, **EASY),
        SparseAutoencoder(2000, sparsity="topk", n_active=1999, **EASY),
        SparseAutoencoder(2000, sparsity="topk", n_active=1200, encoding_factor=2, **EASY),
        RecursiveAutoencoder(2, hidden_size=7, max_iter=2, random_state=0),  # odd numbers of bytes
        ConvolutionalAutoencoder(2, pool_size=10**4, **FEW_CHANNELS),
        RestrictedBoltzmannMachine(2, persistent=True, n_chains=3000, max_iter=1, random_state=0),
    ],
    ids=lambda model: repr(model).replace("\n", ""),
)
def test_numbers_that_are_no_sizes_may_be_large(model, tmp_path):
    X, _ = _data()
    model.fit(X)
    copies = _copies(model, tmp_path / "model")
    for again in copies:
        _assert_same(again, model, X)
    model.partial_fit(X)
    for again in copies:
        _assert_same(again.partial_fit(X), model, X)
    warm = copy.deepcopy(model).set_params(warm_start=True).fit(X)
    assert warm.fit(X).n_features_in_ == 5
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    (codes,) = session.run(None, {"X": X.astype(np.float32)})
    assert codes.shape == model.transform(X).shape


@st.composite
def _models(draw, cls):
    """An estimator with up to five valid parameters, whole numbers more often than others."""
    known = cls().get_params(deep=False)
    # Of few hidden units an RBM's partition function is a short sum.
    small = SMALL | {"n_components": 4}
    params = {name: value for name, value in small.items() if name in known}
    names = draw(st.lists(st.sampled_from(sorted(known)), max_size=5, unique=True))
    for name in set(names) - {"device", "random_state", "verbose"}:
        constraints = cls._parameter_constraints[name]
        intervals = [each for each in constraints if isinstance(each, Interval)]
        whole = [n for n in WHOLE if any(n in each for each in intervals)]
        if name == "n_components":
            fractions = [st.floats(0.05, 0.95)] if any(0.5 in each for each in intervals) else []
            params[name] = draw(st.one_of(st.none(), st.integers(1, 6), *fractions))
        elif whole and name not in SIZES and draw(st.booleans()):
            params[name] = draw(st.sampled_from(whole))
        else:
            params[name] = draw(allowed(name, constraints))
    return cls(**params)


@pytest.mark.parametrize("cls", SEARCHED)
def test_every_model_that_fits_is_read_as_it_was_written(cls, tmp_path):
    X, y = _data()
    outcomes = {"fitted": 0, "refused": 0}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="SKLEARN_AE_FUZZ" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(_models(cls))
    def search(model):
        try:
            targets = X[:, 0] if cls is StackedAutoencoderRegressor else y
            model.fit(X, targets)
        except (ValueError, TypeError):
            outcomes["refused"] += 1
            return
        outcomes["fitted"] += 1
        for again in _copies(model, tmp_path / "model"):
            assert repr(again.get_params()) == repr(model.get_params())
            _assert_same(again, model, X)
        if hasattr(model, "partial_fit"):  # of the last one, as of the model
            np.testing.assert_array_equal(
                _continued(again, X, targets), _continued(model, X, targets)
            )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # GaussianMixture's
        warnings.filterwarnings("ignore", "Only about .* annealed runs contribute")
        warnings.filterwarnings("ignore", r"Column .* of the variance|The \d+ channels of")
        search()
    assert outcomes["fitted"] > outcomes["refused"] / 4
