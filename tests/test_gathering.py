"""Models of parallel tasks that are trained together: the same results, and nobody waits."""

import signal
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import scale
from skorch.callbacks import Callback

from sklearn_ae import (
    Autoencoder,
    ContractiveAutoencoder,
    DeepBeliefNetwork,
    DenoisingAutoencoder,
    LSTMAutoencoder,
    SemanticHashing,
    SparseAutoencoder,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
    VariationalAutoencoder,
)
from sklearn_ae._training import gathering, group
from sklearn_ae._training.gathering import Gathering
from sklearn_ae._training.optimizer import FlatAdam, FlatMomentum, FlatParameters, Stack
from sklearn_ae.networks import DenseNetwork

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, LABELS = load_breast_cancer(return_X_y=True)
X = scale(X)[:, :12]

NARROW = {"hidden_layer_sizes": (7,), "max_iter": 20}


def network(**options):
    return DenseNetwork(hidden_layer_sizes=(7,), **options)


MODELS = {
    "plain": Autoencoder(3, **NARROW),
    "linear": Autoencoder(3, hidden_layer_sizes=(), init="random", max_iter=20),
    "huber": Autoencoder(3, loss="huber", activation="relu", **NARROW),
    "sgd": Autoencoder(3, solver="sgd", learning_rate="constant", **NARROW),
    "all samples": Autoencoder(3, early_stopping=False, **NARROW),
    "one batch": Autoencoder(3, batch_size=1000, **NARROW),
    "penalty": Autoencoder(3, code_alpha=0.1, **NARROW),
    "dropout": Autoencoder(3, network=network(dropout=0.2), max_iter=20),
    "layer": Autoencoder(3, network=network(normalization="layer"), max_iter=20),
    "gaussian": DenoisingAutoencoder(3, **NARROW),
    "masking": DenoisingAutoencoder(3, noise="masking", **NARROW),
    "swap": DenoisingAutoencoder(3, noise="swap", **NARROW),
    "l1": SparseAutoencoder(9, sparsity="l1", n_active=3, **NARROW),
    "kl": SparseAutoencoder(9, sparsity="kl", **NARROW),
    "topk": SparseAutoencoder(9, sparsity="topk", n_active=3, **NARROW),
    "contractive": ContractiveAutoencoder(3, **NARROW),
    "variational": VariationalAutoencoder(3, **NARROW),
    "importance": VariationalAutoencoder(
        3, n_importance_samples=3, variance="per_feature", **NARROW
    ),
    "hashing": SemanticHashing(8, **NARROW),
    "stacked": StackedAutoencoder(3, pretraining_max_iter=5, **NARROW),
    "contractive layers": StackedAutoencoder(3, pretraining="contractive", **NARROW),
    "classifier": StackedAutoencoderClassifier(
        autoencoder=StackedAutoencoder(3, random_state=1, **NARROW), max_iter=20
    ),
    "head": StackedAutoencoderClassifier(
        autoencoder=Autoencoder(3, random_state=1, **NARROW), fine_tune=False, max_iter=20
    ),
    "regressor": StackedAutoencoderRegressor(
        autoencoder=Autoencoder(3, random_state=1, **NARROW), max_iter=20
    ),
    "belief": DeepBeliefNetwork(3, **NARROW),
    "reconstruction": StackedAutoencoderClassifier(
        autoencoder=Autoencoder(3, random_state=1, **NARROW),
        reconstruction_weight=0.1,
        max_iter=20,
    ),
}
"""Models that are trained in groups, or parts of them are."""

ALONE = {
    "tied": Autoencoder(3, network=network(tied=True), max_iter=20),
    "batch": Autoencoder(3, network=network(normalization="batch"), max_iter=20),
    "ordered": Autoencoder(3, ordered=True, **NARROW),
    "noise": DenoisingAutoencoder(3, noise=lambda x: x + torch.randn_like(x), **NARROW),
    "projections": ContractiveAutoencoder(3, n_projections=2, **NARROW),
    "norms": ContractiveAutoencoder(3, network=network(normalization="layer"), max_iter=20),
}
"""Models that are trained alone."""


@pytest.fixture
def sizes(monkeypatch):
    """Return the list of the sizes of all groups that are trained."""
    found, train = [], group._train_group

    def noting(trainings, *args):
        found.append(len(trainings))
        return train(trainings, *args)

    monkeypatch.setattr(group, "_train_group", noting)
    return found


@pytest.fixture(autouse=True)
def no_threads_left():
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    left = {thread for thread in left if type(thread).__name__ != "TMonitor"}  # of tqdm
    for thread in left:  # joblib's own pools end a little later
        thread.join(10)
    assert not any(thread.is_alive() for thread in left)


def fitted(model, number):
    """Fit a copy with samples, rates, decay, seed and patience of its own."""
    own = {"learning_rate_init": 1e-3 * (1 + number % 2), "random_state": number % 3}
    patience = {"n_iter_no_change": 2} if number == 3 else {}
    copy = type(model)(**(model.get_params(deep=False) | own | patience))
    rows = slice(number // 2, 230 + 9 * number)
    supervised = hasattr(model, "predict")
    weight = {"sample_weight": 1.0 + (np.arange(300) % 2)[: len(X[rows])]} if number == 2 else {}
    return copy.fit(X[rows], *([LABELS[rows]] if supervised else []), **weight)


def together(functions, **config):
    with parallel_config(backend="sklearn_ae", **config):
        return Parallel()(delayed(function)() for function in functions)


def same(alone, grouped):
    """Assert that two fitted estimators are equal up to rounding."""
    assert len(alone.history_) == len(grouped.history_)
    for own, other in zip(alone.history_, grouped.history_, strict=True):
        assert own.keys() == other.keys()
        for name, value in own.items():
            assert value == pytest.approx(other[name], rel=1e-6, abs=1e-8), name
    assert alone.best_epoch_ == grouped.best_epoch_
    values = "predict" if hasattr(alone, "predict") else "transform"
    np.testing.assert_allclose(
        getattr(alone, values)(X), getattr(grouped, values)(X), rtol=1e-5, atol=1e-5
    )
    if hasattr(alone, "module_"):
        others = grouped.module_.state_dict()
        for name, own in alone.module_.state_dict().items():
            torch.testing.assert_close(own, others[name], rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("name", [*MODELS, *ALONE])
def test_a_model_in_a_group_equals_the_model_alone(name, sizes):
    model = (MODELS | ALONE)[name]
    alone = [fitted(model, number) for number in range(3)]
    grouped = together([lambda number=number: fitted(model, number) for number in range(3)])
    for one, other in zip(alone, grouped, strict=True):
        same(one, other)
    assert bool(max(sizes, default=1) > 1) == (name in MODELS)


def test_training_goes_on_after_a_group():
    model = Autoencoder(3, warm_start=True, **NARROW)
    alone, grouped = fitted(model, 0), together([lambda: fitted(model, 0)] * 2)[0]
    for one in (alone, grouped):
        one.fit(X[:230])
    same(alone, grouped)
    twice = together([lambda one=one: one.fit(X[:230]) for one in (alone, grouped)])
    same(*twice)


def test_the_numbers_drawn_are_those_of_a_model_alone_after_the_group():
    """Models that shared draws, and one that stopped early, go on with numbers of their own."""
    models = [Autoencoder(3, warm_start=True, random_state=0, **NARROW) for _ in range(3)]
    models[1].set_params(max_iter=7)
    together([lambda one=one: one.fit(X) for one in models])
    for one, n_epochs in zip(models, (20, 7, 20), strict=True):
        alone = Autoencoder(3, warm_start=True, random_state=0, **NARROW)
        alone.set_params(max_iter=n_epochs).fit(X)
        for name in ("shuffle", "noise", "step"):
            assert np.array_equal(alone._training_state[name], one._training_state[name])


def test_float32(sizes):
    alone = [Autoencoder(3, random_state=0, **NARROW).fit(X.astype(np.float32))]
    fit = partial(Autoencoder(3, random_state=0, **NARROW).fit, X.astype(np.float32))
    for grouped in together([fit, fit, fit]):
        np.testing.assert_allclose(alone[0].transform(X), grouped.transform(X), atol=1e-3)
    assert sizes == [3]


@pytest.mark.parametrize("optimizer", [FlatAdam, FlatMomentum])
def test_the_optimiser_of_several_models(optimizer):
    """Of each row it is that of a model alone, whatever the numbers of steps before."""
    options = {FlatAdam: (), FlatMomentum: (0.7,)}[optimizer]
    rates, alphas = torch.tensor([0.1, 0.02, 0.3]), torch.tensor([0.0, 0.5, 1.0])
    results = []
    for stacks in (False, True):
        torch.manual_seed(0)
        modules = [group_module() for _ in range(3)]
        flats = [FlatParameters(module) for module in modules]
        single = [
            optimizer(flat, float(rate), float(alpha), *options)
            for flat, rate, alpha in zip(flats, rates, alphas, strict=True)
        ]
        for _ in range(2):  # the first model has taken two steps before
            flats[0].gradient.fill_(0.5)
            single[0].move()
        gradients = torch.randn(4, 3, len(flats[0].values))
        stack = Stack(flats, single) if stacks else None
        for step, gradient in enumerate(gradients):
            n_models = 3 if step < 3 else 2
            if stack is None:
                for row in range(n_models):
                    flats[row].gradient.copy_(gradient[row])
                    single[row].move()
                continue
            stack.gradient.copy_(gradient)
            decay = 1 - rates * alphas
            rows = [slice(0, 1), slice(1, n_models)]
            stack.move(rates[:n_models, None], decay[:n_models, None], rows)
        if stack is not None:
            stack.release()
        results.append([flat.values.detach().clone() for flat in flats])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def group_module():
    from sklearn_ae.networks._module import AutoencoderModule

    return AutoencoderModule(DenseNetwork(hidden_layer_sizes=(3,)), (4,), 2)


# Searches


def test_a_search_finds_the_same(sizes):
    model = make_pipeline(Autoencoder(2, random_state=0, **NARROW), LinearRegression())
    grid = {
        "autoencoder__learning_rate_init": [1e-4, 1e-3],
        "autoencoder__n_components": [2, 3],
        "autoencoder__batch_size": [32, 64],
    }
    search = GridSearchCV(model, grid, cv=3).fit(X, LABELS)
    with parallel_config(backend="sklearn_ae"):
        grouped = GridSearchCV(model, grid, cv=3).fit(X, LABELS)
    assert sorted(sizes) == [6, 6, 6, 6]  # by shape and batch size; the last fit is alone
    scores = (each.cv_results_["mean_test_score"] for each in (search, grouped))
    np.testing.assert_allclose(*scores, rtol=1e-6)
    assert search.best_params_ == grouped.best_params_


def test_the_same_bits_again():
    model = Autoencoder(2, random_state=0, **NARROW)
    found = []
    for _ in range(2):
        with parallel_config(backend="sklearn_ae"):
            found.append(cross_val_score(model, X, cv=4))
    assert np.array_equal(*found)


def test_searches_within_searches(sizes):
    model = Autoencoder(2, random_state=0, **NARROW)
    search = GridSearchCV(model, {"alpha": [0.0, 0.1]}, cv=2)
    scores = cross_val_score(search, X, cv=3)
    with parallel_config(backend="sklearn_ae"):
        grouped = cross_val_score(search, X, cv=3)
    assert sizes == [12, 3]  # all inner fits, then the three fits of the best candidates
    np.testing.assert_allclose(scores, grouped, rtol=1e-6)


def test_bagging(sizes):
    model = make_pipeline(Autoencoder(2, random_state=0, **NARROW), LinearRegression())
    bagging = BaggingRegressor(model, n_estimators=4, random_state=0)
    alone = bagging.fit(X, LABELS).predict(X)
    with parallel_config(backend="sklearn_ae"):
        grouped = bagging.fit(X, LABELS).predict(X)
    assert sizes == [4]
    np.testing.assert_allclose(alone, grouped, rtol=1e-6)


@pytest.mark.parametrize(("n_jobs", "expected"), [(None, [5]), (-1, [5]), (3, [3, 2]), (1, [])])
def test_the_number_of_jobs_limits_the_models_that_wait(n_jobs, expected, sizes):
    model = Autoencoder(2, random_state=0, **NARROW)
    with parallel_config(backend="sklearn_ae"):
        cross_val_score(model, X, cv=5, n_jobs=n_jobs)
    assert sizes == expected


def test_the_size_of_waiting_samples_is_limited(sizes, monkeypatch):
    monkeypatch.setattr(gathering, "WAITING_BYTES", X.nbytes)
    monkeypatch.setattr(gathering, "N_PROCESSORS", 1)
    model = Autoencoder(2, random_state=0, **NARROW)
    with parallel_config(backend="sklearn_ae"):
        cross_val_score(model, X, cv=5)
    assert sizes == [2, 2, 1]


def test_groups_are_split_to_stay_in_the_cache(sizes, monkeypatch):
    model = Autoencoder(2, random_state=0, **NARROW)
    with parallel_config(backend="sklearn_ae"):
        whole = cross_val_score(model, X, cv=5)
        monkeypatch.setattr(group, "GROUP_BYTES", 1)
        alone = cross_val_score(model, X, cv=5)
    assert sizes == [5, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(whole, alone, rtol=1e-6)


def test_other_backends_are_not_affected(sizes):
    cross_val_score(Autoencoder(2, **NARROW), X, cv=2)
    with parallel_config(backend="threading", n_jobs=2):
        cross_val_score(Autoencoder(2, **NARROW), X, cv=2)
    assert sizes == []
    assert Gathering.current() is None


# Errors


class Fails(Callback):
    def __init__(self, error):
        self.error = error

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 3:
            raise self.error


class Begins(Callback):
    def __init__(self, event):
        self.event = event

    def on_epoch_begin(self, net, **kwargs):
        self.event.set()


@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_an_error_is_that_of_its_candidate():
    """A bad parameter, divergence, and an exception in a callback."""
    model = Autoencoder(2, random_state=0, **NARROW)
    grid = [
        {"learning_rate_init": [1e-3]},
        {"learning_rate_init": [1e30]},
        {"alpha": [-1.0]},
        {"callbacks": [[("fails", Fails(RuntimeError("here")))]]},
    ]
    search = GridSearchCV(model, grid, cv=3, refit=False, error_score=np.nan)
    with pytest.warns(FitFailedWarning, match="9 fits failed"):
        alone = search.fit(X).cv_results_["mean_test_score"]
    with (
        pytest.warns(FitFailedWarning, match="9 fits failed"),
        parallel_config(backend="sklearn_ae"),
    ):
        grouped = search.fit(X).cv_results_["mean_test_score"]
    assert np.isnan(alone).tolist() == [False, True, True, True]
    np.testing.assert_allclose(alone, grouped, rtol=1e-6)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_ends_all_tasks(error):
    model = Autoencoder(2, hidden_layer_sizes=(7,), max_iter=10**6, n_iter_no_change=10**6)

    def fit(number):
        callbacks = [("fails", Fails(error("here")))] if number == 2 else None
        return clone(model).set_params(callbacks=callbacks).fit(X)

    begin = time.monotonic()
    with pytest.raises(error, match="here"):
        together([lambda number=number: fit(number) for number in range(4)])
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("layers", [network(tied=True), None], ids=["thread", "caller"])
def test_an_error_ends_a_model_that_is_trained_alone(layers):
    """In the thread of its task, and by the caller, whose groups have one model here."""
    begun = threading.Event()
    first = Autoencoder(2, hidden_layer_sizes=(5,), max_iter=2)
    endless = Autoencoder(2, network=layers, max_iter=10**6, n_iter_no_change=10**6)
    endless.set_params(callbacks=[("begins", Begins(begun))])

    def fail():
        if layers is None:
            first.fit(X)  # the caller trains groups in the order of their tasks
        begun.wait()
        raise RuntimeError("here")

    with pytest.raises(RuntimeError, match="here"):
        together([fail, lambda: endless.fit(X)])


def test_an_interrupt_of_the_caller_ends_all_tasks():
    fit = Autoencoder(2, hidden_layer_sizes=(7,), max_iter=10**6, n_iter_no_change=10**6).fit
    main = threading.main_thread().ident

    ended = threading.Event()

    def interrupt():
        # More than once: Python loses an interrupt that hits a finaliser.
        while not ended.wait(2):
            signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by some runners
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            together([lambda: fit(X), lambda: fit(X[:400])])
    finally:
        ended.set()
        signal.signal(signal.SIGINT, before)
        thread.join()


def test_tasks_that_are_slow_nested_or_without_models():
    """Under a time limit: nobody waits for ever."""
    done = []

    def run(number):
        if number % 3 == 0:
            time.sleep(0.05)
        if number % 4 == 1:
            inner = Parallel()(delayed(run)(4 * each) for each in range(3))
            return sum(inner)
        if number % 4 == 2:
            return number
        if number == 7:
            raise ValueError
        return len(Autoencoder(2, random_state=0, **NARROW).fit(X).history_)

    def guarded(number):
        try:
            return run(number)
        except ValueError:
            return -1

    thread = threading.Thread(
        target=lambda: done.append(together([lambda n=n: guarded(n) for n in range(12)])),
        daemon=True,
    )
    thread.start()
    thread.join(60)
    assert done == [[20, 60, 2, 20, 20, 60, 6, -1, 20, 60, 10, 20]]


def test_results_that_nobody_waits_for():
    with parallel_config(backend="sklearn_ae"):
        results = Parallel(return_as="generator")(
            delayed(Autoencoder(2, random_state=0, **NARROW).fit)(X) for _ in range(3)
        )
        assert len(next(results).history_) == 20
        del results


def test_callbacks_of_each_model():
    class Counts(Callback):
        n_epochs = 0

        def on_epoch_end(self, net, **kwargs):
            self.n_epochs += 1
            net.stop_training |= self.n_epochs == self.last

    counters = [Counts() for _ in range(3)]
    for last, counter in zip((2, 5, 9), counters, strict=True):
        counter.last = last
    fits = [
        lambda own=own: Autoencoder(2, callbacks=[("counts", own)], **NARROW).fit(X)
        for own in counters
    ]
    assert [len(each.history_) for each in together(fits)] == [2, 5, 9]


def test_map_without_joblib(sizes):
    fit = partial(Autoencoder(2, random_state=0, **NARROW).fit, X)
    assert [len(each.history_) for each in Gathering(8).map([fit] * 3)] == [20] * 3
    assert sizes == [3]
    with pytest.raises(ZeroDivisionError):
        Gathering(8).map([fit, lambda: 1 / 0])


def test_sequences_are_trained_alone(sizes):
    model = LSTMAutoencoder(2, max_iter=2, random_state=0)
    sequences = load_iris().data[:30].reshape(-1, 4, 1)
    together([lambda: model.fit(sequences)] * 2)
    assert sizes == []
