"""Same seed, same bits; nothing global is read or changed; files carry arrays only."""

import copy
import functools
import pickle
import pickletools
import random
import threading

import cloudpickle
import joblib
import numpy as np
import pytest
import torch
from instances import INSTANCES, name_of, one_of_each
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_ae import Autoencoder

each_instance = pytest.mark.parametrize("instance", INSTANCES, ids=name_of)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(150, 5))


def _fit(instance, X):
    return clone(instance).set_params(random_state=0).fit(X)


@pytest.fixture(scope="module")
def fitted_once(X):
    """Instances fitted once for all tests, none of which may change them."""
    return functools.cache(lambda place: _fit(INSTANCES[place], X))


each_place = pytest.mark.parametrize(
    "place",
    [
        pytest.param(
            place,
            marks=() if instance in one_of_each(INSTANCES) else pytest.mark.slow,
            id=name_of(instance),
        )
        for place, instance in enumerate(INSTANCES)
    ],
)


@each_place
def test_four_threads_at_once_give_the_bits_of_one(place, X, fitted_once):
    expected = fitted_once(place).transform(X)
    results = [None] * 4

    def run(number):
        results[number] = _fit(INSTANCES[place], X).transform(X)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_do_not_matter(X, backend):
    def search(n_jobs):
        grid = {"n_components": [1, 2]}
        found = GridSearchCV(Autoencoder(max_iter=3, random_state=0), grid, cv=2, n_jobs=n_jobs)
        return found.fit(X).cv_results_["mean_test_score"]

    with joblib.parallel_backend(backend):
        np.testing.assert_array_equal(search(1), search(2))


@each_instance
def test_nothing_global_changes(instance, X):
    def state():
        return (
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002 - the global state is the point
            random.getstate(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.is_grad_enabled(),
        )

    before = state()
    fitted = _fit(instance, X)
    fitted.sample(2, random_state=0)
    pickle.loads(pickle.dumps(fitted)).score(X)
    assert state() == before


def _plain_params(estimator):
    """Parameters, of a network its class: those of its own are there by name."""
    return {
        name: type(value) if hasattr(value, "get_params") else value
        for name, value in estimator.get_params().items()
    }


@each_place
@pytest.mark.parametrize(
    "travel",
    [
        lambda e, folder: pickle.loads(pickle.dumps(e)),
        lambda e, folder: cloudpickle.loads(cloudpickle.dumps(e)),
        lambda e, folder: copy.deepcopy(e),
        lambda e, folder: joblib.load(joblib.dump(e, folder / "e.joblib", compress=3)[0]),
        lambda e, folder: joblib.load(joblib.dump(e, folder / "e.joblib")[0], mmap_mode="r"),
    ],
    ids=["pickle", "cloudpickle", "deepcopy", "joblib compressed", "joblib memory-mapped"],
)
def test_files_give_the_same_bits(place, X, travel, tmp_path, fitted_once):
    fitted = fitted_once(place)
    again = travel(fitted, tmp_path)
    np.testing.assert_array_equal(again.transform(X), fitted.transform(X))
    np.testing.assert_array_equal(again.sample(3, 0), fitted.sample(3, 0))
    assert _plain_params(again) == _plain_params(fitted)
    again.set_params(warm_start=True, max_iter=1).fit(
        X
    )  # its weights are its own, and may be trained


def test_changed_parameters_do_not_reach_the_fitted_network(X):
    fitted = Autoencoder(2, max_iter=3, random_state=0).fit(X)
    expected = fitted.transform(X)
    fitted.set_params(n_components=4, hidden_layer_sizes=(3,), activation="relu")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(X), expected)


@each_instance
def test_pickles_hold_arrays_and_little_else(instance, X):
    fitted = _fit(instance, X).set_params(random_state=None)
    data = pickle.dumps(fitted)
    names = {
        str(argument)
        for opcode, argument, _ in pickletools.genops(data)
        if opcode.name in {"GLOBAL", "SHORT_BINUNICODE"}
    }
    assert not any(name == "torch" or name.startswith("torch.") for name in names)
    weights = sum(value.numel() * value.itemsize for value in fitted.module_.state_dict().values())
    assert len(data) < 1.2 * weights + 20_000


def test_seed_none_differs_and_obeys_numpys_seed(X):
    def codes():
        return Autoencoder(1, init="random", max_iter=2).fit(X).transform(X)

    assert not np.array_equal(codes(), codes())
    state = np.random.get_state()  # noqa: NPY002
    first = codes()
    np.random.set_state(state)  # noqa: NPY002
    np.testing.assert_array_equal(codes(), first)


def test_training_data_are_freed_with_the_callers_reference():
    import gc
    import weakref

    X = np.random.default_rng(0).normal(size=(50, 4))
    alive = weakref.ref(X)
    fitted = Autoencoder(2, max_iter=2, random_state=0).fit(X)
    del X
    gc.collect()
    assert alive() is None
    assert fitted.n_iter_ == 2


def test_draws_within_the_block_come_from_the_generator():
    from torch import nn

    from sklearn_ae._training.random import drawing_from, make_generator

    def build():
        layers = [nn.Linear(4, 3), nn.Conv2d(2, 3, 3), nn.LSTM(3, 5), nn.Bilinear(2, 3, 4)]
        values = [parameter for layer in layers for parameter in layer.parameters()]
        drawn = [
            torch.randn(3),
            torch.randn_like(torch.zeros(2)),
            torch.rand(2),
            torch.randperm(5),
        ]
        return [*values, *drawn, torch.bernoulli(torch.full((4,), 0.5))]

    before = torch.get_rng_state()
    with drawing_from(make_generator(7)):
        drawn = build()
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        expected = build()
    for one, other in zip(drawn, expected, strict=True):
        assert torch.equal(one, other)
