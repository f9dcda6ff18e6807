"""scikit-learn's own callbacks, which it has from version 1.9 on."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    StackedAutoencoderRegressor,
)

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.8 has no callbacks")


def test_scoring_monitor_sees_every_epoch(curve):
    def explained(estimator, X, y):
        return estimator.score(X)

    monitor = callback.ScoringMonitor(scoring={"explained": explained})
    autoencoder = Autoencoder(1, max_iter=6, early_stopping=False, random_state=0)
    autoencoder.set_callbacks(monitor).fit(curve)
    scores = [row["explained"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 6
    assert scores[-1] == pytest.approx(autoencoder.score(curve), rel=1e-9)


def test_progress_bar_nests_in_a_grid_search(curve, capsys):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Autoencoder(max_iter=2, random_state=0)),
        {"autoencoder__n_components": [1, 2]},
        cv=2,
    )
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(curve)
    assert "Autoencoder" in capsys.readouterr().out


def test_callback_may_stop_training(curve):
    class StopAtThree:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            self.torn_down = True

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            return context.task_name == "epoch" and context.task_id == 2

    stopper = StopAtThree()
    autoencoder = Autoencoder(1, max_iter=10, random_state=0).set_callbacks(stopper).fit(curve)
    assert autoencoder.n_iter_ == 3
    assert stopper.torn_down


class Tree:
    """Writes down the tasks that it hears of, and asks to stop where it is told to."""

    def __init__(self, stop=()):
        self.stop = stop
        self.begun, self.ended = [], []

    def setup(self, estimator, context):
        self.torn_down = False

    def teardown(self, estimator, context):
        self.torn_down = True

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(_path(context))

    def on_fit_task_end(self, estimator, context):
        self.ended.append(_path(context))
        return self.ended[-1][-1] in self.stop

    def epochs_of(self, *names):
        """Count the epochs of a task."""
        parents = [[name for name, _ in path[:-1]] for path in self.ended]
        return sum(
            parent == list(names) and path[-1][0] == "epoch"
            for parent, path in zip(parents, self.ended, strict=True)
        )


class PropagatedTree(Tree):
    """The same, for the estimators within as well."""

    max_propagation_depth = None


def _path(context):
    from sklearn.callback._callback_context import get_context_path

    return [(each.task_name, each.task_id) for each in get_context_path(context)]


STACK = {
    "hidden_layer_sizes": (8, 4),
    "pretraining_max_iter": 2,
    "max_iter": 3,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(80, 5, centers=3, random_state=0)


@pytest.mark.parametrize("fine_tune", [True, False])
def test_epochs_of_a_supervised_stack_are_tasks(blobs, fine_tune):
    tree = PropagatedTree()
    classifier = StackedAutoencoderClassifier(fine_tune=fine_tune, **STACK).set_callbacks(tree)
    classifier.fit(*blobs)
    assert sorted(map(str, tree.begun)) == sorted(map(str, tree.ended))
    layer = "fine_tuning" if fine_tune else "linear_layer"
    assert tree.epochs_of("fit", layer) == 3
    assert tree.epochs_of("fit", "fit", "layer") == 4  # two layers, two epochs each
    assert [path[-1][0] for path in tree.ended if len(path) == 2] == ["fit", layer]
    assert tree.ended[-1] == [("fit", 0)]
    assert tree.torn_down
    assert not hasattr(classifier.autoencoder_, "_parent_callback_ctx")


def test_tasks_change_nothing(blobs):
    plain = StackedAutoencoderClassifier(**STACK).fit(*blobs)
    heard = StackedAutoencoderClassifier(**STACK).set_callbacks(PropagatedTree()).fit(*blobs)
    np.testing.assert_array_equal(heard.predict_proba(blobs[0]), plain.predict_proba(blobs[0]))
    heard.set_callbacks()
    pickle.loads(pickle.dumps(heard))


def test_an_autoencoder_of_choice_and_a_head_have_their_tasks(blobs):
    tree = PropagatedTree()
    classifier = StackedAutoencoderClassifier(
        autoencoder=Autoencoder(2, max_iter=5, early_stopping=False, random_state=0),
        head=KNeighborsClassifier(),
        max_iter=3,
    )
    classifier.set_callbacks(tree).fit(*blobs)
    assert tree.epochs_of("fit", "fit") == 5
    assert tree.epochs_of("fit", "fine_tuning") == 3
    tasks = [path[-1][0] for path in tree.ended if len(path) == 2]
    assert tasks == ["fit", "fine_tuning", "head"]
    frozen = FrozenEstimator(classifier.autoencoder_)
    tree = Tree()
    classifier.set_params(autoencoder=frozen, fine_tune=False).set_callbacks(tree).fit(*blobs)
    assert [path[-1][0] for path in tree.ended] == ["head", "fit"]
    tree = Tree()  # a fit that goes on does not train the autoencoder
    classifier = StackedAutoencoderClassifier(warm_start=True, **STACK).fit(*blobs)
    classifier.set_callbacks(tree).fit(*blobs)
    assert [path[-1][0] for path in tree.ended if len(path) == 2] == ["fine_tuning"]


def test_scoring_monitor_scores_every_epoch_of_fine_tuning(blobs):
    X, y = blobs
    few = np.where(np.arange(len(y)) % 4 == 0, y, -1)

    def accuracy(estimator, X, y):
        return estimator.score(X, y)

    monitor = callback.ScoringMonitor(scoring={"accuracy": accuracy})
    classifier = StackedAutoencoderClassifier(unlabeled=-1, **STACK)
    classifier.set_callbacks(monitor).fit(X, few)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 3
    assert scores[-1] == classifier.score(X, few)


def test_scoring_monitor_scores_a_regressor(blobs):
    X, y = blobs[0], blobs[0] @ np.arange(5)

    def r2(estimator, X, y):
        return estimator.score(X, y)

    monitor = callback.ScoringMonitor(scoring={"r2": r2})
    regressor = StackedAutoencoderRegressor(fine_tune=False, **STACK)
    regressor.set_callbacks(monitor).fit(X, y)
    scores = [row["r2"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert scores[-1] == pytest.approx(regressor.score(X, y), rel=1e-9)
    assert scores[0] != scores[-1]


def test_a_callback_may_stop_fine_tuning(blobs):
    tree = Tree(stop=[("epoch", 1)])
    classifier = StackedAutoencoderClassifier(**STACK).set_callbacks(tree).fit(*blobs)
    assert classifier.n_iter_ == 2
    assert len(classifier.autoencoder_.layer_histories_[0]) == 2


def test_layers_of_a_stack_are_tasks(blobs):
    tree = Tree(stop=[("epoch", 0)])
    stack = StackedAutoencoder(2, hidden_layer_sizes=(8,), pretraining_max_iter=4, max_iter=3)
    stack.set_callbacks(tree).fit(blobs[0])
    assert [len(history) for history in stack.layer_histories_] == [1, 1]
    assert stack.n_iter_ == 3  # those of all layers together come after two tasks
    assert [path[-1] for path in tree.ended if len(path) == 2][:2] == [("layer", 0), ("layer", 1)]


def test_a_failed_fit_tears_callbacks_down(blobs):
    tree = PropagatedTree()
    classifier = StackedAutoencoderClassifier(**STACK | {"learning_rate_init": 1e30})
    with pytest.raises(ValueError, match="diverged"):
        classifier.set_callbacks(tree).fit(*blobs)
    assert tree.torn_down
    assert not hasattr(classifier, "autoencoder_")
    classifier.set_params(learning_rate_init=0.003).fit(*blobs)


def test_members_of_a_detector_are_tasks(blobs):
    X, _ = blobs
    tree = PropagatedTree()
    detector = AutoencoderOutlierDetector(n_estimators=4, random_state=0)
    expected = detector.fit(X).held_out_scores_
    detector.set_callbacks(tree).fit(X)
    # With callbacks members are trained in turn, and sums of a group are rounded otherwise.
    np.testing.assert_allclose(detector.held_out_scores_, expected, rtol=1e-9)
    assert tree.epochs_of("fit", "fit") == 4 * 25
    members = [path[-1] for path in tree.ended if len(path) == 2]
    assert [number for _, number in members] == [0, 1, 2, 3]
    tree = Tree()
    detector.set_callbacks(tree).fit(X)
    assert tree.ended == [[("fit", 0), ("member", n)] for n in range(4)] + [[("fit", 0)]]


@pytest.mark.parametrize(("last", "n_members"), [(0, 2), (1, 2), (2, 4)])
def test_a_callback_may_stop_a_detector_after_a_pair_of_members(blobs, last, n_members):
    X, _ = blobs
    detector = AutoencoderOutlierDetector(n_estimators=6, random_state=0)
    detector.set_callbacks(Tree(stop=[("member", last)])).fit(X)
    assert len(detector.estimators_) == n_members
    fewer = AutoencoderOutlierDetector(n_estimators=n_members, random_state=0).fit(X)
    np.testing.assert_allclose(detector.score_samples(X), fewer.score_samples(X), rtol=1e-9)
    assert detector.offset_ == pytest.approx(fewer.offset_, rel=1e-9)


def test_scoring_monitor_scores_a_detector(blobs):
    X, y = blobs
    labels = np.where(y == 0, -1, 1)

    def accuracy(estimator, X, y):
        return (estimator.predict(X) == y).mean()

    monitor = callback.ScoringMonitor(scoring={"accuracy": accuracy})
    detector = AutoencoderOutlierDetector(n_estimators=2, random_state=0)
    detector.set_callbacks(monitor).fit(X, labels)
    (row,) = monitor.get_logs().data
    assert row["accuracy"] == (detector.predict(X) == labels).mean()


def test_progress_bars_of_stacks_and_detectors(blobs, capsys):
    bar = callback.ProgressBar(max_propagation_depth=None)
    StackedAutoencoderClassifier(**STACK).set_callbacks(bar).fit(*blobs)
    shown = capsys.readouterr().out
    assert "fine_tuning" in shown
    assert "layer" in shown
    AutoencoderOutlierDetector(n_estimators=2).set_callbacks(bar).fit(blobs[0])
    assert "member" in capsys.readouterr().out
